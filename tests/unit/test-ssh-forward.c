/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the child of a forward by ssh gets of us, when it has let go of the rest, when the next one is made, and what is told of it; and how
 * many clients it has. The child is a stand-in: ssh itself is in tests/netns/test-gvproxy.py.
 */

#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/log.h"
#include "basic/loop.h"
#include "daemon/ssh-forward.h"

#define CHILDREN 64
#define OTHERS 256 /* descriptors more: the more there are, the longer a child closes them */

static unsigned n_children, n_held;
static GPtrArray *arguments; /* (owned, nullable) where to put them, and no child is made */
static bool serve;           /* the child lives, and listens: */
static int served_fd = -EBADF; /* (owned) where */
static pid_t served_pid;
static bool forking;

void __real_loop_fork_begin(void);
void __real_loop_fork_end(void);
void __wrap_loop_fork_begin(void);
void __wrap_loop_fork_end(void);

void __wrap_loop_fork_begin(void) {
        __real_loop_fork_begin();
        forking = true;
}

void __wrap_loop_fork_end(void) {
        forking = false;
        __real_loop_fork_end();
}

/* Of the socket that the child is to make. */
static char *served_path(char *const argv[]) {
        while (strcmp(*argv, "-L") != 0)
                argv++;
        return g_strndup(argv[1], (gsize) (strstr(argv[1], "/s:") - argv[1]) + strlen("/s"));
}

static void listen_at(const char *path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        g_assert_cmpuint(g_strlcpy(sa.sun_path, path, sizeof(sa.sun_path)), <, sizeof(sa.sun_path));
        (void) safe_close(served_fd);
        served_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(bind(served_fd, (struct sockaddr *) &sa, sizeof(sa)), ==, 0); /* nobody's of before lies there */
        g_assert_cmpint(listen(served_fd, SSH_CLIENTS_MAX + 1), ==, 0);
}

int __real_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                        char *const argv[], char *const envp[]);
int __wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                        char *const argv[], char *const envp[]);

/* In place of ssh true, many times. Does the child still have a descriptor of ours when the call returns? */
int __wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                        char *const argv[], char *const envp[]) {
        g_assert_cmpstr(file, ==, "ssh");
        g_assert_true(forking); /* who closes sockets knows that a child may have them, too */
        if (arguments) {
                for (; *argv; argv++)
                        g_ptr_array_add(arguments, g_strdup(*argv));
                return ENOENT;
        }
        if (serve) {
                g_autofree char *path = served_path(argv);
                int r = __real_posix_spawnp(pid, "sleep", actions, attr, (char *[]){ (char *) "sleep", (char *) "100", NULL }, envp);

                g_assert_cmpint(r, ==, 0);
                served_pid = *pid;
                listen_at(path);
                return 0;
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

static GPtrArray *told; /* (owned, nullable) what is logged */

int __wrap_log_internal(int level, int error, const char *file, int line, const char *func, const char *const *fields, const char *format,
                        ...) _printf_(7, 8);

int __wrap_log_internal(int level, int error, const char *file, int line, const char *func, const char *const *fields, const char *format,
                        ...) {
        va_list ap;

        va_start(ap, format);
        if (told)
                g_ptr_array_add(told, g_strdup_vprintf(format, ap));
        va_end(ap);
        return -abs(error);
}

static GArray *delays; /* (owned, nullable) of usec_t; and nobody waits for any */

int __real_sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec);
int __wrap_sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec);

int __wrap_sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec) {
        if (!delays)
                return __real_sd_event_source_set_time_relative(source, usec);
        g_array_append_val(delays, usec);
        g_assert_cmpint(sd_event_source_set_time_accuracy(source, 1), ==, 0);
        return __real_sd_event_source_set_time_relative(source, 0);
}

static const char *unreachable; /* why there is no connection */

static int on_connect(void *userdata, const SshSpec *spec, int *ret_fd, Error *e) {
        if (unreachable)
                return error_set(e, ERROR_NO_SUCH_GUEST, "%s", unreachable);
        *ret_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        return *ret_fd < 0 ? -errno : 0;
}

static int listen_somewhere(void) {
        const sa_family_t anywhere = AF_UNIX;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        g_assert_cmpint(bind(fd, (const struct sockaddr *) &anywhere, sizeof(anywhere)), ==, 0);
        g_assert_cmpint(listen(fd, SSH_CLIENTS_MAX + 1), ==, 0);
        return fd;
}

static const SshForwardConfig plain = { .name = "test", .spec = { "user", "guest", 22, "/s", "/dev/null", false }, .connect = on_connect };

static SshForward *make(const SshForwardConfig *config, sd_event **ret_event, int *ret_listen_fd) {
        SshForward *f;
        int fd = listen_somewhere();

        g_assert_cmpint(sd_event_new(ret_event), >=, 0);
        g_assert_cmpint(ssh_forward_new(&f, *ret_event, config, fd), ==, 0);
        if (ret_listen_fd)
                *ret_listen_fd = fd;
        return f;
}

/* Once ssh has been started no child has any of our descriptors: loop_fork_end() says so to all who close sockets. */
static void test_lets_go(void) {
        sd_event *event;
        SshForward *f;
        int others[OTHERS];

        for (unsigned i = 0; i < OTHERS; i++)
                g_assert_cmpint(others[i] = open("/dev/null", O_RDWR | O_CLOEXEC), >=, 0);
        f = make(&plain, &event, NULL);
        while (n_children == 0)
                g_assert_cmpint(sd_event_run(event, USEC_PER_SEC), >=, 0);
        g_assert_cmpuint(n_held, ==, 0);
        f = ssh_forward_free(f);
        sd_event_unref(event);
        for (unsigned i = 0; i < OTHERS; i++)
                (void) close(others[i]);
}

/* Begins anew. */
static void tell(void) {
        g_clear_pointer(&told, g_ptr_array_unref);
        told = g_ptr_array_new_with_free_func(g_free);
}

static void assert_told(const char *const *lines) {
        for (guint i = 0; i < told->len; i++)
                g_assert_cmpstr(told->pdata[i], ==, lines[i]);
        g_assert_null(lines[told->len]);
}

/* Failures follow each other ever more slowly, up to a bound; one that is like the last is not told again. */
static void test_retries(void) {
        static const usec_t expected[] = { 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000 }; /* ms */
        sd_event *event;
        SshForward *f;

        tell();
        delays = g_array_new(FALSE, FALSE, sizeof(usec_t));
        unreachable = "nobody is there";
        f = make(&plain, &event, NULL);
        while (delays->len < ELEMENTSOF(expected) - 1)
                g_assert_cmpint(sd_event_run(event, USEC_PER_SEC), >=, 0);
        unreachable = "nobody has ever been there";
        while (delays->len < ELEMENTSOF(expected))
                g_assert_cmpint(sd_event_run(event, USEC_PER_SEC), >=, 0);
        for (guint i = 0; i < ELEMENTSOF(expected); i++)
                g_assert_cmpuint(g_array_index(delays, usec_t, i), ==, expected[i] * USEC_PER_MSEC);
        assert_told((const char *const[]){ "ssh to 'guest' for 'test': nobody is there; trying again",
                                           "ssh to 'guest' for 'test': nobody has ever been there; trying again", NULL });
        unreachable = NULL;
        ssh_forward_free(f);
        sd_event_unref(event);
        g_clear_pointer(&delays, g_array_unref);
        g_clear_pointer(&told, g_ptr_array_unref);
}

static void run_until_idle(sd_event *event) {
        int r;

        do
                g_assert_cmpint(r = sd_event_run(event, 0), >=, 0);
        while (r > 0);
}

static void run_until_told(sd_event *event, guint n) {
        while (told->len < n)
                g_assert_cmpint(sd_event_run(event, USEC_PER_SEC), >=, 0);
        g_assert_cmpuint(told->len, ==, n);
}

/* A child that is killed leaves its socket behind, which is not in the way of the next one's; and what comes then is the first failure again. */
static void test_child_killed(void) {
        usec_t last;
        sd_event *event;
        SshForward *f;

        tell();
        delays = g_array_new(FALSE, FALSE, sizeof(usec_t));
        serve = true;
        f = make(&plain, &event, NULL);
        for (unsigned i = 1; i <= 3; i++) {
                run_until_told(event, i * 2 - 1);
                g_assert_cmpstr(told->pdata[i * 2 - 2], ==, "ssh to 'guest' for 'test' is connected");
                g_assert_cmpint(kill(served_pid, SIGKILL), ==, 0);
                run_until_told(event, i * 2);
                g_assert_cmpstr(told->pdata[i * 2 - 1], ==, "ssh to 'guest' for 'test': it has ended with signal 9; trying again");
                last = g_array_index(delays, usec_t, delays->len - 1);
                g_assert_cmpuint(last, ==, 100 * USEC_PER_MSEC);
        }
        ssh_forward_free(f);
        sd_event_unref(event);
        serve = false;
        served_fd = safe_close(served_fd);
        g_clear_pointer(&delays, g_array_unref);
        g_clear_pointer(&told, g_ptr_array_unref);
}

static int connect_to(int listen_fd) {
        struct sockaddr_un sa;
        socklen_t len = sizeof(sa);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(getsockname(listen_fd, (struct sockaddr *) &sa, &len), ==, 0);
        g_assert_cmpint(connect(fd, (struct sockaddr *) &sa, len), ==, 0);
        return fd;
}

static void assert_clients(const SshForward *f, uint64_t connections, uint32_t active) {
        uint64_t n_connections;
        uint32_t n_active;

        ssh_forward_stats(f, &n_connections, &n_active);
        g_assert_cmpuint(n_connections, ==, connections);
        g_assert_cmpuint(n_active, ==, active);
}

/* One more than there may be waits, until one of them has gone. */
static void test_clients(void) {
        int clients[SSH_CLIENTS_MAX + 1], listen_fd, first;
        struct rlimit limit;
        sd_event *event;
        SshForward *f;

        g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        limit.rlim_cur = limit.rlim_max;
        if (limit.rlim_max < 4 * SSH_CLIENTS_MAX || setrlimit(RLIMIT_NOFILE, &limit) < 0) {
                g_test_skip("needs more open files than RLIMIT_NOFILE allows");
                return;
        }
        tell();
        serve = true;
        f = make(&plain, &event, &listen_fd);
        for (unsigned i = 0; i < ELEMENTSOF(clients); i++)
                clients[i] = connect_to(listen_fd);
        run_until_told(event, 1);
        run_until_idle(event);
        assert_clients(f, SSH_CLIENTS_MAX, SSH_CLIENTS_MAX);

        (void) close(clients[0]);
        first = accept4(served_fd, NULL, NULL, SOCK_CLOEXEC);
        g_assert_cmpint(first, >=, 0);
        (void) close(first);
        run_until_idle(event);
        assert_clients(f, SSH_CLIENTS_MAX + 1, SSH_CLIENTS_MAX);

        ssh_forward_free(f);
        sd_event_unref(event);
        for (unsigned i = 1; i < ELEMENTSOF(clients); i++)
                (void) close(clients[i]);
        serve = false;
        served_fd = safe_close(served_fd);
        g_clear_pointer(&told, g_ptr_array_unref);
}

/* Runs one until it has started ssh. */
static void collect(const SshForwardConfig *config) {
        sd_event *event;
        SshForward *f;

        g_clear_pointer(&arguments, g_ptr_array_unref);
        arguments = g_ptr_array_new_with_free_func(g_free);
        f = make(config, &event, NULL);
        while (arguments->len == 0)
                g_assert_cmpint(sd_event_run(event, USEC_PER_SEC), >=, 0);
        ssh_forward_free(f);
        sd_event_unref(event);
}

/* Where the socket and the link to the key are; nothing of it stays. */
static void assert_lies_in(const char *runtime_dir, const char *expected) {
        g_autofree char *path = NULL, *dir = NULL, *base = NULL;

        if (runtime_dir)
                g_setenv("XDG_RUNTIME_DIR", runtime_dir, TRUE);
        else
                g_unsetenv("XDG_RUNTIME_DIR");
        collect(&plain);
        path = served_path((char *const *) arguments->pdata);
        dir = g_path_get_dirname(path);
        base = g_path_get_dirname(dir);
        g_assert_cmpstr(base, ==, expected);
        g_assert_false(g_file_test(dir, G_FILE_TEST_EXISTS));
        g_clear_pointer(&arguments, g_ptr_array_unref);
}

/* The user's own directory, unless it is none, or too long, or ssh would read something else in its name. */
static void test_directory(void) {
        static const char *const odd[] = { "a b", "%h", "a:b", "a\\b", "$HOME", "\"", "\xc3\xa4" };
        char mine[] = "/tmp/vnetd-test-XXXXXX", longest[80 - sizeof("/vnetd-ssh-XXXXXX") + 2];
        g_autofree char *none = NULL;

        g_assert_nonnull(mkdtemp(mine));
        none = g_build_filename(mine, "none", NULL);
        assert_lies_in(mine, mine);
        assert_lies_in(NULL, "/tmp");
        assert_lies_in("", "/tmp");
        assert_lies_in(".", "/tmp");
        assert_lies_in(none, "/tmp");
        for (size_t i = 0; i < ELEMENTSOF(odd); i++) {
                g_autofree char *dir = g_build_filename(mine, odd[i], NULL);

                g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
                assert_lies_in(dir, "/tmp");
                g_assert_cmpint(g_rmdir(dir), ==, 0);
        }
        memset(longest, 'x', sizeof(longest));
        memcpy(longest, mine, strlen(mine));
        longest[strlen(mine)] = '/';
        for (unsigned more = 0; more <= 1; more++) {
                longest[sizeof(longest) - 2 + more] = 0;
                g_assert_cmpint(g_mkdir(longest, 0700), ==, 0);
                assert_lies_in(longest, more ? "/tmp" : longest);
                g_assert_cmpint(g_rmdir(longest), ==, 0);
                longest[sizeof(longest) - 2] = 'x';
        }
        g_assert_cmpint(g_rmdir(mine), ==, 0);
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
                config.spec.secure = !lax;
                collect(&config);
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
        g_test_add_func("/ssh-forward/directory", test_directory);
        g_test_add_func("/ssh-forward/retries", test_retries);
        g_test_add_func("/ssh-forward/child-killed", test_child_killed);
        g_test_add_func("/ssh-forward/clients", test_clients);
        return g_test_run();
}
