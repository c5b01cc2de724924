/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames through the real vhost-net: every size both ways byte for byte, batches, rings of every size, header modes, TUN, packet
 * sockets, restart, several pairs, no privilege, unplugging in every order, and a worker brought to spin and got going again.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/macro.h"
#include "core-vq/vq-layout.h"
#include "core-vq/vq-ring.h"
#include "vhostnet/vhost-net-internal.h"
#include "vhostnet/vhost.h"
#include "vm-tap.h"

#define LEN_MAX 65535u
#define WAIT_MSEC 60000 /* against hanging alone */

/* Also where the kernel changes its path, and where a copy just fits one chunk, or two. */
static const size_t lengths[] = { 60, 64, 1500, 1514, 3636, 3637, 4084, 4085, 4096, 8180, 8181, 9014, 16384, 64100, LEN_MAX };
static const VmTapOptions tap_options = { .flags = IFF_TAP | IFF_VNET_HDR, .header_len = 12, .packet = true };

static VhostNet *open_net(const VhostNetConfig *c) {
        VhostNet *v = NULL;
        const char *what = NULL;
        int r = vhost_net_new(&v, c, &what);

        if (r < 0)
                g_error("vhost_net_new: %s: %s", what, g_strerror(-r));
        g_assert_cmpint(vhost_net_start(v), ==, 0);
        return v;
}

/* Waits until everything sent has been taken by the worker. */
static void drain(VhostNet *v, unsigned pair) {
        void *tokens[64];
        uint64_t until = vm_now_usec() + WAIT_MSEC * 1000;

        while (vq_driver_outstanding(v->pairs[pair].q[VHOST_NET_TX].driver) > 0) {
                g_assert_cmpint(vhost_net_done(v, pair, tokens, 64), >=, 0);
                if (vhost_net_arm(v, pair, VHOST_NET_TX, 1))
                        (void) vm_wait(vhost_net_fd(v, pair, VHOST_NET_TX, VHOST_NET_FD_CALL), 100);
                vhost_net_disarm(v, pair, VHOST_NET_TX);
                g_assert_cmpuint(vm_now_usec(), <, until);
        }
}

static void send_one(VhostNet *v, unsigned pair, const VnetHdr *hdr, void *data, size_t len, bool copy) {
        struct iovec iov[4] = { { data, 20 }, { (char *) data + 20, 311 }, { (char *) data + 331, len - 331 } };
        VhostNetFrame f = { .hdr = *hdr, .iov = iov, .n_iov = 3, .token = data };

        if (len <= 331) {
                iov[0].iov_len = len;
                f.n_iov = 1;
        }
        if (copy) {
                f.token = NULL;
                iov[f.n_iov++] = (struct iovec) {}; /* empty pieces do no harm here */
                g_assert_cmpint(vhost_net_send_copy(v, pair, &f, 1), ==, 1);
        } else {
                g_assert_cmpint(vhost_net_send(v, pair, &f, 1), ==, 1);
        }
}

/* Receives one frame of VM_ETHERTYPE into @buf; -1 after @msec. */
static ssize_t receive_one(VhostNet *v, unsigned pair, uint8_t *buf, VnetHdr *ret_hdr, int msec) {
        uint64_t until = vm_now_usec() + (uint64_t) msec * 1000;

        while (vm_now_usec() < until) {
                VhostNetLoan l;
                int n = vhost_net_receive(v, pair, &l, 1);
                size_t at = 0;

                g_assert_cmpint(n, >=, 0);
                if (n == 0) {
                        if (vhost_net_arm(v, pair, VHOST_NET_RX, 1))
                                (void) vm_wait(vhost_net_fd(v, pair, VHOST_NET_RX, VHOST_NET_FD_CALL), 50);
                        vhost_net_disarm(v, pair, VHOST_NET_RX);
                        continue;
                }
                for (unsigned i = 0; i < l.n_iov; i++) {
                        memcpy(buf + at, l.iov[i].iov_base, l.iov[i].iov_len);
                        at += l.iov[i].iov_len;
                }
                g_assert_cmpuint(at, ==, l.len);
                if (ret_hdr)
                        *ret_hdr = l.hdr;
                g_assert_cmpint(vhost_net_return(v, pair, &l, 1), ==, 0);
                if (at >= 14 && buf[12] == VM_ETHERTYPE >> 8 && buf[13] == (VM_ETHERTYPE & 0xff))
                        return (ssize_t) at;
        }
        return -1;
}

static void check_send(VhostNet *v, unsigned pair, const VmTap *t, size_t len, bool copy) {
        static uint8_t out[LEN_MAX + 1], in[2 * LEN_MAX];

        vm_frame(out, len, (uint32_t) len);
        send_one(v, pair, &(VnetHdr) {}, out, len, copy);
        g_assert_cmpint(vm_packet_read(t, in, sizeof(in), WAIT_MSEC), ==, len);
        g_assert_cmpmem(in, len, out, len);
        drain(v, pair);
}

static void check_receive(VhostNet *v, const VmTap *t, size_t len, unsigned n_buffers) {
        static uint8_t out[LEN_MAX + 1], in[2 * LEN_MAX];
        VnetHdr hdr;

        vm_frame(out, len, (uint32_t) len + 7);
        g_assert_cmpint(send(t->packet_fd, out, len, 0), ==, len);
        g_assert_cmpint(receive_one(v, 0, in, &hdr, WAIT_MSEC), ==, len);
        g_assert_cmpmem(in, len, out, len);
        g_assert_cmpuint(hdr.num_buffers, ==, n_buffers);
        g_assert_cmpuint(hdr.gso_type, ==, 0);
}

static void test_sizes(void) {
        VmTap t = vm_tap_open(&tap_options);
        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd });

        for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
                check_send(v, 0, &t, lengths[i], false);
                check_send(v, 0, &t, lengths[i], true);
                check_receive(v, &t, lengths[i], (unsigned) (lengths[i] + 12 + 4095) / 4096);
        }
        for (size_t len = 60; len <= LEN_MAX; len += 619) { /* and some of all between */
                check_send(v, 0, &t, len, len % 2);
                check_receive(v, &t, len, (unsigned) (len + 12 + 4095) / 4096);
        }
        g_assert_cmpint(vhost_net_check(v, 0, vm_now_usec()), ==, VHOST_NET_HEALTH_GOOD);
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

/* Rings far longer and shorter than what others manage, with and without EVENT_IDX and indirect tables. */
static void test_ring_sizes(void) {
        static const unsigned sizes[] = { 1, 2, 32, 64, 1024, 32768 };
        const VqFeatures plain = VQ_FEATURES(VNET_F_MRG_RXBUF);

        for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++)
                for (unsigned direct = 0; direct < 2; direct++) {
                        VmTap t = vm_tap_open(&tap_options);
                        unsigned buffer = sizes[i] == 1 ? 65568 : sizes[i] < 32 ? 32800 : 4096;
                        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .queue_size = sizes[i],
                                                                   .rx_buffer_len = buffer, .n_tx_chunks = 64,
                                                                   .wanted = direct ? &plain : NULL });

                        for (unsigned k = 0; k < 3; k++) {
                                check_send(v, 0, &t, 1514, true);
                                if (!direct || sizes[i] >= 4)
                                        check_send(v, 0, &t, 1514, false);
                                check_receive(v, &t, 1514, 1);
                        }
                        if (!direct || sizes[i] >= 32)
                                check_send(v, 0, &t, 64100, true);
                        v = vhost_net_free(v);
                        vm_tap_close(&t);
                }
}

/* A12 and batches of 64: 1024 frames of 9014 bytes each way without loss, and few kicks. */
static void test_batches(void) {
        static uint8_t out[64][9014], in[65536];
        VmTap t = vm_tap_open(&tap_options);
        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .queue_size = 1024 });
        const VhostNetStats *s = vhost_net_stats(v, 0);
        struct iovec iov[64];
        VhostNetFrame f[64];

        for (unsigned batch = 0; batch < 16; batch++) {
                for (unsigned i = 0; i < 64; i++) {
                        vm_frame(out[i], sizeof(out[i]), batch * 64 + i);
                        iov[i] = (struct iovec) { out[i], sizeof(out[i]) };
                        f[i] = (VhostNetFrame) { .iov = &iov[i], .n_iov = 1, .token = out[i] };
                }
                g_assert_cmpint(vhost_net_send(v, 0, f, 64), ==, 64);
                for (unsigned i = 0; i < 64; i++) {
                        g_assert_cmpint(vm_packet_read(&t, in, sizeof(in), WAIT_MSEC), ==, sizeof(out[i]));
                        g_assert_cmpmem(in, sizeof(out[i]), out[i], sizeof(out[i]));
                }
                drain(v, 0);
        }
        g_assert_cmpuint(s->tx_frames, ==, 1024);
        g_assert_cmpuint(s->tx_kicks, <=, 17); /* one a batch, and the start's */

        for (unsigned batch = 0; batch < 16; batch++) {
                for (unsigned i = 0; i < 64; i++) {
                        vm_frame(out[i], sizeof(out[i]), batch * 64 + i);
                        g_assert_cmpint(send(t.packet_fd, out[i], sizeof(out[i]), 0), ==, sizeof(out[i]));
                }
                for (unsigned i = 0; i < 64; i++) {
                        g_assert_cmpint(receive_one(v, 0, in, NULL, WAIT_MSEC), ==, sizeof(out[i]));
                        g_assert_cmpmem(in, sizeof(out[i]), out[i], sizeof(out[i]));
                }
        }
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

/* What a frame may cost at most, both ways: kicks, system calls, allocations. */
static void test_ceilings(void) {
        static const unsigned batches[] = { 1, 8, 64 };
        const VqFeatures flags = VQ_FEATURES(VNET_F_MRG_RXBUF, VQ_F_INDIRECT_DESC);
        static uint8_t out[1514], in[65536];
        struct iovec iov = { out, sizeof(out) };
        VhostNetFrame f[64];

        vm_frame(out, sizeof(out), 1);
        for (unsigned i = 0; i < 64; i++)
                f[i] = (VhostNetFrame) { .iov = &iov, .n_iov = 1 };
        for (unsigned c = 0; c < 6; c++) {
                unsigned batch = batches[c / 2], n_frames = 4096, sleeps = 0, splits = 0;
                VmTap t = vm_tap_open(&tap_options);
                VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .wanted = c % 2 ? &flags : NULL });
                const VhostNetStats *s = vhost_net_stats(v, 0);
                uint64_t before = vm_allocations(), kicks = s->tx_kicks;

                for (unsigned done = 0; done < n_frames;) {
                        unsigned wanted = MIN(batch, n_frames - done);
                        int n = vhost_net_send_copy(v, 0, f, wanted);

                        g_assert_cmpint(n, >=, 0);
                        done += (unsigned) n;
                        splits += (unsigned) n < wanted; /* a full ring makes two batches of one */
                        if (n == 0 && vhost_net_arm(v, 0, VHOST_NET_TX, vhost_net_outstanding(v, 0) / 2)) {
                                g_assert_true(vm_wait(vhost_net_fd(v, 0, VHOST_NET_TX, VHOST_NET_FD_CALL), WAIT_MSEC));
                                vhost_net_disarm(v, 0, VHOST_NET_TX);
                                sleeps++;
                        }
                }
                kicks = s->tx_kicks - kicks;
                g_test_message("batch %u, %s: %" G_GUINT64_FORMAT " kicks, %u sleeps for %u frames", batch, c % 2 ? "flags" : "event-idx", kicks,
                               sleeps, n_frames);
                g_assert_cmpuint(kicks, <=, n_frames / batch + splits);
                g_assert_cmpuint(sleeps, <=, n_frames / 32); /* a quarter of the ring each time, at least */
                if (batch == 64)
                        g_assert_cmpuint(kicks + 2 * sleeps, <=, n_frames / 16);

                for (unsigned i = 0; i < 64; i++)
                        g_assert_cmpint(send(t.packet_fd, out, sizeof(out), 0), ==, sizeof(out));
                for (unsigned i = 0; i < 64; i++)
                        g_assert_cmpint(receive_one(v, 0, in, NULL, WAIT_MSEC), ==, sizeof(out));
                g_assert_cmpuint(vm_allocations(), ==, before);
                v = vhost_net_free(v);
                vm_tap_close(&t);
        }
}

/* Everything that would make frames vanish without a word is refused when setting up. */
static void test_refusals(void) {
        static const struct {
                VmTapOptions tap;
                VnetLink link;
                bool any_layout;
                int r;
        } cases[] = {
                { { .flags = IFF_TAP | IFF_VNET_HDR, .header_len = 10 }, VNET_LINK_ETHERNET, false, -EPROTO },
                { { .flags = IFF_TAP | IFF_VNET_HDR, .header_len = 24 }, VNET_LINK_ETHERNET, false, -EPROTO },
                { { .flags = IFF_TAP }, VNET_LINK_ETHERNET, false, -EPROTO },
                { { .flags = IFF_TAP | IFF_VNET_HDR, .header_len = 12 }, VNET_LINK_ETHERNET, true, -EPROTO },
                { { .flags = IFF_TAP | IFF_VNET_HDR, .header_len = 12 }, VNET_LINK_IP, false, -EPROTO },
                { { .flags = IFF_TUN | IFF_VNET_HDR, .header_len = 12 }, VNET_LINK_IP, false, -EPROTO }, /* unlimited sndbuf */
                { { .flags = IFF_TUN | IFF_VNET_HDR, .header_len = 12, .sndbuf = 1 << 20 }, VNET_LINK_ETHERNET, false, -EPROTO },
                { { .flags = IFF_TAP | IFF_VNET_HDR, .header_len = 12 }, VNET_LINK_ETHERNET, false, 0 },
        };
        const VqFeatures any = VQ_FEATURES(VNET_F_MRG_RXBUF, VQ_F_ANY_LAYOUT), packed = VQ_FEATURES(VQ_F_RING_PACKED);
        int lowest = dup(0), after;
        VhostNet *v = NULL;
        const char *what;

        close(lowest);

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                VmTap t = vm_tap_open(&cases[i].tap);

                what = NULL;
                g_assert_cmpint(vhost_net_new(&v, &(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .link = cases[i].link,
                                                                      .wanted = cases[i].any_layout ? &any : NULL }, &what),
                                ==, cases[i].r);
                g_assert_true((cases[i].r < 0) == (what != NULL));
                v = vhost_net_free(v);
                vm_tap_close(&t);
        }

        VmTap t = vm_tap_open(&tap_options);
        int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), file = open("/dev/net/tun", O_RDWR | O_CLOEXEC), none = -1;
#define TRY(...) vhost_net_new(&v, &(VhostNetConfig) { __VA_ARGS__ }, &what)
        g_assert_cmpint(TRY(.n_pairs = 1, .backend_fds = &udp), ==, -EPROTO);
        g_assert_cmpint(TRY(.n_pairs = 1, .backend_fds = &file), ==, -EPROTO);
        g_assert_cmpint(TRY(.n_pairs = 1, .backend_fds = &none), ==, -EBADF);
        g_assert_cmpint(TRY(.n_pairs = 1, .backend_fds = &t.fd, .vhost_fds = &none), ==, -EBADF);
        g_assert_cmpint(TRY(.n_pairs = 0, .backend_fds = &t.fd), ==, -EINVAL);
        g_assert_cmpint(TRY(.n_pairs = VHOST_NET_PAIRS_MAX + 1, .backend_fds = &t.fd), ==, -EINVAL);
        g_assert_cmpint(TRY(.n_pairs = 1, .backend_fds = &t.fd, .queue_size = 24), ==, -EINVAL);
        g_assert_cmpint(TRY(.n_pairs = 1, .backend_fds = &t.fd, .queue_size = 65536), ==, -EINVAL);
        g_assert_cmpint(TRY(.n_pairs = 1, .backend_fds = &t.fd, .queue_size = 16), ==, -EINVAL); /* 64 KiB: would starve */
        g_assert_cmpint(TRY(.n_pairs = 1, .backend_fds = &t.fd, .max_frame_len = 70000), ==, -EINVAL);
        g_assert_cmpint(TRY(.n_pairs = 1, .backend_fds = &t.fd, .required = &packed), ==, -EOPNOTSUPP);
#undef TRY
        g_assert_null(v);
        close(udp);
        close(file);
        vm_tap_close(&t);
        after = dup(0); /* nothing was left open, and nothing closed that was not ours */
        close(after);
        g_assert_cmpint(after, ==, lowest);
        g_assert_cmpint(fcntl(0, F_GETFD), >=, 0);
}

static void test_header_modes(void) {
        const VqFeatures none = {}, any = VQ_FEATURES(VQ_F_ANY_LAYOUT, VNET_F_MRG_RXBUF);
        const VmTapOptions bare = { .flags = IFF_TAP, .packet = true };
        VmTap t = vm_tap_open(&tap_options);
        /* no mergeable buffers: one long buffer a frame, num_buffers means nothing */
        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .wanted = &none, .queue_size = 64 });

        g_assert_cmpuint(vhost_net_header_len(v), ==, 12);
        for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
                check_send(v, 0, &t, lengths[i], true);
                check_receive(v, &t, lengths[i], 0);
        }
        v = vhost_net_free(v);
        vm_tap_close(&t);

        /* legacy: ten bytes */
        t = vm_tap_open(&(VmTapOptions) { .flags = IFF_TAP | IFF_VNET_HDR, .header_len = 10, .packet = true });
        v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .wanted = &none, .required = &none, .queue_size = 64 });
        g_assert_cmpuint(vhost_net_header_len(v), ==, 10);
        for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
                check_send(v, 0, &t, lengths[i], false);
                check_receive(v, &t, lengths[i], 0);
        }
        v = vhost_net_free(v);
        vm_tap_close(&t);

        /* the kernel makes the header, the TAP has none */
        t = vm_tap_open(&bare);
        v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .wanted = &any });
        for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
                check_send(v, 0, &t, lengths[i], true);
                check_receive(v, &t, lengths[i], (unsigned) (lengths[i] + 12 + 4095) / 4096);
        }
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

/* The next IP packet equal to @wanted, by way of the ring; what else the kernel says on that interface is not ours. */
static void receive_ip(VhostNet *v, const uint8_t *wanted, size_t len) {
        static uint8_t in[2 * LEN_MAX];
        uint64_t until = vm_now_usec() + WAIT_MSEC * 1000;
        VhostNetLoan l;

        for (bool found = false; !found;) {
                int n = vhost_net_receive(v, 0, &l, 1);

                g_assert_cmpint(n, >=, 0);
                g_assert_cmpuint(vm_now_usec(), <, until);
                if (n == 0) {
                        if (vhost_net_arm(v, 0, VHOST_NET_RX, 1))
                                (void) vm_wait(vhost_net_fd(v, 0, VHOST_NET_RX, VHOST_NET_FD_CALL), 50);
                        vhost_net_disarm(v, 0, VHOST_NET_RX);
                        continue;
                }
                for (unsigned i = 0, at = 0; i < l.n_iov; at += (unsigned) l.iov[i].iov_len, i++)
                        memcpy(in + at, l.iov[i].iov_base, l.iov[i].iov_len);
                found = l.len == len && memcmp(in, wanted, len) == 0;
                g_assert_cmpint(vhost_net_return(v, 0, &l, 1), ==, 0);
        }
}

/* IP without Ethernet, at every size around the path that would strip 14 bytes, both ways. */
static void test_tun(void) {
        static uint8_t ip[LEN_MAX], in[LEN_MAX];
        static const size_t sizes[] = { 20, 46, 576, 1400, 3622, 3623, 3636, 3637, 3700, 8000, 65000, LEN_MAX };
        VmTap t = vm_tap_open(&(VmTapOptions) { .flags = IFF_TUN | IFF_VNET_HDR, .header_len = 12, .sndbuf = 1 << 20, .packet = true });
        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .link = VNET_LINK_IP });

        for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
                size_t len = sizes[i];
                struct iovec iov = { ip, len };
                VhostNetFrame f = { .iov = &iov, .n_iov = 1 };
                uint64_t until = vm_now_usec() + WAIT_MSEC * 1000;

                vm_frame(ip, len, (uint32_t) i);
                ip[0] = 0x45;
                ip[2] = (uint8_t) (len >> 8);
                ip[3] = (uint8_t) len;
                g_assert_cmpint(vhost_net_send_copy(v, 0, &f, 1), ==, 1);
                for (;;) { /* what else the kernel says on that interface is not ours */
                        ssize_t n = recv(t.packet_fd, in, sizeof(in), 0);

                        if (n == (ssize_t) len && memcmp(in, ip, len) == 0)
                                break;
                        g_assert_cmpuint(vm_now_usec(), <, until);
                        if (n < 0)
                                (void) vm_wait(t.packet_fd, 100);
                }

                if (len <= 65521) { /* the interface's MTU */
                        g_assert_cmpint(send(t.packet_fd, ip, len, 0), ==, len);
                        receive_ip(v, ip, len);
                }
        }
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

/* No TAP at all: a packet socket on one end of nothing but an interface. */
static void test_packet_socket(void) {
        const VqFeatures any = VQ_FEATURES(VQ_F_ANY_LAYOUT, VNET_F_MRG_RXBUF, VQ_F_EVENT_IDX, VQ_F_INDIRECT_DESC);
        VmTap t = vm_tap_open(&(VmTapOptions) { .flags = IFF_TAP, .packet = true });
        VhostNet *v = NULL;
        const char *what;
        uint8_t out[1514], in[2048];

        g_assert_cmpint(vhost_net_new(&v, &(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.packet_fd }, &what), ==, -EPROTO);
        v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.packet_fd, .wanted = &any });
        vm_frame(out, sizeof(out), 1);
        send_one(v, 0, &(VnetHdr) {}, out, sizeof(out), true);
        drain(v, 0);
        do { /* sent out of the interface: the TAP's reader has it */
                g_assert_true(vm_wait(t.fd, WAIT_MSEC));
                g_assert_cmpint(read(t.fd, in, sizeof(in)), >, 0);
        } while (in[12] != VM_ETHERTYPE >> 8);
        g_assert_cmpmem(in, sizeof(out), out, sizeof(out));
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

/* Stopped, nothing moves; started, what waited goes out, in order, and the kernel goes on where it stood. */
static void test_restart(void) {
        VmTap t = vm_tap_open(&tap_options);
        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .queue_size = 64 });
        uint8_t out[1514], in[4096];

        for (unsigned round = 0; round < 20; round++) {
                for (unsigned i = 0; i < round % 7; i++)
                        check_send(v, 0, &t, 1514, true);
                g_assert_cmpint(vhost_net_stop(v), ==, 0);
                g_assert_cmpint(vhost_net_stop(v), ==, 0);
                for (unsigned i = 0; i < 3; i++) {
                        vm_frame(out, sizeof(out), round * 3 + i);
                        send_one(v, 0, &(VnetHdr) {}, out, sizeof(out), true);
                        g_assert_cmpint(send(t.packet_fd, out, sizeof(out), 0), ==, sizeof(out));
                }
                /* what a packet socket sends it sees itself no more than once: none of it came from the ring */
                g_assert_cmpint(vm_packet_read(&t, in, sizeof(in), 20), ==, -1);
                g_assert_cmpint(vhost_net_start(v), ==, 0);
                for (unsigned i = 0; i < 3; i++) {
                        vm_frame(out, sizeof(out), round * 3 + i);
                        g_assert_cmpint(vm_packet_read(&t, in, sizeof(in), WAIT_MSEC), ==, sizeof(out));
                        g_assert_cmpmem(in, sizeof(out), out, sizeof(out));
                        g_assert_cmpint(receive_one(v, 0, in, NULL, WAIT_MSEC), ==, sizeof(out));
                        g_assert_cmpmem(in, sizeof(out), out, sizeof(out));
                }
                drain(v, 0);
        }
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

static void test_two_pairs(void) {
        VmTapOptions o = tap_options;
        VmTap t;
        int fds[2];
        VhostNet *v;
        static uint8_t out[1514], in[65536];
        unsigned seen[2] = {};

        o.flags |= IFF_MULTI_QUEUE;
        t = vm_tap_open(&o);
        fds[0] = t.fd;
        fds[1] = vm_tap_queue(&t, o.flags);
        v = open_net(&(VhostNetConfig) { .n_pairs = 2, .backend_fds = fds, .busyloop_usec = 20 });
        for (unsigned i = 0; i < 40; i++)
                check_send(v, i % 2, &t, 1514, i % 3 == 0);
        g_assert_cmpuint(vhost_net_stats(v, 0)->tx_frames, ==, 20);
        g_assert_cmpuint(vhost_net_stats(v, 1)->tx_frames, ==, 20);
        /* the kernel spreads by flow; whichever queue a frame comes to, it comes once */
        for (unsigned i = 0; i < 64; i++) {
                vm_frame(out, sizeof(out), i);
                g_assert_cmpint(send(t.packet_fd, out, sizeof(out), 0), ==, sizeof(out));
                uint64_t until = vm_now_usec() + WAIT_MSEC * 1000;
                for (unsigned tries = 0, got = 0; !got; tries++) {
                        g_assert_cmpuint(vm_now_usec(), <, until);
                        if (receive_one(v, tries % 2, in, NULL, 5) == (ssize_t) sizeof(out)) {
                                g_assert_cmpmem(in, sizeof(out), out, sizeof(out));
                                seen[tries % 2]++;
                                got = 1;
                        }
                }
        }
        g_assert_cmpuint(seen[0] + seen[1], ==, 64);
        v = vhost_net_free(v);
        close(fds[1]);
        vm_tap_close(&t);
}

/* Until all is taken, or the kernel or the watchdog says that it never will be: of a deleted interface, frames that were batched are
 * neither sent nor completed, and the error event is all one hears. */
static void settle(VhostNet *v) {
        uint64_t until = vm_now_usec() + WAIT_MSEC * 1000;
        VhostNetHealth h = VHOST_NET_HEALTH_GOOD;
        VhostNetPair *p = &v->pairs[0];

        while (p->running && h == VHOST_NET_HEALTH_GOOD && vhost_net_pair_reap(p) == 0 &&
               vq_driver_outstanding(p->q[VHOST_NET_TX].driver) > 0) {
                g_assert_cmpuint(vm_now_usec(), <, until);
                g_usleep(10000);
                h = vhost_net_check(v, 0, vm_now_usec());
        }
        g_test_message("health %d, %u outstanding", (int) h, vq_driver_outstanding(p->q[VHOST_NET_TX].driver));
}

/* The interface, the TAP's descriptors and the vhost descriptor go in every order; sending never blocks, freeing never hangs. */
static void test_unplug(void) {
        uint8_t out[1514];
        void *tokens[64];

        vm_frame(out, sizeof(out), 1);
        for (unsigned order = 0; order < 6; order++) {
                unsigned returned = 0;

                VmTap t = vm_tap_open(&tap_options);
                VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd });

                g_test_message("order %u", order);
                check_send(v, 0, &t, 1514, true);
                while (vhost_net_done(v, 0, tokens, 64) > 0)
                        ;
                send_one(v, 0, &(VnetHdr) {}, out, sizeof(out), false); /* one on its way when it happens */
                if (order == 0) {
                        vm_tap_delete(&t);
                } else if (order == 1) {
                        vm_tap_close(&t);
                } else if (order == 2) {
                        vm_tap_delete(&t);
                        vm_tap_close(&t);
                } else if (order == 3) {
                        vm_tap_close(&t);
                        g_assert_cmpint(vhost_net_stop(v), ==, 0);
                } else if (order == 4) {
                        g_assert_cmpint(vhost_net_stop(v), ==, 0);
                        vm_tap_delete(&t);
                }
                for (unsigned i = 0; i < 100; i++) {
                        struct iovec iov = { out, sizeof(out) };
                        VhostNetFrame f = { .iov = &iov, .n_iov = 1 };

                        g_assert_cmpint(vhost_net_send_copy(v, 0, &f, 1), >=, 0);
                }
                settle(v);
                /* however it ended: every token comes back */
                g_assert_cmpint(vhost_net_stop(v), ==, 0);
                g_assert_cmpint(vhost_net_recover(v, 0), ==, 0);
                for (int n; (n = vhost_net_done(v, 0, tokens, 64)) > 0;)
                        for (int i = 0; i < n; i++)
                                returned += tokens[i] == out;
                g_assert_cmpuint(returned, ==, 1);
                v = vhost_net_free(v);
                vm_tap_close(&t);
        }
}

/* The thread that waits for room in a ring that nobody empties. */
static void *wait_for_room(void *arg) {
        VhostNet *v = arg;

        g_assert_true(vm_wait(vhost_net_fd(v, 0, VHOST_NET_TX, VHOST_NET_FD_CALL), 2 * WAIT_MSEC));
        return NULL;
}

/* Closed while a transmitter waits: a write to the call event wakes it, sending says "full" and never blocks, and every token comes back,
 * once. */
static void test_close_while_waiting(void) {
        static uint8_t out[64], seen[256];
        VmTap t = vm_tap_open(&tap_options);
        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd });
        struct iovec iov = { out, sizeof(out) };
        const uint64_t one = 1;
        void *tokens[64];
        unsigned n_sent = 0, n_back = 0;
        GThread *waiter;

        vm_frame(out, sizeof(out), 1);
        g_assert_cmpint(vhost_net_stop(v), ==, 0);
        for (;;) {
                int r = vhost_net_send(v, 0, &(VhostNetFrame) { .iov = &iov, .n_iov = 1, .token = &seen[n_sent % 256] }, 1);

                if (r == 0)
                        break;
                g_assert_cmpint(r, ==, 1);
                n_sent++;
        }
        g_assert_cmpuint(n_sent, ==, VHOST_NET_QUEUE_SIZE);
        g_assert_true(vhost_net_arm(v, 0, VHOST_NET_TX, 1));
        waiter = g_thread_new("waiter", wait_for_room, v);
        g_usleep(20000);
        g_assert_cmpint(write(vhost_net_fd(v, 0, VHOST_NET_TX, VHOST_NET_FD_CALL), &one, sizeof(one)), ==, sizeof(one));
        g_thread_join(waiter);

        g_assert_cmpint(vhost_net_done(v, 0, tokens, 64), ==, 0);
        g_assert_cmpint(vhost_net_recover(v, 0), ==, 0);
        for (int n; (n = vhost_net_done(v, 0, tokens, 64)) > 0; n_back += (unsigned) n)
                for (int i = 0; i < n; i++)
                        g_assert_cmpuint((*(uint8_t *) tokens[i])++, ==, 0);
        g_assert_cmpuint(n_back, ==, n_sent);
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

/* Everything on loan: the kernel has nothing to fill. Returned, it goes on, without a kick of luck. */
static void test_loans(void) {
        static VhostNetLoan loans[256];
        VmTap t = vm_tap_open(&tap_options);
        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .queue_size = 32 });
        static uint8_t out[9014], in[65536];
        unsigned n = 0;

        vm_frame(out, sizeof(out), 3);
        for (unsigned i = 0; i < 20; i++) /* three buffers each: more than there are */
                g_assert_cmpint(send(t.packet_fd, out, sizeof(out), 0), ==, sizeof(out));
        uint64_t until = vm_now_usec() + WAIT_MSEC * UINT64_C(1000);
        for (unsigned idle = 0; idle < 20 || (n < 10 && vm_now_usec() < until);) { /* no more than there are; those, whenever they come */
                int r = vhost_net_receive(v, 0, &loans[n], 64);

                g_assert_cmpint(r, >=, 0);
                n += (unsigned) r;
                if (r == 0) {
                        idle++;
                        g_usleep(5000);
                }
        }
        g_assert_cmpuint(n, ==, 10);
        g_assert_cmpint(vhost_net_return(v, 0, loans, n), ==, 0);
        g_assert_cmpint(vhost_net_return(v, 0, loans, 1), ==, -ESTALE);
        for (unsigned i = 0; i < 10; i++) {
                g_assert_cmpint(receive_one(v, 0, in, NULL, WAIT_MSEC), ==, sizeof(out));
                g_assert_cmpmem(in, sizeof(out), out, sizeof(out));
        }
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

static void await(VhostNet *v, VhostNetHealth h) {
        uint64_t until = vm_now_usec() + WAIT_MSEC * 1000;

        while (vhost_net_check(v, 0, vm_now_usec()) != h) {
                g_assert_cmpuint(vm_now_usec(), <, until);
                g_usleep(10000);
        }
}

/* A worker that spins on a header damaged behind our back: seen by the watchdog, got going again, the token not lost. */
static void test_stuck_worker(void) {
        VmTap t = vm_tap_open(&tap_options);
        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd });
        const VnetHdr bad = { .flags = VNET_HDR_F_NEEDS_CSUM, .csum_start = 5000, .csum_offset = 16 };
        VhostNetPair *p = &v->pairs[0];
        uint8_t out[1514];
        void *token = NULL;

        vm_frame(out, sizeof(out), 1);
        check_send(v, 0, &t, 1514, false);
        g_assert_cmpint(vhost_net_stop(v), ==, 0);
        for (unsigned slot = 0; slot < v->queue_size; slot++) /* whichever it takes */
                g_assert_cmpint(vnet_hdr_encode(&bad, 12, p->headers + slot * VHOST_NET_HEADER_SLOT, 12), ==, 0);
        unsigned slot = p->free_slot;
        send_one(v, 0, &(VnetHdr) {}, out, sizeof(out), false);
        g_assert_cmpint(vnet_hdr_encode(&bad, 12, p->headers + slot * VHOST_NET_HEADER_SLOT, 12), ==, 0);
        g_assert_cmpint(vhost_net_start(v), ==, 0);
        /* An hour asleep proves nothing, nor do two; four looks do. */
        uint64_t now = vm_now_usec();
        for (unsigned i = 0; i < 4; i++, now += 3600 * VHOST_NET_STUCK_USEC)
                g_assert_cmpint(vhost_net_check(v, 0, now), ==, VHOST_NET_HEALTH_GOOD);
        g_assert_cmpint(vhost_net_check(v, 0, now), ==, VHOST_NET_HEALTH_STUCK);
        g_assert_cmpint(vhost_net_recover(v, 0), ==, 0);
        g_assert_cmpint(vhost_net_done(v, 0, &token, 1), ==, 1);
        g_assert_true(token == out);
        g_assert_cmpuint(vhost_net_free_slots(v, 0, VHOST_NET_TX), ==, v->queue_size);
        for (unsigned i = 0; i < 3; i++) {
                check_send(v, 0, &t, 9014, false);
                check_receive(v, &t, 9014, 3);
        }
        g_assert_cmpint(vhost_net_check(v, 0, vm_now_usec()), ==, VHOST_NET_HEALTH_GOOD);
        g_assert_cmpuint(vhost_net_stats(v, 0)->resets, ==, 1);
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

/* The narrow map: what lies outside is refused here; what gets out of it behind our back the kernel refuses, and says so. */
static void test_arena(void) {
        VmTap t = vm_tap_open(&tap_options);
        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .map = VHOST_NET_MAP_ARENA });
        VhostNetQueue *q = &v->pairs[0].q[VHOST_NET_TX];
        uint8_t out[1514];
        struct iovec iov = { out, sizeof(out) };
        VqLayout l;

        vm_frame(out, sizeof(out), 1);
        g_assert_cmpint(vhost_net_send(v, 0, &(VhostNetFrame) { .iov = &iov, .n_iov = 1 }, 1), ==, -EFAULT);
        for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
                check_send(v, 0, &t, lengths[i], true);
                check_receive(v, &t, lengths[i], (unsigned) (lengths[i] + 12 + 4095) / 4096);
        }
        g_assert_cmpint(vhost_net_stop(v), ==, 0);
        send_one(v, 0, &(VnetHdr) {}, out, sizeof(out), true);
        g_assert_cmpint(vq_layout_init(&l, v->queue_size), ==, 0);
        VqRing r = vq_ring_make(q->ring, (char *) q->ring + l.avail_off, (char *) q->ring + l.used_off, v->queue_size);
        uint16_t head = vq_load16(&r.avail->ring[(uint16_t) (vq_driver_published(q->driver) - 1) & r.mask]);
        vq_desc_store(&r.desc[head], (uintptr_t) out, sizeof(out), 0, 0);
        g_assert_cmpint(vhost_net_start(v), ==, 0);
        await(v, VHOST_NET_HEALTH_ERROR);
        g_assert_cmpint(vhost_net_recover(v, 0), ==, 0);
        check_send(v, 0, &t, 1514, true);
        check_receive(v, &t, 1514, 1);
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

/* Random headers: what the validator lets through never stops the worker. */
static void test_random_headers(void) {
        VmTap t = vm_tap_open(&(VmTapOptions) { .flags = IFF_TAP | IFF_VNET_HDR, .header_len = 12 });
        VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd });
        static uint8_t data[9014];
        unsigned accepted = 0, refused = 0;

        vm_frame(data, sizeof(data), 1);
        for (unsigned i = 0; i < 25000; i++) {
                static const uint8_t types[] = { 0, 1, 3, 4, 5, 0x81, 0x84, 0x77 };
                VnetHdr h = {
                        .flags = (uint8_t) g_test_rand_int_range(0, 4),
                        .gso_type = g_test_rand_bit() ? 0 : types[g_test_rand_int_range(0, G_N_ELEMENTS(types))],
                        .hdr_len = (uint16_t) g_test_rand_int_range(0, 100),
                        .gso_size = (uint16_t) (g_test_rand_bit() ? g_test_rand_int() : g_test_rand_int_range(0, 2000)),
                        .csum_start = (uint16_t) (g_test_rand_bit() ? 34 : g_test_rand_int_range(0, 200)),
                        .csum_offset = (uint16_t) (g_test_rand_bit() ? (g_test_rand_bit() ? 16 : 6) : g_test_rand_int_range(0, 70)),
                };
                size_t len = (size_t) (g_test_rand_bit() ? g_test_rand_int_range(1, 200) : g_test_rand_int_range(200, sizeof(data)));
                struct iovec iov = { data, len };
                int r;

                data[12] = g_test_rand_bit() ? 0x08 : 0x86;
                data[13] = data[12] == 0x08 ? 0x00 : 0xdd;
                data[14] = data[12] == 0x08 ? 0x45 : 0x60;
                data[g_test_rand_bit() ? 23 : 20] = g_test_rand_bit() ? 6 : 17;
                while ((r = vhost_net_send_copy(v, 0, &(VhostNetFrame) { .hdr = h, .iov = &iov, .n_iov = 1 }, 1)) == 0)
                        drain(v, 0); /* fails when the worker stands still */
                g_assert_true(r == 1 || r == -EPROTO);
                r == 1 ? accepted++ : refused++;
        }
        drain(v, 0);
        g_test_message("%u accepted, %u refused", accepted, refused);
        g_assert_cmpuint(accepted, >, 1000);
        g_assert_cmpuint(refused, >, 1000);
        v = vhost_net_free(v);
        vm_tap_close(&t);
}

/* uid 1000, no capability, no lockable memory; descriptors handed over by root, or opened by permission. */
static void test_unprivileged(void) {
        for (unsigned handed = 0; handed < 2; handed++) {
                VmTap t = vm_tap_open(&tap_options);
                int vhost_fd = vhost_open_net(), status;
                pid_t child;

                g_assert_cmpint(chmod("/dev/vhost-net", handed ? 0600 : 0666), ==, 0);
                child = fork();
                if (child == 0) {
                        struct rlimit none = {};
                        VhostNet *v;

                        if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || setgroups(0, NULL) < 0 || setgid(1000) < 0 || setuid(1000) < 0)
                                _exit(2);
                        v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd, .vhost_fds = handed ? &vhost_fd : NULL });
                        for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
                                check_send(v, 0, &t, lengths[i], i % 2);
                                check_receive(v, &t, lengths[i], (unsigned) (lengths[i] + 12 + 4095) / 4096);
                        }
                        v = vhost_net_free(v);
                        _exit(0);
                }
                g_assert_cmpint(waitpid(child, &status, 0), ==, child);
                g_assert_cmpint(status, ==, 0);
                close(vhost_fd);
                vm_tap_close(&t);
        }
}

/* Freed with everything in flight, again and again: nothing of ours is touched afterwards, no descriptor is left behind. */
static void test_free_in_flight(void) {
        static uint8_t out[64][1514];
        struct iovec iov[64];
        VhostNetFrame f[64];
        int before = dup(0), after;

        close(before);
        for (unsigned i = 0; i < 64; i++) {
                vm_frame(out[i], sizeof(out[i]), i);
                iov[i] = (struct iovec) { out[i], sizeof(out[i]) };
                f[i] = (VhostNetFrame) { .iov = &iov[i], .n_iov = 1 };
        }
        for (unsigned round = 0; round < 50; round++) {
                VmTap t = vm_tap_open(&(VmTapOptions) { .flags = IFF_TAP | IFF_VNET_HDR, .header_len = 12 });
                VhostNet *v = open_net(&(VhostNetConfig) { .n_pairs = 1, .backend_fds = &t.fd });

                g_assert_cmpint(vhost_net_send_copy(v, 0, f, 64), ==, 64);
                v = vhost_net_free(v);
                vm_tap_close(&t);
        }
        after = dup(0);
        close(after);
        g_assert_cmpint(before, ==, after);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        int fd = vhost_open_net();
        if (fd < 0) {
                g_printerr("no /dev/vhost-net here: %s\n", g_strerror(-fd));
                return 77;
        }
        close(fd);
        g_test_add_func("/vhost-net/sizes", test_sizes);
        g_test_add_func("/vhost-net/ring-sizes", test_ring_sizes);
        g_test_add_func("/vhost-net/batches", test_batches);
        g_test_add_func("/vhost-net/ceilings", test_ceilings);
        g_test_add_func("/vhost-net/refusals", test_refusals);
        g_test_add_func("/vhost-net/header-modes", test_header_modes);
        g_test_add_func("/vhost-net/tun", test_tun);
        g_test_add_func("/vhost-net/packet-socket", test_packet_socket);
        g_test_add_func("/vhost-net/restart", test_restart);
        g_test_add_func("/vhost-net/two-pairs", test_two_pairs);
        g_test_add_func("/vhost-net/unplug", test_unplug);
        g_test_add_func("/vhost-net/close-while-waiting", test_close_while_waiting);
        g_test_add_func("/vhost-net/loans", test_loans);
        g_test_add_func("/vhost-net/stuck-worker", test_stuck_worker);
        g_test_add_func("/vhost-net/arena", test_arena);
        g_test_add_func("/vhost-net/random-headers", test_random_headers);
        g_test_add_func("/vhost-net/unprivileged", test_unprivileged);
        g_test_add_func("/vhost-net/free-in-flight", test_free_in_flight);
        return g_test_run();
}
