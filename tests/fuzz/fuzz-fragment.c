/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reassembly in both families: pieces that fit, overlap, contradict each other and never end. See stack.h for the input. */

#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_stack(FUZZ_FRAGMENT, data, size);
}
