/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which frames a shard takes: those that begin a connection to the outside, those of connections it has or had a moment ago, and no other. */

#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>

#include "fake-host.h"
#include "netstack/shard.h"
#include "packet.h"

#define OUTSIDE "8.8.8.8"
#define OUTSIDE6 "2001:db8::8"

static void as_shard(NetstackConfig *c) {
        fake_ip6(c);
        c->policy.addresses[0] = fake_ip("100.100.100.1");
        c->policy.n_addresses = 1;
        *c = netstack_shard_config(c, 2);
}

static bool takes(FakeHost *h, const void *frame, size_t len) {
        struct iovec iov[2] = { { (void *) frame, len / 2 }, { (char *) frame + len / 2, len - len / 2 } };
        Frame whole = { .iov = &(struct iovec){ (void *) frame, len }, .n_iov = 1, .len = (uint32_t) len },
              cut = { .iov = iov, .n_iov = 2, .len = (uint32_t) len };
        bool r = netstack_shard_takes(h->stack, &whole);

        g_assert_cmpint(netstack_shard_takes(h->stack, &cut), ==, r); /* wherever its bytes lie */
        return r;
}

static bool takes_bytes(FakeHost *h, GByteArray *frame) {
        g_autoptr(GByteArray) f = frame;

        return takes(h, f->data, f->len);
}

static GByteArray *segment(const Packet4 *p, uint32_t seq, uint32_t ack, uint8_t flags) {
        return packet_tcp(p, seq, ack, flags, 65535, NULL, 0, NULL, 0);
}

static void test_begins(void) {
        g_autoptr(FakeHost) h = fake_host_new(as_shard);
        static const char *const outside[] = { OUTSIDE, OUTSIDE6, "192.168.127.254", "fd00:1::fe" },
                                *const gateway[] = { "192.168.127.1", "100.100.100.1", "fd00:1::1" };
        static const uint8_t others[] = { 0, TH_ACK, TH_SYN | TH_ACK, TH_SYN | TH_RST, TH_SYN | TH_FIN, TH_RST, TH_FIN, TH_FIN | TH_ACK };

        for (size_t i = 0; i < ELEMENTSOF(outside); i++) {
                Packet4 p = packet4(outside[i], 80);

                g_assert_true(takes_bytes(h, segment(&p, 1, 0, TH_SYN)));
                for (size_t k = 0; k < ELEMENTSOF(others); k++)
                        g_assert_false(takes_bytes(h, segment(&p, 1, 2, others[k])));
        }
        for (size_t i = 0; i < ELEMENTSOF(gateway); i++) {
                Packet4 p = packet4(gateway[i], 53);

                g_assert_false(takes_bytes(h, segment(&p, 1, 0, TH_SYN)));
        }
        g_assert_cmpuint(fake_drops_total(h), ==, 0); /* the look counts nothing */
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_others(void) {
        g_autoptr(FakeHost) h = fake_host_new(as_shard);
        Packet4 p = packet4(OUTSIDE, 80), p6 = packet4(OUTSIDE6, 80), q;
        const MacAddr zero = {};

        g_assert_false(takes_bytes(h, packet_udp(&p, "x", 1)));
        g_assert_false(takes_bytes(h, packet_udp(&p6, "x", 1)));
        g_assert_false(takes_bytes(h, packet_icmp(&p, ICMP_ECHO, 0, 1, 1, "x", 1)));
        g_assert_false(takes_bytes(h, packet_arp(&p.src_mac, 1, &p.src_mac, &p.src, &zero, &p.dst)));
        for (unsigned i = 0; i < 2; i++) {
                q = p;
                q.frag = i == 0 ? IP_MF : 100;
                g_assert_false(takes_bytes(h, segment(&q, 1, 0, TH_SYN)));
        }
        q = p;
        q.dst_mac.b[5]++;
        g_assert_false(takes_bytes(h, segment(&q, 1, 0, TH_SYN)));
}

/* Every byte that matters, and frames of every length. */
static void test_odd(void) {
        g_autoptr(FakeHost) h = fake_host_new(as_shard);
        Packet4 p = packet4(OUTSIDE, 80), p6 = packet4(OUTSIDE6, 80);
        g_autoptr(GByteArray) f = segment(&p, 1, 0, TH_SYN), f6 = segment(&p6, 1, 0, TH_SYN);
        struct {
                GByteArray *frame;
                unsigned at;
                uint8_t value;
        } changes[] = {
                { f, 12, 0x86 },         /* EtherType */
                { f, ETH_HLEN, 0x46 },   /* options */
                { f, ETH_HLEN, 0x65 },   /* version */
                { f, ETH_HLEN + 9, 17 }, /* protocol */
                { f6, ETH_HLEN, 0x45 },  { f6, ETH_HLEN + 6, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                uint8_t before = changes[i].frame->data[changes[i].at];

                changes[i].frame->data[changes[i].at] = changes[i].value;
                g_assert_false(takes(h, changes[i].frame->data, changes[i].frame->len));
                changes[i].frame->data[changes[i].at] = before;
                g_assert_true(takes(h, changes[i].frame->data, changes[i].frame->len));
        }
        for (size_t len = 0; len < f->len; len++)
                g_assert_false(takes(h, f->data, len));
        for (size_t len = 0; len < f6->len; len++)
                g_assert_false(takes(h, f6->data, len));
}

/* A connection is the shard's from its SYN to its last segment, and a little longer. */
static void test_flow(void) {
        g_autoptr(FakeHost) h = fake_host_new(as_shard);
        Packet4 p = packet4(OUTSIDE, 80), other = packet4(OUTSIDE, 81);
        g_autoptr(FakeFrame) f = NULL;

        packet_send(h, segment(&p, 1000, 0, TH_SYN));
        fake_run(h);
        uint32_t iss = packet_take(h, &f).seq;
        g_assert_true(takes_bytes(h, segment(&p, 1001, iss + 1, TH_ACK)));
        g_assert_true(takes_bytes(h, segment(&p, 1001, iss + 1, TH_RST)));
        g_assert_false(takes_bytes(h, segment(&other, 1001, iss + 1, TH_ACK)));

        packet_send(h, segment(&p, 1001, iss + 1, TH_ACK));
        packet_send(h, segment(&p, 1001, iss + 1, TH_FIN | TH_ACK));
        fake_stream_eof(h, fake_last_socket(h, FAKE_TCP));
        fake_run(h);
        packet_send(h, segment(&p, 1002, iss + 2, TH_ACK));
        fake_run(h);
        NetstackStats stats;
        netstack_get_stats(h->stack, &stats);
        g_assert_cmpuint(stats.tcp_flows, ==, 0);
        g_assert_true(takes_bytes(h, segment(&p, 1001, iss + 2, TH_FIN | TH_ACK))); /* our last ACK may have been lost */
        fake_advance(h, 10 * USEC_PER_SEC);
        g_assert_false(takes_bytes(h, segment(&p, 1001, iss + 2, TH_FIN | TH_ACK)));
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

/* ---- what the network's own netstack offers ---- */

#define TEXT "as if it had come whole"

typedef struct Offering {
        FakeHost *shard, *h; /* (owned) */
        Packet4 p;
        FakeSocket *socket; /* (borrowed) the connection's */
        uint32_t ack;
        size_t said;
} Offering;

static Offering offering_new(const char *outside) {
        Offering o = { fake_host_new(as_shard), fake_host_new(fake_ip6), packet4(outside, 80) };
        g_autoptr(FakeFrame) f = NULL;

        o.h->shard = o.shard;
        packet_send(o.shard, segment(&o.p, 1000, 0, TH_SYN));
        fake_run(o.shard);
        o.ack = packet_take(o.shard, &f).seq + 1;
        o.socket = fake_last_socket(o.shard, FAKE_TCP);
        return o;
}

static GByteArray *offering_next(const Offering *o) {
        return packet_tcp(&o->p, 1001 + (uint32_t) o->said, o->ack, TH_ACK, 65535, NULL, 0, TEXT, sizeof(TEXT));
}

static void offering_arrived(Offering *o) {
        fake_run(o->shard);
        g_assert_cmpuint(o->socket->out->len, ==, o->said + sizeof(TEXT));
        g_assert_cmpmem(o->socket->out->data + o->said, sizeof(TEXT), TEXT, sizeof(TEXT));
        g_assert_cmpuint(fake_drops_total(o->h) + fake_drops_total(o->shard), ==, 0);
        g_assert_cmpuint(fake_n_frames(o->h), ==, 0);
        o->said += sizeof(TEXT);
}

/* The L4 bytes of @whole in pieces of 24, in IPv6 behind a fragment header each. */
static void send_pieces(const Offering *o, const GByteArray *whole) {
        bool v4 = ip_is_v4(&o->p.dst);
        size_t l3 = ETH_HLEN + (v4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr)), len = whole->len - l3, n;

        for (size_t at = 0; at < len; at += n) {
                uint8_t piece[8 + 24] = { IPPROTO_TCP, [7] = 1 };
                Packet4 p = o->p;

                n = MIN(len - at, sizeof(piece) - 8);
                memcpy(piece + 8, whole->data + l3 + at, n);
                piece[3] = (uint8_t) (at | (at + n < len));
                p.frag = (uint16_t) (at / 8 | (at + n < len ? IP_MF : 0));
                packet_send(o->h, v4 ? packet_ip(&p, IPPROTO_TCP, piece + 8, n) : packet_ip(&p, IPPROTO_FRAGMENT, piece, 8 + n));
        }
}

/* What came by the wrong queue, in pieces or behind extension headers is the shard's all the same, and what is nobody's is refused. */
static void test_offer(void) {
        static const char *const outside[] = { OUTSIDE, OUTSIDE6 };

        for (size_t i = 0; i < ELEMENTSOF(outside); i++) {
                Offering o = offering_new(outside[i]);
                g_autoptr(FakeFrame) f = NULL;

                packet_send(o.h, offering_next(&o));
                offering_arrived(&o);
                g_autoptr(GByteArray) whole = offering_next(&o);
                send_pieces(&o, whole);
                offering_arrived(&o);

                o.p.sport++;
                packet_send(o.h, offering_next(&o));
                g_assert_cmpuint(fake_drops(o.h, DROP_TCP_NO_FLOW), ==, 1);
                g_assert_cmpuint(packet_take(o.h, &f).tcp_flags, ==, TH_RST);
                fake_host_free(o.h);
                fake_host_free(o.shard);
        }
}

/* What the guest's headers say besides goes along: a shard acts by it as if the segment had come to it. */
static void test_offer_headers(void) {
        static const char *const outside[] = { OUTSIDE, OUTSIDE6 };

        for (size_t i = 0; i < ELEMENTSOF(outside); i++) {
                bool v4 = i == 0;
                struct virtio_net_hdr_v1 hdr = {
                        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = v4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
                        .gso_size = htole16(8), .csum_start = htole16(v4 ? 34 : 54), .csum_offset = htole16(16), .hdr_len = htole16(v4 ? 54 : 74),
                };
                Offering o = offering_new(outside[i]);
                const uint8_t *ip = o.h->offered + ETH_HLEN;

                o.p.tos = 0xb8;
                o.p.ttl = 33;
                g_autoptr(GByteArray) b = offering_next(&o);
                fake_input_hdr(o.h, &hdr, b->data, b->len);
                offering_arrived(&o);
                g_assert_cmpuint(o.h->offered_hdr.gso_type, ==, hdr.gso_type);
                g_assert_cmpuint(le16toh(o.h->offered_hdr.gso_size), ==, 8);
                g_assert_cmphex(v4 ? ip[1] : (ip[0] << 4 | ip[1] >> 4) & 0xff, ==, 0xb8);
                g_assert_cmpuint(v4 ? ip[8] : ip[7], ==, 33);
                fake_host_free(o.h);
                fake_host_free(o.shard);
        }
}

static void test_offer_extension(void) {
        Offering o = offering_new(OUTSIDE6);
        g_autoptr(GByteArray) whole = offering_next(&o), l4 = g_byte_array_new();
        static const uint8_t options[8] = { IPPROTO_TCP, 0, 1, 4 };

        g_byte_array_append(l4, options, sizeof(options));
        g_byte_array_append(l4, whole->data + ETH_HLEN + sizeof(struct ip6_hdr), whole->len - ETH_HLEN - (guint) sizeof(struct ip6_hdr));
        packet_send(o.h, packet_ip(&o.p, IPPROTO_DSTOPTS, l4->data, l4->len));
        offering_arrived(&o);
        fake_host_free(o.h);
        fake_host_free(o.shard);
}

/* Its part of the limits, and nothing said that nobody asked for: the network's own netstack advertises. */
static void test_config(void) {
        g_autoptr(FakeHost) h = fake_host_new(as_shard), whole = fake_host_new(fake_ip6);
        NetstackConfig c, s;

        netstack_config_defaults(&c);
        c.reflect = REFLECT_MDNS;
        s = netstack_shard_config(&c, 4);
        g_assert_true(s.shard);
        g_assert_cmpuint(s.reflect, ==, 0);
        g_assert_cmpuint(s.limits.tcp_flows, ==, NETSTACK_TCP_FLOWS_MAX / 4);
        g_assert_cmpuint(s.limits.half_open, ==, NETSTACK_HALF_OPEN_MAX / 4);
        g_assert_cmpuint(s.limits.park_bytes, ==, NETSTACK_PARK_BYTES_MAX / 4);
        c.limits.tcp_flows = c.limits.half_open = 3;
        s = netstack_shard_config(&c, 4);
        g_assert_cmpuint(s.limits.tcp_flows, ==, 1);
        g_assert_cmpuint(s.limits.half_open, ==, 1);

        fake_advance(h, 3600 * USEC_PER_SEC);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        fake_advance(whole, 3600 * USEC_PER_SEC);
        g_assert_cmpuint(fake_n_frames(whole), >, 0);
}

/* Each figure a shard has of its own is added; what only the network's netstack has is not. */
static void test_stats(void) {
#define ADDED(x) x(tcp_flows) x(half_open) x(parked_bytes) x(parked_peak) x(partial_sends) x(retransmits) x(rto_fired) x(fast_retransmits) \
        x(dup_acks_sent) x(zero_window_probes) x(frames_in) x(batches_in) x(frames_out) x(batches_out) x(host_events) x(turns)              \
        x(tcp_opened) x(tcp_refused)
#define OTHERS(x) x(udp_flows) x(ping_flows) x(neighbours) x(leases) x(fragments_held) x(udp_opened) x(bypassed) x(bypass_failed) x(bypassed_bytes)
#define FILL(f) sum.f = ++n, s.f = 1000 * n;
#define EXPECT_SUM(f) g_assert_cmpuint(sum.f, ==, 1001 * ++n);
#define EXPECT_SAME(f) g_assert_cmpuint(sum.f, ==, ++n);
        NetstackStats sum = {}, s = {};
        uint32_t n = 0;

        ADDED(FILL) OTHERS(FILL)
        netstack_add_stats(&sum, &s);
        n = 0;
        ADDED(EXPECT_SUM) OTHERS(EXPECT_SAME)
        g_assert_cmpuint(n, ==, 7 + (sizeof(s) - offsetof(NetstackStats, parked_bytes)) / sizeof(uint64_t)); /* all there are */
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/shard/begins", test_begins);
        g_test_add_func("/shard/others", test_others);
        g_test_add_func("/shard/odd", test_odd);
        g_test_add_func("/shard/flow", test_flow);
        g_test_add_func("/shard/offer", test_offer);
        g_test_add_func("/shard/offer-headers", test_offer_headers);
        g_test_add_func("/shard/offer-extension", test_offer_extension);
        g_test_add_func("/shard/config", test_config);
        g_test_add_func("/shard/stats", test_stats);
        return g_test_run();
}
