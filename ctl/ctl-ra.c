/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Router advertisements: reading them, and asking for one. */

#include <errno.h>
#include <netinet/icmp6.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include "basic/cleanup.h"
#include "basic/sockopt.h"
#include "ctl-ra.h"

#define RA_TRIES 8
#define RA_FIRST_WAIT_MSEC 300
#define RA_LAST_WAIT_MSEC 2000
#define RA_HOPS 255 /* RFC 4861 6.1.2: from this link alone */

#define ND_OPT_RDNSS 25
#define ND_OPT_DNSSL 31
#define DNS_OPT_HEAD 8 /* type, length, reserved, lifetime: of both of them */

/* ---- reading ---- */

static uint32_t read_u32(const uint8_t *p) {
        uint32_t be;

        memcpy(&be, p, sizeof(be));
        return ntohl(be);
}

static bool is_name_char(uint8_t c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Those that count: a lifetime of zero takes one back (RFC 8106 5.1). */
static void read_servers(const uint8_t *o, size_t len, DhcpLease *ret) {
        if (len < DNS_OPT_HEAD || read_u32(o + 4) == 0)
                return;
        for (size_t at = DNS_OPT_HEAD; len - at >= sizeof(IpAddr) && ret->n_dns < DHCP_DNS_MAX; at += sizeof(IpAddr))
                memcpy(&ret->dns[ret->n_dns++], o + at, sizeof(IpAddr));
}

/* The name at @at, its labels with dots between, appended to @text. Returns where it ends; 0 when it is bad, or empty: then the rest is
 * padding. */
static size_t read_name(const uint8_t *o, size_t len, size_t at, char text[static DHCP_SEARCH_TEXT_MAX], size_t *used) {
        size_t n = *used;

        for (uint8_t label; at < len; at += 1u + label) {
                label = o[at];
                if (label == 0) {
                        size_t end = n > *used ? at + 1 : 0;

                        *used = n;
                        return end;
                }
                if (label > 63 || len - at - 1 < label || n + label + 2 > DHCP_SEARCH_TEXT_MAX)
                        return 0;
                if (n > 0)
                        text[n] = n == *used ? ' ' : '.', n++;
                for (unsigned i = 0; i < label; i++)
                        if (!is_name_char(o[at + 1 + i]))
                                return 0;
                memcpy(text + n, o + at + 1, label);
                n += label;
        }
        return 0;
}

static void read_search(const uint8_t *o, size_t len, DhcpLease *ret) {
        size_t used = strlen(ret->search);

        if (len < DNS_OPT_HEAD || read_u32(o + 4) == 0)
                return;
        for (size_t at = DNS_OPT_HEAD; at < len;) {
                at = read_name(o, len, at, ret->search, &used);
                if (at == 0)
                        break;
        }
        ret->search[used] = '\0'; /* the names before a bad one count */
}

int ra_parse(const void *message, size_t len, DhcpLease *ret) {
        const uint8_t *p = message;
        DhcpLease lease = {};

        if (len < sizeof(struct nd_router_advert) || p[0] != ND_ROUTER_ADVERT || p[1] != 0)
                return -ENOMSG;
        for (size_t at = sizeof(struct nd_router_advert), n; at < len; at += n) {
                const uint8_t *o = p + at;

                if (len - at < 2 || o[1] == 0 || len - at < o[1] * 8u)
                        return -EBADMSG;
                n = o[1] * 8u;
                if (o[0] == ND_OPT_MTU)
                        lease.mtu = read_u32(o + 4);
                else if (o[0] == ND_OPT_RDNSS)
                        read_servers(o, n, &lease);
                else if (o[0] == ND_OPT_DNSSL)
                        read_search(o, n, &lease);
        }
        *ret = lease;
        return 0;
}

/* ---- talking ---- */

static int open_socket(int ifindex) {
        _cleanup_close_ int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);
        struct icmp6_filter filter;
        int r;

        ICMP6_FILTER_SETBLOCKALL(&filter);
        ICMP6_FILTER_SETPASS(ND_ROUTER_ADVERT, &filter);
        if (fd < 0 || setsockopt(fd, SOL_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter)) < 0)
                return -errno;
        r = sockopt_set_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX, ifindex);
        if (r >= 0)
                r = sockopt_set_int(fd, SOL_IPV6, IPV6_MULTICAST_HOPS, RA_HOPS);
        if (r >= 0)
                r = sockopt_set_int(fd, SOL_IPV6, IPV6_RECVHOPLIMIT, 1);
        return r < 0 ? r : TAKE_FD(fd);
}

/* There may be no address yet to ask from: advertisements come all the same, and the next try is soon. */
static int send_solicitation(int fd, int ifindex) {
        struct sockaddr_in6 to = { .sin6_family = AF_INET6,
                                   .sin6_addr = { .s6_addr = { 0xff, 0x02, [15] = 2 } }, /* all routers */
                                   .sin6_scope_id = (uint32_t) ifindex };
        struct nd_router_solicit m = { .nd_rs_type = ND_ROUTER_SOLICIT };

        if (sendto(fd, &m, sizeof(m), 0, (struct sockaddr *) &to, sizeof(to)) < 0 && errno != EADDRNOTAVAIL && errno != ENOBUFS &&
            errno != EAGAIN)
                return -errno;
        return 0;
}

static int hop_limit(struct msghdr *m) {
        int v = -1;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
                if (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_HOPLIMIT)
                        memcpy(&v, CMSG_DATA(c), sizeof(v));
        return v;
}

/* One message. -EAGAIN: none there; -ENOMSG: not one to believe. What came in before the socket was bound to its interface may be of
 * another one. */
static int receive(int fd, int ifindex, DhcpLease *ret) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(int))];
        } control = {};
        uint8_t buf[RA_MAX];
        struct sockaddr_in6 from;
        struct iovec iov = { buf, sizeof(buf) };
        struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1,
                            .msg_control = control.buf, .msg_controllen = sizeof(control.buf) };
        ssize_t n = recvmsg(fd, &m, 0);
        int r;

        if (n < 0)
                return errno == EINTR || errno == ENETDOWN ? -EAGAIN : -errno;
        if (hop_limit(&m) != RA_HOPS || !IN6_IS_ADDR_LINKLOCAL(&from.sin6_addr) || from.sin6_scope_id != (uint32_t) ifindex)
                return -ENOMSG;
        r = ra_parse(buf, (size_t) n, ret);
        if (r < 0)
                return -ENOMSG;
        memcpy(&ret->router, &from.sin6_addr, sizeof(ret->router));
        return 0;
}

static int64_t now_msec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int wait_advertisement(int fd, int ifindex, int msec, DhcpLease *ret) {
        int64_t end = now_msec() + msec;

        for (int64_t left = msec; left > 0; left = end - now_msec()) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                int r;

                if (poll(&p, 1, (int) left) < 0 && errno != EINTR)
                        return -errno;
                r = receive(fd, ifindex, ret);
                if (r != -EAGAIN && r != -ENOMSG)
                        return r;
        }
        return -ETIMEDOUT;
}

int ra_obtain(int ifindex, DhcpLease *ret) {
        _cleanup_close_ int fd = open_socket(ifindex);
        int wait = RA_FIRST_WAIT_MSEC, r = fd;

        if (fd < 0)
                return fd;
        for (unsigned tries = 0; tries < RA_TRIES; tries++, wait = MIN(2 * wait, RA_LAST_WAIT_MSEC)) {
                r = send_solicitation(fd, ifindex);
                if (r == 0)
                        r = wait_advertisement(fd, ifindex, wait, ret);
                if (r != -ETIMEDOUT)
                        return r;
        }
        return r;
}
