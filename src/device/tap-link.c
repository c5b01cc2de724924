/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The link of a TAP: MAC, MTU and state, through libnl-route-3 over a netlink socket of the namespace it lives in. Touches no
 * addresses, no routes, and nothing of the link that was not asked for (the transmit queue's length stays).
 */

#include <linux/netlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>

#include "device/tap-open.h"

DEFINE_CLEANUP(struct nl_sock *, nl_socket_free);
DEFINE_CLEANUP(struct rtnl_link *, rtnl_link_put);
DEFINE_CLEANUP(struct nl_addr *, nl_addr_put);

static int errno_from_nl(int r) {
        switch (-r) {
        case NLE_PERM:
        case NLE_NOACCESS:
                return -EPERM;
        case NLE_NOMEM:
                return -ENOMEM;
        case NLE_OBJ_NOTFOUND:
        case NLE_NODEV:
                return -ENODEV;
        case NLE_EXIST:
                return -EEXIST;
        case NLE_BUSY:
                return -EBUSY;
        case NLE_INVAL:
        case NLE_RANGE:
        case NLE_NOADDR:
                return -EINVAL;
        default:
                return -EIO;
        }
}

static int link_change(struct nl_sock *sock, struct rtnl_link *link, const TapLink *want) {
        _cleanup_(rtnl_link_putp) struct rtnl_link *change = rtnl_link_alloc();

        if (!change)
                return -NLE_NOMEM;

        if (!mac_is_zero(&want->mac)) {
                _cleanup_(nl_addr_putp) struct nl_addr *mac = nl_addr_build(AF_LLC, want->mac.b, sizeof(want->mac.b));

                if (!mac)
                        return -NLE_NOMEM;
                rtnl_link_set_addr(change, mac); /* takes a reference of its own */
        }
        if (want->mtu > 0)
                rtnl_link_set_mtu(change, want->mtu);
        if (want->up)
                rtnl_link_set_flags(change, IFF_UP);

        return rtnl_link_change(sock, link, change, 0);
}

static void link_read(struct rtnl_link *link, TapLink *ret) {
        struct nl_addr *mac = rtnl_link_get_addr(link); /* (borrowed: from the link) */

        *ret = (TapLink){
                .mtu = rtnl_link_get_mtu(link),
                .up = rtnl_link_get_flags(link) & IFF_UP,
                .ifindex = rtnl_link_get_ifindex(link),
        };
        if (mac && nl_addr_get_len(mac) == sizeof(ret->mac.b))
                memcpy(ret->mac.b, nl_addr_get_binary_addr(mac), sizeof(ret->mac.b));
}

int tap_link_configure(int rtnl_fd, const char *ifname, const TapLink *want, TapLink *ret) {
        _cleanup_(nl_socket_freep) struct nl_sock *sock = NULL;
        _cleanup_close_ int fd = rtnl_fd;
        int r;

        sock = nl_socket_alloc();
        if (!sock)
                return -ENOMEM;
        r = nl_socket_set_fd(sock, NETLINK_ROUTE, fd);
        if (r < 0)
                return errno_from_nl(r);
        TAKE_FD(fd); /* the socket closes it from here on */

        _cleanup_(rtnl_link_putp) struct rtnl_link *link = NULL, *after = NULL;
        r = rtnl_link_get_kernel(sock, 0, ifname, &link);
        if (r < 0)
                return errno_from_nl(r);

        if (!mac_is_zero(&want->mac) || want->mtu > 0 || want->up) {
                r = link_change(sock, link, want);
                if (r < 0)
                        return errno_from_nl(r);
        }

        r = rtnl_link_get_kernel(sock, rtnl_link_get_ifindex(link), NULL, &after);
        if (r < 0)
                return errno_from_nl(r);
        link_read(after, ret);
        return 0;
}
