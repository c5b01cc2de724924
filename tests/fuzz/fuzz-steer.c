/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a guest's frame that was handed over, again and again: what the kernel is told is from the gateway to the gateway, carries
 * nothing, is right in itself, and does not depend on the pieces the frame came in. Input: where it is cut, 2 bytes; the frame.
 */

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "basic/checksum.h"
#include "daemon/steer.h"
#include "fuzz-frame.h"
#include "fuzz.h"

static const MacAddr gateway = { { 0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xdd } };

static void check_told(const SteerFrame *s) {
        bool v4 = s->bytes[2 * ETH_ALEN] == 0x08;
        size_t ip_len = v4 ? 20 : 40;

        fuzz_check(s->frame.n_iov == 1 && s->frame.iov->iov_base == s->bytes && s->frame.iov->iov_len == s->frame.len);
        fuzz_check(s->frame.len == ETH_HEADER_LEN + ip_len + 8);
        fuzz_check(memcmp(s->bytes, gateway.b, ETH_ALEN) == 0 && memcmp(s->bytes + ETH_ALEN, gateway.b, ETH_ALEN) == 0);
        fuzz_check(!v4 || checksum_finish(checksum_add(s->bytes + ETH_HEADER_LEN, ip_len, 0)) == 0);
        fuzz_check(s->bytes[ETH_HEADER_LEN + ip_len + 4] == 0 && s->bytes[ETH_HEADER_LEN + ip_len + 5] == 8); /* UDP's length */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        FuzzFrame f;

        if (!fuzz_frame(&f, data, size))
                return 0;
        SteerTable *t = calloc(1, sizeof(*t));
        SteerFrame s;

        fuzz_check(t);
        for (unsigned i = 1; i <= 2 * STEER_AFTER; i++) {
                bool told = steer_look(t, i % 2 ? &f.cut : &f.whole, &gateway, USEC_PER_SEC, &s);

                fuzz_check(!told || i % STEER_AFTER == 0);
                if (told)
                        check_told(&s);
        }
        free(t);
        return 0;
}
