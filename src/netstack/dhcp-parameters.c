/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a DHCP client is told of its network (RFC 2132, 3397, 4702). Decides nothing, keeps nothing.
 */

#include <stdio.h>

#include "netstack/dhcp-private.h"
#include "netstack/dns-message.h"
#include "netstack/nat64.h"
#include "netstack/netstack-private.h"

#define SEARCH_BYTES_MAX (DNS_NAME_MAX * (NETSTACK_SEARCH_MAX + 1))

typedef struct Told {
        const Netstack *stack;
        const DhcpRequest *q;
        const LeaseEntry *entry; /* (nullable) */
        uint32_t mtu;
} Told;

/* The network's own domain, then the host's search list (RFC 3397, names uncompressed). Left out when it does not fit whole. */
static void put_search(DhcpReply *r, const Told *t) {
        const NetstackConfig *c = &t->stack->config;
        uint8_t wire[SEARCH_BYTES_MAX];
        size_t len = 0;

        if (c->domain)
                len += dns_name_from_text(c->domain, wire, DNS_NAME_MAX);
        for (size_t i = 0; i < t->stack->n_search; i++)
                if (!c->domain || strcasecmp(t->stack->search[i], c->domain) != 0)
                        len += dns_name_from_text(t->stack->search[i], wire + len, DNS_NAME_MAX);
        if (len > 0)
                (void) dhcp_reply_put(r, DHCP_OPTION_SEARCH, wire, len);
}

/* RFC 4702 4: the name we keep for the client, in the encoding it used; S: the A record is our doing. */
static void put_fqdn(DhcpReply *r, const Told *t) {
        uint8_t out[3 + DNS_NAME_MAX], asked;
        char name[DNS_NAME_MAX + 1];
        size_t len;
        int n;

        if (!t->entry || t->q->fqdn.len < 3 || !t->entry->lease.hostname[0] || !t->stack->config.domain)
                return;
        n = snprintf(name, sizeof(name), "%s.%s", t->entry->lease.hostname, t->stack->config.domain);
        if (n < 0 || (size_t) n >= sizeof(name))
                return;

        asked = t->q->fqdn.data[0];
        out[0] = DHCP_FQDN_S | (asked & DHCP_FQDN_E) | (asked & DHCP_FQDN_S ? 0 : DHCP_FQDN_O);
        out[1] = out[2] = 255; /* RFC 4702 2.2 */
        if (asked & DHCP_FQDN_E)
                len = dns_name_from_text(name, out + 3, DNS_NAME_MAX);
        else {
                len = n;
                memcpy(out + 3, name, len);
        }
        if (len > 0)
                (void) dhcp_reply_put(r, DHCP_OPTION_FQDN, out, 3 + len);
}

static void put_text(DhcpReply *r, uint8_t code, const char *text) {
        if (text && text[0])
                (void) dhcp_reply_put(r, code, text, strlen(text));
}

static void put_ntp(DhcpReply *r, const NetstackConfig *c) {
        uint32_t servers[NETSTACK_NTP_MAX];

        for (size_t i = 0; i < c->n_ntp; i++)
                servers[i] = ip_v4(&c->ntp[i]);
        if (c->n_ntp > 0)
                (void) dhcp_reply_put(r, DHCP_OPTION_NTP, servers, c->n_ntp * sizeof(*servers));
}

/* One option by its code; what there is nothing to say about is left out. */
static void put_parameter(DhcpReply *r, const Told *t, uint8_t code) {
        const NetstackConfig *c = &t->stack->config;
        IpAddr a;

        switch (code) {
        case DHCP_OPTION_MASK:
                a = ip_from_v4(prefix_mask_v4(&c->subnet));
                (void) dhcp_reply_put_ip(r, code, &a);
                break;
        case DHCP_OPTION_ROUTER:
        case DHCP_OPTION_DNS:
                (void) dhcp_reply_put_ip(r, code, &c->gateway);
                break;
        case DHCP_OPTION_BROADCAST:
                a = prefix_broadcast(&c->subnet);
                (void) dhcp_reply_put_ip(r, code, &a);
                break;
        case DHCP_OPTION_MTU:
                (void) dhcp_reply_put_u16(r, code, t->mtu);
                break;
        case DHCP_OPTION_V6ONLY: /* who asks can do without IPv4, and here it need not have any */
                if (nat64_is_on(t->stack))
                        (void) dhcp_reply_put_u32(r, code, DHCP_V6ONLY_WAIT_SEC);
                break;
        case DHCP_OPTION_HOSTNAME:
                if (t->entry)
                        put_text(r, code, t->entry->lease.hostname);
                break;
        case DHCP_OPTION_DOMAIN:
                put_text(r, code, c->domain);
                break;
        case DHCP_OPTION_NTP:
                put_ntp(r, c);
                break;
        case DHCP_OPTION_CAPTIVE_PORTAL:
                put_text(r, code, c->captive_portal);
                break;
        case DHCP_OPTION_SEARCH:
                put_search(r, t);
                break;
        case DHCP_OPTION_FQDN:
                put_fqdn(r, t);
                break;
        }
}

void dhcp_put_parameters(DhcpReply *r, const Netstack *s, const DhcpRequest *q, uint32_t mtu, const LeaseEntry *e, uint32_t lease_sec) {
        /* Told whether asked for or not, as clients forget to ask: the MTU above all. A hostname is given to those who ask. */
        static const uint8_t always[] = {
                DHCP_OPTION_MASK,      DHCP_OPTION_ROUTER, DHCP_OPTION_DNS,    DHCP_OPTION_MTU,
                DHCP_OPTION_BROADCAST, DHCP_OPTION_DOMAIN, DHCP_OPTION_SEARCH, DHCP_OPTION_FQDN,
        };
        const Told told = { .stack = s, .q = q, .entry = e, .mtu = mtu };
        bool done[UINT8_MAX + 1] = {};

        if (e) {
                (void) dhcp_reply_put_u32(r, DHCP_OPTION_LEASE, lease_sec);
                if (lease_sec != UINT32_MAX) { /* RFC 2131 4.4.5: at one half and seven eighths */
                        (void) dhcp_reply_put_u32(r, DHCP_OPTION_T1, lease_sec / 2);
                        (void) dhcp_reply_put_u32(r, DHCP_OPTION_T2, (uint64_t) lease_sec * 7 / 8);
                }
        }

        for (size_t i = 0; i < q->parameters.len + sizeof(always); i++) {
                uint8_t code = i < q->parameters.len ? q->parameters.data[i] : always[i - q->parameters.len];

                if (!done[code])
                        put_parameter(r, &told, code);
                done[code] = true;
        }
}
