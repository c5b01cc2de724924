/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The grammar check of the JSON reader: one pass over the bytes, with a bit for each open container instead
 * of recursion. Never allocates, never changes the text, never reads past it.
 */

#include <errno.h>

#include "basic/json-scan.h"
#include "basic/json.h"
#include "basic/parse.h"

typedef struct Scan {
        const char *p, *end;
        unsigned line;
        size_t n_tokens;
        unsigned depth;
        uint32_t is_object; /* bit n: the container at depth n is an object */
        const char *what;   /* static text: what is wrong */
} Scan;

static int scan_fail(Scan *s, int error, const char *what) {
        s->what = what;
        return error;
}

static void scan_blanks(Scan *s) {
        for (; s->p < s->end; s->p++) {
                if (*s->p == '\n')
                        s->line++;
                else if (*s->p != ' ' && *s->p != '\t' && *s->p != '\r')
                        break;
        }
}

/* An escape, with @p on the character after the backslash. */
static int scan_escape(Scan *s) {
        if (s->p >= s->end)
                return scan_fail(s, -EINVAL, "string without an end");
        if (*s->p != 'u') {
                if (!memchr("\"\\/bfnrt", *s->p, 8))
                        return scan_fail(s, -EINVAL, "unknown escape");
                s->p++;
                return 0;
        }

        int c = json_hex4(s->p + 1, s->end);
        if (c < 0)
                return scan_fail(s, -EINVAL, "\\u without four hexadecimal digits");
        if (c == 0)
                return scan_fail(s, -EINVAL, "zero character in a string");
        s->p += 5;

        if (json_is_high_surrogate(c)) {
                if (s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u' ||
                    !json_is_low_surrogate(json_hex4(s->p + 2, s->end)))
                        return scan_fail(s, -EINVAL, "half of a surrogate pair");
                s->p += 6;
        } else if (json_is_low_surrogate(c))
                return scan_fail(s, -EINVAL, "half of a surrogate pair");
        return 0;
}

static int scan_string(Scan *s) {
        s->p++;
        while (s->p < s->end) {
                unsigned char c = *s->p;

                if (c == '"') {
                        s->p++;
                        return 0;
                }
                if (c < ' ')
                        return scan_fail(s, -EINVAL, "control character in a string");
                if (c == '\\') {
                        s->p++;
                        int r = scan_escape(s);
                        if (r < 0)
                                return r;
                        continue;
                }

                unsigned n = utf8_sequence(s->p, s->end - s->p);
                if (n == 0)
                        return scan_fail(s, -EINVAL, "invalid UTF-8");
                s->p += n;
        }
        return scan_fail(s, -EINVAL, "string without an end");
}

static bool scan_digits(Scan *s) {
        const char *begin = s->p;

        while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
                s->p++;
        return s->p > begin;
}

static int scan_number(Scan *s) {
        if (*s->p == '-')
                s->p++;
        if (s->p < s->end && *s->p == '0')
                s->p++; /* a digit after it fails as trailing text */
        else if (!scan_digits(s))
                return scan_fail(s, -EINVAL, "malformed number");

        if (s->p < s->end && *s->p == '.') {
                s->p++;
                if (!scan_digits(s))
                        return scan_fail(s, -EINVAL, "malformed number");
        }
        if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
                s->p++;
                if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
                        s->p++;
                if (!scan_digits(s))
                        return scan_fail(s, -EINVAL, "malformed number");
        }
        return 0;
}

static int scan_scalar(Scan *s) {
        static const char *const words[] = { "true", "false", "null" };

        if (*s->p == '"')
                return scan_string(s);
        if (*s->p == '-' || (*s->p >= '0' && *s->p <= '9'))
                return scan_number(s);

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                size_t n = strlen(words[i]);

                if ((size_t) (s->end - s->p) >= n && memcmp(s->p, words[i], n) == 0) {
                        s->p += n;
                        return 0;
                }
        }
        return scan_fail(s, -EINVAL, "no JSON value");
}

static bool scan_in_object(const Scan *s) {
        return s->depth > 0 && (s->is_object >> s->depth & 1);
}

static int scan_token(Scan *s) {
        if (++s->n_tokens > JSON_TOKENS_MAX)
                return scan_fail(s, -E2BIG, "too many values");
        return 0;
}

/* A key with its colon, before the value. */
static int scan_key(Scan *s) {
        int r;

        if (s->p >= s->end || *s->p != '"')
                return scan_fail(s, -EINVAL, "a key in quotes is missing");

        r = scan_token(s);
        if (r < 0)
                return r;
        r = scan_string(s);
        if (r < 0)
                return r;

        scan_blanks(s);
        if (s->p >= s->end || *s->p != ':')
                return scan_fail(s, -EINVAL, "':' is missing");
        s->p++;
        scan_blanks(s);
        return 0;
}

/* Enters the container at @p. */
static int scan_open(Scan *s) {
        if (s->depth >= JSON_DEPTH_MAX)
                return scan_fail(s, -E2BIG, "nested too deep");

        s->depth++;
        s->is_object &= ~(UINT32_C(1) << s->depth);
        if (*s->p == '{')
                s->is_object |= UINT32_C(1) << s->depth;
        s->p++;
        return 0;
}

/* Leaves every container that ends here, and steps over the comma before the next member. */
static int scan_close(Scan *s) {
        while (s->depth > 0) {
                scan_blanks(s);
                if (s->p >= s->end)
                        return scan_fail(s, -EINVAL,
                                         scan_in_object(s) ? "'}' is missing" : "']' is missing");
                if (*s->p == ',') {
                        s->p++;
                        return 0;
                }
                if (*s->p != (scan_in_object(s) ? '}' : ']'))
                        return scan_fail(s, -EINVAL,
                                         scan_in_object(s) ? "',' or '}' is missing"
                                                           : "',' or ']' is missing");
                s->p++;
                s->depth--;
        }
        return 0;
}

/* Holds the text to the grammar. One turn of the loop is one value, or the opening of a container. */
static int scan_document(Scan *s) {
        bool just_opened = false;
        int r;

        do {
                scan_blanks(s);

                if (just_opened && s->p < s->end && *s->p == (scan_in_object(s) ? '}' : ']')) {
                        just_opened = false;
                        r = scan_close(s);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (scan_in_object(s)) {
                        r = scan_key(s);
                        if (r < 0)
                                return r;
                }

                if (s->p >= s->end)
                        return scan_fail(s, -EINVAL, "a value is missing");
                r = scan_token(s);
                if (r < 0)
                        return r;

                just_opened = *s->p == '{' || *s->p == '[';
                r = just_opened ? scan_open(s) : scan_scalar(s);
                if (r < 0)
                        return r;
                if (!just_opened) {
                        r = scan_close(s);
                        if (r < 0)
                                return r;
                }
        } while (s->depth > 0);

        scan_blanks(s);
        if (s->p < s->end)
                return scan_fail(s, -EINVAL, "text after the value");
        return 0;
}

int json_scan(const char *text, size_t len, size_t *ret_n_tokens, unsigned *ret_line,
              const char **ret_what) {
        Scan s = { .p = text, .end = text + len, .line = 1 };
        int r;

        r = len > JSON_TEXT_MAX ? scan_fail(&s, -E2BIG, "too long") : scan_document(&s);
        if (r < 0) {
                *ret_line = s.line;
                *ret_what = s.what;
                return r;
        }

        *ret_n_tokens = s.n_tokens;
        return 0;
}
