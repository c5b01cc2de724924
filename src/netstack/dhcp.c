/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The DHCP server (RFC 2131). One message in, at most one out; nothing is allocated on the way. It is the network's only server and
 * owns the subnet, but stays silent where the RFC wants servers without a record to. Relays (giaddr) are not served: the network is one segment.
 *
 *     message                      entry of the client             becomes
 *     DISCOVER                     none, PAST                      OFFERED for DHCP_OFFER_USEC (BOUND at once with rapid commit)
 *     REQUEST                      OFFERED, PAST, BOUND, none      BOUND for the lease time
 *     RELEASE, time                BOUND                           PAST: the address waits for its client
 *     time, another server chosen  OFFERED                         PAST if it was bound before, else gone
 *     DECLINE                      OFFERED, BOUND                  DECLINED for DHCP_DECLINE_USEC
 *
 * Hostile guests: messages of clients without a lease pass a bucket of the port they came in by, holders one of their own, so that a
 * flood of made-up clients disturbs neither renewals nor other ports; offers nobody takes make room first; the clients of one port have
 * DHCP_PORT_SHARE of the pool at most.
 */

#include <stdio.h>
#include <xxhash.h>

#include "netstack/arp.h"
#include "netstack/dhcp-private.h"
#include "netstack/dhcp6-names.h"
#include "netstack/rate.h"
#include "netstack/udp.h"

#define ID_KEPT_LEN (DHCP_CLIENT_ID_MAX - sizeof(XXH128_canonical_t)) /* of a long client id; its hash fills the rest */

/* One message and what it takes to answer it. */
typedef struct Exchange {
        Dhcp *d;
        const DhcpRequest *q;
        const MacAddr *src_mac;
        const IpAddr *src;
        LeaseEntry *entry; /* (nullable) of the client */
        usec_t now;
        uint8_t id[DHCP_CLIENT_ID_MAX];
        size_t id_len;
} Exchange;

/* ---- answers ---- */

static uint32_t dhcp_mtu(const Dhcp *d) {
        uint32_t port = d->stack->port && d->stack->port->mtu > 0 ? d->stack->port->mtu : 1500;

        return MIN(MIN(d->stack->config.mtu, port), (uint32_t) UINT16_MAX);
}

/**
 * exchange_reply() - send an answer to where RFC 2131 4.1 wants it
 *
 * To ciaddr when the client has an address; else to the broadcast address when it said that it cannot take unicast yet or is told NAK;
 * else to the address it is being given, at its MAC, as nobody answers ARP for that yet.
 */
static void exchange_reply(Exchange *x, DhcpReply *r, DhcpType type, const IpAddr *yiaddr) {
        static const MacAddr everybody = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
        Netstack *s = x->d->stack;
        Endpoint from = { .addr = s->config.gateway, .port = DHCP_SERVER_PORT };
        Endpoint to = { .addr = ip_from_v4(INADDR_BROADCAST), .port = DHCP_CLIENT_PORT };
        const MacAddr *mac = &everybody;
        size_t len = dhcp_reply_finish(r);

        if (type != DHCP_NAK) {
                if (!ip_is_null(&x->q->ciaddr)) {
                        to.addr = x->q->ciaddr;
                        mac = x->src_mac;
                } else if (ip_is_null(yiaddr)) { /* INFORM of a client that forgot to fill in ciaddr */
                        to.addr = *x->src;
                        mac = x->src_mac;
                } else if (!(x->q->flags & DHCP_FLAG_BROADCAST)) {
                        to.addr = *yiaddr;
                        mac = &x->q->chaddr;
                }
        }
        udp_send(s, &from, &to, mac, r->buf, len);
}

static void exchange_begin(Exchange *x, DhcpReply *r, DhcpType type, const IpAddr *yiaddr) {
        dhcp_reply_begin(r, x->q, type, yiaddr, MIN((uint32_t) x->q->max_size, dhcp_mtu(x->d)));
        (void) dhcp_reply_put_ip(r, DHCP_OPTION_SERVER, &x->d->stack->config.gateway);
        /* RFC 6842: the server repeats the client id. */
        if (x->q->client_id.len > 0)
                (void) dhcp_reply_put(r, DHCP_OPTION_CLIENT_ID, x->q->client_id.data, x->q->client_id.len);
}

static void exchange_nak(Exchange *x) {
        DhcpReply r;

        exchange_begin(x, &r, DHCP_NAK, &(IpAddr){});
        exchange_reply(x, &r, DHCP_NAK, &(IpAddr){});
}

static uint32_t exchange_lease_sec(const Exchange *x) {
        uint32_t most = x->d->stack->config.lease_sec;

        if (x->q->lease_sec == 0 || x->q->lease_sec > most)
                return most;
        return MAX(x->q->lease_sec, MIN(most, (uint32_t) DHCP_LEASE_SEC_MIN));
}

static void exchange_offer(Exchange *x) {
        LeaseEntry *e = x->entry;
        DhcpReply r;

        exchange_begin(x, &r, DHCP_OFFER, &e->lease.addr);
        dhcp_put_parameters(&r, x->d->stack, x->q, dhcp_mtu(x->d), e, exchange_lease_sec(x));
        exchange_reply(x, &r, DHCP_OFFER, &e->lease.addr);
}

/* ---- hostnames ---- */

/* Does another have the name, by a lease or by DHCPv6? */
static bool exchange_name_is_taken(const Exchange *x, const char *label) {
        const Dhcp6Name *other = dhcp6_name_by_label(x->d->stack->names6, label);

        return dhcp_name_is_taken(x->d, x->entry, label) || (other && !mac_equal(&other->mac, &x->q->chaddr));
}

/**
 * exchange_name() - keep the client's hostname, made unique
 *
 * Of two clients of one name the first keeps it, the other gets the number of its address in the subnet behind it: "web-7". A name that
 * is taken even then is dropped: a made-up name must not stand in for another guest's.
 *
 * Return: whether the name has changed.
 */
static bool exchange_name(Exchange *x) {
        Dhcp *d = x->d;
        char label[DHCP_LABEL_MAX + 1], suffix[12];
        char before[DHCP_HOSTNAME_MAX + 1];

        dhcp_request_label(x->q, label);
        /* One that says nothing keeps what we know, and so does one whose name the administrator chose. */
        if (label[0] == 0 || (x->entry->lease.is_static && x->entry->lease.hostname[0]))
                return false;

        if (exchange_name_is_taken(x, label)) {
                uint32_t n = ntohl(ip_v4(&x->entry->lease.addr) & ~prefix_mask_v4(&d->table.subnet));
                int len = snprintf(suffix, sizeof(suffix), "-%u", n);

                memcpy(label + MIN(strlen(label), (size_t) (DHCP_LABEL_MAX - len)), suffix, len + 1);
                if (exchange_name_is_taken(x, label))
                        label[0] = 0;
        }

        memcpy(before, x->entry->lease.hostname, sizeof(before));
        lease_set_name(&d->table, x->entry, label);
        return !streq(before, label);
}

/* ---- messages ---- */

/* Will the client have an address that it does not have now, and its port as many as it may (counted)? */
static bool exchange_port_is_full(Exchange *x) {
        if ((x->entry && x->entry->state != LEASE_PAST) || dhcp_port_has_room(x->d, x->now))
                return false;
        netstack_drop(x->d->stack, DROP_DHCP_POOL_EMPTY);
        return true;
}

/* The client has the entry's address from now on. */
static void exchange_bind(Exchange *x) {
        Dhcp *d = x->d;
        LeaseEntry *e = x->entry;
        uint32_t sec = exchange_lease_sec(x);
        bool changed = !lease_is_live(e, x->now) || !e->seen || !mac_equal(&e->lease.mac, &x->q->chaddr);
        DhcpReply r;

        e->state = LEASE_BOUND;
        e->was_bound = e->seen = true;
        e->port = dhcp_port(d);
        if (!e->lease.is_static) {
                e->lease.mac = x->q->chaddr;
                e->lease.expires = sec == UINT32_MAX ? USEC_INFINITY : x->now + sec * USEC_PER_SEC;
                dhcp_arm(d, e->lease.expires);
        }
        changed |= exchange_name(x);
        arp_learn(d->stack->arp, &e->lease.addr, &x->q->chaddr);

        exchange_begin(x, &r, DHCP_ACK, &e->lease.addr);
        if (x->q->type == DHCP_DISCOVER)
                (void) dhcp_reply_put(&r, DHCP_OPTION_RAPID_COMMIT, NULL, 0);
        dhcp_put_parameters(&r, d->stack, x->q, dhcp_mtu(d), e, sec);
        exchange_reply(x, &r, DHCP_ACK, &e->lease.addr);

        if (changed)
                dhcp_report(d, e, true);
}

static void exchange_discover(Exchange *x) {
        if (exchange_port_is_full(x))
                return;
        if (!x->entry)
                x->entry = dhcp_allocate(x->d, &x->q->requested, x->id, x->id_len, &x->q->chaddr, x->now);
        if (!x->entry) {
                netstack_drop(x->d->stack, DROP_DHCP_POOL_EMPTY);
                return;
        }

        if (x->q->rapid_commit) {
                exchange_bind(x);
                return;
        }
        if (!lease_is_live(x->entry, x->now)) {
                if (x->entry->state == LEASE_BOUND)
                        dhcp_end_lease(x->d, x->entry, x->now);
                x->entry->state = LEASE_OFFERED;
                x->entry->port = dhcp_port(x->d);
                x->entry->lease.expires = x->now + DHCP_OFFER_USEC;
                dhcp_arm(x->d, x->entry->lease.expires);
        }
        exchange_offer(x);
}

/* Another server's offer was chosen (SELECTING). */
static void exchange_not_chosen(Exchange *x) {
        if (x->entry && x->entry->state == LEASE_OFFERED)
                dhcp_lapse(x->d, x->entry, x->now);
        netstack_drop(x->d->stack, DROP_DHCP_IGNORED);
}

/* A client we know nothing of wants to have or keep @a: it may when nobody else has it. */
static void exchange_adopt(Exchange *x, const IpAddr *a) {
        Dhcp *d = x->d;
        LeaseEntry *other;

        (void) dhcp_sweep(d, x->now);
        other = lease_by_addr(&d->table, a);
        if (!lease_table_valid(&d->table, a) || !dhcp_in_range(d, a) || (other && other->state != LEASE_PAST) ||
            dhcp_address_conflicts(d, a, &x->q->chaddr)) {
                exchange_nak(x);
                return;
        }
        if (exchange_port_is_full(x)) {
                exchange_nak(x);
                return;
        }

        other = lease_by_addr(&d->table, a);
        if (other)
                lease_drop(&d->table, other);
        x->entry = lease_take(&d->table, a, x->id, x->id_len, &x->q->chaddr);
        if (!x->entry) {
                netstack_drop(d->stack, DROP_DHCP_POOL_EMPTY);
                exchange_nak(x);
                return;
        }
        exchange_bind(x);
}

/**
 * exchange_request() - REQUEST in the four states of RFC 2131 4.3.2
 *
 *     state       server id  requested  ciaddr
 *     SELECTING   ours       offered    -        ACK, or NAK when it is not what was offered
 *     INIT-REBOOT -          former     -        ACK, NAK; silence without a record, unless it is a wrong network
 *     RENEWING,
 *     REBINDING   -          -          current  ACK, NAK; without a record the client is believed if nobody else has the address
 */
static void exchange_request(Exchange *x) {
        const DhcpRequest *q = x->q;
        Dhcp *d = x->d;
        bool selecting = !ip_is_null(&q->server), renewing = !selecting && !ip_is_null(&q->ciaddr);
        const IpAddr *wanted = renewing ? &q->ciaddr : &q->requested;

        if (selecting && !ip_equal(&q->server, &d->stack->config.gateway)) {
                exchange_not_chosen(x);
                return;
        }
        if (ip_is_null(wanted)) {
                netstack_drop(d->stack, DROP_DHCP_IGNORED);
                return;
        }

        if (x->entry) {
                if (ip_equal(&x->entry->lease.addr, wanted) && !exchange_port_is_full(x))
                        exchange_bind(x);
                else
                        exchange_nak(x);
                return;
        }

        if (selecting || renewing)
                exchange_adopt(x, wanted);
        else if (!lease_table_valid(&d->table, wanted))
                exchange_nak(x);
        else
                netstack_drop(d->stack, DROP_DHCP_IGNORED);
}

/* RELEASE and DECLINE: is it the client's own, named to us? The MAC must be the one the lease was given to. */
static bool exchange_owns(const Exchange *x, const IpAddr *a) {
        const LeaseEntry *e = x->entry;

        return e && !e->lease.is_static && ip_equal(&e->lease.addr, a) && mac_equal(&e->lease.mac, &x->q->chaddr) &&
               (ip_is_null(&x->q->server) || ip_equal(&x->q->server, &x->d->stack->config.gateway));
}

static void exchange_release(Exchange *x) {
        if (!exchange_owns(x, &x->q->ciaddr) || x->entry->state != LEASE_BOUND) {
                netstack_drop(x->d->stack, DROP_DHCP_IGNORED);
                return;
        }
        dhcp_end_lease(x->d, x->entry, x->now);
        arp_forget(x->d->stack->arp, &x->q->chaddr);
}

static void exchange_decline(Exchange *x) {
        Dhcp *d = x->d;
        LeaseEntry *e = x->entry;

        if (!exchange_owns(x, &x->q->requested) || (e->state != LEASE_BOUND && e->state != LEASE_OFFERED)) {
                netstack_drop(d->stack, DROP_DHCP_IGNORED);
                return;
        }

        dhcp_make_room_in_quarantine(d, x->now);
        if (e->state == LEASE_BOUND)
                dhcp_report(d, e, false);
        arp_forget(d->stack->arp, &x->q->chaddr);
        lease_forget_client(&d->table, e);
        e->state = LEASE_DECLINED;
        e->lease.expires = x->now + DHCP_DECLINE_USEC;
        d->n_declined++;
        dhcp_arm(d, e->lease.expires);
}

/* A client with an address of its own asks for the rest: no lease, no yiaddr (RFC 2131 4.3.5). */
static void exchange_inform(Exchange *x) {
        const IpAddr *a = ip_is_null(&x->q->ciaddr) ? x->src : &x->q->ciaddr;
        DhcpReply r;

        if (!lease_table_valid(&x->d->table, a)) {
                netstack_drop(x->d->stack, DROP_DHCP_IGNORED);
                return;
        }

        exchange_begin(x, &r, DHCP_ACK, &(IpAddr){});
        dhcp_put_parameters(&r, x->d->stack, x->q, dhcp_mtu(x->d), NULL, 0);
        exchange_reply(x, &r, DHCP_ACK, &(IpAddr){});
}

/* All hear a client's id. Who has the same behind another port while that station has its address, or has been taken for another before, is
 * known by its MAC address. */
static bool exchange_id_is_anothers(const Exchange *x) {
        const LeaseEntry *e = x->entry, *own;

        if (x->id_len == 0 || !e || mac_equal(&e->lease.mac, &x->q->chaddr) || e->port == dhcp_port(x->d))
                return false;
        own = lease_by_client(&x->d->table, NULL, 0, &x->q->chaddr);
        return (own && lease_is_live(own, x->now)) || (lease_is_live(e, x->now) && dhcp_address_conflicts(x->d, &e->lease.addr, &x->q->chaddr));
}

/* Who is it? A client id that is no more than the MAC address (type 1) is the MAC, as clients differ in whether they send it; a
 * long one is kept in part, with a hash of all of it. */
static void exchange_identify(Exchange *x) {
        const DhcpBytes *id = &x->q->client_id;

        if (id->len == 1 + sizeof(MacAddr) && id->data[0] == 1 && memcmp(id->data + 1, &x->q->chaddr, sizeof(MacAddr)) == 0)
                x->id_len = 0;
        else if (id->len <= DHCP_CLIENT_ID_MAX) {
                x->id_len = id->len;
                memcpy(x->id, id->data, id->len);
        } else {
                XXH128_canonical_t hash;

                XXH128_canonicalFromHash(&hash, XXH3_128bits(id->data, id->len));
                x->id_len = DHCP_CLIENT_ID_MAX;
                memcpy(x->id, id->data, ID_KEPT_LEN);
                memcpy(x->id + ID_KEPT_LEN, &hash, sizeof(hash));
        }
        x->entry = lease_by_client(&x->d->table, x->id, x->id_len, &x->q->chaddr);
        if (exchange_id_is_anothers(x)) {
                x->id_len = 0;
                x->entry = lease_by_client(&x->d->table, NULL, 0, &x->q->chaddr);
        }
}

static bool exchange_rate_ok(Exchange *x) {
        if (x->entry && x->entry->was_bound)
                return rate_take(&x->entry->rate, x->now, DHCP_HOLDER_PER_SEC, DHCP_HOLDER_BURST);
        return rate_take(&x->d->port_rate[dhcp_port(x->d) % PORT_SHARES], x->now, DHCP_PORT_PER_SEC, DHCP_PORT_BURST);
}

void dhcp_input(Dhcp *d, const MacAddr *src_mac, const IpAddr *src, IovCur *payload) {
        DhcpRequest q;
        Exchange x = { .d = d, .q = &q, .src_mac = src_mac, .src = src, .now = netstack_now(d->stack) };

        if (!dhcp_request_parse(&q, payload)) {
                netstack_drop(d->stack, DROP_DHCP_MALFORMED);
                return;
        }
        if (!mac_equal(&q.chaddr, src_mac)) { /* one station speaking for another */
                netstack_drop(d->stack, DROP_DHCP_SPOOF);
                return;
        }
        exchange_identify(&x);
        if (!exchange_rate_ok(&x)) {
                netstack_drop(d->stack, DROP_DHCP_RATE);
                return;
        }
        if (!ip_is_null(&q.giaddr)) {
                netstack_drop(d->stack, DROP_DHCP_IGNORED);
                return;
        }

        switch (q.type) {
        case DHCP_DISCOVER:
                exchange_discover(&x);
                break;
        case DHCP_REQUEST:
                exchange_request(&x);
                break;
        case DHCP_DECLINE:
                exchange_decline(&x);
                break;
        case DHCP_RELEASE:
                exchange_release(&x);
                break;
        case DHCP_INFORM:
                exchange_inform(&x);
                break;
        case DHCP_OFFER: /* a server's */
        case DHCP_ACK:
        case DHCP_NAK:
        case _DHCP_TYPE_MAX:
                netstack_drop(d->stack, DROP_DHCP_IGNORED);
                break;
        }
}
