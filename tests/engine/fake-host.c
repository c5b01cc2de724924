/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HostOps in memory. Streams keep all that was ever sent, datagram sockets too, so that a test looks at results and not at calls.
 * Events are edges: raised when something changes, delivered once by fake_run(), as an edge-triggered epoll would.
 */

#include "fake-host.h"

#include <errno.h>

#include "basic/iovcur.h"
#include "netstack/shard.h"

/* ---- sockets ---- */

static FakeSocket *socket_new(FakeHost *h, FakeKind kind) {
        FakeSocket *k = g_new0(FakeSocket, 1);

        k->fd = FAKE_FD_FIRST + (int) h->sockets->len;
        k->kind = kind;
        k->open = true;
        k->sent = g_ptr_array_new();
        k->in = g_byte_array_new();
        k->out = g_byte_array_new();
        k->send_room = h->default_send_room;
        k->send_room_msgs = UINT_MAX;
        k->other = -EBADF;
        g_queue_init(&k->rx);
        g_queue_init(&k->errors);
        g_queue_init(&k->backlog);
        g_ptr_array_add(h->sockets, k);
        h->n_opened[kind]++;
        h->n_open++;
        return k;
}

static void dgram_free(gpointer p) {
        FakeDgram *d = p;

        g_free(d->data);
        g_free(d);
}

static void socket_free(gpointer p) {
        FakeSocket *k = p;

        g_ptr_array_set_free_func(k->sent, dgram_free);
        g_ptr_array_unref(k->sent);
        g_queue_clear_full(&k->rx, dgram_free);
        g_queue_clear_full(&k->errors, g_free);
        g_queue_clear(&k->backlog);
        g_byte_array_unref(k->in);
        g_byte_array_unref(k->out);
        g_free(k);
}

FakeSocket *fake_socket(FakeHost *h, int fd) {
        g_assert_cmpint(fd, >=, FAKE_FD_FIRST);
        g_assert_cmpint(fd, <, FAKE_FD_FIRST + (int) h->sockets->len);
        return g_ptr_array_index(h->sockets, fd - FAKE_FD_FIRST);
}

/* For the ops: whoever uses a closed socket is wrong. */
static FakeSocket *open_socket(FakeHost *h, int fd) {
        FakeSocket *k = fake_socket(h, fd);

        g_assert_true(k->open);
        return k;
}

FakeSocket *fake_last_socket(FakeHost *h, FakeKind kind) {
        for (guint i = h->sockets->len; i > 0; i--) {
                FakeSocket *k = g_ptr_array_index(h->sockets, i - 1);

                if (k->kind == kind)
                        return k;
        }
        return NULL;
}

void fake_raise(FakeHost *h, FakeSocket *k, uint32_t events) {
        k->pending |= events;
}

/* ---- clock, random, frames ---- */

static usec_t op_now(void *userdata) {
        return ((FakeHost *) userdata)->now;
}

static void op_random(void *userdata, void *buf, size_t len) {
        FakeHost *h = userdata;
        uint8_t *p = buf;

        for (size_t i = 0; i < len; i++) { /* splitmix64, a byte at a time: the same in every run */
                uint64_t z = h->random_state += UINT64_C(0x9e3779b97f4a7c15);

                z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
                z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
                p[i] = (uint8_t) (z ^ (z >> 31));
        }
}

static unsigned op_output(void *userdata, Frame *frames, unsigned n) {
        FakeHost *h = userdata;
        unsigned taken = 0;

        g_assert_cmpuint(n, >, 0);
        g_assert_cmpuint(n, <=, FRAME_BATCH_MAX);
        h->n_outputs++;
        for (unsigned i = 0; i < n; i++) {
                if (h->output_room == 0 || (!mac_is_zero(&h->full) && memcmp(frames[i].iov[0].iov_base, &h->full, sizeof(h->full)) == 0)) {
                        frames[i].len = 0;
                        continue;
                }
                if (h->output_room != UINT_MAX)
                        h->output_room--;
                if (h->room != SIZE_MAX)
                        h->room -= MIN(h->room, frames[i].len);
                taken++;
                FakeFrame *f = g_new0(FakeFrame, 1);
                IovCur cur = iovcur_make(frames[i].iov, frames[i].n_iov, frames[i].len);

                g_assert_cmpuint(iovcur_left(&cur), ==, frames[i].len);
                g_assert_cmpuint(frames[i].len, <=, h->port.big ? FRAME_BIG_MAX : FRAME_LEN_MAX);
                f->hdr = frames[i].hdr;
                f->len = frames[i].len;
                f->asks = frames[i].asks;
                f->data = g_malloc(f->len);
                g_assert_true(iovcur_copy(&cur, f->data, f->len));
                g_ptr_array_add(h->frames, f);
        }
        return taken;
}

static size_t op_room(void *userdata, uint32_t port) {
        return ((FakeHost *) userdata)->room;
}

void fake_frame_free(FakeFrame *f) {
        if (!f)
                return;
        g_free(f->data);
        g_free(f);
}

FakeFrame *fake_take_frame(FakeHost *h) {
        return h->frames->len > 0 ? g_ptr_array_steal_index(h->frames, 0) : NULL;
}

unsigned fake_n_frames(const FakeHost *h) {
        return h->frames->len;
}

void fake_clear_frames(FakeHost *h) {
        g_ptr_array_set_size(h->frames, 0);
}

void fake_input_batch(FakeHost *h, Frame *frames, unsigned n) {
        netstack_input(h->stack, &h->port, frames, n);
}

void fake_input_hdr(FakeHost *h, const struct virtio_net_hdr_v1 *hdr, const void *frame, size_t len) {
        /* A copy of exactly its size: a sanitizer then sees a read beyond the end. */
        g_autofree uint8_t *copy = g_malloc(MAX(len, (size_t) 1));
        struct iovec iov = { copy, len };
        Frame f = { .iov = &iov, .n_iov = 1, .len = (uint32_t) len };

        if (len > 0)
                memcpy(copy, frame, len);
        if (hdr)
                f.hdr = *hdr;
        fake_input_batch(h, &f, 1);
}

void fake_input(FakeHost *h, const void *frame, size_t len) {
        fake_input_hdr(h, NULL, frame, len);
}

uint64_t fake_drops(const FakeHost *h, Drop reason) {
        return counter_read(&netstack_counters(h->stack)->drops[reason]);
}

uint64_t fake_drops_total(const FakeHost *h) {
        uint64_t n = 0;

        for (unsigned i = 0; i < _DROP_MAX; i++)
                n += fake_drops(h, i);
        return n;
}

/* ---- TCP ---- */

static void connect_finish(FakeHost *h, FakeSocket *k, int result) {
        k->result = result;
        k->connected = result == 0;
        fake_raise(h, k, result == 0 ? HOST_EVENT_OUT : HOST_EVENT_OUT | HOST_EVENT_ERROR | HOST_EVENT_HUP);
}

static int op_tcp_connect(void *userdata, const Endpoint *dst, const HostConnect *how, uint64_t cookie, int *ret_fd) {
        FakeHost *h = userdata;

        if (h->open_error < 0)
                return h->open_error;

        FakeSocket *k = socket_new(h, FAKE_TCP);
        k->peer = *dst;
        k->how = *how;
        k->cookie = cookie;
        k->watched = true;
        k->result = -EINPROGRESS;
        *ret_fd = k->fd;
        if (h->connect_result == FAKE_CONNECT_AT_ONCE && how->at_once) {
                k->result = 0;
                k->connected = true;
                return 1;
        }
        if (h->connect_result != FAKE_CONNECT_NEVER)
                connect_finish(h, k, h->connect_result == FAKE_CONNECT_AT_ONCE ? 0 : h->connect_result);
        return 0;
}

void fake_connect_done(FakeHost *h, FakeSocket *k, int result) {
        g_assert_cmpint(k->result, ==, -EINPROGRESS);
        connect_finish(h, k, result);
}

static void op_tcp_set_tos(void *userdata, int fd, uint8_t tos) {
        open_socket(userdata, fd)->how.tos = tos;
}

static int op_tcp_result(void *userdata, int fd) {
        return open_socket(userdata, fd)->result;
}

int fake_listener(FakeHost *h, const Endpoint *local) {
        FakeSocket *k = socket_new(h, FAKE_LISTENER);

        k->local = *local;
        return k->fd;
}

FakeSocket *fake_client(FakeHost *h, int listen_fd, const Endpoint *peer) {
        FakeSocket *l = fake_socket(h, listen_fd), *k = socket_new(h, FAKE_TCP);

        g_assert_cmpint(l->kind, ==, FAKE_LISTENER);
        k->peer = *peer;
        k->local = l->local;
        k->connected = true;
        g_queue_push_tail(&l->backlog, k);
        fake_raise(h, l, HOST_EVENT_IN);
        return k;
}

static int op_tcp_accept(void *userdata, int listen_fd, int *ret_fd, Endpoint *ret_peer, Endpoint *ret_local) {
        if (((FakeHost *) userdata)->accept_error < 0)
                return ((FakeHost *) userdata)->accept_error;

        FakeSocket *k = g_queue_pop_head(&open_socket(userdata, listen_fd)->backlog);

        if (!k)
                return -EAGAIN;
        *ret_fd = k->fd;
        *ret_peer = k->peer;
        if (ret_local)
                *ret_local = k->local;
        return 0;
}

static int op_watch(void *userdata, int fd, uint64_t cookie) {
        FakeHost *h = userdata;
        FakeSocket *k = open_socket(h, fd);

        if (h->watch_error < 0)
                return h->watch_error;
        k->cookie = cookie;
        k->watched = true;
        /* As a first registration tells what is there already. */
        if (k->in->len > 0 || k->eof || !g_queue_is_empty(&k->backlog) || !g_queue_is_empty(&k->rx))
                fake_raise(h, k, HOST_EVENT_IN);
        if (k->connected)
                fake_raise(h, k, HOST_EVENT_OUT);
        return 0;
}

static ssize_t op_send(void *userdata, int fd, const struct iovec *iov, unsigned n_iov) {
        FakeHost *h = userdata;
        FakeSocket *k = open_socket(h, fd);
        FakeSocket *other = k->kind == FAKE_PAIR ? fake_socket(h, k->other) : NULL;
        size_t sent = 0, offered = 0;

        k->n_sends++;
        if (k->result == -ECONNRESET)
                return -ECONNRESET;
        if (k->shut || (other && !other->open))
                return -EPIPE;
        g_assert_true(k->connected);

        for (unsigned i = 0; i < n_iov; i++) {
                size_t n = MIN(iov[i].iov_len, k->send_room - sent);

                offered += iov[i].iov_len;
                if (n == 0)
                        continue;
                g_byte_array_append(k->out, iov[i].iov_base, (guint) n);
                if (other)
                        g_byte_array_append(other->in, iov[i].iov_base, (guint) n);
                sent += n;
        }
        if (k->send_room != SIZE_MAX)
                k->send_room -= sent;
        if (sent < offered)
                k->send_blocked = true;
        if (other && sent > 0)
                fake_raise(h, other, HOST_EVENT_IN);
        return sent == 0 && offered > 0 ? -EAGAIN : (ssize_t) sent;
}

void fake_stream_room(FakeHost *h, FakeSocket *k, size_t more) {
        k->send_room = more > SIZE_MAX - k->send_room ? SIZE_MAX : k->send_room + more;
        if (k->send_blocked && more > 0) {
                k->send_blocked = false;
                fake_raise(h, k, HOST_EVENT_OUT);
        }
}

/* What reading finds when no byte is left. */
static ssize_t stream_end(const FakeSocket *k) {
        if (k->result == -ECONNRESET)
                return -ECONNRESET;
        return k->eof ? 0 : -EAGAIN;
}

static ssize_t op_peek(void *userdata, int fd, size_t position, const struct iovec *iov, unsigned n_iov) {
        FakeSocket *k = open_socket(userdata, fd);
        size_t got = 0;

        k->n_recvs++;
        k->peek_from = MIN(k->peek_from, position);
        size_t asked = 0;
        for (unsigned i = 0; i < n_iov; i++)
                asked += iov[i].iov_len;
        k->peek_most = MAX(k->peek_most, asked);
        if (k->result == -ECONNRESET)
                return -ECONNRESET;
        if (position >= k->in->len)
                return stream_end(k);
        for (unsigned i = 0; i < n_iov && position < k->in->len; i++) {
                size_t n = MIN(iov[i].iov_len, k->in->len - position);

                memcpy(iov[i].iov_base, k->in->data + position, n);
                position += n;
                got += n;
        }
        return (ssize_t) got;
}

static ssize_t op_discard(void *userdata, int fd, size_t n) {
        FakeSocket *k = open_socket(userdata, fd);

        if (k->result == -ECONNRESET)
                return -ECONNRESET;
        g_assert_cmpuint(n, <=, k->in->len);
        g_byte_array_remove_range(k->in, 0, (guint) n);
        k->n_discarded += n;
        return (ssize_t) n;
}

static ssize_t op_recv(void *userdata, int fd, void *buf, size_t len) {
        FakeHost *h = userdata;
        FakeSocket *k = open_socket(h, fd);
        size_t n = MIN(len, (size_t) k->in->len);

        if (n == 0)
                return stream_end(k);
        memcpy(buf, k->in->data, n);
        return op_discard(h, fd, n);
}

static int op_shutdown_write(void *userdata, int fd) {
        FakeHost *h = userdata;
        FakeSocket *k = open_socket(h, fd);

        g_assert_false(k->shut);
        k->shut = true;
        if (k->kind == FAKE_PAIR)
                fake_stream_eof(h, fake_socket(h, k->other));
        return 0;
}

static bool op_address_is_gone(void *userdata, int fd) {
        return open_socket(userdata, fd)->address_is_gone;
}

static void op_set_keepalive(void *userdata, int fd, bool on) {
        open_socket(userdata, fd)->keepalive = on;
}

static void op_close(void *userdata, int fd, bool reset) {
        FakeHost *h = userdata;
        FakeSocket *k = open_socket(h, fd);

        k->open = false;
        k->was_reset = reset;
        k->pending = 0;
        h->n_open--;
        if (k->kind == FAKE_PAIR && fake_socket(h, k->other)->open) {
                FakeSocket *other = fake_socket(h, k->other);

                other->eof = true;
                fake_raise(h, other, HOST_EVENT_IN | HOST_EVENT_RDHUP | HOST_EVENT_HUP);
        }
        for (FakeSocket *c; (c = g_queue_pop_head(&k->backlog));) { /* never accepted */
                c->open = false;
                c->was_reset = true;
                h->n_open--;
        }
}

static int op_stream_pair(void *userdata, uint64_t service_cookie, int *ret_flow_fd, int *ret_service_fd) {
        FakeHost *h = userdata;

        if (h->open_error < 0)
                return h->open_error;

        FakeSocket *flow = socket_new(h, FAKE_PAIR), *service = socket_new(h, FAKE_PAIR);
        flow->connected = service->connected = true;
        flow->other = service->fd;
        service->other = flow->fd;
        service->cookie = service_cookie;
        service->watched = true;
        *ret_flow_fd = flow->fd;
        *ret_service_fd = service->fd;
        return 0;
}

static int op_service_open(void *userdata, uint16_t port, const Endpoint *guest, int *ret_flow_fd) {
        int service_fd, r = op_stream_pair(userdata, 0, ret_flow_fd, &service_fd);

        if (r >= 0)
                fake_socket(userdata, service_fd)->watched = false; /* the test is who serves */
        return r;
}

void fake_stream_push(FakeHost *h, FakeSocket *k, const void *data, size_t len) {
        g_assert_false(k->eof);
        g_byte_array_append(k->in, data, (guint) len);
        fake_raise(h, k, HOST_EVENT_IN);
}

void fake_stream_eof(FakeHost *h, FakeSocket *k) {
        k->eof = true;
        fake_raise(h, k, HOST_EVENT_IN | HOST_EVENT_RDHUP | (k->shut ? HOST_EVENT_HUP : 0));
}

void fake_stream_reset(FakeHost *h, FakeSocket *k) {
        k->result = -ECONNRESET;
        k->connected = false;
        fake_raise(h, k, HOST_EVENT_IN | HOST_EVENT_OUT | HOST_EVENT_RDHUP | HOST_EVENT_HUP | HOST_EVENT_ERROR);
}

/* ---- datagrams ---- */

static int op_dgram_open(void *userdata, HostSocketType type, int family, const Endpoint *local, uint64_t cookie, int *ret_fd) {
        FakeHost *h = userdata;

        if (h->open_error < 0)
                return h->open_error;

        FakeSocket *k = socket_new(h, type == HOST_SOCKET_PING ? FAKE_PING : type == HOST_SOCKET_GROUP ? FAKE_GROUP : FAKE_UDP);
        if (local)
                k->local = *local;
        k->family = family;
        k->cookie = cookie;
        k->watched = true;
        *ret_fd = k->fd;
        return 0;
}

int fake_udp_bound(FakeHost *h, const Endpoint *local) {
        FakeSocket *k = socket_new(h, FAKE_UDP);

        k->local = *local;
        return k->fd;
}

static FakeDgram *dgram_new(const Endpoint *peer, const void *data, size_t len) {
        FakeDgram *d = g_new0(FakeDgram, 1);

        d->peer = *peer;
        d->data = g_memdup2(data, len);
        d->len = len;
        return d;
}

static int op_dgram_send(void *userdata, int fd, const HostMsg *msgs, unsigned n) {
        FakeSocket *k = open_socket(userdata, fd);
        unsigned i;

        g_assert_cmpuint(n, >, 0);
        k->n_sends++;
        if (k->send_error < 0) {
                int error = k->send_error;

                if (k->send_error_times > 0 && --k->send_error_times == 0)
                        k->send_error = 0;
                return error;
        }
        for (i = 0; i < n && k->send_room_msgs > 0; i++) {
                const HostMsg *m = &msgs[i];
                g_autoptr(GByteArray) bytes = g_byte_array_new();

                for (unsigned j = 0; j < m->n_iov; j++)
                        g_byte_array_append(bytes, m->iov[j].iov_base, (guint) m->iov[j].iov_len);
                g_assert_cmpuint(bytes->len, ==, m->len);
                if (k->gso_max > 0 && m->gso_size > k->gso_max)
                        return i == 0 ? -EINVAL : (int) i;
                g_assert_cmpuint(m->gso_size == 0 ? 1 : DIV_ROUND_UP(m->len, m->gso_size), <=, 64); /* the kernel's UDP_MAX_SEGMENTS */

                FakeDgram *d = dgram_new(&m->peer, bytes->data, bytes->len);
                d->gso_size = m->gso_size;
                d->local = m->local;
                d->tos = m->tos;
                d->ttl = m->ttl;
                g_ptr_array_add(k->sent, d);
                if (k->send_room_msgs != UINT_MAX)
                        k->send_room_msgs--;
        }
        return i == 0 ? -EAGAIN : (int) i;
}

static int op_dgram_recv(void *userdata, int fd, HostMsg *msgs, unsigned n) {
        FakeSocket *k = open_socket(userdata, fd);
        unsigned i;

        k->n_recvs++;
        for (i = 0; i < n; i++) {
                FakeDgram *d = g_queue_pop_head(&k->rx);
                size_t off = 0;

                if (!d)
                        break;
                for (unsigned j = 0; j < msgs[i].n_iov && off < d->len; j++) {
                        size_t len = MIN(msgs[i].iov[j].iov_len, d->len - off);

                        memcpy(msgs[i].iov[j].iov_base, d->data + off, len);
                        off += len;
                }
                msgs[i].peer = d->peer;
                msgs[i].local = d->local;
                msgs[i].len = off;
                msgs[i].truncated = off < d->len;
                msgs[i].gso_size = d->gso_size;
                msgs[i].tos = d->tos;
                msgs[i].ttl = d->ttl;
                dgram_free(d);
        }
        return i == 0 ? -EAGAIN : (int) i;
}

static int op_dgram_error(void *userdata, int fd, HostError *ret) {
        g_autofree HostError *e = g_queue_pop_head(&open_socket(userdata, fd)->errors);

        if (!e)
                return -EAGAIN;
        *ret = *e;
        return 0;
}

void fake_dgram_push_gso(FakeHost *h, FakeSocket *k, const Endpoint *from, const void *data, size_t len, uint16_t gso_size) {
        FakeDgram *d = dgram_new(from, data, len);

        d->gso_size = gso_size;
        d->ttl = 64;
        g_queue_push_tail(&k->rx, d);
        fake_raise(h, k, HOST_EVENT_IN);
}

void fake_dgram_push(FakeHost *h, FakeSocket *k, const Endpoint *from, const void *data, size_t len) {
        fake_dgram_push_gso(h, k, from, data, len, 0);
}

void fake_dgram_push_to(FakeHost *h, FakeSocket *k, const Endpoint *from, const IpAddr *to, const void *data, size_t len) {
        FakeDgram *d = dgram_new(from, data, len);

        d->local = *to;
        d->ttl = 64;
        g_queue_push_tail(&k->rx, d);
        fake_raise(h, k, HOST_EVENT_IN);
}

void fake_dgram_push_error(FakeHost *h, FakeSocket *k, const HostError *e) {
        g_queue_push_tail(&k->errors, g_memdup2(e, sizeof(*e)));
        fake_raise(h, k, HOST_EVENT_ERROR);
}

const FakeDgram *fake_sent(const FakeSocket *k, unsigned i) {
        g_assert_cmpuint(i, <, k->sent->len);
        return g_ptr_array_index(k->sent, i);
}

/* ---- the whole ---- */

static void op_lease_changed(void *userdata, const Lease *lease, bool added) {
        FakeHost *h = userdata;

        g_array_append_vals(added ? h->leases_added : h->leases_removed, lease, 1);
}

static bool op_offer(void *userdata, uint32_t port, const Frame *f) {
        FakeHost *h = userdata;
        IovCur c = iovcur_make(f->iov, f->n_iov, f->len);
        g_autofree uint8_t *data = g_malloc(f->len);

        g_assert_cmpuint(port, ==, h->port.id);
        g_assert_true(iovcur_copy(&c, data, f->len));
        g_assert_cmpuint(iovcur_left(&c), ==, 0);
        h->offered_hdr = f->hdr;
        memcpy(h->offered, data, MIN(f->len, sizeof(h->offered)));
        if (!h->shard || !netstack_shard_takes(h->shard->stack, f))
                return false;
        fake_input_hdr(h->shard, &f->hdr, data, f->len);
        return true;
}

const HostOps fake_host_ops = {
        .now = op_now,
        .random = op_random,
        .output = op_output,
        .room = op_room,
        .tcp_connect = op_tcp_connect,
        .tcp_set_tos = op_tcp_set_tos,
        .tcp_result = op_tcp_result,
        .tcp_accept = op_tcp_accept,
        .watch = op_watch,
        .send = op_send,
        .peek = op_peek,
        .discard = op_discard,
        .recv = op_recv,
        .shutdown_write = op_shutdown_write,
        .address_is_gone = op_address_is_gone,
        .set_keepalive = op_set_keepalive,
        .close = op_close,
        .stream_pair = op_stream_pair,
        .service_open = op_service_open,
        .dgram_open = op_dgram_open,
        .dgram_send = op_dgram_send,
        .dgram_recv = op_dgram_recv,
        .dgram_error = op_dgram_error,
        .lease_changed = op_lease_changed,
        .offer = op_offer,
};

void fake_run(FakeHost *h) {
        for (bool any = true; any;) {
                any = false;
                for (guint i = 0; i < h->sockets->len; i++) {
                        FakeSocket *k = g_ptr_array_index(h->sockets, i);
                        uint32_t events = k->pending;

                        if (!k->open || !k->watched || events == 0)
                                continue;
                        k->pending = 0;
                        any = true;
                        netstack_host_event(h->stack, k->cookie, events);
                }
                any = any || netstack_next_timer(h->stack) == 0; /* a flow waits for another turn */
                netstack_run_timers(h->stack);
        }
}

void fake_advance(FakeHost *h, usec_t usec) {
        usec_t end = h->now + usec;

        fake_run(h);
        for (;;) {
                usec_t next = netstack_next_timer(h->stack);

                if (next > end)
                        break;
                h->now = MAX(h->now, next);
                netstack_run_timers(h->stack);
                fake_run(h);
                if (netstack_next_timer(h->stack) <= h->now && h->now < end)
                        h->now++; /* what is set to "now" by a timer runs a moment later */
                else if (netstack_next_timer(h->stack) <= h->now)
                        break;
        }
        h->now = end;
}

IpAddr fake_ip(const char *text) {
        IpAddr a;

        g_assert_cmpint(ip_parse(text, &a), ==, 0);
        return a;
}

Endpoint fake_endpoint(const char *text) {
        Endpoint e;

        g_assert_cmpint(endpoint_parse(text, &e), ==, 0);
        return e;
}

void fake_ip6(NetstackConfig *c) {
        g_assert_cmpint(prefix_parse("fd00:1::/64", &c->subnet6), ==, 0);
        c->gateway6 = fake_ip("fd00:1::1");
        c->host6 = fake_ip("fd00:1::fe");
}

FakeHost *fake_host_new(void (*change)(NetstackConfig *c)) {
        FakeHost *h = g_new0(FakeHost, 1);
        NetstackConfig c;

        h->now = 1000 * USEC_PER_SEC; /* not 0: a time that was never set must not look recent */
        h->sockets = g_ptr_array_new_with_free_func(socket_free);
        h->frames = g_ptr_array_new_with_free_func((GDestroyNotify) fake_frame_free);
        h->leases_added = g_array_new(FALSE, TRUE, sizeof(Lease));
        h->leases_removed = g_array_new(FALSE, TRUE, sizeof(Lease));
        h->output_room = UINT_MAX;
        h->room = SIZE_MAX;
        h->default_send_room = SIZE_MAX;
        h->port = (NetstackPort){ .id = 1, .mtu = 1500 };

        netstack_config_defaults(&c);
        c.mac = FAKE_GATEWAY_MAC;
        g_assert_cmpint(prefix_parse("192.168.127.0/24", &c.subnet), ==, 0);
        c.gateway = fake_ip("192.168.127.1");
        c.host = fake_ip("192.168.127.254");
        c.domain = strdup("vnet.internal");
        c.hostname = strdup("hostbox");
        c.host_loopback = true;
        if (change)
                change(&c);
        g_assert_cmpint(netstack_new(&h->stack, &c, &fake_host_ops, h), ==, 0);
        netstack_config_deinit(&c);
        return h;
}

void fake_host_free(FakeHost *h) {
        if (!h)
                return;

        netstack_free(h->stack);
        for (guint i = 0; i < h->sockets->len; i++) {
                FakeSocket *k = g_ptr_array_index(h->sockets, i);

                if (k->open)
                        g_error("fd %d (kind %d) was never closed", k->fd, k->kind);
        }
        g_ptr_array_unref(h->sockets);
        g_ptr_array_unref(h->frames);
        g_array_unref(h->leases_added);
        g_array_unref(h->leases_removed);
        g_free(h);
}
