/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Inject: frames that somebody made by hand, put on a device as though they had come the usual way. */

#include "core-vq/vnet-hdr.h"
#include "device/device.h"

#define INJECT_HDR_LEN VNET_HDR_LEN_V1

/* May this go? The same for both ways: what a guest could not have sent, and what the kernel would choke on, is no frame. With
 * DEVICE_FROM_GUEST the header must be true to the frame besides (offload.h). VNET_HDR_OK, or what is wrong; *@ret_lies: the header
 * would do for the kernel, but not for us. */
VnetHdrError inject_check(DeviceDirection direction, const VnetHdr *hdr, const Frame *f, bool *ret_lies);

/* Only on the thread that drives @d, with frames that were checked; at most FRAME_BATCH_MAX. Return: how many were taken, fewer than @n
 * when the device is full; from the guest always all. */
unsigned inject_frames(Device *d, DeviceDirection direction, Frame *frames, unsigned n);
