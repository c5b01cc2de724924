/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a gateway says to all by IPv6 (RFC 4861, RFC 8106), for the interfaces `run` and `attach` make: asks for it, believes the first
 * answer. Sets nothing: addresses and routes the kernel makes of the same advertisement by itself.
 */

#include "ctl-dhcp.h"

#define RA_MAX 1500 /* what we read of one advertisement; beyond that it is cut */

/* Reads one ICMPv6 message: MTU, name servers and search domains of @ret, the rest of which is zero. 0; -ENOMSG: no router
 * advertisement; -EBADMSG: one that cannot be read. */
int ra_parse(const void *message, size_t len, DhcpLease *ret);

/* Asks on the interface, which must be up, in the calling process's namespace. -ETIMEDOUT: no answer; others: the socket's. */
int ra_obtain(int ifindex, DhcpLease *ret);
