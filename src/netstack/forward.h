/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Forwards in: which host listeners lead to which guest endpoint, and with which source address connections appear there. */

#include "netstack/netstack-private.h"

#define FORWARDS_MAX 1024 /* fits a slot number */

typedef struct Forward {
        ForwardConfig config;
        int fd; /* (owned) listener or bound UDP socket; -EBADF: free slot */
        uint32_t generation;
        ForwardStats stats;
} Forward;

int forward_table_new(ForwardTable **ret, Netstack *s);
ForwardTable *forward_table_free(ForwardTable *t);
Forward *forward_by_cookie(ForwardTable *t, uint64_t cookie);
Forward *forward_by_id(ForwardTable *t, uint32_t id);
void forward_accept_later(Netstack *s); /* a listener could not accept for want of something: all of them try again in a second */

/* Counts bytes of a flow to the forward it came by, if that is still there: for every segment, so found by its place (forward_slot()) and
 * not searched for. */
uint16_t forward_slot(const ForwardTable *t, const Forward *f);
void forward_count(ForwardTable *t, uint16_t slot, uint32_t id, uint64_t rx, uint64_t tx); /* modulo 2^64 */

/* The guest endpoint a new connection goes to: 0, or -EHOSTUNREACH when there is no such guest now. */
int forward_target(Netstack *s, const Forward *f, Endpoint *ret);
/* The source the guest at @guest is to see for a client: its own address where it can be routed back, else the gateway's of the guest's family. */
Endpoint forward_source(Netstack *s, const Forward *f, const Endpoint *client, const IpAddr *guest);
