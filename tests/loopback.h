/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Addresses and ports of one's own: copies of a test that run at once in one network namespace each take another N, and with it 127.N.0.0/16
 * and some ports of all addresses. Which are taken the names of abstract Unix sockets say, which belong to the same namespace, and go with a
 * process. Of all this loopback.py is the twin.
 */

#include <arpa/inet.h>
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Returns N. It is the caller's until @ret_fd (owned) is closed. */
static inline unsigned loopback_take(int *ret_fd) {
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(fd, >=, 0);
        for (unsigned n = 1; n < 255; n++) {
                struct sockaddr_un sa = { .sun_family = AF_UNIX };
                int len = snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "vnetd-test/127.%u", n);

                if (bind(fd, (struct sockaddr *) &sa, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + (size_t) len)) == 0) {
                        *ret_fd = fd;
                        return n;
                }
        }
        g_error("all of loopback is taken");
}

/* Does nothing on this machine have the port, of either protocol? */
static inline bool loopback_is_free(uint16_t port) {
        const struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
        bool is_free = true;

        for (unsigned i = 0; i < 2; i++) {
                int fd = socket(AF_INET, (i ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

                g_assert_cmpint(fd, >=, 0);
                is_free &= bind(fd, (const struct sockaddr *) &sa, sizeof(sa)) == 0;
                (void) close(fd);
        }
        return is_free;
}

/*
 * The first of @count free ports in a row, at most 32. They are this process's until it ends, open or not: below those the kernel chooses
 * from, and never given twice. The addresses at 127.N use ports beyond all of these.
 */
static inline uint16_t loopback_ports(unsigned count) {
        enum { FIRST = 10000, EACH = 32 };
        static unsigned next, end;

        for (unsigned n = 0; n < count;) {
                if (next + count - n > end) {
                        int fd; /* open until the process ends */

                        next = FIRST + EACH * loopback_take(&fd);
                        end = next + EACH;
                        n = 0;
                }
                n = loopback_is_free((uint16_t) next++) ? n + 1 : 0;
        }
        return (uint16_t) (next - count);
}
