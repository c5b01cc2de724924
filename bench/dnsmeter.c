/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dnsmeter: queries for addresses over UDP as fast as they are answered, so many under way at a time; and a server that answers any.
 * Prints one line of JSON. Builds and reads only the few messages it needs; knows nothing of vnetd.
 *
 *     dnsmeter server ADDRESS PORT
 *     dnsmeter ask ADDRESS PORT SECONDS NAME WINDOW     % in NAME becomes a number that is never the
 *                                                     same; WINDOW is a power of two
 */

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEADER_LEN 12
#define MESSAGE_MAX 512
#define LOST_NSEC 500000000u
#define SAMPLES_MAX 4000000

struct slot {
        uint64_t sent;
        uint16_t id;
};

static uint64_t now_nsec(void) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

static _Noreturn void die(const char *what) {
        fprintf(stderr, "dnsmeter: %s: %s\n", what, strerror(errno));
        exit(1);
}

static void get_address(struct sockaddr_in *sa, const char *address, const char *port) {
        *sa = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(port)) };
        if (inet_pton(AF_INET, address, &sa->sin_addr) != 1) {
                fprintf(stderr, "dnsmeter: '%s' is no IPv4 address\n", address);
                exit(2);
        }
}

/* Where the one question of a query of @len bytes ends; 0 when it has none. */
static size_t question_end(const uint8_t *q, size_t len) {
        size_t at = HEADER_LEN;
        if (len < HEADER_LEN || q[4] != 0 || q[5] != 1)
                return 0;
        while (at < len && q[at] != 0)
                at += q[at] + 1u;
        return at + 5 <= len ? at + 5 : 0;
}

/* Each question's name has the address 192.0.2.1, for a minute. */
static int serve(const struct sockaddr_in *sa) {
        static const uint8_t answer[] = { 0xc0, HEADER_LEN, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1 };
        int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;
        if (fd < 0 || bind(fd, (const struct sockaddr *) sa, sizeof(*sa)) < 0)
                die("bind");
        (void) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        for (;;) {
                uint8_t m[MESSAGE_MAX + sizeof(answer)];
                struct sockaddr_in from;
                socklen_t from_len = sizeof(from);
                ssize_t n = recvfrom(fd, m, MESSAGE_MAX, 0, (struct sockaddr *) &from, &from_len);
                size_t end = n > 0 ? question_end(m, (size_t) n) : 0;
                if (end == 0)
                        continue;
                m[2] |= 0x80;
                m[3] = 0x80;
                m[7] = 1;
                memset(m + 8, 0, 4); /* no authority, no additional records */
                memcpy(m + end, answer, sizeof(answer));
                (void) !sendto(fd, m, end + sizeof(answer), 0, (struct sockaddr *) &from, from_len);
        }
}

static size_t put_query(uint8_t *m, uint16_t id, const char *name, unsigned number) {
        static const uint8_t fixed[HEADER_LEN - 2] = { 1, 0, 0, 1 };
        char text[256];
        const char *percent = strchr(name, '%');
        if (percent)
                (void) snprintf(text, sizeof(text), "%.*s%u%s", (int) (percent - name), name, number, percent + 1);
        else
                (void) snprintf(text, sizeof(text), "%s", name);
        m[0] = (uint8_t) (id >> 8);
        m[1] = (uint8_t) id;
        memcpy(m + 2, fixed, sizeof(fixed));
        uint8_t *at = m + HEADER_LEN;
        for (char *label = strtok(text, "."); label; label = strtok(NULL, ".")) {
                size_t len = strlen(label) & 63;
                *at++ = (uint8_t) len;
                memcpy(at, label, len);
                at += len;
        }
        memcpy(at, (uint8_t[]){ 0, 0, 1, 0, 1 }, 5);
        return (size_t) (at + 5 - m);
}

static int compare(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;
        return (x > y) - (x < y);
}

/* One query in its place; the identifier tells the place and the turn in it, so an answer that comes late is nobody's. */
static void put(int fd, struct slot *s, const char *name, unsigned number, unsigned window) {
        uint8_t m[MESSAGE_MAX];
        s->id = (uint16_t) (s->id + window);
        s->sent = now_nsec();
        (void) !send(fd, m, put_query(m, s->id, name, number), 0);
}

static int ask(const struct sockaddr_in *sa, unsigned seconds, const char *name, unsigned window) {
        struct slot *slots = calloc(window, sizeof(*slots));
        uint32_t *samples = calloc(SAMPLES_MAX, sizeof(*samples));
        unsigned asked = 0, lost = 0, refused = 0;
        size_t n = 0;
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (!slots || !samples || fd < 0 || connect(fd, (const struct sockaddr *) sa, sizeof(*sa)) < 0)
                die("connect");

        uint64_t begin = now_nsec(), end = begin + seconds * 1000000000ull, t = begin, checked = begin;
        for (; asked < window; asked++) {
                slots[asked].id = (uint16_t) asked;
                put(fd, &slots[asked], name, asked, window);
        }
        for (; t < end; t = now_nsec()) {
                for (unsigned i = 0; t - checked > LOST_NSEC / 10 && i < window; i++)
                        if (t - slots[i].sent > LOST_NSEC) {
                                lost++;
                                put(fd, &slots[i], name, asked++, window);
                        }
                if (t - checked > LOST_NSEC / 10)
                        checked = t;
                struct pollfd p = { fd, POLLIN, 0 };
                (void) poll(&p, 1, 50);
                uint8_t m[MESSAGE_MAX];
                while (recv(fd, m, sizeof(m), 0) >= HEADER_LEN) {
                        uint16_t id = (uint16_t) (m[0] << 8 | m[1]);
                        struct slot *s = &slots[id % window];
                        if (s->id != id)
                                continue;
                        if ((m[3] & 15) != 0 || (m[6] == 0 && m[7] == 0))
                                refused++;
                        else if (n < SAMPLES_MAX)
                                samples[n++] = (uint32_t) (now_nsec() - s->sent);
                        put(fd, s, name, asked++, window);
                }
        }
        qsort(samples, n, sizeof(*samples), compare);
        printf("{\"asked\": %u, \"answered\": %zu, \"refused\": %u, \"lost\": %u, \"per_second\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n", asked, n,
               refused, lost, (double) n * 1e9 / (double) (t - begin), n ? samples[n / 2] / 1e3 : 0, n ? samples[n * 99 / 100] / 1e3 : 0);
        return 0;
}

int main(int argc, char *argv[]) {
        struct sockaddr_in sa;
        if (argc >= 4)
                get_address(&sa, argv[2], argv[3]);
        if (argc == 4 && strcmp(argv[1], "server") == 0)
                return serve(&sa);
        unsigned window = argc == 7 ? (unsigned) atoi(argv[6]) : 0;
        if (window > 0 && (window & (window - 1)) == 0 && strcmp(argv[1], "ask") == 0)
                return ask(&sa, (unsigned) atoi(argv[4]), argv[5], window);
        fprintf(stderr, "usage: dnsmeter server ADDRESS PORT | ask ADDRESS PORT SECONDS NAME WINDOW\n");
        return 2;
}
