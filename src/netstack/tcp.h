/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * TCP (RFC 9293) as a translation that keeps no payload. Theory of operation at the head of tcp.c.
 */

#include "netstack/netstack-private.h"

#define TCP_ACCEPTS_MAX 64 /* clients of one listener that are taken before the others have their turn */

typedef struct Flow Flow;
typedef struct FlowKey FlowKey;
typedef struct Forward Forward;

int tcp_new(Tcp **ret, Netstack *s);
Tcp *tcp_free(Tcp *t);

void tcp_host_event(Netstack *s, Flow *f, uint32_t events);
void tcp_forward_event(Netstack *s, Forward *fw); /* connections wait at a forward's listener */
void tcp_flow_close(Netstack *s, Flow *f);        /* called by flow_close(): frees what hangs on it, not the flow itself */

/* Some frames in s->out were not taken (their len is 0), since their device is full: their flows take them back and wait for it. */
void tcp_output_short(Netstack *s);
void tcp_output_ready(Netstack *s, uint32_t port); /* flows that wait for that device go on; 0: all that wait */

void tcp_address_gone(Netstack *s, Flow *f);      /* the host has lost the address its socket is bound to */

bool tcp_knows(Netstack *s, const FlowKey *key); /* has it such a connection, or had one that ended well a moment ago? */

/* Flows that had more to send than one turn allows. */
bool tcp_has_ready(const Tcp *t);
void tcp_run_ready(Netstack *s);

uint32_t tcp_half_open(const Tcp *t);
uint64_t tcp_parked(const Tcp *t);
const char *tcp_state_name(const Flow *f); /* static text */
