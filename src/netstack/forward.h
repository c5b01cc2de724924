/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Forwards in: which host listeners lead to which guest endpoint, and with which source address connections appear there. */

#include "netstack/netstack-private.h"

#define FORWARDS_MAX 1024 /* fits a slot number */

typedef struct Forward {
        ForwardConfig config;
        int fd; /* (owned) listener or bound UDP socket; -EBADF: free slot */
        uint32_t generation;
        usec_t accept_at; /* clients wait that raise no further event: they are looked for then; 0: there are none */
        ForwardStats stats;
} Forward;

int forward_table_new(ForwardTable **ret, Netstack *s);
ForwardTable *forward_table_free(ForwardTable *t);
Forward *forward_by_cookie(ForwardTable *t, uint64_t cookie);
Forward *forward_by_id(ForwardTable *t, uint32_t id);
/* Not all of a listener's clients were taken, for want of something, or since the others are to have their turn: it goes on after @delay. */
#define FORWARD_ACCEPT_AGAIN USEC_PER_SEC /* for want of something */
void forward_accept_later(Netstack *s, Forward *f, usec_t delay);

/* Counts bytes of a flow to the forward it came by, if that is still there: for every segment, so found by its place (forward_slot()) and
 * not searched for. */
uint16_t forward_slot(const ForwardTable *t, const Forward *f);
void forward_count(ForwardTable *t, uint16_t slot, uint32_t id, uint64_t rx, uint64_t tx); /* modulo 2^64 */

/* The guest endpoint a new connection goes to: 0, or -EHOSTUNREACH when there is no such guest now. */
int forward_target(Netstack *s, const Forward *f, Endpoint *ret);
/* The source the guest at @guest is to see for a client: its own address where it can be routed back, else the gateway's of the guest's family. */
Endpoint forward_source(Netstack *s, const Forward *f, const Endpoint *client, const IpAddr *guest);
