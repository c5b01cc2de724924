/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* NAT64: TCP, UDP and ping of an IPv6 guest to IPv4, errors on the way, how guests hear of the prefix, and that it is no way around anything. */

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>

#include "basic/checksum.h"
#include "fake-host.h"
#include "netstack/nat64.h"
#include "netstack/nd.h"
#include "packet.h"

#define GUEST_LINK_LOCAL "fe80::5054:ff:fe00:2"
#define OUTSIDE "8.8.8.8"
#define OUTSIDE64 "64:ff9b::8.8.8.8"

static const char *prefix; /* of the next host */

static void configure(NetstackConfig *c) {
        fake_ip6(c);
        g_assert_cmpint(prefix_parse(prefix, &c->nat64), ==, 0);
}

static void configure_rules(NetstackConfig *c) {
        static const char *const rules[] = { "deny tcp host 22", "deny 192.0.2.0/24", "deny udp any 25" };

        configure(c);
        for (size_t i = 0; i < ELEMENTSOF(rules); i++)
                g_assert_cmpint(policy_rule_parse(rules[i], &c->policy.rules[c->policy.n_rules++]), ==, 0);
        c->policy.nat[0] = (PolicyNat){ fake_ip("192.168.127.200"), fake_ip("10.0.0.5") };
        c->policy.n_nat = 1;
        c->policy.addresses[0] = fake_ip("100.100.100.1");
        c->policy.n_addresses = 1;
}

static FakeHost *host_new(void (*change)(NetstackConfig *c), const char *with) {
        prefix = with;
        return fake_host_new(change);
}

static void syn(FakeHost *h, const char *dst, uint16_t port) {
        Packet4 p = packet4(dst, port);

        packet_send(h, packet_tcp(&p, 1000, 0, TH_SYN, 65535, NULL, 0, NULL, 0));
}

static void datagram(FakeHost *h, const char *dst, uint16_t port) {
        Packet4 p = packet4(dst, port);

        packet_send(h, packet_udp(&p, "out", 3));
}

static void ping(FakeHost *h, const char *dst) {
        Packet4 p = packet4(dst, 0);

        packet_send(h, packet_icmp(&p, ICMP6_ECHO_REQUEST, 0, 0x1234, 1, "payload", 7));
}

/* ---- traffic ---- */

static void test_tcp(void) {
        g_autoptr(FakeHost) h = host_new(configure, NAT64_WELL_KNOWN);
        g_autoptr(FakeFrame) f = NULL;
        IpAddr src = fake_ip(OUTSIDE64);

        syn(h, OUTSIDE64, 80);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fake_last_socket(h, FAKE_TCP)->peer), ==, OUTSIDE ":80");
        fake_run(h);
        Parsed p = packet_take(h, &f);
        g_assert_true(ip_equal(&p.src, &src));
        g_assert_cmphex(p.tcp_flags, ==, TH_SYN | TH_ACK);
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

static void test_udp(void) {
        g_autoptr(FakeHost) h = host_new(configure, NAT64_WELL_KNOWN);
        g_autoptr(FakeFrame) f = NULL;
        Endpoint peer = fake_endpoint(OUTSIDE ":4000"), stranger = fake_endpoint("9.9.9.9:4000");
        IpAddr src = fake_ip(OUTSIDE64);

        datagram(h, OUTSIDE64, 4000);
        FakeSocket *v4 = fake_last_socket(h, FAKE_UDP);
        g_assert_cmpint(v4->family, ==, AF_INET);
        g_assert_true(endpoint_equal(&fake_sent(v4, 0)->peer, &peer));
        g_assert_cmpuint(fake_sent(v4, 0)->ttl, ==, 63);

        datagram(h, "2001:db8::8", 4000); /* from the same port to IPv6: by a socket of that */
        FakeSocket *v6 = fake_last_socket(h, FAKE_UDP);
        g_assert_true(v6 != v4);
        g_assert_cmpint(v6->family, ==, AF_INET6);
        datagram(h, OUTSIDE64, 4000);
        g_assert_cmpuint(v4->sent->len, ==, 2);
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 2);

        fake_dgram_push(h, v4, &stranger, "no", 2);
        fake_run(h);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_FILTERED), ==, 1);
        fake_dgram_push(h, v4, &peer, "back", 4);
        fake_run(h);
        Parsed p = packet_take(h, &f);
        g_assert_true(ip_equal(&p.src, &src));
        g_assert_cmpuint(p.sport, ==, 4000);
        g_assert_cmpuint(p.dport, ==, 40000);
        g_assert_cmpmem(p.payload, p.payload_len, "back", 4);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_ping(void) {
        g_autoptr(FakeHost) h = host_new(configure, NAT64_WELL_KNOWN);
        g_autoptr(FakeFrame) f = NULL;
        Endpoint from = { fake_ip(OUTSIDE), 0 };
        IpAddr src = fake_ip(OUTSIDE64);

        ping(h, OUTSIDE64);
        FakeSocket *k = fake_last_socket(h, FAKE_PING);
        g_assert_cmpint(k->family, ==, AF_INET);
        const FakeDgram *sent = fake_sent(k, 0);
        g_assert_true(ip_equal(&sent->peer.addr, &from.addr));
        g_assert_cmpuint(sent->data[0], ==, ICMP_ECHO);
        g_assert_cmpuint(sent->len, ==, 8 + 7);
        g_assert_cmpmem(sent->data + 8, 7, "payload", 7);
        g_assert_cmpuint(checksum_fold(checksum_add(sent->data, sent->len, 0)), ==, 0xffff);

        uint8_t reply[15] = { ICMP_ECHOREPLY, 0, 0, 0, 0, 0, 0, 0, 'p', 'a', 'y', 'l', 'o', 'a', 'd' };
        memcpy(reply + 4, sent->data + 4, 4); /* its id and number */
        fake_dgram_push(h, k, &from, reply, sizeof(reply));
        fake_run(h);
        Parsed p = packet_take(h, &f);
        g_assert_true(ip_equal(&p.src, &src));
        g_assert_cmpuint(p.icmp_type, ==, ICMP6_ECHO_REPLY);
        g_assert_cmpuint(p.echo_id, ==, 0x1234);
        g_assert_cmpuint(p.echo_seq, ==, 1);
        g_assert_cmpmem(p.payload, p.payload_len, "payload", 7);
        g_assert_cmpuint(fake_drops_total(h), ==, 0);

        reply[0] = ICMP6_ECHO_REPLY; /* of the wrong family */
        fake_dgram_push(h, k, &from, reply, sizeof(reply));
        fake_run(h);
        g_assert_cmpuint(fake_drops(h, DROP_PING_FILTERED), ==, 1);
}

static void push_error(FakeHost *h, FakeSocket *k, const char *offender, uint8_t type, uint8_t code, uint32_t mtu) {
        HostError e = {
                .peer = fake_sent(k, 0)->peer, .error = EHOSTUNREACH, .icmp_type = type, .icmp_code = code, .mtu = mtu,
                .payload_len = MIN(fake_sent(k, 0)->len, sizeof(e.payload)),
        };

        if (offender)
                e.offender = fake_ip(offender);
        memcpy(e.payload, fake_sent(k, 0)->data, e.payload_len);
        fake_dgram_push_error(h, k, &e);
        fake_run(h);
}

/* What routers of IPv4 say comes from their addresses under the prefix, in ICMPv6's words, and quotes what the guest sent. */
static void test_errors(void) {
        g_autoptr(FakeHost) h = host_new(configure, NAT64_WELL_KNOWN);
        g_autoptr(FakeFrame) first = NULL, second = NULL, third = NULL;
        IpAddr router = fake_ip("64:ff9b::203.0.113.9"), dst = fake_ip(OUTSIDE64);

        datagram(h, OUTSIDE64, 4000);
        push_error(h, fake_last_socket(h, FAKE_UDP), "203.0.113.9", ICMP_TIME_EXCEEDED, 0, 0);
        Parsed p = packet_take(h, &first);
        g_assert_true(ip_equal(&p.src, &router));
        g_assert_cmpuint(p.icmp_type, ==, ICMP6_TIME_EXCEEDED);
        g_assert_cmpmem(p.payload + 24, 16, &dst, 16);

        push_error(h, fake_last_socket(h, FAKE_UDP), "203.0.113.9", ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, 1400);
        p = packet_take(h, &second);
        g_assert_cmpuint(p.icmp_type, ==, ICMP6_PACKET_TOO_BIG);
        g_assert_cmpuint(p.icmp_arg, ==, 1420);

        ping(h, OUTSIDE64);
        push_error(h, fake_last_socket(h, FAKE_PING), "203.0.113.9", ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, 576);
        p = packet_take(h, &third);
        g_assert_cmpuint(p.icmp_arg, ==, 1280); /* the least that IPv6 has */
        g_assert_cmpuint(p.payload[40], ==, ICMP6_ECHO_REQUEST);
        g_assert_cmpuint(p.payload[44] << 8 | p.payload[45], ==, 0x1234);
}

/* ---- no way around ---- */

/* The well-known prefix is for the Internet, no prefix is for what no packet may have as its destination. */
static void test_refused_destinations(void) {
        static const struct {
                const char *v4;
                bool well_known, own; /* may pass by the one prefix, and by one of the network's own */
        } table[] = {
                { "0.0.0.0", false, false }, { "0.1.2.3", false, false }, { "127.0.0.1", false, false }, { "127.255.255.255", false, false },
                { "224.0.0.1", false, false }, { "239.255.255.250", false, false }, { "240.0.0.1", false, false }, { "255.255.255.255", false, false },
                { "169.254.169.254", false, false }, /* by policy */
                { "192.168.127.1", false, false }, { "192.168.127.2", false, false }, { "192.168.127.255", false, false },
                { "100.100.100.1", false, false }, /* the gateway's, too */
                { "10.1.2.3", false, true }, { "172.16.0.1", false, true }, { "192.168.1.1", false, true }, { "100.64.0.1", false, true },
                { "172.32.0.1", true, true }, { "8.8.8.8", true, true },
                { "192.0.2.1", false, false }, /* by a rule */
        };

        for (int own = 0; own < 2; own++)
                for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                        g_autoptr(FakeHost) h = host_new(configure_rules, own ? "64:ff9b:1::/96" : NAT64_WELL_KNOWN);
                        g_autofree char *dst = g_strdup_printf("%s%s", own ? "64:ff9b:1::" : "64:ff9b::", table[i].v4);
                        bool pass = own ? table[i].own : table[i].well_known;

                        h->connect_result = FAKE_CONNECT_NEVER;
                        syn(h, dst, 80);
                        datagram(h, dst, 80);
                        ping(h, dst);
                        g_test_message("%s", dst);
                        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, pass);
                        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, pass);
                        g_assert_cmpuint(h->n_opened[FAKE_PING], ==, pass);
                        g_assert_cmpuint(fake_drops(h, DROP_IP_POLICY) + fake_drops(h, DROP_IP_DESTINATION), ==, pass ? 0 : 3);
                        if (pass)
                                g_assert_cmpstr(IP_TO_TEXT(&fake_last_socket(h, FAKE_TCP)->peer.addr), ==, table[i].v4);
                        else
                                g_assert_cmpuint(fake_n_frames(h), ==, 3); /* each is told */
                }
}

/* Rules and the map see what is meant; the host's loopback is there by its address alone, and as closed as by IPv4. */
static void test_rules(void) {
        g_autoptr(FakeHost) h = host_new(configure_rules, "64:ff9b:1::/96");

        h->connect_result = FAKE_CONNECT_NEVER;
        syn(h, "64:ff9b:1::192.168.127.200", 80);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fake_last_socket(h, FAKE_TCP)->peer), ==, "10.0.0.5:80");
        syn(h, "64:ff9b:1::192.168.127.254", 80);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fake_last_socket(h, FAKE_TCP)->peer), ==, "127.0.0.1:80");
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 2);
        syn(h, "64:ff9b:1::192.168.127.254", 22);
        datagram(h, "64:ff9b:1::8.8.8.8", 25);
        g_assert_cmpuint(fake_drops(h, DROP_IP_POLICY), ==, 2);
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 2);
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 0);
}

static void no_loopback(NetstackConfig *c) {
        configure(c);
        c->host_loopback = false;
}

static void test_no_loopback(void) {
        g_autoptr(FakeHost) h = host_new(no_loopback, "64:ff9b:1::/96");

        syn(h, "64:ff9b:1::192.168.127.254", 80);
        datagram(h, "64:ff9b:1::192.168.127.254", 80);
        g_assert_cmpuint(h->n_open, ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_IP_POLICY), ==, 2);
}

static void rules_alone(NetstackConfig *c) {
        configure_rules(c);
        c->nat64 = (IpPrefix){};
}

/* Without NAT64 here, one may stand behind the host: what is denied by IPv4 is denied by that way as well. */
static void test_elsewhere(void) {
        g_autoptr(FakeHost) h = host_new(rules_alone, NAT64_WELL_KNOWN);

        h->connect_result = FAKE_CONNECT_NEVER;
        syn(h, "64:ff9b::192.0.2.1", 80);
        syn(h, "64:ff9b::169.254.169.254", 80);
        g_assert_cmpuint(fake_drops(h, DROP_IP_POLICY), ==, 2);
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 0);
        syn(h, "64:ff9b::8.8.8.8", 80);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fake_last_socket(h, FAKE_TCP)->peer), ==, "[64:ff9b::808:808]:80");
}

/* No guest has an address of the prefix. */
static void test_spoofed(void) {
        g_autoptr(FakeHost) h = host_new(configure, NAT64_WELL_KNOWN);
        Packet4 p = packet4("2001:db8::8", 4000);

        p.src = fake_ip(OUTSIDE64);
        packet_send(h, packet_udp(&p, "x", 1));
        g_assert_cmpuint(fake_drops(h, DROP_IP_SOURCE), ==, 1);
        g_assert_cmpuint(h->n_open, ==, 0);
}

/* ---- how guests hear of it ---- */

/* The option's place in a router advertisement; NULL: none. */
static const uint8_t *pref64(FakeHost *h, FakeFrame **f, uint16_t *ret_lifetime) {
        Packet4 p = packet4("ff02::2", 0);
        const uint8_t *found = NULL;

        p.src = fake_ip(GUEST_LINK_LOCAL);
        p.ttl = 255;
        p.dst_mac = (MacAddr){ { 0x33, 0x33, 0, 0, 0, 2 } };
        packet_send(h, packet_icmp(&p, ND_ROUTER_SOLICIT, 0, 0, 0, NULL, 0));
        Parsed a = packet_take(h, f);
        g_assert_cmpuint(a.icmp_type, ==, ND_ROUTER_ADVERT);
        *ret_lifetime = (uint16_t) (a.icmp_arg & 0xffff);
        for (const uint8_t *o = a.payload + 8; o < a.payload + a.payload_len; o += o[1] * 8) {
                g_assert_cmpuint(o[1], >, 0);
                if (o[0] == 38)
                        found = o;
        }
        return found;
}

static void test_pref64(void) {
        static const uint8_t expected[16] = { 38, 2, 0x07, 0x08, 0x00, 0x64, 0xff, 0x9b }; /* 225 times 8 s, /96 */
        g_autoptr(FakeHost) h = host_new(configure, NAT64_WELL_KNOWN), without = fake_host_new(fake_ip6);
        g_autoptr(FakeFrame) f = NULL, f2 = NULL, f3 = NULL, f4 = NULL;
        uint16_t lifetime;

        g_assert_cmpmem(pref64(h, &f, &lifetime), 16, expected, 16);
        g_assert_null(pref64(without, &f2, &lifetime));

        /* with NAT64 IPv4 is a way out as well */
        netstack_set_uplink(h->stack, true, false);
        fake_clear_frames(h);
        g_assert_nonnull(pref64(h, &f3, &lifetime));
        g_assert_cmpuint(lifetime, ==, ND_ROUTER_SEC);
        netstack_set_uplink(h->stack, false, false);
        fake_clear_frames(h);
        g_assert_nonnull(pref64(h, &f4, &lifetime));
        g_assert_cmpuint(lifetime, ==, 0);
}

static void six_alone(NetstackConfig *c) {
        configure(c);
        c->no_ip4 = true;
}

static void test_no_ip4(void) {
        g_autoptr(FakeHost) h = host_new(six_alone, NAT64_WELL_KNOWN);
        Packet4 p = packet4("192.168.127.1", 53), six = packet4("fd00:1::1", 0);
        IpAddr gateway = fake_ip("192.168.127.1"), guest = fake_ip("192.168.127.2");
        MacAddr none = {};

        packet_send(h, packet_udp(&p, "x", 1));
        packet_send(h, packet_arp(&FAKE_GUEST_MAC, 1, &FAKE_GUEST_MAC, &guest, &none, &gateway));
        g_assert_cmpuint(fake_drops(h, DROP_ETH_TYPE), ==, 2);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        packet_send(h, packet_icmp(&six, ICMP6_ECHO_REQUEST, 0, 1, 1, "x", 1));
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
}

static void test_config(void) {
        static const struct {
                const char *prefix;
                bool good;
        } table[] = {
                { NAT64_WELL_KNOWN, true }, { "64:ff9b:1:abcd::/96", true }, { "2001:db8:1:2:300:4::/96", false }, /* bits 64 to 71 */
                { "2001:db8:1:2:3:4:0:1/96", false }, { "64:ff9b::/64", false }, { "64:ff9b::/95", false }, { "::/96", false },
                { "fe80::/96", false }, { "ff00::/96", false }, { "fd00:1::/96", false }, /* the subnet's */
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                NetstackConfig c;
                Netstack *s = NULL;

                g_autoptr(FakeHost) h = host_new(configure, NAT64_WELL_KNOWN);
                g_assert_cmpint(netstack_config_copy(&c, &h->stack->config), ==, 0);
                g_assert_cmpint(prefix_parse(table[i].prefix, &c.nat64), ==, 0);
                g_test_message("%s", table[i].prefix);
                g_assert_cmpint(netstack_new(&s, &c, &fake_host_ops, h), ==, table[i].good ? 0 : -EINVAL);
                netstack_free(s);
                netstack_config_deinit(&c);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/nat64/tcp", test_tcp);
        g_test_add_func("/nat64/udp", test_udp);
        g_test_add_func("/nat64/ping", test_ping);
        g_test_add_func("/nat64/errors", test_errors);
        g_test_add_func("/nat64/refused-destinations", test_refused_destinations);
        g_test_add_func("/nat64/rules", test_rules);
        g_test_add_func("/nat64/no-loopback", test_no_loopback);
        g_test_add_func("/nat64/elsewhere", test_elsewhere);
        g_test_add_func("/nat64/spoofed", test_spoofed);
        g_test_add_func("/nat64/pref64", test_pref64);
        g_test_add_func("/nat64/no-ip4", test_no_ip4);
        g_test_add_func("/nat64/config", test_config);
        return g_test_run();
}
