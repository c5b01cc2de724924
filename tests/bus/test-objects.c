/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Objects come, change and go, and everybody who watches sees it: ObjectManager, signals, two clients at
 * once. */

#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <glib/gstdio.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fixture.h"
#include "loopback.h"

#define N_EACH 40 /* networks that each of two clients makes */

static GVariant *managed_objects(GDBusConnection *c) {
        g_autoptr(GVariant) reply = call_ok(c, VNETD_PATH, "org.freedesktop.DBus.ObjectManager",
                                            "GetManagedObjects", NULL);

        return g_variant_get_child_value(reply, 0);
}

static void assert_managed(GDBusConnection *c, const char *path, const char *interface, gboolean there) {
        g_autoptr(GVariant) objects = managed_objects(c), interfaces = NULL, properties = NULL;

        interfaces = g_variant_lookup_value(objects, path, G_VARIANT_TYPE("a{sa{sv}}"));
        if (interfaces)
                properties = g_variant_lookup_value(interfaces, interface, G_VARIANT_TYPE("a{sv}"));
        g_assert_cmpint(properties != NULL, ==, there);
        if (there)
                g_assert_cmpuint(g_variant_n_children(properties), >, 3);
}

static void test_network(void) {
        Signals s;
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        signals_start(&s, f.client);
        assert_managed(f.client, NETWORK_DEFAULT, NETWORK, TRUE);
        assert_managed(f.client, "/org/vnetd1/network/b_2dlue_2e1", NETWORK, FALSE);

        g_variant_unref(call_ok(f.client, VNETD_PATH, MANAGER, "CreateNetwork",
                                g_variant_new("(sa{sv})", "b-lue.1", NULL)));
        signals_await(&s, "InterfacesAdded " VNETD_PATH, "/org/vnetd1/network/b_2dlue_2e1");
        assert_managed(f.client, "/org/vnetd1/network/b_2dlue_2e1", NETWORK, TRUE);
        call_refused(f.client, VNETD_PATH, MANAGER, "CreateNetwork",
                     g_variant_new("(sa{sv})", "b-lue.1", NULL), "org.vnetd1.NetworkExists", "b-lue.1");

        g_variant_unref(call_ok(f.client, "/org/vnetd1/network/b_2dlue_2e1", NETWORK, "Remove", NULL));
        signals_await(&s, "InterfacesRemoved " VNETD_PATH, "/org/vnetd1/network/b_2dlue_2e1");
        assert_managed(f.client, "/org/vnetd1/network/b_2dlue_2e1", NETWORK, FALSE);
        call_refused(f.client, "/org/vnetd1/network/b_2dlue_2e1", NETWORK, "Describe", NULL,
                     ERROR_DBUS "UnknownObject", NULL);
        call_refused(f.client, VNETD_PATH, MANAGER, "GetNetwork", g_variant_new("(s)", "b-lue.1"),
                     "org.vnetd1.NoSuchNetwork", "b-lue.1");
        signals_stop(&s);
        fixture_tear_down(&f);
}

static void assert_text(GDBusConnection *c, const char *path, const char *interface, const char *property,
                        const char *text) {
        g_autoptr(GVariant) value = get_property(c, path, interface, property);
        g_autofree char *is = g_variant_print(value, FALSE);

        g_assert_cmpstr(is, ==, text);
}

static void test_forward(void) {
        g_autofree char *local = g_strdup_printf("127.0.0.1:%u", loopback_ports(1)),
                        *quoted = g_strdup_printf("'%s'", local);
        g_autofree char *path = NULL, *list = NULL;
        Signals s;
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        signals_start(&s, f.client);
        for (int by_object = 0; by_object < 2; by_object++) {
                g_autoptr(GVariant) reply = NULL, forwards = NULL;

                reply = call_ok(f.client, NETWORK_DEFAULT, NETWORK, "Expose",
                                g_variant_new("(sssa{sv})", "tcp", local, "192.168.127.2:80", NULL));
                g_free(path);
                g_variant_get(reply, "(o)", &path);
                signals_await(&s, "InterfacesAdded " VNETD_PATH, path);
                signals_await(&s, "PropertiesChanged " NETWORK_DEFAULT, path);
                g_free(list);
                list = g_strdup_printf("['%s']", path);
                assert_text(f.client, NETWORK_DEFAULT, NETWORK, "Forwards", list);
                assert_text(f.client, path, FORWARD, "Protocol", "'tcp'");
                assert_text(f.client, path, FORWARD, "Local", quoted);
                assert_text(f.client, path, FORWARD, "Remote", "'192.168.127.2:80'");
                assert_text(f.client, path, FORWARD, "Network", "'" NETWORK_DEFAULT "'");
                assert_text(f.client, path, FORWARD, "Active", "0");
                call_refused(f.client, NETWORK_DEFAULT, NETWORK, "Expose",
                             g_variant_new("(sssa{sv})", "tcp", local, "192.168.127.3", NULL),
                             "org.vnetd1.ForwardExists", local);

                if (by_object)
                        g_variant_unref(call_ok(f.client, path, FORWARD, "Remove", NULL));
                else
                        g_variant_unref(call_ok(f.client, NETWORK_DEFAULT, NETWORK, "Unexpose",
                                                g_variant_new("(ss)", "tcp", local)));
                signals_await(&s, "PropertiesChanged " NETWORK_DEFAULT, "'Forwards': <");
                signals_await(&s, "InterfacesRemoved " VNETD_PATH, path);
                assert_text(f.client, NETWORK_DEFAULT, NETWORK, "Forwards", "[]");
                call_refused(f.client, NETWORK_DEFAULT, NETWORK, "Unexpose",
                             g_variant_new("(ss)", "tcp", local), "org.vnetd1.NoSuchForward", local);
        }
        signals_stop(&s);
        fixture_tear_down(&f);
}

static void test_device(void) {
        g_autoptr(GVariant) reply = NULL, info = NULL;
        g_autoptr(GError) error = NULL;
        const char *path;
        Signals s;
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        signals_start(&s, f.client);
        reply = call(f.client, VNETD_PATH, MANAGER, "CreateDevice",
                     g_variant_new_parsed("('tap', {'Name': <'guest.1'>})"), &error);
        if (!reply) {
                g_test_skip(error->message); /* no /dev/net/tun, or no right to it */
                signals_stop(&s);
                fixture_tear_down(&f);
                return;
        }
        g_variant_get(reply, "(&o@a{sv})", &path, &info);
        g_assert_cmpstr(path, ==, "/org/vnetd1/device/guest_2e1");
        g_assert_true(g_variant_lookup(info, "Ifname", "s", NULL));
        g_assert_true(g_variant_lookup(info, "Ifindex", "i", NULL));
        signals_await(&s, "InterfacesAdded " VNETD_PATH, path);
        signals_await(&s, "PropertiesChanged " NETWORK_DEFAULT, path);
        assert_text(f.client, NETWORK_DEFAULT, NETWORK, "Devices", "['/org/vnetd1/device/guest_2e1']");
        assert_text(f.client, path, DEVICE, "Kind", "'tap'");
        assert_text(f.client, path, DEVICE, "Network", "'" NETWORK_DEFAULT "'");
        assert_text(f.client, path, DEVICE, "State", "'attached'");

        g_variant_unref(call_ok(f.client, path, DEVICE, "Detach", NULL));
        signals_await(&s, "PropertiesChanged /org/vnetd1/device/guest_2e1", "'State': <'detached'>");
        signals_await(&s, "PropertiesChanged " NETWORK_DEFAULT, "'Devices': <@ao []>");
        assert_text(f.client, path, DEVICE, "Network", "'/'");
        call_refused(f.client, path, DEVICE, "Detach", NULL, "org.vnetd1.NotAttached", "guest.1");
        call_refused(f.client, path, DEVICE, "Attach", g_variant_new("(s)", "nowhere"),
                     "org.vnetd1.NoSuchNetwork", "nowhere");
        g_variant_unref(call_ok(f.client, path, DEVICE, "Attach", g_variant_new("(s)", "default")));
        signals_await(&s, "PropertiesChanged " NETWORK_DEFAULT, path);

        g_variant_unref(call_ok(f.client, path, DEVICE, "Remove", NULL));
        signals_await(&s, "PropertiesChanged " NETWORK_DEFAULT, "'Devices': <@ao []>");
        signals_await(&s, "InterfacesRemoved " VNETD_PATH, path);
        call_refused(f.client, VNETD_PATH, MANAGER, "GetDevice", g_variant_new("(s)", "guest.1"),
                     "org.vnetd1.NoSuchDevice", "guest.1");
        signals_stop(&s);
        fixture_tear_down(&f);
}

/* A descriptor handed in: one that is no TAP, one that is not there, and a TAP. */
static GVariant *create_from_fd(Fixture *f, int fd, GVariant *options, GError **error) {
        g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();

        if (fd >= 0)
                g_unix_fd_list_append(fds, fd, NULL);
        return g_dbus_connection_call_with_unix_fd_list_sync(
                        f->client, VNETD_NAME, VNETD_PATH, MANAGER, "CreateDevice", options, NULL,
                        G_DBUS_CALL_FLAGS_NONE, CALL_TIMEOUT_MSEC, fds, NULL, NULL, error);
}

static void assert_fd_refused(Fixture *f, int fd) {
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;

        reply = create_from_fd(f, fd, g_variant_new_parsed("('tap', {'Fd': <@h 0>})"), &error);
        g_assert_null(reply);
        g_assert_true(g_dbus_error_is_remote_error(error));
        daemon_assert_alive(&f->daemon, f->client);
}

static void test_fd(void) {
        struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
        g_autoptr(GVariant) reply = NULL, info = NULL;
        g_autoptr(GError) error = NULL;
        const char *ifname;
        int fd;
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        assert_fd_refused(&f, -1);
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_fd_refused(&f, fd);
        close(fd);

        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0) {
                g_test_skip("no right to make a TAP here");
        } else {
                reply = create_from_fd(&f, fd,
                                       g_variant_new_parsed("('tap', {'Fd': <@h 0>, 'Name': <'mine'>})"),
                                       &error);
                g_assert_no_error(error);
                g_variant_get(reply, "(o@a{sv})", NULL, &info);
                g_assert_true(g_variant_lookup(info, "Ifname", "&s", &ifname));
                g_assert_cmpstr(ifname, ==, ifr.ifr_name);
                assert_text(f.client, "/org/vnetd1/device/mine", DEVICE, "State", "'attached'");
        }
        if (fd >= 0)
                close(fd);
        fixture_tear_down(&f);
}

static void write_network(Fixture *f, const char *file, const char *text) {
        g_autofree char *dir = g_build_filename(f->daemon.dir, "networks.d", NULL);
        g_autofree char *path = g_build_filename(dir, file, NULL);
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
        if (text)
                g_assert_true(g_file_set_contents(path, text, -1, &error));
        else
                g_assert_cmpint(g_unlink(path), ==, 0);
}

/* What Reload() finds comes and goes like anything else; a file with an error changes nothing of its network
 * and is named.
 */
static void test_reload(void) {
        Signals s;
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        signals_start(&s, f.client);
        write_network(&f, "default.json", "{}"); /* else it is there only while there are no files */
        write_network(&f, "red.json", "{ \"subnet\": \"10.7.7.0/24\" }");
        g_variant_unref(call_ok(f.client, VNETD_PATH, MANAGER, "Reload", NULL));
        signals_await(&s, "InterfacesAdded " VNETD_PATH, "/org/vnetd1/network/red");
        assert_text(f.client, "/org/vnetd1/network/red", NETWORK, "Subnet", "'10.7.7.0/24'");
        write_network(&f, "red.json", "{ \"subnet\": ");
        call_refused(f.client, VNETD_PATH, MANAGER, "Reload", NULL, "org.vnetd1.ConfigInvalid", "red.json");
        assert_managed(f.client, "/org/vnetd1/network/red", NETWORK, TRUE);
        write_network(&f, "red.json", NULL);
        g_variant_unref(call_ok(f.client, VNETD_PATH, MANAGER, "Reload", NULL));
        signals_await(&s, "InterfacesRemoved " VNETD_PATH, "/org/vnetd1/network/red");
        signals_stop(&s);
        fixture_tear_down(&f);
}

/* Two clients make and remove networks at the same time, calls interleaved, none waiting for another. */
static void test_two_clients(void) {
        GDBusConnection *clients[2];
        Pending *p[2][N_EACH];
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        clients[0] = fixture_connect();
        clients[1] = fixture_connect();
        for (int i = 0; i < N_EACH; i++)
                for (int c = 0; c < 2; c++) {
                        g_autofree char *name = g_strdup_printf("c%d-%d", c, i);
                        GVariant *subnet = g_variant_new_take_string(
                                        g_strdup_printf("10.%d.%d.0/24", 100 + c, i));

                        p[c][i] = call_async(clients[c], VNETD_PATH, MANAGER, "CreateNetwork",
                                             g_variant_new_parsed("(%s, {'Subnet': <%*>})", name, subnet),
                                             FALSE);
                }
        for (int i = 0; i < N_EACH; i++)
                for (int c = 0; c < 2; c++)
                        pending_assert_ok(p[c][i]);
        for (int i = 0; i < N_EACH; i++)
                for (int c = 0; c < 2; c++) { /* each removes what the other made */
                        g_autofree char *path = g_strdup_printf("/org/vnetd1/network/c%d_2d%d", !c, i);

                        p[c][i] = call_async(clients[c], path, NETWORK, "Remove", NULL, FALSE);
                }
        for (int i = 0; i < N_EACH; i++)
                for (int c = 0; c < 2; c++)
                        pending_assert_ok(p[c][i]);
        for (int c = 0; c < 2; c++) {
                g_autoptr(GVariant) networks =
                                call_ok(clients[c], VNETD_PATH, MANAGER, "ListNetworks", NULL);
                g_autofree char *text = g_variant_print(networks, FALSE);

                g_assert_cmpstr(text, ==, "([('default', '" NETWORK_DEFAULT "')],)");
                g_dbus_connection_close_sync(clients[c], NULL, NULL);
                g_object_unref(clients[c]);
        }
        fixture_tear_down(&f);
}

/* Clients that send and hang up without waiting for the answer. */
static void test_client_leaves(void) {
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        for (int i = 0; i < 20; i++) {
                g_autoptr(GDBusConnection) c = fixture_connect();

                for (int k = 0; k < 5; k++) {
                        g_autoptr(GDBusMessage) m = g_dbus_message_new_method_call(VNETD_NAME, VNETD_PATH,
                                                                                   MANAGER, "Describe");

                        g_dbus_connection_send_message(c, m, G_DBUS_SEND_MESSAGE_FLAGS_NONE, NULL, NULL);
                }
                g_dbus_connection_flush_sync(c, NULL, NULL);
                g_dbus_connection_close_sync(c, NULL, NULL);
        }
        daemon_assert_alive(&f.daemon, f.client);
        fixture_tear_down(&f);
}

/* Objects that are not there, however they are spelt. */
static void test_no_such_object(void) {
        static const char *const paths[] = {
                "/org/vnetd1/network",
                "/org/vnetd1/network/nowhere",
                "/org/vnetd1/network/default/x",
                "/org/vnetd1/network/_",
                "/org/vnetd1/device",
                "/org/vnetd1/device/_zz",
                "/org/vnetd1/forward",
                "/org/vnetd1/forward/_31",
                "/org/vnetd1/forward/x",
                "/org/vnetd1/forward/_39999999999999999999",
                "/org",
                "/",
        };
        static const char *const interfaces[] = { NETWORK, DEVICE, FORWARD };
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        for (size_t i = 0; i < G_N_ELEMENTS(paths); i++)
                for (size_t k = 0; k < G_N_ELEMENTS(interfaces); k++) {
                        g_autoptr(GVariant) reply = NULL;
                        g_autoptr(GError) error = NULL;

                        reply = call(f.client, paths[i], interfaces[k], "Remove", NULL, &error);
                        g_assert_null(reply);
                        g_assert_true(g_dbus_error_is_remote_error(error));
                }
        fixture_tear_down(&f);
}

static void test_second_daemon(void) {
        g_autofree char *option = NULL;
        g_autoptr(GSubprocess) second = NULL;
        g_autofree char *text = NULL;
        g_autoptr(GError) error = NULL;
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        option = g_strconcat("--bus-address=", g_getenv("DBUS_SESSION_BUS_ADDRESS"), NULL);
        second = g_subprocess_new(G_SUBPROCESS_FLAGS_STDERR_PIPE, &error, g_getenv("VNETD"), option, NULL);
        g_assert_no_error(error);
        g_subprocess_communicate_utf8(second, NULL, NULL, NULL, &text, &error);
        g_assert_no_error(error);
        g_assert_cmpint(g_subprocess_get_exit_status(second), ==, 1);
        g_assert_nonnull(strstr(text, "org.vnetd1 is taken"));
        fixture_tear_down(&f);
}

static void test_log_control(void) {
        static const char *const paths[] = { VNETD_PATH, "/org/freedesktop/LogControl1" };
        const char *interface = "org.freedesktop.LogControl1";
        Fixture f;

        fixture_set_up(&f, FALSE, FALSE);
        for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
                assert_text(f.client, paths[i], interface, "SyslogIdentifier", "'vnetd'");
                g_variant_unref(call_ok(f.client, paths[i], "org.freedesktop.DBus.Properties", "Set",
                                        g_variant_new("(ssv)", interface, "LogLevel",
                                                      g_variant_new_string("debug"))));
                assert_text(f.client, paths[i], interface, "LogLevel", "'debug'");
                call_refused(f.client, paths[i], "org.freedesktop.DBus.Properties", "Set",
                             g_variant_new("(ssv)", interface, "LogLevel", g_variant_new_string("loud")),
                             ERROR_DBUS "InvalidArgs", "loud");
                g_variant_unref(call_ok(f.client, paths[i], "org.freedesktop.DBus.Properties", "Set",
                                        g_variant_new("(ssv)", interface, "LogLevel",
                                                      g_variant_new_string("info"))));
                call_refused(f.client, paths[i], "org.freedesktop.DBus.Properties", "Set",
                             g_variant_new("(ssv)", interface, "LogTarget", g_variant_new_string("moon")),
                             ERROR_DBUS "InvalidArgs", "moon");
        }
        fixture_tear_down(&f);
}

int main(int argc, char **argv) {
        fixture_require_daemon();
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/objects/network", test_network);
        g_test_add_func("/objects/forward", test_forward);
        g_test_add_func("/objects/device", test_device);
        g_test_add_func("/objects/fd", test_fd);
        g_test_add_func("/objects/reload", test_reload);
        g_test_add_func("/objects/two-clients", test_two_clients);
        g_test_add_func("/objects/client-leaves", test_client_leaves);
        g_test_add_func("/objects/no-such-object", test_no_such_object);
        g_test_add_func("/objects/second-daemon", test_second_daemon);
        g_test_add_func("/objects/log-control", test_log_control);
        return g_test_run();
}
