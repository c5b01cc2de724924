/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Packets for engine tests: built whole with right checksums (a test then breaks what it wants broken), and frames from the gateway
 * taken apart with every length and checksum asserted on the way.
 */

#include "fake-host.h"

typedef struct Packet4 { /* what a guest sends; begin with packet4() and change what matters */
        MacAddr src_mac, dst_mac;
        IpAddr src, dst;
        uint16_t sport, dport;
        uint8_t ttl, tos;
        uint16_t id, frag; /* frag: host order, flags and offset in eights */
} Packet4;

/* From 192.168.127.2:40000 (for an IPv6 @dst: FAKE_GUEST6) at FAKE_GUEST_MAC to @dst, by the gateway's MAC address. */
Packet4 packet4(const char *dst, uint16_t dport);

/* Whole Ethernet frames. The returned array is the caller's (g_byte_array_unref()). */
/* IPv6 where the addresses are: ICMPv6 types then, and @id and @frag are without meaning. */
GByteArray *packet_udp(const Packet4 *p, const void *payload, size_t len);
GByteArray *packet_icmp(const Packet4 *p, uint8_t type, uint8_t code, uint16_t id, uint16_t seq, const void *payload, size_t len);
GByteArray *packet_tcp(const Packet4 *p, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window, const void *options,
                       size_t options_len, const void *payload, size_t len);
GByteArray *packet_ip(const Packet4 *p, uint8_t proto, const void *l4, size_t len); /* no L4 checksum is touched */
GByteArray *packet_arp(const MacAddr *src_mac, uint16_t op, const MacAddr *sha, const IpAddr *spa, const MacAddr *tha, const IpAddr *tpa);
GByteArray *packet_eth(const MacAddr *src, const MacAddr *dst, uint16_t type, const void *payload, size_t len);

/* Makes the checksums of an IPv4 or IPv6 frame (there: without extension headers) right again after it was changed: the header's, and the protocol's where its bytes are there. */
void packet_fix(uint8_t *frame, size_t len);

void packet_send(FakeHost *h, GByteArray *frame); /* (owned) into the gateway, and freed */

typedef struct Parsed {
        MacAddr eth_src, eth_dst;
        uint16_t eth_type;
        struct virtio_net_hdr_v1 hdr;
        struct {
                uint16_t op;
                MacAddr sha, tha;
                IpAddr spa, tpa;
        } arp;
        /* IP; the id and fragment bits are IPv4's */
        IpAddr src, dst;
        uint8_t proto, ttl, tos;
        uint16_t ip_id, ip_frag, ip_len;
        const uint8_t *l4;
        size_t l4_len;
        /* UDP, TCP */
        uint16_t sport, dport;
        uint32_t seq, ack;
        uint8_t tcp_flags;
        uint16_t tcp_window;
        const uint8_t *tcp_options;
        size_t tcp_options_len;
        /* ICMP */
        uint8_t icmp_type, icmp_code;
        uint16_t echo_id, echo_seq;
        uint16_t next_mtu;
        uint32_t icmp_arg; /* the four bytes behind the checksum */
        /* all */
        const uint8_t *payload; /* (borrowed: of the frame) behind the UDP, TCP or ICMP header */
        size_t payload_len;
} Parsed;

/* Takes a frame from the gateway apart; fails the test when anything in it is wrong. Pieces of fragmented packets stop at l4. */
Parsed packet_parse(const FakeFrame *f);

/* Takes the next frame, which must be there, and leaves it in *@frame for the payload pointers. */
Parsed packet_take(FakeHost *h, FakeFrame **frame);

/* The next frame must be an ICMP error of this kind from @src about a packet to @dst (protocol @proto). */
void packet_expect_icmp(FakeHost *h, uint8_t type, uint8_t code, const char *src, const char *dst, uint8_t proto);
