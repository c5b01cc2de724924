/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.vnetd1.Forward at /org/vnetd1/forward/ID. */

#include "basic/parse.h"
#include "bus/bus-private.h"

int bus_forward_find(sd_bus *sd, const char *path, const char *interface, void *userdata, void **ret,
                     sd_bus_error *error) {
        _cleanup_free_ char *text = NULL;
        Bus *b = userdata;
        ManagedForward *f;
        uint32_t id;
        int r;

        r = sd_bus_path_decode(path, BUS_PATH "/forward", &text);
        if (r <= 0)
                return r;
        if (parse_u32(text, 0, UINT32_MAX, &id) < 0)
                return 0;
        f = manager_forward(b->manager, id);
        if (!f)
                return 0;
        *ret = f;
        return 1;
}

int bus_forward_list(Bus *b, const Network *n, BusStrv *ret) {
        for (ManagedForward *f = NULL; (f = manager_next_forward(b->manager, f));) {
                char *path;
                int r;

                if (n && f->network != n)
                        continue;
                r = bus_forward_path(f->id, &path);
                if (r >= 0)
                        r = bus_strv_take(ret, path);
                if (r < 0)
                        return r;
        }
        return 0;
}

int bus_forward_enumerate(sd_bus *sd, const char *prefix, void *userdata, char ***ret, sd_bus_error *error) {
        _cleanup_(bus_strv_deinit) BusStrv paths = {};
        int r;

        r = bus_forward_list(userdata, NULL, &paths);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(paths.items);
        paths = (BusStrv){};
        return 1;
}

BUS_METHOD(method_remove) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        ManagedForward *f = userdata;
        const NetworkConfig *c = network_config(f->network);
        Error e = ERROR_INIT;
        PolkitAsk ask = {
                ACTION_MANAGE_FORWARDS,           "Remove",     .network = c->name, .address = f->local,
                .owners = { f->owner, c->owner }, .n_owners = 2
        };
        int r;

        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_remove_forward(b->manager, f, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, NULL);
}

BUS_GETTER(get_text) {
        const ManagedForward *f = userdata;

        if (streq(property, "Protocol"))
                return sd_bus_message_append(reply, "s", manager_forward_protocol(f));
        if (streq(property, "Local"))
                return sd_bus_message_append(reply, "s", f->local);
        if (streq(property, "Remote"))
                return sd_bus_message_append(reply, "s", f->remote);
        assert(streq(property, "SourceAddress"));
        return sd_bus_message_append(reply, "s",
                                     f->config.source == FORWARD_SOURCE_GATEWAY ? "gateway" : "client");
}

BUS_GETTER(get_bypass) {
        const ManagedForward *f = userdata;

        return sd_bus_message_append(reply, "b", !f->config.no_bypass);
}

BUS_GETTER(get_network) {
        const ManagedForward *f = userdata;
        _cleanup_free_ char *target = NULL;
        int r;

        r = bus_network_path(network_config(f->network)->name, &target);
        return r < 0 ? r : sd_bus_message_append(reply, "o", target);
}

BUS_GETTER(get_owner) {
        const ManagedForward *f = userdata;

        return sd_bus_message_append(reply, "u", f->owner);
}

BUS_GETTER(get_stat) {
        Bus *b = bus_current(sd);
        ForwardStats stats = {};
        int r;

        r = manager_forward_stats(b->manager, userdata, &stats);
        if (r < 0)
                return r;
        if (streq(property, "Connections"))
                return sd_bus_message_append(reply, "t", stats.connections);
        if (streq(property, "Active"))
                return sd_bus_message_append(reply, "u", stats.active);
        if (streq(property, "RxBytes"))
                return sd_bus_message_append(reply, "t", stats.rx_bytes);
        assert(streq(property, "TxBytes"));
        return sd_bus_message_append(reply, "t", stats.tx_bytes);
}

const sd_bus_vtable bus_forward_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Remove", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_remove,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Protocol", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Local", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Remote", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("SourceAddress", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Bypass", "b", get_bypass, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Network", "o", get_network, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Owner", "u", get_owner, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Connections", "t", get_stat, 0, 0),
        SD_BUS_PROPERTY("Active", "u", get_stat, 0, 0),
        SD_BUS_PROPERTY("RxBytes", "t", get_stat, 0, 0),
        SD_BUS_PROPERTY("TxBytes", "t", get_stat, 0, 0),
        SD_BUS_VTABLE_END,
};
