/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segments to guests. Payload is peeked from the host's receive queue straight into the frames that leave, up to 64 KiB each, or 512
 * where the device takes them, and stays in that queue until the guest acknowledged it; retransmission is peeking again. What was
 * acknowledged is discarded lazily, since each discard costs a system call: at the latest when the queue may be what keeps the sender waiting.
 *
 * The link to the guest has no queue that congestion could fill, so the congestion window opens at its maximum; it closes as RFC 5681
 * says when something is lost all the same, and opens again.
 */

#include "netstack/arp.h"
#include "netstack/dhcp.h"
#include "netstack/ip.h"
#include "netstack/tcp-private.h"

#define CSUM_FIELD 16 /* of a TCP header */

/* ---- segments without data ---- */

static IpSend how_to_send(const Flow *f) {
        return (IpSend){
                .src = f->key.remote,
                .dst = f->key.guest,
                .proto = IPPROTO_TCP,
                .dont_fragment = true,
                .mac = mac_is_zero(&f->guest_mac) ? NULL : &f->guest_mac,
                .mtu = f->guest_mtu,
                .csum_start = CSUM_FIELD + 1,
        };
}

void tcp_send_control(Netstack *s, Flow *f, uint8_t flags, uint32_t seq) {
        uint8_t *l4 = netstack_tx_reserve(s, TCP_HEADER_MAX);
        size_t len = segment_build(s, f, l4, flags, seq, /* sack= */ true);
        IpSend how = how_to_send(f);
        /* an ACK comes back, or SYN,ACK; of our FIN alone it may wait */
        s->tx_asks = flags & TCP_SYN || (flags & TCP_FIN && f->tcp.fin_received);
        ip_send(s, &how, l4, len);
        s->tx_asks = false;
}

void tcp_send_ack(Netstack *s, Flow *f) {
        tcp_update_window(s, f);
        if (f->tcp.delayed_ack)
                f->tcp.carried = 0;
        f->tcp.ack_now = f->tcp.delayed_ack = false;
        f->tcp.ack_at = USEC_INFINITY;
        tcp_send_control(s, f, TCP_ACK, f->tcp.snd_max); /* not snd_nxt, which goes back for repairs: the guest may be ahead of it */
}

void tcp_send_rst(Netstack *s, Flow *f) {
        if (f->tcp.state == TCP_CONNECTING) /* the guest has seen nothing of ours: RFC 9293 3.10.7.3 wants its SYN acknowledged */
                tcp_send_control(s, f, TCP_RST | TCP_ACK, 0);
        else
                tcp_send_control(s, f, TCP_RST | TCP_ACK, f->tcp.snd_max);
}

void tcp_answer(Netstack *s, const Packet *p, const Segment *g, uint8_t flags, uint32_t seq, uint32_t ack) {
        uint8_t *l4 = netstack_tx_reserve(s, TCP_HEADER_MAX);
        size_t len = segment_build_bare(l4, g, flags, seq, ack);
        IpSend how = {
                .src = p->dst,
                .dst = p->src,
                .proto = IPPROTO_TCP,
                .dont_fragment = true,
                .mac = &p->src_mac,
                .csum_start = CSUM_FIELD + 1,
        };
        ip_send(s, &how, l4, len);
}

void tcp_answer_rst(Netstack *s, const Packet *p, const Segment *g) {
        if (ip_classify(&p->dst) == IP_CLASS_MULTICAST || ip_classify(&p->dst) == IP_CLASS_RESERVED)
                return;
        if (g->flags & TCP_ACK)
                tcp_answer(s, p, g, TCP_RST, g->ack, 0);
        else
                tcp_answer(s, p, g, TCP_RST | TCP_ACK, 0, g->seq + segment_span(g));
}

/* ---- the window we promise ---- */

/* How far ahead of what the host took the guest may run: less while the park fills up. */
static uint32_t window_for(const Netstack *s, const TcpFlow *t) {
        /* a window less than a segment would keep a guest waiting for its persist timer */
        uint32_t segment = DIV_ROUND_UP((uint32_t) t->mss, 1u << t->rcv_wscale) << t->rcv_wscale;
        uint32_t shared = s->tcp->share.window < TCP_WINDOW_MAX ? s->tcp->share.window : tcp_window_max(t);
        uint32_t wnd = MIN(MAX(shared, segment), 65535u << t->rcv_wscale);
        uint64_t limit = s->config.limits.park_bytes, parked = s->tcp->parked;
        if (parked > limit / 4 * 3)
                return wnd / 32;
        return parked > limit / 2 ? wnd / 8 : wnd;
}

void tcp_update_window(Netstack *s, Flow *f) {
        uint32_t edge = f->tcp.host_nxt + window_for(s, &f->tcp);
        f->tcp.rcv_adv = seq_max(f->tcp.rcv_adv, edge);
}

bool tcp_window_update_due(const Netstack *s, const Flow *f) {
        uint32_t wnd = window_for(s, &f->tcp), edge = f->tcp.host_nxt + wnd;
        return seq_lt(f->tcp.rcv_adv, edge) && edge - f->tcp.rcv_adv >= wnd / 4;
}

/* ---- data ---- */

typedef struct Peeked {
        uint8_t *l4[TCP_PEEK_FRAMES_MAX]; /* where each frame's TCP header goes */
        uint32_t per_frame;               /* payload bytes of a full frame */
        uint32_t len;                     /* bytes got */
        bool drained;                     /* there was no more */
        bool eof;
} Peeked;

/* A frame's place: headroom, a line to begin on, and what keeps the next one on one. */
#define STRIDE(frame) (TX_HEADROOM + (frame) + 127)
_Static_assert(TCP_PEEK_FRAMES_MAX * STRIDE(FRAME_LEN_MAX) <= TX_ARENA_LEN - TX_HEADROOM && STRIDE(FRAME_BIG_MAX) <= TX_ARENA_LEN - TX_HEADROOM,
               "what one peek brings has its place in the arena");

/* Payload a frame takes: as many whole segments as fit an IP packet, or what the link takes. */
static uint32_t frame_payload(const Netstack *s, const Flow *f) {
        uint32_t room = tcp_frame_max(s, f) - ETH_HEADER_LEN - ip_header_len(&f->key.guest) - tcp_header_len(f);
        uint32_t mss = MIN((uint32_t) f->tcp.mss, room);
        return room / mss * mss;
}

/* Peeks up to @want bytes from sequence number @seq on, spread over frames. 0, -EAGAIN: nothing there, -ENOBUFS: the device is full,
 * or what the socket says. */
static int peek(Netstack *s, Flow *f, uint32_t seq, uint32_t want, Peeked *ret) {
        struct iovec iov[TCP_PEEK_FRAMES_MAX];
        uint32_t header = tcp_header_len(f);
        *ret = (Peeked){ .per_frame = frame_payload(s, f) };

        const uint32_t most = f->tcp.stream ? TCP_PEEK_STREAM : TCP_PEEK_MAX;
        want = MIN(want, MAX(most / ret->per_frame, 1u) * ret->per_frame);
        uint32_t n = DIV_ROUND_UP(want, ret->per_frame);
        n = MIN(n, (uint32_t) TCP_PEEK_FRAMES_MAX);
        want = MIN(want, n * ret->per_frame);

        /* the frames follow each other in the arena; each keeps its headroom and starts on a line of its own */
        size_t stride = (TX_HEADROOM + header + ret->per_frame + 127) & ~(size_t) 63;
        uint8_t *base = netstack_tx_reserve(s, n == 1 ? header + want : stride * n);
        if (f->tcp.output_blocked) /* making room has shown that the device is full */
                return -ENOBUFS;
        uint32_t left = want;
        for (uint32_t i = 0; i < n; i++) {
                ret->l4[i] = base + stride * i;
                iov[i] = (struct iovec){ ret->l4[i] + header, MIN(left, ret->per_frame) };
                left -= (uint32_t) iov[i].iov_len;
        }

        ssize_t got = s->ops->peek(s->userdata, f->fd, seq - f->tcp.discarded, iov, n);
        if (got < 0)
                return (int) got;
        ret->len = (uint32_t) got;
        ret->eof = got == 0;
        ret->drained = (uint32_t) got < want;
        return 0;
}

/* Sends @len payload bytes that stand behind the header room at @l4 as one frame. */
static void send_frame(Netstack *s, Flow *f, uint8_t *l4, uint32_t seq, uint32_t len, bool push) {
        uint32_t header = tcp_header_len(f);
        segment_build(s, f, l4, TCP_ACK | (push ? TCP_PSH : 0), seq, /* sack= */ false);
        IpSend how = how_to_send(f);
        if (len > f->tcp.mss) {
                how.gso_type = ip_is_v4(&f->key.guest) ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
                how.gso_size = f->tcp.mss;
                how.l4_header_len = (uint16_t) header;
        }
        s->tx_flow = f->index;
        s->tx_asks = seq == f->tcp.iss + 1; /* the first data of a connection is not acknowledged later, as what follows may be */
        ip_send(s, &how, l4, header + len);
        s->tx_asks = false;
        s->tx_flow = 0; /* when it did not leave, the next frame is another's */
        if (ip_header_len(&f->key.guest) + header + len > UINT16_MAX)
                tcp_big_sent(&f->tcp, seq, len);
}

/* Peeks and sends [@seq, +@want). Returns the bytes sent, 0 when there were none, or negative errno. */
static int64_t send_range(Netstack *s, Flow *f, uint32_t seq, uint32_t want, Peeked *p) {
        int r = peek(s, f, seq, want, p);
        if (r < 0)
                return r;
        tcp_update_window(s, f);
        if (seq == f->tcp.snd_nxt) { /* before the frames go: tcp_output_short() takes back what did not */
                uint32_t before = f->tcp.snd_max;
                f->tcp.snd_nxt += p->len;
                f->tcp.snd_max = seq_max(f->tcp.snd_max, f->tcp.snd_nxt);
                tcp_count(s, f, 0, f->tcp.snd_max - before); /* what goes again counts once */
        }
        for (uint32_t off = 0, i = 0; off < p->len; i++) {
                uint32_t n = MIN(p->len - off, p->per_frame);
                send_frame(s, f, p->l4[i], seq + off, n, /* push= */ off + n == p->len);
                off += n;
        }
        if (p->len > 0) { /* data carries the ACK along */
                f->tcp.ack_now = f->tcp.delayed_ack = false;
                f->tcp.ack_at = USEC_INFINITY;
        }
        return p->len;
}

/* As much of @want as the device has room for now: what is peeked and cannot leave is peeked again. 0: it is full, and @f waits for it. */
static uint32_t device_room(Netstack *s, Flow *f, uint32_t want) {
        if (!f->tcp.stream || !s->ops->room)
                return want;
        size_t room = s->ops->room(s->userdata, f->device);
        if (room > 0 && room <= s->arena_used) { /* what is about to leave takes it */
                netstack_flush(s);
                if (f->tcp.output_blocked)
                        return 0;
                room = s->ops->room(s->userdata, f->device);
        }
        if (room == 0) {
                tcp_block(s, f);
                return 0;
        }
        room -= s->arena_used;
        uint32_t frame = frame_payload(s, f);
        return room < want ? MIN(want, DIV_ROUND_UP((uint32_t) room, frame) * frame) : want;
}

/* New bytes the guest's window, and ours, let go now. 0 too when so few that it would be silly (RFC 9293 3.8.6.2.1). */
static uint32_t usable_window(const Netstack *s, const TcpFlow *t) {
        uint32_t wnd = MIN(t->snd_wnd, t->cwnd);
        if (t->stream && tcp_is_quiet_beside(s))
                wnd = MIN(wnd, (uint32_t) TCP_FLIGHT_SHARED);
        uint32_t flight = t->snd_nxt - t->snd_una;
        if (flight >= wnd)
                return 0;
        uint32_t usable = wnd - flight;
        return usable >= t->mss || usable >= t->max_snd_wnd / 2 || flight == 0 ? usable : 0;
}

static void start_rtt_timing(Netstack *s, Flow *f, uint32_t end) {
        if (!f->tcp.ts_ok && f->tcp.rtt_start == 0) {
                f->tcp.rtt_start = netstack_now(s);
                f->tcp.rtt_seq = end;
        }
}

static void send_fin(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        tcp_send_control(s, f, TCP_FIN | TCP_ACK, t->snd_nxt);
        t->ack_now = t->delayed_ack = false;
        t->ack_at = USEC_INFINITY;
        t->fin_sent = true;
        t->snd_nxt++;
        t->snd_max = seq_max(t->snd_max, t->snd_nxt);
        if (t->rto_at == USEC_INFINITY)
                tcp_rto_restart(s, f);
}

static void note_interactive(Netstack *s, Flow *f, uint32_t len) {
        if (len < f->tcp.mss && netstack_now(s) - f->last_used < TCP_DELAYED_ACK)
                f->tcp.interactive = true;
}

void tcp_output(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        /* whole frames: a small rest would cost as much as each of them */
        const uint32_t turn = (t->big_max > 0 ? tcp_big_turn(s) / tcp_frame_max(s, f) : tcp_turn_frames(s, f)) * frame_payload(s, f);
        uint32_t budget = turn;

        if (t->host_rdhup && !t->host_eof && t->host_readable && t->snd_una == t->snd_max)
                tcp_discard_acked(s, f, /* all= */ true); /* due before closing anyway; the peek for the end then begins at the head */
        if (t->stream) /* before peeking: each peek walks along all that waits in front of it, here up to megabytes */
                tcp_discard_acked(s, f, /* all= */ false);
        while ((seq_lt(t->snd_nxt, tcp_data_end(t)) || (t->host_readable && !t->host_eof)) && !t->output_blocked) {
                uint32_t usable = usable_window(s, t);
                if (usable == 0)
                        break;
                if (budget == 0) {
                        tcp_make_ready(s, f);
                        break;
                }
                uint32_t want = device_room(s, f, MIN(usable, budget));
                if (want == 0)
                        break;
                Peeked p;
                int64_t n = send_range(s, f, t->snd_nxt, want, &p);
                if (n == -EAGAIN) {
                        t->host_readable = false;
                        break;
                }
                if (n == -ENOBUFS)
                        break;
                if (n < 0)
                        return tcp_abort(s, f, (int) n);
                if (p.eof) {
                        t->host_eof = true;
                        t->host_readable = false;
                        break;
                }
                note_interactive(s, f, (uint32_t) n);
                start_rtt_timing(s, f, t->snd_nxt);
                if (t->rto_at == USEC_INFINITY)
                        tcp_rto_restart(s, f);
                budget -= MIN(budget, (uint32_t) n);
                if (p.drained && !t->host_rdhup) { /* with the end of stream behind it the next peek says so */
                        t->host_readable = false;
                        break;
                }
        }
        if (budget < turn) {
                t->bulk = t->host_readable || turn - budget >= TCP_BULK_MIN;
                t->carried = t->bulk ? 0 : t->carried;
        }
        if (t->host_eof && t->snd_nxt == tcp_data_end(t) && (!t->fin_sent || t->snd_nxt != t->snd_max) && !t->output_blocked)
                send_fin(s, f);
        if (t->rto_at == USEC_INFINITY && t->host_readable && t->snd_nxt == t->snd_una && usable_window(s, t) == 0)
                tcp_rto_restart(s, f); /* the guest's window is closed: probe it (RFC 9293 3.8.6.1) */
        tcp_discard_acked(s, f, /* all= */ false);
        tcp_timer_update(s, f);
}

void tcp_output_soon(Netstack *s, Flow *f) {
        if (f->tcp.bulk)
                tcp_make_ready(s, f);
        if (!f->tcp.in_ready)
                tcp_output(s, f);
}

/* The first hole at or after @seq, between what the guest has reported. False: nothing there is known to be lost. */
static bool find_hole(const TcpFlow *t, uint32_t *seq, uint32_t *ret_end) {
        *ret_end = seq_min(t->in_recovery ? t->recover : t->snd_max, tcp_data_end(t));
        for (unsigned i = 0; i < t->n_sacks; i++) {
                if (seq_lt(*seq, t->sacks[i].start)) {
                        *ret_end = seq_min(*ret_end, t->sacks[i].start);
                        return true;
                }
                *seq = seq_max(*seq, t->sacks[i].end);
        }
        return !t->in_recovery || *seq == t->snd_una;
}

/* How much of a hole goes at once. What stands between two reports is lost, whole; without a report all that is known is that the
 * first segment is missing (RFC 6582 3.2), and sending more would mostly repeat what the guest has. */
static uint32_t rexmit_amount(const TcpFlow *t) {
        bool known = t->n_sacks > 0 && !t->sacks_missed;
        return known || !t->in_recovery ? MAX(t->cwnd, (uint32_t) t->mss) : t->mss;
}

void tcp_retransmit(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        uint32_t seq = seq_max(t->rexmit_nxt, t->snd_una), end;

        if (!find_hole(t, &seq, &end))
                return;
        t->rtt_start = 0; /* Karn */
        tcp_big_over(t); /* what was lost may be one that somebody could not take */
        if (seq_lt(seq, end)) {
                Peeked p;
                int64_t n = send_range(s, f, seq, MIN(end - seq, rexmit_amount(t)), &p);
                if (n < 0 && n != -EAGAIN && n != -ENOBUFS)
                        return tcp_abort(s, f, (int) n);
                if (n <= 0)
                        return;
                t->rexmit_nxt = seq + (uint32_t) n;
        } else if (t->fin_sent && seq == tcp_data_end(t))
                tcp_send_control(s, f, TCP_FIN | TCP_ACK, seq);
        else
                return;
        t->retransmits++;
        counter_add(&s->stats.retransmits, 1);
}

/* How many acknowledged bytes are worth a discard now. While more is readable, many: the sender is busy anyway. When all is drained, few;
 * and once a burst has ended, all of it: a sender whose window closed waits for the last byte, since the kernel opens a window
 * only by a whole segment, and on loopback a segment is 64 KiB, half of a receive buffer's first size. */
static uint32_t discard_threshold(const Flow *f) {
        const TcpFlow *t = &f->tcp;
        if (t->host_readable)
                return (uint32_t) CLAMP(f->tx_bytes / 4, (uint64_t) TCP_DISCARD_BULK_MIN, (uint64_t) TCP_DISCARD_BULK);
        return t->discard_rest && t->snd_una == t->snd_max ? 1 : TCP_DISCARD_MIN;
}

/* However few they are, they do not stay: behind a discard that ended within one of the kernel's buffers a handful of bytes holds on
 * to all of that buffer, which may be most of what the window is made of, and a sender it shut out sends nothing that would lead here. */
void tcp_discard_acked(Netstack *s, Flow *f, bool all) {
        TcpFlow *t = &f->tcp;
        uint32_t acked = seq_min(t->snd_una, tcp_data_end(t)) - t->discarded;
        if ((int32_t) acked <= 0)
                return;
        if (!all && acked < discard_threshold(f)) {
                if (t->discard_at == USEC_INFINITY)
                        t->discard_at = tcp_deadline(s, t, TCP_DISCARD_DELAY);
                return;
        }
        t->discard_at = USEC_INFINITY;
        ssize_t n = s->ops->discard(s->userdata, f->fd, acked);
        if (n > 0) {
                t->discarded += (uint32_t) n;
                /* what came meanwhile may be the burst's end */
                t->discard_rest = !tcp_is_steady(t) && (t->discarded != tcp_data_end(t) || n >= TCP_DISCARD_MIN);
        }
}

/* ---- a device that was full ---- */

void tcp_output_short(Netstack *s) {
        for (unsigned i = 0; i < s->n_out; i++) {
                if (s->out_flow[i] == 0 || s->out[i].len > 0)
                        continue;
                Flow *f = flow_at(s->flows, s->out_flow[i]);
                if (f->closing || f->key.kind != FLOW_TCP || f->tcp.state != TCP_ESTABLISHED)
                        continue;
                /* the first frame lost decides where to go on: at the latest acknowledged byte all is known to be safe */
                uint8_t *frame = s->out_iov[i].iov_base;
                uint8_t *th = frame + ETH_HEADER_LEN + (ip_is_v4(&f->key.guest) ? 20 : 40);
                uint32_t seq = (uint32_t) th[4] << 24 | (uint32_t) th[5] << 16 | (uint32_t) th[6] << 8 | th[7];
                if (seq_leq(f->tcp.snd_una, seq) && seq_lt(seq, f->tcp.snd_nxt))
                        f->tcp.snd_nxt = seq;
                if (s->out_iov[i].iov_len > FRAME_LEN_MAX) /* or its length was too much */
                        tcp_big_refused(&f->tcp, s->out_iov[i].iov_len);
                tcp_block(s, f);
        }
}
