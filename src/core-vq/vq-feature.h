/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Virtio feature bits: a 128-bit set, the bits' names, negotiation and the dependencies of virtio-net.
 *
 * 128 bits from the first day: the UDP tunnel offloads are bits 65..68. Sets are plain values, compared and combined
 * here only, so that nobody shifts a 64-bit word by 65.
 */

#include <stdbool.h>
#include <stdint.h>

#define VQ_FEATURE_BITS 128

/* Source: virtio 1.3, 5.1.3 and 6; linux/virtio_net.h. */
enum {
        VNET_F_CSUM = 0,
        VNET_F_GUEST_CSUM = 1,
        VNET_F_CTRL_GUEST_OFFLOADS = 2,
        VNET_F_MTU = 3,
        VNET_F_MAC = 5,
        VNET_F_GUEST_TSO4 = 7,
        VNET_F_GUEST_TSO6 = 8,
        VNET_F_GUEST_ECN = 9,
        VNET_F_GUEST_UFO = 10,
        VNET_F_HOST_TSO4 = 11,
        VNET_F_HOST_TSO6 = 12,
        VNET_F_HOST_ECN = 13,
        VNET_F_HOST_UFO = 14,
        VNET_F_MRG_RXBUF = 15,
        VNET_F_STATUS = 16,
        VNET_F_CTRL_VQ = 17,
        VNET_F_CTRL_RX = 18,
        VNET_F_CTRL_VLAN = 19,
        VNET_F_CTRL_RX_EXTRA = 20,
        VNET_F_GUEST_ANNOUNCE = 21,
        VNET_F_MQ = 22,
        VNET_F_CTRL_MAC_ADDR = 23,
        VQ_F_NOTIFY_ON_EMPTY = 24,
        VQ_F_LOG_ALL = 26,
        VQ_F_ANY_LAYOUT = 27, /* to vhost-net: "the backend knows no header, make it yourself" */
        VQ_F_INDIRECT_DESC = 28,
        VQ_F_EVENT_IDX = 29,
        VQ_F_PROTOCOL_FEATURES = 30, /* vhost-user only */
        VQ_F_VERSION_1 = 32,
        VQ_F_ACCESS_PLATFORM = 33,
        VQ_F_RING_PACKED = 34,
        VQ_F_IN_ORDER = 35,
        VQ_F_ORDER_PLATFORM = 36,
        VQ_F_SR_IOV = 37,
        VQ_F_NOTIFICATION_DATA = 38,
        VQ_F_NOTIF_CONFIG_DATA = 39,
        VQ_F_RING_RESET = 40,
        VQ_F_ADMIN_VQ = 41,
        VNET_F_DEVICE_STATS = 50,
        VNET_F_HASH_TUNNEL = 51,
        VNET_F_VQ_NOTF_COAL = 52,
        VNET_F_NOTF_COAL = 53,
        VNET_F_GUEST_USO4 = 54,
        VNET_F_GUEST_USO6 = 55,
        VNET_F_HOST_USO = 56,
        VNET_F_HASH_REPORT = 57,
        VNET_F_GUEST_HDRLEN = 59,
        VNET_F_RSS = 60,
        VNET_F_RSC_EXT = 61,
        VNET_F_STANDBY = 62,
        VNET_F_SPEED_DUPLEX = 63,
        VNET_F_GUEST_UDP_TUNNEL_GSO = 65,
        VNET_F_GUEST_UDP_TUNNEL_GSO_CSUM = 66,
        VNET_F_HOST_UDP_TUNNEL_GSO = 67,
        VNET_F_HOST_UDP_TUNNEL_GSO_CSUM = 68,
};

typedef struct VqFeatures {
        uint64_t words[2]; /* host byte order; bit n is bit n%64 of word n/64 */
} VqFeatures;

/* Makes a set from bit numbers: VQ_FEATURES(VQ_F_VERSION_1, VNET_F_MRG_RXBUF). */
#define VQ_FEATURES(...)                                                                                       \
        vq_features_from_bits((const unsigned[]) { __VA_ARGS__ }, sizeof((const unsigned[]) { __VA_ARGS__ }) / sizeof(unsigned))

static inline bool vq_features_has(VqFeatures f, unsigned bit) {
        return bit < VQ_FEATURE_BITS && (f.words[bit / 64] >> (bit % 64) & 1);
}
static inline void vq_features_add(VqFeatures *f, unsigned bit) {
        if (bit < VQ_FEATURE_BITS)
                f->words[bit / 64] |= UINT64_C(1) << (bit % 64);
}
static inline void vq_features_remove(VqFeatures *f, unsigned bit) {
        if (bit < VQ_FEATURE_BITS)
                f->words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}
static inline VqFeatures vq_features_from_bits(const unsigned *bits, unsigned n_bits) {
        VqFeatures f = {};
        for (unsigned i = 0; i < n_bits; i++)
                vq_features_add(&f, bits[i]);
        return f;
}
static inline VqFeatures vq_features_and(VqFeatures a, VqFeatures b) {
        return (VqFeatures) { { a.words[0] & b.words[0], a.words[1] & b.words[1] } };
}
static inline VqFeatures vq_features_or(VqFeatures a, VqFeatures b) {
        return (VqFeatures) { { a.words[0] | b.words[0], a.words[1] | b.words[1] } };
}
static inline VqFeatures vq_features_without(VqFeatures a, VqFeatures b) {
        return (VqFeatures) { { a.words[0] & ~b.words[0], a.words[1] & ~b.words[1] } };
}
static inline bool vq_features_empty(VqFeatures f) {
        return !f.words[0] && !f.words[1];
}
static inline bool vq_features_equal(VqFeatures a, VqFeatures b) {
        return a.words[0] == b.words[0] && a.words[1] == b.words[1];
}

/**
 * vq_features_negotiate() - choose the features both sides will use
 * @offered:    what the device has
 * @wanted:     what the driver would like; taken where offered
 * @required:   what the driver cannot do without
 * @ret:        the chosen set: @offered and (@wanted or @required), less net bits whose dependencies were not offered
 * @ret_missing: (nullable) on -EOPNOTSUPP: the required bits that cannot be had
 *
 * Return: 0; -EOPNOTSUPP when a required bit is not offered or lacks a bit it depends on (@ret untouched).
 */
int vq_features_negotiate(VqFeatures offered, VqFeatures wanted, VqFeatures required, VqFeatures *ret, VqFeatures *ret_missing);

/**
 * vq_features_check_net() - do a virtio-net set's bits have what they depend on?
 * @f:          the set
 * @ret_bit:    (nullable) the first bit that lacks something
 * @ret_needs:  (nullable) a bit it needs
 *
 * Source: virtio 1.3, 5.1.3.1.
 * Return: true when the set is sound; otherwise @ret_bit and @ret_needs say why not.
 */
bool vq_features_check_net(VqFeatures f, unsigned *ret_bit, unsigned *ret_needs);

const char *vq_feature_to_name(unsigned bit); /* "mrg-rxbuf"; NULL for a bit without a name */
int vq_feature_from_name(const char *name);   /* the bit; -EINVAL for an unknown name */
