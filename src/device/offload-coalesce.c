/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Joins neighbouring TCP segments into super-frames, for devices whose far end sends them one by one. What is joined could be
 * cut again into the same segments: only segments that differ in nothing but what cutting restores are joined.
 *
 * A run grows while its flow's segments follow each other. It ends with a segment shorter than the first, with PSH or FIN,
 * and with anything of the same flow that cannot be appended. Segments of other flows may lie between: they keep their order
 * among themselves, flows do not overtake their own.
 */

#include <netinet/ip.h>
#include <netinet/ip6.h>

#include "basic/iovcur.h"
#include "device/device.h"
#include "device/offload-private.h"

#define RUNS_OPEN_MAX 8 /* flows looked at in parallel; an older run ends when a ninth begins */
#define NO_FRAME UINT8_MAX

_Static_assert(FRAME_BATCH_MAX < NO_FRAME, "frames of a batch are counted in a byte");

bool offload_must_join(uint32_t have) {
        return (~have & (DEVICE_OFFLOAD_TSO4 | DEVICE_OFFLOAD_TSO6)) != 0;
}

typedef struct Run {
        OffloadLayout l;     /* of the first segment */
        uint8_t *head;       /* (borrowed) its headers, in one piece */
        uint32_t next_seq;
        uint32_t end;        /* where the joined packet would end */
        uint16_t mss;
        uint16_t n_segments, n_iov;
        uint8_t first, last; /* frames */
        uint8_t end_flags;   /* PSH and FIN of the last segment */
} Run;

typedef struct Joiner {
        Frame *frames;
        unsigned n_iov_left;           /* of the caller's store */
        unsigned n_runs;
        uint8_t next[FRAME_BATCH_MAX]; /* the frame appended to this one */
        bool joined[FRAME_BATCH_MAX];  /* is part of an earlier frame */
        uint16_t payload[FRAME_BATCH_MAX];
        Run runs[FRAME_BATCH_MAX];
        Run *open[RUNS_OPEN_MAX]; /* (nullable) */
        unsigned next_open;
} Joiner;

static const uint8_t *l4_of(const OffloadLayout *l, const uint8_t *head) {
        return head + l->l4;
}

/* Same Ethernet header (with tag), same addresses and ports. */
static bool same_flow(const Run *r, const OffloadLayout *l, const uint8_t *head) {
        size_t addrs = l->v6 ? offsetof(struct ip6_hdr, ip6_src) : offsetof(struct iphdr, saddr);

        return l->l3 == r->l.l3 && l->l4 == r->l.l4 && l->v6 == r->l.v6 && memcmp(head, r->head, l->l3) == 0 &&
                memcmp(head + l->l3 + addrs, r->head + l->l3 + addrs, l->v6 ? 2 * sizeof(struct in6_addr) : 8) == 0 &&
                memcmp(l4_of(l, head), l4_of(l, r->head), 4) == 0;
}

/* Everything of the IP header that cutting would copy or count up. */
static bool same_ip(const Run *r, const OffloadLayout *l, const uint8_t *head) {
        const uint8_t *a = head + l->l3, *b = r->head + l->l3;

        if (l->v6)
                return memcmp(a, b, 4) == 0 && a[offsetof(struct ip6_hdr, ip6_hlim)] == b[offsetof(struct ip6_hdr, ip6_hlim)];

        /* With DF set identifications mean nothing (RFC 6864 4.1), and Linux sends zeros there. */
        uint16_t frag = get_be16(a + offsetof(struct iphdr, frag_off));
        uint16_t id = get_be16(a + offsetof(struct iphdr, id)), first = get_be16(b + offsetof(struct iphdr, id));

        return a[offsetof(struct iphdr, tos)] == b[offsetof(struct iphdr, tos)] &&
                a[offsetof(struct iphdr, ttl)] == b[offsetof(struct iphdr, ttl)] &&
                frag == get_be16(b + offsetof(struct iphdr, frag_off)) &&
                (frag & IP_DF || id == (uint16_t) (first + r->n_segments));
}

/* Data offset, flags but those of the last segment, window, urgent pointer, acknowledgement, options. */
static bool same_tcp(const Run *r, const OffloadLayout *l, const uint8_t *head) {
        const uint8_t *a = l4_of(l, head), *b = l4_of(l, r->head);
        size_t len = l->payload - l->l4;

        return l->payload == r->l.payload && memcmp(a + 8, b + 8, 5) == 0 &&
                ((a[TCP_FLAGS_AT] ^ b[TCP_FLAGS_AT]) & ~(TCP_PSH | TCP_FIN | TCP_CWR)) == 0 &&
                !(a[TCP_FLAGS_AT] & TCP_CWR) && memcmp(a + 14, b + 14, 2) == 0 && memcmp(a + 18, b + 18, len - 18) == 0;
}

static bool checksum_is_good(const Frame *f, const OffloadLayout *l, const uint8_t *head) {
        /* Left open: then the data never crossed a wire. */
        if (f->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
                return le16toh(f->hdr.csum_start) == l->l4 && le16toh(f->hdr.csum_offset) == TCP_CHECK_AT;
        if (f->hdr.flags & VIRTIO_NET_HDR_F_DATA_VALID)
                return true;

        uint32_t len = l->end - l->l4;
        return checksum_fold(checksum_add_iov(f->iov, f->n_iov, l->l4, len, offload_pseudo_sum(l, head, len))) == 0xffff;
}

/* Joining writes the IP checksum anew: a wrong one must not become right by it. */
static bool ip_checksum_is_good(const OffloadLayout *l, const uint8_t *head) {
        return l->v6 || checksum_fold(checksum_add(head + l->l3, l->l4 - l->l3, 0)) == 0xffff;
}

/* May this segment be part of a super-frame at all? */
static bool is_joinable(const Frame *f, const OffloadLayout *l, const uint8_t *head) {
        uint8_t flags = l4_of(l, head)[TCP_FLAGS_AT];
        uint32_t len = l->end - l->payload;

        return f->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE && l->end == f->len &&
                l->l4 == l->l3 + (l->v6 ? sizeof(struct ip6_hdr) : sizeof(struct iphdr)) && /* no options, no extensions */
                (flags & (TCP_ACK | TCP_SYN | TCP_RST | TCP_URG)) == TCP_ACK && len >= OFFLOAD_GSO_SIZE_MIN &&
                ip_checksum_is_good(l, head) && checksum_is_good(f, l, head);
}

static bool append(Joiner *j, Run *r, unsigned i, const OffloadLayout *l, const uint8_t *head) {
        const Frame *f = &j->frames[i];
        uint32_t len = l->end - l->payload;
        /* At most: headers in the first piece alone leave one piece less. */
        unsigned n_first = r->n_segments == 1 ? r->n_iov : 0;

        if (get_be32(l4_of(l, head) + 4) != r->next_seq || len > r->mss || !same_ip(r, l, head) || !same_tcp(r, l, head))
                return false;
        /* A tag makes the longest frame longer than the longest packet. */
        if (r->end + len > r->l.l3 + 65535u || r->end + len > FRAME_LEN_MAX || r->n_iov + f->n_iov > FRAME_IOV_MAX ||
            n_first + f->n_iov > j->n_iov_left)
                return false;

        j->next[r->last] = (uint8_t) i;
        j->joined[i] = true;
        j->payload[i] = l->payload;
        j->n_iov_left -= n_first + f->n_iov;
        r->last = (uint8_t) i;
        r->n_segments++;
        r->n_iov = (uint16_t) (r->n_iov + f->n_iov);
        r->next_seq += len;
        r->end += len;
        r->end_flags = l4_of(l, head)[TCP_FLAGS_AT] & (TCP_PSH | TCP_FIN);
        return true;
}

static Run *begin(Joiner *j, unsigned i, const OffloadLayout *l, uint8_t *head) {
        Run *r = &j->runs[j->n_runs++];
        uint32_t len = l->end - l->payload;

        *r = (Run){
                .l = *l,
                .head = head,
                .next_seq = get_be32(l4_of(l, head) + 4) + len,
                .end = l->end,
                .mss = (uint16_t) len,
                .n_segments = 1,
                .n_iov = (uint16_t) j->frames[i].n_iov,
                .first = (uint8_t) i,
                .last = (uint8_t) i, /* of a segment with neither PSH nor FIN: one with them is a run of one */
        };
        return r;
}

/* Looks at one frame: appends it to its flow's run, or ends that and begins another. */
static void look_at(Joiner *j, unsigned i) {
        const Frame *f = &j->frames[i];
        Run **slot = NULL;
        OffloadLayout l;

        j->next[i] = NO_FRAME;
        if (!offload_layout_read(f, &l) || l.proto != IPPROTO_TCP)
                return;
        if (f->iov[0].iov_len < l.payload) {
                /* Which flow it is of cannot be seen in place: nothing may overtake it. */
                memset(j->open, 0, sizeof(j->open));
                return;
        }

        uint8_t *head = f->iov[0].iov_base;
        for (unsigned k = 0; k < RUNS_OPEN_MAX && !slot; k++)
                if (j->open[k] && same_flow(j->open[k], &l, head))
                        slot = &j->open[k];

        bool joinable = is_joinable(f, &l, head);
        if (slot) {
                if (joinable && append(j, *slot, i, &l, head)) {
                        if ((*slot)->end_flags || l.end - l.payload < (*slot)->mss)
                                *slot = NULL;
                        return;
                }
                *slot = NULL;
        }
        if (!joinable || (l4_of(&l, head)[TCP_FLAGS_AT] & (TCP_PSH | TCP_FIN)))
                return;

        if (!slot)
                slot = &j->open[j->next_open++ % RUNS_OPEN_MAX];
        *slot = begin(j, i, &l, head);
}

/* Gathers the pieces of a run in @iov and makes its first frame the super-frame. Returns how many pieces. */
static unsigned finish(Joiner *j, const Run *r, struct iovec *iov) {
        Frame *f = &j->frames[r->first];
        uint8_t *l4 = r->head + r->l.l4;
        uint8_t cwr = l4[TCP_FLAGS_AT] & TCP_CWR, type = r->l.v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
        unsigned n = 0;

        for (unsigned i = r->first; i != NO_FRAME; i = j->next[i]) {
                IovCur c = iovcur_make(j->frames[i].iov, j->frames[i].n_iov, j->frames[i].len);

                (void) iovcur_skip(&c, i == r->first ? 0 : j->payload[i]); /* append() saw them to be there */
                n += iovcur_slice(&c, iovcur_left(&c), iov + n, FRAME_IOV_MAX - n);
        }

        offload_set_ip_len(&r->l, r->head, r->end);
        l4[TCP_FLAGS_AT] |= r->end_flags;
        put_be16(l4 + TCP_CHECK_AT, checksum_fold(offload_pseudo_sum(&r->l, r->head, r->end - r->l.l4)));

        *f = (Frame){
                .hdr = {
                        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                        .gso_type = cwr ? type | VIRTIO_NET_HDR_GSO_ECN : type,
                        .hdr_len = htole16(r->l.payload),
                        .gso_size = htole16(r->mss),
                        .csum_start = htole16(r->l.l4),
                        .csum_offset = htole16(TCP_CHECK_AT),
                },
                .iov = iov,
                .n_iov = n,
                .len = r->end,
        };
        return n;
}

unsigned offload_coalesce(Frame *frames, unsigned n, struct iovec *iov_store, unsigned n_iov_store) {
        Joiner j; /* not zeroed as a whole: it is read only where it was written */
        unsigned n_left = 0, n_used = 0;

        assert(n <= FRAME_BATCH_MAX);
        if (n < 2)
                return n;

        j.frames = frames;
        j.n_iov_left = n_iov_store;
        j.n_runs = j.next_open = 0;
        memset(j.joined, 0, sizeof(j.joined));
        memset(j.open, 0, sizeof(j.open));

        for (unsigned i = 0; i < n; i++)
                look_at(&j, i);
        for (unsigned k = 0; k < j.n_runs; k++)
                if (j.runs[k].n_segments > 1)
                        n_used += finish(&j, &j.runs[k], iov_store + n_used);
        if (n_used == 0)
                return n;

        for (unsigned i = 0; i < n; i++)
                if (!j.joined[i])
                        frames[n_left++] = frames[i];
        return n_left;
}
