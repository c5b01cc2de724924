/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ARP and the neighbour table: answers, lies, questions, ages and limits. */

#include <net/if_arp.h>

#include "netstack/arp.h"
#include "netstack/netstack-private.h"
#include "netstack/udp.h"
#include "packet.h"

static const MacAddr unknown = {}, everybody = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

static bool is_mac(MacAddr a, MacAddr b) {
        return mac_equal(&a, &b);
}
static bool is_ip(IpAddr a, const char *text) {
        IpAddr b = fake_ip(text);

        return ip_equal(&a, &b);
}

static void say(FakeHost *h, MacAddr from, uint16_t op, const char *spa, const char *tpa) {
        IpAddr s = fake_ip(spa), t = fake_ip(tpa);

        packet_send(h, packet_arp(&from, op, &from, &s, &unknown, &t));
}

static void send_to(FakeHost *h, const char *dst) {
        Endpoint to = { fake_ip(dst), 7 }, from = { h->stack->config.gateway, 53 };

        udp_send(h->stack, &from, &to, /* mac= */ NULL, "hello", 5);
        netstack_flush(h->stack);
}

static void test_answers(void) {
        static const char *const ours[] = { "192.168.127.1", "192.168.127.254" };
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;

        for (unsigned i = 0; i < ELEMENTSOF(ours); i++) {
                say(h, FAKE_GUEST_MAC, ARPOP_REQUEST, "192.168.127.2", ours[i]);
                Parsed p = packet_take(h, &f);
                g_assert_cmpuint(p.arp.op, ==, ARPOP_REPLY);
                g_assert_true(is_mac(p.eth_dst, FAKE_GUEST_MAC));
                g_assert_true(is_mac(p.eth_src, FAKE_GATEWAY_MAC));
                g_assert_true(is_mac(p.arp.sha, FAKE_GATEWAY_MAC));
                g_assert_true(is_mac(p.arp.tha, FAKE_GUEST_MAC));
                g_assert_true(is_ip(p.arp.spa, ours[i]));
                g_assert_true(is_ip(p.arp.tpa, "192.168.127.2"));
        }
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, 1);

        /* a guest that probes whether the gateway's address is free (RFC 5227 2.1.1) hears that it is not, and is not learnt */
        say(h, FAKE_GUEST_MAC, ARPOP_REQUEST, "0.0.0.0", "192.168.127.1");
        g_assert_true(is_ip(packet_take(h, &f).arp.tpa, "0.0.0.0"));
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, 1);
        g_assert_cmpuint(fake_drops_total(h), ==, 0);

        say(h, FAKE_GUEST_MAC, ARPOP_REQUEST, "192.168.127.2", "192.168.127.77");
        say(h, FAKE_GUEST_MAC, ARPOP_REQUEST, "192.168.127.2", "8.8.8.8");
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_ARP_NOT_OURS), ==, 2);
}

static void test_lies(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;
        MacAddr other = { { 2, 0, 0, 0, 0, 9 } }, mac;
        IpAddr gateway = fake_ip("192.168.127.1"), guest = fake_ip("192.168.127.2");
        uint32_t mtu;

        /* defended once, not at every claim (RFC 5227 2.4) */
        for (unsigned i = 0; i < 5; i++)
                say(h, FAKE_GUEST_MAC, i % 2 ? ARPOP_REPLY : ARPOP_REQUEST, "192.168.127.1", "192.168.127.1");
        Parsed p = packet_take(h, &f);
        g_assert_true(is_mac(p.eth_dst, everybody));
        g_assert_true(is_ip(p.arp.spa, "192.168.127.1") && is_ip(p.arp.tpa, "192.168.127.1"));
        g_assert_true(is_mac(p.arp.sha, FAKE_GATEWAY_MAC));
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_ARP_SPOOF), ==, 5);
        fake_advance(h, 10 * USEC_PER_SEC);
        say(h, FAKE_GUEST_MAC, ARPOP_REPLY, "192.168.127.254", "192.168.127.2");
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        fake_clear_frames(h);

        /* one station in another's name */
        packet_send(h, packet_arp(&FAKE_GUEST_MAC, ARPOP_REQUEST, &other, &guest, &unknown, &gateway));
        g_assert_cmpuint(fake_drops(h, DROP_ARP_SPOOF), ==, 7);

        /* addresses nobody may have */
        say(h, FAKE_GUEST_MAC, ARPOP_REPLY, "192.168.127.0", "192.168.127.1");
        say(h, FAKE_GUEST_MAC, ARPOP_REPLY, "192.168.127.255", "192.168.127.1");
        say(h, FAKE_GUEST_MAC, ARPOP_REPLY, "10.0.0.1", "192.168.127.1");
        say(h, FAKE_GUEST_MAC, ARPOP_REPLY, "127.0.0.1", "192.168.127.1");
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, 0);
        g_assert_false(arp_lookup(h->stack->arp, &gateway, &mac, &mtu));
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_malformed(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        IpAddr gateway = fake_ip("192.168.127.1"), guest = fake_ip("192.168.127.2");
        g_autoptr(GByteArray) good = packet_arp(&FAKE_GUEST_MAC, ARPOP_REQUEST, &FAKE_GUEST_MAC, &guest, &unknown, &gateway);
        uint64_t n = 0;

        for (size_t len = ETH_HEADER_LEN; len < good->len; len++) {
                fake_input(h, good->data, len);
                g_assert_cmpuint(fake_drops(h, DROP_ARP_MALFORMED), ==, ++n);
        }
        for (size_t at = ETH_HEADER_LEN; at < ETH_HEADER_LEN + 8u; at++) { /* each byte of the fixed part */
                good->data[at] ^= 0x40;
                fake_input(h, good->data, good->len);
                good->data[at] ^= 0x40;
                g_assert_cmpuint(fake_drops(h, DROP_ARP_MALFORMED), ==, ++n);
        }
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        fake_input(h, good->data, good->len);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
}

static void test_resolve(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;

        send_to(h, "192.168.127.9");
        Parsed p = packet_take(h, &f);
        g_assert_cmpuint(p.arp.op, ==, ARPOP_REQUEST);
        g_assert_true(is_mac(p.eth_dst, everybody));
        g_assert_true(is_ip(p.arp.tpa, "192.168.127.9") && is_ip(p.arp.spa, "192.168.127.1"));

        /* asked once for all that wait */
        send_to(h, "192.168.127.9");
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        say(h, FAKE_GUEST_MAC, ARPOP_REPLY, "192.168.127.9", "192.168.127.1");
        for (unsigned i = 0; i < 2; i++) {
                p = packet_take(h, &f);
                g_assert_true(is_mac(p.eth_dst, FAKE_GUEST_MAC));
                g_assert_cmpuint(p.dport, ==, 7);
                g_assert_cmpmem(p.payload, p.payload_len, "hello", 5);
        }
        send_to(h, "192.168.127.9");
        g_assert_cmpuint(packet_take(h, &f).dport, ==, 7);

        /* nobody answers: asked ARP_PROBES_MAX times, a second apart, then dropped and forgotten */
        send_to(h, "192.168.127.10");
        fake_advance(h, 10 * USEC_PER_SEC);
        g_assert_cmpuint(fake_n_frames(h), ==, ARP_PROBES_MAX);
        g_assert_cmpuint(fake_drops(h, DROP_NEIGHBOUR_UNKNOWN), ==, 1);
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, 1);
}

static void test_queue_limits(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        char text[32];

        for (unsigned i = 0; i <= ARP_QUEUE_PER_ADDR_MAX; i++)
                send_to(h, "192.168.127.10");
        g_assert_cmpuint(fake_drops(h, DROP_NEIGHBOUR_QUEUE_FULL), ==, 1);

        for (unsigned i = ARP_QUEUE_PER_ADDR_MAX; i <= ARP_QUEUE_MAX; i++) {
                g_snprintf(text, sizeof(text), "192.168.127.%u", 20 + i);
                send_to(h, text);
        }
        g_assert_cmpuint(fake_drops(h, DROP_NEIGHBOUR_QUEUE_FULL), ==, 2);
        fake_advance(h, 5 * USEC_PER_SEC);
        g_assert_cmpuint(fake_drops(h, DROP_NEIGHBOUR_UNKNOWN), ==, ARP_QUEUE_MAX);
        fake_clear_frames(h);
        send_to(h, "192.168.127.10"); /* room again */
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
}

static void wide(NetstackConfig *c) {
        g_assert_cmpint(prefix_parse("192.168.0.0/16", &c->subnet), ==, 0);
}

static void learn(FakeHost *h, unsigned i, MacAddr mac) {
        IpAddr a = prefix_nth(&h->stack->config.subnet, i);

        arp_learn(h->stack->arp, &a, &mac);
}

static void test_table_limit(void) {
        g_autoptr(FakeHost) h = fake_host_new(wide);
        MacAddr honest = { { 2, 0, 0, 0, 0, 1 } }, liar = { { 2, 0, 0, 0, 0, 2 } }, late = { { 2, 0, 0, 0, 0, 3 } }, mac;
        IpAddr a = prefix_nth(&h->stack->config.subnet, 1);
        uint32_t mtu;

        learn(h, 1, honest);
        h->now += USEC_PER_SEC;
        for (unsigned i = 0; i < ARP_NEIGHBOURS_MAX - 1; i++)
                learn(h, 2 + i, liar);
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, ARP_NEIGHBOURS_MAX);
        g_assert_cmpuint(fake_drops(h, DROP_NEIGHBOUR_TABLE_FULL), ==, 0);

        /* full: the liar displaces its own, and not at will */
        for (unsigned i = 0; i < 1000; i++)
                learn(h, 5000 + i, liar);
        g_assert_cmpuint(fake_drops(h, DROP_NEIGHBOUR_TABLE_FULL), ==, 999);
        g_assert_true(arp_lookup(h->stack->arp, &a, &mac, &mtu));
        g_assert_true(is_mac(mac, honest));

        h->now += USEC_PER_SEC;
        learn(h, 1, honest);
        learn(h, 9000, late); /* a newcomer gets a place: the oldest's, which is the liar's */
        a = prefix_nth(&h->stack->config.subnet, 9000);
        g_assert_true(arp_lookup(h->stack->arp, &a, &mac, &mtu));
        a = prefix_nth(&h->stack->config.subnet, 1);
        g_assert_true(arp_lookup(h->stack->arp, &a, &mac, &mtu));
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, ARP_NEIGHBOURS_MAX);

        netstack_forget_guest(h->stack, &liar);
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, 2);
}

static void test_ages(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;
        IpAddr a = fake_ip("192.168.127.2");
        MacAddr mac, moved = { { 2, 0, 0, 0, 0, 7 } };
        uint32_t mtu;

        h->port.mtu = 9000;
        say(h, FAKE_GUEST_MAC, ARPOP_REQUEST, "192.168.127.2", "192.168.127.1");
        fake_clear_frames(h);
        g_assert_true(arp_lookup(h->stack->arp, &a, &mac, &mtu));
        g_assert_cmpuint(mtu, ==, 9000);

        /* fresh: no question */
        fake_advance(h, ARP_REACHABLE_USEC);
        send_to(h, "192.168.127.2");
        fake_advance(h, 5 * USEC_PER_SEC);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        fake_clear_frames(h);

        /* old: used at once and asked beside it, of itself; the answer makes it young again */
        send_to(h, "192.168.127.2");
        g_assert_cmpuint(packet_take(h, &f).dport, ==, 7);
        fake_advance(h, 1);
        Parsed p = packet_take(h, &f);
        g_assert_cmpuint(p.arp.op, ==, ARPOP_REQUEST);
        g_assert_true(is_mac(p.eth_dst, FAKE_GUEST_MAC));
        say(h, FAKE_GUEST_MAC, ARPOP_REPLY, "192.168.127.2", "192.168.127.1");
        fake_advance(h, 30 * USEC_PER_SEC);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_true(arp_lookup(h->stack->arp, &a, &mac, &mtu));

        /* moved to another link address */
        say(h, moved, ARPOP_REPLY, "192.168.127.2", "192.168.127.2");
        g_assert_true(arp_lookup(h->stack->arp, &a, &mac, &mtu));
        g_assert_true(is_mac(mac, moved));

        /* unused for ARP_STALE_USEC: asked ARP_PROBES_MAX times, forgotten */
        fake_advance(h, ARP_STALE_USEC + 10 * USEC_PER_SEC);
        g_assert_cmpuint(fake_n_frames(h), ==, ARP_PROBES_MAX);
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, 0);
        g_assert_false(arp_lookup(h->stack->arp, &a, &mac, &mtu));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/arp/answers", test_answers);
        g_test_add_func("/arp/lies", test_lies);
        g_test_add_func("/arp/malformed", test_malformed);
        g_test_add_func("/arp/resolve", test_resolve);
        g_test_add_func("/arp/queue-limits", test_queue_limits);
        g_test_add_func("/arp/table-limit", test_table_limit);
        g_test_add_func("/arp/ages", test_ages);
        return g_test_run();
}
