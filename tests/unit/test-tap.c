/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much a TAP's turn reads: what is expected of a conversation, and when as much is no longer expected. The TAP is a socket here, the turns
 * are made by hand. What a TAP does with frames is in tests/netns/test-tap.c.
 */

#include <errno.h>
#include <glib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "device/tap-private.h"

#define LEAD 50u /* of a frame's place in the arena: its IP header begins a cache line */

typedef struct World {
        Loop *loop;     /* (owned) */
        Device *device; /* (owned) */
        int pair[2];    /* (owned) [0]: the TAP's */
        int event;      /* (owned) what the loop waits for, in vain */
        unsigned n_frames; /* of the last turn */
        int gap;        /* wake-ups for others before the next turn */
} World;

static uint64_t wakes;

uint64_t __wrap_loop_wakes(const Loop *l);

uint64_t __wrap_loop_wakes(const Loop *l) {
        return wakes;
}

static void on_receive(Device *d, Frame *frames, unsigned n, void *userdata) {
        ((World *) userdata)->n_frames += n;
}

static const DeviceHandler handler = { .receive = on_receive };

static int start_here(void *arg) {
        World *w = arg;
        TapQueue *q = &tap_of(w->device)->queues[0];

        q->fd = w->event;
        w->device->handler = &handler;
        w->device->userdata = w;
        int r = device_start(w->device, w->loop);
        q->fd = w->pair[0];
        return r;
}

static int stop_here(void *arg) {
        device_stop(((World *) arg)->device);
        return 0;
}

static int turn_here(void *arg) {
        World *w = arg;
        TapQueue *q = &tap_of(w->device)->queues[0];

        wakes += 1 + (uint64_t) w->gap;
        w->n_frames = 0;
        q->io.fn(&q->io, EPOLLIN);
        return (int) w->n_frames;
}

static void begin(World *w, gconstpointer data) {
        Tap *t = g_new0(Tap, 1);

        for (unsigned i = 0; i < TAP_QUEUES_MAX; i++)
                t->queues[i].fd = -EBADF;
        g_assert_cmpint(device_init(&t->device, &tap_ops, "test", 0), ==, 0);
        t->device.n_queues = 1;
        t->lanes[0] = tap_lane_new(t, &t->device.counters);
        g_assert_nonnull(t->lanes[0]);
        w->device = &t->device;
        w->gap = 1;
        w->event = eventfd(0, EFD_CLOEXEC);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, w->pair), ==, 0);
        g_assert_cmpint(loop_new(&w->loop, "test", NULL, NULL), ==, 0);
        g_assert_cmpint(loop_call(w->loop, start_here, w), ==, 0);
}

static void end(World *w, gconstpointer data) {
        g_assert_cmpint(loop_call(w->loop, stop_here, w), ==, 0);
        w->device = device_free(w->device); /* with pair[0] */
        w->loop = loop_free(w->loop);
        (void) close(w->pair[1]);
        (void) close(w->event);
}

static void put(World *w, unsigned n, size_t len) {
        uint8_t frame[2048] = {};

        for (unsigned i = 0; i < n; i++)
                g_assert_cmpint(send(w->pair[1], frame, len, 0), ==, (ssize_t) len);
}

/* So many small frames come, and so many of all that wait are read in a turn. */
static unsigned turn(World *w, unsigned n) {
        put(w, n, 60);
        return (unsigned) loop_call(w->loop, turn_here, w);
}

/* Four are a conversation: as many are expected then, and not looked for a fifth. */
static void test_few(World *w, gconstpointer data) {
        g_assert_cmpuint(turn(w, 4), ==, 4);
        g_assert_cmpuint(turn(w, 6), ==, 4);
        g_assert_cmpuint(turn(w, 0), ==, 2);
}

static void test_not_few(World *w, gconstpointer data) {
        g_assert_cmpuint(turn(w, 5), ==, 5);
        g_assert_cmpuint(turn(w, 7), ==, 7);
}

/* After three turns with less than four there still are four expected; a fourth tells that there are not. */
static void test_like(World *w, gconstpointer data) {
        g_assert_cmpuint(turn(w, 4), ==, 4);
        for (unsigned i = 0; i < 3; i++)
                g_assert_cmpuint(turn(w, 1), ==, 1);
        g_assert_cmpuint(turn(w, 4), ==, 4); /* as many again: it begins anew */
        for (unsigned i = 0; i < 3; i++)
                g_assert_cmpuint(turn(w, 1), ==, 1);
        g_assert_cmpuint(turn(w, 1), ==, 1);
        g_assert_cmpuint(turn(w, 6), ==, 1);
        g_assert_cmpuint(turn(w, 0), ==, 1);
}

static void test_still_like(World *w, gconstpointer data) {
        g_assert_cmpuint(turn(w, 4), ==, 4);
        for (unsigned i = 0; i < 3; i++)
                g_assert_cmpuint(turn(w, 1), ==, 1);
        g_assert_cmpuint(turn(w, 6), ==, 4);
}

/* The second wake-up in a row expects one more, the third reads what there is, and then it begins anew. */
static void test_row(World *w, gconstpointer data) {
        g_assert_cmpuint(turn(w, 1), ==, 1);
        w->gap = 0;
        g_assert_cmpuint(turn(w, 20), ==, 2);
        g_assert_cmpuint(turn(w, 0), ==, 18);
}

static void test_row_ends(World *w, gconstpointer data) {
        g_assert_cmpuint(turn(w, 1), ==, 1);
        w->gap = 0;
        g_assert_cmpuint(turn(w, 20), ==, 2);
        w->gap = 1; /* somebody else's between them */
        g_assert_cmpuint(turn(w, 0), ==, 2);
}

/* A frame that ends before byte 512 of the arena is of a conversation. */
static void test_small(World *w, gconstpointer data) {
        put(w, 1, 511 - LEAD);
        g_assert_cmpuint(turn(w, 0), ==, 1);
        g_assert_cmpuint(turn(w, 3), ==, 1);
}

static void test_not_small(World *w, gconstpointer data) {
        put(w, 1, 512 - LEAD);
        g_assert_cmpuint(turn(w, 0), ==, 1);
        g_assert_cmpuint(turn(w, 3), ==, 3);
}

/* One of 512 bytes does not tell that somebody has little to say. */
static void test_small_at(World *w, gconstpointer data) {
        const TapLane *l = tap_of(w->device)->lanes[0];

        put(w, 1, 512);
        g_assert_cmpuint(turn(w, 0), ==, 1);
        g_assert_cmpuint(l->small_at, ==, 0);
        put(w, 1, 511);
        g_assert_cmpuint(turn(w, 0), ==, 1);
        g_assert_cmpuint(l->small_at, >, 0);
}

int main(int argc, char **argv) {
        static const struct {
                const char *path;
                void (*fn)(World *w, gconstpointer data);
        } cases[] = {
                { "/tap/turn/few", test_few },             { "/tap/turn/not-few", test_not_few },
                { "/tap/turn/like", test_like },           { "/tap/turn/still-like", test_still_like },
                { "/tap/turn/row", test_row },             { "/tap/turn/row-ends", test_row_ends },
                { "/tap/turn/small", test_small },         { "/tap/turn/not-small", test_not_small },
                { "/tap/turn/small-at", test_small_at },
        };

        g_test_init(&argc, &argv, NULL);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                g_test_add(cases[i].path, World, NULL, begin, cases[i].fn, end);
        return g_test_run();
}
