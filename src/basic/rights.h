/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What a thread gives up before it begins: signals, and capabilities where it reads hostile bytes. */

#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Gives up every capability of the calling thread, and only of it. */
static inline void thread_drop_capabilities(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};

        (void) syscall(SYS_capset, &header, none);
}

/* pthread_create() of a thread that takes no signal: all belong to the control thread, but for those that a thread brings upon itself, which
 * blocked would kill. 0 or negative errno. */
static inline int thread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *arg), void *arg) {
        sigset_t block, before;
        int r;

        (void) sigfillset(&block);
        (void) sigdelset(&block, SIGSEGV);
        (void) sigdelset(&block, SIGBUS);
        (void) sigdelset(&block, SIGFPE);
        (void) sigdelset(&block, SIGILL);

        /* Inherited by the new thread; blocked from its first instruction on. */
        r = pthread_sigmask(SIG_SETMASK, &block, &before);
        if (r != 0)
                return -r;
        r = pthread_create(ret, attr, fn, arg);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -r;
}
