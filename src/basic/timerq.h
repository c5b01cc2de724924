/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A timer queue over an injected clock: a binary heap of intrusive timers. Knows no clock and no loop: the owner says what
 * time it is. Setting a timer later than it stands is free: it is re-sorted only when its old time comes.
 */

#include "basic/macro.h"

typedef struct Timer Timer;
typedef struct TimerQueue TimerQueue;
typedef void (*TimerFn)(Timer *timer, usec_t now, void *userdata);

struct Timer {
        usec_t when;    /* when it is due; USEC_INFINITY: not set */
        usec_t sorted;  /* where it stands in the heap; at most @when */
        uint32_t slot;  /* place in the heap plus one; 0: not in it; the top bit: among those about to run */
        bool reserved;  /* by timer_reserve() */
        TimerFn fn;     /* set once by timer_init() */
};

struct TimerQueue {
        Timer **heap; /* (owned array, borrowed timers) */
        Timer **due; /* (owned array, borrowed timers) taken by the run under way; NULL where stopped since */
        uint32_t n, n_due, n_allocated;
        uint32_t n_reserved; /* places held for timers that are not in the heap */
        void *userdata; /* (borrowed) handed to every fn */
};

void timerq_init(TimerQueue *q, void *userdata);
void timerq_deinit(TimerQueue *q); /* timers still set are forgotten */

static inline void timer_init(Timer *t, TimerFn fn) {
        *t = (Timer){ .when = USEC_INFINITY, .fn = fn };
}
static inline bool timer_is_set(const Timer *t) {
        return t->when != USEC_INFINITY;
}

/* (Re)sets @t to @when. 0, or -ENOMEM when the heap cannot grow. O(log n) when earlier, O(1) when later. */
int timer_set(TimerQueue *q, Timer *t, usec_t when);
void timer_stop(TimerQueue *q, Timer *t); /* takes it out of the heap: @t may be freed after, if nothing is reserved for it */

/* Holds a place for @t: timer_set() cannot fail for it. For those without which work that is under way would stand still for ever. 0 or
 * -ENOMEM; no-op when it has one. */
int timer_reserve(TimerQueue *q, Timer *t);
void timer_release(TimerQueue *q, Timer *t); /* stops it and gives its place up; no-op but for that when it has none */

/* Runs every timer due at @now. A timer is unset before its fn runs; the fn may set it again, or stop others.
 * Timers set to a time not after @now by an fn run in the next call, so this ends. */
void timerq_run(TimerQueue *q, usec_t now);
usec_t timerq_next(const TimerQueue *q); /* earliest time anything may be due; USEC_INFINITY when empty */
