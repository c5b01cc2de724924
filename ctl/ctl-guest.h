/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The guest's side of `run` and `attach`: entering a namespace, making its TAP, giving it what DHCP gave.
 * Everything here changes the namespaces of the calling process: call it in a child of one thread. What
 * fails has been printed; results are 0 or what to exit with.
 */

#include "ctl-dhcp.h"
#include "ctl.h"

typedef struct GuestLink {
        char ifname[16];
        int ifindex;
        MacAddr mac;
        uint32_t mtu;
} GuestLink;

#define GUEST_QUEUES_MAX 16
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

/* What the child tells the parent: first with the TAP's descriptors beside, then with what it lends. */
typedef struct GuestReport {
        GuestLink link;
        IpAddr addr; /* null: not configured */
} GuestReport;

/* Opens the namespace of a process or at a path. CTL_NO_OBJECT when there is none. @ret, @ret_pidfd (-EBADF: of a path) owned by the
 * caller. */
int guest_open_netns(const char *pid_or_path, int *ret, int *ret_pidfd);

/* New namespaces for the calling process: network, mounts and, without the rights of root, user (one's own
 * uid and gid, nothing else). */
int guest_unshare(void);

/* Joins @netns_fd, by way of the user namespace that owns it where that gives the rights. */
int guest_join(int netns_fd);

/* Makes a TAP in the namespace the caller is in and sets it and `lo` up. @ifname NULL: the first free of eth0, eth1 ...
 * @configure: the kernel is to take its IPv6 addresses and routes from the gateway at once, where the namespace has IPv6.
 * @ret_fds: the TAP, owned by the caller; it does not keep the namespace alive: when that goes, the TAP goes. */
int guest_make_tap(const char *ifname, const GuestNetwork *network, bool configure, GuestLink *ret, GuestFds *ret_fds);

/* Gets a lease and sets address, route and MTU by it. In a network of IPv6 alone: waits for the gateway's advertisement and the address the
 * kernel makes of it, which is in @ret then, but nothing to be renewed or given back. With both the IPv6 address is waited for as well, for
 * a moment, and is no need. */
int guest_configure(GuestLink *link, const GuestNetwork *network, DhcpLease *ret);

/* Puts a resolv.conf by @lease in the place of the system's, in the caller's mount namespace only. */
int guest_set_resolv_conf(const DhcpLease *lease);

/* Lets the capabilities of the caller's user namespace survive execve() for other uids than 0. */
int guest_keep_capabilities(void);

int report_send(int sock, const GuestReport *report, const GuestFds *fds); /* (nullable) 0 or negative errno */
/* -EPIPE: the other side ended. @ret_fds (nullable): owned by the caller; empty when none came. */
int report_receive(int sock, GuestReport *ret, GuestFds *ret_fds);

/* Makes sockets in the namespace the caller is in, for the daemon to reach its services by (basic/lend.h), until the process of @pidfd ends.
 * @ret: where they wait, owned by the caller; none: the daemon will do without them. Never fails. */
void guest_lend_sockets(int pidfd, const GuestNetwork *network, GuestFds *ret);

/* Hands the TAP to the daemon. @lend: one or none; it goes along where there is room. @ret_path: the device, owned by the caller. */
int guest_create_device(Ctl *c, const GuestLink *link, const GuestFds *tap, const GuestFds *lend, char **ret_path);

int guest_network(Ctl *c, const char *network_path, GuestNetwork *ret);
