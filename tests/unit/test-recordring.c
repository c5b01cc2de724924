/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ring of records: lengths, the end of the memory, full and empty; and two threads that race (for ThreadSanitizer as well). */

#include <glib.h>
#include <string.h>

#include "basic/recordring.h"

#define SIZE 4096
#define RACE_RECORDS 50000

static void put(RecordRing *r, const void *bytes, size_t len) {
        void *at = record_ring_reserve(r, len);

        g_assert_nonnull(at);
        g_assert_cmpuint((uintptr_t) at % 8, ==, 0);
        memcpy(at, bytes, len);
        record_ring_commit(r, len);
}

static void assert_get(RecordRing *r, const void *bytes, size_t len) {
        size_t got;
        const void *at = record_ring_peek(r, &got);

        g_assert_nonnull(at);
        g_assert_cmpmem(at, got, bytes, len);
        record_ring_release(r);
}

static void test_order(void) {
        _cleanup_(record_ring_freep) RecordRing *r = record_ring_new(SIZE);
        size_t len;

        g_assert_true(record_ring_is_empty(r));
        g_assert_null(record_ring_peek(r, &len));
        put(r, "one", 3);
        put(r, "", 0);
        put(r, "three", 5);
        g_assert_false(record_ring_is_empty(r));
        assert_get(r, "one", 3);
        assert_get(r, "", 0);
        assert_get(r, "three", 5);
        g_assert_null(record_ring_peek(r, &len));
        g_assert_true(record_ring_is_empty(r));
}

/* A reservation that is not committed leaves nothing, and a record may be shorter than what was reserved. */
static void test_reserve(void) {
        _cleanup_(record_ring_freep) RecordRing *r = record_ring_new(SIZE);
        size_t len;

        g_assert_nonnull(record_ring_reserve(r, 1000));
        g_assert_null(record_ring_peek(r, &len));
        memset(record_ring_reserve(r, 1000), 'x', 1000);
        record_ring_commit(r, 4);
        put(r, "next", 4);
        assert_get(r, "xxxx", 4);
        assert_get(r, "next", 4);
}

/* The longest record there can be, and one byte more; what fills the ring to the last byte, and what does not fit then. */
static void test_full(void) {
        _cleanup_(record_ring_freep) RecordRing *r = record_ring_new(SIZE);
        static const uint8_t bytes[SIZE];

        g_assert_null(record_ring_reserve(r, SIZE - 7));
        put(r, bytes, SIZE - 8);
        g_assert_null(record_ring_reserve(r, 0));
        assert_get(r, bytes, SIZE - 8);
        for (int i = 0; i < SIZE / 16; i++)
                put(r, bytes, 8);
        g_assert_null(record_ring_reserve(r, 0));
        assert_get(r, bytes, 8);
        g_assert_null(record_ring_reserve(r, 9));
        put(r, bytes, 8);
        for (int i = 0; i < SIZE / 16; i++)
                assert_get(r, bytes, 8);
        g_assert_true(record_ring_is_empty(r));
}

/* Every place where the memory can end, for lengths around it. */
static void test_wrap(void) {
        uint8_t bytes[600];

        for (size_t lead = 0; lead < SIZE - 8; lead += 8)
                for (size_t len = 0; len < sizeof(bytes); len += 61) {
                        _cleanup_(record_ring_freep) RecordRing *r = record_ring_new(SIZE);

                        memset(bytes, (int) len, sizeof(bytes));
                        put(r, (uint8_t[SIZE]){ 0 }, lead);
                        assert_get(r, (uint8_t[SIZE]){ 0 }, lead);
                        put(r, bytes, len);
                        put(r, bytes, 1);
                        assert_get(r, bytes, len);
                        assert_get(r, bytes, 1);
                        g_assert_true(record_ring_is_empty(r));
                }
}

static gpointer write_many(gpointer data) {
        RecordRing *r = data;

        for (uint32_t i = 0; i < RACE_RECORDS;) {
                size_t len = sizeof(i) + i * 2654435761u % 300;
                uint8_t *at = record_ring_reserve(r, len);

                if (!at) {
                        g_thread_yield();
                        continue;
                }
                memset(at, (int) i, len);
                memcpy(at, &i, sizeof(i));
                record_ring_commit(r, len);
                i++;
        }
        return NULL;
}

static void test_race(void) {
        _cleanup_(record_ring_freep) RecordRing *r = record_ring_new(SIZE);
        GThread *writer = g_thread_new("writer", write_many, r);

        for (uint32_t i = 0; i < RACE_RECORDS;) {
                size_t len;
                const uint8_t *at = record_ring_peek(r, &len);

                if (!at) {
                        g_thread_yield();
                        continue;
                }
                g_assert_cmpuint(len, ==, sizeof(i) + i * 2654435761u % 300);
                g_assert_cmpmem(at, sizeof(i), &i, sizeof(i));
                for (size_t k = sizeof(i); k < len; k++)
                        if (at[k] != (uint8_t) i)
                                g_error("record %u: byte %zu is %u", i, k, at[k]);
                record_ring_release(r);
                i++;
        }
        g_thread_join(writer);
        g_assert_true(record_ring_is_empty(r));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/recordring/order", test_order);
        g_test_add_func("/recordring/reserve", test_reserve);
        g_test_add_func("/recordring/full", test_full);
        g_test_add_func("/recordring/wrap", test_wrap);
        g_test_add_func("/recordring/race", test_race);
        return g_test_run();
}
