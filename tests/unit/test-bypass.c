/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A connection that goes past the gateway, on a loop of its own: its bytes, and that they do not stand still without memory. */

#include <fcntl.h>
#include <glib.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "basic/lend.h"
#include "daemon/bypass.h"

#define GUEST 1 /* its port of the switch */
#define PATIENCE_MSEC 10000

static bool no_memory; /* while set, no timer queue can grow */

void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

void *__wrap_reallocarray(void *p, size_t n, size_t size) {
        return __atomic_load_n(&no_memory, __ATOMIC_ACQUIRE) ? NULL : __real_reallocarray(p, n, size);
}

typedef struct Fixture {
        Loop *loop;
        Bypass *bypass;
        Timer timers[256];
        int listener; /* (owned) the guest's service */
        int near;     /* the bypass's end of the client's connection */
        HostBypass what;
        size_t said;  /* by the client, before it was open */
        int n_moved, n_ended, n_failed; /* counted by the loop's thread */
} Fixture;

static void on_moved(void *userdata, const HostBypass *what, uint64_t rx, uint64_t tx) {
        __atomic_add_fetch(&((Fixture *) userdata)->n_moved, 1, __ATOMIC_RELEASE);
}

static void on_ended(void *userdata, const HostBypass *what) {
        __atomic_add_fetch(&((Fixture *) userdata)->n_ended, 1, __ATOMIC_RELEASE);
}

static void on_failed(void *userdata, const HostBypass *what, int fd) {
        (void) close(fd);
        __atomic_add_fetch(&((Fixture *) userdata)->n_failed, 1, __ATOMIC_RELEASE);
}

static const BypassHandler handler = { .moved = on_moved, .ended = on_ended, .failed = on_failed };

/* A lender of one socket, which is this process. */
static Lender *lender_of_one(void) {
        int fds[] = { (int) syscall(SYS_pidfd_open, getpid(), 0), socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP) };
        char control[CMSG_SPACE(sizeof(fds))] = {}, byte = LEND_BYTE;
        struct iovec iov = { &byte, 1 };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        const char *what;
        int pair[2];
        Lender *l;

        *CMSG_FIRSTHDR(&m) = (struct cmsghdr){ CMSG_LEN(sizeof(fds)), SOL_SOCKET, SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, sizeof(fds));
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
        g_assert_cmpint(sendmsg(pair[0], &m, 0), ==, 1);
        g_assert_cmpint(lender_receive(&l, pair[1], &what), ==, 0);
        for (unsigned i = 0; i < 2; i++) {
                (void) close(fds[i]);
                (void) close(pair[i]);
        }
        return l;
}

static int do_begin(void *arg) {
        Fixture *f = arg;

        g_assert_cmpint(bypass_new(&f->bypass, f->loop, &handler, f), ==, 0);
        return bypass_add_lender(f->bypass, GUEST, lender_of_one());
}

static int do_open(void *arg) {
        Fixture *f = arg;

        return bypass_open(f->bypass, GUEST, &f->what, f->near);
}

/* From now on no timer finds a place that was not held for it. */
static int do_fill(void *arg) {
        Fixture *f = arg;
        unsigned i = 0;

        __atomic_store_n(&no_memory, true, __ATOMIC_RELEASE);
        for (; i < G_N_ELEMENTS(f->timers); i++) {
                timer_init(&f->timers[i], NULL);
                if (timer_set(loop_timers(f->loop), &f->timers[i], USEC_INFINITY - 1) < 0)
                        return 0;
        }
        return -EOVERFLOW;
}

static int do_end(void *arg) {
        Fixture *f = arg;

        f->bypass = bypass_free(f->bypass);
        return 0;
}

static void set_up(Fixture *f, gconstpointer data) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(sa);

        f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(bind(f->listener, (struct sockaddr *) &sa, len), ==, 0);
        g_assert_cmpint(listen(f->listener, 1), ==, 0);
        g_assert_cmpint(getsockname(f->listener, (struct sockaddr *) &sa, &len), ==, 0);
        g_assert_cmpint(endpoint_from_sockaddr((struct sockaddr *) &sa, len, &f->what.guest), ==, 0);
        g_assert_cmpint(loop_new(&f->loop, "test", NULL, NULL), ==, 0);
        g_assert_cmpint(loop_call(f->loop, do_begin, f), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data) {
        __atomic_store_n(&no_memory, false, __ATOMIC_RELEASE);
        g_assert_cmpint(loop_call(f->loop, do_end, f), ==, 0);
        f->loop = loop_free(f->loop);
        (void) close(f->listener);
}

/* A client on a Unix socket. */
static int unix_client(Fixture *f) {
        int pair[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), ==, 0);
        f->near = pair[1];
        return pair[0];
}

/* One on a TCP socket of this host, with as much said as the kernel holds. */
static int tcp_client(Fixture *f) {
        static const char buf[256 * 1024];
        struct sockaddr_storage sa;
        socklen_t len = endpoint_to_sockaddr(&f->what.guest, &sa);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(connect(fd, (struct sockaddr *) &sa, len), ==, 0);
        f->near = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        g_assert_cmpint(f->near, >=, 0);
        g_assert_cmpint(fcntl(fd, F_SETFL, O_NONBLOCK), ==, 0);
        f->what.client = (Endpoint){ f->what.guest.addr, 1 };
        f->said = 0;
        for (ssize_t k; (k = send(fd, buf, sizeof(buf), MSG_NOSIGNAL)) > 0;)
                f->said += (size_t) k;
        return fd;
}

/* Returns the guest's end. */
static int open_bypass(Fixture *f) {
        struct pollfd p = { .fd = f->listener, .events = POLLIN };
        int fd;

        g_assert_cmpint(loop_call(f->loop, do_open, f), ==, 0);
        g_assert_cmpint(poll(&p, 1, PATIENCE_MSEC), ==, 1);
        fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        g_assert_cmpint(fd, >=, 0);
        return fd;
}

/* @n bytes from @from, which has @sent of them, to @to, and its end; false when nothing has moved for long. */
static bool stream(int from, int to, size_t sent, size_t n) {
        static char buf[256 * 1024];
        size_t got = 0;

        for (;;) {
                struct pollfd p[] = { { .fd = sent < n ? from : -1, .events = POLLOUT }, { .fd = to, .events = POLLIN } };
                ssize_t k;

                if (poll(p, 2, PATIENCE_MSEC) <= 0)
                        return false;
                if (sent < n && (k = send(from, buf, MIN(sizeof(buf), n - sent), MSG_NOSIGNAL)) > 0) {
                        sent += (size_t) k;
                        if (sent == n)
                                g_assert_cmpint(shutdown(from, SHUT_WR), ==, 0);
                }
                k = recv(to, buf, sizeof(buf), 0);
                got += k > 0 ? (size_t) k : 0;
                if (k == 0)
                        return got == n;
        }
}

static void wait_for(const int *counter, int n) {
        for (unsigned i = 0; i < PATIENCE_MSEC && __atomic_load_n(counter, __ATOMIC_ACQUIRE) < n; i++)
                g_usleep(1000);
        g_assert_cmpint(__atomic_load_n(counter, __ATOMIC_ACQUIRE), ==, n);
}

static void test_both_ways(Fixture *f, gconstpointer data) {
        int client = unix_client(f), guest = open_bypass(f);

        g_assert_true(stream(client, guest, 0, 3000000));
        g_assert_true(stream(guest, client, 0, 3000000));
        wait_for(&f->n_ended, 1);
        g_assert_cmpint(f->n_failed, ==, 0);
        (void) close(client);
        (void) close(guest);
}

/* What one turn leaves behind waits for the next, and no event brings that: the timer that does has its place from the beginning. Whether a
 * turn leaves something is a matter of the kernel's buffers and who runs when: hence the rounds. */
static void test_without_memory(Fixture *f, gconstpointer data) {
        g_assert_cmpint(loop_call(f->loop, do_fill, f), ==, 0);
        for (int i = 1; i <= 8; i++) {
                int client = tcp_client(f), guest = open_bypass(f);

                g_assert_true(stream(client, guest, f->said, 64 * 1024 * 1024));
                g_assert_true(stream(guest, client, 0, 64 * 1024 * 1024));
                wait_for(&f->n_ended, i);
                (void) close(client);
                (void) close(guest);
        }
}

/* Where nothing listens the client's socket comes back. */
static void test_refused(Fixture *f, gconstpointer data) {
        int client = unix_client(f);

        f->listener = safe_close(f->listener);
        g_assert_cmpint(loop_call(f->loop, do_open, f), ==, 0);
        wait_for(&f->n_failed, 1);
        g_assert_cmpint(f->n_ended, ==, 0);
        (void) close(client);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/bypass/" name, Fixture, NULL, set_up, fn, tear_down)
        ADD("both-ways", test_both_ways);
        ADD("without-memory", test_without_memory);
        ADD("refused", test_refused);
        return g_test_run();
}
