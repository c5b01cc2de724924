/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The part every device has in common: names, counters, offload names. Opens nothing and moves no frame.
 */

#include <errno.h>

#include "device/device.h"

static const char *const offload_names[] = { "csum", "tso4", "tso6", "ecn", "uso" };

_Static_assert(_DEVICE_OFFLOAD_ALL == (1 << ELEMENTSOF(offload_names)) - 1, "every offload has a name");

int device_init(Device *d, const DeviceOps *ops, const char *name, uint32_t owner) {
        char *copy = strdup(name);

        if (!copy)
                return -ENOMEM;

        *d = (Device){ .ops = ops, .name = copy, .owner = owner, .n_queues = 1 };
        pthread_mutex_init(&d->watch_lock, NULL); /* does not fail on Linux */
        return 0;
}

void device_counters(const Device *d, Counters *ret) {
        *ret = (Counters){};
        counters_sum(ret, &d->counters);
        for (unsigned i = 1; d->queue_counters && i < d->n_queues; i++)
                counters_sum(ret, &d->queue_counters[i - 1]);
}

Device *device_free(Device *d) {
        if (!d)
                return NULL;

        device_free_watches(d);
        /* The kind frees the memory the common part lies in, so what that part owns is taken out first. */
        _cleanup_free_ _unused_ char *name = TAKE_PTR(d->name), *peer = TAKE_PTR(d->peer);
        free(TAKE_PTR(d->queue_counters));
        pthread_mutex_destroy(&d->watch_lock);
        return d->ops->free(d);
}

int device_offload_from_name(const char *name, DeviceOffload *ret) {
        for (unsigned i = 0; i < ELEMENTSOF(offload_names); i++)
                if (streq(name, offload_names[i])) {
                        *ret = 1u << i;
                        return 0;
                }
        return -EINVAL;
}

const char *device_offload_to_name(DeviceOffload o) {
        for (unsigned i = 0; i < ELEMENTSOF(offload_names); i++)
                if (o == 1u << i)
                        return offload_names[i];
        return NULL;
}
