/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The names DHCPv6 clients give themselves (RFC 4704), for DNS. Fixed in size; a name lasts as long as its address is valid. It stands
 * back behind the gateway's, the host's, and those of DHCPv4 leases of other stations. Found by walks over the table.
 */

#include "netstack/dhcp.h"
#include "netstack/netstack-private.h"

#define DHCP6_NAMES_MAX 1024
#define DHCP6_NAMES_PORT_MAX 768 /* of one port's clients: others still get one */

typedef struct Dhcp6Name {
        IpAddr addr;
        MacAddr mac;
        char label[DHCP_HOSTNAME_MAX + 1];
        usec_t expires; /* USEC_INFINITY: never; in the past: free */
        uint32_t port;  /* the client's, in the netstack's numbers; 0: not known */
} Dhcp6Name;

int dhcp6_names_new(Dhcp6Names **ret, Netstack *s);
Dhcp6Names *dhcp6_names_free(Dhcp6Names *n);

/* The station has @addr until @expires and wants to be called @label, a clean one, or "": what it was called before. Of two stations of
 * one name the first keeps it, the other gets the end of its address behind it. Returns the name it has; NULL when none (counted where
 * it wanted one). */
const Dhcp6Name *dhcp6_names_set(Dhcp6Names *n, const IpAddr *addr, const MacAddr *mac, const char *label, usec_t expires);
void dhcp6_names_end(Dhcp6Names *n, const IpAddr *addr, const MacAddr *mac); /* given back; another station's is left alone */
void dhcp6_names_forget(Dhcp6Names *n, const MacAddr *mac);                  /* its device is gone */

/* NULL when there is none, or the name is somebody else's by now. */
const Dhcp6Name *dhcp6_name_by_label(const Dhcp6Names *n, const char *label); /* case-insensitive */
const Dhcp6Name *dhcp6_name_by_addr(const Dhcp6Names *n, const IpAddr *addr);
