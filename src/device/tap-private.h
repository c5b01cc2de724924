/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What tap.c (frames) and tap-make.c (birth) share. Private to the kind. */

#include "device/offload.h"
#include "device/tap-queue.h"
#include "device/tap.h"

#define TAP_HEADER_LEN ((unsigned) sizeof(struct virtio_net_hdr_v1))
#define TAP_ARENA_LEN (1536 * 1024)
#define TAP_BATCH_LEN (320 * 1024)            /* of which a batch has so much while somebody has little to say ... */
#define TAP_BULK_AFTER (20 * USEC_PER_MSEC)   /* ... or had as lately as that */
#define TAP_CACHE_LINE 64
#define TAP_VAIN_LOOKS 4   /* for the guest's answer, until it is taken for one that does not answer within the write */
#define TAP_VAIN_FRAMES 64 /* that ask for one, until it is looked again */

typedef struct Tap Tap;

/* What a thread that serves queues has to itself. There is one for all, or of a split device one a queue. */
typedef struct TapLane {
        Tap *tap; /* (borrowed) that it is part of */
        Loop *loop; /* (borrowed: from start to stop) NULL: not running */
        const DeviceHandler *handler; /* (borrowed: from start to stop) */
        void *userdata;
        Counters *counters; /* (borrowed) of the device */
        usec_t small_at; /* when the latest frame came that belongs to a conversation */
        int rw_flags;  /* RWF_NOWAIT where the kernel has it for TAPs, else 0 */

        OffloadSplit *split; /* (owned) */
        Frame *cut_frames;   /* (owned) OFFLOAD_FRAMES_MAX */
        uint8_t *arena;      /* (owned) TAP_ARENA_LEN, at a cache line; of the queue whose turn it is */
        struct iovec iov[FRAME_BATCH_MAX], joined_iov[FRAME_BATCH_MAX];
        Frame frames[FRAME_BATCH_MAX];
} TapLane;

/* A descriptor of the interface. With IFF_MULTI_QUEUE there are several, each with a queue of its own in the kernel. */
typedef struct TapQueue {
        TapLane *lane; /* (borrowed) that serves it */
        int fd;        /* (owned) */
        bool blocked;  /* the last write would have waited */
        uint8_t most;  /* small frames a turn brings of late; FRAME_BATCH_MAX: large ones too; 0: not known */
        uint8_t less;  /* so many turns in a row brought less */
        uint8_t row;   /* so many wake-ups in a row came for this queue: there may be more than was expected */
        uint64_t wake; /* the last of them */
        uint8_t asked; /* frames sent that the guest has an answer to, since the last look */
        uint8_t unanswered; /* looks in a row that found nothing */
        LoopIo io;
} TapQueue;

struct Tap {
        Device device;
        bool vnet_hdr; /* frames have a header in front */
        bool cut, join; /* offloads the far end lacks */
        TapQueue queues[TAP_QUEUES_MAX]; /* device.n_queues of them */
        TapLane *lanes[TAP_QUEUES_MAX];  /* (owned) [0]: of all queues, or of the first of a split device */
};

TapLane *tap_lane_new(Tap *t, Counters *counters); /* NULL: out of memory */
TapLane *tap_lane_free(TapLane *l); /* returns NULL */

bool tap_release_takes_big(const char *release); /* frames beyond 64 KiB; as uname() has it */

extern const DeviceOps tap_ops;

static inline Tap *tap_of(const Device *d) {
        return CONTAINER_OF(d, Tap, device);
}
