/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * libvnet: virtqueues of both sides, the kernel's vhost-net without a virtual machine, and the TAP behind it. This header is all of
 * them; each is described in its own.
 *
 * Naming: functions that can fail return 0, or a count, or a negative errno. What is called ret_x is untouched on failure. Nothing logs,
 * nothing allocates but the functions called _new and _open, no state is global. An object is for one thread at a time.
 */

#include "core-vq/vnet-hdr.h"
#include "core-vq/vq-broken.h"
#include "core-vq/vq-device.h"
#include "core-vq/vq-driver.h"
#include "core-vq/vq-feature.h"
#include "core-vq/vq-layout.h"
#include "core-vq/vq-memory.h"
#include "libvnet/vnet-tap.h"
#include "vhostnet/vhost-net.h"
#include "vhostnet/vhost.h"
