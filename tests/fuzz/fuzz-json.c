/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON: any bytes. What the reader takes is written, flat and pretty, read again and written again: twice
 * the same text. And any bytes as a string: what the writer makes of them reads back.
 */

#include <errno.h>
#include <string.h>

#include "basic/json.h"
#include "basic/parse.h"
#include "fuzz.h"

static bool is_utf8(const char *text) {
        size_t len = strlen(text);

        for (size_t i = 0; i < len;) {
                unsigned n = utf8_sequence(text + i, len - i);

                if (n == 0)
                        return false;
                i += n;
        }
        return true;
}

static void write_value(JsonWriter *w, const JsonDoc *doc, JsonVal v);

static void write_array(JsonWriter *w, const JsonDoc *doc, JsonVal v) {
        size_t n = json_size(doc, v);

        json_array_open(w);
        for (size_t i = 0; i < n; i++)
                write_value(w, doc, json_item(doc, v, i));
        json_array_close(w);
        fuzz_check(json_item(doc, v, n) == JSON_NONE);
}

static void write_object(JsonWriter *w, const JsonDoc *doc, JsonVal v) {
        size_t n = json_size(doc, v);

        json_object_open(w);
        for (size_t i = 0; i < n; i++) {
                const char *key = NULL;
                JsonVal member = json_member(doc, v, i, &key);

                fuzz_check(is_utf8(key));
                if (i < 64) /* the search is linear: not for all of a big one */
                        fuzz_check(json_get(doc, v, key) == member);
                json_key(w, key);
                write_value(w, doc, member);
        }
        json_object_close(w);
        fuzz_check(json_member(doc, v, n, NULL) == JSON_NONE);
}

/* Recurses JSON_DEPTH_MAX deep at most. Numbers that are no u64 become strings: the second time round they
 * are. */
static void write_value(JsonWriter *w, const JsonDoc *doc, JsonVal v) {
        const char *s = NULL;
        uint64_t n = 0;
        bool b = false;

        fuzz_check(v != JSON_NONE);
        fuzz_check(json_line(doc, v) >= 1);

        switch (json_type(doc, v)) {
        case JSON_NULL:
                json_null(w);
                return;
        case JSON_BOOL:
                fuzz_check(json_get_bool(doc, v, &b) == 0);
                json_bool(w, b);
                return;
        case JSON_NUMBER:
                if (json_get_u64(doc, v, 0, UINT64_MAX, &n) == 0)
                        json_u64(w, n);
                else
                        json_string(w, "number");
                return;
        case JSON_STRING:
                fuzz_check(json_get_string(doc, v, &s) == 0);
                fuzz_check(is_utf8(s));
                json_string(w, s);
                return;
        case JSON_ARRAY:
                write_array(w, doc, v);
                return;
        case JSON_OBJECT:
                write_object(w, doc, v);
                return;
        case _JSON_TYPE_MAX:
                break;
        }
        fuzz_check(false);
}

/* The document as text (owned by the caller). */
static char *write_document(const JsonDoc *doc, bool pretty) {
        char *text = NULL;
        JsonWriter w;

        json_writer_init(&w, pretty);
        write_value(&w, doc, json_root(doc));
        fuzz_check(json_writer_finish(&w, &text) == 0);
        return text;
}

static void check_document(const uint8_t *data, size_t size) {
        _cleanup_(json_freep) JsonDoc *doc = NULL;
        const char *what = NULL;
        unsigned line = 0;
        int r;

        r = json_parse(&doc, (const char *) data, size, &line, &what);
        if (r < 0) {
                fuzz_check(r == -EINVAL || r == -E2BIG);
                fuzz_check(!doc && what && line >= 1);
                fuzz_check(strcmp(what, "tokens do not add up") != 0);
                return;
        }

        for (unsigned pretty = 0; pretty < 2; pretty++) {
                _cleanup_free_ char *first = write_document(doc, pretty), *second = NULL;
                _cleanup_(json_freep) JsonDoc *again = NULL;

                r = json_parse(&again, first, strlen(first), NULL, NULL);
                if (r == -E2BIG) /* escapes and indentation may exceed JSON_TEXT_MAX */
                        continue;
                fuzz_check(r == 0);
                second = write_document(again, pretty);
                fuzz_check(strcmp(first, second) == 0);
        }
}

static void check_string(const uint8_t *data, size_t size) {
        _cleanup_free_ char *in = strndup(size > 0 ? (const char *) data : "", size), *text = NULL;
        _cleanup_(json_freep) JsonDoc *doc = NULL;
        const char *out = NULL;
        JsonWriter w;

        fuzz_check(in);

        json_writer_init(&w, false);
        json_string(&w, in);
        fuzz_check(json_writer_finish(&w, &text) == 0);
        if (json_parse(&doc, text, strlen(text), NULL, NULL) == -E2BIG)
                return;
        fuzz_check(doc && json_get_string(doc, json_root(doc), &out) == 0);
        fuzz_check((strcmp(in, out) == 0) == is_utf8(in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        check_document(data, size);
        check_string(data, size);
        return 0;
}
