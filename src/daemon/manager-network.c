/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Networks of the manager: options into a configuration that can be, or a refusal that says why not; making, finding, removing.
 */

#include <errno.h>
#include <ifaddrs.h>

#include "basic/log.h"
#include "basic/parse.h"
#include "daemon/manager-private.h"
#include "device/sock-address.h"

#define NETWORK_SUBNETS_FIRST 127 /* 192.168.x.0/24 chosen for networks that do not say */
#define NETWORK_SUBNETS_LAST 254

typedef struct NetworkConfigBox { /* so that a cleanup attribute can hold it */
        NetworkConfig config;
        bool taken;
} NetworkConfigBox;

static void network_config_boxp(NetworkConfigBox *b) {
        if (!b->taken)
                network_config_deinit(&b->config);
}

/* ---- facts from networks ---- */

static void on_lease(Network *n, const Lease *lease, bool added, void *userdata) {
        Manager *m = userdata;
        NetworkEntry *entry = manager_network_entry(m, n);

        if (!entry)
                return;
        entry->leases_changed = true;
        if (ratelimit_below(&m->lease_log, network_now(n)))
                log_info("Network '%s': lease of %s to %s %s%s%s", network_config(n)->name, IP_TO_TEXT(&lease->addr),
                         MAC_TO_TEXT(&lease->mac), added ? "given" : "ended", lease->hostname[0] != 0 ? ", host name " : "",
                         lease->hostname);
        if (m->handler)
                m->handler->lease(m, n, lease, added, m->userdata);
        state_changed(m, STATE_LEASES);
}

static void on_device_gone(Network *n, Device *d, int error, void *userdata) {
        manager_device_gone(userdata, d, error);
}

static void on_device_event(Network *n, const char *device, DeviceEvent event, int error, void *userdata) {
        manager_device_event(userdata, n, device, event, error);
}

static void on_service(Network *n, uint16_t port, const Endpoint *guest, int fd, void *userdata) {
        Manager *m = userdata;

        if (m->http && port == MANAGER_HTTP_PORT && network_config(n)->http_gateway != HTTP_GATEWAY_OFF && manager_network_entry(m, n))
                m->http->client(n, guest, fd, m->http_userdata);
        else
                manager_listen_client(m, n, port, guest, fd);
}

static const NetworkHandler network_handler = {
        .lease_changed = on_lease,
        .device_gone = on_device_gone,
        .device_event = on_device_event,
        .service = on_service,
};

/* ---- subnets ---- */

static bool prefixes_overlap(const IpPrefix *a, const IpPrefix *b) {
        return prefix_contains(a, &b->addr) || prefix_contains(b, &a->addr);
}

static Network *network_overlapping(Manager *m, const IpPrefix *subnet) {
        for (Network *n = NULL; (n = manager_next_network(m, n));) {
                const NetstackConfig *s = &network_config(n)->stack;

                if (prefixes_overlap(&s->subnet, subnet) || (!ip_is_null(&s->subnet6.addr) && prefixes_overlap(&s->subnet6, subnet)))
                        return n;
        }
        return NULL;
}

/* Does an interface of the host have an address in @subnet? Its guests could not reach the host's neighbours then. */
static bool host_is_in(const struct ifaddrs *addrs, const IpPrefix *subnet) {
        Endpoint e;

        for (; addrs; addrs = addrs->ifa_next)
                if (addrs->ifa_addr && addrs->ifa_addr->sa_family == AF_INET &&
                    endpoint_from_sockaddr(addrs->ifa_addr, sizeof(struct sockaddr_in), &e) >= 0 && prefix_contains(subnet, &e.addr))
                        return true;
        return false;
}

static int choose_subnet(Manager *m, IpPrefix *ret, Error *e) {
        struct ifaddrs *addrs = NULL;
        bool found = false;

        (void) getifaddrs(&addrs); /* without it the choice is just less careful */
        for (uint32_t i = NETWORK_SUBNETS_FIRST; i <= NETWORK_SUBNETS_LAST && !found; i++) {
                *ret = (IpPrefix){ ip_from_v4(htonl(0xc0a80000 | i << 8)), 24 };
                found = !network_overlapping(m, ret) && !host_is_in(addrs, ret);
        }
        freeifaddrs(addrs);
        return found ? 0
                     : error_set(e, ERROR_SUBNET_IN_USE, "No subnet from 192.168.%d.0/24 to 192.168.%d.0/24 is free: name one",
                                 NETWORK_SUBNETS_FIRST, NETWORK_SUBNETS_LAST);
}

static int check_subnet(Manager *m, const char *text, const IpPrefix *p, Error *e) {
        IpAddr first = prefix_nth(p, 0);
        Network *other;

        if (!ip_equal(&first, &p->addr))
                return error_set(e, ERROR_INVALID_ARGS, "Subnet '%s' has bits set beyond its prefix: %s/%u is meant?", ERROR_QUOTE(text),
                                 IP_TO_TEXT(&first), p->len);
        other = network_overlapping(m, p);
        if (other) {
                const NetstackConfig *s = &network_config(other)->stack;
                return error_set(e, ERROR_SUBNET_IN_USE, "Subnet '%s' overlaps %s of network '%s'", ERROR_QUOTE(text),
                                 PREFIX_TO_TEXT(ip_is_v4(&p->addr) ? &s->subnet : &s->subnet6), network_config(other)->name);
        }
        return 0;
}

static int set_subnet(Manager *m, NetworkConfig *c, const char *text, Error *e) {
        IpPrefix p;
        int r;

        if (text && streq(text, NETWORK_SUBNET_NONE)) {
                network_config_set_no_ip4(c);
                return 0;
        }
        if (text) {
                if (prefix_parse(text, &p) < 0 || !ip_is_v4(&p.addr))
                        return error_set(e, ERROR_INVALID_ARGS, "Subnet '%s' is no IPv4 subnet such as 192.168.127.0/24, nor \"none\"",
                                         ERROR_QUOTE(text));
                r = check_subnet(m, text, &p, e);
        } else if (streq(c->name, MANAGER_NAME_DEFAULT)) {
                p = c->stack.subnet;
                r = check_subnet(m, PREFIX_TO_TEXT(&p), &p, e);
        } else
                r = choose_subnet(m, &p, e);
        if (r < 0)
                return r;

        if (network_config_set_subnet(c, &p) < 0)
                return error_set(e, ERROR_INVALID_ARGS,
                                 "Subnet '%s' cannot be a network: a private or otherwise unicast range of /29 or more is needed",
                                 PREFIX_TO_TEXT(&p));
        return 0;
}

/* The interface part of an address the defaults have chosen, in another /64. */
static IpAddr move_into(const IpPrefix *p, const IpAddr *a) {
        IpAddr moved = p->addr;

        memcpy(moved.b + 8, a->b + 8, 8);
        return moved;
}

static int set_subnet6(Manager *m, NetworkConfig *c, const char *text, Error *e) {
        IpPrefix p;
        int r;

        if (!text) /* the default is of the name, and names are unique */
                return 0;
        if (prefix_parse(text, &p) < 0 || ip_is_v4(&p.addr) || p.len != 64 || ip_classify(&p.addr) != IP_CLASS_UNICAST)
                return error_set(e, ERROR_INVALID_ARGS, "Subnet6 '%s' is no unicast IPv6 prefix of 64 bits, such as fd00:1:2:3::/64",
                                 ERROR_QUOTE(text));
        r = check_subnet(m, text, &p, e);
        if (r < 0)
                return r;

        c->stack.subnet6 = p;
        c->stack.gateway6 = move_into(&p, &c->stack.gateway6);
        c->stack.host6 = move_into(&p, &c->stack.host6);
        return 0;
}

static int set_nat64(NetworkConfig *c, const char *text, Error *e) {
        IpPrefix p;

        if (!text)
                return 0;
        if (streq(text, NETWORK_NAT64_WELL_KNOWN))
                text = NAT64_WELL_KNOWN;
        if (prefix_parse(text, &p) < 0 || !nat64_prefix_is_valid(&p))
                return error_set(e, ERROR_INVALID_ARGS, "Nat64 '%s' is neither \"well-known\" nor an IPv6 prefix of 96 bits such as %s",
                                 ERROR_QUOTE(text), NAT64_WELL_KNOWN);
        if (prefix_contains(&c->stack.subnet6, &p.addr))
                return error_set(e, ERROR_INVALID_ARGS, "Nat64 '%s' lies in the subnet of the network itself", ERROR_QUOTE(text));
        c->stack.nat64 = p;
        return 0;
}

/* ---- the other options ---- */

static int set_reflect(NetworkConfig *c, const char *const *names, Error *e) {
        for (; names && *names; names++) {
                uint8_t bit = netstack_reflect_from_name(*names);

                if (bit == 0)
                        return error_set(e, ERROR_INVALID_ARGS, "Reflect '%s' is neither \"mdns\" nor \"ssdp\"", ERROR_QUOTE(*names));
                c->stack.reflect |= bit;
        }
        return 0;
}

static int set_domain(NetworkConfig *c, const char *domain, Error *e) {
        char *copy;

        if (!domain)
                return 0;
        if (!dns_name_is_valid(domain))
                return error_set(e, ERROR_INVALID_ARGS, "Domain '%s' is no domain name", ERROR_QUOTE(domain));
        copy = strdup(domain);
        if (!copy)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        free(c->stack.domain);
        c->stack.domain = copy;
        return 0;
}

static int set_dns_servers(NetworkConfig *c, const char *const *servers, Error *e) {
        for (; servers && *servers; servers++) {
                Endpoint s = { .port = 53 };

                if (c->n_dns_servers == NETSTACK_RESOLVERS_MAX)
                        return error_set(e, ERROR_INVALID_ARGS, "More than %d DNS servers", NETSTACK_RESOLVERS_MAX);
                if ((ip_parse(*servers, &s.addr) < 0 && endpoint_parse(*servers, &s) < 0) || s.port == 0 ||
                    (ip_classify(&s.addr) != IP_CLASS_UNICAST && ip_classify(&s.addr) != IP_CLASS_LOOPBACK))
                        return error_set(e, ERROR_INVALID_ARGS, "DNS server '%s' is no address of a server, with or without a port",
                                         ERROR_QUOTE(*servers));
                c->dns_servers[c->n_dns_servers++] = s;
        }
        return 0;
}

static int set_dns_routes(NetworkConfig *c, const char *const *routes, Error *e) {
        size_t n = 0;

        for (const char *const *p = routes; p && p[0]; p += 2)
                n++;
        if (n == 0)
                return 0;
        if (n > NETSTACK_DNS_ROUTES_MAX)
                return error_set(e, ERROR_INVALID_ARGS, "More than %d DNS routes", NETSTACK_DNS_ROUTES_MAX);
        c->dns_routes = calloc(n, sizeof(*c->dns_routes));
        if (!c->dns_routes)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        for (; routes[0]; routes += 2) {
                int r = dns_route_parse(routes[0], routes[1], &c->dns_routes[c->n_dns_routes++], e);

                if (r < 0)
                        return r;
        }
        return 0;
}

bool manager_may_open_loopback(const Manager *m, uint32_t uid) {
        return m->host_loopback || m->config.user || !manager_uid_is_limited(uid);
}

static int set_host_loopback(Manager *m, NetworkConfig *c, uint32_t uid, int value, Error *e) {
        c->stack.host_loopback = value >= 0 ? value : m->host_loopback;
        if (value > 0 && !manager_may_open_loopback(m, uid))
                return error_set(e, ERROR_ACCESS_DENIED,
                                 "HostLoopback of network '%s': only the administrator may open the loopback of the host to guests",
                                 c->name);
        return 0;
}

/* The addresses that the subnet's own are not to be taken for. */
static int set_gateway(NetworkConfig *c, const NetworkOptions *o, Error *e) {
        NetstackConfig *s = &c->stack;

        if (o->gateway && (ip_parse(o->gateway, &s->gateway) < 0 || !prefix_contains(&s->subnet, &s->gateway)))
                return error_set(e, ERROR_INVALID_ARGS, "Gateway '%s' is no address in %s", ERROR_QUOTE(o->gateway), PREFIX_TO_TEXT(&s->subnet));
        if (o->host && (ip_parse(o->host, &s->host) < 0 || !prefix_contains(&s->subnet, &s->host)))
                return error_set(e, ERROR_INVALID_ARGS, "Host address '%s' is no address in %s", ERROR_QUOTE(o->host),
                                 PREFIX_TO_TEXT(&s->subnet));
        if (o->gateway_mac && (mac_parse(o->gateway_mac, &s->mac) < 0 || mac_is_multicast(&s->mac) || mac_is_zero(&s->mac)))
                return error_set(e, ERROR_INVALID_ARGS, "'%s' is no MAC address a gateway can have", ERROR_QUOTE(o->gateway_mac));
        return 0;
}

/* The socket is made with our rights, and who may use it may do all the API can: that is the administrator's to give. */
static int set_http(NetworkConfig *c, uint32_t uid, const NetworkOptions *o, Error *e) {
        const char *what;
        SockAddress a;

        c->http_gateway = (HttpGateway) o->http_gateway;
        if (!o->http_api)
                return 0;
        if (manager_uid_is_limited(uid))
                return error_set(e, ERROR_ACCESS_DENIED, "HttpApi '%s': only the administrator may have a network served by HTTP",
                                 ERROR_QUOTE(o->http_api));
        if (sock_address_parse(o->http_api, &a, &what) < 0 || a.family != AF_UNIX || (a.type != 0 && a.type != SOCK_STREAM))
                return error_set(e, ERROR_INVALID_ARGS, "HttpApi '%s' is no place for a Unix socket, such as unix:///run/vnetd/%s.http",
                                 ERROR_QUOTE(o->http_api), c->name);
        c->http_api = strdup(a.path);
        return c->http_api ? 0 : error_set(e, ERROR_NO_MEMORY, "Out of memory");
}

/* What of @o can be told wrong without the network. */
static int apply_options(Manager *m, NetworkConfig *c, uint32_t uid, const NetworkOptions *o, Error *e) {
        int r;

        if (o->mtu != 0 && (o->mtu < DEVICE_MTU_MIN || o->mtu > DEVICE_MTU_MAX))
                return error_set(e, ERROR_INVALID_ARGS, "Mtu %u is not between %d and %d", o->mtu, DEVICE_MTU_MIN, DEVICE_MTU_MAX);
        if (o->lease_sec != 0 && (o->lease_sec < CONFIG_LEASE_SEC_MIN || o->lease_sec > CONFIG_LEASE_SEC_MAX))
                return error_set(e, ERROR_INVALID_ARGS, "A lease time of %u s is not between %d s and %d s", o->lease_sec,
                                 CONFIG_LEASE_SEC_MIN, CONFIG_LEASE_SEC_MAX);
        if (o->mtu != 0)
                c->stack.mtu = o->mtu;
        if (o->lease_sec != 0)
                c->stack.lease_sec = o->lease_sec;

        r = set_subnet(m, c, o->subnet, e);
        if (r >= 0)
                r = set_gateway(c, o, e);
        if (r >= 0)
                r = set_subnet6(m, c, o->subnet6, e);
        if (r >= 0)
                r = set_nat64(c, o->nat64, e);
        if (r >= 0)
                r = set_reflect(c, o->reflect, e);
        if (r >= 0)
                r = set_domain(c, o->domain, e);
        if (r >= 0)
                r = set_dns_servers(c, o->dns_servers, e);
        if (r >= 0)
                r = set_dns_routes(c, o->dns_routes, e);
        if (r >= 0)
                r = set_host_loopback(m, c, uid, o->host_loopback, e);
        if (r >= 0)
                r = manager_set_policy(m, c, uid, o, e);
        if (r >= 0)
                r = set_http(c, uid, o, e);
        if (r >= 0)
                r = manager_set_maps(m, c, uid, o, e);
        return r;
}

int manager_add_static_leases(Network *n, const char *const *leases, Error *e) {
        const NetstackConfig *s = &network_config(n)->stack;
        size_t count = 0;
        int r;

        for (; leases && leases[0]; leases += 2, count++) {
                Lease l = { .expires = USEC_INFINITY, .is_static = true };

                if (ip_parse(leases[0], &l.addr) < 0 || !prefix_contains(&s->subnet, &l.addr))
                        return error_set(e, ERROR_INVALID_ARGS, "Static lease of '%s': no address in %s", ERROR_QUOTE(leases[0]),
                                         PREFIX_TO_TEXT(&s->subnet));
                if (!leases[1] || mac_parse(leases[1], &l.mac) < 0 || mac_is_multicast(&l.mac) || mac_is_zero(&l.mac))
                        return error_set(e, ERROR_INVALID_ARGS, "Static lease of '%s': '%s' is no MAC address of a guest",
                                         ERROR_QUOTE(leases[0]), ERROR_QUOTE(leases[1] ?: ""));
                if (count == CONFIG_LIST_MAX)
                        return error_set(e, ERROR_QUOTA_EXCEEDED, "More than %d static leases", CONFIG_LIST_MAX);
                r = network_add_lease(n, &l);
                if (r == -EEXIST)
                        return error_set(e, ERROR_INVALID_ARGS, "Static lease of '%s' to '%s': the address or the MAC has another",
                                         ERROR_QUOTE(leases[0]), ERROR_QUOTE(leases[1]));
                if (r == -EINVAL)
                        return error_set(e, ERROR_INVALID_ARGS, "Static lease of '%s': that is no address a guest can have",
                                         ERROR_QUOTE(leases[0]));
                if (r < 0)
                        return error_set_errno(e, r, "Static lease of '%s'", ERROR_QUOTE(leases[0]));
        }
        return 0;
}

/* ---- making and removing ---- */

static int check_new(Manager *m, const char *name, uint32_t uid, Error *e) {
        unsigned mine = 0;

        if (!name_is_valid(name))
                return error_set(e, ERROR_INVALID_ARGS,
                                 "'%s' cannot be the name of a network: 1 to %d letters, digits, '_', '.' and '-', beginning with none of '.-'",
                                 ERROR_QUOTE(name), NAME_MAX_LEN);
        if (manager_network(m, name))
                return error_set(e, ERROR_NETWORK_EXISTS, "Network '%s' exists", name);
        if (HASH_COUNT(m->networks) >= MANAGER_NETWORKS_MAX)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "Network '%s': there are %d already, no more can be made", name,
                                 MANAGER_NETWORKS_MAX);

        for (Network *n = NULL; (n = manager_next_network(m, n));)
                mine += network_config(n)->owner == uid;
        if (manager_uid_is_limited(uid) && mine >= MANAGER_PER_USER_NETWORKS_MAX)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "Network '%s': user %u has %u already, as many as a user may have", name, uid,
                                 mine);
        return 0;
}

static int start_network(Manager *m, NetworkConfigBox *box, const NetworkOptions *o, Network **ret, Error *e) {
        _cleanup_(network_freep) Network *n = NULL;
        const Resolv *resolv;
        int r;

        r = network_new(&n, &box->config, m->control, &network_handler, m);
        if (r < 0)
                return error_set_errno(e, r, "Cannot start network '%s'", box->config.name);
        box->taken = true;

        r = manager_add_static_leases(n, o->static_leases, e);
        if (r < 0)
                return r;
        r = network_set_dns_routes(n, network_config(n)->dns_routes, network_config(n)->n_dns_routes);
        if (r < 0)
                return error_set_errno(e, r, "Cannot start network '%s'", network_config(n)->name);
        if (m->resolv) {
                resolv = resolv_watch_current(m->resolv);
                r = network_set_resolvers(n, resolv->servers, resolv->n_servers, (const char *const *) resolv->search,
                                          resolv->n_search);
                if (r < 0)
                        return error_set_errno(e, r, "Cannot start network '%s'", network_config(n)->name);
        }
        if (m->links) {
                r = network_set_links(n, host_links_watch_current(m->links));
                if (r < 0)
                        return error_set_errno(e, r, "Cannot start network '%s'", network_config(n)->name);
        }
        if (m->http) {
                r = m->http->open(n, m->http_userdata, e);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(n);
        return 0;
}

int manager_add_network(Manager *m, const char *name, uint32_t uid, Origin origin, const NetworkOptions *o, Network **ret, Error *e) {
        _cleanup_(network_config_boxp) NetworkConfigBox box = { .taken = true };
        _cleanup_free_ NetworkEntry *entry = NULL;
        Network *n;
        int r;

        r = check_new(m, name, uid, e);
        if (r < 0)
                return r;
        entry = calloc(1, sizeof(*entry));
        if (!entry || network_config_defaults(&box.config, name) < 0)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        box.taken = false;
        box.config.owner = uid;

        r = apply_options(m, &box.config, uid, o, e);
        if (r < 0)
                return r;
        r = start_network(m, &box, o, &entry->network, e);
        if (r < 0)
                return r;

        n = entry->network;
        entry->origin = origin;
        memcpy(entry->name, name, strlen(name) + 1);
        HASH_ADD_STR(m->networks, name, entry);
        entry = NULL; /* the hash's now */
        const NetstackConfig *s = &network_config(n)->stack;
        log_info("Network '%s' is up: %s, gateway %s", name, PREFIX_TO_TEXT(s->no_ip4 ? &s->subnet6 : &s->subnet),
                 IP_TO_TEXT(s->no_ip4 ? &s->gateway6 : &s->gateway));
        manager_tell_network(m, n, MANAGER_ADDED);
        state_changed(m, STATE_NETWORKS);
        if (ret)
                *ret = n;
        return 0;
}

int manager_create_network(Manager *m, const char *name, uint32_t uid, const NetworkOptions *o, Network **ret, Error *e) {
        return manager_add_network(m, name, uid, ORIGIN_CALL, o, ret, e);
}

int manager_remove_network(Manager *m, Network *n, Error *e) {
        NetworkEntry *entry = manager_network_entry(m, n);

        assert(entry);
        state_hold(m);
        for (ManagedForward *f = manager_next_forward(m, NULL), *next; f; f = next) {
                next = manager_next_forward(m, f);
                if (f->network == n)
                        manager_drop_forward(m, f);
        }
        for (ManagedDevice *d = manager_next_device(m, NULL), *next; d; d = next) {
                next = manager_next_device(m, d);
                if (d->network == n)
                        manager_drop_device(m, d);
        }

        manager_stop_listening(m, n);
        log_info("Network '%s' is removed", entry->name);
        manager_tell_network(m, n, MANAGER_REMOVED);
        if (m->http)
                m->http->close(n, m->http_userdata);
        state_forget_leases(m, entry->name);
        HASH_DEL(m->networks, entry);
        network_free(n);
        manager_free_zones(entry);
        free(entry);
        state_changed(m, STATE_NETWORKS);
        state_release(m);
        return 0;
}

/* ---- finding ---- */

Network *manager_network(Manager *m, const char *name) {
        NetworkEntry *entry;

        HASH_FIND_STR(m->networks, name, entry);
        return entry ? entry->network : NULL;
}

NetworkEntry *manager_network_entry(Manager *m, const Network *n) {
        for (NetworkEntry *entry = m->networks; entry; entry = entry->hh.next)
                if (entry->network == n)
                        return entry;
        return NULL;
}

Network *manager_next_network(Manager *m, Network *after) {
        NetworkEntry *entry = after ? manager_network_entry(m, after)->hh.next : m->networks;

        return entry ? entry->network : NULL;
}
