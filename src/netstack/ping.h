/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Echo requests of guests to the outside, in both families, over the host's ping sockets. */

#include "netstack/netstack-private.h"

#define PING_TIMEOUT_USEC (30 * USEC_PER_SEC)

typedef struct Flow Flow;

void ping_out(Netstack *s, Packet *p, uint16_t id); /* an echo request, read and found right */
void ping_host_event(Netstack *s, Flow *f, uint32_t events);
void ping_flow_close(Netstack *s, Flow *f); /* called by flow_close() */
