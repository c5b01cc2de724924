/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The gateway's HostOps on real sockets (datagrams: host-dgrams.c). For the gateway nothing else but the devices makes system calls; past
 * it splice-relay does. Belongs to one network, or one of its shards, and that thread.
 */

#include "basic/loop.h"
#include "netstack/host-ops.h"

typedef struct HostSockets HostSockets;

/* What the gateway's other side is: filled in by the network. */
typedef struct HostSocketsHandler {
        void (*event)(void *userdata, uint64_t cookie, uint32_t events); /* HOST_EVENT_* */
        unsigned (*output)(void *userdata, Frame *frames, unsigned n);   /* HostOps.output */
        size_t (*room)(void *userdata, uint32_t port);                   /* (nullable) HostOps.room */
        void (*lease_changed)(void *userdata, const Lease *lease, bool added);
        /* A socket of the host that the port leads to, connected and non-blocking; -ENOENT: it is for service(). */
        int (*service_connect)(void *userdata, uint16_t port);
        int (*service)(void *userdata, uint16_t port, const Endpoint *guest, int fd); /* @fd: owned on success */
        int (*bypass)(void *userdata, const HostBypass *what, int fd); /* HostOps.bypass */
        bool (*offer)(void *userdata, uint32_t port, const Frame *f);  /* (nullable) HostOps.offer */
} HostSocketsHandler;

/* @no_peek_offset: act as on a kernel without SO_PEEK_OFF for TCP (before 6.9), for tests. 0 or -ENOMEM. */
int host_sockets_new(HostSockets **ret, Loop *loop, const HostSocketsHandler *handler, void *userdata, bool no_peek_offset);
HostSockets *host_sockets_free(HostSockets *h); /* sockets still open are closed; returns NULL */
DEFINE_CLEANUP(HostSockets *, host_sockets_free);

/* What dgram_recv() and dgram_error() want of a UDP or ping socket made elsewhere: the error queue, TOS, runs of datagrams, and with
 * @which_local the address each datagram came to. What the kernel lacks is done without. */
void host_sockets_prepare_dgram(int fd, int family, bool udp, bool which_local);

/* Says that @fd, which the gateway is about to be given, is a Unix stream. 0 or -ENOMEM. */
int host_sockets_adopt_stream(HostSockets *h, int fd);

/* Where connections and datagrams to outside leave from; what goes to the host's own loopback is not asked. All null: as the host's routes
 * have it. */
typedef struct HostSource {
        IpAddr v4, v6;   /* an address of the host; null: any */
        char ifname[16]; /* "": any */
} HostSource;
void host_sockets_set_source(HostSockets *h, const HostSource *source);

/* Says that @fd is a Unix socket of messages, each a datagram, that has one peer, of no address. An empty message cannot be told from
 * the end, and is none. 0 or -ENOMEM. */
int host_sockets_adopt_messages(HostSockets *h, int fd);

extern const HostOps host_sockets_ops; /* userdata: a HostSockets */
