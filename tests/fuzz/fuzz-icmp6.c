/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ICMPv6: messages with right checksums, to the gateway, the host, the outside and groups. See stack.h for the input. */

#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_stack(FUZZ_ICMP6, data, size);
}
