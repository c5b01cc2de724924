/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TAPs, packet sockets and frames for the tests in a virtual machine. Uses nothing of the code under test. */

#include "vm-tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t n_allocations;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_malloc(size_t n) {
        __atomic_add_fetch(&n_allocations, 1, __ATOMIC_RELAXED);
        return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size) {
        __atomic_add_fetch(&n_allocations, 1, __ATOMIC_RELAXED);
        return __real_calloc(n, size);
}

uint64_t vm_allocations(void) {
        return __atomic_load_n(&n_allocations, __ATOMIC_RELAXED);
}

static void must(int r, const char *what) {
        if (r < 0)
                g_error("%s: %s", what, g_strerror(errno));
}

static void configure(const VmTap *t, const VmTapOptions *o) {
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq ifr = {};
        struct sockaddr_in *sin = (struct sockaddr_in *) &ifr.ifr_addr;
        g_autofree char *path = g_strdup_printf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", t->name);
        FILE *f = fopen(path, "we");

        if (f) { /* no frames of the kernel's own; /proc shows the namespace of the process, so this is no must */
                (void) fputs("1\n", f);
                (void) fclose(f);
        }
        must(s, "socket");
        memcpy(ifr.ifr_name, t->name, sizeof(t->name));
        ifr.ifr_mtu = 65521;
        must(ioctl(s, SIOCSIFMTU, &ifr), "SIOCSIFMTU");
        if (o->ip4) {
                memset(&ifr.ifr_addr, 0, sizeof(ifr.ifr_addr));
                sin->sin_family = AF_INET;
                g_assert_cmpint(inet_pton(AF_INET, o->ip4, &sin->sin_addr), ==, 1);
                must(ioctl(s, SIOCSIFADDR, &ifr), "SIOCSIFADDR");
                sin->sin_addr.s_addr = htonl(0xffffff00);
                must(ioctl(s, SIOCSIFNETMASK, &ifr), "SIOCSIFNETMASK");
        }
        memset(&ifr.ifr_ifru, 0, sizeof(ifr.ifr_ifru));
        ifr.ifr_flags = IFF_UP | (o->ip4 ? 0 : IFF_NOARP);
        must(ioctl(s, SIOCSIFFLAGS, &ifr), "SIOCSIFFLAGS");
        close(s);
}

VmTap vm_tap_open(const VmTapOptions *o) {
        VmTap t = { .packet_fd = -1 };
        struct ifreq ifr = { .ifr_flags = (short) (o->flags | IFF_NO_PI) };
        int len = (int) o->header_len;

        t.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        must(t.fd, "/dev/net/tun");
        must(ioctl(t.fd, TUNSETIFF, &ifr), "TUNSETIFF");
        memcpy(t.name, ifr.ifr_name, sizeof(t.name));
        if (len)
                must(ioctl(t.fd, TUNSETVNETHDRSZ, &len), "TUNSETVNETHDRSZ");
        must(ioctl(t.fd, TUNSETOFFLOAD, o->offloads), "TUNSETOFFLOAD");
        if (o->sndbuf)
                must(ioctl(t.fd, TUNSETSNDBUF, &o->sndbuf), "TUNSETSNDBUF");
        t.ifindex = (int) if_nametoindex(t.name);
        configure(&t, o);
        if (o->packet) {
                struct sockaddr_ll sll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = t.ifindex };
                int big = 8 << 20;

                t.packet_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                must(t.packet_fd, "AF_PACKET");
                must(setsockopt(t.packet_fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big)), "SO_RCVBUFFORCE");
                must(setsockopt(t.packet_fd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof(big)), "SO_SNDBUFFORCE");
                must(bind(t.packet_fd, (struct sockaddr *) &sll, sizeof(sll)), "bind");
        }
        return t;
}

int vm_tap_queue(const VmTap *t, unsigned flags) {
        struct ifreq ifr = { .ifr_flags = (short) (flags | IFF_NO_PI) };
        int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

        must(fd, "/dev/net/tun");
        memcpy(ifr.ifr_name, t->name, sizeof(t->name));
        must(ioctl(fd, TUNSETIFF, &ifr), "TUNSETIFF of a further queue");
        return fd;
}

void vm_tap_close(VmTap *t) {
        if (t->packet_fd >= 0)
                close(t->packet_fd);
        if (t->fd >= 0)
                close(t->fd);
        t->fd = t->packet_fd = -1;
}

void vm_tap_delete(const VmTap *t) {
        struct {
                struct nlmsghdr h;
                struct ifinfomsg i;
        } req = {
                .h = { .nlmsg_len = sizeof(req), .nlmsg_type = RTM_DELLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
                .i = { .ifi_index = t->ifindex },
        };
        struct {
                struct nlmsghdr h;
                struct nlmsgerr e;
        } answer;
        int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

        must(s, "netlink");
        must((int) send(s, &req, sizeof(req), 0), "RTM_DELLINK");
        must((int) recv(s, &answer, sizeof(answer), 0), "RTM_DELLINK answer");
        g_assert_cmpint(answer.e.error, ==, 0);
        close(s);
}

bool vm_wait(int fd, int msec) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, msec) == 1;
}

void vm_frame(uint8_t *buf, size_t len, uint32_t seed) {
        static const uint8_t head[14] = { 0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, VM_ETHERTYPE >> 8, VM_ETHERTYPE & 0xff };
        uint32_t x = seed * 2654435761u + (uint32_t) len;

        for (size_t i = 0; i < len; i++) {
                x = x * 1664525u + 1013904223u;
                buf[i] = (uint8_t) (x >> 24);
        }
        memcpy(buf, head, sizeof(head));
}

ssize_t vm_packet_read(const VmTap *t, uint8_t *buf, size_t len, int msec) {
        uint64_t until = vm_now_usec() + (uint64_t) msec * 1000;

        for (;;) {
                ssize_t n = recv(t->packet_fd, buf, len, 0);

                if (n >= 14 && buf[12] == VM_ETHERTYPE >> 8 && buf[13] == (VM_ETHERTYPE & 0xff))
                        return n;
                if (n < 0 && (vm_now_usec() > until || !vm_wait(t->packet_fd, msec)))
                        return -1;
        }
}

uint64_t vm_now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}
