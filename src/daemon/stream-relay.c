/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads until its buffer is full, writes until it is empty, and asks epoll only for what it can use: so a side that is slow slows the other. */

#include "daemon/stream-relay.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "basic/macro.h"

/* One socket, and the bytes on their way to it. */
typedef struct Side {
        StreamRelay *relay; /* (borrowed) */
        int fd;             /* (owned) */
        sd_event_source *source; /* (owned) */
        bool eof;           /* its peer has said all */
        bool shut;          /* and so have we */
        size_t off, len;    /* of buf */
        uint8_t buf[STREAM_RELAY_BUFFER];
} Side;

struct StreamRelay {
        Side sides[2];
        void (*done)(StreamRelay *r, void *userdata);
        void *userdata;
};

static Side *other(Side *s) {
        return &s->relay->sides[s == &s->relay->sides[0]];
}

/* From @s to the other side's buffer. 0 or negative errno. */
static int pull(Side *s) {
        Side *to = other(s);
        ssize_t n;

        if (s->eof || to->len > 0)
                return 0;
        n = recv(s->fd, to->buf, sizeof(to->buf), MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        s->eof = n == 0;
        to->off = 0;
        to->len = (size_t) n;
        return 0;
}

/* From its buffer to @s; behind the last byte the end. */
static int push(Side *s) {
        while (s->len > 0) {
                ssize_t n = send(s->fd, s->buf + s->off, s->len, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0)
                        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
                s->off += (size_t) n;
                s->len -= (size_t) n;
        }
        if (other(s)->eof && !s->shut) {
                s->shut = true;
                if (shutdown(s->fd, SHUT_WR) < 0)
                        return -errno;
        }
        return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Side *s = userdata, *sides = s->relay->sides;
        StreamRelay *relay = s->relay;
        int r = 0;

        for (unsigned i = 0; i < 2 && r >= 0; i++)
                r = pull(&sides[i]);
        for (unsigned i = 0; i < 2 && r >= 0; i++)
                r = push(&sides[i]);
        if (r < 0 || (sides[0].shut && sides[1].shut)) {
                relay->done(relay, relay->userdata);
                return 0;
        }
        for (unsigned i = 0; i < 2; i++) {
                uint32_t want = (!sides[i].eof && other(&sides[i])->len == 0 ? EPOLLIN : 0) | (sides[i].len > 0 ? EPOLLOUT : 0);

                (void) sd_event_source_set_io_events(sides[i].source, want);
                /* a hang-up is told whatever was asked for: one that waits for its last bytes to leave is not to spin */
                (void) sd_event_source_set_enabled(sides[i].source, want ? SD_EVENT_ON : SD_EVENT_OFF);
        }
        return 0;
}

int stream_relay_new(StreamRelay **ret, sd_event *event, int a, int b, void (*done)(StreamRelay *r, void *userdata), void *userdata) {
        StreamRelay *relay = calloc(1, sizeof(*relay));
        const int fds[2] = { a, b };
        int r = 0;

        if (!relay) {
                (void) safe_close(a);
                (void) safe_close(b);
                return -ENOMEM;
        }
        relay->done = done;
        relay->userdata = userdata;
        for (unsigned i = 0; i < 2; i++) {
                relay->sides[i].relay = relay;
                relay->sides[i].fd = fds[i];
        }
        for (unsigned i = 0; i < 2 && r >= 0; i++)
                r = sd_event_add_io(event, &relay->sides[i].source, relay->sides[i].fd, EPOLLIN, on_io, &relay->sides[i]);
        if (r < 0) {
                stream_relay_free(relay);
                return r;
        }
        *ret = relay;
        return 0;
}

StreamRelay *stream_relay_free(StreamRelay *r) {
        if (!r)
                return NULL;
        for (unsigned i = 0; i < 2; i++) {
                sd_event_source_disable_unref(r->sides[i].source);
                r->sides[i].fd = safe_close(r->sides[i].fd);
        }
        free(r);
        return NULL;
}
