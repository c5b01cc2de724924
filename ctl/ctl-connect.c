/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vnetctl connect HOST PORT, and listen PORT for the first guest that comes: stdin goes to the guest, what it says to stdout. The end
 * of stdin is passed on, and the end of the guest's stream is the end of the command: so it serves as ProxyCommand of ssh.
 */

#include "ctl-connect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "basic/parse.h"
#include "ctl-client.h"

#define CHUNK (64 * 1024)

/* One direction. */
typedef struct Pump {
        int from, to;
        bool eof;  /* of @from */
        bool over; /* and passed on */
        size_t off, len;
        char buf[CHUNK];
} Pump;

/* Reads or writes once, as poll() has allowed. 0, 1 when it is over, negative errno. */
static int pump_step(Pump *p, bool readable, bool writable) {
        ssize_t n;

        if (p->len > 0 && writable) {
                n = write(p->to, p->buf + p->off, p->len);
                if (n < 0)
                        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
                p->off += (size_t) n;
                p->len -= (size_t) n;
        } else if (p->len == 0 && !p->eof && readable) {
                n = read(p->from, p->buf, sizeof(p->buf));
                if (n < 0 && errno != ECONNRESET)
                        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
                p->off = 0;
                p->len = n > 0 ? (size_t) n : 0;
                p->eof = n <= 0;
        }
        p->over = p->eof && p->len == 0;
        return 0;
}

static int run(int fd) {
        Pump *up = calloc(1, sizeof(*up)), *down = calloc(1, sizeof(*down));
        int r = up && down ? 0 : -ENOMEM;

        if (r == 0) {
                up->from = STDIN_FILENO;
                up->to = down->from = fd;
                down->to = STDOUT_FILENO;
        }
        while (r == 0 && !down->over) {
                struct pollfd fds[] = {
                        { .fd = !up->over && up->len == 0 && !up->eof ? STDIN_FILENO : -1, .events = POLLIN },
                        { .fd = fd, .events = (short) ((up->len > 0 ? POLLOUT : 0) | (down->len == 0 ? POLLIN : 0)) },
                        { .fd = down->len > 0 ? STDOUT_FILENO : -1, .events = POLLOUT },
                };
                bool was_over = up->over;

                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR) {
                        r = -errno;
                        break;
                }
                if (!up->over)
                        r = pump_step(up, fds[0].revents, fds[1].revents & (POLLOUT | POLLERR | POLLHUP));
                if (r == -EPIPE || r == -ECONNRESET) { /* the guest reads no more; what it has said is still to come */
                        up->eof = up->over = true;
                        up->len = 0;
                        r = 0;
                }
                if (up->over && !was_over)
                        (void) shutdown(fd, SHUT_WR);
                if (r == 0)
                        r = pump_step(down, fds[1].revents & (POLLIN | POLLHUP | POLLERR), fds[2].revents);
        }
        free(up);
        free(down);
        return r;
}

/* Asks the network meant for a descriptor. @ret_fd is (borrowed) of @ret, which is the caller's to unreference. */
static int ask_network(Ctl *c, const char *method, const char *what, sd_bus_message **ret, int *ret_fd, const char *types, ...) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_free_ char *path = NULL;
        va_list ap;
        int r;

        r = client_find_network(c, opt_value(c, OPT_NETWORK) ?: "default", &path);
        if (r != 0)
                return r;
        r = client_new_call(c, path, VNETD_NETWORK, method, &m);
        if (r != 0)
                return r;
        va_start(ap, types);
        r = sd_bus_message_appendv(m, types, ap);
        va_end(ap);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        r = client_call(c, m, what, ret);
        if (r != 0)
                return r;
        r = sd_bus_message_read(*ret, "h", ret_fd);
        return r < 0 ? fail_errno(r, "Failed to %s", what) : 0;
}

static int pass_on(int fd) {
        (void) signal(SIGPIPE, SIG_IGN);
        int r = run(fd);
        return r < 0 ? fail_errno(r, "Failed to pass bytes on") : CTL_OK;
}

int verb_connect(Ctl *c, int argc, char **argv) {
        _cleanup_(bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_close_ int own = -EBADF;
        char what[160];
        uint16_t port;
        int r, fd;

        if (parse_port(argv[1], &port) < 0)
                return fail_usage("Invalid port '%s'", argv[1]);
        (void) snprintf(what, sizeof(what), "connect to '%.100s' port %u", argv[0], port);
        r = ask_network(c, "Connect", what, &reply, &fd, "ssqa{sv}", opt_set(c, OPT_UDP) ? "udp" : "tcp", argv[0], port, 0);
        if (r != 0)
                return r;
        own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return own < 0 ? fail_errno(errno, "Failed to %s", what) : pass_on(own);
}

/* The first client's descriptor; owned by the caller. */
static int wait_for_client(int fd) {
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
        char guest[128];
        struct iovec iov = { guest, sizeof(guest) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        const struct cmsghdr *h;
        int client;
        ssize_t n;

        do
                n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        h = CMSG_FIRSTHDR(&m);
        if (n == 0 || !h || h->cmsg_type != SCM_RIGHTS || h->cmsg_len != CMSG_LEN(sizeof(int)))
                return -ECONNRESET;
        memcpy(&client, CMSG_DATA(h), sizeof(client));
        return client;
}

int verb_listen(Ctl *c, int argc, char **argv) {
        _cleanup_(bus_message_unrefp) sd_bus_message *reply = NULL; /* goes, with its descriptor and the port, when we do */
        _cleanup_close_ int client = -EBADF;
        char what[160];
        uint16_t port;
        int r, fd;

        if (parse_port(argv[0], &port) < 0)
                return fail_usage("Invalid port '%s'", argv[0]);
        (void) snprintf(what, sizeof(what), "listen on port %u of the gateway", port);
        r = ask_network(c, "Listen", what, &reply, &fd, "sqa{sv}", "tcp", port, 0);
        if (r != 0)
                return r;
        client = wait_for_client(fd);
        return client < 0 ? fail_errno(client, "Failed to %s", what) : pass_on(client);
}
