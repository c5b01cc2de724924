/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transmit and receive through vhost-net, with offloads: makes a TAP and answers ARP and ping for one address on it.
 *
 *     cc vnet-echo.c $(pkg-config --cflags --libs libvnet) -o vnet-echo
 *     ./vnet-echo 10.10.10.2 &
 *     ip addr add 10.10.10.1/24 dev tap0; ping -s 60000 10.10.10.2
 *
 * Frames are answered in the very buffers they came in: received on loan, changed, sent from where they lie, and returned when the
 * kernel is done with them. Needs CAP_NET_ADMIN for the TAP and access to /dev/vhost-net.
 */

#include <arpa/inet.h>
#include <libvnet/libvnet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t our_mac[6] = { 0x02, 0, 0, 0, 0, 0x99 };
static uint32_t our_ip; /* network order */

/* Answers a frame in place. The header of what we look at lies in the first piece: buffers are larger than that. */
static int answer(uint8_t *f, size_t len) {
        if (len >= 42 && f[12] == 0x08 && f[13] == 0x06 && f[21] == 1 && memcmp(f + 38, &our_ip, 4) == 0) { /* ARP request */
                memmove(f + 32, f + 22, 10); /* its sender becomes the target */
                f[21] = 2;
                memcpy(f + 22, our_mac, 6);
                memcpy(f + 28, &our_ip, 4);
        } else if (len >= 42 && f[12] == 0x08 && f[13] == 0x00 && f[14] == 0x45 && f[23] == 1 && f[34] == 8 &&
                   !(f[20] & 0x3f) && !f[21] && memcmp(f + 30, &our_ip, 4) == 0) { /* unfragmented echo request */
                uint32_t sum;

                memcpy(f + 30, f + 26, 4);
                memcpy(f + 26, &our_ip, 4);
                f[34] = 0;
                sum = (uint32_t) (f[36] << 8 | f[37]) + 0x0800; /* the checksum follows the type */
                sum = (sum & 0xffff) + (sum >> 16);
                f[36] = (uint8_t) (sum >> 8);
                f[37] = (uint8_t) sum;
        } else {
                return 0;
        }
        memcpy(f, f + 6, 6);
        memcpy(f + 6, our_mac, 6);
        return 1;
}

/* A loan that is on its way out, until the kernel has copied it. */
static VhostNetLoan lent[VHOST_NET_QUEUE_SIZE];
static struct iovec lent_iov[VHOST_NET_QUEUE_SIZE][VHOST_NET_PIECES_MAX];
static unsigned char in_use[VHOST_NET_QUEUE_SIZE];

static void give_back(VhostNet *v) {
        void *tokens[VHOST_NET_BATCH_MAX];
        int n;

        while ((n = vhost_net_done(v, 0, tokens, VHOST_NET_BATCH_MAX)) > 0)
                for (int i = 0; i < n; i++) {
                        VhostNetLoan *l = tokens[i];

                        (void) vhost_net_return(v, 0, l, 1);
                        in_use[l - lent] = 0;
                }
}

static void serve(VhostNet *v, const VhostNetLoan *l) {
        VhostNetFrame f;

        /* The iovec is good until the next receive; the first buffer's number is a free place for a copy. */
        if (l->n_iov > VHOST_NET_PIECES_MAX || in_use[l->cookie] || !answer(l->iov[0].iov_base, l->iov[0].iov_len)) {
                (void) vhost_net_return(v, 0, l, 1);
                return;
        }
        lent[l->cookie] = *l;
        memcpy(lent_iov[l->cookie], l->iov, l->n_iov * sizeof(l->iov[0]));
        f = (VhostNetFrame) { .hdr = l->hdr, .iov = lent_iov[l->cookie], .n_iov = l->n_iov, .token = &lent[l->cookie] };
        f.hdr.num_buffers = 0;
        in_use[l->cookie] = 1;
        if (vhost_net_send(v, 0, &f, 1) != 1) {
                in_use[l->cookie] = 0;
                (void) vhost_net_return(v, 0, l, 1);
        }
}

int main(int argc, char **argv) {
        VnetTapConfig tc = { .header_len = 12, .offloads = _VNET_TAP_OFFLOAD_ALL, .mtu = 65000, .up = true, .netns_fd = -1 };
        VhostNetLoan loans[VHOST_NET_BATCH_MAX];
        const char *what = "";
        VnetTap *tap;
        VhostNet *v;
        int r, fd;

        if (argc != 2 || inet_pton(AF_INET, argv[1], &our_ip) != 1) {
                fprintf(stderr, "Usage: %s IPV4-ADDRESS\n", argv[0]);
                return 2;
        }
        r = vnet_tap_open(&tap, &tc, &what);
        if (r == 0) {
                fd = vnet_tap_fd(tap, 0);
                r = vhost_net_new(&v, &(VhostNetConfig) { .n_pairs = 1, .backend_fds = &fd }, &what);
        }
        if (r == 0)
                r = vhost_net_start(v);
        if (r < 0) {
                fprintf(stderr, "%s: %s: %s\n", argv[0], what, strerror(-r));
                return 1;
        }
        printf("%s answers for %s\n", vnet_tap_name(tap), argv[1]);
        fflush(stdout);

        for (;;) {
                struct pollfd p = { .fd = vhost_net_fd(v, 0, VHOST_NET_RX, VHOST_NET_FD_CALL), .events = POLLIN };
                int n = vhost_net_receive(v, 0, loans, VHOST_NET_BATCH_MAX);

                if (n < 0) {
                        fprintf(stderr, "%s: %s\n", argv[0], vq_broken_to_string(vhost_net_broken(v, 0, VHOST_NET_RX)));
                        return 1;
                }
                for (int i = 0; i < n; i++)
                        serve(v, &loans[i]);
                give_back(v);
                if (n == 0 && vhost_net_arm(v, 0, VHOST_NET_RX, 1)) {
                        (void) poll(&p, 1, 100);
                        vhost_net_disarm(v, 0, VHOST_NET_RX);
                }
        }
}
