/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * GuestLink: the interface of a guest that is a network namespace, as seen from inside. Making it changes the namespace of the calling process
 * for a while: call it in a child of one thread. What fails has been printed; results are 0 or what to exit with.
 */

#include "ctl-dhcp.h"
#include "ctl.h"

typedef struct GuestLink {
        char ifname[16];
        int ifindex;
        MacAddr mac;
        uint32_t mtu;
} GuestLink;

#define GUEST_MTU_MIN 576
#define GUEST_MTU_MAX 65520
#define GUEST_QUEUES_MAX 16
#define GUEST_PARALLEL_MAX 8 /* queues where none are asked for: as many as processors, within reason */
#define GUEST_FDS_MAX 16 /* that a bus passes on in one message */

/* The descriptors of a TAP, one for each of its queues, or what else goes from child to parent. */
typedef struct GuestFds {
        int fds[GUEST_QUEUES_MAX]; /* (owned) */
        unsigned n;
} GuestFds;
void guest_fds_close(GuestFds *f);

/* The network as far as its guests are concerned. */
typedef struct GuestNetwork {
        uint32_t mtu; /* the one asked for on the command line, else the network's own */
        bool has_ip4, has_ip6;
        uint32_t queues; /* of the TAP, from the command line */
} GuestNetwork;

/* Makes a TAP in the namespace the caller is in and sets it and `lo` up. @ifname NULL: the first free of eth0, eth1 ...
 * @configure: the kernel is to take its IPv6 addresses and routes from the gateway at once, where the namespace has IPv6.
 * @ret_fds: the TAP, owned by the caller; it does not keep the namespace alive: when that goes, the TAP goes. */
int guest_link_make(const char *ifname, const GuestNetwork *network, bool configure, GuestLink *ret, GuestFds *ret_fds);

/* Lets TCP over IPv4 have super-segments of 256 KiB, and not of 64, on `lo` of the namespace the caller is in (BIG TCP): that is the way between
 * a lent socket and the guest's. A kernel that knows no such thing (before Linux 6.3) leaves it as it is; nothing fails by that. */
void guest_link_widen_loopback(void);

/* Gets a lease and sets address, route and MTU by it. In a network of IPv6 alone: waits for the gateway's advertisement and the address the
 * kernel makes of it, which is in @ret then, but nothing to be renewed or given back. With both the IPv6 address is waited for as well, for
 * a moment, and is no need. */
int guest_link_configure(GuestLink *link, const GuestNetwork *network, DhcpLease *ret);
