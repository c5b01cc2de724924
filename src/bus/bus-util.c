/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See bus-util.h. Knows no object of the model. */

#include "bus/bus-util.h"

#include <inttypes.h>
#include <stdio.h>

#include "bus/bus.h"

int bus_refuse(sd_bus_error *error, const Error *e, int r) {
        if (e->code == _ERROR_MAX)
                return sd_bus_error_set_errno(error, r);
        return sd_bus_error_set(error, error_name(e->code), e->message);
}

int bus_check_string(const char *what, const char *text, sd_bus_error *error) {
        if (strlen(text) > BUS_STRING_MAX)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s '%s' is longer than %d bytes",
                                         what, ERROR_QUOTE(text), BUS_STRING_MAX);
        return 0;
}

/* @signature: of one entry, "s" or "{ss}". */
static int read_list(sd_bus_message *m, const BusOption *o, const char *signature, const char ***ret,
                     sd_bus_error *error) {
        size_t per_entry = strlen(signature) == 1 ? 1 : 2, n = 0;
        _cleanup_free_ const char **list = NULL;
        int r;

        list = calloc(BUS_LIST_MAX * per_entry + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        r = sd_bus_message_enter_container(m, 'a', signature);
        if (r < 0)
                return r;
        for (;;) {
                const char *a = NULL, *b = NULL;

                r = per_entry == 1 ? sd_bus_message_read(m, "s", &a)
                                   : sd_bus_message_read(m, "{ss}", &a, &b);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                if (n >= BUS_LIST_MAX * per_entry)
                        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                                 "Option %s has more than %d entries", o->name,
                                                 BUS_LIST_MAX);
                list[n++] = a;
                r = bus_check_string(o->name, a, error);
                if (r >= 0 && b) {
                        list[n++] = b;
                        r = bus_check_string(o->name, b, error);
                }
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(list);
        return sd_bus_message_exit_container(m);
}

/* As many as a message can bring. */
static int read_fds(sd_bus_message *m, int **ret) {
        size_t n = 0, allocated = 0;
        int fd, r;

        r = sd_bus_message_enter_container(m, 'a', "h");
        for (; r >= 0; n++) {
                if (n == allocated) {
                        int *fds = realloc(*ret, (allocated += 16) * sizeof(*fds));

                        if (!fds)
                                return -ENOMEM;
                        *ret = fds;
                }
                (*ret)[n] = -EBADF;
                r = sd_bus_message_read(m, "h", &fd);
                if (r == 0)
                        return sd_bus_message_exit_container(m);
                (*ret)[n] = fd;
        }
        return r;
}

static int read_value(sd_bus_message *m, const BusOption *o, void *out, sd_bus_error *error) {
        void *at = (char *) out + o->offset;
        const char *text;
        int r;

        if (streq(o->type, "as"))
                return read_list(m, o, "s", at, error);
        if (streq(o->type, "a{ss}"))
                return read_list(m, o, "{ss}", at, error);
        if (streq(o->type, "ah"))
                return read_fds(m, at);
        if (!streq(o->type, "s"))
                return sd_bus_message_read(m, o->type, at);
        r = sd_bus_message_read(m, "s", &text);
        if (r < 0)
                return r;
        r = bus_check_string(o->name, text, error);
        if (r < 0)
                return r;
        *(const char **) at = text;
        return 0;
}

static int read_entry(sd_bus_message *m, const BusOption *table, size_t n, void *out, uint32_t *seen,
                      sd_bus_error *error) {
        const char *key, *contents;
        size_t i;
        char type;
        int r;

        r = sd_bus_message_read(m, "s", &key);
        if (r < 0)
                return r;
        for (i = 0; i < n; i++)
                if (streq(table[i].name, key))
                        break;
        if (i == n)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "There is no option '%s'",
                                         ERROR_QUOTE(key));
        if (*seen & (1u << i))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "Option %s is given twice", key);
        *seen |= 1u << i;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (!streq(contents, table[i].type))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "Option %s is of type '%s', not '%s'", key, table[i].type,
                                         ERROR_QUOTE(contents));
        r = sd_bus_message_enter_container(m, 'v', contents);
        if (r < 0)
                return r;
        r = read_value(m, table + i, out, error);
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

int bus_read_options(sd_bus_message *m, const BusOption *table, size_t n, void *out, uint32_t *ret_seen,
                     sd_bus_error *error) {
        uint32_t seen = 0;
        int r;

        assert(n <= BUS_OPTION_MAX);
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_entry(m, table, n, out, &seen, error);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        if (ret_seen)
                *ret_seen = seen;
        return sd_bus_message_exit_container(m);
}

int bus_network_path(const char *name, char **ret) {
        return sd_bus_path_encode(BUS_PATH "/network", name, ret);
}

int bus_device_path(const char *name, char **ret) {
        return sd_bus_path_encode(BUS_PATH "/device", name, ret);
}

int bus_forward_path(uint32_t id, char **ret) {
        char text[16];

        (void) snprintf(text, sizeof(text), "%" PRIu32, id);
        return sd_bus_path_encode(BUS_PATH "/forward", text, ret);
}

int bus_strv_take(BusStrv *l, char *item) {
        if (l->n + 1 >= l->allocated) {
                size_t allocated = MAX(l->allocated * 2, (size_t) 16);
                char **items = realloc(l->items, allocated * sizeof(*items));

                if (!items) {
                        free(item);
                        return -ENOMEM;
                }
                l->items = items;
                l->allocated = allocated;
        }
        l->items[l->n++] = item;
        l->items[l->n] = NULL;
        return 0;
}

void bus_strv_deinit(BusStrv *l) {
        for (size_t i = 0; i < l->n; i++)
                free(l->items[i]);
        free(l->items);
        *l = (BusStrv){};
}

int bus_append_paths(sd_bus_message *m, const BusStrv *l) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "o");
        for (size_t i = 0; i < l->n && r >= 0; i++)
                r = sd_bus_message_append(m, "o", l->items[i]);
        return r < 0 ? r : sd_bus_message_close_container(m);
}
