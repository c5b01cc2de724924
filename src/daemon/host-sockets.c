/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HostOps on real sockets. What it never does: decide. It translates calls, addresses and readiness, nothing else.
 *
 * Every socket is watched once, edge-triggered, in the loop's fast lane, and modified only to see past urgent data and when it was full. A small
 * record per descriptor carries the cookie and where the kernel's peek position stands (SO_PEEK_OFF), so that setting it is a system call only when the gateway jumps.
 *
 * SO_PEEK_OFF for TCP came with Linux 6.9; it is probed on the first socket that needs it. Without it a peek begins at the queue's
 * head and skips what is in flight into a scratch buffer: slower, same behaviour.
 */

#include "daemon/host-raw.h"
#include "daemon/host-sockets-private.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>

#define TRIM_MIN 1024 /* sockets: when of so many, or more, few are left, the heap is given back */
#define PEEK_IOV_MAX 1024 /* UIO_MAXIOV */
#define WAITING_MUCH (512 * 1024)       /* peeked bytes in a receive queue, after which it is given room */
#define WAITING_ROOM (4 * 1024 * 1024) /* for so many */

/* ---- descriptors ---- */

HostSocket *host_socket_find(HostSockets *h, int fd) {
        HostSocket **page = fd >= 0 && (size_t) fd / PAGE_FDS < ELEMENTSOF(h->pages) ? h->pages[fd / PAGE_FDS] : NULL;
        return page ? page[fd % PAGE_FDS] : NULL;
}

/* The record of a descriptor, made when there is none. NULL: out of memory, or a number beyond the table. */
static HostSocket *get(HostSockets *h, int fd) {
        if ((size_t) fd / PAGE_FDS >= ELEMENTSOF(h->pages))
                return NULL;
        HostSocket ***page = &h->pages[fd / PAGE_FDS];
        if (!*page && !(*page = calloc(PAGE_FDS, sizeof(**page))))
                return NULL;
        HostSocket **s = &(*page)[fd % PAGE_FDS];
        if (!*s && (*s = calloc(1, sizeof(**s)))) {
                (*s)->owner = h;
                h->n_peak = MAX(h->n_peak, ++h->n_open);
                (*s)->io.fd = -EBADF;
        }
        return *s;
}

static void forget(HostSockets *h, int fd) {
        free(host_socket_find(h, fd));
        h->pages[fd / PAGE_FDS][fd % PAGE_FDS] = NULL;
        if (--h->n_open > h->n_peak / 16 || h->n_peak < TRIM_MIN)
                return;
        h->n_peak = h->n_open;
        (void) malloc_trim(0);
}

/* Urgent data stays in its place in the stream (RFC 6093 5). Asked for when there is some: hardly any connection ever has. */
static void on_urgent(HostSocket *s) {
        if (!s->is_urgent)
                (void) sockopt_set_int(s->io.fd, SOL_SOCKET, SO_OOBINLINE, 1);
        s->is_urgent = true;
}

static void on_event(LoopIo *io, uint32_t events) {
        HostSocket *s = CONTAINER_OF(io, HostSocket, io);
        if (unlikely(events & EPOLLPRI))
                on_urgent(s);
        uint32_t e = ((events & EPOLLIN) ? HOST_EVENT_IN : 0) | ((events & EPOLLOUT) ? HOST_EVENT_OUT : 0) |
                     ((events & EPOLLHUP) ? HOST_EVENT_HUP : 0) | ((events & EPOLLERR) ? HOST_EVENT_ERROR : 0) |
                     ((events & EPOLLRDHUP) ? HOST_EVENT_RDHUP : 0);
        s->owner->handler->event(s->owner->userdata, s->cookie, e);
}

static int watch(HostSockets *h, int fd, uint64_t cookie, uint32_t events) {
        HostSocket *s = get(h, fd);
        if (!s)
                return -ENOMEM;
        s->cookie = cookie;
        s->waits = s->waits || events & EPOLLOUT;
        int r = loop_add(h->loop, &s->io, fd, s->waits ? events | EPOLLOUT : events, on_event);
        if (r < 0)
                forget(h, fd); /* it stays the caller's */
        return r;
}

static int host_watch(void *userdata, int fd, uint64_t cookie) {
        return watch(userdata, fd, cookie, host_cookie_kind(cookie) == HOST_KIND_LISTENER ? DGRAM_EVENTS : STREAM_EVENTS);
}

static void host_close(void *userdata, int fd, bool reset) {
        HostSockets *h = userdata;
        HostSocket *s = host_socket_find(h, fd);
        if (reset) {
                struct linger l = { .l_onoff = 1 };
                (void) setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
        }
        if (s && s->is_own && s->io.fd >= 0)
                loop_close(h->loop, &s->io);
        else {
                if (s)
                        loop_remove(h->loop, &s->io); /* closing alone may not do: see loop.h */
                (void) close(fd);
        }
        if (s)
                forget(h, fd);
}

int host_sockets_new(HostSockets **ret, Loop *loop, const HostSocketsHandler *handler, void *userdata, bool no_peek_offset) {
        HostSockets *h = calloc(1, sizeof(*h));
        if (!h)
                return -ENOMEM;
        h->loop = loop;
        h->handler = handler;
        h->userdata = userdata;
        h->no_peek_offset = no_peek_offset;
        h->raw_fds[0] = host_raw_open(/* v4= */ true);
        h->raw_fds[1] = host_raw_open(/* v4= */ false);
        *ret = h;
        return 0;
}

void host_sockets_set_source(HostSockets *h, const HostSource *source) {
        h->source = *source;
        h->has_source = !ip_is_null(&source->v4) || !ip_is_null(&source->v6) || source->ifname[0] != 0;
}

HostSockets *host_sockets_free(HostSockets *h) {
        if (!h)
                return NULL;
        for (size_t p = 0; p < ELEMENTSOF(h->pages); p++) {
                for (int i = 0; h->pages[p] && i < PAGE_FDS; i++)
                        if (h->pages[p][i])
                                host_close(h, (int) p * PAGE_FDS + i, /* reset= */ false);
                free(h->pages[p]);
        }
        (void) safe_close(h->raw_fds[0]);
        (void) safe_close(h->raw_fds[1]);
        free(h);
        return NULL;
}

int host_socket_adopt(HostSockets *h, int fd, uint64_t cookie, uint32_t events, int *ret_fd) {
        int r = watch(h, fd, cookie, events);
        if (r < 0) {
                host_close(h, fd, /* reset= */ false);
                return r;
        }
        *ret_fd = fd;
        return 0;
}

/* ---- the world beside sockets ---- */

static usec_t host_now(void *userdata) {
        return loop_now(((HostSockets *) userdata)->loop);
}

static void host_random(void *userdata, void *buf, size_t len) {
        uint8_t *p = buf;
        while (len > 0) { /* blocks only before the kernel's pool is ready, at boot */
                ssize_t n = getrandom(p, len, 0);
                if (n > 0) {
                        p += n;
                        len -= (size_t) n;
                }
        }
}

static unsigned host_output(void *userdata, Frame *frames, unsigned n) {
        HostSockets *h = userdata;
        return h->handler->output(h->userdata, frames, n);
}

static size_t host_room(void *userdata, uint32_t port) {
        HostSockets *h = userdata;
        return h->handler->room ? h->handler->room(h->userdata, port) : SIZE_MAX;
}

static void host_lease_changed(void *userdata, const Lease *lease, bool added) {
        HostSockets *h = userdata;
        h->handler->lease_changed(h->userdata, lease, added);
}

/* ---- TCP ---- */

static void limit_hops(int fd, int family, uint8_t ttl) {
        bool v4 = family == AF_INET;
        int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
        (void) sockopt_set_int(fd, level, v4 ? IP_TTL : IPV6_UNICAST_HOPS, ttl);
        (void) sockopt_set_int(fd, level, v4 ? IP_RECVERR : IPV6_RECVERR, 1);
}

static void host_tcp_set_tos(void *userdata, int fd, uint8_t tos) {
        if (sockopt_set_int(fd, IPPROTO_IPV6, IPV6_TCLASS, tos) < 0)
                (void) sockopt_set_int(fd, IPPROTO_IP, IP_TOS, tos); /* fails too for a service's stream, which has no packets */
}

/* A port is chosen at connect(), when both ends are known: more connections than there are ports can have one source. */
static int bind_source(const HostSockets *h, int fd, const Endpoint *dst) {
        Endpoint local = { .addr = *host_source_for(h, &dst->addr) };
        struct sockaddr_storage sa;
        socklen_t len;

        if (!host_leaves(h, &dst->addr))
                return 0;
        if (h->source.ifname[0] && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, h->source.ifname, strlen(h->source.ifname)) < 0)
                return errno == ENODEV ? -ENETUNREACH : -errno;
        if (ip_is_null(&local.addr))
                return 0;
        (void) sockopt_set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        len = endpoint_to_sockaddr(&local, &sa);
        if (bind(fd, (struct sockaddr *) &sa, len) < 0)
                return errno == EADDRNOTAVAIL ? -ENETUNREACH : -errno; /* the host does not have it now */
        return 0;
}

static int host_tcp_connect(void *userdata, const Endpoint *dst, const HostConnect *how, uint64_t cookie, int *ret_fd) {
        const HostSockets *h = userdata;
        struct sockaddr_storage sa;
        socklen_t len = endpoint_to_sockaddr(dst, &sa);
        _cleanup_close_ int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (how->ttl)
                limit_hops(fd, sa.ss_family, how->ttl);
        if (how->tos)
                host_tcp_set_tos(userdata, fd, how->tos);
        if (h->has_source) {
                int r = bind_source(h, fd, dst);
                if (r < 0)
                        return r;
        }
        if (connect(fd, (struct sockaddr *) &sa, len) < 0 && errno != EINPROGRESS)
                return -errno;
        bool connected = false;
        if (how->at_once && ip_classify(&dst->addr) == IP_CLASS_LOOPBACK) { /* most often it has answered by now, and to ask is less than to wait */
                connected = connect(fd, (struct sockaddr *) &sa, len) >= 0;
                if (!connected && errno != EALREADY)
                        return -errno;
        }
        int r = host_socket_adopt(userdata, TAKE_FD(fd), cookie, connected ? STREAM_EVENTS : STREAM_EVENTS_WAITING, ret_fd);
        if (r < 0)
                return r;
        host_socket_find(userdata, *ret_fd)->is_own = true;
        return connected;
}

static int host_tcp_result(void *userdata, int fd) {
        int error = 0;
        int r = sockopt_get_int(fd, SOL_SOCKET, SO_ERROR, &error);

        return r < 0 ? r : -error;
}

static int host_tcp_accept(void *userdata, int listen_fd, int *ret_fd, Endpoint *ret_peer, Endpoint *ret_local) {
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        _cleanup_close_ int fd = accept4(listen_fd, (struct sockaddr *) &sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        if (sa.ss_family == AF_UNIX) { /* who that is has no address */
                *ret_peer = (Endpoint){};
                int r = host_sockets_adopt_stream(userdata, fd);
                if (r >= 0)
                        *ret_fd = TAKE_FD(fd);
                return r;
        }
        int r = endpoint_from_sockaddr((struct sockaddr *) &sa, len, ret_peer);
        if (r < 0)
                return r;
        if (ret_local) {
                len = sizeof(sa);
                if (getsockname(fd, (struct sockaddr *) &sa, &len) < 0)
                        return -errno;
                r = endpoint_from_sockaddr((struct sockaddr *) &sa, len, ret_local);
                if (r < 0)
                        return r;
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Nagle has nothing to wait for at the first send, and the guest has done its own waiting before any other: many a connection never needs
 * the system call that turns it off. */
static void before_send(HostSocket *s) {
        if (s->sent && !s->no_delay && !s->is_unix) {
                (void) sockopt_set_int(s->io.fd, IPPROTO_TCP, TCP_NODELAY, 1);
                s->no_delay = true;
        }
        s->sent = true;
}

/* It was full: an event is to tell when there is room again. There may be by now, and then one does at once. */
static void wait_for_room(HostSockets *h, HostSocket *s) {
        if (s->waits)
                return;
        s->waits = true;
        if (s->io.fd >= 0)
                (void) loop_modify(h->loop, &s->io, STREAM_EVENTS_WAITING);
}

static ssize_t host_send(void *userdata, int fd, const struct iovec *iov, unsigned n_iov) {
        HostSockets *h = userdata;
        HostSocket *s = host_socket_find(h, fd);
        struct msghdr m = { .msg_iov = (struct iovec *) iov, .msg_iovlen = n_iov };
        size_t len = 0;
        ssize_t n;
        if (!s)
                return -EBADF;
        before_send(s);
        for (unsigned i = 0; i < n_iov; i++)
                len += iov[i].iov_len;
        if (n_iov == 1) /* the kernel has less to look at */
                n = send(fd, iov->iov_base, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        else
                n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
                return -errno;
        if (n < (ssize_t) len)
                wait_for_room(h, s);
        return n < 0 ? -EAGAIN : n;
}

static ssize_t peek_here(int fd, const struct iovec *iov, unsigned n_iov) {
        struct msghdr m = { .msg_iov = (struct iovec *) iov, .msg_iovlen = n_iov };
        ssize_t n = n_iov == 1 ? recv(fd, iov->iov_base, iov->iov_len, MSG_PEEK | MSG_DONTWAIT) : recvmsg(fd, &m, MSG_PEEK | MSG_DONTWAIT);
        return n < 0 ? -errno : n;
}

/* Has the far end said all it will? Once it has, no more bytes come. */
static int stream_is_over(int fd) {
        struct tcp_info info;
        socklen_t len = sizeof(info);
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
                return -errno;
        switch (info.tcpi_state) {
        case TCP_CLOSE_WAIT:
        case TCP_LAST_ACK:
        case TCP_CLOSING:
        case TCP_TIME_WAIT:
        case TCP_CLOSE:
                return true;
        default:
                return false;
        }
}

/* Without a peek position: everything before @position goes to the scratch buffer, again and again. */
static ssize_t peek_skipping(HostSockets *h, int fd, size_t position, const struct iovec *iov, unsigned n_iov) {
        struct iovec all[PEEK_IOV_MAX];
        unsigned n = 0;
        size_t skip = position;
        for (; skip > 0 && n < PEEK_IOV_MAX - n_iov; n++) {
                all[n] = (struct iovec){ h->scratch, MIN(skip, sizeof(h->scratch)) };
                skip -= all[n].iov_len;
        }
        if (skip > 0)
                return -EAGAIN; /* more in flight than a guest's window allows */
        memcpy(all + n, iov, n_iov * sizeof(*iov));
        ssize_t got = peek_here(fd, all, n + n_iov);
        if (got >= 0 && (size_t) got <= position) { /* nothing behind what is in flight: is that the end, or only all for now? */
                int r = stream_is_over(fd);
                if (r <= 0)
                        return r < 0 ? r : -EAGAIN;
                got = peek_here(fd, all, n + n_iov); /* the last bytes may have come in between */
                if (got >= 0 && (size_t) got <= position)
                        return host_tcp_result(h, fd); /* a reset, or 0: the end */
        }
        return got < 0 ? got : got - (ssize_t) position;
}

/* The kernel sizes a receive buffer by how much is taken from it at a time. What was peeked waits there for its guest, and would fill a buffer that is
 * large enough for what is discarded: its sender would stand still half of the time. The way to tell what is wanted without giving
 * up the kernel's own sizing, and its limit (half of tcp_rmem's), is a low-water mark, which is none again at once. */
static void make_room(HostSocket *s) {
        s->is_roomy = true;
        if (!s->is_unix && sockopt_set_int(s->io.fd, SOL_SOCKET, SO_RCVLOWAT, WAITING_ROOM) >= 0)
                (void) sockopt_set_int(s->io.fd, SOL_SOCKET, SO_RCVLOWAT, 1);
}

static ssize_t host_peek(void *userdata, int fd, size_t position, const struct iovec *iov, unsigned n_iov) {
        HostSockets *h = userdata;
        HostSocket *s = host_socket_find(h, fd);
        if (!s)
                return -EBADF;
        if (position >= WAITING_MUCH && !s->is_roomy)
                make_room(s);
        if (!s->has_peek_off) {
                if (position == 0)
                        return peek_here(fd, iov, n_iov); /* many a connection never needs more than one */
                if (!h->no_peek_offset || s->is_unix) {
                        int r = sockopt_set_int(fd, SOL_SOCKET, SO_PEEK_OFF, (int) position);
                        if (r == 0) {
                                s->has_peek_off = true;
                                s->peek_at = (uint32_t) position;
                        } else if (r == -EOPNOTSUPP)
                                h->no_peek_offset = true;
                        else
                                return r;
                }
                if (!s->has_peek_off)
                        return peek_skipping(h, fd, position, iov, n_iov);
        }
        if (s->peek_at != position) {
                int r = sockopt_set_int(fd, SOL_SOCKET, SO_PEEK_OFF, (int) position);
                if (r < 0)
                        return r;
                s->peek_at = (uint32_t) position;
        }
        ssize_t n = peek_here(fd, iov, n_iov);
        if (n > 0)
                s->peek_at += (uint32_t) n;
        return n;
}

static ssize_t host_discard(void *userdata, int fd, size_t n) {
        HostSockets *h = userdata;
        HostSocket *s = host_socket_find(h, fd);
        if (!s)
                return -EBADF;
        ssize_t done;
        if (s->is_unix) { /* MSG_TRUNC drops bytes for TCP alone */
                struct iovec iov[16];
                size_t left = n;
                unsigned i = 0;
                for (; left > 0 && i < ELEMENTSOF(iov); i++) {
                        iov[i] = (struct iovec){ h->scratch, MIN(left, sizeof(h->scratch)) };
                        left -= iov[i].iov_len;
                }
                struct msghdr m = { .msg_iov = iov, .msg_iovlen = i };
                done = recvmsg(fd, &m, MSG_DONTWAIT);
        } else
                done = recv(fd, NULL, n, MSG_TRUNC | MSG_DONTWAIT);
        if (done < 0)
                return -errno;
        if (s->has_peek_off)
                s->peek_at -= MIN(s->peek_at, (uint32_t) done);
        if (unlikely(s->is_urgent)) /* no peek sees past the mark until what is before it has gone: an event tells that there is more */
                (void) loop_modify(h->loop, &s->io, s->waits ? STREAM_EVENTS_WAITING : STREAM_EVENTS);
        return done;
}

static ssize_t host_recv(void *userdata, int fd, void *buf, size_t len) {
        ssize_t n = recv(fd, buf, len, MSG_DONTWAIT);
        return n < 0 ? -errno : n;
}

static int host_shutdown_write(void *userdata, int fd) {
        return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

/* Asks the kernel whether a socket could be bound there now: AnyIP routes and the like are then no mystery. Flows come in runs from one
 * address, so the last answer of the same wake-up is remembered. */
static bool host_address_is_gone(void *userdata, int fd) {
        HostSockets *h = userdata;
        _cleanup_close_ int probe = -EBADF;
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        Endpoint local;

        if (getsockname(fd, (struct sockaddr *) &sa, &len) < 0 || endpoint_from_sockaddr((struct sockaddr *) &sa, len, &local) < 0)
                return false; /* one end of a service's pair */
        if (h->asked_at == loop_now(h->loop) && ip_equal(&h->asked, &local.addr))
                return h->asked_gone;
        h->asked = local.addr;
        h->asked_at = loop_now(h->loop);

        local.port = 0;
        len = endpoint_to_sockaddr(&local, &sa);
        probe = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        h->asked_gone = probe >= 0 && bind(probe, (struct sockaddr *) &sa, len) < 0 && errno == EADDRNOTAVAIL;
        return h->asked_gone;
}

static void host_set_keepalive(void *userdata, int fd, bool on) {
        (void) sockopt_set_int(fd, SOL_SOCKET, SO_KEEPALIVE, on);
}

/* A flow's end of a pair, ended by host_close(), and a service's. */
static int make_pair(HostSockets *h, int *ret_flow_fd, int *ret_service_fd) {
        int fds[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        _cleanup_close_ int flow_fd = fds[0], service_fd = fds[1];
        HostSocket *s = get(h, flow_fd);
        if (!s)
                return -ENOMEM;
        s->is_unix = true;
        *ret_flow_fd = TAKE_FD(flow_fd);
        *ret_service_fd = TAKE_FD(service_fd);
        return 0;
}

static int host_stream_pair(void *userdata, uint64_t service_cookie, int *ret_flow_fd, int *ret_service_fd) {
        HostSockets *h = userdata;
        int flow_fd = -EBADF, service_fd = -EBADF;
        int r = make_pair(h, &flow_fd, &service_fd);
        if (r < 0)
                return r;
        r = host_socket_adopt(h, service_fd, service_cookie, STREAM_EVENTS, ret_service_fd);
        if (r < 0) {
                host_close(h, flow_fd, /* reset= */ false);
                return r;
        }
        *ret_flow_fd = flow_fd;
        return 0;
}

static int host_service_open(void *userdata, uint16_t port, const Endpoint *guest, int *ret_flow_fd) {
        HostSockets *h = userdata;
        int flow_fd = -EBADF, service_fd = -EBADF, r;
        if (h->handler->service_connect) {
                int fd = h->handler->service_connect(h->userdata, port);
                r = fd >= 0 ? host_sockets_adopt_stream(h, fd) : fd;
                if (r < 0 && fd >= 0)
                        (void) close(fd);
                if (r >= 0)
                        *ret_flow_fd = fd;
                if (r != -ENOENT)
                        return r;
        }
        r = make_pair(h, &flow_fd, &service_fd);
        if (r < 0)
                return r;
        r = h->handler->service(h->userdata, port, guest, service_fd);
        if (r < 0) {
                (void) close(service_fd);
                host_close(h, flow_fd, /* reset= */ false);
                return r;
        }
        *ret_flow_fd = flow_fd;
        return 0;
}

/* Of a Unix socket that was accepted there is a record, which is not needed where it goes. */
static int host_bypass(void *userdata, const HostBypass *what, int fd) {
        HostSockets *h = userdata;
        int r = h->handler->bypass ? h->handler->bypass(h->userdata, what, fd) : -ENOENT;
        if (r >= 0 && host_socket_find(h, fd))
                forget(h, fd);
        return r;
}

static bool host_offer(void *userdata, uint32_t port, const Frame *f) {
        HostSockets *h = userdata;
        return h->handler->offer && h->handler->offer(h->userdata, port, f);
}

int host_sockets_adopt_stream(HostSockets *h, int fd) {
        HostSocket *s = get(h, fd);
        if (!s)
                return -ENOMEM;
        s->is_unix = true;
        return 0;
}

int host_sockets_adopt_messages(HostSockets *h, int fd) {
        return host_sockets_adopt_stream(h, fd);
}

const HostOps host_sockets_ops = {
        .now = host_now,
        .random = host_random,
        .output = host_output,
        .room = host_room,
        .tcp_connect = host_tcp_connect,
        .tcp_set_tos = host_tcp_set_tos,
        .tcp_result = host_tcp_result,
        .tcp_accept = host_tcp_accept,
        .watch = host_watch,
        .send = host_send,
        .peek = host_peek,
        .discard = host_discard,
        .recv = host_recv,
        .shutdown_write = host_shutdown_write,
        .address_is_gone = host_address_is_gone,
        .set_keepalive = host_set_keepalive,
        .close = host_close,
        .stream_pair = host_stream_pair,
        .service_open = host_service_open,
        .bypass = host_bypass,
        .offer = host_offer,
        .dgram_open = host_dgram_open,
        .dgram_send = host_dgram_send,
        .dgram_recv = host_dgram_recv,
        .dgram_error = host_dgram_error,
        .lease_changed = host_lease_changed,
};
