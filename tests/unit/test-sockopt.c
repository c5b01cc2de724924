/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is set is what the kernel then says; what it refuses comes back as its errno. */

#include <glib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "basic/cleanup.h"
#include "basic/sockopt.h"

static void test_int(void) {
        _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int value = 0;

        g_assert_cmpint(sockopt_set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3), ==, 0);
        g_assert_cmpint(sockopt_get_int(fd, IPPROTO_TCP, TCP_KEEPCNT, &value), ==, 0);
        g_assert_cmpint(value, ==, 3);
        g_assert_cmpint(sockopt_set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 0), ==, -EINVAL);
        g_assert_cmpint(sockopt_set_int(-EBADF, IPPROTO_TCP, TCP_KEEPCNT, 3), ==, -EBADF);
        g_assert_cmpint(sockopt_get_int(-EBADF, IPPROTO_TCP, TCP_KEEPCNT, &value), ==, -EBADF);
        g_assert_cmpint(sockopt_get_int(fd, IPPROTO_TCP, 0xffff, &value), ==, -ENOPROTOOPT);
        g_assert_cmpint(value, ==, 3); /* untouched */
}

static void test_other(void) {
        struct linger l = { .l_onoff = 1, .l_linger = 7 }, got = {};
        socklen_t len = sizeof(got);
        _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(sockopt_set(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), ==, 0);
        g_assert_cmpint(getsockopt(fd, SOL_SOCKET, SO_LINGER, &got, &len), ==, 0);
        g_assert_cmpint(got.l_linger, ==, 7);
        g_assert_cmpint(sockopt_set(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(int)), ==, -EINVAL);
}

static void test_is(void) {
        _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_true(sockopt_is(fd, SO_TYPE, SOCK_STREAM));
        g_assert_false(sockopt_is(fd, SO_TYPE, SOCK_DGRAM));
        g_assert_true(sockopt_is(fd, SO_ACCEPTCONN, 0));
        g_assert_false(sockopt_is(-EBADF, SO_ACCEPTCONN, 0));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/sockopt/int", test_int);
        g_test_add_func("/sockopt/other", test_other);
        g_test_add_func("/sockopt/is", test_is);
        return g_test_run();
}
