/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hostile device against the driver's side: the input scripts what the driver does and what the device writes into the shared
 * ring between, true or false. Whatever it writes: no token comes back twice or unasked, no length beyond what was posted, no
 * descriptor is lost, broken stays broken, and after a reclaim every token has come back once.
 *
 *   features and size, then steps: op, arguments
 */

#include <errno.h>
#include <string.h>

#include "core-vq/vq-driver.h"
#include "core-vq/vq-ring.h"
#include "fuzz.h"

#define SIZE_MAX_LOG 5
#define TOKENS 64
#define STEPS_MAX 4096

typedef struct Script {
        const uint8_t *data;
        size_t left;
} Script;

typedef struct Run {
        VqDriver *d;
        VqRing ring;
        uint8_t *shared; /* (owned) */
        size_t shared_len;
        uint32_t in_len[TOKENS]; /* posted with the token */
        bool out[TOKENS];        /* token is with the driver */
        unsigned n_out;
} Run;

static uint8_t data_bytes[256];

static uint8_t next8(Script *s) {
        if (s->left == 0)
                return 0;
        s->left--;
        return *s->data++;
}

static uint16_t next16(Script *s) {
        uint8_t low = next8(s);

        return (uint16_t) (low | next8(s) << 8);
}

static void do_add(Run *run, Script *s) {
        unsigned token = next8(s) % TOKENS, shape = next8(s), n_out = shape & 7, n_in = shape >> 3 & 7;
        struct iovec iov[14];
        uint32_t in_len = 0;

        if (run->out[token])
                return;
        for (unsigned i = 0; i < n_out + n_in; i++) {
                iov[i] = (struct iovec) { data_bytes, (size_t) next8(s) };
                in_len += i >= n_out ? (uint32_t) iov[i].iov_len : 0;
        }
        VqChain c = { .out = iov, .in = iov + n_out, .n_out = n_out, .n_in = n_in, .token = (void *) (uintptr_t) (token + 1) };
        int r = vq_driver_add(run->d, &c, 1);

        fuzz_check(r == 1 || r == 0 || r == -EINVAL || r == -E2BIG || r == -EBADMSG);
        fuzz_check((r == -EBADMSG) == (vq_driver_broken(run->d) != VQ_BROKEN_NOT));
        if (r == 1) {
                run->out[token] = true;
                run->in_len[token] = in_len;
                run->n_out++;
        }
}

static void take_back(Run *run, const VqUsed *u) {
        uintptr_t token = (uintptr_t) u->token - 1;

        fuzz_check(token < TOKENS && run->out[token]);
        fuzz_check(u->len <= run->in_len[token]);
        run->out[token] = false;
        run->n_out--;
}

static void do_reap(Run *run, Script *s) {
        VqUsed used[8];
        int n = vq_driver_reap(run->d, used, next8(s) % 9);

        fuzz_check(n == -EBADMSG ? vq_driver_broken(run->d) != VQ_BROKEN_NOT : n >= 0 && n <= 8);
        for (int i = 0; i < n; i++)
                take_back(run, &used[i]);
}

static void do_reclaim(Run *run) {
        VqUsed used[8];
        unsigned n;

        while ((n = vq_driver_reclaim(run->d, used, 8)) > 0)
                for (unsigned i = 0; i < n; i++)
                        take_back(run, &used[i]);
        fuzz_check(run->n_out == 0);
        fuzz_check(vq_driver_free_slots(run->d) == vq_driver_size(run->d));
        fuzz_check(vq_driver_broken(run->d) == VQ_BROKEN_NOT);
}

/* An honest device: uses the oldest chain it has not used, or another. */
static void do_use(Run *run, Script *s, bool honest) {
        uint16_t idx = vq_load16(&run->ring.used->idx);
        VqUsedElem *e = &run->ring.used->ring[idx & run->ring.mask];

        vq_store32(&e->id, honest ? vq_load16(&run->ring.avail->ring[idx & run->ring.mask]) : next16(s));
        vq_store32(&e->len, honest ? 0 : next16(s));
        vq_store16_release(&run->ring.used->idx, (uint16_t) (idx + 1));
}

static void step(Run *run, Script *s) {
        switch (next8(s) % 10) {
        case 0:
        case 1:
                do_add(run, s);
                break;
        case 2:
                (void) vq_driver_publish(run->d);
                break;
        case 3:
                do_reap(run, s);
                break;
        case 4:
                if (vq_driver_arm(run->d, next8(s)))
                        fuzz_check(vq_driver_broken(run->d) == VQ_BROKEN_NOT);
                break;
        case 5:
                vq_driver_disarm(run->d);
                break;
        case 6:
                do_use(run, s, true);
                break;
        case 7:
                do_use(run, s, false);
                break;
        case 8: { /* any byte of what is shared */
                uint16_t at = next16(s);

                run->shared[at % run->shared_len] = next8(s);
                break;
        }
        default:
                if (next8(s) == 0)
                        do_reclaim(run);
                break;
        }
        if (!vq_driver_broken(run->d))
                fuzz_check(vq_driver_outstanding(run->d) == run->n_out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Script s = { data, size };
        uint8_t head = next8(&s);
        unsigned n = 1u << (head & 7) % (SIZE_MAX_LOG + 1);
        VqDriverConfig c = { .size = n, .indirect_max = 4 };
        VqLayout l;
        Run run = {};

        if (head & 0x10)
                vq_features_add(&c.features, VQ_F_EVENT_IDX);
        if (head & 0x20)
                vq_features_add(&c.features, VQ_F_INDIRECT_DESC);
        if (head & 0x40)
                vq_features_add(&c.features, VQ_F_IN_ORDER);
        fuzz_check(vq_layout_init(&l, n) == 0);
        run.shared_len = l.total_len;
        run.shared = aligned_alloc(64, l.total_len);
        c.indirect = aligned_alloc(64, (vq_driver_indirect_len(n, 4) + 63) / 64 * 64);
        fuzz_check(run.shared && c.indirect);
        memset(run.shared, 0, l.total_len);
        c.ring = run.shared;
        fuzz_check(vq_driver_new(&run.d, &c) == 0);
        run.ring = vq_ring_make(run.shared, run.shared + l.avail_off, run.shared + l.used_off, n);

        for (unsigned i = 0; i < STEPS_MAX && s.left > 0; i++)
                step(&run, &s);
        do_reclaim(&run);

        vq_driver_free(run.d);
        free(c.indirect);
        free(run.shared);
        return 0;
}
