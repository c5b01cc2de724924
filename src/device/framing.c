/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads and writes what stands between frames in a byte stream: length headers and handshakes. Never keeps bytes, never reads beyond
 * what it was given; every length is checked against a limit before it is believed.
 */

#include "device/framing.h"

#include <errno.h>

int framing_next(Framing f, const uint8_t *data, size_t len, uint32_t *ret_len) {
        unsigned header = framing_header_len(f);
        uint32_t n;

        if (len < header) {
                *ret_len = header;
                return 0;
        }
        n = f == FRAMING_QEMU ? (uint32_t) data[0] << 24 | (uint32_t) data[1] << 16 | (uint32_t) data[2] << 8 | data[3]
                              : (uint32_t) data[1] << 8 | data[0];
        if (n > FRAMING_FRAME_MAX)
                return -EMSGSIZE;
        if (len - header < n) {
                *ret_len = header + n;
                return 0;
        }
        *ret_len = n;
        return 1;
}

unsigned framing_put_header(Framing f, uint32_t len, uint8_t buf[static FRAMING_HEADER_MAX]) {
        if (f == FRAMING_QEMU) {
                buf[0] = (uint8_t) (len >> 24);
                buf[1] = (uint8_t) (len >> 16);
                buf[2] = (uint8_t) (len >> 8);
                buf[3] = (uint8_t) len;
                return 4;
        }
        if (len > UINT16_MAX)
                return 0;
        buf[0] = (uint8_t) len;
        buf[1] = (uint8_t) (len >> 8);
        return 2;
}

/* ---- the handshake ---- */

#define MAGIC "VMN3T"
#define MAGIC_LEN 5
#define UUID_LEN 36
#define COMMAND_ETHERNET 1
#define COMMAND_PREFERRED_IP 8 /* the same with an address wished for, which DHCP will decide on */
#define REPLY_VIF 1

/* FNV-1a: any peer may choose its UUID, and with it the address it will be told to use; nothing here needs a secret. */
static MacAddr mac_from_uuid(const uint8_t *uuid) {
        static const char well_known[UUID_LEN + 1] = "c3d68012-0208-11ea-9fd7-f2189899ab08"; /* gvproxy's, and its MAC */
        uint64_t hash = 0xcbf29ce484222325;

        if (memcmp(uuid, well_known, UUID_LEN) == 0)
                return (MacAddr){ { 0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee } };
        for (unsigned i = 0; i < UUID_LEN; i++)
                hash = (hash ^ uuid[i]) * 0x100000001b3;
        return (MacAddr){ { 0x5a, 0x94, (uint8_t) hash, (uint8_t) (hash >> 8), (uint8_t) (hash >> 16), (uint8_t) (hash >> 24) } };
}

static void put_le16(uint8_t *at, uint16_t v) {
        at[0] = (uint8_t) v;
        at[1] = (uint8_t) (v >> 8);
}

/* The length of an HTTP request for /connect; 0: not all there; -EPROTO: it is something else. */
static ssize_t http_request_len(const uint8_t *data, size_t len) {
        static const char target[] = " /connect HTTP/1.";
        size_t method = 0, n = MIN(len, (size_t) HANDSHAKE_HTTP_MAX);

        while (method < n && method < 16 && data[method] >= 'A' && data[method] <= 'Z')
                method++;
        if (method == n)
                return n < 16 ? 0 : -EPROTO;
        if (method == 0 || memcmp(data + method, target, MIN(n - method, sizeof(target) - 1)) != 0)
                return -EPROTO;
        for (size_t i = method + sizeof(target) - 1; i + 4 <= n; i++)
                if (memcmp(data + i, "\r\n\r\n", 4) == 0)
                        return (ssize_t) (i + 4);
        return n == HANDSHAKE_HTTP_MAX ? -EPROTO : 0;
}

static int read_begin(Handshake *h, const uint8_t *data, size_t len, size_t *ret_used, uint8_t *answer, size_t *ret_answer_len) {
        ssize_t n;

        if (len == 0)
                return 0;
        if (memcmp(data, MAGIC, MIN(len, (size_t) MAGIC_LEN)) == 0) {
                if (len < HANDSHAKE_INIT_LEN)
                        return 0;
                memcpy(answer, data, HANDSHAKE_INIT_LEN);
                *ret_answer_len = *ret_used = HANDSHAKE_INIT_LEN;
                h->step = HANDSHAKE_COMMAND;
                return 0;
        }
        n = http_request_len(data, len);
        if (n > 0) { /* no answer: gvforwarder waits for none, and would read it as the length of a frame */
                *ret_used = (size_t) n;
                h->step = HANDSHAKE_DONE;
        }
        return n < 0 ? (int) n : n > 0;
}

static int read_command(Handshake *h, const uint8_t *data, size_t len, size_t *ret_used, uint8_t *answer, size_t *ret_answer_len) {
        if (len == 0)
                return 0;
        if (data[0] != COMMAND_ETHERNET && data[0] != COMMAND_PREFERRED_IP)
                return -EPROTO;
        if (len < HANDSHAKE_COMMAND_LEN)
                return 0;
        if (mac_is_zero(&h->mac))
                h->mac = mac_from_uuid(data + 1);
        memset(answer, 0, HANDSHAKE_REPLY_LEN);
        answer[0] = REPLY_VIF;
        put_le16(answer + 1, h->mtu);
        put_le16(answer + 3, (uint16_t) MIN(h->mtu + ETH_HEADER_LEN, UINT16_MAX));
        memcpy(answer + 5, h->mac.b, sizeof(h->mac.b));
        *ret_used = HANDSHAKE_COMMAND_LEN;
        *ret_answer_len = HANDSHAKE_REPLY_LEN;
        h->step = HANDSHAKE_DONE;
        return 1;
}

/**
 * handshake_read() - one step or two of what is said before frames
 *
 * Both kinds of peer come to the same listener, and their first bytes tell them apart: HyperKit's magic, or the method of an HTTP request.
 *
 * Tested by: tests/unit/test-framing.c; fuzz-framing.
 */
int handshake_read(Handshake *h, const uint8_t *data, size_t len, size_t *ret_used, uint8_t answer[static HANDSHAKE_ANSWER_MAX],
                   size_t *ret_answer_len) {
        size_t used = 0, answer_len = 0;
        int r = 0;

        *ret_used = *ret_answer_len = 0;
        if (h->step == HANDSHAKE_BEGIN)
                r = read_begin(h, data, len, ret_used, answer, ret_answer_len);
        if (r == 0 && h->step == HANDSHAKE_COMMAND) {
                r = read_command(h, data + *ret_used, len - *ret_used, &used, answer + *ret_answer_len, &answer_len);
                *ret_used += used;
                *ret_answer_len += answer_len;
        }
        if (r < 0)
                *ret_used = *ret_answer_len = 0;
        return h->step == HANDSHAKE_DONE && r == 0 ? 1 : r;
}
