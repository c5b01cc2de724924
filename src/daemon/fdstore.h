/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Descriptors that outlive this process: systemd keeps what is put, and hands it to the next one (sd_pid_notify_with_fds(3),
 * FDSTORE=). Without systemd all of it does nothing. Names are the keys: printable, no ':'.
 */

#include "basic/addr.h"
#include "basic/cleanup.h"

#define FDSTORE_MAX 4096 /* as FileDescriptorStoreMax= in the units */
#define FDSTORE_NAME_MAX 128

typedef struct StoredFd {
        char *name; /* (owned) */
        int fd;     /* (owned) -EBADF: taken */
} StoredFd;

typedef struct FdStore {
        StoredFd *fds; /* (owned) what the last process has left */
        size_t n_fds;
} FdStore;

int fdstore_collect(FdStore *s);                   /* 0 or negative errno; once, before others can look at $LISTEN_FDS */
int fdstore_take(FdStore *s, const char *name);    /* a descriptor (owned by the caller) or -ENOENT. It stays in the
                                                      store: fdstore_remove() when it is of no use */
void fdstore_drop_rest(FdStore *s);                /* what nobody has taken leaves the store and is closed */
void fdstore_put(const char *name, int fd);        /* (borrowed) */
void fdstore_remove(const char *name);

const char *fdstore_device_name(const char *device, unsigned queue, char buf[static FDSTORE_NAME_MAX]);
const char *fdstore_guest_name(const char *device, char buf[static FDSTORE_NAME_MAX]);
const char *fdstore_listener_name(uint8_t proto, const Endpoint *at, char buf[static FDSTORE_NAME_MAX]);
