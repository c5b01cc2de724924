/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tap device against the kernel: interfaces in namespaces of our making, and frames between the device and the kernel's
 * own UDP and TCP, with offloads and without. The far end of every connection is a small TCP of this file's own, in the
 * device's receive handler; every byte is compared. Runs as root or as a user who may make user namespaces.
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "device/offload.h"
#include "device/tap-private.h"
#include "device/tap.h"

#define NOBODY 65534
#define UNREACHABLE_PID "4194304" /* one more than any pid can be */

static const MacAddr guest_mac = { { 0x52, 0x54, 0x00, 0, 0, 1 } }, peer_mac = { { 0x52, 0x54, 0x00, 0, 0, 2 } };

/* ---- a guest: a process in a namespace of its own ---- */

typedef struct Guest {
        pid_t pid;
        int alive_fd; /* closing it ends the process */
        char pid_text[16];
} Guest;

static Guest guest_new(int unshare_flags) {
        int ready[2], alive[2];
        char byte = 0;
        Guest g;

        g_assert_cmpint(pipe2(ready, O_CLOEXEC), ==, 0);
        g_assert_cmpint(pipe2(alive, O_CLOEXEC), ==, 0);
        g.pid = _Fork(); /* what it does next takes a process of one thread, sanitizers' included */
        g_assert_cmpint(g.pid, >=, 0);
        if (g.pid == 0) {
                (void) close(alive[1]);
                byte = unshare(unshare_flags) < 0;
                (void) prctl(PR_SET_DUMPABLE, 1);
                (void) !write(ready[1], &byte, 1);
                (void) !read(alive[0], &byte, 1);
                _exit(0);
        }
        g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
        g_assert_cmpint(byte, ==, 0);
        (void) close(ready[0]);
        (void) close(ready[1]);
        (void) close(alive[0]);
        g.alive_fd = alive[1];
        (void) snprintf(g.pid_text, sizeof(g.pid_text), "%d", (int) g.pid);
        return g;
}

static void guest_end(Guest *g) {
        (void) close(g->alive_fd);
        g_assert_cmpint(waitpid(g->pid, NULL, 0), ==, g->pid);
}

static int guest_netns(const Guest *g) {
        g_autofree char *path = g_strdup_printf("/proc/%d/ns/net", (int) g->pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        g_assert_cmpint(fd, >=, 0);
        return fd;
}

/* The calling thread visits the guest's network namespace. Returns the way back. */
static int guest_enter(const Guest *g) {
        int back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), there = guest_netns(g);

        g_assert_cmpint(back, >=, 0);
        g_assert_cmpint(setns(there, CLONE_NEWNET), ==, 0);
        (void) close(there);
        return back;
}

static void guest_leave(int back) {
        g_assert_cmpint(setns(back, CLONE_NEWNET), ==, 0);
        (void) close(back);
}

static int guest_socket(const Guest *g, int family, int type) {
        const struct timeval limit = { .tv_sec = 10 };
        int back = guest_enter(g), fd = socket(family, type | SOCK_CLOEXEC, 0);

        guest_leave(back);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), ==, 0);
        g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), ==, 0);
        return fd;
}

static unsigned guest_ifindex(const Guest *g, const char *ifname) {
        int back = guest_enter(g);
        unsigned index = if_nametoindex(ifname);

        guest_leave(back);
        return index;
}

static void guest_run(const Guest *g, const char *command) {
        int back = guest_enter(g), status;

        g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, &status, NULL));
        guest_leave(back);
        if (status != 0)
                g_error("failed in the guest: %s", command);
}

static struct ifreq guest_ifreq(const Guest *g, const char *ifname, unsigned long request) {
        int fd = guest_socket(g, AF_INET, SOCK_DGRAM);
        struct ifreq ifr = {};

        (void) snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
        g_assert_cmpint(ioctl(fd, request, &ifr), ==, 0);
        (void) close(fd);
        return ifr;
}

/* A value of /proc/net/snmp of the guest, as "Tcp:" "InCsumErrors". */
static uint64_t guest_counter(const Guest *g, const char *group, const char *name) {
        g_autofree char *path = g_strdup_printf("/proc/%d/net/snmp", (int) g->pid), *text = NULL;
        g_auto(GStrv) lines = NULL;

        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        lines = g_strsplit(text, "\n", -1);
        for (unsigned i = 0; lines[i] && lines[i + 1]; i++) {
                g_auto(GStrv) names = g_strsplit(lines[i], " ", -1), values = g_strsplit(lines[i + 1], " ", -1);

                if (g_strcmp0(names[0], group) != 0)
                        continue;
                for (unsigned k = 1; names[k] && values[k]; k++)
                        if (streq(names[k], name))
                                return g_ascii_strtoull(values[k], NULL, 10);
        }
        g_assert_not_reached();
}

/* ---- interfaces ---- */

static TapConfig tap_config(const char *netns) {
        return (TapConfig){ .name = "t", .netns = netns, .fd = -EBADF, .up = true, .offloads = _DEVICE_OFFLOAD_ALL, .n_queues = 1 };
}

static Device *tap_make(const TapConfig *c) {
        const char *what = "";
        Device *d = NULL;
        int r = tap_new(&d, c, &what);

        if (r < 0)
                g_error("tap_new: %s: %s", what, g_strerror(-r));
        return d;
}

static void tap_refused(const TapConfig *c, int error) {
        const char *what = NULL;
        Device *d = NULL;

        g_assert_cmpint(tap_new(&d, c, &what), ==, error);
        g_assert_null(d);
        g_assert_nonnull(what);
        g_assert_cmpstr(what, !=, "");
}

static void test_create(void) {
        Guest g = guest_new(CLONE_NEWNET);
        TapConfig c = tap_config(g.pid_text);
        struct ifreq ifr;
        Device *d;

        c.ifname = "eth7";
        c.mac = guest_mac;
        c.mtu = 9000;
        d = tap_make(&c);

        g_assert_cmpstr(d->ifname, ==, "eth7");
        g_assert_cmpuint(d->mtu, ==, 9000);
        g_assert_true(mac_equal(&d->mac, &guest_mac));
        g_assert_cmpint(d->ifindex, ==, (int) guest_ifindex(&g, "eth7"));
        g_assert_true(g_str_has_suffix(d->peer, "/ns/net"));
        g_assert_cmpuint(d->offloads & ~(unsigned) DEVICE_OFFLOAD_USO, ==, _DEVICE_OFFLOAD_ALL & ~(unsigned) DEVICE_OFFLOAD_USO);
        g_assert_cmpint(fcntl(tap_fd(d, 0), F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
        g_assert_cmpint(fcntl(tap_fd(d, 0), F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);

        ifr = guest_ifreq(&g, "eth7", SIOCGIFMTU);
        g_assert_cmpint(ifr.ifr_mtu, ==, 9000);
        ifr = guest_ifreq(&g, "eth7", SIOCGIFHWADDR);
        g_assert_cmpmem(ifr.ifr_hwaddr.sa_data, 6, guest_mac.b, 6);
        ifr = guest_ifreq(&g, "eth7", SIOCGIFFLAGS);
        g_assert_cmpint(ifr.ifr_flags & (IFF_UP | IFF_RUNNING), ==, IFF_UP | IFF_RUNNING);
        g_assert_cmpuint(if_nametoindex("eth7"), ==, 0); /* not here */

        g_assert_null(device_free(d));
        g_assert_cmpuint(guest_ifindex(&g, "eth7"), ==, 0);
        guest_end(&g);
}

static void test_create_by_path(void) {
        Guest g = guest_new(CLONE_NEWNET);
        g_autofree char *path = g_strdup_printf("/proc/%d/ns/net", (int) g.pid);
        TapConfig c = tap_config(path);
        struct ifreq ifr;
        Device *d;

        c.up = false;
        d = tap_make(&c);
        g_assert_cmpstr(d->ifname, ==, "vnet0"); /* the kernel's choice */
        g_assert_cmpuint(d->mtu, ==, DEVICE_MTU_MAX);
        g_assert_false(mac_is_zero(&d->mac));
        ifr = guest_ifreq(&g, "vnet0", SIOCGIFFLAGS);
        g_assert_cmpint(ifr.ifr_flags & IFF_UP, ==, 0);
        device_free(d);
        guest_end(&g);
}

static void test_create_here(void) {
        TapConfig c = tap_config(NULL);
        Device *d;

        c.ifname = "here0";
        d = tap_make(&c);
        g_assert_cmpint(d->ifindex, ==, (int) if_nametoindex("here0"));
        g_assert_null(d->peer);
        device_free(d);
        g_assert_cmpuint(if_nametoindex("here0"), ==, 0);
}

static void test_refused(void) {
        TapConfig c = tap_config(NULL);
        Device *d;

        c.ifname = "busy0";
        d = tap_make(&c);
        tap_refused(&c, -EBUSY);
        device_free(d);

        c = tap_config(UNREACHABLE_PID);
        tap_refused(&c, -ENOENT);
        c = tap_config("/proc/self/ns/uts");
        tap_refused(&c, -EINVAL);
        c = tap_config("/dev/null");
        tap_refused(&c, -EINVAL);
        /* Opened for reading this would wait for ever. */
        g_autofree char *dir = g_dir_make_tmp("vnetd-tap-XXXXXX", NULL), *fifo = g_build_filename(dir, "fifo", NULL);
        g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
        c = tap_config(fifo);
        tap_refused(&c, -EINVAL);
        (void) unlink(fifo);
        (void) rmdir(dir);

        c = tap_config(NULL);
        c.ifname = "a/b";
        tap_refused(&c, -EINVAL);
        c.ifname = "lo"; /* there, and no TAP */
        tap_refused(&c, -EINVAL);
        c = tap_config(NULL);
        c.mac = (MacAddr){ { 1, 0, 0, 0, 0, 1 } };
        tap_refused(&c, -EINVAL);
        c = tap_config(NULL);
        c.n_queues = 0;
        tap_refused(&c, -EINVAL);
        c.n_queues = TAP_QUEUES_MAX + 1;
        tap_refused(&c, -EINVAL);
        c = tap_config(NULL);
        c.mtu = DEVICE_MTU_MIN - 1;
        tap_refused(&c, -EINVAL);
        c.mtu = DEVICE_MTU_MAX + 1;
        tap_refused(&c, -EINVAL);
        c.mtu = DEVICE_MTU_MAX;
        device_free(tap_make(&c));
        c.mtu = DEVICE_MTU_MIN;
        device_free(tap_make(&c));
}

static void test_offloads(void) {
        static const struct {
                uint32_t wanted, given;
        } table[] = {
                { 0, 0 },
                { DEVICE_OFFLOAD_CSUM, DEVICE_OFFLOAD_CSUM },
                { DEVICE_OFFLOAD_TSO4 | DEVICE_OFFLOAD_TSO6, 0 }, /* nothing without checksums */
                { DEVICE_OFFLOAD_CSUM | DEVICE_OFFLOAD_ECN, DEVICE_OFFLOAD_CSUM },
                { DEVICE_OFFLOAD_CSUM | DEVICE_OFFLOAD_TSO6, DEVICE_OFFLOAD_CSUM | DEVICE_OFFLOAD_TSO6 },
        };

        for (unsigned i = 0; i < ELEMENTSOF(table); i++) {
                TapConfig c = tap_config(NULL);
                Device *d;

                c.offloads = table[i].wanted;
                d = tap_make(&c);
                g_assert_cmpuint(d->offloads, ==, table[i].given);
                device_free(d);
        }

        TapConfig c = tap_config(NULL);
        c.no_vnet_hdr = true;
        Device *d = tap_make(&c);
        g_assert_cmpuint(d->offloads, ==, 0);
        device_free(d);
}

static void test_persistent(void) {
        Guest g = guest_new(CLONE_NEWNET);
        TapConfig c = tap_config(g.pid_text);
        Device *d;

        c.ifname = "keep0";
        c.mtu = 4000;
        c.persistent = true;
        c.set_owner = true;
        c.tun_owner = 0;
        device_free(tap_make(&c));
        g_assert_cmpuint(guest_ifindex(&g, "keep0"), !=, 0);

        /* Found again: what was set stays where nothing else is asked for. */
        c.mtu = 0;
        d = tap_make(&c);
        g_assert_cmpuint(d->mtu, ==, 4000);
        device_free(d);
        guest_run(&g, "ip link del keep0");
        guest_end(&g);
}

/* A TAP as a client would open it. */
static int open_tap(const Guest *g, const char *ifname, short flags) {
        struct ifreq ifr = { .ifr_flags = flags };
        int back = guest_enter(g), fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

        (void) snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(ioctl(fd, TUNSETIFF, &ifr), ==, 0);
        guest_leave(back);
        return fd;
}

static void test_adopt(void) {
        Guest g = guest_new(CLONE_NEWNET);
        TapConfig c = tap_config(NULL);
        Device *d;

        c.fd = open_tap(&g, "given0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
        c.mac = guest_mac;
        d = tap_make(&c);
        g_assert_cmpint(fcntl(c.fd, F_GETFD), ==, -1); /* taken */
        g_assert_cmpstr(d->ifname, ==, "given0");
        g_assert_cmpint(d->ifindex, ==, (int) guest_ifindex(&g, "given0"));
        g_assert_cmpuint(d->mtu, ==, 1500); /* not ours to change unasked */
        g_assert_true(mac_equal(&d->mac, &guest_mac));
        g_assert_cmpuint(d->offloads & DEVICE_OFFLOAD_TSO4, !=, 0);
        g_assert_cmpint(fcntl(tap_fd(d, 0), F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
        device_free(d);
        g_assert_cmpuint(guest_ifindex(&g, "given0"), ==, 0);

        c = tap_config(NULL);
        c.fd = open_tap(&g, "bare0", IFF_TAP | IFF_NO_PI);
        c.mtu = 2000;
        d = tap_make(&c);
        g_assert_cmpuint(d->offloads, ==, 0);
        g_assert_cmpuint(d->mtu, ==, 2000);
        device_free(d);
        guest_end(&g);
}

static void test_adopt_refused(void) {
        Guest g = guest_new(CLONE_NEWNET);
        TapConfig c = tap_config(NULL);
        int pair[2];

        c.fd = open_tap(&g, "tun0", IFF_TUN | IFF_NO_PI);
        tap_refused(&c, -EINVAL);
        g_assert_cmpint(close(c.fd), ==, 0); /* still the caller's */

        g_assert_cmpint(pipe2(pair, O_CLOEXEC), ==, 0);
        c.fd = pair[0];
        tap_refused(&c, -EINVAL);
        (void) close(pair[0]);
        (void) close(pair[1]);

        c.fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC); /* attached to nothing */
        tap_refused(&c, -EINVAL);
        g_assert_cmpint(close(c.fd), ==, 0);
        guest_end(&g);
}

/* Not in a chroot, and not where the administrator has said no. */
static bool may_make_user_namespaces(void) {
        int status;
        pid_t pid = _Fork();

        g_assert_cmpint(pid, >=, 0);
        if (pid == 0)
                _exit(unshare(CLONE_NEWUSER) < 0);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Runs in a child of nobody's: no right anywhere but in the user namespace its guest makes. */
static int as_nobody(void) {
        const char *what = "";
        Device *d = NULL;
        Guest g;
        int r;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("none", "/dev/net", "tmpfs", 0, NULL) < 0 || mknod("/dev/net/tun", S_IFCHR | 0666, makedev(10, 200)) < 0 ||
            chmod("/dev/net/tun", 0666) < 0)
                return 77;
        if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
                return 77;
        (void) prctl(PR_SET_DUMPABLE, 1);
        if (!may_make_user_namespaces())
                return 77;

        g = guest_new(CLONE_NEWUSER | CLONE_NEWNET);
        TapConfig c = tap_config(g.pid_text);
        c.mtu = 3000;
        r = tap_new(&d, &c, &what);
        if (r < 0)
                g_printerr("%s: %s\n", what, g_strerror(-r));
        else if (d->mtu != 3000 || d->ifindex == 0)
                r = -EIO;
        device_free(d);

        /* Where we have no right at all the answer is a plain refusal. */
        c.netns = NULL;
        if (r >= 0 && tap_new(&d, &c, &what) != -EPERM)
                r = -EIO;
        guest_end(&g);
        return r < 0;
}

static void test_user_namespace(void) {
        int status;
        pid_t pid;

        if (access("/proc/self/uid_map", R_OK) < 0 || getuid() != 0) {
                g_test_skip("needs root");
                return;
        }
        pid = fork();
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0)
                _exit(as_nobody());
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                g_test_skip("no device nodes or no user namespaces for other users here");
        else
                g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

/* ---- frames: a small peer behind the device ---- */

typedef struct Peer {
        Guest guest;
        Loop *loop;
        Device *device;
        bool v6;
        uint16_t mss;
        int gone; /* atomic */

        /* the loop's thread */
        uint16_t port, guest_port;
        uint32_t snd_nxt, rcv_nxt;
        bool established, finished;
        GByteArray *received;
        unsigned n_super, n_frames, n_batches;
        uint32_t first_batch; /* bytes */
        bool asks;            /* what is sent asks the guest's kernel something */
        uint64_t wakes;       /* of the loop, when the guest's SYN,ACK was read */
} Peer;

typedef struct Mode {
        const char *name;
        uint32_t offloads;
        bool bare;
        uint32_t mtu;
        bool v6;
        unsigned n_queues; /* 0: one */
} Mode;

static const Mode one_queue = { "one", _DEVICE_OFFLOAD_ALL, false, 1500, false, 1 },
                  four_queues = { "four", _DEVICE_OFFLOAD_ALL, false, 1500, false, 4 };

#define HEADERS_V4 (ETH_HEADER_LEN + 20)
#define HEADERS_V6 (ETH_HEADER_LEN + 40)

static size_t l4_at(const Peer *p) {
        return p->v6 ? HEADERS_V6 : HEADERS_V4;
}

static void peer_addrs(const Peer *p, IpAddr *ret_guest, IpAddr *ret_peer) {
        g_assert_cmpint(ip_parse(p->v6 ? "fd00::1" : "10.0.0.1", ret_guest), ==, 0);
        g_assert_cmpint(ip_parse(p->v6 ? "fd00::2" : "10.0.0.2", ret_peer), ==, 0);
}

/* Writes Ethernet and IP headers for @l4_len bytes of @proto. */
static void put_headers(const Peer *p, uint8_t *head, uint8_t proto, size_t l4_len) {
        IpAddr guest, self;
        uint16_t v, type = htons(p->v6 ? 0x86dd : 0x0800);

        peer_addrs(p, &guest, &self);
        memset(head, 0, l4_at(p));
        memcpy(head, guest_mac.b, 6);
        memcpy(head + 6, peer_mac.b, 6);
        memcpy(head + 12, &type, 2);
        head += ETH_HEADER_LEN;
        if (p->v6) {
                head[0] = 0x60;
                v = htons((uint16_t) l4_len);
                memcpy(head + 4, &v, 2);
                head[6] = proto;
                head[7] = 64;
                memcpy(head + 8, self.b, 16);
                memcpy(head + 24, guest.b, 16);
                return;
        }
        head[0] = 0x45;
        v = htons((uint16_t) (20 + l4_len));
        memcpy(head + 2, &v, 2);
        head[8] = 64;
        head[9] = proto;
        memcpy(head + 12, self.b + 12, 4);
        memcpy(head + 16, guest.b + 12, 4);
        v = checksum_finish(checksum_add(head, 20, 0));
        memcpy(head + 10, &v, 2);
}

/* Sends one packet with its checksum left open, in uneven pieces; @gso_size 0: no super-frame. */
static void peer_send(Peer *p, uint8_t proto, const uint8_t *l4, size_t l4_header, const uint8_t *data, size_t len,
                      uint16_t gso_size) {
        uint8_t head[HEADERS_V6 + 60];
        size_t l4_off = l4_at(p), check = proto == IPPROTO_TCP ? 16 : 6, cut = len / 3;
        IpAddr guest, self;
        uint16_t sum;

        put_headers(p, head, proto, l4_header + len);
        memcpy(head + l4_off, l4, l4_header);
        peer_addrs(p, &guest, &self);
        sum = htons(checksum_fold(checksum_pseudo(&self, &guest, proto, (uint32_t) (l4_header + len))));
        memcpy(head + l4_off + check, &sum, 2);

        struct iovec iov[] = {
                { head, l4_off + l4_header },
                { (void *) data, cut },
                { (void *) (data + cut), len - cut },
        };
        Frame f = {
                .hdr = {
                        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                        .hdr_len = htole16((uint16_t) (l4_off + l4_header)),
                        .csum_start = htole16((uint16_t) l4_off),
                        .csum_offset = htole16((uint16_t) check),
                        .gso_size = htole16(gso_size),
                },
                .iov = iov,
                .n_iov = len > 0 ? 3 : 1,
                .len = (uint32_t) (l4_off + l4_header + len),
                .asks = p->asks,
        };
        if (gso_size > 0)
                f.hdr.gso_type = proto == IPPROTO_UDP ? VIRTIO_NET_HDR_GSO_UDP_L4 :
                        p->v6                         ? VIRTIO_NET_HDR_GSO_TCPV6 :
                                                        VIRTIO_NET_HDR_GSO_TCPV4;
        g_assert_true(offload_header_is_valid(&f));
        g_assert_cmpuint(device_send(p->device, &f, 1), ==, 1);
}

static void peer_send_tcp(Peer *p, uint8_t flags, const uint8_t *data, size_t len) {
        uint8_t tcp[24] = {};
        uint16_t port = htons(p->port), guest_port = htons(p->guest_port);
        uint32_t seq = htonl(p->snd_nxt), ack = htonl(p->rcv_nxt);
        size_t n = flags & 2 ? 24 : 20;

        memcpy(tcp, &port, 2);
        memcpy(tcp + 2, &guest_port, 2);
        memcpy(tcp + 4, &seq, 4);
        memcpy(tcp + 8, &ack, 4);
        tcp[12] = (uint8_t) (n << 2);
        tcp[13] = flags;
        tcp[14] = tcp[15] = 0xff;
        if (flags & 2) { /* MSS as the link has it */
                tcp[20] = 2;
                tcp[21] = 4;
                tcp[22] = (uint8_t) (p->mss >> 8);
                tcp[23] = (uint8_t) p->mss;
        }
        peer_send(p, IPPROTO_TCP, tcp, n, data, len, len > p->mss ? p->mss : 0);
        p->snd_nxt += (uint32_t) len + (flags & 3 ? 1 : 0);
}

/* A frame from the guest's kernel: its checksum must be right or left open, its data the next in order. */
static void peer_take_tcp(Peer *p, const Frame *f, const uint8_t *frame) {
        const uint8_t *tcp = frame + l4_at(p);
        size_t header = (tcp[12] >> 4) * 4, l4_len = f->len - l4_at(p), len;
        IpAddr guest, self;
        uint32_t seq;

        if (!p->v6) { /* padding has no place behind data */
                uint16_t total;

                memcpy(&total, frame + ETH_HEADER_LEN + 2, 2);
                l4_len = ntohs(total) - 20u;
        }
        peer_addrs(p, &guest, &self);
        if (!(f->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
                g_assert_cmphex(checksum_fold(checksum_add(tcp, l4_len,
                                                           checksum_pseudo(&guest, &self, IPPROTO_TCP, (uint32_t) l4_len))), ==, 0xffff);

        len = l4_len - header;
        memcpy(&seq, tcp + 4, 4);
        if (tcp[13] & 2) {
                p->rcv_nxt = ntohl(seq) + 1;
                p->established = true;
                p->wakes = loop_wakes(p->loop);
                peer_send_tcp(p, 0x10, NULL, 0);
                return;
        }
        g_assert_cmpint(tcp[13] & 4, ==, 0); /* no reset */
        if (ntohl(seq) != p->rcv_nxt) /* nothing gets lost or reordered here; a keepalive may look back */
                return;
        g_byte_array_append(p->received, tcp + header, (guint) len);
        p->rcv_nxt += (uint32_t) len;
        if (tcp[13] & 1) {
                p->rcv_nxt++;
                p->finished = true;
        }
        if (len > p->mss)
                p->n_super++;
        if (len > 0 || tcp[13] & 1)
                peer_send_tcp(p, 0x10, NULL, 0);
}

static void on_receive(Device *d, Frame *frames, unsigned n, void *userdata) {
        Peer *p = userdata;
        static uint8_t linear[FRAME_LEN_MAX]; /* the loop's thread alone */

        g_assert_cmpuint(n, >=, 1);
        g_assert_cmpuint(n, <=, FRAME_BATCH_MAX);
        for (unsigned i = 0; i < n; i++) {
                size_t at = 0;
                uint16_t type;

                g_assert_true(offload_header_is_valid(&frames[i]));
                for (unsigned k = 0; k < frames[i].n_iov; at += frames[i].iov[k].iov_len, k++)
                        memcpy(linear + at, frames[i].iov[k].iov_base, frames[i].iov[k].iov_len);
                g_assert_cmpuint(at, ==, frames[i].len);

                p->n_frames++;
                if (i == 0 && p->n_batches++ == 0)
                        p->first_batch = 0;
                if (p->n_batches == 1)
                        p->first_batch += frames[i].len;
                memcpy(&type, linear + 12, 2);
                if (ntohs(type) == (p->v6 ? 0x86dd : 0x0800) && linear[ETH_HEADER_LEN + (p->v6 ? 6 : 9)] == IPPROTO_TCP)
                        peer_take_tcp(p, &frames[i], linear);
        }
}

static void on_gone(Device *d, int error, void *userdata) {
        Peer *p = userdata;

        g_assert_cmpint(error, ==, -ENODEV);
        __atomic_add_fetch(&p->gone, 1, __ATOMIC_RELEASE);
}

static const DeviceHandler peer_handler = { .receive = on_receive, .gone = on_gone };

static int call_start(void *arg) {
        Peer *p = arg;

        return device_start(p->device, p->loop);
}
static int call_stop(void *arg) {
        Peer *p = arg;

        device_stop(p->device);
        return 0;
}

/* An IPv6 address takes nothing before the kernel has seen that the link is ready and has laid the route to the address
 * itself, both in its own time. */
static void wait_for_v6(const Guest *g) {
        g_autofree char *path = g_strdup_printf("/proc/%d/net/ipv6_route", (int) g->pid);

        for (unsigned i = 0; i < 10000; i++, g_usleep(1000)) {
                g_autofree char *text = NULL;

                g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
                if (strstr(text, "fd000000000000000000000000000001 80 "))
                        return;
        }
        g_assert_not_reached();
}

static void peer_init(Peer *p, const Mode *m) {
        *p = (Peer){ .guest = guest_new(CLONE_NEWNET), .v6 = m->v6, .received = g_byte_array_new() };
        TapConfig c = tap_config(p->guest.pid_text);

        c.ifname = "eth0";
        c.mac = guest_mac;
        c.mtu = m->mtu;
        c.offloads = m->offloads;
        c.no_vnet_hdr = m->bare;
        c.n_queues = MAX(m->n_queues, 1U);
        p->device = tap_make(&c);
        p->mss = (uint16_t) (m->mtu - (m->v6 ? 60 : 40));
        p->device->handler = &peer_handler;
        p->device->userdata = p;
        g_assert_cmpint(loop_new(&p->loop, "tap", NULL, NULL), ==, 0);
        g_assert_cmpint(loop_call(p->loop, call_start, p), ==, 0);

        guest_run(&p->guest, "ip addr add 10.0.0.1/24 dev eth0");
        guest_run(&p->guest, "ip neigh add 10.0.0.2 lladdr 52:54:00:00:00:02 dev eth0 nud permanent");
        if (m->v6) {
                guest_run(&p->guest, "ip addr add fd00::1/64 dev eth0 nodad");
                guest_run(&p->guest, "ip neigh add fd00::2 lladdr 52:54:00:00:00:02 dev eth0 nud permanent");
                wait_for_v6(&p->guest);
        }
}

static void peer_done(Peer *p) {
        g_assert_cmpint(loop_call(p->loop, call_stop, p), ==, 0);
        loop_free(p->loop);
        device_free(p->device);
        guest_end(&p->guest);
        g_byte_array_unref(p->received);
}

static int guest_bound_socket(Peer *p, int type, uint16_t port) {
        struct sockaddr_storage ss;
        Endpoint e = { .port = port };
        int fd = guest_socket(&p->guest, p->v6 ? AF_INET6 : AF_INET, type);
        IpAddr peer;

        peer_addrs(p, &e.addr, &peer);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &ss, endpoint_to_sockaddr(&e, &ss)), ==, 0);
        return fd;
}

/* Bytes that tell where they are from, so that a swap shows. */
static uint8_t *make_data(size_t len) {
        uint8_t *data = g_malloc(len);

        for (size_t i = 0; i < len; i++)
                data[i] = (uint8_t) (i ^ (i >> 8) * 7 ^ (i >> 16) * 31);
        return data;
}

/* ---- UDP ---- */

typedef struct SendUdp {
        Peer *peer;
        const uint8_t *data;
        size_t len;
        uint16_t gso_size;
} SendUdp;

static int call_send_udp(void *arg) {
        SendUdp *s = arg;
        uint16_t udp[4] = { htons(5000), htons(7), htons((uint16_t) (8 + s->len)), 0 };

        peer_send(s->peer, IPPROTO_UDP, (uint8_t *) udp, sizeof(udp), s->data, s->len, s->gso_size);
        return 0;
}

static void test_udp(const void *arg) {
        const Mode *m = arg;
        g_autofree uint8_t *data = make_data(60000);
        uint8_t got[2048];
        Peer p;

        peer_init(&p, m);
        int fd = guest_bound_socket(&p, SOCK_DGRAM, 7);

        /* Single datagrams of all parities, then one super-datagram whose last piece is short. */
        for (size_t len = 0; len < 40; len++) {
                SendUdp s = { &p, data + len, len, 0 };

                g_assert_cmpint(loop_call(p.loop, call_send_udp, &s), ==, 0);
                g_assert_cmpint(recv(fd, got, sizeof(got), 0), ==, (ssize_t) len);
                g_assert_cmpmem(got, len, data + len, len);
        }

        if (!(p.device->offloads & DEVICE_OFFLOAD_USO) || m->mtu >= 1028) {
                SendUdp s = { &p, data, 30 * 1000 + 123, 1000 };

                g_assert_cmpint(loop_call(p.loop, call_send_udp, &s), ==, 0);
                for (unsigned i = 0; i < 31; i++) {
                        size_t len = i < 30 ? 1000 : 123;

                        g_assert_cmpint(recv(fd, got, sizeof(got), 0), ==, (ssize_t) len);
                        g_assert_cmpmem(got, len, data + i * 1000, len);
                }
        }

        if (!m->v6)
                g_assert_cmpuint(guest_counter(&p.guest, "Udp:", "InCsumErrors"), ==, 0);
        g_assert_cmpuint(counter_read(&p.device->counters.tx_dropped), ==, 0);
        (void) close(fd);
        peer_done(&p);
}

/* ---- TCP ---- */

typedef struct SendTcp {
        Peer *peer;
        uint8_t flags;
        const uint8_t *data;
        size_t len;
} SendTcp;

static int call_send_tcp(void *arg) {
        SendTcp *s = arg;

        peer_send_tcp(s->peer, s->flags, s->data, s->len);
        return 0;
}

static int call_has_received(void *arg) {
        SendTcp *s = arg;

        return s->peer->received->len >= s->len;
}

static int tcp_connect(Peer *p) {
        SendTcp syn = { .peer = p, .flags = 2 };
        int listen_fd = guest_bound_socket(p, SOCK_STREAM, 7), fd;

        g_assert_cmpint(listen(listen_fd, 1), ==, 0);
        p->port = 4000;
        p->guest_port = 7;
        p->snd_nxt = UINT32_MAX - 5000; /* wraps in the first super-segment */
        g_assert_cmpint(loop_call(p->loop, call_send_tcp, &syn), ==, 0);
        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        g_assert_cmpint(fd, >=, 0);
        (void) close(listen_fd);
        return fd;
}

static void tcp_download(Peer *p, int fd, const uint8_t *data, size_t len, size_t chunk) {
        g_autofree uint8_t *got = g_malloc(chunk);

        for (size_t at = 0; at < len; at += chunk) {
                SendTcp s = { p, 0x18, data + at, MIN(chunk, len - at) };

                g_assert_cmpint(loop_call(p->loop, call_send_tcp, &s), ==, 0);
                g_assert_cmpint(recv(fd, got, s.len, MSG_WAITALL), ==, (ssize_t) s.len);
                g_assert_cmpmem(got, s.len, s.data, s.len);
        }
}

static void tcp_upload(Peer *p, int fd, const uint8_t *data, size_t len) {
        SendTcp all = { .peer = p, .len = len };

        for (size_t at = 0; at < len;) {
                ssize_t n = send(fd, data + at, len - at, MSG_NOSIGNAL);

                g_assert_cmpint(n, >, 0);
                at += (size_t) n;
        }
        for (unsigned i = 0; i < 10000 && !loop_call(p->loop, call_has_received, &all); i++)
                g_usleep(1000);
        g_assert_cmpint(loop_call(p->loop, call_stop, p), ==, 0);
        g_assert_cmpmem(p->received->data, p->received->len, data, len);
}

static void test_tcp(const void *arg) {
        const Mode *m = arg;
        const size_t len = 2 * 1024 * 1024;
        g_autofree uint8_t *data = make_data(len);
        Peer p;

        peer_init(&p, m);
        guest_run(&p.guest, "sh -c 'echo 0 > /proc/sys/net/ipv4/tcp_early_retrans'"); /* no tail loss probes: a wait of some ms brings them on */
        int fd = tcp_connect(&p);

        tcp_download(&p, fd, data, len, 31 * 1000 + 7);
        tcp_upload(&p, fd, data, len);
        /* Super-segments came up, from the kernel or joined here; with the largest MTU there may be none to make. */
        if (m->mtu < 32768)
                g_assert_cmpuint(p.n_super, >, 0);
        g_assert_cmpuint(guest_counter(&p.guest, "Tcp:", "InCsumErrors"), ==, 0);
        g_assert_cmpuint(guest_counter(&p.guest, "Tcp:", "RetransSegs"), ==, 0);
        g_assert_cmpuint(p.device->counters.rx_dropped, ==, 0);
        g_assert_cmpuint(p.device->counters.tx_dropped, ==, 0);
        g_assert_cmpuint(p.device->counters.rx_bytes, >, len);
        g_assert_cmpuint(p.device->counters.tx_bytes, >, len);
        (void) close(fd);
        peer_done(&p);
}

typedef struct Ask {
        SendTcp syn;
        uint16_t port;
        bool asks;
        uint64_t wakes; /* when it was sent */
} Ask;

static int call_ask(void *arg) {
        Ask *a = arg;
        Peer *p = a->syn.peer;

        p->asks = a->asks;
        p->port = a->port;
        a->wakes = loop_wakes(p->loop);
        return call_send_tcp(&a->syn);
}

/* Has the loop been woken for the answer? */
static int call_was_woken(void *arg) {
        const Ask *a = arg;

        return a->syn.peer->wakes > a->wakes;
}

static int call_unanswered(void *arg) {
        return tap_of(((Peer *) arg)->device)->queues[0].unanswered;
}

/* What the guest's kernel answered within the write is read without a wake-up for it. */
static void test_answers(void) {
        Peer p;

        uint8_t got[4];
        int fds[2], vain = 0, n_again = 0;

        peer_init(&p, &one_queue);
        Ask a = { .syn = { .peer = &p, .flags = 2 } };
        int listen_fd = guest_bound_socket(&p, SOCK_STREAM, 7);
        g_assert_cmpint(listen(listen_fd, 16), ==, 0);
        p.guest_port = 7;
        for (unsigned asks = 0; asks < 2; asks++) {
                a.asks = asks == 1;
                a.port = (uint16_t) (4000 + asks);
                g_assert_cmpint(loop_call(p.loop, call_ask, &a), ==, 0);
                fds[asks] = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
                g_assert_cmpint(fds[asks], >=, 0);
                g_assert_cmpint(loop_call(p.loop, call_was_woken, &a), ==, asks == 0);
        }
        /* One that does not answer is asked in vain some times, not for a while then, and once again; what it sends is read as ever. */
        int fd = guest_bound_socket(&p, SOCK_DGRAM, 7);
        for (unsigned i = 0; i < 200; i++) {
                SendUdp s = { &p, (const uint8_t *) "abc", 3, 0 };

                g_assert_cmpint(loop_call(p.loop, call_send_udp, &s), ==, 0);
                g_assert_cmpint(recv(fd, got, sizeof(got), 0), ==, 3);
                int now = loop_call(p.loop, call_unanswered, &p);
                n_again += vain == TAP_VAIN_LOOKS + TAP_VAIN_FRAMES && now == TAP_VAIN_LOOKS;
                vain = now;
        }
        g_assert_cmpint(n_again, >, 0);
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr("10.0.0.2") };
        uint64_t before = counter_read(&p.device->counters.rx_frames);
        g_assert_cmpint(sendto(fd, "x", 1, 0, (struct sockaddr *) &to, sizeof(to)), ==, 1);
        for (unsigned i = 0; i < 10000 && counter_read(&p.device->counters.rx_frames) == before; i++)
                g_usleep(1000);
        g_assert_cmpuint(counter_read(&p.device->counters.rx_frames), >, before);

        g_assert_cmpint(loop_call(p.loop, call_stop, &p), ==, 0); /* it speaks of one connection at a time */
        (void) close(fd);
        (void) close(fds[0]);
        (void) close(fds[1]);
        (void) close(listen_fd);
        peer_done(&p);
}

/* A conversation, and then much at once, large and small: all of it is read, however much was expected. */
static void test_bursts(void) {
        static const unsigned bursts[] = { 1, 1, 1, 1, 1, 1, 7, 1, 1, 3, 2, 3, 2, 3, 2, 3, 400, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 64, 65, 4, 5, 4, 4, 4, 4, 300 };
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr("10.0.0.2") };
        static const uint8_t data[1400];
        uint64_t n = 0;
        Peer p;

        peer_init(&p, &one_queue);
        int fd = guest_bound_socket(&p, SOCK_DGRAM, 7);
        uint64_t before = counter_read(&p.device->counters.rx_frames);
        for (unsigned i = 0; i < 4 * ELEMENTSOF(bursts); i++) {
                unsigned burst = bursts[i % ELEMENTSOF(bursts)];
                for (unsigned k = 0; k < burst; k++, n++) {
                        size_t len = i % 4 == 3 && k % 3 == 0 ? sizeof(data) : 1;
                        g_assert_cmpint(sendto(fd, data, len, 0, (struct sockaddr *) &to, sizeof(to)), ==, (ssize_t) len);
                }
                for (unsigned k = 0; k < 10000 && counter_read(&p.device->counters.rx_frames) - before < n; k++)
                        g_usleep(100);
                g_assert_cmpuint(counter_read(&p.device->counters.rx_frames) - before, >=, n);
        }
        (void) close(fd);
        peer_done(&p);
}

/* ---- the end of interfaces ---- */

static void test_gone(const void *arg) {
        Peer p;

        peer_init(&p, arg);
        guest_run(&p.guest, "ip link del eth0");
        for (unsigned i = 0; i < 10000 && __atomic_load_n(&p.gone, __ATOMIC_ACQUIRE) == 0; i++)
                g_usleep(1000);
        g_assert_cmpint(__atomic_load_n(&p.gone, __ATOMIC_ACQUIRE), ==, 1);

        /* Sends after that are counted, not tried for ever. */
        SendUdp s = { &p, (const uint8_t *) "x", 1, 0 };
        g_assert_cmpint(loop_call(p.loop, call_send_udp, &s), ==, 0);
        g_assert_cmpuint(counter_read(&p.device->counters.drops[DROP_DEVICE_ERROR]), ==, 1);
        g_assert_cmpint(__atomic_load_n(&p.gone, __ATOMIC_ACQUIRE), ==, 1);
        peer_done(&p);
}

static void test_down(void) {
        const Mode m = { "down", _DEVICE_OFFLOAD_ALL, false, 1500, false };
        SendUdp s;
        uint8_t got[8];
        Peer p;

        peer_init(&p, &m);
        int fd = guest_bound_socket(&p, SOCK_DGRAM, 7);
        s = (SendUdp){ &p, (const uint8_t *) "abc", 3, 0 };

        guest_run(&p.guest, "ip link set eth0 down");
        g_assert_cmpint(loop_call(p.loop, call_send_udp, &s), ==, 0);
        g_assert_cmpuint(counter_read(&p.device->counters.drops[DROP_DEVICE_ERROR]), ==, 1);
        guest_run(&p.guest, "ip link set eth0 up");
        g_assert_cmpint(loop_call(p.loop, call_send_udp, &s), ==, 0);
        g_assert_cmpint(recv(fd, got, sizeof(got), 0), ==, 3);
        g_assert_cmpuint(counter_read(&p.device->counters.tx_dropped), ==, 1);
        g_assert_cmpint(__atomic_load_n(&p.gone, __ATOMIC_ACQUIRE), ==, 0);
        (void) close(fd);
        peer_done(&p);
}

/* Whoever handed in the descriptor makes it wait; the loop must not. */
static void test_blocking_description(void) {
        Peer p = { .guest = guest_new(CLONE_NEWNET), .received = g_byte_array_new() };
        TapConfig c = tap_config(NULL);
        int theirs;

        c.fd = open_tap(&p.guest, "eth0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
        theirs = fcntl(c.fd, F_DUPFD_CLOEXEC, 0);
        p.device = tap_make(&c);
        p.device->handler = &peer_handler;
        p.device->userdata = &p;
        g_assert_cmpint(fcntl(theirs, F_SETFL, O_RDWR), ==, 0);
        g_assert_cmpint(loop_new(&p.loop, "tap", NULL, NULL), ==, 0);
        g_assert_cmpint(loop_call(p.loop, call_start, &p), ==, 0);

        /* A frame of the guest's, after which there are no more. */
        guest_run(&p.guest, "ip addr add 10.0.0.1/24 dev eth0");
        guest_run(&p.guest, "ip neigh add 10.0.0.2 lladdr 52:54:00:00:00:02 dev eth0 nud permanent");
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr("10.0.0.2") };
        int fd = guest_socket(&p.guest, AF_INET, SOCK_DGRAM);
        g_assert_cmpint(sendto(fd, "x", 1, 0, (struct sockaddr *) &to, sizeof(to)), ==, 1);
        for (unsigned i = 0; i < 10000 && counter_read(&p.device->counters.rx_frames) == 0; i++)
                g_usleep(1000);

        g_assert_cmpuint(counter_read(&p.device->counters.rx_frames), >, 0);
        g_assert_cmpint(fcntl(tap_fd(p.device, 0), F_GETFL) & O_NONBLOCK, ==, 0);
        (void) close(fd);
        peer_done(&p); /* calls the loop */
        (void) close(theirs);
}

/* Stopped and started again: on the same loop, and nothing is lost that came in between. */
static void test_restart(void) {
        const Mode m = { "restart", _DEVICE_OFFLOAD_ALL, false, 1500, false };
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr("10.0.0.2") };
        Peer p;

        peer_init(&p, &m);
        int fd = guest_bound_socket(&p, SOCK_DGRAM, 7);
        g_assert_cmpint(loop_call(p.loop, call_stop, &p), ==, 0);
        unsigned before = p.n_frames;

        /* More than one turn can take. */
        for (unsigned i = 0; i < 400; i++)
                g_assert_cmpint(sendto(fd, "x", 1, 0, (struct sockaddr *) &to, sizeof(to)), ==, 1);
        g_assert_cmpint(loop_call(p.loop, call_start, &p), ==, 0);
        for (unsigned i = 0; i < 10000 && counter_read(&p.device->counters.rx_frames) < before + 400; i++)
                g_usleep(1000);
        g_assert_cmpint(loop_call(p.loop, call_stop, &p), ==, 0);
        g_assert_cmpuint(p.n_frames, >=, before + 400);
        (void) close(fd);
        peer_done(&p);
}

/* Frames of a transfer are read as far as the arena goes, and less of them as soon as there is a small one, or was one lately. */
static void test_batches(void) {
        const Mode m = { "batches", _DEVICE_OFFLOAD_ALL, false, 65520, false };
        const uint32_t len = 65000, n = 30;
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr("10.0.0.2") };
        g_autofree uint8_t *data = g_malloc0(len);
        Peer p;

        peer_init(&p, &m);
        int fd = guest_bound_socket(&p, SOCK_DGRAM, 7), tries = 0;
        for (unsigned small = 0; small < 2; small++) {
                uint32_t most = small ? TAP_BATCH_LEN : TAP_ARENA_LEN;

                do { /* whatever else the guest has said meanwhile */
                        g_assert_cmpint(tries++, <, 100);
                        g_assert_cmpint(loop_call(p.loop, call_stop, &p), ==, 0);
                        unsigned before = p.n_frames;

                        if (small)
                                g_assert_cmpint(sendto(fd, "x", 1, 0, (struct sockaddr *) &to, sizeof(to)), ==, 1);
                        for (unsigned i = 0; i < n; i++)
                                g_assert_cmpint(sendto(fd, data, len, 0, (struct sockaddr *) &to, sizeof(to)), ==, len);
                        g_usleep(2 * TAP_BULK_AFTER);
                        p.n_batches = 0;
                        g_assert_cmpint(loop_call(p.loop, call_start, &p), ==, 0);
                        for (unsigned i = 0; i < 10000 && counter_read(&p.device->counters.rx_frames) < before + n; i++)
                                g_usleep(1000);
                        g_assert_cmpint(loop_call(p.loop, call_stop, &p), ==, 0);
                        g_assert_cmpint(loop_call(p.loop, call_start, &p), ==, 0);
                        g_assert_cmpuint(p.first_batch, <=, most);
                } while (p.first_batch <= most - 2 * len);
        }
        (void) close(fd);
        peer_done(&p);
}

static int call_wakes(void *arg) {
        return (int) loop_wakes(((Peer *) arg)->loop);
}

/* What is refused counts as well: a guest who sends nothing else is not read for ever in one turn. */
static void test_refused_frames(void) {
        enum { N = 7 * FRAME_BATCH_MAX };
        const struct virtio_net_hdr lie = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = HEADERS_V4, .csum_offset = 7 };
        uint8_t message[sizeof(lie) + 60] = {};
        Peer p;

        peer_init(&p, &one_queue);
        g_assert_cmpint(loop_call(p.loop, call_stop, &p), ==, 0);
        int fd = guest_socket(&p.guest, AF_PACKET, SOCK_RAW), on = 1, wakes;
        struct sockaddr_ll from = { .sll_family = AF_PACKET, .sll_ifindex = (int) guest_ifindex(&p.guest, "eth0") };
        g_assert_cmpint(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), ==, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &from, sizeof(from)), ==, 0);
        memcpy(message, &lie, sizeof(lie));
        for (unsigned i = 0; i < N; i++)
                g_assert_cmpint(send(fd, message, sizeof(message), 0), ==, (ssize_t) sizeof(message));

        wakes = loop_call(p.loop, call_wakes, &p);
        g_assert_cmpint(loop_call(p.loop, call_start, &p), ==, 0);
        for (unsigned i = 0; i < 10000 && counter_read(&p.device->counters.drops[DROP_GSO_HEADER]) < N; i++)
                g_usleep(1000);
        g_assert_cmpuint(counter_read(&p.device->counters.drops[DROP_GSO_HEADER]), ==, N);
        g_assert_cmpint(loop_call(p.loop, call_wakes, &p) - wakes, >=, N / FRAME_BATCH_MAX);
        (void) close(fd);
        peer_done(&p);
}

/* ---- several queues ---- */

static bool is_readable(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

/* The guest's kernel spreads its flows over the queues, and what is in any of them arrives, in the order of its flow. */
static void test_queues(void) {
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr("10.0.0.2") };
        unsigned n_used = 0;
        Peer p;

        peer_init(&p, &four_queues);
        g_assert_cmpuint(p.device->n_queues, ==, 4);
        g_assert_cmpint(tap_fd(p.device, 3), >=, 0);
        g_assert_cmpint(tap_fd(p.device, 4), ==, -EBADF);
        g_assert_cmpint(loop_call(p.loop, call_stop, &p), ==, 0);
        unsigned before = p.n_frames;

        for (unsigned i = 0; i < 64; i++) {
                int fd = guest_socket(&p.guest, AF_INET, SOCK_DGRAM);

                for (unsigned k = 0; k < 5; k++)
                        g_assert_cmpint(sendto(fd, "x", 1, 0, (struct sockaddr *) &to, sizeof(to)), ==, 1);
                (void) close(fd);
        }
        for (unsigned i = 0; i < 4; i++)
                n_used += is_readable(tap_fd(p.device, i));
        g_assert_cmpuint(n_used, >=, 2);

        g_assert_cmpint(loop_call(p.loop, call_start, &p), ==, 0);
        for (unsigned i = 0; i < 10000 && counter_read(&p.device->counters.rx_frames) < before + 320; i++)
                g_usleep(1000);
        g_assert_cmpint(loop_call(p.loop, call_stop, &p), ==, 0);
        g_assert_cmpuint(p.n_frames, >=, before + 320);
        peer_done(&p);
}

/* One descriptor is handed in, or all of them; those that are missing are opened. One that is not of several queues is refused. */
static void test_queues_adopt(void) {
        const short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
        Guest g = guest_new(CLONE_NEWNET);
        TapConfig c = tap_config(NULL);
        const char *what = NULL;
        Device *d = NULL;
        int fds[2];

        c.n_queues = 4;
        c.fd = open_tap(&g, "multi0", flags);
        d = tap_make(&c);
        g_assert_cmpuint(d->n_queues, ==, 4);
        for (unsigned i = 0; i < 4; i++) {
                struct ifreq ifr = {};

                g_assert_cmpint(ioctl(tap_fd(d, i), TUNGETIFF, &ifr), ==, 0);
                g_assert_cmpstr(ifr.ifr_name, ==, "multi0");
                g_assert_cmpint(fcntl(tap_fd(d, i), F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
        }
        d = device_free(d);
        g_assert_cmpuint(guest_ifindex(&g, "multi0"), ==, 0);

        c.fd = open_tap(&g, "multi0", flags);
        fds[0] = open_tap(&g, "multi0", flags);
        fds[1] = open_tap(&g, "multi0", flags);
        c.queue_fds = fds;
        c.n_queue_fds = 2;
        d = tap_make(&c);
        g_assert_cmpint(fcntl(fds[1], F_GETFD), ==, -1); /* taken */
        g_assert_cmpint(tap_fd(d, 3), >=, 0);
        d = device_free(d);

        c.fd = open_tap(&g, "multi0", flags);
        fds[0] = open_tap(&g, "multi1", flags);
        c.n_queue_fds = 1;
        tap_refused(&c, -EINVAL);
        g_assert_cmpint(close(c.fd), ==, 0); /* still the caller's */
        g_assert_cmpint(close(fds[0]), ==, 0);

        c.n_queue_fds = 0;
        c.fd = open_tap(&g, "single0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
        g_assert_cmpint(tap_new(&d, &c, &what), ==, -EINVAL);
        g_assert_nonnull(strstr(what, "IFF_MULTI_QUEUE"));
        (void) close(c.fd);
        guest_end(&g);
}

/* ---- main ---- */

/* Fresh namespaces for this program itself, so that even "here" is nobody else's. */
static bool enter_namespaces(void) {
        uid_t uid = getuid();
        gid_t gid = getgid();

        if (uid == 0 && unshare(CLONE_NEWNET) == 0)
                return true;
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
                return false;

        g_autofree char *uid_map = g_strdup_printf("0 %u 1", uid), *gid_map = g_strdup_printf("0 %u 1", gid);
        const struct {
                const char *path, *text;
        } files[] = { { "/proc/self/setgroups", "deny" }, { "/proc/self/uid_map", uid_map }, { "/proc/self/gid_map", gid_map } };
        for (unsigned i = 0; i < ELEMENTSOF(files); i++) {
                int fd = open(files[i].path, O_WRONLY | O_CLOEXEC);

                if (fd < 0 || write(fd, files[i].text, strlen(files[i].text)) < 0)
                        return false;
                (void) close(fd);
        }
        return true;
}

int main(int argc, char **argv) {
        static const Mode modes[] = {
                { "all-1500-v4", _DEVICE_OFFLOAD_ALL, false, 1500, false },
                { "all-1500-v6", _DEVICE_OFFLOAD_ALL, false, 1500, true },
                { "all-65520-v4", _DEVICE_OFFLOAD_ALL, false, 65520, false },
                { "csum-1500-v4", DEVICE_OFFLOAD_CSUM, false, 1500, false },
                { "csum-1500-v6", DEVICE_OFFLOAD_CSUM, false, 1500, true },
                { "none-1500-v4", 0, false, 1500, false },
                { "none-1500-v6", 0, false, 1500, true },
                { "none-65520-v4", 0, false, 65520, false },
                { "bare-1500-v4", _DEVICE_OFFLOAD_ALL, true, 1500, false },
                { "bare-1500-v6", _DEVICE_OFFLOAD_ALL, true, 1500, true },
                { "bare-9000-v4", _DEVICE_OFFLOAD_ALL, true, 9000, false },
                { "queues-1500-v4", _DEVICE_OFFLOAD_ALL, false, 1500, false, 4 },
                { "queues-1500-v6", _DEVICE_OFFLOAD_ALL, false, 1500, true, TAP_QUEUES_MAX },
                { "queues-bare-1500-v4", _DEVICE_OFFLOAD_ALL, true, 1500, false, 2 },
        };

        g_test_init(&argc, &argv, NULL);
        if (access("/dev/net/tun", R_OK | W_OK) < 0) {
                g_printerr("skipped: no access to /dev/net/tun\n");
                return 77;
        }
        if (!enter_namespaces()) {
                g_printerr("skipped: may not make a network namespace\n");
                return 77;
        }

        g_test_add_func("/tap/create", test_create);
        g_test_add_func("/tap/create-by-path", test_create_by_path);
        g_test_add_func("/tap/create-here", test_create_here);
        g_test_add_func("/tap/refused", test_refused);
        g_test_add_func("/tap/offloads", test_offloads);
        g_test_add_func("/tap/persistent", test_persistent);
        g_test_add_func("/tap/adopt", test_adopt);
        g_test_add_func("/tap/adopt-refused", test_adopt_refused);
        g_test_add_func("/tap/queues", test_queues);
        g_test_add_func("/tap/queues-adopt", test_queues_adopt);
        g_test_add_func("/tap/user-namespace", test_user_namespace);
        for (unsigned i = 0; i < ELEMENTSOF(modes); i++) {
                g_autofree char *udp = g_strdup_printf("/tap/udp/%s", modes[i].name);
                g_autofree char *tcp = g_strdup_printf("/tap/tcp/%s", modes[i].name);

                g_test_add_data_func(udp, &modes[i], test_udp);
                g_test_add_data_func(tcp, &modes[i], test_tcp);
        }
        g_test_add_func("/tap/answers", test_answers);
        g_test_add_func("/tap/bursts", test_bursts);
        g_test_add_func("/tap/blocking-description", test_blocking_description);
        g_test_add_data_func("/tap/gone", &one_queue, test_gone);
        g_test_add_data_func("/tap/gone-queues", &four_queues, test_gone);
        g_test_add_func("/tap/down", test_down);
        g_test_add_func("/tap/restart", test_restart);
        g_test_add_func("/tap/batches", test_batches);
        g_test_add_func("/tap/refused-frames", test_refused_frames);
        return g_test_run();
}
