/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * IPv4 in and out (ip6.c has IPv6), and what both share. In: one header read with suspicion, then up to the protocol; what cannot go on is counted
 * and, where RFC 1122 and 1812 allow, answered. Out: the header in front of L4 bytes, offloads described,
 * too long packets cut. Keeps nothing, never looks past the first ports.
 */

#include "netstack/ip.h"

#include <errno.h>
#include <net/ethernet.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>

#include "basic/checksum.h"
#include "netstack/arp.h"
#include "netstack/icmp.h"
#include "netstack/multicast.h"

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68

/* ---- in ---- */

bool ip_is_group(const Netstack *s, const IpAddr *a) {
        IpAddr subnet_all = prefix_broadcast(&s->config.subnet), all = ip_from_v4(INADDR_BROADCAST);
        IpAddr old_all = ip_from_v4(INADDR_ANY); /* RFC 1122 3.3.6 */

        return ip_classify(a) == IP_CLASS_MULTICAST || ip_equal(a, &subnet_all) || ip_equal(a, &all) ||
               ip_equal(a, &old_all);
}

/* A client without an address of the subnet may say one thing: DHCP's (RFC 2131 4.1). */
static bool is_dhcp_request(const Packet *p) {
        IovCur cur = p->l4;
        uint16_t sport, dport;

        return p->proto == IPPROTO_UDP && iovcur_be16(&cur, &sport) && iovcur_be16(&cur, &dport) &&
               sport == DHCP_CLIENT_PORT && dport == DHCP_SERVER_PORT;
}

/* A guest's, of the subnet. */
static bool source_is_valid(const Netstack *s, const Packet *p) {
        IpAddr network = prefix_nth(&s->config.subnet, 0), all = prefix_broadcast(&s->config.subnet);

        return prefix_contains(&s->config.subnet, &p->src) && !netstack_is_ours(s, &p->src) &&
               !ip_equal(&p->src, &network) && !ip_equal(&p->src, &all);
}

/* None at all, or one the client got elsewhere and tries to keep (RFC 2131 4.3.2: REBINDING): it must hear
 * from us that it cannot. */
static bool source_may_ask_dhcp(const Netstack *s, const Packet *p) {
        return ip_v4(&p->src) == INADDR_ANY ||
               (ip_classify(&p->src) == IP_CLASS_UNICAST && !prefix_contains(&s->config.subnet, &p->src));
}

bool ip_route_or_refuse(Netstack *s, const Packet *p, uint16_t port, Endpoint *ret) {
        Endpoint dst = { p->dst, port };
        int r = netstack_route_out(s, p->proto == IPPROTO_ICMPV6 ? IPPROTO_ICMP : p->proto, &dst, ret);

        if (r == -EACCES) {
                netstack_drop(s, DROP_IP_POLICY);
                icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, 0, NULL);
        } else if (r < 0) {
                netstack_drop(s, DROP_IP_DESTINATION);
                icmp_send_error(s, p, ICMP_DEST_UNREACH,
                                netstack_is_inside(s, &p->dst) ? ICMP_HOST_UNREACH : ICMP_NET_UNREACH,
                                0, NULL);
        }
        return r >= 0;
}

/* To the protocol. What none of ours takes is refused as a host would (RFC 1122 3.2.2.1), or as a router
 * that may not. */
static void ip4_deliver(Netstack *s, Packet *p) {
        switch (p->proto) {
        case IPPROTO_TCP:
                return tcp_input(s, p);
        case IPPROTO_UDP:
                return udp_input(s, p);
        case IPPROTO_ICMP:
                return icmp4_input(s, p);
        default:
                netstack_drop(s, DROP_IP_PROTOCOL);
                icmp_send_error(s, p, ICMP_DEST_UNREACH,
                                netstack_is_ours(s, &p->dst) ? ICMP_PROT_UNREACH : ICMP_PKT_FILTERED, 0,
                                NULL);
        }
}

/* Fills @p from the header and trims the cursors to what the header says. False (counted) when it lies. */
static bool ip4_parse(Netstack *s, const struct iphdr *h, const IovCur *at_header, Packet *p) {
        size_t total = ntohs(h->tot_len), header_len = h->ihl * 4u;

        if (h->version != 4 || header_len < sizeof(*h) || total < header_len ||
            total > iovcur_left(at_header)) {
                netstack_drop(s, DROP_IP_MALFORMED);
                return false;
        }
        if (header_len > sizeof(*h) && !(h->protocol == IPPROTO_IGMP && multicast_is_on(s))) { /* IGMP has one always */
                netstack_drop(s, DROP_IP_OPTIONS);
                return false;
        }
        if (checksum_fold(checksum_add_iov(at_header->iov, at_header->n_iov, at_header->off, header_len, 0)) != 0xffff) {
                netstack_drop(s, DROP_IP_CHECKSUM);
                return false;
        }

        p->src = ip_from_v4(h->saddr);
        p->dst = ip_from_v4(h->daddr);
        p->proto = h->protocol;
        p->ttl = h->ttl;
        p->tos = h->tos;
        p->ip = *at_header;
        (void) iovcur_trim(&p->ip, total);
        p->l4 = p->ip;
        (void) iovcur_skip(&p->l4, header_len);
        return true;
}

void ip4_input(Netstack *s, const Frame *frame, const MacAddr *src_mac, const MacAddr *dst_mac,
               IovCur *payload) {
        IovCur cur = *payload;
        struct iphdr h; /* a copy: behind 14 bytes of Ethernet it is not aligned */
        Packet p = ip_packet_of(frame, src_mac, dst_mac);

        if (!iovcur_copy(&cur, &h, sizeof(h)))
                return netstack_drop(s, DROP_IP_MALFORMED);
        if (!ip4_parse(s, &h, payload, &p))
                return;

        uint16_t frag = ntohs(h.frag_off);
        bool more = frag & IP_MF, has_address = source_is_valid(s, &p);
        bool group = ip_is_group(s, &p.dst);
        uint32_t off = (frag & IP_OFFMASK) * 8u;

        if (p.proto == IPPROTO_IGMP && multicast_is_on(s))
                return more || off > 0 ? netstack_drop(s, DROP_IGMP_MALFORMED) : igmp_input(s, &p);
        if (!has_address && (more || off > 0 || !source_may_ask_dhcp(s, &p) || !is_dhcp_request(&p) ||
                             (!group && !netstack_is_gateway(s, &p.dst))))
                return netstack_drop(s, DROP_IP_SOURCE);
        if ((more || off > 0) &&
            !fragments_input(s->fragments, &p, &(FragmentPlace){ &h, p.proto, more, h.id, off }))
                return;

        if (has_address)
                arp_learn(s->arp, &p.src, src_mac);

        if (group ? p.proto != IPPROTO_UDP : mac_is_multicast(dst_mac))
                return netstack_drop(s, DROP_IP_DESTINATION); /* silently: RFC 1122 3.2.2, 3.3.6 */

        if (p.ttl <= 1 && !group && !netstack_is_ours(s, &p.dst)) {
                netstack_drop(s, DROP_IP_TTL);
                return icmp_send_error(s, &p, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0, NULL);
        }
        ip4_deliver(s, &p);
}

/* ---- out ---- */

typedef struct IpOut { /* what is the same for every piece of a packet */
        struct iphdr header;
        struct ether_header eth;
        bool resolved;
} IpOut;

static void ip4_commit(Netstack *s, const IpSend *how, IpOut *o, uint8_t *l4, size_t l4_len,
                       const struct virtio_net_hdr_v1 *hdr) {
        uint8_t *ip = l4 - sizeof(o->header), *frame = ip - sizeof(o->eth);

        /* 0: as long as the frame is, for a guest whose kernel cuts it into packets, or does not need to */
        o->header.tot_len = sizeof(o->header) + l4_len > UINT16_MAX ? 0 : htons((uint16_t) (sizeof(o->header) + l4_len));
        o->header.check = 0;
        o->header.check = checksum_finish(checksum_add(&o->header, sizeof(o->header), 0));
        memcpy(ip, &o->header, sizeof(o->header));

        if (!o->resolved)
                return arp_resolve_and_send(s->arp, &how->dst, ip, sizeof(o->header) + l4_len, hdr);
        memcpy(frame, &o->eth, sizeof(o->eth));
        netstack_tx_commit(s, frame, sizeof(o->eth) + sizeof(o->header) + l4_len, hdr);
}

void ip_complete_checksum(const IpSend *how, uint8_t *l4, size_t l4_len) {
        uint8_t *field = l4 + how->csum_start - 1;

        memset(field, 0, 2);
        uint32_t sum = checksum_pseudo(&how->src, &how->dst, how->proto, (uint32_t) l4_len);
        uint16_t check = checksum_finish(checksum_add(l4, l4_len, sum));
        if (check == 0 && how->proto == IPPROTO_UDP)
                check = 0xffff; /* 0 says "none" (RFC 768) */
        memcpy(field, &check, sizeof(check));
}

/* Cuts a packet that is longer than the guest's link (RFC 791 2.3). Rare, so it may copy: the first piece's
 * commit ends the room. */
static void ip4_send_pieces(Netstack *s, const IpSend *how, IpOut *o, uint32_t mtu, const uint8_t *l4,
                            size_t l4_len) {
        size_t step = (mtu - sizeof(o->header)) & ~(size_t) 7;
        _cleanup_free_ uint8_t *copy = malloc(l4_len);

        if (!copy)
                return netstack_drop(s, DROP_IP_TOO_BIG);
        memcpy(copy, l4, l4_len);

        for (size_t off = 0; off < l4_len; off += step) {
                size_t n = MIN(step, l4_len - off);
                uint8_t *room = netstack_tx_reserve(s, n);

                memcpy(room, copy + off, n);
                o->header.frag_off = htons((uint16_t) (off / 8 | (off + n < l4_len ? IP_MF : 0)));
                ip4_commit(s, how, o, room, n, /* hdr= */ NULL);
        }
}

/* Whose link address: the caller's, everybody's, or what the neighbour table says. False when it must be
 * asked for. */
static bool ip4_next_hop(Netstack *s, const IpSend *how, MacAddr *ret_mac, uint32_t *ret_mtu) {
        *ret_mtu = how->mtu > 0 ? how->mtu : 1500;
        if (how->mac) {
                *ret_mac = *how->mac;
                return true;
        }
        if (ip_is_group(s, &how->dst)) {
                memset(ret_mac, 0xff, sizeof(*ret_mac));
                return true;
        }
        return arp_lookup(s->arp, &how->dst, ret_mac, ret_mtu);
}

void ip_send(Netstack *s, const IpSend *how, uint8_t *l4, size_t l4_len) {
        MacAddr mac = {};
        uint32_t mtu;
        IpOut o = {
                .header = {
                        .version = 4,
                        .ihl = 5,
                        .tos = how->tos,
                        .id = how->dont_fragment ? 0 : htons(s->ip_id++), /* RFC 6864 4.1 */
                        .frag_off = htons(how->dont_fragment ? IP_DF : 0),
                        .ttl = how->ttl > 0 ? how->ttl : 64,
                        .protocol = how->proto,
                        .saddr = ip_v4(&how->src),
                        .daddr = ip_v4(&how->dst),
                },
                .eth = { .ether_type = htons(ETHERTYPE_IP) },
        };
        struct virtio_net_hdr_v1 hdr = {};

        if (!ip_is_v4(&how->dst))
                return ip6_send(s, how, l4, l4_len);
        if (!ip_is_v4(&how->src) || (l4_len > UINT16_MAX - sizeof(o.header) && how->gso_type != VIRTIO_NET_HDR_GSO_TCPV4))
                return netstack_drop(s, DROP_IP_MALFORMED);

        o.resolved = ip4_next_hop(s, how, &mac, &mtu);
        memcpy(o.eth.ether_dhost, &mac, ETH_ALEN);
        memcpy(o.eth.ether_shost, &s->config.mac, ETH_ALEN);

        if (how->gso_type == VIRTIO_NET_HDR_GSO_NONE && sizeof(o.header) + l4_len > mtu) {
                if (how->dont_fragment || mtu < sizeof(o.header) + 8)
                        return netstack_drop(s, DROP_IP_TOO_BIG);
                if (how->csum_start > 0)
                        ip_complete_checksum(how, l4, l4_len);
                return ip4_send_pieces(s, how, &o, mtu, l4, l4_len);
        }

        ip_ask_device(how, sizeof(o.eth) + sizeof(o.header), l4, l4_len, &hdr);
        ip4_commit(s, how, &o, l4, l4_len, &hdr);
}
