/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtio-net headers: bytes, lengths (acceptance case A1), and every reason to refuse one. */

#include "core-vq/vnet-hdr.h"

#include <errno.h>
#include <glib.h>
#include <linux/virtio_net.h>
#include <string.h>

static bool same(const VnetHdr *a, const VnetHdr *b) {
        return a->flags == b->flags && a->gso_type == b->gso_type && a->hdr_len == b->hdr_len && a->gso_size == b->gso_size &&
               a->csum_start == b->csum_start && a->csum_offset == b->csum_offset && a->num_buffers == b->num_buffers &&
               a->hash_value == b->hash_value && a->hash_report == b->hash_report && a->outer_th_offset == b->outer_th_offset &&
               a->inner_nh_offset == b->inner_nh_offset;
}

static void test_golden(void) {
        static const uint8_t image[12] = { 0x01, 0x05, 0x2a, 0, 0xc0, 0x05, 0x22, 0, 0x06, 0, 0x10, 0 };
        const VnetHdr hdr = { 1, 5, 42, 1472, 34, 6, 16, 0, 0, 0, 0 };
        uint8_t buf[32];
        VnetHdr back;

        g_assert_cmpuint(sizeof(struct virtio_net_hdr_v1), ==, VNET_HDR_LEN_V1);
        memset(buf, 0xee, sizeof(buf));
        g_assert_cmpint(vnet_hdr_encode(&hdr, 12, buf, sizeof(buf)), ==, 0);
        g_assert_cmpmem(buf, 12, image, 12);
        for (unsigned i = 12; i < sizeof(buf); i++) /* trailing bytes are not ours */
                g_assert_cmphex(buf[i], ==, 0xee);
        g_assert_cmpint(vnet_hdr_decode(&back, 12, buf, sizeof(buf)), ==, 0);
        g_assert_true(same(&back, &hdr));

        g_assert_cmpint(VNET_HDR_F_NEEDS_CSUM, ==, VIRTIO_NET_HDR_F_NEEDS_CSUM);
        g_assert_cmpint(VNET_HDR_F_DATA_VALID, ==, VIRTIO_NET_HDR_F_DATA_VALID);
        g_assert_cmpint(VNET_HDR_F_RSC_INFO, ==, VIRTIO_NET_HDR_F_RSC_INFO);
        g_assert_cmpint(VNET_HDR_GSO_TCPV4, ==, VIRTIO_NET_HDR_GSO_TCPV4);
        g_assert_cmpint(VNET_HDR_GSO_UDP, ==, VIRTIO_NET_HDR_GSO_UDP);
        g_assert_cmpint(VNET_HDR_GSO_TCPV6, ==, VIRTIO_NET_HDR_GSO_TCPV6);
        g_assert_cmpint(VNET_HDR_GSO_ECN, ==, VIRTIO_NET_HDR_GSO_ECN);
        g_assert_cmpint(VNET_HDR_GSO_UDP_L4, ==, 5);
}

static void test_lengths(void) {
        static const unsigned lens[] = { 10, 12, 20, 24 };
        VnetHdr hdr = { .flags = 9, .inner_nh_offset = 3 }, before = hdr;
        uint8_t buf[24], untouched[24];

        memset(buf, 0xaa, sizeof(buf));
        memset(untouched, 0xaa, sizeof(untouched));
        for (unsigned len = 0; len <= 64; len++) {
                bool good = len == 10 || len == 12 || len == 20 || len == 24;

                g_assert_true(vnet_hdr_len_valid(len) == good);
                if (good)
                        continue;
                g_assert_cmpint(vnet_hdr_encode(&hdr, len, buf, sizeof(buf)), ==, -EINVAL);
                g_assert_cmpint(vnet_hdr_decode(&hdr, len, buf, sizeof(buf)), ==, -EINVAL);
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++)
                for (unsigned shorter = 0; shorter < lens[i]; shorter++) {
                        g_assert_cmpint(vnet_hdr_encode(&hdr, lens[i], buf, shorter), ==, -EMSGSIZE);
                        g_assert_cmpint(vnet_hdr_decode(&hdr, lens[i], buf, shorter), ==, -EMSGSIZE);
                }
        g_assert_cmpmem(buf, sizeof(buf), untouched, sizeof(untouched));
        g_assert_true(same(&hdr, &before));

        g_assert_cmpuint(vnet_hdr_len((VqFeatures) {}), ==, 10);
        g_assert_cmpuint(vnet_hdr_len(VQ_FEATURES(VNET_F_MRG_RXBUF)), ==, 12);
        g_assert_cmpuint(vnet_hdr_len(VQ_FEATURES(VQ_F_VERSION_1)), ==, 12);
        g_assert_cmpuint(vnet_hdr_len(VQ_FEATURES(VQ_F_VERSION_1, VNET_F_HASH_REPORT)), ==, 20);
        g_assert_cmpuint(vnet_hdr_len(VQ_FEATURES(VQ_F_VERSION_1, VNET_F_HASH_REPORT, VNET_F_GUEST_UDP_TUNNEL_GSO)), ==, 24);
        g_assert_cmpuint(vnet_hdr_len(VQ_FEATURES(VNET_F_HOST_UDP_TUNNEL_GSO)), ==, 24);
}

static uint16_t random16(void) {
        static const uint16_t extremes[] = { 0, 1, 0xff, 0x100, 0x7fff, 0x8000, 0xffff };

        return g_test_rand_bit() ? (uint16_t) g_test_rand_int() : extremes[g_test_rand_int_range(0, G_N_ELEMENTS(extremes))];
}

static void test_round_trip(void) {
        static const unsigned lens[] = { 10, 12, 20, 24 };

        for (unsigned i = 0; i < 2000; i++) {
                unsigned len = lens[i % 4];
                VnetHdr in, out, expect;
                uint8_t buf[24];

                in.flags = (uint8_t) random16();
                in.gso_type = (uint8_t) random16();
                in.hdr_len = random16();
                in.gso_size = random16();
                in.csum_start = random16();
                in.csum_offset = random16();
                in.num_buffers = random16();
                in.hash_value = (uint32_t) random16() << 16 | random16();
                in.hash_report = random16();
                in.outer_th_offset = random16();
                in.inner_nh_offset = random16();
                expect = in;
                if (len < 24)
                        expect.outer_th_offset = expect.inner_nh_offset = 0;
                if (len < 20)
                        expect.hash_value = expect.hash_report = 0;
                if (len < 12)
                        expect.num_buffers = 0;
                g_assert_cmpint(vnet_hdr_encode(&in, len, buf, len), ==, 0);
                g_assert_cmpint(vnet_hdr_decode(&out, len, buf, len), ==, 0);
                g_assert_true(same(&out, &expect));
        }
}

static void test_validate(void) {
        static const struct {
                VnetHdr hdr; /* flags, type, hdr_len, gso_size, csum_start, csum_offset */
                size_t len;
                VnetLink link;
                VnetHdrError e;
        } cases[] = {
                { {}, 14, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { {}, 13, VNET_LINK_ETHERNET, VNET_HDR_ERROR_FRAME_SHORT },
                { {}, 0, VNET_LINK_ETHERNET, VNET_HDR_ERROR_FRAME_SHORT },
                { {}, 19, VNET_LINK_IP, VNET_HDR_ERROR_FRAME_SHORT },
                { {}, 14 + 65535, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { {}, 14 + 65536, VNET_LINK_ETHERNET, VNET_HDR_ERROR_FRAME_LONG },
                { {}, 65536, VNET_LINK_IP, VNET_HDR_ERROR_FRAME_LONG },
                { { .flags = 4 }, 60, VNET_LINK_ETHERNET, VNET_HDR_ERROR_FLAGS },
                { { .flags = 8 }, 60, VNET_LINK_ETHERNET, VNET_HDR_ERROR_FLAGS },
                { { .flags = 3, .csum_start = 34, .csum_offset = 16 }, 60, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { { .num_buffers = 1 }, 60, VNET_LINK_ETHERNET, VNET_HDR_ERROR_NUM_BUFFERS },
                { { .hdr_len = 13 }, 60, VNET_LINK_ETHERNET, VNET_HDR_ERROR_HDR_LEN },
                { { .hdr_len = 60 }, 60, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { { .hdr_len = 61 }, 60, VNET_LINK_ETHERNET, VNET_HDR_ERROR_HDR_LEN },
                { { .hdr_len = 1 }, 60, VNET_LINK_IP, VNET_HDR_OK },
                /* the checksum's last byte is the frame's last */
                { { .flags = 1, .csum_start = 42, .csum_offset = 16 }, 60, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { { .flags = 1, .csum_start = 43, .csum_offset = 16 }, 60, VNET_LINK_ETHERNET, VNET_HDR_ERROR_CSUM_RANGE },
                { { .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff }, 60, VNET_LINK_ETHERNET, VNET_HDR_ERROR_CSUM_RANGE },
                { { .csum_start = 0xffff, .csum_offset = 0xffff }, 60, VNET_LINK_ETHERNET, VNET_HDR_OK }, /* not asked for */
                /* segmentation */
                { { 1, 1, 54, 1460, 34, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { { 1, 0x81, 54, 1460, 34, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { { 1, 4, 74, 1440, 54, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { { 1, 5, 42, 1472, 34, 6 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { { 1, 3, 42, 1472, 34, 6 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { { 1, 1, 40, 1460, 20, 16 }, 3000, VNET_LINK_IP, VNET_HDR_OK },
                { { 1, 0x77, 54, 1460, 34, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_TYPE },
                { { 1, 2, 54, 1460, 34, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_TYPE },
                { { 1, 0x80, 54, 1460, 34, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_TYPE },
                { { 1, 0x85, 42, 1472, 34, 6 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_TYPE },
                { { 1, 0x21, 54, 1460, 34, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_TYPE },
                { { 1, 1, 54, 0, 34, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_SIZE },
                { { 1, 1, 54, 0xffff, 34, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_SIZE },
                { { 0, 1, 54, 1460, 34, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_CSUM },
                { { 1, 1, 54, 1460, 34, 6 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_CSUM },
                { { 1, 5, 42, 1472, 34, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_CSUM },
                { { 1, 1, 54, 1460, 33, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_OFFSET },
                { { 1, 4, 54, 1460, 53, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_OFFSET },
                { { 1, 1, 54, 1460, 19, 16 }, 3000, VNET_LINK_IP, VNET_HDR_ERROR_GSO_OFFSET },
                { { 1, 1, 54, 1460, 2981, 16 }, 3000, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_OFFSET },
                { { 1, 5, 42, 10, 34, 6 }, 42 + 1280, VNET_LINK_ETHERNET, VNET_HDR_OK },
                { { 1, 5, 42, 10, 34, 6 }, 42 + 1281, VNET_LINK_ETHERNET, VNET_HDR_ERROR_GSO_SEGMENTS },
        };
        unsigned seen = 0;

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                VnetHdrError e = vnet_hdr_validate(&cases[i].hdr, cases[i].len, cases[i].link);

                if (e != cases[i].e)
                        g_error("case %u: %s", i, vnet_hdr_error_to_string(e));
                seen |= 1u << e;
        }
        g_assert_cmphex(seen, ==, (1u << _VNET_HDR_ERROR_MAX) - 1); /* every reason was met */
        for (unsigned e = 0; e < _VNET_HDR_ERROR_MAX; e++)
                g_assert_nonnull(vnet_hdr_error_to_string(e));
}

/* What makes vhost's worker spin for ever must be refused whatever the other fields say. */
static void test_never_spins(void) {
        for (unsigned i = 0; i < 200000; i++) {
                VnetHdr h = { .flags = (uint8_t) (g_test_rand_int() & 3), .gso_type = (uint8_t) g_test_rand_int_range(0, 6),
                              .hdr_len = random16(), .gso_size = random16(), .csum_start = random16() % 128,
                              .csum_offset = random16() % 32 };
                size_t len = (size_t) g_test_rand_int_range(0, 160);

                if (vnet_hdr_validate(&h, len, VNET_LINK_ETHERNET) != VNET_HDR_OK)
                        continue;
                g_assert_cmpuint(len, >=, 14);
                if (h.flags & VNET_HDR_F_NEEDS_CSUM)
                        g_assert_cmpuint((unsigned) h.csum_start + h.csum_offset + 2, <=, len);
                if (h.gso_type)
                        g_assert_true(h.flags & VNET_HDR_F_NEEDS_CSUM && h.gso_size);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vnet-hdr/golden", test_golden);
        g_test_add_func("/vnet-hdr/lengths", test_lengths);
        g_test_add_func("/vnet-hdr/round-trip", test_round_trip);
        g_test_add_func("/vnet-hdr/validate", test_validate);
        g_test_add_func("/vnet-hdr/never-spins", test_never_spins);
        return g_test_run();
}
