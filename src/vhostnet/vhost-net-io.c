/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost-net: frames out, frames in, events. No allocation here; system calls only to kick and to take a call event.
 *
 * Out: a frame takes a slot; its header is written to the slot's place in the header slab and its pieces follow (send), or
 * header and bytes are copied into chunks (send_copy). Both are one entry of the ring where indirect tables were negotiated.
 *
 * In: every buffer is one chain, its number the token. Completions are reaped as many as there are, then cut into frames by
 * num_buffers; a frame's completions are always published together, so one that is not whole is a lie.
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "vhostnet/vhost-net-internal.h"

#define LINK_HEADER_MIN 14u

/* -- events -------------------------------------------------------------------------------------------------------- */

void vhost_net_pair_kick(VhostNetQueue *q) {
        uint64_t one = 1;

        /* The kernel heeds the wake-up and never reads the counter; EAGAIN when it is full means it has been woken. */
        (void) !write(q->kick_fd, &one, sizeof(one));
        (*q->kicks)++;
}

static void publish(VhostNetQueue *q) {
        if (vq_driver_publish(q->driver))
                vhost_net_pair_kick(q);
}

bool vhost_net_arm(VhostNet *v, unsigned pair, VhostNetRing ring, unsigned after) {
        VhostNetPair *p = &v->pairs[pair];

        if ((ring == VHOST_NET_RX ? p->n_used : p->n_done) > 0)
                return false;
        return vq_driver_arm(p->q[ring].driver, after);
}

void vhost_net_disarm(VhostNet *v, unsigned pair, VhostNetRing ring) {
        VhostNetPair *p = &v->pairs[pair];
        uint64_t n;

        vq_driver_disarm(p->q[ring].driver);
        if (read(p->q[ring].call_fd, &n, sizeof(n)) == (ssize_t) sizeof(n))
                p->stats.calls++;
}

void vhost_net_mute(VhostNet *v, unsigned pair, VhostNetRing ring) {
        vq_driver_disarm(v->pairs[pair].q[ring].driver);
}

bool vhost_net_pending(const VhostNet *v, unsigned pair, VhostNetRing ring) {
        const VhostNetPair *p = &v->pairs[pair];

        return (ring == VHOST_NET_RX ? p->n_used : p->n_done) > 0 || vq_driver_pending(p->q[ring].driver);
}

/* -- out ----------------------------------------------------------------------------------------------------------- */

void vhost_net_pair_clear(VhostNet *v, VhostNetPair *p) {
        for (unsigned i = 0; i < v->queue_size; i++) {
                p->slots[i] = (VhostNetSlot) { NULL, VHOST_NET_NONE, (uint16_t) (i + 1) };
                p->loaned[i] = false;
        }
        p->slots[v->queue_size - 1].next = VHOST_NET_NONE;
        for (unsigned i = 0; i < v->n_chunks; i++)
                p->chunk_next[i] = (uint16_t) (i + 1);
        p->chunk_next[v->n_chunks - 1] = VHOST_NET_NONE;
        p->free_slot = p->free_chunk = 0;
        p->n_free_chunks = v->n_chunks;
        p->used_first = p->n_used = 0;
        p->filled = false;
}

void vhost_net_pair_finish_slot(VhostNetPair *p, VhostNetSlot *s) {
        while (s->chunk != VHOST_NET_NONE) {
                uint16_t c = s->chunk;

                s->chunk = p->chunk_next[c];
                p->chunk_next[c] = p->free_chunk;
                p->free_chunk = c;
                p->n_free_chunks++;
        }
        if (s->token)
                p->done[(p->done_first + p->n_done++) & (2 * vq_driver_size(p->q[VHOST_NET_TX].driver) - 1)] = s->token;
        s->token = NULL;
        s->next = p->free_slot;
        p->free_slot = (uint16_t) (s - p->slots);
}

int vhost_net_pair_reap(VhostNetPair *p) {
        VqUsed used[VHOST_NET_BATCH_MAX];
        unsigned room = vq_driver_size(p->q[VHOST_NET_TX].driver);
        int n;

        /* Tokens not asked for yet bound how many can be taken. */
        while (p->n_done < room) {
                unsigned max = room - p->n_done < VHOST_NET_BATCH_MAX ? room - p->n_done : VHOST_NET_BATCH_MAX;

                n = vq_driver_reap(p->q[VHOST_NET_TX].driver, used, max);
                if (n <= 0)
                        return n;
                for (int i = 0; i < n; i++)
                        vhost_net_pair_finish_slot(p, used[i].token);
        }
        return 0;
}

/* Sums a frame's pieces and judges its header. */
static int check_frame(const VhostNet *v, VhostNetPair *p, const VhostNetFrame *f, bool copy, size_t *ret_len) {
        size_t len = 0;
        VnetHdrError e;

        if (f->n_iov < 1 || f->n_iov > VHOST_NET_PIECES_MAX)
                return -EINVAL;
        for (unsigned i = 0; i < f->n_iov; i++) {
                if ((f->iov[i].iov_len == 0 && !copy) || f->iov[i].iov_len > UINT32_MAX)
                        return -EINVAL;
                len += f->iov[i].iov_len;
        }
        e = vnet_hdr_validate(&f->hdr, len, v->link);
        if (e != VNET_HDR_OK) {
                p->stats.tx_refused[e]++;
                return -EPROTO;
        }
        *ret_len = len;
        return 0;
}

/* Puts a prepared chain into the ring. Return: 1, 0 (full) or an error; on success the slot is taken. */
static int add_slot(VhostNetPair *p, VhostNetSlot *s, const struct iovec *iov, unsigned n_iov, size_t frame_len) {
        VqChain chain = { .out = iov, .n_out = n_iov, .token = s };
        uint16_t next = s->next;
        int r = vq_driver_add(p->q[VHOST_NET_TX].driver, &chain, 1);

        if (r > 0) {
                p->free_slot = next;
                p->stats.tx_frames++;
                p->stats.tx_bytes += frame_len;
        }
        return r;
}

static int send_in_place(const VhostNet *v, VhostNetPair *p, VhostNetSlot *s, const VhostNetFrame *f, size_t len) {
        struct iovec iov[VHOST_NET_PIECES_MAX + 1];
        char *header = p->headers + (size_t) (s - p->slots) * VHOST_NET_HEADER_SLOT;
        int r;

        (void) vnet_hdr_encode(&f->hdr, v->header_len, header, VHOST_NET_HEADER_SLOT);
        iov[0] = (struct iovec) { header, v->header_len };
        memcpy(&iov[1], f->iov, f->n_iov * sizeof(iov[0]));
        r = add_slot(p, s, iov, f->n_iov + 1, len);
        if (r > 0)
                s->token = f->token;
        return r;
}

/* Copies header and bytes into chunks from the free list on, which become the slot's if the ring has room. */
static int send_chunks(const VhostNet *v, VhostNetPair *p, VhostNetSlot *s, const VhostNetFrame *f, size_t len) {
        size_t total = len + v->header_len, at = v->header_len, left = len, off = 0;
        unsigned need = (unsigned) ((total + VHOST_NET_TX_CHUNK - 1) / VHOST_NET_TX_CHUNK), piece = 0;
        struct iovec iov[VHOST_NET_PIECES_MAX + 1];
        uint16_t c = p->free_chunk, last = VHOST_NET_NONE;
        int r;

        if (need > p->n_free_chunks)
                return 0;
        for (unsigned i = 0; i < need; i++, last = c, c = p->chunk_next[c], at = 0) {
                char *chunk = p->chunks + (size_t) c * VHOST_NET_TX_CHUNK;

                if (i == 0)
                        (void) vnet_hdr_encode(&f->hdr, v->header_len, chunk, VHOST_NET_TX_CHUNK);
                while (at < VHOST_NET_TX_CHUNK && left > 0) {
                        size_t n = f->iov[piece].iov_len - off;

                        n = n < VHOST_NET_TX_CHUNK - at ? n : VHOST_NET_TX_CHUNK - at;
                        if (n > 0)
                                memcpy(chunk + at, (const char *) f->iov[piece].iov_base + off, n);
                        at += n;
                        off += n;
                        left -= n;
                        if (off == f->iov[piece].iov_len) {
                                piece++;
                                off = 0;
                        }
                }
                iov[i] = (struct iovec) { chunk, at };
        }
        r = add_slot(p, s, iov, need, len);
        if (r > 0) {
                s->chunk = p->free_chunk;
                p->free_chunk = c;
                p->chunk_next[last] = VHOST_NET_NONE;
                p->n_free_chunks -= need;
        }
        return r;
}

/* One frame. Return: 1, 0 (full) or an error. */
static int send_frame(VhostNet *v, VhostNetPair *p, const VhostNetFrame *f, size_t len, bool copy) {
        VhostNetSlot *s = p->free_slot == VHOST_NET_NONE ? NULL : &p->slots[p->free_slot];

        if (!s)
                return 0;
        return copy ? send_chunks(v, p, s, f, len) : send_in_place(v, p, s, f, len);
}

static int send_frames(VhostNet *v, VhostNetPair *p, const VhostNetFrame *frames, unsigned n_frames, bool copy) {
        VqDriver *tx = p->q[VHOST_NET_TX].driver;
        unsigned done;
        int r = 0;

        if (vq_driver_free_slots(tx) < v->queue_size / 4 || p->n_free_chunks < v->n_chunks / 4)
                (void) vhost_net_pair_reap(p);
        if (vq_driver_broken(tx))
                return -EBADMSG;
        for (done = 0; done < n_frames; done++) {
                size_t len;

                r = check_frame(v, p, &frames[done], copy, &len);
                if (r < 0)
                        break;
                r = send_frame(v, p, &frames[done], len, copy);
                if (r == 0 && vhost_net_pair_reap(p) == 0) /* rings shorter than four long frames get here */
                        r = send_frame(v, p, &frames[done], len, copy);
                if (r <= 0)
                        break;
        }
        publish(&p->q[VHOST_NET_TX]);
        return done == 0 && r < 0 ? r : (int) done;
}

int vhost_net_send(VhostNet *v, unsigned pair, const VhostNetFrame *frames, unsigned n_frames) {
        return send_frames(v, &v->pairs[pair], frames, n_frames, false);
}

int vhost_net_send_copy(VhostNet *v, unsigned pair, const VhostNetFrame *frames, unsigned n_frames) {
        return send_frames(v, &v->pairs[pair], frames, n_frames, true);
}

int vhost_net_done(VhostNet *v, unsigned pair, void **tokens, unsigned n_tokens) {
        VhostNetPair *p = &v->pairs[pair];
        unsigned n = 0;
        int r = vhost_net_pair_reap(p);

        for (; n < n_tokens && p->n_done > 0; n++, p->n_done--) {
                tokens[n] = p->done[p->done_first];
                p->done_first = (p->done_first + 1) & (2 * v->queue_size - 1);
        }
        return n == 0 && r < 0 ? r : (int) n;
}

/* -- in ------------------------------------------------------------------------------------------------------------ */

static void post_buffer(VhostNet *v, VhostNetPair *p, unsigned id) {
        struct iovec iov = { p->buffers + (size_t) id * v->rx_buffer_len, v->rx_buffer_len };
        VqChain chain = { .in = &iov, .n_in = 1, .token = (void *) (uintptr_t) id };

        /* There is a descriptor for every buffer, and every buffer is good: it can only fail on a broken ring. */
        (void) vq_driver_add(p->q[VHOST_NET_RX].driver, &chain, 1);
}

void vhost_net_pair_fill(VhostNet *v, VhostNetPair *p) {
        VqDriver *rx = p->q[VHOST_NET_RX].driver;

        /* After a plain stop they are where they were: posted, on loan or waiting in `used`. */
        for (unsigned id = 0; id < v->queue_size && !p->filled; id++)
                post_buffer(v, p, id);
        p->filled = true;
        (void) vq_driver_publish(rx); /* start kicks */
}

static int reap_received(VhostNet *v, VhostNetPair *p) {
        int n;

        if (p->n_used > 0)
                return 0;
        n = vq_driver_reap(p->q[VHOST_NET_RX].driver, p->used, v->queue_size);
        if (n < 0)
                return n;
        p->used_first = 0;
        p->n_used = (unsigned) n;
        return 0;
}

static VqBroken read_header(const VhostNet *v, const VhostNetPair *p, VnetHdr *ret, unsigned *ret_buffers) {
        const VqUsed *first = &p->used[p->used_first];
        const char *buf = p->buffers + (uintptr_t) first->token * v->rx_buffer_len;

        if (first->len < v->header_len)
                return VQ_BROKEN_HEADER;
        (void) vnet_hdr_decode(ret, v->header_len, buf, v->rx_buffer_len);
        *ret_buffers = v->mergeable ? ret->num_buffers : 1;
        if (!v->mergeable)
                ret->num_buffers = 0; /* older kernels leave there what was in the buffer */
        if (*ret_buffers < 1 || *ret_buffers > p->n_used)
                return VQ_BROKEN_NUM_BUFFERS;
        return VQ_BROKEN_NOT;
}

/* Makes the next completions into a loan; its pieces go to @iov, whose room is that of all buffers. */
static VqBroken take_frame(const VhostNet *v, VhostNetPair *p, VhostNetLoan *l, struct iovec *iov) {
        unsigned n, last = VHOST_NET_NONE;
        VqBroken why;

        *l = (VhostNetLoan) { .iov = iov };
        why = read_header(v, p, &l->hdr, &n);
        if (why)
                return why;
        for (unsigned i = 0; i < n; i++, p->used_first++, p->n_used--) {
                const VqUsed *u = &p->used[p->used_first];
                unsigned id = (unsigned) (uintptr_t) u->token, skip = i == 0 ? v->header_len : 0;

                if (u->len > skip)
                        iov[l->n_iov++] = (struct iovec) { p->buffers + (size_t) id * v->rx_buffer_len + skip, u->len - skip };
                l->len += u->len - skip;
                if (i == 0)
                        l->cookie = id;
                else
                        p->buffer_next[last] = (uint16_t) id;
                p->buffer_next[id] = VHOST_NET_NONE;
                last = id;
        }
        p->loaned[l->cookie] = true;
        return VQ_BROKEN_NOT;
}

static void return_buffers(VhostNet *v, VhostNetPair *p, unsigned first) {
        p->loaned[first] = false;
        for (unsigned id = first; id != VHOST_NET_NONE; id = p->buffer_next[id])
                post_buffer(v, p, id);
}

int vhost_net_receive(VhostNet *v, unsigned pair, VhostNetLoan *loans, unsigned n_loans) {
        VhostNetPair *p = &v->pairs[pair];
        unsigned done = 0, n_iov = 0, dropped = 0;
        int r = reap_received(v, p);

        if (r < 0)
                return r;
        if (n_loans > VHOST_NET_BATCH_MAX)
                n_loans = VHOST_NET_BATCH_MAX;
        while (done < n_loans && p->n_used > 0) {
                VhostNetLoan *l = &loans[done];
                VqBroken why = take_frame(v, p, l, p->iov + n_iov);

                if (why) {
                        vq_driver_break(p->q[VHOST_NET_RX].driver, why);
                        if (done == 0)
                                return -EBADMSG;
                        break;
                }
                if (l->len > v->max_frame_len || (v->link == VNET_LINK_ETHERNET && l->len < LINK_HEADER_MIN)) {
                        return_buffers(v, p, l->cookie);
                        p->stats.rx_dropped++;
                        dropped++;
                        continue;
                }
                n_iov += l->n_iov;
                p->stats.rx_frames++;
                p->stats.rx_bytes += l->len;
                done++;
        }
        if (dropped > 0)
                publish(&p->q[VHOST_NET_RX]);
        return (int) done;
}

int vhost_net_return(VhostNet *v, unsigned pair, const VhostNetLoan *loans, unsigned n_loans) {
        VhostNetPair *p = &v->pairs[pair];
        int r = 0;

        for (unsigned i = 0; i < n_loans; i++) {
                if (loans[i].cookie >= v->queue_size || !p->loaned[loans[i].cookie])
                        r = -ESTALE;
                else
                        return_buffers(v, p, loans[i].cookie);
        }
        publish(&p->q[VHOST_NET_RX]);
        return r;
}
