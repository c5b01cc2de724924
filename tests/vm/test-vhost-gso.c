/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Super-frames of TCP and UDP, IPv4 and IPv6, sent through vhost-net, over a bridge, to a TAP that takes none: the kernel has to cut them
 * and fill in every checksum. What comes out is looked at byte by byte, with arithmetic of this file's own.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhostnet/vhost.h"
#include "vm-tap.h"

#define OFFLOADS_TSO 0x07u /* checksums, TSO for both families */
#define OFFLOADS_USO 0x60u
#define WAIT_MSEC 60000 /* against hanging alone */
#define ETH 14u
#define FRAME_MAX 65600u
#define FIRST_SEQ 0xfffff000u /* wraps within the first super-frame */
#define FIRST_ID 0xfff0u
#define TO_CUT 9 /* last byte of the address super-frames go to */
#define TO_GREET 7

typedef struct Wire {
        VmTap in, out;
        VhostNet *net;
        bool uso;
} Wire;

typedef struct Shape {
        const char *name;
        bool v6, udp;
        unsigned mss;
        size_t payload;
} Shape;

/* ---- arithmetic ---- */

static uint32_t sum(const uint8_t *p, size_t len, uint32_t s) {
        for (size_t i = 0; i + 1 < len; i += 2)
                s += (uint32_t) p[i] << 8 | p[i + 1];
        if (len % 2)
                s += (uint32_t) p[len - 1] << 8;
        return s;
}

static uint16_t fold(uint32_t s) {
        while (s >> 16)
                s = (s & 0xffff) + (s >> 16);
        return (uint16_t) s;
}

static void put16(uint8_t *p, uint32_t v) {
        p[0] = (uint8_t) (v >> 8);
        p[1] = (uint8_t) v;
}

static uint32_t get16(const uint8_t *p) {
        return (uint32_t) p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p) {
        return get16(p) << 16 | get16(p + 2);
}

static size_t ip_len(const Shape *s) {
        return s->v6 ? 40 : 20;
}

static size_t l4_len(const Shape *s) {
        return s->udp ? 8 : 32; /* with a timestamp */
}

static size_t headers_len(const Shape *s) {
        return ETH + ip_len(s) + l4_len(s);
}

static uint32_t pseudo_sum(const Shape *s, const uint8_t *ip, size_t len) {
        uint32_t n = (uint32_t) (len + (s->udp ? 17 : 6));

        return s->v6 ? sum(ip + 8, 32, n) : sum(ip + 12, 8, n);
}

/* ---- the wire ---- */

static void bridge_ioctl(const char *name, unsigned long request, int ifindex) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq ifr = {};

        g_strlcpy(ifr.ifr_name, name, sizeof(ifr.ifr_name));
        ifr.ifr_ifindex = ifindex;
        if (request == SIOCSIFFLAGS) {
                ifr.ifr_ifindex = 0;
                ifr.ifr_flags = IFF_UP;
        }
        g_assert_cmpint(request == SIOCBRADDBR ? ioctl(fd, request, name) : ioctl(fd, request, &ifr), ==, 0);
        close(fd);
}

static void wire_open(Wire *w) {
        const char *what = NULL;

        *w = (Wire) { .in = vm_tap_open(&(VmTapOptions) { .flags = IFF_TAP | IFF_VNET_HDR, .header_len = 12, .offloads = OFFLOADS_TSO }) };
        w->uso = ioctl(w->in.fd, TUNSETOFFLOAD, OFFLOADS_TSO | OFFLOADS_USO) == 0;
        w->out = vm_tap_open(&(VmTapOptions) { .flags = IFF_TAP });
        bridge_ioctl("cut0", SIOCBRADDBR, 0);
        bridge_ioctl("cut0", SIOCBRADDIF, w->in.ifindex);
        bridge_ioctl("cut0", SIOCBRADDIF, w->out.ifindex);
        bridge_ioctl("cut0", SIOCSIFFLAGS, 0);
        g_assert_cmpint(vhost_net_new(&w->net, &(VhostNetConfig) { .n_pairs = 1, .backend_fds = &w->in.fd }, &what), ==, 0);
        g_assert_cmpint(vhost_net_start(w->net), ==, 0);
}

/* The next frame to @to off the far TAP; -1 when nothing comes for @msec. */
static ssize_t wire_read(Wire *w, uint8_t to, uint8_t *buf, int msec) {
        for (;;) {
                ssize_t n;

                if (!vm_wait(w->out.fd, msec))
                        return -1;
                n = read(w->out.fd, buf, FRAME_MAX);
                g_assert_cmpint(n, >, 0);
                if (buf[0] == 2 && buf[5] == to)
                        return n;
        }
}

static int wire_send(Wire *w, const VnetHdr *hdr, uint8_t *frame, size_t len) {
        struct iovec iov[2] = { { frame, 33 }, { frame + 33, len - 33 } };
        void *token;
        int r = vhost_net_send(w->net, 0, &(VhostNetFrame) { .hdr = *hdr, .iov = iov, .n_iov = 2, .token = frame }, 1);

        for (unsigned i = 0; r == 1 && vhost_net_done(w->net, 0, &token, 1) == 0; i++) {
                g_assert_cmpuint(i, <, WAIT_MSEC);
                g_usleep(1000);
        }
        return r;
}

/* ---- super-frames ---- */

static size_t build(const Shape *s, uint8_t *f, VnetHdr *ret) {
        uint8_t *ip = f + ETH, *l4 = ip + ip_len(s);
        size_t total = l4_len(s) + s->payload;
        unsigned check = s->udp ? 6 : 16;

        vm_frame(f, headers_len(s) + s->payload, (uint32_t) s->payload);
        memcpy(f, (uint8_t[]) { 2, 0, 0, 0, 0, TO_CUT, 2, 0, 0, 0, 0, 8 }, 12);
        put16(f + 12, s->v6 ? 0x86dd : 0x0800);
        memset(ip, 0, ip_len(s) + l4_len(s));
        if (s->v6) {
                ip[0] = 0x60;
                put16(ip + 4, (uint32_t) total);
                ip[6] = s->udp ? 17 : 6;
                ip[7] = 64;
                ip[8] = ip[24] = 0xfd;
                ip[23] = 1;
                ip[39] = 2;
        } else {
                ip[0] = 0x45;
                put16(ip + 2, (uint32_t) (20 + total));
                put16(ip + 4, FIRST_ID);
                ip[6] = s->udp ? 0 : 0x40;
                ip[8] = 64;
                ip[9] = s->udp ? 17 : 6;
                memcpy(ip + 12, (uint8_t[]) { 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
                put16(ip + 10, (uint16_t) ~fold(sum(ip, 20, 0)));
        }
        put16(l4, 4000);
        put16(l4 + 2, 5000);
        if (s->udp) {
                put16(l4 + 4, (uint32_t) total);
        } else {
                put16(l4 + 4, FIRST_SEQ >> 16);
                put16(l4 + 6, FIRST_SEQ & 0xffff);
                l4[12] = 8 << 4;
                l4[13] = 0x19; /* ACK, PSH, FIN: the last two for the last piece alone */
                put16(l4 + 14, 1000);
                memcpy(l4 + 20, (uint8_t[]) { 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2 }, 12);
        }
        put16(l4 + check, fold(pseudo_sum(s, ip, total)));
        *ret = (VnetHdr) {
                .flags = VNET_HDR_F_NEEDS_CSUM,
                .gso_type = s->udp ? VNET_HDR_GSO_UDP_L4 : s->v6 ? VNET_HDR_GSO_TCPV6 : VNET_HDR_GSO_TCPV4,
                .hdr_len = (uint16_t) headers_len(s),
                .gso_size = (uint16_t) s->mss,
                .csum_start = (uint16_t) (ETH + ip_len(s)),
                .csum_offset = (uint16_t) check,
        };
        return headers_len(s) + s->payload;
}

/* Piece @i of the super-frame @super, with @len bytes of payload from @off on. */
static void check_piece(const Shape *s, const uint8_t *super, const uint8_t *f, size_t n, unsigned i, size_t off, size_t len) {
        const uint8_t *ip = f + ETH, *l4 = ip + ip_len(s);
        bool last = off + len == s->payload;

        g_assert_cmpuint(n, ==, headers_len(s) + len);
        g_assert_cmpmem(f, ETH, super, ETH);
        if (s->v6) {
                g_assert_cmpuint(get16(ip + 4), ==, l4_len(s) + len);
                g_assert_cmpmem(ip + 6, 34, super + ETH + 6, 34);
        } else {
                g_assert_cmpuint(get16(ip + 2), ==, n - ETH);
                g_assert_cmphex(fold(sum(ip, 20, 0)), ==, 0xffff);
                g_assert_cmphex(get16(ip + 4), ==, (FIRST_ID + i) & 0xffff);
                g_assert_cmpmem(ip + 12, 8, super + ETH + 12, 8);
        }
        g_assert_cmphex(fold(sum(l4, n - ETH - ip_len(s), pseudo_sum(s, ip, n - ETH - ip_len(s)))), ==, 0xffff);
        g_assert_cmpmem(l4, 4, super + ETH + ip_len(s), 4);
        if (s->udp) {
                g_assert_cmpuint(get16(l4 + 4), ==, 8 + len);
        } else {
                g_assert_cmphex(get32(l4 + 4), ==, (uint32_t) (FIRST_SEQ + off));
                g_assert_cmphex(l4[13], ==, last ? 0x19 : 0x10);
                g_assert_cmpmem(l4 + 20, 12, super + ETH + ip_len(s) + 20, 12);
        }
        g_assert_cmpmem(f + headers_len(s), len, super + headers_len(s) + off, len);
}

static void check_shape(Wire *w, const Shape *s) {
        static uint8_t super[FRAME_MAX], piece[FRAME_MAX];
        VnetHdr hdr;
        size_t len = build(s, super, &hdr), off = 0;

        g_assert_cmpint(wire_send(w, &hdr, super, len), ==, 1);
        if (s->udp && !w->uso) { /* this kernel has no such thing: taken and dropped, and nothing stands still */
                g_assert_cmpint(wire_read(w, TO_CUT, piece, 200), ==, -1);
                return;
        }
        for (unsigned i = 0; off < s->payload; i++) {
                ssize_t n = wire_read(w, TO_CUT, piece, WAIT_MSEC);
                size_t n_payload = MIN(s->mss, s->payload - off);

                g_assert_cmpint(n, >, 0);
                check_piece(s, super, piece, (size_t) n, i, off, n_payload);
                off += n_payload;
        }
        g_assert_cmpint(wire_read(w, TO_CUT, piece, 20), ==, -1); /* and no more */
        g_test_message("%s: %zu bytes in pieces of %u", s->name, s->payload, s->mss);
}

static void test_cut(void) {
        static const Shape shapes[] = {
                { "TCP over IPv4", false, false, 1448, 65535 - 52 }, /* the longest there is */
                { "TCP over IPv4", false, false, 1448, 2 * 1448 },
                { "TCP over IPv4", false, false, 536, 40001 },
                { "TCP over IPv4", false, false, 8948, 60000 },
                { "TCP over IPv6", true, false, 1428, 65535 - 72 },
                { "TCP over IPv6", true, false, 1428, 1429 },
                { "TCP over IPv6", true, false, 1220, 40001 },
                { "UDP over IPv4", false, true, 1472, 65535 - 28 },
                { "UDP over IPv4", false, true, 1000, 2001 },
                { "UDP over IPv4", false, true, 100, 12800 }, /* as many as there may be */
                { "UDP over IPv6", true, true, 1452, 65535 - 48 },
                { "UDP over IPv6", true, true, 1200, 30000 },
        };
        static uint8_t plain[1514], in[FRAME_MAX];
        Wire w;

        wire_open(&w);
        vm_frame(plain, sizeof(plain), 1);
        plain[5] = TO_GREET; /* as often as it takes: those that come late are none of the super-frames */
        uint64_t until = vm_now_usec() + WAIT_MSEC * 1000;
        do { /* until the bridge has noticed that its ports are up */
                g_assert_cmpuint(vm_now_usec(), <, until);
                g_assert_cmpint(wire_send(&w, &(VnetHdr) {}, plain, sizeof(plain)), ==, 1);
        } while (wire_read(&w, TO_GREET, in, 50) < 0);
        g_assert_cmpmem(in, sizeof(plain), plain, sizeof(plain));
        for (unsigned i = 0; i < G_N_ELEMENTS(shapes); i++)
                check_shape(&w, &shapes[i]);

        /* Super-frames in tunnels need a header that is not negotiated: refused here, not given to the kernel. */
        static const uint8_t tunnels[] = { 0x21, 0x41, 0x24, 0x44, 0x25, 0x45, 0x61 };
        VnetHdr hdr;
        size_t len = build(&shapes[0], in, &hdr);
        for (unsigned i = 0; i < G_N_ELEMENTS(tunnels); i++) {
                hdr.gso_type = tunnels[i];
                g_assert_cmpint(wire_send(&w, &hdr, in, len), ==, -EPROTO);
        }
        hdr.gso_type = VNET_HDR_GSO_TCPV4;
        hdr.flags |= VNET_HDR_F_UDP_TUNNEL_CSUM;
        g_assert_cmpint(wire_send(&w, &hdr, in, len), ==, -EPROTO);
        g_assert_cmpint(vhost_net_check(w.net, 0, vm_now_usec()), ==, VHOST_NET_HEALTH_GOOD);

        w.net = vhost_net_free(w.net);
        vm_tap_close(&w.in);
        vm_tap_close(&w.out);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        int fd = vhost_open_net();
        if (fd < 0) {
                g_printerr("no /dev/vhost-net here: %s\n", g_strerror(-fd));
                return 77;
        }
        close(fd);
        g_test_add_func("/vhost-gso/cut", test_cut);
        return g_test_run();
}
