/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TCP on the wire: headers and options, read through a bounded cursor and written. Decides nothing.
 * Options: MSS (RFC 9293 3.7.1), window scale and timestamps (RFC 7323), SACK (RFC 2018). Others are skipped.
 */

#include "netstack/ip.h"
#include "netstack/tcp-private.h"

enum {
        OPT_END = 0,
        OPT_NOP = 1,
        OPT_MSS = 2,
        OPT_WSCALE = 3,
        OPT_SACK_PERMITTED = 4,
        OPT_SACK = 5,
        OPT_TIMESTAMPS = 8,
};

static uint16_t get16(const uint8_t *p) {
        return (uint16_t) (p[0] << 8 | p[1]);
}
static uint32_t get32(const uint8_t *p) {
        return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}
static uint8_t *put16(uint8_t *p, uint16_t v) {
        p[0] = (uint8_t) (v >> 8);
        p[1] = (uint8_t) v;
        return p + 2;
}
static uint8_t *put32(uint8_t *p, uint32_t v) {
        p[0] = (uint8_t) (v >> 24);
        p[1] = (uint8_t) (v >> 16);
        p[2] = (uint8_t) (v >> 8);
        p[3] = (uint8_t) v;
        return p + 4;
}

/* One option of @len bytes in all at @o. A wrong length is ignored like an unknown kind. */
static void take_option(Segment *g, const uint8_t *o, uint8_t len) {
        switch (o[0]) {
        case OPT_MSS:
                if (len == 4)
                        g->mss = get16(o + 2);
                break;
        case OPT_WSCALE:
                if (len == 3) {
                        g->wscale = MIN(o[2], (uint8_t) 14); /* RFC 7323 2.3 */
                        g->has_wscale = true;
                }
                break;
        case OPT_SACK_PERMITTED:
                g->sack_permitted = len == 2;
                break;
        case OPT_TIMESTAMPS:
                if (len == 10) {
                        g->tsval = get32(o + 2);
                        g->tsecr = get32(o + 6);
                        g->has_ts = true;
                }
                break;
        case OPT_SACK:
                for (uint8_t at = 2; at + 8 <= len && g->n_sacks < TCP_SACKS_MAX; at += 8)
                        g->sacks[g->n_sacks++] = (SackRange){ get32(o + at), get32(o + at + 4) };
                break;
        default:
                break;
        }
}

static bool take_options(Segment *g, const uint8_t *o, size_t len) {
        while (len > 0) {
                if (o[0] == OPT_END)
                        return true;
                if (o[0] == OPT_NOP) {
                        o++, len--;
                        continue;
                }
                if (len < 2 || o[1] < 2 || o[1] > len)
                        return false;
                take_option(g, o, o[1]);
                len -= o[1];
                o += o[1];
        }
        return true;
}

bool segment_parse(Segment *g, IovCur *l4) {
        uint8_t store[20], option_store[40];
        const uint8_t *h = iovcur_pull(l4, store, sizeof(store));
        if (!h)
                return false;

        *g = (Segment){
                .src_port = get16(h),
                .dst_port = get16(h + 2),
                .seq = get32(h + 4),
                .ack = get32(h + 8),
                .flags = h[13] & 0x3f,
                .wnd = get16(h + 14),
        };
        size_t header_len = (size_t) (h[12] >> 4) * 4;
        if (header_len < sizeof(store))
                return false;
        if (header_len > sizeof(store)) {
                size_t n = header_len - sizeof(store);
                const uint8_t *o = iovcur_pull(l4, option_store, n);
                if (!o || !take_options(g, o, n))
                        return false;
        }
        g->len = (uint32_t) iovcur_left(l4);
        g->payload = *l4;
        return true;
}

uint32_t tcp_timestamp(const Netstack *s, const Flow *f) {
        return (uint32_t) (netstack_now(s) / USEC_PER_MSEC) + f->tcp.ts_offset;
}

/* The window field for what was promised: scaled except on a SYN (RFC 7323 2.2). */
static uint16_t window_field(const TcpFlow *t, bool syn) {
        uint32_t wnd = t->rcv_adv - t->rcv_nxt;
        if (seq_lt(t->rcv_adv, t->rcv_nxt))
                wnd = 0;
        if (!syn)
                wnd >>= t->rcv_wscale;
        return (uint16_t) MIN(wnd, 65535u);
}

static uint8_t *put_syn_options(uint8_t *p, const Netstack *s, const Flow *f) {
        const TcpFlow *t = &f->tcp;
        uint16_t mss = (uint16_t) (s->config.mtu - 20 - ip_header_len(&f->key.guest));
        *p++ = OPT_MSS, *p++ = 4;
        p = put16(p, mss);
        if (t->wscale_ok) {
                *p++ = OPT_NOP, *p++ = OPT_WSCALE, *p++ = 3, *p++ = t->rcv_wscale;
        }
        if (t->sack_ok) {
                *p++ = OPT_NOP, *p++ = OPT_NOP, *p++ = OPT_SACK_PERMITTED, *p++ = 2;
        }
        return p;
}

static uint8_t *put_sacks(uint8_t *p, const Flow *f) {
        SackRange blocks[TCP_SACKS_MAX];
        unsigned n = park_sacks(f, blocks, f->tcp.ts_ok ? 3 : 4);
        if (n == 0)
                return p;
        *p++ = OPT_NOP, *p++ = OPT_NOP, *p++ = OPT_SACK, *p++ = (uint8_t) (2 + 8 * n);
        for (unsigned i = 0; i < n; i++) {
                p = put32(p, blocks[i].start);
                p = put32(p, blocks[i].end);
        }
        return p;
}

size_t segment_build(Netstack *s, Flow *f, uint8_t *to, uint8_t flags, uint32_t seq, bool sack) {
        TcpFlow *t = &f->tcp;
        uint8_t *p = to;
        bool syn = flags & TCP_SYN, ack = flags & TCP_ACK;

        p = put16(p, f->key.remote_port);
        p = put16(p, f->key.guest_port);
        p = put32(p, seq);
        p = put32(p, ack ? t->rcv_nxt : 0);
        p += 1; /* data offset, below */
        *p++ = flags;
        p = put16(p, ack || syn ? window_field(t, syn) : 0);
        p = put32(p, 0); /* checksum (left to the far end), urgent pointer */

        if (syn)
                p = put_syn_options(p, s, f);
        if (t->ts_ok) {
                *p++ = OPT_NOP, *p++ = OPT_NOP, *p++ = OPT_TIMESTAMPS, *p++ = 10;
                p = put32(p, tcp_timestamp(s, f));
                p = put32(p, ack ? t->ts_recent : 0);
        }
        if (sack && t->sack_ok && !syn && t->parked)
                p = put_sacks(p, f);

        size_t len = (size_t) (p - to);
        to[12] = (uint8_t) (len / 4 << 4);
        if (ack)
                t->last_ack_sent = t->rcv_nxt;
        return len;
}

size_t segment_build_bare(uint8_t *to, const Segment *answered, uint8_t flags, uint32_t seq, uint32_t ack) {
        uint8_t *p = to;
        p = put16(p, answered->dst_port);
        p = put16(p, answered->src_port);
        p = put32(p, seq);
        p = put32(p, ack);
        *p++ = 5 << 4;
        *p++ = flags;
        p = put16(p, 0);
        p = put32(p, 0);
        return (size_t) (p - to);
}
