/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Why a queue was given up. The other side of a ring is not trusted: whatever it writes that the rules do not allow marks the
 * queue broken, once and for good (until it is reset), with the first reason kept. Never a crash, never an endless loop.
 */

typedef enum VqBroken {
        VQ_BROKEN_NOT,           /* all is well */
        VQ_BROKEN_INDEX,         /* the index jumped by more than is outstanding, or ran backwards */
        VQ_BROKEN_ID_RANGE,      /* an id or head at or beyond the queue size */
        VQ_BROKEN_ID_STATE,      /* an id that is not outstanding: free, used twice, or the middle of a chain */
        VQ_BROKEN_LENGTH,        /* more bytes written than were posted, or a chain over 2^32 - 1 bytes */
        VQ_BROKEN_NEXT_RANGE,    /* a next index at or beyond the table's size */
        VQ_BROKEN_LOOP,          /* a chain longer than the table it is in */
        VQ_BROKEN_ORDER,         /* a readable descriptor after a writable one */
        VQ_BROKEN_EMPTY,         /* a descriptor or indirect table of no bytes */
        VQ_BROKEN_INDIRECT,      /* an indirect table not negotiated, nested, chained, or of an odd size */
        VQ_BROKEN_ADDRESS,       /* memory that is not in the region table */
        VQ_BROKEN_TOO_LONG,      /* a chain of more pieces than the caller can ever take */
        VQ_BROKEN_HEADER,        /* a receive buffer too short for its virtio-net header */
        VQ_BROKEN_NUM_BUFFERS,   /* a frame said to be in 0 buffers, or in more than were used */
        _VQ_BROKEN_MAX,
} VqBroken;

const char *vq_broken_to_string(VqBroken why); /* one sentence for people */
