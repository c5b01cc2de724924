/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The device's side of a split virtqueue: what vhost does, for rings that live in a guest's memory (vhost-user) or in a test.
 *
 *     pop -> requests                                  up to 64 a call, each with its pieces as an iovec
 *     push ... push, publish -> call if asked          completions in batches, one fence a batch
 *     arm -> sleep on the kick eventfd -> disarm
 *
 * Pure: no system call, no clock, no allocation but in vq_device_new(). One thread at a time may use a queue.
 *
 * The driver is not trusted. Each descriptor is copied out once and judged by the copy; addresses go through the region table;
 * loops, overruns and jumps break the queue (vq-broken.h). What lies in the buffers remains the driver's to change at any time.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core-vq/vq-broken.h"
#include "core-vq/vq-feature.h"
#include "core-vq/vq-layout.h"
#include "core-vq/vq-memory.h"

typedef struct VqDevice VqDevice;

typedef struct VqDeviceConfig {
        unsigned size;          /* descriptors: power of two, 1..VQ_SIZE_MAX */
        VqFeatures features;    /* heeded: EVENT_IDX, INDIRECT_DESC */
        void *desc;             /* (borrowed: until vq_device_free or set_ring) aligned 16 */
        void *avail;            /* (borrowed: the same) aligned 2 */
        void *used;             /* (borrowed: the same) aligned 4 */
        const VqMemory *memory; /* (borrowed: until vq_device_free); may change between calls */
        uint16_t base;          /* available index to begin at; the used index is read from the ring */
} VqDeviceConfig;

/* A chain taken from the ring. The pieces the device may read come first, then those it may write. */
typedef struct VqRequest {
        struct iovec *iov;      /* (borrowed: in the array given to vq_device_pop) */
        unsigned n_out, n_in;
        uint32_t out_len, in_len;
        uint16_t head;          /* for vq_device_push() */
} VqRequest;

/* Return: 0; -EINVAL for a bad size, a missing or ill-aligned ring; -ENOMEM. */
int vq_device_new(VqDevice **ret, const VqDeviceConfig *config);
VqDevice *vq_device_free(VqDevice *d); /* NULL in, NULL out */

/**
 * vq_device_pop() - take chains the driver has made available
 * @d:          the queue
 * @requests:   array of @n_requests, filled
 * @n_requests: room
 * @iov:        array of @n_iov for the pieces of all of them; must outlive the use of @requests
 * @n_iov:      room; a chain that does not fit in all of it breaks the queue, one that does not fit behind others waits
 *
 * Return: how many were taken; -EBADMSG when the driver broke the rules (what was taken before is returned first).
 */
int vq_device_pop(VqDevice *d, VqRequest *requests, unsigned n_requests, struct iovec *iov, unsigned n_iov);

/* Puts the last @n popped and not pushed back, as if not popped. */
void vq_device_unpop(VqDevice *d, unsigned n);

/* Completes a popped chain, @len bytes written; unseen until published. @head as popped, each once. */
void vq_device_push(VqDevice *d, uint16_t head, uint32_t len);

/* Shows the driver all completions. Returns true when it wants to be called for them. */
bool vq_device_publish(VqDevice *d);

/* Asks for kicks. Return: true: safe to sleep; false: something is available already. */
bool vq_device_arm(VqDevice *d);
void vq_device_disarm(VqDevice *d); /* asks for no kicks (with EVENT_IDX: no more than the last arm asked for) */

bool vq_device_pending(const VqDevice *d);    /* has the driver made something available? One acquire load. */
uint16_t vq_device_base(const VqDevice *d);   /* next available index: what GET_VRING_BASE answers */
unsigned vq_device_outstanding(const VqDevice *d); /* popped and not pushed */
VqBroken vq_device_broken(const VqDevice *d);

/* The same ring at another place of ours, after the guest's memory was mapped anew. Return: 0; -EINVAL as in vq_device_new. */
int vq_device_set_ring(VqDevice *d, void *desc, void *avail, void *used);
