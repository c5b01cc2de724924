/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads of a direction until there is no more or its turn is over, and writes at once what it has read. Remembers readiness, since events
 * are edges. Whatever was read is written before the next is read, so at most one read waits for a slow side.
 *
 * A direction begins with recv(). One that fills the buffer is worth a pipe; one that no longer does gives it back.
 */

#include "daemon/splice-relay.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "basic/macro.h"

#define FEW_BYTES (16 * 1024)
#define FEW_TURNS 8

struct SplicePipe {
        int fds[2]; /* (owned) */
        SplicePipe *next; /* of the idle ones */
};

struct SpliceSet {
        const SpliceHandler *handler;
        void *userdata;
        SpliceRelay *ready, **ready_tail;
        SplicePipe *idle;  /* (owned) the last used first: its pages are in the caches */
        unsigned n_pipes;  /* all there are */
        bool no_pipes;     /* there can be none */
        uint8_t buffer[SPLICE_RELAY_BUFFER];
};

int splice_set_new(SpliceSet **ret, const SpliceHandler *handler, void *userdata) {
        SpliceSet *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->handler = handler;
        s->userdata = userdata;
        s->ready_tail = &s->ready;
        *ret = s;
        return 0;
}

/* ---- pipes ---- */

static void pipe_close(SpliceSet *set, SplicePipe *p) {
        (void) safe_close(p->fds[0]);
        (void) safe_close(p->fds[1]);
        free(p);
        set->n_pipes--;
}

static SplicePipe *pipe_take(SpliceSet *set) {
        SplicePipe *p = set->idle;

        if (p) {
                set->idle = p->next;
                return p;
        }
        if (set->no_pipes || set->n_pipes == SPLICE_RELAY_PIPES_MAX)
                return NULL;
        p = calloc(1, sizeof(*p));
        if (!p)
                return NULL;
        if (pipe2(p->fds, O_CLOEXEC | O_NONBLOCK) < 0) {
                free(p);
                return NULL;
        }
        set->n_pipes++;
        if (fcntl(p->fds[1], F_SETPIPE_SZ, SPLICE_RELAY_PIPE) < 0) { /* the user's limit: one of 64 KiB is slower than none */
                set->no_pipes = true;
                pipe_close(set, p);
                return NULL;
        }
        return p;
}

/* With bytes in it, it is of no use to anybody else. */
static void pipe_give_back(SpliceSet *set, SpliceStream *s) {
        SplicePipe *p = TAKE_PTR(s->pipe);

        if (!p)
                return;
        if (s->waiting > 0) {
                pipe_close(set, p);
                s->waiting = 0;
                return;
        }
        p->next = set->idle;
        set->idle = p;
}

SpliceSet *splice_set_free(SpliceSet *s) {
        if (!s)
                return NULL;
        for (SplicePipe *p; (p = s->idle);) {
                s->idle = p->next;
                pipe_close(s, p);
        }
        free(s);
        return NULL;
}

/* ---- one direction ---- */

/* 1: all is written; 0: not yet; negative errno. */
static int push(SpliceRelay *r, unsigned i) {
        SpliceStream *s = &r->streams[i];
        int to = r->fds[!i];

        while (s->waiting > 0) {
                ssize_t n = s->rest ? send(to, s->rest + s->rest_at, s->waiting, MSG_DONTWAIT | MSG_NOSIGNAL)
                                    : splice(s->pipe->fds[0], NULL, to, NULL, s->waiting, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        s->blocked = true;
                        return 0;
                }
                if (n < 0)
                        return -errno;
                s->waiting -= (size_t) n;
                s->rest_at += s->rest ? (size_t) n : 0;
                r->set->handler->moved(r, i, (size_t) n, r->set->userdata);
        }
        free(TAKE_PTR(s->rest));
        s->rest_at = 0;
        return 1;
}

/* What is to wait must be kept; there is no way back into the socket. */
static int keep_rest(SpliceStream *s, const uint8_t *bytes, size_t n) {
        s->rest = malloc(n);
        if (!s->rest)
                return -ENOMEM;
        memcpy(s->rest, bytes, n);
        s->rest_at = 0;
        s->waiting = n;
        return 0;
}

/* What a read says that brought no bytes: none for now, none any more, or negative errno. */
static ssize_t none_read(SpliceStream *s, ssize_t n) {
        if (n == 0) {
                s->ended = true;
                return 0;
        }
        s->readable = errno == EINTR;
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/* One read and the write of it, through the buffer. Returns bytes read, 0 when there are none for now, or negative errno. */
static ssize_t copy(SpliceRelay *r, unsigned i) {
        SpliceStream *s = &r->streams[i];
        SpliceSet *set = r->set;
        ssize_t n, sent;

        n = recv(r->fds[i], set->buffer, sizeof(set->buffer), MSG_DONTWAIT);
        if (n <= 0)
                return none_read(s, n);
        if ((size_t) n < sizeof(set->buffer) && !r->odd[i]) {
                s->ended = s->last;
                s->readable = false; /* what comes from now on is told by an event */
        }
        if ((size_t) n == sizeof(set->buffer) && !r->odd[i])
                s->by_pipe = true;
        sent = send(r->fds[!i], set->buffer, (size_t) n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
                return -errno;
        sent = MAX(sent, (ssize_t) 0);
        if (sent > 0)
                set->handler->moved(r, i, (size_t) sent, set->userdata);
        if (sent < n) {
                int k = keep_rest(s, set->buffer + sent, (size_t) (n - sent));

                if (k < 0)
                        return k;
                s->blocked = true;
        }
        return n;
}

/* One read into the pipe. As copy(). */
static ssize_t suck(SpliceRelay *r, unsigned i) {
        SpliceStream *s = &r->streams[i];
        ssize_t n = splice(r->fds[i], NULL, s->pipe->fds[1], NULL, SPLICE_RELAY_PIPE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

        if (n <= 0)
                return none_read(s, n);
        s->waiting = (size_t) n;
        s->few = (size_t) n < FEW_BYTES ? s->few + 1 : 0;
        s->by_pipe = s->few < FEW_TURNS;
        return n;
}

/* Passes the end on, once all before it is. */
static int finish(SpliceRelay *r, unsigned i) {
        SpliceStream *s = &r->streams[i];

        if (!s->ended || s->shut || s->waiting > 0)
                return 0;
        s->shut = true;
        return shutdown(r->fds[!i], SHUT_WR) < 0 ? -errno : 0;
}

/* A turn of one direction. 1: it has more to do; 0; negative errno. */
static int pump(SpliceRelay *r, unsigned i) {
        SpliceStream *s = &r->streams[i];
        size_t left = SPLICE_RELAY_TURN;
        ssize_t n = 0;

        while (n >= 0 && !s->blocked) {
                int k = push(r, i);

                if (k <= 0)
                        return k;
                if (!s->readable || s->ended || left == 0)
                        break;
                if (s->by_pipe && !s->pipe)
                        s->pipe = pipe_take(r->set);
                n = s->by_pipe && s->pipe && !r->odd[i] ? suck(r, i) : copy(r, i);
                left -= MIN((size_t) MAX(n, (ssize_t) 0), left);
        }
        if (n < 0)
                return (int) n;
        if (s->waiting == 0)
                pipe_give_back(r->set, s);
        n = finish(r, i);
        return n < 0 ? (int) n : s->readable && !s->ended && !s->blocked;
}

/* ---- both ---- */

static void make_ready(SpliceRelay *r) {
        SpliceSet *set = r->set;

        if (r->in_ready)
                return;
        r->in_ready = true;
        r->next_ready = NULL;
        if (!set->ready)
                set->handler->ready(set->userdata);
        *set->ready_tail = r;
        set->ready_tail = &r->next_ready;
}

/* A turn of both. What the side that lives has said is passed on before it hears of the other's end. */
static void turn(SpliceRelay *r) {
        SpliceSet *set = r->set;
        int more[2];

        for (unsigned i = 0; i < 2; i++) {
                more[i] = pump(r, i);
                if (more[i] < 0) {
                        (void) pump(r, !i);
                        set->handler->done(r, /* reset= */ true, set->userdata);
                        return;
                }
        }
        if (r->streams[0].shut && r->streams[1].shut)
                set->handler->done(r, /* reset= */ false, set->userdata);
        else if (more[0] || more[1])
                make_ready(r);
}

void splice_set_run(SpliceSet *s) {
        SpliceRelay *r = s->ready, *next;

        s->ready = NULL;
        s->ready_tail = &s->ready;
        for (; r; r = next) {
                next = r->next_ready;
                r->in_ready = false;
                turn(r);
        }
}

void splice_relay_init(SpliceRelay *r, SpliceSet *set, int a, int b, bool odd) {
        *r = (SpliceRelay){ .set = set, .fds = { a, b }, .odd = { odd } };
}

void splice_relay_deinit(SpliceRelay *r) {
        SpliceSet *set = r->set;

        for (unsigned i = 0; i < 2; i++) {
                pipe_give_back(set, &r->streams[i]);
                free(TAKE_PTR(r->streams[i].rest));
        }
        for (SpliceRelay **at = &set->ready; r->in_ready && *at; at = &(*at)->next_ready)
                if (*at == r) {
                        *at = r->next_ready;
                        if (!*at)
                                set->ready_tail = at;
                        break;
                }
}

void splice_relay_event(SpliceRelay *r, unsigned side, uint32_t events) {
        if (unlikely(events & EPOLLPRI)) { /* urgent data stays in its place (RFC 6093 5), and what is spliced stops there */
                int one = 1;

                (void) setsockopt(r->fds[side], SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
                r->odd[side] = true;
        }
        if (events & EPOLLERR)
                r->odd[side] = true; /* behind what was said before comes the error, and no event */
        else if (events & EPOLLRDHUP)
                r->streams[side].last = true;
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                r->streams[side].readable = true;
        if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
                r->streams[!side].blocked = false;
        turn(r);
}
