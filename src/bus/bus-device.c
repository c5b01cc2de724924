/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.vnetd1.Device at /org/vnetd1/device/NAME; what injects and captures is in bus-lab.c. */

#include <stdio.h>

#include "bus/bus-private.h"

int bus_device_find(sd_bus *sd, const char *path, const char *interface, void *userdata, void **ret,
                    sd_bus_error *error) {
        _cleanup_free_ char *name = NULL;
        ManagedDevice *d;
        Bus *b = userdata;
        int r;

        r = sd_bus_path_decode(path, BUS_PATH "/device", &name);
        if (r <= 0)
                return r;
        d = manager_device(b->manager, name);
        if (!d)
                return 0;
        *ret = d;
        return 1;
}

int bus_device_enumerate(sd_bus *sd, const char *prefix, void *userdata, char ***ret, sd_bus_error *error) {
        _cleanup_(bus_strv_deinit) BusStrv paths = {};
        Bus *b = userdata;

        for (ManagedDevice *d = NULL; (d = manager_next_device(b->manager, d));) {
                char *path;
                int r;

                r = bus_device_path(d->device->name, &path);
                if (r >= 0)
                        r = bus_strv_take(&paths, path);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(paths.items);
        paths = (BusStrv){};
        return 1;
}

PolkitAsk bus_device_ask(const ManagedDevice *d, const char *action, const char *verb) {
        return (PolkitAsk){ action, verb, .device = d->device->name,
                            .owners = { d->device->owner }, .n_owners = 1 };
}

BUS_METHOD(method_attach) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        PolkitAsk asks[POLKIT_ASKS_MAX];
        ManagedDevice *d = userdata;
        Error e = ERROR_INIT;
        const char *name;
        Network *n;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        n = manager_network(b->manager, name);
        if (!n)
                return bus_refuse(error, &e,
                                  error_set(&e, ERROR_NO_SUCH_NETWORK, "There is no network '%s'",
                                            ERROR_QUOTE(name)));

        /* Both ends have an owner, and each has a say; who owns neither is asked once, since it is the same
         * question. */
        asks[0] = bus_device_ask(d, ACTION_MANAGE_DEVICES, "Attach");
        asks[0].network = name;
        asks[1] = asks[0];
        asks[1].owners[0] = network_config(n)->owner;
        r = polkit_check(b->polkit, m, asks, 2, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_attach_device(b->manager, d, n, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, NULL);
}

BUS_METHOD(method_detach) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        ManagedDevice *d = userdata;
        PolkitAsk ask = bus_device_ask(d, ACTION_MANAGE_DEVICES, "Detach");
        Error e = ERROR_INIT;
        int r;

        if (d->network) /* who owns the network may throw a device out of it */
                ask.owners[ask.n_owners++] = network_config(d->network)->owner;
        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_detach_device(b->manager, d, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, NULL);
}

BUS_METHOD(method_remove) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        ManagedDevice *d = userdata;
        PolkitAsk ask = bus_device_ask(d, ACTION_MANAGE_DEVICES, "Remove");
        Error e = ERROR_INIT;
        int r;

        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_remove_device(b->manager, d, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, NULL);
}

BUS_GETTER(get_text) {
        const ManagedDevice *d = userdata;

        if (streq(property, "Name"))
                return sd_bus_message_append(reply, "s", d->device->name);
        if (streq(property, "Kind"))
                return sd_bus_message_append(reply, "s", d->device->ops->kind);
        if (streq(property, "State"))
                return sd_bus_message_append(reply, "s", d->state);
        if (streq(property, "Mac"))
                return sd_bus_message_append(reply, "s",
                                             mac_is_zero(&d->device->mac) ? ""
                                                                          : MAC_TO_TEXT(&d->device->mac));
        if (streq(property, "Ifname"))
                return sd_bus_message_append(reply, "s", d->device->ifname);
        assert(streq(property, "Peer"));
        return sd_bus_message_append(reply, "s", d->device->peer ?: "");
}

BUS_GETTER(get_network) {
        const ManagedDevice *d = userdata;
        _cleanup_free_ char *target = NULL;
        int r;

        if (!d->network)
                return sd_bus_message_append(reply, "o", "/");
        r = bus_network_path(network_config(d->network)->name, &target);
        return r < 0 ? r : sd_bus_message_append(reply, "o", target);
}

BUS_GETTER(get_u32) {
        const ManagedDevice *d = userdata;

        if (streq(property, "Mtu"))
                return sd_bus_message_append(reply, "u", d->device->mtu);
        if (streq(property, "Queues"))
                return sd_bus_message_append(reply, "u", d->device->n_queues);
        assert(streq(property, "Owner"));
        return sd_bus_message_append(reply, "u", d->device->owner);
}

BUS_GETTER(get_ifindex) {
        const ManagedDevice *d = userdata;

        return sd_bus_message_append(reply, "i", (int32_t) d->device->ifindex);
}

BUS_GETTER(get_offloads) {
        const ManagedDevice *d = userdata;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (uint32_t o = 1; o < _DEVICE_OFFLOAD_ALL && r >= 0; o <<= 1)
                if (d->device->offloads & o)
                        r = sd_bus_message_append(reply, "s", device_offload_to_name(o));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

BUS_GETTER(get_counter) {
        const ManagedDevice *d = userdata;
        Counters c;
        const struct {
                const char *name;
                const uint64_t *value;
        } counters[] = {
                { "RxFrames", &c.rx_frames }, { "RxBytes", &c.rx_bytes }, { "RxDropped", &c.rx_dropped },
                { "TxFrames", &c.tx_frames }, { "TxBytes", &c.tx_bytes }, { "TxDropped", &c.tx_dropped },
        };

        device_counters(d->device, &c);
        for (size_t i = 0; i < ELEMENTSOF(counters); i++)
                if (streq(property, counters[i].name))
                        return sd_bus_message_append(reply, "t", *counters[i].value);
        return -ENXIO;
}

int bus_append_drops(sd_bus_message *m, const char *prefix, const Counters *c) {
        int r = 0;

        for (int i = 0; i < _DROP_MAX && r >= 0; i++) {
                uint64_t n = counter_read(c->drops + i);
                char name[64];

                if (n == 0)
                        continue;
                (void) snprintf(name, sizeof(name), "%s%s", prefix, drop_to_name(i));
                r = sd_bus_message_append(m, "{st}", name, n);
        }
        return r;
}

BUS_GETTER(get_drops) {
        const ManagedDevice *d = userdata;
        Counters c;
        int r;

        device_counters(d->device, &c);
        r = sd_bus_message_open_container(reply, 'a', "{st}");
        if (r >= 0)
                r = bus_append_drops(reply, "", &c);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

const sd_bus_vtable bus_device_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Attach", SD_BUS_ARGS("s", network), SD_BUS_NO_RESULT, method_attach,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Detach", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_detach,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Remove", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_remove,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Inject", SD_BUS_ARGS("ay", frame, "a{sv}", net_header), SD_BUS_NO_RESULT,
                                bus_device_inject, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("OpenPacketSocket", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_RESULT("h", socket), bus_device_open_packet_socket,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("StartCapture", SD_BUS_ARGS("h", fd, "a{sv}", options),
                                SD_BUS_RESULT("s", id), bus_device_start_capture,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("StopCapture", SD_BUS_ARGS("s", id), SD_BUS_NO_RESULT,
                                bus_device_stop_capture, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("CaptureEnded",
                                SD_BUS_ARGS("s", id, "s", reason, "t", frames, "t", dropped), 0),
        SD_BUS_PROPERTY("Name", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Kind", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Network", "o", get_network, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Mac", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Mtu", "u", get_u32, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Offloads", "as", get_offloads, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Queues", "u", get_u32, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Peer", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Ifname", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Ifindex", "i", get_ifindex, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Owner", "u", get_u32, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("RxFrames", "t", get_counter, 0, 0),
        SD_BUS_PROPERTY("RxBytes", "t", get_counter, 0, 0),
        SD_BUS_PROPERTY("RxDropped", "t", get_counter, 0, 0),
        SD_BUS_PROPERTY("TxFrames", "t", get_counter, 0, 0),
        SD_BUS_PROPERTY("TxBytes", "t", get_counter, 0, 0),
        SD_BUS_PROPERTY("TxDropped", "t", get_counter, 0, 0),
        SD_BUS_PROPERTY("Drops", "a{st}", get_drops, 0, 0),
        SD_BUS_PROPERTY("Captures", "a(stt)", bus_device_get_captures, 0, 0),
        SD_BUS_VTABLE_END,
};
