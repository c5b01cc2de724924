/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * DHCPv6 server (RFC 8415): addresses (IA_NA) with and without rapid commit, and the other settings alone. There is no table of leases, only of
 * names (dhcp6-names.h): an address is made of the client's own DUID and IAID, so that each gets the same one always, also after a restart, and a flood of
 * made-up clients costs no memory.
 */

#include "netstack/netstack-private.h"

#define DHCP6_SERVER_PORT 547
#define DHCP6_CLIENT_PORT 546
#define DHCP6_PER_SEC 200 /* answers, all guests of a port together */
#define DHCP6_BURST 400
#define DHCP6_DUID_MAX 130 /* RFC 8415 11.1: 128 and the type */
#define DHCP6_IAS_MAX 4    /* of one message that are answered */
#define DHCP6_OPTIONS_MAX 64

/* One UDP payload to port 547, from a guest at @src (link-local). */
void dhcp6_input(Netstack *s, const MacAddr *src_mac, const IpAddr *src, IovCur *payload);

/* The address of a client's IA_NA in the network's prefix: never the gateway's, the host's, or one that SLAAC makes of a MAC address. */
IpAddr dhcp6_address(const Netstack *s, const uint8_t *duid, size_t duid_len, uint32_t iaid);
