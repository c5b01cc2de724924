/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Driver against device over one ring in memory, two threads, both of which sleep: every frame arrives once, in order, with
 * its bytes, over many wraps of the 16-bit indices, with flags and EVENT_IDX, direct and indirect. A wake-up that gets lost is a
 * sleep that times out, and fails. Built a second time under ThreadSanitizer, which checks the memory ordering: payload is
 * touched by plain accesses on both sides.
 *
 * VQ_FRAMES=N in the environment sets the number of frames of each run.
 */

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core-vq/vq-device.h"
#include "core-vq/vq-driver.h"

#define SLEEP_MAX_MSEC 20000
#define PIECES 3u /* of the part the device reads */

typedef struct Buffer {
        uint64_t out[PIECES]; /* the driver writes, the device checks */
        uint64_t in;          /* the device answers, the driver checks */
} Buffer;

typedef struct Run {
        unsigned size;
        VqFeatures features;
        uint64_t n_frames;
        bool shuffle; /* the device completes each batch in reverse */
        VqDriver *driver;
        VqDevice *device;
        Buffer *buffers;
        int kick_fd, call_fd;
        uint64_t kicks, calls;
} Run;

static uint32_t random_next(uint32_t *state) {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        return *state;
}

static void wake(int fd, uint64_t *counter) {
        uint64_t one = 1;

        g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
        (*counter)++;
}

static void sleep_on(int fd, const char *who) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        uint64_t n;

        if (poll(&p, 1, SLEEP_MAX_MSEC) != 1)
                g_error("%s: a wake-up was lost", who);
        g_assert_cmpint(read(fd, &n, sizeof(n)), ==, sizeof(n));
}

static void serve(Run *run, VqRequest *req) {
        uint64_t seq = 0, *in;

        g_assert_cmpuint(req->n_out, ==, PIECES);
        g_assert_cmpuint(req->n_in, ==, 1);
        for (unsigned i = 0; i < PIECES; i++) {
                uint64_t v = *(uint64_t *) req->iov[i].iov_base;

                if (i == 0)
                        seq = v;
                g_assert_cmpuint(v, ==, seq + i);
        }
        in = req->iov[PIECES].iov_base;
        *in = ~seq;
}

static void *device_main(void *arg) {
        Run *run = arg;
        VqRequest req[64];
        struct iovec iov[64 * (PIECES + 1)];
        uint32_t rnd = 12345;

        for (uint64_t done = 0; done < run->n_frames;) {
                int n = vq_device_pop(run->device, req, 1 + random_next(&rnd) % 64, iov, G_N_ELEMENTS(iov));

                if (n < 0)
                        g_error("device: %s", vq_broken_to_string(vq_device_broken(run->device)));
                if (n == 0) {
                        if (vq_device_arm(run->device))
                                sleep_on(run->kick_fd, "device");
                        vq_device_disarm(run->device);
                        continue;
                }
                for (int i = 0; i < n; i++)
                        serve(run, &req[i]);
                for (int i = 0; i < n; i++)
                        vq_device_push(run->device, req[run->shuffle ? n - 1 - i : i].head, sizeof(uint64_t));
                if (vq_device_publish(run->device))
                        wake(run->call_fd, &run->calls);
                done += (uint64_t) n;
        }
        return NULL;
}

static unsigned add_batch(Run *run, Buffer **free_buffers, unsigned *n_free, uint64_t *next, unsigned n) {
        unsigned added = 0;

        for (; added < n && *n_free > 0 && *next < run->n_frames; added++) {
                Buffer *buf = free_buffers[*n_free - 1];
                struct iovec out[PIECES], in = { &buf->in, sizeof(buf->in) };

                for (unsigned i = 0; i < PIECES; i++) {
                        buf->out[i] = *next + i;
                        out[i] = (struct iovec) { &buf->out[i], sizeof(buf->out[i]) };
                }
                if (vq_driver_add(run->driver, &(VqChain) { out, &in, PIECES, 1, buf }, 1) != 1)
                        break;
                (*n_free)--;
                (*next)++;
        }
        return added;
}

static unsigned reap_batch(Run *run, Buffer **free_buffers, unsigned *n_free, uint64_t reaped) {
        VqUsed used[64];
        int n = vq_driver_reap(run->driver, used, 64);

        if (n < 0)
                g_error("driver: %s", vq_broken_to_string(vq_driver_broken(run->driver)));
        for (int i = 0; i < n; i++) {
                Buffer *buf = used[i].token;

                g_assert_cmpuint(used[i].len, ==, sizeof(uint64_t));
                if (!run->shuffle)
                        g_assert_cmpuint(buf->out[0], ==, reaped + (uint64_t) i);
                g_assert_cmpuint(buf->in, ==, ~buf->out[0]);
                buf->in = 0;
                free_buffers[(*n_free)++] = buf;
        }
        return (unsigned) n;
}

static void driver_main(Run *run) {
        g_autofree Buffer **free_buffers = g_new(Buffer *, run->size);
        unsigned n_free = run->size;
        uint64_t next = 0, reaped = 0;
        uint32_t rnd = 54321;

        for (unsigned i = 0; i < run->size; i++)
                free_buffers[i] = &run->buffers[i];
        while (reaped < run->n_frames) {
                unsigned n;

                if (add_batch(run, free_buffers, &n_free, &next, 1 + random_next(&rnd) % 64) > 0 && vq_driver_publish(run->driver))
                        wake(run->kick_fd, &run->kicks);
                n = reap_batch(run, free_buffers, &n_free, reaped);
                reaped += n;
                if (n > 0 || reaped == run->n_frames)
                        continue;
                if (vq_driver_outstanding(run->driver) > 0 && vq_driver_arm(run->driver, 1 + random_next(&rnd) % run->size))
                        sleep_on(run->call_fd, "driver");
                vq_driver_disarm(run->driver);
        }
        g_assert_cmpuint(vq_driver_free_slots(run->driver), ==, run->size);
}

static void run_pair(Run *run) {
        VqLayout l;
        VqMemory memory = {};
        void *ring, *tables;
        pthread_t thread;

        g_assert_cmpint(vq_layout_init(&l, run->size), ==, 0);
        ring = g_aligned_alloc0(1, l.total_len, 64);
        tables = g_aligned_alloc0(1, vq_driver_indirect_len(run->size, 4), 64);
        run->buffers = g_new0(Buffer, run->size);
        run->kick_fd = eventfd(0, EFD_CLOEXEC);
        run->call_fd = eventfd(0, EFD_CLOEXEC);
        g_assert_cmpint(vq_memory_add(&memory, &(VqRegion) { 4096, (UINT64_C(1) << 47) - 8192, (void *) 4096 }), ==, 0);
        g_assert_cmpint(vq_driver_new(&run->driver, &(VqDriverConfig) { .size = run->size, .features = run->features, .ring = ring,
                                                                        .indirect = tables, .indirect_max = 4 }), ==, 0);
        g_assert_cmpint(vq_device_new(&run->device, &(VqDeviceConfig) { .size = run->size, .features = run->features, .desc = ring,
                                                                        .avail = (char *) ring + l.avail_off,
                                                                        .used = (char *) ring + l.used_off, .memory = &memory }), ==, 0);

        g_assert_cmpint(pthread_create(&thread, NULL, device_main, run), ==, 0);
        driver_main(run);
        g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
        g_test_message("%" G_GUINT64_FORMAT " frames, %" G_GUINT64_FORMAT " kicks, %" G_GUINT64_FORMAT " calls", run->n_frames, run->kicks,
                       run->calls);

        run->driver = vq_driver_free(run->driver);
        run->device = vq_device_free(run->device);
        close(run->kick_fd);
        close(run->call_fd);
        g_free(run->buffers);
        g_aligned_free(tables);
        g_aligned_free(ring);
}

static uint64_t n_frames(void) {
        const char *s = g_getenv("VQ_FRAMES");

        return s ? g_ascii_strtoull(s, NULL, 10) : 150000; /* more than two wraps of an index */
}

static void test_run(gconstpointer data) {
        Run run = *(const Run *) data;

        run.n_frames = n_frames();
        run_pair(&run);
}

int main(int argc, char **argv) {
        static Run runs[32];
        static const unsigned sizes[] = { 4, 16, 256 };
        unsigned n = 0;

        g_test_init(&argc, &argv, NULL);
        for (unsigned event = 0; event < 2; event++)
                for (unsigned indirect = 0; indirect < 2; indirect++)
                        for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
                                Run *run = &runs[n++];
                                g_autofree char *name = g_strdup_printf("/vq-pair/%s/%s/%u", event ? "event-idx" : "flags",
                                                                        indirect ? "indirect" : "direct", sizes[i]);

                                run->size = sizes[i];
                                run->shuffle = i == 2 && indirect; /* once each way: completions out of order */
                                if (event)
                                        vq_features_add(&run->features, VQ_F_EVENT_IDX);
                                if (indirect)
                                        vq_features_add(&run->features, VQ_F_INDIRECT_DESC);
                                g_test_add_data_func(name, run, test_run);
                        }
        return g_test_run();
}
