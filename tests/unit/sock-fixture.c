/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Socket devices under test: sock-fixture.h says what for. */

#include "sock-fixture.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- what the device says ---- */

static void on_receive(Device *d, Frame *frames, unsigned n, void *userdata) {
        Rig *r = userdata;

        pthread_mutex_lock(&r->lock);
        for (unsigned i = 0; i < n; i++) {
                g_byte_array_append(r->frames, (const guint8 *) &frames[i].len, sizeof(frames[i].len));
                for (unsigned k = 0; k < frames[i].n_iov; k++)
                        g_byte_array_append(r->frames, frames[i].iov[k].iov_base, (guint) frames[i].iov[k].iov_len);
        }
        r->flags = frames[n - 1].hdr.flags;
        r->n_frames += n;
        pthread_mutex_unlock(&r->lock);
}

static void on_event(Device *d, DeviceEvent event, int error, void *userdata) {
        Rig *r = userdata;

        pthread_mutex_lock(&r->lock);
        r->n_up += event == DEVICE_UP;
        r->n_down += event == DEVICE_DOWN;
        r->n_refused += event == DEVICE_REFUSED;
        if (event == DEVICE_DOWN)
                r->error = error;
        pthread_mutex_unlock(&r->lock);
}

static void on_gone(Device *d, int error, void *userdata) {
        Rig *r = userdata;

        pthread_mutex_lock(&r->lock);
        r->n_gone++;
        r->error = error;
        pthread_mutex_unlock(&r->lock);
}

static void on_writable(Device *d, void *userdata) {
        Rig *r = userdata;

        pthread_mutex_lock(&r->lock);
        r->n_writable++;
        pthread_mutex_unlock(&r->lock);
}

static const DeviceHandler handler = { .receive = on_receive, .event = on_event, .gone = on_gone, .writable = on_writable };

static void on_wake(void *userdata) {
        Rig *r = userdata;

        pthread_mutex_lock(&r->lock);
        r->n_wakes++;
        pthread_mutex_unlock(&r->lock);
}

/* ---- life ---- */

static int start_here(void *arg) {
        Rig *r = arg;

        return device_start(r->device, r->loop);
}

static int stop_here(void *arg) {
        device_stop(((Rig *) arg)->device);
        return 0;
}

void rig_begin(Rig *r) {
        if (!r->frames)
                r->frames = g_byte_array_new();
        r->device->handler = &handler;
        r->device->userdata = r;
        g_assert_cmpint(loop_new(&r->loop, "rig", on_wake, r), ==, 0);
        g_assert_cmpint(loop_call(r->loop, start_here, r), ==, 0);
}

void rig_listen(Rig *r, const char *kind, uint32_t mtu) {
        const char *what = "";

        r->dir = g_dir_make_tmp("vnetd-sock-XXXXXX", NULL);
        r->path = g_build_filename(r->dir, "s", NULL);
        int e = sock_new(&r->device, &(SockConfig){ .kind = kind, .name = "rig", .listen = r->path, .fd = -EBADF, .mtu = mtu }, &what);
        g_test_message("%s at %s: %d, %s", kind, r->path, e, what);
        g_assert_cmpint(e, ==, 0);
        rig_begin(r);
}

void rig_adopt(Rig *r, const char *kind, int fd) {
        g_assert_cmpint(sock_new(&r->device, &(SockConfig){ .kind = kind, .name = "rig", .fd = fd }, NULL), ==, 0);
        rig_begin(r);
}

void rig_stop(Rig *r) {
        g_assert_cmpint(loop_call(r->loop, stop_here, r), ==, 0);
        r->loop = loop_free(r->loop);
}

void rig_end(Rig *r) {
        if (r->loop)
                rig_stop(r);
        r->device = device_free(r->device);
        g_clear_pointer(&r->frames, g_byte_array_unref);
        if (r->dir)
                (void) g_rmdir(r->dir);
        g_free(r->dir);
        g_free(r->path);
        *r = (Rig){};
}

/* ---- looking at it ---- */

unsigned rig_get(Rig *r, const unsigned *what) {
        pthread_mutex_lock(&r->lock);
        unsigned n = *what;
        pthread_mutex_unlock(&r->lock);
        return n;
}

void rig_wait(Rig *r, const unsigned *what, unsigned n) {
        for (unsigned i = 0; rig_get(r, what) < n; i++) {
                g_assert_cmpuint(i, <, RIG_WAIT_MSEC);
                g_usleep(1000);
        }
}

uint64_t rig_drops(Rig *r, Drop reason) {
        return counter_read(&r->device->counters.drops[reason]);
}

typedef struct SendCall {
        Rig *rig;
        Frame *frames;
        unsigned n;
} SendCall;

static int send_here(void *arg) {
        SendCall *c = arg;

        return (int) device_send(c->rig->device, c->frames, c->n);
}

unsigned rig_send_frames(Rig *r, Frame *frames, unsigned n) {
        return (unsigned) loop_call(r->loop, send_here, &(SendCall){ r, frames, n });
}

unsigned rig_send(Rig *r, unsigned n, uint32_t len, uint8_t fill) {
        g_autofree uint8_t *bytes = g_malloc0((gsize) n * len);
        struct iovec iov[FRAME_BATCH_MAX];
        Frame frames[FRAME_BATCH_MAX];

        g_assert_cmpuint(n, <=, FRAME_BATCH_MAX);
        for (unsigned i = 0; i < n; i++) {
                iov[i] = (struct iovec){ bytes + (size_t) i * len, len };
                (void) rig_frame(iov[i].iov_base, false, len, (uint8_t) (fill + i));
                frames[i] = (Frame){ .iov = &iov[i], .n_iov = 1, .len = len };
        }
        return rig_send_frames(r, frames, n);
}

/* ---- the guest's end ---- */

static void set_timeout(int fd) {
        struct timeval tv = { .tv_sec = RIG_WAIT_MSEC / 1000 };

        g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), ==, 0);
        g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)), ==, 0);
}

void rig_pair(int type, int pair[2]) {
        g_assert_cmpint(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), ==, 0);
        set_timeout(pair[1]);
}

int rig_dial(Rig *r, int type) {
        static unsigned n;
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        g_assert_cmpint(fd, >=, 0);
        set_timeout(fd);
        if (type == SOCK_DGRAM) { /* a name in no directory */
                (void) g_snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "vnetd-rig-%d-%u", (int) getpid(), n++);
                g_assert_cmpint(bind(fd, (struct sockaddr *) &un, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + strlen(un.sun_path + 1))),
                                ==, 0);
        }
        (void) g_strlcpy(un.sun_path, r->path, sizeof(un.sun_path));
        g_assert_cmpint(connect(fd, (struct sockaddr *) &un, sizeof(un)), ==, 0);
        return fd;
}

void rig_write(int fd, const void *bytes, size_t len) {
        g_assert_cmpint(sendto(fd, bytes, len, MSG_NOSIGNAL, NULL, 0), ==, len);
}

size_t rig_frame(uint8_t *buf, bool header, uint32_t len, uint8_t fill) {
        static const uint8_t eth[ETH_HEADER_LEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 };
        size_t n = header ? framing_put_header(FRAMING_QEMU, len, buf) : 0;

        memset(buf + n, fill, len);
        memcpy(buf + n, eth, MIN(len, sizeof(eth)));
        return n + len;
}

bool rig_at_end(int fd) {
        uint8_t bytes[4096];
        ssize_t n;

        while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {}
        return n == 0 || errno == ECONNRESET;
}
