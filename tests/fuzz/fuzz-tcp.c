/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP: segments with right checksums and an acknowledgment near what the gateway sent. See stack.h for the input. */

#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_stack(FUZZ_TCP, data, size);
}
