/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Receiving from a socket that keeps messages apart: a frame each, a batch with one system call.
 *
 * A datagram socket that listens learns its peer from the first datagram that has a sender's name, and connects to it: from then on the
 * kernel turns others away. Nothing tells when such a peer dies, so it is asked for while it is silent: who connects to its name is refused
 * by the kernel in one way when it lives and in another when it is dead.
 */

#include <errno.h>
#include <poll.h>

#include "device/sock-private.h"

#define CACHE_LINE 64
#define VLAN_LEN 4
#define ETHERTYPE_EXPERIMENTAL 0x88b5 /* IEEE 802: for local experiments; every stack passes over it */

static const char magic[4] = { 'V', 'F', 'K', 'T' };

int sock_message_alloc(Sock *s) {
        size_t len = ETH_HEADER_LEN + VLAN_LEN + s->device.mtu + 1; /* one more byte tells a frame that is too long */

        /* An odd number of cache lines, so that the beginnings of frames do not share one set of the cache. */
        s->slot_len = (DIV_ROUND_UP(len, (size_t) CACHE_LINE) | 1) * CACHE_LINE;
        s->arena_len = FRAME_BATCH_MAX * s->slot_len;
        s->arena = aligned_alloc(CACHE_LINE, s->arena_len);
        if (!s->arena)
                return -ENOMEM;
        for (unsigned i = 0; i < FRAME_BATCH_MAX; i++) {
                s->iov[i] = (struct iovec){ s->arena + i * s->slot_len, len };
                s->msgs[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &s->iov[i], .msg_iovlen = 1 } };
        }
        return 0;
}

static bool is_magic(const Sock *s, const uint8_t *at, size_t len) {
        return s->kind->magic && len == sizeof(magic) && memcmp(at, magic, sizeof(magic)) == 0;
}

static size_t max_len(const Sock *s) {
        return ETH_HEADER_LEN + VLAN_LEN + s->device.mtu;
}

/* Takes @n messages that have come. True: an end of stream was among them. */
static bool take_messages(Sock *s, unsigned n) {
        unsigned n_frames = 0;
        bool end = false;

        for (unsigned i = 0; i < n; i++) {
                size_t len = s->msgs[i].msg_len;
                uint8_t *at = s->arena + i * s->slot_len;

                if (len == 0 && s->kind->type == SOCK_SEQPACKET && sock_has_left(s)) {
                        end = true;
                        break;
                }
                if (len > max_len(s) || s->msgs[i].msg_hdr.msg_flags & MSG_TRUNC) {
                        counter_add(&s->device.counters.rx_dropped, 1);
                        counters_drop(&s->device.counters, DROP_ETH_LONG);
                } else if (!is_magic(s, at, len) && sock_accept_frame(s, at, len, n_frames))
                        n_frames++;
        }
        if (n_frames > 0)
                sock_deliver(s, n_frames);
        return end;
}

/* The kernel's reads use the pieces that frames use afterwards. */
static void reset_slots(Sock *s) {
        for (unsigned i = 0; i < FRAME_BATCH_MAX; i++)
                s->iov[i] = (struct iovec){ s->arena + i * s->slot_len, max_len(s) + 1 };
}

/* Waits for the first peer of a datagram socket. True: there is one now, and what it sent was taken. */
static bool find_peer(Sock *s) {
        for (unsigned tries = 0; tries < FRAME_BATCH_MAX; tries++) {
                struct msghdr m = { .msg_name = &s->peer, .msg_namelen = sizeof(s->peer), .msg_iov = s->iov, .msg_iovlen = 1 };
                ssize_t n;

                reset_slots(s);
                n = recvmsg(s->fd, &m, MSG_DONTWAIT);
                if (n < 0)
                        return false;
                s->peer_len = m.msg_namelen;
                /* Without a name there is nobody to answer. */
                if (m.msg_namelen <= offsetof(struct sockaddr_un, sun_path) ||
                    connect(s->fd, (struct sockaddr *) &s->peer, s->peer_len) < 0) {
                        counter_add(&s->device.counters.rx_dropped, 1);
                        counters_drop(&s->device.counters, DROP_DEVICE_DOWN);
                        continue;
                }
                sock_set_up(s);
                s->msgs[0].msg_len = (unsigned) n;
                s->msgs[0].msg_hdr.msg_flags = m.msg_flags;
                (void) take_messages(s, 1);
                return s->loop && !s->broken;
        }
        return false;
}

void sock_message_receive(Sock *s) {
        if (!s->up && !find_peer(s))
                return;

        for (unsigned i = 0; i < SOCK_TURN_READS; i++) {
                int n;

                reset_slots(s);
                n = recvmmsg(s->fd, s->msgs, FRAME_BATCH_MAX, MSG_DONTWAIT, NULL);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        if (errno != EAGAIN && errno != EWOULDBLOCK)
                                sock_break(s, -errno);
                        return;
                }
                s->heard = true;
                bool end = take_messages(s, (unsigned) n);
                if (!s->loop || s->broken)
                        return;
                if (end) {
                        sock_break(s, 0);
                        return;
                }
                if (n < FRAME_BATCH_MAX && !s->hup)
                        return;
        }
        sock_resume_soon(s);
}

void sock_message_forget_peer(Sock *s) {
        struct sockaddr none = { .sa_family = AF_UNSPEC };

        (void) connect(s->fd, &none, sizeof(none));
        s->peer_len = 0;
}

/* A frame that no stack looks at, towards the peer; its socket answers, or is no more. */
static bool poke_is_refused(Sock *s) {
        uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, ETHERTYPE_EXPERIMENTAL >> 8, ETHERTYPE_EXPERIMENTAL & 0xff };

        return send(s->fd, frame, sizeof(frame), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM;
}

void sock_message_probe(Sock *s) {
        _cleanup_close_ int fd = -EBADF;
        bool dead;

        if (s->heard) {
                s->heard = false;
                return;
        }
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return;
        dead = connect(fd, (struct sockaddr *) &s->peer, s->peer_len) < 0 && errno != EPERM;
        if (dead && errno != ECONNREFUSED) /* its name is gone, but it may live on without */
                dead = poke_is_refused(s);
        if (dead)
                sock_break(s, 0);
}
