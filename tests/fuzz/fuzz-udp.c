/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UDP: datagrams with right checksums; DHCP and DNS are behind two of the ports. See stack.h for the input. */

#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_stack(FUZZ_UDP, data, size);
}
