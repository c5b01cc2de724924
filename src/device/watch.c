/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The list of those who watch a device. Looks at no frame itself. */

#include <errno.h>

#include "device/watch.h"

int watch_add(Device *d, Watch *w, Loop *loop) {
        Watch **at = &d->watches;
        unsigned n = 0;
        int r;

        assert(!w->device);
        for (; *at; at = &(*at)->next)
                n++;
        if (n >= DEVICE_WATCHES_MAX)
                return -ENOSPC;
        w->device = d;
        w->next = NULL;
        r = w->ops->start ? w->ops->start(w, loop) : 0;
        if (r < 0) {
                w->device = NULL;
                return r;
        }
        *at = w;
        return 0;
}

void watch_remove(Watch *w) {
        if (!w->device)
                return;
        for (Watch **at = &w->device->watches; *at; at = &(*at)->next)
                if (*at == w) {
                        *at = w->next;
                        break;
                }
        if (w->ops->stop)
                w->ops->stop(w);
        w->device = NULL;
        w->next = NULL;
}

void device_start_watches(Device *d, Loop *loop) {
        for (Watch *w = d->watches; w; w = w->next)
                if (w->ops->start)
                        (void) w->ops->start(w, loop);
}

void device_stop_watches(Device *d) {
        for (Watch *w = d->watches; w; w = w->next)
                if (w->ops->stop)
                        w->ops->stop(w);
}

void device_show(Device *d, DeviceDirection direction, const Frame *frames, unsigned n) {
        for (Watch *w = d->watches; w && n > 0; w = w->next)
                w->ops->frames(w, direction, frames, n);
}

void device_free_watches(Device *d) {
        Watch *w;

        while ((w = d->watches)) {
                d->watches = w->next;
                w->device = NULL;
                w->next = NULL;
                w->ops->free(w);
        }
}
