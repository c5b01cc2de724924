/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost-net: set-up, start, stop, recovery, health. Frames: vhost-net-io.c.
 *
 * The arena of a pair, one private mapping, in this order: receive ring, transmit ring, indirect tables of the transmit ring, header
 * slots, chunks for copies, receive buffers.
 */

#include "vhostnet/vhost-net.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/macro.h"
#include "basic/sockopt.h"
#include "vhostnet/vhost-net-internal.h"
#include "vhostnet/vhost.h"

#define VLAN_LEN 4u
#define PAGE 4096u
/* What may pass between two looks at a worker for it to count: who was stopped for longer, alone or with the machine, has not seen it stand still. */
#define LOOK_USEC (VHOST_NET_STUCK_USEC / 4)

static size_t align_up(size_t n, size_t to) {
        return (n + to - 1) / to * to;
}

/* -- set-up -------------------------------------------------------------------------------------------------------- */

static uint32_t link_len(VnetLink link) {
        return link == VNET_LINK_ETHERNET ? 14 : 0;
}

static int check_socket(int fd, bool own_header, const char **ret_what) {
        int on = 0, r;

        if (!sockopt_is(fd, SO_DOMAIN, AF_PACKET)) {
                *ret_what = "the backend is neither a TAP nor a packet socket";
                return -EPROTO;
        }
        r = sockopt_get_int(fd, SOL_PACKET, PACKET_VNET_HDR, &on);
        if (r < 0)
                return r;
        if (!on == !own_header) {
                *ret_what = "PACKET_VNET_HDR must be on exactly when feature any-layout is off";
                return -EPROTO;
        }
        return 0;
}

/* Refuses what would otherwise show as frames that silently never arrive. */
static int check_backend(const VhostNet *v, int fd, const char **ret_what) {
        struct ifreq ifr = {};
        int hdr_len = 0, sndbuf = 0;
        bool own_header = vq_features_has(v->features, VQ_F_ANY_LAYOUT); /* then vhost makes and strips it */

        if (ioctl(fd, TUNGETIFF, &ifr) < 0) {
                if (errno == ENOTTY || errno == EOPNOTSUPP || errno == EINVAL)
                        return check_socket(fd, own_header, ret_what);
                *ret_what = "the backend is a TUN/TAP descriptor without an interface";
                return -EPROTO;
        }
        if (!(ifr.ifr_flags & IFF_TAP) != (v->link == VNET_LINK_IP)) {
                *ret_what = "the backend's link is TAP where TUN was said, or the other way round";
                return -EPROTO;
        }
        if (!(ifr.ifr_flags & IFF_VNET_HDR) != own_header) {
                *ret_what = "IFF_VNET_HDR must be on exactly when feature any-layout is off";
                return -EPROTO;
        }
        if (!own_header && (ioctl(fd, TUNGETVNETHDRSZ, &hdr_len) < 0 || (unsigned) hdr_len != v->header_len)) {
                *ret_what = "the TAP's vnet header size is not the negotiated one";
                return -EPROTO;
        }
        /* With an unlimited send buffer the worker takes a path that strips 14 bytes as if they were an Ethernet header. */
        if (v->link == VNET_LINK_IP && (ioctl(fd, TUNGETSNDBUF, &sndbuf) < 0 || sndbuf == INT_MAX)) {
                *ret_what = "a TUN needs a finite send buffer (TUNSETSNDBUF)";
                return -EPROTO;
        }
#if __BYTE_ORDER == __BIG_ENDIAN
        int little = 0;
        if (!own_header && (ioctl(fd, TUNGETVNETLE, &little) < 0 || !little)) {
                *ret_what = "the TAP's header must be little endian (TUNSETVNETLE)";
                return -EPROTO;
        }
#endif
        return 0;
}

static int negotiate(VhostNet *v, const VhostNetConfig *c, int vhost_fd, const char **ret_what) {
        VqFeatures wanted = c->wanted ? *c->wanted : VQ_FEATURES(VNET_F_MRG_RXBUF, VQ_F_INDIRECT_DESC, VQ_F_EVENT_IDX);
        VqFeatures required = c->required ? *c->required : VQ_FEATURES(VQ_F_VERSION_1);
        /* Not for a driver like this one: dirty logs and IOTLB serve real guests, IN_ORDER loses lengths of receive buffers. */
        VqFeatures never = VQ_FEATURES(VQ_F_LOG_ALL, VQ_F_ACCESS_PLATFORM, VQ_F_RING_PACKED, VQ_F_IN_ORDER, VQ_F_NOTIFY_ON_EMPTY);
        int r;

        *ret_what = "the kernel's features cannot be read";
        r = vhost_get_features(vhost_fd, &v->offered);
        if (r < 0)
                return r;
        *ret_what = "a required feature is not offered";
        r = vq_features_negotiate(vq_features_without(v->offered, never), wanted, required, &v->features, NULL);
        if (r < 0)
                return r;
        v->header_len = vnet_hdr_len(v->features);
        v->mergeable = vq_features_has(v->features, VNET_F_MRG_RXBUF);
        return 0;
}

static int choose_sizes(VhostNet *v, const VhostNetConfig *c, const char **ret_what) {
        uint64_t longest;

        v->queue_size = c->queue_size ? c->queue_size : VHOST_NET_QUEUE_SIZE;
        v->n_chunks = c->n_tx_chunks ? c->n_tx_chunks : MIN(2 * v->queue_size, VHOST_NET_NONE - 1u);
        v->max_frame_len = c->max_frame_len ? c->max_frame_len : link_len(v->link) + VLAN_LEN + VNET_PAYLOAD_MAX;
        longest = (uint64_t) v->max_frame_len + v->header_len;
        v->rx_buffer_len = c->rx_buffer_len;
        if (!v->rx_buffer_len)
                v->rx_buffer_len = v->mergeable ? VHOST_NET_RX_BUFFER : (uint32_t) align_up(longest, 64);

        *ret_what = "queue size, buffer size or frame length out of range";
        if (vq_size_check(v->queue_size) != VQ_SIZE_OK || v->n_chunks >= VHOST_NET_NONE || v->max_frame_len < 14 ||
            v->max_frame_len > link_len(v->link) + VLAN_LEN + VNET_PAYLOAD_MAX || v->rx_buffer_len < 64 ||
            v->rx_buffer_len > 128 * 1024 || v->rx_buffer_len % 2)
                return -EINVAL;
        /* A ring that holds less than the frame at hand waits for ever, and the worker says nothing. */
        *ret_what = "the receive ring holds less than the longest frame";
        if (v->mergeable ? (uint64_t) v->queue_size * v->rx_buffer_len < longest : v->rx_buffer_len < longest)
                return -EINVAL;
        return 0;
}

static char *carve(char **at, size_t len, size_t align) {
        char *p = *at;

        *at += align_up(len, align);
        return p;
}

static int make_memory(VhostNet *v, VhostNetPair *p) {
        VqLayout l;
        size_t ring, tables, headers, chunks, buffers;
        char *at;
        unsigned n = v->queue_size;

        if (vq_layout_init(&l, n) < 0)
                return -EINVAL;
        ring = align_up(l.total_len, PAGE);
        tables = align_up(vq_driver_indirect_len(n, VHOST_NET_PIECES_MAX + 1), PAGE);
        headers = align_up((size_t) n * VHOST_NET_HEADER_SLOT, PAGE);
        chunks = (size_t) v->n_chunks * VHOST_NET_TX_CHUNK;
        buffers = align_up((size_t) n * v->rx_buffer_len, PAGE);
        p->arena_len = 2 * ring + tables + headers + chunks + buffers;
        p->arena = mmap(NULL, p->arena_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p->arena == MAP_FAILED) {
                p->arena = NULL;
                return -ENOMEM;
        }
        at = p->arena;
        p->q[VHOST_NET_RX].ring = carve(&at, ring, PAGE);
        p->q[VHOST_NET_TX].ring = carve(&at, ring, PAGE);
        char *table = carve(&at, tables, PAGE);
        p->headers = carve(&at, headers, PAGE);
        p->chunks = carve(&at, chunks, PAGE);
        p->buffers = carve(&at, buffers, PAGE);

        p->slots = calloc(n, sizeof(p->slots[0]));
        p->chunk_next = calloc(v->n_chunks, sizeof(p->chunk_next[0]));
        p->done = calloc(2 * n, sizeof(p->done[0]));
        p->used = calloc(n, sizeof(p->used[0]));
        p->iov = calloc(n, sizeof(p->iov[0]));
        p->buffer_next = calloc(n, sizeof(p->buffer_next[0]));
        p->loaned = calloc(n, sizeof(p->loaned[0]));
        if (!p->slots || !p->chunk_next || !p->done || !p->used || !p->iov || !p->buffer_next || !p->loaned)
                return -ENOMEM;

        for (unsigned i = 0; i < _VHOST_NET_RING_MAX; i++) {
                VqDriverConfig dc = {
                        .size = n,
                        .features = v->features,
                        .ring = p->q[i].ring,
                        .indirect = i == VHOST_NET_TX ? table : NULL, /* receive buffers are one piece each */
                        .indirect_max = VHOST_NET_PIECES_MAX + 1,
                        .window = v->map == VHOST_NET_MAP_ARENA ? p->arena : NULL,
                        .window_len = p->arena_len,
                };
                int r = vq_driver_new(&p->q[i].driver, &dc);

                if (r < 0)
                        return r;
        }
        vhost_net_pair_clear(v, p);
        return 0;
}

static int make_events(VhostNetPair *p) {
        for (unsigned i = 0; i < _VHOST_NET_RING_MAX; i++) {
                VhostNetQueue *q = &p->q[i];

                q->kicks = i == VHOST_NET_RX ? &p->stats.rx_kicks : &p->stats.tx_kicks;
                q->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
                q->call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
                q->error_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
                if (q->kick_fd < 0 || q->call_fd < 0 || q->error_fd < 0)
                        return -errno;
        }
        return 0;
}

static int set_up_ring(VhostNet *v, VhostNetPair *p, unsigned ring, unsigned busyloop_usec, const char **ret_what) {
        VhostNetQueue *q = &p->q[ring];
        VqLayout l;
        char *mem = q->ring;
        int r;

        (void) vq_layout_init(&l, v->queue_size); /* checked when the memory was made */
        *ret_what = "VHOST_SET_VRING_NUM";
        r = vhost_set_ring_num(p->vhost_fd, ring, v->queue_size);
        if (r < 0)
                return r;
        *ret_what = "VHOST_SET_VRING_BASE";
        r = vhost_set_ring_base(p->vhost_fd, ring, 0);
        if (r < 0)
                return r;
        *ret_what = "VHOST_SET_VRING_ADDR";
        r = vhost_set_ring_addr(p->vhost_fd, ring, &(VhostRingAddr) { mem + l.desc_off, mem + l.avail_off, mem + l.used_off, false, 0 });
        if (r < 0)
                return r;
        *ret_what = "VHOST_SET_VRING_KICK, CALL, ERR";
        r = vhost_set_ring_kick(p->vhost_fd, ring, q->kick_fd);
        if (r == 0)
                r = vhost_set_ring_call(p->vhost_fd, ring, q->call_fd);
        if (r == 0)
                r = vhost_set_ring_err(p->vhost_fd, ring, q->error_fd);
        if (r < 0 || busyloop_usec == 0)
                return r;
        *ret_what = "VHOST_SET_VRING_BUSYLOOP_TIMEOUT";
        return vhost_set_ring_busyloop(p->vhost_fd, ring, busyloop_usec);
}

static int set_up_pair(VhostNet *v, VhostNetPair *p, const VhostNetConfig *c, const char **ret_what) {
        VhostRegion region = vhost_identity_region();
        int r;

        r = check_backend(v, p->backend_fd, ret_what);
        if (r < 0)
                return r;
        *ret_what = "memory";
        r = make_memory(v, p);
        if (r < 0)
                return r;
        *ret_what = "eventfd";
        r = make_events(p);
        if (r < 0)
                return r;
        *ret_what = "VHOST_SET_OWNER";
        r = vhost_set_owner(p->vhost_fd);
        if (r < 0)
                return r;
        *ret_what = "VHOST_SET_FEATURES";
        r = vhost_set_features(p->vhost_fd, v->features);
        if (r < 0)
                return r;
        *ret_what = "VHOST_SET_MEM_TABLE";
        if (v->map == VHOST_NET_MAP_ARENA)
                region = (VhostRegion) { (uintptr_t) p->arena, p->arena_len, p->arena };
        r = vhost_set_mem_table(p->vhost_fd, &region, 1);
        for (unsigned ring = 0; r == 0 && ring < _VHOST_NET_RING_MAX; ring++)
                r = set_up_ring(v, p, ring, c->busyloop_usec, ret_what);
        return r;
}

static int take_fds(VhostNet *v, const VhostNetConfig *c, const char **ret_what) {
        for (unsigned i = 0; i < v->n_pairs; i++) {
                VhostNetPair *p = &v->pairs[i];

                *ret_what = "a backend descriptor is bad";
                p->backend_fd = fcntl(c->backend_fds[i], F_DUPFD_CLOEXEC, 3);
                if (p->backend_fd < 0)
                        return -errno;
                *ret_what = c->vhost_fds ? "a vhost descriptor is bad" : "/dev/vhost-net cannot be opened";
                p->vhost_fd = c->vhost_fds ? fcntl(c->vhost_fds[i], F_DUPFD_CLOEXEC, 3) : vhost_open_net();
                if (p->vhost_fd < 0)
                        return c->vhost_fds ? -errno : p->vhost_fd;
        }
        return 0;
}

int vhost_net_new(VhostNet **ret, const VhostNetConfig *c, const char **ret_what) {
        const char *what = "number of pairs, link or map out of range";
        VhostNet *v;
        int r = -EINVAL;

        if (c->n_pairs < 1 || c->n_pairs > VHOST_NET_PAIRS_MAX || !c->backend_fds || c->link >= _VNET_LINK_MAX ||
            c->map >= _VHOST_NET_MAP_MAX) {
                if (ret_what)
                        *ret_what = what;
                return r;
        }
        what = "memory";
        r = -ENOMEM;
        v = calloc(1, sizeof(*v) + c->n_pairs * sizeof(v->pairs[0]));
        if (v) {
                v->n_pairs = c->n_pairs;
                v->link = c->link;
                v->map = c->map;
                for (unsigned i = 0; i < c->n_pairs; i++) {
                        VhostNetPair *p = &v->pairs[i];

                        p->vhost_fd = p->backend_fd = -EBADF;
                        for (unsigned k = 0; k < _VHOST_NET_RING_MAX; k++)
                                p->q[k].kick_fd = p->q[k].call_fd = p->q[k].error_fd = -EBADF;
                }
                r = take_fds(v, c, &what);
        }
        if (r == 0)
                r = negotiate(v, c, v->pairs[0].vhost_fd, &what);
        if (r == 0)
                r = choose_sizes(v, c, &what);
        for (unsigned i = 0; r == 0 && i < c->n_pairs; i++)
                r = set_up_pair(v, &v->pairs[i], c, &what);
        if (r < 0) {
                vhost_net_free(v);
                if (ret_what)
                        *ret_what = what;
                return r;
        }
        *ret = v;
        return 0;
}

static void free_pair(VhostNetPair *p) {
        /* Closing the last reference stops the worker and waits for it: after that the arena is nobody's but ours. A duplicate
         * kept elsewhere does not, so the backends go first. */
        if (p->running)
                for (unsigned ring = 0; ring < _VHOST_NET_RING_MAX; ring++)
                        (void) vhost_net_set_backend(p->vhost_fd, ring, -1);
        p->vhost_fd = safe_close(p->vhost_fd);
        p->backend_fd = safe_close(p->backend_fd);
        for (unsigned i = 0; i < _VHOST_NET_RING_MAX; i++) {
                VhostNetQueue *q = &p->q[i];

                q->driver = vq_driver_free(q->driver);
                q->kick_fd = safe_close(q->kick_fd);
                q->call_fd = safe_close(q->call_fd);
                q->error_fd = safe_close(q->error_fd);
        }
        free(p->slots);
        free(p->chunk_next);
        free(p->done);
        free(p->used);
        free(p->iov);
        free(p->buffer_next);
        free(p->loaned);
        if (p->arena)
                (void) munmap(p->arena, p->arena_len);
}

VhostNet *vhost_net_free(VhostNet *v) {
        if (!v)
                return NULL;
        for (unsigned i = 0; i < v->n_pairs; i++)
                free_pair(&v->pairs[i]);
        free(v);
        return NULL;
}

/* -- start, stop, recover ------------------------------------------------------------------------------------------ */

static int stop_pair(VhostNetPair *p) {
        int r = 0;

        if (!p->running)
                return 0;
        for (unsigned ring = 0; ring < _VHOST_NET_RING_MAX; ring++) {
                int k = vhost_net_set_backend(p->vhost_fd, ring, -1);

                if (k == 0)
                        k = vhost_get_ring_base(p->vhost_fd, ring, &p->q[ring].base);
                if (k < 0)
                        r = k;
        }
        p->running = false;
        return r;
}

static int start_pair(VhostNet *v, VhostNetPair *p) {
        int r;

        if (p->running)
                return 0;
        if (vhost_net_pair_broken(p))
                return -EBADMSG;
        vhost_net_pair_fill(v, p);
        p->running = true; /* so that a failure half way detaches what was attached */
        for (unsigned ring = 0; ring < _VHOST_NET_RING_MAX; ring++) {
                r = vhost_set_ring_base(p->vhost_fd, ring, p->q[ring].base);
                if (r == 0)
                        r = vhost_net_set_backend(p->vhost_fd, ring, p->backend_fd);
                if (r < 0) {
                        for (unsigned k = 0; k <= ring; k++)
                                (void) vhost_net_set_backend(p->vhost_fd, k, -1);
                        p->running = false;
                        return r;
                }
        }
        p->watching = false;
        /* What was published before is found by the worker only when it looks. */
        for (unsigned ring = 0; ring < _VHOST_NET_RING_MAX; ring++)
                vhost_net_pair_kick(&p->q[ring]);
        return 0;
}

int vhost_net_start(VhostNet *v) {
        for (unsigned i = 0; i < v->n_pairs; i++) {
                int r = start_pair(v, &v->pairs[i]);

                if (r < 0) {
                        (void) vhost_net_stop(v);
                        return r;
                }
        }
        return 0;
}

int vhost_net_stop(VhostNet *v) {
        int r = 0;

        for (unsigned i = 0; i < v->n_pairs; i++) {
                int k = stop_pair(&v->pairs[i]);

                if (k < 0)
                        r = k;
        }
        return r;
}

int vhost_net_recover(VhostNet *v, unsigned pair) {
        VhostNetPair *p = &v->pairs[pair];
        VqUsed used[VHOST_NET_BATCH_MAX];
        bool was_running = p->running;
        unsigned n;
        int r;

        r = stop_pair(p);
        if (r < 0)
                return r;
        (void) vhost_net_pair_reap(p); /* what was sent after all; a broken ring gives nothing */
        while ((n = vq_driver_reclaim(p->q[VHOST_NET_TX].driver, used, VHOST_NET_BATCH_MAX)) > 0)
                for (unsigned i = 0; i < n; i++)
                        vhost_net_pair_finish_slot(p, used[i].token);
        while (vq_driver_reclaim(p->q[VHOST_NET_RX].driver, used, VHOST_NET_BATCH_MAX) > 0)
                ;
        p->q[VHOST_NET_RX].base = p->q[VHOST_NET_TX].base = 0;
        vhost_net_pair_clear(v, p);
        p->error_seen = false;
        p->stats.resets++;
        return was_running ? start_pair(v, p) : 0;
}

/* -- health and questions ------------------------------------------------------------------------------------------ */

VhostNetHealth vhost_net_check(VhostNet *v, unsigned pair, uint64_t now_usec) {
        VhostNetPair *p = &v->pairs[pair];
        VqDriver *tx = p->q[VHOST_NET_TX].driver;
        uint16_t used;
        uint64_t n;

        if (vq_driver_broken(p->q[VHOST_NET_RX].driver))
                return VHOST_NET_HEALTH_BROKEN_RX;
        if (vq_driver_broken(tx))
                return VHOST_NET_HEALTH_BROKEN_TX;
        for (unsigned i = 0; i < _VHOST_NET_RING_MAX; i++)
                if (read(p->q[i].error_fd, &n, sizeof(n)) == (ssize_t) sizeof(n))
                        p->error_seen = true;
        if (p->error_seen)
                return VHOST_NET_HEALTH_ERROR;

        used = vq_driver_used_index(tx);
        if (!p->running || used == vq_driver_published(tx)) {
                p->watching = false;
                return VHOST_NET_HEALTH_GOOD;
        }
        if (!p->watching || used != p->seen_used) {
                p->watching = true;
                p->seen_used = used;
                p->seen_usec = now_usec;
                p->stuck_usec = 0;
                return VHOST_NET_HEALTH_GOOD;
        }
        p->stuck_usec += MIN(now_usec - p->seen_usec, LOOK_USEC);
        p->seen_usec = now_usec;
        return p->stuck_usec >= VHOST_NET_STUCK_USEC ? VHOST_NET_HEALTH_STUCK : VHOST_NET_HEALTH_GOOD;
}

VqBroken vhost_net_broken(const VhostNet *v, unsigned pair, VhostNetRing ring) {
        return vq_driver_broken(v->pairs[pair].q[ring].driver);
}

int vhost_net_fd(const VhostNet *v, unsigned pair, VhostNetRing ring, VhostNetFd which) {
        switch (which) {
        case VHOST_NET_FD_CALL:
                return v->pairs[pair].q[ring].call_fd;
        case VHOST_NET_FD_ERROR:
                return v->pairs[pair].q[ring].error_fd;
        case VHOST_NET_FD_VHOST:
                return v->pairs[pair].vhost_fd;
        case _VHOST_NET_FD_MAX:
                break;
        }
        return -EBADF;
}

VqFeatures vhost_net_features(const VhostNet *v) {
        return v->features;
}

VqFeatures vhost_net_offered(const VhostNet *v) {
        return v->offered;
}

unsigned vhost_net_header_len(const VhostNet *v) {
        return v->header_len;
}

unsigned vhost_net_pairs(const VhostNet *v) {
        return v->n_pairs;
}

bool vhost_net_idle(const VhostNet *v, unsigned pair) {
        const VqDriver *tx = v->pairs[pair].q[VHOST_NET_TX].driver;

        return vq_driver_used_index(tx) == vq_driver_published(tx);
}

unsigned vhost_net_outstanding(const VhostNet *v, unsigned pair) {
        return vq_driver_outstanding(v->pairs[pair].q[VHOST_NET_TX].driver);
}

unsigned vhost_net_free_slots(const VhostNet *v, unsigned pair, VhostNetRing ring) {
        return vq_driver_free_slots(v->pairs[pair].q[ring].driver);
}

const VhostNetStats *vhost_net_stats(const VhostNet *v, unsigned pair) {
        return &v->pairs[pair].stats;
}
