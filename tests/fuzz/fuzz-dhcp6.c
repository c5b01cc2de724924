/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DHCPv6: messages of clients. See stack.h for the input. */

#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_stack(FUZZ_DHCP6, data, size);
}
