/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a client that was accepted to the end of its connection: takes a lent socket, connects it to the guest's own address, and lets a
 * SpliceRelay do the rest. Needs no keepalive and no timeout of its own: both ends are sockets of this host, whose kernel tells when their
 * processes have gone, and gives up connecting by itself (lender.c). Only when the lender's has gone does a timer sweep.
 */

#include "daemon/bypass.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include "basic/macro.h"
#include "basic/sockopt.h"
#include "daemon/splice-relay.h"

#define CLIENT_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define SWEEP_EVERY USEC_PER_SEC

typedef struct Guest Guest;

typedef struct Connection Connection;
struct Connection {
        Guest *guest;     /* (borrowed) */
        Connection *prev, *next;
        HostBypass what;
        LoopIo io;        /* of the client's socket, once the guest has answered */
        int fd;           /* (owned) the client's */
        LentSocket *lent; /* (borrowed) */
        SpliceRelay relay;
        bool connected;
        uint64_t rx_bytes, tx_bytes;
        usec_t created;
};

struct Guest {
        Bypass *bypass; /* (borrowed) */
        Guest *next;
        Lender *lender; /* (owned) */
        LoopIo pidfd;
        Timer sweep;    /* once the lender's process has ended */
        uint16_t port;
        Connection *connections; /* (owned) */
};

struct Bypass {
        Loop *loop; /* (borrowed) */
        const BypassHandler *handler;
        void *userdata;
        SpliceSet *set; /* (owned) */
        Timer turn;     /* is due at once when some have more to do */
        Guest *guests;  /* (owned) */
        size_t n_connections;
        BypassStats stats;
};

/* ---- one connection ---- */

/* Lets go of all but the client's socket, which it returns. */
static int connection_free(Connection *c, bool reset) {
        Guest *g = c->guest;
        Bypass *b = g->bypass;
        int fd = c->fd;

        if (c->connected)
                splice_relay_deinit(&c->relay);
        lender_give_back(g->lender, c->lent, reset, b->loop);
        if (c->prev)
                c->prev->next = c->next;
        else
                g->connections = c->next;
        if (c->next)
                c->next->prev = c->prev;
        b->n_connections--;
        free(c);
        return fd;
}

/* A reset of one side is one of the other. */
static void connection_end(Connection *c, bool reset) {
        Bypass *b = c->guest->bypass;
        HostBypass what = c->what;
        struct linger l = { .l_onoff = 1 };
        int fd;

        loop_remove(b->loop, &c->io);
        fd = connection_free(c, reset);
        if (reset)
                (void) setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
        (void) close(fd);
        b->handler->ended(b->userdata, &what);
}

static void connection_fail(Connection *c) {
        Bypass *b = c->guest->bypass;
        HostBypass what = c->what;
        int fd = connection_free(c, /* reset= */ true);

        b->stats.failed++;
        b->handler->failed(b->userdata, &what, fd);
}

static void on_client(LoopIo *io, uint32_t events) {
        splice_relay_event(&CONTAINER_OF(io, Connection, io)->relay, 0, events);
}

/* The guest's end is connected, or never will be. An event may be one of the connection before: then there is no error. */
static void on_answer(Connection *c, uint32_t events) {
        Bypass *b = c->guest->bypass;
        int error = 0;

        if (events & (EPOLLERR | EPOLLHUP)) {
                if (sockopt_get_int(c->lent->fd, SOL_SOCKET, SO_ERROR, &error) < 0 || error != 0)
                        connection_fail(c);
                return;
        }
        if (!(events & EPOLLOUT))
                return;
        if (loop_add(b->loop, &c->io, c->fd, CLIENT_EVENTS, on_client) < 0) {
                connection_fail(c);
                return;
        }
        c->connected = true;
        b->stats.opened++;
        splice_relay_init(&c->relay, b->set, c->fd, c->lent->fd, /* odd= */ ip_is_null(&c->what.client.addr));
        if (events & (EPOLLIN | EPOLLRDHUP))
                splice_relay_event(&c->relay, 1, events);
}

static void on_lent(LoopIo *io, uint32_t events) {
        Connection *c = CONTAINER_OF(io, LentSocket, io)->user;

        if (!c)
                return;
        if (c->connected)
                splice_relay_event(&c->relay, 1, events);
        else
                on_answer(c, events);
}

/* ---- what the relays say ---- */

static void on_moved(SpliceRelay *r, unsigned from, size_t n, void *userdata) {
        Connection *c = CONTAINER_OF(r, Connection, relay);
        Bypass *b = userdata;

        *(from == 0 ? &c->tx_bytes : &c->rx_bytes) += n;
        b->stats.bytes += n;
        b->handler->moved(b->userdata, &c->what, from == 0 ? 0 : n, from == 0 ? n : 0);
}

static void on_ready(void *userdata) {
        Bypass *b = userdata;

        (void) timer_set(loop_timers(b->loop), &b->turn, loop_now(b->loop)); /* reserved: it cannot fail */
}

static void on_turn(Timer *timer, usec_t now, void *userdata) {
        splice_set_run(CONTAINER_OF(timer, Bypass, turn)->set);
}

static void on_done(SpliceRelay *r, bool reset, void *userdata) {
        connection_end(CONTAINER_OF(r, Connection, relay), reset);
}

static const SpliceHandler relay_handler = { .moved = on_moved, .ready = on_ready, .done = on_done };

/* ---- guests ---- */

/* A guest whose process has ended may live on in others. But one that has closed its end and waits for a client who never does would keep
 * its namespace for ever. */
static void on_sweep(Timer *timer, usec_t now, void *userdata) {
        Guest *g = CONTAINER_OF(timer, Guest, sweep);

        for (Connection *c = g->connections, *next; c; c = next) {
                next = c->next;
                if (c->connected && c->relay.streams[1].ended)
                        connection_end(c, /* reset= */ true);
        }
        if (g->connections)
                (void) timer_set(loop_timers(g->bypass->loop), timer, now + SWEEP_EVERY);
}

static void on_pidfd(LoopIo *io, uint32_t events) {
        Guest *g = CONTAINER_OF(io, Guest, pidfd);

        loop_remove(g->bypass->loop, io);
        lender_end(g->lender, g->bypass->loop);
        (void) timer_set(loop_timers(g->bypass->loop), &g->sweep, loop_now(g->bypass->loop) + SWEEP_EVERY);
}

static Guest *find_guest(Bypass *b, uint16_t port) {
        Guest *g = b->guests;

        while (g && g->port != port)
                g = g->next;
        return g;
}

int bypass_add_lender(Bypass *b, uint16_t port, Lender *l) {
        Guest *g = calloc(1, sizeof(*g));
        int r;

        if (!g) {
                (void) lender_free(l, NULL);
                return -ENOMEM;
        }
        *g = (Guest){ .bypass = b, .next = b->guests, .lender = l, .port = port, .pidfd.fd = -EBADF };
        timer_init(&g->sweep, on_sweep);
        r = timer_reserve(loop_timers(b->loop), &g->sweep);
        if (r >= 0)
                r = loop_add(b->loop, &g->pidfd, lender_pidfd(l), EPOLLIN, on_pidfd);
        if (r < 0) {
                timer_release(loop_timers(b->loop), &g->sweep);
                (void) lender_free(l, NULL);
                free(g);
                return r;
        }
        b->guests = g;
        return 0;
}

void bypass_remove_lender(Bypass *b, uint16_t port) {
        Guest *g = find_guest(b, port);

        if (!g)
                return;
        for (Guest **at = &b->guests; *at; at = &(*at)->next)
                if (*at == g) {
                        *at = g->next;
                        break;
                }
        while (g->connections)
                connection_end(g->connections, /* reset= */ true);
        loop_remove(b->loop, &g->pidfd);
        timer_release(loop_timers(b->loop), &g->sweep);
        (void) lender_free(g->lender, b->loop);
        free(g);
}

/* ---- the network's side ---- */

int bypass_new(Bypass **ret, Loop *loop, const BypassHandler *handler, void *userdata) {
        Bypass *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        b->loop = loop;
        b->handler = handler;
        b->userdata = userdata;
        timer_init(&b->turn, on_turn);
        r = timer_reserve(loop_timers(loop), &b->turn); /* edges do not come twice: without a turn relays could stand still for ever */
        if (r >= 0)
                r = splice_set_new(&b->set, &relay_handler, b);
        if (r < 0) {
                timer_release(loop_timers(loop), &b->turn);
                free(b);
                return r;
        }
        *ret = b;
        return 0;
}

Bypass *bypass_free(Bypass *b) {
        if (!b)
                return NULL;
        while (b->guests)
                bypass_remove_lender(b, b->guests->port);
        timer_release(loop_timers(b->loop), &b->turn);
        b->set = splice_set_free(b->set);
        free(b);
        return NULL;
}

/* Is the client a process of this host? One that came from elsewhere is to be seen as what it is. */
static bool is_local(const HostBypass *what, int fd) {
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        Endpoint local;

        if (ip_is_null(&what->client.addr) || ip_classify(&what->client.addr) == IP_CLASS_LOOPBACK)
                return true;
        return getsockname(fd, (struct sockaddr *) &sa, &len) >= 0 && endpoint_from_sockaddr((struct sockaddr *) &sa, len, &local) >= 0 &&
               ip_equal(&local.addr, &what->client.addr);
}

int bypass_open(Bypass *b, uint16_t port, const HostBypass *what, int fd) {
        Guest *g = find_guest(b, port);
        Connection *c;
        int r;

        if (!g || !is_local(what, fd))
                return -ENOENT;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        r = lender_connect(g->lender, &what->guest, b->loop, &c->lent);
        if (r >= 0 && c->lent->io.fd < 0) {
                r = loop_add(b->loop, &c->lent->io, c->lent->fd, CLIENT_EVENTS, on_lent);
                if (r < 0)
                        lender_give_back(g->lender, c->lent, /* reset= */ true, b->loop);
        }
        if (r < 0) {
                free(c);
                return r;
        }
        (void) sockopt_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* not of a Unix socket */
        c->guest = g;
        c->what = *what;
        c->fd = fd;
        c->io.fd = -EBADF;
        c->created = loop_now(b->loop);
        c->lent->user = c;
        c->next = g->connections;
        if (c->next)
                c->next->prev = c;
        g->connections = c;
        b->n_connections++;
        return 0;
}

const BypassStats *bypass_stats(const Bypass *b) {
        return &b->stats;
}

size_t bypass_count(const Bypass *b) {
        return b->n_connections;
}

size_t bypass_list(const Bypass *b, FlowInfo *ret, size_t max) {
        size_t n = 0;

        for (const Guest *g = b->guests; g; g = g->next)
                for (const Connection *c = g->connections; c && n < max; c = c->next)
                        ret[n++] = (FlowInfo){
                                .proto = IPPROTO_TCP,
                                .inbound = true,
                                .guest = c->what.guest,
                                .remote = c->what.guest, /* of some port: to itself the guest speaks */
                                .state = c->connected ? "bypass" : "connecting",
                                .rx_bytes = c->rx_bytes,
                                .tx_bytes = c->tx_bytes,
                                .created = c->created,
                                .last_used = c->created,
                        };
        return n;
}
