/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sentences for the reasons a queue can be broken.
 */

#include "core-vq/vq-broken.h"

#include <stddef.h>

const char *vq_broken_to_string(VqBroken why) {
        switch (why) {
        case VQ_BROKEN_NOT:
                return "not broken";
        case VQ_BROKEN_INDEX:
                return "the ring's index jumped by more than is outstanding";
        case VQ_BROKEN_ID_RANGE:
                return "a descriptor id lies beyond the queue";
        case VQ_BROKEN_ID_STATE:
                return "a descriptor id is not outstanding";
        case VQ_BROKEN_LENGTH:
                return "a length exceeds what was posted";
        case VQ_BROKEN_NEXT_RANGE:
                return "a chain leads beyond its table";
        case VQ_BROKEN_LOOP:
                return "a chain is longer than its table";
        case VQ_BROKEN_ORDER:
                return "a readable descriptor follows a writable one";
        case VQ_BROKEN_EMPTY:
                return "a descriptor has no bytes";
        case VQ_BROKEN_INDIRECT:
                return "an indirect table is not allowed there or has a wrong size";
        case VQ_BROKEN_ADDRESS:
                return "an address is not in the memory shared";
        case VQ_BROKEN_TOO_LONG:
                return "a chain has too many pieces";
        case VQ_BROKEN_HEADER:
                return "a buffer is too short for its net header";
        case VQ_BROKEN_NUM_BUFFERS:
                return "a frame claims a wrong number of buffers";
        case _VQ_BROKEN_MAX:
                break;
        }
        return NULL;
}
