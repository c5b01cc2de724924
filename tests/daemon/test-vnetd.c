/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real vnetd on a private bus: start and end, configuration, reload, networks and forwards, and what a restart keeps. */

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../loopback.h"
#include "daemon-fixture.h"

#define NETWORK_DEFAULT "/org/vnetd1/network/default"
#define MANAGER "/org/vnetd1"

static GVariant *no_options(void) {
        return g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0);
}

static GVariant *one_option(const char *key, GVariant *value) {
        GVariant *entry = g_variant_new_dict_entry(g_variant_new_string(key), g_variant_new_variant(value));

        return g_variant_new_array(G_VARIANT_TYPE("{sv}"), &entry, 1);
}

static GVariant *create_args(const char *name, GVariant *options) {
        return g_variant_new("(s@a{sv})", name, options);
}

static GVariant *expose_args(const char *protocol, const char *local, const char *remote) {
        return g_variant_new("(sss@a{sv})", protocol, local, remote, no_options());
}

static void call(Daemon *d, const char *path, const char *interface, const char *method, GVariant *args) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = daemon_call(d, path, interface, method, args, &error);

        g_assert_no_error(error);
}

static void assert_says(Daemon *d, const char *pattern) {
        g_autofree char *said = daemon_stderr(d);

        if (!g_pattern_match_simple(pattern, said))
                g_error("'%s' is not like '%s'", said, pattern);
}

/* A TCP socket on @addr, family by its form. 0 or positive errno. */
static int try_connect(const char *addr, uint16_t port) {
        g_autoptr(GSocketAddress) address = g_inet_socket_address_new_from_string(addr, port);
        struct sockaddr_storage sa;
        int fd, r;

        g_assert_true(g_socket_address_to_native(address, &sa, sizeof(sa), NULL));
        fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(fd, >=, 0);
        r = connect(fd, (struct sockaddr *) &sa, (socklen_t) g_socket_address_get_native_size(address)) < 0 ? errno : 0;
        (void) close(fd);
        return r;
}

/* A listening TCP socket on loopback; @ret_port is the kernel's choice. */
static int listen_somewhere(uint16_t *ret_port) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(sa);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), ==, 0);
        g_assert_cmpint(listen(fd, 1), ==, 0);
        g_assert_cmpint(getsockname(fd, (struct sockaddr *) &sa, &len), ==, 0);
        *ret_port = ntohs(sa.sin_port);
        return fd;
}

static char *free_port(void) {
        return g_strdup_printf("%u", loopback_ports(1));
}

/* ---- start and end ---- */

static void test_default(Daemon *d, gconstpointer data) {
        g_autofree char *text = NULL;

        daemon_start(d);
        text = daemon_describe(d);
        g_assert_nonnull(strstr(text, "\"name\": \"default\""));
        g_assert_nonnull(strstr(text, "\"subnet\": \"192.168.127.0/24\""));
        g_assert_nonnull(strstr(text, "\"gateway\": \"192.168.127.1\""));
        g_assert_nonnull(strstr(text, "\"hostAddress\": \"192.168.127.254\""));
        g_assert_nonnull(strstr(text, "\"hostLoopback\": true")); /* a private bus: somebody's own */
        g_assert_cmpint(daemon_stop(d, SIGINT), ==, 0);
}

static void test_usage(Daemon *d, gconstpointer data) {
        static const char *const wrong[] = { "--nonsense", "-x",           "extra",        "--log-level=loud", "--log-target=x",
                                             "--user",     "--config-dir", "--user=yes",   "--state-dir=here", "--bus-address=" };

        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autofree char *said = NULL;

                g_assert_cmpint(daemon_run(d, wrong[i]), ==, 2);
                said = daemon_stderr(d);
                g_assert_true(g_str_has_prefix(said, "vnetd: "));
                g_assert_true(strchr(said, '\n') == said + strlen(said) - 1); /* one line */
        }
        g_assert_cmpint(daemon_run(d, "--help"), ==, 0);
        g_assert_cmpint(daemon_run(d, "--version"), ==, 0);
}

static void test_second(Daemon *d, gconstpointer data) {
        g_autofree char *state = g_strdup_printf("--state-dir=%s", d->dir);
        GSubprocess *first;

        daemon_start(d);
        first = g_steal_pointer(&d->vnetd);
        g_assert_cmpint(daemon_run(d, NULL), ==, 1); /* the state is another's */
        assert_says(d, "*Another vnetd runs, and keeps its state in*");
        g_assert_cmpint(daemon_run(d, state), ==, 1); /* the name is taken */
        d->vnetd = first;
        g_assert_true(daemon_has_network(d, "default"));
}

static void test_bus_gone(Daemon *d, gconstpointer data) {
        GSubprocess *vnetd;

        daemon_start(d);
        g_dbus_connection_set_exit_on_close(d->connection, FALSE);
        g_subprocess_force_exit(d->bus);
        vnetd = g_object_ref(d->vnetd);
        g_assert_cmpint(daemon_stop(d, 0), ==, 1); /* signal 0: it ends on its own */
        g_object_unref(vnetd);
}

static void assert_notified(Daemon *d, const char *prefix) {
        g_autofree char *text = daemon_notified(d);

        g_assert_nonnull(text);
        if (!g_str_has_prefix(text, prefix))
                g_error("'%s' does not begin with '%s'", text, prefix);
}

static void test_notify(Daemon *d, gconstpointer data) {
        daemon_be_systemd(d);
        daemon_start(d);
        assert_notified(d, "READY=1");
        assert_notified(d, "STATUS=1 network, 0 devices, 0 forwards");
        g_subprocess_send_signal(d->vnetd, SIGHUP);
        assert_notified(d, "RELOADING=1\nMONOTONIC_USEC=");
        assert_notified(d, "READY=1");
        call(d, MANAGER, "Manager", "CreateNetwork", create_args("two", no_options())); /* the reload has changed nothing */
        assert_notified(d, "STATUS=2 networks, 0 devices, 0 forwards");
        call(d, "/org/vnetd1/network/two", "Network", "Remove", NULL);
        assert_notified(d, "STATUS=1 network, 0 devices, 0 forwards");
        daemon_write(d, "networks.d/bad.json", "{\"sbnet\": 5}");
        daemon_assert_refused(d, MANAGER, "Manager", "Reload", NULL, "org.vnetd1.ConfigInvalid", "*bad.json*");
        assert_notified(d, "STATUS=1 network, 0 devices, 0 forwards; not all of the configuration: ");
        g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
        assert_notified(d, "STOPPING=1");
}

/* ---- configuration ---- */

static void test_config(Daemon *d, gconstpointer data) {
        g_autofree char *text = NULL;

        daemon_write(d, "vnetd.json", "{\"hostLoopback\": false}");
        daemon_write(d, "networks.d/lab.json", "{\"subnet\": \"10.77.0.0/24\", \"domain\": \"lab.example\", \"leaseTime\": \"2h\",\n"
                                               " \"mtu\": 1400, \"dnsServers\": [\"192.0.2.53\"],\n"
                                               " \"staticLeases\": {\"10.77.0.9\": \"52:54:00:00:00:09\"}}");
        daemon_write(d, "networks.d/bad.json", "{\n\"sbnet\": \"10.78.0.0/24\"}");
        daemon_write(d, "networks.d/clash.json", "{\"subnet\": \"10.77.0.128/25\"}");
        daemon_start(d);
        text = daemon_describe(d);
        g_assert_nonnull(strstr(text, "\"subnet\": \"10.77.0.0/24\"") ?: strstr(text, "\"subnet\": \"10.77.0.128/25\""));
        g_assert_false(daemon_has_network(d, "bad"));
        g_assert_false(daemon_has_network(d, "default")); /* there are files, and none names it */
        g_assert_true(daemon_has_network(d, "lab") != daemon_has_network(d, "clash")); /* the first by name is made */
        g_assert_true(daemon_has_network(d, "clash"));
        assert_says(d, "*networks.d/bad.json:2: unknown key 'sbnet'*");
        assert_says(d, "*lab.json: network 'lab' left out: Subnet '10.77.0.0/24' overlaps 10.77.0.128/25 of network 'clash'*");

        daemon_write(d, "networks.d/clash.json", NULL);
        call(d, MANAGER, "Manager", "Describe", NULL);
        daemon_assert_refused(d, MANAGER, "Manager", "Reload", NULL, "org.vnetd1.ConfigInvalid", "*bad.json:2: unknown key 'sbnet'*");
        g_assert_false(daemon_has_network(d, "clash"));
        g_assert_true(daemon_has_network(d, "lab")); /* the bad file has kept nothing else from being read */
        g_free(text);
        text = daemon_describe(d);
        g_assert_nonnull(strstr(text, "\"hostLoopback\": false"));
        g_assert_nonnull(strstr(text, "\"domain\": \"lab.example\""));
        g_assert_nonnull(strstr(text, "\"mtu\": 1400"));
        g_assert_nonnull(strstr(text, "\"leaseTimeSec\": 7200"));
        g_assert_nonnull(strstr(text, "\"192.0.2.53:53\""));
        g_assert_nonnull(strstr(text, "\"address\": \"10.77.0.9\""));
}

static void test_config_broken_main(Daemon *d, gconstpointer data) {
        daemon_write(d, "vnetd.json", "{\n\n  \"hostLoopback\": \"no\"\n}");
        g_assert_cmpint(daemon_run(d, NULL), ==, 1);
        assert_says(d, "*vnetd.json:3: hostLoopback: expected true or false, not \"no\"*");
}

static void test_reload(Daemon *d, gconstpointer data) {
        g_autofree char *port = free_port(), *by_name = free_port(), *file = NULL, *text = NULL, *said = NULL, *networks = NULL, *away = NULL;

        daemon_start(d);
        g_assert_true(daemon_has_network(d, "default"));
        call(d, MANAGER, "Manager", "CreateNetwork", create_args("made", no_options()));

        daemon_write(d, "networks.d/a.json", "{\"forwards\": 5}"); /* a file that says nothing takes nothing away */
        daemon_assert_refused(d, MANAGER, "Manager", "Reload", NULL, "org.vnetd1.ConfigInvalid", "*a.json:1: forwards: expected*");
        g_assert_true(daemon_has_network(d, "default"));
        g_assert_false(daemon_has_network(d, "a"));

        file = g_strdup_printf("{\"subnet\": \"10.79.0.0/24\", \"forwards\": [{\"local\": \"%s\", \"remote\": \"10.79.0.2\"},"
                               "{\"local\": \"%s\", \"remote\": \"web:80\"}]}", port, by_name);
        daemon_write(d, "networks.d/a.json", file);
        g_subprocess_send_signal(d->vnetd, SIGHUP);
        while (!daemon_has_network(d, "a"))
                g_usleep(5000);
        g_assert_false(daemon_has_network(d, "default")); /* built in, and empty: as after a restart */
        g_assert_true(daemon_has_network(d, "made"));
        g_assert_cmpint(try_connect("127.0.0.1", (uint16_t) atoi(port)), ==, 0);
        g_assert_cmpint(try_connect("127.0.0.1", (uint16_t) atoi(by_name)), ==, 0); /* the guest need not be there yet */

        daemon_write(d, "networks.d/a.json", "{\"forwards\": 5}"); /* broken: it goes on as it was */
        daemon_assert_refused(d, MANAGER, "Manager", "Reload", NULL, "org.vnetd1.ConfigInvalid", "*a.json:1: forwards: expected*");
        g_assert_true(daemon_has_network(d, "a"));
        g_assert_cmpint(try_connect("127.0.0.1", (uint16_t) atoi(port)), ==, 0);

        daemon_write(d, "networks.d/a.json", "{\"subnet\": \"10.79.0.0/24\"," /* the forward is gone from the file */
                                             " \"staticLeases\": {\"10.79.0.9\": \"52:54:00:00:00:09\"}}");
        call(d, MANAGER, "Manager", "Reload", NULL);
        call(d, MANAGER, "Manager", "Reload", NULL); /* a second time changes nothing */
        text = daemon_describe(d);
        g_assert_nonnull(strstr(text, "\"address\": \"10.79.0.9\""));
        said = daemon_stderr(d);
        g_assert_null(strstr(said, "waits for a restart"));
        g_assert_cmpint(try_connect("127.0.0.1", (uint16_t) atoi(port)), ==, ECONNREFUSED);

        daemon_write(d, "networks.d/a.json", "{\"subnet\": \"10.79.0.0/24\", \"mtu\": 1400}");
        call(d, MANAGER, "Manager", "Reload", NULL);
        assert_says(d, "*a.json: network 'a' runs already: what has changed*waits for a restart*");

        daemon_write(d, "networks.d/b.json", "{\"subnet\": \"10.79.0.0/25\"}"); /* good JSON, and cannot be had: refused all the same */
        daemon_assert_refused(d, MANAGER, "Manager", "Reload", NULL, "org.vnetd1.ConfigInvalid", "*b.json: network 'b' left out: *10.79.0.0/2*");
        daemon_write(d, "networks.d/b.json", "{\"zones\": [{\"name\": \"lab.test\","
                                             " \"records\": [{\"name\": \"/(/\", \"type\": \"A\", \"value\": \"10.0.0.1\"}]}]}");
        daemon_assert_refused(d, MANAGER, "Manager", "Reload", NULL, "org.vnetd1.ConfigInvalid", "*b.json:1: zone left out: *regular expression*");
        daemon_write(d, "networks.d/b.json", NULL);
        call(d, MANAGER, "Manager", "Reload", NULL);

        /* A directory that cannot be read for now tells of no network that it is gone. */
        networks = g_build_filename(d->dir, "config/networks.d", NULL);
        away = g_build_filename(d->dir, "config/away", NULL);
        g_assert_cmpint(rename(networks, away), ==, 0);
        g_assert_cmpint(symlink("networks.d", networks), ==, 0); /* ELOOP, which root gets, too */
        daemon_assert_refused(d, MANAGER, "Manager", "Reload", NULL, "org.vnetd1.ConfigInvalid", "*networks.d: cannot be read: *");
        g_assert_true(daemon_has_network(d, "a"));
        g_assert_false(daemon_has_network(d, "default"));
        g_assert_cmpint(unlink(networks), ==, 0);
        g_assert_cmpint(rename(away, networks), ==, 0);

        daemon_write(d, "networks.d/a.json", NULL);
        call(d, MANAGER, "Manager", "Reload", NULL);
        g_assert_false(daemon_has_network(d, "a"));
        g_assert_true(daemon_has_network(d, "default"));
        g_assert_true(daemon_has_network(d, "made"));
}

/* ---- networks and forwards ---- */

static void test_networks(Daemon *d, gconstpointer data) {
        daemon_start(d);
        call(d, MANAGER, "Manager", "CreateNetwork", create_args("one", no_options())); /* a free subnet is chosen */
        call(d, MANAGER, "Manager", "CreateNetwork", create_args("two", one_option("Subnet", g_variant_new_string("10.80.0.0/16"))));
        daemon_assert_refused(d, MANAGER, "Manager", "CreateNetwork", create_args("one", no_options()), "org.vnetd1.NetworkExists",
                              "*network 'one'*");
        daemon_assert_refused(d, MANAGER, "Manager", "CreateNetwork",
                              create_args("three", one_option("Subnet", g_variant_new_string("10.80.3.0/24"))),
                              "org.vnetd1.SubnetInUse", "Subnet '10.80.3.0/24' overlaps 10.80.0.0/16 of network 'two'");
        daemon_assert_refused(d, MANAGER, "Manager", "CreateNetwork",
                              create_args("three", one_option("Subnet", g_variant_new_string("10.81.0.1/24"))),
                              "org.freedesktop.DBus.Error.InvalidArgs", "*10.81.0.0/24 is meant?");
        daemon_assert_refused(d, MANAGER, "Manager", "CreateNetwork",
                              create_args("three", one_option("Subnet", g_variant_new_string("8.8.8.0/24"))),
                              "org.freedesktop.DBus.Error.InvalidArgs", "Subnet '8.8.8.0/24' cannot be a network*");
        daemon_assert_refused(d, MANAGER, "Manager", "CreateNetwork",
                              create_args("three", one_option("Mtu", g_variant_new_uint32(575))),
                              "org.freedesktop.DBus.Error.InvalidArgs", "*575 is not between 576 and 65520");
        daemon_assert_refused(d, MANAGER, "Manager", "CreateNetwork", create_args("no/name", no_options()),
                              "org.freedesktop.DBus.Error.InvalidArgs", "*'no/name'*");
        call(d, "/org/vnetd1/network/two", "Network", "Remove", NULL);
        g_assert_false(daemon_has_network(d, "two"));
        call(d, MANAGER, "Manager", "CreateNetwork", create_args("three", one_option("Subnet", g_variant_new_string("10.80.3.0/24"))));
}

static void test_forwards(Daemon *d, gconstpointer data) {
        g_autofree char *port = free_port(), *taken = NULL, *v4 = g_strdup_printf("127.0.0.1:%s", port),
                        *all = g_strdup_printf(":%s", port);
        uint16_t n = (uint16_t) atoi(port), taken_port;
        int fd;

        daemon_start(d);
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", port, ""), "org.vnetd1.NoSuchGuest",
                              "Network 'default' has no guest yet: name the address it will have, as in 192.168.127.2:*");
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", port, "web:80"), "org.vnetd1.NoSuchGuest",
                              "Network 'default' has no guest called 'web'*");
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", port, "10.0.0.2:80"),
                              "org.freedesktop.DBus.Error.InvalidArgs", "'10.0.0.2:80' is not in network 'default'*");
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", port, "192.168.127.254"),
                              "org.freedesktop.DBus.Error.InvalidArgs", "'192.168.127.254' is no guest's*");
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", "0", "192.168.127.2"),
                              "org.freedesktop.DBus.Error.InvalidArgs", "'0' is no place to listen*");
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("sctp", port, "192.168.127.2"),
                              "org.freedesktop.DBus.Error.InvalidArgs", "*'sctp'*");
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", "192.0.2.77:8080", "192.168.127.2"),
                              "org.vnetd1.AddressNotAvailable", "The host does not have the address 192.0.2.77");

        fd = listen_somewhere(&taken_port);
        taken = g_strdup_printf("%u", taken_port);
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", taken, "192.168.127.2"),
                              "org.vnetd1.AddressInUse", "Another program listens on 127.0.0.1:*");
        (void) close(fd);

        call(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", port, "192.168.127.2"));
        g_assert_cmpint(try_connect("127.0.0.1", n), ==, 0);
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", v4, "192.168.127.3"),
                              "org.vnetd1.ForwardExists", "*is forwarded already*");
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", all, "192.168.127.3"),
                              "org.vnetd1.ForwardExists", "*is forwarded already*");
        call(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("udp", port, "192.168.127.2")); /* another protocol is another port */
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", "Unexpose", g_variant_new("(ss)", "tcp", all), "org.vnetd1.NoSuchForward",
                              "Network 'default' has no forward of tcp*");
        call(d, NETWORK_DEFAULT, "Network", "Unexpose", g_variant_new("(ss)", "tcp", port));
        g_assert_cmpint(try_connect("127.0.0.1", n), ==, ECONNREFUSED); /* at once */
}

static void test_devices(Daemon *d, gconstpointer data) {
        daemon_start(d);
        daemon_assert_refused(d, MANAGER, "Manager", "CreateDevice", g_variant_new("(s@a{sv})", "carrier-pigeon", no_options()),
                              "org.vnetd1.NotSupported", "There is no kind of device 'carrier-pigeon'; there are: tap, *vfkit*");
        daemon_assert_refused(d, MANAGER, "Manager", "CreateDevice",
                              g_variant_new("(s@a{sv})", "tap", one_option("Network", g_variant_new_string("nowhere"))),
                              "org.vnetd1.NoSuchNetwork", "There is no network 'nowhere'");
        daemon_assert_refused(d, MANAGER, "Manager", "CreateDevice",
                              g_variant_new("(s@a{sv})", "tap", one_option("Namespace", g_variant_new_string("/nowhere/net"))),
                              "org.vnetd1.NoSuchNamespace", "There is no network namespace at '/nowhere/net'*");
        daemon_assert_refused(d, MANAGER, "Manager", "CreateDevice",
                              g_variant_new("(s@a{sv})", "tap", one_option("Namespace", g_variant_new_string("relative"))),
                              "org.freedesktop.DBus.Error.InvalidArgs", "*'relative'*");
        daemon_assert_refused(d, MANAGER, "Manager", "CreateDevice",
                              g_variant_new("(s@a{sv})", "tap", one_option("Mac", g_variant_new_string("01:00:5e:00:00:01"))),
                              "org.freedesktop.DBus.Error.InvalidArgs", "*'01:00:5e:00:00:01'*");
}

/* ---- restart ---- */

static void test_restart(Daemon *d, gconstpointer data) {
        g_autofree char *port = free_port(), *late_port = free_port(), *text = NULL,
                        *networks = g_build_filename(d->dir, "state", "networks.json", NULL),
                        *forwards = g_build_filename(d->dir, "state", "forwards.json", NULL);
        uint16_t n = (uint16_t) atoi(port);

        daemon_start(d);
        call(d, MANAGER, "Manager", "CreateNetwork",
             create_args("kept", one_option("Subnet", g_variant_new_string("10.90.0.0/24"))));
        call(d, MANAGER, "Manager", "CreateNetwork", create_args("dropped", no_options()));
        call(d, "/org/vnetd1/network/dropped", "Network", "Remove", NULL);
        call(d, "/org/vnetd1/network/kept", "Network", "Expose", expose_args("tcp", port, "10.90.0.2:80"));
        g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
        g_assert_cmpint(try_connect("127.0.0.1", n), ==, ECONNREFUSED);

        daemon_start(d);
        text = daemon_describe(d);
        g_assert_nonnull(strstr(text, "\"subnet\": \"10.90.0.0/24\""));
        g_assert_nonnull(strstr(text, "\"remote\": \"10.90.0.2:80\""));
        g_assert_false(daemon_has_network(d, "dropped"));
        g_assert_cmpint(try_connect("127.0.0.1", n), ==, 0);

        /* A crash loses nothing that was answered, not even what came just before it. */
        call(d, MANAGER, "Manager", "CreateNetwork", create_args("new", one_option("Subnet", g_variant_new_string("10.91.0.0/24"))));
        call(d, "/org/vnetd1/network/new", "Network", "Expose", expose_args("tcp", late_port, "10.91.0.2:80"));
        g_assert_cmpint(daemon_stop(d, SIGKILL), ==, -SIGKILL);
        daemon_start(d);
        g_assert_true(daemon_has_network(d, "kept"));
        g_assert_true(daemon_has_network(d, "new"));
        g_assert_cmpint(try_connect("127.0.0.1", (uint16_t) atoi(late_port)), ==, 0);
        call(d, "/org/vnetd1/network/new", "Network", "Unexpose", g_variant_new("(ss)", "tcp", late_port));
        g_assert_cmpint(daemon_stop(d, SIGKILL), ==, -SIGKILL);
        daemon_start(d);
        g_assert_true(daemon_has_network(d, "new"));
        g_assert_cmpint(try_connect("127.0.0.1", (uint16_t) atoi(late_port)), ==, ECONNREFUSED);
        g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);

        /* A state file that makes no sense costs what is in it, and nothing else. */
        g_assert_true(g_file_set_contents(networks, "{\"version\": 1, \"items\": [5, {\"name\": \"x\", \"subnet\": \"bad\"}]}", -1, NULL));
        g_assert_true(g_file_set_contents(forwards, "{\"version\": 1, \"items\": [{}, {\"network\": \"no\", \"protocol\": \"tcp\","
                                                    "\"local\": \"1\", \"remote\": \"\"}]}", -1, NULL));
        daemon_start(d);
        g_assert_true(daemon_has_network(d, "default"));
        g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
        g_assert_true(g_file_set_contents(networks, "garbage", -1, NULL));
        daemon_start(d);
        assert_says(d, "*networks.json:1: *ignoring the file*");
        g_assert_true(daemon_has_network(d, "default"));
}

/* Leases come back with what is left of their time; what is over, or makes no sense, does not. */
static void test_restart_leases(Daemon *d, gconstpointer data) {
        g_autofree char *path = g_build_filename(d->dir, "state", "leases-default.json", NULL), *text = NULL, *kept = NULL, *port = free_port();
        gint64 now = g_get_real_time() / G_USEC_PER_SEC;
        g_autofree char *leases = g_strdup_printf(
                "{\"version\": 1, \"items\": ["
                "{\"address\": \"192.168.127.77\", \"mac\": \"52:54:00:00:00:77\","
                " \"clientId\": \"01525400000077\", \"hostname\": \"web\", \"ends\": %" G_GINT64_FORMAT "},"
                "{\"address\": \"192.168.127.78\", \"mac\": \"52:54:00:00:00:78\","
                " \"clientId\": \"\", \"hostname\": \"\", \"ends\": %" G_GINT64_FORMAT "},"
                "{\"address\": \"192.168.127.79\", \"mac\": \"52:54:00:00:00:79\","
                " \"clientId\": \"\", \"hostname\": \"\", \"ends\": %" G_GINT64_FORMAT "},"
                "{\"address\": \"10.0.0.1\", \"mac\": \"52:54:00:00:00:7a\","
                " \"clientId\": \"\", \"hostname\": \"\", \"ends\": %" G_GINT64_FORMAT "},"
                "{\"address\": \"192.168.127.80\", \"mac\": \"52:54:00:00:00:80\","
                " \"clientId\": \"0\", \"hostname\": \"a b\", \"ends\": %" G_GINT64_FORMAT "},"
                "{}, 5]}",
                now + 600, now - 1, now + 1000000, now + 600, now + 600);

        g_assert_true(g_file_set_contents(path, leases, -1, NULL));
        daemon_start(d);
        text = daemon_describe(d);
        g_assert_nonnull(strstr(text, "\"address\": \"192.168.127.77\""));
        g_assert_nonnull(strstr(text, "\"expiresInSec\": 59")); /* 590 to 599 */
        g_assert_null(strstr(text, "192.168.127.78"));
        g_assert_nonnull(strstr(text, "192.168.127.79"));
        g_assert_nonnull(strstr(text, "\"expiresInSec\": 35")); /* no more than this network's lease time, an hour */
        g_assert_null(strstr(text, "10.0.0.1"));
        g_assert_null(strstr(text, "192.168.127.80"));
        call(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", port, "web:80")); /* its name is known again */

        g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
        g_assert_true(g_file_get_contents(path, &kept, NULL, NULL));
        g_assert_nonnull(strstr(kept, "\"clientId\":\"01525400000077\""));
        daemon_start(d); /* and the forward that names it comes back after it */
        g_free(text);
        text = daemon_describe(d);
        g_assert_nonnull(strstr(text, "\"remote\": \"web:80\""));
}

/* Listeners stay open while vnetd is away: clients wait, and are not refused. */
static void test_restart_listener(Daemon *d, gconstpointer data) {
        g_autofree char *port = free_port(), *name = g_strdup_printf("listener-tcp-127.0.0.1_%s", port), *text = NULL;
        uint16_t n = (uint16_t) atoi(port), other_port;
        int other;

        daemon_be_systemd(d);
        daemon_start(d);
        call(d, NETWORK_DEFAULT, "Network", "Expose", expose_args("tcp", port, "192.168.127.2"));
        daemon_notified_all(d);
        g_assert_true(daemon_stores(d, name));
        g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
        daemon_notified_all(d);
        g_assert_true(daemon_stores(d, name));
        g_assert_cmpint(try_connect("127.0.0.1", n), ==, 0);

        /* One that nothing asks for any more leaves the store, and one that is not what it is called is not used. */
        other = listen_somewhere(&other_port);
        g_hash_table_insert(d->stored, g_strdup("listener-tcp-127.0.0.1_1"), GINT_TO_POINTER(dup(other) + 1));
        g_hash_table_insert(d->stored, g_strdup("device-none"), GINT_TO_POINTER(other + 1));
        daemon_start(d);
        daemon_notified_all(d);
        g_assert_false(daemon_stores(d, "listener-tcp-127.0.0.1_1"));
        g_assert_false(daemon_stores(d, "device-none"));
        g_assert_true(daemon_stores(d, name));
        text = daemon_describe(d);
        g_assert_nonnull(strstr(text, "\"remote\": \"192.168.127.2\""));

        /* So it leaves the store before the right one comes there by that name. */
        g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
        daemon_notified_all(d);
        g_hash_table_replace(d->stored, g_strdup(name), GINT_TO_POINTER(listen_somewhere(&other_port) + 1));
        daemon_start(d);
        daemon_notified_all(d);
        g_assert_true(daemon_stores(d, name));
        g_assert_cmpint(try_connect("127.0.0.1", n), ==, 0);

        call(d, NETWORK_DEFAULT, "Network", "Unexpose", g_variant_new("(ss)", "tcp", port));
        daemon_notified_all(d);
        g_assert_false(daemon_stores(d, name));
        g_assert_cmpint(try_connect("127.0.0.1", n), ==, ECONNREFUSED);
}

/* A process in a network namespace of its own; NULL where that is not allowed. */
static GSubprocess *new_namespace(void) {
        g_autoptr(GSubprocess) p = g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDIN_PIPE, NULL, "unshare",
                                                    "--net", "sh", "-c", "echo; exec cat", NULL);
        char byte;

        if (!p || g_input_stream_read(g_subprocess_get_stdout_pipe(p), &byte, 1, NULL, NULL) != 1)
                return NULL;
        return g_steal_pointer(&p);
}

/* Runs @command in the guest's namespace; true when it succeeds. */
static bool in_guest(GSubprocess *guest, const char *command) {
        g_autoptr(GSubprocess) p = g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_SILENCE, NULL, "nsenter",
                                                    "--net", "--target", g_subprocess_get_identifier(guest), "sh", "-c", command, NULL);

        return p && g_subprocess_wait_check(p, NULL, NULL);
}

/* A guest's interface survives: same name, same MAC, in its network, with its addresses, and frames pass. */
static void test_restart_device(Daemon *d, gconstpointer data) {
        g_autoptr(GSubprocess) guest = NULL;
        g_autofree char *before = NULL, *after = NULL, *mac = NULL;
        const char *at;
        bool can_ping;

        if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) < 0 || !(guest = new_namespace())) {
                g_test_skip("needs root, /dev/net/tun and a network namespace of its own");
                return;
        }
        daemon_be_systemd(d);
        daemon_start(d);
        call(d, MANAGER, "Manager", "CreateDevice",
             g_variant_new("(s@a{sv})", "tap", one_option("Namespace", g_variant_new_string(g_subprocess_get_identifier(guest)))));
        daemon_notified_all(d);
        g_assert_true(daemon_stores(d, "device-tap0"));
        before = daemon_describe(d);
        at = strstr(before, "\"state\": \"attached\"");
        g_assert_nonnull(at);
        at = strstr(at, "\"mac\": ");
        mac = g_strndup(at, strcspn(at, "\n"));
        can_ping = in_guest(guest, "ip addr add 192.168.127.50/24 dev vnet0 && ping -V");
        g_assert_true(!can_ping || in_guest(guest, "ping -c 1 -W 5 192.168.127.1"));
        g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
        daemon_notified_all(d);
        g_assert_true(daemon_stores(d, "device-tap0"));

        daemon_start(d);
        after = daemon_describe(d);
        g_assert_nonnull(strstr(after, "\"name\": \"tap0\""));
        g_assert_nonnull(strstr(after, "\"state\": \"attached\""));
        g_assert_nonnull(strstr(after, mac));
        g_assert_true(!can_ping || in_guest(guest, "ping -c 1 -W 5 192.168.127.1"));
        if (!can_ping)
                g_test_message("no ip or ping here: that frames pass is not tried");

        /* Killed as soon as a device is made, or removed. */
        call(d, MANAGER, "Manager", "CreateDevice",
             g_variant_new("(s@a{sv})", "tap", one_option("Namespace", g_variant_new_string(g_subprocess_get_identifier(guest)))));
        g_assert_cmpint(daemon_stop(d, SIGKILL), ==, -SIGKILL);
        daemon_notified_all(d);
        g_assert_true(daemon_stores(d, "device-tap1"));
        daemon_start(d);
        g_free(after);
        after = daemon_describe(d);
        g_assert_nonnull(strstr(after, "\"name\": \"tap0\""));
        g_assert_nonnull(strstr(after, "\"name\": \"tap1\""));
        daemon_notified_all(d);
        g_assert_true(daemon_stores(d, "device-tap1"));

        call(d, "/org/vnetd1/device/tap0", "Device", "Remove", NULL);
        g_assert_cmpint(daemon_stop(d, SIGKILL), ==, -SIGKILL);
        daemon_notified_all(d);
        g_assert_false(daemon_stores(d, "device-tap0"));
        daemon_start(d);
        g_free(after);
        after = daemon_describe(d);
        g_assert_null(strstr(after, "\"name\": \"tap0\""));
        g_assert_nonnull(strstr(after, "\"name\": \"tap1\""));
        g_subprocess_force_exit(guest);
        (void) g_subprocess_wait(guest, NULL, NULL);
}

/* What belonged to a device that cannot be brought back does not stay with systemd: the interface would stay, and be taken for that of the next
 * device of the name. */
static void test_restart_lost(Daemon *d, gconstpointer data) {
        g_autofree char *devices = g_build_filename(d->dir, "state", "devices.json", NULL), *text = NULL;
        g_autoptr(GSubprocess) guest = NULL;
        g_autoptr(GString) wrong = NULL;
        GVariantBuilder options;

        if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) < 0 || !(guest = new_namespace())) {
                g_test_skip("needs root, /dev/net/tun and a network namespace of its own");
                return;
        }
        daemon_be_systemd(d);
        daemon_start(d);
        g_variant_builder_init(&options, G_VARIANT_TYPE_VARDICT);
        g_variant_builder_add(&options, "{sv}", "Namespace", g_variant_new_string(g_subprocess_get_identifier(guest)));
        g_variant_builder_add(&options, "{sv}", "Queues", g_variant_new_uint32(2));
        call(d, MANAGER, "Manager", "CreateDevice", g_variant_new("(s@a{sv})", "tap", g_variant_builder_end(&options)));
        g_variant_builder_init(&options, G_VARIANT_TYPE_VARDICT);
        g_variant_builder_add(&options, "{sv}", "Namespace", g_variant_new_string(g_subprocess_get_identifier(guest)));
        g_variant_builder_add(&options, "{sv}", "VhostQueueSize", g_variant_new_uint32(512));
        call(d, MANAGER, "Manager", "CreateDevice", g_variant_new("(s@a{sv})", "vhost-net", g_variant_builder_end(&options)));
        for (unsigned i = 0; i < 2; i++) { /* this one is as it was asked for after each */
                g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
                daemon_notified_all(d);
                g_clear_pointer(&text, g_free);
                g_assert_true(g_file_get_contents(devices, &text, NULL, NULL));
                g_assert_nonnull(strstr(text, "\"vhost-net0\""));
                if (strstr(text, "\"kind\":\"vhost-net\"")) /* else it is a plain TAP here */
                        g_assert_nonnull(strstr(text, "\"vhostQueueSize\":512"));
                if (i == 0)
                        daemon_start(d);
        }
        g_assert_true(daemon_stores(d, "device-tap0"));
        g_assert_true(daemon_stores(d, "queue1-tap0"));

        wrong = g_string_new(text);
        g_assert_cmpuint(g_string_replace(wrong, "\"tap\"", "\"qemu\"", 0), >=, 1); /* which a TAP is not */
        g_assert_true(g_file_set_contents(devices, wrong->str, -1, NULL));
        daemon_start(d);
        assert_says(d, "*Device 'tap0' of before the restart is lost: *");
        daemon_notified_all(d);
        g_assert_false(daemon_stores(d, "device-tap0"));
        g_assert_false(daemon_stores(d, "queue1-tap0"));
        g_subprocess_force_exit(guest);
        (void) g_subprocess_wait(guest, NULL, NULL);
}

/* "Who has 192.168.127.1?", behind QEMU's length, and the gateway's answer. */
static void ask_gateway(int fd) {
        static const uint8_t request[4 + 42] = { 0, 0, 0, 42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
                                                 2, 0, 0, 0, 0, 9, 192, 168, 127, 60, 0, 0, 0, 0, 0, 0, 192, 168, 127, 1 };
        uint8_t answer[4 + 60];

        g_assert_cmpint(send(fd, request, sizeof(request), MSG_NOSIGNAL), ==, sizeof(request));
        g_assert_cmpint(recv(fd, answer, 4, MSG_WAITALL), ==, 4);
        g_assert_cmpuint(answer[3], >=, 42);
        g_assert_cmpint(recv(fd, answer + 4, answer[3], MSG_WAITALL), ==, answer[3]);
        g_assert_cmpmem(answer + 4, 6, request + 10, 6);
        g_assert_cmpuint(answer[4 + 21], ==, 2);
}

/* A virtual machine's connection survives, to a listener that is made anew; not one that ended without order. */
static void test_restart_guest(Daemon *d, gconstpointer data) {
        g_autofree char *path = g_build_filename(d->dir, "vm.sock", NULL), *after = NULL;
        struct timeval tv = { .tv_sec = 10 };
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        uint8_t byte;

        daemon_be_systemd(d);
        daemon_start(d);
        call(d, MANAGER, "Manager", "CreateDevice", g_variant_new("(s@a{sv})", "qemu", one_option("Listen", g_variant_new_string(path))));
        g_assert_cmpuint(g_strlcpy(un.sun_path, path, sizeof(un.sun_path)), <, sizeof(un.sun_path));
        g_assert_cmpint(connect(fd, (struct sockaddr *) &un, sizeof(un)), ==, 0);
        g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), ==, 0);
        ask_gateway(fd);
        for (unsigned i = 0; i < 2; i++) {
                g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
                daemon_notified_all(d);
                g_assert_true(daemon_stores(d, "guest-qemu0"));
                daemon_start(d);
                daemon_notified_all(d);
                g_assert_false(daemon_stores(d, "guest-qemu0"));
                ask_gateway(fd);
        }
        after = daemon_describe(d);
        g_assert_nonnull(strstr(after, "\"state\": \"attached\""));

        g_assert_cmpint(daemon_stop(d, SIGKILL), ==, -SIGKILL);
        g_assert_cmpint(recv(fd, &byte, 1, 0), ==, 0);
        (void) close(fd);
        daemon_start(d);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(connect(fd, (struct sockaddr *) &un, sizeof(un)), ==, 0);
        ask_gateway(fd);
        (void) close(fd);
}

int main(int argc, char **argv) {
        g_autofree char *bus = g_find_program_in_path("dbus-daemon");

        g_test_init(&argc, &argv, NULL);
        if (!bus) {
                g_print("1..0 # SKIP there is no dbus-daemon\n");
                return 0;
        }
#define ADD(name, fn) g_test_add("/vnetd/" name, Daemon, NULL, daemon_setup, fn, daemon_teardown)
        ADD("default", test_default);
        ADD("usage", test_usage);
        ADD("second", test_second);
        ADD("bus-gone", test_bus_gone);
        ADD("notify", test_notify);
        ADD("config", test_config);
        ADD("config-broken-main", test_config_broken_main);
        ADD("reload", test_reload);
        ADD("networks", test_networks);
        ADD("forwards", test_forwards);
        ADD("devices", test_devices);
        ADD("restart", test_restart);
        ADD("restart-leases", test_restart_leases);
        ADD("restart-listener", test_restart_listener);
        ADD("restart-device", test_restart_device);
        ADD("restart-lost", test_restart_lost);
        ADD("restart-guest", test_restart_guest);
        return g_test_run();
}
