/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames in byte streams: lengths at every limit, headers in pieces; both handshakes, byte by byte, and what is none. */

#include <errno.h>
#include <glib.h>

#include "device/framing.h"

static void test_qemu(void) {
        uint8_t data[8] = { 0, 0, 0, 3, 'a', 'b', 'c', 9 }, header[FRAMING_HEADER_MAX];
        uint32_t len;

        for (size_t i = 0; i < 4; i++) {
                g_assert_cmpint(framing_next(FRAMING_QEMU, data, i, &len), ==, 0);
                g_assert_cmpuint(len, ==, 4);
        }
        for (size_t i = 4; i < 7; i++) {
                g_assert_cmpint(framing_next(FRAMING_QEMU, data, i, &len), ==, 0);
                g_assert_cmpuint(len, ==, 7);
        }
        g_assert_cmpint(framing_next(FRAMING_QEMU, data, 8, &len), ==, 1);
        g_assert_cmpuint(len, ==, 3);

        g_assert_cmpuint(framing_put_header(FRAMING_QEMU, FRAMING_FRAME_MAX, header), ==, 4);
        g_assert_cmpint(framing_next(FRAMING_QEMU, header, 4, &len), ==, 0);
        g_assert_cmpuint(len, ==, 4 + FRAMING_FRAME_MAX);
        (void) framing_put_header(FRAMING_QEMU, FRAMING_FRAME_MAX + 1, header);
        g_assert_cmpint(framing_next(FRAMING_QEMU, header, 4, &len), ==, -EMSGSIZE);
        memset(header, 0xff, sizeof(header));
        g_assert_cmpint(framing_next(FRAMING_QEMU, header, 4, &len), ==, -EMSGSIZE);

        memset(header, 0, sizeof(header)); /* nothing at all is a frame too: whoever takes it counts it */
        g_assert_cmpint(framing_next(FRAMING_QEMU, header, 4, &len), ==, 1);
        g_assert_cmpuint(len, ==, 0);
}

static void test_vpnkit(void) {
        uint8_t data[4] = { 2, 0, 'a', 'b' }, header[FRAMING_HEADER_MAX];
        uint32_t len;

        g_assert_cmpint(framing_next(FRAMING_VPNKIT, data, 1, &len), ==, 0);
        g_assert_cmpuint(len, ==, 2);
        g_assert_cmpint(framing_next(FRAMING_VPNKIT, data, 3, &len), ==, 0);
        g_assert_cmpuint(len, ==, 4);
        g_assert_cmpint(framing_next(FRAMING_VPNKIT, data, 4, &len), ==, 1);
        g_assert_cmpuint(len, ==, 2);

        g_assert_cmpuint(framing_put_header(FRAMING_VPNKIT, 0x1234, header), ==, 2);
        g_assert_cmpuint(header[0], ==, 0x34);
        g_assert_cmpuint(header[1], ==, 0x12);
        g_assert_cmpuint(framing_put_header(FRAMING_VPNKIT, UINT16_MAX, header), ==, 2);
        g_assert_cmpuint(framing_put_header(FRAMING_VPNKIT, UINT16_MAX + 1, header), ==, 0);
}

/* Feeds @len bytes, @step at a time; what is answered is gathered. Returns the last result. */
static int feed(Handshake *h, const uint8_t *data, size_t len, size_t step, GByteArray *answers, size_t *ret_used) {
        uint8_t answer[HANDSHAKE_ANSWER_MAX];
        size_t begin = 0, used, n;
        int r = 0;

        for (size_t end = MIN(step, len);; end = MIN(end + step, len)) {
                r = handshake_read(h, data + begin, end - begin, &used, answer, &n);
                g_assert_cmpuint(used, <=, end - begin);
                begin += used;
                g_byte_array_append(answers, answer, (guint) n);
                if (r != 0 || end == len)
                        break;
        }
        *ret_used = begin;
        return r;
}

static void test_hyperkit(void) {
        uint8_t data[HANDSHAKE_INIT_LEN + HANDSHAKE_COMMAND_LEN + 3] = "VMN3T";

        data[HANDSHAKE_INIT_LEN] = 1;
        memcpy(data + HANDSHAKE_INIT_LEN + 1, "c3d68012-0208-11ea-9fd7-f2189899ab08", 36);
        for (size_t step = 1; step <= sizeof(data); step++) {
                g_autoptr(GByteArray) answers = g_byte_array_new();
                Handshake h = { .mtu = 1500 };
                static const uint8_t expected[] = { 1, 0xdc, 5, 0xea, 5, 0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee };
                size_t used;

                g_assert_cmpint(feed(&h, data, sizeof(data), step, answers, &used), ==, 1);
                g_assert_cmpuint(used, ==, HANDSHAKE_INIT_LEN + HANDSHAKE_COMMAND_LEN); /* what follows are frames */
                g_assert_cmpuint(answers->len, ==, HANDSHAKE_INIT_LEN + HANDSHAKE_REPLY_LEN);
                g_assert_cmpmem(answers->data, HANDSHAKE_INIT_LEN, data, HANDSHAKE_INIT_LEN);
                g_assert_cmpmem(answers->data + HANDSHAKE_INIT_LEN, sizeof(expected), expected, sizeof(expected));
                g_assert_cmpint(h.step, ==, HANDSHAKE_DONE);
        }

        /* another UUID: another address, and the same again the next time; a valid one for a station */
        data[HANDSHAKE_INIT_LEN + 1] = 'd';
        MacAddr first = {};
        for (unsigned i = 0; i < 2; i++) {
                g_autoptr(GByteArray) answers = g_byte_array_new();
                Handshake h = { .mtu = 65520 };
                size_t used;

                g_assert_cmpint(feed(&h, data, sizeof(data), sizeof(data), answers, &used), ==, 1);
                g_assert_false(mac_is_multicast(&h.mac));
                g_assert_true(i == 0 || mac_equal(&first, &h.mac));
                first = h.mac;
        }
        g_assert_cmpuint(first.b[5], !=, 0xee);

        /* one that was chosen is told */
        Handshake h = { .mac = { { 2, 0, 0, 0, 0, 7 } } };
        g_autoptr(GByteArray) answers = g_byte_array_new();
        size_t used;
        g_assert_cmpint(feed(&h, data, sizeof(data), sizeof(data), answers, &used), ==, 1);
        g_assert_cmpuint(answers->data[HANDSHAKE_INIT_LEN + 10], ==, 7);

        /* a command nobody knows */
        data[HANDSHAKE_INIT_LEN] = 2;
        h = (Handshake){};
        g_assert_cmpint(feed(&h, data, sizeof(data), sizeof(data), answers, &used), ==, -EPROTO);
}

static void test_http(void) {
        static const char request[] = "POST /connect HTTP/1.1\r\nHost: vm\r\n\r\n\x01";

        for (size_t step = 1; step < sizeof(request); step++) {
                g_autoptr(GByteArray) answers = g_byte_array_new();
                Handshake h = {};
                size_t used;

                g_assert_cmpint(feed(&h, (const uint8_t *) request, sizeof(request) - 1, step, answers, &used), ==, 1);
                g_assert_cmpuint(used, ==, sizeof(request) - 2);
                g_assert_cmpuint(answers->len, ==, 0);
        }
}

static void test_wrong(void) {
        static const char *const wrong[] = { "VMN4T", "VM x", "GET / HTTP/1.1\r\n\r\n", "POST /connec HTTP/1.1\r\n\r\n", " /connect HTTP/1.1",
                                             "\n", "get /connect HTTP/1.1", "ABCDEFGHIJKLMNOPQ /connect HTTP/1.1", "\x05", "CONNECT x:1 HTTP/1.1" };

        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autoptr(GByteArray) answers = g_byte_array_new();
                Handshake h = {};
                size_t used;

                g_assert_cmpint(feed(&h, (const uint8_t *) wrong[i], strlen(wrong[i]), 1, answers, &used), ==, -EPROTO);
                g_assert_cmpuint(used, ==, 0);
                g_assert_cmpuint(answers->len, ==, 0);
        }

        /* headers without an end: to the limit, and not a byte more */
        g_autofree char *text = g_strnfill(HANDSHAKE_HTTP_MAX, 'x');
        g_autoptr(GByteArray) answers = g_byte_array_new();
        Handshake h = {};
        size_t used;
        memcpy(text, "POST /connect HTTP/1.1\r\n", 24);
        g_assert_cmpint(feed(&h, (uint8_t *) text, HANDSHAKE_HTTP_MAX - 1, HANDSHAKE_HTTP_MAX, answers, &used), ==, 0);
        g_assert_cmpint(feed(&h, (uint8_t *) text, HANDSHAKE_HTTP_MAX, HANDSHAKE_HTTP_MAX, answers, &used), ==, -EPROTO);
        memcpy(text + HANDSHAKE_HTTP_MAX - 4, "\r\n\r\n", 4);
        g_assert_cmpint(feed(&h, (uint8_t *) text, HANDSHAKE_HTTP_MAX, HANDSHAKE_HTTP_MAX, answers, &used), ==, 1);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/framing/qemu", test_qemu);
        g_test_add_func("/framing/vpnkit", test_vpnkit);
        g_test_add_func("/framing/hyperkit", test_hyperkit);
        g_test_add_func("/framing/http", test_http);
        g_test_add_func("/framing/wrong", test_wrong);
        return g_test_run();
}
