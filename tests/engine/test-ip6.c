/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IPv6: headers, extension headers, fragments, errors, and UDP and ping through the gateway. */

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>

#include "fake-host.h"
#include "netstack/icmp.h"
#include "netstack/ip.h"
#include "netstack/netstack-private.h"
#include "packet.h"

#define GATEWAY6 "fd00:1::1"
#define HOST6 "fd00:1::fe"
#define LINK_LOCAL "fe80::5054:ff:fe00:1"
#define OUTSIDE6 "2001:db8::8"

/* The L4 bytes of a UDP datagram of @p. */
static GByteArray *udp_l4(const Packet4 *p, const char *text) {
        GByteArray *b = packet_udp(p, text, strlen(text));

        g_byte_array_remove_range(b, 0, 14 + 40);
        return b;
}

/* @first: the next header of the fixed header; @chain: bytes in front of a UDP datagram with @text. */
static void send_chain(FakeHost *h, const char *dst, uint8_t first, const void *chain, size_t len) {
        Packet4 p = packet4(dst, 53053);
        g_autoptr(GByteArray) l4 = udp_l4(&p, "text");

        g_byte_array_prepend(l4, chain, (guint) len);
        packet_send(h, packet_ip(&p, first, l4->data, l4->len));
}

static unsigned n_sent(FakeHost *h) {
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);

        return k ? k->sent->len : 0;
}

/* ---- in and out ---- */

static void test_udp(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        g_autoptr(FakeFrame) f = NULL;
        Packet4 p = packet4(OUTSIDE6, 4000);
        Endpoint peer = { fake_ip(OUTSIDE6), 4000 };

        p.tos = 0xb9;
        packet_send(h, packet_udp(&p, "out", 3));
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        g_assert_cmpint(k->family, ==, AF_INET6);
        g_assert_true(endpoint_equal(&fake_sent(k, 0)->peer, &peer));
        g_assert_cmpuint(fake_sent(k, 0)->ttl, ==, 63);
        g_assert_cmpuint(fake_sent(k, 0)->tos, ==, 0xb9);

        fake_dgram_push(h, k, &peer, "back", 4);
        fake_run(h);
        Parsed r = packet_take(h, &f);
        g_assert_true(ip_equal(&r.src, &p.dst) && ip_equal(&r.dst, &p.src));
        g_assert_cmpuint(r.sport, ==, 4000);
        g_assert_cmpmem(r.payload, r.payload_len, "back", 4);
        g_assert_cmpuint(fake_drops_total(h), ==, 0);

        /* a checksum of zero is none, and there must be one (RFC 8200 8.1) */
        GByteArray *b = packet_udp(&p, "zero", 4);
        memset(b->data + 14 + 40 + 6, 0, 2);
        packet_send(h, b);
        g_assert_cmpuint(fake_drops(h, DROP_CHECKSUM), ==, 1);
}

static void test_host_loopback(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        g_autoptr(FakeFrame) f = NULL;
        Packet4 p = packet4(HOST6, 4000);
        Endpoint loopback = fake_endpoint("[::1]:4000");

        packet_send(h, packet_udp(&p, "in", 2));
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        g_assert_true(endpoint_equal(&fake_sent(k, 0)->peer, &loopback));
        fake_dgram_push(h, k, &loopback, "back", 4);
        fake_run(h);
        Parsed r = packet_take(h, &f);
        g_assert_true(ip_equal(&r.src, &p.dst));
}

static void test_sources(void) {
        static const char *const bad[] = {
                "192.168.127.2", /* IPv4 in disguise: as ::ffff:192.168.127.2 */
                GATEWAY6, HOST6, LINK_LOCAL, "fd00:1::", "fd00:2::2", "2001:db8::1", "ff02::1", "::", "::1",
        };
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                Packet4 p = packet4(OUTSIDE6, 4000);

                p.src = fake_ip(bad[i]);
                packet_send(h, packet_udp(&p, "x", 1));
                g_assert_cmpuint(fake_drops(h, DROP_IP_SOURCE), ==, i + 1);
        }
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_null(fake_last_socket(h, FAKE_UDP));
}

static void test_destinations(void) {
        static const struct {
                const char *dst;
                int code; /* of destination unreachable; -1: silence */
        } table[] = {
                { "::1", ICMP6_DST_UNREACH_NOROUTE },
                { "::", ICMP6_DST_UNREACH_NOROUTE },
                { "fd00:1::77", ICMP6_DST_UNREACH_ADDR },
                { "fe80::1", ICMP6_DST_UNREACH_ADMIN },
                { "ff02::fb", -1 },
                { "ff0e::1", -1 },
        };
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                Packet4 p = packet4(table[i].dst, 4000);

                packet_send(h, packet_udp(&p, "x", 1));
                if (table[i].code >= 0)
                        packet_expect_icmp(h, ICMP6_DST_UNREACH, (uint8_t) table[i].code, GATEWAY6, table[i].dst, IPPROTO_UDP);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
        }
        g_assert_null(fake_last_socket(h, FAKE_UDP));

        /* v4-mapped: no door to IPv4 addresses past IPv4's rules */
        Packet4 p = packet4(OUTSIDE6, 4000);
        GByteArray *b = packet_udp(&p, "x", 1);
        IpAddr mapped = fake_ip("127.0.0.1");
        memcpy(b->data + 14 + 24, &mapped, 16);
        packet_send(h, b);
        g_assert_cmpuint(fake_drops(h, DROP_IP_MALFORMED), ==, 1);
        g_assert_null(fake_last_socket(h, FAKE_UDP));
}

static void test_hop_limit(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Packet4 p = packet4(OUTSIDE6, 4000), ours = packet4(GATEWAY6, 4000);

        p.ttl = ours.ttl = 1;
        packet_send(h, packet_udp(&p, "x", 1));
        packet_expect_icmp(h, ICMP6_TIME_EXCEEDED, ICMP6_TIME_EXCEED_TRANSIT, GATEWAY6, OUTSIDE6, IPPROTO_UDP);
        packet_send(h, packet_udp(&ours, "x", 1));
        packet_expect_icmp(h, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOPORT, GATEWAY6, GATEWAY6, IPPROTO_UDP);
}

static void test_protocol(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Packet4 p = packet4(GATEWAY6, 0), out = packet4(OUTSIDE6, 0);

        packet_send(h, packet_ip(&p, 132, "sctp....", 8));
        packet_expect_icmp(h, ICMP6_PARAM_PROB, ICMP6_PARAMPROB_NEXTHEADER, GATEWAY6, GATEWAY6, 132);
        packet_send(h, packet_ip(&out, 132, "sctp....", 8));
        packet_expect_icmp(h, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN, GATEWAY6, OUTSIDE6, 132);
        packet_send(h, packet_ip(&out, IPPROTO_NONE, "", 0));
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

/* ---- extension headers ---- */

static void test_extensions(void) {
        static const uint8_t padded[8] = { IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0 };
        static const uint8_t alert[16] = { IPPROTO_DSTOPTS, 0, 5, 2, 0, 0, 1, 0, IPPROTO_UDP, 0, 0, 0, 0, 0, 1, 0 };
        static const uint8_t route_done[8] = { IPPROTO_UDP, 0, 0, 0 };
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);

        send_chain(h, OUTSIDE6, IPPROTO_DSTOPTS, padded, 8);
        send_chain(h, OUTSIDE6, IPPROTO_HOPOPTS, alert, 16);
        send_chain(h, OUTSIDE6, IPPROTO_ROUTING, route_done, 8);
        g_assert_cmpuint(n_sent(h), ==, 3);
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

/* As many headers as may be, and one more. */
static void test_extensions_bound(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        uint8_t chain[8 * 8];

        for (unsigned n = 7; n <= 8; n++) {
                for (unsigned i = 0; i < n; i++)
                        memcpy(chain + 8 * i, ((uint8_t[8]){ i + 1 < n ? IPPROTO_DSTOPTS : IPPROTO_UDP, 0, 1, 4 }), 8);
                send_chain(h, OUTSIDE6, IPPROTO_DSTOPTS, chain, 8 * n);
        }
        g_assert_cmpuint(n_sent(h), ==, 1);
        g_assert_cmpuint(fake_drops(h, DROP_IP_EXTENSION), ==, 1);
}

static void test_extensions_refused(void) {
        static const struct {
                uint8_t first, chain[16];
                size_t len;
                int code; /* of parameter problem; -1: silence */
                uint32_t pointer;
        } table[] = {
                { IPPROTO_DSTOPTS, { IPPROTO_UDP, 0, 0x1e, 4 }, 8, -2, 0 },   /* unknown, "skip": goes on */
                { IPPROTO_DSTOPTS, { IPPROTO_UDP, 0, 0x5e, 4 }, 8, -1, 0 },
                { IPPROTO_DSTOPTS, { IPPROTO_UDP, 0, 0x9e, 4 }, 8, ICMP6_PARAMPROB_OPTION, 42 },
                { IPPROTO_DSTOPTS, { IPPROTO_UDP, 0, 0xde, 4 }, 8, ICMP6_PARAMPROB_OPTION, 42 },
                { IPPROTO_DSTOPTS, { IPPROTO_UDP, 0, 1, 9 }, 8, ICMP6_PARAMPROB_HEADER, 42 }, /* beyond its header */
                { IPPROTO_ROUTING, { IPPROTO_UDP, 0, 0, 1 }, 8, ICMP6_PARAMPROB_HEADER, 42 }, /* a source route */
                { IPPROTO_DSTOPTS, { IPPROTO_HOPOPTS, 0, 1, 4, 0, 0, 0, 0, IPPROTO_UDP, 0, 1, 4 }, 16, ICMP6_PARAMPROB_NEXTHEADER, 40 },
                { IPPROTO_DSTOPTS, { IPPROTO_UDP, 255, 1, 4 }, 8, -1, 0 }, /* longer than the packet */
        };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                g_autoptr(FakeHost) h = fake_host_new(fake_ip6);

                send_chain(h, OUTSIDE6, table[i].first, table[i].chain, table[i].len);
                g_assert_cmpuint(n_sent(h), ==, table[i].code == -2 ? 1 : 0);
                if (table[i].code < 0) {
                        g_assert_cmpuint(fake_n_frames(h), ==, 0);
                        continue;
                }
                g_autoptr(FakeFrame) f = NULL;
                Parsed p = packet_take(h, &f);
                g_assert_cmpuint(p.icmp_type, ==, ICMP6_PARAM_PROB);
                g_assert_cmpuint(p.icmp_code, ==, table[i].code);
                g_assert_cmpuint(p.icmp_arg, ==, table[i].pointer);
        }
}

/* ---- fragments ---- */

static GByteArray *fragment(const Packet4 *p, uint32_t id, uint16_t off, bool more, const uint8_t *bytes, size_t len) {
        g_autofree uint8_t *buf = g_malloc0(8 + len);
        struct ip6_frag f = { .ip6f_nxt = IPPROTO_UDP, .ip6f_ident = htonl(id) };

        f.ip6f_offlg = htons((uint16_t) (off | more));
        memcpy(buf, &f, 8);
        memcpy(buf + 8, bytes, len);
        return packet_ip(p, IPPROTO_FRAGMENT, buf, 8 + len);
}

static void test_fragments(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Packet4 p = packet4(OUTSIDE6, 4000);
        g_autofree char *text = g_strnfill(3000, 'x');
        g_autoptr(GByteArray) l4 = udp_l4(&p, text);

        packet_send(h, fragment(&p, 7, 1440, true, l4->data + 1440, 1440)); /* out of order */
        packet_send(h, fragment(&p, 7, 2880, false, l4->data + 2880, l4->len - 2880));
        g_assert_cmpuint(n_sent(h), ==, 0);
        packet_send(h, fragment(&p, 7, 0, true, l4->data, 1440));
        g_assert_cmpuint(n_sent(h), ==, 1);
        const FakeDgram *d = fake_sent(fake_last_socket(h, FAKE_UDP), 0);
        g_assert_cmpmem(d->data, d->len, text, 3000);

        /* one that is all of it, beside an unfinished one of the same id (RFC 6946) */
        packet_send(h, fragment(&p, 8, 0, true, l4->data, 1440));
        g_autoptr(GByteArray) small = udp_l4(&p, "atomic");
        packet_send(h, fragment(&p, 8, 0, false, small->data, small->len));
        g_assert_cmpuint(n_sent(h), ==, 2);

        /* overlap kills it (RFC 5722) */
        packet_send(h, fragment(&p, 8, 1432, true, l4->data + 1432, 800));
        g_assert_cmpuint(fake_drops(h, DROP_FRAG_MALFORMED), ==, 1);

        /* time: told, when the first piece is known */
        packet_send(h, fragment(&p, 9, 0, true, l4->data, 1440));
        fake_advance(h, FRAG_TIMEOUT_USEC);
        packet_expect_icmp(h, ICMP6_TIME_EXCEEDED, ICMP6_TIME_EXCEED_REASSEMBLY, GATEWAY6, OUTSIDE6, IPPROTO_UDP);
}

#define LONGEST (65535 - 8) /* IPv6's own header is not in the length of a packet */

static void expect_longest(FakeHost *h, const char *text) {
        g_autoptr(FakeFrame) f = NULL;
        g_autoptr(GByteArray) back = g_byte_array_new();
        bool more = true;

        while (more) {
                Parsed r = packet_take(h, &f);
                uint16_t offlg = (uint16_t) (r.l4[2] << 8 | r.l4[3]);

                g_assert_cmpuint(r.proto, ==, IPPROTO_FRAGMENT);
                g_assert_cmpuint(r.ip_len, <=, 1500);
                g_assert_cmpuint(offlg & ~7, ==, back->len);
                g_byte_array_append(back, r.l4 + 8, (guint) r.l4_len - 8);
                more = offlg & 1;
        }
        g_assert_cmpuint(back->len, ==, 8 + LONGEST);
        g_assert_cmpmem(back->data + 8, LONGEST, text, LONGEST);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

/* Datagrams as long as there are come through both ways, however often. */
static void test_longest(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Packet4 p = packet4(OUTSIDE6, 4000);
        g_autofree char *text = g_strnfill(LONGEST, 'x');
        g_autoptr(GByteArray) l4 = udp_l4(&p, text);
        Endpoint peer = { fake_ip(OUTSIDE6), 4000 };

        for (uint32_t off = 0; off < l4->len; off += 1448)
                packet_send(h, fragment(&p, 1, (uint16_t) off, off + 1448 < l4->len, l4->data + off, MIN(1448u, l4->len - off)));
        g_assert_cmpuint(n_sent(h), ==, 1);
        g_assert_cmpuint(fake_sent(fake_last_socket(h, FAKE_UDP), 0)->len, ==, LONGEST);

        for (unsigned i = 0; i < 3; i++) {
                fake_dgram_push(h, fake_last_socket(h, FAKE_UDP), &peer, text, LONGEST);
                fake_run(h);
                expect_longest(h, text);
        }
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

/* ---- ICMP ---- */

static void test_echo(void) {
        static const struct {
                const char *dst, *from;
        } table[] = { { GATEWAY6, GATEWAY6 }, { HOST6, HOST6 }, { LINK_LOCAL, LINK_LOCAL }, { "ff02::1", GATEWAY6 }, { "ff02::2", GATEWAY6 } };
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        g_autoptr(FakeFrame) f = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                Packet4 p = packet4(table[i].dst, 0);
                IpAddr from = fake_ip(table[i].from);

                packet_send(h, packet_icmp(&p, ICMP6_ECHO_REQUEST, 0, 7, 8, "ping", 4));
                Parsed r = packet_take(h, &f);
                g_assert_cmpuint(r.icmp_type, ==, ICMP6_ECHO_REPLY);
                g_assert_true(ip_equal(&r.src, &from));
                g_assert_cmpuint(r.echo_id, ==, 7);
                g_assert_cmpuint(r.echo_seq, ==, 8);
                g_assert_cmpmem(r.payload, r.payload_len, "ping", 4);
        }
        g_assert_null(fake_last_socket(h, FAKE_PING));
}

static void test_ping_out(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        g_autoptr(FakeFrame) f = NULL;
        Packet4 p = packet4(OUTSIDE6, 0);
        Endpoint peer = { fake_ip(OUTSIDE6), 0 };

        p.ttl = 5;
        packet_send(h, packet_icmp(&p, ICMP6_ECHO_REQUEST, 0, 7, 8, "ping", 4));
        FakeSocket *k = fake_last_socket(h, FAKE_PING);
        g_assert_cmpint(k->family, ==, AF_INET6);
        g_assert_cmpuint(fake_sent(k, 0)->data[0], ==, ICMP6_ECHO_REQUEST);
        g_assert_cmpuint(fake_sent(k, 0)->ttl, ==, 4);

        uint8_t reply[12] = { ICMP6_ECHO_REPLY, 0, 0, 0, 0, 0, 0, 0, 'p', 'i', 'n', 'g' };
        memcpy(reply + 4, fake_sent(k, 0)->data + 4, 4);
        fake_dgram_push(h, k, &peer, reply, sizeof(reply));
        fake_run(h);
        Parsed r = packet_take(h, &f);
        g_assert_cmpuint(r.icmp_type, ==, ICMP6_ECHO_REPLY);
        g_assert_cmpuint(r.echo_id, ==, 7);
        g_assert_true(ip_equal(&r.src, &peer.addr));

        HostError e = { .peer = peer, .offender = fake_ip("2001:db8::99"), .error = EHOSTUNREACH, .icmp_type = ICMP6_TIME_EXCEEDED,
                        .payload = { ICMP6_ECHO_REQUEST }, .payload_len = 8 };
        memcpy(e.payload + 4, reply + 4, 4);
        fake_dgram_push_error(h, k, &e);
        fake_run(h);
        f = (fake_frame_free(f), fake_take_frame(h));
        r = packet_parse(f);
        g_assert_cmpuint(r.icmp_type, ==, ICMP6_TIME_EXCEEDED);
        g_assert_true(ip_equal(&r.src, &e.offender));
        g_assert_cmpuint(r.payload[40], ==, ICMP6_ECHO_REQUEST);
        g_assert_cmpuint(r.payload[40 + 4] << 8 | r.payload[40 + 5], ==, 7); /* under the guest's id */
}

/* Every error a host socket learns reaches the guest in its own family. */
static void test_relay(void) {
        static const struct {
                const char *offender;
                uint8_t type, code, expect_type, expect_code;
                uint32_t mtu, expect_mtu;
                int error;
        } table[] = {
                { "2001:db8::99", 1, 4, 1, 4, 0, 0, 0 },
                { "2001:db8::99", 3, 0, 3, 0, 0, 0, 0 },
                { "2001:db8::99", 2, 0, 2, 0, 1400, 1400, 0 },
                { NULL, 0, 0, 1, 4, 0, 0, ECONNREFUSED },
                { NULL, 0, 0, 1, 0, 0, 0, ENETUNREACH },
                { NULL, 0, 0, 1, 3, 0, 0, EHOSTUNREACH },
                { NULL, 0, 0, 2, 0, 1280, 1280, EMSGSIZE },
        };
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Packet4 p = packet4(OUTSIDE6, 4000);
        Endpoint peer = { fake_ip(OUTSIDE6), 4000 };

        packet_send(h, packet_udp(&p, "x", 1));
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                HostError e = { .peer = peer, .error = table[i].error, .icmp_type = table[i].type, .icmp_code = table[i].code,
                                .mtu = table[i].mtu, .payload = "x", .payload_len = 1 };
                g_autoptr(FakeFrame) f = NULL;

                if (table[i].offender)
                        e.offender = fake_ip(table[i].offender);
                fake_dgram_push_error(h, fake_last_socket(h, FAKE_UDP), &e);
                fake_run(h);
                Parsed r = packet_take(h, &f);
                g_assert_cmpuint(r.icmp_type, ==, table[i].expect_type);
                g_assert_cmpuint(r.icmp_code, ==, table[i].expect_code);
                g_assert_cmpuint(r.icmp_arg, ==, table[i].expect_mtu);
                g_assert_cmpmem(r.payload + 8, 16, &p.src, 16);
                g_assert_cmpmem(r.payload + 24, 16, &p.dst, 16);
                g_assert_cmpuint(r.payload[40] << 8 | r.payload[41], ==, 40000);
                g_assert_cmpuint(r.payload[42] << 8 | r.payload[43], ==, 4000);
        }
}

/* A forward of one family to a guest of the other: the guest sees the gateway of its own family, and errors in its own words. */
static void test_across(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        g_autoptr(FakeFrame) f = NULL;
        Endpoint local = fake_endpoint("[::1]:80"), peer = fake_endpoint("[::1]:5555");
        ForwardConfig c = { .id = 1, .proto = IPPROTO_UDP, .local = local, .remote = fake_endpoint("192.168.127.2:80") };
        int fd = fake_udp_bound(h, &local);
        Packet4 p = packet4("192.168.127.1", 5555);

        g_assert_cmpint(netstack_forward_add(h->stack, &c, fd), ==, 0);
        packet_send(h, packet_icmp(&p, ICMP_ECHO, 0, 1, 1, "", 0)); /* now it is known */
        fake_clear_frames(h);
        fake_dgram_push(h, fake_socket(h, fd), &peer, "in", 2);
        fake_run(h);
        Parsed r = packet_take(h, &f);
        IpAddr gateway = fake_ip("192.168.127.1");
        g_assert_true(ip_equal(&r.src, &gateway));
        g_assert_cmpuint(r.sport, ==, 5555);

        p.sport = 80;
        packet_send(h, packet_udp(&p, "out", 3));
        g_assert_true(endpoint_equal(&fake_sent(fake_socket(h, fd), 0)->peer, &peer));

        HostError e = { .peer = peer, .offender = fake_ip("2001:db8::99"), .icmp_type = ICMP6_DST_UNREACH, .icmp_code = 4,
                        .payload = "out", .payload_len = 3 };
        fake_dgram_push_error(h, fake_socket(h, fd), &e);
        fake_run(h);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, "192.168.127.1", "192.168.127.1", IPPROTO_UDP);
}

/* Never about an error, never to or about a group, never more than the rate. */
static void test_error_rules(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Packet4 p = packet4(OUTSIDE6, 0), q = packet4(OUTSIDE6, 4000);

        p.ttl = q.ttl = 1;
        packet_send(h, packet_icmp(&p, ICMP6_DST_UNREACH, 0, 0, 0, "12345678901234567890123456789012345678901234567890", 50));
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        for (unsigned i = 0; i < ICMP_ERRORS_PER_SEC + 10; i++)
                packet_send(h, packet_udp(&q, "x", 1));
        g_assert_cmpuint(fake_n_frames(h), ==, ICMP_ERRORS_PER_SEC);
        g_assert_cmpuint(fake_drops(h, DROP_ICMP_RATE), ==, 10);
}

static void test_malformed(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Packet4 p = packet4(OUTSIDE6, 4000);
        GByteArray *b;

        for (guint len = 14; len < 14 + 40 + 9; len++) {
                b = packet_udp(&p, "x", 1);
                g_byte_array_set_size(b, len);
                packet_send(h, b);
        }
        b = packet_udp(&p, "x", 1);
        b->data[14] = 0x40;
        packet_send(h, b);
        g_assert_cmpuint(fake_drops(h, DROP_IP_MALFORMED), ==, 40 + 9 + 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_null(fake_last_socket(h, FAKE_UDP));

        b = packet_icmp(&p, ICMP6_ECHO_REQUEST, 0, 1, 1, "x", 1); /* the pseudo-header is part of the sum */
        b->data[14 + 40 + 8] ^= 1;
        packet_send(h, b);
        g_assert_cmpuint(fake_drops(h, DROP_ICMP_MALFORMED), ==, 1);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ip6/udp", test_udp);
        g_test_add_func("/ip6/host-loopback", test_host_loopback);
        g_test_add_func("/ip6/sources", test_sources);
        g_test_add_func("/ip6/destinations", test_destinations);
        g_test_add_func("/ip6/hop-limit", test_hop_limit);
        g_test_add_func("/ip6/protocol", test_protocol);
        g_test_add_func("/ip6/extensions", test_extensions);
        g_test_add_func("/ip6/extensions/bound", test_extensions_bound);
        g_test_add_func("/ip6/extensions/refused", test_extensions_refused);
        g_test_add_func("/ip6/fragments", test_fragments);
        g_test_add_func("/ip6/longest", test_longest);
        g_test_add_func("/ip6/echo", test_echo);
        g_test_add_func("/ip6/ping-out", test_ping_out);
        g_test_add_func("/ip6/relay", test_relay);
        g_test_add_func("/ip6/across", test_across);
        g_test_add_func("/ip6/error-rules", test_error_rules);
        g_test_add_func("/ip6/malformed", test_malformed);
        return g_test_run();
}
