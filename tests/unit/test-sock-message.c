/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames as messages: limits of length, order over many batches, vfkit's greeting, who the peer of a datagram socket is and when it is dead. */

#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sock-fixture.h"

#define MTU 1500
#define VLAN_LEN 4

static void test_lengths(void) {
        static const uint32_t lens[] = { 0, 1, ETH_HEADER_LEN - 1, ETH_HEADER_LEN, ETH_HEADER_LEN + VLAN_LEN + MTU, ETH_HEADER_LEN + VLAN_LEN + MTU + 1, 65536 };
        g_autofree uint8_t *bytes = g_malloc(65536 + ETH_HEADER_LEN);
        int types[] = { SOCK_SEQPACKET, SOCK_DGRAM }, pair[2];

        for (size_t t = 0; t < G_N_ELEMENTS(types); t++) {
                Rig r = {};

                rig_pair(types[t], pair);
                rig_adopt(&r, t == 0 ? "bess" : "qemu-dgram", pair[0]);
                for (size_t i = 0; i < G_N_ELEMENTS(lens); i++)
                        rig_write(pair[1], bytes, rig_frame(bytes, false, lens[i], 1));
                rig_write(pair[1], bytes, rig_frame(bytes, false, 60, 2));
                rig_wait(&r, &r.n_frames, 3);
                g_assert_cmpuint(rig_drops(&r, DROP_ETH_SHORT), ==, 3);
                g_assert_cmpuint(rig_drops(&r, DROP_ETH_LONG), ==, 2);
                g_assert_cmpuint(rig_get(&r, &r.n_down) + rig_get(&r, &r.n_gone), ==, 0);
                (void) close(pair[1]);
                rig_end(&r);
        }
}

static void test_order(void) {
        g_autoptr(GByteArray) expected = g_byte_array_new();
        uint8_t bytes[1514];
        int pair[2];
        Rig r = {};

        rig_pair(SOCK_SEQPACKET, pair);
        rig_adopt(&r, "bess", pair[0]);
        for (unsigned i = 0; i < 5000; i++) {
                uint32_t len = ETH_HEADER_LEN + i * 7 % 1501;

                rig_write(pair[1], bytes, rig_frame(bytes, false, len, (uint8_t) i));
                g_byte_array_append(expected, (const guint8 *) &len, 4);
                g_byte_array_append(expected, bytes, len);
        }
        (void) close(pair[1]); /* what was said before is heard */
        rig_wait(&r, &r.n_gone, 1);
        g_assert_cmpmem(r.frames->data, r.frames->len, expected->data, expected->len);
        rig_end(&r);
}

static void test_magic(void) {
        static const char *const kinds[] = { "vfkit", "qemu-dgram" };
        uint8_t bytes[64];

        for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
                Rig r = {};

                rig_listen(&r, kinds[k], 0);
                int fd = rig_dial(&r, SOCK_DGRAM);
                rig_write(fd, "VFKT", 4); /* old ones greet, new ones do not */
                rig_wait(&r, &r.n_up, 1);
                rig_write(fd, "VFKX", 4);
                rig_write(fd, "VFKT", 4);
                rig_write(fd, bytes, rig_frame(bytes, false, 60, 1));
                rig_wait(&r, &r.n_frames, 1);
                g_assert_cmpuint(rig_drops(&r, DROP_ETH_SHORT), ==, k == 0 ? 1 : 3);
                (void) close(fd);
                rig_end(&r);
        }
}

static void test_first_frame(void) {
        uint8_t bytes[64], got[64];
        Rig r = {};

        rig_listen(&r, "vfkit", 0);
        int fd = rig_dial(&r, SOCK_DGRAM);
        rig_write(fd, bytes, rig_frame(bytes, false, 60, 1)); /* what makes it known is a frame, and heard */
        rig_wait(&r, &r.n_frames, 1);
        g_assert_cmpuint(rig_send(&r, 1, 60, 8), ==, 1);
        g_assert_cmpint(recv(fd, got, sizeof(got), 0), ==, 60);
        g_assert_cmpuint(got[59], ==, 8);
        (void) close(fd);
        rig_end(&r);
}

static void test_nameless(void) {
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        uint8_t bytes[64];
        Rig r = {};

        rig_listen(&r, "vfkit", 0);
        int nameless = socket(AF_UNIX, SOCK_DGRAM, 0);
        (void) g_strlcpy(un.sun_path, r.path, sizeof(un.sun_path));
        g_assert_cmpint(connect(nameless, (struct sockaddr *) &un, sizeof(un)), ==, 0);
        for (unsigned i = 0; i < 5; i++)
                rig_write(nameless, bytes, rig_frame(bytes, false, 60, 1));
        int fd = rig_dial(&r, SOCK_DGRAM);
        rig_write(fd, bytes, 60);
        rig_wait(&r, &r.n_frames, 1);
        g_assert_cmpuint(rig_drops(&r, DROP_DEVICE_DOWN), ==, 5);
        g_assert_cmpuint(rig_get(&r, &r.n_up), ==, 1);
        (void) close(nameless);
        (void) close(fd);
        rig_end(&r);
}

/* One peer at a time; when it has died, without a word as such peers do, the next one is let in. */
static void test_peers(void) {
        uint8_t bytes[64];
        size_t len = rig_frame(bytes, false, 60, 1);
        Rig r = {};

        rig_listen(&r, "qemu-dgram", 0);
        for (unsigned life = 1; life <= 3; life++) {
                int fd = rig_dial(&r, SOCK_DGRAM), other = rig_dial(&r, SOCK_DGRAM);

                rig_write(fd, bytes, len);
                rig_wait(&r, &r.n_up, life);
                g_assert_cmpint(sendto(other, bytes, len, MSG_NOSIGNAL, NULL, 0), ==, -1);
                g_assert_cmpint(errno, ==, EPERM);
                g_usleep(3 * SOCK_PROBE_USEC); /* it is silent, and lives */
                g_assert_cmpuint(rig_get(&r, &r.n_down), ==, life - 1);
                (void) close(other);
                (void) close(fd);
                rig_wait(&r, &r.n_down, life);
        }
        g_assert_cmpuint(rig_get(&r, &r.n_frames), ==, 3);
        rig_end(&r);
}

/* The name of its socket was removed, and it lives on: it is asked by a frame then, and stays. */
static void test_unlinked(void) {
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        uint8_t bytes[64], got[2000];
        Rig r = {};

        rig_listen(&r, "vfkit", 0);
        g_autofree char *name = g_strdup_printf("%s.peer", r.path);
        int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        (void) g_strlcpy(un.sun_path, name, sizeof(un.sun_path));
        g_assert_cmpint(bind(fd, (struct sockaddr *) &un, sizeof(un)), ==, 0);
        (void) g_strlcpy(un.sun_path, r.path, sizeof(un.sun_path));
        g_assert_cmpint(connect(fd, (struct sockaddr *) &un, sizeof(un)), ==, 0);
        rig_write(fd, bytes, rig_frame(bytes, false, 60, 1));
        rig_wait(&r, &r.n_up, 1);
        g_assert_cmpint(g_unlink(name), ==, 0);
        g_usleep(4 * SOCK_PROBE_USEC);
        g_assert_cmpint(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, RIG_WAIT_MSEC), ==, 1);
        g_assert_cmpint(recv(fd, got, sizeof(got), MSG_DONTWAIT), ==, 60);
        g_assert_cmpuint(rig_get(&r, &r.n_down), ==, 0);
        (void) close(fd);
        rig_wait(&r, &r.n_down, 1);
        rig_end(&r);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/sock-message/lengths", test_lengths);
        g_test_add_func("/sock-message/order", test_order);
        g_test_add_func("/sock-message/magic", test_magic);
        g_test_add_func("/sock-message/first-frame", test_first_frame);
        g_test_add_func("/sock-message/nameless", test_nameless);
        g_test_add_func("/sock-message/peers", test_peers);
        g_test_add_func("/sock-message/unlinked", test_unlinked);
        return g_test_run();
}
