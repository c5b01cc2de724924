/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Answers that are built here, of records, by ldns. Whoever includes this has included <ldns/ldns.h>. */

#include "basic/cleanup.h"
#include "netstack/dns-private.h"

DEFINE_CLEANUP(ldns_pkt *, ldns_pkt_free);
DEFINE_CLEANUP(ldns_rr *, ldns_rr_free);

/* An answer to @query about @q without records: header, question, EDNS. @ours: with authority. NULL: out of memory, as in all of these. */
ldns_pkt *dns_answer_new(const ldns_pkt *query, const DnsQuestion *q, bool ours);

/* A record without fields; @owner as on the wire. */
ldns_rr *dns_answer_record(ldns_rr_type type, const uint8_t *owner, size_t owner_len, uint32_t ttl);
/* Adds @rdf, which is used up; false without memory, also where it could not be made (NULL). */
bool dns_answer_field(ldns_rr *rr, ldns_rdf *rdf);
/* A record with one field, which is used up. */
ldns_rr *dns_answer_simple(ldns_rr_type type, const uint8_t *owner, size_t owner_len, uint32_t ttl, ldns_rdf *rdf);

/* @rr is used up; NULL: it could not be made. 0 or -ENOMEM. */
int dns_answer_push(ldns_pkt *pkt, ldns_pkt_section section, ldns_rr *rr);

/* The message of @pkt; both: 0 and @ret, to be freed by the caller, or -ENOMEM. @room: as of dns_local_answer(). What does not fit is cut. */
int dns_answer_finish(const ldns_pkt *query, const DnsQuestion *q, const ldns_pkt *pkt, size_t room, DnsAnswer *ret);
/* The same without records, and saying so (TC): the client asks again over TCP. */
int dns_answer_cut(const ldns_pkt *query, const DnsQuestion *q, const ldns_pkt *pkt, DnsAnswer *ret);
