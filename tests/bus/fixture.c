/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See fixture.h. The daemon is a process of its own, killed with the test should that be killed. */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

const char polkit_xml[] = "<node><interface name='org.freedesktop.PolicyKit1.Authority'>"
                          "<method name='CheckAuthorization'>"
                          "<arg type='(sa{sv})' direction='in'/><arg type='s' direction='in'/><arg "
                          "type='a{ss}' direction='in'/>"
                          "<arg type='u' direction='in'/><arg type='s' direction='in'/><arg "
                          "type='(bba{ss})' direction='out'/>"
                          "</method>"
                          "<method name='CancelCheckAuthorization'><arg type='s' direction='in'/></method>"
                          "</interface></node>";

void fixture_require_daemon(void) {
        const char *path = g_getenv("VNETD");

        if (path && g_file_test(path, G_FILE_TEST_IS_EXECUTABLE))
                return;
        g_print("1..0 # SKIP $VNETD names no daemon to test\n");
        exit(0);
}

/* ---- the daemon ---- */

static gboolean name_is_owned(GDBusConnection *c) {
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;
        gboolean owned;

        reply = g_dbus_connection_call_sync(c, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                            "org.freedesktop.DBus", "NameHasOwner",
                                            g_variant_new("(s)", VNETD_NAME), NULL, G_DBUS_CALL_FLAGS_NONE,
                                            CALL_TIMEOUT_MSEC, NULL, &error);
        g_assert_no_error(error);
        g_variant_get(reply, "(b)", &owned);
        return owned;
}

void die_with_parent(gpointer userdata) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void daemon_start(Daemon *d, GDBusConnection *c, const char *option, gboolean always_query) {
        g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
        g_autofree char *config = NULL, *state = NULL;
        g_autoptr(GError) error = NULL;

        d->dir = g_dir_make_tmp("vnetd-test-XXXXXX", &error);
        g_assert_no_error(error);
        config = g_strconcat("--config-dir=", d->dir, NULL);
        state = g_strconcat("--state-dir=", d->dir, NULL);
        g_subprocess_launcher_set_child_setup(launcher, die_with_parent, NULL, NULL);
        g_subprocess_launcher_setenv(launcher, "VNETD_POLKIT_ALWAYS_QUERY", always_query ? "1" : "0", TRUE);
        d->process = g_subprocess_launcher_spawn(launcher, &error, g_getenv("VNETD"), option, config, state,
                                                 NULL);
        g_assert_no_error(error);

        for (int i = 0; !name_is_owned(c); i++) {
                g_assert_cmpint(i, <, CALL_TIMEOUT_MSEC / 10);
                g_assert_nonnull(g_subprocess_get_identifier(d->process)); /* else it ended */
                g_usleep(10000);
        }
}

static void remove_tree(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                remove_tree(child);
        }
        g_assert_cmpint(remove(path), ==, 0);
}

static void daemon_wait(Daemon *d, int status) {
        g_autoptr(GError) error = NULL;

        g_subprocess_wait(d->process, NULL, &error);
        g_assert_no_error(error);
        g_assert_true(g_subprocess_get_if_exited(d->process));
        g_assert_cmpint(g_subprocess_get_exit_status(d->process), ==, status);
        g_clear_object(&d->process);
        remove_tree(d->dir);
        g_clear_pointer(&d->dir, g_free);
}

void daemon_stop(Daemon *d) {
        g_subprocess_send_signal(d->process, SIGTERM);
        daemon_wait(d, 0);
}

void daemon_assert_fails(Daemon *d) {
        daemon_wait(d, 1);
}

void daemon_assert_alive(Daemon *d, GDBusConnection *c) {
        g_autoptr(GVariant) version = get_property(c, VNETD_PATH, MANAGER, "Version");

        g_assert_nonnull(g_subprocess_get_identifier(d->process));
        g_assert_true(g_variant_is_of_type(version, G_VARIANT_TYPE_STRING));
}

/* ---- the usual set ---- */

void fixture_set_up(Fixture *f, gboolean with_polkit, gboolean always_query) {
        g_autofree char *option = NULL;
        g_autoptr(GError) error = NULL;

        memset(f, 0, sizeof(*f));
        f->queue = gt_dbus_queue_new();
        gt_dbus_queue_connect(f->queue, &error);
        g_assert_no_error(error);
        f->client = gt_dbus_queue_get_client_connection(f->queue);
        if (with_polkit) {
                g_autoptr(GDBusNodeInfo) info = g_dbus_node_info_new_for_xml(polkit_xml, &error);

                g_assert_no_error(error);
                f->polkit_info = g_dbus_interface_info_ref(info->interfaces[0]);
                f->polkit_object = gt_dbus_queue_export_object(
                                f->queue, "/org/freedesktop/PolicyKit1/Authority", f->polkit_info, &error);
                g_assert_no_error(error);
                f->polkit_name = gt_dbus_queue_own_name(f->queue, "org.freedesktop.PolicyKit1");
        }
        option = g_strconcat("--bus-address=", g_getenv("DBUS_SESSION_BUS_ADDRESS"), NULL);
        daemon_start(&f->daemon, f->client, option, always_query);
}

void fixture_tear_down(Fixture *f) {
        daemon_assert_alive(&f->daemon, f->client);
        daemon_stop(&f->daemon);
        if (f->polkit_name) {
                gt_dbus_queue_unown_name(f->queue, f->polkit_name);
                gt_dbus_queue_unexport_object(f->queue, f->polkit_object);
                g_dbus_interface_info_unref(f->polkit_info);
        }
        gt_dbus_queue_disconnect(f->queue, TRUE);
        gt_dbus_queue_free(f->queue);
}

GDBusConnection *fixture_connect(void) {
        g_autoptr(GError) error = NULL;
        GDBusConnection *c;

        c = g_dbus_connection_new_for_address_sync(
                        g_getenv("DBUS_SESSION_BUS_ADDRESS"),
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                        NULL, NULL, &error);
        g_assert_no_error(error);
        return c;
}

/* ---- calls ---- */

GVariant *call(GDBusConnection *c, const char *path, const char *interface, const char *method,
               GVariant *args, GError **error) {
        return g_dbus_connection_call_sync(c, VNETD_NAME, path, interface, method, args, NULL,
                                           G_DBUS_CALL_FLAGS_NONE, CALL_TIMEOUT_MSEC, NULL, error);
}

GVariant *call_ok(GDBusConnection *c, const char *path, const char *interface, const char *method,
                  GVariant *args) {
        g_autoptr(GError) error = NULL;
        GVariant *reply;

        reply = call(c, path, interface, method, args, &error);
        g_assert_no_error(error);
        return reply;
}

static void assert_error(const GError *error, const char *method, const char *name, const char *part) {
        g_autofree char *is = g_dbus_error_get_remote_error(error);

        if (g_strcmp0(is, name) != 0)
                g_error("%s: refused with %s (%s), not with %s", method, is, error->message, name);
        if (part && !strstr(error->message, part))
                g_error("%s: no '%s' in the message: %s", method, part, error->message);
}

void call_refused(GDBusConnection *c, const char *path, const char *interface, const char *method,
                  GVariant *args, const char *name, const char *part) {
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;

        reply = call(c, path, interface, method, args, &error);
        if (reply)
                g_error("%s: not refused, answered %s", method, g_variant_print(reply, TRUE));
        assert_error(error, method, name, part);
}

GVariant *get_property(GDBusConnection *c, const char *path, const char *interface, const char *property) {
        g_autoptr(GVariant) reply = NULL, boxed = NULL;

        reply = call_ok(c, path, "org.freedesktop.DBus.Properties", "Get",
                        g_variant_new("(ss)", interface, property));
        g_variant_get(reply, "(@v)", &boxed);
        return g_variant_get_variant(boxed);
}

static void on_called(GObject *source, GAsyncResult *result, gpointer userdata) {
        Pending *p = userdata;

        p->reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &p->error);
        p->done = TRUE;
}

Pending *call_async(GDBusConnection *c, const char *path, const char *interface, const char *method,
                    GVariant *args, gboolean interactive) {
        Pending *p = g_new0(Pending, 1);

        g_dbus_connection_call(c, VNETD_NAME, path, interface, method, args, NULL,
                               interactive ? G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION
                                           : G_DBUS_CALL_FLAGS_NONE,
                               CALL_TIMEOUT_MSEC, NULL, on_called, p);
        return p;
}

void pending_wait(Pending *p) {
        while (!p->done) /* GDBus itself ends it after CALL_TIMEOUT_MSEC */
                g_main_context_iteration(NULL, TRUE);
}

static void pending_free(Pending *p) {
        g_clear_pointer(&p->reply, g_variant_unref);
        g_clear_error(&p->error);
        g_free(p);
}

void pending_assert_ok(Pending *p) {
        pending_wait(p);
        g_assert_no_error(p->error);
        pending_free(p);
}

void pending_assert_refused(Pending *p, const char *name, const char *part) {
        pending_wait(p);
        g_assert_null(p->reply);
        assert_error(p->error, "the pending call", name, part);
        pending_free(p);
}

/* ---- signals ---- */

static void on_signal(GDBusConnection *c, const char *sender, const char *path, const char *interface,
                      const char *member, GVariant *parameters, gpointer userdata) {
        Signals *s = userdata;

        g_ptr_array_add(s->seen, g_variant_ref_sink(g_variant_new("(ssv)", member, path, parameters)));
}

void signals_start(Signals *s, GDBusConnection *c) {
        s->connection = g_object_ref(c);
        s->seen = g_ptr_array_new_with_free_func((GDestroyNotify) g_variant_unref);
        s->id = g_dbus_connection_signal_subscribe(c, VNETD_NAME, NULL, NULL, NULL, NULL,
                                                   G_DBUS_SIGNAL_FLAGS_NONE, on_signal, s, NULL);
        g_variant_unref(get_property(c, VNETD_PATH, MANAGER, "Version")); /* by now the bus has the match */
}

void signals_stop(Signals *s) {
        g_dbus_connection_signal_unsubscribe(s->connection, s->id);
        g_clear_object(&s->connection);
        g_clear_pointer(&s->seen, g_ptr_array_unref);
}

static gboolean signal_is(GVariant *v, const char *what, const char *part) {
        g_autofree char *name = NULL, *text = NULL;
        g_autoptr(GVariant) parameters = NULL;
        const char *member, *path;

        g_variant_get(v, "(&s&sv)", &member, &path, &parameters);
        name = g_strdup_printf("%s %s", member, path);
        text = g_variant_print(parameters, FALSE);
        return g_str_equal(name, what) && strstr(text, part);
}

void signals_await(Signals *s, const char *what, const char *part) {
        gint64 end = g_get_monotonic_time() + CALL_TIMEOUT_MSEC * 1000;

        for (;;) {
                for (guint i = 0; i < s->seen->len; i++)
                        if (signal_is(s->seen->pdata[i], what, part)) {
                                g_ptr_array_remove_index(s->seen, i);
                                return;
                        }
                if (g_get_monotonic_time() > end)
                        g_error("no signal '%s' with '%s'", what, part);
                if (!g_main_context_iteration(NULL, FALSE))
                        g_usleep(1000);
        }
}
