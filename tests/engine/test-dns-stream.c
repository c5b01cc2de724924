/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DNS over TCP: the test plays the flow's end of the pair and the resolver's end of the connection. */

#include "netstack/dns-private.h"
#include "packet.h"

static const char *const resolvers[] = { "127.0.0.53:53", "192.0.2.1:53" };

typedef struct Client {
        FakeHost *h;
        int fd; /* the flow's end */
} Client;

static FakeHost *host_new(void) {
        FakeHost *h = fake_host_new(NULL);
        Endpoint list[ELEMENTSOF(resolvers)];

        for (unsigned i = 0; i < ELEMENTSOF(resolvers); i++)
                list[i] = fake_endpoint(resolvers[i]);
        netstack_set_resolvers(h->stack, list, ELEMENTSOF(list), NULL, 0);
        return h;
}

static int client_try(FakeHost *h, const char *from, Client *ret) {
        Endpoint e = fake_endpoint(from);

        ret->h = h;
        return dns_stream_open(h->stack->dns, &e, &ret->fd);
}

static Client client_open(FakeHost *h) {
        Client c;

        g_assert_cmpint(client_try(h, "192.168.127.2:40000", &c), ==, 0);
        return c;
}

static void client_close(Client *c) {
        fake_host_ops.close(c->h, c->fd, false);
        fake_run(c->h);
}

/* Our end of the pair, as the service sees it. */
static FakeSocket *service_of(const Client *c) {
        return fake_socket(c->h, fake_socket(c->h, c->fd)->other);
}

static void client_write(Client *c, const void *data, size_t len) {
        struct iovec iov = { .iov_base = (void *) data, .iov_len = len };

        g_assert_cmpint(fake_host_ops.send(c->h, c->fd, &iov, 1), ==, len);
        fake_run(c->h);
}

static void append_be16(GByteArray *m, uint16_t v) {
        g_byte_array_append(m, (uint8_t[]){ v >> 8, v }, 2);
}

/* (owned) a framed query for an A record */
static GByteArray *query(uint16_t id, const char *name) {
        GByteArray *m = g_byte_array_new();
        uint8_t wire[DNS_NAME_MAX];
        size_t len = dns_name_from_text(name, wire, sizeof(wire));

        append_be16(m, DNS_HEADER_LEN + len + 4);
        append_be16(m, id);
        append_be16(m, DNS_FLAG_RD);
        append_be16(m, 1);
        append_be16(m, 0);
        append_be16(m, 0);
        append_be16(m, 0);
        g_byte_array_append(m, wire, len);
        append_be16(m, 1);
        append_be16(m, 1);
        return m;
}

static void client_ask(Client *c, uint16_t id, const char *name) {
        g_autoptr(GByteArray) m = query(id, name);

        client_write(c, m->data, m->len);
}

/* (owned) the next whole message, without its frame; NULL when there is none */
static GByteArray *take_message(FakeHost *h, int fd) {
        FakeSocket *k = fake_socket(h, fd);
        size_t len;

        if (k->in->len < 2)
                return NULL;
        len = k->in->data[0] << 8 | k->in->data[1];
        if (k->in->len < 2 + len)
                return NULL;
        GByteArray *m = g_byte_array_new();
        g_byte_array_append(m, k->in->data + 2, len);
        g_assert_cmpint(fake_host_ops.discard(h, fd, 2 + len), ==, 2 + len);
        return m;
}

static void check_answer(Client *c, uint16_t id, int rcode, size_t len) {
        g_autoptr(GByteArray) m = take_message(c->h, c->fd);

        g_assert_nonnull(m);
        g_assert_cmpuint(dns_id_get(m->data), ==, id);
        g_assert_cmpuint(m->data[2] >> 7, ==, 1);
        g_assert_cmpuint(m->data[3] & 15, ==, rcode);
        if (len > 0)
                g_assert_cmpuint(m->len, ==, len);
}

static void check_nothing(Client *c) {
        g_assert_cmpuint(fake_socket(c->h, c->fd)->in->len, ==, 0);
}

/* The @i-th message sent to the resolver on this connection, its frame included. */
static const uint8_t *upstream_query(const FakeSocket *k, unsigned i, size_t *ret_len) {
        size_t off = 0;

        for (;; i--) {
                g_assert_cmpuint(off + 2, <=, k->out->len);
                size_t len = k->out->data[off] << 8 | k->out->data[off + 1];

                g_assert_cmpuint(off + 2 + len, <=, k->out->len);
                if (i == 0) {
                        *ret_len = 2 + len;
                        return k->out->data + off;
                }
                off += 2 + len;
        }
}

/* (owned) the framed answer to the @i-th, @more bytes longer than the query */
static GByteArray *upstream_answer(const FakeSocket *k, unsigned i, size_t more) {
        GByteArray *m = g_byte_array_new();
        size_t len;
        const uint8_t *q = upstream_query(k, i, &len);

        g_byte_array_append(m, q, len);
        g_byte_array_set_size(m, len + more);
        memset(m->data + len, 0x5a, more);
        m->data[0] = (m->len - 2) >> 8;
        m->data[1] = m->len - 2;
        m->data[4] |= DNS_FLAG_QR >> 8;
        return m;
}

static void upstream_reply(FakeHost *h, FakeSocket *k, unsigned i, size_t more) {
        g_autoptr(GByteArray) m = upstream_answer(k, i, more);

        fake_stream_push(h, k, m->data, m->len);
        fake_run(h);
}

static void test_local(void) {
        g_autoptr(FakeHost) h = host_new();
        Client c = client_open(h);
        g_autoptr(GByteArray) m = query(7, "host.vnet.internal");

        client_write(&c, m->data, m->len);
        check_answer(&c, 7, 0, 0);

        /* Byte by byte. */
        for (guint i = 0; i < m->len; i++) {
                check_nothing(&c);
                client_write(&c, m->data + i, 1);
        }
        check_answer(&c, 7, 0, 0);

        /* Many in one go: each is answered, in order. */
        g_autoptr(GByteArray) many = g_byte_array_new();
        for (unsigned i = 0; i < 100; i++) {
                m->data[3] = i;
                g_byte_array_append(many, m->data, m->len);
        }
        client_write(&c, many->data, many->len);
        for (unsigned i = 0; i < 100; i++)
                check_answer(&c, i, 0, 0);
        check_nothing(&c);
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 0);
        client_close(&c);
        g_assert_cmpuint(h->n_open, ==, 0);
}

static void test_relay(void) {
        g_autoptr(FakeHost) h = host_new();
        Client c = client_open(h);
        Endpoint first = fake_endpoint(resolvers[0]);
        FakeSocket *k;
        size_t len;

        /* Two under one id, and a local one between: the id to the resolver differs, nothing else does. */
        client_ask(&c, 7, "a.example.org");
        client_ask(&c, 8, "host.vnet.internal");
        client_ask(&c, 7, "bb.example.org");
        check_answer(&c, 8, 0, 0);
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 1);
        k = fake_last_socket(h, FAKE_TCP);
        g_assert_true(endpoint_equal(&k->peer, &first));

        g_autoptr(GByteArray) expect = query(7, "bb.example.org");
        const uint8_t *q = upstream_query(k, 1, &len);
        g_assert_cmpmem(q + 4, len - 4, expect->data + 4, expect->len - 4);
        g_assert_cmpuint(dns_id_get(q + 2), !=, dns_id_get(upstream_query(k, 0, &len) + 2));

        /* Out of order; the largest there is; in pieces. */
        upstream_reply(h, k, 1, 65535 - (expect->len - 2));
        check_answer(&c, 7, 0, 65535);
        g_autoptr(GByteArray) a = upstream_answer(k, 0, 10);
        for (guint i = 0; i < a->len; i++) {
                check_nothing(&c);
                fake_stream_push(h, k, a->data + i, 1);
                fake_run(h);
        }
        check_answer(&c, 7, 0, a->len - 2);

        /* The connection is used again. When the resolver ends it meanwhile, another is made. */
        client_ask(&c, 9, "c.example.org");
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 1);
        upstream_reply(h, k, 2, 0);
        check_answer(&c, 9, 0, 0);
        fake_stream_eof(h, k);
        fake_run(h);
        g_assert_false(k->open);
        client_ask(&c, 10, "d.example.org");
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 2);
        upstream_reply(h, fake_last_socket(h, FAKE_TCP), 0, 0);
        check_answer(&c, 10, 0, 0);

        client_close(&c);
        g_assert_cmpuint(h->n_open, ==, 0);
        g_assert_cmpuint(fake_drops_total(h), ==, 0);
}

/* Sockets that take little at a time, both ways. */
static void test_partial_writes(void) {
        g_autoptr(FakeHost) h = host_new();
        FakeSocket *k, *service;

        Client c = client_open(h);
        service = service_of(&c);
        h->default_send_room = 3;
        client_ask(&c, 7, "a.example.org");
        client_ask(&c, 8, "bb.example.org");
        k = fake_last_socket(h, FAKE_TCP);
        g_assert_cmpuint(k->out->len, ==, 3);
        for (unsigned i = 0; i < 100; i++) {
                fake_stream_room(h, k, 1);
                fake_run(h);
        }
        service->send_room = 5;
        upstream_reply(h, k, 0, 20);
        upstream_reply(h, k, 1, 30);
        g_assert_cmpuint(fake_socket(h, c.fd)->in->len, ==, 5);
        g_assert_cmpuint(k->in->len, >, 0); /* the second is not even read */
        for (unsigned i = 0; i < 200; i++) {
                fake_stream_room(h, service, 1);
                fake_run(h);
        }
        check_answer(&c, 7, 0, 0);
        check_answer(&c, 8, 0, 0);
        check_nothing(&c);
        client_close(&c);
}

/* Many queries under way: no more than the limit are read; the rest wait in the socket and lose nothing. */
static void test_pipeline_limit(void) {
        g_autoptr(FakeHost) h = host_new();
        Client c = client_open(h);
        FakeSocket *k;

        for (unsigned i = 0; i < DNS_STREAM_QUERIES_MAX + 3; i++)
                client_ask(&c, i, "example.org");
        k = fake_last_socket(h, FAKE_TCP);
        g_autoptr(GByteArray) one = query(0, "example.org");
        g_assert_cmpuint(k->out->len, ==, DNS_STREAM_QUERIES_MAX * one->len);
        g_assert_cmpuint(service_of(&c)->in->len, ==, 3 * one->len);

        for (unsigned i = 0; i < DNS_STREAM_QUERIES_MAX + 3; i++) {
                upstream_reply(h, k, i, 0);
                check_answer(&c, i, 0, 0);
        }
        g_assert_cmpuint(service_of(&c)->in->len, ==, 0);
        client_close(&c);
}

static void test_half_close(void) {
        g_autoptr(FakeHost) h = host_new();
        Client c = client_open(h);

        client_ask(&c, 7, "example.org");
        g_assert_cmpint(fake_host_ops.shutdown_write(h, c.fd), ==, 0);
        fake_run(h);
        FakeSocket *service = service_of(&c);
        g_assert_true(service->open);
        upstream_reply(h, fake_last_socket(h, FAKE_TCP), 0, 0);
        check_answer(&c, 7, 0, 0);
        g_assert_false(service->open); /* answered: over */
        client_close(&c);

        /* In the middle of a query, or of nothing. */
        c = client_open(h);
        client_write(&c, "\0", 1);
        g_assert_cmpint(fake_host_ops.shutdown_write(h, c.fd), ==, 0);
        fake_run(h);
        g_assert_false(service_of(&c)->open);
        client_close(&c);

        /* Gone while the resolver still thinks. */
        c = client_open(h);
        client_ask(&c, 7, "example.org");
        client_close(&c);
        g_assert_cmpuint(h->n_open, ==, 0);
}

static void test_idle(void) {
        g_autoptr(FakeHost) h = host_new();
        Client c = client_open(h), trickle = client_open(h);

        fake_advance(h, 9 * USEC_PER_SEC);
        client_ask(&c, 7, "host.vnet.internal");
        check_answer(&c, 7, 0, 0);
        client_write(&trickle, "\0", 1); /* a byte is not a query */
        fake_advance(h, USEC_PER_SEC - 1);
        g_assert_true(service_of(&trickle)->open);
        fake_advance(h, 1);
        g_assert_false(service_of(&trickle)->open);
        g_assert_true(service_of(&c)->open);
        fake_advance(h, 9 * USEC_PER_SEC - 1);
        g_assert_true(service_of(&c)->open);
        fake_advance(h, 1);
        g_assert_false(service_of(&c)->open);
        client_close(&c);
        client_close(&trickle);

        /* One that does not read its answers. */
        c = client_open(h);
        service_of(&c)->send_room = 1;
        fake_advance(h, DNS_STREAM_IDLE_USEC - 1);
        client_ask(&c, 7, "host.vnet.internal");
        fake_advance(h, DNS_STREAM_IDLE_USEC - 1);
        g_assert_true(service_of(&c)->open);
        fake_advance(h, 1);
        g_assert_false(service_of(&c)->open);
        client_close(&c);
}

static void test_failover(void) {
        g_autoptr(FakeHost) h = host_new();
        Endpoint second = fake_endpoint(resolvers[1]);
        Client c = client_open(h);
        FakeSocket *k;

        /* Silence: the next one is asked everything that is owed. */
        client_ask(&c, 7, "a.example.org");
        client_ask(&c, 8, "bb.example.org");
        upstream_reply(h, fake_last_socket(h, FAKE_TCP), 0, 0);
        check_answer(&c, 7, 0, 0);
        client_ask(&c, 9, "ccc.example.org");
        fake_advance(h, DNS_TIMEOUT_USEC);
        k = fake_last_socket(h, FAKE_TCP);
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 2);
        /* The first answered before: it gets another chance, then it is the other one's turn. */
        fake_stream_reset(h, k);
        fake_run(h);
        k = fake_last_socket(h, FAKE_TCP);
        g_assert_cmpuint(h->n_opened[FAKE_TCP], ==, 3);
        g_assert_true(endpoint_equal(&k->peer, &second));
        upstream_reply(h, k, 0, 0);
        upstream_reply(h, k, 1, 0);
        g_autoptr(GByteArray) x = take_message(h, c.fd), y = take_message(h, c.fd);
        g_assert_cmpuint(dns_id_get(x->data) + dns_id_get(y->data), ==, 8 + 9);
        client_close(&c);

        /* Nobody there: SERVFAIL for each, and the client may go on. */
        c = client_open(h);
        h->connect_result = -ECONNREFUSED;
        client_ask(&c, 1, "a.example.org");
        check_answer(&c, 1, DNS_RCODE_SERVFAIL, 0);
        h->connect_result = FAKE_CONNECT_NEVER;
        client_ask(&c, 2, "a.example.org");
        client_ask(&c, 3, "a.example.org");
        fake_advance(h, DNS_TRIES_MAX * DNS_TIMEOUT_USEC - 1);
        check_nothing(&c);
        fake_advance(h, 1);
        check_answer(&c, 2, DNS_RCODE_SERVFAIL, 0);
        check_answer(&c, 3, DNS_RCODE_SERVFAIL, 0);
        h->open_error = -EMFILE;
        client_ask(&c, 4, "a.example.org");
        check_answer(&c, 4, DNS_RCODE_SERVFAIL, 0);
        h->open_error = 0;
        h->connect_result = 0;
        client_ask(&c, 5, "a.example.org");
        upstream_reply(h, fake_last_socket(h, FAKE_TCP), 0, 0);
        check_answer(&c, 5, 0, 0);
        client_close(&c);
        g_assert_cmpuint(h->n_open, ==, 0);
}

/* A resolver that answers what was not asked, or nonsense, is left. */
static void test_bad_upstream(void) {
        g_autoptr(FakeHost) h = host_new();

        for (unsigned i = 0; i < 5; i++) {
                Client c = client_open(h);
                FakeSocket *k;

                client_ask(&c, 7, "example.org");
                k = fake_last_socket(h, FAKE_TCP);
                g_autoptr(GByteArray) a = upstream_answer(k, 0, 0);
                switch (i) {
                case 0:
                        a->data[2] ^= 1; /* id */
                        break;
                case 1:
                        a->data[16] ^= 1; /* name */
                        break;
                case 2:
                        a->data[4] &= 0x7f; /* not an answer */
                        break;
                case 3:
                        a->data[0] = 0;
                        a->data[1] = DNS_HEADER_LEN - 1;
                        break;
                case 4:
                        a->data[0] = a->data[1] = 0;
                        break;
                }
                fake_stream_push(h, k, a->data, a->len);
                fake_run(h);
                check_nothing(&c);
                g_assert_false(k->open);
                upstream_reply(h, fake_last_socket(h, FAKE_TCP), 0, 0);
                check_answer(&c, 7, 0, 0);
                client_close(&c);
                fake_advance(h, DNS_PREFER_USEC);
        }
        g_assert_cmpuint(fake_drops(h, DROP_DNS_UPSTREAM), ==, 3);
}

static void test_bad_client(void) {
        g_autoptr(FakeHost) h = host_new();
        g_autoptr(GByteArray) big = g_byte_array_new();
        Client c = client_open(h);

        client_write(&c, "\0\0", 2); /* a message of nothing */
        g_assert_false(service_of(&c)->open);
        client_close(&c);

        c = client_open(h);
        client_write(&c, "\0\3abc", 5); /* less than a header */
        g_assert_false(service_of(&c)->open);
        client_close(&c);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_MALFORMED), ==, 1);

        c = client_open(h);
        client_write(&c, "\0\14\0\7\1\0\0\0\0\0\0\0\0\0", 14); /* no question */
        check_answer(&c, 7, DNS_RCODE_FORMERR, 0);
        client_close(&c);

        /* As long as may be, and one more. */
        c = client_open(h);
        g_autoptr(GByteArray) q = query(7, "example.org");
        guint len = q->len;
        g_byte_array_set_size(q, 2 + DNS_QUERY_MAX);
        memset(q->data + len, 0, q->len - len);
        q->data[0] = DNS_QUERY_MAX >> 8;
        q->data[1] = DNS_QUERY_MAX & 0xff;
        client_write(&c, q->data, q->len);
        g_assert_cmpuint(fake_last_socket(h, FAKE_TCP)->out->len, ==, 2 + DNS_QUERY_MAX);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_LIMIT), ==, 0);
        q->data[0] = (DNS_QUERY_MAX + 1) >> 8;
        q->data[1] = (DNS_QUERY_MAX + 1) & 0xff;
        client_write(&c, q->data, 2);
        g_assert_false(service_of(&c)->open);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_LIMIT), ==, 1);
        client_close(&c);
        g_assert_cmpuint(h->n_open, ==, 0);
}

static void test_limits(void) {
        g_autoptr(FakeHost) h = host_new();
        Client c[DNS_STREAMS_MAX], more;
        unsigned n = 0;

        for (unsigned guest = 0; guest < DNS_STREAMS_MAX / DNS_STREAMS_GUEST_MAX; guest++) {
                g_autofree char *from = g_strdup_printf("192.168.127.%u:1000", 2 + guest);
                NetstackPort port = { .id = 1 + guest };

                h->stack->port = &port;
                for (unsigned i = 0; i < DNS_STREAMS_GUEST_MAX; i++)
                        g_assert_cmpint(client_try(h, from, &c[n++]), ==, 0);
                g_assert_cmpint(client_try(h, from, &more), ==, -ENOBUFS);
                h->stack->port = NULL;
        }
        g_assert_cmpuint(n, ==, DNS_STREAMS_MAX);
        g_assert_cmpint(client_try(h, "192.168.127.99:1000", &more), ==, -ENOBUFS);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_LIMIT), ==, DNS_STREAMS_MAX / DNS_STREAMS_GUEST_MAX + 1);

        client_close(&c[5]);
        g_assert_cmpint(client_try(h, "192.168.127.99:1000", &c[5]), ==, 0);
        client_ask(&c[5], 7, "host.vnet.internal");
        check_answer(&c[5], 7, 0, 0);
        for (unsigned i = 0; i < n; i++)
                client_close(&c[i]);
        g_assert_cmpuint(h->n_open, ==, 0);

        h->open_error = -EMFILE;
        g_assert_cmpint(client_try(h, "192.168.127.2:1000", &more), ==, -EMFILE);
        h->open_error = 0;
}

/* One port with many addresses does not have all places. */
static void test_limit_of_a_port(void) {
        g_autoptr(FakeHost) h = host_new();
        NetstackPort ports[] = { { .id = 1 }, { .id = 2 } };
        Client c[DNS_STREAMS_MAX], more;
        unsigned n = 0;

        h->stack->port = &ports[0];
        for (unsigned i = 0; i < DNS_STREAMS_PORT_MAX; i++) {
                g_autofree char *from = g_strdup_printf("192.168.127.%u:1000", 2 + i);

                g_assert_cmpint(client_try(h, from, &c[n++]), ==, 0);
        }
        g_assert_cmpint(client_try(h, "192.168.127.200:1000", &more), ==, -ENOBUFS);
        h->stack->port = &ports[1];
        g_assert_cmpint(client_try(h, "192.168.127.201:1000", &c[n++]), ==, 0);
        h->stack->port = NULL;
        for (unsigned i = 0; i < n; i++)
                client_close(&c[i]);
}

/* An answer before the whole query is out answers nothing. */
static void test_too_early(void) {
        g_autoptr(FakeHost) h = host_new();
        g_autoptr(GByteArray) q = query(7, "example.org");
        Client c = client_open(h);
        FakeSocket *k;

        h->default_send_room = 4;
        client_write(&c, q->data, q->len);
        k = fake_last_socket(h, FAKE_TCP);
        g_assert_cmpuint(k->out->len, ==, 4);
        memcpy(q->data + 2, k->out->data + 2, 2); /* the id it will have */
        q->data[4] |= DNS_FLAG_QR >> 8;
        fake_stream_push(h, k, q->data, q->len);
        fake_run(h);
        check_nothing(&c);
        g_assert_false(k->open);
        g_assert_cmpuint(fake_drops(h, DROP_DNS_UPSTREAM), ==, 1);
        client_close(&c);
}

/* Events that were on their way when their socket was closed, while its place has a new owner. */
static void test_late_events(void) {
        g_autoptr(FakeHost) h = host_new();
        Client c = client_open(h);
        uint64_t before = service_of(&c)->cookie;

        client_close(&c);
        c = client_open(h);
        g_assert_cmpuint(host_cookie_index(service_of(&c)->cookie), ==, host_cookie_index(before));
        netstack_host_event(h->stack, before, HOST_EVENT_HUP);
        g_assert_true(service_of(&c)->open);

        h->connect_result = FAKE_CONNECT_NEVER;
        client_ask(&c, 7, "example.org");
        before = fake_last_socket(h, FAKE_TCP)->cookie;
        fake_advance(h, DNS_TIMEOUT_USEC);
        FakeSocket *k = fake_last_socket(h, FAKE_TCP);
        g_assert_cmpuint(host_cookie_index(k->cookie), ==, host_cookie_index(before));
        k->result = -ECONNREFUSED; /* what a look at it would find */
        netstack_host_event(h->stack, before, HOST_EVENT_OUT | HOST_EVENT_ERROR);
        g_assert_true(k->open);
        client_close(&c);
}

/* The gateway ends while all is under way. */
static void test_free(void) {
        g_autoptr(FakeHost) h = host_new();
        Client c = client_open(h);

        client_ask(&c, 7, "example.org");
        g_autoptr(GByteArray) a = upstream_answer(fake_last_socket(h, FAKE_TCP), 0, 0);
        fake_stream_push(h, fake_last_socket(h, FAKE_TCP), a->data, 10);
        fake_run(h);
        fake_host_ops.close(h, c.fd, false); /* what the flow table does */
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dns-stream/local", test_local);
        g_test_add_func("/dns-stream/relay", test_relay);
        g_test_add_func("/dns-stream/partial-writes", test_partial_writes);
        g_test_add_func("/dns-stream/pipeline-limit", test_pipeline_limit);
        g_test_add_func("/dns-stream/half-close", test_half_close);
        g_test_add_func("/dns-stream/idle", test_idle);
        g_test_add_func("/dns-stream/failover", test_failover);
        g_test_add_func("/dns-stream/bad-upstream", test_bad_upstream);
        g_test_add_func("/dns-stream/bad-client", test_bad_client);
        g_test_add_func("/dns-stream/limits", test_limits);
        g_test_add_func("/dns-stream/limit-of-a-port", test_limit_of_a_port);
        g_test_add_func("/dns-stream/too-early", test_too_early);
        g_test_add_func("/dns-stream/late-events", test_late_events);
        g_test_add_func("/dns-stream/free", test_free);
        return g_test_run();
}
