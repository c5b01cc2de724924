/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packets built and taken apart for tests. Written from the RFCs and apart from src/netstack on purpose: it shares the checksum
 * routine and nothing else with what it tests.
 */

#include "packet.h"

#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include "basic/checksum.h"

Packet4 packet4(const char *dst, uint16_t dport) {
        return (Packet4){
                .src_mac = FAKE_GUEST_MAC,
                .dst_mac = FAKE_GATEWAY_MAC,
                .src = fake_ip(strchr(dst, ':') ? FAKE_GUEST6 : "192.168.127.2"),
                .dst = fake_ip(dst),
                .sport = 40000,
                .dport = dport,
                .ttl = 64,
                .id = 0x1234,
        };
}

GByteArray *packet_eth(const MacAddr *src, const MacAddr *dst, uint16_t type, const void *payload, size_t len) {
        GByteArray *b = g_byte_array_new();
        struct ether_header eth = { .ether_type = htons(type) };

        memcpy(eth.ether_shost, src, ETH_ALEN);
        memcpy(eth.ether_dhost, dst, ETH_ALEN);
        g_byte_array_append(b, (const guint8 *) &eth, sizeof(eth));
        if (len > 0)
                g_byte_array_append(b, payload, (guint) len);
        return b;
}

static GByteArray *packet_ip6(const Packet4 *p, uint8_t proto, const void *l4, size_t len) {
        g_autofree uint8_t *buf = g_malloc0(sizeof(struct ip6_hdr) + len);
        struct ip6_hdr h = { .ip6_flow = htonl(UINT32_C(6) << 28 | (uint32_t) p->tos << 20) };

        h.ip6_plen = htons((uint16_t) len);
        h.ip6_nxt = proto;
        h.ip6_hlim = p->ttl;
        memcpy(&h.ip6_src, &p->src, 16);
        memcpy(&h.ip6_dst, &p->dst, 16);
        memcpy(buf, &h, sizeof(h));
        if (len > 0)
                memcpy(buf + sizeof(h), l4, len);
        return packet_eth(&p->src_mac, &p->dst_mac, ETHERTYPE_IPV6, buf, sizeof(h) + len);
}

GByteArray *packet_ip(const Packet4 *p, uint8_t proto, const void *l4, size_t len) {
        if (!ip_is_v4(&p->dst))
                return packet_ip6(p, proto, l4, len);

        g_autofree uint8_t *buf = g_malloc0(sizeof(struct iphdr) + len);
        struct iphdr h = {
                .version = 4,
                .ihl = 5,
                .tos = p->tos,
                .tot_len = htons((uint16_t) (sizeof(h) + len)),
                .id = htons(p->id),
                .frag_off = htons(p->frag),
                .ttl = p->ttl,
                .protocol = proto,
                .saddr = ip_v4(&p->src),
                .daddr = ip_v4(&p->dst),
        };

        h.check = checksum_finish(checksum_add(&h, sizeof(h), 0));
        memcpy(buf, &h, sizeof(h));
        if (len > 0)
                memcpy(buf + sizeof(h), l4, len);
        return packet_eth(&p->src_mac, &p->dst_mac, ETHERTYPE_IP, buf, sizeof(h) + len);
}

static uint16_t l4_checksum(const IpAddr *src, const IpAddr *dst, uint8_t proto, const void *l4, size_t len) {
        uint16_t sum = checksum_finish(checksum_add(l4, len, checksum_pseudo(src, dst, proto, (uint32_t) len)));

        return proto == IPPROTO_UDP && sum == 0 ? 0xffff : sum;
}

GByteArray *packet_udp(const Packet4 *p, const void *payload, size_t len) {
        g_autofree uint8_t *l4 = g_malloc0(sizeof(struct udphdr) + len);
        struct udphdr h = {
                .uh_sport = htons(p->sport),
                .uh_dport = htons(p->dport),
                .uh_ulen = htons((uint16_t) (sizeof(h) + len)),
        };

        memcpy(l4, &h, sizeof(h));
        if (len > 0)
                memcpy(l4 + sizeof(h), payload, len);
        h.uh_sum = l4_checksum(&p->src, &p->dst, IPPROTO_UDP, l4, sizeof(h) + len);
        memcpy(l4, &h, sizeof(h));
        return packet_ip(p, IPPROTO_UDP, l4, sizeof(h) + len);
}

GByteArray *packet_icmp(const Packet4 *p, uint8_t type, uint8_t code, uint16_t id, uint16_t seq, const void *payload, size_t len) {
        g_autofree uint8_t *l4 = g_malloc0(sizeof(struct icmphdr) + len);
        struct icmphdr h = { .type = type, .code = code, .un.echo = { .id = htons(id), .sequence = htons(seq) } };

        memcpy(l4, &h, sizeof(h));
        if (len > 0)
                memcpy(l4 + sizeof(h), payload, len);
        bool v4 = ip_is_v4(&p->dst);
        h.checksum = v4 ? checksum_finish(checksum_add(l4, sizeof(h) + len, 0))
                        : l4_checksum(&p->src, &p->dst, IPPROTO_ICMPV6, l4, sizeof(h) + len);
        memcpy(l4, &h, sizeof(h));
        return packet_ip(p, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, l4, sizeof(h) + len);
}

GByteArray *packet_tcp(const Packet4 *p, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window, const void *options,
                       size_t options_len, const void *payload, size_t len) {
        size_t head = sizeof(struct tcphdr) + options_len;
        g_autofree uint8_t *l4 = g_malloc0(head + len);
        struct tcphdr h = {
                .th_sport = htons(p->sport),
                .th_dport = htons(p->dport),
                .th_seq = htonl(seq),
                .th_ack = htonl(ack),
                .th_off = (uint8_t) (head / 4),
                .th_flags = flags,
                .th_win = htons(window),
        };

        g_assert_cmpuint(options_len % 4, ==, 0);
        memcpy(l4, &h, sizeof(h));
        if (options_len > 0)
                memcpy(l4 + sizeof(h), options, options_len);
        if (len > 0)
                memcpy(l4 + head, payload, len);
        h.th_sum = l4_checksum(&p->src, &p->dst, IPPROTO_TCP, l4, head + len);
        memcpy(l4, &h, sizeof(h));
        return packet_ip(p, IPPROTO_TCP, l4, head + len);
}

GByteArray *packet_arp(const MacAddr *src_mac, uint16_t op, const MacAddr *sha, const IpAddr *spa, const MacAddr *tha, const IpAddr *tpa) {
        static const MacAddr all = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
        struct ether_arp a = {
                .arp_hrd = htons(ARPHRD_ETHER),
                .arp_pro = htons(ETHERTYPE_IP),
                .arp_hln = 6,
                .arp_pln = 4,
                .arp_op = htons(op),
        };

        memcpy(a.arp_sha, sha, 6);
        memcpy(a.arp_spa, &spa->w[3], 4);
        memcpy(a.arp_tha, tha, 6);
        memcpy(a.arp_tpa, &tpa->w[3], 4);
        return packet_eth(src_mac, &all, ETHERTYPE_ARP, &a, sizeof(a));
}

/* Where the checksum of a protocol lies; 0: none that is known. */
static size_t check_at(uint8_t proto) {
        switch (proto) {
        case IPPROTO_UDP:
                return 6;
        case IPPROTO_TCP:
                return 16;
        case IPPROTO_ICMP:
        case IPPROTO_ICMPV6:
                return 2;
        default:
                return 0;
        }
}

static void fix_l4(const IpAddr *src, const IpAddr *dst, uint8_t proto, uint8_t *l4, size_t n) {
        size_t at = check_at(proto);
        uint16_t sum;

        if (proto == IPPROTO_UDP && n >= 8) /* the sum covers what the UDP header says, when that is there */
                n = MIN(n, MAX((size_t) (l4[4] << 8 | l4[5]), (size_t) 8));
        if (at == 0 || n < at + 2)
                return;
        memset(l4 + at, 0, 2);
        sum = proto == IPPROTO_ICMP ? checksum_finish(checksum_add(l4, n, 0)) : l4_checksum(src, dst, proto, l4, n);
        memcpy(l4 + at, &sum, 2);
}

static void fix_ip6(uint8_t *at, size_t there) {
        struct ip6_hdr h;
        IpAddr src, dst;

        memcpy(&h, at, sizeof(h));
        memcpy(&src, &h.ip6_src, 16);
        memcpy(&dst, &h.ip6_dst, 16);
        if (ntohs(h.ip6_plen) <= there - sizeof(h) && !ip_is_v4(&src) && !ip_is_v4(&dst))
                fix_l4(&src, &dst, h.ip6_nxt, at + sizeof(h), ntohs(h.ip6_plen));
}

void packet_fix(uint8_t *frame, size_t len) {
        uint8_t *at = frame + sizeof(struct ether_header);
        size_t there = len - sizeof(struct ether_header);
        struct iphdr ip;

        if (len >= sizeof(struct ether_header) + sizeof(struct ip6_hdr) && frame[12] == 0x86 && frame[13] == 0xdd)
                return fix_ip6(at, there);
        if (len < sizeof(struct ether_header) + sizeof(ip) || frame[12] != 0x08 || frame[13] != 0x00)
                return;
        memcpy(&ip, at, sizeof(ip));
        ip.check = 0;
        ip.check = checksum_finish(checksum_add(&ip, sizeof(ip), 0));
        memcpy(at, &ip, sizeof(ip));

        size_t total = ntohs(ip.tot_len);
        if (ip.ihl != 5 || total < sizeof(ip) || total > there || (ntohs(ip.frag_off) & (IP_OFFMASK | IP_MF)))
                return;
        IpAddr src = ip_from_v4(ip.saddr), dst = ip_from_v4(ip.daddr);
        if (ip.protocol != IPPROTO_ICMPV6)
                fix_l4(&src, &dst, ip.protocol, at + sizeof(ip), total - sizeof(ip));
}

void packet_send(FakeHost *h, GByteArray *frame) {
        fake_input(h, frame->data, frame->len);
        g_byte_array_unref(frame);
}

/* ---- taking apart ---- */

/* The L4 checksum is right as it stands, or open exactly as NEEDS_CSUM says it. */
static void check_l4_sum(const Parsed *p, size_t field_at) {
        uint32_t pseudo = checksum_pseudo(&p->src, &p->dst, p->proto, (uint32_t) p->l4_len);

        g_assert_cmpuint(p->l4_len, >=, field_at + 2);
        if (p->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
                uint16_t field;

                g_assert_cmpuint(le16toh(p->hdr.csum_start), ==,
                                 sizeof(struct ether_header) + (ip_is_v4(&p->dst) ? sizeof(struct iphdr) : sizeof(struct ip6_hdr)));
                g_assert_cmpuint(le16toh(p->hdr.csum_offset), ==, field_at);
                memcpy(&field, p->l4 + field_at, 2);
                g_assert_cmphex(ntohs(field), ==, checksum_fold(pseudo));
        } else if (p->proto != IPPROTO_UDP || p->l4[6] != 0 || p->l4[7] != 0)
                g_assert_cmphex(checksum_fold(checksum_add(p->l4, p->l4_len, pseudo)), ==, 0xffff);
}

static void parse_arp(Parsed *p, const uint8_t *data, size_t len) {
        struct ether_arp a;
        uint32_t addr;

        g_assert_cmpuint(len, >=, sizeof(a));
        memcpy(&a, data, sizeof(a));
        p->arp.op = ntohs(a.arp_op);
        memcpy(&p->arp.sha, a.arp_sha, 6);
        memcpy(&p->arp.tha, a.arp_tha, 6);
        memcpy(&addr, a.arp_spa, 4);
        p->arp.spa = ip_from_v4(addr);
        memcpy(&addr, a.arp_tpa, 4);
        p->arp.tpa = ip_from_v4(addr);
}

static void parse_l4(Parsed *p) {
        switch (p->proto) {
        case IPPROTO_UDP: {
                struct udphdr h;

                g_assert_cmpuint(p->l4_len, >=, sizeof(h));
                memcpy(&h, p->l4, sizeof(h));
                check_l4_sum(p, 6);
                g_assert_cmpuint(ntohs(h.uh_ulen), ==, p->l4_len);
                p->sport = ntohs(h.uh_sport);
                p->dport = ntohs(h.uh_dport);
                p->payload = p->l4 + sizeof(h);
                break;
        }
        case IPPROTO_TCP: {
                struct tcphdr h;
                size_t head;

                g_assert_cmpuint(p->l4_len, >=, sizeof(h));
                memcpy(&h, p->l4, sizeof(h));
                head = h.th_off * 4u;
                g_assert_cmpuint(head, >=, sizeof(h));
                g_assert_cmpuint(head, <=, p->l4_len);
                check_l4_sum(p, 16);
                p->sport = ntohs(h.th_sport);
                p->dport = ntohs(h.th_dport);
                p->seq = ntohl(h.th_seq);
                p->ack = ntohl(h.th_ack);
                p->tcp_flags = h.th_flags;
                p->tcp_window = ntohs(h.th_win);
                p->tcp_options = p->l4 + sizeof(h);
                p->tcp_options_len = head - sizeof(h);
                p->payload = p->l4 + head;
                break;
        }
        case IPPROTO_ICMP:
        case IPPROTO_ICMPV6: {
                struct icmphdr h;
                uint32_t pseudo = p->proto == IPPROTO_ICMP ? 0 : checksum_pseudo(&p->src, &p->dst, p->proto, (uint32_t) p->l4_len);

                g_assert_cmpuint(p->l4_len, >=, sizeof(h));
                memcpy(&h, p->l4, sizeof(h));
                g_assert_cmphex(checksum_fold(checksum_add(p->l4, p->l4_len, pseudo)), ==, 0xffff);
                p->icmp_type = h.type;
                p->icmp_code = h.code;
                p->echo_id = ntohs(h.un.echo.id);
                p->echo_seq = ntohs(h.un.echo.sequence);
                p->next_mtu = ntohs(h.un.frag.mtu);
                p->icmp_arg = ntohl(h.un.gateway);
                p->payload = p->l4 + sizeof(h);
                break;
        }
        default:
                p->payload = p->l4;
        }
        p->payload_len = p->l4_len - (size_t) (p->payload - p->l4);
}

static void parse_ip6(Parsed *p, const uint8_t *data, size_t len) {
        struct ip6_hdr ip;

        g_assert_cmpuint(len, >=, sizeof(ip));
        memcpy(&ip, data, sizeof(ip));
        g_assert_cmpuint(ip.ip6_vfc >> 4, ==, 6);
        g_assert_cmpuint(ntohs(ip.ip6_plen), ==, len - sizeof(ip));
        memcpy(&p->src, &ip.ip6_src, 16);
        memcpy(&p->dst, &ip.ip6_dst, 16);
        p->proto = ip.ip6_nxt;
        p->ttl = ip.ip6_hlim;
        p->tos = (uint8_t) (ntohl(ip.ip6_flow) >> 20);
        p->ip_len = (uint16_t) len;
        p->l4 = data + sizeof(ip);
        p->l4_len = len - sizeof(ip);
        parse_l4(p);
}

/* Has a router alert, and so a header of its own length. */
static Parsed parse_igmp(Parsed p, const uint8_t *data, size_t len) {
        struct iphdr ip;

        memcpy(&ip, data, sizeof(ip));
        g_assert_cmpuint(ip.ihl, ==, 6);
        g_assert_cmpuint(len, >=, 24 + 8);
        g_assert_cmpuint(ntohs(ip.tot_len), ==, len);
        g_assert_cmphex(checksum_fold(checksum_add(data, 24, 0)), ==, 0xffff);
        g_assert_cmphex(checksum_fold(checksum_add(data + 24, len - 24, 0)), ==, 0xffff);
        p.src = ip_from_v4(ip.saddr);
        p.dst = ip_from_v4(ip.daddr);
        p.proto = ip.protocol;
        p.ttl = ip.ttl;
        p.l4 = p.payload = data + 24;
        p.l4_len = p.payload_len = len - 24;
        return p;
}

Parsed packet_parse(const FakeFrame *f) {
        Parsed p = { .hdr = f->hdr };
        struct ether_header eth;
        struct iphdr ip;

        g_assert_cmpuint(f->len, >=, sizeof(eth));
        memcpy(&eth, f->data, sizeof(eth));
        memcpy(&p.eth_src, eth.ether_shost, 6);
        memcpy(&p.eth_dst, eth.ether_dhost, 6);
        p.eth_type = ntohs(eth.ether_type);
        if (p.eth_type == ETHERTYPE_ARP)
                parse_arp(&p, f->data + sizeof(eth), f->len - sizeof(eth));
        if (p.eth_type == ETHERTYPE_IPV6)
                parse_ip6(&p, f->data + sizeof(eth), f->len - sizeof(eth));
        if (p.eth_type != ETHERTYPE_IP)
                return p;

        g_assert_cmpuint(f->len, >=, sizeof(eth) + sizeof(ip));
        memcpy(&ip, f->data + sizeof(eth), sizeof(ip));
        g_assert_cmpuint(ip.version, ==, 4);
        if (ip.protocol == IPPROTO_IGMP)
                return parse_igmp(p, f->data + sizeof(eth), f->len - sizeof(eth));
        g_assert_cmpuint(ip.ihl, ==, 5);
        if (f->len - sizeof(eth) > UINT16_MAX) { /* more than the field can say: a super-segment, and as long as it is */
                g_assert_cmpuint(ip.tot_len, ==, 0);
                g_assert_cmpuint(f->hdr.gso_type, ==, VIRTIO_NET_HDR_GSO_TCPV4);
        } else
                g_assert_cmpuint(ntohs(ip.tot_len), ==, f->len - sizeof(eth));
        g_assert_cmphex(checksum_fold(checksum_add(&ip, sizeof(ip), 0)), ==, 0xffff);
        p.src = ip_from_v4(ip.saddr);
        p.dst = ip_from_v4(ip.daddr);
        p.proto = ip.protocol;
        p.ttl = ip.ttl;
        p.tos = ip.tos;
        p.ip_id = ntohs(ip.id);
        p.ip_frag = ntohs(ip.frag_off);
        p.ip_len = ntohs(ip.tot_len);
        p.l4 = f->data + sizeof(eth) + sizeof(ip);
        p.l4_len = f->len - sizeof(eth) - sizeof(ip);
        if (!(p.ip_frag & (IP_OFFMASK | IP_MF)))
                parse_l4(&p);
        return p;
}

Parsed packet_take(FakeHost *h, FakeFrame **frame) {
        fake_frame_free(*frame);
        *frame = fake_take_frame(h);
        g_assert_nonnull(*frame);
        return packet_parse(*frame);
}

/* Who the packet that an error quotes was from and to, and its protocol. */
static void read_quoted(const Parsed *p, IpAddr *ret_src, IpAddr *ret_dst, uint8_t *ret_proto) {
        struct ip6_hdr ip6;
        struct iphdr ip;

        if (p->proto == IPPROTO_ICMP) {
                g_assert_cmpuint(p->ip_len, <=, 576);
                g_assert_cmpuint(p->payload_len, >=, sizeof(ip) + 8);
                memcpy(&ip, p->payload, sizeof(ip));
                *ret_src = ip_from_v4(ip.saddr);
                *ret_dst = ip_from_v4(ip.daddr);
                *ret_proto = ip.protocol;
        } else {
                g_assert_cmpuint(p->proto, ==, IPPROTO_ICMPV6);
                g_assert_cmpuint(p->ip_len, <=, 1280);
                g_assert_cmpuint(p->payload_len, >=, sizeof(ip6) + 8);
                memcpy(&ip6, p->payload, sizeof(ip6));
                memcpy(ret_src, &ip6.ip6_src, 16);
                memcpy(ret_dst, &ip6.ip6_dst, 16);
                *ret_proto = ip6.ip6_nxt;
        }
}

void packet_expect_icmp(FakeHost *h, uint8_t type, uint8_t code, const char *src, const char *dst, uint8_t proto) {
        g_autoptr(FakeFrame) f = NULL;
        Parsed p = packet_take(h, &f);
        IpAddr expect_src = fake_ip(src), expect_dst = fake_ip(dst), quoted_src, quoted_dst;
        uint8_t quoted_proto;

        g_assert_cmpuint(p.icmp_type, ==, type);
        g_assert_cmpuint(p.icmp_code, ==, code);
        g_assert_true(ip_equal(&p.src, &expect_src));
        read_quoted(&p, &quoted_src, &quoted_dst, &quoted_proto);
        g_assert_cmpuint(quoted_proto, ==, proto);
        g_assert_true(ip_equal(&quoted_dst, &expect_dst));
        g_assert_true(ip_equal(&quoted_src, &p.dst)); /* told to whom it concerns */
}
