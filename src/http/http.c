/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections. libmicrohttpd reads requests and writes answers, driven by our loop (its epoll descriptor is one event source of ours). Two
 * requests are not HTTP beyond their first lines: after /tunnel come two bytes and then the guest's, after /connect frames. So each
 * connection is looked at first without taking anything from it, and those two never get to the library.
 */

#include "http/http.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/parse.h"
#include "device/sock-address.h"
#include "http/http-api.h"
#include "http/http-request.h"

#define BACKLOG 256
#define ACCEPT_PAUSE (100 * USEC_PER_MSEC) /* when there are no descriptors for those who wait */
#define ROUNDS_MAX 16 /* of the library's work before others have their turn */
#define BODY_READ_MAX (64 * 1024 * 1024) /* a body too large is read up to here, so that its client hears the answer */

typedef struct Listener Listener;

/* A connection whose first line has not come yet. */
typedef struct Peer {
        Listener *listener; /* (borrowed) owner */
        struct Peer *next;
        Endpoint guest;     /* of a listener inside */
        int fd;             /* (owned) */
        sd_event_source *io, *timer; /* (owned) */
} Peer;

/* A connection the library has. */
typedef struct Served {
        struct Served *next;
        int fd;       /* (borrowed: the library's) */
        uint64_t since; /* of the request under way, or the end of the one before */
} Served;

struct Listener {
        Http *http; /* (borrowed) owner */
        char *network; /* (owned) */
        bool connect;
        bool guarded;     /* who may ask is told by the socket */
        bool of_network;  /* goes with it */
        HttpGateway inside; /* clients are guests, which come without a socket of ours */
        SockFile file;    /* (owned) */
        int fd; /* (owned) */
        struct MHD_Daemon *mhd; /* (owned) */
        sd_event_source *io, *accept_timer, *mhd_io, *mhd_timer; /* (owned) */
        Peer *peers; /* (owned) */
        unsigned n_peers;
        Served *served; /* (owned) */
        sd_event_source *deadline; /* (owned) looks at them */
};

struct Http {
        sd_event *event; /* (ref) */
        Manager *manager; /* (borrowed) */
        Listener *listeners[HTTP_LISTENERS_MAX]; /* (owned) */
        size_t n_listeners;
};

/* ---- who is there ---- */

static uint32_t peer_uid(int fd) {
        struct ucred cred;
        socklen_t len = sizeof(cred);

        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) >= 0 && cred.pid > 0 ? cred.uid : getuid();
}

static bool may_ask(const Listener *l, int fd) {
        const Network *n = manager_network(l->http->manager, l->network);
        uint32_t uid = peer_uid(fd);

        return !l->guarded || uid == 0 || uid == getuid() || (n && network_config(n)->owner == uid);
}

/* ---- slow clients: the library's time-out begins anew with each byte ---- */

static uint64_t now_usec(const Listener *l) {
        uint64_t t = 0;

        (void) sd_event_now(l->http->event, CLOCK_MONOTONIC, &t);
        return t;
}

static void on_connection(void *userdata, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode what) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        Listener *l = userdata;
        Served *s = *context;

        if (what == MHD_CONNECTION_NOTIFY_STARTED) {
                s = calloc(1, sizeof(*s));
                if (!s)
                        return;
                *s = (Served){ l->served, info->connect_fd, now_usec(l) };
                *context = l->served = s;
                (void) sd_event_source_set_time_relative(l->deadline, USEC_PER_SEC);
                (void) sd_event_source_set_enabled(l->deadline, SD_EVENT_ONESHOT);
                return;
        }
        for (Served **at = &l->served; s && *at; at = &(*at)->next)
                if (*at == s) {
                        *at = s->next;
                        free(s);
                        return;
                }
}

/* Ends what takes too long: the library sees the end of the stream. */
static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Listener *l = userdata;

        for (Served *s = l->served; s; s = s->next)
                if (now_usec(l) - s->since > HTTP_REQUEST_SEC * USEC_PER_SEC)
                        (void) shutdown(s->fd, SHUT_RDWR);
        if (l->served) {
                (void) sd_event_source_set_time_relative(l->deadline, USEC_PER_SEC);
                (void) sd_event_source_set_enabled(l->deadline, SD_EVENT_ONESHOT);
        }
        return 0;
}

/* ---- requests, through the library ---- */

typedef struct Body {
        char *data; /* (owned) */
        size_t len;
        bool too_big;
} Body;

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type, char *text) {
        struct MHD_Response *r = MHD_create_response_from_buffer(text ? strlen(text) : 0, text ?: (char[1]){ 0 },
                                                                 text ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
        enum MHD_Result done;

        if (!r) {
                free(text);
                return MHD_NO;
        }
        if (text)
                (void) MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        done = MHD_queue_response(c, status, r);
        MHD_destroy_response(r);
        return done;
}

static bool take_body(Body *b, const char *data, size_t len) {
        char *grown;

        if (b->too_big || b->len + len > HTTP_BODY_MAX) {
                b->too_big = true;
                b->len += len;
                return b->len <= BODY_READ_MAX;
        }
        grown = realloc(b->data, b->len + len);
        if (!grown)
                return false;
        memcpy(grown + b->len, data, len);
        b->data = grown;
        b->len += len;
        return true;
}

static bool announces_too_much(struct MHD_Connection *c) {
        const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

        return length && strtoull(length, NULL, 10) > BODY_READ_MAX;
}

static void fill_caller(const Listener *l, struct MHD_Connection *c, HttpCaller *ret) {
        const union MHD_ConnectionInfo *fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD),
                                       *addr = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        Endpoint guest = {};

        *ret = (HttpCaller){ .network = l->network, .uid = getuid(), .inside = l->inside };
        if (l->inside == HTTP_GATEWAY_OFF)
                ret->uid = peer_uid(fd->connect_fd);
        else if (endpoint_from_sockaddr(addr->client_addr, sizeof(struct sockaddr_storage), &guest) >= 0)
                ret->guest = guest.addr;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                                  const char *data, size_t *data_len, void **state) {
        Listener *l = userdata;
        Body *b = *state;
        HttpCaller caller;
        HttpReply reply;

        if (!b) {
                *state = calloc(1, sizeof(*b));
                if (!*state)
                        return MHD_NO;
                return announces_too_much(c) ? answer(c, MHD_HTTP_CONTENT_TOO_LARGE, HTTP_TYPE_TEXT, strdup("http: request body too large\n"))
                                             : MHD_YES;
        }
        if (*data_len > 0) {
                bool taken = take_body(b, data, *data_len);

                *data_len = 0;
                return taken ? MHD_YES : MHD_NO;
        }
        if (b->too_big)
                return answer(c, MHD_HTTP_CONTENT_TOO_LARGE, HTTP_TYPE_TEXT, strdup("http: request body too large\n"));
        fill_caller(l, c, &caller);
        http_api_answer(l->http->manager, &caller, method, url, b->data ?: "", b->len, &reply);
        return answer(c, reply.status, reply.type, reply.text);
}

static void on_completed(void *userdata, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why) {
        const union MHD_ConnectionInfo *context = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        Body *b = *state;

        if (context && context->socket_context)
                ((Served *) context->socket_context)->since = now_usec(userdata);
        if (b)
                free(b->data);
        free(b);
        *state = NULL;
}

/* A path is a text: what has a NUL in it is no path of ours. */
static size_t on_unescape(void *userdata, struct MHD_Connection *c, char *text) {
        size_t len = MHD_http_unescape(text);

        if (strlen(text) == len)
                return len;
        text[0] = 0;
        return 0;
}

/* Lets the library work, and asks when it wants to be woken next. */
static void run_library(Listener *l) {
        MHD_UNSIGNED_LONG_LONG ms = 0;
        bool waits = true;

        for (unsigned i = 0; i < ROUNDS_MAX && waits && ms == 0; i++) {
                (void) MHD_run(l->mhd);
                waits = MHD_get_timeout(l->mhd, &ms) == MHD_YES;
        }
        if (waits) {
                (void) sd_event_source_set_time_relative(l->mhd_timer, ms * USEC_PER_MSEC);
                (void) sd_event_source_set_enabled(l->mhd_timer, SD_EVENT_ONESHOT);
        } else
                (void) sd_event_source_set_enabled(l->mhd_timer, SD_EVENT_OFF);
}

static int on_library_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        run_library(userdata);
        return 0;
}

static int on_library_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        run_library(userdata);
        return 0;
}

/* ---- the first look ---- */

static void peer_free(Peer *p) {
        Listener *l = p->listener;

        for (Peer **at = &l->peers; *at; at = &(*at)->next)
                if (*at == p) {
                        *at = p->next;
                        break;
                }
        l->n_peers--;
        sd_event_source_disable_unref(p->io);
        sd_event_source_disable_unref(p->timer);
        (void) safe_close(p->fd);
        free(p);
}

/* Gives the socket away: whoever has it may close it at once, so no event of it may be ours any more. */
static int peer_take_fd(Peer *p) {
        p->io = sd_event_source_disable_unref(p->io);
        return TAKE_FD(p->fd);
}

static void say(int fd, unsigned status, const char *text) {
        char buf[512];
        int n = snprintf(buf, sizeof(buf), "HTTP/1.1 %u %s\r\nContent-Type: " HTTP_TYPE_TEXT "\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s\n",
                         status, status == 500 ? "Internal Server Error" : "Bad Request", strlen(text) + 1, text);

        (void) send(fd, buf, (size_t) MIN(n, (int) sizeof(buf) - 1), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Gives the socket to a guest's port. */
static void open_tunnel(Peer *p, const HttpHead *head) {
        Http *h = p->listener->http;
        Network *n = manager_network(h->manager, p->listener->network);
        char rest[HTTP_HEAD_MAX];
        Error e = ERROR_INIT;
        uint16_t port;

        if (recv(p->fd, rest, head->len, MSG_DONTWAIT) != (ssize_t) head->len)
                return;
        if (head->ip[0] == 0)
                say(p->fd, 500, "ip is mandatory");
        else if (parse_port(head->port, &port) < 0)
                say(p->fd, 500, head->port[0] == 0 ? "strconv.ParseUint: parsing \"\": invalid syntax" : "port is not from 1 to 65535");
        else if (!n)
                say(p->fd, 500, "the network is gone");
        else if (manager_check_tunnel(h->manager, n, head->ip, port, &e) < 0)
                say(p->fd, 500, e.message);
        else if (send(p->fd, "OK", 2, MSG_NOSIGNAL | MSG_DONTWAIT) == 2)
                (void) manager_tunnel(h->manager, n, head->ip, port, peer_take_fd(p), &e);
}

/* Makes the socket a device: it reads the request itself. */
static void open_device(Peer *p) {
        Listener *l = p->listener;
        DeviceOptions o = DEVICE_OPTIONS_INIT;
        ManagedDevice *d;
        Error e = ERROR_INIT;

        o.fd = p->fd;
        o.network = l->network;
        if (manager_create_device(l->http->manager, "vpnkit", peer_uid(p->fd), &o, &d, &e) < 0)
                say(p->fd, 500, e.message);
}

static void to_library(Peer *p) {
        struct sockaddr_storage sa = { .ss_family = AF_UNIX };
        socklen_t len = sizeof(struct sockaddr_un);

        if (p->listener->inside != HTTP_GATEWAY_OFF)
                len = endpoint_to_sockaddr(&p->guest, &sa);
        if (MHD_add_connection(p->listener->mhd, peer_take_fd(p), (struct sockaddr *) &sa, len) == MHD_YES)
                run_library(p->listener);
}

static int on_peer(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Peer *p = userdata;
        char buf[HTTP_HEAD_MAX];
        HttpHead head;
        ssize_t n = recv(p->fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        switch (n > 0 ? http_head_read(buf, (size_t) n, &head) : HTTP_HEAD_BAD) {
        case HTTP_HEAD_PARTIAL:
                if (!(events & (EPOLLHUP | EPOLLRDHUP)))
                        return 0;
                break;
        case HTTP_HEAD_BAD:
                break;
        case HTTP_HEAD_TUNNEL:
                if (p->listener->inside == HTTP_GATEWAY_OFF)
                        open_tunnel(p, &head);
                else
                        to_library(p); /* which answers 404 */
                break;
        case HTTP_HEAD_CONNECT:
                if (p->listener->connect)
                        open_device(p);
                else
                        to_library(p); /* the same */
                break;
        case HTTP_HEAD_OTHER:
                to_library(p);
                break;
        }
        peer_free(p);
        return 0;
}

static int on_peer_late(sd_event_source *source, uint64_t usec, void *userdata) {
        peer_free(userdata);
        return 0;
}

static void add_peer(Listener *l, const Endpoint *guest, int fd_given) {
        _cleanup_close_ int fd = fd_given;
        Http *h = l->http;
        Peer *p;
        int r;

        if (l->n_peers >= HTTP_CONNECTIONS_MAX || (!guest && !may_ask(l, fd)))
                return;
        p = calloc(1, sizeof(*p));
        if (!p)
                return;
        *p = (Peer){ .listener = l, .next = l->peers, .guest = guest ? *guest : (Endpoint){}, .fd = TAKE_FD(fd) };
        l->peers = p;
        l->n_peers++;
        /* Edge-triggered: what stays in the socket while more is awaited must not wake us again and again. */
        r = sd_event_add_io(h->event, &p->io, p->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, on_peer, p);
        if (r >= 0)
                r = sd_event_add_time_relative(h->event, &p->timer, CLOCK_MONOTONIC, HTTP_TIMEOUT_SEC * USEC_PER_SEC, 0, on_peer_late, p);
        if (r < 0)
                peer_free(p);
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        Listener *l = userdata;

        if (c >= 0)
                add_peer(l, NULL, c);
        else if (errno != EAGAIN && errno != ECONNABORTED) { /* who waits would wake us again and again */
                (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
                (void) sd_event_source_set_time_relative(l->accept_timer, ACCEPT_PAUSE);
                (void) sd_event_source_set_enabled(l->accept_timer, SD_EVENT_ONESHOT);
        }
        return 0;
}

static int on_accept_again(sd_event_source *source, uint64_t usec, void *userdata) {
        Listener *l = userdata;

        (void) sd_event_source_set_enabled(l->io, SD_EVENT_ON);
        return 0;
}

/* ---- listening ---- */

static Listener *listener_free(Listener *l) {
        if (!l)
                return NULL;
        while (l->peers)
                peer_free(l->peers);
        sd_event_source_disable_unref(l->io);
        sd_event_source_disable_unref(l->accept_timer);
        sd_event_source_disable_unref(l->mhd_io);
        sd_event_source_disable_unref(l->mhd_timer);
        if (l->mhd)
                MHD_stop_daemon(l->mhd);
        sd_event_source_disable_unref(l->deadline); /* the library is at its end: nothing is served */
        sock_file_remove(&l->file);
        (void) safe_close(l->fd);
        free(l->network);
        free(l);
        return NULL;
}
DEFINE_CLEANUP(Listener *, listener_free);

static int start_library(Listener *l) {
        const union MHD_DaemonInfo *info;
        sd_event *event = l->http->event;
        int r;

        l->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request, l, MHD_OPTION_CONNECTION_LIMIT,
                                  (unsigned) HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) HTTP_TIMEOUT_SEC,
                                  MHD_OPTION_NOTIFY_COMPLETED, on_completed, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape,
                                  NULL, MHD_OPTION_END);
        info = l->mhd ? MHD_get_daemon_info(l->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (!info)
                return -ENOMEM;
        r = sd_event_add_time_relative(event, &l->deadline, CLOCK_MONOTONIC, 0, USEC_PER_SEC / 10, on_deadline, l);
        if (r < 0)
                return r;
        r = sd_event_add_io(event, &l->mhd_io, info->epoll_fd, EPOLLIN, on_library_io, l);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &l->mhd_timer, CLOCK_MONOTONIC, 0, /* accuracy= */ 1, on_library_timer, l);
        return r;
}

static int open_socket(Listener *l, const char *url, Error *e) {
        const char *what;
        SockAddress a;

        if (sock_address_parse(url, &a, &what) < 0 || a.family == AF_VSOCK)
                return error_set(e, ERROR_INVALID_ARGS, "'%s' is no place for HTTP: unix:///PATH or tcp://ADDRESS:PORT", ERROR_QUOTE(url));
        l->guarded = a.family == AF_UNIX;
        l->fd = sock_listen(&a, SOCK_STREAM, &(SockRights){ .uid = getuid() }, &l->file);
        if (l->fd < 0)
                return error_set_errno(e, l->fd, "Cannot listen on '%s'", ERROR_QUOTE(url));
        (void) listen(l->fd, BACKLOG); /* more than for machines: clients come and go */
        return 0;
}

/* Makes a listener as @like says, at @url or (NULL) without a socket, for guests. */
static int add_listener(Http *h, const Listener *like, const char *network, const char *url, Error *e) {
        _cleanup_(listener_freep) Listener *l = NULL;
        int r;

        if (h->n_listeners == HTTP_LISTENERS_MAX)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "More than %d HTTP sockets", HTTP_LISTENERS_MAX);
        l = malloc(sizeof(*l));
        if (!l)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        *l = *like;
        l->http = h;
        l->fd = -EBADF;
        l->file = SOCK_FILE_INIT;
        l->network = strdup(network);
        if (!l->network)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        r = url ? open_socket(l, url, e) : 0;
        if (r < 0)
                return r;
        r = start_library(l);
        if (r >= 0 && url)
                r = sd_event_add_io(h->event, &l->io, l->fd, EPOLLIN, on_accept, l);
        if (r >= 0 && url)
                r = sd_event_add_time_relative(h->event, &l->accept_timer, CLOCK_MONOTONIC, 0, 0, on_accept_again, l);
        if (r < 0)
                return error_set_errno(e, r, "Cannot serve HTTP for network '%s'", network);
        h->listeners[h->n_listeners++] = TAKE_PTR(l);
        return 0;
}

int http_listen(Http *h, const char *network, const char *url, bool connect, Error *e) {
        return add_listener(h, &(Listener){ .connect = connect }, network, url, e);
}

/* ---- networks that ask for it ---- */

static void close_network(Network *n, void *userdata) {
        Http *h = userdata;

        for (size_t i = 0; i < h->n_listeners;)
                if (h->listeners[i]->of_network && streq(h->listeners[i]->network, network_config(n)->name)) {
                        listener_free(h->listeners[i]);
                        h->listeners[i] = h->listeners[--h->n_listeners];
                } else
                        i++;
}

static int open_gateway(Http *h, Network *n, Error *e) {
        const NetworkConfig *c = network_config(n);
        int r;

        r = network_add_service(n, MANAGER_HTTP_PORT, NULL);
        if (r < 0)
                return error_set_errno(e, r, "Cannot serve HTTP at the gateway of network '%s'", c->name);
        return add_listener(h, &(Listener){ .of_network = true, .inside = c->http_gateway }, c->name, NULL, e);
}

static int open_network(Network *n, void *userdata, Error *e) {
        const NetworkConfig *c = network_config(n);
        int r = 0;

        if (c->http_api)
                r = add_listener(userdata, &(Listener){ .connect = true, .of_network = true }, c->name, c->http_api, e);
        if (r >= 0 && c->http_gateway != HTTP_GATEWAY_OFF)
                r = open_gateway(userdata, n, e);
        if (r < 0)
                close_network(n, userdata);
        return r;
}

static void take_client(Network *n, const Endpoint *guest, int fd, void *userdata) {
        _cleanup_close_ int own = fd;
        Http *h = userdata;

        for (size_t i = 0; i < h->n_listeners; i++)
                if (h->listeners[i]->inside != HTTP_GATEWAY_OFF && streq(h->listeners[i]->network, network_config(n)->name)) {
                        add_peer(h->listeners[i], guest, TAKE_FD(own));
                        return;
                }
}

void http_serve_networks(Http *h) {
        static const ManagerHttp face = { .open = open_network, .close = close_network, .client = take_client };

        manager_set_http(h->manager, &face, h);
}

int http_new(Http **ret, sd_event *event, Manager *m) {
        Http *h = calloc(1, sizeof(*h));

        if (!h)
                return -ENOMEM;
        h->event = sd_event_ref(event);
        h->manager = m;
        *ret = h;
        return 0;
}

Http *http_free(Http *h) {
        if (!h)
                return NULL;
        manager_set_http(h->manager, NULL, NULL);
        while (h->n_listeners > 0)
                listener_free(h->listeners[--h->n_listeners]);
        sd_event_unref(h->event);
        free(h);
        return NULL;
}
