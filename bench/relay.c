/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay: the least a gateway in user space can do. What connects to a port of a namespace's loopback goes on to the same port of this
 * namespace's, byte for byte: one epoll_wait(), one recv(), one send(), and no network on the guest's side at all. A limit to measure
 * against. It waits where a socket takes less than it got, so it is good for one busy connection at a time. Knows nothing of vnetd.
 *
 *     relay NAMESPACE PORT...
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 64
#define FDS_MAX 65536
#define BUFFER (256 * 1024)

static int peer_of[FDS_MAX];         /* 0: none */
static uint16_t listens_at[FDS_MAX]; /* port; 0: no listener */
static bool over[FDS_MAX];           /* it has sent all */

static void die(const char *what) {
        perror(what);
        exit(1);
}

static struct sockaddr_in at(uint16_t port) {
        return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void watch(int ep, int fd) {
        struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
        int one = 1;

        if (fd >= FDS_MAX || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
                die("epoll_ctl");
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void listen_in(const char *ns, int home, int ep, uint16_t port) {
        struct sockaddr_in sa = at(port);
        int there = open(ns, O_RDONLY | O_CLOEXEC), one = 1;

        if (there < 0 || setns(there, CLONE_NEWNET) < 0)
                die(ns);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 || bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 ||
            listen(fd, 4096) < 0)
                die("listen");
        if (setns(home, CLONE_NEWNET) < 0)
                die("setns");
        close(there);
        watch(ep, fd);
        listens_at[fd] = port;
}

static void admit(int ep, int listener) {
        struct sockaddr_in sa = at(listens_at[listener]);
        int a = accept4(listener, NULL, NULL, SOCK_CLOEXEC), b = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (a < 0 || b < 0)
                die("accept");
        if (connect(b, (struct sockaddr *) &sa, sizeof(sa)) < 0) {
                close(a);
                close(b);
                return;
        }
        watch(ep, a);
        watch(ep, b);
        peer_of[a] = b;
        peer_of[b] = a;
        over[a] = over[b] = false;
}

static void forget(int fd) {
        peer_of[fd] = 0;
        close(fd);
}

static void carry(int ep, int fd) {
        static char buf[BUFFER];
        int to = peer_of[fd];
        ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
                return;
        if (n <= 0) {
                over[fd] = true;
                (void) epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
                if (n < 0 || over[to]) {
                        forget(fd);
                        forget(to);
                } else
                        shutdown(to, SHUT_WR);
                return;
        }
        for (ssize_t sent = 0; sent < n;) {
                ssize_t k = send(to, buf + sent, (size_t) (n - sent), MSG_DONTWAIT | MSG_NOSIGNAL);
                struct pollfd p = { .fd = to, .events = POLLOUT };

                if (k > 0)
                        sent += k;
                else if (errno == EAGAIN)
                        (void) poll(&p, 1, -1);
                else
                        return; /* its own event follows */
        }
}

int main(int argc, char *argv[]) {
        struct rlimit files;
        int ep = epoll_create1(EPOLL_CLOEXEC), home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

        if (argc < 3) {
                fprintf(stderr, "usage: relay NAMESPACE PORT...\n");
                return 2;
        }
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &files);
        }
        for (int i = 2; i < argc; i++)
                listen_in(argv[1], home, ep, (uint16_t) atoi(argv[i]));
        for (;;) {
                struct epoll_event events[EVENTS];
                int n = epoll_wait(ep, events, EVENTS, -1);

                for (int i = 0; i < n; i++) {
                        int fd = events[i].data.fd;

                        if (listens_at[fd])
                                admit(ep, fd);
                        else if (peer_of[fd])
                                carry(ep, fd);
                }
        }
}
