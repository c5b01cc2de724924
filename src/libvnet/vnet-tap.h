/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A TUN or TAP interface for programs that use libvnet: opened with a virtio-net header, offloads and queues, in any network
 * namespace; frames by read and write for those who want no rings. Makes and configures the link; never gives it an address.
 *
 * The daemon has a device of its own for this (device/tap.h); this one needs nothing but the C library.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core-vq/vnet-hdr.h"

#define VNET_TAP_NAME_LEN 16u /* with its end */

typedef struct VnetTap VnetTap;

/* What frames that come from the interface may ask of us. Probed: what the kernel lacks is left out. */
typedef enum VnetTapOffload {
        VNET_TAP_CSUM = 1,      /* a checksum left open (NEEDS_CSUM) */
        VNET_TAP_TSO4 = 2,      /* the rest needs CSUM */
        VNET_TAP_TSO6 = 4,
        VNET_TAP_TSO_ECN = 8,   /* needs a TSO */
        VNET_TAP_USO = 0x60,    /* UDP, both families: Linux 6.2 */
        _VNET_TAP_OFFLOAD_ALL = 0x6f,
} VnetTapOffload;

typedef struct VnetTapConfig {
        const char *name;       /* (nullable: the kernel's "tap%d" or "tun%d") may hold one %d */
        VnetLink link;          /* TAP or TUN */
        unsigned header_len;    /* of the virtio-net header: 0 for none, else as vnet_hdr_len_valid() */
        unsigned offloads;      /* VnetTapOffload wanted; need a header */
        bool multi_queue;       /* vnet_tap_add_queue() will be called */
        bool persistent;        /* the interface stays when all is closed */
        bool up;                /* set the link up */
        bool exclusive;         /* fail (-EBUSY) when the interface exists */
        bool has_owner;
        uint32_t owner;         /* uid that may open it later */
        uint32_t mtu;           /* 0: leave it */
        int sndbuf;             /* bytes; 0: leave it, but a TUN gets 1 MiB: see vhost-net.h */
        int netns_fd;           /* -1: the calling thread's namespace */
} VnetTapConfig;
#define VNET_TAP_CONFIG_INIT { .netns_fd = -1 }

/**
 * vnet_tap_open() - make or open an interface
 * @ret:        the interface, owned by the caller
 * @config:     borrowed for the call
 * @ret_what:   (nullable) on failure: static text naming the step
 *
 * Another namespace is entered by a thread of its own; the caller's namespaces do not change.
 *
 * Return: 0; -EINVAL for a bad config; -EPERM without CAP_NET_ADMIN there; -EBUSY; -ENOENT without /dev/net/tun; or the kernel's error.
 */
int vnet_tap_open(VnetTap **ret, const VnetTapConfig *config, const char **ret_what);
VnetTap *vnet_tap_close(VnetTap *t); /* all queues; NULL in, NULL out */

/* A further queue. Return: its index; -EINVAL without multi_queue; -E2BIG when there are 256; or the kernel's error. */
int vnet_tap_add_queue(VnetTap *t);

int vnet_tap_fd(const VnetTap *t, unsigned queue);   /* (borrowed: until close) non-blocking; -1: no such queue */
unsigned vnet_tap_queues(const VnetTap *t);
const char *vnet_tap_name(const VnetTap *t);         /* (borrowed: until close) */
int vnet_tap_ifindex(const VnetTap *t);              /* in its namespace */
unsigned vnet_tap_offloads(const VnetTap *t);        /* what the kernel took */
unsigned vnet_tap_header_len(const VnetTap *t);
int vnet_tap_get_mac(const VnetTap *t, uint8_t ret[6]); /* -EOPNOTSUPP for a TUN */

/**
 * vnet_tap_write() - hand one frame to the kernel
 * @t:          the interface
 * @queue:      which
 * @hdr:        (nullable: zeroes) its header; ignored when the interface has none
 * @iov:        array of @n_iov, link header first
 * @n_iov:      1..64
 *
 * Return: 0; -EAGAIN when the kernel has no room; -EINVAL for a bad header or frame; -EIO when the link is down.
 */
int vnet_tap_write(VnetTap *t, unsigned queue, const VnetHdr *hdr, const struct iovec *iov, unsigned n_iov);

/**
 * vnet_tap_read() - take one frame from the kernel
 * @t:          the interface
 * @queue:      which
 * @ret_hdr:    (nullable) its header; zeroes when the interface has none
 * @buf:        array of @buf_len, filled
 * @buf_len:    a longer frame is cut, and the whole length returned
 * @timeout_msec: how long to wait; 0: not at all; negative: for ever
 *
 * Return: the frame's length; -ETIMEDOUT; -ENODEV when the interface is gone; or the kernel's error.
 */
ssize_t vnet_tap_read(VnetTap *t, unsigned queue, VnetHdr *ret_hdr, void *buf, size_t buf_len, int timeout_msec);
