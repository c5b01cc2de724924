/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sending to a socket: frames are cut as the far end needs them, and many go in one system call, straight from their pieces.
 *
 * When the kernel takes less, the frame amid which it stopped is kept (copied, the only copy there is) and finished before anything else;
 * those behind it stay the caller's, who is told when there is room. So the queue here is never longer than one frame.
 */

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "device/sock-private.h"

#define HEAD_MAX 256 /* of a frame that was cut */
#define ROOM_MIN FRAME_LEN_MAX /* who has so much to send waits until there is as much room */

_Static_assert(OFFLOAD_HEADROOM >= FRAMING_HEADER_MAX, "a length fits before a frame that was changed");
#define PENDING_MAX (FRAME_LEN_MAX + OFFLOAD_FRAMES_MAX * (HEAD_MAX + FRAMING_HEADER_MAX))

int sock_send_alloc(Sock *s) {
        s->pending.bytes = malloc(PENDING_MAX);
        s->tx = malloc(sizeof(*s->tx));
        if (!s->pending.bytes || !s->tx)
                return -ENOMEM;
        memset(s->tx->splits, 0, sizeof(s->tx->splits));
        for (unsigned i = 0; i < SOCK_TX_SPLITS; i++)
                if (!(s->tx->splits[i] = offload_split_new()))
                        return -ENOMEM;
        return 0;
}

void sock_send_free(Sock *s) {
        for (unsigned i = 0; s->tx && i < SOCK_TX_SPLITS; i++)
                offload_split_free(s->tx->splits[i]);
        free(s->tx);
        free(s->pending.bytes);
}

void sock_drop_tx(Sock *s, Drop reason, unsigned n) {
        counter_add(&s->device.counters.tx_dropped, n);
        counter_add(&s->device.counters.drops[reason], n);
}

static void count_sent(Sock *s, unsigned n, uint64_t bytes) {
        counter_add(&s->device.counters.tx_frames, n);
        counter_add(&s->device.counters.tx_bytes, bytes);
}

static bool would_block(int error) {
        return error == EAGAIN || error == EWOULDBLOCK;
}

static bool is_short_of_memory(int error) {
        return error == ENOBUFS || error == ENOMEM;
}

/* ---- what is left of a frame ---- */

static ssize_t send_bytes(Sock *s, const uint8_t *bytes, size_t len) {
        ssize_t n;

        do
                n = send(s->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n;
}

bool sock_send_pending(Sock *s) {
        SockPending *p = &s->pending;

        while (p->begin < p->end) {
                size_t skip = 0, len = p->end - p->begin;
                uint32_t message;
                ssize_t n;

                if (!sock_is_stream(s)) {
                        memcpy(&message, p->bytes + p->begin, sizeof(message));
                        skip = sizeof(message);
                        len = message;
                }
                n = send_bytes(s, p->bytes + p->begin + skip, len);
                if (n < 0) {
                        if (would_block(errno))
                                return false;
                        if (is_short_of_memory(errno) && sock_is_stream(s)) { /* without its rest the stream would be out of step */
                                sock_send_later(s);
                                return false;
                        }
                        if (is_short_of_memory(errno) || (errno == EMSGSIZE && !sock_is_stream(s))) {
                                sock_drop_tx(s, DROP_DEVICE_FULL, 1);
                                n = (ssize_t) len;
                        } else {
                                sock_break(s, -errno);
                                return false;
                        }
                }
                p->begin += skip + (size_t) n;
        }
        p->begin = p->end = 0;
        return true;
}

/* Keeps the rest of an input frame: its frames on the wire from @i on, of which @sent bytes of the first have gone. */
static void keep_rest(Sock *s, unsigned i, size_t sent) {
        unsigned input = s->tx->frames[i].input, n = 0;
        SockPending *p = &s->pending;

        p->begin = p->end = 0;
        for (; i < s->tx->n_frames && s->tx->frames[i].input == input; i++, sent = 0, n++) {
                if (!sock_is_stream(s)) {
                        memcpy(p->bytes + p->end, &s->tx->frames[i].len, sizeof(uint32_t));
                        p->end += sizeof(uint32_t);
                }
                for (unsigned k = s->tx->frames[i].iov; k < s->tx->frames[i + 1].iov; k++) {
                        const struct iovec *v = &s->tx->iov[k];
                        size_t skip = MIN(sent, v->iov_len);

                        assert(p->end + v->iov_len - skip <= PENDING_MAX);
                        memcpy(p->bytes + p->end, (uint8_t *) v->iov_base + skip, v->iov_len - skip);
                        p->end += v->iov_len - skip;
                        sent -= skip;
                }
        }
        count_sent(s, n, p->end); /* they will go, or fall with the link */
}

/* ---- a batch ---- */

/* How many frames on the wire @f may become. */
static unsigned expect_cuts(const Frame *f) {
        uint16_t size = le16toh(f->hdr.gso_size);

        if (f->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE)
                return 1;
        return size == 0 ? OFFLOAD_FRAMES_MAX : MIN(DIV_ROUND_UP(f->len, (uint32_t) size), (uint32_t) OFFLOAD_FRAMES_MAX);
}

static bool has_room(const SockTx *tx, const Frame *f) {
        unsigned n = expect_cuts(f), iov = n == 1 ? f->n_iov + 2 : 4 * n + f->n_iov;

        return tx->n_splits < SOCK_TX_SPLITS && tx->n_frames + n <= SOCK_TX_FRAMES && tx->n_iov + iov <= SOCK_TX_IOV;
}

/* False: the frame does not fit a framing or one call, and is not in the batch. @roomy: it has OFFLOAD_HEADROOM, and its length goes there:
 * each piece less is a copy less for the kernel to begin. */
static bool add_wire_frame(Sock *s, unsigned input, const Frame *f, bool roomy) {
        SockTx *tx = s->tx;
        unsigned header = 0, n = tx->n_frames;

        if (f->len > FRAMING_FRAME_MAX || n == SOCK_TX_FRAMES || tx->n_iov + f->n_iov + 1 > SOCK_TX_IOV)
                return false;
        tx->frames[n].input = (uint16_t) input;
        tx->frames[n].iov = (uint16_t) tx->n_iov;
        if (!sock_is_stream(s))
                tx->msgs[n] = (struct mmsghdr){ .msg_hdr = { .msg_iov = tx->iov + tx->n_iov, .msg_iovlen = f->n_iov } };
        else {
                header = framing_put_header(s->kind->framing, f->len, tx->headers[n]);
                if (header == 0)
                        return false;
                if (!roomy)
                        tx->iov[tx->n_iov++] = (struct iovec){ tx->headers[n], header };
        }
        struct iovec *first = tx->iov + tx->n_iov;
        memcpy(first, f->iov, f->n_iov * sizeof(*f->iov));
        tx->n_iov += f->n_iov;
        if (roomy && header > 0) {
                first->iov_base = (uint8_t *) first->iov_base - header;
                first->iov_len += header;
                memcpy(first->iov_base, tx->headers[n], header);
        }
        tx->frames[n].len = header + f->len;
        tx->frames[++tx->n_frames].iov = (uint16_t) tx->n_iov;
        return true;
}

/* Takes frames from @begin on as long as they fit; returns where it stopped. One that cannot be carried is dropped and counted. */
static unsigned gather(Sock *s, const Frame *frames, unsigned begin, unsigned n) {
        SockTx *tx = s->tx;
        unsigned i;

        tx->n_frames = tx->n_iov = tx->n_splits = 0;
        for (i = begin; i < n && (i == begin || has_room(tx, &frames[i])); i++) {
                const Frame *f = &frames[i];
                Drop reason = DROP_DEVICE_TOO_BIG;
                unsigned n_cut = 1, before = tx->n_frames, iov_before = tx->n_iov;
                bool changes = f->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM || f->hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE;

                if (changes) {
                        n_cut = offload_split(tx->splits[tx->n_splits++], f, 0, tx->cut, &reason);
                        f = tx->cut;
                }
                for (unsigned k = 0; k < n_cut; k++)
                        if (!add_wire_frame(s, i, &f[k], changes)) {
                                n_cut = 0;
                                reason = DROP_DEVICE_TOO_BIG;
                        }
                if (n_cut == 0) {
                        sock_drop_tx(s, reason, 1);
                        tx->n_frames = before;
                        tx->n_iov = iov_before;
                }
        }
        return i;
}

/* Both send the batch: how many of its frames went, all of them in order, and how many bytes of the next (*@ret_bytes). */
static unsigned send_stream(Sock *s, size_t *ret_bytes) {
        struct msghdr m = { .msg_iov = s->tx->iov, .msg_iovlen = s->tx->n_iov };
        unsigned i = 0;
        ssize_t n;

        do
                n = sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        if (n < 0 && is_short_of_memory(errno))
                sock_send_later(s);
        else if (n < 0 && !would_block(errno))
                sock_break(s, -errno);

        size_t left = n < 0 ? 0 : (size_t) n;
        for (; i < s->tx->n_frames && left >= s->tx->frames[i].len; i++)
                left -= s->tx->frames[i].len;
        *ret_bytes = left;
        return i;
}

static unsigned send_messages(Sock *s, size_t *ret_bytes) {
        unsigned i = 0;

        *ret_bytes = 0;
        while (i < s->tx->n_frames) {
                int n = sendmmsg(s->fd, s->tx->msgs + i, s->tx->n_frames - i, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (n >= 0) {
                        i += (unsigned) n;
                        continue;
                }
                if (would_block(errno))
                        break;
                if (errno == EMSGSIZE || is_short_of_memory(errno)) {
                        /* longer than the socket's buffer, or no memory: no event would end that */
                        sock_drop_tx(s, errno == EMSGSIZE ? DROP_DEVICE_TOO_BIG : DROP_DEVICE_FULL, 1);
                        s->tx->frames[i++].len = 0;
                } else if (errno != EINTR) {
                        sock_break(s, -errno);
                        break;
                }
        }
        return i;
}

size_t sock_room(Device *d) {
        Sock *s = sock_of(d);
        int waiting;

        if (!s->up || s->broken)
                return SIZE_MAX; /* nothing waits for it */
        if (s->blocked)
                return 0;
        if (s->send_buffer == 0 || ioctl(s->fd, SIOCOUTQ, &waiting) < 0)
                return SIZE_MAX;
        if (waiting > s->send_buffer / 4 && s->send_buffer - waiting < ROOM_MIN) { /* above a quarter: the kernel has an event for less */
                sock_block(s);
                return 0;
        }
        return (size_t) MAX(s->send_buffer - waiting, 1);
}

static void count_batch(Sock *s, unsigned n) {
        uint64_t bytes = 0;
        unsigned sent = 0;

        for (unsigned i = 0; i < n; i++)
                if (s->tx->frames[i].len > 0) { /* else it was dropped */
                        bytes += s->tx->frames[i].len - (sock_is_stream(s) ? framing_header_len(s->kind->framing) : 0);
                        sent++;
                }
        count_sent(s, sent, bytes);
}

/* How many frames given to send() the batch has that did not go, or not whole, when its frames up to @went did. */
static unsigned count_left(const SockTx *tx, unsigned went) {
        unsigned n = 0;

        for (unsigned i = went; i < tx->n_frames; i++)
                n += i == went || tx->frames[i].input != tx->frames[i - 1].input;
        return n;
}

/**
 * sock_send() - DeviceOps.send() of every socket device
 *
 * Return: how many frames were taken. Frames while nobody is connected are taken, and counted as dropped: there is no room to wait for.
 */
unsigned sock_send(Device *d, Frame *frames, unsigned n) {
        Sock *s = sock_of(d);
        unsigned i = 0;

        if (!s->up || s->broken) {
                sock_drop_tx(s, DROP_DEVICE_DOWN, n);
                return n;
        }
        if (s->pending.begin < s->pending.end && !sock_send_pending(s)) {
                sock_block(s);
                if (s->broken)
                        sock_drop_tx(s, DROP_DEVICE_DOWN, n);
                return s->broken ? n : 0;
        }
        while (i < n && !s->broken) {
                unsigned next = gather(s, frames, i, n), went;
                size_t bytes;

                if (s->tx->n_frames > 0) {
                        went = sock_is_stream(s) ? send_stream(s, &bytes) : send_messages(s, &bytes);
                        count_batch(s, went);
                        if (went < s->tx->n_frames && !s->broken) {
                                unsigned input = s->tx->frames[went].input;
                                bool begun = bytes > 0 || (went > 0 && s->tx->frames[went - 1].input == input);

                                if (begun)
                                        keep_rest(s, went, bytes);
                                sock_block(s);
                                return input + begun;
                        }
                        if (s->broken)
                                sock_drop_tx(s, DROP_DEVICE_DOWN, count_left(s->tx, went));
                }
                i = next;
        }
        if (s->broken && i < n)
                sock_drop_tx(s, DROP_DEVICE_DOWN, n - i);
        return n;
}
