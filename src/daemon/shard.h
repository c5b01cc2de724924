/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Shard: one queue of a parallel device, on a thread of its own: a loop, the host's sockets and a netstack for the connections that begin
 * there (netstack/shard.h). What else comes by the queue is handed over to the network's thread. All functions are for that thread; they
 * borrow the shard's and wait. A shard never waits for anybody: what it has to say it posts.
 */

#include <stdatomic.h>

#include "daemon/host-sockets.h"
#include "device/device.h"
#include "netstack/netstack.h"

#define SHARD_HANDOVER_MAX (1024 * 1024) /* bytes of a device's frames that wait for another thread; more are dropped and counted */

typedef struct Shard Shard;

/* On the network's thread, possibly when the shard is no more: @tag says whose it was. Frames are borrowed for the call. */
typedef struct ShardHandler {
        void (*frames)(void *userdata, uint64_t tag, Frame *frames, unsigned n);
        void (*seen)(void *userdata, uint64_t tag, const MacAddr *mac); /* a guest of the shard's, for the switch to know */
        void (*gone)(void *userdata, uint64_t tag, int error);          /* the device; once */
        void (*unclaimed)(void *userdata, uint64_t tag, Frame *f);      /* of shards_offer(): none of them takes it */
} ShardHandler;

typedef struct ShardConfig {
        const char *name; /* of the network */
        const NetstackConfig *stack; /* the network's */
        const HostSource *source;
        Device *device; /* split, and started */
        unsigned queue; /* from 1 on */
        NetstackPort port;

        Loop *loop; /* (borrowed: for life) the network's */
        const ShardHandler *handler; /* (borrowed: these three until everything posted to @loop has run) */
        void *userdata;
        _Atomic size_t *waiting; /* bytes on their way to @loop, and of what was offered */
        uint64_t tag;
} ShardConfig;

int shard_new(Shard **ret, const ShardConfig *c); /* copies what is not said to be borrowed */
Shard *shard_free(Shard *s); /* its connections are reset; returns NULL */
DEFINE_CLEANUP(Shard *, shard_free);

void shard_add_stats(Shard *s, NetstackStats *stats, Counters *counters); /* adds its own to both */
/* Copies @f for all of a device's shards to look at: whose connection it belongs to takes it, and if it is nobody's handler->unclaimed() follows.
 * Doesn't wait. -ENOBUFS: too much is on its way; -ENOMEM. */
int shards_offer(Shard *const *shards, unsigned n, const Frame *f);

void shard_check_addresses(Shard *s); /* as netstack_check_addresses() */
int shard_list_flows(Shard *s, size_t max, FlowInfo **ret, size_t *ret_n); /* as netstack_list_flows() */
