/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bounded cursor over an iovec. Every length is compared with what is left before a byte is touched;
 * empty pieces are stepped over. Never writes to what it reads, never allocates.
 *
 * Invariant between calls: where left > 0, the current piece holds at least one byte past off.
 */

#include <endian.h>

#include "basic/iovcur.h"

/* Steps over pieces that are used up, so that the current one has a byte to give. */
static void iovcur_settle(IovCur *c) {
        while (c->left > 0 && c->off >= c->iov->iov_len) {
                c->off -= c->iov->iov_len;
                c->iov++;
                c->n_iov--;
        }
}

IovCur iovcur_make(const struct iovec *iov, unsigned n_iov, size_t len) {
        size_t held = 0;

        /* The sum cannot overflow: it stops at @len. */
        for (unsigned i = 0; i < n_iov && held < len; i++)
                held += MIN(iov[i].iov_len, len - held);

        IovCur c = { .iov = iov, .n_iov = n_iov, .left = held };
        iovcur_settle(&c);
        return c;
}

IovCur iovcur_from_buf(struct iovec *store, const void *buf, size_t len) {
        *store = (struct iovec){ .iov_base = (void *) buf, .iov_len = len };
        return iovcur_make(store, 1, len);
}

bool iovcur_skip(IovCur *c, size_t len) {
        if (len > c->left)
                return false;

        c->left -= len;
        /* Not c->off + len in one go: with nothing left the walk over the pieces must still end at the last
         * one. */
        while (len > 0) {
                size_t n = MIN(len, c->iov->iov_len - c->off);

                c->off += n;
                len -= n;
                if (len > 0) {
                        c->iov++;
                        c->n_iov--;
                        c->off = 0;
                }
        }
        iovcur_settle(c);
        return true;
}

bool iovcur_copy(IovCur *c, void *dst, size_t len) {
        uint8_t *p = dst;

        if (len > c->left)
                return false;

        while (len > 0) {
                size_t n = MIN(len, c->iov->iov_len - c->off);

                memcpy(p, (const uint8_t *) c->iov->iov_base + c->off, n);
                (void) iovcur_skip(c, n);
                p += n;
                len -= n;
        }
        return true;
}

const void *iovcur_pull(IovCur *c, void *store, size_t len) {
        if (len > c->left)
                return NULL;
        if (len == 0)
                return store;

        if (likely(c->iov->iov_len - c->off >= len)) {
                const void *p = (const uint8_t *) c->iov->iov_base + c->off;

                (void) iovcur_skip(c, len);
                return p;
        }

        (void) iovcur_copy(c, store, len);
        return store;
}

const void *iovcur_peek(const IovCur *c, void *store, size_t len) {
        IovCur copy = *c;

        return iovcur_pull(&copy, store, len);
}

bool iovcur_trim(IovCur *c, size_t len) {
        if (len > c->left)
                return false;

        c->left = len;
        return true;
}

bool iovcur_u8(IovCur *c, uint8_t *ret) {
        return iovcur_copy(c, ret, sizeof(*ret));
}

bool iovcur_be16(IovCur *c, uint16_t *ret) {
        uint16_t v;

        if (!iovcur_copy(c, &v, sizeof(v)))
                return false;

        *ret = be16toh(v);
        return true;
}

bool iovcur_be32(IovCur *c, uint32_t *ret) {
        uint32_t v;

        if (!iovcur_copy(c, &v, sizeof(v)))
                return false;

        *ret = be32toh(v);
        return true;
}

unsigned iovcur_slice(IovCur *c, size_t len, struct iovec *out, unsigned n_out) {
        IovCur walk = *c;
        unsigned n = 0;

        if (len == 0 || len > c->left)
                return 0;

        while (len > 0) {
                if (n >= n_out)
                        return 0;

                size_t piece = MIN(len, walk.iov->iov_len - walk.off);

                out[n++] = (struct iovec){
                        .iov_base = (uint8_t *) walk.iov->iov_base + walk.off,
                        .iov_len = piece,
                };
                (void) iovcur_skip(&walk, piece);
                len -= piece;
        }

        *c = walk;
        return n;
}
