/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Small things every file needs: container_of, array sizes, checked min/max, attributes, time units. */

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *) ((char *) (ptr) - offsetof(type, member)))

/* GLib, which the tests use beside us, has its own of the first three. */
#undef MIN
#undef MAX
#undef CLAMP
/* The counter gives each use names of its own, so that they nest without one hiding the other. */
#define _CONCAT(a, b) a##b
#define CONCAT(a, b) _CONCAT(a, b)
#define MIN(a, b) _MIN(a, b, CONCAT(_min_a, __COUNTER__), CONCAT(_min_b, __COUNTER__))
#define MAX(a, b) _MAX(a, b, CONCAT(_max_a, __COUNTER__), CONCAT(_max_b, __COUNTER__))
#define _MIN(a, b, _a, _b)                                                                                     \
        ({                                                                                                     \
                __typeof__(a) _a = (a);                                                                        \
                __typeof__(b) _b = (b);                                                                        \
                _a < _b ? _a : _b;                                                                             \
        })
#define _MAX(a, b, _a, _b)                                                                                     \
        ({                                                                                                     \
                __typeof__(a) _a = (a);                                                                        \
                __typeof__(b) _b = (b);                                                                        \
                _a > _b ? _a : _b;                                                                             \
        })
#define CLAMP(x, low, high) MIN(MAX(x, low), high)
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))

static inline bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

/* Time is microseconds in 64 bits; USEC_INFINITY never comes. */
typedef uint64_t usec_t;
#define USEC_PER_SEC ((usec_t) 1000000)
#define USEC_PER_MSEC ((usec_t) 1000)
#define USEC_PER_MINUTE (60 * USEC_PER_SEC)
#define USEC_INFINITY UINT64_MAX
