/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of DHCPv6 clients. What has expired is free, without a timer: every walk passes it by. Gives out no addresses, reads no messages.
 */

#include "netstack/dhcp6-names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct Dhcp6Names {
        Netstack *stack;  /* (borrowed) owner */
        unsigned n_used;  /* entries ever used: what walks go over */
        Dhcp6Name names[DHCP6_NAMES_MAX];
};

int dhcp6_names_new(Dhcp6Names **ret, Netstack *s) {
        Dhcp6Names *n = calloc(1, sizeof(*n));

        if (!n)
                return -ENOMEM;
        n->stack = s;
        *ret = n;
        return 0;
}

Dhcp6Names *dhcp6_names_free(Dhcp6Names *n) {
        free(n);
        return NULL;
}

static Dhcp6Name *by_addr(Dhcp6Names *n, const IpAddr *addr, usec_t now) {
        for (unsigned i = 0; i < n->n_used; i++)
                if (n->names[i].expires > now && ip_equal(&n->names[i].addr, addr))
                        return &n->names[i];
        return NULL;
}

/* At most one has it. */
static Dhcp6Name *by_label(Dhcp6Names *n, const char *label, usec_t now) {
        for (unsigned i = 0; i < n->n_used; i++)
                if (n->names[i].expires > now && strcasecmp(n->names[i].label, label) == 0)
                        return &n->names[i];
        return NULL;
}

/* One for a client of the port under way; NULL when there is none left for it. */
static Dhcp6Name *find_room(Dhcp6Names *n, uint32_t port, usec_t now) {
        Dhcp6Name *room = NULL;
        unsigned n_port = 0;

        for (unsigned i = 0; i < n->n_used; i++) {
                if (n->names[i].expires <= now)
                        room = room ?: &n->names[i];
                else if (n->names[i].port == port)
                        n_port++;
        }
        if (n_port >= DHCP6_NAMES_PORT_MAX)
                return NULL;
        if (!room && n->n_used < DHCP6_NAMES_MAX)
                room = &n->names[n->n_used++];
        return room;
}

/* May the station be called that? Its own older addresses do not stand in the way. */
static bool is_free_for(Dhcp6Names *n, const MacAddr *mac, const char *label, usec_t now) {
        const Dhcp6Name *e = by_label(n, label, now);

        return (!e || mac_equal(&e->mac, mac)) && dhcp_name_is_free_for(n->stack->dhcp, mac, label);
}

/* @label, or what can be made of it. False: nothing. */
static bool choose_label(Dhcp6Names *n, const IpAddr *addr, const MacAddr *mac, const char *label, usec_t now, char ret[static DHCP_HOSTNAME_MAX + 1]) {
        char suffix[6];
        size_t len = strlen(label);

        memcpy(ret, label, len + 1);
        if (is_free_for(n, mac, ret, now))
                return true;
        (void) snprintf(suffix, sizeof(suffix), "-%02x%02x", addr->b[14], addr->b[15]);
        memcpy(ret + MIN(len, (size_t) DHCP_HOSTNAME_MAX + 1 - sizeof(suffix)), suffix, sizeof(suffix));
        return is_free_for(n, mac, ret, now);
}

const Dhcp6Name *dhcp6_names_set(Dhcp6Names *n, const IpAddr *addr, const MacAddr *mac, const char *label, usec_t expires) {
        usec_t now = netstack_now(n->stack);
        uint32_t port = netstack_port_id(n->stack);
        Dhcp6Name *e = by_addr(n, addr, now), *older;
        char chosen[DHCP_HOSTNAME_MAX + 1];

        if (e && !mac_equal(&e->mac, mac)) /* one station with another's id */
                goto refused;
        if (label[0] == 0) {
                if (e)
                        e->expires = expires;
                return e;
        }
        if (!choose_label(n, addr, mac, label, now, chosen))
                goto refused;
        older = by_label(n, chosen, now);
        e = e ?: older ?: find_room(n, port, now);
        if (!e)
                goto refused;
        if (older && older != e)
                older->expires = 0;
        *e = (Dhcp6Name){ .addr = *addr, .mac = *mac, .expires = expires, .port = port };
        memcpy(e->label, chosen, sizeof(chosen));
        return e;

refused:
        netstack_drop(n->stack, DROP_DHCP6_NAME);
        return NULL;
}

void dhcp6_names_end(Dhcp6Names *n, const IpAddr *addr, const MacAddr *mac) {
        Dhcp6Name *e = by_addr(n, addr, netstack_now(n->stack));

        if (e && mac_equal(&e->mac, mac))
                e->expires = 0;
}

void dhcp6_names_forget(Dhcp6Names *n, const MacAddr *mac) {
        for (unsigned i = 0; i < n->n_used; i++)
                if (mac_equal(&n->names[i].mac, mac))
                        n->names[i].expires = 0;
}

/* A lease may have taken the name since: the administrator's do. */
static const Dhcp6Name *or_null(const Dhcp6Names *n, const Dhcp6Name *e) {
        return e && dhcp_name_is_free_for(n->stack->dhcp, &e->mac, e->label) ? e : NULL;
}

const Dhcp6Name *dhcp6_name_by_label(const Dhcp6Names *n, const char *label) {
        return or_null(n, by_label((Dhcp6Names *) n, label, netstack_now(n->stack)));
}

const Dhcp6Name *dhcp6_name_by_addr(const Dhcp6Names *n, const IpAddr *addr) {
        return or_null(n, by_addr((Dhcp6Names *) n, addr, netstack_now(n->stack)));
}
