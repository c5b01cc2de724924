/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options of CreateNetwork() and CreateDevice(): their tables, and every check that needs no more than
 * the value itself, so that nobody is asked for a password for a call that cannot work.
 */

#include "basic/parse.h"
#include "bus/bus-private.h"
#include "device/sock-address.h"
#include "device/tap-queue.h"

static int refuse_value(const char *option, const char *value, const char *what, sd_bus_error *error) {
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "Option %s: '%s' is not %s", option,
                                 ERROR_QUOTE(value), what);
}

static int refuse_number(const char *option, uint32_t value, uint32_t min, uint32_t max,
                         sd_bus_error *error) {
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "Option %s: %u is not between %u and %u",
                                 option, value, min, max);
}

static const BusOption network_options[] = {
        { "Subnet", "s", offsetof(CreateNetworkArgs, options.subnet) },
        { "Subnet6", "s", offsetof(CreateNetworkArgs, options.subnet6) },
        { "Mtu", "u", offsetof(CreateNetworkArgs, options.mtu) },
        { "Domain", "s", offsetof(CreateNetworkArgs, options.domain) },
        { "DnsServers", "as", offsetof(CreateNetworkArgs, dns_servers) },
        { "StaticLeases", "a{ss}", offsetof(CreateNetworkArgs, static_leases) },
        { "HostLoopback", "b", offsetof(CreateNetworkArgs, options.host_loopback) },
        { "LeaseTime", "u", offsetof(CreateNetworkArgs, options.lease_sec) },
        { "DnsRoutes", "a{ss}", offsetof(CreateNetworkArgs, dns_routes) },
        { "Nat", "a{ss}", offsetof(CreateNetworkArgs, nat) },
        { "Policy", "as", offsetof(CreateNetworkArgs, policy) },
        { "GatewayAddresses", "as", offsetof(CreateNetworkArgs, gateway_addresses) },
        { "HttpApi", "s", offsetof(CreateNetworkArgs, options.http_api) },
        { "HttpGateway", "b", offsetof(CreateNetworkArgs, options.http_gateway) },
        { "Dhcp", "a{ss}", offsetof(CreateNetworkArgs, dhcp) },
        { "Outbound", "a{ss}", offsetof(CreateNetworkArgs, outbound) },
        { "Nat64", "s", offsetof(CreateNetworkArgs, options.nat64) },
        { "Reflect", "as", offsetof(CreateNetworkArgs, reflect) },
};
#define SEEN_MTU (1u << 2)
#define SEEN_LEASE_TIME (1u << 7)

void create_network_args_deinit(CreateNetworkArgs *a) {
        free(a->dns_servers);
        free(a->static_leases);
        free(a->dns_routes);
        free(a->nat);
        free(a->policy);
        free(a->gateway_addresses);
        free(a->reflect);
        free(a->dhcp);
        free(a->outbound);
}

static int check_network_lists(const CreateNetworkArgs *a, sd_bus_error *error) {
        Endpoint endpoint;
        MacAddr mac;
        IpAddr ip;

        for (const char **s = a->dns_servers; s && *s; s++)
                if (ip_parse(*s, &ip) < 0 && endpoint_parse(*s, &endpoint) < 0)
                        return refuse_value("DnsServers", *s, "an address", error);
        for (const char **s = a->reflect; s && *s; s++)
                if (netstack_reflect_from_name(*s) == 0)
                        return refuse_value("Reflect", *s, "\"mdns\" or \"ssdp\"", error);
        for (const char **s = a->static_leases; s && *s; s += 2) {
                if (ip_parse(s[0], &ip) < 0)
                        return refuse_value("StaticLeases", s[0], "an address", error);
                if (mac_parse(s[1], &mac) < 0)
                        return refuse_value("StaticLeases", s[1], "a MAC address", error);
        }
        return 0;
}

int create_network_args_read(CreateNetworkArgs *a, sd_bus_message *m, sd_bus_error *error) {
        NetworkOptions *o = &a->options;
        SockAddress address;
        const char *what;
        IpPrefix prefix;
        uint32_t seen;
        int r;

        *o = NETWORK_OPTIONS_INIT;
        r = bus_read_options(m, network_options, ELEMENTSOF(network_options), a, &seen, error);
        if (r < 0)
                return r;
        o->dns_servers = a->dns_servers;
        o->static_leases = a->static_leases;
        o->dns_routes = a->dns_routes;
        o->nat = a->nat;
        o->policy = a->policy;
        o->gateway_addresses = a->gateway_addresses;
        o->reflect = a->reflect;
        o->dhcp = a->dhcp;
        o->outbound = a->outbound;

        if (o->subnet && !streq(o->subnet, NETWORK_SUBNET_NONE) && (prefix_parse(o->subnet, &prefix) < 0 || !ip_is_v4(&prefix.addr)))
                return refuse_value("Subnet", o->subnet, "an IPv4 prefix", error);
        if (o->subnet6 && (prefix_parse(o->subnet6, &prefix) < 0 || ip_is_v4(&prefix.addr)))
                return refuse_value("Subnet6", o->subnet6, "an IPv6 prefix", error);
        if (o->nat64 && !streq(o->nat64, NETWORK_NAT64_WELL_KNOWN) && (prefix_parse(o->nat64, &prefix) < 0 || !nat64_prefix_is_valid(&prefix)))
                return refuse_value("Nat64", o->nat64, "an IPv6 prefix of 96 bits", error);
        if (seen & SEEN_MTU && (o->mtu < DEVICE_MTU_MIN || o->mtu > DEVICE_MTU_MAX))
                return refuse_number("Mtu", o->mtu, DEVICE_MTU_MIN, DEVICE_MTU_MAX, error);
        if (o->domain && !dns_name_is_valid(o->domain))
                return refuse_value("Domain", o->domain, "a DNS name", error);
        if (o->http_api && (sock_address_parse(o->http_api, &address, &what) < 0 || address.family != AF_UNIX))
                return refuse_value("HttpApi", o->http_api, "a place for a Unix socket", error);
        if (seen & SEEN_LEASE_TIME && o->lease_sec == 0)
                return refuse_number("LeaseTime", 0, 1, UINT32_MAX, error);
        return check_network_lists(a, error);
}

static const BusOption device_options[] = {
        { "Name", "s", offsetof(CreateDeviceArgs, options.name) },
        { "Network", "s", offsetof(CreateDeviceArgs, options.network) },
        { "Mac", "s", offsetof(CreateDeviceArgs, options.mac) },
        { "Mtu", "u", offsetof(CreateDeviceArgs, options.mtu) },
        { "Namespace", "s", offsetof(CreateDeviceArgs, options.namespace) },
        { "Fd", "h", offsetof(CreateDeviceArgs, options.fd) },
        { "Ifname", "s", offsetof(CreateDeviceArgs, options.ifname) },
        { "Owner", "u", offsetof(CreateDeviceArgs, options.owner) },
        { "Persistent", "b", offsetof(CreateDeviceArgs, persistent) },
        { "Queues", "u", offsetof(CreateDeviceArgs, options.queues) },
        { "Offloads", "as", offsetof(CreateDeviceArgs, offloads) },
        { "VhostQueueSize", "u", offsetof(CreateDeviceArgs, options.vhost_queue_size) },
        { "Listen", "s", offsetof(CreateDeviceArgs, options.listen) },
        { "Connect", "s", offsetof(CreateDeviceArgs, options.connect) },
        { "Isolated", "b", offsetof(CreateDeviceArgs, isolated) },
        { "Guarded", "b", offsetof(CreateDeviceArgs, guarded) },
        { "Lend", "h", offsetof(CreateDeviceArgs, options.lend_fd) },
        { "Parallel", "b", offsetof(CreateDeviceArgs, parallel) },
        { "QueueFds", "ah", offsetof(CreateDeviceArgs, queue_fds) },
};
#define SEEN_DEVICE_MTU (1u << 3)
#define SEEN_OWNER (1u << 7)

void create_device_args_deinit(CreateDeviceArgs *a) {
        free(a->offloads);
        free(a->queue_fds);
}

int create_device_args_read(CreateDeviceArgs *a, sd_bus_message *m, sd_bus_error *error) {
        DeviceOptions *o = &a->options;
        DeviceOffload offload;
        SockAddress address;
        const char *what;
        uint32_t seen;
        MacAddr mac;
        int r;

        *o = DEVICE_OPTIONS_INIT;
        r = bus_read_options(m, device_options, ELEMENTSOF(device_options), a, &seen, error);
        if (r < 0)
                return r;
        o->offloads = a->offloads;
        o->persistent = a->persistent;
        o->port = (PortOptions){ .isolated = a->isolated, .guarded = a->guarded, .parallel = a->parallel };
        o->has_owner = seen & SEEN_OWNER;
        o->queue_fds = a->queue_fds;
        while (a->queue_fds && a->queue_fds[o->n_queue_fds] >= 0)
                o->n_queue_fds++;

        if (o->name && !name_is_valid(o->name))
                return refuse_value("Name", o->name, "a name for a device", error);
        if (o->mac && mac_parse(o->mac, &mac) < 0)
                return refuse_value("Mac", o->mac, "a MAC address", error);
        if (o->namespace && !o->namespace[0])
                return refuse_value("Namespace", o->namespace, "a path or a process id", error);
        if (o->ifname && !ifname_is_valid(o->ifname))
                return refuse_value("Ifname", o->ifname, "a name for an interface", error);
        if (seen & SEEN_DEVICE_MTU && (o->mtu < DEVICE_MTU_MIN || o->mtu > DEVICE_MTU_MAX))
                return refuse_number("Mtu", o->mtu, DEVICE_MTU_MIN, DEVICE_MTU_MAX, error);
        if (o->queues < 1 || o->queues > TAP_QUEUES_MAX)
                return refuse_number("Queues", o->queues, 1, TAP_QUEUES_MAX, error);
        if (o->n_queue_fds >= o->queues || (o->n_queue_fds > 0 && o->fd < 0))
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "QueueFds are those of further queues: fewer than Queues, and with Fd");
        if (o->listen && sock_address_parse(o->listen, &address, &what) < 0)
                return refuse_value("Listen", o->listen, what, error);
        if (o->connect && sock_address_parse(o->connect, &address, &what) < 0)
                return refuse_value("Connect", o->connect, what, error);
        for (const char **s = a->offloads; s && *s; s++)
                if (device_offload_from_name(*s, &offload) < 0)
                        return refuse_value("Offloads", *s, "an offload", error);
        return 0;
}
