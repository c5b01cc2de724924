/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device side of a split virtqueue. What it does and promises: vq-device.h. Memory ordering: vq-ring.h.
 *
 * Indices, all free running: last_avail (popped) >= used_next (pushed) >= used_shown (published). The driver may never have more
 * than `size` chains between its available index and what we pushed; that bounds everything else.
 */

#include "core-vq/vq-device.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core-vq/vq-ring.h"

struct VqDevice {
        VqRing ring;
        const VqMemory *memory; /* (borrowed: until vq_device_free) */
        bool event_idx, indirect;
        bool called; /* a first call after a start is always due: nobody knows what the driver saw before */
        VqBroken broken;
        uint16_t last_avail, used_next, used_shown;
};

/* Where a chain's pieces go: the room left in the caller's array. */
typedef struct Pieces {
        VqRequest *req;
        unsigned room;
        uint64_t total;
} Pieces;

static bool ring_ok(const void *desc, const void *avail, const void *used) {
        return desc && avail && used && (uintptr_t) desc % VQ_DESC_ALIGN == 0 &&
               (uintptr_t) avail % VQ_AVAIL_ALIGN == 0 && (uintptr_t) used % VQ_USED_ALIGN == 0;
}

int vq_device_new(VqDevice **ret, const VqDeviceConfig *config) {
        VqDevice *d;

        if (vq_size_check(config->size) != VQ_SIZE_OK || !ring_ok(config->desc, config->avail, config->used) || !config->memory)
                return -EINVAL;
        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->ring = vq_ring_make(config->desc, config->avail, config->used, config->size);
        d->memory = config->memory;
        d->event_idx = vq_features_has(config->features, VQ_F_EVENT_IDX);
        d->indirect = vq_features_has(config->features, VQ_F_INDIRECT_DESC);
        d->last_avail = config->base;
        d->used_next = d->used_shown = vq_load16(&d->ring.used->idx);
        *ret = d;
        return 0;
}

VqDevice *vq_device_free(VqDevice *d) {
        free(d);
        return NULL;
}

int vq_device_set_ring(VqDevice *d, void *desc, void *avail, void *used) {
        if (!ring_ok(desc, avail, used))
                return -EINVAL;
        d->ring = vq_ring_make(desc, avail, used, d->ring.size);
        return 0;
}

/* -- popping ------------------------------------------------------------------------------------------------------- */

static VqBroken take_piece(const VqDevice *d, Pieces *p, const VqDescValue *v) {
        bool in = v->flags & VRING_DESC_F_WRITE;
        unsigned used = p->req->n_out + p->req->n_in;
        int r;

        if (v->len == 0)
                return VQ_BROKEN_EMPTY;
        if (!in && p->req->n_in)
                return VQ_BROKEN_ORDER;
        p->total += v->len;
        if (p->total > UINT32_MAX)
                return VQ_BROKEN_LENGTH;
        r = vq_memory_translate(d->memory, v->addr, v->len, p->req->iov + used, p->room - used);
        if (r == -ENOBUFS)
                return VQ_BROKEN_TOO_LONG;
        if (r < 0)
                return VQ_BROKEN_ADDRESS;
        if (in) {
                p->req->n_in += (unsigned) r;
                p->req->in_len += v->len;
        } else {
                p->req->n_out += (unsigned) r;
                p->req->out_len += v->len;
        }
        return VQ_BROKEN_NOT;
}

/* The table lies in one piece and aligned but for odd or hostile drivers: @whole is then NULL, and each descriptor is copied
 * together. The fence keeps the compiler from going back to the shared bytes for what was copied. */
static bool load_indirect(const VqDevice *d, const VqDesc *whole, uint64_t table, unsigned at, VqDescValue *ret) {
        struct iovec iov[2];
        struct vring_desc copy;
        char *to = (char *) &copy;
        int n;

        if (whole) {
                *ret = vq_desc_load(&whole[at]);
                return true;
        }
        n = vq_memory_translate(d->memory, table + (uint64_t) at * 16, sizeof(copy), iov, 2);
        if (n < 0)
                return false;
        for (int i = 0; i < n; i++) {
                memcpy(to, iov[i].iov_base, iov[i].iov_len);
                to += iov[i].iov_len;
        }
        atomic_signal_fence(memory_order_seq_cst);
        *ret = (VqDescValue) { le64toh(copy.addr), le32toh(copy.len), le16toh(copy.flags), le16toh(copy.next) };
        return true;
}

static VqBroken walk_indirect(const VqDevice *d, Pieces *p, const VqDescValue *table) {
        unsigned n = table->len / 16, at = 0;
        const VqDesc *whole;

        if (!d->indirect || table->flags & VRING_DESC_F_NEXT || table->len % 16 || n > VQ_SIZE_MAX)
                return VQ_BROKEN_INDIRECT;
        if (n == 0)
                return VQ_BROKEN_EMPTY;
        if (table->addr + (table->len - 1) < table->addr)
                return VQ_BROKEN_ADDRESS;
        whole = vq_memory_contiguous(d->memory, table->addr, table->len);
        if ((uintptr_t) whole % _Alignof(VqDesc))
                whole = NULL;
        for (unsigned steps = 0; steps < n; steps++) {
                VqDescValue v;
                VqBroken why;

                if (!load_indirect(d, whole, table->addr, at, &v))
                        return VQ_BROKEN_ADDRESS;
                if (v.flags & VRING_DESC_F_INDIRECT)
                        return VQ_BROKEN_INDIRECT;
                why = take_piece(d, p, &v);
                if (why)
                        return why;
                if (!(v.flags & VRING_DESC_F_NEXT))
                        return VQ_BROKEN_NOT;
                if (v.next >= n)
                        return VQ_BROKEN_NEXT_RANGE;
                at = v.next;
        }
        return VQ_BROKEN_LOOP;
}

static VqBroken walk_chain(const VqDevice *d, Pieces *p) {
        unsigned at = p->req->head;

        for (unsigned steps = 0; steps < d->ring.size; steps++) {
                VqDescValue v = vq_desc_load(&d->ring.desc[at]);
                VqBroken why;

                if (v.flags & VRING_DESC_F_INDIRECT)
                        return steps > 0 ? VQ_BROKEN_INDIRECT : walk_indirect(d, p, &v);
                why = take_piece(d, p, &v);
                if (why)
                        return why;
                if (!(v.flags & VRING_DESC_F_NEXT))
                        return VQ_BROKEN_NOT;
                if (v.next >= d->ring.size)
                        return VQ_BROKEN_NEXT_RANGE;
                at = v.next;
        }
        return VQ_BROKEN_LOOP;
}

int vq_device_pop(VqDevice *d, VqRequest *requests, unsigned n_requests, struct iovec *iov, unsigned n_iov) {
        uint16_t avail;
        unsigned done = 0, n_pieces = 0;

        if (d->broken)
                return -EBADMSG;
        avail = vq_load16_acquire(&d->ring.avail->idx);
        if ((uint16_t) (avail - d->used_next) > d->ring.size ||
            (uint16_t) (avail - d->last_avail) > (uint16_t) (avail - d->used_next)) {
                d->broken = VQ_BROKEN_INDEX;
                return -EBADMSG;
        }
        while (done < n_requests && d->last_avail != avail) {
                VqRequest *req = &requests[done];
                Pieces p = { req, n_iov - n_pieces, 0 };
                VqBroken why = VQ_BROKEN_ID_RANGE;

                *req = (VqRequest) { .iov = iov + n_pieces, .head = vq_load16(&d->ring.avail->ring[d->last_avail & d->ring.mask]) };
                if (req->head < d->ring.size)
                        why = walk_chain(d, &p);
                if (why == VQ_BROKEN_TOO_LONG && done > 0)
                        break; /* fits when it comes first, or is found too long then */
                if (why) {
                        d->broken = why;
                        return done ? (int) done : -EBADMSG;
                }
                n_pieces += req->n_out + req->n_in;
                d->last_avail++;
                done++;
        }
        return (int) done;
}

void vq_device_unpop(VqDevice *d, unsigned n) {
        assert(n <= vq_device_outstanding(d));
        d->last_avail = (uint16_t) (d->last_avail - n);
}

/* -- completing ---------------------------------------------------------------------------------------------------- */

void vq_device_push(VqDevice *d, uint16_t head, uint32_t len) {
        VqUsedElem *e = &d->ring.used->ring[d->used_next & d->ring.mask];

        assert(vq_device_outstanding(d) > 0);
        vq_store32(&e->id, head);
        vq_store32(&e->len, len);
        d->used_next++;
}

bool vq_device_publish(VqDevice *d) {
        uint16_t old = d->used_shown, new = d->used_next;
        bool first = !d->called;

        if (old == new)
                return false;
        vq_store16_release(&d->ring.used->idx, new);
        d->used_shown = new;
        d->called = true;
        vq_fence();
        if (d->event_idx)
                return vq_need_event(vq_load16(d->ring.used_event), new, old) || first;
        return !(vq_load16(&d->ring.avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

bool vq_device_arm(VqDevice *d) {
        if (d->event_idx)
                vq_store16(d->ring.avail_event, d->last_avail);
        else
                vq_store16(&d->ring.used->flags, 0);
        vq_fence();
        return vq_load16_acquire(&d->ring.avail->idx) == d->last_avail;
}

void vq_device_disarm(VqDevice *d) {
        if (!d->event_idx)
                vq_store16(&d->ring.used->flags, VRING_USED_F_NO_NOTIFY);
}

bool vq_device_pending(const VqDevice *d) {
        return vq_load16_acquire(&d->ring.avail->idx) != d->last_avail;
}

uint16_t vq_device_base(const VqDevice *d) {
        return d->last_avail;
}

unsigned vq_device_outstanding(const VqDevice *d) {
        return (uint16_t) (d->last_avail - d->used_next);
}

VqBroken vq_device_broken(const VqDevice *d) {
        return d->broken;
}
