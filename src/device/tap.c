/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tap device: its data path on the loop. How it is made of a TapConfig is in tap-make.c, opening in a namespace in tap-open.c,
 * the link in tap-link.c.
 *
 * Receiving: one preadv2() a frame, each landing behind the one before it, so that a batch of small frames stays in a few cache
 * lines. A batch goes up when it is full, when the arena cannot take another frame (of which less is used while somebody has little
 * to say: TAP_BATCH_LEN), or when the kernel has no more. Then the others on the loop get their turn; the descriptor is
 * level-triggered, so the next wake-up goes on.
 *
 * Sending: one pwritev2() a frame, straight from the pieces. The kernel takes a frame into the guest's stack before it returns,
 * so there is nothing to queue. What the far end cannot do is done before (offload.h).
 *
 * Several queues: each is read like an interface of its own, all on the one loop; what is sent goes out of the queue of its flow. Of a split
 * device each is on a loop of its own, with a lane of its own: what a thread needs to itself.
 *
 * A TAP keeps its network namespace alive: that the guest's processes are gone is for the owner to notice. What we notice is
 * the interface being deleted.
 */

#include "device/tap-private.h"

#define SLOT_LEN (TAP_HEADER_LEN + FRAME_LEN_MAX + 1) /* one more byte tells a frame that is too long */
#define SMALL_FRAME_LEN 512 /* what belongs to a conversation, not to a transfer */
#define LIKE_TURNS 4        /* that brought less than the one before, until as much is no longer expected */
#define FEW_FRAMES 4        /* so many are a conversation */
#define ROW_WAKES 3         /* in a row for the same queue, until it is looked for more than what is expected */

/*
 * Whoever handed in a descriptor still has it, and can make it a blocking one under our feet; so each call says for itself that
 * it does not wait. Kernels that cannot do that for a TAP say so at the first call. Both return a length or negative errno.
 */
static ssize_t tap_read(TapQueue *q, void *at, size_t len) {
        struct iovec iov = { at, len };
        TapLane *l = q->lane;

        for (;;) {
                ssize_t n = preadv2(q->fd, &iov, 1, -1, l->rw_flags);

                if (n >= 0)
                        return n;
                if (errno == EOPNOTSUPP && l->rw_flags != 0)
                        l->rw_flags = 0;
                else if (errno != EINTR)
                        return -errno;
        }
}

static ssize_t tap_write(TapQueue *q, const struct iovec *iov, unsigned n_iov) {
        TapLane *l = q->lane;

        for (;;) {
                ssize_t n = pwritev2(q->fd, iov, (int) n_iov, -1, l->rw_flags);

                if (n >= 0)
                        return n;
                if (errno == EOPNOTSUPP && l->rw_flags != 0)
                        l->rw_flags = 0;
                else if (errno != EINTR)
                        return -errno;
        }
}

/* ---- from the guest ---- */

static void drop_rx(TapLane *l, Drop reason) {
        counter_add(&l->counters->rx_dropped, 1);
        counters_drop(l->counters, reason);
}

/* Looks at what read() brought to @at and makes it a frame. */
static bool accept_frame(TapLane *l, uint8_t *at, size_t len, Frame *f, struct iovec *iov) {
        size_t hdr_len = l->tap->vnet_hdr ? TAP_HEADER_LEN : 0;

        if (len < hdr_len + ETH_HEADER_LEN) {
                drop_rx(l, DROP_ETH_SHORT);
                return false;
        }
        if (len - hdr_len > FRAME_LEN_MAX) {
                drop_rx(l, DROP_ETH_LONG);
                return false;
        }

        *iov = (struct iovec){ at + hdr_len, len - hdr_len };
        *f = (Frame){ .iov = iov, .n_iov = 1, .len = (uint32_t) (len - hdr_len) };
        if (l->tap->vnet_hdr)
                memcpy(&f->hdr, at, TAP_HEADER_LEN);
        if (!offload_header_is_valid(f)) {
                drop_rx(l, DROP_GSO_HEADER);
                return false;
        }

        counter_add(&l->counters->rx_frames, 1);
        counter_add(&l->counters->rx_bytes, f->len);
        return true;
}

/* The next place where the IP header of a frame would begin a cache line. */
static size_t slot_after(const Tap *t, size_t used) {
        size_t lead = (t->vnet_hdr ? TAP_HEADER_LEN : 0) + ETH_HEADER_LEN;

        return DIV_ROUND_UP(used + lead, TAP_CACHE_LINE) * TAP_CACHE_LINE - lead;
}

/**
 * read_batch() - read until the batch or the arena is full, the kernel's queue empty, or as many were read as a batch may have
 * @q:          the queue
 * @max:        frames, at most FRAME_BATCH_MAX
 * @expected:   so many small frames are most likely all there are
 * @ret_n:      frames read and accepted
 * @ret_used:   of the arena
 *
 * Return: 1 when there may be more; 0 when the queue is empty; -ENODEV when the interface is gone.
 */
static int read_batch(TapQueue *q, unsigned max, unsigned expected, unsigned *ret_n, size_t *ret_used) {
        TapLane *l = q->lane;
        usec_t now = loop_now(l->loop);
        size_t used = 0, room = now < l->small_at + TAP_BULK_AFTER ? TAP_BATCH_LEN : TAP_ARENA_LEN;
        unsigned n = 0;
        int r = 1;

        for (unsigned reads = 0; n < max && reads < FRAME_BATCH_MAX; reads++) { /* what is refused counts as well: there may be no end of it */
                size_t at = slot_after(l->tap, used);

                if (at + SLOT_LEN > room)
                        break;

                ssize_t len = tap_read(q, l->arena + at, SLOT_LEN);
                if (len < 0) {
                        r = len == -EAGAIN ? 0 : -ENODEV;
                        break;
                }
                if (accept_frame(l, l->arena + at, (size_t) len, &l->frames[n], &l->iov[n])) {
                        used = at + (size_t) len;
                        n++;
                }
                if (len < SMALL_FRAME_LEN) { /* it need not wait until as much is read */
                        l->small_at = now;
                        room = TAP_BATCH_LEN;
                }
                if (n == expected && used < n * SMALL_FRAME_LEN) {
                        r = 0;
                        break;
                }
        }

        *ret_n = n;
        *ret_used = used;
        return r;
}

/* What a turn brought, FRAME_BATCH_MAX if that was much, is what the next ones are expected to bring, until several brought less. */
static void note_turn(TapQueue *q, unsigned n) {
        if (n < q->most && ++q->less < LIKE_TURNS)
                return;
        q->most = (uint8_t) n;
        q->less = 0;
}

/* A question and its answer go one frame at a time, connections come and go with two or three. To ask whether there is another would cost a
 * system call each time; if there is, the loop, which is level-triggered here, says so at its next wake-up. When it does so again and again, it is
 * asked all the same: a flood of small frames is better read in batches. */
static int read_turn(TapQueue *q, unsigned *ret_n) {
        uint64_t wake = loop_wakes(q->lane->loop);
        size_t used;
        int r;

        q->row = wake == q->wake + 1 ? MIN(q->row + 1, ROW_WAKES) : 1;
        q->wake = wake;
        if (q->row > 1 && q->most <= FEW_FRAMES)
                q->most++; /* the one before may have left some */
        r = read_batch(q, FRAME_BATCH_MAX, q->row < ROW_WAKES && q->most <= FEW_FRAMES ? q->most : 0, ret_n, &used);
        if (q->row == ROW_WAKES && *ret_n <= q->most)
                q->row = 0;
        note_turn(q, used < *ret_n * SMALL_FRAME_LEN ? *ret_n : FRAME_BATCH_MAX);
        return r;
}

/* Of a lane, from its loop. */
static void remove_all(TapLane *l) {
        Tap *t = l->tap;

        for (unsigned i = 0; i < t->device.n_queues; i++)
                if (t->queues[i].lane == l)
                        loop_remove(l->loop, &t->queues[i].io);
}

/* Of a deleted interface every queue tells; the first of a lane is enough. */
static void tap_gone(TapLane *l, int error) {
        remove_all(l);
        if (l->handler->gone)
                l->handler->gone(&l->tap->device, error, l->userdata);
}

/* Hands @n frames up. */
static void pass_batch(TapLane *l, unsigned n) {
        if (n > 0 && l->tap->join)
                n = offload_coalesce(l->frames, n, l->joined_iov, ELEMENTSOF(l->joined_iov));
        if (n > 0)
                l->handler->receive(&l->tap->device, l->frames, n, l->userdata);
}

/* A turn: one batch, then the others. */
static void tap_receive(TapQueue *q) {
        TapLane *l = q->lane;
        unsigned n;
        int r;

        q->asked = 0;
        r = read_turn(q, &n);
        pass_batch(l, n);
        if (r < 0 && l->loop) /* not stopped by what it received */
                tap_gone(l, r);
}

/* The write of a frame that asks something runs the guest's TCP, where the guest is on this host: its answer is in the queue by then. Whatever
 * there is beyond that, and an interface that is gone, the loop says. */
static void take_answers(TapQueue *q) {
        unsigned n, max = q->asked;
        size_t used;

        q->asked = 0;
        if (max == 0)
                return;
        (void) read_batch(q, max, /* expected= */ 0, &n, &used);
        q->unanswered = n > 0 ? 0 : MIN(q->unanswered + 1, TAP_VAIN_LOOKS);
        pass_batch(q->lane, n);
}

static void expect_answer(TapQueue *q) {
        if (!q->lane->loop || (q->unanswered >= TAP_VAIN_LOOKS && q->unanswered++ < TAP_VAIN_LOOKS + TAP_VAIN_FRAMES))
                return;
        q->asked = MIN(q->asked + 1, FRAME_BATCH_MAX);
        loop_again(q->lane->loop, &q->io);
}

static void on_io(LoopIo *io, uint32_t events) {
        TapQueue *q = CONTAINER_OF(io, TapQueue, io);
        TapLane *l = q->lane;

        if (events == 0)
                return take_answers(q);
        if (events & EPOLLOUT && q->blocked) {
                q->blocked = false;
                (void) loop_modify(l->loop, io, EPOLLIN); /* fails for want of memory: then it comes again, in vain */
                if (l->handler->writable)
                        l->handler->writable(&l->tap->device, l->userdata);
        }
        if (l->loop && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                tap_receive(q);
        /* The interface is being unregistered: nothing will come any more, even where read() did not say so yet. */
        if (l->loop && io->fd >= 0 && events & EPOLLERR)
                tap_gone(l, -ENODEV);
}

/* ---- to the guest ---- */

static void drop_tx(TapLane *l, Drop reason) {
        counter_add(&l->counters->tx_dropped, 1);
        counters_drop(l->counters, reason);
}

/* 0, or the negative errno of the write. */
static int write_frame(TapQueue *q, const Frame *f) {
        struct iovec iov[1 + FRAME_IOV_MAX];
        unsigned n_hdr = q->lane->tap->vnet_hdr ? 1 : 0;

        assert(f->n_iov <= FRAME_IOV_MAX);
        iov[0] = (struct iovec){ (void *) &f->hdr, TAP_HEADER_LEN };
        memcpy(iov + n_hdr, f->iov, f->n_iov * sizeof(*iov));

        return (int) MIN(tap_write(q, iov, n_hdr + f->n_iov), 0);
}

/* Is the kernel full, or has it no memory for as much in one piece, while it may have some for less? */
static bool write_would_wait(int r, const Frame *f) {
        return r == -EAGAIN || (f->len > FRAME_LEN_MAX && (r == -ENOBUFS || r == -ENOMEM || r == -EMSGSIZE));
}

/**
 * send_frame() - write one frame, cut as the far end needs it
 * @q:          the queue
 * @f:          the frame
 *
 * When the kernel is full amid a frame that was cut, the rest of it is dropped: the guest's TCP asks for it again, while
 * sending the whole frame again would not make it whole any sooner.
 *
 * Return: true when it is done with, written or dropped; false when the device is full and nothing of it was written.
 */
static bool send_frame(TapQueue *q, const Frame *f) {
        TapLane *l = q->lane;
        bool asks = f->asks;
        Drop reason = DROP_DEVICE_ERROR;
        unsigned n = 1;

        if (l->tap->cut) {
                n = offload_split(l->split, f, l->tap->device.offloads, l->cut_frames, &reason);
                f = l->cut_frames;
        }
        if (n == 0) {
                drop_tx(l, reason);
                return true;
        }

        for (unsigned i = 0; i < n; i++) {
                int r = write_frame(q, &f[i]);

                if (write_would_wait(r, &f[i])) {
                        if (!q->blocked)
                                (void) loop_modify(l->loop, &q->io, EPOLLIN | EPOLLOUT);
                        q->blocked = true;
                        if (i > 0)
                                drop_tx(l, DROP_DEVICE_FULL);
                        return i > 0;
                }
                if (r < 0) {
                        /* No memory is no state to wait on: no event would end it. */
                        drop_tx(l, r == -ENOBUFS || r == -ENOMEM ? DROP_DEVICE_FULL : DROP_DEVICE_ERROR);
                        return true;
                }
                counter_add(&l->counters->tx_frames, 1);
                counter_add(&l->counters->tx_bytes, f[i].len);
        }
        if (asks)
                expect_answer(q);
        return true;
}

static unsigned tap_send_queue(Device *d, unsigned queue, Frame *frames, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                if (!send_frame(&tap_of(d)->queues[queue], &frames[i]))
                        return i;
        return n;
}

static unsigned tap_send(Device *d, Frame *frames, unsigned n) {
        Tap *t = tap_of(d);

        if (d->split)
                return tap_send_queue(d, 0, frames, n);
        for (unsigned i = 0; i < n; i++)
                if (!send_frame(&t->queues[tap_queue_of_frame(&frames[i], d->n_queues)], &frames[i]))
                        return i;
        return n;
}

/* ---- life ---- */

/* On the loop's thread, for as many of the queues as the lane serves. */
static int lane_start(TapLane *l, unsigned first, unsigned n, Loop *loop, const DeviceHandler *handler, void *userdata) {
        assert(!l->loop && handler);
        l->loop = loop;
        l->handler = handler;
        l->userdata = userdata;
        for (unsigned i = first; i < first + n; i++) {
                TapQueue *q = &l->tap->queues[i];

                q->blocked = false;
                /* Level-triggered: a turn may end before the queue does and is taken up again without a further system call. */
                q->io.batches = true;
                int r = loop_add(loop, &q->io, q->fd, EPOLLIN, on_io);

                if (r < 0) {
                        remove_all(l);
                        l->loop = NULL;
                        return r;
                }
        }
        return 0;
}

static void lane_stop(TapLane *l) {
        if (!l->loop)
                return;
        remove_all(l);
        l->loop = NULL;
}

/* What threads that are to serve the further queues will need: made here, so that it is there for who counts. */
static int make_lanes(Tap *t) {
        Device *d = &t->device;

        if (!d->queue_counters)
                d->queue_counters = calloc(TAP_QUEUES_MAX - 1, sizeof(*d->queue_counters));
        for (unsigned i = 1; d->queue_counters && i < d->n_queues; i++)
                if (!t->lanes[i] && !(t->lanes[i] = tap_lane_new(t, &d->queue_counters[i - 1])))
                        return -ENOMEM;
        return d->queue_counters ? 0 : -ENOMEM;
}

static int tap_start(Device *d, Loop *loop) {
        Tap *t = tap_of(d);
        int r = d->split ? make_lanes(t) : 0;

        for (unsigned i = 0; i < d->n_queues; i++)
                t->queues[i].lane = t->lanes[d->split ? i : 0];
        return r < 0 ? r : lane_start(t->lanes[0], 0, d->split ? 1 : d->n_queues, loop, d->handler, d->userdata);
}

static void tap_stop(Device *d) {
        lane_stop(tap_of(d)->lanes[0]);
}

static int tap_start_queue(Device *d, unsigned queue, Loop *loop, const DeviceHandler *handler, void *userdata) {
        assert(d->split && queue > 0 && queue < d->n_queues);
        return lane_start(tap_of(d)->lanes[queue], queue, 1, loop, handler, userdata);
}

static void tap_stop_queue(Device *d, unsigned queue) {
        lane_stop(tap_of(d)->lanes[queue]);
}

static Device *tap_free(Device *d) {
        Tap *t = tap_of(d);

        for (unsigned i = 0; i < TAP_QUEUES_MAX; i++) {
                tap_lane_free(t->lanes[i]);
                (void) safe_close(t->queues[i].fd);
        }
        free(t);
        return NULL;
}

const DeviceOps tap_ops = {
        .kind = "tap",
        .start = tap_start,
        .stop = tap_stop,
        .send = tap_send,
        .free = tap_free,
        .start_queue = tap_start_queue,
        .stop_queue = tap_stop_queue,
        .send_queue = tap_send_queue,
};

int tap_fd(const Device *d, unsigned queue) {
        return queue < d->n_queues ? tap_of(d)->queues[queue].fd : -EBADF;
}
