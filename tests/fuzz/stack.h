/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The ground of the fuzzers that feed a whole gateway: an input is a script of guest frames and host events, played against the host
 * in memory. Each fuzzer fixes everything below its layer, so that inputs get past it.
 *
 * The layers of IPv6 and multicast have a gateway that speaks it; with the others it knows IPv4 alone.
 *
 *   byte 0     what the gateway is like: bit 0 no HostLoopback, 1 tiny limits, 2 forwards in, 3 link of 576, 4 of 65520,
 *              5 NAT64 by 2001:db8::/96, 6 multicast reflected
 *              (always, in its own layer)
 *   then       records:
 *     1xxxxxxx len(2, LE) bytes   a frame: 0x40 a virtio-net header (10 bytes) is first, 0x20 in many pieces, 0x10 checksums as they are,
 *                                 0x08 held for a batch; low three bits: destination, for the layers above IP
 *     0000xxxx arg(2, LE)         what the host does: see stack.c
 */

#include "fuzz.h"

typedef enum FuzzLayer {
        FUZZ_ETH,  /* the bytes are frames */
        FUZZ_ARP,  /* ... ARP packets */
        FUZZ_IP,   /* ... IPv4 packets; header and protocol checksums are made right */
        FUZZ_IP6,  /* ... IPv6 packets; the protocol's checksum is made right where no extension header is in front of it */
        FUZZ_ND,   /* ... ICMPv6 messages that come from the link itself (hop limit 255) */
        FUZZ_DHCP6, /* ... messages to the DHCPv6 server, in datagrams without fault */
        FUZZ_ICMP, /* ... messages, in packets without fault; here and below checksums are made right */
        FUZZ_ICMP6, /* ... the same of IPv6, that come from anywhere (hop limit 64) */
        FUZZ_FRAGMENT, /* ... pieces of UDP datagrams in either family: a byte of place, one of id and flags, payload */
        FUZZ_UDP,
        FUZZ_MULTICAST, /* datagrams to the reflected groups, IGMP and MLD messages: a byte of who sends, then they */
        FUZZ_TCP,  /* the acknowledgment is relative to what the gateway sent last */
} FuzzLayer;

int fuzz_stack(FuzzLayer layer, const uint8_t *data, size_t size);
