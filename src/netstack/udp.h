/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* UDP translation (RFC 768, RFC 4787): endpoint-independent mapping, one host socket per guest address and port with many destinations;
 * endpoint-independent filtering towards the guest is not given: only those the guest has sent to may answer, by address (REQ-8). */

#include "netstack/netstack-private.h"

#define UDP_TIMEOUT_USEC (5 * USEC_PER_MINUTE)      /* RFC 4787 REQ-5 */
#define UDP_TIMEOUT_DNS_USEC (20 * USEC_PER_SEC)    /* mappings that only ever spoke to port 53 */
#define UDP_TIMEOUT_ONESHOT_USEC (60 * USEC_PER_SEC) /* never answered */
#define UDP_PEERS_MAX 64                            /* destination addresses remembered per mapping, oldest forgotten */
#define UDP_RECV_BATCH 32

typedef struct Flow Flow;
typedef struct Forward Forward;

int udp_new(Udp **ret, Netstack *s);
Udp *udp_free(Udp *u);
void udp_host_event(Netstack *s, Flow *f, uint32_t events);
void udp_forward_event(Netstack *s, Forward *fw, uint32_t events); /* datagrams at a forward's socket */
void udp_flow_close(Netstack *s, Flow *f); /* called by flow_close(): frees what hangs on it, not the flow itself */

/* Sends one UDP datagram to a guest from one of the gateway's own services; payload copied. @mac nullable. */
void udp_send(Netstack *s, const Endpoint *src, const Endpoint *dst, const MacAddr *mac, const void *payload, size_t len);
