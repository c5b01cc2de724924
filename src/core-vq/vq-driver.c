/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Driver side of a split virtqueue. What it does and promises: vq-driver.h. Memory ordering: vq-ring.h.
 *
 * Private state, never read from shared memory:
 *
 *   slots[head]   token, posted length, number of descriptors (0: no chain starts here), place in the available ring
 *   order[]       the available ring as written: which head is due next when completions come in order
 *   next[]        the free list and the links of chains, used only while `fifo` is off
 *
 * While `fifo` is on, descriptors are handed out in ring order and come back in ring order, so the free ones are the n_free
 * from `cursor` on and a chain's are consecutive: no list is kept.
 */

#include "core-vq/vq-driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core-vq/vq-ring.h"

typedef struct VqSlot {
        void *token;       /* (borrowed: the caller's, never looked into) */
        uint32_t in_len;   /* bytes the device may write */
        uint16_t n_desc;   /* 0: no chain starts here */
        uint16_t position; /* in the available ring, free running */
} VqSlot;

struct VqDriver {
        VqRing ring;
        VqDesc *indirect;      /* (borrowed, nullable) size tables of indirect_max */
        unsigned indirect_max;
        uint64_t addr_offset;
        uintptr_t window;
        size_t window_len;     /* 0: no window */
        bool event_idx, in_order, fifo;
        VqBroken broken;
        uint16_t added;        /* available index, unpublished chains included */
        uint16_t published;    /* available index as the device sees it */
        uint16_t last_used;    /* used elements consumed */
        uint16_t cursor;       /* next descriptor (fifo) or first free one (list) */
        unsigned n_free;
        unsigned batch_left;   /* IN_ORDER: chains that the used element at hand still stands for */
        uint32_t batch_len;    /* IN_ORDER: its length, which is the last one's */
        uint16_t *order;       /* (owned) */
        uint16_t *next;        /* (owned) */
        VqSlot slots[];
};

int vq_driver_new(VqDriver **ret, const VqDriverConfig *config) {
        VqLayout l;
        VqDriver *d;
        char *ring = config->ring;
        bool indirect = config->indirect && vq_features_has(config->features, VQ_F_INDIRECT_DESC);

        if (vq_layout_init(&l, config->size) < 0 || !ring || (uintptr_t) ring % 64)
                return -EINVAL;
        if (indirect && (config->indirect_max < 1 || config->indirect_max > VQ_INDIRECT_MAX ||
                         (uintptr_t) config->indirect % VQ_DESC_ALIGN))
                return -EINVAL;

        d = calloc(1, sizeof(*d) + l.size * sizeof(d->slots[0]));
        if (!d)
                return -ENOMEM;
        d->order = calloc(l.size, sizeof(d->order[0]));
        d->next = calloc(l.size, sizeof(d->next[0]));
        if (!d->order || !d->next) {
                vq_driver_free(d);
                return -ENOMEM;
        }

        d->ring = vq_ring_make(ring, ring + l.avail_off, ring + l.used_off, l.size);
        d->indirect = indirect ? config->indirect : NULL;
        d->indirect_max = config->indirect_max;
        d->addr_offset = config->addr_offset;
        d->window = (uintptr_t) config->window;
        d->window_len = config->window ? config->window_len : 0;
        d->event_idx = vq_features_has(config->features, VQ_F_EVENT_IDX);
        d->in_order = vq_features_has(config->features, VQ_F_IN_ORDER);
        d->fifo = true;
        d->n_free = l.size;
        vq_driver_disarm(d);
        *ret = d;
        return 0;
}

VqDriver *vq_driver_free(VqDriver *d) {
        if (!d)
                return NULL;
        free(d->order);
        free(d->next);
        free(d);
        return NULL;
}

/* -- adding -------------------------------------------------------------------------------------------------------- */

static int check_pieces(const VqDriver *d, const struct iovec *iov, unsigned n, uint64_t *sum) {
        for (unsigned i = 0; i < n; i++) {
                uintptr_t base = (uintptr_t) iov[i].iov_base;
                size_t len = iov[i].iov_len;

                if (len == 0 || len > UINT32_MAX)
                        return -EINVAL;
                if (d->window_len && (base < d->window || base - d->window > d->window_len ||
                                      len > d->window_len - (base - d->window)))
                        return -EFAULT;
                *sum += len;
        }
        return 0;
}

/* How many descriptors @c takes, or why it is refused. */
static int chain_slots(const VqDriver *d, const VqChain *c, uint32_t *ret_in_len) {
        uint64_t out_len = 0, in_len = 0;
        unsigned n;
        int r;

        if (c->n_out > VQ_SIZE_MAX || c->n_in > VQ_SIZE_MAX || c->n_out + c->n_in == 0)
                return -EINVAL;
        n = c->n_out + c->n_in;
        r = check_pieces(d, c->out, c->n_out, &out_len);
        if (r < 0)
                return r;
        r = check_pieces(d, c->in, c->n_in, &in_len);
        if (r < 0)
                return r;
        if (out_len + in_len > UINT32_MAX)
                return -EINVAL;
        *ret_in_len = (uint32_t) in_len;
        if (n > 1 && d->indirect && n <= d->indirect_max)
                return 1;
        return n <= d->ring.size ? (int) n : -E2BIG;
}

static uint16_t take_descriptor(VqDriver *d) {
        uint16_t i = d->cursor;

        d->cursor = d->fifo ? (uint16_t) ((i + 1) & d->ring.mask) : d->next[i];
        d->n_free--;
        return i;
}

static void store_piece(VqDriver *d, VqDesc *at, const struct iovec *piece, uint16_t flags, uint16_t next) {
        vq_desc_store(at, (uintptr_t) piece->iov_base + d->addr_offset, (uint32_t) piece->iov_len, flags, next);
}

static void store_indirect(VqDriver *d, uint16_t head, const VqChain *c) {
        VqDesc *table = d->indirect + (size_t) head * d->indirect_max;
        unsigned n = c->n_out + c->n_in;

        for (unsigned i = 0; i < n; i++) {
                bool in = i >= c->n_out;

                store_piece(d, &table[i], in ? &c->in[i - c->n_out] : &c->out[i],
                            (uint16_t) ((in ? VRING_DESC_F_WRITE : 0) | (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
                            (uint16_t) (i + 1 < n ? i + 1 : 0));
        }
        vq_desc_store(&d->ring.desc[head], (uintptr_t) table + d->addr_offset, n * 16, VRING_DESC_F_INDIRECT, 0);
}

static void store_direct(VqDriver *d, uint16_t head, const VqChain *c) {
        unsigned n = c->n_out + c->n_in;
        uint16_t at = head;

        for (unsigned i = 0; i < n; i++) {
                bool in = i >= c->n_out, last = i + 1 == n;
                uint16_t next = last ? 0 : take_descriptor(d);

                store_piece(d, &d->ring.desc[at], in ? &c->in[i - c->n_out] : &c->out[i],
                            (uint16_t) ((in ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT)), next);
                at = next;
        }
}

int vq_driver_add(VqDriver *d, const VqChain *chains, unsigned n_chains) {
        unsigned done;
        int r = 0;

        if (d->broken)
                return -EBADMSG;
        for (done = 0; done < n_chains; done++) {
                const VqChain *c = &chains[done];
                uint32_t in_len;
                uint16_t head;

                r = chain_slots(d, c, &in_len);
                if (r < 0 || (unsigned) r > d->n_free)
                        break;
                head = take_descriptor(d);
                d->slots[head] = (VqSlot) { c->token, in_len, (uint16_t) r, d->added };
                if (r == 1 && c->n_out + c->n_in > 1)
                        store_indirect(d, head, c);
                else
                        store_direct(d, head, c);
                d->order[d->added & d->ring.mask] = head;
                vq_store16(&d->ring.avail->ring[d->added & d->ring.mask], head);
                d->added++;
        }
        return done == 0 && r < 0 ? r : (int) done;
}

bool vq_driver_publish(VqDriver *d) {
        uint16_t old = d->published;

        if (d->added == old || d->broken)
                return false;
        vq_store16_release(&d->ring.avail->idx, d->added);
        d->published = d->added;
        vq_fence();
        if (d->event_idx)
                return vq_need_event(vq_load16(d->ring.avail_event), d->added, old);
        return !(vq_load16(&d->ring.used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* -- reaping ------------------------------------------------------------------------------------------------------- */

/* From ring order to a list: what is free lies behind the cursor, and every chain is consecutive. */
static void leave_fifo(VqDriver *d) {
        for (unsigned i = 0; i < d->ring.size; i++)
                d->next[i] = (uint16_t) ((i + 1) & d->ring.mask);
        d->fifo = false;
}

static void release_chain(VqDriver *d, uint16_t head) {
        VqSlot *s = &d->slots[head];
        uint16_t last = head;

        d->n_free += s->n_desc;
        if (!d->fifo) {
                for (unsigned i = 1; i < s->n_desc; i++)
                        last = d->next[last];
                d->next[last] = d->cursor;
                d->cursor = head;
                if (d->n_free == d->ring.size) {
                        d->fifo = true;
                        d->cursor = 0;
                }
        }
        s->n_desc = 0;
        s->token = NULL;
}

static VqBroken check_used(const VqDriver *d, uint32_t id, uint32_t len) {
        const VqSlot *s;

        if (id >= d->ring.size)
                return VQ_BROKEN_ID_RANGE;
        s = &d->slots[id];
        /* Not the head of a chain, or of one the device has not been shown yet. */
        if (!s->n_desc || (int16_t) (s->position - d->published) >= 0)
                return VQ_BROKEN_ID_STATE;
        if (s->in_len && len > s->in_len)
                return VQ_BROKEN_LENGTH;
        return VQ_BROKEN_NOT;
}

/* IN_ORDER: one element stands for all chains up to its id; the device skips the ring slots of the others. */
static VqBroken begin_batch(VqDriver *d, uint32_t id, uint32_t len, uint16_t available) {
        uint16_t n = (uint16_t) (d->slots[id].position - d->last_used + 1);

        if (n == 0 || n > available)
                return VQ_BROKEN_INDEX;
        d->batch_left = n;
        d->batch_len = len;
        return VQ_BROKEN_NOT;
}

/* Consumes one completion; @available: elements between last_used and the device's index. */
static VqBroken reap_one(VqDriver *d, uint16_t available, VqUsed *ret) {
        uint16_t slot = d->last_used & d->ring.mask, head;
        uint32_t id = 0, len = 0;
        VqBroken why;

        if (!d->batch_left) {
                id = vq_load32(&d->ring.used->ring[slot].id);
                len = vq_load32(&d->ring.used->ring[slot].len);
                why = check_used(d, id, len);
                if (!why && d->in_order)
                        why = begin_batch(d, id, len, available);
                if (why)
                        return why;
        }
        if (d->in_order) {
                head = d->order[slot];
                len = --d->batch_left == 0 ? d->batch_len : 0;
        } else {
                head = (uint16_t) id;
                if (d->fifo && head != d->order[slot])
                        leave_fifo(d);
        }
        *ret = (VqUsed) { d->slots[head].token, d->slots[head].in_len ? len : 0 };
        release_chain(d, head);
        d->last_used++;
        return VQ_BROKEN_NOT;
}

int vq_driver_reap(VqDriver *d, VqUsed *used, unsigned n_used) {
        uint16_t available;
        unsigned done = 0;

        if (d->broken)
                return -EBADMSG;
        available = (uint16_t) (vq_load16_acquire(&d->ring.used->idx) - d->last_used);
        if (available > (uint16_t) (d->published - d->last_used)) {
                d->broken = VQ_BROKEN_INDEX;
                return -EBADMSG;
        }
        while (done < n_used && available > 0) {
                d->broken = reap_one(d, available, &used[done]);
                if (d->broken)
                        return done ? (int) done : -EBADMSG;
                available--;
                done++;
        }
        return (int) done;
}

bool vq_driver_pending(const VqDriver *d) {
        return vq_load16_acquire(&d->ring.used->idx) != d->last_used;
}

bool vq_driver_arm(VqDriver *d, unsigned after) {
        uint16_t outstanding = (uint16_t) (d->published - d->last_used);

        if (d->broken)
                return false;
        if (!d->event_idx || after < 1)
                after = 1;
        if (after > outstanding && outstanding > 0)
                after = outstanding;
        if (d->event_idx)
                vq_store16(d->ring.used_event, (uint16_t) (d->last_used + after - 1));
        else
                vq_store16(&d->ring.avail->flags, 0);
        vq_fence();
        return (uint16_t) (vq_load16_acquire(&d->ring.used->idx) - d->last_used) < after;
}

void vq_driver_disarm(VqDriver *d) {
        /* An index just passed is as far from being passed again as can be. */
        if (d->event_idx)
                vq_store16(d->ring.used_event, (uint16_t) (d->last_used - 1));
        else
                vq_store16(&d->ring.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

unsigned vq_driver_reclaim(VqDriver *d, VqUsed *used, unsigned n_used) {
        unsigned done = 0;

        for (unsigned head = 0; head < d->ring.size && done < n_used; head++)
                if (d->slots[head].n_desc) {
                        used[done++] = (VqUsed) { d->slots[head].token, 0 };
                        d->n_free += d->slots[head].n_desc;
                        d->slots[head] = (VqSlot) {};
                }
        if (done > 0)
                return done;

        d->added = d->published = d->last_used = d->cursor = 0;
        d->batch_left = 0;
        d->n_free = d->ring.size;
        d->fifo = true;
        d->broken = VQ_BROKEN_NOT;
        vq_store16(&d->ring.avail->idx, 0);
        vq_store16(&d->ring.used->idx, 0);
        vq_store16(&d->ring.used->flags, 0);
        vq_store16(d->ring.avail_event, 0);
        vq_driver_disarm(d);
        return 0;
}

unsigned vq_driver_size(const VqDriver *d) {
        return d->ring.size;
}

unsigned vq_driver_free_slots(const VqDriver *d) {
        return d->n_free;
}

unsigned vq_driver_outstanding(const VqDriver *d) {
        return (uint16_t) (d->added - d->last_used);
}

uint16_t vq_driver_published(const VqDriver *d) {
        return d->published;
}

uint16_t vq_driver_used_index(const VqDriver *d) {
        return vq_load16_acquire(&d->ring.used->idx);
}

VqBroken vq_driver_broken(const VqDriver *d) {
        return d->broken;
}

void vq_driver_break(VqDriver *d, VqBroken why) {
        if (!d->broken)
                d->broken = why;
}
