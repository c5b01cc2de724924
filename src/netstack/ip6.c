/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * IPv6 in and out (RFC 8200). In: the fixed header and at most IP6_EXTENSIONS_MAX extension headers, read with suspicion and acted on as far
 * as a destination must, then up to the protocol. Out: the header in front of L4 bytes, and fragments of what is longer than the guest's
 * link. Sends no extension header but the fragment's, honours no source route, keeps nothing.
 *
 *   extension header       what becomes of it
 *   hop-by-hop options     first or refused; unknown options as their type says
 *   destination options    unknown options as their type says
 *   routing                ignored with no segments left, else refused (RFC 5095)
 *   fragment               reassembled; one that is the whole is taken as such (RFC 6946)
 *   any other              the protocol; unknown ones refused
 */

#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>

#include "basic/checksum.h"
#include "netstack/arp.h"
#include "netstack/icmp6.h"
#include "netstack/ip.h"
#include "netstack/multicast.h"

#define IP6_EXTENSIONS_MAX 8
#define IP6_OPTIONS_MAX 32 /* of one header that are looked at, padding not counted */

/* What an option's type says of those who do not know it (RFC 8200 4.2). */
#define OPTION_ACTION(type) ((type) >> 6)
enum {
        OPTION_SKIP,
        OPTION_DISCARD,
        OPTION_TELL,
        OPTION_TELL_UNICAST, /* unless the packet went to a group */
};
#define OPTION_ROUTER_ALERT 5

/* ---- in ---- */

static bool source_is_valid(const Netstack *s, const Packet *p) {
        IpAddr router_anycast = prefix_nth(&s->config.subnet6, 0);

        if (netstack_is_ours(s, &p->src) || ip_equal(&p->src, &router_anycast))
                return false;
        return prefix_contains(&s->config.subnet6, &p->src) || ip_classify(&p->src) == IP_CLASS_LINK_LOCAL;
}

/* Fills @p from the fixed header and trims the cursors to what it says. False (counted) when it lies. */
static bool ip6_parse(Netstack *s, const struct ip6_hdr *h, const IovCur *at_header, Packet *p) {
        size_t total = sizeof(*h) + ntohs(h->ip6_plen);

        memcpy(&p->src, &h->ip6_src, sizeof(p->src));
        memcpy(&p->dst, &h->ip6_dst, sizeof(p->dst));
        if (h->ip6_vfc >> 4 != 6 || total > iovcur_left(at_header) || ip_is_v4(&p->dst)) {
                netstack_drop(s, DROP_IP_MALFORMED);
                return false;
        }
        if (ip_is_v4(&p->src)) { /* inside, that means IPv4: no guest may say so in IPv6 */
                netstack_drop(s, DROP_IP_SOURCE);
                return false;
        }
        p->proto = h->ip6_nxt;
        p->proto_at = offsetof(struct ip6_hdr, ip6_nxt);
        p->ttl = h->ip6_hlim;
        p->tos = (uint8_t) (ntohl(h->ip6_flow) >> 20);
        p->ip = *at_header;
        (void) iovcur_trim(&p->ip, total);
        p->l4 = p->ip;
        (void) iovcur_skip(&p->l4, sizeof(*h));
        return true;
}

/* Refuses the packet for the byte at @at. Always false. */
static bool refuse_at(Netstack *s, const Packet *p, uint8_t code, uint32_t at) {
        netstack_drop(s, DROP_IP_EXTENSION);
        icmp6_send_error(s, p, ICMP6_PARAM_PROB, code, at, /* src= */ NULL);
        return false;
}

/* Reads the options at @c, which end @end bytes into the packet. False (counted, told) when the packet must not go on. */
static bool options_allow(Netstack *s, const Packet *p, IovCur c, uint32_t end) {
        for (unsigned n = 0; iovcur_left(&c) > 0;) {
                uint32_t at = end - (uint32_t) iovcur_left(&c);
                uint8_t type, len;

                (void) iovcur_u8(&c, &type);
                if (type == IP6OPT_PAD1)
                        continue;
                if (!iovcur_u8(&c, &len) || !iovcur_skip(&c, len) || ++n > IP6_OPTIONS_MAX)
                        return refuse_at(s, p, ICMP6_PARAMPROB_HEADER, at);
                if (type == IP6OPT_PADN || type == OPTION_ROUTER_ALERT || OPTION_ACTION(type) == OPTION_SKIP)
                        continue;
                if (OPTION_ACTION(type) == OPTION_TELL ||
                    (OPTION_ACTION(type) == OPTION_TELL_UNICAST && !ip_is_group(s, &p->dst)))
                        return refuse_at(s, p, ICMP6_PARAMPROB_OPTION, at);
                netstack_drop(s, DROP_IP_EXTENSION);
                return false;
        }
        return true;
}

/* One header of those with a length in their second byte: p->proto and p->l4 move behind it. */
static bool take_extension(Netstack *s, Packet *p) {
        IovCur c = p->l4;
        uint8_t next, units, type, segments;

        if (!iovcur_u8(&c, &next) || !iovcur_u8(&c, &units) || !iovcur_skip(&p->l4, (units + 1u) * 8)) {
                netstack_drop(s, DROP_IP_MALFORMED);
                return false;
        }
        uint32_t end = (uint32_t) (iovcur_left(&p->ip) - iovcur_left(&p->l4)), begin = end - (units + 1u) * 8;

        (void) iovcur_trim(&c, (units + 1u) * 8 - 2);
        if (p->proto == IPPROTO_ROUTING) {
                if (iovcur_u8(&c, &type) && iovcur_u8(&c, &segments) && segments > 0)
                        return refuse_at(s, p, ICMP6_PARAMPROB_HEADER, begin + 2);
        } else if (!options_allow(s, p, c, end))
                return false;
        p->proto = next;
        p->proto_at = (uint16_t) begin;
        return true;
}

/* What RFC 8200 4.5 wants told of a piece: a length of no whole eights but at the end, and an end beyond what a packet may have. */
static bool piece_is_allowed(Netstack *s, const Packet *p, const struct ip6_frag *f) {
        size_t len = iovcur_left(&p->l4);
        bool odd = f->ip6f_offlg & IP6F_MORE_FRAG && len % 8 != 0, beyond = ntohs(f->ip6f_offlg & IP6F_OFF_MASK) + len > UINT16_MAX;

        if (!odd && !beyond)
                return true;
        netstack_drop(s, DROP_FRAG_MALFORMED);
        icmp6_send_error(s, p, ICMP6_PARAM_PROB, ICMP6_PARAMPROB_HEADER,
                         odd ? offsetof(struct ip6_hdr, ip6_plen)
                             : (uint32_t) (iovcur_left(&p->ip) - len - sizeof(*f) + offsetof(struct ip6_frag, ip6f_offlg)),
                         NULL);
        return false;
}

/* The fragment header at p->l4. True: the datagram is whole, and @p speaks of it. */
static bool take_fragment(Netstack *s, const struct ip6_hdr *header, Packet *p) {
        struct ip6_frag f;

        if (p->fragmented || !iovcur_copy(&p->l4, &f, sizeof(f))) {
                netstack_drop(s, DROP_FRAG_MALFORMED);
                return false;
        }
        if (!(f.ip6f_offlg & (IP6F_OFF_MASK | IP6F_MORE_FRAG))) {
                p->proto = f.ip6f_nxt;
                p->proto_at = (uint16_t) (iovcur_left(&p->ip) - iovcur_left(&p->l4) - sizeof(f));
                return true;
        }
        if (!piece_is_allowed(s, p, &f))
                return false;
        return fragments_input(s->fragments, p,
                               &(FragmentPlace){
                                       .header = header,
                                       .next = f.ip6f_nxt,
                                       .more = f.ip6f_offlg & IP6F_MORE_FRAG,
                                       .id = f.ip6f_ident,
                                       .off = ntohs(f.ip6f_offlg & IP6F_OFF_MASK),
                               });
}

/* Goes through the extension headers. True: p->proto is the protocol, p->l4 its bytes. */
static bool ip6_extensions(Netstack *s, const struct ip6_hdr *header, Packet *p) {
        for (unsigned n = 0;; n++) {
                switch (p->proto) {
                case IPPROTO_HOPOPTS:
                        if (n > 0)
                                return refuse_at(s, p, ICMP6_PARAMPROB_NEXTHEADER, p->proto_at);
                        /* fall through */
                case IPPROTO_DSTOPTS:
                case IPPROTO_ROUTING:
                        if (!take_extension(s, p))
                                return false;
                        break;
                case IPPROTO_FRAGMENT:
                        if (!take_fragment(s, header, p))
                                return false;
                        break;
                default:
                        return true;
                }
                if (n == IP6_EXTENSIONS_MAX - 1) {
                        netstack_drop(s, DROP_IP_EXTENSION);
                        return false;
                }
        }
}

/* To the protocol; what none of ours takes is refused as a host would, or as a router that may not. */
static void ip6_deliver(Netstack *s, Packet *p) {
        switch (p->proto) {
        case IPPROTO_TCP:
                return tcp_input(s, p);
        case IPPROTO_UDP:
                return udp_input(s, p);
        case IPPROTO_ICMPV6:
                return icmp6_input(s, p);
        default:
                netstack_drop(s, DROP_IP_PROTOCOL);
                if (p->proto == IPPROTO_NONE)
                        return;
                if (netstack_is_ours(s, &p->dst))
                        icmp6_send_error(s, p, ICMP6_PARAM_PROB, ICMP6_PARAMPROB_NEXTHEADER, p->proto_at, NULL);
                else
                        icmp6_send_error(s, p, ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN, 0, NULL);
        }
}

void ip6_input(Netstack *s, const Frame *frame, const MacAddr *src_mac, const MacAddr *dst_mac, IovCur *payload) {
        IovCur cur = *payload;
        struct ip6_hdr h; /* a copy: behind 14 bytes of Ethernet it is not aligned */
        Packet p = ip_packet_of(frame, src_mac, dst_mac);

        if (!iovcur_copy(&cur, &h, sizeof(h)))
                return netstack_drop(s, DROP_IP_MALFORMED);
        if (!ip6_parse(s, &h, payload, &p))
                return;

        bool has_address = !ip_is_null(&p.src), group = ip_is_group(s, &p.dst);
        if (has_address && !source_is_valid(s, &p))
                return netstack_drop(s, DROP_IP_SOURCE);
        if (!group && mac_is_multicast(dst_mac))
                return netstack_drop(s, DROP_IP_DESTINATION);
        if (!ip6_extensions(s, &h, &p))
                return;
        /* who has no address yet may ask for one, and whether it is free: no more */
        if (!has_address && (p.proto != IPPROTO_ICMPV6 || p.fragmented || !group))
                return netstack_drop(s, DROP_IP_SOURCE);
        if (group && p.proto != IPPROTO_UDP && p.proto != IPPROTO_ICMPV6)
                return netstack_drop(s, DROP_IP_DESTINATION);

        if (has_address)
                arp_learn(s->arp, &p.src, src_mac);
        if (p.ttl <= 1 && !group && !netstack_is_ours(s, &p.dst)) {
                netstack_drop(s, DROP_IP_TTL);
                return icmp6_send_error(s, &p, ICMP6_TIME_EXCEEDED, ICMP6_TIME_EXCEED_TRANSIT, 0, NULL);
        }
        ip6_deliver(s, &p);
}

/* ---- out ---- */

typedef struct Ip6Out { /* what is the same for every piece of a packet */
        struct ip6_hdr header;
        struct ether_header eth;
        bool resolved;
} Ip6Out;

static void ip6_commit(Netstack *s, const IpSend *how, Ip6Out *o, uint8_t *l4, size_t l4_len, const struct virtio_net_hdr_v1 *hdr) {
        uint8_t *ip = l4 - sizeof(o->header), *frame = ip - sizeof(o->eth);

        o->header.ip6_plen = htons((uint16_t) l4_len);
        memcpy(ip, &o->header, sizeof(o->header));
        if (!o->resolved)
                return arp_resolve_and_send(s->arp, &how->dst, ip, sizeof(o->header) + l4_len, hdr);
        memcpy(frame, &o->eth, sizeof(o->eth));
        netstack_tx_commit(s, frame, sizeof(o->eth) + sizeof(o->header) + l4_len, hdr);
}

/* Cuts a packet that is longer than the guest's link (RFC 8200 4.5). Rare, so it may copy: the first piece's commit ends the room. */
static void ip6_send_pieces(Netstack *s, const IpSend *how, Ip6Out *o, uint32_t mtu, const uint8_t *l4, size_t l4_len) {
        struct ip6_frag f = { .ip6f_nxt = how->proto };
        size_t step = (mtu - sizeof(o->header) - sizeof(f)) & ~(size_t) 7;
        _cleanup_free_ uint8_t *copy = malloc(l4_len);

        if (!copy)
                return netstack_drop(s, DROP_IP_TOO_BIG);
        memcpy(copy, l4, l4_len);
        s->ops->random(s->userdata, &f.ip6f_ident, sizeof(f.ip6f_ident)); /* RFC 7739: not to be guessed */
        o->header.ip6_nxt = IPPROTO_FRAGMENT;

        for (size_t off = 0; off < l4_len; off += step) {
                size_t n = MIN(step, l4_len - off);
                uint8_t *room = netstack_tx_reserve(s, sizeof(f) + n);

                f.ip6f_offlg = htons((uint16_t) off) | (off + n < l4_len ? IP6F_MORE_FRAG : 0);
                memcpy(room, &f, sizeof(f));
                memcpy(room + sizeof(f), copy + off, n);
                ip6_commit(s, how, o, room, sizeof(f) + n, /* hdr= */ NULL);
        }
}

/* Whose link address: the caller's, a group's, or what the neighbour table says. False when it must be asked for. */
static bool ip6_next_hop(Netstack *s, const IpSend *how, MacAddr *ret_mac, uint32_t *ret_mtu) {
        *ret_mtu = how->mtu > 0 ? how->mtu : 1500;
        if (how->mac) {
                *ret_mac = *how->mac;
                return true;
        }
        if (ip_is_group(s, &how->dst)) {
                *ret_mac = multicast_mac(&how->dst);
                return true;
        }
        return arp_lookup(s->arp, &how->dst, ret_mac, ret_mtu);
}

void ip6_send(Netstack *s, const IpSend *how, uint8_t *l4, size_t l4_len) {
        MacAddr mac = {};
        uint32_t mtu;
        Ip6Out o = { .eth = { .ether_type = htons(ETHERTYPE_IPV6) } };
        struct virtio_net_hdr_v1 hdr = {};
        bool gso = how->gso_type != VIRTIO_NET_HDR_GSO_NONE;

        if (!netstack_has_ip6(s) || ip_is_v4(&how->src) || l4_len > UINT16_MAX)
                return netstack_drop(s, DROP_IP_MALFORMED);

        o.header.ip6_flow = htonl(UINT32_C(6) << 28 | (uint32_t) how->tos << 20);
        o.header.ip6_nxt = how->proto;
        o.header.ip6_hlim = how->ttl > 0 ? how->ttl : 64;
        memcpy(&o.header.ip6_src, &how->src, sizeof(how->src));
        memcpy(&o.header.ip6_dst, &how->dst, sizeof(how->dst));
        o.resolved = ip6_next_hop(s, how, &mac, &mtu);
        memcpy(o.eth.ether_dhost, &mac, ETH_ALEN);
        memcpy(o.eth.ether_shost, &s->config.mac, ETH_ALEN);

        if (!gso && sizeof(o.header) + l4_len > mtu) {
                if (how->dont_fragment || mtu < sizeof(o.header) + sizeof(struct ip6_frag) + 8)
                        return netstack_drop(s, DROP_IP_TOO_BIG);
                if (how->csum_start > 0)
                        ip_complete_checksum(how, l4, l4_len);
                return ip6_send_pieces(s, how, &o, mtu, l4, l4_len);
        }

        ip_ask_device(how, sizeof(o.eth) + sizeof(o.header), l4, l4_len, &hdr);
        ip6_commit(s, how, &o, l4, l4_len, &hdr);
}
