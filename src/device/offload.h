/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Offloads in software, for devices whose far end has none: cuts super-frames into frames the link carries, computes the
 * checksums left open, and on the way in joins neighbouring TCP segments into super-frames. Pure: memory to memory.
 */

#include "basic/counters.h"
#include "basic/checksum.h"
#include "basic/frame.h"

#define OFFLOAD_FRAMES_MAX 128 /* frames one super-frame may become: 64 KiB at an MSS of 512 and up */
#define OFFLOAD_HEADROOM 4     /* bytes before a changed frame that are the caller's: what its framing puts there */

bool offload_must_cut(uint32_t have);  /* are there frames that offload_split() changes for a far end with @have (DeviceOffload)? */
bool offload_must_join(uint32_t have); /* does what comes from it gain by offload_coalesce()? */

/* Checks a virtio-net header against its frame (virtio 1.2, 5.1.6.2): types, offsets, header lengths, gso_size.
 * True when it is safe to act on. Frames from a guest go through this before anything else looks at the header. */
bool offload_header_is_valid(const Frame *f);

typedef struct OffloadSplit OffloadSplit; /* scratch memory for one device: headers of cut frames, linear copies */
OffloadSplit *offload_split_new(void);
OffloadSplit *offload_split_free(OffloadSplit *s);

/* Turns one frame into @ret_frames (array of at least OFFLOAD_FRAMES_MAX) that need nothing of @have (DeviceOffload) lacking.
 * The result borrows @f's bytes and @s's memory until the next call. Returns the count; 0 when the frame cannot be carried,
 * with @ret_reason saying why. A frame that already fits comes back as itself, count 1; before the first piece of any other are
 * OFFLOAD_HEADROOM bytes of @s to write to. */
unsigned offload_split(OffloadSplit *s, const Frame *f, uint32_t have, Frame *ret_frames, Drop *ret_reason);

/* Joins runs of consecutive in-order TCP segments of one flow within @frames (same addresses, ports, ack, flags but PSH, window,
 * options of equal bytes; checksums verified first or known good) into super-frames of at most FRAME_LEN_MAX with gso headers, in
 * place, order kept. @iov_store: room for the pieces of joined frames (n_iov_store of them). Returns the new count. Bad checksums
 * are left as they are for the stack to count. */
unsigned offload_coalesce(Frame *frames, unsigned n, struct iovec *iov_store, unsigned n_iov_store);

