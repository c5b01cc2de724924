/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ICMP for IPv4: answers echo requests to the gateway's addresses (ping.c carries those to the outside), and
 * tells guests of errors, at most ICMP_ERRORS_PER_SEC in both families together. An error about one family
 * that concerns a guest of the other is translated. Never relays what a guest says in an error message: the host's stack would have no
 * use for it.
 */

#include "netstack/icmp.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>

#include "basic/checksum.h"
#include "netstack/flow.h"
#include "netstack/icmp6.h"
#include "netstack/ip.h"
#include "netstack/ping.h"
#include "netstack/udp.h"

#define ICMP_LEN 8                     /* header of every message we speak */
#define TCP_LEN 20                     /* of its header */
#define TCP_SEQ_OFFSET 4
#define ICMP_QUOTE6_MAX ((size_t) 1280)       /* as much as an error of either family quotes */
#define ICMP_QUOTE_MAX (576 - 20 - ICMP_LEN) /* RFC 1812 4.3.2.3: an error is at most 576 bytes long */

struct Icmp {
        Netstack *stack;  /* (borrowed) */
        uint32_t tokens;  /* errors that may be sent now */
        usec_t filled;    /* when the bucket was last filled up */
};

int icmp_new(Icmp **ret, Netstack *s) {
        Icmp *i = calloc(1, sizeof(*i));
        if (!i)
                return -ENOMEM;

        i->stack = s;
        i->tokens = ICMP_ERRORS_PER_SEC;
        i->filled = netstack_now(s);
        *ret = i;
        return 0;
}

Icmp *icmp_free(Icmp *i) {
        free(i);
        return NULL;
}

/* ---- errors to guests ---- */

bool icmp_may_send(Icmp *i) {
        usec_t now = netstack_now(i->stack), passed = now - i->filled;
        usec_t earned = passed >= USEC_PER_SEC ? ICMP_ERRORS_PER_SEC
                                               : passed * ICMP_ERRORS_PER_SEC / USEC_PER_SEC;

        if (earned > 0) {
                i->tokens = MIN(i->tokens + (uint32_t) earned, (uint32_t) ICMP_ERRORS_PER_SEC);
                i->filled = passed >= USEC_PER_SEC ? now
                                                   : i->filled + earned * USEC_PER_SEC / ICMP_ERRORS_PER_SEC;
        }
        if (i->tokens == 0) {
                netstack_drop(i->stack, DROP_ICMP_RATE);
                return false;
        }
        i->tokens--;
        return true;
}

/* An error about the packet quoted by the next bytes of @quote, to @dst. */
static void icmp_emit(Netstack *s, const IpAddr *dst, const MacAddr *mac, IovCur *quote, uint8_t type,
                      uint8_t code, uint32_t mtu, const IpAddr *src) {
        size_t n = MIN(iovcur_left(quote), (size_t) ICMP_QUOTE_MAX);
        uint8_t *l4 = netstack_tx_reserve(s, ICMP_LEN + n);
        struct icmphdr h = { .type = type, .code = code };
        IpSend how = { .src = src && !ip_is_null(src) ? *src : s->config.gateway,
                       .dst = *dst,
                       .proto = IPPROTO_ICMP,
                       .mac = mac };

        if (type == ICMP_DEST_UNREACH && code == ICMP_FRAG_NEEDED)
                h.un.frag.mtu = htons((uint16_t) MIN(mtu, (uint32_t) UINT16_MAX));
        (void) iovcur_copy(quote, l4 + ICMP_LEN, n);
        memcpy(l4, &h, sizeof(h));
        h.checksum = checksum_finish(checksum_add(l4, ICMP_LEN + n, 0));
        memcpy(l4, &h, sizeof(h));
        if (mac && s->port)
                how.mtu = s->port->mtu;
        ip_send(s, &how, l4, ICMP_LEN + n);
}

/* May an error be sent about @p at all (RFC 1122 3.2.2)? Only first fragments and whole datagrams get as far
 * as asking. */
static bool icmp_is_owed(const Netstack *s, const Packet *p) {
        uint8_t store;
        const uint8_t *type;

        if (mac_is_multicast(&p->dst_mac) || ip_is_group(s, &p->dst) || ip_is_group(s, &p->src))
                return false;
        if (p->proto != IPPROTO_ICMP)
                return true;
        type = iovcur_peek(&p->l4, &store, sizeof(store));
        return type && *type == ICMP_ECHO;
}

/* ---- from one family to the other (RFC 7915 4.2, 5.2) ---- */

typedef struct IcmpKind {
        uint8_t type, code;
        uint32_t arg; /* MTU, or in ICMPv6 the pointer of a parameter problem */
} IcmpKind;

static IcmpKind icmp_to_6(uint8_t type, uint8_t code, uint32_t mtu) {
        switch (type) {
        case ICMP_TIME_EXCEEDED:
                return (IcmpKind){ ICMP6_TIME_EXCEEDED, code, 0 };
        case ICMP_PARAMETERPROB:
                return (IcmpKind){ ICMP6_PARAM_PROB, ICMP6_PARAMPROB_HEADER, 0 };
        default:
                break;
        }
        switch (code) {
        case ICMP_PORT_UNREACH:
                return (IcmpKind){ ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOPORT, 0 };
        case ICMP_FRAG_NEEDED:
                return (IcmpKind){ ICMP6_PACKET_TOO_BIG, 0, mtu };
        case ICMP_PROT_UNREACH:
                return (IcmpKind){ ICMP6_PARAM_PROB, ICMP6_PARAMPROB_NEXTHEADER, offsetof(struct ip6_hdr, ip6_nxt) };
        case ICMP_NET_ANO:
        case ICMP_HOST_ANO:
        case ICMP_PKT_FILTERED:
        case ICMP_PREC_CUTOFF:
                return (IcmpKind){ ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN, 0 };
        case ICMP_HOST_UNREACH:
                return (IcmpKind){ ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADDR, 0 };
        default:
                return (IcmpKind){ ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOROUTE, 0 };
        }
}

static IcmpKind icmp_from_6(uint8_t type, uint8_t code, uint32_t mtu) {
        switch (type) {
        case ICMP6_TIME_EXCEEDED:
                return (IcmpKind){ ICMP_TIME_EXCEEDED, code, 0 };
        case ICMP6_PACKET_TOO_BIG:
                return (IcmpKind){ ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu > 20 ? mtu - 20 : 0 };
        case ICMP6_PARAM_PROB:
                if (code == ICMP6_PARAMPROB_NEXTHEADER)
                        return (IcmpKind){ ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0 };
                return (IcmpKind){ ICMP_PARAMETERPROB, 0, 0 };
        default:
                break;
        }
        switch (code) {
        case ICMP6_DST_UNREACH_NOPORT:
                return (IcmpKind){ ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0 };
        case ICMP6_DST_UNREACH_ADMIN:
                return (IcmpKind){ ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, 0 };
        default:
                return (IcmpKind){ ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0 };
        }
}

/* ---- errors about packets at hand, and about those long gone ---- */

void icmp_send_error(Netstack *s, const Packet *p, uint8_t type, uint8_t code, uint32_t mtu,
                     const IpAddr *src) {
        IovCur quote = p->ip;

        if (!ip_is_v4(&p->src)) {
                IcmpKind k = icmp_to_6(type, code, mtu);

                return icmp6_send_error(s, p, k.type, k.code, k.arg, src);
        }
        if (!icmp_is_owed(s, p) || !icmp_may_send(s->icmp))
                return;
        icmp_emit(s, &p->src, &p->src_mac, &quote, type, code, mtu, src);
}

/* The L4 bytes as the guest sent them, as far as they are known now, in @ret of ICMP_QUOTE6_MAX bytes; of TCP eight of its
 * header. @ret_total: how long all of them were. */
static size_t rebuild_l4(uint8_t proto, const Endpoint *guest, const Endpoint *remote, const uint8_t *l4, size_t len,
                         uint8_t *ret, size_t *ret_total) {
        /* TCP's ports lie in the same place */
        struct udphdr h = { .uh_sport = htons(guest->port), .uh_dport = htons(remote->port) };
        bool has_ports = proto == IPPROTO_UDP || proto == IPPROTO_TCP;
        size_t head = has_ports ? sizeof(h) : 0, n = MIN(len, ICMP_QUOTE6_MAX - head);
        uint16_t id = htons(guest->port);

        *ret_total = proto == IPPROTO_TCP ? TCP_LEN : head + len;
        if (proto == IPPROTO_UDP)
                h.uh_ulen = htons((uint16_t) MIN(*ret_total, (size_t) UINT16_MAX));
        memcpy(ret, &h, head);
        if (proto == IPPROTO_TCP) { /* the sequence number: an error that quotes another is not believed (RFC 5927 4.1) */
                memcpy(ret + TCP_SEQ_OFFSET, l4, MIN(len, sizeof(h) - TCP_SEQ_OFFSET));
                return head;
        }
        memcpy(ret + head, l4, n);
        if (!has_ports && n >= ICMP_LEN) /* an echo: the host's socket had another id */
                memcpy(ret + offsetof(struct icmphdr, un.echo.id), &id, sizeof(id));
        return head + n;
}

/* @k is of the guest's own family. */
static void send_kind_for(Netstack *s, const Endpoint *guest, const Endpoint *remote, uint8_t proto, const void *l4, size_t len,
                          IcmpKind k, const IpAddr *src) {
        uint8_t buf[sizeof(struct iphdr) + ICMP_QUOTE6_MAX], *l4_at = buf + sizeof(struct iphdr);
        size_t total, n = rebuild_l4(proto, guest, remote, l4, len, l4_at, &total);
        struct iphdr h = {
                .version = 4,
                .ihl = 5,
                .ttl = 64,
                .protocol = proto,
                .saddr = ip_v4(&guest->addr),
                .daddr = ip_v4(&remote->addr),
                .tot_len = htons((uint16_t) MIN(sizeof(h) + total, (size_t) UINT16_MAX)),
        };
        struct iovec iov;

        if (!ip_is_v4(&guest->addr))
                return icmp6_send_error_for(s, &guest->addr, &remote->addr, proto, l4_at, n, total, k.type, k.code, k.arg, src);
        if (!icmp_may_send(s->icmp))
                return;

        h.check = checksum_finish(checksum_add(&h, sizeof(h), 0));
        memcpy(buf, &h, sizeof(h));
        IovCur quote = iovcur_from_buf(&iov, buf, sizeof(h) + n);
        icmp_emit(s, &guest->addr, /* mac= */ NULL, &quote, k.type, k.code, k.arg, src);
}

void icmp_send_error_for(Netstack *s, const Endpoint *guest, const Endpoint *remote, uint8_t proto,
                         const void *l4, size_t len, uint8_t type, uint8_t code, uint32_t mtu,
                         const IpAddr *src) {
        IcmpKind k = ip_is_v4(&guest->addr) ? (IcmpKind){ type, code, mtu } : icmp_to_6(type, code, mtu);

        send_kind_for(s, guest, remote, proto, l4, len, k, src);
}

/* What a host's errno means where no router spoke. False: nothing a guest could use. */
static bool icmp_of_errno(int error, uint32_t mtu, IcmpKind *ret) {
        uint8_t code;

        switch (error) {
        case ECONNREFUSED:
                code = ICMP_PORT_UNREACH;
                break;
        case ENETUNREACH:
        case ENETDOWN:
        case EADDRNOTAVAIL: /* no address of that family: IPv6 says it so */
                code = ICMP_NET_UNREACH;
                break;
        case EHOSTUNREACH:
        case EHOSTDOWN:
                code = ICMP_HOST_UNREACH;
                break;
        case EACCES:
        case EPERM:
                code = ICMP_PKT_FILTERED;
                break;
        case EMSGSIZE:
                code = ICMP_FRAG_NEEDED;
                break;
        default:
                return false;
        }
        *ret = (IcmpKind){ ICMP_DEST_UNREACH, code, mtu };
        return true;
}

bool icmp_relay_error(Netstack *s, const Endpoint *guest, const Endpoint *remote, uint8_t proto,
                      const HostError *e) {
        IpAddr offender = netstack_source_for(s, &guest->addr, &e->offender);
        bool to_4 = ip_is_v4(&guest->addr), from_4 = ip_is_v4(&e->offender);
        IcmpKind k = { e->icmp_type, e->icmp_code, e->mtu };

        if (ip_is_null(&e->offender)) { /* the host's own stack refused it */
                if (!icmp_of_errno(e->error, e->mtu, &k))
                        return false;
                from_4 = true;
        } else if (from_4 && k.type != ICMP_DEST_UNREACH && k.type != ICMP_TIME_EXCEEDED && k.type != ICMP_PARAMETERPROB)
                return false;
        else if (!from_4 && (k.type < ICMP6_DST_UNREACH || k.type > ICMP6_PARAM_PROB))
                return false;

        if (from_4 && !to_4) {
                if (ip_is_v4(&e->peer.addr) && k.arg > 0) /* the packet was 20 bytes longer with us (RFC 7915 4.2) */
                        k.arg = MAX(k.arg + 20, UINT32_C(1280));
                k = icmp_to_6(k.type, k.code, k.arg);
        } else if (!from_4 && to_4)
                k = icmp_from_6(k.type, k.code, k.arg);
        send_kind_for(s, guest, remote, proto, e->payload, MIN(e->payload_len, sizeof(e->payload)), k,
                      ip_is_v4(&offender) == to_4 ? &offender : NULL);
        return true;
}

/* ---- echo to the gateway's addresses ---- */

static void icmp_echo_reply(Netstack *s, Packet *p) {
        size_t len = iovcur_left(&p->l4);
        uint8_t *l4 = netstack_tx_reserve(s, len);
        struct icmphdr h;

        (void) iovcur_copy(&p->l4, l4, len);
        memcpy(&h, l4, sizeof(h));
        h.type = ICMP_ECHOREPLY;
        h.checksum = 0;
        memcpy(l4, &h, sizeof(h));
        h.checksum = checksum_finish(checksum_add(l4, len, 0));
        memcpy(l4, &h, sizeof(h));

        IpSend how = {
                .src = p->dst, .dst = p->src, .proto = IPPROTO_ICMP, .tos = p->tos,
                .mac = &p->src_mac, .mtu = s->port ? s->port->mtu : 0,
        };
        ip_send(s, &how, l4, len);
}

void icmp4_input(Netstack *s, Packet *p) {
        IovCur cur = p->l4;
        struct icmphdr h;

        if (!iovcur_copy(&cur, &h, sizeof(h)))
                return netstack_drop(s, DROP_ICMP_MALFORMED);
        /* The kernel leaves no ICMP checksum open, so none is taken on trust. */
        if (checksum_fold(checksum_add_iov(p->l4.iov, p->l4.n_iov, p->l4.off, iovcur_left(&p->l4), 0)) !=
            0xffff)
                return netstack_drop(s, DROP_ICMP_MALFORMED);
        if (h.type != ICMP_ECHO || h.code != 0)
                return netstack_drop(s, DROP_ICMP_TYPE);

        if (netstack_is_ours(s, &p->dst))
                icmp_echo_reply(s, p);
        else
                ping_out(s, p, ntohs(h.un.echo.id));
}

