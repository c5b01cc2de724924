/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The laboratory's methods of org.vnetd1.Device: Inject(), OpenPacketSocket(), StartCapture(), StopCapture().
 *
 * A capture is asked for in one call and answered later, when its filter is compiled; stopping it is answered
 * when all it has is written. The calls wait here meanwhile, and so does the name of who asked: a capture ends
 * with the client it belongs to.
 */

#include <stdio.h>

#include "basic/log.h"
#include "basic/parse.h"
#include "bus/bus-private.h"

struct BusCapture {
        BusCapture *next;
        Bus *bus; /* (borrowed) */
        uint32_t id;
        char *path;              /* (owned) of the device */
        sd_bus_message *started; /* (ref, nullable) these two: calls not answered yet */
        sd_bus_message *stopped;
        sd_bus_track *track; /* (owned) who asked */
};

static int read_direction(const char *text, DeviceDirection *ret, sd_bus_error *error) {
        if (!text || streq(text, "to-guest"))
                *ret = DEVICE_TO_GUEST;
        else if (streq(text, "from-guest"))
                *ret = DEVICE_FROM_GUEST;
        else
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "Direction: '%s' is neither to-guest nor from-guest",
                                         ERROR_QUOTE(text));
        return 0;
}

/* ---- frames ---- */

typedef struct InjectArgs {
        uint8_t flags, gso_type;
        uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
        const char *direction;
} InjectArgs;

static const BusOption inject_options[] = {
        { "Flags", "y", offsetof(InjectArgs, flags) },
        { "GsoType", "y", offsetof(InjectArgs, gso_type) },
        { "HdrLen", "q", offsetof(InjectArgs, hdr_len) },
        { "GsoSize", "q", offsetof(InjectArgs, gso_size) },
        { "CsumStart", "q", offsetof(InjectArgs, csum_start) },
        { "CsumOffset", "q", offsetof(InjectArgs, csum_offset) },
        { "NumBuffers", "q", offsetof(InjectArgs, num_buffers) },
        { "Direction", "s", offsetof(InjectArgs, direction) },
};

int bus_device_inject(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        ManagedDevice *d = userdata;
        PolkitAsk ask = bus_device_ask(d, ACTION_INJECT, "Inject");
        DeviceDirection direction = DEVICE_TO_GUEST;
        Error e = ERROR_INIT;
        InjectArgs a = {};
        const void *bytes;
        VnetHdr hdr;
        size_t len;
        int r;

        r = sd_bus_message_read_array(m, 'y', &bytes, &len);
        if (r < 0)
                return r;
        r = bus_read_options(m, inject_options, ELEMENTSOF(inject_options), &a, NULL, error);
        if (r >= 0)
                r = read_direction(a.direction, &direction, error);
        if (r < 0)
                return r;
        hdr = (VnetHdr){ .flags = a.flags, .gso_type = a.gso_type, .hdr_len = a.hdr_len,
                         .gso_size = a.gso_size, .csum_start = a.csum_start,
                         .csum_offset = a.csum_offset, .num_buffers = a.num_buffers };

        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_inject(b->manager, d, direction, &hdr, bytes, len, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, NULL);
}

typedef struct PacketArgs {
        const char *direction;
} PacketArgs;

static const BusOption packet_options[] = {
        { "Direction", "s", offsetof(PacketArgs, direction) },
};

int bus_device_open_packet_socket(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        _cleanup_close_ int fd = -EBADF; /* the message has a duplicate */
        ManagedDevice *d = userdata;
        PolkitAsk asks[] = { bus_device_ask(d, ACTION_INJECT, "OpenPacketSocket"),
                             bus_device_ask(d, ACTION_CAPTURE, "OpenPacketSocket") };
        DeviceDirection direction = DEVICE_TO_GUEST;
        Error e = ERROR_INIT;
        PacketArgs a = {};
        int r;

        r = bus_read_options(m, packet_options, ELEMENTSOF(packet_options), &a, NULL, error);
        if (r >= 0)
                r = read_direction(a.direction, &direction, error);
        if (r < 0)
                return r;

        r = polkit_check(b->polkit, m, asks, ELEMENTSOF(asks), error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = manager_open_packet_socket(b->manager, d, direction, &fd, &e);
        return r < 0 ? bus_refuse(error, &e, r) : sd_bus_reply_method_return(m, "h", fd);
}

/* ---- captures ---- */

static BusCapture *find_capture(Bus *b, uint32_t id) {
        BusCapture *c = b->captures;

        while (c && c->id != id)
                c = c->next;
        return c;
}

static void free_capture(BusCapture *c) {
        for (BusCapture **at = &c->bus->captures; *at; at = &(*at)->next)
                if (*at == c) {
                        *at = c->next;
                        break;
                }
        sd_bus_message_unref(c->started);
        sd_bus_message_unref(c->stopped);
        sd_bus_track_unref(c->track);
        free(c->path);
        free(c);
}

void bus_free_captures(Bus *b) {
        while (b->captures)
                free_capture(b->captures);
}

static void complain(int r, const BusCapture *c) {
        if (r < 0)
                (void) log_warning_errno(r, "Cannot tell the bus of capture %u of %s, ignoring: %m", c->id,
                                         c->path);
}

static int on_owner_gone(sd_bus_track *track, void *userdata) {
        BusCapture *c = userdata;
        ManagedCapture *managed = manager_capture(c->bus->manager, c->id);

        if (managed)
                manager_stop_capture(c->bus->manager, managed);
        return 0;
}

static int answer_refused(BusCapture *c, const Error *e) {
        if (e->code == _ERROR_MAX)
                return sd_bus_reply_method_errorf(c->started, error_name(ERROR_FAILED),
                                                  "The capture ended before it began");
        return sd_bus_reply_method_errorf(c->started, error_name(e->code), "%s", e->message);
}

static int tell_ended(BusCapture *c, const ManagedCapture *managed, const Error *e) {
        CaptureStats stats;
        char id[16];
        int r;

        (void) snprintf(id, sizeof(id), "%u", c->id);
        manager_capture_stats(managed, &stats);
        r = sd_bus_emit_signal(c->bus->bus, c->path, BUS_INTERFACE_DEVICE, "CaptureEnded", "sstt", id,
                               e->code == _ERROR_MAX ? "" : e->message, stats.frames, stats.dropped);
        if (r >= 0 && c->stopped)
                r = sd_bus_reply_method_return(c->stopped, NULL);
        return r;
}

void bus_capture_changed(Bus *b, const ManagedCapture *managed, ManagerChange change, const Error *e) {
        BusCapture *c = find_capture(b, managed->id);
        char id[16];

        if (!c)
                return;
        if (change == MANAGER_ADDED) {
                (void) snprintf(id, sizeof(id), "%u", c->id);
                complain(sd_bus_reply_method_return(c->started, "s", id), c);
                c->started = sd_bus_message_unref(c->started);
                return;
        }
        complain(c->started ? answer_refused(c, e) : tell_ended(c, managed, e), c);
        free_capture(c);
}

typedef struct CaptureArgs {
        const char *filter;
        uint32_t snaplen;
} CaptureArgs;

static const BusOption capture_options[] = {
        { "Filter", "s", offsetof(CaptureArgs, filter) },
        { "Snaplen", "u", offsetof(CaptureArgs, snaplen) },
};
#define SEEN_SNAPLEN (1u << 1)

static int read_capture_args(sd_bus_message *m, int *ret_fd, CaptureArgs *ret, sd_bus_error *error) {
        const char *why;
        uint32_t seen;
        int r;

        r = sd_bus_message_read(m, "h", ret_fd);
        if (r >= 0)
                r = bus_read_options(m, capture_options, ELEMENTSOF(capture_options), ret, &seen, error);
        if (r < 0)
                return r;
        if (capture_fd_check(*ret_fd, &why) < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "The descriptor cannot take a capture: %s", why);
        if (ret->filter && strlen(ret->filter) > CAPTURE_FILTER_MAX)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "Filter: '%s' is longer than %d bytes", ERROR_QUOTE(ret->filter),
                                         CAPTURE_FILTER_MAX);
        if (seen & SEEN_SNAPLEN && (ret->snaplen < 1 || ret->snaplen > CAPTURE_SNAPLEN_MAX))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "Snaplen: %u is not between 1 and %d", ret->snaplen,
                                         CAPTURE_SNAPLEN_MAX);
        return 0;
}

/* What stands here while the capture does. @ret_c is on the list. */
static int note_capture(Bus *b, sd_bus_message *m, const ManagedDevice *d, BusCapture **ret) {
        BusCapture *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        *c = (BusCapture){ .bus = b, .started = sd_bus_message_ref(m), .next = b->captures };
        b->captures = c;
        r = bus_device_path(d->device->name, &c->path);
        if (r >= 0)
                r = sd_bus_track_new(b->bus, &c->track, on_owner_gone, c);
        if (r >= 0)
                r = sd_bus_track_add_sender(c->track, m);
        if (r < 0) {
                free_capture(c);
                return r;
        }
        *ret = c;
        return 0;
}

int bus_device_start_capture(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        ManagedDevice *d = userdata;
        PolkitAsk ask = bus_device_ask(d, ACTION_CAPTURE, "StartCapture");
        Error e = ERROR_INIT;
        CaptureArgs a = {};
        BusCapture *c;
        uid_t uid;
        int fd, r;

        r = read_capture_args(m, &fd, &a, error);
        if (r < 0)
                return r;
        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = polkit_sender_uid(m, &uid);
        if (r >= 0)
                r = note_capture(b, m, d, &c);
        if (r < 0)
                return r;
        r = manager_start_capture(b->manager, d, uid, fd, a.filter, a.snaplen, &c->id, &e);
        if (r < 0) {
                free_capture(c);
                return bus_refuse(error, &e, r);
        }
        return 1; /* answered in bus_capture_changed() */
}

int bus_device_stop_capture(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bus *b = bus_current(sd_bus_message_get_bus(m));
        ManagedDevice *d = userdata;
        PolkitAsk ask = bus_device_ask(d, ACTION_CAPTURE, "StopCapture");
        ManagedCapture *managed = NULL;
        Error e = ERROR_INIT;
        const char *text;
        BusCapture *c;
        uint32_t id;
        int r;

        r = sd_bus_message_read(m, "s", &text);
        if (r < 0)
                return r;
        if (parse_u32(text, 1, UINT32_MAX, &id) >= 0)
                managed = manager_capture(b->manager, id);
        if (!managed || !managed->ready || !streq(managed->device, d->device->name))
                return bus_refuse(error, &e,
                                  error_set(&e, ERROR_NO_SUCH_CAPTURE, "Device '%s' has no capture '%s'",
                                            d->device->name, ERROR_QUOTE(text)));
        r = polkit_check(b->polkit, m, &ask, 1, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        manager_stop_capture(b->manager, managed);
        c = find_capture(b, id);
        if (!c || c->stopped) /* it is being stopped, and somebody else waits for that */
                return sd_bus_reply_method_return(m, NULL);
        c->stopped = sd_bus_message_ref(m);
        return 1;
}

int bus_device_get_captures(sd_bus *sd, const char *path, const char *interface, const char *property,
                            sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const ManagedDevice *d = userdata;
        Bus *b = bus_current(sd);
        CaptureStats stats;
        char id[16];
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(stt)");
        for (ManagedCapture *c = NULL; r >= 0 && (c = manager_next_capture(b->manager, c));) {
                if (!c->ready || !streq(c->device, d->device->name))
                        continue;
                (void) snprintf(id, sizeof(id), "%u", c->id);
                manager_capture_stats(c, &stats);
                r = sd_bus_message_append(reply, "(stt)", id, stats.frames, stats.dropped);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}
