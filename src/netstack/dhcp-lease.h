/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The lease table of the DHCP server: which client has, had or was offered which address. Private to dhcp.c and its tests. Fixed in
 * size, found by client, address or hostname through keyed hashes; entries never move.
 */

#include "netstack/dhcp.h"
#include "netstack/policy.h"

#define LEASE_DECLINED_MAX 64 /* addresses in quarantine at once, and never more than a quarter of the pool */

typedef enum LeaseState {
        LEASE_FREE,
        LEASE_OFFERED,  /* until lease.expires */
        LEASE_BOUND,    /* until lease.expires; a static one for ever */
        LEASE_PAST,     /* ended at lease.expires: the address waits for its client to come back, unless another needs it */
        LEASE_DECLINED, /* somebody else uses the address: nobody gets it until lease.expires */
} LeaseState;

enum { LEASE_BY_CLIENT, LEASE_BY_ADDR, LEASE_BY_NAME, _LEASE_BY_MAX };

typedef struct LeaseEntry {
        Lease lease;
        LeaseState state;
        bool was_bound;   /* OFFERED: goes back to PAST when nobody takes the offer */
        bool seen;        /* the client has asked for it (static ones exist before) */
        usec_t rate;      /* of the client's messages (rate.h) */
        uint32_t port;    /* it was given to, in the netstack's numbers; 0: not known */
        uint16_t next[_LEASE_BY_MAX]; /* index plus one in each chain; the free list uses the first */
        bool linked[_LEASE_BY_MAX];
} LeaseEntry;

typedef struct LeaseTable {
        IpPrefix subnet;
        IpAddr gateway, host;
        const Policy *policy; /* (borrowed, nullable) addresses that are the gateway's, too */
        uint64_t seed;
        uint32_t n_max;      /* entries, at most DHCP_LEASES_MAX; also addresses the pool gives out */
        uint32_t n_used;     /* entries ever used: what walks go over */
        uint16_t free_list;  /* index plus one */
        LeaseEntry *entries; /* (owned) */
        uint16_t *heads;     /* (owned) _LEASE_BY_MAX times n_max */
} LeaseTable;

int lease_table_init(LeaseTable *t, const IpPrefix *subnet, const IpAddr *gateway, const IpAddr *host, uint64_t seed);
void lease_table_deinit(LeaseTable *t);

/* May a client have @a: in the subnet, neither its first nor its last address, nor one of ours? */
bool lease_table_valid(const LeaseTable *t, const IpAddr *a);

/* @id of @id_len bytes; id_len 0: by @mac. A static lease keyed by MAC wins. NULL when there is none. */
LeaseEntry *lease_by_client(const LeaseTable *t, const uint8_t *id, size_t id_len, const MacAddr *mac);
LeaseEntry *lease_by_addr(const LeaseTable *t, const IpAddr *a); /* in any state but FREE */
LeaseEntry *lease_by_name(const LeaseTable *t, const char *label);
LeaseEntry *lease_next(const LeaseTable *t, const LeaseEntry *after); /* walks all that are not FREE; NULL begins */

/* A new entry, OFFERED and unnamed, expiring at once. The address must be free (lease_by_addr()). NULL when the table is full. */
LeaseEntry *lease_take(LeaseTable *t, const IpAddr *a, const uint8_t *id, size_t id_len, const MacAddr *mac);
void lease_drop(LeaseTable *t, LeaseEntry *e); /* to FREE */
void lease_forget_client(LeaseTable *t, LeaseEntry *e); /* nobody's any more, for quarantine */
void lease_set_name(LeaseTable *t, LeaseEntry *e, const char *label);

static inline bool lease_is_live(const LeaseEntry *e, usec_t now) {
        return e->state == LEASE_BOUND && e->lease.expires > now;
}
