/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Internet checksum against a slow one written straight from RFC 1071, at every length and alignment. */

#include <arpa/inet.h>
#include <glib.h>

#include "basic/checksum.h"

/* Big-endian words, one at a time; carries folded at once. */
static uint16_t reference(const uint8_t *p, size_t len, uint16_t sum) {
        uint32_t s = sum;

        for (size_t i = 0; i < len; i++) {
                s += i % 2 == 0 ? (uint32_t) p[i] << 8 : p[i];
                s = (s & 0xffff) + (s >> 16);
        }
        return (uint16_t) s;
}

/* 0 and 0xffff are both zero in one's complement; a sum of not all zero bytes is never 0. */
static void assert_sum(uint32_t sum, uint16_t expected) {
        g_assert_cmphex(checksum_fold(sum), ==, expected);
}

static void fill_random(uint8_t *p, size_t len) {
        for (size_t i = 0; i < len; i++)
                p[i] = (uint8_t) g_test_rand_int();
}

static void test_rfc1071(void) {
        static const uint8_t data[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };

        /* The worked example of RFC 1071 3. */
        assert_sum(checksum_add(data, sizeof(data), 0), 0xddf2);
        g_assert_cmphex(checksum_finish(checksum_add(data, sizeof(data), 0)), ==, htons(0x220d));
        assert_sum(checksum_add(data, 0, 0x1234), 0x1234);
}

static void test_lengths_and_alignments(void) {
        uint8_t buf[512];

        fill_random(buf, sizeof(buf));
        for (size_t align = 0; align < 17; align++)
                for (size_t len = 0; len <= 300; len++)
                        assert_sum(checksum_add(buf + align, len, 0x8421), reference(buf + align, len, 0x8421));
}

static void test_carries(void) {
        g_autofree uint8_t *buf = g_malloc(65536 * 4);

        /* All ones gives the most carries there can be. */
        memset(buf, 0xff, 65536 * 4);
        assert_sum(checksum_add(buf, 65536 * 4, 0), 0xffff);
        assert_sum(checksum_add(buf, 65535, 0), reference(buf, 65535, 0));
        assert_sum(checksum_add(buf, 2, UINT32_MAX), 0xffff);
        memset(buf, 0, 65536);
        assert_sum(checksum_add(buf, 65536, 0), 0);
}

static void test_continued(void) {
        uint8_t buf[256];

        fill_random(buf, sizeof(buf));
        for (size_t cut = 0; cut <= sizeof(buf); cut += 2)
                assert_sum(checksum_add(buf + cut, sizeof(buf) - cut, checksum_add(buf, cut, 0)),
                           reference(buf, sizeof(buf), 0));
}

static void test_iov(void) {
        uint8_t buf[2048];

        fill_random(buf, sizeof(buf));
        for (unsigned round = 0; round < 2000; round++) {
                struct iovec iov[8];
                size_t held = 0;

                /* Pieces of any length, empty and odd ones among them. */
                for (unsigned i = 0; i < ELEMENTSOF(iov); i++) {
                        size_t n = (size_t) g_test_rand_int_range(0, round % 2 ? 200 : 5);

                        iov[i] = (struct iovec){ buf + held, n };
                        held += n;
                }

                size_t off = (size_t) g_test_rand_int_range(0, (int) held + 1);
                size_t len = (size_t) g_test_rand_int_range(0, (int) (held - off) + 1);

                assert_sum(checksum_add_iov(iov, ELEMENTSOF(iov), off, len, 7), reference(buf + off, len, 7));
        }
}

static void test_iov_past_end(void) {
        uint8_t buf[] = { 1, 2, 3 };
        struct iovec iov = { buf, sizeof(buf) };

        assert_sum(checksum_add_iov(&iov, 1, 1, 1000, 0), 0x0203);
        assert_sum(checksum_add_iov(&iov, 1, 1000, 1000, 5), 5);
        assert_sum(checksum_add_iov(NULL, 0, 0, 10, 5), 5);
}

static void test_pseudo(void) {
        IpAddr a, b;

        g_assert_cmpint(ip_parse("10.1.2.3", &a), ==, 0);
        g_assert_cmpint(ip_parse("192.168.127.1", &b), ==, 0);
        static const uint8_t v4[] = { 10, 1, 2, 3, 192, 168, 127, 1, 0, 6, 0x12, 0x34 };
        assert_sum(checksum_pseudo(&a, &b, 6, 0x1234), reference(v4, sizeof(v4), 0));

        g_assert_cmpint(ip_parse("2001:db8::1", &a), ==, 0);
        g_assert_cmpint(ip_parse("fe80::ffff:2", &b), ==, 0);
        uint8_t v6[40] = {};
        memcpy(v6, a.b, 16);
        memcpy(v6 + 16, b.b, 16);
        v6[33] = 1; /* a length above 65535: jumbograms aside, it must not be cut */
        v6[39] = 17;
        assert_sum(checksum_pseudo(&a, &b, 17, 0x10000), reference(v6, sizeof(v6), 0));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/checksum/rfc1071", test_rfc1071);
        g_test_add_func("/checksum/lengths-and-alignments", test_lengths_and_alignments);
        g_test_add_func("/checksum/carries", test_carries);
        g_test_add_func("/checksum/continued", test_continued);
        g_test_add_func("/checksum/iov", test_iov);
        g_test_add_func("/checksum/iov-past-end", test_iov_past_end);
        g_test_add_func("/checksum/pseudo", test_pseudo);
        return g_test_run();
}
