/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Watch: somebody who sees every frame that passes a device, either way: a capture, a packet socket. A device nobody watches pays
 * one test of a pointer a batch.
 *
 * A watch is put on a device on the thread that drives it, and lives there; it moves along when the device is stopped and started on
 * another loop. When the device goes, its watches are freed with it, on the control thread.
 */

#include "device/device.h"

typedef struct WatchOps {
        int (*start)(Watch *w, Loop *loop); /* (nullable) the device runs from now on: 0, or a negative errno, which nobody acts upon */
        void (*stop)(Watch *w);             /* (nullable) */
        /* Frames that passed @d: borrowed for the call. Must not send on a device. */
        void (*frames)(Watch *w, DeviceDirection direction, const Frame *frames, unsigned n);
        void (*free)(Watch *w); /* the device goes; it is stopped and the watch no longer on it */
} WatchOps;

struct Watch {
        const WatchOps *ops;
        Device *device; /* (borrowed: it owns the watch) NULL: on none */
        Watch *next;
};

#define DEVICE_WATCHES_MAX 16 /* of one device, all kinds together */

/* Puts @w on @d and starts it. Only on the thread that drives @d. -ENOSPC: DEVICE_WATCHES_MAX; or what start() says. */
int watch_add(Device *d, Watch *w, Loop *loop);
void watch_remove(Watch *w); /* the same way; stops it but does not free it; no-op when it is on none */
