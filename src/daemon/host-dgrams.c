/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The part of HostOps that is datagrams: UDP, pings, groups of multicast, messages of Unix sockets. Many go in one system call, with
 * what belongs to each as control messages; errors come from the kernel's queue of them. What it never does: watch, close or decide.
 */

#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <time.h>
#include <linux/errqueue.h> /* after the one that has struct timespec */

#include "basic/log.h"
#include "daemon/host-group.h"
#include "daemon/host-raw.h"
#include "daemon/host-sockets-private.h"

#define DGRAM_BATCH_MAX 64
#define CONTROL_LEN 128
_Static_assert(CONTROL_LEN >= CMSG_SPACE(sizeof(uint16_t)) + 2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo)),
               "all that is said of a datagram has room");
#define TUNNEL_PORT_FIRST 32768 /* what has no address is told apart by its port, until that is taken */
#define TUNNEL_PORTS 28000
#define DGRAM_BUFFER (2 * 1024 * 1024) /* for a socket that brings bursts; the host's own limit may be less */

void host_sockets_prepare_dgram(int fd, int family, bool udp, bool which_local) {
        bool v4 = family == AF_INET;
        int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
        (void) sockopt_set_int(fd, level, v4 ? IP_RECVERR : IPV6_RECVERR, 1);
        (void) sockopt_set_int(fd, level, v4 ? IP_RECVTOS : IPV6_RECVTCLASS, 1);
        (void) sockopt_set_int(fd, level, v4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1);
        if (udp)
                (void) sockopt_set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
        if (which_local)
                (void) sockopt_set_int(fd, level, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, 1);
}

static int open_group(HostSockets *h, int family, const Endpoint *group, uint64_t cookie, int *ret_fd) {
        int fd = host_group_open(family, group, h->source.ifname);
        if (fd < 0) {
                if (!h->told_no_group)
                        (void) log_full(LOG_NOTICE, fd, "No link of the host to reflect multicast on for %s, will look again: %m", family == AF_INET ? "IPv4" : "IPv6");
                h->told_no_group = true;
                return fd;
        }
        host_sockets_prepare_dgram(fd, family, /* udp= */ false, /* which_local= */ false);
        return host_socket_adopt(h, fd, cookie, DGRAM_EVENTS, ret_fd);
}

int host_dgram_open(void *userdata, HostSocketType type, int family, const Endpoint *local, uint64_t cookie, int *ret_fd) {
        HostSockets *h = userdata;
        if (type == HOST_SOCKET_GROUP)
                return open_group(h, family, local, cookie, ret_fd);
        bool v4 = family == AF_INET;
        int proto = type == HOST_SOCKET_UDP ? IPPROTO_UDP : v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, r;
        bool is_raw = false;
        _cleanup_close_ int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, proto);
        if (fd < 0 && type == HOST_SOCKET_PING && h->raw_fds[!v4] >= 0) {
                fd = TAKE_FD(h->raw_fds[!v4]);
                host_raw_begin(fd, v4);
                is_raw = true;
                local = NULL; /* it has no port: the id is in what is sent */
        }
        if (fd < 0)
                return -errno;
        host_sockets_prepare_dgram(fd, family, type == HOST_SOCKET_UDP, /* which_local= */ false);
        if (local) {
                struct sockaddr_storage sa;
                socklen_t len = endpoint_to_sockaddr(local, &sa);
                if (bind(fd, (struct sockaddr *) &sa, len) < 0)
                        return -errno;
        }
        r = host_socket_adopt(userdata, TAKE_FD(fd), cookie, DGRAM_EVENTS, ret_fd);
        if (r >= 0)
                host_socket_find(h, *ret_fd)->has_header = is_raw && v4;
        return r;
}

static void add_control(struct msghdr *m, int level, int type, const void *value, size_t len) {
        struct cmsghdr *c = (struct cmsghdr *) ((uint8_t *) m->msg_control + m->msg_controllen);
        c->cmsg_level = level;
        c->cmsg_type = type;
        c->cmsg_len = CMSG_LEN(len);
        memcpy(CMSG_DATA(c), value, len);
        m->msg_controllen += CMSG_SPACE(len);
}

static void add_local(struct msghdr *m, bool v4, const IpAddr *local, int ifindex) {
        if (v4) {
                struct in_pktinfo info = { .ipi_ifindex = ifindex, .ipi_spec_dst.s_addr = ip_is_null(local) ? 0 : ip_v4(local) };
                add_control(m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
        } else {
                struct in6_pktinfo info = { .ipi6_ifindex = (unsigned) ifindex };
                memcpy(&info.ipi6_addr, local, sizeof(info.ipi6_addr));
                add_control(m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
        }
}

/* Interfaces come and go, with other numbers. One that is not there is -1: what asks for that is refused. */
static int source_index(HostSockets *h) {
        if (h->source.ifname[0] == 0)
                return 0;
        if (h->source_index == 0 || loop_now(h->loop) - h->source_index_at > USEC_PER_SEC) {
                h->source_index = (int) if_nametoindex(h->source.ifname) ?: -1;
                h->source_index_at = loop_now(h->loop);
        }
        return h->source_index;
}

/* @h: where it leaves from is for us to choose (nullable). */
static void add_controls(struct msghdr *m, void *control, const HostMsg *msg, HostSockets *h) {
        bool v4 = ip_is_v4(&msg->peer.addr);
        int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
        m->msg_control = control;
        m->msg_controllen = 0;
        if (msg->gso_size)
                add_control(m, IPPROTO_UDP, UDP_SEGMENT, &msg->gso_size, sizeof(msg->gso_size));
        if (msg->tos)
                add_control(m, level, v4 ? IP_TOS : IPV6_TCLASS, &(int){ msg->tos }, sizeof(int));
        if (msg->ttl)
                add_control(m, level, v4 ? IP_TTL : IPV6_HOPLIMIT, &(int){ msg->ttl }, sizeof(int));
        if (!ip_is_null(&msg->local))
                add_local(m, v4, &msg->local, 0);
        else if (h && host_leaves(h, &msg->peer.addr))
                add_local(m, v4, host_source_for(h, &msg->peer.addr), source_index(h));
        if (m->msg_controllen == 0)
                m->msg_control = NULL;
}

static unsigned before_a_run(const HostMsg *msgs, unsigned n) {
        unsigned i = 0;

        while (i < n && msgs[i].gso_size == 0)
                i++;
        return i;
}

int host_dgram_send(void *userdata, int fd, const HostMsg *msgs, unsigned n) {
        struct mmsghdr mm[DGRAM_BATCH_MAX];
        struct sockaddr_storage sa[DGRAM_BATCH_MAX];
        _Alignas(struct cmsghdr) uint8_t control[DGRAM_BATCH_MAX][CONTROL_LEN];

        HostSockets *h = userdata;
        const HostSocket *s = host_socket_find(h, fd);
        bool is_unix = s && s->is_unix;
        bool choose = h->has_source && s && host_cookie_kind(s->cookie) != HOST_KIND_LISTENER; /* a forward's answers leave from where it listens */

        n = MIN(n, (unsigned) DGRAM_BATCH_MAX);
        if (is_unix) { /* knows no runs: those in front of one go, and then it is refused */
                n = before_a_run(msgs, n);
                if (n == 0)
                        return -EINVAL;
        }
        for (unsigned i = 0; i < n; i++) {
                struct msghdr *m = &mm[i].msg_hdr;
                *m = (struct msghdr){ .msg_iov = msgs[i].iov, .msg_iovlen = msgs[i].n_iov };
                if (is_unix)
                        continue;
                m->msg_namelen = endpoint_to_sockaddr(&msgs[i].peer, &sa[i]);
                m->msg_name = &sa[i];
                add_controls(m, control[i], &msgs[i], choose ? h : NULL);
        }
        int r = n == 1 ? (sendmsg(fd, &mm[0].msg_hdr, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : 1)
                       : sendmmsg(fd, mm, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        return r < 0 ? -errno : r;
}

static void read_controls(struct msghdr *m, HostMsg *msg) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                int value = 0;
                if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                        struct in_pktinfo info;
                        memcpy(&info, CMSG_DATA(c), sizeof(info));
                        msg->local = ip_from_v4(info.ipi_spec_dst.s_addr); /* not ipi_addr: that may be a broadcast */
                        continue;
                }
                if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                        memcpy(&msg->local, CMSG_DATA(c) + offsetof(struct in6_pktinfo, ipi6_addr), sizeof(msg->local));
                        continue;
                }
                size_t len = c->cmsg_len - CMSG_LEN(0);
                if (len == 1) /* IP_TOS: whichever end of an int that is */
                        value = *CMSG_DATA(c);
                else
                        memcpy(&value, CMSG_DATA(c), MIN(len, sizeof(value)));
                if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
                        msg->gso_size = (uint16_t) value;
                else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) ||
                         (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS))
                        msg->tos = (uint8_t) value;
                else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
                         (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT))
                        msg->ttl = (uint8_t) value;
        }
}

/* The default holds some 300 small datagrams: 3 ms of a flood, and a busy machine may let us wait longer. Most sockets never need more. */
static void make_roomy(HostSocket *s) {
        if (!s || s->is_roomy || host_cookie_kind(s->cookie) == HOST_KIND_DNS) /* a question's, which waits for one answer */
                return;
        (void) sockopt_set_int(s->io.fd, SOL_SOCKET, SO_RCVBUF, DGRAM_BUFFER);
        s->is_roomy = true;
}

/* Takes the IP header off a message of a raw socket, which stands in one piece. */
static void strip_header(HostMsg *m) {
        uint8_t *p = m->iov[0].iov_base;
        size_t n = m->len > 0 ? (p[0] & 15) * 4u : 0;
        m->len -= MIN(n, m->len);
        memmove(p, p + n, m->len);
}

/* Of @n messages of a Unix socket those that count: up to the last that is not empty. One that is stands for the end, of which an event
 * tells, or is somebody's whim: before the last it is nobody's. All count where they are as many as were asked for (@max) and bytes stand behind
 * them: who gets fewer takes it that there are none. */
static int count_messages(int fd, const struct mmsghdr *mm, int n, unsigned max) {
        int all = n, behind = 0;

        while (n > 0 && mm[n - 1].msg_len == 0)
                n--;
        if (n < all && (unsigned) all == max && ioctl(fd, FIONREAD, &behind) >= 0 && behind > 0)
                return all;
        return n > 0 ? n : -EAGAIN;
}

static void take_message(const HostSocket *s, int fd, struct mmsghdr *mm, const struct sockaddr_storage *sa, HostMsg *ret) {
        ret->len = mm->msg_len;
        ret->gso_size = 0;
        ret->tos = ret->ttl = 0;
        ret->local = (IpAddr){};
        ret->truncated = mm->msg_hdr.msg_flags & MSG_TRUNC;
        read_controls(&mm->msg_hdr, ret);
        if (s && s->is_unix)
                ret->peer = (Endpoint){ .port = ret->len > 0 ? (uint16_t) (TUNNEL_PORT_FIRST + fd % TUNNEL_PORTS) : 0 };
        else if (endpoint_from_sockaddr((const struct sockaddr *) sa, mm->msg_hdr.msg_namelen, &ret->peer) < 0)
                ret->peer = (Endpoint){};
        if (unlikely(s && s->has_header))
                strip_header(ret);
}

int host_dgram_recv(void *userdata, int fd, HostMsg *msgs, unsigned n) {
        HostSocket *s = host_socket_find(userdata, fd);
        bool is_unix = s && s->is_unix; /* whose far end could send descriptors: without room for them they are not made ours */
        struct mmsghdr mm[DGRAM_BATCH_MAX];
        struct sockaddr_storage sa[DGRAM_BATCH_MAX];
        _Alignas(struct cmsghdr) uint8_t control[DGRAM_BATCH_MAX][CONTROL_LEN];

        n = MIN(n, (unsigned) DGRAM_BATCH_MAX);
        for (unsigned i = 0; i < n; i++)
                mm[i].msg_hdr = (struct msghdr){
                        .msg_name = &sa[i],
                        .msg_namelen = sizeof(sa[i]),
                        .msg_iov = msgs[i].iov,
                        .msg_iovlen = msgs[i].n_iov,
                        .msg_control = is_unix ? NULL : control[i],
                        .msg_controllen = is_unix ? 0 : CONTROL_LEN,
                };
        int r = recvmmsg(fd, mm, n, MSG_DONTWAIT, NULL);
        if (r < 0)
                return -errno;
        if ((unsigned) r == n)
                make_roomy(s);
        if (is_unix)
                r = count_messages(fd, mm, r, n);
        for (int i = 0; i < r; i++)
                take_message(s, fd, &mm[i], &sa[i], &msgs[i]);
        return r;
}

static void read_error(struct msghdr *m, HostError *ret) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
                    !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
                        continue;
                const struct sock_extended_err *e = (const struct sock_extended_err *) CMSG_DATA(c);
                const struct sockaddr *offender = SO_EE_OFFENDER(e);
                Endpoint who;
                ret->error = (int) e->ee_errno;
                if (e->ee_origin == SO_EE_ORIGIN_ICMP || e->ee_origin == SO_EE_ORIGIN_ICMP6) {
                        ret->icmp_type = e->ee_type;
                        ret->icmp_code = e->ee_code;
                        socklen_t len = offender->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
                        if (endpoint_from_sockaddr(offender, len, &who) == 0)
                                ret->offender = who.addr;
                }
                if (e->ee_errno == EMSGSIZE)
                        ret->mtu = e->ee_info;
        }
}

int host_dgram_error(void *userdata, int fd, HostError *ret) {
        struct sockaddr_storage sa;
        _Alignas(struct cmsghdr) uint8_t control[512];
        *ret = (HostError){};
        struct iovec iov = { ret->payload, sizeof(ret->payload) };
        struct msghdr m = {
                .msg_name = &sa,
                .msg_namelen = sizeof(sa),
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control,
                .msg_controllen = sizeof(control),
        };
        ssize_t n = recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
        if (n < 0)
                return -errno;
        ret->payload_len = (size_t) n;
        if (endpoint_from_sockaddr((struct sockaddr *) &sa, m.msg_namelen, &ret->peer) < 0)
                ret->peer = (Endpoint){};
        read_error(&m, ret);
        return 0;
}
