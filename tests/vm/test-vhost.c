/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every vhost ioctl on a real kernel: what it takes, what it refuses and with which error. */

#include "vhostnet/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

static _Alignas(4096) char memory[65536];

static int open_owned(void) {
        int fd = vhost_open_net();

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(vhost_set_owner(fd), ==, 0);
        return fd;
}

static void test_owner(void) {
        int fd = vhost_open_net(), status;
        pid_t child;
        bool task;

        g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
        g_assert_cmpint(vhost_set_ring_num(fd, 0, 8), ==, -EPERM); /* nobody's yet */
        int r = vhost_get_fork_from_owner(fd, &task);
        if (r == 0)
                g_assert_cmpint(vhost_set_fork_from_owner(fd, task), ==, 0);
        else
                g_assert_true(r == -ENOTTY || r == -EPERM);
        g_assert_cmpint(vhost_set_owner(fd), ==, 0);
        g_assert_cmpint(vhost_set_owner(fd), ==, -EBUSY);
        if (r == 0)
                g_assert_cmpint(vhost_set_fork_from_owner(fd, task), ==, -EBUSY);

        child = fork(); /* another address space: not the owner */
        if (child == 0) {
                VqFeatures f;
                _exit(vhost_set_ring_num(fd, 0, 8) == -EPERM && vhost_get_features(fd, &f) == 0 ? 0 : 1);
        }
        g_assert_cmpint(waitpid(child, &status, 0), ==, child);
        g_assert_cmpint(status, ==, 0);

        g_assert_cmpint(vhost_reset_owner(fd), ==, 0);
        g_assert_cmpint(vhost_set_owner(fd), ==, 0);
        close(fd);
}

static void test_features(void) {
        int fd = vhost_open_net();
        VqFeatures f, must = VQ_FEATURES(VNET_F_MRG_RXBUF, VQ_F_INDIRECT_DESC, VQ_F_EVENT_IDX, VQ_F_VERSION_1);
        uint64_t backend;

        g_assert_cmpint(vhost_get_features(fd, &f), ==, 0);
        g_test_message("features %#" G_GINT64_MODIFIER "x %#" G_GINT64_MODIFIER "x", f.words[1], f.words[0]);
        g_assert_true(vq_features_equal(vq_features_and(f, must), must));
        g_assert_cmpint(vhost_set_owner(fd), ==, 0);
        g_assert_cmpint(vhost_set_features(fd, must), ==, 0);
        g_assert_cmpint(vhost_set_features(fd, VQ_FEATURES(VQ_F_RING_PACKED)), ==, -EOPNOTSUPP);
        g_assert_cmpint(vhost_set_features(fd, VQ_FEATURES(VNET_F_HOST_TSO4)), ==, -EOPNOTSUPP);
        g_assert_cmpint(vhost_set_features(fd, VQ_FEATURES(VQ_F_VERSION_1, 100)), ==, -EOPNOTSUPP);
        if (f.words[1]) /* tunnel offloads, on kernels that have the array */
                g_assert_cmpint(vhost_set_features(fd, vq_features_or(must, (VqFeatures) { { 0, f.words[1] } })), ==, 0);
        g_assert_cmpint(vhost_get_backend_features(fd, &backend), ==, 0);
        g_assert_cmpint(vhost_set_backend_features(fd, backend), ==, 0);
        g_assert_cmpint(vhost_set_backend_features(fd, UINT64_C(1) << 63), ==, -EOPNOTSUPP);
        close(fd);
}

static void test_memory(void) {
        VhostRegion r[VHOST_REGIONS_MAX + 1], all = vhost_identity_region();
        int fd = open_owned();

        for (unsigned i = 0; i <= VHOST_REGIONS_MAX; i++)
                r[i] = (VhostRegion) { 0x100000 + i * 4096, 4096, memory };
        g_assert_cmpint(vhost_set_mem_table(fd, r, 0), ==, 0);
        g_assert_cmpint(vhost_set_mem_table(fd, r, VHOST_REGIONS_MAX), ==, 0);
        g_assert_cmpint(vhost_set_mem_table(fd, r, VHOST_REGIONS_MAX + 1), ==, -E2BIG);
        r[0].len = 0;
        g_assert_cmpint(vhost_set_mem_table(fd, r, 1), ==, -EFAULT);
        g_assert_cmpint(vhost_set_mem_table(fd, &all, 1), ==, 0);
#if defined(__x86_64__)
        g_assert_cmphex(all.addr, ==, 4096);
        g_assert_cmphex(all.len, ==, UINT64_C(0x7fffffffe000));
#endif
        g_assert_cmpint(vhost_set_log_base(fd, (uintptr_t) memory), ==, 0);
        g_assert_cmpint(vhost_set_log_fd(fd, -1), ==, 0);
        close(fd);
}

static void test_rings(void) {
        static const unsigned good[] = { 1, 2, 256, 32768 }, bad[] = { 0, 24, 65536, 0xffffffff };
        int fd = open_owned(), e = eventfd(0, EFD_CLOEXEC), file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        uint16_t base = 0;
        unsigned usec = 0;
        bool big;
        int r;

        for (unsigned i = 0; i < G_N_ELEMENTS(good); i++)
                g_assert_cmpint(vhost_set_ring_num(fd, 0, good[i]), ==, 0);
        for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_cmpint(vhost_set_ring_num(fd, 0, bad[i]), ==, -EINVAL);
        g_assert_cmpint(vhost_set_ring_num(fd, 2, 8), ==, -ENOBUFS);
        g_assert_cmpint(vhost_set_ring_base(fd, 1, 65535), ==, 0);
        g_assert_cmpint(vhost_get_ring_base(fd, 1, &base), ==, 0);
        g_assert_cmpuint(base, ==, 65535);

        VhostRingAddr a = { memory, memory + 16384, memory + 32768, false, 0 };
        g_assert_cmpint(vhost_set_ring_addr(fd, 0, &a), ==, 0);
        a.avail = memory + 16385;
        g_assert_cmpint(vhost_set_ring_addr(fd, 0, &a), ==, -EINVAL);
        a.avail = memory + 16384;
        a.used = memory + 32770;
        g_assert_cmpint(vhost_set_ring_addr(fd, 0, &a), ==, -EINVAL);

        g_assert_cmpint(vhost_set_ring_kick(fd, 0, e), ==, 0);
        g_assert_cmpint(vhost_set_ring_call(fd, 0, e), ==, 0);
        g_assert_cmpint(vhost_set_ring_err(fd, 0, e), ==, 0);
        g_assert_cmpint(vhost_set_ring_kick(fd, 0, -1), ==, 0);
        g_assert_cmpint(vhost_set_ring_call(fd, 0, file), ==, -EINVAL);
        g_assert_cmpint(vhost_set_ring_err(fd, 0, 9999), ==, -EBADF);
        g_assert_cmpint(vhost_set_ring_busyloop(fd, 1, 77), ==, 0);
        g_assert_cmpint(vhost_get_ring_busyloop(fd, 1, &usec), ==, 0);
        g_assert_cmpuint(usec, ==, 77);

        r = vhost_get_ring_endian(fd, 0, &big); /* CONFIG_VHOST_CROSS_ENDIAN_LEGACY is no matter of x86 */
        g_assert_true(r == 0 || r == -ENOTTY);
        g_assert_cmpint(vhost_set_ring_endian(fd, 0, false), ==, r);
        close(file);
        close(e);
        close(fd);
}

/* vhost-net never took these up; the functions must say so and not something else. */
static void test_workers(void) {
        int fd = open_owned();
        unsigned id = 0;

        g_assert_cmpint(vhost_new_worker(fd, &id), ==, -ENOTTY);
        g_assert_cmpint(vhost_free_worker(fd, 0), <, 0);
        g_assert_cmpint(vhost_attach_ring_worker(fd, 0, 0), <, 0);
        g_assert_cmpint(vhost_get_ring_worker(fd, 0, &id), <, 0);
        close(fd);
}

static void test_backend(void) {
        int fd = open_owned(), e = eventfd(0, EFD_CLOEXEC);
        VhostRegion all = vhost_identity_region();

        g_assert_cmpint(vhost_net_set_backend(fd, 2, e), ==, -ENOBUFS);
        g_assert_cmpint(vhost_net_set_backend(fd, 0, e), ==, -EFAULT); /* no memory table, no rings */
        g_assert_cmpint(vhost_set_mem_table(fd, &all, 1), ==, 0);
        for (unsigned ring = 0; ring < 2; ring++) {
                char *m = memory + ring * 16384;

                g_assert_cmpint(vhost_set_ring_num(fd, ring, 8), ==, 0);
                g_assert_cmpint(vhost_set_ring_addr(fd, ring, &(VhostRingAddr) { m, m + 4096, m + 8192, false, 0 }), ==, 0);
        }
        g_assert_cmpint(vhost_net_set_backend(fd, 0, e), ==, -ENOTSOCK);
        g_assert_cmpint(vhost_net_set_backend(fd, 0, -1), ==, 0);
        close(e);
        close(fd);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        int fd = vhost_open_net();
        if (fd < 0) {
                g_printerr("no /dev/vhost-net here: %s\n", g_strerror(-fd));
                return 77;
        }
        close(fd);
        g_test_add_func("/vhost/owner", test_owner);
        g_test_add_func("/vhost/features", test_features);
        g_test_add_func("/vhost/memory", test_memory);
        g_test_add_func("/vhost/rings", test_rings);
        g_test_add_func("/vhost/workers", test_workers);
        g_test_add_func("/vhost/backend", test_backend);
        return g_test_run();
}
