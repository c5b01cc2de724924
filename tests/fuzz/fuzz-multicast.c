/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mDNS and SSDP between guests and the host's link, IGMP and MLD queries. See stack.h for the input. */

#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_stack(FUZZ_MULTICAST, data, size);
}
