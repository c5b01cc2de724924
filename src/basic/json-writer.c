/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The JSON writer. The first error sticks: every later call does nothing, so callers check once, at the end.
 * What comes out is always one complete document in valid UTF-8, whatever the strings held.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/json.h"
#include "basic/parse.h"

static void writer_fail(JsonWriter *w, int error) {
        if (w->error == 0)
                w->error = error;
}

static void put(JsonWriter *w, const char *text, size_t len) {
        if (w->error < 0)
                return;

        /* One byte more is kept for the NUL at the end. */
        if (w->allocated - w->len <= len) {
                size_t n = MAX(MAX(2 * w->allocated, w->len + len + 1), (size_t) 256);
                char *buf = realloc(w->buf, n);

                if (!buf) {
                        writer_fail(w, -ENOMEM);
                        return;
                }
                w->buf = buf;
                w->allocated = n;
        }
        memcpy(w->buf + w->len, text, len);
        w->len += len;
}

static void put_text(JsonWriter *w, const char *text) {
        put(w, text, strlen(text));
}

static void put_line(JsonWriter *w) {
        if (!w->pretty)
                return;

        put(w, "\n", 1);
        for (unsigned i = 0; i < w->depth; i++)
                put(w, "  ", 2);
}

static bool in_object(const JsonWriter *w) {
        return w->is_object >> w->depth & 1;
}

/* The comma and line break before a member of the open container; also counts it. */
static void begin_member(JsonWriter *w) {
        uint32_t bit = UINT32_C(1) << w->depth;

        if (w->has_members & bit) {
                if (w->depth == 0) {
                        writer_fail(w, -EINVAL); /* a second root */
                        return;
                }
                put(w, ",", 1);
        }
        w->has_members |= bit;
        if (w->depth > 0)
                put_line(w);
}

/* Before each value. */
static void begin_value(JsonWriter *w) {
        if (w->after_key) {
                w->after_key = false;
                return;
        }
        if (in_object(w)) {
                writer_fail(w, -EINVAL); /* a value without a key */
                return;
        }
        begin_member(w);
}

static void container_open(JsonWriter *w, bool object) {
        begin_value(w);
        if (w->depth >= JSON_WRITER_DEPTH_MAX) {
                writer_fail(w, -E2BIG);
                return;
        }

        put_text(w, object ? "{" : "[");
        w->depth++;

        uint32_t bit = UINT32_C(1) << w->depth;
        w->has_members &= ~bit;
        w->is_object = object ? w->is_object | bit : w->is_object & ~bit;
}

static void container_close(JsonWriter *w, bool object) {
        if (w->error < 0)
                return;
        if (w->depth == 0 || in_object(w) != object || w->after_key) {
                writer_fail(w, -EINVAL);
                return;
        }

        bool members = w->has_members >> w->depth & 1;

        w->depth--;
        if (members)
                put_line(w);
        put_text(w, object ? "}" : "]");
}

static void put_escaped(JsonWriter *w, char c) {
        static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        const char *s = strchr(special, c);
        char buf[8];

        if (s)
                (void) snprintf(buf, sizeof(buf), "\\%c", letters[s - special]);
        else
                (void) snprintf(buf, sizeof(buf), "\\u%04x", (unsigned char) c);
        put_text(w, buf);
}

static void put_quoted(JsonWriter *w, const char *text) {
        const char *end = text + strlen(text), *plain = text;

        put(w, "\"", 1);
        while (text < end) {
                unsigned n = utf8_sequence(text, end - text);
                unsigned char c = *text;

                if (n > 0 && c >= ' ' && c != '"' && c != '\\') {
                        text += n;
                        continue;
                }

                put(w, plain, text - plain);
                if (n > 0)
                        put_escaped(w, c);
                else
                        put_text(w, "\xef\xbf\xbd"); /* U+FFFD for each byte that fits nowhere */
                plain = ++text;
        }
        put(w, plain, text - plain);
        put(w, "\"", 1);
}

void json_writer_init(JsonWriter *w, bool pretty) {
        *w = (JsonWriter){ .pretty = pretty };
}

void json_writer_deinit(JsonWriter *w) {
        free(w->buf);
        *w = (JsonWriter){};
}

int json_writer_finish(JsonWriter *w, char **ret) {
        int r;

        if (w->depth > 0 || !(w->has_members & 1))
                writer_fail(w, -EINVAL);
        if (w->pretty)
                put(w, "\n", 1);

        r = w->error;
        if (r == 0) {
                w->buf[w->len] = 0;
                *ret = TAKE_PTR(w->buf);
        }
        json_writer_deinit(w);
        return r;
}

void json_object_open(JsonWriter *w) {
        container_open(w, true);
}

void json_object_close(JsonWriter *w) {
        container_close(w, true);
}

void json_array_open(JsonWriter *w) {
        container_open(w, false);
}

void json_array_close(JsonWriter *w) {
        container_close(w, false);
}

void json_key(JsonWriter *w, const char *key) {
        if (!in_object(w) || w->after_key) {
                writer_fail(w, -EINVAL);
                return;
        }

        begin_member(w);
        put_quoted(w, key);
        put_text(w, w->pretty ? ": " : ":");
        w->after_key = true;
}

void json_string(JsonWriter *w, const char *value) {
        if (!value) {
                json_null(w);
                return;
        }
        begin_value(w);
        put_quoted(w, value);
}

void json_stringf(JsonWriter *w, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0) {
                text = NULL; /* undefined after failure */
                writer_fail(w, -ENOMEM);
                return;
        }
        json_string(w, text);
}

void json_u64(JsonWriter *w, uint64_t value) {
        char buf[24];

        (void) snprintf(buf, sizeof(buf), "%" PRIu64, value);
        begin_value(w);
        put_text(w, buf);
}

void json_i64(JsonWriter *w, int64_t value) {
        char buf[24];

        (void) snprintf(buf, sizeof(buf), "%" PRId64, value);
        begin_value(w);
        put_text(w, buf);
}

void json_bool(JsonWriter *w, bool value) {
        begin_value(w);
        put_text(w, value ? "true" : "false");
}

void json_null(JsonWriter *w) {
        begin_value(w);
        put_text(w, "null");
}

void json_key_string(JsonWriter *w, const char *key, const char *value) {
        json_key(w, key);
        json_string(w, value);
}

void json_key_u64(JsonWriter *w, const char *key, uint64_t value) {
        json_key(w, key);
        json_u64(w, value);
}
