/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The park: the one place where payload of guests is kept. Two reasons bring bytes here: the host's socket took less than was
 * offered (the guest has spent the wire on them, so they are not thrown away), and segments that came out of order (so that the hole
 * alone is sent again). One list a flow, by sequence number, without overlaps; one bound for the whole network.
 */

#include "netstack/tcp-private.h"

#include "basic/trace.h"

static void account(Netstack *s, Flow *f, int64_t bytes, int pieces) {
        s->tcp->parked += (uint64_t) bytes;
        s->tcp->n_parked += (uint64_t) pieces;
        f->tcp.parked_bytes += (uint32_t) bytes;
        f->tcp.n_parked += (uint32_t) pieces;
        if (s->tcp->parked > s->stats.parked_peak)
                counter_add(&s->stats.parked_peak, s->tcp->parked - s->stats.parked_peak);
}

/* Makes a parked piece of @len bytes out of @c at its present position. NULL: the park is full, or too small for what they are in. */
static TcpParked *piece_new(Netstack *s, Flow *f, uint32_t seq, IovCur *c, uint32_t len) {
        uint64_t held = s->tcp->parked + s->tcp->n_parked * sizeof(TcpParked);
        bool room = f->tcp.n_parked < TCP_PARK_PIECES_MAX && held + sizeof(TcpParked) + len <= s->config.limits.park_bytes;
        TcpParked *k = room ? malloc(sizeof(*k) + len) : NULL;
        if (!k) {
                netstack_drop(s, DROP_TCP_PARK_LIMIT);
                return NULL;
        }
        k->next = NULL;
        k->seq = seq;
        k->len = len;
        k->skip = 0;
        if (!iovcur_copy(c, k->data, len)) { /* callers pass no more than there is */
                free(k);
                return NULL;
        }
        account(s, f, len, 1);
        return k;
}

bool park_add(Netstack *s, Flow *f, uint32_t seq, IovCur *c, size_t len) {
        uint32_t end = seq + (uint32_t) len;
        TcpParked **link = &f->tcp.parked;

        while (seq_lt(seq, end)) {
                while (*link && seq_leq((*link)->seq + (*link)->len, seq))
                        link = &(*link)->next;
                if (*link && seq_leq((*link)->seq, seq)) { /* these bytes are here already */
                        uint32_t known = seq_min((*link)->seq + (*link)->len, end) - seq;
                        (void) iovcur_skip(c, known);
                        seq += known;
                        continue;
                }
                uint32_t n = (*link ? seq_min((*link)->seq, end) : end) - seq;
                TcpParked *k = piece_new(s, f, seq, c, n);
                if (!k)
                        return false;
                TRACE2(park, f->index, n);
                k->next = *link;
                *link = k;
                seq += n;
        }
        return true;
}

void park_release(Netstack *s, Flow *f, uint32_t upto) {
        TcpParked *k;
        while ((k = f->tcp.parked) && seq_lt(k->seq, upto)) {
                uint32_t n = MIN(upto - k->seq, k->len);
                account(s, f, -(int64_t) n, n == k->len ? -1 : 0);
                k->seq += n;
                k->skip += n;
                k->len -= n;
                if (k->len > 0)
                        return;
                f->tcp.parked = k->next;
                free(k);
        }
}

void park_free(Netstack *s, Flow *f) {
        TcpParked *k;
        while ((k = f->tcp.parked)) {
                account(s, f, -(int64_t) k->len, -1);
                f->tcp.parked = k->next;
                free(k);
        }
}

uint32_t park_contiguous(const Flow *f, uint32_t from) {
        for (const TcpParked *k = f->tcp.parked; k && seq_leq(k->seq, from); k = k->next)
                from = seq_max(from, k->seq + k->len);
        return from;
}

unsigned park_sacks(const Flow *f, SackRange *out, unsigned max) {
        unsigned n = 0;
        for (const TcpParked *k = f->tcp.parked; k;) {
                SackRange run = { k->seq, k->seq + k->len };
                for (k = k->next; k && k->seq == run.end; k = k->next)
                        run.end += k->len;
                if (seq_leq(run.start, f->tcp.rcv_nxt))
                        continue; /* in order: acknowledged, not reported */
                bool newest = seq_leq(run.start, f->tcp.last_ooo) && seq_lt(f->tcp.last_ooo, run.end);
                if (newest) { /* to the front (RFC 2018 4) */
                        unsigned keep = MIN(n, max - 1);
                        memmove(out + 1, out, keep * sizeof(*out));
                        out[0] = run;
                        n = keep + 1;
                } else if (n < max)
                        out[n++] = run;
        }
        return n;
}
