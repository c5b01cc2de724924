/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vq-bench: what a ring costs.
 *
 *     vq-bench ring [SECONDS]     driver and device in this process, each a thread, the device copying every frame out as vhost does
 *                                 (or not: "no copy"); frames and bytes per second at 64, 1514 and 65536 bytes
 *     vq-bench one BYTES [SECONDS] frames per second of one case alone: batches of 64, EVENT_IDX, copied
 *     vq-bench vhost [FRAMES]     through the kernel's vhost-net and a TAP (root, /dev/vhost-net): kicks, system calls and allocations
 *                                 per frame, at batches of 1, 8 and 64, with EVENT_IDX and without
 *
 * Kicks and calls are counted, not guessed; allocations are those of the library's own code. Rates are of this machine at this
 * moment; the ratios are the point. Prints one line a case: a table for people, columns apart by blanks for programs.
 * bench/vq-report runs all of it, in machines of both kernels and beside DPDK too.
 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core-vq/vq-device.h"
#include "core-vq/vq-driver.h"
#include "libvnet/vnet-tap.h"
#include "vhostnet/vhost-net.h"

#define QUEUE 256u
#define FRAME_MAX 65536u

/* -- allocations: the linker leads the library's calls here (--wrap) ------------------------------------------------ */

static _Atomic uint64_t n_allocations;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_malloc(size_t n) {
        n_allocations++;
        return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size) {
        n_allocations++;
        return __real_calloc(n, size);
}

static double now_sec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void die(const char *what, int r) {
        fprintf(stderr, "vq-bench: %s: %s\n", what, strerror(-r));
        exit(1);
}

static void *must_alloc(size_t align, size_t len) {
        void *p = aligned_alloc(align, (len + align - 1) / align * align);

        if (!p)
                die("memory", -ENOMEM);
        memset(p, 0, len);
        return p;
}

/* -- ring ---------------------------------------------------------------------------------------------------------- */

typedef struct Ring {
        VqDriver *driver;
        VqDevice *device;
        int kick_fd, call_fd;
        bool copy;
        _Atomic bool stop;
        char *sink;
        uint64_t kicks, calls;
        double seconds;
} Ring;

static void wake(int fd, uint64_t *counter) {
        uint64_t one = 1;

        (void) !write(fd, &one, sizeof(one));
        (*counter)++;
}

static void sleep_on(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        uint64_t n;

        (void) poll(&p, 1, 100);
        (void) !read(fd, &n, sizeof(n));
}

static void *device_main(void *arg) {
        Ring *r = arg;
        VqRequest req[64];
        struct iovec iov[128];

        vq_device_disarm(r->device); /* awake: no kicks, please */
        while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
                int n = vq_device_pop(r->device, req, 64, iov, 128);

                if (n < 0)
                        die("device", n);
                if (n == 0) {
                        if (vq_device_arm(r->device))
                                sleep_on(r->kick_fd);
                        vq_device_disarm(r->device);
                        continue;
                }
                for (int i = 0; i < n; i++) {
                        for (unsigned k = 0; r->copy && k < req[i].n_out; k++)
                                memcpy(r->sink, req[i].iov[k].iov_base, req[i].iov[k].iov_len);
                        vq_device_push(r->device, req[i].head, 0);
                }
                if (vq_device_publish(r->device))
                        wake(r->call_fd, &r->calls);
        }
        return NULL;
}

static uint64_t drive(Ring *r, char *frames, size_t len, unsigned batch) {
        struct iovec iov[64];
        VqChain chains[64];
        VqUsed used[64];
        uint64_t done = 0, next = 0;
        double end = now_sec() + r->seconds;

        while ((done & 0xfff) != 0 || now_sec() < end) {
                for (unsigned i = 0; i < batch; i++) {
                        iov[i] = (struct iovec) { frames + (next + i) % QUEUE * len, len };
                        chains[i] = (VqChain) { .out = &iov[i], .n_out = 1 };
                }
                int n = vq_driver_add(r->driver, chains, batch);

                if (n < 0)
                        die("driver", n);
                next += (uint64_t) n;
                if (n > 0 && vq_driver_publish(r->driver))
                        wake(r->kick_fd, &r->kicks);
                if (vq_driver_free_slots(r->driver) >= QUEUE / 4)
                        continue;
                n = vq_driver_reap(r->driver, used, 64);
                if (n < 0)
                        die("driver", n);
                done += (uint64_t) n;
                if (n == 0 && vq_driver_arm(r->driver, QUEUE / 2))
                        sleep_on(r->call_fd);
                vq_driver_disarm(r->driver);
        }
        return done;
}

static void print_ring(const Ring *r, size_t len, unsigned batch, bool event_idx, uint64_t n, double t, uint64_t allocations) {
        printf("ring   %6zu %6u %-10s %-8s %12.0f %9.2f %9.4f %9.4f %6.2f\n", len, batch, event_idx ? "event-idx" : "flags", r->copy ? "copy" : "no-copy",
               (double) n / t, (double) n * (double) len / t / 1e9, (double) r->kicks / (double) n, (double) r->calls / (double) n,
               (double) allocations / (double) n);
        fflush(stdout);
}

/* Return: frames per second. */
static double bench_ring(size_t len, unsigned batch, bool event_idx, bool copy, double seconds, bool quiet) {
        Ring r = { .copy = copy, .seconds = seconds, .kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
        VqFeatures f = {};
        VqMemory m = {};
        VqLayout l;
        pthread_t thread;

        if (event_idx)
                vq_features_add(&f, VQ_F_EVENT_IDX);
        (void) vq_layout_init(&l, QUEUE);
        char *ring = must_alloc(64, l.total_len), *frames = must_alloc(64, QUEUE * len);
        r.sink = must_alloc(64, FRAME_MAX);
        (void) vq_memory_add(&m, &(VqRegion) { 4096, (UINT64_C(1) << 47) - 8192, (void *) 4096 });
        if (vq_driver_new(&r.driver, &(VqDriverConfig) { .size = QUEUE, .features = f, .ring = ring }) < 0 ||
            vq_device_new(&r.device, &(VqDeviceConfig) { .size = QUEUE, .features = f, .desc = ring, .avail = ring + l.avail_off,
                                                         .used = ring + l.used_off, .memory = &m }) < 0)
                die("queue", -EINVAL);
        (void) pthread_create(&thread, NULL, device_main, &r);

        uint64_t before = n_allocations;
        double start = now_sec();
        uint64_t n = drive(&r, frames, len, batch);
        double t = now_sec() - start;
        uint64_t allocations = n_allocations - before;

        r.stop = true;
        wake(r.kick_fd, &(uint64_t) { 0 });
        (void) pthread_join(thread, NULL);
        if (!quiet)
                print_ring(&r, len, batch, event_idx, n, t, allocations);
        vq_driver_free(r.driver);
        vq_device_free(r.device);
        close(r.kick_fd);
        close(r.call_fd);
        free(ring);
        free(frames);
        free(r.sink);
        return (double) n / t;
}

static int ring_main(double seconds) {
        static const size_t lens[] = { 64, 1514, 65536 };
        static const unsigned batches[] = { 1, 8, 64 };

        printf("#       bytes  batch suppression mode         frames/s      GB/s kicks/frm calls/frm allocs\n");
        for (unsigned copy = 0; copy < 2; copy++)
                for (unsigned i = 0; i < 3; i++)
                        for (unsigned b = 0; b < 3; b++)
                                for (unsigned e = 0; e < 2; e++)
                                        bench_ring(lens[i], batches[b], e, copy, seconds, false);
        return 0;
}

/* -- vhost --------------------------------------------------------------------------------------------------------- */

static uint64_t n_polls;

static void wait_for_room(VhostNet *v) {
        struct pollfd p = { .fd = vhost_net_fd(v, 0, VHOST_NET_TX, VHOST_NET_FD_CALL), .events = POLLIN };

        if (vhost_net_arm(v, 0, VHOST_NET_TX, vhost_net_outstanding(v, 0) / 2)) {
                (void) poll(&p, 1, 1000);
                n_polls++;
                vhost_net_disarm(v, 0, VHOST_NET_TX);
                n_polls++; /* it reads the event */
        } else {
                vhost_net_mute(v, 0, VHOST_NET_TX);
        }
}

static void bench_vhost(VnetTap *tap, size_t len, unsigned batch, bool event_idx, uint64_t n_frames) {
        VqFeatures wanted = VQ_FEATURES(VNET_F_MRG_RXBUF, VQ_F_INDIRECT_DESC);
        VhostNetFrame f[64];
        struct iovec iov[64];
        char *frames = must_alloc(64, 64 * len);
        int fd = vnet_tap_fd(tap, 0), r;
        const char *what = "";
        VhostNet *v;

        if (event_idx)
                vq_features_add(&wanted, VQ_F_EVENT_IDX);
        r = vhost_net_new(&v, &(VhostNetConfig) { .n_pairs = 1, .backend_fds = &fd, .wanted = &wanted }, &what);
        if (r == 0)
                r = vhost_net_start(v);
        if (r < 0)
                die(what, r);
        for (unsigned i = 0; i < 64; i++) {
                memset(frames + i * len, 0xff, 6);
                frames[i * len + 12] = (char) 0x88;
                frames[i * len + 13] = (char) 0xb5;
                iov[i] = (struct iovec) { frames + i * len, len };
                f[i] = (VhostNetFrame) { .iov = &iov[i], .n_iov = 1 };
        }

        const VhostNetStats *s = vhost_net_stats(v, 0);
        uint64_t before = n_allocations, kicks = s->tx_kicks, calls = s->calls;
        double start = now_sec();

        n_polls = 0;
        for (uint64_t done = 0; done < n_frames;) {
                r = vhost_net_send_copy(v, 0, f, batch);
                if (r < 0)
                        die("send", r);
                if (r == 0)
                        wait_for_room(v);
                done += (uint64_t) r;
        }
        while (!vhost_net_idle(v, 0))
                wait_for_room(v);

        double t = now_sec() - start, n = (double) s->tx_frames;

        kicks = s->tx_kicks - kicks;
        printf("vhost  %6zu %6u %-10s %-8s %12.0f %9.3f %9.4f %9.4f %6.2f %9.4f\n", len, batch, event_idx ? "event-idx" : "flags", "tx-copy", n / t,
               n * (double) len / t / 1e9, (double) kicks / n, (double) (s->calls - calls) / n, (double) (n_allocations - before) / n,
               (double) (kicks + n_polls) / n);
        fflush(stdout);
        vhost_net_free(v);
        free(frames);
}

static int vhost_main(uint64_t n_frames) {
        static const size_t lens[] = { 64, 1514, 65000 };
        static const unsigned batches[] = { 1, 8, 64 };
        const char *what = "";
        VnetTap *tap;
        int r = vnet_tap_open(&tap, &(VnetTapConfig) { .header_len = 12, .up = true, .netns_fd = -1 }, &what);

        if (r < 0)
                die(what, r);
        printf("#       bytes  batch suppression mode         frames/s      GB/s kicks/frm calls/frm allocs  syscalls/frm\n");
        for (unsigned i = 0; i < 3; i++)
                for (unsigned b = 0; b < 3; b++)
                        for (unsigned e = 0; e < 2; e++)
                                bench_vhost(tap, lens[i], batches[b], e, i == 2 ? n_frames / 10 : n_frames);
        vnet_tap_close(tap);
        return 0;
}

static int usage(FILE *f, int r) {
        fprintf(f, "Usage: vq-bench ring [SECONDS]        driver and device in this process\n"
                   "       vq-bench one BYTES [SECONDS]   frames per second of one case: batches of 64, EVENT_IDX, copied\n"
                   "       vq-bench vhost [FRAMES]        through vhost-net and a TAP (root, /dev/vhost-net)\n"
                   "bench/vq-report runs all of it, vhost in virtual machines, and DPDK beside it.\n");
        return r;
}

int main(int argc, char **argv) {
        const char *what = argc >= 2 ? argv[1] : "";

        if (strcmp(what, "ring") == 0)
                return ring_main(argc > 2 ? atof(argv[2]) : 1);
        if (strcmp(what, "one") == 0 && argc > 2 && atoi(argv[2]) > 0 && atoi(argv[2]) <= (int) FRAME_MAX) {
                printf("%.0f\n", bench_ring((size_t) atoi(argv[2]), 64, true, true, argc > 3 ? atof(argv[3]) : 1, true));
                return 0;
        }
        if (strcmp(what, "vhost") == 0)
                return vhost_main(argc > 2 ? strtoull(argv[2], NULL, 10) : 50000);
        if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0)
                return usage(stdout, 0);
        return usage(stderr, 2);
}
