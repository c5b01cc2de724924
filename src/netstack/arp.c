/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The neighbour table of both families, and ARP (nd.c asks in IPv6). One bounded table, hashed with a secret; each entry has one timer. Never
 * believes a claim to one of the gateway's own addresses, never learns an address outside the subnet, never
 * answers for a guest.
 *
 *   state       timer                                      then
 *   RESOLVING   a second after each question               asked again; after ARP_PROBES_MAX gone, and its
 *                                                          packets are dropped
 *   KNOWN       ARP_STALE_USEC after the last sign of life PROBING
 *   PROBING     a second after each question (unicast)     asked again; after ARP_PROBES_MAX forgotten
 *
 * A lookup of an entry older than ARP_REACHABLE_USEC begins PROBING and uses the entry meanwhile. Any packet
 * from the address (or an ARP answer) leads back to KNOWN.
 */

#include "netstack/arp.h"

#include <errno.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <xxhash.h>

#include "netstack/nd.h"

#define ARP_PROBE_USEC USEC_PER_SEC
#define ARP_DEFEND_USEC (10 * USEC_PER_SEC)   /* DEFEND_INTERVAL of RFC 5227 1.1 */
#define ARP_EVICT_USEC (10 * USEC_PER_MSEC)   /* between two searches for a victim: walks over the table */
#define ARP_BUCKETS (2 * ARP_NEIGHBOURS_MAX)  /* a power of two */
#define ARP_NONE UINT16_MAX

typedef enum NeighbourState {
        NEIGHBOUR_FREE,
        NEIGHBOUR_RESOLVING,
        NEIGHBOUR_KNOWN,
        NEIGHBOUR_PROBING,
} NeighbourState;

typedef struct Neighbour {
        IpAddr addr;
        MacAddr mac;
        uint8_t state; /* NeighbourState */
        uint8_t n_probes;
        uint16_t next; /* chain of its bucket, or of the free list */
        uint16_t n_queued;
        uint32_t mtu;
        usec_t confirmed;
        Timer timer;
        Arp *arp; /* (borrowed) the table it is in: timers know no more than themselves */
} Neighbour;

typedef struct Held {
        IpAddr dst;
        struct virtio_net_hdr_v1 hdr;
        size_t len;
        uint8_t *ip; /* (owned) NULL: a free place */
} Held;

struct Arp {
        Netstack *stack; /* (borrowed) */
        uint64_t seed;
        size_t n;
        uint16_t free;
        Neighbour *last; /* (borrowed, nullable) whom the latest packet came from */
        usec_t defended; /* when the gateway's address was last defended; 0: never */
        usec_t evicted;
        uint16_t buckets[ARP_BUCKETS];
        Held held[ARP_QUEUE_MAX]; /* in order of arrival within one address */
        Neighbour neighbours[ARP_NEIGHBOURS_MAX];
};

typedef struct ArpPacket { /* RFC 826, for Ethernet and IPv4 */
        uint16_t hardware, protocol;
        uint8_t hardware_len, protocol_len;
        uint16_t op;
        MacAddr sha;
        uint8_t spa[4];
        MacAddr tha;
        uint8_t tpa[4];
} __attribute__((packed)) ArpPacket;

static void neighbour_timer(Timer *timer, usec_t now, void *userdata);

/* ---- the table ---- */

int arp_new(Arp **ret, Netstack *s) {
        Arp *a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;

        a->stack = s;
        s->ops->random(s->userdata, &a->seed, sizeof(a->seed));
        memset(a->buckets, 0xff, sizeof(a->buckets));
        for (unsigned i = 0; i < ARP_NEIGHBOURS_MAX; i++) {
                a->neighbours[i] = (Neighbour){ .next = i + 1 < ARP_NEIGHBOURS_MAX ? i + 1 : ARP_NONE,
                                                .arp = a };
                timer_init(&a->neighbours[i].timer, neighbour_timer);
        }
        *ret = a;
        return 0;
}

Arp *arp_free(Arp *a) {
        if (!a)
                return NULL;

        for (unsigned i = 0; i < ARP_NEIGHBOURS_MAX; i++)
                timer_stop(&a->stack->timers, &a->neighbours[i].timer);
        for (unsigned i = 0; i < ARP_QUEUE_MAX; i++)
                free(a->held[i].ip);
        free(a);
        return NULL;
}

static uint16_t *bucket_of(Arp *a, const IpAddr *addr) {
        return &a->buckets[XXH3_64bits_withSeed(addr, sizeof(*addr), a->seed) % ARP_BUCKETS];
}

static Neighbour *neighbour_find(Arp *a, const IpAddr *addr) {
        if (a->last && ip_equal(&a->last->addr, addr))
                return a->last;

        for (uint16_t i = *bucket_of(a, addr); i != ARP_NONE; i = a->neighbours[i].next)
                if (ip_equal(&a->neighbours[i].addr, addr))
                        return &a->neighbours[i];
        return NULL;
}

static void held_drop(Arp *a, Neighbour *n) {
        for (unsigned i = 0; i < ARP_QUEUE_MAX && n->n_queued > 0; i++) {
                if (!a->held[i].ip || !ip_equal(&a->held[i].dst, &n->addr))
                        continue;
                free(TAKE_PTR(a->held[i].ip));
                n->n_queued--;
                netstack_drop(a->stack, DROP_NEIGHBOUR_UNKNOWN);
        }
}

static void neighbour_remove(Arp *a, Neighbour *n) {
        uint16_t self = (uint16_t) (n - a->neighbours), *p = bucket_of(a, &n->addr);

        held_drop(a, n);
        timer_stop(&a->stack->timers, &n->timer);
        while (*p != self)
                p = &a->neighbours[*p].next;
        *p = n->next;
        n->next = a->free;
        n->state = NEIGHBOUR_FREE;
        a->free = self;
        a->n--;
        if (a->last == n)
                a->last = NULL;
}

/* Who is worth least when the table is full: the oldest entry of the same station, so that one which makes
 * up addresses displaces its own; for a station that has none, the oldest of all. */
static Neighbour *neighbour_victim(Arp *a, const MacAddr *mac) {
        Neighbour *own = NULL, *any = NULL;

        for (unsigned i = 0; i < ARP_NEIGHBOURS_MAX; i++) {
                Neighbour *n = &a->neighbours[i];

                if (!any || n->confirmed < any->confirmed)
                        any = n;
                if (mac && mac_equal(&n->mac, mac) && (!own || n->confirmed < own->confirmed))
                        own = n;
        }
        return own ?: any;
}

/* A new, linked entry; NULL (counted) when the table is full and a victim was sought a moment ago. */
static Neighbour *neighbour_add(Arp *a, const IpAddr *addr, const MacAddr *mac, usec_t now) {
        if (a->free == ARP_NONE) {
                if (now - a->evicted < ARP_EVICT_USEC) {
                        netstack_drop(a->stack, DROP_NEIGHBOUR_TABLE_FULL);
                        return NULL;
                }
                a->evicted = now;
                neighbour_remove(a, neighbour_victim(a, mac));
        }

        uint16_t i = a->free, *bucket = bucket_of(a, addr);
        Neighbour *n = &a->neighbours[i];

        a->free = n->next;
        n->addr = *addr;
        n->mac = mac ? *mac : (MacAddr){};
        n->mtu = 0;
        n->n_probes = n->n_queued = 0;
        n->confirmed = now;
        n->next = *bucket;
        *bucket = i;
        a->n++;
        return n;
}

size_t arp_n_neighbours(const Arp *a) {
        return a->n;
}

/* ---- questions and answers ---- */

static void arp_send(Netstack *s, const MacAddr *to, uint16_t op, const IpAddr *spa, const MacAddr *tha,
                     const IpAddr *tpa) {
        uint8_t *frame = netstack_tx_reserve(s, sizeof(ArpPacket)) - sizeof(struct ether_header);
        struct ether_header eth = { .ether_type = htons(ETHERTYPE_ARP) };
        ArpPacket packet = {
                .hardware = htons(ARPHRD_ETHER),
                .protocol = htons(ETHERTYPE_IP),
                .hardware_len = ETH_ALEN,
                .protocol_len = 4,
                .op = htons(op),
                .sha = s->config.mac,
                .tha = *tha,
        };

        memcpy(eth.ether_dhost, to, ETH_ALEN);
        memcpy(eth.ether_shost, &s->config.mac, ETH_ALEN);
        memcpy(packet.spa, &spa->w[3], 4);
        memcpy(packet.tpa, &tpa->w[3], 4);
        memcpy(frame, &eth, sizeof(eth));
        memcpy(frame + sizeof(eth), &packet, sizeof(packet));
        netstack_tx_commit(s, frame, sizeof(eth) + sizeof(packet), /* hdr= */ NULL);
}

static const MacAddr broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

/* Asks for @n, of all while its address is unknown, else of itself (RFC 1122 2.3.2.1, unicast poll). */
static void neighbour_ask(Arp *a, Neighbour *n, usec_t now) {
        static const MacAddr unknown = {};

        n->n_probes++;
        (void) timer_set(&a->stack->timers, &n->timer, now + ARP_PROBE_USEC);
        if (!ip_is_v4(&n->addr))
                return nd_solicit(a->stack, &n->addr, n->state == NEIGHBOUR_PROBING ? &n->mac : NULL);
        arp_send(a->stack, n->state == NEIGHBOUR_PROBING ? &n->mac : &broadcast, ARPOP_REQUEST,
                 &a->stack->config.gateway, &unknown, &n->addr);
}

/* The question itself is the timer's, at once: whoever looks up may hold reserved room, which no other frame
 * may be built in. */
static void neighbour_probe(Arp *a, Neighbour *n, usec_t now) {
        n->state = NEIGHBOUR_PROBING;
        n->n_probes = 0;
        (void) timer_set(&a->stack->timers, &n->timer, now);
}

static void neighbour_timer(Timer *timer, usec_t now, void *userdata) {
        Neighbour *n = CONTAINER_OF(timer, Neighbour, timer);

        if (n->state == NEIGHBOUR_KNOWN) {
                n->state = NEIGHBOUR_PROBING;
                n->n_probes = 0;
        }
        if (n->n_probes < ARP_PROBES_MAX)
                neighbour_ask(n->arp, n, now);
        else
                neighbour_remove(n->arp, n);
}

static void held_send(Arp *a, Neighbour *n) {
        Netstack *s = a->stack;

        for (unsigned i = 0; i < ARP_QUEUE_MAX && n->n_queued > 0; i++) {
                Held *h = &a->held[i];

                if (!h->ip || !ip_equal(&h->dst, &n->addr))
                        continue;

                uint8_t *frame = netstack_tx_reserve(s, h->len) - sizeof(struct ether_header);
                struct ether_header eth = { .ether_type =
                                                    htons(ip_is_v4(&n->addr) ? ETHERTYPE_IP : ETHERTYPE_IPV6) };

                memcpy(eth.ether_dhost, &n->mac, ETH_ALEN);
                memcpy(eth.ether_shost, &s->config.mac, ETH_ALEN);
                memcpy(frame, &eth, sizeof(eth));
                memcpy(frame + sizeof(eth), h->ip, h->len);
                netstack_tx_commit(s, frame, sizeof(eth) + h->len, &h->hdr);
                free(TAKE_PTR(h->ip));
                n->n_queued--;
        }
}

/* ---- what the others ask ---- */

bool arp_is_known(Arp *a, const IpAddr *addr) {
        return neighbour_find(a, addr);
}

bool arp_lookup(Arp *a, const IpAddr *addr, MacAddr *ret_mac, uint32_t *ret_mtu) {
        Neighbour *n = neighbour_find(a, addr);
        usec_t now = netstack_now(a->stack);

        if (!n || n->state == NEIGHBOUR_RESOLVING)
                return false;

        if (n->state == NEIGHBOUR_KNOWN && now - n->confirmed > ARP_REACHABLE_USEC)
                neighbour_probe(a, n, now);
        *ret_mac = n->mac;
        *ret_mtu = n->mtu > 0 ? n->mtu : 1500;
        return true;
}

void arp_resolve_and_send(Arp *a, const IpAddr *dst, const uint8_t *ip, size_t len,
                          const struct virtio_net_hdr_v1 *hdr) {
        usec_t now = netstack_now(a->stack);
        Neighbour *n = neighbour_find(a, dst);
        Held *place = NULL;

        for (unsigned i = 0; i < ARP_QUEUE_MAX && !place; i++)
                if (!a->held[i].ip)
                        place = &a->held[i];
        if (!place || (n && n->n_queued >= ARP_QUEUE_PER_ADDR_MAX))
                return netstack_drop(a->stack, DROP_NEIGHBOUR_QUEUE_FULL);

        uint8_t *copy = malloc(len);
        if (!copy)
                return netstack_drop(a->stack, DROP_NEIGHBOUR_QUEUE_FULL);
        memcpy(copy, ip, len);

        bool is_new = !n;
        if (is_new && !(n = neighbour_add(a, dst, /* mac= */ NULL, now))) {
                free(copy);
                return;
        }
        *place = (Held){ .dst = *dst, .len = len, .ip = copy };
        if (hdr)
                place->hdr = *hdr;
        n->n_queued++;
        if (is_new) {
                n->state = NEIGHBOUR_RESOLVING;
                neighbour_ask(a, n, now);
        }
}

static bool is_of_the_link(const Netstack *s, const IpAddr *a) {
        return netstack_is_inside(s, a) ||
               (netstack_has_ip6(s) && !ip_is_v4(a) && ip_classify(a) == IP_CLASS_LINK_LOCAL);
}

bool arp_find_by_mac(const Arp *a, const MacAddr *mac, const IpPrefix *in, IpAddr *ret) {
        const Neighbour *best = NULL;

        for (unsigned i = 0; i < ARP_NEIGHBOURS_MAX; i++) {
                const Neighbour *n = &a->neighbours[i];

                if ((n->state == NEIGHBOUR_KNOWN || n->state == NEIGHBOUR_PROBING) && mac_equal(&n->mac, mac) &&
                    prefix_contains(in, &n->addr) && (!best || n->confirmed > best->confirmed))
                        best = n;
        }
        if (best)
                *ret = best->addr;
        return best;
}

void arp_learn(Arp *a, const IpAddr *addr, const MacAddr *mac) {
        Netstack *s = a->stack;
        usec_t now = netstack_now(s);
        Neighbour *n = neighbour_find(a, addr);

        if (!n) {
                if (netstack_is_ours(s, addr) || !is_of_the_link(s, addr) || mac_is_multicast(mac) ||
                    mac_is_zero(mac))
                        return;
                n = neighbour_add(a, addr, mac, now);
                if (!n)
                        return;
                n->state = NEIGHBOUR_RESOLVING;
        }

        a->last = n;
        if (n->state == NEIGHBOUR_KNOWN && n->confirmed == now && mac_equal(&n->mac, mac))
                return;

        n->mac = *mac;
        if (s->port)
                n->mtu = s->port->mtu;
        n->confirmed = now;
        n->state = NEIGHBOUR_KNOWN;
        /* later than it stands: costs nothing */
        (void) timer_set(&s->timers, &n->timer, now + ARP_STALE_USEC);
        if (unlikely(n->n_queued > 0))
                held_send(a, n);
}

void arp_forget(Arp *a, const MacAddr *mac) {
        for (unsigned i = 0; i < ARP_NEIGHBOURS_MAX; i++) {
                Neighbour *n = &a->neighbours[i];

                if (n->state != NEIGHBOUR_FREE && mac_equal(&n->mac, mac))
                        neighbour_remove(a, n);
        }
}

/* ---- input ---- */

/* Somebody uses one of the gateway's addresses: say whose it is, at most once in ARP_DEFEND_USEC (RFC
 * 5227 2.4 (b)). */
static void arp_defend(Netstack *s, const IpAddr *addr) {
        usec_t now = netstack_now(s);

        netstack_drop(s, DROP_ARP_SPOOF);
        if (s->arp->defended != 0 && now - s->arp->defended < ARP_DEFEND_USEC)
                return;
        s->arp->defended = now;
        arp_send(s, &broadcast, ARPOP_REQUEST, addr, &(MacAddr){}, addr);
}

void arp_input(Netstack *s, const MacAddr *src_mac, IovCur *payload) {
        ArpPacket store;
        const ArpPacket *p = IOVCUR_PULL(payload, &store);

        if (!p || p->hardware != htons(ARPHRD_ETHER) || p->protocol != htons(ETHERTYPE_IP) ||
            p->hardware_len != ETH_ALEN || p->protocol_len != 4)
                return netstack_drop(s, DROP_ARP_MALFORMED);

        uint16_t op = ntohs(p->op);
        MacAddr sha = p->sha;
        uint32_t spa, tpa;

        memcpy(&spa, p->spa, 4);
        memcpy(&tpa, p->tpa, 4);
        if (op != ARPOP_REQUEST && op != ARPOP_REPLY)
                return netstack_drop(s, DROP_ARP_MALFORMED);
        if (!mac_equal(&sha, src_mac)) /* one station speaking for another */
                return netstack_drop(s, DROP_ARP_SPOOF);

        IpAddr sender = ip_from_v4(spa), target = ip_from_v4(tpa),
               network = prefix_nth(&s->config.subnet, 0), all = prefix_broadcast(&s->config.subnet);

        if (netstack_is_ours(s, &sender))
                return arp_defend(s, &sender);

        bool for_us = netstack_is_ours(s, &target);
        bool may_learn = spa != 0 && !ip_equal(&sender, &network) && !ip_equal(&sender, &all);

        /* RFC 826: whom we know is brought up to date by anything; a new entry is worth it for who speaks to
         * us or announces itself. */
        if (may_learn && (for_us || spa == tpa || neighbour_find(s->arp, &sender)))
                arp_learn(s->arp, &sender, &sha);

        if (op == ARPOP_REPLY)
                return;
        if (!for_us)
                return netstack_drop(s, DROP_ARP_NOT_OURS);
        arp_send(s, &sha, ARPOP_REPLY, &target, &sha, &sender);
}
