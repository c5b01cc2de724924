/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Raw sockets for pings. The kernel's filters keep all from them but echo replies; whose these are is not known here. */

#include "daemon/host-raw.h"

#include <errno.h>
#include <net/if.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "basic/cleanup.h"

static void set_filter(int fd, bool v4, bool replies) {
        if (v4) {
                struct icmp_filter f = { .data = replies ? ~(1u << ICMP_ECHOREPLY) : UINT32_MAX };
                (void) setsockopt(fd, SOL_RAW, ICMP_FILTER, &f, sizeof(f));
        } else {
                struct icmp6_filter f;
                ICMP6_FILTER_SETBLOCKALL(&f);
                if (replies)
                        ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &f);
                (void) setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &f, sizeof(f));
        }
}

int host_raw_open(bool v4) {
        int proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, family = v4 ? AF_INET : AF_INET6;
        _cleanup_close_ int ping = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, proto);
        if (ping >= 0)
                return -EBADF;
        int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, proto);
        if (fd < 0)
                return -EBADF;
        set_filter(fd, v4, /* replies= */ false);
        return fd;
}

void host_raw_begin(int fd, bool v4) {
        set_filter(fd, v4, /* replies= */ true);
}
