/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which guest a forward leads to: by address, by host name, or the only one there is; asked anew each time. And what it counts. */

#include <errno.h>
#include <glib.h>
#include <netinet/in.h>

#include "fake-host.h"
#include "netstack/dhcp.h"
#include "netstack/forward.h"
#include "netstack/tcp.h"
#include "packet.h"

static void add_lease(FakeHost *h, const char *addr, uint8_t number, const char *hostname, bool is_static) {
        Lease l = {
                .addr = fake_ip(addr),
                .mac = { { 0x52, 0x54, 0, 0, 0, number } },
                .expires = is_static ? USEC_INFINITY : netstack_now(h->stack) + USEC_PER_MINUTE,
                .is_static = is_static,
        };

        g_assert_cmpuint(g_strlcpy(l.hostname, hostname, sizeof(l.hostname)), <, sizeof(l.hostname));
        g_assert_cmpint(netstack_add_lease(h->stack, &l), ==, 0);
}

/* @expected NULL: there is no such guest. */
static void assert_target(FakeHost *h, const char *addr, const char *hostname, const char *expected) {
        Forward f = { .config = { .remote = { .port = 80 } } };
        Endpoint target;
        int r;

        if (addr)
                f.config.remote.addr = fake_ip(addr);
        g_assert_cmpuint(g_strlcpy(f.config.hostname, hostname, sizeof(f.config.hostname)), <, sizeof(f.config.hostname));
        r = forward_target(h->stack, &f, &target);
        g_assert_cmpint(r, ==, expected ? 0 : -EHOSTUNREACH);
        if (expected)
                g_assert_cmpstr(ENDPOINT_TO_TEXT(&target), ==, expected);
}

static void test_address(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        assert_target(h, "192.168.127.9", "", "192.168.127.9:80"); /* whether it is there, its answer will show */
}

static void test_only(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        assert_target(h, NULL, "", NULL);
        add_lease(h, "192.168.127.5", 5, "", true);
        assert_target(h, NULL, "", "192.168.127.5:80");
        add_lease(h, "192.168.127.7", 7, "web", false); /* one that has come goes before one that is only expected */
        assert_target(h, NULL, "", "192.168.127.7:80");
        add_lease(h, "192.168.127.8", 8, "", false);
        assert_target(h, NULL, "", NULL);
        fake_advance(h, 2 * USEC_PER_MINUTE);
        assert_target(h, NULL, "", "192.168.127.5:80");
}

static void test_hostname(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        add_lease(h, "192.168.127.8", 8, "", false);
        assert_target(h, NULL, "web", NULL); /* not the only guest either */
        add_lease(h, "192.168.127.7", 7, "web", false);
        assert_target(h, NULL, "web", "192.168.127.7:80");
        assert_target(h, NULL, "WEB", "192.168.127.7:80");
        assert_target(h, NULL, "we", NULL);
        fake_advance(h, 2 * USEC_PER_MINUTE);
        assert_target(h, NULL, "web", NULL);
        add_lease(h, "192.168.127.9", 9, "web", false); /* it comes back, somewhere else */
        assert_target(h, NULL, "web", "192.168.127.9:80");
}

/* Without a descriptor to accept with, the client waits; it is not forgotten when no other comes after it. */
static void test_accept_again(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Endpoint local = fake_endpoint("127.0.0.1:6443"), peer = fake_endpoint("10.9.9.9:5555");
        int fd = fake_listener(h, &local);
        ForwardConfig fc = { .id = 1, .proto = IPPROTO_TCP, .local = local, .remote = fake_endpoint("192.168.127.2:80") };
        ForwardStats st;

        g_assert_cmpint(netstack_forward_add(h->stack, &fc, fd), ==, 0);
        h->accept_error = -EMFILE;
        fake_client(h, fd, &peer);
        fake_run(h);
        fake_advance(h, 5 * USEC_PER_SEC);
        g_assert_cmpuint(fake_drops(h, DROP_TCP_NO_SOCKET), >=, 2);
        g_assert_cmpuint(fake_drops(h, DROP_TCP_NO_SOCKET), <, 10);
        h->accept_error = 0;
        fake_advance(h, 2 * USEC_PER_SEC);
        g_assert_cmpint(netstack_forward_stats(h->stack, 1, &st), ==, 0);
        g_assert_cmpuint(st.connections, ==, 1);
        g_assert_cmpuint(st.active, ==, 1);
        fake_clear_frames(h);
}

/* Clients who come faster than they can be accepted do not keep everybody else waiting: so many of them at a time, and then the others. */
static void test_accept_turns(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Endpoint local = fake_endpoint("127.0.0.1:6443"), peer = fake_endpoint("10.9.9.9:5000");
        int fd = fake_listener(h, &local);
        ForwardConfig fc = { .id = 1, .proto = IPPROTO_TCP, .local = local, .remote = fake_endpoint("192.168.127.2:80") };
        ForwardStats st;

        g_assert_cmpint(netstack_forward_add(h->stack, &fc, fd), ==, 0);
        for (unsigned i = 0; i < 3 * TCP_ACCEPTS_MAX; i++, peer.port++)
                fake_client(h, fd, &peer);
        netstack_host_event(h->stack, fake_socket(h, fd)->cookie, HOST_EVENT_IN);
        g_assert_cmpint(netstack_forward_stats(h->stack, 1, &st), ==, 0);
        g_assert_cmpuint(st.connections, ==, TCP_ACCEPTS_MAX);

        fake_socket(h, fd)->pending = 0; /* no event comes but for the next client */
        for (unsigned i = 0; i < 3; i++) {
                g_assert_cmpuint(netstack_next_timer(h->stack), <=, h->now); /* at once, and one turn each time */
                netstack_run_timers(h->stack);
        }
        g_assert_cmpint(netstack_forward_stats(h->stack, 1, &st), ==, 0);
        g_assert_cmpuint(st.connections, ==, 3 * TCP_ACCEPTS_MAX);
        g_assert_cmpuint(netstack_next_timer(h->stack), >, h->now);
        fake_clear_frames(h);
}

/* What a forward counts: a connection that could not be watched was never active, and bytes count while the connection is open. */
static void test_count(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Endpoint local = fake_endpoint("127.0.0.1:6443"), peer = fake_endpoint("10.9.9.9:5555");
        int fd = fake_listener(h, &local);
        ForwardConfig fc = { .id = 1, .proto = IPPROTO_TCP, .local = local, .remote = fake_endpoint("192.168.127.2:80") };
        IpAddr guest = fake_ip("192.168.127.2"), gateway = fake_ip("192.168.127.1");
        ForwardStats st;

        packet_send(h, packet_arp(&FAKE_GUEST_MAC, 2, &FAKE_GUEST_MAC, &guest, &FAKE_GATEWAY_MAC, &gateway));
        g_assert_cmpint(netstack_forward_add(h->stack, &fc, fd), ==, 0);
        fake_client(h, fd, &peer);
        fake_run(h);
        g_autoptr(FakeFrame) first = NULL, second = NULL;
        Parsed syn = packet_take(h, &first);

        h->watch_error = -ENOSPC;
        peer.port++;
        FakeSocket *refused = fake_client(h, fd, &peer);
        fake_run(h);
        g_assert_false(refused->open);
        g_assert_true(refused->was_reset);
        h->watch_error = 0;
        g_assert_cmpint(netstack_forward_stats(h->stack, 1, &st), ==, 0);
        g_assert_cmpuint(st.connections, ==, 2);
        g_assert_cmpuint(st.active, ==, 1);

        Packet4 p = packet4("10.9.9.9", 5555);
        p.sport = 80;
        packet_send(h, packet_tcp(&p, 7000, syn.seq + 1, 0x12, 8000, NULL, 0, NULL, 0)); /* SYN, ACK */
        packet_send(h, packet_tcp(&p, 7001, syn.seq + 1, 0x10, 8000, NULL, 0, "hello", 5));
        for (unsigned i = 0; i < 2; i++) { /* open, and when it is closed */
                g_assert_cmpint(netstack_forward_stats(h->stack, 1, &st), ==, 0);
                g_assert_cmpuint(st.rx_bytes, ==, 5);
                g_assert_cmpuint(st.tx_bytes, ==, 0);
                g_assert_cmpuint(st.active, ==, 1 - i);
                packet_send(h, packet_tcp(&p, 7006, syn.seq + 1, 0x04, 0, NULL, 0, NULL, 0)); /* RST */
        }
        fake_clear_frames(h);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/forward/address", test_address);
        g_test_add_func("/forward/only", test_only);
        g_test_add_func("/forward/hostname", test_hostname);
        g_test_add_func("/forward/accept-again", test_accept_again);
        g_test_add_func("/forward/accept-turns", test_accept_turns);
        g_test_add_func("/forward/count", test_count);
        return g_test_run();
}
