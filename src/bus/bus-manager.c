/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.vnetd1.Manager at /org/vnetd1. */

#include "basic/parse.h"
#include "bus/bus-private.h"
#include "config.h"

BUS_METHOD(method_create_network) {
        _cleanup_(create_network_args_deinit) CreateNetworkArgs args = {};
        _cleanup_free_ char *path = NULL;
        Bus *b = userdata;
        Network *n = NULL;
        const char *name;
        Error e = ERROR_INIT;
        uid_t uid;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        if (!name_is_valid(name))
                return bus_refuse(error, &e,
                                  error_set(&e, ERROR_INVALID_ARGS, "'%s' cannot be the name of a network",
                                            ERROR_QUOTE(name)));
        r = create_network_args_read(&args, m, error);
        if (r < 0)
                return r;
        if (manager_network(b->manager, name))
                return bus_refuse(error, &e,
                                  error_set(&e, ERROR_NETWORK_EXISTS, "There is a network '%s' already",
                                            name));

        r = polkit_check(b->polkit, m,
                         &(PolkitAsk){ ACTION_MANAGE_NETWORKS, "CreateNetwork", .network = name }, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = polkit_sender_uid(m, &uid);
        if (r < 0)
                return r;
        r = manager_create_network(b->manager, name, uid, &args.options, &n, &e);
        if (r < 0)
                return bus_refuse(error, &e, r);
        r = bus_network_path(network_config(n)->name, &path);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(m, "o", path);
}

/* What can be refused before anybody is asked. */
static int check_device_args(Bus *b, const char *kind, const DeviceOptions *o, Error *e) {
        int r = manager_check_kind(kind, e);

        if (r < 0)
                return r;
        if (o->name && manager_device(b->manager, o->name))
                return error_set(e, ERROR_DEVICE_EXISTS, "There is a device '%s' already", o->name);
        if (o->network && o->network[0] && !manager_network(b->manager, o->network))
                return error_set(e, ERROR_NO_SUCH_NETWORK, "There is no network '%s'",
                                 ERROR_QUOTE(o->network));
        return 0;
}

/* What whoever asked for @d needs to use it. */
static int reply_device(sd_bus_message *m, ManagedDevice *d) {
        _cleanup_close_ int fd = manager_device_take_fd(d); /* the message has a duplicate */
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = bus_device_path(d->device->name, &path);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "o", path);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_append(reply, "{sv}", "Name", "s", d->device->name);
        if (r >= 0 && d->device->ifname[0])
                r = sd_bus_message_append(reply, "{sv}{sv}", "Ifname", "s", d->device->ifname, "Ifindex",
                                          "i", (int32_t) d->device->ifindex);
        if (r >= 0 && !mac_is_zero(&d->device->mac))
                r = sd_bus_message_append(reply, "{sv}", "Mac", "s", MAC_TO_TEXT(&d->device->mac));
        if (r >= 0)
                r = sd_bus_message_append(reply, "{sv}", "Mtu", "u", d->device->mtu);
        if (r >= 0 && manager_device_path(d))
                r = sd_bus_message_append(reply, "{sv}", "Path", "s", manager_device_path(d));
        if (r >= 0 && fd >= 0)
                r = sd_bus_message_append(reply, "{sv}", "Fd", "h", fd);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

BUS_METHOD(method_create_device) {
        _cleanup_(create_device_args_deinit) CreateDeviceArgs args = {};
        const char *kind, *network;
        ManagedDevice *d = NULL;
        Bus *b = userdata;
        Error e = ERROR_INIT;
        uid_t uid;
        int r;

        r = sd_bus_message_read(m, "s", &kind);
        if (r < 0)
                return r;
        r = create_device_args_read(&args, m, error);
        if (r < 0)
                return r;
        r = check_device_args(b, kind, &args.options, &e);
        if (r < 0)
                return bus_refuse(error, &e, r);
        network = args.options.network ?: "default";

        r = polkit_check(b->polkit, m,
                         &(PolkitAsk){ ACTION_MANAGE_DEVICES, "CreateDevice", .network = network,
                                       .device = args.options.name },
                         1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = polkit_sender_uid(m, &uid);
        if (r < 0)
                return r;
        r = manager_create_device(b->manager, kind, uid, &args.options, &d, &e);
        if (r < 0)
                return bus_refuse(error, &e, r);
        return reply_device(m, d);
}

BUS_METHOD(method_list_networks) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        Bus *b = userdata;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(so)");
        for (Network *n = NULL; r >= 0 && (n = manager_next_network(b->manager, n));) {
                _cleanup_free_ char *path = NULL;

                r = bus_network_path(network_config(n)->name, &path);
                if (r >= 0)
                        r = sd_bus_message_append(reply, "(so)", network_config(n)->name, path);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

BUS_METHOD(method_list_devices) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        Bus *b = userdata;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sso)");
        for (ManagedDevice *d = NULL; r >= 0 && (d = manager_next_device(b->manager, d));) {
                _cleanup_free_ char *path = NULL;

                r = bus_device_path(d->device->name, &path);
                if (r >= 0)
                        r = sd_bus_message_append(reply, "(sso)", d->device->name, d->device->ops->kind,
                                                  path);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

BUS_METHOD(method_get_network) {
        _cleanup_free_ char *path = NULL;
        Bus *b = userdata;
        Error e = ERROR_INIT;
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        if (!manager_network(b->manager, name))
                return bus_refuse(error, &e,
                                  error_set(&e, ERROR_NO_SUCH_NETWORK, "There is no network '%s'",
                                            ERROR_QUOTE(name)));
        r = bus_network_path(name, &path);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", path);
}

BUS_METHOD(method_get_device) {
        _cleanup_free_ char *path = NULL;
        Bus *b = userdata;
        Error e = ERROR_INIT;
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        if (!manager_device(b->manager, name))
                return bus_refuse(error, &e,
                                  error_set(&e, ERROR_NO_SUCH_DEVICE, "There is no device '%s'",
                                            ERROR_QUOTE(name)));
        r = bus_device_path(name, &path);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", path);
}

BUS_METHOD(method_describe) {
        _cleanup_free_ char *text = NULL;
        Bus *b = userdata;
        int r;

        r = manager_describe(b->manager, NULL, &text);
        return r < 0 ? r : sd_bus_reply_method_return(m, "s", text);
}

BUS_METHOD(method_reload) {
        Bus *b = userdata;
        Error e = ERROR_INIT;
        int r;

        r = polkit_check(b->polkit, m, &(PolkitAsk){ ACTION_MANAGE_NETWORKS, "Reload" }, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_reload(b->manager, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, NULL);
}

BUS_GETTER(get_version) {
        return sd_bus_message_append(reply, "s", VNETD_VERSION);
}

/* What this vnetd can do, for clients that must know before they try: one entry for each kind of device. */
BUS_GETTER(get_features) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (const char *const *k = manager_device_kinds(); *k && r >= 0; k++) {
                char text[64];

                (void) snprintf(text, sizeof(text), "device-%s", *k);
                r = sd_bus_message_append(reply, "s", text);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

const sd_bus_vtable bus_manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("CreateNetwork", SD_BUS_ARGS("s", name, "a{sv}", options),
                                SD_BUS_RESULT("o", network), method_create_network,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CreateDevice", SD_BUS_ARGS("s", kind, "a{sv}", options),
                                SD_BUS_RESULT("o", device, "a{sv}", info), method_create_device,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListNetworks", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(so)", networks),
                                method_list_networks, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListDevices", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sso)", devices),
                                method_list_devices, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetNetwork", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", network),
                                method_get_network, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetDevice", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", device),
                                method_get_device, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json), method_describe,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_reload,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Features", "as", get_features, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};
