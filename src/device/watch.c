/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of those who watch a device. Looks at no frame itself. Of a split device several threads show frames: one at a time, so that
 * who watches need not know. Whether anybody does they see without the lock.
 */

#include <errno.h>

#include "device/watch.h"

static void lock(Device *d) {
        if (d->split)
                pthread_mutex_lock(&d->watch_lock);
}

static void unlock(Device *d) {
        if (d->split)
                pthread_mutex_unlock(&d->watch_lock);
}

static void set(Watch **at, Watch *w) {
        __atomic_store_n(at, w, __ATOMIC_RELAXED);
}

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
        lock(d);
        set(at, w);
        unlock(d);
        return 0;
}

void watch_remove(Watch *w) {
        if (!w->device)
                return;
        lock(w->device);
        for (Watch **at = &w->device->watches; *at; at = &(*at)->next)
                if (*at == w) {
                        set(at, w->next);
                        break;
                }
        unlock(w->device);
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
        lock(d);
        for (Watch *w = d->watches; w && n > 0; w = w->next)
                w->ops->frames(w, direction, frames, n);
        unlock(d);
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
