/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ICMP: echo here and to the outside, errors owed and not owed, their rate, and what the host's error queue says. */

#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>

#include "basic/checksum.h"
#include "netstack/flow.h"
#include "netstack/icmp.h"
#include "netstack/ping.h"
#include "netstack/netstack-private.h"
#include "packet.h"

static void ping(FakeHost *h, const char *dst, uint16_t id, uint16_t seq, size_t len) {
        Packet4 p = packet4(dst, 0);
        g_autofree uint8_t *payload = g_malloc(len + 1);

        for (size_t i = 0; i < len; i++)
                payload[i] = (uint8_t) (i + seq);
        packet_send(h, packet_icmp(&p, ICMP_ECHO, 0, id, seq, payload, len));
}

static void test_echo(void) {
        static const char *const ours[] = { "192.168.127.1", "192.168.127.254" };
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;

        for (unsigned i = 0; i < ELEMENTSOF(ours); i++) {
                IpAddr a = fake_ip(ours[i]);

                for (size_t len = 0; len <= 1472; len += 92) {
                        ping(h, ours[i], 77, (uint16_t) len, len);
                        Parsed p = packet_take(h, &f);
                        g_assert_cmpuint(p.icmp_type, ==, ICMP_ECHOREPLY);
                        g_assert_cmpuint(p.echo_id, ==, 77);
                        g_assert_cmpuint(p.echo_seq, ==, len);
                        g_assert_cmpuint(p.payload_len, ==, len);
                        g_assert_true(ip_equal(&p.src, &a));
                        for (size_t j = 0; j < len; j++)
                                g_assert_cmpuint(p.payload[j], ==, (uint8_t) (j + len));
                }
        }
        ping(h, "192.168.127.1", 77, 1, 65507); /* one frame in by a large link, cut on the way back */
        g_assert_cmpuint(fake_n_frames(h), ==, DIV_ROUND_UP(65515, 1480));
        g_assert_cmpuint(h->sockets->len, ==, 0);
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

static void test_malformed(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Packet4 p = packet4("192.168.127.1", 0);
        uint64_t n = 0;

        for (size_t len = 0; len < 8; len++) {
                packet_send(h, packet_ip(&p, IPPROTO_ICMP, "\10\0\367\377\0\0\0\0", len));
                g_assert_cmpuint(fake_drops(h, DROP_ICMP_MALFORMED), ==, ++n);
        }
        GByteArray *b = packet_icmp(&p, ICMP_ECHO, 0, 1, 1, "abc", 3);
        b->data[b->len - 1] ^= 1;
        packet_send(h, b);
        g_assert_cmpuint(fake_drops(h, DROP_ICMP_MALFORMED), ==, ++n);

        for (unsigned type = 0; type < 256; type++)
                if (type != ICMP_ECHO) {
                        p.dst = fake_ip(type % 2 ? "192.168.127.1" : "8.8.8.8");
                        packet_send(h, packet_icmp(&p, (uint8_t) type, 0, 1, 1, "abc", 3));
                }
        p.dst = fake_ip("8.8.8.8");
        packet_send(h, packet_icmp(&p, ICMP_ECHO, 1, 1, 1, "abc", 3));
        g_assert_cmpuint(fake_drops(h, DROP_ICMP_TYPE), ==, 256);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(h->sockets->len, ==, 0);
}

/* An answer to the request sent as number @i: an ICMP message under the socket's id. */
static void answer(FakeHost *h, FakeSocket *k, const char *from, uint8_t type, unsigned i, const void *payload, size_t len) {
        g_autofree uint8_t *m = g_malloc0(8 + len);
        Endpoint peer = { fake_ip(from), 0 };
        struct icmphdr icmp;

        memcpy(&icmp, fake_sent(k, i)->data, sizeof(icmp));
        g_assert_cmpuint(ntohs(icmp.un.echo.id), ==, k->local.port);
        icmp.type = type;

        memcpy(m, &icmp, sizeof(icmp));
        memcpy(m + 8, payload, len);
        fake_dgram_push(h, k, &peer, m, 8 + len);
}

static void test_outside(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;

        ping(h, "9.9.9.9", 500, 1, 56);
        ping(h, "9.9.9.9", 500, 2, 56);
        FakeSocket *k = fake_last_socket(h, FAKE_PING);
        g_assert_cmpuint(h->n_opened[FAKE_PING], ==, 1);
        g_assert_cmpuint(k->sent->len, ==, 2);
        g_assert_cmpuint(fake_sent(k, 0)->len, ==, 64);
        g_assert_cmpuint(fake_sent(k, 0)->data[0], ==, ICMP_ECHO);
        g_assert_cmpuint(fake_sent(k, 0)->ttl, ==, 63);
        for (unsigned i = 0; i < 2; i++) /* ready for a raw socket */
                g_assert_cmpuint(checksum_fold(checksum_add(fake_sent(k, i)->data, 64, 0)), ==, 0xffff);
        g_assert_cmpint(memcmp(fake_sent(k, 0)->data, fake_sent(k, 1)->data, 8), !=, 0);

        answer(h, k, "9.9.9.9", ICMP_ECHOREPLY, 0, "payload", 7);
        fake_run(h);
        Parsed p = packet_take(h, &f);
        g_assert_cmpuint(p.icmp_type, ==, ICMP_ECHOREPLY);
        g_assert_cmpuint(p.echo_id, ==, 500); /* the guest's, not the kernel's */
        g_assert_cmpuint(p.echo_seq, ==, 1);
        g_assert_cmpmem(p.payload, p.payload_len, "payload", 7);
        g_assert_cmpuint(p.ttl, ==, 63);

        /* another id, another destination: flows of their own, over the same socket */
        ping(h, "9.9.9.9", 501, 1, 8);
        ping(h, "9.9.9.10", 500, 7, 8);
        g_assert_cmpuint(h->n_opened[FAKE_PING], ==, 1);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_PING), ==, 3);
        answer(h, k, "9.9.9.10", ICMP_ECHOREPLY, 3, "x", 1);
        answer(h, k, "9.9.9.9", ICMP_ECHOREPLY, 2, "x", 1);
        fake_run(h);
        g_clear_pointer(&f, fake_frame_free);
        p = packet_take(h, &f);
        g_assert_cmpuint(p.echo_id, ==, 500);
        g_assert_cmpuint(p.echo_seq, ==, 7);
        g_clear_pointer(&f, fake_frame_free);
        p = packet_take(h, &f);
        g_assert_cmpuint(p.echo_id, ==, 501);
        g_assert_cmpuint(p.echo_seq, ==, 1);

        /* what answers no question of ours: of another host, a question, another's id, a number that never was, too short */
        answer(h, k, "6.6.6.6", ICMP_ECHOREPLY, 1, "x", 1);
        answer(h, k, "9.9.9.9", ICMP_ECHO, 1, "x", 1);
        k->local.port ^= 1;
        ((uint8_t *) fake_sent(k, 0)->data)[5] ^= 1;
        answer(h, k, "9.9.9.9", ICMP_ECHOREPLY, 0, "x", 1);
        k->local.port ^= 1;
        ((uint8_t *) fake_sent(k, 1)->data)[6] ^= 1;
        answer(h, k, "9.9.9.9", ICMP_ECHOREPLY, 1, "x", 1);
        fake_dgram_push(h, k, &(Endpoint){ fake_ip("9.9.9.9"), 0 }, "\0\0\0\0\0\0\0", 7);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_PING_FILTERED), ==, 5);

        /* the latest are remembered, and they alone */
        for (unsigned i = 0; i < PING_REQUESTS_MAX; i++)
                ping(h, "9.9.9.9", 500, (uint16_t) i, 8);
        answer(h, k, "9.9.9.10", ICMP_ECHOREPLY, 3, "x", 1);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        answer(h, k, "9.9.9.9", ICMP_ECHOREPLY, 4, "x", 1);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);

        fake_advance(h, PING_TIMEOUT_USEC);
        g_assert_cmpuint(h->n_open, ==, 1);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_PING), ==, 0);
}

static void test_many_answers(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        ping(h, "9.9.9.9", 500, 1, 56);
        FakeSocket *k = fake_last_socket(h, FAKE_PING);
        for (unsigned i = 0; i < 1000; i++) /* more than one turn takes: none is left behind */
                answer(h, k, "9.9.9.9", ICMP_ECHOREPLY, 0, "x", 1);
        fake_advance(h, USEC_PER_SEC);
        g_assert_cmpuint(fake_n_frames(h), ==, 1000);
}

static void few_pings(NetstackConfig *c) {
        c->limits.ping_flows = 4;
}

static void test_limit(void) {
        g_autoptr(FakeHost) h = fake_host_new(few_pings);

        for (uint16_t i = 0; i < 3; i++) /* one guest's share of 4 */
                ping(h, "9.9.9.9", i, 1, 8);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_PING), ==, 3);
        fake_advance(h, USEC_PER_SEC);
        ping(h, "9.9.9.9", 0, 2, 8); /* 1 is now the oldest */
        for (uint16_t i = 100; i < 1000; i++)
                ping(h, "9.9.9.9", i, 1, 8);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_PING), ==, 3);
        g_assert_cmpuint(h->n_opened[FAKE_PING], ==, 1);
        g_assert_cmpuint(fake_drops(h, DROP_PING_FLOW_LIMIT), ==, 899);
        FakeSocket *k = fake_last_socket(h, FAKE_PING);
        answer(h, k, "9.9.9.9", ICMP_ECHOREPLY, 1, "x", 1);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 0); /* that one made room */
        answer(h, k, "9.9.9.9", ICMP_ECHOREPLY, 3, "x", 1);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);

        h->port.id++; /* another guest has a place, and the first one's are its own again when its pings end */
        ping(h, "9.9.9.9", 1, 1, 8);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_PING), ==, 4);
        h->port.id--;
        fake_advance(h, 2 * PING_TIMEOUT_USEC);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_PING), ==, 0);
        for (uint16_t i = 0; i < 3; i++)
                ping(h, "9.9.9.9", i, 1, 8);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_PING), ==, 3);
}

static void test_no_socket(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        h->open_error = -EACCES; /* net.ipv4.ping_group_range says no */
        ping(h, "9.9.9.9", 1, 1, 8);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, "192.168.127.1", "9.9.9.9", IPPROTO_ICMP);
        h->open_error = -EMFILE;
        ping(h, "9.9.9.9", 1, 1, 8);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_PING_NO_SOCKET), ==, 2);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_PING), ==, 0);
}

static void test_relayed(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;

        ping(h, "9.9.9.9", 500, 3, 56);
        FakeSocket *k = fake_last_socket(h, FAKE_PING);
        HostError e = {
                .peer = { fake_ip("9.9.9.9"), 0 }, .offender = fake_ip("10.11.12.13"), .error = EHOSTUNREACH,
                .icmp_type = ICMP_TIME_EXCEEDED, .icmp_code = ICMP_EXC_TTL, .payload_len = 64,
        };
        memcpy(e.payload, fake_sent(k, 0)->data, 64);
        fake_dgram_push_error(h, k, &e);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        Parsed p = packet_take(h, &f);
        g_assert_cmpuint(p.icmp_type, ==, ICMP_TIME_EXCEEDED);
        g_assert_true(ip_equal(&p.src, &e.offender));
        g_assert_cmpuint(p.payload[20], ==, ICMP_ECHO);
        g_assert_cmpuint(p.payload[24] << 8 | p.payload[25], ==, 500); /* the guest's own id in the quote */
        g_assert_cmpuint(p.payload[26] << 8 | p.payload[27], ==, 3);

        /* refused at once by the host's own stack */
        k->send_error = -ENETUNREACH;
        ping(h, "9.9.9.9", 500, 4, 56);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_NET_UNREACH, "192.168.127.1", "9.9.9.9", IPPROTO_ICMP);
        g_assert_cmpuint(fake_drops(h, DROP_PING_SEND), ==, 1);
}

static void test_rate(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Packet4 p = packet4("192.168.127.1", 4444);

        for (unsigned i = 0; i < 10000; i++)
                packet_send(h, packet_udp(&p, "x", 1));
        g_assert_cmpuint(fake_n_frames(h), ==, ICMP_ERRORS_PER_SEC);
        g_assert_cmpuint(fake_drops(h, DROP_ICMP_RATE), ==, 10000 - ICMP_ERRORS_PER_SEC);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_PORT_UNSERVED), ==, 10000);
        fake_clear_frames(h);

        /* ten seconds of flood, a packet every millisecond: the rate and no more */
        for (unsigned i = 0; i < 10000; i++) {
                h->now += USEC_PER_MSEC;
                packet_send(h, packet_udp(&p, "x", 1));
        }
        g_assert_cmpuint(fake_n_frames(h), >=, 10 * ICMP_ERRORS_PER_SEC - 1);
        g_assert_cmpuint(fake_n_frames(h), <=, 10 * ICMP_ERRORS_PER_SEC + 1);
        fake_clear_frames(h);

        h->now += 1000 * USEC_PER_SEC; /* a long rest fills the bucket, not more */
        for (unsigned i = 0; i < 10000; i++)
                packet_send(h, packet_udp(&p, "x", 1));
        g_assert_cmpuint(fake_n_frames(h), ==, ICMP_ERRORS_PER_SEC);
        fake_clear_frames(h);

        ping(h, "192.168.127.1", 1, 1, 8); /* echo is no error */
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
}

static void test_not_owed(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Packet4 p = packet4("8.8.8.8", 0);

        p.ttl = 1;
        for (unsigned type = 0; type < 256; type++) /* about an error, or anything but a question */
                if (type != ICMP_ECHO)
                        packet_send(h, packet_icmp(&p, (uint8_t) type, 0, 1, 1, "abc", 3));
        g_assert_cmpuint(fake_drops(h, DROP_IP_TTL), ==, 255);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        p = packet4("192.168.127.1", 4444); /* by a broadcast of the link */
        memset(&p.dst_mac, 0xff, sizeof(p.dst_mac));
        packet_send(h, packet_udp(&p, "x", 1));
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_quote(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;
        g_autofree uint8_t *big = g_malloc0(1400);
        Packet4 p = packet4("192.168.127.1", 4444);

        g_autoptr(GByteArray) b = packet_udp(&p, big, 1400);
        fake_input(h, b->data, b->len);
        Parsed e = packet_take(h, &f);
        g_assert_cmpuint(e.ip_len, ==, 576); /* RFC 1812 4.3.2.3 */
        g_assert_cmpmem(e.payload, e.payload_len, b->data + ETH_HEADER_LEN, 548);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/icmp/echo", test_echo);
        g_test_add_func("/icmp/malformed", test_malformed);
        g_test_add_func("/icmp/outside", test_outside);
        g_test_add_func("/icmp/many-answers", test_many_answers);
        g_test_add_func("/icmp/limit", test_limit);
        g_test_add_func("/icmp/no-socket", test_no_socket);
        g_test_add_func("/icmp/relayed", test_relayed);
        g_test_add_func("/icmp/rate", test_rate);
        g_test_add_func("/icmp/not-owed", test_not_owed);
        g_test_add_func("/icmp/quote", test_quote);
        return g_test_run();
}
