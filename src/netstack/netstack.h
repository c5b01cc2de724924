/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Netstack: the gateway of one network. Frames from guests go in, frames to guests come out, and between them stand the host's
 * sockets (host-ops.h). Translates TCP, UDP and ping; answers ARP, ICMP, DHCP and DNS itself. Pure: no system call, no clock, no
 * thread, no log. Everything runs on the network's thread; nothing here is thread-safe but the counters.
 */

#include "basic/addr.h"
#include "basic/cleanup.h"
#include "basic/counters.h"
#include "basic/frame.h"
#include "netstack/dhcp.h"
#include "netstack/host-ops.h"
#include "netstack/policy.h"

#define NETSTACK_RESOLVERS_MAX 8
#define NETSTACK_SEARCH_MAX 8
#define NETSTACK_NTP_MAX 4
#define NETSTACK_PORTAL_MAX 255 /* bytes: one option */
#define NETSTACK_TCP_FLOWS_MAX 65536 /* defaults of the limits below */
#define NETSTACK_UDP_FLOWS_MAX 16384
#define NETSTACK_PING_FLOWS_MAX 256
#define NETSTACK_HALF_OPEN_MAX 8192
#define NETSTACK_PARK_BYTES_MAX (64 * 1024 * 1024)

typedef struct Netstack Netstack;

typedef struct NetstackLimits {
        uint32_t tcp_flows, udp_flows, ping_flows, half_open; /* at most the table's size */
        uint64_t park_bytes; /* payload held for host sockets that took less than offered, and out of order, all flows together */
} NetstackLimits;

typedef struct NetstackConfig {
        MacAddr mac;          /* of the gateway, and of every address it answers for */
        IpPrefix subnet;      /* IPv4 */
        IpAddr gateway, host; /* in it */
        IpPrefix subnet6;     /* a /64; null: no IPv6 */
        IpAddr gateway6, host6;
        bool no_ip4;          /* guests have IPv6 alone; subnet and the addresses in it are nobody's then */
        IpPrefix nat64;       /* a /96 whose addresses stand for IPv4 ones; null: none */
        uint8_t reflect;      /* REFLECT_*: of these groups, between guests and the link of the host */
        uint32_t mtu;         /* cap for what DHCP offers; the device may carry less */
        char *domain;         /* (owned) "vnet.internal" */
        char *hostname;       /* (owned, nullable) short name of the host */
        bool host_loopback;   /* the host addresses lead to the host's loopback */
        Policy policy;        /* of what guests may reach, and where it is */
        uint32_t lease_sec;   /* DHCP lease time */
        IpAddr lease_first, lease_last; /* what DHCP gives to who has no static lease; null: the whole subnet */
        IpAddr ntp[NETSTACK_NTP_MAX];   /* of IPv4, told by DHCP to who asks */
        size_t n_ntp;
        char *captive_portal; /* (owned, nullable) URI, likewise (RFC 8910) */
        NetstackLimits limits;
        bool shard;           /* carries connections beside the network's own stack, which does all the rest: shard.h */
} NetstackConfig;

/* What one input port (a device) can carry; the guest behind it inherits it. */
typedef struct NetstackPort {
        uint32_t id;  /* for the switch; opaque here */
        uint32_t mtu; /* 0: 1500 */
        bool stream;  /* a stream socket carries the frames: those under way wait in the guest, and much is read at once */
        bool big;     /* it takes super-segments of IPv4 TCP of up to FRAME_BIG_MAX bytes, whose header says 0 for their length */
} NetstackPort;

enum { /* NetstackConfig.reflect */
        REFLECT_MDNS = 1 << 0, /* "mdns" */
        REFLECT_SSDP = 1 << 1, /* "ssdp" */
        _REFLECT_END = 1 << 2,
};
#define NETSTACK_REFLECT_MAX 2 /* of them */
uint8_t netstack_reflect_from_name(const char *name); /* 0: no such */
const char *netstack_reflect_to_name(uint8_t bit);    /* NULL: no such */

#define NAT64_WELL_KNOWN "64:ff9b::/96" /* RFC 6052 2.1 */
/* Can it stand for IPv4 addresses: 96 bits, unicast, bits 64 to 71 zero (RFC 6052 2.2)? */
bool nat64_prefix_is_valid(const IpPrefix *p);

void netstack_config_defaults(NetstackConfig *c); /* zeroes, then the numbers above; strings NULL */
void netstack_config_deinit(NetstackConfig *c);
int netstack_config_copy(NetstackConfig *dst, const NetstackConfig *src);

/* @config is copied. @ops, @userdata borrowed for life. 0, -ENOMEM, -EINVAL (addresses not in the subnet ...). */
int netstack_new(Netstack **ret, const NetstackConfig *config, const HostOps *ops, void *userdata);
Netstack *netstack_free(Netstack *s); /* resets guests' connections silently (no frames), closes sockets; returns NULL */
DEFINE_CLEANUP(Netstack *, netstack_free);

/* Frames from a guest, at most FRAME_BATCH_MAX. Everything they cause (answers, sends) is done on return. */
void netstack_input(Netstack *s, const NetstackPort *port, Frame *frames, unsigned n);
void netstack_host_event(Netstack *s, uint64_t cookie, uint32_t events); /* HOST_EVENT_*; answers wait for netstack_flush() */
void netstack_flush(Netstack *s);        /* sends what events produced: once after each batch of events */
void netstack_reap(Netstack *s);         /* frees what events closed: after netstack_flush(), before the next batch of events */
/* After a short output(): the device of @port (NetstackPort.id) has room again, or with 0 any may have. */
void netstack_output_ready(Netstack *s, uint32_t port);
usec_t netstack_next_timer(const Netstack *s);
void netstack_run_timers(Netstack *s);   /* at ops->now() */

/* The host's resolvers and search domains, as /etc/resolv.conf has them now. Copied; beyond the maxima cut. */
void netstack_set_resolvers(Netstack *s, const Endpoint *resolvers, size_t n, const char *const *search, size_t n_search);

/* Whether the host reaches the outside by each family now. Guests are told: without IPv6 the gateway is no default router. */
void netstack_set_uplink(Netstack *s, bool ip4, bool ip6);

/* ---- DNS that is the administrator's ---- */
typedef struct DnsZone DnsZone; /* netstack/dns-zone.h */

/* Puts up a zone, in place of one of the same name. Owned on success. 0; -ENOBUFS: DNS_ZONES_MAX. */
int netstack_set_zone(Netstack *s, DnsZone *zone);
int netstack_remove_zone(Netstack *s, const char *name); /* -ENOENT */

#define NETSTACK_DNS_ROUTES_MAX 64
#define NETSTACK_DNS_ROUTE_SERVERS_MAX 3
typedef struct NetstackDnsRoute { /* whom names in a domain are asked of */
        char domain[256];
        Endpoint servers[NETSTACK_DNS_ROUTE_SERVERS_MAX]; /* at least one */
        size_t n_servers;
} NetstackDnsRoute;
/* All of them anew. 0, -EINVAL (a domain that is none), -ENOBUFS, -ENOMEM. */
int netstack_set_dns_routes(Netstack *s, const NetstackDnsRoute *routes, size_t n);

/* The host has lost addresses: connections bound to one it has no more cannot live and are reset on both sides, at once. */
void netstack_check_addresses(Netstack *s);

/* A guest (by MAC) is gone for good: its flows are reset towards the host, its neighbour entry is forgotten, its lease
 * ends (a static one stays; any other's address waits for it). */
void netstack_forget_guest(Netstack *s, const MacAddr *mac);

const Counters *netstack_counters(const Netstack *s); /* readable from any thread */

/* ---- forwards in ---- */
typedef enum ForwardSource {
        FORWARD_SOURCE_CLIENT,  /* the guest sees the client's own address where it can be routed back */
        FORWARD_SOURCE_GATEWAY,
} ForwardSource;

typedef struct ForwardConfig {
        uint32_t id;        /* chosen by the caller, unique */
        uint8_t proto;      /* IPPROTO_TCP, IPPROTO_UDP */
        Endpoint local;     /* what the listener is bound to, for the record */
        Endpoint remote;    /* guest address and port; null address: the only guest with a lease, asked at each connection */
        char hostname[DHCP_HOSTNAME_MAX + 1]; /* with a null address: not the only guest, but the one whose lease says so; "" none */
        ForwardSource source;
        bool no_bypass;      /* of TCP: all clients go through the gateway */
        bool ends_with_peer; /* of UDP: the socket has one peer, and when that hangs up the forward is removed */
} ForwardConfig;

typedef struct ForwardStats {
        uint64_t connections, rx_bytes, tx_bytes; /* rx: from the guest */
        uint32_t active;
} ForwardStats;

/* @fd: listening (TCP) or bound (UDP), non-blocking; owned on success. 0, -EEXIST, -ENOMEM, -ENOBUFS. */
int netstack_forward_add(Netstack *s, const ForwardConfig *config, int fd);
int netstack_forward_remove(Netstack *s, uint32_t id); /* closes the listener at once; established connections live on; -ENOENT */
int netstack_forward_stats(const Netstack *s, uint32_t id, ForwardStats *ret);

/* What becomes of a connection that HostOps.bypass() has taken: bytes (@rx: from the guest), its end, or that it could not be made so: then it
 * goes the usual way, @fd is ours again, and its end ours to count. */
void netstack_bypass_moved(Netstack *s, const HostBypass *what, uint64_t rx, uint64_t tx);
void netstack_bypass_ended(Netstack *s, const HostBypass *what);
void netstack_bypass_failed(Netstack *s, const HostBypass *what, int fd);

/* Opens a TCP connection to a guest, from the gateway's address, whose bytes go through @fd, a connected stream socket: owned on success.
 * When the guest refuses, @fd is closed. 0, -EHOSTUNREACH (no address of a guest), -ENOBUFS, -EADDRINUSE, -ENOMEM. */
int netstack_connect(Netstack *s, const Endpoint *guest, int fd);

/* TCP ports of the gateway that are served outside: each client comes there by HostOps.service_open(). 0; -EINVAL: not to be had; -EEXIST;
 * -ENOBUFS. Removing closes no connection; -ENOENT. */
#define NETSTACK_SERVICES_MAX 16
int netstack_add_service(Netstack *s, uint16_t port);
int netstack_remove_service(Netstack *s, uint16_t port);

/* ---- what is there, for lists ---- */
typedef struct FlowInfo {
        uint8_t proto; /* IPPROTO_TCP, _UDP, _ICMP */
        bool inbound;
        Endpoint guest, remote; /* remote: as the guest sees it; port 0 for UDP mappings */
        const char *state;      /* static text: "established" */
        uint64_t rx_bytes, tx_bytes, parked_bytes;
        uint32_t retransmits;
        usec_t created, last_used;
} FlowInfo;

/* Array owned by the caller (free()). At most @max entries, in no order. */
int netstack_list_flows(const Netstack *s, size_t max, FlowInfo **ret, size_t *ret_n);

typedef struct NetstackStats {
        uint32_t tcp_flows, udp_flows, ping_flows, half_open, neighbours, leases, fragments_held;
        uint64_t parked_bytes, parked_peak, partial_sends, retransmits, rto_fired, fast_retransmits, dup_acks_sent, zero_window_probes;
        uint64_t frames_in, batches_in, frames_out, batches_out, host_events, turns;
        uint64_t tcp_opened, tcp_refused, udp_opened;
        uint64_t bypassed, bypass_failed, bypassed_bytes; /* of connections led past us: who does so knows, and fills in */
} NetstackStats;
void netstack_get_stats(const Netstack *s, NetstackStats *ret);

/* Leases: see netstack/dhcp.h. */
bool netstack_has_lease(const Netstack *s, const IpAddr *a, const MacAddr *mac); /* is @a leased to @mac, now? */
int netstack_list_leases(const Netstack *s, Lease **ret, size_t *ret_n); /* array owned by the caller */
int netstack_add_lease(Netstack *s, const Lease *lease);                 /* static lease, or one restored from before a restart */
