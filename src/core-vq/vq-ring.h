/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The memory both sides of a split virtqueue share, as C11 atomics, and the rules for touching it. Private to core-vq.
 *
 * Why every access is atomic: the other side runs at the same time and is not trusted. A plain load may be repeated by the
 * compiler, so that what was checked is not what is used; a relaxed atomic load happens once. Relaxed costs nothing: it is the
 * same mov. Ordering is asked for in four places only, and nowhere else:
 *
 *   publish   descriptors and ring slots (relaxed), then idx with RELEASE. Whoever loads idx with ACQUIRE sees them, and the
 *             buffers' bytes with them.
 *   consume   idx with ACQUIRE, then slots and descriptors (relaxed).
 *   notify    idx stored, then a SEQ_CST FENCE, then the other side's flags or event index loaded. Release alone allows the
 *             load to happen before the store, even on x86; both sides would then go to sleep waiting for each other.
 *   sleep     flags or event index stored, then a SEQ_CST FENCE, then the other side's idx loaded once more. It pairs with
 *             the fence of `notify`: of two sides that each store, fence and load, at least one sees the other's store.
 *
 * Both sides are CPUs of one host (vhost, vhost-user, a test's thread), so these are enough; a PCI device with ORDER_PLATFORM
 * would want DMA barriers.
 *
 * Byte order: little endian always (VERSION_1). Source: virtio 1.2, 2.7 and 2.7.13.
 */

#include <assert.h>
#include <endian.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_ring.h>

#include "core-vq/vq-layout.h"

/* The two halves of a descriptor, each stored and loaded whole: le64 addr | le32 len, le16 flags, le16 next. */
typedef struct VqDesc {
        _Atomic uint64_t addr;
        _Atomic uint64_t rest; /* len + (flags << 32) + (next << 48) */
} VqDesc;

typedef struct VqAvail {
        _Atomic uint16_t flags, idx;
        _Atomic uint16_t ring[]; /* N heads, then used_event */
} VqAvail;

typedef struct VqUsedElem {
        _Atomic uint32_t id, len;
} VqUsedElem;

typedef struct VqUsedRing {
        _Atomic uint16_t flags, idx;
        VqUsedElem ring[]; /* N elements, then avail_event */
} VqUsedRing;

static_assert(sizeof(VqDesc) == sizeof(struct vring_desc), "descriptor layout");
static_assert(sizeof(VqUsedElem) == sizeof(struct vring_used_elem), "used element layout");
static_assert(sizeof(VqAvail) == 4 && sizeof(VqUsedRing) == 4, "ring header layout");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_SHORT_LOCK_FREE == 2, "a lock could not be shared with the other side");

typedef struct VqRing {
        VqDesc *desc;              /* (borrowed: from whoever made the queue, until it frees the queue) */
        VqAvail *avail;            /* (borrowed: the same) */
        VqUsedRing *used;          /* (borrowed: the same) */
        _Atomic uint16_t *used_event;  /* in avail: written by the driver */
        _Atomic uint16_t *avail_event; /* in used: written by the device */
        unsigned size;
        uint16_t mask;
} VqRing;

/* A descriptor's fields, copied out once. */
typedef struct VqDescValue {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
} VqDescValue;

static inline VqRing vq_ring_make(void *desc, void *avail, void *used, unsigned size) {
        VqAvail *a = avail;
        VqUsedRing *u = used;

        return (VqRing) {
                .desc = desc,
                .avail = a,
                .used = u,
                .used_event = &a->ring[size],
                .avail_event = (_Atomic uint16_t *) (void *) &u->ring[size],
                .size = size,
                .mask = (uint16_t) (size - 1),
        };
}

static inline uint16_t vq_load16(const _Atomic uint16_t *p) {
        return le16toh(atomic_load_explicit(p, memory_order_relaxed));
}
static inline uint16_t vq_load16_acquire(const _Atomic uint16_t *p) {
        return le16toh(atomic_load_explicit(p, memory_order_acquire));
}
static inline uint32_t vq_load32(const _Atomic uint32_t *p) {
        return le32toh(atomic_load_explicit(p, memory_order_relaxed));
}
static inline void vq_store16(_Atomic uint16_t *p, uint16_t v) {
        atomic_store_explicit(p, htole16(v), memory_order_relaxed);
}
static inline void vq_store16_release(_Atomic uint16_t *p, uint16_t v) {
        atomic_store_explicit(p, htole16(v), memory_order_release);
}
static inline void vq_store32(_Atomic uint32_t *p, uint32_t v) {
        atomic_store_explicit(p, htole32(v), memory_order_relaxed);
}

static inline void vq_desc_store(VqDesc *d, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next) {
        atomic_store_explicit(&d->addr, htole64(addr), memory_order_relaxed);
        atomic_store_explicit(&d->rest, htole64(len | (uint64_t) flags << 32 | (uint64_t) next << 48), memory_order_relaxed);
}
static inline VqDescValue vq_desc_load(const VqDesc *d) {
        uint64_t addr = le64toh(atomic_load_explicit(&d->addr, memory_order_relaxed)),
                 rest = le64toh(atomic_load_explicit(&d->rest, memory_order_relaxed));

        return (VqDescValue) { addr, (uint32_t) rest, (uint16_t) (rest >> 32), (uint16_t) (rest >> 48) };
}

/* The full fence of `notify` and `sleep`. GCC's ThreadSanitizer executes it but draws no conclusions from it; none are needed: every
 * conclusion this code draws about data comes from an acquire load. */
static inline void vq_fence(void) {
        atomic_thread_fence(memory_order_seq_cst);
}

/* Does the step from @old to @new pass @event? All three run freely over 2^16. Source: virtio 1.2, 2.7.10. */
static inline bool vq_need_event(uint16_t event, uint16_t new, uint16_t old) {
        return (uint16_t) (new - event - 1) < (uint16_t) (new - old);
}
