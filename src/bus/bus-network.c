/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.vnetd1.Network at /org/vnetd1/network/NAME: methods, signals and the vtable. Properties are read in
 * bus-network-props.c. */

#include <time.h>

#include "basic/log.h"
#include "bus/bus-network.h"

int bus_network_find(sd_bus *sd, const char *path, const char *interface, void *userdata, void **ret,
                     sd_bus_error *error) {
        _cleanup_free_ char *name = NULL;
        Bus *b = userdata;
        Network *n;
        int r;

        r = sd_bus_path_decode(path, BUS_PATH "/network", &name);
        if (r <= 0)
                return r;
        n = manager_network(b->manager, name);
        if (!n)
                return 0;
        *ret = n;
        return 1;
}

int bus_network_enumerate(sd_bus *sd, const char *prefix, void *userdata, char ***ret, sd_bus_error *error) {
        _cleanup_(bus_strv_deinit) BusStrv paths = {};
        Bus *b = userdata;

        for (Network *n = NULL; (n = manager_next_network(b->manager, n));) {
                char *path;
                int r;

                r = bus_network_path(network_config(n)->name, &path);
                if (r >= 0)
                        r = bus_strv_take(&paths, path);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(paths.items);
        paths = (BusStrv){};
        return 1;
}

/* ---- forwards ---- */

static PolkitAsk ask_about(Network *n, const char *action, const char *verb) {
        const NetworkConfig *c = network_config(n);

        return (PolkitAsk){ action, verb, .network = c->name, .owners = { c->owner }, .n_owners = 1 };
}

static int check_expose_args(Bus *b, const char *protocol, const char *local, const char *remote,
                             const char *source, sd_bus_error *error) {
        int r;

        if (!streq(protocol, "tcp") && !streq(protocol, "udp") && !streq(protocol, "unix"))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "Protocol '%s' is none of tcp, udp and unix", ERROR_QUOTE(protocol));
        r = bus_check_string("Local address", local, error);
        if (r >= 0)
                r = bus_check_string("Remote address", remote, error);
        if (r < 0)
                return r;
        if (source && !streq(source, "client") && !streq(source, "gateway"))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "Option SourceAddress: '%s' is neither client nor gateway",
                                         ERROR_QUOTE(source));
        return 0;
}

BUS_METHOD(method_expose) {
        struct {
                const char *source;
                int bypass; /* as D-Bus has it */
        } options = { .bypass = true };
        static const BusOption table[] = { { "SourceAddress", "s", 0 }, { "Bypass", "b", sizeof(char *) } };
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        const char *protocol, *local, *remote;
        _cleanup_free_ char *path = NULL;
        PolkitAsk asks[POLKIT_ASKS_MAX];
        ManagedForward *f = NULL;
        Network *n = userdata;
        Error e = ERROR_INIT;
        size_t n_asks = 0;
        uid_t uid;
        int r;

        r = sd_bus_message_read(m, "sss", &protocol, &local, &remote);
        if (r < 0)
                return r;
        r = bus_read_options(m, table, ELEMENTSOF(table), &options, NULL, error);
        if (r >= 0)
                r = check_expose_args(b, protocol, local, remote, options.source, error);
        if (r < 0)
                return r;

        /* The port is the host's, so the network's owner is asked for it like anybody. First, since it
         * implies the other: one password is enough. */
        if (manager_local_is_privileged(b->manager, local))
                asks[n_asks++] = (PolkitAsk){ ACTION_PRIVILEGED_PORT, "Expose",
                                              .network = network_config(n)->name, .address = local };
        asks[n_asks] = ask_about(n, ACTION_MANAGE_FORWARDS, "Expose");
        asks[n_asks++].address = local;
        r = polkit_check(b->polkit, m, asks, n_asks, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = polkit_sender_uid(m, &uid);
        if (r < 0)
                return r;
        r = manager_expose(b->manager, n, uid, protocol, local, remote, &(ForwardOptions){ options.source, !options.bypass }, &f, &e);
        if (r < 0)
                return bus_refuse(error, &e, r);
        r = bus_forward_path(f->id, &path);
        return r < 0 ? r : sd_bus_reply_method_return(m, "o", path);
}

BUS_METHOD(method_unexpose) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        const char *protocol, *local;
        ManagedForward *f;
        Network *n = userdata;
        Error e = ERROR_INIT;
        PolkitAsk ask;
        int r;

        r = sd_bus_message_read(m, "ss", &protocol, &local);
        if (r < 0)
                return r;
        r = check_expose_args(b, protocol, local, "", NULL, error);
        if (r < 0)
                return r;
        r = manager_find_forward(b->manager, n, protocol, local, &f, &e);
        if (r < 0) /* everybody may know: nobody is asked for what changes nothing */
                return bus_refuse(error, &e, r);
        ask = ask_about(n, ACTION_MANAGE_FORWARDS, "Unexpose");
        ask.address = local;
        ask.owners[ask.n_owners++] = f->owner; /* who made it may close it, like the network's owner */
        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_remove_forward(b->manager, f, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, NULL);
}

BUS_METHOD(method_list_forwards) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_(bus_strv_deinit) BusStrv paths = {};
        int r;

        r = bus_forward_list(b, userdata, &paths);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = bus_append_paths(reply, &paths);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

BUS_METHOD(method_connect) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        const char *protocol, *host;
        _cleanup_close_ int fd = -EBADF;
        Network *n = userdata;
        Error e = ERROR_INIT;
        PolkitAsk ask;
        uint16_t port;
        int r;

        r = sd_bus_message_read(m, "ssq", &protocol, &host, &port);
        if (r >= 0)
                r = bus_read_options(m, NULL, 0, NULL, NULL, error);
        if (r >= 0)
                r = bus_check_string("Host", host, error);
        if (r < 0)
                return r;
        ask = ask_about(n, ACTION_CONNECT, "Connect");
        ask.address = host;
        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_connect(b->manager, n, protocol, host, port, &fd, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, "h", fd);
}

BUS_METHOD(method_listen) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        _cleanup_close_ int fd = -EBADF;
        Network *n = userdata;
        Error e = ERROR_INIT;
        const char *protocol;
        PolkitAsk ask;
        uint16_t port;
        int r;

        r = sd_bus_message_read(m, "sq", &protocol, &port);
        if (r >= 0)
                r = bus_read_options(m, NULL, 0, NULL, NULL, error);
        if (r < 0)
                return r;
        ask = ask_about(n, ACTION_MANAGE_FORWARDS, "Listen");
        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_listen(b->manager, n, protocol, port, &fd, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, "h", fd);
}

/* ---- leases ---- */

static usec_t realtime_now(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_REALTIME, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}

static int append_lease(sd_bus_message *m, Network *n, const Lease *l) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}", "Address", "s", IP_TO_TEXT(&l->addr), "Mac",
                                          "s", MAC_TO_TEXT(&l->mac), "Hostname", "s", l->hostname, "Static",
                                          "b", (int) l->is_static);
        if (r >= 0 && l->expires != USEC_INFINITY) {
                usec_t now = network_now(n), left = l->expires > now ? l->expires - now : 0;

                r = sd_bus_message_append(m, "{sv}", "Expires", "t", realtime_now() + left);
        }
        if (r >= 0 && l->client_id_len > 0) {
                r = sd_bus_message_open_container(m, 'e', "sv");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", "ClientId");
                if (r >= 0)
                        r = sd_bus_message_open_container(m, 'v', "ay");
                if (r >= 0)
                        r = sd_bus_message_append_array(m, 'y', l->client_id, l->client_id_len);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int bus_network_lease_signal(Bus *b, Network *n, const Lease *lease, bool added) {
        _cleanup_message_ sd_bus_message *m = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = bus_network_path(network_config(n)->name, &path);
        if (r >= 0)
                r = sd_bus_message_new_signal(b->bus, &m, path, BUS_INTERFACE_NETWORK,
                                              added ? "LeaseAdded" : "LeaseRemoved");
        if (r >= 0)
                r = append_lease(m, n, lease);
        return r < 0 ? r : sd_bus_send(b->bus, m, NULL);
}

BUS_METHOD(method_list_leases) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ Lease *leases = NULL;
        Network *n = userdata;
        size_t n_leases = 0;
        int r;

        r = network_list_leases(n, &leases, &n_leases);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        for (size_t i = 0; i < n_leases && r >= 0; i++)
                r = append_lease(reply, n, leases + i);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* ---- flows ---- */

static const char *proto_to_name(uint8_t proto) {
        switch (proto) {
        case IPPROTO_TCP:
                return "tcp";
        case IPPROTO_UDP:
                return "udp";
        default:
                return "icmp";
        }
}

typedef struct FlowFilter {
        const char *protocol, *guest; /* (borrowed, nullable) */
        IpAddr guest_addr;
        uint32_t limit;
} FlowFilter;

static int read_flow_filter(FlowFilter *f, sd_bus_message *m, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Protocol", "s", offsetof(FlowFilter, protocol) },
                { "Guest", "s", offsetof(FlowFilter, guest) },
                { "Limit", "u", offsetof(FlowFilter, limit) },
        };
        int r;

        *f = (FlowFilter){ .limit = BUS_FLOWS_MAX };
        r = bus_read_options(m, table, ELEMENTSOF(table), f, NULL, error);
        if (r < 0)
                return r;
        if (f->limit < 1 || f->limit > BUS_FLOWS_MAX)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "Filter Limit: %u is not between 1 and %d", f->limit,
                                         BUS_FLOWS_MAX);
        if (f->protocol && !streq(f->protocol, "tcp") && !streq(f->protocol, "udp") &&
            !streq(f->protocol, "icmp"))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "Filter Protocol: '%s' is none of tcp, udp and icmp",
                                         ERROR_QUOTE(f->protocol));
        if (f->guest && ip_parse(f->guest, &f->guest_addr) < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "Filter Guest: '%s' is not an address", ERROR_QUOTE(f->guest));
        return 0;
}

static bool flow_matches(const FlowInfo *i, const FlowFilter *f) {
        return (!f->protocol || streq(f->protocol, proto_to_name(i->proto))) &&
               (!f->guest || ip_equal(&f->guest_addr, &i->guest.addr));
}

static int append_flow(sd_bus_message *m, const FlowInfo *i, usec_t now) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}", "Protocol", "s",
                                          proto_to_name(i->proto), "Inbound", "b", (int) i->inbound, "Guest",
                                          "s", ENDPOINT_TO_TEXT(&i->guest), "Remote", "s",
                                          ENDPOINT_TO_TEXT(&i->remote), "State", "s", i->state);
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}", "RxBytes", "t", i->rx_bytes, "TxBytes", "t",
                                          i->tx_bytes, "ParkedBytes", "t", i->parked_bytes, "Retransmits",
                                          "u", i->retransmits);
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}{sv}", "AgeUSec", "t",
                                          now > i->created ? now - i->created : (usec_t) 0, "IdleUSec", "t",
                                          now > i->last_used ? now - i->last_used : (usec_t) 0);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

BUS_METHOD(method_list_flows) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ FlowInfo *flows = NULL;
        size_t n_flows = 0, n_sent = 0;
        Network *n = userdata;
        FlowFilter filter;
        PolkitAsk ask;
        usec_t now;
        int r;

        r = read_flow_filter(&filter, m, error);
        if (r < 0)
                return r;
        ask = ask_about(n, ACTION_CAPTURE, "ListFlows");
        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        r = network_list_flows(n, SIZE_MAX, &flows,
                               &n_flows); /* the filter chooses among all: the table itself is bounded */
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        now = network_now(n);
        for (size_t i = 0; i < n_flows && n_sent < filter.limit && r >= 0; i++)
                if (flow_matches(flows + i, &filter)) {
                        r = append_flow(reply, flows + i, now);
                        n_sent++;
                }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* ---- the rest ---- */

BUS_METHOD(method_describe) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        _cleanup_free_ char *text = NULL;
        int r;

        r = manager_describe(b->manager, userdata, &text);
        return r < 0 ? r : sd_bus_reply_method_return(m, "s", text);
}

BUS_METHOD(method_remove) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        Network *n = userdata;
        PolkitAsk ask = ask_about(n, ACTION_MANAGE_NETWORKS, "Remove");
        Error e = ERROR_INIT;
        int r;

        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_remove_network(b->manager, n, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, NULL);
}

const sd_bus_vtable bus_network_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Expose",
                                SD_BUS_ARGS("s", protocol, "s", local, "s", remote, "a{sv}", options),
                                SD_BUS_RESULT("o", forward), method_expose, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Unexpose", SD_BUS_ARGS("s", protocol, "s", local), SD_BUS_NO_RESULT,
                                method_unexpose, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Connect",
                                SD_BUS_ARGS("s", protocol, "s", host, "q", port, "a{sv}", options),
                                SD_BUS_RESULT("h", fd), method_connect, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Listen", SD_BUS_ARGS("s", protocol, "q", port, "a{sv}", options),
                                SD_BUS_RESULT("h", fd), method_listen, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetZone", SD_BUS_ARGS("s", name, "a(sss)", records, "a{sv}", options),
                                SD_BUS_NO_RESULT, bus_network_set_zone, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RemoveZone", SD_BUS_ARGS("s", name), SD_BUS_NO_RESULT,
                                bus_network_remove_zone, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListZones", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sa(sss)a{sv})", zones),
                                bus_network_list_zones, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListLeases", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", leases),
                                method_list_leases, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListFlows", SD_BUS_ARGS("a{sv}", filter), SD_BUS_RESULT("aa{sv}", flows),
                                method_list_flows, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListForwards", SD_BUS_NO_ARGS, SD_BUS_RESULT("ao", forwards),
                                method_list_forwards, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStats", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{st}", stats),
                                bus_network_get_stats, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json), method_describe,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Remove", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_remove,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("LeaseAdded", SD_BUS_ARGS("a{sv}", lease), 0),
        SD_BUS_SIGNAL_WITH_ARGS("LeaseRemoved", SD_BUS_ARGS("a{sv}", lease), 0),
        SD_BUS_PROPERTY("Name", "s", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Subnet", "s", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Gateway", "s", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("HostAddress", "s", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Subnet6", "s", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Gateway6", "s", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Nat64", "s", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Reflect", "as", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Mtu", "u", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Domain", "s", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("DnsServers", "as", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("HostLoopback", "b", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("HttpApi", "s", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("HttpGateway", "b", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Owner", "u", bus_network_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Devices", "ao", bus_network_devices, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Forwards", "ao", bus_network_forwards, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};
