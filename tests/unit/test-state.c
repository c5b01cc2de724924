/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is saved for a restart, and what the next manager makes of it. A crash, and the store of descriptors: tests/daemon/test-vnetd.c. */

#include <glib.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../loopback.h"
#include "daemon/manager-private.h"

#define SOMEBODY 12345u

typedef struct Fixture {
        char *dir, *own; /* own: where nobody else listens: "127.3" */
        int own_fd;
        sd_event *event;
        Manager *m;
} Fixture;

static char *path_in(const Fixture *f, const char *name) {
        return g_build_filename(f->dir, name, NULL);
}

static void begin(Fixture *f) {
        g_autofree char *config = path_in(f, "config"), *run = path_in(f, "run"), *state = path_in(f, "state");
        Error e = ERROR_INIT;

        g_assert_cmpint(sd_event_new(&f->event), >=, 0);
        g_assert_cmpint(manager_new(&f->m, &(ManagerConfig){ .config_dir = config, .runtime_dir = run, .state_dir = state }, f->event), ==, 0);
        if (manager_load(f->m, &e) < 0)
                g_error("%s", e.message);
}

static void end(Fixture *f) {
        f->m = manager_free(f->m);
        f->event = sd_event_unref(f->event);
}

static void setup(Fixture *f, gconstpointer data) {
        static const char *const dirs[] = { "config", "config/networks.d", "run", "state" };

        f->dir = g_dir_make_tmp("vnetd-state-XXXXXX", NULL);
        f->own = g_strdup_printf("127.%u", loopback_take(&f->own_fd));
        for (size_t i = 0; i < G_N_ELEMENTS(dirs); i++) {
                g_autofree char *path = path_in(f, dirs[i]);

                g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
        }
        begin(f);
}

static void remove_all(const char *path) {
        GDir *d = g_dir_open(path, 0, NULL);

        for (const char *name; d && (name = g_dir_read_name(d));) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                remove_all(child);
        }
        if (d)
                g_dir_close(d);
        g_assert_cmpint(g_remove(path), ==, 0);
}

static void teardown(Fixture *f, gconstpointer data) {
        end(f);
        remove_all(f->dir);
        g_free(f->dir);
        g_free(f->own);
        (void) close(f->own_fd);
}

static Network *make_network(Fixture *f, const char *name) {
        const char *const leases[] = { "10.5.0.9", "52:54:00:00:00:09", NULL };
        NetworkOptions o = { .host_loopback = -1, .subnet = "10.5.0.0/24", .static_leases = leases };
        Error e = ERROR_INIT;
        Network *n;

        if (manager_create_network(f->m, name, SOMEBODY, &o, &n, &e) < 0)
                g_error("%s", e.message);
        return n;
}

/* Does the file @name have @text in it? */
static bool says(const Fixture *f, const char *name, const char *text) {
        g_autofree char *path = path_in(f, name), *all = NULL;

        g_assert_true(g_file_get_contents(path, &all, NULL, NULL));
        return strstr(all, text);
}

/* What was made at run time is kept, with whose it is; what has a file of configuration is not, and goes with that. */
static void test_origins(Fixture *f, gconstpointer data) {
        g_autofree char *lab = path_in(f, "config/networks.d/lab.json"), *networks = path_in(f, "run/networks.json"),
                        *configured = g_strdup_printf("%s.0.1:6443", f->own), *made = g_strdup_printf("%s.0.2:6443", f->own),
                        *text = g_strdup_printf("{\"subnet\": \"10.6.0.0/24\", \"forwards\": [{\"local\": \"%s\", \"remote\": \"10.6.0.2\"}]}", configured);
        ForwardOptions o = { .source = "gateway", .no_bypass = true };
        ManagedForward *fw;
        struct stat st;
        Error e;

        end(f);
        g_assert_true(g_file_set_contents(lab, text, -1, NULL));
        begin(f);
        g_assert_nonnull(manager_network(f->m, "lab"));
        g_assert_cmpint(manager_expose(f->m, make_network(f, "made"), SOMEBODY, "tcp", made, "10.5.0.2", &o, NULL, &e), ==, 0);
        for (unsigned i = 0; i < 2; i++) { /* it is no less kept for having been restored */
                g_assert_true(says(f, "run/networks.json", "\"made\""));
                g_assert_false(says(f, "run/networks.json", "\"lab\""));
                g_assert_false(says(f, "run/networks.json", "\"default\""));
                g_assert_true(says(f, "run/forwards.json", made));
                g_assert_false(says(f, "run/forwards.json", configured));
                end(f);
                begin(f);
                g_assert_cmpuint(network_config(manager_network(f->m, "made"))->owner, ==, SOMEBODY);
        }
        g_assert_cmpint(stat(networks, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
        end(f);
        g_assert_cmpint(g_unlink(lab), ==, 0);
        begin(f);
        g_assert_null(manager_network(f->m, "lab"));
        fw = manager_next_forward(f->m, NULL);
        g_assert_null(manager_next_forward(f->m, fw));
        g_assert_cmpstr(fw->local, ==, made);
        g_assert_cmpuint(fw->owner, ==, SOMEBODY);
        g_assert_cmpint(fw->config.source, ==, FORWARD_SOURCE_GATEWAY);
        g_assert_true(fw->config.no_bypass);
}

/* Changes of one call are saved together, when all are made; and a crash amid that is in nobody's way. */
static void test_held(Fixture *f, gconstpointer data) {
        g_autofree char *left = path_in(f, "run/.networks.json.new");

        g_assert_true(g_file_set_contents(left, "{\"version\":", -1, NULL));
        state_changed(f->m, STATE_NETWORKS);
        g_assert_false(g_file_test(left, G_FILE_TEST_EXISTS));
        state_hold(f->m);
        (void) make_network(f, "made");
        g_assert_false(says(f, "run/networks.json", "\"made\""));
        state_release(f->m);
        g_assert_true(says(f, "run/networks.json", "\"made\""));
}

/* Static leases are the network's, all others have a file that goes with it. */
static void test_leases(Fixture *f, gconstpointer data) {
        g_autofree char *path = path_in(f, "state/leases-made.json");
        Network *n = make_network(f, "made");
        Lease l = { .mac = { { 0x52, 0x54, 0, 0, 0, 7 } }, .expires = USEC_INFINITY };
        _cleanup_free_ Lease *leases = NULL;
        size_t n_leases;

        g_assert_cmpint(ip_parse("10.5.0.7", &l.addr), ==, 0);
        g_assert_cmpint(network_add_lease(n, &l), ==, 0);
        end(f);
        g_assert_true(says(f, path + strlen(f->dir) + 1, "\"10.5.0.7\""));
        g_assert_false(says(f, path + strlen(f->dir) + 1, "\"10.5.0.9\""));
        g_assert_true(says(f, "run/networks.json", "\"10.5.0.9\""));
        g_assert_false(says(f, "run/networks.json", "\"10.5.0.7\""));
        begin(f);
        n = manager_network(f->m, "made");
        g_assert_cmpint(network_list_leases(n, &leases, &n_leases), ==, 0);
        g_assert_cmpuint(n_leases, ==, 2);
        for (size_t i = 0; i < n_leases; i++) {
                g_assert_cmpint(leases[i].is_static, ==, !ip_equal(&leases[i].addr, &l.addr));
                g_assert_cmpuint(leases[i].expires, ==, USEC_INFINITY);
        }
        g_assert_cmpint(manager_remove_network(f->m, n, NULL), ==, 0);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

/* A device comes back as it was plugged in. */
static void test_device(Fixture *f, gconstpointer data) {
        g_autofree char *listen = path_in(f, "run/q");
        DeviceOptions o = {
                .fd = -EBADF, .guest_fd = -EBADF, .lend_fd = -EBADF, .queues = 1, .listen = listen, .mac = "52:54:00:00:00:05",
                .port = { .isolated = true, .guarded = true },
        };
        ManagedDevice *d;
        Error e;

        if (manager_create_device(f->m, "qemu", getuid(), &o, &d, &e) < 0)
                g_error("%s", e.message);
        end(f);
        begin(f);
        d = manager_device(f->m, "qemu0");
        g_assert_nonnull(d);
        g_assert_cmpuint(d->device->owner, ==, getuid());
        g_assert_cmpstr(MAC_TO_TEXT(&d->device->mac), ==, "52:54:00:00:00:05");
        g_assert_true(CONTAINER_OF(d, DeviceEntry, pub)->port.isolated);
        g_assert_true(CONTAINER_OF(d, DeviceEntry, pub)->port.guarded);
        g_assert_cmpint(manager_remove_device(f->m, d, &e), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/state/" name, Fixture, NULL, setup, fn, teardown)
        ADD("origins", test_origins);
        ADD("held", test_held);
        ADD("leases", test_leases);
        ADD("device", test_device);
        return g_test_run();
}
