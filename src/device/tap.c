/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tap device: its data path on the loop. How it is made of a TapConfig is in tap-make.c, opening in a namespace in tap-open.c,
 * the link in tap-link.c.
 *
 * Receiving: one preadv2() a frame, each landing behind the one before it, so that a batch of small frames stays in a few cache
 * lines and one of super-frames in the level 2 cache. A batch goes up when it is full, when the arena cannot take another
 * frame, or when the kernel has no more. After TURN_BATCHES the others on the loop get their turn; the
 * descriptor is level-triggered, so the next wake-up goes on.
 *
 * Sending: one pwritev2() a frame, straight from the pieces. The kernel takes a frame into the guest's stack before it returns,
 * so there is nothing to queue. What the far end cannot do is done before (offload.h).
 *
 * Several queues: each is read like an interface of its own, all on the one loop; what is sent goes out of the queue of its flow.
 *
 * A TAP keeps its network namespace alive: that the guest's processes are gone is for the owner to notice. What we notice is
 * the interface being deleted.
 */

#include "device/tap-private.h"

#define SLOT_LEN (TAP_HEADER_LEN + FRAME_LEN_MAX + 1) /* one more byte tells a frame that is too long */
#define TURN_BATCHES 1
#define SMALL_FRAME_LEN 512 /* what belongs to a conversation, not to a transfer */
#define QUIET_TURNS 4       /* until the next turn is expected to be like them */
#define LOOK_TURNS 16       /* of these, until it is looked whether that is still so */

/*
 * Whoever handed in a descriptor still has it, and can make it a blocking one under our feet; so each call says for itself that
 * it does not wait. Kernels that cannot do that for a TAP say so at the first call. Both return a length or negative errno.
 */
static ssize_t tap_read(TapQueue *q, void *at, size_t len) {
        struct iovec iov = { at, len };
        Tap *t = q->tap;

        for (;;) {
                ssize_t n = preadv2(q->fd, &iov, 1, -1, t->rw_flags);

                if (n >= 0)
                        return n;
                if (errno == EOPNOTSUPP && t->rw_flags != 0)
                        t->rw_flags = 0;
                else if (errno != EINTR)
                        return -errno;
        }
}

static ssize_t tap_write(TapQueue *q, const struct iovec *iov, unsigned n_iov) {
        Tap *t = q->tap;

        for (;;) {
                ssize_t n = pwritev2(q->fd, iov, (int) n_iov, -1, t->rw_flags);

                if (n >= 0)
                        return n;
                if (errno == EOPNOTSUPP && t->rw_flags != 0)
                        t->rw_flags = 0;
                else if (errno != EINTR)
                        return -errno;
        }
}

/* ---- from the guest ---- */

static void drop_rx(Tap *t, Drop reason) {
        counter_add(&t->device.counters.rx_dropped, 1);
        counters_drop(&t->device.counters, reason);
}

/* Looks at what read() brought to @at and makes it a frame. */
static bool accept_frame(Tap *t, uint8_t *at, size_t len, Frame *f, struct iovec *iov) {
        size_t hdr_len = t->vnet_hdr ? TAP_HEADER_LEN : 0;

        if (len < hdr_len + ETH_HEADER_LEN) {
                drop_rx(t, DROP_ETH_SHORT);
                return false;
        }
        if (len - hdr_len > FRAME_LEN_MAX) {
                drop_rx(t, DROP_ETH_LONG);
                return false;
        }

        *iov = (struct iovec){ at + hdr_len, len - hdr_len };
        *f = (Frame){ .iov = iov, .n_iov = 1, .len = (uint32_t) (len - hdr_len) };
        if (t->vnet_hdr)
                memcpy(&f->hdr, at, TAP_HEADER_LEN);
        if (!offload_header_is_valid(f)) {
                drop_rx(t, DROP_GSO_HEADER);
                return false;
        }

        counter_add(&t->device.counters.rx_frames, 1);
        counter_add(&t->device.counters.rx_bytes, f->len);
        return true;
}

/* The next place where the IP header of a frame would begin a cache line. */
static size_t slot_after(const Tap *t, size_t used) {
        size_t lead = (t->vnet_hdr ? TAP_HEADER_LEN : 0) + ETH_HEADER_LEN;

        return DIV_ROUND_UP(used + lead, TAP_CACHE_LINE) * TAP_CACHE_LINE - lead;
}

/**
 * read_batch() - read until the batch or the arena is full, or the kernel's queue empty
 * @q:          the queue
 * @ret_n:      frames read and accepted
 *
 * Return: 1 when there may be more; 0 when the queue is empty; -ENODEV when the interface is gone.
 */
static int read_batch(TapQueue *q, unsigned *ret_n) {
        Tap *t = q->tap;
        size_t used = 0;
        unsigned n = 0;
        int r = 1;

        while (n < FRAME_BATCH_MAX) {
                size_t at = slot_after(t, used);

                if (at + SLOT_LEN > TAP_ARENA_LEN)
                        break;

                ssize_t len = tap_read(q, t->arena + at, SLOT_LEN);
                if (len < 0) {
                        r = len == -EAGAIN ? 0 : -ENODEV;
                        break;
                }
                if (accept_frame(t, t->arena + at, (size_t) len, &t->frames[n], &t->iov[n])) {
                        used = at + (size_t) len;
                        n++;
                }
                /* A question and its answer go one frame at a time. To ask whether there is another would cost a system call each
                 * time; if there is, the loop, which is level-triggered here, says so. Now and then it is asked all the same: a flood of
                 * small frames is better read in batches. */
                if (q->quiet >= QUIET_TURNS && q->quiet < QUIET_TURNS + LOOK_TURNS && n == 1 && len < SMALL_FRAME_LEN) {
                        r = 0;
                        break;
                }
        }

        if (n != 1 || used >= SMALL_FRAME_LEN)
                q->quiet = 0;
        else if (q->quiet++ == QUIET_TURNS + LOOK_TURNS)
                q->quiet = QUIET_TURNS;
        *ret_n = n;
        return r;
}

static void remove_all(Tap *t) {
        for (unsigned i = 0; i < t->device.n_queues; i++)
                loop_remove(t->loop, &t->queues[i].io);
}

/* Of a deleted interface every queue tells; the first is enough. */
static void tap_gone(Tap *t, int error) {
        remove_all(t);
        if (t->device.handler->gone)
                t->device.handler->gone(&t->device, error, t->device.userdata);
}

/* A turn: some batches, then the others. */
static void tap_receive(TapQueue *q) {
        Tap *t = q->tap;

        for (unsigned i = 0; i < TURN_BATCHES; i++) {
                unsigned n;
                int r = read_batch(q, &n);

                if (n > 0 && t->join)
                        n = offload_coalesce(t->frames, n, t->joined_iov, ELEMENTSOF(t->joined_iov));
                if (n > 0)
                        t->device.handler->receive(&t->device, t->frames, n, t->device.userdata);
                if (!t->loop) /* stopped by what it received */
                        return;
                if (r < 0)
                        tap_gone(t, r);
                if (r <= 0)
                        return;
        }
}

static void on_io(LoopIo *io, uint32_t events) {
        TapQueue *q = CONTAINER_OF(io, TapQueue, io);
        Tap *t = q->tap;

        if (events & EPOLLOUT && q->blocked) {
                q->blocked = false;
                (void) loop_modify(t->loop, io, EPOLLIN); /* fails for want of memory: then it comes again, in vain */
                if (t->device.handler->writable)
                        t->device.handler->writable(&t->device, t->device.userdata);
        }
        if (t->loop && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                tap_receive(q);
        /* The interface is being unregistered: nothing will come any more, even where read() did not say so yet. */
        if (t->loop && io->fd >= 0 && events & EPOLLERR)
                tap_gone(t, -ENODEV);
}

/* ---- to the guest ---- */

static void drop_tx(Tap *t, Drop reason) {
        counter_add(&t->device.counters.tx_dropped, 1);
        counters_drop(&t->device.counters, reason);
}

/* 0, or the negative errno of the write. */
static int write_frame(TapQueue *q, const Frame *f) {
        struct iovec iov[1 + FRAME_IOV_MAX];
        unsigned n_hdr = q->tap->vnet_hdr ? 1 : 0;

        assert(f->n_iov <= FRAME_IOV_MAX);
        iov[0] = (struct iovec){ (void *) &f->hdr, TAP_HEADER_LEN };
        memcpy(iov + n_hdr, f->iov, f->n_iov * sizeof(*iov));

        return (int) MIN(tap_write(q, iov, n_hdr + f->n_iov), 0);
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
        Tap *t = q->tap;
        Drop reason = DROP_DEVICE_ERROR;
        unsigned n = 1;

        if (t->cut) {
                n = offload_split(t->split, f, t->device.offloads, t->cut_frames, &reason);
                f = t->cut_frames;
        }
        if (n == 0) {
                drop_tx(t, reason);
                return true;
        }

        for (unsigned i = 0; i < n; i++) {
                int r = write_frame(q, &f[i]);

                if (r == -EAGAIN) {
                        if (!q->blocked)
                                (void) loop_modify(t->loop, &q->io, EPOLLIN | EPOLLOUT);
                        q->blocked = true;
                        if (i > 0)
                                drop_tx(t, DROP_DEVICE_FULL);
                        return i > 0;
                }
                if (r < 0) {
                        /* No memory is no state to wait on: no event would end it. */
                        drop_tx(t, r == -ENOBUFS || r == -ENOMEM ? DROP_DEVICE_FULL : DROP_DEVICE_ERROR);
                        return true;
                }
                counter_add(&t->device.counters.tx_frames, 1);
                counter_add(&t->device.counters.tx_bytes, f[i].len);
        }
        return true;
}

static unsigned tap_send(Device *d, Frame *frames, unsigned n) {
        Tap *t = tap_of(d);

        for (unsigned i = 0; i < n; i++)
                if (!send_frame(&t->queues[tap_queue_of_frame(&frames[i], d->n_queues)], &frames[i]))
                        return i;
        return n;
}

/* ---- life ---- */

static int tap_start(Device *d, Loop *loop) {
        Tap *t = tap_of(d);

        assert(!t->loop && d->handler);
        t->loop = loop;
        for (unsigned i = 0; i < d->n_queues; i++) {
                TapQueue *q = &t->queues[i];
                /* Level-triggered: a turn may end before the queue does and is taken up again without a further system call. */
                q->io.batches = true;
                int r = loop_add(loop, &q->io, q->fd, EPOLLIN, on_io);

                if (r < 0) {
                        remove_all(t);
                        t->loop = NULL;
                        return r;
                }
                q->blocked = false;
        }
        return 0;
}

static void tap_stop(Device *d) {
        Tap *t = tap_of(d);

        if (!t->loop)
                return;

        remove_all(t);
        t->loop = NULL;
}

static Device *tap_free(Device *d) {
        Tap *t = tap_of(d);

        assert(!t->loop);
        for (unsigned i = 0; i < TAP_QUEUES_MAX; i++)
                (void) safe_close(t->queues[i].fd);
        offload_split_free(t->split);
        free(t->cut_frames);
        free(t->arena);
        free(t);
        return NULL;
}

const DeviceOps tap_ops = {
        .kind = "tap",
        .start = tap_start,
        .stop = tap_stop,
        .send = tap_send,
        .free = tap_free,
};

int tap_fd(const Device *d, unsigned queue) {
        return queue < d->n_queues ? tap_of(d)->queues[queue].fd : -EBADF;
}
