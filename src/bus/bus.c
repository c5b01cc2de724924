/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection, the tree of objects, and the manager's news as signals:
 *
 *     something made      InterfacesAdded, then PropertiesChanged of the network whose list it joined
 *     something changed   PropertiesChanged
 *     something removed   InterfacesRemoved, then PropertiesChanged of the network whose list it left
 *
 * That the lists of a network changed is the manager's to say: it tells of the network, after it told of the
 * member.
 *
 * Signals are sent on a best-effort basis: what cannot be sent is logged, the model goes on.
 */

#include "bus/bus-private.h"

#include "basic/log.h"

Bus *bus_current(sd_bus *sd) {
        return sd_bus_slot_get_userdata(sd_bus_get_current_slot(sd));
}

/* ---- signals ---- */

static void complain(int r, const char *what, const char *name) {
        if (r < 0)
                (void) log_warning_errno(r, "Cannot tell the bus that %s '%s' changed, ignoring: %m", what,
                                         name);
}

static void on_network(Manager *m, Network *n, ManagerChange change, void *userdata) {
        const char *name = network_config(n)->name;
        _cleanup_free_ char *path = NULL;
        Bus *b = userdata;
        int r;

        r = bus_network_path(name, &path);
        if (r >= 0)
                switch (change) {
                case MANAGER_ADDED:
                        r = sd_bus_emit_object_added(b->bus, path);
                        break;
                case MANAGER_CHANGED:
                        r = sd_bus_emit_properties_changed(b->bus, path, BUS_INTERFACE_NETWORK, "Devices",
                                                           "Forwards", NULL);
                        break;
                case MANAGER_REMOVED:
                        r = sd_bus_emit_object_removed(b->bus, path);
                        break;
                }
        complain(r, "network", name);
}

static void on_device(Manager *m, ManagedDevice *d, ManagerChange change, void *userdata) {
        _cleanup_free_ char *path = NULL;
        Bus *b = userdata;
        int r;

        r = bus_device_path(d->device->name, &path);
        if (r >= 0)
                switch (change) {
                case MANAGER_ADDED:
                        r = sd_bus_emit_object_added(b->bus, path);
                        break;
                case MANAGER_CHANGED:
                        r = sd_bus_emit_properties_changed(b->bus, path, BUS_INTERFACE_DEVICE, "Network",
                                                           "State", "Mtu", NULL);
                        break;
                case MANAGER_REMOVED:
                        r = sd_bus_emit_object_removed(b->bus, path);
                        break;
                }
        complain(r, "device", d->device->name);
}

static void on_forward(Manager *m, ManagedForward *f, ManagerChange change, void *userdata) {
        _cleanup_free_ char *path = NULL;
        Bus *b = userdata;
        int r;

        r = bus_forward_path(f->id, &path);
        if (r >= 0)
                switch (change) {
                case MANAGER_ADDED:
                        r = sd_bus_emit_object_added(b->bus, path);
                        break;
                case MANAGER_CHANGED: /* all of its properties are constant, or counters */
                        break;
                case MANAGER_REMOVED:
                        r = sd_bus_emit_object_removed(b->bus, path);
                        break;
                }
        complain(r, "forward", f->local);
}

static void on_lease(Manager *m, Network *n, const Lease *lease, bool added, void *userdata) {
        complain(bus_network_lease_signal(userdata, n, lease, added), "a lease of network",
                 network_config(n)->name);
}

static void on_capture(Manager *m, ManagedCapture *c, ManagerChange change, const Error *e, void *userdata) {
        bus_capture_changed(userdata, c, change, e);
}

static const ManagerHandler manager_handler = {
        .network = on_network,
        .device = on_device,
        .forward = on_forward,
        .lease = on_lease,
        .capture = on_capture,
};

/* ---- the tree ---- */

static int export_kind(Bus *b, const char *prefix, const char *interface, const sd_bus_vtable *vtable,
                       sd_bus_object_find_t find, sd_bus_node_enumerator_t enumerate) {
        int r;

        r = sd_bus_add_fallback_vtable(b->bus, NULL, prefix, interface, vtable, find, b);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(b->bus, NULL, prefix, enumerate, b);
}

static int export_objects(Bus *b) {
        /* systemctl service-log-level looks at the well-known path, people who browse at the root. */
        static const char *const log_control_paths[] = { "/org/freedesktop/LogControl1", BUS_PATH };
        int r;

        r = sd_bus_add_object_manager(b->bus, NULL, BUS_PATH);
        if (r >= 0)
                r = sd_bus_add_object_vtable(b->bus, NULL, BUS_PATH, BUS_INTERFACE_MANAGER,
                                             bus_manager_vtable, b);
        for (size_t i = 0; i < ELEMENTSOF(log_control_paths) && r >= 0; i++)
                r = sd_bus_add_object_vtable(b->bus, NULL, log_control_paths[i],
                                             "org.freedesktop.LogControl1", bus_log_control_vtable, b);
        if (r >= 0)
                r = export_kind(b, BUS_PATH "/network", BUS_INTERFACE_NETWORK, bus_network_vtable,
                                bus_network_find, bus_network_enumerate);
        if (r >= 0)
                r = export_kind(b, BUS_PATH "/device", BUS_INTERFACE_DEVICE, bus_device_vtable,
                                bus_device_find, bus_device_enumerate);
        if (r >= 0)
                r = export_kind(b, BUS_PATH "/forward", BUS_INTERFACE_FORWARD, bus_forward_vtable,
                                bus_forward_find, bus_forward_enumerate);
        if (r < 0)
                return log_error_errno(r, "Cannot export the D-Bus objects: %m");
        return 0;
}

/* ---- the connection ---- */

static int open_address(sd_bus **ret, const char *address) {
        sd_bus *bus = NULL;
        int r;

        r = sd_bus_new(&bus);
        if (r < 0)
                return r;
        r = sd_bus_set_address(bus, address);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, true);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, true);
        if (r >= 0)
                r = sd_bus_set_description(bus, "vnetd");
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0) {
                sd_bus_unref(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

static int connect_bus(Bus *b, sd_event *event, const BusConfig *config) {
        const char *what;
        int r;

        if (config->address) {
                what = config->address;
                r = open_address(&b->bus, config->address);
        } else if (config->user) {
                what = "the session bus";
                r = sd_bus_open_user_with_description(&b->bus, "vnetd");
        } else {
                what = "the system bus";
                r = sd_bus_open_system_with_description(&b->bus, "vnetd");
        }
        if (r >= 0)
                r = sd_bus_attach_event(b->bus, event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(b->bus, true);
        if (r == -ENOMEDIUM)
                return log_error_errno(r, "Cannot connect to %s: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR says where it is", what);
        if (r < 0)
                return log_error_errno(r, "Cannot connect to %s: %m", what);
        return 0;
}

static int take_name(Bus *b) {
        int r;

        r = sd_bus_request_name(b->bus, BUS_NAME, 0);
        if (r == -EEXIST)
                return log_error_errno(r, "The name " BUS_NAME " is taken: another vnetd runs on this bus");
        if (r < 0)
                return log_error_errno(r, "The bus refuses the name " BUS_NAME ": %m");
        return 0;
}

static PolkitMode polkit_mode(const BusConfig *config) {
        if (config->always_query_polkit)
                return POLKIT_MODE_ALWAYS_ASK;
        return config->user && !config->address ? POLKIT_MODE_REFUSE : POLKIT_MODE_ASK;
}

int bus_new(Bus **ret, sd_event *event, Manager *m, const BusConfig *config) {
        _cleanup_(bus_freep) Bus *b = NULL;
        int r;

        b = calloc(1, sizeof(*b));
        if (!b)
                return log_oom();
        b->manager = m;

        r = connect_bus(b, event, config);
        if (r < 0)
                return r;
        r = polkit_new(&b->polkit, b->bus, event, polkit_mode(config));
        if (r < 0)
                return log_oom();
        r = export_objects(b);
        if (r < 0)
                return r;
        manager_set_handler(m, &manager_handler, b);
        r = take_name(b);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(b);
        return 0;
}

Bus *bus_free(Bus *b) {
        if (!b)
                return NULL;
        manager_set_handler(b->manager, NULL, NULL);
        polkit_free(b->polkit);
        bus_free_captures(b);
        sd_bus_flush_close_unref(b->bus);
        free(b);
        return NULL;
}
