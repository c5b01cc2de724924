/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tap device: its data path on the loop, and its birth from a TapConfig. Opening in a namespace is in tap-open.c, the link
 * in tap-link.c.
 *
 * Receiving: one preadv2() a frame, each landing behind the one before it, so that a batch of small frames stays in a few cache
 * lines and one of super-frames in the level 2 cache. A batch goes up when it is full, when the arena cannot take another
 * frame, or when the kernel has no more. After TURN_BATCHES the others on the loop get their turn; the
 * descriptor is level-triggered, so the next wake-up goes on.
 *
 * Sending: one pwritev2() a frame, straight from the pieces. The kernel takes a frame into the guest's stack before it returns,
 * so there is nothing to queue. What the far end cannot do is done before (offload.h).
 *
 * A TAP keeps its network namespace alive: that the guest's processes are gone is for the owner to notice. What we notice is
 * the interface being deleted.
 */

#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "basic/parse.h"
#include "device/offload.h"
#include "device/tap-open.h"
#include "device/tap.h"

/* Of kernels newer than the headers of Debian 12. */
#define TUN_OFFLOAD_USO4 0x20
#define TUN_OFFLOAD_USO6 0x40

#define HDR_LEN ((unsigned) sizeof(struct virtio_net_hdr_v1))
#define ARENA_LEN (320 * 1024)
#define SLOT_LEN (HDR_LEN + FRAME_LEN_MAX + 1) /* one more byte tells a frame that is too long */
#define CACHE_LINE 64
#define TURN_BATCHES 4
#define SMALL_FRAME_LEN 512 /* what belongs to a conversation, not to a transfer */
#define QUIET_TURNS 4       /* until the next turn is expected to be like them */
#define LOOK_TURNS 16       /* of these, until it is looked whether that is still so */

typedef struct Tap {
        Device device;
        int fd;        /* (owned) */
        bool vnet_hdr; /* frames have a header in front */
        bool cut, join; /* offloads the far end lacks */
        bool blocked;  /* the last send() was short */
        uint8_t quiet; /* so many turns in a row brought a single small frame */
        int rw_flags;  /* RWF_NOWAIT where the kernel has it for TAPs, else 0 */

        Loop *loop; /* (borrowed: from start to stop) NULL: not running */
        LoopIo io;

        OffloadSplit *split; /* (owned) */
        Frame *cut_frames;   /* (owned) OFFLOAD_FRAMES_MAX */
        uint8_t *arena;      /* (owned) ARENA_LEN, at a cache line */
        struct iovec iov[FRAME_BATCH_MAX], joined_iov[FRAME_BATCH_MAX];
        Frame frames[FRAME_BATCH_MAX];
} Tap;

static Tap *tap_of(const Device *d) {
        return CONTAINER_OF(d, Tap, device);
}

/*
 * Whoever handed in a descriptor still has it, and can make it a blocking one under our feet; so each call says for itself that
 * it does not wait. Kernels that cannot do that for a TAP say so at the first call. Both return a length or negative errno.
 */
static ssize_t tap_read(Tap *t, void *at, size_t len) {
        struct iovec iov = { at, len };

        for (;;) {
                ssize_t n = preadv2(t->fd, &iov, 1, -1, t->rw_flags);

                if (n >= 0)
                        return n;
                if (errno == EOPNOTSUPP && t->rw_flags != 0)
                        t->rw_flags = 0;
                else if (errno != EINTR)
                        return -errno;
        }
}

static ssize_t tap_write(Tap *t, const struct iovec *iov, unsigned n_iov) {
        for (;;) {
                ssize_t n = pwritev2(t->fd, iov, (int) n_iov, -1, t->rw_flags);

                if (n >= 0)
                        return n;
                if (errno == EOPNOTSUPP && t->rw_flags != 0)
                        t->rw_flags = 0;
                else if (errno != EINTR)
                        return -errno;
        }
}

/* ---- from the guest ---- */

static void drop_rx(Tap *t, Drop reason) {
        counter_add(&t->device.counters.rx_dropped, 1);
        counters_drop(&t->device.counters, reason);
}

/* Looks at what read() brought to @at and makes it a frame. */
static bool accept_frame(Tap *t, uint8_t *at, size_t len, Frame *f, struct iovec *iov) {
        size_t hdr_len = t->vnet_hdr ? HDR_LEN : 0;

        if (len < hdr_len + ETH_HEADER_LEN) {
                drop_rx(t, DROP_ETH_SHORT);
                return false;
        }
        if (len - hdr_len > FRAME_LEN_MAX) {
                drop_rx(t, DROP_ETH_LONG);
                return false;
        }

        *iov = (struct iovec){ at + hdr_len, len - hdr_len };
        *f = (Frame){ .iov = iov, .n_iov = 1, .len = (uint32_t) (len - hdr_len) };
        if (t->vnet_hdr)
                memcpy(&f->hdr, at, HDR_LEN);
        if (!offload_header_is_valid(f)) {
                drop_rx(t, DROP_GSO_HEADER);
                return false;
        }

        counter_add(&t->device.counters.rx_frames, 1);
        counter_add(&t->device.counters.rx_bytes, f->len);
        return true;
}

/* The next place where the IP header of a frame would begin a cache line. */
static size_t slot_after(const Tap *t, size_t used) {
        size_t lead = (t->vnet_hdr ? HDR_LEN : 0) + ETH_HEADER_LEN;

        return DIV_ROUND_UP(used + lead, CACHE_LINE) * CACHE_LINE - lead;
}

/**
 * read_batch() - read until the batch or the arena is full, or the kernel's queue empty
 * @t:          the tap
 * @ret_n:      frames read and accepted
 *
 * Return: 1 when there may be more; 0 when the queue is empty; -ENODEV when the interface is gone.
 */
static int read_batch(Tap *t, unsigned *ret_n) {
        size_t used = 0;
        unsigned n = 0;
        int r = 1;

        while (n < FRAME_BATCH_MAX) {
                size_t at = slot_after(t, used);

                if (at + SLOT_LEN > ARENA_LEN)
                        break;

                ssize_t len = tap_read(t, t->arena + at, SLOT_LEN);
                if (len < 0) {
                        r = len == -EAGAIN ? 0 : -ENODEV;
                        break;
                }
                if (accept_frame(t, t->arena + at, (size_t) len, &t->frames[n], &t->iov[n])) {
                        used = at + (size_t) len;
                        n++;
                }
                /* A question and its answer go one frame at a time. To ask whether there is another would cost a system call each
                 * time; if there is, the loop, which is level-triggered here, says so. Now and then it is asked all the same: a flood of
                 * small frames is better read in batches. */
                if (t->quiet >= QUIET_TURNS && t->quiet < QUIET_TURNS + LOOK_TURNS && n == 1 && len < SMALL_FRAME_LEN) {
                        r = 0;
                        break;
                }
        }

        if (n != 1 || used >= SMALL_FRAME_LEN)
                t->quiet = 0;
        else if (t->quiet++ == QUIET_TURNS + LOOK_TURNS)
                t->quiet = QUIET_TURNS;
        *ret_n = n;
        return r;
}

static void tap_gone(Tap *t, int error) {
        loop_remove(t->loop, &t->io);
        if (t->device.handler->gone)
                t->device.handler->gone(&t->device, error, t->device.userdata);
}

/* A turn: some batches, then the others. */
static void tap_receive(Tap *t) {
        for (unsigned i = 0; i < TURN_BATCHES; i++) {
                unsigned n;
                int r = read_batch(t, &n);

                if (n > 0 && t->join)
                        n = offload_coalesce(t->frames, n, t->joined_iov, ELEMENTSOF(t->joined_iov));
                if (n > 0)
                        t->device.handler->receive(&t->device, t->frames, n, t->device.userdata);
                if (!t->loop) /* stopped by what it received */
                        return;
                if (r < 0)
                        tap_gone(t, r);
                if (r <= 0)
                        return;
        }
}

static void on_io(LoopIo *io, uint32_t events) {
        Tap *t = CONTAINER_OF(io, Tap, io);

        if (events & EPOLLOUT && t->blocked) {
                t->blocked = false;
                (void) loop_modify(t->loop, io, EPOLLIN); /* fails for want of memory: then it comes again, in vain */
                if (t->device.handler->writable)
                        t->device.handler->writable(&t->device, t->device.userdata);
        }
        if (t->loop && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                tap_receive(t);
        /* The interface is being unregistered: nothing will come any more, even where read() did not say so yet. */
        if (t->loop && t->io.fd >= 0 && events & EPOLLERR)
                tap_gone(t, -ENODEV);
}

/* ---- to the guest ---- */

static void drop_tx(Tap *t, Drop reason) {
        counter_add(&t->device.counters.tx_dropped, 1);
        counters_drop(&t->device.counters, reason);
}

/* 0, or the negative errno of the write. */
static int write_frame(Tap *t, const Frame *f) {
        struct iovec iov[1 + FRAME_IOV_MAX];
        unsigned n_hdr = t->vnet_hdr ? 1 : 0;

        assert(f->n_iov <= FRAME_IOV_MAX);
        iov[0] = (struct iovec){ (void *) &f->hdr, HDR_LEN };
        memcpy(iov + n_hdr, f->iov, f->n_iov * sizeof(*iov));

        return (int) MIN(tap_write(t, iov, n_hdr + f->n_iov), 0);
}

/**
 * send_frame() - write one frame, cut as the far end needs it
 * @t:          the tap
 * @f:          the frame
 *
 * When the kernel is full amid a frame that was cut, the rest of it is dropped: the guest's TCP asks for it again, while
 * sending the whole frame again would not make it whole any sooner.
 *
 * Return: true when it is done with, written or dropped; false when the device is full and nothing of it was written.
 */
static bool send_frame(Tap *t, const Frame *f) {
        Drop reason = DROP_DEVICE_ERROR;
        unsigned n = 1;

        if (t->cut) {
                n = offload_split(t->split, f, t->device.offloads, t->cut_frames, &reason);
                f = t->cut_frames;
        }
        if (n == 0) {
                drop_tx(t, reason);
                return true;
        }

        for (unsigned i = 0; i < n; i++) {
                int r = write_frame(t, &f[i]);

                if (r == -EAGAIN) {
                        if (!t->blocked)
                                (void) loop_modify(t->loop, &t->io, EPOLLIN | EPOLLOUT);
                        t->blocked = true;
                        if (i > 0)
                                drop_tx(t, DROP_DEVICE_FULL);
                        return i > 0;
                }
                if (r < 0) {
                        /* No memory is no state to wait on: no event would end it. */
                        drop_tx(t, r == -ENOBUFS || r == -ENOMEM ? DROP_DEVICE_FULL : DROP_DEVICE_ERROR);
                        return true;
                }
                counter_add(&t->device.counters.tx_frames, 1);
                counter_add(&t->device.counters.tx_bytes, f[i].len);
        }
        return true;
}

static unsigned tap_send(Device *d, Frame *frames, unsigned n) {
        Tap *t = tap_of(d);

        for (unsigned i = 0; i < n; i++)
                if (!send_frame(t, &frames[i]))
                        return i;
        return n;
}

/* ---- life ---- */

static int tap_start(Device *d, Loop *loop) {
        Tap *t = tap_of(d);
        int r;

        assert(!t->loop && d->handler);
        /* Level-triggered: a turn may end before the queue does and is taken up again without a further system call. */
        r = loop_add(loop, &t->io, t->fd, EPOLLIN, on_io);
        if (r < 0)
                return r;

        t->loop = loop;
        t->blocked = false;
        return 0;
}

static void tap_stop(Device *d) {
        Tap *t = tap_of(d);

        if (!t->loop)
                return;

        loop_remove(t->loop, &t->io);
        t->loop = NULL;
}

static Device *tap_free(Device *d) {
        Tap *t = tap_of(d);

        assert(!t->loop);
        (void) safe_close(t->fd);
        offload_split_free(t->split);
        free(t->cut_frames);
        free(t->arena);
        free(t);
        return NULL;
}

static const DeviceOps tap_ops = {
        .kind = "tap",
        .start = tap_start,
        .stop = tap_stop,
        .send = tap_send,
        .free = tap_free,
};

int tap_fd(const Device *d) {
        return tap_of(d)->fd;
}

/* ---- birth ---- */

static int config_check(const TapConfig *c, const char **ret_what) {
        *ret_what = "number of queues";
        if (c->n_queues > 1)
                return -EOPNOTSUPP;
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
        t->fd = -EBADF;
        t->rw_flags = RWF_NOWAIT;
        t->io.fd = -EBADF;

        t->arena = aligned_alloc(CACHE_LINE, ARENA_LEN);
        t->split = offload_split_new();
        t->cut_frames = calloc(OFFLOAD_FRAMES_MAX, sizeof(Frame));
        if (!t->arena || !t->split || !t->cut_frames) {
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

/* The descriptor's side: header format, offloads, owner. */
static int setup_descriptor(Tap *t, const TapConfig *c, const char **ret_what) {
        const uint32_t both = DEVICE_OFFLOAD_TSO4 | DEVICE_OFFLOAD_TSO6;
        int hdr_len = HDR_LEN, little_endian = 1, r;

        *ret_what = "setting the virtio-net header's format";
        if (t->vnet_hdr &&
            (ioctl(t->fd, TUNSETVNETHDRSZ, &hdr_len) < 0 || ioctl(t->fd, TUNSETVNETLE, &little_endian) < 0))
                return -errno;

        /* Without headers too: an interface that was there may have some set. */
        *ret_what = "setting offloads";
        r = set_offloads(t->fd, t->vnet_hdr ? c->offloads : 0, &t->device.offloads);
        if (r < 0)
                return r;

        *ret_what = "setting the interface's owner";
        if (c->set_owner && ioctl(t->fd, TUNSETOWNER, (unsigned long) c->tun_owner) < 0)
                return -errno;

        t->cut = t->device.offloads != _DEVICE_OFFLOAD_ALL;
        t->join = (t->device.offloads & both) != both;
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
                .create = true,
                .flags = (short) (IFF_TAP | IFF_NO_PI | (c->no_vnet_hdr ? 0 : IFF_VNET_HDR)),
        };
        TapOpened opened;
        int r;

        t->vnet_hdr = !c->no_vnet_hdr;
        (void) snprintf(request.ifname, sizeof(request.ifname), "%s", c->ifname ?: "vnet%d");
        r = tap_open(&request, &opened, ret_what);
        if (r < 0)
                return r;

        t->fd = opened.tap_fd;
        *ret_rtnl_fd = opened.rtnl_fd;
        *ret_existed = opened.existed;
        return 0;
}

/**
 * adopt_interface() - take a TAP descriptor that somebody opened
 * @t:          the tap; gets a duplicate of the descriptor, so that failure leaves the caller's alone
 * @c:          its configuration
 * @ret_rtnl_fd: speaks to its namespace (owned by the caller); untouched when we may not look in there
 *
 * A TAP without virtio-net headers cannot be given them while it is open; it is used bare. Which namespace it lives in only
 * the kernel is asked: by a name in a namespace of the client's choice he could have us change a link that is not his.
 *
 * Return: 0; -EINVAL when it is no TAP of a form we can use.
 */
static int adopt_interface(Tap *t, const TapConfig *c, int *ret_rtnl_fd, const char **ret_what) {
        _cleanup_close_ int netns_fd = -EBADF;
        struct ifreq ifr = {};
        TapOpened opened;
        const char *what;
        int flags;

        *ret_what = "asking the descriptor for its interface";
        if (ioctl(c->fd, TUNGETIFF, &ifr) < 0)
                return -EINVAL;
        /* IFF_NO_PI tells nothing: kernels of today report it whether it was asked for or not. */
        *ret_what = "using the descriptor, whose interface is no TAP";
        if ((ifr.ifr_flags & TUN_TYPE_MASK) != IFF_TAP)
                return -EINVAL;

        t->vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
        *ret_what = "taking over the descriptor";
        t->fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
        if (t->fd < 0)
                return -errno;
        flags = fcntl(t->fd, F_GETFL);
        if (flags < 0 || fcntl(t->fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;

        netns_fd = ioctl(t->fd, TUNGETDEVNETNS);
        if (netns_fd >= 0 && tap_open(&(TapOpen){ .netns_fd = netns_fd }, &opened, &what) >= 0)
                *ret_rtnl_fd = opened.rtnl_fd;
        return 0;
}

/* What the descriptor alone tells of a link we may not ask for. */
static void read_bare_link(Tap *t, const TapConfig *c) {
        struct ifreq ifr = {};

        t->device.mtu = c->mtu;
        t->device.mac = c->mac;
        if (mac_is_zero(&c->mac) && ioctl(t->fd, SIOCGIFHWADDR, &ifr) == 0)
                memcpy(t->device.mac.b, ifr.ifr_hwaddr.sa_data, sizeof(t->device.mac.b));
}

/* The interface's side. @rtnl_fd: consumed; -EBADF: we may not. */
static int setup_link(Tap *t, const TapConfig *c, int rtnl_fd, bool is_new, const char **ret_what) {
        TapLink want = { .mac = c->mac, .mtu = c->mtu, .up = c->up }, link;
        _cleanup_close_ int fd = rtnl_fd;
        struct ifreq ifr = {};
        int r;

        *ret_what = "reading the interface's name";
        if (ioctl(t->fd, TUNGETIFF, &ifr) < 0)
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
        if (c->persistent && ioctl(t->fd, TUNSETPERSIST, 1) < 0)
                return -errno;
        return 0;
}

int tap_new(Device **ret, const TapConfig *config, const char **ret_what) {
        const char *what = "memory";
        _cleanup_(device_freep) Device *d = NULL;
        Tap *t;
        int r;

        r = config_check(config, &what);
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

        /* Ours is a duplicate. */
        if (config->fd >= 0)
                (void) safe_close(config->fd);
        *ret = TAKE_PTR(d);
        return 0;
}
