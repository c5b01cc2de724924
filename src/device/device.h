/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Device: where frames come and go. One vtable for every kind (tap, vhost-net, qemu, vfkit, ...); knows nothing of
 * networks, of the gateway or of the bus.
 *
 * Life: a kind's *_new() runs on the control thread, where the privileges are, and returns a device with everything opened
 * and configured. start() and everything after it, up to stop(), runs on the thread of the loop it was started on. free()
 * runs on the control thread again, after stop().
 *
 *     new (control) -> start (loop) -> send/receive ... -> stop (loop) -> [start on another loop ...] -> free (control)
 */

#include <pthread.h>

#include "basic/addr.h"
#include "basic/counters.h"
#include "basic/frame.h"
#include "basic/loop.h"

#define DEVICE_MTU_MIN 576
#define DEVICE_MTU_MAX 65520 /* an IP packet with its Ethernet header and vnet header fits 64 KiB, 8-byte aligned */

/* What frames sent to the device may ask of its far end. */
typedef enum DeviceOffload {
        DEVICE_OFFLOAD_CSUM = 1 << 0, /* checksum left to do (NEEDS_CSUM) */
        DEVICE_OFFLOAD_TSO4 = 1 << 1,
        DEVICE_OFFLOAD_TSO6 = 1 << 2,
        DEVICE_OFFLOAD_ECN = 1 << 3,  /* CWR on super-segments */
        DEVICE_OFFLOAD_USO = 1 << 4,  /* UDP segmentation, both families */
        _DEVICE_OFFLOAD_ALL = (1 << 5) - 1,
} DeviceOffload;

typedef struct Device Device;
typedef struct Watch Watch; /* watch.h */

typedef enum DeviceDirection { DEVICE_FROM_GUEST, DEVICE_TO_GUEST } DeviceDirection;

/* What happens to the far end of a device that outlives it: a listener whose VM comes and goes. */
typedef enum DeviceEvent {
        DEVICE_UP,
        DEVICE_DOWN,    /* frames sent are dropped until it is up again */
        DEVICE_REFUSED, /* another wanted in while one is there */
} DeviceEvent;

/* What the network gives the device. All called on the device's loop. */
typedef struct DeviceHandler {
        /* Frames from the guest, at most FRAME_BATCH_MAX; borrowed for the call. May send on any device of the loop. */
        void (*receive)(Device *d, Frame *frames, unsigned n, void *userdata);
        /* The device can take frames again after a short send(). */
        void (*writable)(Device *d, void *userdata);
        /* The far end is gone or broken for good (negative errno); the device is silent from now on, stop() is still due. */
        void (*gone)(Device *d, int error, void *userdata);
        /* @error: why it went down, negative errno; 0: it left in order. */
        void (*event)(Device *d, DeviceEvent event, int error, void *userdata);
} DeviceHandler;

typedef struct DeviceOps {
        const char *kind; /* "tap": as in CreateDevice() */
        int (*start)(Device *d, Loop *loop);
        void (*stop)(Device *d);

        /* Takes frames in order and returns how many it took; fewer than @n means full (writable() will follow) and the
         * caller keeps the rest. A frame the device cannot carry is taken, counted as dropped, and the next one tried. */
        unsigned (*send)(Device *d, Frame *frames, unsigned n);

        /* (nullable) About how many bytes send() would take now. 0: none that are worth a frame, and writable() will follow. */
        size_t (*room)(Device *d);

        Device *(*free)(Device *d); /* returns NULL */

        /* (nullable, all three) A device of several queues whose far end is started with @split: its queues but the first are served by threads
         * of their own, each with a handler of its own, from whose loop these are called; after start(), and stopped before stop(). */
        int (*start_queue)(Device *d, unsigned queue, Loop *loop, const DeviceHandler *handler, void *userdata);
        void (*stop_queue)(Device *d, unsigned queue);
        unsigned (*send_queue)(Device *d, unsigned queue, Frame *frames, unsigned n);
} DeviceOps;

struct Device {
        const DeviceOps *ops;
        char *name;           /* (owned) unique in the daemon */
        uint32_t owner;       /* uid who made it */
        MacAddr mac;          /* of the far end's interface where it is ours to know, else zero */
        uint32_t mtu;         /* what the far end's link carries, 0 unknown */
        uint32_t offloads;    /* DeviceOffload the far end takes natively; what it lacks is done on the doorstep */
        uint32_t n_queues;
        bool big;             /* its far end takes super-segments of IPv4 TCP of up to FRAME_BIG_MAX */
        bool stream;          /* frames come by a stream socket: what is on its way waits at the far end */
        int ifindex;          /* in its namespace; 0: no interface */
        char ifname[16];      /* "" when there is no interface */
        char *peer;           /* (owned, nullable) what it is plugged into, for people: "netns /proc/42/ns/net", a path */
        bool down;            /* no far end is there just now; read it by device_is_down() */
        bool event_told;      /* the network's: an event is on its way to the control thread, with those that follow it */
        Counters counters;    /* written on the loop's thread only; read them by device_counters() */
        bool split;           /* set before start: start() serves the first queue alone, which everything goes out of that it sends */
        Counters *queue_counters; /* (owned, nullable) of queues 1, 2 ... of a device that is or was split; written on each one's thread */
        Watch *watches;       /* (owned, list) who sees its frames; changed on the loop's thread, or while it is stopped */
        pthread_mutex_t watch_lock; /* of a split one: while somebody is shown frames, and while the list changes */

        const DeviceHandler *handler; /* (borrowed: set before start) */
        void *userdata;               /* (borrowed) of the handler */
};

/* ---- watch.c: for whom frames are shown, beside those they are for ---- */
void device_start_watches(Device *d, Loop *loop);
void device_stop_watches(Device *d);
void device_free_watches(Device *d);
void device_show(Device *d, DeviceDirection direction, const Frame *frames, unsigned n);

static inline int device_start(Device *d, Loop *loop) {
        int r = d->ops->start(d, loop);

        if (r >= 0)
                device_start_watches(d, loop);
        return r;
}
static inline void device_stop(Device *d) {
        device_stop_watches(d);
        d->ops->stop(d);
}
static inline bool device_is_watched(const Device *d) {
        return __atomic_load_n(&d->watches, __ATOMIC_RELAXED);
}
/* What the device takes is shown, also what it drops. */
static inline unsigned device_send(Device *d, Frame *frames, unsigned n) {
        unsigned taken = d->ops->send(d, frames, n);

        if (unlikely(device_is_watched(d)))
                device_show(d, DEVICE_TO_GUEST, frames, taken);
        return taken;
}
static inline unsigned device_send_queue(Device *d, unsigned queue, Frame *frames, unsigned n) {
        unsigned taken = d->ops->send_queue(d, queue, frames, n);

        if (unlikely(device_is_watched(d)))
                device_show(d, DEVICE_TO_GUEST, frames, taken);
        return taken;
}
static inline int device_start_queue(Device *d, unsigned queue, Loop *loop, const DeviceHandler *handler, void *userdata) {
        return d->ops->start_queue(d, queue, loop, handler, userdata);
}
static inline void device_stop_queue(Device *d, unsigned queue) {
        d->ops->stop_queue(d, queue);
}
/* For who receives: first thing with what came. */
static inline void device_received(Device *d, const Frame *frames, unsigned n) {
        if (unlikely(device_is_watched(d)))
                device_show(d, DEVICE_FROM_GUEST, frames, n);
}
static inline bool device_is_down(const Device *d) { /* any thread */
        return __atomic_load_n(&d->down, __ATOMIC_RELAXED);
}
void device_counters(const Device *d, Counters *ret); /* of all its queues; any thread, while the device lives */
Device *device_free(Device *d); /* frees the common part after ops->free; NULL is fine; returns NULL */
DEFINE_CLEANUP(Device *, device_free);

/* For kinds: fill the common part. @name is copied. 0 or -ENOMEM. */
int device_init(Device *d, const DeviceOps *ops, const char *name, uint32_t owner);

/* Names as in the D-Bus option and property: "csum", "tso4", "tso6", "ecn", "uso". -EINVAL when unknown. */
int device_offload_from_name(const char *name, DeviceOffload *ret);
const char *device_offload_to_name(DeviceOffload o);
