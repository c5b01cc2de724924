/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Manager: life, configuration, and what reaches the control thread from elsewhere: facts of networks, new resolvers. Networks,
 * devices and forwards each have a file of their own (manager-network.c ...).
 */

#include <config.h> /* the build's, not daemon/config.h */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/log.h"
#include "daemon/manager-private.h"

#define RESOLV_CONF "/etc/resolv.conf"

static int copy_text(char **field, const char *text) {
        if (!text)
                return 0;
        *field = strdup(text);
        return *field ? 0 : -ENOMEM;
}

void manager_set_http(Manager *m, const ManagerHttp *http, void *userdata) {
        m->http = http;
        m->http_userdata = userdata;
}

int manager_new(Manager **ret, const ManagerConfig *config, sd_event *event) {
        _cleanup_(manager_freep) Manager *m = NULL;
        int r;

        m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;
        m->lock_fd = -EBADF;
        m->lease_log = RATELIMIT_INIT(10 * USEC_PER_SEC, 20);
        m->config = *config;
        m->host_loopback = config->host_loopback;
        m->event = sd_event_ref(event);

        r = copy_text(&m->config_dir, config->config_dir);
        if (r >= 0)
                r = copy_text(&m->runtime_dir, config->runtime_dir);
        if (r >= 0)
                r = copy_text(&m->state_dir, config->state_dir ?: config->runtime_dir);
        if (r >= 0)
                r = loop_attach(&m->control, event);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

/* Saves what a restart is to find; then takes everything down without telling anyone: the faces are gone by now. */
Manager *manager_free(Manager *m) {
        ManagedDevice *d;
        Network *n;

        if (!m)
                return NULL;
        m->handler = NULL;
        state_save(m);
        m->restored = false; /* what follows is no change to be kept */
        m->ending = true;
        m->lease_timer = sd_event_source_disable_unref(m->lease_timer);
        m->status_source = sd_event_source_disable_unref(m->status_source);

        m->resolv = resolv_watch_free(m->resolv);
        m->links = host_links_watch_free(m->links);
        while ((d = manager_next_device(m, NULL)))
                manager_drop_device(m, d);
        while ((n = manager_next_network(m, NULL)))
                (void) manager_remove_network(m, n, NULL);
        assert(!m->forwards);
        manager_free_captures(m);
        m->lab = lab_free(m->lab);
        m->control = loop_free(m->control); /* runs what was posted */
        manager_free_going(m, NULL);
        config_free(m->loaded);
        sd_event_unref(m->event);
        (void) safe_close(m->lock_fd);
        fdstore_drop_rest(&m->stored);
        free(m->config_dir);
        free(m->runtime_dir);
        free(m->state_dir);
        free(m);
        return NULL;
}

void manager_set_handler(Manager *m, const ManagerHandler *handler, void *userdata) {
        m->handler = handler;
        m->userdata = userdata;
}

void manager_tell_network(Manager *m, Network *n, ManagerChange change) {
        status_changed(m);
        if (m->handler)
                m->handler->network(m, n, change, m->userdata);
}

void manager_tell_device(Manager *m, ManagedDevice *d, ManagerChange change) {
        status_changed(m);
        if (m->handler)
                m->handler->device(m, d, change, m->userdata);
}

void manager_tell_forward(Manager *m, ManagedForward *f, ManagerChange change) {
        status_changed(m);
        if (m->handler)
                m->handler->forward(m, f, change, m->userdata);
}

bool manager_uid_is_limited(uint32_t uid) {
        return uid != 0 && uid != getuid();
}

/* ---- resolvers ---- */

static void on_resolv(const Resolv *resolv, void *userdata) {
        Manager *m = userdata;
        int r;

        log_debug("The host has %zu resolvers and %zu search domains", resolv->n_servers, resolv->n_search);
        for (Network *n = NULL; (n = manager_next_network(m, n));) {
                r = network_set_resolvers(n, resolv->servers, resolv->n_servers, (const char *const *) resolv->search,
                                          resolv->n_search);
                if (r < 0)
                        (void) log_warning_errno(r, "Cannot tell network '%s' of new resolvers, ignoring: %m",
                                                 network_config(n)->name);
        }
}

/* ---- links ---- */

static void on_links(const HostLinks *links, void *userdata) {
        Manager *m = userdata;
        int r;

        log_debug("The host has %s way out by IPv4, %s by IPv6%s", links->ip4 ? "a" : "no", links->ip6 ? "one" : "none",
                  links->addresses_lost ? ", and has lost addresses" : "");
        for (Network *n = NULL; (n = manager_next_network(m, n));) {
                r = network_set_links(n, links);
                if (r < 0)
                        (void) log_warning_errno(r, "Cannot tell network '%s' of the host's links, ignoring: %m",
                                                 network_config(n)->name);
        }
}

/* ---- configuration ---- */

/* The directories that are read, NULL-terminated, the most important first. */
static int config_dirs(const Manager *m, char *store, size_t size, const char *dirs[static 3]) {
        const char *home;

        dirs[1] = dirs[2] = NULL;
        if (m->config_dir) {
                dirs[0] = m->config_dir;
                return 0;
        }
        if (!m->config.user) {
                dirs[0] = VNETD_SYSCONFDIR;
                dirs[1] = VNETD_VENDORDIR;
                return 0;
        }

        dirs[0] = store;
        home = getenv("XDG_CONFIG_HOME");
        if (home && home[0] == '/') /* the XDG specification: anything else is to be ignored */
                return snprintf(store, size, "%s/vnetd", home) < (int) size ? 0 : -ENAMETOOLONG;
        home = getenv("HOME");
        if (!home) {
                dirs[0] = NULL;
                return 0;
        }
        return snprintf(store, size, "%s/.config/vnetd", home) < (int) size ? 0 : -ENAMETOOLONG;
}

static int read_config(Manager *m, Config **ret, Error *e) {
        char store[4096];
        const char *dirs[3];
        int r;

        r = config_dirs(m, store, sizeof(store), dirs);
        if (r >= 0)
                r = config_load(ret, dirs);
        if (r < 0)
                return error_set_errno(e, r, "Cannot read the configuration");
        for (size_t i = 0; i < (*ret)->n_problems; i++)
                log_error("%s", (*ret)->problems[i]);
        return 0;
}

static int report_problems(const Config *c, Error *e) {
        if (c->n_problems == 0)
                return 0;
        if (c->n_problems == 1)
                return error_set(e, ERROR_CONFIG, "%s", c->problems[0]);
        return error_set(e, ERROR_CONFIG, "%s (and %zu more)", c->problems[0], c->n_problems - 1);
}

static void apply_main(Manager *m, const Config *c) {
        if (c->main_broken)
                return;
        m->host_loopback = c->host_loopback >= 0 ? c->host_loopback : m->config.host_loopback;
        if (c->log_level >= 0 && !m->config.keep_log_level)
                log_set_max_level(c->log_level);
}

static const ConfigNetwork *config_network(const Config *c, const char *name) {
        for (size_t i = 0; c && i < c->n_networks; i++)
                if (streq(c->networks[i].name, name))
                        return &c->networks[i];
        return NULL;
}

static bool text_equal(const char *a, const char *b) {
        return a == b || (a && b && streq(a, b));
}

static bool same_forward(const ManagedForward *f, const ConfigForward *cf) {
        ForwardSource source = text_equal(cf->source, "gateway") ? FORWARD_SOURCE_GATEWAY : FORWARD_SOURCE_CLIENT;

        return streq(manager_forward_protocol(f), cf->protocol) && streq(f->local, cf->local) &&
               streq(f->remote, cf->remote) && f->config.source == source && f->config.no_bypass == !cf->bypass;
}

/* What a file asks for and cannot be had is told like what is wrong with its text. */
#define cannot_have(config, ...)                               \
        do {                                                   \
                log_error(__VA_ARGS__);                        \
                (void) config_problem((config), __VA_ARGS__);  \
        } while (0)

/* Makes the forwards of @n that files have made the ones @c has. */
static void apply_forwards(Manager *m, Network *n, Config *config, const ConfigNetwork *c) {
        Error e;

        for (ManagedForward *f = manager_next_forward(m, NULL), *next; f; f = next) {
                bool keep = CONTAINER_OF(f, ForwardEntry, pub)->origin != ORIGIN_FILE || f->network != n;

                next = manager_next_forward(m, f);
                for (size_t i = 0; i < c->n_forwards && !keep; i++)
                        keep = same_forward(f, &c->forwards[i]);
                if (!keep)
                        manager_drop_forward(m, f);
        }

        for (size_t i = 0; i < c->n_forwards; i++) {
                const ConfigForward *cf = &c->forwards[i];
                bool there = false;

                for (ManagedForward *f = NULL; !there && (f = manager_next_forward(m, f));)
                        there = f->network == n && same_forward(f, cf);
                if (!there && manager_add_forward(m, n, getuid(), ORIGIN_FILE, cf->protocol, cf->local, cf->remote,
                                                  &(ForwardOptions){ cf->source, !cf->bypass }, NULL, &e) < 0)
                        cannot_have(config, "%s:%u: forward left out: %s", c->path, cf->line, e.message);
        }
}

static bool zone_is_in(const ConfigNetwork *c, const DnsZoneSpec *spec) {
        for (size_t i = 0; i < c->n_zones; i++)
                if (zone_spec_equal(&c->zones[i].spec, spec))
                        return true;
        return false;
}

/* Makes the zones of @n that files have put up the ones @c has. */
static void apply_zones(Manager *m, Network *n, Config *config, const ConfigNetwork *c) {
        NetworkEntry *entry = manager_network_entry(m, n);
        Error e;

        for (size_t i = 0; i < entry->n_zones;) {
                if (entry->zones[i].origin == ORIGIN_FILE && !zone_is_in(c, &entry->zones[i].spec))
                        (void) manager_remove_zone(m, n, entry->zones[i].spec.name, NULL);
                else
                        i++;
        }
        for (size_t i = 0; i < c->n_zones; i++) {
                const DnsZoneSpec *there = manager_zone(m, n, c->zones[i].spec.name);

                if ((!there || !zone_spec_equal(there, &c->zones[i].spec)) &&
                    manager_add_zone(m, n, ORIGIN_FILE, &c->zones[i].spec, &e) < 0)
                        cannot_have(config, "%s:%u: zone left out: %s", c->path, c->zones[i].line, e.message);
        }
}

static void make_network(Manager *m, Config *config, const ConfigNetwork *c) {
        NetworkOptions o = {
                .subnet = c->subnet,
                .subnet6 = c->subnet6,
                .nat64 = c->nat64,
                .domain = c->domain,
                .mtu = c->mtu,
                .dns_servers = (const char *const *) c->dns_servers,
                .host_loopback = c->host_loopback,
                .static_leases = (const char *const *) c->static_leases,
                .lease_sec = c->lease_sec,
                .nat = (const char *const *) c->nat,
                .policy = (const char *const *) c->policy,
                .dhcp = (const char *const *) c->dhcp,
                .outbound = (const char *const *) c->outbound,
                .gateway_addresses = (const char *const *) c->gateway_addresses,
                .reflect = (const char *const *) c->reflect,
                .dns_routes = (const char *const *) c->dns_routes,
                .http_api = c->http_api,
                .http_gateway = c->http_gateway,
        };
        Network *n;
        Error e;

        if (manager_add_network(m, c->name, getuid(), ORIGIN_FILE, &o, &n, &e) < 0) {
                cannot_have(config, "%s: network '%s' left out: %s", c->path, c->name, e.message);
                return;
        }
        apply_zones(m, n, config, c);
        apply_forwards(m, n, config, c);
}

void manager_follow_host(Manager *m) {
        int r;

        r = resolv_watch_new(&m->resolv, m->event, RESOLV_CONF, on_resolv, m);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot follow " RESOLV_CONF ", DNS will answer for networks and guests alone: %m");

        r = host_links_watch_new(&m->links, m->event, on_links, m);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot follow the links of the host, guests will not hear of changes: %m");
}

int manager_load(Manager *m, Error *e) {
        int r;

        assert(!m->loaded);
        r = state_lock(m, e);
        if (r < 0)
                return r;
        r = read_config(m, &m->loaded, e);
        if (r < 0)
                return r;
        if (m->loaded->main_broken)
                return report_problems(m->loaded, e);
        apply_main(m, m->loaded);

        r = fdstore_collect(&m->stored);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot take over the descriptors of before the restart, ignoring: %m");
        manager_follow_host(m);

        for (size_t i = 0; i < m->loaded->n_networks; i++)
                if (!m->loaded->networks[i].broken)
                        make_network(m, m->loaded, &m->loaded->networks[i]);
        if (m->loaded->n_networks == 0) {
                r = manager_add_network(m, MANAGER_NAME_DEFAULT, getuid(), ORIGIN_BUILTIN, &NETWORK_OPTIONS_INIT, NULL, e);
                if (r < 0)
                        return r;
        }
        state_restore(m);
        fdstore_drop_rest(&m->stored);
        return 0;
}

static bool list_equal(char *const *a, char *const *b) {
        size_t i;

        if (!a || !b)
                return a == b;
        for (i = 0; a[i] && b[i]; i++)
                if (!streq(a[i], b[i]))
                        return false;
        return a[i] == b[i];
}

/* Are all pairs of @a among those of @b? */
static bool pairs_among(char *const *a, char *const *b) {
        for (; a && a[0]; a += 2) {
                bool found = false;

                for (char *const *p = b; p && p[0] && !found; p += 2)
                        found = streq(a[0], p[0]) && streq(a[1], p[1]);
                if (!found)
                        return false;
        }
        return true;
}

/* Everything that cannot change while the network runs: not forwards, not zones, not static leases that are new. */
static bool same_settings(const ConfigNetwork *a, const ConfigNetwork *b) {
        return text_equal(a->subnet, b->subnet) && text_equal(a->subnet6, b->subnet6) && text_equal(a->nat64, b->nat64) && text_equal(a->domain, b->domain) &&
               a->mtu == b->mtu && a->host_loopback == b->host_loopback && a->lease_sec == b->lease_sec &&
               list_equal(a->dns_servers, b->dns_servers) && list_equal(a->dns_routes, b->dns_routes) && list_equal(a->nat, b->nat) && list_equal(a->policy, b->policy) &&
               list_equal(a->gateway_addresses, b->gateway_addresses) && list_equal(a->reflect, b->reflect) && text_equal(a->http_api, b->http_api) &&
               a->http_gateway == b->http_gateway && list_equal(a->dhcp, b->dhcp) && list_equal(a->outbound, b->outbound) &&
               pairs_among(a->static_leases, b->static_leases);
}

static void reload_network(Manager *m, Config *config, const ConfigNetwork *c, const ConfigNetwork *before) {
        Network *n = manager_network(m, c->name);
        Error e;

        if (c->broken) {
                if (n)
                        log_warning("%s: network '%s' goes on as it was", c->path, c->name);
                return;
        }
        if (!n) {
                make_network(m, config, c);
                return;
        }
        if (manager_network_entry(m, n)->origin == ORIGIN_BUILTIN)
                manager_network_entry(m, n)->origin = ORIGIN_FILE;
        if (!before || (!before->broken && !same_settings(before, c)))
                log_warning("%s: network '%s' runs already: what has changed beside forwards, zones and new static leases waits for a restart",
                            c->path, c->name);
        if (manager_add_static_leases(n, (const char *const *) c->static_leases, &e) < 0)
                cannot_have(config, "%s: network '%s': %s", c->path, c->name, e.message);
        apply_zones(m, n, config, c);
        apply_forwards(m, n, config, c);
}

/* Is there a file that says something? One that cannot be used says nothing. */
static bool config_has_network(const Config *c) {
        for (size_t i = 0; i < c->n_networks; i++)
                if (!c->networks[i].broken)
                        return true;
        return false;
}

/* Did a file or its absence make @entry, and does it no longer? The built-in network stays while somebody is in it. */
static bool is_unmade(Manager *m, const NetworkEntry *entry, const Config *c) {
        switch (entry->origin) {
        case ORIGIN_CALL:
        case ORIGIN_RESTORED:
                return false;
        case ORIGIN_FILE:
                return !config_network(c, entry->name);
        case ORIGIN_BUILTIN:
                for (ManagedDevice *d = NULL; (d = manager_next_device(m, d));)
                        if (d->network == entry->network)
                                return false;
                return config_has_network(c) && !config_network(c, entry->name);
        }
        assert(false);
        return false;
}

int manager_reload(Manager *m, Error *e) {
        _cleanup_(config_freep) Config *c = NULL;
        Config *before;
        int r;

        r = read_config(m, &c, e);
        if (r < 0)
                return r;
        if (c->incomplete) { /* out of descriptors, perhaps: no reason to end what runs */
                log_warning("Not all of the configuration could be read, nothing is changed");
                return report_problems(c, e);
        }
        apply_main(m, c);

        state_hold(m);
        for (Network *n = manager_next_network(m, NULL), *next; n; n = next) {
                next = manager_next_network(m, n);
                if (is_unmade(m, manager_network_entry(m, n), c)) {
                        log_info("Network '%s' is no longer configured, removing", network_config(n)->name);
                        (void) manager_remove_network(m, n, NULL);
                }
        }
        for (size_t i = 0; i < c->n_networks; i++)
                reload_network(m, c, &c->networks[i], config_network(m->loaded, c->networks[i].name));
        state_release(m);
        if (c->n_networks == 0 && !manager_network(m, MANAGER_NAME_DEFAULT)) {
                r = manager_add_network(m, MANAGER_NAME_DEFAULT, getuid(), ORIGIN_BUILTIN, &NETWORK_OPTIONS_INIT, NULL, e);
                if (r < 0)
                        return r;
        }

        before = m->loaded;
        m->loaded = TAKE_PTR(c);
        config_free(before);
        status_changed(m);
        return report_problems(m->loaded, e);
}
