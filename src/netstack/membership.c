/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tells who asks on the segment (a bridge or router among the guests) which groups the gateway is in: IGMPv2 and v3 (RFC 2236, RFC 3376),
 * MLDv1 and v2 (RFC 2710, RFC 3810). Answers at once, joins and leaves say nothing of their own, others' reports are not read.
 */

#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/igmp.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>

#include "basic/checksum.h"
#include "netstack/ip.h"
#include "netstack/multicast.h"

#define IGMP3_REPORT 0x22
#define IGMP3_QUERY_LEN 12 /* without sources */
#define MLD_QUERY_LEN 24
#define MLD2_QUERY_LEN 28
#define RECORD_IS_EXCLUDE 2 /* nobody: all senders are heard */
#define ROUTER_ALERT4 UINT32_C(0x94040000)

#define ALL_NODES4 ip_from_v4(htonl(UINT32_C(0xe0000001)))
#define ALL_ROUTERS4 ip_from_v4(htonl(UINT32_C(0xe0000016))) /* of IGMPv3 */
static const IpAddr all_nodes6 = { .b = { 0xff, 0x02, [15] = 1 } }, all_routers6 = { .b = { 0xff, 0x02, [15] = 0x16 } };

/* Which of the gateway's groups a query that went to @dst asks about; null @asked: all. */
static size_t groups_asked(const Netstack *s, const IpAddr *dst, const IpAddr *asked, bool all, const IpAddr **ret) {
        const IpAddr *ours[MULTICAST_GROUPS_MAX];
        size_t n = multicast_groups(s, ip_is_v4(dst), ours), found = 0;
        IpAddr nodes = ip_is_v4(dst) ? ALL_NODES4 : all_nodes6;

        for (size_t i = 0; i < n; i++)
                if (all ? ip_equal(dst, &nodes) : ip_equal(asked, ours[i]) && (ip_equal(dst, asked) || ip_equal(dst, &nodes)))
                        ret[found++] = ours[i];
        return found;
}

/* ---- IGMP ---- */

/* A whole packet: ip_send() knows no options. */
static void igmp_send(Netstack *s, const IpAddr *dst, const uint8_t *message, size_t len) {
        struct {
                struct iphdr ip;
                uint32_t router_alert;
        } h = {
                .ip = { .version = 4, .ihl = 6, .tos = 0xc0, .ttl = 1, .protocol = IPPROTO_IGMP, .saddr = ip_v4(&s->config.gateway), .daddr = ip_v4(dst),
                        .tot_len = htons((uint16_t) (sizeof(h) + len)), .frag_off = htons(IP_DF) },
                .router_alert = htonl(ROUTER_ALERT4),
        };
        struct ether_header eth = { .ether_type = htons(ETHERTYPE_IP) };
        MacAddr mac = multicast_mac(dst);
        uint8_t *frame = netstack_tx_reserve(s, sizeof(h) + len) - sizeof(eth);

        h.ip.check = checksum_finish(checksum_add(&h, sizeof(h), 0));
        memcpy(eth.ether_dhost, &mac, sizeof(mac));
        memcpy(eth.ether_shost, &s->config.mac, sizeof(s->config.mac));
        memcpy(frame, &eth, sizeof(eth));
        memcpy(frame + sizeof(eth), &h, sizeof(h));
        memcpy(frame + sizeof(eth) + sizeof(h), message, len);
        netstack_tx_commit(s, frame, sizeof(eth) + sizeof(h) + len, /* hdr= */ NULL);
}

static void igmp2_report(Netstack *s, const IpAddr *group) {
        struct igmp m = { .igmp_type = IGMP_V2_MEMBERSHIP_REPORT, .igmp_group.s_addr = ip_v4(group) };

        m.igmp_cksum = checksum_finish(checksum_add(&m, sizeof(m), 0));
        igmp_send(s, group, (const uint8_t *) &m, sizeof(m));
}

static void igmp3_report(Netstack *s, const IpAddr *const *groups, size_t n) {
        uint8_t m[8 + 8 * MULTICAST_GROUPS_MAX] = { IGMP3_REPORT, [7] = (uint8_t) n };
        IpAddr to = ALL_ROUTERS4;

        for (size_t i = 0; i < n; i++) {
                m[8 + 8 * i] = RECORD_IS_EXCLUDE;
                memcpy(m + 8 + 8 * i + 4, groups[i]->b + 12, 4);
        }
        uint16_t sum = checksum_finish(checksum_add(m, 8 + 8 * n, 0));
        memcpy(m + 2, &sum, sizeof(sum));
        igmp_send(s, &to, m, 8 + 8 * n);
}

void igmp_input(Netstack *s, const Packet *p) {
        const IpAddr *asked[MULTICAST_GROUPS_MAX];
        size_t len = iovcur_left(&p->l4);
        IovCur cur = p->l4;
        struct igmp m;

        /* A bridge that asks may have no address. */
        bool from_here = ip_v4(&p->src) == INADDR_ANY || (prefix_contains(&s->config.subnet, &p->src) && !netstack_is_ours(s, &p->src));
        if (!iovcur_copy(&cur, &m, sizeof(m)) || p->ttl != 1 || !from_here ||
            checksum_fold(checksum_add_iov(p->l4.iov, p->l4.n_iov, p->l4.off, len, 0)) != 0xffff)
                return netstack_drop(s, DROP_IGMP_MALFORMED);
        if (m.igmp_type != IGMP_MEMBERSHIP_QUERY || (len == sizeof(m) && m.igmp_code == 0)) /* reports; IGMPv1, which nobody has */
                return netstack_drop(s, DROP_IP_DESTINATION);
        if (len > sizeof(m) && len < IGMP3_QUERY_LEN) /* RFC 3376 7.1 */
                return netstack_drop(s, DROP_IGMP_MALFORMED);

        IpAddr group = ip_from_v4(m.igmp_group.s_addr);
        size_t n = groups_asked(s, &p->dst, &group, m.igmp_group.s_addr == INADDR_ANY, asked);
        if (n == 0)
                return netstack_drop(s, DROP_IP_DESTINATION);
        if (!multicast_may_answer(s))
                return;
        if (len >= IGMP3_QUERY_LEN)
                return igmp3_report(s, asked, n);
        for (size_t i = 0; i < n; i++)
                igmp2_report(s, asked[i]);
}

/* ---- MLD ---- */

/* @message: with an empty checksum. It goes behind a hop-by-hop header with a router alert (RFC 2710 3). */
static void mld_send(Netstack *s, const IpAddr *dst, const uint8_t *message, size_t len) {
        static const uint8_t hop_by_hop[8] = { IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0 };
        MacAddr mac = multicast_mac(dst);
        uint8_t *l4 = netstack_tx_reserve(s, sizeof(hop_by_hop) + len), *m = l4 + sizeof(hop_by_hop);
        IpSend how = { .src = s->link_local6, .dst = *dst, .proto = IPPROTO_HOPOPTS, .ttl = 1, .mac = &mac };

        memcpy(l4, hop_by_hop, sizeof(hop_by_hop));
        memcpy(m, message, len);
        uint16_t sum = checksum_finish(checksum_add(m, len, checksum_pseudo(&how.src, dst, IPPROTO_ICMPV6, (uint32_t) len)));
        memcpy(m + offsetof(struct icmp6_hdr, icmp6_cksum), &sum, sizeof(sum));
        ip_send(s, &how, l4, sizeof(hop_by_hop) + len);
}

static void mld1_report(Netstack *s, const IpAddr *group) {
        uint8_t m[MLD_QUERY_LEN] = { MLD_LISTENER_REPORT };

        memcpy(m + 8, group, sizeof(*group));
        mld_send(s, group, m, sizeof(m));
}

static void mld2_report(Netstack *s, const IpAddr *const *groups, size_t n) {
        uint8_t m[8 + 20 * MULTICAST_GROUPS_MAX] = { MLD2_REPORT, [7] = (uint8_t) n };

        for (size_t i = 0; i < n; i++) {
                m[8 + 20 * i] = RECORD_IS_EXCLUDE;
                memcpy(m + 8 + 20 * i + 4, groups[i], sizeof(*groups[i]));
        }
        mld_send(s, &all_routers6, m, 8 + 20 * n);
}

bool mld_input(Netstack *s, const Packet *p) {
        const IpAddr *asked[MULTICAST_GROUPS_MAX];
        size_t len = iovcur_left(&p->l4);
        IovCur cur = p->l4;
        IpAddr group;

        if (!multicast_is_on(s))
                return false;
        if (p->ttl != 1 || ip_classify(&p->src) != IP_CLASS_LINK_LOCAL || p->fragmented || !iovcur_skip(&cur, 8) ||
            !iovcur_copy(&cur, &group, sizeof(group)) || (len > MLD_QUERY_LEN && len < MLD2_QUERY_LEN)) { /* RFC 3810 6.2, 8.1 */
                netstack_drop(s, DROP_IGMP_MALFORMED);
                return true;
        }
        size_t n = groups_asked(s, &p->dst, &group, ip_is_null(&group), asked);
        if (n == 0)
                return false;
        if (!multicast_may_answer(s))
                return true;
        if (len >= MLD2_QUERY_LEN)
                mld2_report(s, asked, n);
        else
                for (size_t i = 0; i < n; i++)
                        mld1_report(s, asked[i]);
        return true;
}
