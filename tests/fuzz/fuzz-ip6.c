/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IPv6: packets with extension headers and fragments among them, and all protocols above. See stack.h for the input. */

#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_stack(FUZZ_IP6, data, size);
}
