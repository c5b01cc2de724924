/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The Internet checksum. Adds 64 bytes at a time into 64-bit lanes and folds once at the end: 2^16 is 1 modulo 65535, so any
 * split of the bytes into wider words has the same sum (RFC 1071 2). Reads at any alignment, writes nothing, allocates nothing.
 */

#include <endian.h>

#include "basic/checksum.h"

/* Four 64-bit lanes: the compiler's plain vector arithmetic, in as many registers as the machine needs. */
typedef uint64_t Lanes __attribute__((vector_size(32)));
#define N_LANES (sizeof(Lanes) / sizeof(uint64_t))

static inline uint64_t fold64(uint64_t sum) {
        return (sum & UINT32_MAX) + (sum >> 32);
}

/* Adds the 32-bit halves of pairs of blocks, in the machine's byte order. No carry is lost before 2^32 blocks. */
static inline __attribute__((always_inline)) uint64_t sum_pairs(const uint8_t *p, size_t n_pairs) {
        const Lanes low = { UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX };
        Lanes a = {}, b = {}, c = {}, d = {};
        uint64_t sum = 0;

        for (size_t i = 0; i < n_pairs; i++, p += 2 * sizeof(Lanes)) {
                Lanes v, w;

                memcpy(&v, p, sizeof(v));
                memcpy(&w, p + sizeof(v), sizeof(w));
                a += v & low;
                b += v >> 32;
                c += w & low;
                d += w >> 32;
        }
        for (size_t i = 0; i < N_LANES; i++)
                sum += fold64(a[i]) + fold64(b[i]) + fold64(c[i]) + fold64(d[i]);
        return sum;
}

#ifdef __x86_64__
/* A long frame is summed four times as fast with registers as wide as the lanes, which a program for any x86-64 may not take for granted. */
__attribute__((target("avx2"))) static uint64_t sum_pairs_avx2(const uint8_t *p, size_t n_pairs) {
        return sum_pairs(p, n_pairs);
}

static uint64_t sum_blocks(const uint8_t *p, size_t n_pairs) {
        return __builtin_cpu_supports("avx2") ? sum_pairs_avx2(p, n_pairs) : sum_pairs(p, n_pairs);
}
#else
static uint64_t sum_blocks(const uint8_t *p, size_t n_pairs) {
        return sum_pairs(p, n_pairs);
}
#endif

/* The same of less than a pair. Each load has a length the compiler knows: gathered byte by byte, a word is read before its bytes have
 * reached the cache, and what is left of a frame of 1,500 bytes would take longer than all the rest of it. */
static inline uint64_t sum_rest(const uint8_t *p, size_t len) {
        uint64_t sum = 0, w;
        uint32_t half;
        uint16_t word = 0;

        for (; len >= sizeof(w); len -= sizeof(w), p += sizeof(w)) {
                memcpy(&w, p, sizeof(w));
                sum += (w & UINT32_MAX) + (w >> 32);
        }
        if (len & 4) {
                memcpy(&half, p, sizeof(half));
                sum += half;
                p += sizeof(half);
        }
        if (len & 2) {
                memcpy(&word, p, sizeof(word));
                sum += word;
                p += sizeof(word);
        }
        if (len & 1) {
                word = 0;
                memcpy(&word, p, 1);
                sum += word;
        }
        return sum;
}

/**
 * sum_native() - one's complement sum of 16-bit words of the machine's byte order
 * @data:       any alignment
 * @len:        bytes; an odd last one counts as the first of a word whose other half is zero
 *
 * Return: the sum, folded to 16 bits.
 */
static uint16_t sum_native(const void *data, size_t len) {
        size_t n_pairs = len / (2 * sizeof(Lanes));
        const uint8_t *p = data;
        uint64_t sum = 0;

        if (n_pairs > 0) {
                sum = sum_blocks(p, n_pairs);
                p += n_pairs * 2 * sizeof(Lanes);
                len -= n_pairs * 2 * sizeof(Lanes);
        }

        sum += sum_rest(p, len);
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
