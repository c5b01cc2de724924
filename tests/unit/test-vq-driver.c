/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Driver side of a split virtqueue, with the test playing the device by hand on the ring's bytes: slots and indices over
 * the wrap (acceptance cases A4, A5), chains and free descriptors (A6), suppression, and every lie a device can tell.
 */

#include "core-vq/vq-driver.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "core-vq/vq-ring.h"

typedef struct Bench {
        void *mem, *tables;
        VqRing r;
        VqDriver *d;
} Bench;

static char buf[8][64];

static void bench_open(Bench *b, unsigned size, VqFeatures f, bool indirect) {
        VqLayout l;

        g_assert_cmpint(vq_layout_init(&l, size), ==, 0);
        b->mem = g_aligned_alloc0(1, l.total_len, 64);
        b->tables = indirect ? g_aligned_alloc0(1, vq_driver_indirect_len(size, 16), 64) : NULL;
        b->r = vq_ring_make(b->mem, (char *) b->mem + l.avail_off, (char *) b->mem + l.used_off, size);
        g_assert_cmpint(vq_driver_new(&b->d, &(VqDriverConfig) { .size = size, .features = f, .ring = b->mem,
                                                                 .indirect = b->tables, .indirect_max = 16 }), ==, 0);
}

static void bench_close(Bench *b) {
        b->d = vq_driver_free(b->d);
        g_aligned_free(b->mem);
        g_aligned_free(b->tables);
}

static int add(Bench *b, unsigned n_out, unsigned n_in, void *token) {
        struct iovec iov[8];
        VqChain c = { .out = iov, .in = iov + n_out, .n_out = n_out, .n_in = n_in, .token = token };

        for (unsigned i = 0; i < n_out + n_in; i++)
                iov[i] = (struct iovec) { buf[i], 64 };
        return vq_driver_add(b->d, &c, 1);
}

/* The device uses @id with @len. */
static void use(Bench *b, uint32_t id, uint32_t len) {
        uint16_t idx = vq_load16(&b->r.used->idx);

        vq_store32(&b->r.used->ring[idx & b->r.mask].id, id);
        vq_store32(&b->r.used->ring[idx & b->r.mask].len, len);
        vq_store16_release(&b->r.used->idx, (uint16_t) (idx + 1));
}

static uint16_t head_at(Bench *b, uint16_t idx) {
        return vq_load16(&b->r.avail->ring[idx & b->r.mask]);
}

/* Runs @n chains through, so that the indices stand at @n. */
static void advance(Bench *b, unsigned n) {
        VqUsed u;

        for (unsigned i = 0; i < n; i++) {
                g_assert_cmpint(add(b, 1, 0, NULL), ==, 1);
                (void) vq_driver_publish(b->d);
                use(b, head_at(b, (uint16_t) (vq_driver_published(b->d) - 1)), 0);
                g_assert_cmpint(vq_driver_reap(b->d, &u, 1), ==, 1);
        }
}

static void test_config(void) {
        _Alignas(64) static char mem[4096];
        VqDriver *d = NULL;

        g_assert_cmpint(vq_driver_new(&d, &(VqDriverConfig) { .size = 24, .ring = mem }), ==, -EINVAL);
        g_assert_cmpint(vq_driver_new(&d, &(VqDriverConfig) { .size = 0, .ring = mem }), ==, -EINVAL);
        g_assert_cmpint(vq_driver_new(&d, &(VqDriverConfig) { .size = 65536, .ring = mem }), ==, -EINVAL);
        g_assert_cmpint(vq_driver_new(&d, &(VqDriverConfig) { .size = 8, .ring = NULL }), ==, -EINVAL);
        g_assert_cmpint(vq_driver_new(&d, &(VqDriverConfig) { .size = 8, .ring = mem + 32 }), ==, -EINVAL);
        for (unsigned max = 0; max <= VQ_INDIRECT_MAX + 1; max += VQ_INDIRECT_MAX + 1)
                g_assert_cmpint(vq_driver_new(&d, &(VqDriverConfig) { .size = 8, .ring = mem, .indirect = mem + 2048, .indirect_max = max,
                                                                      .features = VQ_FEATURES(VQ_F_INDIRECT_DESC) }), ==, -EINVAL);
        g_assert_null(d);
        g_assert_null(vq_driver_free(NULL));
}

/* A4: where heads land and how the index runs, from 0, from 6, and over 65535. */
static void test_slots(void) {
        static const unsigned starts[] = { 0, 6, 65535 };

        for (unsigned i = 0; i < G_N_ELEMENTS(starts); i++) {
                Bench b;
                uint16_t s = (uint16_t) starts[i];

                bench_open(&b, 8, (VqFeatures) {}, false);
                advance(&b, starts[i]);
                for (unsigned k = 0; k < 3; k++)
                        g_assert_cmpint(add(&b, 1, 0, buf[k]), ==, 1);
                g_assert_cmpuint(vq_load16(&b.r.avail->idx), ==, s); /* unseen yet */
                g_assert_true(vq_driver_publish(b.d));
                g_assert_false(vq_driver_publish(b.d)); /* nothing new */
                g_assert_cmpuint(vq_load16(&b.r.avail->idx), ==, (uint16_t) (s + 3));
                for (unsigned k = 0; k < 3; k++) {
                        VqDescValue v = vq_desc_load(&b.r.desc[head_at(&b, (uint16_t) (s + k))]);

                        g_assert_cmphex(v.addr, ==, (uintptr_t) buf[0]);
                        g_assert_cmpuint(v.len, ==, 64);
                        g_assert_cmpuint(v.flags, ==, 0);
                }
                bench_close(&b);
        }
}

/* A5: what is new in the used ring, at the start, in the middle, over 65535; and none when nothing is. */
static void test_reap(void) {
        static const unsigned starts[] = { 1, 7, 65535 };

        for (unsigned i = 0; i < G_N_ELEMENTS(starts); i++) {
                Bench b;
                VqUsed u[8];
                uint16_t s = (uint16_t) starts[i];

                bench_open(&b, 8, (VqFeatures) {}, false);
                advance(&b, starts[i]);
                g_assert_false(vq_driver_pending(b.d));
                g_assert_cmpint(vq_driver_reap(b.d, u, 8), ==, 0);
                for (unsigned k = 0; k < 3; k++)
                        g_assert_cmpint(add(&b, 0, 2, buf[k]), ==, 1);
                (void) vq_driver_publish(b.d);
                g_assert_cmpint(vq_driver_reap(b.d, u, 8), ==, 0);
                for (unsigned k = 0; k < 3; k++)
                        use(&b, head_at(&b, (uint16_t) (s + k)), 10 + k);
                g_assert_true(vq_driver_pending(b.d));
                g_assert_cmpuint(vq_driver_outstanding(b.d), ==, 3);
                g_assert_cmpint(vq_driver_reap(b.d, u, 2), ==, 2); /* the caller's room bounds a batch */
                g_assert_cmpint(vq_driver_reap(b.d, u + 2, 6), ==, 1);
                for (unsigned k = 0; k < 3; k++) {
                        g_assert_true(u[k].token == buf[k]);
                        g_assert_cmpuint(u[k].len, ==, 10 + k);
                }
                g_assert_cmpuint(vq_driver_free_slots(b.d), ==, 8);
                bench_close(&b);
        }
}

/* A6: three chains fill the table exactly; freed out of order, the counts follow and everything can be used again. */
static void test_chains(void) {
        Bench b;
        VqUsed u;
        uint16_t heads[3];

        bench_open(&b, 8, (VqFeatures) {}, false);
        g_assert_cmpint(add(&b, 2, 1, buf[0]), ==, 1);
        g_assert_cmpint(add(&b, 0, 1, buf[1]), ==, 1);
        g_assert_cmpuint(vq_driver_free_slots(b.d), ==, 4);
        g_assert_cmpint(add(&b, 5, 0, NULL), ==, 0); /* no room */
        g_assert_cmpint(add(&b, 4, 0, buf[2]), ==, 1);
        g_assert_cmpuint(vq_driver_free_slots(b.d), ==, 0);
        g_assert_cmpint(add(&b, 1, 0, NULL), ==, 0);
        (void) vq_driver_publish(b.d);
        for (uint16_t k = 0; k < 3; k++)
                heads[k] = head_at(&b, k);

        VqDescValue v = vq_desc_load(&b.r.desc[heads[0]]);
        g_assert_cmpuint(v.flags, ==, VRING_DESC_F_NEXT);
        v = vq_desc_load(&b.r.desc[v.next]);
        g_assert_cmpuint(v.flags, ==, VRING_DESC_F_NEXT);
        v = vq_desc_load(&b.r.desc[v.next]);
        g_assert_cmpuint(v.flags, ==, VRING_DESC_F_WRITE);

        static const struct { unsigned k, free; } order[] = { { 2, 4 }, { 0, 7 }, { 1, 8 } };
        for (unsigned i = 0; i < 3; i++) {
                use(&b, heads[order[i].k], 0);
                g_assert_cmpint(vq_driver_reap(b.d, &u, 1), ==, 1);
                g_assert_true(u.token == buf[order[i].k]);
                g_assert_cmpuint(vq_driver_free_slots(b.d), ==, order[i].free);
        }
        g_assert_cmpint(add(&b, 6, 2, buf[3]), ==, 1); /* all eight in one */
        bench_close(&b);
}

/* Any order of completion: every token exactly once, descriptors conserved, chains never share one. */
static void test_random_order(void) {
        Bench b;
        uint16_t heads[64];
        bool held[64];
        unsigned n_out = 0;
        uintptr_t next_token = 1;
        uintptr_t tokens[64];

        bench_open(&b, 64, (VqFeatures) {}, false);
        for (unsigned step = 0; step < 20000; step++) {
                if (g_test_rand_bit()) {
                        unsigned n = (unsigned) g_test_rand_int_range(1, 8);
                        unsigned before = vq_driver_free_slots(b.d);

                        if (add(&b, n, 0, (void *) next_token) == 0) {
                                g_assert_cmpuint(before, <, n);
                                continue;
                        }
                        (void) vq_driver_publish(b.d);
                        heads[n_out] = head_at(&b, (uint16_t) (vq_driver_published(b.d) - 1));
                        tokens[n_out++] = next_token++;
                } else if (n_out > 0) {
                        unsigned k = (unsigned) g_test_rand_int_range(0, (int) n_out);
                        VqUsed u;

                        use(&b, heads[k], 0);
                        g_assert_cmpint(vq_driver_reap(b.d, &u, 1), ==, 1);
                        g_assert_cmpuint((uintptr_t) u.token, ==, tokens[k]);
                        heads[k] = heads[--n_out];
                        tokens[k] = tokens[n_out];
                }
                memset(held, 0, sizeof(held));
                for (unsigned i = 0; i < n_out; i++)
                        for (unsigned at = heads[i];;) {
                                VqDescValue v = vq_desc_load(&b.r.desc[at]);

                                g_assert_false(held[at]);
                                held[at] = true;
                                if (!(v.flags & VRING_DESC_F_NEXT))
                                        break;
                                at = v.next;
                        }
                unsigned n_held = 0;
                for (unsigned i = 0; i < 64; i++)
                        n_held += held[i];
                g_assert_cmpuint(vq_driver_free_slots(b.d), ==, 64 - n_held);
        }
        bench_close(&b);
}

static void test_refusals(void) {
        Bench b;
        struct iovec one = { buf[0], 64 }, empty = { buf[0], 0 }, huge[2] = { { buf[0], 0x80000000 }, { buf[1], 0x80000000 } },
                     long_one = { buf[0], (size_t) UINT32_MAX + 1 };
        struct iovec nine[9];
        VqChain two[2] = { { .out = &one, .n_out = 1 }, { .out = &empty, .n_out = 1 } };

        for (unsigned i = 0; i < 9; i++)
                nine[i] = one;
        bench_open(&b, 8, (VqFeatures) {}, false);
        g_assert_cmpint(vq_driver_add(b.d, &(VqChain) {}, 1), ==, -EINVAL);
        g_assert_cmpint(vq_driver_add(b.d, &(VqChain) { .out = &empty, .n_out = 1 }, 1), ==, -EINVAL);
        g_assert_cmpint(vq_driver_add(b.d, &(VqChain) { .in = &long_one, .n_in = 1 }, 1), ==, -EINVAL);
        g_assert_cmpint(vq_driver_add(b.d, &(VqChain) { .in = huge, .n_in = 2 }, 1), ==, -EINVAL);
        g_assert_cmpint(vq_driver_add(b.d, &(VqChain) { .out = nine, .n_out = 9 }, 1), ==, -E2BIG);
        g_assert_cmpint(vq_driver_add(b.d, &(VqChain) { .out = nine, .n_out = UINT_MAX, .in = nine, .n_in = 2 }, 1), ==, -EINVAL);
        g_assert_cmpint(vq_driver_add(b.d, two, 2), ==, 1); /* up to the bad one */
        g_assert_cmpuint(vq_driver_outstanding(b.d), ==, 1);
        bench_close(&b);
}

static void test_window(void) {
        _Alignas(64) static char mem[1024];
        VqDriver *d;
        const struct { char *base; size_t len; int r; } cases[] = {
                { buf[1], 64, 1 }, { buf[1], 128, 1 }, { buf[1], 129, -EFAULT }, { buf[1] - 1, 2, -EFAULT },
                { buf[3], 1, -EFAULT }, { buf[2] + 63, 1, 1 }, { NULL, 1, -EFAULT },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct iovec iov = { cases[i].base, cases[i].len };

                g_assert_cmpint(vq_driver_new(&d, &(VqDriverConfig) { .size = 8, .ring = mem, .window = buf[1], .window_len = 128,
                                                                      .addr_offset = 0x1000 }), ==, 0);
                g_assert_cmpint(vq_driver_add(d, &(VqChain) { .in = &iov, .n_in = 1 }, 1), ==, cases[i].r);
                if (cases[i].r == 1)
                        g_assert_cmphex(le64toh(*(uint64_t *) (void *) mem), ==, (uintptr_t) cases[i].base + 0x1000);
                d = vq_driver_free(d);
        }
}

static void test_indirect(void) {
        Bench b;
        VqUsed u;

        bench_open(&b, 4, VQ_FEATURES(VQ_F_INDIRECT_DESC), true);
        for (unsigned i = 0; i < 4; i++) /* seven pieces each in a ring of four */
                g_assert_cmpint(add(&b, 5, 2, buf[i]), ==, 1);
        g_assert_cmpint(add(&b, 5, 2, NULL), ==, 0);
        (void) vq_driver_publish(b.d);
        for (uint16_t i = 0; i < 4; i++) {
                VqDescValue v = vq_desc_load(&b.r.desc[head_at(&b, i)]);
                VqDesc *t = (VqDesc *) (uintptr_t) v.addr;

                g_assert_cmpuint(v.flags, ==, VRING_DESC_F_INDIRECT);
                g_assert_cmpuint(v.len, ==, 7 * 16);
                for (unsigned k = 0; k < 7; k++) {
                        VqDescValue e = vq_desc_load(&t[k]);

                        g_assert_cmphex(e.addr, ==, (uintptr_t) buf[k]);
                        g_assert_cmpuint(e.flags, ==, (k < 6 ? VRING_DESC_F_NEXT : 0) | (k >= 5 ? VRING_DESC_F_WRITE : 0));
                        g_assert_cmpuint(e.next, ==, k < 6 ? k + 1 : 0);
                }
        }
        use(&b, head_at(&b, 0), 128);
        g_assert_cmpint(vq_driver_reap(b.d, &u, 1), ==, 1);
        g_assert_cmpuint(u.len, ==, 128);
        /* a single piece needs no table */
        g_assert_cmpint(add(&b, 1, 0, NULL), ==, 1);
        (void) vq_driver_publish(b.d);
        g_assert_cmpuint(vq_desc_load(&b.r.desc[head_at(&b, 4)]).flags, ==, 0);
        bench_close(&b);
}

static void test_suppression_flags(void) {
        Bench b;
        VqUsed u;

        bench_open(&b, 8, (VqFeatures) {}, false);
        g_assert_cmpuint(vq_load16(&b.r.avail->flags), ==, VRING_AVAIL_F_NO_INTERRUPT); /* until armed */
        vq_store16(&b.r.used->flags, VRING_USED_F_NO_NOTIFY);
        g_assert_cmpint(add(&b, 1, 0, NULL), ==, 1);
        g_assert_false(vq_driver_publish(b.d));
        vq_store16(&b.r.used->flags, 0);
        g_assert_cmpint(add(&b, 1, 0, NULL), ==, 1);
        g_assert_true(vq_driver_publish(b.d));
        g_assert_true(vq_driver_arm(b.d, 1));
        g_assert_cmpuint(vq_load16(&b.r.avail->flags), ==, 0);
        use(&b, head_at(&b, 0), 0);
        g_assert_false(vq_driver_arm(b.d, 5)); /* came before we slept */
        g_assert_cmpint(vq_driver_reap(b.d, &u, 1), ==, 1);
        vq_driver_disarm(b.d);
        g_assert_cmpuint(vq_load16(&b.r.avail->flags), ==, VRING_AVAIL_F_NO_INTERRUPT);
        bench_close(&b);
}

static void test_suppression_event_idx(void) {
        Bench b;
        VqUsed u[4];

        bench_open(&b, 8, VQ_FEATURES(VQ_F_EVENT_IDX), false);
        g_assert_cmpuint(vq_load16(b.r.used_event), ==, 0xffff);
        vq_store16(b.r.avail_event, 2); /* "when the third comes" */
        for (unsigned i = 0; i < 4; i++) {
                g_assert_cmpint(add(&b, 1, 0, NULL), ==, 1);
                g_assert_true(vq_driver_publish(b.d) == (i == 2));
        }
        g_assert_true(vq_driver_arm(b.d, 3));
        g_assert_cmpuint(vq_load16(b.r.used_event), ==, 2);
        use(&b, head_at(&b, 0), 0);
        use(&b, head_at(&b, 1), 0);
        g_assert_true(vq_driver_arm(b.d, 3)); /* two are fewer than three */
        use(&b, head_at(&b, 2), 0);
        g_assert_false(vq_driver_arm(b.d, 3));
        g_assert_cmpint(vq_driver_reap(b.d, u, 4), ==, 3);
        g_assert_true(vq_driver_arm(b.d, 100)); /* cut to the one outstanding, or we would sleep for ever */
        g_assert_cmpuint(vq_load16(b.r.used_event), ==, 3);
        vq_driver_disarm(b.d);
        g_assert_cmpuint(vq_load16(b.r.used_event), ==, 2);
        g_assert_cmpuint(vq_load16(&b.r.avail->flags), ==, 0); /* must stay 0 with EVENT_IDX */
        bench_close(&b);
}

/* IN_ORDER: one element for three chains, its slot the first of theirs. */
static void test_in_order(void) {
        Bench b;
        VqUsed u[8];

        bench_open(&b, 8, VQ_FEATURES(VQ_F_IN_ORDER), false);
        for (unsigned i = 0; i < 5; i++)
                g_assert_cmpint(add(&b, 0, 1, buf[i]), ==, 1);
        (void) vq_driver_publish(b.d);
        vq_store32(&b.r.used->ring[0].id, head_at(&b, 2));
        vq_store32(&b.r.used->ring[0].len, 9);
        vq_store16_release(&b.r.used->idx, 3);
        g_assert_cmpint(vq_driver_reap(b.d, u, 2), ==, 2);
        g_assert_cmpint(vq_driver_reap(b.d, u + 2, 6), ==, 1);
        for (unsigned i = 0; i < 3; i++) {
                g_assert_true(u[i].token == buf[i]);
                g_assert_cmpuint(u[i].len, ==, i == 2 ? 9 : 0);
        }
        /* an id further ahead than the index moved */
        vq_store32(&b.r.used->ring[3].id, head_at(&b, 4));
        vq_store16_release(&b.r.used->idx, 4);
        g_assert_cmpint(vq_driver_reap(b.d, u, 8), ==, -EBADMSG);
        g_assert_cmpint(vq_driver_broken(b.d), ==, VQ_BROKEN_INDEX);
        bench_close(&b);
}

typedef struct Lie {
        const char *name;
        uint32_t id, len;
        uint16_t jump;
        VqBroken why;
} Lie;

/* Outstanding: head 0 = descriptors 0,1 (writable, 64 each), head 2 = descriptor 2, read-only; 3 added but not published. */
static void test_lies(void) {
        static const Lie lies[] = {
                { "id == size", 8, 0, 1, VQ_BROKEN_ID_RANGE },
                { "id huge", 0xffffffff, 0, 1, VQ_BROKEN_ID_RANGE },
                { "id free", 7, 0, 1, VQ_BROKEN_ID_STATE },
                { "id in the middle of a chain", 1, 0, 1, VQ_BROKEN_ID_STATE },
                { "id not published", 3, 0, 1, VQ_BROKEN_ID_STATE },
                { "length beyond posted", 0, 129, 1, VQ_BROKEN_LENGTH },
                { "length huge", 0, 0xffffffff, 1, VQ_BROKEN_LENGTH },
                { "jump by three of two", 0, 0, 3, VQ_BROKEN_INDEX },
                { "backwards", 0, 0, 0xffff, VQ_BROKEN_INDEX },
                { "half way round", 0, 0, 0x8000, VQ_BROKEN_INDEX },
                { "length of a read-only chain", 2, 0xffffffff, 1, VQ_BROKEN_NOT },
                { "length exactly posted", 0, 128, 1, VQ_BROKEN_NOT },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(lies); i++) {
                const Lie *lie = &lies[i];
                Bench b;
                VqUsed u[8];
                int r;

                bench_open(&b, 8, (VqFeatures) {}, false);
                g_assert_cmpint(add(&b, 0, 2, buf[0]), ==, 1);
                g_assert_cmpint(add(&b, 1, 0, buf[1]), ==, 1);
                (void) vq_driver_publish(b.d);
                g_assert_cmpint(add(&b, 1, 0, buf[2]), ==, 1);
                vq_store32(&b.r.used->ring[0].id, lie->id);
                vq_store32(&b.r.used->ring[0].len, lie->len);
                vq_store16_release(&b.r.used->idx, lie->jump);
                r = vq_driver_reap(b.d, u, 8);
                if (vq_driver_broken(b.d) != lie->why)
                        g_error("%s: %s", lie->name, vq_broken_to_string(vq_driver_broken(b.d)));
                g_assert_cmpint(r, ==, lie->why ? -EBADMSG : 1);
                if (lie->why) {
                        g_assert_cmpint(vq_driver_reap(b.d, u, 8), ==, -EBADMSG); /* for good */
                        g_assert_cmpint(add(&b, 1, 0, NULL), ==, -EBADMSG);
                        g_assert_false(vq_driver_publish(b.d));
                        g_assert_false(vq_driver_arm(b.d, 1));
                } else {
                        g_assert_cmpuint(u[0].len, ==, lie->id == 2 ? 0 : lie->len);
                }
                bench_close(&b);
        }
}

static void test_duplicate(void) {
        Bench b;
        VqUsed u[8];

        bench_open(&b, 8, (VqFeatures) {}, false);
        for (unsigned i = 0; i < 3; i++)
                g_assert_cmpint(add(&b, 1, 0, buf[i]), ==, 1);
        (void) vq_driver_publish(b.d);
        use(&b, head_at(&b, 0), 0);
        use(&b, head_at(&b, 0), 0);
        g_assert_cmpint(vq_driver_reap(b.d, u, 8), ==, 1); /* the true one */
        g_assert_cmpint(vq_driver_reap(b.d, u, 8), ==, -EBADMSG);
        g_assert_cmpint(vq_driver_broken(b.d), ==, VQ_BROKEN_ID_STATE);
        bench_close(&b);
}

static void test_reclaim(void) {
        Bench b;
        VqUsed u[2];
        unsigned seen = 0;

        bench_open(&b, 8, (VqFeatures) {}, false);
        advance(&b, 5);
        for (unsigned i = 0; i < 3; i++)
                g_assert_cmpint(add(&b, 2, 0, buf[i]), ==, 1);
        (void) vq_driver_publish(b.d);
        use(&b, 77, 0);
        g_assert_cmpint(vq_driver_reap(b.d, u, 2), ==, -EBADMSG);
        for (unsigned n; (n = vq_driver_reclaim(b.d, u, 2)) > 0;)
                for (unsigned i = 0; i < n; i++)
                        for (unsigned k = 0; k < 3; k++)
                                seen |= u[i].token == buf[k] ? 1u << k : 0;
        g_assert_cmphex(seen, ==, 7);
        g_assert_cmpint(vq_driver_broken(b.d), ==, VQ_BROKEN_NOT);
        g_assert_cmpuint(vq_load16(&b.r.avail->idx), ==, 0);
        g_assert_cmpuint(vq_load16(&b.r.used->idx), ==, 0);
        g_assert_cmpuint(vq_driver_free_slots(b.d), ==, 8);
        advance(&b, 20);
        bench_close(&b);
}

/* Every size up to the largest goes round more than once, full each time. */
static void test_sizes(void) {
        for (unsigned size = 1; size <= 32768; size *= 2) {
                Bench b;
                VqUsed u[64];

                bench_open(&b, size, (VqFeatures) {}, false);
                for (unsigned round = 0; round < 3; round++) {
                        unsigned reaped = 0;

                        for (unsigned i = 0; i < size; i++)
                                g_assert_cmpint(add(&b, 1, 0, NULL), ==, 1);
                        g_assert_cmpint(add(&b, 1, 0, NULL), ==, 0);
                        (void) vq_driver_publish(b.d);
                        g_assert_cmpuint(vq_driver_outstanding(b.d), ==, size);
                        for (unsigned i = 0; i < size; i++)
                                use(&b, head_at(&b, (uint16_t) (round * size + i)), 0);
                        while (reaped < size) {
                                int n = vq_driver_reap(b.d, u, 64);

                                g_assert_cmpint(n, >, 0);
                                reaped += (unsigned) n;
                        }
                }
                bench_close(&b);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vq-driver/config", test_config);
        g_test_add_func("/vq-driver/slots", test_slots);
        g_test_add_func("/vq-driver/reap", test_reap);
        g_test_add_func("/vq-driver/chains", test_chains);
        g_test_add_func("/vq-driver/random-order", test_random_order);
        g_test_add_func("/vq-driver/refusals", test_refusals);
        g_test_add_func("/vq-driver/window", test_window);
        g_test_add_func("/vq-driver/indirect", test_indirect);
        g_test_add_func("/vq-driver/suppression-flags", test_suppression_flags);
        g_test_add_func("/vq-driver/suppression-event-idx", test_suppression_event_idx);
        g_test_add_func("/vq-driver/in-order", test_in_order);
        g_test_add_func("/vq-driver/lies", test_lies);
        g_test_add_func("/vq-driver/duplicate", test_duplicate);
        g_test_add_func("/vq-driver/reclaim", test_reclaim);
        g_test_add_func("/vq-driver/sizes", test_sizes);
        return g_test_run();
}
