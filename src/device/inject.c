/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See inject.h. Changes no byte of a frame, and sends nothing it was not given. */

#include "device/inject.h"

#include "device/offload.h"

VnetHdrError inject_check(DeviceDirection direction, const VnetHdr *hdr, const Frame *f, bool *ret_lies) {
        VnetHdrError r = vnet_hdr_validate(hdr, f->len, VNET_LINK_ETHERNET);

        *ret_lies = r == VNET_HDR_OK && direction == DEVICE_FROM_GUEST && !offload_header_is_valid(f);
        return r;
}

unsigned inject_frames(Device *d, DeviceDirection direction, Frame *frames, unsigned n) {
        if (direction == DEVICE_TO_GUEST)
                return device_send(d, frames, n);

        for (unsigned i = 0; i < n; i++) {
                counter_add(&d->counters.rx_frames, 1);
                counter_add(&d->counters.rx_bytes, frames[i].len);
        }
        d->handler->receive(d, frames, n, d->userdata);
        return n;
}
