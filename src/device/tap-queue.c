/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A hash over what names a flow: addresses, protocol and ports; less where there is less. Pure. */

#include "device/tap-queue.h"

#include <net/ethernet.h>
#include <netinet/in.h>
#include <xxhash.h>

#include "device/offload-private.h"

#define HEAD_LEN 62 /* Ethernet, a tag, IPv6 without extensions, ports */
#define VLAN_TAG_LEN 4

/* The first bytes of a frame, in one piece. Return: how many there are. */
static size_t copy_head(const Frame *f, uint8_t head[static HEAD_LEN]) {
        size_t len = 0;

        for (unsigned i = 0; i < f->n_iov && len < HEAD_LEN; i++) {
                size_t n = MIN(f->iov[i].iov_len, HEAD_LEN - len);

                memcpy(head + len, f->iov[i].iov_base, n);
                len += n;
        }
        return len;
}

static bool has_ports(uint8_t proto) {
        return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

/* Adds up what names the flow of the IP packet at @at into @key. Return: its length; 0: this is no IP packet. */
static size_t ip_key(const uint8_t *at, size_t len, uint16_t type, uint8_t key[static HEAD_LEN]) {
        size_t l4, n;
        uint8_t proto;
        bool fragment = false;

        if (type == ETHERTYPE_IP && len >= 20 && at[0] >> 4 == 4) {
                l4 = (size_t) (at[0] & 0xf) * 4;
                proto = at[9];
                fragment = (get_be16(at + 6) & 0x3fff) != 0; /* more to come, or not the first */
                n = 8;
                memcpy(key, at + 12, n);
        } else if (type == ETHERTYPE_IPV6 && len >= 40 && at[0] >> 4 == 6) {
                l4 = 40;
                proto = at[6]; /* extensions: as if there were no ports */
                n = 32;
                memcpy(key, at + 8, n);
        } else {
                return 0;
        }

        if (fragment || !has_ports(proto) || l4 < 20 || len < l4 + 4)
                return n;
        key[n] = proto;
        memcpy(key + n + 1, at + l4, 4);
        return n + 5;
}

unsigned tap_queue_of_frame(const Frame *f, unsigned n_queues) {
        uint8_t head[HEAD_LEN], key[HEAD_LEN];
        size_t len, at = ETH_HEADER_LEN, n = 0;
        uint16_t type;

        assert(n_queues > 0);
        if (n_queues == 1)
                return 0;
        len = copy_head(f, head);
        if (len < at)
                return 0;

        type = get_be16(head + at - 2);
        if (type == ETHERTYPE_VLAN && len >= at + VLAN_TAG_LEN) {
                at += VLAN_TAG_LEN;
                type = get_be16(head + at - 2);
        }
        n = ip_key(head + at, len - at, type, key);
        if (n == 0) {
                n = 12; /* the MAC addresses */
                memcpy(key, head, n);
        }
        return (unsigned) ((uint64_t) (uint32_t) XXH3_64bits(key, n) * n_queues >> 32);
}
