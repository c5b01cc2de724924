/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DNS: queries by UDP and TCP, answers of resolvers, errors and time, in any order and of any bytes. Whatever comes back to the client is an
 * answer with an id it has used; nothing is left open at the end.
 *
 *   records:  what, length, rest
 *   what:     low four bits: RECORD_*; high four: length times 256
 */

#include "fuzz.h"
#include "netstack/dns-local.h"
#include "netstack/arp.h"
#include "packet.h"

#define RECORDS_MAX 64

enum {
        RECORD_UDP_QUERY,
        RECORD_UDP_ANSWER,       /* the last query sent to a resolver, turned into an answer, with the rest behind it */
        RECORD_UDP_ANSWER_BYTES, /* behind the right id */
        RECORD_UDP_ERROR,
        RECORD_TCP_BYTES,
        RECORD_TCP_QUERY,        /* framed */
        RECORD_TCP_ANSWER,
        RECORD_TCP_ANSWER_BYTES,
        RECORD_TCP_END,          /* even: the resolver's; odd: the client's */
        RECORD_TCP_ROOM,
        RECORD_TIME,             /* in tenths of seconds */
        RECORD_MODE,             /* bit 0: connects fail; 1: they hang; 2: nothing opens; 3: little room */
};

typedef struct Run {
        FakeHost *h;
        int fd; /* the flow's end of the pair; -1 */
        bool shut;
} Run;

static const Endpoint *client(void) {
        static Endpoint e;

        e = fake_endpoint("192.168.127.2:40000");
        return &e;
}

/* The guest's side reads all it got. */
static void check_frames(Run *r) {
        for (;;) {
                g_autoptr(FakeFrame) f = fake_take_frame(r->h);

                if (!f)
                        return;
                Parsed p = packet_parse(f);
                if (p.eth_type != 0x0800 || (p.ip_frag & 0x3fff)) /* ARP, or pieces of a large answer */
                        continue;
                fuzz_check(p.proto == IPPROTO_UDP && p.sport == DNS_PORT && p.payload_len >= DNS_HEADER_LEN && (p.payload[2] & 0x80));
        }
}

static void check_stream(Run *r) {
        if (r->fd < 0)
                return;

        FakeSocket *k = fake_socket(r->h, r->fd);
        while (k->in->len >= 2) {
                size_t len = k->in->data[0] << 8 | k->in->data[1];

                if (k->in->len < 2 + len)
                        break;
                fuzz_check(len >= DNS_HEADER_LEN && (k->in->data[4] & 0x80));
                fake_host_ops.discard(r->h, r->fd, 2 + len);
        }
}

static void stream_write(Run *r, const uint8_t *data, size_t len, bool framed) {
        uint8_t prefix[] = { len >> 8, len };
        struct iovec iov[] = { { prefix, framed ? 2 : 0 }, { (void *) data, len } };

        if (r->fd < 0) {
                if (dns_stream_open(r->h->stack->dns, client(), &r->fd) < 0) {
                        r->fd = -1;
                        return;
                }
                r->shut = false;
        }
        if (!r->shut)
                (void) fake_host_ops.send(r->h, r->fd, iov, 2);
}

static void stream_end(Run *r) {
        if (r->fd < 0)
                return;
        if (!r->shut) {
                fake_host_ops.shutdown_write(r->h, r->fd);
                r->shut = true;
        } else {
                fake_host_ops.close(r->h, r->fd, false);
                r->fd = -1;
        }
}

static FakeSocket *open_one(Run *r, FakeKind kind) {
        FakeSocket *k = fake_last_socket(r->h, kind);

        return k && k->open ? k : NULL;
}

static void udp_answer(Run *r, const uint8_t *data, size_t len, bool turned) {
        FakeSocket *k = open_one(r, FAKE_UDP);
        g_autoptr(GByteArray) m = g_byte_array_new();

        if (!k || k->sent->len == 0)
                return;
        const FakeDgram *d = fake_sent(k, 0);
        g_byte_array_append(m, d->data, turned ? d->len : 2);
        if (turned && m->len > 2)
                m->data[2] |= 0x80;
        g_byte_array_append(m, data, len);
        fake_dgram_push(r->h, k, &d->peer, m->data, m->len);
}

static void tcp_answer(Run *r, const uint8_t *data, size_t len) {
        FakeSocket *k = open_one(r, FAKE_TCP);
        g_autoptr(GByteArray) m = g_byte_array_new();
        size_t off = 0, q = 0;

        if (!k || !k->connected || k->eof)
                return;
        /* The last whole query that was sent. */
        while (off + 2 <= k->out->len && off + 2 + (k->out->data[off] << 8 | k->out->data[off + 1]) <= k->out->len) {
                q = off;
                off += 2 + (k->out->data[off] << 8 | k->out->data[off + 1]);
        }
        if (off == 0)
                return;
        g_byte_array_append(m, k->out->data + q, off - q);
        m->data[4] |= 0x80;
        g_byte_array_append(m, data, len);
        m->data[0] = (m->len - 2) >> 8;
        m->data[1] = m->len - 2;
        fake_stream_push(r->h, k, m->data, m->len);
}

static void udp_query(Run *r, const uint8_t *data, size_t len) {
        g_autofree uint8_t *m = g_malloc(len + !len);
        Endpoint server = { r->h->stack->config.gateway, DNS_PORT };
        struct iovec store;

        memcpy(m, data, len);
        IovCur cur = iovcur_from_buf(&store, m, len);
        dns_input(r->h->stack->dns, client(), &server, &cur);
}

static void set_mode(Run *r, uint8_t mode) {
        r->h->connect_result = mode & 1 ? -ECONNREFUSED : mode & 2 ? FAKE_CONNECT_NEVER : 0;
        r->h->open_error = mode & 4 ? -EMFILE : 0;
        r->h->default_send_room = mode & 8 ? 5 : SIZE_MAX;
}

static void udp_error(Run *r) {
        FakeSocket *k = open_one(r, FAKE_UDP);

        if (k && k->sent->len > 0) {
                HostError e = { .peer = fake_sent(k, 0)->peer, .error = ECONNREFUSED };

                fake_dgram_push_error(r->h, k, &e);
        }
}

static void add_room(Run *r, size_t more) {
        FakeSocket *k = open_one(r, FAKE_TCP);

        if (k)
                fake_stream_room(r->h, k, more);
        if (r->fd >= 0)
                fake_stream_room(r->h, fake_socket(r->h, fake_socket(r->h, r->fd)->other), more);
}

static void run_record(Run *r, unsigned what, const uint8_t *data, size_t len) {
        FakeSocket *k = open_one(r, FAKE_TCP);
        uint8_t first = len > 0 ? data[0] : 0;

        switch (what) {
        case RECORD_UDP_QUERY:
                udp_query(r, data, len);
                break;
        case RECORD_UDP_ANSWER:
                udp_answer(r, data, len, true);
                break;
        case RECORD_UDP_ANSWER_BYTES:
                udp_answer(r, data, len, false);
                break;
        case RECORD_UDP_ERROR:
                udp_error(r);
                break;
        case RECORD_TCP_BYTES:
                stream_write(r, data, len, false);
                break;
        case RECORD_TCP_QUERY:
                stream_write(r, data, len, true);
                break;
        case RECORD_TCP_ANSWER:
                tcp_answer(r, data, len);
                break;
        case RECORD_TCP_ANSWER_BYTES:
                if (k && k->connected && !k->eof)
                        fake_stream_push(r->h, k, data, len);
                break;
        case RECORD_TCP_END:
                if (first & 1)
                        stream_end(r);
                else if (k && k->connected && !k->eof)
                        fake_stream_eof(r->h, k);
                break;
        case RECORD_TCP_ROOM:
                add_room(r, first);
                break;
        case RECORD_TIME:
                fake_advance(r->h, first * 100 * USEC_PER_MSEC);
                break;
        case RECORD_MODE:
                set_mode(r, first);
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Run r = { .h = fake_host_new(NULL), .fd = -1 };
        const Endpoint resolvers[] = { fake_endpoint("127.0.0.53:53"), fake_endpoint("192.0.2.1:53") };
        Lease lease = { .addr = client()->addr, .mac = FAKE_GUEST_MAC, .hostname = "web", .expires = USEC_INFINITY };

        netstack_set_resolvers(r.h->stack, resolvers, 2, NULL, 0);
        fuzz_check(dhcp_add(r.h->stack->dhcp, &lease) == 0);
        arp_learn(r.h->stack->arp, &lease.addr, &lease.mac);

        for (unsigned i = 0; i < RECORDS_MAX && size >= 2; i++) {
                size_t len = MIN((size_t) ((data[0] >> 4) << 8 | data[1]), size - 2);

                run_record(&r, data[0] & 15, data + 2, len);
                fake_run(r.h);
                check_frames(&r);
                check_stream(&r);
                data += 2 + len;
                size -= 2 + len;
        }

        if (r.fd >= 0)
                fake_host_ops.close(r.h, r.fd, false);
        fake_run(r.h);
        set_mode(&r, 0);
        fake_advance(r.h, 60 * USEC_PER_SEC);
        fuzz_check(r.h->n_open == 0);
        fake_host_free(r.h);
        return 0;
}
