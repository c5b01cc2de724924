/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One network: a thread's loop with a netstack, the host's sockets, devices as numbered ports and a learning switch between them.
 *
 * What is headed "on the network's thread" runs there and never waits for anyone; the control thread's calls are in network-calls.c. A
 * batch of frames that is all for the gateway (the usual case by far) goes to the netstack as it came; others are sorted frame by frame.
 */

#include "daemon/network-private.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-id128.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "basic/iovcur.h"
#include "basic/parse.h"
#include "basic/rights.h"
#include "daemon/stack-timer.h"
#include "daemon/switch-guard.h"
#include "netstack/rate.h"

#define PORTS_MAX SWITCH_PORTS_MAX
#define STORM_PER_SEC 4096 /* frames one port may have copied to all: ARP and the like need a few */
#define STORM_BURST 1024

/* ---- configuration ---- */

/* A /64 of its own for every machine and name (RFC 4193 3.2 asks for one that nobody else is likely to have). */
static void set_subnet6(NetworkConfig *c) {
        static const sd_id128_t app = SD_ID128_MAKE(5d, 0e, 41, 5c, 96, 8f, 4c, 0b, a2, 5f, 0c, 77, 3c, 1e, 2b, 94);
        sd_id128_t machine;
        uint64_t seed = 0, hash;

        if (sd_id128_get_machine_app_specific(app, &machine) >= 0)
                memcpy(&seed, &machine, sizeof(seed));
        hash = XXH3_64bits_withSeed(c->name, strlen(c->name), seed);
        c->stack.subnet6 = (IpPrefix){ .len = 64 };
        memcpy(c->stack.subnet6.addr.b, &hash, sizeof(hash));
        c->stack.subnet6.addr.b[0] = 0xfd;
        c->stack.gateway6 = prefix_nth(&c->stack.subnet6, 1);
        c->stack.host6 = prefix_nth(&c->stack.subnet6, 0xfe);
}

int network_config_defaults(NetworkConfig *c, const char *name) {
        /* locally administered, and what gvproxy's users know as the gateway's */
        static const MacAddr gateway_mac = { { 0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xdd } };
        char hostname[256] = "";

        *c = (NetworkConfig){};
        netstack_config_defaults(&c->stack);
        c->stack.mac = gateway_mac;
        c->name = strdup(name);
        c->stack.domain = strdup("vnet.internal");
        if (gethostname(hostname, sizeof(hostname) - 1) == 0 && hostname[0])
                c->stack.hostname = strndup(hostname, strcspn(hostname, "."));
        if (!c->name || !c->stack.domain) {
                network_config_deinit(c);
                return -ENOMEM;
        }
        set_subnet6(c);
        IpPrefix subnet = { ip_from_v4(htonl(0xc0a87f00)), 24 }; /* 192.168.127.0/24 */
        return network_config_set_subnet(c, &subnet);
}

int network_config_set_subnet(NetworkConfig *c, const IpPrefix *subnet) {
        if (!ip_is_v4(&subnet->addr) || subnet->len < 8 || subnet->len > 29)
                return -EINVAL;
        uint32_t a = ntohl(ip_v4(&subnet->addr));
        bool private = a >> 24 == 10 || a >> 20 == 0xac1 || a >> 16 == 0xc0a8 || a >> 22 == 0x191; /* RFC 1918, RFC 6598 */
        if (!private)
                return -EINVAL;
        IpPrefix p = *subnet;
        p.addr = prefix_nth(&p, 0);
        uint64_t size = UINT64_C(1) << (32 - p.len);
        c->stack.subnet = p;
        c->stack.gateway = prefix_nth(&p, 1);
        c->stack.host = prefix_nth(&p, size - 2);
        return 0;
}

static void free_pairs(char ***pairs) {
        for (char **p = *pairs; p && *p; p++)
                free(*p);
        free(TAKE_PTR(*pairs));
}

void network_config_set_no_ip4(NetworkConfig *c) {
        c->stack.no_ip4 = true;
        c->stack.subnet = (IpPrefix){ ip_from_v4(htonl(0xc0000000)), 29 };
        c->stack.gateway = prefix_nth(&c->stack.subnet, 1);
        c->stack.host = prefix_nth(&c->stack.subnet, 6);
}

void network_config_deinit(NetworkConfig *c) {
        free(TAKE_PTR(c->dns_routes));
        c->n_dns_routes = 0;
        free(TAKE_PTR(c->http_api));
        free(TAKE_PTR(c->name));
        for (size_t i = 0; c->search[i]; i++)
                free(TAKE_PTR(c->search[i]));
        free_pairs(&c->dhcp);
        free_pairs(&c->outbound);
        netstack_config_deinit(&c->stack);
}

/* ---- on the network's thread: the gateway's world ---- */

static void after_wake(void *userdata) {
        Network *n = userdata;
        if (n->stack)
                stack_timer_turn(&n->stack_timer, loop_timers(n->loop), n->stack);
}

/* What the host's sockets said need not wait for what the devices bring. */
static void before_devices(void *userdata) {
        Network *n = userdata;
        if (n->stack)
                netstack_flush(n->stack);
}

static void on_host_event(void *userdata, uint64_t cookie, uint32_t events) {
        Network *n = userdata;
        if (n->stack)
                netstack_host_event(n->stack, cookie, events);
}

/* ---- on the network's thread: the switch ---- */

static bool frame_macs(const Frame *f, MacAddr *dst, MacAddr *src) {
        MacAddr store[2];
        IovCur c = iovcur_make(f->iov, f->n_iov, f->len);
        const MacAddr *m = iovcur_peek(&c, store, sizeof(store));
        if (!m)
                return false;
        *dst = m[0];
        *src = m[1];
        return true;
}

/* A guest that has moved here may be sent what only its device before could take: that is lost, and not sent as long again. */
static unsigned port_send_short(Port *p, Frame *frames, unsigned n) {
        for (unsigned i = 0, run; i < n; i += run + 1) {
                for (run = 0; i + run < n && frames[i + run].len <= FRAME_LEN_MAX;)
                        run++;
                unsigned taken = run > 0 ? device_send(p->device, frames + i, run) : 0;
                if (taken < run)
                        return i + taken;
                if (i + run < n) {
                        counter_add(&p->device->counters.tx_dropped, 1);
                        counters_drop(&p->device->counters, DROP_ETH_LONG);
                }
        }
        return n;
}

/* Returns how many frames the port took. One whose device is gone takes all and keeps none. */
static unsigned port_send(Port *p, Frame *frames, unsigned n) {
        if (p->gone)
                return n;
        return p->device->big ? device_send(p->device, frames, n) : port_send_short(p, frames, n);
}

static void port_send_or_drop(Port *p, Frame *frames, unsigned n) {
        unsigned left = n - port_send(p, frames, n);
        if (left > 0) {
                counter_add(&p->device->counters.drops[DROP_DEVICE_FULL], left);
                counter_add(&p->device->counters.tx_dropped, left);
        }
}

/* To every port but the one they came from (nullable: the gateway's own). */
static void flood(Network *n, const Port *from, Frame *frames, unsigned n_frames) {
        for (unsigned i = 0; i < PORTS_MAX; i++) {
                Port *p = n->ports[i];
                if (p && p != from && !(from && from->options.isolated && p->options.isolated))
                        port_send_or_drop(p, frames, n_frames);
        }
}

static Port *port_for(Network *n, const MacAddr *mac) {
        uint16_t number = switch_lookup(&n->table, mac, loop_now(n->loop));
        return number ? n->ports[number - 1] : NULL;
}

/* Frames of the gateway: runs for one port go out in one call. What a full device did not take is marked; the others get theirs. */
static unsigned on_stack_output(void *userdata, Frame *frames, unsigned n) {
        Network *net = userdata;
        unsigned i = 0, refused = 0;
        while (i < n) {
                MacAddr dst, src;
                if (!frame_macs(&frames[i], &dst, &src)) {
                        i++;
                        continue;
                }
                Port *p = mac_is_multicast(&dst) ? NULL : port_for(net, &dst);
                if (!p) {
                        flood(net, NULL, &frames[i++], 1);
                        continue;
                }
                unsigned run = 1;
                for (MacAddr next; i + run < n && frame_macs(&frames[i + run], &next, &src) && mac_equal(&next, &dst);)
                        run++;
                for (unsigned k = port_send(p, frames + i, run); k < run; k++, refused++)
                        frames[i + k].len = 0;
                i += run;
        }
        return n - refused;
}

static size_t on_stack_room(void *userdata, uint32_t port) {
        const Network *n = userdata;
        const Port *p = port - 1 < PORTS_MAX ? n->ports[port - 1] : NULL;
        return p && !p->gone && p->device->ops->room ? p->device->ops->room(p->device) : SIZE_MAX;
}

/* May what came in on @from go on? Learns its source. */
static bool admit(Network *n, Port *from, const Frame *f, const MacAddr *src) {
        usec_t now = loop_now(n->loop);
        uint16_t known;
        IpAddr claim;

        if (mac_is_multicast(src) || mac_equal(src, &n->config.stack.mac))
                return true; /* the netstack counts it, and it is never learnt */
        if (from->options.guarded) {
                GuardRules rules = { from->own_mac, n->config.stack.subnet6, n->config.stack.gateway6, n->config.stack.host6 };
                if (mac_is_zero(&from->own_mac))
                        rules.mac = from->own_mac = *src;
                if (!guard_frame(f, &rules, &claim) || (!ip_is_null(&claim) && !netstack_has_lease(n->stack, &claim, src)))
                        return false;
        }
        known = switch_lookup(&n->table, src, now);
        if (known != 0 && known != from->number && n->ports[known - 1]->options.guarded)
                return false; /* nobody takes a guarded port's address away */
        if (!switch_learn(&n->table, src, from->number, now))
                counters_drop(&from->device->counters, DROP_SWITCH_TABLE_FULL);
        return true;
}

static void drop_rx(Port *from, Drop reason) {
        counter_add(&from->device->counters.rx_dropped, 1);
        counters_drop(&from->device->counters, reason);
}

/* Where a frame goes: a port's number, or one of these. */
enum {
        GO_NOWHERE = 0,
        GO_GATEWAY = PORTS_MAX + 1,
        GO_ALL,    /* every port, and the gateway */
        GO_OTHERS, /* every port: an address nobody has been seen with */
};

static unsigned destination(Network *n, Port *from, const Frame *f) {
        MacAddr dst, src;
        Port *p;

        if (!frame_macs(f, &dst, &src))
                return GO_GATEWAY; /* the netstack counts what is wrong with it */
        if (!admit(n, from, f, &src)) {
                drop_rx(from, DROP_SWITCH_SPOOF);
                return GO_NOWHERE;
        }
        if (mac_equal(&dst, &n->config.stack.mac))
                return GO_GATEWAY;
        p = mac_is_multicast(&dst) ? NULL : port_for(n, &dst);
        if (p == from)
                return GO_NOWHERE;
        if (p && p->options.isolated && from->options.isolated) {
                drop_rx(from, DROP_SWITCH_ISOLATED);
                return GO_NOWHERE;
        }
        if (p)
                return p->number;
        if (n->n_ports > 1 && !rate_take(&from->storm, loop_now(n->loop), STORM_PER_SEC, STORM_BURST)) {
                drop_rx(from, DROP_SWITCH_STORM);
                return GO_NOWHERE;
        }
        return mac_is_multicast(&dst) ? GO_ALL : GO_OTHERS;
}

/* A run of frames with the same way to go, in as few calls as that takes. */
static void forward(Network *n, Port *from, unsigned to, Frame *frames, unsigned n_frames) {
        if (to == GO_ALL || to == GO_OTHERS)
                flood(n, from, frames, n_frames);
        else if (to != GO_NOWHERE && to != GO_GATEWAY)
                port_send_or_drop(n->ports[to - 1], frames, n_frames);
}

void network_receive_here(Port *from, Frame *frames, unsigned n) {
        Network *net = from->network;
        unsigned to[FRAME_BATCH_MAX], end;

        for (unsigned i = 0; i < n; i++)
                to[i] = destination(net, from, &frames[i]);
        for (unsigned i = 0; i < n; i = end) {
                for (end = i + 1; end < n && to[end] == to[i];)
                        end++;
                forward(net, from, to[i], frames + i, end - i);
        }
        for (unsigned i = 0; i < n; i = end) { /* runs for the gateway go up together */
                bool up = to[i] == GO_GATEWAY || to[i] == GO_ALL;
                for (end = i + 1; end < n && (to[end] == GO_GATEWAY || to[end] == GO_ALL) == up;)
                        end++;
                if (up)
                        netstack_input(net->stack, &from->stack_port, frames + i, end - i);
        }
}

static void on_receive(Device *d, Frame *frames, unsigned n, void *userdata) {
        device_received(d, frames, n);
        network_receive_here(userdata, frames, n);
}

static void on_writable(Device *d, void *userdata) {
        Port *p = userdata;
        netstack_output_ready(p->network->stack, p->number);
}

/* ---- on the network's thread: ports ---- */

static void forget_guest(const MacAddr *mac, void *userdata) {
        netstack_forget_guest(((Network *) userdata)->stack, mac);
}

static Port *find_port(Network *n, const Device *d) {
        for (unsigned i = 0; i < PORTS_MAX; i++)
                if (n->ports[i] && n->ports[i]->device == d)
                        return n->ports[i];
        return NULL;
}

int network_with_device_here(Network *n, Device *d, NetworkDeviceFn fn, void *arg) {
        return find_port(n, d) ? fn(d, n->loop, arg) : -ENOENT;
}

int network_detach_here(Network *n, Device *d) {
        Port *p = find_port(n, d);
        if (!p)
                return -ENOENT;
        bypass_remove_lender(n->bypass, p->number);
        network_shards_end(p);
        device_stop(d);
        n->ports[p->number - 1] = NULL;
        n->n_ports--;
        switch_forget_port(&n->table, p->number, forget_guest, n);
        netstack_output_ready(n->stack, p->number); /* whoever waited for it waits no more */
        d->handler = NULL;
        d->userdata = NULL;
        d->split = false;
        free(p);
        return 0;
}

void network_device_gone_here(Port *p, int error) {
        if (p->gone)
                return;
        p->gone = true;
        device_facts_gone(&p->network->facts, p->device, error);
}

static void on_gone(Device *d, int error, void *userdata) {
        network_device_gone_here(userdata, error);
}

static void on_event(Device *d, DeviceEvent event, int error, void *userdata) {
        Port *p = userdata;
        if (event == DEVICE_DOWN) /* the next guest is another one */
                p->own_mac = d->mac;
        device_facts_event(&p->network->facts, d, event, error);
}

static int detach_gone(Device *d, void *userdata) {
        return network_detach_here(userdata, d);
}

/* On the control thread. */
static void tell_gone(Device *d, int error, void *userdata) {
        Network *n = userdata;
        if (n->handler)
                n->handler->device_gone(n, d, error, n->userdata);
}

static void tell_event(const char *device, DeviceEvent event, int error, void *userdata) {
        Network *n = userdata;
        if (n->handler)
                n->handler->device_event(n, device, event, error, n->userdata);
}

static const DeviceFactsHandler facts_handler = {
        .detach = detach_gone,
        .gone = tell_gone,
        .event = tell_event,
};

static const DeviceHandler device_handler = {
        .receive = on_receive,
        .writable = on_writable,
        .gone = on_gone,
        .event = on_event,
};

static int attach(Network *n, Device *d, Port *p, Lender *lender) {
        int r = lender ? bypass_add_lender(n->bypass, p->number, lender) : 0;
        if (r >= 0)
                r = device_start(d, n->loop);
        if (r < 0)
                bypass_remove_lender(n->bypass, p->number);
        return r;
}

int network_attach_here(Network *n, Device *d, const PortOptions *options) {
        unsigned i = 0;
        while (i < PORTS_MAX && n->ports[i])
                i++;
        Port *p = i < PORTS_MAX ? calloc(1, sizeof(*p)) : NULL;
        if (!p) {
                (void) lender_free(options->lender, NULL);
                return i < PORTS_MAX ? -ENOMEM : -ENOSPC;
        }
        *p = (Port){
                .network = n,
                .device = d,
                .number = (uint16_t) (i + 1),
                .life = ++n->last_life,
                .options = *options,
                .own_mac = d->mac,
                .stack_port = { .id = i + 1, .mtu = d->mtu, .stream = d->stream, .big = d->big },
        };
        p->options.lender = NULL;
        d->handler = &device_handler;
        d->userdata = p;
        d->split = options->parallel && !options->guarded && d->n_queues > 1 && d->ops->start_queue;
        n->ports[i] = p;
        n->n_ports++;
        int r = attach(n, d, p, options->lender);
        if (r < 0) {
                n->ports[i] = NULL;
                n->n_ports--;
                d->handler = NULL;
                d->split = false;
                free(p);
                return r;
        }
        r = d->split ? network_shards_begin(p) : 0;
        if (r < 0)
                (void) network_detach_here(n, d);
        return r;
}

/* ---- facts for the control thread ---- */

typedef struct LeaseFact {
        Network *network;
        Lease lease;
        bool added;
} LeaseFact;

static void tell_lease(void *arg) { /* on the control thread */
        _cleanup_free_ LeaseFact *l = arg;
        if (l->network->handler)
                l->network->handler->lease_changed(l->network, &l->lease, l->added, l->network->userdata);
}

static void on_lease_changed(void *userdata, const Lease *lease, bool added) {
        Network *n = userdata;
        LeaseFact *l = malloc(sizeof(*l));
        if (!l)
                return;
        *l = (LeaseFact){ n, *lease, added };
        if (loop_post(n->control, tell_lease, l) < 0)
                free(l);
}

typedef struct ServiceFact {
        Network *network;
        Endpoint guest;
        uint16_t port;
        int fd; /* (owned) */
} ServiceFact;

static void tell_service(void *arg) { /* on the control thread */
        _cleanup_free_ ServiceFact *f = arg;
        Network *n = f->network;
        n->n_services--;
        if (n->handler)
                n->handler->service(n, f->port, &f->guest, f->fd, n->userdata);
        else
                (void) safe_close(f->fd);
}

static int on_service(void *userdata, uint16_t port, const Endpoint *guest, int fd) {
        Network *n = userdata;
        if (n->n_services >= NETWORK_SERVICE_PENDING_MAX)
                return -ECONNREFUSED;
        ServiceFact *f = malloc(sizeof(*f));
        if (!f)
                return -ENOMEM;
        *f = (ServiceFact){ n, *guest, port, fd };
        n->n_services++;
        int r = loop_post(n->control, tell_service, f);
        if (r < 0) {
                n->n_services--;
                free(f);
        }
        return r;
}

/* Straight from the guest's flow to the host's socket. Connecting never waits: a socket whose queue is full refuses. */
static int on_service_connect(void *userdata, uint16_t port) {
        Network *n = userdata;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        const char *path = "";

        for (size_t i = 0; i < NETSTACK_SERVICES_MAX; i++)
                if (n->services[i].port == port)
                        path = n->services[i].path;
        if (!path[0])
                return -ENOENT;
        memcpy(sa.sun_path, path, strlen(path) + 1);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        return connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 ? -ECONNREFUSED : TAKE_FD(fd);
}

/* The port where the guest's MAC address was seen is that its frames would go to: nobody else's sockets will do. */
static int on_bypass(void *userdata, const HostBypass *what, int fd) {
        Network *n = userdata;
        Port *p = port_for(n, &what->guest_mac);
        return p ? bypass_open(n->bypass, p->number, what, fd) : -ENOENT;
}

static void on_bypass_moved(void *userdata, const HostBypass *what, uint64_t rx, uint64_t tx) {
        netstack_bypass_moved(((Network *) userdata)->stack, what, rx, tx);
}

static void on_bypass_ended(void *userdata, const HostBypass *what) {
        netstack_bypass_ended(((Network *) userdata)->stack, what);
}

/* A record of the socket was left behind when it was a Unix one: netstack_bypass_failed() needs it again. */
static void on_bypass_failed(void *userdata, const HostBypass *what, int fd) {
        Network *n = userdata;
        if (ip_is_null(&what->client.addr))
                (void) host_sockets_adopt_stream(n->sockets, fd);
        netstack_bypass_failed(n->stack, what, fd);
}

static bool on_offer(void *userdata, uint32_t port, const Frame *f) {
        return network_shards_offer(userdata, port, f);
}

static const BypassHandler bypass_handler = { .moved = on_bypass_moved, .ended = on_bypass_ended, .failed = on_bypass_failed };

static const HostSocketsHandler sockets_handler = {
        .event = on_host_event,
        .output = on_stack_output,
        .room = on_stack_room,
        .lease_changed = on_lease_changed,
        .service = on_service,
        .service_connect = on_service_connect,
        .bypass = on_bypass,
        .offer = on_offer,
};

/* ---- life ---- */

static int begin_here(void *arg) {
        Network *n = arg;
        int r = stack_timer_init(&n->stack_timer, loop_timers(n->loop));
        if (r < 0)
                return r;
        loop_before_batches(n->loop, before_devices);
        uint64_t seed;
        if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
                return -errno;
        switch_init(&n->table, seed);
        r = host_sockets_new(&n->sockets, n->loop, &sockets_handler, n, /* no_peek_offset= */ false);
        thread_drop_capabilities(); /* a socket for pings may have needed one */
        if (r < 0)
                return r;
        r = bypass_new(&n->bypass, n->loop, &bypass_handler, n);
        if (r < 0)
                return r;
        host_sockets_set_source(n->sockets, &n->config.source);
        return netstack_new(&n->stack, &n->config.stack, &host_sockets_ops, n->sockets);
}

static int end_here(void *arg) {
        Network *n = arg;
        for (unsigned i = 0; i < PORTS_MAX; i++)
                if (n->ports[i])
                        (void) network_detach_here(n, n->ports[i]->device);
        n->bypass = bypass_free(n->bypass);
        n->stack = netstack_free(n->stack);
        n->sockets = host_sockets_free(n->sockets);
        timer_release(loop_timers(n->loop), &n->stack_timer);
        return 0;
}

int network_new(Network **ret, NetworkConfig *config, Loop *control, const NetworkHandler *handler, void *userdata) {
        Network *n = calloc(1, sizeof(*n));
        if (!n)
                return -ENOMEM;
        n->config = *config;
        n->control = control;
        n->handler = handler;
        n->userdata = userdata;
        int r = loop_new(&n->loop, n->config.name, after_wake, n);
        n->facts = (DeviceFacts){ n->loop, control, &facts_handler, n };
        if (r >= 0)
                r = loop_call(n->loop, begin_here, n);
        if (r < 0) {
                n->config = (NetworkConfig){}; /* still the caller's */
                network_free(n);
                return r;
        }
        *config = (NetworkConfig){};
        *ret = n;
        return 0;
}

static void free_memory(void *arg) {
        Network *n = arg;
        network_config_deinit(&n->config);
        free(n);
}

Network *network_free(Network *n) {
        if (!n)
                return NULL;
        if (n->loop) {
                (void) loop_call(n->loop, end_here, n);
                n->loop = loop_free(n->loop);
        }
        n->handler = NULL;
        if (loop_post(n->control, free_memory, n) < 0) /* behind every fact that names it */
                free_memory(n);
        return NULL;
}

const NetworkConfig *network_config(const Network *n) {
        return &n->config;
}
usec_t network_now(const Network *n) {
        struct timespec ts;
        (void) clock_gettime(CLOCK_BOOTTIME, &ts); /* loop_now()'s, which stands still while the network sleeps */
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}
