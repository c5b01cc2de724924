/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a guarded port may send, frame by frame: its own MAC address, a claim to be checked, and nothing that servers and routers say. */

#include <glib.h>

#include "daemon/switch-guard.h"

static GuardRules rules = { .mac = { { 2, 0, 0, 0, 0, 1 } } };

typedef struct Bytes {
        uint8_t b[256];
        size_t len;
} Bytes;

static void put(Bytes *p, const void *data, size_t len) {
        g_assert_cmpuint(p->len + len, <=, sizeof(p->b));
        memcpy(p->b + p->len, data, len);
        p->len += len;
}

static Bytes eth(uint16_t type) {
        uint8_t head[14] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, (uint8_t) (type >> 8), (uint8_t) type };
        Bytes p = {};

        put(&p, head, sizeof(head));
        return p;
}

static bool guard(const Bytes *p, size_t len, IpAddr *ret) {
        g_autofree uint8_t *copy = g_memdup2(p->b, MAX(len, (size_t) 1)); /* so that a byte too far is seen */
        struct iovec iov = { copy, len };

        return guard_frame(&(Frame){ .iov = &iov, .n_iov = 1, .len = (uint32_t) len }, &rules, ret);
}

static void assert_passes(const Bytes *p, const char *claim) {
        IpAddr got;

        g_assert_true(guard(p, p->len, &got));
        g_assert_cmpstr(ip_is_null(&got) ? "" : IP_TO_TEXT(&got), ==, claim);
}

static void assert_refused(const Bytes *p) {
        IpAddr got;

        g_assert_false(guard(p, p->len, &got));
}

static Bytes arp(const char *sha_last, const uint8_t spa[4]) {
        uint8_t body[28] = { 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, (uint8_t) sha_last[0], spa[0], spa[1], spa[2], spa[3] };
        Bytes p = eth(0x0806);

        put(&p, body, sizeof(body));
        return p;
}

static void test_arp(void) {
        Bytes p = arp("\1", (uint8_t[]){ 10, 0, 0, 2 });
        IpAddr claim;

        assert_passes(&p, "10.0.0.2");
        for (size_t len = 0; len < p.len; len++)
                g_assert_false(guard(&p, len, &claim));
        p = arp("\1", (uint8_t[]){ 0, 0, 0, 0 });
        assert_passes(&p, "");
        p = arp("\2", (uint8_t[]){ 10, 0, 0, 2 }); /* somebody else's link address */
        assert_refused(&p);
}

static Bytes ip4(uint8_t proto, const uint8_t src[4], uint8_t dst, uint16_t sport) {
        uint8_t head[20] = { 0x45, 0, 0, 28, 0, 0, 0, 0, 64, proto, 0, 0, src[0], src[1], src[2], src[3], dst, dst, dst, dst };
        uint8_t udp[8] = { (uint8_t) (sport >> 8), (uint8_t) sport, 0, 68 };
        Bytes p = eth(0x0800);

        put(&p, head, sizeof(head));
        put(&p, udp, sizeof(udp));
        return p;
}

static void test_ip4(void) {
        static const uint8_t mine[] = { 10, 0, 0, 2 }, none[] = { 0, 0, 0, 0 };
        Bytes p = ip4(6, mine, 1, 80);
        IpAddr claim;

        assert_passes(&p, "10.0.0.2");
        p = ip4(17, mine, 1, 53);
        assert_passes(&p, "10.0.0.2");
        p = ip4(17, none, 255, 68); /* a client without an address */
        assert_passes(&p, "");
        for (size_t len = 0; len < 36; len++)
                g_assert_false(guard(&p, len, &claim));
        p = ip4(6, none, 255, 68);
        assert_refused(&p);
        p = ip4(17, none, 8, 68);
        assert_refused(&p);
        p = ip4(17, mine, 255, 67); /* a DHCP server */
        assert_refused(&p);
        p.b[11] = 9; /* another's MAC address */
        assert_refused(&p);
}

static Bytes ip6(const char *src, uint8_t next, const uint8_t *rest, size_t n_rest) {
        uint8_t head[40] = { 0x60, 0, 0, 0, 0, (uint8_t) n_rest, next, 255 };
        Bytes p = eth(0x86dd);
        IpAddr a;

        g_assert_cmpint(ip_parse(src, &a), ==, 0);
        memcpy(head + 8, a.b, 16);
        put(&p, head, sizeof(head));
        put(&p, rest, n_rest);
        return p;
}

static void test_ip6(void) {
        static const uint8_t solicit[] = { 135, 0 }, advert[] = { 134, 0 }, redirect[] = { 137, 0 },
                             hidden[] = { 58, 0, 0, 0, 0, 0, 0, 0, 134, 0 }, fragment[] = { 58, 0, 0, 1, 0, 0, 0, 9, 134, 0 },
                             later[] = { 58, 0, 0, 9, 0, 0, 0, 9, 134, 0 }, dhcp6[] = { 547 >> 8, 547 & 0xff, 2, 34 };
        IpPrefix subnet;
        Bytes p;

        g_assert_cmpint(prefix_parse("fd00:1::/64", &subnet), ==, 0);
        rules.subnet6 = subnet;
        g_assert_cmpint(ip_parse("fd00:1::1", &rules.gateway6), ==, 0);
        g_assert_cmpint(ip_parse("fd00:1::ff", &rules.host6), ==, 0);
#define CASE(src, next, what, good)                                                                             \
        p = ip6(src, next, what, sizeof(what));                                                                 \
        if (good)                                                                                               \
                assert_passes(&p, "");                                                                          \
        else                                                                                                    \
                assert_refused(&p);
        CASE("fe80::2", 58, solicit, true);
        CASE("::", 58, solicit, true);
        CASE("fd00:1::2", 58, solicit, true);
        CASE("fd00:1::1", 58, solicit, false);
        CASE("fd00:1::ff", 58, solicit, false);
        CASE("fd00:2::2", 58, solicit, false);
        CASE("fe80::2", 58, advert, false);
        CASE("fe80::2", 58, redirect, false);
        CASE("fe80::2", 60, hidden, false);
        CASE("fe80::2", 44, fragment, false);
        CASE("fe80::2", 44, later, true);
        CASE("fe80::2", 17, dhcp6, false);
        CASE("fe80::2", 6, dhcp6, true);
#undef CASE
}

static void test_others(void) {
        static const uint16_t types[] = { 0x8100, 0x88a8, 0x88cc, 46, 0 };

        for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
                Bytes p = eth(types[i]);

                put(&p, "0123456789", 10);
                assert_refused(&p);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/switch-guard/arp", test_arp);
        g_test_add_func("/switch-guard/ip4", test_ip4);
        g_test_add_func("/switch-guard/ip6", test_ip6);
        g_test_add_func("/switch-guard/others", test_others);
        return g_test_run();
}
