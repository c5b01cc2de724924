/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A private dbus-daemon and vnetd processes on it. The program is the one named by $VNETD. */

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon-fixture.h"

static const char bus_config[] =
        "<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>"
        "<policy context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/></policy>"
        "</busconfig>";

static char *in_dir(Daemon *d, const char *name) {
        return g_build_filename(d->dir, name, NULL);
}

static void make_dir(Daemon *d, const char *name) {
        g_autofree char *path = in_dir(d, name);

        g_assert_cmpint(g_mkdir(path, 0755), ==, 0);
}

static void start_bus(Daemon *d) {
        g_autofree char *config = in_dir(d, "bus.conf");
        g_autoptr(GError) error = NULL;
        g_autoptr(GDataInputStream) out = NULL;

        g_assert_true(g_file_set_contents(config, bus_config, -1, NULL));
        d->bus = g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE, &error, "dbus-daemon", "--nofork",
                                  "--print-address=1", "--config-file", config, NULL);
        g_assert_no_error(error);
        out = g_data_input_stream_new(g_subprocess_get_stdout_pipe(d->bus));
        d->address = g_data_input_stream_read_line(out, NULL, NULL, &error);
        g_assert_no_error(error);
        g_assert_nonnull(d->address);
        d->connection = g_dbus_connection_new_for_address_sync(
                d->address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION, NULL, NULL,
                &error);
        g_assert_no_error(error);
}

void daemon_setup(Daemon *d, gconstpointer data) {
        d->dir = g_dir_make_tmp("vnetd-daemon-XXXXXX", NULL);
        g_assert_nonnull(d->dir);
        make_dir(d, "config");
        make_dir(d, "config/networks.d");
        make_dir(d, "state");
        d->notify_fd = -1;
        start_bus(d);
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
        (void) g_remove(path);
}

void daemon_teardown(Daemon *d, gconstpointer data) {
        if (d->vnetd)
                g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
        g_clear_object(&d->connection);
        g_subprocess_force_exit(d->bus);
        (void) g_subprocess_wait(d->bus, NULL, NULL);
        g_clear_object(&d->bus);
        remove_tree(d->dir);
        g_free(d->dir);
        g_free(d->address);
        g_clear_pointer(&d->stored, g_hash_table_unref);
        if (d->notify_fd >= 0)
                (void) close(d->notify_fd);
}

static void close_stored(gpointer fd) {
        (void) close(GPOINTER_TO_INT(fd) - 1);
}

static char *notify_path(Daemon *d) {
        return in_dir(d, "notify");
}

void daemon_be_systemd(Daemon *d) {
        g_autofree char *path = notify_path(d);
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        d->stored = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_stored);
        d->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        g_assert_cmpuint(g_strlcpy(sa.sun_path, path, sizeof(sa.sun_path)), <, sizeof(sa.sun_path));
        g_assert_cmpint(bind(d->notify_fd, (struct sockaddr *) &sa, sizeof(sa)), ==, 0);
}

/* systemd keeps one descriptor of a file, and all the files that are given one name. */
static void assert_no_other(Daemon *d, const char *name, int fd) {
        gpointer there = g_hash_table_lookup(d->stored, name);
        struct stat a, b;

        if (!there)
                return;
        g_assert_cmpint(fstat(GPOINTER_TO_INT(there) - 1, &a), ==, 0);
        g_assert_cmpint(fstat(fd, &b), ==, 0);
        if (a.st_dev != b.st_dev || a.st_ino != b.st_ino)
                g_error("a second descriptor is stored as '%s'", name);
}

static void take_in(Daemon *d, const char *text, int fd) {
        const char *name = strstr(text, "FDNAME=");
        g_autofree char *key = name ? g_strndup(name + 7, strcspn(name + 7, "\n")) : NULL;

        if (fd >= 0 && key)
                assert_no_other(d, key, fd);
        if (fd >= 0 && key && strstr(text, "FDSTORE=1"))
                g_hash_table_replace(d->stored, g_steal_pointer(&key), GINT_TO_POINTER(fd + 1));
        else if (fd >= 0)
                g_error("a descriptor without FDSTORE=1 and a name: %s", text);
        else if (key && strstr(text, "FDSTOREREMOVE=1"))
                (void) g_hash_table_remove(d->stored, key);
}

static char *receive(Daemon *d, int timeout_ms) {
        char text[4096], control[CMSG_SPACE(sizeof(int))];
        struct iovec iov = { text, sizeof(text) - 1 };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        GPollFD poll = { .fd = d->notify_fd, .events = G_IO_IN };
        struct cmsghdr *c;
        ssize_t n;
        int fd = -1;

        if (g_poll(&poll, 1, timeout_ms) <= 0)
                return NULL;
        n = recvmsg(d->notify_fd, &m, MSG_CMSG_CLOEXEC);
        g_assert_cmpint(n, >=, 0);
        text[n] = 0;
        c = CMSG_FIRSTHDR(&m);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        take_in(d, text, fd);
        return g_strdup(text);
}

char *daemon_notified(Daemon *d) {
        return receive(d, 1000);
}

void daemon_notified_all(Daemon *d) {
        char *text;

        while ((text = receive(d, 50)))
                g_free(text);
}

gboolean daemon_stores(Daemon *d, const char *name) {
        return g_hash_table_contains(d->stored, name);
}

/* What systemd does before exec(): descriptors from 3 on, their names, and where to tell how it goes. */
static void hand_over(Daemon *d, GSubprocessLauncher *launcher) {
        g_autofree char *path = notify_path(d), *count = g_strdup_printf("%u", g_hash_table_size(d->stored));
        g_autoptr(GString) names = g_string_new(NULL);
        GHashTableIter i;
        gpointer name, fd;
        int target = 3;

        g_hash_table_iter_init(&i, d->stored);
        while (g_hash_table_iter_next(&i, &name, &fd)) {
                g_string_append_printf(names, "%s%s", names->len > 0 ? ":" : "", (char *) name);
                g_subprocess_launcher_take_fd(launcher, dup(GPOINTER_TO_INT(fd) - 1), target++);
        }
        g_subprocess_launcher_setenv(launcher, "NOTIFY_SOCKET", path, TRUE);
        if (target > 3) {
                g_subprocess_launcher_setenv(launcher, "LISTEN_FDS", count, TRUE);
                g_subprocess_launcher_setenv(launcher, "LISTEN_FDNAMES", names->str, TRUE);
        }
}

static void spawn(Daemon *d, const char *arg) {
        g_autofree char *config = in_dir(d, "config"), *state = in_dir(d, "state"), *log = in_dir(d, "stderr");
        g_autofree char *bus_arg = g_strdup_printf("--bus-address=%s", d->address),
                        *config_arg = g_strdup_printf("--config-dir=%s", config), *state_arg = g_strdup_printf("--state-dir=%s", state);
        g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
        g_autoptr(GError) error = NULL;

        g_assert_null(d->vnetd);
        (void) g_remove(log);
        g_subprocess_launcher_set_stderr_file_path(launcher, log);
        if (d->notify_fd >= 0)
                hand_over(d, launcher);
        /* the shell, because $LISTEN_PID is known only once the process is there */
        d->vnetd = g_subprocess_launcher_spawn(launcher, &error, "sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh", g_getenv("VNETD"),
                                               bus_arg, config_arg, state_arg, "--log-target=console", arg, NULL);
        g_assert_no_error(error);
}

static gboolean has_name(Daemon *d) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = NULL;
        gboolean owned;

        reply = g_dbus_connection_call_sync(d->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                            "NameHasOwner", g_variant_new("(s)", "org.vnetd1"), G_VARIANT_TYPE("(b)"),
                                            G_DBUS_CALL_FLAGS_NONE, DAEMON_TIMEOUT_MS, NULL, &error);
        g_assert_no_error(error);
        g_variant_get(reply, "(b)", &owned);
        return owned;
}

void daemon_start(Daemon *d) {
        gint64 deadline = g_get_monotonic_time() + DAEMON_TIMEOUT_MS * 1000;

        spawn(d, NULL);
        while (!has_name(d)) {
                if (g_get_monotonic_time() > deadline) {
                        g_autofree char *said = daemon_stderr(d);
                        g_error("vnetd has not come up: %s", said);
                }
                g_usleep(10 * 1000);
        }
}

static int wait_exit(Daemon *d) {
        g_autoptr(GSubprocess) p = g_steal_pointer(&d->vnetd);
        gint64 deadline = g_get_monotonic_time() + DAEMON_TIMEOUT_MS * 1000;

        /* g_subprocess_get_identifier() is NULL once the child has been reaped, which GLib's worker thread does. */
        while (g_subprocess_get_identifier(p)) {
                if (g_get_monotonic_time() > deadline) {
                        g_subprocess_force_exit(p);
                        g_error("vnetd does not end");
                }
                g_usleep(5 * 1000);
        }
        (void) g_subprocess_wait(p, NULL, NULL);
        return g_subprocess_get_if_exited(p) ? g_subprocess_get_exit_status(p) : -g_subprocess_get_term_sig(p);
}

int daemon_run(Daemon *d, const char *arg) {
        spawn(d, arg);
        return wait_exit(d);
}

int daemon_stop(Daemon *d, int signal) {
        g_subprocess_send_signal(d->vnetd, signal);
        return wait_exit(d);
}

char *daemon_stderr(Daemon *d) {
        g_autofree char *log = in_dir(d, "stderr");
        char *text = NULL;

        return g_file_get_contents(log, &text, NULL, NULL) ? text : g_strdup("");
}

void daemon_write(Daemon *d, const char *name, const char *text) {
        g_autofree char *path = g_build_filename(d->dir, "config", name, NULL);

        if (text)
                g_assert_true(g_file_set_contents(path, text, -1, NULL));
        else
                g_assert_cmpint(g_remove(path), ==, 0);
}

GVariant *daemon_call(Daemon *d, const char *path, const char *interface, const char *method, GVariant *args, GError **error) {
        g_autofree char *full = g_strconcat("org.vnetd1.", interface, NULL);

        return g_dbus_connection_call_sync(d->connection, "org.vnetd1", path, full, method, args, NULL, G_DBUS_CALL_FLAGS_NO_AUTO_START,
                                           DAEMON_TIMEOUT_MS, NULL, error);
}

char *daemon_describe(Daemon *d) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = daemon_call(d, "/org/vnetd1", "Manager", "Describe", NULL, &error);
        char *text;

        g_assert_no_error(error);
        g_variant_get(reply, "(s)", &text);
        return text;
}

gboolean daemon_has_network(Daemon *d, const char *name) {
        g_autoptr(GVariant) reply = daemon_call(d, "/org/vnetd1", "Manager", "GetNetwork", g_variant_new("(s)", name), NULL);

        return !!reply;
}

void daemon_assert_refused(Daemon *d, const char *path, const char *interface, const char *method, GVariant *args,
                           const char *error_name, const char *message_pattern) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = daemon_call(d, path, interface, method, args, &error);
        g_autofree char *name = NULL;

        g_assert_null(reply);
        name = g_dbus_error_get_remote_error(error);
        g_assert_cmpstr(name, ==, error_name);
        g_assert_true(g_dbus_error_strip_remote_error(error));
        if (!g_pattern_match_simple(message_pattern, error->message))
                g_error("'%s' is not like '%s'", error->message, message_pattern);
}
