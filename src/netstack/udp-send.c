/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UDP to host sockets. Datagrams of one input batch that leave by one socket leave in one call, and those of one length to one place
 * as one run (UDP_SEGMENT): the host's stack is then walked once for all of them, and cuts them apart where they arrive. Keeps no
 * payload: what a socket does not take is dropped, and what the host says about it is told.
 */

#include <errno.h>
#include <netinet/ip_icmp.h>

#include "netstack/flow.h"
#include "netstack/icmp.h"
#include "netstack/ip.h"
#include "netstack/udp.h"

#define UDP_OUT_MAX FRAME_BATCH_MAX
#define UDP_OUT_IOV_MAX (4 * FRAME_IOV_MAX)

typedef struct UdpOut {
        Flow *flow;      /* (borrowed: until the batch ends) */
        int fd;          /* (borrowed) of the flow or of its forward */
        Endpoint remote; /* as the guest sees it */
        HostMsg msg;
} UdpOut;

struct UdpSend {
        Netstack *stack; /* (borrowed) */

        /* what the batch under way sends */
        unsigned n_out, n_iov;
        UdpOut out[UDP_OUT_MAX];
        struct iovec iov[UDP_OUT_IOV_MAX];

        /* of it, what leaves by one socket, joined to runs */
        unsigned n_msgs, n_joined;
        HostMsg msgs[UDP_OUT_MAX];
        uint8_t first[UDP_OUT_MAX]; /* the message's first datagram: an index into out */
        struct iovec joined[UDP_OUT_IOV_MAX];
};

int udp_send_new(UdpSend **ret, Netstack *s) {
        UdpSend *u = calloc(1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        u->stack = s;
        *ret = u;
        return 0;
}

UdpSend *udp_send_free(UdpSend *u) {
        free(u);
        return NULL;
}

/* ---- sending what the batch collected ---- */

static unsigned udp_datagrams(const HostMsg *m) {
        return m->gso_size > 0 ? (unsigned) DIV_ROUND_UP(m->len, (size_t) m->gso_size) : 1;
}

static bool udp_is_full(int r) {
        return r == -EAGAIN || r == -ENOBUFS || r == -ENOMEM;
}

/* Does the host refuse the run, and might take its datagrams? */
static bool udp_is_no_run(int r) {
        return r == -EINVAL || r == -EMSGSIZE || r == -EIO;
}

/* Of what begins with @o's datagram @n could not be sent: counted, and told as the host's stack would tell it. */
static void udp_send_failed(Netstack *s, const UdpOut *o, unsigned n, int error) {
        HostError e = { .peer = o->msg.peer, .error = error };
        IovCur bytes = iovcur_make(o->msg.iov, o->msg.n_iov, sizeof(e.payload));

        counter_add(&s->counters.drops[DROP_UDP_SEND], n);
        e.payload_len = iovcur_left(&bytes);
        (void) iovcur_copy(&bytes, e.payload, e.payload_len);
        (void) icmp_relay_error(s, &(Endpoint){ o->flow->key.guest, o->flow->key.guest_port }, &o->remote,
                                IPPROTO_UDP, &e);
}

/* The first error of a socket may be an older one that was waiting to be told, and says nothing about the
 * message at hand: so each has two tries. */
static int udp_try(Netstack *s, int fd, const HostMsg *msgs, unsigned n) {
        int r = s->ops->dgram_send(s->userdata, fd, msgs, n);

        return r < 0 && !udp_is_full(r) ? s->ops->dgram_send(s->userdata, fd, msgs, n) : r;
}

/* A run whose datagrams the host's own link would have to cut, or whose link knows no runs: the kernel
 * refuses it, and takes them one by one. 0, or the error of the first that failed; @ret_left: how many did not go. */
static int udp_send_singly(Netstack *s, int fd, const HostMsg *run, unsigned *ret_left) {
        IovCur bytes = iovcur_make(run->iov, run->n_iov, run->len);

        for (*ret_left = udp_datagrams(run); *ret_left > 0; (*ret_left)--) {
                struct iovec iov[FRAME_IOV_MAX];
                HostMsg one = *run;

                one.gso_size = 0;
                one.len = MIN(iovcur_left(&bytes), (size_t) run->gso_size);
                one.iov = iov;
                one.n_iov = iovcur_slice(&bytes, one.len, iov, ELEMENTSOF(iov));
                int r = udp_try(s, fd, &one, 1);
                if (r <= 0)
                        return r < 0 ? r : -EAGAIN;
        }
        return 0;
}

/* Appends @o's datagram to the run that @run is or becomes. False when it can't be part of it: of another length, to another place,
 * behind a shorter one. */
static bool udp_join(UdpSend *u, HostMsg *run, const UdpOut *begin, const UdpOut *o) {
        size_t unit = run->gso_size > 0 ? run->gso_size : run->len;
        const HostMsg *m = &o->msg;

        if (m->gso_size > 0 || m->len == 0 || m->len > unit || unit > UINT16_MAX || run->len % unit != 0 ||
            run->len / unit >= UDP_SEGMENTS_MAX || run->len + m->len > UDP_RUN_MAX)
                return false;
        if (o->flow != begin->flow || o->flow->udp.no_runs || m->tos != run->tos || m->ttl != run->ttl ||
            !endpoint_equal(&m->peer, &run->peer) || !endpoint_equal(&o->remote, &begin->remote))
                return false;

        memcpy(u->joined + u->n_joined, m->iov, m->n_iov * sizeof(*m->iov));
        u->n_joined += m->n_iov;
        run->n_iov += m->n_iov;
        run->len += m->len;
        run->gso_size = (uint16_t) unit;
        return true;
}

/* Gathers what leaves by the socket of out[@i]: u->msgs. */
static void udp_gather(UdpSend *u, unsigned i) {
        int fd = u->out[i].fd;

        u->n_msgs = u->n_joined = 0;
        for (unsigned j = i; j < u->n_out; j++) {
                UdpOut *o = &u->out[j];

                if (o->fd != fd)
                        continue;
                o->fd = -EBADF;
                if (o->flow->closing) { /* made room in this very batch: closed */
                        netstack_drop(u->stack, DROP_UDP_FLOW_LIMIT);
                        continue;
                }
                if (u->n_msgs > 0 && udp_join(u, &u->msgs[u->n_msgs - 1], &u->out[u->first[u->n_msgs - 1]], o))
                        continue;
                u->first[u->n_msgs] = (uint8_t) j;
                u->msgs[u->n_msgs] = o->msg;
                u->msgs[u->n_msgs++].iov = memcpy(u->joined + u->n_joined, o->msg.iov, o->msg.n_iov * sizeof(*o->msg.iov));
                u->n_joined += o->msg.n_iov;
        }
}

/* Sends what was gathered, by one socket. */
static void udp_send_gathered(UdpSend *u, int fd) {
        Netstack *s = u->stack;

        for (unsigned sent = 0; sent < u->n_msgs;) {
                UdpOut *o = &u->out[u->first[sent]];
                int r = udp_try(s, fd, u->msgs + sent, u->n_msgs - sent);
                unsigned left = udp_datagrams(&u->msgs[sent]);

                if (r > 0) {
                        sent += MIN((unsigned) r, u->n_msgs - sent);
                        continue;
                }
                if (r == 0 || udp_is_full(r)) {
                        for (; sent < u->n_msgs; sent++)
                                counter_add(&s->counters.drops[DROP_UDP_SEND], udp_datagrams(&u->msgs[sent]));
                        return;
                }
                if (u->msgs[sent].gso_size > 0 && udp_is_no_run(r)) {
                        o->flow->udp.no_runs = true;
                        r = udp_send_singly(s, fd, &u->msgs[sent], &left);
                }
                if (r < 0)
                        udp_send_failed(s, o, left, -r);
                sent++;
        }
}

void udp_input_done(Netstack *s) {
        UdpSend *u = udp_sender(s->udp);

        for (unsigned i = 0; i < u->n_out; i++) {
                int fd = u->out[i].fd;

                if (fd < 0) /* has gone with an earlier one's */
                        continue;
                udp_gather(u, i);
                udp_send_gathered(u, fd);
        }
        u->n_out = u->n_iov = 0;
}

/* Notes one message for the end of the batch; @bytes are its payload. */
static void udp_collect(Netstack *s, Flow *f, int fd, const Endpoint *remote, const Endpoint *peer,
                        const Packet *p, IovCur *bytes, size_t len) {
        UdpSend *u = udp_sender(s->udp);

        if (u->n_out == UDP_OUT_MAX || u->n_iov + FRAME_IOV_MAX > UDP_OUT_IOV_MAX)
                udp_input_done(s);

        struct iovec *iov = &u->iov[u->n_iov];
        unsigned n = iovcur_slice(bytes, len, iov, FRAME_IOV_MAX);
        if (n == 0 && len > 0)
                return netstack_drop(s, DROP_UDP_MALFORMED);

        bool run = p->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 && len > p->gso_size;
        u->n_iov += n;
        u->out[u->n_out++] = (UdpOut){
                .flow = f,
                .fd = fd,
                .remote = *remote,
                .msg = {
                        .peer = *peer,
                        .local = f->udp.local,
                        .iov = iov,
                        .n_iov = n,
                        .len = len,
                        .gso_size = run ? p->gso_size : 0,
                        .tos = p->tos,
                        .ttl = ip_ttl_out(s, p),
                },
        };
}

/* The payload of one packet: one message, or a run of datagrams in as many messages as the kernel's limit
 * asks for. */
void udp_collect_packet(Netstack *s, Flow *f, int fd, uint16_t dport, const Endpoint *peer, const Packet *p,
                        IovCur *payload) {
        Endpoint remote = { p->dst, dport };
        size_t left = iovcur_left(payload), step = left;

        f->last_used = netstack_now(s);
        f->rx_bytes += left;
        f->guest_mac = p->src_mac;
        f->guest_mtu = s->port ? s->port->mtu : 0;
        if (p->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 && p->gso_size > 0)
                step = (size_t) p->gso_size * UDP_SEGMENTS_MAX;
        do {
                size_t len = MIN(left, step);

                udp_collect(s, f, fd, &remote, peer, p, payload, len);
                left -= len;
        } while (left > 0);
}

