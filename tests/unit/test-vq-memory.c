/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The region table: order, overlaps, limits, translations over borders and at the ends of the address space. */

#include "core-vq/vq-memory.h"

#include <errno.h>
#include <glib.h>

static char a[4096], b[4096];

static void test_add_remove(void) {
        VqMemory m = {};

        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { 0x2000, 0x1000, b }), ==, 0);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { 0x1000, 0x1000, a }), ==, 0);
        g_assert_cmphex(m.regions[0].addr, ==, 0x1000);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { 0x1fff, 1, a }), ==, -EEXIST);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { 0xfff, 2, a }), ==, -EEXIST);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { 0, 0x10000, a }), ==, -EEXIST);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { 0, 0, a }), ==, -EINVAL);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { UINT64_MAX, 2, a }), ==, -EINVAL);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { 0x100000, UINT64_MAX - 0x100000, a }), ==, -EINVAL); /* host side wraps */
        g_assert_cmpint(vq_memory_remove(&m, 0x1000, 0xfff), ==, -ENOENT);
        g_assert_cmpint(vq_memory_remove(&m, 0x1000, 0x1000), ==, 0);
        g_assert_cmpint(vq_memory_remove(&m, 0x1000, 0x1000), ==, -ENOENT);
        g_assert_cmpuint(m.n_regions, ==, 1);
}

static void test_limit(void) {
        VqMemory m = {};

        for (unsigned i = 0; i < VQ_MEMORY_REGIONS_MAX; i++)
                g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { (uint64_t) i * 8192, 4096, a }), ==, 0);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { 4096, 4096, a }), ==, -E2BIG);
        for (unsigned i = 0; i < VQ_MEMORY_REGIONS_MAX; i++) {
                g_assert_true(vq_memory_contiguous(&m, (uint64_t) i * 8192 + 5, 4091) == a + 5);
                g_assert_null(vq_memory_contiguous(&m, (uint64_t) i * 8192 + 5, 4092));
                g_assert_null(vq_memory_contiguous(&m, (uint64_t) i * 8192 + 4096, 1));
        }
}

static void test_translate(void) {
        VqMemory m = {};
        struct iovec iov[3];

        g_assert_cmpint(vq_memory_translate(&m, 0, 1, iov, 3), ==, -EFAULT);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { 0x1000, 0x1000, a }), ==, 0);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { 0x2000, 0x1000, b }), ==, 0);
        g_assert_cmpint(vq_memory_add(&m, &(VqRegion) { UINT64_MAX - 15, 16, a }), ==, 0);

        g_assert_cmpint(vq_memory_translate(&m, 0x1ff0, 0x20, iov, 3), ==, 2);
        g_assert_true(iov[0].iov_base == a + 0xff0 && iov[0].iov_len == 0x10);
        g_assert_true(iov[1].iov_base == b && iov[1].iov_len == 0x10);
        g_assert_cmpint(vq_memory_translate(&m, 0x1ff0, 0x20, iov, 1), ==, -ENOBUFS);
        g_assert_cmpint(vq_memory_translate(&m, 0x2ff0, 0x11, iov, 3), ==, -EFAULT);
        g_assert_cmpint(vq_memory_translate(&m, 0xfff, 2, iov, 3), ==, -EFAULT);
        g_assert_cmpint(vq_memory_translate(&m, 0x1000, UINT64_MAX, iov, 3), ==, -EFAULT);
        g_assert_cmpint(vq_memory_translate(&m, 0x1000, 0, iov, 3), ==, 0);
        g_assert_cmpint(vq_memory_translate(&m, UINT64_MAX - 15, 16, iov, 3), ==, 1);
        g_assert_cmpint(vq_memory_translate(&m, UINT64_MAX - 15, 17, iov, 3), ==, -EFAULT);
        g_assert_null(vq_memory_contiguous(&m, 0x1ff0, 0x20));
        g_assert_null(vq_memory_contiguous(&m, 0x1ff0, 0));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vq-memory/add-remove", test_add_remove);
        g_test_add_func("/vq-memory/limit", test_limit);
        g_test_add_func("/vq-memory/translate", test_translate);
        return g_test_run();
}
