/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several uids on one bus: who made a thing may manage it unasked, others are asked about, a user's own
 * instance refuses them. Root is needed to become others; the clients are busctl under setpriv. The test's
 * own connection plays polkit.
 */

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "loopback.h"

/* The bus lets in only users that exist; these two do everywhere ("daemon", "nobody"), and nothing here runs
 * as them. */
#define ALICE_UID 1
#define ALICE "1"
#define BOB "65534"

typedef struct World {
        char *dir;               /* (owned) with the bus's socket and configuration */
        GSubprocess *bus;        /* (owned) dbus-daemon */
        char *address;           /* (owned) */
        GDBusConnection *polkit; /* (owned) */
        GDBusNodeInfo *info;     /* (owned) */
        guint name, object;
        guint n_asked;       /* questions so far */
        gboolean authorized; /* what polkit answers */
        char *local;         /* (owned) where nobody else listens */
        int own_fd;          /* (owned) of loopback_take() */
        Daemon daemon;
} World;

static const char bus_config[] =
                "<busconfig><type>session</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>"
                "<policy context='default'><allow user='*'/><allow own='*'/><allow send_destination='*'/>"
                "<allow receive_sender='*'/></policy></busconfig>";

static void on_polkit(GDBusConnection *c, const char *sender, const char *path, const char *interface,
                      const char *method, GVariant *args, GDBusMethodInvocation *invocation,
                      gpointer userdata) {
        World *w = userdata;

        g_assert_cmpstr(method, ==, "CheckAuthorization");
        w->n_asked++;
        g_dbus_method_invocation_return_value(invocation,
                                              g_variant_new("((bba{ss}))", w->authorized, FALSE, NULL));
}

static void start_bus(World *w) {
        g_autofree char *config = NULL, *text = NULL, *socket = NULL, *option = NULL;
        g_autoptr(GSubprocessLauncher) launcher = NULL;
        g_autoptr(GError) error = NULL;

        w->dir = g_dir_make_tmp("vnetd-bus-XXXXXX", &error);
        g_assert_no_error(error);
        g_assert_cmpint(g_chmod(w->dir, 0755), ==, 0);
        config = g_build_filename(w->dir, "bus.conf", NULL);
        socket = g_build_filename(w->dir, "bus", NULL);
        text = g_strdup_printf(bus_config, w->dir);
        g_assert_true(g_file_set_contents(config, text, -1, &error));
        option = g_strconcat("--config-file=", config, NULL);
        launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
        g_subprocess_launcher_set_child_setup(launcher, die_with_parent, NULL, NULL);
        w->bus = g_subprocess_launcher_spawn(launcher, &error, "dbus-daemon", "--nofork", "--nopidfile",
                                             option, NULL);
        g_assert_no_error(error);
        w->address = g_strconcat("unix:path=", socket, NULL);

        for (int i = 0; !w->polkit; i++) {
                g_assert_cmpint(i, <, CALL_TIMEOUT_MSEC / 10);
                w->polkit = g_dbus_connection_new_for_address_sync(
                                w->address,
                                G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                                G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                                NULL, NULL, NULL);
                if (!w->polkit)
                        g_usleep(10000);
        }
}

static void play_polkit(World *w) {
        static const GDBusInterfaceVTable vtable = { .method_call = on_polkit };
        g_autoptr(GError) error = NULL;

        w->info = g_dbus_node_info_new_for_xml(polkit_xml, &error);
        g_assert_no_error(error);
        w->object = g_dbus_connection_register_object(w->polkit, "/org/freedesktop/PolicyKit1/Authority",
                                                      w->info->interfaces[0], &vtable, w, NULL, &error);
        g_assert_no_error(error);
        g_variant_unref(g_dbus_connection_call_sync(
                        w->polkit, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                        "RequestName", g_variant_new("(su)", "org.freedesktop.PolicyKit1", 0), NULL,
                        G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error));
        g_assert_no_error(error);
}

/* @user: vnetd --user on that bus, else --bus-address. */
static void world_set_up(World *w, gboolean user) {
        g_autofree char *option = NULL;

        memset(w, 0, sizeof(*w));
        w->local = g_strdup_printf("127.%u.0.1:28443", loopback_take(&w->own_fd));
        start_bus(w);
        play_polkit(w);
        option = g_strconcat("--bus-address=", w->address, NULL);
        g_setenv("DBUS_SESSION_BUS_ADDRESS", w->address, TRUE);
        daemon_start(&w->daemon, w->polkit, user ? "--user" : option, FALSE);
}

static void world_free(World *w) {
        g_autofree char *config = g_build_filename(w->dir, "bus.conf", NULL),
                        *socket = g_build_filename(w->dir, "bus", NULL);

        g_dbus_connection_unregister_object(w->polkit, w->object);
        g_dbus_connection_close_sync(w->polkit, NULL, NULL);
        g_clear_object(&w->polkit);
        g_dbus_node_info_unref(w->info);
        (void) close(w->own_fd);
        g_free(w->local);
        g_subprocess_wait(w->bus, NULL, NULL);
        g_clear_object(&w->bus);
        (void) g_unlink(socket);
        (void) g_unlink(config);
        g_assert_cmpint(g_rmdir(w->dir), ==, 0);
        g_free(w->dir);
        g_free(w->address);
}

static void world_tear_down(World *w) {
        daemon_assert_alive(&w->daemon, w->polkit);
        daemon_stop(&w->daemon);
        g_subprocess_send_signal(w->bus, SIGTERM);
        world_free(w);
}

static void on_exited(GObject *source, GAsyncResult *result, gpointer userdata) {
        gboolean *done = userdata;

        *done = TRUE;
}

/* The beginning of a command line that runs as @uid. */
static GPtrArray *as(const char *uid) {
        GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);

        g_ptr_array_add(argv, g_strdup("setpriv"));
        g_ptr_array_add(argv, g_strdup_printf("--reuid=%s", uid));
        g_ptr_array_add(argv, g_strdup_printf("--regid=%s", uid));
        g_ptr_array_add(argv, g_strdup("--clear-groups"));
        return argv;
}

/* Returns whether it succeeded. */
static gboolean run(GPtrArray *argv) {
        g_autoptr(GSubprocess) process = NULL;
        g_autoptr(GError) error = NULL;
        gboolean done = FALSE;

        g_ptr_array_add(argv, NULL);
        process = g_subprocess_newv((const char *const *) argv->pdata, G_SUBPROCESS_FLAGS_STDOUT_SILENCE,
                                    &error);
        g_assert_no_error(error);
        g_subprocess_wait_async(process, NULL, on_exited, &done);
        while (!done) /* meanwhile we are polkit */
                g_main_context_iteration(NULL, TRUE);
        return g_subprocess_get_if_exited(process) && g_subprocess_get_exit_status(process) == 0;
}

/* `vnetctl VERB ARG` as @uid, which may not be able to reach the build directory. */
static gboolean vnetctl_as(World *w, const char *uid, const char *verb, const char *arg) {
        g_autofree char *path = g_build_filename(w->dir, "vnetctl", NULL);
        g_autoptr(GFile) from = g_file_new_for_path(g_getenv("VNETCTL")), to = g_file_new_for_path(path);
        g_autoptr(GPtrArray) argv = as(uid);
        g_autoptr(GError) error = NULL;
        gboolean ok;

        (void) g_file_copy(from, to, G_FILE_COPY_OVERWRITE, NULL, NULL, NULL, &error);
        g_assert_no_error(error);
        g_assert_cmpint(g_chmod(path, 0755), ==, 0);
        g_ptr_array_add(argv, g_strdup(path));
        g_ptr_array_add(argv, g_strdup_printf("--bus-address=%s", w->address));
        g_ptr_array_add(argv, g_strdup(verb));
        g_ptr_array_add(argv, g_strdup(arg));
        ok = run(argv);
        g_assert_cmpint(g_unlink(path), ==, 0);
        return ok;
}

/* `busctl call org.vnetd1 ...` as @uid. Returns whether it succeeded. */
static gboolean busctl_as(World *w, const char *uid, const char *path, const char *interface,
                          const char *method, const char *signature, ...) {
        g_autoptr(GPtrArray) argv = as(uid);
        const char *arg;
        va_list ap;

        g_ptr_array_add(argv, g_strdup("busctl"));
        g_ptr_array_add(argv, g_strdup_printf("--address=%s", w->address));
        g_ptr_array_add(argv, g_strdup("--timeout=20"));
        for (const char *fixed[] = { "call", VNETD_NAME, path, interface, method, signature, NULL },
                        **p = fixed;
             *p; p++)
                g_ptr_array_add(argv, g_strdup(*p));
        va_start(ap, signature);
        while ((arg = va_arg(ap, const char *)))
                g_ptr_array_add(argv, g_strdup(arg));
        va_end(ap);
        return run(argv);
}

static gboolean create_network_as(World *w, const char *uid, const char *name, const char *subnet) {
        return busctl_as(w, uid, VNETD_PATH, MANAGER, "CreateNetwork", "sa{sv}", name, "1", "Subnet", "s",
                         subnet, NULL);
}

static void assert_asked(World *w, guint n) {
        g_assert_cmpuint(w->n_asked, ==, n);
        w->n_asked = 0;
}

static void test_owner(void) {
        const char *path = "/org/vnetd1/network/alices";
        g_autoptr(GVariant) owner = NULL;
        World w;

        world_set_up(&w, FALSE);
        g_assert_false(create_network_as(&w, ALICE, "alices", "10.1.2.0/24"));
        assert_asked(&w, 1);
        w.authorized = TRUE;
        g_assert_true(create_network_as(&w, ALICE, "alices", "10.1.2.0/24"));
        assert_asked(&w, 1);
        w.authorized = FALSE;
        owner = get_property(w.polkit, path, NETWORK, "Owner");
        g_assert_cmpuint(g_variant_get_uint32(owner), ==, ALICE_UID);

        /* Its maker forwards and unforwards unasked, but for a privileged port; another is asked about and
         * refused. */
        g_assert_true(busctl_as(&w, ALICE, path, NETWORK, "Expose", "sssa{sv}", "tcp", w.local,
                                "10.1.2.5", "0", NULL));
        assert_asked(&w, 0);
        g_assert_false(busctl_as(&w, ALICE, path, NETWORK, "Expose", "sssa{sv}", "tcp", "127.0.0.1:1023",
                                 "10.1.2.5", "0", NULL));
        assert_asked(&w, 1);
        g_assert_false(busctl_as(&w, BOB, path, NETWORK, "Unexpose", "ss", "tcp", w.local, NULL));
        assert_asked(&w, 1);
        g_assert_true(busctl_as(&w, ALICE, path, NETWORK, "Unexpose", "ss", "tcp", w.local, NULL));
        assert_asked(&w, 0);

        g_assert_true(busctl_as(&w, ALICE, path, NETWORK, "ListFlows", "a{sv}", "0", NULL));
        assert_asked(&w, 0);
        g_assert_false(busctl_as(&w, BOB, path, NETWORK, "ListFlows", "a{sv}", "0", NULL));
        assert_asked(&w, 1);
        g_assert_true(busctl_as(&w, BOB, path, NETWORK, "ListLeases", "", NULL));
        g_assert_true(busctl_as(&w, BOB, VNETD_PATH, MANAGER, "Describe", "", NULL));
        assert_asked(&w, 0);
        g_assert_false(busctl_as(&w, BOB, path, NETWORK, "Remove", "", NULL));
        assert_asked(&w, 1);

        /* What the daemon itself made is nobody's. */
        g_assert_false(busctl_as(&w, ALICE, NETWORK_DEFAULT, NETWORK, "Remove", "", NULL));
        assert_asked(&w, 1);
        g_assert_true(busctl_as(&w, ALICE, path, NETWORK, "Remove", "", NULL));
        g_assert_true(create_network_as(&w, "0", "roots", "10.2.0.0/24"));
        assert_asked(&w, 0);
        world_tear_down(&w);
}

/* vnetctl finds the network of a forward by itself, and nobody is asked about those that have nothing to do with it. */
static void test_unexpose_anywhere(void) {
        World w;

        world_set_up(&w, FALSE);
        w.authorized = TRUE;
        for (unsigned i = 0; i < 4; i++) { /* in whatever order they are listed */
                g_autofree char *name = g_strdup_printf("roots%u", i), *subnet = g_strdup_printf("10.2.%u.0/24", i);

                g_assert_true(create_network_as(&w, "0", name, subnet));
        }
        g_assert_true(create_network_as(&w, ALICE, "alices", "10.1.2.0/24"));
        w.authorized = FALSE;
        w.n_asked = 0;

        g_assert_true(busctl_as(&w, ALICE, "/org/vnetd1/network/alices", NETWORK, "Expose", "sssa{sv}", "tcp", w.local, "10.1.2.5", "0", NULL));
        g_assert_true(vnetctl_as(&w, ALICE, "unexpose", w.local));
        assert_asked(&w, 0);
        g_assert_false(vnetctl_as(&w, ALICE, "unexpose", w.local)); /* it has gone */
        world_tear_down(&w);
}

/* A forward's maker may close it in a network of somebody else. */
static void test_forward_owner(void) {
        World w;

        world_set_up(&w, FALSE);
        w.authorized = TRUE;
        g_assert_true(busctl_as(&w, BOB, NETWORK_DEFAULT, NETWORK, "Expose", "sssa{sv}", "tcp",
                                w.local, "192.168.127.5", "0", NULL));
        assert_asked(&w, 1);
        w.authorized = FALSE;
        g_assert_false(busctl_as(&w, ALICE, NETWORK_DEFAULT, NETWORK, "Unexpose", "ss", "tcp",
                                 w.local, NULL));
        assert_asked(&w, 1);
        g_assert_true(busctl_as(&w, BOB, NETWORK_DEFAULT, NETWORK, "Unexpose", "ss", "tcp",
                                w.local, NULL));
        assert_asked(&w, 0);
        world_tear_down(&w);
}

/* Plugging in concerns two owners: whoever is not both is asked, once. */
static void test_attach(void) {
        const char *path = "/org/vnetd1/device/alices";
        World w;

        world_set_up(&w, FALSE);
        w.authorized = TRUE;
        g_assert_true(create_network_as(&w, ALICE, "alices", "10.1.2.0/24"));
        if (!busctl_as(&w, ALICE, VNETD_PATH, MANAGER, "CreateDevice", "sa{sv}", "tap", "2", "Name", "s",
                       "alices", "Network", "s", "", NULL)) {
                g_test_skip("no right to make a TAP here");
                world_tear_down(&w);
                return;
        }
        assert_asked(&w, 2);
        w.authorized = FALSE;
        g_assert_false(busctl_as(&w, BOB, path, DEVICE, "Attach", "s", "alices", NULL));
        assert_asked(&w, 1);
        g_assert_false(busctl_as(&w, ALICE, path, DEVICE, "Attach", "s", "default", NULL));
        assert_asked(&w, 1);
        g_assert_true(busctl_as(&w, ALICE, path, DEVICE, "Attach", "s", "alices", NULL));
        g_assert_false(busctl_as(&w, BOB, path, DEVICE, "Detach", "", NULL));
        assert_asked(&w, 1);
        g_assert_true(busctl_as(&w, ALICE, path, DEVICE, "Detach", "", NULL));
        w.authorized = TRUE;
        g_assert_true(busctl_as(&w, BOB, path, DEVICE, "Attach", "s", "default", NULL));
        assert_asked(&w, 1);
        w.authorized = FALSE;
        g_assert_true(busctl_as(&w, ALICE, path, DEVICE, "Remove", "", NULL));

        /* The network's owner may throw somebody else's device out of it, not more. */
        path = "/org/vnetd1/device/roots";
        g_assert_true(busctl_as(&w, "0", VNETD_PATH, MANAGER, "CreateDevice", "sa{sv}", "tap", "2", "Name",
                                "s", "roots", "Network", "s", "alices", NULL));
        g_assert_true(busctl_as(&w, ALICE, path, DEVICE, "Detach", "", NULL));
        assert_asked(&w, 0);
        g_assert_false(busctl_as(&w, ALICE, path, DEVICE, "Remove", "", NULL));
        assert_asked(&w, 1);
        world_tear_down(&w);
}

/* The quota of one user, at the limit and above; root has none. */
static void test_quota(void) {
        World w;

        world_set_up(&w, FALSE);
        w.authorized = TRUE;
        for (int i = 0; i < 17; i++) {
                g_autofree char *name = g_strdup_printf("alices%d", i),
                                *subnet = g_strdup_printf("10.1.%d.0/24", i);

                g_assert_cmpint(create_network_as(&w, ALICE, name, subnet), ==, i < 16);
        }
        g_assert_true(create_network_as(&w, BOB, "bobs", "10.3.0.0/24"));
        g_assert_true(create_network_as(&w, "0", "roots", "10.2.0.0/24"));
        world_tear_down(&w);
}

/* Log control is not polkit's: root may, others may not. */
static void test_log_control(void) {
        World w;

        world_set_up(&w, FALSE);
        w.authorized = TRUE;
        g_assert_false(busctl_as(&w, ALICE, VNETD_PATH, "org.freedesktop.DBus.Properties", "Set", "ssv",
                                 "org.freedesktop.LogControl1", "LogLevel", "s", "debug", NULL));
        g_assert_true(busctl_as(&w, "0", VNETD_PATH, "org.freedesktop.DBus.Properties", "Set", "ssv",
                                "org.freedesktop.LogControl1", "LogLevel", "s", "info", NULL));
        assert_asked(&w, 0);
        world_tear_down(&w);
}

/* Without its bus the daemon is nobody's: it leaves with a failure, so that whoever started it starts it
 * again. */
static void test_bus_dies(void) {
        World w;

        world_set_up(&w, FALSE);
        g_subprocess_send_signal(w.bus, SIGTERM);
        daemon_assert_fails(&w.daemon);
        world_free(&w);
}

/* On a user's own bus others are refused, and nobody is asked. */
static void test_user_instance(void) {
        World w;

        world_set_up(&w, TRUE);
        w.authorized = TRUE;
        g_assert_false(create_network_as(&w, ALICE, "alices", "10.1.2.0/24"));
        g_assert_true(busctl_as(&w, ALICE, VNETD_PATH, MANAGER, "Describe", "", NULL));
        g_assert_true(create_network_as(&w, "0", "roots", "10.2.0.0/24"));
        assert_asked(&w, 0);
        world_tear_down(&w);
}

static void require_program(const char *name) {
        g_autofree char *path = g_find_program_in_path(name);

        if (!path) {
                g_print("1..0 # SKIP %s is not installed\n", name);
                exit(0);
        }
}

int main(int argc, char **argv) {
        fixture_require_daemon();
        if (geteuid() != 0) {
                g_print("1..0 # SKIP needs root, to be several users\n");
                exit(0);
        }
        require_program("setpriv");
        require_program("busctl");
        require_program("dbus-daemon");
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/owners/owner", test_owner);
        g_test_add_func("/owners/unexpose-anywhere", test_unexpose_anywhere);
        g_test_add_func("/owners/forward-owner", test_forward_owner);
        g_test_add_func("/owners/attach", test_attach);
        g_test_add_func("/owners/quota", test_quota);
        g_test_add_func("/owners/log-control", test_log_control);
        g_test_add_func("/owners/bus-dies", test_bus_dies);
        g_test_add_func("/owners/user-instance", test_user_instance);
        return g_test_run();
}
