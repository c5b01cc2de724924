/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every method of every object with what no decent client sends: wrong types, unknown keys, odd characters,
 * 100,000-character strings. Methods and their types come from dbus-interfaces/, so one added later is
 * covered by itself. Whatever is sent, the answer is an error of the documented kind with a short message,
 * and the daemon answers the next call.
 */

#include <stdbool.h>
#include <string.h>

#include "fixture.h"

#define LONG_LEN 100000
#define MESSAGE_MAX 1024

typedef struct Object {
        char *path; /* (owned) */
        const char *interface;
        GDBusInterfaceInfo *info; /* (ref) */
} Object;

typedef struct World {
        Fixture f;
        Object objects[4];
        size_t n_objects;
} World;

static GDBusInterfaceInfo *load_interface(const char *interface) {
        g_autofree char *path = g_strconcat(g_getenv("DBUS_INTERFACES"), "/", interface, ".xml", NULL);
        g_autoptr(GDBusNodeInfo) node = NULL;
        g_autofree char *text = NULL;
        g_autoptr(GError) error = NULL;

        g_assert_true(g_file_get_contents(path, &text, NULL, &error));
        node = g_dbus_node_info_new_for_xml(text, &error);
        g_assert_no_error(error);
        return g_dbus_interface_info_ref(g_dbus_node_info_lookup_interface(node, interface));
}

static void add_object(World *w, const char *path, const char *interface) {
        w->objects[w->n_objects++] = (Object){ g_strdup(path), interface, load_interface(interface) };
}

/* A device needs /dev/net/tun and the right to it; without, the three other kinds of objects are tested. */
static void add_device(World *w) {
        g_autoptr(GVariant) reply = NULL;
        const char *path;

        reply = call(w->f.client, VNETD_PATH, MANAGER, "CreateDevice",
                     g_variant_new_parsed("('tap', {'Name': <'dev0'>, 'Network': <''>})"), NULL);
        if (!reply) {
                g_test_message("no right to make a TAP here: devices are left out");
                return;
        }
        g_variant_get(reply, "(&oa{sv})", &path, NULL);
        add_object(w, path, DEVICE);
}

static void add_forward(World *w) {
        g_autoptr(GSocketListener) listener = g_socket_listener_new();
        g_autoptr(GVariant) reply = NULL;
        g_autofree char *local = NULL;
        const char *path;
        guint16 port;

        port = g_socket_listener_add_any_inet_port(listener, NULL,
                                                   NULL); /* free once the listener is gone */
        g_socket_listener_close(listener);
        local = g_strdup_printf("127.0.0.1:%u", port);
        reply = call_ok(w->f.client, NETWORK_DEFAULT, NETWORK, "Expose",
                        g_variant_new("(sssa{sv})", "tcp", local, "192.168.127.2:80", NULL));
        g_variant_get(reply, "(&o)", &path);
        add_object(w, path, FORWARD);
}

static void world_set_up(World *w) {
        memset(w, 0, sizeof(*w));
        fixture_set_up(&w->f, FALSE, FALSE);
        add_object(w, VNETD_PATH, MANAGER);
        add_object(w, NETWORK_DEFAULT, NETWORK);
        add_forward(w);
        add_device(w);
}

static void world_tear_down(World *w) {
        for (size_t i = 0; i < w->n_objects; i++) {
                g_free(w->objects[i].path);
                g_dbus_interface_info_unref(w->objects[i].info);
        }
        fixture_tear_down(&w->f);
}

/* Sends and expects a refusal. @name NULL: any error of vnetd's or D-Bus's own. */
static void refused(World *w, const Object *o, const char *method, GVariant *args, const char *name,
                    const char *part) {
        g_autoptr(GVariant) reply = NULL, keep = NULL;
        g_autofree char *is = NULL;
        g_autoptr(GError) error = NULL;

        keep = args ? g_variant_ref_sink(args) : NULL;
        reply = call(w->f.client, o->path, o->interface, method, keep, &error);
        if (reply) {
                g_autofree char *text = g_variant_print(keep, TRUE);

                g_error("%s.%s%.200s was not refused", o->interface, method, text);
        }
        is = g_dbus_error_get_remote_error(error);
        g_assert_nonnull(is);
        g_assert_cmpuint(strlen(error->message), <, MESSAGE_MAX);
        g_assert_false(g_str_has_suffix(is, ".NoReply"));
        if (name)
                g_assert_cmpstr(is, ==, name);
        else
                g_assert_true(g_str_has_prefix(is, "org.vnetd1.") || g_str_has_prefix(is, ERROR_DBUS));
        if (part && !strstr(error->message, part))
                g_error("%s.%s: no '%s' in: %s", o->interface, method, part, error->message);
}

typedef void (*MethodFn)(World *w, const Object *o, const GDBusMethodInfo *m);

static void for_each_method(World *w, MethodFn fn) {
        for (size_t i = 0; i < w->n_objects; i++) {
                const Object *o = w->objects + i;

                for (GDBusMethodInfo **m = o->info->methods; m && *m; m++) {
                        fn(w, o, *m);
                        daemon_assert_alive(&w->f.daemon, w->f.client);
                }
        }
}

static size_t n_args(const GDBusMethodInfo *m) {
        size_t n = 0;

        while (m->in_args && m->in_args[n])
                n++;
        return n;
}

/* Arguments of the right types: every string is @text, every dictionary is @options (nullable: empty). */
static GVariant *make_args(const GDBusMethodInfo *m, const char *text, GVariant *options) {
        GVariantBuilder b = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_TUPLE);

        for (size_t i = 0; i < n_args(m); i++)
                if (g_str_equal(m->in_args[i]->signature, "s")) {
                        g_variant_builder_add(&b, "s", text);
                } else if (g_str_equal(m->in_args[i]->signature, "a(sss)")) {
                        g_variant_builder_add_parsed(&b, "[(%s, %s, %s)]", text, text, text);
                } else if (g_str_equal(m->in_args[i]->signature, "ay")) {
                        g_variant_builder_add_parsed(&b, "@ay []");
                } else if (g_str_equal(m->in_args[i]->signature, "h")) {
                        g_variant_builder_add_parsed(&b, "@h 0"); /* of none: no descriptor comes along */
                } else if (g_str_equal(m->in_args[i]->signature, "q")) {
                        g_variant_builder_add(&b, "q", 80);
                } else {
                        g_assert_cmpstr(m->in_args[i]->signature, ==, "a{sv}");
                        g_variant_builder_add_value(&b, options ?: g_variant_new_parsed("@a{sv} {}"));
                }
        return g_variant_builder_end(&b);
}

static bool takes(const GDBusMethodInfo *m, const char *signature) {
        for (size_t i = 0; i < n_args(m); i++)
                if (g_str_equal(m->in_args[i]->signature, signature))
                        return true;
        return false;
}

/* ---- wrong types ---- */

static void wrong_types(World *w, const Object *o, const GDBusMethodInfo *m) {
        static const char *const wrong[] = {
                "(7,)",
                "('a', 'b', 'c', 'd', 'e', 'f')",
                "(@aas [['x']], {'k': <(1, true)>})",
                "(objectpath '/', signature 'ai', <<'x'>>)",
                "(@a{sv} {}, @a{sv} {})",
        };

        if (n_args(m) > 0)
                refused(w, o, m->name, NULL, ERROR_DBUS "InvalidArgs", NULL);
        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
                refused(w, o, m->name, g_variant_new_parsed(wrong[i]), ERROR_DBUS "InvalidArgs", NULL);
}

static void test_wrong_types(void) {
        World w;

        world_set_up(&w);
        for_each_method(&w, wrong_types);
        world_tear_down(&w);
}

/* ---- strings ---- */

static void long_strings(World *w, const Object *o, const GDBusMethodInfo *m) {
        g_autofree char *text = g_strnfill(LONG_LEN, 'x');

        if (takes(m, "s"))
                refused(w, o, m->name, make_args(m, text, NULL), NULL, NULL);
}

static void odd_characters(World *w, const Object *o, const GDBusMethodInfo *m) {
        static const char *const odd[] = {
                "",
                " ",
                "/",
                "..",
                "a/b",
                "a b",
                "%s%n%d%s",
                "line\nbreak",
                "tab\t",
                "\x01\x1f\x7f",
                "-",
                "-rf",
                ".a",
                "\xc3\xa4",
                "a\xe2\x80\xae"
                "b",
                "\xf0\x9f\x90\x99",
                "'; --",
                "\\",
                "$(id)",
                "<a>",
                "\"",
                "0x1",
                "1e9",
                "99999999999999999999",
                "[::1",
                "127.0.0.1:",
                ":0",
                ":65536",
                "127.0.0.1:-1",
        };

        if (takes(m, "s"))
                for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
                        if (g_str_equal(odd[i], "0x1") && g_str_equal(m->name, "CreateNetwork"))
                                continue; /* a decent name */
                        if (g_str_equal(odd[i], "1e9") && g_str_equal(m->name, "CreateNetwork"))
                                continue;
                        if (g_str_equal(odd[i], "99999999999999999999") &&
                            g_str_equal(m->name, "CreateNetwork"))
                                continue;
                        refused(w, o, m->name, make_args(m, odd[i], NULL), NULL, NULL);
                }
}

/* The protocol of forwards is right here, so that the addresses are looked at. */
static void test_expose_addresses(void) {
        static const char *const bad[] = {
                "",
                " ",
                "65536",
                "0",
                "-1",
                "+80",
                "080808",
                "127.0.0.1",
                "127.0.0.1:",
                "127.0.0.1:0",
                "127.0.0.1:65536",
                "1.2.3:80",
                "256.1.1.1:80",
                "[::1]",
                "[::1]:",
                "::1:80x",
                "[::1:80",
                "a:80",
                "127.0.0.1:80:80",
                "127.0.0.1 :80",
                "8080 ",
                "0x50",
                "224.0.0.1:8080",
                "%s:8080",
                "8080\n",
        };
        g_autofree char *text = g_strnfill(LONG_LEN, '8');
        const Object *o;
        World w;

        world_set_up(&w);
        o = w.objects + 1;
        g_assert_cmpstr(o->interface, ==, NETWORK);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                refused(&w, o, "Expose", g_variant_new("(sssa{sv})", "tcp", bad[i], "", NULL), NULL, NULL);
                refused(&w, o, "Unexpose", g_variant_new("(ss)", "udp", bad[i]), NULL, NULL);
        }
        refused(&w, o, "Expose", g_variant_new("(sssa{sv})", "tcp", text, "", NULL),
                ERROR_DBUS "InvalidArgs", NULL);
        refused(&w, o, "Expose", g_variant_new("(sssa{sv})", "tcp", "28080", text, NULL),
                ERROR_DBUS "InvalidArgs", NULL);
        refused(&w, o, "Unexpose", g_variant_new("(ss)", "tcp", text), ERROR_DBUS "InvalidArgs", NULL);
        world_tear_down(&w);
}

static void test_strings(void) {
        World w;

        world_set_up(&w);
        for_each_method(&w, long_strings);
        for_each_method(&w, odd_characters);
        world_tear_down(&w);
}

/* ---- options ---- */

typedef struct OptionCase {
        const char *interface, *method, *first; /* @first: the arguments before the options, as text */
        const char *option, *good;              /* a key and a value of the right type */
} OptionCase;

static const OptionCase option_cases[] = {
        { MANAGER, "CreateNetwork", "'x',", "Subnet", "'10.9.8.0/24'" },
        { MANAGER, "CreateNetwork", "'x',", "Subnet6", "'fd00:1:2:3::/64'" },
        { MANAGER, "CreateNetwork", "'x',", "Nat64", "'64:ff9b::/96'" },
        { MANAGER, "CreateNetwork", "'x',", "Reflect", "['mdns', 'ssdp']" },
        { MANAGER, "CreateNetwork", "'x',", "Mtu", "@u 1500" },
        { MANAGER, "CreateNetwork", "'x',", "Domain", "'example.internal'" },
        { MANAGER, "CreateNetwork", "'x',", "DnsServers", "['192.0.2.1']" },
        { MANAGER, "CreateNetwork", "'x',", "StaticLeases", "{'192.168.127.9': '52:54:00:00:00:09'}" },
        { MANAGER, "CreateNetwork", "'x',", "HostLoopback", "true" },
        { MANAGER, "CreateNetwork", "'x',", "LeaseTime", "@u 3600" },
        { MANAGER, "CreateNetwork", "'x',", "HttpApi", "'unix:///run/x.http'" },
        { MANAGER, "CreateNetwork", "'x',", "HttpGateway", "true" },
        { MANAGER, "CreateDevice", "'tap',", "Name", "'x'" },
        { MANAGER, "CreateDevice", "'tap',", "Network", "''" },
        { MANAGER, "CreateDevice", "'tap',", "Mac", "'52:54:00:00:00:09'" },
        { MANAGER, "CreateDevice", "'tap',", "Mtu", "@u 1500" },
        { MANAGER, "CreateDevice", "'tap',", "Namespace", "'1'" },
        { MANAGER, "CreateDevice", "'tap',", "Fd", "@h 0" },
        { MANAGER, "CreateDevice", "'tap',", "Ifname", "'x0'" },
        { MANAGER, "CreateDevice", "'tap',", "Owner", "@u 0" },
        { MANAGER, "CreateDevice", "'tap',", "Persistent", "false" },
        { MANAGER, "CreateDevice", "'tap',", "Queues", "@u 1" },
        { MANAGER, "CreateDevice", "'tap',", "Offloads", "['csum']" },
        { MANAGER, "CreateDevice", "'tap',", "Lend", "@h 0" },
        { NETWORK, "Expose", "'tcp', '28080', ''", "SourceAddress", "'client'" },
        { NETWORK, "Expose", "'tcp', '28080', ''", "Bypass", "false" },
        { NETWORK, "ListFlows", NULL, "Protocol", "'tcp'" },
        { NETWORK, "ListFlows", NULL, "Guest", "'192.168.127.2'" },
        { NETWORK, "ListFlows", NULL, "Limit", "@u 1" },
};

static const Object *object_of(World *w, const char *interface) {
        for (size_t i = 0; i < w->n_objects; i++)
                if (g_str_equal(w->objects[i].interface, interface))
                        return w->objects + i;
        g_assert_not_reached();
}

/* A dictionary by hand: GVariant's own text format would merge keys. @entries: { key, value as text } pairs,
 * NULL-terminated. */
static GVariant *with_options(const OptionCase *c, const char *const *entries) {
        g_autofree char *first = g_strdup_printf("(%s)", c->first ?: "");
        GVariantBuilder args = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_TUPLE), options;
        g_autoptr(GVariant) before = NULL;

        if (c->first) {
                before = g_variant_ref_sink(g_variant_parse(NULL, first, NULL, NULL, NULL));
                for (size_t i = 0; i < g_variant_n_children(before); i++) {
                        g_autoptr(GVariant) child = g_variant_get_child_value(before, i);

                        g_variant_builder_add_value(&args, child);
                }
        }
        g_variant_builder_init(&options, G_VARIANT_TYPE("a{sv}"));
        for (; entries[0]; entries += 2) {
                g_autoptr(GVariant) value = g_variant_parse(NULL, entries[1], NULL, NULL, NULL);

                g_assert_nonnull(value);
                g_variant_builder_add(&options, "{sv}", entries[0], value);
        }
        g_variant_builder_add_value(&args, g_variant_builder_end(&options));
        return g_variant_builder_end(&args);
}

static void unknown_key(World *w, const Object *o, const GDBusMethodInfo *m) {
        static const char *const keys[] = { "Colour", "", "subnet", "Subnet ", "%s%n", "\xf0\x9f\x90\x99" };
        bool expose = g_str_equal(m->name, "Expose");

        if (!takes(m, "a{sv}") || takes(m, "h")) /* with a descriptor: test-lab.c */
                return;
        for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
                g_autoptr(GVariant) options =
                                g_variant_ref_sink(g_variant_new_parsed("{%s: <'x'>}", keys[i]));

                refused(w, o, m->name, make_args(m, expose ? "tcp" : "x", options), ERROR_DBUS "InvalidArgs",
                        g_ascii_isalpha(keys[i][0]) ? keys[i] : NULL);
        }
}

static void test_option_keys(void) {
        World w;

        world_set_up(&w);
        for_each_method(&w, unknown_key);
        for (size_t i = 0; i < G_N_ELEMENTS(option_cases); i++) {
                const OptionCase *c = option_cases + i;
                const char *twice[] = { c->option, c->good, c->option, c->good, NULL };

                if (g_str_equal(c->good, "@h 0"))
                        continue; /* needs a descriptor beside it */
                refused(&w, object_of(&w, c->interface), c->method, with_options(c, twice),
                        ERROR_DBUS "InvalidArgs", c->option);
        }
        world_tear_down(&w);
}

static void test_option_types(void) {
        static const char *const values[] = { "'text'", "@u 7",       "@i -7",         "@t 7",
                                              "true",   "['a']",      "{'a': 'b'}",    "@ay [0x61]",
                                              "<'x'>",  "('a', 'b')", "objectpath '/'" };
        World w;

        world_set_up(&w);
        for (size_t i = 0; i < G_N_ELEMENTS(option_cases); i++) {
                const OptionCase *c = option_cases + i;
                g_autoptr(GVariant) good = g_variant_parse(NULL, c->good, NULL, NULL, NULL);

                for (size_t k = 0; k < G_N_ELEMENTS(values); k++) {
                        g_autoptr(GVariant) value = g_variant_parse(NULL, values[k], NULL, NULL, NULL);
                        const char *entries[] = { c->option, values[k], NULL };

                        if (!g_variant_is_of_type(value, g_variant_get_type(good)))
                                refused(&w, object_of(&w, c->interface), c->method, with_options(c, entries),
                                        ERROR_DBUS "InvalidArgs", c->option);
                }
        }
        world_tear_down(&w);
}

static void test_option_values(void) {
        static const OptionCase bad[] = {
                { MANAGER, "CreateNetwork", "'x',", "Subnet", "'192.168.0.0'" },
                { MANAGER, "CreateNetwork", "'x',", "Subnet", "'192.168.0.0/33'" },
                { MANAGER, "CreateNetwork", "'x',", "Subnet", "'fd00::/64'" },
                { MANAGER, "CreateNetwork", "'x',", "Subnet", "'127.0.0.0/24'" },
                { MANAGER, "CreateNetwork", "'x',", "Subnet", "'10.0.0.0/30'" },
                { MANAGER, "CreateNetwork", "'x',", "Subnet6", "'10.0.0.0/24'" },
                { MANAGER, "CreateNetwork", "'x',", "Nat64", "'10.0.0.0/24'" },
                { MANAGER, "CreateNetwork", "'x',", "Nat64", "'64:ff9b::/64'" },
                { MANAGER, "CreateNetwork", "'x',", "Nat64", "'yes'" },
                { MANAGER, "CreateNetwork", "'x',", "Reflect", "['llmnr']" },
                { MANAGER, "CreateNetwork", "'x',", "Mtu", "@u 0" },
                { MANAGER, "CreateNetwork", "'x',", "Mtu", "@u 575" },
                { MANAGER, "CreateNetwork", "'x',", "Mtu", "@u 65521" },
                { MANAGER, "CreateNetwork", "'x',", "Domain", "'-bad..name'" },
                { MANAGER, "CreateNetwork", "'x',", "DnsServers", "['nonsense']" },
                { MANAGER, "CreateNetwork", "'x',", "StaticLeases", "{'nonsense': '52:54:00:00:00:09'}" },
                { MANAGER, "CreateNetwork", "'x',", "StaticLeases", "{'192.168.127.9': 'nonsense'}" },
                { MANAGER, "CreateNetwork", "'x',", "LeaseTime", "@u 0" },
                { MANAGER, "CreateDevice", "'tap',", "Name", "'a/b'" },
                { MANAGER, "CreateDevice", "'tap',", "Network", "'nowhere'" },
                { MANAGER, "CreateDevice", "'tap',", "Mac", "'52:54:00:00:00'" },
                { MANAGER, "CreateDevice", "'tap',", "Mtu", "@u 65521" },
                { MANAGER, "CreateDevice", "'tap',", "Namespace", "''" },
                { MANAGER, "CreateDevice", "'tap',", "Namespace", "'/nonexistent'" },
                { MANAGER, "CreateDevice", "'tap',", "Namespace", "'/dev/null'" },
                { MANAGER, "CreateDevice", "'tap',", "Namespace", "'4194305'" },
                { MANAGER, "CreateDevice", "'tap',", "Ifname", "'0123456789abcdef'" },
                { MANAGER, "CreateDevice", "'tap',", "Ifname", "'a/b'" },
                { MANAGER, "CreateDevice", "'tap',", "Queues", "@u 0" },
                { MANAGER, "CreateDevice", "'tap',", "Queues", "@u 17" },
                { MANAGER, "CreateDevice", "'tap',", "Offloads", "['csum', 'warp']" },
                { NETWORK, "Expose", "'tcp', '28080', ''", "SourceAddress", "'elsewhere'" },
                { NETWORK, "ListFlows", NULL, "Protocol", "'sctp'" },
                { NETWORK, "ListFlows", NULL, "Guest", "'nobody'" },
                { NETWORK, "ListFlows", NULL, "Limit", "@u 0" },
                { NETWORK, "ListFlows", NULL, "Limit", "@u 10001" },
        };
        World w;

        world_set_up(&w);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                const char *entries[] = { bad[i].option, bad[i].good, NULL };

                refused(&w, object_of(&w, bad[i].interface), bad[i].method, with_options(bad + i, entries),
                        NULL, NULL);
        }
        world_tear_down(&w);
}

/* Strings and lists at their limits and one above. */
static void test_option_limits(void) {
        g_autofree char *string_max = g_strnfill(4095, '/'), *string_above = g_strnfill(4096, '/');
        GVariantBuilder below = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("as"));
        GVariantBuilder above = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("as"));
        const Object *o;
        World w;

        for (size_t i = 1; i < 4095; i += 2) /* "/x/x/x...": a path of allowed length that is not there */
                string_max[i] = string_above[i] = 'x';
        world_set_up(&w);
        o = object_of(&w, MANAGER);
        refused(&w, o, "CreateDevice", g_variant_new_parsed("('tap', {'Namespace': <%s>})", string_max),
                "org.vnetd1.NoSuchNamespace", NULL);
        refused(&w, o, "CreateDevice", g_variant_new_parsed("('tap', {'Namespace': <%s>})", string_above),
                ERROR_DBUS "InvalidArgs", "Namespace");

        for (int i = 0; i < 65; i++) {
                if (i < 64)
                        g_variant_builder_add(&below, "s", i < 63 ? "csum" : "warp");
                g_variant_builder_add(&above, "s", "csum");
        }
        refused(&w, o, "CreateDevice",
                g_variant_new_parsed("('tap', {'Offloads': <%*>})", g_variant_builder_end(&below)),
                ERROR_DBUS "InvalidArgs", "warp");
        refused(&w, o, "CreateDevice",
                g_variant_new_parsed("('tap', {'Offloads': <%*>})", g_variant_builder_end(&above)),
                ERROR_DBUS "InvalidArgs", "Offloads");
        world_tear_down(&w);
}

/* Every option with a good value does work, all together. */
static void test_all_network_options(void) {
        static const struct {
                const char *name, *value;
        } expected[] = {
                { "Name", "'x'" },
                { "Subnet", "'10.9.8.0/24'" },
                { "Gateway", "'10.9.8.1'" },
                { "Mtu", "uint32 1500" },
                { "Domain", "'example.internal'" },
                { "DnsServers", "['192.0.2.1:53', '192.0.2.2:5353']" },
                { "HostLoopback", "true" },
                { "HttpApi", "''" },
                { "HttpGateway", "true" },
        };
        g_autoptr(GVariant) reply = NULL, leases = NULL;
        g_autofree char *text = NULL;
        const char *path;
        World w;

        world_set_up(&w);
        reply = call_ok(w.f.client, VNETD_PATH, MANAGER, "CreateNetwork",
                        g_variant_new_parsed("('x', {'Subnet': <'10.9.8.0/24'>, 'Mtu': <@u 1500>, 'Domain': "
                                             "<'example.internal'>,"
                                             " 'DnsServers': <['192.0.2.1', '192.0.2.2:5353']>, "
                                             "'HostLoopback': <true>, 'HttpGateway': <true>,"
                                             " 'StaticLeases': <{'10.9.8.9': '52:54:00:00:00:09'}>, "
                                             "'LeaseTime': <@u 600>})"));
        g_variant_get(reply, "(&o)", &path);
        g_assert_cmpstr(path, ==, "/org/vnetd1/network/x");
        for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
                g_autoptr(GVariant) value = get_property(w.f.client, path, NETWORK, expected[i].name);
                g_autofree char *is = g_variant_print(value, TRUE);

                g_assert_cmpstr(is, ==, expected[i].value);
        }
        leases = call_ok(w.f.client, path, NETWORK, "ListLeases", NULL);
        text = g_variant_print(leases, FALSE);
        g_assert_nonnull(strstr(text, "'Address': <'10.9.8.9'>"));
        g_assert_nonnull(strstr(text, "'Mac': <'52:54:00:00:00:09'>"));
        g_assert_nonnull(strstr(text, "'Static': <true>"));
        g_assert_null(strstr(text, "'Expires'"));
        world_tear_down(&w);
}

int main(int argc, char **argv) {
        fixture_require_daemon();
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/methods/wrong-types", test_wrong_types);
        g_test_add_func("/methods/strings", test_strings);
        g_test_add_func("/methods/expose-addresses", test_expose_addresses);
        g_test_add_func("/methods/option-keys", test_option_keys);
        g_test_add_func("/methods/option-types", test_option_types);
        g_test_add_func("/methods/option-values", test_option_values);
        g_test_add_func("/methods/option-limits", test_option_limits);
        g_test_add_func("/methods/all-network-options", test_all_network_options);
        return g_test_run();
}
