/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Of a network's options: rules, the map of addresses and the gateway's further addresses, and who may say what about them. */

#include <errno.h>

#include "daemon/manager-private.h"

static int refuse_open(const char *network, const char *what, Error *e) {
        return error_set(e, ERROR_ACCESS_DENIED, "%s of network '%s': only the administrator may open that to guests", what, network);
}

/* Can the gateway answer for @a in @c? */
static bool is_free_address(const NetworkConfig *c, const IpAddr *a) {
        const NetstackConfig *s = &c->stack;
        IpAddr first = prefix_nth(&s->subnet, 0), last = prefix_broadcast(&s->subnet);

        return prefix_contains(&s->subnet, a) && !ip_equal(a, &first) && !ip_equal(a, &last) && !ip_equal(a, &s->gateway);
}

static int set_nat(Manager *m, NetworkConfig *c, uint32_t uid, const char *const *nat, Error *e) {
        Policy *p = &c->stack.policy;

        for (; nat && nat[0]; nat += 2) {
                PolicyNat entry;
                IpClass class;

                if (p->n_nat == POLICY_NAT_MAX)
                        return error_set(e, ERROR_INVALID_ARGS, "Nat has more than %d entries", POLICY_NAT_MAX);
                if (ip_parse(nat[0], &entry.virtual) < 0 || !is_free_address(c, &entry.virtual))
                        return error_set(e, ERROR_INVALID_ARGS, "Nat of '%s': that is no address in %s the gateway can answer for",
                                         ERROR_QUOTE(nat[0]), PREFIX_TO_TEXT(&c->stack.subnet));
                if (ip_parse(nat[1], &entry.real) < 0 || !ip_is_v4(&entry.real))
                        return error_set(e, ERROR_INVALID_ARGS, "Nat of '%s': '%s' is no IPv4 address", ERROR_QUOTE(nat[0]), ERROR_QUOTE(nat[1]));
                class = ip_classify(&entry.real);
                if (class != IP_CLASS_UNICAST && class != IP_CLASS_LOOPBACK && class != IP_CLASS_LINK_LOCAL)
                        return error_set(e, ERROR_INVALID_ARGS, "Nat of '%s': nothing can be reached at '%s'", ERROR_QUOTE(nat[0]),
                                         ERROR_QUOTE(nat[1]));
                if (policy_real(p, &entry.virtual) || policy_virtual(p, &entry.real))
                        return error_set(e, ERROR_INVALID_ARGS, "Nat of '%s' to '%s': each address may be there once", ERROR_QUOTE(nat[0]),
                                         ERROR_QUOTE(nat[1]));
                if (class == IP_CLASS_LOOPBACK && !c->stack.host_loopback && !manager_may_open_loopback(m, uid))
                        return refuse_open(c->name, "Nat to the loopback", e);
                p->nat[p->n_nat++] = entry;
        }
        return 0;
}

static int set_rules(Manager *m, NetworkConfig *c, uint32_t uid, const char *const *rules, Error *e) {
        Policy *p = &c->stack.policy;

        for (; rules && *rules; rules++) {
                if (p->n_rules == POLICY_RULES_MAX)
                        return error_set(e, ERROR_INVALID_ARGS, "Policy has more than %d rules", POLICY_RULES_MAX);
                if (policy_rule_parse(*rules, &p->rules[p->n_rules]) < 0)
                        return error_set(e, ERROR_INVALID_ARGS,
                                         "Policy: '%s' is no rule: allow or deny, then perhaps tcp, udp or icmp, then any, host, private, "
                                         "link-local or an address or prefix, then perhaps PORT or PORT-PORT",
                                         ERROR_QUOTE(*rules));
                if (policy_rule_opens_link_local(&p->rules[p->n_rules]) && !manager_may_open_loopback(m, uid))
                        return refuse_open(c->name, "Policy for link-local addresses", e);
                p->n_rules++;
        }
        return 0;
}

static int set_addresses(NetworkConfig *c, const char *const *addresses, Error *e) {
        Policy *p = &c->stack.policy;

        for (; addresses && *addresses; addresses++) {
                IpAddr a;

                if (p->n_addresses == POLICY_ADDRESSES_MAX)
                        return error_set(e, ERROR_INVALID_ARGS, "GatewayAddresses has more than %d entries", POLICY_ADDRESSES_MAX);
                if (ip_parse(*addresses, &a) < 0 || !is_free_address(c, &a))
                        return error_set(e, ERROR_INVALID_ARGS, "Gateway address '%s' is no address in %s the gateway can answer for",
                                         ERROR_QUOTE(*addresses), PREFIX_TO_TEXT(&c->stack.subnet));
                if (!ip_equal(&a, &c->stack.host)) /* which it answers for already */
                        p->addresses[p->n_addresses++] = a;
        }
        return 0;
}

int manager_set_policy(Manager *m, NetworkConfig *c, uint32_t uid, const NetworkOptions *o, Error *e) {
        int r;

        r = set_nat(m, c, uid, o->nat, e);
        if (r >= 0)
                r = set_rules(m, c, uid, o->policy, e);
        if (r >= 0)
                r = set_addresses(c, o->gateway_addresses, e);
        return r;
}
