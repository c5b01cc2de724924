/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The laboratory: frames put on devices by hand, packet sockets and captures. Each borrows the thread that drives the device, whether that
 * is a network's or the laboratory's own.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "daemon/manager-private.h"
#include "device/packet.h"

/* ---- devices of no network ---- */

static void on_device_gone(Device *d, int error, void *userdata) {
        manager_device_gone(userdata, d, error);
}

static void on_device_event(const char *device, DeviceEvent event, int error, void *userdata) {
        manager_device_event(userdata, NULL, device, event, error);
}

static const LabHandler lab_handler = {
        .device_gone = on_device_gone,
        .device_event = on_device_event,
};

int manager_lab_attach(Manager *m, Device *d) {
        int r = m->lab ? 0 : lab_new(&m->lab, m->control, &lab_handler, m);

        return r < 0 ? r : lab_attach(m->lab, d);
}

int manager_lab_detach(Manager *m, Device *d) {
        return m->lab ? lab_detach(m->lab, d) : -ENOENT;
}

/* Runs @fn on the thread that drives the device. -ENOENT: it has just gone on its own. */
static int with_device(Manager *m, ManagedDevice *d, NetworkDeviceFn fn, void *arg) {
        if (d->network)
                return network_with_device(d->network, d->device, fn, arg);
        return m->lab ? lab_with_device(m->lab, d->device, fn, arg) : -ENOENT;
}

static int refuse_gone(const ManagedDevice *d, Error *e) {
        return error_set(e, ERROR_NO_SUCH_DEVICE, "Device '%s' has just gone", d->device->name);
}

/* ---- one frame ---- */

typedef struct Injection {
        DeviceDirection direction;
        Frame *frame;
        Drop reason; /* of a frame that was dropped; _DROP_MAX: none said */
} Injection;

/* Which reason has been counted since? Watches, which see the same frame, have theirs. */
static Drop find_reason(const Counters *c, const uint64_t *before) {
        for (int i = 0; i < _DROP_MAX; i++)
                if (c->drops[i] != before[i] && i != DROP_PACKET_FULL && i != DROP_CAPTURE_FULL)
                        return i;
        return _DROP_MAX;
}

/* 0; -EAGAIN: full; -EIO: dropped. */
static int inject_here(Device *d, Loop *loop, void *arg) {
        Injection *i = arg;
        const Counters *c = &d->counters;
        uint64_t dropped = c->tx_dropped, before[_DROP_MAX];

        memcpy(before, c->drops, sizeof(before));
        if (inject_frames(d, i->direction, i->frame, 1) == 0)
                return -EAGAIN;
        if (i->direction == DEVICE_FROM_GUEST || c->tx_dropped == dropped)
                return 0;
        i->reason = find_reason(c, before);
        return -EIO;
}

static int refuse_header(const ManagedDevice *d, VnetHdrError why, Error *e) {
        static const char *const keys[] = {
                [VNET_HDR_ERROR_FRAME_SHORT] = "frame",      [VNET_HDR_ERROR_FRAME_LONG] = "frame",
                [VNET_HDR_ERROR_CSUM_RANGE] = "CsumStart",   [VNET_HDR_ERROR_GSO_TYPE] = "GsoType",
                [VNET_HDR_ERROR_GSO_SIZE] = "GsoSize",       [VNET_HDR_ERROR_GSO_CSUM] = "CsumOffset",
                [VNET_HDR_ERROR_GSO_OFFSET] = "CsumStart",   [VNET_HDR_ERROR_GSO_SEGMENTS] = "GsoSize",
                [VNET_HDR_ERROR_HDR_LEN] = "HdrLen",         [VNET_HDR_ERROR_NUM_BUFFERS] = "NumBuffers",
                [VNET_HDR_ERROR_FLAGS] = "Flags",
        };

        return error_set(e, ERROR_INVALID_ARGS, "%s: device '%s' is not given this frame: %s", keys[why], d->device->name,
                         vnet_hdr_error_to_string(why));
}

int manager_inject(Manager *m, ManagedDevice *d, DeviceDirection direction, const VnetHdr *hdr, const void *bytes, size_t len, Error *e) {
        struct iovec iov = { (void *) bytes, len };
        Frame f = { .iov = &iov, .n_iov = 1, .len = (uint32_t) MIN(len, (size_t) UINT32_MAX) };
        Injection i = { direction, &f, _DROP_MAX };
        VnetHdrError wrong;
        bool lies;
        int r;

        (void) vnet_hdr_encode(hdr, INJECT_HDR_LEN, &f.hdr, sizeof(f.hdr));
        wrong = inject_check(direction, hdr, &f, &lies);
        if (wrong != VNET_HDR_OK)
                return refuse_header(d, wrong, e);
        if (lies)
                return error_set(e, ERROR_INVALID_ARGS, "GsoType, CsumStart: what a guest sends must have a header true to its frame");
        r = with_device(m, d, inject_here, &i);
        switch (-r) {
        case ENOENT:
                return refuse_gone(d, e);
        case EAGAIN:
                return error_set(e, ERROR_DEVICE_BUSY, "Device '%s' is full", d->device->name);
        case EIO:
                return error_set(e, ERROR_FAILED, "Device '%s' dropped the frame: %s", d->device->name,
                                 i.reason == _DROP_MAX ? "it said no more" : drop_to_text(i.reason));
        default: /* 0 */
                return r;
        }
}

/* ---- packet sockets ---- */

static int add_packet_socket(Device *d, Loop *loop, void *arg) {
        unsigned n = 0;

        for (const Watch *w = d->watches; w; w = w->next)
                n += watch_is_packet_socket(w);
        return n < PACKET_SOCKETS_MAX ? watch_add(d, arg, loop) : -ENOSPC;
}

int manager_open_packet_socket(Manager *m, ManagedDevice *d, DeviceDirection written, int *ret_fd, Error *e) {
        _cleanup_close_ int fd = -EBADF;
        Watch *w;
        int r;

        r = packet_socket_new(&w, written, &fd);
        if (r < 0)
                return error_set_errno(e, r, "Cannot make a packet socket for device '%s'", d->device->name);
        r = with_device(m, d, add_packet_socket, w);
        if (r < 0)
                packet_socket_free(w);
        if (r == -ENOENT)
                return refuse_gone(d, e);
        if (r == -ENOSPC)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "Device '%s' has %d packet sockets or %d watchers in all already", d->device->name,
                                 PACKET_SOCKETS_MAX, DEVICE_WATCHES_MAX);
        if (r < 0)
                return error_set_errno(e, r, "Cannot open a packet socket on device '%s'", d->device->name);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* ---- captures ---- */

ManagedCapture *manager_capture(Manager *m, uint32_t id) {
        CaptureEntry *entry;

        HASH_FIND_INT(m->captures, &id, entry);
        return entry ? &entry->pub : NULL;
}

ManagedCapture *manager_next_capture(Manager *m, ManagedCapture *after) {
        CaptureEntry *entry = after ? CONTAINER_OF(after, CaptureEntry, pub)->hh.next : m->captures;

        return entry ? &entry->pub : NULL;
}

void manager_capture_stats(const ManagedCapture *c, CaptureStats *ret) {
        capture_stats(CONTAINER_OF(c, const CaptureEntry, pub)->capture, ret);
}

void manager_stop_capture(Manager *m, ManagedCapture *c) {
        capture_stop(CONTAINER_OF(c, CaptureEntry, pub)->capture);
}

static int add_watch(Device *d, Loop *loop, void *arg) {
        return watch_add(d, arg, loop);
}

static int remove_watch(Device *d, Loop *loop, void *arg) {
        watch_remove(arg);
        return 0;
}

/* Takes it off its device, wherever that is by now. */
static void take_off(Manager *m, CaptureEntry *entry) {
        Watch *w = capture_watch(entry->capture);
        ManagedDevice *d = w->device ? manager_device(m, entry->pub.device) : NULL;

        if (d && with_device(m, d, remove_watch, w) < 0)
                watch_remove(w); /* it has just gone on its own: nobody drives it */
}

static void drop_capture(Manager *m, CaptureEntry *entry) {
        take_off(m, entry);
        HASH_DEL(m->captures, entry);
        capture_free(entry->capture);
        free(entry);
}

static void tell_capture(Manager *m, CaptureEntry *entry, ManagerChange change, const Error *e) {
        if (m->handler && m->handler->capture)
                m->handler->capture(m, &entry->pub, change, e, m->userdata);
}

static void on_capture_ready(Capture *c, void *userdata) {
        CaptureEntry *entry = userdata;
        Manager *m = entry->manager;
        ManagedDevice *d = manager_device(m, entry->pub.device);
        Error e = ERROR_INIT;
        int r = d ? with_device(m, d, add_watch, capture_watch(c)) : -ENOENT;

        if (r < 0) {
                (void) error_set(&e, r == -ENOSPC ? ERROR_QUOTA_EXCEEDED : ERROR_NO_SUCH_DEVICE, "Device '%s' %s", entry->pub.device,
                                 r == -ENOSPC ? "is watched by too many already" : "has just gone");
                tell_capture(m, entry, MANAGER_REMOVED, &e);
                drop_capture(m, entry);
                return;
        }
        entry->pub.ready = true;
        tell_capture(m, entry, MANAGER_ADDED, &e);
}

static void on_capture_ended(Capture *c, int error, const char *message, void *userdata) {
        CaptureEntry *entry = userdata;
        Manager *m = entry->manager;
        Error e = ERROR_INIT;

        if (message[0])
                (void) error_set(&e, ERROR_INVALID_ARGS, "Filter: %s", message);
        else if (error < 0 && error != -EPIPE) /* that one: the reader has what it wanted */
                (void) error_set_errno(&e, error, "Cannot write the capture");
        log_debug("Capture %u of device '%s' is over%s%s", entry->pub.id, entry->pub.device, e.code == _ERROR_MAX ? "" : ": ",
                  e.code == _ERROR_MAX ? "" : e.message);
        take_off(m, entry);
        tell_capture(m, entry, MANAGER_REMOVED, &e);
        drop_capture(m, entry);
}

static const CaptureHandler capture_handler = {
        .ready = on_capture_ready,
        .ended = on_capture_ended,
};

static int check_capture_limits(Manager *m, uint32_t uid, Error *e) {
        unsigned mine = 0;

        if (HASH_COUNT(m->captures) >= MANAGER_CAPTURES_MAX)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "There are %d captures already, no more can be made", MANAGER_CAPTURES_MAX);
        for (ManagedCapture *c = NULL; (c = manager_next_capture(m, c));)
                mine += c->owner == uid;
        if (manager_uid_is_limited(uid) && mine >= MANAGER_PER_USER_CAPTURES_MAX)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "User %u has %u captures already, as many as a user may have", uid, mine);
        return 0;
}

int manager_start_capture(Manager *m, ManagedDevice *d, uint32_t uid, int fd, const char *filter, uint32_t snaplen, uint32_t *ret_id, Error *e) {
        _cleanup_close_ int copy = -EBADF;
        _cleanup_free_ CaptureEntry *entry = NULL;
        CaptureConfig c;
        int r;

        r = check_capture_limits(m, uid, e);
        if (r < 0)
                return r;
        entry = calloc(1, sizeof(*entry));
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (!entry || copy < 0)
                return error_set_errno(e, entry ? errno : ENOMEM, "Cannot start a capture of device '%s'", d->device->name);
        c = (CaptureConfig){ .fd = copy, .filter = filter, .snaplen = snaplen, .control = m->control, .handler = &capture_handler,
                             .userdata = entry };
        r = capture_new(&entry->capture, &c);
        if (r < 0)
                return error_set_errno(e, r, "Cannot start a capture of device '%s'", d->device->name);
        copy = -EBADF; /* the capture's now */
        entry->manager = m;
        entry->pub.id = ++m->last_capture_id;
        entry->pub.owner = uid;
        (void) snprintf(entry->pub.device, sizeof(entry->pub.device), "%s", d->device->name);
        HASH_ADD_INT(m->captures, pub.id, entry);
        *ret_id = TAKE_PTR(entry)->pub.id;
        return 0;
}

void manager_forget_captures(Manager *m, const char *device) {
        for (ManagedCapture *c = NULL; (c = manager_next_capture(m, c));)
                if (streq(c->device, device)) {
                        take_off(m, CONTAINER_OF(c, CaptureEntry, pub));
                        manager_stop_capture(m, c);
                        c->device[0] = 0; /* a new device may have the name before this is over */
                }
}

void manager_free_captures(Manager *m) {
        ManagedCapture *c;

        for (c = NULL; (c = manager_next_capture(m, c));)
                manager_stop_capture(m, c);
        while ((c = manager_next_capture(m, NULL)))
                drop_capture(m, CONTAINER_OF(c, CaptureEntry, pub));
}
