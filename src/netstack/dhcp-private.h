/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The DHCP server inside: dhcp.c reads and answers messages, dhcp-pool.c keeps addresses, dhcp-parameters.c says what a client is told. */

#include "netstack/dhcp-lease.h"
#include "netstack/dhcp-message.h"
#include "netstack/netstack-private.h"

#define DHCP_OFFER_USEC (30 * USEC_PER_SEC)      /* an offer waits this long for its REQUEST */
#define DHCP_OFFER_GRACE_USEC (2 * USEC_PER_SEC) /* and this long at least when addresses run out */
#define DHCP_DECLINE_USEC (10 * USEC_PER_MINUTE)
#define DHCP_LEASE_SEC_MIN 60                    /* shorter ones are not granted, unless the network's own is */
#define DHCP_PORT_PER_SEC 50                     /* clients without a lease share what their port has */
#define DHCP_PORT_BURST 100
#define DHCP_PORT_SHARE(n) MAX((n) - (n) / 4, UINT32_C(1)) /* of a pool of n, for the clients of one port: others still get an address */
#define DHCP_HOLDER_PER_SEC 10                   /* each client that has or had a lease has one of its own */
#define DHCP_HOLDER_BURST 20

struct Dhcp {
        Netstack *stack; /* (borrowed) owner */
        LeaseTable table;
        Timer timer;     /* the next entry to lapse */
        usec_t port_rate[PORT_SHARES];
        uint32_t n_declined;
};

void dhcp_report(Dhcp *d, const LeaseEntry *e, bool added);
void dhcp_arm(Dhcp *d, usec_t when); /* something lapses at @when */
void dhcp_end_lease(Dhcp *d, LeaseEntry *e, usec_t now); /* to PAST */
void dhcp_lapse(Dhcp *d, LeaseEntry *e, usec_t now);     /* the end of whatever it was; it may be FREE after */
usec_t dhcp_sweep(Dhcp *d, usec_t now); /* lapses what is due; when the next one is */

/* Somebody else answers ARP for it: a guest with an address of its own making. */
bool dhcp_address_conflicts(const Dhcp *d, const IpAddr *a, const MacAddr *client);

bool dhcp_in_range(const Dhcp *d, const IpAddr *a); /* of what is given to who has no static lease */

/* A new entry for a client that has none: the address it asks for if that is as good as any; NULL when there is none left. */
LeaseEntry *dhcp_allocate(Dhcp *d, const IpAddr *wanted, const uint8_t *id, size_t id_len, const MacAddr *mac, usec_t now);
static inline uint32_t dhcp_port(const Dhcp *d) { /* of the message under way */
        return netstack_port_id(d->stack);
}

/* May a client of the port have one address more? Its oldest offer that had its chance makes room. What its clients have declined counts
 * as well; what has ended does not. */
bool dhcp_port_has_room(Dhcp *d, usec_t now);
void dhcp_make_room_in_quarantine(Dhcp *d, usec_t now); /* before one more is put there */
bool dhcp_name_is_taken(const Dhcp *d, const LeaseEntry *self, const char *label);

/* Appends everything a client should know of the network, what it asked for first and in its order, as far as there is room. @e: its
 * lease, NULL for INFORM. @lease_sec: not used for INFORM. */
void dhcp_put_parameters(DhcpReply *r, const Netstack *s, const DhcpRequest *q, uint32_t mtu, const LeaseEntry *e, uint32_t lease_sec);
