/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A small DHCP client (RFC 2131) for the interfaces `run` and `attach` make: asks the gateway, believes its
 * first answer, keeps the lease while somebody is there to keep it and gives it back. Over a packet socket,
 * as the interface has no address yet. Sets nothing.
 */

#include "basic/addr.h"

#define DHCP_PACKET_MAX 1500       /* what we read of one packet; beyond that it is cut */
#define DHCP_DNS_MAX 3             /* as many as a resolv.conf may name */
#define DHCP_DOMAIN_TEXT_MAX 254
#define DHCP_SEARCH_TEXT_MAX 1024
#define DHCP_FOREVER UINT32_MAX    /* lease time without end */

typedef enum DhcpType {
        DHCP_DISCOVER = 1,
        DHCP_OFFER = 2,
        DHCP_REQUEST = 3,
        DHCP_ACK = 5,
        DHCP_NAK = 6,
        DHCP_RELEASE = 7,
} DhcpType;

/* What the gateway gives: zero or "" where it said nothing. */
typedef struct DhcpLease {
        IpAddr addr, router, server;
        IpAddr dns[DHCP_DNS_MAX];
        unsigned n_dns;
        uint8_t prefix_len;
        uint32_t mtu, lease_sec, renew_sec;
        char domain[DHCP_DOMAIN_TEXT_MAX]; /* letters, digits, '-', '_', '.' only */
        char search[DHCP_SEARCH_TEXT_MAX]; /* names with blanks between */
} DhcpLease;

typedef struct DhcpQuery {
        DhcpType type;
        uint32_t xid;
        MacAddr mac;
        IpAddr client;    /* the address in use already: renewing, releasing; null before */
        IpAddr requested; /* of the offer taken; null: none */
        IpAddr server;    /* who made the offer; null: none */
        const char *hostname; /* NULL: none */
} DhcpQuery;

/* One IPv4 packet with its UDP header, ready for the link. Returns its length; @buf holds
 * DHCP_PACKET_MAX. */
size_t dhcp_build(const DhcpQuery *q, uint8_t buf[static DHCP_PACKET_MAX]);

/* Reads one IPv4 packet. 0; -ENOMSG: not an answer to @xid and @mac; -EBADMSG: an answer that cannot be
 * read. */
int dhcp_parse(const void *packet, size_t len, uint32_t xid, const MacAddr *mac, DhcpType *ret_type,
               DhcpLease *ret);

/* Gets a lease on the interface, which must be up, in the calling process's namespace.
 * -ETIMEDOUT: no answer; -EADDRNOTAVAIL: refused; others: the socket's. */
int dhcp_obtain(int ifindex, const MacAddr *mac, const char *hostname, DhcpLease *ret);
/* Updates the times of @lease. */
int dhcp_renew(int ifindex, const MacAddr *mac, const char *hostname, DhcpLease *lease);
/* There is no answer to it. */
int dhcp_release(int ifindex, const MacAddr *mac, const DhcpLease *lease);
