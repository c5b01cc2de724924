/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The timer queue, with a clock turned by hand: order, lazy postponing, functions that set and stop, and a
 * long random run against a plain list.
 */

#include <glib.h>

#include "basic/timerq.h"

/* While set, the queue cannot grow. */
static bool no_memory;

void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

void *__wrap_reallocarray(void *p, size_t n, size_t size) {
        return no_memory ? NULL : __real_reallocarray(p, n, size);
}

typedef struct Probe {
        Timer timer;
        GString *log; /* (borrowed) */
        char name;
        /* what the fn does */
        struct Probe *stop, *set;
        usec_t set_to;
} Probe;

static void on_probe(Timer *timer, usec_t now, void *userdata) {
        Probe *p = CONTAINER_OF(timer, Probe, timer);

        g_assert_false(timer_is_set(timer));
        g_string_append_printf(p->log, "%c%" G_GUINT64_FORMAT " ", p->name, (guint64) now);
        if (p->stop)
                timer_stop(userdata, &p->stop->timer);
        if (p->set)
                g_assert_cmpint(timer_set(userdata, &p->set->timer, p->set_to), ==, 0);
}

typedef struct Fixture {
        TimerQueue q;
        GString *log;
        Probe a, b, c;
} Fixture;

static void probe_init(Fixture *f, Probe *p, char name) {
        *p = (Probe){ .log = f->log, .name = name };
        timer_init(&p->timer, on_probe);
        g_assert_false(timer_is_set(&p->timer));
}

static void set_up(Fixture *f, gconstpointer data) {
        timerq_init(&f->q, &f->q);
        f->log = g_string_new("");
        probe_init(f, &f->a, 'a');
        probe_init(f, &f->b, 'b');
        probe_init(f, &f->c, 'c');
}

static void tear_down(Fixture *f, gconstpointer data) {
        timerq_deinit(&f->q);
        g_assert_false(timer_is_set(&f->a.timer) || timer_is_set(&f->b.timer) || timer_is_set(&f->c.timer));
        g_string_free(f->log, TRUE);
}

static void set(Fixture *f, Probe *p, usec_t when) {
        g_assert_cmpint(timer_set(&f->q, &p->timer, when), ==, 0);
}

/* Runs at @now and compares what ran. */
static void expect(Fixture *f, usec_t now, const char *want) {
        g_string_truncate(f->log, 0);
        timerq_run(&f->q, now);
        g_assert_cmpstr(f->log->str, ==, want);
}

static void test_order(Fixture *f, gconstpointer data) {
        g_assert_cmpuint(timerq_next(&f->q), ==, USEC_INFINITY);
        set(f, &f->b, 20);
        set(f, &f->c, 30);
        set(f, &f->a, 10);
        g_assert_cmpuint(timerq_next(&f->q), ==, 10);
        expect(f, 9, "");
        expect(f, 10, "a10 ");
        expect(f, 10, "");
        g_assert_cmpuint(timerq_next(&f->q), ==, 20);
        expect(f, 99, "b99 c99 ");
        g_assert_cmpuint(timerq_next(&f->q), ==, USEC_INFINITY);
}

static void test_later(Fixture *f, gconstpointer data) {
        set(f, &f->a, 10);
        set(f, &f->b, 20);
        set(f, &f->a, 30);
        g_assert_cmpuint(timerq_next(&f->q), ==, 10); /* not re-sorted yet */
        expect(f, 10, "");
        g_assert_cmpuint(timerq_next(&f->q), ==, 20);
        expect(f, 25, "b25 ");
        expect(f, 29, "");
        expect(f, 30, "a30 ");

        /* later, then earlier than where it stands, then between */
        set(f, &f->a, 100);
        set(f, &f->a, 200);
        set(f, &f->a, 50);
        set(f, &f->a, 60);
        expect(f, 59, "");
        expect(f, 60, "a60 ");
}

static void test_stop(Fixture *f, gconstpointer data) {
        set(f, &f->a, 10);
        set(f, &f->b, 20);
        timer_stop(&f->q, &f->a.timer);
        timer_stop(&f->q, &f->a.timer);
        g_assert_false(timer_is_set(&f->a.timer));
        g_assert_cmpuint(timerq_next(&f->q), ==, 20);
        set(f, &f->b, USEC_INFINITY); /* the same as stopping */
        g_assert_false(timer_is_set(&f->b.timer));
        g_assert_cmpuint(timerq_next(&f->q), ==, USEC_INFINITY);
        expect(f, 99, "");
}

/* Set to a time that has passed: in the next run, so that a run ends; even at the same time of day. */
static void test_set_again(Fixture *f, gconstpointer data) {
        f->a.set = &f->a;
        f->a.set_to = 5;
        set(f, &f->a, 10);
        expect(f, 10, "a10 ");
        g_assert_cmpuint(timerq_next(&f->q), ==, 5);
        expect(f, 10, "a10 ");
        f->a.set = NULL;
        expect(f, 10, "a10 ");
        expect(f, 10, "");
}

static void test_set_other_due(Fixture *f, gconstpointer data) {
        f->a.set = &f->b; /* b is due in the same run: put off, it runs only then */
        f->a.set_to = 50;
        set(f, &f->a, 10);
        set(f, &f->b, 11);
        expect(f, 20, "a20 ");
        expect(f, 50, "b50 ");
}

static void test_stop_other_due(Fixture *f, gconstpointer data) {
        f->a.stop = &f->b;
        f->a.set = &f->c; /* not due, becomes due: the next run's */
        f->a.set_to = 1;
        set(f, &f->a, 10);
        set(f, &f->b, 11);
        set(f, &f->c, 90);
        expect(f, 20, "a20 ");
        expect(f, 20, "c20 ");
        expect(f, 99, "");
}

/* A stopped timer's memory may go at once, also amid a run. */
static void on_free_other(Timer *timer, usec_t now, void *userdata) {
        Probe *p = CONTAINER_OF(timer, Probe, timer);

        timer_stop(userdata, &p->stop->timer);
        free(p->stop);
        p->stop = NULL;
}

static void test_free_in_run(Fixture *f, gconstpointer data) {
        Probe *gone = malloc(sizeof(*gone));

        probe_init(f, gone, 'x');
        f->a.timer.fn = on_free_other;
        f->a.stop = gone;
        set(f, &f->a, 10);
        set(f, gone, 10);
        set(f, gone, 11);
        expect(f, 20, "");
        g_assert_null(f->a.stop);
}

/* Sets many more from a fn, so that both arrays move while one is being walked. */
#define N_MANY 1000
static Timer many[N_MANY];
static unsigned n_many_ran;

static void on_many(Timer *timer, usec_t now, void *userdata) {
        n_many_ran++;
}
static void on_grow(Timer *timer, usec_t now, void *userdata) {
        for (unsigned i = 0; i < N_MANY; i++) {
                timer_init(&many[i], on_many);
                g_assert_cmpint(timer_set(userdata, &many[i], i % 2 ? 1 : 100 + i), ==, 0);
        }
}

static void test_grow_in_run(Fixture *f, gconstpointer data) {
        n_many_ran = 0;
        f->a.timer.fn = on_grow;
        set(f, &f->a, 10);
        set(f, &f->b, 11);
        set(f, &f->c, 12);
        expect(f, 20, "b20 c20 ");
        g_assert_cmpuint(n_many_ran, ==, 0);
        expect(f, 20, "");
        g_assert_cmpuint(n_many_ran, ==, N_MANY / 2);
        expect(f, 100 + N_MANY, "");
        g_assert_cmpuint(n_many_ran, ==, N_MANY);
}

/* ---- against a plain list ---- */

#define N_RANDOM 64

typedef struct Model {
        Timer timer;
        usec_t when; /* what the list says */
        bool ran;
} Model;

static void on_model(Timer *timer, usec_t now, void *userdata) {
        Model *m = CONTAINER_OF(timer, Model, timer);

        g_assert_cmpuint(m->when, <=, now);
        m->ran = true;
        m->when = USEC_INFINITY;
}

/* Takes every place there is, but for those that are held; returns how many. */
static unsigned fill(TimerQueue *q, Timer *timers, unsigned n) {
        unsigned i = 0;

        no_memory = true;
        for (; i < n && timer_set(q, &timers[i], 1000) == 0; i++)
                ;
        g_assert_cmpuint(i, <, n);
        g_assert_false(timer_is_set(&timers[i]));
        return i;
}

/* A reserved timer finds its place in a full queue: the first time, again from its fn, after it was stopped, when it was set before it was
 * reserved; and what it gives up is another's. */
static void test_reserved(Fixture *f, gconstpointer data) {
        Timer timers[64];
        unsigned n;

        for (unsigned i = 0; i < G_N_ELEMENTS(timers); i++)
                timer_init(&timers[i], NULL);
        g_assert_cmpint(timer_set(&f->q, &f->b.timer, 5), ==, 0);
        g_assert_cmpint(timer_reserve(&f->q, &f->a.timer), ==, 0);
        g_assert_cmpint(timer_reserve(&f->q, &f->a.timer), ==, 0); /* one place, not two */
        g_assert_cmpint(timer_reserve(&f->q, &f->b.timer), ==, 0);
        n = fill(&f->q, timers, G_N_ELEMENTS(timers));
        g_assert_cmpuint(n, ==, f->q.n_allocated - 2);
        g_assert_cmpint(timer_reserve(&f->q, &f->c.timer), ==, -ENOMEM);

        f->a.set = &f->a;
        f->a.set_to = 2;
        g_assert_cmpint(timer_set(&f->q, &f->a.timer, 1), ==, 0);
        timerq_run(&f->q, 1);
        g_assert_cmpint(timer_set(&f->q, &timers[n], 1000), ==, -ENOMEM);
        f->a.set = NULL;
        timerq_run(&f->q, 2);
        g_assert_cmpint(timer_set(&f->q, &timers[n], 1000), ==, -ENOMEM); /* the place is held while nothing is in it */
        timer_stop(&f->q, &f->b.timer);
        g_assert_cmpint(timer_set(&f->q, &timers[n], 1000), ==, -ENOMEM);
        g_assert_cmpint(timer_set(&f->q, &f->b.timer, 3), ==, 0);
        g_assert_cmpint(timer_set(&f->q, &f->a.timer, 4), ==, 0);
        timerq_run(&f->q, 4);
        g_assert_cmpstr(f->log->str, ==, "a1 a2 b4 a4 ");

        timer_release(&f->q, &f->a.timer);
        g_assert_cmpint(timer_set(&f->q, &timers[n], 1000), ==, 0);
        g_assert_cmpint(timer_set(&f->q, &f->a.timer, 1000), ==, -ENOMEM);
        no_memory = false;
        timer_release(&f->q, &f->b.timer);
}

/* Timers that ran just before it take their places again, and more: none of them is its own. */
static void test_reserved_in_run(Fixture *f, gconstpointer data) {
        Timer timers[64];
        unsigned n;

        for (unsigned i = 0; i < G_N_ELEMENTS(timers); i++)
                timer_init(&timers[i], NULL);
        g_assert_cmpint(timer_reserve(&f->q, &f->b.timer), ==, 0);
        g_assert_cmpint(timer_set(&f->q, &f->a.timer, 1), ==, 0);
        g_assert_cmpint(timer_set(&f->q, &f->b.timer, 2), ==, 0);
        n = fill(&f->q, timers, G_N_ELEMENTS(timers));
        f->a.set = &f->c; /* in place of a itself */
        f->a.set_to = 50;
        f->b.set = &f->b;
        f->b.set_to = 60;
        timerq_run(&f->q, 2);
        g_assert_cmpuint(f->b.timer.when, ==, 60);
        g_assert_cmpint(timer_set(&f->q, &timers[n], 1000), ==, -ENOMEM);
        no_memory = false;
}

static void test_random(void) {
        Model models[N_RANDOM];
        TimerQueue q;
        usec_t now = 0;

        timerq_init(&q, NULL);
        for (unsigned i = 0; i < N_RANDOM; i++) {
                models[i] = (Model){ .when = USEC_INFINITY };
                timer_init(&models[i].timer, on_model);
                if (i % 3 == 0)
                        g_assert_cmpint(timer_reserve(&q, &models[i].timer), ==, 0);
        }

        for (unsigned step = 0; step < 200000; step++) {
                Model *m = &models[g_test_rand_int_range(0, N_RANDOM)];

                switch (g_test_rand_int_range(0, 8)) {
                case 0:
                        timer_stop(&q, &m->timer);
                        m->when = USEC_INFINITY;
                        break;
                case 1: {
                        usec_t soonest = USEC_INFINITY;

                        for (unsigned i = 0; i < N_RANDOM; i++)
                                soonest = MIN(soonest, models[i].when);
                        g_assert_cmpuint(timerq_next(&q), <=, soonest);

                        now += g_test_rand_int_range(0, 50);
                        for (unsigned i = 0; i < N_RANDOM; i++)
                                models[i].ran = models[i].when >
                                                now; /* those must not run, the others must */
                        timerq_run(&q, now);
                        for (unsigned i = 0; i < N_RANDOM; i++)
                                g_assert_true(models[i].ran);
                        break;
                }
                default:
                        m->when = now + g_test_rand_int_range(0, 300);
                        g_assert_cmpint(timer_set(&q, &m->timer, m->when), ==, 0);
                }
                g_assert_cmpuint(m->timer.when, ==, m->when);
                g_assert_cmpuint(q.n + q.n_reserved, <=, q.n_allocated);
        }
        for (unsigned i = 0; i < N_RANDOM; i++)
                timer_release(&q, &models[i].timer);
        g_assert_cmpuint(q.n + q.n_reserved, ==, 0);
        timerq_deinit(&q);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/timerq/" name, Fixture, NULL, set_up, fn, tear_down)
        ADD("order", test_order);
        ADD("later", test_later);
        ADD("stop", test_stop);
        ADD("set-again", test_set_again);
        ADD("set-other-due", test_set_other_due);
        ADD("stop-other-due", test_stop_other_due);
        ADD("free-in-run", test_free_in_run);
        ADD("grow-in-run", test_grow_in_run);
        ADD("reserved", test_reserved);
        ADD("reserved-in-run", test_reserved_in_run);
        g_test_add_func("/timerq/random", test_random);
        return g_test_run();
}
