/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Addresses to and from text and the kernel's structures. Never resolves names, never allocates, knows no
 * locale.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "basic/addr.h"
#include "basic/parse.h"

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

int mac_parse(const char *text, MacAddr *ret) {
        MacAddr a;
        char separator;

        /* 17 characters; the check also keeps every index below inside the string. */
        if (strnlen(text, MAC_TEXT_MAX) != MAC_TEXT_MAX - 1)
                return -EINVAL;

        separator = text[2];
        if (separator != ':' && separator != '-')
                return -EINVAL;

        for (unsigned i = 0; i < 6; i++) {
                int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);

                if (high < 0 || low < 0)
                        return -EINVAL;
                if (i < 5 && text[3 * i + 2] != separator)
                        return -EINVAL;
                a.b[i] = high << 4 | low;
        }

        *ret = a;
        return 0;
}

int ip_parse(const char *text, IpAddr *ret) {
        IpAddr a;
        uint32_t v4;

        /* inet_pton() wants all four decimal numbers and refuses zone ids, blanks and leading zeros. */
        if (inet_pton(AF_INET, text, &v4) == 1) {
                *ret = ip_from_v4(v4);
                return 0;
        }
        if (inet_pton(AF_INET6, text, &a) != 1)
                return -EINVAL;
        /* ::ffff:a.b.c.d would silently turn into the other family, with another meaning of a prefix
         * length. */
        if (ip_is_v4(&a))
                return -EINVAL;

        *ret = a;
        return 0;
}

/* Copies the @len bytes of an address in the middle of a text; -EINVAL when they cannot be one. */
static int ip_parse_part(const char *text, size_t len, IpAddr *ret) {
        char buf[IP_TEXT_MAX];

        if (len >= sizeof(buf))
                return -EINVAL;

        memcpy(buf, text, len);
        buf[len] = 0;
        return ip_parse(buf, ret);
}

int prefix_parse(const char *text, IpPrefix *ret) {
        const char *slash = strchr(text, '/');
        IpAddr a;
        uint32_t len;
        int r;

        if (!slash)
                return -EINVAL;

        r = ip_parse_part(text, slash - text, &a);
        if (r < 0)
                return r;
        if (slash[1] == '0' && slash[2] != 0) /* "/024", "/0x8" */
                return -EINVAL;
        if (parse_u32(slash + 1, 0, ip_is_v4(&a) ? 32 : 128, &len) < 0)
                return -EINVAL;

        *ret = (IpPrefix){ .addr = a, .len = len };
        return 0;
}

int endpoint_parse(const char *text, Endpoint *ret) {
        const char *colon = strrchr(text, ':');
        bool brackets = text[0] == '[';
        IpAddr a;
        uint16_t port;
        int r;

        if (!colon)
                return -EINVAL;

        if (brackets) {
                if (colon - text < 2 || colon[-1] != ']')
                        return -EINVAL;
                r = ip_parse_part(text + 1, colon - text - 2, &a);
        } else
                r = ip_parse_part(text, colon - text, &a);
        if (r < 0)
                return r;
        if (ip_is_v4(&a) == brackets) /* brackets for IPv6, and for IPv6 only */
                return -EINVAL;
        if (parse_port(colon + 1, &port) < 0)
                return -EINVAL;

        *ret = (Endpoint){ .addr = a, .port = port };
        return 0;
}

IpClass ip_classify(const IpAddr *a) {
        if (ip_is_v4(a)) {
                const uint8_t *b = a->b + 12;

                if (b[0] == 0)
                        return IP_CLASS_UNSPECIFIED;
                if (b[0] == 127)
                        return IP_CLASS_LOOPBACK;
                if (b[0] == 169 && b[1] == 254)
                        return IP_CLASS_LINK_LOCAL;
                if (b[0] >= 240)
                        return IP_CLASS_RESERVED;
                if (b[0] >= 224)
                        return IP_CLASS_MULTICAST;
                return IP_CLASS_UNICAST;
        }

        if (ip_is_null(a))
                return IP_CLASS_UNSPECIFIED;
        if (IN6_IS_ADDR_LOOPBACK((const struct in6_addr *) a))
                return IP_CLASS_LOOPBACK;
        if (a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80)
                return IP_CLASS_LINK_LOCAL;
        if (a->b[0] == 0xff)
                return IP_CLASS_MULTICAST;
        return IP_CLASS_UNICAST;
}

const char *mac_to_text(const MacAddr *a, char buf[static MAC_TEXT_MAX]) {
        (void) snprintf(buf, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", a->b[0], a->b[1], a->b[2],
                        a->b[3], a->b[4], a->b[5]);
        return buf;
}

const char *ip_to_text(const IpAddr *a, char buf[static IP_TEXT_MAX]) {
        bool v4 = ip_is_v4(a);

        if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a->b + 12 : a->b, buf, IP_TEXT_MAX))
                buf[0] = 0; /* cannot be: the buffer holds the longest */
        return buf;
}

const char *prefix_to_text(const IpPrefix *p, char buf[static PREFIX_TEXT_MAX]) {
        char address[IP_TEXT_MAX];

        (void) snprintf(buf, PREFIX_TEXT_MAX, "%s/%u", ip_to_text(&p->addr, address), p->len);
        return buf;
}

const char *endpoint_to_text(const Endpoint *e, char buf[static ENDPOINT_TEXT_MAX]) {
        char address[IP_TEXT_MAX];

        (void) snprintf(buf, ENDPOINT_TEXT_MAX, ip_is_v4(&e->addr) ? "%s:%u" : "[%s]:%u",
                        ip_to_text(&e->addr, address), e->port);
        return buf;
}

/* The prefix length counted over all 16 bytes. */
static unsigned prefix_bits(const IpPrefix *p) {
        return ip_is_v4(&p->addr) ? 96u + p->len : p->len;
}

/* The mask byte at @i of a prefix of @bits: 0xff before the edge, 0 after it. */
static uint8_t mask_byte(unsigned bits, unsigned i) {
        if (bits >= 8 * (i + 1))
                return 0xff;
        if (bits <= 8 * i)
                return 0;
        return 0xff << (8 - (bits - 8 * i));
}

bool prefix_contains(const IpPrefix *p, const IpAddr *a) {
        unsigned bits = prefix_bits(p);

        if (ip_is_v4(&p->addr) != ip_is_v4(a))
                return false;

        for (unsigned i = 0; i < 16; i++)
                if ((p->addr.b[i] ^ a->b[i]) & mask_byte(bits, i))
                        return false;
        return true;
}

IpAddr prefix_nth(const IpPrefix *p, uint64_t n) {
        unsigned bits = prefix_bits(p), stop = ip_is_v4(&p->addr) ? 12 : 0, carry = 0;
        IpAddr a;

        for (unsigned i = 0; i < 16; i++)
                a.b[i] = p->addr.b[i] & mask_byte(bits, i);

        for (unsigned i = 16; i-- > stop;) {
                unsigned sum = a.b[i] + (n & 0xff) + carry;

                a.b[i] = sum;
                carry = sum >> 8;
                n >>= 8;
        }
        return a;
}

uint32_t prefix_mask_v4(const IpPrefix *p) {
        assert(ip_is_v4(&p->addr));
        return p->len == 0 ? 0 : htonl(UINT32_MAX << (32 - p->len));
}

IpAddr prefix_broadcast(const IpPrefix *p) {
        return ip_from_v4(ip_v4(&p->addr) | ~prefix_mask_v4(p));
}

socklen_t endpoint_to_sockaddr(const Endpoint *e, struct sockaddr_storage *ret) {
        *ret = (struct sockaddr_storage){};

        if (ip_is_v4(&e->addr)) {
                struct sockaddr_in *in = (struct sockaddr_in *) ret;

                in->sin_family = AF_INET;
                in->sin_port = htons(e->port);
                in->sin_addr.s_addr = ip_v4(&e->addr);
                return sizeof(*in);
        }

        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) ret;

        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(e->port);
        memcpy(&in6->sin6_addr, e->addr.b, sizeof(e->addr.b));
        return sizeof(*in6);
}

int endpoint_from_sockaddr(const struct sockaddr *sa, socklen_t len, Endpoint *ret) {
        if (len < sizeof(sa->sa_family))
                return -EAFNOSUPPORT;

        if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
                struct sockaddr_in in;

                memcpy(&in, sa, sizeof(in));
                *ret = (Endpoint){ .addr = ip_from_v4(in.sin_addr.s_addr), .port = ntohs(in.sin_port) };
                return 0;
        }
        if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
                struct sockaddr_in6 in6;

                memcpy(&in6, sa, sizeof(in6));
                ret->port = ntohs(in6.sin6_port);
                memcpy(ret->addr.b, &in6.sin6_addr, sizeof(ret->addr.b));
                return 0;
        }
        return -EAFNOSUPPORT;
}
