/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DNS64: the test is the guest and the resolver, by UDP and by TCP. */

#include <ldns/ldns.h>

#include "netstack/arp.h"
#include "netstack/dns-private.h"
#include "netstack/dns64.h"
#include "netstack/nat64.h"
#include "packet.h"

#define A LDNS_RR_TYPE_A
#define AAAA LDNS_RR_TYPE_AAAA
#define PTR LDNS_RR_TYPE_PTR
#define SOA_300 "example. 900 IN SOA ns.example. admin.example. 1 2 3 4 300"
#define REVERSE64 "8.0.8.0.8.0.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.9.f.f.4.6.0.0.ip6.arpa"
#define CLIENT_ID 0x4242

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ldns_pkt, ldns_pkt_free)

static void configure(NetstackConfig *c) {
        fake_ip6(c);
        g_assert_cmpint(prefix_parse(NAT64_WELL_KNOWN, &c->nat64), ==, 0);
}

static FakeHost *host_new(void (*change)(NetstackConfig *c)) {
        FakeHost *h = fake_host_new(change);
        Endpoint resolver = fake_endpoint("192.0.2.1:53");
        IpAddr guest = fake_ip(FAKE_GUEST6);
        MacAddr mac = FAKE_GUEST_MAC;

        netstack_set_resolvers(h->stack, &resolver, 1, NULL, 0);
        arp_learn(h->stack->arp, &guest, &mac);
        return h;
}

/* ---- messages ---- */

static ldns_pkt *decode(const uint8_t *data, size_t len) {
        ldns_pkt *pkt = NULL;

        g_assert_cmpint(ldns_wire2pkt(&pkt, data, len), ==, LDNS_STATUS_OK);
        return pkt;
}

static GBytes *encode(const ldns_pkt *pkt) {
        uint8_t *data;
        size_t len;

        g_assert_cmpint(ldns_pkt2wire(&data, pkt, &len), ==, LDNS_STATUS_OK);
        return g_bytes_new_with_free_func(data, len, free, data);
}

static ldns_rr *record(const char *text) {
        ldns_rr *rr;

        g_assert_cmpint(ldns_rr_new_frm_str(&rr, text, 0, NULL, NULL), ==, LDNS_STATUS_OK);
        return rr;
}

static GBytes *query(const char *name, ldns_rr_type type, uint16_t edns, bool checks_itself) {
        ldns_rdf *owner = ldns_dname_new_frm_str(name);
        g_autoptr(ldns_pkt) pkt = ldns_pkt_query_new(owner, type, LDNS_RR_CLASS_IN, LDNS_RD);

        ldns_pkt_set_id(pkt, CLIENT_ID);
        if (edns > 0)
                ldns_pkt_set_edns_udp_size(pkt, edns);
        if (checks_itself) {
                ldns_pkt_set_edns_do(pkt, true);
                ldns_pkt_set_cd(pkt, true);
        }
        return encode(pkt);
}

static bool cut; /* do resolvers say that there is more than they sent? */

/* The resolver's answer to @asked: records as text, authority after a NULL, a NULL at the end. */
static GBytes *reply_to(const uint8_t *asked, size_t len, ldns_pkt_rcode rcode, const char *const *records) {
        g_autoptr(ldns_pkt) pkt = decode(asked, len);

        ldns_pkt_set_qr(pkt, true);
        ldns_pkt_set_ra(pkt, true);
        ldns_pkt_set_tc(pkt, cut);
        ldns_pkt_set_rcode(pkt, rcode);
        for (; *records; records++)
                ldns_pkt_push_rr(pkt, LDNS_SECTION_ANSWER, record(*records));
        for (records++; *records; records++)
                ldns_pkt_push_rr(pkt, LDNS_SECTION_AUTHORITY, record(*records));
        return encode(pkt);
}

static void check_question(const ldns_pkt *pkt, const char *name, ldns_rr_type type) {
        const ldns_rr *q = ldns_rr_list_rr(ldns_pkt_question(pkt), 0);
        char *text = ldns_rdf2str(ldns_rr_owner(q));

        g_assert_cmpuint(strlen(text), ==, strlen(name) + 1);
        g_assert_true(g_str_has_prefix(text, name));
        g_assert_cmpint(ldns_rr_get_type(q), ==, type);
        free(text);
}

static void check_records(const ldns_rr_list *list, const char *const *expected) {
        size_t n = 0;

        for (; expected[n]; n++) {
                g_assert_cmpuint(n, <, ldns_rr_list_rr_count(list));
                char *text = ldns_rr2str(ldns_rr_list_rr(list, n));

                g_strdelimit(text, "\t", ' ');
                g_assert_cmpstr(g_strchomp(text), ==, expected[n]);
                free(text);
        }
        g_assert_cmpuint(ldns_rr_list_rr_count(list), ==, n);
}

#define RECORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NONE ((const char *const[]){ NULL, NULL })

/* ---- the two ends, by UDP ---- */

static void guest_asks_edns(FakeHost *h, const char *name, ldns_rr_type type, uint16_t edns) {
        g_autoptr(GBytes) m = query(name, type, edns, false);
        Packet4 p = packet4("fd00:1::1", 53);
        size_t len;
        const void *data = g_bytes_get_data(m, &len);

        packet_send(h, packet_udp(&p, data, len));
}

static void guest_asks(FakeHost *h, const char *name, ldns_rr_type type) {
        guest_asks_edns(h, name, type, 0);
}

/* The resolver must have been asked this, in the last socket; it answers. */
static void resolver_answers(FakeHost *h, const char *name, ldns_rr_type type, ldns_pkt_rcode rcode, const char *const *records) {
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);

        g_assert_nonnull(k);
        const FakeDgram *d = fake_sent(k, k->sent->len - 1);
        g_autoptr(ldns_pkt) asked = decode(d->data, d->len);
        g_autoptr(GBytes) m = reply_to(d->data, d->len, rcode, records);
        size_t len;
        const void *data = g_bytes_get_data(m, &len);

        check_question(asked, name, type);
        fake_dgram_push(h, k, &d->peer, data, len);
        fake_run(h);
}

/* (owned) what the guest is told; it must be about what it asked. */
static ldns_pkt *guest_hears(FakeHost *h, const char *name, ldns_rr_type type, ldns_pkt_rcode rcode) {
        g_autoptr(FakeFrame) f = NULL;
        Parsed p = packet_take(h, &f);
        ldns_pkt *pkt = decode(p.payload, p.payload_len);

        g_assert_cmpuint(ldns_pkt_id(pkt), ==, CLIENT_ID);
        g_assert_true(ldns_pkt_qr(pkt));
        check_question(pkt, name, type);
        g_assert_cmpint(ldns_pkt_get_rcode(pkt), ==, rcode);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(h->n_open, ==, 0);
        return pkt;
}

/* ---- addresses ---- */

static void test_synthesis(void) {
        g_autoptr(FakeHost) h = host_new(configure);

        guest_asks(h, "www.example", AAAA);
        resolver_answers(h, "www.example", AAAA, LDNS_RCODE_NOERROR, (const char *const[]){ "www.example. 60 IN CNAME web.example.", NULL, SOA_300, NULL });
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        resolver_answers(h, "www.example", A, LDNS_RCODE_NOERROR,
                         (const char *const[]){ "www.example. 60 IN CNAME web.example.", "web.example. 900 IN A 8.8.8.8", "web.example. 200 IN A 10.0.0.1",
                                                "web.example. 200 IN A 9.9.9.9", NULL, NULL });
        g_autoptr(ldns_pkt) pkt = guest_hears(h, "www.example", AAAA, LDNS_RCODE_NOERROR);
        /* not longer than it was said that there is none; a private address is not to be had this way */
        check_records(ldns_pkt_answer(pkt), RECORDS("www.example. 60 IN CNAME web.example.", "web.example. 300 IN AAAA 64:ff9b::808:808",
                                                    "web.example. 200 IN AAAA 64:ff9b::909:909"));
        g_assert_true(ldns_pkt_ra(pkt) && ldns_pkt_rd(pkt));
        g_assert_false(ldns_pkt_aa(pkt) || ldns_pkt_ad(pkt));

        /* and is kept: nobody is asked again */
        guest_asks(h, "www.example", AAAA);
        g_autoptr(ldns_pkt) again = guest_hears(h, "www.example", AAAA, LDNS_RCODE_NOERROR);
        g_assert_cmpuint(ldns_pkt_ancount(again), ==, 3);
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 2);

        /* who asks for A is told A */
        guest_asks(h, "www.example", A);
        resolver_answers(h, "www.example", A, LDNS_RCODE_NOERROR, (const char *const[]){ "www.example. 60 IN A 8.8.8.8", NULL, NULL });
        g_autoptr(ldns_pkt) four = guest_hears(h, "www.example", A, LDNS_RCODE_NOERROR);
        check_records(ldns_pkt_answer(four), RECORDS("www.example. 60 IN A 8.8.8.8"));
}

static void test_not_needed(void) {
        g_autoptr(FakeHost) h = host_new(configure);

        guest_asks(h, "six.example", AAAA);
        resolver_answers(h, "six.example", AAAA, LDNS_RCODE_NOERROR, (const char *const[]){ "six.example. 60 IN AAAA 2001:db8::1", NULL, NULL });
        g_autoptr(ldns_pkt) six = guest_hears(h, "six.example", AAAA, LDNS_RCODE_NOERROR);
        check_records(ldns_pkt_answer(six), RECORDS("six.example. 60 IN AAAA 2001:db8::1"));

        guest_asks(h, "no.example", AAAA);
        resolver_answers(h, "no.example", AAAA, LDNS_RCODE_NXDOMAIN, (const char *const[]){ NULL, SOA_300, NULL });
        g_autoptr(ldns_pkt) no = guest_hears(h, "no.example", AAAA, LDNS_RCODE_NXDOMAIN);
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 2);

        /* IPv4 in disguise is no IPv6 address */
        guest_asks(h, "mapped.example", AAAA);
        resolver_answers(h, "mapped.example", AAAA, LDNS_RCODE_NOERROR, (const char *const[]){ "mapped.example. 60 IN AAAA ::ffff:8.8.4.4", NULL, NULL });
        resolver_answers(h, "mapped.example", A, LDNS_RCODE_NOERROR, (const char *const[]){ "mapped.example. 900 IN A 8.8.4.4", NULL, NULL });
        g_autoptr(ldns_pkt) mapped = guest_hears(h, "mapped.example", AAAA, LDNS_RCODE_NOERROR);
        check_records(ldns_pkt_answer(mapped), RECORDS("mapped.example. 600 IN AAAA 64:ff9b::808:404"));
}

static void test_nothing_there(void) {
        static const char *const useless[] = { "127.0.0.1", "0.0.0.0", "192.168.127.2", "10.0.0.1", "224.0.0.1", NULL };
        g_autoptr(FakeHost) h = host_new(configure);

        guest_asks(h, "none.example", AAAA);
        resolver_answers(h, "none.example", AAAA, LDNS_RCODE_NOERROR, (const char *const[]){ NULL, SOA_300, NULL });
        resolver_answers(h, "none.example", A, LDNS_RCODE_NOERROR, NONE);
        g_autoptr(ldns_pkt) pkt = guest_hears(h, "none.example", AAAA, LDNS_RCODE_NOERROR);
        check_records(ldns_pkt_authority(pkt), RECORDS(SOA_300)); /* the first answer, whole */
        g_assert_cmpuint(ldns_pkt_ancount(pkt), ==, 0);

        for (size_t i = 0; useless[i]; i++) {
                g_autofree char *name = g_strdup_printf("u%zu.example", i), *a = g_strdup_printf("%s. 60 IN A %s", name, useless[i]);

                guest_asks(h, name, AAAA);
                resolver_answers(h, name, AAAA, LDNS_RCODE_NOERROR, NONE);
                resolver_answers(h, name, A, LDNS_RCODE_NOERROR, (const char *const[]){ a, NULL, NULL });
                g_autoptr(ldns_pkt) empty = guest_hears(h, name, AAAA, LDNS_RCODE_NOERROR);
                g_assert_cmpuint(ldns_pkt_ancount(empty), ==, 0);
        }
}

/* Servers that stumble over AAAA; and one that falls silent half-way. */
static void test_failing(void) {
        g_autoptr(FakeHost) h = host_new(configure);

        guest_asks(h, "old.example", AAAA);
        resolver_answers(h, "old.example", AAAA, LDNS_RCODE_SERVFAIL, NONE);
        resolver_answers(h, "old.example", A, LDNS_RCODE_NOERROR, (const char *const[]){ "old.example. 60 IN A 8.8.8.8", NULL, NULL });
        g_autoptr(ldns_pkt) pkt = guest_hears(h, "old.example", AAAA, LDNS_RCODE_NOERROR);
        check_records(ldns_pkt_answer(pkt), RECORDS("old.example. 60 IN AAAA 64:ff9b::808:808"));

        guest_asks(h, "broken.example", AAAA);
        resolver_answers(h, "broken.example", AAAA, LDNS_RCODE_SERVFAIL, NONE);
        resolver_answers(h, "broken.example", A, LDNS_RCODE_SERVFAIL, NONE);
        g_autoptr(ldns_pkt) broken = guest_hears(h, "broken.example", AAAA, LDNS_RCODE_SERVFAIL);

        guest_asks(h, "silent.example", AAAA);
        resolver_answers(h, "silent.example", AAAA, LDNS_RCODE_NOERROR, NONE);
        fake_advance(h, DNS_TRIES_MAX * DNS_TIMEOUT_USEC);
        g_autoptr(ldns_pkt) silent = guest_hears(h, "silent.example", AAAA, LDNS_RCODE_SERVFAIL);
}

static void test_checks_itself(void) {
        g_autoptr(FakeHost) h = host_new(configure);
        g_autoptr(GBytes) m = query("signed.example", AAAA, 1232, true);
        Packet4 p = packet4("fd00:1::1", 53);
        size_t len;
        const void *data = g_bytes_get_data(m, &len);

        packet_send(h, packet_udp(&p, data, len));
        resolver_answers(h, "signed.example", AAAA, LDNS_RCODE_NOERROR, (const char *const[]){ NULL, SOA_300, NULL });
        g_autoptr(ldns_pkt) pkt = guest_hears(h, "signed.example", AAAA, LDNS_RCODE_NOERROR);
        g_assert_cmpuint(ldns_pkt_ancount(pkt), ==, 0);
}

/* More than fits: cut, as any answer. */
static void test_too_long(void) {
        g_autoptr(FakeHost) h = host_new(configure);
        const char *records[40] = {};
        char text[38][64];

        for (unsigned i = 0; i < 38; i++) {
                g_snprintf(text[i], sizeof(text[i]), "many.example. 60 IN A 8.8.8.%u", i + 1);
                records[i] = text[i];
        }
        guest_asks(h, "many.example", AAAA);
        resolver_answers(h, "many.example", AAAA, LDNS_RCODE_NOERROR, NONE);
        resolver_answers(h, "many.example", A, LDNS_RCODE_NOERROR, records);
        g_autoptr(ldns_pkt) pkt = guest_hears(h, "many.example", AAAA, LDNS_RCODE_NOERROR);
        g_assert_true(ldns_pkt_tc(pkt));
        g_assert_cmpuint(ldns_pkt_ancount(pkt), ==, 0);
}

/* The resolver had more to say than it sent: the guest is told that, and no part as if it were all, however much it takes. */
static void test_cut(void) {
        static const uint16_t edns[] = { 0, 512, 1232, 4096 };

        for (size_t i = 0; i < G_N_ELEMENTS(edns); i++) {
                g_autoptr(FakeHost) h = host_new(configure);

                guest_asks_edns(h, "cut.example", AAAA, edns[i]);
                resolver_answers(h, "cut.example", AAAA, LDNS_RCODE_NOERROR, NONE);
                cut = true;
                resolver_answers(h, "cut.example", A, LDNS_RCODE_NOERROR, (const char *const[]){ "cut.example. 60 IN A 8.8.8.8", NULL, NULL });
                g_autoptr(ldns_pkt) pkt = guest_hears(h, "cut.example", AAAA, LDNS_RCODE_NOERROR);
                g_assert_true(ldns_pkt_tc(pkt));
                g_assert_cmpuint(ldns_pkt_ancount(pkt), ==, 0);

                guest_asks_edns(h, REVERSE64, PTR, edns[i]);
                resolver_answers(h, "8.8.8.8.in-addr.arpa", PTR, LDNS_RCODE_NOERROR, NONE);
                cut = false;
                g_autoptr(ldns_pkt) name = guest_hears(h, REVERSE64, PTR, LDNS_RCODE_NOERROR);
                g_assert_true(ldns_pkt_tc(name));
                g_assert_cmpuint(ldns_pkt_ancount(name), ==, 0);
        }
}

static void off(NetstackConfig *c) {
        fake_ip6(c);
}

static void test_off(void) {
        g_autoptr(FakeHost) h = host_new(off);

        guest_asks(h, "www.example", AAAA);
        resolver_answers(h, "www.example", AAAA, LDNS_RCODE_NOERROR, (const char *const[]){ NULL, SOA_300, NULL });
        g_autoptr(ldns_pkt) pkt = guest_hears(h, "www.example", AAAA, LDNS_RCODE_NOERROR);
        g_assert_cmpuint(ldns_pkt_ancount(pkt), ==, 0);
        guest_asks(h, "ipv4only.arpa", AAAA);
        resolver_answers(h, "ipv4only.arpa", AAAA, LDNS_RCODE_NOERROR, NONE);
        g_autoptr(ldns_pkt) only = guest_hears(h, "ipv4only.arpa", AAAA, LDNS_RCODE_NOERROR);
}

/* ---- names that are ours ---- */

static void test_ipv4only(void) {
        g_autoptr(FakeHost) h = host_new(configure);

        guest_asks(h, "ipv4only.arpa", AAAA);
        g_autoptr(ldns_pkt) six = guest_hears(h, "ipv4only.arpa", AAAA, LDNS_RCODE_NOERROR);
        check_records(ldns_pkt_answer(six), RECORDS("ipv4only.arpa. 3600 IN AAAA 64:ff9b::c000:aa", "ipv4only.arpa. 3600 IN AAAA 64:ff9b::c000:ab"));
        guest_asks(h, "IPv4Only.ARPA", A);
        g_autoptr(ldns_pkt) four = guest_hears(h, "IPv4Only.ARPA", A, LDNS_RCODE_NOERROR);
        g_assert_cmpuint(ldns_pkt_ancount(four), ==, 2);
        guest_asks(h, "ipv4only.arpa", PTR);
        g_autoptr(ldns_pkt) other = guest_hears(h, "ipv4only.arpa", PTR, LDNS_RCODE_NOERROR);
        g_assert_cmpuint(ldns_pkt_ancount(other), ==, 0);
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 0); /* RFC 8880: never asked of others */
}

static void test_zone(void) {
        g_autoptr(FakeHost) h = host_new(configure);
        DnsZone *zone;
        DnsRecordSpec records[] = { { .name = (char *) "pub", .type = (char *) "A", .value = (char *) "8.8.8.8" },
                                    { .name = (char *) "priv", .type = (char *) "A", .value = (char *) "10.0.0.1" } };
        DnsZoneSpec spec = { .name = (char *) "lab", .records = records, .n_records = ELEMENTSOF(records) };

        g_assert_cmpint(dns_zone_new(&zone, &spec, NULL, NULL), ==, 0);
        g_assert_cmpint(netstack_set_zone(h->stack, zone), ==, 0);
        guest_asks(h, "pub.lab", AAAA);
        g_autoptr(ldns_pkt) pub = guest_hears(h, "pub.lab", AAAA, LDNS_RCODE_NOERROR);
        check_records(ldns_pkt_answer(pub), RECORDS("pub.lab. 10 IN AAAA 64:ff9b::808:808"));
        guest_asks(h, "priv.lab", AAAA);
        g_autoptr(ldns_pkt) priv = guest_hears(h, "priv.lab", AAAA, LDNS_RCODE_NOERROR);
        g_assert_cmpuint(ldns_pkt_ancount(priv), ==, 0);
        guest_asks(h, "gateway.vnet.internal", AAAA); /* has one of its own */
        g_autoptr(ldns_pkt) gateway = guest_hears(h, "gateway.vnet.internal", AAAA, LDNS_RCODE_NOERROR);
        check_records(ldns_pkt_answer(gateway), RECORDS("gateway.vnet.internal. 10 IN AAAA fd00:1::1"));
}

/* ---- names of addresses ---- */

static void test_reverse(void) {
        g_autoptr(FakeHost) h = host_new(configure);

        guest_asks(h, REVERSE64, PTR);
        resolver_answers(h, "8.8.8.8.in-addr.arpa", PTR, LDNS_RCODE_NOERROR, (const char *const[]){ "8.8.8.8.in-addr.arpa. 60 IN PTR dns.example.", NULL, NULL });
        g_autoptr(ldns_pkt) pkt = guest_hears(h, REVERSE64, PTR, LDNS_RCODE_NOERROR);
        check_records(ldns_pkt_answer(pkt), RECORDS(REVERSE64 ". 600 IN CNAME 8.8.8.8.in-addr.arpa.", "8.8.8.8.in-addr.arpa. 60 IN PTR dns.example."));

        guest_asks(h, REVERSE64, PTR);
        resolver_answers(h, "8.8.8.8.in-addr.arpa", PTR, LDNS_RCODE_NXDOMAIN, (const char *const[]){ NULL, SOA_300, NULL });
        g_autoptr(ldns_pkt) no = guest_hears(h, REVERSE64, PTR, LDNS_RCODE_NXDOMAIN);
        check_records(ldns_pkt_authority(no), RECORDS(SOA_300));

        guest_asks(h, REVERSE64, PTR);
        fake_advance(h, DNS_TRIES_MAX * DNS_TIMEOUT_USEC);
        g_autoptr(ldns_pkt) fail = guest_hears(h, REVERSE64, PTR, LDNS_RCODE_SERVFAIL);

        /* of another prefix, or half of one: as it is */
        guest_asks(h, "8.b.d.0.1.0.0.2.ip6.arpa", PTR);
        resolver_answers(h, "8.b.d.0.1.0.0.2.ip6.arpa", PTR, LDNS_RCODE_NXDOMAIN, NONE);
        g_autoptr(ldns_pkt) other = guest_hears(h, "8.b.d.0.1.0.0.2.ip6.arpa", PTR, LDNS_RCODE_NXDOMAIN);
        guest_asks(h, REVERSE64 + 2, PTR);
        resolver_answers(h, REVERSE64 + 2, PTR, LDNS_RCODE_NXDOMAIN, NONE);
        g_autoptr(ldns_pkt) half = guest_hears(h, REVERSE64 + 2, PTR, LDNS_RCODE_NXDOMAIN);
}

/* ---- by TCP ---- */

static void stream_write(FakeHost *h, int fd, GBytes *m) {
        size_t len;
        const uint8_t *data = g_bytes_get_data(m, &len);
        uint8_t prefix[2] = { (uint8_t) (len >> 8), (uint8_t) len };
        struct iovec iov[2] = { { prefix, 2 }, { (void *) data, len } };

        g_assert_cmpint(fake_host_ops.send(h, fd, iov, 2), ==, len + 2);
        fake_run(h);
}

/* The @n-th query that reached the resolver is this; it answers. */
static void stream_resolver(FakeHost *h, unsigned n, const char *name, ldns_rr_type type, const char *const *records) {
        FakeSocket *k = fake_last_socket(h, FAKE_TCP);
        const uint8_t *p = k->out->data;
        size_t len, left = k->out->len;

        for (;; n--) {
                g_assert_cmpuint(left, >=, 2);
                len = (size_t) (p[0] << 8 | p[1]);
                g_assert_cmpuint(left, >=, 2 + len);
                if (n == 0)
                        break;
                p += 2 + len;
                left -= 2 + len;
        }
        g_autoptr(ldns_pkt) asked = decode(p + 2, len);
        g_autoptr(GBytes) m = reply_to(p + 2, len, LDNS_RCODE_NOERROR, records);
        const uint8_t *data = g_bytes_get_data(m, &len);
        uint8_t prefix[2] = { (uint8_t) (len >> 8), (uint8_t) len };

        check_question(asked, name, type);
        fake_stream_push(h, k, prefix, 2);
        fake_stream_push(h, k, data, len);
        fake_run(h);
}

static ldns_pkt *stream_hears(FakeHost *h, int fd) {
        FakeSocket *k = fake_socket(h, fd);

        g_assert_cmpuint(k->in->len, >, 2);
        size_t len = (size_t) (k->in->data[0] << 8 | k->in->data[1]);
        g_assert_cmpuint(k->in->len, ==, 2 + len);
        ldns_pkt *pkt = decode(k->in->data + 2, len);
        g_assert_cmpint(fake_host_ops.discard(h, fd, 2 + len), ==, 2 + len);
        g_assert_cmpuint(ldns_pkt_id(pkt), ==, CLIENT_ID);
        return pkt;
}

static void test_stream(void) {
        g_autoptr(FakeHost) h = host_new(configure);
        g_autoptr(GBytes) aaaa = query("www.example", AAAA, 0, false), ptr = query(REVERSE64, PTR, 1232, false);
        Endpoint client = { fake_ip(FAKE_GUEST6), 40000 };
        int fd;

        g_assert_cmpint(dns_stream_open(h->stack->dns, &client, &fd), ==, 0);
        stream_write(h, fd, aaaa);
        stream_resolver(h, 0, "www.example", AAAA, (const char *const[]){ NULL, SOA_300, NULL });
        stream_resolver(h, 1, "www.example", A, (const char *const[]){ "www.example. 60 IN A 8.8.8.8", NULL, NULL });
        g_autoptr(ldns_pkt) pkt = stream_hears(h, fd);
        check_question(pkt, "www.example", AAAA);
        check_records(ldns_pkt_answer(pkt), RECORDS("www.example. 60 IN AAAA 64:ff9b::808:808"));

        stream_write(h, fd, ptr);
        stream_resolver(h, 2, "8.8.8.8.in-addr.arpa", PTR, (const char *const[]){ "8.8.8.8.in-addr.arpa. 60 IN PTR dns.example.", NULL, NULL });
        g_autoptr(ldns_pkt) name = stream_hears(h, fd);
        check_question(name, REVERSE64, PTR);
        g_assert_cmpuint(ldns_pkt_ancount(name), ==, 2);
        g_assert_true(ldns_pkt_edns(name));
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 1);

        stream_write(h, fd, aaaa); /* left half-way: nothing leaks */
        fake_host_ops.close(h, fd, false);
        fake_run(h);
        g_assert_cmpuint(h->n_open, ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dns64/synthesis", test_synthesis);
        g_test_add_func("/dns64/not-needed", test_not_needed);
        g_test_add_func("/dns64/nothing-there", test_nothing_there);
        g_test_add_func("/dns64/failing", test_failing);
        g_test_add_func("/dns64/checks-itself", test_checks_itself);
        g_test_add_func("/dns64/too-long", test_too_long);
        g_test_add_func("/dns64/cut", test_cut);
        g_test_add_func("/dns64/off", test_off);
        g_test_add_func("/dns64/ipv4only", test_ipv4only);
        g_test_add_func("/dns64/zone", test_zone);
        g_test_add_func("/dns64/reverse", test_reverse);
        g_test_add_func("/dns64/stream", test_stream);
        return g_test_run();
}
