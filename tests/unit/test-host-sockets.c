/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The gateway's HostOps on real sockets: each op against a far end on loopback, with a peek position of the kernel's and without. What
 * touches the loop runs on its thread; the rest, system calls on one descriptor, is called from here while the loop sleeps.
 */

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "daemon/host-sockets-private.h"

#define OPS (&host_sockets_ops)
#define COOKIE 77
#define WAIT_USEC (20 * G_USEC_PER_SEC)

typedef struct Event {
        uint64_t cookie;
        uint32_t events;
} Event;

typedef struct Fixture {
        Loop *loop;
        HostSockets *sockets;
        pthread_mutex_t lock; /* not GLib's own, which a build under TSan does not see through */
        pthread_cond_t came;
        GArray *events; /* (owned) Event, under @lock */
        bool no_peek_offset;
        bool refuses; /* the service, whose end of a flow is: */
        int service_fd;
} Fixture;

static void on_event(void *userdata, uint64_t cookie, uint32_t events) {
        Fixture *f = userdata;
        Event e = { cookie, events };

        pthread_mutex_lock(&f->lock);
        g_array_append_val(f->events, e);
        pthread_cond_signal(&f->came);
        pthread_mutex_unlock(&f->lock);
}

static int on_service(void *userdata, uint16_t port, const Endpoint *guest, int fd) {
        Fixture *f = userdata;

        if (f->refuses)
                return -EMFILE;
        f->service_fd = fd;
        return 0;
}

static const HostSocketsHandler handler = { .event = on_event, .service = on_service };

static int begin_here(void *arg) {
        Fixture *f = arg;
        return host_sockets_new(&f->sockets, f->loop, &handler, f, f->no_peek_offset);
}

static int end_here(void *arg) {
        Fixture *f = arg;
        f->sockets = host_sockets_free(f->sockets);
        return 0;
}

static void begin(Fixture *f, bool no_peek_offset) {
        *f = (Fixture){ .events = g_array_new(FALSE, FALSE, sizeof(Event)), .no_peek_offset = no_peek_offset };
        pthread_mutex_init(&f->lock, NULL);
        pthread_cond_init(&f->came, NULL);
        g_assert_cmpint(loop_new(&f->loop, "test", NULL, NULL), ==, 0);
        g_assert_cmpint(loop_call(f->loop, begin_here, f), ==, 0);
}

static void end(Fixture *f) {
        g_assert_cmpint(loop_call(f->loop, end_here, f), ==, 0);
        loop_free(f->loop);
        g_array_unref(f->events);
}

/* The next event, or none within @usec. */
static bool next_event(Fixture *f, int64_t usec, Event *ret) {
        int64_t until = g_get_real_time() + usec;
        struct timespec ts = { until / G_USEC_PER_SEC, until % G_USEC_PER_SEC * 1000 };
        bool any;

        pthread_mutex_lock(&f->lock);
        while (f->events->len == 0 && pthread_cond_timedwait(&f->came, &f->lock, &ts) == 0)
                ;
        any = f->events->len > 0;
        if (any) {
                *ret = g_array_index(f->events, Event, 0);
                g_array_remove_index(f->events, 0);
        }
        pthread_mutex_unlock(&f->lock);
        return any;
}

/* Events of @cookie until all of @wanted have come. */
static uint32_t wait_events(Fixture *f, uint64_t cookie, uint32_t wanted) {
        uint32_t seen = 0;

        while ((seen & wanted) != wanted) {
                Event e = {};

                g_assert_true(next_event(f, WAIT_USEC, &e));
                if (e.cookie == cookie)
                        seen |= e.events;
        }
        return seen;
}

/* ---- what must run on the loop's thread ---- */

typedef struct OnLoop {
        Fixture *f;
        int fd, fd2;
        uint64_t cookie;
        const Endpoint *to;
        HostConnect how;
        size_t n;
        bool reset;
} OnLoop;

static int do_watch(void *arg) {
        OnLoop *o = arg;
        return OPS->watch(o->f->sockets, o->fd, o->cookie);
}
static int watch(Fixture *f, int fd, uint64_t cookie) {
        return loop_call(f->loop, do_watch, &(OnLoop){ .f = f, .fd = fd, .cookie = cookie });
}

static int do_connect(void *arg) {
        OnLoop *o = arg;
        return OPS->tcp_connect(o->f->sockets, o->to, &o->how, o->cookie, &o->fd);
}
static int do_pair(void *arg) {
        OnLoop *o = arg;
        return OPS->stream_pair(o->f->sockets, o->cookie, &o->fd, &o->fd2);
}
static int do_service(void *arg) {
        OnLoop *o = arg;
        return OPS->service_open(o->f->sockets, 53, o->to, &o->fd);
}
static int do_dgram(void *arg) {
        OnLoop *o = arg;
        return OPS->dgram_open(o->f->sockets, HOST_SOCKET_UDP, AF_INET, o->to, o->cookie, &o->fd);
}

static int do_close(void *arg) {
        OnLoop *o = arg;
        OPS->close(o->f->sockets, o->fd, o->reset);
        return 0;
}
static void close_it(Fixture *f, int fd, bool reset) {
        (void) loop_call(f->loop, do_close, &(OnLoop){ .f = f, .fd = fd, .reset = reset });
}

/* Closed, and what was still told of it is not taken for the next one's. */
static void close_and_forget(Fixture *f, int fd) {
        close_it(f, fd, /* reset= */ false);
        pthread_mutex_lock(&f->lock);
        g_array_set_size(f->events, 0);
        pthread_mutex_unlock(&f->lock);
}

/* ---- far ends ---- */

static Endpoint local_of(int fd) {
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        Endpoint e;

        g_assert_cmpint(getsockname(fd, (struct sockaddr *) &sa, &len), ==, 0);
        g_assert_cmpint(endpoint_from_sockaddr((struct sockaddr *) &sa, len, &e), ==, 0);
        return e;
}

static int bound(int type) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), ==, 0);
        if (type == SOCK_STREAM)
                g_assert_cmpint(listen(fd, 8), ==, 0);
        return fd;
}

/* A connection by the op, and its far end. */
static int connect_pair(Fixture *f, int *ret_far) {
        _cleanup_close_ int listener = bound(SOCK_STREAM);
        Endpoint to = local_of(listener);
        OnLoop o = { .f = f, .cookie = COOKIE, .to = &to };

        g_assert_cmpint(loop_call(f->loop, do_connect, &o), ==, 0);
        wait_events(f, COOKIE, HOST_EVENT_OUT);
        g_assert_cmpint(OPS->tcp_result(f->sockets, o.fd), ==, 0);
        *ret_far = accept(listener, NULL, NULL);
        g_assert_cmpint(*ret_far, >=, 0);
        return o.fd;
}

static void write_all(int fd, const uint8_t *data, size_t len) {
        while (len > 0) {
                ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

                g_assert_cmpint(n, >, 0);
                data += n;
                len -= (size_t) n;
        }
}

static void fill(uint8_t *data, size_t len) {
        for (size_t i = 0; i < len; i++)
                data[i] = (uint8_t) (i % 251 + i / 65521);
}

/* ---- streams ---- */

static ssize_t peek(Fixture *f, int fd, size_t position, uint8_t *to, size_t len) {
        struct iovec iov[2] = { { to, len / 3 }, { to + len / 3, len - len / 3 } };
        return OPS->peek(f->sockets, fd, position, iov, 2);
}

/* The far end has written @total bytes: peeked here and there, discarded bit by bit. @far -1: its end has been closed. */
static void check_stream(Fixture *f, int fd, int far, bool shut) {
        enum { TOTAL = 60000 };
        static uint8_t data[TOTAL], got[TOTAL];
        g_autoptr(GRand) r = g_rand_new_with_seed(1);
        size_t head = 0;

        fill(data, TOTAL);
        g_assert_cmpint(peek(f, fd, 0, got, 100), ==, -EAGAIN);
        write_all(far, data, TOTAL);
        while (peek(f, fd, 0, got, TOTAL) < TOTAL)
                g_usleep(1000);
        g_assert_cmpint(peek(f, fd, TOTAL, got, 10), ==, -EAGAIN);
        if (shut) {
                g_assert_cmpint(shutdown(far, SHUT_WR), ==, 0);
                wait_events(f, COOKIE, HOST_EVENT_RDHUP);
        }
        for (size_t position = 0; head < TOTAL;) {
                size_t n = (size_t) g_rand_int_range(r, 1, 5000);
                ssize_t is = peek(f, fd, position, got, n);

                if (head + position == TOTAL)
                        g_assert_cmpint(is, ==, shut ? 0 : -EAGAIN);
                else {
                        g_assert_cmpint(is, >, 0);
                        g_assert_cmpint(is, <=, (int) MIN(n, TOTAL - head - position));
                        g_assert_cmpmem(got, is, data + head + position, is);
                        position += (size_t) is;
                }
                switch (g_rand_int_range(r, 0, 4)) {
                case 0: { /* the position stays on its byte */
                        size_t drop = position == 0 ? 0 : (size_t) g_rand_int_range(r, 0, (int) position + 1);
                        if (drop > 0) {
                                ssize_t gone = OPS->discard(f->sockets, fd, drop);
                                g_assert_cmpint(gone, ==, drop);
                                head += drop;
                                position -= drop;
                        }
                        break;
                }
                case 1: /* back, as for a retransmission */
                        position = position == 0 ? 0 : (size_t) g_rand_int_range(r, 0, (int) position);
                        break;
                default:
                        break;
                }
        }
        g_assert_cmpint(peek(f, fd, 0, got, 10), ==, shut ? 0 : -EAGAIN);
}

static void test_peek(const void *no_peek_offset) {
        for (unsigned shut = 0; shut < 2; shut++) {
                Fixture f;
                int far;

                begin(&f, no_peek_offset != NULL);
                int fd = connect_pair(&f, &far);
                check_stream(&f, fd, far, shut);
                close_it(&f, fd, /* reset= */ false);
                close(far);
                end(&f);
        }
}

static int int_of(int fd, int option) {
        int value = -1;
        socklen_t len = sizeof(value);

        g_assert_cmpint(getsockopt(fd, SOL_SOCKET, option, &value, &len), ==, 0);
        return value;
}

/* A flow of which much waits, peeked, for its guest has room for more: once, and what tells it so is gone again. */
static void test_room(const void *no_peek_offset) {
        uint8_t got[10];
        Fixture f;
        int far;

        begin(&f, no_peek_offset != NULL);
        int fd = connect_pair(&f, &far), before = int_of(fd, SO_RCVBUF), after;
        g_assert_cmpint(peek(&f, fd, 512 * 1024 - 1, got, sizeof(got)), ==, -EAGAIN);
        g_assert_cmpint(int_of(fd, SO_RCVBUF), ==, before);
        g_assert_cmpint(peek(&f, fd, 512 * 1024, got, sizeof(got)), ==, -EAGAIN);
        after = int_of(fd, SO_RCVBUF);
        g_assert_cmpint(after, >, before);
        g_assert_cmpint(int_of(fd, SO_RCVLOWAT), ==, 1);
        g_assert_cmpint(peek(&f, fd, 1024 * 1024, got, sizeof(got)), ==, -EAGAIN);
        g_assert_cmpint(int_of(fd, SO_RCVBUF), ==, after);
        write_all(far, (const uint8_t *) "x", 1);
        wait_events(&f, COOKIE, HOST_EVENT_IN);
        g_assert_cmpint(peek(&f, fd, 0, got, sizeof(got)), ==, 1);
        close_it(&f, fd, /* reset= */ false);
        close(far);
        end(&f);
}

static void test_pair(const void *no_peek_offset) {
        for (unsigned shut = 0; shut < 2; shut++) {
                Fixture f;

                begin(&f, no_peek_offset != NULL);
                OnLoop o = { .f = &f, .cookie = COOKIE + 1 };
                g_assert_cmpint(loop_call(f.loop, do_pair, &o), ==, 0);
                g_assert_cmpint(watch(&f, o.fd, COOKIE), ==, 0);
                check_stream(&f, o.fd, o.fd2, shut);

                char word[8];
                g_assert_cmpint(OPS->send(f.sockets, o.fd, &(struct iovec){ (char *) "query", 5 }, 1), ==, 5);
                wait_events(&f, COOKIE + 1, HOST_EVENT_IN);
                g_assert_cmpint(OPS->recv(f.sockets, o.fd2, word, sizeof(word)), ==, 5);
                g_assert_cmpint(OPS->shutdown_write(f.sockets, o.fd), ==, 0);
                wait_events(&f, COOKIE + 1, HOST_EVENT_RDHUP);
                g_assert_cmpint(OPS->recv(f.sockets, o.fd2, word, sizeof(word)), ==, 0);
                close_it(&f, o.fd, /* reset= */ false);
                close_it(&f, o.fd2, /* reset= */ false);
                end(&f);
        }
}

static int do_discard(void *arg) {
        OnLoop *o = arg;
        return (int) OPS->discard(o->f->sockets, o->fd, o->n);
}

/* Urgent data stands in the stream where it was sent, whoever reads up to which byte at once; and reading on is never forgotten. */
static void test_urgent(const void *no_peek_offset) {
        static const char expected[] = "one!two!three";
        Fixture f;
        int far;
        char got[64];
        size_t n = 0, position = 0;

        begin(&f, no_peek_offset != NULL);
        int fd = connect_pair(&f, &far);
        g_assert_cmpint(send(far, "one!", 4, MSG_OOB), ==, 4); /* the last byte of each is the urgent one */
        g_assert_cmpint(send(far, "two!", 4, MSG_OOB), ==, 4);
        g_assert_cmpint(send(far, "three", 5, 0), ==, 5);
        while (n < strlen(expected)) {
                (void) wait_events(&f, COOKIE, HOST_EVENT_IN);
                ssize_t is = peek(&f, fd, position, (uint8_t *) got + n, sizeof(got) - n);
                if (is == -EAGAIN)
                        continue;
                g_assert_cmpint(is, >, 0);
                n += (size_t) is;
                position += (size_t) is;
                /* what was got is acknowledged and discarded before any more is asked for, as for a guest */
                g_assert_cmpint(loop_call(f.loop, do_discard, &(OnLoop){ .f = &f, .fd = fd, .n = position }), ==, position);
                position = 0;
        }
        g_assert_cmpmem(got, n, expected, strlen(expected));
        close_it(&f, fd, /* reset= */ false);
        close(far);
        end(&f);
}

/* The end of stream comes behind the last byte, also when both come while we look. */
static gpointer write_and_shut(gpointer arg) {
        int fd = GPOINTER_TO_INT(arg);

        for (unsigned i = 0; i < 20; i++)
                write_all(fd, (const uint8_t *) "0123456789", 10);
        g_assert_cmpint(shutdown(fd, SHUT_WR), ==, 0);
        return NULL;
}

static void test_end(const void *no_peek_offset) {
        Fixture f;
        unsigned rounds = g_test_slow() ? 20000 : 1000;

        begin(&f, no_peek_offset != NULL);
        for (unsigned i = 0; i < rounds; i++) {
                int far, fd = connect_pair(&f, &far);
                GThread *writer = g_thread_new("writer", write_and_shut, GINT_TO_POINTER(far));
                uint8_t got[300];
                size_t n = 0;

                for (ssize_t r; (r = peek(&f, fd, n, got, sizeof(got))) != 0;) {
                        g_assert_true(r > 0 || r == -EAGAIN);
                        if (r > 0)
                                n += (size_t) r;
                        else /* what comes after this is an edge of its own */
                                g_assert_true(next_event(&f, WAIT_USEC, &(Event){}));
                }
                g_assert_cmpuint(n, ==, 200);
                g_thread_join(writer);
                close_and_forget(&f, fd);
                close(far);
        }
        end(&f);
}

/* A reset behind bytes that are there is a reset, not an end of stream. */
static void test_reset(const void *no_peek_offset) {
        Fixture f;
        uint8_t got[100];
        struct linger l = { .l_onoff = 1 };

        begin(&f, no_peek_offset != NULL);
        int far, fd = connect_pair(&f, &far);
        write_all(far, (const uint8_t *) "hello", 5);
        wait_events(&f, COOKIE, HOST_EVENT_IN);
        g_assert_cmpint(peek(&f, fd, 0, got, 100), ==, 5);
        g_assert_cmpint(setsockopt(far, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), ==, 0);
        close(far);
        wait_events(&f, COOKIE, HOST_EVENT_ERROR);
        g_assert_cmpint(peek(&f, fd, 5, got, 100), ==, -ECONNRESET);
        close_it(&f, fd, /* reset= */ true);
        end(&f);
}

/* A send stops where the buffer ends, and one edge tells when it has room again. */
static void test_send(void) {
        Fixture f;
        static uint8_t data[1 << 20], got[1 << 20];
        size_t sent = 0, received = 0;

        begin(&f, false);
        int far, fd = connect_pair(&f, &far);
        fill(data, sizeof(data));
        for (unsigned blocked = 0; sent < sizeof(data) || blocked == 0;) {
                size_t left = sizeof(data) - sent;
                struct iovec iov[2] = { { data + sent, left / 2 }, { data + sent + left / 2, left - left / 2 } };
                ssize_t n = left > 0 ? OPS->send(f.sockets, fd, iov, 2) : 0;

                g_assert_true(n >= 0 || n == -EAGAIN);
                sent += n > 0 ? (size_t) n : 0;
                if (n == (ssize_t) left)
                        break;
                blocked++;
                while (received < sent) {
                        ssize_t m = recv(far, got + received, sent - received, 0);
                        g_assert_cmpint(m, >, 0);
                        received += (size_t) m;
                }
                if (n == -EAGAIN || n < (ssize_t) left)
                        wait_events(&f, COOKIE, HOST_EVENT_OUT);
        }
        g_assert_cmpint(OPS->shutdown_write(f.sockets, fd), ==, 0);
        for (ssize_t m; (m = recv(far, got + received, sizeof(got) - received, 0)) > 0;)
                received += (size_t) m;
        g_assert_cmpmem(got, received, data, sizeof(data));

        OPS->set_keepalive(f.sockets, fd, true);
        int on = 0;
        socklen_t len = sizeof(on);
        g_assert_cmpint(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len), ==, 0);
        g_assert_cmpint(on, ==, 1);
        close_it(&f, fd, /* reset= */ false);
        close(far);
        end(&f);
}

static void test_close(void) {
        for (unsigned reset = 0; reset < 2; reset++) {
                Fixture f;
                char c;

                begin(&f, false);
                int far, fd = connect_pair(&f, &far);
                close_it(&f, fd, reset);
                g_assert_cmpint(recv(far, &c, 1, 0), ==, reset ? -1 : 0);
                if (reset)
                        g_assert_cmpint(errno, ==, ECONNRESET);
                close(far);
                end(&f);
        }
}

static void test_refused(void) {
        Fixture f;
        int listener = bound(SOCK_STREAM);
        Endpoint to = local_of(listener);
        OnLoop o = { .f = &f, .cookie = COOKIE, .to = &to };

        close(listener);
        begin(&f, false);
        g_assert_cmpint(loop_call(f.loop, do_connect, &o), ==, 0);
        wait_events(&f, COOKIE, HOST_EVENT_ERROR);
        g_assert_cmpint(OPS->tcp_result(f.sockets, o.fd), ==, -ECONNREFUSED);
        end(&f); /* which closes what is still open */
        g_assert_cmpint(fcntl(o.fd, F_GETFD), ==, -1);
}

static int do_fill(void *arg) {
        static uint8_t data[1024 * 1024];
        struct iovec iov = { data, sizeof(data) };
        OnLoop *o = arg;
        ssize_t n;

        for (o->n = 0; (n = OPS->send(o->f->sockets, o->fd, &iov, 1)) > 0; o->n += (size_t) n)
                if ((size_t) n < sizeof(data))
                        return 0;
        g_assert_cmpint(n, ==, -EAGAIN);
        return 0;
}

/* To this host a connection is there, or refused, when the call returns; now and then, where the kernel took its time, an event tells as ever. What
 * was there at once has no event of its own; once it was full it has. */
static void test_connect_at_once(void) {
        Fixture f;
        uint8_t got[4096];
        int listener = bound(SOCK_STREAM), far = -EBADF, r = 0;
        Endpoint to = local_of(listener);
        OnLoop o = { .f = &f, .cookie = COOKIE, .to = &to, .how.at_once = true };

        begin(&f, false);
        for (unsigned i = 0; i < 100 && r == 0; i++) {
                if (far >= 0) {
                        close(far);
                        close_and_forget(&f, o.fd);
                }
                r = loop_call(f.loop, do_connect, &o);
                g_assert_cmpint(r, >=, 0);
                far = accept(listener, NULL, NULL);
                g_assert_cmpint(far, >=, 0);
        }
        g_assert_cmpint(r, ==, 1);
        g_assert_false(next_event(&f, 50 * 1000, &(Event){}));
        g_assert_cmpint(loop_call(f.loop, do_fill, &o), ==, 0);
        g_assert_cmpuint(o.n, >, 0);
        for (size_t left = o.n; left > 0;) {
                ssize_t n = recv(far, got, MIN(left, sizeof(got)), 0);
                g_assert_cmpint(n, >, 0);
                left -= (size_t) n;
        }
        wait_events(&f, COOKIE, HOST_EVENT_OUT);
        close(far);
        close_and_forget(&f, o.fd);

        close(listener);
        r = 0;
        for (unsigned i = 0; i < 100 && r == 0; i++) {
                r = loop_call(f.loop, do_connect, &o);
                if (r == 0)
                        close_and_forget(&f, o.fd);
        }
        g_assert_cmpint(r, ==, -ECONNREFUSED);
        end(&f);
}

static int connect_to(const Endpoint *to) {
        struct sockaddr_storage sa;
        socklen_t len = endpoint_to_sockaddr(to, &sa);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(connect(fd, (struct sockaddr *) &sa, len), ==, 0);
        return fd;
}

static void test_accept(void) {
        Fixture f;
        Endpoint peer, local;
        int fd, listener = bound(SOCK_STREAM);
        Endpoint to = local_of(listener);
        uint64_t cookie = host_cookie(HOST_KIND_LISTENER, 1, 1);

        begin(&f, false);
        g_assert_cmpint(fcntl(listener, F_SETFL, O_NONBLOCK), ==, 0);
        g_assert_cmpint(watch(&f, listener, cookie), ==, 0);
        g_assert_cmpint(OPS->tcp_accept(f.sockets, listener, &fd, &peer, NULL), ==, -EAGAIN);
        int client = connect_to(&to);
        wait_events(&f, cookie, HOST_EVENT_IN);
        g_assert_cmpint(OPS->tcp_accept(f.sockets, listener, &fd, &peer, &local), ==, 0);
        Endpoint is = local_of(client);
        g_assert_true(endpoint_equal(&peer, &is));
        g_assert_true(endpoint_equal(&local, &to));
        g_assert_cmpint(watch(&f, fd, COOKIE), ==, 0);
        write_all(client, (const uint8_t *) "x", 1);
        wait_events(&f, COOKIE, HOST_EVENT_IN);
        close_it(&f, fd, /* reset= */ false);
        close(client);
        end(&f);
}

/* A listener that lives on elsewhere, in the service manager's store, is not heard of again once it is closed here. */
static void test_closed_elsewhere_open(void) {
        Fixture f;
        int listener = bound(SOCK_STREAM), twin = fcntl(listener, F_DUPFD_CLOEXEC, 0);
        Endpoint to = local_of(listener);

        begin(&f, false);
        g_assert_cmpint(watch(&f, listener, host_cookie(HOST_KIND_LISTENER, 1, 1)), ==, 0);
        close_it(&f, listener, /* reset= */ false);
        int client = connect_to(&to);
        g_assert_false(next_event(&f, 100 * 1000, &(Event){}));
        close(client);
        close(twin);
        end(&f);
}

/* Nor is a connection, one that a child was forked with at that moment. */
static void test_closed_while_forked(void) {
        Fixture f;
        int fds[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
        int twin = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);

        begin(&f, false);
        g_assert_cmpint(watch(&f, fds[0], COOKIE), ==, 0);
        close_it(&f, fds[0], /* reset= */ false);
        g_assert_cmpint(write(fds[1], "x", 1), ==, 1);
        g_assert_false(next_event(&f, 100 * 1000, &(Event){}));
        close(fds[1]);
        close(twin);
        end(&f);

        /* One of our own, which a child of this process alone can have. */
        begin(&f, false);
        int far, fd = connect_pair(&f, &far);
        loop_fork_begin();
        twin = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        close_it(&f, fd, /* reset= */ false);
        g_assert_cmpint(write(far, "x", 1), ==, 1);
        g_assert_false(next_event(&f, 100 * 1000, &(Event){}));
        close(twin);
        loop_fork_end();
        close(far);

        fd = connect_pair(&f, &far);
        close_it(&f, fd, /* reset= */ false); /* nor otherwise */
        g_assert_cmpint(recv(far, &(char){ 0 }, 1, 0), ==, 0);
        g_assert_false(next_event(&f, 100 * 1000, &(Event){}));
        close(far);
        end(&f);
}

/* What cannot be watched stays its owner's. */
static void test_watch_fails(void) {
        Fixture f;
        int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* no regular file can be polled */

        begin(&f, false);
        g_assert_cmpint(watch(&f, fd, COOKIE), ==, -EPERM);
        end(&f);
        g_assert_cmpint(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
        close(fd);
}

/* ---- datagrams ---- */

static int open_dgram(Fixture *f, const Endpoint *local, uint64_t cookie) {
        OnLoop o = { .f = f, .cookie = cookie, .to = local };

        g_assert_cmpint(loop_call(f->loop, do_dgram, &o), ==, 0);
        return o.fd;
}

static HostMsg message(const Endpoint *peer, struct iovec *iov, const void *data, size_t len) {
        *iov = (struct iovec){ (void *) data, len };
        return (HostMsg){ .peer = *peer, .iov = iov, .n_iov = 1, .len = len };
}

static void test_dgrams(void) {
        Fixture f;
        Endpoint any = { .addr = ip_from_v4(htonl(INADDR_LOOPBACK)) };

        begin(&f, false);
        int a = open_dgram(&f, &any, COOKIE), b = open_dgram(&f, &any, COOKIE + 1);
        Endpoint at_a = local_of(a), at_b = local_of(b);
        struct iovec iov[3];
        HostMsg out[3] = {
                message(&at_b, &iov[0], "one", 3),
                message(&at_b, &iov[1], "", 0),
                message(&at_b, &iov[2], "three", 5),
        };
        out[2].tos = 0x88;
        out[2].ttl = 7;
        g_assert_cmpint(OPS->dgram_send(f.sockets, a, out, 3), ==, 3);
        g_assert_cmpint(OPS->dgram_send(f.sockets, a, out, 1), ==, 1);
        wait_events(&f, COOKIE + 1, HOST_EVENT_IN);

        char room[8][4];
        struct iovec to[8];
        HostMsg in[8];
        for (unsigned i = 0; i < 8; i++)
                in[i] = message(&at_a, &to[i], room[i], sizeof(room[i]));
        g_assert_cmpint(OPS->dgram_recv(f.sockets, b, in, 8), ==, 4);
        g_assert_cmpmem(room[0], in[0].len, "one", 3);
        g_assert_true(endpoint_equal(&in[0].peer, &at_a));
        g_assert_false(in[0].truncated);
        g_assert_cmpuint(in[1].len, ==, 0);
        g_assert_cmpuint(in[2].len, ==, 4);
        g_assert_true(in[2].truncated);
        g_assert_cmpuint(in[2].tos, ==, 0x88);
        g_assert_cmpuint(in[3].tos, ==, 0);
        g_assert_cmpint(OPS->dgram_recv(f.sockets, b, in, 8), ==, -EAGAIN);
        end(&f);
}

static unsigned n_open(void) {
        unsigned n = 0;

        for (int i = 0; i < 1024; i++)
                n += fcntl(i, F_GETFD) >= 0;
        return n;
}

/* Of a flow to a service that takes it there is one descriptor here and a record; of one that it refuses, neither. */
static void test_service(void) {
        Fixture f;
        Endpoint guest = {};
        OnLoop o = { .f = &f, .to = &guest };
        unsigned before;
        char byte;

        begin(&f, false);
        before = n_open();
        f.refuses = true;
        g_assert_cmpint(loop_call(f.loop, do_service, &o), ==, -EMFILE);
        g_assert_cmpuint(f.sockets->n_open, ==, 0);
        g_assert_cmpuint(n_open(), ==, before);

        f.refuses = false;
        g_assert_cmpint(loop_call(f.loop, do_service, &o), ==, 0);
        g_assert_cmpuint(f.sockets->n_open, ==, 1);
        g_assert_cmpint(write(f.service_fd, "x", 1), ==, 1);
        g_assert_cmpint(read(o.fd, &byte, 1), ==, 1);
        close_it(&f, o.fd, /* reset= */ false);
        g_assert_cmpuint(f.sockets->n_open, ==, 0);
        (void) close(f.service_fd);
        end(&f);
}

/* A Unix socket of messages: what its far end, anybody's program, sends beside them is not taken in. */
static void test_messages_with_descriptors(void) {
        Fixture f;
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(4 * sizeof(int))];
        } control = {};
        struct iovec iov = { (void *) "hello", 5 };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf) };
        int pair[2], fds[4];
        char room[8];
        unsigned before;

        begin(&f, false);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), ==, 0);
        g_assert_cmpint(host_sockets_adopt_messages(f.sockets, pair[0]), ==, 0);
        for (unsigned i = 0; i < 4; i++)
                fds[i] = pair[1];
        *CMSG_FIRSTHDR(&m) = (struct cmsghdr){ CMSG_LEN(sizeof(fds)), SOL_SOCKET, SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, sizeof(fds));
        g_assert_cmpint(sendmsg(pair[1], &m, 0), ==, 5);
        before = n_open();

        HostMsg in = { .iov = &(struct iovec){ room, sizeof(room) }, .n_iov = 1 };
        g_assert_cmpint(OPS->dgram_recv(f.sockets, pair[0], &in, 1), ==, 1);
        g_assert_cmpmem(room, in.len, "hello", 5);
        g_assert_cmpuint(in.peer.port, >, 0);
        g_assert_cmpuint(n_open(), ==, before);
        close_it(&f, pair[0], /* reset= */ false);
        (void) close(pair[1]);
        end(&f);
}

/* An empty one is none, and takes none of those behind it along. */
static void test_messages_empty(void) {
        static const char *const sent[] = { "one", "", "three", "" };
        Fixture f;
        struct iovec to[8];
        HostMsg in[8];
        char room[8][8];
        int pair[2];

        begin(&f, false);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), ==, 0);
        g_assert_cmpint(host_sockets_adopt_messages(f.sockets, pair[0]), ==, 0);
        for (unsigned i = 0; i < 8; i++) {
                to[i] = (struct iovec){ room[i], sizeof(room[i]) };
                in[i] = (HostMsg){ .iov = &to[i], .n_iov = 1 };
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(sent); i++)
                g_assert_cmpint(send(pair[1], sent[i], strlen(sent[i]), MSG_NOSIGNAL), ==, strlen(sent[i]));
        g_assert_cmpint(OPS->dgram_recv(f.sockets, pair[0], in, 8), ==, 3);
        g_assert_cmpmem(room[0], in[0].len, "one", 3);
        g_assert_cmpuint(in[1].len, ==, 0);
        g_assert_cmpuint(in[1].peer.port, ==, 0); /* of nobody: it goes nowhere */
        g_assert_cmpmem(room[2], in[2].len, "three", 5);
        g_assert_cmpuint(in[2].peer.port, ==, in[0].peer.port);
        g_assert_cmpint(OPS->dgram_recv(f.sockets, pair[0], in, 8), ==, -EAGAIN);

        /* as many as are asked for: there may be more, whatever the last of them is */
        for (unsigned i = 0; i < 8; i++)
                g_assert_cmpint(send(pair[1], "", 0, MSG_NOSIGNAL), ==, 0);
        g_assert_cmpint(send(pair[1], "four", 4, MSG_NOSIGNAL), ==, 4);
        g_assert_cmpint(OPS->dgram_recv(f.sockets, pair[0], in, 8), ==, 8);
        g_assert_cmpint(OPS->dgram_recv(f.sockets, pair[0], in, 8), ==, 1);
        g_assert_cmpmem(room[0], in[0].len, "four", 4);
        for (unsigned i = 0; i < 8; i++)
                g_assert_cmpint(send(pair[1], "", 0, MSG_NOSIGNAL), ==, 0);
        g_assert_cmpint(OPS->dgram_recv(f.sockets, pair[0], in, 8), ==, -EAGAIN);

        g_assert_cmpint(send(pair[1], "last", 4, MSG_NOSIGNAL), ==, 4);
        (void) close(pair[1]);
        g_assert_cmpint(OPS->dgram_recv(f.sockets, pair[0], in, 8), ==, 1);
        g_assert_cmpint(OPS->dgram_recv(f.sockets, pair[0], in, 8), ==, -EAGAIN); /* the end */
        close_it(&f, pair[0], /* reset= */ false);
        end(&f);
}

/* No message of a Unix socket is a run: each goes by itself. */
static void test_messages_no_runs(void) {
        Fixture f;
        struct iovec one = { (void *) "one", 3 }, two[] = { { (void *) "abc", 3 }, { (void *) "defg", 4 } };
        HostMsg msgs[] = { { .iov = &one, .n_iov = 1, .len = 3 }, { .iov = two, .n_iov = 2, .len = 7, .gso_size = 4 } };
        char room[16];
        int pair[2];

        begin(&f, false);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), ==, 0);
        g_assert_cmpint(host_sockets_adopt_messages(f.sockets, pair[0]), ==, 0);
        g_assert_cmpint(OPS->dgram_send(f.sockets, pair[0], msgs, 2), ==, 1); /* those in front of it */
        g_assert_cmpint(OPS->dgram_send(f.sockets, pair[0], msgs + 1, 1), ==, -EINVAL);
        g_assert_cmpint(recv(pair[1], room, sizeof(room), 0), ==, 3);
        g_assert_cmpint(recv(pair[1], room, sizeof(room), 0), <, 0);
        close_it(&f, pair[0], /* reset= */ false);
        (void) close(pair[1]);
        end(&f);
}

static int do_ping(void *arg) {
        OnLoop *o = arg;
        return OPS->dgram_open(o->f->sockets, HOST_SOCKET_PING, AF_INET, NULL, o->cookie, &o->fd);
}

/* A socket for pings may be a raw one, whose messages have a header in front. Another that has its number afterwards has none. */
static void test_after_ping(void) {
        Fixture f;
        Endpoint any = { .addr = ip_from_v4(htonl(INADDR_LOOPBACK)) };
        OnLoop o = { .f = &f, .cookie = COOKIE };
        static const char text[] = "E is five words of header";
        struct iovec iov;
        char room[64];

        begin(&f, false);
        if (loop_call(f.loop, do_ping, &o) < 0) {
                g_test_skip("this user may not ping");
                end(&f);
                return;
        }
        close_and_forget(&f, o.fd);
        int fd = open_dgram(&f, &any, COOKIE + 1);
        g_assert_cmpint(fd, ==, o.fd);
        Endpoint to = local_of(fd);
        HostMsg m = message(&to, &iov, text, sizeof(text));
        g_assert_cmpint(OPS->dgram_send(f.sockets, fd, &m, 1), ==, 1);
        wait_events(&f, COOKIE + 1, HOST_EVENT_IN);
        m = message(&to, &iov, room, sizeof(room));
        g_assert_cmpint(OPS->dgram_recv(f.sockets, fd, &m, 1), ==, 1);
        g_assert_cmpmem(room, m.len, text, sizeof(text));
        end(&f);
}

/* A run of datagrams in one call; received as one run where the kernel keeps it together. */
static void test_runs(void) {
        Fixture f;
        Endpoint any = { .addr = ip_from_v4(htonl(INADDR_LOOPBACK)) };
        static uint8_t data[4500], got[65536];
        struct iovec iov;
        size_t n = 0;

        begin(&f, false);
        int a = open_dgram(&f, &any, COOKIE), b = open_dgram(&f, &any, COOKIE + 1);
        Endpoint at_b = local_of(b);
        fill(data, sizeof(data));
        HostMsg out = message(&at_b, &iov, data, sizeof(data));
        out.gso_size = 1000;
        g_assert_cmpint(OPS->dgram_send(f.sockets, a, &out, 1), ==, 1);
        wait_events(&f, COOKIE + 1, HOST_EVENT_IN);
        for (int r = 0; n < sizeof(data); n += r > 0 ? iov.iov_len : 0) {
                HostMsg in = message(&at_b, &iov, got + n, sizeof(got) - n);

                r = OPS->dgram_recv(f.sockets, b, &in, 1);
                g_assert_true(r == 1 || r == -EAGAIN);
                if (r < 0)
                        g_assert_true(next_event(&f, WAIT_USEC, &(Event){}));
                iov.iov_len = in.len;
                if (r == 1 && in.len > 1000)
                        g_assert_cmpuint(in.gso_size, ==, 1000);
        }
        g_assert_cmpmem(got, n, data, sizeof(data));
        end(&f);
}

static int receive_buffer(int fd) {
        int size = 0;
        socklen_t len = sizeof(size);

        g_assert_no_errno(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &len));
        return size;
}

/* A DNS query's socket has one answer to wait for, and is read one message at a time: that is no burst. */
static void test_no_burst(void) {
        uint64_t cookie = host_cookie(HOST_KIND_DNS, 0, 1);
        Fixture f;
        int far = bound(SOCK_DGRAM);
        Endpoint to = local_of(far);
        struct sockaddr_in from;
        socklen_t len = sizeof(from);
        struct iovec iov;
        char byte;

        begin(&f, false);
        int fd = open_dgram(&f, NULL, cookie), before = receive_buffer(fd);
        HostMsg m = message(&to, &iov, "?", 1), in = { .iov = &(struct iovec){ &byte, 1 }, .n_iov = 1 };
        g_assert_cmpint(OPS->dgram_send(f.sockets, fd, &m, 1), ==, 1);
        g_assert_cmpint(recvfrom(far, &byte, 1, 0, (struct sockaddr *) &from, &len), ==, 1);
        g_assert_cmpint(sendto(far, "!", 1, 0, (struct sockaddr *) &from, len), ==, 1);
        wait_events(&f, cookie, HOST_EVENT_IN);
        g_assert_cmpint(OPS->dgram_recv(f.sockets, fd, &in, 1), ==, 1);
        g_assert_cmpint(receive_buffer(fd), ==, before);
        (void) close(far);
        end(&f);
}

/* A socket that brings bursts is given more room, no other is, and none loses an event by it. */
static void test_bursts(void) {
        Fixture f;
        int far = bound(SOCK_DGRAM);
        Endpoint to = local_of(far);
        struct iovec iov, room[2];
        char bytes[2];
        HostMsg in[2];

        begin(&f, false);
        int fd = open_dgram(&f, NULL, COOKIE);
        int before = receive_buffer(fd);
        HostMsg m = message(&to, &iov, "hello", 5);
        g_assert_cmpint(OPS->dgram_send(f.sockets, fd, &m, 1), ==, 1);
        struct sockaddr_in from;
        socklen_t len = sizeof(from);
        g_assert_cmpint(recvfrom(far, bytes, 1, 0, (struct sockaddr *) &from, &len), ==, 1);

        for (unsigned n = 1; n <= 2; n++) {
                for (unsigned i = 0; i < n; i++)
                        g_assert_cmpint(sendto(far, "x", 1, 0, (struct sockaddr *) &from, len), ==, 1);
                wait_events(&f, COOKIE, HOST_EVENT_IN);
                for (unsigned i = 0; i < 2; i++) {
                        room[i] = (struct iovec){ &bytes[i], 1 };
                        in[i] = (HostMsg){ .iov = &room[i], .n_iov = 1 };
                }
                g_assert_cmpint(OPS->dgram_recv(f.sockets, fd, in, 2), ==, (int) n);
                if (n == 1)
                        g_assert_cmpint(receive_buffer(fd), ==, before);
                else
                        g_assert_cmpint(receive_buffer(fd), !=, before);
        }
        close(far);
        end(&f);
}

static void test_error_queue(void) {
        Fixture f;
        int nobody = bound(SOCK_DGRAM);
        Endpoint to = local_of(nobody);
        struct iovec iov;
        HostError e;

        close(nobody);
        begin(&f, false);
        int fd = open_dgram(&f, NULL, COOKIE);
        g_assert_cmpint(OPS->dgram_error(f.sockets, fd, &e), ==, -EAGAIN);
        HostMsg m = message(&to, &iov, "hello", 5);
        g_assert_cmpint(OPS->dgram_send(f.sockets, fd, &m, 1), ==, 1);
        wait_events(&f, COOKIE, HOST_EVENT_ERROR);
        g_assert_cmpint(OPS->dgram_error(f.sockets, fd, &e), ==, 0);
        g_assert_cmpint(e.error, ==, ECONNREFUSED);
        g_assert_cmpuint(e.icmp_type, ==, 3);
        g_assert_cmpuint(e.icmp_code, ==, 3);
        g_assert_true(endpoint_equal(&e.peer, &to));
        g_assert_true(ip_equal(&e.offender, &to.addr));
        g_assert_cmpmem(e.payload, e.payload_len, "hello", 5);
        g_assert_cmpint(OPS->dgram_error(f.sockets, fd, &e), ==, -EAGAIN);
        end(&f);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        for (unsigned i = 0; i < 2; i++) { /* with a peek position of the kernel's where it has one, and without */
                const char *how = i == 0 ? "" : "-no-offset";
                g_autofree char *peek_name = g_strdup_printf("/host-sockets/peek%s", how), *end_name = g_strdup_printf("/host-sockets/end%s", how),
                                 *urgent_name = g_strdup_printf("/host-sockets/urgent%s", how),
                                *reset_name = g_strdup_printf("/host-sockets/reset%s", how),
                                *pair_name = g_strdup_printf("/host-sockets/pair%s", how), *room_name = g_strdup_printf("/host-sockets/room%s", how);
                const void *no_peek_offset = i == 0 ? NULL : "yes";

                g_test_add_data_func(peek_name, no_peek_offset, test_peek);
                g_test_add_data_func(end_name, no_peek_offset, test_end);
                g_test_add_data_func(urgent_name, no_peek_offset, test_urgent);
                g_test_add_data_func(reset_name, no_peek_offset, test_reset);
                g_test_add_data_func(pair_name, no_peek_offset, test_pair);
                g_test_add_data_func(room_name, no_peek_offset, test_room);
        }
        g_test_add_func("/host-sockets/send", test_send);
        g_test_add_func("/host-sockets/close", test_close);
        g_test_add_func("/host-sockets/refused", test_refused);
        g_test_add_func("/host-sockets/connect-at-once", test_connect_at_once);
        g_test_add_func("/host-sockets/accept", test_accept);
        g_test_add_func("/host-sockets/closed-elsewhere-open", test_closed_elsewhere_open);
        g_test_add_func("/host-sockets/closed-while-forked", test_closed_while_forked);
        g_test_add_func("/host-sockets/watch-fails", test_watch_fails);
        g_test_add_func("/host-sockets/dgrams", test_dgrams);
        g_test_add_func("/host-sockets/messages-with-descriptors", test_messages_with_descriptors);
        g_test_add_func("/host-sockets/messages-empty", test_messages_empty);
        g_test_add_func("/host-sockets/messages-no-runs", test_messages_no_runs);
        g_test_add_func("/host-sockets/after-ping", test_after_ping);
        g_test_add_func("/host-sockets/service", test_service);
        g_test_add_func("/host-sockets/runs", test_runs);
        g_test_add_func("/host-sockets/bursts", test_bursts);
        g_test_add_func("/host-sockets/no-burst", test_no_burst);
        g_test_add_func("/host-sockets/error-queue", test_error_queue);
        return g_test_run();
}
