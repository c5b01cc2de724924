/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * NAT64: IPv4 addresses as a guest that speaks IPv6 alone sees them (RFC 6052), by prefixes of 96 bits. Pure functions of addresses. The
 * translation itself is what the gateway does anyway, from packets to sockets of whatever family (RFC 6146's tables are the flow table).
 */

#include "netstack/netstack-private.h"

#define NAT64_PREFIX_LEN 96

static inline bool nat64_is_on(const Netstack *s) {
        return s->config.nat64.len == NAT64_PREFIX_LEN;
}

/* Does @a stand for an IPv4 address here? Which one in @ret. Never true without NAT64. */
bool nat64_read(const Netstack *s, const IpAddr *a, IpAddr *ret);

/* Does @a stand for one by the prefix everybody knows, whoever translates it? */
bool nat64_read_well_known(const IpAddr *a, IpAddr *ret);

/* May @v4 be meant by an address of the prefix: one that the gateway would take a guest's packets to? The well-known prefix is for addresses
 * of the whole Internet alone (RFC 6052 3.1); no prefix is for the network's own. Rules are not looked at. */
bool nat64_may_mean(const Netstack *s, const IpAddr *v4);

/* @a as @guest sees it: an IPv4 address becomes one of the prefix where the guest's own is IPv6. */
IpAddr nat64_as_seen(const Netstack *s, const IpAddr *guest, const IpAddr *a);
