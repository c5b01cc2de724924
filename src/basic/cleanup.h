/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Ownership by scope: a resource is born into a _cleanup_ variable and leaves by TAKE_* at the hand-over line.
 * "No file descriptor" is -EBADF. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

#define TAKE_PTR(p)                                                                                            \
        ({                                                                                                     \
                __typeof__(p) *_take_pp = &(p);                                                                \
                __typeof__(p) _take_p = *_take_pp;                                                             \
                *_take_pp = NULL;                                                                              \
                _take_p;                                                                                       \
        })

static inline int take_fd(int *fd) {
        int r = *fd;
        *fd = -EBADF;
        return r;
}
#define TAKE_FD(fd) take_fd(&(fd))

/* Closes @fd when it is one; keeps errno. Returns -EBADF, so that `fd = safe_close(fd)` reads well. */
static inline int safe_close(int fd) {
        if (fd >= 0) {
                int saved = errno;
                (void) close(fd);
                errno = saved;
        }
        return -EBADF;
}

static inline void freep(void *p) {
        free(*(void **) p);
}
static inline void closep(int *fd) {
        (void) safe_close(*fd);
}
static inline void fclosep(FILE **f) {
        if (*f)
                (void) fclose(*f);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

/* Makes foop() for `Foo *foo_free(Foo *)`-style destructors, for use with _cleanup_(). */
#define DEFINE_CLEANUP(type, func)                                                                             \
        static inline void func##p(type *p) {                                                                  \
                if (*p)                                                                                        \
                        (void) func(*p);                                                                       \
        }                                                                                                      \
        struct _cleanup_semicolon_##func
