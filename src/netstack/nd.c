/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Neighbour discovery from the router's side. Stateless but for the clock of its advertisements: who is where stands in arp.c's table, and a
 * flood of solicitations costs answers up to a rate, no memory.
 *
 *   message                 from a guest                              from us
 *   router solicitation     answered to that station alone            never
 *   router advertisement    ignored: there is one router              on solicitation, every ND_INTERVAL_USEC, on change
 *   neighbour solicitation  answered for the gateway's and the        when the neighbour table asks
 *                           host's addresses, also to DAD (from ::)
 *   neighbour advertisement learnt; a claim to our address defended   as answer and defence
 *   redirect                ignored                                   never: all traffic has one way out
 */

#include "netstack/nd.h"

#include <errno.h>
#include <netinet/icmp6.h>

#include "basic/checksum.h"
#include "netstack/arp.h"
#include "netstack/dns-message.h"
#include "netstack/ip.h"
#include "netstack/nat64.h"
#include "netstack/rate.h"

#define ND_HOP_LIMIT 255
#define ND_OPTIONS_MAX 16 /* of one message that are looked at */
#define ND_OPT_RDNSS 25   /* RFC 8106 */
#define ND_OPT_DNSSL 31
#define ND_OPT_PREF64 38 /* RFC 8781 */
#define ND_ADVERT_MAX 1232 /* of options and all: within 1280 */

struct Nd {
        Netstack *stack; /* (borrowed) */
        Timer timer;     /* the next advertisement to all */
        usec_t rate[PORT_SHARES], defended;
        bool uplink;
};

static void nd_timer(Timer *timer, usec_t now, void *userdata);

int nd_new(Nd **ret, Netstack *s) {
        Nd *n = calloc(1, sizeof(*n));
        if (!n)
                return -ENOMEM;

        n->stack = s;
        n->uplink = true;
        timer_init(&n->timer, nd_timer);
        if (netstack_has_ip6(s) && !s->config.shard)
                (void) timer_set(&s->timers, &n->timer, netstack_now(s) + ND_INTERVAL_USEC);
        *ret = n;
        return 0;
}

Nd *nd_free(Nd *n) {
        if (!n)
                return NULL;
        timer_stop(&n->stack->timers, &n->timer);
        free(n);
        return NULL;
}

/* ---- addresses ---- */

static const IpAddr all_nodes = { .b = { 0xff, 0x02, [15] = 0x01 } };

IpAddr nd_link_local(const MacAddr *mac) {
        const uint8_t *m = mac->b;

        return (IpAddr){ .b = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 0x02, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5] } };
}

IpAddr nd_solicited_node(const IpAddr *a) {
        return (IpAddr){ .b = { 0xff, 0x02, [11] = 0x01, 0xff, a->b[13], a->b[14], a->b[15] } };
}

/* ---- out ---- */

/* Sends the message at @l4 in reserved room; @mac nullable. */
static void nd_send(Netstack *s, const IpAddr *src, const IpAddr *dst, const MacAddr *mac, uint8_t *l4, size_t len) {
        uint16_t sum;
        IpSend how = { .src = *src, .dst = *dst, .proto = IPPROTO_ICMPV6, .ttl = ND_HOP_LIMIT, .mac = mac };

        memset(l4 + offsetof(struct icmp6_hdr, icmp6_cksum), 0, sizeof(sum));
        sum = checksum_finish(checksum_add(l4, len, checksum_pseudo(src, dst, IPPROTO_ICMPV6, (uint32_t) len)));
        memcpy(l4 + offsetof(struct icmp6_hdr, icmp6_cksum), &sum, sizeof(sum));
        ip_send(s, &how, l4, len);
}

static uint8_t *put_link_address(uint8_t *p, uint8_t type, const MacAddr *mac) {
        *p++ = type;
        *p++ = 1; /* in units of 8 bytes */
        memcpy(p, mac, sizeof(*mac));
        return p + sizeof(*mac);
}

void nd_solicit(Netstack *s, const IpAddr *target, const MacAddr *mac) {
        struct nd_neighbor_solicit h = { .nd_ns_type = ND_NEIGHBOR_SOLICIT };
        uint8_t *l4 = netstack_tx_reserve(s, sizeof(h) + 8);
        IpAddr dst = mac ? *target : nd_solicited_node(target);

        memcpy(&h.nd_ns_target, target, sizeof(*target));
        memcpy(l4, &h, sizeof(h));
        put_link_address(l4 + sizeof(h), ND_OPT_SOURCE_LINKADDR, &s->config.mac);
        nd_send(s, &s->link_local6, &dst, mac, l4, sizeof(h) + 8);
}

/* Says that @target is at the gateway's MAC address: to @dst, or to all (RFC 4861 7.2.4, 7.2.6). */
static void nd_advertise(Netstack *s, const IpAddr *target, const IpAddr *dst, const MacAddr *mac) {
        bool solicited = dst && !ip_is_null(dst);
        struct nd_neighbor_advert h = { .nd_na_type = ND_NEIGHBOR_ADVERT };
        uint8_t *l4 = netstack_tx_reserve(s, sizeof(h) + 8);

        h.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE | (solicited ? ND_NA_FLAG_SOLICITED : 0);
        if (netstack_is_gateway(s, target))
                h.nd_na_flags_reserved |= ND_NA_FLAG_ROUTER;
        memcpy(&h.nd_na_target, target, sizeof(*target));
        memcpy(l4, &h, sizeof(h));
        put_link_address(l4 + sizeof(h), ND_OPT_TARGET_LINKADDR, &s->config.mac);
        nd_send(s, target, solicited ? dst : &all_nodes, mac, l4, sizeof(h) + 8);
}

/* ---- router advertisements ---- */

static uint8_t *put_prefix(uint8_t *p, const IpPrefix *prefix) {
        struct nd_opt_prefix_info o = {
                .nd_opt_pi_type = ND_OPT_PREFIX_INFORMATION,
                .nd_opt_pi_len = sizeof(o) / 8,
                .nd_opt_pi_prefix_len = prefix->len,
                .nd_opt_pi_flags_reserved = ND_OPT_PI_FLAG_ONLINK | ND_OPT_PI_FLAG_AUTO,
                .nd_opt_pi_valid_time = htonl(ND_PREFIX_VALID_SEC),
                .nd_opt_pi_preferred_time = htonl(ND_PREFIX_PREFERRED_SEC),
        };
        IpAddr first = prefix_nth(prefix, 0);

        memcpy(&o.nd_opt_pi_prefix, &first, sizeof(first));
        memcpy(p, &o, sizeof(o));
        return p + sizeof(o);
}

static uint8_t *put_mtu(uint8_t *p, uint32_t mtu) {
        struct nd_opt_mtu o = { .nd_opt_mtu_type = ND_OPT_MTU, .nd_opt_mtu_len = 1, .nd_opt_mtu_mtu = htonl(mtu) };

        memcpy(p, &o, sizeof(o));
        return p + sizeof(o);
}

static uint8_t *put_dns_head(uint8_t *p, uint8_t type, size_t len) {
        uint32_t lifetime = htonl(ND_DNS_SEC);

        p[0] = type;
        p[1] = (uint8_t) (len / 8);
        p[2] = p[3] = 0;
        memcpy(p + 4, &lifetime, sizeof(lifetime));
        return p + 8;
}

static uint8_t *put_rdnss(uint8_t *p, const IpAddr *server) {
        p = put_dns_head(p, ND_OPT_RDNSS, 24);
        memcpy(p, server, sizeof(*server));
        return p + sizeof(*server);
}

/* The network's domain and the host's search domains, as far as they fit before @end. */
static uint8_t *put_dnssl(uint8_t *p, const uint8_t *end, const Netstack *s) {
        uint8_t *begin = p, *at = p + 8;

        if (end - p < 8)
                return p;
        if (s->config.domain)
                at += dns_name_from_text(s->config.domain, at, (size_t) (end - at));
        for (size_t i = 0; i < s->n_search; i++)
                at += dns_name_from_text(s->search[i], at, (size_t) (end - at));
        if (at == begin + 8)
                return begin;
        while ((at - begin) % 8 != 0) /* names end in a zero, and so does the option */
                *at++ = 0;
        put_dns_head(begin, ND_OPT_DNSSL, (size_t) (at - begin));
        return at;
}

/* Lifetime in units of 8 s, and three bits that say "96 bits": zeroes. */
static uint8_t *put_pref64(uint8_t *p, const IpPrefix *prefix) {
        uint16_t scaled = htons(ND_ROUTER_SEC / 8 << 3);

        p[0] = ND_OPT_PREF64;
        p[1] = 2;
        memcpy(p + 2, &scaled, sizeof(scaled));
        memcpy(p + 4, prefix->addr.b, 12);
        return p + 16;
}

/* @mtu: of the one link it goes to; 0: to all, whose links may differ. */
static void nd_advertise_router(Nd *n, const IpAddr *dst, const MacAddr *mac, uint32_t mtu) {
        Netstack *s = n->stack;
        uint8_t *l4 = netstack_tx_reserve(s, ND_ADVERT_MAX), *p = l4 + sizeof(struct nd_router_advert);
        struct nd_router_advert h = { .nd_ra_type = ND_ROUTER_ADVERT };

        h.nd_ra_curhoplimit = 64;
        h.nd_ra_flags_reserved = ND_RA_FLAG_MANAGED | ND_RA_FLAG_OTHER; /* dhcp6.c, for who prefers it */
        h.nd_ra_router_lifetime = htons(n->uplink ? ND_ROUTER_SEC : 0);
        memcpy(l4, &h, sizeof(h));
        p = put_link_address(p, ND_OPT_SOURCE_LINKADDR, &s->config.mac);
        if (mtu > 0)
                p = put_mtu(p, MIN(mtu, s->config.mtu));
        p = put_prefix(p, &s->config.subnet6);
        if (nat64_is_on(s))
                p = put_pref64(p, &s->config.nat64);
        p = put_rdnss(p, &s->config.gateway6);
        p = put_dnssl(p, l4 + ND_ADVERT_MAX - 8, s);
        nd_send(s, &s->link_local6, dst, mac, l4, (size_t) (p - l4));
}

static void nd_timer(Timer *timer, usec_t now, void *userdata) {
        Nd *n = CONTAINER_OF(timer, Nd, timer);

        nd_advertise_router(n, &all_nodes, NULL, 0);
        (void) timer_set(&n->stack->timers, timer, now + ND_INTERVAL_USEC);
}

void nd_set_uplink(Nd *n, bool up) {
        if (n->uplink == up)
                return;
        n->uplink = up;
        if (netstack_has_ip6(n->stack))
                nd_advertise_router(n, &all_nodes, NULL, 0);
}

bool nd_has_uplink(const Nd *n) {
        return n->uplink;
}

/* ---- in ---- */

typedef struct NdOptions {
        bool has_source, has_target;
        MacAddr source, target;
} NdOptions;

/* Reads the options at @c. False: one of them lies (RFC 4861 4.6: a length of zero discards the message). */
static bool nd_read_options(IovCur c, NdOptions *ret) {
        *ret = (NdOptions){};
        for (unsigned i = 0; i < ND_OPTIONS_MAX && iovcur_left(&c) > 0; i++) {
                uint8_t type, units;
                IovCur body;

                if (!iovcur_u8(&c, &type) || !iovcur_u8(&c, &units) || units == 0)
                        return false;
                body = c;
                if (!iovcur_skip(&c, units * 8u - 2))
                        return false;
                if (type == ND_OPT_SOURCE_LINKADDR)
                        ret->has_source = iovcur_copy(&body, &ret->source, sizeof(ret->source));
                else if (type == ND_OPT_TARGET_LINKADDR)
                        ret->has_target = iovcur_copy(&body, &ret->target, sizeof(ret->target));
        }
        return true;
}

/* One station speaking for another, or two at once? */
static bool nd_speaks_for_itself(const Packet *p, const NdOptions *o) {
        return (!o->has_source || mac_equal(&o->source, &p->src_mac)) && (!o->has_target || mac_equal(&o->target, &p->src_mac));
}

/* Somebody uses one of our addresses: say whose it is, now and then. */
static void nd_defend(Netstack *s, const IpAddr *addr) {
        usec_t now = netstack_now(s);

        netstack_drop(s, DROP_ND_SPOOF);
        if (s->nd->defended != 0 && now - s->nd->defended < ND_DEFEND_USEC)
                return;
        s->nd->defended = now;
        nd_advertise(s, addr, NULL, NULL);
}

static void nd_input_solicit(Netstack *s, const Packet *p, IovCur *c) {
        bool dad = ip_is_null(&p->src);
        NdOptions o;
        IpAddr target;

        if (!iovcur_skip(c, 8) || !iovcur_copy(c, &target, sizeof(target)) || !nd_read_options(*c, &o) ||
            ip_classify(&target) == IP_CLASS_MULTICAST)
                return netstack_drop(s, DROP_ND_MALFORMED);
        IpAddr group = nd_solicited_node(&target);
        if (dad && (o.has_source || !ip_equal(&p->dst, &group)))
                return netstack_drop(s, DROP_ND_MALFORMED);
        if (!nd_speaks_for_itself(p, &o))
                return netstack_drop(s, DROP_ND_SPOOF);
        if (!netstack_is_ours(s, &target))
                return netstack_drop(s, DROP_ND_NOT_OURS);
        if (dad) /* it wants our address: told, and all with it (RFC 4862 5.4.4) */
                return nd_advertise(s, &target, NULL, NULL);
        nd_advertise(s, &target, &p->src, &p->src_mac);
}

static void nd_input_advert(Netstack *s, const Packet *p, IovCur *c) {
        NdOptions o;
        IpAddr target;

        if (!iovcur_skip(c, 8) || !iovcur_copy(c, &target, sizeof(target)) || !nd_read_options(*c, &o) ||
            ip_classify(&target) == IP_CLASS_MULTICAST || ip_is_null(&p->src))
                return netstack_drop(s, DROP_ND_MALFORMED);
        if (!nd_speaks_for_itself(p, &o))
                return netstack_drop(s, DROP_ND_SPOOF);
        if (netstack_is_ours(s, &target))
                return nd_defend(s, &target);
        if (arp_is_known(s->arp, &target)) /* RFC 4861 7.2.5: who is not asked for need not be known */
                arp_learn(s->arp, &target, &p->src_mac);
}

static void nd_input_router_solicit(Netstack *s, const Packet *p, IovCur *c) {
        bool has_address = !ip_is_null(&p->src);
        NdOptions o;

        if (!iovcur_skip(c, sizeof(struct nd_router_solicit)) || !nd_read_options(*c, &o) || (!has_address && o.has_source))
                return netstack_drop(s, DROP_ND_MALFORMED);
        if (!nd_speaks_for_itself(p, &o))
                return netstack_drop(s, DROP_ND_SPOOF);
        if (!rate_take(&s->nd->rate[netstack_port_id(s) % PORT_SHARES], netstack_now(s), ND_ADVERTS_PER_SEC, ND_ADVERTS_BURST))
                return netstack_drop(s, DROP_ND_RATE);
        /* to the asking station alone, also where it has no address yet (RFC 6085) */
        nd_advertise_router(s->nd, has_address ? &p->src : &all_nodes, &p->src_mac, s->port && s->port->mtu ? s->port->mtu : 1500);
}

void nd_input(Netstack *s, const Packet *p, uint8_t type) {
        IovCur c = p->l4;

        switch (type) {
        case ND_ROUTER_SOLICIT:
                return nd_input_router_solicit(s, p, &c);
        case ND_NEIGHBOR_SOLICIT:
                return nd_input_solicit(s, p, &c);
        case ND_NEIGHBOR_ADVERT:
                return nd_input_advert(s, p, &c);
        default: /* other routers, redirects */
                return netstack_drop(s, DROP_ICMP_TYPE);
        }
}
