/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Shards: further netstacks of one network (NetstackConfig.shard), each on a thread of its own, for the connections that one queue of a
 * device brings. The kernel keeps to one queue for a flow, and stays with it while answers go out there: so who gets the first segment
 * has the flow. A shard knows whole TCP segments for addresses outside and nothing else; what it does not take is the network's own
 * netstack's: everything else, connections into the guest among it. That one has no connection for what came in pieces, or by another
 * queue than the rest, or behind extension headers: such a segment, made whole, is offered to the shards before it is refused.
 */

#include "netstack/netstack.h"

/* Is @f this shard's: does it begin a connection to the outside, or belong to one it has, or had a moment ago? */
bool netstack_shard_takes(Netstack *s, const Frame *f);

/* What a shard of @whole, one of @n threads that serve a device, is made with: a part of the limits, and nothing that is not a shard's. Borrows
 * the strings. */
NetstackConfig netstack_shard_config(const NetstackConfig *whole, unsigned n);

void netstack_add_stats(NetstackStats *sum, const NetstackStats *s);
