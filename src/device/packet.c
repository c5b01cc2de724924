/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packet sockets, on the loop of the device. Neither way is there a queue of our own but one batch: what the program reads waits in the
 * socket, whose buffer bounds it, and what does not fit is dropped and counted. What the program writes waits there too while the device
 * is full, so a program that writes too fast is made to wait, and nobody else.
 */

#include "device/packet.h"

#include <sys/socket.h>

#include "basic/sockopt.h"
#include "device/inject.h"

#define HDR_LEN ((size_t) INJECT_HDR_LEN)
#define BATCH 16
#define SLOT_LEN (HDR_LEN + FRAME_LEN_MAX)
#define SOCKET_BUFFER (1024 * 1024)
#define RETRY_USEC USEC_PER_MSEC /* of a device that was full */
#define EVENTS (EPOLLIN | EPOLLRDHUP)

_Static_assert(HDR_LEN == sizeof(struct virtio_net_hdr_v1), "the header of a message is that of a frame");

typedef struct PacketSocket {
        Watch watch;
        int fd; /* (owned) our end */
        DeviceDirection written;

        Loop *loop; /* (borrowed: from start to stop) */
        LoopIo io;
        Timer retry;

        uint8_t *arena; /* (owned) BATCH slots */
        Frame frames[BATCH];
        struct iovec iov[BATCH];
        unsigned first, n; /* frames[] the device has not taken yet */
} PacketSocket;

static const WatchOps packet_ops;

static PacketSocket *packet_of(Watch *w) {
        return CONTAINER_OF(w, PacketSocket, watch);
}

bool watch_is_packet_socket(const Watch *w) {
        return w->ops == &packet_ops;
}

void packet_socket_free(Watch *w) {
        PacketSocket *p = packet_of(w);

        assert(!p->loop);
        (void) safe_close(p->fd);
        free(p->arena);
        free(p);
}

static void packet_end(PacketSocket *p) {
        watch_remove(&p->watch);
        packet_socket_free(&p->watch);
}

/* ---- to the program ---- */

static void packet_show(Watch *w, DeviceDirection direction, const Frame *frames, unsigned n) {
        PacketSocket *p = packet_of(w);
        unsigned dropped = 0;

        if (direction == p->written)
                return;
        for (unsigned i = 0; i < n; i++) {
                struct virtio_net_hdr_v1 hdr = frames[i].hdr;
                struct iovec iov[1 + FRAME_IOV_MAX] = { { &hdr, sizeof(hdr) } };
                struct msghdr m = { .msg_iov = iov, .msg_iovlen = 1 + frames[i].n_iov };

                hdr.num_buffers = 0;
                memcpy(iov + 1, frames[i].iov, frames[i].n_iov * sizeof(*iov));
                /* Also when it has closed its end: the event says so. */
                if (sendmsg(p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                        dropped++;
        }
        if (dropped > 0)
                counter_add(&w->device->counters.drops[DROP_PACKET_FULL], dropped);
}

/* ---- from the program ---- */

static bool accept_message(PacketSocket *p, const uint8_t *at, size_t len, bool cut, Frame *f, struct iovec *iov) {
        VnetHdr hdr;
        bool lies;

        if (cut || vnet_hdr_decode(&hdr, INJECT_HDR_LEN, at, len) < 0)
                return false;
        *iov = (struct iovec){ (uint8_t *) at + HDR_LEN, len - HDR_LEN };
        *f = (Frame){ .iov = iov, .n_iov = 1, .len = (uint32_t) (len - HDR_LEN) };
        memcpy(&f->hdr, at, HDR_LEN);
        return inject_check(p->written, &hdr, f, &lies) == VNET_HDR_OK && !lies;
}

/* Hands on what is held. What the device cannot take yet stays, and nothing is read meanwhile. */
static void pass_on(PacketSocket *p) {
        unsigned taken = inject_frames(p->watch.device, p->written, p->frames + p->first, p->n - p->first);

        p->first += taken;
        if (p->first < p->n && timer_set(loop_timers(p->loop), &p->retry, loop_now(p->loop) + RETRY_USEC) >= 0) {
                (void) loop_modify(p->loop, &p->io, 0);
                return;
        }
        if (p->first < p->n) /* no memory for a timer */
                counter_add(&p->watch.device->counters.drops[DROP_DEVICE_FULL], p->n - p->first);
        p->first = p->n = 0;
}

static void on_retry(Timer *timer, usec_t now, void *userdata) {
        PacketSocket *p = CONTAINER_OF(timer, PacketSocket, retry);

        pass_on(p);
        if (p->n == 0)
                (void) loop_modify(p->loop, &p->io, EVENTS);
}

/* Return: messages read, 0 when there are none, -EPIPE when the program has closed its end. */
static int read_messages(PacketSocket *p, bool hup, struct mmsghdr *msgs) {
        struct iovec iov[BATCH];
        int n;

        for (unsigned i = 0; i < BATCH; i++) {
                iov[i] = (struct iovec){ p->arena + i * SLOT_LEN, SLOT_LEN };
                msgs[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov[i], .msg_iovlen = 1 } };
        }
        do
                n = recvmmsg(p->fd, msgs, BATCH, MSG_DONTWAIT, NULL);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EAGAIN && !hup ? 0 : -EPIPE;
        /* An empty message and the end look alike, but for the event that comes with the end. */
        return hup && (n == 0 || msgs[0].msg_len == 0) ? -EPIPE : n;
}

static void on_io(LoopIo *io, uint32_t events) {
        PacketSocket *p = CONTAINER_OF(io, PacketSocket, io);
        struct mmsghdr msgs[BATCH];
        bool hup = events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR);
        int n;

        if (p->n > 0) { /* held for a device that is full; the program has gone */
                packet_end(p);
                return;
        }
        n = read_messages(p, hup, msgs);
        if (n < 0) {
                packet_end(p);
                return;
        }
        for (int i = 0; i < n; i++)
                if (accept_message(p, p->arena + (size_t) i * SLOT_LEN, msgs[i].msg_len, msgs[i].msg_hdr.msg_flags & MSG_TRUNC,
                                   &p->frames[p->n], &p->iov[p->n]))
                        p->n++;
                else
                        counters_drop(&p->watch.device->counters, DROP_PACKET_MALFORMED);
        if (p->n > 0)
                pass_on(p);
}

/* ---- life ---- */

static int packet_start(Watch *w, Loop *loop) {
        PacketSocket *p = packet_of(w);
        int r;

        r = loop_add(loop, &p->io, p->fd, p->n > 0 ? 0 : EVENTS, on_io);
        if (r < 0)
                return r;
        p->loop = loop;
        if (p->n > 0)
                (void) timer_set(loop_timers(loop), &p->retry, loop_now(loop));
        return 0;
}

static void packet_stop(Watch *w) {
        PacketSocket *p = packet_of(w);

        if (!p->loop)
                return;
        loop_remove(p->loop, &p->io);
        timer_stop(loop_timers(p->loop), &p->retry);
        p->loop = NULL;
}

static const WatchOps packet_ops = {
        .start = packet_start,
        .stop = packet_stop,
        .frames = packet_show,
        .free = packet_socket_free,
};

/* As much as we may have, to what is enough: the kernel counts more than the bytes of a message. */
static void set_buffer(int fd) {
        if (sockopt_set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER) < 0)
                (void) sockopt_set_int(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER);
}

int packet_socket_new(Watch **ret, DeviceDirection written, int *ret_fd) {
        PacketSocket *p;
        int fds[2];

        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        *p = (PacketSocket){ .watch.ops = &packet_ops, .fd = -EBADF, .io.fd = -EBADF, .written = written };
        timer_init(&p->retry, on_retry);
        p->arena = malloc(BATCH * SLOT_LEN);
        if (!p->arena || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
                int r = p->arena ? -errno : -ENOMEM;

                packet_socket_free(&p->watch);
                return r;
        }
        p->fd = fds[0];
        set_buffer(fds[0]);
        set_buffer(fds[1]);
        *ret = &p->watch;
        *ret_fd = fds[1];
        return 0;
}
