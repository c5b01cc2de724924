/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes sockets in the caller's namespace and packs them up as basic/lend.h says. What cannot be had is not lent: nothing fails by it. */

#include <netinet/in.h>
#include <sys/socket.h>

#include "basic/lend.h"
#include "ctl-lend.h"

_Static_assert(LEND_SOCKETS + LEND_SOCKETS_MORE <= LEND_SOCKETS_MAX, "the daemon takes what we lend");

static unsigned make_sockets(int family, unsigned n, int *ret) {
        unsigned made = 0;

        while (made < n && (ret[made] = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP)) >= 0)
                made++;
        return made;
}

static int send_sockets(int sock, const int *fds, unsigned n) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE((1 + LEND_SOCKETS_MAX) * sizeof(int))];
        } control = {};
        struct iovec iov = { (char[]){ LEND_BYTE }, 1 };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = CMSG_SPACE(n * sizeof(int)) };

        *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){ CMSG_LEN(n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, n * sizeof(int));
        return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

void lend_sockets(int pidfd, const GuestNetwork *network, GuestFds *ret) {
        int fds[1 + LEND_SOCKETS_MAX] = { pidfd }, pair[2];
        unsigned n = 1;

        if (pidfd < 0)
                return;
        if (network->has_ip4) {
                guest_link_widen_loopback();
                n += make_sockets(AF_INET, LEND_SOCKETS, fds + n);
        }
        if (network->has_ip6)
                n += make_sockets(AF_INET6, network->has_ip4 ? LEND_SOCKETS_MORE : LEND_SOCKETS, fds + n);
        if (n > 1 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0) {
                if (send_sockets(pair[0], fds, n) == 0)
                        ret->fds[ret->n++] = pair[1];
                else
                        (void) close(pair[1]);
                (void) close(pair[0]);
        }
        while (--n > 0)
                (void) close(fds[n]);
}
