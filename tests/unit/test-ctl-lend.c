/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What vnetctl lends: so many sockets of each family as basic/lend.h says, which the daemon takes, and nothing stays open here. In a network
 * namespace of its own, for its `lo` is changed. */

#include <fcntl.h>
#include <glib.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
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

#define LINK_GSO_IPV4_MAX_SIZE 63 /* IFLA_GSO_IPV4_MAX_SIZE */

/* How long TCP over IPv4 may make segments on `lo`; 0: the kernel has no such size. */
static uint32_t loopback_segment_max(void) {
        struct {
                struct nlmsghdr h;
                struct ifinfomsg link;
        } ask = { { sizeof(ask), RTM_GETLINK, NLM_F_REQUEST, 1, 0 }, { .ifi_index = (int) if_nametoindex("lo") } };
        _Alignas(struct nlmsghdr) uint8_t answer[16384];
        const struct nlmsghdr *h = (const struct nlmsghdr *) answer;
        int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        uint32_t size = 0;
        ssize_t n;

        g_assert_cmpint(send(fd, &ask, sizeof(ask), 0), ==, sizeof(ask));
        n = recv(fd, answer, sizeof(answer), 0);
        g_assert_cmpint(n, >, (ssize_t) NLMSG_LENGTH(sizeof(struct ifinfomsg)));
        g_assert_cmpint(h->nlmsg_type, ==, RTM_NEWLINK);
        int left = (int) IFLA_PAYLOAD(h);
        for (const struct rtattr *a = IFLA_RTA(NLMSG_DATA(h)); RTA_OK(a, left); a = RTA_NEXT(a, left))
                if (a->rta_type == LINK_GSO_IPV4_MAX_SIZE)
                        memcpy(&size, RTA_DATA(a), sizeof(size));
        (void) close(fd);
        return size;
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
        int fds[253], type = 0;
        socklen_t type_len = sizeof(type);
        size_t n;

        g_assert_cmpint(getsockopt(channel, SOL_SOCKET, SO_TYPE, &type, &type_len), ==, 0);
        g_assert_cmpint(type, ==, SOCK_SEQPACKET); /* what basic/lend.h says */
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
                        g_assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK); /* or the daemon would wait for a guest */
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

/* Segments on `lo` become longer with what is lent over IPv4, and stay as they are otherwise. */
static void test_loopback(void) {
        uint32_t before = loopback_segment_max();
        int pidfd = (int) syscall(SYS_pidfd_open, getpid(), 0);
        GuestFds fds = {};

        if (before == 0) {
                (void) close(pidfd);
                g_test_skip("the kernel has no such size");
                return;
        }
        lend_sockets(-EBADF, &(GuestNetwork){ .has_ip4 = true }, &fds);
        lend_sockets(pidfd, &(GuestNetwork){ .has_ip6 = true }, &fds);
        g_assert_cmpuint(loopback_segment_max(), ==, before);
        guest_fds_close(&fds);
        lend_sockets(pidfd, &(GuestNetwork){ .has_ip4 = true }, &fds);
        g_assert_cmpuint(loopback_segment_max(), ==, 256 * 1024);
        guest_fds_close(&fds);
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
        if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
                printf("1..0 # SKIP no network namespace may be made\n");
                return 0;
        }
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ctl-lend/loopback", test_loopback);
        g_test_add_func("/ctl-lend/counts", test_counts);
        g_test_add_func("/ctl-lend/none", test_none);
        return g_test_run();
}
