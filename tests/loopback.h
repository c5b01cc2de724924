/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Addresses of one's own: copies of a test that run at once in one network namespace each take another 127.N.0.0/16, so that the ports in
 * there are theirs alone. Which are taken the names of abstract Unix sockets say, which belong to the same namespace, and go with a process.
 */

#include <glib.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

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
