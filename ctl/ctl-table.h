/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Tables on stdout by libsmartcols, and their JSON twin: one object a row, keys as the headers in lower
 * case. What is not there is
 * "-" for people and null for programs.
 */

#include <inttypes.h>

#include "ctl.h"

typedef struct TableColumn {
        const char *name; /* the header; in lower case the JSON key */
        bool number;      /* aligned to the right; a bare number in JSON */
} TableColumn;

typedef struct Table Table;

/* @name: the key of the list in JSON, and of what the footer counts: "networks". */
int table_new(Table **ret, const Ctl *c, const char *name, const TableColumn *columns, size_t n_columns);
Table *table_free(Table *t); /* returns NULL */
DEFINE_CLEANUP(Table *, table_free);

/* Cells are filled from left to right; errors stick and come out at table_print(). */
void table_row(Table *t);
void table_text(Table *t, const char *text);   /* NULL or "": not there */
void table_number(Table *t, uint64_t n);
void table_bytes(Table *t, uint64_t n);        /* "1.2M" for people */
void table_seconds(Table *t, uint64_t sec);    /* "2h 5min" for people; UINT64_MAX: for ever, null */
size_t table_size(const Table *t);             /* rows */

int table_print(Table *t); /* 0, or what to exit with */

/* Prints JSON text on stdout, laid out anew as @mode asks (not JSON_OFF), and a line break. Never checks it:
 * it comes from ourselves or from vnetd. */
void json_print(const char *text, JsonMode mode);

/* The same forms for other places. @buf is returned. */
#define AMOUNT_TEXT_MAX 32
const char *bytes_to_text(uint64_t n, char buf[static AMOUNT_TEXT_MAX]);
const char *seconds_to_text(uint64_t sec, char buf[static AMOUNT_TEXT_MAX]);

/* Pipes stdout into a pager when a person looks at it; pager_close() waits for it to end. */
void pager_open(const Ctl *c);
void pager_close(void);
