/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cuts super-frames and completes checksums for devices whose far end does neither. Payload is never copied unless it lies
 * in more pieces than a cut frame may have; every cut frame has a header of its own in the scratch memory.
 */

#include <netinet/ip.h>

#include "basic/iovcur.h"
#include "device/device.h"
#include "device/offload-private.h"

/* A header for each cut frame, and the pieces of payload: each cut ends one piece and begins another. */
#define SPLIT_IOV_MAX (2 * OFFLOAD_FRAMES_MAX + FRAME_IOV_MAX)

bool offload_must_cut(uint32_t have) {
        return have != _DEVICE_OFFLOAD_ALL;
}

struct OffloadSplit {
        struct {
                uint8_t room[OFFLOAD_HEADROOM];
                uint8_t bytes[OFFLOAD_HEAD_MAX];
        } heads[OFFLOAD_FRAMES_MAX];
        struct iovec iov[SPLIT_IOV_MAX];
        struct iovec linear_iov;
        uint8_t linear_room[OFFLOAD_HEADROOM], linear[FRAME_LEN_MAX];
};

OffloadSplit *offload_split_new(void) {
        return malloc(sizeof(OffloadSplit));
}

OffloadSplit *offload_split_free(OffloadSplit *s) {
        free(s);
        return NULL;
}

/* What the far end must do for this frame to go as it is. */
static uint32_t offloads_needed(const struct virtio_net_hdr_v1 *hdr) {
        uint32_t need = hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? DEVICE_OFFLOAD_CSUM : 0;

        if (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN)
                need |= DEVICE_OFFLOAD_ECN;
        switch (hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
        case VIRTIO_NET_HDR_GSO_TCPV4:
                return need | DEVICE_OFFLOAD_TSO4;
        case VIRTIO_NET_HDR_GSO_TCPV6:
                return need | DEVICE_OFFLOAD_TSO6;
        case VIRTIO_NET_HDR_GSO_UDP_L4:
                return need | DEVICE_OFFLOAD_USO;
        case VIRTIO_NET_HDR_GSO_NONE:
                return need;
        default:
                return UINT32_MAX; /* nobody has it */
        }
}

/* Copies the frame into one piece of scratch memory. */
static void linearise(OffloadSplit *s, Frame *f) {
        IovCur c = iovcur_make(f->iov, f->n_iov, f->len);

        (void) iovcur_copy(&c, s->linear, f->len); /* len is the sum of the pieces */
        s->linear_iov = (struct iovec){ s->linear, f->len };
        f->iov = &s->linear_iov;
        f->n_iov = 1;
}

/* 0 means "no checksum" in UDP and the same as 0xffff anywhere else, so 0 is never written. */
static void put_checksum(uint8_t *at, uint32_t sum) {
        uint16_t v = checksum_finish(sum);

        if (v == 0)
                v = 0xffff;
        memcpy(at, &v, sizeof(v));
}

/**
 * complete() - compute the checksum a frame left open
 * @s:          scratch
 * @f:          a valid frame with NEEDS_CSUM and no GSO type; its bytes stay as they are
 * @ret:        the frame with the checksum in it and an empty header
 *
 * Only the bytes up to the checksum are copied; the rest is borrowed.
 */
static void complete(OffloadSplit *s, const Frame *f, Frame *ret) {
        size_t start = le16toh(f->hdr.csum_start), at = start + le16toh(f->hdr.csum_offset), n_head = at + 2;
        uint32_t sum = checksum_add_iov(f->iov, f->n_iov, start, f->len - start, 0);
        Frame out = { .iov = f->iov, .n_iov = f->n_iov, .len = f->len };

        if (n_head > OFFLOAD_HEAD_MAX || f->n_iov >= FRAME_IOV_MAX) {
                linearise(s, &out);
                put_checksum(s->linear + at, sum);
        } else {
                IovCur c = iovcur_make(f->iov, f->n_iov, f->len);

                (void) iovcur_copy(&c, s->heads[0].bytes, n_head); /* a valid header points into its frame */
                put_checksum(s->heads[0].bytes + at, sum);
                s->iov[0] = (struct iovec){ s->heads[0].bytes, n_head };
                out.iov = s->iov;
                out.n_iov = 1 + iovcur_slice(&c, iovcur_left(&c), s->iov + 1, FRAME_IOV_MAX - 1);
        }
        *ret = out;
}

typedef struct Cut {
        const OffloadLayout *l;
        const uint8_t *head; /* of the super-frame */
        uint16_t gso_size;
        bool leave_csum; /* the far end completes checksums */
        unsigned n;      /* cut frames in all */
} Cut;

static void cut_tcp_header(const Cut *cut, unsigned i, uint8_t *tcp) {
        put_be32(tcp + 4, get_be32(tcp + 4) + i * cut->gso_size);
        if (i + 1 < cut->n)
                tcp[TCP_FLAGS_AT] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
        if (i > 0)
                tcp[TCP_FLAGS_AT] &= (uint8_t) ~TCP_CWR; /* RFC 3168 6.1.2: once for a window */
}

/* Fills in the header of the @i-th cut frame, @payload its pieces with @len bytes in all. */
static void cut_header(const Cut *cut, unsigned i, uint8_t *head, const struct iovec *payload, unsigned n_payload,
                       uint32_t len, struct virtio_net_hdr_v1 *ret_hdr) {
        const OffloadLayout *l = cut->l;
        uint8_t *l4 = head + l->l4, *check = l4 + (l->proto == IPPROTO_TCP ? TCP_CHECK_AT : UDP_CHECK_AT);
        uint32_t l4_len = l->payload - l->l4 + len, sum;

        memcpy(head, cut->head, l->payload);
        if (!l->v6) {
                uint8_t *id = head + l->l3 + offsetof(struct iphdr, id);

                put_be16(id, (uint16_t) (get_be16(id) + i));
        }
        offload_set_ip_len(l, head, l->payload + len);
        if (l->proto == IPPROTO_TCP)
                cut_tcp_header(cut, i, l4);
        else
                put_be16(l4 + 4, (uint16_t) l4_len);

        sum = offload_pseudo_sum(l, head, l4_len);
        if (cut->leave_csum) {
                put_be16(check, checksum_fold(sum));
                *ret_hdr = (struct virtio_net_hdr_v1){
                        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                        .csum_start = htole16(l->l4),
                        .csum_offset = htole16((uint16_t) (check - l4)),
                };
                return;
        }

        memset(check, 0, sizeof(uint16_t));
        sum = checksum_add(l4, l->payload - l->l4, sum);
        put_checksum(check, checksum_add_iov(payload, n_payload, 0, len, sum));
        *ret_hdr = (struct virtio_net_hdr_v1){};
}

/**
 * cut_frame() - cut a super-frame
 * @s:          scratch
 * @f:          a valid super-frame
 * @have:       DeviceOffload of the far end
 * @ret_frames: at least OFFLOAD_FRAMES_MAX
 *
 * Flags go as the kernel's own segmentation does it: FIN and PSH on the last, CWR on the first. IPv4 identifications count up.
 *
 * Return: how many frames; 0 when there would be more than OFFLOAD_FRAMES_MAX.
 */
static unsigned cut_frame(OffloadSplit *s, const Frame *f, uint32_t have, Frame *ret_frames) {
        uint8_t head[OFFLOAD_HEAD_MAX];
        Frame whole = *f;
        OffloadLayout l;
        IovCur c;

        if (!offload_layout_read(f, &l))
                return 0;
        if (f->n_iov >= FRAME_IOV_MAX)
                linearise(s, &whole); /* a cut frame has a header before the pieces */

        c = iovcur_make(whole.iov, whole.n_iov, l.end);
        (void) iovcur_copy(&c, head, l.payload);

        Cut cut = {
                .l = &l,
                .head = head,
                .gso_size = le16toh(f->hdr.gso_size),
                .leave_csum = have & DEVICE_OFFLOAD_CSUM,
                .n = MAX(DIV_ROUND_UP(l.end - l.payload, le16toh(f->hdr.gso_size)), 1u),
        };
        if (cut.n > OFFLOAD_FRAMES_MAX)
                return 0;

        struct iovec *iov = s->iov;
        for (unsigned i = 0; i < cut.n; i++) {
                uint32_t len = MIN((uint32_t) iovcur_left(&c), cut.gso_size);
                unsigned n = iovcur_slice(&c, len, iov + 1, FRAME_IOV_MAX - 1);

                cut_header(&cut, i, s->heads[i].bytes, iov + 1, n, len, &ret_frames[i].hdr);
                iov[0] = (struct iovec){ s->heads[i].bytes, l.payload };
                ret_frames[i].iov = iov;
                ret_frames[i].n_iov = n + 1;
                ret_frames[i].len = l.payload + len;
                iov += n + 1;
        }
        return cut.n;
}

unsigned offload_split(OffloadSplit *s, const Frame *f, uint32_t have, Frame *ret_frames, Drop *ret_reason) {
        uint32_t need = offloads_needed(&f->hdr);
        unsigned n;

        if ((need & ~have) == 0) {
                ret_frames[0] = *f;
                return 1;
        }
        if (f->len > FRAME_LEN_MAX || !offload_header_is_valid(f)) {
                *ret_reason = DROP_GSO_HEADER;
                return 0;
        }
        if (f->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE) {
                complete(s, f, ret_frames);
                return 1;
        }

        n = cut_frame(s, f, have, ret_frames);
        if (n == 0)
                *ret_reason = DROP_DEVICE_TOO_BIG;
        return n;
}
