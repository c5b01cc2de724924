/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reassembly: every order, every lie, every limit, and fragments without end. */

#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

#include "netstack/ip.h"
#include "netstack/netstack-private.h"
#include "packet.h"

/* One datagram's L4 bytes, and its pieces. */
typedef struct Whole {
        Packet4 head;
        uint8_t l4[65535];
        size_t len;
} Whole;

static Whole *whole_from(const Packet4 *head, size_t payload_len, uint16_t id) {
        Whole *w = g_new0(Whole, 1);
        g_autofree uint8_t *payload = g_malloc(payload_len + 1);

        w->head = *head;
        w->head.id = id;
        for (size_t i = 0; i < payload_len; i++)
                payload[i] = (uint8_t) (i * 31 + i / 256 + id);
        GByteArray *b = packet_udp(&w->head, payload, payload_len);
        w->len = b->len - ETH_HEADER_LEN - sizeof(struct iphdr);
        memcpy(w->l4, b->data + ETH_HEADER_LEN + sizeof(struct iphdr), w->len);
        g_byte_array_unref(b);
        return w;
}

static Whole *whole_new(const char *dst, size_t payload_len, uint16_t id) {
        Packet4 head = packet4(dst, 9);

        return whole_from(&head, payload_len, id);
}

static void send_piece(FakeHost *h, const Whole *w, size_t start, size_t end, bool more) {
        Packet4 p = w->head;

        p.frag = (uint16_t) (start / 8 | (more ? IP_MF : 0));
        packet_send(h, packet_ip(&p, IPPROTO_UDP, w->l4 + start, end - start));
}

static void expect_arrived(FakeHost *h, const Whole *w, unsigned nth) {
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);

        g_assert_nonnull(k);
        g_assert_cmpuint(k->sent->len, ==, nth);
        g_assert_cmpmem(fake_sent(k, nth - 1)->data, fake_sent(k, nth - 1)->len, w->l4 + 8, w->len - 8);
        g_assert_cmpuint(fragments_held(h->stack->fragments), ==, 0);
}

static void test_orders(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        static const uint8_t orders[][4] = { { 0, 1, 2, 3 }, { 3, 2, 1, 0 }, { 1, 3, 0, 2 }, { 2, 0, 3, 1 }, { 0, 3, 1, 2 } };

        for (unsigned i = 0; i < ELEMENTSOF(orders); i++) {
                g_autofree Whole *w = whole_new("8.8.8.8", 4000, (uint16_t) i);
                size_t at[] = { 0, 1000, 2000, 3000, w->len };

                for (unsigned j = 0; j < 4; j++) {
                        unsigned n = orders[i][j];

                        g_assert_cmpuint(fragments_held(h->stack->fragments), ==, j > 0);
                        send_piece(h, w, at[n], at[n + 1], n < 3);
                }
                expect_arrived(h, w, i + 1);
        }
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

static void test_longest(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Whole *w = whole_new("8.8.8.8", 65507, 1);

        for (size_t at = 0; at < w->len; at += 1480)
                send_piece(h, w, at, MIN(at + 1480, w->len), at + 1480 < w->len);
        expect_arrived(h, w, 1);

        /* one byte beyond what a packet can be */
        w->head.id = 2;
        send_piece(h, w, 65512, 65512 + 4, false);
        g_assert_cmpuint(fake_drops(h, DROP_FRAG_MALFORMED), ==, 1);
        w->head.id = 3;
        w->head.frag = 0x1fff; /* the ping of death: far offset, much data */
        packet_send(h, packet_ip(&w->head, IPPROTO_UDP, w->l4, 1480));
        g_assert_cmpuint(fake_drops(h, DROP_FRAG_MALFORMED), ==, 2);
}

static void test_duplicates(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Whole *w = whole_new("8.8.8.8", 2000, 7);

        send_piece(h, w, 0, 1000, true);
        send_piece(h, w, 0, 1000, true); /* the very same: counted, harmless */
        send_piece(h, w, 1000, w->len, false);
        expect_arrived(h, w, 1);
        g_assert_cmpuint(fake_drops(h, DROP_FRAG_MALFORMED), ==, 1);
}

static void test_lies(void) {
        static const struct {
                size_t start[3], end[3];
                bool more[3];
        } table[] = {
                { { 0, 992 }, { 1000, 2008 }, { true, false } },             /* overlap by eight */
                { { 1000, 0 }, { 2008, 1008 }, { false, true } },            /* the same from the front */
                { { 0, 0 }, { 1000, 1008 }, { true, true } },                /* around another */
                { { 0, 104 }, { 1000, 204 }, { true, true } },               /* within another */
                { { 1000, 504 }, { 1500, 1004 }, { false, false } },         /* two ends */
                { { 1000, 1600 }, { 1500, 1700 }, { false, false } },        /* beyond the end */
                { { 1600, 1000 }, { 1704, 1500 }, { true, false } },         /* an end before what is there */
                { { 0, 8 }, { 7, 16 }, { true, false } },                    /* a middle piece of odd length */
                { { 0, 8 }, { 0, 16 }, { true, false } },                    /* an empty one */
        };
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        for (unsigned i = 0; i < ELEMENTSOF(table); i++) {
                g_autofree Whole *w = whole_new("8.8.8.8", 2000, (uint16_t) (100 + i));
                uint64_t before = fake_drops(h, DROP_FRAG_MALFORMED);

                send_piece(h, w, table[i].start[0], table[i].end[0], table[i].more[0]);
                send_piece(h, w, table[i].start[1], table[i].end[1], table[i].more[1]);
                g_assert_cmpuint(fake_drops(h, DROP_FRAG_MALFORMED), >, before);
                /* dead for good: its honest pieces do not bring it back */
                send_piece(h, w, 0, 1000, true);
                send_piece(h, w, 1000, w->len, false);
                g_assert_null(fake_last_socket(h, FAKE_UDP));
        }
        g_assert_cmpuint(fragments_held(h->stack->fragments), ==, ELEMENTSOF(table));
        fake_advance(h, FRAG_TIMEOUT_USEC);
        g_assert_cmpuint(fragments_held(h->stack->fragments), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_FRAG_TIMEOUT), ==, 0); /* counted when they died */
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_checksum(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Whole *w = whole_new("8.8.8.8", 2000, 7);

        w->l4[1500] ^= 1;
        send_piece(h, w, 0, 1000, true);
        send_piece(h, w, 1000, w->len, false);
        g_assert_cmpuint(fake_drops(h, DROP_CHECKSUM), ==, 1);
        g_assert_null(fake_last_socket(h, FAKE_UDP));
}

static void test_pieces_limit(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Whole *w = whole_new("8.8.8.8", FRAG_PIECES_MAX * 8 - 8, 7);

        for (size_t at = 0; at < w->len; at += 8)
                send_piece(h, w, at, at + 8, at + 8 < w->len);
        expect_arrived(h, w, 1);

        g_autofree Whole *over = whole_new("8.8.8.8", FRAG_PIECES_MAX * 8, 8);
        for (size_t at = 0; at < over->len; at += 8)
                send_piece(h, over, at, at + 8, at + 8 < over->len);
        g_assert_cmpuint(fake_drops(h, DROP_FRAG_LIMIT), ==, 1);
        g_assert_cmpuint(fake_last_socket(h, FAKE_UDP)->sent->len, ==, 1);
}

static void test_timeout(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Whole *w = whole_new("8.8.8.8", 2000, 7);

        send_piece(h, w, 0, 1000, true);
        fake_advance(h, FRAG_TIMEOUT_USEC - 1);
        g_assert_cmpuint(fragments_held(h->stack->fragments), ==, 1);
        fake_advance(h, 1);
        g_assert_cmpuint(fragments_held(h->stack->fragments), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_FRAG_TIMEOUT), ==, 1);
        packet_expect_icmp(h, ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, "192.168.127.1", "8.8.8.8", IPPROTO_UDP);

        send_piece(h, w, 1000, w->len, false); /* without the first piece nobody is told (RFC 1122 3.3.2) */
        fake_advance(h, FRAG_TIMEOUT_USEC);
        g_assert_cmpuint(fake_drops(h, DROP_FRAG_TIMEOUT), ==, 2);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_without_end(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Packet4 head = packet4("8.8.8.8", 9);
        head.src_mac.b[5] = 0x33;
        head.src = fake_ip("192.168.127.3");
        g_autofree Whole *w = whole_new("8.8.8.8", 65507, 0), *honest = whole_from(&head, 3000, 1);

        /* 20,000 datagrams that never end, from one station in many names, while an honest one is under way */
        send_piece(h, honest, 0, 1480, true);
        for (unsigned i = 0; i < 20000; i++) {
                w->head.id = (uint16_t) i;
                w->head.src = prefix_nth(&h->stack->config.subnet, 4 + i % 200);
                send_piece(h, w, i % 2 ? 0 : 64000, i % 2 ? 1480 : 65480, true);
                g_assert_cmpuint(fragments_held(h->stack->fragments), <=, 1 + FRAG_PER_GUEST_MAX);
        }
        g_assert_cmpuint(fake_drops(h, DROP_FRAG_LIMIT), ==, 20000 - FRAG_PER_GUEST_MAX);
        send_piece(h, honest, 1480, honest->len, false);
        g_assert_cmpuint(fake_last_socket(h, FAKE_UDP)->sent->len, ==, 1);

        /* and from many stations: never more than the table */
        for (unsigned i = 0; i < 20000; i++) {
                w->head.id = (uint16_t) i;
                w->head.src_mac.b[4] = (uint8_t) (i % 200);
                send_piece(h, w, 64000, 65480, true);
                g_assert_cmpuint(fragments_held(h->stack->fragments), <=, FRAG_DATAGRAMS_MAX);
        }
        g_assert_cmpuint(fragments_held(h->stack->fragments), ==, FRAG_DATAGRAMS_MAX);
        fake_advance(h, FRAG_TIMEOUT_USEC);
        g_assert_cmpuint(fragments_held(h->stack->fragments), ==, 0);
}

static void test_batch(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        GByteArray *b[FRAME_BATCH_MAX];
        struct iovec iov[FRAME_BATCH_MAX];
        Frame frames[FRAME_BATCH_MAX] = {};

        /* many datagrams become whole in one batch: each keeps its bytes until the batch is sent */
        for (unsigned i = 0; i < FRAME_BATCH_MAX; i++) {
                g_autofree Whole *w = whole_new("8.8.8.8", 2000, (uint16_t) (i / 2));
                Packet4 p = w->head;

                p.frag = i % 2 ? 125 : IP_MF;
                b[i] = i % 2 ? packet_ip(&p, IPPROTO_UDP, w->l4 + 1000, w->len - 1000) : packet_ip(&p, IPPROTO_UDP, w->l4, 1000);
                iov[i] = (struct iovec){ b[i]->data, b[i]->len };
                frames[i] = (Frame){ .iov = &iov[i], .n_iov = 1, .len = b[i]->len };
        }
        fake_input_batch(h, frames, FRAME_BATCH_MAX);
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        g_assert_cmpuint(k->n_sends, ==, 1);
        g_assert_cmpuint(k->sent->len, ==, 1); /* of one length, to one place: a run */
        const FakeDgram *run = fake_sent(k, 0);
        size_t off = 0;
        for (unsigned i = 0; i < FRAME_BATCH_MAX / 2; i++) {
                g_autofree Whole *w = whole_new("8.8.8.8", 2000, (uint16_t) i);

                g_assert_cmpuint(run->gso_size, ==, w->len - 8);
                g_assert_cmpuint(run->len, >=, off + run->gso_size);
                g_assert_cmpmem(run->data + off, run->gso_size, w->l4 + 8, w->len - 8);
                off += run->gso_size;
        }
        g_assert_cmpuint(off, ==, run->len);
        for (unsigned i = 0; i < FRAME_BATCH_MAX; i++)
                g_byte_array_unref(b[i]);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/fragment/orders", test_orders);
        g_test_add_func("/fragment/longest", test_longest);
        g_test_add_func("/fragment/duplicates", test_duplicates);
        g_test_add_func("/fragment/lies", test_lies);
        g_test_add_func("/fragment/checksum", test_checksum);
        g_test_add_func("/fragment/pieces-limit", test_pieces_limit);
        g_test_add_func("/fragment/timeout", test_timeout);
        g_test_add_func("/fragment/without-end", test_without_end);
        g_test_add_func("/fragment/batch", test_batch);
        return g_test_run();
}
