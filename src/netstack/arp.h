/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Neighbours of both families, and ARP (RFC 826, RFC 5227). Answers for the gateway's addresses, learns guests from what they ask and
 * send, probes before forgetting, holds a few packets for addresses being resolved. Never believes a claim to the gateway's own addresses.
 */

#include "netstack/netstack-private.h"

#define ARP_NEIGHBOURS_MAX 1024
#define ARP_QUEUE_MAX 16                            /* packets held for all unresolved addresses together */
#define ARP_QUEUE_PER_ADDR_MAX 4                    /* of these for one address */
#define ARP_REACHABLE_USEC (60 * USEC_PER_SEC)      /* then probed on next use */
#define ARP_STALE_USEC (20 * USEC_PER_MINUTE)       /* then forgotten */
#define ARP_PROBES_MAX 3                            /* a second apart */

int arp_new(Arp **ret, Netstack *s);
Arp *arp_free(Arp *a);

/* The guest's link address and what its link carries. True when known (then usable at once; a probe may go out beside it). */
bool arp_lookup(Arp *a, const IpAddr *addr, MacAddr *ret_mac, uint32_t *ret_mtu);

/* Holds a copy of an outgoing packet ([@ip, +@len): IP header on, TX_HEADROOM conventions do not apply; @hdr its offloads) until @dst
 * resolves, and asks for it. Drops (counted) beyond ARP_QUEUE_MAX. */
void arp_resolve_and_send(Arp *a, const IpAddr *dst, const uint8_t *ip, size_t len, const struct virtio_net_hdr_v1 *hdr);

/* Learns or refreshes @addr -> @mac from a packet of any kind (called for every first packet of a flow, DHCP ACKs ...). */
void arp_learn(Arp *a, const IpAddr *addr, const MacAddr *mac);
/* The address in @in that a station was seen to use last; false when none is known. A walk over the table. */
bool arp_find_by_mac(const Arp *a, const MacAddr *mac, const IpPrefix *in, IpAddr *ret);
bool arp_is_known(Arp *a, const IpAddr *addr); /* there is an entry, resolved or not */
void arp_forget(Arp *a, const MacAddr *mac);
size_t arp_n_neighbours(const Arp *a);
