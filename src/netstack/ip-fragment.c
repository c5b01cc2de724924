/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reassembly of fragments of both families from guests, within named limits: datagrams in all, datagrams of one station,
 * pieces of one datagram, bytes, time. Whatever overlaps kills its datagram for good (RFC 5722, for IPv4 as
 * well: no honest stack sends such a thing). Never passes anything up that is not whole.
 *
 *   state   meaning                                              ends
 *   OPEN    pieces come in                                       whole: DONE; overlap: DEAD; time: gone
 *   DEAD    its bytes are freed, its later pieces are dropped    FRAG_TIMEOUT_USEC after the first piece
 *   DONE    handed up, its bytes are borrowed by the batch       fragments_done()
 */

#include <errno.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>

#include "basic/checksum.h"
#include "netstack/icmp.h"
#include "netstack/ip.h"

typedef enum DatagramState {
        DATAGRAM_FREE,
        DATAGRAM_OPEN,
        DATAGRAM_DEAD,
        DATAGRAM_DONE,
} DatagramState;

typedef struct Piece {
        uint32_t start, end; /* payload bytes [start, end) */
} Piece;

typedef struct Datagram {
        uint8_t state; /* DatagramState */
        uint8_t proto, ttl;
        uint8_t next;        /* of the first piece */
        uint8_t header_len;
        uint16_t n_pieces;
        uint32_t id;
        bool have_first;
        IpAddr src, dst;
        MacAddr src_mac, dst_mac;
        uint32_t total;      /* payload length once the last piece is there, else 0 */
        uint32_t received;
        size_t n_allocated;
        uint8_t *buf;        /* (owned) IP header, then the payload */
        struct iovec iov;    /* over buf, for the cursors of a whole datagram */
        usec_t expires;
        Piece pieces[FRAG_PIECES_MAX]; /* sorted, disjoint */
} Datagram;

struct Fragments {
        Netstack *stack; /* (borrowed) */
        Timer timer;     /* at the earliest expiry */
        uint32_t n_open; /* OPEN and DEAD */
        bool any_done;
        Datagram datagrams[FRAG_DATAGRAMS_MAX];
};

static void fragments_timer(Timer *timer, usec_t now, void *userdata);

int fragments_new(Fragments **ret, Netstack *s) {
        Fragments *f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;

        f->stack = s;
        timer_init(&f->timer, fragments_timer);
        *ret = f;
        return 0;
}

Fragments *fragments_free(Fragments *f) {
        if (!f)
                return NULL;

        timer_stop(&f->stack->timers, &f->timer);
        for (unsigned i = 0; i < FRAG_DATAGRAMS_MAX; i++)
                free(f->datagrams[i].buf);
        free(f);
        return NULL;
}

uint32_t fragments_held(const Fragments *f) {
        return f->n_open;
}

static void datagram_free_bytes(Datagram *d) {
        d->n_allocated = 0;
        free(TAKE_PTR(d->buf));
}

static void datagram_remove(Fragments *f, Datagram *d) {
        if (d->state != DATAGRAM_DONE)
                f->n_open--;
        datagram_free_bytes(d);
        d->state = DATAGRAM_FREE;
}

static void datagram_kill(Fragments *f, Datagram *d, Drop reason) {
        netstack_drop(f->stack, reason);
        datagram_free_bytes(d);
        d->state = DATAGRAM_DEAD;
}

static bool is_held(const Datagram *d) {
        return d->state == DATAGRAM_OPEN || d->state == DATAGRAM_DEAD;
}

static Datagram *datagram_find(Fragments *f, const Packet *p, uint32_t id) {
        for (unsigned i = 0; i < FRAG_DATAGRAMS_MAX; i++) {
                Datagram *d = &f->datagrams[i];

                if (is_held(d) && d->id == id && d->proto == p->proto && ip_equal(&d->src, &p->src) &&
                    ip_equal(&d->dst, &p->dst))
                        return d;
        }
        return NULL;
}

/* Room for one more: a free place while the station has its share, else the station's oldest; when all are
 * taken, the oldest. A datagram whose pieces come in one go survives that, and a station that never ends one
 * displaces its own. */
static Datagram *datagram_place(Fragments *f, const MacAddr *src_mac) {
        Datagram *own = NULL, *any = NULL, *free_one = NULL;
        unsigned n_own = 0;

        for (unsigned i = 0; i < FRAG_DATAGRAMS_MAX; i++) {
                Datagram *d = &f->datagrams[i];

                if (d->state == DATAGRAM_FREE)
                        free_one = free_one ?: d;
                if (!is_held(d))
                        continue;
                if (!any || d->expires < any->expires)
                        any = d;
                if (mac_equal(&d->src_mac, src_mac)) {
                        n_own++;
                        if (!own || d->expires < own->expires)
                                own = d;
                }
        }

        if (n_own < FRAG_PER_GUEST_MAX && free_one)
                return free_one;

        Datagram *victim = n_own >= FRAG_PER_GUEST_MAX ? own : any;
        if (victim) /* else all are done and borrowed: none to be had before the batch ends */
                datagram_remove(f, victim);
        netstack_drop(f->stack, DROP_FRAG_LIMIT);
        return victim;
}

static Datagram *datagram_new(Fragments *f, const Packet *p, uint32_t id) {
        Datagram *d = datagram_place(f, &p->src_mac);
        if (!d)
                return NULL;

        *d = (Datagram){
                .state = DATAGRAM_OPEN,
                .proto = p->proto,
                .header_len = (uint8_t) ip_header_len(&p->dst),
                .id = id,
                .src = p->src,
                .dst = p->dst,
                .src_mac = p->src_mac,
                .dst_mac = p->dst_mac,
                .expires = netstack_now(f->stack) + FRAG_TIMEOUT_USEC,
        };
        f->n_open++;
        if (!timer_is_set(&f->timer))
                (void) timer_set(&f->stack->timers, &f->timer, d->expires);
        return d;
}

/* Time is up: counted, and told when the first piece is known (RFC 1122 3.3.2). */
static void datagram_expire(Fragments *f, Datagram *d) {
        if (d->state == DATAGRAM_OPEN) {
                netstack_drop(f->stack, DROP_FRAG_TIMEOUT);
                if (d->have_first) {
                        Packet p = { .src = d->src,
                                     .dst = d->dst,
                                     .src_mac = d->src_mac,
                                     .dst_mac = d->dst_mac,
                                     .proto = d->next };

                        p.ip = iovcur_from_buf(&d->iov, d->buf, d->header_len + d->pieces[0].end);
                        p.l4 = p.ip;
                        (void) iovcur_skip(&p.l4, d->header_len);
                        icmp_send_error(f->stack, &p, ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, 0, NULL);
                }
        }
        datagram_remove(f, d);
}

static void fragments_timer(Timer *timer, usec_t now, void *userdata) {
        Fragments *f = CONTAINER_OF(timer, Fragments, timer);
        usec_t next = USEC_INFINITY;

        for (unsigned i = 0; i < FRAG_DATAGRAMS_MAX; i++) {
                Datagram *d = &f->datagrams[i];

                if (!is_held(d))
                        continue;
                if (d->expires <= now)
                        datagram_expire(f, d);
                else
                        next = MIN(next, d->expires);
        }
        (void) timer_set(&f->stack->timers, &f->timer, next);
}

/* Notes [start, end). 1: noted; 0: the very same piece was there; -EINVAL: overlap; -ENOBUFS: too many
 * pieces. */
static int datagram_note(Datagram *d, uint32_t start, uint32_t end) {
        unsigned i = 0;

        while (i < d->n_pieces && d->pieces[i].start < start)
                i++;
        if (i < d->n_pieces && d->pieces[i].start == start && d->pieces[i].end == end)
                return 0;
        if ((i > 0 && d->pieces[i - 1].end > start) || (i < d->n_pieces && d->pieces[i].start < end))
                return -EINVAL;
        if (d->n_pieces == FRAG_PIECES_MAX)
                return -ENOBUFS;

        memmove(&d->pieces[i + 1], &d->pieces[i], (d->n_pieces - i) * sizeof(Piece));
        d->pieces[i] = (Piece){ start, end };
        d->n_pieces++;
        d->received += end - start;
        return 1;
}

/* Makes room for payload up to @end. One is never longer than a packet, so all are within FRAG_BYTES_MAX. */
#define DATAGRAM_LEN_MAX (sizeof(struct ip6_hdr) + UINT16_MAX) /* IPv6 does not count its header */
_Static_assert(FRAG_DATAGRAMS_MAX * DATAGRAM_LEN_MAX <= FRAG_BYTES_MAX, "as many datagrams as there may be");

static bool datagram_grow(Datagram *d, uint32_t end) {
        size_t need = d->header_len + (size_t) end;

        if (need <= d->n_allocated)
                return true;
        need = MIN(MAX(need, 2 * d->n_allocated), DATAGRAM_LEN_MAX);

        uint8_t *buf = realloc(d->buf, need);
        if (!buf)
                return false;
        d->buf = buf;
        d->n_allocated = need;
        return true;
}

/* A header as if the datagram had come in one piece. */
static void datagram_mend_header(Datagram *d) {
        if (d->header_len == sizeof(struct iphdr)) {
                struct iphdr h;

                memcpy(&h, d->buf, sizeof(h));
                h.frag_off = 0;
                h.tot_len = htons((uint16_t) (sizeof(h) + d->total));
                h.check = 0;
                h.check = checksum_finish(checksum_add(&h, sizeof(h), 0));
                memcpy(d->buf, &h, sizeof(h));
        } else {
                struct ip6_hdr h;

                memcpy(&h, d->buf, sizeof(h));
                h.ip6_plen = htons((uint16_t) d->total);
                memcpy(d->buf, &h, sizeof(h));
        }
}

/* All pieces are there: @p becomes the whole. */
static void datagram_complete(Fragments *f, Datagram *d, Packet *p) {
        datagram_mend_header(d);
        p->proto = d->next;
        p->ttl = d->ttl;
        p->csum_ok = false;
        p->fragmented = true;
        p->gso_type = VIRTIO_NET_HDR_GSO_NONE;
        p->gso_size = 0;
        p->ip = iovcur_from_buf(&d->iov, d->buf, d->header_len + d->total);
        p->l4 = p->ip;
        (void) iovcur_skip(&p->l4, d->header_len);

        d->state = DATAGRAM_DONE;
        f->n_open--;
        f->any_done = true;
}

static bool piece_is_sane(const Datagram *d, uint32_t off, size_t len, bool more) {
        size_t end = off + len;

        if (len == 0 || (more && len % 8 != 0) || end > UINT16_MAX - (d->header_len == sizeof(struct iphdr) ? sizeof(struct iphdr) : 0))
                return false;
        if (d->total > 0 && (end > d->total || (!more && end != d->total)))
                return false;
        return more || d->n_pieces == 0 || d->pieces[d->n_pieces - 1].end <= end;
}

bool fragments_input(Fragments *f, Packet *p, const FragmentPlace *at) {
        uint32_t len = (uint32_t) iovcur_left(&p->l4), end = at->off + len;
        Datagram *d = datagram_find(f, p, at->id);

        if (!d && !(d = datagram_new(f, p, at->id)))
                return false;
        if (d->state == DATAGRAM_DEAD) {
                netstack_drop(f->stack, DROP_FRAG_MALFORMED);
                return false;
        }
        if (!piece_is_sane(d, at->off, len, at->more)) {
                datagram_kill(f, d, DROP_FRAG_MALFORMED);
                return false;
        }
        if (!datagram_grow(d, end)) {
                datagram_kill(f, d, DROP_FRAG_LIMIT);
                return false;
        }

        int r = datagram_note(d, at->off, end);
        if (r < 0) {
                datagram_kill(f, d, r == -ENOBUFS ? DROP_FRAG_LIMIT : DROP_FRAG_MALFORMED);
                return false;
        }
        if (r == 0) {
                netstack_drop(f->stack, DROP_FRAG_MALFORMED);
                return false;
        }

        IovCur bytes = p->l4;
        (void) iovcur_copy(&bytes, d->buf + d->header_len + at->off, len);
        if (at->off == 0) {
                memcpy(d->buf, at->header, d->header_len);
                if (d->header_len == sizeof(struct ip6_hdr)) /* the fragment header is not kept */
                        d->buf[offsetof(struct ip6_hdr, ip6_nxt)] = at->next;
                d->have_first = true;
                d->next = at->next;
                d->ttl = p->ttl;
        }
        if (!at->more)
                d->total = end;
        if (d->total == 0 || d->received < d->total)
                return false;

        datagram_complete(f, d, p);
        return true;
}

void fragments_done(Fragments *f) {
        if (likely(!f->any_done))
                return;

        for (unsigned i = 0; i < FRAG_DATAGRAMS_MAX; i++)
                if (f->datagrams[i].state == DATAGRAM_DONE)
                        datagram_remove(f, &f->datagrams[i]);
        f->any_done = false;
}
