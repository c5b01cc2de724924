/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flows with little to say beside flows that transfer as much as they can: how long the former wait. Decides about windows and about
 * whose turn it is; what the segments mean is for others. Pure.
 */

#include "netstack/tcp-private.h"

/* Flows that upload at the same time each fill their window, and what they have on its way stands in one queue, the device's, with
 * everything else of the guest's behind it. So where there is something else, they share one window. Returns whether @f is one of them. */
bool tcp_share_window(Netstack *s, Flow *f, uint32_t bytes) {
        Tcp *t = s->tcp;
        usec_t now = netstack_now(s);
        if (now >= t->share.end) {
                bool fresh = now < t->share.end + TCP_SHARE_TIME, quiet = fresh && t->share.n_small > 0, shared = quiet && t->share.n_bulk > 1;
                t->share.window = shared ? MAX(TCP_WINDOW_SHARED / t->share.n_bulk, (uint32_t) TCP_WINDOW_MIN) : TCP_WINDOW_MAX;
                t->share.quiet = quiet;
                t->share.n_bulk = t->share.n_small = 0;
                t->share.period++;
                t->share.end = now + TCP_SHARE_TIME;
        }
        TcpFlow *flow = &f->tcp;
        if (flow->share_period != t->share.period) {
                flow->uploads = flow->share_period + 1 == t->share.period && flow->share_bytes >= TCP_BULK_MIN;
                flow->share_period = t->share.period;
                flow->share_bytes = 0;
        }
        bool was = flow->share_bytes >= TCP_BULK_MIN;
        flow->share_bytes += bytes;
        bool is = flow->share_bytes >= TCP_BULK_MIN;
        t->share.n_bulk += is && !was;
        t->share.n_small += bytes > 0 && !is && !flow->uploads;
        return is || flow->uploads;
}

bool tcp_is_quiet_beside(const Netstack *s) {
        return s->tcp->share.quiet || s->tcp->share.n_small > 0;
}

uint32_t tcp_turn_frames(const Netstack *s, const Flow *f) {
        if (tcp_is_quiet_beside(s))
                return TCP_TURN_FRAMES_SHARED;
        return f && f->tcp.stream && s->tcp->ready.n <= 1 ? TCP_TURN_FRAMES_STREAM : TCP_TURN_FRAMES;
}

/* ---- super-segments beyond 64 KiB ---- */

void tcp_big_begin(Flow *f, bool big) {
        TcpFlow *t = &f->tcp;
        if (!big || t->big_over || !ip_is_v4(&f->key.guest))
                t->big_max = 0;
        else if (t->big_max == 0)
                t->big_max = FRAME_BIG_MAX;
}

uint32_t tcp_big_turn(const Netstack *s) {
        return tcp_is_quiet_beside(s) ? TCP_BIG_SHARED : FRAME_BIG_MAX;
}

uint32_t tcp_frame_max(const Netstack *s, const Flow *f) {
        return f->tcp.big_max > 0 ? MIN(f->tcp.big_max, tcp_big_turn(s)) : FRAME_LEN_MAX;
}

void tcp_big_sent(TcpFlow *t, uint32_t seq, uint32_t len) {
        t->big_start = seq;
        t->big_end = seq + len;
        if (t->big_max < FRAME_BIG_MAX && ++t->big_sent == TCP_BIG_AGAIN) {
                t->big_max *= 2;
                t->big_sent = 0;
        }
}

void tcp_big_over(TcpFlow *t) {
        t->big_over = true;
        t->big_max = 0;
}

void tcp_big_refused(TcpFlow *t, size_t len) {
        if (len > t->big_max) /* of the same batch as the one before, or there are none */
                return;
        t->big_max /= 2;
        t->big_sent = 0;
        if (t->big_max < TCP_BIG_SHARED)
                tcp_big_over(t);
}

/* Who acknowledges a part of a frame did not get it in one piece: the guest passes it on, to somebody whose link has it cut into single segments.
 * That costs more than it saves. */
void tcp_big_acked(TcpFlow *t) {
        if (t->big_max > 0 && seq_lt(t->big_start, t->snd_una) && seq_lt(t->snd_una, t->big_end))
                tcp_big_over(t);
}

/* ---- answers ---- */

/* A host on the same machine, or near, answers before the bytes of those that transfer have all been passed on. Who has just asked is
 * remembered, so that the answer need not wait for that. */
void tcp_await_answer(Netstack *s, Flow *f) {
        Tcp *t = s->tcp;
        uint64_t cookie = flow_cookie(f);
        unsigned i = 0;
        if (f->closing || f->tcp.state != TCP_ESTABLISHED)
                return;
        while (i < TCP_AWAITED_MAX && t->awaited[i].cookie != cookie)
                i++;
        if (i == TCP_AWAITED_MAX)
                i = t->next_awaited++ % TCP_AWAITED_MAX;
        t->awaited[i].cookie = cookie;
        t->awaited[i].answered = f->tx_bytes;
        t->awaited[i].looks = TCP_AWAITED_LOOKS;
}

/* Has the host answered? Then what it said is on its way when this returns. Return: whether it is worth looking again. */
static bool look_for_answer(Netstack *s, uint64_t cookie, uint64_t answered) {
        Flow *f = flow_by_cookie(s->flows, cookie);
        if (!f || f->closing || f->tcp.state != TCP_ESTABLISHED || f->tcp.bulk || f->tcp.snd_wnd == 0 || f->tx_bytes != answered)
                return false;
        if (f->tcp.batch_slot != 0) /* its own bytes of this batch are to be passed on first: what carries the answer acknowledges them */
                return true;
        f->tcp.host_readable = true; /* or so we suppose: to find out costs one system call, not the two of asking first */
        tcp_output(s, f);
        if (!f->closing)
                tcp_close_if_done(s, f);
        if (!f->closing && f->tx_bytes == answered)
                return true;
        netstack_flush(s);
        return false;
}

void tcp_look_for_answers(Netstack *s) {
        Tcp *t = s->tcp;
        for (unsigned i = 0; i < TCP_AWAITED_MAX; i++) {
                if (t->awaited[i].looks == 0)
                        continue;
                bool more = look_for_answer(s, t->awaited[i].cookie, t->awaited[i].answered);
                t->awaited[i].looks = more ? t->awaited[i].looks - 1 : 0;
        }
}
