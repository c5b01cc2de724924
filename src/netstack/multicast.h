/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Multicast by option: mDNS and SSDP between a network's guests and the link of the host, and answers to those who ask on the segment which
 * groups the gateway is in (IGMP, MLD).
 */

#include "netstack/netstack-private.h"

#define MULTICAST_PAYLOAD_MAX (9000 - 48)           /* bytes: RFC 6762 17, of either family */
#define MULTICAST_PER_SEC 100                       /* datagrams reflected in a second, to the host's link from one port, and to guests ... */
#define MULTICAST_BURST 200                         /* ... and at once */
#define MULTICAST_RECENT 256                        /* reflected datagrams that are known again when they come back ... */
#define MULTICAST_RECENT_USEC (1 * USEC_PER_SEC)    /* ... for so long */
#define MULTICAST_RETRY_USEC (10 * USEC_PER_SEC)    /* until a group that could not be joined is tried again */
#define MULTICAST_READS_MAX 64                      /* datagrams taken per event: the rest waits for the timer */

int multicast_new(Multicast **ret, Netstack *s);
Multicast *multicast_free(Multicast *m);

/* A guest's datagram to a group. False: it is none that is reflected, and still the caller's. */
bool multicast_input(Netstack *s, const Packet *p, uint16_t sport, uint16_t dport, const IovCur *payload);
void multicast_host_event(Netstack *s, uint32_t index, uint32_t events);
void multicast_host_changed(Netstack *s); /* the host's links have: joins anew */

#define MLD2_REPORT 143 /* a type of ICMPv6 that the system's headers lack (RFC 3810 5.2) */

/* membership.c: a guest's IGMP message, where groups are reflected */
void igmp_input(Netstack *s, const Packet *p);
/* A guest's MLD query. False: nothing asks for an answer. */
bool mld_input(Netstack *s, const Packet *p);

/* The groups of a family the gateway is in. */
#define MULTICAST_GROUPS_MAX 2
size_t multicast_groups(const Netstack *s, bool v4, const IpAddr *ret[static MULTICAST_GROUPS_MAX]);
bool multicast_may_answer(Netstack *s); /* takes of what may be sent for the port; false (counted) when that is used up */
MacAddr multicast_mac(const IpAddr *a); /* where frames for a group go (RFC 1112 6.4, RFC 2464 7) */

static inline bool multicast_is_on(const Netstack *s) {
        return s->config.reflect != 0;
}
