/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost's ioctls. Translates arguments and errors, holds no state.
 */

#include "vhostnet/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <string.h>
#include <sys/ioctl.h>

#include "basic/macro.h"

/* Newer than the headers of Debian 12. */
struct vhost_worker_number {
        unsigned id;
};
struct vhost_ring_worker {
        unsigned ring, id;
};
struct vhost_feature_words {
        uint64_t count, words[2];
};
#define VNETD_VHOST_NEW_WORKER _IOR(VHOST_VIRTIO, 0x08, struct vhost_worker_number)
#define VNETD_VHOST_FREE_WORKER _IOW(VHOST_VIRTIO, 0x09, struct vhost_worker_number)
#define VNETD_VHOST_ATTACH_RING_WORKER _IOW(VHOST_VIRTIO, 0x15, struct vhost_ring_worker)
#define VNETD_VHOST_GET_RING_WORKER _IOWR(VHOST_VIRTIO, 0x16, struct vhost_ring_worker)
/* The argument of these two has a flexible array: its size in the number is that of the count alone. */
#define VNETD_VHOST_GET_FEATURES_ARRAY _IOR(VHOST_VIRTIO, 0x83, uint64_t)
#define VNETD_VHOST_SET_FEATURES_ARRAY _IOW(VHOST_VIRTIO, 0x83, uint64_t)
#define VNETD_VHOST_SET_FORK_FROM_OWNER _IOW(VHOST_VIRTIO, 0x84, uint8_t)
#define VNETD_VHOST_GET_FORK_FROM_OWNER _IOR(VHOST_VIRTIO, 0x85, uint8_t)

static int call(int fd, unsigned long request, void *arg) {
        return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

int vhost_open_net(void) {
        int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int vhost_get_features(int fd, VqFeatures *ret) {
        struct vhost_feature_words a = { .count = 2 };
        uint64_t f;
        int r;

        if (call(fd, VNETD_VHOST_GET_FEATURES_ARRAY, &a) == 0) {
                *ret = (VqFeatures) { { a.words[0], a.words[1] } };
                return 0;
        }
        r = call(fd, VHOST_GET_FEATURES, &f);
        if (r < 0)
                return r;
        *ret = (VqFeatures) { { f, 0 } };
        return 0;
}

int vhost_set_features(int fd, VqFeatures f) {
        struct vhost_feature_words a = { .count = 2 };

        if (f.words[1] == 0)
                return call(fd, VHOST_SET_FEATURES, &f.words[0]);
        /* A kernel without the array takes its number for a ring's ioctl and answers with any error: ask first. */
        if (call(fd, VNETD_VHOST_GET_FEATURES_ARRAY, &a) < 0)
                return -EOPNOTSUPP;
        a = (struct vhost_feature_words) { 2, { f.words[0], f.words[1] } };
        return call(fd, VNETD_VHOST_SET_FEATURES_ARRAY, &a);
}

int vhost_get_backend_features(int fd, uint64_t *ret) {
        uint64_t f;
        int r = call(fd, VHOST_GET_BACKEND_FEATURES, &f);

        if (r == 0)
                *ret = f;
        return r;
}

int vhost_set_backend_features(int fd, uint64_t f) {
        return call(fd, VHOST_SET_BACKEND_FEATURES, &f);
}

int vhost_set_owner(int fd) {
        return call(fd, VHOST_SET_OWNER, NULL);
}

int vhost_reset_owner(int fd) {
        return call(fd, VHOST_RESET_OWNER, NULL);
}

int vhost_get_fork_from_owner(int fd, bool *ret) {
        uint8_t on;
        int r = call(fd, VNETD_VHOST_GET_FORK_FROM_OWNER, &on);

        if (r == 0)
                *ret = on;
        return r;
}

int vhost_set_fork_from_owner(int fd, bool on) {
        uint8_t v = on;

        return call(fd, VNETD_VHOST_SET_FORK_FROM_OWNER, &v);
}

int vhost_new_worker(int fd, unsigned *ret_id) {
        struct vhost_worker_number w = {};
        int r = call(fd, VNETD_VHOST_NEW_WORKER, &w);

        if (r == 0)
                *ret_id = w.id;
        return r;
}

int vhost_free_worker(int fd, unsigned id) {
        return call(fd, VNETD_VHOST_FREE_WORKER, &(struct vhost_worker_number) { id });
}

int vhost_attach_ring_worker(int fd, unsigned ring, unsigned id) {
        return call(fd, VNETD_VHOST_ATTACH_RING_WORKER, &(struct vhost_ring_worker) { ring, id });
}

int vhost_get_ring_worker(int fd, unsigned ring, unsigned *ret_id) {
        struct vhost_ring_worker w = { ring, 0 };
        int r = call(fd, VNETD_VHOST_GET_RING_WORKER, &w);

        if (r == 0)
                *ret_id = w.id;
        return r;
}

int vhost_set_mem_table(int fd, const VhostRegion *regions, unsigned n) {
        _Alignas(struct vhost_memory) char buf[sizeof(struct vhost_memory) + VHOST_REGIONS_MAX * sizeof(struct vhost_memory_region)];
        struct vhost_memory *m = (struct vhost_memory *) buf;

        if (n > VHOST_REGIONS_MAX)
                return -E2BIG;
        memset(buf, 0, sizeof(buf));
        m->nregions = n;
        for (unsigned i = 0; i < n; i++)
                m->regions[i] = (struct vhost_memory_region) {
                        .guest_phys_addr = regions[i].addr,
                        .memory_size = regions[i].len,
                        .userspace_addr = (uintptr_t) regions[i].host,
                };
        return call(fd, VHOST_SET_MEM_TABLE, m);
}

VhostRegion vhost_identity_region(void) {
        /* From the second page (nothing maps the first) to the last page but one of user space, which no system call tells. But stacks
         * lie at its top, within a fraction of it: the first size that holds one is it. x86-64 has 47 bits and arm64 48, 42 or 39,
         * riscv64 47 or 38, unless a program asks for more, which this one does not. */
        static const unsigned sizes[] = { 38, 39, 42, 47, 48, 52 };
        uint64_t end = UINT64_C(0xc0000000); /* 32 bits */

        for (unsigned i = 0; i < ELEMENTSOF(sizes) && sizeof(void *) > 4; i++) {
                end = (UINT64_C(1) << sizes[i]) - 4096;
                if ((uintptr_t) &end < end)
                        break;
        }
        return (VhostRegion) { 4096, end - 4096, (const void *) 4096 };
}

int vhost_set_log_base(int fd, uint64_t base) {
        return call(fd, VHOST_SET_LOG_BASE, &base);
}

int vhost_set_log_fd(int fd, int log_fd) {
        return call(fd, VHOST_SET_LOG_FD, &log_fd);
}

static int set_state(int fd, unsigned long request, unsigned ring, unsigned num) {
        return call(fd, request, &(struct vhost_vring_state) { ring, num });
}

static int get_state(int fd, unsigned long request, unsigned ring, unsigned *ret) {
        struct vhost_vring_state s = { .index = ring };
        int r = call(fd, request, &s);

        if (r == 0)
                *ret = s.num;
        return r;
}

static int set_file(int fd, unsigned long request, unsigned ring, int file) {
        return call(fd, request, &(struct vhost_vring_file) { ring, file });
}

int vhost_set_ring_num(int fd, unsigned ring, unsigned size) {
        return set_state(fd, VHOST_SET_VRING_NUM, ring, size);
}

int vhost_set_ring_addr(int fd, unsigned ring, const VhostRingAddr *a) {
        return call(fd, VHOST_SET_VRING_ADDR,
                    &(struct vhost_vring_addr) {
                            .index = ring,
                            .flags = a->log ? 1u << VHOST_VRING_F_LOG : 0,
                            .desc_user_addr = (uintptr_t) a->desc,
                            .used_user_addr = (uintptr_t) a->used,
                            .avail_user_addr = (uintptr_t) a->avail,
                            .log_guest_addr = a->log_addr,
                    });
}

int vhost_set_ring_base(int fd, unsigned ring, uint16_t base) {
        return set_state(fd, VHOST_SET_VRING_BASE, ring, base);
}

int vhost_get_ring_base(int fd, unsigned ring, uint16_t *ret) {
        unsigned base;
        int r = get_state(fd, VHOST_GET_VRING_BASE, ring, &base);

        if (r == 0)
                *ret = (uint16_t) base;
        return r;
}

int vhost_set_ring_endian(int fd, unsigned ring, bool big) {
        return set_state(fd, VHOST_SET_VRING_ENDIAN, ring, big ? VHOST_VRING_BIG_ENDIAN : VHOST_VRING_LITTLE_ENDIAN);
}

int vhost_get_ring_endian(int fd, unsigned ring, bool *ret) {
        unsigned endian;
        int r = get_state(fd, VHOST_GET_VRING_ENDIAN, ring, &endian);

        if (r == 0)
                *ret = endian == VHOST_VRING_BIG_ENDIAN;
        return r;
}

int vhost_set_ring_kick(int fd, unsigned ring, int event_fd) {
        return set_file(fd, VHOST_SET_VRING_KICK, ring, event_fd);
}

int vhost_set_ring_call(int fd, unsigned ring, int event_fd) {
        return set_file(fd, VHOST_SET_VRING_CALL, ring, event_fd);
}

int vhost_set_ring_err(int fd, unsigned ring, int event_fd) {
        return set_file(fd, VHOST_SET_VRING_ERR, ring, event_fd);
}

int vhost_set_ring_busyloop(int fd, unsigned ring, unsigned usec) {
        return set_state(fd, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, ring, usec);
}

int vhost_get_ring_busyloop(int fd, unsigned ring, unsigned *ret_usec) {
        return get_state(fd, VHOST_GET_VRING_BUSYLOOP_TIMEOUT, ring, ret_usec);
}

int vhost_net_set_backend(int fd, unsigned ring, int backend) {
        return set_file(fd, VHOST_NET_SET_BACKEND, ring, backend);
}
