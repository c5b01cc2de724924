/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Options of sockets, most of which are an int. Keeps no state, logs nothing: whoever can do without the option says (void). */

#include <errno.h>
#include <sys/socket.h>

/* 0, or negative errno as of setsockopt(). */
static inline int sockopt_set(int fd, int level, int option, const void *value, socklen_t len) {
        return setsockopt(fd, level, option, value, len) < 0 ? -errno : 0;
}
static inline int sockopt_set_int(int fd, int level, int option, int value) {
        return sockopt_set(fd, level, option, &value, sizeof(value));
}
