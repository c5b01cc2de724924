/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Flow: one conversation between a guest and the host's world, whatever its protocol, and the one bounded table of them. Plain
 * data: no pointer that cannot be rebuilt. Found by a keyed hash (XXH3 with a random secret) that a guest cannot aim at.
 *
 * Flows live in chunks that never move, and go only when they are empty. Closing one frees its slot only when the current input or event batch is over, so a pointer to
 * a flow stays good until then.
 */

#include "netstack/netstack-private.h"

#define FLOW_CHUNK 256 /* a power of two */

typedef enum FlowKind {
        FLOW_NONE, /* a free slot */
        FLOW_TCP,
        FLOW_UDP,  /* keyed by the guest's endpoint alone */
        FLOW_PING, /* guest_port: the echo id */
        _FLOW_KIND_MAX,
} FlowKind;

typedef struct FlowKey {
        IpAddr guest, remote; /* remote null for UDP mappings, or the prefix of NAT64, or the group asked */
        uint16_t guest_port, remote_port;
        uint8_t kind;  /* FlowKind */
        uint8_t pad[3]; /* zero: the key is hashed as bytes */
} FlowKey;

typedef struct SackRange {
        uint32_t start, end; /* [start, end) in sequence space */
} SackRange;

typedef enum TcpState { /* of the conversation with the guest, RFC 9293 3.3.2 seen from the gateway */
        TCP_CONNECTING,  /* outbound: the guest's SYN came, the host socket is connecting; nothing sent to the guest yet */
        TCP_SYN_SENT,    /* inbound: our SYN is out */
        TCP_SYN_RECEIVED, /* outbound: our SYN,ACK is out */
        TCP_ESTABLISHED, /* and the half-closed states, which the fin_* bits tell apart */
        TCP_CLOSED,      /* being freed */
        _TCP_STATE_MAX,
} TcpState;

typedef struct TcpParked TcpParked;

#define TCP_SACKS_MAX 4       /* in one segment */
#define TCP_SACKS_KNOWN_MAX 16 /* remembered of a guest's reports, which hold three or four at a time */

/* Sequence numbers are host order. "snd": gateway to guest; "rcv": guest to gateway. */
typedef struct TcpFlow {
        uint8_t state;                  /* TcpState */
        uint8_t snd_wscale, rcv_wscale; /* shift of what the guest advertises; of what we do */
        uint8_t dup_acks, retries, n_sacks;
        bool ts_ok : 1, sack_ok : 1, wscale_ok : 1; /* options both ends have */
        bool host_readable : 1; /* an IN event not yet drained to -EAGAIN */
        bool host_blocked : 1;  /* a short send: wait for OUT */
        bool host_rdhup : 1;    /* the host's far end has closed: an end of stream stands behind what is readable */
        bool discard_rest : 1;  /* a discard left something behind: the rest follows when the guest has acknowledged it */
        bool host_eof : 1;      /* the host's end of stream is the byte after the last one peeked */
        bool fin_sent : 1;      /* our FIN has a sequence number: snd_max - 1 */
        bool fin_received : 1;  /* the guest's FIN came in order: rcv_nxt is behind it */
        bool fin_passed : 1;    /* and was passed on by shutdown, once every byte before it was */
        bool stream : 1;        /* a stream socket carries the guest's frames */
        bool big_over : 1;      /* no super-segments beyond 64 KiB any more: something between cuts them, or bytes were lost */
        bool ack_now : 1;       /* an ACK is owed at the end of the batch */
        bool sacks_missed : 1;  /* there were more than sacks[] holds: between two of them may be bytes the guest has */
        bool in_recovery : 1;   /* fast retransmit under way until snd_una reaches recover */
        bool output_blocked : 1; /* the device was full: queued until it has room */
        bool rexmit_due : 1;    /* a retransmission is owed at the end of the batch */
        bool in_ready : 1;      /* queued for another turn of output */
        bool uploads : 1;       /* the guest sent much in the last period of sharing */
        bool bulk : 1;          /* it had much to send of late: others go first */
        bool interactive : 1;   /* the host answers quickly: ACKs wait for its answer */
        bool delayed_ack : 1;   /* an ACK waits for that answer until ack_at */
        bool hop_limited : 1;   /* the host's packets have the hop limit of the guest's SYN */
        uint8_t carried;        /* delayed ACKs in a row that answers carried, up to TCP_STEADY: none came to be due */
        uint8_t dscp;           /* of the guest's packets, and the host's; in the place it has in the header */
        uint16_t mss;           /* payload bytes of a full segment to the guest, options deducted */
        uint32_t iss, irs;
        uint32_t snd_una, snd_nxt, snd_max, snd_wnd, snd_wl1, snd_wl2, max_snd_wnd;
        uint32_t cwnd, ssthresh, recover, rexmit_nxt;
        uint32_t big_max;       /* what a frame beyond 64 KiB may have, with all headers; 0: there are none */
        uint32_t big_sent;      /* as many since the device had no memory for a longer one */
        uint32_t big_start, big_end; /* the latest of them */
        uint32_t discarded;     /* sequence number of the first byte in the host's receive queue */
        uint32_t rcv_nxt;       /* next byte expected */
        uint32_t rcv_adv;       /* right edge we promised; never moves left */
        uint32_t host_nxt;      /* next byte the host socket is to be given; [host_nxt, rcv_nxt) is parked or in the batch */
        uint32_t last_ooo;      /* start of the newest out-of-order block: the first to be reported (RFC 2018 4) */
        uint32_t ts_recent, ts_offset, last_ack_sent;
        uint32_t srtt, rttvar, rto; /* usec; srtt 0: none yet */
        uint32_t rtt_seq;       /* a byte being timed without timestamps; rtt_start 0: none */
        usec_t rtt_start;
        usec_t rto_at;          /* retransmission or zero-window probe; USEC_INFINITY: off */
        usec_t ack_at;          /* delayed ACK; USEC_INFINITY: off */
        usec_t discard_at;      /* acknowledged bytes too few for a discard go then; USEC_INFINITY: there are none */
        usec_t probe_at;        /* keepalive, or the end of a handshake that never ends */
        uint32_t retransmits;
        uint32_t share_period, share_bytes; /* payload the guest sent in that period (Tcp.share) */
        uint32_t parked_bytes, n_parked; /* in the list below */
        TcpParked *parked;      /* (owned) by sequence: first what a short send left, then what came out of order */
        SackRange sacks[TCP_SACKS_KNOWN_MAX]; /* the guest's, about our bytes; sorted, disjoint; the lowest when there are more */
        uint32_t half_prev, half_next; /* neighbours in the queue of half-open flows */
        uint16_t batch_slot;    /* place in the current input batch plus one; 0: none */
        uint16_t forward_slot;  /* with Flow.forward_id: forward_count() */
} TcpFlow;

typedef struct UdpFlow {
        IpAddr *peers;     /* (owned) addresses the guest has sent to: who may answer */
        uint16_t n_peers, next_peer;
        bool answered, dns_only;
        bool search;       /* asked of a group (key.remote): anybody may answer */
        bool readable;     /* an IN event not yet drained to -EAGAIN */
        bool big;          /* what comes in of late is long: receive into whole-datagram rooms */
        bool no_runs;      /* the host has refused a run of its datagrams */
        uint8_t share;     /* whose share of the table it takes (udp.c) */
        uint32_t forward;  /* forward id when it came from outside, else 0 */
        Endpoint client;   /* with forward: who speaks, in the host's world ... */
        IpAddr local;      /* ... and to which of the host's addresses; null: the socket has but one */
} UdpFlow;

typedef struct Flow {
        FlowKey key;
        uint32_t index, generation;
        uint32_t hash;
        uint32_t next;       /* chain of its bucket; of the free list */
        bool inbound, closing;
        MacAddr guest_mac;
        uint32_t guest_mtu;  /* of the guest's link */
        uint32_t device;     /* NetstackPort.id of where the guest's last segment came in (TCP), or its first (ping); 0: none came yet */
        int fd;              /* host socket (owned), -EBADF while there is none */
        uint32_t forward_id; /* 0: outbound */
        Timer timer;         /* the one timer of the flow: fn is its protocol's */
        usec_t created, last_used;
        uint64_t rx_bytes, tx_bytes; /* rx: from the guest */
        union {
                TcpFlow tcp;
                UdpFlow udp; /* a ping has nothing of its own */
        };
} Flow;

int flow_table_new(FlowTable **ret, Netstack *s);
FlowTable *flow_table_free(FlowTable *t); /* closes every flow first */

Flow *flow_find(FlowTable *t, const FlowKey *key);
/* A new flow, zeroed but for key, index, fd = -EBADF, created, last_used; linked. NULL at the kind's limit or without memory. */
Flow *flow_new(FlowTable *t, const FlowKey *key, TimerFn timer_fn);
/* Unlinks, stops the timer, closes the fd (with @reset), lets the protocol free its own; the slot is reused after flow_reap(). */
void flow_close(Netstack *s, Flow *f, bool reset);
void flow_reap(FlowTable *t); /* at the end of a batch */
void flow_shrink(FlowTable *t); /* after reaping, when nothing waits to be flushed either: gives back what a storm of flows has left */
Flow *flow_by_cookie(FlowTable *t, uint64_t cookie); /* NULL when it is gone */
uint64_t flow_cookie(const Flow *f);
Flow *flow_at(const FlowTable *t, uint32_t index); /* @index must be one a flow has, or had */
uint32_t flow_count(const FlowTable *t, FlowKind kind);
Flow *flow_next(const FlowTable *t, const Flow *after); /* iteration: NULL begins; order is by slot; rare paths only */
Flow *flow_oldest_idle(FlowTable *t, FlowKind kind);    /* least recently used, for making room; O(n), at limits only; NULL */
