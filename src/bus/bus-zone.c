/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.vnetd1.Network: SetZone(), RemoveZone() and ListZones(). What a record may be is the model's to say. */

#include "bus/bus-network.h"

typedef struct ZoneArgs {
        DnsZoneSpec spec; /* (owned) */
        const char *fallback;
        uint32_t ttl;
} ZoneArgs;

static void zone_args_deinit(ZoneArgs *a) {
        dns_zone_spec_deinit(&a->spec);
}

static int read_records(ZoneArgs *a, sd_bus_message *m, sd_bus_error *error) {
        const char *name, *type, *value;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(sss)");
        while (r >= 0 && (r = sd_bus_message_read(m, "(sss)", &name, &type, &value)) > 0) {
                r = dns_zone_spec_add(&a->spec, name, type, value);
                if (r == -E2BIG)
                        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "Zone '%s' has more than %d records",
                                                 ERROR_QUOTE(a->spec.name), DNS_ZONE_RECORDS_MAX);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_zone(ZoneArgs *a, sd_bus_message *m, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Default", "s", offsetof(ZoneArgs, fallback) },
                { "Ttl", "u", offsetof(ZoneArgs, ttl) },
        };
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        a->spec.name = strdup(name);
        if (!a->spec.name)
                return -ENOMEM;
        r = read_records(a, m, error);
        if (r >= 0)
                r = bus_read_options(m, table, ELEMENTSOF(table), a, NULL, error);
        if (r < 0)
                return r;
        a->spec.ttl = a->ttl;
        if (a->fallback) {
                a->spec.default_address = strdup(a->fallback);
                if (!a->spec.default_address)
                        return -ENOMEM;
        }
        return 0;
}

static PolkitAsk ask_about(Network *n, const char *verb) {
        const NetworkConfig *c = network_config(n);

        return (PolkitAsk){ ACTION_MANAGE_NETWORKS, verb, .network = c->name, .owners = { c->owner }, .n_owners = 1 };
}

int bus_network_set_zone(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        _cleanup_(zone_args_deinit) ZoneArgs args = {};
        Network *n = userdata;
        Error e = ERROR_INIT;
        PolkitAsk ask;
        int r;

        r = read_zone(&args, m, error);
        if (r < 0)
                return r;
        r = manager_check_zone(&args.spec, &e); /* nobody is asked for what cannot be */
        if (r < 0)
                return bus_refuse(error, &e, r);
        ask = ask_about(n, "SetZone");
        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_set_zone(b->manager, n, &args.spec, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, NULL);
}

int bus_network_remove_zone(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        Network *n = userdata;
        Error e = ERROR_INIT;
        const char *name;
        PolkitAsk ask;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        ask = ask_about(n, "RemoveZone");
        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_remove_zone(b->manager, n, name, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, NULL);
}

static int append_zone(sd_bus_message *m, const DnsZoneSpec *z) {
        int r;

        r = sd_bus_message_open_container(m, 'r', "sa(sss)a{sv}");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", z->name);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sss)");
        for (size_t i = 0; i < z->n_records && r >= 0; i++)
                r = sd_bus_message_append(m, "(sss)", z->records[i].name, z->records[i].type, z->records[i].value);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}", "Ttl", "u", z->ttl > 0 ? z->ttl : (uint32_t) DNS_ZONE_TTL_SEC);
        if (r >= 0 && z->default_address)
                r = sd_bus_message_append(m, "{sv}", "Default", "s", z->default_address);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int bus_network_list_zones(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        _cleanup_message_ sd_bus_message *reply = NULL;
        const DnsZoneSpec *z;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sa(sss)a{sv})");
        for (size_t i = 0; r >= 0 && (z = manager_nth_zone(b->manager, userdata, i)); i++)
                r = append_zone(reply, z);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
