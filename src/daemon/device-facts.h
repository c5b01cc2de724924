/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the thread that drives devices tells the control thread of them: that one has gone, or that its far end came or left. */

#include "basic/loop.h"
#include "device/device.h"

typedef struct DeviceFactsHandler {
        int (*detach)(Device *d, void *userdata); /* on the devices' thread: stops and lets go of @d; negative: somebody else did meanwhile */
        /* These two on the control thread. @d is detached by then: free it. */
        void (*gone)(Device *d, int error, void *userdata);
        void (*event)(const char *device, DeviceEvent event, int error, void *userdata);
} DeviceFactsHandler;

/* Lives as long as facts may be under way, its userdata too. */
typedef struct DeviceFacts {
        Loop *loop, *control; /* (borrowed) */
        const DeviceFactsHandler *handler;
        void *userdata;
} DeviceFacts;

/* Both on the devices' thread, from within the device's own call; @d is detached after that. */
void device_facts_gone(const DeviceFacts *f, Device *d, int error);
/* A VM that comes and goes in a loop makes one fact of many: the control thread has other things to do. */
void device_facts_event(const DeviceFacts *f, Device *d, DeviceEvent event, int error);
