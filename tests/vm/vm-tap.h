/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the tests in a virtual machine share: TAPs made with bare ioctls, packet sockets on them, frames with a known content. Every
 * failure ends the test. */

#include <glib.h>
#include <stdint.h>

#include "vhostnet/vhost-net.h"

typedef struct VmTap {
        int fd;          /* first queue */
        int packet_fd;   /* AF_PACKET, all protocols, bound to it; -1: none was asked for */
        int ifindex;
        char name[16];
} VmTap;

typedef struct VmTapOptions {
        unsigned flags;      /* IFF_TAP or IFF_TUN, IFF_VNET_HDR, IFF_MULTI_QUEUE */
        unsigned header_len; /* TUNSETVNETHDRSZ; 0: leave it */
        unsigned offloads;   /* TUN_F_* */
        int sndbuf;          /* 0: leave it */
        const char *ip4;     /* NULL: no address; a /24 */
        bool packet;         /* open packet_fd */
} VmTapOptions;

#define VM_ETHERTYPE 0x88b5 /* for local experiments: no protocol answers it */

VmTap vm_tap_open(const VmTapOptions *o); /* link up, MTU 65521, IPv6 off */
int vm_tap_queue(const VmTap *t, unsigned flags); /* a further queue of a multi-queue TAP */
void vm_tap_close(VmTap *t);
void vm_tap_delete(const VmTap *t); /* the interface, while its descriptors stay open */

/* Waits until @fd is readable; false after @msec. */
bool vm_wait(int fd, int msec);

/* Fills @len bytes with an Ethernet frame of VM_ETHERTYPE whose bytes follow from @seed. */
void vm_frame(uint8_t *buf, size_t len, uint32_t seed);
/* The next frame of VM_ETHERTYPE at the packet socket; -1 after @msec. */
ssize_t vm_packet_read(const VmTap *t, uint8_t *buf, size_t len, int msec);

uint64_t vm_now_usec(void);

/* malloc() and calloc() called so far by the code under test: the linker leads its calls here (--wrap); those of libraries do not count. */
uint64_t vm_allocations(void);
