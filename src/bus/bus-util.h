/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What every object on the bus needs: reading a{sv} options by a table, refusals, object paths, arrays of
 * paths. */

#include <systemd/sd-bus.h>

#include "basic/cleanup.h"
#include "daemon/error.h"

#define BUS_STRING_MAX 4095 /* bytes of one string argument or option: a path's length */
#define BUS_LIST_MAX 64     /* entries of a list or dictionary option */

/* One key of an options dictionary. @type and what stands at @offset of the caller's struct:
 *     "s"     const char *             (borrowed: while the message lives)
 *     "u"     uint32_t
 *     "b"     int, 0 or 1
 *     "h"     int, the descriptor      (borrowed: while the message lives)
 *     "ah"    int *                    (owned: the array; its descriptors are borrowed), ends with a negative one
 *     "as"    const char **            (owned: the array; its strings are borrowed), NULL-terminated
 *     "a{ss}" const char **            the same, as pairs: key, value, key, value */
typedef struct BusOption {
        const char *name;
        const char *type;
        size_t offset;
} BusOption;
#define BUS_OPTION_MAX 32 /* entries of a table */

/* Reads the dictionary next in @m. An unknown key, one given twice, a value of another type, a string or
 * list beyond its limit: InvalidArgs that names the key. @ret_seen: bit i is set when @table[i] was given.
 * Arrays read before a failure stay in @out: free them either way. */
int bus_read_options(sd_bus_message *m, const BusOption *table, size_t n, void *out, uint32_t *ret_seen,
                     sd_bus_error *error);

/* InvalidArgs when @text is longer than BUS_STRING_MAX. @what names the argument. */
int bus_check_string(const char *what, const char *text, sd_bus_error *error);

/* `return bus_refuse(error, &e, r)`: what the model refused with, put into D-Bus terms. @r: its negative
 * errno. */
int bus_refuse(sd_bus_error *error, const Error *e, int r);

int bus_network_path(const char *name, char **ret);
int bus_device_path(const char *name, char **ret);
int bus_forward_path(uint32_t id, char **ret);

/* A growing list of owned strings for node enumerators and `ao`. */
typedef struct BusStrv {
        char **items; /* (owned) NULL-terminated */
        size_t n, allocated;
} BusStrv;
int bus_strv_take(BusStrv *l, char *item); /* @item owned, freed on failure */
void bus_strv_deinit(BusStrv *l);
int bus_append_paths(sd_bus_message *m, const BusStrv *l);

/* A vtable's property getter: what it has in hand is @reply and @userdata (the found object). */
#define BUS_GETTER(name)                                                                                    \
        static int name(sd_bus *sd, const char *path, const char *interface, const char *property,          \
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)
#define BUS_METHOD(name) static int name(sd_bus_message *m, void *userdata, sd_bus_error *error)

static inline void bus_message_unrefp(sd_bus_message **m) {
        sd_bus_message_unref(*m);
}
#define _cleanup_message_ _cleanup_(bus_message_unrefp)
