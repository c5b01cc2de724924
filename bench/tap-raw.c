/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a TAP gives before anything is made of it: frames and bytes a second through the tap device, written into a
 * namespace's kernel and read from it, with offloads, without, and with bare frames. A bound for everything above; never a
 * test. One row a mode; the far end is the kernel's UDP, so no acknowledgement, no window: the cost of the device alone.
 *
 *   tap-raw [seconds per row]
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>

#include "basic/parse.h"
#include "device/offload.h"
#include "device/tap.h"

#define IFNAME "raw0"
#define GUEST "10.0.0.1"
#define PEER "10.0.0.2"
#define PAYLOAD_MAX 60000u
#define HEADERS (ETH_HEADER_LEN + 20 + 8)

typedef struct Mode {
        const char *name;
        uint32_t offloads, mtu;
        bool bare;
} Mode;

typedef struct Bench {
        Device *device;
        Loop *loop;
        usec_t length;
        uint64_t seen; /* frames up, joined ones once */

        uint8_t head[HEADERS], payload[PAYLOAD_MAX];
        uint16_t gso_size, len;
} Bench;

static usec_t now(clockid_t clock) {
        struct timespec ts;

        (void) clock_gettime(clock, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

static int fail(const char *what) {
        fprintf(stderr, "tap-raw: %s: %m\n", what);
        return EXIT_FAILURE;
}

static void on_receive(Device *d, Frame *frames, unsigned n, void *userdata) {
        Bench *b = userdata;

        b->seen += n;
}

static const DeviceHandler handler = { .receive = on_receive };

static int call_start(void *arg) {
        Bench *b = arg;

        return device_start(b->device, b->loop);
}
static int call_stop(void *arg) {
        Bench *b = arg;

        device_stop(b->device);
        return 0;
}

static void report(const Mode *m, const char *what, uint64_t frames, uint64_t bytes, usec_t wall, usec_t cpu) {
        printf("%-6s %5u  %-6s %10.0f %10.2f %12.3f\n", m->name, m->mtu, what, frames * 1e6 / wall, bytes * 8e-3 / wall,
               bytes > 0 ? cpu / 1e6 / (bytes / 1073741824.0) : 0);
}

/* ---- writing ---- */

static void prepare(Bench *b, const Mode *m) {
        uint32_t guest = inet_addr(GUEST), peer = inet_addr(PEER);
        uint8_t *ip = b->head + ETH_HEADER_LEN;
        struct udphdr udp;
        IpAddr src = ip_from_v4(peer), dst = ip_from_v4(guest);
        uint16_t v;

        b->gso_size = (uint16_t) MIN(m->mtu - 28, PAYLOAD_MAX);
        b->len = (uint16_t) (PAYLOAD_MAX / b->gso_size * b->gso_size);
        udp = (struct udphdr){
                .source = htons(5000),
                .dest = htons(9),
                .len = htons((uint16_t) (8 + b->len)),
                .check = htons(checksum_fold(checksum_pseudo(&src, &dst, IPPROTO_UDP, 8u + b->len))),
        };
        memcpy(b->head, b->device->mac.b, 6);
        memcpy(b->head + 6, "\x52\x54\0\0\0\x02\x08\0", 8);
        memset(ip, 0, 20);
        ip[0] = 0x45;
        v = htons((uint16_t) (28 + b->len));
        memcpy(ip + 2, &v, 2);
        ip[8] = 64;
        ip[9] = IPPROTO_UDP;
        memcpy(ip + 12, &peer, 4);
        memcpy(ip + 16, &guest, 4);
        v = checksum_finish(checksum_add(ip, 20, 0));
        memcpy(ip + 10, &v, 2);
        memcpy(ip + 20, &udp, 8);
}

static int call_write(void *arg) {
        Bench *b = arg;
        struct iovec iov[] = { { b->head, HEADERS }, { b->payload, b->len } };
        Frame f = {
                .hdr = {
                        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                        .gso_type = b->len > b->gso_size ? VIRTIO_NET_HDR_GSO_UDP_L4 : VIRTIO_NET_HDR_GSO_NONE,
                        .gso_size = htole16(b->gso_size),
                        .csum_start = htole16(ETH_HEADER_LEN + 20),
                        .csum_offset = htole16(6),
                },
                .iov = iov,
                .n_iov = 2,
                .len = HEADERS + b->len,
        };

        for (usec_t end = now(CLOCK_MONOTONIC) + b->length; now(CLOCK_MONOTONIC) < end;)
                (void) device_send(b->device, &f, 1);
        return 0;
}

static void bench_write(Bench *b, const Mode *m) {
        usec_t wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);

        prepare(b, m);
        (void) loop_call(b->loop, call_write, b);
        report(m, "write", counter_read(&b->device->counters.tx_frames), counter_read(&b->device->counters.tx_bytes),
               now(CLOCK_MONOTONIC) - wall, now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
}

/* ---- reading ---- */

/* Fills the TAP from a process of its own, so that its CPU time is not ours. */
static void blast(const Mode *m, usec_t length) {
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr(PEER) };
        static uint8_t data[PAYLOAD_MAX];
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), gso_size = (int) MIN(m->mtu - 28, PAYLOAD_MAX);
        size_t len = (size_t) (PAYLOAD_MAX / gso_size * gso_size);

        (void) setsockopt(fd, SOL_UDP, 103 /* UDP_SEGMENT */, &gso_size, sizeof(gso_size));
        for (usec_t end = now(CLOCK_MONOTONIC) + length; now(CLOCK_MONOTONIC) < end;)
                (void) sendto(fd, data, len, 0, (struct sockaddr *) &to, sizeof(to));
        _exit(EXIT_SUCCESS);
}

static int bench_read(Bench *b, const Mode *m) {
        usec_t wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        pid_t pid;

        if (loop_call(b->loop, call_start, b) < 0)
                return fail("start");
        pid = _Fork();
        if (pid < 0)
                return fail("fork");
        if (pid == 0)
                blast(m, b->length);
        (void) waitpid(pid, NULL, 0);
        (void) loop_call(b->loop, call_stop, b);
        report(m, "read", counter_read(&b->device->counters.rx_frames), counter_read(&b->device->counters.rx_bytes),
               now(CLOCK_MONOTONIC) - wall, now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
        return EXIT_SUCCESS;
}

/* ---- a run ---- */

/* An address, and a neighbour that need not be asked. */
static int set_up_addresses(void) {
        struct ifreq ifr = { .ifr_name = IFNAME };
        struct sockaddr_in *sin = (struct sockaddr_in *) &ifr.ifr_addr;
        struct arpreq arp = { .arp_flags = ATF_PERM | ATF_COM, .arp_dev = IFNAME };
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        *sin = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(GUEST) };
        if (fd < 0 || ioctl(fd, SIOCSIFADDR, &ifr) < 0)
                return -errno;
        sin->sin_addr.s_addr = inet_addr("255.255.255.0");
        if (ioctl(fd, SIOCSIFNETMASK, &ifr) < 0)
                return -errno;

        *(struct sockaddr_in *) &arp.arp_pa = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(PEER) };
        memcpy(arp.arp_ha.sa_data, "\x52\x54\0\0\0\x02", 6);
        return ioctl(fd, SIOCSARP, &arp) < 0 ? -errno : 0;
}

static int run(const Mode *m, usec_t length) {
        static Bench b;
        TapConfig c = {
                .name = "raw",
                .ifname = IFNAME,
                .fd = -EBADF,
                .mtu = m->mtu,
                .up = true,
                .offloads = m->offloads,
                .no_vnet_hdr = m->bare,
        };
        const char *what = "";
        int r;

        b = (Bench){ .length = length };
        errno = -tap_new(&b.device, &c, &what);
        if (!b.device)
                return fail(what);
        b.device->handler = &handler;
        b.device->userdata = &b;
        errno = -loop_new(&b.loop, "raw", NULL, NULL);
        if (!b.loop)
                return fail("loop");
        errno = -set_up_addresses();
        if (errno != 0)
                return fail("addresses");

        bench_write(&b, m);
        r = bench_read(&b, m);
        loop_free(b.loop);
        device_free(b.device);
        return r;
}

/* A network of our own; without root in a user namespace, where our uid is all there is. */
static int enter_namespace(void) {
        if (unshare(CLONE_NEWNET) == 0)
                return 0;
        return unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 ? -errno : 0;
}

int main(int argc, char **argv) {
        static const Mode modes[] = {
                { "all", _DEVICE_OFFLOAD_ALL, 1500, false }, { "all", _DEVICE_OFFLOAD_ALL, 65520, false },
                { "csum", DEVICE_OFFLOAD_CSUM, 1500, false }, { "none", 0, 1500, false },
                { "none", 0, 65520, false },                  { "bare", 0, 1500, true },
        };
        uint32_t seconds = 1;

        if (argc > 2 || (argc == 2 && parse_u32(argv[1], 1, 60, &seconds) < 0)) {
                fprintf(stderr, "Usage: tap-raw [SECONDS]\n");
                return EXIT_FAILURE;
        }
        if (enter_namespace() < 0)
                return fail("network namespace");

        printf("%-6s %5s  %-6s %10s %10s %12s\n", "mode", "mtu", "", "frames/s", "Gbit/s", "CPU s/GiB");
        for (unsigned i = 0; i < ELEMENTSOF(modes); i++)
                if (run(&modes[i], seconds * USEC_PER_SEC) != EXIT_SUCCESS)
                        return EXIT_FAILURE;
        return EXIT_SUCCESS;
}
