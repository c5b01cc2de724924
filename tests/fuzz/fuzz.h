/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What every fuzzer shares. A fuzzer is one file, fuzz-NAME.c, that feeds one layer with one input and
 * checks what must hold whatever the input was. It keeps no state between inputs, so that each input alone
 * shows its finding.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs one input. Always 0. @data: NULL when @size is 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Like assert(), but there in every build. */
#define fuzz_check(condition)                                                                                  \
        do {                                                                                                   \
                if (!(condition)) {                                                                            \
                        fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);          \
                        abort();                                                                               \
                }                                                                                              \
        } while (0)
