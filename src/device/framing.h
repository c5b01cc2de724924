/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * How frames lie in a byte stream, and what is said before the first of them. Pure: bytes in, offsets and answers out.
 *
 *     FRAMING_QEMU     32-bit big-endian length, frame        QEMU's -netdev stream and -netdev socket
 *     FRAMING_VPNKIT   16-bit little-endian length, frame     after a handshake: HyperKit's, or an HTTP request for /connect
 */

#include "basic/addr.h"
#include "basic/frame.h"

typedef enum Framing {
        FRAMING_QEMU,
        FRAMING_VPNKIT,
        _FRAMING_MAX,
} Framing;

#define FRAMING_HEADER_MAX 4
#define FRAMING_FRAME_MAX FRAME_LEN_MAX /* a longer frame is nothing any link carries: the stream is out of step */

static inline unsigned framing_header_len(Framing f) {
        return f == FRAMING_QEMU ? 4 : 2;
}

/* Looks at the frame that begins at @data. 1: it is whole, *@ret_len bytes behind the header; 0: it is not all there, and
 * *@ret_len bytes are needed in all, the header's included, as far as can be told; -EMSGSIZE: longer than FRAMING_FRAME_MAX. */
int framing_next(Framing f, const uint8_t *data, size_t len, uint32_t *ret_len);

/* Writes the header of a frame of @len bytes, at most FRAMING_FRAME_MAX. Returns its length; 0: this framing cannot carry it. */
unsigned framing_put_header(Framing f, uint32_t len, uint8_t buf[static FRAMING_HEADER_MAX]);

/* ---- the handshake of FRAMING_VPNKIT ---- */

#define HANDSHAKE_INIT_LEN 49      /* "VMN3T", version, commit; returned as it came */
#define HANDSHAKE_COMMAND_LEN 41   /* type, UUID in 36 characters, 4 bytes more */
#define HANDSHAKE_REPLY_LEN 258
#define HANDSHAKE_HTTP_MAX 8192    /* request line and headers */
#define HANDSHAKE_ANSWER_MAX (HANDSHAKE_INIT_LEN + HANDSHAKE_REPLY_LEN)

typedef enum HandshakeStep {
        HANDSHAKE_BEGIN,
        HANDSHAKE_COMMAND,
        HANDSHAKE_DONE,
} HandshakeStep;

typedef struct Handshake {
        HandshakeStep step;
        MacAddr mac;  /* zero: derived from the peer's UUID, so that it is the same each time; what was told, when done */
        uint16_t mtu; /* told to a HyperKit peer */
} Handshake;

/* Reads what the peer said so far. 1: done; 0: more is needed; -EPROTO: this is no handshake we know. @ret_used: bytes of @data to
 * throw away; @answer, @ret_answer_len: to be sent. Both are 0 on -EPROTO. */
int handshake_read(Handshake *h, const uint8_t *data, size_t len, size_t *ret_used, uint8_t answer[static HANDSHAKE_ANSWER_MAX],
                   size_t *ret_answer_len);
