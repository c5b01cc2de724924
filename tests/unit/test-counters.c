/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drop reasons: names that programs can rely on, texts for people, counting.
 */

#include <glib.h>

#include "basic/counters.h"

static void test_names(void) {
        for (Drop a = 0; a < _DROP_MAX; a++) {
                const char *name = drop_to_name(a), *text = drop_to_text(a);

                g_assert_cmpuint(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-"), ==, strlen(name));
                g_assert_cmpuint(strlen(name), >, 0);
                g_assert_cmpuint(strlen(text), >, 0);
                g_assert_false(g_str_has_suffix(text, ".")); /* shown in tables */
                for (Drop b = 0; b < a; b++)
                        g_assert_cmpstr(name, !=, drop_to_name(b));
        }
        g_assert_cmpstr(drop_to_name(DROP_ETH_SHORT), ==, "eth-short");
        g_assert_cmpstr(drop_to_text(DROP_CHECKSUM), ==, "wrong checksum");
}

static void test_count(void) {
        Counters c = {};

        counters_drop(&c, DROP_ETH_SHORT);
        counters_drop(&c, DROP_ETH_SHORT);
        counters_drop(&c, _DROP_MAX - 1);
        counter_add(&c.rx_bytes, 1500);
        g_assert_cmpuint(counter_read(&c.drops[DROP_ETH_SHORT]), ==, 2);
        g_assert_cmpuint(counter_read(&c.drops[_DROP_MAX - 1]), ==, 1);
        g_assert_cmpuint(counter_read(&c.drops[DROP_ETH_LONG]), ==, 0);
        g_assert_cmpuint(counter_read(&c.rx_bytes), ==, 1500);
}

/* One writes, another reads: no lock, no tear (TSan would see a plain access). */
static gpointer writer_main(gpointer data) {
        for (unsigned i = 0; i < 100000; i++)
                counters_drop(data, DROP_CHECKSUM);
        return NULL;
}

static void test_threads(void) {
        Counters c = {};
        GThread *writer = g_thread_new("writer", writer_main, &c);
        uint64_t last = 0;

        while (last < 100000) {
                uint64_t n = counter_read(&c.drops[DROP_CHECKSUM]);

                g_assert_cmpuint(n, >=, last);
                last = n;
        }
        g_thread_join(writer);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/counters/names", test_names);
        g_test_add_func("/counters/count", test_count);
        g_test_add_func("/counters/threads", test_threads);
        return g_test_run();
}
