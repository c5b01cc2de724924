/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DNS over TCP (RFC 7766): messages behind two bytes of length, several under way at once, answered in the order the answers come. What is not
 * ours goes to a resolver over one TCP connection of the client's own.
 *
 * A client holds bounded memory: one query being read, DNS_STREAM_QUERIES_MAX relayed, one answer being read from the resolver, one being
 * written to the client. While one is being written nothing more is read from either side. A client that neither asks
 * nor reads for DNS_STREAM_IDLE_USEC is closed; trickling in bytes of a query does not count as asking. A resolver that is silent for
 * DNS_TIMEOUT_USEC or hangs up is left for the next one, and the queries it owes are asked again there.
 */

#include <errno.h>

#include "netstack/dns-local.h"
#include "netstack/dns64.h"

#define PREFIX_LEN 2

/* A query relayed, framed as it goes on the wire. */
typedef struct StreamQuery {
        bool used, sent;
        int route;      /* whom it is for: one connection serves one route at a time */
        uint16_t id, client_id;
        DnsQuestion question;
        uint8_t *framed; /* (owned) */
        size_t len;
        Dns64 dns64;     /* (owned) */
} StreamQuery;

struct DnsStream {
        Dns *dns; /* (borrowed) owner */
        uint32_t slot;
        Endpoint client;
        uint32_t port; /* of the netstack, that the client is behind */
        int fd;   /* (owned) our end of the pair */
        bool client_eof;
        usec_t active_at; /* last whole query or answer */
        Timer timer;

        uint8_t in[PREFIX_LEN + DNS_QUERY_MAX]; /* the query being read */
        size_t in_len;
        DnsAnswer out; /* the framed answer being written */
        size_t out_off;

        StreamQuery queries[DNS_STREAM_QUERIES_MAX];
        unsigned n_queries;

        int up_fd; /* (owned) to the resolver; -EBADF while there is none */
        bool up_connected, up_given_up;
        int route;             /* whose queries it takes */
        uint8_t first, tries;
        Endpoint resolver;
        usec_t up_active_at;   /* since when the resolver owes an answer */
        StreamQuery *sending;  /* (borrowed: of queries, nullable) partly sent */
        size_t send_off;
        uint8_t up_prefix[PREFIX_LEN];
        DnsAnswer up;          /* the framed answer being read */
        size_t up_len;         /* bytes read, prefix included */
};

static int stream_recv(DnsStream *st, int fd, void *buf, size_t len) {
        Netstack *s = st->dns->stack;

        return s->ops->recv(s->userdata, fd, buf, len);
}

/* ---- the resolver's side ---- */

static void upstream_close(DnsStream *st) {
        Dns *d = st->dns;

        if (st->up_fd >= 0)
                d->stack->ops->close(d->stack->userdata, st->up_fd, false);
        st->up_fd = -EBADF;
        d->upstream_generation[st->slot]++;
        free(TAKE_PTR(st->up.data));
        st->up_len = 0;
        st->up_connected = false;
        st->sending = NULL;
        for (size_t i = 0; i < DNS_STREAM_QUERIES_MAX; i++)
                st->queries[i].sent = false;
}

/* Begins a connection to the next resolver; gives up when there is none left. */
static void upstream_open(DnsStream *st) {
        Dns *d = st->dns;
        Netstack *s = d->stack;

        upstream_close(st);
        while (st->tries < DNS_TRIES_MAX) {
                const Endpoint *resolver = dns_resolver(d, st->route, st->first, st->tries);
                uint64_t cookie = host_cookie(HOST_KIND_DNS, d->upstream_generation[st->slot], DNS_INDEX_UPSTREAM + st->slot);

                if (!resolver)
                        break;
                st->tries++;
                st->resolver = *resolver;
                if (s->ops->tcp_connect(s->userdata, resolver, &(HostConnect){}, cookie, &st->up_fd) >= 0) {
                        st->up_active_at = netstack_now(s);
                        return;
                }
                st->up_fd = -EBADF;
        }
        st->up_given_up = true;
}

/* The connection is over or of no use. Without queries to answer there is no need for another. */
static void upstream_lost(DnsStream *st) {
        if (st->n_queries > 0)
                upstream_open(st);
        else
                upstream_close(st);
}

static StreamQuery *query_unsent(DnsStream *st) {
        for (size_t i = 0; i < DNS_STREAM_QUERIES_MAX; i++)
                if (st->queries[i].used && !st->queries[i].sent && st->queries[i].route == st->route)
                        return &st->queries[i];
        return NULL;
}

static StreamQuery *query_by_id(DnsStream *st, uint16_t id) {
        for (size_t i = 0; i < DNS_STREAM_QUERIES_MAX; i++)
                if (st->queries[i].used && st->queries[i].id == id)
                        return &st->queries[i];
        return NULL;
}

static void query_free(DnsStream *st, StreamQuery *q) {
        assert(q != st->sending);
        free(q->framed);
        dns64_end(&q->dns64);
        *q = (StreamQuery){};
        st->n_queries--;
}

/* With nothing left to do for one route, the connection gives way to one for another. True when it did. */
static bool upstream_change_route(DnsStream *st) {
        StreamQuery *next = NULL;

        for (size_t i = 0; i < DNS_STREAM_QUERIES_MAX; i++) {
                if (!st->queries[i].used)
                        continue;
                if (st->queries[i].route == st->route)
                        return false;
                next = &st->queries[i];
        }
        if (!next)
                return false;
        st->route = next->route;
        st->first = dns_first_resolver(st->dns, st->route);
        st->tries = 0;
        st->up_given_up = false;
        upstream_open(st);
        return true;
}

/* Sends what the resolver's socket takes. False when it is lost. */
static bool upstream_send(DnsStream *st) {
        Netstack *s = st->dns->stack;

        while (st->up_fd >= 0 && st->up_connected) {
                struct iovec iov;
                ssize_t n;

                if (!st->sending) {
                        st->sending = query_unsent(st);
                        st->send_off = 0;
                }
                if (!st->sending)
                        break;

                iov = (struct iovec){ st->sending->framed + st->send_off, st->sending->len - st->send_off };
                n = s->ops->send(s->userdata, st->up_fd, &iov, 1);
                if (n == -EAGAIN)
                        break;
                if (n < 0)
                        return false;
                st->send_off += n;
                if (st->send_off == st->sending->len) {
                        st->sending->sent = true;
                        st->sending = NULL;
                }
        }
        return true;
}

static bool stream_queue_answer(DnsStream *st, DnsAnswer *answer);

/* The answer of DNS64 in place of the resolver's in st->up. False when the latter is the client's, too. */
static bool upstream_take_dns64(DnsStream *st, StreamQuery *q) {
        DnsAnswer made = {};

        switch (dns64_reply(st->dns->stack, &q->dns64, &q->question, q->framed + PREFIX_LEN, q->len - PREFIX_LEN, st->up.data + PREFIX_LEN,
                            st->up.len - PREFIX_LEN, DNS_MESSAGE_MAX, &made)) {
        case DNS64_PASS:
                return false;
        case DNS64_ASK:
                q->sent = false;
                break;
        case DNS64_FAIL:
                made = dns_servfail(q->framed + PREFIX_LEN, q->len - PREFIX_LEN, q->client_id, dns64_question(&q->dns64, &q->question));
                /* fall through */
        case DNS64_ANSWER:
                if (made.data)
                        dns_id_set(made.data, q->client_id);
                (void) stream_queue_answer(st, &made); /* without memory the client waits in vain */
                query_free(st, q);
                break;
        }
        free(TAKE_PTR(st->up.data));
        st->up_len = 0;
        st->up_active_at = netstack_now(st->dns->stack);
        return true;
}

/* A whole answer of the resolver in st->up: becomes what is written to the client. False when it answers nothing we asked. */
static bool upstream_take_reply(DnsStream *st) {
        const uint8_t *msg = st->up.data + PREFIX_LEN;
        size_t len = st->up.len - PREFIX_LEN;
        StreamQuery *q = query_by_id(st, dns_id_get(msg));

        if (!q || !q->sent || !dns_reply_matches(msg, len, q->id, &q->question)) {
                netstack_drop(st->dns->stack, DROP_DNS_UPSTREAM);
                return false;
        }

        if (upstream_take_dns64(st, q))
                return true;
        dns_id_set(st->up.data + PREFIX_LEN, q->client_id);
        query_free(st, q);
        st->out = (DnsAnswer){ .data = TAKE_PTR(st->up.data), .len = st->up.len };
        st->out_off = 0;
        st->up_len = 0;
        st->tries = 0; /* this resolver is good: a later loss begins with it again */
        if (st->route == DNS_ROUTE_NONE)
                dns_resolver_answered(st->dns, &st->resolver);
        st->first = dns_first_resolver(st->dns, st->route);
        st->up_active_at = netstack_now(st->dns->stack);
        return true;
}

/* Room for an answer once its length is known. */
static bool upstream_make_room(DnsStream *st) {
        size_t len = st->up_prefix[0] << 8 | st->up_prefix[1];

        if (len < DNS_HEADER_LEN)
                return false;
        st->up.len = PREFIX_LEN + len;
        st->up.data = malloc(st->up.len);
        if (!st->up.data)
                return false;
        memcpy(st->up.data, st->up_prefix, PREFIX_LEN);
        return true;
}

/* Reads up to one answer. True when st->out has it; false when there is no more to read now or the connection was lost. */
static bool upstream_read(DnsStream *st) {
        while (st->up_fd >= 0 && st->up_connected) {
                bool in_prefix = st->up_len < PREFIX_LEN;
                uint8_t *to = in_prefix ? st->up_prefix + st->up_len : st->up.data + st->up_len;
                int n = stream_recv(st, st->up_fd, to, (in_prefix ? PREFIX_LEN : st->up.len) - st->up_len);

                if (n == -EAGAIN)
                        return false;
                if (n <= 0) {
                        upstream_lost(st);
                        return false;
                }
                st->up_len += n;
                if (in_prefix && st->up_len == PREFIX_LEN && !upstream_make_room(st)) {
                        upstream_lost(st);
                        return false;
                }
                if (!in_prefix && st->up_len == st->up.len) {
                        if (upstream_take_reply(st)) {
                                if (st->out.data)
                                        return true;
                                continue; /* another question follows from it */
                        }
                        upstream_lost(st); /* TCP loses nothing: who answers what was not asked is not to be trusted further */
                        return false;
                }
        }
        return false;
}

/* ---- the client's side ---- */

/* Puts the length in front of @answer, which is used up, and makes it what is written. */
static bool stream_queue_answer(DnsStream *st, DnsAnswer *answer) {
        uint8_t *framed = answer->data && answer->len <= DNS_MESSAGE_MAX ? malloc(PREFIX_LEN + answer->len) : NULL;

        if (framed) {
                framed[0] = answer->len >> 8;
                framed[1] = answer->len;
                memcpy(framed + PREFIX_LEN, answer->data, answer->len);
                st->out = (DnsAnswer){ .data = framed, .len = PREFIX_LEN + answer->len };
                st->out_off = 0;
        }
        free(answer->data);
        return framed;
}

/* An id that no other query of the connection has: there are 16 of 65536 at most. */
static uint16_t stream_free_id(DnsStream *st) {
        uint16_t id;

        do
                id = dns_random_id(st->dns);
        while (query_by_id(st, id));
        return id;
}

static int stream_relay(DnsStream *st, const uint8_t *framed, size_t len, const DnsQuestion *question) {
        StreamQuery *q = st->queries;
        uint8_t *copy;
        uint16_t id;

        assert(st->n_queries < DNS_STREAM_QUERIES_MAX);
        copy = malloc(len);
        if (!copy)
                return -ENOMEM;
        id = stream_free_id(st);
        memcpy(copy, framed, len);
        dns_id_set(copy + PREFIX_LEN, id);

        while (q->used)
                q++;
        *q = (StreamQuery){
                .used = true,
                .route = dns_route(st->dns, question),
                .id = id,
                .client_id = dns_id_get(framed + PREFIX_LEN),
                .question = *question,
                .framed = copy,
                .len = len,
        };
        q->len -= PREFIX_LEN;
        dns64_begin(st->dns->stack, &q->dns64, &q->question, copy + PREFIX_LEN, &q->len);
        copy[0] = (uint8_t) (q->len >> 8);
        copy[1] = (uint8_t) q->len;
        q->len += PREFIX_LEN;
        if (st->n_queries++ == 0)
                st->up_active_at = netstack_now(st->dns->stack);
        if (st->up_fd < 0 && !st->up_given_up) {
                st->route = q->route;
                st->first = dns_first_resolver(st->dns, st->route);
                st->tries = 0;
                upstream_open(st);
        }
        return 0;
}

/* A whole query in st->in. False: the stream is to be closed. */
static bool stream_take_query(DnsStream *st) {
        const uint8_t *msg = st->in + PREFIX_LEN;
        size_t framed_len = st->in_len, len = framed_len - PREFIX_LEN;
        DnsQuestion question;
        DnsAnswer answer = {};

        st->in_len = 0;
        st->active_at = netstack_now(st->dns->stack);
        switch (dns_consider(st->dns, &st->client, false, msg, len, &question, &answer)) {
        case DNS_ACTION_DROP: /* an answer in place of a query, or far too many: not a client to keep */
                return false;
        case DNS_ACTION_RELAY:
                return stream_relay(st, st->in, framed_len, &question) >= 0;
        case DNS_ACTION_ANSWER:
                return stream_queue_answer(st, &answer);
        }
        return false;
}

typedef enum Progress {
        PROGRESS_NONE, /* nothing to do until an event */
        PROGRESS_MADE,
        PROGRESS_OVER, /* close the stream */
} Progress;

static Progress stream_read(DnsStream *st) {
        while (!st->client_eof) {
                size_t want = st->in_len < PREFIX_LEN ? PREFIX_LEN : PREFIX_LEN + (size_t) (st->in[0] << 8 | st->in[1]);
                int n;

                if (want > sizeof(st->in)) {
                        netstack_drop(st->dns->stack, DROP_DNS_LIMIT);
                        return PROGRESS_OVER;
                }
                if (st->in_len == want) /* a message of no bytes */
                        return PROGRESS_OVER;

                n = stream_recv(st, st->fd, st->in + st->in_len, want - st->in_len);
                if (n == -EAGAIN)
                        return PROGRESS_NONE;
                if (n < 0)
                        return PROGRESS_OVER;
                if (n == 0) {
                        st->client_eof = true;
                        break;
                }
                st->in_len += n;
                if (want > PREFIX_LEN && st->in_len == want)
                        return stream_take_query(st) ? PROGRESS_MADE : PROGRESS_OVER;
        }
        return PROGRESS_NONE;
}

static Progress stream_write(DnsStream *st) {
        Netstack *s = st->dns->stack;

        while (st->out_off < st->out.len) {
                struct iovec iov = { st->out.data + st->out_off, st->out.len - st->out_off };
                ssize_t n = s->ops->send(s->userdata, st->fd, &iov, 1);

                if (n == -EAGAIN)
                        return PROGRESS_NONE;
                if (n < 0)
                        return PROGRESS_OVER;
                st->out_off += n;
        }
        free(st->out.data);
        st->out = (DnsAnswer){};
        st->out_off = 0;
        st->active_at = netstack_now(s);
        return PROGRESS_MADE;
}

/* After every resolver failed: SERVFAIL for one of the queries. */
static Progress stream_fail_one(DnsStream *st) {
        for (size_t i = 0; i < DNS_STREAM_QUERIES_MAX; i++) {
                StreamQuery *q = &st->queries[i];
                DnsAnswer answer;

                if (!q->used || q->route != st->route)
                        continue;
                answer = dns_servfail(q->framed + PREFIX_LEN, q->len - PREFIX_LEN, q->client_id, dns64_question(&q->dns64, &q->question));
                query_free(st, q);
                return stream_queue_answer(st, &answer) ? PROGRESS_MADE : PROGRESS_OVER;
        }
        st->up_given_up = false;
        st->tries = 0;
        return PROGRESS_NONE;
}

/* One step: write what waits; then fetch the next thing to write from whoever has it. */
static Progress stream_step(DnsStream *st) {
        if (st->out.data)
                return stream_write(st);
        if (st->up_given_up) {
                Progress p = stream_fail_one(st);

                if (p != PROGRESS_NONE)
                        return p;
        }
        if (upstream_read(st))
                return PROGRESS_MADE;
        if (upstream_change_route(st))
                return PROGRESS_MADE;
        if (!upstream_send(st))
                upstream_lost(st);
        if (st->up_given_up)
                return PROGRESS_MADE;
        if (st->n_queries < DNS_STREAM_QUERIES_MAX)
                return stream_read(st);
        return PROGRESS_NONE;
}

static void stream_close(DnsStream *st) {
        Dns *d = st->dns;
        Netstack *s = d->stack;

        upstream_close(st);
        timer_stop(&s->timers, &st->timer);
        s->ops->close(s->userdata, st->fd, false);
        for (size_t i = 0; i < DNS_STREAM_QUERIES_MAX; i++) {
                free(st->queries[i].framed);
                dns64_end(&st->queries[i].dns64);
        }
        free(st->out.data);
        d->streams[st->slot] = NULL;
        d->stream_generation[st->slot]++;
        free(st);
}

/* Is the resolver the one that is waited for? */
static bool stream_awaits_resolver(const DnsStream *st) {
        return st->n_queries > 0 && !st->out.data;
}

/* Goes on until there is nothing to do, sets the timer, or closes. */
static void stream_run(DnsStream *st) {
        Netstack *s = st->dns->stack;
        Progress p;

        do
                p = stream_step(st);
        while (p == PROGRESS_MADE);

        if (p == PROGRESS_OVER || (st->client_eof && st->n_queries == 0 && !st->out.data)) {
                stream_close(st);
                return;
        }
        if (timer_set(&s->timers, &st->timer,
                      stream_awaits_resolver(st) ? st->up_active_at + DNS_TIMEOUT_USEC : st->active_at + DNS_STREAM_IDLE_USEC) < 0)
                stream_close(st);
}

static void stream_on_timer(Timer *timer, usec_t now, void *userdata) {
        DnsStream *st = CONTAINER_OF(timer, DnsStream, timer);

        if (!stream_awaits_resolver(st)) {
                stream_close(st);
                return;
        }
        upstream_open(st);
        stream_run(st);
}

void dns_stream_event(Dns *d, uint32_t slot, bool upstream, uint32_t events) {
        Netstack *s = d->stack;
        DnsStream *st = d->streams[slot];

        if (!st)
                return;
        if (!upstream && (events & HOST_EVENT_HUP)) {
                stream_close(st);
                return;
        }
        if (upstream && !st->up_connected) {
                int r = s->ops->tcp_result(s->userdata, st->up_fd);

                if (r == -EINPROGRESS || r == -EAGAIN)
                        return;
                if (r == 0)
                        st->up_connected = true;
                else
                        upstream_lost(st);
        }
        stream_run(st);
}

/* A place for one more client, if this guest may have one. */
static int stream_find_slot(const Dns *d, const IpAddr *guest, uint32_t *ret) {
        uint32_t slot = DNS_STREAMS_MAX;
        unsigned n_guest = 0, n_port = 0;

        for (uint32_t i = 0; i < DNS_STREAMS_MAX; i++)
                if (d->streams[i]) {
                        n_guest += ip_equal(&d->streams[i]->client.addr, guest);
                        n_port += d->streams[i]->port == netstack_port_id(d->stack);
                } else if (slot == DNS_STREAMS_MAX)
                        slot = i;
        if (slot == DNS_STREAMS_MAX || n_guest >= DNS_STREAMS_GUEST_MAX || n_port >= DNS_STREAMS_PORT_MAX)
                return -ENOBUFS;
        *ret = slot;
        return 0;
}

int dns_stream_open(Dns *d, const Endpoint *client, int *ret_flow_fd) {
        Netstack *s = d->stack;
        DnsStream *st;
        uint32_t slot;
        int r, flow_fd;

        r = stream_find_slot(d, &client->addr, &slot);
        if (r < 0) {
                netstack_drop(s, DROP_DNS_LIMIT);
                return r;
        }
        st = calloc(1, sizeof(*st));
        if (!st)
                return -ENOMEM;

        st->dns = d;
        st->slot = slot;
        st->client = *client;
        st->port = netstack_port_id(s);
        st->up_fd = -EBADF;
        st->route = DNS_ROUTE_NONE;
        st->active_at = netstack_now(s);
        timer_init(&st->timer, stream_on_timer);
        r = s->ops->stream_pair(s->userdata, host_cookie(HOST_KIND_DNS, d->stream_generation[slot], DNS_INDEX_STREAM + slot),
                                &flow_fd, &st->fd);
        if (r < 0) {
                free(st);
                return r;
        }
        d->streams[slot] = st;
        r = timer_set(&s->timers, &st->timer, st->active_at + DNS_STREAM_IDLE_USEC);
        if (r < 0) {
                s->ops->close(s->userdata, flow_fd, false);
                stream_close(st);
                return r;
        }

        *ret_flow_fd = flow_fd;
        return 0;
}

void dns_streams_free(Dns *d) {
        for (size_t i = 0; i < DNS_STREAMS_MAX; i++)
                if (d->streams[i])
                        stream_close(d->streams[i]);
}
