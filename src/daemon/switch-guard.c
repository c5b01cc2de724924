/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads as much of a frame as it takes to see whom it claims to come from. What cannot be read is refused: a guarded port has no business
 * sending what is neither ARP nor IP, nor a tag nobody serves, nor what only servers and routers say.
 */

#include "daemon/switch-guard.h"

#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>

#include "basic/iovcur.h"

#define DHCP_SERVER_PORT 67
#define DHCP6_SERVER_PORT 547
#define IP_OFFSET_MASK 0x1fff
#define EXT_HEADERS_MAX 8

static bool guard_arp(IovCur c, const GuardRules *rules, IpAddr *ret_claim) {
        struct ether_arp arp;
        uint32_t spa;

        if (!iovcur_copy(&c, &arp, sizeof(arp)) || arp.arp_hrd != htons(ARPHRD_ETHER) || arp.arp_pro != htons(ETHERTYPE_IP) ||
            arp.arp_hln != ETH_ALEN || arp.arp_pln != sizeof(spa))
                return false;
        memcpy(&spa, arp.arp_spa, sizeof(spa));
        if (spa != 0) /* a probe claims nothing (RFC 5227 2.1.1) */
                *ret_claim = ip_from_v4(spa);
        return memcmp(arp.arp_sha, &rules->mac, sizeof(rules->mac)) == 0;
}

/* Does a server's answer begin at @c? */
static bool is_served_from(IovCur c, uint16_t port) {
        uint16_t source;

        return !iovcur_be16(&c, &source) || source == port;
}

static bool guard_ip4(IovCur c, IpAddr *ret_claim) {
        struct iphdr ip;

        if (!iovcur_copy(&c, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5 || !iovcur_skip(&c, ip.ihl * 4 - sizeof(ip)))
                return false;
        if (ip.saddr != 0)
                *ret_claim = ip_from_v4(ip.saddr);
        else if (ip.protocol != IPPROTO_UDP || ip.daddr != INADDR_BROADCAST) /* a DHCP client without an address */
                return false;
        if (ip.protocol == IPPROTO_UDP && (ip.frag_off & htons(IP_OFFSET_MASK)) == 0)
                return !is_served_from(c, DHCP_SERVER_PORT);
        return true;
}

static bool guard_icmp6(IovCur c) {
        uint8_t type;

        return iovcur_u8(&c, &type) && type != ND_ROUTER_ADVERT && type != ND_REDIRECT;
}

/* Steps over extension headers, for behind them routers' words could hide; a first fragment is looked at, and so are those of ND. */
static bool guard_ip6(IovCur c, const GuardRules *rules) {
        struct ip6_hdr ip;
        IpAddr src;
        uint8_t next, units;

        if (!iovcur_copy(&c, &ip, sizeof(ip)) || ip.ip6_vfc >> 4 != 6)
                return false;
        memcpy(&src, &ip.ip6_src, sizeof(src));
        if (!ip_is_null(&src) && ip_classify(&src) != IP_CLASS_LINK_LOCAL &&
            (ip_is_null(&rules->subnet6.addr) || !prefix_contains(&rules->subnet6, &src)))
                return false;
        if (!ip_is_null(&src) && (ip_equal(&src, &rules->gateway6) || ip_equal(&src, &rules->host6)))
                return false;

        next = ip.ip6_nxt;
        for (unsigned i = 0; i < EXT_HEADERS_MAX; i++)
                switch (next) {
                case IPPROTO_HOPOPTS:
                case IPPROTO_ROUTING:
                case IPPROTO_DSTOPTS:
                        if (!iovcur_u8(&c, &next) || !iovcur_u8(&c, &units) || !iovcur_skip(&c, 6 + units * 8u))
                                return false;
                        break;
                case IPPROTO_FRAGMENT: {
                        struct ip6_frag frag;

                        if (!iovcur_copy(&c, &frag, sizeof(frag)))
                                return false;
                        /* ND is never in fragments (RFC 6980 5), so nobody is to believe one that is. */
                        return frag.ip6f_nxt != IPPROTO_ICMPV6 || (frag.ip6f_offlg & IP6F_OFF_MASK) != 0 || guard_icmp6(c);
                }
                case IPPROTO_ICMPV6:
                        return guard_icmp6(c);
                case IPPROTO_UDP:
                        return !is_served_from(c, DHCP6_SERVER_PORT);
                default:
                        return true;
                }
        return false;
}

/**
 * guard_frame() - may a guarded port send this?
 *
 * Source: RFC 7039 (source address validation), of which this is the part that DHCP leases allow; IPv6 addresses are the guest's own choice
 * (RFC 4862), so all of the network's prefix but the gateway's are let through.
 * Tested by: tests/unit/test-switch-guard.c.
 */
bool guard_frame(const Frame *f, const GuardRules *rules, IpAddr *ret_claim) {
        IovCur c = iovcur_make(f->iov, f->n_iov, f->len);
        struct ether_header eth;

        *ret_claim = (IpAddr){};
        if (!iovcur_copy(&c, &eth, sizeof(eth)) || memcmp(eth.ether_shost, &rules->mac, sizeof(rules->mac)) != 0)
                return false;
        switch (ntohs(eth.ether_type)) {
        case ETHERTYPE_ARP:
                return guard_arp(c, rules, ret_claim);
        case ETHERTYPE_IP:
                return guard_ip4(c, ret_claim);
        case ETHERTYPE_IPV6:
                return guard_ip6(c, rules);
        default:
                return false;
        }
}
