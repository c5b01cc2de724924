/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * From the addresses a driver writes into descriptors to ours: a small sorted table of regions. Every translation is checked
 * against it, without overflow; a buffer may run over the border of two regions that touch. A plain value: never maps or
 * unmaps anything.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define VQ_MEMORY_REGIONS_MAX 64 /* what vhost-net takes, and twice what QEMU asks of vhost-user */

typedef struct VqRegion {
        uint64_t addr; /* the driver's name for the first byte */
        uint64_t len;  /* at least 1 */
        void *host;    /* (borrowed: while the region is in a table) our name for it */
} VqRegion;

typedef struct VqMemory {
        VqRegion regions[VQ_MEMORY_REGIONS_MAX]; /* sorted by addr, not overlapping */
        unsigned n_regions;
} VqMemory;

/* Return: 0; -EINVAL for an empty region or one that wraps; -EEXIST when it overlaps another; -E2BIG when the table is full. */
int vq_memory_add(VqMemory *m, const VqRegion *region);

/* Return: 0; -ENOENT when no region is exactly this one (address and length). */
int vq_memory_remove(VqMemory *m, uint64_t addr, uint64_t len);

/**
 * vq_memory_translate() - where @len bytes at @addr lie here
 * @m:          the table
 * @addr:       the driver's address; hostile
 * @len:        bytes; hostile
 * @iov:        array of @n_iov, filled
 * @n_iov:      room
 *
 * Return: pieces filled (1 but at a border); 0 when @len is 0; -EFAULT when a byte is in no region; -ENOBUFS when @iov is too small.
 */
int vq_memory_translate(const VqMemory *m, uint64_t addr, uint64_t len, struct iovec *iov, unsigned n_iov);

/* The same for bytes that must be in one piece; NULL when they are not. */
void *vq_memory_contiguous(const VqMemory *m, uint64_t addr, uint64_t len);
