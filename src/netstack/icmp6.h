/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* ICMP for IPv6 (RFC 4443): echo for the gateway's own addresses, the errors the gateway owes, and the door to neighbour discovery. What
 * both families share (the rate of errors, echo to the outside) is icmp.c's and ping.c's. */

#include "netstack/netstack-private.h"

/* Tells the guest that sent @p of an error. @arg: the MTU of "packet too big", the pointer of "parameter problem". @src: who says so;
 * NULL, null or of the other family: the gateway. Rate-limited and counted; silent where RFC 4443 2.4 (e) wants that. */
void icmp6_send_error(Netstack *s, const Packet *p, uint8_t type, uint8_t code, uint32_t arg, const IpAddr *src);

/* The same for a packet that left long ago: its header is rebuilt, @l4 is the first @len bytes of what stood behind it, of @l4_total. */
void icmp6_send_error_for(Netstack *s, const IpAddr *guest, const IpAddr *remote, uint8_t proto, const uint8_t *l4, size_t len,
                          size_t l4_total, uint8_t type, uint8_t code, uint32_t arg, const IpAddr *src);
