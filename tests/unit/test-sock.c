/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of socket devices: who listens takes one guest after another, who connects tries again, a descriptor goes with its far end. */

#include <errno.h>
#include <glib/gstdio.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sock-fixture.h"

static bool no_memory; /* while set, no timer queue can grow */

void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

void *__wrap_reallocarray(void *p, size_t n, size_t size) {
        return __atomic_load_n(&no_memory, __ATOMIC_ACQUIRE) ? NULL : __real_reallocarray(p, n, size);
}

static Timer timers[64];

/* From now on no timer finds a place that was not held for it. */
static int do_fill(void *arg) {
        Loop *loop = arg;

        __atomic_store_n(&no_memory, true, __ATOMIC_RELEASE);
        for (unsigned i = 0; i < G_N_ELEMENTS(timers); i++) {
                timer_init(&timers[i], NULL);
                if (timer_set(loop_timers(loop), &timers[i], USEC_INFINITY - 1) < 0)
                        return 0;
        }
        return -EOVERFLOW;
}

static void test_listen(void) {
        Rig r = {};

        rig_listen(&r, "qemu", 0);
        g_assert_true(device_is_down(r.device));
        for (unsigned life = 1; life <= 3; life++) {
                uint8_t bytes[64];
                int fd = rig_dial(&r, SOCK_STREAM);

                rig_wait(&r, &r.n_up, life);
                g_assert_false(device_is_down(r.device));
                rig_write(fd, bytes, rig_frame(bytes, true, 60, 7));
                rig_wait(&r, &r.n_frames, life);
                (void) close(fd);
                rig_wait(&r, &r.n_down, life);
                g_assert_cmpint(r.error, ==, 0);
                g_assert_true(device_is_down(r.device));
        }
        g_assert_cmpstr(sock_path(r.device), ==, r.path);
        g_assert_cmpstr(sock_listen_text(r.device), ==, r.path);
        g_assert_cmpint(sock_fd(r.device), ==, -EBADF);
        rig_end(&r);
}

static void test_refused(void) {
        uint8_t bytes[64];
        Rig r = {};

        rig_listen(&r, "qemu", 0);
        int first = rig_dial(&r, SOCK_STREAM);
        rig_wait(&r, &r.n_up, 1);
        int second = rig_dial(&r, SOCK_STREAM);
        g_assert_true(rig_at_end(second));
        rig_wait(&r, &r.n_refused, 1);
        rig_write(first, bytes, rig_frame(bytes, true, 60, 7));
        rig_wait(&r, &r.n_frames, 1);
        g_assert_cmpuint(rig_get(&r, &r.n_down), ==, 0);
        (void) close(first);
        (void) close(second);
        rig_end(&r);
}

/* One that has left makes room at once, and what it said last is heard. */
static void test_takeover(void) {
        uint8_t bytes[64];
        Rig r = {};

        rig_listen(&r, "bess", 0);
        for (unsigned i = 1; i <= 200; i++) {
                int fd = rig_dial(&r, SOCK_SEQPACKET);

                rig_write(fd, bytes, rig_frame(bytes, false, 60, (uint8_t) i));
                (void) close(fd);
                if (i % 3 == 0) /* who knocks too often finds the queue full */
                        rig_wait(&r, &r.n_frames, i);
        }
        rig_wait(&r, &r.n_frames, 200);
        g_assert_cmpuint(rig_get(&r, &r.n_refused), ==, 0);
        rig_end(&r);
}

static void test_connect(void) {
        g_autofree char *dir = g_dir_make_tmp("vnetd-sock-XXXXXX", NULL), *path = g_build_filename(dir, "there", NULL);
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        Rig r = {};

        g_assert_cmpint(sock_new(&r.device, &(SockConfig){ .kind = "qemu", .name = "c", .connect = path, .fd = -EBADF }, NULL), ==, 0);
        rig_begin(&r);
        (void) g_strlcpy(un.sun_path, path, sizeof(un.sun_path));
        for (unsigned life = 1; life <= 2; life++) {
                int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;

                g_assert_cmpint(bind(listener, (struct sockaddr *) &un, sizeof(un)), ==, 0);
                g_assert_cmpint(listen(listener, 1), ==, 0);
                fd = accept(listener, NULL, NULL);
                rig_wait(&r, &r.n_up, life);
                (void) close(listener);
                (void) g_unlink(path);
                (void) close(fd);
                rig_wait(&r, &r.n_down, life);
        }
        rig_end(&r);
        g_assert_cmpint(g_rmdir(dir), ==, 0);
}

/* A connection that ends is noticed, and tried anew, though there is no memory for timers any more. */
static void test_connect_without_memory(void) {
        g_autofree char *dir = g_dir_make_tmp("vnetd-sock-XXXXXX", NULL), *path = g_build_filename(dir, "there", NULL);
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        int listener = socket(AF_UNIX, SOCK_STREAM, 0);
        struct pollfd p = { .fd = listener, .events = POLLIN };
        Rig r = {};

        (void) g_strlcpy(un.sun_path, path, sizeof(un.sun_path));
        g_assert_cmpint(bind(listener, (struct sockaddr *) &un, sizeof(un)), ==, 0);
        g_assert_cmpint(listen(listener, 1), ==, 0);
        g_assert_cmpint(sock_new(&r.device, &(SockConfig){ .kind = "qemu", .name = "c", .connect = path, .fd = -EBADF }, NULL), ==, 0);
        rig_begin(&r);
        for (unsigned life = 1; life <= 2; life++) {
                g_assert_cmpint(poll(&p, 1, RIG_WAIT_MSEC), ==, 1);
                int fd = accept(listener, NULL, NULL);
                rig_wait(&r, &r.n_up, life);
                if (life == 1)
                        g_assert_cmpint(loop_call(r.loop, do_fill, r.loop), ==, 0);
                (void) close(fd);
                rig_wait(&r, &r.n_down, life);
        }
        __atomic_store_n(&no_memory, false, __ATOMIC_RELEASE);
        rig_end(&r);
        (void) close(listener);
        (void) g_unlink(path);
        g_assert_cmpint(g_rmdir(dir), ==, 0);
}

static void test_descriptor(void) {
        int pair[2], kept;
        Device *d = NULL;
        Rig r = {};

        rig_pair(SOCK_STREAM, pair);
        kept = pair[0];
        g_assert_cmpint(sock_new(&d, &(SockConfig){ .kind = "bess", .name = "c", .fd = kept }, NULL), ==, -EINVAL);
        rig_adopt(&r, "qemu", kept); /* still ours after the failure */
        rig_wait(&r, &r.n_up, 1);
        (void) close(pair[1]);
        rig_wait(&r, &r.n_gone, 1);
        g_assert_cmpint(r.error, ==, -ECONNRESET);
        g_assert_cmpuint(rig_get(&r, &r.n_down), ==, 0);
        rig_end(&r);

        int lonely = socket(AF_UNIX, SOCK_STREAM, 0);
        g_assert_cmpint(sock_new(&d, &(SockConfig){ .kind = "qemu", .name = "c", .fd = lonely }, NULL), ==, -EINVAL);
        (void) close(lonely);
}

static void test_pair(void) {
        uint8_t bytes[64];
        Rig r = {};

        g_assert_cmpint(sock_new(&r.device, &(SockConfig){ .kind = "qemu", .name = "c", .fd = -EBADF }, NULL), ==, 0);
        int far = sock_take_far_fd(r.device);
        g_assert_cmpint(far, >=, 0);
        g_assert_cmpint(sock_take_far_fd(r.device), ==, -EBADF);
        g_assert_cmpint(sock_fd(r.device), >=, 0);
        rig_begin(&r);
        rig_write(far, bytes, rig_frame(bytes, true, 60, 7));
        rig_wait(&r, &r.n_frames, 1);
        g_assert_cmpuint(rig_send(&r, 1, 60, 9), ==, 1);
        g_assert_cmpint(recv(far, bytes, sizeof(bytes), MSG_WAITALL), ==, 64);
        (void) close(far);
        rig_wait(&r, &r.n_gone, 1);
        rig_end(&r);
}

/* To another loop amid a frame, and back: the connection stays, and so do the bytes that have come. */
static void test_move(void) {
        uint8_t bytes[64];
        size_t len = rig_frame(bytes, true, 60, 7);
        Rig r = {};

        rig_listen(&r, "qemu", 0);
        int fd = rig_dial(&r, SOCK_STREAM);
        rig_wait(&r, &r.n_up, 1);
        for (size_t i = 0; i < len; i++) {
                rig_write(fd, bytes + i, 1);
                rig_stop(&r);
                rig_begin(&r);
        }
        rig_wait(&r, &r.n_frames, 1);
        g_assert_cmpuint(rig_get(&r, &r.n_down), ==, 0);
        g_assert_cmpuint(rig_get(&r, &r.n_up), ==, 1);
        g_assert_cmpuint(r.frames->data[r.frames->len - 1], ==, 7);
        (void) close(fd);
        rig_wait(&r, &r.n_down, 1);
        rig_end(&r);
}

/* A machine that left while nobody looked. */
static void test_left_unseen(void) {
        Rig r = {};

        rig_listen(&r, "qemu", 0);
        int fd = rig_dial(&r, SOCK_STREAM);
        rig_wait(&r, &r.n_up, 1);
        rig_stop(&r);
        (void) close(fd);
        rig_begin(&r);
        rig_wait(&r, &r.n_down, 1);
        rig_end(&r);
}

/* A listener's guest from one process to the next, amid a frame, past its greeting; and one that left between. */
static void inherit(const char *kind, int type, const char *greeting) {
        bool stream = type == SOCK_STREAM;
        uint8_t bytes[64], got[64];
        Rig r = {};

        rig_listen(&r, kind, 0);
        size_t len = rig_frame(bytes, stream, 60, 7), cut = stream ? 30 : len;
        if (greeting) { /* and with it shorter lengths */
                len = rig_frame(bytes + 2, false, 60, 7) + 2;
                memcpy(bytes, (uint8_t[]){ 60, 0 }, 2);
        }
        int fd = rig_dial(&r, type), fds[2];
        if (greeting)
                rig_write(fd, greeting, strlen(greeting));
        rig_wait(&r, &r.n_up, 1);
        for (unsigned life = 1; life <= 3; life++) {
                rig_write(fd, bytes, cut);
                if (!stream)
                        rig_wait(&r, &r.n_frames, life);
                rig_stop(&r);
                if (stream)
                        rig_write(fd, bytes + cut, len - cut);
                fds[0] = sock_leave(r.device);
                g_assert_cmpint(fds[0], >=, 0);
                fds[1] = dup(fds[0]);
                r.device = device_free(r.device);
                g_assert_cmpint(sock_new(&r.device, &(SockConfig){ .kind = kind, .name = "rig", .listen = r.path, .fd = -EBADF }, NULL), ==, 0);
                g_assert_cmpint(sock_return(r.device, fds[1]), ==, 0);
                g_assert_cmpint(sock_return(r.device, fds[1]), ==, -EINVAL); /* there is one */
                rig_begin(&r);
                rig_wait(&r, &r.n_up, life + 1);
                g_assert_cmpuint(rig_send(&r, 1, 60, 9), ==, 1);
                g_assert_cmpint(recv(fd, got, len, stream ? MSG_WAITALL : 0), ==, len);
                unsigned before = rig_get(&r, &r.n_frames);
                rig_write(fd, bytes, len);
                rig_wait(&r, &r.n_frames, before + 1);
        }
        g_assert_cmpuint(rig_get(&r, &r.n_down), ==, 0);
        rig_stop(&r);
        fds[1] = dup(sock_leave(r.device));
        (void) close(fd);
        r.device = device_free(r.device);
        g_assert_cmpint(sock_new(&r.device, &(SockConfig){ .kind = kind, .name = "rig", .listen = r.path, .fd = -EBADF }, NULL), ==, 0);
        if (sock_return(r.device, fds[1]) < 0)
                (void) close(fds[1]);
        rig_begin(&r);
        fd = rig_dial(&r, type);
        if (greeting)
                rig_write(fd, greeting, strlen(greeting));
        unsigned before = rig_get(&r, &r.n_frames);
        rig_write(fd, bytes, len);
        rig_wait(&r, &r.n_frames, before + 1);
        (void) close(fd);
        rig_end(&r);
}

static void test_inherit(void) {
        inherit("qemu", SOCK_STREAM, NULL);
        inherit("bess", SOCK_SEQPACKET, NULL);
        inherit("vpnkit", SOCK_STREAM, "POST /connect HTTP/1.1\r\n\r\n");
}

/* What cannot be handed on: nobody there, a greeting under way, a frame that does not end, a socket that listens itself. */
static void test_leave_refused(void) {
        static const struct {
                const char *kind, *said;
                int type, n;
        } cases[] = {
                { "qemu", NULL, SOCK_STREAM, 0 },
                { "vpnkit", "VMN3T", SOCK_STREAM, 5 },
                { "qemu", "\0\0\0\74abc", SOCK_STREAM, 7 },
                { "vfkit", "VFKT", SOCK_DGRAM, 4 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Rig r = {};
                int fd = -1;

                rig_listen(&r, cases[i].kind, 0);
                if (cases[i].said) {
                        fd = rig_dial(&r, cases[i].type);
                        rig_write(fd, cases[i].said, (size_t) cases[i].n);
                        for (int left = 1; left > 0; g_usleep(1000)) /* until the device has it */
                                g_assert_cmpint(ioctl(fd, SIOCOUTQ, &left), ==, 0);
                }
                rig_stop(&r);
                g_assert_cmpint(sock_leave(r.device), ==, -EBADF);
                if (fd >= 0)
                        (void) close(fd);
                rig_end(&r);
        }
}

static void test_handshake_in_time(void) {
        Rig r = {};

        if (!g_test_slow()) {
                g_test_skip("takes ten seconds");
                return;
        }
        rig_listen(&r, "vpnkit", 0);
        int fd = rig_dial(&r, SOCK_STREAM);
        rig_write(fd, "VMN", 3);
        g_usleep(SOCK_HANDSHAKE_USEC - 2 * USEC_PER_SEC);
        g_assert_cmpuint(rig_get(&r, &r.n_down), ==, 0);
        rig_wait(&r, &r.n_down, 1);
        g_assert_cmpint(r.error, ==, -ETIMEDOUT);
        g_assert_true(rig_at_end(fd));
        (void) close(fd);
        rig_end(&r);
}

/* A guest is handed on between frames too; not while one to it is half sent, for the next process would begin amid it. */
static void test_leave(void) {
        g_autofree uint8_t *bytes = g_malloc(4 + FRAMING_FRAME_MAX);
        Rig r = {};

        rig_listen(&r, "qemu", 0);
        int fd = rig_dial(&r, SOCK_STREAM);
        rig_write(fd, bytes, rig_frame(bytes, true, 60, 7));
        rig_wait(&r, &r.n_frames, 1);
        rig_stop(&r);
        g_assert_cmpint(sock_leave(r.device), >=, 0);

        rig_begin(&r);
        while (rig_send(&r, 1, FRAMING_FRAME_MAX, 1) == 1)
                ;
        rig_stop(&r);
        g_assert_cmpint(sock_leave(r.device), ==, -EBADF);
        while (recv(fd, bytes, FRAMING_FRAME_MAX, MSG_DONTWAIT) > 0)
                ;
        g_assert_cmpint(sock_leave(r.device), >=, 0);
        (void) close(fd);
        rig_end(&r);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/sock/listen", test_listen);
        g_test_add_func("/sock/refused", test_refused);
        g_test_add_func("/sock/takeover", test_takeover);
        g_test_add_func("/sock/connect", test_connect);
        g_test_add_func("/sock/connect-without-memory", test_connect_without_memory);
        g_test_add_func("/sock/descriptor", test_descriptor);
        g_test_add_func("/sock/pair", test_pair);
        g_test_add_func("/sock/move", test_move);
        g_test_add_func("/sock/left-unseen", test_left_unseen);
        g_test_add_func("/sock/inherit", test_inherit);
        g_test_add_func("/sock/leave", test_leave);
        g_test_add_func("/sock/leave-refused", test_leave_refused);
        g_test_add_func("/sock/handshake-in-time", test_handshake_in_time);
        return g_test_run();
}
