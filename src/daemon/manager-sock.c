/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kinds of CreateDevice() behind sockets: options into a SockConfig, and what is refused into sentences that say what to do. */

#include <errno.h>
#include <fcntl.h>

#include "daemon/manager-private.h"
#include "device/sock.h"

static int refuse_others(const DeviceOptions *o, const char *kind, Error *e) {
        const char *wrong = o->namespace ? "Namespace" : o->ifname ? "Ifname" : o->has_owner ? "Owner" : o->persistent ? "Persistent" : NULL;

        if (wrong)
                return error_set(e, ERROR_INVALID_ARGS, "%s: a device of kind '%s' has no interface of the host", wrong, kind);
        if (o->offloads && o->offloads[0]) /* an empty list is what it has */
                return error_set(e, ERROR_INVALID_ARGS, "Offloads: a device of kind '%s' has none, they are done by vnetd", kind);
        if (o->vhost_queue_size > 0)
                return error_set(e, ERROR_INVALID_ARGS, "VhostQueueSize: a device of kind '%s' has no queues of the kernel's", kind);
        if (o->port.parallel)
                return error_set(e, ERROR_INVALID_ARGS, "Parallel: a device of kind '%s' has one queue", kind);
        if (o->queues != 1)
                return error_set(e, ERROR_INVALID_ARGS, "Queues %u: a device of kind '%s' has one", o->queues, kind);
        return 0;
}

static int sock_error(int r, const char *what, const char *kind, const char *name, const DeviceOptions *o, Error *e) {
        const char *text = o->listen ?: o->connect ?: "", *at = text[0] ? " at " : "";
        char quoted[64] = "";

        if (text[0])
                (void) error_quote(text, quoted);
        switch (-r) {
        case EINVAL:
        case ERANGE:
                return error_set(e, ERROR_INVALID_ARGS, "Cannot make device '%s' of kind '%s'%s%s: %s", name, kind, at, quoted, what);
        case EADDRINUSE:
                return error_set(e, ERROR_ADDRESS_IN_USE, "Cannot make device '%s'%s%s: somebody listens there, or it is no socket", name, at,
                                 quoted);
        case EADDRNOTAVAIL:
                return error_set(e, ERROR_ADDRESS_NOT_AVAILABLE, "Cannot make device '%s'%s%s: not an address of this host", name, at, quoted);
        case EACCES:
        case EPERM:
        case EROFS:
                return error_set(e, ERROR_ACCESS_DENIED,
                                 "Cannot make device '%s'%s%s: no permission, when %s; the directory must be writable for vnetd and for who asks",
                                 name, at, quoted, what);
        case EAFNOSUPPORT:
        case ENODEV:
                return error_set(e, ERROR_NOT_SUPPORTED, "Cannot make device '%s'%s%s: this kernel has no sockets of that family", name, at,
                                 quoted);
        default: /* of the system's errnos */
                return error_set_errno(e, r, "Cannot make device '%s'%s%s, when %s", name, at, quoted, what);
        }
}

int manager_create_sock(const char *kind, const char *name, uint32_t uid, const DeviceOptions *o, Device **ret, Error *e) {
        _cleanup_close_ int fd = -EBADF, guest_fd = -EBADF;
        const char *what = "making it";
        SockConfig c = {
                .kind = kind,
                .name = name,
                .owner = uid,
                .limited = manager_uid_is_limited(uid),
                .listen = o->listen,
                .connect = o->connect,
                .mtu = o->mtu,
        };
        int r;

        r = refuse_others(o, kind, e);
        if (r < 0)
                return r;
        if (o->mac && (mac_parse(o->mac, &c.mac) < 0 || mac_is_multicast(&c.mac) || mac_is_zero(&c.mac)))
                return error_set(e, ERROR_INVALID_ARGS, "Mac '%s' is no MAC address of an interface", ERROR_QUOTE(o->mac));
        if (o->fd >= 0) {
                fd = fcntl(o->fd, F_DUPFD_CLOEXEC, 3);
                if (fd < 0)
                        return error_set_errno(e, errno, "Cannot take over the descriptor of device '%s'", name);
        }
        c.fd = fd;
        r = sock_new(ret, &c, &what);
        if (r < 0)
                return sock_error(r, what, kind, name, o, e);
        fd = -EBADF; /* the device's now */
        if (o->guest_fd >= 0)
                guest_fd = fcntl(o->guest_fd, F_DUPFD_CLOEXEC, 3);
        if (guest_fd >= 0 && sock_return(*ret, guest_fd) >= 0) /* else the guest has to come again */
                guest_fd = -EBADF;
        return 0;
}
