/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ARP: packets behind an Ethernet header without fault. See stack.h for the input. */

#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_stack(FUZZ_ARP, data, size);
}
