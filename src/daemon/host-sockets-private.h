/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the files of the host's sockets share. Included by host-sockets.c and host-dgrams.c alone. */

#include <errno.h>
#include <sys/socket.h>

#include "basic/sockopt.h"
#include "daemon/host-sockets.h"

#define PAGE_FDS 256
#define SCRATCH_LEN (64 * 1024)

/* Nobody waits for room in what is no stream, and the kernel would wake us for each datagram that has left; of a stream it would say at once
 * that there is room. */
#define STREAM_EVENTS (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define STREAM_EVENTS_WAITING (STREAM_EVENTS | EPOLLOUT) /* while it connects, and once it has been full */
#define DGRAM_EVENTS (EPOLLIN | EPOLLET)

typedef struct HostSocket {
        LoopIo io;
        HostSockets *owner; /* (borrowed) */
        uint64_t cookie;
        uint32_t peek_at;   /* the kernel's peek position, when has_peek_off */
        bool has_peek_off;
        bool is_unix;
        bool has_header;    /* of a raw IPv4 socket: what it receives begins with an IP header */
        bool is_own;        /* made here, so nobody has a duplicate */
        bool is_roomy;      /* its receive buffer was made larger */
        bool is_urgent;     /* the far end has sent urgent data */
        bool waits;         /* for its connection, or for room: EPOLLOUT is asked for */
        bool sent;          /* something was, so Nagle could begin to wait */
        bool no_delay;
} HostSocket;

struct HostSockets {
        Loop *loop; /* (borrowed) */
        const HostSocketsHandler *handler;
        void *userdata;
        HostSocket **pages[(1 << 20) / PAGE_FDS]; /* by fd: at most 2^20 descriptors (fs.nr_open's default) */
        bool no_peek_offset; /* the kernel has none */
        unsigned n_open, n_peak;
        int raw_fds[2];      /* (owned) for pings, IPv4 and IPv6, until they are asked for; -EBADF: none */
        IpAddr asked;        /* the last address asked for, when, and what came of it */
        usec_t asked_at;
        bool asked_gone;
        HostSource source;
        bool has_source;
        bool told_no_group;
        int source_index;       /* of source.ifname, as found out at: */
        usec_t source_index_at;
        uint8_t scratch[SCRATCH_LEN];
};

/* The host's own addresses are reached as ever. */
static inline bool host_leaves(const HostSockets *h, const IpAddr *dst) {
        return h->has_source && ip_classify(dst) != IP_CLASS_LOOPBACK;
}

static inline const IpAddr *host_source_for(const HostSockets *h, const IpAddr *dst) {
        return ip_is_v4(dst) ? &h->source.v4 : &h->source.v6;
}

/* ---- host-sockets.c ---- */
HostSocket *host_socket_find(HostSockets *h, int fd); /* nullable */
/* Watches a new socket; on failure it is closed. */
int host_socket_adopt(HostSockets *h, int fd, uint64_t cookie, uint32_t events, int *ret_fd);

/* ---- host-dgrams.c: of HostOps ---- */
int host_dgram_open(void *userdata, HostSocketType type, int family, const Endpoint *local, uint64_t cookie, int *ret_fd);
int host_dgram_send(void *userdata, int fd, const HostMsg *msgs, unsigned n);
int host_dgram_recv(void *userdata, int fd, HostMsg *msgs, unsigned n);
int host_dgram_error(void *userdata, int fd, HostError *ret);
