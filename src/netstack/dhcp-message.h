/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * DHCP messages on the wire (RFC 2131 2, RFC 2132): reads what clients send, writes what the server answers. Knows no leases.
 */

#include "basic/addr.h"
#include "basic/iovcur.h"

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68

#define DHCP_FLAG_BROADCAST 0x8000
#define DHCP_SIZE_MIN 576        /* IP datagram that every client takes (RFC 2131 2) */
#define DHCP_SIZE_MAX 1500       /* IP datagram beyond which we never go */
#define DHCP_IP_UDP_LEN 28
#define DHCP_REPLY_MIN 300       /* BOOTP's own size: shorter messages are dropped by old relays and clients */
#define DHCP_REPLY_MAX (DHCP_SIZE_MAX - DHCP_IP_UDP_LEN)
#define DHCP_V6ONLY_WAIT_SEC 1800 /* how long a client does without IPv4 before it asks again (RFC 8925 3.4) */
#define DHCP_OPTION_BYTES_MAX 512 /* one option, its pieces put together (RFC 3396) */

typedef enum DhcpType {
        DHCP_DISCOVER = 1,
        DHCP_OFFER,
        DHCP_REQUEST,
        DHCP_DECLINE,
        DHCP_ACK,
        DHCP_NAK,
        DHCP_RELEASE,
        DHCP_INFORM,
        _DHCP_TYPE_MAX,
} DhcpType;

typedef enum DhcpOption {
        DHCP_OPTION_PAD = 0,
        DHCP_OPTION_MASK = 1,
        DHCP_OPTION_ROUTER = 3,
        DHCP_OPTION_DNS = 6,
        DHCP_OPTION_HOSTNAME = 12,
        DHCP_OPTION_DOMAIN = 15,
        DHCP_OPTION_MTU = 26,
        DHCP_OPTION_BROADCAST = 28,
        DHCP_OPTION_NTP = 42,
        DHCP_OPTION_REQUESTED = 50,
        DHCP_OPTION_LEASE = 51,
        DHCP_OPTION_OVERLOAD = 52,
        DHCP_OPTION_TYPE = 53,
        DHCP_OPTION_SERVER = 54,
        DHCP_OPTION_PARAMETERS = 55,
        DHCP_OPTION_MAX_SIZE = 57,
        DHCP_OPTION_T1 = 58,
        DHCP_OPTION_T2 = 59,
        DHCP_OPTION_CLIENT_ID = 61,
        DHCP_OPTION_RAPID_COMMIT = 80,
        DHCP_OPTION_FQDN = 81,
        DHCP_OPTION_V6ONLY = 108, /* RFC 8925 */
        DHCP_OPTION_CAPTIVE_PORTAL = 114, /* RFC 8910 */
        DHCP_OPTION_SEARCH = 119,
        DHCP_OPTION_END = 255,
} DhcpOption;

/* FQDN option flags (RFC 4702 2.1) */
#define DHCP_FQDN_S 0x01 /* the server makes the A record */
#define DHCP_FQDN_O 0x02 /* the server overrode the client's S */
#define DHCP_FQDN_E 0x04 /* the name is in wire format */

typedef struct DhcpBytes {
        uint16_t len; /* 0: not there, or empty */
        uint8_t data[DHCP_OPTION_BYTES_MAX];
} DhcpBytes;

/* A client's message. Addresses are null where absent or 0.0.0.0. */
typedef struct DhcpRequest {
        DhcpType type;
        uint8_t header[44];     /* op .. chaddr as they came: the reply repeats most of it */
        uint16_t flags;
        MacAddr chaddr;
        IpAddr ciaddr, giaddr;
        IpAddr requested, server; /* options 50 and 54 */
        uint32_t lease_sec;     /* option 51; 0: none asked */
        uint16_t max_size;      /* option 57, within DHCP_SIZE_MIN..DHCP_SIZE_MAX */
        bool rapid_commit;
        DhcpBytes parameters, client_id, hostname, fqdn;
} DhcpRequest;

/* Reads the payload of a datagram to port 67. False: not a DHCP request over Ethernet, or its options lie; @ret is then garbage. */
bool dhcp_request_parse(DhcpRequest *ret, IovCur *payload);

/* The client's idea of its own name, as one DNS label: letters, digits and inner hyphens; "" when nothing is left. The FQDN option goes
 * before the hostname option (RFC 4702 3.1). */
#define DHCP_LABEL_MAX 63
void dhcp_request_label(const DhcpRequest *q, char ret[static DHCP_LABEL_MAX + 1]);
/* The same of @n bytes of text. */
void dhcp_clean_label(const uint8_t *p, size_t n, char ret[static DHCP_LABEL_MAX + 1]);

typedef struct DhcpReply {
        size_t len, max;
        uint8_t buf[DHCP_REPLY_MAX];
} DhcpReply;

/* Begins the answer to @q: header, cookie and type. @size: the longest IP datagram it may become. */
void dhcp_reply_begin(DhcpReply *r, const DhcpRequest *q, DhcpType type, const IpAddr *yiaddr, size_t size);
/* Appends an option, in pieces of 255 bytes where it is longer. False when there is no room: then nothing is appended. */
bool dhcp_reply_put(DhcpReply *r, uint8_t code, const void *data, size_t len);
bool dhcp_reply_put_u16(DhcpReply *r, uint8_t code, uint16_t v);
bool dhcp_reply_put_u32(DhcpReply *r, uint8_t code, uint32_t v);
bool dhcp_reply_put_ip(DhcpReply *r, uint8_t code, const IpAddr *a);
size_t dhcp_reply_finish(DhcpReply *r); /* ends the options and pads; the length of the message */
