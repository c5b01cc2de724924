/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tap device's birth from a TapConfig: its descriptors opened or taken over, header format, offloads, link. Moves no frame. */

#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

#include "basic/parse.h"
#include "device/tap-open.h"
#include "device/tap-private.h"

/* Of kernels newer than the headers of Debian 12. */
#define TUN_OFFLOAD_USO4 0x20
#define TUN_OFFLOAD_USO6 0x40

int tap_config_check(const TapConfig *c, const char **ret_what) {
        *ret_what = "number of queues";
        if (c->n_queues < 1 || c->n_queues > TAP_QUEUES_MAX || c->n_queue_fds >= c->n_queues)
                return -EINVAL;
        *ret_what = "interface name";
        if (c->ifname && !ifname_is_valid(c->ifname))
                return -EINVAL;
        *ret_what = "MAC address";
        if (mac_is_multicast(&c->mac))
                return -EINVAL;
        *ret_what = "MTU";
        if (c->mtu != 0 && (c->mtu < DEVICE_MTU_MIN || c->mtu > DEVICE_MTU_MAX))
                return -EINVAL;
        return 0;
}

void tap_config_close(const TapConfig *c) {
        (void) safe_close(c->fd);
        for (unsigned i = 0; i < c->n_queue_fds; i++)
                (void) safe_close(c->queue_fds[i]);
}

TapLane *tap_lane_new(Tap *t, Counters *counters) {
        TapLane *l = calloc(1, sizeof(*l));

        if (!l)
                return NULL;
        l->tap = t;
        l->counters = counters;
        l->rw_flags = RWF_NOWAIT;
        l->arena = aligned_alloc(TAP_CACHE_LINE, TAP_ARENA_LEN);
        l->split = offload_split_new();
        l->cut_frames = calloc(OFFLOAD_FRAMES_MAX, sizeof(Frame));
        return l->arena && l->split && l->cut_frames ? l : tap_lane_free(l);
}

TapLane *tap_lane_free(TapLane *l) {
        if (!l)
                return NULL;
        assert(!l->loop);
        offload_split_free(l->split);
        free(l->cut_frames);
        free(l->arena);
        free(l);
        return NULL;
}

static int tap_alloc(Tap **ret, const TapConfig *c) {
        Tap *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;

        r = device_init(&t->device, &tap_ops, c->name, c->owner);
        if (r < 0) {
                free(t);
                return r;
        }
        t->device.n_queues = c->n_queues;
        for (unsigned i = 0; i < TAP_QUEUES_MAX; i++)
                t->queues[i] = (TapQueue){ .fd = -EBADF, .io = { .fd = -EBADF } };
        t->lanes[0] = tap_lane_new(t, &t->device.counters);
        if (!t->lanes[0]) {
                device_free(&t->device);
                return -ENOMEM;
        }

        *ret = t;
        return 0;
}

/* Asks the kernel for the offloads wanted; what it does not know is left out. */
static int set_offloads(int fd, uint32_t wanted, uint32_t *ret) {
        static const struct {
                uint32_t offload;
                unsigned flags;
        } table[] = {
                { DEVICE_OFFLOAD_CSUM, TUN_F_CSUM }, { DEVICE_OFFLOAD_TSO4, TUN_F_TSO4 },
                { DEVICE_OFFLOAD_TSO6, TUN_F_TSO6 }, { DEVICE_OFFLOAD_ECN, TUN_F_TSO_ECN },
                { DEVICE_OFFLOAD_USO, TUN_OFFLOAD_USO4 | TUN_OFFLOAD_USO6 },
        };
        unsigned flags = 0;

        /* None goes without checksums, and ECN is a kind of TSO: the kernel refuses it alone. */
        if (!(wanted & DEVICE_OFFLOAD_CSUM))
                wanted = 0;
        if (!(wanted & (DEVICE_OFFLOAD_TSO4 | DEVICE_OFFLOAD_TSO6)))
                wanted &= ~(uint32_t) DEVICE_OFFLOAD_ECN;

        for (unsigned i = 0; i < ELEMENTSOF(table); i++)
                if (wanted & table[i].offload)
                        flags |= table[i].flags;

        if (ioctl(fd, TUNSETOFFLOAD, flags) < 0) {
                if (errno != EINVAL || !(wanted & DEVICE_OFFLOAD_USO))
                        return -errno;

                wanted &= ~(uint32_t) DEVICE_OFFLOAD_USO;
                if (ioctl(fd, TUNSETOFFLOAD, flags & ~(TUN_OFFLOAD_USO4 | TUN_OFFLOAD_USO6)) < 0)
                        return -errno;
        }
        *ret = wanted;
        return 0;
}

/* Linux takes frames beyond 64 KiB from a TAP, in pieces large enough for their number, since 6.6, and super-segments of IPv4 without a length
 * since 6.3. To try is no way to find out: an older one may drop what it took. */
bool tap_release_takes_big(const char *release) {
        unsigned major, minor;

        return sscanf(release, "%u.%u", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 6));
}

static bool kernel_takes_big(void) {
        struct utsname u;

        return uname(&u) == 0 && tap_release_takes_big(u.release);
}

/* The descriptor's side: header format, offloads, owner. */
static int setup_descriptor(Tap *t, const TapConfig *c, const char **ret_what) {
        int hdr_len = TAP_HEADER_LEN, little_endian = 1, r;

        *ret_what = "setting the virtio-net header's format";
        if (t->vnet_hdr &&
            (ioctl(t->queues[0].fd, TUNSETVNETHDRSZ, &hdr_len) < 0 || ioctl(t->queues[0].fd, TUNSETVNETLE, &little_endian) < 0))
                return -errno;

        /* Without headers too: an interface that was there may have some set. */
        *ret_what = "setting offloads";
        r = set_offloads(t->queues[0].fd, t->vnet_hdr ? c->offloads : 0, &t->device.offloads);
        if (r < 0)
                return r;

        *ret_what = "setting the interface's owner";
        if (c->set_owner && ioctl(t->queues[0].fd, TUNSETOWNER, (unsigned long) c->tun_owner) < 0)
                return -errno;

        t->cut = offload_must_cut(t->device.offloads);
        t->device.big = !t->cut && kernel_takes_big();
        t->join = offload_must_join(t->device.offloads);
        return 0;
}

static int set_peer(Tap *t, const char *netns) {
        bool is_pid = netns[strspn(netns, "0123456789")] == '\0';

        if (asprintf(&t->device.peer, is_pid ? "netns /proc/%s/ns/net" : "netns %s", netns) < 0) {
                t->device.peer = NULL;
                return -ENOMEM;
        }
        return 0;
}

/* Opens or creates the interface; @ret_rtnl_fd (owned by the caller) speaks to its namespace. */
static int create_interface(Tap *t, const TapConfig *c, int netns_fd, int *ret_rtnl_fd, bool *ret_existed,
                            const char **ret_what) {
        TapOpen request = {
                .netns_fd = netns_fd,
                .n_queues = c->n_queues,
                .flags = (short) (IFF_TAP | IFF_NO_PI | (c->no_vnet_hdr ? 0 : IFF_VNET_HDR) | (c->n_queues > 1 ? IFF_MULTI_QUEUE : 0)),
        };
        TapOpened opened;
        int r;

        t->vnet_hdr = !c->no_vnet_hdr;
        (void) snprintf(request.ifname, sizeof(request.ifname), "%s", c->ifname ?: "vnet%d");
        r = tap_open(&request, &opened, ret_what);
        if (r < 0)
                return r;

        for (unsigned i = 0; i < c->n_queues; i++)
                t->queues[i].fd = opened.tap_fds[i];
        *ret_rtnl_fd = opened.rtnl_fd;
        *ret_existed = opened.existed;
        return 0;
}

/* Takes a duplicate of @fd, which is a queue of a TAP, so that failure leaves the caller's alone. @ret_ifr: the interface. */
static int adopt_queue(TapQueue *q, int fd, struct ifreq *ret_ifr, const char **ret_what) {
        int flags;

        *ret_what = "asking the descriptor for its interface";
        if (ioctl(fd, TUNGETIFF, ret_ifr) < 0)
                return -EINVAL;
        /* IFF_NO_PI tells nothing: kernels of today report it whether it was asked for or not. */
        *ret_what = "using the descriptor, whose interface is no TAP";
        if ((ret_ifr->ifr_flags & TUN_TYPE_MASK) != IFF_TAP)
                return -EINVAL;

        *ret_what = "taking over the descriptor";
        q->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (q->fd < 0)
                return -errno;
        flags = fcntl(q->fd, F_GETFL);
        if (flags < 0 || fcntl(q->fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        return 0;
}

/* Opens the queues nobody handed in, by the name of the interface, in its own namespace. @ret_rtnl_fd: as in adopt_interface(). */
static int open_missing(Tap *t, const struct ifreq *first, unsigned n_have, int *ret_rtnl_fd, const char **ret_what) {
        _cleanup_close_ int netns_fd = ioctl(t->queues[0].fd, TUNGETDEVNETNS);
        TapOpen request = { .netns_fd = netns_fd, .n_queues = t->device.n_queues - n_have };
        TapOpened opened;
        int r;

        if (netns_fd < 0) {
                *ret_what = "finding the interface's namespace, to open further queues";
                return -errno;
        }
        request.flags = (short) (IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE | (t->vnet_hdr ? IFF_VNET_HDR : 0));
        memcpy(request.ifname, first->ifr_name, sizeof(request.ifname));
        r = tap_open(&request, &opened, ret_what);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < request.n_queues; i++)
                t->queues[n_have + i].fd = opened.tap_fds[i];
        *ret_rtnl_fd = opened.rtnl_fd;
        *ret_what = "opening further queues of an interface that is gone";
        return request.n_queues > 0 && !opened.existed ? -ENODEV : 0;
}

/**
 * adopt_interface() - take TAP descriptors that somebody opened
 * @t:          the tap; gets duplicates of the descriptors, so that failure leaves the caller's alone
 * @c:          its configuration
 * @ret_rtnl_fd: speaks to its namespace (owned by the caller); untouched when we may not look in there
 *
 * A TAP without virtio-net headers cannot be given them while it is open; it is used bare. Which namespace it lives in only
 * the kernel is asked: by a name in a namespace of the client's choice he could have us change a link that is not his.
 *
 * Return: 0; -EINVAL when it is no TAP of a form we can use; -EPERM when further queues are to be opened and we may not.
 */
static int adopt_interface(Tap *t, const TapConfig *c, int *ret_rtnl_fd, const char **ret_what) {
        struct ifreq first = {}, ifr;
        const char *what;
        int r;

        r = adopt_queue(&t->queues[0], c->fd, &first, ret_what);
        if (r < 0)
                return r;
        t->vnet_hdr = first.ifr_flags & IFF_VNET_HDR;
        *ret_what = "using several queues of a descriptor that was opened without IFF_MULTI_QUEUE";
        if (c->n_queues > 1 && !(first.ifr_flags & IFF_MULTI_QUEUE))
                return -EINVAL;

        for (unsigned i = 0; i < c->n_queue_fds; i++) {
                ifr = (struct ifreq){};
                r = adopt_queue(&t->queues[1 + i], c->queue_fds[i], &ifr, ret_what);
                if (r < 0)
                        return r;
                *ret_what = "using descriptors of several interfaces";
                if (strncmp(first.ifr_name, ifr.ifr_name, IFNAMSIZ) != 0)
                        return -EINVAL;
        }

        r = open_missing(t, &first, 1 + c->n_queue_fds, ret_rtnl_fd, &what);
        if (r < 0 && c->n_queues > 1 + c->n_queue_fds) {
                *ret_what = what;
                return r;
        }
        return 0;
}

/* What the descriptor alone tells of a link we may not ask for. */
static void read_bare_link(Tap *t, const TapConfig *c) {
        struct ifreq ifr = {};

        t->device.mtu = c->mtu;
        t->device.mac = c->mac;
        if (mac_is_zero(&c->mac) && ioctl(t->queues[0].fd, SIOCGIFHWADDR, &ifr) == 0)
                memcpy(t->device.mac.b, ifr.ifr_hwaddr.sa_data, sizeof(t->device.mac.b));
}

/* The interface's side. @rtnl_fd: consumed; -EBADF: we may not. */
static int setup_link(Tap *t, const TapConfig *c, int rtnl_fd, bool is_new, const char **ret_what) {
        TapLink want = { .mac = c->mac, .mtu = c->mtu, .up = c->up }, link;
        _cleanup_close_ int fd = rtnl_fd;
        struct ifreq ifr = {};
        int r;

        *ret_what = "reading the interface's name";
        if (ioctl(t->queues[0].fd, TUNGETIFF, &ifr) < 0)
                return -errno;
        (void) snprintf(t->device.ifname, sizeof(t->device.ifname), "%.*s", IFNAMSIZ - 1, ifr.ifr_name);

        if (fd < 0) {
                read_bare_link(t, c);
                return 0;
        }

        if (is_new && want.mtu == 0)
                want.mtu = DEVICE_MTU_MAX;
        *ret_what = "configuring the interface";
        r = tap_link_configure(TAKE_FD(fd), t->device.ifname, &want, &link);
        if (r == -EPERM && c->fd >= 0) {
                read_bare_link(t, c);
                return 0;
        }
        if (r < 0)
                return r;

        t->device.mac = link.mac;
        t->device.mtu = link.mtu;
        t->device.ifindex = link.ifindex;
        return 0;
}

static int tap_open_interface(Tap *t, const TapConfig *c, const char **ret_what) {
        _cleanup_close_ int netns_fd = -EBADF, rtnl_fd = -EBADF;
        bool existed = true;
        int r;

        if (c->fd >= 0)
                r = adopt_interface(t, c, &rtnl_fd, ret_what);
        else {
                if (c->netns) {
                        *ret_what = "opening the network namespace";
                        netns_fd = netns_open(c->netns);
                        if (netns_fd < 0)
                                return netns_fd;
                }
                r = create_interface(t, c, netns_fd, &rtnl_fd, &existed, ret_what);
        }
        if (r < 0)
                return r;

        r = setup_descriptor(t, c, ret_what);
        if (r < 0)
                return r;
        r = setup_link(t, c, TAKE_FD(rtnl_fd), !existed, ret_what);
        if (r < 0)
                return r;

        /* Last, so that what fails before leaves nothing behind. */
        *ret_what = "making the interface persistent";
        if (c->persistent && ioctl(t->queues[0].fd, TUNSETPERSIST, 1) < 0)
                return -errno;
        return 0;
}

int tap_new(Device **ret, const TapConfig *config, const char **ret_what) {
        const char *what = "memory";
        _cleanup_(device_freep) Device *d = NULL;
        Tap *t;
        int r;

        r = tap_config_check(config, &what);
        if (r >= 0) {
                what = "memory";
                r = tap_alloc(&t, config);
        }
        if (r >= 0) {
                d = &t->device;
                r = config->netns ? set_peer(t, config->netns) : 0;
        }
        if (r >= 0)
                r = tap_open_interface(t, config, &what);
        if (r < 0) {
                if (ret_what)
                        *ret_what = what;
                return r;
        }

        tap_config_close(config); /* ours are duplicates */
        *ret = TAKE_PTR(d);
        return 0;
}
