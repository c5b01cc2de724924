/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Value: whatever a D-Bus message holds, as a tree, so that tables and JSON are made the same way from any
 * reply. Depth and size are bounded by what the bus lets through.
 */

#include <systemd/sd-bus.h>

#include "basic/cleanup.h"
#include "basic/json.h"
#include "basic/macro.h"

typedef enum ValueType {
        VALUE_BOOL,
        VALUE_UNSIGNED,
        VALUE_SIGNED,
        VALUE_STRING,
        VALUE_ARRAY,
        VALUE_DICT,
        _VALUE_TYPE_MAX
} ValueType;

typedef struct Value Value;
struct Value {
        ValueType type;
        uint64_t number;  /* bool, unsigned, signed (as int64_t); seen from a string: 0 */
        char *text;       /* (owned) of a string */
        char **keys;      /* (owned) of a dict */
        Value **items;    /* (owned) of an array, structure or dict */
        size_t n;
};

/* Reads the next complete value of @m. 0, -ENXIO at the end of the container, -EBADMSG, -ENOMEM. */
int value_read(sd_bus_message *m, Value **ret);
Value *value_free(Value *v); /* returns NULL */
DEFINE_CLEANUP(Value *, value_free);

/* Appends to an array (@key NULL) or dict. Takes @key and @item over, also when it fails: -ENOMEM. */
int value_append(Value *v, char *key, Value *item);

/* All take NULL and values of another type, which have nothing in them. */
const Value *value_get(const Value *dict, const char *key);          /* NULL when not there */
const Value *value_item(const Value *array, size_t i);               /* NULL beyond the end */
const char *value_string(const Value *v);                            /* "" when it is none */
uint64_t value_number(const Value *v);
size_t value_size(const Value *v);
static inline const char *value_get_string(const Value *dict, const char *key) {
        return value_string(value_get(dict, key));
}
static inline uint64_t value_get_number(const Value *dict, const char *key) {
        return value_number(value_get(dict, key));
}

/* As people read it, in one line: yes/no, numbers, strings, lists with blanks between, dicts as KEY=VALUE.
 * NULL without memory. */
char *value_to_text(const Value *v);
void value_write_json(JsonWriter *w, const Value *v);
