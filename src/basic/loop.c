/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop thread: one epoll set with the fast descriptors, the sd_event, a timerfd and a wake-up eventfd in it. Never
 * logs, never touches what its callbacks own; holds its one lock only to take or add queue entries, never
 * across a callback.
 *
 * One turn:
 *   sleep           epoll_wait() until a descriptor fires, a timer is due or somebody posts; not at all when loop_again() was called
 *   clock           read once
 *   descriptors     fast callbacks, in the order the kernel gave; those that bring many things at once after all others
 *   posted          what loop_post() and loop_call() queued, in their order
 *   sd_event        only when its descriptor fired or its sources may have changed (see event_dirty)
 *   timers          what is due
 *   after_wake      the owner's flush
 *
 * The sd_event between turns is "armed": sd_event_prepare() has said there is nothing to do, and its epoll
 * descriptor, a member of our set, says when there is. sd_event arms its timers and runs its deferred
 * sources only from sd_event_prepare(), so after anything that may have changed a source it must be prepared
 * again. We cannot see such a change, so we take as its sign: its descriptor fired, a posted or called
 * function ran, or somebody asked for loop_event(). A fast callback or timer that changes a source it kept
 * must call loop_event() once for this reason.
 *
 * The timerfd stands at the earliest deadline there was when it was set, and is set again only for an earlier one, or after it fired.
 * So a busy loop, whose deadlines move ahead of it, sets it once per deadline and not at each sleep; a time-out of epoll_wait() would
 * have the kernel queue a timer, and often program the timer hardware, each time the loop sleeps. Now and then it fires for nothing.
 * It counts time in suspend, as the clock does. A timer may be late by what the turn under way takes.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include "basic/loop.h"
#include "basic/rights.h"

#define EVENT_ROUNDS_MAX 32 /* sd_event dispatches in a row before the fast lane gets its turn again */

/* A function waiting to run. Of loop_post(): on the heap; of loop_call(): on the stack of the thread that
 * waits. */
typedef struct Post Post;
struct Post {
        Post *next;
        void (*fn)(void *arg);
        void *arg;
        bool on_heap;
};

typedef struct Call {
        int (*fn)(void *arg);
        void *arg;
        int result;
        bool done; /* under Loop.lock */
        Loop *loop;
} Call;

struct Loop {
        /* written before the thread starts, then never */
        pthread_t thread; /* attached: the thread that attached */
        bool attached, started;
        sd_event *event;              /* (ref) */
        sd_event_source *wake_source; /* (owned) attached only */
        int epoll_fd, wake_fd, timer_fd;
        void (*after_wake)(void *userdata), (*before_batches)(void *userdata);
        void *userdata; /* (borrowed: until loop_free()) */

        /* under @lock */
        pthread_mutex_t lock;
        pthread_cond_t call_done;
        Post *posts, **posts_tail; /* (owned where on_heap) */
        bool signalled;            /* wake_fd is written and the posts not taken since */
        bool stop;

        /* the loop's thread alone */
        TimerQueue timers;
        usec_t now;
        usec_t armed; /* when timer_fd fires; USEC_INFINITY: not set, or it did */
        struct epoll_event batch[LOOP_EVENTS_MAX];
        int n_batch;
        LoopIo *again;      /* (borrowed) whose the next turn is; NULL: whose the kernel says */
        unsigned n_again;   /* such turns in a row */
        uint64_t wakes;
        bool woken;       /* somebody posted or wants us to stop */
        bool event_dirty; /* the sd_event needs a turn */
        bool event_over;  /* sd_event_exit() was called on it */
};

/* Held while a child has our descriptors; shared by those who close one without asking epoll first. */
static pthread_rwlock_t fork_lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

static __thread Loop *loop_running; /* (borrowed) the loop whose thread this is */

static usec_t clock_now(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts); /* cannot fail for this clock */
        return (usec_t) ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

bool loop_is_mine(const Loop *l) {
        return l->attached ? pthread_equal(l->thread, pthread_self()) : loop_running == l;
}

sd_event *loop_event(Loop *l) {
        assert(loop_is_mine(l));
        l->event_dirty = true;
        return l->event;
}

TimerQueue *loop_timers(Loop *l) {
        assert(loop_is_mine(l));
        assert(!l->attached);
        return &l->timers;
}

usec_t loop_now(Loop *l) {
        assert(loop_is_mine(l));
        return l->attached ? clock_now() : l->now;
}

/* ---- the fast lane ---- */

int loop_add(Loop *l, LoopIo *io, int fd, uint32_t events, LoopIoFn fn) {
        struct epoll_event ev = { .events = events, .data.ptr = io };

        assert(loop_is_mine(l));
        if (l->attached)
                return -EOPNOTSUPP;
        if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
                return -errno;

        io->fn = fn;
        io->fd = fd;
        return 0;
}

void loop_before_batches(Loop *l, void (*fn)(void *userdata)) {
        assert(loop_is_mine(l));
        l->before_batches = fn;
}

int loop_modify(Loop *l, LoopIo *io, uint32_t events) {
        struct epoll_event ev = { .events = events, .data.ptr = io };

        assert(loop_is_mine(l));
        if (l->attached)
                return -EOPNOTSUPP;
        if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev) < 0)
                return -errno;
        return 0;
}

void loop_again(Loop *l, LoopIo *io) {
        assert(loop_is_mine(l));
        if (!l->again && io->fd >= 0)
                l->again = io;
}

uint64_t loop_wakes(const Loop *l) {
        return l->wakes;
}

void loop_forget(Loop *l, LoopIo *io) {
        assert(loop_is_mine(l));
        if (l->again == io)
                l->again = NULL;
        for (int i = 0; i < l->n_batch; i++)
                if (l->batch[i].data.ptr == io)
                        l->batch[i].data.ptr = NULL;
}

void loop_remove(Loop *l, LoopIo *io) {
        assert(loop_is_mine(l));
        if (io->fd < 0 || l->attached)
                return;

        (void) epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
        io->fd = -EBADF;
        loop_forget(l, io); /* it must not reach memory the caller may free now */
}

/* With the last descriptor of a file the kernel takes it out of the set by itself, which spares a system call. */
void loop_close(Loop *l, LoopIo *io) {
        int fd = io->fd;
        bool alone = pthread_rwlock_tryrdlock(&fork_lock) == 0;

        assert(loop_is_mine(l) && !l->attached && fd >= 0);
        if (alone) {
                io->fd = -EBADF;
                loop_forget(l, io);
        } else
                loop_remove(l, io);
        (void) close(fd);
        if (alone)
                (void) pthread_rwlock_unlock(&fork_lock);
}

void loop_fork_begin(void) {
        (void) pthread_rwlock_wrlock(&fork_lock);
}

void loop_fork_end(void) {
        (void) pthread_rwlock_unlock(&fork_lock);
}

static void loop_run_batch(Loop *l) {
        int n_late = 0;

        for (int i = 0; i < l->n_batch; i++) {
                LoopIo *io = l->batch[i].data.ptr;

                if ((void *) io == &l->event)
                        l->event_dirty = true;
                else if ((void *) io == &l->wake_fd)
                        l->woken = true; /* edge-triggered: nothing to read */
                else if ((void *) io == &l->timer_fd)
                        l->armed = USEC_INFINITY; /* the same; what is due is run at the end of the turn */
                else if (io && io->batches)
                        l->batch[n_late++] = l->batch[i]; /* stays where loop_remove() finds it */
                else if (io)
                        io->fn(io, l->batch[i].events);
        }
        l->n_batch = n_late;
        if (n_late > 0 && l->before_batches)
                l->before_batches(l->userdata);
        for (int i = 0; i < n_late; i++) {
                LoopIo *io = l->batch[i].data.ptr;

                if (io)
                        io->fn(io, l->batch[i].events);
        }
        l->n_batch = 0;
}

/* ---- other threads ---- */

static void loop_queue(Loop *l, Post *p) {
        const uint64_t one = 1;
        bool signal;

        p->next = NULL;

        pthread_mutex_lock(&l->lock);
        *l->posts_tail = p;
        l->posts_tail = &p->next;
        signal = !l->signalled;
        l->signalled = true;
        pthread_mutex_unlock(&l->lock);

        /* Every write is a new edge, so nobody ever reads it; the counter is good for 2^64 - 2 of them.
         * Whoever frees the loop waits for this thread first (see loop_free()). */
        if (signal && write(l->wake_fd, &one, sizeof(one)) < 0)
                assert(errno == EAGAIN);
}

int loop_post(Loop *l, void (*fn)(void *arg), void *arg) {
        Post *p = malloc(sizeof(*p));

        if (!p)
                return -ENOMEM;

        *p = (Post){ .fn = fn, .arg = arg, .on_heap = true };
        loop_queue(l, p);
        return 0;
}

static void call_run(void *arg) {
        Call *c = arg;
        Loop *l = c->loop;
        int result = c->fn(c->arg);

        pthread_mutex_lock(&l->lock);
        c->result = result;
        c->done = true;
        pthread_cond_broadcast(&l->call_done);
        pthread_mutex_unlock(&l->lock);
}

int loop_call(Loop *l, int (*fn)(void *arg), void *arg) {
        Call c = { .fn = fn, .arg = arg, .loop = l };
        Post p = { .fn = call_run, .arg = &c };

        if (loop_is_mine(l)) {
                l->event_dirty = true;
                return fn(arg);
        }

        loop_queue(l, &p);

        pthread_mutex_lock(&l->lock);
        while (!c.done)
                pthread_cond_wait(&l->call_done, &l->lock);
        pthread_mutex_unlock(&l->lock);
        return c.result;
}

/* Runs what is queued now; what these functions queue waits for the next turn, but for the last one, which
 * runs all.
 * Returns whether the loop shall go on. */
static bool loop_run_posts(Loop *l) {
        for (;;) {
                Post *p, *next;
                bool stop, idle;

                pthread_mutex_lock(&l->lock);
                p = l->posts;
                l->posts = NULL;
                l->posts_tail = &l->posts;
                l->signalled = false;
                stop = l->stop;
                pthread_mutex_unlock(&l->lock);

                idle = !p;
                for (; p; p = next) {
                        bool on_heap = p->on_heap;

                        next = p->next; /* before fn: a loop_call() entry is gone once its caller wakes */
                        l->event_dirty = true;
                        p->fn(p->arg);
                        if (on_heap)
                                free(p);
                }

                if (!stop || idle)
                        return !stop;
        }
}

/* ---- the sd_event ---- */

/* Brings the armed sd_event to wait, dispatch and prepare until it is armed again; leaves event_dirty set
 * when it still has work after EVENT_ROUNDS_MAX. Failure means that it is over: it leaves the set, else its
 * descriptor would spin. */
static void loop_run_event(Loop *l) {
        int r;

        l->event_dirty = false;
        if (l->event_over)
                return;

        r = sd_event_get_state(l->event) == SD_EVENT_ARMED ? sd_event_wait(l->event, 0) : 0;
        for (unsigned i = 0; r >= 0 && i < EVENT_ROUNDS_MAX; i++) {
                if (sd_event_get_state(l->event) == SD_EVENT_PENDING) {
                        r = sd_event_dispatch(l->event);
                        if (r <= 0)
                                break;
                }

                r = sd_event_prepare(l->event);
                if (r == 0)
                        return;
        }

        if (r > 0) {
                l->event_dirty = true;
                return;
        }
        l->event_over = true;
        (void) epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, sd_event_get_fd(l->event), NULL);
}

/* ---- the thread ---- */

/* Has the timerfd fire at @when, or before. */
static void loop_arm(Loop *l, usec_t when) {
        struct itimerspec at = { .it_value = { .tv_sec = (time_t) (when / USEC_PER_SEC), .tv_nsec = (long) (when % USEC_PER_SEC * 1000) } };

        if (when >= l->armed)
                return;
        (void) timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &at, NULL); /* cannot fail for this time */
        l->armed = when;
}

static int loop_sleep(Loop *l) {
        usec_t next = timerq_next(&l->timers);
        LoopIo *again = TAKE_PTR(l->again);

        if (again && l->n_again++ < LOOP_AGAIN_MAX) {
                l->batch[0] = (struct epoll_event){ .data.ptr = again };
                return 1;
        }
        l->n_again = 0;
        l->wakes++;
        if (l->event_dirty || next <= l->now)
                return epoll_wait(l->epoll_fd, l->batch, LOOP_EVENTS_MAX, 0);

        loop_arm(l, next);
        return epoll_wait(l->epoll_fd, l->batch, LOOP_EVENTS_MAX, -1);
}

static void *loop_thread(void *arg) {
        Loop *l = arg;
        bool more = true;

        loop_running = l;
        l->now = clock_now();
        l->event_dirty = true; /* the first prepare */

        while (more) {
                int n = loop_sleep(l);

                assert(n >= 0 || errno == EINTR);
                l->n_batch = MAX(n, 0);
                l->now = clock_now();

                loop_run_batch(l);
                if (l->woken) {
                        l->woken = false;
                        more = loop_run_posts(l);
                }
                if (l->event_dirty)
                        loop_run_event(l);
                timerq_run(&l->timers, l->now);
                if (l->after_wake)
                        l->after_wake(l->userdata);
        }
        return NULL;
}

static int thread_start(Loop *l, const char *name) {
        char full[16];
        int r;

        r = thread_create(&l->thread, NULL, loop_thread, l);
        if (r < 0)
                return r;

        l->started = true;
        (void) snprintf(full, sizeof(full), "vnet/%s", name);
        (void) pthread_setname_np(l->thread, full);
        return 0;
}

/* ---- birth and end ---- */

static Loop *loop_alloc(void) {
        Loop *l = calloc(1, sizeof(*l));

        if (!l)
                return NULL;

        l->epoll_fd = -EBADF;
        l->wake_fd = -EBADF;
        l->timer_fd = -EBADF;
        l->armed = USEC_INFINITY;
        l->posts_tail = &l->posts;
        pthread_mutex_init(&l->lock, NULL); /* neither fails on Linux */
        pthread_cond_init(&l->call_done, NULL);
        timerq_init(&l->timers, NULL);
        return l;
}

/* Adds a descriptor of our own, known in the batch by the address @tag. */
static int loop_add_own(Loop *l, int fd, uint32_t events, void *tag) {
        struct epoll_event ev = { .events = events, .data.ptr = tag };

        return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int loop_new(Loop **ret, const char *name, void (*after_wake)(void *userdata), void *userdata) {
        _cleanup_(loop_freep) Loop *l = loop_alloc();
        int r;

        if (!l)
                return -ENOMEM;

        l->after_wake = after_wake;
        l->userdata = userdata;
        l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (l->epoll_fd < 0)
                return -errno;
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (l->wake_fd < 0)
                return -errno;
        l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        if (l->timer_fd < 0)
                return -errno;
        r = sd_event_new(&l->event);
        if (r < 0)
                return r;

        r = loop_add_own(l, l->wake_fd, EPOLLIN | EPOLLET, &l->wake_fd);
        if (r < 0)
                return r;
        r = loop_add_own(l, l->timer_fd, EPOLLIN | EPOLLET, &l->timer_fd);
        if (r < 0)
                return r;
        r = loop_add_own(l, sd_event_get_fd(l->event), EPOLLIN, &l->event);
        if (r < 0)
                return r;

        r = thread_start(l, name);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(l);
        return 0;
}

static int on_attached_wake(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        (void) loop_run_posts(userdata);
        return 0;
}

int loop_attach(Loop **ret, sd_event *event) {
        _cleanup_(loop_freep) Loop *l = loop_alloc();
        int r;

        if (!l)
                return -ENOMEM;

        l->attached = true;
        l->thread = pthread_self();
        l->event = sd_event_ref(event);
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (l->wake_fd < 0)
                return -errno;
        r = sd_event_add_io(event, &l->wake_source, l->wake_fd, EPOLLIN | EPOLLET, on_attached_wake, l);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(l);
        return 0;
}

/**
 * loop_free() - run what was posted, stop, join, release
 * @l:          (owned, nullable) a loop; no other thread may use it any more
 *
 * A function posted from a posted function still runs. Descriptors and timers still set are forgotten, not
 * closed. An attached loop runs its posts here and now, on the thread that attached it.
 *
 * Return: NULL.
 */
Loop *loop_free(Loop *l) {
        if (!l)
                return NULL;

        if (l->attached) {
                pthread_mutex_lock(&l->lock);
                l->stop = true;
                pthread_mutex_unlock(&l->lock);
                (void) loop_run_posts(l);
        } else if (l->started) {
                const uint64_t one = 1;

                assert(!loop_is_mine(l));
                pthread_mutex_lock(&l->lock);
                l->stop = true;
                pthread_mutex_unlock(&l->lock);
                (void) !write(l->wake_fd, &one, sizeof(one));
                pthread_join(l->thread, NULL);
        }

        sd_event_source_disable_unref(l->wake_source);
        sd_event_unref(l->event);
        timerq_deinit(&l->timers);
        safe_close(l->epoll_fd);
        safe_close(l->wake_fd);
        safe_close(l->timer_fd);
        pthread_cond_destroy(&l->call_done);
        pthread_mutex_destroy(&l->lock);
        free(l);
        return NULL;
}
