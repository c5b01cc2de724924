/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds the link and joins. One interface, not all: an interface of the host may well be that of a guest, and the way back to where something
 * came from. Follows nothing: who changed the host's links opens anew.
 */

#include "daemon/host-group.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "basic/cleanup.h"
#include "basic/sockopt.h"
#include "daemon/host-links.h"

static unsigned index_of_address(const IpAddr *a) {
        struct ifaddrs *list;
        unsigned index = 0;

        if (getifaddrs(&list) < 0)
                return 0;
        for (const struct ifaddrs *i = list; i && index == 0; i = i->ifa_next) {
                Endpoint e;

                if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
                        continue;
                socklen_t len = i->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
                if (endpoint_from_sockaddr(i->ifa_addr, len, &e) == 0 && ip_equal(&e.addr, a) && (i->ifa_flags & IFF_MULTICAST))
                        index = if_nametoindex(i->ifa_name);
        }
        freeifaddrs(list);
        return index;
}

/* The interface that packets to @outside leave by; 0: none. */
static unsigned index_towards(const char *outside) {
        IpAddr source;

        return host_source_towards(outside, &source) ? index_of_address(&source) : 0;
}

static unsigned find_link(int family, const char *ifname) {
        static const char *const outside[] = { HOST_OUTSIDE4, HOST_OUTSIDE6 };
        unsigned index;

        if (ifname[0])
                return if_nametoindex(ifname);
        index = index_towards(outside[family == AF_INET6]);
        return index > 0 ? index : index_towards(outside[family != AF_INET6]);
}

static int speak_on(int fd, bool v4, unsigned index) {
        struct ip_mreqn out = { .imr_ifindex = (int) index };
        int r;

        r = v4 ? sockopt_set(fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof(out)) : sockopt_set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int) index);
        if (r >= 0)
                r = v4 ? sockopt_set_int(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0) : sockopt_set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0);
        return r;
}

static int join(int fd, const Endpoint *group, unsigned index) {
        bool v4 = ip_is_v4(&group->addr);
        struct ip_mreqn in4 = { .imr_ifindex = (int) index };
        struct ipv6_mreq in6 = { .ipv6mr_interface = index };
        struct sockaddr_storage sa;
        socklen_t len = endpoint_to_sockaddr(group, &sa);
        int r;

        if (v4)
                in4.imr_multiaddr.s_addr = ip_v4(&group->addr);
        else {
                memcpy(&in6.ipv6mr_multiaddr, &group->addr, sizeof(in6.ipv6mr_multiaddr));
                ((struct sockaddr_in6 *) &sa)->sin6_scope_id = index;
        }
        r = sockopt_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* responders of the host are in there as well */
        if (r >= 0)
                r = v4 ? sockopt_set_int(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0) : 0;
        if (r >= 0 && bind(fd, (struct sockaddr *) &sa, len) < 0)
                r = -errno;
        if (r >= 0)
                r = v4 ? sockopt_set(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &in4, sizeof(in4)) : sockopt_set(fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &in6, sizeof(in6));
        return r;
}

int host_group_open(int family, const Endpoint *group, const char *ifname) {
        unsigned index = find_link(family, ifname);
        int r;

        if (index == 0)
                return -ENODEV;
        _cleanup_close_ int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP);
        if (fd < 0)
                return -errno;
        r = speak_on(fd, family == AF_INET, index);
        if (r >= 0 && group)
                r = join(fd, group, index);
        return r < 0 ? r : TAKE_FD(fd);
}
