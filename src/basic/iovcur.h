/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A bounded cursor over an iovec: the only way this house reads hostile bytes. Every accessor says NULL or false when the
 * bytes are not there; the cursor then has not moved. It never writes, never allocates, and cannot leave its iovec.
 */

#include <sys/uio.h>

#include "basic/macro.h"

typedef struct IovCur {
        const struct iovec *iov; /* (borrowed) current piece */
        unsigned n_iov;          /* pieces left, the current one included */
        size_t off;              /* into the current piece */
        size_t left;             /* bytes left in all */
} IovCur;

/* @len: how many of the iovec's bytes may be read; more than it holds is cut to what it holds. */
IovCur iovcur_make(const struct iovec *iov, unsigned n_iov, size_t len);
IovCur iovcur_from_buf(struct iovec *store, const void *buf, size_t len);

static inline size_t iovcur_left(const IovCur *c) {
        return c->left;
}

/* Returns @len bytes at the cursor, in place where they are contiguous, else copied to @store (at least @len bytes);
 * advances. NULL when short. Alignment is not promised when in place: use memcpy or packed structs. */
const void *iovcur_pull(IovCur *c, void *store, size_t len);
#define IOVCUR_PULL(c, store) ((__typeof__(store)) iovcur_pull((c), (store), sizeof(*(store))))

/* The same without advancing. */
const void *iovcur_peek(const IovCur *c, void *store, size_t len);

bool iovcur_copy(IovCur *c, void *dst, size_t len); /* copies out and advances */
bool iovcur_skip(IovCur *c, size_t len);
bool iovcur_trim(IovCur *c, size_t len); /* keeps only the next @len bytes; false when there are fewer */

bool iovcur_u8(IovCur *c, uint8_t *ret);
bool iovcur_be16(IovCur *c, uint16_t *ret); /* host byte order in @ret */
bool iovcur_be32(IovCur *c, uint32_t *ret);

/* Writes the pieces that hold the next @len bytes to @out (at most @n_out), advances, and returns their count;
 * 0 when short or when @n_out is too small (the cursor then has not moved). */
unsigned iovcur_slice(IovCur *c, size_t len, struct iovec *out, unsigned n_out);
