/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvnet's TAP against the kernel (acceptance case A11): names, index and MAC agree with the system; what is written reaches a packet socket and
 * what one sends is read, headers apart; time-outs; offloads probed; queues; another namespace. Needs to be root in a user namespace.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libvnet/vnet-tap.h"

#define TYPE 0x88b5

static VnetTap *open_tap(const VnetTapConfig *c) {
        const char *what = NULL;
        VnetTap *t = NULL;
        int r = vnet_tap_open(&t, c, &what);

        if (r < 0)
                g_error("%s: %s", what, g_strerror(-r));
        return t;
}

static int packet_socket(int ifindex) {
        struct sockaddr_ll sll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = ifindex };
        struct timeval limit = { .tv_sec = 5 };
        int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

        g_assert_cmpint(bind(s, (struct sockaddr *) &sll, sizeof(sll)), ==, 0);
        g_assert_cmpint(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), ==, 0);
        return s;
}

static void fill(uint8_t *f, size_t len) {
        for (size_t i = 0; i < len; i++)
                f[i] = (uint8_t) (i * 7);
        memset(f, 0xff, 6);
        f[12] = TYPE >> 8;
        f[13] = TYPE & 0xff;
}

static void test_names(void) {
        VnetTapConfig c = VNET_TAP_CONFIG_INIT;
        struct ifreq ifr = {};
        uint8_t mac[6];
        VnetTap *t;
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        c.name = "fixed0";
        c.mtu = 9000;
        t = open_tap(&c);
        g_assert_cmpstr(vnet_tap_name(t), ==, "fixed0");
        g_assert_cmpint(vnet_tap_ifindex(t), ==, if_nametoindex("fixed0"));
        g_assert_cmpint(vnet_tap_get_mac(t, mac), ==, 0);
        g_strlcpy(ifr.ifr_name, "fixed0", sizeof(ifr.ifr_name));
        g_assert_cmpint(ioctl(s, SIOCGIFHWADDR, &ifr), ==, 0);
        g_assert_cmpmem(mac, 6, ifr.ifr_hwaddr.sa_data, 6);
        g_assert_cmpint(ioctl(s, SIOCGIFMTU, &ifr), ==, 0);
        g_assert_cmpint(ifr.ifr_mtu, ==, 9000);
        t = vnet_tap_close(t);
        g_assert_cmpuint(if_nametoindex("fixed0"), ==, 0);

        c.name = NULL;
        t = open_tap(&c);
        g_assert_true(g_str_has_prefix(vnet_tap_name(t), "tap"));
        t = vnet_tap_close(t);
        c.link = VNET_LINK_IP;
        t = open_tap(&c);
        g_assert_true(g_str_has_prefix(vnet_tap_name(t), "tun"));
        g_assert_cmpint(vnet_tap_get_mac(t, mac), ==, -EOPNOTSUPP);
        t = vnet_tap_close(t);
        close(s);
}

static void test_frames(void) {
        static const unsigned header_lens[] = { 0, 10, 12, 24 };

        for (unsigned i = 0; i < G_N_ELEMENTS(header_lens); i++) {
                VnetTapConfig c = { .header_len = header_lens[i], .offloads = _VNET_TAP_OFFLOAD_ALL, .up = true, .mtu = 9100, .netns_fd = -1 };
                VnetTap *t = open_tap(&c);
                int s = packet_socket(vnet_tap_ifindex(t));
                uint8_t out[9014], in[9100];
                struct iovec iov[2] = { { out, 100 }, { out + 100, sizeof(out) - 100 } };
                VnetHdr hdr = { .flags = 99 };
                ssize_t n;

                fill(out, sizeof(out));
                g_assert_cmpint(vnet_tap_write(t, 0, NULL, iov, 2), ==, 0);
                do
                        n = recv(s, in, sizeof(in), 0);
                while (n > 0 && in[12] != TYPE >> 8);
                g_assert_cmpmem(in, (size_t) n, out, sizeof(out));

                g_assert_cmpint(send(s, out, 1514, 0), ==, 1514);
                do
                        n = vnet_tap_read(t, 0, &hdr, in, sizeof(in), 5000);
                while (n > 0 && in[12] != TYPE >> 8);
                g_assert_cmpmem(in, (size_t) n, out, 1514);
                g_assert_cmpuint(hdr.flags | hdr.gso_type, ==, 0);
                while ((n = vnet_tap_read(t, 0, NULL, in, sizeof(in), 0)) >= 0)
                        ;
                g_assert_cmpint(n, ==, -ETIMEDOUT);
                g_assert_cmpint(vnet_tap_read(t, 1, NULL, in, sizeof(in), 0), ==, -EINVAL);
                g_assert_cmpint(vnet_tap_write(t, 1, NULL, iov, 2), ==, -EINVAL);
                g_assert_cmpint(vnet_tap_write(t, 0, NULL, iov, 0), ==, -EINVAL);
                g_assert_cmpint(vnet_tap_write(t, 0, NULL, iov, 65), ==, -EINVAL);
                iov[0].iov_len = 13;
                g_assert_cmpint(vnet_tap_write(t, 0, NULL, iov, 1), ==, -EINVAL);
                close(s);
                t = vnet_tap_close(t);
        }
}

static void test_offloads(void) {
        VnetTapConfig c = { .header_len = 12, .offloads = _VNET_TAP_OFFLOAD_ALL, .netns_fd = -1 };
        VnetTap *t = open_tap(&c);

        g_assert_cmphex(vnet_tap_offloads(t) & 0xf, ==, 0xf);
        t = vnet_tap_close(t);
        c.offloads = VNET_TAP_TSO4; /* not without CSUM */
        t = open_tap(&c);
        g_assert_cmphex(vnet_tap_offloads(t), ==, 0);
        t = vnet_tap_close(t);
        c.offloads = _VNET_TAP_OFFLOAD_ALL;
        c.header_len = 0;
        t = open_tap(&c);
        g_assert_cmphex(vnet_tap_offloads(t), ==, 0);
        t = vnet_tap_close(t);
}

static void test_queues(void) {
        VnetTapConfig c = { .multi_queue = true, .netns_fd = -1 };
        VnetTap *t = open_tap(&c);

        g_assert_cmpint(vnet_tap_add_queue(t), ==, 1);
        g_assert_cmpint(vnet_tap_add_queue(t), ==, 2);
        g_assert_cmpuint(vnet_tap_queues(t), ==, 3);
        g_assert_cmpint(vnet_tap_fd(t, 2), >=, 0);
        g_assert_cmpint(vnet_tap_fd(t, 3), ==, -1);
        for (unsigned i = 3; i < 256; i++)
                g_assert_cmpint(vnet_tap_add_queue(t), ==, i);
        g_assert_cmpint(vnet_tap_add_queue(t), ==, -E2BIG);
        t = vnet_tap_close(t);
        c.multi_queue = false;
        t = open_tap(&c);
        g_assert_cmpint(vnet_tap_add_queue(t), ==, -EINVAL);
        t = vnet_tap_close(t);
}

static void test_refusals(void) {
        static const VnetTapConfig bad[] = {
                { .name = "", .netns_fd = -1 },
                { .name = "sixteen-is-a-lot", .netns_fd = -1 },
                { .link = _VNET_LINK_MAX, .netns_fd = -1 },
                { .header_len = 11, .netns_fd = -1 },
                { .offloads = 0x1000, .netns_fd = -1 },
                { .sndbuf = -1, .netns_fd = -1 },
                { .name = "a/b", .netns_fd = -1 },
        };
        VnetTap *t = NULL, *first;

        for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
                const char *what = NULL;

                g_assert_cmpint(vnet_tap_open(&t, &bad[i], &what), ==, -EINVAL);
                g_assert_nonnull(what);
        }
        first = open_tap(&(VnetTapConfig) { .name = "taken0", .netns_fd = -1 });
        g_assert_cmpint(vnet_tap_open(&t, &(VnetTapConfig) { .name = "taken0", .exclusive = true, .netns_fd = -1 }, NULL), ==, -EBUSY);
        g_assert_cmpint(vnet_tap_open(&t, &(VnetTapConfig) { .netns_fd = 0 }, NULL), ==, -EINVAL); /* no namespace */
        first = vnet_tap_close(first);
        g_assert_null(t);
}

static void *other_namespace(void *arg) {
        g_assert_cmpint(unshare(CLONE_NEWNET), ==, 0);
        *(int *) arg = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        return NULL;
}

static void test_namespace(void) {
        int ns = -1;
        VnetTap *t;

        g_thread_join(g_thread_new("ns", other_namespace, &ns));
        g_assert_cmpint(ns, >=, 0);
        t = open_tap(&(VnetTapConfig) { .name = "there0", .multi_queue = true, .up = true, .netns_fd = ns });
        g_assert_cmpuint(if_nametoindex("there0"), ==, 0); /* not here */
        g_assert_cmpint(vnet_tap_ifindex(t), >, 0);
        g_assert_cmpint(vnet_tap_add_queue(t), ==, 1);
        t = vnet_tap_close(t);
        close(ns);
}

static bool become_root_of_namespaces(void) {
        uid_t uid = getuid();
        gid_t gid = getgid();
        FILE *f;

        if (uid == 0 && unshare(CLONE_NEWNET) == 0)
                return true;
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
                return false;
        f = fopen("/proc/self/setgroups", "we");
        if (f)
                fprintf(f, "deny"), fclose(f);
        f = fopen("/proc/self/uid_map", "we");
        if (!f)
                return false;
        fprintf(f, "0 %u 1", (unsigned) uid);
        fclose(f);
        f = fopen("/proc/self/gid_map", "we");
        if (!f)
                return false;
        fprintf(f, "0 %u 1", (unsigned) gid);
        return fclose(f) == 0;
}

int main(int argc, char **argv) {
        VnetTap *t = NULL;
        int r = -EPERM;

        if (become_root_of_namespaces())
                r = vnet_tap_open(&t, &(VnetTapConfig) { .netns_fd = -1 }, NULL);
        if (r < 0) {
                g_printerr("no TAP can be made here: %s\n", g_strerror(-r));
                return 77;
        }
        t = vnet_tap_close(t);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vnet-tap/names", test_names);
        g_test_add_func("/vnet-tap/frames", test_frames);
        g_test_add_func("/vnet-tap/offloads", test_offloads);
        g_test_add_func("/vnet-tap/queues", test_queues);
        g_test_add_func("/vnet-tap/refusals", test_refusals);
        g_test_add_func("/vnet-tap/namespace", test_namespace);
        return g_test_run();
}
