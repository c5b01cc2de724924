/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * TCP (RFC 9293) as a translation that keeps no payload. Theory of operation at the head of tcp.c.
 */

#include "netstack/netstack-private.h"

typedef struct Flow Flow;
typedef struct Forward Forward;

int tcp_new(Tcp **ret, Netstack *s);
Tcp *tcp_free(Tcp *t);

void tcp_host_event(Netstack *s, Flow *f, uint32_t events);
void tcp_forward_event(Netstack *s, Forward *fw); /* connections wait at a forward's listener */
void tcp_flow_close(Netstack *s, Flow *f);        /* called by flow_close(): frees what hangs on it, not the flow itself */

/* The device took only the first @n_taken of the frames in s->out: their flows take the rest back and wait. */
void tcp_output_short(Netstack *s, unsigned n_taken);
void tcp_output_ready(Netstack *s);

/* Flows that had more to send than one turn allows. */
bool tcp_has_ready(const Tcp *t);
void tcp_run_ready(Netstack *s);

uint32_t tcp_half_open(const Tcp *t);
uint64_t tcp_parked(const Tcp *t);
const char *tcp_state_name(const Flow *f); /* static text */
