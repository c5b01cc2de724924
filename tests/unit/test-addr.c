/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Addresses: text there and back, refusals, classes, prefix arithmetic at its edges, the kernel's
 * structures.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <sys/un.h>

#include "basic/addr.h"

static IpAddr ip(const char *text) {
        IpAddr a;

        g_assert_cmpint(ip_parse(text, &a), ==, 0);
        return a;
}

static IpPrefix prefix(const char *text) {
        IpPrefix p;

        g_assert_cmpint(prefix_parse(text, &p), ==, 0);
        return p;
}

static void test_mac(void) {
        static const char *const bad[] = {
                "",
                "52:54:00:12:34",
                "52:54:00:12:34:5",
                "52:54:00:12:34:567",
                "52:54:00:12:34:56:",
                " 52:54:00:12:34:56",
                "52:54:00:12:34:5g",
                "52:54:00-12:34:56",
                "52.54.00.12.34.56",
                "5254.0012.3456",
                "525400123456",
                "52:54:0:012:34:56",
                "52:54:00:12:34: 6",
                "52:54:00:12:34:+6",
        };
        static const MacAddr want = { { 0x52, 0x54, 0x00, 0xab, 0xcd, 0xef } };
        MacAddr a, kept = want;

        g_assert_cmpint(mac_parse("52:54:00:ab:CD:ef", &a), ==, 0);
        g_assert_true(mac_equal(&a, &want));
        g_assert_cmpint(mac_parse("52-54-00-AB-cd-ef", &a), ==, 0);
        g_assert_true(mac_equal(&a, &want));
        g_assert_cmpstr(MAC_TO_TEXT(&a), ==, "52:54:00:ab:cd:ef");

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                g_test_message("'%s'", bad[i]);
                g_assert_cmpint(mac_parse(bad[i], &kept), ==, -EINVAL);
                g_assert_true(mac_equal(&kept, &want));
        }

        g_assert_false(mac_is_multicast(&want));
        g_assert_true(mac_is_multicast(&(MacAddr){ { 0x01, 0, 0x5e, 0, 0, 1 } }));
        g_assert_true(mac_is_multicast(&(MacAddr){ { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } }));
        g_assert_true(mac_is_zero(&(MacAddr){}));
        g_assert_false(mac_is_zero(&want));
}

static void test_ip(void) {
        static const char *const same[] = {
                "0.0.0.0", "192.168.127.1", "255.255.255.255",        "::",
                "::1",     "fe80::1",       "2001:db8::ff00:42:8329", "1:2:3:4:5:6:7:8",
        };
        static const char *const bad[] = {
                "",
                " ",
                "1.2.3",
                "1.2.3.4.5",
                "1.2.3.256",
                "01.2.3.4",
                "1.2.3.4 ",
                " 1.2.3.4",
                "0x1.2.3.4",
                "1.2.3.-4",
                "1",
                "1.2.3.",
                ":",
                ":::",
                "1::2::3",
                "12345::",
                "g::",
                "fe80::1%eth0",
                "[::1]",
                "1:2:3:4:5:6:7:8:9",
                "::ffff:1.2.3.4",
                "::ffff:0:0",
                "localhost",
        };
        IpAddr kept = ip("1.2.3.4");

        for (size_t i = 0; i < ELEMENTSOF(same); i++) {
                IpAddr a = ip(same[i]);

                g_assert_cmpstr(IP_TO_TEXT(&a), ==, same[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                g_test_message("'%s'", bad[i]);
                g_assert_cmpint(ip_parse(bad[i], &kept), ==, -EINVAL);
        }
        g_assert_cmpstr(IP_TO_TEXT(&kept), ==, "1.2.3.4");

        IpAddr a = ip("10.0.2.15"), b = ip("::a00:20f");
        g_assert_cmpint(ip_family(&a), ==, AF_INET);
        g_assert_cmpint(ip_family(&b), ==, AF_INET6);
        g_assert_false(ip_equal(&a, &b)); /* v4-compatible is not v4-mapped */
        g_assert_cmphex(ip_v4(&a), ==, htonl(0x0a00020f));
        b = ip_from_v4(htonl(0x0a00020f));
        g_assert_true(ip_equal(&a, &b));
        g_assert_true(ip_is_null(&(IpAddr){}));
        a = ip("0.0.0.0");
        g_assert_false(ip_is_null(&a)); /* a set address, of IPv4 */
}

static void test_longest(void) {
        static const char longest[] = "1111:2222:3333:4444:5555:6666:7777:8888";
        IpAddr a = ip(longest);

        g_assert_cmpstr(PREFIX_TO_TEXT(&((IpPrefix){ .addr = a, .len = 128 })), ==,
                        "1111:2222:3333:4444:5555:6666:7777:8888/128");
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&((Endpoint){ .addr = a, .port = 65535 })), ==,
                        "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
}

static void test_classify(void) {
        static const struct {
                const char *text;
                IpClass class;
        } cases[] = {
                { "0.0.0.0", IP_CLASS_UNSPECIFIED },    { "0.255.255.255", IP_CLASS_UNSPECIFIED },
                { "1.0.0.0", IP_CLASS_UNICAST },        { "126.255.255.255", IP_CLASS_UNICAST },
                { "127.0.0.0", IP_CLASS_LOOPBACK },     { "127.255.255.255", IP_CLASS_LOOPBACK },
                { "128.0.0.0", IP_CLASS_UNICAST },      { "169.253.255.255", IP_CLASS_UNICAST },
                { "169.254.0.0", IP_CLASS_LINK_LOCAL }, { "169.254.255.255", IP_CLASS_LINK_LOCAL },
                { "169.255.0.0", IP_CLASS_UNICAST },    { "223.255.255.255", IP_CLASS_UNICAST },
                { "224.0.0.0", IP_CLASS_MULTICAST },    { "239.255.255.255", IP_CLASS_MULTICAST },
                { "240.0.0.0", IP_CLASS_RESERVED },     { "255.255.255.255", IP_CLASS_RESERVED },
                { "::", IP_CLASS_UNSPECIFIED },         { "::1", IP_CLASS_LOOPBACK },
                { "::2", IP_CLASS_UNICAST },            { "::127.0.0.1", IP_CLASS_UNICAST },
                { "fe7f::1", IP_CLASS_UNICAST },        { "fe80::", IP_CLASS_LINK_LOCAL },
                { "febf:ffff::1", IP_CLASS_LINK_LOCAL }, { "fec0::", IP_CLASS_UNICAST },
                { "fd00::1", IP_CLASS_UNICAST },        { "feff::1", IP_CLASS_UNICAST },
                { "ff00::", IP_CLASS_MULTICAST },       { "ff02::1", IP_CLASS_MULTICAST },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                IpAddr a = ip(cases[i].text);

                g_test_message("%s", cases[i].text);
                g_assert_cmpint(ip_classify(&a), ==, cases[i].class);
        }
}

static void test_prefix(void) {
        static const char *const same[] = { "10.1.2.3/8", "0.0.0.0/0",  "1.2.3.4/32",
                                            "::/0",       "fd00::1/64", "::1/128" };
        static const char *const bad[] = {
                "",
                "/",
                "/8",
                "10.0.0.0",
                "10.0.0.0/",
                "10.0.0.0/33",
                "::/129",
                "10.0.0.0/-1",
                "10.0.0.0/08",
                "10.0.0.0/0x8",
                "10.0.0.0/8 ",
                "10.0.0.0/ 8",
                "10.0.0.0/8/8",
                "10.0.0.0/255.0.0.0",
                "::ffff:0:0/96",
                "10.0.0.0/4294967304",
                "1111:2222:3333:4444:5555:6666:7777:8888:1111:2222:3333:4444:5555/64",
        };
        IpPrefix kept = prefix("9.9.9.9/9");

        for (size_t i = 0; i < ELEMENTSOF(same); i++) {
                IpPrefix p = prefix(same[i]);

                g_assert_cmpstr(PREFIX_TO_TEXT(&p), ==, same[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                g_test_message("'%s'", bad[i]);
                g_assert_cmpint(prefix_parse(bad[i], &kept), ==, -EINVAL);
        }
        g_assert_cmpstr(PREFIX_TO_TEXT(&kept), ==, "9.9.9.9/9");
}

static void test_contains(void) {
        static const struct {
                const char *prefix, *addr;
                bool yes;
        } cases[] = {
                { "10.1.2.3/8", "10.255.0.1", true },      { "10.0.0.0/8", "11.0.0.0", false },
                { "10.0.0.0/8", "9.255.255.255", false },  { "192.168.127.0/23", "192.168.126.255", true },
                { "192.168.127.0/23", "192.168.128.0", false }, { "0.0.0.0/0", "255.255.255.255", true },
                { "1.2.3.4/32", "1.2.3.4", true },         { "1.2.3.4/32", "1.2.3.5", false },
                { "::/0", "1.2.3.4", false },              { "0.0.0.0/0", "::1", false },
                { "::/0", "ff02::1", true },               { "fd00::/65", "fd00:0:0:0:7fff::", true },
                { "fd00::/65", "fd00:0:0:0:8000::", false }, { "::1/128", "::1", true },
                { "::1/128", "::", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                IpPrefix p = prefix(cases[i].prefix);
                IpAddr a = ip(cases[i].addr);

                g_test_message("%s in %s", cases[i].addr, cases[i].prefix);
                g_assert_true(prefix_contains(&p, &a) == cases[i].yes);
        }
}

static void test_nth(void) {
        static const struct {
                const char *prefix;
                uint64_t n;
                const char *addr;
        } cases[] = {
                { "192.168.127.77/24", 0, "192.168.127.0" },
                { "192.168.127.77/24", 1, "192.168.127.1" },
                { "10.0.255.0/16", 511, "10.0.1.255" },
                { "0.0.0.0/0", UINT32_MAX, "255.255.255.255" },
                { "255.255.255.255/32", 1, "0.0.0.0" }, /* wraps inside its family */
                { "fd00::ff/64", 256, "fd00::100" },
                { "fd00::/64", UINT64_MAX, "fd00::ffff:ffff:ffff:ffff" },
                { "fd00::ffff:ffff:ffff:ffff/128", 1, "fd00:0:0:1::" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                IpPrefix p = prefix(cases[i].prefix);
                IpAddr a = prefix_nth(&p, cases[i].n);

                g_assert_cmpstr(IP_TO_TEXT(&a), ==, cases[i].addr);
        }
}

static void test_mask_v4(void) {
        static const struct {
                const char *prefix;
                uint32_t mask;
                const char *broadcast;
        } cases[] = {
                { "10.1.2.3/0", 0, "255.255.255.255" },
                { "10.1.2.3/1", 0x80000000, "127.255.255.255" },
                { "10.1.2.3/24", 0xffffff00, "10.1.2.255" },
                { "10.1.2.3/31", 0xfffffffe, "10.1.2.3" },
                { "10.1.2.3/32", 0xffffffff, "10.1.2.3" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                IpPrefix p = prefix(cases[i].prefix);
                IpAddr a = prefix_broadcast(&p);

                g_assert_cmphex(prefix_mask_v4(&p), ==, htonl(cases[i].mask));
                g_assert_cmpstr(IP_TO_TEXT(&a), ==, cases[i].broadcast);
        }
}

static void test_endpoint(void) {
        static const char *const same[] = { "1.2.3.4:80", "[::1]:1", "[fe80::1]:65535" };
        static const char *const bad[] = {
                "",
                ":",
                ":80",
                "1.2.3.4",
                "1.2.3.4:",
                "1.2.3.4:0",
                "1.2.3.4:65536",
                "1.2.3.4:80 ",
                "1.2.3.4:080",
                "1.2.3.4:+80",
                "1.2.3.4:0x50",
                "::1:80",
                "[::1]",
                "[::1]80",
                "[::1]:",
                "[::1:80",
                "::1]:80",
                "[]:80",
                "[:80",
                "[1.2.3.4]:80",
                "localhost:80",
                "[::1]:80:80",
                "1.2.3.4:80:80",
                "[[::1]]:80",
                "[fe80::1%eth0]:80",
        };
        Endpoint kept = { .addr = ip("9.9.9.9"), .port = 9 };

        for (size_t i = 0; i < ELEMENTSOF(same); i++) {
                Endpoint e;

                g_assert_cmpint(endpoint_parse(same[i], &e), ==, 0);
                g_assert_cmpstr(ENDPOINT_TO_TEXT(&e), ==, same[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                g_test_message("'%s'", bad[i]);
                g_assert_cmpint(endpoint_parse(bad[i], &kept), ==, -EINVAL);
        }
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&kept), ==, "9.9.9.9:9");
}

static void test_sockaddr(void) {
        struct sockaddr_storage ss;
        struct sockaddr *sa = (struct sockaddr *) &ss;
        Endpoint v4, v6, back;

        g_assert_cmpint(endpoint_parse("1.2.3.4:80", &v4), ==, 0);
        g_assert_cmpint(endpoint_parse("[2001:db8::1]:443", &v6), ==, 0);

        g_assert_cmpuint(endpoint_to_sockaddr(&v4, &ss), ==, sizeof(struct sockaddr_in));
        g_assert_cmpint(((struct sockaddr_in *) sa)->sin_port, ==, htons(80));
        g_assert_cmpint(endpoint_from_sockaddr(sa, sizeof(struct sockaddr_in), &back), ==, 0);
        g_assert_true(endpoint_equal(&back, &v4));
        g_assert_cmpint(endpoint_from_sockaddr(sa, sizeof(struct sockaddr_in) - 1, &back), ==,
                        -EAFNOSUPPORT);

        g_assert_cmpuint(endpoint_to_sockaddr(&v6, &ss), ==, sizeof(struct sockaddr_in6));
        g_assert_cmpint(endpoint_from_sockaddr(sa, sizeof(struct sockaddr_in6), &back), ==, 0);
        g_assert_true(endpoint_equal(&back, &v6));
        g_assert_cmpint(endpoint_from_sockaddr(sa, sizeof(struct sockaddr_in6) - 1, &back), ==,
                        -EAFNOSUPPORT);

        /* What a dual-stack socket says of an IPv4 peer is that peer. */
        memcpy(&((struct sockaddr_in6 *) sa)->sin6_addr, v4.addr.b, 16);
        ((struct sockaddr_in6 *) sa)->sin6_port = htons(80);
        g_assert_cmpint(endpoint_from_sockaddr(sa, sizeof(struct sockaddr_in6), &back), ==, 0);
        g_assert_true(endpoint_equal(&back, &v4));

        sa->sa_family = AF_UNIX;
        g_assert_cmpint(endpoint_from_sockaddr(sa, sizeof(struct sockaddr_un), &back), ==, -EAFNOSUPPORT);
        g_assert_cmpint(endpoint_from_sockaddr(sa, 0, &back), ==, -EAFNOSUPPORT);
        g_assert_true(endpoint_equal(&back, &v4));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/addr/mac", test_mac);
        g_test_add_func("/addr/ip", test_ip);
        g_test_add_func("/addr/longest", test_longest);
        g_test_add_func("/addr/classify", test_classify);
        g_test_add_func("/addr/prefix", test_prefix);
        g_test_add_func("/addr/contains", test_contains);
        g_test_add_func("/addr/nth", test_nth);
        g_test_add_func("/addr/mask-v4", test_mask_v4);
        g_test_add_func("/addr/endpoint", test_endpoint);
        g_test_add_func("/addr/sockaddr", test_sockaddr);
        return g_test_run();
}
