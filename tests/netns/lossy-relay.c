/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bad link: lossy-relay GUEST-NETNS IFNAME MTU RELAY-NETNS RELAY-IFNAME SEED LOSS DUP REORDER (the last three per mille).
 *
 * Makes a TAP called IFNAME in the guest's namespace and carries frames between it and an existing interface in another namespace,
 * losing, doubling and delaying some. For kernels without netem. A frame held back leaves behind one to four later ones, or after a few
 * milliseconds. Says "ready" when it is; ends with SIGTERM, and says then what it did.
 *
 * No offloads on this link: neither side may hand over frames with open checksums or longer than the MTU.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_MAX 65550
#define HOLD_MSEC 3

typedef struct Way {
        int from, to;
        uint8_t *held; /* FRAME_MAX bytes */
        size_t held_len; /* 0: none */
        unsigned held_for; /* this many frames go first */
} Way;

static unsigned per_mille[3]; /* loss, dup, reorder */
static unsigned long n_frames, n_done[3], n_refused;
static uint64_t state;
static volatile sig_atomic_t stopping;

static void fail(const char *what) {
        fprintf(stderr, "lossy-relay: %s: %s\n", what, strerror(errno));
        exit(EXIT_FAILURE);
}

static void on_term(int sig) {
        stopping = 1;
}

/* xorshift64*: the same seed gives the same link, as far as the order of frames is the same. */
static unsigned dice(unsigned sides) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return (unsigned) ((state * 0x2545f4914f6cdd1dull) >> 33) % sides;
}

static int chance(int which) {
        int yes = dice(1000) < per_mille[which];
        n_done[which] += (unsigned long) yes;
        return yes;
}

static void enter(const char *path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
                fail(path);
        close(fd);
}

static int open_tap(const char *ifname, int mtu) {
        struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI };
        int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        (void) snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", ifname);
        if (fd < 0 || s < 0 || ioctl(fd, TUNSETIFF, &r) < 0)
                fail("TAP");
        r.ifr_mtu = mtu;
        if (ioctl(s, SIOCSIFMTU, &r) < 0)
                fail("MTU");
        if (ioctl(s, SIOCGIFFLAGS, &r) < 0)
                fail("flags");
        r.ifr_flags |= IFF_UP;
        if (ioctl(s, SIOCSIFFLAGS, &r) < 0)
                fail("up");
        close(s);
        return fd;
}

static int open_packet(const char *ifname) {
        struct sockaddr_ll sa = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int) if_nametoindex(ifname) };
        int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), size = 16 << 20, one = 1;

        if (fd < 0 || sa.sll_ifindex == 0)
                fail(ifname);
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
                (void) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0 || bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                fail("packet socket");
        return fd;
}

static void put(Way *w, const uint8_t *frame, size_t len) {
        if (write(w->to, frame, len) < 0) /* a full queue loses it, as a link does */
                n_refused++;
}

static void release_held(Way *w) {
        if (w->held_len > 0)
                put(w, w->held, w->held_len);
        w->held_len = 0;
}

static void carry(Way *w, const uint8_t *frame, size_t len) {
        n_frames++;
        if (chance(0))
                return;
        if (w->held_len == 0 && chance(2)) {
                memcpy(w->held, frame, len);
                w->held_len = len;
                w->held_for = 1 + dice(4);
                return;
        }
        put(w, frame, len);
        if (chance(1))
                put(w, frame, len);
        if (w->held_len > 0 && --w->held_for == 0)
                release_held(w);
}

static void drain(Way *w) {
        static uint8_t frame[FRAME_MAX];
        for (unsigned i = 0; i < 64; i++) {
                ssize_t n = read(w->from, frame, sizeof(frame));
                if (n <= 0)
                        return;
                carry(w, frame, (size_t) n);
        }
}

int main(int argc, char **argv) {
        if (argc != 10) {
                fprintf(stderr, "usage: lossy-relay GUEST-NETNS IFNAME MTU RELAY-NETNS RELAY-IFNAME SEED LOSS DUP REORDER\n");
                return 2;
        }
        state = strtoull(argv[6], NULL, 10) * 2 + 1;
        for (int i = 0; i < 3; i++)
                per_mille[i] = (unsigned) atoi(argv[7 + i]);

        enter(argv[1]);
        int tap = open_tap(argv[2], atoi(argv[3]));
        enter(argv[4]);
        int packet = open_packet(argv[5]);
        Way ways[2] = { { .from = tap, .to = packet, .held = malloc(FRAME_MAX) }, { .from = packet, .to = tap, .held = malloc(FRAME_MAX) } };
        struct sigaction sa = { .sa_handler = on_term };
        if (!ways[0].held || !ways[1].held || sigaction(SIGTERM, &sa, NULL) < 0)
                fail("start");
        puts("ready");
        fflush(stdout);

        while (!stopping) {
                struct pollfd p[2] = { { .fd = tap, .events = POLLIN }, { .fd = packet, .events = POLLIN } };
                int r = poll(p, 2, HOLD_MSEC);
                for (int i = 0; i < 2; i++) {
                        if (p[i].revents & POLLIN)
                                drain(&ways[i]);
                        if (r == 0)
                                release_held(&ways[i]);
                }
        }
        printf("frames %lu lost %lu doubled %lu reordered %lu refused %lu\n", n_frames, n_done[0], n_done[1], n_done[2], n_refused);
        free(ways[0].held);
        free(ways[1].held);
        return 0;
}
