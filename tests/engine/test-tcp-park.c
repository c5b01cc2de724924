/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The park of TCP: each byte once, in whatever pieces and order it comes; its bound; what is counted of it; and what the guest is told of
 * what came out of order.
 */

#include <netinet/in.h>

#include "fake-host.h"
#include "netstack/tcp-private.h"
#include "packet.h"

#define LEN 2000

typedef struct Guest {
        FakeHost *h; /* (owned) */
        Packet4 p;
        FakeSocket *socket; /* (borrowed) the host's end */
        uint32_t first, ack; /* sequence number of its first byte; what it acknowledges */
        bool ts;
        uint8_t data[LEN];
} Guest;

static void transmit(Guest *g, uint32_t seq, uint8_t flags, const void *options, size_t options_len, const void *payload, size_t len) {
        packet_send(g->h, packet_tcp(&g->p, seq, g->ack, flags, 65535, options, options_len, payload, len));
        fake_run(g->h);
}

/* With SACK, and with time stamps where they are wanted. */
static void begin(Guest *g, void (*change)(NetstackConfig *c), bool ts) {
        static const uint8_t options[] = { 2, 4, 5, 180, 1, 1, 4, 2, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0 };
        g_autoptr(FakeFrame) f = NULL;

        *g = (Guest){ .h = fake_host_new(change), .p = packet4("10.1.2.3", 80), .first = 1001, .ts = ts };
        for (unsigned i = 0; i < LEN; i++)
                g->data[i] = (uint8_t) (i * 7 + i / 256);
        transmit(g, 1000, TCP_SYN, options, ts ? sizeof(options) : 8, NULL, 0);
        g->ack = packet_take(g->h, &f).seq + 1;
        transmit(g, g->first, TCP_ACK, options + 8, ts ? 12 : 0, NULL, 0);
        g->socket = fake_last_socket(g->h, FAKE_TCP);
}

static void end(Guest *g) {
        fake_host_free(g->h);
}

/* Its bytes from @from to before @to. */
static void send_bytes(Guest *g, uint32_t from, uint32_t to) {
        static const uint8_t ts[] = { 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0 };

        fake_clear_frames(g->h);
        transmit(g, g->first + from, TCP_ACK, ts, g->ts ? sizeof(ts) : 0, g->data + from, to - from);
}

static NetstackStats stats_of(const Guest *g) {
        NetstackStats s;

        netstack_get_stats(g->h->stack, &s);
        return s;
}

static void assert_parked(const Guest *g, uint64_t bytes) {
        g_assert_cmpuint(stats_of(g).parked_bytes, ==, bytes);
}

/* The host has got this much, and as it was sent. */
static void assert_delivered(const Guest *g, size_t bytes) {
        g_assert_cmpmem(g->socket->out->data, g->socket->out->len, g->data, bytes);
}

/* Behind what is there, before it, over both its ends, within it, between two, and the same again: each byte is kept once. */
static void test_overlaps(void) {
        static const struct {
                uint32_t from, to, parked;
        } steps[] = {
                { 200, 300, 100 }, { 200, 300, 100 }, { 220, 280, 100 }, { 100, 400, 300 }, { 600, 700, 400 },
                { 450, 500, 450 }, { 380, 460, 500 }, { 100, 700, 600 }, { 150, 650, 600 },
        };
        Guest g;

        begin(&g, NULL, false);
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                send_bytes(&g, steps[i].from, steps[i].to);
                assert_parked(&g, steps[i].parked);
                assert_delivered(&g, 0);
        }
        g_assert_cmpuint(fake_drops(g.h, DROP_TCP_PARK_LIMIT), ==, 0);
        send_bytes(&g, 800, 900);
        send_bytes(&g, 0, 150);
        assert_delivered(&g, 700);
        assert_parked(&g, 100);
        send_bytes(&g, 690, 850);
        assert_delivered(&g, 900);
        assert_parked(&g, 0);
        end(&g);
}

static void room_for_two(NetstackConfig *c) {
        c->limits.park_bytes = 2 * (sizeof(TcpParked) + 100);
}

/* To the last byte, what a piece costs included. */
static void test_bound(void) {
        Guest g;

        begin(&g, room_for_two, false);
        send_bytes(&g, 200, 300);
        send_bytes(&g, 400, 501);
        assert_parked(&g, 100);
        g_assert_cmpuint(fake_drops(g.h, DROP_TCP_PARK_LIMIT), ==, 1);
        send_bytes(&g, 400, 500);
        assert_parked(&g, 200);
        g_assert_cmpuint(fake_drops(g.h, DROP_TCP_PARK_LIMIT), ==, 1);
        send_bytes(&g, 600, 601);
        assert_parked(&g, 200);
        g_assert_cmpuint(fake_drops(g.h, DROP_TCP_PARK_LIMIT), ==, 2);
        end(&g);
}

/* What is there now, of which connection, and the most there ever was. */
static void test_counts(void) {
        FlowInfo *flows;
        size_t n;
        Guest g;

        begin(&g, NULL, false);
        g.socket->send_room = 0;
        send_bytes(&g, 0, 400);
        g_assert_cmpuint(stats_of(&g).parked_peak, ==, 400);
        send_bytes(&g, 400, 900);
        assert_parked(&g, 900);
        g_assert_cmpuint(stats_of(&g).parked_peak, ==, 900);
        fake_stream_room(g.h, g.socket, 800);
        fake_run(g.h);
        assert_parked(&g, 100);
        g_assert_cmpint(netstack_list_flows(g.h->stack, 10, &flows, &n), ==, 0);
        g_assert_cmpuint(n, ==, 1);
        g_assert_cmpuint(flows[0].parked_bytes, ==, 100);
        free(flows);
        send_bytes(&g, 900, 1200);
        assert_parked(&g, 400);
        g_assert_cmpuint(stats_of(&g).parked_peak, ==, 900);
        end(&g);
}

/* The last answer tells of @expected: where runs begin and end, in turn, up to a 0. */
static void assert_told(Guest *g, const uint32_t *expected) {
        g_autoptr(FakeFrame) f = NULL;
        Parsed r = {};
        const uint8_t *o, *end_of_options;
        unsigned n = 0;

        while (fake_n_frames(g->h) > 0) {
                g_clear_pointer(&f, fake_frame_free);
                r = packet_take(g->h, &f);
        }
        g_assert_nonnull(f);
        o = r.tcp_options;
        end_of_options = o + r.tcp_options_len;
        while (o < end_of_options && *o != 5)
                o += *o <= 1 ? 1 : o[1];
        for (unsigned i = 2; o < end_of_options && i < o[1]; i += 4) {
                uint32_t edge = (uint32_t) o[i] << 24 | (uint32_t) o[i + 1] << 16 | (uint32_t) o[i + 2] << 8 | o[i + 3];

                g_assert_cmpuint(edge - g->first, ==, expected[n]);
                n++;
        }
        g_assert_cmpuint(expected[n], ==, 0);
}

#define TOLD(...) ((const uint32_t[]){ __VA_ARGS__, 0 })

/* RFC 2018 4: the run that what came last belongs to is first; runs are whole; there are four at most, and three beside time stamps. */
static void test_told(void) {
        Guest g;

        begin(&g, NULL, false);
        send_bytes(&g, 100, 200);
        assert_told(&g, TOLD(100, 200));
        send_bytes(&g, 300, 400);
        assert_told(&g, TOLD(300, 400, 100, 200));
        send_bytes(&g, 200, 300);
        assert_told(&g, TOLD(100, 400));
        send_bytes(&g, 600, 700);
        assert_told(&g, TOLD(600, 700, 100, 400));
        send_bytes(&g, 800, 900);
        send_bytes(&g, 1000, 1100);
        assert_told(&g, TOLD(1000, 1100, 100, 400, 600, 700, 800, 900));
        send_bytes(&g, 1200, 1300);
        assert_told(&g, TOLD(1200, 1300, 100, 400, 600, 700, 800, 900));
        send_bytes(&g, 350, 400);
        assert_told(&g, TOLD(100, 400, 600, 700, 800, 900, 1000, 1100));
        send_bytes(&g, 1000, 1100);
        assert_told(&g, TOLD(1000, 1100, 100, 400, 600, 700, 800, 900));
        end(&g);

        begin(&g, NULL, true);
        for (uint32_t i = 1; i <= 5; i++)
                send_bytes(&g, i * 200, i * 200 + 10);
        assert_told(&g, TOLD(1000, 1010, 200, 210, 400, 410));
        end(&g);
}

/* What only the host has not taken yet is acknowledged, and told of no more. */
static void test_told_in_order(void) {
        Guest g;

        begin(&g, NULL, false);
        g.socket->send_room = 0;
        send_bytes(&g, 0, 100);
        send_bytes(&g, 300, 400);
        assert_told(&g, TOLD(300, 400));
        end(&g);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/tcp-park/overlaps", test_overlaps);
        g_test_add_func("/tcp-park/bound", test_bound);
        g_test_add_func("/tcp-park/counts", test_counts);
        g_test_add_func("/tcp-park/told", test_told);
        g_test_add_func("/tcp-park/told-in-order", test_told_in_order);
        return g_test_run();
}
