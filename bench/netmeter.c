/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * netmeter: the small measurements that iperf3 does not make. A server that echoes, and a client that counts: request/response latency,
 * connect/request/response latency and rate (one or many at a time), idle connections held. Prints one line of JSON. Knows nothing of
 * vnetd: whatever carries the packets is what is measured.
 *
 *     netmeter server PORT                         echoes until killed; TCP and UDP
 *     netmeter rr HOST PORT SECONDS                one byte there and back over one connection
 *     netmeter crr HOST PORT SECONDS [PARALLEL]    connect, one byte there and back, close
 *     netmeter hold HOST PORT COUNT                opens COUNT connections, says so, keeps them until stdin ends
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 64
#define SAMPLES_MAX 4000000

static uint64_t now_nsec(void) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

static _Noreturn void die(const char *what) {
        fprintf(stderr, "netmeter: %s: %s\n", what, strerror(errno));
        exit(1);
}

static void set_one(int fd, int level, int option) {
        int one = 1;
        if (setsockopt(fd, level, option, &one, sizeof(one)) < 0)
                die("setsockopt");
}

static void watch(int epoll_fd, int fd) {
        struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
                die("epoll_ctl");
}

static int serve(uint16_t port) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
        int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
        if (tcp < 0 || udp < 0 || ep < 0)
                die("socket");
        set_one(tcp, SOL_SOCKET, SO_REUSEADDR);
        if (bind(tcp, (struct sockaddr *) &sa, sizeof(sa)) < 0 || listen(tcp, 65535) < 0 || bind(udp, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                die("bind");
        watch(ep, tcp);
        watch(ep, udp);
        for (;;) {
                struct epoll_event events[EVENTS];
                int n = epoll_wait(ep, events, EVENTS, -1);
                for (int i = 0; i < n; i++) {
                        char buf[65536];
                        int fd = events[i].data.fd;
                        if (fd == tcp) {
                                int c;
                                while ((c = accept4(tcp, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                                        set_one(c, IPPROTO_TCP, TCP_NODELAY);
                                        watch(ep, c);
                                }
                                continue;
                        }
                        struct sockaddr_in from;
                        socklen_t len = sizeof(from);
                        ssize_t got = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *) &from, &len);
                        if (got > 0 && fd == udp)
                                (void) !sendto(fd, buf, (size_t) got, 0, (struct sockaddr *) &from, len);
                        else if (got > 0)
                                (void) !write(fd, buf, (size_t) got);
                        else if (got == 0 || errno != EAGAIN)
                                close(fd);
                }
        }
}

static int connect_to(const struct sockaddr_in *sa, int flags) {
        int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
        if (fd < 0)
                die("socket");
        set_one(fd, IPPROTO_TCP, TCP_NODELAY);
        if (connect(fd, (const struct sockaddr *) sa, sizeof(*sa)) < 0 && errno != EINPROGRESS)
                die("connect");
        return fd;
}

static int compare(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;
        return (x > y) - (x < y);
}

static int report(uint32_t *samples, size_t n, uint64_t nsec) {
        if (n == 0) {
                fprintf(stderr, "netmeter: nothing came back\n");
                return 1;
        }
        qsort(samples, n, sizeof(*samples), compare);
        printf("{\"count\": %zu, \"per_second\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n", n, (double) n * 1e9 / (double) nsec,
               samples[n / 2] / 1e3, samples[n * 99 / 100] / 1e3);
        return 0;
}

static bool exchange(int fd) {
        char byte = 'x';
        return write(fd, &byte, 1) == 1 && read(fd, &byte, 1) == 1;
}

static int request_response(const struct sockaddr_in *sa, unsigned seconds) {
        uint32_t *samples = calloc(SAMPLES_MAX, sizeof(*samples));
        size_t n = 0;
        int fd = connect_to(sa, 0);
        uint64_t begin = now_nsec(), end = begin + seconds * 1000000000ull, t = begin;
        while (t < end && n < SAMPLES_MAX) {
                if (!exchange(fd))
                        die("exchange");
                uint64_t after = now_nsec();
                samples[n++] = (uint32_t) (after - t);
                t = after;
        }
        close(fd);
        return report(samples, n, t - begin);
}

/* One at a time by blocking calls; several by epoll, each slot going through connect, exchange, close on its own. */
static int connect_rr(const struct sockaddr_in *sa, unsigned seconds, unsigned parallel) {
        uint32_t *samples = calloc(SAMPLES_MAX, sizeof(*samples));
        size_t n = 0;
        uint64_t begin = now_nsec(), end = begin + seconds * 1000000000ull, t = begin;
        if (parallel <= 1) {
                while (t < end && n < SAMPLES_MAX) {
                        int fd = connect_to(sa, 0);
                        if (!exchange(fd))
                                die("exchange");
                        close(fd);
                        uint64_t after = now_nsec();
                        samples[n++] = (uint32_t) (after - t);
                        t = after;
                }
                return report(samples, n, t - begin);
        }

        int ep = epoll_create1(0);
        struct slot {
                int fd;
                bool asked;
                uint64_t begun;
        } *slots = calloc(parallel, sizeof(*slots));
        for (unsigned i = 0; i < parallel; i++)
                slots[i].fd = -1;
        for (unsigned live = 0;; t = now_nsec()) {
                for (unsigned i = 0; t < end && i < parallel; i++)
                        if (slots[i].fd < 0) {
                                slots[i] = (struct slot){ connect_to(sa, SOCK_NONBLOCK), false, now_nsec() };
                                struct epoll_event e = { .events = EPOLLOUT, .data.u32 = i };
                                epoll_ctl(ep, EPOLL_CTL_ADD, slots[i].fd, &e);
                                live++;
                        }
                if (live == 0)
                        break;
                struct epoll_event events[EVENTS];
                int got = epoll_wait(ep, events, EVENTS, 5000);
                if (got <= 0)
                        die("a connection never finished");
                for (int k = 0; k < got; k++) {
                        struct slot *s = &slots[events[k].data.u32];
                        char byte = 'x';
                        if (!s->asked) {
                                if (write(s->fd, &byte, 1) != 1)
                                        die("write");
                                s->asked = true;
                                struct epoll_event e = { .events = EPOLLIN, .data.u32 = events[k].data.u32 };
                                epoll_ctl(ep, EPOLL_CTL_MOD, s->fd, &e);
                                continue;
                        }
                        if (read(s->fd, &byte, 1) != 1)
                                die("read");
                        close(s->fd);
                        s->fd = -1;
                        live--;
                        if (n < SAMPLES_MAX)
                                samples[n++] = (uint32_t) (now_nsec() - s->begun);
                }
        }
        return report(samples, n, t - begin);
}

static int hold(const struct sockaddr_in *sa, unsigned count) {
        uint64_t begin = now_nsec();
        for (unsigned i = 0; i < count; i++)
                if (!exchange(connect_to(sa, 0)))
                        die("exchange");
        printf("{\"held\": %u, \"opened_per_second\": %.1f}\n", count, count * 1e9 / (double) (now_nsec() - begin));
        fflush(stdout);
        while (getchar() != EOF)
                ;
        return 0;
}

int main(int argc, char *argv[]) {
        struct rlimit files;
        signal(SIGPIPE, SIG_IGN);
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &files);
        }
        if (argc == 3 && strcmp(argv[1], "server") == 0)
                return serve((uint16_t) atoi(argv[2]));
        if (argc < 5) {
                fprintf(stderr, "usage: netmeter server PORT | rr|crr HOST PORT SECONDS [PARALLEL] | hold HOST PORT COUNT\n");
                return 2;
        }
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(argv[3])) };
        if (inet_pton(AF_INET, argv[2], &sa.sin_addr) != 1) {
                fprintf(stderr, "netmeter: '%s' is no IPv4 address\n", argv[2]);
                return 2;
        }
        unsigned number = (unsigned) atoi(argv[4]);
        if (strcmp(argv[1], "rr") == 0)
                return request_response(&sa, number);
        if (strcmp(argv[1], "crr") == 0)
                return connect_rr(&sa, number, argc > 5 ? (unsigned) atoi(argv[5]) : 1);
        if (strcmp(argv[1], "hold") == 0)
                return hold(&sa, number);
        fprintf(stderr, "netmeter: unknown measurement '%s'\n", argv[1]);
        return 2;
}
