/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UDP: mappings and who may answer, batches both ways, runs of datagrams, errors, ages, limits, forwards. */

#include <errno.h>
#include <malloc.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

#include "netstack/flow.h"
#include "netstack/netstack-private.h"
#include "netstack/udp.h"
#include "packet.h"

static void send_udp(FakeHost *h, const char *dst, uint16_t sport, uint16_t dport, const char *text) {
        Packet4 p = packet4(dst, dport);

        p.sport = sport;
        packet_send(h, packet_udp(&p, text, strlen(text)));
}

static void push(FakeHost *h, FakeSocket *k, const char *from, const char *text) {
        Endpoint e = fake_endpoint(from);

        fake_dgram_push(h, k, &e, text, strlen(text));
}

static void expect_udp(FakeHost *h, const char *src, uint16_t dport, const void *payload, size_t len) {
        g_autoptr(FakeFrame) f = NULL;
        Endpoint e = fake_endpoint(src);
        Parsed p = packet_take(h, &f);

        g_assert_cmpuint(p.proto, ==, IPPROTO_UDP);
        g_assert_true(ip_equal(&p.src, &e.addr));
        g_assert_cmpuint(p.sport, ==, e.port);
        g_assert_cmpuint(p.dport, ==, dport);
        g_assert_cmpmem(p.payload, p.payload_len, payload, len);
        g_assert_cmpuint(p.hdr.flags, ==, VIRTIO_NET_HDR_F_NEEDS_CSUM);
}

static uint8_t *pattern(size_t len, unsigned seed) {
        uint8_t *b = g_malloc(len + 1);

        for (size_t i = 0; i < len; i++)
                b[i] = (uint8_t) (i * 13 + i / 256 * 7 + seed);
        return b;
}

/* ---- mappings ---- */

static void test_mapping(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        send_udp(h, "8.8.8.8", 40000, 1000, "one");
        send_udp(h, "9.9.9.9", 40000, 2000, "two");
        send_udp(h, "192.168.127.254", 40000, 3000, "host");
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 1); /* endpoint-independent (RFC 4787 REQ-1) */
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        Endpoint expect[] = { fake_endpoint("8.8.8.8:1000"), fake_endpoint("9.9.9.9:2000"), fake_endpoint("127.0.0.1:3000") };
        for (unsigned i = 0; i < 3; i++)
                g_assert_true(endpoint_equal(&fake_sent(k, i)->peer, &expect[i]));
        g_assert_cmpmem(fake_sent(k, 1)->data, fake_sent(k, 1)->len, "two", 3);

        push(h, k, "9.9.9.9:2000", "answer");
        push(h, k, "8.8.8.8:1234", "another port"); /* filtered by address alone (REQ-8) */
        push(h, k, "6.6.6.6:2000", "a stranger");
        push(h, k, "127.0.0.1:3000", "from the host");
        push(h, k, "192.168.127.254:3000", "from outside, under the host's address");
        fake_run(h);
        expect_udp(h, "9.9.9.9:2000", 40000, "answer", 6);
        expect_udp(h, "8.8.8.8:1234", 40000, "another port", 12);
        expect_udp(h, "192.168.127.254:3000", 40000, "from the host", 13);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_FILTERED), ==, 2);

        send_udp(h, "8.8.8.8", 40001, 1000, "another guest port");
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 2);
}

static void test_peers_limit(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        char text[64];

        for (unsigned i = 0; i <= UDP_PEERS_MAX + 1; i++) {
                g_snprintf(text, sizeof(text), "8.8.8.%u", i + 1);
                send_udp(h, text, 40000, 9, "x");
        }
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        for (unsigned i = 0; i <= UDP_PEERS_MAX + 1; i++) {
                g_snprintf(text, sizeof(text), "8.8.8.%u:9", i + 1);
                push(h, k, text, "y");
        }
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, UDP_PEERS_MAX); /* the two oldest are forgotten */
        g_assert_cmpuint(fake_drops(h, DROP_UDP_FILTERED), ==, 2);
        expect_udp(h, "8.8.8.3:9", 40000, "y", 1);
}

static void test_ages(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        send_udp(h, "8.8.8.8", 1, 53, "a question");
        send_udp(h, "8.8.8.8", 2, 9, "never answered");
        send_udp(h, "8.8.8.8", 3, 9, "answered");
        push(h, fake_last_socket(h, FAKE_UDP), "8.8.8.8:9", "yes");
        send_udp(h, "8.8.8.8", 4, 53, "a question ...");
        send_udp(h, "8.8.8.8", 4, 9, "... and more");
        fake_run(h);
        g_assert_cmpuint(h->n_open, ==, 4);

        fake_advance(h, UDP_TIMEOUT_DNS_USEC - 1);
        g_assert_cmpuint(h->n_open, ==, 4);
        fake_advance(h, 1);
        g_assert_cmpuint(h->n_open, ==, 3);
        fake_advance(h, UDP_TIMEOUT_ONESHOT_USEC - UDP_TIMEOUT_DNS_USEC);
        g_assert_cmpuint(h->n_open, ==, 1);
        fake_advance(h, UDP_TIMEOUT_USEC - UDP_TIMEOUT_ONESHOT_USEC - 1);
        g_assert_cmpuint(h->n_open, ==, 1);
        send_udp(h, "8.8.8.8", 3, 9, "still here"); /* refreshed */
        fake_advance(h, UDP_TIMEOUT_USEC - 1);
        g_assert_cmpuint(h->n_open, ==, 1);
        fake_advance(h, 1);
        g_assert_cmpuint(h->n_open, ==, 0);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_UDP), ==, 0);
}

/* ---- headers ---- */

static void test_malformed(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Packet4 p = packet4("8.8.8.8", 9);
        uint64_t n = 0;

        for (size_t len = 0; len < 8; len++) {
                packet_send(h, packet_ip(&p, IPPROTO_UDP, "\x9c\x40\0\x09\0\x08\0\0", len));
                g_assert_cmpuint(fake_drops(h, DROP_UDP_MALFORMED), ==, ++n);
        }
        static const uint16_t lengths[] = { 0, 1, 7, 19, 100, 0xffff };
        for (unsigned i = 0; i < ELEMENTSOF(lengths); i++) {
                GByteArray *b = packet_udp(&p, "0123456789", 10);

                b->data[ETH_HEADER_LEN + 24] = (uint8_t) (lengths[i] >> 8);
                b->data[ETH_HEADER_LEN + 25] = (uint8_t) lengths[i];
                packet_send(h, b);
                g_assert_cmpuint(fake_drops(h, DROP_UDP_MALFORMED), ==, ++n);
        }
        p.dport = 0;
        packet_send(h, packet_udp(&p, "x", 1));
        g_assert_cmpuint(fake_drops(h, DROP_UDP_MALFORMED), ==, ++n);
        p.dport = 9;

        GByteArray *b = packet_udp(&p, "0123456789", 10);
        b->data[b->len - 1] ^= 1;
        packet_send(h, b);
        g_assert_cmpuint(fake_drops(h, DROP_CHECKSUM), ==, 1);
        g_assert_cmpuint(h->sockets->len, ==, 0);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        /* no checksum at all is allowed (RFC 768), and one left open by the guest is not looked at */
        b = packet_udp(&p, "none", 4);
        b->data[ETH_HEADER_LEN + 26] = b->data[ETH_HEADER_LEN + 27] = 0;
        packet_send(h, b);
        b = packet_udp(&p, "open", 4);
        b->data[ETH_HEADER_LEN + 26] ^= 0x55;
        struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = htole16(34), .csum_offset = htole16(6) };
        fake_input_hdr(h, &hdr, b->data, b->len);
        g_byte_array_unref(b);

        /* shorter by its own account than the packet: the rest is no payload */
        b = packet_udp(&p, "shorter", 7);
        b->data[ETH_HEADER_LEN + 25] = 8 + 5;
        packet_fix(b->data, b->len);
        packet_send(h, b);
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        g_assert_cmpuint(k->sent->len, ==, 3);
        g_assert_cmpmem(fake_sent(k, 2)->data, fake_sent(k, 2)->len, "short", 5);
        packet_send(h, packet_udp(&p, NULL, 0)); /* empty is a datagram as well */
        g_assert_cmpuint(fake_sent(k, 3)->len, ==, 0);
}

/* ---- batches out ---- */

typedef struct Batch {
        GByteArray *b[FRAME_BATCH_MAX];
        struct iovec iov[FRAME_BATCH_MAX];
        Frame frames[FRAME_BATCH_MAX];
        unsigned n;
} Batch;

static void batch_add(Batch *t, GByteArray *b) {
        t->b[t->n] = b;
        t->iov[t->n] = (struct iovec){ b->data, b->len };
        t->frames[t->n] = (Frame){ .iov = &t->iov[t->n], .n_iov = 1, .len = b->len };
        t->n++;
}

static void batch_send(FakeHost *h, Batch *t) {
        fake_input_batch(h, t->frames, t->n);
        for (unsigned i = 0; i < t->n; i++)
                g_byte_array_unref(t->b[i]);
        t->n = 0;
}

static void test_batch_out(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Batch *t = g_new0(Batch, 1);

        for (unsigned i = 0; i < FRAME_BATCH_MAX; i++) {
                Packet4 p = packet4(i % 2 ? "8.8.8.8" : "9.9.9.9", 9);

                p.sport = (uint16_t) (1000 + i % 3);
                batch_add(t, packet_udp(&p, &i, sizeof(i)));
        }
        batch_send(h, t);
        g_assert_cmpuint(h->sockets->len, ==, 3);
        unsigned n = 0;
        for (unsigned s = 0; s < 3; s++) {
                FakeSocket *k = fake_socket(h, FAKE_FD_FIRST + (int) s);
                unsigned last = 0;

                g_assert_cmpuint(k->n_sends, ==, 1); /* whatever the destinations */
                for (unsigned i = 0; i < k->sent->len; i++, n++) {
                        unsigned value;

                        memcpy(&value, fake_sent(k, i)->data, sizeof(value));
                        g_assert_cmpuint(value % 3, ==, s);
                        g_assert_true(i == 0 || value > last); /* in order */
                        last = value;
                }
        }
        g_assert_cmpuint(n, ==, FRAME_BATCH_MAX);
}

static void test_send_errors(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Batch *t = g_new0(Batch, 1);
        Packet4 p = packet4("8.8.8.8", 9);

        packet_send(h, packet_udp(&p, "x", 1));
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        k->send_room_msgs = 2; /* a full socket takes what it can: the last five of seven are one run */
        for (unsigned i = 0; i < 7; i++)
                batch_add(t, packet_udp(&p, "yyy", i < 3 ? i + 1 : 3));
        batch_send(h, t);
        g_assert_cmpuint(k->sent->len, ==, 3);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_SEND), ==, 5);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        k->send_room_msgs = UINT_MAX;

        static const struct {
                int error, code;
        } table[] = {
                { -ENETUNREACH, ICMP_NET_UNREACH }, { -EHOSTUNREACH, ICMP_HOST_UNREACH }, { -EACCES, ICMP_PKT_FILTERED },
                { -EPERM, ICMP_PKT_FILTERED }, { -ECONNREFUSED, ICMP_PORT_UNREACH }, { -EMSGSIZE, ICMP_FRAG_NEEDED }, { -EINVAL, -1 },
        };
        for (unsigned i = 0; i < ELEMENTSOF(table); i++) {
                k->send_error = table[i].error;
                packet_send(h, packet_udp(&p, "x", 1));
                if (table[i].code >= 0)
                        packet_expect_icmp(h, ICMP_DEST_UNREACH, (uint8_t) table[i].code, "192.168.127.1", "8.8.8.8", IPPROTO_UDP);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
                g_assert_cmpuint(fake_drops(h, DROP_UDP_SEND), ==, 6 + i);
        }

        /* an error that was only waiting to be told costs no datagram */
        unsigned n = k->sent->len;
        k->send_error = -ECONNREFUSED;
        k->send_error_times = 1;
        packet_send(h, packet_udp(&p, "x", 1));
        g_assert_cmpuint(k->sent->len, ==, n + 1);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_runs_out(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        static const struct {
                size_t len;
                uint16_t gso;
                unsigned msgs;
        } table[] = { { 14000, 1400, 1 }, { 14001, 1400, 1 }, { 1400, 1400, 1 }, { 64 * 1000, 1000, 1 }, { 64 * 1000 + 1, 1000, 2 }, { 65000, 100, 11 } };

        for (unsigned i = 0; i < ELEMENTSOF(table); i++) {
                g_autofree uint8_t *payload = pattern(table[i].len, i);
                Packet4 p = packet4("8.8.8.8", 9);
                g_autoptr(GByteArray) b = NULL, all = g_byte_array_new();
                struct virtio_net_hdr_v1 hdr = {
                        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = htole16(table[i].gso),
                        .csum_start = htole16(34), .csum_offset = htole16(6), .hdr_len = htole16(42),
                };

                p.sport = (uint16_t) (2000 + i);
                b = packet_udp(&p, payload, table[i].len);
                fake_input_hdr(h, &hdr, b->data, b->len);
                FakeSocket *k = fake_last_socket(h, FAKE_UDP);
                g_assert_cmpuint(k->sent->len, ==, table[i].msgs);
                g_assert_cmpuint(k->n_sends, ==, 1);
                for (unsigned j = 0; j < k->sent->len; j++) {
                        const FakeDgram *d = fake_sent(k, j);

                        g_assert_cmpuint(d->gso_size, ==, d->len > table[i].gso ? table[i].gso : 0);
                        g_byte_array_append(all, d->data, (guint) d->len);
                }
                g_assert_cmpmem(all->data, all->len, payload, table[i].len);
        }
}

static void test_runs_refused(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree uint8_t *payload = pattern(10001, 3);
        g_autofree Batch *t = g_new0(Batch, 1);
        g_autoptr(GByteArray) all = g_byte_array_new();
        Packet4 p = packet4("8.8.8.8", 9);

        /* a host with a small link refuses runs of long datagrams: they go one by one, what is around them as ever */
        packet_send(h, packet_udp(&p, "before", 6));
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        k->gso_max = 1472;
        for (unsigned i = 0; i < 3; i++)
                batch_add(t, i == 1 ? packet_udp(&p, payload, 10001) : packet_udp(&p, "around", 6));
        t->frames[1].hdr = (struct virtio_net_hdr_v1){
                .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = htole16(4000),
                .csum_start = htole16(34), .csum_offset = htole16(6), .hdr_len = htole16(42),
        };
        batch_send(h, t);
        g_assert_cmpuint(k->sent->len, ==, 1 + 1 + 3 + 1);
        for (unsigned i = 2; i < 5; i++) {
                g_assert_cmpuint(fake_sent(k, i)->gso_size, ==, 0);
                g_byte_array_append(all, fake_sent(k, i)->data, (guint) fake_sent(k, i)->len);
        }
        g_assert_cmpmem(all->data, all->len, payload, 10001);
        g_assert_cmpuint(fake_sent(k, 4)->len, ==, 2001);
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

/* A socket that fills up while a refused run goes one by one: what it took is sent, the rest is dropped, and counted once. */
static void test_refused_when_full(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Batch *t = g_new0(Batch, 1);
        Packet4 p = packet4("8.8.8.8", 9);

        packet_send(h, packet_udp(&p, "x", 1));
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        k->gso_max = 2;
        k->send_room_msgs = 3;
        for (unsigned i = 0; i < 10; i++)
                batch_add(t, packet_udp(&p, "yyy", 3));
        batch_send(h, t);
        g_assert_cmpuint(k->sent->len, ==, 1 + 3);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_SEND), ==, 7);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

/* A run of more datagrams than any sender makes of 64 KiB is work for us, and none for who sends it. */
static void test_runs_limit(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree uint8_t *payload = pattern(20 * UDP_GUEST_RUN_MAX + 1, 3);
        Packet4 p = packet4("8.8.8.8", 9);
        struct virtio_net_hdr_v1 hdr = {
                .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4, .gso_size = htole16(20),
                .csum_start = htole16(34), .csum_offset = htole16(6), .hdr_len = htole16(42),
        };

        for (unsigned over = 0; over <= 1; over++) {
                g_autoptr(GByteArray) b = packet_udp(&p, payload, 20 * UDP_GUEST_RUN_MAX + over);

                fake_input_hdr(h, &hdr, b->data, b->len);
                g_assert_cmpuint(fake_drops(h, DROP_UDP_MALFORMED), ==, over);
                g_assert_cmpuint(fake_last_socket(h, FAKE_UDP)->sent->len, ==, UDP_GUEST_RUN_MAX / UDP_SEGMENTS_MAX);
        }
}

/* What a guest sends one by one leaves as a run where it can, and arrives as it was sent. */
static void test_joined_out(void) {
        static const struct {
                unsigned n;
                size_t len;
                uint16_t dport;
        } table[] = {
                { 5, 100, 9 }, { 1, 60, 9 },  /* a shorter one ends a run */
                { 2, 100, 9 },
                { 3, 100, 10 },               /* to another place */
                { 1, 0, 10 }, { 2, 0, 10 },   /* an empty one is no part of a run */
                { 1, 50, 10 }, { 1, 51, 10 }, /* nor a longer one */
                { 2, 1400, 10 },
        };
        static const struct {
                size_t len;
                uint16_t unit;
        } expect[] = {
                { 560, 100 }, { 200, 100 }, { 300, 100 }, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 50, 0 }, { 51, 0 }, { 2800, 1400 },
        };
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Batch *t = g_new0(Batch, 1);
        g_autofree uint8_t *payload = pattern(1400, 0);

        for (unsigned i = 0; i < ELEMENTSOF(table); i++)
                for (unsigned j = 0; j < table[i].n; j++) {
                        Packet4 p = packet4("8.8.8.8", table[i].dport);

                        batch_add(t, packet_udp(&p, payload, table[i].len));
                }
        batch_send(h, t);
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        g_assert_cmpuint(k->n_sends, ==, 1);
        g_assert_cmpuint(k->sent->len, ==, ELEMENTSOF(expect));
        for (unsigned i = 0; i < ELEMENTSOF(expect); i++) {
                const FakeDgram *d = fake_sent(k, i);
                size_t unit = expect[i].unit > 0 ? expect[i].unit : d->len;

                g_assert_cmpuint(d->len, ==, expect[i].len);
                g_assert_cmpuint(d->gso_size, ==, expect[i].unit);
                for (size_t off = 0; off < d->len; off += unit)
                        g_assert_cmpmem(d->data + off, MIN(unit, d->len - off), payload, MIN(unit, d->len - off));
        }
}

/* A run is as long as the kernel takes it, and as a packet can be. */
static void test_joined_limits(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Batch *t = g_new0(Batch, 1);
        g_autofree uint8_t *payload = pattern(9000, 0);
        Packet4 p = packet4("8.8.8.8", 9);
        size_t sum = 0;

        h->port.mtu = 65520;
        for (unsigned i = 0; i < FRAME_BATCH_MAX; i++)
                batch_add(t, packet_udp(&p, payload, 1));
        batch_send(h, t);
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        g_assert_cmpuint(k->sent->len, ==, 1);
        g_assert_cmpuint(fake_sent(k, 0)->len, ==, UDP_SEGMENTS_MAX);

        for (unsigned i = 0; i < 10; i++)
                batch_add(t, packet_udp(&p, payload, 9000));
        batch_send(h, t);
        for (unsigned i = 1; i < k->sent->len; i++) {
                g_assert_cmpuint(fake_sent(k, i)->len, <=, UDP_RUN_MAX);
                sum += fake_sent(k, i)->len;
        }
        g_assert_cmpuint(sum, ==, 90000);
        g_assert_cmpuint(k->sent->len, ==, 3);
}

/* A host that refuses a run has the datagrams one by one, and is not asked again for that flow. */
static void test_joined_refused(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autofree Batch *t = g_new0(Batch, 1);
        g_autofree uint8_t *payload = pattern(1400, 0);
        Packet4 p = packet4("8.8.8.8", 9);

        packet_send(h, packet_udp(&p, "x", 1));
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        k->gso_max = 1000;
        for (unsigned round = 0; round < 2; round++) {
                unsigned sends = k->n_sends;

                for (unsigned i = 0; i < 4; i++)
                        batch_add(t, packet_udp(&p, payload, 1400));
                batch_send(h, t);
                g_assert_cmpuint(k->sent->len, ==, 1 + 4 * (round + 1));
                g_assert_cmpuint(k->n_sends - sends, ==, round == 0 ? 2 + 4 : 1);
        }
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

/* ---- from host sockets ---- */

static bool is_run(const Parsed *p) {
        return p->hdr.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4;
}

/* The datagrams of the frames that are there, however they travel. */
static unsigned take_count(FakeHost *h) {
        unsigned n = 0;

        while (fake_n_frames(h) > 0) {
                g_autoptr(FakeFrame) f = NULL;
                Parsed p = packet_take(h, &f);

                n += is_run(&p) ? (unsigned) DIV_ROUND_UP(p.payload_len, (size_t) le16toh(p.hdr.gso_size)) : 1;
        }
        return n;
}

/* Takes frames and puts what was cut together again, and apart what was joined; the next datagram's bytes. @run holds what is left of a run. */
static GByteArray *take_datagram(FakeHost *h, GByteArray *run, size_t *unit) {
        GByteArray *all = g_byte_array_new();
        g_autoptr(FakeFrame) f = NULL;

        for (;;) {
                if (run->len > 0) {
                        guint n = MIN(run->len, (guint) *unit);

                        g_byte_array_append(all, run->data, n);
                        g_byte_array_remove_range(run, 0, n);
                        return all;
                }

                Parsed p = packet_take(h, &f);

                if (is_run(&p)) {
                        *unit = le16toh(p.hdr.gso_size);
                        g_assert_cmpuint(28 + *unit, <=, h->port.mtu);
                        g_assert_cmpuint(p.payload_len, >, *unit);
                        g_assert_cmpuint(DIV_ROUND_UP(p.payload_len, *unit), <=, UDP_SEGMENTS_MAX);
                        g_byte_array_append(run, p.payload, (guint) p.payload_len);
                        continue;
                }
                g_assert_cmpuint(p.ip_len, <=, h->port.mtu);
                if (p.ip_frag == 0)
                        g_byte_array_append(all, p.payload, (guint) p.payload_len);
                else {
                        g_assert_cmpuint((p.ip_frag & IP_OFFMASK) * 8u, ==, all->len);
                        g_byte_array_append(all, p.l4, (guint) p.l4_len);
                }
                if (!(p.ip_frag & IP_MF)) {
                        if (p.ip_frag != 0)
                                g_byte_array_remove_range(all, 0, 8);
                        return all;
                }
        }
}

static void receive_lengths(uint32_t mtu, const size_t *lengths, unsigned n) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Endpoint from = fake_endpoint("8.8.8.8:9");

        h->port.mtu = mtu;
        send_udp(h, "8.8.8.8", 40000, 9, "x");
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        for (unsigned i = 0; i < n; i++) {
                g_autofree uint8_t *payload = pattern(lengths[i], i);

                fake_dgram_push(h, k, &from, payload, lengths[i]);
        }
        fake_advance(h, USEC_PER_MSEC);
        g_autoptr(GByteArray) run = g_byte_array_new();
        size_t unit = 0;
        for (unsigned i = 0; i < n; i++) {
                g_autofree uint8_t *payload = pattern(lengths[i], i);
                g_autoptr(GByteArray) b = take_datagram(h, run, &unit);

                g_assert_cmpmem(b->data, b->len, payload, lengths[i]);
        }
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

/* Datagrams that lie side by side in a socket leave as one frame where they can. */
static void test_joined_in(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;
        g_autofree uint8_t *payload = pattern(1400, 0);
        Endpoint a = fake_endpoint("8.8.8.8:9"), b = fake_endpoint("8.8.8.8:10");
        static const struct {
                size_t len;
                uint16_t unit;
        } expect[] = { { 4200 + 7, 1400 }, { 1400, 0 }, { 2800, 1400 }, { 0, 0 }, { 1, 0 } };

        send_udp(h, "8.8.8.8", 40000, 9, "x");
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        for (unsigned i = 0; i < 3; i++)
                fake_dgram_push(h, k, &a, payload, 1400);
        fake_dgram_push(h, k, &a, payload, 7);
        fake_dgram_push(h, k, &a, payload, 1400);
        fake_dgram_push(h, k, &b, payload, 1400); /* from another port */
        fake_dgram_push(h, k, &b, payload, 1400);
        fake_dgram_push(h, k, &b, payload, 0);
        fake_dgram_push(h, k, &b, payload, 1);
        fake_run(h);
        for (unsigned i = 0; i < ELEMENTSOF(expect); i++) {
                Parsed p = packet_take(h, &f);

                g_assert_cmpuint(p.payload_len, ==, expect[i].len);
                g_assert_cmpuint(is_run(&p), ==, expect[i].unit > 0);
                g_assert_cmpuint(le16toh(p.hdr.gso_size), ==, expect[i].unit);
        }
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
}

static void test_receive_lengths(void) {
        static const uint32_t mtus[] = { 576, 1500, 9000, 65520, 65535 };
        static const size_t edges[] = {
                0, 1, 1471, 1472, 1473, 2047, 2048, 2049, 0, 3000, 65507, 100, 65507, 65506, 1, 2048, 40000, 1472, 1473, 10, 9000,
        };
        size_t lengths[700], same[] = { 2048, 65507, 1500, 600 };
        g_autoptr(GRand) rand = g_rand_new_with_seed(7);

        for (unsigned m = 0; m < ELEMENTSOF(mtus); m++) {
                receive_lengths(mtus[m], edges, ELEMENTSOF(edges));
                for (unsigned i = 0; i < ELEMENTSOF(same); i++) {
                        for (unsigned j = 0; j < 40; j++)
                                lengths[j] = same[i];
                        receive_lengths(mtus[m], lengths, 40);
                }
                for (unsigned round = 0; round < 6; round++) {
                        unsigned n = (unsigned) g_rand_int_range(rand, 1, round == 0 ? 700 : 80);

                        for (unsigned i = 0; i < n; i++)
                                lengths[i] = (size_t) (g_rand_int_range(rand, 0, 4) == 0 && round > 0 ? g_rand_int_range(rand, 0, 65508)
                                                                                                      : g_rand_int_range(rand, 0, 1500));
                        receive_lengths(mtus[m], lengths, n);
                }
        }
}

static void test_receive_batch(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        send_udp(h, "8.8.8.8", 40000, 9, "x");
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        for (unsigned i = 0; i < 2 * UDP_RECV_BATCH; i++)
                push(h, k, "8.8.8.8:9", "y");
        fake_run(h);
        g_assert_cmpuint(take_count(h), ==, 2 * UDP_RECV_BATCH);
        g_assert_cmpuint(k->n_recvs, ==, 3);      /* two full ones, one that finds nothing */
        g_assert_cmpuint(h->n_outputs, ==, 1);    /* FRAME_BATCH_MAX frames at a time */
}

static void test_runs_in(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;
        g_autofree uint8_t *payload = pattern(60000, 1);
        Endpoint from = fake_endpoint("8.8.8.8:9");

        send_udp(h, "8.8.8.8", 40000, 9, "x");
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        for (unsigned i = 0; i < 3; i++) { /* the first is more than the small rooms hold, the others are expected */
                fake_dgram_push_gso(h, k, &from, payload, 60000, 1400);
                fake_run(h);
                Parsed p = packet_take(h, &f);
                g_assert_cmpuint(p.hdr.gso_type, ==, VIRTIO_NET_HDR_GSO_UDP_L4);
                g_assert_cmpuint(le16toh(p.hdr.gso_size), ==, 1400);
                g_assert_cmpuint(le16toh(p.hdr.hdr_len), ==, 42);
                g_assert_cmpmem(p.payload, p.payload_len, payload, 60000);
        }
        fake_dgram_push_gso(h, k, &from, payload, 1400, 1400); /* one is no run */
        fake_run(h);
        g_assert_cmpuint(packet_take(h, &f).hdr.gso_type, ==, VIRTIO_NET_HDR_GSO_NONE);

        fake_dgram_push_gso(h, k, &from, payload, 10001, 5000); /* each too long for the link: one by one, in pieces */
        fake_run(h);
        g_autoptr(GByteArray) run = g_byte_array_new();
        size_t off = 0, unit = 0;
        while (fake_n_frames(h) > 0) {
                g_autoptr(GByteArray) b = take_datagram(h, run, &unit);

                g_assert_cmpmem(b->data, b->len, payload + off, MIN((size_t) 5000, 10001 - off));
                off += b->len;
        }
        g_assert_cmpuint(off, ==, 10001);
}

/* ---- errors ---- */

static void test_errors(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        g_autoptr(FakeFrame) f = NULL;

        send_udp(h, "8.8.8.8", 40000, 9, "hello");
        FakeSocket *k = fake_last_socket(h, FAKE_UDP);
        HostError e = {
                .peer = fake_endpoint("8.8.8.8:9"), .offender = fake_ip("8.8.8.8"), .error = ECONNREFUSED,
                .icmp_type = ICMP_DEST_UNREACH, .icmp_code = ICMP_PORT_UNREACH, .payload = "hello", .payload_len = 5,
        };
        fake_dgram_push_error(h, k, &e);
        fake_run(h);
        Parsed p = packet_take(h, &f);
        g_assert_true(ip_equal(&p.src, &e.offender));
        g_assert_cmpuint(p.icmp_code, ==, ICMP_PORT_UNREACH);
        g_assert_cmpuint(p.payload[20] << 8 | p.payload[21], ==, 40000); /* the guest's port, not the host socket's */
        g_assert_cmpuint(p.payload[22] << 8 | p.payload[23], ==, 9);
        g_assert_cmpuint(p.payload[24] << 8 | p.payload[25], ==, 13);
        g_assert_cmpmem(p.payload + 28, p.payload_len - 28, "hello", 5);

        e.offender = fake_ip("10.0.0.9");
        e.icmp_code = ICMP_FRAG_NEEDED;
        e.mtu = 1400;
        fake_dgram_push_error(h, k, &e);
        e.icmp_type = ICMP_TIME_EXCEEDED;
        e.icmp_code = ICMP_EXC_TTL;
        fake_dgram_push_error(h, k, &e);
        fake_run(h);
        g_assert_cmpuint(packet_take(h, &f).next_mtu, ==, 1400);
        packet_expect_icmp(h, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, "10.0.0.9", "8.8.8.8", IPPROTO_UDP);

        e.icmp_type = ICMP_REDIRECT; /* none of the guest's business */
        fake_dgram_push_error(h, k, &e);
        e.icmp_type = ICMP_DEST_UNREACH;
        e.peer = fake_endpoint("6.6.6.6:9"); /* nobody the guest spoke to */
        fake_dgram_push_error(h, k, &e);
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        /* an error at the host's loopback comes from the host address */
        send_udp(h, "192.168.127.254", 40000, 9, "hello");
        e.peer = fake_endpoint("127.0.0.1:9");
        e.offender = fake_ip("127.0.0.1");
        e.icmp_code = ICMP_PORT_UNREACH;
        fake_dgram_push_error(h, k, &e);
        fake_run(h);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, "192.168.127.254", "192.168.127.254", IPPROTO_UDP);
}

static void test_no_socket(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        h->open_error = -EMFILE;
        send_udp(h, "8.8.8.8", 40000, 9, "x");
        g_assert_cmpuint(fake_drops(h, DROP_UDP_NO_SOCKET), ==, 1);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_UDP), ==, 0);
        h->open_error = 0;
        send_udp(h, "8.8.8.8", 40000, 9, "x");
        g_assert_cmpuint(fake_last_socket(h, FAKE_UDP)->sent->len, ==, 1);
}

/* ---- limits ---- */

static void test_all_ports(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        unsigned share = NETSTACK_UDP_FLOWS_MAX - NETSTACK_UDP_FLOWS_MAX / 8;

        for (unsigned port = 1; port <= 65535; port++) {
                Packet4 p = packet4("8.8.8.8", 9);

                p.sport = (uint16_t) port;
                packet_send(h, packet_udp(&p, "x", 1));
                if (port % 16384 == 0) /* some time passes */
                        h->now += USEC_PER_SEC;
        }
        g_assert_cmpuint(h->n_open, ==, share);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_FLOW_LIMIT), >=, 65535 - share - 10);

        /* another guest is served as if nothing were */
        Packet4 p = packet4("8.8.8.8", 9);
        p.src = fake_ip("192.168.127.3");
        p.src_mac.b[5] = 3;
        for (unsigned port = 1; port <= 1000; port++) {
                p.sport = (uint16_t) port;
                packet_send(h, packet_udp(&p, "x", 1));
        }
        g_assert_cmpuint(h->n_open, ==, share + 1000);

        /* and what the first one speaks over goes on */
        uint64_t before = fake_drops_total(h);
        send_udp(h, "8.8.8.8", 5000, 9, "still here");
        g_assert_cmpuint(fake_drops_total(h), ==, before);

        fake_advance(h, UDP_TIMEOUT_ONESHOT_USEC);
        g_assert_cmpuint(h->n_open, ==, 0);
        send_udp(h, "8.8.8.8", 5000, 9, "anew"); /* its share is free again */
        send_udp(h, "8.8.8.8", 5001, 9, "anew");
        g_assert_cmpuint(h->n_open, ==, 2);
}

static void few_flows(NetstackConfig *c) {
        c->limits.udp_flows = 8;
}

static void test_evict(void) {
        g_autoptr(FakeHost) h = fake_host_new(few_flows);

        for (uint16_t i = 1; i <= 7; i++) {
                send_udp(h, "8.8.8.8", i, 9, "x");
                h->now += USEC_PER_SEC;
        }
        send_udp(h, "8.8.8.8", 1, 9, "again");
        g_assert_cmpuint(h->n_open, ==, 7);

        /* a guest at its share loses its own quietest: port 2 */
        send_udp(h, "8.8.8.8", 100, 9, "new");
        g_assert_cmpuint(h->n_open, ==, 7);
        g_assert_true(fake_socket(h, FAKE_FD_FIRST)->open);
        g_assert_false(fake_socket(h, FAKE_FD_FIRST + 1)->open);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_FLOW_LIMIT), ==, 0);

        /* not at every packet */
        for (uint16_t i = 200; i < 300; i++)
                send_udp(h, "8.8.8.8", i, 9, "new");
        g_assert_cmpuint(fake_drops(h, DROP_UDP_FLOW_LIMIT), ==, 100);
        h->now += USEC_PER_SEC;
        send_udp(h, "8.8.8.8", 300, 9, "new");
        g_assert_cmpuint(fake_drops(h, DROP_UDP_FLOW_LIMIT), ==, 100);

        /* used and evicted in one batch: what was to leave by a socket that is closed by now is dropped */
        fake_advance(h, UDP_TIMEOUT_ONESHOT_USEC);
        g_assert_cmpuint(h->n_open, ==, 0);
        g_autofree Batch *t = g_new0(Batch, 1);
        Packet4 p = packet4("8.8.8.8", 9);
        for (uint16_t i = 401; i <= 408; i++) {
                p.sport = i;
                batch_add(t, packet_udp(&p, "x", 1));
        }
        batch_send(h, t);
        g_assert_cmpuint(h->n_open, ==, 7);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_FLOW_LIMIT), ==, 101);
        g_assert_cmpuint(fake_last_socket(h, FAKE_UDP)->sent->len, ==, 1);
}

/* ---- services and unserved ports ---- */

static void test_gateway_ports(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);

        send_udp(h, "192.168.127.1", 40000, 9, "x");
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, "192.168.127.1", "192.168.127.1", IPPROTO_UDP);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_PORT_UNSERVED), ==, 1);
        send_udp(h, "192.168.127.1", 40000, 53, "no query");
        g_assert_cmpuint(fake_drops(h, DROP_DNS_MALFORMED), ==, 1);
        send_udp(h, "192.168.127.1", 68, 67, "no request");
        send_udp(h, "255.255.255.255", 68, 67, "no request");
        send_udp(h, "192.168.127.255", 68, 67, "no request");
        g_assert_cmpuint(fake_drops(h, DROP_DHCP_MALFORMED), ==, 3);
        send_udp(h, "224.0.0.1", 68, 67, "no request");
        send_udp(h, "255.255.255.255", 40000, 53, "x");
        g_assert_cmpuint(fake_drops(h, DROP_IP_DESTINATION), ==, 2);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(h->sockets->len, ==, 0);
}

/* ---- the table's memory ---- */

static size_t allocated(void) {
        struct mallinfo2 m = mallinfo2(); /* all zero under a sanitizer */

        return m.uordblks + m.hblkhd;
}

/* A storm of flows leaves no more memory behind than a few of them need, whichever of them stay; and the next one finds room again. */
static void test_storm_memory(void) {
        enum { STORM = 16 * FLOW_CHUNK };
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        size_t most, least;

        for (unsigned round = 0; round < 3; round++) {
                for (unsigned i = 0; i < STORM; i++)
                        send_udp(h, "8.8.8.8", (uint16_t) (1000 + i), 9, "x");
                netstack_reap(h->stack);
                g_assert_cmpuint(flow_count(h->stack->flows, FLOW_UDP), ==, STORM);
                most = allocated();
                fake_advance(h, UDP_TIMEOUT_ONESHOT_USEC - 1);
                send_udp(h, "8.8.8.8", 1000 + STORM / 2, 9, "this one stays");
                fake_advance(h, 2);
                fake_advance(h, USEC_PER_SEC);
                netstack_reap(h->stack);
                g_assert_cmpuint(flow_count(h->stack->flows, FLOW_UDP), ==, 1);
                least = allocated();
                g_assert_cmpuint(most == 0 ? 0 : most - least, >=, most == 0 ? 0 : STORM / 2 * sizeof(Flow));
                g_assert_nonnull(flow_next(h->stack->flows, NULL));
                g_assert_null(flow_next(h->stack->flows, flow_next(h->stack->flows, NULL)));
                g_assert_null(flow_by_cookie(h->stack->flows, host_cookie(HOST_KIND_FLOW, 1, 1))); /* of before */
        }
}

/* ---- forwards ---- */

static FakeSocket *add_forward(FakeHost *h, uint32_t id, ForwardSource source) {
        Endpoint local = fake_endpoint("0.0.0.0:5353");
        ForwardConfig c = { .id = id, .proto = IPPROTO_UDP, .local = local, .remote = fake_endpoint("192.168.127.2:53"), .source = source };
        int fd = fake_udp_bound(h, &local);

        g_assert_cmpint(netstack_forward_add(h->stack, &c, fd), ==, 0);
        send_udp(h, "192.168.127.1", 1, 9, "learn me");
        fake_clear_frames(h);
        return fake_socket(h, fd);
}

static void test_forward(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        FakeSocket *k = add_forward(h, 1, FORWARD_SOURCE_CLIENT);
        ForwardStats stats;

        push(h, k, "7.7.7.7:777", "question");
        push(h, k, "127.0.0.1:888", "from the host");
        push(h, k, "127.0.0.2:888", "and again, in other clothes");
        fake_run(h);
        expect_udp(h, "7.7.7.7:777", 53, "question", 8);
        expect_udp(h, "192.168.127.1:888", 53, "from the host", 13);
        expect_udp(h, "192.168.127.1:4987", 53, "and again, in other clothes", 27); /* the port was taken */

        send_udp(h, "7.7.7.7", 53, 777, "answer");
        send_udp(h, "192.168.127.1", 53, 4987, "to the second");
        send_udp(h, "192.168.127.1", 53, 888, "to the first");
        Endpoint to[] = { fake_endpoint("7.7.7.7:777"), fake_endpoint("127.0.0.2:888"), fake_endpoint("127.0.0.1:888") };
        for (unsigned i = 0; i < 3; i++)
                g_assert_true(endpoint_equal(&fake_sent(k, i)->peer, &to[i]));
        g_assert_cmpmem(fake_sent(k, 0)->data, fake_sent(k, 0)->len, "answer", 6);
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 1); /* all by the forward's own socket */

        /* the same client again: the same conversation */
        push(h, k, "127.0.0.2:888", "more");
        fake_run(h);
        expect_udp(h, "192.168.127.1:4987", 53, "more", 4);
        g_assert_cmpint(netstack_forward_stats(h->stack, 1, &stats), ==, 0);
        g_assert_cmpuint(stats.connections, ==, 3);
        g_assert_cmpuint(stats.active, ==, 3);
        g_assert_cmpuint(stats.rx_bytes, ==, 6 + 13 + 12);
        g_assert_cmpuint(stats.tx_bytes, ==, 8 + 13 + 27 + 4);

        /* what the guest says of its own accord to somebody else is no answer */
        send_udp(h, "7.7.7.8", 53, 777, "of its own accord");
        g_assert_cmpuint(h->n_opened[FAKE_UDP], ==, 2);

        /* a client that is gone */
        HostError e = {
                .peer = fake_endpoint("7.7.7.7:777"), .offender = fake_ip("7.7.7.7"), .error = ECONNREFUSED,
                .icmp_type = ICMP_DEST_UNREACH, .icmp_code = ICMP_PORT_UNREACH,
        };
        fake_dgram_push_error(h, k, &e);
        fake_run(h);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, "7.7.7.7", "7.7.7.7", IPPROTO_UDP);

        /* closed at once; answers have nowhere to go any more */
        g_assert_cmpint(netstack_forward_remove(h->stack, 1), ==, 0);
        g_assert_false(k->open);
        send_udp(h, "7.7.7.7", 53, 777, "late");
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, "7.7.7.7", "7.7.7.7", IPPROTO_UDP);
        fake_advance(h, UDP_TIMEOUT_USEC);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_UDP), ==, 0);
}

static void test_forward_gateway(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        FakeSocket *k = add_forward(h, 1, FORWARD_SOURCE_GATEWAY);
        ForwardStats stats;

        push(h, k, "7.7.7.7:777", "q");
        fake_run(h);
        expect_udp(h, "192.168.127.1:777", 53, "q", 1);
        send_udp(h, "192.168.127.1", 53, 777, "a");
        g_assert_cmpuint(k->sent->len, ==, 1);

        fake_advance(h, UDP_TIMEOUT_USEC);
        g_assert_cmpint(netstack_forward_stats(h->stack, 1, &stats), ==, 0);
        g_assert_cmpuint(stats.active, ==, 0);
        send_udp(h, "192.168.127.1", 53, 777, "too late");
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, "192.168.127.1", "192.168.127.1", IPPROTO_UDP);
}

/* A host with several addresses: answers leave from the one the client spoke to, and two of them are two conversations. */
static void test_forward_local(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        FakeSocket *k = add_forward(h, 1, FORWARD_SOURCE_CLIENT);
        Endpoint client = fake_endpoint("7.7.7.7:777");
        IpAddr one = fake_ip("203.0.113.1"), two = fake_ip("203.0.113.2");

        fake_dgram_push_to(h, k, &client, &one, "to one", 6);
        fake_dgram_push_to(h, k, &client, &two, "to two", 6);
        fake_dgram_push_to(h, k, &client, &one, "to one", 6);
        fake_run(h);
        expect_udp(h, "7.7.7.7:777", 53, "to one", 6);
        expect_udp(h, "7.7.7.7:4876", 53, "to two", 6);
        expect_udp(h, "7.7.7.7:777", 53, "to one", 6);

        send_udp(h, "7.7.7.7", 53, 4876, "from two");
        send_udp(h, "7.7.7.7", 53, 777, "from one");
        g_assert_true(ip_equal(&fake_sent(k, 0)->local, &two));
        g_assert_true(ip_equal(&fake_sent(k, 1)->local, &one));
        g_assert_true(endpoint_equal(&fake_sent(k, 0)->peer, &client));

        /* an error says nothing of the host's address, and finds the client all the same */
        HostError e = {
                .peer = client, .offender = client.addr, .error = ECONNREFUSED,
                .icmp_type = ICMP_DEST_UNREACH, .icmp_code = ICMP_PORT_UNREACH,
        };
        fake_dgram_push_error(h, k, &e);
        fake_run(h);
        packet_expect_icmp(h, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, "7.7.7.7", "7.7.7.7", IPPROTO_UDP);
}

/* Who was given another port, for another client had his, keeps it when that one is gone. */
static void test_forward_keeps_port(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        FakeSocket *k = add_forward(h, 1, FORWARD_SOURCE_GATEWAY);

        push(h, k, "7.7.7.7:777", "the first");
        push(h, k, "8.8.8.8:777", "the second");
        fake_run(h);
        expect_udp(h, "192.168.127.1:777", 53, "the first", 9);
        expect_udp(h, "192.168.127.1:4876", 53, "the second", 10);
        fake_advance(h, UDP_TIMEOUT_ONESHOT_USEC - 1);
        push(h, k, "8.8.8.8:777", "still the second");
        fake_run(h);
        fake_advance(h, USEC_PER_SEC);
        g_assert_cmpuint(flow_count(h->stack->flows, FLOW_UDP), ==, 1);
        fake_clear_frames(h);
        push(h, k, "8.8.8.8:777", "the same");
        fake_run(h);
        expect_udp(h, "192.168.127.1:4876", 53, "the same", 8);
}

static void test_forward_flood(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        FakeSocket *k = add_forward(h, 1, FORWARD_SOURCE_CLIENT);

        /* more than one turn takes: others run between, none is left behind */
        for (unsigned i = 0; i < 3000; i++)
                push(h, k, "7.7.7.7:777", "x");
        netstack_host_event(h->stack, k->cookie, HOST_EVENT_IN);
        netstack_flush(h->stack);
        unsigned n = take_count(h);
        g_assert_cmpuint(n, <, 3000);
        fake_advance(h, USEC_PER_SEC);
        g_assert_cmpuint(n + take_count(h), ==, 3000);
}

static void test_forward_unknown_guest(void) {
        g_autoptr(FakeHost) h = fake_host_new(NULL);
        Endpoint local = fake_endpoint("0.0.0.0:5353");
        ForwardConfig c = { .id = 1, .proto = IPPROTO_UDP, .local = local, .remote = { .port = 53 } };
        int fd = fake_udp_bound(h, &local);

        g_assert_cmpint(netstack_forward_add(h->stack, &c, fd), ==, 0);
        push(h, fake_socket(h, fd), "7.7.7.7:777", "anybody?");
        fake_run(h);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);
        g_assert_cmpuint(fake_drops(h, DROP_UDP_FILTERED), ==, 1);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/udp/mapping", test_mapping);
        g_test_add_func("/udp/peers-limit", test_peers_limit);
        g_test_add_func("/udp/ages", test_ages);
        g_test_add_func("/udp/malformed", test_malformed);
        g_test_add_func("/udp/batch-out", test_batch_out);
        g_test_add_func("/udp/send-errors", test_send_errors);
        g_test_add_func("/udp/runs-out", test_runs_out);
        g_test_add_func("/udp/runs-refused", test_runs_refused);
        g_test_add_func("/udp/refused-when-full", test_refused_when_full);
        g_test_add_func("/udp/runs-limit", test_runs_limit);
        g_test_add_func("/udp/joined-out", test_joined_out);
        g_test_add_func("/udp/joined-limits", test_joined_limits);
        g_test_add_func("/udp/joined-refused", test_joined_refused);
        g_test_add_func("/udp/joined-in", test_joined_in);
        g_test_add_func("/udp/receive-lengths", test_receive_lengths);
        g_test_add_func("/udp/receive-batch", test_receive_batch);
        g_test_add_func("/udp/runs-in", test_runs_in);
        g_test_add_func("/udp/errors", test_errors);
        g_test_add_func("/udp/no-socket", test_no_socket);
        g_test_add_func("/udp/all-ports", test_all_ports);
        g_test_add_func("/udp/evict", test_evict);
        g_test_add_func("/udp/gateway-ports", test_gateway_ports);
        g_test_add_func("/udp/storm-memory", test_storm_memory);
        g_test_add_func("/udp/forward", test_forward);
        g_test_add_func("/udp/forward-gateway", test_forward_gateway);
        g_test_add_func("/udp/forward-local", test_forward_local);
        g_test_add_func("/udp/forward-keeps-port", test_forward_keeps_port);
        g_test_add_func("/udp/forward-flood", test_forward_flood);
        g_test_add_func("/udp/forward-unknown-guest", test_forward_unknown_guest);
        return g_test_run();
}
