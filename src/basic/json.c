/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The JSON reader. Three passes over a copy of the text, none of which recurses:
 *
 *   check    json-scan.c holds the text to the grammar of RFC 8259, UTF-8 and the limits; counts tokens
 *   split    jsmn, lax by design, sees only what has passed, and says where each token begins and ends
 *   settle   strings are unescaped in place (they only shrink), children are indexed, duplicate keys refused
 *
 * Never calls back, never reads past the text, keeps no state but the document.
 */

#include <errno.h>

#include "basic/json-scan.h"
#include "basic/json.h"
#include "basic/parse.h"

#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS /* closing a bracket is O(1), not a search back over all tokens */
#include <jsmn.h>

/* One token. A member's value is the node right after its key. */
typedef struct Node {
        JsonType type;
        uint32_t start;     /* into text; scalars end with a NUL there */
        uint32_t line;      /* 1-based */
        uint32_t size;      /* children: elements, or keys */
        uint32_t first_kid; /* into kids */
} Node;

struct JsonDoc {
        char *text;     /* (owned) the copy, scalars cut out of it in place */
        Node *nodes;    /* (owned) in order of the text; the root first */
        uint32_t *kids; /* (owned) children of all containers, those of one in a row, in order of the text */
        uint32_t n_nodes;
};

/* ---- split ---- */

static JsonType token_type(const jsmntok_t *t, const char *text) {
        switch (t->type) {
        case JSMN_OBJECT:
                return JSON_OBJECT;
        case JSMN_ARRAY:
                return JSON_ARRAY;
        case JSMN_STRING:
                return JSON_STRING;
        case JSMN_PRIMITIVE:
        case JSMN_UNDEFINED:
                break;
        }
        if (text[t->start] == 'n')
                return JSON_NULL;
        return text[t->start] == 't' || text[t->start] == 'f' ? JSON_BOOL : JSON_NUMBER;
}

/**
 * doc_split() - have jsmn find the tokens, and turn them into nodes with children
 * @doc:        with text (@len bytes that passed the check, and a line break) and n_nodes
 * @len:        of the text without the line break
 *
 * jsmn takes a number at the very end of its input for a cut one: hence the line break.
 *
 * Return: 0; -ENOMEM; -EINVAL if jsmn counts otherwise than we did, which would be a bug in one of the two.
 */
static int doc_split(JsonDoc *doc, size_t len) {
        _cleanup_free_ jsmntok_t *tokens = calloc(doc->n_nodes, sizeof(*tokens));
        uint32_t line = 1, at = 0, n_kids = 0;
        jsmn_parser parser;

        doc->nodes = calloc(doc->n_nodes, sizeof(*doc->nodes));
        doc->kids = calloc(doc->n_nodes, sizeof(*doc->kids));
        if (!tokens || !doc->nodes || !doc->kids)
                return -ENOMEM;

        jsmn_init(&parser);
        if (jsmn_parse(&parser, doc->text, len + 1, tokens, doc->n_nodes) != (int) doc->n_nodes)
                return -EINVAL;

        for (uint32_t i = 0; i < doc->n_nodes; i++) {
                const jsmntok_t *t = &tokens[i];
                Node *n = &doc->nodes[i];

                for (; at < (uint32_t) t->start; at++)
                        line += doc->text[at] == '\n';
                *n = (Node){ .type = token_type(t, doc->text), .start = t->start, .line = line };
                if (n->type == JSON_OBJECT || n->type == JSON_ARRAY) {
                        n->first_kid = n_kids;
                        n_kids += t->size;
                }

                /* A value's parent in an object is its key: not a child. */
                if (t->parent >= 0 && doc->nodes[t->parent].type >= JSON_ARRAY) {
                        Node *parent = &doc->nodes[t->parent];

                        doc->kids[parent->first_kid + parent->size++] = i;
                }
        }

        /* Only now: what ends one token may begin the next. */
        for (uint32_t i = 0; i < doc->n_nodes; i++)
                if (doc->nodes[i].type < JSON_ARRAY)
                        doc->text[tokens[i].end] = 0;
        return 0;
}

/* ---- settle ---- */

static char *put_utf8(char *p, uint32_t c) {
        if (c < 0x80)
                *p++ = c;
        else if (c < 0x800) {
                *p++ = 0xc0 | c >> 6;
                *p++ = 0x80 | (c & 0x3f);
        } else if (c < 0x10000) {
                *p++ = 0xe0 | c >> 12;
                *p++ = 0x80 | (c >> 6 & 0x3f);
                *p++ = 0x80 | (c & 0x3f);
        } else {
                *p++ = 0xf0 | c >> 18;
                *p++ = 0x80 | (c >> 12 & 0x3f);
                *p++ = 0x80 | (c >> 6 & 0x3f);
                *p++ = 0x80 | (c & 0x3f);
        }
        return p;
}

/* Unescapes in place a string that passed the check. No escape is shorter than what it stands for. */
static void unescape(char *text) {
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        char *out = text, *p = text;

        while (*p) {
                if (*p != '\\') {
                        *out++ = *p++;
                        continue;
                }
                if (p[1] != 'u') {
                        const char *f = strchr(from, p[1]);

                        *out++ = f ? to[f - from] : p[1];
                        p += 2;
                        continue;
                }

                uint32_t c = json_hex4(p + 2, p + 6);
                p += 6;
                if (json_is_high_surrogate(c)) {
                        c = 0x10000 + ((c - 0xd800) << 10) + (json_hex4(p + 2, p + 6) - 0xdc00);
                        p += 6;
                }
                out = put_utf8(out, c);
        }
        *out = 0;
}

typedef struct Key {
        const char *name;
        uint32_t line;
} Key;

static int key_compare(const void *a, const void *b) {
        const Key *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        return r != 0 ? r : (x->line > y->line) - (x->line < y->line);
}

/* Sorts the keys of one object to find two alike: a hostile document cannot make this quadratic. @keys: room
 * for all. */
static bool object_has_duplicate(const JsonDoc *doc, const Node *object, Key *keys, unsigned *ret_line) {
        for (uint32_t i = 0; i < object->size; i++) {
                const Node *key = &doc->nodes[doc->kids[object->first_kid + i]];

                keys[i] = (Key){ .name = doc->text + key->start, .line = key->line };
        }
        qsort(keys, object->size, sizeof(*keys), key_compare);

        for (uint32_t i = 1; i < object->size; i++)
                if (streq(keys[i - 1].name, keys[i].name)) {
                        *ret_line = keys[i].line;
                        return true;
                }
        return false;
}

static int doc_settle(JsonDoc *doc, unsigned *ret_line, const char **ret_what) {
        _cleanup_free_ Key *keys = calloc(doc->n_nodes, sizeof(*keys));

        if (!keys)
                return -ENOMEM;

        for (uint32_t i = 0; i < doc->n_nodes; i++)
                if (doc->nodes[i].type == JSON_STRING)
                        unescape(doc->text + doc->nodes[i].start);

        for (uint32_t i = 0; i < doc->n_nodes; i++)
                if (doc->nodes[i].type == JSON_OBJECT &&
                    object_has_duplicate(doc, &doc->nodes[i], keys, ret_line)) {
                        *ret_what = "the same key twice";
                        return -EINVAL;
                }
        return 0;
}

/* ---- the document ---- */

static int doc_parse(JsonDoc *doc, const char *text, size_t len, unsigned *ret_line, const char **ret_what) {
        size_t n_tokens;
        int r;

        r = json_scan(text, len, &n_tokens, ret_line, ret_what);
        if (r < 0)
                return r;

        doc->n_nodes = n_tokens;
        doc->text = malloc(len + 2);
        if (!doc->text)
                return -ENOMEM;
        memcpy(doc->text, text, len);
        memcpy(doc->text + len, "\n", 2);

        *ret_line = 1;
        *ret_what = "tokens do not add up";
        r = doc_split(doc, len);
        if (r < 0)
                return r;
        return doc_settle(doc, ret_line, ret_what);
}

int json_parse(JsonDoc **ret, const char *text, size_t len, unsigned *ret_line, const char **ret_what) {
        _cleanup_(json_freep) JsonDoc *doc = calloc(1, sizeof(*doc));
        const char *what;
        unsigned line;
        int r;

        if (!doc)
                return -ENOMEM;

        r = doc_parse(doc, text, len, &line, &what);
        if (r < 0) {
                if (ret_line)
                        *ret_line = line;
                if (ret_what)
                        *ret_what = r == -ENOMEM ? "out of memory" : what;
                return r;
        }

        *ret = TAKE_PTR(doc);
        return 0;
}

JsonDoc *json_free(JsonDoc *doc) {
        if (!doc)
                return NULL;

        free(doc->text);
        free(doc->nodes);
        free(doc->kids);
        free(doc);
        return NULL;
}

/* NULL for JSON_NONE. */
static const Node *doc_node(const JsonDoc *doc, JsonVal v) {
        if (v == JSON_NONE)
                return NULL;
        assert(v >= 0 && (uint32_t) v < doc->n_nodes);
        return &doc->nodes[v];
}

/* NULL unless @v is of type @t. */
static const Node *doc_node_of(const JsonDoc *doc, JsonVal v, JsonType t) {
        const Node *n = doc_node(doc, v);

        return n && n->type == t ? n : NULL;
}

JsonVal json_root(const JsonDoc *doc) {
        return 0;
}

JsonType json_type(const JsonDoc *doc, JsonVal v) {
        const Node *n = doc_node(doc, v);

        return n ? n->type : _JSON_TYPE_MAX;
}

const char *json_type_to_name(JsonType t) {
        static const char *const names[] = {
                [JSON_NULL] = "null",       [JSON_BOOL] = "true or false", [JSON_NUMBER] = "a number",
                [JSON_STRING] = "a string", [JSON_ARRAY] = "an array",     [JSON_OBJECT] = "an object",
                [_JSON_TYPE_MAX] = "nothing",
        };

        assert((unsigned) t < ELEMENTSOF(names));
        return names[t];
}

unsigned json_line(const JsonDoc *doc, JsonVal v) {
        const Node *n = doc_node(doc, v);

        return n ? n->line : 0;
}

size_t json_size(const JsonDoc *doc, JsonVal v) {
        const Node *n = doc_node(doc, v);

        return n ? n->size : 0;
}

JsonVal json_item(const JsonDoc *doc, JsonVal array, size_t i) {
        const Node *n = doc_node_of(doc, array, JSON_ARRAY);

        return n && i < n->size ? (JsonVal) doc->kids[n->first_kid + i] : JSON_NONE;
}

JsonVal json_member(const JsonDoc *doc, JsonVal object, size_t i, const char **ret_key) {
        const Node *n = doc_node_of(doc, object, JSON_OBJECT);

        if (!n || i >= n->size)
                return JSON_NONE;

        uint32_t key = doc->kids[n->first_kid + i];
        if (ret_key)
                *ret_key = doc->text + doc->nodes[key].start;
        return key + 1;
}

JsonVal json_get(const JsonDoc *doc, JsonVal object, const char *key) {
        size_t n = json_size(doc, object);

        for (size_t i = 0; i < n; i++) {
                const char *name = NULL;
                JsonVal v = json_member(doc, object, i, &name);

                if (v != JSON_NONE && streq(name, key))
                        return v;
        }
        return JSON_NONE;
}

int json_get_string(const JsonDoc *doc, JsonVal v, const char **ret) {
        const Node *n = doc_node_of(doc, v, JSON_STRING);

        if (!n)
                return -EINVAL;

        *ret = doc->text + n->start;
        return 0;
}

int json_get_u64(const JsonDoc *doc, JsonVal v, uint64_t min, uint64_t max, uint64_t *ret) {
        const Node *n = doc_node_of(doc, v, JSON_NUMBER);

        if (!n)
                return -EINVAL;
        return parse_u64(doc->text + n->start, min, max, ret) < 0 ? -EINVAL : 0;
}

int json_get_bool(const JsonDoc *doc, JsonVal v, bool *ret) {
        const Node *n = doc_node_of(doc, v, JSON_BOOL);

        if (!n)
                return -EINVAL;

        *ret = doc->text[n->start] == 't';
        return 0;
}
