/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON: what is taken, what is refused and where, the limits, and that what is written reads back.
 */

#include <errno.h>
#include <glib.h>

#include "basic/json.h"

static JsonDoc *parse_ok(const char *text) {
        JsonDoc *doc = NULL;
        unsigned line = 0;
        const char *what = "";
        int r = json_parse(&doc, text, strlen(text), &line, &what);

        if (r < 0)
                g_error("%s: line %u: %s", text, line, what);
        return doc;
}

static void test_values(void) {
        _cleanup_(json_freep) JsonDoc *doc = parse_ok(
                "{\n \"s\": \"text\", \"n\": 42,\n \"t\": true, \"f\": false, \"z\": null,\n"
                " \"a\": [1, [], {}, \"x\"],\n \"o\": {\"in\": {\"deep\": 7}}\n}\n");
        JsonVal root = json_root(doc), a = json_get(doc, root, "a");
        const char *s = NULL, *key = NULL;
        uint64_t n = 0;
        bool b = false;

        g_assert_cmpint(json_type(doc, root), ==, JSON_OBJECT);
        g_assert_cmpuint(json_size(doc, root), ==, 7);
        g_assert_cmpint(json_get_string(doc, json_get(doc, root, "s"), &s), ==, 0);
        g_assert_cmpstr(s, ==, "text");
        g_assert_cmpint(json_get_u64(doc, json_get(doc, root, "n"), 0, 100, &n), ==, 0);
        g_assert_cmpuint(n, ==, 42);
        g_assert_cmpint(json_get_bool(doc, json_get(doc, root, "t"), &b), ==, 0);
        g_assert_true(b);
        g_assert_cmpint(json_get_bool(doc, json_get(doc, root, "f"), &b), ==, 0);
        g_assert_false(b);
        g_assert_cmpint(json_type(doc, json_get(doc, root, "z")), ==, JSON_NULL);

        g_assert_cmpuint(json_size(doc, a), ==, 4);
        g_assert_cmpint(json_type(doc, json_item(doc, a, 0)), ==, JSON_NUMBER);
        g_assert_cmpint(json_type(doc, json_item(doc, a, 1)), ==, JSON_ARRAY);
        g_assert_cmpuint(json_size(doc, json_item(doc, a, 1)), ==, 0);
        g_assert_cmpint(json_type(doc, json_item(doc, a, 2)), ==, JSON_OBJECT);
        g_assert_cmpint(json_type(doc, json_item(doc, a, 3)), ==, JSON_STRING);
        g_assert_cmpint(json_item(doc, a, 4), ==, JSON_NONE);

        JsonVal deep = json_get(doc, json_get(doc, json_get(doc, root, "o"), "in"), "deep");
        g_assert_cmpint(json_get_u64(doc, deep, 7, 7, &n), ==, 0);
        g_assert_cmpuint(json_line(doc, root), ==, 1);
        g_assert_cmpuint(json_line(doc, json_get(doc, root, "t")), ==, 3);
        g_assert_cmpuint(json_line(doc, deep), ==, 5);

        g_assert_cmpint(json_member(doc, root, 6, &key), ==, json_get(doc, root, "o"));
        g_assert_cmpstr(key, ==, "o");
        g_assert_cmpint(json_member(doc, root, 7, &key), ==, JSON_NONE);
        g_assert_cmpstr(key, ==, "o");
}

/* Getters say no to every other type, to what is not there, and leave the result alone. */
static void test_getters(void) {
        _cleanup_(json_freep) JsonDoc *doc = parse_ok("[\"1\", 1, true, null, [], {}, 1.0, 1e3, -1, -0, "
                                                      "18446744073709551615, 18446744073709551616]");
        JsonVal root = json_root(doc);
        const char *s = "kept";
        uint64_t n = 4711;
        bool b = true;

        for (size_t i = 0; i < json_size(doc, root); i++) {
                JsonVal v = json_item(doc, root, i);

                if (i != 0)
                        g_assert_cmpint(json_get_string(doc, v, &s), ==, -EINVAL);
                if (i != 1 && i != 10)
                        g_assert_cmpint(json_get_u64(doc, v, 0, UINT64_MAX, &n), ==, -EINVAL);
                if (i != 2)
                        g_assert_cmpint(json_get_bool(doc, v, &b), ==, -EINVAL);
                g_assert_cmpint(json_get(doc, v, "x"), ==, JSON_NONE);
                g_assert_cmpint(json_member(doc, v, 0, NULL), ==, JSON_NONE);
        }
        g_assert_cmpint(json_get_u64(doc, json_item(doc, root, 1), 2, 3, &n), ==, -EINVAL);
        g_assert_cmpint(json_get_u64(doc, json_item(doc, root, 1), 0, 0, &n), ==, -EINVAL);
        g_assert_cmpstr(s, ==, "kept");
        g_assert_cmpuint(n, ==, 4711);
        g_assert_true(b);
        g_assert_cmpint(json_get_u64(doc, json_item(doc, root, 10), 0, UINT64_MAX, &n), ==, 0);
        g_assert_cmpuint(n, ==, UINT64_MAX);

        g_assert_cmpint(json_get_string(doc, JSON_NONE, &s), ==, -EINVAL);
        g_assert_cmpint(json_get_u64(doc, JSON_NONE, 0, 1, &n), ==, -EINVAL);
        g_assert_cmpint(json_get_bool(doc, JSON_NONE, &b), ==, -EINVAL);
        g_assert_cmpint(json_get(doc, JSON_NONE, "x"), ==, JSON_NONE);
        g_assert_cmpint(json_item(doc, JSON_NONE, 0), ==, JSON_NONE);
        g_assert_cmpuint(json_size(doc, JSON_NONE), ==, 0);
        g_assert_cmpuint(json_line(doc, JSON_NONE), ==, 0);
        g_assert_cmpstr(json_type_to_name(json_type(doc, JSON_NONE)), ==, "nothing");
        g_assert_cmpstr(json_type_to_name(JSON_STRING), ==, "a string");
}

static void test_roots(void) {
        static const struct {
                const char *text;
                JsonType type;
        } cases[] = {
                { "1", JSON_NUMBER },        { "\"\"", JSON_STRING },     { " true ", JSON_BOOL },
                { "null", JSON_NULL },       { "-0.5e+10", JSON_NUMBER }, { "[]", JSON_ARRAY },
                { "\t{}\r\n", JSON_OBJECT },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_freep) JsonDoc *doc = parse_ok(cases[i].text);

                g_assert_cmpint(json_type(doc, json_root(doc)), ==, cases[i].type);
        }
}

static void test_strings(void) {
        static const struct {
                const char *text, *value;
        } cases[] = {
                { "\"\"", "" },
                { "\"a\\\"b\\\\c\\/d\"", "a\"b\\c/d" },
                { "\"\\b\\f\\n\\r\\t\"", "\b\f\n\r\t" },
                { "\"\\u0041\\u00e4\\u20AC\"", "A\xc3\xa4\xe2\x82\xac" },
                { "\"\\ud83d\\uDE00\"", "\xf0\x9f\x98\x80" },
                { "\"\\uffff\\u007f\\u0080\\u07ff\\u0800\"",
                  "\xef\xbf\xbf\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80" },
                { "\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf" },
                { "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"",
                  "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\x7f" },
                { "\"[1,2]{}:\"", "[1,2]{}:" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_freep) JsonDoc *doc = parse_ok(cases[i].text);
                const char *s = NULL;

                g_assert_cmpint(json_get_string(doc, json_root(doc), &s), ==, 0);
                g_assert_cmpstr(s, ==, cases[i].value);
        }
}

static void test_refused(void) {
        static const struct {
                const char *text;
                unsigned line;
                const char *what;
        } cases[] = {
                { "", 1, "a value is missing" },
                { " \n ", 2, "a value is missing" },
                { "1 2", 1, "text after the value" },
                { "{}\n{}", 2, "text after the value" },
                { "[1]]", 1, "text after the value" },
                { "[1", 1, "']' is missing" },
                { "[", 1, "a value is missing" },
                { "{", 1, "a key in quotes is missing" },
                { "]", 1, "no JSON value" },
                { "[}", 1, "no JSON value" },
                { "{]", 1, "a key in quotes is missing" },
                { "[1}", 1, "',' or ']' is missing" },
                { "{\"a\":1]", 1, "',' or '}' is missing" },
                { "{\"a\":1", 1, "'}' is missing" },
                { "[1 2]", 1, "',' or ']' is missing" },
                { "[1,]", 1, "no JSON value" },
                { "[,1]", 1, "no JSON value" },
                { "[1,,2]", 1, "no JSON value" },
                { "[1:2]", 1, "',' or ']' is missing" },
                { "{\"a\":1,}", 1, "a key in quotes is missing" },
                { "{\"a\" 1}", 1, "':' is missing" },
                { "{\"a\"}", 1, "':' is missing" },
                { "{\"a\":}", 1, "no JSON value" },
                { "{\"a\":", 1, "a value is missing" },
                { "{\"a\"::1}", 1, "no JSON value" },
                { "{a:1}", 1, "a key in quotes is missing" },
                { "{1:1}", 1, "a key in quotes is missing" },
                { "{\"a\":1 \"b\":2}", 1, "',' or '}' is missing" },
                { "{\"a\":1,\n\"a\":2}", 2, "the same key twice" },
                { "{\"a\":1,\"b\":2,\n\n\"\\u0061\":2}", 3, "the same key twice" },
                { "[{\"x\":{\"k\":1,\"k\":1}}]", 1, "the same key twice" },
                { "tru", 1, "no JSON value" },
                { "truer", 1, "text after the value" },
                { "True", 1, "no JSON value" },
                { "NaN", 1, "no JSON value" },
                { "'a'", 1, "no JSON value" },
                { "// c\n1", 1, "no JSON value" },
                { "\xef\xbb\xbf{}", 1, "no JSON value" },
                { "01", 1, "text after the value" },
                { "+1", 1, "no JSON value" },
                { "-", 1, "malformed number" },
                { "1.", 1, "malformed number" },
                { ".5", 1, "no JSON value" },
                { "1e", 1, "malformed number" },
                { "1e+", 1, "malformed number" },
                { "0x10", 1, "text after the value" },
                { "\"", 1, "string without an end" },
                { "\"\\", 1, "string without an end" },
                { "\"\\\"", 1, "string without an end" },
                { "\"a\nb\"", 1, "control character in a string" },
                { "\"\x1f\"", 1, "control character in a string" },
                { "\"\\x41\"", 1, "unknown escape" },
                { "\"\\u12\"", 1, "\\u without four hexadecimal digits" },
                { "\"\\u12g4\"", 1, "\\u without four hexadecimal digits" },
                { "\"\\u0000\"", 1, "zero character in a string" },
                { "\"\\ud800\"", 1, "half of a surrogate pair" },
                { "\"\\ud800\\u0041\"", 1, "half of a surrogate pair" },
                { "\"\\udc00\"", 1, "half of a surrogate pair" },
                { "\"\xff\"", 1, "invalid UTF-8" },
                { "\"\xc0\x80\"", 1, "invalid UTF-8" },
                { "\"\xed\xa0\x80\"", 1, "invalid UTF-8" },
                { "\"\xf4\x90\x80\x80\"", 1, "invalid UTF-8" },
                { "\"\xe2\x82\"", 1, "invalid UTF-8" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                JsonDoc *doc = NULL;
                unsigned line = 0;
                const char *what = NULL;

                g_test_message("case %zu", i);
                g_assert_cmpint(json_parse(&doc, cases[i].text, strlen(cases[i].text), &line, &what), ==,
                                -EINVAL);
                g_assert_null(doc);
                g_assert_cmpstr(what, ==, cases[i].what);
                g_assert_cmpuint(line, ==, cases[i].line);
                g_assert_cmpint(json_parse(&doc, cases[i].text, strlen(cases[i].text), NULL, NULL), ==,
                                -EINVAL);
        }
}

/* Zero bytes are data to @len, not an end. */
static void test_zero_bytes(void) {
        JsonDoc *doc = NULL;

        g_assert_cmpint(json_parse(&doc, "1\0", 2, NULL, NULL), ==, -EINVAL);
        g_assert_cmpint(json_parse(&doc, "\"a\0b\"", 5, NULL, NULL), ==, -EINVAL);
        g_assert_cmpint(json_parse(&doc, "[1,\0 2]", 7, NULL, NULL), ==, -EINVAL);
        g_assert_null(doc);
}

/* A prefix of a good text is never good, and never read beyond: each lives in memory of exactly its size. */
static void test_prefixes(void) {
        static const char text[] = "{\"key\\u00e4\": [1.5e-3, true, \"\\ud83d\\ude00\", {\"n\": null}]}";

        for (size_t len = 0; len < sizeof(text) - 1; len++) {
                char *exact = malloc(MAX(len, (size_t) 1));
                JsonDoc *doc = NULL;

                memcpy(exact, text, len);
                g_assert_cmpint(json_parse(&doc, exact, len, NULL, NULL), ==, -EINVAL);
                free(exact);
        }
}

/* ---- limits ---- */

static int parse_repeated(const char *begin, const char *piece, size_t n, const char *end,
                          const char **ret_what) {
        GString *s = g_string_new(begin);
        JsonDoc *doc = NULL;
        int r;

        for (size_t i = 0; i < n; i++)
                g_string_append(s, piece);
        g_string_append(s, end);
        r = json_parse(&doc, s->str, s->len, NULL, ret_what);
        g_assert_true((r == 0) == (doc != NULL));
        json_free(doc);
        g_string_free(s, TRUE);
        return r;
}

static void test_limits(void) {
        const char *what = NULL;

        /* tokens: the array, the last element, and n in between */
        g_assert_cmpint(parse_repeated("[", "1,", JSON_TOKENS_MAX - 2, "1]", NULL), ==, 0);
        g_assert_cmpint(parse_repeated("[", "1,", JSON_TOKENS_MAX - 1, "1]", &what), ==, -E2BIG);
        g_assert_cmpstr(what, ==, "too many values");

        /* length: two quotes around */
        g_assert_cmpint(parse_repeated("\"", "x", JSON_TEXT_MAX - 2, "\"", NULL), ==, 0);
        g_assert_cmpint(parse_repeated("\"", "x", JSON_TEXT_MAX - 1, "\"", &what), ==, -E2BIG);
        g_assert_cmpstr(what, ==, "too long");

        static const char *const deep[][2] = { { "[", "]" }, { "{\"a\":", "}" } };

        for (size_t i = 0; i < ELEMENTSOF(deep); i++)
                for (unsigned more = 0; more < 2; more++) {
                        GString *close = g_string_new("1");
                        unsigned n = JSON_DEPTH_MAX + more;

                        for (unsigned d = 0; d < n; d++)
                                g_string_append(close, deep[i][1]);
                        g_assert_cmpint(parse_repeated("", deep[i][0], n, close->str, &what), ==,
                                        more ? -E2BIG : 0);
                        g_string_free(close, TRUE);
                }
        g_assert_cmpstr(what, ==, "nested too deep");
}

/* As many keys as fit, the last a double: sorted, not compared each with each. */
static void test_many_keys(void) {
        GString *s = g_string_new("{");
        JsonDoc *doc = NULL;
        const char *what = NULL;
        gint64 begin = g_get_monotonic_time();

        for (unsigned i = 0; i < JSON_TOKENS_MAX / 2 - 2; i++)
                g_string_append_printf(s, "\"k%u\":1,", i);
        g_string_append(s, "\"k7\":1}");
        g_assert_cmpint(json_parse(&doc, s->str, s->len, NULL, &what), ==, -EINVAL);
        g_assert_cmpstr(what, ==, "the same key twice");
        g_assert_cmpint(g_get_monotonic_time() - begin, <, 5 * G_USEC_PER_SEC);
        g_string_free(s, TRUE);
}

/* ---- the writer ---- */

static void write_sample(JsonWriter *w) {
        json_object_open(w);
        json_key(w, "name");
        json_string(w, "a\"\\\b\f\n\r\t\x01\x7f\xc3\xa4");
        json_key(w, "nothing");
        json_string(w, NULL);
        json_key(w, "list");
        json_array_open(w);
        json_u64(w, UINT64_MAX);
        json_i64(w, INT64_MIN);
        json_bool(w, true);
        json_null(w);
        json_array_open(w);
        json_array_close(w);
        json_object_open(w);
        json_object_close(w);
        json_array_close(w);
        json_key(w, "k\"ey");
        json_stringf(w, "%s:%d", "x", 5);
        json_object_close(w);
}

static void test_writer(void) {
        _cleanup_free_ char *flat = NULL, *pretty = NULL;
        JsonWriter w;

        json_writer_init(&w, false);
        write_sample(&w);
        g_assert_cmpint(json_writer_finish(&w, &flat), ==, 0);
        g_assert_cmpstr(flat, ==,
                        "{\"name\":\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f\xc3\xa4\",\"nothing\":null,"
                        "\"list\":[18446744073709551615,-9223372036854775808,true,null,[],{}],\"k\\\"ey\":"
                        "\"x:5\"}");

        json_writer_init(&w, true);
        write_sample(&w);
        g_assert_cmpint(json_writer_finish(&w, &pretty), ==, 0);
        g_assert_cmpstr(pretty, ==,
                        "{\n  \"name\": \"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f\xc3\xa4\",\n  \"nothing\": "
                        "null,\n"
                        "  \"list\": [\n    18446744073709551615,\n    -9223372036854775808,\n    true,\n   "
                        " null,\n"
                        "    [],\n    {}\n  ],\n  \"k\\\"ey\": \"x:5\"\n}\n");

        JsonDoc *docs[] = { parse_ok(flat), parse_ok(pretty) };
        for (unsigned i = 0; i < 2; i++) {
                const char *s = NULL;

                g_assert_cmpint(json_get_string(docs[i], json_get(docs[i], 0, "name"), &s), ==, 0);
                g_assert_cmpstr(s, ==, "a\"\\\b\f\n\r\t\x01\x7f\xc3\xa4");
                g_assert_cmpint(json_get_string(docs[i], json_get(docs[i], 0, "k\"ey"), &s), ==, 0);
                json_free(docs[i]);
        }
}

/* Whatever bytes a string holds, what is written reads back. */
/* A member in one go is what it is in two. */
static void test_writer_members(void) {
        _cleanup_free_ char *text = NULL;
        JsonWriter w;

        json_writer_init(&w, false);
        json_object_open(&w);
        json_key_string(&w, "a\"", "b\\");
        json_key_string(&w, "none", NULL);
        json_key_u64(&w, "n", UINT64_MAX);
        json_object_close(&w);
        g_assert_cmpint(json_writer_finish(&w, &text), ==, 0);
        g_assert_cmpstr(text, ==, "{\"a\\\"\":\"b\\\\\",\"none\":null,\"n\":18446744073709551615}");
}

static void test_writer_hostile(void) {
        static const struct {
                const char *in, *out;
        } cases[] = {
                { "\xff", "\xef\xbf\xbd" },
                { "a\xc3", "a\xef\xbf\xbd" },
                { "\xe2\x82z", "\xef\xbf\xbd\xef\xbf\xbdz" },
                { "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *text = NULL;
                const char *s = NULL;
                JsonWriter w;

                json_writer_init(&w, false);
                json_string(&w, cases[i].in);
                g_assert_cmpint(json_writer_finish(&w, &text), ==, 0);

                _cleanup_(json_freep) JsonDoc *doc = parse_ok(text);
                g_assert_cmpint(json_get_string(doc, 0, &s), ==, 0);
                g_assert_cmpstr(s, ==, cases[i].out);
        }

        for (unsigned c = 1; c < 256; c++) {
                _cleanup_free_ char *text = NULL;
                char in[] = { 'a', c, 'b', 0 };
                JsonWriter w;

                json_writer_init(&w, true);
                json_string(&w, in);
                g_assert_cmpint(json_writer_finish(&w, &text), ==, 0);
                json_free(parse_ok(text));
        }
}

static void misuse_value_without_key(JsonWriter *w) {
        json_object_open(w);
        json_u64(w, 1);
        json_object_close(w);
}
static void misuse_key_in_array(JsonWriter *w) {
        json_array_open(w);
        json_key(w, "k");
        json_u64(w, 1);
        json_array_close(w);
}
static void misuse_two_keys(JsonWriter *w) {
        json_object_open(w);
        json_key(w, "k");
        json_key(w, "k");
        json_u64(w, 1);
        json_object_close(w);
}
static void misuse_key_without_value(JsonWriter *w) {
        json_object_open(w);
        json_key(w, "k");
        json_object_close(w);
}
static void misuse_left_open(JsonWriter *w) {
        json_array_open(w);
}
static void misuse_wrong_close(JsonWriter *w) {
        json_array_open(w);
        json_object_close(w);
}
static void misuse_close_nothing(JsonWriter *w) {
        json_array_close(w);
}
static void misuse_two_roots(JsonWriter *w) {
        json_null(w);
        json_null(w);
}
static void misuse_nothing(JsonWriter *w) {
}
static void misuse_deep(JsonWriter *w) {
        for (unsigned i = 0; i <= JSON_WRITER_DEPTH_MAX; i++)
                json_array_open(w);
        for (unsigned i = 0; i <= JSON_WRITER_DEPTH_MAX; i++)
                json_array_close(w);
}

static void test_writer_misuse(void) {
        static const struct {
                void (*fn)(JsonWriter *w);
                int error;
        } cases[] = {
                { misuse_value_without_key, -EINVAL }, { misuse_key_in_array, -EINVAL },
                { misuse_two_keys, -EINVAL },          { misuse_key_without_value, -EINVAL },
                { misuse_left_open, -EINVAL },         { misuse_wrong_close, -EINVAL },
                { misuse_close_nothing, -EINVAL },     { misuse_two_roots, -EINVAL },
                { misuse_nothing, -EINVAL },           { misuse_deep, -E2BIG },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char *text = NULL;
                JsonWriter w;

                json_writer_init(&w, false);
                cases[i].fn(&w);
                g_assert_cmpint(json_writer_finish(&w, &text), ==, cases[i].error);
                g_assert_null(text);
        }
}

static void test_writer_depth(void) {
        _cleanup_free_ char *text = NULL;
        JsonWriter w;

        json_writer_init(&w, true);
        for (unsigned i = 0; i < JSON_WRITER_DEPTH_MAX; i++)
                json_array_open(&w);
        for (unsigned i = 0; i < JSON_WRITER_DEPTH_MAX; i++)
                json_array_close(&w);
        g_assert_cmpint(json_writer_finish(&w, &text), ==, 0);
        g_assert_true(g_str_has_prefix(text, "[\n  [\n    ["));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/json/values", test_values);
        g_test_add_func("/json/getters", test_getters);
        g_test_add_func("/json/roots", test_roots);
        g_test_add_func("/json/strings", test_strings);
        g_test_add_func("/json/refused", test_refused);
        g_test_add_func("/json/zero-bytes", test_zero_bytes);
        g_test_add_func("/json/prefixes", test_prefixes);
        g_test_add_func("/json/limits", test_limits);
        g_test_add_func("/json/many-keys", test_many_keys);
        g_test_add_func("/json/writer", test_writer);
        g_test_add_func("/json/writer-members", test_writer_members);
        g_test_add_func("/json/writer-hostile", test_writer_hostile);
        g_test_add_func("/json/writer-misuse", test_writer_misuse);
        g_test_add_func("/json/writer-depth", test_writer_depth);
        return g_test_run();
}
