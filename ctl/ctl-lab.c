/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vnetctl inject DEVICE < FRAME and vnetctl capture DEVICE. Injecting makes up the fields of the header that were not given from the frame
 * itself. A capture is written by the daemon straight to the file or pipe; this program waits, and says at the end what came of it.
 */

#include "ctl-lab.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <net/ethernet.h>
#include <signal.h>
#include <stdio.h>

#include "basic/parse.h"
#include "ctl-client.h"

#define FRAME_MAX 65549 /* an Ethernet header and 65535 bytes */
#define ETH_LEN 14
#define LINK_MTU 1500 /* what super-segments are cut for, unless told */
#define WHAT_MAX 128

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* ---- inject ---- */

typedef struct Header {
        uint32_t flags, gso_type, hdr_len, gso_size, csum_start, csum_offset;
} Header;

/* Where the headers of a frame lie, if it is TCP or UDP without anything unusual between. */
typedef struct Layout {
        unsigned l4, payload, csum_offset;
} Layout;

static bool find_layout(const uint8_t *b, size_t len, Layout *ret) {
        unsigned type, proto, l4;

        if (len < ETH_LEN + 20)
                return false;
        type = (unsigned) b[12] << 8 | b[13];
        if (type == ETHERTYPE_IP) {
                l4 = ETH_LEN + (b[ETH_LEN] & 15u) * 4;
                proto = b[ETH_LEN + 9];
        } else if (type == ETHERTYPE_IPV6) {
                l4 = ETH_LEN + 40;
                proto = b[ETH_LEN + 6];
        } else
                return false;
        if ((proto != IPPROTO_TCP && proto != IPPROTO_UDP) || len < l4 + 20)
                return false;
        *ret = (Layout){ l4, l4 + (proto == IPPROTO_TCP ? (b[l4 + 12] >> 4) * 4u : 8u), proto == IPPROTO_TCP ? 16 : 6 };
        return true;
}

static int gso_from_name(const char *text, uint32_t *ret) {
        static const struct {
                const char *name;
                uint32_t type;
        } names[] = {
                { "none", VIRTIO_NET_HDR_GSO_NONE },
                { "tcpv4", VIRTIO_NET_HDR_GSO_TCPV4 },
                { "tcpv6", VIRTIO_NET_HDR_GSO_TCPV6 },
                { "tcpv4+ecn", VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN },
                { "tcpv6+ecn", VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN },
                { "udp", VIRTIO_NET_HDR_GSO_UDP_L4 },
                { "ufo", VIRTIO_NET_HDR_GSO_UDP },
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(names[i].name, text)) {
                        *ret = names[i].type;
                        return 0;
                }
        return fail_usage("Invalid value '%s' for --gso: use tcpv4, tcpv6, udp, ufo or none", text);
}

static int read_number(const Ctl *c, Opt o, uint32_t *ret) {
        const char *text = opt_value(c, o);

        if (text && parse_u32(text, 0, UINT16_MAX, ret) < 0)
                return fail_usage("Invalid value '%s' for --%s: use a number to 65535", text, opt_table[o].name);
        return 0;
}

static int read_csum(const char *text, Header *h) {
        const char *colon = strchr(text, ':');
        char start[8];

        if (!colon || (size_t) (colon - text) >= sizeof(start))
                return fail_usage("Invalid value '%s' for --csum: use START:OFFSET", text);
        memcpy(start, text, (size_t) (colon - text));
        start[colon - text] = 0;
        if (parse_u32(start, 0, UINT16_MAX, &h->csum_start) < 0 || parse_u32(colon + 1, 0, UINT16_MAX, &h->csum_offset) < 0)
                return fail_usage("Invalid value '%s' for --csum: use START:OFFSET", text);
        h->flags |= VIRTIO_NET_HDR_F_NEEDS_CSUM;
        return 0;
}

static int make_header(const Ctl *c, const uint8_t *frame, size_t len, Header *h) {
        const char *csum = opt_value(c, OPT_CSUM);
        Layout l = {};
        bool known;
        int r = 0;

        *h = (Header){};
        if (opt_set(c, OPT_GSO))
                r = gso_from_name(opt_value(c, OPT_GSO), &h->gso_type);
        known = h->gso_type != VIRTIO_NET_HDR_GSO_NONE && find_layout(frame, len, &l);
        if (known) {
                h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
                h->hdr_len = l.payload;
                h->gso_size = LINK_MTU + ETH_LEN - l.payload;
                h->csum_start = l.l4;
                h->csum_offset = l.csum_offset;
        }
        if (r == 0)
                r = read_number(c, OPT_GSO_SIZE, &h->gso_size);
        if (r == 0)
                r = read_number(c, OPT_HDR_LEN, &h->hdr_len);
        if (r == 0 && csum)
                r = read_csum(csum, h);
        return r;
}

static int read_frame(uint8_t *bytes, size_t *ret_len) {
        size_t len = 0;

        for (;;) {
                ssize_t n = read(STDIN_FILENO, bytes + len, FRAME_MAX + 1 - len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return fail_errno(errno, "Failed to read the frame");
                if (n == 0)
                        break;
                len += (size_t) n;
                if (len > FRAME_MAX)
                        return fail("Failed to read the frame: more than %d bytes", FRAME_MAX);
        }
        *ret_len = len;
        return 0;
}

static int option_u16(sd_bus_message *m, const char *key, uint32_t value) {
        return value ? sd_bus_message_append(m, "{sv}", key, "q", (uint16_t) value) : 0;
}

static int append_header(sd_bus_message *m, const Ctl *c, const Header *h) {
        int r;

        r = options_open(m);
        if (r >= 0 && h->flags)
                r = sd_bus_message_append(m, "{sv}", "Flags", "y", (uint8_t) h->flags);
        if (r >= 0 && h->gso_type)
                r = sd_bus_message_append(m, "{sv}", "GsoType", "y", (uint8_t) h->gso_type);
        if (r >= 0)
                r = option_u16(m, "HdrLen", h->hdr_len);
        if (r >= 0)
                r = option_u16(m, "GsoSize", h->gso_size);
        if (r >= 0)
                r = option_u16(m, "CsumStart", h->csum_start);
        if (r >= 0)
                r = option_u16(m, "CsumOffset", h->csum_offset);
        if (r >= 0 && opt_set(c, OPT_FROM_GUEST))
                r = option_string(m, "Direction", "from-guest");
        return r < 0 ? r : options_close(m);
}

int verb_inject(Ctl *c, int argc, char **argv) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_free_ uint8_t *frame = malloc(FRAME_MAX + 1);
        _cleanup_free_ char *path = NULL;
        char what[WHAT_MAX];
        size_t len = 0;
        Header h;
        int r;

        if (!frame)
                return fail_errno(ENOMEM, "Failed to inject");
        r = client_find_device(c, argv[0], &path);
        if (r == 0)
                r = read_frame(frame, &len);
        if (r == 0)
                r = make_header(c, frame, len, &h);
        if (r == 0)
                r = client_new_call(c, path, VNETD_DEVICE, "Inject", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append_array(m, 'y', frame, len);
        if (r >= 0)
                r = append_header(m, c, &h);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        (void) snprintf(what, sizeof(what), "inject into '%.60s'", argv[0]);
        return client_call(c, m, what, NULL);
}

/* ---- capture ---- */

typedef struct Wait {
        sd_event *event; /* (owned) */
        Ctl *ctl;
        const char *device, *path, *id;
} Wait;

static int on_ended(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *id, *reason;
        uint64_t frames, dropped;
        Wait *w = userdata;

        if (sd_bus_message_read(m, "sstt", &id, &reason, &frames, &dropped) < 0 || !w->id || !streq(id, w->id))
                return 0;
        (void) fprintf(stderr, "%" PRIu64 " frames captured, %" PRIu64 " dropped\n", frames, dropped);
        return sd_event_exit(w->event, reason[0] ? fail("The capture of '%s' ended: %s", w->device, reason) : CTL_OK);
}

/* Whoever comes after this vnetd knows nothing of the capture. */
static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *from, *to;
        Wait *w = userdata;

        if (sd_bus_message_read(m, "sss", &name, &from, &to) < 0 || *from == '\0')
                return 0;
        return sd_event_exit(w->event, fail("The capture of '%s' ended: vnetd has left the bus", w->device));
}

static int on_hangup(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Wait *w = userdata;

        return sd_event_exit(w->event, fail("The connection to the bus is lost"));
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Wait *w = userdata;
        int r;

        r = client_call_value(w->ctl, w->path, VNETD_DEVICE, "StopCapture", "stop the capture", NULL, "s", w->id);
        return r == 0 ? 0 : sd_event_exit(w->event, r); /* the signal that it has ended is on its way */
}

/* What the words of a filter make together. */
static char *join(int n, char **words) {
        char *text = NULL;
        size_t len;
        FILE *f;

        f = open_memstream(&text, &len);
        if (!f)
                return NULL;
        for (int i = 0; i < n; i++)
                (void) fprintf(f, "%s%s", i > 0 ? " " : "", words[i]);
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

static int open_target(const char *path, int *ret) {
        if (!path || streq(path, "-")) {
                if (isatty(STDOUT_FILENO))
                        return fail_usage("A capture is nothing for a terminal: use -w FILE, or pipe it into 'tcpdump -nr -'");
                *ret = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        } else
                *ret = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        return *ret < 0 ? fail_errno(errno, "Failed to open '%s'", path ?: "-") : 0;
}

/* @ret: the reply with the id in it. */
static int start(Ctl *c, const char *path, const char *device, const char *filter, uint32_t snaplen, int fd, sd_bus_message **ret) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL;
        char what[WHAT_MAX];
        int r;

        r = client_new_call(c, path, VNETD_DEVICE, "StartCapture", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "h", fd);
        if (r >= 0)
                r = options_open(m);
        if (r >= 0)
                r = option_string(m, "Filter", filter);
        if (r >= 0 && snaplen)
                r = option_u32(m, "Snaplen", snaplen);
        if (r >= 0)
                r = options_close(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        (void) snprintf(what, sizeof(what), "capture at '%.60s'", device);
        return client_call(c, m, what, ret);
}

static int watch_end(Wait *w) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        sigset_t block;
        int r;

        (void) sigemptyset(&block);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void) sigaddset(&block, signals[i]);
        (void) sigprocmask(SIG_BLOCK, &block, NULL);
        r = sd_event_new(&w->event);
        for (size_t i = 0; i < ELEMENTSOF(signals) && r >= 0; i++)
                r = sd_event_add_signal(w->event, NULL, signals[i], on_signal, w);
        if (r >= 0)
                r = sd_bus_attach_event(w->ctl->bus, w->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_match_signal(w->ctl->bus, NULL, VNETD_BUS_NAME, w->path, VNETD_DEVICE, "CaptureEnded", on_ended, w);
        if (r >= 0)
                r = sd_bus_add_match(w->ctl->bus, NULL,
                                     "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" VNETD_BUS_NAME "'",
                                     on_owner_changed, w);
        if (r >= 0)
                r = sd_bus_match_signal(w->ctl->bus, NULL, "org.freedesktop.DBus.Local", NULL, "org.freedesktop.DBus.Local", "Disconnected",
                                        on_hangup, w);
        return r;
}

int verb_capture(Ctl *c, int argc, char **argv) {
        _cleanup_(bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ char *path = NULL, *filter = join(argc - 1, argv + 1);
        _cleanup_close_ int fd = -EBADF;
        Wait w = { .ctl = c, .device = argv[0] };
        uint32_t snaplen = 0;
        int r;

        if (!filter)
                return fail_errno(ENOMEM, "Failed to capture");
        if (opt_set(c, OPT_SNAPLEN) && parse_u32(opt_value(c, OPT_SNAPLEN), 1, UINT32_MAX, &snaplen) < 0) /* before a file is emptied */
                return fail_usage("Invalid value '%s' for --snaplen: use a number of bytes", opt_value(c, OPT_SNAPLEN));
        r = client_find_device(c, argv[0], &path);
        if (r == 0)
                r = open_target(opt_value(c, OPT_WRITE), &fd);
        if (r != 0)
                return r;
        w.path = path;
        r = watch_end(&w);
        if (r < 0)
                r = fail_errno(r, "Failed to wait for the end of the capture");
        else {
                r = start(c, path, argv[0], filter, snaplen, fd, &reply);
                if (r == 0 && (r = sd_bus_message_read(reply, "s", &w.id)) < 0)
                        r = fail_errno(r, "Failed to read the reply");
                else if (r >= 0 && w.id) {
                        fd = safe_close(fd); /* the daemon's alone, but for standard output */
                        r = sd_event_loop(w.event);
                }
        }
        (void) sd_bus_detach_event(c->bus);
        sd_event_unref(w.event);
        return r;
}
