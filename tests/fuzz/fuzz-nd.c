/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ICMPv6 messages from the link: neighbour discovery, MLD, echo. Of each message the first byte's lowest bit says that it has no source
 * address. See stack.h for the rest of the input. */

#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_stack(FUZZ_ND, data, size);
}
