/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names in the descriptor store, and taking out of what it gave back. The store itself is in tests/daemon/test-vnetd.c. */

#include <errno.h>
#include <glib.h>
#include <netinet/in.h>

#include "daemon/fdstore.h"

static void assert_listener(uint8_t proto, const char *at, const char *expected) {
        char buf[FDSTORE_NAME_MAX];
        Endpoint e;

        g_assert_cmpint(endpoint_parse(at, &e), ==, 0);
        g_assert_cmpstr(fdstore_listener_name(proto, &e, buf), ==, expected);
}

/* Each thing has one of its own. */
static void test_names(void) {
        char buf[FDSTORE_NAME_MAX];

        g_assert_cmpstr(fdstore_device_name("tap0", 0, buf), ==, "device-tap0");
        g_assert_cmpstr(fdstore_device_name("tap0", 1, buf), ==, "queue1-tap0");
        g_assert_cmpstr(fdstore_device_name("tap0", 15, buf), ==, "queue15-tap0");
        g_assert_cmpstr(fdstore_guest_name("qemu0", buf), ==, "guest-qemu0");
        assert_listener(IPPROTO_TCP, "127.0.0.1:80", "listener-tcp-127.0.0.1_80");
        assert_listener(IPPROTO_UDP, "127.0.0.1:80", "listener-udp-127.0.0.1_80");
        assert_listener(IPPROTO_TCP, "[2001:db8::1]:80", "listener-tcp-[2001_db8__1]_80");
}

/* Two of one name are two descriptors; none is given twice. */
static void test_take(void) {
        FdStore s = { .fds = g_new0(StoredFd, 3), .n_fds = 3 };

        for (int i = 0; i < 3; i++)
                s.fds[i] = (StoredFd){ g_strdup(i == 1 ? "b" : "a"), 1000 + i };
        g_assert_cmpint(fdstore_take(&s, "a"), ==, 1000);
        g_assert_cmpint(fdstore_take(&s, "a"), ==, 1002);
        g_assert_cmpint(fdstore_take(&s, "a"), ==, -ENOENT);
        g_assert_cmpint(fdstore_take(&s, "c"), ==, -ENOENT);
        g_assert_cmpint(fdstore_take(&s, "b"), ==, 1001);
        fdstore_drop_rest(&s);
        g_assert_cmpuint(s.n_fds, ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/fdstore/names", test_names);
        g_test_add_func("/fdstore/take", test_take);
        return g_test_run();
}
