/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TUN and TAP by their ioctls. One thread is started and ended within vnet_tap_open(), so that entering a namespace changes nothing for
 * the caller. Source: Documentation/networking/tuntap.rst, drivers/net/tun.c.
 */

#include "libvnet/vnet-tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/macro.h"

#define QUEUES_MAX 256u
#define PIECES_MAX 64u
#define TUN_SNDBUF (1 << 20)

struct VnetTap {
        char name[IFNAMSIZ];
        VnetLink link;
        short flags;
        unsigned header_len, offloads, n_queues;
        int ifindex, netns_fd; /* netns_fd: (owned, -EBADF: none) for further queues */
        int fds[QUEUES_MAX];   /* (owned) */
};

/* What runs in the namespace. */
typedef struct Visit {
        VnetTap *t;
        const VnetTapConfig *config; /* NULL: a further queue */
        const char *what;
        int r;
} Visit;

static int open_queue(VnetTap *t, short flags, const char **ret_what) {
        _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        struct ifreq ifr = { .ifr_flags = flags };

        *ret_what = "opening /dev/net/tun";
        if (fd < 0)
                return -errno;
        memcpy(ifr.ifr_name, t->name, sizeof(ifr.ifr_name));
        *ret_what = "TUNSETIFF";
        if (ioctl(fd, TUNSETIFF, &ifr) < 0)
                return -errno;
        memcpy(t->name, ifr.ifr_name, sizeof(t->name));
        t->fds[t->n_queues] = TAKE_FD(fd);
        return (int) t->n_queues++;
}

/* All that is wanted and the kernel has; set in any case, as an interface that was there may have others. */
static int set_offloads(VnetTap *t, unsigned wanted) {
        const unsigned tries[] = { wanted, wanted & ~(unsigned) VNET_TAP_USO, wanted & VNET_TAP_CSUM, 0 };

        for (unsigned i = 0; i < ELEMENTSOF(tries); i++) {
                if (ioctl(t->fds[0], TUNSETOFFLOAD, (unsigned long) tries[i]) == 0) {
                        t->offloads = tries[i];
                        return 0;
                }
                if (errno != EINVAL)
                        return -errno;
        }
        return -EINVAL;
}

static int set_format(VnetTap *t, const VnetTapConfig *c, const char **ret_what) {
        int len = (int) t->header_len, little = 1, sndbuf = c->sndbuf;
        int r;

        *ret_what = "TUNSETVNETHDRSZ, TUNSETVNETLE";
        if (len && (ioctl(t->fds[0], TUNSETVNETHDRSZ, &len) < 0 || ioctl(t->fds[0], TUNSETVNETLE, &little) < 0))
                return -errno;
        *ret_what = "TUNSETOFFLOAD";
        r = set_offloads(t, len ? c->offloads : 0);
        if (r < 0)
                return r;
        if (!sndbuf && t->link == VNET_LINK_IP)
                sndbuf = TUN_SNDBUF;
        *ret_what = "TUNSETSNDBUF";
        if (sndbuf && ioctl(t->fds[0], TUNSETSNDBUF, &sndbuf) < 0)
                return -errno;
        *ret_what = "TUNSETOWNER";
        if (c->has_owner && ioctl(t->fds[0], TUNSETOWNER, (unsigned long) c->owner) < 0)
                return -errno;
        return 0;
}

static int set_link(VnetTap *t, const VnetTapConfig *c, const char **ret_what) {
        _cleanup_close_ int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq ifr = {};

        *ret_what = "configuring the interface";
        if (s < 0)
                return -errno;
        memcpy(ifr.ifr_name, t->name, sizeof(ifr.ifr_name));
        if (ioctl(s, SIOCGIFINDEX, &ifr) < 0)
                return -errno;
        t->ifindex = ifr.ifr_ifindex;
        ifr.ifr_mtu = (int) c->mtu;
        if (c->mtu && ioctl(s, SIOCSIFMTU, &ifr) < 0)
                return -errno;
        if (c->up) {
                if (ioctl(s, SIOCGIFFLAGS, &ifr) < 0)
                        return -errno;
                ifr.ifr_flags |= IFF_UP;
                if (ioctl(s, SIOCSIFFLAGS, &ifr) < 0)
                        return -errno;
        }
        return 0;
}

static int make_interface(VnetTap *t, const VnetTapConfig *c, const char **ret_what) {
        int r;

        r = open_queue(t, (short) (t->flags | (c->exclusive ? IFF_TUN_EXCL : 0)), ret_what);
        if (r >= 0)
                r = set_format(t, c, ret_what);
        if (r >= 0)
                r = set_link(t, c, ret_what);
        if (r < 0)
                return r;
        *ret_what = "TUNSETPERSIST";
        return c->persistent && ioctl(t->fds[0], TUNSETPERSIST, 1UL) < 0 ? -errno : 0;
}

static void *visit(void *arg) {
        Visit *v = arg;

        v->what = "entering the network namespace";
        if (v->t->netns_fd >= 0 && setns(v->t->netns_fd, CLONE_NEWNET) < 0)
                v->r = -errno;
        else if (v->config)
                v->r = make_interface(v->t, v->config, &v->what);
        else
                v->r = open_queue(v->t, v->t->flags, &v->what);
        return NULL;
}

static int run_visit(Visit *v) {
        pthread_t thread;
        int r;

        if (v->t->netns_fd < 0) {
                visit(v);
                return v->r;
        }
        v->what = "starting a thread";
        r = pthread_create(&thread, NULL, visit, v);
        if (r != 0)
                return -r;
        (void) pthread_join(thread, NULL);
        return v->r;
}

static bool config_ok(const VnetTapConfig *c) {
        if (c->link >= _VNET_LINK_MAX || (c->name && (strlen(c->name) == 0 || strlen(c->name) >= VNET_TAP_NAME_LEN)))
                return false;
        if (c->header_len && !vnet_hdr_len_valid(c->header_len))
                return false;
        return (c->offloads & ~(unsigned) _VNET_TAP_OFFLOAD_ALL) == 0 && c->sndbuf >= 0 && c->mtu <= INT32_MAX;
}

int vnet_tap_open(VnetTap **ret, const VnetTapConfig *config, const char **ret_what) {
        Visit v = { .config = config, .what = "bad configuration" };
        int r = -EINVAL;

        if (config_ok(config)) {
                v.what = "memory";
                v.t = calloc(1, sizeof(*v.t));
                r = v.t ? 0 : -ENOMEM;
        }
        if (r >= 0) {
                v.t->netns_fd = -EBADF;
                v.t->link = config->link;
                v.t->header_len = config->header_len;
                v.t->flags = (short) ((config->link == VNET_LINK_IP ? IFF_TUN : IFF_TAP) | IFF_NO_PI |
                                      (config->header_len ? IFF_VNET_HDR : 0) | (config->multi_queue ? IFF_MULTI_QUEUE : 0));
                (void) snprintf(v.t->name, sizeof(v.t->name), "%s", config->name ?: config->link == VNET_LINK_IP ? "tun%d" : "tap%d");
                if (config->netns_fd >= 0) {
                        v.what = "the namespace's descriptor";
                        v.t->netns_fd = fcntl(config->netns_fd, F_DUPFD_CLOEXEC, 3);
                        r = v.t->netns_fd < 0 ? -errno : 0;
                }
        }
        if (r >= 0)
                r = run_visit(&v);
        if (r < 0) {
                if (ret_what)
                        *ret_what = v.what;
                (void) vnet_tap_close(v.t);
                return r;
        }
        *ret = v.t;
        return 0;
}

VnetTap *vnet_tap_close(VnetTap *t) {
        if (!t)
                return NULL;
        for (unsigned i = 0; i < t->n_queues; i++)
                (void) safe_close(t->fds[i]);
        (void) safe_close(t->netns_fd);
        free(t);
        return NULL;
}

int vnet_tap_add_queue(VnetTap *t) {
        Visit v = { .t = t };

        if (!(t->flags & IFF_MULTI_QUEUE))
                return -EINVAL;
        if (t->n_queues == QUEUES_MAX)
                return -E2BIG;
        return run_visit(&v);
}

int vnet_tap_fd(const VnetTap *t, unsigned queue) {
        return queue < t->n_queues ? t->fds[queue] : -1;
}

unsigned vnet_tap_queues(const VnetTap *t) {
        return t->n_queues;
}

const char *vnet_tap_name(const VnetTap *t) {
        return t->name;
}

int vnet_tap_ifindex(const VnetTap *t) {
        return t->ifindex;
}

unsigned vnet_tap_offloads(const VnetTap *t) {
        return t->offloads;
}

unsigned vnet_tap_header_len(const VnetTap *t) {
        return t->header_len;
}

int vnet_tap_get_mac(const VnetTap *t, uint8_t ret[6]) {
        struct ifreq ifr = {};

        if (t->link != VNET_LINK_ETHERNET)
                return -EOPNOTSUPP;
        if (ioctl(t->fds[0], SIOCGIFHWADDR, &ifr) < 0) /* on the descriptor: right in any namespace */
                return -errno;
        memcpy(ret, ifr.ifr_hwaddr.sa_data, 6);
        return 0;
}

int vnet_tap_write(VnetTap *t, unsigned queue, const VnetHdr *hdr, const struct iovec *iov, unsigned n_iov) {
        struct iovec all[PIECES_MAX + 1];
        uint8_t header[VNET_HDR_LEN_MAX];
        unsigned n_header = t->header_len ? 1 : 0;
        ssize_t n;

        if (queue >= t->n_queues || n_iov < 1 || n_iov > PIECES_MAX)
                return -EINVAL;
        if (t->header_len)
                (void) vnet_hdr_encode(hdr ? hdr : &(VnetHdr) {}, t->header_len, header, sizeof(header));
        all[0] = (struct iovec) { header, t->header_len };
        memcpy(all + n_header, iov, n_iov * sizeof(iov[0]));
        do
                n = writev(t->fds[queue], all, (int) (n_iov + n_header));
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

ssize_t vnet_tap_read(VnetTap *t, unsigned queue, VnetHdr *ret_hdr, void *buf, size_t buf_len, int timeout_msec) {
        uint8_t header[VNET_HDR_LEN_MAX] = {};
        struct iovec iov[2] = { { header, t->header_len }, { buf, buf_len } };
        ssize_t n;

        if (queue >= t->n_queues)
                return -EINVAL;
        for (;;) {
                struct pollfd p = { .fd = t->fds[queue], .events = POLLIN };
                int r;

                n = readv(p.fd, iov, 2);
                if (n >= 0)
                        break;
                if (errno == EBADFD)
                        return -ENODEV;
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
                r = poll(&p, 1, timeout_msec);
                if (r == 0)
                        return -ETIMEDOUT;
                if (r > 0 && p.revents & POLLERR)
                        return -ENODEV;
        }
        if (n < (ssize_t) t->header_len)
                return -EIO;
        if (ret_hdr && (!t->header_len || vnet_hdr_decode(ret_hdr, t->header_len, header, sizeof(header)) < 0))
                *ret_hdr = (VnetHdr) {};
        return n - (ssize_t) t->header_len;
}
