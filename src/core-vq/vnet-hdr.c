/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Encoding, decoding and judging virtio-net headers. Never looks into a frame, never computes a checksum.
 */

#include "core-vq/vnet-hdr.h"

#include <errno.h>
#include <string.h>

#define ETH_LEN 14u
#define IP4_LEN 20u
#define IP6_LEN 40u
#define TCP_LEN 20u
#define UDP_LEN 8u
#define TCP_CSUM_OFFSET 16u
#define UDP_CSUM_OFFSET 6u

unsigned vnet_hdr_len(VqFeatures f) {
        if (vq_features_has(f, VNET_F_GUEST_UDP_TUNNEL_GSO) || vq_features_has(f, VNET_F_HOST_UDP_TUNNEL_GSO))
                return VNET_HDR_LEN_TUNNEL;
        if (vq_features_has(f, VNET_F_HASH_REPORT))
                return VNET_HDR_LEN_HASH;
        if (vq_features_has(f, VQ_F_VERSION_1) || vq_features_has(f, VNET_F_MRG_RXBUF))
                return VNET_HDR_LEN_V1;
        return VNET_HDR_LEN_LEGACY;
}

bool vnet_hdr_len_valid(unsigned hdr_len) {
        return hdr_len == VNET_HDR_LEN_LEGACY || hdr_len == VNET_HDR_LEN_V1 || hdr_len == VNET_HDR_LEN_HASH ||
               hdr_len == VNET_HDR_LEN_TUNNEL;
}

static void put16(uint8_t *p, uint16_t v) {
        p[0] = (uint8_t) v;
        p[1] = (uint8_t) (v >> 8);
}

static uint16_t get16(const uint8_t *p) {
        return (uint16_t) (p[0] | p[1] << 8);
}

int vnet_hdr_encode(const VnetHdr *hdr, unsigned hdr_len, void *buf, size_t buf_len) {
        uint8_t b[VNET_HDR_LEN_MAX];

        if (!vnet_hdr_len_valid(hdr_len))
                return -EINVAL;
        if (buf_len < hdr_len)
                return -EMSGSIZE;
        b[0] = hdr->flags;
        b[1] = hdr->gso_type;
        put16(b + 2, hdr->hdr_len);
        put16(b + 4, hdr->gso_size);
        put16(b + 6, hdr->csum_start);
        put16(b + 8, hdr->csum_offset);
        put16(b + 10, hdr->num_buffers);
        put16(b + 12, (uint16_t) hdr->hash_value);
        put16(b + 14, (uint16_t) (hdr->hash_value >> 16));
        put16(b + 16, hdr->hash_report);
        put16(b + 18, 0);
        put16(b + 20, hdr->outer_th_offset);
        put16(b + 22, hdr->inner_nh_offset);
        memcpy(buf, b, hdr_len);
        return 0;
}

int vnet_hdr_decode(VnetHdr *ret, unsigned hdr_len, const void *buf, size_t buf_len) {
        uint8_t b[VNET_HDR_LEN_MAX] = {};

        if (!vnet_hdr_len_valid(hdr_len))
                return -EINVAL;
        if (buf_len < hdr_len)
                return -EMSGSIZE;
        memcpy(b, buf, hdr_len);
        *ret = (VnetHdr) {
                .flags = b[0],
                .gso_type = b[1],
                .hdr_len = get16(b + 2),
                .gso_size = get16(b + 4),
                .csum_start = get16(b + 6),
                .csum_offset = get16(b + 8),
                .num_buffers = get16(b + 10),
                .hash_value = get16(b + 12) | (uint32_t) get16(b + 14) << 16,
                .hash_report = get16(b + 16),
                .outer_th_offset = get16(b + 20),
                .inner_nh_offset = get16(b + 22),
        };
        return 0;
}

static VnetHdrError validate_gso(const VnetHdr *hdr, size_t frame_len, unsigned link_len) {
        unsigned type = hdr->gso_type & ~(unsigned) VNET_HDR_GSO_ECN, ip_len = IP4_LEN, l4_len, csum_offset;

        switch (type) {
        case VNET_HDR_GSO_TCPV4:
        case VNET_HDR_GSO_TCPV6:
                ip_len = type == VNET_HDR_GSO_TCPV6 ? IP6_LEN : IP4_LEN;
                l4_len = TCP_LEN;
                csum_offset = TCP_CSUM_OFFSET;
                break;
        case VNET_HDR_GSO_UDP:
        case VNET_HDR_GSO_UDP_L4:
                if (hdr->gso_type & VNET_HDR_GSO_ECN)
                        return VNET_HDR_ERROR_GSO_TYPE;
                l4_len = UDP_LEN;
                csum_offset = UDP_CSUM_OFFSET;
                break;
        default: /* tunnels too: those bits are offered by no released vhost-net this code has met */
                return VNET_HDR_ERROR_GSO_TYPE;
        }
        if (hdr->gso_size == 0 || hdr->gso_size == UINT16_MAX)
                return VNET_HDR_ERROR_GSO_SIZE;
        if (!(hdr->flags & VNET_HDR_F_NEEDS_CSUM) || hdr->csum_offset != csum_offset)
                return VNET_HDR_ERROR_GSO_CSUM;
        if (hdr->csum_start < link_len + ip_len || (size_t) hdr->csum_start + l4_len > frame_len)
                return VNET_HDR_ERROR_GSO_OFFSET;
        if (type == VNET_HDR_GSO_UDP_L4 &&
            frame_len - hdr->csum_start - UDP_LEN > (size_t) hdr->gso_size * VNET_USO_SEGMENTS_MAX)
                return VNET_HDR_ERROR_GSO_SEGMENTS;
        return VNET_HDR_OK;
}

VnetHdrError vnet_hdr_validate(const VnetHdr *hdr, size_t frame_len, VnetLink link) {
        unsigned link_len = link == VNET_LINK_ETHERNET ? ETH_LEN : 0;

        if (frame_len < (link == VNET_LINK_ETHERNET ? ETH_LEN : IP4_LEN))
                return VNET_HDR_ERROR_FRAME_SHORT;
        if (frame_len > link_len + VNET_PAYLOAD_MAX)
                return VNET_HDR_ERROR_FRAME_LONG;
        if (hdr->flags & ~(VNET_HDR_F_NEEDS_CSUM | VNET_HDR_F_DATA_VALID))
                return VNET_HDR_ERROR_FLAGS;
        if (hdr->num_buffers != 0)
                return VNET_HDR_ERROR_NUM_BUFFERS;
        if (hdr->hdr_len != 0 && (hdr->hdr_len < link_len || hdr->hdr_len > frame_len))
                return VNET_HDR_ERROR_HDR_LEN;
        if (hdr->flags & VNET_HDR_F_NEEDS_CSUM && (size_t) hdr->csum_start + hdr->csum_offset + 2 > frame_len)
                return VNET_HDR_ERROR_CSUM_RANGE;
        return hdr->gso_type == VNET_HDR_GSO_NONE ? VNET_HDR_OK : validate_gso(hdr, frame_len, link_len);
}

const char *vnet_hdr_error_to_string(VnetHdrError e) {
        switch (e) {
        case VNET_HDR_OK:
                return "the header fits its frame";
        case VNET_HDR_ERROR_FRAME_SHORT:
                return "the frame is shorter than its link header";
        case VNET_HDR_ERROR_FRAME_LONG:
                return "the frame is longer than its link header and 65535 bytes";
        case VNET_HDR_ERROR_CSUM_RANGE:
                return "the checksum to fill in lies behind the frame's end";
        case VNET_HDR_ERROR_GSO_TYPE:
                return "the GSO type is unknown or does not go with ECN";
        case VNET_HDR_ERROR_GSO_SIZE:
                return "the GSO size is 0 or 65535";
        case VNET_HDR_ERROR_GSO_CSUM:
                return "segmentation needs the checksum of that protocol filled in";
        case VNET_HDR_ERROR_GSO_OFFSET:
                return "the transport header does not fit between network header and end";
        case VNET_HDR_ERROR_GSO_SEGMENTS:
                return "the datagram would be cut into more than 128 segments";
        case VNET_HDR_ERROR_HDR_LEN:
                return "the header length is less than a link header or more than the frame";
        case VNET_HDR_ERROR_NUM_BUFFERS:
                return "num_buffers is not 0 in a frame to be sent";
        case VNET_HDR_ERROR_FLAGS:
                return "a flag is unknown or of an offload not negotiated";
        case _VNET_HDR_ERROR_MAX:
                break;
        }
        return NULL;
}
