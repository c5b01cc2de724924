/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a socket device can be made of, and what is refused. */

#include <errno.h>
#include <glib.h>

#include "device/sock.h"

static void test_config(void) {
        static const struct {
                SockConfig config;
                int result;
        } cases[] = {
                { { .kind = "qemu", .fd = -EBADF, .mtu = DEVICE_MTU_MIN }, 0 },
                { { .kind = "qemu", .fd = -EBADF, .mtu = DEVICE_MTU_MAX }, 0 },
                { { .kind = "qemu", .fd = -EBADF, .mtu = DEVICE_MTU_MIN - 1 }, -EINVAL },
                { { .kind = "qemu", .fd = -EBADF, .mtu = DEVICE_MTU_MAX + 1 }, -EINVAL },
                { { .kind = "qemu", .fd = -EBADF, .mac = { { 1 } } }, -EINVAL },
                { { .kind = "qemu", .fd = -EBADF, .listen = "/tmp/x", .connect = "/tmp/y" }, -EINVAL },
                { { .kind = "qemu", .fd = 0, .listen = "/tmp/x" }, -EINVAL },
                { { .kind = "qemu", .fd = -EBADF, .listen = "unixgram:///tmp/x" }, -EINVAL },
                { { .kind = "bess", .fd = -EBADF, .listen = "tcp:127.0.0.1:1" }, -EINVAL },
                { { .kind = "vfkit", .fd = -EBADF, .connect = "/tmp/x" }, -EINVAL },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                SockConfig c = cases[i].config;
                const char *what = NULL;
                Device *d = NULL;

                c.name = "c";
                g_test_message("case %zu", i);
                g_assert_cmpint(sock_new(&d, &c, &what), ==, cases[i].result);
                g_assert_true(cases[i].result == 0 ? d != NULL : what != NULL && !d);
                device_free(d);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/sock-make/config", test_config);
        return g_test_run();
}
