/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * FakeHost: the world around a gateway, in memory: HostOps with a clock turned by hand, sockets whose far end is the test, and
 * a record of every frame sent to guests. Nothing here makes a system call. A misuse of the ops (an fd closed twice, a discard of
 * more than there is) fails the test at once.
 *
 * A test pushes data or errors into a socket, calls fake_run(), and looks at frames; or feeds frames (packet.h) and looks at sockets.
 */

#include <glib.h>

#include "netstack/dhcp.h"
#include "netstack/netstack.h"

typedef enum FakeKind {
        FAKE_UDP,
        FAKE_PING,
        FAKE_GROUP, /* local null: in no group */
        FAKE_TCP,
        FAKE_LISTENER,
        FAKE_PAIR, /* one end of a stream pair */
} FakeKind;

typedef struct FakeDgram {
        Endpoint peer;
        IpAddr local; /* as HostMsg.local */
        uint8_t *data; /* (owned) */
        size_t len;
        uint16_t gso_size;
        uint8_t tos, ttl;
} FakeDgram;

typedef struct FakeFrame {
        struct virtio_net_hdr_v1 hdr;
        uint8_t *data; /* (owned) */
        size_t len;
        bool asks;
} FakeFrame;

/* What becomes of connects: beside 0 and negative errno. */
#define FAKE_CONNECT_NEVER 1 /* a black hole */
#define FAKE_CONNECT_AT_ONCE 2 /* done when the call returns, where that may be; no event follows */

typedef struct FakeSocket {
        int fd;
        FakeKind kind;
        bool open, was_reset; /* was_reset: closed with an RST */
        uint64_t cookie;
        bool watched;
        uint32_t pending;     /* HOST_EVENT_* not yet delivered */
        int family;           /* asked for, of datagram sockets */
        Endpoint local, peer;
        unsigned n_sends, n_recvs; /* calls */

        /* datagrams */
        GPtrArray *sent;      /* (owned) FakeDgram, all that ever left */
        GQueue rx, errors;    /* (owned) FakeDgram, HostError */
        int send_error;       /* negative errno: sends fail with it until it is cleared ... */
        unsigned send_error_times; /* ... or, when not 0, so many times */
        unsigned send_room_msgs; /* messages until -EAGAIN; UINT_MAX */
        uint16_t gso_max;     /* runs of longer datagrams are refused (-EINVAL), as by a host with a small MTU; 0: none is */

        /* streams */
        GByteArray *in;       /* (owned) the receive queue: what the far end wrote and nobody discarded yet */
        GByteArray *out;      /* (owned) all that was sent */
        size_t send_room;     /* bytes the send buffer still takes */
        bool send_blocked;    /* a send was short: OUT follows when there is room */
        bool address_is_gone; /* what the op says */
        bool connected, eof, shut, keepalive;
        HostConnect how;      /* as it was asked for */
        int result;           /* of the connect; 0 or negative errno. After a reset: -ECONNRESET */
        int other;            /* FAKE_PAIR: fd of the other end */
        GQueue backlog;       /* (owned) FAKE_LISTENER: FakeSocket (borrowed) to be accepted */
        size_t n_discarded;
        size_t peek_from, peek_most; /* the least position of a peek, the most one asked for; a test sets them back */
} FakeSocket;

typedef struct FakeHost {
        usec_t now;
        uint64_t random_state;
        GPtrArray *sockets;    /* (owned) FakeSocket, by fd - FAKE_FD_FIRST; never reused */
        GPtrArray *frames;     /* (owned) FakeFrame, to guests, not yet taken */
        unsigned n_outputs;    /* calls of output() */
        unsigned output_room;  /* frames until the device is full; UINT_MAX */
        size_t room;           /* what the device says it has; SIZE_MAX */
        MacAddr full;          /* the device of this guest is full; null: none is */
        unsigned n_opened[FAKE_PAIR + 1], n_open; /* ever by kind; now */
        int open_error;        /* negative errno: opening any socket fails with it */
        int accept_error, watch_error; /* negative errno: accepting and watching fail with it */
        int connect_result;    /* of new connects: 0, negative errno or FAKE_CONNECT_* */
        size_t default_send_room; /* of new stream sockets */
        GArray *leases_added, *leases_removed; /* (owned) Lease */
        Netstack *stack;       /* (owned) */
        NetstackPort port;     /* where fake_input() comes from */
        struct FakeHost *shard; /* (borrowed, nullable) who is offered segments of no connection here */
        struct virtio_net_hdr_v1 offered_hdr; /* of what was offered last ... */
        uint8_t offered[64];                  /* ... and how it began */
} FakeHost;

#define FAKE_FD_FIRST 1000

extern const HostOps fake_host_ops; /* userdata: the FakeHost */

/* A host with a gateway: 192.168.127.0/24, gateway .1 with FAKE_GATEWAY_MAC, host .254, HostLoopback on, all limits as by default.
 * @change (nullable) may alter the configuration first. */
FakeHost *fake_host_new(void (*change)(NetstackConfig *c));
void fake_ip6(NetstackConfig *c); /* a @change: with IPv6, fd00:1::/64, gateway ::1, host ::fe */
void fake_host_free(FakeHost *h); /* frees the stack first and fails when a socket is left open */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeHost, fake_host_free)

#define FAKE_GATEWAY_MAC ((MacAddr){ { 0x52, 0x54, 0x00, 0x00, 0x00, 0x01 } })
#define FAKE_GUEST6 "fd00:1::5054:ff:fe00:2"
#define FAKE_GUEST_MAC ((MacAddr){ { 0x52, 0x54, 0x00, 0x00, 0x00, 0x02 } })

IpAddr fake_ip(const char *text);                     /* fails the test when it is none */
Endpoint fake_endpoint(const char *text);             /* "1.2.3.4:80" */

/* ---- time and events ---- */
void fake_run(FakeHost *h);                           /* delivers events until there are none, then flushes */
void fake_advance(FakeHost *h, usec_t usec);          /* turns the clock, running timers at their time and events between */

/* ---- frames ---- */
void fake_input(FakeHost *h, const void *frame, size_t len); /* one frame, no offloads */
void fake_input_hdr(FakeHost *h, const struct virtio_net_hdr_v1 *hdr, const void *frame, size_t len);
/* Several as one batch (at most FRAME_BATCH_MAX), without copying. */
void fake_input_batch(FakeHost *h, Frame *frames, unsigned n);
FakeFrame *fake_take_frame(FakeHost *h);              /* the oldest one not taken, NULL when none; free with fake_frame_free() */
void fake_frame_free(FakeFrame *f);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeFrame, fake_frame_free)
unsigned fake_n_frames(const FakeHost *h);
void fake_clear_frames(FakeHost *h);
uint64_t fake_drops(const FakeHost *h, Drop reason);
uint64_t fake_drops_total(const FakeHost *h);

/* ---- sockets ---- */
FakeSocket *fake_socket(FakeHost *h, int fd);
FakeSocket *fake_last_socket(FakeHost *h, FakeKind kind); /* the latest of its kind, open or not; NULL when none */
void fake_raise(FakeHost *h, FakeSocket *k, uint32_t events); /* an edge, delivered by fake_run() */

int fake_udp_bound(FakeHost *h, const Endpoint *local); /* a bound UDP socket, as a forward is given */
void fake_dgram_push(FakeHost *h, FakeSocket *k, const Endpoint *from, const void *data, size_t len);
void fake_dgram_push_to(FakeHost *h, FakeSocket *k, const Endpoint *from, const IpAddr *to, const void *data, size_t len);
void fake_dgram_push_gso(FakeHost *h, FakeSocket *k, const Endpoint *from, const void *data, size_t len, uint16_t gso_size);
void fake_dgram_push_error(FakeHost *h, FakeSocket *k, const HostError *e);
const FakeDgram *fake_sent(const FakeSocket *k, unsigned i); /* the i-th datagram that left; fails when there is none */

int fake_listener(FakeHost *h, const Endpoint *local);
FakeSocket *fake_client(FakeHost *h, int listen_fd, const Endpoint *peer); /* somebody connects: the socket accept() will give */
void fake_connect_done(FakeHost *h, FakeSocket *k, int result); /* of a connect that was FAKE_CONNECT_NEVER */
void fake_stream_push(FakeHost *h, FakeSocket *k, const void *data, size_t len); /* the far end writes */
void fake_stream_eof(FakeHost *h, FakeSocket *k);       /* ... and shuts down its side */
void fake_stream_reset(FakeHost *h, FakeSocket *k);     /* ... or resets the connection */
void fake_stream_room(FakeHost *h, FakeSocket *k, size_t more); /* the far end reads: that much more room */
