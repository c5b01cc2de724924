/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Steer: what a shard's queue brings for the network's thread again and again should come by that thread's own queue. The kernel keeps a flow
 * to the queue that sent last of it, so answers see to that; of datagrams that nobody answers it is told by a frame that is nobody's: the flow's
 * headers, from the gateway's MAC address to the gateway's.
 */

#include "basic/addr.h"
#include "basic/frame.h"

#define STEER_FLOWS 256          /* that are counted at a time */
#define STEER_AFTER 4            /* batches ending with the flow that were handed over */
#define STEER_TIME USEC_PER_SEC  /* within so long */
#define STEER_LEN_MAX (ETH_HEADER_LEN + 40 + 8)

typedef struct SteerTable { /* all zero at first */
        struct {
                uint64_t id;
                usec_t since;
                unsigned n;
        } flows[STEER_FLOWS];
} SteerTable;

typedef struct SteerFrame { /* not to be moved */
        Frame frame;
        struct iovec iov;
        uint8_t bytes[STEER_LEN_MAX];
} SteerFrame;

/* Looks at @f, the last of a batch. True: @ret is to be sent by the queue that the flow should come by; @mac: the gateway's. */
bool steer_look(SteerTable *t, const Frame *f, const MacAddr *mac, usec_t now, SteerFrame *ret);
