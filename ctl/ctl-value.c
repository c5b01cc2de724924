/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Value: D-Bus messages as trees. Reads, looks up, prints; never calls.
 */

#include <inttypes.h>
#include <stdio.h>

#include "ctl-value.h"

Value *value_free(Value *v) {
        if (!v)
                return NULL;
        for (size_t i = 0; i < v->n; i++) {
                if (v->items)
                        (void) value_free(v->items[i]);
                if (v->keys)
                        free(v->keys[i]);
        }
        free(v->items);
        free(v->keys);
        free(v->text);
        free(v);
        return NULL;
}

int value_append(Value *v, char *key, Value *item) {
        if ((v->n & (v->n + 1)) == 0) { /* full at 0, 1, 3, 7 ... */
                size_t space = 2 * v->n + 1;
                Value **items = reallocarray(v->items, space, sizeof(*items));
                char **keys = NULL;

                if (items)
                        v->items = items;
                if (items && v->type == VALUE_DICT) {
                        keys = reallocarray(v->keys, space, sizeof(*keys));
                        if (keys)
                                v->keys = keys;
                }
                if (!items || (v->type == VALUE_DICT && !keys)) {
                        free(key);
                        (void) value_free(item);
                        return -ENOMEM;
                }
        }
        if (v->type == VALUE_DICT)
                v->keys[v->n] = key;
        v->items[v->n++] = item;
        return 0;
}

static int read_entry(sd_bus_message *m, const char *contents, Value *v) {
        _cleanup_free_ char *key = NULL;
        _cleanup_(value_freep) Value *k = NULL, *item = NULL;
        int r;

        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, contents);
        if (r < 0)
                return r;
        r = value_read(m, &k);
        if (r < 0)
                return r;
        r = value_read(m, &item);
        if (r < 0)
                return r;
        key = value_to_text(k);
        if (!key)
                return -ENOMEM;
        r = value_append(v, TAKE_PTR(key), TAKE_PTR(item));
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

/* @contents: of the array or structure @v stands for, "{sv}" without the braces for a dict. */
static int read_items(sd_bus_message *m, char type, const char *contents, Value *v) {
        int r;

        r = sd_bus_message_enter_container(m, type, contents);
        if (r < 0)
                return r;
        while ((r = sd_bus_message_at_end(m, false)) == 0) {
                if (v->type == VALUE_DICT) {
                        char entry[256];
                        size_t len = strlen(contents);

                        if (len < 2 || len - 2 >= sizeof(entry)) /* a signature has at most 255 characters */
                                return -EBADMSG;
                        memcpy(entry, contents + 1, len - 2);
                        entry[len - 2] = '\0';
                        r = read_entry(m, entry, v);
                } else {
                        _cleanup_(value_freep) Value *item = NULL;

                        r = value_read(m, &item);
                        if (r >= 0)
                                r = value_append(v, NULL, TAKE_PTR(item));
                }
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

static int read_basic(sd_bus_message *m, char type, Value *v) {
        union {
                uint8_t y;
                int b;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
                const char *s;
        } data = {};
        int r;

        r = sd_bus_message_read_basic(m, type, &data);
        if (r < 0)
                return r;
        switch (type) {
        case SD_BUS_TYPE_BYTE: v->number = data.y; break;
        case SD_BUS_TYPE_BOOLEAN: v->type = VALUE_BOOL; v->number = data.b; break;
        case SD_BUS_TYPE_INT16: v->type = VALUE_SIGNED; v->number = (uint64_t) (int64_t) data.n; break;
        case SD_BUS_TYPE_UINT16: v->number = data.q; break;
        case SD_BUS_TYPE_INT32:
        case SD_BUS_TYPE_UNIX_FD: v->type = VALUE_SIGNED; v->number = (uint64_t) (int64_t) data.i; break;
        case SD_BUS_TYPE_UINT32: v->number = data.u; break;
        case SD_BUS_TYPE_INT64: v->type = VALUE_SIGNED; v->number = (uint64_t) data.x; break;
        case SD_BUS_TYPE_UINT64: v->number = data.t; break;
        case SD_BUS_TYPE_DOUBLE:
                v->type = VALUE_STRING;
                return asprintf(&v->text, "%g", data.d) < 0 ? -ENOMEM : 0;
        case SD_BUS_TYPE_STRING:
        case SD_BUS_TYPE_OBJECT_PATH:
        case SD_BUS_TYPE_SIGNATURE:
                v->type = VALUE_STRING;
                v->text = strdup(data.s);
                return v->text ? 0 : -ENOMEM;
        default:
                return -EBADMSG;
        }
        return 0;
}

int value_read(sd_bus_message *m, Value **ret) {
        _cleanup_(value_freep) Value *v = NULL;
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r <= 0)
                return r < 0 ? r : -ENXIO;

        if (type == SD_BUS_TYPE_VARIANT) {
                r = sd_bus_message_enter_container(m, type, contents);
                if (r < 0)
                        return r;
                r = value_read(m, &v);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        } else {
                v = calloc(1, sizeof(*v));
                if (!v)
                        return -ENOMEM;
                v->type = VALUE_UNSIGNED;
                if (type == SD_BUS_TYPE_ARRAY || type == SD_BUS_TYPE_STRUCT) {
                        v->type = contents[0] == '{' ? VALUE_DICT : VALUE_ARRAY;
                        r = read_items(m, type, contents, v);
                } else
                        r = read_basic(m, type, v);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(v);
        return 0;
}

const Value *value_get(const Value *dict, const char *key) {
        if (!dict || dict->type != VALUE_DICT)
                return NULL;
        for (size_t i = 0; i < dict->n; i++)
                if (streq(dict->keys[i], key))
                        return dict->items[i];
        return NULL;
}

const Value *value_item(const Value *array, size_t i) {
        return array && i < array->n ? array->items[i] : NULL;
}

const char *value_string(const Value *v) {
        return v && v->type == VALUE_STRING ? v->text : "";
}

uint64_t value_number(const Value *v) {
        return v ? v->number : 0;
}

size_t value_size(const Value *v) {
        return v ? v->n : 0;
}

/* Lists and dicts of nothing say nothing. */
static bool is_empty(const Value *v) {
        return (v->type == VALUE_ARRAY || v->type == VALUE_DICT) && v->n == 0;
}

static void print_text(FILE *f, const Value *v) {
        bool first = true;

        switch (v->type) {
        case VALUE_BOOL:
                fputs(v->number ? "yes" : "no", f);
                return;
        case VALUE_UNSIGNED:
                fprintf(f, "%" PRIu64, v->number);
                return;
        case VALUE_SIGNED:
                fprintf(f, "%" PRId64, (int64_t) v->number);
                return;
        case VALUE_STRING: /* may come from a guest: nothing that moves a terminal */
                for (const char *p = v->text; *p; p++)
                        fputc((unsigned char) *p < ' ' || *p == 0x7f ? '?' : *p, f);
                return;
        case VALUE_ARRAY:
        case VALUE_DICT:
                for (size_t i = 0; i < v->n; i++) {
                        if (is_empty(v->items[i]))
                                continue;
                        if (!first)
                                fputc(' ', f);
                        first = false;
                        if (v->type == VALUE_DICT)
                                fprintf(f, "%s=", v->keys[i]);
                        print_text(f, v->items[i]);
                }
                return;
        case _VALUE_TYPE_MAX:
                break;
        }
        assert(false);
}

char *value_to_text(const Value *v) {
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return NULL;
        if (v)
                print_text(f, v);
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

void value_write_json(JsonWriter *w, const Value *v) {
        switch (v->type) {
        case VALUE_BOOL:
                json_bool(w, v->number);
                return;
        case VALUE_UNSIGNED:
                json_u64(w, v->number);
                return;
        case VALUE_SIGNED:
                json_i64(w, (int64_t) v->number);
                return;
        case VALUE_STRING:
                json_string(w, v->text);
                return;
        case VALUE_ARRAY:
                json_array_open(w);
                for (size_t i = 0; i < v->n; i++)
                        value_write_json(w, v->items[i]);
                json_array_close(w);
                return;
        case VALUE_DICT:
                json_object_open(w);
                for (size_t i = 0; i < v->n; i++) {
                        json_key(w, v->keys[i]);
                        value_write_json(w, v->items[i]);
                }
                json_object_close(w);
                return;
        case _VALUE_TYPE_MAX:
                break;
        }
        assert(false);
}
