/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Loop: a thread with an sd_event, and a fast lane beside it.
 *
 * The thread sleeps in one epoll_wait() whose set holds the fast-lane descriptors (devices, flow sockets, listeners) and the
 * sd_event itself as one more descriptor: so a wake-up for packets costs one system call, not two, and everything rare
 * (signals, inotify, child processes) still lives under sd_event. Fast timers are a TimerQueue; one timerfd in the set, which
 * is set for the earliest deadline and hardly ever moved, ends the wait for it.
 *
 * Other threads reach a loop by loop_call() (runs a function there and waits) and loop_post() (runs it there and does not
 * wait). A loop never calls into another and waits: network threads only post. But for a network's shards (daemon/shard.h): these its thread has
 * made itself, and they wait for nobody.
 */

#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/timerq.h"

#define LOOP_EVENTS_MAX 64
#define LOOP_AGAIN_MAX 4 /* turns in a row that loop_again() may have before the kernel is asked what else there is */

typedef struct Loop Loop;
typedef struct LoopIo LoopIo;

/* @events: EPOLL* as epoll_wait() gave them; 0: of loop_again(). May remove any LoopIo, its own too. */
typedef void (*LoopIoFn)(LoopIo *io, uint32_t events);

struct LoopIo {
        LoopIoFn fn;
        int fd; /* (borrowed) -EBADF while not added */
        bool batches; /* an event brings many things at once: it is run when all others of the same wake-up have been */
};

/* Starts a thread named "vnet/@name" (cut to 15 characters). @ret owns it.
 * @after_wake: called after each batch of events with @userdata, may be NULL: the place to flush what events produced. */
int loop_new(Loop **ret, const char *name, void (*after_wake)(void *userdata), void *userdata);
/* @fn: called with the userdata of after_wake between the others and those with LoopIo.batches, where a wake-up has both. On the loop's
 * thread only. */
void loop_before_batches(Loop *l, void (*fn)(void *userdata));
Loop *loop_free(Loop *l); /* runs what was posted, stops and joins the thread; from another thread only; returns NULL */
DEFINE_CLEANUP(Loop *, loop_free);

sd_event *loop_event(Loop *l);      /* (borrowed) for sources of the rare kind; use on the loop's thread only */
TimerQueue *loop_timers(Loop *l);   /* (borrowed) the fast timers; on the loop's thread only */
usec_t loop_now(Loop *l);           /* CLOCK_BOOTTIME, read once per wake-up; on the loop's thread only */
bool loop_is_mine(const Loop *l);   /* is the calling thread the loop's? */

/* Fast lane; on the loop's thread only. @events: EPOLL*, usually with EPOLLET. 0 or negative errno. Events already fetched
 * for a removed io are not delivered. */
int loop_add(Loop *l, LoopIo *io, int fd, uint32_t events, LoopIoFn fn);
int loop_modify(Loop *l, LoopIo *io, uint32_t events);
/* Before closing the fd, always (or loop_close()): a duplicate, if only a child's between fork() and exec(), would keep reporting for @io. No-op when not added. */
void loop_remove(Loop *l, LoopIo *io);
/* Removes @io and closes its fd, of which there is no duplicate but what a child has between loop_fork_begin() and loop_fork_end(). */
void loop_close(Loop *l, LoopIo *io);
/* Around whatever forks, on any thread, until the child has closed what it has of ours, or is gone; that it executes another program says no such
 * thing: its parent may go on before the kernel closes what is O_CLOEXEC. Waits for nothing but system calls under way. */
void loop_fork_begin(void);
void loop_fork_end(void);
/* The next turn is @io's alone, and no sleep is before it: what it waits for has most likely come. No more than a hint: one that is given while
 * another's stands, or too often, is not heeded. */
void loop_again(Loop *l, LoopIo *io);
uint64_t loop_wakes(const Loop *l); /* how often the kernel was asked what there is; on the loop's thread only */
void loop_forget(Loop *l, LoopIo *io); /* what was fetched for it by now is not delivered; it stays added: another use of it begins */

/* Runs @fn(@arg) on the loop's thread and returns what it returned. On that thread itself it calls straight through. */
int loop_call(Loop *l, int (*fn)(void *arg), void *arg);

/* Queues @fn(@arg) to run on the loop's thread, in the order posted. @fn owns @arg. 0 or -ENOMEM. */
int loop_post(Loop *l, void (*fn)(void *arg), void *arg);

/* The same queue over an sd_event somebody else runs: how network threads post facts to the control thread. */
int loop_attach(Loop **ret, sd_event *event); /* no thread; loop_add() etc. are -EOPNOTSUPP, loop_post() works */
