/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lease table: a long random run against a plain list, and the edges of the pool. */

#include <errno.h>
#include <glib.h>
#include <stdio.h>

#include "netstack/dhcp-lease.h"

static LeaseTable table_make(const char *subnet, const char *gateway, const char *host) {
        LeaseTable t;
        IpPrefix p;
        IpAddr g, h;

        g_assert_cmpint(prefix_parse(subnet, &p), ==, 0);
        g_assert_cmpint(ip_parse(gateway, &g), ==, 0);
        g_assert_cmpint(ip_parse(host, &h), ==, 0);
        g_assert_cmpint(lease_table_init(&t, &p, &g, &h, 42), ==, 0);
        return t;
}

static MacAddr mac_of(unsigned i) {
        return (MacAddr){ { 2, 0, 0, 0, i >> 8, i } };
}

static void test_pool(void) {
        static const struct {
                const char *addr;
                bool valid;
        } cases[] = {
                { "10.0.0.0", false }, { "10.0.0.1", false }, { "10.0.0.2", true },  { "10.0.0.5", true },
                { "10.0.0.6", false }, { "10.0.0.7", false }, { "10.0.0.8", false }, { "9.255.255.255", false },
                { "::2", false },
        };
        LeaseTable t = table_make("10.0.0.0/29", "10.0.0.1", "10.0.0.6"), bad;
        IpPrefix p;
        IpAddr a;

        g_assert_cmpuint(t.n_max, ==, 4);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                g_assert_cmpint(ip_parse(cases[i].addr, &a), ==, 0);
                g_assert_cmpint(lease_table_valid(&t, &a), ==, cases[i].valid);
        }
        lease_table_deinit(&t);

        t = table_make("10.0.0.0/8", "10.0.0.1", "10.255.255.254");
        g_assert_cmpuint(t.n_max, ==, DHCP_LEASES_MAX);
        lease_table_deinit(&t);

        g_assert_cmpint(prefix_parse("10.0.0.0/30", &p), ==, 0);
        g_assert_cmpint(lease_table_init(&bad, &p, &a, &a, 1), ==, -EINVAL);
        g_assert_cmpint(prefix_parse("fd00::/64", &p), ==, 0);
        g_assert_cmpint(lease_table_init(&bad, &p, &a, &a, 1), ==, -EINVAL);
}

/* What the table should hold, by number of the address. */
typedef struct Model {
        bool used, known; /* known: its client is not forgotten */
        unsigned client;
        char name[8];
} Model;

static IpAddr addr_of(const LeaseTable *t, unsigned i) {
        return prefix_nth(&t->subnet, i + 2);
}

static void check_all(const LeaseTable *t, const Model *m, unsigned n) {
        unsigned n_used = 0, n_walked = 0;

        for (unsigned i = 0; i < n; i++) {
                IpAddr a = addr_of(t, i);
                LeaseEntry *e = lease_by_addr(t, &a);

                g_assert_cmpint(e != NULL, ==, m[i].used);
                if (!e)
                        continue;
                n_used++;
                g_assert_cmpstr(e->lease.hostname, ==, m[i].name);
                if (m[i].name[0])
                        g_assert_true(lease_by_name(t, m[i].name) == e);
                if (m[i].known) {
                        MacAddr mac = mac_of(m[i].client);
                        uint8_t id[] = { 0, m[i].client };

                        /* Even clients go by MAC, odd ones by id. */
                        g_assert_true(lease_by_client(t, id, m[i].client & 1 ? 2 : 0, &mac) == e);
                }
        }
        for (const LeaseEntry *e = lease_next(t, NULL); e; e = lease_next(t, e))
                n_walked++;
        g_assert_cmpuint(n_walked, ==, n_used);
}

static void test_random(void) {
        LeaseTable t = table_make("10.0.0.0/28", "10.0.0.1", "10.0.0.14");
        const unsigned n = 12;
        Model m[12] = {};
        unsigned n_used = 0;

        g_assert_cmpuint(t.n_max, ==, n);
        for (unsigned round = 0; round < 20000; round++) {
                unsigned i = g_random_int_range(0, n);
                IpAddr a = addr_of(&t, i);
                LeaseEntry *e = lease_by_addr(&t, &a);

                if (!m[i].used) {
                        MacAddr mac = mac_of(round & 0xff);
                        uint8_t id[] = { 0, round };
                        unsigned client = round & 0xff, id_len = client & 1 ? 2 : 0;

                        if (lease_by_client(&t, id, id_len, &mac))
                                continue;
                        e = lease_take(&t, &a, id, id_len, &mac);
                        g_assert_nonnull(e);
                        g_assert_cmpint(e->state, ==, LEASE_OFFERED);
                        m[i] = (Model){ .used = true, .known = true, .client = client };
                        n_used++;
                } else if (g_random_int_range(0, 3) == 0) {
                        lease_drop(&t, e);
                        m[i] = (Model){};
                        n_used--;
                } else if (g_random_int_range(0, 4) == 0) {
                        lease_forget_client(&t, e);
                        m[i].known = false;
                        m[i].name[0] = 0;
                } else {
                        /* Names are the caller's to keep unique: one per address here. */
                        snprintf(m[i].name, sizeof(m[i].name), g_random_boolean() ? "n%u" : "", i);
                        lease_set_name(&t, e, m[i].name);
                }
                check_all(&t, m, n);
                if (n_used == n) {
                        IpAddr other = prefix_nth(&t.subnet, 99);
                        MacAddr mac = mac_of(999);

                        g_assert_null(lease_take(&t, &other, NULL, 0, &mac)); /* full */
                }
        }
        lease_table_deinit(&t);
}

static void test_static_first(void) {
        LeaseTable t = table_make("10.0.0.0/24", "10.0.0.1", "10.0.0.254");
        MacAddr mac = mac_of(1);
        IpAddr a = addr_of(&t, 0), b = addr_of(&t, 1);
        LeaseEntry *by_id = lease_take(&t, &a, (const uint8_t *) "id", 2, &mac), *by_mac = lease_take(&t, &b, NULL, 0, &mac);

        g_assert_true(lease_by_client(&t, (const uint8_t *) "id", 2, &mac) == by_id);
        g_assert_true(lease_by_client(&t, NULL, 0, &mac) == by_mac);
        by_mac->lease.is_static = true;
        g_assert_true(lease_by_client(&t, (const uint8_t *) "id", 2, &mac) == by_mac);

        lease_set_name(&t, by_id, "Web");
        g_assert_true(lease_by_name(&t, "wEB") == by_id);
        g_assert_null(lease_by_name(&t, "we"));
        lease_table_deinit(&t);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dhcp-lease/pool", test_pool);
        g_test_add_func("/dhcp-lease/random", test_random);
        g_test_add_func("/dhcp-lease/static-first", test_static_first);
        return g_test_run();
}
