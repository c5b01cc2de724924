/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Opens a TAP and a netlink socket in a network namespace, and configures the link through that socket. The calling process
 * never changes its own namespaces: a child of one thread enters, opens, and passes the descriptors back.
 */

#include <net/if.h>

#include "basic/addr.h"
#include "basic/cleanup.h"
#include "device/tap-queue.h"

typedef struct TapOpen {
        int netns_fd;          /* (borrowed) -EBADF: the caller's own namespace */
        unsigned n_queues;     /* open that many queues of a TAP, at most TAP_QUEUES_MAX; 0: the netlink socket alone */
        short flags;           /* IFF_*, with queues */
        char ifname[IFNAMSIZ]; /* with queues: wanted name or pattern */
} TapOpen;

typedef struct TapOpened {
        int rtnl_fd;                /* (owned) NETLINK_ROUTE, bound, in the namespace */
        int tap_fds[TAP_QUEUES_MAX]; /* (owned) n_queues of them, then -EBADF */
        bool existed;               /* the interface was there before */
} TapOpened;

/* @netns: a path, or a pid in decimal. Returns a descriptor (owned by the caller) or -ENOENT, -EACCES, -EINVAL when it is no
 * network namespace. */
int netns_open(const char *netns);

/* 0 or negative errno with @ret_what (static text) naming the step. -EPERM, -EACCES, -EBUSY, -EINVAL, -ENOENT. */
int tap_open(const TapOpen *request, TapOpened *ret, const char **ret_what);

/* What to change on a link (zero: leave) and what was found after. */
typedef struct TapLink {
        MacAddr mac;
        uint32_t mtu;
        bool up;
        int ifindex;
} TapLink;

/* @rtnl_fd: consumed. @want: what to change; @ret: the link as it is then. -EPERM, -ENODEV, -EINVAL ... */
int tap_link_configure(int rtnl_fd, const char *ifname, const TapLink *want, TapLink *ret);
