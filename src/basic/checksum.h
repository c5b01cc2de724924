/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The Internet checksum (RFC 1071), over buffers and iovecs, and the pseudo-headers of RFC 9293 3.1 and RFC 8200 8.1.
 * Partial sums are 32-bit one's complement sums of big-endian 16-bit words, in host order; fold and invert last. */

#include <sys/uio.h>

#include "basic/addr.h"

uint32_t checksum_add(const void *data, size_t len, uint32_t sum); /* @len even, or the last piece */
uint32_t checksum_add_iov(const struct iovec *iov, unsigned n_iov, size_t off, size_t len, uint32_t sum); /* pieces of any length */
uint32_t checksum_pseudo(const IpAddr *src, const IpAddr *dst, uint8_t proto, uint32_t l4_len); /* both of one family */

static inline uint16_t checksum_fold(uint32_t sum) { /* not inverted; host order */
        sum = (sum & 0xffff) + (sum >> 16);
        return (uint16_t) ((sum & 0xffff) + (sum >> 16));
}
static inline uint16_t checksum_finish(uint32_t sum) { /* inverted, in network byte order: ready for the header */
        return htons((uint16_t) ~checksum_fold(sum));
}
