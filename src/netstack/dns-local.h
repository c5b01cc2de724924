/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the gateway itself knows of DNS: its own names, its guests' and the subnet's reverse names. */

#include "netstack/dns-private.h"

#define DNS_LOCAL_TTL_SEC 10   /* names of guests come and go */

/**
 * dns_local_answer() - answer a query from what is known here
 * @msg:        the whole query (for EDNS), whose question is @q
 * @room:       DNS_MESSAGE_MAX by TCP; by UDP what a client without EDNS takes (DNS_UDP_ROOM_MIN): one with EDNS may say more. What
 *              does not fit is truncated (TC)
 * @ret:        the answer, to be freed by the caller
 *
 * Return: 1 and @ret; 0 when the name is not ours; -EBADMSG when the query cannot be read; -ENOMEM.
 */
int dns_local_answer(const Netstack *s, const uint8_t *msg, size_t len, const DnsQuestion *q, size_t room, DnsAnswer *ret);
