/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What tap-vhost.c (frames, health) and tap-vhost-make.c (birth) share. Private to the kind. */

#include "device/offload.h"
#include "device/tap-vhost.h"
#include "vhostnet/vhost-net.h"

typedef struct TapVhost TapVhost;

typedef struct TapVhostQueue {
        TapVhost *device;    /* (borrowed) that it is part of */
        unsigned pair;       /* number of its rings */
        bool blocked;        /* the last send() to it was short */
        unsigned recoveries; /* in a row */
        LoopIo rx_io, tx_io, rx_error_io, tx_error_io;
        Timer resume; /* the turn ended before the ring was empty */
} TapVhostQueue;

struct TapVhost {
        Device device;
        Device *tap;   /* (owned) never started */
        VhostNet *net; /* (owned) a pair for each queue */
        bool cut, join; /* offloads the far end lacks */

        Loop *loop; /* (borrowed: from start to stop) NULL: not running */
        LoopIo tap_io;
        Timer check;
        TapVhostQueue queues[TAP_QUEUES_MAX]; /* device.n_queues of them */

        OffloadSplit *split; /* (owned) */
        Frame *cut_frames;   /* (owned) OFFLOAD_FRAMES_MAX */
        VhostNetLoan loans[FRAME_BATCH_MAX];
        struct iovec joined_iov[FRAME_BATCH_MAX];
        Frame frames[FRAME_BATCH_MAX];
};

extern const DeviceOps tap_vhost_ops;

int tap_vhost_alloc(TapVhost **ret, const TapConfig *c); /* without TAP and rings. 0 or -ENOMEM */

static inline TapVhost *tap_vhost_of(const Device *d) {
        return CONTAINER_OF(d, TapVhost, device);
}
