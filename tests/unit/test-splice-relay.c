/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The relay on real sockets, its events by an epoll set of the test's: bytes, ends and resets pass, slow sides hold nothing but their own up. */

#include <fcntl.h>
#include <glib.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "basic/macro.h"
#include "daemon/splice-relay.h"

#define EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define STEPS_MAX 1000000

typedef struct Pair { /* far[0] -- near[0] = relay = near[1] -- far[1] */
        SpliceRelay relay;
        int near[2], far[2]; /* (owned) */
        uint64_t moved[2];
        unsigned n_done;
        bool reset;
} Pair;

typedef struct Fixture {
        SpliceSet *set;
        int epoll_fd;
        unsigned n_ready;
} Fixture;

static void on_moved(SpliceRelay *r, unsigned from, size_t n, void *userdata) {
        CONTAINER_OF(r, Pair, relay)->moved[from] += n;
}

static void on_ready(void *userdata) {
        ((Fixture *) userdata)->n_ready++;
}

static void on_done(SpliceRelay *r, bool reset, void *userdata) {
        Pair *p = CONTAINER_OF(r, Pair, relay);

        p->n_done++;
        p->reset = reset;
        splice_relay_deinit(r);
        for (unsigned i = 0; i < 2; i++)
                (void) epoll_ctl(((Fixture *) userdata)->epoll_fd, EPOLL_CTL_DEL, p->near[i], NULL);
}

static const SpliceHandler handler = { .moved = on_moved, .ready = on_ready, .done = on_done };

static void begin(Fixture *f) {
        *f = (Fixture){ .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
        g_assert_cmpint(splice_set_new(&f->set, &handler, f), ==, 0);
}

static void end(Fixture *f) {
        f->set = splice_set_free(f->set);
        (void) close(f->epoll_fd);
}

static void tcp_pair(int ret[2]) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t len = sizeof(sa);

        g_assert_cmpint(bind(listener, (struct sockaddr *) &sa, len), ==, 0);
        g_assert_cmpint(listen(listener, 1), ==, 0);
        g_assert_cmpint(getsockname(listener, (struct sockaddr *) &sa, &len), ==, 0);
        ret[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(connect(ret[0], (struct sockaddr *) &sa, len), ==, 0);
        ret[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        (void) close(listener);
        for (unsigned i = 0; i < 2; i++)
                g_assert_cmpint(fcntl(ret[i], F_SETFL, O_NONBLOCK), ==, 0);
}

static void watch(Fixture *f, Pair *p, unsigned i) {
        struct epoll_event e = { .events = EVENTS, .data.u64 = (uintptr_t) p | i };

        g_assert_cmpint(epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, p->near[i], &e), ==, 0);
}

static Pair *pair_new(Fixture *f, bool by_unix) {
        Pair *p = g_new0(Pair, 1);
        int a[2], b[2];

        if (by_unix)
                g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, a), ==, 0);
        else
                tcp_pair(a);
        tcp_pair(b);
        p->far[0] = a[0];
        p->near[0] = a[1];
        p->near[1] = b[0];
        p->far[1] = b[1];
        splice_relay_init(&p->relay, f->set, p->near[0], p->near[1], by_unix);
        watch(f, p, 0);
        watch(f, p, 1);
        return p;
}

static void pair_free(Pair *p) {
        if (p->n_done == 0)
                splice_relay_deinit(&p->relay);
        for (unsigned i = 0; i < 2; i++) {
                (void) close(p->near[i]);
                if (p->far[i] >= 0)
                        (void) close(p->far[i]);
        }
        g_free(p);
}

/* What a wake-up of the loop does. */
static void step(Fixture *f) {
        struct epoll_event e[16];
        int n = epoll_wait(f->epoll_fd, e, G_N_ELEMENTS(e), 0);

        for (int i = 0; i < n; i++) {
                Pair *p = (Pair *) (uintptr_t) (e[i].data.u64 & ~UINT64_C(1));

                if (p->n_done == 0)
                        splice_relay_event(&p->relay, e[i].data.u64 & 1, e[i].events);
        }
        splice_set_run(f->set);
}

/* A stream of bytes that tell their place. */
typedef struct Stream {
        int from, to;
        size_t sent, got, n;
        bool ended;
} Stream;

static uint8_t byte_at(size_t i) {
        return (uint8_t) (i * 7 + i / 251 + i / 65521);
}

static void stream_send(Stream *s) {
        static uint8_t buf[100000];
        size_t n = MIN(sizeof(buf), s->n - s->sent);
        ssize_t k;

        if (poll(&(struct pollfd){ .fd = s->from, .events = POLLOUT }, 1, 0) == 0)
                return; /* making bytes takes longer than all else */
        for (size_t i = 0; i < n; i++)
                buf[i] = byte_at(s->sent + i);
        k = n > 0 ? send(s->from, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        s->sent += k > 0 ? (size_t) k : 0;
        if (n > 0 && s->sent == s->n)
                g_assert_cmpint(shutdown(s->from, SHUT_WR), ==, 0);
}

static void stream_receive(Stream *s) {
        static uint8_t buf[100000];
        ssize_t k = recv(s->to, buf, sizeof(buf), MSG_DONTWAIT);

        if (k < 0)
                g_assert_cmpint(errno, ==, EAGAIN);
        for (ssize_t i = 0; i < k; i++)
                if (buf[i] != byte_at(s->got + (size_t) i))
                        g_error("byte %zu of %zu is another", s->got + (size_t) i, s->n);
        s->got += k > 0 ? (size_t) k : 0;
        s->ended |= k == 0;
}

static void both_ways(bool by_unix, size_t n) {
        Fixture f;
        Pair *p;
        unsigned steps = 0;

        begin(&f);
        p = pair_new(&f, by_unix);
        Stream s[] = { { p->far[0], p->far[1], .n = n }, { p->far[1], p->far[0], .n = n } };
        while (!(s[0].ended && s[1].ended)) {
                for (unsigned i = 0; i < 2; i++) {
                        stream_send(&s[i]);
                        stream_receive(&s[i]);
                }
                step(&f);
                g_assert_cmpuint(++steps, <, STEPS_MAX);
        }
        for (unsigned i = 0; i < 2; i++) {
                g_assert_cmpuint(s[i].got, ==, n);
                g_assert_cmpuint(p->moved[i], ==, n);
        }
        g_assert_cmpuint(p->n_done, ==, 1);
        g_assert_false(p->reset);
        pair_free(p);
        end(&f);
}

static void test_few_bytes(void) {
        for (size_t n = 1; n < 5; n++)
                both_ways(false, n);
        both_ways(false, SPLICE_RELAY_BUFFER - 1);
        both_ways(false, SPLICE_RELAY_BUFFER);
        both_ways(false, SPLICE_RELAY_BUFFER + 1);
}

static void test_many_bytes(void) {
        both_ways(false, 64 * 1024 * 1024 + 13);
}

static void test_unix(void) {
        both_ways(true, 8 * 1024 * 1024 + 13);
}

/* More directions with much to say, and nobody who listens, than there are pipes: each has its bytes in the end. */
static void test_more_than_pipes(void) {
        enum { N = SPLICE_RELAY_PIPES_MAX + 4 };
        Stream s[N] = {};
        Pair *p[N];
        Fixture f;
        unsigned n_ended = 0, steps = 0;

        begin(&f);
        for (unsigned i = 0; i < N; i++) {
                p[i] = pair_new(&f, false);
                s[i] = (Stream){ p[i]->far[0], p[i]->far[1], .n = 12 * 1024 * 1024 };
        }
        for (unsigned k = 0; k < 500; k++) { /* until all stand still */
                for (unsigned i = 0; i < N; i++)
                        stream_send(&s[i]);
                step(&f);
        }
        while (n_ended < N) {
                n_ended = 0;
                for (unsigned i = 0; i < N; i++) {
                        stream_send(&s[i]);
                        stream_receive(&s[i]);
                        n_ended += s[i].ended;
                }
                step(&f);
                g_assert_cmpuint(++steps, <, STEPS_MAX);
        }
        for (unsigned i = 0; i < N; i++) {
                g_assert_cmpuint(s[i].got, ==, s[i].n);
                pair_free(p[i]);
        }
        end(&f);
}

/* What nobody takes is not read: the sender is held up after a bounded number of bytes. */
static void test_back_pressure(void) {
        Fixture f;
        Pair *p;

        begin(&f);
        p = pair_new(&f, false);
        Stream s = { p->far[0], p->far[1], .n = SIZE_MAX };
        for (unsigned k = 0; k < 2000; k++) {
                stream_send(&s);
                step(&f);
        }
        size_t stood = s.sent;
        for (unsigned k = 0; k < 100; k++) {
                stream_send(&s);
                step(&f);
        }
        g_assert_cmpuint(s.sent, ==, stood);
        g_assert_cmpuint(p->relay.streams[0].waiting, <=, SPLICE_RELAY_PIPE);
        pair_free(p); /* with bytes in the pipe */
        end(&f);
}

static void test_reset(void) {
        struct linger l = { .l_onoff = 1 };

        for (unsigned side = 0; side < 2; side++) {
                Fixture f;
                Pair *p;

                begin(&f);
                p = pair_new(&f, false);
                step(&f);
                g_assert_cmpint(setsockopt(p->far[side], SOL_SOCKET, SO_LINGER, &l, sizeof(l)), ==, 0);
                p->far[side] = safe_close(p->far[side]);
                for (unsigned k = 0; k < 200000 && p->n_done == 0; k++) {
                        step(&f);
                        g_usleep(100);
                }
                g_assert_cmpuint(p->n_done, ==, 1);
                g_assert_true(p->reset);
                pair_free(p);
                end(&f);
        }
}

/* What was said before a reset of the other direction's reader is passed on first. */
static void test_last_words(void) {
        Fixture f;
        char buf[16];
        Pair *p;

        begin(&f);
        p = pair_new(&f, false);
        step(&f);
        g_assert_cmpint(send(p->far[0], "unread", 6, MSG_NOSIGNAL), ==, 6);
        for (unsigned k = 0; k < 100; k++)
                step(&f);
        g_assert_cmpint(send(p->far[1], "answer", 6, MSG_NOSIGNAL), ==, 6);
        p->far[1] = safe_close(p->far[1]); /* with bytes unread: a reset */
        for (unsigned k = 0; k < 200000 && p->n_done == 0; k++) {
                step(&f);
                g_usleep(100);
        }
        g_assert_true(p->reset);
        g_assert_cmpint(recv(p->far[0], buf, sizeof(buf), MSG_DONTWAIT), ==, 6);
        pair_free(p);
        end(&f);
}

static void test_urgent(void) {
        Fixture f;
        char buf[16] = "";
        size_t got = 0;
        Pair *p;

        begin(&f);
        p = pair_new(&f, false);
        step(&f);
        g_assert_cmpint(send(p->far[0], "abc", 3, MSG_NOSIGNAL), ==, 3);
        g_assert_cmpint(send(p->far[0], "!", 1, MSG_NOSIGNAL | MSG_OOB), ==, 1);
        g_assert_cmpint(send(p->far[0], "def", 3, MSG_NOSIGNAL), ==, 3);
        for (unsigned k = 0; k < 200000 && got < 7; k++) {
                ssize_t n = recv(p->far[1], buf + got, sizeof(buf) - got, MSG_DONTWAIT);

                got += n > 0 ? (size_t) n : 0;
                step(&f);
                g_usleep(100);
        }
        g_assert_cmpstr(buf, ==, "abc!def");
        pair_free(p);
        end(&f);
}

/* Many bytes at once are more than a turn: the relay asks for another. */
static void test_turns(void) {
        Fixture f;
        Pair *p;

        begin(&f);
        p = pair_new(&f, false);
        Stream s = { p->far[0], p->far[1], .n = SIZE_MAX };
        for (unsigned k = 0; k < 2000; k++) { /* all the sockets hold */
                stream_send(&s);
                stream_receive(&s);
                if (k > 1000)
                        step(&f);
        }
        g_assert_cmpuint(f.n_ready, >, 0);
        pair_free(p);
        end(&f);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/splice-relay/few-bytes", test_few_bytes);
        g_test_add_func("/splice-relay/many-bytes", test_many_bytes);
        g_test_add_func("/splice-relay/unix", test_unix);
        g_test_add_func("/splice-relay/more-than-pipes", test_more_than_pipes);
        g_test_add_func("/splice-relay/back-pressure", test_back_pressure);
        g_test_add_func("/splice-relay/reset", test_reset);
        g_test_add_func("/splice-relay/last-words", test_last_words);
        g_test_add_func("/splice-relay/urgent", test_urgent);
        g_test_add_func("/splice-relay/turns", test_turns);
        return g_test_run();
}
