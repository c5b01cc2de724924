/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* ICMP for IPv4 (RFC 792, 1122 3.2.2, 1812 4.3): echo for the gateway's own addresses, echo to the outside over ping sockets,
 * and the errors the gateway owes. Never answers a broadcast, a multicast, a fragment but the first, or another ICMP error. */

#include "netstack/netstack-private.h"

#define ICMP_ERRORS_PER_SEC 100 /* token bucket for errors to guests, burst of as many */

int icmp_new(Icmp **ret, Netstack *s);
Icmp *icmp_free(Icmp *i);

/* Tells the guest that sent @p of an error: @type and @code of ICMPv4 (translated for IPv6). @src: who says so, null: the gateway.
 * @mtu: for "fragmentation needed". Rate-limited and counted. */
void icmp_send_error(Netstack *s, const Packet *p, uint8_t type, uint8_t code, uint32_t mtu, const IpAddr *src);

/* The same for a datagram that left long ago: its headers are rebuilt from @guest, @remote, @proto and the @len bytes at @l4: of UDP and
 * ICMP the payload's first, of TCP the four of the sequence number. */
void icmp_send_error_for(Netstack *s, const Endpoint *guest, const Endpoint *remote, uint8_t proto, const void *l4, size_t len,
                         uint8_t type, uint8_t code, uint32_t mtu, const IpAddr *src);

/* What the host's stack said about a datagram of ours, told to the guest as if it had been on the path. False when the guest has no use
 * for it. */
bool icmp_relay_error(Netstack *s, const Endpoint *guest, const Endpoint *remote, uint8_t proto, const HostError *e);

bool icmp_may_send(Icmp *i); /* takes a token of the errors' rate, of both families; false (counted) when there is none */
