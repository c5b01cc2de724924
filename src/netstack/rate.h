/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A token bucket in one word (the generic cell rate algorithm): the word is the time at which the bucket would be full again. Zero is a
 * full bucket. Knows no clock.
 */

#include "basic/macro.h"

/* Takes one token of a bucket that holds @burst and gains @per_sec a second; false when it is empty. */
static inline bool rate_take(usec_t *full_at, usec_t now, unsigned per_sec, unsigned burst) {
        usec_t interval = USEC_PER_SEC / per_sec;

        if (*full_at < now)
                *full_at = now;
        if (*full_at - now > interval * (burst - 1))
                return false;

        *full_at += interval;
        return true;
}
