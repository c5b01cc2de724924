/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vnetctl's reading of DHCP answers and router advertisements: any bytes as options behind good headers, and any bytes at all. What is
 * believed is fit to be configured, and its names to be written into a resolv.conf.
 */

#include <errno.h>
#include <string.h>

#include "ctl-ra.h"
#include "fuzz.h"

#define XID 0x01020304u
#define HEADERS (20 + 8 + 240)

static const MacAddr mac = { { 2, 0, 0, 0, 0, 1 } };

static void check_names(const char *text, const char *between) {
        for (; *text; text++)
                fuzz_check((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                           (*text >= '0' && *text <= '9') || strchr("-_.", *text) || strchr(between, *text));
}

/* In a block of its own size, so that a sanitizer sees the first byte beyond. */
static void check(const uint8_t *packet, size_t len) {
        uint8_t *copy = malloc(len > 0 ? len : 1);
        DhcpLease lease;
        DhcpType type;
        int r;

        fuzz_check(copy);
        memcpy(copy, packet, len);
        r = dhcp_parse(copy, len, XID, &mac, &type, &lease);
        free(copy);
        fuzz_check(r == 0 || r == -ENOMSG || r == -EBADMSG);
        if (r < 0)
                return;
        fuzz_check(lease.n_dns <= DHCP_DNS_MAX && lease.mtu <= UINT16_MAX && lease.prefix_len <= 32);
        fuzz_check(memchr(lease.domain, 0, sizeof(lease.domain)) &&
                   memchr(lease.search, 0, sizeof(lease.search)));
        check_names(lease.domain, "");
        check_names(lease.search, " ");
        if (type == DHCP_ACK || type == DHCP_OFFER)
                fuzz_check(lease.prefix_len > 0 && lease.lease_sec > 0 && ip_v4(&lease.addr) != 0);
}

static void check_advertisement(const uint8_t *options, size_t size) {
        size_t len = 16 + size;
        uint8_t *copy = calloc(1, len);
        DhcpLease lease;
        int r;

        fuzz_check(copy);
        copy[0] = 134;
        if (size > 0)
                memcpy(copy + 16, options, size);
        r = ra_parse(copy, len, &lease);
        free(copy);
        fuzz_check(r == 0 || r == -EBADMSG);
        if (r < 0)
                return;
        fuzz_check(lease.n_dns <= DHCP_DNS_MAX && memchr(lease.search, 0, sizeof(lease.search)));
        check_names(lease.search, " ");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const uint8_t ip[] = { 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17 }, ports[] = { 0, 67, 0, 68 },
                             cookie[] = { 99, 130, 83, 99 };
        uint8_t packet[DHCP_PACKET_MAX] = {};
        size_t len;

        if (size > 0)
                check(data, size);
        check_advertisement(data, size);

        size = size < sizeof(packet) - HEADERS ? size : sizeof(packet) - HEADERS;
        len = HEADERS + size;
        memcpy(packet, ip, sizeof(ip));
        packet[2] = (uint8_t) (len >> 8);
        packet[3] = (uint8_t) len;
        memcpy(packet + 20, ports, sizeof(ports));
        packet[24] = (uint8_t) ((len - 20) >> 8);
        packet[25] = (uint8_t) (len - 20);
        memcpy(packet + 28, (uint8_t[]){ 2, 1, 6, 0, 1, 2, 3, 4 }, 8);
        memcpy(packet + 28 + 16, (uint8_t[]){ 192, 168, 127, 2 }, 4);
        memcpy(packet + 28 + 28, mac.b, sizeof(mac.b));
        memcpy(packet + 28 + 236, cookie, sizeof(cookie));
        if (size > 0)
                memcpy(packet + HEADERS, data, size);
        check(packet, len);
        return 0;
}
