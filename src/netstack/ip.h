/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * IP of both families: reads headers off guests' packets and hands them up, puts headers on packets for guests and hands them down.
 * IPv4 options are refused; what is longer than the guest's link is fragmented when it may be.
 */

#include <netinet/ip.h>

#include "basic/checksum.h"
#include "netstack/netstack-private.h"

typedef struct IpSend {
        IpAddr src, dst;
        uint8_t proto;
        uint8_t ttl;         /* 0: 64 */
        uint8_t tos;
        bool dont_fragment;  /* DF; set for TCP */
        const MacAddr *mac;  /* (nullable) the guest's, when the caller knows; else looked up */
        uint32_t mtu;        /* of the guest's link with @mac; 0: 1500 */
        uint16_t csum_start; /* L4 checksum left to the far end: offset of its field in the L4 header plus one; 0: already complete */
        uint8_t gso_type;    /* VIRTIO_NET_HDR_GSO_* (TCPV4/TCPV6/UDP_L4, ECN bit allowed); 0: none */
        uint16_t gso_size;
        uint16_t l4_header_len; /* with gso_type */
} IpSend;

/* Sends L4 bytes [@l4, +@l4_len), which lie in room from netstack_tx_reserve(): writes IP and Ethernet headers in front, the pseudo-header
 * sum into the checksum field when csum_start asks, and queues the frame. Resolves, fragments, or drops with a count. */
void ip_send(Netstack *s, const IpSend *how, uint8_t *l4, size_t l4_len);

/* Where a guest's packet for @port of its destination goes: true and @ret, else the guest is told why not (ICMP) and it is counted. */
bool ip_route_or_refuse(Netstack *s, const Packet *p, uint16_t port, Endpoint *ret);

/* The same in IPv6: ip_send() comes here by itself. */
void ip6_send(Netstack *s, const IpSend *how, uint8_t *l4, size_t l4_len);

/* Puts the complete L4 checksum in: nobody after us can, once the packet is in pieces. */
void ip_complete_checksum(const IpSend *how, uint8_t *l4, size_t l4_len);

/* What the frame itself says of the packet in it. */
static inline Packet ip_packet_of(const Frame *frame, const MacAddr *src_mac, const MacAddr *dst_mac) {
        return (Packet){
                .src_mac = *src_mac,
                .dst_mac = *dst_mac,
                .csum_ok = frame->hdr.flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID),
                .gso_type = frame->hdr.gso_type & ~VIRTIO_NET_HDR_GSO_ECN,
                .gso_size = le16toh(frame->hdr.gso_size),
        };
}

/* The other way: what the device is to do with a packet that leaves whole, @l3_len bytes of Ethernet and IP in front of @l4. Begins the
 * checksum the device completes. */
static inline void ip_ask_device(const IpSend *how, size_t l3_len, uint8_t *l4, size_t l4_len, struct virtio_net_hdr_v1 *hdr) {
        if (how->csum_start > 0) {
                uint16_t sum = htons(checksum_fold(checksum_pseudo(&how->src, &how->dst, how->proto, (uint32_t) l4_len)));

                memcpy(l4 + how->csum_start - 1, &sum, sizeof(sum));
                hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
                hdr->csum_start = htole16(l3_len);
                hdr->csum_offset = htole16(how->csum_start - 1);
        }
        if (how->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
                hdr->gso_type = how->gso_type;
                hdr->gso_size = htole16(how->gso_size);
                hdr->hdr_len = htole16(l3_len + how->l4_header_len);
        }
}

/* How long the IP header of packets for @a is: options and extension headers are never sent. */
static inline uint32_t ip_header_len(const IpAddr *a) {
        return ip_is_v4(a) ? 20 : 40;
}

/* Is it an address no error is ever sent about: not one host's (RFC 1122 3.2.2)? */
bool ip_is_group(const Netstack *s, const IpAddr *a);

/* The TTL to send on with: the gateway is one hop on the way out. The host's own default (0) for the host itself. */
static inline uint8_t ip_ttl_out(const Netstack *s, const Packet *p) {
        return netstack_is_ours(s, &p->dst) ? 0 : p->ttl - 1;
}

/* ip-fragment.c: bounded reassembly (RFC 791, RFC 8200 4.5; overlaps are refused as RFC 5722 asks). */
#define FRAG_DATAGRAMS_MAX 64
#define FRAG_PER_GUEST_MAX 16            /* of these from one MAC address */
#define FRAG_BYTES_MAX (FRAG_DATAGRAMS_MAX * (64 * 1024 + 64)) /* what all of them can come to */
#define FRAG_PIECES_MAX 64               /* of one datagram */
#define FRAG_TIMEOUT_USEC (15 * USEC_PER_SEC)
int fragments_new(Fragments **ret, Netstack *s);
Fragments *fragments_free(Fragments *f);
uint32_t fragments_held(const Fragments *f);

typedef struct FragmentPlace {
        const void *header; /* (borrowed) the IP header, of ip_header_len() bytes */
        uint8_t next;       /* protocol of what the pieces make up */
        bool more;          /* others follow */
        uint32_t id, off;   /* off: in bytes */
} FragmentPlace;

/* Takes one fragment: @p its fields, l4 its bytes. In IPv6 p->proto must be the same for all (RFC 8200 4.5 tells them apart by
 * addresses and id alone). True when the datagram is whole: @p then speaks of all of it, in memory that stays until fragments_done(). */
bool fragments_input(Fragments *f, Packet *p, const FragmentPlace *at);
void fragments_done(Fragments *f); /* the batch is over: lets go of what fragments_input() handed out */
