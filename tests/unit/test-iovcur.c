/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cursor: every accessor over every way to cut the same bytes, at every offset and length, against plain
 * memory. Each piece lives in an allocation of its exact size, so that a sanitizer sees one byte too many.
 */

#include <glib.h>

#include "basic/iovcur.h"

#define N_BYTES 10

static const uint8_t bytes[N_BYTES] = { 0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76, 0x87, 0x98, 0xa9 };

typedef struct Cut {
        struct iovec iov[2 * N_BYTES + 2];
        unsigned n;
} Cut;

/* Bit i of @mask: a cut after byte i. @empties: an empty piece before each, and one at the end. */
static void cut_make(Cut *c, unsigned mask, bool empties) {
        unsigned begin = 0;

        c->n = 0;
        for (unsigned i = 0; i < N_BYTES; i++) {
                if (i < N_BYTES - 1 && !(mask & 1u << i))
                        continue;
                if (empties)
                        c->iov[c->n++] = (struct iovec){};

                size_t len = i + 1 - begin;
                c->iov[c->n++] = (struct iovec){ .iov_base = g_memdup2(bytes + begin, len), .iov_len = len };
                begin = i + 1;
        }
        if (empties)
                c->iov[c->n++] = (struct iovec){};
}

static void cut_done(Cut *c) {
        for (unsigned i = 0; i < c->n; i++)
                g_free(c->iov[i].iov_base);
}

static void check_slice(IovCur c, size_t at, size_t len, unsigned n_pieces) {
        struct iovec out[2 * N_BYTES + 2];
        IovCur before = c;
        unsigned n = iovcur_slice(&c, len, out, ELEMENTSOF(out));
        size_t done = 0;

        if (len == 0 || at + len > N_BYTES) {
                g_assert_cmpuint(n, ==, 0);
                g_assert_cmpmem(&c, sizeof(c), &before, sizeof(before));
                return;
        }

        g_assert_cmpuint(n, >, 0);
        g_assert_cmpuint(n, <=, n_pieces);
        for (unsigned i = 0; i < n; i++) {
                g_assert_cmpuint(out[i].iov_len, >, 0);
                g_assert_cmpmem(out[i].iov_base, out[i].iov_len, bytes + at + done, out[i].iov_len);
                done += out[i].iov_len;
        }
        g_assert_cmpuint(done, ==, len);
        g_assert_cmpuint(iovcur_left(&c), ==, N_BYTES - at - len);

        /* one slot too few */
        c = before;
        g_assert_cmpuint(iovcur_slice(&c, len, out, n - 1), ==, 0);
        g_assert_cmpmem(&c, sizeof(c), &before, sizeof(before));
}

/* All accessors with the cursor at @at, asked for @len bytes. */
static void check_at(IovCur c, size_t at, size_t len, unsigned n_pieces) {
        uint8_t store[N_BYTES + 4];
        const IovCur before = c;
        bool there = at + len <= N_BYTES;
        const void *p;

        p = iovcur_peek(&c, store, len);
        g_assert_true((p != NULL) == there);
        g_assert_cmpmem(&c, sizeof(c), &before, sizeof(before));

        p = iovcur_pull(&c, store, len);
        g_assert_true((p != NULL) == there);
        if (there)
                g_assert_cmpmem(p, len, bytes + at, len);
        else
                g_assert_cmpmem(&c, sizeof(c), &before, sizeof(before));
        g_assert_cmpuint(iovcur_left(&c), ==, N_BYTES - at - (there ? len : 0));

        c = before;
        g_assert_true(iovcur_copy(&c, store, len) == there);
        if (there)
                g_assert_cmpmem(store, len, bytes + at, len);
        g_assert_cmpuint(iovcur_left(&c), ==, N_BYTES - at - (there ? len : 0));

        c = before;
        g_assert_true(iovcur_skip(&c, len) == there);
        if (there && at + len < N_BYTES) {
                uint8_t next = 0;

                g_assert_true(iovcur_u8(&c, &next));
                g_assert_cmphex(next, ==, bytes[at + len]);
        } else if (!there)
                g_assert_cmpmem(&c, sizeof(c), &before, sizeof(before));

        c = before;
        g_assert_true(iovcur_trim(&c, len) == there);
        g_assert_cmpuint(iovcur_left(&c), ==, there ? len : N_BYTES - at);
        if (there) {
                g_assert_false(iovcur_skip(&c, len + 1));
                g_assert_true(iovcur_copy(&c, store, len));
                g_assert_cmpmem(store, len, bytes + at, len);
                g_assert_false(iovcur_u8(&c, store));
        }

        check_slice(before, at, len, n_pieces);
}

static void test_all_cuts(void) {
        for (unsigned mask = 0; mask < 1u << (N_BYTES - 1); mask++)
                for (unsigned empties = 0; empties < 2; empties++) {
                        Cut cut;

                        cut_make(&cut, mask, empties);
                        for (size_t at = 0; at <= N_BYTES; at++) {
                                IovCur c = iovcur_make(cut.iov, cut.n, SIZE_MAX);

                                g_assert_cmpuint(iovcur_left(&c), ==, N_BYTES);
                                g_assert_true(iovcur_skip(&c, at));
                                for (size_t len = 0; len <= N_BYTES + 2; len++)
                                        check_at(c, at, len, cut.n);
                        }
                        cut_done(&cut);
                }
}

static void test_numbers(void) {
        struct iovec store, iov[] = {
                { .iov_base = (void *) bytes, .iov_len = 1 },
                { .iov_base = (void *) (bytes + 1), .iov_len = 9 },
        };
        IovCur c = iovcur_make(iov, 2, 8);
        uint16_t v16 = 0;
        uint32_t v32 = 0;
        uint8_t v8 = 0;

        g_assert_true(iovcur_be16(&c, &v16));
        g_assert_cmphex(v16, ==, 0x1021);
        g_assert_true(iovcur_u8(&c, &v8));
        g_assert_cmphex(v8, ==, 0x32);
        g_assert_true(iovcur_be32(&c, &v32));
        g_assert_cmphex(v32, ==, 0x43546576);

        /* one byte left of the eight */
        g_assert_false(iovcur_be16(&c, &v16));
        g_assert_false(iovcur_be32(&c, &v32));
        g_assert_cmphex(v16, ==, 0x1021);
        g_assert_cmphex(v32, ==, 0x43546576);
        g_assert_true(iovcur_u8(&c, &v8));
        g_assert_false(iovcur_u8(&c, &v8));
        g_assert_cmphex(v8, ==, 0x87);

        c = iovcur_from_buf(&store, bytes, 2);
        uint16_t raw;
        const uint16_t *p = IOVCUR_PULL(&c, &raw);
        g_assert_true((const void *) p == bytes); /* in place */
        g_assert_null(IOVCUR_PULL(&c, &raw));
}

static void test_make(void) {
        struct iovec store, huge[] = {
                { .iov_base = (void *) bytes, .iov_len = SIZE_MAX },
                { .iov_base = (void *) bytes, .iov_len = SIZE_MAX },
        };
        IovCur c;

        c = iovcur_make(NULL, 0, 100);
        g_assert_cmpuint(iovcur_left(&c), ==, 0);
        g_assert_true(iovcur_skip(&c, 0));
        g_assert_false(iovcur_skip(&c, 1));

        /* sums that overflow are cut to what was asked for */
        c = iovcur_make(huge, 2, SIZE_MAX);
        g_assert_cmpuint(iovcur_left(&c), ==, SIZE_MAX);
        c = iovcur_make(huge, 2, 3);
        g_assert_cmpuint(iovcur_left(&c), ==, 3);
        g_assert_false(iovcur_skip(&c, SIZE_MAX));

        c = iovcur_from_buf(&store, NULL, 0);
        g_assert_cmpuint(iovcur_left(&c), ==, 0);
        c = iovcur_from_buf(&store, bytes, N_BYTES);
        g_assert_cmpuint(iovcur_left(&c), ==, N_BYTES);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/iovcur/all-cuts", test_all_cuts);
        g_test_add_func("/iovcur/numbers", test_numbers);
        g_test_add_func("/iovcur/make", test_make);
        return g_test_run();
}
