/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The grammar check of the JSON reader: for json.c alone, everybody else includes basic/json.h. */

#include "basic/macro.h"

/* The four digits of \uXXXX; -1 when they are not there. */
static inline int json_hex4(const char *p, const char *end) {
        int v = 0;

        if (end - p < 4)
                return -1;
        for (unsigned i = 0; i < 4; i++) {
                char c = p[i];

                v <<= 4;
                if (c >= '0' && c <= '9')
                        v |= c - '0';
                else if (c >= 'a' && c <= 'f')
                        v |= c - 'a' + 10;
                else if (c >= 'A' && c <= 'F')
                        v |= c - 'A' + 10;
                else
                        return -1;
        }
        return v;
}

static inline bool json_is_high_surrogate(int c) {
        return c >= 0xd800 && c <= 0xdbff;
}
static inline bool json_is_low_surrogate(int c) {
        return c >= 0xdc00 && c <= 0xdfff;
}

/* Holds @text to the grammar of RFC 8259, to UTF-8 and to the limits of json.h. 0; -EINVAL or -E2BIG.
 * @ret_line and @ret_what (static text) say where and why on failure; @ret_n_tokens counts values and keys
 * on success. */
int json_scan(const char *text, size_t len, size_t *ret_n_tokens, unsigned *ret_line, const char **ret_what);
