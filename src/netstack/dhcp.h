/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * DHCP server for one network (RFC 2131, options of RFC 2132, 3397, 4702). Keeps leases by client id, else by MAC. Speaks through
 * ip/udp output only; the clock is the netstack's.
 */

#include "basic/addr.h"

#define DHCP_LEASES_MAX 4096       /* also bounded by the subnet */
#define DHCP_CLIENT_ID_MAX 64      /* longer ids are hashed down */
#define DHCP_HOSTNAME_MAX 63

typedef struct Lease {
        IpAddr addr;
        MacAddr mac;
        uint8_t client_id[DHCP_CLIENT_ID_MAX];
        uint8_t client_id_len;              /* 0: keyed by MAC */
        char hostname[DHCP_HOSTNAME_MAX + 1]; /* one DNS label, "" when none; also what DNS answers for */
        usec_t expires;                     /* on ops->now()'s clock; USEC_INFINITY: static or for ever */
        bool is_static;
} Lease;

typedef struct Netstack Netstack;
typedef struct Dhcp Dhcp;

int dhcp_new(Dhcp **ret, Netstack *s);
Dhcp *dhcp_free(Dhcp *d);

/* One UDP payload to port 67. @src_mac: who sent the frame. */
typedef struct IovCur IovCur;
void dhcp_input(Dhcp *d, const MacAddr *src_mac, const IpAddr *src, IovCur *payload);

const Lease *dhcp_lease_by_addr(const Dhcp *d, const IpAddr *a);        /* live leases only; NULL when none */
const Lease *dhcp_lease_by_hostname(const Dhcp *d, const char *label);  /* case-insensitive */
const Lease *dhcp_lease_by_mac(const Dhcp *d, const MacAddr *mac);      /* a walk over the table */
/* May a station other than by DHCPv4 be called that? Not as the gateway, the host, or the lease of another one. */
bool dhcp_name_is_free_for(const Dhcp *d, const MacAddr *mac, const char *label);
const Lease *dhcp_only_lease(const Dhcp *d);                            /* the one guest, NULL when none or several */
size_t dhcp_n_leases(const Dhcp *d);
int dhcp_list(const Dhcp *d, Lease **ret, size_t *ret_n);
int dhcp_add(Dhcp *d, const Lease *lease);                              /* -EEXIST when the address or client has another; -EINVAL outside the subnet */
void dhcp_forget_client(Dhcp *d, const MacAddr *mac);                   /* its device is gone: what it holds, but for static leases, ends */
