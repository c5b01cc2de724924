/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resolv.conf: what is read, what is skipped, the bounds; and following the file through every way it is replaced. */

#include <glib.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/resolv.h"

static void parse(const char *text, Resolv *r) {
        g_assert_cmpint(resolv_parse(text, strlen(text), r), ==, 0);
}

static void assert_server(const Resolv *r, size_t i, const char *text) {
        g_assert_cmpuint(i, <, r->n_servers);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&r->servers[i]), ==, text);
}

static void test_parse(void) {
        Resolv r;

        parse("# made by hand\n"
              "; old comment\n"
              "nameserver 192.0.2.1\n"
              "nameserver\t127.0.0.53   # trailing\r\n"
              "nameserver 2001:db8::53\n"
              "nameserver 192.0.2.1\n"       /* repeated */
              "nameserver fe80::1%eth0\n"    /* zone */
              "nameserver 300.0.0.1\n"
              "nameserver\n"
              "nameserver 0.0.0.0\n"         /* this host */
              "nameserver ::\n"
              "nameserver 224.0.0.251\n"
              "Nameserver 192.0.2.9\n"       /* keywords are lower case */
              "options ndots:5 edns0\n"
              "domain old.example\n"
              "search a.example b.example. -bad- . c_d.example\n",
              &r);
        g_assert_cmpuint(r.n_servers, ==, 5);
        assert_server(&r, 0, "192.0.2.1:53");
        assert_server(&r, 1, "127.0.0.53:53");
        assert_server(&r, 2, "[2001:db8::53]:53");
        assert_server(&r, 3, "127.0.0.1:53");
        assert_server(&r, 4, "[::1]:53");
        g_assert_cmpuint(r.n_search, ==, 3);
        g_assert_cmpstr(r.search[0], ==, "a.example");
        g_assert_cmpstr(r.search[1], ==, "b.example");
        g_assert_cmpstr(r.search[2], ==, "c_d.example");
        resolv_deinit(&r);

        parse("search a.example b.example\ndomain c.example d.example", &r);
        g_assert_cmpuint(r.n_search, ==, 1);
        g_assert_cmpstr(r.search[0], ==, "c.example");
        resolv_deinit(&r);

        parse("", &r);
        g_assert_cmpuint(r.n_servers + r.n_search, ==, 0);
}

static void test_limits(void) {
        g_autoptr(GString) text = g_string_new(NULL);
        Resolv r;

        for (int i = 1; i <= NETSTACK_RESOLVERS_MAX + 1; i++)
                g_string_append_printf(text, "nameserver 192.0.2.%d\n", i);
        g_string_append(text, "search");
        for (int i = 1; i <= NETSTACK_SEARCH_MAX + 1; i++)
                g_string_append_printf(text, " d%d.example", i);
        parse(text->str, &r);
        g_assert_cmpuint(r.n_servers, ==, NETSTACK_RESOLVERS_MAX);
        assert_server(&r, NETSTACK_RESOLVERS_MAX - 1, "192.0.2.8:53");
        g_assert_cmpuint(r.n_search, ==, NETSTACK_SEARCH_MAX);
        resolv_deinit(&r);

        /* What lies beyond RESOLV_TEXT_MAX is not read, and a name of 300 characters is none. */
        g_string_assign(text, "search ");
        for (int i = 0; i < 300; i++)
                g_string_append_c(text, i % 50 == 49 ? '.' : 'x');
        g_string_append_c(text, '\n');
        while (text->len < RESOLV_TEXT_MAX)
                g_string_append(text, "# filling\n");
        g_string_append(text, "nameserver 192.0.2.1\n");
        parse(text->str, &r);
        g_assert_cmpuint(r.n_servers + r.n_search, ==, 0);

        /* a NUL ends the text; no byte behind the length is looked at */
        g_assert_cmpint(resolv_parse("nameserver 192.0.2.1\n\0nameserver 192.0.2.2\n", 43, &r), ==, 0);
        g_assert_cmpuint(r.n_servers, ==, 1);
        resolv_deinit(&r);
        g_assert_cmpint(resolv_parse("nameserver 192.0.2.1", 10, &r), ==, 0);
        g_assert_cmpuint(r.n_servers, ==, 0);
}

/* ---- following ---- */

typedef struct Follow {
        char *dir;
        sd_event *event;
        ResolvWatch *watch;
        unsigned n_calls;
        char first[ENDPOINT_TEXT_MAX]; /* the first server told last, "" for none */
} Follow;

static void on_change(const Resolv *r, void *userdata) {
        Follow *f = userdata;

        f->n_calls++;
        f->first[0] = 0;
        if (r->n_servers > 0)
                (void) endpoint_to_text(&r->servers[0], f->first);
}

static char *in_dir(Follow *f, const char *name) {
        return g_build_filename(f->dir, name, NULL);
}

/* In place, without the rename that g_file_set_contents() makes. */
static void write_file(Follow *f, const char *name, const char *text) {
        g_autofree char *path = in_dir(f, name);
        FILE *file = fopen(path, "w");

        g_assert_nonnull(file);
        g_assert_cmpint(fputs(text, file), >=, 0);
        g_assert_cmpint(fclose(file), ==, 0);
}

static void run_events(Follow *f) {
        while (sd_event_run(f->event, 50 * USEC_PER_MSEC) > 0)
                ;
}

static void setup(Follow *f, gconstpointer data) {
        f->dir = g_dir_make_tmp("vnetd-resolv-XXXXXX", NULL);
        g_assert_nonnull(f->dir);
        g_assert_cmpint(sd_event_new(&f->event), >=, 0);
}

static void begin(Follow *f) {
        g_autofree char *path = in_dir(f, "resolv.conf");

        g_assert_cmpint(resolv_watch_new(&f->watch, f->event, path, on_change, f), ==, 0);
        g_assert_cmpuint(f->n_calls, ==, 1);
}

static void teardown(Follow *f, gconstpointer data) {
        static const char *const left[] = { "resolv.conf", "target", "run/resolve/stub", "run/resolve", "run", NULL };

        resolv_watch_free(f->watch);
        sd_event_unref(f->event);
        for (size_t i = 0; left[i]; i++) {
                g_autofree char *path = in_dir(f, left[i]);
                (void) g_remove(path);
        }
        g_assert_cmpint(g_rmdir(f->dir), ==, 0);
        g_free(f->dir);
}

static void test_follow_file(Follow *f, gconstpointer data) {
        g_autofree char *path = in_dir(f, "resolv.conf"), *other = in_dir(f, "target");

        begin(f);
        g_assert_cmpstr(f->first, ==, "");

        write_file(f, "resolv.conf", "nameserver 192.0.2.1\n"); /* appears */
        run_events(f);
        g_assert_cmpstr(f->first, ==, "192.0.2.1:53");

        write_file(f, "target", "nameserver 192.0.2.2\n"); /* replaced by rename() */
        g_assert_cmpint(rename(other, path), ==, 0);
        run_events(f);
        g_assert_cmpstr(f->first, ==, "192.0.2.2:53");
        g_assert_cmpuint(f->n_calls, ==, 3);

        write_file(f, "resolv.conf", "# the same\nnameserver 192.0.2.2\n"); /* says nothing new */
        run_events(f);
        g_assert_cmpuint(f->n_calls, ==, 3);

        g_assert_cmpint(unlink(path), ==, 0); /* gone: the last word stands */
        write_file(f, "target", "nameserver 192.0.2.3\n"); /* of another file's events nothing comes */
        run_events(f);
        g_assert_cmpstr(f->first, ==, "192.0.2.2:53");
        g_assert_cmpuint(f->n_calls, ==, 3);

        write_file(f, "resolv.conf", "# no servers\n");
        run_events(f);
        g_assert_cmpstr(f->first, ==, "");
        g_assert_cmpuint(resolv_watch_current(f->watch)->n_servers, ==, 0);
}

static void test_follow_link(Follow *f, gconstpointer data) {
        g_autofree char *path = in_dir(f, "resolv.conf"), *run = in_dir(f, "run"), *resolve = in_dir(f, "run/resolve"),
                        *target = in_dir(f, "target");

        /* A relative link into a directory that is not there yet, nor the one above it. */
        g_assert_cmpint(symlink("run/resolve/stub", path), ==, 0);
        begin(f);
        g_assert_cmpint(mkdir(run, 0755), ==, 0);
        run_events(f);
        g_assert_cmpint(mkdir(resolve, 0755), ==, 0);
        run_events(f);
        write_file(f, "run/resolve/stub", "nameserver 127.0.0.53\n");
        run_events(f);
        g_assert_cmpstr(f->first, ==, "127.0.0.53:53");

        write_file(f, "run/resolve/stub", "nameserver 127.0.0.54\n"); /* the target changes, the link does not */
        run_events(f);
        g_assert_cmpstr(f->first, ==, "127.0.0.54:53");

        write_file(f, "target", "nameserver 192.0.2.7\n"); /* an absolute link now */
        g_assert_cmpint(unlink(path), ==, 0);
        g_assert_cmpint(symlink(target, path), ==, 0);
        run_events(f);
        g_assert_cmpstr(f->first, ==, "192.0.2.7:53");

        write_file(f, "run/resolve/stub", "nameserver 127.0.0.55\n"); /* no longer ours */
        run_events(f);
        g_assert_cmpstr(f->first, ==, "192.0.2.7:53");
}

static void test_follow_loop(Follow *f, gconstpointer data) {
        g_autofree char *path = in_dir(f, "resolv.conf");

        g_assert_cmpint(symlink("resolv.conf", path), ==, 0); /* a link to itself must not hang or fail */
        begin(f);
        g_assert_cmpint(unlink(path), ==, 0);
        write_file(f, "resolv.conf", "nameserver 192.0.2.1\n");
        run_events(f);
        g_assert_cmpstr(f->first, ==, "192.0.2.1:53");
}

static void test_follow_odd(Follow *f, gconstpointer data) {
        g_autofree char *path = in_dir(f, "resolv.conf");

        g_assert_cmpint(mkfifo(path, 0600), ==, 0); /* opening it must not block, reading it is refused */
        begin(f);
        g_assert_cmpstr(f->first, ==, "");
        g_assert_cmpint(unlink(path), ==, 0);
        g_assert_cmpint(mkdir(path, 0700), ==, 0);
        run_events(f);
        g_assert_cmpuint(f->n_calls, ==, 1);
        g_assert_cmpint(rmdir(path), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/resolv/parse", test_parse);
        g_test_add_func("/resolv/limits", test_limits);
        g_test_add("/resolv/follow-file", Follow, NULL, setup, test_follow_file, teardown);
        g_test_add("/resolv/follow-link", Follow, NULL, setup, test_follow_link, teardown);
        g_test_add("/resolv/follow-loop", Follow, NULL, setup, test_follow_loop, teardown);
        g_test_add("/resolv/follow-odd", Follow, NULL, setup, test_follow_odd, teardown);
        return g_test_run();
}
