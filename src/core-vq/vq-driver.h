/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The driver's side of a split virtqueue: what a guest's driver does, for a program that plays the guest.
 *
 *     add ... add, publish -> kick if asked            buffers go to the device in batches, one fence a batch
 *     reap -> tokens come back                         every token exactly once
 *     arm -> sleep on the call eventfd -> disarm       or never arm, and poll
 *
 * Pure: no system call, no clock, no allocation but in vq_driver_new(). It knows nothing of kicks and eventfds; it says when
 * one is due. One thread at a time may use a queue; the device may run beside it.
 *
 * The device is not trusted. Descriptors and chain lengths live in private memory; the shared copies are written and never
 * read back. What the device claims to have used is checked, and a lie breaks the queue (vq-broken.h): from then on every
 * function returns -EBADMSG until vq_driver_reclaim() has emptied it.
 *
 * Completions in order (all that vhost-net ever does) take a fast path without free list, verified element by element; the
 * first one out of order switches to a free list until the queue has run empty.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core-vq/vq-broken.h"
#include "core-vq/vq-feature.h"
#include "core-vq/vq-layout.h"

#define VQ_INDIRECT_MAX 1024u /* descriptors in one indirect table: what vhost takes (UIO_MAXIOV) */

typedef struct VqDriver VqDriver;

typedef struct VqDriverConfig {
        unsigned size;          /* descriptors: power of two, 1..VQ_SIZE_MAX */
        VqFeatures features;    /* heeded: EVENT_IDX, INDIRECT_DESC, IN_ORDER */
        void *ring;             /* (borrowed: until vq_driver_free) vq_layout_init().total_len zeroed bytes, 64-byte aligned */
        void *indirect;         /* (borrowed: the same; nullable: no indirect) vq_driver_indirect_len() bytes, 16-byte aligned */
        unsigned indirect_max;  /* descriptors in each indirect table, at most VQ_INDIRECT_MAX */
        uint64_t addr_offset;   /* what the device calls an address, less what we call it */
        const void *window;     /* (nullable: any) buffers must lie in this memory ... */
        size_t window_len;      /* ... of this many bytes; others are refused with -EFAULT */
} VqDriverConfig;

/* One buffer chain: what the device reads, then what it writes. Pieces are (borrowed: until the token comes back). */
typedef struct VqChain {
        const struct iovec *out;
        const struct iovec *in;
        unsigned n_out, n_in;
        void *token; /* (nullable) comes back from vq_driver_reap() */
} VqChain;

typedef struct VqUsed {
        void *token;
        uint32_t len; /* bytes the device wrote, never more than were posted; 0 for a chain it could only read */
} VqUsed;

/* Bytes of indirect tables for a queue: one table a descriptor. */
static inline size_t vq_driver_indirect_len(unsigned size, unsigned indirect_max) {
        return (size_t) 16 * size * indirect_max;
}

/**
 * vq_driver_new() - make the driver's side of a queue
 * @ret:        the queue, owned by the caller
 * @config:     borrowed for the call
 *
 * Return: 0; -EINVAL for a bad size, alignment or indirect_max; -ENOMEM.
 */
int vq_driver_new(VqDriver **ret, const VqDriverConfig *config);
VqDriver *vq_driver_free(VqDriver *d); /* NULL in, NULL out; tokens still outstanding are the caller's to know */

/**
 * vq_driver_add() - put chains into the ring, unseen by the device until published
 * @d:          the queue
 * @chains:     array of @n_chains, borrowed for the call; the pieces until the token comes back
 * @n_chains:   any number
 *
 * A chain of several pieces takes one slot when it fits an indirect table, else a descriptor a piece. Allocates: no.
 *
 * Return: how many were taken, from the first on: fewer than @n_chains when descriptors ran out or a later chain is bad. For the first
 * chain: 0 when there is no room now; -EINVAL for one without pieces, with an empty piece, or over 2^32 - 1 bytes;
 * -E2BIG for one that can never fit; -EFAULT outside the window; -EBADMSG when the queue is broken.
 */
int vq_driver_add(VqDriver *d, const VqChain *chains, unsigned n_chains);

/* Shows everything added to the device. Returns true when the device wants to be kicked for it. */
bool vq_driver_publish(VqDriver *d);

/**
 * vq_driver_reap() - take back what the device has used
 * @d:          the queue
 * @used:       array of @n_used, filled
 * @n_used:     any number; the rest stays for the next call
 *
 * Return: how many were taken; -EBADMSG when the device lied (what was taken before the lie is returned first).
 */
int vq_driver_reap(VqDriver *d, VqUsed *used, unsigned n_used);

/* Has the device used something not reaped yet? One acquire load. */
bool vq_driver_pending(const VqDriver *d);

/**
 * vq_driver_arm() - ask for a call before going to sleep
 * @d:          the queue
 * @after:      with EVENT_IDX: not before this many more completions (1.., cut to what is outstanding); without: ignored
 *
 * Return: true: safe to sleep, a call will come; false: that much is there already, reap first.
 */
bool vq_driver_arm(VqDriver *d, unsigned after);
void vq_driver_disarm(VqDriver *d); /* asks for no calls; with EVENT_IDX one may still come each 2^16 completions */

/**
 * vq_driver_reclaim() - take back chains the device will never use, when it has been stopped
 * @d:          the queue; nothing may be using its ring any more
 * @used:       array of @n_used, filled; lengths are 0
 * @n_used:     at least 1
 *
 * Call until it returns 0. Then the ring is as new: both indices 0, not broken.
 *
 * Return: how many were taken.
 */
unsigned vq_driver_reclaim(VqDriver *d, VqUsed *used, unsigned n_used);

unsigned vq_driver_size(const VqDriver *d);
unsigned vq_driver_free_slots(const VqDriver *d);  /* descriptors not in use */
unsigned vq_driver_outstanding(const VqDriver *d); /* chains added and not reaped */
uint16_t vq_driver_published(const VqDriver *d);   /* the available index as the device sees it */
uint16_t vq_driver_used_index(const VqDriver *d);  /* the used index as the device last wrote it */
VqBroken vq_driver_broken(const VqDriver *d);
void vq_driver_break(VqDriver *d, VqBroken why);   /* a reader of the buffers found the lie (num_buffers, header) */
