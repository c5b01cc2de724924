/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The DHCP server's pool: which address a client gets, when it loses it, and what the rest of the gateway may ask about leases. Reads no
 * message and sends none. Walks of the table happen when something lapses, at its limits and for lists, never for a renewal.
 */

#include <errno.h>

#include "basic/parse.h"
#include "netstack/arp.h"
#include "netstack/dhcp-private.h"

/* ---- the table and time ---- */

void dhcp_report(Dhcp *d, const LeaseEntry *e, bool added) {
        if (d->stack->ops->lease_changed)
                d->stack->ops->lease_changed(d->stack->userdata, &e->lease, added);
}

void dhcp_arm(Dhcp *d, usec_t when) {
        /* Without memory for the timer leases lapse all the same: every look at one compares the time. */
        if (when < d->timer.when)
                (void) timer_set(&d->stack->timers, &d->timer, when);
}

void dhcp_end_lease(Dhcp *d, LeaseEntry *e, usec_t now) {
        bool was_lease = e->state == LEASE_BOUND;

        e->state = LEASE_PAST;
        e->lease.expires = MIN(e->lease.expires, now);
        if (was_lease)
                dhcp_report(d, e, false);
        lease_set_name(&d->table, e, "");
}

/* A client that is gone renews nothing, and counts as a guest no more; should it come back, its address waits. */
void dhcp_forget_client(Dhcp *d, const MacAddr *mac) {
        usec_t now = netstack_now(d->stack);

        for (LeaseEntry *e = lease_next(&d->table, NULL); e; e = lease_next(&d->table, e))
                if (e->state == LEASE_BOUND && mac_equal(&e->lease.mac, mac)) {
                        if (!e->lease.is_static)
                                dhcp_end_lease(d, e, now);
                        else if (e->seen) { /* it stays; who has it does not */
                                e->seen = false;
                                dhcp_report(d, e, false);
                        }
                }
}

/* Does the client use its address still? It does not always renew: one that was configured once, by hand or by `vnetctl attach`, never
 * will. The neighbour table asks such a guest before it forgets it, so being known there is being alive. */
static bool is_in_use(Dhcp *d, const LeaseEntry *e) {
        MacAddr mac;
        uint32_t mtu;
        return arp_lookup(d->stack->arp, &e->lease.addr, &mac, &mtu) && mac_equal(&mac, &e->lease.mac);
}

/* The end of whatever the entry was. */
void dhcp_lapse(Dhcp *d, LeaseEntry *e, usec_t now) {
        switch (e->state) {
        case LEASE_BOUND:
                if (is_in_use(d, e)) {
                        e->lease.expires = now + ARP_STALE_USEC;
                        return;
                }
                dhcp_end_lease(d, e, now);
                return;
        case LEASE_OFFERED:
                if (e->was_bound)
                        dhcp_end_lease(d, e, now);
                else
                        lease_drop(&d->table, e);
                return;
        case LEASE_DECLINED:
                d->n_declined--;
                lease_drop(&d->table, e);
                return;
        case LEASE_PAST:
        case LEASE_FREE:
                return;
        }
}

/* Lapses what is due; returns when the next one is. */
usec_t dhcp_sweep(Dhcp *d, usec_t now) {
        usec_t next = USEC_INFINITY;

        for (LeaseEntry *e = lease_next(&d->table, NULL); e; e = lease_next(&d->table, e)) {
                if (e->state == LEASE_PAST)
                        continue;
                if (e->lease.expires <= now)
                        dhcp_lapse(d, e, now);
                if (e->lease.expires > now)
                        next = MIN(next, e->lease.expires);
        }
        return next;
}

static void dhcp_on_timer(Timer *timer, usec_t now, void *userdata) {
        Dhcp *d = CONTAINER_OF(timer, Dhcp, timer);
        usec_t next = dhcp_sweep(d, now);

        /* Not more often than once a second, however many lapse one after the other. */
        if (next != USEC_INFINITY)
                dhcp_arm(d, MAX(next, now + USEC_PER_SEC));
}

/* ---- choosing an address ---- */

/* Somebody else answered ARP for it: a guest with an address of its own making. */
bool dhcp_address_conflicts(const Dhcp *d, const IpAddr *a, const MacAddr *client) {
        MacAddr mac;
        uint32_t mtu;

        return arp_lookup(d->stack->arp, a, &mac, &mtu) && !mac_equal(&mac, client);
}

/* The range that is given away, as the first address's place in the subnet and that behind the last. */
static void pool_range(const Dhcp *d, uint64_t *ret_begin, uint64_t *ret_end) {
        const NetstackConfig *c = &d->stack->config;
        uint32_t base = ntohl(ip_v4(&d->table.subnet.addr) & prefix_mask_v4(&d->table.subnet));

        *ret_begin = 1;
        *ret_end = (UINT64_C(1) << (32 - d->table.subnet.len)) - 1;
        if (!ip_is_null(&c->lease_first)) {
                *ret_begin = ntohl(ip_v4(&c->lease_first)) - base;
                *ret_end = ntohl(ip_v4(&c->lease_last)) - base + UINT64_C(1);
        }
}

bool dhcp_in_range(const Dhcp *d, const IpAddr *a) {
        const NetstackConfig *c = &d->stack->config;
        uint32_t n = ntohl(ip_v4(a));

        return ip_is_null(&c->lease_first) || (n >= ntohl(ip_v4(&c->lease_first)) && n <= ntohl(ip_v4(&c->lease_last)));
}

/* The lowest address that nobody has, had or was offered; unless @any nor took for itself. */
static bool address_unused(const Dhcp *d, const MacAddr *client, bool any, IpAddr *ret) {
        uint64_t begin, end;

        pool_range(d, &begin, &end);
        end = MIN(end, begin + (uint64_t) 2 * DHCP_LEASES_MAX);
        for (uint64_t i = begin; i < end; i++) {
                IpAddr a = prefix_nth(&d->table.subnet, i);

                if (!lease_table_valid(&d->table, &a) || lease_by_addr(&d->table, &a) ||
                    (!any && dhcp_address_conflicts(d, &a, client)))
                        continue;
                *ret = a;
                return true;
        }
        return false;
}

/* What can be given up for a new client: the lease that ended longest ago, else the oldest offer that had its chance. */
static bool offer_had_its_chance(const LeaseEntry *e, usec_t now) {
        return e->state == LEASE_OFFERED && e->lease.expires + DHCP_OFFER_GRACE_USEC < now + DHCP_OFFER_USEC;
}

static LeaseEntry *entry_to_recycle(const Dhcp *d, usec_t now) {
        LeaseEntry *past = NULL, *offer = NULL;

        for (LeaseEntry *e = lease_next(&d->table, NULL); e; e = lease_next(&d->table, e)) {
                if (e->state == LEASE_PAST && dhcp_in_range(d, &e->lease.addr) && (!past || e->lease.expires < past->lease.expires))
                        past = e;
                else if (offer_had_its_chance(e, now) && (!offer || e->lease.expires < offer->lease.expires))
                        offer = e;
        }
        return past ?: offer;
}

bool dhcp_port_has_room(Dhcp *d, usec_t now) {
        uint32_t port = dhcp_port(d), n = 0;
        LeaseEntry *offer = NULL;

        (void) dhcp_sweep(d, now);
        for (LeaseEntry *e = lease_next(&d->table, NULL); e; e = lease_next(&d->table, e)) {
                if (e->port != port || e->lease.is_static || e->state == LEASE_PAST)
                        continue;
                n++;
                if (offer_had_its_chance(e, now) && (!offer || e->lease.expires < offer->lease.expires))
                        offer = e;
        }
        if (n < DHCP_PORT_SHARE(d->table.n_max))
                return true;
        if (!offer)
                return false;
        dhcp_lapse(d, offer, now);
        return true;
}

LeaseEntry *dhcp_allocate(Dhcp *d, const IpAddr *wanted, const uint8_t *id, size_t id_len, const MacAddr *mac, usec_t now) {
        LeaseEntry *e = NULL;
        IpAddr a;

        (void) dhcp_sweep(d, now);

        if (!ip_is_null(wanted) && dhcp_in_range(d, wanted) && lease_table_valid(&d->table, wanted) && !lease_by_addr(&d->table, wanted) &&
            !dhcp_address_conflicts(d, wanted, mac))
                e = lease_take(&d->table, wanted, id, id_len, mac);
        else if (address_unused(d, mac, /* any= */ false, &a))
                e = lease_take(&d->table, &a, id, id_len, mac);
        if (e)
                return e;

        e = entry_to_recycle(d, now);
        if (e) {
                a = e->lease.addr;
                lease_drop(&d->table, e);
                return lease_take(&d->table, &a, id, id_len, mac);
        }

        /* A neighbour may be an old memory, or made up to starve others: the client finds out by ARP and declines (RFC 2131 4.4.1). */
        return address_unused(d, mac, /* any= */ true, &a) ? lease_take(&d->table, &a, id, id_len, mac) : NULL;
}

/* At the limit the address that has been in quarantine longest is let out. */
void dhcp_make_room_in_quarantine(Dhcp *d, usec_t now) {
        LeaseEntry *oldest = NULL;

        if (d->n_declined < MIN((uint32_t) LEASE_DECLINED_MAX, MAX(d->table.n_max / 4, UINT32_C(1))))
                return;

        for (LeaseEntry *e = lease_next(&d->table, NULL); e; e = lease_next(&d->table, e))
                if (e->state == LEASE_DECLINED && (!oldest || e->lease.expires < oldest->lease.expires))
                        oldest = e;
        dhcp_lapse(d, oldest, now);
}

bool dhcp_name_is_taken(const Dhcp *d, const LeaseEntry *self, const char *label) {
        const LeaseEntry *e = lease_by_name(&d->table, label);
        const char *host = d->stack->config.hostname;

        return (e && e != self) || strcasecmp(label, "gateway") == 0 || strcasecmp(label, "host") == 0 ||
               (host && strcasecmp(label, host) == 0);
}

bool dhcp_name_is_free_for(const Dhcp *d, const MacAddr *mac, const char *label) {
        const LeaseEntry *e = lease_by_name(&d->table, label);

        return !dhcp_name_is_taken(d, e && mac_equal(&e->lease.mac, mac) ? e : NULL, label);
}

/* ---- for the rest of the house ---- */

int dhcp_new(Dhcp **ret, Netstack *s) {
        Dhcp *d;
        uint64_t seed;
        int r;

        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;

        d->stack = s;
        timer_init(&d->timer, dhcp_on_timer);
        s->ops->random(s->userdata, &seed, sizeof(seed));
        r = lease_table_init(&d->table, &s->config.subnet, &s->config.gateway, &s->config.host, seed);
        if (r < 0) {
                free(d);
                return r;
        }
        d->table.policy = &s->config.policy;

        *ret = d;
        return 0;
}

Dhcp *dhcp_free(Dhcp *d) {
        if (!d)
                return NULL;

        timer_stop(&d->stack->timers, &d->timer);
        lease_table_deinit(&d->table);
        free(d);
        return NULL;
}

static const Lease *live_or_null(const Dhcp *d, const LeaseEntry *e) {
        return e && lease_is_live(e, netstack_now(d->stack)) ? &e->lease : NULL;
}

const Lease *dhcp_lease_by_addr(const Dhcp *d, const IpAddr *a) {
        return live_or_null(d, lease_by_addr(&d->table, a));
}

const Lease *dhcp_lease_by_hostname(const Dhcp *d, const char *label) {
        return label[0] ? live_or_null(d, lease_by_name(&d->table, label)) : NULL;
}

const Lease *dhcp_lease_by_mac(const Dhcp *d, const MacAddr *mac) {
        usec_t now = netstack_now(d->stack);

        for (const LeaseEntry *e = lease_next(&d->table, NULL); e; e = lease_next(&d->table, e))
                if (lease_is_live(e, now) && mac_equal(&e->lease.mac, mac))
                        return &e->lease;
        return NULL;
}

const Lease *dhcp_only_lease(const Dhcp *d) {
        usec_t now = netstack_now(d->stack);
        const LeaseEntry *seen = NULL, *known = NULL;
        size_t n_seen = 0, n_known = 0;

        /* Static leases of guests that never came count only where there is nobody else. */
        for (const LeaseEntry *e = lease_next(&d->table, NULL); e; e = lease_next(&d->table, e)) {
                if (!lease_is_live(e, now))
                        continue;
                known = e;
                n_known++;
                if (e->seen) {
                        seen = e;
                        n_seen++;
                }
        }
        if (n_seen > 0)
                return n_seen == 1 ? &seen->lease : NULL;
        return n_known == 1 ? &known->lease : NULL;
}

size_t dhcp_n_leases(const Dhcp *d) {
        usec_t now = netstack_now(d->stack);
        size_t n = 0;

        for (const LeaseEntry *e = lease_next(&d->table, NULL); e; e = lease_next(&d->table, e))
                n += lease_is_live(e, now);
        return n;
}

int dhcp_list(const Dhcp *d, Lease **ret, size_t *ret_n) {
        usec_t now = netstack_now(d->stack);
        size_t n_max = dhcp_n_leases(d), n = 0;
        Lease *list;

        list = calloc(MAX(n_max, (size_t) 1), sizeof(*list));
        if (!list)
                return -ENOMEM;

        for (const LeaseEntry *e = lease_next(&d->table, NULL); e && n < n_max; e = lease_next(&d->table, e))
                if (lease_is_live(e, now))
                        list[n++] = e->lease;

        *ret = list;
        *ret_n = n;
        return 0;
}

/* Makes way for @lease, or says why not: an entry that is no more than a memory or an offer gives way. */
static int dhcp_clear_way(Dhcp *d, LeaseEntry *e, const Lease *lease, usec_t now) {
        bool same_client, same_addr;

        if (!e)
                return 0;

        same_addr = ip_equal(&e->lease.addr, &lease->addr);
        same_client = e->lease.client_id_len == lease->client_id_len &&
                      (lease->client_id_len > 0 ? memcmp(e->lease.client_id, lease->client_id, lease->client_id_len) == 0 :
                                                  mac_equal(&e->lease.mac, &lease->mac));
        if (lease_is_live(e, now) && !(same_addr && same_client))
                return -EEXIST;
        if (e->state == LEASE_DECLINED)
                d->n_declined--;
        lease_drop(&d->table, e);
        return 0;
}

int dhcp_add(Dhcp *d, const Lease *lease) {
        usec_t now = netstack_now(d->stack);
        LeaseEntry *by_addr, *by_client, *e;
        bool seen;
        int r;

        if (lease->hostname[0] && (!dns_name_is_valid(lease->hostname) || strchr(lease->hostname, '.')))
                return -EINVAL;
        if (!lease_table_valid(&d->table, &lease->addr) || lease->client_id_len > DHCP_CLIENT_ID_MAX ||
            (lease->client_id_len == 0 && (mac_is_zero(&lease->mac) || mac_is_multicast(&lease->mac))))
                return -EINVAL;
        if (!lease->is_static && lease->expires <= now) /* restored too late */
                return 0;

        (void) dhcp_sweep(d, now);
        /* Both are asked before either gives way: a refusal changes nothing. */
        by_addr = lease_by_addr(&d->table, &lease->addr);
        by_client = lease_by_client(&d->table, lease->client_id, lease->client_id_len, &lease->mac);
        if (by_client != by_addr && by_client && lease_is_live(by_client, now))
                return -EEXIST;
        seen = !lease->is_static || (by_addr && by_addr->seen);
        r = dhcp_clear_way(d, by_addr, lease, now);
        if (r < 0)
                return r;
        if (by_client != by_addr)
                (void) dhcp_clear_way(d, by_client, lease, now);

        e = lease_take(&d->table, &lease->addr, lease->client_id, lease->client_id_len, &lease->mac);
        if (!e)
                return -ENOBUFS;
        e->state = LEASE_BOUND;
        e->was_bound = true;
        e->seen = seen;
        e->lease.is_static = lease->is_static;
        e->lease.expires = lease->is_static ? USEC_INFINITY : lease->expires;
        if (lease->hostname[0] && !dhcp_name_is_taken(d, e, lease->hostname))
                lease_set_name(&d->table, e, lease->hostname);
        dhcp_arm(d, e->lease.expires);
        return 0;
}
