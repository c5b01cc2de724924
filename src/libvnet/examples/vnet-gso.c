/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A GSO experiment: hands the kernel one UDP datagram train with a virtio_net_hdr and lets it be cut and summed.
 *
 *     cc vnet-gso.c $(pkg-config --cflags --libs libvnet) -o vnet-gso
 *     ./vnet-gso 3000 1000        three datagrams of 1000 bytes in one frame
 *
 * It makes a TAP with the address 10.10.10.1/24, listens there on UDP port 7777 as any program would, sends itself the frame through
 * vhost-net as if 10.10.10.2 had, and prints what arrives: nothing before Linux 6.2, which knows no UDP segmentation in a TAP. Change
 * the header and see what the kernel, or the validator, makes of it.
 * Needs CAP_NET_ADMIN for the TAP and access to /dev/vhost-net.
 */

#include <arpa/inet.h>
#include <libvnet/libvnet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define HEADERS 42u /* Ethernet, IPv4, UDP */

static void put16(uint8_t *p, unsigned v) {
        p[0] = (uint8_t) (v >> 8);
        p[1] = (uint8_t) v;
}

static uint32_t sum16(const uint8_t *p, size_t len) {
        uint32_t sum = 0;

        for (size_t i = 0; i + 1 < len; i += 2)
                sum += (uint32_t) (p[i] << 8 | p[i + 1]);
        return sum;
}

static unsigned fold(uint32_t sum) {
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return sum;
}

/* The frame as a guest's driver would hand it over: lengths of the whole, the checksum field holding the pseudo-header's sum. */
static void build(uint8_t *f, const uint8_t mac[6], size_t payload) {
        static const uint8_t from[] = { 0x02, 0, 0, 0, 0, 0x99, 0x08, 0x00, 0x45 }, addresses[] = { 10, 10, 10, 2, 10, 10, 10, 1 };

        memset(f, 0, HEADERS);
        memcpy(f, mac, 6);
        memcpy(f + 6, from, sizeof(from));
        put16(f + 16, (unsigned) (28 + payload));
        f[22] = 64;
        f[23] = 17;
        memcpy(f + 26, addresses, sizeof(addresses));
        put16(f + 24, ~fold(sum16(f + 14, 20)) & 0xffff);
        put16(f + 34, 9999);
        put16(f + 36, 7777);
        put16(f + 38, (unsigned) (8 + payload));
        put16(f + 40, fold(sum16(f + 26, 8) + 17 + 8 + (uint32_t) payload));
        for (size_t i = 0; i < payload; i++)
                f[HEADERS + i] = (uint8_t) i;
}

static int listen_on(const char *ifname) {
        struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(7777) };
        struct timeval limit = { .tv_sec = 2 };
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq ifr = {};

        snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
        inet_pton(AF_INET, "10.10.10.1", &sin.sin_addr);
        memcpy(&ifr.ifr_addr, &(struct sockaddr_in) { .sin_family = AF_INET, .sin_addr = sin.sin_addr }, sizeof(sin));
        if (s < 0 || ioctl(s, SIOCSIFADDR, &ifr) < 0 || bind(s, (struct sockaddr *) &sin, sizeof(sin)) < 0 ||
            setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
                return -1;
        return s;
}

int main(int argc, char **argv) {
        size_t payload = argc > 1 ? strtoul(argv[1], NULL, 10) : 3000, segment = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
        VnetTapConfig tc = { .header_len = 12, .offloads = _VNET_TAP_OFFLOAD_ALL, .mtu = 1500, .up = true, .netns_fd = -1 };
        static uint8_t frame[65536], in[65536];
        const char *what = "";
        uint8_t mac[6];
        VnetTap *tap;
        VhostNet *v;
        int r, fd, s;

        if (argc > 3 || payload == 0 || payload > 65000 || segment > 65000 || segment == 0) {
                fprintf(stderr, "Usage: %s [BYTES [SEGMENT]]\n", argv[0]);
                return 2;
        }
        r = vnet_tap_open(&tap, &tc, &what);
        if (r == 0) {
                fd = vnet_tap_fd(tap, 0);
                r = vhost_net_new(&v, &(VhostNetConfig) { .n_pairs = 1, .backend_fds = &fd }, &what);
        }
        if (r == 0)
                r = vhost_net_start(v);
        if (r == 0)
                r = vnet_tap_get_mac(tap, mac);
        if (r < 0) {
                fprintf(stderr, "%s: %s: %s\n", argv[0], what, strerror(-r));
                return 1;
        }
        s = listen_on(vnet_tap_name(tap));
        if (s < 0) {
                perror("10.10.10.1:7777");
                return 1;
        }

        build(frame, mac, payload);
        struct iovec iov = { frame, HEADERS + payload };
        VhostNetFrame f = {
                .hdr = { .flags = VNET_HDR_F_NEEDS_CSUM, .gso_type = VNET_HDR_GSO_UDP_L4, .hdr_len = HEADERS, .gso_size = (uint16_t) segment,
                         .csum_start = 34, .csum_offset = 6 },
                .iov = &iov,
                .n_iov = 1,
        };
        VnetHdrError e = vnet_hdr_validate(&f.hdr, iov.iov_len, VNET_LINK_ETHERNET);

        printf("header: %s\n", vnet_hdr_error_to_string(e));
        if (vhost_net_send(v, 0, &f, 1) != 1)
                return 1;
        for (ssize_t n, got = 0; got < (ssize_t) payload; got += n) {
                n = recv(s, in, sizeof(in), 0);
                if (n < 0) {
                        perror("nothing more came");
                        return 1;
                }
                printf("datagram of %zd bytes%s\n", n, memcmp(in, frame + HEADERS + got, (size_t) n) ? ", with wrong content" : "");
        }
        vhost_net_free(v);
        vnet_tap_close(tap);
        return 0;
}
