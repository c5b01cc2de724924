/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hostile driver against the device's side: the guest's memory and every change to it come from the input. Whatever it holds: pieces lie
 * in the regions, their lengths add up, no more chains are taken than a ring can hold, no endless walk, broken stays broken.
 *
 *   features and size, base (2), then steps: op, arguments. Memory: two regions with a hole between, the ring in the first.
 */

#include <errno.h>
#include <string.h>

#include "core-vq/vq-device.h"
#include "core-vq/vq-ring.h"
#include "fuzz.h"

#define REGION 8192u
#define HOLE 4096u
#define GUEST UINT64_C(0x10000)
#define PIECES 128u
#define STEPS_MAX 4096

typedef struct Script {
        const uint8_t *data;
        size_t left;
} Script;

typedef struct Run {
        VqDevice *d;
        VqRing ring;
        VqMemory memory;
        uint8_t *mem[2]; /* (owned) each alone, so that one byte further is a finding */
        uint16_t heads[64];
        unsigned n_heads; /* popped and not pushed */
} Run;

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

static bool inside(const Run *run, const struct iovec *iov) {
        for (unsigned i = 0; i < 2; i++) {
                uintptr_t off = (uintptr_t) iov->iov_base - (uintptr_t) run->mem[i];

                if (off < REGION && iov->iov_len <= REGION - off)
                        return true;
        }
        return false;
}

static void check_request(Run *run, const VqRequest *r) {
        uint64_t out = 0, in = 0;
        volatile uint8_t sink = 0;

        fuzz_check(r->head < run->ring.size);
        fuzz_check(r->n_out + r->n_in >= 1);
        for (unsigned i = 0; i < r->n_out + r->n_in; i++) {
                const uint8_t *p = r->iov[i].iov_base;

                fuzz_check(r->iov[i].iov_len > 0 && inside(run, &r->iov[i]));
                sink ^= p[0] ^ p[r->iov[i].iov_len - 1];
                if (i < r->n_out)
                        out += r->iov[i].iov_len;
                else
                        in += r->iov[i].iov_len;
        }
        fuzz_check(out == r->out_len && in == r->in_len);
}

static void do_pop(Run *run, Script *s) {
        VqRequest req[16];
        struct iovec iov[PIECES];
        unsigned max = 1 + next8(s) % 16;
        int n;

        if (run->n_heads + max > 64)
                return;
        n = vq_device_pop(run->d, req, max, iov, 1 + next8(s) % PIECES);
        fuzz_check(n == -EBADMSG ? vq_device_broken(run->d) != VQ_BROKEN_NOT : n >= 0 && n <= (int) max);
        for (int i = 0; i < n; i++) {
                check_request(run, &req[i]);
                run->heads[run->n_heads++] = req[i].head;
        }
        fuzz_check(n <= 0 || vq_device_outstanding(run->d) <= run->ring.size);
}

static void do_push(Run *run, Script *s) {
        if (run->n_heads == 0)
                return;
        unsigned at = next8(s) % run->n_heads;

        vq_device_push(run->d, run->heads[at], next16(s));
        run->heads[at] = run->heads[--run->n_heads];
}

static void do_write(Run *run, Script *s) {
        unsigned region = next8(s) & 1, at = next16(s) % REGION, n = next8(s) % 33;

        for (unsigned i = 0; i < n && at + i < REGION; i++)
                run->mem[region][at + i] = next8(s);
}

/* A chain that is nearly right: one descriptor with the input's flags, offered. */
static void do_offer(Run *run, Script *s) {
        uint16_t idx = vq_load16(&run->ring.avail->idx), head = next8(s) & run->ring.mask;
        uint64_t addr = GUEST + next16(s);
        uint32_t len = next16(s);
        uint16_t flags = next8(s) & 7, next = next8(s) % (run->ring.size + 1);

        vq_desc_store(&run->ring.desc[head], addr, flags & VRING_DESC_F_INDIRECT ? len / 16 * 16 % 512 : len, flags, next);
        vq_store16(&run->ring.avail->ring[idx & run->ring.mask], head);
        vq_store16_release(&run->ring.avail->idx, (uint16_t) (idx + 1));
}

static void step(Run *run, Script *s) {
        switch (next8(s) % 9) {
        case 0:
        case 1:
                do_pop(run, s);
                break;
        case 2:
                do_push(run, s);
                break;
        case 3:
                (void) vq_device_publish(run->d);
                break;
        case 4:
                (void) vq_device_arm(run->d);
                break;
        case 5:
                vq_device_disarm(run->d);
                break;
        case 6:
                do_write(run, s);
                break;
        case 7:
                do_offer(run, s);
                break;
        default:
                if (run->n_heads > 0 && vq_device_outstanding(run->d) == run->n_heads) {
                        vq_device_unpop(run->d, 1);
                        run->n_heads--;
                }
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Script s = { data, size };
        uint8_t head = next8(&s);
        VqDeviceConfig c = { .size = 1u << (head & 7) % 6 };
        VqLayout l;
        Run run = {};

        if (head & 0x10)
                vq_features_add(&c.features, VQ_F_EVENT_IDX);
        if (head & 0x20)
                vq_features_add(&c.features, VQ_F_INDIRECT_DESC);
        fuzz_check(vq_layout_init(&l, c.size) == 0);
        for (unsigned i = 0; i < 2; i++) {
                run.mem[i] = aligned_alloc(64, REGION);
                fuzz_check(run.mem[i]);
                memset(run.mem[i], 0, REGION);
                fuzz_check(vq_memory_add(&run.memory, &(VqRegion) { GUEST + i * (REGION + HOLE), REGION, run.mem[i] }) == 0);
        }
        c.desc = run.mem[0];
        c.avail = run.mem[0] + l.avail_off;
        c.used = run.mem[0] + l.used_off;
        c.memory = &run.memory;
        c.base = head & 0x40 ? next16(&s) : 0;
        run.ring = vq_ring_make(c.desc, c.avail, c.used, c.size);
        vq_store16(&run.ring.avail->idx, c.base);
        vq_store16(&run.ring.used->idx, head & 0x80 ? next16(&s) : c.base);
        fuzz_check(vq_device_new(&run.d, &c) == 0);

        for (unsigned i = 0; i < STEPS_MAX && s.left > 0; i++)
                step(&run, &s);

        vq_device_free(run.d);
        free(run.mem[0]);
        free(run.mem[1]);
        return 0;
}
