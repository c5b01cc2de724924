/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Drop reasons and packet counters: one declared list (counters.def) feeds the code, `vnetctl stats`, D-Bus and the manual.
 * A bad packet is data: one counter, never an errno, never a log line.
 *
 * Counters have one writer (the network's thread) and are read from others with relaxed atomics: a reader may see a
 * value a few frames old, never a torn one.
 */

#include "basic/macro.h"
#include "basic/trace.h"

typedef enum Drop {
#define DROP(id, name, text) DROP_##id,
#include "basic/counters.def"
#undef DROP
        _DROP_MAX,
} Drop;

typedef struct Counters {
        uint64_t rx_frames, rx_bytes, rx_dropped; /* rx: from the guest */
        uint64_t tx_frames, tx_bytes, tx_dropped; /* tx: to the guest */
        uint64_t drops[_DROP_MAX];
} Counters;

const char *drop_to_name(Drop reason); /* "eth-short": stable, for programs */
const char *drop_to_text(Drop reason); /* one sentence for people */

static inline void counter_add(uint64_t *counter, uint64_t n) {
        __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}
static inline uint64_t counter_read(const uint64_t *counter) {
        return __atomic_load_n(counter, __ATOMIC_RELAXED);
}
/* Adds what @c says now; @sum is the caller's alone. */
static inline void counters_sum(Counters *sum, const Counters *c) {
        const uint64_t *from = (const uint64_t *) c;
        uint64_t *to = (uint64_t *) sum;

        for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
                to[i] += counter_read(from + i);
}
static inline void counters_drop(Counters *c, Drop reason) {
        TRACE1(drop, reason);
        counter_add(&c->drops[reason], 1);
}
