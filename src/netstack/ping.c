/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ping to the outside, over one host socket a family. A flow is one guest, destination and echo id; on the host's side all of them have the
 * socket's id, and a request is told from the others by its sequence number, which is ours: a ring of the latest remembers whose it was.
 * ICMP and ICMPv6 echo differ in two numbers and in what the checksum covers, and behind NAT64 the guest and the host's socket speak
 * different ones. Errors the host's stack learns go back as if they had come
 * from the path.
 *
 * The host's socket is a ping socket, or a raw one where the host grants no ping sockets and the daemon has the right. A raw socket gets the
 * answers to everybody's pings: the id, made by chance, tells ours.
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

#define PING_IOV_MAX FRAME_IOV_MAX
#define PING_EVICT_USEC (100 * USEC_PER_MSEC) /* between two: finding the oldest is a walk over the table */
#define PING_READS_MAX 64              /* messages taken per event: the rest waits for the timer */
#define PING_ID_TRIES 8                /* another program may have the id */

typedef struct PingRequest { /* one that is under way, or was */
        uint64_t flow;     /* cookie; looked up when the answer comes */
        uint16_t seq;      /* ours */
        uint16_t guest_seq;
        bool used;
} PingRequest;

typedef struct PingSide {
        Ping *ping;  /* (borrowed) whose this is part of */
        int fd;      /* (owned) -EBADF until the first ping */
        uint16_t id, next_seq;
        Timer timer; /* more is readable: others had their turn */
        PingRequest requests[PING_REQUESTS_MAX]; /* by seq */
} PingSide;

struct Ping {
        Netstack *stack; /* (borrowed) */
        usec_t evicted[2]; /* when an idle flow last made room for another: any, one of the guest's own */
        uint32_t shares[PING_SHARES];
        PingSide sides[_PING_SIDE_MAX];
};

static bool is_v4(const PingSide *side) {
        return side == &side->ping->sides[PING_SIDE_4];
}

static uint8_t ping_proto(const Flow *f) {
        return ip_is_v4(&f->key.remote) ? IPPROTO_ICMP : IPPROTO_ICMPV6;
}

static uint8_t echo_request(bool v4) {
        return v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
}
static uint8_t echo_reply(bool v4) {
        return v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
}

static void ping_side_timer(Timer *timer, usec_t now, void *userdata);

int ping_new(Ping **ret, Netstack *s) {
        Ping *p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->stack = s;
        for (unsigned i = 0; i < _PING_SIDE_MAX; i++) {
                p->sides[i].ping = p;
                p->sides[i].fd = -EBADF;
                timer_init(&p->sides[i].timer, ping_side_timer);
        }
        *ret = p;
        return 0;
}

Ping *ping_free(Ping *p) {
        if (!p)
                return NULL;
        for (unsigned i = 0; i < _PING_SIDE_MAX; i++) {
                timer_stop(&p->stack->timers, &p->sides[i].timer);
                if (p->sides[i].fd >= 0)
                        p->stack->ops->close(p->stack->userdata, p->sides[i].fd, /* reset= */ false);
        }
        free(p);
        return NULL;
}

/* ---- out ---- */

/* Opens the socket of a family, under an id nobody else on the host has. 0 or negative errno. */
static int ping_open(Netstack *s, PingSide *side) {
        bool v4 = is_v4(side);
        int r = -EADDRINUSE;

        for (unsigned i = 0; r == -EADDRINUSE && i < PING_ID_TRIES; i++) {
                Endpoint local = { .addr = v4 ? ip_from_v4(INADDR_ANY) : (IpAddr){} };

                do
                        s->ops->random(s->userdata, &local.port, sizeof(local.port));
                while (local.port == 0);
                side->id = local.port;
                r = s->ops->dgram_open(s->userdata, HOST_SOCKET_PING, v4 ? AF_INET : AF_INET6, &local,
                                       host_cookie(HOST_KIND_PING, 0, v4 ? PING_SIDE_4 : PING_SIDE_6), &side->fd);
        }
        if (r < 0)
                side->fd = -EBADF;
        return r;
}

static void ping_timer(Timer *timer, usec_t now, void *userdata) {
        Netstack *s = userdata;
        Flow *f = CONTAINER_OF(timer, Flow, timer);

        if (now - f->last_used >= PING_TIMEOUT_USEC)
                flow_close(s, f, /* reset= */ false);
        else
                (void) timer_set(&s->timers, timer, f->last_used + PING_TIMEOUT_USEC);
}

static uint32_t *ping_share(Netstack *s, uint32_t device) {
        return &s->ping->shares[device % PING_SHARES];
}

/* At a limit the ping that has been quiet for longest makes room, now and then: any, or one of those at @device. */
static bool ping_make_room(Netstack *s, bool own_only, uint32_t device) {
        usec_t now = netstack_now(s), *evicted = &s->ping->evicted[own_only]; /* who is beyond its share takes no turn of others */
        Flow *oldest = NULL;

        if (now - *evicted < PING_EVICT_USEC)
                return false;
        *evicted = now;
        if (!own_only)
                oldest = flow_oldest_idle(s->flows, FLOW_PING);
        else
                for (Flow *f = flow_next(s->flows, NULL); f; f = flow_next(s->flows, f))
                        if (f->key.kind == FLOW_PING && f->device % PING_SHARES == device % PING_SHARES &&
                            (!oldest || f->last_used < oldest->last_used))
                                oldest = f;
        if (!oldest)
                return false;
        flow_close(s, oldest, /* reset= */ false);
        return true;
}

/* A new flow within the guest's share of the table, so that one guest never has it all. NULL (counted) at the limit. */
static Flow *ping_flow_new(Netstack *s, const FlowKey *key) {
        uint32_t device = netstack_port_id(s), limit = s->config.limits.ping_flows;
        bool at_share = *ping_share(s, device) >= MAX(limit - limit / 4, UINT32_C(1));
        Flow *f = at_share ? NULL : flow_new(s->flows, key, ping_timer);

        if (!f && ping_make_room(s, at_share, device))
                f = flow_new(s->flows, key, ping_timer);
        if (!f) {
                netstack_drop(s, DROP_PING_FLOW_LIMIT);
                return NULL;
        }
        f->device = device;
        (*ping_share(s, device))++;
        return f;
}

void ping_flow_close(Netstack *s, Flow *f) {
        (*ping_share(s, f->device))--;
}

static Flow *ping_flow(Netstack *s, const Packet *p, uint16_t id) {
        FlowKey key = { .guest = p->src, .remote = p->dst, .guest_port = id, .kind = FLOW_PING };
        Flow *f = flow_find(s->flows, &key);
        if (f)
                return f;

        f = ping_flow_new(s, &key);
        if (!f)
                return NULL;
        f->guest_mac = p->src_mac;
        f->guest_mtu = s->port ? s->port->mtu : 0;
        (void) timer_set(&s->timers, &f->timer, netstack_now(s) + PING_TIMEOUT_USEC);
        return f;
}

/* Notes a request of @f, the guest's number being @guest_seq. Returns the number it leaves with. */
static uint16_t ping_note(PingSide *side, const Flow *f, uint16_t guest_seq) {
        uint16_t seq = side->next_seq++;

        side->requests[seq % PING_REQUESTS_MAX] = (PingRequest){ flow_cookie(f), seq, guest_seq, true };
        return seq;
}

/* The flow of what came back with @seq, and the guest's number. NULL: of none that is there. */
static Flow *ping_find(Netstack *s, const PingSide *side, uint16_t seq, uint16_t *ret_guest_seq) {
        const PingRequest *r = &side->requests[seq % PING_REQUESTS_MAX];
        Flow *f = r->used && r->seq == seq ? flow_by_cookie(s->flows, r->flow) : NULL;

        if (!f || f->key.kind != FLOW_PING)
                return NULL;
        *ret_guest_seq = r->guest_seq;
        return f;
}

/* Turns the header of a guest's request into that of the host's. The checksum of ICMP is made from the guest's (RFC 1624); a ping socket's and
 * ICMPv6's the kernel makes anew. */
static void ping_translate(const Packet *p, const PingSide *side, uint16_t seq, struct icmphdr *h) {
        uint32_t sum = (uint16_t) ~ntohs(h->checksum);
        uint16_t words[sizeof(*h) / 2];

        if (!ip_is_v4(&p->src)) /* covers addresses as well */
                sum += (uint16_t) ~checksum_fold(checksum_pseudo(&p->src, &p->dst, IPPROTO_ICMPV6, (uint32_t) iovcur_left(&p->l4)));
        h->checksum = 0;
        memcpy(words, h, sizeof(words));
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                sum += (uint16_t) ~ntohs(words[i]);
        h->type = echo_request(is_v4(side));
        h->un.echo.id = htons(side->id);
        h->un.echo.sequence = htons(seq);
        h->checksum = checksum_finish(checksum_add(h, sizeof(*h), sum));
}

void ping_out(Netstack *s, Packet *p, uint16_t id) {
        struct icmphdr h; /* of both families */
        IovCur bytes = p->l4;
        Endpoint dst;
        if (!ip_route_or_refuse(s, p, 0, &dst))
                return;
        if (!iovcur_copy(&bytes, &h, sizeof(h)))
                return netstack_drop(s, DROP_ICMP_MALFORMED);
        PingSide *side = &s->ping->sides[ip_is_v4(&dst.addr) ? PING_SIDE_4 : PING_SIDE_6];

        int r = side->fd >= 0 ? 0 : ping_open(s, side);
        if (r < 0) {
                netstack_drop(s, DROP_PING_NO_SOCKET);
                if (r == -EACCES || r == -EPERM || r == -EPROTONOSUPPORT) /* the host grants none */
                        icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, 0, NULL);
                return;
        }
        Flow *f = ping_flow(s, p, id);
        if (!f)
                return;

        struct iovec iov[1 + PING_IOV_MAX];
        size_t len = iovcur_left(&p->l4);
        ping_translate(p, side, ping_note(side, f, ntohs(h.un.echo.sequence)), &h);
        iov[0] = (struct iovec){ &h, sizeof(h) };

        HostMsg m = { .peer = dst, .iov = iov, .len = len, .tos = p->tos, .ttl = ip_ttl_out(s, p) };
        m.n_iov = 1 + iovcur_slice(&bytes, iovcur_left(&bytes), iov + 1, PING_IOV_MAX);
        f->last_used = netstack_now(s);
        f->rx_bytes += len;
        r = s->ops->dgram_send(s->userdata, side->fd, &m, 1);
        if (r < 0 && r != -EAGAIN) /* may be an older error that was waiting to be told: the error queue tells it in full */
                r = s->ops->dgram_send(s->userdata, side->fd, &m, 1);
        if (r >= 1)
                return;

        netstack_drop(s, DROP_PING_SEND);
        HostError e = { .peer = dst, .error = -r };
        iovcur_copy(&p->l4, e.payload, e.payload_len = MIN(len, sizeof(e.payload)));
        (void) icmp_relay_error(s, &(Endpoint){ f->key.guest, f->key.guest_port },
                                &(Endpoint){ f->key.remote, 0 }, ping_proto(f), &e);
}

/* ---- back ---- */

/* A message of @m->len bytes at @l4 in reserved room: an echo reply goes back under the guest's id and number. */
static void ping_reply(Netstack *s, PingSide *side, const HostMsg *m, uint8_t *l4) {
        struct icmphdr h; /* of both families */
        uint16_t guest_seq = 0;
        Flow *f = NULL;

        if (m->len >= sizeof(h) && !m->truncated) {
                memcpy(&h, l4, sizeof(h));
                if (h.type == echo_reply(is_v4(side)) && h.un.echo.id == htons(side->id))
                        f = ping_find(s, side, ntohs(h.un.echo.sequence), &guest_seq);
        }
        IpAddr from = f ? netstack_source_for(s, &f->key.guest, &m->peer.addr) : (IpAddr){};
        if (!f || (!ip_equal(&from, &f->key.remote) && !ip_equal(&m->peer.addr, &f->key.remote)))
                return netstack_drop(s, DROP_PING_FILTERED);

        bool v4 = ip_is_v4(&f->key.remote);
        h.type = echo_reply(v4);
        h.un.echo.id = htons(f->key.guest_port);
        h.un.echo.sequence = htons(guest_seq);
        h.checksum = 0;
        memcpy(l4, &h, sizeof(h));
        uint32_t sum = v4 ? 0 : checksum_pseudo(&f->key.remote, &f->key.guest, IPPROTO_ICMPV6, (uint32_t) m->len);
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

static void ping_error(Netstack *s, PingSide *side, HostError *e) {
        struct icmphdr h;
        uint16_t guest_seq = 0;
        Flow *f = NULL;

        if (e->payload_len >= sizeof(h)) {
                memcpy(&h, e->payload, sizeof(h));
                if (h.un.echo.id == htons(side->id))
                        f = ping_find(s, side, ntohs(h.un.echo.sequence), &guest_seq);
        }
        if (!f)
                return netstack_drop(s, DROP_PING_FILTERED);
        h.type = echo_request(ip_is_v4(&f->key.remote)); /* what the guest sent, not what the host's socket did */
        h.un.echo.sequence = htons(guest_seq);
        memcpy(e->payload, &h, sizeof(h));
        (void) icmp_relay_error(s, &(Endpoint){ f->key.guest, f->key.guest_port },
                                &(Endpoint){ f->key.remote, 0 }, ping_proto(f), e);
}

void ping_host_event(Netstack *s, uint32_t index, uint32_t events) {
        if (index >= _PING_SIDE_MAX || s->ping->sides[index].fd < 0)
                return;
        PingSide *side = &s->ping->sides[index];
        HostError e;

        for (unsigned i = 0; (events & HOST_EVENT_ERROR) && i < PING_READS_MAX && s->ops->dgram_error(s->userdata, side->fd, &e) == 0; i++)
                ping_error(s, side, &e);
        if (!(events & HOST_EVENT_IN))
                return;

        for (unsigned i = 0; i < PING_READS_MAX; i++) {
                size_t room = UINT16_MAX - sizeof(struct iphdr);
                uint8_t *l4 = netstack_tx_reserve(s, room);
                struct iovec iov = { l4, room };
                HostMsg m = { .iov = &iov, .n_iov = 1 };

                int r = s->ops->dgram_recv(s->userdata, side->fd, &m, 1);
                if (r == -EAGAIN)
                        return;
                if (r == 1)
                        ping_reply(s, side, &m, l4);
        }
        (void) timer_set(&s->timers, &side->timer, netstack_now(s)); /* more is there: others first */
}

static void ping_side_timer(Timer *timer, usec_t now, void *userdata) {
        Netstack *s = userdata;
        PingSide *side = CONTAINER_OF(timer, PingSide, timer);

        ping_host_event(s, is_v4(side) ? PING_SIDE_4 : PING_SIDE_6, HOST_EVENT_IN);
}
