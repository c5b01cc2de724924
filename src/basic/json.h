/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * JSON: a reader over jsmn with limits and typed getters, and a writer that escapes. The reader never recurses and refuses
 * what jsmn lets pass (trailing text, bare words, duplicate keys, bad escapes, invalid UTF-8).
 */

#include "basic/cleanup.h"
#include "basic/macro.h"

#define JSON_TEXT_MAX (1024 * 1024) /* bytes of one document */
#define JSON_TOKENS_MAX 65536
#define JSON_DEPTH_MAX 16

typedef struct JsonDoc JsonDoc;

/* A value inside a document: an index; JSON_NONE when it is not there. Valid as long as its document. */
typedef int JsonVal;
#define JSON_NONE (-1)

typedef enum JsonType {
        JSON_NULL,
        JSON_BOOL,
        JSON_NUMBER,
        JSON_STRING,
        JSON_ARRAY,
        JSON_OBJECT,
        _JSON_TYPE_MAX,
} JsonType;

/* Parses @len bytes (copied). -EINVAL: not JSON; -E2BIG: beyond a limit; for both @ret_line and @ret_what (static text; both
 * nullable) say where and what. -ENOMEM. */
int json_parse(JsonDoc **ret, const char *text, size_t len, unsigned *ret_line, const char **ret_what);
JsonDoc *json_free(JsonDoc *doc); /* returns NULL */
DEFINE_CLEANUP(JsonDoc *, json_free);

/* All of these take JSON_NONE and answer "nothing": _JSON_TYPE_MAX, 0, JSON_NONE. So lookups can be chained. */
JsonVal json_root(const JsonDoc *doc);
JsonType json_type(const JsonDoc *doc, JsonVal v);
const char *json_type_to_name(JsonType t);                                /* "a string", for messages */
unsigned json_line(const JsonDoc *doc, JsonVal v);                        /* 1-based line in the source, for messages */
size_t json_size(const JsonDoc *doc, JsonVal v);                          /* members of an array or object */
JsonVal json_item(const JsonDoc *doc, JsonVal array, size_t i);           /* i-th element, or JSON_NONE */
JsonVal json_member(const JsonDoc *doc, JsonVal object, size_t i, const char **ret_key); /* i-th pair, in file order */
JsonVal json_get(const JsonDoc *doc, JsonVal object, const char *key);    /* or JSON_NONE */

/* -EINVAL when the value is of another type, out of range or JSON_NONE; @ret is untouched then. Numbers are whole ones in plain
 * digits: 1.0 and 1e3 are of another type. Strings live as long as the document, hold no NUL. */
int json_get_string(const JsonDoc *doc, JsonVal v, const char **ret);
int json_get_u64(const JsonDoc *doc, JsonVal v, uint64_t min, uint64_t max, uint64_t *ret);
int json_get_bool(const JsonDoc *doc, JsonVal v, bool *ret);

/* The writer: appends to a growing buffer; errors stick and come out at json_writer_finish(). Calls that do not make one
 * JSON document (a value without a key in an object, containers left open) are -EINVAL there; depth past
 * JSON_WRITER_DEPTH_MAX is -E2BIG. */
#define JSON_WRITER_DEPTH_MAX 31
typedef struct JsonWriter {
        char *buf; /* (owned) */
        size_t len, allocated;
        int error;
        unsigned depth;
        uint32_t has_members; /* bit n: the open container at depth n has a member already; bit 0: the root is written */
        uint32_t is_object;   /* bit n: the open container at depth n is an object */
        bool pretty;          /* line breaks and two spaces a level */
        bool after_key;
} JsonWriter;

void json_writer_init(JsonWriter *w, bool pretty);
void json_writer_deinit(JsonWriter *w);
int json_writer_finish(JsonWriter *w, char **ret); /* hands the text over (owned by caller) or says what went wrong */
void json_object_open(JsonWriter *w);
void json_object_close(JsonWriter *w);
void json_array_open(JsonWriter *w);
void json_array_close(JsonWriter *w);
void json_key(JsonWriter *w, const char *key);
void json_string(JsonWriter *w, const char *value); /* NULL writes null; invalid UTF-8 becomes U+FFFD */
void json_stringf(JsonWriter *w, const char *format, ...) _printf_(2, 3);
void json_u64(JsonWriter *w, uint64_t value);
void json_i64(JsonWriter *w, int64_t value);
void json_bool(JsonWriter *w, bool value);
void json_null(JsonWriter *w);
void json_key_string(JsonWriter *w, const char *key, const char *value); /* a member in one go */
void json_key_u64(JsonWriter *w, const char *key, uint64_t value);
