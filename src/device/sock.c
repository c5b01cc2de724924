/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a socket device: accepting, connecting, losing the far end and finding it again. How it is made of a SockConfig is in
 * sock-make.c; bytes are read in sock-stream.c and sock-message.c, and sent in sock-send.c.
 *
 *     a listener     waiting -> (handshake) -> up -> down: waiting again
 *     a connector    connecting -> (handshake) -> up -> down: tries again each second
 *     a descriptor   up -> gone
 *
 * A link can break while somebody is inside a batch of it, so it never falls at once: sock_break() marks it, and a timer due at once takes
 * it down.
 */

#include "device/sock.h"

#include <errno.h>
#include <poll.h>

#include "basic/sockopt.h"
#include "device/sock-private.h"

#define IO_EVENTS (EPOLLIN | EPOLLRDHUP | EPOLLET)
#define LISTEN_EVENTS (EPOLLIN | EPOLLET)
#define ACCEPTS_MAX 32 /* before the others on the loop get their turn */
#define SEND_LATER_USEC (5 * USEC_PER_MSEC)

static bool is_dgram_listener(const Sock *s) {
        return s->listen_text && s->kind->type == SOCK_DGRAM;
}

static void tell(Sock *s, DeviceEvent event, int error) {
        if (s->device.handler && s->device.handler->event)
                s->device.handler->event(&s->device, event, error, s->device.userdata);
}

/* A Unix socket that has room says so each time its far end takes a piece of what waits there: who does not wait for room must not hear
 * it, for it would be woken by all that it sent. */
static void watch_room(Sock *s, bool on) {
        if (s->watches_room != on && s->loop && loop_modify(s->loop, &s->io, IO_EVENTS | (on ? EPOLLOUT : 0)) >= 0)
                s->watches_room = on;
}

void sock_block(Sock *s) {
        s->blocked = true;
        watch_room(s, true);
}

void sock_resume_soon(Sock *s) {
        /* Without memory for the timer, arming the edge again does the same. */
        if (timer_set(loop_timers(s->loop), &s->resume, loop_now(s->loop)) < 0)
                (void) loop_modify(s->loop, &s->io, IO_EVENTS | (s->watches_room ? EPOLLOUT : 0));
}

static void set_tick(Sock *s, usec_t delay) {
        (void) timer_set(loop_timers(s->loop), &s->tick, loop_now(s->loop) + delay);
}

/* ---- frames, for both kinds of reading ---- */

bool sock_accept_frame(Sock *s, uint8_t *at, size_t len, unsigned n) {
        if (len < ETH_HEADER_LEN) {
                counter_add(&s->device.counters.rx_dropped, 1);
                counters_drop(&s->device.counters, DROP_ETH_SHORT);
                return false;
        }
        s->iov[n] = (struct iovec){ at, len };
        s->frames[n] = (Frame){ .iov = &s->iov[n], .n_iov = 1, .len = (uint32_t) len };
        if (s->local)
                s->frames[n].hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID;
        counter_add(&s->device.counters.rx_frames, 1);
        counter_add(&s->device.counters.rx_bytes, len);
        return true;
}

void sock_deliver(Sock *s, unsigned n) {
        n = offload_coalesce(s->frames, n, s->joined_iov, ELEMENTSOF(s->joined_iov));
        s->device.handler->receive(&s->device, s->frames, n, s->device.userdata);
}

/* ---- up and down ---- */

void sock_break(Sock *s, int error) {
        if (s->broken)
                return;
        s->broken = true;
        s->error = error;
        if (s->loop)
                (void) timer_set(loop_timers(s->loop), &s->fall, loop_now(s->loop));
}

/* Checksums guard what crosses a wire. Over a socket of this machine they would be summed to find nothing but a guest that lies, and it
 * can lie with the right sum too: they are taken as a virtual network card takes them. Of other machines each is verified. */
static bool is_local(int domain) {
        return domain == AF_UNIX || domain == AF_VSOCK;
}

void sock_set_up(Sock *s) {
        int domain = AF_UNSPEC, bytes = 0;

        (void) sockopt_get_int(s->fd, SOL_SOCKET, SO_DOMAIN, &domain);
        (void) sockopt_get_int(s->fd, SOL_SOCKET, SO_SNDBUF, &bytes);
        s->up = true;
        s->local = is_local(domain);
        s->send_buffer = domain == AF_UNIX && sock_is_stream(s) ? bytes : 0;
        __atomic_store_n(&s->device.down, false, __ATOMIC_RELAXED);
        timer_stop(loop_timers(s->loop), &s->tick);
        if (is_dgram_listener(s)) {
                s->heard = true;
                set_tick(s, SOCK_PROBE_USEC);
        }
        tell(s, DEVICE_UP, 0);
}

/* Forgets everything about the connection but the descriptor. */
static void reset(Sock *s) {
        s->up = s->connecting = s->broken = s->hup = s->heard = s->greeted = false;
        s->begin = s->end = s->pending.begin = s->pending.end = 0;
        s->handshake = (Handshake){ .mac = s->device.mac, .mtu = (uint16_t) s->device.mtu };
        __atomic_store_n(&s->device.down, true, __ATOMIC_RELAXED);
}

static void stop_timers(Sock *s) {
        timer_stop(loop_timers(s->loop), &s->resume);
        timer_stop(loop_timers(s->loop), &s->tick);
        timer_stop(loop_timers(s->loop), &s->fall);
}

static void go_down(Sock *s) {
        bool was_blocked = s->blocked;
        int error = s->error;

        stop_timers(s);
        reset(s);
        s->blocked = false;
        if (is_dgram_listener(s))
                sock_message_forget_peer(s);
        else {
                loop_remove(s->loop, &s->io);
                s->fd = safe_close(s->fd);
        }
        if (!s->listen_text && !s->connect_text) {
                if (s->device.handler->gone)
                        s->device.handler->gone(&s->device, error < 0 ? error : -ECONNRESET, s->device.userdata);
                return;
        }
        tell(s, DEVICE_DOWN, error);
        if (s->connect_text)
                set_tick(s, SOCK_RETRY_USEC);
        if (was_blocked && s->device.handler->writable) /* who waits for room must not wait for ever: frames are dropped from now on */
                s->device.handler->writable(&s->device, s->device.userdata);
        if (s->loop && is_dgram_listener(s)) /* the next one may have knocked already */
                sock_resume_soon(s);
}

static void on_fall(Timer *timer, usec_t now, void *userdata) {
        Sock *s = CONTAINER_OF(timer, Sock, fall);

        if (s->broken)
                go_down(s);
}

/* The kernel's part is done: frames, or a handshake first. */
static void begin(Sock *s) {
        if (s->kind->handshake && !s->greeted)
                set_tick(s, SOCK_HANDSHAKE_USEC);
        else
                sock_set_up(s);
}

static void receive(Sock *s) {
        if (s->broken || s->connecting)
                return;
        if (sock_is_stream(s))
                sock_stream_receive(s);
        else
                sock_message_receive(s);
}

static void on_resume(Timer *timer, usec_t now, void *userdata) {
        receive(CONTAINER_OF(timer, Sock, resume));
}

static void on_io(LoopIo *io, uint32_t events);

/* EPOLLOUT until it has come once: a connection may be on its way. */
static int watch_io(Sock *s, int fd) {
        int r = loop_add(s->loop, &s->io, fd, IO_EVENTS | EPOLLOUT, on_io);

        s->watches_room = r >= 0;
        return r;
}

static int adopt(Sock *s, int fd) {
        int r = watch_io(s, fd);

        if (r < 0) {
                (void) safe_close(fd);
                return r;
        }
        s->fd = fd;
        return 0;
}

/* ---- connecting ---- */

static void retry(Sock *s) {
        int fd = sock_connect(&s->address, s->kind->type, &s->rights);

        if (fd < 0 || adopt(s, fd) < 0) {
                set_tick(s, SOCK_RETRY_USEC);
                return;
        }
        s->connecting = true; /* EPOLLOUT comes at once where it is done */
}

static void finish_connecting(Sock *s, uint32_t events) {
        int error = 0, r;

        if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
                return;
        r = sockopt_get_int(s->fd, SOL_SOCKET, SO_ERROR, &error);
        if (r < 0)
                error = -r;
        if (error == 0 && events & EPOLLHUP)
                error = ECONNREFUSED;
        if (error != 0) {
                s->connecting = false;
                loop_remove(s->loop, &s->io);
                s->fd = safe_close(s->fd);
                set_tick(s, SOCK_RETRY_USEC);
                return;
        }
        s->connecting = false;
        begin(s);
}

void sock_send_later(Sock *s) {
        if (s->loop)
                set_tick(s, SEND_LATER_USEC);
}

/* Sends what is left, and when that is done whoever waits may send again. */
static void unblock(Sock *s) {
        if (!s->up || !s->blocked || s->broken || !sock_send_pending(s))
                return;
        s->blocked = false;
        if (s->device.handler->writable)
                s->device.handler->writable(&s->device, s->device.userdata);
}

static void on_tick(Timer *timer, usec_t now, void *userdata) {
        Sock *s = CONTAINER_OF(timer, Sock, tick);

        if (s->broken)
                return;
        if (s->up && sock_is_stream(s)) {
                unblock(s);
                return;
        }
        if (s->up && is_dgram_listener(s)) {
                set_tick(s, SOCK_PROBE_USEC);
                sock_message_probe(s);
        } else if (s->fd >= 0 && !s->up && !s->connecting) /* a handshake that does not end */
                sock_break(s, -ETIMEDOUT);
        else if (s->fd < 0 && s->connect_text)
                retry(s);
}

static void on_io(LoopIo *io, uint32_t events) {
        Sock *s = CONTAINER_OF(io, Sock, io);

        if (s->connecting)
                finish_connecting(s, events);
        if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                s->hup = true;
        if (events & EPOLLOUT && s->blocked)
                unblock(s);
        else if (events & EPOLLOUT)
                watch_room(s, false);
        if (s->loop && s->fd >= 0 && events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
                receive(s);
}

/* ---- listening ---- */

bool sock_has_left(const Sock *s) {
        struct pollfd p = { .fd = s->fd, .events = POLLRDHUP };

        return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

static void take_connection(Sock *s, int connection) {
        _cleanup_close_ int fd = connection;

        /* What the one before still said is taken first; then its place is free. */
        if (s->fd >= 0 && sock_has_left(s)) {
                s->hup = true;
                for (unsigned i = 0; i < FRAME_BATCH_MAX && !s->broken && s->loop && s->fd >= 0; i++)
                        receive(s);
                if (!s->loop)
                        return;
                sock_break(s, 0);
        }
        if (s->broken && s->fd >= 0)
                go_down(s);
        if (s->fd >= 0) {
                tell(s, DEVICE_REFUSED, 0);
                return;
        }
        sock_set_buffers(fd, s->address.family);
        if (adopt(s, TAKE_FD(fd)) >= 0)
                begin(s);
}

/* Edge-triggered, so that running out of descriptors is no busy loop: who waits is taken with the next who knocks. */
static void on_listen(LoopIo *io, uint32_t events) {
        Sock *s = CONTAINER_OF(io, Sock, listen_io);

        for (unsigned i = 0; i < ACCEPTS_MAX && s->loop; i++) {
                int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

                if (fd < 0)
                        return;
                take_connection(s, fd);
        }
        if (s->loop)
                (void) loop_modify(s->loop, &s->listen_io, LISTEN_EVENTS);
}

/* ---- life ---- */

/* Without these a connection that ended would stay for ever, and another never be tried. Receiving goes on by itself: sock_resume_soon(). */
static int reserve_timers(Sock *s) {
        int r = timer_reserve(loop_timers(s->loop), &s->tick);

        return r < 0 ? r : timer_reserve(loop_timers(s->loop), &s->fall);
}

static void release_timers(Sock *s) {
        timer_stop(loop_timers(s->loop), &s->resume);
        timer_release(loop_timers(s->loop), &s->tick);
        timer_release(loop_timers(s->loop), &s->fall);
}

void sock_init(Sock *s) {
        s->io.batches = true;
        timer_init(&s->resume, on_resume);
        timer_init(&s->tick, on_tick);
        timer_init(&s->fall, on_fall);
        reset(s);
}

static int sock_start(Device *d, Loop *loop) {
        Sock *s = sock_of(d);
        int r;

        assert(!s->loop && d->handler);
        s->loop = loop;
        s->blocked = false;
        r = reserve_timers(s);
        if (r >= 0 && s->listen_fd >= 0)
                r = loop_add(loop, &s->listen_io, s->listen_fd, LISTEN_EVENTS, on_listen);
        if (r >= 0 && s->fd >= 0)
                r = watch_io(s, s->fd);
        if (r < 0) {
                loop_remove(loop, &s->listen_io);
                release_timers(s);
                s->loop = NULL;
                return r;
        }
        if (s->broken)
                (void) timer_set(loop_timers(loop), &s->fall, loop_now(loop));
        else if (s->connecting || is_dgram_listener(s)) {
                if (s->up)
                        set_tick(s, SOCK_PROBE_USEC);
        } else if (s->fd >= 0 && !s->up)
                begin(s);
        else if (s->fd < 0 && s->connect_text)
                retry(s);
        return 0;
}

static void sock_stop(Device *d) {
        Sock *s = sock_of(d);

        if (!s->loop)
                return;
        loop_remove(s->loop, &s->listen_io);
        loop_remove(s->loop, &s->io);
        release_timers(s);
        s->loop = NULL;
}

static Device *sock_free(Device *d) {
        Sock *s = sock_of(d);

        assert(!s->loop);
        if (s->arena && sock_is_stream(s) && sock_fd(d) >= 0)
                (void) sock_stream_finish(s);
        sock_file_remove(&s->file);
        (void) safe_close(s->listen_fd);
        (void) safe_close(s->fd);
        (void) safe_close(s->far_fd);
        sock_send_free(s);
        free(s->arena);
        free(s->listen_text);
        free(s->connect_text);
        free(s);
        return NULL;
}

#define SOCK_OPS(name) { .kind = name, .start = sock_start, .stop = sock_stop, .send = sock_send, .room = sock_room, .free = sock_free }

static const SockKind kinds[] = {
        { SOCK_OPS("qemu"), SOCK_STREAM, .framing = FRAMING_QEMU },
        { SOCK_OPS("qemu-dgram"), SOCK_DGRAM },
        { SOCK_OPS("vfkit"), SOCK_DGRAM, .magic = true },
        { SOCK_OPS("bess"), SOCK_SEQPACKET },
        { SOCK_OPS("vpnkit"), SOCK_STREAM, .framing = FRAMING_VPNKIT, .handshake = true },
};

const SockKind *sock_find_kind(const char *kind) {
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (streq(kinds[i].ops.kind, kind))
                        return &kinds[i];
        return NULL;
}

int sock_take_far_fd(Device *d) {
        return TAKE_FD(sock_of(d)->far_fd);
}

int sock_leave(Device *d) {
        Sock *s = sock_of(d);

        assert(!s->loop);
        if (s->listen_fd < 0 || s->fd < 0 || !s->up || s->broken || (sock_is_stream(s) && !sock_stream_finish(s)))
                return -EBADF;
        return s->fd;
}

const char *sock_path(const Device *d) {
        const Sock *s = sock_of(d);

        return s->file.dir_fd >= 0 ? s->address.path : NULL;
}

const char *sock_listen_text(const Device *d) {
        return sock_of(d)->listen_text;
}

const char *sock_connect_text(const Device *d) {
        return sock_of(d)->connect_text;
}

int sock_fd(const Device *d) {
        const Sock *s = sock_of(d);

        return s->listen_text || s->connect_text ? -EBADF : s->fd;
}
