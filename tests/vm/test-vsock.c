/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Socket devices over AF_VSOCK, by its loopback (CID 1): listening and connecting, frames both ways, a machine that goes and comes. */

#include <errno.h>
#include <glib.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/sock.h"

#define PORT 1024
#define FRAME_LEN 1514
#define WAIT_MSEC 60000 /* against hanging alone */

typedef struct Seen {
        GMutex lock;
        unsigned n_frames, n_up, n_down;
        uint64_t n_bytes;
} Seen;

static void on_receive(Device *d, Frame *frames, unsigned n, void *userdata) {
        Seen *s = userdata;

        g_mutex_lock(&s->lock);
        s->n_frames += n;
        for (unsigned i = 0; i < n; i++)
                s->n_bytes += frames[i].len;
        g_mutex_unlock(&s->lock);
}

static void on_event(Device *d, DeviceEvent event, int error, void *userdata) {
        Seen *s = userdata;

        g_mutex_lock(&s->lock);
        s->n_up += event == DEVICE_UP;
        s->n_down += event == DEVICE_DOWN;
        g_mutex_unlock(&s->lock);
}

static const DeviceHandler handler = { .receive = on_receive, .event = on_event };

static unsigned get(Seen *s, const unsigned *what) {
        g_mutex_lock(&s->lock);
        unsigned n = *what;
        g_mutex_unlock(&s->lock);
        return n;
}

static void wait_for(Seen *s, const unsigned *what, unsigned n) {
        for (unsigned i = 0; get(s, what) < n; i++) {
                g_assert_cmpuint(i, <, WAIT_MSEC);
                g_usleep(1000);
        }
}

static void skip_without_vsock(void) {
        int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
        struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL, .svm_port = 1 };

        if (fd < 0 || (connect(fd, (struct sockaddr *) &a, sizeof(a)) < 0 && errno != ECONNRESET && errno != ECONNREFUSED)) {
                g_print("1..0 # SKIP no vsock loopback: %s\n", g_strerror(errno));
                exit(77);
        }
        (void) close(fd);
}

static int dial(void) {
        struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL, .svm_port = PORT };
        int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(connect(fd, (struct sockaddr *) &a, sizeof(a)), ==, 0);
        return fd;
}

static void write_frames(int fd, const uint8_t *header, size_t n_header, unsigned n) {
        uint8_t bytes[4 + FRAME_LEN] = {};

        memcpy(bytes, header, n_header);
        memset(bytes + n_header, 0xff, 6);
        bytes[n_header + 6] = 2;
        for (unsigned i = 0; i < n; i++)
                g_assert_cmpint(send(fd, bytes, n_header + FRAME_LEN, MSG_NOSIGNAL), ==, n_header + FRAME_LEN);
}

typedef struct Running {
        Seen seen;
        Loop *loop;
        Device *device;
} Running;

static int start_here(void *arg) {
        Running *r = arg;

        return device_start(r->device, r->loop);
}

static int stop_here(void *arg) {
        device_stop(((Running *) arg)->device);
        return 0;
}

static int send_here(void *arg) {
        static uint8_t bytes[FRAME_LEN];
        Running *r = arg;
        struct iovec iov = { bytes, sizeof(bytes) };
        Frame frames[8];

        for (unsigned i = 0; i < G_N_ELEMENTS(frames); i++)
                frames[i] = (Frame){ .iov = &iov, .n_iov = 1, .len = sizeof(bytes) };
        return (int) device_send(r->device, frames, G_N_ELEMENTS(frames));
}

static void begin(Running *r, const char *kind, const char *listen) {
        const char *what = "";
        int e = sock_new(&r->device, &(SockConfig){ .kind = kind, .name = "v", .listen = listen, .fd = -EBADF }, &what);

        g_test_message("%s: %s", kind, what);
        g_assert_cmpint(e, ==, 0);
        g_assert_cmpint(loop_new(&r->loop, "v", NULL, NULL), ==, 0);
        r->device->handler = &handler;
        r->device->userdata = &r->seen;
        g_assert_cmpint(loop_call(r->loop, start_here, r), ==, 0);
}

static void end(Running *r) {
        g_assert_cmpint(loop_call(r->loop, stop_here, r), ==, 0);
        loop_free(r->loop);
        device_free(r->device);
}

static void read_frames(int fd, unsigned n, size_t n_header) {
        g_autofree uint8_t *bytes = g_malloc(n_header + FRAME_LEN);

        for (unsigned i = 0; i < n; i++)
                g_assert_cmpint(recv(fd, bytes, n_header + FRAME_LEN, MSG_WAITALL), ==, n_header + FRAME_LEN);
}

static void test_qemu(void) {
        static const uint8_t header[4] = { 0, 0, FRAME_LEN >> 8, FRAME_LEN & 0xff };
        Running r = {};

        begin(&r, "qemu", "vsock::1024");
        for (unsigned life = 1; life <= 3; life++) {
                int fd = dial();

                wait_for(&r.seen, &r.seen.n_up, life);
                write_frames(fd, header, 4, 1000);
                wait_for(&r.seen, &r.seen.n_frames, life * 1000);
                g_assert_cmpint(loop_call(r.loop, send_here, &r), ==, 8);
                read_frames(fd, 8, 4);
                (void) close(fd);
                wait_for(&r.seen, &r.seen.n_down, life);
        }
        g_assert_cmpuint(r.seen.n_bytes, ==, 3 * 1000 * FRAME_LEN);
        end(&r);
}

static void test_gvforwarder(void) {
        static const uint8_t header[2] = { FRAME_LEN & 0xff, FRAME_LEN >> 8 };
        static const char request[] = "POST /connect HTTP/1.1\r\n\r\n";
        Running r = {};
        int fd;

        begin(&r, "vpnkit", "vsock://any:1024");
        fd = dial();
        g_assert_cmpint(send(fd, request, sizeof(request) - 1, 0), ==, sizeof(request) - 1);
        wait_for(&r.seen, &r.seen.n_up, 1);
        write_frames(fd, header, 2, 1000);
        wait_for(&r.seen, &r.seen.n_frames, 1000);
        g_assert_cmpint(loop_call(r.loop, send_here, &r), ==, 8);
        read_frames(fd, 8, 2);
        (void) close(fd);
        end(&r);
}

static void test_connect(void) {
        struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = PORT };
        int listener = socket(AF_VSOCK, SOCK_STREAM, 0), fd;
        const char *what = "";
        Running r = {};

        g_assert_cmpint(bind(listener, (struct sockaddr *) &a, sizeof(a)), ==, 0);
        g_assert_cmpint(listen(listener, 1), ==, 0);
        g_assert_cmpint(sock_new(&r.device, &(SockConfig){ .kind = "qemu", .name = "v", .connect = "vsock:1:1024", .fd = -EBADF }, &what), ==, 0);
        g_assert_cmpint(loop_new(&r.loop, "v", NULL, NULL), ==, 0);
        r.device->handler = &handler;
        r.device->userdata = &r.seen;
        g_assert_cmpint(loop_call(r.loop, start_here, &r), ==, 0);
        fd = accept(listener, NULL, NULL);
        g_assert_cmpint(fd, >=, 0);
        wait_for(&r.seen, &r.seen.n_up, 1);
        g_assert_cmpint(loop_call(r.loop, send_here, &r), ==, 8);
        read_frames(fd, 8, 4);
        (void) close(fd);
        (void) close(listener);
        end(&r);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        skip_without_vsock();
        g_test_add_func("/vsock/qemu", test_qemu);
        g_test_add_func("/vsock/gvforwarder", test_gvforwarder);
        g_test_add_func("/vsock/connect", test_connect);
        return g_test_run();
}
