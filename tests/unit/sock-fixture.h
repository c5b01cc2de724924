/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* A socket device on a loop of its own, for the tests of sock*.c: what it says is counted, and frames are kept as they came. */

#include <glib.h>
#include <pthread.h>

#include "device/framing.h"
#include "device/sock.h"

#define RIG_WAIT_MSEC 30000

typedef struct Rig {
        Device *device; /* (owned) */
        Loop *loop;     /* (owned) NULL: not started */
        pthread_mutex_t lock; /* of what follows; not GLib's own, which a build under TSan does not see through */
        unsigned n_wakes;   /* of the loop */
        unsigned n_frames, n_up, n_down, n_refused, n_gone, n_writable;
        int error;          /* of the last of down and gone */
        uint8_t flags;      /* of the last frame's virtio-net header */
        GByteArray *frames; /* a 32-bit length in the host's order before each */
        char *dir, *path;   /* (owned) of the socket file */
} Rig;

/* A device of @kind that listens at r->path, or with @fd >= 0 has that connection; on a loop, started. */
void rig_listen(Rig *r, const char *kind, uint32_t mtu);
void rig_adopt(Rig *r, const char *kind, int fd);
void rig_begin(Rig *r); /* with r->device already there: starts it on a new loop */
void rig_stop(Rig *r);  /* and ends the loop */
void rig_end(Rig *r);   /* everything */

void rig_wait(Rig *r, const unsigned *what, unsigned n); /* until it is at least @n */
unsigned rig_get(Rig *r, const unsigned *what);
uint64_t rig_drops(Rig *r, Drop reason);
/* device_send() on the loop: frames of @len bytes, the first filled with @fill, the next with @fill + 1 and so on. */
unsigned rig_send(Rig *r, unsigned n, uint32_t len, uint8_t fill);
unsigned rig_send_frames(Rig *r, Frame *frames, unsigned n);

void rig_pair(int type, int pair[2]); /* of sockets; the second is blocking, with a time-out */
int rig_dial(Rig *r, int type);       /* connected to r->path, blocking, with a time-out; a datagram socket gets a name */
void rig_write(int fd, const void *bytes, size_t len);
/* A frame of @len bytes (of 4 more, with its header, for QEMU's framing) in @buf: Ethernet header, then @fill. Returns the total. */
size_t rig_frame(uint8_t *buf, bool header, uint32_t len, uint8_t fill);
bool rig_at_end(int fd); /* reads until the end of the stream; false: it does not end in time */
