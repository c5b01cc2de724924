/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The last four bytes of an address of the prefix are the IPv4 address; nothing is looked up and nothing kept. */

#include "netstack/nat64.h"

static const uint8_t well_known[12] = { 0x00, 0x64, 0xff, 0x9b };

bool nat64_prefix_is_valid(const IpPrefix *p) {
        IpAddr first = prefix_nth(p, 0);

        return !ip_is_v4(&p->addr) && p->len == NAT64_PREFIX_LEN && ip_classify(&p->addr) == IP_CLASS_UNICAST && p->addr.b[8] == 0 &&
               !ip_is_null(&first) && ip_equal(&first, &p->addr);
}

static IpAddr embedded(const IpAddr *a) {
        return ip_from_v4(a->w[3]);
}

bool nat64_read(const Netstack *s, const IpAddr *a, IpAddr *ret) {
        if (!nat64_is_on(s) || memcmp(a->b, s->config.nat64.addr.b, 12) != 0)
                return false;
        *ret = embedded(a);
        return true;
}

bool nat64_read_well_known(const IpAddr *a, IpAddr *ret) {
        if (memcmp(a->b, well_known, sizeof(well_known)) != 0)
                return false;
        *ret = embedded(a);
        return true;
}

static bool is_well_known(const Netstack *s) {
        return memcmp(s->config.nat64.addr.b, well_known, sizeof(well_known)) == 0;
}

bool nat64_may_mean(const Netstack *s, const IpAddr *v4) {
        IpClass class = ip_classify(v4);

        if (is_well_known(s) && policy_is_private(v4))
                return false;
        if (policy_real(&s->config.policy, v4) || (netstack_has_ip4(s) && netstack_is_host(s, v4)))
                return true;
        return (class == IP_CLASS_UNICAST || class == IP_CLASS_LINK_LOCAL) && !netstack_is_gateway(s, v4) && !netstack_is_inside(s, v4);
}

IpAddr nat64_as_seen(const Netstack *s, const IpAddr *guest, const IpAddr *a) {
        IpAddr seen = s->config.nat64.addr;

        if (!nat64_is_on(s) || ip_is_v4(guest) || !ip_is_v4(a))
                return *a;
        seen.w[3] = ip_v4(a);
        return seen;
}
