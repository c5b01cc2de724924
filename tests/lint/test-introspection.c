/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dbus-interfaces/ says what the running daemon says: the same members, argument names, types, directions,
 * access and change signals, in both directions; and every member has its paragraph. So neither can drift.
 */

#include <string.h>

#include "bus/fixture.h"

#define CHANGED "org.freedesktop.DBus.Property.EmitsChangedSignal"

static char *read_xml(const char *interface) {
        g_autofree char *path = g_strconcat(g_getenv("DBUS_INTERFACES"), "/", interface, ".xml", NULL);
        g_autoptr(GError) error = NULL;
        char *text;

        g_assert_true(g_file_get_contents(path, &text, NULL, &error));
        return text;
}

static void append_args(GString *out, const char *direction, GDBusArgInfo **args) {
        for (; args && *args; args++)
                g_string_append_printf(out, " %s %s %s,", direction, (*args)->signature,
                                       (*args)->name ?: "?");
}

static int compare_lines(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* One line for each member, sorted: two of these are equal when the interfaces are. */
static char *summarize(const GDBusInterfaceInfo *i) {
        g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
        GString *out = g_string_new(NULL);

        for (GDBusMethodInfo **m = i->methods; m && *m; m++) {
                GString *line = g_string_new("method ");

                g_string_append(line, (*m)->name);
                append_args(line, "in", (*m)->in_args);
                append_args(line, "out", (*m)->out_args);
                g_ptr_array_add(lines, g_string_free(line, FALSE));
        }
        for (GDBusSignalInfo **s = i->signals; s && *s; s++) {
                GString *line = g_string_new("signal ");

                g_string_append(line, (*s)->name);
                append_args(line, "out", (*s)->args);
                g_ptr_array_add(lines, g_string_free(line, FALSE));
        }
        for (GDBusPropertyInfo **p = i->properties; p && *p; p++) {
                const char *changed = g_dbus_annotation_info_lookup((*p)->annotations, CHANGED) ?: "true";

                g_ptr_array_add(lines, g_strdup_printf("property %s %s flags %d changed %s", (*p)->name,
                                                       (*p)->signature, (*p)->flags, changed));
        }
        qsort(lines->pdata, lines->len, sizeof(void *), compare_lines);
        for (guint k = 0; k < lines->len; k++)
                g_string_append_printf(out, "%s\n", (char *) lines->pdata[k]);
        return g_string_free(out, FALSE);
}

static void assert_same(GDBusConnection *c, const char *path, const char *interface) {
        g_autofree char *file = read_xml(interface), *expected = NULL, *got = NULL;
        g_autoptr(GDBusNodeInfo) described = NULL, running = NULL;
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;
        GDBusInterfaceInfo *a, *b;
        const char *xml;

        described = g_dbus_node_info_new_for_xml(file, &error);
        g_assert_no_error(error);
        reply = call_ok(c, path, "org.freedesktop.DBus.Introspectable", "Introspect", NULL);
        g_variant_get(reply, "(&s)", &xml);
        running = g_dbus_node_info_new_for_xml(xml, &error);
        g_assert_no_error(error);

        a = g_dbus_node_info_lookup_interface(described, interface);
        b = g_dbus_node_info_lookup_interface(running, interface);
        g_assert_nonnull(a);
        g_assert_nonnull(b);
        expected = summarize(a);
        got = summarize(b);
        g_assert_cmpuint(strlen(expected), >, 0);
        g_assert_cmpstr(got, ==, expected);
}

/* ---- the running daemon ---- */

static char *make_forward(GDBusConnection *c) {
        g_autoptr(GSocketListener) listener = g_socket_listener_new();
        g_autoptr(GVariant) reply = NULL;
        g_autofree char *local = NULL;
        char *path;

        local = g_strdup_printf("127.0.0.1:%u", g_socket_listener_add_any_inet_port(listener, NULL, NULL));
        g_socket_listener_close(listener);
        reply = call_ok(c, NETWORK_DEFAULT, NETWORK, "Expose",
                        g_variant_new("(sssa{sv})", "tcp", local, "192.168.127.2:80", NULL));
        g_variant_get(reply, "(o)", &path);
        return path;
}

static void test_running(void) {
        g_autofree char *forward = NULL;
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        assert_same(f.client, VNETD_PATH, MANAGER);
        assert_same(f.client, NETWORK_DEFAULT, NETWORK);
        forward = make_forward(f.client);
        assert_same(f.client, forward, FORWARD);
        fixture_tear_down(&f);
}

static void test_running_device(void) {
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;
        const char *path;
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        reply = call(f.client, VNETD_PATH, MANAGER, "CreateDevice",
                     g_variant_new_parsed("('tap', {'Network': <''>})"), &error);
        if (reply) {
                g_variant_get(reply, "(&oa{sv})", &path, NULL);
                assert_same(f.client, path, DEVICE);
        } else
                g_test_skip(error->message); /* no /dev/net/tun, or no right to it */
        fixture_tear_down(&f);
}

/* ---- the prose ---- */

typedef struct Prose {
        char *comment; /* (owned, nullable) the last one seen, until an element uses it */
        guint members;
} Prose;

static void on_text(GMarkupParseContext *context, const char *text, gsize len, gpointer userdata,
                    GError **error) {
        Prose *p = userdata;

        if (g_str_has_prefix(text, "<!--")) {
                g_free(p->comment);
                p->comment = g_strndup(text, len);
        }
}

/* The member's comment begins with its name, and speaks of each of its arguments. */
static void on_start(GMarkupParseContext *context, const char *element, const char **names,
                     const char **values, gpointer userdata, GError **error) {
        static const char *const members[] = { "interface", "method", "signal", "property", "arg", NULL };
        g_autofree char *start = NULL;
        const char *name = NULL;
        Prose *p = userdata;

        if (!g_strv_contains(members, element))
                return;
        g_assert_true(g_markup_collect_attributes(
                        element, names, values, error, G_MARKUP_COLLECT_STRING, "name", &name,
                        G_MARKUP_COLLECT_STRING | G_MARKUP_COLLECT_OPTIONAL, "type", NULL,
                        G_MARKUP_COLLECT_STRING | G_MARKUP_COLLECT_OPTIONAL, "direction", NULL,
                        G_MARKUP_COLLECT_STRING | G_MARKUP_COLLECT_OPTIONAL, "access", NULL,
                        G_MARKUP_COLLECT_INVALID));
        if (!p->comment)
                g_error("%s has no comment before it", name);
        start = g_strdup_printf(g_str_equal(element, "arg") ? "@%s:" : "%s:", name);
        if (!strstr(p->comment, start))
                g_error("no '%s' in the comment before it", start);
        p->members++;
}

static void on_end(GMarkupParseContext *context, const char *element, gpointer userdata, GError **error) {
        Prose *p = userdata;

        if (!g_str_equal(element, "arg"))
                g_clear_pointer(&p->comment, g_free);
}

static void test_prose(void) {
        static const GMarkupParser parser = { .start_element = on_start,
                                              .end_element = on_end,
                                              .passthrough = on_text };
        static const char *const interfaces[] = { MANAGER, NETWORK, DEVICE, FORWARD };

        for (size_t i = 0; i < G_N_ELEMENTS(interfaces); i++) {
                g_autoptr(GMarkupParseContext) context = NULL;
                g_autofree char *text = read_xml(interfaces[i]);
                g_autoptr(GError) error = NULL;
                Prose p = {};

                context = g_markup_parse_context_new(&parser, 0, &p, NULL);
                g_markup_parse_context_parse(context, text, -1, &error);
                g_assert_no_error(error);
                g_assert_cmpuint(p.members, >, 5);
                g_free(p.comment);
        }
}

int main(int argc, char **argv) {
        fixture_require_daemon();
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/introspection/running", test_running);
        g_test_add_func("/introspection/running-device", test_running_device);
        g_test_add_func("/introspection/prose", test_prose);
        return g_test_run();
}
