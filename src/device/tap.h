/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * tap: a kernel TAP interface in any network namespace, with IFF_VNET_HDR, 12-byte little-endian headers and every
 * offload the kernel has (probed). The interface is made here, or its descriptor is handed in by whoever made it.
 * Configures the link (MTU, MAC, up, owner, persistence); never addresses or routes.
 */

#include "device/device.h"
#include "device/tap-queue.h"

typedef struct TapConfig {
        const char *name;      /* of the device */
        uint32_t owner;        /* uid who asked */
        const char *ifname;    /* NULL: the kernel picks "vnet%d" */
        const char *netns;     /* path of a namespace, or a pid in decimal; NULL: the daemon's own */
        int fd;                /* -EBADF, or a TAP descriptor to adopt (owned on success only); then netns is where it lives */
        MacAddr mac;           /* zero: the kernel's random one, read back */
        uint32_t mtu;          /* 0: DEVICE_MTU_MAX when ours to set, else read */
        bool persistent;       /* the interface outlives us */
        bool set_owner;        /* TUNSETOWNER to tun_owner */
        uint32_t tun_owner;
        bool up;               /* set the link up */
        uint32_t offloads;     /* DeviceOffload wanted; _DEVICE_OFFLOAD_ALL: whatever the kernel has */
        uint32_t n_queues;     /* 1..TAP_QUEUES_MAX; more than 1 with IFF_MULTI_QUEUE, which @fd has to have then */
        const int *queue_fds;  /* (nullable) with fd: further queues of its interface (owned on success only); those that */
        unsigned n_queue_fds;  /* are missing of n_queues are opened */
        bool no_vnet_hdr;      /* tests and old kernels: bare frames, all offload work on our doorstep */
} TapConfig;

/* What tap_new() checks before it touches anything. @ret_what: static text naming what is wrong. 0 or -EINVAL. */
int tap_config_check(const TapConfig *config, const char **ret_what);
/* Closes the descriptors that were handed in: a device that was made of them has duplicates. */
void tap_config_close(const TapConfig *config);

/* Errors: -EPERM/-EACCES (say what is missing in the caller), -ENOENT no such namespace, -EBUSY interface in use,
 * -EINVAL bad config or a descriptor that is no TAP, or not one of several queues where several are wanted. @ret_what (nullable): static text naming the step that failed. */
int tap_new(Device **ret, const TapConfig *config, const char **ret_what);

int tap_fd(const Device *d, unsigned queue); /* (borrowed) -EBADF: no such queue */
