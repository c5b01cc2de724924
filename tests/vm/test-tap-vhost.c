/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The vhost-net device between two real IP stacks: two namespaces, a device in each, and this program the wire between them. Segments
 * and datagrams cross as super-frames or cut and summed, according to what the far end takes; every byte is compared at both ends.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/tap-vhost.h"
#include "vhostnet/vhost.h"
#include "vm-tap.h"

#define PORT 5000
#define WAIT_SEC 60u /* against hanging alone */
#define STREAMS_MAX 8u
#define UDP_PIECE 1000u     /* of a super-datagram */
#define UDP_PIECES 40u      /* and the last one is short */
#define UDP_LEN (UDP_PIECES * UDP_PIECE - 123)
#define UDP_ROUNDS 50
#define UDP_SEGMENT_OPTION 103 /* UDP_SEGMENT, which the headers of Debian 12's libc lack */

typedef struct End {
        const char *ip, *peer_ip;
        GThread *thread;
        char netns[64];
        GMutex lock;
        GCond cond;
        bool ready, go, quit;
        Device *device;
        struct End *other;
        bool listener;
        bool udp;               /* super-datagrams, not streams */
        unsigned n_streams;     /* 0: one */
        uint64_t bytes;         /* to send and to receive, over each stream */
        uint64_t super_frames;  /* received from the guest */
        uint32_t longest;
        unsigned full, writable;
        int gone;
        unsigned delete_ifindex;
} End;

/* ---- the two stacks ---- */

static uint8_t byte_at(uint64_t off, bool listener) {
        return (uint8_t) ((off * 2654435761u >> 7) + (listener ? 77 : 0));
}

static int set_address4(const End *e) {
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq ifr = {};
        struct sockaddr_in *sin = (struct sockaddr_in *) &ifr.ifr_addr;

        g_strlcpy(ifr.ifr_name, e->device->ifname, sizeof(ifr.ifr_name));
        sin->sin_family = AF_INET;
        g_assert_cmpint(inet_pton(AF_INET, e->ip, &sin->sin_addr), ==, 1);
        g_assert_cmpint(ioctl(s, SIOCSIFADDR, &ifr), ==, 0);
        sin->sin_addr.s_addr = htonl(0xffffff00);
        g_assert_cmpint(ioctl(s, SIOCSIFNETMASK, &ifr), ==, 0);
        return s;
}

static int set_address6(const End *e) {
        g_autofree char *path = g_strdup_printf("/proc/sys/net/ipv6/conf/%s/accept_dad", e->device->ifname);
        int s = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct in6_ifreq ifr = { .ifr6_prefixlen = 64, .ifr6_ifindex = e->device->ifindex };
        FILE *f = fopen(path, "we");

        g_assert_nonnull(f); /* nobody else is there to have the address: do not ask */
        (void) fputs("0\n", f);
        (void) fclose(f);
        g_assert_cmpint(inet_pton(AF_INET6, e->ip, &ifr.ifr6_addr), ==, 1);
        g_assert_cmpint(ioctl(s, SIOCSIFADDR, &ifr), ==, 0);
        return s;
}

/* How much goes into one segment follows from how fast the path is, and a starved machine's is slow: never less than a super-frame. */
static void ask_for_super_frames(void) {
        FILE *f = fopen("/proc/sys/net/ipv4/tcp_min_tso_segs", "we");

        g_assert_nonnull(f);
        g_assert_cmpint(fputs("16\n", f), >=, 0);
        g_assert_cmpint(fclose(f), ==, 0);
}

static void set_address(const End *e) {
        ask_for_super_frames();
        close(strchr(e->ip, ':') ? set_address6(e) : set_address4(e));
}

static socklen_t make_sockaddr(const char *ip, uint16_t port, struct sockaddr_storage *ret) {
        struct sockaddr_in *sin = (struct sockaddr_in *) ret;
        struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *) ret;

        memset(ret, 0, sizeof(*ret));
        if (strchr(ip, ':')) {
                sin6->sin6_family = AF_INET6;
                sin6->sin6_port = htons(port);
                g_assert_cmpint(inet_pton(AF_INET6, ip, &sin6->sin6_addr), ==, 1);
                return sizeof(*sin6);
        }
        sin->sin_family = AF_INET;
        sin->sin_port = htons(port);
        g_assert_cmpint(inet_pton(AF_INET, ip, &sin->sin_addr), ==, 1);
        return sizeof(*sin);
}

static int open_socket(const End *e, int type) {
        const struct timeval limit = { .tv_sec = WAIT_SEC };
        int one = 1, fd = socket(strchr(e->ip, ':') ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);

        g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), ==, 0);
        g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), ==, 0);
        g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), ==, 0);
        return fd;
}

/* An IPv6 address takes nothing before the kernel has seen that the link is ready. */
static void bind_here(const End *e, int fd, uint16_t port) {
        struct sockaddr_storage ss;
        socklen_t len = make_sockaddr(e->ip, port, &ss);
        uint64_t until = vm_now_usec() + WAIT_SEC * G_USEC_PER_SEC;

        while (bind(fd, (struct sockaddr *) &ss, len) < 0) {
                g_assert_cmpuint(vm_now_usec(), <, until);
                g_usleep(10000);
        }
}

static int connect_ends(const End *e, uint16_t port) {
        struct sockaddr_storage ss;
        int fd = open_socket(e, SOCK_STREAM), listen_fd, r = -1;

        if (e->listener) {
                bind_here(e, fd, port);
                g_assert_cmpint(listen(fd, 1), ==, 0);
                listen_fd = fd;
                r = fd = accept(listen_fd, NULL, NULL);
                close(listen_fd);
        } else {
                socklen_t len = make_sockaddr(e->peer_ip, port, &ss);
                uint64_t until = vm_now_usec() + WAIT_SEC * G_USEC_PER_SEC;

                while ((r = connect(fd, (struct sockaddr *) &ss, len)) < 0) { /* until the other one listens */
                        g_assert_cmpuint(vm_now_usec(), <, until);
                        g_usleep(50000);
                }
        }
        g_assert_cmpint(r, >=, 0);
        return fd;
}

static void send_all(int fd, uint64_t n, bool listener) {
        static __thread uint8_t buf[65536];

        for (uint64_t off = 0; off < n;) {
                size_t len = MIN(n - off, sizeof(buf));

                for (size_t i = 0; i < len; i++)
                        buf[i] = byte_at(off + i, listener);
                for (size_t at = 0; at < len;) {
                        ssize_t r = send(fd, buf + at, len - at, MSG_NOSIGNAL);

                        g_assert_cmpint(r, >, 0);
                        at += (size_t) r;
                }
                off += len;
        }
}

static void receive_all(int fd, uint64_t n, bool listener) {
        static __thread uint8_t buf[65536];

        for (uint64_t off = 0; off < n;) {
                ssize_t r = recv(fd, buf, sizeof(buf), 0);

                g_assert_cmpint(r, >, 0);
                for (ssize_t i = 0; i < r; i++)
                        if (buf[i] != byte_at(off + (uint64_t) i, listener))
                                g_error("byte %" G_GUINT64_FORMAT " differs", off + (uint64_t) i);
                off += (uint64_t) r;
        }
}

/* ---- super-datagrams ---- */

static uint8_t udp_byte_at(unsigned round, size_t off, bool listener) {
        return byte_at((uint64_t) round * UDP_LEN + off, listener);
}

/* One send() that becomes UDP_PIECES datagrams: cut by whoever does it last on the way. @piece: as many bytes at a time. */
static void udp_send(int fd, unsigned round, bool listener, size_t piece) {
        static __thread uint8_t buf[UDP_LEN];

        for (size_t i = 0; i < sizeof(buf); i++)
                buf[i] = udp_byte_at(round, i, listener);
        for (size_t off = 0; off < sizeof(buf); off += piece) {
                size_t len = MIN(piece, sizeof(buf) - off);

                g_assert_cmpint(send(fd, buf + off, len, 0), ==, len);
        }
}

/*
 * The end that begins greets until it is answered; the other one answers each greeting. So neither can be lost, and both may come late, among
 * the datagrams of the test, which are longer.
 */
static void udp_greet(int fd) {
        uint64_t until = vm_now_usec() + WAIT_SEC * G_USEC_PER_SEC;
        char byte = 0;

        while (send(fd, &byte, 1, 0) < 0 || !vm_wait(fd, 100) || recv(fd, &byte, 1, 0) != 1) { /* nobody may be there yet */
                g_assert_cmpuint(vm_now_usec(), <, until);
                g_usleep(10000);
        }
}

static ssize_t udp_receive_one(int fd, bool answer, uint8_t *buf, size_t len) {
        ssize_t n;

        while ((n = recv(fd, buf, len, 0)) == 1)
                if (answer)
                        g_assert_cmpint(send(fd, buf, 1, 0), ==, 1);
        return n;
}

/* Each in order, of its own length, and with a checksum the kernel liked: it drops others. */
static void udp_receive(int fd, unsigned round, bool listener) {
        uint8_t buf[2 * UDP_PIECE];

        for (size_t off = 0; off < UDP_LEN; off += UDP_PIECE) {
                size_t len = MIN(UDP_PIECE, UDP_LEN - off);

                g_assert_cmpint(udp_receive_one(fd, !listener, buf, sizeof(buf)), ==, len);
                for (size_t i = 0; i < len; i++)
                        g_assert_cmphex(buf[i], ==, udp_byte_at(round, off + i, listener));
        }
}

/* In turns, so that no queue overflows. The one who begins waits for the other to be there. */
static void exchange_datagrams(const End *e) {
        struct sockaddr_storage ss;
        int fd = open_socket(e, SOCK_DGRAM), piece = UDP_PIECE, big = 4 << 20;
        bool super = e->device->offloads & DEVICE_OFFLOAD_CSUM; /* kernels before 6.11 refuse UDP_SEGMENT where they would have to sum */
        size_t send_len = super ? UDP_LEN : UDP_PIECE;

        g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big)), ==, 0);
        bind_here(e, fd, PORT);
        g_assert_cmpint(connect(fd, (struct sockaddr *) &ss, make_sockaddr(e->peer_ip, PORT, &ss)), ==, 0);
        if (!e->listener)
                udp_greet(fd);
        if (super)
                g_assert_cmpint(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT_OPTION, &piece, sizeof(piece)), ==, 0);
        for (unsigned round = 0; round < UDP_ROUNDS; round++) {
                if (!e->listener)
                        udp_send(fd, round, false, send_len);
                udp_receive(fd, round, !e->listener);
                if (e->listener)
                        udp_send(fd, round, true, send_len);
        }
        close(fd);
}

/* ---- the ends ---- */

typedef struct Stream {
        const End *end;
        uint16_t port;
} Stream;

static void *stream_main(void *arg) {
        const Stream *s = arg;
        const End *e = s->end;
        int fd = connect_ends(e, s->port);

        if (e->listener) {
                receive_all(fd, e->bytes, false);
                send_all(fd, e->bytes, true);
        } else {
                send_all(fd, e->bytes, false);
                receive_all(fd, e->bytes, true);
        }
        close(fd);
        return NULL;
}

static void exchange_streams(const End *e) {
        GThread *threads[STREAMS_MAX]; /* in the namespace of the thread that makes them */
        Stream streams[STREAMS_MAX];
        unsigned n = MAX(e->n_streams, 1U);

        for (unsigned i = 0; i < n; i++) {
                streams[i] = (Stream) { e, (uint16_t) (PORT + i) };
                threads[i] = g_thread_new("stream", stream_main, &streams[i]);
        }
        for (unsigned i = 0; i < n; i++)
                g_thread_join(threads[i]);
}

/* A thread is an end: it lives in a network namespace of its own. The first one listens. */
static void *end_main(void *arg) {
        End *e = arg;

        e->listener = e < e->other;
        g_assert_cmpint(unshare(CLONE_NEWNET), ==, 0);
        (void) snprintf(e->netns, sizeof(e->netns), "/proc/%d/task/%d/ns/net", (int) getpid(), (int) gettid());
        g_mutex_lock(&e->lock);
        e->ready = true;
        g_cond_broadcast(&e->cond);
        while (!e->go)
                g_cond_wait(&e->cond, &e->lock);
        g_mutex_unlock(&e->lock);
        if (e->quit)
                return NULL;
        if (e->delete_ifindex) {
                VmTap t = { .ifindex = (int) e->delete_ifindex };

                vm_tap_delete(&t);
                return NULL;
        }

        set_address(e);
        if (e->udp)
                exchange_datagrams(e);
        else
                exchange_streams(e);
        return NULL;
}

static void end_open(End *e) {
        g_mutex_init(&e->lock);
        g_cond_init(&e->cond);
        e->thread = g_thread_new("end", end_main, e);
        g_mutex_lock(&e->lock);
        while (!e->ready)
                g_cond_wait(&e->cond, &e->lock);
        g_mutex_unlock(&e->lock);
}

static void end_go(End *e) {
        g_mutex_lock(&e->lock);
        e->go = true;
        g_cond_broadcast(&e->cond);
        g_mutex_unlock(&e->lock);
}

/* ---- the wire ---- */

static void on_receive(Device *d, Frame *frames, unsigned n, void *userdata) {
        End *e = userdata;
        unsigned taken;

        for (unsigned i = 0; i < n; i++) {
                e->super_frames += frames[i].hdr.gso_type != 0;
                e->longest = MAX(e->longest, frames[i].len);
        }
        taken = device_send(e->other->device, frames, n);
        if (taken < n) /* the rest is lost, as on any wire that is full */
                e->full++;
}

static void on_writable(Device *d, void *userdata) {
        ((End *) userdata)->writable++;
}

static void on_gone(Device *d, int error, void *userdata) {
        g_atomic_int_set(&((End *) userdata)->gone, error);
}

static const DeviceHandler handler = { .receive = on_receive, .writable = on_writable, .gone = on_gone };

typedef struct Both {
        End *ends;
        Loop *loop;
} Both;

static int start_both(void *arg) {
        Both *b = arg;

        for (unsigned i = 0; i < 2; i++)
                g_assert_cmpint(device_start(b->ends[i].device, b->loop), ==, 0);
        return 0;
}

static int stop_both(void *arg) {
        Both *b = arg;

        for (unsigned i = 0; i < 2; i++)
                device_stop(b->ends[i].device);
        return 0;
}

static int restart_both(void *arg) {
        stop_both(arg);
        return start_both(arg);
}

static void make_device(End *e, bool vhost, uint32_t offloads, unsigned queue_size, uint32_t mtu, unsigned n_queues) {
        const char *what = NULL, *note = NULL;
        TapConfig c = { .name = "t", .netns = e->netns, .fd = -EBADF, .up = true, .mtu = mtu, .offloads = offloads,
                        .no_vnet_hdr = !vhost, .n_queues = MAX(n_queues, 1U) };
        int r = vhost ? tap_vhost_new(&e->device, &c, queue_size, &note, &what) : tap_new(&e->device, &c, &what);

        if (r < 0)
                g_error("%s: %s", what, g_strerror(-r));
        g_assert_cmpstr(e->device->ops->kind, ==, vhost ? "vhost-net" : "tap");
        g_assert_null(note);
        e->device->handler = &handler;
        e->device->userdata = e;
}

static void open_both(Both *b, End *ends, bool v6) {
        ends[0].ip = ends[1].peer_ip = v6 ? "fd09::1" : "10.9.0.1";
        ends[1].ip = ends[0].peer_ip = v6 ? "fd09::2" : "10.9.0.2";
        ends[0].other = &ends[1];
        ends[1].other = &ends[0];
        b->ends = ends;
        end_open(&ends[0]);
        end_open(&ends[1]);
        g_assert_cmpint(loop_new(&b->loop, "wire", NULL, NULL), ==, 0);
}

static void close_both(Both *b) {
        for (unsigned i = 0; i < 2; i++)
                if (b->ends[i].device)
                        b->ends[i].device = device_free(b->ends[i].device);
        loop_free(b->loop);
        for (unsigned i = 0; i < 2; i++) {
                g_mutex_clear(&b->ends[i].lock);
                g_cond_clear(&b->ends[i].cond);
        }
}

typedef struct Case {
        uint32_t offloads[2];
        bool vhost[2];
        unsigned queue_size;
        uint32_t mtu;
        unsigned restarts;
        uint64_t bytes;
        bool super; /* super-frames must be seen, from both */
        bool v6, udp;
        unsigned n_queues, n_streams; /* 0: one */
} Case;

static void test_stack(gconstpointer data) {
        const Case *c = data;
        End ends[2] = {};
        Both b;

        open_both(&b, ends, c->v6);
        for (unsigned i = 0; i < 2; i++) {
                ends[i].bytes = c->bytes;
                ends[i].udp = c->udp;
                ends[i].n_streams = c->n_streams;
                make_device(&ends[i], c->vhost[i], c->offloads[i], c->queue_size, c->mtu, c->n_queues);
        }
        g_assert_cmpint(loop_call(b.loop, start_both, &b), ==, 0);
        end_go(&ends[0]);
        end_go(&ends[1]);
        for (unsigned i = 0; i < c->restarts; i++) {
                g_usleep(100000);
                g_assert_cmpint(loop_call(b.loop, restart_both, &b), ==, 0);
        }
        g_thread_join(ends[0].thread);
        g_thread_join(ends[1].thread);
        g_assert_cmpint(loop_call(b.loop, stop_both, &b), ==, 0);
        for (unsigned i = 0; i < 2; i++) {
                const Counters *n = &ends[i].device->counters;

                g_test_message("end %u: %" G_GUINT64_FORMAT " frames in, %" G_GUINT64_FORMAT " of them super, longest %u, full %u, writable %u", i,
                               n->rx_frames, ends[i].super_frames, ends[i].longest, ends[i].full, ends[i].writable);
                g_assert_cmpuint(n->rx_bytes, >, c->bytes);
                g_assert_cmpuint(n->drops[DROP_GSO_HEADER], ==, 0);
                g_assert_cmpuint(n->drops[DROP_DEVICE_ERROR], ==, 0);
                /* Kernels before 6.2 do not pass super-datagrams through a TAP: then they come cut. */
                if (c->super && (!c->udp || ends[i].device->offloads & DEVICE_OFFLOAD_USO)) {
                        g_assert_cmpuint(ends[i].super_frames, >, 10);
                        g_assert_cmpuint(ends[i].longest, >, 8192); /* how long is the kernel's to choose */
                }
        }
        close_both(&b);
}

/* The interface goes while everything runs: gone() is called, once, with the error. */
static void test_gone(gconstpointer data) {
        unsigned n_queues = GPOINTER_TO_UINT(data);
        End ends[2] = {};
        Both b;

        open_both(&b, ends, false);
        for (unsigned i = 0; i < 2; i++)
                make_device(&ends[i], true, _DEVICE_OFFLOAD_ALL, 0, 0, n_queues);
        g_assert_cmpint(loop_call(b.loop, start_both, &b), ==, 0);
        ends[0].delete_ifindex = (unsigned) ends[0].device->ifindex;
        ends[1].quit = true;
        end_go(&ends[0]);
        end_go(&ends[1]);
        for (unsigned i = 0; i < WAIT_SEC * 1000 && g_atomic_int_get(&ends[0].gone) == 0; i++)
                g_usleep(1000);
        g_assert_cmpint(g_atomic_int_get(&ends[0].gone), ==, -ENODEV);
        g_assert_cmpint(g_atomic_int_get(&ends[1].gone), ==, 0);
        g_assert_cmpint(loop_call(b.loop, stop_both, &b), ==, 0);
        g_thread_join(ends[0].thread);
        g_thread_join(ends[1].thread);
        close_both(&b);
}

/* Without /dev/vhost-net it is a plain TAP, and says why. */
static void test_fallback(void) {
        End e = { .quit = true };
        const char *note = NULL, *what = NULL;
        TapConfig c = { .name = "t", .fd = -EBADF, .up = true, .offloads = _DEVICE_OFFLOAD_ALL, .n_queues = 1 };

        g_assert_cmpint(rename("/dev/vhost-net", "/dev/vhost-net-hidden"), ==, 0);
        g_assert_cmpint(tap_vhost_new(&e.device, &c, 0, &note, &what), ==, 0);
        g_assert_cmpint(rename("/dev/vhost-net-hidden", "/dev/vhost-net"), ==, 0);
        g_assert_cmpstr(e.device->ops->kind, ==, "tap");
        g_assert_nonnull(g_strstr_len(note, -1, "/dev/vhost-net"));
        g_assert_cmpint(tap_vhost_fd(e.device, 0), >=, 0);
        e.device = device_free(e.device);
}

/* A failure leaves nothing behind and takes nothing away. */
static void test_refusals(void) {
        Device *d = NULL;
        const char *what = NULL;
        TapConfig c = { .name = "t", .ifname = "refused0", .fd = -EBADF, .up = true, .persistent = true, .offloads = _DEVICE_OFFLOAD_ALL, .n_queues = 1 };
        VmTap t = vm_tap_open(&(VmTapOptions) { .flags = 0x0001 /* a TUN */ | 0x4000, .header_len = 12 });

        g_assert_cmpint(tap_vhost_new(&d, &c, 24, NULL, &what), ==, -EINVAL);
        g_assert_cmpint(tap_vhost_new(&d, &c, TAP_VHOST_QUEUE_SIZE_MIN / 2, NULL, &what), ==, -EINVAL);
        g_assert_cmpint(tap_vhost_new(&d, &c, TAP_VHOST_QUEUE_SIZE_MAX * 2, NULL, &what), ==, -EINVAL);
        c.n_queues = 0;
        g_assert_cmpint(tap_vhost_new(&d, &c, 0, NULL, &what), ==, -EINVAL);
        c.n_queues = TAP_QUEUES_MAX + 1;
        g_assert_cmpint(tap_vhost_new(&d, &c, 0, NULL, &what), ==, -EINVAL);
        c.n_queues = 1;
        c.no_vnet_hdr = true;
        g_assert_cmpint(tap_vhost_new(&d, &c, 0, NULL, &what), ==, -EOPNOTSUPP);
        c.no_vnet_hdr = false;
        c.fd = t.fd;
        g_assert_cmpint(tap_vhost_new(&d, &c, 0, NULL, &what), ==, -EINVAL);
        g_assert_cmpint(fcntl(t.fd, F_GETFD), >=, 0); /* still the caller's */
        g_assert_null(d);
        g_assert_cmpuint(if_nametoindex("refused0"), ==, 0);

        c.fd = -EBADF;
        g_assert_cmpint(tap_vhost_new(&d, &c, TAP_VHOST_QUEUE_SIZE_MIN, NULL, &what), ==, 0);
        d = device_free(d);
        g_assert_cmpuint(if_nametoindex("refused0"), !=, 0); /* persistent */
        vm_tap_delete(&(VmTap) { .ifindex = (int) if_nametoindex("refused0") });
        vm_tap_close(&t);
}

int main(int argc, char **argv) {
#define ALL _DEVICE_OFFLOAD_ALL
        static const struct {
                const char *name;
                Case c;
        } cases[] = {
                { "tcp/super-frames", { { ALL, ALL }, { true, true }, .mtu = 1500, .bytes = 16 << 20, .super = true } },
                { "tcp/super-frames-v6", { { ALL, ALL }, { true, true }, .mtu = 1500, .bytes = 16 << 20, .super = true, .v6 = true } },
                { "tcp/jumbo", { { ALL, ALL }, { true, true }, .bytes = 16 << 20 } },
                { "tcp/restart", { { ALL, ALL }, { true, true }, .mtu = 1500, .bytes = 16 << 20, .restarts = 10 } },
                /* sums are made here, and checked there */
                { "tcp/bare-peer", { { ALL, 0 }, { true, false }, .mtu = 1500, .bytes = 4 << 20 } },
                { "tcp/bare-peer-v6", { { ALL, 0 }, { true, false }, .mtu = 1500, .bytes = 4 << 20, .v6 = true } },
                { "tcp/no-offloads", { { 0, DEVICE_OFFLOAD_CSUM }, { true, true }, .mtu = 1500, .bytes = 4 << 20, .queue_size = 32 } },
                { "tcp/queues", { { ALL, ALL }, { true, true }, .mtu = 1500, .bytes = 2 << 20, .super = true, .n_queues = 3, .n_streams = STREAMS_MAX } },
                { "tcp/queues-restart", { { ALL, ALL }, { true, true }, .mtu = 1500, .bytes = 2 << 20, .restarts = 10, .n_queues = 2,
                                          .n_streams = STREAMS_MAX } },
                { "tcp/queues-bare-peer", { { ALL, 0 }, { true, false }, .mtu = 1500, .bytes = 1 << 20, .n_queues = 2, .n_streams = 4 } },
                { "udp/super-datagrams", { { ALL, ALL }, { true, true }, .mtu = 1500, .super = true, .udp = true } },
                { "udp/super-datagrams-v6", { { ALL, ALL }, { true, true }, .mtu = 1500, .super = true, .udp = true, .v6 = true } },
                { "udp/bare-peer", { { ALL, 0 }, { true, false }, .mtu = 1500, .udp = true } },
                { "udp/bare-peer-v6", { { ALL, 0 }, { true, false }, .mtu = 1500, .udp = true, .v6 = true } },
        };
#undef ALL

        g_test_init(&argc, &argv, NULL);
        int fd = vhost_open_net();
        if (fd < 0) {
                g_printerr("no /dev/vhost-net here: %s\n", g_strerror(-fd));
                return 77;
        }
        close(fd);
        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *path = g_strdup_printf("/tap-vhost/%s", cases[i].name);

                g_test_add_data_func(path, &cases[i].c, test_stack);
        }
        g_test_add_data_func("/tap-vhost/gone", GUINT_TO_POINTER(1), test_gone);
        g_test_add_data_func("/tap-vhost/gone-queues", GUINT_TO_POINTER(4), test_gone);
        g_test_add_func("/tap-vhost/fallback", test_fallback);
        g_test_add_func("/tap-vhost/refusals", test_refusals);
        return g_test_run();
}
