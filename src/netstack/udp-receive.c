/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UDP from host sockets: up to UDP_RECV_BATCH datagrams a call, received where their frames will be built.
 * Whether a datagram may pass and to whom it goes is decided by udp.c's flows; what the host's error queue
 * says is told to the guest.
 *
 * Rooms: a datagram may be 64 KiB long and hardly ever is. So a batch has rooms of UDP_ROOM each with an
 * overflow in scratch memory behind it; a socket that brings long ones is read a few at a time into rooms
 * that hold anything. What does not leave as one frame in place (overflown, or to be cut for a small MTU)
 * goes by way of scratch memory, as do those after it: order is kept, and no frame is built over a datagram
 * that is still waiting.
 */

#include <errno.h>
#include <netinet/udp.h>

#include "netstack/arp.h"
#include "netstack/flow.h"
#include "netstack/forward.h"
#include "netstack/icmp.h"
#include "netstack/ip.h"
#include "netstack/udp.h"

#define UDP_LAST_TURNS 1024
#define UDP_HEADER_LEN sizeof(struct udphdr)
#define UDP_PAYLOAD_MAX (UINT16_MAX - UDP_HEADER_LEN) /* of IPv6, whose header is not in a packet's length */
#define UDP_ROOM 2048
#define UDP_BIG_BATCH 7                    /* rooms that hold anything, in one arena */
#define UDP_SCRATCH_LEN 65536              /* for one datagram */
#define UDP_ROUNDS_MAX 16                  /* calls per event, before others have their turn */
#define UDP_RECV_ERRORS_MAX 8              /* in one event */
#define UDP_ERRORS_MAX 64                  /* read from an error queue per event */

/* From one room to the next: headers in front, and what aligning the end of a frame may take behind. */
#define ROOM_STRIDE(len) ((TX_HEADROOM + UDP_HEADER_LEN + (len) + 64 + 63) & ~(size_t) 63)

_Static_assert(UDP_BIG_BATCH * ROOM_STRIDE(UDP_PAYLOAD_MAX) <= TX_ARENA_LEN - TX_HEADROOM,
               "the arena holds the large rooms");
_Static_assert(UDP_RECV_BATCH * ROOM_STRIDE(UDP_ROOM) <= TX_ARENA_LEN - TX_HEADROOM,
               "the arena holds the small rooms");

struct UdpReceive {
        Netstack *stack; /* (borrowed) */
        Timer timer;     /* for the forwards below, at once */
        uint32_t again[FORWARDS_MAX]; /* ids of forwards whose sockets were not read empty */
        unsigned n_again;
        uint8_t *scratch; /* (owned) UDP_RECV_BATCH times UDP_SCRATCH_LEN: touched only where it is used */
        HostMsg msgs[UDP_RECV_BATCH];
        struct iovec iov[UDP_RECV_BATCH][2];
};

/* Where a batch comes from, and how it is received. */
typedef struct UdpSource {
        Flow *flow;    /* (borrowed) a mapping, or NULL ... */
        Forward *fw;   /* (borrowed) ... a forward */
        int fd;
        uint8_t *room; /* L4 of the first message */
        size_t stride, room_len;
        unsigned n;    /* rooms */
} UdpSource;

static void udp_receive_timer(Timer *timer, usec_t now, void *userdata);

int udp_receive_new(UdpReceive **ret, Netstack *s) {
        UdpReceive *r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;

        r->scratch = malloc((size_t) UDP_RECV_BATCH * UDP_SCRATCH_LEN);
        if (!r->scratch) {
                free(r);
                return -ENOMEM;
        }
        r->stack = s;
        timer_init(&r->timer, udp_receive_timer);
        *ret = r;
        return 0;
}

UdpReceive *udp_receive_free(UdpReceive *r) {
        if (!r)
                return NULL;

        timer_stop(&r->stack->timers, &r->timer);
        free(r->scratch);
        free(r);
        return NULL;
}

/* ---- one datagram ---- */

typedef struct UdpTarget {
        Endpoint src, dst;
        const MacAddr *mac; /* (nullable) */
        uint32_t mtu;
} UdpTarget;

/* Who it comes from as the guest knows him: by the map, or by his own address, whichever it has sent to. */
static IpAddr udp_source_in(Netstack *s, const Flow *f, const IpAddr *peer) {
        IpAddr src = netstack_source_for(s, &f->key.guest, peer);

        return !udp_peer_is_known(f, &src) && udp_peer_is_known(f, peer) ? *peer : src;
}

/* Where the datagram goes and as whose; false (counted) when it goes nowhere. */
static bool udp_target(Netstack *s, const UdpSource *from, const HostMsg *m, UdpTarget *ret) {
        Flow *f = from->flow;

        if (m->truncated || m->peer.port == 0) {
                netstack_drop(s, DROP_UDP_FILTERED);
                return false;
        }
        if (from->fw) {
                MacAddr mac;

                f = udp_inbound_flow(s, from->fw, &m->peer, &m->local);
                if (!f)
                        return false;
                *ret = (UdpTarget){ .src = { f->key.remote, f->key.remote_port } };
                if (!arp_lookup(s->arp, &f->key.guest, &mac, &ret->mtu))
                        ret->mtu = 0;
                from->fw->stats.tx_bytes += m->len;
        } else {
                IpAddr src = udp_source_in(s, f, &m->peer.addr);

                /* The second: nobody outside has an address of the subnet, so none passes for the host. */
                bool known = f->udp.search ? !netstack_is_ours(s, &src) : udp_peer_is_known(f, &src);
                if (!known || netstack_is_inside(s, &m->peer.addr)) {
                        netstack_drop(s, DROP_UDP_FILTERED);
                        return false;
                }
                f->udp.answered = true;
                *ret = (UdpTarget){ .src = { src, m->peer.port },
                                    .mac = &f->guest_mac,
                                    .mtu = f->guest_mtu };
        }
        ret->dst = (Endpoint){ f->key.guest, f->key.guest_port };
        f->last_used = netstack_now(s);
        f->tx_bytes += m->len;
        return true;
}

/* Will it leave as one frame? */
static bool udp_is_one_frame(const UdpTarget *t, const HostMsg *m) {
        size_t unit = m->gso_size > 0 && m->len > m->gso_size ? m->gso_size : m->len;

        return ip_header_len(&t->dst.addr) + UDP_HEADER_LEN + unit <= (t->mtu > 0 ? t->mtu : 1500);
}

/* Sends a datagram that lies outside the arena; a run of datagrams that would each have to be cut goes one
 * by one. */
static void udp_emit_copy(Netstack *s, const UdpTarget *t, const HostMsg *m, const uint8_t *payload) {
        size_t step = m->gso_size > 0 && !udp_is_one_frame(t, m) ? m->gso_size : m->len;

        for (size_t off = 0; off == 0 || off < m->len; off += MAX(step, (size_t) 1)) {
                size_t len = MIN(step, m->len - off);
                uint8_t *l4 = netstack_tx_reserve(s, UDP_HEADER_LEN + len);

                memcpy(l4 + UDP_HEADER_LEN, payload + off, len);
                udp_emit(s, &t->src, &t->dst, t->mac, t->mtu, l4, len, m);
        }
}

/* ---- a batch ---- */

static void udp_rooms(Netstack *s, UdpReceive *r, UdpSource *from, bool big) {
        from->n = big ? UDP_BIG_BATCH : UDP_RECV_BATCH;
        from->room_len = big ? UDP_PAYLOAD_MAX : UDP_ROOM;
        from->stride = ROOM_STRIDE(from->room_len);
        from->room = netstack_tx_reserve(s, from->n * from->stride);

        for (unsigned i = 0; i < from->n; i++) {
                r->iov[i][0] = (struct iovec){ from->room + i * from->stride + UDP_HEADER_LEN,
                                               from->room_len };
                r->iov[i][1] = (struct iovec){ r->scratch + i * UDP_SCRATCH_LEN + UDP_ROOM,
                                               UDP_SCRATCH_LEN - UDP_ROOM };
                r->msgs[i] = (HostMsg){ .iov = r->iov[i], .n_iov = big ? 1 : 2 };
        }
}

/* Completes messages [@i, @n) in scratch memory. */
static void udp_spill(UdpReceive *r, const UdpSource *from, unsigned i, unsigned n) {
        for (; i < n; i++)
                memcpy(r->scratch + i * UDP_SCRATCH_LEN, from->room + i * from->stride + UDP_HEADER_LEN,
                       MIN(r->msgs[i].len, from->room_len));
}

/* Datagrams of one length from one place to one place, side by side: they leave as one frame (USO). */
typedef struct UdpRun {
        UdpTarget to;
        HostMsg msg;   /* of the first; len of all */
        uint8_t *l4;   /* where it is built; NULL: there is none */
        unsigned n;
        size_t unit;
} UdpRun;

static void udp_run_send(Netstack *s, UdpRun *run) {
        if (!run->l4)
                return;
        if (run->n > 1)
                run->msg.gso_size = (uint16_t) run->unit;
        udp_emit(s, &run->to.src, &run->to.dst, run->to.mac, run->to.mtu, run->l4, run->msg.len, &run->msg);
        run->l4 = NULL;
}

/* Appends @m, whose room lies behind the run's, and so is wider than what it brings here. False when it can't be part of the run. */
static bool udp_run_add(UdpRun *run, const UdpTarget *to, const HostMsg *m, const uint8_t *payload) {
        if (!run->l4 || run->msg.gso_size > 0 || m->gso_size > 0 || m->len == 0 || m->len > run->unit ||
            run->msg.len != run->n * run->unit || run->n == UDP_SEGMENTS_MAX || run->msg.len + m->len > UDP_RUN_MAX)
                return false;
        if (m->tos != run->msg.tos || m->ttl != run->msg.ttl || to->mac != run->to.mac || to->mtu != run->to.mtu ||
            !endpoint_equal(&to->src, &run->to.src) || !endpoint_equal(&to->dst, &run->to.dst))
                return false;

        memmove(run->l4 + UDP_HEADER_LEN + run->msg.len, payload, m->len);
        run->msg.len += m->len;
        run->n++;
        return true;
}

/* Hands @n received messages on. Returns whether any was longer than a small room. */
static bool udp_deliver(Netstack *s, UdpReceive *r, const UdpSource *from, unsigned n) {
        bool spilled = false, long_seen = false;
        UdpRun run = {};

        for (unsigned i = 0; i < n; i++) {
                HostMsg *m = &r->msgs[i];
                UdpTarget t;

                long_seen = long_seen || m->len > UDP_ROOM;
                if (!udp_target(s, from, m, &t))
                        continue;
                if (!spilled && (m->len > from->room_len || !udp_is_one_frame(&t, m))) {
                        udp_run_send(s, &run);
                        udp_spill(r, from, i, n);
                        spilled = true;
                }
                if (spilled) {
                        udp_emit_copy(s, &t, m, r->scratch + i * UDP_SCRATCH_LEN);
                        continue;
                }

                uint8_t *l4 = from->room + i * from->stride;
                if (!udp_run_add(&run, &t, m, l4 + UDP_HEADER_LEN)) {
                        udp_run_send(s, &run);
                        run = (UdpRun){ .to = t, .msg = *m, .l4 = l4, .n = 1, .unit = m->len };
                }
        }
        udp_run_send(s, &run);
        return long_seen;
}

/* Reads until the socket is empty: true. False: there is more, and it is others' turn. @big: whether long
 * ones are expected. */
static bool udp_drain(Netstack *s, UdpSource *from, bool *big) {
        UdpReceive *r = udp_receiver(s->udp);
        unsigned errors = 0;

        for (unsigned round = 0; round < UDP_ROUNDS_MAX; round++) {
                udp_rooms(s, r, from, *big);
                int n = s->ops->dgram_recv(s->userdata, from->fd, r->msgs, from->n);

                if (n == -EAGAIN || n == 0)
                        return true;
                if (n < 0) { /* older errors that were waiting to be told, or a socket past use */
                        if (++errors == UDP_RECV_ERRORS_MAX)
                                return true;
                        continue;
                }
                *big = udp_deliver(s, r, from, MIN((unsigned) n, from->n));
                if ((unsigned) n < from->n) /* it looked for one more */
                        return true;
        }
        return false;
}

/* ---- events ---- */

static void udp_flow_errors(Netstack *s, Flow *f) {
        HostError e;

        for (unsigned i = 0; i < UDP_ERRORS_MAX && s->ops->dgram_error(s->userdata, f->fd, &e) == 0; i++) {
                Endpoint remote = { udp_source_in(s, f, &e.peer.addr), e.peer.port };

                if (udp_peer_is_known(f, &remote.addr))
                        (void) icmp_relay_error(s, &(Endpoint){ f->key.guest, f->key.guest_port }, &remote,
                                                IPPROTO_UDP, &e);
                else
                        netstack_drop(s, DROP_UDP_FILTERED);
        }
}

void udp_host_event(Netstack *s, Flow *f, uint32_t events) {
        if (events & HOST_EVENT_ERROR)
                udp_flow_errors(s, f);
        if (!(events & HOST_EVENT_IN))
                return;

        UdpSource from = { .flow = f, .fd = f->fd };
        f->udp.readable = !udp_drain(s, &from, &f->udp.big);
        if (f->udp.readable)
                (void) timer_set(&s->timers, &f->timer, netstack_now(s));
}

static void udp_forward_errors(Netstack *s, Forward *fw) {
        HostError e;

        for (unsigned i = 0; i < UDP_ERRORS_MAX && s->ops->dgram_error(s->userdata, fw->fd, &e) == 0; i++) {
                Flow *f = udp_inbound_flow(s, fw, &e.peer, /* local= */ NULL);

                if (f)
                        (void) icmp_relay_error(s, &(Endpoint){ f->key.guest, f->key.guest_port },
                                                &(Endpoint){ f->key.remote, f->key.remote_port },
                                                IPPROTO_UDP, &e);
        }
}

void udp_forward_event(Netstack *s, Forward *fw, uint32_t events) {
        if (events & HOST_EVENT_ERROR)
                udp_forward_errors(s, fw);
        UdpReceive *r = udp_receiver(s->udp);
        UdpSource from = { .fw = fw, .fd = fw->fd };
        bool big = false;

        if (fw->config.ends_with_peer && (events & HOST_EVENT_HUP)) { /* what it has said still goes, as far as a buffer holds */
                for (unsigned i = 0; i < UDP_LAST_TURNS && !udp_drain(s, &from, &big);)
                        i++;
                (void) netstack_forward_remove(s, fw->config.id);
                return;
        }
        if (!(events & HOST_EVENT_IN))
                return;

        if (udp_drain(s, &from, &big))
                return;
        for (unsigned i = 0; i < r->n_again; i++)
                if (r->again[i] == fw->config.id)
                        return;
        if (r->n_again == FORWARDS_MAX) { /* some of these are gone by now */
                unsigned n = 0;

                for (unsigned i = 0; i < r->n_again; i++)
                        if (forward_by_id(s->forwards, r->again[i]))
                                r->again[n++] = r->again[i];
                r->n_again = n;
        }
        r->again[r->n_again++] = fw->config.id;
        (void) timer_set(&s->timers, &r->timer, netstack_now(s));
}

static void udp_receive_timer(Timer *timer, usec_t now, void *userdata) {
        UdpReceive *r = CONTAINER_OF(timer, UdpReceive, timer);
        unsigned n = r->n_again;
        uint32_t ids[FORWARDS_MAX];

        memcpy(ids, r->again, n * sizeof(*ids));
        r->n_again = 0;
        for (unsigned i = 0; i < n; i++) {
                Forward *fw = forward_by_id(r->stack->forwards, ids[i]);

                if (fw)
                        udp_forward_event(r->stack, fw, HOST_EVENT_IN);
        }
}
