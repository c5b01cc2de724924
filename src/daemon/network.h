/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Network: one Ethernet segment on a thread of its own: a loop, a netstack, the devices plugged in, the switch between them, and
 * the host's sockets. All functions are for the control thread unless said otherwise; they borrow the network's thread by
 * loop_call() and wait. The network never waits for the control thread: it posts facts through NetworkHandler.
 */

#include "basic/loop.h"
#include "daemon/host-links.h"
#include "daemon/host-sockets.h"
#include "daemon/lender.h"
#include "device/device.h"
#include "netstack/dhcp.h"
#include "netstack/netstack.h"

/* What of the HTTP API guests find at port 80 of the gateway. */
typedef enum HttpGateway {
        HTTP_GATEWAY_OFF,
        HTTP_GATEWAY_READ,        /* what is there */
        HTTP_GATEWAY_FORWARD,     /* forwards, TCP and UDP */
        HTTP_GATEWAY_FORWARD_ALL, /* forwards, Unix sockets of the host too */
} HttpGateway;

typedef struct NetworkConfig {
        char *name;           /* (owned) */
        uint32_t owner;       /* uid who made it */
        NetstackConfig stack;
        Endpoint dns_servers[NETSTACK_RESOLVERS_MAX]; /* instead of the host's; none: follow /etc/resolv.conf */
        size_t n_dns_servers;
        NetstackDnsRoute *dns_routes; /* (owned) */
        size_t n_dns_routes;
        char *http_api;       /* (owned, nullable) path of the socket the network's HTTP API is served at */
        HttpGateway http_gateway;
        char *search[NETSTACK_SEARCH_MAX + 1]; /* (owned) instead of the host's search domains; none: those */
        HostSource source;                     /* what leaves the host does so from there */
        char **dhcp, **outbound;               /* (owned, nullable) these, as asked: pairs, NULL-terminated */
} NetworkConfig;

/* Defaults of the network `default` for @name (interfaces.md): 192.168.127.0/24 and so on. The ULA /64 is derived from @name and the
 * machine id. 0 or -ENOMEM. */
int network_config_defaults(NetworkConfig *c, const char *name);
/* Puts subnet, gateway (.1) and host (last usable) in place. -EINVAL: not IPv4 or smaller than /29 or not a private unicast range. */
int network_config_set_subnet(NetworkConfig *c, const IpPrefix *subnet);
/* No IPv4: in its place stands the prefix of RFC 7335, which is nobody's address anywhere, so that what has to be told apart still is. */
void network_config_set_no_ip4(NetworkConfig *c);
void network_config_deinit(NetworkConfig *c);

typedef struct Network Network;

/* What a port of the switch allows. */
typedef struct PortOptions {
        bool isolated; /* reaches the gateway and ports that are not isolated; broadcasts likewise */
        bool guarded;  /* may send from one MAC address only (its device's, or the first it used), and from the IPv4 address leased to that;
                        * answers no DHCP requests of others */
        Lender *lender; /* (nullable) sockets of the guest's namespace: network_attach() takes them, whatever comes of it, until the device is detached */
        bool parallel; /* each further queue of the device is served by a thread of its own; not of a guarded one */
} PortOptions;

/* Facts, delivered on the control thread's loop (the @control of network_new()). */
typedef struct NetworkHandler {
        void (*lease_changed)(Network *n, const Lease *lease, bool added, void *userdata);
        void (*device_gone)(Network *n, Device *d, int error, void *userdata); /* detached already; free it */
        /* A guest (@guest) has connected to a port of the gateway that network_add_service() named. @fd is the receiver's. */
        void (*service)(Network *n, uint16_t port, const Endpoint *guest, int fd, void *userdata);
        /* One for many, when they come quickly: what @device is now, device_is_down() says. It may be gone by now. */
        void (*device_event)(Network *n, const char *device, DeviceEvent event, int error, void *userdata);
} NetworkHandler;

/* @config is taken over on success. @control: the control thread's loop, for posting. */
int network_new(Network **ret, NetworkConfig *config, Loop *control, const NetworkHandler *handler, void *userdata);
Network *network_free(Network *n); /* devices must be detached before; returns NULL */
DEFINE_CLEANUP(Network *, network_free);

const NetworkConfig *network_config(const Network *n);

int network_attach(Network *n, Device *d, const PortOptions *options); /* starts it; the network drives it from here on; (borrowed: until detach) */
int network_detach(Network *n, Device *d); /* stops it; -ENOENT when it is not attached here */

/* Runs @fn(@d, loop, @arg) on the network's thread and returns what it returned; -ENOENT when @d is not, or no longer, attached here. */
typedef int (*NetworkDeviceFn)(Device *d, Loop *loop, void *arg);
int network_with_device(Network *n, Device *d, NetworkDeviceFn fn, void *arg);

int network_forward_add(Network *n, const ForwardConfig *f, int fd); /* fd owned on success */
int network_forward_remove(Network *n, uint32_t id);
int network_forward_stats(Network *n, uint32_t id, ForwardStats *ret);

#define NETWORK_SERVICE_PENDING_MAX 64 /* connections on their way to NetworkHandler.service: more are refused */
/* As netstack_add_service(). @path (nullable): a Unix socket of the host that its clients are connected to, and of which NetworkHandler.service
 * hears nothing. -ENAMETOOLONG. */
int network_add_service(Network *n, uint16_t port, const char *path);
int network_remove_service(Network *n, uint16_t port);

int network_connect(Network *n, const Endpoint *guest, int fd); /* fd owned, whatever comes of it; as netstack_connect() */
/* The same for datagrams: @fd is one end of a pair of SOCK_SEQPACKET; it is closed when the other end is. */
#define NETWORK_TUNNEL_ID UINT32_C(0xf0000000) /* the netstack knows each as a forward, with an id from there on */
int network_connect_dgram(Network *n, const Endpoint *guest, int fd);
typedef struct NetworkMac {
        MacAddr mac;
        uint16_t port; /* of the switch, from 1 on */
} NetworkMac;
int network_list_macs(Network *n, NetworkMac **ret, size_t *ret_n); /* where guests were seen; owned by the caller */
int network_list_leases(Network *n, Lease **ret, size_t *ret_n);
int network_add_lease(Network *n, const Lease *l);
int network_list_flows(Network *n, size_t max, FlowInfo **ret, size_t *ret_n);
int network_get_stats(Network *n, NetstackStats *ret_stats, Counters *ret_counters); /* (nullable) the gateway's; the devices have their own */
usec_t network_now(const Network *n);               /* the clock leases and flows are stamped with, read anew; any thread */

int network_set_zone(Network *n, DnsZone *zone); /* owned on success; as netstack_set_zone() */
int network_remove_zone(Network *n, const char *name);
int network_set_dns_routes(Network *n, const NetstackDnsRoute *routes, size_t n_routes);

/* Whether the host has a way out by each family, and whether addresses have gone: connections from these are reset. */
int network_set_links(Network *n, const HostLinks *links);

/* The host's resolvers as /etc/resolv.conf has them; ignored when the config names its own. */
int network_set_resolvers(Network *n, const Endpoint *resolvers, size_t n_resolvers, const char *const *search, size_t n_search);
