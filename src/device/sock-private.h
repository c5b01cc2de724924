/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the files of the socket devices share. Included by sock*.c alone. */

#include <sys/socket.h>
#include <sys/un.h>

#include "device/framing.h"
#include "device/offload.h"
#include "device/sock-address.h"
#include "device/sock.h"

#define SOCK_TX_FRAMES 512 /* frames, after cutting, in one system call */
#define SOCK_TX_IOV 1024   /* pieces: the kernel's UIO_MAXIOV */
#define SOCK_TX_SPLITS 16  /* frames that needed cutting or a checksum in one system call */
#define SOCK_TURN_READS 4  /* reads before the others on the loop get their turn */

typedef struct SockKind {
        DeviceOps ops;
        int type; /* SOCK_* */
        Framing framing;
        bool handshake, magic;
} SockKind;

/* Bytes the kernel did not take: always the rest of one frame given to send(), cut into what goes on the wire. */
typedef struct SockPending {
        uint8_t *bytes; /* (owned) SOCK_PENDING_MAX; of messages: a 32-bit length before each */
        size_t begin, end;
} SockPending;

/* What is about to be sent; memory too big for a stack. */
typedef struct SockTx {
        unsigned n_frames, n_iov, n_splits;
        struct {
                uint16_t input;     /* which of the frames given to send() */
                uint16_t iov;       /* its first piece */
                uint32_t len;       /* bytes on the wire */
        } frames[SOCK_TX_FRAMES + 1];
        struct iovec iov[SOCK_TX_IOV];
        struct mmsghdr msgs[SOCK_TX_FRAMES];
        uint8_t headers[SOCK_TX_FRAMES][FRAMING_HEADER_MAX];
        OffloadSplit *splits[SOCK_TX_SPLITS]; /* (owned) */
        Frame cut[OFFLOAD_FRAMES_MAX];
} SockTx;

typedef struct Sock {
        Device device;
        const SockKind *kind;
        SockRights rights;
        char *listen_text, *connect_text; /* (owned, nullable) */
        SockAddress address;
        SockFile file;
        int listen_fd; /* (owned) */
        int fd;        /* (owned) the connection, or the datagram socket */
        int far_fd;    /* (owned) the other end of a socketpair, until somebody takes it */

        Loop *loop;    /* (borrowed: from start to stop) NULL: not running */
        LoopIo listen_io, io;
        Timer resume;  /* the turn ended before the kernel's queue */
        Timer tick;    /* of a handshake, a retry, a probe, or sending later */
        Timer fall;    /* the link is broken and goes down as soon as nobody is inside */

        bool up;         /* frames go both ways */
        bool connecting;
        bool broken;     /* by: */
        int error;
        bool hup;        /* the far end has closed: an end of stream stands behind what is readable */
        bool blocked;    /* the last send() was short */
        bool watches_room; /* an event tells when there is room */
        bool heard;      /* something came since the last probe */
        bool greeted;    /* the guest has been here before: no handshake */
        int send_buffer; /* of a Unix stream: what may wait in it, as the kernel counts; 0: not known */
        bool local;      /* the kernel carries frames from memory to memory: nothing can be flipped on the way */
        Handshake handshake;
        struct sockaddr_un peer; /* of a datagram socket */
        socklen_t peer_len;

        uint8_t *arena;  /* (owned) */
        size_t arena_len, begin, end; /* streams: what was read and not passed on yet */
        size_t slot_len; /* messages: the arena is FRAME_BATCH_MAX of these */
        Frame frames[FRAME_BATCH_MAX];
        struct iovec iov[FRAME_BATCH_MAX], joined_iov[FRAME_BATCH_MAX];
        struct mmsghdr msgs[FRAME_BATCH_MAX];

        SockPending pending;
        SockTx *tx; /* (owned) */
} Sock;

static inline Sock *sock_of(const Device *d) {
        return CONTAINER_OF(d, Sock, device);
}
static inline bool sock_is_stream(const Sock *s) {
        return s->kind->type == SOCK_STREAM;
}

/* ---- sock.c ---- */
void sock_break(Sock *s, int error); /* the link goes down soon; nothing is read or sent until then */
bool sock_has_left(const Sock *s);   /* has the far end closed, told or not? */
void sock_set_up(Sock *s);           /* frames may go */
bool sock_accept_frame(Sock *s, uint8_t *at, size_t len, unsigned n); /* into frames[n]; false: counted as dropped */
void sock_deliver(Sock *s, unsigned n); /* hands frames[] up; the device may have been stopped on return */
void sock_drop_tx(Sock *s, Drop reason, unsigned n);
void sock_send_later(Sock *s); /* of a stream for which the kernel has no memory just now: no event tells when it has */
void sock_block(Sock *s);      /* a send was short: the handler hears when there is room */
void sock_resume_soon(Sock *s);
void sock_init(Sock *s); /* with device, kind and descriptors set: its timers, and nobody connected */
const SockKind *sock_find_kind(const char *kind); /* NULL: there is none of that name */

/* ---- sock-stream.c, sock-message.c ---- */
int sock_stream_alloc(Sock *s);
void sock_stream_receive(Sock *s);
#define SOCK_FINISH_MSEC 100 /* for what is half read, and again for what is half sent */
/* Waits a moment for the rest of a frame, so that another reader finds the stream in step. False: it will not. */
bool sock_stream_finish(Sock *s);
int sock_message_alloc(Sock *s);
void sock_message_receive(Sock *s);
void sock_message_probe(Sock *s); /* breaks the link when the peer of a datagram socket is dead */
void sock_message_forget_peer(Sock *s);

/* ---- sock-send.c ---- */
int sock_send_alloc(Sock *s);
void sock_send_free(Sock *s);
unsigned sock_send(Device *d, Frame *frames, unsigned n);
size_t sock_room(Device *d);
bool sock_send_pending(Sock *s); /* true: nothing is left */
