/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Addresses: MAC, IP of both families in one type, prefixes, endpoints. Parses, prints and classifies; never resolves names.
 *
 * An IpAddr is 16 bytes in network byte order, IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so both families share one
 * key, one compare and one hash. A guest that sends IPv6 packets with v4-mapped addresses is dropped at the door.
 */

#include <netinet/in.h>
#include <sys/socket.h>

#include "basic/macro.h"

#define MAC_TEXT_MAX 18      /* "52:54:00:00:00:01" and NUL */
#define IP_TEXT_MAX 46       /* INET6_ADDRSTRLEN */
#define PREFIX_TEXT_MAX 50   /* address, "/128" */
#define ENDPOINT_TEXT_MAX 56 /* "[address]:65535" */

typedef struct MacAddr {
        uint8_t b[6];
} MacAddr;

typedef struct IpAddr {
        union {
                uint8_t b[16];
                uint32_t w[4];
        };
} IpAddr;

typedef struct IpPrefix {
        IpAddr addr;
        uint8_t len; /* bits in the family's own count: at most 32 for IPv4, 128 for IPv6 */
} IpPrefix;

typedef struct Endpoint {
        IpAddr addr;
        uint16_t port; /* host byte order */
} Endpoint;

static inline bool mac_equal(const MacAddr *a, const MacAddr *b) {
        return memcmp(a, b, sizeof(*a)) == 0;
}
static inline bool mac_is_multicast(const MacAddr *a) {
        return a->b[0] & 1; /* broadcast included */
}
static inline bool mac_is_zero(const MacAddr *a) {
        static const MacAddr zero = {};
        return mac_equal(a, &zero);
}

static inline bool ip_equal(const IpAddr *a, const IpAddr *b) {
        return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2] && a->w[3] == b->w[3];
}
static inline bool ip_is_v4(const IpAddr *a) {
        return a->w[0] == 0 && a->w[1] == 0 && a->w[2] == htonl(0xffff);
}
static inline int ip_family(const IpAddr *a) {
        return ip_is_v4(a) ? AF_INET : AF_INET6;
}
/* @be: an IPv4 address in network byte order. */
static inline IpAddr ip_from_v4(uint32_t be) {
        return (IpAddr){ .w = { 0, 0, htonl(0xffff), be } };
}
/* Network byte order. Only meaningful where ip_is_v4(). */
static inline uint32_t ip_v4(const IpAddr *a) {
        return a->w[3];
}
static inline bool ip_is_null(const IpAddr *a) { /* all zero: "not set", and :: */
        return !(a->w[0] | a->w[1] | a->w[2] | a->w[3]);
}
static inline bool endpoint_equal(const Endpoint *a, const Endpoint *b) {
        return a->port == b->port && ip_equal(&a->addr, &b->addr);
}

/* What an address is, for policy: the first that fits. */
typedef enum IpClass {
        IP_CLASS_UNICAST,
        IP_CLASS_UNSPECIFIED, /* ::, and all of 0.0.0.0/8 (RFC 1122 3.2.1.3) */
        IP_CLASS_LOOPBACK,    /* 127.0.0.0/8, ::1 */
        IP_CLASS_LINK_LOCAL,  /* 169.254.0.0/16, fe80::/10 */
        IP_CLASS_MULTICAST,   /* 224.0.0.0/4, ff00::/8 */
        IP_CLASS_RESERVED,    /* 240.0.0.0/4 with 255.255.255.255 */
        _IP_CLASS_MAX,
} IpClass;

IpClass ip_classify(const IpAddr *a);

/* Parsers take the whole string or refuse it (-EINVAL); @ret untouched on failure. */
int mac_parse(const char *text, MacAddr *ret);            /* six hex pairs, ':' or '-' between */
int ip_parse(const char *text, IpAddr *ret);              /* either family, no zone id; dotted quads in full */
int prefix_parse(const char *text, IpPrefix *ret);        /* "a.b.c.d/n", "x::/n"; host bits are kept */
int endpoint_parse(const char *text, Endpoint *ret);      /* "1.2.3.4:80", "[::1]:80"; the address is required */

/* Printers write into @buf of at least the size of the matching *_TEXT_MAX and return it. */
const char *mac_to_text(const MacAddr *a, char buf[static MAC_TEXT_MAX]);
const char *ip_to_text(const IpAddr *a, char buf[static IP_TEXT_MAX]);
const char *prefix_to_text(const IpPrefix *p, char buf[static PREFIX_TEXT_MAX]);
const char *endpoint_to_text(const Endpoint *e, char buf[static ENDPOINT_TEXT_MAX]);
#define MAC_TO_TEXT(a) mac_to_text((a), (char[MAC_TEXT_MAX]){ 0 })
#define IP_TO_TEXT(a) ip_to_text((a), (char[IP_TEXT_MAX]){ 0 })
#define PREFIX_TO_TEXT(p) prefix_to_text((p), (char[PREFIX_TEXT_MAX]){ 0 })
#define ENDPOINT_TO_TEXT(e) endpoint_to_text((e), (char[ENDPOINT_TEXT_MAX]){ 0 })

bool prefix_contains(const IpPrefix *p, const IpAddr *a); /* families must match */
IpAddr prefix_nth(const IpPrefix *p, uint64_t n);         /* network address plus @n (wraps silently: check the range) */
IpAddr prefix_broadcast(const IpPrefix *p);               /* IPv4 only: all host bits one */
uint32_t prefix_mask_v4(const IpPrefix *p);               /* network byte order */

/* To and from the kernel's sockaddr. endpoint_from_sockaddr(): -EAFNOSUPPORT for anything but IPv4 and IPv6. */
socklen_t endpoint_to_sockaddr(const Endpoint *e, struct sockaddr_storage *ret);
int endpoint_from_sockaddr(const struct sockaddr *sa, socklen_t len, Endpoint *ret);
