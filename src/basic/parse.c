/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Strict parsers for configuration and bus input. Written out by hand because strtoull() takes blanks, signs
 * and octal numbers, and follows the locale. Never allocates.
 */

#include <errno.h>
#include <limits.h>

#include "basic/parse.h"

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static bool is_alnum(char c) {
        return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int digit_value(char c) {
        if (is_digit(c))
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return INT_MAX;
}

/**
 * parse_digits() - read the digits at the beginning of a text
 * @text:       NUL-terminated
 * @base:       10 or 16
 * @ret_end:    the first character that is no digit
 * @ret:        the value, UINT64_MAX when it does not fit
 *
 * A leading zero before further decimal digits is refused: it means octal to some readers.
 *
 * Return: 0; -EINVAL when there is no digit, or a leading zero; -ERANGE when the value does not fit
 * (@ret_end is set, so that the caller can tell "too big" from "not of the form").
 */
static int parse_digits(const char *text, int base, const char **ret_end, uint64_t *ret) {
        uint64_t v = 0;
        bool overflow = false;
        const char *p = text;

        for (; digit_value(*p) < base; p++)
                if (__builtin_mul_overflow(v, (uint64_t) base, &v) ||
                    __builtin_add_overflow(v, (uint64_t) digit_value(*p), &v))
                        overflow = true;

        if (p == text || (base == 10 && text[0] == '0' && p - text > 1))
                return -EINVAL;

        *ret_end = p;
        *ret = overflow ? UINT64_MAX : v;
        return overflow ? -ERANGE : 0;
}

int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret) {
        bool hex = text[0] == '0' && text[1] == 'x';
        const char *end;
        uint64_t v;
        int r;

        r = parse_digits(hex ? text + 2 : text, hex ? 16 : 10, &end, &v);
        if (r == -EINVAL || *end != 0)
                return -EINVAL;
        if (r < 0 || v < min || v > max)
                return -ERANGE;

        *ret = v;
        return 0;
}

int parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *ret) {
        uint64_t v;
        int r;

        r = parse_u64(text, min, max, &v);
        if (r < 0)
                return r;

        *ret = v;
        return 0;
}

/* The decimal ones: a port or pid in hexadecimal is a slip of the pen. */
static int parse_decimal(const char *text, uint64_t min, uint64_t max, uint64_t *ret) {
        if (text[0] == '0' && text[1] != 0)
                return -EINVAL;
        return parse_u64(text, min, max, ret);
}

int parse_port(const char *text, uint16_t *ret) {
        uint64_t v;
        int r;

        r = parse_decimal(text, 1, UINT16_MAX, &v);
        if (r < 0)
                return r;

        *ret = v;
        return 0;
}

int parse_pid(const char *text, pid_t *ret) {
        uint64_t v;
        int r;

        r = parse_decimal(text, 1, INT_MAX, &v);
        if (r < 0)
                return r;

        *ret = v;
        return 0;
}

typedef struct Unit {
        const char *suffix;
        uint64_t factor;
} Unit;

/* A decimal number followed by exactly one of the suffixes of @units. */
static int parse_with_unit(const char *text, const Unit *units, size_t n_units, uint64_t *ret) {
        const char *end;
        uint64_t v;
        int r;

        r = parse_digits(text, 10, &end, &v);
        if (r == -EINVAL)
                return r;

        for (size_t i = 0; i < n_units; i++)
                if (streq(end, units[i].suffix)) {
                        if (r < 0 || __builtin_mul_overflow(v, units[i].factor, &v))
                                return -ERANGE;
                        *ret = v;
                        return 0;
                }
        return -EINVAL;
}

int parse_size(const char *text, uint64_t *ret) {
        static const Unit units[] = {
                { "", 1 },
                { "K", UINT64_C(1) << 10 },
                { "M", UINT64_C(1) << 20 },
                { "G", UINT64_C(1) << 30 },
                { "T", UINT64_C(1) << 40 },
        };

        return parse_with_unit(text, units, ELEMENTSOF(units), ret);
}

int parse_usec(const char *text, usec_t *ret) {
        static const Unit units[] = {
                { "", USEC_PER_SEC },
                { "us", 1 },
                { "ms", USEC_PER_MSEC },
                { "s", USEC_PER_SEC },
                { "min", USEC_PER_MINUTE },
                { "h", 60 * USEC_PER_MINUTE },
                { "d", 24 * 60 * USEC_PER_MINUTE },
        };
        usec_t v;
        int r;

        r = parse_with_unit(text, units, ELEMENTSOF(units), &v);
        if (r < 0)
                return r;
        if (v == USEC_INFINITY)
                return -ERANGE;

        *ret = v;
        return 0;
}

bool name_is_valid(const char *text) {
        size_t len = strnlen(text, NAME_MAX_LEN + 1);

        if (len < 1 || len > NAME_MAX_LEN || text[0] == '-' || text[0] == '.')
                return false;

        for (size_t i = 0; i < len; i++)
                if (!is_alnum(text[i]) && !strchr("_.-", text[i]))
                        return false;
        return true;
}

bool ifname_is_valid(const char *text) {
        size_t len = strnlen(text, 16);

        if (len < 1 || len > 15 || streq(text, ".") || streq(text, ".."))
                return false;

        /* The kernel also takes control and 8-bit characters; nothing that ends on terminals and the bus
         * should. ':' is an alias and '%' a template to it. */
        for (size_t i = 0; i < len; i++)
                if (text[i] <= ' ' || text[i] >= 0x7f || strchr("/:%", text[i]))
                        return false;
        return true;
}

bool dns_name_is_valid(const char *text) {
        size_t len = strnlen(text, 255), label = 0;

        if (len > 0 && text[len - 1] == '.')
                len--;
        if (len < 1 || len > 253)
                return false;

        for (size_t i = 0; i <= len; i++) {
                if (i == len || text[i] == '.') {
                        if (label < 1 || label > 63 || text[i - label] == '-' || text[i - 1] == '-')
                                return false;
                        label = 0;
                        continue;
                }
                if (!is_alnum(text[i]) && text[i] != '-' && text[i] != '_')
                        return false;
                label++;
        }
        return true;
}

unsigned utf8_sequence(const char *text, size_t left) {
        /* by length: lowest code point that needs it */
        static const uint32_t lowest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        const unsigned char *p = (const unsigned char *) text;
        uint32_t c;
        unsigned n;

        if (left == 0)
                return 0;
        if (p[0] < 0x80)
                return 1;

        if ((p[0] & 0xe0) == 0xc0) {
                n = 2;
                c = p[0] & 0x1f;
        } else if ((p[0] & 0xf0) == 0xe0) {
                n = 3;
                c = p[0] & 0x0f;
        } else if ((p[0] & 0xf8) == 0xf0) {
                n = 4;
                c = p[0] & 0x07;
        } else
                return 0;

        if (n > left)
                return 0;
        for (unsigned i = 1; i < n; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (p[i] & 0x3f);
        }
        if (c < lowest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
                return 0;
        return n;
}
