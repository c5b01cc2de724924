/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ICMPv6: answers echo requests to the gateway's addresses and groups, hands the others to ping.c and neighbour discovery to nd.c, and
 * writes errors. Never relays what a guest says in an error message: the host's stack would have no use for it.
 */

#include "netstack/icmp6.h"

#include <netinet/icmp6.h>
#include <netinet/ip6.h>

#include "basic/checksum.h"
#include "netstack/icmp.h"
#include "netstack/ip.h"
#include "netstack/multicast.h"
#include "netstack/nd.h"
#include "netstack/ping.h"

#define ICMP6_QUOTE_MAX (1280 - sizeof(struct ip6_hdr) - sizeof(struct icmp6_hdr)) /* RFC 4443 2.4 (c) */
#define ND_HOP_LIMIT 255

/* ---- errors to guests ---- */

static void icmp6_emit(Netstack *s, const IpAddr *dst, const MacAddr *mac, IovCur *quote, uint8_t type, uint8_t code, uint32_t arg,
                       const IpAddr *src) {
        size_t n = MIN(iovcur_left(quote), ICMP6_QUOTE_MAX), len = sizeof(struct icmp6_hdr) + n;
        uint8_t *l4 = netstack_tx_reserve(s, len);
        struct icmp6_hdr h = { .icmp6_type = type, .icmp6_code = code };
        IpSend how = { .src = src && !ip_is_null(src) && !ip_is_v4(src) ? *src : netstack_gateway_for(s, dst),
                       .dst = *dst,
                       .proto = IPPROTO_ICMPV6,
                       .mac = mac };

        h.icmp6_mtu = htonl(arg); /* the pointer lies in the same place */
        (void) iovcur_copy(quote, l4 + sizeof(h), n);
        memcpy(l4, &h, sizeof(h));
        h.icmp6_cksum = checksum_finish(checksum_add(l4, len, checksum_pseudo(&how.src, dst, IPPROTO_ICMPV6, (uint32_t) len)));
        memcpy(l4, &h, sizeof(h));
        if (mac && s->port)
                how.mtu = s->port->mtu;
        ip_send(s, &how, l4, len);
}

/* May an error be sent about @p at all? */
static bool icmp6_is_owed(const Netstack *s, const Packet *p, uint8_t type, uint8_t code) {
        uint8_t store;
        const uint8_t *quoted;
        bool for_groups = type == ICMP6_PACKET_TOO_BIG || (type == ICMP6_PARAM_PROB && code == ICMP6_PARAMPROB_OPTION);

        if (ip_is_null(&p->src) || ip_is_group(s, &p->src))
                return false;
        if ((mac_is_multicast(&p->dst_mac) || ip_is_group(s, &p->dst)) && !for_groups)
                return false;
        if (p->proto != IPPROTO_ICMPV6)
                return true;
        quoted = iovcur_peek(&p->l4, &store, sizeof(store));
        return quoted && (*quoted & ICMP6_INFOMSG_MASK); /* not about another error, nor a redirect's like */
}

void icmp6_send_error(Netstack *s, const Packet *p, uint8_t type, uint8_t code, uint32_t arg, const IpAddr *src) {
        IovCur quote = p->ip;

        if (!icmp6_is_owed(s, p, type, code) || !icmp_may_send(s->icmp))
                return;
        icmp6_emit(s, &p->src, &p->src_mac, &quote, type, code, arg, src);
}

void icmp6_send_error_for(Netstack *s, const IpAddr *guest, const IpAddr *remote, uint8_t proto, const uint8_t *l4, size_t len,
                          size_t l4_total, uint8_t type, uint8_t code, uint32_t arg, const IpAddr *src) {
        uint8_t buf[ICMP6_QUOTE_MAX];
        size_t n = MIN(len, sizeof(buf) - sizeof(struct ip6_hdr));
        struct ip6_hdr h = { .ip6_plen = htons((uint16_t) MIN(l4_total, (size_t) UINT16_MAX)), .ip6_hlim = 64 };
        struct iovec iov;

        if (!icmp_may_send(s->icmp))
                return;
        h.ip6_vfc = 6 << 4;
        h.ip6_nxt = proto;
        memcpy(&h.ip6_src, guest, sizeof(*guest));
        memcpy(&h.ip6_dst, remote, sizeof(*remote));
        memcpy(buf, &h, sizeof(h));
        memcpy(buf + sizeof(h), l4, n);

        IovCur quote = iovcur_from_buf(&iov, buf, sizeof(h) + n);
        icmp6_emit(s, guest, /* mac= */ NULL, &quote, type, code, arg, src);
}

/* ---- echo to the gateway's addresses ---- */

static void icmp6_echo_reply(Netstack *s, Packet *p) {
        size_t len = iovcur_left(&p->l4);
        uint8_t *l4 = netstack_tx_reserve(s, len);
        uint16_t sum;
        IpSend how = {
                .src = ip_is_group(s, &p->dst) ? netstack_gateway_for(s, &p->src) : p->dst,
                .dst = p->src, .proto = IPPROTO_ICMPV6, .tos = p->tos,
                .mac = &p->src_mac, .mtu = s->port ? s->port->mtu : 0,
        };

        (void) iovcur_copy(&p->l4, l4, len);
        l4[0] = ICMP6_ECHO_REPLY;
        l4[2] = l4[3] = 0;
        sum = checksum_finish(checksum_add(l4, len, checksum_pseudo(&how.src, &how.dst, IPPROTO_ICMPV6, (uint32_t) len)));
        memcpy(l4 + offsetof(struct icmp6_hdr, icmp6_cksum), &sum, sizeof(sum));
        ip_send(s, &how, l4, len);
}

/* ff02::1 and ff02::2: all nodes and all routers of the link, which the gateway is one of. */
static bool is_our_group(const IpAddr *a) {
        static const IpAddr nodes = { .b = { 0xff, 0x02, [15] = 1 } }, routers = { .b = { 0xff, 0x02, [15] = 2 } };

        return ip_equal(a, &nodes) || ip_equal(a, &routers);
}

static void icmp6_echo(Netstack *s, Packet *p, uint16_t id) {
        if (ip_is_null(&p->src))
                return netstack_drop(s, DROP_IP_SOURCE);
        if (netstack_is_ours(s, &p->dst) || is_our_group(&p->dst))
                return icmp6_echo_reply(s, p);
        if (ip_is_group(s, &p->dst))
                return netstack_drop(s, DROP_IP_DESTINATION);
        ping_out(s, p, id);
}

void icmp6_input(Netstack *s, Packet *p) {
        uint32_t len = (uint32_t) iovcur_left(&p->l4), sum = checksum_pseudo(&p->src, &p->dst, IPPROTO_ICMPV6, len);
        IovCur cur = p->l4;
        struct icmp6_hdr h;

        if (!iovcur_copy(&cur, &h, sizeof(h)))
                return netstack_drop(s, DROP_ICMP_MALFORMED);
        /* The kernel leaves no ICMP checksum open, so none is taken on trust. */
        if (checksum_fold(checksum_add_iov(p->l4.iov, p->l4.n_iov, p->l4.off, len, sum)) != 0xffff)
                return netstack_drop(s, DROP_ICMP_MALFORMED);

        switch (h.icmp6_type) {
        case ICMP6_ECHO_REQUEST:
                if (h.icmp6_code != 0)
                        break;
                return icmp6_echo(s, p, ntohs(h.icmp6_id));
        case ND_ROUTER_SOLICIT ... ND_REDIRECT:
                if (p->ttl != ND_HOP_LIMIT || h.icmp6_code != 0 || p->fragmented) /* RFC 4861 6.1, 7.1; RFC 6980 */
                        return netstack_drop(s, DROP_ND_MALFORMED);
                return nd_input(s, p, h.icmp6_type);
        case MLD_LISTENER_QUERY:
                if (mld_input(s, p))
                        return;
                break;
        case MLD_LISTENER_REPORT:
        case MLD_LISTENER_REDUCTION:
        case MLD2_REPORT: /* the switch floods groups: no need to remember who is in one */
                return;
        default:
                break;
        }
        netstack_drop(s, DROP_ICMP_TYPE);
}
