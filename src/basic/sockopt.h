/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Options of sockets, most of which are an int. Keeps no state, logs nothing: whoever can do without the option says (void). */

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>

/* 0, or negative errno as of setsockopt(). */
static inline int sockopt_set(int fd, int level, int option, const void *value, socklen_t len) {
        return setsockopt(fd, level, option, value, len) < 0 ? -errno : 0;
}
static inline int sockopt_set_int(int fd, int level, int option, int value) {
        return sockopt_set(fd, level, option, &value, sizeof(value));
}

/* 0, or negative errno as of getsockopt(); then @ret_value is untouched. */
static inline int sockopt_get_int(int fd, int level, int option, int *ret_value) {
        socklen_t len = sizeof(int);
        int value = 0;

        if (getsockopt(fd, level, option, &value, &len) < 0)
                return -errno;
        *ret_value = value;
        return 0;
}

/* Does the socket itself say @wanted (SOL_SOCKET)? What does not answer does not. */
static inline bool sockopt_is(int fd, int option, int wanted) {
        int value = 0;

        return sockopt_get_int(fd, SOL_SOCKET, option, &value) >= 0 && value == wanted;
}
