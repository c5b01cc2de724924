/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Logs: levels, the errno contract, one line per entry whatever the text holds, the choice of target, the
 * rate limit.
 */

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "basic/cleanup.h"
#include "basic/log.h"

/* stderr goes to a temporary file from capture_begin() on; capture_end() puts it back and returns the text
 * (owned). */
static int saved_stderr = -EBADF;
static FILE *capture;

static void capture_begin(void) {
        capture = tmpfile();
        g_assert_nonnull(capture);
        saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        g_assert_cmpint(saved_stderr, >=, 0);
        g_assert_cmpint(dup2(fileno(capture), STDERR_FILENO), ==, STDERR_FILENO);
}

static char *capture_end(void) {
        static char buf[16384];
        ssize_t n = pread(fileno(capture), buf, sizeof(buf) - 1, 0);

        g_assert_cmpint(dup2(saved_stderr, STDERR_FILENO), ==, STDERR_FILENO);
        saved_stderr = safe_close(saved_stderr);
        (void) fclose(capture);
        g_assert_cmpint(n, >=, 0);
        buf[n] = 0;
        return g_strdup(buf);
}

static void expect(char *got, const char *want) {
        g_assert_cmpstr(got, ==, want);
        g_free(got);
}

static unsigned n_evaluated;
static int count_evaluation(void) {
        return ++n_evaluated;
}

static void test_levels(void) {
        capture_begin();
        log_set_max_level(LOG_NOTICE);
        log_info("no %d", count_evaluation());
        log_debug("no");
        log_notice("yes %d", count_evaluation());
        log_set_max_level(LOG_DEBUG);
        log_debug("debug");
        log_warning("warning");
        log_error("error");
        log_set_max_level(LOG_INFO);
        expect(capture_end(), "test: yes 1\ntest: debug\ntest: warning\ntest: error\n");
        g_assert_cmpuint(n_evaluated, ==, 1); /* nothing is formatted below the level */
}

static void test_level_names(void) {
        for (int level = LOG_EMERG; level <= LOG_DEBUG; level++)
                g_assert_cmpint(log_level_from_name(log_level_to_name(level)), ==, level);
        g_assert_cmpint(log_level_from_name("err"), ==, LOG_ERR);
        g_assert_cmpint(log_level_from_name("Err"), ==, -EINVAL);
        g_assert_cmpint(log_level_from_name(""), ==, -EINVAL);
        g_assert_cmpint(log_level_from_name("7"), ==, -EINVAL);
}

static void test_errno(void) {
        capture_begin();
        errno = EXDEV;
        g_assert_cmpint(log_error_errno(ENOENT, "a: %m"), ==, -ENOENT);
        g_assert_cmpint(log_warning_errno(-ENOENT, "b: %m"), ==, -ENOENT);
        g_assert_cmpint(log_debug_errno(-EIO, "not shown"), ==, -EIO);
        g_assert_cmpint(log_oom(), ==, -ENOMEM);
        g_assert_cmpint(log_full(LOG_ERR, 0, "c"), ==, 0);
        g_assert_cmpint(errno, ==, EXDEV);
        expect(capture_end(), "test: a: No such file or directory\ntest: b: No such file or directory\n"
                              "test: Out of memory\ntest: c\n");
}

/* A guest's host name must not forge a line of its own or play with the terminal. */
static void test_hostile(void) {
        capture_begin();
        log_info("name=%s", "x\nvnetd: all is well\r\x1b[2J\x7f\xc3\xa4");
        expect(capture_end(), "test: name=x?vnetd: all is well??[2J?\xc3\xa4\n");
}

static void test_long(void) {
        char *text = g_strnfill(10000, 'x'), *got;

        capture_begin();
        log_info("%s", text);
        got = capture_end();
        g_assert_cmpuint(strlen(got), ==, strlen("test: ") + 2047 + 1);
        g_assert_true(g_str_has_suffix(got, "x\n"));
        g_free(got);
        g_free(text);
}

static void test_fields(void) {
        static const char *const fields[] = { "VNETD_NETWORK=lab", NULL };

        capture_begin();
        g_assert_cmpint(log_full_fields(LOG_INFO, -EPERM, fields, "with fields"), ==, -EPERM);
        expect(capture_end(), "test: with fields\n");
}

static void test_target(void) {
        g_assert_cmpint(log_set_target("syslog"), ==, -EINVAL);
        g_assert_cmpstr(log_target_name(), ==, "console");
        g_assert_cmpint(log_set_target("journal"), ==, 0);
        g_assert_cmpstr(log_target_name(), ==, "journal");
        g_assert_cmpint(log_set_target("auto"), ==, 0);
        g_assert_cmpstr(log_target_name(), ==, "console");
        g_assert_cmpint(log_set_target("journal"), ==, 0);
        g_assert_cmpint(log_set_target("console"), ==, 0);
        g_assert_cmpstr(log_target_name(), ==, "console");
}

/* $JOURNAL_STREAM decides, and only when it names our stderr exactly. */
static void test_journal_stream(void) {
        struct stat st;
        char *e;

        g_assert_cmpint(fstat(STDERR_FILENO, &st), ==, 0);

        static const struct {
                const char *format;
                int add;
                const char *target;
        } cases[] = {
                { "%lu:%lu", 0, "journal" }, { "%lu:%lu", 1, "console" }, { "%lu:%lux", 0, "console" },
                { "%lu", 0, "console" },     { "x%lu:%lu", 0, "console" }, { ":", 0, "console" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char *device = g_strdup_printf("%lu", (unsigned long) st.st_dev);
                char *inode = g_strdup_printf("%lu", (unsigned long) st.st_ino + cases[i].add);
                GString *s = g_string_new(cases[i].format);

                g_string_replace(s, "%lu", device, 1);
                g_string_replace(s, "%lu", inode, 1);
                e = g_string_free(s, FALSE);
                g_setenv("JOURNAL_STREAM", e, TRUE);
                log_open("test");
                g_test_message("%s", e);
                g_assert_cmpstr(log_target_name(), ==, cases[i].target);
                g_free(e);
                g_free(device);
                g_free(inode);
        }
        g_unsetenv("JOURNAL_STREAM");
        log_open("test");
        g_assert_cmpstr(log_target_name(), ==, "console");
}

/* ---- what the journal gets: a socket of our own in its place, in a mount namespace of our own ---- */

#define JOURNAL_DIR "/run/systemd/journal"

static bool write_text(const char *path, const char *text) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

        return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t) strlen(text);
}

/* Makes us root in a user namespace: tmpfs makes no directories for those whom it cannot map. */
static int become_root(void) {
        char uid_map[32], gid_map[32];

        (void) snprintf(uid_map, sizeof(uid_map), "0 %u 1", getuid());
        (void) snprintf(gid_map, sizeof(gid_map), "0 %u 1", getgid());
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
                return -errno;
        return write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/uid_map", uid_map) &&
                        write_text("/proc/self/gid_map", gid_map)
                ? 0
                : -EPERM;
}

static int journal_listen(void) {
        static const struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = JOURNAL_DIR "/socket" };
        int fd, r;

        r = become_root();
        if (r < 0)
                return r;
        if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
                return -errno;
        if (mkdir("/run/systemd", 0755) < 0 || mkdir(JOURNAL_DIR, 0755) < 0)
                return -errno;

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *) &sa, sizeof(sa)) < 0)
                return -errno;
        return fd;
}

/* Runs in a child; exit status: 0 all well, 77 no namespace, else the number of the check that failed. */
static int journal_child(void) {
        static const char *const fields[] = { "VNETD_NETWORK=lab", NULL };
        static const char *const want[] = {
                "MESSAGE=over: No such file or directory\n",
                "PRIORITY=4\n",
                "SYSLOG_IDENTIFIER=test\n",
                "ERRNO=2\n",
                "VNETD_NETWORK=lab\n",
                "CODE_FUNC=journal_child\n",
        };
        char buf[4096];
        int fd = journal_listen();

        if (fd < 0)
                /* EINVAL: a sanitizer's own thread is in the way */
                return fd == -EPERM || fd == -ENOSPC || fd == -EACCES || fd == -EINVAL ? 77 : 1;

        (void) log_set_target("journal");
        (void) log_full_fields(LOG_WARNING, -ENOENT, fields, "over: %m");

        ssize_t n = recv(fd, buf, sizeof(buf) - 1, 0);
        if (n <= 0)
                return 2;
        buf[n] = 0;
        for (size_t i = 0; i < ELEMENTSOF(want); i++)
                if (!strstr(buf, want[i]))
                        return 10 + i;

        log_info("no error");
        n = recv(fd, buf, sizeof(buf) - 1, 0);
        if (n <= 0)
                return 3;
        buf[n] = 0;
        return strstr(buf, "ERRNO=") ? 4 : 0;
}

static void test_journal(void) {
        pid_t pid = fork();
        int status;

        g_assert_cmpint(pid, >=, 0);
        if (pid == 0)
                _exit(journal_child());
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77) {
                g_test_skip("no user namespace to be had");
                return;
        }
        g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

static void test_ratelimit(void) {
        RateLimit r = RATELIMIT_INIT(10 * USEC_PER_SEC, 2);
        usec_t now = 5 * USEC_PER_SEC;

        g_assert_true(ratelimit_below(&r, now));
        g_assert_true(ratelimit_below(&r, now + 1));
        g_assert_cmpuint(r.held_back, ==, 0);
        for (unsigned i = 0; i < 3; i++)
                g_assert_false(ratelimit_below(&r, now + 10 * USEC_PER_SEC - 1));
        g_assert_true(ratelimit_below(&r, now + 10 * USEC_PER_SEC));
        g_assert_cmpuint(r.held_back, ==, 3);
        g_assert_true(ratelimit_below(&r, now + 10 * USEC_PER_SEC));
        g_assert_cmpuint(r.held_back, ==, 0);
        g_assert_false(ratelimit_below(&r, now + 11 * USEC_PER_SEC));

        RateLimit open = RATELIMIT_INIT(0, 0);
        for (unsigned i = 0; i < 10; i++)
                g_assert_true(ratelimit_below(&open, now));
}

/* Lines of several threads stay whole. */
static gpointer log_lines(gpointer data) {
        for (unsigned i = 0; i < 50; i++)
                log_info("%s", (const char *) data);
        return NULL;
}

static void test_threads(void) {
        static const char *const texts[] = { "aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbb" };
        GThread *threads[2];
        unsigned n[2] = {};

        capture_begin();
        for (unsigned i = 0; i < 2; i++)
                threads[i] = g_thread_new("log", log_lines, (gpointer) texts[i]);
        log_set_max_level(LOG_DEBUG); /* while they log */
        log_set_max_level(LOG_INFO);
        for (unsigned i = 0; i < 2; i++)
                g_thread_join(threads[i]);

        char *got = capture_end();
        char **lines = g_strsplit(got, "\n", -1);
        for (char **l = lines; **l; l++) {
                unsigned i = (*l)[strlen("test: ")] == 'b';

                g_assert_true(g_str_has_prefix(*l, "test: "));
                g_assert_cmpstr(*l + strlen("test: "), ==, texts[i]);
                n[i]++;
        }
        g_assert_cmpuint(n[0], ==, 50);
        g_assert_cmpuint(n[1], ==, 50);
        g_strfreev(lines);
        g_free(got);
}

int main(int argc, char **argv) {
        g_unsetenv("JOURNAL_STREAM");
        g_test_init(&argc, &argv, NULL);
        log_open("test");
        g_test_add_func("/log/levels", test_levels);
        g_test_add_func("/log/level-names", test_level_names);
        g_test_add_func("/log/errno", test_errno);
        g_test_add_func("/log/hostile", test_hostile);
        g_test_add_func("/log/long", test_long);
        g_test_add_func("/log/fields", test_fields);
        g_test_add_func("/log/target", test_target);
        g_test_add_func("/log/journal-stream", test_journal_stream);
        g_test_add_func("/log/journal", test_journal);
        g_test_add_func("/log/ratelimit", test_ratelimit);
        g_test_add_func("/log/threads", test_threads);
        return g_test_run();
}
