/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What guests may reach, and under which addresses: rules, a map of virtual addresses to real ones, and further addresses of the gateway.
 * Plain data, decided by pure functions.
 *
 * The first rule that fits decides; where none does, link-local addresses (metadata services of clouds) are refused and all else is allowed.
 * Rules look at where a packet goes in the end: behind the map, and behind the host address, which is "host". Addresses that no packet may
 * have (0/8, 127/8, multicast ...) are refused before any rule; the host's loopback is closed where the network says so, whatever the rules.
 */

#include "basic/addr.h"

#define POLICY_RULES_MAX 64
#define POLICY_NAT_MAX 16
#define POLICY_ADDRESSES_MAX 16
#define POLICY_RULE_TEXT_MAX 128

typedef enum PolicyTarget {
        POLICY_ANY,     /* everything but link-local addresses */
        POLICY_HOST,    /* the host's loopback, by the host address or the map */
        POLICY_PRIVATE, /* 10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7 */
        POLICY_PREFIX,
} PolicyTarget;

typedef struct PolicyRule {
        bool allow;
        uint8_t proto; /* IPPROTO_TCP, _UDP, _ICMP; 0: all of them */
        PolicyTarget target;
        IpPrefix prefix;
        uint16_t port_first, port_last; /* 0: any, ICMP too */
} PolicyRule;

typedef struct PolicyNat {
        IpAddr virtual, real; /* of the same family */
} PolicyNat;

typedef struct Policy {
        PolicyRule rules[POLICY_RULES_MAX];
        size_t n_rules;
        PolicyNat nat[POLICY_NAT_MAX];
        size_t n_nat;
        IpAddr addresses[POLICY_ADDRESSES_MAX]; /* the gateway answers ARP for them, and its services are there, too */
        size_t n_addresses;
} Policy;

/* "allow|deny [tcp|udp|icmp] any|host|private|link-local|ADDRESS|PREFIX [PORT[-PORT]]". -EINVAL. */
int policy_rule_parse(const char *text, PolicyRule *ret);
/* Would the rule let guests reach link-local addresses? */
bool policy_rule_opens_link_local(const PolicyRule *r);
const char *policy_rule_to_text(const PolicyRule *r, char buf[static POLICY_RULE_TEXT_MAX]);

/* May a guest reach @real (the host's loopback where that is meant) by @proto? */
bool policy_allows(const Policy *p, uint8_t proto, const Endpoint *real);

bool policy_is_private(const IpAddr *a); /* what "private" means in rules */

const IpAddr *policy_real(const Policy *p, const IpAddr *virtual); /* NULL: it is not in the map */
const IpAddr *policy_virtual(const Policy *p, const IpAddr *real); /* the reverse, the first that fits */
bool policy_has_address(const Policy *p, const IpAddr *a);         /* one of the gateway's further addresses */
