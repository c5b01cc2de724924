/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What vnetctl lends: so many sockets of each family as basic/lend.h says, which the daemon takes, and nothing stays open here. */

#include <fcntl.h>
#include <glib.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "basic/cleanup.h"
#include "basic/lend.h"
#include "ctl-lend.h"

static unsigned n_open(void) {
        unsigned n = 0;

        for (int i = 0; i < 1024; i++)
                n += fcntl(i, F_GETFD) >= 0;
        return n;
}

/* Takes the message apart; the pidfd must come first. */
static void count(int channel, unsigned *ret_v4, unsigned *ret_v6) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(253 * sizeof(int))];
        } control;
        char bytes[2] = "";
        struct iovec iov = { bytes, sizeof(bytes) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf) };
        int fds[253];
        size_t n;

        g_assert_cmpint(recvmsg(channel, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), ==, 1);
        g_assert_cmpint(bytes[0], ==, LEND_BYTE);
        g_assert_cmpint(m.msg_flags & MSG_CTRUNC, ==, 0);
        n = (CMSG_FIRSTHDR(&m)->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&m)), n * sizeof(int));
        g_assert_cmpint(syscall(SYS_pidfd_send_signal, fds[0], 0, NULL, 0), ==, 0);
        *ret_v4 = *ret_v6 = 0;
        for (size_t i = 0; i < n; i++) {
                int domain = 0;
                socklen_t len = sizeof(domain);

                if (i > 0) {
                        g_assert_cmpint(getsockopt(fds[i], SOL_SOCKET, SO_DOMAIN, &domain, &len), ==, 0);
                        *ret_v4 += domain == AF_INET;
                        *ret_v6 += domain == AF_INET6;
                }
                (void) close(fds[i]);
        }
}

static void test_counts(void) {
        static const struct {
                GuestNetwork network;
                unsigned v4, v6;
        } cases[] = {
                { { .has_ip4 = true }, 64, 0 },
                { { .has_ip6 = true }, 0, 64 },
                { { .has_ip4 = true, .has_ip6 = true }, 64, 16 },
        };
        int pidfd = (int) syscall(SYS_pidfd_open, getpid(), 0), probe = socket(AF_INET6, SOCK_STREAM, 0);
        bool has_v6 = probe >= 0;

        (void) safe_close(probe);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                unsigned before = n_open(), v4, v6;
                GuestFds fds = {};

                if (cases[i].v6 > 0 && !has_v6)
                        continue;
                lend_sockets(pidfd, &cases[i].network, &fds);
                g_assert_cmpuint(fds.n, ==, 1);
                g_assert_cmpuint(n_open(), ==, before + 1);
                count(fds.fds[0], &v4, &v6);
                g_assert_cmpuint(v4, ==, cases[i].v4);
                g_assert_cmpuint(v6, ==, cases[i].v6);
                (void) close(fds.fds[0]);
        }
        (void) close(pidfd);
}

/* Of a namespace without a process nothing is lent, nor of a network without addresses. */
static void test_none(void) {
        int pidfd = (int) syscall(SYS_pidfd_open, getpid(), 0);
        unsigned before = n_open();
        GuestFds fds = {};

        lend_sockets(-EBADF, &(GuestNetwork){ .has_ip4 = true }, &fds);
        lend_sockets(pidfd, &(GuestNetwork){}, &fds);
        g_assert_cmpuint(fds.n, ==, 0);
        g_assert_cmpuint(n_open(), ==, before);
        (void) close(pidfd);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ctl-lend/counts", test_counts);
        g_test_add_func("/ctl-lend/none", test_none);
        return g_test_run();
}
