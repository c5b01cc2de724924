/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Following the host's links. What the kernel says by rtnetlink is taken as a sign that something has changed; a lost message then loses
 * nothing. What is asked after it settled is the kernel's own answer to the question that matters: would a packet to the outside find its
 * way, the rules and tables of a VPN included.
 */

#include <errno.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/addr.h"
#include "basic/cleanup.h"
#include "basic/log.h"
#include "daemon/host-links.h"

#define MESSAGES_MAX 256 /* read in one turn: the rest in the next */

struct HostLinksWatch {
        HostLinksFn fn;
        void *userdata;
        int fd; /* (owned) */
        sd_event_source *source, *timer; /* (owned) */
        bool lost; /* an address, since the last call */
        HostLinks current;
};

/* ---- looking ---- */

/* Connecting a datagram socket asks, and sends nothing. */
bool host_source_towards(const char *dst, IpAddr *ret) {
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_storage sa;
        Endpoint e = { .port = 9 };
        socklen_t len;

        (void) ip_parse(dst, &e.addr);
        len = endpoint_to_sockaddr(&e, &sa);
        fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &sa, len) < 0)
                return false;
        len = sizeof(sa);
        if (getsockname(fd, (struct sockaddr *) &sa, &len) < 0 || endpoint_from_sockaddr((struct sockaddr *) &sa, len, &e) < 0)
                return false;
        *ret = e.addr;
        return true;
}

/* Would a packet to @dst leave, from an address that an answer could come back to? */
static bool leads_out(const char *dst) {
        IpAddr source;

        return host_source_towards(dst, &source) && ip_classify(&source) == IP_CLASS_UNICAST;
}

/* Looks again and tells what is new. */
static void look(HostLinksWatch *w, bool always) {
        HostLinks now = { .ip4 = leads_out(HOST_OUTSIDE4), .ip6 = leads_out(HOST_OUTSIDE6), .addresses_lost = w->lost };
        bool changed = now.ip4 != w->current.ip4 || now.ip6 != w->current.ip6 || w->lost;

        w->lost = false;
        w->current = now;
        if (changed || always)
                w->fn(&w->current, w->userdata);
        w->current.addresses_lost = false;
}

/* ---- following ---- */

static int on_settled(sd_event_source *source, uint64_t usec, void *userdata) {
        look(userdata, /* always= */ false);
        return 0;
}

/* Is one of the messages about an address that has gone? */
static bool tells_of_loss(const uint8_t *buf, size_t len) {
        struct nlmsghdr h;

        for (; len >= sizeof(h); buf += NLMSG_ALIGN(h.nlmsg_len), len -= NLMSG_ALIGN(h.nlmsg_len)) {
                memcpy(&h, buf, sizeof(h));
                if (h.nlmsg_type == RTM_DELADDR)
                        return true;
                if (h.nlmsg_len < sizeof(h) || NLMSG_ALIGN(h.nlmsg_len) > len)
                        break;
        }
        return false;
}

static int on_netlink(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        HostLinksWatch *w = userdata;
        uint8_t buf[8192];
        int enabled = 0;

        for (unsigned i = 0; i < MESSAGES_MAX; i++) {
                ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

                if (n < 0 && errno != ENOBUFS)
                        break;
                w->lost = w->lost || n < 0 || tells_of_loss(buf, (size_t) n); /* what was lost may have told so */
        }
        (void) sd_event_source_get_enabled(w->timer, &enabled);
        if (enabled != SD_EVENT_OFF)
                return 0;
        (void) sd_event_source_set_time_relative(w->timer, HOST_LINKS_SETTLE_USEC);
        (void) sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
        return 0;
}

static int open_netlink(void) {
        static const unsigned groups[] = { RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
                                           RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE };
        struct sockaddr_nl sa = { .nl_family = AF_NETLINK };
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

        if (fd < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(groups); i++)
                sa.nl_groups |= UINT32_C(1) << (groups[i] - 1);
        if (bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int host_links_watch_new(HostLinksWatch **ret, sd_event *event, HostLinksFn fn, void *userdata) {
        _cleanup_(host_links_watch_freep) HostLinksWatch *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        *w = (HostLinksWatch){ .fn = fn, .userdata = userdata };
        w->fd = open_netlink(); /* first: what changes from here on is seen */
        if (w->fd < 0)
                return w->fd;
        r = sd_event_add_io(event, &w->source, w->fd, EPOLLIN, on_netlink, w);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, HOST_LINKS_SETTLE_USEC, USEC_PER_MSEC, on_settled, w);
        if (r >= 0)
                r = sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        look(w, /* always= */ true);
        *ret = TAKE_PTR(w);
        return 0;
}

HostLinksWatch *host_links_watch_free(HostLinksWatch *w) {
        if (!w)
                return NULL;
        sd_event_source_disable_unref(w->source);
        sd_event_source_disable_unref(w->timer);
        (void) safe_close(w->fd);
        free(w);
        return NULL;
}

const HostLinks *host_links_watch_current(const HostLinksWatch *w) {
        return &w->current;
}
