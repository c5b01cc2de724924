/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Lender: sockets that a guest's network namespace has lent (basic/lend.h), so that we reach its services as a process inside does, without
 * any right to enter it. Each is connected for one conversation and made unconnected again. Once the lender's process has ended, those that
 * are idle are closed, and the others as they come back: they keep the namespace alive. Belongs to one thread at a time.
 */

#include "basic/addr.h"
#include "basic/cleanup.h"
#include "basic/loop.h"

typedef struct Lender Lender;

typedef struct LentSocket {
        LoopIo io;  /* for whoever uses it; stays added while it is idle */
        int fd;     /* (owned by the Lender) -EBADF: closed for good */
        int family;
        void *user; /* who uses it; NULL: idle */
        struct LentSocket *next; /* of the idle ones of its family, or of those that are leaving */
} LentSocket;

/* Takes what waits in @channel (borrowed), which anybody may have filled. 0; -EINVAL: it is not what lend.h says, and @ret_what says how;
 * -ESRCH: the process has ended; others of the system. */
int lender_receive(Lender **ret, int channel, const char **ret_what);
Lender *lender_free(Lender *l, Loop *loop); /* closes all; @loop (nullable): where they were used; returns NULL */

int lender_pidfd(const Lender *l); /* readable: time for lender_end() */

/* An idle one that has begun to connect to @dst. -EAGAIN: none is left; others: it cannot be reached from there. */
int lender_connect(Lender *l, const Endpoint *dst, Loop *loop, LentSocket **ret);
/* Takes it back. @reset: its peer hears that too, and what is under way is lost; else the end of both directions must have been reached, and
 * a socket with bytes still under way waits for these to arrive. */
void lender_give_back(Lender *l, LentSocket *s, bool reset, Loop *loop);
void lender_end(Lender *l, Loop *loop); /* lends no more */
