/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where the three parts of a split virtqueue lie: sizes, alignments, and the check of a queue size.
 *
 *     descriptors  16 * N bytes, aligned 16
 *     available    6 + 2 * N,    aligned 2     flags, idx, ring[N], used_event
 *     used         6 + 8 * N,    aligned 4     flags, idx, {id, len}[N], avail_event
 *
 * Source: virtio 1.2, 2.7.
 */

#include <stddef.h>
#include <stdint.h>

#define VQ_SIZE_MAX 32768u
#define VQ_DESC_ALIGN 16u
#define VQ_AVAIL_ALIGN 2u
#define VQ_USED_ALIGN 4u

typedef enum VqSizeError {
        VQ_SIZE_OK,
        VQ_SIZE_TOO_SMALL,
        VQ_SIZE_TOO_LARGE,
        VQ_SIZE_NOT_POWER_OF_TWO,
        _VQ_SIZE_ERROR_MAX,
} VqSizeError;

/* Offsets from the start of one piece of memory that holds the whole ring. */
typedef struct VqLayout {
        unsigned size;    /* descriptors, N */
        size_t desc_off;  /* all three are multiples of 64: what the two sides write shares no cache line */
        size_t avail_off;
        size_t used_off;
        size_t total_len; /* multiple of 64 */
} VqLayout;

static inline size_t vq_desc_len(unsigned size) {
        return (size_t) 16 * size;
}
static inline size_t vq_avail_len(unsigned size) {
        return 6 + (size_t) 2 * size;
}
static inline size_t vq_used_len(unsigned size) {
        return 6 + (size_t) 8 * size;
}

VqSizeError vq_size_check(int64_t size); /* any number, as somebody may have typed it */
const char *vq_size_error_to_string(VqSizeError e); /* one sentence for people */

/**
 * vq_layout_init() - lay out a ring
 * @ret:        the layout
 * @size:       descriptors: a power of two, 1..VQ_SIZE_MAX
 *
 * Return: 0; -EINVAL when vq_size_check() refuses @size (@ret untouched).
 */
int vq_layout_init(VqLayout *ret, int64_t size);
