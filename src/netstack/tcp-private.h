/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the files of TCP share. Included by tcp*.c and their tests alone. */

#include <errno.h>

#include "netstack/flow.h"
#include "netstack/tcp.h"

#define TCP_WINDOW_MAX (704 * 1024)         /* what a guest may have on its way to one host socket; fits the cache */
#define TCP_WINDOW_STREAM (2 * 1024 * 1024) /* the same behind a stream socket: it waits at the guest's end, and every answer wakes processes */
#define TCP_WINDOW_SHARED (128 * 1024)     /* what flows have together when a quiet one would wait behind them */
#define TCP_WINDOW_MIN (32 * 1024)         /* and each of them at least */
#define TCP_SHARE_TIME (10 * USEC_PER_MSEC) /* flows that brought TCP_BULK_MIN in such a time share it the next time */
#define TCP_WSCALE 5                       /* ours: 65535 << 5 is 2 MiB */
#define TCP_FLIGHT_SHARED (512 * 1024)     /* on its way to a guest behind a stream socket beside a quiet flow: all of it stands before what that is told */
#define TCP_TURN_FRAMES 4                  /* full frames flows with much to send may have in one turn, before the others are heard again */
#define TCP_TURN_FRAMES_SHARED 2           /* the same while there is a quiet one */
#define TCP_TURN_FRAMES_STREAM 32          /* the same behind a stream socket, for who is alone: the fewer turns, the fewer processes are woken */
#define TCP_TURN_FRAME_MIN (32 * 1024)     /* what the shortest full frame has, to some bytes: who sent all it may has used the turn up */
#define TCP_BIG_SHARED (2 * 65535)         /* beside a quiet flow a super-segment beyond 64 KiB is no longer than this, which is a turn */
#define TCP_BIG_AGAIN 1024                 /* as many are sent before a device that had no memory for longer ones is asked again */
#define TCP_BULK_MIN (16 * 1024)           /* what is much */
#define TCP_AWAITED_MAX 4                  /* flows with a question under way whose answer is looked for between the turns of others */
#define TCP_AWAITED_LOOKS 16               /* and how often */
#define TCP_PEEK_MAX (256 * 1024)          /* bytes taken from a socket by one system call */
#define TCP_PEEK_STREAM (2 * 1024 * 1024)  /* the same for a guest behind a stream socket */
#define TCP_PEEK_FRAMES_MAX 32
#define TCP_DISCARD_MIN (16 * 1024)        /* acknowledged bytes left in the host's queue before they are discarded, idle */
#define TCP_DISCARD_DELAY (20 * USEC_PER_MSEC) /* and how long fewer than that may stay */
#define TCP_DISCARD_BULK_MIN (32 * 1024)   /* the same while more is readable: at first, and when the flow has grown */
#define TCP_DISCARD_BULK (256 * 1024)
#define TCP_RTO_INITIAL USEC_PER_SEC       /* RFC 6298 2.1 */
#define TCP_RTO_MIN (200 * USEC_PER_MSEC)  /* as Linux: 1 s is far too long on a link of microseconds */
#define TCP_RTO_MAX (60 * USEC_PER_SEC)
#define TCP_RETRIES_MAX 8                  /* data: 100 s without an answer */
#define TCP_SYN_RETRIES_MAX 6
#define TCP_SYN_RETRIES_UNKNOWN 1          /* to a guest that does not answer ARP either: 3 s */
#define TCP_CONNECT_TIMEOUT (130 * USEC_PER_SEC) /* a little more than the host's own */
#define TCP_KEEPALIVE_IDLE (15 * USEC_PER_MINUTE)
#define TCP_KEEPALIVE_INTERVAL (30 * USEC_PER_SEC)
#define TCP_KEEPALIVE_PROBES 5
#define TCP_DELAYED_ACK (10 * USEC_PER_MSEC) /* more than a tick of the host: a nearer deadline has the timer hardware set at each wait */
#define TCP_STEADY 64                      /* requests in a row whose ACKs their answers carried: from then on the timer is to cost little */
#define TCP_STEADY_DELAY (40 * USEC_PER_MSEC) /* in place of the two delays above: as long as Linux delays an ACK at least, ... */
#define TCP_STEADY_TICK (10 * USEC_PER_MSEC)  /* ... rounded up to this */
#define TCP_CLOSED_MAX 256                 /* flows remembered after their end */
#define TCP_CLOSED_TIME (10 * USEC_PER_SEC)
#define TCP_CWND_MAX (16 * 1024 * 1024)
#define TCP_PARK_PIECES_MAX 2048           /* kept for one flow: each packet may have to search them */
#define TCP_BATCH_PIECES 1024              /* iovec entries of one input batch */
#define TCP_HEADER_MAX 60
#define TCP_HOPS_MAX 48                    /* a SYN with more to go began with 64, 128 or 255: the host's default does */
#define TCP_DSCP_MASK 0xfc                 /* of a header's TOS: the rest is ECN's */
#define TCP_MSS_DEFAULT 536                /* RFC 9293 3.7.1 */
#define TCP_MSS_MIN 64                     /* a guest that offers less gets this */

enum {
        TCP_FIN = 0x01,
        TCP_SYN = 0x02,
        TCP_RST = 0x04,
        TCP_PSH = 0x08,
        TCP_ACK = 0x10,
};

static inline bool seq_lt(uint32_t a, uint32_t b) {
        return (int32_t) (a - b) < 0;
}
static inline bool seq_leq(uint32_t a, uint32_t b) {
        return (int32_t) (a - b) <= 0;
}
static inline uint32_t seq_max(uint32_t a, uint32_t b) {
        return seq_lt(a, b) ? b : a;
}
static inline uint32_t seq_min(uint32_t a, uint32_t b) {
        return seq_lt(a, b) ? a : b;
}

/* Has the host answered one small request after the other for a while? */
static inline bool tcp_is_steady(const TcpFlow *t) {
        return t->carried == TCP_STEADY;
}

/* What the guest may have on its way when nothing else speaks against it. */
static inline uint32_t tcp_window_max(const TcpFlow *t) {
        return t->stream ? TCP_WINDOW_STREAM : TCP_WINDOW_MAX;
}

/* Has the guest said all, and heard all? Then it may forget the connection, whatever the host has yet to take. */
static inline bool tcp_guest_is_done(const TcpFlow *t) {
        return t->fin_received && t->fin_sent && t->snd_una == t->snd_max;
}

/* Where the payload sent so far ends: before our FIN, when it is out. */
static inline uint32_t tcp_data_end(const TcpFlow *t) {
        return t->snd_max - (t->fin_sent ? 1 : 0);
}

/* ---- tcp-segment.c: the wire ---- */
typedef struct Segment {
        uint32_t seq, ack;
        uint32_t wnd;      /* as on the wire, not scaled */
        uint32_t len;      /* payload bytes */
        uint8_t flags;
        uint8_t wscale;    /* of a SYN */
        uint8_t n_sacks;
        bool has_ts, has_wscale, sack_permitted;
        uint16_t mss;      /* of a SYN; 0: none given */
        uint16_t src_port, dst_port;
        uint32_t tsval, tsecr;
        SackRange sacks[TCP_SACKS_MAX];
        IovCur payload;
} Segment;

/* Reads a header and its options off @l4 (advanced to the payload). False when short or lying. */
bool segment_parse(Segment *g, IovCur *l4);

/* Sequence space a segment takes: payload, SYN and FIN. */
static inline uint32_t segment_span(const Segment *g) {
        return g->len + !!(g->flags & TCP_SYN) + !!(g->flags & TCP_FIN);
}

/* How long the header of a data segment of @f is: with timestamps, without SACK. */
static inline uint32_t tcp_header_len(const Flow *f) {
        return 20 + (f->tcp.ts_ok ? 12 : 0);
}

/* Writes a header for @f into @to (TCP_HEADER_MAX bytes) and returns its length: a multiple of 4. @sack: report what came out of order. */
size_t segment_build(Netstack *s, Flow *f, uint8_t *to, uint8_t flags, uint32_t seq, bool sack);
/* The same for a segment without a flow (RST). */
size_t segment_build_bare(uint8_t *to, const Segment *answered, uint8_t flags, uint32_t seq, uint32_t ack);
uint32_t tcp_timestamp(const Netstack *s, const Flow *f); /* our TSval now */

/* ---- tcp-park.c: payload the host could not take yet, and payload that came early ---- */
struct TcpParked {
        TcpParked *next;
        uint32_t seq, len; /* shrinks from the front as the host takes it */
        uint32_t skip;     /* bytes of data[] gone already */
        uint8_t data[];
};
/* Copies [@seq, +@len) from @c; what is parked already is not stored twice. False: the park is full (counted), nothing stored. */
bool park_add(Netstack *s, Flow *f, uint32_t seq, IovCur *c, size_t len);
void park_release(Netstack *s, Flow *f, uint32_t upto); /* forgets bytes before sequence number @upto */
void park_free(Netstack *s, Flow *f);
uint32_t park_contiguous(const Flow *f, uint32_t from); /* where the run of parked bytes that holds @from ends; @from itself if none */
unsigned park_sacks(const Flow *f, SackRange *out, unsigned max); /* blocks beyond rcv_nxt, newest first */

/* ---- tcp-input.c ---- */
Flow *tcp_find_flow(Netstack *s, const FlowKey *key);
void tcp_deliver(Netstack *s, Flow *f); /* gives the host what is parked in order (and in the batch); parks what it refuses */

/* ---- tcp-share.c: who transfers, and who waits beside them ---- */
bool tcp_share_window(Netstack *s, Flow *f, uint32_t bytes); /* @f has brought @bytes: does it transfer? */
void tcp_await_answer(Netstack *s, Flow *f); /* it does not, and has asked the host something */
void tcp_look_for_answers(Netstack *s);      /* sends those that came */

bool tcp_is_quiet_beside(const Netstack *s); /* is there somebody with little to say, who would wait behind those that transfer? */
/* How many full frames one turn of @f, or any (NULL), may send: many cost fewer system calls each, few let nobody wait. */
uint32_t tcp_turn_frames(const Netstack *s, const Flow *f);

/* ---- the same file: super-segments beyond 64 KiB ---- */
void tcp_big_begin(Flow *f, bool big); /* a segment came from a device that takes them, or not */
uint32_t tcp_big_turn(const Netstack *s); /* bytes one turn of them may have */
uint32_t tcp_frame_max(const Netstack *s, const Flow *f); /* how long a frame may be now, with all headers */
void tcp_big_sent(TcpFlow *t, uint32_t seq, uint32_t len);
void tcp_big_acked(TcpFlow *t); /* up to snd_una */
void tcp_big_refused(TcpFlow *t, size_t len); /* the device had no memory for one: half as long ones from here on */
void tcp_big_over(TcpFlow *t);  /* no more of them */

/* ---- tcp-output.c ---- */
void tcp_output(Netstack *s, Flow *f);   /* data as far as window and budget go, FIN when it is due */
void tcp_output_soon(Netstack *s, Flow *f); /* the same, at the end of the turn for a flow that had much to send of late */
void tcp_send_ack(Netstack *s, Flow *f); /* at once */
void tcp_send_control(Netstack *s, Flow *f, uint8_t flags, uint32_t seq); /* a segment without data: SYN, SYN|ACK, FIN|ACK, ACK */
void tcp_send_rst(Netstack *s, Flow *f); /* to the guest */
void tcp_answer_rst(Netstack *s, const Packet *p, const Segment *g); /* for a segment that belongs to no flow (RFC 9293 3.10.7.1) */
void tcp_answer(Netstack *s, const Packet *p, const Segment *g, uint8_t flags, uint32_t seq, uint32_t ack); /* without a flow */
void tcp_retransmit(Netstack *s, Flow *f); /* one turn from rexmit_nxt, holes the guest has not reported */
void tcp_discard_acked(Netstack *s, Flow *f, bool all); /* lets acknowledged bytes go from the host's queue */
void tcp_update_window(Netstack *s, Flow *f); /* moves the right edge as far as the host's taking allows */
bool tcp_window_update_due(const Netstack *s, const Flow *f);

/* ---- tcp-timer.c ---- */
usec_t tcp_deadline(const Netstack *s, const TcpFlow *t, usec_t delay); /* @delay from now, or what a steady flow has in place of it */
void tcp_timer(Timer *t, usec_t now, void *userdata);
void tcp_timer_update(Netstack *s, Flow *f); /* re-arms the flow's timer for the earliest of its deadlines */
void tcp_rto_restart(Netstack *s, Flow *f);  /* after an ACK of new data or a first send */
void tcp_rtt_sample(Flow *f, usec_t rtt);    /* RFC 6298 2 */

/* ---- tcp.c ---- */
typedef struct FlowQueue {
        uint64_t *cookies; /* (owned) */
        uint32_t n, n_allocated;
} FlowQueue;

struct Tcp {
        Netstack *stack; /* (borrowed) */
        uint64_t secret[2];
        uint32_t n_half_open, half_first, half_last; /* queue of half-open flows, oldest first */
        uint64_t parked; /* bytes, in n_parked pieces */

        /* who uses the way from the guest: counted for a period, used in the next */
        struct {
                usec_t end;
                uint32_t period;
                uint32_t n_bulk, n_small; /* flows that bring much; packets of those that don't */
                uint32_t window;          /* what each may have on its way */
                bool quiet;               /* the last period had somebody with little to say */
        } share;
        uint64_t n_parked;

        /* flows of which the host was asked something, while others transfer */
        struct {
                uint64_t cookie;
                uint64_t answered; /* Flow.tx_bytes then */
                unsigned looks;    /* left; 0: none is awaited */
        } awaited[TCP_AWAITED_MAX];
        unsigned next_awaited;

        Flow *last;      /* (borrowed: until it closes) of the last segment: most segments are of the same flow */

        /* the latest that ended well, the oldest overwritten: answers for those whose last ACK was lost */
        struct {
                FlowKey key;
                uint32_t snd_max, rcv_nxt;
                usec_t until;
        } closed[TCP_CLOSED_MAX];
        unsigned next_closed;

        FlowQueue ready;   /* wait for another turn of output */
        FlowQueue blocked; /* wait for room in their device */

        /* the input batch: flows touched, and pieces of their in-order payload */
        struct {
                Flow *flow;
                uint16_t first, last, n; /* indices into pieces, plus one; chained by next */
                uint32_t bytes;
                bool output_due;
        } batch[FRAME_BATCH_MAX];
        unsigned n_batch;
        struct {
                struct iovec iov;
                uint16_t next;
        } pieces[TCP_BATCH_PIECES];
        unsigned n_pieces;
};

void tcp_established(Netstack *s, Flow *f);
void tcp_abort(Netstack *s, Flow *f, int error); /* the host side failed: tells the guest the true cause, closes */
void tcp_half_open_remove(Tcp *t, Flow *f);
void tcp_count(Netstack *s, Flow *f, int64_t rx, uint64_t tx); /* payload of the flow, and of the forward it came by */
void tcp_make_ready(Netstack *s, Flow *f);
void tcp_block(Netstack *s, Flow *f); /* the device is full */
void tcp_unblock(Netstack *s, Flow *f); /* it waits no more, whoever says so */
void tcp_close_if_done(Netstack *s, Flow *f);
Flow *tcp_open_outbound(Netstack *s, const Packet *p, const Segment *g, const FlowKey *key);
void tcp_take_syn_options(Flow *f, const Segment *g);
void tcp_host_connected(Netstack *s, Flow *f);
bool tcp_answer_closed(Netstack *s, const Packet *p, const Segment *g, const FlowKey *key); /* a late segment of a flow that ended well? */
