/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What vhost-net.c (life) and vhost-net-io.c (frames) share. Private to vhostnet. */

#include "core-vq/vq-driver.h"
#include "vhostnet/vhost-net.h"

#define VHOST_NET_HEADER_SLOT 32u /* bytes a header in the header slab takes */
#define VHOST_NET_NONE UINT16_MAX /* "no chunk, no buffer": queues are never that long */

typedef struct VhostNetQueue {
        VqDriver *driver;           /* (owned) */
        void *ring;                 /* (borrowed: the arena) */
        int kick_fd, call_fd, error_fd; /* (owned) */
        uint16_t base;              /* available index the kernel goes on at */
        uint64_t *kicks;            /* (borrowed: the pair's stats) */
} VhostNetQueue;

/* A frame on its way out. */
typedef struct VhostNetSlot {
        void *token;     /* (borrowed: the caller's) */
        uint16_t chunk;  /* first of its chunks, or NONE: sent from where it lies */
        uint16_t next;   /* free list */
} VhostNetSlot;

typedef struct VhostNetPair {
        int vhost_fd, backend_fd; /* (owned) */
        bool running;
        char *arena;              /* (owned: mmap) rings, tables, headers, chunks, receive buffers */
        size_t arena_len;
        VhostNetQueue q[_VHOST_NET_RING_MAX];
        VhostNetStats stats;

        /* transmit */
        char *headers;            /* (borrowed: arena) one VHOST_NET_HEADER_SLOT a slot */
        char *chunks;             /* (borrowed: arena) */
        VhostNetSlot *slots;      /* (owned) queue_size */
        uint16_t free_slot, free_chunk;
        uint16_t *chunk_next;     /* (owned) n_chunks: free list, or a frame's chunks */
        unsigned n_free_chunks;
        void **done;              /* (owned) ring of tokens reaped and not yet asked for. At most queue_size are reaped, and as
                                   * many may still be in the transmit ring when a recovery ends them: twice queue_size */
        unsigned done_first, n_done;

        /* receive */
        char *buffers;            /* (borrowed: arena) queue_size of rx_buffer_len */
        VqUsed *used;             /* (owned) queue_size: completions reaped and not yet made into frames */
        unsigned used_first, n_used;
        struct iovec *iov;        /* (owned) queue_size: pieces of the last vhost_net_receive() */
        uint16_t *buffer_next;    /* (owned) links of the buffers of a loan */
        bool *loaned;             /* (owned) by first buffer */
        bool filled;              /* the buffers have been posted since the rings were new */

        /* watchdog */
        uint16_t seen_used;
        uint64_t seen_usec, stuck_usec;
        bool watching, error_seen;
} VhostNetPair;

struct VhostNet {
        VqFeatures offered, features;
        unsigned header_len, queue_size, rx_buffer_len, n_chunks, n_pairs;
        uint32_t max_frame_len;
        VnetLink link;
        VhostNetMap map;
        bool mergeable;
        VhostNetPair pairs[];
};

static inline bool vhost_net_pair_broken(const VhostNetPair *p) {
        return vq_driver_broken(p->q[VHOST_NET_RX].driver) || vq_driver_broken(p->q[VHOST_NET_TX].driver);
}

void vhost_net_pair_kick(VhostNetQueue *q);
/* Puts every buffer that is neither posted nor loaned into the receive ring: at the first start and after a reset. */
void vhost_net_pair_fill(VhostNet *v, VhostNetPair *p);
/* The lists of transmit slots and chunks, and the receive side, as new. The rings must have been reclaimed. */
void vhost_net_pair_clear(VhostNet *v, VhostNetPair *p);
/* Takes what the worker has sent off the ring: slots and chunks become free, tokens wait in `done`. */
int vhost_net_pair_reap(VhostNetPair *p);
void vhost_net_pair_finish_slot(VhostNetPair *p, VhostNetSlot *s);
