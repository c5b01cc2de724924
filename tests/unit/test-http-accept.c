/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the HTTP server's listener does without descriptors. What is asked and answered is in test-http-api.c and tests/netns/test-http-api.py. */

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/manager.h"
#include "http/http.h"

static bool no_accepts; /* no descriptors for these */
static unsigned n_lacks;

int __real_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags) {
        n_lacks += no_accepts;
        errno = EMFILE;
        return no_accepts ? -1 : __real_accept4(fd, sa, len, flags);
}

/* A client waits until there are some again, and meanwhile the loop does not spin. */
static void test_no_descriptors(void) {
        static const char request[] = "GET /services/forwarder/all HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        g_autofree char *dir = g_dir_make_tmp("vnetd-http-XXXXXX", NULL), *path = g_build_filename(dir, "s", NULL),
                        *url = g_strdup_printf("unix://%s", path);
        int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        gint64 since, deadline;
        Error e = ERROR_INIT;
        Manager *manager;
        sd_event *event;
        char answer[16];
        Network *n;
        Http *http;
        ssize_t len;

        g_assert_cmpint(sd_event_new(&event), >=, 0);
        g_assert_cmpint(manager_new(&manager, &(ManagerConfig){ .user = true }, event), ==, 0);
        g_assert_cmpint(manager_create_network(manager, "net", getuid(), &NETWORK_OPTIONS_INIT, &n, &e), ==, 0);
        g_assert_cmpint(http_new(&http, event, manager), ==, 0);
        g_assert_cmpint(http_listen(http, "net", url, /* connect= */ false, &e), ==, 0);
        g_assert_cmpuint(g_strlcpy(sa.sun_path, path, sizeof(sa.sun_path)), <, sizeof(sa.sun_path));
        g_assert_cmpint(connect(client, (struct sockaddr *) &sa, sizeof(sa)), ==, 0);
        g_assert_cmpint(send(client, request, strlen(request), MSG_NOSIGNAL), ==, strlen(request));

        no_accepts = true;
        since = g_get_monotonic_time();
        for (unsigned i = 0; i < 100 || n_lacks == 0; i++)
                g_assert_cmpint(sd_event_run(event, n_lacks == 0 ? 10 * USEC_PER_MSEC : 0), >=, 0);
        g_assert_cmpint(n_lacks, <=, 2 + (g_get_monotonic_time() - since) / (100 * 1000));
        no_accepts = false;

        deadline = since + 60 * G_USEC_PER_SEC;
        while ((len = recv(client, answer, sizeof(answer) - 1, MSG_DONTWAIT)) < 0) {
                g_assert_cmpint(errno, ==, EAGAIN);
                g_assert_cmpint(g_get_monotonic_time(), <, deadline);
                g_assert_cmpint(sd_event_run(event, 10 * USEC_PER_MSEC), >=, 0);
        }
        answer[len] = 0;
        g_assert_true(g_str_has_prefix(answer, "HTTP/1.1 200"));
        (void) close(client);
        http = http_free(http);
        manager = manager_free(manager);
        sd_event_unref(event);
        g_assert_cmpint(g_rmdir(dir), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/http-accept/no-descriptors", test_no_descriptors);
        return g_test_run();
}
