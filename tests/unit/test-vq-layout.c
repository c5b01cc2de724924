/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queue sizes, part sizes, alignments, and the two ring images byte for byte (acceptance cases A2, A3, A7, A9). */

#include "core-vq/vq-layout.h"

#include <errno.h>
#include <glib.h>
#include <linux/vhost.h>

#include "core-vq/vq-ring.h"

static void test_size_check(void) {
        static const struct {
                int64_t size;
                VqSizeError e;
        } cases[] = {
                { -1, VQ_SIZE_TOO_SMALL },  { 0, VQ_SIZE_TOO_SMALL },      { 1, VQ_SIZE_OK },
                { 24, VQ_SIZE_NOT_POWER_OF_TWO }, { 256, VQ_SIZE_OK },     { 32768, VQ_SIZE_OK },
                { 65536, VQ_SIZE_TOO_LARGE }, { 32767, VQ_SIZE_NOT_POWER_OF_TWO }, { INT64_MIN, VQ_SIZE_TOO_SMALL },
        };
        VqLayout l = { .size = 7 };

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_assert_cmpint(vq_size_check(cases[i].size), ==, cases[i].e);
                g_assert_cmpint(vq_layout_init(&l, cases[i].size), ==, cases[i].e ? -EINVAL : 0);
        }
        g_assert_cmpuint(l.size, ==, 32768);
        for (unsigned e = 0; e < _VQ_SIZE_ERROR_MAX; e++)
                for (unsigned f = 0; f < e; f++)
                        g_assert_cmpstr(vq_size_error_to_string(e), !=, vq_size_error_to_string(f));
}

static void test_layout(void) {
        for (int64_t size = 1; size <= 32768; size *= 2) {
                VqLayout l;

                g_assert_cmpint(vq_layout_init(&l, size), ==, 0);
                g_assert_cmpuint(vq_desc_len(l.size), ==, 16 * size);
                g_assert_cmpuint(vq_avail_len(l.size), ==, 6 + 2 * size);
                g_assert_cmpuint(vq_used_len(l.size), ==, 6 + 8 * size);
                g_assert_cmpuint(l.desc_off % VQ_DESC_ALIGN, ==, 0);
                g_assert_cmpuint(l.avail_off % VQ_AVAIL_ALIGN, ==, 0);
                g_assert_cmpuint(l.used_off % VQ_USED_ALIGN, ==, 0);
                g_assert_cmpuint(l.avail_off, >=, l.desc_off + vq_desc_len(l.size));
                g_assert_cmpuint(l.used_off, >=, l.avail_off + vq_avail_len(l.size));
                g_assert_cmpuint(l.total_len, >=, l.used_off + vq_used_len(l.size));
                /* no cache line written by both sides */
                g_assert_cmpuint((l.avail_off + vq_avail_len(l.size) - 1) / 64, <, l.used_off / 64);
        }
}

static void test_images(void) {
        static const uint8_t avail_image[] = { 0xff, 0x01, 1, 0, 0x34, 0x12, 0x78, 0x56, 0, 0 };
        static const uint8_t used_image[] = { 0xff, 0x01, 1, 0, 0x23, 0x01, 0, 0, 0x67, 0x45, 0, 0,
                                              0xab, 0x89, 0, 0, 0xef, 0xcd, 0, 0, 0, 0 };
        static const uint8_t desc_image[] = { 8, 7, 6, 5, 4, 3, 2, 1, 0x44, 0x33, 0x22, 0x11, 3, 0, 0x11, 0x22 };
        _Alignas(64) uint8_t mem[256] = {};
        VqRing r = vq_ring_make(mem, mem + 64, mem + 128, 2);

        vq_store16(&r.avail->flags, 0x01ff);
        vq_store16(&r.avail->idx, 1);
        vq_store16(&r.avail->ring[0], 0x1234);
        vq_store16(&r.avail->ring[1], 0x5678);
        g_assert_cmpmem(mem + 64, vq_avail_len(2), avail_image, sizeof(avail_image));
        g_assert_true((void *) r.used_event == mem + 64 + 8);

        vq_store16(&r.used->flags, 0x01ff);
        vq_store16(&r.used->idx, 1);
        vq_store32(&r.used->ring[0].id, 0x0123);
        vq_store32(&r.used->ring[0].len, 0x4567);
        vq_store32(&r.used->ring[1].id, 0x89ab);
        vq_store32(&r.used->ring[1].len, 0xcdef);
        g_assert_cmpmem(mem + 128, vq_used_len(2), used_image, sizeof(used_image));
        g_assert_true((void *) r.avail_event == mem + 128 + 20);

        vq_desc_store(&r.desc[1], UINT64_C(0x0102030405060708), 0x11223344, 3, 0x2211);
        g_assert_cmpmem(mem + 16, 16, desc_image, sizeof(desc_image));
        VqDescValue v = vq_desc_load(&r.desc[1]);
        g_assert_cmphex(v.addr, ==, UINT64_C(0x0102030405060708));
        g_assert_cmphex(v.len, ==, 0x11223344);
        g_assert_cmphex(v.flags, ==, 3);
        g_assert_cmphex(v.next, ==, 0x2211);
}

static void test_kernel_structs(void) {
        g_assert_cmpuint(sizeof(struct vhost_vring_state), ==, 8);
        g_assert_cmpuint(sizeof(struct vhost_vring_addr), ==, 40);
        g_assert_cmpuint(sizeof(struct vhost_vring_file), ==, 8);
        g_assert_cmpuint(sizeof(struct vhost_memory_region), ==, 32);
        g_assert_cmpuint(sizeof(struct vring_desc), ==, 16);
        g_assert_cmpuint(sizeof(struct vring_used_elem), ==, 8);
}

/* The event passed must be one of the steps just made: checked against the definition, counting one by one. */
static void test_need_event(void) {
        static const uint16_t olds[] = { 0, 1, 255, 256, 32767, 32768, 65279, 65534, 65535 };

        for (unsigned i = 0; i < G_N_ELEMENTS(olds); i++)
                for (unsigned step = 0; step <= 300; step++)
                        for (unsigned e = 0; e < 65536; e += (e > 310 && e < 65000) ? 997 : 1) {
                                uint16_t old = olds[i], new = (uint16_t) (old + step), event = (uint16_t) (old + e);

                                g_assert_true(vq_need_event(event, new, old) == (e < step));
                        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vq-layout/size-check", test_size_check);
        g_test_add_func("/vq-layout/layout", test_layout);
        g_test_add_func("/vq-layout/images", test_images);
        g_test_add_func("/vq-layout/kernel-structs", test_kernel_structs);
        g_test_add_func("/vq-layout/need-event", test_need_event);
        return g_test_run();
}
