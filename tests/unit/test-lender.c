/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lent sockets: what a hostile lender may try is refused in words, and a socket serves again however a connection has ended. */

#include <fcntl.h>
#include <glib.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "basic/lend.h"
#include "daemon/lender.h"

#define SENT_MAX 253 /* what the kernel lets one message carry */

static int own_pidfd(void) {
        int fd = (int) syscall(SYS_pidfd_open, getpid(), 0);

        g_assert_cmpint(fd, >=, 0);
        return fd;
}

static int tcp_socket(int family) {
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);

        g_assert_cmpint(fd, >=, 0);
        return fd;
}

/* Leaves a message in a new channel; closes @fds, which it carries. */
static int channel_with(const char *bytes, size_t len, int *fds, size_t n) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(SENT_MAX * sizeof(int))];
        } control = {};
        struct iovec iov = { (void *) bytes, len };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        int pair[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
        if (n > 0) {
                m.msg_control = control.buf;
                m.msg_controllen = CMSG_SPACE(n * sizeof(int));
                *CMSG_FIRSTHDR(&m) = (struct cmsghdr){ CMSG_LEN(n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, n * sizeof(int));
        }
        g_assert_cmpint(sendmsg(pair[0], &m, 0), ==, (ssize_t) len);
        for (size_t i = 0; i < n; i++)
                (void) close(fds[i]);
        (void) close(pair[0]);
        return pair[1];
}

static unsigned n_open(void) {
        unsigned n = 0;

        for (int i = 0; i < 1024; i++)
                n += fcntl(i, F_GETFD) >= 0;
        return n;
}

/* Nothing of what came with a refused message stays open. */
static void refuse(int channel, int error, const char *words) {
        unsigned before = n_open();
        const char *what = "";
        Lender *l;

        g_assert_cmpint(lender_receive(&l, channel, &what), ==, error);
        g_assert_cmpstr(what, ==, words);
        g_assert_cmpuint(n_open(), ==, before);
        (void) close(channel);
}

static void refuse_message(const char *bytes, size_t len, const char *words) {
        int fds[] = { own_pidfd(), tcp_socket(AF_INET) };

        refuse(channel_with(bytes, len, fds, G_N_ELEMENTS(fds)), -EINVAL, words);
}

/* One odd descriptor behind a good one. */
static void refuse_fd(int fd, const char *words) {
        int fds[] = { own_pidfd(), tcp_socket(AF_INET), fd };

        refuse(channel_with("L", 1, fds, G_N_ELEMENTS(fds)), -EINVAL, words);
}

static void test_messages(void) {
        int pair[2], fds[] = { tcp_socket(AF_INET), tcp_socket(AF_INET) };

        refuse_message("M", 1, "the message is another one");
        refuse_message("LL", 2, "the message is another one");
        refuse(channel_with("L", 1, NULL, 0), -EINVAL, "the message has no pidfd and no sockets");
        refuse(channel_with("L", 1, (int[]){ own_pidfd() }, 1), -EINVAL, "the message has no pidfd and no sockets");
        refuse(channel_with("L", 1, fds, 2), -EINVAL, "the first descriptor is no pidfd");
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
        refuse(pair[0], -EINVAL, "no message waits there");
        (void) close(pair[1]);
        refuse(open("/dev/null", O_RDWR | O_CLOEXEC), -EINVAL, "no message waits there");
}

static int tcp_bound(bool listening) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = tcp_socket(AF_INET);

        g_assert_cmpint(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), ==, 0);
        g_assert_cmpint(listening ? listen(fd, 1) : 0, ==, 0);
        return fd;
}

static Endpoint local_of(int fd) {
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        Endpoint e;

        g_assert_cmpint(getsockname(fd, (struct sockaddr *) &sa, &len), ==, 0);
        g_assert_cmpint(endpoint_from_sockaddr((struct sockaddr *) &sa, len, &e), ==, 0);
        return e;
}

static void test_sockets(void) {
        int listener = tcp_bound(true), connected = tcp_socket(AF_INET);
        Endpoint at = local_of(listener);
        struct sockaddr_storage sa;
        socklen_t len = endpoint_to_sockaddr(&at, &sa);

        g_assert_cmpint(connect(connected, (struct sockaddr *) &sa, len), ==, 0);
        refuse_fd(connected, "one of them is bound or connected");
        refuse_fd(listener, "one of them listens");
        refuse_fd(tcp_bound(false), "one of them is bound or connected");
        refuse_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "one of them is no TCP socket");
        refuse_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "one of them is no TCP socket");
        refuse_fd(open("/dev/null", O_RDWR | O_CLOEXEC), "one of them is no TCP socket");
        refuse_fd(memfd_create("x", MFD_CLOEXEC), "one of them is no TCP socket");
        refuse_fd(own_pidfd(), "one of them is no TCP socket");
}

static Lender *lend(int pidfd, int family, unsigned n) {
        int fds[1 + SENT_MAX] = { pidfd }, channel;
        const char *what;
        Lender *l;

        for (unsigned i = 1; i <= n; i++)
                fds[i] = tcp_socket(family);
        channel = channel_with("L", 1, fds, 1 + n);
        g_assert_cmpint(lender_receive(&l, channel, &what), ==, 0);
        (void) close(channel);
        return l;
}

static void test_limit(void) {
        int fds[2 + LEND_SOCKETS_MAX] = { own_pidfd() };

        (void) lender_free(lend(own_pidfd(), AF_INET, LEND_SOCKETS_MAX), NULL);
        for (unsigned i = 1; i < G_N_ELEMENTS(fds); i++)
                fds[i] = tcp_socket(AF_INET);
        refuse(channel_with("L", 1, fds, G_N_ELEMENTS(fds)), -EINVAL, "there are more sockets than can be lent, or than we may open");
}

static void test_ended_process(void) {
        pid_t pid = fork();
        int fds[2];

        if (pid == 0)
                _exit(0);
        fds[0] = (int) syscall(SYS_pidfd_open, pid, 0);
        fds[1] = tcp_socket(AF_INET);
        g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
        refuse(channel_with("L", 1, fds, 2), -ESRCH, "the process has ended");
}

/* One connection by a lent socket: from it to a listener and back, ended in one of the ways there are. */
typedef enum { WE_FIRST, THEY_FIRST, BOTH_WITH_BYTES_LEFT, WE_RESET, THEY_RESET, REFUSED, N_WAYS } Way;

static void reset_now(int fd) {
        struct linger l = { .l_onoff = 1 };

        g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), ==, 0);
        (void) close(fd);
}

static void say_and_hear(int a, int b) {
        char c = 0;

        g_assert_cmpint(send(a, "x", 1, MSG_NOSIGNAL), ==, 1);
        g_assert_cmpint(recv(b, &c, 1, 0), ==, 1);
        g_assert_cmpint(c, ==, 'x');
}

static void one_way(Lender *l, int listener, const Endpoint *at, const Endpoint *nobody, Way way) {
        LentSocket *s;
        char c;
        int fd;

        g_assert_cmpint(lender_connect(l, way == REFUSED ? nobody : at, NULL, &s), ==, 0);
        if (way == REFUSED) {
                lender_give_back(l, s, true, NULL);
                return;
        }
        fd = accept(listener, NULL, NULL);
        g_assert_cmpint(fd, >=, 0);
        say_and_hear(s->fd, fd);
        say_and_hear(fd, s->fd);
        if (way == WE_FIRST || way == BOTH_WITH_BYTES_LEFT) {
                g_assert_cmpint(shutdown(s->fd, SHUT_WR), ==, 0);
                g_assert_cmpint(recv(fd, &c, 1, 0), ==, 0);
        }
        if (way == BOTH_WITH_BYTES_LEFT)
                g_assert_cmpint(send(fd, "left", 4, MSG_NOSIGNAL), ==, 4);
        if (way == THEY_RESET)
                reset_now(fd);
        else if (way != WE_RESET)
                (void) close(fd);
        if (way == THEY_FIRST) {
                g_assert_cmpint(recv(s->fd, &c, 1, 0), ==, 0);
                g_assert_cmpint(shutdown(s->fd, SHUT_WR), ==, 0);
        }
        lender_give_back(l, s, way == WE_RESET || way == THEY_RESET, NULL);
        if (way == WE_RESET) {
                g_assert_cmpint(recv(fd, &c, 1, 0), ==, -1);
                g_assert_cmpint(errno, ==, ECONNRESET);
                (void) close(fd);
        }
}

/* All ways in turn, by one socket. */
static void test_again(void) {
        Lender *l = lend(own_pidfd(), AF_INET, 1);
        int listener = tcp_bound(true), closed = tcp_bound(false);
        Endpoint at = local_of(listener), nobody = local_of(closed);

        (void) close(closed);
        for (unsigned i = 0; i < 200; i++)
                one_way(l, listener, &at, &nobody, (Way) (i % N_WAYS));
        (void) lender_free(l, NULL);
        (void) close(listener);
}

/* Bytes for a peer that reads late arrive, and the socket is had again when they have. */
static void test_slow_peer(void) {
        Lender *l = lend(own_pidfd(), AF_INET, 1);
        int listener = tcp_bound(true), fd;
        Endpoint at = local_of(listener);
        size_t sent = 0, got = 0;
        static char buf[65536];
        LentSocket *s, *again;
        ssize_t n;

        g_assert_cmpint(lender_connect(l, &at, NULL, &s), ==, 0);
        fd = accept(listener, NULL, NULL);
        g_assert_cmpint(shutdown(fd, SHUT_WR), ==, 0);
        while ((n = send(s->fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
                sent += (size_t) n;
        g_assert_cmpint(shutdown(s->fd, SHUT_WR), ==, 0);
        lender_give_back(l, s, false, NULL);
        g_assert_cmpint(lender_connect(l, &at, NULL, &again), ==, -EAGAIN);
        while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
                got += (size_t) n;
        g_assert_cmpint(n, ==, 0);
        g_assert_cmpuint(got, ==, sent);
        for (int i = 0; i < 20000 && lender_connect(l, &at, NULL, &again) < 0; i++)
                g_usleep(1000);
        g_assert_true(again == s);
        (void) lender_free(l, NULL);
        (void) close(fd);
        (void) close(listener);
}

/* After the end nothing is lent, and what comes back is closed. */
static void test_end(void) {
        Lender *l = lend(own_pidfd(), AF_INET, 2);
        int listener = tcp_bound(true);
        Endpoint at = local_of(listener);
        unsigned before = n_open();
        LentSocket *s, *other;

        g_assert_cmpint(lender_connect(l, &at, NULL, &s), ==, 0);
        lender_end(l, NULL);
        g_assert_cmpuint(n_open(), ==, before - 1);
        g_assert_cmpint(lender_connect(l, &at, NULL, &other), ==, -EAGAIN);
        lender_give_back(l, s, true, NULL);
        g_assert_cmpuint(n_open(), ==, before - 2);
        (void) lender_free(l, NULL);
        (void) close(listener);
}

static void test_families(void) {
        Lender *l = lend(own_pidfd(), AF_INET, 1);
        Endpoint six;
        LentSocket *s;

        g_assert_cmpint(endpoint_parse("[::1]:80", &six), ==, 0);
        g_assert_cmpint(lender_connect(l, &six, NULL, &s), ==, -EAGAIN);
        (void) lender_free(l, NULL);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/lender/messages", test_messages);
        g_test_add_func("/lender/sockets", test_sockets);
        g_test_add_func("/lender/limit", test_limit);
        g_test_add_func("/lender/ended-process", test_ended_process);
        g_test_add_func("/lender/again", test_again);
        g_test_add_func("/lender/slow-peer", test_slow_peer);
        g_test_add_func("/lender/end", test_end);
        g_test_add_func("/lender/families", test_families);
        return g_test_run();
}
