/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The timers of a TCP flow, all on the one Timer of the flow: retransmission and zero-window probe (rto_at), delayed ACK (ack_at), the
 * last few acknowledged bytes in the host's queue (discard_at), keepalive or the end of a handshake (probe_at). The timer stands at
 * the earliest; moving a deadline later touches nothing, so a busy flow costs the timer queue nothing at all.
 *
 *     state          rto_at                            probe_at
 *     CONNECTING     -                                 TCP_CONNECT_TIMEOUT
 *     SYN_*          SYN again                         -
 *     ESTABLISHED    data or FIN again, window probe   keepalive
 */

#include "netstack/arp.h"
#include "netstack/tcp-private.h"

void tcp_rtt_sample(Flow *f, usec_t rtt) {
        TcpFlow *t = &f->tcp;
        uint32_t r = (uint32_t) MIN(rtt, TCP_RTO_MAX);
        if (t->srtt == 0) {
                t->srtt = MAX(r, 1u);
                t->rttvar = r / 2;
        } else {
                uint32_t delta = r > t->srtt ? r - t->srtt : t->srtt - r;
                t->rttvar = t->rttvar - t->rttvar / 4 + delta / 4;
                t->srtt = MAX(t->srtt - t->srtt / 8 + r / 8, 1u);
        }
        t->rto = (uint32_t) CLAMP((usec_t) t->srtt + MAX(4 * (usec_t) t->rttvar, USEC_PER_MSEC), TCP_RTO_MIN, TCP_RTO_MAX);
}

void tcp_rto_restart(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        usec_t now = netstack_now(s);
        bool in_flight = t->snd_una != t->snd_max;
        bool window_closed = !in_flight && t->host_readable && t->snd_wnd == 0;
        t->rto_at = in_flight || window_closed ? now + MIN((usec_t) t->rto << MIN(t->retries, (uint8_t) 16), TCP_RTO_MAX) : USEC_INFINITY;
}

void tcp_timer_update(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        usec_t when = MIN(MIN(t->rto_at, t->ack_at), MIN(t->discard_at, t->probe_at));
        if (when == USEC_INFINITY)
                timer_stop(&s->timers, &f->timer);
        else if (when != f->timer.when)
                (void) timer_set(&s->timers, &f->timer, when); /* -ENOMEM: the next event tries again */
}

/* Nearly every deadline of a steady flow is overtaken by the next event, but each that is earlier than what the loop's timer stands at costs a
 * system call, and so does each that fires. So they are few: later, and together. */
usec_t tcp_deadline(const Netstack *s, const TcpFlow *t, usec_t delay) {
        if (!tcp_is_steady(t))
                return netstack_now(s) + delay;
        return DIV_ROUND_UP(netstack_now(s) + TCP_STEADY_DELAY, TCP_STEADY_TICK) * TCP_STEADY_TICK;
}

/* Has ARP found nobody at the address a connection from outside is for? It has asked for three seconds by now, as the host's own would. */
static bool guest_is_missing(Netstack *s, const Flow *f) {
        MacAddr mac;
        uint32_t mtu;
        return f->tcp.state == TCP_SYN_SENT && f->tcp.retries >= TCP_SYN_RETRIES_UNKNOWN && !arp_lookup(s->arp, &f->key.guest, &mac, &mtu);
}

/* The handshake's own retransmissions. */
static void syn_again(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        if (t->retries >= TCP_SYN_RETRIES_MAX || guest_is_missing(s, f))
                return flow_close(s, f, /* reset= */ true);
        t->retries++;
        tcp_send_control(s, f, t->state == TCP_SYN_SENT ? TCP_SYN : TCP_SYN | TCP_ACK, t->iss);
        tcp_rto_restart(s, f);
}

/* The guest's window is closed and nothing is in flight: an old sequence number makes it say what its window is now. */
static void window_probe(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        if (t->retries < UINT8_MAX)
                t->retries++; /* never given up (RFC 9293 3.8.6.1) while the guest answers: keepalive finds out when it does not */
        counter_add(&s->stats.zero_window_probes, 1);
        tcp_send_control(s, f, TCP_ACK, t->snd_una - 1);
        tcp_rto_restart(s, f);
}

static void data_again(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        if (t->output_blocked) /* nothing has left that the guest could have failed to answer; keepalive finds out when it is gone */
                return tcp_rto_restart(s, f);
        if (t->retries >= TCP_RETRIES_MAX)
                return tcp_abort(s, f, -ETIMEDOUT);
        t->retries++;
        counter_add(&s->stats.rto_fired, 1);

        /* RFC 5681 3.1, RFC 6298 5: one segment, then slow start; what the guest reported may have been reneged */
        t->ssthresh = MAX((t->snd_max - t->snd_una) / 2, 2u * t->mss);
        t->cwnd = t->mss;
        t->n_sacks = 0;
        t->dup_acks = 0;
        t->in_recovery = false;
        t->rexmit_nxt = t->snd_una;
        tcp_retransmit(s, f);
        if (f->closing)
                return;
        /* what was not answered counts as lost: it follows from there as the window opens */
        t->snd_nxt = seq_min(seq_max(t->rexmit_nxt, t->snd_una), tcp_data_end(t));
        tcp_rto_restart(s, f);
}

static void rto_expired(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        t->rto_at = USEC_INFINITY;
        if (t->state != TCP_ESTABLISHED)
                syn_again(s, f);
        else if (t->snd_una != t->snd_max)
                data_again(s, f);
        else if (t->host_readable && t->snd_wnd == 0)
                window_probe(s, f);
}

static void probe_expired(Netstack *s, Flow *f, usec_t now) {
        TcpFlow *t = &f->tcp;
        if (t->state == TCP_CONNECTING)
                return flow_close(s, f, /* reset= */ true);
        if (tcp_guest_is_done(t)) { /* nobody to ask: the host takes the rest or fails */
                t->probe_at = now + TCP_KEEPALIVE_IDLE;
                return;
        }
        usec_t idle = now - f->last_used;
        if (idle < TCP_KEEPALIVE_IDLE) {
                t->probe_at = f->last_used + TCP_KEEPALIVE_IDLE;
                return;
        }
        if (idle >= TCP_KEEPALIVE_IDLE + TCP_KEEPALIVE_PROBES * TCP_KEEPALIVE_INTERVAL)
                return tcp_abort(s, f, -ETIMEDOUT);
        tcp_send_control(s, f, TCP_ACK, t->snd_una - 1);
        t->probe_at = now + TCP_KEEPALIVE_INTERVAL;
}

void tcp_timer(Timer *timer, usec_t now, void *userdata) {
        Netstack *s = userdata;
        Flow *f = CONTAINER_OF(timer, Flow, timer);
        TcpFlow *t = &f->tcp;

        if (t->ack_at <= now) {
                t->interactive = false; /* the host was not quick after all */
                tcp_send_ack(s, f);
        }
        if (t->discard_at <= now) {
                t->discard_at = USEC_INFINITY;
                tcp_discard_acked(s, f, /* all= */ true);
        }
        if (t->rto_at <= now)
                rto_expired(s, f);
        if (!f->closing && t->probe_at <= now)
                probe_expired(s, f, now);
        if (!f->closing)
                tcp_timer_update(s, f);
}
