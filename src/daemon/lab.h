/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Lab: the thread that drives devices of no network. What their guests send is counted and shown to those who watch; what goes to a guest
 * is injected or written to a packet socket, for nobody else sends here. All functions are for the control thread.
 */

#include "daemon/network.h"

typedef struct Lab Lab;

/* Facts, delivered on @control; as in NetworkHandler. */
typedef struct LabHandler {
        void (*device_gone)(Device *d, int error, void *userdata); /* out of the lab already; free it */
        void (*device_event)(const char *device, DeviceEvent event, int error, void *userdata);
} LabHandler;

int lab_new(Lab **ret, Loop *control, const LabHandler *handler, void *userdata);
Lab *lab_free(Lab *l); /* devices must be out of it before; returns NULL */
DEFINE_CLEANUP(Lab *, lab_free);

int lab_attach(Lab *l, Device *d); /* starts it; (borrowed: until detach) */
int lab_detach(Lab *l, Device *d); /* stops it; -ENOENT when it is not here */
int lab_with_device(Lab *l, Device *d, NetworkDeviceFn fn, void *arg); /* as network_with_device() */
