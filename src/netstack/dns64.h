/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * DNS64 (RFC 6147), where the network has NAT64: who asks for an IPv6 address of a name that has none is given its IPv4 addresses under the
 * network's prefix; who asks for the name of such an address is told the name of what it stands for; ipv4only.arpa tells the prefix
 * (RFC 7050). A query becomes another on its way to a resolver and the answer is made of the answer to that; names of our own
 * take the same way without leaving. Never touches an answer that has IPv6 addresses, nor one whose client checks signatures itself.
 */

#include "netstack/dns-message.h"
#include "netstack/dns-private.h"

#define DNS64_TTL_SEC 600          /* at most, where the resolver did not say how long there will be no IPv6 address (RFC 6147 5.1.7) */
#define DNS64_ADDRESSES_MAX 64     /* in one answer */
#define DNS64_IPV4ONLY_TTL_SEC 3600

/**
 * dns64_begin() - change a query that is to be relayed, where that is needed
 * @x:          of the query: zeroes before; dns64_end() frees what is in it
 * @q:          its question, which becomes what is asked; the client's is kept in @x
 * @query:      the message, which is changed likewise and never gets longer
 */
void dns64_begin(const Netstack *s, Dns64 *x, DnsQuestion *q, uint8_t *query, size_t *len);
void dns64_end(Dns64 *x);

typedef enum Dns64Verdict {
        DNS64_PASS,   /* the answer is the client's as it is */
        DNS64_ASK,    /* @q and @query have changed: they are to be asked, anew */
        DNS64_ANSWER, /* the client's answer is another */
        DNS64_FAIL,   /* it cannot be made: no memory, or nonsense came */
} Dns64Verdict;

/* A resolver's answer to @query came, matched already. @room: bytes the client takes without EDNS. @ret: owned by the caller; its id is
 * @query's. After ANSWER and FAIL @q and @query are the client's again, but for a reverse name's. */
Dns64Verdict dns64_reply(const Netstack *s, Dns64 *x, DnsQuestion *q, uint8_t *query, size_t len, const uint8_t *reply, size_t reply_len,
                         size_t room, DnsAnswer *ret);

/* What the client asked. */
static inline const DnsQuestion *dns64_question(const Dns64 *x, const DnsQuestion *q) {
        return x->stage == DNS64_STAGE_NONE ? q : &x->question;
}

/* As dns_local_answer(), for what only is there by NAT64: asked first. */
int dns64_local_answer(const Netstack *s, const uint8_t *msg, size_t len, const DnsQuestion *q, size_t room, DnsAnswer *ret);
