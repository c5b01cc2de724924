/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The vhost-net device: a tap device that was opened and configured as always, whose descriptor is given to the kernel's
 * vhost-net and whose own data path stays unused.
 *
 * Receiving: a call event says that frames lie in the receive ring; batches go up straight from the ring's buffers, which return to the
 * ring in one publish when the network has looked at them. Events are asked for only once the ring was found empty.
 *
 * Sending: frames are copied into chunks of the transmit arena, since the caller's bytes are borrowed for the call; one publish and at
 * most one kick a batch. Completions are noticed when room is short: then a call event at half of what is outstanding
 * becomes writable().
 *
 * Several queues: each is a pair of rings with a worker of its own, all served on the one loop; what is sent goes out of the queue of its
 * flow (tap-queue.h).
 *
 * Health: while something is outstanding a timer looks whether the worker completes anything. A worker that stands still, or a ring it
 * broke, is emptied and started anew; after RECOVERIES_MAX of those without a good turn between the device is gone, as it is when its
 * interface was deleted.
 *
 * How it is made of a TapConfig is in tap-vhost-make.c.
 */

#include "device/tap-vhost-private.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#define TURN_BATCHES 4
#define CHECK_USEC (250 * USEC_PER_MSEC)
#define RECOVERIES_MAX 3

static bool is_running(const TapVhost *t) { /* started, and not gone */
        return t->loop && t->tap_io.fd >= 0;
}

static void remove_all(TapVhost *t) {
        for (unsigned i = 0; i < t->device.n_queues; i++) {
                TapVhostQueue *q = &t->queues[i];

                loop_remove(t->loop, &q->rx_io);
                loop_remove(t->loop, &q->tx_io);
                loop_remove(t->loop, &q->rx_error_io);
                loop_remove(t->loop, &q->tx_error_io);
                timer_stop(loop_timers(t->loop), &q->resume);
        }
        loop_remove(t->loop, &t->tap_io);
        timer_stop(loop_timers(t->loop), &t->check);
}

static void tap_vhost_gone(TapVhost *t, int error) {
        remove_all(t);
        if (t->device.handler->gone)
                t->device.handler->gone(&t->device, error, t->device.userdata);
}

/* ---- health ---- */

/* There is room again in @q. */
static void unblock(TapVhostQueue *q) {
        const Device *d = &q->device->device;

        if (!q->blocked)
                return;
        q->blocked = false;
        if (d->handler->writable)
                d->handler->writable(&q->device->device, d->userdata);
}

/* Looks after a queue's rings. Return: false when the device is gone. */
static bool look_after(TapVhostQueue *q) {
        TapVhost *t = q->device;
        struct ifreq ifr = {};
        int r = -EIO;

        switch (vhost_net_check(t->net, q->pair, loop_now(t->loop))) {
        case VHOST_NET_HEALTH_GOOD:
                return true;
        case VHOST_NET_HEALTH_STUCK:
        case VHOST_NET_HEALTH_ERROR:
        case VHOST_NET_HEALTH_BROKEN_RX:
        case VHOST_NET_HEALTH_BROKEN_TX:
        case _VHOST_NET_HEALTH_MAX:
                break;
        }
        counters_drop(&t->device.counters, DROP_DEVICE_ERROR);
        if (++q->recoveries <= RECOVERIES_MAX)
                r = vhost_net_recover(t->net, q->pair);
        if (r < 0) { /* of a deleted interface the worker may know before we do */
                tap_vhost_gone(t, ioctl(tap_fd(t->tap, 0), TUNGETIFF, &ifr) < 0 ? -ENODEV : r);
                return false;
        }
        /* The rings are new: what wants to be sent finds room, and the first event is to be asked for. */
        (void) timer_set(loop_timers(t->loop), &q->resume, loop_now(t->loop));
        unblock(q);
        return is_running(t);
}

static void on_check(Timer *timer, usec_t now, void *userdata) {
        TapVhost *t = CONTAINER_OF(timer, TapVhost, check);
        bool idle = true;

        for (unsigned i = 0; i < t->device.n_queues; i++) {
                TapVhostQueue *q = &t->queues[i];

                if (!look_after(q))
                        return;
                if (vhost_net_idle(t->net, q->pair))
                        q->recoveries = 0;
                else
                        idle = false;
        }
        if (!idle) /* else the next send() sets it again */
                (void) timer_set(loop_timers(t->loop), &t->check, now + CHECK_USEC);
}

static void on_rx_error(LoopIo *io, uint32_t events) {
        (void) look_after(CONTAINER_OF(io, TapVhostQueue, rx_error_io));
}

static void on_tx_error(LoopIo *io, uint32_t events) {
        (void) look_after(CONTAINER_OF(io, TapVhostQueue, tx_error_io));
}

/* The interface is being deleted: frames vanish from now on, and the worker does not say so. */
static void on_tap(LoopIo *io, uint32_t events) {
        if (events & (EPOLLERR | EPOLLHUP))
                tap_vhost_gone(CONTAINER_OF(io, TapVhost, tap_io), -ENODEV);
}

/* ---- from the guest ---- */

/* Makes frames of the loans; those that cannot be are counted and left out. */
static unsigned make_frames(TapVhost *t, unsigned n_loans) {
        unsigned n = 0;

        for (unsigned i = 0; i < n_loans; i++) {
                const VhostNetLoan *l = &t->loans[i];
                Frame *f = &t->frames[n];

                *f = (Frame){ .iov = l->iov, .n_iov = l->n_iov, .len = l->len };
                (void) vnet_hdr_encode(&l->hdr, sizeof(f->hdr), &f->hdr, sizeof(f->hdr));
                f->hdr.num_buffers = 0; /* said how the ring held it */
                if (l->n_iov > FRAME_IOV_MAX || l->len > FRAME_LEN_MAX || !offload_header_is_valid(f)) {
                        counter_add(&t->device.counters.rx_dropped, 1);
                        counters_drop(&t->device.counters, l->len > FRAME_LEN_MAX ? DROP_ETH_LONG : DROP_GSO_HEADER);
                        continue;
                }
                counter_add(&t->device.counters.rx_frames, 1);
                counter_add(&t->device.counters.rx_bytes, f->len);
                n++;
        }
        return n;
}

/* One batch. Return: true when there may be more. */
static bool receive_batch(TapVhostQueue *q) {
        TapVhost *t = q->device;
        int n_loans = vhost_net_receive(t->net, q->pair, t->loans, FRAME_BATCH_MAX);
        unsigned n;

        if (n_loans < 0) {
                (void) look_after(q);
                return false;
        }
        if (n_loans == 0)
                return !vhost_net_arm(t->net, q->pair, VHOST_NET_RX, 1) && vhost_net_pending(t->net, q->pair, VHOST_NET_RX);

        n = make_frames(t, (unsigned) n_loans);
        if (n > 0 && t->join)
                n = offload_coalesce(t->frames, n, t->joined_iov, ELEMENTSOF(t->joined_iov));
        if (n > 0)
                t->device.handler->receive(&t->device, t->frames, n, t->device.userdata);
        (void) vhost_net_return(t->net, q->pair, t->loans, (unsigned) n_loans); /* also when that stopped us */
        return true;
}

static void receive_turn(TapVhostQueue *q) {
        TapVhost *t = q->device;

        vhost_net_mute(t->net, q->pair, VHOST_NET_RX);
        for (unsigned i = 0; i < TURN_BATCHES; i++) {
                if (!receive_batch(q))
                        return;
                if (!is_running(t)) /* stopped by what it received, or gone */
                        return;
        }
        /* Others on the loop first. Without memory for a timer an event must bring us back, so that nothing is left lying. */
        if (timer_set(loop_timers(t->loop), &q->resume, loop_now(t->loop)) < 0)
                while (!vhost_net_arm(t->net, q->pair, VHOST_NET_RX, 1) && receive_batch(q) && is_running(t))
                        ;
}

static void on_resume(Timer *timer, usec_t now, void *userdata) {
        receive_turn(CONTAINER_OF(timer, TapVhostQueue, resume));
}

static void on_rx(LoopIo *io, uint32_t events) {
        receive_turn(CONTAINER_OF(io, TapVhostQueue, rx_io));
}

/* ---- to the guest ---- */

static void drop_tx(TapVhost *t, Drop reason) {
        counter_add(&t->device.counters.tx_dropped, 1);
        counters_drop(&t->device.counters, reason);
}

/* Hands frames that fit the far end to the ring. Return: how many are done with, sent or dropped; fewer than @n: full. */
static unsigned send_whole(TapVhostQueue *q, const Frame *frames, unsigned n) {
        TapVhost *t = q->device;
        VhostNetFrame out[FRAME_BATCH_MAX];
        unsigned done = 0;

        assert(n <= FRAME_BATCH_MAX);
        for (unsigned i = 0; i < n; i++) {
                out[i] = (VhostNetFrame){ .iov = frames[i].iov, .n_iov = frames[i].n_iov };
                (void) vnet_hdr_decode(&out[i].hdr, sizeof(frames[i].hdr), &frames[i].hdr, sizeof(frames[i].hdr));
                out[i].hdr.num_buffers = 0;
        }
        while (done < n) {
                int r = vhost_net_send_copy(t->net, q->pair, out + done, n - done);

                if (r == 0)
                        break;
                if (r < 0) { /* this one cannot be sent, or none can: the timer sees to that */
                        drop_tx(t, r == -EPROTO ? DROP_GSO_HEADER : DROP_DEVICE_ERROR);
                        done++;
                        continue;
                }
                for (unsigned i = done; i < done + (unsigned) r; i++)
                        counter_add(&t->device.counters.tx_bytes, frames[i].len);
                counter_add(&t->device.counters.tx_frames, (uint64_t) r);
                done += (unsigned) r;
        }
        return done;
}

/* The same for one frame the far end needs cut. Return: true when it is done with. What does not fit of one begun is dropped: the guest's TCP
 * asks for it again. */
static bool send_cut(TapVhostQueue *q, const Frame *f) {
        TapVhost *t = q->device;
        Drop reason = DROP_DEVICE_ERROR;
        unsigned n = offload_split(t->split, f, t->device.offloads, t->cut_frames, &reason), done = 0;

        if (n == 0) {
                drop_tx(t, reason);
                return true;
        }
        while (done < n) {
                unsigned now = MIN(n - done, (unsigned) FRAME_BATCH_MAX), r = send_whole(q, t->cut_frames + done, now);

                done += r;
                if (r < now)
                        break;
        }
        if (done > 0 && done < n)
                drop_tx(t, DROP_DEVICE_FULL);
        return done > 0;
}

static unsigned send_frames(TapVhostQueue *q, const Frame *frames, unsigned n) {
        unsigned done = 0;

        if (!q->device->cut)
                return send_whole(q, frames, n);
        while (done < n && send_cut(q, &frames[done]))
                done++;
        return done;
}

/* Sends frames of one queue. Return: how many are done with; fewer than @n: full, and an event will tell when it is not. */
static unsigned send_to_queue(TapVhostQueue *q, const Frame *frames, unsigned n) {
        VhostNet *net = q->device->net;
        unsigned done = 0;

        while (done < n) {
                done += send_frames(q, frames + done, n - done);
                /* Full: either an event will come, or there is room by now. */
                if (done < n && vhost_net_arm(net, q->pair, VHOST_NET_TX, vhost_net_outstanding(net, q->pair) / 2)) {
                        q->blocked = true;
                        break;
                }
        }
        return done;
}

static unsigned tap_vhost_send(Device *d, Frame *frames, unsigned n) {
        TapVhost *t = tap_vhost_of(d);
        unsigned done = 0;

        if (!is_running(t)) {
                for (; done < n; done++)
                        drop_tx(t, DROP_DEVICE_ERROR);
                return n;
        }
        if (!timer_is_set(&t->check))
                (void) timer_set(loop_timers(t->loop), &t->check, loop_now(t->loop) + CHECK_USEC);
        if (d->n_queues == 1)
                return send_to_queue(&t->queues[0], frames, n);

        while (done < n) { /* a run of neighbours that share a queue at a time */
                unsigned queue = tap_queue_of_frame(&frames[done], d->n_queues), run = 1, r;

                while (done + run < n && tap_queue_of_frame(&frames[done + run], d->n_queues) == queue)
                        run++;
                r = send_to_queue(&t->queues[queue], frames + done, run);
                done += r;
                if (r < run)
                        break;
        }
        return done;
}

static void on_tx(LoopIo *io, uint32_t events) {
        TapVhostQueue *q = CONTAINER_OF(io, TapVhostQueue, tx_io);

        vhost_net_mute(q->device->net, q->pair, VHOST_NET_TX);
        unblock(q);
}

/* ---- life ---- */

static int add_queue(TapVhostQueue *q, Loop *loop) {
        const VhostNet *net = q->device->net;
        const struct {
                LoopIo *io;
                VhostNetRing ring;
                VhostNetFd which;
                LoopIoFn fn;
        } table[] = {
                { &q->rx_io, VHOST_NET_RX, VHOST_NET_FD_CALL, on_rx },
                { &q->tx_io, VHOST_NET_TX, VHOST_NET_FD_CALL, on_tx },
                { &q->rx_error_io, VHOST_NET_RX, VHOST_NET_FD_ERROR, on_rx_error },
                { &q->tx_error_io, VHOST_NET_TX, VHOST_NET_FD_ERROR, on_tx_error },
        };

        q->blocked = false;
        q->recoveries = 0;
        for (unsigned i = 0; i < ELEMENTSOF(table); i++) {
                int r = loop_add(loop, table[i].io, vhost_net_fd(net, q->pair, table[i].ring, table[i].which), EPOLLIN | EPOLLET, table[i].fn);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int tap_vhost_start(Device *d, Loop *loop) {
        TapVhost *t = tap_vhost_of(d);
        int r;

        assert(!t->loop && d->handler);
        t->loop = loop;
        r = loop_add(loop, &t->tap_io, tap_fd(t->tap, 0), EPOLLET, on_tap);
        for (unsigned i = 0; r >= 0 && i < d->n_queues; i++)
                r = add_queue(&t->queues[i], loop);
        if (r >= 0)
                r = vhost_net_start(t->net);
        /* Frames may lie there from before: look once, which also asks for the first event. */
        for (unsigned i = 0; r >= 0 && i < d->n_queues; i++)
                r = timer_set(loop_timers(loop), &t->queues[i].resume, loop_now(loop));
        if (r < 0) {
                (void) vhost_net_stop(t->net);
                remove_all(t);
                t->loop = NULL;
                return r;
        }
        return 0;
}

static void tap_vhost_stop(Device *d) {
        TapVhost *t = tap_vhost_of(d);

        if (!t->loop)
                return;
        remove_all(t);
        (void) vhost_net_stop(t->net);
        t->loop = NULL;
}

static Device *tap_vhost_free(Device *d) {
        TapVhost *t = tap_vhost_of(d);

        assert(!t->loop);
        vhost_net_free(t->net);
        device_free(t->tap);
        offload_split_free(t->split);
        free(t->cut_frames);
        free(t);
        return NULL;
}

const DeviceOps tap_vhost_ops = {
        .kind = "vhost-net",
        .start = tap_vhost_start,
        .stop = tap_vhost_stop,
        .send = tap_vhost_send,
        .free = tap_vhost_free,
};

int tap_vhost_alloc(TapVhost **ret, const TapConfig *c) {
        TapVhost *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        r = device_init(&t->device, &tap_vhost_ops, c->name, c->owner);
        if (r < 0) {
                free(t);
                return r;
        }
        t->tap_io.fd = -EBADF;
        for (unsigned i = 0; i < TAP_QUEUES_MAX; i++) {
                TapVhostQueue *q = &t->queues[i];

                q->device = t;
                q->pair = i;
                q->rx_io.fd = q->tx_io.fd = q->rx_error_io.fd = q->tx_error_io.fd = -EBADF;
                q->rx_io.batches = true;
                timer_init(&q->resume, on_resume);
        }
        timer_init(&t->check, on_check);
        t->split = offload_split_new();
        t->cut_frames = calloc(OFFLOAD_FRAMES_MAX, sizeof(Frame));
        if (!t->split || !t->cut_frames) {
                device_free(&t->device);
                return -ENOMEM;
        }
        *ret = t;
        return 0;
}

int tap_vhost_fd(const Device *d, unsigned queue) {
        return tap_fd(d->ops == &tap_vhost_ops ? tap_vhost_of(d)->tap : d, queue);
}
