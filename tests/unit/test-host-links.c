/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Following the host's links, in a network namespace of the test's own, changed by ip(8). */

#include <errno.h>
#include <glib.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "daemon/host-links.h"

typedef struct Seen {
        unsigned n;
        bool ip4, ip6;
        unsigned n_lost; /* calls that told of lost addresses */
} Seen;

static void on_links(const HostLinks *links, void *userdata) {
        Seen *s = userdata;

        s->n++;
        s->ip4 = links->ip4;
        s->ip6 = links->ip6;
        s->n_lost += links->addresses_lost;
}

static void ip(const char *args) {
        g_autofree char *command = g_strdup_printf("ip %s", args);
        g_autoptr(GError) error = NULL;
        int status;

        g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, &status, &error));
        g_assert_no_error(error);
        g_assert_cmpint(status, ==, 0);
}

/* Runs the loop until there were @n calls. */
static void run(sd_event *event, const Seen *s, unsigned n) {
        gint64 end = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;

        while (s->n < n) {
                g_assert_cmpint(g_get_monotonic_time(), <, end);
                g_assert_cmpint(sd_event_run(event, 100 * USEC_PER_MSEC), >=, 0);
        }
}

static void test_follow(void) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(host_links_watch_freep) HostLinksWatch *w = NULL;
        Seen seen = {};

        g_assert_cmpint(sd_event_new(&event), >=, 0);
        g_assert_cmpint(host_links_watch_new(&w, event, on_links, &seen), ==, 0);
        g_assert_cmpuint(seen.n, ==, 1); /* before there is any network */
        g_assert_false(seen.ip4 || seen.ip6);

        ip("link set lo up");
        ip("addr add 192.0.2.1/24 dev lo");
        ip("route add default dev lo");
        run(event, &seen, 2);
        g_assert_true(seen.ip4);
        g_assert_false(seen.ip6);

        ip("addr add 2001:db8::1/64 dev lo nodad");
        ip("-6 route add default dev lo");
        run(event, &seen, 3);
        g_assert_true(seen.ip4 && seen.ip6);
        g_assert_true(host_links_watch_current(w)->ip6);
        g_assert_cmpuint(seen.n_lost, ==, 0);

        /* a route goes, its address stays */
        ip("-6 route del default dev lo");
        run(event, &seen, 4);
        g_assert_true(seen.ip4 && !seen.ip6);
        g_assert_cmpuint(seen.n_lost, ==, 0);

        /* an address goes; another of them is there, so the way out stays */
        ip("addr add 192.0.2.2/24 dev lo");
        ip("addr del 192.0.2.2/24 dev lo");
        run(event, &seen, 5);
        g_assert_true(seen.ip4);
        g_assert_cmpuint(seen.n_lost, ==, 1);
        g_assert_false(host_links_watch_current(w)->addresses_lost);

        ip("addr del 192.0.2.1/24 dev lo");
        run(event, &seen, 6);
        g_assert_cmpuint(seen.n_lost, ==, 2);
        ip("route del default dev lo");
        while (seen.ip4)
                run(event, &seen, seen.n + 1);

        /* nothing more comes of nothing */
        unsigned n = seen.n;
        for (unsigned i = 0; i < 3; i++)
                g_assert_cmpint(sd_event_run(event, 50 * USEC_PER_MSEC), >=, 0);
        g_assert_cmpuint(seen.n, ==, n);
}

int main(int argc, char **argv) {
        g_autofree char *tool = g_find_program_in_path("ip");

        if (!tool || (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)) {
                printf("1..0 # SKIP %s\n", tool ? "no network namespace may be made" : "ip(8) is not installed");
                return 0;
        }
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/host-links/follow", test_follow);
        return g_test_run();
}
