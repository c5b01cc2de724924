/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TCP, engine against engine: the inbound half of one gateway talks to the outbound half of another over a wire in memory that loses,
 * doubles and reorders frames, with host sockets at both far ends whose buffers come and go. Every byte is checked; at the end no
 * flow, no parked byte and no socket may be left. Then single cases, with segments made by hand.
 */

#include <inttypes.h>
#include <netinet/in.h>

#include "fake-host.h"
#include "netstack/arp.h"
#include "netstack/tcp-private.h"
#include "packet.h"

#define PORT 8080
#define STEP (200 * (usec_t) 1)     /* of the clock, per turn of the wire */
#define TURNS_MAX 2000000

/* ---- two gateways and a wire ---- */

typedef struct Wire {
        FakeHost *a, *b;   /* a: a client comes in by a forward; b: its guest goes out to a server */
        FakeSocket *client, *server;
        GRand *rand;
        unsigned loss, dup, reorder; /* per mille */
        unsigned zero_window;        /* the same: ends that close their window over bytes in flight */
        bool no_wscale, no_ts, no_sack; /* what ends without these options would say */
        uint16_t mss;                /* 0: as they say */
        uint32_t isn[2];             /* of a and b, once seen */
        GQueue a_to_b, b_to_a;       /* FakeFrame */
        unsigned lost;
} Wire;

#define A_MAC FAKE_GATEWAY_MAC
#define B_MAC ((MacAddr){ { 0x52, 0x54, 0x00, 0x00, 0x0b, 0x01 } })

/* b's guest is a's gateway (192.168.127.1); a's guest 192.168.127.130 is somewhere in b's outside */
static void change_b(NetstackConfig *c) {
        c->mac = B_MAC;
        c->subnet = (IpPrefix){ fake_ip("192.168.127.0"), 25 };
        c->gateway = fake_ip("192.168.127.126");
        c->host = fake_ip("192.168.127.125");
}

static uint16_t wire_mtu;
static uint64_t wire_park;     /* 0: the default */
static usec_t wire_later[2]; /* by which the clocks of a and b begin later: an initial sequence number is as good as a time */
static bool wire_ip6; /* the same over IPv6: b's guest is a's client fd00:2::5, a's guest fd00:1::130 is somewhere in b's outside */
static void change_mtu_a(NetstackConfig *c) {
        c->mtu = wire_mtu;
        if (wire_park > 0)
                c->limits.park_bytes = wire_park;
        if (wire_ip6)
                fake_ip6(c);
}
static void change_mtu_b(NetstackConfig *c) {
        change_b(c);
        c->mtu = wire_mtu;
        if (wire_park > 0)
                c->limits.park_bytes = wire_park;
        if (!wire_ip6)
                return;
        g_assert_cmpint(prefix_parse("fd00:2::/64", &c->subnet6), ==, 0);
        c->gateway6 = fake_ip("fd00:2::1");
        c->host6 = fake_ip("fd00:2::fe");
}

static bool is_tcp(const FakeFrame *f) {
        return f->data[12] == 0x86 ? f->data[14 + 6] == IPPROTO_TCP : f->data[13] == 0x00;
}

/* Turns a frame into one of an end that knows less or has less room. Checksums are partial, so nothing else must change. */
static void wire_change(Wire *w, const FakeHost *from, FakeFrame *f) {
        uint8_t *th = f->data + 14 + (f->data[12] == 0x86 ? 40 : 20), *o = th + 20, *end = th + (th[12] >> 4) * 4;

        if ((unsigned) g_rand_int_range(w->rand, 0, 1000) < w->zero_window && !(th[13] & 0x02))
                th[14] = th[15] = 0;
        if (!(th[13] & 0x02))
                return;
        w->isn[from == w->b] = (uint32_t) th[4] << 24 | (uint32_t) th[5] << 16 | (uint32_t) th[6] << 8 | th[7];
        while (o < end && *o != 0) {
                unsigned len = *o == 1 ? 1 : o[1];
                if ((*o == 3 && w->no_wscale) || (*o == 8 && w->no_ts) || (*o == 4 && w->no_sack))
                        memset(o, 1, len);
                else if (*o == 2 && w->mss > 0) {
                        o[2] = (uint8_t) (w->mss >> 8);
                        o[3] = (uint8_t) w->mss;
                }
                o += len;
        }
}

static void wire_collect(Wire *w, FakeHost *from, GQueue *to) {
        FakeFrame *f;
        while ((f = fake_take_frame(from))) {
                if (!is_tcp(f)) { /* ARP and ND are answered by hand below */
                        fake_frame_free(f);
                        continue;
                }
                wire_change(w, from, f);
                unsigned dice = g_rand_int_range(w->rand, 0, 1000);
                if (dice < w->loss) {
                        w->lost++;
                        fake_frame_free(f);
                        continue;
                }
                if ((unsigned) g_rand_int_range(w->rand, 0, 1000) < w->dup) {
                        FakeFrame *twin = g_new0(FakeFrame, 1);
                        twin->hdr = f->hdr;
                        twin->len = f->len;
                        twin->data = g_memdup2(f->data, f->len);
                        g_queue_push_tail(to, twin);
                }
                if ((unsigned) g_rand_int_range(w->rand, 0, 1000) < w->reorder && to->length > 0)
                        g_queue_push_nth(to, f, (int) to->length - 1);
                else
                        g_queue_push_tail(to, f);
        }
}

static void wire_carry(GQueue *q, FakeHost *to) {
        Frame frames[FRAME_BATCH_MAX];
        struct iovec iov[FRAME_BATCH_MAX];
        FakeFrame *held[FRAME_BATCH_MAX];
        unsigned n = 0;
        while (n < 16 && (held[n] = g_queue_pop_head(q))) {
                iov[n] = (struct iovec){ held[n]->data, held[n]->len };
                frames[n] = (Frame){ .hdr = held[n]->hdr, .iov = &iov[n], .n_iov = 1, .len = (uint32_t) held[n]->len };
                n++;
        }
        if (n > 0)
                fake_input_batch(to, frames, n);
        for (unsigned i = 0; i < n; i++)
                fake_frame_free(held[i]);
}

static void wire_turn(Wire *w) {
        fake_run(w->a);
        fake_run(w->b);
        wire_collect(w, w->a, &w->a_to_b);
        wire_collect(w, w->b, &w->b_to_a);
        wire_carry(&w->a_to_b, w->b);
        wire_carry(&w->b_to_a, w->a);
        fake_advance(w->a, STEP);
        fake_advance(w->b, STEP);
}

static uint32_t flows(const FakeHost *h) {
        NetstackStats st;
        netstack_get_stats(h->stack, &st);
        return st.tcp_flows;
}

static uint64_t parked(const FakeHost *h) {
        NetstackStats st;
        netstack_get_stats(h->stack, &st);
        return st.parked_bytes;
}

static void print_flows(const char *side, const FakeHost *h) {
        FlowInfo *list;
        size_t n;
        g_assert_cmpint(netstack_list_flows(h->stack, 10, &list, &n), ==, 0);
        for (size_t i = 0; i < n; i++)
                g_test_message("%s: %s rx %" PRIu64 " tx %" PRIu64 " parked %" PRIu64 " retransmits %u", side, list[i].state, list[i].rx_bytes,
                               list[i].tx_bytes, list[i].parked_bytes, list[i].retransmits);
        free(list);
}

static uint64_t tx_bytes(const FakeHost *h) {
        g_autofree FlowInfo *list = NULL;
        size_t n;
        g_assert_cmpint(netstack_list_flows(h->stack, 1, &list, &n), ==, 0);
        g_assert_cmpuint(n, ==, 1);
        return list[0].tx_bytes;
}

static NetstackStats stats(const FakeHost *h) {
        NetstackStats st;
        netstack_get_stats(h->stack, &st);
        return st;
}

/* @w holds what the wire does to frames, from the first SYN on. */
static void wire_open(Wire *w, uint32_t seed, uint16_t mtu) {
        w->rand = g_rand_new_with_seed(seed);
        w->server = NULL;
        wire_mtu = mtu;
        w->a = fake_host_new(change_mtu_a);
        w->b = fake_host_new(change_mtu_b);
        w->a->now += wire_later[0];
        w->b->now += wire_later[1];
        w->a->port.mtu = w->b->port.mtu = mtu;
        g_queue_init(&w->a_to_b);
        g_queue_init(&w->b_to_a);

        IpAddr guest = fake_ip(wire_ip6 ? "fd00:1::130" : "192.168.127.130"), gateway = fake_ip("192.168.127.1");
        if (wire_ip6)
                arp_learn(w->a->stack->arp, &guest, &B_MAC);
        else
                packet_send(w->a, packet_arp(&B_MAC, 2, &B_MAC, &guest, &A_MAC, &gateway));

        Endpoint local = fake_endpoint("127.0.0.1:6443"), peer = fake_endpoint(wire_ip6 ? "[fd00:2::5]:5555" : "127.0.0.1:5555");
        int fd = fake_listener(w->a, &local);
        ForwardConfig fc = { .id = 1, .proto = IPPROTO_TCP, .local = local, .remote = { guest, PORT } };
        g_assert_cmpint(netstack_forward_add(w->a->stack, &fc, fd), ==, 0);
        w->client = fake_client(w->a, fd, &peer);
        for (unsigned i = 0; i < 200000 && !(w->server = fake_last_socket(w->b, FAKE_TCP)); i++)
                wire_turn(w);
        g_assert_nonnull(w->server);
}

static void wire_close(Wire *w) {
        g_queue_clear_full(&w->a_to_b, (GDestroyNotify) fake_frame_free);
        g_queue_clear_full(&w->b_to_a, (GDestroyNotify) fake_frame_free);
        fake_host_free(w->a);
        fake_host_free(w->b);
        g_rand_free(w->rand);
}

/* ---- streams through it ---- */

typedef struct Stream {
        uint32_t seed;
        size_t total, pushed;
        FakeSocket *from, *to;
        FakeHost *from_host, *to_host;
        bool eof_sent;
} Stream;

static uint8_t pattern(uint32_t seed, size_t i) { /* a ramp whose period is no multiple of anything here */
        return (uint8_t) (seed + i % 251 + i / 65521);
}

static void stream_push(Stream *s, GRand *r) {
        if (s->pushed < s->total && s->from->in->len < 300000) {
                size_t n = MIN(s->total - s->pushed, (size_t) g_rand_int_range(r, 1, 100000));
                uint8_t *buf = g_malloc(n);
                for (size_t i = 0; i < n; i++)
                        buf[i] = pattern(s->seed, s->pushed + i);
                fake_stream_push(s->from_host, s->from, buf, n);
                g_free(buf);
                s->pushed += n;
        }
        if (s->pushed == s->total && !s->eof_sent) {
                fake_stream_eof(s->from_host, s->from);
                s->eof_sent = true;
        }
}

static void stream_check(const Stream *s) {
        g_assert_cmpuint(s->to->out->len, ==, s->total);
        for (size_t i = 0; i < s->total; i++)
                if (s->to->out->data[i] != pattern(s->seed, i))
                        g_error("byte %zu of %zu is 0x%02x, not 0x%02x", i, s->total, s->to->out->data[i], pattern(s->seed, i));
        g_assert_true(s->to->shut || !s->to->open);
}

/* Both directions at once through a bad wire into sockets that take little at a time. */
static void pipe_case(uint32_t seed, uint16_t mtu, size_t up, size_t down, unsigned loss, unsigned dup, unsigned reorder, size_t room) {
        Wire w = {};
        wire_open(&w, seed, mtu);
        w.loss = loss;
        w.dup = dup;
        w.reorder = reorder;
        if (room > 0)
                w.client->send_room = w.server->send_room = room;
        Stream streams[2] = {
                { seed, up, 0, w.client, w.server, w.a, w.b, false },
                { seed + 99, down, 0, w.server, w.client, w.b, w.a, false },
        };
        unsigned turn = 0;
        for (; turn < TURNS_MAX && (flows(w.a) || flows(w.b)); turn++) {
                stream_push(&streams[0], w.rand);
                stream_push(&streams[1], w.rand);
                wire_turn(&w);
                if (room > 0 && turn % 3 == 0) {
                        fake_stream_room(w.b, w.server, (size_t) g_rand_int_range(w.rand, 0, (int) room));
                        fake_stream_room(w.a, w.client, (size_t) g_rand_int_range(w.rand, 0, (int) room));
                }
        }
        if (flows(w.a) || flows(w.b)) {
                print_flows("a", w.a);
                print_flows("b", w.b);
        }
        if (flows(w.a) || flows(w.b))
                g_error("seed %u: flows left: a %u, b %u; up %u of %zu, down %u of %zu", seed, flows(w.a), flows(w.b), w.server->out->len, up,
                        w.client->out->len, down);
        g_test_message("seed %u: %u turns; up %u of %zu, down %u of %zu; client reset %d, server reset %d", seed, turn, w.server->out->len, up,
                       w.client->out->len, down, w.client->was_reset, w.server->was_reset);
        for (unsigned i = 0; i < _DROP_MAX; i++)
                if (fake_drops(w.a, i) || fake_drops(w.b, i))
                        g_test_message("%s: a %" PRIu64 ", b %" PRIu64, drop_to_name(i), fake_drops(w.a, i), fake_drops(w.b, i));
        g_assert_false(w.client->was_reset);
        g_assert_false(w.server->was_reset);
        stream_check(&streams[0]);
        stream_check(&streams[1]);
        g_assert_cmpuint(parked(w.a), ==, 0);
        g_assert_cmpuint(parked(w.b), ==, 0);
        if (loss == 0 && dup == 0 && reorder == 0) { /* a clean wire needs no repair */
                g_assert_cmpuint(stats(w.a).retransmits, ==, 0);
                g_assert_cmpuint(stats(w.b).retransmits, ==, 0);
        }
        wire_close(&w);
}

static void test_clean(void) {
        pipe_case(1, 65520, 5000000, 3000000, 0, 0, 0, 0);
        pipe_case(2, 1500, 3000000, 5000000, 0, 0, 0, 0);
        pipe_case(3, 1500, 0, 0, 0, 0, 0, 0);
        pipe_case(4, 1500, 1, 0, 0, 0, 0, 0);
        pipe_case(5, 576, 0, 700000, 0, 0, 0, 0);
}

static void test_ip6(void) {
        wire_ip6 = true;
        pipe_case(21, 65520, 3000000, 3000000, 0, 0, 0, 0);
        pipe_case(22, 1500, 2000000, 3000000, 0, 0, 0, 0);
        pipe_case(23, 1280, 0, 700000, 0, 0, 0, 0);
        pipe_case(24, 1500, 400000, 400000, 0, 0, 0, 1000);
        for (uint32_t seed = 400; seed < 410; seed++)
                pipe_case(seed, seed & 1 ? 1500 : 65520, 500000, 500000, 10, 10, 50, seed & 2 ? 20000 : 0);
        wire_ip6 = false;
}

static void test_tiny_buffers(void) {
        pipe_case(11, 1500, 400000, 400000, 0, 0, 0, 1000);
        pipe_case(12, 65520, 2000000, 2000000, 0, 0, 0, 30000);
        pipe_case(13, 1500, 20000, 20000, 0, 0, 0, 3);
}

static void test_bad_wire(void) {
        const char *more = g_getenv("TCP_SEEDS"); /* a longer run by hand: TCP_SEEDS=1000 */
        uint32_t n = more ? (uint32_t) g_ascii_strtoull(more, NULL, 10) : 20;
        for (uint32_t seed = 100; seed < 100 + n; seed++)
                pipe_case(seed, seed & 1 ? 1500 : 65520, 1000000, 1000000, 10, 10, 50, 0);
        for (uint32_t seed = 200000; seed < 200000 + n; seed++)
                pipe_case(seed, 1500, 300000, 300000, 100, 50, 200, 0);
        for (uint32_t seed = 300000; seed < 300000 + n; seed++)
                pipe_case(seed, 1500, 300000, 300000, 20, 20, 100, 20000);
}

/* ---- anything at once ---- */

/* Begins again with clocks that put both initial sequence numbers shortly before 2^32. */
static void wire_wrap(Wire *w, uint32_t seed, uint16_t mtu) {
        wire_open(w, seed, mtu);
        for (unsigned i = 0; i < 100; i++)
                wire_turn(w);
        wire_later[0] = 4 * (usec_t) (uint32_t) (-20000 - w->isn[0]);
        wire_later[1] = 4 * (usec_t) (uint32_t) (-10000 - w->isn[1]);
        wire_close(w);
        wire_open(w, seed, mtu);
        for (unsigned i = 0; i < 100; i++)
                wire_turn(w);
        for (unsigned i = 0; i < 2; i++) {
                wire_later[i] = 0;
                g_assert_cmpuint(-w->isn[i], <, 100000);
        }
}

static void stream_check_prefix(const Stream *s) {
        g_assert_cmpuint(s->to->out->len, <=, s->pushed);
        for (size_t i = 0; i < s->to->out->len; i++)
                if (s->to->out->data[i] != pattern(s->seed, i))
                        g_error("byte %zu is 0x%02x, not 0x%02x", i, s->to->out->data[i], pattern(s->seed, i));
}

/* The device's room comes and goes. */
static void device_full_at_times(FakeHost *h, GRand *r) {
        if (h->output_room == UINT_MAX && g_rand_int_range(r, 0, 20) == 0)
                h->output_room = (unsigned) g_rand_int_range(r, 0, 6);
        else if (h->output_room != UINT_MAX && g_rand_int_range(r, 0, 5) == 0) {
                h->output_room = UINT_MAX;
                netstack_output_ready(h->stack, 0);
        }
}

/* A turn in which nothing happens may as well be a long one. */
static void wait_longer(Wire *w, bool aborted) {
        if (w->a_to_b.length > 0 || w->b_to_a.length > 0 || w->a->output_room != UINT_MAX || w->b->output_room != UINT_MAX)
                return;
        usec_t usec = (aborted ? 1000 : 20) * USEC_PER_MSEC;
        fake_advance(w->a, usec);
        fake_advance(w->b, usec);
}

/* Who ends it before its time. */
static void abort_somehow(Wire *w, GRand *r) {
        FakeHost *h = g_rand_boolean(r) ? w->a : w->b;
        FakeSocket *k = h == w->a ? w->client : w->server;

        if (g_rand_boolean(r) && k->open)
                fake_stream_reset(h, k);
        else
                netstack_forget_guest(h->stack, h == w->a ? &B_MAC : &A_MAC);
}

static void chaos_case(uint32_t seed) {
        static const uint16_t mss[] = { 0, 0, 64, 100, 536, 1000, 9000, 30000, 65535 };
        g_autoptr(GRand) r = g_rand_new_with_seed(seed);
        Wire w = {
                .no_wscale = g_rand_boolean(r),
                .no_ts = g_rand_boolean(r),
                .no_sack = g_rand_boolean(r),
                .mss = mss[g_rand_int_range(r, 0, G_N_ELEMENTS(mss))],
        };
        bool few_frames = w.mss > 0 && w.mss < 536;
        int most = few_frames ? 30000 : 400000;
        size_t room = g_rand_boolean(r) ? 0 : (size_t) g_rand_int_range(r, 1, 50000);
        bool full = g_rand_boolean(r), aborts = g_rand_int_range(r, 0, 3) == 0, aborted = false;
        unsigned abort_at = (unsigned) g_rand_int_range(r, 0, 60);

        wire_ip6 = g_rand_int_range(r, 0, 4) == 0;
        wire_park = g_rand_boolean(r) ? 0 : (uint64_t) g_rand_int_range(r, 3000, 100000);
        wire_wrap(&w, seed, g_rand_boolean(r) ? 1500 : 65520);
        if (g_rand_boolean(r)) {
                w.loss = (unsigned) g_rand_int_range(r, 0, 100);
                w.dup = (unsigned) g_rand_int_range(r, 0, 50);
                w.reorder = (unsigned) g_rand_int_range(r, 0, 300);
        }
        w.zero_window = g_rand_boolean(r) ? 0 : (unsigned) g_rand_int_range(r, 1, 100);
        if (room > 0)
                w.client->send_room = w.server->send_room = room;
        w.a->port.big = w.b->port.big = g_rand_boolean(r); /* not true: the other end drops what is that long */
        Stream streams[2] = {
                { seed, (size_t) g_rand_int_range(r, 0, most), 0, w.client, w.server, w.a, w.b, false },
                { seed + 99, (size_t) g_rand_int_range(r, 0, most), 0, w.server, w.client, w.b, w.a, false },
        };
        unsigned turn = 0;
        for (; turn < TURNS_MAX && (flows(w.a) || flows(w.b)); turn++) {
                for (unsigned i = 0; i < 2 && !aborted; i++)
                        if (streams[i].from->open)
                                stream_push(&streams[i], r);
                if (aborts && turn == abort_at) {
                        aborted = true;
                        abort_somehow(&w, r);
                }
                if (full) {
                        device_full_at_times(w.a, r);
                        device_full_at_times(w.b, r);
                }
                wire_turn(&w);
                wait_longer(&w, aborted);
                if (room > 0 && turn % 3 == 0) {
                        fake_stream_room(w.b, w.server, (size_t) g_rand_int_range(r, 0, (int) room));
                        fake_stream_room(w.a, w.client, (size_t) g_rand_int_range(r, 0, (int) room));
                }
        }
        if (flows(w.a) || flows(w.b)) {
                print_flows("a", w.a);
                print_flows("b", w.b);
                g_error("seed %u: flows left: a %u, b %u", seed, flows(w.a), flows(w.b));
        }
        g_test_message("seed %u: %u turns; up %u of %zu, down %u of %zu%s", seed, turn, w.server->out->len, streams[0].total,
                       w.client->out->len, streams[1].total, aborted ? "; aborted" : "");
        for (unsigned i = 0; i < 2; i++) {
                stream_check_prefix(&streams[i]);
                if (!aborted && (w.client->was_reset || w.server->was_reset))
                        g_error("seed %u: reset without a cause after %u turns", seed, turn);
                if (!aborted)
                        stream_check(&streams[i]);
        }
        g_assert_cmpuint(parked(w.a), ==, 0);
        g_assert_cmpuint(parked(w.b), ==, 0);
        wire_close(&w);
        wire_ip6 = false;
        wire_park = 0;
}

/* Guests without options, of any MSS, windows that close, devices that fill up, a small park, aborts, and sequence numbers that wrap:
 * what arrives is always the beginning of what was sent, all of it when nobody aborts, and nothing is left in the end. */
static void test_chaos(void) {
        const char *more = g_getenv("TCP_SEEDS"), *first = g_getenv("TCP_FIRST_SEED");
        uint32_t n = more ? (uint32_t) g_ascii_strtoull(more, NULL, 10) : 100;
        uint32_t seed = first ? (uint32_t) g_ascii_strtoull(first, NULL, 10) : 1000;
        for (; n > 0; n--, seed++) {
                chaos_case(seed);
        }
}

/* ---- a guest by hand ---- */

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

typedef struct Guest {
        FakeHost *h;
        Packet4 p;
        uint32_t seq, ack;
        FakeSocket *socket;
} Guest;

static void guest_send(Guest *g, uint8_t flags, uint16_t window, const void *payload, size_t len) {
        packet_send(g->h, packet_tcp(&g->p, g->seq, g->ack, flags, window, NULL, 0, payload, len));
        fake_run(g->h);
}

static Parsed guest_take(Guest *g) {
        g_autoptr(FakeFrame) f = NULL;
        return packet_take(g->h, &f);
}

/* SYN, SYN|ACK, ACK. No options: MSS 536, no scaling. */
static Guest guest_connect(FakeHost *h, const char *dst, uint16_t port) {
        Guest g = { .h = h, .p = packet4(dst, port), .seq = 1000 };
        guest_send(&g, SYN, 8000, NULL, 0);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.tcp_flags, ==, SYN | ACK);
        g_assert_cmpuint(r.ack, ==, 1001);
        g.seq = 1001;
        g.ack = r.seq + 1;
        guest_send(&g, ACK, 8000, NULL, 0);
        g.socket = fake_last_socket(h, FAKE_TCP);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        return g;
}

static void test_refused(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        h->connect_result = -ECONNREFUSED;
        Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 77 };
        guest_send(&g, SYN, 8000, NULL, 0);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.tcp_flags, ==, RST | ACK);
        g_assert_cmpuint(r.ack, ==, 78);
        g_assert_cmpuint(flows(h), ==, 0);
}

static void test_unreachable(void) {
        static const struct {
                int error;
                uint8_t code;
        } cases[] = { { -EHOSTUNREACH, 1 }, { -ENETUNREACH, 0 }, { -EACCES, 13 } };
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(FakeHost) h = fake_host_new(NULL);
                h->connect_result = cases[i].error;
                Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 77 };
                guest_send(&g, SYN, 8000, NULL, 0);
                packet_expect_icmp(h, 3, cases[i].code, "192.168.127.1", "10.1.2.3", IPPROTO_TCP);
                g_assert_cmpuint(flows(h), ==, 0);

                /* the quote: guests believe only an error that has the sequence number of their SYN */
                static const uint8_t seq[] = { 0, 0, 0, 77 };
                g_autoptr(FakeFrame) f = NULL;
                guest_send(&g, SYN, 8000, NULL, 0);
                Parsed r = packet_take(h, &f);
                g_assert_cmpuint(r.payload_len, ==, 28);
                g_assert_cmpmem(r.payload + 24, 4, seq, 4);
                g_assert_cmpuint(flows(h), ==, 0);
        }
}

/* A SYN with a short hop limit: the host's has one hop less, and the router it dies at speaks to the guest. */
static void test_hop_limit(void) {
        static const struct {
                const char *dst, *router;
                uint8_t type, code, to_type;
        } cases[] = { { "10.1.2.3", "10.9.9.1", 11, 0, 11 }, { "2001:db8::3", "2001:db8::1", 3, 0, 3 },
                      { "10.1.2.3", "10.9.9.1", 3, 1, 3 } };
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
                g_autoptr(FakeFrame) frame = NULL;
                h->connect_result = FAKE_CONNECT_NEVER;
                Guest g = { .h = h, .p = packet4(cases[i].dst, 80), .seq = 77 };
                g.p.ttl = 4;
                guest_send(&g, SYN, 8000, NULL, 0);
                FakeSocket *k = fake_last_socket(h, FAKE_TCP);
                g_assert_cmpuint(k->how.ttl, ==, 3);

                HostError e = { .error = EHOSTUNREACH, .icmp_type = cases[i].type, .icmp_code = cases[i].code, .payload_len = 20 };
                g_assert_cmpint(ip_parse(cases[i].router, &e.offender), ==, 0);
                memset(e.payload, 0xee, sizeof(e.payload)); /* the host's own header */
                fake_dgram_push_error(h, k, &e);
                fake_connect_done(h, k, -EHOSTUNREACH);
                fake_run(h);
                Parsed r = packet_take(h, &frame);
                g_assert_true(ip_equal(&r.src, &e.offender));
                g_assert_cmpuint(r.icmp_type, ==, cases[i].to_type);
                bool v4 = ip_is_v4(&r.src);
                static const uint8_t head[] = { 40000 >> 8, 40000 & 0xff, 0, 80, 0, 0, 0, 77 };
                g_assert_cmpuint(r.payload_len, ==, (v4 ? 20 : 40) + sizeof(head));
                g_assert_cmpmem(r.payload + (v4 ? 20 : 40), sizeof(head), head, sizeof(head));
                g_assert_cmpuint(flows(h), ==, 0);
        }

        /* a usual one is the host's affair, and so is one to the host itself */
        static const struct {
                const char *dst;
                uint8_t ttl, expected;
        } usual[] = { { "10.1.2.3", 64, 0 }, { "10.1.2.3", 255, 0 }, { "10.1.2.3", TCP_HOPS_MAX + 1, 0 },
                      { "10.1.2.3", TCP_HOPS_MAX, TCP_HOPS_MAX - 1 }, { "192.168.127.254", 3, 0 } };
        for (size_t i = 0; i < G_N_ELEMENTS(usual); i++) {
                g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
                Guest g = { .h = h, .p = packet4(usual[i].dst, 80), .seq = 77 };
                g.p.ttl = usual[i].ttl;
                guest_send(&g, SYN, 8000, NULL, 0);
                g_assert_cmpuint(fake_last_socket(h, FAKE_TCP)->how.ttl, ==, usual[i].expected);
        }
}

/* DSCP of the guest's packets is that of the host's, from the SYN on; what ECN has in the same byte is not its business. */
static void test_mark(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 1000 };
        g.p.tos = 0x2d;
        guest_send(&g, SYN, 8000, NULL, 0);
        fake_run(h);
        FakeSocket *k = fake_last_socket(h, FAKE_TCP);
        g_assert_cmpuint(k->how.tos, ==, 0x2c);
        Parsed r = guest_take(&g);
        g.seq++;
        g.ack = r.seq + 1;
        guest_send(&g, ACK, 8000, "x", 1);
        g.seq++;
        g_assert_cmpuint(k->how.tos, ==, 0x2c);
        g.p.tos = 0x48;
        guest_send(&g, ACK, 8000, NULL, 0); /* no payload: not yet */
        g_assert_cmpuint(k->how.tos, ==, 0x2c);
        guest_send(&g, ACK, 8000, "y", 1);
        g_assert_cmpuint(k->how.tos, ==, 0x48);
}

/* Takes the one frame there is and says whether the guest's kernel answers it. */
static bool guest_take_asks(Guest *g, uint8_t flags) {
        g_autoptr(FakeFrame) f = NULL;
        Parsed r = packet_take(g->h, &f);
        g_assert_cmpuint(r.tcp_flags, ==, flags);
        g_assert_cmpuint(fake_n_frames(g->h), ==, 0);
        g->ack = r.seq + !!(flags & (SYN | FIN)) + (uint32_t) r.payload_len;
        return f->asks;
}

/* The host says at once that it is connected: so is the guest told, by no event. Of what the guest is sent, some has an answer of its kernel. */
static void test_connected_at_once(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        h->connect_result = FAKE_CONNECT_AT_ONCE;
        Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 1000 };
        packet_send(h, packet_tcp(&g.p, g.seq, 0, SYN, 8000, NULL, 0, NULL, 0));
        g_assert_true(guest_take_asks(&g, SYN | ACK));
        g.socket = fake_last_socket(h, FAKE_TCP);
        g_assert_cmpuint(g.socket->pending, ==, 0);
        g.seq++;
        guest_send(&g, ACK | PSH, 8000, "q", 1);
        g.seq++;
        g_assert_cmpmem(g.socket->out->data, g.socket->out->len, "q", 1);
        fake_stream_push(h, g.socket, "a", 1);
        fake_run(h);
        g_assert_true(guest_take_asks(&g, ACK | PSH));
        fake_stream_push(h, g.socket, "b", 1);
        fake_run(h);
        g_assert_false(guest_take_asks(&g, ACK | PSH));
        guest_send(&g, FIN | ACK, 8000, NULL, 0);
        g.seq++;
        g_assert_true(g.socket->shut);
        g_assert_cmpuint(g.socket->in->len, ==, 0); /* so that the host's answer to that does not look like bytes */
        fake_stream_eof(h, g.socket);
        fake_run(h);
        g_assert_true(guest_take_asks(&g, FIN | ACK));
        guest_send(&g, ACK, 8000, NULL, 0);
        g_assert_cmpuint(flows(h), ==, 0);

        h->connect_result = 0;
        g = guest_connect(h, "10.1.2.3", 81);
        fake_stream_eof(h, g.socket); /* the host is the first to end it: the guest may take its time */
        fake_run(h);
        g_assert_false(guest_take_asks(&g, FIN | ACK));
        guest_send(&g, RST | ACK, 8000, NULL, 0);
}

static void test_black_hole(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        h->connect_result = FAKE_CONNECT_NEVER;
        Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 77 };
        guest_send(&g, SYN, 8000, NULL, 0);
        guest_send(&g, SYN, 8000, NULL, 0);
        g_assert_cmpuint(fake_n_frames(h), ==, 0); /* silence is silence */
        g_assert_cmpuint(flows(h), ==, 1);
        fake_advance(h, 140 * USEC_PER_SEC);
        g_assert_cmpuint(flows(h), ==, 0);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

/* Ten minutes in which nothing ran, at once, as over a suspend: every connection lives, what was due is done once, and then it is
 * quiet again. */
static void test_time_jumps(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest idle = guest_connect(h, "10.1.2.3", 80), busy = { .h = h, .p = packet4("10.1.2.3", 81), .seq = 1000 };
        busy.p.sport = 40001;
        guest_send(&busy, SYN, 8000, NULL, 0);
        busy.seq++;
        busy.ack = guest_take(&busy).seq + 1;
        guest_send(&busy, ACK, 8000, NULL, 0);
        busy.socket = fake_last_socket(h, FAKE_TCP);
        fake_stream_push(h, busy.socket, "0123456789", 10); /* under way when the time stops */
        fake_run(h);
        g_assert_cmpuint(guest_take(&busy).payload_len, ==, 10);

        h->now += 10 * USEC_PER_MINUTE;
        netstack_run_timers(h->stack);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        Parsed r = guest_take(&busy);
        g_assert_cmpuint(r.payload_len, ==, 10);
        g_assert_cmpuint(r.seq, ==, busy.ack);
        g_assert_cmpuint(netstack_next_timer(h->stack), >=, h->now + 100 * USEC_PER_MSEC); /* no circles */
        g_assert_cmpuint(flows(h), ==, 2);

        busy.ack += 10;
        guest_send(&busy, ACK, 8000, "ok", 2);
        guest_send(&idle, ACK, 8000, "ok", 2);
        fake_run(h);
        g_assert_cmpuint(busy.socket->out->len, ==, 2);
        g_assert_cmpuint(idle.socket->out->len, ==, 2);
        fake_stream_push(h, busy.socket, "more", 4);
        fake_advance(h, USEC_PER_SEC);
        g_assert_cmpuint(flows(h), ==, 2);
        fake_clear_frames(h);
}

static void few_half_open(NetstackConfig *c) {
        c->limits.half_open = 8;
}

static void test_half_open_limit(void) {
        g_autoptr(FakeHost) h = fake_host_new(few_half_open);
        h->connect_result = FAKE_CONNECT_NEVER;
        for (uint16_t i = 0; i < 1000; i++) {
                Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 77 };
                g.p.sport = (uint16_t) (20000 + i);
                guest_send(&g, SYN, 8000, NULL, 0);
        }
        g_assert_cmpuint(stats(h).half_open, ==, 8);
        g_assert_cmpuint(flows(h), ==, 8);
        g_assert_cmpuint(fake_drops(h, DROP_TCP_SYN_LIMIT), ==, 992);
        h->connect_result = 0; /* and the next one that can be served is */
        Guest g = guest_connect(h, "10.9.9.9", 443);
        g_assert_cmpuint(stats(h).half_open, ==, 7);
        guest_send(&g, RST, 0, NULL, 0);
        g_assert_true(g.socket->was_reset);
}

static void few_flows(NetstackConfig *c) {
        c->limits.tcp_flows = 3;
}

static void test_flow_limit(void) {
        g_autoptr(FakeHost) h = fake_host_new(few_flows);
        for (uint16_t i = 0; i < 3; i++) {
                Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 77 };
                g.p.sport = (uint16_t) (20000 + i);
                guest_send(&g, SYN, 8000, NULL, 0);
                g_assert_cmpuint(guest_take(&g).tcp_flags, ==, SYN | ACK);
        }
        Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 77 };
        guest_send(&g, SYN, 8000, NULL, 0);
        g_assert_cmpuint(fake_drops(h, DROP_TCP_FLOW_LIMIT), ==, 1);
        g_assert_cmpuint(flows(h), ==, 3);
}

/* Addresses no socket may ever be opened for. */
static void test_forbidden(void) {
        static const char *const addresses[] = { "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "224.0.0.1", "240.0.0.1", "255.255.255.255",
                                                 "192.168.127.77" };
        for (size_t i = 0; i < G_N_ELEMENTS(addresses); i++) {
                g_autoptr(FakeHost) h = fake_host_new(NULL);
                Guest g = { .h = h, .p = packet4(addresses[i], 80), .seq = 77 };
                guest_send(&g, SYN, 8000, NULL, 0);
                g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 0);
                g_assert_cmpuint(flows(h), ==, 0);
        }
}

static void no_loopback(NetstackConfig *c) {
        c->host_loopback = false;
}

static void test_host_loopback(void) {
        g_autoptr(FakeHost) off = fake_host_new(no_loopback);
        Guest g = { .h = off, .p = packet4("192.168.127.254", 80), .seq = 77 };
        guest_send(&g, SYN, 8000, NULL, 0);
        g_assert_cmpuint(guest_take(&g).tcp_flags, ==, RST | ACK);
        g_assert_cmpuint(off->n_opened[FAKE_TCP], ==, 0);

        g_autoptr(FakeHost) on = fake_host_new(NULL);
        g = guest_connect(on, "192.168.127.254", 80);
        Endpoint loopback = fake_endpoint("127.0.0.1:80");
        g_assert_true(endpoint_equal(&g.socket->peer, &loopback));
        guest_send(&g, RST, 0, NULL, 0);

        guest_send(&(Guest){ .h = on, .p = packet4("192.168.127.1", 80), .seq = 5 }, SYN, 8000, NULL, 0);
        g_assert_cmpuint(guest_take(&g).tcp_flags, ==, RST | ACK); /* the gateway itself serves no web pages */
        g_assert_cmpuint(on->n_opened[FAKE_TCP], ==, 1);
}

/* Ports of the gateway that are served outside: taken, refused when nobody has room, and gone when taken back. */
static void test_service(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Netstack *s = h->stack;
        Guest g = { .h = h, .p = packet4("192.168.127.1", 80), .seq = 77 };

        g_assert_cmpint(netstack_add_service(s, 80), ==, 0);
        g_assert_cmpint(netstack_add_service(s, 80), ==, -EEXIST);
        g_assert_cmpint(netstack_add_service(s, 53), ==, -EINVAL);
        g_assert_cmpint(netstack_add_service(s, 0), ==, -EINVAL);
        for (uint16_t port = 1000; port < 1000 + NETSTACK_SERVICES_MAX - 1; port++)
                g_assert_cmpint(netstack_add_service(s, port), ==, 0);
        g_assert_cmpint(netstack_add_service(s, 2000), ==, -ENOBUFS);

        h->open_error = -ECONNREFUSED;
        guest_send(&g, SYN, 8000, NULL, 0);
        g_assert_cmpuint(guest_take(&g).tcp_flags, ==, RST | ACK);
        h->open_error = 0;

        g = (Guest){ .h = h, .p = packet4("192.168.127.1", 80), .seq = 177 };
        g.p.sport = 40001;
        guest_send(&g, SYN, 8000, NULL, 0);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.tcp_flags, ==, SYN | ACK);
        g.seq++;
        g.ack = r.seq + 1;
        guest_send(&g, ACK | PSH, 8000, (const uint8_t *) "hello", 5);
        FakeSocket *service = fake_last_socket(h, FAKE_PAIR);
        g_assert_cmpmem(service->in->data, service->in->len, "hello", 5);
        g.seq += 5;
        guest_send(&g, RST, 0, NULL, 0);
        g_assert_cmpuint(flows(h), ==, 0);
        fake_host_ops.close(h, service->fd, false);

        g_assert_cmpint(netstack_remove_service(s, 80), ==, 0);
        g_assert_cmpint(netstack_remove_service(s, 80), ==, -ENOENT);
        g_assert_cmpint(netstack_remove_service(s, 0), ==, -ENOENT);
        g = (Guest){ .h = h, .p = packet4("192.168.127.1", 80), .seq = 277 };
        g.p.sport = 40002;
        while (fake_n_frames(h) > 0)
                (void) guest_take(&g);
        guest_send(&g, SYN, 8000, NULL, 0);
        g_assert_cmpuint(guest_take(&g).tcp_flags, ==, RST | ACK);
}

/* What a short send leaves is acknowledged, parked, and shrinks the window; nothing is lost. */
static void test_parking(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        g.socket->send_room = 100;
        uint8_t data[500];
        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) i;
        guest_send(&g, ACK | PSH, 8000, data, sizeof(data));
        g.seq += sizeof(data);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.ack, ==, g.seq);
        g_assert_cmpuint(g.socket->out->len, ==, 100);
        g_assert_cmpuint(parked(h), ==, 400);
        uint32_t edge = r.ack + r.tcp_window;
        guest_send(&g, ACK | PSH, 8000, data, sizeof(data));
        g.seq += sizeof(data);
        r = guest_take(&g);
        g_assert_cmpuint(r.ack, ==, g.seq);
        g_assert_cmpuint(r.ack + r.tcp_window, ==, edge); /* the edge stays while nothing is taken */
        g_assert_cmpuint(parked(h), ==, 900);
        fake_stream_room(h, g.socket, 10000);
        fake_run(h);
        g_assert_cmpuint(parked(h), ==, 0);
        g_assert_cmpuint(g.socket->out->len, ==, 1000);
        g_assert_cmpmem(g.socket->out->data + 500, 500, data, 500);
        guest_send(&g, RST, 0, NULL, 0);
}

static void small_park(NetstackConfig *c) {
        c->limits.park_bytes = 700;
}

/* Beyond the park's limit bytes are not acknowledged: the guest still has them. */
static void test_park_limit(void) {
        g_autoptr(FakeHost) h = fake_host_new(small_park);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        g.socket->send_room = 0;
        uint8_t data[500] = {};
        guest_send(&g, ACK, 8000, data, sizeof(data));
        g.seq += sizeof(data);
        g_assert_cmpuint(guest_take(&g).ack, ==, g.seq);
        guest_send(&g, ACK, 8000, data, sizeof(data));
        g_assert_cmpuint(guest_take(&g).ack, ==, g.seq);
        g_assert_cmpuint(fake_drops(h, DROP_TCP_PARK_LIMIT), ==, 1);
        g_assert_cmpuint(parked(h), ==, 500);
        fake_stream_room(h, g.socket, 10000);
        fake_run(h);
        fake_clear_frames(h);
        guest_send(&g, ACK, 8000, data, sizeof(data));
        g.seq += sizeof(data);
        fake_advance(h, 11 * USEC_PER_MSEC); /* a small request's ACK waits this long for the answer to carry it */
        g_assert_cmpuint(guest_take(&g).ack, ==, g.seq);
        g_assert_cmpuint(g.socket->out->len, ==, 1000);
        guest_send(&g, RST, 0, NULL, 0);
        g_assert_cmpuint(parked(h), ==, 0);
}

/* The ACK of a small request rides on a quick answer, and goes alone when there is none. */
static void test_delayed_ack(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        for (unsigned i = 0; i < 3; i++) {
                guest_send(&g, ACK | PSH, 8000, "q", 1);
                g.seq++;
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
                fake_stream_push(h, g.socket, "a", 1);
                fake_run(h);
                Parsed r = guest_take(&g);
                g_assert_cmpuint(r.ack, ==, g.seq);
                g_assert_cmpuint(r.payload_len, ==, 1);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
                g.ack++;
        }
        guest_send(&g, ACK | PSH, 8000, "q", 1);
        g.seq++;
        fake_advance(h, 11 * USEC_PER_MSEC);
        g_assert_cmpuint(guest_take(&g).ack, ==, g.seq);
        guest_send(&g, ACK | PSH, 8000, "q", 1); /* slow to answer: from now on at once */
        g.seq++;
        g_assert_cmpuint(guest_take(&g).ack, ==, g.seq);
        guest_send(&g, RST, 0, NULL, 0);
}

/* The far end writes @len bytes, and the guest takes and acknowledges all of them. */
static void pass_down(Guest *g, size_t len) {
        g_autofree uint8_t *data = g_malloc0(len);
        fake_stream_push(g->h, g->socket, data, len);
        fake_run(g->h);
        for (size_t got = 0; got < len;) {
                Parsed r = guest_take(g);
                got += r.payload_len;
                g->ack += (uint32_t) r.payload_len;
                if (fake_n_frames(g->h) == 0)
                        guest_send(g, ACK, 65535, NULL, 0);
        }
        g_assert_cmpuint(fake_n_frames(g->h), ==, 0);
}

/* @n small requests, each answered before its ACK is due. */
static void converse(Guest *g, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                guest_send(g, ACK | PSH, 65535, "q", 1);
                g->seq++;
                g_assert_cmpuint(fake_n_frames(g->h), ==, 0);
                fake_stream_push(g->h, g->socket, "a", 1);
                fake_run(g->h);
                Parsed r = guest_take(g);
                g_assert_cmpuint(r.ack, ==, g->seq);
                g_assert_cmpuint(r.payload_len, ==, 1);
                g->ack++;
        }
}

/* A request without an answer: is its ACK there after @usec? */
static bool acked_after(Guest *g, usec_t usec) {
        guest_send(g, ACK | PSH, 65535, "q", 1);
        g->seq++;
        g_assert_cmpuint(fake_n_frames(g->h), ==, 0);
        fake_advance(g->h, usec);
        if (fake_n_frames(g->h) == 0)
                return false;
        g_assert_cmpuint(guest_take(g).ack, ==, g->seq);
        return true;
}

/* What was due is answered, and the next request, whose ACK does not wait, at once. */
static void be_quick_again(Guest *g) {
        guest_send(g, ACK | PSH, 65535, "q", 1);
        g->seq++;
        g_assert_cmpuint(guest_take(g).ack, ==, g->seq);
        fake_stream_push(g->h, g->socket, "aa", 2);
        fake_run(g->h);
        g_assert_cmpuint(guest_take(g).payload_len, ==, 2);
        g->ack += 2;
}

/* A host that has answered TCP_STEADY requests in a row is given longer, but not a single one less, ... */
static void test_steady_ack(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        converse(&g, TCP_STEADY - 1);
        g_assert_true(acked_after(&g, TCP_DELAYED_ACK));

        be_quick_again(&g);
        converse(&g, TCP_STEADY);
        g_assert_false(acked_after(&g, TCP_STEADY_DELAY - 1));
        fake_advance(h, TCP_STEADY_TICK);
        g_assert_cmpuint(guest_take(&g).ack, ==, g.seq);

        be_quick_again(&g); /* it was not once: from the beginning */
        g_assert_true(acked_after(&g, TCP_DELAYED_ACK));
        guest_send(&g, RST, 0, NULL, 0);
}

/* ... and so is what was acknowledged, unless more than answers came. */
static void test_steady_discard(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        converse(&g, TCP_STEADY + 1);
        fake_advance(h, TCP_DISCARD_DELAY);
        g_assert_cmpuint(g.socket->n_discarded, ==, TCP_STEADY); /* the last answer is not acknowledged */
        converse(&g, 2);
        fake_advance(h, TCP_STEADY_DELAY - 1);
        g_assert_cmpuint(g.socket->n_discarded, ==, TCP_STEADY);
        fake_advance(h, TCP_STEADY_TICK);
        g_assert_cmpuint(g.socket->n_discarded, ==, TCP_STEADY + 2);

        pass_down(&g, TCP_BULK_MIN);
        uint64_t before = g.socket->n_discarded;
        converse(&g, 2);
        fake_advance(h, TCP_DISCARD_DELAY);
        g_assert_cmpuint(g.socket->n_discarded, >, before);
        guest_send(&g, RST, 0, NULL, 0);
}

/* Each segment out of order is answered at once; closing the hole delivers all. */
static void test_out_of_order(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        uint8_t data[300];
        memset(data, 'x', 300);
        uint32_t base = g.seq;
        for (unsigned i = 1; i <= 3; i++) {
                g.seq = base + i * 100;
                guest_send(&g, ACK, 8000, data, 100);
                Parsed r = guest_take(&g);
                g_assert_cmpuint(r.ack, ==, base);
        }
        g_assert_cmpuint(g.socket->out->len, ==, 0);
        g.seq = base;
        guest_send(&g, ACK, 8000, data, 100);
        g_assert_cmpuint(guest_take(&g).ack, ==, base + 400);
        g_assert_cmpuint(g.socket->out->len, ==, 400);
        g_assert_cmpuint(parked(h), ==, 0);
        g.seq = base + 400;
        guest_send(&g, RST, 0, NULL, 0);
}

/* A closed window is probed, and what waits goes out when it opens. */
static void test_zero_window(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        guest_send(&g, ACK, 0, NULL, 0);
        fake_stream_push(h, g.socket, "hello", 5);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        fake_advance(h, 3 * USEC_PER_SEC);
        g_assert_cmpuint(fake_n_frames(h), >=, 1);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.payload_len, ==, 0);
        g_assert_cmpuint(r.seq, ==, g.ack - 1);
        fake_clear_frames(h);
        for (unsigned i = 0; i < 10; i++) { /* patient for as long as the guest answers */
                fake_advance(h, 60 * USEC_PER_SEC);
                g_assert_cmpuint(fake_n_frames(h), >=, 1);
                fake_clear_frames(h);
                guest_send(&g, ACK, 0, NULL, 0);
                fake_clear_frames(h);
        }
        guest_send(&g, ACK, 8000, NULL, 0);
        r = guest_take(&g);
        g_assert_cmpuint(r.payload_len, ==, 5);
        g.ack += 5;
        guest_send(&g, ACK, 8000, NULL, 0);
        guest_send(&g, RST, 8000, NULL, 0);
        g_assert_cmpuint(flows(h), ==, 0);
}

/* What the guest has acknowledged leaves the host's queue: much of it at once, and what came behind it; a few bytes a moment later. If
 * they stayed, they could hold the buffer that keeps the sender's window shut. */
static void test_discard(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        pass_down(&g, 40000);
        g_assert_cmpuint(g.socket->n_discarded, ==, 40000);
        pass_down(&g, 4700);
        g_assert_cmpuint(g.socket->n_discarded, ==, 44700);
        pass_down(&g, 100);
        pass_down(&g, 100);
        g_assert_cmpuint(g.socket->n_discarded, ==, 44700);
        fake_advance(h, 30 * USEC_PER_MSEC);
        g_assert_cmpuint(g.socket->n_discarded, ==, 44900);
        guest_send(&g, RST, 8000, NULL, 0);
        g_assert_cmpuint(flows(h), ==, 0);
}

/* An ACK at @ack with one SACK block, relative to the first byte. */
static void guest_sack(Guest *g, uint32_t first, uint32_t ack, uint32_t start, uint32_t end) {
        uint32_t edges[] = { htonl(first + start), htonl(first + end) };
        uint8_t options[12] = { 1, 1, 5, 10 };
        memcpy(options + 4, edges, sizeof(edges));
        packet_send(g->h, packet_tcp(&g->p, g->seq, first + ack, ACK, 65535, options, sizeof(options), NULL, 0));
        fake_run(g->h);
}

/* What is sent again is what the guest lacks, and no more: two holes of one segment each, then an ACK that jumps over what came late. */
static void test_frugal_repair(void) {
        enum { MSS = 1000, N = 20 };
        static const uint8_t syn_options[] = { 2, 4, MSS >> 8, MSS & 0xff, 1, 1, 4, 2 };
        static uint8_t data[N * MSS];
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 1000 };
        packet_send(h, packet_tcp(&g.p, g.seq, 0, SYN, 65535, syn_options, sizeof(syn_options), NULL, 0));
        fake_run(h);
        Parsed r = guest_take(&g);
        uint32_t first = r.seq + 1;
        g.seq++;
        g.ack = first;
        guest_send(&g, ACK, 65535, NULL, 0);
        g.socket = fake_last_socket(h, FAKE_TCP);
        fake_stream_push(h, g.socket, data, sizeof(data));
        fake_run(h);
        r = guest_take(&g);
        g_assert_cmpuint(r.payload_len, ==, sizeof(data));

        /* segments 0 and 10 are missing; the holes are known when 0..9 and 11..19 are reported */
        guest_sack(&g, first, 0, 1 * MSS, 2 * MSS);
        guest_sack(&g, first, 0, 1 * MSS, 10 * MSS);
        r = guest_take(&g);
        g_assert_cmpuint(r.seq, ==, first);
        g_assert_cmpuint(r.payload_len, ==, MSS);
        guest_sack(&g, first, 0, 11 * MSS, 12 * MSS);
        r = guest_take(&g);
        g_assert_cmpuint(r.seq, ==, first + 10 * MSS);
        g_assert_cmpuint(r.payload_len, ==, MSS);
        guest_sack(&g, first, 0, 11 * MSS, 15 * MSS);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        /* both have come; of 15..19 nothing is said yet, so they are on their way */
        g.ack = first + 15 * MSS;
        guest_send(&g, ACK, 65535, NULL, 0);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(stats(h).retransmits, ==, 2);
        g.ack = first + N * MSS;
        guest_send(&g, ACK, 65535, NULL, 0);
        g_assert_cmpuint(tx_bytes(h), ==, sizeof(data)); /* what went again counts once */
        guest_send(&g, RST, 65535, NULL, 0);
        g_assert_cmpuint(flows(h), ==, 0);
}

/* A guest that vanished is given up, and the far end sees a reset. */
static void test_vanished(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        fake_stream_push(h, g.socket, "hello", 5);
        fake_run(h);
        fake_advance(h, 5 * USEC_PER_MINUTE);
        g_assert_cmpuint(flows(h), ==, 0);
        g_assert_true(g.socket->was_reset);
        fake_clear_frames(h);
}

/* A client from outside, for a guest that is not there: reset when ARP has asked in vain, long before the SYN is given up. */
static ForwardStats forward_stats(const Wire *w) {
        ForwardStats st;
        g_assert_cmpint(netstack_forward_stats(w->a->stack, 1, &st), ==, 0);
        return st;
}

/* A forward's bytes are counted while its connections live, and once. */
static void test_forward_stats(void) {
        Wire w = {};
        wire_open(&w, 11, 1500);
        fake_stream_push(w.a, w.client, "a question", 10);
        fake_stream_push(w.b, w.server, "answer", 6);
        for (unsigned i = 0; i < 200; i++)
                wire_turn(&w);
        ForwardStats open = forward_stats(&w);
        g_assert_cmpuint(open.connections, ==, 1);
        g_assert_cmpuint(open.active, ==, 1);
        g_assert_cmpuint(open.tx_bytes, ==, 10);
        g_assert_cmpuint(open.rx_bytes, ==, 6);

        fake_stream_eof(w.a, w.client);
        fake_stream_eof(w.b, w.server);
        for (unsigned i = 0; i < TURNS_MAX && (flows(w.a) || flows(w.b)); i++)
                wire_turn(&w);
        ForwardStats closed = forward_stats(&w);
        g_assert_cmpuint(closed.active, ==, 0);
        g_assert_cmpuint(closed.tx_bytes, ==, 10);
        g_assert_cmpuint(closed.rx_bytes, ==, 6);
        wire_close(&w);
}

/* The forward goes, its connection lives on; what has taken the forward's place is not charged for it. */
static void test_forward_stats_gone(void) {
        Wire w = {};
        wire_open(&w, 12, 1500);
        Endpoint local = fake_endpoint("127.0.0.1:7443");
        ForwardConfig other = { .id = 1000, .proto = IPPROTO_TCP, .local = local, .remote = fake_endpoint("192.168.127.130:9") };
        ForwardStats st;
        g_assert_cmpint(netstack_forward_remove(w.a->stack, 1), ==, 0);
        fake_stream_push(w.a, w.client, "more", 4);
        for (unsigned i = 0; i < 200; i++)
                wire_turn(&w);
        g_assert_cmpint(netstack_forward_add(w.a->stack, &other, fake_listener(w.a, &local)), ==, 0);
        fake_stream_push(w.a, w.client, "more", 4);
        for (unsigned i = 0; i < 200; i++)
                wire_turn(&w);
        g_assert_cmpuint(w.server->out->len, ==, 8);
        g_assert_cmpint(netstack_forward_stats(w.a->stack, 1000, &st), ==, 0);
        g_assert_cmpuint(st.tx_bytes, ==, 0);
        wire_close(&w);
}

static void test_missing_guest(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Endpoint local = fake_endpoint("127.0.0.1:6443"), peer = fake_endpoint("127.0.0.1:5555");
        int fd = fake_listener(h, &local);
        ForwardConfig fc = { .id = 1, .proto = IPPROTO_TCP, .local = local, .remote = fake_endpoint("192.168.127.99:80") };
        g_assert_cmpint(netstack_forward_add(h->stack, &fc, fd), ==, 0);
        FakeSocket *client = fake_client(h, fd, &peer);
        fake_run(h);
        fake_advance(h, 2 * USEC_PER_SEC);
        g_assert_cmpuint(flows(h), ==, 1); /* it may still answer */
        g_assert_false(client->was_reset);
        fake_advance(h, 2 * USEC_PER_SEC);
        g_assert_cmpuint(flows(h), ==, 0);
        g_assert_true(client->was_reset);
        fake_clear_frames(h);
}

/* An idle connection lives as long as the guest answers keepalives, and no longer. */
static void test_keepalive(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        for (unsigned i = 0; i < 6; i++) {
                fake_advance(h, 15 * USEC_PER_MINUTE + USEC_PER_SEC);
                Parsed r = guest_take(&g);
                g_assert_cmpuint(r.seq, ==, g.ack - 1);
                fake_clear_frames(h);
                guest_send(&g, ACK, 8000, NULL, 0);
                g_assert_cmpuint(flows(h), ==, 1);
        }
        fake_advance(h, USEC_PER_MINUTE * 25);
        g_assert_cmpuint(flows(h), ==, 0);
        fake_clear_frames(h);
}

static void test_reset_from_host(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        fake_stream_reset(h, g.socket);
        fake_run(h);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.tcp_flags & RST, ==, RST);
        g_assert_cmpuint(r.seq, ==, g.ack);
        g_assert_cmpuint(flows(h), ==, 0);
}

/* Half close, each way, with data after it. */
/* The host has lost an address: who is bound to it is reset on both sides, others go on; who was still connecting hears why. */
static void test_address_gone(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest gone = guest_connect(h, "10.1.2.3", 80);
        gone.p.sport++; /* the next one's */
        Guest kept = { .h = h, .p = packet4("10.1.2.4", 80), .seq = 1000 }, waiting = kept;

        guest_send(&kept, SYN, 8000, NULL, 0);
        (void) guest_take(&kept);
        FakeSocket *other = fake_last_socket(h, FAKE_TCP);
        h->connect_result = FAKE_CONNECT_NEVER;
        waiting.p.sport = 40002;
        guest_send(&waiting, SYN, 8000, NULL, 0);

        gone.socket->address_is_gone = fake_last_socket(h, FAKE_TCP)->address_is_gone = true;
        netstack_check_addresses(h->stack);
        g_assert_cmpuint(fake_n_frames(h), ==, 2);
        for (unsigned i = 0; i < 2; i++) {
                Parsed r = guest_take(&gone);
                if (r.proto == IPPROTO_TCP)
                        g_assert_cmpuint(r.tcp_flags & RST, ==, RST);
                else
                        g_assert_cmpuint(r.icmp_code, ==, 0); /* network unreachable */
        }
        g_assert_true(gone.socket->was_reset);
        g_assert_true(other->open);
        g_assert_cmpuint(flows(h), ==, 1);
}

static void test_half_close(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        guest_send(&g, FIN | ACK, 8000, "bye", 3);
        g.seq += 4;
        fake_advance(h, 11 * USEC_PER_MSEC);
        g_assert_cmpuint(guest_take(&g).ack, ==, g.seq);
        g_assert_true(g.socket->shut);
        fake_stream_push(h, g.socket, "still here", 10);
        fake_run(h);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.payload_len, ==, 10);
        g.ack += 10;
        guest_send(&g, ACK, 8000, NULL, 0);
        fake_stream_eof(h, g.socket);
        fake_run(h);
        r = guest_take(&g);
        g_assert_cmpuint(r.tcp_flags & FIN, ==, FIN);
        g.ack++;
        guest_send(&g, ACK, 8000, NULL, 0);
        g_assert_cmpuint(flows(h), ==, 0);
        g_assert_false(g.socket->was_reset);
        g_assert_false(g.socket->open);

        g = guest_connect(h, "10.1.2.3", 81);
        fake_stream_eof(h, g.socket);
        fake_run(h);
        r = guest_take(&g);
        g_assert_cmpuint(r.tcp_flags & FIN, ==, FIN);
        g.ack++;
        guest_send(&g, ACK | PSH, 8000, "more", 4);
        g.seq += 4;
        g_assert_cmpuint(guest_take(&g).ack, ==, g.seq);
        g_assert_cmpmem(g.socket->out->data, g.socket->out->len, "more", 4);
        guest_send(&g, FIN | ACK, 8000, NULL, 0);
        g_assert_cmpuint(flows(h), ==, 0);
        fake_clear_frames(h);
}

/* Headers that lie, and segments nobody asked for. */
static void test_hostile(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 77 };
        guest_send(&g, ACK, 100, "data", 4); /* of no flow */
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.tcp_flags, ==, RST);
        g_assert_cmpuint(fake_drops(h, DROP_TCP_NO_FLOW), ==, 1);
        guest_send(&g, RST, 100, NULL, 0);
        guest_send(&g, RST | ACK, 100, NULL, 0);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        g = guest_connect(h, "10.1.2.3", 80);
        uint32_t good_ack = g.ack, good_seq = g.seq;
        g.ack = good_ack + 1000; /* acknowledges what was never sent */
        guest_send(&g, ACK, 8000, "x", 1);
        g_assert_cmpuint(fake_drops(h, DROP_TCP_BAD_ACK), ==, 1);
        g_assert_cmpuint(g.socket->out->len, ==, 0);
        g.ack = good_ack;
        g.seq = good_seq + 10000000; /* far beyond the window */
        guest_send(&g, ACK, 8000, "x", 1);
        g_assert_cmpuint(fake_drops(h, DROP_TCP_WINDOW), ==, 1);
        guest_send(&g, RST, 8000, NULL, 0); /* a blind reset is not believed */
        g_assert_cmpuint(flows(h), ==, 1);
        g.seq = good_seq + 5; /* in the window, not exact: challenged (RFC 5961) */
        guest_send(&g, RST, 8000, NULL, 0);
        g_assert_cmpuint(flows(h), ==, 1);
        guest_send(&g, SYN, 8000, NULL, 0);
        g_assert_cmpuint(flows(h), ==, 1);
        fake_clear_frames(h);

        for (unsigned offset = 0; offset < 16; offset++) { /* the data offset says anything */
                GByteArray *f = packet_tcp(&g.p, good_seq, good_ack, ACK, 8000, NULL, 0, "x", 1);
                f->data[14 + 20 + 12] = (uint8_t) (offset << 4);
                packet_fix(f->data, f->len);
                packet_send(h, f);
        }
        static const uint8_t bad_options[][4] = { { 2, 0, 0, 0 }, { 2, 1, 0, 0 }, { 2, 40, 0, 0 }, { 1, 1, 1, 5 }, { 8, 3, 0, 0 } };
        for (size_t i = 0; i < G_N_ELEMENTS(bad_options); i++)
                packet_send(h, packet_tcp(&g.p, good_seq, good_ack, ACK, 8000, bad_options[i], 4, "y", 1));
        g_assert_cmpuint(fake_drops(h, DROP_TCP_MALFORMED), >=, 4);
        g_assert_cmpuint(flows(h), ==, 1);
        fake_clear_frames(h);
        netstack_forget_guest(h->stack, &g.p.src_mac);
        g_assert_cmpuint(flows(h), ==, 0);
        g_assert_true(g.socket->was_reset);
}

/* A device that is full: the flow takes its bytes back and goes on when there is room. */
static void test_device_full(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        uint8_t data[3000];
        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) (i % 251);
        h->output_room = 0;
        fake_stream_push(h, g.socket, data, sizeof(data));
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        h->output_room = UINT_MAX;
        netstack_output_ready(h->stack, 0);
        size_t got = 0;
        FakeFrame *f;
        while ((f = fake_take_frame(h))) {
                Parsed r = packet_parse(f);
                g_assert_cmpuint(r.seq, ==, g.ack + got);
                g_assert_cmpmem(r.payload, r.payload_len, data + got, r.payload_len);
                got += r.payload_len;
                fake_frame_free(f);
        }
        g_assert_cmpuint(got, ==, sizeof(data));
        guest_send(&g, RST, 0, NULL, 0);
}

/* A hole is closed while the host takes nothing and the park has no room for what closes it: the guest keeps those bytes. */
static void test_park_full_hole(void) {
        g_autoptr(FakeHost) h = fake_host_new(small_park);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        uint8_t data[1000];
        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) (i % 251);
        uint32_t base = g.seq;
        g.socket->send_room = 0;
        g.seq = base + 500;
        guest_send(&g, ACK, 8000, data + 500, 500);
        g_assert_cmpuint(guest_take(&g).ack, ==, base);
        g.seq = base;
        guest_send(&g, ACK, 8000, data, 500);
        g_assert_cmpuint(guest_take(&g).ack, ==, base);
        fake_stream_room(h, g.socket, 10000);
        fake_run(h);
        fake_clear_frames(h);
        guest_send(&g, ACK, 8000, data, 500);
        g_assert_cmpuint(guest_take(&g).ack, ==, base + 1000);
        g_assert_cmpmem(g.socket->out->data, g.socket->out->len, data, sizeof(data));
        g.seq = base + 1000;
        guest_send(&g, RST, 0, NULL, 0);
        g_assert_cmpuint(parked(h), ==, 0);
}

/* A guest that closes its window over bytes in flight may have thrown them away: opening it again does not end the retransmission. */
static void test_window_reopened(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        fake_stream_push(h, g.socket, "hello", 5);
        fake_run(h);
        g_assert_cmpuint(guest_take(&g).payload_len, ==, 5);
        guest_send(&g, ACK, 0, NULL, 0);
        guest_send(&g, ACK, 8000, NULL, 0);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        fake_advance(h, 1500 * USEC_PER_MSEC);
        g_assert_cmpuint(fake_n_frames(h), >=, 1);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.seq, ==, g.ack);
        g_assert_cmpuint(r.payload_len, ==, 5);
        guest_send(&g, RST, 0, NULL, 0);
        fake_clear_frames(h);
}

/* Flows that upload beside one that has little to say share one window, and have their own again when it has gone. However many they are, the
 * window of each stays TCP_WINDOW_MIN. Turns of flows that download are shorter for as long. */
static void test_window_shared(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Tcp *t = h->stack->tcp;
        Guest bulk[5], little = guest_connect(h, "10.1.2.3", 80);
        g_autofree uint8_t *data = g_malloc0(20000);
        static const struct {
                bool little;
                unsigned bulk;
                uint32_t window; /* in the period after this one */
        } periods[] = {
                { false, 2, TCP_WINDOW_MAX }, { true, 2, TCP_WINDOW_SHARED / 2 }, { true, 2, TCP_WINDOW_SHARED / 2 },
                { true, 3, TCP_WINDOW_SHARED / 3 }, { true, 4, TCP_WINDOW_MIN }, { true, 5, TCP_WINDOW_MIN },
                { true, 1, TCP_WINDOW_MAX }, { false, 2, TCP_WINDOW_MAX }, { false, 5, TCP_WINDOW_MAX },
        };
        G_STATIC_ASSERT(TCP_WINDOW_SHARED / 4 == TCP_WINDOW_MIN && TCP_TURN_FRAMES_SHARED < TCP_TURN_FRAMES);
        for (unsigned i = 0; i < G_N_ELEMENTS(bulk); i++) {
                bulk[i] = guest_connect(h, "10.1.2.3", (uint16_t) (81 + i));
                guest_send(&bulk[i], ACK, 8000, data, TCP_BULK_MIN); /* known for what they are from then on */
                bulk[i].seq += TCP_BULK_MIN;
                fake_clear_frames(h);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(periods); i++) {
                fake_advance(h, TCP_SHARE_TIME);
                for (unsigned j = 0; j < periods[i].bulk; j++) {
                        guest_send(&bulk[j], ACK, 8000, data, TCP_BULK_MIN);
                        bulk[j].seq += TCP_BULK_MIN;
                }
                if (i > 0)
                        g_assert_cmpuint(t->share.window, ==, periods[i - 1].window);
                if (i > 0)
                        g_assert_cmpuint(tcp_turn_frames(h->stack, NULL), ==, periods[i - 1].little ? TCP_TURN_FRAMES_SHARED : TCP_TURN_FRAMES);
                if (periods[i].little) {
                        guest_send(&little, ACK, 8000, data, 1);
                        little.seq++;
                        g_assert_cmpuint(tcp_turn_frames(h->stack, NULL), ==, TCP_TURN_FRAMES_SHARED); /* from its first segment on */
                }
                fake_clear_frames(h);
        }
}

/* A shared window is never less than a segment of the guest's, to the last bit of what its scale can say. */
static void test_window_of_a_segment(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        Flow *f = h->stack->tcp->last;
        h->stack->tcp->share.window = TCP_WINDOW_MIN;
        f->tcp.rcv_wscale = TCP_WSCALE;
        f->tcp.mss = TCP_WINDOW_MIN;
        f->tcp.rcv_adv = f->tcp.host_nxt;
        tcp_update_window(h->stack, f);
        g_assert_cmpuint(f->tcp.rcv_adv - f->tcp.host_nxt, ==, TCP_WINDOW_MIN);
        f->tcp.mss = 65468; /* MTU 65520 */
        tcp_update_window(h->stack, f);
        g_assert_cmpuint((f->tcp.rcv_adv - f->tcp.host_nxt) >> TCP_WSCALE << TCP_WSCALE, >=, 65468);
        guest_send(&g, RST, 0, NULL, 0);
        fake_clear_frames(h);
}

/* A guest behind a stream socket may have more on its way, unless a quiet flow waits beside it or it moves elsewhere. */
static void test_window_of_a_stream(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        static const struct {
                bool stream;
                uint32_t shared, window;
        } cases[] = {
                { false, TCP_WINDOW_MAX, TCP_WINDOW_MAX },
                { true, TCP_WINDOW_MAX, 65535u << TCP_WSCALE },
                { true, TCP_WINDOW_SHARED, TCP_WINDOW_SHARED },
                { false, TCP_WINDOW_MAX, TCP_WINDOW_MAX },
        };
        Guest g = guest_connect(h, "10.1.2.3", 80);
        Flow *f = h->stack->tcp->last;
        f->tcp.rcv_wscale = TCP_WSCALE;
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                h->port.stream = cases[i].stream;
                guest_send(&g, ACK, 8000, NULL, 0); /* says where the guest is now */
                h->stack->tcp->share.window = cases[i].shared;
                f->tcp.rcv_adv = f->tcp.host_nxt;
                tcp_update_window(h->stack, f);
                g_assert_cmpuint(f->tcp.rcv_adv - f->tcp.host_nxt, ==, cases[i].window);
        }
        guest_send(&g, RST, 0, NULL, 0);
        fake_clear_frames(h);
}

#define BIG_MSS 12786 /* with headers of 54 bytes a frame of FRAME_BIG_MAX is full to the last byte */
#define BIG_FULL (FRAME_BIG_MAX - 54)
#define BIG_LEN(max) (((max) - 54) / BIG_MSS * BIG_MSS) /* payload of a frame of at most @max bytes */
#define PLAIN_FULL BIG_LEN(FRAME_LEN_MAX)

/* A download of a guest whose device takes long frames, with a window of megabytes. */
static Guest big_connect(FakeHost *h, Flow **ret) {
        h->port.big = true;
        h->port.mtu = 65520;
        Guest g = guest_connect(h, "10.1.2.3", 80);
        *ret = h->stack->tcp->last;
        (*ret)->tcp.mss = BIG_MSS;
        (*ret)->tcp.snd_wscale = 7;
        guest_send(&g, ACK, 65535, NULL, 0);
        return g;
}

/* Sends the guest @len bytes, takes the frames and tells the length of each. */
static unsigned big_take(Guest *g, size_t len, size_t *ret, unsigned max) {
        g_autofree uint8_t *data = g_malloc0(len);
        unsigned n = 0;
        fake_stream_push(g->h, g->socket, data, len);
        fake_run(g->h);
        for (; fake_n_frames(g->h) > 0; n++) {
                Parsed r = guest_take(g);
                g_assert_cmpuint(n, <, max);
                g_assert_cmpuint(r.seq, ==, g->ack);
                ret[n] = r.payload_len;
                g->ack += (uint32_t) r.payload_len;
        }
        return n;
}

/* What is longer than an IPv4 packet can say goes to devices that take it, in frames that are full to the last byte, and to nobody else: beside a
 * quiet flow shorter ones, none once the guest has moved to another device. */
static void test_big_frames(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Flow *f;
        Guest g = big_connect(h, &f);
        size_t len[8];
        G_STATIC_ASSERT(BIG_FULL % BIG_MSS == 0);

        g_assert_cmpuint(big_take(&g, 2 * BIG_FULL + 65536, len, 8), ==, 3);
        g_assert_cmpuint(len[0], ==, BIG_FULL);
        g_assert_cmpuint(len[1], ==, BIG_FULL);
        g_assert_cmpuint(len[2], ==, 65536);
        guest_send(&g, ACK, 65535, NULL, 0);

        g_assert_cmpuint(big_take(&g, 65535 - 40, len, 8), ==, 1); /* has a length in its header, the next one has none */
        g_assert_cmpuint(big_take(&g, 65536 - 40, len, 8), ==, 1);
        guest_send(&g, ACK, 65535, NULL, 0);

        h->stack->tcp->share.quiet = true;
        g_assert_cmpuint(big_take(&g, 2 * TCP_BIG_SHARED, len, 8), ==, 3);
        g_assert_cmpuint(len[0], ==, BIG_LEN(TCP_BIG_SHARED));
        g_assert_cmpuint(len[1], ==, BIG_LEN(TCP_BIG_SHARED));
        h->stack->tcp->share.quiet = false;
        guest_send(&g, ACK, 65535, NULL, 0);

        h->port.big = false;
        guest_send(&g, ACK, 65535, NULL, 0); /* says where it is now */
        g_assert_cmpuint(big_take(&g, 65536, len, 8), ==, 2);
        guest_send(&g, ACK, 65535, NULL, 0);
        h->port.big = true;
        guest_send(&g, ACK, 65535, NULL, 0);
        g_assert_cmpuint(big_take(&g, 65536, len, 8), ==, 1);
        guest_send(&g, RST, 0, NULL, 0);
        fake_clear_frames(h);
}

/* IPv6 has another way to say it, which is not taken. */
static void test_big_frames_ip6(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        size_t len[8];
        h->port.big = true;
        Guest g = guest_connect(h, "2001:db8::3", 80);
        Flow *f = h->stack->tcp->last;
        f->tcp.snd_wscale = 7;
        guest_send(&g, ACK, 65535, NULL, 0);
        g_assert_cmpuint(big_take(&g, 65536, len, 8), ==, 2);
        g_assert_cmpuint(f->tcp.big_max, ==, 0);
        guest_send(&g, RST, 0, NULL, 0);
        fake_clear_frames(h);
}

/* A guest that acknowledges a part of a long frame has passed it on in pieces: the flow gets no more of them. */
static void test_big_frames_cut(void) {
        static const struct {
                uint32_t behind; /* the end of the long frame */
                unsigned frames;
                size_t last; /* its length */
        } cases[] = { { 0, 1, BIG_FULL }, { BIG_FULL, 1, BIG_FULL }, { 1, 2, BIG_FULL }, { BIG_FULL - 1, 2, BIG_FULL },
                      { 1, 1, 65535 - 40 }, { 1, 2, 65536 - 40 } }; /* the first of these says how long it is */
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(FakeHost) h = fake_host_new(NULL);
                Flow *f;
                Guest g = big_connect(h, &f);
                size_t len[8];
                g_assert_cmpuint(big_take(&g, BIG_FULL + cases[i].last, len, 8), ==, 2);
                g.ack -= cases[i].behind;
                guest_send(&g, ACK, 65535, NULL, 0);
                g.ack += cases[i].behind;
                guest_send(&g, ACK, 65535, NULL, 0);
                g_assert_cmpuint(big_take(&g, 65536, len, 8), ==, cases[i].frames);
                guest_send(&g, RST, 0, NULL, 0);
                fake_clear_frames(h);
        }
}

/* A device that has no memory for as much in one piece: the same bytes go in frames of half the length, and at last in some that any
 * device takes. None is sent twice. */
static void test_big_frames_refused(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Flow *f;
        Guest g = big_connect(h, &f);
        size_t len[8 * BIG_FULL / PLAIN_FULL], got;
        static const uint32_t max[] = { FRAME_BIG_MAX / 2, FRAME_BIG_MAX / 4, FRAME_LEN_MAX };
        G_STATIC_ASSERT(FRAME_BIG_MAX / 4 == TCP_BIG_SHARED && FRAME_BIG_MAX / 8 <= FRAME_LEN_MAX);
        for (size_t i = 0; i < G_N_ELEMENTS(max); i++) {
                h->output_room = 0;
                g_assert_cmpuint(big_take(&g, BIG_FULL, len, 1), ==, 0);
                g_assert_true(f->tcp.big_over == (i == 2));
                h->output_room = UINT_MAX;
                netstack_output_ready(h->stack, 0);
                unsigned n = big_take(&g, 1, len, G_N_ELEMENTS(len));
                got = 0;
                for (unsigned k = 0; k < n; k++) {
                        g_assert_cmpuint(len[k], <=, BIG_LEN(max[i]));
                        got += len[k];
                }
                g_assert_cmpuint(len[0], ==, BIG_LEN(max[i]));
                g_assert_cmpuint(got, ==, BIG_FULL + 1);
                guest_send(&g, ACK, 65535, NULL, 0);
        }
        g_assert_cmpuint(f->tcp.retransmits, ==, 0);
        guest_send(&g, RST, 0, NULL, 0);
        fake_clear_frames(h);
}

/* After so many shorter ones it is asked for the longer ones again. */
static void test_big_frames_again(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Flow *f;
        Guest g = big_connect(h, &f);
        tcp_big_refused(&f->tcp, FRAME_BIG_MAX);
        for (unsigned i = 0; i < TCP_BIG_AGAIN; i++) {
                g_assert_cmpuint(f->tcp.big_max, ==, FRAME_BIG_MAX / 2);
                tcp_big_sent(&f->tcp, f->tcp.snd_nxt, 0);
        }
        g_assert_cmpuint(f->tcp.big_max, ==, FRAME_BIG_MAX);
        for (unsigned i = 0; i < TCP_BIG_AGAIN; i++)
                tcp_big_sent(&f->tcp, f->tcp.snd_nxt, 0);
        g_assert_cmpuint(f->tcp.big_max, ==, FRAME_BIG_MAX);
        guest_send(&g, RST, 0, NULL, 0);
        fake_clear_frames(h);
}

/* What was lost may have been too long for somebody: it goes again in frames that anybody takes, and so does all that follows. */
static void test_big_frames_lost(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Flow *f;
        Guest g = big_connect(h, &f);
        size_t len[8], got = 0;
        g_assert_cmpuint(big_take(&g, BIG_FULL, len, 8), ==, 1);
        g.ack -= BIG_FULL;
        fake_advance(h, TCP_RTO_INITIAL);
        while (fake_n_frames(h) > 0) {
                Parsed r = guest_take(&g);
                g_assert_cmpuint(r.payload_len, <=, PLAIN_FULL);
                got += r.payload_len;
                g.ack = r.seq + (uint32_t) r.payload_len;
        }
        g_assert_cmpuint(got, >, 0);
        g_assert_true(f->tcp.big_over);
        for (uint32_t end = f->tcp.snd_max; g.ack != end;) {
                guest_send(&g, ACK, 65535, NULL, 0);
                while (fake_n_frames(h) > 0) {
                        Parsed r = guest_take(&g);
                        g_assert_cmpuint(r.payload_len, <=, PLAIN_FULL);
                        g.ack = r.seq + (uint32_t) r.payload_len;
                }
        }
        guest_send(&g, ACK, 65535, NULL, 0);
        g_assert_cmpuint(big_take(&g, 65536, len, 8), ==, 2);
        guest_send(&g, RST, 0, NULL, 0);
        fake_clear_frames(h);
}

/* Who sends all that one turn lets go has used it up for the others, down to the frame that is taken for the shortest; a byte less leaves some. */
static void test_turn_used_up(void) {
        g_autofree uint8_t *data = g_malloc0(TCP_TURN_FRAMES * TCP_TURN_FRAME_MIN);
        for (uint16_t less = 0; less <= 1; less++) {
                g_autoptr(FakeHost) h = fake_host_new(NULL);
                const uint16_t mss = TCP_TURN_FRAME_MIN - less;
                Guest g[2];
                Flow *f[2];
                h->port.mtu = 65520;
                for (unsigned i = 0; i < 2; i++) {
                        g[i] = guest_connect(h, "10.1.2.3", (uint16_t) (80 + i));
                        f[i] = h->stack->tcp->last;
                        f[i]->tcp.mss = mss;
                        f[i]->tcp.snd_wscale = 8;
                        guest_send(&g[i], ACK, 60000, NULL, 0);
                }
                for (unsigned i = 0; i < 2; i++) {
                        fake_stream_push(h, g[i].socket, data, TCP_TURN_FRAMES * mss);
                        f[i]->tcp.host_readable = true;
                        tcp_make_ready(h->stack, f[i]);
                }
                tcp_run_ready(h->stack);
                g_assert_cmpuint(f[0]->tx_bytes, ==, TCP_TURN_FRAMES * mss);
                g_assert_cmpuint(f[1]->tx_bytes, ==, less * TCP_TURN_FRAMES * mss);
                tcp_run_ready(h->stack);
                g_assert_cmpuint(f[1]->tx_bytes, ==, TCP_TURN_FRAMES * mss);
                netstack_flush(h->stack);
                for (unsigned i = 0; i < 2; i++)
                        guest_send(&g[i], RST, 0, NULL, 0);
                fake_clear_frames(h);
        }
}

/* Downloads to a guest behind a stream socket: long turns for who is alone, no longer ones than others have beside somebody; no more bytes than the
 * device has room for, to the frame, and none at all until it says that it has some again. */
static void test_turns_of_a_stream(void) {
        enum { LEN = 20 * 65000 };
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree uint8_t *data = g_malloc0(2 * LEN);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        Flow *f = h->stack->tcp->last;
        g_assert_cmpuint(tcp_turn_frames(h->stack, f), ==, TCP_TURN_FRAMES);
        h->port.stream = true;
        f->tcp.snd_wscale = 8;
        guest_send(&g, ACK, 60000, NULL, 0);
        g_assert_cmpuint(tcp_turn_frames(h->stack, f), ==, TCP_TURN_FRAMES_STREAM);
        h->stack->tcp->ready.n += 2; /* as if others waited */
        g_assert_cmpuint(tcp_turn_frames(h->stack, f), ==, TCP_TURN_FRAMES);
        h->stack->tcp->ready.n -= 2;
        h->stack->tcp->share.quiet = true;
        g_assert_cmpuint(tcp_turn_frames(h->stack, f), ==, TCP_TURN_FRAMES_SHARED);
        h->stack->tcp->share.quiet = false;

        static const struct {
                size_t room;
                unsigned n; /* frames */
        } cases[] = { { 0, 0 }, { 1, 1 }, { 65000, 1 }, { 70000, 2 }, { 10 * 65000, 10 }, { SIZE_MAX, 20 } };
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                h->room = cases[i].room;
                fake_stream_push(h, g.socket, data, LEN);
                fake_run(h);
                g_assert_cmpuint(fake_n_frames(h), ==, cases[i].n);
                g_assert_cmpint(f->tcp.output_blocked, ==, cases[i].room < SIZE_MAX);
                h->room = SIZE_MAX;
                netstack_output_ready(h->stack, h->port.id);
                fake_run(h);
                for (uint32_t seq = g.ack; fake_n_frames(h) > 0; g.ack = seq) { /* all, and nothing twice */
                        Parsed r = guest_take(&g);
                        g_assert_cmpuint(r.seq, ==, seq);
                        seq += (uint32_t) r.payload_len;
                }
                g_assert_cmpuint(g.ack, ==, f->tcp.snd_nxt);
                guest_send(&g, ACK, 60000, NULL, 0);
        }
        g_assert_cmpuint(f->tcp.snd_nxt - f->tcp.iss - 1, ==, G_N_ELEMENTS(cases) * LEN);
        g.socket->peek_most = 0;
        fake_stream_push(h, g.socket, data, 2 * LEN); /* more than a turn, which is one peek */
        fake_run(h);
        g_assert_cmpuint(g.socket->peek_most, <=, TCP_PEEK_STREAM);
        g_assert_cmpuint(g.socket->peek_most, >, (TCP_TURN_FRAMES_STREAM - 1) * 65000);
        fake_clear_frames(h);
        g.ack = f->tcp.snd_nxt;
        guest_send(&g, ACK, 60000, NULL, 0);

        h->stack->tcp->share.quiet = true; /* somebody's answers stand behind what is on its way */
        fake_stream_push(h, g.socket, data, LEN);
        fake_run(h);
        g_assert_cmpuint(f->tcp.snd_nxt - f->tcp.snd_una, ==, TCP_FLIGHT_SHARED);
        fake_clear_frames(h);
        g.ack += TCP_FLIGHT_SHARED;
        g.socket->peek_from = SIZE_MAX;
        guest_send(&g, ACK, 60000, NULL, 0);
        g_assert_cmpuint(f->tcp.snd_nxt - f->tcp.snd_una, ==, TCP_FLIGHT_SHARED);
        g_assert_cmpuint(g.socket->peek_from, ==, 0); /* what was acknowledged is no longer in the way */
        h->port.stream = false; /* what carries it has no queue */
        guest_send(&g, ACK, 60000, NULL, 0);
        fake_run(h);
        g_assert_cmpuint(f->tcp.snd_nxt, ==, g.ack + LEN - TCP_FLIGHT_SHARED);
        guest_send(&g, RST, 0, NULL, 0);
        fake_clear_frames(h);
}

/* A guest that moves while its device is full, and perhaps stays so, goes on behind the other one, which was never full and says nothing. */
static void test_moved_while_full(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80), other = guest_connect(h, "10.1.2.3", 81);
        h->output_room = 0;
        fake_stream_push(h, other.socket, "xyz", 3);
        fake_stream_push(h, g.socket, "abc", 3);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        h->output_room = UINT_MAX;
        h->port.id++;
        guest_send(&g, ACK, 8000, NULL, 0);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        g_autoptr(FakeFrame) first = NULL, second = NULL;
        Parsed r = packet_take(h, &first);
        g_assert_cmpuint(r.seq, ==, g.ack);
        g_assert_cmpmem(r.payload, r.payload_len, "abc", 3);
        h->port.id--;
        netstack_output_ready(h->stack, h->port.id); /* the one that waited for it still does */
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        r = packet_take(h, &second);
        g_assert_cmpmem(r.payload, r.payload_len, "xyz", 3);
        guest_send(&g, RST, 0, NULL, 0);
        guest_send(&other, RST, 0, NULL, 0);
        fake_clear_frames(h);
}

/* Who had much to send waits until the others have been heard. */
static void test_bulk_waits(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest bulk = guest_connect(h, "10.1.2.3", 80), little = guest_connect(h, "10.1.2.3", 81);
        g_autofree uint8_t *data = g_malloc0(60000);
        for (unsigned i = 0; i < 2; i++) {
                guest_send(&bulk, ACK, 60000, NULL, 0);
                fake_stream_push(h, bulk.socket, data, 60000);
                if (i == 1)
                        fake_stream_push(h, little.socket, "x", 1);
                fake_run(h);
                if (i == 1)
                        g_assert_cmpuint(guest_take(&little).sport, ==, 81);
                while (fake_n_frames(h) > 0) {
                        Parsed r = guest_take(&bulk);
                        g_assert_cmpuint(r.sport, ==, 80);
                        bulk.ack = r.seq + (uint32_t) r.payload_len;
                }
        }
}

/* Beside a flow that uploads the hosts' answers are looked for as often as some of its bytes were passed on: those of the latest flows
 * that asked, and not for ever. */
static void test_answers_looked_for(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest bulk = guest_connect(h, "10.1.2.3", 80), little[TCP_AWAITED_MAX + 1];
        g_autofree uint8_t *data = g_malloc0(TCP_BULK_MIN);
        for (unsigned i = 0; i < G_N_ELEMENTS(little); i++)
                little[i] = guest_connect(h, "10.1.2.3", (uint16_t) (81 + i));
        for (unsigned i = 0; i < G_N_ELEMENTS(little); i++) {
                guest_send(&little[i], ACK, 8000, "?", 1);
                little[i].seq++;
        }
        unsigned before = little[TCP_AWAITED_MAX].socket->n_recvs;
        for (unsigned i = 0; i < TCP_AWAITED_LOOKS - 1; i++) {
                guest_send(&bulk, ACK, 8000, data, TCP_BULK_MIN);
                bulk.seq += TCP_BULK_MIN;
        }
        g_assert_cmpuint(little[TCP_AWAITED_MAX].socket->n_recvs, ==, before + TCP_AWAITED_LOOKS - 1);
        g_assert_cmpuint(little[0].socket->n_recvs, ==, before); /* forgotten: there were as many after it */
        fake_clear_frames(h);

        for (unsigned i = 0; i < G_N_ELEMENTS(little) - 1; i++) /* no event tells of it yet */
                fake_stream_push(h, little[i].socket, "!", 1);
        packet_send(h, packet_tcp(&bulk.p, bulk.seq, bulk.ack, ACK, 8000, NULL, 0, data, TCP_BULK_MIN));
        bulk.seq += TCP_BULK_MIN;
        for (unsigned i = 1; i < TCP_AWAITED_MAX; i++) {
                Parsed r = guest_take(&little[i]);
                while (r.payload_len == 0) /* the upload's ACK */
                        r = guest_take(&little[i]);
                g_assert_cmpuint(r.sport, ==, 81 + i);
        }
        while (fake_n_frames(h) > 0)
                g_assert_cmpuint(guest_take(&bulk).payload_len, ==, 0);
        fake_run(h); /* the others': by their events */
        Parsed r = guest_take(&little[0]);
        g_assert_cmpuint(r.sport, ==, 81);
        g_assert_cmpuint(r.payload_len, ==, 1);

        before = little[TCP_AWAITED_MAX].socket->n_recvs; /* it has been looked for often enough */
        guest_send(&bulk, ACK, 8000, data, TCP_BULK_MIN);
        g_assert_cmpuint(little[TCP_AWAITED_MAX].socket->n_recvs, ==, before);
        fake_clear_frames(h);
}

/* While the bytes of one flow are passed on the answer to another is looked for, which may have brought much in the same batch: what carries
 * that answer acknowledges nothing that has yet to be passed on, or kept. */
static void test_answer_before_upload(void) {
        g_autoptr(FakeHost) h = fake_host_new(small_park);
        Guest bulk = guest_connect(h, "10.1.2.3", 80), asker = guest_connect(h, "10.1.2.3", 81);
        g_autofree uint8_t *data = g_malloc0(TCP_BULK_MIN);
        struct iovec iov[2];
        Frame frames[2];

        guest_send(&asker, ACK | PSH, 8000, "?", 1);
        asker.seq++;
        fake_clear_frames(h);
        fake_stream_push(h, asker.socket, "!", 1); /* no event tells of it yet */
        asker.socket->send_room = 0;

        g_autoptr(GByteArray) first = packet_tcp(&bulk.p, bulk.seq, bulk.ack, ACK, 8000, NULL, 0, data, TCP_BULK_MIN);
        g_autoptr(GByteArray) second = packet_tcp(&asker.p, asker.seq, asker.ack, ACK, 8000, NULL, 0, data, TCP_BULK_MIN);
        iov[0] = (struct iovec){ first->data, first->len };
        iov[1] = (struct iovec){ second->data, second->len };
        for (unsigned i = 0; i < 2; i++)
                frames[i] = (Frame){ .iov = &iov[i], .n_iov = 1, .len = (uint32_t) iov[i].iov_len };
        fake_input_batch(h, frames, 2);
        fake_run(h);

        g_assert_cmpuint(fake_drops(h, DROP_TCP_PARK_LIMIT), >, 0); /* nobody has them but the guest */
        bool answered = false;
        while (fake_n_frames(h) > 0) {
                Parsed r = guest_take(&asker);
                if (r.sport != 81)
                        continue;
                answered = answered || r.payload_len == 1;
                g_assert_cmpuint(r.ack, ==, asker.seq);
        }
        g_assert_true(answered);
        guest_send(&asker, RST, 0, NULL, 0);
}

/* Without window scaling the whole window is less than a quarter of the largest one: it must open again all the same. */
static void test_window_update(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        g_autofree uint8_t *data = g_malloc0(30000);
        g.socket->send_room = 0;
        for (size_t sent = 0; sent < 65535;) {
                size_t n = MIN((size_t) 30000, 65535 - sent);
                guest_send(&g, ACK, 8000, data, n);
                g.seq += (uint32_t) n;
                sent += n;
                Parsed r = guest_take(&g);
                g_assert_cmpuint(r.ack, ==, g.seq);
                g_assert_cmpuint(r.tcp_window, ==, 65535 - sent);
        }
        fake_stream_room(h, g.socket, 100000);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        g_assert_cmpuint(guest_take(&g).tcp_window, ==, 65535);
        guest_send(&g, RST, 0, NULL, 0);
}

/* A guest that still knows a connection from the client's port answers our SYN with an ACK: it is told by a reset that it is over. */
static void test_old_connection(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Endpoint local = fake_endpoint("10.0.0.1:6443"), peer = fake_endpoint("10.9.9.9:5555");
        int fd = fake_listener(h, &local);
        ForwardConfig fc = { .id = 1, .proto = IPPROTO_TCP, .local = local, .remote = fake_endpoint("192.168.127.2:80") };
        g_assert_cmpint(netstack_forward_add(h->stack, &fc, fd), ==, 0);
        IpAddr guest = fake_ip("192.168.127.2"), gateway = fake_ip("192.168.127.1");
        packet_send(h, packet_arp(&FAKE_GUEST_MAC, 2, &FAKE_GUEST_MAC, &guest, &FAKE_GATEWAY_MAC, &gateway));
        fake_client(h, fd, &peer);
        fake_run(h);
        g_autoptr(FakeFrame) first = NULL, second = NULL;
        Parsed syn = packet_take(h, &first);
        g_assert_cmpuint(syn.tcp_flags, ==, SYN);

        Packet4 p = packet4("10.9.9.9", 5555);
        p.sport = 80;
        packet_send(h, packet_tcp(&p, 4000, syn.seq - 7000, ACK, 8000, NULL, 0, NULL, 0));
        Parsed r = packet_take(h, &second);
        g_assert_cmpuint(r.tcp_flags, ==, RST);
        g_assert_cmpuint(r.seq, ==, syn.seq - 7000);
        g_assert_cmpuint(flows(h), ==, 1); /* the SYN is sent again */
        packet_send(h, packet_tcp(&p, 0, syn.seq + 1, RST | ACK, 0, NULL, 0, NULL, 0));
        g_assert_cmpuint(flows(h), ==, 0);
}

/* A guest that wants longer segments than its link carries does not get them. */
static void test_jumbo_mss(void) {
        static const uint8_t mss[] = { 2, 4, 8960 >> 8, 8960 & 0xff };
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 1000 };
        packet_send(h, packet_tcp(&g.p, g.seq, 0, SYN, 64000, mss, sizeof(mss), NULL, 0));
        fake_run(h);
        g.ack = guest_take(&g).seq + 1;
        g.seq++;
        guest_send(&g, ACK, 64000, NULL, 0);
        g.socket = fake_last_socket(h, FAKE_TCP);
        g_autofree uint8_t *data = g_malloc0(20000);
        fake_stream_push(h, g.socket, data, 5000);
        fake_run(h);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.payload_len, ==, 5000);
        g_assert_cmpuint(le16toh(r.hdr.gso_size), ==, 1460);
        guest_send(&g, RST, 0, NULL, 0);
}

/* A batch in so many pieces that it is delivered half way: not for the flow that was reset in it. */
static void test_reset_in_full_batch(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest a = guest_connect(h, "10.1.2.3", 80), b = guest_connect(h, "10.1.2.3", 81);
        enum { N = 40 };
        GByteArray *bytes[N];
        static struct iovec iov[N][FRAME_IOV_MAX];
        Frame frames[N];
        uint8_t data[FRAME_IOV_MAX] = {};

        bytes[0] = packet_tcp(&a.p, a.seq, a.ack, ACK, 8000, NULL, 0, data, 10);
        bytes[1] = packet_tcp(&a.p, a.seq + 10, a.ack, RST, 8000, NULL, 0, NULL, 0);
        for (unsigned i = 2; i < N; i++, b.seq += FRAME_IOV_MAX - 1)
                bytes[i] = packet_tcp(&b.p, b.seq, b.ack, ACK, 8000, NULL, 0, data, FRAME_IOV_MAX - 1);
        for (unsigned i = 0; i < N; i++) { /* the headers, then a byte a piece */
                unsigned n = i < 2 ? 1 : FRAME_IOV_MAX;
                size_t head = bytes[i]->len - (n - 1);
                iov[i][0] = (struct iovec){ bytes[i]->data, head };
                for (unsigned k = 1; k < n; k++)
                        iov[i][k] = (struct iovec){ bytes[i]->data + head + k - 1, 1 };
                frames[i] = (Frame){ .iov = iov[i], .n_iov = n, .len = bytes[i]->len };
        }
        fake_input_batch(h, frames, N);
        g_assert_true(a.socket->was_reset);
        g_assert_cmpuint(b.socket->out->len, ==, (N - 2) * (FRAME_IOV_MAX - 1));
        for (unsigned i = 0; i < N; i++)
                g_byte_array_unref(bytes[i]);
        fake_clear_frames(h);
        guest_send(&b, RST, 0, NULL, 0);
}

/* Every other byte, each in a segment of its own: what is kept of them, and how far it must be searched, has a bound. */
static void test_park_pieces(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        uint32_t base = g.seq;
        for (unsigned i = 1; i <= TCP_PARK_PIECES_MAX + 10; i++) {
                g.seq = base + 2 * i;
                guest_send(&g, ACK, 8000, "x", 1);
                fake_clear_frames(h);
        }
        g_assert_cmpuint(parked(h), ==, TCP_PARK_PIECES_MAX);
        g_assert_cmpuint(fake_drops(h, DROP_TCP_PARK_LIMIT), ==, 10);
        g.seq = base;
        guest_send(&g, ACK, 8000, "yyy", 3); /* closes the first hole: a piece is free again */
        g_assert_cmpuint(guest_take(&g).ack, ==, base + 3);
        g_assert_cmpuint(parked(h), ==, TCP_PARK_PIECES_MAX - 1);
        g.seq = base + 60000;
        guest_send(&g, ACK, 8000, "x", 1);
        g_assert_cmpuint(parked(h), ==, TCP_PARK_PIECES_MAX);
        fake_clear_frames(h);
        g.seq = base + 3;
        guest_send(&g, RST, 0, NULL, 0);
        g_assert_cmpuint(parked(h), ==, 0);
}

static void tiny_park(NetstackConfig *c) {
        c->limits.park_bytes = 4096;
}

/* The park's bound counts what a piece costs beside its bytes. */
static void test_park_overhead(void) {
        g_autoptr(FakeHost) h = fake_host_new(tiny_park);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        uint32_t base = g.seq;
        for (unsigned i = 1; i <= 1000; i++) {
                g.seq = base + 2 * i;
                guest_send(&g, ACK, 8000, "x", 1);
                fake_clear_frames(h);
        }
        g_assert_cmpuint(parked(h), <=, 4096 / 16);
        g_assert_cmpuint(parked(h), >=, 4096 / 64);
        netstack_forget_guest(h->stack, &g.p.src_mac);
        g_assert_cmpuint(parked(h), ==, 0);
}

/* A device that takes nothing for long, a machine that is paused: the guest has not failed to answer what it was never sent. */
static void test_device_full_long(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        h->output_room = 0;
        fake_stream_push(h, g.socket, "hello", 5);
        fake_run(h);
        fake_advance(h, 5 * USEC_PER_MINUTE);
        g_assert_cmpuint(flows(h), ==, 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        h->output_room = UINT_MAX;
        netstack_output_ready(h->stack, 0);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.seq, ==, g.ack);
        g_assert_cmpuint(r.payload_len, ==, 5);
        guest_send(&g, RST, 0, NULL, 0);
}

/* While lost bytes are sent again from the front, an ACK of ours still carries the highest sequence number: a guest that has all but our
 * knowledge of it would take anything lower for old, and the ACK with it (RFC 9293 3.10.7.4). The same goes for a reset. */
static void test_ack_while_repairing(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        uint8_t data[5000] = {};
        fake_stream_push(h, g.socket, data, sizeof(data));
        fake_run(h);
        fake_advance(h, 1100 * USEC_PER_MSEC); /* no answer: one segment goes again */
        fake_clear_frames(h);
        guest_send(&g, ACK | PSH, 8000, data, 1000); /* nothing new acknowledged */
        g.seq += 1000;
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.payload_len, ==, 0);
        g_assert_cmpuint(r.ack, ==, g.seq);
        g_assert_cmpuint(r.seq, ==, g.ack + sizeof(data));
        fake_clear_frames(h);
        fake_stream_reset(h, g.socket);
        fake_run(h);
        r = guest_take(&g);
        g_assert_cmpuint(r.tcp_flags & RST, ==, RST);
        g_assert_cmpuint(r.seq, ==, g.ack + sizeof(data));
}

/* One guest's device is full, and stays so: the others' connections go on. */
static void test_full_neighbour(void) {
        static const MacAddr other = { { 0x52, 0x54, 0, 0, 0, 0x33 } };
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest stuck = guest_connect(h, "10.1.2.3", 80);
        h->port.id = 2;
        Guest g = { .h = h, .p = packet4("10.1.2.3", 80), .seq = 1000 };
        g.p.src_mac = other;
        g.p.src = fake_ip("192.168.127.3");
        guest_send(&g, SYN, 8000, NULL, 0);
        g.ack = guest_take(&g).seq + 1;
        g.seq++;
        guest_send(&g, ACK, 8000, NULL, 0);
        g.socket = fake_last_socket(h, FAKE_TCP);

        h->full = FAKE_GUEST_MAC;
        fake_stream_push(h, stuck.socket, "for nobody", 10);
        fake_stream_push(h, g.socket, "hello", 5);
        fake_run(h); /* one batch for both */
        g_assert_cmpuint(h->n_outputs, ==, 3);
        g_assert_cmpuint(fake_n_frames(h), ==, 1);
        Parsed r = guest_take(&g);
        g_assert_true(mac_equal(&r.eth_dst, &other));
        g_assert_cmpuint(r.payload_len, ==, 5);
        g.ack += 5;
        guest_send(&g, ACK, 8000, NULL, 0);

        netstack_output_ready(h->stack, 2); /* the other device: nothing is tried */
        g_assert_cmpuint(h->n_outputs, ==, 3);
        h->full = (MacAddr){};
        netstack_output_ready(h->stack, 1);
        g_assert_cmpuint(guest_take(&stuck).payload_len, ==, 10);
        guest_send(&g, RST, 0, NULL, 0);
        h->port.id = 1;
        guest_send(&stuck, RST, 0, NULL, 0);
}

/* All was said and acknowledged both ways, but the host has yet to take the last of it: the guest may forget the connection, and says so
 * by a reset when asked. What it was told has arrived still does. */
static void test_forgotten_by_guest(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        g.socket->send_room = 2;
        guest_send(&g, FIN | ACK, 8000, "hello", 5);
        g.seq += 6;
        fake_stream_eof(h, g.socket);
        fake_run(h);
        g.ack++;
        guest_send(&g, ACK, 8000, NULL, 0);
        fake_clear_frames(h);
        guest_send(&g, RST, 0, NULL, 0);
        fake_advance(h, USEC_PER_MINUTE * 60);
        for (FakeFrame *f; (f = fake_take_frame(h)); fake_frame_free(f))
                g_assert_false(is_tcp(f)); /* nothing to ask the guest for */
        g_assert_cmpuint(flows(h), ==, 1);
        fake_stream_room(h, g.socket, 100);
        fake_run(h);
        g_assert_cmpmem(g.socket->out->data, g.socket->out->len, "hello", 5);
        g_assert_true(g.socket->shut);
        g_assert_cmpuint(flows(h), ==, 0);
        g_assert_false(g.socket->was_reset);
}

/* The ACK of the guest's FIN was lost, and the flow is gone: its FIN comes again and gets its ACK, as from a host in TIME-WAIT. A reset
 * would be an error to a guest that still reads what it has received. */
static void test_last_ack_lost(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Guest g = guest_connect(h, "10.1.2.3", 80);
        fake_stream_eof(h, g.socket);
        fake_run(h);
        g.ack++;
        guest_send(&g, FIN | ACK, 8000, "bye", 3);
        g_assert_cmpuint(flows(h), ==, 0);
        fake_clear_frames(h);

        guest_send(&g, FIN | ACK, 8000, "bye", 3);
        Parsed r = guest_take(&g);
        g_assert_cmpuint(r.tcp_flags, ==, ACK);
        g_assert_cmpuint(r.seq, ==, g.ack);
        g_assert_cmpuint(r.ack, ==, g.seq + 4);
        g.seq += 4;
        guest_send(&g, ACK, 8000, NULL, 0); /* a late one says nothing new */
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        guest_send(&g, ACK, 8000, "more", 4); /* what was never there is reset */
        g_assert_cmpuint(guest_take(&g).tcp_flags, ==, RST);

        g.seq -= 4;
        fake_advance(h, USEC_PER_MINUTE);
        fake_clear_frames(h);
        guest_send(&g, FIN | ACK, 8000, "bye", 3);
        g_assert_cmpuint(guest_take(&g).tcp_flags, ==, RST);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/tcp/clean", test_clean);
        g_test_add_func("/tcp/ip6", test_ip6);
        g_test_add_func("/tcp/tiny-buffers", test_tiny_buffers);
        g_test_add_func("/tcp/bad-wire", test_bad_wire);
        g_test_add_func("/tcp/chaos", test_chaos);
        g_test_add_func("/tcp/refused", test_refused);
        g_test_add_func("/tcp/unreachable", test_unreachable);
        g_test_add_func("/tcp/hop-limit", test_hop_limit);
        g_test_add_func("/tcp/time-jumps", test_time_jumps);
        g_test_add_func("/tcp/mark", test_mark);
        g_test_add_func("/tcp/connected-at-once", test_connected_at_once);
        g_test_add_func("/tcp/black-hole", test_black_hole);
        g_test_add_func("/tcp/half-open-limit", test_half_open_limit);
        g_test_add_func("/tcp/flow-limit", test_flow_limit);
        g_test_add_func("/tcp/forbidden", test_forbidden);
        g_test_add_func("/tcp/host-loopback", test_host_loopback);
        g_test_add_func("/tcp/service", test_service);
        g_test_add_func("/tcp/parking", test_parking);
        g_test_add_func("/tcp/park-limit", test_park_limit);
        g_test_add_func("/tcp/delayed-ack", test_delayed_ack);
        g_test_add_func("/tcp/steady-ack", test_steady_ack);
        g_test_add_func("/tcp/steady-discard", test_steady_discard);
        g_test_add_func("/tcp/out-of-order", test_out_of_order);
        g_test_add_func("/tcp/zero-window", test_zero_window);
        g_test_add_func("/tcp/discard", test_discard);
        g_test_add_func("/tcp/frugal-repair", test_frugal_repair);
        g_test_add_func("/tcp/vanished", test_vanished);
        g_test_add_func("/tcp/forward-stats", test_forward_stats);
        g_test_add_func("/tcp/forward-stats-gone", test_forward_stats_gone);
        g_test_add_func("/tcp/missing-guest", test_missing_guest);
        g_test_add_func("/tcp/keepalive", test_keepalive);
        g_test_add_func("/tcp/reset-from-host", test_reset_from_host);
        g_test_add_func("/tcp/address-gone", test_address_gone);
        g_test_add_func("/tcp/half-close", test_half_close);
        g_test_add_func("/tcp/hostile", test_hostile);
        g_test_add_func("/tcp/device-full", test_device_full);
        g_test_add_func("/tcp/park-full-hole", test_park_full_hole);
        g_test_add_func("/tcp/window-reopened", test_window_reopened);
        g_test_add_func("/tcp/window-update", test_window_update);
        g_test_add_func("/tcp/answers-looked-for", test_answers_looked_for);
        g_test_add_func("/tcp/answer-before-upload", test_answer_before_upload);
        g_test_add_func("/tcp/window-of-a-segment", test_window_of_a_segment);
        g_test_add_func("/tcp/window-of-a-stream", test_window_of_a_stream);
        g_test_add_func("/tcp/turn-used-up", test_turn_used_up);
        g_test_add_func("/tcp/turns-of-a-stream", test_turns_of_a_stream);
        g_test_add_func("/tcp/window-shared", test_window_shared);
        g_test_add_func("/tcp/big-frames", test_big_frames);
        g_test_add_func("/tcp/big-frames-ip6", test_big_frames_ip6);
        g_test_add_func("/tcp/big-frames-cut", test_big_frames_cut);
        g_test_add_func("/tcp/big-frames-refused", test_big_frames_refused);
        g_test_add_func("/tcp/big-frames-again", test_big_frames_again);
        g_test_add_func("/tcp/big-frames-lost", test_big_frames_lost);
        g_test_add_func("/tcp/moved-while-full", test_moved_while_full);
        g_test_add_func("/tcp/bulk-waits", test_bulk_waits);
        g_test_add_func("/tcp/old-connection", test_old_connection);
        g_test_add_func("/tcp/jumbo-mss", test_jumbo_mss);
        g_test_add_func("/tcp/reset-in-full-batch", test_reset_in_full_batch);
        g_test_add_func("/tcp/park-pieces", test_park_pieces);
        g_test_add_func("/tcp/park-overhead", test_park_overhead);
        g_test_add_func("/tcp/device-full-long", test_device_full_long);
        g_test_add_func("/tcp/ack-while-repairing", test_ack_while_repairing);
        g_test_add_func("/tcp/full-neighbour", test_full_neighbour);
        g_test_add_func("/tcp/forgotten-by-guest", test_forgotten_by_guest);
        g_test_add_func("/tcp/last-ack-lost", test_last_ack_lost);
        return g_test_run();
}
