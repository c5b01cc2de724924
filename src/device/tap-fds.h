/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Descriptors of a TAP's queues on their way into a device: closed, unless whoever gave them away says so by n = 0. */

#include <fcntl.h>

#include "basic/cleanup.h"
#include "device/tap-queue.h"

typedef struct TapFds {
        int fds[TAP_QUEUES_MAX]; /* (owned) */
        unsigned n;
} TapFds;

static inline void tap_fds_deinit(TapFds *l) {
        while (l->n > 0)
                (void) safe_close(l->fds[--l->n]);
}

/* Adds a duplicate of @fd, for which there has to be a place. 0 or negative errno. */
static inline int tap_fds_duplicate(TapFds *l, int fd) {
        int r = fcntl(fd, F_DUPFD_CLOEXEC, 3);

        if (r < 0)
                return -errno;
        l->fds[l->n++] = r;
        return 0;
}
