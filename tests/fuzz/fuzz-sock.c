/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole socket devices with a hostile guest behind a real socket: kind by kind, handshakes and all. First byte: the kind (low bits, in the
 * order of kinds[]) and whether what comes is sent back too (highest bit); second: how many bytes come at a time. A stream is the rest as
 * it is; messages begin with a byte that says how long they are. What the device counts is what a reading of the whole, at leisure, finds.
 *
 * Built with -DFUZZ_SOCK_KIND=N it looks at one kind alone: for long runs.
 */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "device/framing.h"
#include "device/sock.h"
#include "fuzz.h"

#define MTU 1500
#define WAIT_MSEC 10000
#define MESSAGE_MAX 3000
#define PIECES_MAX 512

static const struct {
        const char *kind;
        int type;
        const char *begin; /* what the guest says first, so that the rest is looked at as what follows it */
        size_t n_begin;
} kinds[] = {
        { "qemu", SOCK_STREAM, "", 0 },
        { "vpnkit", SOCK_STREAM, "", 0 },
        { "vpnkit", SOCK_STREAM, "VMN3T", 5 },
        { "vpnkit", SOCK_STREAM, "POST /connect HTTP/1.", 21 },
        { "vpnkit", SOCK_STREAM, "POST /connect HTTP/1.1\r\n\r\n", 26 },
        { "vfkit", SOCK_DGRAM, "VFKT", 4 },
        { "qemu-dgram", SOCK_DGRAM, "", 0 },
        { "bess", SOCK_SEQPACKET, "", 0 },
};

typedef struct Expected {
        uint64_t n_frames, n_dropped;
        size_t n_answer, n_answer_or; /* what is said before a wrong word depends on how much had come by then */
} Expected;

typedef struct Run {
        Device *device;
        bool echo, up;
        bool gone; /* atomic */
} Run;

static Loop *loop; /* keeps nothing of an input */
static volatile uint8_t sink;

/* ---- the device's handler ---- */

static void on_receive(Device *d, Frame *frames, unsigned n, void *userdata) {
        Run *r = userdata;

        fuzz_check(n > 0 && n <= FRAME_BATCH_MAX && r->up);
        for (unsigned i = 0; i < n; i++) {
                size_t len = 0;
                uint8_t sum = 0; /* every byte is looked at, for the sanitizers */

                for (unsigned k = 0; k < frames[i].n_iov; len += frames[i].iov[k++].iov_len)
                        for (size_t b = 0; b < frames[i].iov[k].iov_len; b++)
                                sum ^= ((const uint8_t *) frames[i].iov[k].iov_base)[b];
                fuzz_check(len == frames[i].len && len >= ETH_HEADER_LEN && len <= FRAME_LEN_MAX);
                sink = sum;
        }
        if (r->echo)
                fuzz_check(device_send(d, frames, n) <= n);
}

static void on_event(Device *d, DeviceEvent event, int error, void *userdata) {
        Run *r = userdata;

        fuzz_check(event == DEVICE_UP && !r->up && error == 0);
        r->up = true;
}

static void on_gone(Device *d, int error, void *userdata) {
        fuzz_check(error < 0);
        __atomic_store_n(&((Run *) userdata)->gone, true, __ATOMIC_RELEASE);
}

static void on_writable(Device *d, void *userdata) {}

static const DeviceHandler handler = { .receive = on_receive, .event = on_event, .gone = on_gone, .writable = on_writable };

static int start_here(void *arg) {
        Run *r = arg;

        return device_start(r->device, loop);
}

static int stop_here(void *arg) {
        device_stop(((Run *) arg)->device);
        return 0;
}

/* ---- what ought to come out ---- */

static void expect_stream(const uint8_t *data, size_t size, bool handshake, Expected *e) {
        uint8_t answer[HANDSHAKE_ANSWER_MAX];
        Handshake h = { .mtu = MTU };
        unsigned header = handshake ? 2 : 4;
        size_t used = 0;

        if (handshake) {
                int done = handshake_read(&h, data, size, &used, answer, &e->n_answer);

                e->n_answer_or = done < 0 ? HANDSHAKE_INIT_LEN : e->n_answer;
                if (done != 1)
                        return;
        }
        for (size_t at = used; size - at >= header;) {
                uint32_t len = handshake ? data[at] | (uint32_t) data[at + 1] << 8
                                         : (uint32_t) data[at] << 24 | (uint32_t) data[at + 1] << 16 | (uint32_t) data[at + 2] << 8 | data[at + 3];

                if (len > FRAME_LEN_MAX) {
                        e->n_dropped++;
                        return;
                }
                if (size - at - header < len)
                        return;
                if (len < ETH_HEADER_LEN)
                        e->n_dropped++;
                else
                        e->n_frames++;
                at += header + len;
        }
}

static void expect_message(const uint8_t *data, size_t len, bool vfkit, Expected *e) {
        if (vfkit && len == 4 && memcmp(data, "VFKT", 4) == 0)
                return;
        if (len < ETH_HEADER_LEN || len > ETH_HEADER_LEN + 4 + MTU)
                e->n_dropped++;
        else
                e->n_frames++;
}

/* ---- the guest ---- */

/* The first bytes in pieces, the rest at once. */
static void send_stream(int fd, const uint8_t *data, size_t size, size_t step) {
        for (size_t at = 0; at < size;) {
                ssize_t n = send(fd, data + at, MIN(at < PIECES_MAX ? step : size, size - at), MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return; /* thrown out */
                at += (size_t) n;
        }
}

static void send_message(int fd, const uint8_t *data, size_t len) {
        ssize_t n;

        do
                n = send(fd, data, len, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        fuzz_check(n == (ssize_t) len);
}

static void send_messages(int fd, const uint8_t *data, size_t size, bool vfkit, Expected *e) {
        uint8_t message[MESSAGE_MAX];

        while (size > 0) {
                size_t len = *data < 100 ? *data : (*data - 99u) * 19u, n;

                data++, size--;
                len = MIN(len, (size_t) MESSAGE_MAX);
                n = MIN(len, size);
                memset(message, 0, len);
                if (n > 0)
                        memcpy(message, data, n);
                data += n, size -= n;
                send_message(fd, message, len);
                expect_message(message, len, vfkit, e);
        }
}

static void wait_until_read(Run *r, const Expected *e) {
        const Counters *c = &r->device->counters;

        for (unsigned i = 0; counter_read(&c->rx_frames) + counter_read(&c->rx_dropped) < e->n_frames + e->n_dropped; i++) {
                fuzz_check(i < WAIT_MSEC * 10);
                (void) poll(NULL, 0, i > 100);
        }
}

static void wait_until_gone(Run *r) {
        for (unsigned i = 0; !__atomic_load_n(&r->gone, __ATOMIC_ACQUIRE); i++) {
                fuzz_check(i < WAIT_MSEC * 10);
                (void) poll(NULL, 0, i > 100);
        }
}

static usec_t now(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}

static size_t drain(int fd) {
        uint8_t bytes[4096];
        size_t total = 0;
        ssize_t n;

        while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
                total += (size_t) n;
        return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Expected e = {};
        Run r = {};
        int pair[2];

        if (size < 2)
                return 0;
        if (!loop)
                fuzz_check(loop_new(&loop, "fuzz", NULL, NULL) == 0);
#ifdef FUZZ_SOCK_KIND
        unsigned k = FUZZ_SOCK_KIND;
#else
        unsigned k = (data[0] & 0x7f) % ELEMENTSOF(kinds);
#endif
        bool stream = kinds[k].type == SOCK_STREAM, vfkit = streq(kinds[k].kind, "vfkit"), handshake = streq(kinds[k].kind, "vpnkit");
        size_t n = kinds[k].n_begin + size - 2, step = data[1] + 1u;
        _cleanup_free_ uint8_t *said = malloc(n + 1);

        fuzz_check(said && socketpair(AF_UNIX, kinds[k].type | SOCK_CLOEXEC, 0, pair) == 0);
        memcpy(said, kinds[k].begin, kinds[k].n_begin);
        if (size > 2)
                memcpy(said + kinds[k].n_begin, data + 2, size - 2);
        r.echo = data[0] & 0x80;
        usec_t began = now();
        fuzz_check(sock_new(&r.device, &(SockConfig){ .kind = kinds[k].kind, .name = "f", .fd = pair[0], .mtu = MTU }, NULL) == 0);
        r.device->handler = &handler;
        r.device->userdata = &r;
        fuzz_check(loop_call(loop, start_here, &r) == 0);

        if (stream) {
                expect_stream(said, n, handshake, &e);
                send_stream(pair[1], said, n, step < 256 ? step : n + 1);
        } else {
                if (vfkit) {
                        send_message(pair[1], said, 4);
                        expect_message(said, 4, true, &e);
                }
                send_messages(pair[1], said + kinds[k].n_begin, size - 2, vfkit, &e);
                wait_until_read(&r, &e); /* before it leaves: an empty message and the end of all look alike then */
        }
        (void) shutdown(pair[1], SHUT_WR);
        if (kinds[k].type != SOCK_DGRAM)
                wait_until_gone(&r);
        fuzz_check(loop_call(loop, stop_here, &r) == 0);

        bool in_time = now() - began < SOCK_HANDSHAKE_USEC; /* on a machine too busy the guest was thrown out for its silence */
        fuzz_check(!in_time || counter_read(&r.device->counters.rx_frames) == e.n_frames);
        fuzz_check(!in_time || counter_read(&r.device->counters.rx_dropped) == e.n_dropped);
        size_t n_answer = drain(pair[1]);
        fuzz_check(!in_time || r.echo || n_answer == e.n_answer || n_answer == e.n_answer_or);
        device_free(r.device);
        close(pair[1]);
        return 0;
}
