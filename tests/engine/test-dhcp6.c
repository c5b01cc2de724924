/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DHCPv6: every exchange of RFC 8415 that a client has with a server of addresses, and messages that deserve no answer. */

#include <netinet/in.h>

#include "fake-host.h"
#include "netstack/dhcp6.h"
#include "packet.h"

#define GUEST_LINK_LOCAL "fe80::5054:ff:fe00:2"
#define SERVER_ID "\0\3\0\1\x52\x54\0\0\0\1"
#define CLIENT_ID "\0\3\0\1\x52\x54\0\0\0\2"

enum { SOLICIT = 1, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE, INFORMATION = 11 };

static void add_option(GByteArray *m, uint16_t code, const void *bytes, size_t len) {
        uint8_t head[] = { (uint8_t) (code >> 8), (uint8_t) code, (uint8_t) (len >> 8), (uint8_t) len };

        g_byte_array_append(m, head, 4);
        if (len > 0)
                g_byte_array_append(m, bytes, (guint) len);
}

static GByteArray *message(uint8_t type, bool server) {
        GByteArray *m = g_byte_array_new();

        g_byte_array_append(m, (const guint8[]){ type, 0xaa, 0xbb, 0xcc }, 4);
        add_option(m, 1, CLIENT_ID, 10);
        if (server)
                add_option(m, 2, SERVER_ID, 10);
        return m;
}

/* @addr nullable: one that the client names */
static void add_ia(GByteArray *m, uint8_t id, const IpAddr *addr) {
        g_autoptr(GByteArray) ia = g_byte_array_new();
        uint8_t body[24] = {};

        g_byte_array_append(ia, (const guint8[]){ 0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, 0 }, 12);
        if (addr) {
                memcpy(body, addr, 16);
                add_option(ia, 5, body, sizeof(body));
        }
        add_option(m, 3, ia->data, ia->len);
}

static void send_message(FakeHost *h, GByteArray *m) {
        Packet4 p = packet4("ff02::1:2", 547);

        p.src = fake_ip(GUEST_LINK_LOCAL);
        p.sport = 546;
        p.ttl = 1;
        p.dst_mac = (MacAddr){ { 0x33, 0x33, 0, 1, 0, 2 } };
        packet_send(h, packet_udp(&p, m->data, m->len));
        g_byte_array_unref(m);
}

typedef struct Got {
        uint8_t type;
        bool rapid, preference, dns, domains, refresh;
        int status; /* -1: none */
        unsigned n_ias, n_over;
        IpAddr addrs[8]; /* with a lifetime */
} Got;

static void read_ia(Got *g, const uint8_t *o, size_t len) {
        g_assert_cmpuint(len, >=, 12);
        g_assert_cmpmem(o + 4, 8, "\0\0\x07\x08\0\0\x0b\x40", 8); /* T1 and T2 of an hour */
        for (const uint8_t *a = o + 12; a < o + len; a += 28) {
                g_assert_cmpmem(a, 4, "\0\5\0\x18", 4);
                if (memcmp(a + 20, "\0\0\0\0\0\0\0\0", 8) == 0)
                        g->n_over++;
                else {
                        g_assert_cmpmem(a + 20, 8, "\0\0\x0e\x10\0\0\x15\x18", 8);
                        memcpy(&g->addrs[g->n_ias], a + 4, 16);
                }
        }
        g->n_ias++;
}

static Got take(FakeHost *h) {
        g_autoptr(FakeFrame) f = NULL;
        Parsed p = packet_take(h, &f);
        Got g = { .status = -1 };
        const uint8_t *o = p.payload + 4, *end = p.payload + p.payload_len;
        IpAddr server = fake_ip("fe80::5054:ff:fe00:1"), dns = fake_ip("fd00:1::1");
        bool client_id = false, server_id = false;

        g_assert_cmpuint(p.sport, ==, 547);
        g_assert_cmpuint(p.dport, ==, 546);
        g_assert_true(ip_equal(&p.src, &server));
        g_assert_cmpuint(p.ip_len, <=, 1280);
        g_assert_cmpmem(p.payload + 1, 3, "\xaa\xbb\xcc", 3);
        g.type = p.payload[0];
        for (size_t len; o < end; o += 4 + len) {
                len = (size_t) (o[2] << 8 | o[3]);
                g_assert_cmpuint(len + 4, <=, (size_t) (end - o));
                switch (o[1]) {
                case 1:
                        g_assert_cmpmem(o + 4, len, CLIENT_ID, 10);
                        client_id = true;
                        break;
                case 2:
                        g_assert_cmpmem(o + 4, len, SERVER_ID, 10);
                        server_id = true;
                        break;
                case 3:
                        read_ia(&g, o + 4, len);
                        break;
                case 7:
                        g.preference = o[4] == 255;
                        break;
                case 13:
                        g.status = o[4] << 8 | o[5];
                        break;
                case 14:
                        g.rapid = true;
                        break;
                case 23:
                        g_assert_cmpmem(o + 4, len, &dns, 16);
                        g.dns = true;
                        break;
                case 24:
                        g_assert_cmpmem(o + 4, len, "\x04vnet\x08internal\0", 15);
                        g.domains = true;
                        break;
                case 32:
                        g.refresh = true;
                        break;
                default:
                        g_error("option %u", o[1]);
                }
        }
        g_assert_true(client_id && server_id);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        return g;
}

static Got ask(FakeHost *h, uint8_t type, bool server, const IpAddr *addr) {
        GByteArray *m = message(type, server);

        add_ia(m, 7, addr);
        send_message(h, m);
        return take(h);
}

static void test_four_messages(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        IpPrefix prefix = { fake_ip("fd00:1::"), 64 };
        Got offer = ask(h, SOLICIT, false, NULL);

        g_assert_cmpuint(offer.type, ==, ADVERTISE);
        g_assert_true(offer.preference && offer.dns && offer.domains && !offer.rapid && !offer.refresh);
        g_assert_cmpuint(offer.n_ias, ==, 1);
        g_assert_true(prefix_contains(&prefix, &offer.addrs[0]));

        static const uint8_t types[] = { REQUEST, RENEW, REBIND };
        for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
                Got reply = ask(h, types[i], types[i] != REBIND, &offer.addrs[0]);

                g_assert_cmpuint(reply.type, ==, REPLY);
                g_assert_true(ip_equal(&reply.addrs[0], &offer.addrs[0]));
                g_assert_cmpuint(reply.n_over, ==, 0);
                g_assert_true(reply.dns && reply.domains);
        }
}

static void test_rapid_commit(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        GByteArray *m = message(SOLICIT, false);

        add_option(m, 14, NULL, 0);
        add_ia(m, 1, NULL);
        add_ia(m, 2, NULL);
        send_message(h, m);
        Got g = take(h);
        g_assert_cmpuint(g.type, ==, REPLY);
        g_assert_true(g.rapid);
        g_assert_cmpuint(g.n_ias, ==, 2);
        g_assert_false(ip_equal(&g.addrs[0], &g.addrs[1]));
}

/* What the client brings from elsewhere is over; its own it gets. */
static void test_other_addresses(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        IpAddr elsewhere = fake_ip("2001:db8::5"), here = fake_ip("fd00:1::5");
        Got g = ask(h, RENEW, true, &elsewhere);

        g_assert_cmpuint(g.n_over, ==, 1);
        g_assert_cmpuint(g.n_ias, ==, 1);
        g_assert_cmpint(ask(h, CONFIRM, false, &elsewhere).status, ==, 4);
        g_assert_cmpint(ask(h, CONFIRM, false, &here).status, ==, 0);
        g_assert_cmpint(ask(h, RELEASE, true, &here).status, ==, 0);
        g_assert_cmpint(ask(h, DECLINE, true, &here).status, ==, 0);
}

static void test_information(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);

        send_message(h, message(INFORMATION, false));
        Got g = take(h);
        g_assert_cmpuint(g.type, ==, REPLY);
        g_assert_true(g.dns && g.domains && g.refresh);
        g_assert_cmpuint(g.n_ias, ==, 0);
}

/* The same client gets the same address from another life of the gateway; others get others, and none is anybody's already. */
static void test_addresses(void) {
        g_autoptr(FakeHost) a = fake_host_new(fake_ip6), b = fake_host_new(fake_ip6);
        g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

        b->random_state = 99;
        for (uint32_t i = 0; i < 10000; i++) {
                IpAddr x = dhcp6_address(a->stack, (const uint8_t *) &i, 4, 1), y = dhcp6_address(b->stack, (const uint8_t *) &i, 4, 1);

                g_assert_true(ip_equal(&x, &y));
                g_assert_false(x.b[11] == 0xff && x.b[12] == 0xfe);
                g_assert_true(g_hash_table_add(seen, g_strdup(IP_TO_TEXT(&x))));
        }
}

static void test_ignored(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        static const struct {
                uint8_t type;
                bool server;
        } table[] = { { SOLICIT, true }, { CONFIRM, true }, { REBIND, true }, { REQUEST, false }, { RENEW, false }, { RELEASE, false },
                      { ADVERTISE, false }, { REPLY, true }, { 12, false }, { 0, false } };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                send_message(h, message(table[i].type, table[i].server));
        g_assert_cmpuint(fake_drops(h, DROP_DHCP_IGNORED), ==, G_N_ELEMENTS(table));

        GByteArray *m = message(REQUEST, false);
        add_option(m, 2, "\0\3\0\1\x52\x54\0\0\0\x77", 10); /* another server's */
        send_message(h, m);
        g_assert_cmpuint(fake_drops(h, DROP_DHCP_IGNORED), ==, G_N_ELEMENTS(table) + 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_malformed(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        g_autoptr(GByteArray) whole = message(SOLICIT, false);
        g_autofree uint8_t *long_id = g_malloc0(DHCP6_DUID_MAX + 1);
        unsigned n = 0;

        add_ia(whole, 1, NULL);
        for (guint len = 0; len < whole->len; len++) { /* cut anywhere but between options */
                if (len == 4 || len == 18)
                        continue;
                GByteArray *m = g_byte_array_new();
                g_byte_array_append(m, whole->data, len);
                send_message(h, m);
                n++;
        }
        for (size_t len = DHCP6_DUID_MAX; len <= DHCP6_DUID_MAX + 1; len++) {
                GByteArray *m = g_byte_array_new();
                g_byte_array_append(m, (const guint8[]){ SOLICIT, 1, 2, 3 }, 4);
                add_option(m, 1, long_id, len);
                send_message(h, m);
        }
        g_assert_cmpuint(fake_n_frames(h), ==, 1); /* the longest id there may be */
        g_assert_cmpuint(fake_drops(h, DROP_DHCP_MALFORMED), ==, n + 1);
}

/* More than is looked at, all at once, and more often than is answered: no answer outgrows its packet. */
static void test_bounds(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        IpAddr elsewhere = fake_ip("2001:db8::5");

        for (unsigned i = 0; i < DHCP6_BURST + 10; i++) {
                GByteArray *m = message(REQUEST, true);

                for (uint8_t j = 0; j < DHCP6_IAS_MAX + 3; j++)
                        add_ia(m, j, &elsewhere);
                send_message(h, m);
                if (i < DHCP6_BURST)
                        g_assert_cmpuint(take(h).n_ias, ==, DHCP6_IAS_MAX);
        }
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_DHCP_RATE), ==, 10);

        h->port.id++; /* a guest behind another port is answered */
        send_message(h, message(REQUEST, true));
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        fake_clear_frames(h);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dhcp6/four-messages", test_four_messages);
        g_test_add_func("/dhcp6/rapid-commit", test_rapid_commit);
        g_test_add_func("/dhcp6/other-addresses", test_other_addresses);
        g_test_add_func("/dhcp6/information", test_information);
        g_test_add_func("/dhcp6/addresses", test_addresses);
        g_test_add_func("/dhcp6/ignored", test_ignored);
        g_test_add_func("/dhcp6/malformed", test_malformed);
        g_test_add_func("/dhcp6/bounds", test_bounds);
        return g_test_run();
}
