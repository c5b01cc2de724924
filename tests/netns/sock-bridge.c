/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A namespace as a virtual machine: makes a TAP in it and carries its frames over a socket as a VM would.
 *
 *     sock-bridge KIND ADDRESS NETNS IFNAME MTU [gro]
 *
 * KIND: qemu, qemu-dgram, vfkit, bess, vpnkit, http (vpnkit's framing after a request for /connect), stdio (the same after nothing).
 * ADDRESS: a path, tcp:IPV4:PORT, vsock:CID:PORT or fd:N. gro: joins segments of TCP over IPv4 whose sums are right before the namespace
 * sees them, as the driver of a virtual machine's card does (GRO), where cutting gives the same again; else each frame costs a call. Prints
 * "up" when frames can go; ends when the socket does.
 */

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define BATCH 32
#define FRAME_MAX 65553
#define BUFFER_LEN (512 * 1024)

static const char *kind;
static int sock, tap;
static bool is_stream, with_gro;
static unsigned header_len;
static uint8_t frames[BATCH][4 + FRAME_MAX];
static uint8_t buffer[BUFFER_LEN];
static size_t used;

static bool is(const char *name) {
        return strcmp(kind, name) == 0;
}

static void open_tap(const char *netns, const char *ifname, int mtu) {
        struct ifreq ifr = { .ifr_flags = (short) (IFF_TAP | IFF_NO_PI | (with_gro ? IFF_VNET_HDR : 0)) };
        int ns = open(netns, O_RDONLY | O_CLOEXEC), ctl;

        if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
                err(1, "%s", netns);
        tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
        (void) snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
        if (tap < 0 || ioctl(tap, TUNSETIFF, &ifr) < 0)
                err(1, "/dev/net/tun");
        ctl = socket(AF_INET, SOCK_DGRAM, 0);
        ifr.ifr_mtu = mtu;
        if (ctl < 0 || ioctl(ctl, SIOCSIFMTU, &ifr) < 0)
                err(1, "MTU %d", mtu);
        ifr.ifr_flags = IFF_UP;
        if (ioctl(ctl, SIOCSIFFLAGS, &ifr) < 0)
                err(1, "%s", ifname);
        (void) close(ctl);
        (void) close(ns);
}

static void connect_to(const char *address) {
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        struct sockaddr_in in = { .sin_family = AF_INET };
        struct sockaddr_vm vm = { .svm_family = AF_VSOCK };
        int type = is("bess") ? SOCK_SEQPACKET : is_stream ? SOCK_STREAM : SOCK_DGRAM;
        char host[64];
        unsigned port, cid;

        if (sscanf(address, "fd:%d", &sock) == 1)
                return;
        if (sscanf(address, "vsock:%u:%u", &cid, &port) == 2) {
                vm.svm_cid = cid;
                vm.svm_port = port;
                sock = socket(AF_VSOCK, type, 0);
                if (sock < 0 || connect(sock, (struct sockaddr *) &vm, sizeof(vm)) < 0)
                        err(1, "%s", address);
                return;
        }
        if (sscanf(address, "tcp:%63[^:]:%u", host, &port) == 2) {
                in.sin_port = htons((uint16_t) port);
                if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
                        errx(1, "%s: no address", host);
                sock = socket(AF_INET, type, 0);
                if (sock < 0 || connect(sock, (struct sockaddr *) &in, sizeof(in)) < 0)
                        err(1, "%s", address);
                return;
        }
        sock = socket(AF_UNIX, type, 0);
        if (sock < 0)
                err(1, "socket");
        if (type == SOCK_DGRAM) { /* a name to be answered by */
                (void) snprintf(un.sun_path, sizeof(un.sun_path), "%.90s.%d", address, (int) getpid());
                if (bind(sock, (struct sockaddr *) &un, sizeof(un)) < 0)
                        err(1, "%s", un.sun_path);
        }
        (void) snprintf(un.sun_path, sizeof(un.sun_path), "%s", address);
        if (connect(sock, (struct sockaddr *) &un, sizeof(un)) < 0)
                err(1, "%s", address);
}

static void write_all(const void *bytes, size_t len) {
        if (send(sock, bytes, len, 0) != (ssize_t) len)
                err(1, "send");
}

static void shake_hands(void) {
        uint8_t init[49] = "VMN3T", command[41] = "\1c3d68012-0208-11ea-9fd7-f2189899ab0", reply[258];

        if (is("vfkit"))
                write_all("VFKT", 4);
        if (is("http"))
                write_all("POST /connect HTTP/1.1\r\nHost: vm\r\n\r\n", 36);
        if (is("vpnkit")) {
                init[5] = 22;
                command[36] = (uint8_t) ('0' + getpid() % 10);
                write_all(init, sizeof(init));
                if (recv(sock, reply, sizeof(init), MSG_WAITALL) != sizeof(init) || memcmp(reply, init, sizeof(init)) != 0)
                        errx(1, "wrong answer to the greeting");
                write_all(command, sizeof(command));
                if (recv(sock, reply, sizeof(reply), MSG_WAITALL) != sizeof(reply) || reply[0] != 1)
                        errx(1, "wrong answer to the command");
        }
}

static void put_header(uint8_t *at, size_t len) {
        if (header_len == 4) {
                at[0] = (uint8_t) (len >> 24);
                at[1] = (uint8_t) (len >> 16);
                at[2] = (uint8_t) (len >> 8);
                at[3] = (uint8_t) len;
        } else if (header_len == 2) {
                at[0] = (uint8_t) len;
                at[1] = (uint8_t) (len >> 8);
        }
}

static size_t get_header(const uint8_t *at) {
        return header_len == 4 ? (size_t) at[0] << 24 | (size_t) at[1] << 16 | (size_t) at[2] << 8 | at[3] : (size_t) at[1] << 8 | at[0];
}

/* From the guest: some frames with one call. A socket that is full holds the guest's interface back. */
static void from_tap(void) {
        struct mmsghdr msgs[BATCH] = {};
        struct iovec iov[BATCH];
        unsigned n = 0, sent = 0;
        int r = 0;

        for (; n < BATCH; n++) {
                struct virtio_net_hdr hdr; /* of no use: nothing was offered to the namespace (TUNSETOFFLOAD) */
                struct iovec v[] = { { &hdr, sizeof(hdr) }, { frames[n] + header_len, FRAME_MAX } };
                ssize_t len = with_gro ? readv(tap, v, 2) - (ssize_t) sizeof(hdr) : read(tap, v[1].iov_base, FRAME_MAX);

                if (len < 0)
                        break;
                put_header(frames[n], (size_t) len);
                iov[n] = (struct iovec){ frames[n], header_len + (size_t) len };
                msgs[n].msg_hdr = (struct msghdr){ .msg_iov = &iov[n], .msg_iovlen = 1 };
        }
        if (n > 0 && is_stream) {
                size_t total = 0;
                struct iovec *v = iov;

                for (unsigned i = 0; i < n; i++)
                        total += iov[i].iov_len;
                for (unsigned left = n; total > 0;) { /* a blocking socket takes all, unless a signal comes */
                        ssize_t done = writev(sock, v, (int) left);

                        if (done < 0)
                                err(1, "writev");
                        total -= (size_t) done;
                        for (; left > 0 && (size_t) done >= v->iov_len; v++, left--)
                                done -= (ssize_t) v->iov_len;
                        if (left > 0) {
                                v->iov_base = (uint8_t *) v->iov_base + done;
                                v->iov_len -= (size_t) done;
                        }
                }
                return;
        }
        for (; sent < n; sent += (unsigned) r) {
                r = sendmmsg(sock, msgs + sent, n - sent, 0);
                if (r < 0)
                        err(1, "sendmmsg");
        }
}

static void check_write(ssize_t r) {
        if (r < 0 && errno != EAGAIN && errno != EIO && errno != EINVAL)
                err(1, "write to the interface");
}

/* ---- joining segments (gro) ---- */

#define ETH_LEN 14
#define TCP_AT (ETH_LEN + 20) /* after an IPv4 header without options */
#define TCP_ACK 0x10
#define TCP_PSH 0x08

static struct {
        uint8_t *first; /* a frame, NULL: nothing is held */
        size_t header, segment, len; /* of @first: all headers, payload; of all: what they are together as one frame */
        struct iovec iov[1 + BATCH * 2];
        int n;
} run;

static uint64_t add(uint64_t sum, const uint8_t *at, size_t len) {
        uint32_t word;

        for (; len >= sizeof(word); at += sizeof(word), len -= sizeof(word)) {
                memcpy(&word, at, sizeof(word));
                sum += word;
        }
        word = 0;
        memcpy(&word, at, len);
        return sum + word;
}

static uint16_t fold(uint64_t sum) {
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return (uint16_t) sum;
}

static uint16_t get16(const uint8_t *at) {
        return (uint16_t) (at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at) {
        return (uint32_t) get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, size_t value) {
        at[0] = (uint8_t) (value >> 8);
        at[1] = (uint8_t) value;
}

/* RFC 9293, 3.1, and RFC 791's addresses before it. */
static uint16_t tcp_sum(const uint8_t *frame, size_t len) {
        uint64_t pseudo = (uint64_t) htons(6) + htons((uint16_t) len);

        return fold(add(add(pseudo, frame + ETH_LEN + 12, 8), frame + TCP_AT, len));
}

/* The length of all headers where the frame is a segment that may be joined with others: nothing but data, and right. 0: it is not. */
static size_t segment_header(const uint8_t *frame, size_t len) {
        size_t header;

        if (len < TCP_AT + 20 || get16(frame + 12) != 0x0800 || frame[ETH_LEN] != 0x45 || frame[ETH_LEN + 9] != 6 ||
            get16(frame + ETH_LEN + 2) != len - ETH_LEN || get16(frame + ETH_LEN + 6) & 0x3fff)
                return 0;
        header = TCP_AT + (size_t) (frame[TCP_AT + 12] >> 4) * 4;
        if (header < TCP_AT + 20 || header >= len || (frame[TCP_AT + 13] & ~TCP_PSH) != TCP_ACK)
                return 0;
        return tcp_sum(frame, len - TCP_AT) == 0xffff && fold(add(0, frame + ETH_LEN, 20)) == 0xffff ? header : 0;
}

static void flush_run(void) {
        struct virtio_net_hdr hdr = {};
        uint8_t *f = run.first;

        if (!f)
                return;
        if (run.n > 2) {
                put16(f + ETH_LEN + 2, run.len - ETH_LEN);
                put16(f + ETH_LEN + 10, 0);
                uint16_t sum = (uint16_t) ~fold(add(0, f + ETH_LEN, 20));
                memcpy(f + ETH_LEN + 10, &sum, sizeof(sum));
                sum = fold(add((uint64_t) htons(6) + htons((uint16_t) (run.len - TCP_AT)), f + ETH_LEN + 12, 8));
                memcpy(f + TCP_AT + 16, &sum, sizeof(sum)); /* of the pseudo header: the rest is open */
                hdr = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .csum_start = TCP_AT,
                                               .csum_offset = 16, .hdr_len = (uint16_t) run.header, .gso_size = (uint16_t) run.segment };
        }
        run.iov[0] = (struct iovec){ &hdr, sizeof(hdr) };
        check_write(writev(tap, run.iov, run.n));
        run.first = NULL;
}

/* RFC 6864, 4.1: what is never taken apart has no identification; else it counts, as it will where the run is cut again. */
static bool is_numbered_on(const uint8_t *ip, const uint8_t *first) {
        return ip[6] & 0x40 || get16(ip + 4) == (uint16_t) (get16(first + 4) + run.n - 1);
}

/* Is it what follows, said alike (all of the headers but lengths, sums, PSH and what counts), after segments that were all whole? */
static bool continues_run(const uint8_t *frame, size_t len, size_t header) {
        const uint8_t *f = run.first, *ip = f + ETH_LEN, *tcp = f + TCP_AT;

        return f && header == run.header && run.n < BATCH * 2 && run.len + len - header <= 65535 + ETH_LEN && len - header <= run.segment &&
                (run.len - header) % run.segment == 0 && !(tcp[13] & TCP_PSH) &&
                memcmp(frame, f, ETH_LEN + 2) == 0 && memcmp(frame + ETH_LEN + 6, ip + 6, 4) == 0 && memcmp(frame + ETH_LEN + 12, ip + 12, 8) == 0 &&
                is_numbered_on(frame + ETH_LEN, ip) && memcmp(frame + TCP_AT, tcp, 4) == 0 &&
                get32(frame + TCP_AT + 4) == get32(tcp + 4) + (uint32_t) (run.len - header) && memcmp(frame + TCP_AT + 8, tcp + 8, 5) == 0 &&
                memcmp(frame + TCP_AT + 14, tcp + 14, 2) == 0 && memcmp(frame + TCP_AT + 18, tcp + 18, header - TCP_AT - 18) == 0;
}

static void join(uint8_t *frame, size_t len) {
        size_t header = segment_header(frame, len);

        if (header > 0 && continues_run(frame, len, header)) {
                run.first[TCP_AT + 13] |= frame[TCP_AT + 13] & TCP_PSH;
                run.iov[run.n++] = (struct iovec){ frame + header, len - header };
                run.len += len - header;
                return;
        }
        flush_run();
        run.first = frame;
        run.header = header;
        run.segment = len - header;
        run.len = len;
        run.iov[1] = (struct iovec){ frame, len };
        run.n = 2;
        if (header == 0)
                flush_run();
}

static void to_tap(uint8_t *at, size_t len) {
        if (with_gro)
                join(at, len);
        else
                check_write(write(tap, at, len));
}

static void from_sock(void) {
        ssize_t n = recv(sock, buffer + used, BUFFER_LEN - used, is_stream ? 0 : MSG_DONTWAIT);
        size_t begin = 0;

        if (n < 0 && errno == EAGAIN)
                return;
        if (n <= 0)
                exit(n < 0);
        if (!is_stream) {
                to_tap(buffer, (size_t) n);
                for (unsigned i = 1; i < BATCH && (n = recv(sock, buffer, BUFFER_LEN, MSG_DONTWAIT)) > 0; i++)
                        to_tap(buffer, (size_t) n);
                return;
        }
        used += (size_t) n;
        while (used - begin >= header_len && used - begin - header_len >= get_header(buffer + begin)) {
                size_t len = get_header(buffer + begin);

                to_tap(buffer + begin + header_len, len);
                begin += header_len + len;
        }
        flush_run(); /* its frames lie in the buffer */
        memmove(buffer, buffer + begin, used - begin);
        used -= begin;
        if (used >= header_len && get_header(buffer) > FRAME_MAX)
                errx(1, "a frame of %zu bytes", get_header(buffer));
}

int main(int argc, char **argv) {
        with_gro = argc == 7 && strcmp(argv[6], "gro") == 0;
        if (argc != (with_gro ? 7 : 6))
                errx(2, "usage: sock-bridge KIND ADDRESS NETNS IFNAME MTU [gro]");
        kind = argv[1];
        is_stream = is("qemu") || is("vpnkit") || is("http") || is("stdio");
        if (with_gro && !is_stream)
                errx(2, "gro is for streams");
        header_len = is("qemu") ? 4 : is_stream ? 2 : 0;
        connect_to(argv[2]);
        shake_hands();
        open_tap(argv[3], argv[4], atoi(argv[5]));
        puts("up");
        (void) fflush(stdout);

        for (;;) {
                struct pollfd p[] = { { .fd = tap, .events = POLLIN }, { .fd = sock, .events = POLLIN } };

                if (poll(p, 2, -1) < 0)
                        err(1, "poll");
                if (p[1].revents & (POLLIN | POLLHUP | POLLERR))
                        from_sock();
                if (p[0].revents & POLLERR)
                        return 0;
                if (p[0].revents & POLLIN)
                        from_tap();
        }
}
