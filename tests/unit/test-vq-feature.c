/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Feature sets: arithmetic over both words, names both ways, negotiation, dependencies of virtio-net. */

#include "core-vq/vq-feature.h"

#include <errno.h>
#include <glib.h>

static void test_set(void) {
        VqFeatures f = VQ_FEATURES(0, 63, 64, 127), g = f;

        g_assert_cmphex(f.words[0], ==, UINT64_C(0x8000000000000001));
        g_assert_cmphex(f.words[1], ==, UINT64_C(0x8000000000000001));
        for (unsigned bit = 0; bit < 200; bit++)
                g_assert_true(vq_features_has(f, bit) == (bit == 0 || bit == 63 || bit == 64 || bit == 127));
        vq_features_remove(&g, 64);
        vq_features_add(&g, 128); /* beyond the set: nothing */
        g_assert_true(vq_features_equal(vq_features_without(f, g), VQ_FEATURES(64)));
        g_assert_true(vq_features_equal(vq_features_and(f, g), g));
        g_assert_true(vq_features_equal(vq_features_or(f, g), f));
        g_assert_false(vq_features_empty(VQ_FEATURES(100)));
        g_assert_true(vq_features_empty((VqFeatures) {}));
}

static void test_names(void) {
        unsigned named = 0;

        for (unsigned bit = 0; bit < VQ_FEATURE_BITS; bit++) {
                const char *name = vq_feature_to_name(bit);

                if (!name)
                        continue;
                named++;
                g_assert_cmpint(vq_feature_from_name(name), ==, bit);
        }
        g_assert_cmpuint(named, ==, 55);
        g_assert_null(vq_feature_to_name(128));
        g_assert_cmpint(vq_feature_from_name("no-such-feature"), ==, -EINVAL);
        g_assert_cmpint(VNET_F_GUEST_USO4, ==, 54);
        g_assert_cmpint(VNET_F_HOST_UDP_TUNNEL_GSO_CSUM, ==, 68);
}

static void test_negotiate(void) {
        /* what vhost-net of Linux 6.1 offers */
        VqFeatures offered = { { UINT64_C(0x33d008000), 0 } }, got, missing;

        g_assert_cmpint(vq_features_negotiate(offered, VQ_FEATURES(VQ_F_EVENT_IDX, VQ_F_IN_ORDER, VQ_F_INDIRECT_DESC),
                                              VQ_FEATURES(VQ_F_VERSION_1), &got, &missing), ==, 0);
        g_assert_true(vq_features_equal(got, VQ_FEATURES(VQ_F_EVENT_IDX, VQ_F_INDIRECT_DESC, VQ_F_VERSION_1)));

        got = VQ_FEATURES(1);
        g_assert_cmpint(vq_features_negotiate(offered, (VqFeatures) {}, VQ_FEATURES(VQ_F_VERSION_1, VQ_F_RING_PACKED, 67),
                                              &got, &missing), ==, -EOPNOTSUPP);
        g_assert_true(vq_features_equal(missing, VQ_FEATURES(VQ_F_RING_PACKED, 67)));
        g_assert_true(vq_features_equal(got, VQ_FEATURES(1)));
}

static void test_negotiate_drops_dependents(void) {
        VqFeatures got, missing;

        /* no CSUM offered: TSO goes, ECN with it, and the tunnel bits that hang on TSO */
        g_assert_cmpint(vq_features_negotiate(VQ_FEATURES(VNET_F_HOST_TSO4, VNET_F_HOST_ECN, VNET_F_HOST_UDP_TUNNEL_GSO,
                                                          VNET_F_HOST_UDP_TUNNEL_GSO_CSUM, VNET_F_MAC),
                                              (VqFeatures) { { UINT64_MAX, UINT64_MAX } }, (VqFeatures) {}, &got, NULL), ==, 0);
        g_assert_true(vq_features_equal(got, VQ_FEATURES(VNET_F_MAC)));
        /* required, offered, but without what it needs */
        g_assert_cmpint(vq_features_negotiate(VQ_FEATURES(VNET_F_MQ), (VqFeatures) {}, VQ_FEATURES(VNET_F_MQ), &got, &missing),
                        ==, -EOPNOTSUPP);
        g_assert_true(vq_features_has(missing, VNET_F_MQ));
}

static void test_dependencies(void) {
        unsigned bit = 0, needs = 0;

        g_assert_true(vq_features_check_net(VQ_FEATURES(VNET_F_CSUM, VNET_F_HOST_TSO6, VNET_F_HOST_ECN), NULL, NULL));
        g_assert_false(vq_features_check_net(VQ_FEATURES(VNET_F_CSUM, VNET_F_HOST_ECN), &bit, &needs));
        g_assert_cmpuint(bit, ==, VNET_F_HOST_ECN);
        g_assert_cmpuint(needs, ==, VNET_F_HOST_TSO4);
        g_assert_false(vq_features_check_net(VQ_FEATURES(VNET_F_GUEST_USO6), &bit, &needs));
        g_assert_cmpuint(needs, ==, VNET_F_GUEST_CSUM);
        g_assert_false(vq_features_check_net(VQ_FEATURES(VNET_F_RSS), &bit, &needs));
        g_assert_cmpuint(needs, ==, VNET_F_CTRL_VQ);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vq-feature/set", test_set);
        g_test_add_func("/vq-feature/names", test_names);
        g_test_add_func("/vq-feature/negotiate", test_negotiate);
        g_test_add_func("/vq-feature/negotiate-drops-dependents", test_negotiate_drops_dependents);
        g_test_add_func("/vq-feature/dependencies", test_dependencies);
        return g_test_run();
}
