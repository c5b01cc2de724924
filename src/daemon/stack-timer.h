/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Runs a netstack's timers on a loop: one of the loop's stands where the earliest of the stack's does, and ends the wait for it. */

#include "basic/timerq.h"
#include "netstack/netstack.h"

/* What follows the wake-up does the work: stack_timer_turn(). */
static inline void stack_timer_fn(Timer *t, usec_t now, void *userdata) {}

/* Takes @t's place in @q, as all the stack's timers hang on it; timer_release() gives it back. 0 or -ENOMEM. */
static inline int stack_timer_init(Timer *t, TimerQueue *q) {
        timer_init(t, stack_timer_fn);
        return timer_reserve(q, t);
}

/* After each batch of events: timers that are due and flows that waited have their turn, what came of it all leaves, @t follows. */
static inline void stack_timer_turn(Timer *t, TimerQueue *q, Netstack *s) {
        usec_t next;

        netstack_run_timers(s);
        netstack_reap(s);
        next = netstack_next_timer(s);
        if (next != t->when)
                (void) timer_set(q, t, next); /* reserved: it cannot fail */
}
