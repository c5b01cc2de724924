/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop: calls and posts from several threads, the fast lane with removals amid a batch, timers, sd_event
 * beside it.
 */

#include <fcntl.h>
#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>

#include "basic/loop.h"

#define N_THREADS 4
#define N_ROUNDS 500

static usec_t boottime(void) {
        struct timespec ts;

        g_assert_cmpint(clock_gettime(CLOCK_BOOTTIME, &ts), ==, 0);
        return ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

static Loop *make_loop(void) {
        Loop *l = NULL;

        g_assert_cmpint(loop_new(&l, "test", NULL, NULL), ==, 0);
        return l;
}

/* Waits for @flag to be set by the loop's thread, ten seconds at most. */
static void wait_for(const int *flag, int value) {
        for (unsigned i = 0; i < 10000 && __atomic_load_n(flag, __ATOMIC_ACQUIRE) != value; i++)
                g_usleep(1000);
        g_assert_cmpint(__atomic_load_n(flag, __ATOMIC_ACQUIRE), ==, value);
}

static void bump(int *counter) {
        __atomic_add_fetch(counter, 1, __ATOMIC_RELEASE);
}

/* ---- calls and posts ---- */

typedef struct Shared {
        Loop *loop;
        int calls, posts;        /* the loop's thread alone: no atomics, so TSan sees a missing order */
        int last_seq[N_THREADS]; /* per poster */
} Shared;

typedef struct Item {
        Shared *shared;
        int thread, seq;
} Item;

static int on_call(void *arg) {
        Shared *s = arg;

        g_assert_true(loop_is_mine(s->loop));
        return -(++s->calls);
}

static void on_post(void *arg) {
        Item *item = arg;

        item->shared->posts++;
        g_assert_cmpint(item->shared->last_seq[item->thread], ==, item->seq - 1);
        item->shared->last_seq[item->thread] = item->seq;
        free(item);
}

typedef struct Worker {
        pthread_t thread;
        Shared *shared;
        int id;
} Worker;

static void *worker_main(void *arg) {
        Worker *w = arg;

        g_assert_false(loop_is_mine(w->shared->loop));
        for (int i = 1; i <= N_ROUNDS; i++) {
                Item *item = malloc(sizeof(*item));

                *item = (Item){ .shared = w->shared, .thread = w->id, .seq = i };
                g_assert_cmpint(loop_post(w->shared->loop, on_post, item), ==, 0);
                g_assert_cmpint(loop_call(w->shared->loop, on_call, w->shared), <, 0);
        }
        return NULL;
}

static void test_call_post(void) {
        Shared s = { .loop = make_loop() };
        Worker workers[N_THREADS];

        for (int i = 0; i < N_THREADS; i++) {
                workers[i] = (Worker){ .shared = &s, .id = i };
                g_assert_cmpint(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), ==, 0);
        }
        for (int i = 0; i < N_THREADS; i++)
                g_assert_cmpint(pthread_join(workers[i].thread, NULL), ==, 0);
        g_assert_null(loop_free(s.loop));

        g_assert_cmpint(s.calls, ==, N_THREADS * N_ROUNDS);
        g_assert_cmpint(s.posts, ==, N_THREADS * N_ROUNDS);
}

static int call_inner(void *arg) {
        return 7;
}
static int call_outer(void *arg) {
        return 1 + loop_call(arg, call_inner, NULL);
}

static void test_call_nested(void) {
        _cleanup_(loop_freep) Loop *l = make_loop();

        g_assert_cmpint(loop_call(l, call_outer, l), ==, 8);
}

/* A post that posts, at the end of the loop's life: all of the chain runs, on the loop's thread. */
typedef struct Chain {
        Loop *loop;
        int left, ran;
} Chain;

static void on_chain(void *arg) {
        Chain *c = arg;

        g_assert_true(loop_is_mine(c->loop));
        c->ran++;
        if (--c->left > 0)
                g_assert_cmpint(loop_post(c->loop, on_chain, c), ==, 0);
}

static void test_free_runs_posts(void) {
        for (unsigned i = 0; i < 50; i++) {
                Chain c = { .loop = make_loop(), .left = 10 };

                g_assert_cmpint(loop_post(c.loop, on_chain, &c), ==, 0);
                loop_free(c.loop);
                g_assert_cmpint(c.ran, ==, 10);
        }
        g_assert_null(loop_free(NULL));
}

/* ---- the fast lane ---- */

#define N_IOS 8

typedef struct Fast Fast;

typedef struct FastIo {
        LoopIo io;
        Fast *fast;
        int fd; /* (owned) an eventfd */
} FastIo;

struct Fast {
        Loop *loop;
        FastIo ios[N_IOS];
        int n_called, n_wakes; /* read by the test's thread */
        int n_late;
};

static int fast_kick_all(void *arg) {
        Fast *f = arg;

        for (unsigned i = 0; i < N_IOS; i++)
                g_assert_cmpint(eventfd_write(f->ios[i].fd, 1), ==, 0);
        return 0;
}

static void fast_init(Fast *f, void (*after_wake)(void *userdata)) {
        *f = (Fast){};
        g_assert_cmpint(loop_new(&f->loop, "fast", after_wake, f), ==, 0);
        for (unsigned i = 0; i < N_IOS; i++) {
                f->ios[i] = (FastIo){ .io.fd = -EBADF,
                                      .fast = f,
                                      .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
                g_assert_cmpint(f->ios[i].fd, >=, 0);
        }
}

static void fast_done(Fast *f) {
        loop_free(f->loop);
        for (unsigned i = 0; i < N_IOS; i++)
                safe_close(f->ios[i].fd);
}

static void on_count(LoopIo *io, uint32_t events) {
        FastIo *self = CONTAINER_OF(io, FastIo, io);

        g_assert_cmpuint(events & EPOLLIN, ==, EPOLLIN);
        bump(&self->fast->n_called);
}

/* Removes every io, its own too, and wipes them: nothing of the same batch may come through to the wiped
 * memory. */
static void on_remove_all(LoopIo *io, uint32_t events) {
        Fast *f = CONTAINER_OF(io, FastIo, io)->fast;

        for (unsigned i = 0; i < N_IOS; i++) {
                loop_remove(f->loop, &f->ios[i].io);
                g_assert_cmpint(f->ios[i].io.fd, ==, -EBADF);
                loop_remove(f->loop, &f->ios[i].io); /* no-op */
                memset(&f->ios[i].io.fn, 0, sizeof(f->ios[i].io.fn));
                f->ios[i].fast = NULL;
        }
        bump(&f->n_called);
}

static void on_remove_self(LoopIo *io, uint32_t events) {
        FastIo *self = CONTAINER_OF(io, FastIo, io);

        loop_remove(self->fast->loop, io);
        bump(&self->fast->n_called);
}

static int fast_add_all(Fast *f, uint32_t events, LoopIoFn fn) {
        for (unsigned i = 0; i < N_IOS; i++)
                g_assert_cmpint(loop_add(f->loop, &f->ios[i].io, f->ios[i].fd, events, fn), ==, 0);
        return 0;
}

static int fast_add_count(void *arg) {
        return fast_add_all(arg, EPOLLIN | EPOLLET, on_count);
}
static int fast_add_remove_all(void *arg) {
        return fast_add_all(arg, EPOLLIN, on_remove_all);
}
static int fast_add_remove_self(void *arg) {
        return fast_add_all(arg, EPOLLIN, on_remove_self);
}
static int fast_nothing(void *arg) {
        return 0;
}

static void on_after_wake(void *userdata) {
        Fast *f = userdata;

        bump(&f->n_wakes);
}

static void test_fast(void) {
        Fast f;

        fast_init(&f, on_after_wake);
        loop_call(f.loop, fast_add_count, &f);
        loop_call(f.loop, fast_kick_all, &f);
        wait_for(&f.n_called, N_IOS);
        for (unsigned i = 0; i < N_IOS; i++) /* edge-triggered: not drained, yet a new write fires */
                g_assert_cmpint(eventfd_write(f.ios[i].fd, 1), ==, 0);
        wait_for(&f.n_called, 2 * N_IOS);
        fast_done(&f);
        g_assert_cmpint(f.n_wakes, >, 1);
}

/* All ios fire in one turn, since the kicks come from the loop's own thread. */
static void test_remove_in_batch(void) {
        Fast f;

        fast_init(&f, NULL);
        loop_call(f.loop, fast_add_remove_all, &f);
        loop_call(f.loop, fast_kick_all, &f);
        wait_for(&f.n_called, 1);
        loop_call(f.loop, fast_nothing, NULL);
        loop_call(f.loop, fast_nothing, NULL);
        fast_done(&f);
        g_assert_cmpint(f.n_called, ==, 1);
}

static void on_forget_all(LoopIo *io, uint32_t events) {
        Fast *f = CONTAINER_OF(io, FastIo, io)->fast;

        for (unsigned i = 0; i < N_IOS; i++)
                loop_forget(f->loop, &f->ios[i].io);
        bump(&f->n_called);
}

static int fast_add_forget_all(void *arg) {
        return fast_add_all(arg, EPOLLIN | EPOLLET, on_forget_all);
}

/* Of one turn only the first is told; what comes after that is news again. */
static void test_forget_in_batch(void) {
        Fast f;

        fast_init(&f, NULL);
        loop_call(f.loop, fast_add_forget_all, &f);
        for (int turn = 1; turn <= 3; turn++) {
                loop_call(f.loop, fast_kick_all, &f);
                wait_for(&f.n_called, turn);
                loop_call(f.loop, fast_nothing, NULL);
                loop_call(f.loop, fast_nothing, NULL);
                g_assert_cmpint(__atomic_load_n(&f.n_called, __ATOMIC_ACQUIRE), ==, turn);
        }
        fast_done(&f);
}

static void on_batch(LoopIo *io, uint32_t events) {
        FastIo *self = CONTAINER_OF(io, FastIo, io);

        g_assert_cmpint(self->fast->n_called, ==, N_IOS / 2);
        g_assert_cmpint(self->fast->n_wakes, ==, 1);
        if (++self->fast->n_late == N_IOS / 2)
                bump(&self->fast->n_called);
}

static void on_single(LoopIo *io, uint32_t events) {
        FastIo *self = CONTAINER_OF(io, FastIo, io);

        g_assert_cmpint(self->fast->n_wakes, ==, 0);
        bump(&self->fast->n_called);
}

static int fast_add_batches(void *arg) {
        Fast *f = arg;

        for (unsigned i = 0; i < N_IOS; i++) {
                f->ios[i].io.batches = i % 2 == 0;
                g_assert_cmpint(loop_add(f->loop, &f->ios[i].io, f->ios[i].fd, EPOLLIN | EPOLLET, i % 2 == 0 ? on_batch : on_single), ==, 0);
        }
        loop_before_batches(f->loop, on_after_wake);
        return 0;
}

/* In one turn: those that bring one thing, what is between, those that bring many. */
static void test_before_batches(void) {
        Fast f;

        fast_init(&f, NULL);
        loop_call(f.loop, fast_add_batches, &f);
        loop_call(f.loop, fast_nothing, NULL);
        g_assert_cmpint(__atomic_load_n(&f.n_wakes, __ATOMIC_ACQUIRE), ==, 0);
        loop_call(f.loop, fast_kick_all, &f);
        wait_for(&f.n_called, N_IOS / 2 + 1);
        fast_done(&f);
        g_assert_cmpint(f.n_late, ==, N_IOS / 2);
        g_assert_cmpint(f.n_wakes, ==, 1);
}

static void on_again(LoopIo *io, uint32_t events) {
        FastIo *self = CONTAINER_OF(io, FastIo, io);

        g_assert_cmpuint(events, ==, 0);
        loop_again(self->fast->loop, io);
        bump(&self->fast->n_called);
}

static int fast_add_again(void *arg) {
        Fast *f = arg;

        g_assert_cmpint(fast_add_all(f, EPOLLIN | EPOLLET, on_again), ==, 0);
        loop_again(f->loop, &f->ios[0].io); /* whose turn is taken away again */
        loop_remove(f->loop, &f->ios[0].io);
        loop_again(f->loop, &f->ios[0].io); /* and who is not there */
        return 0;
}

static int fast_again(void *arg) {
        Fast *f = arg;

        loop_again(f->loop, &f->ios[1].io);
        loop_again(f->loop, &f->ios[2].io); /* too late */
        return 0;
}

/* Turns of their own without a sleep, and without an end if nobody ended them: others are heard after a few. */
static void test_again(void) {
        Fast f;

        fast_init(&f, NULL);
        loop_call(f.loop, fast_add_again, &f);
        loop_call(f.loop, fast_nothing, NULL);
        g_assert_cmpint(__atomic_load_n(&f.n_called, __ATOMIC_ACQUIRE), ==, 0);
        for (int i = 1; i <= 3; i++) {
                loop_call(f.loop, fast_again, &f);
                wait_for(&f.n_called, i * LOOP_AGAIN_MAX);
                loop_call(f.loop, fast_nothing, NULL);
                loop_call(f.loop, fast_nothing, NULL);
                g_assert_cmpint(__atomic_load_n(&f.n_called, __ATOMIC_ACQUIRE), ==, i * LOOP_AGAIN_MAX);
        }
        fast_done(&f);
}

static void test_remove_self(void) {
        Fast f;

        fast_init(&f, NULL);
        loop_call(f.loop, fast_add_remove_self, &f);
        loop_call(f.loop, fast_kick_all, &f);
        wait_for(&f.n_called, N_IOS);
        loop_call(f.loop, fast_nothing, NULL);
        fast_done(&f);
        g_assert_cmpint(f.n_called, ==, N_IOS);
}

static int fast_add_errors(void *arg) {
        Fast *f = arg;
        LoopIo io = { .fd = -EBADF };

        g_assert_cmpint(loop_add(f->loop, &io, -EBADF, EPOLLIN, on_count), ==, -EBADF);
        g_assert_cmpint(io.fd, ==, -EBADF);
        g_assert_cmpint(loop_modify(f->loop, &io, EPOLLIN), ==, -EBADF);
        g_assert_cmpint(loop_add(f->loop, &f->ios[0].io, f->ios[0].fd, EPOLLIN, on_count), ==, 0);
        g_assert_cmpint(loop_add(f->loop, &io, f->ios[0].fd, EPOLLIN, on_count), ==, -EEXIST);
        loop_remove(f->loop, &f->ios[0].io);
        return 0;
}

static int fast_add_silent(void *arg) {
        Fast *f = arg;

        return loop_add(f->loop, &f->ios[0].io, f->ios[0].fd, 0, on_count);
}
static int fast_modify(void *arg) {
        Fast *f = arg;

        return loop_modify(f->loop, &f->ios[0].io, EPOLLIN | EPOLLET);
}

static void test_add_modify(void) {
        Fast f;

        fast_init(&f, NULL);
        loop_call(f.loop, fast_add_errors, &f);
        g_assert_cmpint(loop_call(f.loop, fast_add_silent, &f), ==, 0);
        loop_call(f.loop, fast_kick_all, &f);
        loop_call(f.loop, fast_nothing, NULL);
        loop_call(f.loop, fast_nothing, NULL);
        g_assert_cmpint(__atomic_load_n(&f.n_called, __ATOMIC_ACQUIRE), ==, 0);
        g_assert_cmpint(loop_call(f.loop, fast_modify, &f), ==, 0);
        wait_for(&f.n_called, 1);
        fast_done(&f);
}

/* ---- timers ---- */

typedef struct Ticks {
        Loop *loop;
        Timer timer;
        usec_t due;
        int n;
} Ticks;

static void on_tick(Timer *timer, usec_t now, void *userdata) {
        Ticks *t = CONTAINER_OF(timer, Ticks, timer);

        g_assert_cmpuint(now, ==, loop_now(t->loop));
        g_assert_cmpuint(now, >=, t->due); /* never early */
        g_assert_cmpuint(now, <=, boottime());
        if (__atomic_load_n(&t->n, __ATOMIC_RELAXED) < 19) {
                t->due = now + 700;
                g_assert_cmpint(timer_set(loop_timers(t->loop), timer, t->due), ==, 0);
        }
        bump(&t->n);
}

static int ticks_start(void *arg) {
        Ticks *t = arg;

        t->due = loop_now(t->loop) + 5 * USEC_PER_MSEC;
        timer_init(&t->timer, on_tick);
        return timer_set(loop_timers(t->loop), &t->timer, t->due);
}

static void test_timer(void) {
        Ticks t = { .loop = make_loop() };
        usec_t begin = boottime();

        g_assert_cmpint(loop_call(t.loop, ticks_start, &t), ==, 0);
        wait_for(&t.n, 20);
        loop_free(t.loop);
        g_assert_cmpuint(boottime() - begin, >=, 5 * USEC_PER_MSEC + 19 * 700);
}

/* The descriptor behind the timers stands at the earliest deadline it was set for. So one that comes earlier has to set it again; one that was
 * moved back, or stopped, makes it fire for nothing, after which it must be set for what is left. */
typedef struct Deadlines {
        Loop *loop;
        Timer early, late, stopped;
        usec_t early_at, late_at;
        int n_early, n_late;
} Deadlines;

static void on_early(Timer *timer, usec_t now, void *userdata) {
        Deadlines *d = CONTAINER_OF(timer, Deadlines, early);

        g_assert_cmpuint(now, >=, d->early_at);
        g_assert_cmpint(d->n_late, ==, 0);
        bump(&d->n_early);
}
static void on_late(Timer *timer, usec_t now, void *userdata) {
        Deadlines *d = CONTAINER_OF(timer, Deadlines, late);

        g_assert_cmpuint(now, >=, d->late_at);
        bump(&d->n_late);
}
static void on_stopped(Timer *timer, usec_t now, void *userdata) {
        g_assert_not_reached();
}

static int deadlines_begin(void *arg) {
        Deadlines *d = arg;
        TimerQueue *q = loop_timers(d->loop);

        timer_init(&d->early, on_early);
        timer_init(&d->late, on_late);
        timer_init(&d->stopped, on_stopped);
        g_assert_cmpint(timer_set(q, &d->early, loop_now(d->loop) + USEC_PER_MINUTE), ==, 0);
        g_assert_cmpint(timer_set(q, &d->late, loop_now(d->loop) + 30 * USEC_PER_MSEC), ==, 0);
        g_assert_cmpint(timer_set(q, &d->stopped, loop_now(d->loop) + 20 * USEC_PER_MSEC), ==, 0);
        return 0;
}
static int deadlines_move(void *arg) { /* in a turn of its own: by now it is set for @stopped */
        Deadlines *d = arg;
        TimerQueue *q = loop_timers(d->loop);

        timer_stop(q, &d->stopped);
        d->early_at = loop_now(d->loop) + 2 * USEC_PER_MSEC;
        d->late_at = loop_now(d->loop) + 60 * USEC_PER_MSEC;
        g_assert_cmpint(timer_set(q, &d->early, d->early_at), ==, 0);
        g_assert_cmpint(timer_set(q, &d->late, d->late_at), ==, 0);
        return 0;
}

static void test_timer_moved(void) {
        Deadlines d = { .loop = make_loop() };

        g_assert_cmpint(loop_call(d.loop, deadlines_begin, &d), ==, 0);
        g_assert_cmpint(loop_call(d.loop, deadlines_move, &d), ==, 0);
        wait_for(&d.n_early, 1);
        wait_for(&d.n_late, 1);
        loop_free(d.loop);
        g_assert_cmpint(d.n_early, ==, 1);
        g_assert_cmpint(d.n_late, ==, 1);
}

/* ---- sd_event beside the fast lane ---- */

typedef struct Rare {
        Loop *loop;
        sd_event_source *timer, *defer, *io;
        int pipe_fd[2];
        int n_timer, n_defer, n_io;
} Rare;

static int on_rare_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Rare *r = userdata;

        bump(&r->n_timer);
        return 0;
}
static int on_rare_defer(sd_event_source *source, void *userdata) {
        Rare *r = userdata;

        bump(&r->n_defer);
        return 0;
}
static int on_rare_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Rare *r = userdata;
        char c;

        g_assert_cmpint(read(fd, &c, 1), ==, 1);
        bump(&r->n_io);
        return 0;
}

static int rare_start(void *arg) {
        Rare *r = arg;
        sd_event *e = loop_event(r->loop);

        g_assert_cmpint(sd_event_add_time_relative(e, &r->timer, CLOCK_BOOTTIME, 2000, 1, on_rare_timer, r),
                        >=, 0);
        g_assert_cmpint(sd_event_add_defer(e, &r->defer, on_rare_defer, r), >=, 0);
        g_assert_cmpint(sd_event_add_io(e, &r->io, r->pipe_fd[0], EPOLLIN, on_rare_io, r), >=, 0);
        return 0;
}

static int rare_again(void *arg) {
        Rare *r = arg;

        g_assert_cmpint(sd_event_source_set_enabled(r->defer, SD_EVENT_ONESHOT), >=, 0);
        g_assert_cmpint(sd_event_source_set_time_relative(r->timer, 1000), >=, 0);
        g_assert_cmpint(sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT), >=, 0);
        return 0;
}

static int rare_stop(void *arg) {
        Rare *r = arg;

        sd_event_source_disable_unref(r->timer);
        sd_event_source_disable_unref(r->defer);
        sd_event_source_disable_unref(r->io);
        return 0;
}

static void test_sd_event(void) {
        Rare r = { .loop = make_loop() };

        g_assert_cmpint(pipe2(r.pipe_fd, O_CLOEXEC), ==, 0);
        loop_call(r.loop, rare_start, &r);
        wait_for(&r.n_timer, 1);
        wait_for(&r.n_defer, 1);
        for (int i = 1; i <= 3; i++) {
                g_assert_cmpint(write(r.pipe_fd[1], "x", 1), ==, 1);
                wait_for(&r.n_io, i);
        }
        /* A called function that changes sources it kept needs no loop_event(). */
        loop_call(r.loop, rare_again, &r);
        wait_for(&r.n_timer, 2);
        wait_for(&r.n_defer, 2);
        loop_call(r.loop, rare_stop, &r);
        loop_free(r.loop);
        safe_close(r.pipe_fd[0]);
        safe_close(r.pipe_fd[1]);
}

/* A deferred source that is always on must not starve the fast lane, posts or the end. */
static int rare_busy(void *arg) {
        Rare *r = arg;

        g_assert_cmpint(sd_event_add_defer(loop_event(r->loop), &r->defer, on_rare_defer, r), >=, 0);
        return sd_event_source_set_enabled(r->defer, SD_EVENT_ON);
}

static void test_sd_event_busy(void) {
        Rare r = { .loop = make_loop() };

        g_assert_cmpint(loop_call(r.loop, rare_busy, &r), >=, 0);
        for (int i = 0; i < 20; i++)
                loop_call(r.loop, fast_nothing, NULL);
        g_assert_cmpint(__atomic_load_n(&r.n_defer, __ATOMIC_ACQUIRE), >, 0);
        loop_call(r.loop, rare_stop, &r);
        loop_free(r.loop);
}

/* An sd_event that was told to exit leaves the loop running. */
static int rare_exit(void *arg) {
        return sd_event_exit(loop_event(arg), 0);
}

static void test_sd_event_exit(void) {
        Ticks t = { .loop = make_loop() };

        g_assert_cmpint(loop_call(t.loop, rare_exit, t.loop), >=, 0);
        g_assert_cmpint(loop_call(t.loop, ticks_start, &t), ==, 0);
        wait_for(&t.n, 20);
        loop_free(t.loop);
}

/* ---- the thread and the attached kind ---- */

static int check_thread(void *arg) {
        sigset_t blocked;
        char name[16];

        g_assert_cmpint(pthread_sigmask(SIG_BLOCK, NULL, &blocked), ==, 0);
        g_assert_cmpint(sigismember(&blocked, SIGTERM), ==, 1);
        g_assert_cmpint(sigismember(&blocked, SIGCHLD), ==, 1);
        g_assert_cmpint(sigismember(&blocked, SIGBUS), ==, 0);
        g_assert_cmpint(prctl(PR_GET_NAME, name), ==, 0);
        g_assert_cmpstr(name, ==, "vnet/a-long-nam");
        return 0;
}

static int check_now(void *arg) {
        usec_t now = loop_now(arg);

        g_assert_cmpuint(now, <=, boottime());
        g_assert_cmpuint(now + 10 * USEC_PER_SEC, >, boottime());
        return 0;
}

static void test_thread(void) {
        Loop *l = NULL;
        sigset_t before, after;

        g_assert_cmpint(pthread_sigmask(SIG_BLOCK, NULL, &before), ==, 0);
        g_assert_cmpint(loop_new(&l, "a-long-name-of-a-network", NULL, NULL), ==, 0);
        g_assert_cmpint(pthread_sigmask(SIG_BLOCK, NULL, &after), ==, 0);
        g_assert_cmpint(sigismember(&before, SIGTERM), ==, sigismember(&after, SIGTERM));
        loop_call(l, fast_nothing, NULL);
        loop_call(l, check_now, l);
        loop_call(l, check_thread, NULL);
        loop_free(l);
}

static void test_attach(void) {
        sd_event *event = NULL;
        Shared s = {};
        Worker workers[N_THREADS];
        LoopIo io = { .fd = -EBADF };
        Chain c = { .left = 5 };

        g_assert_cmpint(sd_event_new(&event), >=, 0);
        g_assert_cmpint(loop_attach(&s.loop, event), ==, 0);
        g_assert_true(loop_is_mine(s.loop));
        g_assert_true(loop_event(s.loop) == event);
        g_assert_cmpint(loop_add(s.loop, &io, 0, EPOLLIN, on_count), ==, -EOPNOTSUPP);
        g_assert_cmpint(loop_modify(s.loop, &io, EPOLLIN), ==, -EOPNOTSUPP);

        for (int i = 0; i < N_THREADS; i++) {
                workers[i] = (Worker){ .shared = &s, .id = i };
                g_assert_cmpint(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), ==, 0);
        }
        while (s.calls < N_THREADS * N_ROUNDS || s.posts < N_THREADS * N_ROUNDS)
                g_assert_cmpint(sd_event_run(event, 10 * USEC_PER_SEC), >, 0);
        for (int i = 0; i < N_THREADS; i++)
                g_assert_cmpint(pthread_join(workers[i].thread, NULL), ==, 0);

        c.loop = s.loop;
        g_assert_cmpint(loop_post(s.loop, on_chain, &c), ==, 0);
        g_assert_null(loop_free(s.loop));
        g_assert_cmpint(c.ran, ==, 5);
        sd_event_unref(event);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/loop/call-post", test_call_post);
        g_test_add_func("/loop/call-nested", test_call_nested);
        g_test_add_func("/loop/free-runs-posts", test_free_runs_posts);
        g_test_add_func("/loop/fast", test_fast);
        g_test_add_func("/loop/remove-in-batch", test_remove_in_batch);
        g_test_add_func("/loop/forget-in-batch", test_forget_in_batch);
        g_test_add_func("/loop/before-batches", test_before_batches);
        g_test_add_func("/loop/again", test_again);
        g_test_add_func("/loop/remove-self", test_remove_self);
        g_test_add_func("/loop/add-modify", test_add_modify);
        g_test_add_func("/loop/timer", test_timer);
        g_test_add_func("/loop/timer-moved", test_timer_moved);
        g_test_add_func("/loop/sd-event", test_sd_event);
        g_test_add_func("/loop/sd-event-busy", test_sd_event_busy);
        g_test_add_func("/loop/sd-event-exit", test_sd_event_exit);
        g_test_add_func("/loop/thread", test_thread);
        g_test_add_func("/loop/attach", test_attach);
        return g_test_run();
}
