/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Answers about this network: the gateway, the host, guests by the names their leases have, reverse names of the subnet. ldns reads the
 * query and builds the answer. Never asks anybody, never falls back to asking: a name that would be ours and is not is NXDOMAIN.
 *
 *     name                                     A, AAAA            other types
 *     DOMAIN                                   none               SOA, NS
 *     gateway.DOMAIN, host.DOMAIN, the host's  address            none
 *     GUEST.DOMAIN, GUEST                      its lease's, its   none
 *                                              DHCPv6 name's
 *     gateway|host.containers.internal         address            none
 *     any other under DOMAIN                   NXDOMAIN
 *     d.c.b.a.in-addr.arpa of the subnet,      none               PTR; NXDOMAIN for addresses without a name
 *     ip6.arpa of the IPv6 prefix
 *
 * In front of these stand the zones that were put up (dns-zone.h), the longest that fits. A record there goes before a name here; what a zone
 * says of all other names comes after the names here, unless it is the longer one. A CNAME is followed as long as its target is ours.
 */

#include <ctype.h>
#include <errno.h>
#include <ldns/ldns.h>

#include "netstack/arp.h"
#include "netstack/dhcp.h"
#include "netstack/dhcp6-names.h"
#include "netstack/dns-answer.h"
#include "netstack/dns-local.h"
#include "netstack/dns-zone.h"

#define SOA_SERIAL 1 /* nobody transfers the zone */
#define SOA_REFRESH_SEC 3600
#define SOA_RETRY_SEC 600
#define SOA_EXPIRE_SEC 86400
#define LABELS_MAX 128
#define CNAME_CHAIN_MAX 8

/* What is known of a name. */
typedef struct Known {
        bool exists;
        bool apex;           /* of its zone: has SOA and NS */
        IpAddr addr, addr6;  /* null: none; addr of either family, addr6 IPv6 beside it */
        uint8_t ptr[DNS_NAME_MAX]; /* wire format */
        size_t ptr_len;      /* 0: none */
        size_t zone;         /* where in the question's name its zone begins */
        DnsZoneMatch match;  /* records of a zone that was put up */
        uint32_t ttl;
} Known;

/* Where each label of a name begins, the root not counted. */
typedef struct Labels {
        const DnsQuestion *q;
        unsigned n;
        uint8_t at[LABELS_MAX];
} Labels;

static void labels_make(Labels *l, const DnsQuestion *q) {
        *l = (Labels){ .q = q };
        for (size_t i = 0; q->name[i] != 0 && l->n < LABELS_MAX; i += 1 + q->name[i])
                l->at[l->n++] = i;
}

/* Does the name end in @text, which has @n labels? */
static bool labels_end_in(const Labels *l, const char *text, unsigned *ret_n) {
        uint8_t wire[DNS_NAME_MAX];
        size_t len = dns_name_from_text(text, wire, sizeof(wire));
        unsigned n = 0;

        if (len == 0)
                return false;
        for (size_t i = 0; wire[i] != 0; i += 1 + wire[i])
                n++;
        if (n > l->n)
                return false;

        size_t at = l->at[l->n - n];
        *ret_n = n;
        return dns_name_equal(l->q->name + at, l->q->name_len - at, wire, len);
}

/* The @i-th label as text; false when it holds a NUL, which no name of ours does. */
static bool label_text(const Labels *l, unsigned i, char ret[static DHCP_HOSTNAME_MAX + 1]) {
        size_t len = l->q->name[l->at[i]];

        memcpy(ret, l->q->name + l->at[i] + 1, len);
        ret[len] = 0;
        return strlen(ret) == len;
}

/* gateway, host and what else has a fixed name here. False when it is none of them. */
static bool know_fixed(const Netstack *s, const char *label, Known *ret) {
        if (strcasecmp(label, "gateway") == 0) {
                ret->addr = s->config.gateway;
                ret->addr6 = s->config.gateway6;
        } else if (strcasecmp(label, "host") == 0 || (s->config.hostname && strcasecmp(label, s->config.hostname) == 0)) {
                ret->addr = s->config.host;
                ret->addr6 = s->config.host6;
        } else
                return false;
        if (!netstack_has_ip4(s))
                ret->addr = (IpAddr){};
        ret->exists = true;
        return true;
}

/* A guest by the name its lease has, or the one it gave by DHCPv6 with its address. Another IPv6 address it has made up itself: the one it
 * was seen to use last. */
static bool know_guest(const Netstack *s, const char *label, Known *ret) {
        const Lease *lease = dhcp_lease_by_hostname(s->dhcp, label);
        const Dhcp6Name *name = dhcp6_name_by_label(s->names6, label);

        if (!lease && !name)
                return false;
        if (lease && netstack_has_ip4(s))
                ret->addr = lease->addr;
        if (name)
                ret->addr6 = name->addr;
        else if (netstack_has_ip6(s))
                (void) arp_find_by_mac(s->arp, &lease->mac, &s->config.subnet6, &ret->addr6);
        ret->exists = true;
        return true;
}

/* Names under the network's domain: all of them are ours. */
static bool know_domain(const Netstack *s, const Labels *l, Known *ret) {
        char label[DHCP_HOSTNAME_MAX + 1];
        unsigned n;

        if (!s->config.domain || !labels_end_in(l, s->config.domain, &n))
                return false;

        ret->zone = l->at[l->n - n];
        if (l->n == n)
                ret->exists = ret->apex = true;
        else if (l->n == n + 1 && label_text(l, 0, label) && !know_fixed(s, label, ret))
                (void) know_guest(s, label, ret);
        return true;
}

/* Names we only claim where they exist: a bare guest's, and two that gvproxy's guests expect. */
static bool know_single(const Netstack *s, const Labels *l, Known *ret) {
        char label[DHCP_HOSTNAME_MAX + 1];
        unsigned n;

        if (l->n == 0 || !label_text(l, 0, label))
                return false;

        if (l->n == 1)
                (void) know_guest(s, label, ret);
        else if (l->n == 3 && labels_end_in(l, "containers.internal", &n) && n == 2 &&
                 (strcasecmp(label, "gateway") == 0 || strcasecmp(label, "host") == 0))
                (void) know_fixed(s, label, ret);
        return ret->exists;
}

/* One octet of a reverse name, in its only decimal form. */
static bool label_octet(const Labels *l, unsigned i, uint8_t *ret) {
        char label[DHCP_HOSTNAME_MAX + 1];
        unsigned v = 0;

        if (!label_text(l, i, label) || strlen(label) > 3 || (label[0] == '0' && label[1]))
                return false;
        for (const char *p = label; *p; p++) {
                if (*p < '0' || *p > '9')
                        return false;
                v = v * 10 + (*p - '0');
        }
        *ret = v;
        return v <= 255;
}

/* LABEL.DOMAIN on the wire. */
static void known_set_ptr(const Netstack *s, Known *k, const char *label) {
        size_t len = strlen(label), domain_len;

        if (!s->config.domain || len == 0 || len > DHCP_HOSTNAME_MAX)
                return;

        k->ptr[0] = len;
        memcpy(k->ptr + 1, label, len);
        domain_len = dns_name_from_text(s->config.domain, k->ptr + 1 + len, sizeof(k->ptr) - 1 - len);
        k->ptr_len = domain_len > 0 ? 1 + len + domain_len : 0;
}

/* The lease of the station that has @a. */
static const Lease *lease_of(const Netstack *s, const IpAddr *a) {
        MacAddr mac;
        uint32_t mtu;

        if (ip_is_v4(a))
                return dhcp_lease_by_addr(s->dhcp, a);
        return arp_lookup(s->arp, a, &mac, &mtu) ? dhcp_lease_by_mac(s->dhcp, &mac) : NULL;
}

static void know_address(const Netstack *s, const IpAddr *a, Known *ret) {
        const Dhcp6Name *name = dhcp6_name_by_addr(s->names6, a);
        const Lease *lease = lease_of(s, a);

        if (netstack_is_gateway(s, a))
                known_set_ptr(s, ret, "gateway");
        else if (netstack_is_host(s, a))
                known_set_ptr(s, ret, "host");
        else if (name)
                known_set_ptr(s, ret, name->label);
        else if (lease)
                known_set_ptr(s, ret, lease->hostname);
        ret->exists = ret->ptr_len > 0;
}

/* Reverse names whose whole range lies in the subnet. */
static bool know_reverse(const Netstack *s, const Labels *l, Known *ret) {
        uint8_t octets[4] = {};
        unsigned n, n_octets = 0, n_zone = DIV_ROUND_UP(s->config.subnet.len, 8);
        uint32_t be;
        IpAddr a;

        if (!labels_end_in(l, "in-addr.arpa", &n))
                return false;
        while (n_octets < 4 && n_octets + n < l->n && label_octet(l, l->n - n - 1 - n_octets, &octets[n_octets]))
                n_octets++;

        memcpy(&be, octets, sizeof(be));
        a = ip_from_v4(be);
        if (n_octets < MAX(n_zone, 1u) || !prefix_contains(&s->config.subnet, &a))
                return false;

        ret->zone = l->at[l->n - n - n_zone];
        if (l->n != n + n_octets) /* something else before the octets */
                return true;
        if (n_octets == 4)
                know_address(s, &a, ret);
        else
                ret->exists = true; /* there are names below it */
        return true;
}

/* The same for IPv6: a label a digit (RFC 3596 2.5). */
static bool know_reverse6(const Netstack *s, const Labels *l, Known *ret) {
        unsigned n, n_digits = 0, n_zone = s->config.subnet6.len / 4;
        IpAddr a = {};

        if (!netstack_has_ip6(s) || !labels_end_in(l, "ip6.arpa", &n))
                return false;
        for (char label[DHCP_HOSTNAME_MAX + 1]; n_digits < 32 && n_digits + n < l->n; n_digits++) {
                if (!label_text(l, l->n - n - 1 - n_digits, label) || strlen(label) != 1 || !isxdigit((unsigned char) label[0]))
                        break;
                uint8_t digit = (uint8_t) (isdigit((unsigned char) label[0]) ? label[0] - '0' : tolower((unsigned char) label[0]) - 'a' + 10);
                a.b[n_digits / 2] |= n_digits % 2 == 0 ? (uint8_t) (digit << 4) : digit;
        }
        if (n_digits < n_zone || !prefix_contains(&s->config.subnet6, &a))
                return false;

        ret->zone = l->at[l->n - n - n_zone];
        if (l->n != n + n_digits) /* something else before the digits */
                return true;
        if (n_digits == 32)
                know_address(s, &a, ret);
        else
                ret->exists = true; /* there are names below it */
        return true;
}

/* ---- zones that were put up ---- */

static DnsZone *longest_zone(const Netstack *s, const DnsQuestion *q, size_t *ret_at) {
        DnsZone *best = NULL;

        for (size_t i = 0; i < s->dns->n_zones; i++) {
                int at = dns_zone_covers(s->dns->zones[i], q->name, q->name_len);

                if (at >= 0 && (!best || (size_t) at < *ret_at)) {
                        best = s->dns->zones[i];
                        *ret_at = (size_t) at;
                }
        }
        return best;
}

/* What this network itself knows of the name. */
static bool know_builtin(const Netstack *s, const DnsQuestion *q, Known *ret) {
        Labels labels;

        *ret = (Known){ .ttl = DNS_LOCAL_TTL_SEC };
        labels_make(&labels, q);
        return know_domain(s, &labels, ret) || know_single(s, &labels, ret) || know_reverse(s, &labels, ret) ||
               know_reverse6(s, &labels, ret);
}

/* Everything known of the name. False: it is not ours. */
static bool know(const Netstack *s, const DnsQuestion *q, Known *ret) {
        size_t at;
        DnsZone *zone = longest_zone(s, q, &at);
        DnsZoneMatch match;

        if (!zone)
                return know_builtin(s, q, ret);
        dns_zone_match(zone, q->name, at, &match);
        if (match.n == 0) {
                if (know_builtin(s, q, ret) && (ret->exists || ret->zone < at))
                        return true;
                if (at == 0 && dns_zone_is_loose(zone))
                        return false;
        }
        *ret = (Known){
                .exists = match.exists,
                .apex = at == 0 && !dns_zone_is_loose(zone),
                .addr = match.fallback,
                .zone = at,
                .match = match,
                .ttl = dns_zone_ttl(zone),
        };
        return true;
}

/* ---- the answer ---- */

static ldns_rdf *rdf_name(const uint8_t *wire, size_t len) {
        return ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, len, wire);
}

/* LABEL.ZONE, or ZONE itself where that would be too long. */
static ldns_rdf *rdf_in_zone(const char *label, const uint8_t *zone, size_t zone_len) {
        uint8_t wire[DNS_NAME_MAX];
        size_t len = strlen(label);

        if (1 + len + zone_len > sizeof(wire))
                return rdf_name(zone, zone_len);
        wire[0] = len;
        memcpy(wire + 1, label, len);
        memcpy(wire + 1 + len, zone, zone_len);
        return rdf_name(wire, 1 + len + zone_len);
}

static int pkt_push_soa(ldns_pkt *pkt, ldns_pkt_section section, const DnsQuestion *q, const Known *k) {
        const uint8_t *zone = q->name + k->zone;
        size_t zone_len = q->name_len - k->zone;
        _cleanup_(ldns_rr_freep) ldns_rr *rr = dns_answer_record(LDNS_RR_TYPE_SOA, zone, zone_len, DNS_LOCAL_TTL_SEC);

        if (!rr || !dns_answer_field(rr, rdf_in_zone("gateway", zone, zone_len)) || !dns_answer_field(rr, rdf_in_zone("hostmaster", zone, zone_len)) ||
            !dns_answer_field(rr, ldns_native2rdf_int32(LDNS_RDF_TYPE_INT32, SOA_SERIAL)) ||
            !dns_answer_field(rr, ldns_native2rdf_int32(LDNS_RDF_TYPE_PERIOD, SOA_REFRESH_SEC)) ||
            !dns_answer_field(rr, ldns_native2rdf_int32(LDNS_RDF_TYPE_PERIOD, SOA_RETRY_SEC)) ||
            !dns_answer_field(rr, ldns_native2rdf_int32(LDNS_RDF_TYPE_PERIOD, SOA_EXPIRE_SEC)) ||
            !dns_answer_field(rr, ldns_native2rdf_int32(LDNS_RDF_TYPE_PERIOD, DNS_LOCAL_TTL_SEC))) /* of negative answers */
                return -ENOMEM;
        return dns_answer_push(pkt, section, TAKE_PTR(rr));
}

/* One record with one field. */
static int pkt_push_simple(ldns_pkt *pkt, ldns_rr_type type, const DnsQuestion *q, uint32_t ttl, ldns_rdf *rdf) {
        return dns_answer_push(pkt, LDNS_SECTION_ANSWER, dns_answer_simple(type, q->name, q->name_len, ttl, rdf));
}

static bool asks_for(const DnsQuestion *q, ldns_rr_type type) {
        return q->type == type || q->type == LDNS_RR_TYPE_ANY;
}

/* A record of a zone, as that of the name asked for. */
static int pkt_push_record(ldns_pkt *pkt, const DnsQuestion *q, const ldns_rr *record, uint32_t ttl) {
        _cleanup_(ldns_rr_freep) ldns_rr *rr = dns_answer_record(ldns_rr_get_type(record), q->name, q->name_len, ttl);

        if (!rr)
                return -ENOMEM;
        for (size_t i = 0; i < ldns_rr_rd_count(record); i++)
                if (!dns_answer_field(rr, ldns_rdf_clone(ldns_rr_rdf(record, i))))
                        return -ENOMEM;
        return dns_answer_push(pkt, LDNS_SECTION_ANSWER, TAKE_PTR(rr));
}

static int pkt_push_address(ldns_pkt *pkt, const DnsQuestion *q, uint32_t ttl, const IpAddr *a) {
        bool v4 = ip_is_v4(a);

        if (ip_is_null(a) || !asks_for(q, v4 ? LDNS_RR_TYPE_A : LDNS_RR_TYPE_AAAA))
                return 0;
        if (v4)
                return pkt_push_simple(pkt, LDNS_RR_TYPE_A, q, ttl, ldns_rdf_new_frm_data(LDNS_RDF_TYPE_A, 4, a->b + 12));
        return pkt_push_simple(pkt, LDNS_RR_TYPE_AAAA, q, ttl, ldns_rdf_new_frm_data(LDNS_RDF_TYPE_AAAA, 16, a->b));
}

/* The records of a zone that answer @q. @ret_target: a CNAME's, to be followed; NULL: none. */
static int pkt_push_match(ldns_pkt *pkt, const DnsQuestion *q, const Known *k, const ldns_rdf **ret_target) {
        *ret_target = NULL;
        for (size_t i = 0; i < k->match.n; i++) {
                ldns_rr_type type = ldns_rr_get_type(k->match.records[i]);
                bool alias = type == LDNS_RR_TYPE_CNAME && !asks_for(q, type);
                int r;

                if (!alias && !asks_for(q, type))
                        continue;
                r = pkt_push_record(pkt, q, k->match.records[i], k->ttl);
                if (r < 0)
                        return r;
                if (alias)
                        *ret_target = ldns_rr_rdf(k->match.records[i], 0);
        }
        return 0;
}

static int pkt_fill(const Netstack *s, ldns_pkt *pkt, const DnsQuestion *q, const Known *k, unsigned chain) {
        const ldns_rdf *target;
        int r;

        r = pkt_push_match(pkt, q, k, &target);
        if (r == 0 && target) {
                DnsQuestion next = { .type = q->type, .class = q->class, .name_len = (uint8_t) ldns_rdf_size(target) };
                Known known;

                memcpy(next.name, ldns_rdf_data(target), next.name_len);
                return chain < CNAME_CHAIN_MAX && know(s, &next, &known) ? pkt_fill(s, pkt, &next, &known, chain + 1) : 0;
        }
        if (r == 0)
                r = pkt_push_address(pkt, q, k->ttl, &k->addr);
        if (r == 0 && k->match.n == 0)
                r = pkt_push_address(pkt, q, k->ttl, &k->addr6);
        if (r == 0 && asks_for(q, LDNS_RR_TYPE_PTR) && k->ptr_len > 0)
                r = pkt_push_simple(pkt, LDNS_RR_TYPE_PTR, q, k->ttl, rdf_name(k->ptr, k->ptr_len));
        if (r == 0 && asks_for(q, LDNS_RR_TYPE_SOA) && k->apex)
                r = pkt_push_soa(pkt, LDNS_SECTION_ANSWER, q, k);
        if (r == 0 && asks_for(q, LDNS_RR_TYPE_NS) && k->apex)
                r = pkt_push_simple(pkt, LDNS_RR_TYPE_NS, q, k->ttl, rdf_in_zone("gateway", q->name, q->name_len));
        if (r < 0)
                return r;

        if (!k->exists)
                ldns_pkt_set_rcode(pkt, LDNS_RCODE_NXDOMAIN);
        /* RFC 2308: an answer that says no carries the SOA that says how long it holds. */
        if (ldns_pkt_ancount(pkt) == 0)
                return pkt_push_soa(pkt, LDNS_SECTION_AUTHORITY, q, k);
        return 0;
}

static int answer_build(const Netstack *s, const ldns_pkt *query, const DnsQuestion *q, const Known *k, size_t room,
                        DnsAnswer *ret) {
        _cleanup_(ldns_pkt_freep) ldns_pkt *pkt = dns_answer_new(query, q, /* ours= */ true);
        int r;

        if (!pkt)
                return -ENOMEM;

        if (ldns_pkt_edns_version(query) > 0)
                ldns_pkt_set_edns_extended_rcode(pkt, 1); /* BADVERS is 16: 1 in the upper bits, 0 in the header (RFC 6891 6.1.3) */
        else if (q->class != DNS_CLASS_IN && q->class != DNS_CLASS_ANY)
                ldns_pkt_set_rcode(pkt, LDNS_RCODE_REFUSED);
        else {
                r = pkt_fill(s, pkt, q, k, 0);
                if (r < 0)
                        return r;
        }

        r = dns_answer_finish(query, q, pkt, room, ret);
        return r < 0 ? r : 1;
}

int dns_local_answer(const Netstack *s, const uint8_t *msg, size_t len, const DnsQuestion *q, size_t room, DnsAnswer *ret) {
        _cleanup_(ldns_pkt_freep) ldns_pkt *query = NULL;
        Known known;

        if (!know(s, q, &known))
                return 0;

        if (ldns_wire2pkt(&query, msg, len) != LDNS_STATUS_OK)
                return -EBADMSG;
        return answer_build(s, query, q, &known, room, ret);
}
