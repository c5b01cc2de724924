/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all answers that are built here have in common. Knows nothing of names and whose they are. */

#include <errno.h>
#include <ldns/ldns.h>

#include "netstack/dns-answer.h"

ldns_pkt *dns_answer_new(const ldns_pkt *query, const DnsQuestion *q, bool ours) {
        _cleanup_(ldns_pkt_freep) ldns_pkt *pkt = ldns_pkt_new();
        ldns_rr *question = dns_answer_record(q->type, q->name, q->name_len, 0);

        if (!pkt || !question) {
                ldns_rr_free(question);
                return NULL;
        }
        ldns_rr_set_question(question, true);
        ldns_rr_set_class(question, q->class);
        ldns_pkt_set_id(pkt, ldns_pkt_id(query));
        ldns_pkt_set_qr(pkt, true);
        ldns_pkt_set_aa(pkt, ours);
        ldns_pkt_set_rd(pkt, ldns_pkt_rd(query));
        ldns_pkt_set_cd(pkt, ldns_pkt_cd(query));
        ldns_pkt_set_ra(pkt, true);
        if (ldns_pkt_edns(query)) {
                ldns_pkt_set_edns_udp_size(pkt, DNS_UDP_ROOM_MAX);
                ldns_pkt_set_edns_do(pkt, ldns_pkt_edns_do(query));
        }
        return dns_answer_push(pkt, LDNS_SECTION_QUESTION, question) < 0 ? NULL : TAKE_PTR(pkt);
}

ldns_rr *dns_answer_record(ldns_rr_type type, const uint8_t *owner, size_t owner_len, uint32_t ttl) {
        ldns_rr *rr = ldns_rr_new();
        ldns_rdf *name = ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, owner_len, owner);

        if (!rr || !name) {
                ldns_rr_free(rr);
                ldns_rdf_deep_free(name);
                return NULL;
        }
        ldns_rr_set_owner(rr, name);
        ldns_rr_set_type(rr, type);
        ldns_rr_set_class(rr, LDNS_RR_CLASS_IN);
        ldns_rr_set_ttl(rr, ttl);
        return rr;
}

bool dns_answer_field(ldns_rr *rr, ldns_rdf *rdf) {
        if (!rdf)
                return false;
        if (!ldns_rr_push_rdf(rr, rdf)) {
                ldns_rdf_deep_free(rdf);
                return false;
        }
        return true;
}

ldns_rr *dns_answer_simple(ldns_rr_type type, const uint8_t *owner, size_t owner_len, uint32_t ttl, ldns_rdf *rdf) {
        _cleanup_(ldns_rr_freep) ldns_rr *rr = dns_answer_record(type, owner, owner_len, ttl);

        if (!rr) {
                ldns_rdf_deep_free(rdf);
                return NULL;
        }
        return dns_answer_field(rr, rdf) ? TAKE_PTR(rr) : NULL;
}

int dns_answer_push(ldns_pkt *pkt, ldns_pkt_section section, ldns_rr *rr) {
        if (rr && ldns_pkt_push_rr(pkt, section, rr))
                return 0;
        ldns_rr_free(rr);
        return -ENOMEM;
}

static int to_wire(const ldns_pkt *pkt, DnsAnswer *ret) {
        return ldns_pkt2wire(&ret->data, pkt, &ret->len) == LDNS_STATUS_OK ? 0 : -ENOMEM;
}

int dns_answer_cut(const ldns_pkt *query, const DnsQuestion *q, const ldns_pkt *pkt, DnsAnswer *ret) {
        _cleanup_(ldns_pkt_freep) ldns_pkt *cut = dns_answer_new(query, q, ldns_pkt_aa(pkt));

        if (!cut)
                return -ENOMEM;
        ldns_pkt_set_tc(cut, true);
        ldns_pkt_set_rcode(cut, ldns_pkt_get_rcode(pkt));
        return to_wire(cut, ret);
}

int dns_answer_finish(const ldns_pkt *query, const DnsQuestion *q, const ldns_pkt *pkt, size_t room, DnsAnswer *ret) {
        int r = to_wire(pkt, ret);

        if (room < DNS_UDP_ROOM_MAX)
                room = CLAMP((size_t) ldns_pkt_edns_udp_size(query), room, (size_t) DNS_UDP_ROOM_MAX);
        if (r < 0 || ret->len <= room)
                return r;
        free(ret->data);
        *ret = (DnsAnswer){};
        return dns_answer_cut(query, q, pkt, ret);
}
