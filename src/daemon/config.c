/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The form of configuration files: config-load.c finds and reads them, config-keys.c has the table of what may stand in them, and here
 * objects and lists are read by it, with a message for each thing that is wrong.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/log.h"
#include "daemon/config.h"
#include "netstack/netstack.h"

/* ---- problems ---- */

int config_problem(Config *c, const char *format, ...) {
        char **grown, *text;
        va_list ap;
        int r;

        if (c->n_problems == CONFIG_PROBLEMS_MAX)
                return 0;
        grown = reallocarray(c->problems, c->n_problems + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        c->problems = grown;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;
        c->problems[c->n_problems++] = text;
        return 0;
}

static const ConfigKey *find_key(const char *section, const char *name) {
        size_t n;
        const ConfigKey *keys = config_keys(&n);

        for (size_t i = 0; i < n; i++)
                if (streq(keys[i].section, section) && streq(keys[i].name, name))
                        return &keys[i];
        return NULL;
}

/* What stands there instead, for the end of a message. */
static const char *describe_value(const JsonDoc *doc, JsonVal v, char buf[static 80]) {
        JsonType type = json_type(doc, v);
        const char *text;
        uint64_t number;

        if (json_get_string(doc, v, &text) >= 0)
                (void) snprintf(buf, 80, "\"%s\"", ERROR_QUOTE(text));
        else if (json_get_u64(doc, v, 0, UINT64_MAX, &number) >= 0)
                (void) snprintf(buf, 80, "%" PRIu64, number);
        else if (type == JSON_ARRAY || type == JSON_OBJECT) /* what it holds may be what is wrong */
                (void) snprintf(buf, 80, "this %s", type == JSON_ARRAY ? "array" : "object");
        else
                return json_type_to_name(type);
        return buf;
}

typedef struct Reader {
        Config *config; /* (borrowed) */
        const JsonDoc *doc; /* (borrowed) */
        const char *path; /* (borrowed) */
} Reader;

static int unknown_key(const Reader *rd, const char *section, const char *name, JsonVal v) {
        char known[256] = "";
        size_t n, len = 0;
        const ConfigKey *keys = config_keys(&n);

        for (size_t i = 0; i < n; i++)
                if (streq(keys[i].section, section) && len < sizeof(known))
                        len += (size_t) snprintf(known + len, sizeof(known) - len, "%s%s", len > 0 ? ", " : "", keys[i].name);
        return config_problem(rd->config, "%s:%u: unknown key '%s'; there are: %s", rd->path, json_line(rd->doc, v), ERROR_QUOTE(name),
                       known);
}

static int wrong_value(const Reader *rd, const ConfigKey *key, JsonVal v) {
        return config_problem(rd->config, "%s:%u: %s: expected %s, not %s", rd->path, json_line(rd->doc, v), key->name, key->expected,
                       describe_value(rd->doc, v, (char[80]){ 0 }));
}

static int read_list(const Reader *rd, const ConfigKey *key, JsonVal list, void *base);

/**
 * read_section() - read an object's keys into a struct, by the table
 * @rd:         where problems go
 * @object:     the JSON object
 * @section:    of the table
 * @base:       the struct the offsets of the section are of
 *
 * Goes on after a problem, so that all are told at once; the struct then holds what was good.
 *
 * Return: 0; -ENOMEM.
 */
static int read_section(const Reader *rd, JsonVal object, const char *section, void *base) {
        size_t n_keys;
        const ConfigKey *keys = config_keys(&n_keys);
        int r;

        if (json_type(rd->doc, object) != JSON_OBJECT)
                return config_problem(rd->config, "%s:%u: expected an object, not %s", rd->path, json_line(rd->doc, object),
                               json_type_to_name(json_type(rd->doc, object)));

        for (size_t i = 0; i < json_size(rd->doc, object); i++) {
                const char *name;
                JsonVal v = json_member(rd->doc, object, i, &name);
                const ConfigKey *key = find_key(section, name);

                if (!key)
                        r = unknown_key(rd, section, name, v);
                else if (!key->read)
                        r = read_list(rd, key, v, base);
                else
                        r = key->read(rd->doc, v, (char *) base + key->offset);
                if (r == -EINVAL)
                        r = wrong_value(rd, key, v);
                if (r < 0)
                        return r;
        }

        for (size_t i = 0; i < n_keys; i++)
                if (keys[i].required && streq(keys[i].section, section) &&
                    json_get(rd->doc, object, keys[i].name) == JSON_NONE) {
                        r = config_problem(rd->config, "%s:%u: %s is missing", rd->path, json_line(rd->doc, object), keys[i].name);
                        if (r < 0)
                                return r;
                }
        return 0;
}

static int default_text(char **field, const char *text) {
        if (!*field)
                *field = strdup(text);
        return *field ? 0 : -ENOMEM;
}

static int read_forwards(const Reader *rd, JsonVal list, size_t n_items, ConfigNetwork *n) {
        int r;

        n->forwards = calloc(n_items + 1, sizeof(*n->forwards));
        if (!n->forwards)
                return -ENOMEM;
        for (; n->n_forwards < n_items;) {
                JsonVal item = json_item(rd->doc, list, n->n_forwards);
                ConfigForward *f = &n->forwards[n->n_forwards++];

                f->line = json_line(rd->doc, item);
                f->bypass = true;
                r = read_section(rd, item, "forwards", f);
                if (r >= 0)
                        r = default_text(&f->protocol, "tcp");
                if (r >= 0)
                        r = default_text(&f->remote, "");
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_zones(const Reader *rd, JsonVal list, size_t n_items, ConfigNetwork *n) {
        n->zones = calloc(n_items + 1, sizeof(*n->zones));
        if (!n->zones)
                return -ENOMEM;
        while (n->n_zones < n_items) {
                JsonVal item = json_item(rd->doc, list, n->n_zones);
                ConfigZone *z = &n->zones[n->n_zones++];
                int r;

                z->line = json_line(rd->doc, item);
                r = read_section(rd, item, "zones", z);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_records(const Reader *rd, JsonVal list, size_t n_items, ConfigZone *z) {
        int r = 0;

        for (size_t i = 0; i < n_items && r >= 0; i++) {
                ConfigRecord record = {};

                r = read_section(rd, json_item(rd->doc, list, i), "records", &record);
                if (r >= 0 && record.name && record.type && record.value)
                        r = dns_zone_spec_add(&z->spec, record.name, record.type, record.value);
                free(record.name);
                free(record.type);
                free(record.value);
        }
        return r;
}

/* The value of a key that has objects of a section of its own. */
static int read_list(const Reader *rd, const ConfigKey *key, JsonVal list, void *base) {
        size_t n_items = json_size(rd->doc, list),
               max = streq(key->name, "forwards") ? CONFIG_FORWARDS_MAX : streq(key->name, "zones") ? DNS_ZONES_MAX : DNS_ZONE_RECORDS_MAX;

        if (json_type(rd->doc, list) != JSON_ARRAY)
                return -EINVAL;
        if (n_items > max)
                return config_problem(rd->config, "%s:%u: %s: at most %zu are allowed, not %zu", rd->path, json_line(rd->doc, list), key->name, max,
                               n_items);
        if (streq(key->name, "forwards"))
                return read_forwards(rd, list, n_items, base);
        if (streq(key->name, "zones"))
                return read_zones(rd, list, n_items, base);
        return read_records(rd, list, n_items, base);
}

/* ---- texts of files ---- */

static int parse_document(Config *c, const char *path, const char *text, size_t len, JsonDoc **ret) {
        const char *what = NULL;
        unsigned line = 0;
        int r;

        r = json_parse(ret, text, len, &line, &what);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                *ret = NULL;
                return config_problem(c, "%s:%u: %s", path, MAX(line, 1U), what ?: "this is not JSON");
        }
        return 0;
}

int config_parse_main(Config *c, const char *path, const char *text, size_t len) {
        _cleanup_(json_freep) JsonDoc *doc = NULL;
        size_t before = c->n_problems;
        int r;

        r = parse_document(c, path, text, len, &doc);
        if (r < 0)
                return r;
        if (doc) {
                r = read_section(&(Reader){ c, doc, path }, json_root(doc), "vnetd.json", c);
                if (r < 0)
                        return r;
        }
        if (c->n_problems > before) {
                c->main_broken = true;
                c->log_level = c->host_loopback = -1;
        }
        return 0;
}

static void free_list(char **list) {
        for (size_t i = 0; list && list[i]; i++)
                free(list[i]);
        free(list);
}

static void network_deinit(ConfigNetwork *n) {
        for (size_t i = 0; i < n->n_forwards; i++) {
                free(n->forwards[i].protocol);
                free(n->forwards[i].local);
                free(n->forwards[i].remote);
                free(n->forwards[i].source);
        }
        free(n->forwards);
        for (size_t i = 0; i < n->n_zones; i++)
                dns_zone_spec_deinit(&n->zones[i].spec);
        free(n->zones);
        free_list(n->dns_servers);
        free_list(n->dns_routes);
        free_list(n->nat);
        free_list(n->policy);
        free_list(n->gateway_addresses);
        free_list(n->reflect);
        free_list(n->dhcp);
        free_list(n->outbound);
        /* A half-read list of pairs may have a hole only at its end: the value of the last pair. */
        free_list(n->static_leases);
        free(n->subnet);
        free(n->subnet6);
        free(n->nat64);
        free(n->domain);
        free(n->http_api);
        free(n->name);
        free(n->path);
        free(n->text);
}

int config_parse_network(Config *c, const char *name, const char *path, const char *text, size_t len) {
        _cleanup_(json_freep) JsonDoc *doc = NULL;
        size_t before = c->n_problems;
        ConfigNetwork *grown, *n;
        int r;

        grown = reallocarray(c->networks, c->n_networks + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        c->networks = grown;
        n = &c->networks[c->n_networks++];
        *n = (ConfigNetwork){ .host_loopback = -1 };
        n->name = strdup(name);
        n->path = strdup(path);
        n->text = strndup(text, len);
        if (!n->name || !n->path || !n->text)
                return -ENOMEM;

        r = parse_document(c, path, text, len, &doc);
        if (r >= 0 && doc)
                r = read_section(&(Reader){ c, doc, path }, json_root(doc), "networks.d", n);
        if (r < 0)
                return r;
        /* With the list of problems full there may be more: broken is the safe side. */
        n->broken = c->n_problems > before || c->n_problems == CONFIG_PROBLEMS_MAX;
        return 0;
}

Config *config_free(Config *c) {
        if (!c)
                return NULL;
        for (size_t i = 0; i < c->n_networks; i++)
                network_deinit(&c->networks[i]);
        for (size_t i = 0; i < c->n_problems; i++)
                free(c->problems[i]);
        free(c->networks);
        free(c->problems);
        free(c);
        return NULL;
}
