/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parsers: the whole string or nothing, form told from range, results untouched on failure.
 */

#include <errno.h>
#include <glib.h>
#include <limits.h>

#include "basic/parse.h"

/* What no number parser takes, whatever its units. */
static const char *const never_numbers[] = {
        "",   " ",   "+1",   "-1",    " 1",    "1 ",       "1\n",
        "0x", "0xg", "0X10", "0x 1",  "1.5",   "1e3",      "01",
        "00", "007", "abc",  "1_000", "1,000", "\xd9\xa1", "99999999999999999999x",
};

static void test_u64(void) {
        uint64_t v = 77;

        for (size_t i = 0; i < ELEMENTSOF(never_numbers); i++) {
                g_test_message("'%s'", never_numbers[i]);
                g_assert_cmpint(parse_u64(never_numbers[i], 0, UINT64_MAX, &v), ==, -EINVAL);
        }
        g_assert_cmpint(parse_u64("18446744073709551616", 0, UINT64_MAX, &v), ==, -ERANGE);
        g_assert_cmpint(parse_u64("0x10000000000000000", 0, UINT64_MAX, &v), ==, -ERANGE);
        g_assert_cmpint(parse_u64("99999999999999999999999999999", 0, UINT64_MAX, &v), ==, -ERANGE);
        g_assert_cmpint(parse_u64("4", 5, 10, &v), ==, -ERANGE);
        g_assert_cmpint(parse_u64("11", 5, 10, &v), ==, -ERANGE);
        g_assert_cmpuint(v, ==, 77);

        g_assert_cmpint(parse_u64("0", 0, 0, &v), ==, 0);
        g_assert_cmpuint(v, ==, 0);
        g_assert_cmpint(parse_u64("18446744073709551615", 0, UINT64_MAX, &v), ==, 0);
        g_assert_cmpuint(v, ==, UINT64_MAX);
        g_assert_cmpint(parse_u64("0xffffffffffffffff", 0, UINT64_MAX, &v), ==, 0);
        g_assert_cmpuint(v, ==, UINT64_MAX);
        g_assert_cmpint(parse_u64("0x00aBc", 0, UINT64_MAX, &v), ==, 0);
        g_assert_cmpuint(v, ==, 0xabc);
        g_assert_cmpint(parse_u64("5", 5, 10, &v), ==, 0);
        g_assert_cmpint(parse_u64("10", 5, 10, &v), ==, 0);
}

static void test_u32(void) {
        uint32_t v = 77;

        g_assert_cmpint(parse_u32("4294967296", 0, UINT32_MAX, &v), ==, -ERANGE);
        g_assert_cmpint(parse_u32("x", 0, UINT32_MAX, &v), ==, -EINVAL);
        g_assert_cmpuint(v, ==, 77);
        g_assert_cmpint(parse_u32("4294967295", 0, UINT32_MAX, &v), ==, 0);
        g_assert_cmpuint(v, ==, UINT32_MAX);
}

static void test_port(void) {
        uint16_t v = 77;

        for (size_t i = 0; i < ELEMENTSOF(never_numbers); i++)
                g_assert_cmpint(parse_port(never_numbers[i], &v), ==, -EINVAL);
        g_assert_cmpint(parse_port("0x50", &v), ==, -EINVAL);
        g_assert_cmpint(parse_port("080", &v), ==, -EINVAL);
        g_assert_cmpint(parse_port("0", &v), ==, -ERANGE);
        g_assert_cmpint(parse_port("65536", &v), ==, -ERANGE);
        g_assert_cmpuint(v, ==, 77);
        g_assert_cmpint(parse_port("1", &v), ==, 0);
        g_assert_cmpint(parse_port("65535", &v), ==, 0);
        g_assert_cmpuint(v, ==, 65535);
}

static void test_pid(void) {
        pid_t v = 77;

        g_assert_cmpint(parse_pid("0", &v), ==, -ERANGE);
        g_assert_cmpint(parse_pid("2147483648", &v), ==, -ERANGE);
        g_assert_cmpint(parse_pid("-1", &v), ==, -EINVAL);
        g_assert_cmpint(parse_pid("0x1", &v), ==, -EINVAL);
        g_assert_cmpint(parse_pid("self", &v), ==, -EINVAL);
        g_assert_cmpint(v, ==, 77);
        g_assert_cmpint(parse_pid("2147483647", &v), ==, 0);
        g_assert_cmpint(v, ==, INT_MAX);
        g_assert_cmpint(parse_pid("1", &v), ==, 0);
}

static void test_size(void) {
        static const struct {
                const char *text;
                uint64_t v;
        } good[] = {
                { "0", 0 },
                { "1", 1 },
                { "64K", 65536 },
                { "3M", 3145728 },
                { "1G", 1073741824 },
                { "2T", UINT64_C(2199023255552) },
                { "0T", 0 },
                { "16777215T", UINT64_C(16777215) << 40 },
                { "18446744073709551615", UINT64_MAX },
        };
        static const char *const bad[] = { "K",    "64k", "64KB",  "64 K", "64KiB", "1P",
                                           "1.5K", "-1K", "0x10K", "K64",  "1KK" };
        static const char *const range[] = { "16777216T", "18446744073709551616", "18446744073709551615K",
                                             "99999999999999999999G" };
        uint64_t v = 77;

        for (size_t i = 0; i < ELEMENTSOF(never_numbers); i++)
                g_assert_cmpint(parse_size(never_numbers[i], &v), ==, -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                g_assert_cmpint(parse_size(bad[i], &v), ==, -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(range); i++)
                g_assert_cmpint(parse_size(range[i], &v), ==, -ERANGE);
        g_assert_cmpuint(v, ==, 77);
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                g_assert_cmpint(parse_size(good[i].text, &v), ==, 0);
                g_assert_cmpuint(v, ==, good[i].v);
        }
}

static void test_usec(void) {
        static const struct {
                const char *text;
                usec_t v;
        } good[] = {
                { "0", 0 },
                { "7", 7 * USEC_PER_SEC },
                { "30s", 30 * USEC_PER_SEC },
                { "5min", 5 * USEC_PER_MINUTE },
                { "100ms", 100 * USEC_PER_MSEC },
                { "2h", 120 * USEC_PER_MINUTE },
                { "1d", 24 * 60 * USEC_PER_MINUTE },
                { "10us", 10 },
                { "18446744073709551614us", USEC_INFINITY - 1 },
        };
        static const char *const bad[] = { "s",        "5m",   "5 s", "5sec", "1h30min",
                                           "infinity", "1.5s", "-5s", "5S",   "0x5s" };
        static const char *const range[] = { "18446744073709551615us", "18446744073709551616us",
                                             "18446744073710s", "300000000d", "99999999999999999999" };
        usec_t v = 77;

        for (size_t i = 0; i < ELEMENTSOF(never_numbers); i++)
                g_assert_cmpint(parse_usec(never_numbers[i], &v), ==, -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                g_assert_cmpint(parse_usec(bad[i], &v), ==, -EINVAL);
        for (size_t i = 0; i < ELEMENTSOF(range); i++)
                g_assert_cmpint(parse_usec(range[i], &v), ==, -ERANGE);
        g_assert_cmpuint(v, ==, 77);
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                g_assert_cmpint(parse_usec(good[i].text, &v), ==, 0);
                g_assert_cmpuint(v, ==, good[i].v);
        }
}

typedef bool (*ValidFn)(const char *text);

static void check_valid(ValidFn fn, const char *const *good, size_t n_good, const char *const *bad,
                        size_t n_bad) {
        for (size_t i = 0; i < n_good; i++) {
                g_test_message("good '%s'", good[i]);
                g_assert_true(fn(good[i]));
        }
        for (size_t i = 0; i < n_bad; i++) {
                g_test_message("bad '%s'", bad[i]);
                g_assert_false(fn(bad[i]));
        }
}

static void test_name(void) {
        static const char *const good[] = { "a", "0", "_", "lab", "Lab-2.net_x", "a.", "a-" };
        static const char *const bad[] = { "",    "-a",  ".a",       ".",   "..",  "a b",
                                           "a/b", "a\n", "\xc3\xa4", "a%n", "a:b", "a@b" };
        char text[NAME_MAX_LEN + 2];

        check_valid(name_is_valid, good, ELEMENTSOF(good), bad, ELEMENTSOF(bad));

        memset(text, 'x', sizeof(text));
        text[NAME_MAX_LEN + 1] = 0;
        g_assert_false(name_is_valid(text));
        text[NAME_MAX_LEN] = 0;
        g_assert_true(name_is_valid(text));
}

static void test_ifname(void) {
        static const char *const good[] = {
                "a", "eth0", "vnet-lab.100", "123456789012345", "...", "wlan@x"
        };
        static const char *const bad[] = { "",    ".",     "..",      "a/b",
                                           "a b", "tap%d", "eth0:1",  "1234567890123456",
                                           "a\t", "a\x7f", "\xc3\xa4" };

        check_valid(ifname_is_valid, good, ELEMENTSOF(good), bad, ELEMENTSOF(bad));
}

static void test_dns_name(void) {
        static const char *const good[] = { "a",     "example.org", "example.org.",    "_tcp.x",
                                            "a-b.c", "1.2.3",       "xn--bcher-kva.ch" };
        static const char *const bad[] = { "",     ".",    "..",  ".a",  "a..b",        "a.b..", "-a", "a-",
                                           "a-.b", "b.-a", "a b", "a/b", "\xc3\xa4.de", "a*b",   "a\n" };
        char text[256];

        check_valid(dns_name_is_valid, good, ELEMENTSOF(good), bad, ELEMENTSOF(bad));

        /* labels of 63: 63.63.63.61 makes 253 */
        memset(text, 'x', sizeof(text));
        text[63] = text[127] = text[191] = '.';
        text[253] = 0;
        g_assert_true(dns_name_is_valid(text));
        text[253] = '.';
        text[254] = 0;
        g_assert_true(dns_name_is_valid(text));
        text[253] = 'x';
        g_assert_false(dns_name_is_valid(text));
        text[254] = '.';
        text[255] = 0;
        g_assert_false(dns_name_is_valid(text));
        text[64] = 0;
        text[63] = 'x';
        g_assert_false(dns_name_is_valid(text));
        text[63] = 0;
        g_assert_true(dns_name_is_valid(text));
}

static void test_utf8(void) {
        static const struct {
                const char *text;
                size_t len;
                unsigned n;
        } cases[] = {
                { "", 0, 0 },
                { "", 1, 1 }, /* the zero byte */
                { "a", 1, 1 },
                { "\x7f", 1, 1 },
                { "\x80", 1, 0 },
                { "\xc1\xbf", 2, 0 },
                { "\xc2\x80", 2, 2 },
                { "\xc2\x80", 1, 0 },
                { "\xc2x", 2, 0 },
                { "\xdf\xbf", 2, 2 },
                { "\xe0\x9f\xbf", 3, 0 },
                { "\xe0\xa0\x80", 3, 3 },
                { "\xe0\xa0\x80", 2, 0 },
                { "\xed\x9f\xbf", 3, 3 },
                { "\xed\xa0\x80", 3, 0 },
                { "\xed\xbf\xbf", 3, 0 },
                { "\xee\x80\x80", 3, 3 },
                { "\xf0\x8f\xbf\xbf", 4, 0 },
                { "\xf0\x90\x80\x80", 4, 4 },
                { "\xf0\x90\x80\x80", 3, 0 },
                { "\xf4\x8f\xbf\xbf", 4, 4 },
                { "\xf4\x90\x80\x80", 4, 0 },
                { "\xf8\x88\x80\x80\x80", 5, 0 },
                { "\xff", 1, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                g_test_message("case %zu", i);
                g_assert_cmpuint(utf8_sequence(cases[i].text, cases[i].len), ==, cases[i].n);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/parse/u64", test_u64);
        g_test_add_func("/parse/u32", test_u32);
        g_test_add_func("/parse/port", test_port);
        g_test_add_func("/parse/pid", test_pid);
        g_test_add_func("/parse/size", test_size);
        g_test_add_func("/parse/usec", test_usec);
        g_test_add_func("/parse/name", test_name);
        g_test_add_func("/parse/ifname", test_ifname);
        g_test_add_func("/parse/dns-name", test_dns_name);
        g_test_add_func("/parse/utf8", test_utf8);
        return g_test_run();
}
