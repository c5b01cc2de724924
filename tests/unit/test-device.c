/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The common part of devices: names of offloads, life of the strings. */

#include <errno.h>
#include <glib.h>

#include "device/device.h"

typedef struct Fake {
        Device device;
        unsigned *n_freed;
} Fake;

static Device *fake_free(Device *d) {
        Fake *f = CONTAINER_OF(d, Fake, device);

        (*f->n_freed)++;
        free(f);
        return NULL;
}

static const DeviceOps fake_ops = { .kind = "fake", .free = fake_free };

static void test_life(void) {
        unsigned n_freed = 0;
        char name[] = "lab0";
        Fake *f = calloc(1, sizeof(*f));

        g_assert_nonnull(f);
        f->n_freed = &n_freed;
        g_assert_cmpint(device_init(&f->device, &fake_ops, name, 1000), ==, 0);
        name[0] = 'x'; /* copied, not borrowed */
        g_assert_cmpstr(f->device.name, ==, "lab0");
        g_assert_cmpuint(f->device.owner, ==, 1000);
        g_assert_cmpuint(f->device.n_queues, ==, 1);
        g_assert_cmpuint(f->device.offloads, ==, 0);
        f->device.peer = strdup("netns /proc/42/ns/net");

        g_assert_null(device_free(&f->device));
        g_assert_cmpuint(n_freed, ==, 1);
        g_assert_null(device_free(NULL));
}

static void test_offload_names(void) {
        for (unsigned bit = 0; 1u << bit <= _DEVICE_OFFLOAD_ALL; bit++) {
                const char *name = device_offload_to_name(1u << bit);
                DeviceOffload o;

                g_assert_nonnull(name);
                g_assert_cmpint(device_offload_from_name(name, &o), ==, 0);
                g_assert_cmpuint(o, ==, 1u << bit);
        }
}

static void test_offload_names_refused(void) {
        DeviceOffload o = DEVICE_OFFLOAD_ECN;

        g_assert_cmpint(device_offload_from_name("", &o), ==, -EINVAL);
        g_assert_cmpint(device_offload_from_name("tso", &o), ==, -EINVAL);
        g_assert_cmpint(device_offload_from_name("csum ", &o), ==, -EINVAL);
        g_assert_cmpuint(o, ==, DEVICE_OFFLOAD_ECN);
        g_assert_null(device_offload_to_name(0));
        g_assert_null(device_offload_to_name(DEVICE_OFFLOAD_CSUM | DEVICE_OFFLOAD_TSO4));
        g_assert_null(device_offload_to_name(_DEVICE_OFFLOAD_ALL + 1));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/device/life", test_life);
        g_test_add_func("/device/offload-names", test_offload_names);
        g_test_add_func("/device/offload-names-refused", test_offload_names_refused);
        return g_test_run();
}
