/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way of a relayed query:
 *
 *     the client asks       asked         came                            then
 *     AAAA                  AAAA          addresses, NXDOMAIN, cut short  passed on
 *                                         none, or an error               kept, and asked on
 *                           A             addresses that may be meant     an answer made of them
 *                                         else                            what was kept
 *     PTR of the prefix     in-addr.arpa  whatever                        behind a CNAME
 *     anything else         the same      whatever                        passed on
 *
 * ldns reads and builds the messages.
 */

#include <ctype.h>
#include <errno.h>
#include <ldns/ldns.h>

#include "netstack/dns-answer.h"
#include "netstack/dns-local.h"
#include "netstack/dns64.h"
#include "netstack/nat64.h"

#define REVERSE_LABELS 32 /* digits in front of ip6.arpa */

/* ---- messages ---- */

static ldns_pkt *pkt_read(const uint8_t *msg, size_t len) {
        ldns_pkt *pkt = NULL;

        return ldns_wire2pkt(&pkt, msg, len) == LDNS_STATUS_OK ? pkt : NULL;
}

static void query_set_type(uint8_t *query, DnsQuestion *q, uint16_t type) {
        q->type = type;
        query[DNS_HEADER_LEN + q->name_len] = (uint8_t) (type >> 8);
        query[DNS_HEADER_LEN + q->name_len + 1] = (uint8_t) type;
}

/* ---- from A to AAAA ---- */

/* An address that helps a client of IPv6: IPv4 in disguise does not (RFC 6147 5.1.4). */
static bool has_addresses(const ldns_pkt *pkt) {
        const ldns_rr_list *answer = ldns_pkt_answer(pkt);

        for (size_t i = 0; i < ldns_rr_list_rr_count(answer); i++) {
                const ldns_rr *rr = ldns_rr_list_rr(answer, i);
                IpAddr a;

                if (ldns_rr_get_type(rr) != LDNS_RR_TYPE_AAAA || ldns_rr_rd_count(rr) != 1 || ldns_rdf_size(ldns_rr_rdf(rr, 0)) != sizeof(a))
                        continue;
                memcpy(&a, ldns_rdf_data(ldns_rr_rdf(rr, 0)), sizeof(a));
                if (!ip_is_v4(&a))
                        return true;
        }
        return false;
}

/* How long there will be no IPv6 address (RFC 2308 5). */
static uint32_t negative_ttl(const ldns_pkt *pkt) {
        const ldns_rr_list *authority = ldns_pkt_authority(pkt);

        for (size_t i = 0; i < ldns_rr_list_rr_count(authority); i++) {
                const ldns_rr *rr = ldns_rr_list_rr(authority, i);

                if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_SOA && ldns_rr_rd_count(rr) == 7)
                        return MIN(ldns_rr_ttl(rr), ldns_rdf2native_int32(ldns_rr_rdf(rr, 6)));
        }
        return DNS64_TTL_SEC;
}

static bool rr_address(const Netstack *s, const ldns_rr *rr, IpAddr *ret) {
        uint32_t be;

        if (ldns_rr_get_type(rr) != LDNS_RR_TYPE_A || ldns_rr_rd_count(rr) != 1 || ldns_rdf_size(ldns_rr_rdf(rr, 0)) != sizeof(be))
                return false;
        memcpy(&be, ldns_rdf_data(ldns_rr_rdf(rr, 0)), sizeof(be));
        *ret = ip_from_v4(be);
        return nat64_may_mean(s, ret);
}

static int push_address(const Netstack *s, ldns_pkt *pkt, const uint8_t *owner, size_t owner_len, uint32_t ttl, const IpAddr *v4) {
        IpAddr a = s->config.nat64.addr;

        a.w[3] = ip_v4(v4);
        return dns_answer_push(pkt, LDNS_SECTION_ANSWER,
                    dns_answer_simple(LDNS_RR_TYPE_AAAA, owner, owner_len, ttl, ldns_rdf_new_frm_data(LDNS_RDF_TYPE_AAAA, sizeof(a), a.b)));
}

/* Answers @q (AAAA) by what @from says of A; aliases on the way are kept. How many addresses there are; negative errno. */
static int synthesize(const Netstack *s, ldns_pkt *pkt, const ldns_pkt *from, uint32_t ttl_max) {
        const ldns_rr_list *answer = ldns_pkt_answer(from);
        int n = 0;

        for (size_t i = 0; i < ldns_rr_list_rr_count(answer) && n < DNS64_ADDRESSES_MAX; i++) {
                const ldns_rr *rr = ldns_rr_list_rr(answer, i);
                const ldns_rdf *owner = ldns_rr_owner(rr);
                IpAddr v4;
                int r = 0;

                if (rr_address(s, rr, &v4)) {
                        r = push_address(s, pkt, ldns_rdf_data(owner), ldns_rdf_size(owner), MIN(ldns_rr_ttl(rr), ttl_max), &v4);
                        n++;
                } else if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_CNAME || ldns_rr_get_type(rr) == LDNS_RR_TYPE_DNAME)
                        r = dns_answer_push(pkt, LDNS_SECTION_ANSWER, ldns_rr_clone(rr));
                if (r < 0)
                        return r;
        }
        return n;
}

/* ---- names of addresses ---- */

/* Is it the whole reverse name (RFC 3596 2.5) of an address of the prefix? */
static bool read_reverse(const Netstack *s, const DnsQuestion *q, IpAddr *ret_v4) {
        static const uint8_t tail[] = "\3ip6\4arpa";
        IpAddr a = {};

        if (q->name_len != 2 * REVERSE_LABELS + sizeof(tail) ||
            !dns_name_equal(q->name + 2 * REVERSE_LABELS, sizeof(tail), tail, sizeof(tail)))
                return false;
        for (unsigned i = 0; i < REVERSE_LABELS; i++) {
                const uint8_t *label = q->name + 2 * (REVERSE_LABELS - 1 - i);
                uint8_t c = (uint8_t) tolower(label[1]);

                if (label[0] != 1 || !isxdigit(c))
                        return false;
                a.b[i / 2] |= (uint8_t) ((isdigit(c) ? c - '0' : c - 'a' + 10) << (i % 2 == 0 ? 4 : 0));
        }
        return nat64_read(s, &a, ret_v4);
}

/* The reverse name of @v4 as a question. */
static void reverse_question(const IpAddr *v4, DnsQuestion *q) {
        char text[sizeof("255.255.255.255.in-addr.arpa")];
        const uint8_t *b = v4->b + 12;

        (void) snprintf(text, sizeof(text), "%u.%u.%u.%u.in-addr.arpa", b[3], b[2], b[1], b[0]);
        q->name_len = (uint8_t) dns_name_from_text(text, q->name, sizeof(q->name));
}

/* The answer to the IPv4 address's name, under the name asked for. */
static int alias(ldns_pkt *pkt, const DnsQuestion *client, const DnsQuestion *asked, const ldns_pkt *from) {
        const ldns_rr_list *answer = ldns_pkt_answer(from), *authority = ldns_pkt_authority(from);
        int r = dns_answer_push(pkt, LDNS_SECTION_ANSWER,
                     dns_answer_simple(LDNS_RR_TYPE_CNAME, client->name, client->name_len, DNS64_TTL_SEC,
                             ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, asked->name_len, asked->name)));

        ldns_pkt_set_rcode(pkt, ldns_pkt_get_rcode(from));
        for (size_t i = 0; i < ldns_rr_list_rr_count(answer) && r >= 0; i++)
                r = dns_answer_push(pkt, LDNS_SECTION_ANSWER, ldns_rr_clone(ldns_rr_list_rr(answer, i)));
        for (size_t i = 0; i < ldns_rr_list_rr_count(authority) && r >= 0; i++)
                r = dns_answer_push(pkt, LDNS_SECTION_AUTHORITY, ldns_rr_clone(ldns_rr_list_rr(authority, i)));
        return r;
}

/* Puts @q, which is shorter, in place of the question of a query; of the rest EDNS stays. */
static void query_set_question(uint8_t *query, size_t *len, size_t old_name_len, const DnsQuestion *q) {
        size_t rest = DNS_HEADER_LEN + old_name_len + 4, at = DNS_HEADER_LEN;
        bool edns = query[10] == 0 && query[11] == 1 && *len >= rest + 11 && query[rest] == 0 && query[rest + 1] == 0 && query[rest + 2] == LDNS_RR_TYPE_OPT &&
                    !(query[6] | query[7] | query[8] | query[9]);

        memcpy(query + at, q->name, q->name_len);
        at += q->name_len;
        query[at++] = (uint8_t) (q->type >> 8);
        query[at++] = (uint8_t) q->type;
        query[at++] = (uint8_t) (q->class >> 8);
        query[at++] = (uint8_t) q->class;
        memset(query + 6, 0, 6);
        if (edns) {
                memmove(query + at, query + rest, *len - rest);
                at += *len - rest;
                query[11] = 1;
        }
        *len = at;
}

/* ---- relayed queries ---- */

/* Who checks signatures itself would not believe us (RFC 6147 5.5). */
static bool checks_itself(const uint8_t *query, size_t len) {
        _cleanup_(ldns_pkt_freep) ldns_pkt *pkt = pkt_read(query, len);

        return !pkt || (ldns_pkt_edns_do(pkt) && ldns_pkt_cd(pkt));
}

void dns64_begin(const Netstack *s, Dns64 *x, DnsQuestion *q, uint8_t *query, size_t *len) {
        IpAddr v4;

        if (!nat64_is_on(s) || q->class != DNS_CLASS_IN)
                return;
        if (q->type == LDNS_RR_TYPE_AAAA && !checks_itself(query, *len)) {
                x->stage = DNS64_STAGE_AAAA;
                x->question = *q;
        } else if (q->type == LDNS_RR_TYPE_PTR && read_reverse(s, q, &v4)) {
                x->stage = DNS64_STAGE_PTR;
                x->question = *q;
                reverse_question(&v4, q);
                query_set_question(query, len, x->question.name_len, q);
        }
}

void dns64_end(Dns64 *x) {
        free(x->kept.data);
        *x = (Dns64){};
}

/* No IPv6 address: the answer is kept for the case that there is no IPv4 address either. */
static Dns64Verdict reply_aaaa(Dns64 *x, DnsQuestion *q, uint8_t *query, const ldns_pkt *from, const uint8_t *reply, size_t len) {
        if (ldns_pkt_tc(from) || ldns_pkt_get_rcode(from) == LDNS_RCODE_NXDOMAIN || has_addresses(from))
                return DNS64_PASS;
        x->kept.data = malloc(len);
        if (!x->kept.data)
                return DNS64_FAIL;
        memcpy(x->kept.data, reply, len);
        x->kept.len = len;
        x->ttl = negative_ttl(from);
        x->stage = DNS64_STAGE_A;
        query_set_type(query, q, LDNS_RR_TYPE_A);
        return DNS64_ASK;
}

/* What the resolver's answer @from was made into goes to the client: cut where that was. */
static Dns64Verdict answer_with(const ldns_pkt *query, const Dns64 *x, const ldns_pkt *pkt, const ldns_pkt *from, size_t room, DnsAnswer *ret) {
        int r = ldns_pkt_tc(from) ? dns_answer_cut(query, &x->question, pkt, ret) : dns_answer_finish(query, &x->question, pkt, room, ret);

        return r < 0 ? DNS64_FAIL : DNS64_ANSWER;
}

static Dns64Verdict reply_a(const Netstack *s, Dns64 *x, const ldns_pkt *query, const ldns_pkt *from, size_t room, DnsAnswer *ret) {
        _cleanup_(ldns_pkt_freep) ldns_pkt *pkt = dns_answer_new(query, &x->question, /* ours= */ false);
        int n = pkt ? synthesize(s, pkt, from, x->ttl) : -ENOMEM;

        if (n < 0)
                return DNS64_FAIL;
        if (n == 0 && !ldns_pkt_tc(from)) {
                *ret = x->kept;
                x->kept = (DnsAnswer){};
                return DNS64_ANSWER;
        }
        return answer_with(query, x, pkt, from, room, ret);
}

static Dns64Verdict reply_ptr(Dns64 *x, const DnsQuestion *q, const ldns_pkt *query, const ldns_pkt *from, size_t room, DnsAnswer *ret) {
        _cleanup_(ldns_pkt_freep) ldns_pkt *pkt = dns_answer_new(query, &x->question, /* ours= */ false);

        if (!pkt || alias(pkt, &x->question, q, from) < 0)
                return DNS64_FAIL;
        return answer_with(query, x, pkt, from, room, ret);
}

Dns64Verdict dns64_reply(const Netstack *s, Dns64 *x, DnsQuestion *q, uint8_t *query, size_t len, const uint8_t *reply, size_t reply_len,
                         size_t room, DnsAnswer *ret) {
        if (x->stage == DNS64_STAGE_NONE)
                return DNS64_PASS;

        _cleanup_(ldns_pkt_freep) ldns_pkt *from = pkt_read(reply, reply_len);
        if (x->stage == DNS64_STAGE_AAAA)
                return from ? reply_aaaa(x, q, query, from, reply, reply_len) : DNS64_PASS;
        if (x->stage == DNS64_STAGE_A)
                query_set_type(query, q, LDNS_RR_TYPE_AAAA);

        _cleanup_(ldns_pkt_freep) ldns_pkt *asked = pkt_read(query, len);
        if (!from || !asked)
                return DNS64_FAIL;
        if (x->stage == DNS64_STAGE_A)
                return reply_a(s, x, asked, from, room, ret);
        return reply_ptr(x, q, asked, from, room, ret);
}

/* ---- names of our own ---- */

/* ipv4only.arpa: two addresses that everybody knows, so that who is told others knows the prefix (RFC 7050 2.2, RFC 8880 7.1). */
static int answer_ipv4only(const Netstack *s, const uint8_t *msg, size_t len, const DnsQuestion *q, size_t room, DnsAnswer *ret) {
        static const uint32_t addresses[] = { 0xc00000aa, 0xc00000ab };
        _cleanup_(ldns_pkt_freep) ldns_pkt *query = pkt_read(msg, len);
        _cleanup_(ldns_pkt_freep) ldns_pkt *pkt = query ? dns_answer_new(query, q, /* ours= */ false) : NULL;
        int r = 0;

        if (!query)
                return -EBADMSG;
        if (!pkt)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(addresses) && r >= 0; i++) {
                IpAddr v4 = ip_from_v4(htonl(addresses[i]));

                if (q->type == LDNS_RR_TYPE_AAAA)
                        r = push_address(s, pkt, q->name, q->name_len, DNS64_IPV4ONLY_TTL_SEC, &v4);
                else if (q->type == LDNS_RR_TYPE_A)
                        r = dns_answer_push(pkt, LDNS_SECTION_ANSWER,
                                 dns_answer_simple(LDNS_RR_TYPE_A, q->name, q->name_len, DNS64_IPV4ONLY_TTL_SEC,
                                         ldns_rdf_new_frm_data(LDNS_RDF_TYPE_A, 4, v4.b + 12)));
        }
        if (r >= 0)
                r = dns_answer_finish(query, q, pkt, room, ret);
        return r < 0 ? r : 1;
}

/* A name of ours with an IPv4 address alone, which guests may reach by the prefix: not a guest's, but a zone may say others. */
static int answer_own(const Netstack *s, const uint8_t *msg, size_t len, const DnsQuestion *q, size_t room, DnsAnswer *ret) {
        DnsAnswer own = {};
        DnsQuestion a = *q;
        int r = dns_local_answer(s, msg, len, q, DNS_MESSAGE_MAX, &own);

        if (r <= 0)
                return r;
        _cleanup_(ldns_pkt_freep) ldns_pkt *aaaa = pkt_read(own.data, own.len);
        _cleanup_(ldns_pkt_freep) ldns_pkt *query = pkt_read(msg, len);
        free(own.data);
        if (!aaaa || !query || ldns_pkt_get_rcode(aaaa) != LDNS_RCODE_NOERROR || has_addresses(aaaa))
                return 0;

        a.type = LDNS_RR_TYPE_A;
        r = dns_local_answer(s, msg, len, &a, DNS_MESSAGE_MAX, &own);
        if (r <= 0)
                return r;
        _cleanup_(ldns_pkt_freep) ldns_pkt *from = pkt_read(own.data, own.len);
        _cleanup_(ldns_pkt_freep) ldns_pkt *pkt = dns_answer_new(query, q, /* ours= */ false);
        free(own.data);
        r = from && pkt ? synthesize(s, pkt, from, negative_ttl(aaaa)) : -ENOMEM;
        if (r > 0)
                r = dns_answer_finish(query, q, pkt, room, ret) < 0 ? -ENOMEM : 1;
        return r;
}

int dns64_local_answer(const Netstack *s, const uint8_t *msg, size_t len, const DnsQuestion *q, size_t room, DnsAnswer *ret) {
        static const uint8_t ipv4only[] = "\10ipv4only\4arpa";

        if (!nat64_is_on(s) || q->class != DNS_CLASS_IN)
                return 0;
        if (dns_name_equal(q->name, q->name_len, ipv4only, sizeof(ipv4only)))
                return answer_ipv4only(s, msg, len, q, room, ret);
        return q->type == LDNS_RR_TYPE_AAAA && !checks_itself(msg, len) ? answer_own(s, msg, len, q, room, ret) : 0;
}
