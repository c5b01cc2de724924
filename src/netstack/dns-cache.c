/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cache is a table of sets of four places; a new answer takes the place of the one in its set that ends first. What two queries
 * must have in common to get the same answer is the question and the bits a resolver answers by (RD, CD, AD, EDNS and its DO); options in
 * EDNS (client subnet, cookies) mean that the answer is for this client alone.
 */

#include "netstack/dns-cache.h"

#include <errno.h>
#include <xxhash.h>

#define WAYS 4
#define SETS (DNS_CACHE_ENTRIES_MAX / WAYS)
#define TYPE_SOA 6
#define TYPE_OPT 41
#define RCODE_NXDOMAIN 3
#define FLAG_TC 0x0200
#define FLAG_AD 0x0020
#define EDNS_DO 0x8000
#define SOA_NUMBERS_LEN 20

typedef struct Traits { /* hashed and compared as bytes */
        uint16_t flags; /* RD, CD, AD of the query */
        uint8_t edns, dnssec_ok;
} Traits;

typedef struct Entry {
        uint8_t *data; /* (owned, nullable: free place) */
        uint16_t len;
        uint16_t type, class;
        Traits traits;
        usec_t stored, expires;
        uint64_t hash;
        uint8_t name_len;
        uint8_t n_ttls;
        uint16_t ttl_at[DNS_CACHE_RECORDS_MAX];
} Entry;

struct DnsCache {
        uint64_t seed;
        Entry entries[SETS][WAYS];
};

/* ---- queries ---- */

static bool skip_name(IovCur *cur) {
        uint8_t label, rest;

        do {
                if (!iovcur_u8(cur, &label))
                        return false;
                if ((label & 0xc0) == 0xc0)
                        return iovcur_u8(cur, &rest);
                if (label > 63 || !iovcur_skip(cur, label))
                        return false;
        } while (label > 0);
        return true;
}

static bool read_header(IovCur *cur, DnsHeader *h) {
        return iovcur_be16(cur, &h->id) && iovcur_be16(cur, &h->flags) && iovcur_be16(cur, &h->n_questions) &&
               iovcur_be16(cur, &h->n_answers) && iovcur_be16(cur, &h->n_authority) && iovcur_be16(cur, &h->n_additional);
}

/* What of a query decides its answer. False: nobody else's answer is this one's. @ret_room: what the client takes by UDP, 0 if it is silent. */
static bool read_traits(const uint8_t *query, size_t len, Traits *ret, size_t *ret_room) {
        struct iovec store;
        IovCur cur = iovcur_from_buf(&store, query, len);
        uint16_t type, size, flags, rdlen;
        uint8_t root, extended, version;
        DnsHeader h;

        *ret_room = 0;
        if (!read_header(&cur, &h) || h.n_questions != 1 || h.n_answers > 0 || h.n_authority > 0 || h.n_additional > 1 ||
            !skip_name(&cur) || !iovcur_skip(&cur, 4))
                return false;
        *ret = (Traits){ .flags = h.flags & (DNS_FLAG_RD | DNS_FLAG_CD | FLAG_AD) };
        if (h.n_additional == 0)
                return iovcur_left(&cur) == 0;
        if (!iovcur_u8(&cur, &root) || root != 0 || !iovcur_be16(&cur, &type) || type != TYPE_OPT || !iovcur_be16(&cur, &size) ||
            !iovcur_u8(&cur, &extended) || !iovcur_u8(&cur, &version) || version != 0 || !iovcur_be16(&cur, &flags) ||
            !iovcur_be16(&cur, &rdlen) || rdlen > 0)
                return false;
        ret->edns = true;
        ret->dnssec_ok = (flags & EDNS_DO) != 0;
        *ret_room = size;
        return iovcur_left(&cur) == 0;
}

static uint64_t hash_question(const DnsCache *c, const DnsQuestion *q, const Traits *t) {
        uint8_t key[DNS_NAME_MAX + 4 + sizeof(*t)];
        size_t len = 0;

        for (size_t i = 0; i < q->name_len; i++)
                key[len++] = q->name[i] >= 'A' && q->name[i] <= 'Z' ? q->name[i] + ('a' - 'A') : q->name[i];
        memcpy(key + len, &q->type, 2);
        memcpy(key + len + 2, &q->class, 2);
        memcpy(key + len + 4, t, sizeof(*t));
        return XXH3_64bits_withSeed(key, len + 4 + sizeof(*t), c->seed);
}

static bool entry_is_for(const Entry *e, uint64_t hash, const DnsQuestion *q, const Traits *t) {
        return e->data && e->hash == hash && e->type == q->type && e->class == q->class && memcmp(&e->traits, t, sizeof(*t)) == 0 &&
               dns_name_equal(e->data + DNS_HEADER_LEN, e->name_len, q->name, q->name_len);
}

/* ---- answers ---- */

typedef struct Lifetime {
        uint32_t sec;      /* the shortest of the records */
        uint32_t negative; /* what an SOA in the authority section says; UINT32_MAX: there is none */
} Lifetime;

/* One record; its TTL goes into the entry and the lifetime. False: it cannot be read, or there are too many. */
static bool read_record(IovCur *cur, size_t len, bool authority, Entry *e, Lifetime *life) {
        uint16_t type, class, rdlen;
        uint32_t ttl, minimum;
        size_t at;

        if (!skip_name(cur) || !iovcur_be16(cur, &type) || !iovcur_be16(cur, &class))
                return false;
        at = len - iovcur_left(cur);
        if (!iovcur_be32(cur, &ttl) || !iovcur_be16(cur, &rdlen))
                return false;
        if (type == TYPE_OPT)
                return rdlen == 0; /* options are for one client alone */
        if (ttl > INT32_MAX) /* RFC 2181 8 */
                ttl = 0;
        if (e->n_ttls == DNS_CACHE_RECORDS_MAX)
                return false;
        e->ttl_at[e->n_ttls++] = (uint16_t) at;
        life->sec = MIN(life->sec, ttl);

        if (type != TYPE_SOA || !authority)
                return iovcur_skip(cur, rdlen);
        if (rdlen < SOA_NUMBERS_LEN || !iovcur_skip(cur, rdlen - 4u) || !iovcur_be32(cur, &minimum))
                return false;
        life->negative = MIN(ttl, minimum);
        return true;
}

/* How long an answer may be kept, in seconds; 0: not at all. */
static uint32_t read_reply(const uint8_t *reply, size_t len, Entry *e) {
        struct iovec store;
        IovCur cur = iovcur_from_buf(&store, reply, len);
        Lifetime life = { UINT32_MAX, UINT32_MAX };
        unsigned rcode, n;
        DnsHeader h;

        if (!read_header(&cur, &h) || h.n_questions != 1 || (h.flags & FLAG_TC) || !skip_name(&cur) || !iovcur_skip(&cur, 4))
                return 0;
        rcode = h.flags & DNS_FLAG_RCODE;
        if (rcode != DNS_RCODE_OK && rcode != RCODE_NXDOMAIN)
                return 0;

        n = (unsigned) h.n_answers + h.n_authority + h.n_additional;
        for (unsigned i = 0; i < n; i++)
                if (!read_record(&cur, len, i >= h.n_answers && i < (unsigned) h.n_answers + h.n_authority, e, &life))
                        return 0;
        if (iovcur_left(&cur) > 0)
                return 0;

        if (h.n_answers == 0 || rcode == RCODE_NXDOMAIN) {
                if (life.negative == UINT32_MAX) /* RFC 2308 5: without an SOA nobody says how long */
                        return 0;
                return MIN(MIN(life.sec, life.negative), (uint32_t) DNS_CACHE_NEGATIVE_MAX_SEC);
        }
        return MIN(MIN(life.sec, life.negative), (uint32_t) DNS_CACHE_TTL_MAX_SEC);
}

static void entry_clear(Entry *e) {
        free(e->data);
        *e = (Entry){};
}

void dns_cache_put(DnsCache *c, const DnsQuestion *q, const uint8_t *query, size_t query_len, const uint8_t *reply, size_t len, usec_t now) {
        Entry e = { .type = q->type, .class = q->class, .stored = now, .name_len = q->name_len }, *set, *place;
        uint32_t sec;
        size_t room;

        if (len > DNS_CACHE_MESSAGE_MAX || !read_traits(query, query_len, &e.traits, &room))
                return;
        sec = read_reply(reply, len, &e);
        if (sec == 0 || len < DNS_HEADER_LEN + (size_t) q->name_len)
                return;
        e.expires = now + sec * USEC_PER_SEC;
        e.hash = hash_question(c, q, &e.traits);
        e.len = (uint16_t) len;
        e.data = malloc(len);
        if (!e.data)
                return;
        memcpy(e.data, reply, len);

        set = place = c->entries[e.hash % SETS];
        for (size_t i = 0; i < WAYS; i++) {
                if (entry_is_for(&set[i], e.hash, q, &e.traits)) {
                        place = &set[i];
                        break;
                }
                if (set[i].expires < place->expires)
                        place = &set[i];
        }
        entry_clear(place);
        *place = e;
}

static void put_be32(uint8_t *p, uint32_t v) {
        p[0] = (uint8_t) (v >> 24);
        p[1] = (uint8_t) (v >> 16);
        p[2] = (uint8_t) (v >> 8);
        p[3] = (uint8_t) v;
}

static uint32_t get_be32(const uint8_t *p) {
        return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}

/* A copy of the entry's answer, each TTL less by the time it has lain here. */
static uint8_t *entry_answer(const Entry *e, const DnsQuestion *q, uint16_t id, usec_t now) {
        uint32_t age = (uint32_t) ((now - e->stored) / USEC_PER_SEC);
        uint8_t *data = malloc(e->len);

        if (!data)
                return NULL;
        memcpy(data, e->data, e->len);
        dns_id_set(data, id);
        memcpy(data + DNS_HEADER_LEN, q->name, q->name_len);
        for (size_t i = 0; i < e->n_ttls; i++) {
                uint32_t ttl = get_be32(data + e->ttl_at[i]);

                put_be32(data + e->ttl_at[i], ttl > age ? ttl - age : 0);
        }
        return data;
}

bool dns_cache_get(DnsCache *c, const DnsQuestion *q, const uint8_t *query, size_t query_len, size_t room, usec_t now, uint8_t **ret,
                   size_t *ret_len) {
        size_t edns_room;
        uint64_t hash;
        Traits t;
        Entry *set;

        if (!read_traits(query, query_len, &t, &edns_room))
                return false;
        room = MAX(room, edns_room);
        hash = hash_question(c, q, &t);
        set = c->entries[hash % SETS];
        for (size_t i = 0; i < WAYS; i++) {
                Entry *e = &set[i];
                uint8_t *data;

                if (!entry_is_for(e, hash, q, &t))
                        continue;
                if (now >= e->expires) {
                        entry_clear(e);
                        return false;
                }
                data = e->len <= room ? entry_answer(e, q, dns_id_get(query), now) : NULL;
                if (!data)
                        return false;
                *ret = data;
                *ret_len = e->len;
                return true;
        }
        return false;
}

/* ---- life ---- */

int dns_cache_new(DnsCache **ret, uint64_t seed) {
        DnsCache *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->seed = seed;
        *ret = c;
        return 0;
}

void dns_cache_flush(DnsCache *c) {
        for (size_t i = 0; i < SETS; i++)
                for (size_t k = 0; k < WAYS; k++)
                        entry_clear(&c->entries[i][k]);
}

DnsCache *dns_cache_free(DnsCache *c) {
        if (!c)
                return NULL;
        dns_cache_flush(c);
        free(c);
        return NULL;
}
