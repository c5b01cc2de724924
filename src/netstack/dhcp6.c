/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DHCPv6. Each message is answered from itself alone:
 *
 *   SOLICIT              ADVERTISE, or with rapid commit at once REPLY
 *   REQUEST, RENEW,      REPLY with the client's addresses; others it names are given no time
 *   REBIND
 *   CONFIRM              REPLY that says whether its addresses are of this link
 *   RELEASE, DECLINE     REPLY: there is nothing to be given back
 *   INFORMATION-REQUEST  REPLY with name servers and search domains
 *
 * The name a client sends with the request for an address (RFC 4704) is kept for DNS, see dhcp6-names.h.
 *
 * Never answers a relay, another server's client, or a message without what RFC 8415 16 asks for; delegates no prefixes.
 */

#include "netstack/dhcp6.h"

#include <stdio.h>
#include <xxhash.h>

#include "netstack/dhcp-message.h"
#include "netstack/dhcp6-names.h"
#include "netstack/dns-message.h"
#include "netstack/rate.h"
#include "netstack/udp.h"

enum {
        DHCP6_SOLICIT = 1,
        DHCP6_ADVERTISE = 2,
        DHCP6_REQUEST = 3,
        DHCP6_CONFIRM = 4,
        DHCP6_RENEW = 5,
        DHCP6_REBIND = 6,
        DHCP6_REPLY = 7,
        DHCP6_RELEASE = 8,
        DHCP6_DECLINE = 9,
        DHCP6_INFORMATION_REQUEST = 11,
};

enum {
        OPT_CLIENT_ID = 1,
        OPT_SERVER_ID = 2,
        OPT_IA_NA = 3,
        OPT_IA_ADDRESS = 5,
        OPT_REQUESTED = 6,
        OPT_PREFERENCE = 7,
        OPT_STATUS = 13,
        OPT_RAPID_COMMIT = 14,
        OPT_DNS_SERVERS = 23,
        OPT_DOMAIN_LIST = 24,
        OPT_INFORMATION_REFRESH = 32,
        OPT_FQDN = 39,
};

enum {
        FQDN_S = 1 << 0, /* the server does the AAAA records */
        FQDN_O = 1 << 1, /* though the client did not ask for that */
};

enum {
        STATUS_SUCCESS = 0,
        STATUS_NOT_ON_LINK = 4,
};

#define ANSWER_MAX 1200 /* within 1280 */
#define DUID_LL_LEN 10
#define IA_ADDRESSES_MAX 2 /* of one IA that are looked at */

typedef struct Ia {
        uint32_t id;
        IpAddr addrs[IA_ADDRESSES_MAX]; /* that the client names */
        unsigned n_addrs;
} Ia;

typedef struct Request {
        uint8_t type, xid[3];
        uint8_t duid[DHCP6_DUID_MAX];
        size_t duid_len;      /* 0: none */
        bool has_server, server_is_us, rapid;
        Ia ias[DHCP6_IAS_MAX];
        unsigned n_ias;
        bool has_fqdn, wants_fqdn;
        uint8_t fqdn_flags;
        char label[DHCP_LABEL_MAX + 1]; /* of its name, cleaned; "": none */
} Request;

/* ---- reading ---- */

static void own_duid(const Netstack *s, uint8_t ret[static DUID_LL_LEN]) {
        static const uint8_t head[] = { 0, 3, 0, 1 }; /* DUID-LL, Ethernet */

        memcpy(ret, head, sizeof(head));
        memcpy(ret + sizeof(head), &s->config.mac, sizeof(s->config.mac));
}

/* The next option; its body in @ret_body. False at the end, or (@ret_bad) when it lies. */
static bool next_option(IovCur *c, uint16_t *ret_code, IovCur *ret_body, bool *ret_bad) {
        uint16_t len;

        if (iovcur_left(c) == 0)
                return false;
        if (!iovcur_be16(c, ret_code) || !iovcur_be16(c, &len)) {
                *ret_bad = true;
                return false;
        }
        *ret_body = *c;
        *ret_bad = !iovcur_skip(c, len) || !iovcur_trim(ret_body, len);
        return !*ret_bad;
}

static bool read_ia(IovCur c, Ia *ret) {
        uint32_t t1, t2;
        uint16_t code;
        IovCur body;
        bool bad = false;

        *ret = (Ia){};
        if (!iovcur_be32(&c, &ret->id) || !iovcur_be32(&c, &t1) || !iovcur_be32(&c, &t2))
                return false;
        for (unsigned i = 0; i < DHCP6_OPTIONS_MAX && next_option(&c, &code, &body, &bad); i++)
                if (code == OPT_IA_ADDRESS && ret->n_addrs < IA_ADDRESSES_MAX &&
                    !iovcur_copy(&body, &ret->addrs[ret->n_addrs++], sizeof(IpAddr)))
                        return false;
        return !bad;
}

static bool read_requested(IovCur *c, Request *ret) {
        uint16_t code;

        while (iovcur_be16(c, &code))
                ret->wants_fqdn |= code == OPT_FQDN;
        return iovcur_left(c) == 0;
}

/* The first label of the name, on the wire; what is behind it does not matter. An empty name asks us to choose: we know none. */
static bool read_fqdn(IovCur *c, Request *ret) {
        uint8_t text[DHCP_LABEL_MAX], len = 0;

        if (!iovcur_u8(c, &ret->fqdn_flags) || (iovcur_left(c) > 0 && !iovcur_u8(c, &len)) || len > sizeof(text) || !iovcur_copy(c, text, len))
                return false;
        dhcp_clean_label(text, len, ret->label);
        ret->has_fqdn = true;
        return true;
}

static bool read_option(const Netstack *s, uint16_t code, IovCur *body, Request *ret) {
        uint8_t ours[DUID_LL_LEN], theirs[DUID_LL_LEN];
        size_t len = iovcur_left(body);

        switch (code) {
        case OPT_CLIENT_ID:
                if (ret->duid_len > 0 || len < 3 || len > DHCP6_DUID_MAX)
                        return false;
                ret->duid_len = len;
                return iovcur_copy(body, ret->duid, len);
        case OPT_SERVER_ID:
                own_duid(s, ours);
                ret->has_server = true;
                ret->server_is_us = len == DUID_LL_LEN && iovcur_copy(body, theirs, len) && memcmp(ours, theirs, len) == 0;
                return true;
        case OPT_RAPID_COMMIT:
                ret->rapid = true;
                return true;
        case OPT_REQUESTED:
                return read_requested(body, ret);
        case OPT_FQDN:
                return read_fqdn(body, ret);
        case OPT_IA_NA:
                return ret->n_ias == DHCP6_IAS_MAX || read_ia(*body, &ret->ias[ret->n_ias++]);
        default:
                return true;
        }
}

static bool read_request(const Netstack *s, IovCur *c, Request *ret) {
        uint16_t code;
        IovCur body;
        bool bad = false;

        *ret = (Request){};
        if (!iovcur_u8(c, &ret->type) || !iovcur_copy(c, ret->xid, sizeof(ret->xid)))
                return false;
        for (unsigned i = 0; i < DHCP6_OPTIONS_MAX && next_option(c, &code, &body, &bad); i++)
                if (!read_option(s, code, &body, ret))
                        return false;
        return !bad;
}

/* Is it ours to answer (RFC 8415 16)? */
static bool is_for_us(const Request *q) {
        switch (q->type) {
        case DHCP6_SOLICIT:
        case DHCP6_CONFIRM:
        case DHCP6_REBIND:
                return q->duid_len > 0 && !q->has_server;
        case DHCP6_REQUEST:
        case DHCP6_RENEW:
        case DHCP6_RELEASE:
        case DHCP6_DECLINE:
                return q->duid_len > 0 && q->server_is_us;
        case DHCP6_INFORMATION_REQUEST:
                return q->n_ias == 0 && (!q->has_server || q->server_is_us);
        default:
                return false;
        }
}

IpAddr dhcp6_address(const Netstack *s, const uint8_t *duid, size_t duid_len, uint32_t iaid) {
        IpAddr a = prefix_nth(&s->config.subnet6, 0);
        uint64_t hash = XXH3_64bits_withSeed(duid, duid_len, iaid);

        memcpy(a.b + 8, &hash, sizeof(hash));
        a.b[8] = 0xd6; /* neither ::1 and ::fe, nor with the bit that SLAAC sets for a MAC's */
        a.b[11] = a.b[11] == 0xff ? 0 : a.b[11];
        return a;
}

/* ---- writing ---- */

typedef struct Answer {
        uint8_t b[ANSWER_MAX];
        size_t len;
} Answer;

static void put(Answer *a, const void *bytes, size_t len) {
        assert(a->len + len <= sizeof(a->b));
        memcpy(a->b + a->len, bytes, len);
        a->len += len;
}

static void put16(Answer *a, uint16_t v) {
        v = htons(v);
        put(a, &v, sizeof(v));
}

static void put32(Answer *a, uint32_t v) {
        v = htonl(v);
        put(a, &v, sizeof(v));
}

static void put_option(Answer *a, uint16_t code, const void *bytes, size_t len) {
        put16(a, code);
        put16(a, (uint16_t) len);
        if (len > 0)
                put(a, bytes, len);
}

static void put_status(Answer *a, uint16_t status) {
        status = htons(status);
        put_option(a, OPT_STATUS, &status, sizeof(status));
}

static void put_address(Answer *a, const IpAddr *addr, uint32_t preferred, uint32_t valid) {
        put16(a, OPT_IA_ADDRESS);
        put16(a, sizeof(*addr) + 8);
        put(a, addr, sizeof(*addr));
        put32(a, preferred);
        put32(a, valid);
}

/* How long an address is valid. */
static uint32_t valid_sec(const Netstack *s) {
        uint32_t lease = s->config.lease_sec;

        return lease > UINT32_MAX / 2 ? lease : lease / 2 * 3;
}

/* The client's own address, and what it named beside it, which is over. */
static void put_ia(Answer *a, const Netstack *s, const Request *q, const Ia *ia) {
        IpAddr own = dhcp6_address(s, q->duid, q->duid_len, ia->id);
        uint32_t lease = s->config.lease_sec;
        size_t at = a->len, len;

        put16(a, OPT_IA_NA);
        put16(a, 0); /* below */
        put32(a, ia->id);
        put32(a, lease / 2);
        put32(a, lease / 5 * 4);
        put_address(a, &own, lease, valid_sec(s));
        for (unsigned i = 0; i < ia->n_addrs && q->type != DHCP6_SOLICIT; i++)
                if (!ip_equal(&ia->addrs[i], &own))
                        put_address(a, &ia->addrs[i], 0, 0);
        len = a->len - at - 4;
        a->b[at + 2] = (uint8_t) (len >> 8);
        a->b[at + 3] = (uint8_t) len;
}

/* Names as on the wire, one after the other, as far as they fit. */
static void put_domains(Answer *a, const Netstack *s) {
        uint8_t list[256];
        size_t len = 0;

        if (s->config.domain)
                len = dns_name_from_text(s->config.domain, list, sizeof(list));
        for (size_t i = 0; i < s->n_search; i++)
                len += dns_name_from_text(s->search[i], list + len, sizeof(list) - len);
        if (len > 0)
                put_option(a, OPT_DOMAIN_LIST, list, len);
}

/* RFC 4704 6: to who asks for it, and has a name here. Without a domain it is the label alone, which no zero byte ends. */
static void put_fqdn(Answer *a, const Netstack *s, const Request *q, const char *label) {
        uint8_t o[1 + DNS_NAME_MAX] = { q->fqdn_flags & FQDN_S ? FQDN_S : FQDN_S | FQDN_O };
        char name[DNS_NAME_MAX + 1];
        size_t len;

        (void) snprintf(name, sizeof(name), "%s%s%s", label, s->config.domain ? "." : "", s->config.domain ?: "");
        len = dns_name_from_text(name, o + 1, sizeof(o) - 1);
        if (len > 0)
                put_option(a, OPT_FQDN, o, s->config.domain ? 1 + len : len);
}

static uint16_t confirm(const Netstack *s, const Request *q) {
        for (unsigned i = 0; i < q->n_ias; i++)
                for (unsigned j = 0; j < q->ias[i].n_addrs; j++)
                        if (!prefix_contains(&s->config.subnet6, &q->ias[i].addrs[j]))
                                return STATUS_NOT_ON_LINK;
        return STATUS_SUCCESS;
}

static void put_settings(Answer *a, const Netstack *s, const Request *q) {
        put_option(a, OPT_DNS_SERVERS, &s->config.gateway6, sizeof(IpAddr));
        put_domains(a, s);
        if (q->type == DHCP6_INFORMATION_REQUEST) {
                uint32_t refresh = htonl(MAX(s->config.lease_sec, UINT32_C(600))); /* RFC 8415 7.6: IRT_MINIMUM */

                put_option(a, OPT_INFORMATION_REFRESH, &refresh, sizeof(refresh));
        }
}

static void put_answer(Answer *a, const Netstack *s, const Request *q, const char *label) {
        static const uint8_t first_choice = 255; /* nobody else is asked: no need to wait for others */
        bool advertise = q->type == DHCP6_SOLICIT && !q->rapid;
        uint8_t type = advertise ? DHCP6_ADVERTISE : DHCP6_REPLY, duid[DUID_LL_LEN];

        own_duid(s, duid);
        put(a, &type, 1);
        put(a, q->xid, sizeof(q->xid));
        put_option(a, OPT_SERVER_ID, duid, sizeof(duid));
        if (q->duid_len > 0)
                put_option(a, OPT_CLIENT_ID, q->duid, q->duid_len);
        switch (q->type) {
        case DHCP6_CONFIRM:
                return put_status(a, confirm(s, q));
        case DHCP6_RELEASE:
        case DHCP6_DECLINE:
                return put_status(a, STATUS_SUCCESS);
        case DHCP6_SOLICIT:
                put_option(a, OPT_PREFERENCE, &first_choice, 1);
                if (q->rapid)
                        put_option(a, OPT_RAPID_COMMIT, NULL, 0);
                break;
        default:
                break;
        }
        for (unsigned i = 0; i < q->n_ias; i++)
                put_ia(a, s, q, &q->ias[i]);
        put_settings(a, s, q);
        if (label && q->has_fqdn && q->wants_fqdn)
                put_fqdn(a, s, q, label);
}

/* Head, two ids, the addresses, name servers, domains and a name: all of it fits. */
_Static_assert(4 + 4 + DUID_LL_LEN + 4 + DHCP6_DUID_MAX + 9 + 20 + 260 + 8 + 5 + DNS_NAME_MAX + DHCP6_IAS_MAX * (16 + 28 * (1 + IA_ADDRESSES_MAX)) <= ANSWER_MAX,
               "as long as an answer gets");

/* Notes what the message says of the client's name, or of its end. Returns the name it has now; NULL: none, or nothing of it is given. One
 * that sends none is called as its DHCPv4 lease says. */
static const char *keep_name(Netstack *s, const MacAddr *mac, const Request *q) {
        bool binds = q->type == DHCP6_REQUEST || q->type == DHCP6_RENEW || q->type == DHCP6_REBIND || (q->type == DHCP6_SOLICIT && q->rapid);
        uint32_t sec = valid_sec(s);
        const char *label = q->label;
        const Dhcp6Name *n;
        IpAddr own;

        if (q->n_ias == 0)
                return NULL;
        own = dhcp6_address(s, q->duid, q->duid_len, q->ias[0].id);
        if (q->type == DHCP6_RELEASE || q->type == DHCP6_DECLINE)
                dhcp6_names_end(s->names6, &own, mac);
        if (!binds)
                return NULL;
        if (label[0] == 0) {
                const Lease *lease = dhcp_lease_by_mac(s->dhcp, mac);

                label = lease ? lease->hostname : "";
        }
        n = dhcp6_names_set(s->names6, &own, mac, label, sec == UINT32_MAX ? USEC_INFINITY : netstack_now(s) + sec * USEC_PER_SEC);
        return n ? n->label : NULL;
}

void dhcp6_input(Netstack *s, const MacAddr *src_mac, const IpAddr *src, IovCur *payload) {
        Answer a = {};
        Request q;

        if (ip_classify(src) != IP_CLASS_LINK_LOCAL || !read_request(s, payload, &q))
                return netstack_drop(s, DROP_DHCP_MALFORMED);
        if (!is_for_us(&q))
                return netstack_drop(s, DROP_DHCP_IGNORED);
        if (!rate_take(&s->dhcp6_rate[netstack_port_id(s) % PORT_SHARES], netstack_now(s), DHCP6_PER_SEC, DHCP6_BURST))
                return netstack_drop(s, DROP_DHCP_RATE);
        put_answer(&a, s, &q, keep_name(s, src_mac, &q));
        udp_send(s, &(Endpoint){ s->link_local6, DHCP6_SERVER_PORT }, &(Endpoint){ *src, DHCP6_CLIENT_PORT }, src_mac, a.b, a.len);
}
