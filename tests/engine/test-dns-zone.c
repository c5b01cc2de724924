/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Zones, domains with resolvers of their own and the cache, through the whole gateway. */

#include <ldns/ldns.h>

#include "netstack/arp.h"
#include "netstack/dns-private.h"
#include "packet.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ldns_pkt, ldns_pkt_free)

static FakeHost *host_new(void) {
        FakeHost *h = fake_host_new(NULL);
        IpAddr guest = fake_ip("192.168.127.2");
        MacAddr mac = FAKE_GUEST_MAC;
        Endpoint resolver = fake_endpoint("192.0.2.1:53");

        netstack_set_resolvers(h->stack, &resolver, 1, NULL, 0);
        arp_learn(h->stack->arp, &guest, &mac);
        return h;
}

/* "NAME TYPE VALUE" for each record. */
static void put_zone(FakeHost *h, const char *name, const char *fallback, bool loose, const char *const *records) {
        DnsZoneSpec spec = { .name = strdup(name), .default_address = fallback ? strdup(fallback) : NULL, .loose = loose, .ttl = 30 };
        DnsZone *z;

        for (; *records; records++) {
                g_auto(GStrv) w = g_strsplit(*records, " ", 3);

                g_assert_cmpint(dns_zone_spec_add(&spec, w[0], w[1], w[2]), ==, 0);
        }
        g_assert_cmpint(dns_zone_new(&z, &spec, NULL, NULL), ==, 0);
        g_assert_cmpint(netstack_set_zone(h->stack, z), ==, 0);
        dns_zone_spec_deinit(&spec);
}
#define PUT_ZONE(h, name, fallback, loose, ...) put_zone(h, name, fallback, loose, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static GByteArray *query(const char *name, ldns_rr_type type) {
        g_autoptr(ldns_pkt) q = NULL;
        GByteArray *m = g_byte_array_new();
        uint8_t *wire;
        size_t len;

        q = ldns_pkt_query_new(ldns_dname_new_frm_str(name), type, LDNS_RR_CLASS_IN, LDNS_RD);
        ldns_pkt_set_id(q, 0x4242);
        g_assert_cmpint(ldns_pkt2wire(&wire, q, &len), ==, LDNS_STATUS_OK);
        g_byte_array_append(m, wire, (guint) len);
        free(wire);
        return m;
}

/* The rcode and records of an answer as one text; "relayed" when it went to a resolver instead. */
static char *ask(FakeHost *h, const char *name, ldns_rr_type type) {
        g_autoptr(GByteArray) m = query(name, type);
        Packet4 p = packet4("192.168.127.1", 53);
        g_autoptr(FakeFrame) f = NULL;
        g_autoptr(ldns_pkt) pkt = NULL;
        GString *s;
        Parsed reply;

        packet_send(h, packet_udp(&p, m->data, m->len));
        f = fake_take_frame(h);
        if (!f)
                return g_strdup("relayed");
        reply = packet_parse(f);
        g_assert_cmpint(ldns_wire2pkt(&pkt, reply.payload, reply.payload_len), ==, LDNS_STATUS_OK);
        g_assert_cmpuint(ldns_pkt_id(pkt), ==, 0x4242);
        s = g_string_new(ldns_pkt_get_rcode(pkt) == LDNS_RCODE_NXDOMAIN ? "NXDOMAIN" : ldns_pkt_get_rcode(pkt) == 0 ? "OK" : "error");
        for (size_t i = 0; i < ldns_pkt_ancount(pkt); i++) {
                char *text = ldns_rr2str(ldns_rr_list_rr(ldns_pkt_answer(pkt), i));

                g_strdelimit(g_strchomp(text), "\t", ' ');
                g_string_append_printf(s, " | %s", text);
                free(text);
        }
        if (ldns_pkt_ancount(pkt) == 0)
                g_assert_cmpuint(ldns_pkt_nscount(pkt), ==, 1); /* a no says for how long */
        return g_string_free(s, FALSE);
}

static void check(FakeHost *h, const char *name, ldns_rr_type type, const char *expect) {
        g_autofree char *found = ask(h, name, type);

        g_assert_cmpstr(found, ==, expect);
}

static void test_records(void) {
        g_autoptr(FakeHost) h = host_new();

        PUT_ZONE(h, "lab.test", NULL, false, "www A 10.1.1.1", "www TXT hello", "@ MX 10 www", "c CNAME www", "d CNAME c", "loop CNAME loop",
                 "out CNAME www.example.com.", "gw CNAME gateway.vnet.internal.", "_s._tcp SRV 0 0 80 www", "six AAAA fd00::6");
        check(h, "www.lab.test", LDNS_RR_TYPE_A, "OK | www.lab.test. 30 IN A 10.1.1.1");
        check(h, "WWW.Lab.test", LDNS_RR_TYPE_A, "OK | WWW.Lab.test. 30 IN A 10.1.1.1");
        check(h, "www.lab.test", LDNS_RR_TYPE_AAAA, "OK");
        check(h, "six.lab.test", LDNS_RR_TYPE_AAAA, "OK | six.lab.test. 30 IN AAAA fd00::6");
        check(h, "six.lab.test", LDNS_RR_TYPE_A, "OK");
        check(h, "www.lab.test", LDNS_RR_TYPE_ANY, "OK | www.lab.test. 30 IN A 10.1.1.1 | www.lab.test. 30 IN TXT \"hello\"");
        check(h, "lab.test", LDNS_RR_TYPE_MX, "OK | lab.test. 30 IN MX 10 www.lab.test.");
        check(h, "lab.test", LDNS_RR_TYPE_NS, "OK | lab.test. 30 IN NS gateway.lab.test.");
        check(h, "_s._tcp.lab.test", LDNS_RR_TYPE_SRV, "OK | _s._tcp.lab.test. 30 IN SRV 0 0 80 www.lab.test.");
        check(h, "d.lab.test", LDNS_RR_TYPE_A,
              "OK | d.lab.test. 30 IN CNAME c.lab.test. | c.lab.test. 30 IN CNAME www.lab.test. | www.lab.test. 30 IN A 10.1.1.1");
        check(h, "d.lab.test", LDNS_RR_TYPE_CNAME, "OK | d.lab.test. 30 IN CNAME c.lab.test.");
        check(h, "out.lab.test", LDNS_RR_TYPE_A, "OK | out.lab.test. 30 IN CNAME www.example.com.");
        check(h, "gw.lab.test", LDNS_RR_TYPE_A,
              "OK | gw.lab.test. 30 IN CNAME gateway.vnet.internal. | gateway.vnet.internal. 10 IN A 192.168.127.1");
        g_autofree char *loop = ask(h, "loop.lab.test", LDNS_RR_TYPE_A); /* it ends */
        g_assert_true(g_str_has_prefix(loop, "OK | loop.lab.test."));
        check(h, "nobody.lab.test", LDNS_RR_TYPE_A, "NXDOMAIN");
        check(h, "lab.test", LDNS_RR_TYPE_A, "OK");
        check(h, "test", LDNS_RR_TYPE_A, "relayed");
}

/* The longest zone answers, set anew it has the new records, and what is removed is asked elsewhere again. */
static void test_zones(void) {
        g_autoptr(FakeHost) h = host_new();

        PUT_ZONE(h, "testing", NULL, true, "host A 192.168.127.3");
        PUT_ZONE(h, "dynamic.testing.", "192.168.127.254", true);
        check(h, "wildcard.dynamic.testing", LDNS_RR_TYPE_A, "OK | wildcard.dynamic.testing. 30 IN A 192.168.127.254");
        check(h, "wildcard.dynamic.testing", LDNS_RR_TYPE_AAAA, "OK");
        check(h, "host.testing", LDNS_RR_TYPE_A, "OK | host.testing. 30 IN A 192.168.127.3");
        check(h, "other.testing", LDNS_RR_TYPE_A, "NXDOMAIN");
        check(h, "testing", LDNS_RR_TYPE_A, "relayed"); /* a loose zone has no name of its own */
        PUT_ZONE(h, "TESTING.", NULL, false, "other A 10.0.0.1");
        g_assert_cmpuint(h->stack->dns->n_zones, ==, 2);
        check(h, "host.testing", LDNS_RR_TYPE_A, "NXDOMAIN");
        check(h, "testing", LDNS_RR_TYPE_A, "OK");
        g_assert_cmpint(netstack_remove_zone(h->stack, "testing"), ==, 0);
        g_assert_cmpint(netstack_remove_zone(h->stack, "testing"), ==, -ENOENT);
        check(h, "host.testing", LDNS_RR_TYPE_A, "relayed");
        check(h, "x.dynamic.testing", LDNS_RR_TYPE_A, "OK | x.dynamic.testing. 30 IN A 192.168.127.254");
}

/* What the network knows itself: records go before it, and all else of a zone after it. */
static void test_builtin(void) {
        g_autoptr(FakeHost) h = host_new();

        PUT_ZONE(h, "vnet.internal", "10.9.9.9", false, "gateway A 10.0.0.1");
        check(h, "gateway.vnet.internal", LDNS_RR_TYPE_A, "OK | gateway.vnet.internal. 30 IN A 10.0.0.1");
        check(h, "host.vnet.internal", LDNS_RR_TYPE_A, "OK | host.vnet.internal. 10 IN A 192.168.127.254");
        check(h, "other.vnet.internal", LDNS_RR_TYPE_A, "OK | other.vnet.internal. 30 IN A 10.9.9.9");
        PUT_ZONE(h, "containers.internal", NULL, true, "db A 10.0.0.2");
        check(h, "host.containers.internal", LDNS_RR_TYPE_A, "OK | host.containers.internal. 10 IN A 192.168.127.254");
        check(h, "db.containers.internal", LDNS_RR_TYPE_A, "OK | db.containers.internal. 30 IN A 10.0.0.2");
        PUT_ZONE(h, "internal", NULL, false, "x A 10.0.0.3"); /* shorter than the network's own domain */
        check(h, "nobody.internal", LDNS_RR_TYPE_A, "NXDOMAIN");
        check(h, "host.vnet.internal", LDNS_RR_TYPE_A, "OK | host.vnet.internal. 10 IN A 192.168.127.254");
}

static void test_zones_limit(void) {
        g_autoptr(FakeHost) h = host_new();

        for (unsigned i = 0; i <= DNS_ZONES_MAX; i++) {
                g_autofree char *name = g_strdup_printf("z%u.test", i);
                DnsZoneSpec spec = { .name = name };
                DnsZone *z;

                g_assert_cmpint(dns_zone_new(&z, &spec, NULL, NULL), ==, 0);
                g_assert_cmpint(netstack_set_zone(h->stack, z), ==, i < DNS_ZONES_MAX ? 0 : -ENOBUFS);
                if (i == DNS_ZONES_MAX)
                        dns_zone_free(z);
        }
}

static void route(FakeHost *h, const char *domain, const char *a, const char *b) {
        NetstackDnsRoute r[2] = {
                { .servers = { fake_endpoint(a) }, .n_servers = 1 },
                { .domain = "deep.corp.example", .servers = { fake_endpoint("10.0.0.99:53") }, .n_servers = 1 },
        };

        g_strlcpy(r[0].domain, domain, sizeof(r[0].domain));
        if (b)
                r[0].servers[r[0].n_servers++] = fake_endpoint(b);
        g_assert_cmpint(netstack_set_dns_routes(h->stack, r, 2), ==, 0);
}

static void check_asked(FakeHost *h, const char *name, const char *resolver) {
        FakeSocket *k;

        check(h, name, LDNS_RR_TYPE_A, "relayed");
        k = fake_last_socket(h, FAKE_UDP);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fake_sent(k, 0)->peer), ==, resolver);
}

static void test_routes(void) {
        g_autoptr(FakeHost) h = host_new();
        NetstackDnsRoute bad = { .domain = "x..y", .n_servers = 1 };

        route(h, "corp.example", "10.0.0.53:53", "10.0.0.54:5353");
        check_asked(h, "www.example", "192.0.2.1:53");
        check_asked(h, "corp.example", "10.0.0.53:53");
        check_asked(h, "a.b.CORP.example", "10.0.0.53:53");
        check_asked(h, "xcorp.example", "192.0.2.1:53");
        check_asked(h, "a.deep.corp.example", "10.0.0.99:53");

        check_asked(h, "slow.corp.example", "10.0.0.53:53"); /* and the next of its own after a while, never the others */
        fake_advance(h, DNS_TIMEOUT_USEC);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fake_sent(fake_last_socket(h, FAKE_UDP), 0)->peer), ==, "10.0.0.54:5353");
        g_assert_cmpint(netstack_set_dns_routes(h->stack, &bad, 1), ==, -EINVAL);
        bad = (NetstackDnsRoute){ .domain = "x.y" };
        g_assert_cmpint(netstack_set_dns_routes(h->stack, &bad, 1), ==, -EINVAL);
        g_assert_cmpint(netstack_set_dns_routes(h->stack, &bad, NETSTACK_DNS_ROUTES_MAX + 1), ==, -ENOBUFS);
        g_assert_cmpint(netstack_set_dns_routes(h->stack, NULL, 0), ==, 0);
        fake_clear_frames(h);
        check_asked(h, "corp.example", "192.0.2.1:53");
}

/* One TCP client asks for names of two routes: each goes to its own resolver. */
static void test_routes_tcp(void) {
        g_autoptr(FakeHost) h = host_new();
        Endpoint client = fake_endpoint("192.168.127.2:40000");
        static const char *const names[] = { "www.example", "www.corp.example" };
        static const char *const expect[] = { "192.0.2.1:53", "10.0.0.53:53" };
        int fd;

        route(h, "corp.example", "10.0.0.53:53", NULL);
        g_assert_cmpint(dns_stream_open(h->stack->dns, &client, &fd), ==, 0);
        for (unsigned i = 0; i < 2; i++) {
                g_autoptr(GByteArray) m = query(names[i], LDNS_RR_TYPE_A);
                uint8_t prefix[2] = { (uint8_t) (m->len >> 8), (uint8_t) m->len };

                g_byte_array_prepend(m, prefix, 2);
                struct iovec iov = { m->data, m->len };
                g_assert_cmpint(fake_host_ops.send(h, fd, &iov, 1), ==, m->len);
        }
        for (unsigned i = 0; i < 2; i++) {
                FakeSocket *up;
                g_autoptr(GByteArray) reply = g_byte_array_new();

                fake_run(h);
                up = fake_last_socket(h, FAKE_TCP);
                g_assert_cmpstr(ENDPOINT_TO_TEXT(&up->peer), ==, expect[i]);
                g_byte_array_append(reply, up->out->data, up->out->len);
                reply->data[4] |= 0x80; /* it is an answer now */
                fake_stream_push(h, up, reply->data, reply->len);
                fake_run(h);
                g_assert_cmpuint(fake_socket(h, fd)->in->len, ==, (i == 0 ? 0 : fake_socket(h, fd)->in->len - reply->len) + reply->len);
        }
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 2);
        fake_host_ops.close(h, fd, false);
        fake_run(h);
}

/* Answers an A query that was relayed. */
static void answer(FakeHost *h, const char *name, uint32_t ttl) {
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        const FakeDgram *q = fake_sent(k, k->sent->len - 1);
        g_autoptr(GByteArray) m = g_byte_array_new();
        const uint8_t rr[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, (uint8_t) (ttl >> 8), (uint8_t) ttl, 0, 4, 10, 7, 7, 7 };

        g_byte_array_append(m, q->data, (guint) q->len);
        m->data[2] |= 0x80;
        m->data[7] = 1;
        g_byte_array_append(m, rr, sizeof(rr));
        fake_dgram_push(h, k, &q->peer, m->data, m->len);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        fake_clear_frames(h);
}

static void test_cache(void) {
        g_autoptr(FakeHost) h = host_new();
        Endpoint resolver = fake_endpoint("192.0.2.9:53");

        check(h, "www.example", LDNS_RR_TYPE_A, "relayed");
        answer(h, "www.example", 60);
        check(h, "www.example", LDNS_RR_TYPE_A, "OK | www.example. 60 IN A 10.7.7.7");
        fake_advance(h, 10 * USEC_PER_SEC);
        check(h, "WWW.example", LDNS_RR_TYPE_A, "OK | WWW.example. 50 IN A 10.7.7.7");
        check(h, "www.example", LDNS_RR_TYPE_MX, "relayed");
        fake_advance(h, 50 * USEC_PER_SEC);
        fake_clear_frames(h);
        check(h, "www.example", LDNS_RR_TYPE_A, "relayed");
        answer(h, "www.example", 60);
        check(h, "www.example", LDNS_RR_TYPE_A, "OK | www.example. 60 IN A 10.7.7.7");
        netstack_set_resolvers(h->stack, &resolver, 1, NULL, 0); /* elsewhere names may be others */
        check(h, "www.example", LDNS_RR_TYPE_A, "relayed");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dns-zone/records", test_records);
        g_test_add_func("/dns-zone/zones", test_zones);
        g_test_add_func("/dns-zone/builtin", test_builtin);
        g_test_add_func("/dns-zone/zones-limit", test_zones_limit);
        g_test_add_func("/dns-zone/routes", test_routes);
        g_test_add_func("/dns-zone/routes-tcp", test_routes_tcp);
        g_test_add_func("/dns-zone/cache", test_cache);
        return g_test_run();
}
