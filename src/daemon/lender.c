/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Receives, checks and keeps lent sockets. Whoever lent them may have kept duplicates: he can spoil his own guest's connections with them,
 * and by their flags make our calls wait. So only what root or our own user lends is used, which is the caller's to see to.
 */

#include "daemon/lender.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "basic/lend.h"
#include "basic/macro.h"
#include "basic/sockopt.h"

#define FDS_MAX (1 + LEND_SOCKETS_MAX)
#define SYN_RETRIES 1 /* a namespace's own address answers at once, or its queue is full: 3 seconds, and the TAP is tried */

struct Lender {
        int pidfd; /* (owned) */
        bool ended;
        LentSocket *idle[2]; /* IPv4, IPv6 */
        LentSocket *leaving; /* both ends are said, but the kernel still has bytes for a slow peer */
        unsigned n;
        LentSocket sockets[];
};

static LentSocket **idle_of(Lender *l, int family) {
        return &l->idle[family == AF_INET6];
}

/* ---- receiving ---- */

typedef struct Descriptors {
        int fds[FDS_MAX]; /* (owned) */
        unsigned n;
} Descriptors;

static void descriptors_deinit(Descriptors *d) {
        for (unsigned i = 0; i < d->n; i++)
                (void) safe_close(d->fds[i]);
        d->n = 0;
}

/* All descriptors beside the message, however odd it is, so that none is left open. */
static int receive(int channel, Descriptors *d, const char **ret_what) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(FDS_MAX * sizeof(int))];
        } control;
        char byte = 0;
        struct iovec iov = { &byte, 1 };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = CMSG_LEN(FDS_MAX * sizeof(int)) };
        ssize_t n = recvmsg(channel, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        *ret_what = "no message waits there";
        if (n < 0)
                return errno == EAGAIN || errno == ENOTSOCK ? -EINVAL : -errno;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                        d->n = (unsigned) ((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                        memcpy(d->fds, CMSG_DATA(c), d->n * sizeof(int));
                }
        *ret_what = "there are more sockets than can be lent, or than we may open";
        if (m.msg_flags & MSG_CTRUNC)
                return -EINVAL;
        *ret_what = "the message is another one";
        if (n != 1 || byte != LEND_BYTE || (m.msg_flags & MSG_TRUNC))
                return -EINVAL;
        *ret_what = "the message has no pidfd and no sockets";
        return d->n < 2 ? -EINVAL : 0;
}

/* The signal 0 is sent to nobody; without the right to send it the process is there all the same. */
static int check_pidfd(int fd, const char **ret_what) {
        *ret_what = "the first descriptor is no pidfd";
        if (syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) >= 0 || errno == EPERM)
                return 0;
        *ret_what = errno == ESRCH ? "the process has ended" : *ret_what;
        return errno == ESRCH ? -ESRCH : -EINVAL;
}

static bool is_closed(int fd) {
        struct tcp_info info;
        socklen_t len = sizeof(info);

        return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) >= 0 && info.tcpi_state == TCP_CLOSE;
}

static bool is_bound(int fd) {
        struct sockaddr_storage sa = {};
        socklen_t len = sizeof(sa);
        Endpoint e;

        return getsockname(fd, (struct sockaddr *) &sa, &len) < 0 || endpoint_from_sockaddr((struct sockaddr *) &sa, len, &e) < 0 || e.port != 0;
}

static int check_socket(int fd, int *ret_family, const char **ret_what) {
        bool v4 = sockopt_is(fd, SO_DOMAIN, AF_INET);

        *ret_what = "one of them is no TCP socket";
        if ((!v4 && !sockopt_is(fd, SO_DOMAIN, AF_INET6)) || !sockopt_is(fd, SO_TYPE, SOCK_STREAM) || !sockopt_is(fd, SO_PROTOCOL, IPPROTO_TCP))
                return -EINVAL;
        *ret_what = "one of them listens";
        if (!sockopt_is(fd, SO_ACCEPTCONN, 0))
                return -EINVAL;
        *ret_what = "one of them is bound or connected";
        if (!is_closed(fd) || is_bound(fd))
                return -EINVAL;
        *ret_family = v4 ? AF_INET : AF_INET6;
        return 0;
}

/* What holds for all its connections: set once. Urgent data stays in its place in the stream (RFC 6093 5). */
static int prepare_socket(int fd, const char **ret_what) {
        int flags = fcntl(fd, F_GETFL), r;

        *ret_what = "setting a socket up";
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        r = sockopt_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        if (r >= 0)
                r = sockopt_set_int(fd, IPPROTO_TCP, TCP_SYNCNT, SYN_RETRIES);
        if (r >= 0)
                r = sockopt_set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
        return r;
}

int lender_receive(Lender **ret, int channel, const char **ret_what) {
        _cleanup_(descriptors_deinit) Descriptors d = {};
        _cleanup_free_ Lender *l = NULL;
        int r, family;

        r = receive(channel, &d, ret_what);
        if (r >= 0)
                r = check_pidfd(d.fds[0], ret_what);
        if (r < 0)
                return r;
        l = calloc(1, sizeof(*l) + (d.n - 1) * sizeof(LentSocket));
        if (!l)
                return -ENOMEM;
        for (unsigned i = 1; i < d.n; i++) {
                LentSocket *s = &l->sockets[i - 1];

                r = check_socket(d.fds[i], &family, ret_what);
                if (r >= 0)
                        r = prepare_socket(d.fds[i], ret_what);
                if (r < 0)
                        return r;
                *s = (LentSocket){ .io.fd = -EBADF, .fd = d.fds[i], .family = family, .next = *idle_of(l, family) };
                *idle_of(l, family) = s;
        }
        l->pidfd = d.fds[0];
        l->n = d.n - 1;
        d.n = 0; /* the lender's now */
        *ret = TAKE_PTR(l);
        return 0;
}

/* ---- keeping ---- */

/* Somebody may hold a duplicate: the loop would hear of it on. */
static void close_socket(LentSocket *s, Loop *loop) {
        if (s->fd < 0)
                return;
        if (loop)
                loop_remove(loop, &s->io);
        s->fd = safe_close(s->fd);
}

Lender *lender_free(Lender *l, Loop *loop) {
        if (!l)
                return NULL;
        for (unsigned i = 0; i < l->n; i++)
                close_socket(&l->sockets[i], loop);
        (void) safe_close(l->pidfd);
        free(l);
        return NULL;
}

int lender_pidfd(const Lender *l) {
        return l->pidfd;
}

void lender_end(Lender *l, Loop *loop) {
        l->ended = true;
        for (unsigned i = 0; i < ELEMENTSOF(l->idle); i++)
                for (; l->idle[i]; l->idle[i] = l->idle[i]->next)
                        close_socket(l->idle[i], loop);
        for (; l->leaving; l->leaving = l->leaving->next)
                close_socket(l->leaving, loop); /* what it has left is delivered all the same */
}

/* Has its peer acknowledged all, the end too? What has not is lost when the connection is dissolved, unless it is lost already. */
static bool is_delivered(int fd) {
        int n;

        return (ioctl(fd, SIOCOUTQ, &n) >= 0 && n == 0) || is_closed(fd);
}

/* A connection that has not ended is reset by this. The error it leaves behind is taken off. */
static int dissolve(int fd) {
        struct sockaddr sa = { .sa_family = AF_UNSPEC };
        int error;

        if (connect(fd, &sa, sizeof(sa)) < 0)
                return -errno;
        return sockopt_get_int(fd, SOL_SOCKET, SO_ERROR, &error);
}

static void make_idle(Lender *l, LentSocket *s, Loop *loop) {
        if (dissolve(s->fd) < 0) {
                close_socket(s, loop);
                return;
        }
        if (loop)
                loop_forget(loop, &s->io); /* the next may have it in this very turn, and is not to hear what became of this one */
        s->next = *idle_of(l, s->family);
        *idle_of(l, s->family) = s;
}

/* Those that have left by now are idle again. */
static void see_off(Lender *l, Loop *loop) {
        for (LentSocket **at = &l->leaving, *s; (s = *at);) {
                if (!is_delivered(s->fd)) {
                        at = &s->next;
                        continue;
                }
                *at = s->next;
                make_idle(l, s, loop);
        }
}

int lender_connect(Lender *l, const Endpoint *dst, Loop *loop, LentSocket **ret) {
        LentSocket **idle = idle_of(l, ip_family(&dst->addr)), *s;
        struct sockaddr_storage sa;
        socklen_t len;

        if (!*idle)
                see_off(l, loop);
        s = *idle;
        if (!s)
                return -EAGAIN;
        len = endpoint_to_sockaddr(dst, &sa);
        if (connect(s->fd, (struct sockaddr *) &sa, len) < 0 && errno != EINPROGRESS)
                return -errno; /* it is as unconnected as before */
        *idle = s->next;
        s->next = NULL;
        *ret = s;
        return 0;
}

void lender_give_back(Lender *l, LentSocket *s, bool reset, Loop *loop) {
        s->user = NULL;
        if (reset || is_delivered(s->fd))
                make_idle(l, s, loop);
        else {
                s->next = l->leaving;
                l->leaving = s;
        }
        if (l->ended)
                lender_end(l, loop);
}
