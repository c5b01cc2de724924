/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See lab.h. A device here has no neighbours: no frame goes from one to another. */

#include "daemon/lab.h"

#include "basic/rights.h"
#include "daemon/device-facts.h"

struct Lab {
        Loop *loop;    /* (owned) */
        Loop *control; /* (borrowed) */
        DeviceFacts facts;
        const LabHandler *handler; /* NULL once lab_free() has begun */
        void *userdata;

        /* on the lab's thread */
        Device **devices; /* (owned: the array) */
        size_t n, allocated;
};

/* ---- on the lab's thread ---- */

static void on_receive(Device *d, Frame *frames, unsigned n, void *userdata) {
        device_received(d, frames, n);
}

static void on_gone(Device *d, int error, void *userdata) {
        Lab *l = userdata;

        device_facts_gone(&l->facts, d, error);
}

static void on_event(Device *d, DeviceEvent event, int error, void *userdata) {
        Lab *l = userdata;

        device_facts_event(&l->facts, d, event, error);
}

static const DeviceHandler device_handler = {
        .receive = on_receive,
        .gone = on_gone,
        .event = on_event,
};

static size_t find(const Lab *l, const Device *d) {
        size_t i = 0;

        while (i < l->n && l->devices[i] != d)
                i++;
        return i;
}

static int attach_here(Lab *l, Device *d) {
        int r;

        if (l->n == l->allocated) {
                size_t allocated = MAX(l->allocated * 2, (size_t) 16);
                Device **devices = realloc(l->devices, allocated * sizeof(*devices));

                if (!devices)
                        return -ENOMEM;
                l->devices = devices;
                l->allocated = allocated;
        }
        d->handler = &device_handler;
        d->userdata = l;
        l->devices[l->n++] = d;
        r = device_start(d, l->loop);
        if (r < 0) {
                l->n--;
                d->handler = NULL;
                d->userdata = NULL;
        }
        return r;
}

static int detach_here(Device *d, void *userdata) {
        Lab *l = userdata;
        size_t i = find(l, d);

        if (i == l->n)
                return -ENOENT;
        device_stop(d);
        l->devices[i] = l->devices[--l->n];
        d->handler = NULL;
        d->userdata = NULL;
        return 0;
}

static int begin_here(void *arg) {
        thread_drop_capabilities();
        return 0;
}

/* ---- on the control thread ---- */

static void tell_gone(Device *d, int error, void *userdata) {
        Lab *l = userdata;

        if (l->handler)
                l->handler->device_gone(d, error, l->userdata);
}

static void tell_event(const char *device, DeviceEvent event, int error, void *userdata) {
        Lab *l = userdata;

        if (l->handler)
                l->handler->device_event(device, event, error, l->userdata);
}

static const DeviceFactsHandler facts_handler = {
        .detach = detach_here,
        .gone = tell_gone,
        .event = tell_event,
};

int lab_new(Lab **ret, Loop *control, const LabHandler *handler, void *userdata) {
        _cleanup_(lab_freep) Lab *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        *l = (Lab){ .control = control, .handler = handler, .userdata = userdata };
        r = loop_new(&l->loop, "lab", NULL, NULL);
        if (r < 0)
                return r;
        l->facts = (DeviceFacts){ l->loop, control, &facts_handler, l };
        (void) loop_call(l->loop, begin_here, NULL);
        *ret = TAKE_PTR(l);
        return 0;
}

static void free_memory(void *arg) {
        Lab *l = arg;

        free(l->devices);
        free(l);
}

Lab *lab_free(Lab *l) {
        if (!l)
                return NULL;
        l->loop = loop_free(l->loop);
        assert(l->n == 0);
        l->handler = NULL;
        if (loop_post(l->control, free_memory, l) < 0) /* behind every fact that names it */
                free_memory(l);
        return NULL;
}

typedef struct Call {
        Lab *l;
        Device *device;
        NetworkDeviceFn fn;
        void *arg;
} Call;

static int do_attach(void *arg) {
        Call *c = arg;

        return attach_here(c->l, c->device);
}

int lab_attach(Lab *l, Device *d) {
        return loop_call(l->loop, do_attach, &(Call){ .l = l, .device = d });
}

static int do_detach(void *arg) {
        Call *c = arg;

        return detach_here(c->device, c->l);
}

int lab_detach(Lab *l, Device *d) {
        return loop_call(l->loop, do_detach, &(Call){ .l = l, .device = d });
}

static int do_with_device(void *arg) {
        Call *c = arg;

        return find(c->l, c->device) < c->l->n ? c->fn(c->device, c->l->loop, c->arg) : -ENOENT;
}

int lab_with_device(Lab *l, Device *d, NetworkDeviceFn fn, void *arg) {
        return loop_call(l->loop, do_with_device, &(Call){ l, d, fn, arg });
}
