/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a guarded port of the switch may send: frames from its own MAC address, and in them claims of no other station's. Looks at one
 * frame; keeps nothing, and knows no leases: whether an address is leased, the caller asks.
 */

#include "basic/addr.h"
#include "basic/frame.h"

typedef struct GuardRules {
        MacAddr mac;             /* the port's own */
        IpPrefix subnet6;        /* of the network; null: no IPv6 */
        IpAddr gateway6, host6;
} GuardRules;

/* False: the frame is not to go anywhere. @ret_claim: the IPv4 address it says to come from, which must be leased to the port's MAC
 * address; null where it claims none. */
bool guard_frame(const Frame *f, const GuardRules *rules, IpAddr *ret_claim);
