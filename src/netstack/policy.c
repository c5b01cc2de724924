/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules are few and looked at once a conversation (and once a UDP packet to outside): lists are walked. */

#include "netstack/policy.h"

#include <errno.h>
#include <stdio.h>

#include "basic/parse.h"

#define WORDS_MAX 4

static bool read_proto(const char *text, uint8_t *ret) {
        if (streq(text, "tcp"))
                *ret = IPPROTO_TCP;
        else if (streq(text, "udp"))
                *ret = IPPROTO_UDP;
        else if (streq(text, "icmp"))
                *ret = IPPROTO_ICMP;
        else
                return false;
        return true;
}

static int read_target(const char *text, PolicyRule *r) {
        if (streq(text, "any"))
                r->target = POLICY_ANY;
        else if (streq(text, "host"))
                r->target = POLICY_HOST;
        else if (streq(text, "private"))
                r->target = POLICY_PRIVATE;
        else {
                r->target = POLICY_PREFIX;
                if (streq(text, "link-local"))
                        return prefix_parse("169.254.0.0/16", &r->prefix);
                if (prefix_parse(text, &r->prefix) >= 0)
                        return 0;
                if (ip_parse(text, &r->prefix.addr) < 0)
                        return -EINVAL;
                r->prefix.len = ip_is_v4(&r->prefix.addr) ? 32 : 128;
        }
        return 0;
}

static int read_ports(char *text, PolicyRule *r) {
        char *dash = strchr(text, '-');

        if (dash)
                *dash++ = 0;
        if (parse_port(text, &r->port_first) < 0 || parse_port(dash ?: text, &r->port_last) < 0 || r->port_last < r->port_first ||
            r->proto == IPPROTO_ICMP)
                return -EINVAL;
        return 0;
}

int policy_rule_parse(const char *text, PolicyRule *ret) {
        char copy[POLICY_RULE_TEXT_MAX], *words[WORDS_MAX + 1] = {}, *save = NULL;
        PolicyRule r = {};
        size_t n = 0, i = 1;

        if (strlen(text) >= sizeof(copy))
                return -EINVAL;
        memcpy(copy, text, strlen(text) + 1);
        for (char *w = strtok_r(copy, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
                if (n == WORDS_MAX)
                        return -EINVAL;
                words[n++] = w;
        }
        if (n < 2 || (!streq(words[0], "allow") && !streq(words[0], "deny")))
                return -EINVAL;
        r.allow = streq(words[0], "allow");
        if (read_proto(words[i], &r.proto))
                i++;
        if (i >= n || read_target(words[i++], &r) < 0)
                return -EINVAL;
        if (i < n && read_ports(words[i++], &r) < 0)
                return -EINVAL;
        if (i < n)
                return -EINVAL;
        *ret = r;
        return 0;
}

bool policy_rule_opens_link_local(const PolicyRule *r) {
        return r->allow && r->target == POLICY_PREFIX && ip_classify(&r->prefix.addr) == IP_CLASS_LINK_LOCAL;
}

const char *policy_rule_to_text(const PolicyRule *r, char buf[static POLICY_RULE_TEXT_MAX]) {
        static const char *const targets[] = { [POLICY_ANY] = "any", [POLICY_HOST] = "host", [POLICY_PRIVATE] = "private" };
        const char *proto = r->proto == IPPROTO_TCP ? "tcp " : r->proto == IPPROTO_UDP ? "udp " : r->proto == IPPROTO_ICMP ? "icmp " : "";
        int n = snprintf(buf, POLICY_RULE_TEXT_MAX, "%s %s%s", r->allow ? "allow" : "deny", proto,
                         r->target == POLICY_PREFIX ? PREFIX_TO_TEXT(&r->prefix) : targets[r->target]);

        if (r->port_first != 0)
                (void) snprintf(buf + n, POLICY_RULE_TEXT_MAX - (size_t) n, r->port_first == r->port_last ? " %u" : " %u-%u", r->port_first,
                                r->port_last);
        return buf;
}

bool policy_is_private(const IpAddr *a) {
        uint32_t v4 = ntohl(ip_v4(a));

        if (!ip_is_v4(a))
                return (a->b[0] & 0xfe) == 0xfc;
        return v4 >> 24 == 10 || v4 >> 20 == 0xac1 || v4 >> 16 == 0xc0a8 || v4 >> 22 == 0x191;
}

static bool rule_fits(const PolicyRule *r, uint8_t proto, const Endpoint *real) {
        IpClass class = ip_classify(&real->addr);

        if (r->proto != 0 && r->proto != proto)
                return false;
        if (r->port_first != 0 && (proto == IPPROTO_ICMP || real->port < r->port_first || real->port > r->port_last))
                return false;
        switch (r->target) {
        case POLICY_ANY:
                return !r->allow || class != IP_CLASS_LINK_LOCAL;
        case POLICY_HOST:
                return class == IP_CLASS_LOOPBACK;
        case POLICY_PRIVATE:
                return policy_is_private(&real->addr);
        case POLICY_PREFIX:
                /* 0.0.0.0/0 is no way to say "metadata services" */
                return prefix_contains(&r->prefix, &real->addr) && (class != IP_CLASS_LINK_LOCAL || !r->allow || policy_rule_opens_link_local(r));
        }
        return false;
}

bool policy_allows(const Policy *p, uint8_t proto, const Endpoint *real) {
        for (size_t i = 0; i < p->n_rules; i++)
                if (rule_fits(&p->rules[i], proto, real))
                        return p->rules[i].allow;
        return ip_classify(&real->addr) != IP_CLASS_LINK_LOCAL;
}

const IpAddr *policy_real(const Policy *p, const IpAddr *virtual) {
        for (size_t i = 0; i < p->n_nat; i++)
                if (ip_equal(&p->nat[i].virtual, virtual))
                        return &p->nat[i].real;
        return NULL;
}

const IpAddr *policy_virtual(const Policy *p, const IpAddr *real) {
        for (size_t i = 0; i < p->n_nat; i++)
                if (ip_equal(&p->nat[i].real, real))
                        return &p->nat[i].virtual;
        return NULL;
}

bool policy_has_address(const Policy *p, const IpAddr *a) {
        for (size_t i = 0; i < p->n_addresses; i++)
                if (ip_equal(&p->addresses[i], a))
                        return true;
        return false;
}
