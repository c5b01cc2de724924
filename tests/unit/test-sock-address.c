/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses of socket devices: every form, every limit; socket files: mode, stale ones, others' directories, removal. */

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <linux/vm_sockets.h>
#include <unistd.h>

#include "device/sock-address.h"

static void test_parse(void) {
        static const struct {
                const char *text;
                int family, type;
                const char *rest;
        } good[] = {
                { "/run/x", AF_UNIX, 0, "/run/x" },
                { "unix:/run/x", AF_UNIX, 0, "/run/x" },
                { "unix:///run/x", AF_UNIX, 0, "/run/x" },
                { "unixgram:///run/x", AF_UNIX, SOCK_DGRAM, "/run/x" },
                { "unixpacket:///run/x", AF_UNIX, SOCK_SEQPACKET, "/run/x" },
                { "tcp:10.0.0.1:5", AF_INET, SOCK_STREAM, "10.0.0.1:5" },
                { "tcp://127.0.0.1:65535", AF_INET, SOCK_STREAM, "127.0.0.1:65535" },
                { "tcp:5555", AF_INET, SOCK_STREAM, "127.0.0.1:5555" },
                { "tcp::5555", AF_INET, SOCK_STREAM, "127.0.0.1:5555" },
                { "tcp:[::1]:7", AF_INET6, SOCK_STREAM, "[::1]:7" },
        };
        static const char *const bad[] = { "", "x", "unix:", "unix:x", "unix:/", "unix:/a/", "unix:/a/..", "unix:/.", "tcp:", "tcp:0", "tcp:65536",
                                           "tcp:host:1", "tcp:1.2.3.4", "vsock:", "vsock:x", "vsock:1:x", "vsock:4294967295:1", "vsock:1:2:3",
                                           "http://x/" };
        const char *what;
        SockAddress a;

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
                g_test_message("%s", good[i].text);
                g_assert_cmpint(sock_address_parse(good[i].text, &a, &what), ==, 0);
                g_assert_cmpint(a.family, ==, good[i].family);
                g_assert_cmpint(a.type, ==, good[i].type);
                g_assert_cmpstr(a.family == AF_UNIX ? a.path : ENDPOINT_TO_TEXT(&a.endpoint), ==, good[i].rest);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                what = NULL;
                g_test_message("%s", bad[i]);
                g_assert_cmpint(sock_address_parse(bad[i], &a, &what), <, 0);
                g_assert_nonnull(what);
        }
        g_assert_cmpint(sock_address_parse("vsock:3:1024", &a, &what), ==, 0);
        g_assert_cmpuint(a.cid, ==, 3);
        g_assert_cmpuint(a.port, ==, 1024);
        g_assert_cmpint(sock_address_parse("vsock://:9", &a, &what), ==, 0);
        g_assert_cmpuint(a.cid, ==, VMADDR_CID_ANY);

        /* the last component fits behind a descriptor's name; the whole path may be longer than a socket's address */
        g_autofree char *name = g_strnfill(83, 'n'), *longer = g_strnfill(84, 'n'), *dirs = g_strnfill(SOCK_ADDRESS_TEXT_MAX, '/');
        g_autofree char *fits = g_strconcat("/", name, NULL), *too_long = g_strconcat("/", longer, NULL), *far = g_strconcat(dirs, "x", NULL);
        g_assert_cmpint(sock_address_parse(fits, &a, &what), ==, 0);
        g_assert_cmpint(sock_address_parse(too_long, &a, &what), ==, -ERANGE);
        g_assert_cmpint(sock_address_parse(far, &a, &what), ==, -ERANGE);
}

static void test_files(void) {
        static const SockRights root = {}, someone = { .uid = 12345, .limited = true };
        g_autofree char *dir = g_dir_make_tmp("sock.XXXXXX", NULL), *path = g_build_filename(dir, "s", NULL);
        SockFile file = SOCK_FILE_INIT, other = SOCK_FILE_INIT;
        const char *what;
        SockAddress a;
        GStatBuf st;
        int fd;

        g_assert_cmpint(sock_address_parse(path, &a, &what), ==, 0);
        g_assert_cmpint(sock_listen(&a, SOCK_STREAM, &someone, &file), ==, -EACCES); /* not his directory */
        fd = sock_listen(&a, SOCK_STREAM, &root, &file);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(g_stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
        g_assert_cmpint(sock_listen(&a, SOCK_STREAM, &root, &other), ==, -EADDRINUSE);
        g_assert_cmpint(sock_listen(&a, SOCK_DGRAM, &root, &other), ==, -EADDRINUSE);

        int c = sock_connect(&a, SOCK_STREAM, &root);
        g_assert_cmpint(c, >=, 0);
        (void) close(c);
        if (geteuid() != 12345)
                g_assert_cmpint(sock_connect(&a, SOCK_STREAM, &someone), ==, -EACCES); /* not his socket */

        int first = fd;
        g_assert_cmpint(g_unlink(path), ==, 0);
        fd = sock_listen(&a, SOCK_STREAM, &root, &other);
        g_assert_cmpint(fd, >=, 0);
        sock_file_remove(&file); /* what stands there is not this one any more */
        g_assert_cmpint(g_stat(path, &st), ==, 0);
        (void) close(first);
        (void) safe_close(other.dir_fd);

        (void) close(fd); /* stale now */
        g_assert_cmpint(sock_connect(&a, SOCK_STREAM, &root), ==, -ECONNREFUSED);
        fd = sock_listen(&a, SOCK_STREAM, &root, &other);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(g_stat(path, &st), ==, 0);
        sock_file_remove(&other);
        g_assert_cmpint(g_stat(path, &st), <, 0);
        (void) close(fd);

        g_assert_true(g_file_set_contents(path, "x", 1, NULL));
        g_assert_cmpint(sock_listen(&a, SOCK_STREAM, &root, &file), ==, -EADDRINUSE);
        g_assert_cmpint(sock_connect(&a, SOCK_STREAM, &root), ==, -ECONNREFUSED);
        (void) g_unlink(path);
        g_assert_cmpint(sock_connect(&a, SOCK_STREAM, &root), ==, -ENOENT);

        /* in a directory deeper than a socket's address is long */
        g_autofree char *deep = g_strnfill(120, 'd'), *deep_dir = g_build_filename(dir, deep, NULL), *deep_path = g_build_filename(deep_dir, "s", NULL);
        g_assert_cmpint(g_mkdir(deep_dir, 0700), ==, 0);
        g_assert_cmpint(sock_address_parse(deep_path, &a, &what), ==, 0);
        fd = sock_listen(&a, SOCK_SEQPACKET, &root, &file);
        g_assert_cmpint(fd, >=, 0);
        c = sock_connect(&a, SOCK_SEQPACKET, &root);
        g_assert_cmpint(c, >=, 0);
        (void) close(c);
        (void) close(fd);
        sock_file_remove(&file);
        g_assert_cmpint(g_rmdir(deep_dir), ==, 0);
        g_assert_cmpint(g_rmdir(dir), ==, 0);
}

static struct {
        bool may;  /* go beyond the system's limit */
        int snd, rcv; /* what was set, bytes */
} buffers;

int __real_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len);

int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len) {
        bool is_forced = option == SO_SNDBUFFORCE || option == SO_RCVBUFFORCE, is_snd = option == SO_SNDBUFFORCE || option == SO_SNDBUF;

        if (level != SOL_SOCKET || (!is_forced && !is_snd && option != SO_RCVBUF))
                return __real_setsockopt(fd, level, option, value, len);
        if (is_forced && !buffers.may) {
                errno = EPERM;
                return -1;
        }
        memcpy(is_snd ? &buffers.snd : &buffers.rcv, value, sizeof(int));
        return 0;
}

static void check_buffers(int family, int type, int bytes) {
        _cleanup_close_ int fd = socket(family, type | SOCK_CLOEXEC, 0);

        g_assert_cmpint(fd, >=, 0);
        for (unsigned may = 0; may < 2; may++) {
                buffers = (typeof(buffers)){ .may = may };
                sock_set_buffers(fd, family);
                g_assert_cmpint(buffers.snd, ==, bytes);
                g_assert_cmpint(buffers.rcv, ==, bytes);
        }
}

/* With CAP_NET_ADMIN or without. TCP sizes its own. */
static void test_buffers(void) {
        check_buffers(AF_UNIX, SOCK_STREAM, 4 * 1024 * 1024);
        check_buffers(AF_UNIX, SOCK_SEQPACKET, 1024 * 1024);
        check_buffers(AF_UNIX, SOCK_DGRAM, 1024 * 1024);
        check_buffers(AF_INET, SOCK_STREAM, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/sock-address/parse", test_parse);
        g_test_add_func("/sock-address/files", test_files);
        g_test_add_func("/sock-address/buffers", test_buffers);
        return g_test_run();
}
