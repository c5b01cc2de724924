/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Frame: the one currency between device/ and netstack/. A virtio-net header and the Ethernet bytes it speaks of.
 *
 * Every frame carries a header, whatever device it came from, so a checksum that need not be computed is not, and a
 * 64 KiB TCP super-segment stays one frame through the whole house. A device without offloads segments and sums on
 * its own doorstep (device/offload.h).
 *
 * Ownership: the bytes are borrowed for the duration of the call that passes the frame. Whoever keeps them copies.
 * Byte order: the header is little endian (virtio 1.2, 5.1.6), the frame as on the wire.
 */

#include <endian.h>
#include <linux/virtio_net.h>
#include <sys/uio.h>

#include "basic/macro.h"

#define ETH_HEADER_LEN 14
#define FRAME_LEN_MAX (ETH_HEADER_LEN + 65535) /* a full IP packet behind an Ethernet header */
#define FRAME_BIG_MAX (8 * 65535) /* of a super-segment for a device that takes more (Device.big): what Linux makes itself at most */
#define FRAME_BATCH_MAX 64                     /* frames move in batches of at most this many */
#define FRAME_IOV_MAX 64                       /* pieces of one frame; a device that holds more must linearise */

/* GSO types and flags the kernel headers of Debian 12 may lack. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

typedef struct Frame {
        struct virtio_net_hdr_v1 hdr;
        const struct iovec *iov; /* (borrowed: for the call) Ethernet header first; from a guest: hostile */
        unsigned n_iov;          /* 1..FRAME_IOV_MAX */
        uint32_t len;            /* sum of the pieces, at most FRAME_LEN_MAX; of a super-segment to a device that takes more, FRAME_BIG_MAX */
        bool asks;               /* to a guest: its kernel has something to say to that, and most often before the write returns */
} Frame;
