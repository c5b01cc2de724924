/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ICMP for IPv4: answers echo requests to the gateway's addresses, carries those to the outside over the
 * host's ping sockets (one flow per guest, destination and echo id), and tells guests of errors, at most
 * ICMP_ERRORS_PER_SEC. Never relays what a guest says in an error message: the host's stack would have no
 * use for it.
 */

#include "netstack/icmp.h"

#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>

#include "basic/checksum.h"
#include "netstack/flow.h"
#include "netstack/ip.h"
#include "netstack/udp.h"

#define ICMP_LEN 8                     /* header of every message we speak */
#define TCP_LEN 20                     /* of its header */
#define TCP_SEQ_OFFSET 4
#define ICMP_QUOTE_MAX (576 - 20 - ICMP_LEN) /* RFC 1812 4.3.2.3: an error is at most 576 bytes long */
#define PING_IOV_MAX FRAME_IOV_MAX
#define PING_EVICT_USEC (100 * USEC_PER_MSEC) /* between two: finding the oldest is a walk over the table */
#define PING_READS_MAX 64              /* messages taken per event: the rest waits for the timer */

struct Icmp {
        Netstack *stack;  /* (borrowed) */
        uint32_t tokens;  /* errors that may be sent now */
        usec_t filled;    /* when the bucket was last filled up */
        usec_t evicted;   /* when an idle ping last made room for another */
};

int icmp_new(Icmp **ret, Netstack *s) {
        Icmp *i = calloc(1, sizeof(*i));
        if (!i)
                return -ENOMEM;

        i->stack = s;
        i->tokens = ICMP_ERRORS_PER_SEC;
        i->filled = netstack_now(s);
        *ret = i;
        return 0;
}

Icmp *icmp_free(Icmp *i) {
        free(i);
        return NULL;
}

/* ---- errors to guests ---- */

static bool icmp_may_send(Icmp *i) {
        usec_t now = netstack_now(i->stack), passed = now - i->filled;
        usec_t earned = passed >= USEC_PER_SEC ? ICMP_ERRORS_PER_SEC
                                               : passed * ICMP_ERRORS_PER_SEC / USEC_PER_SEC;

        if (earned > 0) {
                i->tokens = MIN(i->tokens + (uint32_t) earned, (uint32_t) ICMP_ERRORS_PER_SEC);
                i->filled = passed >= USEC_PER_SEC ? now
                                                   : i->filled + earned * USEC_PER_SEC / ICMP_ERRORS_PER_SEC;
        }
        if (i->tokens == 0) {
                netstack_drop(i->stack, DROP_ICMP_RATE);
                return false;
        }
        i->tokens--;
        return true;
}

/* An error about the packet quoted by the next bytes of @quote, to @dst. */
static void icmp_emit(Netstack *s, const IpAddr *dst, const MacAddr *mac, IovCur *quote, uint8_t type,
                      uint8_t code, uint32_t mtu, const IpAddr *src) {
        size_t n = MIN(iovcur_left(quote), (size_t) ICMP_QUOTE_MAX);
        uint8_t *l4 = netstack_tx_reserve(s, ICMP_LEN + n);
        struct icmphdr h = { .type = type, .code = code };
        IpSend how = { .src = src && !ip_is_null(src) ? *src : s->config.gateway,
                       .dst = *dst,
                       .proto = IPPROTO_ICMP,
                       .mac = mac };

        if (type == ICMP_DEST_UNREACH && code == ICMP_FRAG_NEEDED)
                h.un.frag.mtu = htons((uint16_t) MIN(mtu, (uint32_t) UINT16_MAX));
        (void) iovcur_copy(quote, l4 + ICMP_LEN, n);
        memcpy(l4, &h, sizeof(h));
        h.checksum = checksum_finish(checksum_add(l4, ICMP_LEN + n, 0));
        memcpy(l4, &h, sizeof(h));
        if (mac && s->port)
                how.mtu = s->port->mtu;
        ip_send(s, &how, l4, ICMP_LEN + n);
}

/* May an error be sent about @p at all (RFC 1122 3.2.2)? Only first fragments and whole datagrams get as far
 * as asking. */
static bool icmp_is_owed(const Netstack *s, const Packet *p) {
        uint8_t store;
        const uint8_t *type;

        if (mac_is_multicast(&p->dst_mac) || ip_is_group(s, &p->dst) || ip_is_group(s, &p->src))
                return false;
        if (p->proto != IPPROTO_ICMP)
                return true;
        type = iovcur_peek(&p->l4, &store, sizeof(store));
        return type && *type == ICMP_ECHO;
}

void icmp_send_error(Netstack *s, const Packet *p, uint8_t type, uint8_t code, uint32_t mtu,
                     const IpAddr *src) {
        IovCur quote = p->ip;

        if (!ip_is_v4(&p->src) || !icmp_is_owed(s, p) || !icmp_may_send(s->icmp))
                return;
        icmp_emit(s, &p->src, &p->src_mac, &quote, type, code, mtu, src);
}

/* The L4 header as the guest sent it, as far as it can be known later: eight bytes of it. Returns its length; none for ICMP,
 * whose message is all there. */
static size_t rebuild_l4(uint8_t proto, const Endpoint *guest, const Endpoint *remote, const void *l4, size_t len,
                         uint8_t *ret) {
        /* TCP's ports lie in the same place */
        struct udphdr h = { .uh_sport = htons(guest->port), .uh_dport = htons(remote->port) };

        if (proto == IPPROTO_ICMP)
                return 0;
        if (proto == IPPROTO_UDP)
                h.uh_ulen = htons((uint16_t) MIN(sizeof(h) + len, (size_t) UINT16_MAX));
        memcpy(ret, &h, sizeof(h));
        if (proto == IPPROTO_TCP) /* the sequence number: an error that quotes another is not believed (RFC 5927 4.1) */
                memcpy(ret + TCP_SEQ_OFFSET, l4, MIN(len, sizeof(h) - TCP_SEQ_OFFSET));
        return sizeof(h);
}

void icmp_send_error_for(Netstack *s, const Endpoint *guest, const Endpoint *remote, uint8_t proto,
                         const void *l4, size_t len, uint8_t type, uint8_t code, uint32_t mtu,
                         const IpAddr *src) {
        uint8_t buf[ICMP_QUOTE_MAX];
        uint8_t *l4_at = buf + sizeof(struct iphdr);
        size_t head = sizeof(struct iphdr) + rebuild_l4(proto, guest, remote, l4, len, l4_at);
        /* the rest of TCP's header is long gone */
        size_t n = proto == IPPROTO_TCP ? 0 : MIN(len, sizeof(buf) - head);
        size_t total = proto == IPPROTO_TCP ? sizeof(struct iphdr) + TCP_LEN : head + len;
        struct iphdr h = {
                .version = 4,
                .ihl = 5,
                .ttl = 64,
                .protocol = proto,
                .saddr = ip_v4(&guest->addr),
                .daddr = ip_v4(&remote->addr),
                .tot_len = htons((uint16_t) MIN(total, (size_t) UINT16_MAX)),
        };
        struct iovec iov;

        if (!ip_is_v4(&guest->addr) || !ip_is_v4(&remote->addr) || !icmp_may_send(s->icmp))
                return;

        h.check = checksum_finish(checksum_add(&h, sizeof(h), 0));
        memcpy(buf, &h, sizeof(h));
        if (n > 0)
                memcpy(buf + head, l4, n);
        if (proto == IPPROTO_ICMP && n >= ICMP_LEN) {
                uint16_t id = htons(guest->port);
                memcpy(buf + head + offsetof(struct icmphdr, un.echo.id), &id, sizeof(id));
        }

        IovCur quote = iovcur_from_buf(&iov, buf, head + n);
        icmp_emit(s, &guest->addr, /* mac= */ NULL, &quote, type, code, mtu, src);
}

bool icmp_relay_error(Netstack *s, const Endpoint *guest, const Endpoint *remote, uint8_t proto,
                      const HostError *e) {
        IpAddr offender = netstack_source_in(s, &e->offender);
        uint8_t type = e->icmp_type, code = e->icmp_code;

        if (ip_is_null(&e->offender)) { /* the host's own stack refused it */
                type = ICMP_DEST_UNREACH;
                switch (e->error) {
                case ECONNREFUSED:
                        code = ICMP_PORT_UNREACH;
                        break;
                case ENETUNREACH:
                case ENETDOWN:
                        code = ICMP_NET_UNREACH;
                        break;
                case EHOSTUNREACH:
                case EHOSTDOWN:
                        code = ICMP_HOST_UNREACH;
                        break;
                case EACCES:
                case EPERM:
                        code = ICMP_PKT_FILTERED;
                        break;
                case EMSGSIZE:
                        code = ICMP_FRAG_NEEDED;
                        break;
                default:
                        return false;
                }
        } else if (!ip_is_v4(&e->offender) ||
                   (type != ICMP_DEST_UNREACH && type != ICMP_TIME_EXCEEDED && type != ICMP_PARAMETERPROB))
                return false;

        icmp_send_error_for(s, guest, remote, proto, e->payload, MIN(e->payload_len, sizeof(e->payload)),
                            type, code, e->mtu, &offender);
        return true;
}

/* ---- echo to the gateway's addresses ---- */

static void icmp_echo_reply(Netstack *s, Packet *p) {
        size_t len = iovcur_left(&p->l4);
        uint8_t *l4 = netstack_tx_reserve(s, len);
        struct icmphdr h;

        (void) iovcur_copy(&p->l4, l4, len);
        memcpy(&h, l4, sizeof(h));
        h.type = ICMP_ECHOREPLY;
        h.checksum = 0;
        memcpy(l4, &h, sizeof(h));
        h.checksum = checksum_finish(checksum_add(l4, len, 0));
        memcpy(l4, &h, sizeof(h));

        IpSend how = {
                .src = p->dst, .dst = p->src, .proto = IPPROTO_ICMP, .tos = p->tos,
                .mac = &p->src_mac, .mtu = s->port ? s->port->mtu : 0,
        };
        ip_send(s, &how, l4, len);
}

/* ---- echo to the outside ---- */

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
        usec_t now = netstack_now(s);
        Flow *oldest;

        if (now - s->icmp->evicted < PING_EVICT_USEC)
                return false;
        s->icmp->evicted = now;
        oldest = flow_oldest_idle(s->flows, FLOW_PING);
        if (!oldest)
                return false;
        flow_close(s, oldest, /* reset= */ false);
        return true;
}

static Flow *ping_flow(Netstack *s, const Packet *p, uint16_t id) {
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

        int fd, r = s->ops->dgram_open(s->userdata, HOST_SOCKET_PING, AF_INET, /* local= */ NULL,
                                       flow_cookie(f), &fd);
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

static void icmp_echo_out(Netstack *s, Packet *p, uint16_t id) {
        Endpoint dst;
        if (!ip_route_or_refuse(s, p, 0, &dst))
                return;

        Flow *f = ping_flow(s, p, id);
        if (!f)
                return;

        struct iovec iov[PING_IOV_MAX];
        size_t len = iovcur_left(&p->l4);
        IovCur bytes = p->l4;
        HostMsg m = { .peer = dst, .iov = iov, .len = len, .tos = p->tos, .ttl = ip_ttl_out(s, p) };

        m.n_iov = iovcur_slice(&bytes, len, iov, ELEMENTSOF(iov));
        f->last_used = netstack_now(s);
        f->rx_bytes += len;
        int r = s->ops->dgram_send(s->userdata, f->fd, &m, 1);
        if (r >= 1)
                return;

        netstack_drop(s, DROP_PING_SEND);
        HostError e = { .peer = dst, .error = -r };
        iovcur_copy(&p->l4, e.payload, e.payload_len = MIN(len, sizeof(e.payload)));
        (void) icmp_relay_error(s, &(Endpoint){ f->key.guest, f->key.guest_port },
                                &(Endpoint){ f->key.remote, 0 }, IPPROTO_ICMP, &e);
}

void icmp4_input(Netstack *s, Packet *p) {
        IovCur cur = p->l4;
        struct icmphdr h;

        if (!iovcur_copy(&cur, &h, sizeof(h)))
                return netstack_drop(s, DROP_ICMP_MALFORMED);
        /* The kernel leaves no ICMP checksum open, so none is taken on trust. */
        if (checksum_fold(checksum_add_iov(p->l4.iov, p->l4.n_iov, p->l4.off, iovcur_left(&p->l4), 0)) !=
            0xffff)
                return netstack_drop(s, DROP_ICMP_MALFORMED);
        if (h.type != ICMP_ECHO || h.code != 0)
                return netstack_drop(s, DROP_ICMP_TYPE);

        if (netstack_is_ours(s, &p->dst))
                icmp_echo_reply(s, p);
        else
                icmp_echo_out(s, p, ntohs(h.un.echo.id));
}

/* An echo reply of @len bytes at @l4 in reserved room: back under the guest's id. */
static void ping_reply(Netstack *s, Flow *f, const HostMsg *m, uint8_t *l4) {
        struct icmphdr h;
        IpAddr from = netstack_source_in(s, &m->peer.addr);

        if (m->len < sizeof(h) || m->truncated || !ip_equal(&from, &f->key.remote) ||
            l4[0] != ICMP_ECHOREPLY)
                return netstack_drop(s, DROP_PING_FILTERED);

        memcpy(&h, l4, sizeof(h));
        h.un.echo.id = htons(f->key.guest_port);
        h.checksum = 0;
        memcpy(l4, &h, sizeof(h));
        h.checksum = checksum_finish(checksum_add(l4, m->len, 0));
        memcpy(l4, &h, sizeof(h));

        IpSend how = {
                .src = f->key.remote, .dst = f->key.guest, .proto = IPPROTO_ICMP, .tos = m->tos,
                .ttl = m->ttl > 1 ? m->ttl - 1 : 64, .mac = &f->guest_mac, .mtu = f->guest_mtu,
        };
        f->last_used = netstack_now(s);
        f->tx_bytes += m->len;
        ip_send(s, &how, l4, m->len);
}

static void ping_errors(Netstack *s, Flow *f) {
        HostError e;

        for (unsigned i = 0; i < PING_READS_MAX && s->ops->dgram_error(s->userdata, f->fd, &e) == 0; i++)
                (void) icmp_relay_error(s, &(Endpoint){ f->key.guest, f->key.guest_port },
                                        &(Endpoint){ f->key.remote, 0 }, IPPROTO_ICMP, &e);
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
