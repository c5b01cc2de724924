/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A shard's look at any bytes as a frame: what it takes is for the gateway's station and is TCP to the outside, wherever its bytes lie, and looking
 * changes nothing. Input: where the frame is cut, 2 bytes; the frame.
 */

#include "fake-host.h"
#include "fuzz-frame.h"
#include "fuzz.h"
#include "netstack/netstack-private.h"
#include "netstack/shard.h"

static void as_shard(NetstackConfig *c) {
        fake_ip6(c);
        *c = netstack_shard_config(c, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        FuzzFrame f;

        if (!fuzz_frame(&f, data, size))
                return 0;
        const uint8_t *bytes = f.one.iov_base;
        g_autoptr(FakeHost) h = fake_host_new(as_shard);
        bool takes = netstack_shard_takes(h->stack, &f.whole);

        fuzz_check(netstack_shard_takes(h->stack, &f.cut) == takes);
        if (takes) {
                bool v4 = bytes[12] == 0x08;

                fuzz_check(memcmp(bytes, h->stack->config.mac.b, sizeof(h->stack->config.mac.b)) == 0);
                fuzz_check(f.whole.len >= 14 + (v4 ? 20u : 40u) + 20);
                fuzz_check(bytes[14 + (v4 ? 9 : 6)] == IPPROTO_TCP);
                fuzz_check((bytes[14 + (v4 ? 20 : 40) + 13] & 0x17) == 0x02); /* there are no connections: SYN alone */
        }
        fuzz_check(fake_n_frames(h) == 0);
        return 0;
}
