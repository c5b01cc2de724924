/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the child of a forward by ssh gets of us, and when it has let go of the rest. ssh itself is in tests/netns/test-gvproxy.py. */

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

#define CHILDREN 64
#define OTHERS 256 /* descriptors more: the more there are, the longer a child closes them */

static unsigned n_children, n_held;
static GPtrArray *arguments; /* (owned, nullable) where to put them, and no child is made */

int __real_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                        char *const argv[], char *const envp[]);
int __wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                        char *const argv[], char *const envp[]);

/* In place of ssh true, many times. Does the child still have a descriptor of ours when the call returns? */
int __wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                        char *const argv[], char *const envp[]) {
        g_assert_cmpstr(file, ==, "ssh");
        if (arguments) {
                for (; *argv; argv++)
                        g_ptr_array_add(arguments, g_strdup(*argv));
                return ENOENT;
        }
        for (;;) {
                struct pollfd p;
                int ends[2];

                g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
                g_assert_cmpint(__real_posix_spawnp(pid, "true", actions, attr, argv, envp), ==, 0);
                (void) close(ends[1]);
                p = (struct pollfd){ .fd = ends[0], .events = POLLIN };
                g_assert_cmpint(poll(&p, 1, 0), >=, 0);
                n_held += !(p.revents & POLLHUP);
                (void) close(ends[0]);
                if (++n_children == CHILDREN)
                        return 0;
                g_assert_cmpint(waitpid(*pid, NULL, 0), ==, *pid);
        }
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

/* Once ssh has been started no child has any of our descriptors: loop_fork_end() says so to all who close sockets. */
static void test_lets_go(void) {
        const SshForwardConfig config = { .name = "test", .spec = { "user", "guest", 22, "/s", "/dev/null", false }, .connect = on_connect };
        sd_event *event;
        SshForward *f;
        int others[OTHERS];

        for (unsigned i = 0; i < OTHERS; i++)
                g_assert_cmpint(others[i] = open("/dev/null", O_RDWR | O_CLOEXEC), >=, 0);
        g_assert_cmpint(sd_event_new(&event), >=, 0);
        g_assert_cmpint(ssh_forward_new(&f, event, &config, listen_somewhere()), ==, 0);
        while (n_children == 0)
                g_assert_cmpint(sd_event_run(event, USEC_PER_SEC), >=, 0);
        g_assert_cmpuint(n_held, ==, 0);
        f = ssh_forward_free(f);
        sd_event_unref(event);
        for (unsigned i = 0; i < OTHERS; i++)
                (void) close(others[i]);
}

/* Is @b right behind @a? */
static bool follows(const char *a, const char *b) {
        for (guint i = 0; i + 1 < arguments->len; i++)
                if (strcmp(arguments->pdata[i], a) == 0 && strcmp(arguments->pdata[i + 1], b) == 0)
                        return true;
        return false;
}

/* Nobody's text is an option or has another meaning to ssh, and who asks that the guest be known has it so. */
static void test_arguments(void) {
        SshForwardConfig config = {
                .name = "test", .spec = { "-user", "-guest", 2222, "/a:b\\c%d", "/dev/null", .secure = true }, .connect = on_connect,
        };

        for (unsigned lax = 0; lax <= 1; lax++) {
                sd_event *event;
                SshForward *f;

                arguments = g_ptr_array_new_with_free_func(g_free);
                config.spec.secure = !lax;
                g_assert_cmpint(sd_event_new(&event), >=, 0);
                g_assert_cmpint(ssh_forward_new(&f, event, &config, listen_somewhere()), ==, 0);
                while (arguments->len == 0)
                        g_assert_cmpint(sd_event_run(event, USEC_PER_SEC), >=, 0);
                f = ssh_forward_free(f);
                sd_event_unref(event);

                g_assert_true(follows("-F", "none"));
                g_assert_true(follows("-l", "-user"));
                g_assert_true(follows("-p", "2222"));
                g_assert_cmpstr(arguments->pdata[arguments->len - 2], ==, "--");
                g_assert_cmpstr(arguments->pdata[arguments->len - 1], ==, "-guest");
                g_assert_true(follows("-o", lax ? "StrictHostKeyChecking=no" : "StrictHostKeyChecking=yes"));
                g_assert_false(follows("-o", lax ? "StrictHostKeyChecking=yes" : "StrictHostKeyChecking=no"));
                g_assert_cmpint(follows("-o", "UserKnownHostsFile=/dev/null"), ==, lax);
                guint at = 0;
                while (strcmp(arguments->pdata[at], "-L") != 0)
                        g_assert_cmpuint(++at, <, arguments->len - 1);
                g_assert_true(g_str_has_suffix(arguments->pdata[at + 1], "/s:/a\\:b\\\\c%%d"));
                g_clear_pointer(&arguments, g_ptr_array_unref);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ssh-forward/lets-go", test_lets_go);
        g_test_add_func("/ssh-forward/arguments", test_arguments);
        return g_test_run();
}
