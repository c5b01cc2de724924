/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See recordring.h. Positions count bytes for ever, modulo the size they are places. The writer releases what it wrote by storing the
 * head, the reader what it has read by storing the tail; each keeps a copy of the other's position and looks again only when that
 * copy says there is nothing to do.
 */

#include "basic/recordring.h"

#define SKIP UINT64_MAX /* in the place of a length: go on at the start */
#define CACHE_LINE 64

struct RecordRing {
        uint8_t *bytes; /* (owned) */
        uint64_t size;

        /* the writer's */
        uint64_t head __attribute__((aligned(CACHE_LINE))); /* read by the reader */
        uint64_t tail_seen;
        uint64_t at;       /* of the reserved record */
        uint64_t reserved; /* bytes of it */

        /* the reader's */
        uint64_t tail __attribute__((aligned(CACHE_LINE))); /* read by the writer */
        uint64_t head_seen;
        uint64_t next; /* the tail once the peeked record is released */
};

static uint64_t taken_by(uint64_t len) {
        return sizeof(uint64_t) + DIV_ROUND_UP(len, sizeof(uint64_t)) * sizeof(uint64_t);
}

static uint64_t *length_at(const RecordRing *r, uint64_t position) {
        return (uint64_t *) (void *) (r->bytes + (position & (r->size - 1)));
}

RecordRing *record_ring_new(size_t size) {
        RecordRing *r;

        assert(size >= 4096 && (size & (size - 1)) == 0);
        r = aligned_alloc(CACHE_LINE, sizeof(*r));
        if (!r)
                return NULL;
        *r = (RecordRing){ .size = size, .bytes = aligned_alloc(CACHE_LINE, size) };
        return r->bytes ? r : record_ring_free(r);
}

RecordRing *record_ring_free(RecordRing *r) {
        if (!r)
                return NULL;
        free(r->bytes);
        free(r);
        return NULL;
}

void *record_ring_reserve(RecordRing *r, size_t len) {
        uint64_t room = r->size - (r->head & (r->size - 1)), need = taken_by(len), skip = need > room ? room : 0;

        if (need + skip > r->size - (r->head - r->tail_seen)) {
                r->tail_seen = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
                if (need + skip > r->size - (r->head - r->tail_seen))
                        return NULL;
        }
        if (skip > 0)
                *length_at(r, r->head) = SKIP;
        r->at = r->head + skip;
        r->reserved = len;
        return length_at(r, r->at) + 1;
}

void record_ring_commit(RecordRing *r, size_t len) {
        assert(len <= r->reserved);
        *length_at(r, r->at) = len;
        __atomic_store_n(&r->head, r->at + taken_by(len), __ATOMIC_RELEASE);
}

const void *record_ring_peek(RecordRing *r, size_t *ret_len) {
        uint64_t at = r->tail;

        if (at == r->head_seen) {
                r->head_seen = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
                if (at == r->head_seen)
                        return NULL;
        }
        if (*length_at(r, at) == SKIP)
                at += r->size - (at & (r->size - 1));
        *ret_len = *length_at(r, at);
        r->next = at + taken_by(*ret_len);
        return length_at(r, at) + 1;
}

void record_ring_release(RecordRing *r) {
        __atomic_store_n(&r->tail, r->next, __ATOMIC_RELEASE);
}

bool record_ring_is_empty(const RecordRing *r) {
        return __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE) == __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
}
