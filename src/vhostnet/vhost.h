/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The kernel's vhost, one function an ioctl, and its memory table. Every function: 0 (or what it says) on success, else the kernel's
 * negative errno. Nothing is retried, nothing remembered.
 *
 * Order that works on every kernel: open, [fork_from_owner], set_owner, get_features, set_features, set_mem_table, per ring
 * num, base, addr, kick, call, err, then the backends. "owner": must be called by the process that called set_owner
 * (-EPERM otherwise, after fork and exec too).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core-vq/vq-feature.h"

#define VHOST_REGIONS_MAX 64 /* the kernel's default for max_mem_regions */

typedef struct VhostRegion {
        uint64_t addr, len;
        const void *host;
} VhostRegion;

typedef struct VhostRingAddr {
        const void *desc, *avail, *used; /* plain addresses of ours: the memory table is not asked */
        bool log;                        /* mark used-ring writes dirty, from log_addr on */
        uint64_t log_addr;
} VhostRingAddr;

/* Opens /dev/vhost-net. Return: the descriptor; -ENOENT, -ENODEV, -ENXIO without the module; -EACCES without the permission. */
int vhost_open_net(void);

/* 128 bits where the kernel has FEATURES_ARRAY (6.17), else the low 64. Work before set_owner. */
int vhost_get_features(int fd, VqFeatures *ret);
/* -EOPNOTSUPP for a bit not offered. Bits over 63 need FEATURES_ARRAY: -EOPNOTSUPP without. */
int vhost_set_features(int fd, VqFeatures f);
int vhost_get_backend_features(int fd, uint64_t *ret);
int vhost_set_backend_features(int fd, uint64_t f);

int vhost_set_owner(int fd);                          /* -EBUSY: owned already; makes the worker */
int vhost_reset_owner(int fd);                        /* owner */
int vhost_get_fork_from_owner(int fd, bool *ret);     /* fails, with any error, before 6.18 */
int vhost_set_fork_from_owner(int fd, bool on);       /* -EBUSY after set_owner */
int vhost_new_worker(int fd, unsigned *ret_id);       /* -ENOTTY for vhost-net, to this day */
int vhost_free_worker(int fd, unsigned id);
int vhost_attach_ring_worker(int fd, unsigned ring, unsigned id);
int vhost_get_ring_worker(int fd, unsigned ring, unsigned *ret_id);

/* owner; @n at most VHOST_REGIONS_MAX: -E2BIG. */
int vhost_set_mem_table(int fd, const VhostRegion *regions, unsigned n);
/* One region that is the whole process, so that every pointer of ours is an address to vhost: no registration, ever. */
VhostRegion vhost_identity_region(void);
int vhost_set_log_base(int fd, uint64_t base); /* owner */
int vhost_set_log_fd(int fd, int log_fd);      /* owner */

/* All owner. @ring: 0 receive, 1 transmit: -ENOBUFS beyond. */
int vhost_set_ring_num(int fd, unsigned ring, unsigned size);           /* -EBUSY while it has a backend */
int vhost_set_ring_addr(int fd, unsigned ring, const VhostRingAddr *a); /* -EINVAL when ill aligned */
int vhost_set_ring_base(int fd, unsigned ring, uint16_t base);          /* -EBUSY while it has a backend */
int vhost_get_ring_base(int fd, unsigned ring, uint16_t *ret);
int vhost_set_ring_endian(int fd, unsigned ring, bool big);             /* -ENOTTY unless the kernel is built for it */
int vhost_get_ring_endian(int fd, unsigned ring, bool *ret);
int vhost_set_ring_kick(int fd, unsigned ring, int event_fd);           /* -1 unbinds */
int vhost_set_ring_call(int fd, unsigned ring, int event_fd);           /* -1 unbinds */
int vhost_set_ring_err(int fd, unsigned ring, int event_fd);            /* -1 unbinds */
int vhost_set_ring_busyloop(int fd, unsigned ring, unsigned usec);
int vhost_get_ring_busyloop(int fd, unsigned ring, unsigned *ret_usec);

/* owner; @backend: a TAP, macvtap or packet socket; -1 detaches, and the kernel touches the ring no more once this returns. */
int vhost_net_set_backend(int fd, unsigned ring, int backend);
