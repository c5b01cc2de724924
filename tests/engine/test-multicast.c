/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Multicast: both ways for each group, who may answer a search, loops, limits, hostile lengths; IGMP and MLD queries. */

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>

#include "basic/checksum.h"
#include "netstack/multicast.h"
#include "netstack/udp.h"
#include "packet.h"

static void reflect_all(NetstackConfig *c) {
        fake_ip6(c);
        c->reflect = REFLECT_MDNS | REFLECT_SSDP;
}

static void reflect_mdns(NetstackConfig *c) {
        c->reflect = REFLECT_MDNS;
}

static const struct {
        const char *group;
        uint16_t port;
        uint8_t ttl;
        const char *gateway;
        MacAddr mac;
} groups[] = {
        { "224.0.0.251", 5353, 255, "192.168.127.1", { { 0x01, 0x00, 0x5e, 0, 0, 251 } } },
        { "ff02::fb", 5353, 255, "fe80::5054:ff:fe00:1", { { 0x33, 0x33, 0, 0, 0, 0xfb } } },
        { "239.255.255.250", 1900, 2, "192.168.127.1", { { 0x01, 0x00, 0x5e, 0x7f, 0xff, 0xfa } } },
        { "ff02::c", 1900, 2, "fe80::5054:ff:fe00:1", { { 0x33, 0x33, 0, 0, 0, 0x0c } } },
};

/* The socket that is in groups[@i]. */
static FakeSocket *joined(FakeHost *h, unsigned i) {
        IpAddr a = fake_ip(groups[i].group);

        for (guint n = h->sockets->len; n > 0; n--) {
                FakeSocket *k = fake_socket(h, FAKE_FD_FIRST + (int) n - 1);

                if (k->kind == FAKE_GROUP && k->open && ip_equal(&k->local.addr, &a) && k->local.port == groups[i].port)
                        return k;
        }
        return NULL;
}

static void say(FakeHost *h, unsigned i, uint16_t sport, const void *data, size_t len) {
        Packet4 p = packet4(groups[i].group, groups[i].port);

        p.dst_mac = groups[i].mac;
        p.sport = sport;
        packet_send(h, packet_udp(&p, data, len));
}

static void hear(FakeHost *h, FakeSocket *k, const char *from, const void *data, size_t len) {
        Endpoint e = fake_endpoint(from);

        fake_dgram_push(h, k, &e, data, len);
        fake_run(h);
}

static const char *lan(unsigned i, bool again) {
        return strchr(groups[i].group, ':') ? "[fe80::99]:5353" : again ? "10.0.0.99:5353" : "10.0.0.98:5353";
}

/* ---- off ---- */

static void test_off(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        uint64_t n = 0;

        for (unsigned i = 0; i < ELEMENTSOF(groups); i++) {
                say(h, i, groups[i].port, "x", 1);
                g_assert_cmpuint(fake_drops(h, DROP_IP_DESTINATION), ==, ++n);
        }
        g_assert_cmpuint(h->n_open, ==, 0);

        g_autoptr(FakeHost) one = fake_host_new(reflect_mdns); /* of IPv4 alone */
        g_assert_cmpuint(one->n_open, ==, 1);
        g_assert_nonnull(joined(one, 0));
        say(one, 2, 1900, "x", 1);
        g_assert_cmpuint(fake_drops(one, DROP_IP_DESTINATION), ==, 1);
}

/* ---- both ways ---- */

static void test_to_guests(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);
        g_autoptr(FakeFrame) f = NULL;

        for (unsigned i = 0; i < ELEMENTSOF(groups); i++) {
                IpAddr group = fake_ip(groups[i].group), gateway = fake_ip(groups[i].gateway);

                hear(h, joined(h, i), lan(i, false), "printer", 7);
                Parsed p = packet_take(h, &f);
                g_assert_true(mac_equal(&p.eth_dst, &groups[i].mac));
                g_assert_true(ip_equal(&p.src, &gateway));
                g_assert_true(ip_equal(&p.dst, &group));
                g_assert_cmpuint(p.ttl, ==, groups[i].ttl);
                g_assert_cmpuint(p.sport, ==, groups[i].port);
                g_assert_cmpuint(p.dport, ==, groups[i].port);
                g_assert_cmpmem(p.payload, p.payload_len, "printer", 7);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
        }
        hear(h, joined(h, 0), lan(0, false), "", 0);
        g_assert_cmpuint(packet_take(h, &f).payload_len, ==, 0);
}

static void test_from_guests(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);

        for (unsigned i = 0; i < ELEMENTSOF(groups); i++) {
                Endpoint group = { fake_ip(groups[i].group), groups[i].port };

                say(h, i, groups[i].port, "who is there", 12);
                FakeSocket *k = i < 2 ? joined(h, i) : fake_last_socket(h, FAKE_GROUP);
                const FakeDgram *d = fake_sent(k, 0);
                g_assert_true(endpoint_equal(&d->peer, &group));
                g_assert_cmpuint(d->ttl, ==, groups[i].ttl);
                g_assert_cmpmem(d->data, d->len, "who is there", 12);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
        }
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

/* What is asked from a port of one's own is answered to that port, by anybody. */
static void test_search(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);
        g_autoptr(FakeFrame) f = NULL;

        for (unsigned i = 0; i < ELEMENTSOF(groups); i++) {
                say(h, i, 40000, "M-SEARCH", 8);
                FakeSocket *k = fake_last_socket(h, FAKE_GROUP);
                g_assert_true(ip_is_null(&k->local.addr));
                g_assert_cmpuint(fake_sent(k, 0)->ttl, ==, groups[i].ttl);

                Endpoint from = fake_endpoint(lan(i, true));
                hear(h, k, lan(i, true), "here", 4);
                Parsed p = packet_take(h, &f);
                g_assert_true(ip_equal(&p.src, &from.addr));
                g_assert_cmpuint(p.dport, ==, 40000);
                g_assert_cmpmem(p.payload, p.payload_len, "here", 4);
                g_assert_true(mac_equal(&p.eth_dst, &FAKE_GUEST_MAC));

                /* Nobody outside speaks as one of the segment. */
                hear(h, k, i % 2 ? "[fd00:1::9]:1" : "192.168.127.9:1", "x", 1);
                hear(h, k, i % 2 ? "[fe80::5054:ff:fe00:1]:1" : "192.168.127.1:1", "x", 1);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
                g_assert_cmpuint(fake_drops(h, DROP_UDP_FILTERED), ==, 2 * (i + 1));
                g_assert_true(k->open);
                fake_advance(h, UDP_TIMEOUT_DNS_USEC);
                g_assert_false(k->open);
        }
        /* Beside it, the port's own mapping lets in whom it has sent to, as ever. */
        Packet4 p = packet4("8.8.8.8", 9);
        packet_send(h, packet_udp(&p, "x", 1));
        hear(h, fake_last_socket(h, FAKE_UDP), "10.0.0.99:9", "x", 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        h->open_error = -EMFILE;
        say(h, 2, 40001, "M-SEARCH *", 10);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_NO_SOCKET), ==, 1);
}

/* The answer goes to the station that asked last, where the address has moved to another one. */
static void test_search_again(void) {
        const MacAddr other = { { 2, 0, 0, 0, 0, 9 } };
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);
        g_autoptr(FakeFrame) f = NULL;
        Packet4 p = packet4(groups[2].group, groups[2].port);

        say(h, 2, 40000, "M-SEARCH", 8);
        p.dst_mac = groups[2].mac;
        p.src_mac = other;
        packet_send(h, packet_udp(&p, "M-SEARCH", 8));
        hear(h, fake_last_socket(h, FAKE_GROUP), lan(2, true), "here", 4);
        Parsed answer = packet_take(h, &f);
        g_assert_true(mac_equal(&answer.eth_dst, &other));
}

static void deny(NetstackConfig *c) {
        reflect_mdns(c);
        g_assert_cmpint(policy_rule_parse("deny udp 224.0.0.0/4", &c->policy.rules[c->policy.n_rules++]), ==, 0);
}

static void test_policy(void) {
        g_autoptr(FakeHost) h = fake_host_new(deny);

        say(h, 0, 5353, "x", 1);
        g_assert_cmpuint(fake_drops(h, DROP_IP_POLICY), ==, 1);
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, 0);
}

/* ---- loops and limits ---- */

static void test_loops(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);

        say(h, 0, 5353, "question", 8);
        hear(h, joined(h, 0), lan(0, false), "question", 8); /* somebody has brought it back */
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_LOOP), ==, 1);
        say(h, 0, 5353, "question", 8); /* again the same way is no loop */
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, 2);
        hear(h, joined(h, 1), lan(1, false), "question", 8); /* nor is another group's */
        g_assert_cmpuint(fake_n_frames(h), ==, 1);

        hear(h, joined(h, 0), lan(0, false), "answer", 6);
        g_assert_cmpuint(fake_n_frames(h), ==, 2);
        say(h, 0, 5353, "answer", 6);
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, 2);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_LOOP), ==, 2);

        fake_advance(h, MULTICAST_RECENT_USEC - 1);
        say(h, 0, 5353, "answer", 6);
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, 2);
        fake_advance(h, 1);
        say(h, 0, 5353, "answer", 6);
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, 3);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_LOOP), ==, 3);
}

/* Of many more than are remembered each place holds one. */
static void test_recent(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);
        const unsigned n = 20 * MULTICAST_RECENT;

        for (unsigned i = 0; i < n; i++) {
                h->port.id = 1 + i / MULTICAST_BURST;
                say(h, 0, 5353, &i, sizeof(i));
        }
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, n);
        for (unsigned i = 0; i < n; i++)
                hear(h, joined(h, 0), lan(0, false), &i, sizeof(i));
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_LOOP), ==, MULTICAST_RECENT);
}

static void test_rates(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);
        unsigned i;

        for (i = 0; i < MULTICAST_BURST + 10; i++)
                say(h, 0, 5353, &i, sizeof(i));
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, MULTICAST_BURST);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_RATE), ==, 10);
        h->port.id++; /* another guest has its own share */
        say(h, 0, 5353, "other", 5);
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, MULTICAST_BURST + 1);

        FakeSocket *k = joined(h, 1);
        Endpoint from = fake_endpoint(lan(1, false));
        for (i = 0; i < MULTICAST_BURST + 10; i++)
                fake_dgram_push(h, k, &from, &i, sizeof(i));
        fake_run(h);
        fake_advance(h, 0); /* those beyond one turn */
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, MULTICAST_BURST);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_RATE), ==, 20);
        fake_advance(h, USEC_PER_SEC);
        for (i = 0; i < MULTICAST_PER_SEC + 1; i++)
                fake_dgram_push(h, k, &from, &i, sizeof(i));
        fake_run(h);
        fake_advance(h, 0);
        g_assert_cmpuint(fake_n_frames(h), ==, MULTICAST_BURST + MULTICAST_PER_SEC);
}

/* Guests are as many as ports differ in their shares' number, and then begin again. */
static void test_shares(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);
        const uint32_t port = h->port.id;
        unsigned n;

        for (n = 0; n < MULTICAST_BURST; n++)
                say(h, 0, 5353, &n, sizeof(n));
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, MULTICAST_BURST);
        for (uint32_t i = 1; i < PORT_SHARES; i++) {
                h->port.id = port + i;
                say(h, 0, 5353, &i, sizeof(i));
        }
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, MULTICAST_BURST + PORT_SHARES - 1);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_RATE), ==, 0);
        h->port.id = port + PORT_SHARES;
        say(h, 0, 5353, "x", 1);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_RATE), ==, 1);
}

/* So many datagrams, or errors, are taken for one event. The rest of the datagrams is the timer's, of the errors the next event's. */
static void test_reads(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);
        FakeSocket *k = joined(h, 0);
        Endpoint from = fake_endpoint(lan(0, false));
        HostError e = { .error = ECONNREFUSED };
        unsigned i;

        for (i = 0; i < MULTICAST_READS_MAX + 1; i++)
                fake_dgram_push(h, k, &from, &i, sizeof(i));
        netstack_host_event(h->stack, k->cookie, HOST_EVENT_IN);
        g_assert_cmpuint(g_queue_get_length(&k->rx), ==, 1);
        g_assert_cmpuint(netstack_next_timer(h->stack), ==, h->now);
        netstack_run_timers(h->stack);
        g_assert_true(g_queue_is_empty(&k->rx));
        g_assert_cmpuint(fake_n_frames(h), ==, MULTICAST_READS_MAX + 1);

        for (i = 0; i < MULTICAST_READS_MAX + 1; i++)
                fake_dgram_push_error(h, k, &e);
        netstack_host_event(h->stack, k->cookie, HOST_EVENT_ERROR);
        g_assert_cmpuint(g_queue_get_length(&k->errors), ==, 1);
        netstack_host_event(h->stack, k->cookie, HOST_EVENT_ERROR);
        g_assert_true(g_queue_is_empty(&k->errors));
}

/* What was beyond the rate was not reflected: the same from elsewhere is no loop. */
static void test_rate_is_no_loop(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);

        for (unsigned i = 0; i < MULTICAST_BURST + 1; i++)
                say(h, 0, 5353, &i, sizeof(i));
        for (unsigned i = MULTICAST_BURST - 1; i < MULTICAST_BURST + 1; i++)
                hear(h, joined(h, 0), lan(0, false), &i, sizeof(i));
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_RATE), ==, 1);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_LOOP), ==, 1);
}

static void test_lengths(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);
        g_autofree uint8_t *data = g_malloc0(MULTICAST_PAYLOAD_MAX + 1);

        say(h, 0, 5353, data, MULTICAST_PAYLOAD_MAX);
        g_assert_cmpuint(fake_sent(joined(h, 0), 0)->len, ==, MULTICAST_PAYLOAD_MAX);
        say(h, 0, 5353, data, MULTICAST_PAYLOAD_MAX + 1);
        g_assert_cmpuint(joined(h, 0)->sent->len, ==, 1);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_SIZE), ==, 1);
        say(h, 0, 5353, data, 0);
        g_assert_cmpuint(fake_sent(joined(h, 0), 1)->len, ==, 0);

        data[0] = 1;
        hear(h, joined(h, 0), lan(0, false), data, MULTICAST_PAYLOAD_MAX);
        g_assert_cmpuint(fake_n_frames(h), ==, 7); /* in pieces for a link of 1500 */
        hear(h, joined(h, 0), lan(0, false), data, MULTICAST_PAYLOAD_MAX + 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 7);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_SIZE), ==, 2);

        /* A run of datagrams is none that is reflected. */
        Packet4 p = packet4("224.0.0.251", 5353);
        g_autoptr(GByteArray) b = packet_udp(&p, data, 1000);
        struct virtio_net_hdr_v1 hdr = { .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = htole16(500), .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM };
        fake_input_hdr(h, &hdr, b->data, b->len);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_SIZE), ==, 3);
}

/* ---- the host's links ---- */

static void no_link(FakeHost *h) {
        h->open_error = -ENODEV;
        netstack_set_uplink(h->stack, false, false);
}

static void test_no_link(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);

        no_link(h);
        g_assert_cmpuint(h->n_open, ==, 0);
        say(h, 0, 5353, "x", 1);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_NO_SOCKET), ==, 1);
        fake_advance(h, 3 * MULTICAST_RETRY_USEC);
        h->open_error = 0;
        fake_advance(h, MULTICAST_RETRY_USEC - 1);
        g_assert_cmpuint(h->n_open, ==, 0);
        fake_advance(h, 1);
        g_assert_cmpuint(h->n_open, ==, 4);

        no_link(h);
        h->open_error = 0;
        netstack_set_uplink(h->stack, true, true); /* at once when the host says so */
        g_assert_cmpuint(h->n_open, ==, 4);
        fake_clear_frames(h); /* router advertisements */
        hear(h, joined(h, 0), lan(0, false), "y", 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);

        HostError e = { .error = ENETDOWN };
        fake_dgram_push_error(h, joined(h, 0), &e);
        joined(h, 0)->send_error = -ENETDOWN;
        fake_run(h);
        say(h, 0, 5353, "z", 1);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_SEND), ==, 1);
        g_assert_true(g_queue_is_empty(&joined(h, 0)->errors));
}

/* ---- IGMP ---- */

/* A query of @len bytes for @group (NULL: general) to @dst, with a router alert. */
static void igmp_query(FakeHost *h, const char *src, const char *dst, const char *group, uint8_t code, uint8_t ttl, size_t len) {
        uint8_t ip[24] = { 0x46, 0xc0, 0, (uint8_t) (24 + len), 0, 0, 0, 0, ttl, IPPROTO_IGMP, [20] = 0x94, 4, 0, 0 }, packet[24 + 64] = {};
        uint8_t m[64] = { 0x11, code };
        IpAddr s = fake_ip(src), d = fake_ip(dst), g = fake_ip(group ?: "0.0.0.0");
        uint16_t sum;

        memcpy(ip + 12, s.b + 12, 4);
        memcpy(ip + 16, d.b + 12, 4);
        sum = checksum_finish(checksum_add(ip, sizeof(ip), 0));
        memcpy(ip + 10, &sum, 2);
        memcpy(m + 4, g.b + 12, 4);
        sum = checksum_finish(checksum_add(m, len, 0));
        memcpy(m + 2, &sum, 2);
        memcpy(packet, ip, sizeof(ip));
        memcpy(packet + sizeof(ip), m, len);
        packet_send(h, packet_eth(&FAKE_GUEST_MAC, &(MacAddr){ { 1, 0, 0x5e, 0, 0, 1 } }, 0x0800, packet, 24 + len));
}

/* The next frame must be a report, its message @bytes without the checksum, to @dst. */
static void expect_igmp(FakeHost *h, const char *dst, const uint8_t *bytes, size_t len) {
        g_autoptr(FakeFrame) f = fake_take_frame(h);
        IpAddr to = fake_ip(dst), gateway = fake_ip("192.168.127.1");
        MacAddr mac = { { 1, 0, 0x5e, to.b[13] & 0x7f, to.b[14], to.b[15] } };
        uint8_t *ip = f->data + 14, *m = ip + 24;

        g_assert_cmpuint(f->len, ==, 14 + 24 + len);
        g_assert_cmpmem(f->data, 6, &mac, 6);
        g_assert_cmphex(ip[0], ==, 0x46);
        g_assert_cmphex(ip[3], ==, 24 + len);
        g_assert_cmphex(ip[8], ==, 1);
        g_assert_cmpmem(ip + 20, 4, "\x94\x04\0\0", 4);
        g_assert_cmpmem(ip + 12, 4, gateway.b + 12, 4);
        g_assert_cmpmem(ip + 16, 4, to.b + 12, 4);
        g_assert_cmphex(checksum_fold(checksum_add(ip, 24, 0)), ==, 0xffff);
        g_assert_cmphex(checksum_fold(checksum_add(m, len, 0)), ==, 0xffff);
        m[2] = m[3] = 0;
        g_assert_cmpmem(m, len, bytes, len);
}

static void test_igmp(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);
        static const uint8_t mdns[] = { 0x16, 0, 0, 0, 224, 0, 0, 251 }, ssdp[] = { 0x16, 0, 0, 0, 239, 255, 255, 250 };
        static const uint8_t both[] = { 0x22, 0, 0, 0, 0, 0, 0, 2, 2, 0, 0, 0, 224, 0, 0, 251, 2, 0, 0, 0, 239, 255, 255, 250 };
        static const uint8_t one[] = { 0x22, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 239, 255, 255, 250 };

        igmp_query(h, "192.168.127.2", "224.0.0.1", NULL, 100, 1, 8);
        expect_igmp(h, "224.0.0.251", mdns, sizeof(mdns));
        expect_igmp(h, "239.255.255.250", ssdp, sizeof(ssdp));
        igmp_query(h, "192.168.127.2", "239.255.255.250", "239.255.255.250", 10, 1, 8);
        expect_igmp(h, "239.255.255.250", ssdp, sizeof(ssdp));
        igmp_query(h, "0.0.0.0", "224.0.0.1", NULL, 100, 1, 12);
        expect_igmp(h, "224.0.0.22", both, sizeof(both));
        igmp_query(h, "192.168.127.2", "239.255.255.250", "239.255.255.250", 10, 1, 16); /* with a source */
        expect_igmp(h, "224.0.0.22", one, sizeof(one));
        g_assert_cmpuint(fake_drops_total(h), ==, 0);

        igmp_query(h, "192.168.127.2", "224.0.0.9", "224.0.0.9", 10, 1, 12); /* a group of others */
        igmp_query(h, "192.168.127.2", "224.0.0.251", "239.255.255.250", 10, 1, 12);
        igmp_query(h, "192.168.127.2", "192.168.127.1", NULL, 10, 1, 12);
        igmp_query(h, "192.168.127.2", "224.0.0.1", NULL, 0, 1, 8); /* IGMPv1 */
        g_assert_cmpuint(fake_drops(h, DROP_IP_DESTINATION), ==, 4);
        igmp_query(h, "192.168.127.2", "224.0.0.1", NULL, 100, 2, 12); /* from afar */
        igmp_query(h, "10.0.0.1", "224.0.0.1", NULL, 100, 1, 12);
        igmp_query(h, "192.168.127.1", "224.0.0.1", NULL, 100, 1, 12);
        for (size_t len = 0; len < 12; len++)
                if (len != 8)
                        igmp_query(h, "192.168.127.2", "224.0.0.1", NULL, 100, 1, len);
        g_assert_cmpuint(fake_drops(h, DROP_IGMP_MALFORMED), ==, 3 + 11);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        for (unsigned i = 0; i < MULTICAST_BURST; i++)
                igmp_query(h, "192.168.127.2", "224.0.0.1", NULL, 100, 1, 12);
        g_assert_cmpuint(fake_n_frames(h), ==, MULTICAST_BURST - 4);
        g_assert_cmpuint(fake_drops(h, DROP_MULTICAST_RATE), ==, 4);

        g_autoptr(FakeHost) off = fake_host_new(NULL);
        igmp_query(off, "192.168.127.2", "224.0.0.1", NULL, 100, 1, 12);
        g_assert_cmpuint(fake_n_frames(off), ==, 0);
        g_assert_cmpuint(fake_drops(off, DROP_IP_OPTIONS), ==, 1);
}

/* ---- MLD ---- */

static void mld_query(FakeHost *h, const char *src, const char *dst, const char *group, uint8_t ttl, size_t len) {
        Packet4 p = packet4(dst, 0);
        IpAddr g = fake_ip(group);
        uint8_t rest[64] = {};

        p.src = fake_ip(src);
        p.dst_mac = (MacAddr){ { 0x33, 0x33, 0, 0, 0, 1 } };
        p.ttl = ttl;
        memcpy(rest, &g, 16);
        packet_send(h, packet_icmp(&p, MLD_LISTENER_QUERY, 0, 1000, 0, rest, len - 8));
}

/* The next frame must be a report to @dst behind a router alert: its message without the checksum. */
static void expect_mld(FakeHost *h, const char *dst, const uint8_t *bytes, size_t len) {
        g_autoptr(FakeFrame) f = NULL;
        Parsed p = packet_take(h, &f);
        IpAddr to = fake_ip(dst), gateway = fake_ip("fe80::5054:ff:fe00:1");
        g_autofree uint8_t *m = NULL;

        g_assert_cmpuint(p.proto, ==, IPPROTO_HOPOPTS);
        g_assert_cmpuint(p.ttl, ==, 1);
        g_assert_true(ip_equal(&p.dst, &to));
        g_assert_true(ip_equal(&p.src, &gateway));
        g_assert_cmpuint(p.l4_len, ==, 8 + len);
        g_assert_cmpmem(p.l4, 8, "\x3a\0\x05\x02\0\0\x01\0", 8);
        m = g_memdup2(p.l4 + 8, len);
        g_assert_cmphex(checksum_fold(checksum_add(m, len, checksum_pseudo(&p.src, &p.dst, IPPROTO_ICMPV6, (uint32_t) len))), ==, 0xffff);
        m[2] = m[3] = 0;
        g_assert_cmpmem(m, len, bytes, len);
}

static void test_mld(void) {
        g_autoptr(FakeHost) h = fake_host_new(reflect_all);
        static const uint8_t mdns[24] = { 131, [8] = 0xff, 2, [23] = 0xfb }, ssdp[24] = { 131, [8] = 0xff, 2, [23] = 0x0c };
        static const uint8_t both[48] = { 143, [7] = 2, [8] = 2, [12] = 0xff, 2, [27] = 0xfb, [28] = 2, [32] = 0xff, 2, [47] = 0x0c };

        mld_query(h, "fe80::2", "ff02::1", "::", 1, 24);
        expect_mld(h, "ff02::fb", mdns, sizeof(mdns));
        expect_mld(h, "ff02::c", ssdp, sizeof(ssdp));
        mld_query(h, "fe80::2", "ff02::fb", "ff02::fb", 1, 24);
        expect_mld(h, "ff02::fb", mdns, sizeof(mdns));
        mld_query(h, "fe80::2", "ff02::1", "::", 1, 28);
        expect_mld(h, "ff02::16", both, sizeof(both));
        g_assert_cmpuint(fake_drops_total(h), ==, 0);

        mld_query(h, "fe80::2", "ff02::9", "ff02::9", 1, 28);
        g_assert_cmpuint(fake_drops(h, DROP_ICMP_TYPE), ==, 1);
        mld_query(h, "fe80::2", "ff02::1", "::", 64, 28);
        mld_query(h, FAKE_GUEST6, "ff02::1", "::", 1, 28);
        for (size_t len = 8; len < 28; len++)
                if (len != 24)
                        mld_query(h, "fe80::2", "ff02::1", "::", 1, len);
        g_assert_cmpuint(fake_drops(h, DROP_IGMP_MALFORMED), ==, 2 + 19);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        g_autoptr(FakeHost) off = fake_host_new(fake_ip6);
        mld_query(off, "fe80::2", "ff02::1", "::", 1, 28);
        g_assert_cmpuint(fake_n_frames(off), ==, 0);
        g_assert_cmpuint(fake_drops(off, DROP_ICMP_TYPE), ==, 1);
}

static void test_names(void) {
        unsigned n = 0;

        for (uint8_t bit = 1; bit < _REFLECT_END; bit <<= 1, n++)
                g_assert_cmpuint(netstack_reflect_from_name(netstack_reflect_to_name(bit)), ==, bit);
        g_assert_cmpuint(n, ==, NETSTACK_REFLECT_MAX);
        g_assert_cmpuint(netstack_reflect_from_name("llmnr"), ==, 0);
        g_assert_null(netstack_reflect_to_name(_REFLECT_END));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/multicast/off", test_off);
        g_test_add_func("/multicast/to-guests", test_to_guests);
        g_test_add_func("/multicast/from-guests", test_from_guests);
        g_test_add_func("/multicast/search", test_search);
        g_test_add_func("/multicast/search-again", test_search_again);
        g_test_add_func("/multicast/policy", test_policy);
        g_test_add_func("/multicast/loops", test_loops);
        g_test_add_func("/multicast/recent", test_recent);
        g_test_add_func("/multicast/rates", test_rates);
        g_test_add_func("/multicast/shares", test_shares);
        g_test_add_func("/multicast/reads", test_reads);
        g_test_add_func("/multicast/rate-is-no-loop", test_rate_is_no_loop);
        g_test_add_func("/multicast/lengths", test_lengths);
        g_test_add_func("/multicast/no-link", test_no_link);
        g_test_add_func("/multicast/igmp", test_igmp);
        g_test_add_func("/multicast/mld", test_mld);
        g_test_add_func("/multicast/names", test_names);
        return g_test_run();
}
