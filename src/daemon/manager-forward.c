/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Forwards of the manager: opens the listening sockets, here, where the privileges are, and hands them to the network. One forward has one
 * or two of them a port (both families of loopback, or of all addresses); the netstack knows each as a forward of its own, with id
 * MANAGER_FORWARD_LISTENERS * ManagedForward.id and the ids up to the next.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "basic/log.h"
#include "basic/parse.h"
#include "basic/sockopt.h"
#include "daemon/host-sockets.h"
#include "daemon/manager-private.h"

#define LISTEN_BACKLOG 4096
#define FORWARD_ID_MAX (NETWORK_TUNNEL_ID / MANAGER_FORWARD_LISTENERS - 1)

static uint32_t listener_id(const ManagedForward *f, size_t i) {
        return f->id * MANAGER_FORWARD_LISTENERS + (uint32_t) i;
}

static const char *proto_name(uint8_t proto) {
        return proto == IPPROTO_UDP ? "udp" : "tcp";
}

const char *manager_forward_protocol(const ManagedForward *f) {
        return f->is_unix ? "unix" : proto_name(f->config.proto);
}

static int parse_protocol(const char *text, uint8_t *ret, Error *e) {
        if (streq(text, "tcp") || streq(text, "unix")) /* guests know no Unix sockets: it is TCP there */
                *ret = IPPROTO_TCP;
        else if (streq(text, "udp"))
                *ret = IPPROTO_UDP;
        else
                return error_set(e, ERROR_INVALID_ARGS, "There is no protocol '%s'; there are: tcp, udp, unix", ERROR_QUOTE(text));
        return 0;
}

static int parse_source(const char *text, ForwardSource *ret, Error *e) {
        if (!text || streq(text, "client"))
                *ret = FORWARD_SOURCE_CLIENT;
        else if (streq(text, "gateway"))
                *ret = FORWARD_SOURCE_GATEWAY;
        else
                return error_set(e, ERROR_INVALID_ARGS, "Source address '%s' is neither 'client' nor 'gateway'", ERROR_QUOTE(text));
        return 0;
}

/* The first port anybody may bind. */
static uint16_t unprivileged_port_start(void) {
        _cleanup_fclose_ FILE *f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
        unsigned port;

        return f && fscanf(f, "%u", &port) == 1 && port <= UINT16_MAX ? (uint16_t) port : 1024;
}

bool manager_local_is_privileged(Manager *m, const char *local) {
        LocalSpec s;

        return local_spec_parse(local, &s, NULL) >= 0 && s.endpoints[0].port < unprivileged_port_start();
}

/* ---- sockets ---- */

static int listener_error(int error, uint8_t proto, const Endpoint *at, Error *e) {
        switch (error) {
        case EADDRINUSE:
                return error_set(e, ERROR_ADDRESS_IN_USE, "Another program listens on %s (%s): choose another port", ENDPOINT_TO_TEXT(at),
                                 proto_name(proto));
        case EADDRNOTAVAIL:
                return error_set(e, ERROR_ADDRESS_NOT_AVAILABLE, "The host does not have the address %s", IP_TO_TEXT(&at->addr));
        case EACCES:
                return error_set(e, ERROR_ACCESS_DENIED,
                                 "Port %u is privileged, and vnetd may not listen on it: choose one from %u on, or grant vnetd "
                                 "CAP_NET_BIND_SERVICE",
                                 at->port, unprivileged_port_start());
        default: /* of the system's errnos */
                return error_set_errno(e, error, "Cannot listen on %s (%s)", ENDPOINT_TO_TEXT(at), proto_name(proto));
        }
}

/* Returns the socket, or a negative errno of the system. */
static int open_listener(uint8_t proto, const Endpoint *at) {
        int family = ip_family(&at->addr), type = proto == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM, r;
        struct sockaddr_storage sa;
        socklen_t len = endpoint_to_sockaddr(at, &sa);
        _cleanup_close_ int fd = -EBADF;

        fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, proto);
        if (fd < 0)
                return -errno;
        r = family == AF_INET6 ? sockopt_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) : 0;
        /* For TCP: connections of before, in TIME-WAIT, do not hold the port. For UDP it would let two share one port. */
        if (r >= 0 && type == SOCK_STREAM)
                r = sockopt_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (r < 0)
                return r;
        if (bind(fd, (struct sockaddr *) &sa, len) < 0)
                return -errno;
        if (type == SOCK_STREAM && listen(fd, LISTEN_BACKLOG) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static void close_listeners(Manager *m, ForwardEntry *entry) {
        char name[FDSTORE_NAME_MAX];

        if (entry->pub.is_outlet)
                (void) network_remove_service(entry->pub.network, entry->pub.config.local.port);
        if (entry->pub.is_unix && entry->n_locals > 0) {
                if (!entry->pub.is_ssh)
                        (void) network_forward_remove(entry->pub.network, listener_id(&entry->pub, 0));
                entry->ssh = ssh_forward_free(entry->ssh);
                (void) unlink(entry->pub.local);
                entry->n_locals = 0;
        }

        while (entry->n_locals > 0) {
                (void) network_forward_remove(entry->pub.network, listener_id(&entry->pub, --entry->n_locals));
                if (!m->ending)
                        fdstore_remove(fdstore_listener_name(entry->pub.config.proto, &entry->locals[entry->n_locals], name));
        }
}

/* The socket the process before has left, when it still is what its name says. */
static int take_listener(Manager *m, uint8_t proto, const Endpoint *at, const char *name) {
        _cleanup_close_ int fd = fdstore_take(&m->stored, name);
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        Endpoint bound;

        if (fd < 0)
                return -ENOENT;
        if (getsockname(fd, (struct sockaddr *) &sa, &len) < 0 || endpoint_from_sockaddr((struct sockaddr *) &sa, len, &bound) < 0 ||
            !endpoint_equal(&bound, at) || !sockopt_is(fd, SO_PROTOCOL, proto)) {
                fdstore_remove(name); /* it would stay there beside the right one */
                return -ENOENT;
        }
        return TAKE_FD(fd);
}

/* Opens one listener, for the forward's port number @nth, and hands it over. Returns 1; 0 when the host lacks an address it need not have. */
static int add_listener(Manager *m, ForwardEntry *entry, const Endpoint *at, uint16_t nth, bool optional, Error *e) {
        ForwardConfig c = entry->pub.config;
        _cleanup_close_ int fd = -EBADF;
        char name[FDSTORE_NAME_MAX];
        int r;

        (void) fdstore_listener_name(c.proto, at, name);
        fd = take_listener(m, c.proto, at, name);
        if (fd < 0)
                fd = open_listener(c.proto, at);
        if (optional && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL))
                return 0;
        if (fd < 0)
                return listener_error(-fd, c.proto, at, e);
        if (c.proto == IPPROTO_UDP) /* bound to all addresses, answers must leave from the one the client spoke to */
                host_sockets_prepare_dgram(fd, ip_family(&at->addr), /* udp= */ true,
                                           /* which_local= */ ip_classify(&at->addr) == IP_CLASS_UNSPECIFIED);

        c.id = listener_id(&entry->pub, entry->n_locals);
        c.local = *at;
        c.remote.port = (uint16_t) (c.remote.port + nth);
        r = network_forward_add(entry->pub.network, &c, fd);
        if (r < 0)
                fdstore_remove(name); /* if it came from there it would listen on */
        if (r == -ENOBUFS)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "Network '%s' has no room for another forward",
                                 network_config(entry->pub.network)->name);
        if (r < 0)
                return error_set_errno(e, r, "Cannot forward %s", ENDPOINT_TO_TEXT(at));
        fdstore_put(name, fd); /* the network's by now, which closes it when told to, no sooner */
        (void) TAKE_FD(fd);
        entry->locals[entry->n_locals++] = *at;
        return 1;
}

static int open_listeners(Manager *m, ForwardEntry *entry, Error *e) {
        const LocalSpec *spec = &entry->spec;
        int r = 0;

        entry->locals = calloc(spec->n * spec->n_ports, sizeof(*entry->locals));
        if (!entry->locals)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        for (uint16_t k = 0; k < spec->n_ports && r >= 0; k++)
                for (size_t i = 0; i < spec->n && r >= 0; i++) {
                        Endpoint at = spec->endpoints[i];

                        at.port = (uint16_t) (at.port + k);
                        r = add_listener(m, entry, &at, k, spec->pair && i > 0, e);
                }
        if (r < 0)
                close_listeners(m, entry);
        return r;
}

/* ---- Unix sockets ---- */

/* A path of the host is made and unlinked with our rights: that is for those whose rights they are. */
static int check_path(Manager *m, uint32_t uid, const char *path, LocalSpec *ret, Error *e) {
        struct sockaddr_un sa;

        *ret = (LocalSpec){};
        if (manager_uid_is_limited(uid))
                return error_set(e, ERROR_ACCESS_DENIED, "'%s': only the administrator may have Unix sockets made", ERROR_QUOTE(path));
        if (path[0] != '/' || strlen(path) >= sizeof(sa.sun_path))
                return error_set(e, ERROR_INVALID_ARGS, "'%s' is no place for a Unix socket: an absolute path of at most %zu bytes",
                                 ERROR_QUOTE(path), sizeof(sa.sun_path) - 1);
        for (ForwardEntry *entry = m->forwards; entry; entry = entry->hh.next)
                if (entry->pub.is_unix && streq(entry->pub.local, path))
                        return error_set(e, ERROR_FORWARD_EXISTS, "unix '%s' is forwarded already, to '%s' of network '%s'", ERROR_QUOTE(path),
                                         entry->pub.remote, network_config(entry->pub.network)->name);
        return 0;
}

int remove_dead_socket(const char *path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (strlen(path) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode))
                return -EADDRINUSE;
        memcpy(sa.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) >= 0 || errno != ECONNREFUSED)
                return -EADDRINUSE;
        return unlink(path) < 0 ? -errno : 0;
}

static int open_unix_socket(const char *path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        mode_t before;
        int r;

        r = remove_dead_socket(path);
        if (r < 0)
                return r;
        memcpy(sa.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        before = umask(0177);
        r = bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 ? -errno : 0;
        (void) umask(before);
        if (r >= 0 && listen(fd, LISTEN_BACKLOG) < 0)
                r = -errno;
        return r < 0 ? r : TAKE_FD(fd);
}

/* A stream to the guest's sshd, for its child. */
static int connect_ssh(void *userdata, const SshSpec *spec, int *ret_fd, Error *e) {
        ForwardEntry *entry = userdata;

        return manager_connect(entry->manager, entry->pub.network, "tcp", spec->host, spec->port, ret_fd, e);
}

static int start_ssh(Manager *m, ForwardEntry *entry, int fd, Error *e) {
        SshForwardConfig c = { .name = entry->pub.local, .connect = connect_ssh, .userdata = entry };
        int r;

        r = ssh_spec_parse(entry->pub.remote, &c.spec, e);
        if (r < 0)
                return r;
        entry->manager = m;
        r = ssh_forward_new(&entry->ssh, m->event, &c, fd);
        return r < 0 ? error_set_errno(e, r, "Cannot forward '%s' by ssh", ERROR_QUOTE(entry->pub.local)) : 0;
}

static int open_unix_listener(Manager *m, ForwardEntry *entry, Error *e) {
        ForwardConfig c = entry->pub.config;
        _cleanup_close_ int fd = open_unix_socket(entry->pub.local);
        int r;

        if (fd == -EADDRINUSE)
                return error_set(e, ERROR_ADDRESS_IN_USE, "'%s' is there already, and no socket left behind", ERROR_QUOTE(entry->pub.local));
        if (fd < 0)
                return error_set_errno(e, fd, "Cannot listen on '%s'", ERROR_QUOTE(entry->pub.local));
        c.id = listener_id(&entry->pub, 0);
        if (entry->pub.is_ssh)
                r = start_ssh(m, entry, fd, e);
        else {
                r = network_forward_add(entry->pub.network, &c, fd);
                if (r < 0)
                        (void) error_set_errno(e, r, "Cannot forward '%s'", ERROR_QUOTE(entry->pub.local));
        }
        if (r < 0) {
                (void) unlink(entry->pub.local);
                return r;
        }
        (void) TAKE_FD(fd);
        entry->n_locals = 1;
        return 0;
}

/* ---- outlets: from a port of the gateway to a Unix socket of the host ---- */

#define OUTLET "gateway:"

bool manager_local_is_gateway(const char *local) {
        return strncmp(local, OUTLET, strlen(OUTLET)) == 0;
}

static int check_outlet(uint32_t uid, const char *protocol, const char *local, const char *remote, ForwardConfig *ret, Error *e) {
        struct sockaddr_un sa;

        if (!streq(protocol, "tcp"))
                return error_set(e, ERROR_NOT_SUPPORTED, "'%s': a port of the gateway that leads to the host is TCP", ERROR_QUOTE(local));
        if (parse_port(local + strlen(OUTLET), &ret->local.port) < 0)
                return error_set(e, ERROR_INVALID_ARGS, "'%s' is no port of the gateway: " OUTLET "PORT, from 1 to 65535", ERROR_QUOTE(local));
        if (strncmp(remote, "unix:/", strlen("unix:/")) != 0 || strlen(remote) - strlen("unix:") >= sizeof(sa.sun_path))
                return error_set(e, ERROR_INVALID_ARGS, "'%s' is no Unix socket of the host: unix:/PATH of at most %zu bytes", ERROR_QUOTE(remote),
                                 sizeof(sa.sun_path) - 1);
        if (manager_uid_is_limited(uid)) /* connecting to it is done with our rights */
                return error_set(e, ERROR_ACCESS_DENIED, "'%s': only the administrator may let guests use sockets of the host", ERROR_QUOTE(remote));
        return 0;
}

static int open_outlet(ForwardEntry *entry, Error *e) {
        ManagedForward *f = &entry->pub;
        int r = network_add_service(f->network, f->config.local.port, f->remote + strlen("unix:"));

        if (r == -EEXIST || r == -EINVAL)
                return error_set(e, ERROR_FORWARD_EXISTS, "Port %u of network '%s' has something else behind it", f->config.local.port,
                                 network_config(f->network)->name);
        if (r == -ENOBUFS)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "The gateway of network '%s' has %d ports in use already", network_config(f->network)->name,
                                 NETSTACK_SERVICES_MAX);
        return r < 0 ? error_set_errno(e, r, "Cannot forward '%s'", ERROR_QUOTE(f->local)) : 0;
}

/* ---- finding ---- */

static bool endpoints_meet(const Endpoint *a, uint16_t n_a, const Endpoint *b, uint16_t n_b) {
        return a->port < b->port + n_b && b->port < a->port + n_a && ip_family(&a->addr) == ip_family(&b->addr) &&
               (ip_equal(&a->addr, &b->addr) || ip_classify(&a->addr) == IP_CLASS_UNSPECIFIED ||
                ip_classify(&b->addr) == IP_CLASS_UNSPECIFIED);
}

static ManagedForward *find_meeting(Manager *m, uint8_t proto, const LocalSpec *spec) {
        for (ForwardEntry *entry = m->forwards; entry; entry = entry->hh.next)
                for (size_t i = 0; i < entry->spec.n && entry->pub.config.proto == proto; i++)
                        for (size_t k = 0; k < spec->n; k++)
                                if (endpoints_meet(&entry->spec.endpoints[i], entry->spec.n_ports, &spec->endpoints[k], spec->n_ports))
                                        return &entry->pub;
        return NULL;
}

ManagedForward *manager_forward(Manager *m, uint32_t id) {
        ForwardEntry *entry;

        HASH_FIND(hh, m->forwards, &id, sizeof(id), entry);
        return entry ? &entry->pub : NULL;
}

ManagedForward *manager_next_forward(Manager *m, ManagedForward *after) {
        ForwardEntry *entry = after ? CONTAINER_OF(after, ForwardEntry, pub)->hh.next : m->forwards;

        return entry ? &entry->pub : NULL;
}

static uint32_t next_id(Manager *m) {
        do
                m->last_forward_id = m->last_forward_id < FORWARD_ID_MAX ? m->last_forward_id + 1 : 1;
        while (manager_forward(m, m->last_forward_id));
        return m->last_forward_id;
}

/* ---- making and removing ---- */

static int check_new(Manager *m, uint32_t uid, uint8_t proto, const char *local, const LocalSpec *spec, Error *e) {
        ManagedForward *other = find_meeting(m, proto, spec);
        unsigned mine = 0, all = 0, more = MAX(spec->n_ports, 1u);

        if (other)
                return error_set(e, ERROR_FORWARD_EXISTS, "%s '%s' is forwarded already: '%s' leads to '%s' of network '%s'",
                                 proto_name(proto), ERROR_QUOTE(local), other->local, other->remote[0] != 0 ? other->remote : "the only guest",
                                 network_config(other->network)->name);
        for (ForwardEntry *entry = m->forwards; entry; entry = entry->hh.next) {
                all += MAX(entry->spec.n_ports, 1u);
                mine += entry->pub.owner == uid ? MAX(entry->spec.n_ports, 1u) : 0;
        }
        if (all + more > MANAGER_FORWARDS_MAX)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "'%s': there are %u forwards already, and no more than %d can be", ERROR_QUOTE(local), all,
                                 MANAGER_FORWARDS_MAX);
        if (manager_uid_is_limited(uid) && mine + more > MANAGER_PER_USER_FORWARDS_MAX)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "'%s': user %u has %u forwards already, and may have no more than %d", ERROR_QUOTE(local),
                                 uid, mine, MANAGER_PER_USER_FORWARDS_MAX);
        return 0;
}

static ForwardEntry *entry_free(ForwardEntry *entry) {
        if (!entry)
                return NULL;
        free(entry->pub.local);
        free(entry->pub.remote);
        free(entry->locals);
        free(entry);
        return NULL;
}
DEFINE_CLEANUP(ForwardEntry *, entry_free);

int manager_add_forward(Manager *m, Network *n, uint32_t uid, Origin origin, const char *protocol, const char *local,
                        const char *remote, const ForwardOptions *options, ManagedForward **ret, Error *e) {
        _cleanup_(entry_freep) ForwardEntry *entry = NULL;
        ManagedForward *f;
        LocalSpec spec = {};
        int r;

        entry = calloc(1, sizeof(*entry));
        if (!entry)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        f = &entry->pub;
        r = parse_protocol(protocol, &f->config.proto, e);
        f->is_unix = streq(protocol, "unix");
        f->is_outlet = !f->is_unix && manager_local_is_gateway(local);
        if (r >= 0)
                r = f->is_outlet ? check_outlet(uid, protocol, local, remote, &f->config, e)
                    : f->is_unix ? check_path(m, uid, local, &spec, e)
                                 : local_spec_parse(local, &spec, e);
        if (r >= 0)
                r = parse_source(options ? options->source : NULL, &f->config.source, e);
        f->config.no_bypass = options && options->no_bypass;
        f->is_ssh = f->is_unix && ssh_spec_is_url(remote);
        if (r >= 0 && !f->is_ssh && !f->is_outlet)
                r = remote_spec_parse(n, remote, spec.endpoints[0].port, MAX(spec.n_ports, (uint16_t) 1), origin == ORIGIN_CALL, &f->config, e);
        if (r >= 0 && !f->is_ssh && !f->is_outlet && f->config.remote.port == 0)
                r = error_set(e, ERROR_INVALID_ARGS, "'%s' names no port of a guest, and a Unix socket has none to take over: ADDRESS:PORT, NAME:PORT, or :PORT for the only guest",
                              ERROR_QUOTE(remote));
        if (r >= 0)
                r = check_new(m, uid, f->config.proto, local, &spec, e);
        if (r < 0)
                return r;

        f->id = next_id(m);
        f->network = n;
        f->owner = uid;
        f->local = strdup(local);
        f->remote = strdup(remote);
        if (!f->local || !f->remote)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        entry->origin = origin;
        entry->spec = spec;
        r = f->is_outlet ? open_outlet(entry, e) : f->is_unix ? open_unix_listener(m, entry, e) : open_listeners(m, entry, e);
        if (r < 0)
                return r;

        f->config.id = f->id;
        if (!f->is_outlet)
                f->config.local = spec.endpoints[0];
        HASH_ADD(hh, m->forwards, pub.id, sizeof(f->id), entry);
        entry = NULL; /* the hash's now */
        log_info("Forward %u: %s %s to %s of network '%s'", f->id, manager_forward_protocol(f), f->local,
                 f->remote[0] != 0 ? f->remote : "the only guest", network_config(n)->name);
        manager_tell_forward(m, f, MANAGER_ADDED);
        manager_tell_network(m, n, MANAGER_CHANGED);
        state_changed(m, STATE_FORWARDS);
        if (ret)
                *ret = f;
        return 0;
}

int manager_expose(Manager *m, Network *n, uint32_t uid, const char *protocol, const char *local, const char *remote,
                   const ForwardOptions *options, ManagedForward **ret, Error *e) {
        return manager_add_forward(m, n, uid, ORIGIN_CALL, protocol, local, remote, options, ret, e);
}

void manager_drop_forward(Manager *m, ManagedForward *f) {
        ForwardEntry *entry = CONTAINER_OF(f, ForwardEntry, pub);
        Network *n = f->network;

        manager_tell_forward(m, f, MANAGER_REMOVED);
        log_info("Forward %u: %s %s is removed", f->id, manager_forward_protocol(f), f->local);
        HASH_DEL(m->forwards, entry);
        state_changed(m, STATE_FORWARDS); /* first: a crash before the store has let go of the listeners brings nothing back */
        close_listeners(m, entry);
        entry_free(entry);
        manager_tell_network(m, n, MANAGER_CHANGED);
}

int manager_remove_forward(Manager *m, ManagedForward *f, Error *e) {
        manager_drop_forward(m, f);
        return 0;
}

/* Does @f listen just where @spec says? */
static bool listens_at(const ForwardEntry *entry, const LocalSpec *spec) {
        return entry->spec.n == spec->n && entry->spec.n_ports == spec->n_ports && endpoint_equal(&entry->spec.endpoints[0], &spec->endpoints[0]);
}

int manager_find_forward(Manager *m, Network *n, const char *protocol, const char *local, ManagedForward **ret, Error *e) {
        bool by_text = streq(protocol, "unix") || manager_local_is_gateway(local);
        LocalSpec spec;
        uint8_t proto;
        int r;

        r = parse_protocol(protocol, &proto, e);
        if (r >= 0 && !by_text)
                r = local_spec_parse(local, &spec, e);
        if (r < 0)
                return r;

        for (ForwardEntry *entry = m->forwards; entry; entry = entry->hh.next) {
                ManagedForward *f = &entry->pub;

                if (f->network != n || !streq(manager_forward_protocol(f), protocol))
                        continue;
                if (by_text ? streq(f->local, local) : listens_at(entry, &spec)) {
                        *ret = f;
                        return 0;
                }
        }
        return error_set(e, ERROR_NO_SUCH_FORWARD, "Network '%s' has no forward of %s '%s'", network_config(n)->name, protocol,
                         ERROR_QUOTE(local));
}

int manager_unexpose(Manager *m, Network *n, const char *protocol, const char *local, Error *e) {
        ManagedForward *f;
        int r = manager_find_forward(m, n, protocol, local, &f, e);

        if (r >= 0)
                manager_drop_forward(m, f);
        return r;
}

int manager_forward_stats(Manager *m, const ManagedForward *f, ForwardStats *ret) {
        const ForwardEntry *entry = CONTAINER_OF(f, ForwardEntry, pub);
        ForwardStats sum = {}, one;
        int r;

        if (f->is_ssh) /* what its bytes were only ssh knows */
                ssh_forward_stats(entry->ssh, &sum.connections, &sum.active);
        for (size_t i = 0; i < entry->n_locals && !f->is_ssh; i++) {
                r = network_forward_stats(f->network, listener_id(f, i), &one);
                if (r < 0)
                        return r;
                sum.connections += one.connections;
                sum.active += one.active;
                sum.rx_bytes += one.rx_bytes;
                sum.tx_bytes += one.tx_bytes;
        }
        *ret = sum;
        return 0;
}
