/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feature names, negotiation and dependencies. Tables and set arithmetic: never talks to a device, never allocates.
 */

#include "core-vq/vq-feature.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define N_ELEMENTS(x) (sizeof(x) / sizeof((x)[0]))

static const char *const feature_names[VQ_FEATURE_BITS] = {
        [VNET_F_CSUM] = "csum",
        [VNET_F_GUEST_CSUM] = "guest-csum",
        [VNET_F_CTRL_GUEST_OFFLOADS] = "ctrl-guest-offloads",
        [VNET_F_MTU] = "mtu",
        [VNET_F_MAC] = "mac",
        [VNET_F_GUEST_TSO4] = "guest-tso4",
        [VNET_F_GUEST_TSO6] = "guest-tso6",
        [VNET_F_GUEST_ECN] = "guest-ecn",
        [VNET_F_GUEST_UFO] = "guest-ufo",
        [VNET_F_HOST_TSO4] = "host-tso4",
        [VNET_F_HOST_TSO6] = "host-tso6",
        [VNET_F_HOST_ECN] = "host-ecn",
        [VNET_F_HOST_UFO] = "host-ufo",
        [VNET_F_MRG_RXBUF] = "mrg-rxbuf",
        [VNET_F_STATUS] = "status",
        [VNET_F_CTRL_VQ] = "ctrl-vq",
        [VNET_F_CTRL_RX] = "ctrl-rx",
        [VNET_F_CTRL_VLAN] = "ctrl-vlan",
        [VNET_F_CTRL_RX_EXTRA] = "ctrl-rx-extra",
        [VNET_F_GUEST_ANNOUNCE] = "guest-announce",
        [VNET_F_MQ] = "mq",
        [VNET_F_CTRL_MAC_ADDR] = "ctrl-mac-addr",
        [VQ_F_NOTIFY_ON_EMPTY] = "notify-on-empty",
        [VQ_F_LOG_ALL] = "log-all",
        [VQ_F_ANY_LAYOUT] = "any-layout",
        [VQ_F_INDIRECT_DESC] = "indirect-desc",
        [VQ_F_EVENT_IDX] = "event-idx",
        [VQ_F_PROTOCOL_FEATURES] = "protocol-features",
        [VQ_F_VERSION_1] = "version-1",
        [VQ_F_ACCESS_PLATFORM] = "access-platform",
        [VQ_F_RING_PACKED] = "ring-packed",
        [VQ_F_IN_ORDER] = "in-order",
        [VQ_F_ORDER_PLATFORM] = "order-platform",
        [VQ_F_SR_IOV] = "sr-iov",
        [VQ_F_NOTIFICATION_DATA] = "notification-data",
        [VQ_F_NOTIF_CONFIG_DATA] = "notif-config-data",
        [VQ_F_RING_RESET] = "ring-reset",
        [VQ_F_ADMIN_VQ] = "admin-vq",
        [VNET_F_DEVICE_STATS] = "device-stats",
        [VNET_F_HASH_TUNNEL] = "hash-tunnel",
        [VNET_F_VQ_NOTF_COAL] = "vq-notf-coal",
        [VNET_F_NOTF_COAL] = "notf-coal",
        [VNET_F_GUEST_USO4] = "guest-uso4",
        [VNET_F_GUEST_USO6] = "guest-uso6",
        [VNET_F_HOST_USO] = "host-uso",
        [VNET_F_HASH_REPORT] = "hash-report",
        [VNET_F_GUEST_HDRLEN] = "guest-hdrlen",
        [VNET_F_RSS] = "rss",
        [VNET_F_RSC_EXT] = "rsc-ext",
        [VNET_F_STANDBY] = "standby",
        [VNET_F_SPEED_DUPLEX] = "speed-duplex",
        [VNET_F_GUEST_UDP_TUNNEL_GSO] = "guest-udp-tunnel-gso",
        [VNET_F_GUEST_UDP_TUNNEL_GSO_CSUM] = "guest-udp-tunnel-gso-csum",
        [VNET_F_HOST_UDP_TUNNEL_GSO] = "host-udp-tunnel-gso",
        [VNET_F_HOST_UDP_TUNNEL_GSO_CSUM] = "host-udp-tunnel-gso-csum",
};

/* @bit is sound with any one of @any. The control-queue bits come first, so that what hangs on them is dropped after. */
static const struct Dependency {
        uint8_t bit, any[2];
} dependencies[] = {
        { VNET_F_CTRL_GUEST_OFFLOADS, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
        { VNET_F_CTRL_RX, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
        { VNET_F_CTRL_VLAN, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
        { VNET_F_CTRL_RX_EXTRA, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
        { VNET_F_GUEST_ANNOUNCE, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
        { VNET_F_MQ, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
        { VNET_F_CTRL_MAC_ADDR, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
        { VNET_F_NOTF_COAL, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
        { VNET_F_VQ_NOTF_COAL, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
        { VNET_F_RSS, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
        { VNET_F_GUEST_TSO4, { VNET_F_GUEST_CSUM, VNET_F_GUEST_CSUM } },
        { VNET_F_GUEST_TSO6, { VNET_F_GUEST_CSUM, VNET_F_GUEST_CSUM } },
        { VNET_F_GUEST_UFO, { VNET_F_GUEST_CSUM, VNET_F_GUEST_CSUM } },
        { VNET_F_GUEST_USO4, { VNET_F_GUEST_CSUM, VNET_F_GUEST_CSUM } },
        { VNET_F_GUEST_USO6, { VNET_F_GUEST_CSUM, VNET_F_GUEST_CSUM } },
        { VNET_F_GUEST_ECN, { VNET_F_GUEST_TSO4, VNET_F_GUEST_TSO6 } },
        { VNET_F_HOST_TSO4, { VNET_F_CSUM, VNET_F_CSUM } },
        { VNET_F_HOST_TSO6, { VNET_F_CSUM, VNET_F_CSUM } },
        { VNET_F_HOST_UFO, { VNET_F_CSUM, VNET_F_CSUM } },
        { VNET_F_HOST_USO, { VNET_F_CSUM, VNET_F_CSUM } },
        { VNET_F_HOST_ECN, { VNET_F_HOST_TSO4, VNET_F_HOST_TSO6 } },
        { VNET_F_RSC_EXT, { VNET_F_HOST_TSO4, VNET_F_HOST_TSO6 } },
        { VNET_F_GUEST_UDP_TUNNEL_GSO, { VNET_F_GUEST_TSO4, VNET_F_GUEST_TSO6 } },
        { VNET_F_GUEST_UDP_TUNNEL_GSO_CSUM, { VNET_F_GUEST_UDP_TUNNEL_GSO, VNET_F_GUEST_UDP_TUNNEL_GSO } },
        { VNET_F_HOST_UDP_TUNNEL_GSO, { VNET_F_HOST_TSO4, VNET_F_HOST_TSO6 } },
        { VNET_F_HOST_UDP_TUNNEL_GSO_CSUM, { VNET_F_HOST_UDP_TUNNEL_GSO, VNET_F_HOST_UDP_TUNNEL_GSO } },
};

static bool dependency_met(VqFeatures f, const struct Dependency *d) {
        return !vq_features_has(f, d->bit) || vq_features_has(f, d->any[0]) || vq_features_has(f, d->any[1]);
}

bool vq_features_check_net(VqFeatures f, unsigned *ret_bit, unsigned *ret_needs) {
        for (size_t i = 0; i < N_ELEMENTS(dependencies); i++) {
                if (dependency_met(f, &dependencies[i]))
                        continue;
                if (ret_bit)
                        *ret_bit = dependencies[i].bit;
                if (ret_needs)
                        *ret_needs = dependencies[i].any[0];
                return false;
        }
        return true;
}

int vq_features_negotiate(VqFeatures offered, VqFeatures wanted, VqFeatures required, VqFeatures *ret, VqFeatures *ret_missing) {
        VqFeatures chosen = vq_features_and(offered, vq_features_or(wanted, required)), missing;

        for (size_t i = 0; i < N_ELEMENTS(dependencies); i++)
                if (!dependency_met(chosen, &dependencies[i]))
                        vq_features_remove(&chosen, dependencies[i].bit);

        missing = vq_features_without(required, chosen);
        if (!vq_features_empty(missing)) {
                if (ret_missing)
                        *ret_missing = missing;
                return -EOPNOTSUPP;
        }
        *ret = chosen;
        return 0;
}

const char *vq_feature_to_name(unsigned bit) {
        return bit < VQ_FEATURE_BITS ? feature_names[bit] : NULL;
}

int vq_feature_from_name(const char *name) {
        for (unsigned bit = 0; bit < VQ_FEATURE_BITS; bit++)
                if (feature_names[bit] && strcmp(feature_names[bit], name) == 0)
                        return (int) bit;
        return -EINVAL;
}
