/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DNS queries by UDP: answered here where the name is ours, else relayed with nothing changed but the id. The answer goes back with the
 * client's id put in again. What resolvers said is kept for as long as they said (dns-cache.c), and forgotten when the host gets other ones.
 *
 * Each query gets a socket, thus a random port, and a random id of its own for each resolver asked. That is two system calls more than one
 * socket for all, a few microseconds on something that happens a few times a second; in return somebody who wants to slip in a
 * false answer must guess both numbers (RFC 5452), answers need no table to find their query, and a resolver's late answer can only meet
 * a closed socket. Answers count only from the address and port that was asked, with id and question right.
 *
 *     pending     asked -> answered (relayed, over)
 *                       -> DNS_TIMEOUT_USEC passed, or the resolver's port is closed -> the next one asked, DNS_TRIES_MAX in all
 *                       -> no more tries -> SERVFAIL
 */

#include <errno.h>
#include <xxhash.h>

#include "netstack/dns-local.h"
#include "netstack/dns64.h"
#include "netstack/rate.h"
#include "netstack/udp.h"

#define RECV_ERRORS_MAX 4

/* ---- for both transports ---- */

DnsAnswer dns_error_answer(const DnsHeader *query, const DnsQuestion *question, DnsRcode rcode) {
        uint8_t *data = malloc(DNS_ERROR_LEN_MAX);

        if (!data)
                return (DnsAnswer){};
        return (DnsAnswer){ .data = data, .len = dns_error_build(data, query, question, rcode) };
}

DnsAnswer dns_servfail(const uint8_t *query, size_t len, uint16_t client_id, const DnsQuestion *question) {
        DnsHeader h;
        DnsQuestion q;

        (void) dns_query_read(query, len, &h, &q); /* it was read before, so it can be read again */
        h.id = client_id;
        return dns_error_answer(&h, question, DNS_RCODE_SERVFAIL);
}

/* The bucket of a guest. Two that share a place share its bucket while it is in use. */
static bool dns_rate_ok(Dns *d, const IpAddr *guest, usec_t now) {
        size_t i = XXH3_64bits_withSeed(guest, sizeof(*guest), d->seed) % DNS_GUESTS_MAX;

        if (!ip_equal(&d->guests[i].addr, guest) && d->guests[i].rate <= now)
                d->guests[i].addr = *guest;
        return rate_take(&d->guests[i].rate, now, DNS_GUEST_PER_SEC, DNS_GUEST_BURST);
}

DnsAction dns_consider(Dns *d, const Endpoint *client, bool udp, const uint8_t *msg, size_t len, DnsQuestion *ret_question,
                       DnsAnswer *ret_answer) {
        Netstack *s = d->stack;
        DnsHeader h;
        int r;

        if (!dns_rate_ok(d, &client->addr, netstack_now(s))) {
                netstack_drop(s, DROP_DNS_RATE);
                return DNS_ACTION_DROP;
        }

        r = dns_query_read(msg, len, &h, ret_question);
        if (r == -EBADMSG || r == DNS_RCODE_FORMERR)
                netstack_drop(s, DROP_DNS_MALFORMED);
        if (r < 0)
                return DNS_ACTION_DROP;

        if (r == DNS_RCODE_OK) {
                size_t room = udp ? DNS_UDP_ROOM_MIN : DNS_MESSAGE_MAX;

                r = dns64_local_answer(s, msg, len, ret_question, room, ret_answer);
                if (r == 0)
                        r = dns_local_answer(s, msg, len, ret_question, room, ret_answer);
                if (r == 0)
                        return dns_cache_get(d->cache, ret_question, msg, len, room, netstack_now(s),
                                             &ret_answer->data, &ret_answer->len)
                                       ? DNS_ACTION_ANSWER
                                       : DNS_ACTION_RELAY;
                if (r > 0)
                        return DNS_ACTION_ANSWER;
                r = r == -EBADMSG ? DNS_RCODE_FORMERR : DNS_RCODE_SERVFAIL;
                if (r == DNS_RCODE_FORMERR)
                        netstack_drop(s, DROP_DNS_MALFORMED);
        }

        *ret_answer = dns_error_answer(&h, ret_question, r);
        return ret_answer->data ? DNS_ACTION_ANSWER : DNS_ACTION_DROP;
}

uint16_t dns_random_id(Dns *d) {
        uint16_t id;

        d->stack->ops->random(d->stack->userdata, &id, sizeof(id));
        return id;
}

/* Does the wire name @q end in the text @domain? Returns the length of that on the wire; 0: no. */
static size_t name_is_in(const DnsQuestion *q, const char *domain) {
        uint8_t wire[DNS_NAME_MAX];
        size_t len = dns_name_from_text(domain, wire, sizeof(wire)), i = 0;

        while (len > 0 && q->name_len - i > len)
                i += 1 + (size_t) q->name[i];
        return len > 0 && dns_name_equal(q->name + i, q->name_len - i, wire, len) ? len : 0;
}

int dns_route(const Dns *d, const DnsQuestion *q) {
        int best = DNS_ROUTE_NONE;
        size_t longest = 0;

        for (size_t i = 0; i < d->n_routes; i++) {
                size_t len = name_is_in(q, d->routes[i].domain);

                if (len > longest) {
                        longest = len;
                        best = (int) i;
                }
        }
        return best;
}

/* Where a new query begins. After a while the first of the list is trusted again: it is first for a reason. */
uint8_t dns_first_resolver(Dns *d, int route) {
        if (route != DNS_ROUTE_NONE)
                return 0;
        if (netstack_now(d->stack) >= d->preferred_until)
                d->preferred = 0;
        return d->preferred;
}

const Endpoint *dns_resolver(const Dns *d, int route, uint8_t first, uint8_t nth) {
        const Netstack *s = d->stack;

        if (route != DNS_ROUTE_NONE) /* there may be fewer routes by now */
                return (size_t) route < d->n_routes ? &d->routes[route].servers[nth % d->routes[route].n_servers] : NULL;
        return s->n_resolvers == 0 ? NULL : &s->resolvers[(first + nth) % s->n_resolvers];
}

void dns_resolver_answered(Dns *d, const Endpoint *resolver) {
        const Netstack *s = d->stack;

        for (size_t i = 0; i < s->n_resolvers; i++)
                if (endpoint_equal(&s->resolvers[i], resolver)) {
                        if (i != d->preferred) {
                                d->preferred = i;
                                d->preferred_until = netstack_now(s) + DNS_PREFER_USEC;
                        }
                        return;
                }
}

/* ---- queries under way ---- */

static void pending_close_socket(Dns *d, DnsPending *p) {
        if (p->fd >= 0)
                d->stack->ops->close(d->stack->userdata, p->fd, false);
        p->fd = -EBADF;
        p->generation++; /* events still on their way are for nobody */
}

static void pending_free(Dns *d, DnsPending *p) {
        pending_close_socket(d, p);
        timer_stop(&d->stack->timers, &p->timer);
        free(TAKE_PTR(p->query));
        dns64_end(&p->dns64);
        p->used = false;
        d->n_pending--;
}

/* Nobody could be asked: the client is told. */
static void pending_fail(Dns *d, DnsPending *p) {
        DnsAnswer answer = dns_servfail(p->query, p->len, p->client_id, dns64_question(&p->dns64, &p->question));

        if (answer.data)
                udp_send(d->stack, &p->server, &p->client, NULL, answer.data, answer.len);
        free(answer.data);
        pending_free(d, p);
}

/* Sends the query to one resolver from a new socket. 0, or why it could not go there. */
static int pending_ask(Dns *d, DnsPending *p, const Endpoint *resolver) {
        Netstack *s = d->stack;
        struct iovec iov = { .iov_base = p->query, .iov_len = p->len };
        HostMsg msg = { .peer = *resolver, .iov = &iov, .n_iov = 1, .len = p->len };
        int r;

        pending_close_socket(d, p);
        r = s->ops->dgram_open(s->userdata, HOST_SOCKET_UDP, ip_family(&resolver->addr), NULL,
                               host_cookie(HOST_KIND_DNS, p->generation, p - d->pending), &p->fd);
        if (r < 0) {
                p->fd = -EBADF;
                return r;
        }

        p->resolver = *resolver;
        p->id = dns_random_id(d);
        dns_id_set(p->query, p->id);
        r = s->ops->dgram_send(s->userdata, p->fd, &msg, 1);
        if (r < 0 && r != -EAGAIN) /* a full socket is a lost datagram: time will tell */
                return r;
        return timer_set(&s->timers, &p->timer, netstack_now(s) + DNS_TIMEOUT_USEC);
}

/* Asks the next resolver that can be asked; SERVFAIL and over when there is none. */
static void pending_ask_next(Dns *d, DnsPending *p) {
        while (p->tries < DNS_TRIES_MAX) {
                const Endpoint *resolver = dns_resolver(d, p->route, p->first, p->tries);

                if (!resolver)
                        break;
                p->tries++;
                if (pending_ask(d, p, resolver) >= 0)
                        return;
        }
        pending_fail(d, p);
}

static void pending_on_timer(Timer *timer, usec_t now, void *userdata) {
        Netstack *s = userdata;

        pending_ask_next(s->dns, CONTAINER_OF(timer, DnsPending, timer));
}

/* A free place for one more of this client's queries; NULL at the limits. */
static DnsPending *pending_find_free(Dns *d, const IpAddr *guest) {
        DnsPending *free_one = NULL;
        unsigned n_guest = 0, n_port = 0;

        if (d->n_pending >= DNS_PENDING_MAX)
                return NULL;

        /* Few are under way, as a rule, and the places are found in turn: the walk is for the limits of one guest, and of one port. */
        for (uint32_t i = 0, seen = 0; i < DNS_PENDING_MAX && (seen < d->n_pending || !free_one); i++) {
                DnsPending *p = &d->pending[(d->next_pending + i) % DNS_PENDING_MAX];

                if (p->used) {
                        seen++;
                        n_guest += ip_equal(&p->client.addr, guest);
                        n_port += p->port == netstack_port_id(d->stack);
                } else if (!free_one)
                        free_one = p;
        }
        if (n_guest >= DNS_PENDING_GUEST_MAX || n_port >= DNS_PENDING_PORT_MAX)
                return NULL;

        d->next_pending = (free_one - d->pending + 1) % DNS_PENDING_MAX;
        return free_one;
}

static int pending_new(Dns *d, const Endpoint *client, const Endpoint *server, const uint8_t *msg, size_t len,
                       const DnsQuestion *question) {
        DnsPending *p;
        uint8_t *query;

        if (len > DNS_QUERY_MAX)
                return -EMSGSIZE;
        p = pending_find_free(d, &client->addr);
        if (!p)
                return -ENOBUFS;
        query = malloc(len);
        if (!query)
                return -ENOMEM;

        memcpy(query, msg, len);
        *p = (DnsPending){
                .used = true,
                .generation = p->generation,
                .fd = -EBADF,
                .client_id = dns_id_get(msg),
                .route = dns_route(d, question),
                .client = *client,
                .server = *server,
                .port = netstack_port_id(d->stack),
                .question = *question,
                .query = query,
                .len = len,
        };
        dns64_begin(d->stack, &p->dns64, &p->question, p->query, &p->len);
        p->first = dns_first_resolver(d, p->route);
        timer_init(&p->timer, pending_on_timer);
        d->n_pending++;
        pending_ask_next(d, p);
        return 0;
}

void dns_input(Dns *d, const Endpoint *client, const Endpoint *server, IovCur *payload) {
        Netstack *s = d->stack;
        DnsAnswer answer = {};
        DnsQuestion question;
        size_t len = iovcur_left(payload);

        if (len > DNS_MESSAGE_MAX || !iovcur_copy(payload, d->buf, len)) {
                netstack_drop(s, DROP_DNS_MALFORMED);
                return;
        }

        switch (dns_consider(d, client, true, d->buf, len, &question, &answer)) {
        case DNS_ACTION_DROP:
                return;
        case DNS_ACTION_RELAY:
                if (pending_new(d, client, server, d->buf, len, &question) >= 0)
                        return;
                netstack_drop(s, DROP_DNS_LIMIT);
                answer = dns_servfail(d->buf, len, dns_id_get(d->buf), &question);
                break;
        case DNS_ACTION_ANSWER:
                break;
        }

        if (answer.data)
                udp_send(s, server, client, NULL, answer.data, answer.len);
        free(answer.data);
}

/* One datagram at a query's socket, in d->buf from @off on. True when it was the answer; @p is then free. */
static bool pending_take_reply(Dns *d, DnsPending *p, const Endpoint *peer, size_t off, size_t len) {
        uint8_t *msg = d->buf + off;
        DnsAnswer made = {};

        if (!endpoint_equal(peer, &p->resolver) || !dns_reply_matches(msg, len, p->id, &p->question)) {
                netstack_drop(d->stack, DROP_DNS_UPSTREAM);
                return false;
        }

        if (p->route == DNS_ROUTE_NONE)
                dns_resolver_answered(d, &p->resolver);
        switch (dns64_reply(d->stack, &p->dns64, &p->question, p->query, p->len, msg, len, DNS_UDP_ROOM_MIN, &made)) {
        case DNS64_PASS:
                break;
        case DNS64_ASK:
                p->tries = 0;
                p->first = dns_first_resolver(d, p->route);
                pending_ask_next(d, p);
                return true;
        case DNS64_ANSWER:
                msg = made.data;
                len = made.len;
                break;
        case DNS64_FAIL:
                pending_fail(d, p);
                return true;
        }
        dns_cache_put(d->cache, &p->question, p->query, p->len, msg, len, netstack_now(d->stack));
        dns_id_set(msg, p->client_id);
        udp_send(d->stack, &p->server, &p->client, NULL, msg, len);
        free(made.data);
        pending_free(d, p);
        return true;
}

/* The socket may have put several datagrams into one. */
static bool pending_take_replies(Dns *d, DnsPending *p, const HostMsg *msg) {
        size_t each = msg->gso_size > 0 ? msg->gso_size : MAX(msg->len, (size_t) 1);

        for (size_t off = 0; off == 0 || off < msg->len; off += each)
                if (pending_take_reply(d, p, &msg->peer, off, MIN(each, msg->len - off)))
                        return true;
        return false;
}

static void pending_event(Dns *d, DnsPending *p, uint32_t events) {
        Netstack *s = d->stack;
        HostError error;
        unsigned n_errors = 0;

        for (unsigned n = 0;; n++) {
                struct iovec iov = { .iov_base = d->buf, .iov_len = DNS_MESSAGE_MAX };
                HostMsg msg = { .iov = &iov, .n_iov = 1 };

                if (n == DNS_READS_MAX) { /* somebody guesses (RFC 5452), or floods: he has to begin anew, with another port and id */
                        pending_ask_next(d, p);
                        return;
                }
                int r = s->ops->dgram_recv(s->userdata, p->fd, &msg, 1);

                if (r > 0 && pending_take_replies(d, p, &msg))
                        return;
                /* An error of an earlier datagram may stand in front of an answer: reading it takes it away. */
                if (r == 0 || r == -EAGAIN || (r < 0 && ++n_errors > RECV_ERRORS_MAX))
                        break;
        }

        /* "Port unreachable" and the like: no need to wait for the time-out. */
        if (events & HOST_EVENT_ERROR)
                for (unsigned n = 0; n < DNS_READS_MAX && s->ops->dgram_error(s->userdata, p->fd, &error) == 0; n++)
                        if (endpoint_equal(&error.peer, &p->resolver)) {
                                pending_ask_next(d, p);
                                return;
                        }
}

void dns_host_event(Dns *d, uint64_t cookie, uint32_t events) {
        uint32_t i = host_cookie_index(cookie), generation = host_cookie_generation(cookie);

        if (i < DNS_INDEX_STREAM) {
                DnsPending *p = &d->pending[i];

                if (p->used && (p->generation & 0xffffff) == generation)
                        pending_event(d, p, events);
        } else if (i < DNS_INDEX_UPSTREAM) {
                if ((d->stream_generation[i - DNS_INDEX_STREAM] & 0xffffff) == generation)
                        dns_stream_event(d, i - DNS_INDEX_STREAM, false, events);
        } else if (i < DNS_INDEX_UPSTREAM + DNS_STREAMS_MAX) {
                if ((d->upstream_generation[i - DNS_INDEX_UPSTREAM] & 0xffffff) == generation)
                        dns_stream_event(d, i - DNS_INDEX_UPSTREAM, true, events);
        }
}

/* ---- what the administrator has said ---- */

static DnsZone **zone_by_name(Dns *d, const uint8_t *name, size_t len) {
        for (size_t i = 0; i < d->n_zones; i++) {
                size_t n;
                const uint8_t *own = dns_zone_name(d->zones[i], &n);

                if (dns_name_equal(own, n, name, len))
                        return &d->zones[i];
        }
        return NULL;
}

int netstack_set_zone(Netstack *s, DnsZone *zone) {
        Dns *d = s->dns;
        size_t len;
        const uint8_t *name = dns_zone_name(zone, &len);
        DnsZone **place = zone_by_name(d, name, len);

        if (place) {
                dns_zone_free(*place);
                *place = zone;
                return 0;
        }
        if (d->n_zones == DNS_ZONES_MAX)
                return -ENOBUFS;
        d->zones[d->n_zones++] = zone;
        return 0;
}

int netstack_remove_zone(Netstack *s, const char *name) {
        Dns *d = s->dns;
        uint8_t wire[DNS_NAME_MAX];
        size_t len = dns_name_from_text(name, wire, sizeof(wire));
        DnsZone **place = len > 0 ? zone_by_name(d, wire, len) : NULL;

        if (!place)
                return -ENOENT;
        dns_zone_free(*place);
        d->n_zones--;
        memmove(place, place + 1, (size_t) (d->zones + d->n_zones - place) * sizeof(*place));
        return 0;
}

int netstack_set_dns_routes(Netstack *s, const NetstackDnsRoute *routes, size_t n) {
        NetstackDnsRoute *copy;

        if (n > NETSTACK_DNS_ROUTES_MAX)
                return -ENOBUFS;
        for (size_t i = 0; i < n; i++) {
                uint8_t wire[DNS_NAME_MAX];

                if (routes[i].n_servers < 1 || routes[i].n_servers > NETSTACK_DNS_ROUTE_SERVERS_MAX ||
                    dns_name_from_text(routes[i].domain, wire, sizeof(wire)) == 0)
                        return -EINVAL;
        }
        copy = calloc(n + 1, sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        if (n > 0)
                memcpy(copy, routes, n * sizeof(*copy));
        free(s->dns->routes);
        s->dns->routes = copy;
        s->dns->n_routes = n;
        dns_cache_flush(s->dns->cache);
        return 0;
}

void dns_flush_cache(Dns *d) {
        dns_cache_flush(d->cache);
}

/* ---- life ---- */

int dns_new(Dns **ret, Netstack *s) {
        Dns *d = calloc(1, sizeof(*d));

        if (!d)
                return -ENOMEM;

        d->stack = s;
        d->pending = calloc(DNS_PENDING_MAX, sizeof(*d->pending));
        d->buf = malloc(DNS_MESSAGE_MAX);
        if (!d->pending || !d->buf) {
                (void) dns_free(d);
                return -ENOMEM;
        }
        s->ops->random(s->userdata, &d->seed, sizeof(d->seed));
        if (dns_cache_new(&d->cache, d->seed) < 0) {
                (void) dns_free(d);
                return -ENOMEM;
        }

        *ret = d;
        return 0;
}

Dns *dns_free(Dns *d) {
        if (!d)
                return NULL;

        dns_streams_free(d);
        for (size_t i = 0; d->pending && i < DNS_PENDING_MAX; i++)
                if (d->pending[i].used)
                        pending_free(d, &d->pending[i]);
        assert(d->n_pending == 0);
        for (size_t i = 0; i < d->n_zones; i++)
                dns_zone_free(d->zones[i]);
        dns_cache_free(d->cache);
        free(d->routes);
        free(d->pending);
        free(d->buf);
        free(d);
        return NULL;
}
