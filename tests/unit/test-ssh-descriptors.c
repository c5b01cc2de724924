/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A forward by ssh when there are no descriptors for a while: it neither spins nor ends an ssh that works. All else is in test-ssh-forward.c. */

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "daemon/ssh-forward.h"

static char *child_path;                   /* (owned) where the child is to listen; "": there is none yet */
static pid_t child;
static bool no_sockets, no_accepts; /* no descriptors for these */
static unsigned n_lacks;

int __real_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                        char *const argv[], char *const envp[]);
int __wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                        char *const argv[], char *const envp[]);

/* In place of ssh one that does nothing: what it would listen on is the test's. */
int __wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                        char *const argv[], char *const envp[]) {
        char *const sleeper[] = { (char *) "sleep", (char *) "600", NULL };

        while (strcmp(*argv, "-L") != 0)
                argv++;
        g_free(child_path);
        child_path = g_strndup(argv[1], strcspn(argv[1], ":"));
        g_assert_cmpint(__real_posix_spawnp(&child, "sleep", actions, attr, sleeper, envp), ==, 0);
        *pid = child;
        return 0;
}

int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol) {
        n_lacks += no_sockets;
        errno = EMFILE;
        return no_sockets ? -1 : __real_socket(family, type, protocol);
}

int __real_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags) {
        n_lacks += no_accepts;
        errno = EMFILE;
        return no_accepts ? -1 : __real_accept4(fd, sa, len, flags);
}

static int on_connect(void *userdata, const SshSpec *spec, int *ret_fd, Error *e) {
        *ret_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        return *ret_fd < 0 ? -errno : 0;
}

static int listen_somewhere(void) {
        const sa_family_t anywhere = AF_UNIX;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        g_assert_cmpint(bind(fd, (const struct sockaddr *) &anywhere, sizeof(anywhere)), ==, 0);
        g_assert_cmpint(listen(fd, 1), ==, 0);
        return fd;
}

/* Runs the loop until @fd has something to read. */
static void await_readable(sd_event *event, int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        gint64 deadline = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;

        while (poll(&p, 1, 0) == 0) {
                g_assert_cmpint(g_get_monotonic_time(), <, deadline);
                g_assert_cmpint(sd_event_run(event, 10 * USEC_PER_MSEC), >=, 0);
        }
}

/* While @lack lasts a client waits, and its forward neither spins nor ends a connection by ssh that works. */
static void try_lack(sd_event *event, const struct sockaddr_un *sa, socklen_t sa_len, int child_fd, bool *lack) {
        int client = __real_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), at_child;
        gint64 since = g_get_monotonic_time();
        char byte;

        n_lacks = 0;
        *lack = true;
        g_assert_cmpint(connect(client, (const struct sockaddr *) sa, sa_len), ==, 0);
        for (unsigned i = 0; i < 100 || n_lacks == 0; i++)
                g_assert_cmpint(sd_event_run(event, n_lacks == 0 ? 10 * USEC_PER_MSEC : 0), >=, 0);
        g_assert_cmpint(n_lacks, <=, 2 + (g_get_monotonic_time() - since) / (20 * 1000));
        *lack = false;

        g_assert_cmpint(send(client, "x", 1, MSG_NOSIGNAL), ==, 1);
        do { /* ours may have knocked there before it knew that it could not take the client */
                await_readable(event, child_fd);
                at_child = __real_accept4(child_fd, NULL, NULL, SOCK_CLOEXEC);
                await_readable(event, at_child);
                g_assert_cmpint(at_child, >=, 0);
                if (recv(at_child, &byte, 1, 0) == 1)
                        break;
                (void) close(at_child);
                at_child = -EBADF;
        } while (true);
        g_assert_cmpint(byte, ==, 'x');
        g_assert_cmpint(waitpid(child, NULL, WNOHANG), ==, 0);
        (void) close(at_child);
        (void) close(client);
}

static void test_no_descriptors(void) {
        const SshForwardConfig config = { .name = "test", .spec = { "user", "guest", 22, "/s", "/dev/null", false }, .connect = on_connect };
        struct sockaddr_un sa = { .sun_family = AF_UNIX }, child_sa = { .sun_family = AF_UNIX };
        int fd = listen_somewhere(), child_fd = __real_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t len = sizeof(sa);
        sd_event *event;
        SshForward *f;

        child_path = g_strdup("");
        g_assert_cmpint(getsockname(fd, (struct sockaddr *) &sa, &len), ==, 0);
        g_assert_cmpint(sd_event_new(&event), >=, 0);
        g_assert_cmpint(ssh_forward_new(&f, event, &config, fd), ==, 0);
        while (child_path[0] == 0)
                g_assert_cmpint(sd_event_run(event, USEC_PER_SEC), >=, 0);
        g_assert_cmpuint(g_strlcpy(child_sa.sun_path, child_path, sizeof(child_sa.sun_path)), <, sizeof(child_sa.sun_path));
        g_assert_cmpint(bind(child_fd, (struct sockaddr *) &child_sa, sizeof(child_sa)), ==, 0);
        g_assert_cmpint(listen(child_fd, 64), ==, 0);

        try_lack(event, &sa, len, child_fd, &no_accepts);
        try_lack(event, &sa, len, child_fd, &no_sockets);
        f = ssh_forward_free(f);
        sd_event_unref(event);
        (void) close(child_fd);
        g_clear_pointer(&child_path, g_free);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ssh-descriptors/none", test_no_descriptors);
        return g_test_run();
}
