/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device side of a split virtqueue, with the test playing the driver by hand on the ring's bytes: chains, indirect tables,
 * borders of regions, suppression, and every lie a driver can tell.
 */

#include "core-vq/vq-device.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "core-vq/vq-ring.h"

#define SIZE 8u
#define BASE UINT64_C(0x100000) /* what the driver calls the first byte of memory */

typedef struct Bench {
        _Alignas(64) char mem[65536];
        VqMemory memory;
        VqRing r;
        VqDevice *d;
        VqRequest req[64];
        struct iovec iov[64];
} Bench;

static Bench *bench_open(VqFeatures f, uint16_t base) {
        Bench *b = g_aligned_alloc0(1, sizeof(*b), 64);
        VqLayout l;

        g_assert_cmpint(vq_layout_init(&l, SIZE), ==, 0);
        b->r = vq_ring_make(b->mem, b->mem + l.avail_off, b->mem + l.used_off, SIZE);
        vq_store16(&b->r.avail->idx, base);
        vq_store16(&b->r.used->idx, base);
        g_assert_cmpint(vq_memory_add(&b->memory, &(VqRegion) { BASE, 32768, b->mem }), ==, 0);
        g_assert_cmpint(vq_memory_add(&b->memory, &(VqRegion) { BASE + 32768, 32768, b->mem + 32768 }), ==, 0);
        g_assert_cmpint(vq_device_new(&b->d, &(VqDeviceConfig) { .size = SIZE, .features = f, .desc = b->r.desc, .avail = b->r.avail,
                                                                 .used = b->r.used, .memory = &b->memory, .base = base }), ==, 0);
        return b;
}

static void bench_close(Bench *b) {
        b->d = vq_device_free(b->d);
        g_aligned_free(b);
}

static void offer(Bench *b, uint16_t head) {
        uint16_t idx = vq_load16(&b->r.avail->idx);

        vq_store16(&b->r.avail->ring[idx & b->r.mask], head);
        vq_store16_release(&b->r.avail->idx, (uint16_t) (idx + 1));
}

static void desc(Bench *b, unsigned i, uint64_t off, uint32_t len, uint16_t flags, uint16_t next) {
        vq_desc_store(&b->r.desc[i], BASE + off, len, flags, next);
}

static int pop(Bench *b) {
        return vq_device_pop(b->d, b->req, 64, b->iov, 64);
}

static void test_config(void) {
        _Alignas(64) static char mem[1024];
        static VqMemory m;
        VqDevice *d = NULL;

#define TRY(size_, d_, a_, u_, m_)                                                                             \
        vq_device_new(&d, &(VqDeviceConfig) { .size = size_, .desc = d_, .avail = a_, .used = u_, .memory = m_ })
        g_assert_cmpint(TRY(3, mem, mem + 256, mem + 512, &m), ==, -EINVAL);
        g_assert_cmpint(TRY(8, mem + 8, mem + 256, mem + 512, &m), ==, -EINVAL);
        g_assert_cmpint(TRY(8, mem, mem + 257, mem + 512, &m), ==, -EINVAL);
        g_assert_cmpint(TRY(8, mem, mem + 256, mem + 514, &m), ==, -EINVAL);
        g_assert_cmpint(TRY(8, NULL, mem + 256, mem + 512, &m), ==, -EINVAL);
        g_assert_cmpint(TRY(8, mem, mem + 256, mem + 512, NULL), ==, -EINVAL);
        g_assert_null(d);
        g_assert_cmpint(TRY(8, mem, mem + 258, mem + 516, &m), ==, 0);
#undef TRY
        g_assert_cmpint(vq_device_set_ring(d, mem, mem + 1, mem + 4), ==, -EINVAL);
        g_assert_cmpint(vq_device_set_ring(d, mem + 16, mem + 256, mem + 512), ==, 0);
        d = vq_device_free(d);
}

static void test_pop_push(void) {
        static const uint16_t bases[] = { 0, 65533 };

        for (unsigned i = 0; i < G_N_ELEMENTS(bases); i++) {
                Bench *b = bench_open((VqFeatures) {}, bases[i]);

                g_assert_cmpint(pop(b), ==, 0);
                desc(b, 0, 4096, 12, VRING_DESC_F_NEXT, 5);
                desc(b, 5, 8192, 100, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
                desc(b, 2, 32768 - 10, 30, VRING_DESC_F_WRITE, 0); /* over the border of two regions */
                desc(b, 7, 4096, 1, 0, 0);
                for (unsigned k = 0; k < 4; k++)
                        offer(b, k % 2 ? 7 : 0);
                g_assert_true(vq_device_pending(b->d));
                g_assert_cmpint(vq_device_pop(b->d, b->req, 3, b->iov, 64), ==, 3);
                g_assert_cmpuint(b->req[0].head, ==, 0);
                g_assert_cmpuint(b->req[0].n_out, ==, 1);
                g_assert_cmpuint(b->req[0].n_in, ==, 3);
                g_assert_cmpuint(b->req[0].out_len, ==, 12);
                g_assert_cmpuint(b->req[0].in_len, ==, 130);
                g_assert_true(b->req[0].iov[1].iov_base == b->mem + 8192);
                g_assert_true(b->req[0].iov[3].iov_base == b->mem + 32768 && b->req[0].iov[3].iov_len == 20);
                g_assert_cmpuint(b->req[1].head, ==, 7);
                g_assert_true(b->req[2].iov == b->iov + 5);
                vq_device_unpop(b->d, 1);
                g_assert_cmpuint(vq_device_outstanding(b->d), ==, 2);
                g_assert_cmpuint(vq_device_base(b->d), ==, (uint16_t) (bases[i] + 2));
                g_assert_cmpint(pop(b), ==, 2);
                g_assert_false(vq_device_pending(b->d));

                vq_device_push(b->d, 0, 130);
                vq_device_push(b->d, 7, 0);
                g_assert_cmpuint(vq_load16(&b->r.used->idx), ==, bases[i]);
                g_assert_true(vq_device_publish(b->d));
                g_assert_false(vq_device_publish(b->d));
                g_assert_cmpuint(vq_load16(&b->r.used->idx), ==, (uint16_t) (bases[i] + 2));
                g_assert_cmpuint(vq_load32(&b->r.used->ring[bases[i] & 7].len), ==, 130);
                g_assert_cmpuint(vq_load32(&b->r.used->ring[(bases[i] + 1) & 7].id), ==, 7);
                g_assert_cmpuint(vq_device_outstanding(b->d), ==, 2);
                bench_close(b);
        }
}

static void test_room(void) {
        Bench *b = bench_open((VqFeatures) {}, 0);

        desc(b, 0, 4096, 1, VRING_DESC_F_NEXT, 1);
        desc(b, 1, 4096, 1, VRING_DESC_F_NEXT, 2);
        desc(b, 2, 4096, 1, 0, 0);
        offer(b, 0);
        offer(b, 0);
        g_assert_cmpint(vq_device_pop(b->d, b->req, 64, b->iov, 5), ==, 1); /* the second waits */
        g_assert_cmpint(vq_device_broken(b->d), ==, VQ_BROKEN_NOT);
        g_assert_cmpint(vq_device_pop(b->d, b->req, 64, b->iov, 5), ==, 1);
        offer(b, 0);
        g_assert_cmpint(vq_device_pop(b->d, b->req, 64, b->iov, 2), ==, -EBADMSG); /* can never fit */
        g_assert_cmpint(vq_device_broken(b->d), ==, VQ_BROKEN_TOO_LONG);
        bench_close(b);
}

static void table(Bench *b, uint64_t at, unsigned i, uint64_t off, uint32_t len, uint16_t flags, uint16_t next) {
        struct vring_desc e = { htole64(BASE + off), htole32(len), htole16(flags), htole16(next) };

        memcpy(b->mem + at + i * 16, &e, sizeof(e));
}

static void test_indirect(void) {
        static const uint64_t places[] = { 4096, 4099, 32768 - 24 }; /* aligned, odd, over the border of two regions */

        for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
                Bench *b = bench_open(VQ_FEATURES(VQ_F_INDIRECT_DESC), 0);

                table(b, places[i], 0, 8192, 10, VRING_DESC_F_NEXT, 2);
                table(b, places[i], 2, 9000, 20, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
                table(b, places[i], 1, 10000, 30, VRING_DESC_F_WRITE, 0);
                desc(b, 3, places[i], 48, VRING_DESC_F_INDIRECT, 0);
                offer(b, 3);
                g_assert_cmpint(pop(b), ==, 1);
                g_assert_cmpuint(b->req[0].n_out, ==, 1);
                g_assert_cmpuint(b->req[0].n_in, ==, 2);
                g_assert_cmpuint(b->req[0].in_len, ==, 50);
                g_assert_true(b->req[0].iov[2].iov_base == b->mem + 10000);
                bench_close(b);
        }
}

static void test_suppression(void) {
        Bench *b = bench_open((VqFeatures) {}, 0);

        desc(b, 0, 4096, 1, 0, 0);
        g_assert_true(vq_device_arm(b->d));
        g_assert_cmpuint(vq_load16(&b->r.used->flags), ==, 0);
        offer(b, 0);
        g_assert_false(vq_device_arm(b->d));
        vq_device_disarm(b->d);
        g_assert_cmpuint(vq_load16(&b->r.used->flags), ==, VRING_USED_F_NO_NOTIFY);
        g_assert_cmpint(pop(b), ==, 1);
        vq_store16(&b->r.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
        vq_device_push(b->d, 0, 0);
        g_assert_false(vq_device_publish(b->d));
        bench_close(b);

        b = bench_open(VQ_FEATURES(VQ_F_EVENT_IDX), 65534);
        desc(b, 0, 4096, 1, 0, 0);
        vq_store16(b->r.used_event, 0); /* "when index 0 is passed": the third completion */
        for (unsigned i = 0; i < 4; i++) {
                offer(b, 0);
                g_assert_cmpint(pop(b), ==, 1);
                vq_device_push(b->d, 0, 0);
                g_assert_true(vq_device_publish(b->d) == (i == 0 || i == 2)); /* the first after a start is always called */
        }
        g_assert_true(vq_device_arm(b->d));
        g_assert_cmpuint(vq_load16(b->r.avail_event), ==, 2);
        bench_close(b);
}

typedef struct Lie {
        const char *name;
        void (*tell)(Bench *b);
        VqBroken why;
} Lie;

static void lie_head(Bench *b) {
        offer(b, SIZE);
}
static void lie_jump(Bench *b) {
        vq_store16_release(&b->r.avail->idx, SIZE + 1);
}
static void lie_backwards(Bench *b) {
        vq_store16_release(&b->r.avail->idx, 0xffff);
}
static void lie_next(Bench *b) {
        desc(b, 0, 4096, 1, VRING_DESC_F_NEXT, SIZE);
        offer(b, 0);
}
static void lie_loop(Bench *b) {
        desc(b, 0, 4096, 1, VRING_DESC_F_NEXT, 1);
        desc(b, 1, 4096, 1, VRING_DESC_F_NEXT, 0);
        offer(b, 0);
}
static void lie_order(Bench *b) {
        desc(b, 0, 4096, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
        desc(b, 1, 4096, 1, 0, 0);
        offer(b, 0);
}
static void lie_empty(Bench *b) {
        desc(b, 0, 4096, 0, 0, 0);
        offer(b, 0);
}
static void lie_address(Bench *b) {
        desc(b, 0, 65535, 2, 0, 0);
        offer(b, 0);
}
static void lie_wrap(Bench *b) {
        vq_desc_store(&b->r.desc[0], UINT64_MAX, 0xffffffff, 0, 0);
        offer(b, 0);
}
static void lie_sum(Bench *b) {
        b->memory.n_regions = 0;
        g_assert_cmpint(vq_memory_add(&b->memory, &(VqRegion) { 0, UINT64_C(1) << 40, b->mem }), ==, 0); /* never touched */
        vq_desc_store(&b->r.desc[0], 0, 0xffffffff, VRING_DESC_F_NEXT, 1);
        vq_desc_store(&b->r.desc[1], 0, 1, 0, 0);
        offer(b, 0);
}
static void lie_indirect_size(Bench *b) {
        desc(b, 0, 4096, 17, VRING_DESC_F_INDIRECT, 0);
        offer(b, 0);
}
static void lie_indirect_empty(Bench *b) {
        desc(b, 0, 4096, 0, VRING_DESC_F_INDIRECT, 0);
        offer(b, 0);
}
static void lie_indirect_chained(Bench *b) {
        desc(b, 0, 4096, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
        offer(b, 0);
}
static void lie_indirect_late(Bench *b) {
        desc(b, 0, 4096, 16, VRING_DESC_F_NEXT, 1);
        desc(b, 1, 4096, 16, VRING_DESC_F_INDIRECT, 0);
        offer(b, 0);
}
static void lie_indirect_nested(Bench *b) {
        table(b, 4096, 0, 8192, 16, VRING_DESC_F_INDIRECT, 0);
        desc(b, 0, 4096, 16, VRING_DESC_F_INDIRECT, 0);
        offer(b, 0);
}
static void lie_indirect_loop(Bench *b) {
        table(b, 4096, 0, 8192, 1, VRING_DESC_F_NEXT, 0);
        desc(b, 0, 4096, 16, VRING_DESC_F_INDIRECT, 0);
        offer(b, 0);
}
static void lie_indirect_next(Bench *b) {
        table(b, 4096, 0, 8192, 1, VRING_DESC_F_NEXT, 1);
        desc(b, 0, 4096, 16, VRING_DESC_F_INDIRECT, 0);
        offer(b, 0);
}
static void lie_indirect_address(Bench *b) {
        desc(b, 0, 65536 - 16, 32, VRING_DESC_F_INDIRECT, 0);
        table(b, 65536 - 16, 0, 4096, 1, VRING_DESC_F_NEXT, 1);
        offer(b, 0);
}
static void lie_indirect_huge(Bench *b) {
        vq_desc_store(&b->r.desc[0], UINT64_MAX - 15, 32768 * 16, VRING_DESC_F_INDIRECT, 0);
        offer(b, 0);
}

static void test_lies(void) {
        static const Lie lies[] = {
                { "head == size", lie_head, VQ_BROKEN_ID_RANGE },
                { "index jump", lie_jump, VQ_BROKEN_INDEX },
                { "index backwards", lie_backwards, VQ_BROKEN_INDEX },
                { "next == size", lie_next, VQ_BROKEN_NEXT_RANGE },
                { "loop", lie_loop, VQ_BROKEN_LOOP },
                { "order", lie_order, VQ_BROKEN_ORDER },
                { "empty", lie_empty, VQ_BROKEN_EMPTY },
                { "address", lie_address, VQ_BROKEN_ADDRESS },
                { "address wraps", lie_wrap, VQ_BROKEN_ADDRESS },
                { "sum over 32 bits", lie_sum, VQ_BROKEN_LENGTH },
                { "indirect size", lie_indirect_size, VQ_BROKEN_INDIRECT },
                { "indirect empty", lie_indirect_empty, VQ_BROKEN_EMPTY },
                { "indirect chained", lie_indirect_chained, VQ_BROKEN_INDIRECT },
                { "indirect not first", lie_indirect_late, VQ_BROKEN_INDIRECT },
                { "indirect nested", lie_indirect_nested, VQ_BROKEN_INDIRECT },
                { "indirect loop", lie_indirect_loop, VQ_BROKEN_LOOP },
                { "indirect next", lie_indirect_next, VQ_BROKEN_NEXT_RANGE },
                { "indirect address", lie_indirect_address, VQ_BROKEN_ADDRESS },
                { "indirect wraps", lie_indirect_huge, VQ_BROKEN_ADDRESS },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(lies); i++) {
                Bench *b = bench_open(VQ_FEATURES(VQ_F_INDIRECT_DESC), 0);

                lies[i].tell(b);
                g_assert_cmpint(pop(b), ==, -EBADMSG);
                if (vq_device_broken(b->d) != lies[i].why)
                        g_error("%s: %s", lies[i].name, vq_broken_to_string(vq_device_broken(b->d)));
                g_assert_cmpint(pop(b), ==, -EBADMSG);
                bench_close(b);
        }

        Bench *b = bench_open((VqFeatures) {}, 0); /* not negotiated */
        desc(b, 0, 4096, 16, VRING_DESC_F_INDIRECT, 0);
        offer(b, 0);
        g_assert_cmpint(pop(b), ==, -EBADMSG);
        g_assert_cmpint(vq_device_broken(b->d), ==, VQ_BROKEN_INDIRECT);
        bench_close(b);

        b = bench_open((VqFeatures) {}, 0); /* what came before the lie is served */
        desc(b, 0, 4096, 1, 0, 0);
        offer(b, 0);
        offer(b, 77);
        g_assert_cmpint(pop(b), ==, 1);
        g_assert_cmpint(pop(b), ==, -EBADMSG);
        bench_close(b);

        for (unsigned w = 0; w < _VQ_BROKEN_MAX; w++)
                g_assert_nonnull(vq_broken_to_string(w));
}

/* A base that does not go with the used index of the ring: refused at the first pop, not believed. */
static void test_wrong_base(void) {
        Bench *b = bench_open((VqFeatures) {}, 0);

        b->d = vq_device_free(b->d);
        vq_store16(&b->r.used->idx, 5);
        vq_store16(&b->r.avail->idx, 6);
        g_assert_cmpint(vq_device_new(&b->d, &(VqDeviceConfig) { .size = SIZE, .desc = b->r.desc, .avail = b->r.avail,
                                                                 .used = b->r.used, .memory = &b->memory, .base = 4 }), ==, 0);
        g_assert_cmpint(pop(b), ==, -EBADMSG);
        g_assert_cmpint(vq_device_broken(b->d), ==, VQ_BROKEN_INDEX);
        bench_close(b);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vq-device/config", test_config);
        g_test_add_func("/vq-device/pop-push", test_pop_push);
        g_test_add_func("/vq-device/room", test_room);
        g_test_add_func("/vq-device/indirect", test_indirect);
        g_test_add_func("/vq-device/suppression", test_suppression);
        g_test_add_func("/vq-device/lies", test_lies);
        g_test_add_func("/vq-device/wrong-base", test_wrong_base);
        return g_test_run();
}
