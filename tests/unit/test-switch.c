/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The switch's table: learning, moving, ageing, the limits of a port and of all, forgetting. */

#include <glib.h>

#include "daemon/switch.h"

static MacAddr mac_of(unsigned n) {
        return (MacAddr){ { 2, 0, 0, (uint8_t) (n >> 16), (uint8_t) (n >> 8), (uint8_t) n } };
}

static SwitchTable *new_table(void) {
        SwitchTable *t = g_new(SwitchTable, 1);

        switch_init(t, 42);
        return t;
}

static void test_learn(void) {
        g_autofree SwitchTable *t = new_table();
        MacAddr a = mac_of(1), b = mac_of(2);

        g_assert_cmpuint(switch_lookup(t, &a, 1), ==, 0);
        g_assert_true(switch_learn(t, &a, 1, 1));
        g_assert_true(switch_learn(t, &b, 256, 1));
        g_assert_cmpuint(switch_lookup(t, &a, 1), ==, 1);
        g_assert_cmpuint(switch_lookup(t, &b, 1), ==, 256);
        g_assert_true(switch_learn(t, &a, 7, 2)); /* it has moved */
        g_assert_cmpuint(switch_lookup(t, &a, 2), ==, 7);
        g_assert_cmpuint(t->n_entries[1], ==, 0);
        g_assert_cmpuint(t->n_entries[7], ==, 1);
}

static void test_age(void) {
        g_autofree SwitchTable *t = new_table();
        MacAddr a = mac_of(1);

        g_assert_true(switch_learn(t, &a, 1, 5));
        g_assert_cmpuint(switch_lookup(t, &a, 5 + SWITCH_AGE_USEC - 1), ==, 1);
        g_assert_cmpuint(switch_lookup(t, &a, 5 + SWITCH_AGE_USEC), ==, 0);
        g_assert_true(switch_learn(t, &a, 1, 5 + SWITCH_AGE_USEC));
        g_assert_cmpuint(switch_lookup(t, &a, 5 + SWITCH_AGE_USEC), ==, 1);
        g_assert_cmpuint(t->n_entries[1], ==, 1);
}

static void test_port_limit(void) {
        g_autofree SwitchTable *t = new_table();
        MacAddr m, other = mac_of(9999);

        for (unsigned i = 0; i < SWITCH_PORT_ENTRIES_MAX; i++) {
                m = mac_of(i);
                g_assert_true(switch_learn(t, &m, 1, 1));
        }
        m = mac_of(SWITCH_PORT_ENTRIES_MAX);
        g_assert_false(switch_learn(t, &m, 1, 2));
        g_assert_cmpuint(switch_lookup(t, &m, 2), ==, 0);
        m = mac_of(0);
        g_assert_true(switch_learn(t, &m, 1, 3)); /* those there are stay */
        g_assert_true(switch_learn(t, &other, 2, 3)); /* and others learn */
        g_assert_false(switch_learn(t, &other, 1, 3)); /* nor can a full port take an address over */
        g_assert_cmpuint(switch_lookup(t, &other, 3), ==, 2);

        /* when the old ones have aged there is room, but for the one that was seen since */
        m = mac_of(SWITCH_PORT_ENTRIES_MAX);
        g_assert_true(switch_learn(t, &m, 1, 1 + SWITCH_AGE_USEC));
        g_assert_cmpuint(t->n_entries[1], ==, 2);
}

static void test_full(void) {
        g_autofree SwitchTable *t = new_table();
        unsigned learnt = 0;
        MacAddr m;

        for (unsigned i = 0; i < 4 * SWITCH_ENTRIES_MAX; i++) {
                m = mac_of(i);
                learnt += switch_learn(t, &m, (uint16_t) (1 + i % SWITCH_PORTS_MAX), 1);
        }
        g_assert_cmpuint(learnt, <=, SWITCH_ENTRIES_MAX);
        g_assert_cmpuint(learnt, >, SWITCH_ENTRIES_MAX * 3 / 4);
        m = mac_of(100000); /* aged entries make room anywhere */
        g_assert_true(switch_learn(t, &m, 3, 1 + SWITCH_AGE_USEC));
}

static void count(const MacAddr *mac, void *userdata) {
        ++*(unsigned *) userdata;
}

static void test_forget(void) {
        g_autofree SwitchTable *t = new_table();
        unsigned n = 0;
        MacAddr m;

        for (unsigned i = 0; i < 10; i++) {
                m = mac_of(i);
                g_assert_true(switch_learn(t, &m, (uint16_t) (1 + i % 2), 1));
        }
        switch_forget_port(t, 1, count, &n);
        g_assert_cmpuint(n, ==, 5);
        g_assert_cmpuint(t->n_entries[1], ==, 0);
        g_assert_cmpuint(t->n_entries[2], ==, 5);
        m = mac_of(0);
        g_assert_cmpuint(switch_lookup(t, &m, 1), ==, 0);
        m = mac_of(1);
        g_assert_cmpuint(switch_lookup(t, &m, 1), ==, 2);
        switch_forget_port(t, 2, NULL, NULL);
        g_assert_cmpuint(switch_lookup(t, &m, 1), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/switch/learn", test_learn);
        g_test_add_func("/switch/age", test_age);
        g_test_add_func("/switch/port-limit", test_port_limit);
        g_test_add_func("/switch/full", test_full);
        g_test_add_func("/switch/forget", test_forget);
        return g_test_run();
}
