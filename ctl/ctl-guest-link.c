/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's interface, by netlink: a TAP made and set up, and given what DHCP or router advertisements say. Speaks of the namespace the
 * caller is in, and of none of vnetd.
 *
 * A TAP belongs to two namespaces: the one its descriptor was opened in, which the descriptor keeps alive,
 * and the one the interface is in. They are made different on purpose: the TAP is opened in a namespace made
 * for that moment alone and moved to the guest's. So a guest's namespace goes when its last process goes,
 * although the daemon still holds the descriptor; the interface goes with it, the descriptor reads EBADFD,
 * and the daemon knows that the guest is gone.
 */

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "basic/parse.h"
#include "ctl-guest-link.h"
#include "ctl-ra.h"

#define LINK_GSO_IPV4_MAX_SIZE 63 /* IFLA_GSO_IPV4_MAX_SIZE, since Linux 6.3: Debian 12's headers lack it */
#define LOOPBACK_SEGMENT_MAX (256 * 1024)
#define ADDRESS6_WAIT_MSEC 5000   /* for the kernel to make an address of an advertisement that has come */
#define ADDRESS6_BESIDE_MSEC 1500 /* the same where there is IPv4 as well, from the lease on */
#define ADDRESS6_POLL_MSEC 10

DEFINE_CLEANUP(struct nl_sock *, nl_socket_free);
DEFINE_CLEANUP(struct rtnl_link *, rtnl_link_put);
DEFINE_CLEANUP(struct rtnl_addr *, rtnl_addr_put);
DEFINE_CLEANUP(struct rtnl_route *, rtnl_route_put);
DEFINE_CLEANUP(struct nl_addr *, nl_addr_put);

/* ---- the TAP ---- */

static int fail_nl(int r, const char *what) {
        return fail("Failed to %s: %s", what, nl_geterror(r));
}

static int nl_open(struct nl_sock **ret) {
        struct nl_sock *sock = nl_socket_alloc();
        int r;

        if (!sock)
                return fail_errno(ENOMEM, "Failed to talk to the kernel");
        r = nl_connect(sock, NETLINK_ROUTE);
        if (r < 0) {
                nl_socket_free(sock);
                return fail_nl(r, "talk to the kernel");
        }
        *ret = sock;
        return 0;
}

/* Zero or -EBADF: leave. */
typedef struct LinkChange {
        bool up;
        uint32_t mtu;
        int netns_fd;
} LinkChange;

static int change_link(struct nl_sock *sock, const char *ifname, const LinkChange *change,
                       const char *what) {
        _cleanup_(rtnl_link_putp) struct rtnl_link *from = NULL, *to = rtnl_link_alloc();
        int r;

        if (!to)
                return fail_errno(ENOMEM, "Failed to %s", what);
        if (change->up)
                rtnl_link_set_flags(to, IFF_UP);
        if (change->mtu > 0)
                rtnl_link_set_mtu(to, change->mtu);
        if (change->netns_fd >= 0)
                rtnl_link_set_ns_fd(to, change->netns_fd);
        r = rtnl_link_get_kernel(sock, 0, ifname, &from);
        if (r >= 0)
                r = rtnl_link_change(sock, from, to, 0);
        return r < 0 ? fail_nl(r, what) : 0;
}

static int choose_ifname(const char *wanted, char ret[static IFNAMSIZ]) {
        if (wanted) {
                if (!ifname_is_valid(wanted))
                        return fail_usage("Invalid interface name '%s'", wanted);
                if (if_nametoindex(wanted) > 0)
                        return fail("Failed to make interface '%s': the namespace has one of that name",
                                    wanted);
                (void) snprintf(ret, IFNAMSIZ, "%s", wanted);
                return 0;
        }
        for (unsigned i = 0; i < 1000; i++) {
                (void) snprintf(ret, IFNAMSIZ, "eth%u", i);
                if (if_nametoindex(ret) == 0)
                        return 0;
        }
        return fail("Failed to find a free interface name: eth0 to eth999 are taken");
}

void guest_fds_close(GuestFds *f) {
        while (f->n > 0)
                (void) safe_close(f->fds[--f->n]);
}

/* Opens @n queues of a TAP in the namespace the caller is in. What was opened is in @ret whatever comes of it. */
static int open_tap(const char *ifname, unsigned n, GuestFds *ret) {
        struct ifreq ifr = { .ifr_flags = (short) (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (n > 1 ? IFF_MULTI_QUEUE : 0)) };

        memcpy(ifr.ifr_name, ifname, IFNAMSIZ);
        for (; ret->n < n; ret->n++) {
                _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

                if (fd < 0)
                        return fail_errno(errno, "Failed to open /dev/net/tun");
                if (ioctl(fd, TUNSETIFF, &ifr) < 0)
                        return fail_errno(errno, "Failed to make the TAP interface '%s'", ifname);
                ret->fds[ret->n] = TAKE_FD(fd);
        }
        return 0;
}

/* Opens a TAP in a namespace of its own and moves it to @target_fd. */
static int make_and_move(int target_fd, const char *ifname, const GuestNetwork *network, GuestFds *ret) {
        _cleanup_(nl_socket_freep) struct nl_sock *sock = NULL;
        int r;

        if (unshare(CLONE_NEWNET) < 0)
                return fail_errno(errno, "Failed to make a network namespace");
        r = open_tap(ifname, network->queues, ret);
        if (r == 0)
                r = nl_open(&sock);
        if (r == 0)
                r = change_link(sock, ifname, &(LinkChange){ .mtu = network->mtu, .netns_fd = -EBADF },
                                "set the MTU of the TAP interface");
        if (r == 0)
                r = change_link(sock, ifname, &(LinkChange){ .netns_fd = target_fd },
                                "move the TAP interface to the namespace");
        return r;
}

static int read_link(struct nl_sock *sock, const char *ifname, GuestLink *ret) {
        _cleanup_(rtnl_link_putp) struct rtnl_link *link = NULL;
        int r = rtnl_link_get_kernel(sock, 0, ifname, &link);

        if (r < 0)
                return fail_nl(r, "find the TAP interface");
        *ret = (GuestLink){ .ifindex = rtnl_link_get_ifindex(link), .mtu = rtnl_link_get_mtu(link) };
        memcpy(ret->ifname, ifname, sizeof(ret->ifname));
        memcpy(ret->mac.b, nl_addr_get_binary_addr(rtnl_link_get_addr(link)), sizeof(ret->mac.b));
        return 0;
}

/* What the kernel does with router advertisements on the interface. A TAP's MAC address is nobody else's, and so are the addresses made
 * of it: nothing to wait for. Best effort: without IPv6, or with /proc/sys read-only, IPv4 works all the same. */
static void prepare_ip6(const char *ifname) {
        static const char *const settings[][2] = {
                { "accept_ra", "2" }, { "autoconf", "1" }, { "dad_transmits", "0" }, { "router_solicitation_delay", "0" },
        };

        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                _cleanup_close_ int fd = -EBADF;
                char path[96];

                (void) snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", ifname, settings[i][0]);
                fd = open(path, O_WRONLY | O_CLOEXEC);
                if (fd >= 0 && write(fd, settings[i][1], 1) < 0)
                        continue;
        }
}

int guest_link_make(const char *wanted, const GuestNetwork *network, bool configure, GuestLink *ret, GuestFds *ret_fds) {
        _cleanup_(nl_socket_freep) struct nl_sock *sock = NULL;
        _cleanup_(guest_fds_close) GuestFds tap = {};
        _cleanup_close_ int home_fd = -EBADF;
        char ifname[IFNAMSIZ] = "";
        int r;

        home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (home_fd < 0)
                return fail_errno(errno, "Failed to open /proc/self/ns/net");
        r = choose_ifname(wanted, ifname);
        if (r == 0)
                r = make_and_move(home_fd, ifname, network, &tap);
        if (r != 0)
                return r;
        if (setns(home_fd, CLONE_NEWNET) < 0)
                return fail_errno(errno, "Failed to return to the network namespace");
        if (configure)
                prepare_ip6(ifname);
        r = nl_open(&sock);
        if (r == 0)
                r = change_link(sock, "lo", &(LinkChange){ .up = true, .netns_fd = -EBADF },
                                "set interface lo up");
        if (r == 0)
                r = change_link(sock, ifname, &(LinkChange){ .up = true, .netns_fd = -EBADF },
                                "set the TAP interface up");
        if (r == 0)
                r = read_link(sock, ifname, ret);
        if (r == 0) {
                *ret_fds = tap;
                tap.n = 0;
        }
        return r;
}

void guest_link_widen_loopback(void) {
        _cleanup_(nl_socket_freep) struct nl_sock *sock = nl_socket_alloc();
        struct ifinfomsg lo = { .ifi_index = (int) if_nametoindex("lo") };
        struct nl_msg *m;

        if (!sock || nl_connect(sock, NETLINK_ROUTE) < 0)
                return;
        m = nlmsg_alloc_simple(RTM_NEWLINK, 0);
        if (!m)
                return;
        if (nlmsg_append(m, &lo, sizeof(lo), NLMSG_ALIGNTO) < 0 || nla_put_u32(m, LINK_GSO_IPV4_MAX_SIZE, LOOPBACK_SEGMENT_MAX) < 0)
                nlmsg_free(m);
        else
                (void) nl_send_sync(sock, m); /* which frees it */
}

/* ---- what DHCP gives ---- */

static struct nl_addr *nl_addr_from_ip(const IpAddr *a, int prefix_len) {
        uint32_t be = ip_v4(a);
        struct nl_addr *n = nl_addr_build(AF_INET, &be, sizeof(be));

        if (n)
                nl_addr_set_prefixlen(n, prefix_len);
        return n;
}

static int add_address(struct nl_sock *sock, int ifindex, const DhcpLease *lease) {
        _cleanup_(nl_addr_putp) struct nl_addr *local = nl_addr_from_ip(&lease->addr, lease->prefix_len),
                                               *broadcast = NULL;
        _cleanup_(rtnl_addr_putp) struct rtnl_addr *a = rtnl_addr_alloc();
        IpAddr last = prefix_broadcast(&(IpPrefix){ lease->addr, lease->prefix_len });
        int r;

        broadcast = nl_addr_from_ip(&last, 32);
        if (!local || !broadcast || !a)
                return fail_errno(ENOMEM, "Failed to set the address");
        rtnl_addr_set_ifindex(a, ifindex);
        r = rtnl_addr_set_local(a, local);
        if (r >= 0 && lease->prefix_len < 31)
                r = rtnl_addr_set_broadcast(a, broadcast);
        if (r >= 0)
                r = rtnl_addr_add(sock, a, 0);
        return r < 0 ? fail_nl(r, "set the address") : 0;
}

static int add_default_route(struct nl_sock *sock, int ifindex, const IpAddr *router) {
        _cleanup_(nl_addr_putp) struct nl_addr *gateway = nl_addr_from_ip(router, 32),
                                               *any = nl_addr_from_ip(&(IpAddr){}, 0);
        _cleanup_(rtnl_route_putp) struct rtnl_route *route = rtnl_route_alloc();
        struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
        int r;

        if (!gateway || !any || !route || !hop) {
                rtnl_route_nh_free(hop);
                return fail_errno(ENOMEM, "Failed to set the default route");
        }
        rtnl_route_nh_set_ifindex(hop, ifindex);
        rtnl_route_nh_set_gateway(hop, gateway);
        rtnl_route_add_nexthop(route, hop); /* the route's from here on */
        r = rtnl_route_set_family(route, AF_INET);
        if (r >= 0)
                r = rtnl_route_set_dst(route, any);
        if (r >= 0)
                r = rtnl_route_add(sock, route, 0);
        return r < 0 ? fail_nl(r, "set the default route") : 0;
}

static int lower_mtu(struct nl_sock *sock, GuestLink *link, uint32_t mtu) {
        int r;

        if (mtu < GUEST_MTU_MIN || mtu >= link->mtu)
                return 0;
        r = change_link(sock, link->ifname, &(LinkChange){ .mtu = mtu, .netns_fd = -EBADF }, "set the MTU");
        link->mtu = mtu;
        return r;
}

/* The interface's first address that is of use beyond its link; null when there is none yet. */
static int find_address6(struct nl_sock *sock, int ifindex, IpAddr *ret) {
        struct nl_cache *cache;
        int r = rtnl_addr_alloc_cache(sock, &cache);

        *ret = (IpAddr){};
        if (r < 0)
                return fail_nl(r, "list addresses");
        for (struct nl_object *o = nl_cache_get_first(cache); o && ip_is_null(ret); o = nl_cache_get_next(o)) {
                struct rtnl_addr *a = (struct rtnl_addr *) o;

                if (rtnl_addr_get_ifindex(a) == ifindex && rtnl_addr_get_family(a) == AF_INET6 && rtnl_addr_get_scope(a) == RT_SCOPE_UNIVERSE &&
                    !(rtnl_addr_get_flags(a) & (IFA_F_TENTATIVE | IFA_F_DADFAILED)))
                        memcpy(ret, nl_addr_get_binary_addr(rtnl_addr_get_local(a)), sizeof(*ret));
        }
        nl_cache_free(cache);
        return 0;
}

/* Null when there is none after @msec. */
static int wait_address6(struct nl_sock *sock, int ifindex, unsigned msec, IpAddr *ret) {
        for (unsigned waited = 0;; waited += ADDRESS6_POLL_MSEC) {
                int r = find_address6(sock, ifindex, ret);

                if (r != 0 || !ip_is_null(ret) || waited >= msec)
                        return r;
                (void) poll(NULL, 0, ADDRESS6_POLL_MSEC);
        }
}

static bool ip6_is_disabled(const char *ifname) {
        _cleanup_close_ int fd = -EBADF;
        char path[96], c;

        (void) snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", ifname);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 || read(fd, &c, 1) != 1 || c != '0';
}

static int configure_ip6(struct nl_sock *sock, GuestLink *link, DhcpLease *ret) {
        DhcpLease lease;
        int r;

        if (ip6_is_disabled(link->ifname))
                return fail("Failed to get an address for %s: IPv6 is disabled in the namespace, and the network has nothing else", link->ifname);
        r = ra_obtain(link->ifindex, &lease);
        if (r == -ETIMEDOUT)
                return fail("Failed to get an address for %s: no router advertisement came", link->ifname);
        if (r < 0)
                return fail_errno(r, "Failed to get an address for %s", link->ifname);
        r = lower_mtu(sock, link, lease.mtu);
        if (r == 0)
                r = wait_address6(sock, link->ifindex, ADDRESS6_WAIT_MSEC, &lease.addr);
        if (r == 0 && ip_is_null(&lease.addr))
                return fail("Failed to get an address for %s: the kernel made none of the router advertisement", link->ifname);
        if (r == 0)
                *ret = lease;
        return r;
}

static int configure_ip4(struct nl_sock *sock, GuestLink *link, DhcpLease *ret) {
        DhcpLease lease;
        int r;

        r = dhcp_obtain(link->ifindex, &link->mac, NULL, &lease);
        if (r == -ETIMEDOUT)
                return fail("Failed to get an address for %s: nobody answered by DHCP", link->ifname);
        if (r < 0)
                return fail_errno(r, "Failed to get an address for %s", link->ifname);
        r = lower_mtu(sock, link, lease.mtu);
        if (r == 0)
                r = add_address(sock, link->ifindex, &lease);
        if (r == 0 && !ip_is_null(&lease.router))
                r = add_default_route(sock, link->ifindex, &lease.router);
        if (r == 0)
                *ret = lease;
        return r;
}

int guest_link_configure(GuestLink *link, const GuestNetwork *network, DhcpLease *ret) {
        _cleanup_(nl_socket_freep) struct nl_sock *sock = NULL;
        IpAddr addr6;
        int r;

        r = nl_open(&sock);
        if (r != 0)
                return r;
        if (!network->has_ip4)
                return configure_ip6(sock, link, ret);
        r = configure_ip4(sock, link, ret);
        if (r == 0 && network->has_ip6 && !ip6_is_disabled(link->ifname))
                (void) wait_address6(sock, link->ifindex, ADDRESS6_BESIDE_MSEC, &addr6);
        return r;
}
