/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Configuration files: every key, every kind of refusal with its line, directories that hide each other, and the manual. */

#include <glib.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "basic/parse.h"
#include "daemon/config.h"

static Config *fresh(void) {
        Config *c = calloc(1, sizeof(*c));

        *c = (Config){ .log_level = -1, .host_loopback = -1 };
        return c;
}

static Config *parse_network(const char *text) {
        Config *c = fresh();

        g_assert_cmpint(config_parse_network(c, "lab", "lab.json", text, strlen(text)), ==, 0);
        g_assert_cmpuint(c->n_networks, ==, 1);
        return c;
}

static Config *parse_main(const char *text) {
        Config *c = fresh();

        g_assert_cmpint(config_parse_main(c, "vnetd.json", text, strlen(text)), ==, 0);
        return c;
}

static void test_network(void) {
        _cleanup_(config_freep) Config *c = parse_network("{\n"
                "  \"subnet\": \"10.1.0.0/24\", \"subnet6\": \"fd00:1::/64\", \"nat64\": \"well-known\", \"mtu\": 9000, \"domain\": \"lab.example\",\n"
                "  \"dnsServers\": [\"192.0.2.1\", \"[2001:db8::1]:5353\"], \"hostLoopback\": false,\n"
                "  \"staticLeases\": {\"10.1.0.9\": \"52:54:00:00:00:09\"}, \"leaseTime\": \"12h\",\n"
                "  \"forwards\": [{\"local\": \"6443\"},\n"
                "    {\"protocol\": \"udp\", \"local\": \":53\", \"remote\": \"10.1.0.9:5353\", \"source\": \"gateway\"}]\n"
                "}\n");
        ConfigNetwork *n = &c->networks[0];

        g_assert_cmpuint(c->n_problems, ==, 0);
        g_assert_false(n->broken);
        g_assert_cmpstr(n->name, ==, "lab");
        g_assert_cmpstr(n->subnet, ==, "10.1.0.0/24");
        g_assert_cmpstr(n->subnet6, ==, "fd00:1::/64");
        g_assert_cmpstr(n->nat64, ==, "well-known");
        g_assert_cmpuint(n->mtu, ==, 9000);
        g_assert_cmpstr(n->domain, ==, "lab.example");
        g_assert_cmpstr(n->dns_servers[0], ==, "192.0.2.1");
        g_assert_cmpstr(n->dns_servers[1], ==, "[2001:db8::1]:5353");
        g_assert_null(n->dns_servers[2]);
        g_assert_cmpint(n->host_loopback, ==, 0);
        g_assert_cmpstr(n->static_leases[0], ==, "10.1.0.9");
        g_assert_cmpstr(n->static_leases[1], ==, "52:54:00:00:00:09");
        g_assert_null(n->static_leases[2]);
        g_assert_cmpuint(n->lease_sec, ==, 12 * 3600);
        g_assert_cmpuint(n->n_forwards, ==, 2);
        g_assert_cmpstr(n->forwards[0].protocol, ==, "tcp");
        g_assert_cmpstr(n->forwards[0].local, ==, "6443");
        g_assert_cmpstr(n->forwards[0].remote, ==, "");
        g_assert_null(n->forwards[0].source);
        g_assert_cmpuint(n->forwards[1].line, ==, 6);
        g_assert_cmpstr(n->forwards[1].source, ==, "gateway");
}

static void test_network_unset(void) {
        _cleanup_(config_freep) Config *c = parse_network("{}");
        ConfigNetwork *n = &c->networks[0];

        g_assert_false(n->broken);
        g_assert_null(n->subnet);
        g_assert_cmpint(n->host_loopback, ==, -1);
        g_assert_cmpuint(n->mtu + n->lease_sec + n->n_forwards, ==, 0);
}

static void test_main(void) {
        _cleanup_(config_freep) Config *c = parse_main("{\"logLevel\": \"debug\", \"hostLoopback\": true}");
        _cleanup_(config_freep) Config *bad = parse_main("{\"hostLoopback\": true,\n\"logLevel\": \"loud\"}");

        g_assert_cmpint(c->log_level, ==, LOG_DEBUG);
        g_assert_cmpint(c->host_loopback, ==, 1);
        g_assert_false(c->main_broken);

        g_assert_true(bad->main_broken); /* and nothing of it holds */
        g_assert_cmpint(bad->host_loopback, ==, -1);
        g_assert_cmpint(bad->log_level, ==, -1);
        g_assert_true(g_str_has_prefix(bad->problems[0], "vnetd.json:2: logLevel: expected one of"));
        g_assert_true(g_str_has_suffix(bad->problems[0], "not \"loud\""));
}

/* Each: a file, and its one problem. */
static void test_refused(void) {
        static const struct {
                const char *text, *problem;
        } cases[] = {
                { "{\n\n\"subnett\": 1}", "lab.json:3: unknown key 'subnett'; there are: subnet, subnet6, nat64, mtu, *" },
                { "[]", "lab.json:1: expected an object, not an array" },
                { "{\"subnet\": 5}", "lab.json:1: subnet: expected an IPv4 subnet * not 5" },
                { "{\"subnet\": \"10.0.0.0\"}", "*subnet: expected* not \"10.0.0.0\"" },
                { "{\"subnet\": \"10.0.0.0/33\"}", "*subnet: expected*" },
                { "{\"subnet\": \"fd00::/64\"}", "*subnet: expected*" },
                { "{\"subnet6\": \"10.0.0.0/24\"}", "*subnet6: expected*" },
                { "{\"nat64\": \"10.0.0.0/24\"}", "*nat64: expected*" },
                { "{\"nat64\": true}", "*nat64: expected*" },
                { "{\"mtu\": 575}", "*mtu: expected a number from 576 to 65520*" },
                { "{\"mtu\": 65521}", "*mtu: expected*" },
                { "{\"mtu\": 1500.5}", "*mtu: expected*" },
                { "{\"mtu\": -1500}", "*mtu: expected*" },
                { "{\"mtu\": \"1500\"}", "*mtu: expected* not \"1500\"" },
                { "{\"domain\": \"-x\"}", "*domain: expected*" },
                { "{\"domain\": null}", "*domain: expected*" },
                { "{\"dnsServers\": []}", "*dnsServers: expected*" },
                { "{\"dnsServers\": [\"x\"]}", "*dnsServers: expected*" },
                { "{\"dnsServers\": [\"192.0.2.1\", 5]}", "*dnsServers: expected*" },
                { "{\"hostLoopback\": 1}", "*hostLoopback: expected true or false, not 1" },
                { "{\"staticLeases\": {\"10.0.0.9\": \"52:54:00\"}}", "*staticLeases: expected*" },
                { "{\"staticLeases\": {\"fd00::1\": \"52:54:00:00:00:01\"}}", "*staticLeases: expected*" },
                { "{\"staticLeases\": {\"10.0.0.9\": \"52:54:00:00:00:09\", \"10.0.0.8\": 5}}", "*staticLeases: expected*" },
                { "{\"leaseTime\": 3600}", "*leaseTime: expected*" },
                { "{\"leaseTime\": \"59s\"}", "*leaseTime: expected*" },
                { "{\"leaseTime\": \"366d\"}", "*leaseTime: expected*" },
                { "{\"forwards\": {}}", "*forwards: expected a list of objects, not this object" },
                { "{\"mtu\": 65521}", "*mtu: expected a number from 576 to 65520, not 65521" },
                { "{\"mtu\": 1.5}", "*mtu: expected a number from 576 to 65520, not a number" },
                { "{\"reflect\": [\"mdns\", \"bonjour\"]}", "*reflect: expected a list of \"mdns\" and \"ssdp\", not this array" },
                { "{\"forwards\": [5]}", "lab.json:1: expected an object, not a number" },
                { "{\"forwards\": [\n{}]}", "lab.json:2: local is missing" },
                { "{\"forwards\": [{\"local\": \"1\", \"protocol\": \"sctp\"}]}", "*protocol: expected*" },
                { "{\"forwards\": [{\"local\": \"1\", \"source\": \"host\"}]}", "*source: expected*" },
                { "{\"forwards\": [{\"local\": \"1\", \"subnet\": \"x\"}]}", "*unknown key 'subnet'*" },
                { "{\"mtu\": 1500,\n\"mtu\": 1500}", "lab.json:2: *" },
                { "{\n\"mtu\" 1500}", "lab.json:*" },
                { "{", "lab.json:1: *" },
                { "{} {}", "lab.json:1: *" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                _cleanup_(config_freep) Config *c = parse_network(cases[i].text);

                g_assert_true(c->networks[0].broken);
                g_assert_cmpuint(c->n_problems, ==, 1);
                if (!g_pattern_match_simple(cases[i].problem, c->problems[0]))
                        g_error("%s: '%s' is not like '%s'", cases[i].text, c->problems[0], cases[i].problem);
        }
}

static void test_limits(void) {
        g_autoptr(GString) text = g_string_new("{");
        g_autoptr(GString) forwards = g_string_new("{\"forwards\": [");

        /* All problems of a file are told, up to CONFIG_PROBLEMS_MAX. */
        for (int i = 0; i <= CONFIG_PROBLEMS_MAX; i++)
                g_string_append_printf(text, "%s\"k%d\": 1", i > 0 ? "," : "", i);
        g_string_append(text, "}");
        {
                _cleanup_(config_freep) Config *c = parse_network(text->str);

                g_assert_cmpuint(c->n_problems, ==, CONFIG_PROBLEMS_MAX);
                /* what comes after the list is full is taken for broken */
                g_assert_cmpint(config_parse_network(c, "b", "b.json", "{\"x\": 1}", 8), ==, 0);
                g_assert_true(c->networks[1].broken);
        }

        for (int i = 0; i < CONFIG_FORWARDS_MAX; i++)
                g_string_append_printf(forwards, "%s{\"local\": \"%d\"}", i > 0 ? "," : "", 1000 + i);
        {
                g_autofree char *fits = g_strconcat(forwards->str, "]}", NULL),
                                *more = g_strconcat(forwards->str, ",{\"local\": \"1\"}]}", NULL);
                _cleanup_(config_freep) Config *good = parse_network(fits);
                _cleanup_(config_freep) Config *bad = parse_network(more);

                g_assert_cmpuint(good->n_problems, ==, 0);
                g_assert_cmpuint(good->networks[0].n_forwards, ==, CONFIG_FORWARDS_MAX);
                g_assert_true(bad->networks[0].broken);
        }
}

/* ---- directories ---- */

static void put(const char *dir, const char *name, const char *text) {
        g_autofree char *path = g_build_filename(dir, name, NULL), *parent = g_path_get_dirname(path);

        g_assert_cmpint(g_mkdir_with_parents(parent, 0755), ==, 0);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void remove_tree(const char *path) {
        GDir *dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);
                remove_tree(child);
        }
        if (dir)
                g_dir_close(dir);
        g_assert_cmpint(g_remove(path), ==, 0);
}

static void test_directories(void) {
        g_autofree char *top = g_dir_make_tmp("vnetd-config-XXXXXX", NULL);
        g_autofree char *etc = g_build_filename(top, "etc", NULL), *lib = g_build_filename(top, "lib", NULL),
                        *null_link = g_build_filename(etc, "networks.d/masked.json", NULL),
                        *fifo = g_build_filename(etc, "networks.d/pipe.json", NULL);
        const char *dirs[] = { etc, lib, NULL };
        _cleanup_(config_freep) Config *c = NULL, *none = NULL;

        g_assert_cmpint(config_load(&none, dirs), ==, 0);
        g_assert_cmpuint(none->n_networks + none->n_problems, ==, 0);

        put(lib, "vnetd.json", "{\"logLevel\": \"debug\"}");
        put(etc, "vnetd.json", "{\"hostLoopback\": true}");
        put(etc, "networks.d/b.json", "{\"mtu\": 1500}");
        put(etc, "networks.d/a.json", "{}");
        put(etc, "networks.d/.hidden.json", "not read");
        put(etc, "networks.d/README", "not read");
        put(etc, "networks.d/no name.json", "{}");
        put(etc, "networks.d/empty.json", "");
        put(lib, "networks.d/empty.json", "{}");
        put(lib, "networks.d/b.json", "{\"mtu\": 9000}");
        put(lib, "networks.d/c.json", "{\"mtu\": 9000}");
        put(lib, "networks.d/masked.json", "{}");
        g_assert_cmpint(symlink("/dev/null", null_link), ==, 0);
        g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);

        g_assert_cmpint(config_load(&c, dirs), ==, 0);
        g_assert_cmpint(c->log_level, ==, -1); /* the file in lib is hidden whole */
        g_assert_cmpint(c->host_loopback, ==, 1);
        g_assert_cmpuint(c->n_networks, ==, 4);
        g_assert_cmpstr(c->networks[0].name, ==, "a");
        g_assert_cmpstr(c->networks[1].name, ==, "b");
        g_assert_cmpuint(c->networks[1].mtu, ==, 1500);
        g_assert_cmpstr(c->networks[2].name, ==, "pipe");
        g_assert_true(c->networks[2].broken);
        g_assert_cmpstr(c->networks[3].name, ==, "c");
        g_assert_cmpuint(c->n_problems, ==, 2);
        g_assert_true(g_pattern_match_simple("*'no name' cannot be the name of a network*", c->problems[0]));
        g_assert_true(g_pattern_match_simple("*pipe.json: cannot be read: it is no regular file", c->problems[1]));
        remove_tree(top);
}

/* The manual has every key under its section's heading, and no other. */
static void test_manual(void) {
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;
        size_t n_keys, n_found = 0;
        const ConfigKey *keys = config_keys(&n_keys);
        const char *section = "";

        g_assert_true(g_file_get_contents(g_getenv("VNETD_MAN_CONFIG"), &text, NULL, NULL));
        lines = g_strsplit(text, "\n", -1);
        for (char **l = lines; *l; l++) {
                bool known = false;

                if (g_str_has_prefix(*l, ".SH KEYS OF "))
                        section = *l + strlen(".SH KEYS OF ");
                if (!g_str_has_prefix(*l, ".B \\(dq"))
                        continue;
                for (size_t i = 0; i < n_keys; i++) {
                        g_autofree char *heading = g_strdup_printf(".B \\(dq%s\\(dq", keys[i].name);
                        known |= streq(*l, heading) && streq(keys[i].section, section);
                }
                if (!known)
                        g_error("%s is no key of %s", *l, section);
                n_found++;
        }
        g_assert_cmpuint(n_found, ==, n_keys);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/config/network", test_network);
        g_test_add_func("/config/network-unset", test_network_unset);
        g_test_add_func("/config/main", test_main);
        g_test_add_func("/config/refused", test_refused);
        g_test_add_func("/config/limits", test_limits);
        g_test_add_func("/config/directories", test_directories);
        g_test_add_func("/config/manual", test_manual);
        return g_test_run();
}
