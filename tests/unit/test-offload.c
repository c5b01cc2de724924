/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Offloads in software: headers that lie, cutting and completing against a checksum and a header walk of this file's own,
 * joining against every reason not to join, and cut-then-join, which must give back the same bytes.
 */

#include <glib.h>
#include <netinet/in.h>

#include "device/device.h"
#include "device/offload-private.h"

#define CUT_MAX OFFLOAD_FRAMES_MAX

/* ---- packets ---- */

typedef struct Packet {
        bool v6, udp, vlan, no_df;
        size_t options; /* of TCP: bytes, a multiple of four */
        uint8_t flags;
        uint16_t id, sport, window;
        uint32_t seq, ack;
        uint8_t tos, ttl;
        size_t len; /* payload */
} Packet;

typedef struct Built {
        uint8_t bytes[FRAME_LEN_MAX];
        size_t l3, l4, payload, len;
        struct iovec iov[FRAME_IOV_MAX];
        Frame frame;
} Built;

static void put16(uint8_t *p, uint32_t v) {
        p[0] = (uint8_t) (v >> 8);
        p[1] = (uint8_t) v;
}
static void put32(uint8_t *p, uint32_t v) {
        put16(p, v >> 16);
        put16(p + 2, v);
}
static uint32_t get16(const uint8_t *p) {
        return (uint32_t) p[0] << 8 | p[1];
}
static uint32_t get32(const uint8_t *p) {
        return get16(p) << 16 | get16(p + 2);
}

/* One's complement sum, one word at a time. */
static uint32_t slow_sum(const uint8_t *p, size_t len, uint32_t sum) {
        for (size_t i = 0; i < len; i++) {
                sum += i % 2 == 0 ? (uint32_t) p[i] << 8 : p[i];
                sum = (sum & 0xffff) + (sum >> 16);
        }
        return sum;
}

static uint32_t slow_pseudo(const uint8_t *ip, bool v6, uint8_t proto, size_t l4_len) {
        uint8_t tail[4] = { (uint8_t) (l4_len >> 8), (uint8_t) l4_len, 0, proto };

        return slow_sum(ip + (v6 ? 8 : 12), v6 ? 32 : 8, slow_sum(tail, 4, 0));
}

static size_t check_at(const Packet *p) {
        return p->udp ? 6 : 16;
}

/* Builds the packet in one piece; its checksum left open as a virtio-net header says it, or complete. */
static void build(Built *b, const Packet *p, bool open) {
        uint8_t *ip, *l4, proto = p->udp ? IPPROTO_UDP : IPPROTO_TCP;
        size_t l4_header = p->udp ? 8 : 20 + p->options, l4_len = l4_header + p->len;

        memset(b->bytes, 0, 300);
        b->l3 = p->vlan ? 18 : 14;
        b->l4 = b->l3 + (p->v6 ? 40 : 20);
        b->payload = b->l4 + l4_header;
        b->len = b->payload + p->len;
        g_assert_cmpuint(b->len, <=, FRAME_LEN_MAX);
        ip = b->bytes + b->l3;
        l4 = b->bytes + b->l4;

        memcpy(b->bytes, "\x52\x54\x00\x00\x00\x01\x52\x54\x00\x00\x00\x02", 12);
        if (p->vlan)
                put32(b->bytes + 12, 0x81000005);
        put16(b->bytes + b->l3 - 2, p->v6 ? 0x86dd : 0x0800);
        if (p->v6) {
                put32(ip, 0x60000000 | (uint32_t) p->tos << 20 | 0x12345);
                put16(ip + 4, (uint32_t) l4_len);
                ip[6] = proto;
                ip[7] = p->ttl;
                memset(ip + 8, 0xfd, 32);
        } else {
                ip[0] = 0x45;
                ip[1] = p->tos;
                put16(ip + 2, (uint32_t) (20 + l4_len));
                put16(ip + 4, p->id);
                put16(ip + 6, p->no_df ? 0 : 0x4000);
                ip[8] = p->ttl;
                ip[9] = proto;
                memcpy(ip + 12, "\x0a\x00\x00\x01\xc0\xa8\x7f\x01", 8);
                put16(ip + 10, (uint16_t) ~slow_sum(ip, 20, 0));
        }

        put16(l4, p->sport);
        put16(l4 + 2, 443);
        if (p->udp)
                put16(l4 + 4, (uint32_t) l4_len);
        else {
                put32(l4 + 4, p->seq);
                put32(l4 + 8, p->ack);
                l4[12] = (uint8_t) (l4_header << 2);
                l4[13] = p->flags;
                put16(l4 + 14, p->window);
                memset(l4 + 20, 1, p->options); /* no-ops */
        }
        for (size_t i = 0; i < p->len; i++)
                b->bytes[b->payload + i] = (uint8_t) ((p->seq + i) * 251 >> 3);

        uint32_t pseudo = slow_pseudo(ip, p->v6, proto, l4_len);
        put16(l4 + check_at(p), open ? pseudo : (uint16_t) ~slow_sum(l4, l4_len, pseudo));

        b->iov[0] = (struct iovec){ b->bytes, b->len };
        b->frame = (Frame){ .iov = b->iov, .n_iov = 1, .len = (uint32_t) b->len };
        if (open) {
                b->frame.hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
                b->frame.hdr.csum_start = htole16((uint16_t) b->l4);
                b->frame.hdr.csum_offset = htole16((uint16_t) check_at(p));
        }
}

static void build_super(Built *b, const Packet *p, uint16_t gso_size) {
        build(b, p, true);
        b->frame.hdr.gso_size = htole16(gso_size);
        b->frame.hdr.hdr_len = htole16((uint16_t) b->payload);
        b->frame.hdr.gso_type = p->udp ? VIRTIO_NET_HDR_GSO_UDP_L4 :
                p->v6                  ? VIRTIO_NET_HDR_GSO_TCPV6 :
                                         VIRTIO_NET_HDR_GSO_TCPV4;
        if (!p->udp && p->flags & 0x80)
                b->frame.hdr.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
}

/* Cuts the frame's bytes into @n pieces of unequal, sometimes zero length; the headers stay in the first one with @keep_head. */
static void scatter(Built *b, unsigned n, bool keep_head) {
        size_t at = 0;

        for (unsigned i = 0; i < n; i++) {
                size_t left = b->len - at, piece = i + 1 == n ? left : MIN(left, 1 + (i * 37 + 11) % 97);

                if (i == 0 && keep_head)
                        piece = b->payload;
                b->iov[i] = (struct iovec){ b->bytes + at, piece };
                at += piece;
        }
        b->frame.n_iov = n;
}

static size_t flatten(const Frame *f, uint8_t *out) {
        size_t at = 0;

        for (unsigned i = 0; i < f->n_iov; at += f->iov[i].iov_len, i++)
                memcpy(out + at, f->iov[i].iov_base, f->iov[i].iov_len);
        g_assert_cmpuint(at, ==, f->len);
        return at;
}

static const Packet tcp4 = { .flags = 0x18, .id = 0xfffe, .sport = 1024, .window = 500, .seq = 0xffffff00, .ack = 77, .ttl = 64,
                             .len = 10000, .options = 12 };

static Packet packet(size_t len) {
        Packet p = tcp4;

        p.len = len;
        return p;
}

/* ---- is the header true to the frame ---- */

static void test_header_plain(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        Packet p = packet(100);
        struct virtio_net_hdr_v1 *h = &b->frame.hdr;

        build(b, &p, false);
        g_assert_true(offload_header_is_valid(&b->frame));
        h->hdr_len = htole16((uint16_t) b->len);
        g_assert_true(offload_header_is_valid(&b->frame));
        h->hdr_len = htole16((uint16_t) (b->len + 1));
        g_assert_false(offload_header_is_valid(&b->frame));
}

static void test_header_csum(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        Packet p = packet(100);
        struct virtio_net_hdr_v1 *h = &b->frame.hdr;

        build(b, &p, true);
        g_assert_true(offload_header_is_valid(&b->frame));

        h->csum_start = htole16(33); /* amid the least IP header */
        g_assert_false(offload_header_is_valid(&b->frame));
        h->csum_start = htole16(34);
        h->csum_offset = htole16(15);
        g_assert_false(offload_header_is_valid(&b->frame));

        /* The last place there is, and one beyond; then all the way round. */
        h->csum_offset = 0;
        h->csum_start = htole16((uint16_t) (b->len - 2));
        g_assert_true(offload_header_is_valid(&b->frame));
        h->csum_start = htole16((uint16_t) (b->len - 1));
        g_assert_false(offload_header_is_valid(&b->frame));
        h->csum_start = htole16(34);
        h->csum_offset = htole16(0xfffe);
        g_assert_false(offload_header_is_valid(&b->frame));
        h->csum_start = htole16(0xffff);
        g_assert_false(offload_header_is_valid(&b->frame));
}

static void test_header_gso(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));

        for (unsigned k = 0; k < 8; k++) {
                Packet p = packet(5000);

                p.v6 = k & 1;
                p.vlan = k & 2;
                p.udp = k & 4;
                build_super(b, &p, 1000);
                for (unsigned n = 1; n <= 20; n++) {
                        scatter(b, n, false);
                        g_assert_true(offload_header_is_valid(&b->frame));
                }
        }
}

/* Every lie about a super-frame, one at a time. */
static void test_header_gso_lies(void) {
        enum { TYPE, TYPE_UFO, TYPE_UNKNOWN, SIZE_ZERO, SIZE_SMALL, NO_CSUM, START, OFFSET, IP_LEN, IP_LEN_MORE, FRAGMENT, PROTO, VERSION,
               IHL, DOFF, ETHERTYPE, N_LIES };
        g_autofree Built *b = g_malloc(sizeof(Built));

        for (int lie = 0; lie < N_LIES; lie++)
                for (unsigned v6 = 0; v6 < 2; v6++) {
                        Packet p = packet(5000);
                        uint8_t *ip, *l4;

                        p.v6 = v6;
                        build_super(b, &p, 1000);
                        ip = b->bytes + b->l3;
                        l4 = b->bytes + b->l4;
                        struct virtio_net_hdr_v1 *h = &b->frame.hdr;
                        switch (lie) {
                        case TYPE:
                                h->gso_type = v6 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
                                break;
                        case TYPE_UFO:
                                h->gso_type = VIRTIO_NET_HDR_GSO_UDP;
                                break;
                        case TYPE_UNKNOWN:
                                h->gso_type = 0x40;
                                break;
                        case SIZE_ZERO:
                                h->gso_size = 0;
                                break;
                        case SIZE_SMALL:
                                h->gso_size = htole16(7);
                                break;
                        case NO_CSUM:
                                h->flags = 0;
                                break;
                        case START:
                                h->csum_start = htole16((uint16_t) (b->l4 + 2));
                                break;
                        case OFFSET:
                                h->csum_offset = htole16(6);
                                break;
                        case IP_LEN:
                                put16(ip + (v6 ? 4 : 2), get16(ip + (v6 ? 4 : 2)) - 1);
                                break;
                        case IP_LEN_MORE:
                                put16(ip + (v6 ? 4 : 2), get16(ip + (v6 ? 4 : 2)) + 1);
                                break;
                        case FRAGMENT:
                                if (v6)
                                        ip[6] = IPPROTO_FRAGMENT;
                                else
                                        put16(ip + 6, 0x2000);
                                break;
                        case PROTO:
                                ip[v6 ? 6 : 9] = IPPROTO_UDP;
                                break;
                        case VERSION:
                                ip[0] ^= 0x10;
                                break;
                        case IHL:
                                if (v6)
                                        continue;
                                ip[0] = 0x4f;
                                break;
                        case DOFF:
                                l4[12] = 0x40;
                                break;
                        case ETHERTYPE:
                                put16(b->bytes + 12, 0x0806);
                                break;
                        }
                        g_assert_false(offload_header_is_valid(&b->frame));
                }
}

static void test_header_gso_sizes(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        Packet p = packet(100);

        build_super(b, &p, OFFLOAD_GSO_SIZE_MIN);
        g_assert_true(offload_header_is_valid(&b->frame));
        build_super(b, &p, OFFLOAD_GSO_SIZE_MIN - 1);
        g_assert_false(offload_header_is_valid(&b->frame));
        p.udp = true;
        build_super(b, &p, 1);
        g_assert_true(offload_header_is_valid(&b->frame));
        build_super(b, &p, 0);
        g_assert_false(offload_header_is_valid(&b->frame));
}

static void test_header_udp_limits(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        Packet p = packet(OFFLOAD_FRAMES_MAX * 3);

        p.udp = true;
        build_super(b, &p, 3);
        g_assert_true(offload_header_is_valid(&b->frame));
        p.len++;
        build_super(b, &p, 3);
        g_assert_false(offload_header_is_valid(&b->frame)); /* more datagrams than anybody cuts */
        build_super(b, &p, 1000);
        b->frame.hdr.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
        g_assert_false(offload_header_is_valid(&b->frame));
}

static void test_header_truncated(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        Packet p = packet(50);

        for (unsigned v6 = 0; v6 < 2; v6++) {
                p.v6 = v6;
                build_super(b, &p, 10);
                for (uint32_t len = 0; len < b->len; len++) {
                        b->frame.len = len;
                        b->iov[0].iov_len = len;
                        b->frame.hdr.hdr_len = 0;
                        g_assert_false(offload_header_is_valid(&b->frame));
                }
        }
}

/* Extension headers are stepped over; a chain that does not end is refused. */
static void test_header_extensions(void) {
        uint8_t bytes[14 + 40 + 9 * 8 + 20 + 50] = {};
        struct iovec iov = { bytes, sizeof(bytes) };

        for (unsigned n = 0; n <= 9; n++) {
                uint8_t *ip = bytes + 14, *at = ip + 40;
                size_t l4 = 54 + n * 8, len = l4 + 70;
                Frame f = { .iov = &iov, .n_iov = 1, .len = (uint32_t) len };

                memset(bytes, 0, sizeof(bytes));
                put16(bytes + 12, 0x86dd);
                ip[0] = 0x60;
                put16(ip + 4, (uint32_t) (len - 54));
                ip[6] = n > 0 ? IPPROTO_DSTOPTS : IPPROTO_TCP;
                for (unsigned i = 0; i < n; i++, at += 8)
                        at[0] = i + 1 < n ? IPPROTO_DSTOPTS : IPPROTO_TCP;
                bytes[l4 + 12] = 0x50;
                f.hdr = (struct virtio_net_hdr_v1){
                        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                        .gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
                        .gso_size = htole16(20),
                        .csum_start = htole16((uint16_t) l4),
                        .csum_offset = htole16(16),
                };
                iov.iov_len = len;
                g_assert_cmpint(offload_header_is_valid(&f), ==, n < 8);
        }
}

/* ---- where the headers lie ---- */

static bool layout(const uint8_t *bytes, size_t len, OffloadLayout *ret) {
        struct iovec iov = { (void *) bytes, len };
        Frame f = { .iov = &iov, .n_iov = 1, .len = (uint32_t) len };

        memset(ret, 0xee, sizeof(*ret));
        return offload_layout_read(&f, ret);
}

/* IPv4 options and one IPv6 extension of every length: exactly up to the longest headers there may be. */
static void test_layout_lengths(void) {
        uint8_t bytes[600] = {};
        OffloadLayout l;

        for (unsigned ihl = 0; ihl < 16; ihl++)
                for (unsigned doff = 0; doff < 16; doff++) {
                        size_t l4 = 14 + ihl * 4, len = l4 + doff * 4;

                        memset(bytes, 0, sizeof(bytes));
                        put16(bytes + 12, 0x0800);
                        bytes[14] = (uint8_t) (0x40 | ihl);
                        put16(bytes + 16, (uint32_t) (len - 14));
                        bytes[23] = IPPROTO_TCP;
                        bytes[l4 + 12] = (uint8_t) (doff << 4);
                        g_assert_cmpint(layout(bytes, len, &l), ==, ihl >= 5 && doff >= 5);
                        if (ihl < 5 || doff < 5)
                                continue;
                        g_assert_cmpuint(l.l4, ==, l4);
                        g_assert_cmpuint(l.payload, ==, len);
                        g_assert_cmpuint(l.end, ==, len);
                        g_assert_false(layout(bytes, len - 1, &l)); /* the IP length is beyond the frame */
                        g_assert_true(layout(bytes, len + 1, &l));
                        g_assert_cmpuint(l.end, ==, len);
                        put16(bytes + 16, (uint32_t) (len - 15)); /* amid the TCP header */
                        g_assert_false(layout(bytes, len, &l));
                }

        for (unsigned units = 0; units < 32; units++) {
                size_t l4 = 14 + 40 + 8 + units * 8, len = l4 + 60;

                for (unsigned doff = 5; doff < 16; doff++) {
                        memset(bytes, 0, sizeof(bytes));
                        put16(bytes + 12, 0x86dd);
                        bytes[14] = 0x60;
                        put16(bytes + 18, (uint32_t) (len - 54));
                        bytes[20] = IPPROTO_ROUTING;
                        bytes[54] = IPPROTO_TCP;
                        bytes[55] = (uint8_t) units;
                        bytes[l4 + 12] = (uint8_t) (doff << 4);
                        g_assert_cmpint(layout(bytes, len, &l), ==, l4 + doff * 4 <= OFFLOAD_HEAD_MAX);
                        if (l4 + doff * 4 <= OFFLOAD_HEAD_MAX)
                                g_assert_cmpuint(l.payload, ==, l4 + doff * 4);
                }
        }
}

static void test_layout_refused(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        OffloadLayout l;

        for (unsigned v6 = 0; v6 < 2; v6++) {
                Packet p = packet(10);

                p.v6 = v6;
                p.options = 0;
                build(b, &p, false);
                g_assert_true(layout(b->bytes, b->len, &l));
                for (size_t len = 0; len < b->len; len++)
                        g_assert_false(layout(b->bytes, len, &l));
                uint8_t *ip = b->bytes + b->l3, *proto = ip + (v6 ? 6 : 9);

                for (unsigned other = 0; other < 256; other++) {
                        *proto = (uint8_t) other;
                        if (other != IPPROTO_TCP && other != IPPROTO_UDP)
                                g_assert_false(layout(b->bytes, b->len, &l));
                }
                *proto = IPPROTO_TCP;
                g_assert_true(layout(b->bytes, b->len, &l));
                ip[0] ^= 0x20;
                g_assert_false(layout(b->bytes, b->len, &l));
                ip[0] ^= 0x20;
                if (!v6)
                        for (unsigned bit = 0; bit < 14; bit++) { /* more fragments, and every offset */
                                put16(ip + 6, 1u << bit);
                                g_assert_false(layout(b->bytes, b->len, &l));
                        }
                put16(b->bytes + 12, 0x88a8); /* a tag of the provider's: not ours to look behind */
                g_assert_false(layout(b->bytes, b->len, &l));
        }
}

/* ---- completing ---- */

static void assert_l4_checksum(const uint8_t *frame, size_t l3, size_t l4, bool v6, bool udp, size_t len) {
        uint32_t sum = slow_pseudo(frame + l3, v6, udp ? IPPROTO_UDP : IPPROTO_TCP, len - l4);

        g_assert_cmphex(slow_sum(frame + l4, len - l4, sum), ==, 0xffff);
}

/* Whoever asked for a changed frame may write before it: nothing of it, or of another, lies there. */
static void use_headroom(const Frame *frames, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                memset((uint8_t *) frames[i].iov[0].iov_base - OFFLOAD_HEADROOM, 0xa5, OFFLOAD_HEADROOM);
}

static void test_complete(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        g_autofree uint8_t *out = g_malloc(FRAME_LEN_MAX), *before = g_malloc(FRAME_LEN_MAX);
        OffloadSplit *s = offload_split_new();
        Frame frames[CUT_MAX];
        Drop reason;

        for (unsigned n_iov = 1; n_iov <= FRAME_IOV_MAX; n_iov++) {
                Packet p = packet(n_iov * 23);

                p.udp = n_iov & 1;
                p.v6 = n_iov & 2;
                build(b, &p, true);
                scatter(b, n_iov, false);
                memcpy(before, b->bytes, b->len);
                g_assert_cmpuint(offload_split(s, &b->frame, 0, frames, &reason), ==, 1);
                use_headroom(frames, 1);
                g_assert_cmpuint(frames[0].n_iov, <=, FRAME_IOV_MAX);
                g_assert_cmpuint(flatten(&frames[0], out), ==, b->len);
                assert_l4_checksum(out, b->l3, b->l4, p.v6, p.udp, b->len);
                g_assert_cmpint(frames[0].hdr.flags, ==, 0);
                g_assert_cmpmem(b->bytes, b->len, before, b->len); /* the sender's bytes are his */

                memcpy(out + b->l4 + check_at(&p), before + b->l4 + check_at(&p), 2);
                g_assert_cmpmem(out, b->len, before, b->len);
        }
        offload_split_free(s);
}

/* A checksum far into the frame; and one that would come out as zero, which in UDP means none. */
static void test_complete_odd_places(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        g_autofree uint8_t *out = g_malloc(FRAME_LEN_MAX);
        OffloadSplit *s = offload_split_new();
        Frame frames[CUT_MAX];
        Packet p = packet(3000);
        Drop reason;

        build(b, &p, true);
        scatter(b, 5, false);
        b->frame.hdr.csum_start = htole16(2000);
        b->frame.hdr.csum_offset = htole16(400);
        g_assert_cmpuint(offload_split(s, &b->frame, 0, frames, &reason), ==, 1);
        (void) flatten(&frames[0], out);
        uint32_t sum = slow_sum(b->bytes + 2000, b->len - 2000, 0);
        g_assert_cmphex(get16(out + 2400), ==, (uint16_t) ~sum);

        p = packet(2);
        p.udp = true;
        build(b, &p, true);
        /* Choose the payload so that everything adds up to 0xffff. */
        memset(b->bytes + b->payload, 0, 2);
        sum = slow_sum(b->bytes + b->l4, b->len - b->l4, 0);
        put16(b->bytes + b->payload, 0xffff - sum);
        g_assert_cmpuint(offload_split(s, &b->frame, 0, frames, &reason), ==, 1);
        (void) flatten(&frames[0], out);
        g_assert_cmphex(get16(out + b->l4 + 6), ==, 0xffff);
        offload_split_free(s);
}

static void check_cut(const Built *b, const Packet *p, uint16_t gso_size, const Frame *frames, unsigned n, uint32_t have);

/* As many pieces as a frame may have, the first one longer than the headers: with a header before them they are one too many. */
static void scatter_wide(Built *b) {
        scatter(b, 1, false);
        b->iov[0].iov_len = b->len - (FRAME_IOV_MAX - 1);
        for (unsigned i = 1; i < FRAME_IOV_MAX; i++)
                b->iov[i] = (struct iovec){ b->bytes + b->iov[0].iov_len + i - 1, 1 };
        b->frame.n_iov = FRAME_IOV_MAX;
}

static void test_wide(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        g_autofree uint8_t *out = g_malloc(FRAME_LEN_MAX);
        OffloadSplit *s = offload_split_new();
        Frame frames[CUT_MAX];
        Packet p = packet(1000);
        Drop reason;

        for (unsigned super = 0; super < 2; super++) {
                if (super)
                        build_super(b, &p, 1000);
                else
                        build(b, &p, true);
                scatter_wide(b);
                g_assert_cmpuint(offload_split(s, &b->frame, 0, frames, &reason), ==, 1);
                use_headroom(frames, 1);
                g_assert_cmpuint(frames[0].n_iov, <=, FRAME_IOV_MAX);
                g_assert_cmpuint(flatten(&frames[0], out), ==, b->len);
                assert_l4_checksum(out, b->l3, b->l4, false, false, b->len);
                g_assert_cmpmem(out + b->payload, p.len, b->bytes + b->payload, p.len);
        }

        /* The checksum at the end of the longest header that is copied apart, and behind it. */
        for (uint16_t at = OFFLOAD_HEAD_MAX - 4; at <= OFFLOAD_HEAD_MAX + 4; at += 2) {
                build(b, &p, true);
                scatter(b, 3, false);
                b->frame.hdr.csum_start = htole16(34);
                b->frame.hdr.csum_offset = htole16(at - 34);
                g_assert_cmpuint(offload_split(s, &b->frame, 0, frames, &reason), ==, 1);
                g_assert_cmpuint(flatten(&frames[0], out), ==, b->len);
                g_assert_cmphex(get16(out + at), ==, (uint16_t) ~slow_sum(b->bytes + 34, b->len - 34, 0));
        }
        offload_split_free(s);
}

/* The longest frame there is. */
static void test_longest(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        OffloadSplit *s = offload_split_new();
        Frame frames[CUT_MAX];
        Packet p = packet(65535 - 20 - 32);
        Drop reason;

        build_super(b, &p, 1448);
        g_assert_cmpuint(b->frame.len, ==, FRAME_LEN_MAX);
        check_cut(b, &p, 1448, frames, offload_split(s, &b->frame, 0, frames, &reason), 0);
        b->frame.len++;
        g_assert_cmpuint(offload_split(s, &b->frame, 0, frames, &reason), ==, 0);
        g_assert_cmpint(reason, ==, DROP_GSO_HEADER);
        offload_split_free(s);
}

/* ---- cutting ---- */

/* Walks what a super-frame was cut into. */
static void check_cut(const Built *b, const Packet *p, uint16_t gso_size, const Frame *frames, unsigned n, uint32_t have) {
        g_autofree uint8_t *out = g_malloc(FRAME_LEN_MAX);
        size_t at = 0;

        g_assert_cmpuint(n, ==, MAX(DIV_ROUND_UP(p->len, gso_size), 1u));
        use_headroom(frames, n);
        for (unsigned i = 0; i < n; i++) {
                size_t len = MIN(p->len - at, gso_size), total = flatten(&frames[i], out);
                const uint8_t *ip = out + b->l3, *l4 = out + b->l4;
                bool last = i + 1 == n;

                g_assert_cmpuint(total, ==, b->payload + len);
                g_assert_cmpint(frames[i].hdr.gso_type, ==, VIRTIO_NET_HDR_GSO_NONE);
                g_assert_true(offload_header_is_valid(&frames[i]));
                g_assert_cmpmem(out, b->l3, b->bytes, b->l3);
                g_assert_cmpmem(out + b->payload, len, b->bytes + b->payload + at, len);
                if (p->v6)
                        g_assert_cmpuint(get16(ip + 4), ==, total - b->l4);
                else {
                        g_assert_cmpuint(get16(ip + 2), ==, total - b->l3);
                        g_assert_cmpuint(get16(ip + 4), ==, (uint16_t) (p->id + i));
                        g_assert_cmphex(slow_sum(ip, 20, 0), ==, 0xffff);
                }
                if (p->udp)
                        g_assert_cmpuint(get16(l4 + 4), ==, 8 + len);
                else {
                        g_assert_cmpuint(get32(l4 + 4), ==, (uint32_t) (p->seq + at));
                        g_assert_cmphex(l4[13], ==, p->flags & ~(last ? 0 : 0x09) & ~(i == 0 ? 0 : 0x80));
                        g_assert_cmpmem(l4 + 20, p->options, b->bytes + b->l4 + 20, p->options);
                }

                if (have & DEVICE_OFFLOAD_CSUM) {
                        g_assert_cmpint(frames[i].hdr.flags, ==, VIRTIO_NET_HDR_F_NEEDS_CSUM);
                        g_assert_cmpuint(le16toh(frames[i].hdr.csum_start), ==, b->l4);
                        g_assert_cmphex(get16(l4 + check_at(p)), ==,
                                        slow_pseudo(ip, p->v6, p->udp ? IPPROTO_UDP : IPPROTO_TCP, total - b->l4));
                } else {
                        g_assert_cmpint(frames[i].hdr.flags, ==, 0);
                        assert_l4_checksum(out, b->l3, b->l4, p->v6, p->udp, total);
                }
                at += len;
        }
        g_assert_cmpuint(at, ==, p->len);
}

static void test_split(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        g_autofree uint8_t *before = g_malloc(FRAME_LEN_MAX);
        OffloadSplit *s = offload_split_new();
        Frame frames[CUT_MAX];
        Drop reason;

        for (unsigned round = 0; round < 400; round++) {
                Packet p = packet((size_t) g_test_rand_int_range(0, 60000));
                uint16_t gso_size = (uint16_t) g_test_rand_int_range(600, 9000);
                uint32_t have = round & 8 ? DEVICE_OFFLOAD_CSUM : 0;

                p.v6 = round & 1;
                p.udp = round & 2;
                p.vlan = round & 4;
                p.flags = round & 16 ? 0x99 : 0x10;
                build_super(b, &p, gso_size);
                scatter(b, (unsigned) g_test_rand_int_range(1, FRAME_IOV_MAX + 1), false);
                memcpy(before, b->bytes, b->len);
                unsigned n = offload_split(s, &b->frame, have, frames, &reason);
                check_cut(b, &p, gso_size, frames, n, have);
                g_assert_cmpmem(b->bytes, b->len, before, b->len);
        }
        offload_split_free(s);
}

static void test_split_limits(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        OffloadSplit *s = offload_split_new();
        Frame frames[CUT_MAX];
        Drop reason = DROP_CHECKSUM;
        Packet p = packet(OFFLOAD_FRAMES_MAX * 500);

        /* As many as there may be, in as many pieces; one more. */
        build_super(b, &p, 500);
        scatter(b, FRAME_IOV_MAX, false);
        check_cut(b, &p, 500, frames, offload_split(s, &b->frame, 0, frames, &reason), 0);
        scatter(b, FRAME_IOV_MAX - 1, false);
        check_cut(b, &p, 500, frames, offload_split(s, &b->frame, 0, frames, &reason), 0);
        p.len++;
        build_super(b, &p, 500);
        g_assert_cmpuint(offload_split(s, &b->frame, 0, frames, &reason), ==, 0);
        g_assert_cmpint(reason, ==, DROP_DEVICE_TOO_BIG);

        b->frame.hdr.gso_size = 0;
        g_assert_cmpuint(offload_split(s, &b->frame, 0, frames, &reason), ==, 0);
        g_assert_cmpint(reason, ==, DROP_GSO_HEADER);
        b->frame.hdr.gso_type = 0x42;
        g_assert_cmpuint(offload_split(s, &b->frame, _DEVICE_OFFLOAD_ALL, frames, &reason), ==, 0);
        offload_split_free(s);
}

/* What the far end can do itself goes as it is. */
static void test_split_not_needed(void) {
        static const struct {
                bool v6, udp;
                uint8_t flags;
                uint32_t enough;
        } table[] = {
                { false, false, 0x10, DEVICE_OFFLOAD_CSUM | DEVICE_OFFLOAD_TSO4 },
                { true, false, 0x10, DEVICE_OFFLOAD_CSUM | DEVICE_OFFLOAD_TSO6 },
                { false, false, 0x90, DEVICE_OFFLOAD_CSUM | DEVICE_OFFLOAD_TSO4 | DEVICE_OFFLOAD_ECN },
                { true, true, 0, DEVICE_OFFLOAD_CSUM | DEVICE_OFFLOAD_USO },
        };
        g_autofree Built *b = g_malloc(sizeof(Built));
        OffloadSplit *s = offload_split_new();
        Frame frames[CUT_MAX];
        Drop reason;

        for (unsigned i = 0; i < ELEMENTSOF(table); i++) {
                Packet p = packet(5000);

                p.v6 = table[i].v6;
                p.udp = table[i].udp;
                p.flags = table[i].flags;
                build_super(b, &p, 1000);
                g_assert_cmpuint(offload_split(s, &b->frame, table[i].enough, frames, &reason), ==, 1);
                g_assert_cmpmem(&frames[0], sizeof(Frame), &b->frame, sizeof(Frame));
                for (uint32_t bit = 1; bit <= _DEVICE_OFFLOAD_ALL; bit <<= 1)
                        if (table[i].enough & bit)
                                g_assert_cmpuint(offload_split(s, &b->frame, table[i].enough & ~bit, frames, &reason), ==, 5);
        }

        Packet p = packet(5);
        build(b, &p, false);
        g_assert_cmpuint(offload_split(s, &b->frame, 0, frames, &reason), ==, 1);
        g_assert_cmpmem(&frames[0], sizeof(Frame), &b->frame, sizeof(Frame));
        offload_split_free(s);
}

/* ---- joining ---- */

#define BATCH FRAME_BATCH_MAX

typedef struct Batch {
        Built built[BATCH];
        Frame frames[BATCH];
        struct iovec store[BATCH * 4];
        unsigned n;
} Batch;

static void add(Batch *b, const Packet *p) {
        build(&b->built[b->n], p, false);
        b->frames[b->n] = b->built[b->n].frame;
        b->n++;
}

/* Appends the flow's next segment. */
static void add_next(Batch *b, Packet *p, size_t len) {
        p->len = len;
        add(b, p);
        p->seq += (uint32_t) len;
        p->id++;
}

static unsigned coalesce(Batch *b) {
        return offload_coalesce(b->frames, b->n, b->store, ELEMENTSOF(b->store));
}

/* Cutting, then joining what was cut: the same bytes and the same header. */
/* Whoever lacks anything is cut for; whoever lacks a kind of TCP segmentation is joined for. */
static void test_far_end(void) {
        for (uint32_t lacks = 0; lacks <= _DEVICE_OFFLOAD_ALL; lacks++) {
                uint32_t have = _DEVICE_OFFLOAD_ALL & ~lacks;

                g_assert_true(offload_must_cut(have) == (lacks != 0));
                g_assert_true(offload_must_join(have) == (lacks & DEVICE_OFFLOAD_TSO4 || lacks & DEVICE_OFFLOAD_TSO6));
        }
}

static void test_round_trip(void) {
        g_autofree Built *b = g_malloc(sizeof(Built));
        g_autofree uint8_t *out = g_malloc(FRAME_LEN_MAX), *copies = g_malloc(2 * FRAME_LEN_MAX);
        OffloadSplit *s = offload_split_new();
        Frame frames[CUT_MAX];
        struct iovec copied[CUT_MAX], store[CUT_MAX];
        Drop reason;

        for (unsigned round = 0; round < 400; round++) {
                uint16_t gso_size = (uint16_t) g_test_rand_int_range(1000, 9000);
                Packet p = packet((size_t) g_test_rand_int_range(gso_size + 8, 60000));
                uint32_t have = round & 32 ? DEVICE_OFFLOAD_CSUM : 0;

                p.v6 = round & 1;
                p.vlan = round & 2;
                p.no_df = round & 4;
                p.flags = round & 8 ? 0x99 : 0x10;
                p.options = round & 16 ? 40 : 0;
                if (p.len % gso_size > 0 && p.len % gso_size < 8)
                        p.len -= p.len % gso_size; /* too small a rest is left alone */
                build_super(b, &p, gso_size);

                unsigned n = offload_split(s, &b->frame, have, frames, &reason);
                size_t at = 0;
                for (unsigned i = 0; i < n; i++) {
                        copied[i] = (struct iovec){ copies + at, flatten(&frames[i], copies + at) };
                        at += copied[i].iov_len;
                        frames[i].iov = &copied[i];
                        frames[i].n_iov = 1;
                }
                g_assert_cmpuint(n, <=, FRAME_BATCH_MAX);
                g_assert_cmpuint(offload_coalesce(frames, n, store, ELEMENTSOF(store)), ==, 1);
                g_assert_cmpmem(out, flatten(&frames[0], out), b->bytes, b->len);
                g_assert_cmpmem(&frames[0].hdr, sizeof(frames[0].hdr), &b->frame.hdr, sizeof(b->frame.hdr));
                g_assert_true(offload_header_is_valid(&frames[0]));
        }
        offload_split_free(s);
}

static void test_join_interleaved(void) {
        g_autofree Batch *b = g_malloc0(sizeof(Batch));
        Packet flows[3] = { tcp4, tcp4, tcp4 }, other = packet(0);

        other.udp = true;
        flows[1].sport = 1025;
        flows[2].v6 = true;
        for (unsigned i = 0; i < 3; i++)
                flows[i].flags = 0x10;
        for (unsigned i = 0; i < 12; i++) {
                add_next(b, &flows[i % 3], 1000);
                if (i == 5)
                        add(b, &other);
        }
        g_assert_cmpuint(coalesce(b), ==, 4);
        for (unsigned i = 0; i < 3; i++) {
                g_assert_cmpuint(b->frames[i].len, ==, b->built[i].payload + 4000);
                g_assert_cmpuint(b->frames[i].n_iov, ==, 4);
                g_assert_true(offload_header_is_valid(&b->frames[i]));
        }
        g_assert_cmpuint(b->frames[3].len, ==, 42);
        g_assert_cmpint(b->frames[3].hdr.flags, ==, 0);
}

/* Two segments that differ in one thing stay two. */
static void test_not_joined(void) {
        enum { GAP, OVERLAP, ACK, WINDOW, PORT, TTL, TOS, SYN, RST, URG, NO_ACK_FLAG, ECE, CWR_LATER, OPTIONS, LONGER, AFTER_PSH, AFTER_FIN,
               AFTER_SHORT, EMPTY, BAD_SUM, BAD_SUM_FIRST, BAD_IP_SUM, BAD_IP_SUM_FIRST,
               ID_WITHOUT_DF, DF, PADDED, IS_SUPER, HEAD_SPLIT, URGENT_POINTER, N_CASES };

        for (int c = 0; c < N_CASES; c++)
                for (unsigned v6 = 0; v6 < 2; v6++) {
                        g_autofree Batch *b = g_malloc0(sizeof(Batch));
                        Packet p = tcp4;
                        Built *first = &b->built[0], *second = &b->built[1];

                        if (v6 && (c == ID_WITHOUT_DF || c == DF || c == BAD_IP_SUM || c == BAD_IP_SUM_FIRST))
                                continue;
                        p.v6 = v6;
                        p.flags = c == AFTER_PSH ? 0x18 : c == AFTER_FIN ? 0x11 : c == URG ? 0x30 : 0x10;
                        if (c == NO_ACK_FLAG)
                                p.flags = 0;
                        p.no_df = c == ID_WITHOUT_DF;
                        add_next(b, &p, 1000);
                        p.len = c == LONGER ? 1001 : c == EMPTY ? 0 : 1000;
                        p.seq += c == GAP ? 1 : c == OVERLAP ? UINT32_MAX : 0;
                        p.ack += c == ACK;
                        p.window = (uint16_t) (p.window + (c == WINDOW));
                        p.sport = (uint16_t) (p.sport + (c == PORT));
                        p.ttl = (uint8_t) (p.ttl + (c == TTL));
                        p.tos = (uint8_t) (p.tos + 4 * (c == TOS));
                        p.flags |= c == SYN ? 2 : c == RST ? 4 : c == ECE ? 0x40 : c == CWR_LATER ? 0x80 : 0;
                        p.id = (uint16_t) (p.id + (c == ID_WITHOUT_DF));
                        p.no_df |= c == DF;
                        p.options = c == OPTIONS ? 8 : p.options;
                        if (c == AFTER_SHORT) {
                                add_next(b, &p, 999);
                                g_assert_cmpuint(b->n, ==, 2);
                        }
                        add(b, &p);
                        if (c == BAD_SUM)
                                second->bytes[second->len - 1] ^= 1;
                        if (c == BAD_SUM_FIRST)
                                first->bytes[first->len - 1] ^= 1;
                        if (c == BAD_IP_SUM)
                                second->bytes[second->l3 + 10] ^= 1;
                        if (c == BAD_IP_SUM_FIRST)
                                first->bytes[first->l3 + 10] ^= 1;
                        if (c == PADDED) {
                                b->frames[1].len++;
                                second->iov[0].iov_len++;
                        }
                        if (c == IS_SUPER) {
                                build_super(second, &p, 500);
                                b->frames[1] = second->frame;
                        }
                        if (c == HEAD_SPLIT) {
                                scatter(second, 3, false);
                                b->frames[1].n_iov = 3;
                        }
                        if (c == URGENT_POINTER) {
                                uint8_t *l4 = second->bytes + second->l4;

                                put16(l4 + 18, 1);
                                put16(l4 + 16, 0);
                                put16(l4 + 16, (uint16_t) ~slow_sum(l4, second->len - second->l4,
                                                                    slow_pseudo(second->bytes + 14, v6, IPPROTO_TCP,
                                                                                second->len - second->l4)));
                        }
                        uint8_t keep = second->bytes[second->l4 + 13];

                        unsigned before = b->n, after = coalesce(b);
                        if (after != (c == AFTER_SHORT ? before - 1 : before))
                                g_error("case %d of IPv%d was joined", c, v6 ? 6 : 4);
                        g_assert_cmpint(second->bytes[second->l4 + 13], ==, keep);
                }
}

/* A segment that cannot be appended begins a run of its own. */
static void test_join_restarts(void) {
        g_autofree Batch *b = g_malloc0(sizeof(Batch));
        Packet p = tcp4;

        p.flags = 0x10;
        add_next(b, &p, 1000);
        add_next(b, &p, 1000);
        p.seq += 5000;
        add_next(b, &p, 700);
        add_next(b, &p, 700);
        p.flags = 0x18;
        add_next(b, &p, 300);
        p.flags = 0x10;
        add_next(b, &p, 700);
        g_assert_cmpuint(coalesce(b), ==, 3);
        g_assert_cmpuint(b->frames[0].len, ==, b->built[0].payload + 2000);
        g_assert_cmpuint(b->frames[1].len, ==, b->built[0].payload + 1700);
        g_assert_cmpuint(le16toh(b->frames[1].hdr.gso_size), ==, 700);
        g_assert_cmphex(b->built[2].bytes[b->built[2].l4 + 13], ==, 0x18); /* PSH of the last */
        g_assert_cmpuint(b->frames[2].len, ==, b->built[0].payload + 700);
        g_assert_cmpint(b->frames[2].hdr.gso_type, ==, VIRTIO_NET_HDR_GSO_NONE);
}

static void test_join_limits(void) {
        g_autofree Batch *b = g_malloc0(sizeof(Batch));
        Packet p = tcp4;

        /* The longest packet: 65535 bytes with its IP header, exactly, then one more segment. */
        p.flags = 0x10;
        size_t mss = (65535 - 20 - 32) / 7;
        for (unsigned i = 0; i < 8; i++)
                add_next(b, &p, mss);
        g_assert_cmpuint((65535 - 20 - 32) % 7, ==, 5);
        g_assert_cmpuint(coalesce(b), ==, 2);
        g_assert_cmpuint(b->frames[0].len, ==, b->built[0].payload + 7 * mss);

        /* 65535 exactly; and with a tag, where the frame is what ends it. */
        for (unsigned k = 0; k < 4; k++) {
                size_t room = (k & 1 ? 8 : 12) + (k & 2 ? 1 : 0); /* 12 bytes are left by 7 segments one byte less; a tag takes 4 */

                p.vlan = k & 1;
                b->n = 0;
                for (unsigned i = 0; i < 8; i++)
                        add_next(b, &p, i < 7 ? mss - 1 : room);
                g_assert_cmpuint(coalesce(b), ==, k & 2 ? 2 : 1);
        }
        p.vlan = false;

        /* All of a batch, one piece each: as many pieces as a frame may have. */
        b->n = 0;
        for (unsigned i = 0; i < BATCH; i++)
                add_next(b, &p, 500);
        g_assert_cmpuint(coalesce(b), ==, 1);
        g_assert_cmpuint(b->frames[0].n_iov, ==, FRAME_IOV_MAX);

        /* Two pieces each, the headers in a piece of their own or not. */
        for (unsigned keep = 0; keep < 2; keep++) {
                b->n = 0;
                for (unsigned i = 0; i < 40; i++) {
                        add_next(b, &p, 500);
                        if (keep)
                                scatter(&b->built[i], 2, true);
                        else {
                                b->built[i].iov[0].iov_len = b->built[i].payload + 10;
                                b->built[i].iov[1] = (struct iovec){ b->built[i].bytes + b->built[i].payload + 10, 490 };
                        }
                        b->frames[i].n_iov = 2;
                }
                unsigned n = coalesce(b);
                g_assert_cmpuint(n, ==, 2);
                g_assert_cmpuint(b->frames[0].n_iov, <=, FRAME_IOV_MAX);
                g_assert_cmpuint(b->frames[0].len + b->frames[1].len, ==, 2 * b->built[0].payload + 40 * 500);
        }
}

/* What is known of a checksum without adding it up. */
static void test_join_known_checksums(void) {
        static const struct {
                uint8_t flags;
                uint16_t start, offset;
                bool joined;
        } table[] = {
                { 0, 0, 0, false },
                { VIRTIO_NET_HDR_F_DATA_VALID, 0, 0, true },
                { VIRTIO_NET_HDR_F_NEEDS_CSUM, 34, 16, true },
                { VIRTIO_NET_HDR_F_NEEDS_CSUM, 34, 14, false },
                { VIRTIO_NET_HDR_F_NEEDS_CSUM, 36, 16, false },
        };
        g_autofree Batch *b = g_malloc0(sizeof(Batch));

        for (unsigned i = 0; i < ELEMENTSOF(table); i++) {
                Packet p = tcp4;

                p.flags = 0x10;
                b->n = 0;
                add_next(b, &p, 100);
                add_next(b, &p, 100);
                b->built[1].bytes[b->built[1].len - 1] ^= 1;
                b->frames[1].hdr.flags = table[i].flags;
                b->frames[1].hdr.csum_start = htole16(table[i].start);
                b->frames[1].hdr.csum_offset = htole16(table[i].offset);
                g_assert_cmpuint(coalesce(b), ==, table[i].joined ? 1 : 2);
        }

        /* The least payload that is joined. */
        for (size_t len = OFFLOAD_GSO_SIZE_MIN - 1; len <= OFFLOAD_GSO_SIZE_MIN; len++) {
                Packet p = tcp4;

                p.flags = 0x10;
                b->n = 0;
                add_next(b, &p, len);
                add_next(b, &p, len);
                g_assert_cmpuint(coalesce(b), ==, len < OFFLOAD_GSO_SIZE_MIN ? 2 : 1);
        }
}

static void test_join_store(void) {
        g_autofree Batch *b = g_malloc0(sizeof(Batch));
        Packet p = tcp4, q = tcp4;

        p.flags = q.flags = 0x10;
        q.sport++;
        for (unsigned room = 0; room <= 6; room++) {
                b->n = 0;
                for (unsigned i = 0; i < 3; i++) {
                        add_next(b, &p, 500);
                        add_next(b, &q, 500);
                }
                /* Two segments need two pieces, each further one more. */
                static const unsigned expected[] = { 6, 6, 5, 4, 4, 3, 2 };
                g_assert_cmpuint(offload_coalesce(b->frames, b->n, b->store, room), ==, expected[room]);
        }
}

static void test_join_many_flows(void) {
        g_autofree Batch *b = g_malloc0(sizeof(Batch));
        Packet flows[9];

        /* A ninth flow in parallel makes the first begin anew. */
        for (unsigned i = 0; i < 9; i++) {
                flows[i] = tcp4;
                flows[i].flags = 0x10;
                flows[i].sport = (uint16_t) (2000 + i);
                add_next(b, &flows[i], 100);
        }
        add_next(b, &flows[8], 100);
        add_next(b, &flows[1], 100);
        add_next(b, &flows[0], 100);
        g_assert_cmpuint(coalesce(b), ==, 10);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/offload/header/plain", test_header_plain);
        g_test_add_func("/offload/header/csum", test_header_csum);
        g_test_add_func("/offload/header/gso", test_header_gso);
        g_test_add_func("/offload/header/gso-lies", test_header_gso_lies);
        g_test_add_func("/offload/header/gso-sizes", test_header_gso_sizes);
        g_test_add_func("/offload/header/udp-limits", test_header_udp_limits);
        g_test_add_func("/offload/header/truncated", test_header_truncated);
        g_test_add_func("/offload/header/extensions", test_header_extensions);
        g_test_add_func("/offload/layout/lengths", test_layout_lengths);
        g_test_add_func("/offload/layout/refused", test_layout_refused);
        g_test_add_func("/offload/wide", test_wide);
        g_test_add_func("/offload/longest", test_longest);
        g_test_add_func("/offload/complete", test_complete);
        g_test_add_func("/offload/complete-odd-places", test_complete_odd_places);
        g_test_add_func("/offload/far-end", test_far_end);
        g_test_add_func("/offload/split", test_split);
        g_test_add_func("/offload/split-limits", test_split_limits);
        g_test_add_func("/offload/split-not-needed", test_split_not_needed);
        g_test_add_func("/offload/round-trip", test_round_trip);
        g_test_add_func("/offload/join/interleaved", test_join_interleaved);
        g_test_add_func("/offload/join/not-joined", test_not_joined);
        g_test_add_func("/offload/join/restarts", test_join_restarts);
        g_test_add_func("/offload/join/limits", test_join_limits);
        g_test_add_func("/offload/join/known-checksums", test_join_known_checksums);
        g_test_add_func("/offload/join/store", test_join_store);
        g_test_add_func("/offload/join/many-flows", test_join_many_flows);
        return g_test_run();
}
