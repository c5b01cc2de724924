/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* DNS inside: dns.c takes queries and relays them by UDP, dns-stream.c serves TCP clients, dns-local.c answers for what is ours; dns-answer.c is
 * what the answers built here share. */

#include "basic/timerq.h"
#include "netstack/dns-cache.h"
#include "netstack/dns-message.h"
#include "netstack/dns-zone.h"
#include "netstack/dns.h"
#include "netstack/netstack-private.h"

#define DNS_PORT 53
#define DNS_UDP_ROOM_MIN 512      /* RFC 1035 2.3.4 */
#define DNS_UDP_ROOM_MAX 1232     /* what we say and use as EDNS size: never fragmented */
#define DNS_QUERY_MAX 4096        /* a relayed query; it is kept for the next resolver */
#define DNS_PENDING_GUEST_MAX (DNS_PENDING_MAX / 4)
#define DNS_PENDING_PORT_MAX (DNS_PENDING_MAX / 4 * 3) /* behind one port, whose guests may have as many addresses as they like */
#define DNS_GUESTS_MAX 256        /* rate buckets; guests beyond share them */
#define DNS_GUEST_PER_SEC 100000 /* half a core of answers; what is relayed has its places besides */
#define DNS_GUEST_BURST 100000
#define DNS_READS_MAX 64          /* datagrams and errors taken of one query's socket before the others have their turn */
#define DNS_PREFER_USEC (30 * USEC_PER_SEC) /* a resolver that answered in place of a silent one goes first this long */
#define DNS_STREAMS_GUEST_MAX (DNS_STREAMS_MAX / 4)
#define DNS_STREAMS_PORT_MAX (DNS_STREAMS_MAX / 4 * 3)
#define DNS_STREAM_QUERIES_MAX 16 /* of one TCP client under way; it is not read further then */
#define DNS_STREAM_IDLE_USEC (10 * USEC_PER_SEC)

/* Our cookies' numbering: pending UDP queries, TCP clients, their connections to resolvers. */
#define DNS_INDEX_STREAM DNS_PENDING_MAX
#define DNS_INDEX_UPSTREAM (DNS_INDEX_STREAM + DNS_STREAMS_MAX)

typedef struct DnsStream DnsStream;

typedef struct DnsAnswer {
        uint8_t *data; /* (owned) */
        size_t len;
} DnsAnswer;

#define DNS_ROUTE_NONE (-1) /* the resolvers for everything that has none of its own */

typedef enum Dns64Stage {
        DNS64_STAGE_NONE, /* no concern of DNS64's */
        DNS64_STAGE_AAAA, /* IPv6 addresses were asked for */
        DNS64_STAGE_A,    /* there were none: IPv4 addresses are asked for */
        DNS64_STAGE_PTR,  /* the name of an IPv4 address is asked for in place of one of the prefix */
} Dns64Stage;

typedef struct Dns64 { /* of a relayed query: dns64.h */
        Dns64Stage stage;
        DnsQuestion question; /* the client's */
        DnsAnswer kept;       /* (owned) the answer that said there are none */
        uint32_t ttl;         /* how long that holds */
} Dns64;

/* A query relayed by UDP. */
typedef struct DnsPending {
        bool used;
        uint32_t generation;
        int fd;             /* (owned) a socket of its own */
        uint16_t id, client_id;
        int route;            /* DNS_ROUTE_NONE, or which of Dns.routes */
        uint8_t first, tries; /* the resolver it began with; how many were asked */
        Endpoint client, server, resolver;
        uint32_t port;      /* of the netstack, that the client is behind */
        DnsQuestion question;
        uint8_t *query;     /* (owned) */
        size_t len;
        Dns64 dns64;        /* (owned) */
        Timer timer;
} DnsPending;

struct Dns {
        Netstack *stack; /* (borrowed) owner */
        uint64_t seed;
        struct {
                IpAddr addr;
                usec_t rate;
        } guests[DNS_GUESTS_MAX];

        DnsPending *pending; /* (owned) DNS_PENDING_MAX */
        uint32_t n_pending, next_pending;
        uint8_t preferred;   /* the resolver asked first ... */
        usec_t preferred_until;

        DnsStream *streams[DNS_STREAMS_MAX]; /* (owned, nullable) */
        uint32_t stream_generation[DNS_STREAMS_MAX], upstream_generation[DNS_STREAMS_MAX];

        uint8_t *buf; /* (owned) DNS_MESSAGE_MAX: what is being read */

        DnsCache *cache; /* (owned) */
        DnsZone *zones[DNS_ZONES_MAX]; /* (owned) in the order they came */
        size_t n_zones;
        NetstackDnsRoute *routes; /* (owned) */
        size_t n_routes;
};

typedef enum DnsAction {
        DNS_ACTION_DROP,   /* counted */
        DNS_ACTION_ANSWER,
        DNS_ACTION_RELAY,
} DnsAction;

/* What becomes of a query of either transport. ANSWER: @ret_answer is the caller's. */
DnsAction dns_consider(Dns *d, const Endpoint *client, bool udp, const uint8_t *msg, size_t len, DnsQuestion *ret_question,
                       DnsAnswer *ret_answer);

/* A copied error answer; data NULL without memory. */
DnsAnswer dns_error_answer(const DnsHeader *query, const DnsQuestion *question, DnsRcode rcode);
DnsAnswer dns_servfail(const uint8_t *query, size_t len, uint16_t client_id, const DnsQuestion *question);

int dns_route(const Dns *d, const DnsQuestion *q); /* the longest domain the name is in */
uint8_t dns_first_resolver(Dns *d, int route);
const Endpoint *dns_resolver(const Dns *d, int route, uint8_t first, uint8_t nth); /* NULL when there is none */
void dns_resolver_answered(Dns *d, const Endpoint *resolver);
uint16_t dns_random_id(Dns *d);

void dns_stream_event(Dns *d, uint32_t slot, bool upstream, uint32_t events);
void dns_streams_free(Dns *d);
