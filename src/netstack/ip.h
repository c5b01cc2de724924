/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * IP of both families: reads headers off guests' packets and hands them up, puts headers on packets for guests and hands them down.
 * IPv4 options are refused; what is longer than the guest's link is fragmented when it may be.
 */

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

/* ip-fragment.c: bounded reassembly (RFC 791, RFC 8200 4.5; overlaps are refused as RFC 5722 asks). */
#define FRAG_DATAGRAMS_MAX 64
#define FRAG_BYTES_MAX (4 * 1024 * 1024)
#define FRAG_PIECES_MAX 64               /* of one datagram */
#define FRAG_TIMEOUT_USEC (15 * USEC_PER_SEC)
int fragments_new(Fragments **ret, Netstack *s);
Fragments *fragments_free(Fragments *f);
uint32_t fragments_held(const Fragments *f);
