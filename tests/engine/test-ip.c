/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IPv4 headers that lie, sources and destinations that may not be, hops, and packets cut on the way to guests. */

#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>

#include "netstack/arp.h"
#include "netstack/ip.h"
#include "netstack/netstack-private.h"
#include "netstack/udp.h"
#include "packet.h"

#define IP_AT ETH_HEADER_LEN

/* Sends a datagram that would open a socket, changed by @change with checksums put right after, and says what was counted. */
static void expect_drop(FakeHost *h, GByteArray *frame, bool fix, Drop reason) {
        uint64_t before = fake_drops(h, reason), all = fake_drops_total(h);

        if (fix)
                packet_fix(frame->data, frame->len);
        fake_input(h, frame->data, frame->len);
        g_assert_cmpuint(fake_drops(h, reason), ==, before + 1);
        g_assert_cmpuint(fake_drops_total(h), ==, all + 1);
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 0);
        g_byte_array_unref(frame);
}

static GByteArray *datagram(const char *dst) {
        Packet4 p = packet4(dst, 9);

        return packet_udp(&p, "0123456789", 10);
}

static void test_headers(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        GByteArray *b;

        /* every truncation: the total length then says more than there is */
        b = datagram("8.8.8.8");
        for (guint len = IP_AT; len < b->len; len++) {
                GByteArray *cut = g_byte_array_new();

                g_byte_array_append(cut, b->data, len);
                expect_drop(h, cut, /* fix= */ false, DROP_IP_MALFORMED);
        }
        g_byte_array_unref(b);

        for (unsigned version = 0; version < 16; version++) {
                if (version == 4)
                        continue;
                b = datagram("8.8.8.8");
                b->data[IP_AT] = (uint8_t) (version << 4 | 5);
                expect_drop(h, b, true, DROP_IP_MALFORMED);
        }
        for (unsigned ihl = 0; ihl < 16; ihl++) {
                if (ihl == 5)
                        continue;
                b = datagram("8.8.8.8");
                b->data[IP_AT] = (uint8_t) (0x40 | ihl);
                /* below 5 no header; above, options, or (beyond the 38 bytes there are) a lie */
                expect_drop(h, b, true, ihl < 5 || ihl > 9 ? DROP_IP_MALFORMED : DROP_IP_OPTIONS);
        }
        static const uint16_t totals[] = { 0, 1, 19, 39, 0x7fff, 0xffff };
        for (unsigned i = 0; i < ELEMENTSOF(totals); i++) {
                b = datagram("8.8.8.8");
                b->data[IP_AT + 2] = (uint8_t) (totals[i] >> 8);
                b->data[IP_AT + 3] = (uint8_t) totals[i];
                expect_drop(h, b, true, DROP_IP_MALFORMED);
        }
        for (unsigned bit = 0; bit < 16; bit++) { /* a flipped bit anywhere in the checksum */
                b = datagram("8.8.8.8");
                b->data[IP_AT + 10 + bit / 8] ^= (uint8_t) (1 << bit % 8);
                expect_drop(h, b, false, DROP_IP_CHECKSUM);
        }
        g_assert_cmpuint(fake_n_frames(h), ==, 0); /* none of these is answered */
}

static void test_padding(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        GByteArray *b = datagram("8.8.8.8");

        g_byte_array_append(b, (const guint8 *) "PADDINGPADDING", 14);
        packet_send(h, b);
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        g_assert_cmpmem(fake_sent(k, 0)->data, fake_sent(k, 0)->len, "0123456789", 10);

        /* ... and none of it comes back in an echo */
        g_autoptr(FakeFrame) f = NULL;
        Packet4 p = packet4("192.168.127.1", 0);
        b = packet_icmp(&p, ICMP_ECHO, 0, 1, 1, "abc", 3);
        g_byte_array_append(b, (const guint8 *) "PADDINGPADDING", 14);
        packet_send(h, b);
        Parsed e = packet_take(h, &f);
        g_assert_cmpmem(e.payload, e.payload_len, "abc", 3);
}

static void test_sources(void) {
        static const char *const bad[] = {
                "0.0.0.0", "8.8.8.8", "127.0.0.1", "224.0.0.1", "255.255.255.255", "192.168.127.0", "192.168.127.255",
                "192.168.127.1", "192.168.127.254", "192.168.126.2",
        };
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        for (unsigned i = 0; i < ELEMENTSOF(bad); i++) {
                Packet4 p = packet4("8.8.8.8", 9);

                p.src = fake_ip(bad[i]);
                expect_drop(h, packet_udp(&p, "x", 1), false, DROP_IP_SOURCE);
        }
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, 0);

        /* 0.0.0.0 may ask for an address, and nothing else */
        Packet4 p = packet4("8.8.8.8", 67);
        p.src = fake_ip("0.0.0.0");
        p.sport = 68;
        expect_drop(h, packet_udp(&p, "x", 1), false, DROP_IP_SOURCE);
        p.dst = fake_ip("255.255.255.255");
        expect_drop(h, packet_udp(&p, "x", 1), false, DROP_DHCP_MALFORMED);
        p.frag = IP_MF;
        expect_drop(h, packet_udp(&p, "01234567", 8), false, DROP_IP_SOURCE);
        p.frag = 0;
        p.sport = 69;
        expect_drop(h, packet_udp(&p, "x", 1), false, DROP_IP_SOURCE);
        p.sport = 68;
        expect_drop(h, packet_ip(&p, IPPROTO_TCP, "\0D\0C", 4), false, DROP_IP_SOURCE);
}

static void test_destinations(void) {
        static const struct {
                const char *dst;
                int code; /* of "unreachable", -1: silence */
        } table[] = {
                { "0.0.0.0", -1 }, /* the old broadcast */
                { "0.1.2.3", ICMP_NET_UNREACH },
                { "127.0.0.1", ICMP_NET_UNREACH },
                { "127.255.255.254", ICMP_NET_UNREACH },
                { "169.254.169.254", ICMP_PKT_FILTERED },
                { "224.0.0.1", -1 },
                { "239.255.255.255", -1 },
                { "240.0.0.1", ICMP_NET_UNREACH },
                { "255.255.255.255", -1 },
                { "192.168.127.255", -1 },
                { "192.168.127.0", ICMP_HOST_UNREACH },
                { "192.168.127.2", ICMP_HOST_UNREACH },
                { "192.168.127.99", ICMP_HOST_UNREACH },
        };
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        for (unsigned i = 0; i < ELEMENTSOF(table); i++) {
                Packet4 p = packet4(table[i].dst, 9);
                Drop reason = table[i].code == ICMP_PKT_FILTERED ? DROP_IP_POLICY : DROP_IP_DESTINATION;

                expect_drop(h, packet_udp(&p, "x", 1), false, reason);
                if (table[i].code >= 0)
                        packet_expect_icmp(h, ICMP_DEST_UNREACH, (uint8_t) table[i].code, "192.168.127.1", table[i].dst, IPPROTO_UDP);
                expect_drop(h, packet_icmp(&p, ICMP_ECHO, 0, 1, 1, "abcdefgh", 8), false, reason);
                if (table[i].code >= 0)
                        packet_expect_icmp(h, ICMP_DEST_UNREACH, (uint8_t) table[i].code, "192.168.127.1", table[i].dst, IPPROTO_ICMP);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);

                /* TCP says it in its own way; here only that no socket is asked */
                packet_send(h, packet_tcp(&p, 1, 0, 0x02, 1000, NULL, 0, NULL, 0));
                fake_clear_frames(h);

                /* whatever came as a broadcast of the link is not answered */
                memset(&p.dst_mac, 0xff, sizeof(p.dst_mac));
                expect_drop(h, packet_udp(&p, "x", 1), false, DROP_IP_DESTINATION);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
        }
        g_assert_cmpuint(h->sockets->len, ==, 0);
}

static void no_loopback(NetstackConfig *c) {
        c->host_loopback = false;
}

static void test_host_policy(void) {
        g_autoptr(FakeHost) h = fake_host_new(no_loopback);

        expect_drop(h, datagram("192.168.127.254"), false, DROP_IP_POLICY);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, "192.168.127.1", "192.168.127.254", IPPROTO_UDP);
        g_assert_cmpuint(h->sockets->len, ==, 0);
}

static void test_ttl(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        for (uint8_t ttl = 0; ttl <= 1; ttl++) {
                Packet4 p = packet4("8.8.8.8", 33434);

                p.ttl = ttl;
                expect_drop(h, packet_udp(&p, "x", 1), false, DROP_IP_TTL);
                packet_expect_icmp(h, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, "192.168.127.1", "8.8.8.8", IPPROTO_UDP);
                expect_drop(h, packet_tcp(&p, 1, 0, 0x02, 1000, NULL, 0, NULL, 0), false, DROP_IP_TTL);
                packet_expect_icmp(h, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, "192.168.127.1", "8.8.8.8", IPPROTO_TCP);
        }

        /* the gateway itself is no hop away */
        Packet4 p = packet4("192.168.127.1", 0);
        p.ttl = 1;
        packet_send(h, packet_icmp(&p, ICMP_ECHO, 0, 1, 1, "x", 1));
        g_assert_cmpuint(fake_n_frames(h), ==, 1);

        p = packet4("8.8.8.8", 33434);
        p.ttl = 2;
        p.tos = 0xb8;
        packet_send(h, packet_udp(&p, "x", 1));
        g_assert_cmpuint(fake_sent(fake_last_socket(h, FAKE_UDP), 0)->ttl, ==, 1);
        g_assert_cmpuint(fake_sent(fake_last_socket(h, FAKE_UDP), 0)->tos, ==, 0xb8);
        p.dst = fake_ip("192.168.127.254");
        packet_send(h, packet_udp(&p, "x", 1));
        g_assert_cmpuint(fake_sent(fake_last_socket(h, FAKE_UDP), 1)->ttl, ==, 0);
}

static void test_protocols(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Packet4 p = packet4("192.168.127.1", 0);

        expect_drop(h, packet_ip(&p, 47, "abcdefgh", 8), false, DROP_IP_PROTOCOL);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, "192.168.127.1", "192.168.127.1", 47);
        p.dst = fake_ip("8.8.8.8");
        expect_drop(h, packet_ip(&p, 132, "abcdefgh", 8), false, DROP_IP_PROTOCOL);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, "192.168.127.1", "8.8.8.8", 132);
}

static void give_more(FakeHost *h, size_t len, uint32_t mtu, bool df) {
        MacAddr mac = FAKE_GUEST_MAC;
        uint8_t *l4 = netstack_tx_reserve(h->stack, len);
        struct udphdr udp = { .uh_sport = htons(1), .uh_dport = htons(2), .uh_ulen = htons((uint16_t) len) };
        IpSend how = {
                .src = fake_ip("8.8.8.8"), .dst = fake_ip("192.168.127.2"), .proto = IPPROTO_UDP,
                .mac = &mac, .mtu = mtu, .dont_fragment = df, .csum_start = 7,
        };

        for (size_t i = 0; i < len; i++)
                l4[i] = (uint8_t) (i * 7 + i / 256);
        memcpy(l4, &udp, sizeof(udp));
        ip_send(h->stack, &how, l4, len);
}

static void give(FakeHost *h, size_t len, uint32_t mtu, bool df) {
        give_more(h, len, mtu, df);
        netstack_flush(h->stack);
}

/* What waits stays in the cache: another packet joins it up to 520 KiB, and is the first of its own beyond that. */
static void test_send_wait(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        size_t room;

        give_more(h, 100, 1500, false);
        give_more(h, 100, 1500, false);
        room = 520 * 1024 - h->stack->arena_used - TX_HEADROOM;
        (void) netstack_tx_reserve(h->stack, room);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        (void) netstack_tx_reserve(h->stack, room + 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 2);
}

static void test_send_pieces(void) {
        static const uint32_t mtus[] = { 68, 576, 1280, 1500, 9000 };
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        for (unsigned i = 0; i < ELEMENTSOF(mtus); i++) {
                size_t fits = mtus[i] - 20;
                g_autoptr(FakeFrame) f = NULL;
                g_autofree uint8_t *whole = g_malloc(65535);
                size_t next = 0, id = 0;

                give(h, fits, mtus[i], false);
                g_assert_cmpuint(fake_n_frames(h), ==, 1);
                Parsed p = packet_take(h, &f);
                g_assert_cmpuint(p.ip_frag, ==, 0);
                g_assert_cmpuint(p.hdr.flags, ==, VIRTIO_NET_HDR_F_NEEDS_CSUM);

                give(h, fits + 1, mtus[i], true); /* may not be cut */
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
                g_assert_cmpuint(fake_drops(h, DROP_IP_TOO_BIG), ==, i + 1);

                size_t len = 20000;
                give(h, len, mtus[i], false);
                g_assert_cmpuint(fake_n_frames(h), ==, DIV_ROUND_UP(len, fits & ~(size_t) 7));
                while (fake_n_frames(h) > 0) {
                        p = packet_take(h, &f);
                        g_assert_cmpuint(p.ip_len, <=, mtus[i]);
                        g_assert_cmpuint((p.ip_frag & IP_OFFMASK) * 8u, ==, next);
                        g_assert_true(next == 0 || p.ip_id == id);
                        g_assert_cmpint(!!(p.ip_frag & IP_MF), ==, fake_n_frames(h) > 0);
                        g_assert_cmpuint(p.hdr.flags, ==, 0);
                        id = p.ip_id;
                        memcpy(whole + next, p.l4, p.l4_len);
                        next += p.l4_len;
                }
                g_assert_cmpuint(next, ==, len);

                /* whole again it is what it was, with its checksum in */
                Packet4 head = { .src_mac = FAKE_GATEWAY_MAC, .dst_mac = FAKE_GUEST_MAC, .src = p.src, .dst = p.dst, .ttl = 64 };
                g_autoptr(GByteArray) b = packet_ip(&head, IPPROTO_UDP, whole, next);
                FakeFrame again = { .data = b->data, .len = b->len };
                p = packet_parse(&again);
                g_assert_cmpuint(p.l4[6] << 8 | p.l4[7], !=, 0); /* 0 would be "none" */
                for (size_t j = 8; j < len; j++)
                        g_assert_cmpuint(p.l4[j], ==, (uint8_t) (j * 7 + j / 256));
        }
}

static void test_garbage(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        uint8_t frame[64];

        /* 14 to 60 bytes of noise behind each EtherType: counted, no socket touched, no crash */
        for (unsigned round = 0; round < 20000; round++) {
                size_t len = 14 + round % 47;

                fake_host_ops.random(h, frame, sizeof(frame));
                memcpy(frame, &FAKE_GATEWAY_MAC, 6);
                memcpy(frame + 6, &FAKE_GUEST_MAC, 6);
                frame[12] = 0x08;
                frame[13] = round % 3 == 0 ? 0x06 : 0x00;
                if (round % 2)
                        frame[14] = 0x45;
                if (round % 5 == 1)
                        packet_fix(frame, len);
                fake_input(h, frame, len);
        }
        g_assert_cmpuint(fake_drops_total(h), ==, 20000);
        g_assert_cmpuint(h->sockets->len, ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ip/headers", test_headers);
        g_test_add_func("/ip/send-wait", test_send_wait);
        g_test_add_func("/ip/padding", test_padding);
        g_test_add_func("/ip/sources", test_sources);
        g_test_add_func("/ip/destinations", test_destinations);
        g_test_add_func("/ip/host-policy", test_host_policy);
        g_test_add_func("/ip/ttl", test_ttl);
        g_test_add_func("/ip/protocols", test_protocols);
        g_test_add_func("/ip/send-pieces", test_send_pieces);
        g_test_add_func("/ip/garbage", test_garbage);
        return g_test_run();
}
