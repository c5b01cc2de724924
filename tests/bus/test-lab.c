/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The laboratory over the bus: frames injected, packet sockets and captures, on a device whose guest is the test: of kind bess, one message
 * a frame, so that no right to anything is needed. Headers and frames that lie, limits, clients that leave, readers that don't read.
 */

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <linux/virtio_net.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"

#define HDR_LEN 12
#define FRAME_LEN_MAX 65549
#define GUEST_LEN_MAX 65534 /* what a device of this kind takes from its guest: its MTU of 65520 */
#define INVALID_ARGS ERROR_DBUS "InvalidArgs"
#define CAPTURES_PER_DEVICE 16

static const char *const lab = "/org/vnetd1/device/lab0";

typedef struct World {
        Fixture f;
        int guest; /* the far end of the device */
} World;

/* A call with and for descriptors. @fd: -1: none. */
static GVariant *call_fd(GDBusConnection *c, const char *path, const char *interface, const char *method, GVariant *args, int fd,
                         int *ret_fd, GError **error) {
        g_autoptr(GUnixFDList) in = g_unix_fd_list_new(), out = NULL;
        GVariant *reply;

        if (fd >= 0)
                g_assert_cmpint(g_unix_fd_list_append(in, fd, NULL), ==, 0);
        reply = g_dbus_connection_call_with_unix_fd_list_sync(c, VNETD_NAME, path, interface, method, args, NULL, G_DBUS_CALL_FLAGS_NONE,
                                                              CALL_TIMEOUT_MSEC, in, &out, NULL, error);
        if (reply && ret_fd)
                *ret_fd = g_unix_fd_list_get(out, 0, NULL);
        return reply;
}

static void make_device(World *w, const char *kind, const char *network) {
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;

        reply = call_fd(w->f.client, VNETD_PATH, MANAGER, "CreateDevice",
                        g_variant_new_parsed("(%s, {'Name': <'lab0'>, 'Network': <%s>, 'Mtu': <@u 65520>})", kind, network), -1, &w->guest, &error);
        g_assert_no_error(error);
        g_assert_cmpint(w->guest, >=, 0);
}

static void world_set_up(World *w, const char *network) {
        memset(w, 0, sizeof(*w));
        fixture_set_up(&w->f, FALSE, FALSE);
        make_device(w, "bess", network);
}

static void world_tear_down(World *w) {
        fixture_tear_down(&w->f);
        close(w->guest);
}

static guint64 counter(World *w, const char *name) {
        g_autoptr(GVariant) v = get_property(w->f.client, lab, DEVICE, name);

        return g_variant_get_uint64(v);
}

static guint64 drops(World *w, const char *reason) {
        g_autoptr(GVariant) v = get_property(w->f.client, lab, DEVICE, "Drops");
        guint64 n = 0;

        g_variant_lookup(v, reason, "t", &n);
        return n;
}

static void await(World *w, guint64 (*fn)(World *w, const char *name), const char *name, guint64 value) {
        for (int i = 0; i < 500 && fn(w, name) != value; i++)
                g_usleep(10000);
        g_assert_cmpuint(fn(w, name), ==, value);
}

static void assert_state(World *w, const char *state) {
        g_autoptr(GVariant) v = get_property(w->f.client, lab, DEVICE, "State");

        g_assert_cmpstr(g_variant_get_string(v, NULL), ==, state);
}

/* Something of no protocol, that tells its place from any other. */
static void fill_frame(guint8 *bytes, size_t len) {
        for (size_t i = 0; i < len; i++)
                bytes[i] = (guint8) (i * 7 + len);
        if (len >= 14)
                memcpy(bytes, "\x52\x54\x00\x00\x00\x09\x52\x54\x00\x00\x00\x08\x88\xb5", 14);
}

static void put16(guint8 *at, unsigned value) {
        at[0] = (guint8) (value >> 8);
        at[1] = (guint8) value;
}

/* A TCP packet over IPv4 with @len bytes of payload, its checksum open (the sum of the pseudo header in its place is left out: only its
 * form matters here). */
static size_t fill_tcp(guint8 *b, size_t len) {
        fill_frame(b, 54 + len);
        memset(b + 14, 0, 40);
        put16(b + 12, 0x0800);
        b[14] = 0x45;
        put16(b + 16, (unsigned) (40 + len));
        b[22] = 64;
        b[23] = 6;
        memcpy(b + 26, "\xc0\x00\x02\x01\xc0\x00\x02\x02", 8);
        put16(b + 34, 1000);
        put16(b + 36, 2000);
        b[46] = 0x50;
        b[47] = 0x10;
        return 54 + len;
}

static ssize_t receive(int fd, guint8 *bytes, size_t size) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, 10000) == 1 ? recv(fd, bytes, size, MSG_DONTWAIT) : -1;
}

static GVariant *inject_args(const guint8 *bytes, size_t len, const char *options) {
        g_autoptr(GVariant) frame = g_variant_ref_sink(g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes, len, 1));

        return g_variant_new("(@ay@a{sv})", frame, g_variant_new_parsed(options));
}

static void inject(World *w, const guint8 *bytes, size_t len, const char *options) {
        g_variant_unref(call_ok(w->f.client, lab, DEVICE, "Inject", inject_args(bytes, len, options)));
}

static void inject_refused(World *w, const guint8 *bytes, size_t len, const char *options, const char *name, const char *part) {
        call_refused(w->f.client, lab, DEVICE, "Inject", inject_args(bytes, len, options), name, part);
}

#define NO_HEADER "@a{sv} {}"

/* ---- devices ---- */

static void test_states(void) {
        guint8 bytes[60];
        World w;

        world_set_up(&w, "");
        assert_state(&w, "detached");
        fill_frame(bytes, sizeof(bytes));
        g_assert_cmpint(send(w.guest, bytes, sizeof(bytes), 0), ==, sizeof(bytes));
        await(&w, counter, "RxFrames", 1);
        g_variant_unref(call_ok(w.f.client, lab, DEVICE, "Attach", g_variant_new("(s)", "default")));
        assert_state(&w, "attached");
        g_assert_cmpint(send(w.guest, bytes, sizeof(bytes), 0), ==, sizeof(bytes));
        await(&w, counter, "RxFrames", 2);
        g_variant_unref(call_ok(w.f.client, lab, DEVICE, "Detach", NULL));
        assert_state(&w, "detached");
        g_assert_cmpint(send(w.guest, bytes, sizeof(bytes), 0), ==, sizeof(bytes));
        await(&w, counter, "RxFrames", 3);
        call_refused(w.f.client, lab, DEVICE, "Detach", NULL, "org.vnetd1.NotAttached", "lab0");
        world_tear_down(&w);
}

/* The guest goes: so does the device, in the laboratory as in a network. */
static void test_guest_leaves(void) {
        g_autoptr(GError) error = NULL;
        World w;

        world_set_up(&w, "");
        shutdown(w.guest, SHUT_RDWR);
        for (int i = 0; i < 500; i++) {
                g_autoptr(GVariant) reply = NULL;

                g_clear_error(&error);
                reply = call(w.f.client, VNETD_PATH, MANAGER, "GetDevice", g_variant_new("(s)", "lab0"), &error);
                if (!reply)
                        break;
                g_usleep(10000);
        }
        g_assert_nonnull(error);
        daemon_assert_alive(&w.f.daemon, w.f.client);
        world_tear_down(&w);
}

/* ---- Inject() ---- */

static void test_inject(void) {
        static const size_t lens[] = { 14, 15, 60, 1514, 9000, FRAME_LEN_MAX };
        g_autofree guint8 *bytes = g_malloc(FRAME_LEN_MAX + 1), *got = g_malloc(FRAME_LEN_MAX + 1);
        World w;

        world_set_up(&w, "");
        for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                fill_frame(bytes, lens[i]);
                inject(&w, bytes, lens[i], i % 2 ? "{'Direction': <'to-guest'>}" : NO_HEADER);
                g_assert_cmpint(receive(w.guest, got, FRAME_LEN_MAX + 1), ==, lens[i]);
                g_assert_cmpmem(got, lens[i], bytes, lens[i]);
        }
        g_assert_cmpuint(counter(&w, "TxFrames"), ==, G_N_ELEMENTS(lens));
        for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                fill_frame(bytes, lens[i]);
                inject(&w, bytes, lens[i], "{'Direction': <'from-guest'>}");
        }
        g_assert_cmpuint(counter(&w, "RxFrames"), ==, G_N_ELEMENTS(lens));
        world_tear_down(&w);
}

/* The guest's socket knows no offloads: the device cuts and sums. */
static void test_inject_super_segment(void) {
        g_autofree guint8 *bytes = g_malloc(FRAME_LEN_MAX), *got = g_malloc(FRAME_LEN_MAX);
        size_t len = fill_tcp(bytes, 10000), at = 0;
        World w;

        world_set_up(&w, "");
        inject(&w, bytes, len,
               "{'Flags': <@y 1>, 'GsoType': <@y 1>, 'HdrLen': <@q 54>, 'GsoSize': <@q 1000>, 'CsumStart': <@q 34>, 'CsumOffset': <@q 16>}");
        for (int i = 0; i < 10; i++) {
                g_assert_cmpint(receive(w.guest, got, FRAME_LEN_MAX), ==, 1054);
                g_assert_cmpmem(got + 54, 1000, bytes + 54 + at, 1000);
                at += 1000;
        }
        world_tear_down(&w);
}

static void test_inject_refused(void) {
        static const struct {
                const char *options, *key;
        } cases[] = {
                { "{'Flags': <@y 4>}", "Flags" },
                { "{'Flags': <@y 255>}", "Flags" },
                { "{'NumBuffers': <@q 1>}", "NumBuffers" },
                { "{'HdrLen': <@q 13>}", "HdrLen" },
                { "{'HdrLen': <@q 1055>}", "HdrLen" },
                { "{'Flags': <@y 1>, 'CsumStart': <@q 1050>, 'CsumOffset': <@q 16>}", "CsumStart" },
                { "{'Flags': <@y 1>, 'CsumStart': <@q 65535>, 'CsumOffset': <@q 65535>}", "CsumStart" },
                { "{'GsoType': <@y 2>, 'GsoSize': <@q 100>}", "GsoType" },
                { "{'GsoType': <@y 133>, 'GsoSize': <@q 100>}", "GsoType" },
                { "{'GsoType': <@y 1>}", "GsoSize" },
                { "{'GsoType': <@y 1>, 'GsoSize': <@q 65535>}", "GsoSize" },
                { "{'GsoType': <@y 1>, 'GsoSize': <@q 100>}", "CsumOffset" },
                { "{'GsoType': <@y 1>, 'GsoSize': <@q 100>, 'Flags': <@y 1>, 'CsumStart': <@q 34>, 'CsumOffset': <@q 6>}", "CsumOffset" },
                { "{'GsoType': <@y 1>, 'GsoSize': <@q 100>, 'Flags': <@y 1>, 'CsumStart': <@q 10>, 'CsumOffset': <@q 16>}", "CsumStart" },
                { "{'GsoType': <@y 5>, 'GsoSize': <@q 1>, 'Flags': <@y 1>, 'CsumStart': <@q 34>, 'CsumOffset': <@q 6>}", "GsoSize" },
                { "{'GsoType': <@y 1>, 'GsoSize': <@q 100>, 'Flags': <@y 1>, 'CsumStart': <@q 36>, 'CsumOffset': <@q 16>, "
                  "'Direction': <'from-guest'>}",
                  "CsumStart" },
                { "{'Colour': <'red'>}", "Colour" },
                { "{'Flags': <@u 1>}", "Flags" },
                { "{'GsoType': <'tcpv4'>}", "GsoType" },
                { "{'HdrLen': <@y 14>}", "HdrLen" },
                { "{'Direction': <'sideways'>}", "sideways" },
        };
        static const size_t lens[] = { 0, 1, 13, FRAME_LEN_MAX + 1, 100000 };
        g_autofree guint8 *bytes = g_malloc0(100000);
        World w;

        world_set_up(&w, "");
        (void) fill_tcp(bytes, 1000);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                inject_refused(&w, bytes, 1054, cases[i].options, INVALID_ARGS, cases[i].key);
        for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                inject_refused(&w, bytes, lens[i], NO_HEADER, INVALID_ARGS, "frame");
                inject_refused(&w, bytes, lens[i], "{'Direction': <'from-guest'>}", INVALID_ARGS, "frame");
        }
        g_assert_cmpuint(counter(&w, "TxFrames") + counter(&w, "RxFrames"), ==, 0);
        /* What is well formed and cannot be cut all the same: the reason is told. */
        inject_refused(&w, bytes, 1054, "{'Flags': <@y 1>, 'GsoType': <@y 4>, 'GsoSize': <@q 100>, 'CsumStart': <@q 54>, 'CsumOffset': <@q 16>}",
                       "org.vnetd1.Failed", "header that does not fit its frame");
        world_tear_down(&w);
}

/* In a network what a guest might have sent goes the way of what guests send: the gateway answers. */
static void test_inject_from_guest(void) {
        static const guint8 arp[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    0,    0,    9, 8,    6, 0, 1, 8, 0, 6, 4, 0,
                                      1,    0x52, 0x54, 0,    0,    0,    9,    192,  168,  127,  9,    0, 0,    0, 0, 0, 0, 192, 168, 127, 1 };
        guint8 got[2048];
        ssize_t n;
        World w;

        world_set_up(&w, "default");
        inject(&w, arp, sizeof(arp), "{'Direction': <'from-guest'>}");
        do
                n = receive(w.guest, got, sizeof(got));
        while (n > 0 && !(got[12] == 8 && got[13] == 6 && got[21] == 2));
        g_assert_cmpint(n, >=, 42);
        world_tear_down(&w);
}

/* ---- OpenPacketSocket() ---- */

static int open_packet_socket(World *w, const char *options) {
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;
        int fd = -1;

        reply = call_fd(w->f.client, lab, DEVICE, "OpenPacketSocket", g_variant_new("(@a{sv})", g_variant_new_parsed(options)), -1, &fd,
                        &error);
        g_assert_no_error(error);
        g_assert_cmpint(fd, >=, 0);
        return fd;
}

static void test_packet_socket(void) {
        static const size_t lens[] = { 14, 60, 1514, GUEST_LEN_MAX };
        g_autofree guint8 *bytes = g_malloc0(HDR_LEN + FRAME_LEN_MAX), *got = g_malloc(HDR_LEN + FRAME_LEN_MAX);
        int fd, as_guest;
        World w;

        world_set_up(&w, "");
        fd = open_packet_socket(&w, NO_HEADER);
        as_guest = open_packet_socket(&w, "{'Direction': <'from-guest'>}");
        for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                size_t len = HDR_LEN + lens[i];

                fill_frame(bytes + HDR_LEN, lens[i]);
                g_assert_cmpint(send(fd, bytes, len, 0), ==, len);
                g_assert_cmpint(receive(w.guest, got, len), ==, lens[i]);
                g_assert_cmpmem(got, lens[i], bytes + HDR_LEN, lens[i]);
                g_assert_cmpint(receive(as_guest, got, len), ==, len);
                g_assert_cmpmem(got, len, bytes, len);

                g_assert_cmpint(send(w.guest, bytes + HDR_LEN, lens[i], 0), ==, lens[i]);
                g_assert_cmpint(receive(fd, got, len), ==, len);
                g_assert_cmpuint(got[0], ==, VIRTIO_NET_HDR_F_DATA_VALID); /* a socket of this host flips no bits */
                g_assert_cmpmem(got + 1, len - 1, bytes + 1, len - 1);

                g_assert_cmpint(send(as_guest, bytes, len, 0), ==, len);
                g_assert_cmpint(receive(fd, got, len), ==, len);
                g_assert_cmpmem(got, len, bytes, len);
        }
        /* It stays when the device moves, and goes with it. */
        g_variant_unref(call_ok(w.f.client, lab, DEVICE, "Attach", g_variant_new("(s)", "default")));
        g_assert_cmpint(send(w.guest, bytes + HDR_LEN, 60, 0), ==, 60);
        g_assert_cmpint(receive(fd, got, 100), ==, 72);
        g_variant_unref(call_ok(w.f.client, lab, DEVICE, "Remove", NULL));
        g_assert_cmpint(receive(fd, got, 100), ==, 0);
        g_assert_cmpint(receive(as_guest, got, 100), ==, 0);
        close(fd);
        close(as_guest);
        world_tear_down(&w);
}

static void test_packet_socket_malformed(void) {
        static const guint8 lies[HDR_LEN + 60] = { 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };
        g_autofree guint8 *bytes = g_malloc0(HDR_LEN + FRAME_LEN_MAX + 1);
        static const size_t lens[] = { 0, 1, HDR_LEN - 1, HDR_LEN, HDR_LEN + 13, HDR_LEN + FRAME_LEN_MAX + 1 };
        guint8 got[2000];
        int fd;
        World w;

        world_set_up(&w, "");
        fd = open_packet_socket(&w, NO_HEADER);
        for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                g_assert_cmpint(send(fd, bytes, lens[i], 0), ==, lens[i]);
                await(&w, drops, "packet-malformed", i + 1);
        }
        g_assert_cmpint(send(fd, lies, sizeof(lies), 0), ==, sizeof(lies));
        await(&w, drops, "packet-malformed", G_N_ELEMENTS(lens) + 1);
        g_assert_cmpint(send(fd, bytes, HDR_LEN + 60, 0), ==, HDR_LEN + 60); /* it lives on */
        g_assert_cmpint(receive(w.guest, got, sizeof(got)), ==, 60);
        g_assert_cmpuint(counter(&w, "TxFrames"), ==, 1);
        close(fd);
        world_tear_down(&w);
}

static void test_packet_socket_limits(void) {
        guint8 bytes[60] = {};
        int fds[8];
        World w;

        world_set_up(&w, "");
        for (size_t i = 0; i < G_N_ELEMENTS(fds); i++)
                fds[i] = open_packet_socket(&w, NO_HEADER);
        call_refused(w.f.client, lab, DEVICE, "OpenPacketSocket", g_variant_new("(a{sv})", NULL), "org.vnetd1.QuotaExceeded", "lab0");
        /* Nobody reads: the sockets are full in the end, frames are counted, and the device goes on. */
        for (guint64 n = 0; drops(&w, "packet-full") == 0; n += 1000) {
                g_assert_cmpuint(n, <, 200000);
                for (int i = 0; i < 1000; i++)
                        g_assert_cmpint(send(w.guest, bytes, sizeof(bytes), 0), ==, sizeof(bytes));
                await(&w, counter, "RxFrames", n + 1000);
        }
        close(fds[0]);
        for (int i = 0; i < 500; i++) {
                g_autoptr(GVariant) reply = call_fd(w.f.client, lab, DEVICE, "OpenPacketSocket", g_variant_new("(a{sv})", NULL), -1, &fds[0], NULL);

                if (reply)
                        break;
                g_usleep(10000);
                g_assert_cmpint(i, <, 499);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(fds); i++)
                close(fds[i]);
        world_tear_down(&w);
}

/* ---- StartCapture() ---- */

static char *start_capture(GDBusConnection *c, int fd, const char *options) {
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;
        char *id;

        reply = call_fd(c, lab, DEVICE, "StartCapture", g_variant_new("(h@a{sv})", 0, g_variant_new_parsed(options)), fd, NULL, &error);
        g_assert_no_error(error);
        g_variant_get(reply, "(s)", &id);
        return id;
}

static void capture_refused(World *w, int fd, const char *options, const char *name, const char *part) {
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;
        g_autofree char *is = NULL;

        reply = call_fd(w->f.client, lab, DEVICE, "StartCapture", g_variant_new("(h@a{sv})", 0, g_variant_new_parsed(options)), fd, NULL,
                        &error);
        if (reply)
                g_error("a capture with %s was not refused", options);
        is = g_dbus_error_get_remote_error(error);
        g_assert_cmpstr(is, ==, name);
        if (!strstr(error->message, part))
                g_error("no '%s' in: %s", part, error->message);
}

static void stop_capture(World *w, const char *id) {
        g_variant_unref(call_ok(w->f.client, lab, DEVICE, "StopCapture", g_variant_new("(s)", id)));
}

/* Reads the file at @fd (consumed) and checks it frame by frame: lengths, and bytes as fill_frame() makes them. */
static void assert_capture(int fd, const size_t *lens, size_t n, size_t snaplen) {
        char errbuf[PCAP_ERRBUF_SIZE];
        g_autofree guint8 *bytes = g_malloc(FRAME_LEN_MAX);
        gint64 now = g_get_real_time() / G_USEC_PER_SEC;
        struct pcap_pkthdr *h;
        const u_char *data;
        pcap_t *p;

        g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
        p = pcap_fopen_offline_with_tstamp_precision(fdopen(fd, "r"), PCAP_TSTAMP_PRECISION_NANO, errbuf);
        g_assert_nonnull(p);
        g_assert_cmpint(pcap_get_tstamp_precision(p), ==, PCAP_TSTAMP_PRECISION_NANO);
        g_assert_cmpint(pcap_datalink(p), ==, DLT_EN10MB);
        for (size_t i = 0; i < n; i++) {
                g_assert_cmpint(pcap_next_ex(p, &h, &data), ==, 1);
                g_assert_cmpuint(h->len, ==, lens[i]);
                g_assert_cmpuint(h->caplen, ==, MIN(lens[i], snaplen));
                fill_frame(bytes, lens[i]);
                g_assert_cmpmem(data, h->caplen, bytes, h->caplen);
                g_assert_cmpint(h->ts.tv_sec, >=, now - 60);
                g_assert_cmpint(h->ts.tv_sec, <=, now + 1);
                g_assert_cmpint(h->ts.tv_usec, <, 1000000000);
        }
        g_assert_cmpint(pcap_next_ex(p, &h, &data), ==, PCAP_ERROR_BREAK);
        pcap_close(p);
}

static int make_file(void) {
        char path[] = "/tmp/vnetd-capture.XXXXXX";
        int fd = mkstemp(path);

        g_assert_cmpint(fd, >=, 0);
        unlink(path);
        return fd;
}

static void assert_captures(World *w, unsigned n) {
        g_autoptr(GVariant) v = get_property(w->f.client, lab, DEVICE, "Captures");

        g_assert_cmpuint(g_variant_n_children(v), ==, n);
}

static void test_capture(void) {
        static const size_t lens[] = { 14, 60, 1514, GUEST_LEN_MAX }, both[] = { 14, 14, 60, 60, 1514, 1514, GUEST_LEN_MAX, GUEST_LEN_MAX },
                            big[] = { 1514, 1514, GUEST_LEN_MAX, GUEST_LEN_MAX };
        g_autofree guint8 *bytes = g_malloc(FRAME_LEN_MAX), *got = g_malloc(FRAME_LEN_MAX);
        int files[3] = { make_file(), make_file(), make_file() };
        g_autofree char *all = NULL, *cut = NULL, *none = NULL;
        Signals s;
        World w;

        world_set_up(&w, "");
        signals_start(&s, w.f.client);
        all = start_capture(w.f.client, files[0], NO_HEADER);
        cut = start_capture(w.f.client, files[1], "{'Filter': <'ether proto 0x88b5 and greater 1000'>, 'Snaplen': <@u 100>}");
        none = start_capture(w.f.client, files[2], "{'Filter': <'tcp port 80'>}");
        assert_captures(&w, 3);
        for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                fill_frame(bytes, lens[i]);
                inject(&w, bytes, lens[i], NO_HEADER);
                g_assert_cmpint(receive(w.guest, got, FRAME_LEN_MAX), ==, lens[i]);
                g_assert_cmpint(send(w.guest, bytes, lens[i], 0), ==, lens[i]);
                await(&w, counter, "RxFrames", i + 1);
        }
        stop_capture(&w, all);
        signals_await(&s, "CaptureEnded /org/vnetd1/device/lab0", "8, 0)");
        stop_capture(&w, cut);
        stop_capture(&w, none);
        assert_captures(&w, 0);
        assert_capture(files[0], both, G_N_ELEMENTS(both), G_MAXSIZE);
        assert_capture(files[1], big, G_N_ELEMENTS(big), 100);
        assert_capture(files[2], NULL, 0, 100);
        call_refused(w.f.client, lab, DEVICE, "StopCapture", g_variant_new("(s)", all), "org.vnetd1.NoSuchCapture", all);
        g_assert_cmpuint(drops(&w, "capture-full"), ==, 0);
        signals_stop(&s);
        world_tear_down(&w);
}

static void test_capture_refused(void) {
        g_autofree char *longest = g_strnfill(1024, ' '), *above = g_strnfill(1025, ' ');
        int file = make_file(), pipes[2], datagram = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        const struct {
                int fd;
                const char *options, *part;
        } cases[] = {
                { open("/dev/null", O_WRONLY | O_CLOEXEC), NO_HEADER, "no regular file" },
                { open("/", O_RDONLY | O_CLOEXEC), NO_HEADER, "not open for writing" },
                { open("/dev/null", O_PATH | O_CLOEXEC), NO_HEADER, "" },
                { pipe2(pipes, O_CLOEXEC) == 0 ? pipes[0] : -1, NO_HEADER, "not open for writing" },
                { datagram, NO_HEADER, "no regular file" },
                { file, "{'Filter': <'no such word'>}", "Filter" },
                { file, "{'Filter': <'tcp port'>}", "Filter" },
                { file, "{'Filter': <'ip6 and ip'>}", "Filter" },
                { file, "{'Filter': <@u 7>}", "Filter" },
                { file, "{'Snaplen': <@u 0>}", "Snaplen" },
                { file, "{'Snaplen': <@u 262145>}", "Snaplen" },
                { file, "{'Snaplen': <'x'>}", "Snaplen" },
                { file, "{'Colour': <'x'>}", "Colour" },
        };
        static const char *const ids[] = { "", "0", "-1", "1", "x", "4294967296", "99999999999999999999" };
        g_autofree char *options = g_strdup_printf("{'Filter': <'%s'>}", above), *good = g_strdup_printf("{'Filter': <'%s'>}", longest), *id = NULL;
        World w;

        world_set_up(&w, "");
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                capture_refused(&w, cases[i].fd, cases[i].options, INVALID_ARGS, cases[i].part);
        capture_refused(&w, file, options, INVALID_ARGS, "1024");
        id = start_capture(w.f.client, file, good); /* blanks are a filter that takes all */
        stop_capture(&w, id);
        /* A descriptor that is not there. */
        {
                g_autoptr(GVariant) reply = call(w.f.client, lab, DEVICE, "StartCapture", g_variant_new_parsed("(@h 0, @a{sv} {})"), NULL);

                g_assert_null(reply);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(ids); i++)
                call_refused(w.f.client, lab, DEVICE, "StopCapture", g_variant_new("(s)", ids[i]), "org.vnetd1.NoSuchCapture", "lab0");
        daemon_assert_alive(&w.f.daemon, w.f.client);
        for (size_t i = 0; i < 5; i++)
                close(cases[i].fd);
        close(pipes[1]);
        close(file);
        world_tear_down(&w);
}

static void test_capture_limits(void) {
        int file = make_file();
        World w;

        world_set_up(&w, "");
        for (int i = 0; i < CAPTURES_PER_DEVICE; i++)
                g_free(start_capture(w.f.client, file, NO_HEADER));
        capture_refused(&w, file, NO_HEADER, "org.vnetd1.QuotaExceeded", "lab0");
        assert_captures(&w, CAPTURES_PER_DEVICE);
        g_variant_unref(call_ok(w.f.client, lab, DEVICE, "Remove", NULL)); /* all of them end */
        close(file);
        world_tear_down(&w);
}

/* Reads until the end of the file; -1: it doesn't come. */
static ssize_t read_to_end(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        static guint8 bytes[65536];
        ssize_t total = 0, n;

        while (poll(&p, 1, 10000) == 1) {
                n = read(fd, bytes, sizeof(bytes));
                if (n <= 0)
                        return n == 0 ? total : -1;
                total += n;
        }
        return -1;
}

static void test_capture_ends(void) {
        GDBusConnection *other;
        guint8 bytes[60];
        int pipes[2], pair[2];
        char *id;
        Signals s;
        World w;

        world_set_up(&w, "");
        signals_start(&s, w.f.client);
        fill_frame(bytes, sizeof(bytes));

        /* The client leaves the bus. */
        other = fixture_connect();
        g_assert_cmpint(pipe2(pipes, O_CLOEXEC), ==, 0);
        id = start_capture(other, pipes[1], NO_HEADER);
        close(pipes[1]);
        inject(&w, bytes, sizeof(bytes), NO_HEADER);
        g_assert_true(g_dbus_connection_close_sync(other, NULL, NULL));
        g_object_unref(other);
        g_assert_cmpint(read_to_end(pipes[0]), ==, 24 + 16 + 60);
        close(pipes[0]);
        signals_await(&s, "CaptureEnded /org/vnetd1/device/lab0", id);
        g_free(id);

        /* The reader leaves, with nothing going on and with frames on their way. */
        g_assert_cmpint(pipe2(pipes, O_CLOEXEC), ==, 0);
        id = start_capture(w.f.client, pipes[1], NO_HEADER);
        close(pipes[1]);
        close(pipes[0]);
        signals_await(&s, "CaptureEnded /org/vnetd1/device/lab0", id);
        g_free(id);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
        id = start_capture(w.f.client, pair[1], NO_HEADER);
        close(pair[1]);
        inject(&w, bytes, sizeof(bytes), NO_HEADER);
        close(pair[0]);
        signals_await(&s, "CaptureEnded /org/vnetd1/device/lab0", id);
        g_free(id);

        /* The device goes. */
        g_assert_cmpint(pipe2(pipes, O_CLOEXEC), ==, 0);
        id = start_capture(w.f.client, pipes[1], NO_HEADER);
        close(pipes[1]);
        g_variant_unref(call_ok(w.f.client, lab, DEVICE, "Remove", NULL));
        g_assert_cmpint(read_to_end(pipes[0]), ==, 24);
        close(pipes[0]);
        signals_await(&s, "CaptureEnded /org/vnetd1/device/lab0", id);
        g_free(id);
        signals_stop(&s);
        world_tear_down(&w);
}

/* Nobody reads the pipe: frames are lost to the capture and to nobody else; stopping takes its second and no longer. */
static void test_capture_slow_reader(void) {
        g_autofree guint8 *bytes = g_malloc(FRAME_LEN_MAX), *got = g_malloc(FRAME_LEN_MAX);
        g_autofree char *id = NULL;
        gint64 before;
        int pipes[2];
        World w;

        world_set_up(&w, "");
        g_assert_cmpint(pipe2(pipes, O_CLOEXEC), ==, 0);
        id = start_capture(w.f.client, pipes[1], NO_HEADER);
        fill_frame(bytes, FRAME_LEN_MAX);
        for (int i = 0; i < 150; i++) { /* twice what the ring holds */
                inject(&w, bytes, FRAME_LEN_MAX, NO_HEADER);
                g_assert_cmpint(receive(w.guest, got, FRAME_LEN_MAX), ==, FRAME_LEN_MAX);
        }
        g_assert_cmpuint(drops(&w, "capture-full"), >, 50);
        g_assert_cmpuint(counter(&w, "TxDropped"), ==, 0);
        before = g_get_monotonic_time();
        stop_capture(&w, id);
        g_assert_cmpint(g_get_monotonic_time() - before, <, 10 * G_USEC_PER_SEC);
        close(pipes[0]);
        close(pipes[1]);
        world_tear_down(&w);
}

/* A daemon that ends takes what runs along. */
static void test_end_amid(void) {
        int file = make_file(), fd;
        World w;

        world_set_up(&w, "");
        g_free(start_capture(w.f.client, file, NO_HEADER));
        fd = open_packet_socket(&w, NO_HEADER);
        world_tear_down(&w);
        close(fd);
        assert_capture(file, NULL, 0, 0);
}

/* ---- rights ---- */

static void pop_and_answer(Fixture *f, const char *action, gboolean authorized) {
        GDBusMethodInvocation *invocation;
        g_autofree char *asked = NULL;

        g_assert_true(gt_dbus_queue_pop_message(f->queue, &invocation));
        g_variant_get(g_dbus_method_invocation_get_parameters(invocation), "((s@a{sv})s@a{ss}us)", NULL, NULL, &asked, NULL, NULL, NULL);
        g_assert_cmpstr(asked, ==, action);
        g_dbus_method_invocation_return_value(invocation, g_variant_new("((bba{ss}))", authorized, FALSE, NULL));
}

static void test_rights(void) {
        static const struct {
                const char *method, *args, *action;
        } cases[] = {
                { "Inject", "(@ay [], @a{sv} {})", "org.vnetd1.inject-packets" },
                { "OpenPacketSocket", "(@a{sv} {},)", "org.vnetd1.inject-packets" },
        };
        g_autofree char *at = NULL;
        guint8 bytes[60] = {};
        Pending *p;
        World w = {};

        fixture_set_up(&w.f, TRUE, TRUE);
        at = g_build_filename(w.f.daemon.dir, "lab0", NULL);
        p = call_async(w.f.client, VNETD_PATH, MANAGER, "CreateDevice",
                       g_variant_new_parsed("('bess', {'Name': <'lab0'>, 'Network': <''>, 'Listen': <%s>})", at), FALSE);
        pop_and_answer(&w.f, "org.vnetd1.manage-devices", TRUE);
        pending_assert_ok(p);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                p = call_async(w.f.client, lab, DEVICE, cases[i].method, g_variant_new_parsed(cases[i].args), FALSE);
                pop_and_answer(&w.f, cases[i].action, FALSE);
                pending_assert_refused(p, ERROR_DBUS "AccessDenied", cases[i].action);
        }
        /* A packet socket reads, too. */
        p = call_async(w.f.client, lab, DEVICE, "OpenPacketSocket", g_variant_new_parsed("(@a{sv} {},)"), FALSE);
        pop_and_answer(&w.f, "org.vnetd1.inject-packets", TRUE);
        pop_and_answer(&w.f, "org.vnetd1.capture", FALSE);
        pending_assert_refused(p, ERROR_DBUS "AccessDenied", "org.vnetd1.capture");
        assert_state(&w, "waiting"); /* nobody has come to the device */
        p = call_async(w.f.client, lab, DEVICE, "Inject", inject_args(bytes, sizeof(bytes), NO_HEADER), FALSE);
        pop_and_answer(&w.f, "org.vnetd1.inject-packets", TRUE);
        pending_assert_refused(p, "org.vnetd1.Failed", "nobody is connected");
        fixture_tear_down(&w.f);
}

int main(int argc, char **argv) {
        fixture_require_daemon();
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/lab/states", test_states);
        g_test_add_func("/lab/guest-leaves", test_guest_leaves);
        g_test_add_func("/lab/inject", test_inject);
        g_test_add_func("/lab/inject/super-segment", test_inject_super_segment);
        g_test_add_func("/lab/inject/refused", test_inject_refused);
        g_test_add_func("/lab/inject/from-guest", test_inject_from_guest);
        g_test_add_func("/lab/packet-socket", test_packet_socket);
        g_test_add_func("/lab/packet-socket/malformed", test_packet_socket_malformed);
        g_test_add_func("/lab/packet-socket/limits", test_packet_socket_limits);
        g_test_add_func("/lab/capture", test_capture);
        g_test_add_func("/lab/capture/refused", test_capture_refused);
        g_test_add_func("/lab/capture/limits", test_capture_limits);
        g_test_add_func("/lab/capture/ends", test_capture_ends);
        g_test_add_func("/lab/capture/slow-reader", test_capture_slow_reader);
        g_test_add_func("/lab/end-amid", test_end_amid);
        g_test_add_func("/lab/rights", test_rights);
        return g_test_run();
}
