/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * vhost-net: a TAP whose frames move over rings the kernel's vhost-net worker serves, instead of by read() and write(). The same
 * interface to whoever is plugged into it, offloads and super-segments included; no system call a frame.
 */

#include "device/tap.h"

#define TAP_VHOST_QUEUE_SIZE_MIN 32   /* frames of 64 KiB must fit the receive ring with room to spare */
#define TAP_VHOST_QUEUE_SIZE_MAX 4096

/**
 * tap_vhost_new() - make the TAP and its rings
 * @ret:        the device: of kind "vhost-net", or of kind "tap" when it had to do without
 * @config:     as for tap_new(); no_vnet_hdr is refused (-EOPNOTSUPP)
 * @queue_size: descriptors of each ring (a queue of the TAP has two), a power of two within the limits above; 0: as vhostnet has it
 * @ret_note:   (nullable) NULL, or static text that says why it is a plain TAP: there is no /dev/vhost-net, or no access to it
 * @ret_what:   (nullable) on failure: static text naming the step
 *
 * The kernel's worker belongs to the process that calls: do so after any change of user namespace.
 *
 * Return: 0; -EINVAL for a bad queue size; errors of tap_new() and vhost_net_new().
 */
int tap_vhost_new(Device **ret, const TapConfig *config, unsigned queue_size, const char **ret_note, const char **ret_what);

/* As tap_fd(), of either kind that tap_vhost_new() makes. */
int tap_vhost_fd(const Device *d, unsigned queue);
