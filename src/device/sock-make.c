/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The socket device's birth from a SockConfig: its socket opened, taken over or made as a pair; and a guest's connection given back to a
 * listener. Moves no frame.
 */

#include <errno.h>
#include <fcntl.h>

#include "basic/sockopt.h"
#include "device/sock-private.h"

static int check_config(const SockConfig *c, const char **ret_what) {
        *ret_what = "one of Listen, Connect and Fd is possible";
        if ((c->listen != NULL) + (c->connect != NULL) + (c->fd >= 0) > 1)
                return -EINVAL;
        *ret_what = "MTU";
        if (c->mtu != 0 && (c->mtu < DEVICE_MTU_MIN || c->mtu > DEVICE_MTU_MAX))
                return -EINVAL;
        *ret_what = "MAC address";
        return mac_is_multicast(&c->mac) ? -EINVAL : 0;
}

static int sock_alloc(Sock **ret, const SockConfig *c) {
        Sock *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->kind = sock_find_kind(c->kind);
        assert(s->kind);
        r = device_init(&s->device, &s->kind->ops, c->name, c->owner);
        if (r < 0) {
                free(s);
                return r;
        }
        s->device.mac = c->mac;
        s->device.mtu = c->mtu ?: SOCK_MTU_DEFAULT;
        s->rights = (SockRights){ c->owner, c->limited };
        s->file = SOCK_FILE_INIT;
        s->listen_fd = s->fd = s->far_fd = s->io.fd = s->listen_io.fd = -EBADF;
        sock_init(s);

        s->device.stream = sock_is_stream(s);
        r = sock_is_stream(s) ? sock_stream_alloc(s) : sock_message_alloc(s);
        if (r >= 0)
                r = sock_send_alloc(s);
        if (r >= 0 && ((c->listen && !(s->listen_text = strdup(c->listen))) || (c->connect && !(s->connect_text = strdup(c->connect)))))
                r = -ENOMEM;
        if (r < 0) {
                device_free(&s->device);
                return r;
        }
        *ret = s;
        return 0;
}

static int parse_address(Sock *s, const char *text, const char **ret_what) {
        const char *not;
        int r = sock_address_parse(text, &s->address, &not);

        *ret_what = "it is no address";
        if (r < 0)
                return r;
        *ret_what = "this kind of device has another type of socket";
        if ((s->address.type != 0 && s->address.type != s->kind->type) || (s->address.family != AF_UNIX && s->kind->type != SOCK_STREAM))
                return -EINVAL;
        s->device.peer = strdup(text);
        return s->device.peer ? 0 : -ENOMEM;
}

static int open_listener(Sock *s, const char **ret_what) {
        int fd = sock_listen(&s->address, s->kind->type, &s->rights, &s->file);

        *ret_what = "listening";
        if (fd < 0)
                return fd;
        *(s->kind->type == SOCK_DGRAM ? &s->fd : &s->listen_fd) = fd;
        return 0;
}

/* Somebody who is not there yet is no error: he is tried again. */
static int open_connection(Sock *s, const char **ret_what) {
        *ret_what = "a datagram socket can only listen: its peer could not answer";
        if (s->kind->type == SOCK_DGRAM)
                return -EINVAL;
        *ret_what = "connecting";
        s->fd = sock_connect(&s->address, s->kind->type, &s->rights);
        if (s->fd >= 0) {
                s->connecting = true;
                return 0;
        }
        if (s->fd == -ECONNREFUSED || s->fd == -ENOENT || s->fd == -EAGAIN || s->fd == -ENETUNREACH || s->fd == -EHOSTUNREACH) {
                s->fd = -EBADF;
                return 0;
        }
        int r = s->fd;
        s->fd = -EBADF;
        return r;
}

static int adopt_descriptor(Sock *s, int fd, const char **ret_what) {
        int flags;
        struct sockaddr_storage peer;
        socklen_t peer_len = sizeof(peer);

        *ret_what = "the descriptor is no socket of the type this kind of device has";
        if (!sockopt_is(fd, SO_TYPE, s->kind->type))
                return -EINVAL;
        *ret_what = "the descriptor is not connected";
        if (!sockopt_is(fd, SO_ACCEPTCONN, 0) || getpeername(fd, (struct sockaddr *) &peer, &peer_len) < 0)
                return -EINVAL;
        *ret_what = "taking over the descriptor";
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (s->fd < 0)
                return -errno;
        sock_set_buffers(s->fd, peer.ss_family);
        return 0;
}

static int make_pair(Sock *s, const char **ret_what) {
        int pair[2];

        *ret_what = "making a socket pair";
        if (socketpair(AF_UNIX, s->kind->type | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        s->fd = pair[0];
        s->far_fd = pair[1]; /* blocking: whoever takes it sets it as it likes */
        sock_set_buffers(pair[0], AF_UNIX);
        sock_set_buffers(pair[1], AF_UNIX);
        return fcntl(s->fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int sock_new(Device **ret, const SockConfig *config, const char **ret_what) {
        _cleanup_(device_freep) Device *d = NULL;
        const char *text = config->listen ?: config->connect, *what = "memory";
        Sock *s = NULL;
        int r;

        r = check_config(config, &what);
        if (r >= 0) {
                what = "memory";
                r = sock_alloc(&s, config);
        }
        if (r >= 0) {
                d = &s->device;
                r = text ? parse_address(s, text, &what) : 0;
        }
        if (r >= 0)
                r = config->listen           ? open_listener(s, &what)
                        : config->connect    ? open_connection(s, &what)
                        : config->fd >= 0    ? adopt_descriptor(s, config->fd, &what)
                                             : make_pair(s, &what);
        if (r < 0) {
                if (ret_what)
                        *ret_what = what;
                return r;
        }
        if (config->fd >= 0)
                (void) safe_close(config->fd); /* ours is a duplicate */
        *ret = TAKE_PTR(d);
        return 0;
}

int sock_return(Device *d, int fd) {
        Sock *s = sock_of(d);
        const char *what;
        int r;

        assert(!s->loop);
        if (s->listen_fd < 0 || s->fd >= 0)
                return -EINVAL;
        r = adopt_descriptor(s, fd, &what);
        if (r < 0)
                return r;
        s->greeted = true;
        (void) safe_close(fd); /* ours is a duplicate */
        return 0;
}
