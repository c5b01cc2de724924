/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ping to the outside: one flow and one ping socket per guest, destination and echo id. ICMP and ICMPv6 echo differ in two numbers and
 * in what the checksum covers, and behind NAT64 the guest and the host's socket speak different ones. Errors the host's stack learns go back as if they had come from the path.
 */

#include "netstack/ping.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

#include "basic/checksum.h"
#include "netstack/flow.h"
#include "netstack/icmp.h"
#include "netstack/ip.h"

#define PING_IOV_MAX (FRAME_IOV_MAX + 1)
#define PING_EVICT_USEC (100 * USEC_PER_MSEC) /* between two: finding the oldest is a walk over the table */
#define PING_READS_MAX 64              /* messages taken per event: the rest waits for the timer */

static uint8_t ping_proto(const Flow *f) {
        return ip_is_v4(&f->key.remote) ? IPPROTO_ICMP : IPPROTO_ICMPV6;
}

static uint8_t echo_request(bool v4) {
        return v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
}
static uint8_t echo_reply(bool v4) {
        return v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
}

/* ---- out ---- */

static void ping_timer(Timer *timer, usec_t now, void *userdata) {
        Netstack *s = userdata;
        Flow *f = CONTAINER_OF(timer, Flow, timer);

        if (f->ping.readable)
                ping_host_event(s, f, HOST_EVENT_IN);
        if (now - f->last_used >= PING_TIMEOUT_USEC)
                flow_close(s, f, /* reset= */ false);
        else if (!timer_is_set(timer))
                (void) timer_set(&s->timers, timer, f->last_used + PING_TIMEOUT_USEC);
}

/* At the limit the ping that has been quiet for longest makes room, now and then. */
static bool ping_make_room(Netstack *s) {
        usec_t now = netstack_now(s), *evicted = icmp_last_eviction(s->icmp);
        Flow *oldest;

        if (now - *evicted < PING_EVICT_USEC)
                return false;
        *evicted = now;
        oldest = flow_oldest_idle(s->flows, FLOW_PING);
        if (!oldest)
                return false;
        flow_close(s, oldest, /* reset= */ false);
        return true;
}

static Flow *ping_flow(Netstack *s, const Packet *p, uint16_t id, int family) {
        FlowKey key = { .guest = p->src, .remote = p->dst, .guest_port = id, .kind = FLOW_PING };
        Flow *f = flow_find(s->flows, &key);
        if (f)
                return f;

        f = flow_new(s->flows, &key, ping_timer);
        if (!f && ping_make_room(s))
                f = flow_new(s->flows, &key, ping_timer);
        if (!f) {
                netstack_drop(s, DROP_PING_FLOW_LIMIT);
                return NULL;
        }
        f->guest_mac = p->src_mac;
        f->guest_mtu = s->port ? s->port->mtu : 0;

        int fd, r = s->ops->dgram_open(s->userdata, HOST_SOCKET_PING, family,
                                       /* local= */ NULL, flow_cookie(f), &fd);
        if (r < 0) {
                flow_close(s, f, /* reset= */ false);
                netstack_drop(s, DROP_PING_NO_SOCKET);
                /* the host grants no ping sockets */
                if (r == -EACCES || r == -EPERM || r == -EPROTONOSUPPORT)
                        icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, 0, NULL);
                return NULL;
        }
        f->fd = fd;
        (void) timer_set(&s->timers, &f->timer, netstack_now(s) + PING_TIMEOUT_USEC);
        return f;
}

void ping_out(Netstack *s, Packet *p, uint16_t id) {
        Endpoint dst;
        if (!ip_route_or_refuse(s, p, 0, &dst))
                return;

        Flow *f = ping_flow(s, p, id, ip_family(&dst.addr));
        if (!f)
                return;

        struct iovec iov[PING_IOV_MAX];
        size_t len = iovcur_left(&p->l4);
        IovCur bytes = p->l4;
        HostMsg m = { .peer = dst, .iov = iov, .len = len, .tos = p->tos, .ttl = ip_ttl_out(s, p) };

        struct icmphdr h; /* of both families: that of the host's; the kernel puts its id and checksum in */
        if (!iovcur_copy(&bytes, &h, sizeof(h)))
                return netstack_drop(s, DROP_ICMP_MALFORMED);
        h.type = echo_request(ip_is_v4(&dst.addr));
        iov[0] = (struct iovec){ &h, sizeof(h) };
        m.n_iov = 1 + iovcur_slice(&bytes, len - sizeof(h), iov + 1, ELEMENTSOF(iov) - 1);
        f->last_used = netstack_now(s);
        f->rx_bytes += len;
        int r = s->ops->dgram_send(s->userdata, f->fd, &m, 1);
        if (r < 0 && r != -EAGAIN) /* may be an older error that was waiting to be told: the error queue tells it in full */
                r = s->ops->dgram_send(s->userdata, f->fd, &m, 1);
        if (r >= 1)
                return;

        netstack_drop(s, DROP_PING_SEND);
        HostError e = { .peer = dst, .error = -r };
        iovcur_copy(&p->l4, e.payload, e.payload_len = MIN(len, sizeof(e.payload)));
        (void) icmp_relay_error(s, &(Endpoint){ f->key.guest, f->key.guest_port },
                                &(Endpoint){ f->key.remote, 0 }, ping_proto(f), &e);
}

/* ---- back ---- */

/* An echo reply of @len bytes at @l4 in reserved room: back under the guest's id. */
static void ping_reply(Netstack *s, Flow *f, const HostMsg *m, uint8_t *l4) {
        struct icmphdr h; /* of both families */
        bool v4 = ip_is_v4(&f->key.remote);
        uint32_t sum = 0;
        IpAddr from = netstack_source_for(s, &f->key.guest, &m->peer.addr);

        if (m->len < sizeof(h) || m->truncated || !ip_equal(&from, &f->key.remote) ||
            l4[0] != echo_reply(ip_is_v4(&m->peer.addr)))
                return netstack_drop(s, DROP_PING_FILTERED);

        memcpy(&h, l4, sizeof(h));
        h.type = echo_reply(v4);
        h.un.echo.id = htons(f->key.guest_port);
        h.checksum = 0;
        memcpy(l4, &h, sizeof(h));
        if (!v4)
                sum = checksum_pseudo(&f->key.remote, &f->key.guest, IPPROTO_ICMPV6, (uint32_t) m->len);
        h.checksum = checksum_finish(checksum_add(l4, m->len, sum));
        memcpy(l4, &h, sizeof(h));

        IpSend how = {
                .src = f->key.remote, .dst = f->key.guest, .proto = ping_proto(f), .tos = m->tos,
                .ttl = m->ttl > 1 ? m->ttl - 1 : 64, .mac = &f->guest_mac, .mtu = f->guest_mtu,
        };
        f->last_used = netstack_now(s);
        f->tx_bytes += m->len;
        ip_send(s, &how, l4, m->len);
}

static void ping_errors(Netstack *s, Flow *f) {
        HostError e;

        for (unsigned i = 0; i < PING_READS_MAX && s->ops->dgram_error(s->userdata, f->fd, &e) == 0; i++) {
                if (e.payload_len > 0) /* what the guest sent, not what the host's socket did */
                        e.payload[0] = echo_request(ip_is_v4(&f->key.remote));
                (void) icmp_relay_error(s, &(Endpoint){ f->key.guest, f->key.guest_port },
                                        &(Endpoint){ f->key.remote, 0 }, ping_proto(f), &e);
        }
}

void ping_host_event(Netstack *s, Flow *f, uint32_t events) {
        if (events & HOST_EVENT_ERROR)
                ping_errors(s, f);
        if (!(events & HOST_EVENT_IN))
                return;

        f->ping.readable = true;
        for (unsigned i = 0; i < PING_READS_MAX; i++) {
                size_t room = UINT16_MAX - sizeof(struct iphdr);
                uint8_t *l4 = netstack_tx_reserve(s, room);
                struct iovec iov = { l4, room };
                HostMsg m = { .iov = &iov, .n_iov = 1 };

                int r = s->ops->dgram_recv(s->userdata, f->fd, &m, 1);
                if (r == -EAGAIN) {
                        f->ping.readable = false;
                        return;
                }
                if (r == 1)
                        ping_reply(s, f, &m, l4);
        }
        (void) timer_set(&s->timers, &f->timer, netstack_now(s)); /* more is there: others first */
}

void ping_flow_close(Netstack *s, Flow *f) {
        /* nothing hangs on it but its socket, which is the flow's */
}
