/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a kernel's release says of its TAPs. */

#include <glib.h>

#include "device/tap-private.h"

static void test_takes_big(void) {
        static const char *const yes[] = { "6.6", "6.6.0-rc1", "6.12.7-amd64", "7.0.0", "10.1" };
        static const char *const no[] = { "6.5", "6.5.99", "6.1.0-13-amd64", "5.19.0", "5.6", "6", "6.", "", "x", "v6.6" };

        for (size_t i = 0; i < G_N_ELEMENTS(yes); i++) {
                g_test_message("%s", yes[i]);
                g_assert_true(tap_release_takes_big(yes[i]));
        }
        for (size_t i = 0; i < G_N_ELEMENTS(no); i++) {
                g_test_message("%s", no[i]);
                g_assert_false(tap_release_takes_big(no[i]));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/tap-make/takes-big", test_takes_big);
        return g_test_run();
}
