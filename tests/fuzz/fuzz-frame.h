/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* An input that is a frame, whole and in two pieces: where it is cut, 2 bytes; the frame. */

#include "basic/frame.h"
#include "basic/macro.h"

typedef struct FuzzFrame {
        struct iovec one, pieces[2];
        Frame whole, cut;
} FuzzFrame;

/* False: too short to say where. @f borrows @data, and must stay where it is. */
static inline bool fuzz_frame(FuzzFrame *f, const uint8_t *data, size_t size) {
        if (size < 2)
                return false;

        uint8_t *bytes = (uint8_t *) data + 2;
        size_t at = MIN((size_t) data[0] | (size_t) data[1] << 8, size - 2);

        size -= 2;
        *f = (FuzzFrame){
                .one = { bytes, size },
                .pieces = { { bytes, at }, { bytes + at, size - at } },
                .whole = { .iov = &f->one, .n_iov = 1, .len = (uint32_t) size },
                .cut = { .iov = f->pieces, .n_iov = 2, .len = (uint32_t) size },
        };
        return true;
}
