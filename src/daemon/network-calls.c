/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A network's functions for the control thread: each borrows the network's thread by loop_call() and waits. Decides nothing itself. */

#include <errno.h>

#include "daemon/network-private.h"

typedef struct Call {
        Network *n;
        Device *device;
        const PortOptions *port_options;
        const ForwardConfig *forward;
        const Lease *lease;
        int fd;
        uint32_t id;
        size_t max;
        ForwardStats *forward_stats;
        NetstackStats *stats;
        Counters *counters;
        Lease **leases;
        FlowInfo **flows;
        size_t *n_ret;
        const HostLinks *links;
        const Endpoint *resolvers;
        const char *const *search;
        size_t n_resolvers, n_search;
        DnsZone *zone;
        const char *name;
        const NetstackDnsRoute *routes;
        const Endpoint *guest;
        NetworkMac **macs;
        NetworkDeviceFn fn;
        void *arg;
} Call;

static int do_attach(void *arg) {
        Call *c = arg;
        return network_attach_here(c->n, c->device, c->port_options);
}
int network_attach(Network *n, Device *d, const PortOptions *options) {
        return loop_call(n->loop, do_attach, &(Call){ .n = n, .device = d, .port_options = options });
}

static int do_detach(void *arg) {
        Call *c = arg;
        return network_detach_here(c->n, c->device);
}
int network_detach(Network *n, Device *d) {
        return loop_call(n->loop, do_detach, &(Call){ .n = n, .device = d });
}

static int do_with_device(void *arg) {
        Call *c = arg;
        return network_with_device_here(c->n, c->device, c->fn, c->arg);
}
int network_with_device(Network *n, Device *d, NetworkDeviceFn fn, void *arg) {
        return loop_call(n->loop, do_with_device, &(Call){ .n = n, .device = d, .fn = fn, .arg = arg });
}

static int do_forward_add(void *arg) {
        Call *c = arg;
        return netstack_forward_add(c->n->stack, c->forward, c->fd);
}
int network_forward_add(Network *n, const ForwardConfig *f, int fd) {
        return loop_call(n->loop, do_forward_add, &(Call){ .n = n, .forward = f, .fd = fd });
}

static int do_forward_remove(void *arg) {
        Call *c = arg;
        return netstack_forward_remove(c->n->stack, c->id);
}
int network_forward_remove(Network *n, uint32_t id) {
        return loop_call(n->loop, do_forward_remove, &(Call){ .n = n, .id = id });
}

static int do_forward_stats(void *arg) {
        Call *c = arg;
        return netstack_forward_stats(c->n->stack, c->id, c->forward_stats);
}
int network_forward_stats(Network *n, uint32_t id, ForwardStats *ret) {
        return loop_call(n->loop, do_forward_stats, &(Call){ .n = n, .id = id, .forward_stats = ret });
}

static int do_connect(void *arg) {
        Call *c = arg;
        int r = host_sockets_adopt_stream(c->n->sockets, c->fd);
        if (r >= 0)
                r = netstack_connect(c->n->stack, c->guest, c->fd);
        if (r < 0)
                host_sockets_ops.close(c->n->sockets, c->fd, /* reset= */ false);
        return r;
}
int network_connect(Network *n, const Endpoint *guest, int fd) {
        return loop_call(n->loop, do_connect, &(Call){ .n = n, .guest = guest, .fd = fd });
}

static int do_add_service(void *arg) {
        Call *c = arg;
        Network *n = c->n;
        size_t i = 0;
        int r = netstack_add_service(n->stack, (uint16_t) c->id);
        if (r < 0)
                return r;
        while (n->services[i].port != 0) /* as many as the netstack takes */
                i++;
        n->services[i].port = (uint16_t) c->id;
        memcpy(n->services[i].path, c->name, strlen(c->name) + 1);
        return 0;
}
int network_add_service(Network *n, uint16_t port, const char *path) {
        if (path && strlen(path) >= sizeof(n->services[0].path))
                return -ENAMETOOLONG;
        return loop_call(n->loop, do_add_service, &(Call){ .n = n, .id = port, .name = path ?: "" });
}

static int do_remove_service(void *arg) {
        Call *c = arg;
        for (size_t i = 0; i < NETSTACK_SERVICES_MAX; i++)
                if (c->n->services[i].port == c->id)
                        c->n->services[i].port = 0;
        return netstack_remove_service(c->n->stack, (uint16_t) c->id);
}
int network_remove_service(Network *n, uint16_t port) {
        return loop_call(n->loop, do_remove_service, &(Call){ .n = n, .id = port });
}

static int do_connect_dgram(void *arg) {
        Call *c = arg;
        Network *n = c->n;
        ForwardConfig f = { .proto = IPPROTO_UDP, .remote = *c->guest, .source = FORWARD_SOURCE_GATEWAY, .ends_with_peer = true };
        int r = host_sockets_adopt_messages(n->sockets, c->fd);
        if (r >= 0)
                do {
                        f.id = NETWORK_TUNNEL_ID + n->last_tunnel++ % (UINT32_MAX - NETWORK_TUNNEL_ID);
                        r = netstack_forward_add(n->stack, &f, c->fd);
                } while (r == -EEXIST);
        if (r < 0)
                host_sockets_ops.close(n->sockets, c->fd, /* reset= */ false);
        return r;
}
int network_connect_dgram(Network *n, const Endpoint *guest, int fd) {
        return loop_call(n->loop, do_connect_dgram, &(Call){ .n = n, .guest = guest, .fd = fd });
}

static int do_list_macs(void *arg) {
        Call *c = arg;
        NetworkMac *list = calloc(SWITCH_ENTRIES_MAX, sizeof(*list));
        size_t n = 0;
        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < SWITCH_ENTRIES_MAX; i++) {
                const SwitchEntry *e = &c->n->table.entries[i];
                if (e->port != 0 && switch_lookup(&c->n->table, &e->mac, loop_now(c->n->loop)) == e->port)
                        list[n++] = (NetworkMac){ e->mac, e->port };
        }
        *c->macs = list;
        *c->n_ret = n;
        return 0;
}
int network_list_macs(Network *n, NetworkMac **ret, size_t *ret_n) {
        return loop_call(n->loop, do_list_macs, &(Call){ .n = n, .macs = ret, .n_ret = ret_n });
}

static int do_list_leases(void *arg) {
        Call *c = arg;
        return netstack_list_leases(c->n->stack, c->leases, c->n_ret);
}
int network_list_leases(Network *n, Lease **ret, size_t *ret_n) {
        return loop_call(n->loop, do_list_leases, &(Call){ .n = n, .leases = ret, .n_ret = ret_n });
}

static int do_add_lease(void *arg) {
        Call *c = arg;
        return netstack_add_lease(c->n->stack, c->lease);
}
int network_add_lease(Network *n, const Lease *l) {
        return loop_call(n->loop, do_add_lease, &(Call){ .n = n, .lease = l });
}

static int do_list_flows(void *arg) {
        Call *c = arg;
        size_t n = bypass_count(c->n->bypass);
        int r = netstack_list_flows(c->n->stack, c->max, c->flows, c->n_ret);
        if (r >= 0)
                r = network_shards_add_flows(c->n, c->max, c->flows, c->n_ret);
        if (r < 0) {
                free(TAKE_PTR(*c->flows));
                return r;
        }
        if (n == 0 || *c->n_ret >= c->max)
                return 0;
        FlowInfo *all = realloc(*c->flows, (*c->n_ret + n) * sizeof(*all));
        if (!all)
                return 0;
        *c->flows = all;
        *c->n_ret += bypass_list(c->n->bypass, all + *c->n_ret, MIN(n, c->max - *c->n_ret));
        return 0;
}
int network_list_flows(Network *n, size_t max, FlowInfo **ret, size_t *ret_n) {
        *ret = NULL;
        return loop_call(n->loop, do_list_flows, &(Call){ .n = n, .max = max, .flows = ret, .n_ret = ret_n });
}

static int do_get_stats(void *arg) {
        Call *c = arg;
        const BypassStats *b = bypass_stats(c->n->bypass);
        *c->counters = *netstack_counters(c->n->stack);
        netstack_get_stats(c->n->stack, c->stats);
        network_shards_add_stats(c->n, c->stats, c->counters);
        c->stats->bypassed = b->opened;
        c->stats->bypass_failed = b->failed;
        c->stats->bypassed_bytes = b->bytes;
        return 0;
}
int network_get_stats(Network *n, NetstackStats *ret_stats, Counters *ret_counters) {
        NetstackStats stats;
        Counters counters;
        return loop_call(n->loop, do_get_stats, &(Call){ .n = n, .stats = ret_stats ?: &stats, .counters = ret_counters ?: &counters });
}

static int do_set_zone(void *arg) {
        Call *c = arg;
        return netstack_set_zone(c->n->stack, c->zone);
}
int network_set_zone(Network *n, DnsZone *zone) {
        return loop_call(n->loop, do_set_zone, &(Call){ .n = n, .zone = zone });
}

static int do_remove_zone(void *arg) {
        Call *c = arg;
        return netstack_remove_zone(c->n->stack, c->name);
}
int network_remove_zone(Network *n, const char *name) {
        return loop_call(n->loop, do_remove_zone, &(Call){ .n = n, .name = name });
}

static int do_set_dns_routes(void *arg) {
        Call *c = arg;
        return netstack_set_dns_routes(c->n->stack, c->routes, c->max);
}
int network_set_dns_routes(Network *n, const NetstackDnsRoute *routes, size_t n_routes) {
        return loop_call(n->loop, do_set_dns_routes, &(Call){ .n = n, .routes = routes, .max = n_routes });
}

static int do_set_links(void *arg) {
        Call *c = arg;
        netstack_set_uplink(c->n->stack, c->links->ip4, c->links->ip6);
        if (c->links->addresses_lost) {
                netstack_check_addresses(c->n->stack);
                network_shards_check_addresses(c->n);
        }
        return 0;
}
int network_set_links(Network *n, const HostLinks *links) {
        return loop_call(n->loop, do_set_links, &(Call){ .n = n, .links = links });
}

static int do_set_resolvers(void *arg) {
        Call *c = arg;
        netstack_set_resolvers(c->n->stack, c->resolvers, c->n_resolvers, c->search, c->n_search);
        return 0;
}
int network_set_resolvers(Network *n, const Endpoint *resolvers, size_t n_resolvers, const char *const *search, size_t n_search) {
        Call c = { .n = n, .resolvers = resolvers, .n_resolvers = n_resolvers, .search = search, .n_search = n_search };
        if (n->config.n_dns_servers > 0) {
                c.resolvers = n->config.dns_servers;
                c.n_resolvers = n->config.n_dns_servers;
        }
        if (n->config.search[0]) {
                c.search = (const char *const *) n->config.search;
                for (c.n_search = 0; n->config.search[c.n_search];)
                        c.n_search++;
        }
        return loop_call(n->loop, do_set_resolvers, &c);
}
