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
 * Health: while something is outstanding a timer looks whether the worker completes anything. A worker that stands still, or a ring it
 * broke, is emptied and started anew; after RECOVERIES_MAX of those without a good turn between the device is gone, as it is when its
 * interface was deleted.
 */

#include "device/tap-vhost.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "device/offload.h"
#include "core-vq/vq-layout.h"
#include "vhostnet/vhost-net.h"
#include "vhostnet/vhost.h"

#define TURN_BATCHES 4
#define CHECK_USEC (500 * USEC_PER_MSEC)
#define RECOVERIES_MAX 3

typedef struct TapVhost {
        Device device;
        Device *tap;   /* (owned) never started */
        VhostNet *net; /* (owned) one pair */
        bool cut, join; /* offloads the far end lacks */
        bool blocked;  /* the last send() was short */
        unsigned recoveries; /* in a row */

        Loop *loop; /* (borrowed: from start to stop) NULL: not running */
        LoopIo rx_io, tx_io, rx_error_io, tx_error_io, tap_io;
        Timer resume; /* the turn ended before the ring was empty */
        Timer check;

        OffloadSplit *split; /* (owned) */
        Frame *cut_frames;   /* (owned) OFFLOAD_FRAMES_MAX */
        VhostNetLoan loans[FRAME_BATCH_MAX];
        struct iovec joined_iov[FRAME_BATCH_MAX];
        Frame frames[FRAME_BATCH_MAX];
} TapVhost;

static const DeviceOps tap_vhost_ops;

static TapVhost *tap_vhost_of(const Device *d) {
        return CONTAINER_OF(d, TapVhost, device);
}

static void remove_all(TapVhost *t) {
        loop_remove(t->loop, &t->rx_io);
        loop_remove(t->loop, &t->tx_io);
        loop_remove(t->loop, &t->rx_error_io);
        loop_remove(t->loop, &t->tx_error_io);
        loop_remove(t->loop, &t->tap_io);
        timer_stop(loop_timers(t->loop), &t->resume);
        timer_stop(loop_timers(t->loop), &t->check);
}

static void tap_vhost_gone(TapVhost *t, int error) {
        remove_all(t);
        if (t->device.handler->gone)
                t->device.handler->gone(&t->device, error, t->device.userdata);
}

/* ---- health ---- */

/* Looks after the rings. Return: false when the device is gone. */
static bool look_after(TapVhost *t) {
        struct ifreq ifr = {};
        int r = -EIO;

        switch (vhost_net_check(t->net, 0, loop_now(t->loop))) {
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
        if (++t->recoveries <= RECOVERIES_MAX)
                r = vhost_net_recover(t->net, 0);
        if (r < 0) { /* of a deleted interface the worker may know before we do */
                tap_vhost_gone(t, ioctl(tap_fd(t->tap), TUNGETIFF, &ifr) < 0 ? -ENODEV : r);
                return false;
        }
        /* The rings are new: what wants to be sent finds room, and the first event is to be asked for. */
        (void) timer_set(loop_timers(t->loop), &t->resume, loop_now(t->loop));
        if (t->blocked && t->device.handler->writable) {
                t->blocked = false;
                t->device.handler->writable(&t->device, t->device.userdata);
        }
        return t->loop;
}

static void on_check(Timer *timer, usec_t now, void *userdata) {
        TapVhost *t = CONTAINER_OF(timer, TapVhost, check);

        if (!look_after(t))
                return;
        if (vhost_net_idle(t->net, 0)) {
                t->recoveries = 0;
                return; /* the next send() sets the timer again */
        }
        (void) timer_set(loop_timers(t->loop), &t->check, now + CHECK_USEC);
}

static void on_rx_error(LoopIo *io, uint32_t events) {
        (void) look_after(CONTAINER_OF(io, TapVhost, rx_error_io));
}

static void on_tx_error(LoopIo *io, uint32_t events) {
        (void) look_after(CONTAINER_OF(io, TapVhost, tx_error_io));
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
static bool receive_batch(TapVhost *t) {
        int n_loans = vhost_net_receive(t->net, 0, t->loans, FRAME_BATCH_MAX);
        unsigned n;

        if (n_loans < 0) {
                (void) look_after(t);
                return false;
        }
        if (n_loans == 0)
                return !vhost_net_arm(t->net, 0, VHOST_NET_RX, 1) && vhost_net_pending(t->net, 0, VHOST_NET_RX);

        n = make_frames(t, (unsigned) n_loans);
        if (n > 0 && t->join)
                n = offload_coalesce(t->frames, n, t->joined_iov, ELEMENTSOF(t->joined_iov));
        if (n > 0)
                t->device.handler->receive(&t->device, t->frames, n, t->device.userdata);
        (void) vhost_net_return(t->net, 0, t->loans, (unsigned) n_loans); /* also when that stopped us */
        return true;
}

static void tap_vhost_receive(TapVhost *t) {
        vhost_net_mute(t->net, 0, VHOST_NET_RX);
        for (unsigned i = 0; i < TURN_BATCHES; i++) {
                if (!receive_batch(t))
                        return;
                if (!t->loop || t->rx_io.fd < 0) /* stopped by what it received, or gone */
                        return;
        }
        /* Others on the loop first. Without memory for a timer an event must bring us back, so that nothing is left lying. */
        if (timer_set(loop_timers(t->loop), &t->resume, loop_now(t->loop)) < 0)
                while (!vhost_net_arm(t->net, 0, VHOST_NET_RX, 1) && receive_batch(t) && t->loop && t->rx_io.fd >= 0)
                        ;
}

static void on_resume(Timer *timer, usec_t now, void *userdata) {
        tap_vhost_receive(CONTAINER_OF(timer, TapVhost, resume));
}

static void on_rx(LoopIo *io, uint32_t events) {
        tap_vhost_receive(CONTAINER_OF(io, TapVhost, rx_io));
}

/* ---- to the guest ---- */

static void drop_tx(TapVhost *t, Drop reason) {
        counter_add(&t->device.counters.tx_dropped, 1);
        counters_drop(&t->device.counters, reason);
}

/* Hands frames that fit the far end to the ring. Return: how many are done with, sent or dropped; fewer than @n: full. */
static unsigned send_whole(TapVhost *t, const Frame *frames, unsigned n) {
        VhostNetFrame out[FRAME_BATCH_MAX];
        unsigned done = 0;

        assert(n <= FRAME_BATCH_MAX);
        for (unsigned i = 0; i < n; i++) {
                out[i] = (VhostNetFrame){ .iov = frames[i].iov, .n_iov = frames[i].n_iov };
                (void) vnet_hdr_decode(&out[i].hdr, sizeof(frames[i].hdr), &frames[i].hdr, sizeof(frames[i].hdr));
                out[i].hdr.num_buffers = 0;
        }
        while (done < n) {
                int r = vhost_net_send_copy(t->net, 0, out + done, n - done);

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
static bool send_cut(TapVhost *t, const Frame *f) {
        Drop reason = DROP_DEVICE_ERROR;
        unsigned n = offload_split(t->split, f, t->device.offloads, t->cut_frames, &reason), done = 0;

        if (n == 0) {
                drop_tx(t, reason);
                return true;
        }
        while (done < n) {
                unsigned now = MIN(n - done, (unsigned) FRAME_BATCH_MAX), r = send_whole(t, t->cut_frames + done, now);

                done += r;
                if (r < now)
                        break;
        }
        if (done > 0 && done < n)
                drop_tx(t, DROP_DEVICE_FULL);
        return done > 0;
}

static unsigned send_frames(TapVhost *t, const Frame *frames, unsigned n) {
        unsigned done = 0;

        if (!t->cut)
                return send_whole(t, frames, n);
        while (done < n && send_cut(t, &frames[done]))
                done++;
        return done;
}

static unsigned tap_vhost_send(Device *d, Frame *frames, unsigned n) {
        TapVhost *t = tap_vhost_of(d);
        unsigned done = 0;

        if (t->rx_io.fd < 0) { /* not running, or gone */
                for (; done < n; done++)
                        drop_tx(t, DROP_DEVICE_ERROR);
                return n;
        }
        if (!timer_is_set(&t->check))
                (void) timer_set(loop_timers(t->loop), &t->check, loop_now(t->loop) + CHECK_USEC);
        while (done < n) {
                done += send_frames(t, frames + done, n - done);
                /* Full: either an event will come, or there is room by now. */
                if (done < n && vhost_net_arm(t->net, 0, VHOST_NET_TX, vhost_net_outstanding(t->net, 0) / 2)) {
                        t->blocked = true;
                        break;
                }
        }
        return done;
}

static void on_tx(LoopIo *io, uint32_t events) {
        TapVhost *t = CONTAINER_OF(io, TapVhost, tx_io);

        vhost_net_mute(t->net, 0, VHOST_NET_TX);
        if (!t->blocked)
                return;
        t->blocked = false;
        if (t->device.handler->writable)
                t->device.handler->writable(&t->device, t->device.userdata);
}

/* ---- life ---- */

static int add_all(TapVhost *t, Loop *loop) {
        const struct {
                LoopIo *io;
                int fd;
                uint32_t events;
                LoopIoFn fn;
        } table[] = {
                { &t->rx_io, vhost_net_fd(t->net, 0, VHOST_NET_RX, VHOST_NET_FD_CALL), EPOLLIN, on_rx },
                { &t->tx_io, vhost_net_fd(t->net, 0, VHOST_NET_TX, VHOST_NET_FD_CALL), EPOLLIN, on_tx },
                { &t->rx_error_io, vhost_net_fd(t->net, 0, VHOST_NET_RX, VHOST_NET_FD_ERROR), EPOLLIN, on_rx_error },
                { &t->tx_error_io, vhost_net_fd(t->net, 0, VHOST_NET_TX, VHOST_NET_FD_ERROR), EPOLLIN, on_tx_error },
                { &t->tap_io, tap_fd(t->tap), 0, on_tap },
        };

        for (unsigned i = 0; i < ELEMENTSOF(table); i++) {
                int r = loop_add(loop, table[i].io, table[i].fd, table[i].events | EPOLLET, table[i].fn);

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
        t->blocked = false;
        t->recoveries = 0;
        r = add_all(t, loop);
        if (r >= 0)
                r = vhost_net_start(t->net);
        /* Frames may lie there from before: look once, which also asks for the first event. */
        if (r >= 0)
                r = timer_set(loop_timers(loop), &t->resume, loop_now(loop));
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

static const DeviceOps tap_vhost_ops = {
        .kind = "vhost-net",
        .start = tap_vhost_start,
        .stop = tap_vhost_stop,
        .send = tap_vhost_send,
        .free = tap_vhost_free,
};

int tap_vhost_fd(const Device *d) {
        return tap_fd(d->ops == &tap_vhost_ops ? tap_vhost_of(d)->tap : d);
}

/* ---- birth ---- */

/* What the two kinds have in common, read off the TAP. */
static int copy_common(TapVhost *t) {
        const uint32_t both = DEVICE_OFFLOAD_TSO4 | DEVICE_OFFLOAD_TSO6;
        const Device *tap = t->tap;

        t->device.mac = tap->mac;
        t->device.mtu = tap->mtu;
        t->device.offloads = tap->offloads;
        t->device.n_queues = 1;
        t->device.ifindex = tap->ifindex;
        memcpy(t->device.ifname, tap->ifname, sizeof(t->device.ifname));
        if (tap->peer) {
                t->device.peer = strdup(tap->peer);
                if (!t->device.peer)
                        return -ENOMEM;
        }
        t->cut = tap->offloads != _DEVICE_OFFLOAD_ALL;
        t->join = (tap->offloads & both) != both;
        return 0;
}

static int tap_vhost_alloc(TapVhost **ret, const TapConfig *c) {
        TapVhost *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        r = device_init(&t->device, &tap_vhost_ops, c->name, c->owner);
        if (r < 0) {
                free(t);
                return r;
        }
        t->rx_io.fd = t->tx_io.fd = t->rx_error_io.fd = t->tx_error_io.fd = t->tap_io.fd = -EBADF;
        timer_init(&t->resume, on_resume);
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

/* Opens /dev/vhost-net. Return: the descriptor, -EBADF with @ret_note when it is not to be had, or another error. */
static int open_vhost(const char **ret_note) {
        int fd = vhost_open_net();

        switch (fd) {
        case -ENOENT:
        case -ENODEV:
        case -ENXIO:
                *ret_note = "there is no /dev/vhost-net (module vhost_net): frames go through system calls instead";
                return -EBADF;
        case -EACCES:
        case -EPERM:
                *ret_note = "no permission to open /dev/vhost-net: frames go through system calls instead";
                return -EBADF;
        default: /* of the system's errnos */
                return fd;
        }
}

/* The TAP, with nothing about it that would outlive a failure further on: the caller's descriptor is duplicated, and persistence waits. */
static int open_tap(Device **ret, const TapConfig *config, const char **ret_what) {
        _cleanup_close_ int fd = -EBADF;
        TapConfig c = *config;
        int r;

        *ret_what = "taking over the descriptor";
        if (c.fd >= 0) {
                fd = fcntl(c.fd, F_DUPFD_CLOEXEC, 3);
                if (fd < 0)
                        return -errno;
        }
        c.fd = fd;
        c.persistent = false;
        r = tap_new(ret, &c, ret_what);
        if (r >= 0)
                fd = -EBADF; /* the device's now */
        return r;
}

static int make_rings(TapVhost *t, int vhost_fd, unsigned queue_size, const char **ret_what) {
        int fd = tap_fd(t->tap);
        int r = copy_common(t);

        if (r < 0)
                return r;
        /* All that is sent is copied into the arena: the worker need see no more of this process. */
        return vhost_net_new(&t->net,
                             &(VhostNetConfig){ .n_pairs = 1, .backend_fds = &fd, .vhost_fds = &vhost_fd, .queue_size = queue_size,
                                                .map = VHOST_NET_MAP_ARENA },
                             ret_what);
}

static int config_check(const TapConfig *c, unsigned queue_size, const char **ret_what) {
        *ret_what = "frames without headers";
        if (c->no_vnet_hdr)
                return -EOPNOTSUPP;
        *ret_what = "size of the queues";
        if (queue_size && (queue_size < TAP_VHOST_QUEUE_SIZE_MIN || queue_size > TAP_VHOST_QUEUE_SIZE_MAX ||
                           vq_size_check(queue_size) != VQ_SIZE_OK))
                return -EINVAL;
        return 0;
}

static int make_device(Device **ret, const TapConfig *config, unsigned queue_size, const char **ret_note, const char **ret_what) {
        _cleanup_(device_freep) Device *tap = NULL, *d = NULL;
        _cleanup_close_ int vhost_fd = -EBADF;
        TapVhost *t;
        int r;

        *ret_what = "opening /dev/vhost-net";
        vhost_fd = open_vhost(ret_note);
        if (vhost_fd < 0 && !*ret_note)
                return vhost_fd;
        r = open_tap(&tap, config, ret_what);
        if (r < 0)
                return r;
        if (vhost_fd >= 0) {
                *ret_what = "memory";
                r = tap_vhost_alloc(&t, config);
                if (r < 0)
                        return r;
                d = &t->device;
                t->tap = TAKE_PTR(tap);
                r = make_rings(t, vhost_fd, queue_size, ret_what);
                if (r < 0)
                        return r;
        } else {
                d = TAKE_PTR(tap);
        }
        *ret_what = "making the interface persistent";
        if (config->persistent && ioctl(tap_vhost_fd(d), TUNSETPERSIST, 1) < 0)
                return -errno;
        *ret = TAKE_PTR(d);
        return 0;
}

int tap_vhost_new(Device **ret, const TapConfig *config, unsigned queue_size, const char **ret_note, const char **ret_what) {
        const char *note = NULL, *what = NULL;
        int r;

        r = config_check(config, queue_size, &what);
        if (r >= 0)
                r = make_device(ret, config, queue_size, &note, &what);
        if (r < 0) {
                if (ret_what)
                        *ret_what = what;
                return r;
        }
        /* Ours is a duplicate. */
        if (config->fd >= 0)
                (void) safe_close(config->fd);
        if (ret_note)
                *ret_note = note;
        return 0;
}
