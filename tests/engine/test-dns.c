/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DNS through the whole gateway: local names, relaying by UDP and TCP, resolvers that fail, and clients that mean no good. */

#include <ldns/ldns.h>

#include "netstack/arp.h"
#include "netstack/arp.h"
#include "netstack/dns-local.h"
#include "packet.h"

#define TYPE_A 1
#define TYPE_NS 2
#define TYPE_SOA 6
#define TYPE_PTR 12
#define TYPE_TXT 16
#define TYPE_AAAA 28
#define TYPE_ANY 255
#define CLIENT_ID 0x4242

static const char *const resolvers[] = { "127.0.0.53:53", "192.0.2.1:53", "192.0.2.2:53" };

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ldns_pkt, ldns_pkt_free)

static FakeHost *host_new(unsigned n_resolvers, void (*change)(NetstackConfig *c)) {
        FakeHost *h = fake_host_new(change);
        IpAddr guest = fake_ip("192.168.127.2");
        MacAddr mac = FAKE_GUEST_MAC;
        Endpoint list[ELEMENTSOF(resolvers)];

        for (unsigned i = 0; i < n_resolvers; i++)
                list[i] = fake_endpoint(resolvers[i]);
        netstack_set_resolvers(h->stack, list, n_resolvers, NULL, 0);
        arp_learn(h->stack->arp, &guest, &mac);
        return h;
}

static void append_be16(GByteArray *m, uint16_t v) {
        g_byte_array_append(m, (uint8_t[]){ v >> 8, v }, 2);
}

/* @edns: the UDP size said in an OPT record of @version; 0: none. */
static GByteArray *query_edns(const char *name, uint16_t type, uint16_t class, uint16_t edns, uint8_t version) {
        GByteArray *m = g_byte_array_new();
        uint8_t wire[DNS_NAME_MAX];
        size_t len = name[0] ? dns_name_from_text(name, wire, sizeof(wire)) : 1;

        g_assert_cmpuint(len, >, 0);
        if (!name[0])
                wire[0] = 0;
        append_be16(m, CLIENT_ID);
        append_be16(m, DNS_FLAG_RD);
        append_be16(m, 1);
        append_be16(m, 0);
        append_be16(m, 0);
        append_be16(m, edns > 0);
        g_byte_array_append(m, wire, len);
        append_be16(m, type);
        append_be16(m, class);
        if (edns > 0) {
                g_byte_array_append(m, (uint8_t[]){ 0, 0, 41, edns >> 8, edns, 0, version, 0, 0, 0, 0 }, 11);
        }
        return m;
}

static GByteArray *query(const char *name, uint16_t type) {
        return query_edns(name, type, 1, 0, 0);
}

static void send_udp_from(FakeHost *h, const char *guest, const GByteArray *m) {
        Packet4 p = packet4("192.168.127.1", 53);

        p.src = fake_ip(guest);
        packet_send(h, packet_udp(&p, m->data, m->len));
}

/* (owned) what came back for the guest by UDP; NULL when nothing did */
static GByteArray *take_udp(FakeHost *h) {
        g_autoptr(FakeFrame) f = fake_take_frame(h);
        Parsed p;

        if (!f)
                return NULL;
        p = packet_parse(f);
        g_assert_cmpuint(p.proto, ==, IPPROTO_UDP);
        g_assert_cmpuint(p.sport, ==, 53);
        g_assert_cmpuint(p.dport, ==, 40000);
        g_assert_cmpstr(IP_TO_TEXT(&p.src), ==, "192.168.127.1");

        GByteArray *m = g_byte_array_new();
        return g_byte_array_append(m, p.payload, p.payload_len);
}

static ldns_pkt *decode(const GByteArray *m) {
        ldns_pkt *pkt = NULL;

        g_assert_cmpint(ldns_wire2pkt(&pkt, m->data, m->len), ==, LDNS_STATUS_OK);
        g_assert_true(ldns_pkt_qr(pkt));
        g_assert_cmpuint(ldns_pkt_id(pkt), ==, CLIENT_ID);
        return pkt;
}

/* Asks by UDP and takes the answer, which must come at once. @m is used up. */
static ldns_pkt *ask(FakeHost *h, GByteArray *m) {
        g_autoptr(GByteArray) asked = m, answer = NULL;

        send_udp_from(h, "192.168.127.2", asked);
        answer = take_udp(h);
        g_assert_nonnull(answer);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        return decode(answer);
}

static void check_counts(const ldns_pkt *pkt, int rcode, unsigned an, unsigned ns) {
        g_assert_cmpint(ldns_pkt_get_rcode(pkt), ==, rcode);
        g_assert_cmpuint(ldns_pkt_qdcount(pkt), ==, 1);
        g_assert_cmpuint(ldns_pkt_ancount(pkt), ==, an);
        g_assert_cmpuint(ldns_pkt_nscount(pkt), ==, ns);
        g_assert_false(ldns_pkt_tc(pkt));
}

/* The one record of a section, as text. */
static void check_record(const ldns_rr_list *list, unsigned i, const char *expect) {
        char *text = ldns_rr2str(ldns_rr_list_rr(list, i));

        g_strdelimit(text, "\t", ' ');
        g_strchomp(text);
        g_assert_cmpstr(text, ==, expect);
        free(text);
}

static void check_local(FakeHost *h, const char *name, uint16_t type, const char *expect) {
        g_autoptr(ldns_pkt) pkt = ask(h, query(name, type));

        check_counts(pkt, LDNS_RCODE_NOERROR, 1, 0);
        g_assert_true(ldns_pkt_aa(pkt));
        g_assert_true(ldns_pkt_ra(pkt));
        g_assert_true(ldns_pkt_rd(pkt));
        g_assert_false(ldns_pkt_edns(pkt));
        check_record(ldns_pkt_answer(pkt), 0, expect);
}

static void check_negative(FakeHost *h, const char *name, uint16_t type, int rcode, const char *soa) {
        g_autoptr(ldns_pkt) pkt = ask(h, query(name, type));

        check_counts(pkt, rcode, 0, 1);
        check_record(ldns_pkt_authority(pkt), 0, soa);
}

/* Not ours: it goes to the resolver. */
static void check_relayed(FakeHost *h, const char *name, uint16_t type) {
        g_autoptr(GByteArray) m = query(name, type);
        unsigned before = h->n_opened[FAKE_UDP];

        send_udp_from(h, "192.168.127.2", m);
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, before + 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_last_socket(h, FAKE_UDP)->sent->len, ==, 1);
}

static void add_guest(FakeHost *h, const char *addr, const char *name, usec_t lasts) {
        Lease l = { .addr = fake_ip(addr), .mac = { { 2, 0, 0, 0, 0, strlen(name) } }, .expires = h->now + lasts };

        g_strlcpy(l.hostname, name, sizeof(l.hostname));
        g_assert_cmpint(dhcp_add(h->stack->dhcp, &l), ==, 0);
}

#define SOA "vnet.internal. 10 IN SOA gateway.vnet.internal. hostmaster.vnet.internal. 1 3600 600 86400 10"
#define SOA_REVERSE                                                                                            \
        "127.168.192.in-addr.arpa. 10 IN SOA gateway.127.168.192.in-addr.arpa. "                               \
        "hostmaster.127.168.192.in-addr.arpa. 1 3600 600 86400 10"

static void test_local_names(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);

        check_local(h, "gateway.vnet.internal", TYPE_A, "gateway.vnet.internal. 10 IN A 192.168.127.1");
        check_local(h, "host.vnet.internal", TYPE_A, "host.vnet.internal. 10 IN A 192.168.127.254");
        check_local(h, "hostbox.vnet.internal", TYPE_A, "hostbox.vnet.internal. 10 IN A 192.168.127.254");
        check_local(h, "HOST.Vnet.Internal", TYPE_A, "HOST.Vnet.Internal. 10 IN A 192.168.127.254");
        check_local(h, "gateway.vnet.internal", TYPE_ANY, "gateway.vnet.internal. 10 IN A 192.168.127.1");
        check_local(h, "gateway.containers.internal", TYPE_A, "gateway.containers.internal. 10 IN A 192.168.127.1");
        check_local(h, "host.containers.internal", TYPE_A, "host.containers.internal. 10 IN A 192.168.127.254");
        check_local(h, "vnet.internal", TYPE_SOA, SOA);
        check_local(h, "vnet.internal", TYPE_NS, "vnet.internal. 10 IN NS gateway.vnet.internal.");

        check_negative(h, "gateway.vnet.internal", TYPE_AAAA, LDNS_RCODE_NOERROR, SOA);
        check_negative(h, "gateway.vnet.internal", TYPE_TXT, LDNS_RCODE_NOERROR, SOA);
        check_negative(h, "vnet.internal", TYPE_A, LDNS_RCODE_NOERROR, SOA);
        check_negative(h, "nobody.vnet.internal", TYPE_A, LDNS_RCODE_NXDOMAIN, SOA);
        check_negative(h, "a.gateway.vnet.internal", TYPE_A, LDNS_RCODE_NXDOMAIN, SOA);
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 0); /* none of it ever left */

        g_autoptr(ldns_pkt) any = ask(h, query("vnet.internal", TYPE_ANY));
        check_counts(any, LDNS_RCODE_NOERROR, 2, 0);

        check_relayed(h, "example.org", TYPE_A);
        check_relayed(h, "internal", TYPE_A);
        check_relayed(h, "xvnet.internal", TYPE_A);
        check_relayed(h, "other.containers.internal", TYPE_A);
        check_relayed(h, "a.host.containers.internal", TYPE_A);
        check_relayed(h, "gateway", TYPE_A);
        check_relayed(h, "", TYPE_NS);
}

static void test_local_guests(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);

        add_guest(h, "192.168.127.9", "web", 100 * USEC_PER_SEC);
        check_local(h, "web.vnet.internal", TYPE_A, "web.vnet.internal. 10 IN A 192.168.127.9");
        check_local(h, "WEB", TYPE_A, "WEB. 10 IN A 192.168.127.9");
        check_negative(h, "web", TYPE_AAAA, LDNS_RCODE_NOERROR, "web. 10 IN SOA gateway.web. hostmaster.web. 1 3600 600 86400 10");
        check_local(h, "9.127.168.192.in-addr.arpa", TYPE_PTR, "9.127.168.192.in-addr.arpa. 10 IN PTR web.vnet.internal.");

        fake_advance(h, 100 * USEC_PER_SEC);
        check_negative(h, "web.vnet.internal", TYPE_A, LDNS_RCODE_NXDOMAIN, SOA);
        check_negative(h, "9.127.168.192.in-addr.arpa", TYPE_PTR, LDNS_RCODE_NXDOMAIN, SOA_REVERSE);
        check_relayed(h, "web", TYPE_A);
}

static void test_local_reverse(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);

        check_local(h, "1.127.168.192.in-addr.arpa", TYPE_PTR, "1.127.168.192.in-addr.arpa. 10 IN PTR gateway.vnet.internal.");
        check_local(h, "254.127.168.192.IN-ADDR.ARPA", TYPE_PTR, "254.127.168.192.IN-ADDR.ARPA. 10 IN PTR host.vnet.internal.");
        check_negative(h, "77.127.168.192.in-addr.arpa", TYPE_PTR, LDNS_RCODE_NXDOMAIN, SOA_REVERSE);
        check_negative(h, "1.127.168.192.in-addr.arpa", TYPE_A, LDNS_RCODE_NOERROR, SOA_REVERSE);
        check_negative(h, "127.168.192.in-addr.arpa", TYPE_PTR, LDNS_RCODE_NOERROR, SOA_REVERSE);
        check_negative(h, "x.1.127.168.192.in-addr.arpa", TYPE_PTR, LDNS_RCODE_NXDOMAIN, SOA_REVERSE);
        check_negative(h, "01.127.168.192.in-addr.arpa", TYPE_PTR, LDNS_RCODE_NXDOMAIN, SOA_REVERSE);
        check_negative(h, "256.127.168.192.in-addr.arpa", TYPE_PTR, LDNS_RCODE_NXDOMAIN, SOA_REVERSE);

        check_relayed(h, "1.126.168.192.in-addr.arpa", TYPE_PTR);
        check_relayed(h, "168.192.in-addr.arpa", TYPE_PTR);
        check_relayed(h, "in-addr.arpa", TYPE_PTR);
        check_relayed(h, "1.127.168.192.ip6.arpa", TYPE_PTR);
}

/* A domain so long that an answer outgrows 512 bytes. */
static char long_domain[254];
static void configure_long(NetstackConfig *c) {
        for (size_t i = 0; i < sizeof(long_domain) - 1; i++)
                long_domain[i] = i % 60 == 59 ? '.' : 'd';
        long_domain[240] = 0;
        free(c->domain);
        c->domain = strdup(long_domain);
}

#define NIBBLES6 "0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa" /* fd00:1::/64 */
#define SOA_REVERSE6 NIBBLES6 ". 10 IN SOA gateway." NIBBLES6 ". hostmaster." NIBBLES6 ". 1 3600 600 86400 10"

/* A network with IPv6: AAAA of the fixed names, and of a guest by the address its station was seen to use. */
static void test_local_ip6(void) {
        g_autoptr(FakeHost) h = host_new(1, fake_ip6);
        IpAddr web4 = fake_ip("192.168.127.9"), web6 = fake_ip("fd00:1::1234");
        Lease lease = { .addr = web4, .mac = FAKE_GUEST_MAC, .hostname = "web", .expires = USEC_INFINITY };

        check_local(h, "gateway.vnet.internal", TYPE_AAAA, "gateway.vnet.internal. 10 IN AAAA fd00:1::1");
        check_local(h, "host.vnet.internal", TYPE_AAAA, "host.vnet.internal. 10 IN AAAA fd00:1::fe");
        check_local(h, "host.containers.internal", TYPE_AAAA, "host.containers.internal. 10 IN AAAA fd00:1::fe");
        check_local(h, "gateway.vnet.internal", TYPE_A, "gateway.vnet.internal. 10 IN A 192.168.127.1");
        check_local(h, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0." NIBBLES6, TYPE_PTR,
                    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0." NIBBLES6 ". 10 IN PTR gateway.vnet.internal.");
        check_local(h, "E.F.0.0.0.0.0.0.0.0.0.0.0.0.0.0." NIBBLES6, TYPE_PTR,
                    "E.F.0.0.0.0.0.0.0.0.0.0.0.0.0.0." NIBBLES6 ". 10 IN PTR host.vnet.internal.");
        check_negative(h, "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0." NIBBLES6, TYPE_PTR, LDNS_RCODE_NXDOMAIN, SOA_REVERSE6);
        check_negative(h, "0.0." NIBBLES6, TYPE_PTR, LDNS_RCODE_NOERROR, SOA_REVERSE6);
        check_negative(h, "10.0." NIBBLES6, TYPE_PTR, LDNS_RCODE_NXDOMAIN, SOA_REVERSE6);
        check_relayed(h, "0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa", TYPE_PTR);

        g_assert_cmpint(netstack_add_lease(h->stack, &lease), ==, 0);
        check_negative(h, "web.vnet.internal", TYPE_AAAA, LDNS_RCODE_NOERROR, SOA); /* not seen yet */
        arp_learn(h->stack->arp, &web4, &FAKE_GUEST_MAC);
        arp_learn(h->stack->arp, &web6, &FAKE_GUEST_MAC);
        check_local(h, "web.vnet.internal", TYPE_AAAA, "web.vnet.internal. 10 IN AAAA fd00:1::1234");
        check_local(h, "web", TYPE_A, "web. 10 IN A 192.168.127.9");
        check_local(h, "4.3.2.1.0.0.0.0.0.0.0.0.0.0.0.0." NIBBLES6, TYPE_PTR,
                    "4.3.2.1.0.0.0.0.0.0.0.0.0.0.0.0." NIBBLES6 ". 10 IN PTR web.vnet.internal.");
}

static void test_local_edns(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);
        g_autoptr(ldns_pkt) plain = ask(h, query_edns("host.vnet.internal", TYPE_A, 1, 4096, 0));
        check_counts(plain, LDNS_RCODE_NOERROR, 1, 0);
        g_assert_true(ldns_pkt_edns(plain));
        g_assert_cmpuint(ldns_pkt_edns_udp_size(plain), ==, DNS_UDP_ROOM_MAX);

        g_autoptr(ldns_pkt) version = ask(h, query_edns("host.vnet.internal", TYPE_A, 1, 4096, 1));
        g_assert_cmpuint(ldns_pkt_edns_extended_rcode(version) << 4 | ldns_pkt_get_rcode(version), ==, 16);
        g_assert_cmpuint(ldns_pkt_ancount(version), ==, 0);

        g_autoptr(ldns_pkt) chaos = ask(h, query_edns("host.vnet.internal", TYPE_TXT, 3, 0, 0));
        g_assert_cmpint(ldns_pkt_get_rcode(chaos), ==, LDNS_RCODE_REFUSED);

        /* An additional section that lies. */
        GByteArray *lie = query("host.vnet.internal", TYPE_A);
        lie->data[11] = 3;
        g_autoptr(ldns_pkt) refused = ask(h, lie);
        g_assert_cmpint(ldns_pkt_get_rcode(refused), ==, LDNS_RCODE_FORMERR);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_MALFORMED), ==, 1);
}

static void test_local_longest(void) {
        g_autoptr(FakeHost) h = host_new(1, configure_long);
        g_autoptr(ldns_pkt) soa = ask(h, query(long_domain, TYPE_SOA)); /* compressed it fits */
        g_assert_cmpint(ldns_pkt_get_rcode(soa), ==, LDNS_RCODE_NOERROR);
        g_assert_cmpuint(ldns_pkt_ancount(soa), ==, 1);

        g_autofree char *label = g_strdup_printf("gateway.%s", long_domain);
        g_autoptr(ldns_pkt) gateway = ask(h, query(label, TYPE_A));
        g_assert_cmpuint(ldns_pkt_ancount(gateway), ==, 1);
        g_autoptr(ldns_pkt) ptr = ask(h, query("1.127.168.192.in-addr.arpa", TYPE_PTR));
        g_assert_cmpuint(ldns_pkt_ancount(ptr), ==, 1);
}

/* Nothing of ours is as long as 512 bytes today: so the limit is brought nearer. */
static void test_local_truncated(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);
        g_autoptr(GByteArray) plain = query("host.vnet.internal", TYPE_A), edns = query_edns("host.vnet.internal", TYPE_A, 1, 400, 0);
        const size_t exact = 12 + 24 + 16;

        for (size_t room = exact - 1; room <= exact; room++) {
                DnsAnswer a = {};
                DnsHeader header;
                DnsQuestion question;

                g_assert_cmpint(dns_query_read(plain->data, plain->len, &header, &question), ==, DNS_RCODE_OK);
                g_assert_cmpint(dns_local_answer(h->stack, plain->data, plain->len, &question, room, &a), ==, 1);
                GByteArray m = { .data = a.data, .len = a.len };
                g_autoptr(ldns_pkt) pkt = decode(&m);
                g_assert_cmpint(ldns_pkt_tc(pkt), ==, room < exact);
                g_assert_cmpuint(ldns_pkt_ancount(pkt), ==, room == exact);
                g_assert_cmpuint(ldns_pkt_qdcount(pkt), ==, 1);
                free(a.data);

                /* The client's own word goes further. */
                g_assert_cmpint(dns_local_answer(h->stack, edns->data, edns->len, &question, room, &a), ==, 1);
                GByteArray e = { .data = a.data, .len = a.len };
                g_autoptr(ldns_pkt) more = decode(&e);
                g_assert_false(ldns_pkt_tc(more));
                free(a.data);
        }
}

/* ---- relaying by UDP ---- */

/* The answer a resolver gives to the query it was sent: the same question, @n bytes behind it. (owned) */
static GByteArray *upstream_answer(const uint8_t *q, size_t len, size_t n) {
        GByteArray *m = g_byte_array_new();

        g_byte_array_append(m, q, len);
        m->data[2] |= DNS_FLAG_QR >> 8;
        m->data[3] |= DNS_FLAG_RA;
        g_byte_array_set_size(m, len + n);
        memset(m->data + len, 0x5a, n);
        return m;
}

static void check_same_but_id(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len) {
        g_assert_cmpmem(a + 2, a_len - 2, b + 2, b_len - 2);
}

/* A run of datagrams (USO) is as many queries, and the last may be shorter. */
static void test_run(void) {
        static const char *const names[] = { "gateway.vnet.internal", "Gateway.vnet.internal", "host.vnet.internal" };
        g_autoptr(FakeHost) h = host_new(1, NULL);
        g_autoptr(GByteArray) all = g_byte_array_new();
        Packet4 p = packet4("192.168.127.1", 53);
        size_t each = 0;

        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autoptr(GByteArray) q = query(names[i], TYPE_A);

                each = MAX(each, (size_t) q->len);
                g_byte_array_append(all, q->data, q->len);
        }
        g_autoptr(GByteArray) frame = packet_udp(&p, all->data, all->len);
        struct virtio_net_hdr_v1 hdr = {
                .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = htole16((uint16_t) each),
                .hdr_len = htole16(42), .csum_start = htole16(34), .csum_offset = htole16(6),
        };
        fake_input_hdr(h, &hdr, frame->data, frame->len);
        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autoptr(GByteArray) m = take_udp(h);
                g_assert_nonnull(m);
                g_autoptr(ldns_pkt) pkt = decode(m);

                check_counts(pkt, LDNS_RCODE_NOERROR, 1, 0);
        }
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_relay(void) {
        g_autoptr(FakeHost) h = host_new(2, NULL);
        g_autoptr(GByteArray) q = query_edns("Example.ORG", TYPE_TXT, 1, 1232, 0);
        Endpoint resolver = fake_endpoint(resolvers[0]), other = fake_endpoint(resolvers[1]);
        uint16_t ids[2];
        int fds[2];

        for (unsigned i = 0; i < 2; i++) {
                send_udp_from(h, "192.168.127.2", q);
                FakeSocket *k = fake_last_socket(h, FAKE_UDP);
                const FakeDgram *d = fake_sent(k, 0);

                g_assert_true(endpoint_equal(&d->peer, &resolver));
                check_same_but_id(d->data, d->len, q->data, q->len);
                ids[i] = dns_id_get(d->data);
                fds[i] = k->fd;

                g_autoptr(GByteArray) a = upstream_answer(d->data, d->len, 900);
                uint64_t before = fake_drops(h, DROP_DNS_UPSTREAM);

                /* From elsewhere, another id, another question, a question instead of an answer, cut short: all refused. */
                fake_dgram_push(h, k, &other, a->data, a->len);
                a->data[0] ^= 1;
                fake_dgram_push(h, k, &resolver, a->data, a->len);
                a->data[0] ^= 1;
                a->data[DNS_HEADER_LEN + 1] = 'y';
                fake_dgram_push(h, k, &resolver, a->data, a->len);
                a->data[DNS_HEADER_LEN + 1] = 'e'; /* the case may change */
                a->data[2] &= 0x7f;
                fake_dgram_push(h, k, &resolver, a->data, a->len);
                a->data[2] |= 0x80;
                fake_dgram_push(h, k, &resolver, a->data, DNS_HEADER_LEN + 3);
                fake_dgram_push(h, k, &resolver, a->data, 0);
                fake_run(h);
                g_assert_cmpuint(fake_drops(h, DROP_DNS_UPSTREAM), ==, before + 6);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);

                fake_dgram_push(h, k, &resolver, a->data, a->len);
                fake_run(h);
                g_autoptr(GByteArray) got = take_udp(h);
                g_assert_cmpuint(dns_id_get(got->data), ==, CLIENT_ID);
                check_same_but_id(got->data, got->len, a->data, a->len);
                g_assert_false(k->open);
        }
        g_assert_cmpuint(ids[0], !=, ids[1]);
        g_assert_cmpint(fds[0], !=, fds[1]);
        g_assert_cmpuint(h->n_open, ==, 0);
        fake_advance(h, 60 * USEC_PER_SEC);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

/* An error without a question is an answer, too; success without one is not. Larger than a frame comes in fragments. */
static void test_relay_odd_answers(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);
        g_autoptr(GByteArray) q = query("example.org", TYPE_A);
        Endpoint resolver = fake_endpoint(resolvers[0]);
        uint8_t bare[DNS_HEADER_LEN] = { 0, 0, 0x80, 0 };

        send_udp_from(h, "192.168.127.2", q);
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        memcpy(bare, fake_sent(k, 0)->data, 2);
        fake_dgram_push(h, k, &resolver, bare, sizeof(bare));
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        bare[3] = LDNS_RCODE_REFUSED;
        fake_dgram_push(h, k, &resolver, bare, sizeof(bare));
        fake_run(h);
        g_autoptr(GByteArray) got = take_udp(h);
        g_assert_cmpuint(got->len, ==, DNS_HEADER_LEN);
        g_assert_cmpuint(got->data[3], ==, LDNS_RCODE_REFUSED);

        /* Two datagrams the socket put into one: a stranger's and the answer. */
        send_udp_from(h, "192.168.127.2", q);
        k = fake_last_socket(h, FAKE_UDP);
        g_autoptr(GByteArray) a = upstream_answer(fake_sent(k, 0)->data, fake_sent(k, 0)->len, 0);
        g_autoptr(GByteArray) two = g_byte_array_new();
        g_byte_array_append(two, a->data, a->len);
        two->data[0] ^= 1;
        g_byte_array_append(two, a->data, a->len);
        fake_dgram_push_gso(h, k, &resolver, two->data, two->len, a->len);
        fake_run(h);
        g_autoptr(GByteArray) second = take_udp(h);
        g_assert_cmpuint(second->len, ==, a->len);

        send_udp_from(h, "192.168.127.2", q);
        k = fake_last_socket(h, FAKE_UDP);
        g_autoptr(GByteArray) big = upstream_answer(fake_sent(k, 0)->data, fake_sent(k, 0)->len, 4096);
        fake_dgram_push(h, k, &resolver, big->data, big->len);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 3);
        fake_clear_frames(h);
}

static void check_servfail(FakeHost *h) {
        g_autoptr(GByteArray) got = take_udp(h);

        g_assert_nonnull(got);
        g_autoptr(ldns_pkt) pkt = decode(got);
        check_counts(pkt, LDNS_RCODE_SERVFAIL, 0, 0);
        g_assert_cmpuint(h->n_open, ==, 0);
}

static void test_failover(void) {
        g_autoptr(FakeHost) h = host_new(3, NULL);
        g_autoptr(GByteArray) q = query("example.org", TYPE_A);
        FakeSocket *k[3];

        send_udp_from(h, "192.168.127.2", q);
        for (unsigned i = 0; i < 3; i++) {
                Endpoint resolver = fake_endpoint(resolvers[i]);

                k[i] = fake_last_socket(h, FAKE_UDP);
                g_assert_true(endpoint_equal(&fake_sent(k[i], 0)->peer, &resolver));
                g_assert_cmpuint(h->n_open, ==, 1);
                if (i > 0)
                        g_assert_cmpuint(dns_id_get(fake_sent(k[i], 0)->data), !=, dns_id_get(fake_sent(k[i - 1], 0)->data));
                if (i > 0) { /* an event of the socket before is nobody's */
                        unsigned n_recvs = k[i]->n_recvs;

                        netstack_host_event(h->stack, k[i - 1]->cookie, HOST_EVENT_IN | HOST_EVENT_ERROR);
                        g_assert_cmpuint(k[i]->n_recvs, ==, n_recvs);
                }
                fake_advance(h, DNS_TIMEOUT_USEC - 1);
                g_assert_true(k[i]->open);
                fake_advance(h, 1);
                g_assert_false(k[i]->open);
        }
        check_servfail(h);

        /* Refusals and sockets that cannot be had go on at once. */
        send_udp_from(h, "192.168.127.2", q);
        for (unsigned i = 0; i < 3; i++) {
                HostError e = { .error = ECONNREFUSED, .peer = fake_endpoint(resolvers[(i + 1) % 3]) };

                k[0] = fake_last_socket(h, FAKE_UDP);
                fake_dgram_push_error(h, k[0], &e); /* about somebody else */
                fake_run(h);
                g_assert_true(k[0]->open);
                e.peer = fake_endpoint(resolvers[i]);
                fake_dgram_push_error(h, k[0], &e);
                fake_run(h);
                g_assert_false(k[0]->open);
        }
        check_servfail(h);

        h->open_error = -EMFILE;
        send_udp_from(h, "192.168.127.2", q);
        check_servfail(h);
        h->open_error = 0;

        netstack_set_resolvers(h->stack, NULL, 0, NULL, 0);
        send_udp_from(h, "192.168.127.2", q);
        check_servfail(h);
}

/* Somebody fills a query's socket with what is no answer, faster than it can be read: after some of it the query has another socket. */
static void test_flooded(void) {
        g_autoptr(FakeHost) h = host_new(2, NULL);
        g_autoptr(GByteArray) q = query("example.org", TYPE_A);
        Endpoint resolver = fake_endpoint(resolvers[0]), second = fake_endpoint(resolvers[1]);
        HostError e = { .error = ECONNREFUSED, .peer = fake_endpoint("192.0.2.99:53") };

        send_udp_from(h, "192.168.127.2", q);
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        g_autoptr(GByteArray) a = upstream_answer(fake_sent(k, 0)->data, fake_sent(k, 0)->len, 0);
        a->data[0] ^= 1;
        for (unsigned i = 0; i < 10 * DNS_READS_MAX; i++)
                fake_dgram_push(h, k, &resolver, a->data, a->len);
        fake_run(h);
        g_assert_cmpuint(k->n_recvs, ==, DNS_READS_MAX);
        g_assert_false(k->open);
        g_assert_cmpuint(h->n_open, ==, 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        k = fake_last_socket(h, FAKE_UDP); /* errors about others */
        g_assert_true(endpoint_equal(&fake_sent(k, 0)->peer, &second));
        for (unsigned i = 0; i < 10 * DNS_READS_MAX; i++)
                fake_dgram_push_error(h, k, &e);
        netstack_host_event(h->stack, k->cookie, HOST_EVENT_ERROR);
        g_assert_cmpuint(g_queue_get_length(&k->errors), >=, 9 * DNS_READS_MAX);
        g_assert_true(k->open);

        g_autoptr(GByteArray) right = upstream_answer(fake_sent(k, 0)->data, fake_sent(k, 0)->len, 0);
        fake_dgram_push(h, k, &second, right->data, right->len);
        fake_run(h);
        g_autoptr(GByteArray) got = take_udp(h);
        g_assert_cmpuint(got->len, ==, right->len);
        g_assert_cmpuint(h->n_open, ==, 0);
}

/* The one that answered in place of a silent one goes first, for a while. */
static void test_preference(void) {
        g_autoptr(FakeHost) h = host_new(2, NULL);
        g_autoptr(GByteArray) q = query("example.org", TYPE_A);
        Endpoint first = fake_endpoint(resolvers[0]), second = fake_endpoint(resolvers[1]);
        FakeSocket *k;

        send_udp_from(h, "192.168.127.2", q);
        fake_advance(h, DNS_TIMEOUT_USEC);
        k = fake_last_socket(h, FAKE_UDP);
        g_autoptr(GByteArray) a = upstream_answer(fake_sent(k, 0)->data, fake_sent(k, 0)->len, 0);
        fake_dgram_push(h, k, &second, a->data, a->len);
        fake_run(h);
        fake_clear_frames(h);

        send_udp_from(h, "192.168.127.2", q);
        g_assert_true(endpoint_equal(&fake_sent(fake_last_socket(h, FAKE_UDP), 0)->peer, &second));
        fake_advance(h, DNS_PREFER_USEC);
        fake_clear_frames(h);
        send_udp_from(h, "192.168.127.2", q);
        g_assert_true(endpoint_equal(&fake_sent(fake_last_socket(h, FAKE_UDP), 0)->peer, &first));
}

static void test_limits(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);
        g_autoptr(GByteArray) q = query("example.org", TYPE_A);

        for (unsigned guest = 0; guest < DNS_PENDING_MAX / DNS_PENDING_GUEST_MAX; guest++) {
                g_autofree char *addr = g_strdup_printf("192.168.127.%u", 2 + guest);

                h->port.id = 1 + guest;
                for (unsigned i = 0; i < DNS_PENDING_GUEST_MAX; i++)
                        send_udp_from(h, addr, q);
                g_assert_cmpuint(fake_drops(h, DROP_DNS_LIMIT), ==, 0);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
                if (guest > 0)
                        continue;

                /* One guest at its limit; the next queries of the others pass. */
                send_udp_from(h, addr, q);
                g_assert_cmpuint(fake_drops(h, DROP_DNS_LIMIT), ==, 1);
                g_autoptr(GByteArray) got = take_udp(h);
                g_autoptr(ldns_pkt) pkt = decode(got);
                g_assert_cmpint(ldns_pkt_get_rcode(pkt), ==, LDNS_RCODE_SERVFAIL);
                h->stack->counters.drops[DROP_DNS_LIMIT] = 0;
        }
        g_assert_cmpuint(h->n_open, ==, DNS_PENDING_MAX);
        send_udp_from(h, "192.168.127.99", q);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_LIMIT), ==, 1);
        /* Names of ours need no place. */
        fake_clear_frames(h);
        check_local(h, "host.vnet.internal", TYPE_A, "host.vnet.internal. 10 IN A 192.168.127.254");

        fake_advance(h, DNS_TRIES_MAX * DNS_TIMEOUT_USEC);
        g_assert_cmpuint(h->n_open, ==, 0);
        fake_clear_frames(h);
        check_relayed(h, "example.org", TYPE_A);
}

/* Addresses a guest has as many as it likes: behind one port there are not all places. */
static void test_limit_of_a_port(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);
        g_autoptr(GByteArray) q = query("example.org", TYPE_A);

        h->port.id = 1;
        for (unsigned i = 0; i < DNS_PENDING_MAX; i++) {
                g_autofree char *addr = g_strdup_printf("192.168.127.%u", 2 + i % 100);

                send_udp_from(h, addr, q);
        }
        g_assert_cmpuint(h->n_open, ==, DNS_PENDING_PORT_MAX);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_LIMIT), ==, DNS_PENDING_MAX - DNS_PENDING_PORT_MAX);
        h->port.id = 2;
        send_udp_from(h, "192.168.127.200", q);
        g_assert_cmpuint(h->n_open, ==, DNS_PENDING_PORT_MAX + 1);
        fake_clear_frames(h);
}

static void test_query_size(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);
        g_autoptr(GByteArray) q = query("example.org", TYPE_A);
        guint len = q->len;

        g_byte_array_set_size(q, DNS_QUERY_MAX + 1);
        memset(q->data + len, 0, q->len - len);
        h->port.mtu = 9000;
        send_udp_from(h, "192.168.127.2", q);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_LIMIT), ==, 1);
        check_servfail(h);
        g_byte_array_set_size(q, DNS_QUERY_MAX);
        send_udp_from(h, "192.168.127.2", q);
        g_assert_cmpuint(fake_sent(fake_last_socket(h, FAKE_UDP), 0)->len, ==, DNS_QUERY_MAX);
}

static void test_rate(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);
        g_autoptr(GByteArray) q = query("host.vnet.internal", TYPE_A);

        for (unsigned i = 0; i < DNS_GUEST_BURST; i++) {
                send_udp_from(h, "192.168.127.2", q);
                fake_clear_frames(h);
        }
        g_assert_cmpuint(fake_drops(h, DROP_DNS_RATE), ==, 0);
        send_udp_from(h, "192.168.127.2", q);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_RATE), ==, 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        send_udp_from(h, "192.168.127.3", q);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_RATE), ==, 1);
        fake_clear_frames(h);
        fake_advance(h, USEC_PER_SEC / DNS_GUEST_PER_SEC);
        send_udp_from(h, "192.168.127.2", q);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        send_udp_from(h, "192.168.127.2", q);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_RATE), ==, 2);
        fake_clear_frames(h);
}

static void check_rcode(FakeHost *h, GByteArray *m, int rcode) {
        g_autoptr(GByteArray) asked = m, got = NULL;

        send_udp_from(h, "192.168.127.2", asked);
        got = take_udp(h);
        g_assert_nonnull(got);
        g_assert_cmpuint(dns_id_get(got->data), ==, CLIENT_ID);
        g_assert_cmpuint(got->data[3] & DNS_FLAG_RCODE, ==, rcode);
        g_assert_cmpuint(got->data[2] >> 7, ==, 1);
}

static void test_malformed(void) {
        g_autoptr(FakeHost) h = host_new(1, NULL);
        g_autoptr(GByteArray) whole = query("host.vnet.internal", TYPE_A);
        GByteArray *m;

        /* Cut anywhere: without a header silence, with one FORMERR. */
        for (guint len = 0; len < whole->len; len++) {
                uint64_t before = fake_drops(h, DROP_DNS_MALFORMED);

                m = g_byte_array_new();
                g_byte_array_append(m, whole->data, len);
                if (len < DNS_HEADER_LEN) {
                        send_udp_from(h, "192.168.127.2", m);
                        g_assert_cmpuint(fake_n_frames(h), ==, 0);
                        g_byte_array_unref(m);
                } else
                        check_rcode(h, m, LDNS_RCODE_FORMERR);
                g_assert_cmpuint(fake_drops(h, DROP_DNS_MALFORMED), ==, before + 1);
        }

        m = query("host.vnet.internal", TYPE_A);
        m->data[2] |= 0x80; /* an answer: never answered */
        send_udp_from(h, "192.168.127.2", m);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_byte_array_unref(m);

        m = query("host.vnet.internal", TYPE_A);
        m->data[2] |= 5 << 3; /* UPDATE */
        check_rcode(h, m, LDNS_RCODE_NOTIMPL);
        m = query("host.vnet.internal", TYPE_A);
        m->data[5] = 2;
        check_rcode(h, m, LDNS_RCODE_FORMERR);
        m = query("host.vnet.internal", TYPE_A);
        m->data[5] = 0;
        check_rcode(h, m, LDNS_RCODE_FORMERR);
        m = query("host.vnet.internal", TYPE_A);
        m->data[DNS_HEADER_LEN] = 0xc0; /* a pointer */
        check_rcode(h, m, LDNS_RCODE_FORMERR);
        m = query("host.vnet.internal", TYPE_A);
        m->data[DNS_HEADER_LEN] = 0x40;
        check_rcode(h, m, LDNS_RCODE_FORMERR);
        check_rcode(h, query("example.org", DNS_TYPE_AXFR), LDNS_RCODE_REFUSED);
        check_rcode(h, query("vnet.internal", DNS_TYPE_IXFR), LDNS_RCODE_REFUSED);
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 0);

        /* The longest name there is passes; one byte more does not. */
        char name[256];
        memset(name, 'a', sizeof(name));
        name[63] = name[127] = name[191] = '.';
        name[253] = 0;
        check_relayed(h, name, TYPE_A);
        m = query(name, TYPE_A);
        m->data[DNS_HEADER_LEN + 192] = 62; /* the last label, one longer, over what was the root */
        check_rcode(h, m, LDNS_RCODE_FORMERR);

        /* A NUL or a dot inside a label is no name of ours. */
        m = query("host-x.vnet.internal", TYPE_A);
        m->data[DNS_HEADER_LEN + 5] = 0;
        g_autoptr(ldns_pkt) nul = ask(h, m);
        g_assert_cmpint(ldns_pkt_get_rcode(nul), ==, LDNS_RCODE_NXDOMAIN);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dns/local/names", test_local_names);
        g_test_add_func("/dns/local/guests", test_local_guests);
        g_test_add_func("/dns/local/reverse", test_local_reverse);
        g_test_add_func("/dns/local/ip6", test_local_ip6);
        g_test_add_func("/dns/local/edns", test_local_edns);
        g_test_add_func("/dns/local/longest", test_local_longest);
        g_test_add_func("/dns/local/truncated", test_local_truncated);
        g_test_add_func("/dns/run", test_run);
        g_test_add_func("/dns/relay", test_relay);
        g_test_add_func("/dns/relay/odd-answers", test_relay_odd_answers);
        g_test_add_func("/dns/relay/failover", test_failover);
        g_test_add_func("/dns/flooded", test_flooded);
        g_test_add_func("/dns/relay/preference", test_preference);
        g_test_add_func("/dns/limits", test_limits);
        g_test_add_func("/dns/limit-of-a-port", test_limit_of_a_port);
        g_test_add_func("/dns/query-size", test_query_size);
        g_test_add_func("/dns/rate", test_rate);
        g_test_add_func("/dns/malformed", test_malformed);
        return g_test_run();
}
