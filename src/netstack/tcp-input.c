/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segments from guests (RFC 9293 3.10.7), and their payload on its way to the host.
 *
 * A batch of frames is read segment by segment; in-order payload is only noted (the bytes stay where the device put them), and at the
 * end of the batch each flow touched gets one send to its host socket, one ACK to its guest and one turn of output. What the socket
 * refused is parked. Whatever comes out of order is parked and answered at once, with SACK, since the guest's repair depends on it.
 */

#include "basic/checksum.h"
#include "netstack/arp.h"
#include "netstack/tcp-private.h"

/* ---- the batch ---- */

/* The flow's place in the batch, made when it has none yet. There are never more flows than frames. */
static unsigned batch_slot(Tcp *t, Flow *f) {
        if (f->tcp.batch_slot == 0) {
                assert(t->n_batch < FRAME_BATCH_MAX);
                t->batch[t->n_batch].flow = f;
                t->batch[t->n_batch].first = t->batch[t->n_batch].last = t->batch[t->n_batch].n = 0;
                t->batch[t->n_batch].bytes = 0;
                t->batch[t->n_batch].output_due = false;
                f->tcp.batch_slot = (uint16_t) ++t->n_batch;
        }
        return f->tcp.batch_slot - 1u;
}

/* Notes @len bytes at @c as the next in-order payload of @f. */
static void batch_append(Netstack *s, Flow *f, IovCur *c, uint32_t len) {
        Tcp *t = s->tcp;
        unsigned slot = batch_slot(t, f);
        if (t->n_pieces + FRAME_IOV_MAX > TCP_BATCH_PIECES || t->batch[slot].n + FRAME_IOV_MAX > TCP_BATCH_PIECES)
                tcp_deliver(s, f);
        if (t->n_pieces + FRAME_IOV_MAX > TCP_BATCH_PIECES) { /* others fill it: all of them go now */
                for (unsigned i = 0; i < t->n_batch; i++)
                        if (t->batch[i].flow != f && !t->batch[i].flow->closing)
                                tcp_deliver(s, t->batch[i].flow);
                t->n_pieces = 0;
        }
        if (f->closing)
                return;

        struct iovec iov[FRAME_IOV_MAX];
        unsigned n = iovcur_slice(c, len, iov, ELEMENTSOF(iov));
        for (unsigned i = 0; i < n; i++) {
                uint16_t at = (uint16_t) ++t->n_pieces;
                t->pieces[at - 1].iov = iov[i];
                t->pieces[at - 1].next = 0;
                if (t->batch[slot].last)
                        t->pieces[t->batch[slot].last - 1].next = at;
                else
                        t->batch[slot].first = at;
                t->batch[slot].last = at;
                t->batch[slot].n++;
        }
        t->batch[slot].bytes += len;
        f->tcp.rcv_nxt += len;
        tcp_count(s, f, (int64_t) len, 0);
}

/* Adds [@at, +@len) to the iovec, less what the host has already. */
static void gather_one(const TcpFlow *t, uint32_t at, const void *data, uint32_t len, struct iovec *iov, unsigned *n) {
        uint32_t gone = seq_lt(at, t->host_nxt) ? MIN(t->host_nxt - at, len) : 0;
        if (gone < len)
                iov[(*n)++] = (struct iovec){ (uint8_t *) data + gone, len - gone };
}

/* Collects what the host is to get next, in order: what a short send left, then the batch's. Returns how many pieces, at most @max. */
static unsigned gather(const Netstack *s, const Flow *f, struct iovec *iov, unsigned max) {
        const Tcp *tcp = s->tcp;
        const TcpFlow *t = &f->tcp;
        unsigned n = 0;
        uint32_t bytes = t->batch_slot ? tcp->batch[t->batch_slot - 1].bytes : 0;
        uint32_t at = t->host_nxt, batch_at = t->rcv_nxt - bytes;

        for (const TcpParked *k = t->parked; k && k->seq == at && seq_lt(at, batch_at) && n < max; k = k->next) {
                gather_one(t, at, k->data + k->skip, k->len, iov, &n);
                at += k->len;
        }
        if (bytes == 0 || seq_lt(at, batch_at))
                return n;
        at = batch_at;
        for (uint16_t i = tcp->batch[t->batch_slot - 1].first; i && n < max; i = tcp->pieces[i - 1].next) {
                gather_one(t, at, tcp->pieces[i - 1].iov.iov_base, (uint32_t) tcp->pieces[i - 1].iov.iov_len, iov, &n);
                at += (uint32_t) tcp->pieces[i - 1].iov.iov_len;
        }
        return n;
}

/* Parks the batch's bytes the host did not take: those from host_nxt on. False: the park is full. */
static bool park_rest(Netstack *s, Flow *f) {
        Tcp *t = s->tcp;
        unsigned slot = f->tcp.batch_slot;
        uint32_t bytes = slot ? t->batch[slot - 1].bytes : 0;
        if (bytes == 0)
                return true;
        uint32_t at = f->tcp.rcv_nxt - bytes;

        for (uint16_t i = t->batch[slot - 1].first; i; i = t->pieces[i - 1].next) {
                struct iovec piece = t->pieces[i - 1].iov;
                uint32_t end = at + (uint32_t) piece.iov_len;
                if (seq_lt(f->tcp.host_nxt, end)) {
                        uint32_t taken = seq_lt(at, f->tcp.host_nxt) ? f->tcp.host_nxt - at : 0;
                        IovCur c = iovcur_make(&piece, 1, piece.iov_len);
                        (void) iovcur_skip(&c, taken);
                        if (!park_add(s, f, at + taken, &c, piece.iov_len - taken)) {
                                /* never acknowledged, so not lost: the guest keeps it */
                                tcp_count(s, f, -(int64_t) (f->tcp.rcv_nxt - (at + taken)), 0);
                                f->tcp.rcv_nxt = at + taken;
                                return false;
                        }
                }
                at = end;
        }
        return true;
}

static void batch_clear(Tcp *t, Flow *f) {
        unsigned slot = f->tcp.batch_slot;
        if (slot) {
                t->batch[slot - 1].first = t->batch[slot - 1].last = t->batch[slot - 1].n = 0;
                t->batch[slot - 1].bytes = 0;
        }
}

/* Passes the guest's FIN on once every byte before it is with the host. */
static void pass_fin(Netstack *s, Flow *f) {
        if (f->tcp.fin_received && !f->tcp.fin_passed && f->tcp.host_nxt + 1 == f->tcp.rcv_nxt) {
                f->tcp.fin_passed = true;
                tcp_discard_acked(s, f, /* all= */ true); /* else the far end's answer to that looks like bytes: there are some to read */
                (void) s->ops->shutdown_write(s->userdata, f->fd); /* fails only when the host's end is gone: an event tells */
        }
}

void tcp_deliver(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        struct iovec iov[TCP_BATCH_PIECES];
        unsigned n;

        while (!t->host_blocked && (n = gather(s, f, iov, ELEMENTSOF(iov))) > 0) {
                size_t total = 0;
                for (unsigned i = 0; i < n; i++)
                        total += iov[i].iov_len;
                ssize_t sent = s->ops->send(s->userdata, f->fd, iov, n);
                if (sent < 0 && sent != -EAGAIN) {
                        batch_clear(s->tcp, f);
                        return tcp_abort(s, f, (int) sent);
                }
                if (sent > 0)
                        t->host_nxt += (uint32_t) sent;
                if (sent < (ssize_t) total) {
                        t->host_blocked = true;
                        counter_add(&s->stats.partial_sends, 1);
                }
                park_release(s, f, t->host_nxt);
        }
        if (!park_rest(s, f))
                t->ack_now = true;
        batch_clear(s->tcp, f);
        pass_fin(s, f);
}

/* ---- acknowledgements from the guest ---- */

/* Adds [start, end) to the sorted, disjoint ranges the guest reported; the highest are forgotten first when there are too many. */
static void add_sack(TcpFlow *t, SackRange r) {
        unsigned i = 0;
        while (i < t->n_sacks && seq_lt(t->sacks[i].end, r.start))
                i++;
        unsigned j = i;
        while (j < t->n_sacks && seq_leq(t->sacks[j].start, r.end)) { /* touches or overlaps: joined */
                r.start = seq_min(r.start, t->sacks[j].start);
                r.end = seq_max(r.end, t->sacks[j].end);
                j++;
        }
        if (i == j && t->n_sacks == TCP_SACKS_KNOWN_MAX) {
                t->sacks_missed = true;
                if (i == TCP_SACKS_KNOWN_MAX)
                        return;
                t->n_sacks--;
        }
        memmove(&t->sacks[i + 1], &t->sacks[j], (t->n_sacks - j) * sizeof(SackRange));
        t->n_sacks = (uint8_t) (t->n_sacks - (j - i) + 1);
        t->sacks[i] = r;
}

static void take_sacks(TcpFlow *t, const Segment *g) {
        for (unsigned i = 0; i < g->n_sacks; i++) {
                SackRange r = g->sacks[i];
                if (seq_lt(r.start, r.end) && seq_lt(t->snd_una, r.start) && seq_leq(r.end, t->snd_max))
                        add_sack(t, r);
        }
}

static void forget_sacks_below_una(TcpFlow *t) {
        unsigned n = 0;
        while (n < t->n_sacks && seq_leq(t->sacks[n].end, t->snd_una))
                n++;
        memmove(t->sacks, t->sacks + n, (t->n_sacks - n) * sizeof(SackRange));
        t->n_sacks = (uint8_t) (t->n_sacks - n);
}

static void enter_recovery(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        uint32_t flight = t->snd_max - t->snd_una;
        t->in_recovery = true;
        t->recover = t->snd_max;
        t->rexmit_nxt = t->snd_una;
        t->ssthresh = MAX(flight / 2, 2u * t->mss);
        t->cwnd = MAX(t->ssthresh, 2u * t->mss);
        t->rexmit_due = true;
        counter_add(&s->stats.fast_retransmits, 1);
}

/* Has the guest told often enough that something is missing? (RFC 5681 3.2, RFC 6675 4, RFC 5827 for short flights) */
static bool loss_is_likely(const TcpFlow *t) {
        uint32_t flight = t->snd_max - t->snd_una;
        if (t->dup_acks >= 3)
                return true;
        if (t->n_sacks > 0 && t->sacks[t->n_sacks - 1].end - t->snd_una > 3u * t->mss)
                return true;
        return t->dup_acks >= 1 && t->n_sacks > 0 && flight <= 4u * t->mss;
}

static void duplicate_ack(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        if (t->dup_acks < UINT8_MAX)
                t->dup_acks++;
        if (t->in_recovery)
                t->rexmit_due = true;
        else if (loss_is_likely(t))
                enter_recovery(s, f);
}

static void measure_rtt(Netstack *s, Flow *f, const Segment *g) {
        TcpFlow *t = &f->tcp;
        if (t->retries > 0) /* Karn: a timestamp echoed from before the retransmission measures the patience, not the link */
                return;
        if (t->ts_ok && g->has_ts && g->tsecr != 0) {
                uint32_t ms = tcp_timestamp(s, f) - g->tsecr;
                if (ms < 600000)
                        tcp_rtt_sample(f, MAX((usec_t) ms * USEC_PER_MSEC, USEC_PER_MSEC / 2));
        } else if (t->rtt_start != 0 && seq_leq(t->rtt_seq, g->ack)) {
                tcp_rtt_sample(f, netstack_now(s) - t->rtt_start);
                t->rtt_start = 0;
        }
}

static void new_ack(Netstack *s, Flow *f, const Segment *g) {
        TcpFlow *t = &f->tcp;
        uint32_t acked = g->ack - t->snd_una;

        measure_rtt(s, f, g);
        t->snd_una = g->ack;
        if (seq_lt(t->snd_nxt, t->snd_una))
                t->snd_nxt = t->snd_una;
        t->dup_acks = 0;
        t->retries = 0;
        forget_sacks_below_una(t);
        tcp_big_acked(t);
        t->cwnd = MIN(t->cwnd + (t->cwnd < t->ssthresh ? acked : acked / 2), (uint32_t) TCP_CWND_MAX);

        if (t->in_recovery) {
                if (seq_leq(t->recover, t->snd_una))
                        t->in_recovery = t->sacks_missed = false;
                else { /* a partial ACK: the next hole is lost as well (RFC 6582 3.2), unless reports of it are to be expected */
                        t->rexmit_due = !t->sack_ok || t->n_sacks > 0 || t->sacks_missed || seq_leq(t->snd_una, t->rexmit_nxt);
                        t->rexmit_nxt = seq_max(t->rexmit_nxt, t->snd_una);
                }
        }
        tcp_rto_restart(s, f);
}

/* False: the segment acknowledges what was never sent and is to be dropped. */
static bool take_ack(Netstack *s, Flow *f, const Segment *g) {
        TcpFlow *t = &f->tcp;
        if (seq_lt(t->snd_max, g->ack)) {
                netstack_drop(s, DROP_TCP_BAD_ACK);
                t->ack_now = true;
                return false;
        }
        if (seq_lt(g->ack, t->snd_una))
                return true; /* old news */

        uint32_t wnd = g->wnd << t->snd_wscale;
        bool wnd_changed = wnd != t->snd_wnd;
        if (seq_lt(t->snd_wl1, g->seq) || (t->snd_wl1 == g->seq && seq_leq(t->snd_wl2, g->ack))) {
                bool reopened = t->snd_wnd == 0 && wnd > 0;
                t->snd_wnd = wnd;
                if (reopened) { /* the probe's timer becomes a retransmission's: what is in flight may have met a closed window */
                        t->retries = 0;
                        tcp_rto_restart(s, f);
                }
                t->max_snd_wnd = MAX(t->max_snd_wnd, wnd);
                t->snd_wl1 = g->seq;
                t->snd_wl2 = g->ack;
        }
        if (t->sack_ok && g->n_sacks > 0)
                take_sacks(t, g);
        if (wnd == 0) /* it is there and says so: patience (RFC 9293 3.8.6.1) */
                t->retries = MIN(t->retries, (uint8_t) (TCP_RETRIES_MAX / 2));
        if (seq_lt(t->snd_una, g->ack))
                new_ack(s, f, g);
        else if (g->len == 0 && !wnd_changed && t->snd_una != t->snd_max && !(g->flags & (TCP_SYN | TCP_FIN)))
                duplicate_ack(s, f);
        return true;
}

/* ---- payload ---- */

static void take_payload(Netstack *s, Flow *f, Segment *g) {
        TcpFlow *t = &f->tcp;
        uint32_t seq = g->seq, len = g->len;

        if (t->fin_received && len > 0) { /* bytes behind a FIN do not exist (RFC 9293 3.10.7.4, seventh) */
                t->ack_now = true;
                return netstack_drop(s, DROP_TCP_OLD_DATA);
        }
        if (seq_lt(seq, t->rcv_nxt)) { /* the front has come before */
                uint32_t old = MIN(t->rcv_nxt - seq, len);
                (void) iovcur_skip(&g->payload, old);
                seq += old;
                len -= old;
        }
        if (seq_lt(t->rcv_adv, seq + len)) { /* the tail is beyond what was promised */
                uint32_t beyond = MIN(seq + len - t->rcv_adv, len);
                len -= beyond;
                g->flags &= (uint8_t) ~TCP_FIN;
                netstack_drop(s, DROP_TCP_WINDOW);
        }

        if (len > 0 && seq == t->rcv_nxt) {
                batch_append(s, f, &g->payload, len);
                if (f->closing)
                        return;
                if (t->parked && park_contiguous(f, t->rcv_nxt) != t->rcv_nxt) { /* the hole is closed: what waited behind it is in order */
                        tcp_deliver(s, f);
                        if (f->closing)
                                return;
                        uint32_t run = park_contiguous(f, t->rcv_nxt); /* nothing more, when the park was full and rcv_nxt went back */
                        tcp_count(s, f, run - t->rcv_nxt, 0);
                        t->rcv_nxt = run;
                        tcp_deliver(s, f);
                        if (f->closing)
                                return;
                }
                t->ack_now = true;
        } else if (len > 0) { /* out of order */
                tcp_deliver(s, f);
                if (f->closing)
                        return;
                if (park_add(s, f, seq, &g->payload, len))
                        t->last_ooo = seq;
                counter_add(&s->stats.dup_acks_sent, 1);
                tcp_send_ack(s, f);
        } else if (g->len > 0)
                t->ack_now = true;

        if ((g->flags & TCP_FIN) && g->seq + g->len == t->rcv_nxt && !t->fin_received) {
                tcp_deliver(s, f);
                if (f->closing)
                        return;
                if (g->seq + g->len == t->rcv_nxt) { /* nothing before it was refused */
                        t->fin_received = true;
                        t->rcv_nxt++;
                        pass_fin(s, f);
                }
                t->ack_now = true;
        } else if (g->flags & TCP_FIN)
                t->ack_now = true;
}

/* ---- one segment of a known flow ---- */

/* Sequence number check (RFC 9293 3.10.7.4, first). False: unacceptable, already answered. */
static bool seq_is_acceptable(Netstack *s, Flow *f, const Segment *g) {
        TcpFlow *t = &f->tcp;
        uint32_t span = segment_span(g), wnd = seq_lt(t->rcv_nxt, t->rcv_adv) ? t->rcv_adv - t->rcv_nxt : 0;
        uint32_t rel = g->seq - t->rcv_nxt;

        if (rel <= wnd)
                return true; /* take_payload() cuts what reaches beyond the window */
        if (seq_lt(g->seq, t->rcv_nxt) && seq_lt(t->rcv_nxt, g->seq + span))
                return true; /* old front, new tail */
        if (seq_lt(g->seq, t->rcv_nxt)) {
                if (span > 1)
                        netstack_drop(s, DROP_TCP_OLD_DATA);
                else if (g->len <= 1 && g->seq + 1 == t->rcv_nxt)
                        s->ops->set_keepalive(s->userdata, f->fd, true); /* a keepalive probe: the guest cares whether we live */
        } else
                netstack_drop(s, DROP_TCP_WINDOW);
        t->ack_now = true;
        return false;
}

static bool paws_rejects(const TcpFlow *t, const Segment *g) {
        return t->ts_ok && g->has_ts && (int32_t) (g->tsval - t->ts_recent) < 0;
}

static void segment_synchronized(Netstack *s, Flow *f, Segment *g) {
        TcpFlow *t = &f->tcp;

        if (g->flags & TCP_RST) {
                if (tcp_guest_is_done(t))
                        return; /* it has forgotten us already */
                if (g->seq == t->rcv_nxt) /* when all was said both ways it is no reset: the far end may still be owed bytes in flight */
                        flow_close(s, f, /* reset= */ !(t->fin_passed && t->host_eof));
                else if (g->seq - t->rcv_nxt < tcp_window_max(t))
                        t->ack_now = true; /* challenge (RFC 5961 3.2) */
                return;
        }
        if (g->flags & TCP_SYN) {
                if (t->state == TCP_SYN_RECEIVED && g->seq == t->irs)
                        tcp_send_control(s, f, TCP_SYN | TCP_ACK, t->iss); /* ours was lost */
                else
                        t->ack_now = true; /* challenge (RFC 5961 4.2); a rebooted guest answers it with RST */
                return;
        }
        if (!(g->flags & TCP_ACK))
                return netstack_drop(s, DROP_TCP_MALFORMED);
        if (paws_rejects(t, g)) {
                t->ack_now = true;
                return netstack_drop(s, DROP_TCP_PAWS);
        }
        bool acceptable = seq_is_acceptable(s, f, g);
        if (acceptable && t->ts_ok && g->has_ts && seq_leq(g->seq, t->last_ack_sent))
                t->ts_recent = g->tsval; /* RFC 7323 4.3 */
        if (!take_ack(s, f, g) || f->closing || !acceptable)
                return;

        if (t->state == TCP_SYN_RECEIVED) {
                if (t->snd_una == t->iss)
                        return;
                tcp_established(s, f);
        }
        if (g->len > 0 || (g->flags & TCP_FIN))
                take_payload(s, f, g);
}

/* The guest's answer to our SYN (RFC 9293 3.10.7.3). */
static void segment_syn_sent(Netstack *s, Flow *f, const Packet *p, const Segment *g) {
        TcpFlow *t = &f->tcp;
        bool ack_ok = (g->flags & TCP_ACK) && g->ack == t->iss + 1;
        if (g->flags & TCP_RST) {
                if (ack_ok)
                        flow_close(s, f, /* reset= */ true); /* refused: the client is told so by a reset */
                return;
        }
        if ((g->flags & TCP_ACK) && !ack_ok) /* it takes us for a connection it has had from this port */
                tcp_answer_rst(s, p, g);
        if (!(g->flags & TCP_SYN) || !ack_ok)
                return netstack_drop(s, DROP_TCP_BAD_ACK);

        tcp_take_syn_options(f, g);
        t->irs = g->seq;
        t->rcv_nxt = t->host_nxt = g->seq + 1;
        t->rcv_adv = t->rcv_nxt + MIN((uint32_t) TCP_WINDOW_MAX, 65535u << t->rcv_wscale);
        t->snd_una = g->ack;
        t->snd_wnd = t->max_snd_wnd = g->wnd;
        t->snd_wl1 = g->seq;
        t->snd_wl2 = g->ack;
        t->ts_recent = g->tsval;
        tcp_established(s, f);
        t->ack_now = true;
}

/* The guest marks what it sends otherwise than before: so does the host from now on. */
static void take_mark(Netstack *s, Flow *f, const Packet *p, const Segment *g) {
        if (g->len == 0 && !(g->flags & TCP_SYN))
                return;
        f->tcp.dscp = p->tos & TCP_DSCP_MASK;
        s->ops->tcp_set_tos(s->userdata, f->fd, f->tcp.dscp);
}

static bool checksum_is_good(const Packet *p) {
        uint32_t sum = checksum_pseudo(&p->src, &p->dst, IPPROTO_TCP, (uint32_t) iovcur_left(&p->l4));
        sum = checksum_add_iov(p->l4.iov, p->l4.n_iov, p->l4.off, iovcur_left(&p->l4), sum);
        return checksum_fold(sum) == 0xffff;
}

Flow *tcp_find_flow(Netstack *s, const FlowKey *key) {
        Flow *f = s->tcp->last;
        if (f && !f->closing && memcmp(&f->key, key, sizeof(*key)) == 0)
                return f;
        f = flow_find(s->flows, key);
        if (f)
                s->tcp->last = f;
        return f;
}

void tcp_input(Netstack *s, Packet *p) {
        Segment g;
        IovCur l4 = p->l4;
        if (!segment_parse(&g, &l4) || g.src_port == 0 || g.dst_port == 0)
                return netstack_drop(s, DROP_TCP_MALFORMED);
        if (!p->csum_ok && !checksum_is_good(p))
                return netstack_drop(s, DROP_CHECKSUM);

        FlowKey key = { .guest = p->src, .remote = p->dst, .guest_port = g.src_port, .remote_port = g.dst_port, .kind = FLOW_TCP };
        Flow *f = tcp_find_flow(s, &key);
        if (!f) {
                if ((g.flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN) {
                        (void) tcp_open_outbound(s, p, &g, &key);
                        return;
                }
                if (tcp_answer_closed(s, p, &g, &key))
                        return;
                if (netstack_offer(s, p))
                        return;
                netstack_drop(s, DROP_TCP_NO_FLOW);
                if (!(g.flags & TCP_RST))
                        tcp_answer_rst(s, p, &g);
                return;
        }

        f->last_used = netstack_now(s);
        if (unlikely(!mac_equal(&f->guest_mac, &p->src_mac)))
                f->guest_mac = p->src_mac;
        if (s->port) {
                f->guest_mtu = s->port->mtu;
                f->tcp.stream = s->port->stream;
                tcp_big_begin(f, s->port->big);
                if (unlikely(f->tcp.output_blocked && f->device != s->port->id)) /* the one it waits for is another's: this one says nothing */
                        tcp_unblock(s, f);
                f->device = s->port->id;
        }
        unsigned slot = batch_slot(s->tcp, f);

        switch ((TcpState) f->tcp.state) {
        case TCP_CONNECTING:
                if ((g.flags & TCP_RST) && g.seq == f->tcp.rcv_nxt)
                        flow_close(s, f, /* reset= */ true); /* the guest lost patience */
                return; /* a repeated SYN waits like the first */
        case TCP_SYN_SENT:
                segment_syn_sent(s, f, p, &g);
                break;
        case TCP_SYN_RECEIVED:
        case TCP_ESTABLISHED:
                segment_synchronized(s, f, &g);
                break;
        case TCP_CLOSED:
        case _TCP_STATE_MAX:
                return;
        }
        if (unlikely((p->tos & TCP_DSCP_MASK) != f->tcp.dscp) && !f->closing)
                take_mark(s, f, p, &g);
        s->tcp->batch[slot].output_due = true;
}

/* Should the ACK wait for the host's answer, or its end of stream? Only for a small request, or its end, on a flow whose host has been
 * quick to answer. */
static bool ack_may_wait(const Flow *f, uint32_t bytes) {
        const TcpFlow *t = &f->tcp;
        return t->interactive && (bytes > 0 || t->fin_received) && bytes < t->mss && !t->parked && !t->host_eof;
}

static void finish_flow(Netstack *s, Flow *f, bool output_due) {
        TcpFlow *t = &f->tcp;
        uint32_t bytes = s->tcp->batch[t->batch_slot - 1].bytes;
        bool small = ack_may_wait(f, bytes);
        if (bytes > 0) {
                tcp_deliver(s, f);
                if (f->closing)
                        return;
        }
        if (t->rexmit_due) { /* not before: a segment carries an ACK, and an ACK is a promise that the bytes are safe */
                t->rexmit_due = false;
                tcp_retransmit(s, f);
        }
        if (output_due && t->state == TCP_ESTABLISHED)
                tcp_output_soon(s, f); /* data carries the ACK along */
        if (f->closing)
                return;
        if (t->ack_now) {
                if (small && !t->delayed_ack && t->host_nxt + t->fin_received == t->rcv_nxt) {
                        t->ack_now = false;
                        t->delayed_ack = true;
                        t->ack_at = tcp_deadline(s, t, TCP_DELAYED_ACK);
                        t->carried = (uint8_t) MIN(t->carried + 1, TCP_STEADY); /* tcp_send_ack() says otherwise */
                } else
                        tcp_send_ack(s, f);
        }
        tcp_timer_update(s, f);
        tcp_close_if_done(s, f);
}

static void finish_batch(Netstack *s, unsigned i) {
        Flow *f = s->tcp->batch[i].flow;
        if (f->closing)
                return;
        finish_flow(s, f, s->tcp->batch[i].output_due);
        f->tcp.batch_slot = 0;
}

void tcp_input_done(Netstack *s) {
        Tcp *t = s->tcp;
        uint16_t later[FRAME_BATCH_MAX];
        unsigned n_later = 0;
        for (unsigned i = 0; i < t->n_batch; i++) { /* what is little goes first */
                uint32_t bytes = t->batch[i].bytes;
                if (tcp_share_window(s, t->batch[i].flow, bytes)) {
                        later[n_later++] = (uint16_t) i;
                        continue;
                }
                finish_batch(s, i);
                if (bytes > 0)
                        tcp_await_answer(s, t->batch[i].flow);
        }
        if (n_later > 0)
                netstack_flush(s);
        for (unsigned i = 0; i < n_later; i++) {
                finish_batch(s, later[i]);
                tcp_look_for_answers(s);
        }
        t->n_batch = 0;
        t->n_pieces = 0;
}
