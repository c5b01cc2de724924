/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Neighbour discovery (RFC 4861, 4862, 8106): answers for the gateway's addresses, is the link's router, and asks for guests. The table of
 * neighbours is arp.c's. Never believes a claim to the gateway's own addresses, never answers for a guest. */

#include "netstack/netstack-private.h"

#define ND_ROUTER_SEC 1800             /* how long guests take us for their default router without hearing more */
#define ND_INTERVAL_USEC (300 * USEC_PER_SEC) /* between two advertisements to all */
#define ND_PREFIX_VALID_SEC 86400
#define ND_PREFIX_PREFERRED_SEC 14400
#define ND_DNS_SEC ND_ROUTER_SEC
#define ND_ADVERTS_PER_SEC 100         /* answers to router solicitations, all guests of a port together */
#define ND_ADVERTS_BURST 200
#define ND_DEFEND_USEC (10 * USEC_PER_SEC)

int nd_new(Nd **ret, Netstack *s);
Nd *nd_free(Nd *n);

IpAddr nd_link_local(const MacAddr *mac); /* fe80::/64 with a modified EUI-64 (RFC 4291 appendix A) */
IpAddr nd_solicited_node(const IpAddr *a); /* ff02::1:ffXX:XXXX */

/* A message of types 133 to 137, whose checksum, hop limit and code are right; p->l4 begins at the ICMPv6 header. */
void nd_input(Netstack *s, const Packet *p, uint8_t type);

/* Asks who has @target: the station at @mac, or (NULL) all who might. */
void nd_solicit(Netstack *s, const IpAddr *target, const MacAddr *mac);

/* Whether there is a way out by IPv6: guests hear of it at once. */
void nd_set_uplink(Nd *n, bool up);
bool nd_has_uplink(const Nd *n);
