/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the protocols of one gateway share. Each protocol decides in its own file; ip hands down and never reaches across; flow is the
 * one table. Included by netstack/ and its tests alone.
 */

#include "basic/iovcur.h"
#include "basic/timerq.h"
#include "netstack/netstack.h"

#define TX_ARENA_LEN (2304 * 1024) /* outgoing bytes, at most, between two flushes */
#define TX_FLUSH_LEN (520 * 1024)  /* beyond so many nothing is added to what waits: it is in the cache still */
#define PORT_SHARES 64 /* rates are kept for each port; ports beyond share them */
#define TX_HEADROOM (ETH_HEADER_LEN + 40) /* in front of the L4 bytes: Ethernet and the longer IP header */

typedef struct Arp Arp;
typedef struct Nd Nd;
typedef struct Fragments Fragments;
typedef struct Dhcp Dhcp;
typedef struct Dhcp6Names Dhcp6Names;
typedef struct Dns Dns;
typedef struct FlowTable FlowTable;
typedef struct Tcp Tcp;
typedef struct Udp Udp;
typedef struct Icmp Icmp;
typedef struct Ping Ping;
typedef struct Multicast Multicast;
typedef struct ForwardTable ForwardTable;

struct Netstack {
        NetstackConfig config;
        IpAddr link_local6; /* the gateway's; null: no IPv6 */
        const HostOps *ops; /* (borrowed) */
        void *userdata;     /* (borrowed) of ops */
        TimerQueue timers;  /* userdata: the Netstack */
        Counters counters;
        NetstackStats stats; /* the counting part; sizes are filled in by netstack_get_stats() */

        Arp *arp;             /* (owned) all of these, made in this order */
        Nd *nd;
        Fragments *fragments;
        FlowTable *flows;
        ForwardTable *forwards;
        Icmp *icmp;
        Ping *ping;
        Multicast *multicast;
        Udp *udp;
        Tcp *tcp;
        Dhcp *dhcp;
        Dhcp6Names *names6; /* NULL of a shard, which nobody asks for names */
        Dns *dns;

        Endpoint resolvers[NETSTACK_RESOLVERS_MAX];
        size_t n_resolvers;
        char *search[NETSTACK_SEARCH_MAX]; /* (owned) */
        size_t n_search;

        const NetstackPort *port; /* (borrowed) of the batch being read; NULL outside netstack_input() */

        /* frames waiting for netstack_flush() */
        uint8_t *arena; /* (owned) TX_ARENA_LEN */
        size_t arena_used;
        Frame out[FRAME_BATCH_MAX];
        struct iovec out_iov[FRAME_BATCH_MAX];
        uint32_t out_flow[FRAME_BATCH_MAX]; /* index of the TCP flow whose data the frame carries; 0: none */
        uint32_t tx_flow; /* the same for the frame about to be committed; netstack_tx_commit() clears it */
        bool tx_asks; /* Frame.asks of the frames committed now */
        unsigned n_out;
        usec_t dhcp6_rate[PORT_SHARES]; /* of answers */
        uint16_t services[NETSTACK_SERVICES_MAX]; /* TCP ports of the gateway served outside; 0: free */
        uint16_t ip_id; /* of datagrams that may be fragmented (RFC 6864) */
};

bool netstack_has_service(const Netstack *s, uint16_t port);

/* Behind which port the guest is that is being heard; 0: none. */
static inline uint32_t netstack_port_id(const Netstack *s) {
        return s->port ? s->port->id : 0;
}

static inline usec_t netstack_now(const Netstack *s) {
        return s->ops->now(s->userdata);
}
static inline void netstack_drop(Netstack *s, Drop reason) {
        counters_drop(&s->counters, reason);
}

/* A packet on its way up, parsed once. */
typedef struct Packet {
        MacAddr src_mac, dst_mac;
        IpAddr src, dst;
        uint8_t proto;      /* IPPROTO_* of the L4 header */
        uint8_t ttl, tos;
        uint16_t proto_at;  /* IPv6: where in the packet that is said */
        bool csum_ok;       /* the L4 checksum need not be verified (NEEDS_CSUM, DATA_VALID, or a whole reassembled one) */
        bool fragmented;    /* came in pieces */
        uint8_t gso_type;   /* VIRTIO_NET_HDR_GSO_* without the ECN bit */
        uint16_t gso_size;
        IovCur ip;          /* from the IP header on: for ICMP errors, which quote it */
        IovCur l4;          /* exactly the L4 bytes: header and payload, padding trimmed */
} Packet;

/* ---- output (ip.c over netstack.c) ---- */

/* Returns where L4 bytes of up to @l4_len may be written; TX_HEADROOM bytes in front are free. Flushes when the arena is full, so
 * earlier frames may leave. Reserving does not use the room up: ip_send() does. @l4_len at most TX_ARENA_LEN - TX_HEADROOM. */
uint8_t *netstack_tx_reserve(Netstack *s, size_t l4_len);

/* Queues an Ethernet frame whose bytes lie in the reserved room, [@data, @data + @len). @hdr NULL: all zero. Flushes at
 * FRAME_BATCH_MAX. */
void netstack_tx_commit(Netstack *s, uint8_t *data, size_t len, const struct virtio_net_hdr_v1 *hdr);

/* ---- input, bottom up ---- */
void arp_input(Netstack *s, const MacAddr *src_mac, IovCur *payload);
void ip4_input(Netstack *s, const Frame *frame, const MacAddr *src_mac, const MacAddr *dst_mac, IovCur *payload);
void ip6_input(Netstack *s, const Frame *frame, const MacAddr *src_mac, const MacAddr *dst_mac, IovCur *payload);
void icmp4_input(Netstack *s, Packet *p);
void icmp6_input(Netstack *s, Packet *p);
void udp_input(Netstack *s, Packet *p);
void tcp_input(Netstack *s, Packet *p); /* may keep pointers into the batch until tcp_input_done() */
void tcp_input_done(Netstack *s);       /* the batch is over: one send a flow, one ACK a flow */
void udp_input_done(Netstack *s);       /* the same: one send a socket */

/* shard.c: a TCP segment of no connection here, by HostOps.offer(). False: nobody else serves the port, or they have no such connection. */
bool netstack_offer(Netstack *s, const Packet *p);

static inline bool netstack_has_ip4(const Netstack *s) {
        return !s->config.no_ip4;
}
static inline bool netstack_has_ip6(const Netstack *s) {
        return !ip_is_null(&s->link_local6);
}
/* Is it an address the gateway answers for itself (ARP, ND, ping, services)? */
static inline bool netstack_is_gateway(const Netstack *s, const IpAddr *a) {
        return ip_equal(a, &s->config.gateway) || (policy_has_address(&s->config.policy, a) && !policy_real(&s->config.policy, a)) ||
               (netstack_has_ip6(s) && (ip_equal(a, &s->config.gateway6) || ip_equal(a, &s->link_local6)));
}
static inline bool netstack_is_host(const Netstack *s, const IpAddr *a) {
        return ip_equal(a, &s->config.host) || (!ip_is_null(&s->config.host6) && ip_equal(a, &s->config.host6));
}
/* Is it an address guests of the network have, or could have, in either family? */
static inline bool netstack_is_inside(const Netstack *s, const IpAddr *a) {
        return prefix_contains(&s->config.subnet, a) || (netstack_has_ip6(s) && prefix_contains(&s->config.subnet6, a));
}
static inline bool netstack_is_ours(const Netstack *s, const IpAddr *a) {
        return netstack_is_gateway(s, a) || netstack_is_host(s, a) || policy_real(&s->config.policy, a);
}

/* Where a guest's packet by @proto for @dst goes in the host's world: 0 and @ret_dst (the host address becomes loopback where allowed), or
 * -EACCES: policy (a rule, no host loopback), -ENETUNREACH: no such destination for a socket (0/8, 127/8, 224/4, 240/4, the guest's own subnet). */
int netstack_route_out(const Netstack *s, uint8_t proto, const Endpoint *dst, Endpoint *ret_dst);
/* The reverse for sources: an address of the host's world as the guest sees it (loopback becomes the host address, a real one that
 * is mapped the virtual one). */
IpAddr netstack_source_in(const Netstack *s, const IpAddr *src);
/* The same as @guest sees it, who may have NAT64 between (nat64.h). */
IpAddr netstack_source_for(const Netstack *s, const IpAddr *guest, const IpAddr *src);
/* The gateway as somebody with address @a speaks to it: of the same family, and link-local to link-local. */
IpAddr netstack_gateway_for(const Netstack *s, const IpAddr *a);
