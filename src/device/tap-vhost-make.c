/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a vhost-net device is made: a TAP, a /dev/vhost-net for each of its queues, and their rings; or the TAP alone where the second is not to
 * be had. Whatever fails leaves the caller's descriptors, and the interface behind them, as they were. Moves no frames.
 */

#include <errno.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include "basic/cleanup.h"
#include "core-vq/vq-layout.h"
#include "device/tap-fds.h"
#include "device/tap-vhost-private.h"
#include "vhostnet/vhost.h"

/* What the two kinds have in common, read off the TAP. */
static int copy_common(TapVhost *t) {
        const Device *tap = t->tap;

        t->device.mac = tap->mac;
        t->device.mtu = tap->mtu;
        t->device.offloads = tap->offloads;
        t->device.n_queues = tap->n_queues;
        t->device.ifindex = tap->ifindex;
        memcpy(t->device.ifname, tap->ifname, sizeof(t->device.ifname));
        if (tap->peer) {
                t->device.peer = strdup(tap->peer);
                if (!t->device.peer)
                        return -ENOMEM;
        }
        t->cut = offload_must_cut(tap->offloads);
        t->join = offload_must_join(tap->offloads);
        return 0;
}

/* Opens /dev/vhost-net @n times. Return: 0; with @ret_note and none opened when it is not to be had; or another error. */
static int open_vhost(TapFds *ret, unsigned n, const char **ret_note) {
        while (ret->n < n) {
                int fd = vhost_open_net();

                switch (fd) {
                case -ENOENT:
                case -ENODEV:
                case -ENXIO:
                        *ret_note = "there is no /dev/vhost-net (module vhost_net): frames go through system calls instead";
                        break;
                case -EACCES:
                case -EPERM:
                        *ret_note = "no permission to open /dev/vhost-net: frames go through system calls instead";
                        break;
                default: /* of the system's errnos */
                        break;
                }
                if (*ret_note) {
                        tap_fds_deinit(ret);
                        return 0;
                }
                if (fd < 0)
                        return fd;
                ret->fds[ret->n++] = fd;
        }
        return 0;
}

/* The TAP, with nothing about it that would outlive a failure further on: the caller's descriptors are duplicated, and persistence waits. */
static int open_tap(Device **ret, const TapConfig *config, const char **ret_what) {
        _cleanup_(tap_fds_deinit) TapFds fds = {};
        TapConfig c = *config;
        int r = 0;

        *ret_what = "taking over the descriptor";
        if (c.fd >= 0)
                r = tap_fds_duplicate(&fds, c.fd);
        for (unsigned i = 0; r >= 0 && i < c.n_queue_fds; i++)
                r = tap_fds_duplicate(&fds, c.queue_fds[i]);
        if (r < 0)
                return r;
        if (c.fd >= 0)
                c.fd = fds.fds[0];
        c.queue_fds = fds.fds + 1;
        c.persistent = false;
        r = tap_new(ret, &c, ret_what);
        if (r >= 0)
                fds.n = 0; /* the device's now */
        return r;
}

static int make_rings(TapVhost *t, const TapFds *vhost, unsigned queue_size, const char **ret_what) {
        int fds[TAP_QUEUES_MAX];
        int r = copy_common(t);

        if (r < 0)
                return r;
        for (unsigned i = 0; i < t->device.n_queues; i++)
                fds[i] = tap_fd(t->tap, i);
        /* All that is sent is copied into the arena: the worker need see no more of this process. */
        return vhost_net_new(&t->net,
                             &(VhostNetConfig){ .n_pairs = t->device.n_queues, .backend_fds = fds, .vhost_fds = vhost->fds,
                                                .queue_size = queue_size, .map = VHOST_NET_MAP_ARENA },
                             ret_what);
}

static int config_check(const TapConfig *c, unsigned queue_size, const char **ret_what) {
        *ret_what = "frames without headers";
        if (c->no_vnet_hdr)
                return -EOPNOTSUPP;
        *ret_what = "size of the queues";
        if (queue_size && (queue_size < TAP_VHOST_QUEUE_SIZE_MIN || queue_size > TAP_VHOST_QUEUE_SIZE_MAX ||
                           vq_size_check(queue_size) != VQ_SIZE_OK))
                return -EINVAL;
        return tap_config_check(c, ret_what);
}

static int make_device(Device **ret, const TapConfig *config, unsigned queue_size, const char **ret_note, const char **ret_what) {
        _cleanup_(device_freep) Device *tap = NULL, *d = NULL;
        _cleanup_(tap_fds_deinit) TapFds vhost = {};
        TapVhost *t;
        int r;

        *ret_what = "opening /dev/vhost-net";
        r = open_vhost(&vhost, config->n_queues, ret_note);
        if (r < 0)
                return r;
        r = open_tap(&tap, config, ret_what);
        if (r < 0)
                return r;
        if (vhost.n > 0) {
                *ret_what = "memory";
                r = tap_vhost_alloc(&t, config);
                if (r < 0)
                        return r;
                d = &t->device;
                t->tap = TAKE_PTR(tap);
                r = make_rings(t, &vhost, queue_size, ret_what);
                if (r < 0)
                        return r;
        } else {
                d = TAKE_PTR(tap);
        }
        *ret_what = "making the interface persistent";
        if (config->persistent && ioctl(tap_vhost_fd(d, 0), TUNSETPERSIST, 1) < 0)
                return -errno;
        *ret = TAKE_PTR(d);
        return 0;
}

int tap_vhost_new(Device **ret, const TapConfig *config, unsigned queue_size, const char **ret_note, const char **ret_what) {
        const char *note = NULL, *what = NULL;
        int r;

        r = config_check(config, queue_size, &what);
        if (r >= 0)
                r = make_device(ret, config, queue_size, &note, &what);
        if (r < 0) {
                if (ret_what)
                        *ret_what = what;
                return r;
        }
        tap_config_close(config); /* ours are duplicates */
        if (ret_note)
                *ret_note = note;
        return 0;
}
