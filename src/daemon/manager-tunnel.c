/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ways into a network and out of it that are descriptors: Connect(), Listen() and the tunnels of the HTTP API. Opens nothing of the host's but
 * pairs of sockets.
 */

#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "daemon/manager-private.h"

static int guest_endpoint(Network *n, const char *host, uint16_t port, Endpoint *ret, Error *e) {
        _cleanup_free_ Lease *leases = NULL;
        ForwardConfig target = {};
        size_t n_leases = 0, n_dynamic = 0;
        const Lease *found = NULL;
        int r;

        r = remote_spec_parse(n, host, port, /* n_ports= */ 1, /* must_exist= */ true, &target, e);
        if (r < 0)
                return r;
        *ret = target.remote;
        if (!ip_is_null(&ret->addr))
                return 0;

        /* It was there just now; who it is, leases say. */
        r = network_list_leases(n, &leases, &n_leases);
        for (size_t i = 0; i < n_leases; i++)
                n_dynamic += !leases[i].is_static;
        for (size_t i = 0; r >= 0 && i < n_leases; i++)
                if (target.hostname[0] != 0 ? strcasecmp(leases[i].hostname, target.hostname) == 0 : n_dynamic == 0 || !leases[i].is_static)
                        found = &leases[i];
        if (!found)
                return error_set(e, ERROR_NO_SUCH_GUEST, "'%s' has just gone", ERROR_QUOTE(host));
        ret->addr = found->addr;
        return 0;
}

int manager_connect(Manager *m, Network *n, const char *protocol, const char *host, uint16_t port, int *ret_fd, Error *e) {
        bool udp = streq(protocol, "udp");
        Endpoint guest;
        int fds[2], r;

        if (!udp && !streq(protocol, "tcp"))
                return error_set(e, ERROR_NOT_SUPPORTED, "Protocol '%s': only tcp and udp can be connected to", ERROR_QUOTE(protocol));
        if (port == 0)
                return error_set(e, ERROR_INVALID_ARGS, "Port 0 cannot be connected to");
        r = guest_endpoint(n, host, port, &guest, e);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, (udp ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0, fds) < 0)
                return error_set_errno(e, errno, "Cannot connect to %s", ENDPOINT_TO_TEXT(&guest));

        _cleanup_close_ int inside = fds[0], outside = fds[1];
        if (fcntl(inside, F_SETFL, O_NONBLOCK) < 0)
                return error_set_errno(e, errno, "Cannot connect to %s", ENDPOINT_TO_TEXT(&guest));
        r = udp ? network_connect_dgram(n, &guest, TAKE_FD(inside)) : network_connect(n, &guest, TAKE_FD(inside));
        if (r == -ENOBUFS)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "Network '%s' has no room for another connection to %s", network_config(n)->name,
                                 ENDPOINT_TO_TEXT(&guest));
        if (r < 0)
                return error_set_errno(e, r, "Cannot connect to %s", ENDPOINT_TO_TEXT(&guest));
        *ret_fd = TAKE_FD(outside);
        return 0;
}

int manager_check_tunnel(Manager *m, Network *n, const char *host, uint16_t port, Error *e) {
        Endpoint guest;

        return guest_endpoint(n, host, port, &guest, e);
}

int manager_tunnel(Manager *m, Network *n, const char *host, uint16_t port, int fd, Error *e) {
        _cleanup_close_ int own = fd;
        Endpoint guest;
        int r;

        r = guest_endpoint(n, host, port, &guest, e);
        if (r < 0)
                return r;
        r = network_connect(n, &guest, TAKE_FD(own));
        return r < 0 ? error_set_errno(e, r, "Cannot connect to %s", ENDPOINT_TO_TEXT(&guest)) : 0;
}

/* ---- from guests: Listen() ---- */

typedef struct Listening Listening;
struct Listening {
        Manager *manager; /* (borrowed) */
        Network *network; /* (borrowed) */
        uint16_t port;
        int fd;                  /* (owned) the other end is the caller's */
        sd_event_source *source; /* (owned) */
        Listening *next;         /* (owned, list) */
};

static void listening_free(Listening *l) {
        for (Listening **p = &l->manager->listening; *p; p = &(*p)->next)
                if (*p == l) {
                        *p = l->next;
                        break;
                }
        (void) network_remove_service(l->network, l->port);
        sd_event_source_disable_unref(l->source);
        (void) safe_close(l->fd);
        free(l);
}

/* It is for our messages alone: whatever happens there means that it is over. */
static int on_listening(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        listening_free(userdata);
        return 0;
}

void manager_stop_listening(Manager *m, const Network *n) {
        for (Listening *l = m->listening, *next; l; l = next) {
                next = l->next;
                if (l->network == n)
                        listening_free(l);
        }
}

int manager_listen(Manager *m, Network *n, const char *protocol, uint16_t port, int *ret_fd, Error *e) {
        _cleanup_close_ int far_fd = -EBADF;
        Listening *l;
        int fds[2], r;

        if (!streq(protocol, "tcp"))
                return error_set(e, ERROR_NOT_SUPPORTED, "Protocol '%s': only tcp can be listened for", ERROR_QUOTE(protocol));
        l = calloc(1, sizeof(*l));
        if (!l)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        r = network_add_service(n, port, NULL);
        if (r < 0) {
                free(l);
                if (r == -ENOBUFS)
                        return error_set(e, ERROR_QUOTA_EXCEEDED, "The gateway of network '%s' has %d ports in use already", network_config(n)->name,
                                         NETSTACK_SERVICES_MAX);
                return error_set(e, r == -EEXIST ? ERROR_ADDRESS_IN_USE : ERROR_INVALID_ARGS,
                                 r == -EEXIST ? "Port %u of the gateway of network '%s' has something behind it already"
                                              : "Port %u of the gateway of network '%s' is none to listen on",
                                 port, network_config(n)->name);
        }
        *l = (Listening){ .manager = m, .network = n, .port = port, .fd = -EBADF, .next = m->listening };
        m->listening = l;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
                r = -errno;
                listening_free(l);
                return error_set_errno(e, r, "Cannot listen on port %u", port);
        }
        l->fd = fds[0];
        far_fd = fds[1];
        r = sd_event_add_io(m->event, &l->source, l->fd, EPOLLIN, on_listening, l); /* and the hang-up, which is told anyway */
        if (r < 0) {
                listening_free(l);
                return error_set_errno(e, r, "Cannot listen on port %u", port);
        }
        *ret_fd = TAKE_FD(far_fd);
        return 0;
}

/* A caller who does not keep up loses clients, which see their connection end. */
static void hand_over(const Listening *l, const Endpoint *guest, int fd) {
        _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))] = {};
        const char *text = ENDPOINT_TO_TEXT(guest);
        struct iovec iov = { (char *) text, strlen(text) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
        if (fcntl(fd, F_SETFL, 0) < 0 || sendmsg(l->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                log_debug("Network '%s': a client of port %u cannot be handed over", network_config(l->network)->name, l->port);
}

void manager_listen_client(Manager *m, Network *n, uint16_t port, const Endpoint *guest, int fd) {
        _cleanup_close_ int own = fd;

        for (Listening *l = m->listening; l; l = l->next)
                if (l->network == n && l->port == port)
                        return hand_over(l, guest, own);
}
