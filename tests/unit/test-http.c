/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* HTTP on sockets: who gets a connection once its first lines have come, gets it whole. What is said there, tests/daemon/test-gvproxy.py sees. */

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <microhttpd.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "http/http.h"

static sd_event *event;
static int n_tunnels, n_served;

/* What has been given away is closed by others, on another thread too: an entry of ours for it would be removed under a number that
 * is somebody else's by then. */
static void assert_not_watched(int fd) {
        g_assert_cmpint(epoll_ctl(sd_event_get_fd(event), EPOLL_CTL_DEL, fd, NULL), <, 0);
        g_assert_cmpint(errno, ==, ENOENT);
}

int __wrap_manager_tunnel(Manager *m, Network *n, const char *host, uint16_t port, int fd, Error *e);
int __wrap_manager_tunnel(Manager *m, Network *n, const char *host, uint16_t port, int fd, Error *e) {
        assert_not_watched(fd);
        n_tunnels++;
        (void) close(fd);
        return 0;
}

enum MHD_Result __real_MHD_add_connection(struct MHD_Daemon *d, int fd, const struct sockaddr *sa, socklen_t len);
enum MHD_Result __wrap_MHD_add_connection(struct MHD_Daemon *d, int fd, const struct sockaddr *sa, socklen_t len);
enum MHD_Result __wrap_MHD_add_connection(struct MHD_Daemon *d, int fd, const struct sockaddr *sa, socklen_t len) {
        assert_not_watched(fd);
        n_served++;
        return __real_MHD_add_connection(d, fd, sa, len);
}

/* What the server at @path says to @request, until it closes. */
static char *ask(const char *path, const char *request) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        g_autoptr(GString) answer = g_string_new(NULL);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ssize_t n = -1;
        char buf[4096];

        g_assert_cmpuint(g_strlcpy(sa.sun_path, path, sizeof(sa.sun_path)), <, sizeof(sa.sun_path));
        g_assert_cmpint(connect(fd, (struct sockaddr *) &sa, sizeof(sa)), ==, 0);
        g_assert_cmpint(send(fd, request, strlen(request), MSG_NOSIGNAL), ==, (ssize_t) strlen(request));
        for (unsigned i = 0; i < 1000 && n != 0; i++) {
                g_assert_cmpint(sd_event_run(event, 10 * USEC_PER_MSEC), >=, 0);
                n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
                if (n > 0)
                        g_string_append_len(answer, buf, n);
        }
        g_assert_cmpint(n, ==, 0);
        (void) close(fd);
        return g_strdup(answer->str);
}

static void test_given_away(void) {
        g_autofree char *dir = g_dir_make_tmp("vnetd-http-XXXXXX", NULL), *path = g_build_filename(dir, "s", NULL),
                        *url = g_strdup_printf("unix://%s", path), *opened = NULL, *all = NULL;
        NetworkOptions o = NETWORK_OPTIONS_INIT;
        Manager *manager;
        Network *n;
        Http *http;
        Error e = ERROR_INIT;

        o.subnet = "192.168.127.0/24";
        g_assert_cmpint(sd_event_new(&event), >=, 0);
        g_assert_cmpint(manager_new(&manager, &(ManagerConfig){ .user = false }, event), ==, 0);
        g_assert_cmpint(manager_create_network(manager, "net", getuid(), &o, &n, &e), ==, 0);
        g_assert_cmpint(http_new(&http, event, manager), ==, 0);
        g_assert_cmpint(http_listen(http, "net", url, false, &e), ==, 0);

        opened = ask(path, "POST /tunnel?ip=192.168.127.2&port=22 HTTP/1.1\r\nHost: x\r\n\r\n");
        g_assert_cmpstr(opened, ==, "OK");
        g_assert_cmpint(n_tunnels, ==, 1);

        all = ask(path, "GET /services/forwarder/all HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        g_assert_true(g_str_has_prefix(all, "HTTP/1.1 200 OK\r\n") && g_str_has_suffix(all, "\r\n\r\n[]\n"));
        g_assert_cmpint(n_served, ==, 1);

        http_free(http);
        manager_free(manager);
        event = sd_event_unref(event);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
        g_assert_cmpint(g_rmdir(dir), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/http/given-away", test_given_away);
        return g_test_run();
}
