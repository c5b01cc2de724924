/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See device-facts.h. Without memory for a fact it is lost: the device stays as it is, silent. */

#include "daemon/device-facts.h"

#include <stdio.h>

#include "basic/parse.h"

typedef struct Fact {
        const DeviceFacts *facts;
        Device *device; /* of one that has gone */
        DeviceEvent event;
        int error;
        char name[NAME_MAX_LEN + 1]; /* of an event: the device may be no more when it is told */
} Fact;

static void tell_gone(void *arg) { /* on the control thread */
        _cleanup_free_ Fact *f = arg;

        f->facts->handler->gone(f->device, f->error, f->facts->userdata);
}

static void detach_gone(void *arg) {
        Fact *f = arg;

        if (f->facts->handler->detach(f->device, f->facts->userdata) < 0 || loop_post(f->facts->control, tell_gone, f) < 0)
                free(f);
}

void device_facts_gone(const DeviceFacts *facts, Device *d, int error) {
        Fact *f = malloc(sizeof(*f));

        if (!f)
                return;
        *f = (Fact){ .facts = facts, .device = d, .error = error };
        if (loop_post(facts->loop, detach_gone, f) < 0)
                free(f);
}

static void tell_event(void *arg) { /* on the control thread */
        _cleanup_free_ Fact *f = arg;

        f->facts->handler->event(f->name, f->event, f->error, f->facts->userdata);
}

void device_facts_event(const DeviceFacts *facts, Device *d, DeviceEvent event, int error) {
        Fact *f;

        if (__atomic_exchange_n(&d->event_told, true, __ATOMIC_ACQ_REL))
                return;
        f = malloc(sizeof(*f));
        if (f) {
                *f = (Fact){ .facts = facts, .event = event, .error = error };
                (void) snprintf(f->name, sizeof(f->name), "%s", d->name);
        }
        if (!f || loop_post(facts->control, tell_event, f) < 0) {
                free(f);
                __atomic_store_n(&d->event_told, false, __ATOMIC_RELEASE);
        }
}
