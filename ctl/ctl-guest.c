/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's side of `run` and `attach`.
 *
 * A TAP belongs to two namespaces: the one its descriptor was opened in, which the descriptor keeps alive,
 * and the one the interface is in. They are made different on purpose: the TAP is opened in a namespace made
 * for that moment alone and moved to the guest's. So a guest's namespace goes when its last process goes,
 * although the daemon still holds the descriptor; the interface goes with it, the descriptor reads EBADFD,
 * and the daemon knows that the guest is gone.
 */

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "basic/lend.h"
#include "basic/parse.h"
#include "ctl-client.h"
#include "ctl-guest.h"
#include "ctl-ra.h"

#define MTU_MIN 576
#define MTU_MAX 65520
#define ADDRESS6_WAIT_MSEC 5000   /* for the kernel to make an address of an advertisement that has come */
#define ADDRESS6_BESIDE_MSEC 1500 /* the same where there is IPv4 as well, from the lease on */
#define ADDRESS6_POLL_MSEC 10

DEFINE_CLEANUP(struct nl_sock *, nl_socket_free);
DEFINE_CLEANUP(struct rtnl_link *, rtnl_link_put);
DEFINE_CLEANUP(struct rtnl_addr *, rtnl_addr_put);
DEFINE_CLEANUP(struct rtnl_route *, rtnl_route_put);
DEFINE_CLEANUP(struct nl_addr *, nl_addr_put);

/* ---- namespaces ---- */

int guest_open_netns(const char *what, int *ret, int *ret_pidfd) {
        _cleanup_close_ int fd = -EBADF, pidfd = -EBADF;
        char path[64];
        pid_t pid;

        if (parse_pid(what, &pid) >= 0) {
                (void) snprintf(path, sizeof(path), "/proc/%d/ns/net", (int) pid);
                pidfd = (int) syscall(SYS_pidfd_open, pid, 0); /* first: should another be @pid by then, this one has ended */
        }
        fd = open(parse_pid(what, &pid) >= 0 ? path : what, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0) {
                int error = errno;

                (void) fail_errno(error, "Failed to open the network namespace of '%s'", what);
                return error == ENOENT || error == ESRCH || error == ENOTDIR ? CTL_NO_OBJECT : CTL_FAILED;
        }
        if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
                (void) fail("Failed to open the network namespace of '%s': it is something else", what);
                return CTL_NO_OBJECT;
        }
        *ret = TAKE_FD(fd);
        *ret_pidfd = TAKE_FD(pidfd);
        return 0;
}

static int write_file(const char *path, const char *text) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t) strlen(text))
                return fail_errno(errno, "Failed to write %s", path);
        return 0;
}

/* Maps one's own uid and gid to themselves: files look the same inside, and nobody else's can be touched. */
static int map_ids(uid_t uid, gid_t gid) {
        char text[64];
        int r;

        (void) snprintf(text, sizeof(text), "%u %u 1\n", uid, uid);
        r = write_file("/proc/self/uid_map", text);
        if (r != 0)
                return r;
        /* user_namespaces(7): before gid_map, without rights outside. */
        r = write_file("/proc/self/setgroups", "deny");
        if (r != 0)
                return r;
        (void) snprintf(text, sizeof(text), "%u %u 1\n", gid, gid);
        return write_file("/proc/self/gid_map", text);
}

int guest_unshare(void) {
        uid_t uid = geteuid();
        gid_t gid = getegid();
        int r = 0;

        if (uid != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0) {
                if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) < 0)
                        return fail_errno(errno, "Failed to make a user and network namespace");
                r = map_ids(uid, gid);
        }
        if (r == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                r = fail_errno(errno, "Failed to make mounts private");
        return r;
}

int guest_join(int netns_fd) {
        _cleanup_close_ int user_fd = -EBADF;

        if (setns(netns_fd, CLONE_NEWNET) == 0)
                return 0;
        if (errno != EPERM)
                return fail_errno(errno, "Failed to join the network namespace");
        user_fd = ioctl(netns_fd, NS_GET_USERNS);
        if (user_fd < 0 || setns(user_fd, CLONE_NEWUSER) < 0)
                return fail_errno(errno,
                                  "Failed to join the user namespace that owns the network namespace");
        if (setns(netns_fd, CLONE_NEWNET) < 0)
                return fail_errno(errno, "Failed to join the network namespace");
        return 0;
}

int guest_keep_capabilities(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];

        if (geteuid() == 0)
                return 0;
        if (syscall(SYS_capget, &header, data) < 0)
                return fail_errno(errno, "Failed to read capabilities");
        data[0].inheritable = data[0].permitted;
        data[1].inheritable = data[1].permitted;
        if (syscall(SYS_capset, &header, data) < 0)
                return fail_errno(errno, "Failed to set capabilities");
        for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
                if (data[cap / 32].permitted & (1u << cap % 32) &&
                    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
                        return fail_errno(errno, "Failed to keep capabilities");
        return 0;
}

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

int guest_make_tap(const char *wanted, const GuestNetwork *network, bool configure, GuestLink *ret, GuestFds *ret_fds) {
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

        if (mtu < MTU_MIN || mtu >= link->mtu)
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

int guest_configure(GuestLink *link, const GuestNetwork *network, DhcpLease *ret) {
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

/* ---- resolv.conf ---- */

static int write_resolv_conf(const char *path, const DhcpLease *lease) {
        _cleanup_fclose_ FILE *f = fopen(path, "we");

        if (!f)
                return fail_errno(errno, "Failed to write a resolv.conf");
        for (unsigned i = 0; i < lease->n_dns; i++)
                (void) fprintf(f, "nameserver %s\n", IP_TO_TEXT(&lease->dns[i]));
        if (*lease->search || *lease->domain)
                (void) fprintf(f, "search %s\n", *lease->search ? lease->search : lease->domain);
        return fflush(f) != 0 ? fail_errno(errno, "Failed to write a resolv.conf") : 0;
}

static int mount_tmpfs(const char *path) {
        return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64K,mode=755") < 0
                               ? -errno
                               : 0;
}

/* Services that resolve names for processes around them would answer from outside the namespace: hide their
 * sockets. */
static int hide_resolvers(const DhcpLease *lease) {
        static const char resolve[] = "/run/systemd/resolve";

        if (access("/run/nscd", F_OK) == 0)
                (void) mount_tmpfs("/run/nscd");
        if (access(resolve, F_OK) != 0 || mount_tmpfs(resolve) < 0)
                return 0;
        /* /etc/resolv.conf is often a link to one of these. */
        int r = write_resolv_conf("/run/systemd/resolve/resolv.conf", lease);

        return r != 0 ? r : write_resolv_conf("/run/systemd/resolve/stub-resolv.conf", lease);
}

/* The file to be bound over the system's lives on a tmpfs that is mounted for a moment on /tmp, where nobody
 * else sees it: nothing is left behind on any disk. */
int guest_set_resolv_conf(const DhcpLease *lease) {
        char real[PATH_MAX];
        int r;

        if (lease->n_dns == 0)
                return 0;
        r = hide_resolvers(lease);
        if (r != 0)
                return r;
        if (!realpath("/etc/resolv.conf", real)) {
                /* Nothing to bind over, and maybe nobody who wants it: addresses work all the same. */
                (void) fail_errno(errno,
                                  "There is no /etc/resolv.conf to replace, names will not be resolved");
                return 0;
        }
        if (strncmp(real, "/run/systemd/resolve/", 21) == 0)
                return 0; /* written just now */
        r = mount_tmpfs("/tmp");
        if (r < 0)
                return fail_errno(r, "Failed to mount a tmpfs");
        r = write_resolv_conf("/tmp/resolv.conf", lease);
        if (r == 0 && mount("/tmp/resolv.conf", real, NULL, MS_BIND, NULL) < 0)
                r = fail_errno(errno, "Failed to put a resolv.conf in place");
        if (umount2("/tmp", MNT_DETACH) < 0 && r == 0)
                r = fail_errno(errno, "Failed to unmount a tmpfs");
        return r;
}

/* ---- sockets to lend ---- */

static unsigned make_sockets(int family, unsigned n, int *ret) {
        unsigned made = 0;

        while (made < n && (ret[made] = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP)) >= 0)
                made++;
        return made;
}

static int send_sockets(int sock, const int *fds, unsigned n) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE((1 + LEND_SOCKETS_MAX) * sizeof(int))];
        } control = {};
        struct iovec iov = { (char[]){ LEND_BYTE }, 1 };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = CMSG_SPACE(n * sizeof(int)) };

        *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){ CMSG_LEN(n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, n * sizeof(int));
        return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

void guest_lend_sockets(int pidfd, const GuestNetwork *network, GuestFds *ret) {
        int fds[1 + LEND_SOCKETS_MAX] = { pidfd }, pair[2];
        unsigned n = 1;

        if (pidfd < 0)
                return;
        if (network->has_ip4)
                n += make_sockets(AF_INET, LEND_SOCKETS, fds + n);
        if (network->has_ip6)
                n += make_sockets(AF_INET6, network->has_ip4 ? LEND_SOCKETS_MORE : LEND_SOCKETS, fds + n);
        if (n > 1 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0) {
                if (send_sockets(pair[0], fds, n) == 0)
                        ret->fds[ret->n++] = pair[1];
                else
                        (void) close(pair[1]);
                (void) close(pair[0]);
        }
        while (--n > 0)
                (void) close(fds[n]);
}

/* ---- between parent and child ---- */

int report_send(int sock, const GuestReport *report, const GuestFds *fds) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(fds->fds))];
        } control = {};
        struct iovec iov = { (void *) report, sizeof(*report) };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (fds && fds->n > 0) {
                size_t len = fds->n * sizeof(*fds->fds);

                msg.msg_control = control.buf;
                msg.msg_controllen = CMSG_SPACE(len);
                *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){ CMSG_LEN(len), SOL_SOCKET, SCM_RIGHTS };
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds->fds, len);
        }
        return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int report_receive(int sock, GuestReport *ret, GuestFds *ret_fds) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(ret_fds->fds))];
        } control = {};
        struct iovec iov = { ret, sizeof(*ret) };
        struct msghdr msg = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.buf,
                              .msg_controllen = sizeof(control.buf) };
        struct cmsghdr *c;
        ssize_t n;

        do
                n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        c = CMSG_FIRSTHDR(&msg);
        if (ret_fds && c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                ret_fds->n = (unsigned) ((c->cmsg_len - CMSG_LEN(0)) / sizeof(*ret_fds->fds));
                memcpy(ret_fds->fds, CMSG_DATA(c), ret_fds->n * sizeof(*ret_fds->fds));
        }
        return n == sizeof(*ret) ? 0 : -EPIPE;
}

/* ---- the daemon's side of it ---- */

int guest_create_device(Ctl *c, const GuestLink *link, const GuestFds *tap, const GuestFds *lend, char **ret_path) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *path;
        int r;

        r = client_new_call(c, VNETD_ROOT, VNETD_MANAGER, "CreateDevice", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", opt_set(c, OPT_VHOST) ? "vhost-net" : "tap");
        if (r >= 0)
                r = options_open(m);
        if (r >= 0)
                r = option_fd(m, "Fd", tap->fds[0]);
        if (r >= 0)
                r = option_fds(m, "QueueFds", tap->fds + 1, tap->n - 1);
        if (r >= 0)
                r = option_u32(m, "Queues", tap->n);
        if (r >= 0 && opt_set(c, OPT_PARALLEL))
                r = option_bool(m, "Parallel", true);
        if (r >= 0)
                r = option_string(m, "Network", opt_value(c, OPT_NETWORK));
        if (r >= 0 && lend->n > 0 && tap->n + lend->n <= GUEST_FDS_MAX)
                r = option_fd(m, "Lend", lend->fds[0]);
        if (r >= 0)
                r = option_string(m, "Mac", MAC_TO_TEXT(&link->mac));
        if (r >= 0)
                r = option_u32(m, "Mtu", link->mtu);
        if (r >= 0)
                r = options_close(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        r = client_call(c, m, "plug the namespace in", &reply);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return fail_errno(r, "Failed to read the reply of vnetd");
        *ret_path = strdup(path);
        return *ret_path ? 0 : fail_errno(ENOMEM, "Failed to read the reply of vnetd");
}

int guest_network(Ctl *c, const char *network_path, GuestNetwork *ret) {
        _cleanup_(value_freep) Value *properties = NULL;
        const char *text = opt_value(c, OPT_MTU);
        uint32_t mtu, queues = 1;
        int r;

        if (text && parse_u32(text, MTU_MIN, MTU_MAX, &mtu) < 0)
                return fail_usage("Invalid value '%s' for --mtu: use %d to %d", text, MTU_MIN, MTU_MAX);
        if (opt_set(c, OPT_QUEUES) && parse_u32(opt_value(c, OPT_QUEUES), 1, GUEST_QUEUES_MAX, &queues) < 0)
                return fail_usage("Invalid value '%s' for --queues: use 1 to %d", opt_value(c, OPT_QUEUES), GUEST_QUEUES_MAX);
        r = client_get_properties(c, network_path, VNETD_NETWORK, "read the network's properties", &properties);
        if (r != 0)
                return r;
        if (!text)
                mtu = (uint32_t) value_get_number(properties, "Mtu");
        *ret = (GuestNetwork){
                .mtu = CLAMP(mtu, (uint32_t) MTU_MIN, (uint32_t) MTU_MAX),
                .has_ip4 = !streq(value_get_string(properties, "Subnet"), ""),
                .has_ip6 = !streq(value_get_string(properties, "Subnet6"), ""),
                .queues = queues,
        };
        return 0;
}
