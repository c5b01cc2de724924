/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The virtio-net header in front of every frame: encode, decode, and judge whether it fits its frame.
 *
 *     bytes   when
 *     10      neither VERSION_1 nor MRG_RXBUF
 *     12      + num_buffers
 *     20      HASH_REPORT: + hash value and report
 *     24      a UDP tunnel GSO bit: + the tunnel's inner offsets
 *
 * Little endian on every machine (virtio 1.2, 5.1.6); fields here are in host byte order.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core-vq/vq-feature.h"

#define VNET_HDR_LEN_LEGACY 10u
#define VNET_HDR_LEN_V1 12u
#define VNET_HDR_LEN_HASH 20u
#define VNET_HDR_LEN_TUNNEL 24u
#define VNET_HDR_LEN_MAX VNET_HDR_LEN_TUNNEL

enum {
        VNET_HDR_F_NEEDS_CSUM = 1,
        VNET_HDR_F_DATA_VALID = 2,
        VNET_HDR_F_RSC_INFO = 4,
        VNET_HDR_F_UDP_TUNNEL_CSUM = 8,
};

enum {
        VNET_HDR_GSO_NONE = 0,
        VNET_HDR_GSO_TCPV4 = 1,
        VNET_HDR_GSO_UDP = 3, /* UFO: fragments */
        VNET_HDR_GSO_TCPV6 = 4,
        VNET_HDR_GSO_UDP_L4 = 5, /* USO: datagrams */
        VNET_HDR_GSO_UDP_TUNNEL_IPV4 = 0x20,
        VNET_HDR_GSO_UDP_TUNNEL_IPV6 = 0x40,
        VNET_HDR_GSO_ECN = 0x80,
};

typedef struct VnetHdr {
        uint8_t flags, gso_type;
        uint16_t hdr_len, gso_size, csum_start, csum_offset;
        uint16_t num_buffers;                      /* from 12 bytes on */
        uint32_t hash_value;                       /* from 20 bytes on */
        uint16_t hash_report;
        uint16_t outer_th_offset, inner_nh_offset; /* with 24 bytes */
} VnetHdr;

/* What a frame's first byte is. */
typedef enum VnetLink {
        VNET_LINK_ETHERNET,
        VNET_LINK_IP, /* IFF_TUN */
        _VNET_LINK_MAX,
} VnetLink;

typedef enum VnetHdrError {
        VNET_HDR_OK,
        VNET_HDR_ERROR_FRAME_SHORT,     /* no room for an Ethernet or IP header */
        VNET_HDR_ERROR_FRAME_LONG,      /* more than 65535 bytes behind the link header */
        VNET_HDR_ERROR_CSUM_RANGE,      /* the checksum lies behind the frame's end */
        VNET_HDR_ERROR_GSO_TYPE,        /* unknown, or ECN without TCP */
        VNET_HDR_ERROR_GSO_SIZE,        /* 0 or 65535 */
        VNET_HDR_ERROR_GSO_CSUM,        /* segmentation without a checksum to fill in, or not at that protocol's place */
        VNET_HDR_ERROR_GSO_OFFSET,      /* transport header where no IP header fits before it, or cut short */
        VNET_HDR_ERROR_GSO_SEGMENTS,    /* more UDP segments than Linux takes */
        VNET_HDR_ERROR_HDR_LEN,         /* headers longer than the frame, or shorter than a link header */
        VNET_HDR_ERROR_NUM_BUFFERS,     /* not 0 in a frame to be sent */
        VNET_HDR_ERROR_FLAGS,           /* unknown flags, or those of offloads not negotiated */
        _VNET_HDR_ERROR_MAX,
} VnetHdrError;

#define VNET_USO_SEGMENTS_MAX 128u   /* Linux: UDP_MAX_SEGMENTS */
#define VNET_PAYLOAD_MAX 65535u      /* bytes behind the link header */

/* Bytes of header that go with a negotiated set. */
unsigned vnet_hdr_len(VqFeatures features);
bool vnet_hdr_len_valid(unsigned hdr_len); /* 10, 12, 20 or 24 */

/**
 * vnet_hdr_encode() - write a header as it goes over the ring
 * @hdr:        what to write; fields beyond @hdr_len are left out
 * @hdr_len:    10, 12, 20 or 24
 * @buf:        array of @buf_len; exactly @hdr_len bytes are written
 * @buf_len:    may be more than @hdr_len
 *
 * Return: 0; -EINVAL for another @hdr_len; -EMSGSIZE when @buf_len is less (nothing is written).
 */
int vnet_hdr_encode(const VnetHdr *hdr, unsigned hdr_len, void *buf, size_t buf_len);

/* The inverse. @ret's fields beyond @hdr_len are 0; it is untouched on failure. Errors as in vnet_hdr_encode(). */
int vnet_hdr_decode(VnetHdr *ret, unsigned hdr_len, const void *buf, size_t buf_len);

/**
 * vnet_hdr_validate() - may this header be handed to Linux in front of a frame to be sent?
 * @hdr:        the header
 * @frame_len:  bytes behind it
 * @link:       what the frame begins with
 *
 * Stricter than Linux where Linux guesses: a header accepted here is never refused by vhost or TAP for its fields, and never
 * makes vhost's worker spin (it retries for ever what virtio_net_hdr_to_skb() refuses on its batched path). Looks at the
 * header alone, not into the frame.
 *
 * Source: linux/virtio_net.h virtio_net_hdr_to_skb(), drivers/net/tun.c, drivers/vhost/net.c; virtio 1.2, 5.1.6.2.
 * Return: VNET_HDR_OK or the first thing wrong.
 */
VnetHdrError vnet_hdr_validate(const VnetHdr *hdr, size_t frame_len, VnetLink link);

const char *vnet_hdr_error_to_string(VnetHdrError e); /* one sentence for people */
