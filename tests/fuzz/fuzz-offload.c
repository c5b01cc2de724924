/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Offloads: any header before any bytes, in any pieces; and any run of segments.
 *
 * Cutting: what a valid frame is cut into is valid, needs nothing the far end lacks, and no byte of payload is lost. Joining
 * and cutting again gives the frames that were there, but for what checksums and meaningless identifications may differ in.
 * The first byte of the input says which; checksums of segments are repaired where it asks, or hardly any would be joined.
 *
 *   cut:   mode, offloads, length of a piece, 12 bytes of header, frame
 *   join:  mode, then for each segment: flags, length (2, big endian), frame
 */

#include <netinet/in.h>
#include <string.h>

#include "device/device.h"
#include "device/offload-private.h"
#include "fuzz.h"

#define MODE_JOIN 1
#define MODE_REPAIR 2

typedef struct Copy {
        uint8_t *bytes; /* (owned) just as long as the frame: one byte further is a finding */
        struct iovec iov;
        Frame frame;
} Copy;

static void copy_of(const Frame *f, Copy *ret) {
        size_t at = 0;

        fuzz_check(f->n_iov >= 1 && f->n_iov <= FRAME_IOV_MAX && f->len <= FRAME_LEN_MAX);
        ret->bytes = malloc(f->len + !f->len);
        for (unsigned i = 0; i < f->n_iov; at += f->iov[i].iov_len, i++) {
                fuzz_check(f->iov[i].iov_len <= f->len - at);
                if (f->iov[i].iov_len > 0)
                        memcpy(ret->bytes + at, f->iov[i].iov_base, f->iov[i].iov_len);
        }
        fuzz_check(at == f->len);
        ret->iov = (struct iovec){ ret->bytes, f->len };
        ret->frame = (Frame){ .hdr = f->hdr, .iov = &ret->iov, .n_iov = 1, .len = f->len };
}

/* Cuts @f; every result is checked and copied. @ret: at least OFFLOAD_FRAMES_MAX. */
static unsigned cut(const Frame *f, uint32_t have, Copy *ret) {
        static Frame frames[OFFLOAD_FRAMES_MAX];
        OffloadSplit *s = offload_split_new();
        Drop reason = _DROP_MAX;
        unsigned n = offload_split(s, f, have, frames, &reason);

        fuzz_check(n <= OFFLOAD_FRAMES_MAX);
        fuzz_check(n > 0 || reason == DROP_GSO_HEADER || reason == DROP_DEVICE_TOO_BIG);
        for (unsigned i = 0; i < n; i++)
                copy_of(&frames[i], &ret[i]);
        offload_split_free(s);
        return n;
}

static void free_copies(Copy *copies, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                free(copies[i].bytes);
}

/* ---- cut ---- */

static void check_cut(const Frame *f, uint32_t have) {
        static Copy pieces[OFFLOAD_FRAMES_MAX];
        unsigned n = cut(f, have, pieces);
        OffloadLayout l, piece;
        size_t payload = 0;

        if (n == 1 && memcmp(&pieces[0].frame.hdr, &f->hdr, sizeof(f->hdr)) == 0)
                fuzz_check(pieces[0].frame.len == f->len);
        else
                for (unsigned i = 0; i < n; i++) {
                        fuzz_check(offload_header_is_valid(&pieces[i].frame));
                        fuzz_check(pieces[i].frame.hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE);
                        fuzz_check(have & DEVICE_OFFLOAD_CSUM || pieces[i].frame.hdr.flags == 0);
                }

        if (n > 1) {
                fuzz_check(offload_layout_read(f, &l));
                for (unsigned i = 0; i < n; i++) {
                        fuzz_check(offload_layout_read(&pieces[i].frame, &piece));
                        fuzz_check(piece.payload == l.payload && piece.end == pieces[i].frame.len);
                        payload += piece.end - piece.payload;
                }
                fuzz_check(payload == l.end - l.payload);
        }
        free_copies(pieces, n);
}

static void fuzz_cut(const uint8_t *data, size_t size) {
        struct iovec iov[FRAME_IOV_MAX];
        Frame f = { .iov = iov };

        if (size < 2 + sizeof(f.hdr))
                return;
        uint32_t have = data[0] & _DEVICE_OFFLOAD_ALL;
        size_t piece = data[1] + 1u;
        memcpy(&f.hdr, data + 2, sizeof(f.hdr));
        data += 2 + sizeof(f.hdr);
        size = MIN(size - 2 - sizeof(f.hdr), (size_t) FRAME_LEN_MAX);

        do {
                size_t n = f.n_iov + 1 == FRAME_IOV_MAX ? size : MIN(size, piece);

                iov[f.n_iov++] = (struct iovec){ (void *) data, n };
                f.len += (uint32_t) n;
                data += n;
                size -= n;
        } while (size > 0);

        if (offload_header_is_valid(&f))
                check_cut(&f, have);
        else
                check_cut(&f, 0); /* must not be acted on, nor harm */
}

/* ---- join ---- */

/* Makes checksums right and lengths true, so that segments get past the door. */
static void repair(Frame *f) {
        uint8_t *bytes = f->iov[0].iov_base;
        OffloadLayout l;
        uint16_t sum;

        if (f->len > ETH_HEADER_LEN + 40 && f->len <= ETH_HEADER_LEN + 65535)
                put_be16(bytes + ETH_HEADER_LEN + (bytes[ETH_HEADER_LEN] >> 4 == 6 ? 4 : 2),
                         (uint16_t) (f->len - ETH_HEADER_LEN - (bytes[ETH_HEADER_LEN] >> 4 == 6 ? 40 : 0)));
        if (!offload_layout_read(f, &l) || l.proto != IPPROTO_TCP)
                return;

        offload_set_ip_len(&l, bytes, l.end);
        memset(bytes + l.l4 + TCP_CHECK_AT, 0, sizeof(sum));
        sum = checksum_finish(checksum_add(bytes + l.l4, l.end - l.l4, offload_pseudo_sum(&l, bytes, l.end - l.l4)));
        memcpy(bytes + l.l4 + TCP_CHECK_AT, &sum, sizeof(sum));
}

/* Same bytes, but for the forms of a checksum and the identification of a packet that may not be fragmented. */
static bool same_segment(const Copy *a, const Copy *b) {
        OffloadLayout l, m;

        if (a->frame.len != b->frame.len)
                return false;
        if (memcmp(a->bytes, b->bytes, a->frame.len) == 0)
                return true;
        if (!offload_layout_read(&a->frame, &l) || !offload_layout_read(&b->frame, &m) || l.proto != IPPROTO_TCP)
                return false;

        for (size_t i = 0; i < a->frame.len; i++)
                if (a->bytes[i] != b->bytes[i] && i / 2 != (l.l4 + TCP_CHECK_AT) / 2u &&
                    (l.v6 || (i / 2 != (l.l3 + 10) / 2u && (i / 2 != (l.l3 + 4) / 2u || !(a->bytes[l.l3 + 6] & 0x40)))))
                        return false;
        return true;
}

static void check_join(Frame *frames, unsigned n) {
        static Copy before[FRAME_BATCH_MAX], after[OFFLOAD_FRAMES_MAX];
        struct iovec store[FRAME_BATCH_MAX];
        bool found[FRAME_BATCH_MAX] = {};
        unsigned n_joined, n_found = 0;

        for (unsigned i = 0; i < n; i++)
                copy_of(&frames[i], &before[i]);
        n_joined = offload_coalesce(frames, n, store, ELEMENTSOF(store));
        fuzz_check(n_joined <= n);

        for (unsigned i = 0; i < n_joined; i++) {
                fuzz_check(offload_header_is_valid(&frames[i]));
                unsigned n_after = cut(&frames[i], 0, after);

                fuzz_check(n_after >= 1);
                for (unsigned k = 0; k < n_after; k++) {
                        unsigned m = 0;

                        while (m < n && (found[m] || !same_segment(&before[m], &after[k])))
                                m++;
                        fuzz_check(m < n);
                        found[m] = true;
                        n_found++;
                }
                free_copies(after, n_after);
        }
        fuzz_check(n_found == n);
        free_copies(before, n);
}

static void fuzz_join(const uint8_t *data, size_t size, bool do_repair) {
        static Copy segments[FRAME_BATCH_MAX];
        Frame frames[FRAME_BATCH_MAX];
        unsigned n = 0;

        while (n < FRAME_BATCH_MAX && size >= 3) {
                size_t len = MIN(size - 3, (size_t) get_be16(data + 1));
                struct iovec iov = { (void *) (data + 3), len };
                Frame f = { .iov = &iov, .n_iov = 1, .len = (uint32_t) len };

                copy_of(&f, &segments[n]);
                segments[n].frame.hdr.flags = data[0] & VIRTIO_NET_HDR_F_DATA_VALID;
                if (do_repair) {
                        segments[n].frame.hdr.flags = 0;
                        repair(&segments[n].frame);
                }
                frames[n] = segments[n].frame;
                n++;
                data += 3 + len;
                size -= 3 + len;
        }
        check_join(frames, n);
        free_copies(segments, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 1)
                return 0;

        if (data[0] & MODE_JOIN)
                fuzz_join(data + 1, size - 1, data[0] & MODE_REPAIR);
        else
                fuzz_cut(data + 1, size - 1);
        return 0;
}
