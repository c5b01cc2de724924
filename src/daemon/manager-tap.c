/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kinds "tap" and "vhost-net" of CreateDevice(): options into a TapConfig, and what is refused into sentences that say what to do. */

#include <errno.h>

#include "basic/log.h"
#include "basic/parse.h"
#include "daemon/manager-private.h"
#include "device/tap-fds.h"
#include "device/tap-vhost.h"

#define TUN_PATH "/dev/net/tun"

static int parse_offloads(const char *const *names, uint32_t *ret, Error *e) {
        DeviceOffload o;

        *ret = names ? 0 : _DEVICE_OFFLOAD_ALL;
        for (; names && *names; names++) {
                if (device_offload_from_name(*names, &o) < 0)
                        return error_set(e, ERROR_INVALID_ARGS, "There is no offload '%s'; there are: csum, tso4, tso6, ecn, uso",
                                         ERROR_QUOTE(*names));
                *ret |= o;
        }
        return 0;
}

static int parse_namespace(const char *text, Error *e) {
        pid_t pid;

        if (!text || text[0] == '/' || parse_pid(text, &pid) >= 0)
                return 0;
        return error_set(e, ERROR_INVALID_ARGS, "Namespace '%s' is neither an absolute path nor the number of a process",
                         ERROR_QUOTE(text));
}

static int fill_config(TapConfig *c, const DeviceOptions *o, Error *e) {
        int r;

        if (o->mac && (mac_parse(o->mac, &c->mac) < 0 || mac_is_multicast(&c->mac) || mac_is_zero(&c->mac)))
                return error_set(e, ERROR_INVALID_ARGS, "Mac '%s' is no MAC address of an interface", ERROR_QUOTE(o->mac));
        if (o->mtu != 0 && (o->mtu < DEVICE_MTU_MIN || o->mtu > DEVICE_MTU_MAX))
                return error_set(e, ERROR_INVALID_ARGS, "Mtu %u is not between %d and %d", o->mtu, DEVICE_MTU_MIN, DEVICE_MTU_MAX);
        if (o->ifname && !ifname_is_valid(o->ifname))
                return error_set(e, ERROR_INVALID_ARGS, "'%s' cannot be the name of an interface: 1 to 15 characters, no '/', ':' or blank",
                                 ERROR_QUOTE(o->ifname));
        if (o->queues < 1 || o->queues > TAP_QUEUES_MAX)
                return error_set(e, ERROR_INVALID_ARGS, "Queues %u is not between 1 and %u", o->queues, TAP_QUEUES_MAX);
        r = parse_namespace(o->namespace, e);
        if (r >= 0)
                r = parse_offloads(o->offloads, &c->offloads, e);
        return r;
}

/* @r: what tap_new() returned, @what: the step. */
static int tap_error(int r, const char *what, const DeviceOptions *o, const char *name, Error *e) {
        const char *where = o->namespace ? " in namespace " : "", *ns = o->namespace ? ERROR_QUOTE(o->namespace) : "";

        switch (-r) {
        case EPERM:
        case EACCES:
                return error_set(e, ERROR_ACCESS_DENIED,
                                 "Cannot make TAP device '%s'%s%s: no permission, when %s; vnetd needs access to " TUN_PATH
                                 " and CAP_NET_ADMIN over the namespace, or an open descriptor handed in",
                                 name, where, ns, what);
        case ENOENT:
        case ESRCH:
                if (access(TUN_PATH, F_OK) < 0)
                        break;
                return error_set(e, ERROR_NO_SUCH_NAMESPACE, "There is no network namespace at '%s' (%s)", o->namespace ? ns : "", what);
        case EBUSY:
        case EEXIST:
                return error_set(e, ERROR_DEVICE_BUSY, "Interface '%s'%s%s is in use", o->ifname ?: name, where, ns);
        case EOPNOTSUPP:
                return error_set(e, ERROR_NOT_SUPPORTED, "Cannot make TAP device '%s': not supported here: %s", name, what);
        case EINVAL:
                return error_set(e, ERROR_INVALID_ARGS, "Cannot make TAP device '%s'%s%s: what was given does not fit: %s", name, where,
                                 ns, what);
        default: /* of the system's errnos */
                break;
        }
        if (access(TUN_PATH, F_OK) < 0)
                return error_set(e, ERROR_NOT_SUPPORTED, "Cannot make TAP device '%s': there is no " TUN_PATH " (module tun)", name);
        return error_set_errno(e, r, "Cannot make TAP device '%s'%s%s, when %s", name, where, ns, what);
}

/* Duplicates of what was handed in: the device takes what it is given, and these are the caller's. */
static int duplicate_fds(TapFds *h, const DeviceOptions *o) {
        int r = 0;

        if (o->fd < 0)
                return 0;
        for (unsigned i = 0; i < 1 + o->n_queue_fds && i < TAP_QUEUES_MAX && r >= 0; i++)
                r = tap_fds_duplicate(h, i == 0 ? o->fd : o->queue_fds[i - 1]);
        return r;
}

static int create(bool vhost, const char *name, uint32_t uid, const DeviceOptions *o, Device **ret, Error *e) {
        _cleanup_(tap_fds_deinit) TapFds handed_in = {};
        const char *what = "making it", *note = NULL;
        TapConfig c = {
                .name = name,
                .owner = uid,
                .ifname = o->ifname,
                .netns = o->namespace,
                .mtu = o->mtu,
                .persistent = o->persistent,
                .set_owner = o->has_owner,
                .tun_owner = o->owner,
                .up = o->up,
                .n_queues = o->queues,
                .no_vnet_hdr = o->no_vnet_hdr,
        };
        int r;

        r = fill_config(&c, o, e);
        if (r < 0)
                return r;
        if (o->port.parallel && (vhost || o->port.guarded))
                return error_set(e, ERROR_INVALID_ARGS, "Parallel: a device %s is served by one thread", vhost ? "of kind 'vhost-net'" : "that is guarded");
        if (!vhost && o->vhost_queue_size > 0)
                return error_set(e, ERROR_INVALID_ARGS, "VhostQueueSize: a device of kind 'tap' has no queues of the kernel's, 'vhost-net' has");
        if (o->fd >= 0 && o->ifname)
                return error_set(e, ERROR_INVALID_ARGS, "Ifname '%s': the interface of Fd has its name already", ERROR_QUOTE(o->ifname));
        if (o->listen || o->connect)
                return error_set(e, ERROR_INVALID_ARGS, "%s: a device of this kind has no socket", o->listen ? "Listen" : "Connect");
        r = duplicate_fds(&handed_in, o);
        if (r < 0)
                return error_set_errno(e, r, "Cannot take over the descriptor of device '%s'", name);
        c.fd = handed_in.n > 0 ? handed_in.fds[0] : -EBADF;
        c.queue_fds = handed_in.fds + 1;
        c.n_queue_fds = handed_in.n > 0 ? handed_in.n - 1 : 0;

        r = vhost ? tap_vhost_new(ret, &c, o->vhost_queue_size, &note, &what) : tap_new(ret, &c, &what);
        if (r < 0)
                return tap_error(r, what, o, name, e);
        handed_in.n = 0; /* the device's now */
        if (note)
                log_notice("Device '%s' is a plain TAP: %s", name, note);
        return 0;
}

int manager_create_tap(const char *kind, const char *name, uint32_t uid, const DeviceOptions *o, Device **ret, Error *e) {
        return create(false, name, uid, o, ret, e);
}

int manager_create_vhost(const char *kind, const char *name, uint32_t uid, const DeviceOptions *o, Device **ret, Error *e) {
        unsigned n = o->vhost_queue_size;

        if (n != 0 && (n < TAP_VHOST_QUEUE_SIZE_MIN || n > TAP_VHOST_QUEUE_SIZE_MAX || (n & (n - 1))))
                return error_set(e, ERROR_INVALID_ARGS, "VhostQueueSize %u is no power of two between %d and %d", n,
                                 TAP_VHOST_QUEUE_SIZE_MIN, TAP_VHOST_QUEUE_SIZE_MAX);
        return create(true, name, uid, o, ret, e);
}
