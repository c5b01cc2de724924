/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads headers for the offloads: is a virtio-net header true to its frame, and where do the packet's headers lie. Changes
 * nothing but the header bytes it is handed to fill in; cutting is in offload-split.c, joining in offload-coalesce.c.
 */

#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>

#include "basic/iovcur.h"
#include "device/offload-private.h"

static bool layout_ipv4(IovCur *c, OffloadLayout *l, uint32_t *ret_ip_len) {
        struct iphdr ip; /* a copy: the frame's bytes have no alignment */

        if (!iovcur_copy(c, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5 || !iovcur_skip(c, ip.ihl * 4 - sizeof(ip)))
                return false;
        if (ip.frag_off & htobe16(IP_MF | IP_OFFMASK))
                return false;

        l->v6 = false;
        l->proto = ip.protocol;
        l->l4 = l->l3 + ip.ihl * 4;
        *ret_ip_len = be16toh(ip.tot_len);
        return true;
}

/* Steps over the extension headers that leave the packet whole (RFC 8200 4): a fragment is nothing to cut or join. */
static bool layout_ipv6(IovCur *c, OffloadLayout *l, uint32_t *ret_ip_len) {
        struct ip6_hdr ip;

        if (!iovcur_copy(c, &ip, sizeof(ip)) || ip.ip6_vfc >> 4 != 6)
                return false;

        l->v6 = true;
        l->proto = ip.ip6_nxt;
        l->l4 = l->l3 + sizeof(ip);
        *ret_ip_len = sizeof(ip) + be16toh(ip.ip6_plen);

        for (unsigned i = 0; i < OFFLOAD_EXT_HEADERS_MAX; i++) {
                uint8_t next, units;

                if (l->proto != IPPROTO_HOPOPTS && l->proto != IPPROTO_ROUTING && l->proto != IPPROTO_DSTOPTS)
                        return true;
                if (!iovcur_u8(c, &next) || !iovcur_u8(c, &units) || !iovcur_skip(c, 6 + units * 8))
                        return false;
                l->proto = next;
                l->l4 += 8 + units * 8;
        }
        return false;
}

/* Returns the length of the TCP or UDP header, 0 when there is none. */
static unsigned l4_header_len(const IovCur *at, uint8_t proto) {
        uint8_t store[TCP_FLAGS_AT + 1];
        const uint8_t *tcp;

        switch (proto) {
        case IPPROTO_TCP:
                tcp = iovcur_peek(at, store, sizeof(store));
                if (!tcp || tcp[12] >> 4 < 5)
                        return 0;
                return (tcp[12] >> 4) * 4;
        case IPPROTO_UDP:
                return 8;
        default:
                return 0;
        }
}

bool offload_layout_read(const Frame *f, OffloadLayout *ret) {
        IovCur c = iovcur_make(f->iov, f->n_iov, f->len);
        OffloadLayout l = { .l3 = ETH_HEADER_LEN };
        uint32_t ip_len;
        uint16_t type;

        if (!iovcur_skip(&c, 2 * sizeof(MacAddr)) || !iovcur_be16(&c, &type))
                return false;
        if (type == ETHERTYPE_VLAN) {
                if (!iovcur_skip(&c, 2) || !iovcur_be16(&c, &type))
                        return false;
                l.l3 += 4;
        }

        if (type == ETHERTYPE_IP) {
                if (!layout_ipv4(&c, &l, &ip_len))
                        return false;
        } else if (type == ETHERTYPE_IPV6) {
                if (!layout_ipv6(&c, &l, &ip_len))
                        return false;
        } else
                return false;

        unsigned l4_len = l4_header_len(&c, l.proto);
        if (l4_len == 0 || l.l4 + l4_len > OFFLOAD_HEAD_MAX)
                return false;

        l.payload = l.l4 + l4_len;
        l.end = l.l3 + ip_len;
        if (l.end > f->len || l.end < l.payload)
                return false;
        *ret = l;
        return true;
}

uint32_t offload_pseudo_sum(const OffloadLayout *l, const uint8_t *head, uint32_t l4_len) {
        IpAddr src, dst;

        if (l->v6) {
                memcpy(&src, head + l->l3 + offsetof(struct ip6_hdr, ip6_src), sizeof(src));
                memcpy(&dst, head + l->l3 + offsetof(struct ip6_hdr, ip6_dst), sizeof(dst));
                /* checksum_pseudo() goes by the look of an address: a mapped one here must be summed in full. */
                return checksum_add(&dst, sizeof(dst), checksum_add(&src, sizeof(src), l->proto + l4_len));
        }

        return checksum_add(head + l->l3 + offsetof(struct iphdr, saddr), 2 * sizeof(uint32_t), l->proto + l4_len);
}

void offload_set_ip_len(const OffloadLayout *l, uint8_t *head, uint32_t end) {
        uint8_t *ip = head + l->l3;

        if (l->v6) {
                put_be16(ip + offsetof(struct ip6_hdr, ip6_plen), (uint16_t) (end - l->l3 - sizeof(struct ip6_hdr)));
                return;
        }

        uint8_t *check = ip + offsetof(struct iphdr, check);
        uint16_t sum;

        put_be16(ip + offsetof(struct iphdr, tot_len), (uint16_t) (end - l->l3));
        memset(check, 0, sizeof(sum));
        sum = checksum_finish(checksum_add(ip, l->l4 - l->l3, 0));
        memcpy(check, &sum, sizeof(sum));
}

/* ---- the virtio-net header ---- */

static bool gso_is_valid(const Frame *f, uint8_t type) {
        uint16_t gso_size = le16toh(f->hdr.gso_size), csum_offset = le16toh(f->hdr.csum_offset);
        OffloadLayout l;

        /* Cutting means computing checksums: a driver that asks for it must leave them open (virtio 1.2, 5.1.6.2). The packet
         * must fill its frame: there is no padding on anything this big. */
        if (!(f->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || !offload_layout_read(f, &l) ||
            le16toh(f->hdr.csum_start) != l.l4 || l.end != f->len)
                return false;

        switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
        case VIRTIO_NET_HDR_GSO_TCPV4:
        case VIRTIO_NET_HDR_GSO_TCPV6:
                return l.proto == IPPROTO_TCP && csum_offset == TCP_CHECK_AT && gso_size >= OFFLOAD_GSO_SIZE_MIN &&
                        l.v6 == ((type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV6);
        case VIRTIO_NET_HDR_GSO_UDP_L4:
                return l.proto == IPPROTO_UDP && csum_offset == UDP_CHECK_AT && gso_size > 0 &&
                        !(type & VIRTIO_NET_HDR_GSO_ECN) &&
                        DIV_ROUND_UP(l.end - l.payload, gso_size) <= OFFLOAD_FRAMES_MAX;
        default:
                return false; /* UFO among them: nobody negotiates it */
        }
}

/**
 * offload_header_is_valid() - is a virtio-net header true to its frame
 * @f:          header little endian; frame of any length and content
 *
 * As strict as what the kernel does to headers from its TAPs, and stricter in this: a super-frame must be an unfragmented
 * TCP or UDP packet of the type it says, whose IP length is the frame's, with its checksum left open at the right place.
 * hdr_len is a hint that nothing here uses; it must fit the frame because the kernel refuses it otherwise.
 *
 * Source: virtio 1.2, 5.1.6.2 and 5.1.6.4; the least checksum offset is an IPv4 header behind Ethernet.
 * Tested by: tests/unit/test-offload.c: header/...; fuzz-offload.
 */
bool offload_header_is_valid(const Frame *f) {
        if (le16toh(f->hdr.hdr_len) > f->len)
                return false;

        if (f->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
                uint32_t start = le16toh(f->hdr.csum_start), offset = le16toh(f->hdr.csum_offset);

                if (start < ETH_HEADER_LEN + sizeof(struct iphdr) || offset % 2 != 0 ||
                    start + offset + sizeof(uint16_t) > f->len)
                        return false;
        }

        return f->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE || gso_is_valid(f, f->hdr.gso_type);
}
