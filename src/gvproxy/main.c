/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vnet-gvproxy: one network in the foreground, without a bus, with the command line, the sockets and the files of gvproxy. Exit status: 0 stopped,
 * 1 wrong usage or failed. (gvproxy exits with 0 when its sockets cannot be opened or its machine has gone; here the first is a failure, and the
 * second no reason to end.)
 */

#include <config.h> /* the build's */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/log.h"
#include "gvproxy/gv-config.h"
#include "gvproxy/gv-stdio.h"
#include "http/http.h"

#define NETWORK "gvproxy"
#define MACHINES_MAX 16 /* remembered for notifications */

typedef struct Gv {
        GvConfig config;
        sd_event *event; /* (owned) */
        Manager *manager; /* (owned) */
        Http *http;       /* (owned) */
        Network *network; /* (borrowed: of manager) */
        MacAddr machines[MACHINES_MAX]; /* told of as established, and here while their device is */
        size_t n_machines;
        bool away;        /* told of as closed */
        bool capturing;
        bool stopping;    /* everything goes down */
} Gv;

static void gv_deinit(Gv *g) {
        g->stopping = true;
        http_free(g->http);
        manager_free(g->manager);
        sd_event_unref(g->event);
        if (g->config.pid_file)
                (void) unlink(g->config.pid_file);
        gv_config_deinit(&g->config);
}

/* ---- notifications: a connection and a line for each ---- */

static void notify(const Gv *g, const char *type, const MacAddr *mac) {
        const char *path = g->config.notification;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        char line[160];
        int n;

        if (!path)
                return;
        if (strncmp(path, "unix://", strlen("unix://")) == 0)
                path += strlen("unix://");
        if (strlen(path) >= sizeof(sa.sun_path))
                return;
        memcpy(sa.sun_path, path, strlen(path) + 1);
        n = mac ? snprintf(line, sizeof(line), "{\"notification_type\":\"%s\",\"mac_address\":\"%s\"}\n", type, MAC_TO_TEXT(mac))
                : snprintf(line, sizeof(line), "{\"notification_type\":\"%s\"}\n", type);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 || send(fd, line, (size_t) n, MSG_NOSIGNAL) != n)
                log_warning("Cannot notify '%s' of '%s', ignoring", path, type);
}

static void on_network(Manager *m, Network *n, ManagerChange change, void *userdata) {
}
/* Devices that listen never go; the one behind stdin goes when that ends, and with it what we were started for. */
static void on_device(Manager *m, ManagedDevice *d, ManagerChange change, void *userdata) {
        Gv *g = userdata;

        if (change == MANAGER_CHANGED && streq(d->state, "waiting") != g->away && g->n_machines > 0) {
                g->away = !g->away;
                for (size_t i = 0; i < g->n_machines; i++)
                        notify(g, g->away ? "connection_closed" : "connection_established", &g->machines[i]);
        }
        if (change != MANAGER_REMOVED || g->stopping)
                return;
        log_info("Stopping: the machine's end of stdin is closed");
        (void) sd_event_exit(g->event, 0);
}
static void on_forward(Manager *m, ManagedForward *f, ManagerChange change, void *userdata) {
}

/* A machine is told of when it has its address: by then it is there, which a frame with some source address does not say. */
static void on_lease(Manager *m, Network *n, const Lease *lease, bool added, void *userdata) {
        Gv *g = userdata;
        size_t i = 0;

        while (i < g->n_machines && !mac_equal(&g->machines[i], &lease->mac))
                i++;
        if (added == (i < g->n_machines))
                return; /* told already */
        if (!added)
                g->machines[i] = g->machines[--g->n_machines];
        else if (g->n_machines < MACHINES_MAX)
                g->machines[g->n_machines++] = lease->mac;
        notify(g, added ? "connection_established" : "connection_closed", &lease->mac);
}

static const ManagerHandler handler = { .network = on_network, .device = on_device, .forward = on_forward, .lease = on_lease };

/* ---- the network ---- */

/* With blanks between; a list longer than DHCP is told is cut. */
static char *join(const GvList *l) {
        char *text = NULL;
        size_t len;
        FILE *f = open_memstream(&text, &len);

        for (size_t i = 0; f && i < MIN(l->n, (size_t) NETSTACK_SEARCH_MAX); i++)
                (void) fprintf(f, "%s%s", i > 0 ? " " : "", l->items[i]);
        if (f && fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

static int make_network(Gv *g, Error *e) {
        const GvConfig *c = &g->config;
        _cleanup_free_ char *search = join(&c->search);
        const char *dhcp[] = { "search", search, NULL }, *policy[] = { c->ec2 ? "allow link-local" : NULL, NULL };
        NetworkOptions o = NETWORK_OPTIONS_INIT;

        o.subnet = c->subnet;
        o.gateway = c->gateway;
        o.host = c->host;
        o.gateway_mac = c->gateway_mac;
        o.mtu = c->mtu;
        o.host_loopback = false; /* the map leads there, or does not */
        o.nat = (const char *const *) c->nat.items;
        o.gateway_addresses = (const char *const *) c->virtual_ips.items;
        o.static_leases = (const char *const *) c->leases.items;
        o.policy = policy;
        o.dhcp = search && search[0] ? dhcp : NULL; /* without: the host's, followed when they change */
        o.http_gateway = c->gateway_all ? HTTP_GATEWAY_FORWARD_ALL : HTTP_GATEWAY_FORWARD;
        return manager_create_network(g->manager, NETWORK, getuid(), &o, &g->network, e);
}

static int put_zones(Gv *g, Error *e) {
        int r = 0;

        for (size_t i = 0; i < g->config.n_zones && r >= 0; i++)
                r = manager_set_zone(g->manager, g->network, &g->config.zones[i], e);
        return r;
}

static int put_forwards(Gv *g, Error *e) {
        const GvList *l = &g->config.forwards;
        int r = 0;

        for (size_t i = 0; i + 1 < l->n && r >= 0; i += 2) {
                bool udp = strncmp(l->items[i], "udp:", 4) == 0;

                r = manager_expose(g->manager, g->network, getuid(), udp ? "udp" : "tcp", l->items[i] + (udp ? 4 : 0), l->items[i + 1], NULL, NULL,
                                   e);
        }
        return r;
}

/* A path of ours, from where we were started. (owned by the caller) */
static char *absolute(const char *path) {
        _cleanup_free_ char *here = getcwd(NULL, 0);
        char *ret;

        return here && asprintf(&ret, "%s/%s", here, path) >= 0 ? ret : NULL;
}

/* Only what stands for itself in a URL stays as it is. */
static int put_escaped(FILE *f, const char *text) {
        for (; *text; text++)
                if (strchr("/._-", *text) || isalnum((unsigned char) *text) ? putc(*text, f) < 0 : fprintf(f, "%%%02x", (unsigned char) *text) < 0)
                        return -ENOMEM;
        return 0;
}

/* ssh-tunnel://USER@MACHINE/DEST?key=FILE; the file as seen from where we were started. (owned by the caller) */
static char *ssh_url(const GvConfig *c, size_t i) {
        _cleanup_free_ char *key = realpath(c->identity.items[i], NULL);
        char *url = NULL;
        size_t len;
        FILE *f;
        int r;

        f = key ? open_memstream(&url, &len) : NULL;
        if (!f)
                return NULL;
        r = fputs("ssh-tunnel://", f) < 0 ? -ENOMEM : put_escaped(f, c->user.items[i]);
        if (r >= 0 && fprintf(f, "@%s%s", c->device, c->dest.items[i][0] == '/' ? "" : "/") < 0)
                r = -ENOMEM;
        if (r >= 0)
                r = put_escaped(f, c->dest.items[i]);
        if (r >= 0 && fputs("?key=", f) < 0)
                r = -ENOMEM;
        if (r >= 0)
                r = put_escaped(f, key);
        if (fclose(f) != 0 || r < 0) {
                free(url);
                return NULL;
        }
        return url;
}

static int put_ssh_forwards(Gv *g, Error *e) {
        const GvConfig *c = &g->config;
        int r = 0;

        for (size_t i = 0; i < c->sock.n && r >= 0; i++) {
                const char *local = c->sock.items[i] + (strncmp(c->sock.items[i], "unix://", strlen("unix://")) == 0 ? strlen("unix://") : 0);
                _cleanup_free_ char *url = ssh_url(c, i), *at = local[0] == '/' ? strdup(local) : absolute(local);

                if (!url || !at)
                        return error_set(e, ERROR_NO_MEMORY, "Cannot forward '%s'", ERROR_QUOTE(local));
                r = manager_expose(g->manager, g->network, getuid(), "unix", at, url, NULL, NULL, e);
        }
        return r;
}

/* -pcap: all frames of the first device, which is where the machine is. */
static int begin_capture(Gv *g, ManagedDevice *d, Error *e) {
        _cleanup_close_ int fd = -EBADF;
        uint32_t id;

        if (!g->config.pcap || g->capturing)
                return 0;
        (void) unlink(g->config.pcap); /* as gvproxy does: what reads the one of before goes on reading that */
        fd = open(g->config.pcap, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_set_errno(e, errno, "Cannot capture to '%s'", ERROR_QUOTE(g->config.pcap));
        g->capturing = true;
        return manager_start_capture(g->manager, d, getuid(), fd, "", 0, &id, e);
}

static int add_stdio(Gv *g, Error *e) {
        DeviceOptions o = DEVICE_OPTIONS_INIT;
        _cleanup_close_ int fd = -EBADF;
        ManagedDevice *d;
        int r;

        if (!g->config.stdio)
                return 0;
        r = gv_stdio_open(&fd);
        if (r < 0)
                return error_set_errno(e, r, "Cannot make frames of stdin and stdout");
        o.network = NETWORK;
        o.fd = fd;
        r = manager_create_device(g->manager, "vpnkit", getuid(), &o, &d, e);
        return r < 0 ? r : begin_capture(g, d, e);
}

static int add_device(Gv *g, const char *kind, const char *at, Error *e) {
        DeviceOptions o = DEVICE_OPTIONS_INIT;
        ManagedDevice *d;
        int r;

        if (!at)
                return 0;
        o.network = NETWORK;
        o.listen = at;
        /* HyperKit tells a machine its MAC address. It is known here by one UUID, and one machine at a time is served. */
        if (streq(kind, "vpnkit"))
                o.mac = g->config.uuids.n == 2 ? g->config.uuids.items[1] : NULL;
        r = manager_create_device(g->manager, kind, getuid(), &o, &d, e);
        return r < 0 ? r : begin_capture(g, d, e);
}

static int open_sockets(Gv *g, Error *e) {
        const GvConfig *c = &g->config;
        int r = 0;

        for (size_t i = 0; i < c->listen.n && r >= 0; i++)
                r = strncmp(c->listen.items[i], "vsock://", strlen("vsock://")) == 0
                            ? add_device(g, "vpnkit", c->listen.items[i], e) /* the machine's side: /connect, and nothing that is the host's */
                            : http_listen(g->http, NETWORK, c->listen.items[i], /* connect= */ true, e);
        if (r >= 0 && c->services)
                r = http_listen(g->http, NETWORK, c->services, /* connect= */ false, e);
        if (r >= 0)
                r = add_device(g, "vpnkit", c->vpnkit, e);
        if (r >= 0)
                r = add_device(g, "qemu", c->qemu, e);
        if (r >= 0)
                r = add_device(g, "bess", c->bess, e);
        if (r >= 0)
                r = add_device(g, "vfkit", c->vfkit, e);
        return r;
}

/* ---- the process ---- */

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        log_info("Stopping: %s", sigdescr_np((int) si->ssi_signo) ?: "signal");
        return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int begin_process(Gv *g) {
        const GvConfig *c = &g->config;
        sigset_t set;

        if (c->log_file) {
                _cleanup_close_ int fd = open(c->log_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

                if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
                        return log_error_errno(errno, "Cannot write to '%s': %m", c->log_file);
        }
        if (c->pid_file) {
                _cleanup_fclose_ FILE *f = fopen(c->pid_file, "we");

                if (!f || fprintf(f, "%ld", (long) getpid()) < 0)
                        return log_error_errno(errno, "Cannot write '%s': %m", c->pid_file);
        }
        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

static int run(Gv *g) {
        Error e = ERROR_INIT;
        int r;

        r = begin_process(g);
        if (r >= 0)
                r = sd_event_default(&g->event);
        if (r >= 0)
                r = manager_new(&g->manager, &(ManagerConfig){ .user = true, .host_loopback = true }, g->event);
        if (r >= 0)
                r = http_new(&g->http, g->event, g->manager);
        if (r >= 0)
                r = sd_event_add_signal(g->event, NULL, SIGTERM, on_stop, NULL);
        if (r >= 0)
                r = sd_event_add_signal(g->event, NULL, SIGINT, on_stop, NULL);
        if (r < 0)
                return log_error_errno(r, "Cannot start: %m");
        http_serve_networks(g->http);
        manager_set_handler(g->manager, &handler, g);
        manager_follow_host(g->manager);

        r = make_network(g, &e);
        if (r >= 0)
                r = put_zones(g, &e);
        if (r >= 0)
                r = put_forwards(g, &e);
        if (r >= 0)
                r = put_ssh_forwards(g, &e);
        if (r >= 0)
                r = open_sockets(g, &e);
        if (r >= 0)
                r = add_stdio(g, &e);
        if (r < 0) {
                log_error("%s", e.message);
                return r;
        }
        log_info("Ready"); /* who is notified may look for it */
        notify(g, "ready", NULL); /* when all sockets are there, unlike gvproxy */
        r = sd_event_loop(g->event);
        return r < 0 ? log_error_errno(r, "Event loop failed: %m") : 0;
}

int main(int argc, char **argv) {
        _cleanup_(gv_deinit) Gv g = {};
        char why[512];
        int r;

        log_open("vnet-gvproxy");
        (void) log_set_target("console");
        r = gv_config_read(&g.config, argc, argv, why);
        if (r < 0) {
                (void) fprintf(stderr, "%s\n", why[0] ? why : strerrordesc_np(-r));
                return EXIT_FAILURE;
        }
        if (g.config.version || g.config.help) {
                (void) fputs(g.config.version ? "gvproxy version vnetd-" VNETD_VERSION "\n" : gv_help, stdout);
                return EXIT_SUCCESS;
        }
        log_set_max_level(g.config.debug ? 7 : 6);
        return run(&g) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
