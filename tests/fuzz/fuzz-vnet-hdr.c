/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a header, any frame length: what decodes encodes to the same bytes; what is judged good obeys the rules that keep
 * the kernel's worker from retrying for ever.
 */

#include <errno.h>
#include <string.h>

#include "core-vq/vnet-hdr.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint8_t back[VNET_HDR_LEN_MAX];
        VnetHdr h;

        if (size < 6)
                return 0;
        unsigned hdr_len = data[0];
        size_t frame_len = (size_t) data[1] | (size_t) data[2] << 8 | (size_t) (data[3] & 1) << 16;
        VnetLink link = data[3] & 2 ? VNET_LINK_IP : VNET_LINK_ETHERNET;

        data += 4;
        size -= 4;
        int r = vnet_hdr_decode(&h, hdr_len, data, size);
        fuzz_check(r == (!vnet_hdr_len_valid(hdr_len) ? -EINVAL : size < hdr_len ? -EMSGSIZE : 0));
        if (r < 0)
                return 0;
        fuzz_check(vnet_hdr_encode(&h, hdr_len, back, sizeof(back)) == 0);
        for (unsigned i = 0; i < hdr_len; i++)
                fuzz_check(back[i] == data[i] || i == 18 || i == 19); /* padding is written as zero */

        h.num_buffers = 0;
        if (vnet_hdr_validate(&h, frame_len, link) != VNET_HDR_OK)
                return 0;
        fuzz_check(frame_len >= (link == VNET_LINK_IP ? 20u : 14u) && frame_len <= 14 + 65535u);
        fuzz_check(!(h.flags & VNET_HDR_F_NEEDS_CSUM) || (size_t) h.csum_start + h.csum_offset + 2 <= frame_len);
        fuzz_check(h.gso_type == 0 || (h.gso_size > 0 && h.flags & VNET_HDR_F_NEEDS_CSUM));
        fuzz_check(h.hdr_len <= frame_len);
        return 0;
}
