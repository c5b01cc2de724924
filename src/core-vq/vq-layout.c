/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ring sizes and offsets. Arithmetic alone: touches no ring memory.
 */

#include "core-vq/vq-layout.h"

#include <errno.h>

#define CACHE_LINE 64u

static size_t align_up(size_t n) {
        return (n + CACHE_LINE - 1) & ~(size_t) (CACHE_LINE - 1);
}

VqSizeError vq_size_check(int64_t size) {
        if (size <= 0)
                return VQ_SIZE_TOO_SMALL;
        if (size > VQ_SIZE_MAX)
                return VQ_SIZE_TOO_LARGE;
        if (size & (size - 1))
                return VQ_SIZE_NOT_POWER_OF_TWO;
        return VQ_SIZE_OK;
}

const char *vq_size_error_to_string(VqSizeError e) {
        switch (e) {
        case VQ_SIZE_OK:
                return "queue size is good";
        case VQ_SIZE_TOO_SMALL:
                return "queue size is too small, the smallest is 1";
        case VQ_SIZE_TOO_LARGE:
                return "queue size is too large, the largest is 32768";
        case VQ_SIZE_NOT_POWER_OF_TWO:
                return "queue size is not a power of two";
        case _VQ_SIZE_ERROR_MAX:
                break;
        }
        return NULL;
}

int vq_layout_init(VqLayout *ret, int64_t size) {
        VqLayout l = {};

        if (vq_size_check(size) != VQ_SIZE_OK)
                return -EINVAL;
        l.size = (unsigned) size;
        l.avail_off = align_up(vq_desc_len(l.size));
        l.used_off = l.avail_off + align_up(vq_avail_len(l.size));
        l.total_len = l.used_off + align_up(vq_used_len(l.size));
        *ret = l;
        return 0;
}
