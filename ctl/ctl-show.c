/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands that only look at what there is. One GetManagedObjects() call feeds status and the lists, so
 * that what is printed was true at one moment. Changes nothing.
 */

#include <stdio.h>
#include <time.h>

#include "ctl-client.h"
#include "ctl-show.h"
#include "ctl-table.h"

/* The properties of every object with one interface, in order of a property. */
typedef struct Selection {
        const Value **items; /* (owned) the dicts are (borrowed: of the objects) */
        size_t n;
} Selection;

static void selection_deinit(Selection *s) {
        free(s->items);
}

static int compare_by_key(const void *a, const void *b, void *key) {
        const Value *x = value_get(*(const Value *const *) a, key),
                    *y = value_get(*(const Value *const *) b, key);
        int r = strcmp(value_string(x), value_string(y));

        if (r != 0)
                return r;
        return (value_number(x) > value_number(y)) - (value_number(x) < value_number(y));
}

static int selection_init(Selection *s, const Value *objects, const char *interface, const char *sort_key) {
        s->n = 0;
        s->items = calloc(value_size(objects) + 1, sizeof(*s->items));
        if (!s->items)
                return fail_errno(ENOMEM, "Failed to sort a list");
        for (size_t i = 0; i < value_size(objects); i++) {
                const Value *properties = value_get(objects->items[i], interface);

                if (properties)
                        s->items[s->n++] = properties;
        }
        qsort_r(s->items, s->n, sizeof(*s->items), compare_by_key, (void *) sort_key);
        return 0;
}

/* The name of the network at the path in property `Network`, "" when there is none. */
static const char *network_name(const Value *objects, const Value *properties) {
        return value_get_string(value_get(value_get(objects, value_get_string(properties, "Network")),
                                          VNETD_NETWORK),
                                "Name");
}

static bool network_is_meant(const Ctl *c, const char *name) {
        return !opt_set(c, OPT_NETWORK) || streq(opt_value(c, OPT_NETWORK), name);
}

/* Refuses a --network= that isn't there. */
static int check_network(Ctl *c) {
        _cleanup_free_ char *path = NULL;

        return opt_set(c, OPT_NETWORK) ? client_find_network(c, opt_value(c, OPT_NETWORK), &path) : 0;
}

/* A list of the objects that have one interface. */
typedef struct ObjectList {
        const char *title, *interface, *sort_key;
        bool of_networks; /* of networks themselves, or of what may belong to one */
        const TableColumn *columns;
        size_t n_columns;
        void (*cells)(const Ctl *c, Table *t, const Value *objects, const Value *properties);
} ObjectList;

static void network_cells(const Ctl *c, Table *t, const Value *objects, const Value *p) {
        table_text(t, value_get_string(p, "Name"));
        table_text(t, value_get_string(p, "Subnet"));
        table_text(t, value_get_string(p, "Gateway"));
        table_text(t, value_get_string(p, "HostAddress"));
        table_number(t, value_get_number(p, "Mtu"));
        table_number(t, value_size(value_get(p, "Devices")));
        table_number(t, value_size(value_get(p, "Forwards")));
}

static void device_cells(const Ctl *c, Table *t, const Value *objects, const Value *p) {
        table_text(t, value_get_string(p, "Name"));
        table_text(t, value_get_string(p, "Kind"));
        table_text(t, network_name(objects, p));
        table_text(t, value_get_string(p, "State"));
        table_text(t, value_get_string(p, "Mac"));
        table_number(t, value_get_number(p, "Mtu"));
        table_bytes(t, value_get_number(p, "RxBytes"));
        table_bytes(t, value_get_number(p, "TxBytes"));
        table_number(t, value_get_number(p, "RxDropped") + value_get_number(p, "TxDropped"));
        table_text(t, value_get_string(p, "Peer"));
}

const char *forward_remote(const Value *forward, char buf[static FORWARD_REMOTE_MAX]) {
        const char *remote = value_get_string(forward, "Remote");

        (void) snprintf(buf, FORWARD_REMOTE_MAX, "%s%s",
                        *remote == '\0' || *remote == ':' ? "(only guest)" : "", remote);
        return buf;
}

static void forward_cells(const Ctl *c, Table *t, const Value *objects, const Value *p) {
        char remote[FORWARD_REMOTE_MAX];

        table_text(t, value_get_string(p, "Protocol"));
        table_text(t, value_get_string(p, "Local"));
        table_text(t, c->json != JSON_OFF ? value_get_string(p, "Remote") : forward_remote(p, remote));
        table_text(t, network_name(objects, p));
        table_number(t, value_get_number(p, "Connections"));
        table_number(t, value_get_number(p, "Active"));
        table_bytes(t, value_get_number(p, "RxBytes"));
        table_bytes(t, value_get_number(p, "TxBytes"));
}

static const TableColumn network_columns[] = {
        { "NAME" },      { "SUBNET" },        { "GATEWAY" },        { "HOST" },
        { "MTU", true }, { "DEVICES", true }, { "FORWARDS", true },
};
static const TableColumn device_columns[] = {
        { "NAME" },     { "KIND" },     { "NETWORK" },       { "STATE" }, { "MAC" }, { "MTU", true },
        { "RX", true }, { "TX", true }, { "DROPPED", true }, { "PEER" },
};
static const TableColumn forward_columns[] = {
        { "PROTOCOL" },          { "LOCAL" },        { "REMOTE" },   { "NETWORK" },
        { "CONNECTIONS", true }, { "ACTIVE", true }, { "RX", true }, { "TX", true },
};
#define COLUMNS(c) (c), ELEMENTSOF(c)
static const ObjectList network_list = { "networks", VNETD_NETWORK, "Name", true, COLUMNS(network_columns), network_cells },
                        device_list = { "devices", VNETD_DEVICE, "Name", false, COLUMNS(device_columns), device_cells },
                        forward_list = { "forwards", VNETD_FORWARD, "Local", false, COLUMNS(forward_columns), forward_cells };

static int print_list(const Ctl *c, const Value *objects, const ObjectList *list) {
        _cleanup_(table_freep) Table *t = NULL;
        _cleanup_(selection_deinit) Selection s = {};
        int r;

        r = table_new(&t, c, list->title, list->columns, list->n_columns);
        if (r != 0)
                return r;
        r = selection_init(&s, objects, list->interface, list->sort_key);
        if (r != 0)
                return r;
        for (size_t i = 0; i < s.n; i++) {
                if (!list->of_networks && !network_is_meant(c, network_name(objects, s.items[i])))
                        continue;
                table_row(t);
                list->cells(c, t, objects, s.items[i]);
        }
        return table_print(t);
}

/* One list, of everything there is. */
static int print_objects(Ctl *c, const ObjectList *list) {
        _cleanup_(value_freep) Value *objects = NULL;
        int r;

        r = check_network(c);
        if (r != 0)
                return r;
        r = client_get_objects(c, &objects);
        if (r != 0)
                return r;
        pager_open(c);
        return print_list(c, objects, list);
}

int verb_network_list(Ctl *c, int argc, char **argv) {
        return print_objects(c, &network_list);
}

int verb_device_list(Ctl *c, int argc, char **argv) {
        return print_objects(c, &device_list);
}

int verb_forwards(Ctl *c, int argc, char **argv) {
        return print_objects(c, &forward_list);
}

static int print_json_value(const Ctl *c, const Value *v) {
        _cleanup_free_ char *text = NULL;
        JsonWriter w;
        int r;

        json_writer_init(&w, false);
        value_write_json(&w, v);
        r = json_writer_finish(&w, &text);
        json_writer_deinit(&w);
        if (r < 0)
                return fail_errno(r, "Failed to print");
        json_print(text, c->json);
        return CTL_OK;
}

/* The daemon's own JSON snapshot, laid out anew as asked. */
static int print_description(Ctl *c) {
        _cleanup_(value_freep) Value *text = NULL;
        int r;

        r = client_call_value(c, VNETD_ROOT, VNETD_MANAGER, "Describe", "ask vnetd what there is", &text,
                              "");
        if (r != 0)
                return r;
        json_print(value_string(text), c->json);
        return CTL_OK;
}

int verb_status(Ctl *c, int argc, char **argv) {
        _cleanup_(value_freep) Value *objects = NULL, *manager = NULL;
        int r;

        if (c->json != JSON_OFF)
                return print_description(c);
        r = client_get_properties(c, VNETD_ROOT, VNETD_MANAGER, "ask vnetd for its status", &manager);
        if (r != 0)
                return r;
        r = client_get_objects(c, &objects);
        if (r != 0)
                return r;

        pager_open(c);
        printf("vnetd %s on %s\n\n", value_get_string(manager, "Version"), c->bus_label);
        r = print_list(c, objects, &network_list);
        if (r != 0)
                return r;
        putchar('\n');
        r = print_list(c, objects, &device_list);
        if (r != 0)
                return r;
        putchar('\n');
        return print_list(c, objects, &forward_list);
}

/* An object path of ours as the name it stands for: "/org/vnetd1/network/lab_2d1" is "lab-1". NULL for
 * anything else. Owned by the caller. */
static char *object_name(const char *text) {
        const char *slash = strrchr(text, '/');
        _cleanup_free_ char *prefix = NULL;
        char *name = NULL;

        if (strncmp(text, VNETD_ROOT "/", strlen(VNETD_ROOT "/")) != 0)
                return NULL;
        prefix = strndup(text, (size_t) (slash - text));
        return prefix && sd_bus_path_decode(text, prefix, &name) > 0 ? name : NULL;
}

static void print_for_people(const Value *v) {
        _cleanup_free_ char *name = object_name(value_string(v)), *text = NULL;

        if (v->type == VALUE_ARRAY && v->n > 0) {
                for (size_t i = 0; i < v->n; i++) {
                        if (i > 0)
                                putchar(' ');
                        print_for_people(v->items[i]);
                }
                return;
        }
        text = name ? NULL : value_to_text(v);
        fputs(name ?: text && *text ? text : "-", stdout);
}

/* "Key: value", the keys to the right of one column. */
static int print_properties(const Ctl *c, const Value *properties) {
        size_t width = 0;

        if (c->json != JSON_OFF)
                return print_json_value(c, properties);
        for (size_t i = 0; i < properties->n; i++)
                width = MAX(width, strlen(properties->keys[i]));
        for (size_t i = 0; i < properties->n; i++) {
                printf("%*s: ", (int) width, properties->keys[i]);
                print_for_people(properties->items[i]);
                putchar('\n');
        }
        return CTL_OK;
}

static int show(Ctl *c, const char *path, const char *interface, const char *what) {
        _cleanup_(value_freep) Value *properties = NULL;
        int r;

        r = client_get_properties(c, path, interface, what, &properties);
        return r != 0 ? r : print_properties(c, properties);
}

int verb_network_show(Ctl *c, int argc, char **argv) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = client_find_network(c, argv[0], &path);
        return r != 0 ? r : show(c, path, VNETD_NETWORK, "show a network");
}

int verb_device_show(Ctl *c, int argc, char **argv) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = client_find_device(c, argv[0], &path);
        return r != 0 ? r : show(c, path, VNETD_DEVICE, "show a device");
}

/* ---- what each network is asked for ---- */

/* Lets @fn add the rows of every network meant to @t, and prints it. */
int show_each_network(Ctl *c, const char *what, Table *t, NetworkFn fn) {
        _cleanup_(value_freep) Value *networks = NULL;
        int r;

        r = check_network(c);
        if (r == 0)
                r = client_call_value(c, VNETD_ROOT, VNETD_MANAGER, "ListNetworks", what, &networks, "");
        for (size_t i = 0; r == 0 && i < value_size(networks); i++) {
                const Value *pair = value_item(networks, i);
                const char *name = value_string(value_item(pair, 0));

                if (network_is_meant(c, name))
                        r = fn(c, t, name, value_string(value_item(pair, 1)));
        }
        if (r != 0)
                return r;
        pager_open(c);
        return table_print(t);
}

typedef void (*RowFn)(Table *t, const char *network, const Value *item);

/* The rows of what one network lists. @types: "", or "a{sv}" where the method takes options, of which none are given. */
static int add_rows(Ctl *c, Table *t, const char *network, const char *path, const char *method, const char *what, const char *types, RowFn row) {
        _cleanup_(value_freep) Value *items = NULL;
        int r = client_call_value(c, path, VNETD_NETWORK, method, what, &items, types, 0);

        for (size_t i = 0; i < value_size(items); i++)
                row(t, network, items->items[i]);
        return r;
}

static void lease_row(Table *t, const char *network, const Value *lease) {
        uint64_t now = (uint64_t) time(NULL), expires = value_get_number(lease, "Expires") / USEC_PER_SEC;
        bool forever = !value_get(lease, "Expires");

        table_row(t);
        table_text(t, value_get_string(lease, "Address"));
        table_text(t, value_get_string(lease, "Mac"));
        table_text(t, value_get_string(lease, "Hostname"));
        table_text(t, value_get_number(lease, "Static") ? "static" : "dynamic");
        table_seconds(t, forever ? UINT64_MAX : expires > now ? expires - now : 0);
        table_text(t, network);
}

static int leases_of_network(Ctl *c, Table *t, const char *name, const char *path) {
        return add_rows(c, t, name, path, "ListLeases", "list leases", "", lease_row);
}

int verb_leases(Ctl *c, int argc, char **argv) {
        static const TableColumn columns[] = { { "ADDRESS" }, { "MAC" },           { "HOSTNAME" },
                                               { "KIND" },    { "EXPIRES", true }, { "NETWORK" } };
        _cleanup_(table_freep) Table *t = NULL;
        int r = table_new(&t, c, "leases", columns, ELEMENTSOF(columns));

        return r != 0 ? r : show_each_network(c, "list leases", t, leases_of_network);
}

/* A row a record; a default address and a zone without records have one too. */
static void zone_rows(Table *t, const char *network, const Value *zone) {
        const Value *records = value_item(zone, 1), *options = value_item(zone, 2);
        const char *fallback = value_get_string(options, "Default");
        size_t n = value_size(records);

        for (size_t i = 0; i < n + (*fallback || n == 0); i++) {
                const Value *r = i < n ? value_item(records, i) : NULL;

                table_row(t);
                table_text(t, value_string(value_item(zone, 0)));
                table_text(t, r ? value_string(value_item(r, 0)) : *fallback ? "(any other)" : "");
                table_text(t, r ? value_string(value_item(r, 1)) : *fallback ? (strchr(fallback, ':') ? "AAAA" : "A") : "");
                table_text(t, r ? value_string(value_item(r, 2)) : fallback);
                table_seconds(t, value_get_number(options, "Ttl"));
                table_text(t, network);
        }
}

static int zones_of_network(Ctl *c, Table *t, const char *name, const char *path) {
        return add_rows(c, t, name, path, "ListZones", "list zones", "", zone_rows);
}

int verb_zones(Ctl *c, int argc, char **argv) {
        static const TableColumn columns[] = { { "ZONE" }, { "NAME" }, { "TYPE" }, { "VALUE" }, { "TTL", true }, { "NETWORK" } };
        _cleanup_(table_freep) Table *t = NULL;
        int r = table_new(&t, c, "records", columns, ELEMENTSOF(columns));

        return r != 0 ? r : show_each_network(c, "list zones", t, zones_of_network);
}

static void flow_row(Table *t, const char *network, const Value *flow) {
        table_row(t);
        table_text(t, value_get_string(flow, "Protocol"));
        table_text(t, value_get_number(flow, "Inbound") ? "in" : "out");
        table_text(t, value_get_string(flow, "Guest"));
        table_text(t, value_get_string(flow, "Remote"));
        table_text(t, value_get_string(flow, "State"));
        table_bytes(t, value_get_number(flow, "RxBytes"));
        table_bytes(t, value_get_number(flow, "TxBytes"));
        table_number(t, value_get_number(flow, "Retransmits"));
        table_seconds(t, value_get_number(flow, "IdleUSec") / USEC_PER_SEC);
        table_text(t, network);
}

static int flows_of_network(Ctl *c, Table *t, const char *name, const char *path) {
        return add_rows(c, t, name, path, "ListFlows", "list flows", "a{sv}", flow_row);
}

int verb_flows(Ctl *c, int argc, char **argv) {
        static const TableColumn columns[] = {
                { "PROTOCOL" }, { "WAY" },      { "GUEST" },            { "REMOTE" },     { "STATE" },
                { "RX", true }, { "TX", true }, { "RETRANSMITS", true }, { "IDLE", true }, { "NETWORK" },
        };
        _cleanup_(table_freep) Table *t = NULL;
        int r = table_new(&t, c, "flows", columns, ELEMENTSOF(columns));

        return r != 0 ? r : show_each_network(c, "list flows", t, flows_of_network);
}
