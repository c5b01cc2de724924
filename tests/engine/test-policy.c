/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Policy through the whole gateway: what is denied is told so, mapped addresses lead where they should, and their answers come back from them. */

#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>

#include "netstack/arp.h"
#include "netstack/netstack-private.h"
#include "packet.h"

static void configure(NetstackConfig *c) {
        static const char *const rules[] = { "deny tcp host 22", "deny 192.0.2.0/24", "allow udp 169.254.1.1 7" };

        for (size_t i = 0; i < ELEMENTSOF(rules); i++)
                g_assert_cmpint(policy_rule_parse(rules[i], &c->policy.rules[c->policy.n_rules++]), ==, 0);
        c->policy.nat[0] = (PolicyNat){ fake_ip("192.168.127.200"), fake_ip("10.0.0.5") };
        c->policy.nat[1] = (PolicyNat){ fake_ip("192.168.127.201"), fake_ip("192.0.2.9") };
        c->policy.n_nat = 2;
        c->policy.addresses[0] = fake_ip("192.168.127.99");
        c->policy.addresses[1] = fake_ip("192.168.127.200"); /* in the map as well, as gvproxy's host address is */
        c->policy.n_addresses = 2;
}

static FakeHost *host_new(void) {
        FakeHost *h = fake_host_new(configure);
        IpAddr guest = fake_ip("192.168.127.2");
        MacAddr mac = FAKE_GUEST_MAC;

        arp_learn(h->stack->arp, &guest, &mac);
        return h;
}

static void syn(FakeHost *h, const char *dst, uint16_t port) {
        Packet4 p = packet4(dst, port);

        packet_send(h, packet_tcp(&p, 1000, 0, TH_SYN, 65535, NULL, 0, NULL, 0));
}

static void test_tcp(void) {
        g_autoptr(FakeHost) h = host_new();

        h->connect_result = FAKE_CONNECT_NEVER;
        syn(h, "192.168.127.200", 80);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fake_last_socket(h, FAKE_TCP)->peer), ==, "10.0.0.5:80");
        syn(h, "192.168.127.254", 80);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fake_last_socket(h, FAKE_TCP)->peer), ==, "127.0.0.1:80");
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 2);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        syn(h, "192.0.2.1", 80);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, "192.168.127.1", "192.0.2.1", IPPROTO_TCP);
        syn(h, "192.168.127.201", 80); /* the rule looks behind the map */
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, "192.168.127.1", "192.168.127.201", IPPROTO_TCP);
        syn(h, "169.254.169.254", 80);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, "192.168.127.1", "169.254.169.254", IPPROTO_TCP);
        g_assert_cmpuint(fake_drops(h, DROP_IP_POLICY), ==, 3);
        syn(h, "192.168.127.254", 22); /* as where nobody listens: there is a host, it does not serve that */
        g_autoptr(FakeFrame) f = NULL;
        g_assert_cmpuint(packet_take(h, &f).tcp_flags & TH_RST, ==, TH_RST);
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 2);
}

static void test_udp(void) {
        g_autoptr(FakeHost) h = host_new();
        g_autoptr(FakeFrame) f = NULL;
        Packet4 p = packet4("192.168.127.200", 7);
        Endpoint from = fake_endpoint("10.0.0.5:7");
        FakeSocket *k;
        Parsed reply;

        packet_send(h, packet_udp(&p, "ask", 3));
        k = fake_last_socket(h, FAKE_UDP);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fake_sent(k, 0)->peer), ==, "10.0.0.5:7");
        fake_dgram_push(h, k, &from, "answer", 6);
        fake_run(h);
        reply = packet_take(h, &f);
        g_assert_cmpstr(IP_TO_TEXT(&reply.src), ==, "192.168.127.200");
        g_assert_cmpmem(reply.payload, reply.payload_len, "answer", 6);

        p = packet4("169.254.1.1", 7); /* allowed by name */
        packet_send(h, packet_udp(&p, "ask", 3));
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        p = packet4("169.254.1.1", 8);
        packet_send(h, packet_udp(&p, "ask", 3));
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, "192.168.127.1", "169.254.1.1", IPPROTO_UDP);
}

static bool answers_arp(FakeHost *h, const char *addr) {
        MacAddr guest = FAKE_GUEST_MAC, nobody = {};
        IpAddr spa = fake_ip("192.168.127.2"), tpa = fake_ip(addr);
        bool found;

        fake_clear_frames(h);
        packet_send(h, packet_arp(&guest, 1, &guest, &spa, &nobody, &tpa));
        found = fake_n_frames(h) == 1;
        fake_clear_frames(h);
        return found;
}

/* The gateway answers for them, and DHCP gives them to nobody. */
static void test_addresses(void) {
        g_autoptr(FakeHost) h = host_new();
        static const char *const ours[] = { "192.168.127.1", "192.168.127.254", "192.168.127.99", "192.168.127.200", "192.168.127.201" };
        Packet4 p = packet4("192.168.127.99", 0);
        g_autoptr(FakeFrame) f = NULL;

        for (size_t i = 0; i < ELEMENTSOF(ours); i++) {
                Lease l = { .addr = fake_ip(ours[i]), .mac = { { 2, 0, 0, 0, 0, 9 } }, .expires = USEC_INFINITY, .is_static = true };

                g_assert_true(answers_arp(h, ours[i]));
                g_assert_cmpint(netstack_add_lease(h->stack, &l), ==, -EINVAL);
        }
        g_assert_false(answers_arp(h, "192.168.127.98"));
        packet_send(h, packet_icmp(&p, ICMP_ECHO, 0, 1, 1, "x", 1));
        g_assert_cmpuint(packet_take(h, &f).icmp_type, ==, ICMP_ECHOREPLY);
}

/* A tunnel: the guest sees a connection of the gateway; bytes go both ways; one that is no guest's is refused. */
static void test_connect(void) {
        g_autoptr(FakeHost) h = host_new();
        Endpoint guest = fake_endpoint("192.168.127.2:22");
        static const char *const wrong[] = { "192.168.127.1:22", "192.168.127.254:22", "192.168.127.200:22", "10.0.0.1:22", "192.168.127.2:0" };
        g_autoptr(FakeFrame) f = NULL, f2 = NULL;
        int flow_fd, service_fd;
        Parsed p;

        g_assert_cmpint(fake_host_ops.stream_pair(h, 0, &flow_fd, &service_fd), ==, 0);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                Endpoint e = {};

                if (endpoint_parse(wrong[i], &e) < 0)
                        e.addr = fake_ip("192.168.127.2");
                g_assert_cmpint(netstack_connect(h->stack, &e, flow_fd), ==, -EHOSTUNREACH);
        }
        g_assert_cmpint(netstack_connect(h->stack, &guest, flow_fd), ==, 0);
        netstack_flush(h->stack);
        p = packet_take(h, &f);
        g_assert_cmpuint(p.tcp_flags, ==, TH_SYN);
        g_assert_cmpstr(IP_TO_TEXT(&p.src), ==, "192.168.127.1");
        g_assert_cmpuint(p.dport, ==, 22);

        Packet4 out = packet4("192.168.127.1", p.sport);
        out.sport = 22;
        packet_send(h, packet_tcp(&out, 5000, p.seq + 1, TH_SYN | TH_ACK, 65535, NULL, 0, NULL, 0));
        fake_clear_frames(h);
        packet_send(h, packet_tcp(&out, 5001, p.seq + 1, TH_ACK | TH_PUSH, 65535, NULL, 0, "SSH-2.0", 7));
        g_assert_cmpmem(fake_socket(h, service_fd)->in->data, fake_socket(h, service_fd)->in->len, "SSH-2.0", 7);
        packet_send(h, packet_tcp(&out, 5008, p.seq + 1, TH_RST, 0, NULL, 0, NULL, 0));
        fake_run(h);
        g_assert_false(fake_socket(h, flow_fd)->open);
        fake_host_ops.close(h, service_fd, false);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/policy/tcp", test_tcp);
        g_test_add_func("/policy/udp", test_udp);
        g_test_add_func("/policy/addresses", test_addresses);
        g_test_add_func("/policy/connect", test_connect);
        return g_test_run();
}
