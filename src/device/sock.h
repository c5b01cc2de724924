/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Devices behind sockets: a virtual machine that speaks Ethernet frames over one.
 *
 *     kind         socket                      frames
 *     qemu         unix, tcp, vsock stream     32-bit big-endian length before each
 *     qemu-dgram   unix datagram               one a datagram
 *     vfkit        unix datagram               one a datagram, after an optional "VFKT"
 *     bess         unix seqpacket              one a message: User Mode Linux
 *     vpnkit       unix, tcp, vsock stream     HyperKit's handshake or an HTTP request, then 16-bit little-endian lengths
 *
 * A device that listens stays when its VM goes and takes the next one, one at a time; a device that connects tries again every second; a
 * device that was given a connected descriptor goes with its far end. No offloads are on the wire: they are done here.
 */

#include "device/device.h"

#define SOCK_MTU_DEFAULT 1500
#define SOCK_HANDSHAKE_USEC (10 * USEC_PER_SEC) /* a peer that has not said who it is by then is thrown out */
#define SOCK_RETRY_USEC USEC_PER_SEC
#define SOCK_PROBE_USEC (250 * USEC_PER_MSEC) /* is the peer of a datagram socket alive? asked while it is silent */

typedef struct SockConfig {
        const char *kind;
        const char *name;     /* of the device */
        uint32_t owner;       /* uid who asked */
        bool limited;         /* @owner may use no files but its own */
        const char *listen, *connect; /* sock-address.h; at most one of these and fd; none: a socketpair */
        int fd;               /* -EBADF, or a connected socket (owned on success only) */
        MacAddr mac;          /* of the guest's interface; zero: not known. vpnkit tells it to the guest */
        uint32_t mtu;         /* 0: SOCK_MTU_DEFAULT */
} SockConfig;

/* Errors: -EINVAL bad config, -EADDRINUSE, -EACCES, -ENOENT and others of opening sockets. @ret_what (nullable): static text naming what
 * was wrong. */
int sock_new(Device **ret, const SockConfig *config, const char **ret_what);

int sock_take_far_fd(Device *d);         /* the other end of a socketpair (owned by the caller), once; -EBADF */
const char *sock_path(const Device *d);  /* of the socket file; NULL: none */
const char *sock_listen_text(const Device *d);  /* as asked; NULL */
const char *sock_connect_text(const Device *d);
/**
 * sock_leave() - get a listener's guest ready to be taken over by another process
 * @d:          stopped, and to be freed next
 *
 * Waits a moment for the rest of frames under way, so that who has the connection next finds it in step.
 *
 * Return: its descriptor (borrowed); -EBADF: there is no guest, it has not said who it is yet, or a frame did not end in time; or the
 * device listens with the very socket that its guest sends to.
 */
int sock_leave(Device *d);
/* Before the first start: a new listener's guest is there already, on a connection that sock_leave() gave another process. @fd: (owned on
 * success only). -EINVAL: it has left meanwhile, and may come again; or this is no such device. */
int sock_return(Device *d, int fd);
int sock_fd(const Device *d); /* (borrowed) the descriptor that makes it anew: a connected one that was given or made; -EBADF */
