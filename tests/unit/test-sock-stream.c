/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames out of byte streams: in pieces of every size, around the arena's end, at every limit; handshakes; ends in and out of step. The
 * program has a recv() of its own, which can have more to give than a socket.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "device/sock-private.h"
#include "sock-fixture.h"

#define LONGEST FRAMING_FRAME_MAX

#define READ_MAX (1024 * 1024) /* what sock-stream.c asks for at most */
#define READS_MAX 32

/* While there is some, it comes before what waits in the socket, and a read gets all it has room for. */
typedef struct Plenty {
        GByteArray *bytes; /* (owned, nullable) */
        size_t at;
        size_t short_by; /* of the second read */
        int error;       /* (nullable: 0) what the read fails with that finds no more, once */
        Rig *rig;
        unsigned n_reads;
        size_t room[READS_MAX];
        Timer other;          /* somebody else on the loop, due since the first read */
        unsigned other_after; /* how many reads */
} Plenty;

static Plenty plenty; /* the loop's thread alone, while it runs */

static void on_other(Timer *timer, usec_t now, void *userdata) {
        plenty.other_after = plenty.n_reads;
}

ssize_t recv(int fd, void *buf, size_t len, int flags) {
        if (!plenty.bytes || fd != sock_fd(plenty.rig->device))
                return recvfrom(fd, buf, len, flags, NULL, NULL);
        g_assert_cmpuint(plenty.n_reads, <, READS_MAX);
        plenty.room[plenty.n_reads] = len;
        if (plenty.n_reads++ == 0)
                g_assert_cmpint(timer_set(loop_timers(plenty.rig->loop), &plenty.other, loop_now(plenty.rig->loop) - 1), >=, 0);
        size_t n = MIN(plenty.bytes->len - plenty.at, len);
        if (n == 0 && plenty.error != 0) {
                errno = plenty.error;
                plenty.error = 0;
                return -1;
        }
        if (n == 0)
                return recvfrom(fd, buf, len, flags, NULL, NULL);
        if (plenty.n_reads == 2)
                n -= plenty.short_by;
        memcpy(buf, plenty.bytes->data + plenty.at, n);
        plenty.at += n;
        return (ssize_t) n;
}

static int turn_over(void *arg) {
        return 0;
}

static int reads_so_far(void *arg) {
        return (int) plenty.n_reads;
}

static int give_plenty(void *arg) {
        plenty = *(const Plenty *) arg;
        timer_init(&plenty.other, on_other);
        return 0;
}

/* A device that has had a frame, and finds @n frames of @len bytes, the last of @last, and one more in its socket. Returns the far end;
 * @expected: what comes out of these. */
static int begin_with_plenty(Rig *r, unsigned n, uint32_t len, uint32_t last, GByteArray *expected) {
        g_autofree uint8_t *bytes = g_malloc(4 + MAX(len, last));
        Plenty given = { .bytes = g_byte_array_new(), .short_by = plenty.short_by, .error = plenty.error, .rig = r };
        int pair[2];

        rig_pair(SOCK_STREAM, pair);
        rig_adopt(r, "qemu", pair[0]);
        rig_write(pair[1], bytes, rig_frame(bytes, true, 60, 0));
        rig_wait(r, &r->n_frames, 1);
        g_assert_cmpint(loop_call(r->loop, turn_over, NULL), ==, 0); /* it waits for what comes now */
        g_byte_array_set_size(r->frames, 0);

        for (unsigned i = 0; i <= n; i++) {
                uint32_t l = i < n - 1 ? len : i == n ? 60 : last;
                size_t all = rig_frame(bytes, true, l, (uint8_t) i);

                if (i < n)
                        g_byte_array_append(given.bytes, bytes, (guint) all);
                g_byte_array_append(expected, (const guint8 *) &l, sizeof(l));
                g_byte_array_append(expected, bytes + 4, l);
        }
        g_assert_cmpint(loop_call(r->loop, give_plenty, &given), ==, 0);
        rig_write(pair[1], bytes, 4 + 60);
        return pair[1];
}

static void end_plenty(Rig *r, int far) {
        rig_stop(r);
        g_clear_pointer(&plenty.bytes, g_byte_array_unref);
        (void) close(far);
        rig_end(r);
}

/* A read that brought all it had room for is followed by another, one that brought less waits for an event of its own. */
static void test_reads(void) {
        for (int more = -1; more <= 1; more++) {
                g_autoptr(GByteArray) expected = g_byte_array_new();
                unsigned n = READ_MAX / 4096, whole = 1 + n + (more == 0);
                uint8_t bytes[4 + 60];
                Rig r = {};
                int far = begin_with_plenty(&r, n, 4092, (uint32_t) (4092 + more), expected);

                rig_wait(&r, &r.n_frames, whole);
                int n_reads = loop_call(r.loop, reads_so_far, NULL);
                g_assert_cmpuint(rig_get(&r, &r.n_frames), ==, whole);
                g_assert_cmpint(n_reads, ==, more < 0 ? 1 : 2);
                for (int i = 0; i < n_reads; i++)
                        g_assert_cmpuint(plenty.room[i], ==, READ_MAX);

                rig_write(far, bytes, rig_frame(bytes, true, 60, 7));
                rig_wait(&r, &r.n_frames, n + 3);
                g_byte_array_append(expected, (const guint8 *) &(uint32_t){ 60 }, 4);
                g_byte_array_append(expected, bytes + 4, 60);
                g_assert_cmpmem(r.frames->data, r.frames->len, expected->data, expected->len);
                end_plenty(&r, far);
        }
}

/* A read that finds nothing waits for the next event, one that a signal ended is made again, and what else it fails with is the end. */
static void test_read_errors(void) {
        static const int errors[] = { EAGAIN, EINTR, ECONNRESET };
        const unsigned n = READ_MAX / 4096;

        for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
                g_autoptr(GByteArray) expected = g_byte_array_new();
                uint8_t bytes[4 + 60];
                Rig r = {};

                plenty.error = errors[i];
                int far = begin_with_plenty(&r, n, 4092, 4092, expected);
                if (errors[i] == ECONNRESET) {
                        rig_wait(&r, &r.n_gone, 1);
                        g_assert_cmpint(r.error, ==, -ECONNRESET);
                        g_assert_cmpuint(rig_get(&r, &r.n_frames), ==, 1 + n);
                } else {
                        unsigned whole = 1 + n + (errors[i] == EINTR);

                        rig_wait(&r, &r.n_frames, whole);
                        g_assert_cmpint(loop_call(r.loop, turn_over, NULL), ==, 0);
                        g_assert_cmpuint(rig_get(&r, &r.n_frames), ==, whole);
                        rig_write(far, bytes, rig_frame(bytes, true, 60, 7));
                        rig_wait(&r, &r.n_frames, n + 3);
                        g_assert_cmpuint(rig_get(&r, &r.n_gone), ==, 0);
                }
                end_plenty(&r, far);
        }
}

/* After some reads the others on the loop have their turn, and then it goes on where it was. */
static void test_turns(void) {
        g_autoptr(GByteArray) expected = g_byte_array_new();
        unsigned n = (2 * SOCK_TURN_READS + 1) * READ_MAX / 4096;
        Rig r = {};
        int far = begin_with_plenty(&r, n, 4092, 4092, expected);

        rig_wait(&r, &r.n_frames, n + 2);
        g_assert_cmpint(loop_call(r.loop, turn_over, NULL), ==, 0);
        g_assert_cmpuint(plenty.n_reads, ==, 2 * SOCK_TURN_READS + 2);
        g_assert_cmpuint(plenty.other_after, ==, SOCK_TURN_READS);
        g_assert_cmpmem(r.frames->data, r.frames->len, expected->data, expected->len);
        end_plenty(&r, far);
}

/* With a part of a frame before it, a read may have less room, and never less than the rest of any frame takes. */
static void test_rooms(void) {
        const unsigned n = 4 * READ_MAX / (4 + LONGEST), first = (2 * READ_MAX - LONGEST) / (4 + LONGEST);
        g_autoptr(GByteArray) expected = g_byte_array_new();
        Rig r = {};

        plenty.short_by = LONGEST; /* of two reads of 1 MiB: what is left of the arena then is too little */
        int far = begin_with_plenty(&r, n, LONGEST, LONGEST, expected);
        rig_wait(&r, &r.n_frames, 1 + first);
        g_assert_cmpint(loop_call(r.loop, reads_so_far, NULL), ==, 2);

        rig_write(far, "\0", 1);
        rig_wait(&r, &r.n_frames, 1 + n);
        rig_write(far, "\0", 1); /* the last read may have had more room than was needed */
        rig_wait(&r, &r.n_frames, 1 + n + 1);
        g_assert_cmpint(loop_call(r.loop, turn_over, NULL), ==, 0);
        for (unsigned i = 0; i < plenty.n_reads; i++) {
                g_assert_cmpuint(plenty.room[i], <=, READ_MAX);
                g_assert_cmpuint(plenty.room[i], >=, FRAMING_HEADER_MAX + LONGEST);
        }
        g_assert_cmpmem(r.frames->data, r.frames->len, expected->data, expected->len);
        plenty.short_by = 0;
        end_plenty(&r, far);
}

static void test_pieces(void) {
        static const uint32_t lens[] = { 14, 15, 60, 333, 1514 };
        uint8_t bytes[2000];
        unsigned n = 0;
        int pair[2];
        Rig r = {};

        rig_pair(SOCK_STREAM, pair);
        rig_adopt(&r, "qemu", pair[0]);
        for (size_t step = 1; step < 40; step += 2)
                for (size_t k = 0; k < G_N_ELEMENTS(lens); k++) {
                        size_t len = rig_frame(bytes, true, lens[k], (uint8_t) step);

                        for (size_t at = 0; at < len; at += step)
                                rig_write(pair[1], bytes + at, MIN(step, len - at));
                        rig_wait(&r, &r.n_frames, ++n);
                        pthread_mutex_lock(&r.lock);
                        g_assert_cmpuint(r.frames->len, ==, 4 + lens[k]);
                        g_assert_cmpmem(r.frames->data + 4, lens[k], bytes + 4, lens[k]);
                        g_byte_array_set_size(r.frames, 0);
                        pthread_mutex_unlock(&r.lock);
                }
        (void) close(pair[1]);
        rig_end(&r);
}

/* Several arenas full of frames of all lengths, in writes that end anywhere: the same come out, in order. */
static void test_long(void) {
        g_autoptr(GByteArray) stream = g_byte_array_new(), expected = g_byte_array_new();
        g_autofree uint8_t *bytes = g_malloc(4 + LONGEST);
        g_autoptr(GRand) rand = g_rand_new_with_seed(4);
        unsigned n = 0;
        int pair[2];
        Rig r = {};

        rig_pair(SOCK_STREAM, pair);
        rig_adopt(&r, "qemu", pair[0]);
        for (; stream->len < 4u << 20; n++) {
                uint32_t len = (uint32_t) g_rand_int_range(rand, ETH_HEADER_LEN, n % 4 ? 1515 : LONGEST + 1);

                if (n % 100 == 0)
                        len = LONGEST;
                g_byte_array_append(stream, bytes, (guint) rig_frame(bytes, true, len, (uint8_t) n));
                g_byte_array_append(expected, (const guint8 *) &len, 4);
                g_byte_array_append(expected, bytes + 4, len);
        }
        for (size_t at = 0; at < stream->len;) {
                size_t step = MIN((size_t) g_rand_int_range(rand, 1, 100000), stream->len - at);

                rig_write(pair[1], stream->data + at, step);
                at += step;
        }
        rig_wait(&r, &r.n_frames, n);
        g_assert_cmpmem(r.frames->data, r.frames->len, expected->data, expected->len);
        g_assert_cmpuint(counter_read(&r.device->counters.rx_frames), ==, n);
        (void) close(pair[1]);
        rig_end(&r);
}

static uint64_t rx_dropped(Rig *r) {
        Counters c;

        device_counters(r->device, &c);
        return counter_read(&c.rx_dropped);
}

static void test_limits(void) {
        g_autofree uint8_t *bytes = g_malloc(4 + LONGEST + 1);
        uint32_t header_only = ETH_HEADER_LEN;
        size_t len = 0;
        int pair[2];
        Rig r = {};

        rig_pair(SOCK_STREAM, pair);
        rig_adopt(&r, "qemu", pair[0]);
        len += rig_frame(bytes + len, true, 0, 1);
        len += rig_frame(bytes + len, true, ETH_HEADER_LEN - 1, 1);
        len += rig_frame(bytes + len, true, ETH_HEADER_LEN, 1);
        rig_write(pair[1], bytes, len);
        rig_wait(&r, &r.n_frames, 1);
        g_assert_cmpmem(r.frames->data, r.frames->len - header_only, &header_only, sizeof(header_only)); /* it, and no other */
        g_assert_cmpuint(rig_drops(&r, DROP_ETH_SHORT), ==, 2);
        g_assert_cmpuint(rx_dropped(&r), ==, 2);
        rig_write(pair[1], bytes, rig_frame(bytes, true, LONGEST, 1));
        rig_wait(&r, &r.n_frames, 2);
        g_assert_cmpuint(rig_drops(&r, DROP_ETH_LONG), ==, 0);

        memcpy(bytes, (uint8_t[]){ 0, (LONGEST + 1) >> 16, ((LONGEST + 1) >> 8) & 0xff, (LONGEST + 1) & 0xff }, 4);
        rig_write(pair[1], bytes, 4);
        rig_wait(&r, &r.n_gone, 1);
        g_assert_cmpint(r.error, ==, -EMSGSIZE);
        g_assert_cmpuint(rig_drops(&r, DROP_ETH_LONG), ==, 1);
        g_assert_cmpuint(rx_dropped(&r), ==, 3);
        g_assert_true(rig_at_end(pair[1]));
        (void) close(pair[1]);
        rig_end(&r);
}

static void test_ends(void) {
        uint8_t bytes[64];
        Rig r = {};

        rig_listen(&r, "qemu", 0);
        int fd = rig_dial(&r, SOCK_STREAM);
        rig_write(fd, bytes, rig_frame(bytes, true, 60, 1));
        (void) close(fd);
        rig_wait(&r, &r.n_down, 1);
        g_assert_cmpint(r.error, ==, 0);
        g_assert_cmpuint(rig_get(&r, &r.n_frames), ==, 1);

        for (unsigned cut = 1; cut < 64; cut += 21) { /* amid a header, amid a frame */
                unsigned before = rig_get(&r, &r.n_down);

                fd = rig_dial(&r, SOCK_STREAM);
                rig_write(fd, bytes, cut);
                (void) close(fd);
                rig_wait(&r, &r.n_down, before + 1);
                g_assert_cmpint(r.error, ==, -EPIPE);
        }
        fd = rig_dial(&r, SOCK_STREAM); /* nothing is left of those before */
        rig_write(fd, bytes, 64);
        rig_wait(&r, &r.n_frames, 2);
        (void) close(fd);
        rig_end(&r);
}

static void test_handshakes(void) {
        static const char request[] = "POST /connect HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\r\n";
        uint8_t said[HANDSHAKE_INIT_LEN + HANDSHAKE_COMMAND_LEN] = "VMN3T", answer[HANDSHAKE_ANSWER_MAX], frame[2 + 60] = { 60 };
        Rig r = {};

        rig_listen(&r, "vpnkit", 1400);
        said[HANDSHAKE_INIT_LEN] = 1;
        memcpy(said + HANDSHAKE_INIT_LEN + 1, "c3d68012-0208-11ea-9fd7-f2189899ab08", 36);
        (void) rig_frame(frame + 2, false, 60, 3);

        int fd = rig_dial(&r, SOCK_STREAM);
        rig_write(fd, said, sizeof(said));
        rig_write(fd, frame, sizeof(frame)); /* not waiting for the answer */
        g_assert_cmpint(recv(fd, answer, sizeof(answer), MSG_WAITALL), ==, sizeof(answer));
        g_assert_cmpmem(answer, HANDSHAKE_INIT_LEN, said, HANDSHAKE_INIT_LEN);
        const uint8_t reply[] = { 1, 1400 & 0xff, 1400 >> 8, 1414 & 0xff, 1414 >> 8, 0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee, 0 };
        g_assert_cmpmem(answer + HANDSHAKE_INIT_LEN, sizeof(reply), reply, sizeof(reply));
        rig_wait(&r, &r.n_frames, 1);
        (void) close(fd);
        rig_wait(&r, &r.n_down, 1);

        fd = rig_dial(&r, SOCK_STREAM);
        rig_write(fd, request, sizeof(request) - 1);
        rig_write(fd, frame, sizeof(frame));
        rig_wait(&r, &r.n_frames, 2);
        g_assert_cmpint(recv(fd, answer, sizeof(answer), MSG_DONTWAIT), ==, -1); /* gvforwarder would take an answer for a frame */
        (void) close(fd);
        rig_wait(&r, &r.n_down, 2);

        fd = rig_dial(&r, SOCK_STREAM);
        rig_write(fd, "GET / HTTP/1.1\r\n\r\n", 18);
        rig_wait(&r, &r.n_down, 3);
        g_assert_cmpint(r.error, ==, -EPROTO);
        g_assert_true(rig_at_end(fd));
        g_assert_cmpuint(rig_get(&r, &r.n_up), ==, 2);
        (void) close(fd);
        rig_end(&r);
}

#define AMID 30 /* bytes of a frame that have come */

/* A device amid the first frame of @bytes, on a connection that outlives it: the descriptor of that. */
static int begin_amid(Rig *r, const uint8_t *bytes, int pair[2]) {
        uint8_t c;
        int kept;

        rig_pair(SOCK_STREAM, pair);
        kept = dup(pair[0]);
        rig_adopt(r, "qemu", pair[0]);
        rig_write(pair[1], bytes, AMID);
        while (recv(kept, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0) /* until the device has them */
                g_usleep(1000);
        return kept;
}

/* Two frames; returns the length of each. */
static size_t two_frames(uint8_t bytes[128]) {
        size_t len = rig_frame(bytes, true, 60, 7);

        (void) rig_frame(bytes + len, true, 60, 8);
        return len;
}

/* The device has gone: the second frame is what the next reader finds. */
static void check_in_step(int kept, int pair[2], const uint8_t *bytes, size_t len) {
        uint8_t got[64];

        rig_write(pair[1], bytes + len, len);
        g_assert_cmpint(recv(kept, got, sizeof(got), MSG_WAITALL), ==, len);
        g_assert_cmpmem(got, len, bytes + len, len);
}

/* A connection is left where a frame begins, whatever has come behind it. */
static void test_finish(void) {
        uint8_t bytes[128], got[64];
        size_t len = two_frames(bytes);
        int pair[2];
        Rig r = {};
        int kept = begin_amid(&r, bytes, pair);

        rig_stop(&r);
        rig_write(pair[1], bytes + AMID, 2 * len - AMID);
        rig_end(&r);
        g_assert_cmpint(recv(kept, got, sizeof(got), MSG_DONTWAIT), ==, len);
        g_assert_cmpmem(got, len, bytes + len, len);
        check_in_step(kept, pair, bytes, len);
        (void) close(kept);
        (void) close(pair[1]);
}

/* The time that device_free() waits in, turned by hand: while @fake.on, poll() of the device returns when one of these comes, or at its end. */
static struct {
        bool on;
        int64_t now_msec, next_msec, every_msec; /* the next comes at next_msec; then every every_msec */
        int fd;
        const uint8_t *bytes; /* @piece of them are written each time; NULL: all there is is read */
        size_t len, piece, n_read;
} fake;

static void fake_begin(int64_t next_msec) {
        fake.on = true;
        fake.now_msec = 1000;
        fake.next_msec = 1000 + next_msec;
}

/* Returns how long was waited. */
static int64_t fake_end(Rig *r) {
        rig_end(r);
        fake.on = false;
        return fake.now_msec - 1000;
}

static void fake_step(void) {
        static uint8_t buf[65536];
        ssize_t n;

        fake.now_msec = MAX(fake.now_msec, fake.next_msec);
        fake.next_msec = fake.every_msec > 0 ? fake.next_msec + fake.every_msec : INT64_MAX;
        if (!fake.bytes)
                while ((n = recv(fake.fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
                        fake.n_read += (size_t) n;
        else if (fake.len > 0) {
                n = (ssize_t) MIN(fake.piece, fake.len);
                rig_write(fake.fd, fake.bytes, (size_t) n);
                fake.bytes += n;
                fake.len -= (size_t) n;
        }
}

int __real_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout) {
        int64_t until = fake.now_msec + timeout;

        if (!fake.on)
                return __real_poll(fds, n, timeout);
        while (__real_poll(fds, n, 0) == 0 && fake.next_msec <= until)
                fake_step();
        if (__real_poll(fds, n, 0) == 0)
                fake.now_msec = until;
        return __real_poll(fds, n, 0);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret) {
        if (!fake.on || clock != CLOCK_MONOTONIC)
                return __real_clock_gettime(clock, ret);
        *ret = (struct timespec){ .tv_sec = fake.now_msec / 1000, .tv_nsec = fake.now_msec % 1000 * 1000000 };
        return 0;
}

/* The rest comes while it is waited for: in the last moment of it as well, and not after. */
static void test_finish_waits(void) {
        static const int64_t at[] = { 1, SOCK_FINISH_MSEC, SOCK_FINISH_MSEC + 1 };

        for (size_t i = 0; i < G_N_ELEMENTS(at); i++) {
                uint8_t bytes[128], c;
                size_t len = two_frames(bytes);
                int pair[2];
                Rig r = {};
                int kept = begin_amid(&r, bytes, pair);

                rig_stop(&r);
                fake.fd = pair[1];
                fake.bytes = bytes + AMID;
                fake.len = fake.piece = len - AMID;
                fake_begin(at[i]);
                g_assert_cmpint(fake_end(&r), ==, MIN(at[i], SOCK_FINISH_MSEC));
                if (at[i] <= SOCK_FINISH_MSEC)
                        check_in_step(kept, pair, bytes, len);
                else
                        g_assert_cmpint(recv(kept, &c, 1, MSG_DONTWAIT), <, 0);
                (void) close(kept);
                (void) close(pair[1]);
        }
}

/* Somebody who sends a byte now and then is not waited for until the frame is whole. */
static void test_finish_ends(void) {
        uint8_t bytes[2000];
        size_t len = rig_frame(bytes, true, 1514, 7);
        int pair[2];
        Rig r = {};
        int kept = begin_amid(&r, bytes, pair);

        rig_stop(&r);
        fake.fd = pair[1];
        fake.bytes = bytes + AMID;
        fake.len = len - AMID;
        fake.piece = 1;
        fake.every_msec = 10;
        fake_begin(10);
        g_assert_cmpint(fake_end(&r), ==, SOCK_FINISH_MSEC);
        g_assert_cmpuint(len - AMID - fake.len, ==, SOCK_FINISH_MSEC / 10);
        fake.every_msec = 0;
        (void) close(kept);
        (void) close(pair[1]);
}

/* The same of a frame that is half sent: there is room again in the last moment, or too late. */
static void test_finish_sends(void) {
        static const int64_t at[] = { SOCK_FINISH_MSEC, SOCK_FINISH_MSEC + 1 };

        for (size_t i = 0; i < G_N_ELEMENTS(at); i++) {
                size_t sent = 0;
                int pair[2];
                Rig r = {};

                rig_pair(SOCK_STREAM, pair);
                rig_adopt(&r, "qemu", pair[0]);
                rig_wait(&r, &r.n_up, 1);
                for (unsigned n = 1; n > 0; sent += n * (4 + FRAMING_FRAME_MAX))
                        n = rig_send(&r, 1, FRAMING_FRAME_MAX, 1);
                rig_stop(&r);
                fake.fd = pair[1];
                fake.bytes = NULL;
                fake.n_read = 0;
                fake_begin(at[i]);
                g_assert_cmpint(fake_end(&r), ==, SOCK_FINISH_MSEC);
                fake_step();
                if (at[i] <= SOCK_FINISH_MSEC)
                        g_assert_cmpuint(fake.n_read, ==, sent);
                else
                        g_assert_cmpuint(fake.n_read, <, sent);
                (void) close(pair[1]);
        }
}

/* A connection over the machine's own loopback, which could as well lead to another machine. */
static void tcp_pair(int pair[2]) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        socklen_t len = sizeof(sa);

        pair[1] = socket(AF_INET, SOCK_STREAM, 0);
        g_assert_cmpint(bind(listener, (struct sockaddr *) &sa, len), ==, 0);
        g_assert_cmpint(listen(listener, 1), ==, 0);
        g_assert_cmpint(getsockname(listener, (struct sockaddr *) &sa, &len), ==, 0);
        g_assert_cmpint(connect(pair[1], (struct sockaddr *) &sa, len), ==, 0);
        pair[0] = accept(listener, NULL, NULL);
        g_assert_cmpint(pair[0], >=, 0);
        (void) close(listener);
}

/* Checksums are taken on trust where nothing can flip a bit, and nowhere else. */
static void test_checksums(void) {
        uint8_t bytes[4 + 60];

        for (unsigned local = 0; local < 2; local++) {
                int pair[2];
                Rig r = {};

                if (local)
                        rig_pair(SOCK_STREAM, pair);
                else
                        tcp_pair(pair);
                rig_adopt(&r, "qemu", pair[0]);
                rig_write(pair[1], bytes, rig_frame(bytes, true, 60, 1));
                rig_wait(&r, &r.n_frames, 1);
                g_assert_cmpint(r.flags, ==, local ? VIRTIO_NET_HDR_F_DATA_VALID : 0);
                (void) close(pair[1]);
                rig_end(&r);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/sock-stream/pieces", test_pieces);
        g_test_add_func("/sock-stream/long", test_long);
        g_test_add_func("/sock-stream/reads", test_reads);
        g_test_add_func("/sock-stream/read-errors", test_read_errors);
        g_test_add_func("/sock-stream/turns", test_turns);
        g_test_add_func("/sock-stream/rooms", test_rooms);
        g_test_add_func("/sock-stream/limits", test_limits);
        g_test_add_func("/sock-stream/ends", test_ends);
        g_test_add_func("/sock-stream/handshakes", test_handshakes);
        g_test_add_func("/sock-stream/finish", test_finish);
        g_test_add_func("/sock-stream/finish-waits", test_finish_waits);
        g_test_add_func("/sock-stream/finish-ends", test_finish_ends);
        g_test_add_func("/sock-stream/finish-sends", test_finish_sends);
        g_test_add_func("/sock-stream/checksums", test_checksums);
        return g_test_run();
}
