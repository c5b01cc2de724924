/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Echo requests of guests to the outside, in both families, over one socket of the host a family. */

#include "netstack/netstack-private.h"

#define PING_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define PING_REQUESTS_MAX 4096 /* of a family that may wait for an answer; a power of two */

#define PING_SHARES 64 /* guests are told apart by the port they are at; one has 3/4 of the table at most */

typedef struct Flow Flow;

typedef enum PingSideIndex { /* of HOST_KIND_PING cookies */
        PING_SIDE_4,
        PING_SIDE_6,
        _PING_SIDE_MAX,
} PingSideIndex;

int ping_new(Ping **ret, Netstack *s);
Ping *ping_free(Ping *p);
void ping_out(Netstack *s, Packet *p, uint16_t id); /* an echo request, read and found right */
void ping_host_event(Netstack *s, uint32_t index, uint32_t events);
void ping_flow_close(Netstack *s, Flow *f); /* called by flow_close() */
