/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole frames as a guest may send them, and everything behind them. See stack.h for the input. */

#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        return fuzz_stack(FUZZ_ETH, data, size);
}
