/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Neighbour discovery: the gateway as a router and as a neighbour, and guests that lie. */

#include <netinet/icmp6.h>
#include <netinet/in.h>

#include "fake-host.h"
#include "netstack/arp.h"
#include "netstack/nd.h"
#include "packet.h"

#define GATEWAY6 "fd00:1::1"
#define LINK_LOCAL "fe80::5054:ff:fe00:1"
#define GUEST_LINK_LOCAL "fe80::5054:ff:fe00:2"


/* A message from the guest: @body is what follows the ICMPv6 header of 4 bytes. */
static GByteArray *nd_message(const char *src, const char *dst, uint8_t ttl, uint8_t type, const void *body, size_t len) {
        Packet4 p = packet4(dst, 0);
        uint8_t rest[256] = {};

        p.src = fake_ip(src);
        p.ttl = ttl;
        if (ip_classify(&p.dst) == IP_CLASS_MULTICAST)
                p.dst_mac = (MacAddr){ { 0x33, 0x33, p.dst.b[12], p.dst.b[13], p.dst.b[14], p.dst.b[15] } };
        g_assert_cmpuint(len, <=, sizeof(rest));
        g_assert_cmpuint(len, >=, 4);
        memcpy(rest, body, len);
        return packet_icmp(&p, type, 0, (uint16_t) (rest[0] << 8 | rest[1]), (uint16_t) (rest[2] << 8 | rest[3]), rest + 4, len - 4);
}

typedef struct Body {
        uint8_t b[128];
        size_t len;
} Body;

static void body_add(Body *b, const void *bytes, size_t len) {
        memcpy(b->b + b->len, bytes, len);
        b->len += len;
}

/* Reserved bytes, target, and (mac not NULL) a link-address option of @option. */
static Body body_make(uint8_t flags, const char *target, uint8_t option, const MacAddr *mac) {
        Body b = { .b = { flags }, .len = 4 };
        uint8_t head[2] = { option, 1 };

        if (target) {
                IpAddr a = fake_ip(target);
                body_add(&b, &a, sizeof(a));
        }
        if (mac) {
                body_add(&b, head, 2);
                body_add(&b, mac, sizeof(*mac));
        }
        return b;
}

static void send_body(FakeHost *h, const char *src, const char *dst, uint8_t type, const Body *b) {
        packet_send(h, nd_message(src, dst, 255, type, b->b, b->len));
}

/* ---- neighbours ---- */

static void expect_advert(FakeHost *h, const char *dst, const char *target, uint8_t flags) {
        g_autoptr(FakeFrame) f = NULL;
        Parsed p = packet_take(h, &f);
        IpAddr t = fake_ip(target), d = fake_ip(dst);

        g_assert_cmpuint(p.icmp_type, ==, ND_NEIGHBOR_ADVERT);
        g_assert_cmpuint(p.ttl, ==, 255);
        g_assert_true(ip_equal(&p.dst, &d));
        g_assert_cmphex(p.icmp_arg >> 24, ==, flags);
        g_assert_cmpmem(p.payload, 16, &t, 16);
        g_assert_cmpuint(p.payload[16], ==, ND_OPT_TARGET_LINKADDR);
        g_assert_cmpmem(p.payload + 18, 6, &FAKE_GATEWAY_MAC, 6);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_solicit(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        static const struct {
                const char *target;
                uint8_t flags; /* router, solicited, override */
        } table[] = { { GATEWAY6, 0xe0 }, { LINK_LOCAL, 0xe0 }, { "fd00:1::fe", 0x60 } };

        for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
                Body b = body_make(0, table[i].target, ND_OPT_SOURCE_LINKADDR, &FAKE_GUEST_MAC);
                IpAddr target = fake_ip(table[i].target), group = nd_solicited_node(&target);

                send_body(h, GUEST_LINK_LOCAL, IP_TO_TEXT(&group), ND_NEIGHBOR_SOLICIT, &b);
                expect_advert(h, GUEST_LINK_LOCAL, table[i].target, table[i].flags);
                send_body(h, FAKE_GUEST6, table[i].target, ND_NEIGHBOR_SOLICIT, &b); /* unicast, as probes are */
                expect_advert(h, FAKE_GUEST6, table[i].target, table[i].flags);
        }
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, 2);
}

static void test_dad(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Body theirs = body_make(0, FAKE_GUEST6, 0, NULL), ours = body_make(0, GATEWAY6, 0, NULL);

        send_body(h, "::", "ff02::1:ff00:2", ND_NEIGHBOR_SOLICIT, &theirs); /* is it free? it is: silence */
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, 0);
        send_body(h, "::", "ff02::1:ff00:1", ND_NEIGHBOR_SOLICIT, &ours); /* all are told whose it is */
        expect_advert(h, "ff02::1", GATEWAY6, 0xa0);

        /* with a link address, or not to the group, it is no DAD */
        Body bad = body_make(0, GATEWAY6, ND_OPT_SOURCE_LINKADDR, &FAKE_GUEST_MAC);
        send_body(h, "::", "ff02::1:ff00:1", ND_NEIGHBOR_SOLICIT, &bad);
        send_body(h, "::", "ff02::1", ND_NEIGHBOR_SOLICIT, &ours);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_ND_MALFORMED), ==, 2);
}

static void test_malformed(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Body good = body_make(0, GATEWAY6, ND_OPT_SOURCE_LINKADDR, &FAKE_GUEST_MAC), zero = good, overrun = good, group = good, other = good;

        zero.b[21] = 0;
        overrun.b[21] = 2;
        memset(group.b + 4, 0xff, 1);
        other.b[27] ^= 1;
        packet_send(h, nd_message(FAKE_GUEST6, GATEWAY6, 254, ND_NEIGHBOR_SOLICIT, good.b, good.len)); /* from afar */
        packet_send(h, nd_message(FAKE_GUEST6, GATEWAY6, 255, ND_NEIGHBOR_SOLICIT, good.b, 19)); /* short */
        send_body(h, FAKE_GUEST6, GATEWAY6, ND_NEIGHBOR_SOLICIT, &zero);
        send_body(h, FAKE_GUEST6, GATEWAY6, ND_NEIGHBOR_SOLICIT, &overrun);
        send_body(h, FAKE_GUEST6, GATEWAY6, ND_NEIGHBOR_SOLICIT, &group);
        g_assert_cmpuint(fake_drops(h, DROP_ND_MALFORMED), ==, 5);
        send_body(h, FAKE_GUEST6, GATEWAY6, ND_NEIGHBOR_SOLICIT, &other);
        g_assert_cmpuint(fake_drops(h, DROP_ND_SPOOF), ==, 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        Body not_ours = body_make(0, "fd00:1::77", ND_OPT_SOURCE_LINKADDR, &FAKE_GUEST_MAC);
        send_body(h, FAKE_GUEST6, "ff02::1:ff00:77", ND_NEIGHBOR_SOLICIT, &not_ours);
        g_assert_cmpuint(fake_drops(h, DROP_ND_NOT_OURS), ==, 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_defend(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Body claim = body_make(0x20, GATEWAY6, ND_OPT_TARGET_LINKADDR, &FAKE_GUEST_MAC);

        send_body(h, FAKE_GUEST6, "ff02::1", ND_NEIGHBOR_ADVERT, &claim);
        expect_advert(h, "ff02::1", GATEWAY6, 0xa0);
        send_body(h, FAKE_GUEST6, "ff02::1", ND_NEIGHBOR_ADVERT, &claim); /* now and then, not each time */
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        fake_advance(h, ND_DEFEND_USEC);
        send_body(h, FAKE_GUEST6, "ff02::1", ND_NEIGHBOR_ADVERT, &claim);
        expect_advert(h, "ff02::1", GATEWAY6, 0xa0);
        g_assert_cmpuint(fake_drops(h, DROP_ND_SPOOF), ==, 3);

        /* nobody may speak from our address at all */
        Body ask = body_make(0, GATEWAY6, 0, NULL);
        send_body(h, GATEWAY6, GATEWAY6, ND_NEIGHBOR_SOLICIT, &ask);
        g_assert_cmpuint(fake_drops(h, DROP_IP_SOURCE), ==, 1);
}

/* A forward to a guest nobody has heard of: asked for by multicast, held meanwhile, sent when it answers, probed by unicast later. */
static void test_resolve(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Endpoint local = fake_endpoint("[::1]:80"), peer = fake_endpoint("[2001:db8::9]:5555");
        ForwardConfig c = { .id = 1, .proto = IPPROTO_TCP, .local = local, .remote = { fake_ip(FAKE_GUEST6), 80 } };
        int fd = fake_listener(h, &local);
        g_autoptr(FakeFrame) f = NULL;
        IpAddr guest = fake_ip(FAKE_GUEST6), group = nd_solicited_node(&guest), link_local = fake_ip(LINK_LOCAL);

        g_assert_cmpint(netstack_forward_add(h->stack, &c, fd), ==, 0);
        fake_client(h, fd, &peer);
        fake_run(h);
        Parsed p = packet_take(h, &f);
        g_assert_cmpuint(p.icmp_type, ==, ND_NEIGHBOR_SOLICIT);
        g_assert_true(ip_equal(&p.dst, &group));
        g_assert_true(ip_equal(&p.src, &link_local));
        g_assert_cmpmem(&p.eth_dst, 6, "\x33\x33\xff\x00\x00\x02", 6);
        g_assert_cmpmem(p.payload, 16, &guest, 16);
        g_assert_cmpmem(p.payload + 16, 8, "\x01\x01\x52\x54\x00\x00\x00\x01", 8);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        Body answer = body_make(0x60, FAKE_GUEST6, ND_OPT_TARGET_LINKADDR, &FAKE_GUEST_MAC);
        send_body(h, FAKE_GUEST6, LINK_LOCAL, ND_NEIGHBOR_ADVERT, &answer);
        p = packet_take(h, &f);
        g_assert_cmpuint(p.tcp_flags, ==, 0x02);
        g_assert_true(ip_equal(&p.src, &peer.addr)); /* the client's own address */
        g_assert_cmpmem(&p.eth_dst, 6, &FAKE_GUEST_MAC, 6);

        fake_advance(h, ARP_STALE_USEC + 1);
        for (;;) {
                p = packet_take(h, &f);
                if (p.icmp_type == ND_NEIGHBOR_SOLICIT)
                        break;
        }
        g_assert_true(ip_equal(&p.dst, &guest));
        g_assert_cmpmem(&p.eth_dst, 6, &FAKE_GUEST_MAC, 6);
        fake_advance(h, 10 * USEC_PER_SEC);
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, 0);
}

/* ---- the router ---- */

typedef struct Advert {
        uint16_t lifetime;
        uint32_t mtu; /* 0: none */
        bool prefix, dns, search;
} Advert;

/* Every field of a router advertisement. */
static Advert read_advert(const Parsed *p) {
        IpAddr prefix = fake_ip("fd00:1::"), server = fake_ip(GATEWAY6), from = fake_ip(LINK_LOCAL);
        Advert a = { .lifetime = (uint16_t) p->icmp_arg };
        const uint8_t *o = p->payload + 8, *end = p->payload + p->payload_len;
        bool link = false;

        g_assert_cmpuint(p->icmp_type, ==, ND_ROUTER_ADVERT);
        g_assert_cmpuint(p->icmp_code, ==, 0);
        g_assert_cmpuint(p->ttl, ==, 255);
        g_assert_true(ip_equal(&p->src, &from));
        g_assert_cmpuint(p->ip_len, <=, 1280);
        g_assert_cmpuint(p->icmp_arg >> 24, ==, 64);
        g_assert_cmphex(p->icmp_arg >> 16 & 0xff, ==, 0xc0); /* addresses and the rest by DHCPv6 too */
        g_assert_cmpmem(p->payload, 8, "\0\0\0\0\0\0\0\0", 8);
        for (; o < end; o += 8 * o[1]) {
                g_assert_cmpuint(o[1], >, 0);
                g_assert_cmpint(8 * o[1], <=, end - o);
                switch (o[0]) {
                case ND_OPT_SOURCE_LINKADDR:
                        g_assert_cmpmem(o + 2, 6, &FAKE_GATEWAY_MAC, 6);
                        link = true;
                        break;
                case ND_OPT_MTU:
                        a.mtu = (uint32_t) (o[4] << 24 | o[5] << 16 | o[6] << 8 | o[7]);
                        break;
                case ND_OPT_PREFIX_INFORMATION:
                        g_assert_cmpuint(o[2], ==, 64);
                        g_assert_cmphex(o[3], ==, 0xc0);
                        g_assert_cmpmem(o + 4, 12, "\x00\x01\x51\x80\x00\x00\x38\x40\0\0\0\0", 12); /* a day, four hours */
                        g_assert_cmpmem(o + 16, 16, &prefix, 16);
                        a.prefix = true;
                        break;
                case 25:
                        g_assert_cmpmem(o + 4, 4, "\x00\x00\x07\x08", 4);
                        g_assert_cmpmem(o + 8, 16, &server, 16);
                        a.dns = true;
                        break;
                case 31:
                        g_assert_cmpmem(o + 8, 15, "\x04vnet\x08internal\0", 15);
                        a.search = true;
                        break;
                default:
                        g_error("option %u", o[0]);
                }
        }
        g_assert_true(o == end && link);
        return a;
}

static void test_router(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        g_autoptr(FakeFrame) f = NULL;
        Body ask = body_make(0, NULL, 0, NULL), ask_from = body_make(0, NULL, ND_OPT_SOURCE_LINKADDR, &FAKE_GUEST_MAC);
        IpAddr all = fake_ip("ff02::1"), guest = fake_ip(GUEST_LINK_LOCAL);
        const char *search[] = { "example.org", "not..a.name" };

        send_body(h, "::", "ff02::2", ND_ROUTER_SOLICIT, &ask);
        Parsed p = packet_take(h, &f);
        Advert a = read_advert(&p);
        g_assert_true(a.prefix && a.dns && a.search);
        g_assert_cmpuint(a.lifetime, ==, ND_ROUTER_SEC);
        g_assert_cmpuint(a.mtu, ==, 1500);
        g_assert_true(ip_equal(&p.dst, &all));
        g_assert_cmpmem(&p.eth_dst, 6, &FAKE_GUEST_MAC, 6); /* but to the asking station alone */

        h->port.mtu = 65520;
        netstack_set_resolvers(h->stack, NULL, 0, search, 2);
        send_body(h, GUEST_LINK_LOCAL, "ff02::2", ND_ROUTER_SOLICIT, &ask_from);
        p = packet_take(h, &f);
        a = read_advert(&p);
        g_assert_cmpuint(a.mtu, ==, 65520);
        g_assert_true(ip_equal(&p.dst, &guest));

        /* to all, whose links may differ: no MTU */
        fake_clear_frames(h);
        fake_advance(h, ND_INTERVAL_USEC);
        p = packet_take(h, &f);
        a = read_advert(&p);
        g_assert_cmpuint(a.mtu, ==, 0);
        g_assert_true(ip_equal(&p.dst, &all));
        g_assert_cmpmem(&p.eth_dst, 6, "\x33\x33\0\0\0\x01", 6);

        Body bad = ask_from;
        bad.b[5] = 0;
        send_body(h, GUEST_LINK_LOCAL, "ff02::2", ND_ROUTER_SOLICIT, &bad);
        send_body(h, "::", "ff02::2", ND_ROUTER_SOLICIT, &ask_from);
        g_assert_cmpuint(fake_drops(h, DROP_ND_MALFORMED), ==, 2);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

/* Without a way out by IPv6 the gateway is no default router; it says so at once, and when there is one again. */
static void test_uplink(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        g_autoptr(FakeFrame) f = NULL;
        static const bool ups[] = { false, true };

        netstack_set_uplink(h->stack, true, true);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        for (size_t i = 0; i < G_N_ELEMENTS(ups); i++) {
                netstack_set_uplink(h->stack, true, ups[i]);
                Parsed p = packet_take(h, &f);
                Advert a = read_advert(&p);
                g_assert_cmpuint(a.lifetime, ==, ups[i] ? ND_ROUTER_SEC : 0);
                g_assert_true(a.prefix && a.dns); /* what is inside works all the same */
        }
}

static void test_flood(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Body ask = body_make(0, NULL, 0, NULL);

        for (unsigned i = 0; i < ND_ADVERTS_BURST + 50; i++)
                send_body(h, "::", "ff02::2", ND_ROUTER_SOLICIT, &ask);
        g_assert_cmpuint(fake_n_frames(h), ==, ND_ADVERTS_BURST);
        g_assert_cmpuint(fake_drops(h, DROP_ND_RATE), ==, 50);
        fake_clear_frames(h);
        h->port.id++; /* a guest behind another port is answered */
        send_body(h, "::", "ff02::2", ND_ROUTER_SOLICIT, &ask);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);

        /* made-up senders fill the table and no more; others are still answered */
        fake_clear_frames(h);
        for (unsigned i = 0; i < 3 * ARP_NEIGHBOURS_MAX; i++) {
                g_autofree char *src = g_strdup_printf("fd00:1::beef:%x", i + 1);
                Body b = body_make(0, GATEWAY6, ND_OPT_SOURCE_LINKADDR, &FAKE_GUEST_MAC);
                send_body(h, src, GATEWAY6, ND_NEIGHBOR_SOLICIT, &b);
        }
        g_assert_cmpuint(arp_n_neighbours(h->stack->arp), ==, ARP_NEIGHBOURS_MAX);
        g_assert_cmpuint(fake_n_frames(h), ==, 3 * ARP_NEIGHBOURS_MAX);
}

/* Other routers, redirects and MLD change nothing. */
static void test_ignored(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Body advert = body_make(0, "fd00:1::77", 0, NULL);

        send_body(h, GUEST_LINK_LOCAL, "ff02::1", ND_ROUTER_ADVERT, &advert);
        send_body(h, GUEST_LINK_LOCAL, "ff02::1", ND_REDIRECT, &advert);
        g_assert_cmpuint(fake_drops(h, DROP_ICMP_TYPE), ==, 2);
        send_body(h, GUEST_LINK_LOCAL, "ff02::16", 143, &advert);
        g_assert_cmpuint(fake_drops_total(h), ==, 2);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

/* A network without IPv6 knows nothing of it. */
static void test_off(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Body ask = body_make(0, NULL, 0, NULL);

        send_body(h, "::", "ff02::2", ND_ROUTER_SOLICIT, &ask);
        g_assert_cmpuint(fake_drops(h, DROP_ETH_TYPE), ==, 1);
        fake_advance(h, ND_INTERVAL_USEC);
        netstack_set_uplink(h->stack, true, false);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/nd/solicit", test_solicit);
        g_test_add_func("/nd/dad", test_dad);
        g_test_add_func("/nd/malformed", test_malformed);
        g_test_add_func("/nd/defend", test_defend);
        g_test_add_func("/nd/resolve", test_resolve);
        g_test_add_func("/nd/router", test_router);
        g_test_add_func("/nd/uplink", test_uplink);
        g_test_add_func("/nd/flood", test_flood);
        g_test_add_func("/nd/ignored", test_ignored);
        g_test_add_func("/nd/off", test_off);
        return g_test_run();
}
