/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The timer queue: a binary heap ordered by Timer.sorted, which may lag behind Timer.when (a timer set later
 * stays where it stands until its old time comes). Reads no clock, never sleeps; allocates only in
 * timer_set() and timer_reserve(). At any time n + n_reserved is at most n_allocated.
 *
 * A run has two steps: everything due moves from the heap to the array @due, then the functions run from
 * there. So a function may set or stop any timer, and one set to a time that has passed waits for the next
 * run.
 *
 * Timer.slot: 0 not queued; 1.. place in the heap plus one; with SLOT_DUE set, place in @due.
 */

#include <errno.h>

#include "basic/timerq.h"

#define SLOT_DUE (UINT32_C(1) << 31)

static void heap_place(TimerQueue *q, uint32_t i, Timer *t) {
        q->heap[i] = t;
        t->slot = i + 1;
}

static void heap_up(TimerQueue *q, uint32_t i) {
        Timer *t = q->heap[i];

        while (i > 0) {
                uint32_t parent = (i - 1) / 2;

                if (q->heap[parent]->sorted <= t->sorted)
                        break;
                heap_place(q, i, q->heap[parent]);
                i = parent;
        }
        heap_place(q, i, t);
}

static void heap_down(TimerQueue *q, uint32_t i) {
        Timer *t = q->heap[i];

        for (;;) {
                uint32_t child = 2 * i + 1;

                if (child >= q->n)
                        break;
                if (child + 1 < q->n && q->heap[child + 1]->sorted < q->heap[child]->sorted)
                        child++;
                if (t->sorted <= q->heap[child]->sorted)
                        break;
                heap_place(q, i, q->heap[child]);
                i = child;
        }
        heap_place(q, i, t);
}

static void heap_remove(TimerQueue *q, uint32_t i) {
        Timer *last = q->heap[--q->n];

        q->heap[i]->slot = 0;
        q->n_reserved += q->heap[i]->reserved;
        if (i == q->n)
                return;

        heap_place(q, i, last);
        heap_up(q, i);
        heap_down(q, last->slot - 1);
}

/* Takes @t out of wherever it stands. */
static void timer_unqueue(TimerQueue *q, Timer *t) {
        if (t->slot == 0)
                return;

        if (t->slot & SLOT_DUE) {
                q->due[t->slot & ~SLOT_DUE] = NULL;
                t->slot = 0;
        } else
                heap_remove(q, t->slot - 1);
}

/* Makes room for one more. Both arrays grow together, so that a run never needs memory: it moves at most what the heap held. */
static int timerq_grow(TimerQueue *q) {
        if (q->n + q->n_reserved < q->n_allocated)
                return 0;
        if (q->n_allocated >= SLOT_DUE / 2)
                return -ENOMEM;

        uint32_t n = MAX(2 * q->n_allocated, UINT32_C(16));

        Timer **heap = reallocarray(q->heap, n, sizeof(*heap));
        if (!heap)
                return -ENOMEM;
        q->heap = heap;

        Timer **due = reallocarray(q->due, n, sizeof(*due));
        if (!due)
                return -ENOMEM;
        q->due = due;

        q->n_allocated = n;
        return 0;
}

void timerq_init(TimerQueue *q, void *userdata) {
        *q = (TimerQueue){ .userdata = userdata };
}

void timerq_deinit(TimerQueue *q) {
        assert(q->n_due == 0); /* not from within a run */

        for (uint32_t i = 0; i < q->n; i++) {
                q->heap[i]->slot = 0;
                q->heap[i]->when = USEC_INFINITY;
                q->heap[i]->reserved = false;
        }
        free(q->heap);
        free(q->due);
        *q = (TimerQueue){};
}

int timer_set(TimerQueue *q, Timer *t, usec_t when) {
        if (when == USEC_INFINITY) {
                timer_stop(q, t);
                return 0;
        }

        if (t->slot & SLOT_DUE)
                timer_unqueue(q, t);

        if (t->slot == 0) {
                int r = t->reserved ? 0 : timerq_grow(q);
                if (r < 0) {
                        t->when = USEC_INFINITY; /* a timer taken out of @due is not set any more */
                        return r;
                }

                q->n_reserved -= t->reserved;
                t->when = t->sorted = when;
                heap_place(q, q->n++, t);
                heap_up(q, t->slot - 1);
                return 0;
        }

        t->when = when;
        if (when < t->sorted) {
                t->sorted = when;
                heap_up(q, t->slot - 1);
        }
        return 0;
}

void timer_stop(TimerQueue *q, Timer *t) {
        timer_unqueue(q, t);
        t->when = USEC_INFINITY;
}

int timer_reserve(TimerQueue *q, Timer *t) {
        bool queued = t->slot != 0 && !(t->slot & SLOT_DUE);
        int r;

        if (t->reserved)
                return 0;
        r = queued ? 0 : timerq_grow(q);
        if (r < 0)
                return r;
        t->reserved = true;
        q->n_reserved += !queued;
        return 0;
}

void timer_release(TimerQueue *q, Timer *t) {
        timer_stop(q, t);
        q->n_reserved -= t->reserved;
        t->reserved = false;
}

/* Moves what is due to @due in order of time; sorts anew what was set later meanwhile. */
static void timerq_collect(TimerQueue *q, usec_t now) {
        while (q->n > 0 && q->heap[0]->sorted <= now) {
                Timer *t = q->heap[0];

                if (t->when > now) {
                        t->sorted = t->when;
                        heap_down(q, 0);
                        continue;
                }

                heap_remove(q, 0);
                t->slot = SLOT_DUE | q->n_due;
                q->due[q->n_due++] = t;
        }
}

void timerq_run(TimerQueue *q, usec_t now) {
        assert(q->n_due == 0); /* a timer's fn does not run the queue */

        timerq_collect(q, now);

        /* The fn may grow q->due by timer_set(): so look at it anew each time. */
        for (uint32_t i = 0; i < q->n_due; i++) {
                Timer *t = q->due[i];

                if (!t)
                        continue;
                q->due[i] = NULL;
                t->slot = 0;
                t->when = USEC_INFINITY;
                t->fn(t, now, q->userdata);
        }
        q->n_due = 0;
}

usec_t timerq_next(const TimerQueue *q) {
        return q->n > 0 ? q->heap[0]->sorted : USEC_INFINITY;
}
