/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Which queue of a TAP with several a frame goes out of. */

#include "basic/frame.h"

#define TAP_QUEUES_MAX 16u /* of one device: one thread serves all of them, unless it is parallel, and the kernel has 256 at most */

/**
 * tap_queue_of_frame() - choose a queue so that a flow keeps its order
 * @f:          any frame; its headers are not trusted
 * @n_queues:   1..TAP_QUEUES_MAX
 *
 * Frames of one TCP or UDP flow, cut or whole, always get the same one; so do all fragments between two addresses, and whatever
 * is no IP between two MAC addresses. The kernel learns from it which queue to use for the flow's other direction.
 *
 * Return: less than @n_queues.
 */
unsigned tap_queue_of_frame(const Frame *f, unsigned n_queues);
