/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The flow table: chunks of flows that never move, a free list through them, and a hash of chained indices. What it never does: touch
 * frames, speak a protocol, or reuse a slot within the batch that freed it. Chunks that have emptied are given back when they are the most
 * of all: generations are therefore the table's, not a slot's.
 *
 * An index is 32 bits, index 0 is never used so that 0 can end a chain. The hash grows by doubling while the table fills; moving all
 * flows then costs O(flows) a handful of times in a table's life, at 256, 512, ... flows.
 */

#include "netstack/flow.h"

#include <errno.h>

#include <xxhash.h>

#include "basic/trace.h"
#include "netstack/ping.h"
#include "netstack/tcp.h"
#include "netstack/udp.h"

#define BUCKETS_MIN 256u
#define EMPTY_CHUNKS_MIN 4u /* fewer are kept */

typedef struct Chunk {
        uint32_t n_used; /* slots, those closing among them */
        Flow flows[FLOW_CHUNK];
} Chunk;

struct FlowTable {
        Netstack *stack; /* (borrowed) */
        uint8_t secret[XXH3_SECRET_SIZE_MIN];
        Chunk **chunks;      /* (owned) some NULL: given back */
        uint32_t n_chunks;   /* those among them */
        uint32_t n_empty, n_gone; /* chunks without a flow; given back */
        uint32_t generation; /* of the newest flow */
        uint32_t *buckets;   /* (owned) first index of each chain; 0 ends */
        uint32_t n_buckets;  /* a power of two */
        uint32_t free;       /* first of the free list; 0: none */
        uint32_t closing;    /* first of those flow_reap() will free */
        uint32_t n_flows;
        uint32_t count[_FLOW_KIND_MAX];
};

Flow *flow_at(const FlowTable *t, uint32_t index) {
        return &t->chunks[index / FLOW_CHUNK]->flows[index % FLOW_CHUNK];
}

static uint32_t limit_of(const Netstack *s, FlowKind kind) {
        switch (kind) {
        case FLOW_TCP:
                return s->config.limits.tcp_flows;
        case FLOW_UDP:
                return s->config.limits.udp_flows;
        case FLOW_PING:
                return s->config.limits.ping_flows;
        case FLOW_NONE:
        case _FLOW_KIND_MAX:
                break;
        }
        return 0;
}

static uint32_t hash_key(const FlowTable *t, const FlowKey *key) {
        return (uint32_t) XXH3_64bits_withSecret(key, sizeof(*key), t->secret, sizeof(t->secret));
}

int flow_table_new(FlowTable **ret, Netstack *s) {
        FlowTable *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->stack = s;
        t->n_buckets = BUCKETS_MIN;
        t->buckets = calloc(t->n_buckets, sizeof(*t->buckets));
        if (!t->buckets) {
                free(t);
                return -ENOMEM;
        }
        s->ops->random(s->userdata, t->secret, sizeof(t->secret));
        *ret = t;
        return 0;
}

FlowTable *flow_table_free(FlowTable *t) {
        if (!t)
                return NULL;
        for (Flow *f = flow_next(t, NULL); f; f = flow_next(t, f))
                if (!f->closing)
                        flow_close(t->stack, f, /* reset= */ f->key.kind == FLOW_TCP);
        for (uint32_t i = 0; i < t->n_chunks; i++)
                free(t->chunks[i]);
        free(t->chunks);
        free(t->buckets);
        free(t);
        return NULL;
}

/* The place of a chunk to be made: the first that was given back, else one more. */
static int chunk_place(FlowTable *t, uint32_t *ret) {
        for (uint32_t i = 0; i < t->n_chunks && t->n_gone > 0; i++)
                if (!t->chunks[i]) {
                        *ret = i;
                        return 0;
                }
        Chunk **chunks = realloc(t->chunks, (t->n_chunks + 1) * sizeof(*chunks));
        if (!chunks)
                return -ENOMEM;
        t->chunks = chunks;
        *ret = t->n_chunks;
        return 0;
}

/* Strings the unused slots of chunk @place onto the free list, lowest index first. */
static void string_chunk(FlowTable *t, uint32_t place) {
        Chunk *c = t->chunks[place];
        for (uint32_t i = FLOW_CHUNK; i-- > 0;)
                if (c->flows[i].key.kind == FLOW_NONE && place + i > 0) { /* index 0 is "none" */
                        c->flows[i].next = t->free;
                        t->free = place * FLOW_CHUNK + i;
                }
}

/* Makes a further chunk. */
static int add_chunk(FlowTable *t) {
        uint32_t place;
        if (chunk_place(t, &place) < 0)
                return -ENOMEM;
        Chunk *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        for (uint32_t i = 0; i < FLOW_CHUNK; i++) {
                c->flows[i].index = place * FLOW_CHUNK + i;
                c->flows[i].fd = -EBADF;
        }
        t->chunks[place] = c;
        if (place == t->n_chunks)
                t->n_chunks++;
        else
                t->n_gone--;
        t->n_empty++;
        string_chunk(t, place);
        return 0;
}

/* Costs a walk over what stays; by then as much has been filled and emptied. */
void flow_shrink(FlowTable *t) {
        if (t->closing || t->n_empty < EMPTY_CHUNKS_MIN || t->n_empty <= (t->n_chunks - t->n_gone) / 2)
                return;
        t->free = 0;
        for (uint32_t i = t->n_chunks; i-- > 0;) {
                if (t->chunks[i] && t->chunks[i]->n_used == 0 && t->n_empty > 1) {
                        free(t->chunks[i]);
                        t->chunks[i] = NULL;
                        t->n_gone++;
                        t->n_empty--;
                } else if (t->chunks[i])
                        string_chunk(t, i);
        }
}

static void grow_buckets(FlowTable *t) {
        uint32_t n = t->n_buckets * 2;
        uint32_t *buckets = calloc(n, sizeof(*buckets));
        if (!buckets)
                return; /* longer chains, nothing worse */
        for (uint32_t b = 0; b < t->n_buckets; b++)
                for (uint32_t i = t->buckets[b]; i;) {
                        Flow *f = flow_at(t, i);
                        uint32_t next = f->next;
                        uint32_t *head = &buckets[f->hash & (n - 1)];
                        f->next = *head;
                        *head = i;
                        i = next;
                }
        free(t->buckets);
        t->buckets = buckets;
        t->n_buckets = n;
}

Flow *flow_find(FlowTable *t, const FlowKey *key) {
        uint32_t hash = hash_key(t, key);
        for (uint32_t i = t->buckets[hash & (t->n_buckets - 1)]; i;) {
                Flow *f = flow_at(t, i);
                if (f->hash == hash && memcmp(&f->key, key, sizeof(*key)) == 0)
                        return f;
                i = f->next;
        }
        return NULL;
}

Flow *flow_new(FlowTable *t, const FlowKey *key, TimerFn timer_fn) {
        if (t->count[key->kind] >= limit_of(t->stack, key->kind))
                return NULL;
        if (!t->free && add_chunk(t) < 0)
                return NULL;
        if (t->n_flows >= t->n_buckets)
                grow_buckets(t);

        Flow *f = flow_at(t, t->free);
        t->free = f->next;
        Chunk *c = t->chunks[f->index / FLOW_CHUNK];
        t->n_empty -= c->n_used++ == 0;

        usec_t now = netstack_now(t->stack);
        *f = (Flow){
                .key = *key,
                .index = f->index,
                .generation = ++t->generation,
                .hash = hash_key(t, key),
                .fd = -EBADF,
                .created = now,
                .last_used = now,
        };
        timer_init(&f->timer, timer_fn);

        uint32_t *head = &t->buckets[f->hash & (t->n_buckets - 1)];
        f->next = *head;
        *head = f->index;
        t->n_flows++;
        t->count[key->kind]++;
        TRACE2(flow_open, f->index, key->kind);
        return f;
}

static void unlink_flow(FlowTable *t, Flow *f) {
        uint32_t *link = &t->buckets[f->hash & (t->n_buckets - 1)];
        while (*link != f->index)
                link = &flow_at(t, *link)->next;
        *link = f->next;
        t->n_flows--;
        t->count[f->key.kind]--;
}

void flow_close(Netstack *s, Flow *f, bool reset) {
        FlowTable *t = s->flows;
        if (f->closing)
                return;
        f->closing = true;
        TRACE4(flow_close, f->index, f->key.kind, f->rx_bytes, f->tx_bytes);

        switch ((FlowKind) f->key.kind) {
        case FLOW_TCP:
                tcp_flow_close(s, f);
                break;
        case FLOW_UDP:
                udp_flow_close(s, f);
                break;
        case FLOW_PING: /* whose requests find that it has gone */
                ping_flow_close(s, f);
                break;
        case FLOW_NONE:
        case _FLOW_KIND_MAX:
                assert(false);
        }
        timer_stop(&s->timers, &f->timer);
        if (f->fd >= 0) {
                s->ops->close(s->userdata, f->fd, reset);
                f->fd = -EBADF;
        }
        unlink_flow(t, f);
        f->next = t->closing;
        t->closing = f->index;
}

void flow_reap(FlowTable *t) {
        while (t->closing) {
                Flow *f = flow_at(t, t->closing);
                t->closing = f->next;
                f->key.kind = FLOW_NONE;
                f->closing = false;
                f->next = t->free;
                t->free = f->index;
                t->n_empty += --t->chunks[f->index / FLOW_CHUNK]->n_used == 0;
        }
}

uint64_t flow_cookie(const Flow *f) {
        return host_cookie(HOST_KIND_FLOW, f->generation, f->index);
}

Flow *flow_by_cookie(FlowTable *t, uint64_t cookie) {
        uint32_t index = host_cookie_index(cookie);
        if (index == 0 || index / FLOW_CHUNK >= t->n_chunks || !t->chunks[index / FLOW_CHUNK])
                return NULL;
        Flow *f = flow_at(t, index);
        if (f->key.kind == FLOW_NONE || f->closing || (f->generation & 0xffffff) != host_cookie_generation(cookie))
                return NULL;
        return f;
}

uint32_t flow_count(const FlowTable *t, FlowKind kind) {
        return t->count[kind];
}

Flow *flow_next(const FlowTable *t, const Flow *after) {
        for (uint32_t i = after ? after->index + 1 : 1; i < t->n_chunks * FLOW_CHUNK; i++) {
                if (!t->chunks[i / FLOW_CHUNK]) {
                        i |= FLOW_CHUNK - 1; /* the last of what is not there */
                        continue;
                }
                Flow *f = flow_at(t, i);
                if (f->key.kind != FLOW_NONE && !f->closing)
                        return f;
        }
        return NULL;
}

Flow *flow_oldest_idle(FlowTable *t, FlowKind kind) {
        Flow *oldest = NULL;
        for (Flow *f = flow_next(t, NULL); f; f = flow_next(t, f))
                if (f->key.kind == kind && (!oldest || f->last_used < oldest->last_used))
                        oldest = f;
        return oldest;
}
