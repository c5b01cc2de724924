/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * udpmeter: datagrams one way at a given rate, and how many arrive. Control goes over a TCP connection beside them, so both ends agree
 * on what was sent. With "gso" the sender hands the kernel runs of datagrams (UDP_SEGMENT) and the receiver takes runs (UDP_GRO), as
 * QUIC programs do. Prints one line of JSON. Knows nothing of vnetd.
 *
 *     udpmeter server PORT
 *     udpmeter up|down HOST PORT SECONDS SIZE PACKETS_PER_SECOND [gso]     0 packets per second: as fast as it goes
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUN_BYTES_MAX 60000
#define BATCH 32
#define BUFFER (8 * 1024 * 1024)

typedef struct Plan {
        uint32_t up, seconds, size, rate, gso;
        uint32_t port; /* of the server's UDP socket, in its answer */
        uint64_t count;
} Plan;

static uint64_t now_nsec(void) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

static _Noreturn void die(const char *what) {
        fprintf(stderr, "udpmeter: %s: %s\n", what, strerror(errno));
        exit(1);
}

static void xread(int fd, void *p, size_t n) {
        if (recv(fd, p, n, MSG_WAITALL) != (ssize_t) n)
                die("control connection");
}
static void xwrite(int fd, const void *p, size_t n) {
        if (write(fd, p, n) != (ssize_t) n)
                die("control connection");
}

static int udp_socket(void) {
        int fd = socket(AF_INET, SOCK_DGRAM, 0), size = BUFFER;
        if (fd < 0)
                die("socket");
        (void) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        return fd;
}

/* Sends at the plan's rate to the connected peer; returns how many datagrams the kernel took. */
static uint64_t send_all(int fd, const Plan *p) {
        static char data[65536];
        unsigned per_call = p->gso ? RUN_BYTES_MAX / p->size : 1;
        if (per_call > 64)
                per_call = 64; /* UDP_MAX_SEGMENTS of older kernels */
        uint64_t sent = 0, begin = now_nsec(), end = begin + p->seconds * 1000000000ull, t;
        if (p->gso) {
                int size = (int) p->size;
                if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) < 0)
                        die("UDP_SEGMENT");
        }
        struct iovec iov = { data, (size_t) per_call * p->size };
        struct mmsghdr m[BATCH];
        for (unsigned i = 0; i < BATCH; i++)
                m[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } };
        while ((t = now_nsec()) < end) {
                unsigned n = p->gso ? 1 : BATCH;
                if (p->rate > 0) {
                        uint64_t due = (t - begin) * p->rate / 1000000000ull;
                        if (due <= sent) {
                                struct timespec nap = { 0, 50000 };
                                nanosleep(&nap, NULL);
                                continue;
                        }
                        uint64_t calls = (due - sent + per_call - 1) / per_call;
                        if (calls < n)
                                n = (unsigned) calls;
                }
                int r = sendmmsg(fd, m, n, 0);
                if (r > 0)
                        sent += (uint64_t) r * per_call;
                else if (errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED)
                        die("sendmmsg");
        }
        return sent;
}

/* Counts datagrams until @stop_fd becomes readable and nothing came for a fifth of a second. */
static uint64_t receive_all(int fd, int stop_fd, const Plan *p) {
        static char data[BATCH][65536];
        int one = 1;
        uint64_t got = 0;
        bool stopping = false;
        if (p->gso && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)) < 0)
                die("UDP_GRO");
        for (;;) {
                struct pollfd fds[2] = { { .fd = fd, .events = POLLIN }, { .fd = stopping ? -1 : stop_fd, .events = POLLIN } };
                int r = poll(fds, 2, stopping ? 200 : -1);
                if (r == 0)
                        return got;
                if (fds[1].revents)
                        stopping = true;
                if (!(fds[0].revents & POLLIN))
                        continue;
                struct mmsghdr m[BATCH];
                struct iovec iov[BATCH];
                for (unsigned i = 0; i < BATCH; i++) {
                        iov[i] = (struct iovec){ data[i], sizeof(data[i]) };
                        m[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov[i], .msg_iovlen = 1 } };
                }
                int n = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, NULL);
                for (int i = 0; i < n; i++)
                        got += (m[i].msg_len + p->size - 1) / p->size;
        }
}

static void serve_one(int control) {
        Plan p;
        struct sockaddr_in sa = { .sin_family = AF_INET };
        socklen_t len = sizeof(sa);
        xread(control, &p, sizeof(p));
        if (p.size == 0 || p.size > 65000 || p.seconds > 60)
                return;
        int fd = udp_socket();
        if (getsockname(control, (struct sockaddr *) &sa, &len) < 0)
                die("getsockname");
        sa.sin_port = 0; /* the address that was asked answers, whatever translates on the way */
        if (bind(fd, (struct sockaddr *) &sa, len) < 0 || getsockname(fd, (struct sockaddr *) &sa, &len) < 0)
                die("bind");
        p.port = ntohs(sa.sin_port);
        xwrite(control, &p, sizeof(p));
        char hello;
        if (p.up) {
                p.count = receive_all(fd, control, &p);
                xread(control, &hello, 1); /* closed with something unread, the connection would be reset, and the answer lost on some ways */
        } else {
                if (recvfrom(fd, &hello, 1, 0, (struct sockaddr *) &sa, &len) < 0 || connect(fd, (struct sockaddr *) &sa, len) < 0)
                        die("hello");
                p.count = send_all(fd, &p);
        }
        xwrite(control, &p, sizeof(p));
}

static int serve(uint16_t port) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 || listen(fd, 16) < 0)
                die("bind");
        signal(SIGCHLD, SIG_IGN);
        for (;;) {
                int control = accept(fd, NULL, NULL);
                if (control >= 0 && fork() == 0) {
                        serve_one(control);
                        _exit(0);
                }
                if (control >= 0)
                        close(control);
        }
}

static int measure(bool up, const char *host, uint16_t port, Plan p) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
        if (inet_pton(AF_INET, host, &sa.sin_addr) != 1) {
                fprintf(stderr, "udpmeter: '%s' is no IPv4 address\n", host);
                return 2;
        }
        int control = socket(AF_INET, SOCK_STREAM, 0), fd = udp_socket();
        if (connect(control, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                die("connect");
        p.up = up;
        xwrite(control, &p, sizeof(p));
        Plan answer;
        xread(control, &answer, sizeof(answer));
        sa.sin_port = htons((uint16_t) answer.port);
        if (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                die("connect");

        uint64_t sent, got;
        if (up) {
                sent = send_all(fd, &p);
                xwrite(control, &p, 1); /* anything: it is over */
                xread(control, &answer, sizeof(answer));
                got = answer.count;
        } else {
                xwrite(fd, &p, 1);
                got = receive_all(fd, control, &p);
                xread(control, &answer, sizeof(answer));
                sent = answer.count;
        }
        printf("{\"sent\": %llu, \"received\": %llu, \"sent_per_second\": %.1f, \"received_per_second\": %.1f, \"gbps\": %.4f, \"loss\": %.4f}\n",
               (unsigned long long) sent, (unsigned long long) got, (double) sent / p.seconds, (double) got / p.seconds,
               (double) got * p.size * 8 / p.seconds / 1e9, sent ? 1 - (double) got / (double) sent : 0);
        return 0;
}

int main(int argc, char *argv[]) {
        signal(SIGPIPE, SIG_IGN);
        if (argc == 3 && strcmp(argv[1], "server") == 0)
                return serve((uint16_t) atoi(argv[2]));
        bool up = argc >= 7 && strcmp(argv[1], "up") == 0;
        if (argc < 7 || (!up && strcmp(argv[1], "down") != 0)) {
                fprintf(stderr, "usage: udpmeter server PORT | up|down HOST PORT SECONDS SIZE PACKETS_PER_SECOND [gso]\n");
                return 2;
        }
        Plan p = {
                .seconds = (uint32_t) atoi(argv[4]),
                .size = (uint32_t) atoi(argv[5]),
                .rate = (uint32_t) atoi(argv[6]),
                .gso = argc > 7 && strcmp(argv[7], "gso") == 0,
        };
        if (p.seconds == 0 || p.size == 0 || p.size > 65000) {
                fprintf(stderr, "udpmeter: seconds and size must be positive, size at most 65000\n");
                return 2;
        }
        return measure(up, argv[2], (uint16_t) atoi(argv[3]), p);
}
