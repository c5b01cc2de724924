/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Packet socket: a device's frames for another program, over a Unix seqpacket socket. One message is one frame: a virtio_net_hdr_v1 (12
 * bytes, little endian, num_buffers 0) and the Ethernet bytes, super-segments whole: to 65561 in all, and where the device is given longer
 * ones (Device.big) and these are what is read, to FRAME_BIG_MAX and the header. What the program does not read in time, and what it writes
 * that is no frame, is counted among the drops of the device.
 */

#include "device/watch.h"

#define PACKET_SOCKETS_MAX 8 /* of one device */

/* @written: the way that what the program writes goes; it reads what goes the other one. @ret_fd: the program's end, owned by the
 * caller. The watch ends with the socket: when the program closes its end, it takes itself off the device and frees itself.
 * 0 or negative errno. */
int packet_socket_new(Watch **ret, DeviceDirection written, int *ret_fd);
void packet_socket_free(Watch *w); /* one that is on no device */
bool watch_is_packet_socket(const Watch *w);
