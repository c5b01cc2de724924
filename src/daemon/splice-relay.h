/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * SpliceRelay: two connected stream sockets whose bytes go to each other, as fast as the kernel can: few bytes by recv() and send() through
 * one buffer for all, many by splice() through pipes that are shared out, uncopied. What one side does not take is not read from the other.
 * Ends are passed on each for itself; a reset of one is told, to be done to the other. Knows no loop: events and turns come from outside.
 */

#include "basic/cleanup.h"
#include "basic/macro.h"

#define SPLICE_RELAY_BUFFER (64 * 1024)   /* one receive; at most so much waits of a direction that has no pipe */
#define SPLICE_RELAY_TURN (1024 * 1024)   /* bytes of one direction before others have their turn */
#define SPLICE_RELAY_PIPE (1024 * 1024)   /* room of a pipe, in pages of the kernel: as much waits of a direction that has one */
#define SPLICE_RELAY_PIPES_MAX 16         /* of one set: unprivileged users may have 64 MiB of them */

typedef struct SpliceRelay SpliceRelay;
typedef struct SpliceSet SpliceSet; /* what the relays of one thread share */

typedef struct SpliceHandler {
        void (*moved)(SpliceRelay *r, unsigned from, size_t n, void *userdata); /* bytes of side @from are with the other */
        void (*ready)(void *userdata); /* splice_set_run() is to be called when others have had their turn */
        /* Both directions have ended, or with @reset one side has failed. The relay is not used any more. */
        void (*done)(SpliceRelay *r, bool reset, void *userdata);
} SpliceHandler;

typedef struct SplicePipe SplicePipe;

typedef struct SpliceStream { /* from one side to the other */
        SplicePipe *pipe; /* (owned by the set) while there is much to say */
        uint8_t *rest;    /* (owned) what a short send left */
        size_t waiting;   /* bytes in one of them */
        size_t rest_at;
        unsigned few;     /* turns in a row that brought little: then the pipe goes */
        bool readable, blocked, ended, shut;
        bool last;        /* its source has said all it will: what can be read now is the rest */
        bool by_pipe;
} SpliceStream;

struct SpliceRelay {
        SpliceSet *set; /* (borrowed) */
        int fds[2];     /* (borrowed) non-blocking */
        SpliceStream streams[2]; /* from fds[i] */
        bool odd[2];    /* a short read may not be all there is: a Unix socket, urgent data, an error */
        bool in_ready;
        SpliceRelay *next_ready;
};

int splice_set_new(SpliceSet **ret, const SpliceHandler *handler, void *userdata);
SpliceSet *splice_set_free(SpliceSet *s);
void splice_set_run(SpliceSet *s); /* another turn for those that had more */

/* @odd: @a is no TCP socket. */
void splice_relay_init(SpliceRelay *r, SpliceSet *set, int a, int b, bool odd);
void splice_relay_deinit(SpliceRelay *r); /* the descriptors stay */
void splice_relay_event(SpliceRelay *r, unsigned side, uint32_t events); /* EPOLL*, edge-triggered */
