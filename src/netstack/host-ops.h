/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the gateway asks of the world: a struct of functions. daemon/host-sockets implements it on real sockets; tests implement
 * it in memory with a clock they turn by hand. Nothing in netstack/ makes a system call of its own.
 *
 * All calls are non-blocking and happen on the network's thread. Sockets are plain small integers ("fd") that only the ops
 * understand. Events come back through netstack_host_event() with the cookie given at opening, edge-triggered: after an event the
 * gateway uses the socket until -EAGAIN or remembers that it did not.
 *
 * Errors are negative errno, as the matching system call gives them.
 */

#include "basic/addr.h"
#include "basic/frame.h"

/* What a cookie names; the ops only carry it. */
typedef enum HostKind {
        HOST_KIND_FLOW,     /* index: flow table */
        HOST_KIND_LISTENER, /* index: forward table */
        HOST_KIND_DNS,      /* dns.c's own numbering */
        HOST_KIND_PING,     /* ping.c's */
        HOST_KIND_GROUP,    /* multicast.c's */
        _HOST_KIND_MAX,
} HostKind;

static inline uint64_t host_cookie(HostKind kind, uint32_t generation, uint32_t index) {
        return (uint64_t) kind << 56 | (uint64_t) (generation & 0xffffff) << 32 | index;
}
static inline HostKind host_cookie_kind(uint64_t c) {
        return (HostKind) (c >> 56);
}
static inline uint32_t host_cookie_generation(uint64_t c) {
        return (c >> 32) & 0xffffff;
}
static inline uint32_t host_cookie_index(uint64_t c) {
        return (uint32_t) c;
}

/* Readiness, a subset of EPOLL* by meaning. */
enum {
        HOST_EVENT_IN = 1 << 0,
        HOST_EVENT_OUT = 1 << 1,
        HOST_EVENT_HUP = 1 << 2,   /* both directions are over */
        HOST_EVENT_ERROR = 1 << 3, /* SO_ERROR or the error queue has something */
        HOST_EVENT_RDHUP = 1 << 4,
};

typedef enum HostSocketType {
        HOST_SOCKET_UDP,
        HOST_SOCKET_PING, /* datagrams are ICMP messages, complete with checksum; the id is the local port. What comes may be others' */
        HOST_SOCKET_GROUP, /* UDP to groups, on the link the host's default route leads to; never heard on the host itself. @local: the group
                            * to be in, and its port; the socket hears of that alone */
} HostSocketType;

/* One datagram, or with gso_size a run of datagrams of that size (the last may be shorter). */
typedef struct HostMsg {
        Endpoint peer;      /* send: to whom; recv: from whom */
        IpAddr local;       /* the host's address it leaves from or came to; null: the socket's own. recv: only where the socket tells */
        struct iovec *iov;  /* send: (borrowed) payload. recv: where to put it, cut to n bytes in len */
        unsigned n_iov;
        size_t len;         /* recv: payload bytes received */
        uint16_t gso_size;  /* 0: a single datagram. UDP_SEGMENT / UDP_GRO */
        uint8_t tos;        /* DSCP and ECN */
        uint8_t ttl;        /* 0 on send: the host's default */
        bool truncated;     /* recv: it was longer than the room */
} HostMsg;

/* An ICMP error the host's stack has learnt for a datagram we sent (IP_RECVERR), or a local error. */
typedef struct HostError {
        Endpoint peer;        /* whom the datagram was for */
        IpAddr offender;      /* who reported it; null when local */
        int error;            /* positive errno */
        uint8_t icmp_type;    /* of the socket's family; 0/0 with offender null when local */
        uint8_t icmp_code;
        uint32_t mtu;         /* for "fragmentation needed" / "packet too big", else 0 */
        uint8_t payload[576]; /* start of the datagram that caused it */
        size_t payload_len;
} HostError;

/* How a connection leaves. 0: as the host has it by default, which costs no system call. */
typedef struct HostConnect {
        uint8_t ttl; /* hop limit; with one, dgram_error() tells which router a packet died at */
        uint8_t tos; /* DSCP; the bits of ECN are 0 */
        bool at_once; /* may tcp_connect() say that it is connected? */
} HostConnect;

/* A client of a forward, and the guest it is for. */
typedef struct HostBypass {
        Endpoint guest;
        Endpoint client;    /* null: of a Unix socket */
        MacAddr guest_mac;
        uint32_t forward_id;
        uint16_t forward_slot;
} HostBypass;

typedef struct Lease Lease; /* netstack/dhcp.h */

typedef struct HostOps {
        usec_t (*now)(void *userdata); /* monotonic, cached per wake-up */
        void (*random)(void *userdata, void *buf, size_t len); /* unpredictable bytes */

        /* Frames towards guests. Returns how many were taken; a frame that was not, because the device it is for is full, has its len set
         * to 0, and netstack_output_ready() will follow for that device. Frames are borrowed for the call. */
        unsigned (*output)(void *userdata, Frame *frames, unsigned n);
        /* (nullable) About how many bytes of frames the device @port would take now. 0: it is full, and netstack_output_ready() will follow. */
        size_t (*room)(void *userdata, uint32_t port);

        /* TCP. connect: @ret_fd at once. 1: it is connected (HostConnect.at_once); 0: an OUT or ERROR/HUP event follows, then tcp_result()
         * says 0 or the error.
         * accept: -EAGAIN when the queue is empty; @ret_local (nullable: it costs a system call) is what the client connected to. */
        int (*tcp_connect)(void *userdata, const Endpoint *dst, const HostConnect *how, uint64_t cookie, int *ret_fd);
        void (*tcp_set_tos)(void *userdata, int fd, uint8_t tos); /* as in HostConnect, from now on */
        int (*tcp_result)(void *userdata, int fd);
        int (*tcp_accept)(void *userdata, int listen_fd, int *ret_fd, Endpoint *ret_peer, Endpoint *ret_local);
        int (*watch)(void *userdata, int fd, uint64_t cookie); /* for fds that came by accept or from outside; EPOLLIN|RDHUP|ET, and OUT once send() was short */

        /* Bytes of streams. send: what the socket took. peek: what stands from @position on, counted from the head of the receive
         * queue, and leaves it there; 0 is end of stream. discard: drops @n bytes from the head. */
        ssize_t (*send)(void *userdata, int fd, const struct iovec *iov, unsigned n_iov);
        ssize_t (*peek)(void *userdata, int fd, size_t position, const struct iovec *iov, unsigned n_iov);
        ssize_t (*discard)(void *userdata, int fd, size_t n);
        ssize_t (*recv)(void *userdata, int fd, void *buf, size_t len); /* reads and consumes: for services */
        int (*shutdown_write)(void *userdata, int fd);
        bool (*address_is_gone)(void *userdata, int fd); /* is it bound to an address the host has no more? */
        void (*set_keepalive)(void *userdata, int fd, bool on);
        void (*close)(void *userdata, int fd, bool reset); /* any fd; @reset: the peer sees RST (SO_LINGER 0) */

        /* A connected pair of stream sockets for a service inside the gateway: one end for the flow, one for the service. */
        int (*stream_pair)(void *userdata, uint64_t service_cookie, int *ret_flow_fd, int *ret_service_fd);

        /* A guest's connection to a port of the gateway that is served outside (netstack_add_service()): a pair like that above, whose
         * other end goes there. Negative errno: it cannot be taken now, and the guest is refused. */
        int (*service_open)(void *userdata, uint16_t port, const Endpoint *guest, int *ret_flow_fd);

        /* (nullable) A forward's client that the guest would see as the gateway: can it be led to the guest past us? 0: @fd is the other's, which
         * tells by netstack_bypass_*() what becomes of it. Negative errno: no. */
        int (*bypass)(void *userdata, const HostBypass *what, int fd);

        /* (nullable) A segment of no connection here that came by @port: may another thread that serves it have the connection? True: what becomes
         * of the segment is decided elsewhere, and it comes here again at most once, with false for an answer. @f is borrowed for the call. */
        bool (*offer)(void *userdata, uint32_t port, const Frame *f);

        /* UDP and ping. @local: NULL for any; port 0 for any. send: how many messages were taken, or the error of the first.
         * recv: how many came, or -EAGAIN. error (also of a connection
         * with a hop limit): 0 and @ret, or -EAGAIN when the error queue is empty. */
        int (*dgram_open)(void *userdata, HostSocketType type, int family, const Endpoint *local, uint64_t cookie, int *ret_fd);
        int (*dgram_send)(void *userdata, int fd, const HostMsg *msgs, unsigned n);
        int (*dgram_recv)(void *userdata, int fd, HostMsg *msgs, unsigned n);
        int (*dgram_error)(void *userdata, int fd, HostError *ret);

        /* Facts for the outside, to be passed on and not waited for. */
        void (*lease_changed)(void *userdata, const Lease *lease, bool added);
} HostOps;
