/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames into sockets: batches in order, sockets that are full or out of memory amid a frame, frames that are cut, frames that cannot go. The
 * program has a send() of its own, which can be told to fail.
 */

#include <errno.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sock-fixture.h"

static int send_error; /* atomic; of the next send() of the device */

ssize_t send(int fd, const void *bytes, size_t len, int flags) {
        int error = __atomic_exchange_n(&send_error, 0, __ATOMIC_ACQ_REL);

        if (error != 0) {
                errno = error;
                return -1;
        }
        return sendto(fd, bytes, len, flags, NULL, 0);
}

/* Reads one frame of QEMU's framing, made by rig_frame(). Returns its fill. */
static uint8_t read_frame(int fd, uint32_t len) {
        g_autofree uint8_t *bytes = g_malloc(4 + len), *expected = g_malloc(4 + len);

        g_assert_cmpint(recv(fd, bytes, 4 + len, MSG_WAITALL), ==, 4 + len);
        (void) rig_frame(expected, true, len, bytes[3 + len]);
        g_assert_cmpmem(bytes, 4 + len, expected, 4 + len);
        return bytes[3 + len];
}

static void begin(Rig *r, const char *kind, int type, int *ret_far) {
        int pair[2];

        rig_pair(type, pair);
        rig_adopt(r, kind, pair[0]);
        rig_wait(r, &r->n_up, 1);
        *ret_far = pair[1];
}

static void test_order(void) {
        static const uint32_t lens[] = { ETH_HEADER_LEN + 1, 60, 1514, FRAMING_FRAME_MAX };
        uint8_t next = 0;
        Rig r = {};
        int far;

        begin(&r, "qemu", SOCK_STREAM, &far);
        for (size_t k = 0; k < G_N_ELEMENTS(lens); k++) {
                unsigned n = lens[k] > 2000 ? 4 : FRAME_BATCH_MAX;

                g_assert_cmpuint(rig_send(&r, n, lens[k], next), ==, n);
                for (unsigned i = 0; i < n; i++)
                        g_assert_cmpuint(read_frame(far, lens[k]), ==, next++);
        }
        g_assert_cmpuint(counter_read(&r.device->counters.tx_frames), ==, 3 * FRAME_BATCH_MAX + 4);
        g_assert_cmpuint(counter_read(&r.device->counters.tx_bytes), ==, FRAME_BATCH_MAX * (15 + 60 + 1514) + 4 * FRAMING_FRAME_MAX);
        (void) close(far);
        rig_end(&r);
}

/* Sends until the device takes no more; returns how many it took. */
static unsigned fill(Rig *r, uint32_t len) {
        unsigned total = 0, n;

        do {
                n = rig_send(r, FRAME_BATCH_MAX, len, (uint8_t) total);
                total += n;
        } while (n == FRAME_BATCH_MAX);
        return total;
}

/* Whoever reads nothing is told no more than its socket holds; when it reads again, nothing was lost and nothing comes twice. */
static void full(const char *kind, int type, uint32_t len) {
        unsigned total, read = 0, before;
        Rig r = {};
        int far;

        begin(&r, kind, type, &far);
        for (unsigned round = 0; round < 3; round++) {
                total = fill(&r, len);
                g_assert_cmpuint(total, >, 0);
                g_assert_cmpuint(rig_send(&r, 1, len, 0), ==, 0);
                before = rig_get(&r, &r.n_writable);
                for (unsigned i = 0; i < total; i++, read++) {
                        if (type == SOCK_STREAM)
                                g_assert_cmpuint(read_frame(far, len), ==, i & 0xff);
                        else {
                                g_autofree uint8_t *bytes = g_malloc(len);

                                g_assert_cmpint(recv(far, bytes, len, 0), ==, len);
                                g_assert_cmpuint(bytes[len - 1], ==, i & 0xff);
                        }
                }
                rig_wait(&r, &r.n_writable, before + 1);
        }
        g_assert_cmpuint(counter_read(&r.device->counters.tx_frames), ==, read);
        g_assert_cmpuint(counter_read(&r.device->counters.tx_dropped), ==, 0);
        (void) close(far);
        rig_end(&r);
}

static void test_full_stream(void) {
        full("qemu", SOCK_STREAM, 1514);
        full("qemu", SOCK_STREAM, FRAMING_FRAME_MAX);
}

static void test_full_messages(void) {
        full("bess", SOCK_SEQPACKET, 1514);
        full("qemu-dgram", SOCK_DGRAM, 1514);
}

/* The far end takes what there is, and the device, which waits for nothing, sleeps on: each send is one turn of the loop, and no read is. When it has
 * waited for room once, that is so again. */
static void test_sleeps(void) {
        Rig r = {};
        int far;

        begin(&r, "qemu", SOCK_STREAM, &far);
        for (unsigned round = 0; round < 2; round++) {
                g_assert_cmpuint(rig_send(&r, 1, 60, 0), ==, 1); /* what may have been left of events before is over after it */
                (void) read_frame(far, 60);
                g_usleep(20 * 1000);
                unsigned before = rig_get(&r, &r.n_wakes), n = 0;
                for (; n < 50; n++) {
                        g_assert_cmpuint(rig_send(&r, 1, 60, 0), ==, 1);
                        (void) read_frame(far, 60);
                }
                g_usleep(20 * 1000);
                g_assert_cmpuint(rig_get(&r, &r.n_wakes), ==, before + n);

                unsigned total = fill(&r, 1514), writable = rig_get(&r, &r.n_writable);
                for (unsigned i = 0; i < total; i++)
                        (void) read_frame(far, 1514);
                rig_wait(&r, &r.n_writable, writable + 1);
        }
        (void) close(far);
        rig_end(&r);
}

static int room_here(void *arg) {
        Device *d = arg;
        size_t room = d->ops->room(d);

        return room > INT_MAX ? INT_MAX : (int) room;
}

static int rig_room(Rig *r) {
        return loop_call(r->loop, room_here, r->device);
}

/* Who asks for room first is never refused, and told when there is some again. A buffer that holds no frame has room when it is empty. */
static void test_room(void) {
        const int small = 8192;
        Rig r = {};
        int far, pair[2];

        begin(&r, "qemu", SOCK_STREAM, &far);
        for (unsigned round = 0; round < 3; round++) {
                unsigned n = 0, writable = rig_get(&r, &r.n_writable);
                int before = INT_MAX, room;

                for (; (room = rig_room(&r)) > 0; n++) {
                        g_assert_cmpint(room, <, before);
                        before = room;
                        g_assert_cmpuint(rig_send(&r, 1, 1514, (uint8_t) n), ==, 1);
                }
                g_assert_cmpuint(n, >, 10);
                g_assert_cmpint(rig_room(&r), ==, 0);
                for (unsigned i = 0; i < n; i++)
                        g_assert_cmpuint(read_frame(far, 1514), ==, i & 0xff);
                rig_wait(&r, &r.n_writable, writable + 1);
        }
        (void) close(far);
        rig_wait(&r, &r.n_gone, 1);
        g_assert_cmpint(rig_room(&r), ==, INT_MAX);
        rig_end(&r);

        rig_pair(SOCK_STREAM, pair);
        g_assert_cmpint(sock_new(&r.device, &(SockConfig){ .kind = "qemu", .name = "rig", .fd = pair[0] }, NULL), ==, 0);
        g_assert_cmpint(setsockopt(sock_fd(r.device), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), ==, 0);
        rig_begin(&r);
        rig_wait(&r, &r.n_up, 1);
        for (unsigned i = 0; i < 3; i++) {
                unsigned writable = rig_get(&r, &r.n_writable);

                g_assert_cmpint(rig_room(&r), >, 0);
                g_assert_cmpuint(rig_send(&r, 1, FRAMING_FRAME_MAX, 7), ==, 1);
                g_assert_cmpint(rig_room(&r), ==, 0);
                (void) read_frame(pair[1], FRAMING_FRAME_MAX);
                rig_wait(&r, &r.n_writable, writable + 1);
        }
        (void) close(pair[1]);
        rig_end(&r);

        begin(&r, "bess", SOCK_SEQPACKET, &far);
        g_assert_cmpint(rig_room(&r), ==, INT_MAX);
        (void) close(far);
        rig_end(&r);
}

/* The kernel has no memory just when the rest of a frame is to go: the stream stays in step, and goes on by itself. */
static void test_no_memory(void) {
        Rig r = {};
        int far;

        begin(&r, "qemu", SOCK_STREAM, &far);
        unsigned total = fill(&r, 60000);
        __atomic_store_n(&send_error, ENOBUFS, __ATOMIC_RELEASE);
        for (unsigned i = 0; i < total; i++)
                g_assert_cmpuint(read_frame(far, 60000), ==, i & 0xff);
        rig_wait(&r, &r.n_writable, 1);
        g_assert_cmpint(__atomic_load_n(&send_error, __ATOMIC_ACQUIRE), ==, 0);
        g_assert_cmpuint(rig_send(&r, 1, 60, 77), ==, 1);
        g_assert_cmpuint(read_frame(far, 60), ==, 77);
        (void) close(far);
        rig_end(&r);
}

/* Frames for who is not there are taken and counted; one who goes while others wait for it says so. */
static void test_nobody(void) {
        Rig r = {};

        rig_listen(&r, "qemu", 0);
        g_assert_cmpuint(rig_send(&r, 10, 60, 0), ==, 10);
        g_assert_cmpuint(rig_drops(&r, DROP_DEVICE_DOWN), ==, 10);
        int fd = rig_dial(&r, SOCK_STREAM);
        rig_wait(&r, &r.n_up, 1);
        (void) fill(&r, 1514);
        (void) close(fd);
        rig_wait(&r, &r.n_down, 1);
        rig_wait(&r, &r.n_writable, 1);
        g_assert_cmpuint(rig_send(&r, 1, 60, 0), ==, 1);
        fd = rig_dial(&r, SOCK_STREAM); /* the next one gets whole frames, of what is sent now */
        rig_wait(&r, &r.n_up, 2);
        g_assert_cmpuint(rig_send(&r, 1, 60, 9), ==, 1);
        g_assert_cmpuint(read_frame(fd, 60), ==, 9);
        (void) close(fd);
        rig_end(&r);
}

/* The far end goes just when frames are sent, amid one or before the first: those that did not go are counted, each once. */
static void test_going(void) {
        for (unsigned i = 0; i < 2; i++) {
                unsigned sent = 0;
                Rig r = {};
                int far;

                begin(&r, "qemu", SOCK_STREAM, &far);
                if (i > 0)
                        sent = fill(&r, 60000);
                g_assert_cmpint(shutdown(far, SHUT_RD), ==, 0); /* says so to who sends alone */
                g_assert_cmpuint(rig_send(&r, 5, 60, 0), ==, 5);
                g_assert_cmpuint(rig_drops(&r, DROP_DEVICE_DOWN), ==, 5);
                g_assert_cmpuint(counter_read(&r.device->counters.tx_dropped), ==, 5);
                g_assert_cmpuint(counter_read(&r.device->counters.tx_frames), ==, sent);
                rig_wait(&r, &r.n_gone, 1);
                (void) close(far);
                rig_end(&r);
        }
}

/* A TCP super-segment of @payload bytes in @size pieces. */
static Frame super_segment(uint8_t *bytes, struct iovec *iov, uint32_t payload, uint16_t size) {
        uint32_t len = ETH_HEADER_LEN + 40 + payload;
        struct iphdr ip = { .version = 4, .ihl = 5, .protocol = IPPROTO_TCP, .ttl = 64, .tot_len = htons((uint16_t) (len - ETH_HEADER_LEN)) };
        struct tcphdr tcp = { .doff = 5, .ack = 1 };

        (void) rig_frame(bytes, false, len, 5);
        bytes[12] = 0x08;
        bytes[13] = 0x00;
        memcpy(bytes + ETH_HEADER_LEN, &ip, sizeof(ip));
        memcpy(bytes + ETH_HEADER_LEN + sizeof(ip), &tcp, sizeof(tcp));
        *iov = (struct iovec){ bytes, len };
        return (Frame){
                .hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = htole16(size),
                         .hdr_len = htole16(ETH_HEADER_LEN + 40), .csum_start = htole16(ETH_HEADER_LEN + 20), .csum_offset = htole16(16) },
                .iov = iov,
                .n_iov = 1,
                .len = len,
        };
}

/* Super-segments leave as the frames a wire takes: more of them than one system call holds, and into a socket that fills amid one. */
static void test_cut(void) {
        static uint8_t bytes[FRAME_BATCH_MAX][65536];
        static struct iovec iov[FRAME_BATCH_MAX];
        Frame frames[FRAME_BATCH_MAX];
        unsigned total = 0, n, cut = 0;
        uint8_t got[4 + 1514];
        Rig r = {};
        int far;

        begin(&r, "qemu", SOCK_STREAM, &far);
        do {
                for (unsigned i = 0; i < FRAME_BATCH_MAX; i++)
                        frames[i] = super_segment(bytes[i], &iov[i], 14600, 1460);
                n = rig_send_frames(&r, frames, FRAME_BATCH_MAX);
                total += n;
        } while (n == FRAME_BATCH_MAX);
        while (cut < total * 10) {
                g_assert_cmpint(recv(far, got, sizeof(got), MSG_WAITALL), ==, sizeof(got));
                g_assert_cmpuint(got[2] << 8 | got[3], ==, 1514);
                cut++;
        }
        rig_wait(&r, &r.n_writable, 1);
        g_assert_cmpuint(counter_read(&r.device->counters.tx_frames), ==, cut);
        g_assert_cmpint(recv(far, got, 1, MSG_DONTWAIT), ==, -1);
        (void) close(far);
        rig_end(&r);
}

/* What a framing or a socket cannot carry is dropped and counted; its neighbours go. */
static void test_too_big(void) {
        uint8_t bytes[2 + 60], request[] = "POST /connect HTTP/1.1\r\n\r\n";
        g_autofree uint8_t *big = g_malloc0(FRAMING_FRAME_MAX);
        int pair[2], small = 4096;
        struct iovec iov[3] = { { big, 60 }, { big, FRAMING_FRAME_MAX }, { big, 60 } };
        Frame frames[3];
        Rig r = {};

        for (unsigned i = 0; i < 3; i++)
                frames[i] = (Frame){ .iov = &iov[i], .n_iov = 1, .len = (uint32_t) iov[i].iov_len };
        rig_pair(SOCK_STREAM, pair);
        rig_adopt(&r, "vpnkit", pair[0]);
        rig_write(pair[1], request, sizeof(request) - 1);
        rig_wait(&r, &r.n_up, 1);
        g_assert_cmpuint(rig_send_frames(&r, frames, 3), ==, 3);
        for (unsigned i = 0; i < 2; i++) {
                g_assert_cmpint(recv(pair[1], bytes, sizeof(bytes), MSG_WAITALL), ==, sizeof(bytes));
                g_assert_cmpuint(bytes[0], ==, 60);
        }
        g_assert_cmpuint(rig_drops(&r, DROP_DEVICE_TOO_BIG), ==, 1);
        (void) close(pair[1]);
        rig_end(&r);

        rig_pair(SOCK_SEQPACKET, pair);
        int kept = dup(pair[0]);
        rig_adopt(&r, "bess", pair[0]);
        rig_wait(&r, &r.n_up, 1);
        g_assert_cmpint(setsockopt(kept, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), ==, 0);
        g_assert_cmpuint(rig_send_frames(&r, frames, 3), ==, 3);
        g_assert_cmpint(recv(pair[1], bytes, sizeof(bytes), 0), ==, 60);
        g_assert_cmpint(recv(pair[1], bytes, sizeof(bytes), 0), ==, 60);
        g_assert_cmpuint(rig_drops(&r, DROP_DEVICE_TOO_BIG), ==, 1);
        g_assert_cmpuint(counter_read(&r.device->counters.tx_frames), ==, 2);
        g_assert_cmpuint(counter_read(&r.device->counters.tx_bytes), ==, 120);
        (void) close(kept);
        (void) close(pair[1]);
        rig_end(&r);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/sock-send/order", test_order);
        g_test_add_func("/sock-send/full-stream", test_full_stream);
        g_test_add_func("/sock-send/full-messages", test_full_messages);
        g_test_add_func("/sock-send/sleeps", test_sleeps);
        g_test_add_func("/sock-send/room", test_room);
        g_test_add_func("/sock-send/no-memory", test_no_memory);
        g_test_add_func("/sock-send/nobody", test_nobody);
        g_test_add_func("/sock-send/going", test_going);
        g_test_add_func("/sock-send/cut", test_cut);
        g_test_add_func("/sock-send/too-big", test_too_big);
        return g_test_run();
}
