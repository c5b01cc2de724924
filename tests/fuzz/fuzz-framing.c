/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Byte streams as a hostile guest would send them, in pieces of its choice. First byte: the framing (bit 0) and whether a handshake comes
 * first (bit 1); second: how many bytes come at a time. What is cut out lies within what came, in order, and cutting does not depend on
 * the pieces.
 */

#include <errno.h>

#include "basic/cleanup.h"
#include "device/framing.h"
#include "fuzz.h"

typedef struct Result {
        unsigned n_frames;
        uint64_t sum; /* of places and lengths of frames, and of answers */
        int end;      /* 0, or why the connection was given up */
} Result;

static Result run(Framing f, bool handshake, const uint8_t *data, size_t size, size_t step) {
        uint8_t answer[HANDSHAKE_ANSWER_MAX];
        Handshake h = { .mtu = 1500 };
        size_t begin = 0, n, used;
        Result r = {};

        for (size_t end = MIN(step, size);; end = MIN(end + step, size)) {
                uint32_t len;

                if (handshake && h.step != HANDSHAKE_DONE) {
                        int done = handshake_read(&h, data + begin, end - begin, &used, answer, &n);

                        fuzz_check(used <= end - begin && n <= sizeof(answer) && (done >= 0 || (used == 0 && n == 0)));
                        fuzz_check((done == 1) == (h.step == HANDSHAKE_DONE && done >= 0));
                        begin += used;
                        for (size_t i = 0; i < n; i++)
                                r.sum = r.sum * 31 + answer[i];
                        if (done < 0) {
                                r.end = done;
                                return r;
                        }
                }
                while (!handshake || h.step == HANDSHAKE_DONE) {
                        int whole = framing_next(f, data + begin, end - begin, &len);

                        if (whole < 0) {
                                fuzz_check(whole == -EMSGSIZE);
                                r.end = whole;
                                return r;
                        }
                        if (whole == 0) {
                                fuzz_check(len > end - begin && len <= FRAMING_HEADER_MAX + FRAMING_FRAME_MAX);
                                break;
                        }
                        uint8_t header[FRAMING_HEADER_MAX];
                        unsigned n_header = framing_put_header(f, len, header);
                        fuzz_check(n_header == framing_header_len(f) && memcmp(header, data + begin, n_header) == 0);
                        begin += n_header;
                        fuzz_check(len <= end - begin);
                        r.n_frames++;
                        r.sum = r.sum * 31 + begin * 7 + len;
                        begin += len;
                }
                if (end == size)
                        return r;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 2)
                return 0;

        /* its own memory, so that a byte too far is seen */
        _cleanup_free_ uint8_t *copy = malloc(size - 2 + 1);
        fuzz_check(copy);
        memcpy(copy, data + 2, size - 2);

        Framing f = data[0] & 1 ? FRAMING_VPNKIT : FRAMING_QEMU;
        Result whole = run(f, data[0] & 2, copy, size - 2, MAX(size, (size_t) 1)), pieces = run(f, data[0] & 2, copy, size - 2, data[1] + 1u);
        /* Only whether a greeting was answered before a wrong word came may differ. */
        fuzz_check(whole.n_frames == pieces.n_frames && whole.end == pieces.end && (whole.sum == pieces.sum || whole.end == -EPROTO));
        return 0;
}
