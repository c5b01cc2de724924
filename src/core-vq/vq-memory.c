/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The region table. Never reads or writes the memory it speaks of.
 */

#include "core-vq/vq-memory.h"

#include <errno.h>
#include <string.h>

/* The first region that ends behind @addr, i.e. that holds it or comes after it. */
static unsigned find_region(const VqMemory *m, uint64_t addr) {
        unsigned low = 0, high = m->n_regions;

        while (low < high) {
                unsigned mid = (low + high) / 2;

                if (addr >= m->regions[mid].addr && addr - m->regions[mid].addr >= m->regions[mid].len)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

int vq_memory_add(VqMemory *m, const VqRegion *region) {
        unsigned at;

        if (region->len == 0 || region->addr + (region->len - 1) < region->addr)
                return -EINVAL;
        if ((uintptr_t) region->host + (region->len - 1) < (uintptr_t) region->host)
                return -EINVAL;
        at = find_region(m, region->addr);
        if (at < m->n_regions && m->regions[at].addr <= region->addr + (region->len - 1))
                return -EEXIST;
        if (m->n_regions == VQ_MEMORY_REGIONS_MAX)
                return -E2BIG;
        memmove(&m->regions[at + 1], &m->regions[at], (m->n_regions - at) * sizeof(m->regions[0]));
        m->regions[at] = *region;
        m->n_regions++;
        return 0;
}

int vq_memory_remove(VqMemory *m, uint64_t addr, uint64_t len) {
        unsigned at = find_region(m, addr);

        if (at == m->n_regions || m->regions[at].addr != addr || m->regions[at].len != len)
                return -ENOENT;
        m->n_regions--;
        memmove(&m->regions[at], &m->regions[at + 1], (m->n_regions - at) * sizeof(m->regions[0]));
        return 0;
}

int vq_memory_translate(const VqMemory *m, uint64_t addr, uint64_t len, struct iovec *iov, unsigned n_iov) {
        unsigned n = 0;

        for (unsigned at = find_region(m, addr); len > 0; at++) {
                const VqRegion *r;
                uint64_t off, take;

                if (at == m->n_regions || addr < m->regions[at].addr)
                        return -EFAULT;
                if (n == n_iov)
                        return -ENOBUFS;
                r = &m->regions[at];
                off = addr - r->addr;
                take = r->len - off < len ? r->len - off : len;
                iov[n++] = (struct iovec) { (char *) r->host + off, take };
                addr += take;
                len -= take;
                if (addr == 0 && len > 0) /* ran over the end of the address space */
                        return -EFAULT;
        }
        return (int) n;
}

void *vq_memory_contiguous(const VqMemory *m, uint64_t addr, uint64_t len) {
        struct iovec iov;

        return len > 0 && vq_memory_translate(m, addr, len, &iov, 1) == 1 ? iov.iov_base : NULL;
}
