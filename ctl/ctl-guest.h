/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The guest's side of `run` and `attach`: entering a namespace, giving it names, handing its TAP to the daemon.
 * Everything here changes the namespaces of the calling process: call it in a child of one thread. What
 * fails has been printed; results are 0 or what to exit with.
 */

#include "ctl-dhcp.h"
#include "ctl-guest-link.h"
#include "ctl.h"

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

/* Puts a resolv.conf by @lease in the place of the system's, in the caller's mount namespace only. */
int guest_set_resolv_conf(const DhcpLease *lease);

/* Lets the capabilities of the caller's user namespace survive execve() for other uids than 0. */
int guest_keep_capabilities(void);

int report_send(int sock, const GuestReport *report, const GuestFds *fds); /* (nullable) 0 or negative errno */
/* -EPIPE: the other side ended. @ret_fds (nullable): owned by the caller; empty when none came. */
int report_receive(int sock, GuestReport *ret, GuestFds *ret_fds);

/* Hands the TAP to the daemon. @lend: one or none; it goes along where there is room. @ret_path: the device, owned by the caller. */
int guest_create_device(Ctl *c, const GuestLink *link, const GuestFds *tap, const GuestFds *lend, char **ret_path);

int guest_network(Ctl *c, const char *network_path, GuestNetwork *ret);
