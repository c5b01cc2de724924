/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Frames in and out of a TAP through the kernel's vhost-net, without a virtual machine: this process plays the guest's driver,
 * the kernel's worker moves the frames. No system call a frame: kicks are events, and asked for only when the worker sleeps.
 *
 *     vhost_net_new -> vhost_net_start -> send / receive ... -> vhost_net_stop -> [start ...] -> vhost_net_free
 *
 * A pair is a receive and a transmit ring with a vhost descriptor, a worker and a TAP queue of its own; several pairs make
 * a multi-queue device. One thread at a time may use a pair; different pairs are independent. No thread is started here, no
 * descriptor is read or polled unasked, no clock is looked at: the caller's event loop has the fds and the time.
 *
 *     for (;;) {
 *             n = vhost_net_receive(...);  use the frames;  vhost_net_return(...);
 *             if (n == 0 && vhost_net_arm(v, pair, VHOST_NET_RX, 1))
 *                     sleep on vhost_net_fd(v, pair, VHOST_NET_RX, VHOST_NET_FD_CALL), then vhost_net_disarm(...);
 *     }
 *
 * Safety: a header the kernel's worker would retry for ever is refused before it is published (core-vq/vnet-hdr.h); a backend
 * whose header size is not the negotiated one is refused at set-up, not met by silence; the receive ring always holds more than
 * the longest frame. What the worker writes back is not trusted: a lie breaks the pair, see vhost_net_check().
 *
 * Needs no capability and no locked memory: only /dev/vhost-net opened (here or by someone else) and a TAP. Change user
 * namespaces before vhost_net_new(): newer kernels give the worker to the process as a thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core-vq/vnet-hdr.h"
#include "core-vq/vq-broken.h"
#include "core-vq/vq-feature.h"

#define VHOST_NET_PAIRS_MAX 256u /* queues a TAP can have */
#define VHOST_NET_PIECES_MAX 64u /* pieces of one frame to be sent */
#define VHOST_NET_BATCH_MAX 64u  /* frames of one call */
#define VHOST_NET_QUEUE_SIZE 256u
#define VHOST_NET_RX_BUFFER 4096u
#define VHOST_NET_TX_CHUNK 4096u
#define VHOST_NET_STUCK_USEC UINT64_C(1000000)

typedef struct VhostNet VhostNet;

/* The kernel's numbers of the two rings. */
typedef enum VhostNetRing { VHOST_NET_RX, VHOST_NET_TX, _VHOST_NET_RING_MAX } VhostNetRing;

/* What of our memory the kernel's worker may touch. */
typedef enum VhostNetMap {
        VHOST_NET_MAP_PROCESS, /* all of it: any buffer can be sent from where it lies */
        VHOST_NET_MAP_ARENA,   /* the rings' own memory only: vhost_net_send() refuses what lies outside (-EFAULT), send_copy works */
        _VHOST_NET_MAP_MAX,
} VhostNetMap;

typedef enum VhostNetFd { VHOST_NET_FD_CALL, VHOST_NET_FD_ERROR, VHOST_NET_FD_VHOST, _VHOST_NET_FD_MAX } VhostNetFd;

typedef struct VhostNetConfig {
        unsigned n_pairs;            /* 1..VHOST_NET_PAIRS_MAX */
        const int *backend_fds;      /* n_pairs queues of a TAP (or packet sockets); duplicated: the caller may close its own */
        const int *vhost_fds;        /* (nullable: opened here) n_pairs, without owner; duplicated */
        unsigned queue_size;         /* of each ring; 0: VHOST_NET_QUEUE_SIZE */
        unsigned rx_buffer_len;      /* 0: VHOST_NET_RX_BUFFER, without MRG_RXBUF as much as the longest frame takes */
        unsigned n_tx_chunks;        /* of VHOST_NET_TX_CHUNK, for send_copy; 0: twice queue_size */
        uint32_t max_frame_len;      /* longest frame that may come; 0: 65535 behind the link header and a VLAN tag. Less than
                                      * that is wrong while the TAP has TSO or USO on */
        const VqFeatures *wanted;    /* (nullable: MRG_RXBUF, INDIRECT_DESC, EVENT_IDX) taken where offered */
        const VqFeatures *required;  /* (nullable: VERSION_1) */
        VnetLink link;               /* of the backend: TAP or TUN */
        VhostNetMap map;
        unsigned busyloop_usec;      /* the worker polls this long before it sleeps; 0: not */
} VhostNetConfig;

/* A frame to be sent. Its num_buffers must be 0. */
typedef struct VhostNetFrame {
        VnetHdr hdr;
        const struct iovec *iov; /* link header first; n_iov of 1..VHOST_NET_PIECES_MAX */
        unsigned n_iov;
        void *token;             /* (nullable) comes back from vhost_net_done() when the worker has copied the frame */
} VhostNetFrame;

/* A frame received, in buffers on loan until vhost_net_return(). */
typedef struct VhostNetLoan {
        VnetHdr hdr;             /* num_buffers is 0 unless MRG_RXBUF was negotiated */
        const struct iovec *iov; /* (borrowed: until the next vhost_net_receive on the pair) link header first */
        unsigned n_iov;
        uint32_t len;
        uint32_t cookie;         /* which buffers */
} VhostNetLoan;

typedef struct VhostNetStats {
        uint64_t tx_frames, tx_bytes, tx_kicks, tx_refused[_VNET_HDR_ERROR_MAX];
        uint64_t rx_frames, rx_bytes, rx_kicks, rx_dropped; /* dropped: longer than max_frame_len, or shorter than a link header */
        uint64_t calls;   /* call events read */
        uint64_t resets;  /* vhost_net_recover() */
} VhostNetStats;

typedef enum VhostNetHealth {
        VHOST_NET_HEALTH_GOOD,
        VHOST_NET_HEALTH_STUCK,     /* the worker has completed nothing it was given for VHOST_NET_STUCK_USEC */
        VHOST_NET_HEALTH_ERROR,     /* the kernel signalled an error: a ring stands still */
        VHOST_NET_HEALTH_BROKEN_RX, /* the worker lied: vhost_net_broken() */
        VHOST_NET_HEALTH_BROKEN_TX,
        _VHOST_NET_HEALTH_MAX,
} VhostNetHealth;

/**
 * vhost_net_new() - set up rings, memory and events of all pairs; nothing moves yet
 * @ret:        the device, owned by the caller
 * @config:     borrowed for the call
 * @ret_what:   (nullable) on failure: static text that says which step failed and why
 *
 * Order: owner, features, memory, then per ring size, base, addresses, kick, call, error.
 *
 * Return: 0; -EINVAL for a bad config; -EPROTO for a backend that does not fit (no vnet header, another header size, TUN with an
 * unlimited send buffer, wrong link); -EOPNOTSUPP for a required feature not offered; -ENOENT, -ENODEV or -EACCES from
 * /dev/vhost-net; -ENOMEM; or what the kernel said.
 */
int vhost_net_new(VhostNet **ret, const VhostNetConfig *config, const char **ret_what);
VhostNet *vhost_net_free(VhostNet *v); /* stops first; NULL in, NULL out; tokens not returned are forgotten */

/* Fills the receive rings and gives the rings to the kernel, from where they were stopped. Return: 0, also when running;
 * -EBADMSG when a pair is broken (recover it); or the kernel's error, and then no pair runs. */
int vhost_net_start(VhostNet *v);

/* Takes the rings back: when this returns, the kernel touches no buffer. What was published and not sent stays in the ring for the
 * next start. Return: 0, also when not running; or the kernel's error. */
int vhost_net_stop(VhostNet *v);

/* Empties a stuck or broken pair and starts it anew: frames the worker had not sent are lost, their tokens come back from
 * vhost_net_done(); loans end, whoever holds one must not touch or return it. Return: 0; or the kernel's error. */
int vhost_net_recover(VhostNet *v, unsigned pair);

/**
 * vhost_net_send() - hand frames to the kernel from where they lie
 * @v:          the device
 * @pair:       which
 * @frames:     array of @n_frames; the array is borrowed for the call, the bytes until the token comes back
 * @n_frames:   at most VHOST_NET_BATCH_MAX count
 *
 * Never blocks. One publish, at most one kick.
 *
 * Return: how many were taken, from the first on; for the first: 0 when the ring is full; -EBADMSG when the pair is broken;
 * -EPROTO for a header that does not fit its frame (counted in tx_refused; skip it and go on); -EINVAL for one without pieces,
 * with too many or an empty one; -EFAULT outside the arena.
 */
int vhost_net_send(VhostNet *v, unsigned pair, const VhostNetFrame *frames, unsigned n_frames);

/* The same, but the bytes are copied: nothing is borrowed after the call, no token comes back. One descriptor a frame of up to
 * VHOST_NET_TX_CHUNK less the header. Also 0 when chunks have run out. Empty pieces are fine here. */
int vhost_net_send_copy(VhostNet *v, unsigned pair, const VhostNetFrame *frames, unsigned n_frames);

/* Takes back tokens of frames the worker is done with (copied; not: delivered). Return: how many of @tokens were filled; -EBADMSG. */
int vhost_net_done(VhostNet *v, unsigned pair, void **tokens, unsigned n_tokens);

/**
 * vhost_net_receive() - take frames that came
 * @v:          the device
 * @pair:       which
 * @loans:      array of @n_loans, filled
 * @n_loans:    at most VHOST_NET_BATCH_MAX count
 *
 * Return: how many; -EBADMSG when the worker broke the rules.
 */
int vhost_net_receive(VhostNet *v, unsigned pair, VhostNetLoan *loans, unsigned n_loans);

/* Gives buffers back to the kernel, in place, with one publish. Return: 0; -ESTALE for a loan already returned (the others are taken). */
int vhost_net_return(VhostNet *v, unsigned pair, const VhostNetLoan *loans, unsigned n_loans);

/* Asks for a call event once @after more completions are there (with EVENT_IDX; else 1). Return: true: safe to sleep on the call
 * fd; false: they are there already, or the pair is broken. */
bool vhost_net_arm(VhostNet *v, unsigned pair, VhostNetRing ring, unsigned after);
/* Takes the call event off the fd, if one is there, and asks for none. */
void vhost_net_disarm(VhostNet *v, unsigned pair, VhostNetRing ring);
/* Asks for no call events and leaves the fd alone: for those who wait for edges (EPOLLET), which need no read. */
void vhost_net_mute(VhostNet *v, unsigned pair, VhostNetRing ring);
/* Something to receive, or to be done? */
bool vhost_net_pending(const VhostNet *v, unsigned pair, VhostNetRing ring);

/* Judges a pair's health. @now_usec: any clock that runs; call a few times a second, four for a stuck worker to be seen in time. */
VhostNetHealth vhost_net_check(VhostNet *v, unsigned pair, uint64_t now_usec);
VqBroken vhost_net_broken(const VhostNet *v, unsigned pair, VhostNetRing ring);

int vhost_net_fd(const VhostNet *v, unsigned pair, VhostNetRing ring, VhostNetFd which); /* (borrowed: until free) */
VqFeatures vhost_net_features(const VhostNet *v);  /* negotiated */
VqFeatures vhost_net_offered(const VhostNet *v);   /* by the kernel */
unsigned vhost_net_header_len(const VhostNet *v);
unsigned vhost_net_pairs(const VhostNet *v);
bool vhost_net_idle(const VhostNet *v, unsigned pair); /* the worker has completed every frame it was given */
unsigned vhost_net_outstanding(const VhostNet *v, unsigned pair); /* frames sent whose completion was not taken yet */
unsigned vhost_net_free_slots(const VhostNet *v, unsigned pair, VhostNetRing ring);
const VhostNetStats *vhost_net_stats(const VhostNet *v, unsigned pair); /* written by the pair's thread */
