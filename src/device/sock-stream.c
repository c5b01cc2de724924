/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Receiving from a byte stream: many frames with one read, cut where they lie. What is left of a frame stays, and is moved to the front
 * only when the arena's end is near. A length that cannot be ends the connection, for the stream is out of step; a frame too short to be
 * one is counted and skipped.
 */

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "device/sock-private.h"

#define ARENA_LEN (2 * 1024 * 1024)
#define ROOM_MIN (FRAMING_FRAME_MAX + FRAMING_HEADER_MAX) /* for the rest of any frame */
#define READ_MAX (1024 * 1024)                            /* more goes on coming while it is copied */

_Static_assert(ARENA_LEN >= 2 * ROOM_MIN && HANDSHAKE_HTTP_MAX < ROOM_MIN, "a frame is never stuck for room");

int sock_stream_alloc(Sock *s) {
        s->arena_len = ARENA_LEN;
        s->arena = aligned_alloc(64, ARENA_LEN);
        return s->arena ? 0 : -ENOMEM;
}

static void make_room(Sock *s) {
        if (s->begin == s->end)
                s->begin = s->end = 0;
        else if (s->arena_len - s->end < ROOM_MIN) {
                memmove(s->arena, s->arena + s->begin, s->end - s->begin);
                s->end -= s->begin;
                s->begin = 0;
        }
}

/* False: nothing whole to hand up, or nobody to hand it to any more. */
static bool deliver_some(Sock *s) {
        unsigned header = framing_header_len(s->kind->framing), n = 0;
        uint32_t len;
        int r = 1;

        while (n < FRAME_BATCH_MAX && (r = framing_next(s->kind->framing, s->arena + s->begin, s->end - s->begin, &len)) > 0) {
                if (sock_accept_frame(s, s->arena + s->begin + header, len, n))
                        n++;
                s->begin += header + len;
        }
        if (n > 0)
                sock_deliver(s, n);
        if (!s->loop || s->broken)
                return false;
        if (r < 0) {
                counter_add(&s->device.counters.rx_dropped, 1);
                counters_drop(&s->device.counters, DROP_ETH_LONG);
                sock_break(s, r);
                return false;
        }
        return n == FRAME_BATCH_MAX;
}

/* True: done, and frames may follow. */
static bool shake_hands(Sock *s) {
        uint8_t answer[HANDSHAKE_ANSWER_MAX];
        size_t used, n;
        int r;

        r = handshake_read(&s->handshake, s->arena + s->begin, s->end - s->begin, &used, answer, &n);
        if (r < 0) {
                sock_break(s, r);
                return false;
        }
        s->begin += used;
        if (n > 0 && send(s->fd, answer, n, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t) n) { /* into an empty buffer */
                sock_break(s, -EPROTO);
                return false;
        }
        if (r > 0)
                sock_set_up(s);
        return r > 0;
}

/* Looks at what has come. */
static void digest(Sock *s) {
        if (!s->up && !shake_hands(s))
                return;
        while (deliver_some(s)) {}
}

void sock_stream_receive(Sock *s) {
        for (unsigned i = 0; i < SOCK_TURN_READS; i++) {
                size_t room;
                ssize_t n;

                make_room(s);
                room = MIN(s->arena_len - s->end, (size_t) READ_MAX);
                n = recv(s->fd, s->arena + s->end, room, MSG_DONTWAIT);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        if (errno != EAGAIN && errno != EWOULDBLOCK)
                                sock_break(s, -errno);
                        return;
                }
                if (n == 0) {
                        sock_break(s, s->begin < s->end ? -EPIPE : 0);
                        return;
                }
                s->end += (size_t) n;
                digest(s);
                if (!s->loop || s->broken)
                        return;
                if ((size_t) n < room && !s->hup) /* the queue is empty: what comes now is an edge of its own */
                        return;
        }
        sock_resume_soon(s);
}

static int64_t now_msec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
        return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* False: it is not so by @until, a moment for all. Who gives or takes a byte now and then does not gain time by it. */
static bool wait_for(Sock *s, short events, int64_t until) {
        struct pollfd p = { .fd = s->fd, .events = events };
        int64_t left = until - now_msec();

        return poll(&p, 1, (int) MAX(left, 0)) > 0 && p.revents & events;
}

bool sock_stream_finish(Sock *s) {
        int64_t until = now_msec() + SOCK_FINISH_MSEC;
        uint32_t need;

        while (s->fd >= 0 && s->up && s->begin < s->end &&
               framing_next(s->kind->framing, s->arena + s->begin, s->end - s->begin, &need) == 0) {
                ssize_t n;

                make_room(s);
                n = wait_for(s, POLLIN, until) ? recv(s->fd, s->arena + s->end, need - (s->end - s->begin), MSG_DONTWAIT) : -1;
                if (n <= 0)
                        break;
                s->end += (size_t) n;
        }
        until = now_msec() + SOCK_FINISH_MSEC;
        while (s->fd >= 0 && s->up && !s->broken && s->pending.begin < s->pending.end && !sock_send_pending(s))
                if (now_msec() >= until || !wait_for(s, POLLOUT, until))
                        break;
        return s->pending.begin == s->pending.end &&
               (s->begin == s->end || framing_next(s->kind->framing, s->arena + s->begin, s->end - s->begin, &need) > 0);
}
