/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The Internet checksum. Adds 16 bytes at a time into 64-bit lanes and folds once at the end: 2^16 is 1 modulo 65535, so any
 * split of the bytes into wider words has the same sum (RFC 1071 2). Reads at any alignment, writes nothing, allocates nothing.
 */

#include <endian.h>

#include "basic/checksum.h"

/* Two 64-bit lanes: the compiler's plain vector arithmetic, SSE2 or NEON where there is one. */
typedef uint64_t Lanes __attribute__((vector_size(16)));

static uint64_t fold64(uint64_t sum) {
        return (sum & UINT32_MAX) + (sum >> 32);
}

/* Adds the 32-bit halves of whole blocks, in the machine's byte order. No carry is lost before 2^32 blocks. */
static uint64_t sum_blocks(const uint8_t *p, size_t n_blocks) {
        const Lanes low = { UINT32_MAX, UINT32_MAX };
        Lanes a = {}, b = {};

        for (size_t i = 0; i < n_blocks; i++, p += sizeof(Lanes)) {
                Lanes w;

                memcpy(&w, p, sizeof(w));
                a += w & low;
                b += w >> 32;
        }

        return fold64(a[0]) + fold64(a[1]) + fold64(b[0]) + fold64(b[1]);
}

/**
 * sum_native() - one's complement sum of 16-bit words of the machine's byte order
 * @data:       any alignment
 * @len:        bytes; an odd last one counts as the first of a word whose other half is zero
 *
 * Return: the sum, folded to 16 bits.
 */
static uint16_t sum_native(const void *data, size_t len) {
        size_t n_blocks = len / sizeof(Lanes);
        const uint8_t *p = data;
        uint64_t sum = 0;

        if (n_blocks > 0) {
                sum = sum_blocks(p, n_blocks);
                p += n_blocks * sizeof(Lanes);
                len -= n_blocks * sizeof(Lanes);
        }

        while (len > 0) {
                uint32_t w = 0;
                size_t n = MIN(len, sizeof(w));

                memcpy(&w, p, n);
                sum += w;
                p += n;
                len -= n;
        }

        return checksum_fold((uint32_t) fold64(fold64(sum)));
}

static uint32_t sum_join(uint32_t a, uint32_t b) {
        return (uint32_t) fold64((uint64_t) a + b);
}

uint32_t checksum_add(const void *data, size_t len, uint32_t sum) {
        /* The sum of swapped words is the swapped sum (RFC 1071 2.B): one swap here instead of one a word. */
        return sum_join(sum, be16toh(sum_native(data, len)));
}

/**
 * checksum_add_iov() - sum a range of an iovec
 * @iov:        pieces (array of @n_iov), each of any length and alignment, empty ones too
 * @off:        where the range begins
 * @len:        how long it is; what lies past the end of the iovec counts as zero
 * @sum:        partial sum to continue; the range begins at an even place of it
 *
 * A piece that begins at an odd place of the range has its bytes in each other's halves: its sum is swapped.
 */
uint32_t checksum_add_iov(const struct iovec *iov, unsigned n_iov, size_t off, size_t len, uint32_t sum) {
        bool odd = false;

        for (unsigned i = 0; i < n_iov && len > 0; i++) {
                if (off >= iov[i].iov_len) {
                        off -= iov[i].iov_len;
                        continue;
                }

                size_t n = MIN(iov[i].iov_len - off, len);
                uint16_t part = be16toh(sum_native((const uint8_t *) iov[i].iov_base + off, n));

                sum = sum_join(sum, odd ? __builtin_bswap16(part) : part);
                odd ^= n & 1;
                len -= n;
                off = 0;
        }
        return sum;
}

uint32_t checksum_pseudo(const IpAddr *src, const IpAddr *dst, uint8_t proto, uint32_t l4_len) {
        uint32_t sum = (l4_len >> 16) + (l4_len & 0xffff) + proto;
        size_t skip = ip_is_v4(src) ? 12 : 0; /* an IPv4 address is the last four bytes */

        sum = checksum_add(src->b + skip, sizeof(src->b) - skip, sum);
        return checksum_add(dst->b + skip, sizeof(dst->b) - skip, sum);
}
