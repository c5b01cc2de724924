/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which queue a frame goes to: the same for a whole flow however its frames look, different ones for different flows. */

#include <glib.h>

#include "device/tap-queue.h"

typedef struct Packet {
        uint8_t bytes[80];
        size_t len;
        struct iovec iov[80];
        Frame frame;
} Packet;

static void set_iov(Packet *p, size_t piece) {
        unsigned n = 0;

        for (size_t at = 0; at < p->len; at += piece)
                p->iov[n++] = (struct iovec){ p->bytes + at, MIN(piece, p->len - at) };
        p->frame = (Frame){ .iov = p->iov, .n_iov = n, .len = (uint32_t) p->len };
}

static void make_v4(Packet *p, uint32_t host, uint16_t port, uint8_t proto) {
        static const uint8_t head[] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1 };

        *p = (Packet){ .len = 74 };
        memcpy(p->bytes, head, sizeof(head));
        p->bytes[23] = proto;
        memcpy(p->bytes + 30, &host, 4);
        memcpy(p->bytes + 34, &port, 2);
        p->bytes[37] = 80;
        set_iov(p, p->len);
}

static void make_v6(Packet *p, uint32_t host, uint16_t port) {
        *p = (Packet){ .len = 74 };
        p->bytes[12] = 0x86;
        p->bytes[13] = 0xdd;
        p->bytes[14] = 0x60;
        p->bytes[20] = 17;
        memcpy(p->bytes + 50, &host, 4);
        memcpy(p->bytes + 54, &port, 2);
        set_iov(p, p->len);
}

static void check_spread(const unsigned *count, unsigned n_queues, unsigned n) {
        for (unsigned i = 0; i < n_queues; i++)
                g_assert_cmpuint(count[i], >, n / n_queues / 2);
}

static void test_spread(void) {
        for (unsigned n_queues = 1; n_queues <= TAP_QUEUES_MAX; n_queues++) {
                unsigned v4[TAP_QUEUES_MAX] = {}, v6[TAP_QUEUES_MAX] = {}, hosts[TAP_QUEUES_MAX] = {};

                for (unsigned i = 0; i < 4096; i++) {
                        Packet p;

                        make_v4(&p, 1, (uint16_t) i, 6);
                        v4[tap_queue_of_frame(&p.frame, n_queues)]++;
                        make_v6(&p, 1, (uint16_t) i);
                        v6[tap_queue_of_frame(&p.frame, n_queues)]++;
                        make_v4(&p, i, 1, 17);
                        hosts[tap_queue_of_frame(&p.frame, n_queues)]++;
                }
                check_spread(v4, n_queues, 4096);
                check_spread(v6, n_queues, 4096);
                check_spread(hosts, n_queues, 4096);
        }
}

/* Lengths, sequence numbers, TTL, marks, pieces: nothing but addresses and ports moves a flow. */
static void test_one_flow(void) {
        for (uint16_t port = 1; port < 100; port++) {
                Packet p;

                make_v4(&p, 7, port, 6);
                unsigned queue = tap_queue_of_frame(&p.frame, 8);

                for (unsigned i = 0; i < 50; i++) {
                        p.bytes[15] = (uint8_t) i;      /* ToS */
                        p.bytes[17] = (uint8_t) (40 + i); /* length */
                        p.bytes[19] = (uint8_t) i;      /* id */
                        p.bytes[22] = (uint8_t) (i + 1);
                        memset(p.bytes + 38, (int) i, 20); /* sequence, acknowledgement, window, sum */
                        p.frame.hdr.gso_size = (uint16_t) i;
                        set_iov(&p, 1 + i);
                        g_assert_cmpuint(tap_queue_of_frame(&p.frame, 8), ==, queue);
                }
        }
}

/* Only the first fragment has ports: so none counts. What is no TCP, UDP or SCTP has none. */
static void test_without_ports(void) {
        unsigned first, first6;
        Packet p;

        make_v6(&p, 7, 1);
        p.bytes[20] = 44; /* a fragment's header: extensions are not walked */
        first6 = tap_queue_of_frame(&p.frame, 16);
        make_v4(&p, 7, 1, 17);
        p.bytes[20] = 0x20; /* more fragments */
        first = tap_queue_of_frame(&p.frame, 16);
        for (uint16_t port = 0; port < 200; port++) {
                make_v4(&p, 7, port, 17);
                p.bytes[20] = port % 2 ? 0x20 : 0;
                p.bytes[21] = port % 2 ? 0 : 185;
                g_assert_cmpuint(tap_queue_of_frame(&p.frame, 16), ==, first);
                make_v4(&p, 7, port, 1);
                g_assert_cmpuint(tap_queue_of_frame(&p.frame, 16), ==, first);
                make_v6(&p, 7, port);
                p.bytes[20] = 44;
                g_assert_cmpuint(tap_queue_of_frame(&p.frame, 16), ==, first6);
        }
}

/* Behind a VLAN tag the same, and frames of other protocols by their MAC addresses. */
static void test_links(void) {
        unsigned count[4] = {};
        Packet p;

        for (uint16_t port = 0; port < 400; port++) {
                make_v4(&p, 7, port, 6);
                unsigned queue = tap_queue_of_frame(&p.frame, 4);

                memmove(p.bytes + 16, p.bytes + 12, 62);
                memcpy(p.bytes + 12, (uint8_t[]){ 0x81, 0, 0, 5 }, 4);
                p.len = 78;
                set_iov(&p, 78);
                g_assert_cmpuint(tap_queue_of_frame(&p.frame, 4), ==, queue);

                make_v4(&p, 7, 0, 6);
                p.bytes[12] = 0x88; /* something of its own */
                p.bytes[5] = (uint8_t) port;
                p.bytes[4] = (uint8_t) (port >> 8);
                count[tap_queue_of_frame(&p.frame, 4)]++;
        }
        check_spread(count, 4, 400);
}

/* Whatever the bytes, at whatever length: a queue that exists. */
static void test_hostile(void) {
        for (unsigned i = 0; i < 200000; i++) {
                Packet p = { .len = (size_t) g_test_rand_int_range(0, 80) };

                for (size_t k = 0; k < p.len; k++)
                        p.bytes[k] = (uint8_t) g_test_rand_int();
                if (p.len > 14 && i % 2) {
                        memcpy(p.bytes + 12, i % 4 == 1 ? (uint8_t[]){ 8, 0 } : (uint8_t[]){ 0x86, 0xdd }, 2);
                        p.bytes[14] = (uint8_t) ((i % 4 == 1 ? 0x40 : 0x60) | (p.bytes[14] & 15));
                }
                g_autofree uint8_t *exact = g_memdup2(p.bytes, p.len); /* so that a sanitizer sees its end */
                p.iov[0] = (struct iovec){ exact, p.len };
                p.frame = (Frame){ .iov = p.iov, .n_iov = p.len > 0, .len = (uint32_t) p.len };
                g_assert_cmpuint(tap_queue_of_frame(&p.frame, 1 + i % TAP_QUEUES_MAX), <=, i % TAP_QUEUES_MAX);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/tap-queue/spread", test_spread);
        g_test_add_func("/tap-queue/one-flow", test_one_flow);
        g_test_add_func("/tap-queue/without-ports", test_without_ports);
        g_test_add_func("/tap-queue/links", test_links);
        g_test_add_func("/tap-queue/hostile", test_hostile);
        return g_test_run();
}
