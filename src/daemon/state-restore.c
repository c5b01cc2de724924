/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a restart finds again, the reading half (state.c writes). The files are ours, and still read as strictly as any other: what does
 * not fit is left out and told.
 */

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "basic/log.h"
#include "basic/parse.h"
#include "daemon/manager-private.h"
#include "device/tap-fds.h"

typedef struct StateFile {
        JsonDoc *doc; /* (owned) */
        char *path;   /* (owned) */
        Network *network; /* (borrowed) whose leases they are; else NULL */
} StateFile;

static void state_file_deinit(StateFile *f) {
        json_free(f->doc);
        free(f->path);
}

/* Parses @f->path. Returns 1; 0 when there is nothing to read. */
static int open_state(StateFile *f) {
        _cleanup_fclose_ FILE *file = NULL;
        _cleanup_free_ char *buf = NULL;
        const char *what = NULL;
        unsigned line = 0;
        uint64_t version;
        size_t len;
        int r;

        file = fopen(f->path, "re");
        if (!file) {
                if (errno != ENOENT)
                        (void) log_warning_errno(errno, "Cannot read '%s', ignoring: %m", f->path);
                return 0;
        }
        buf = malloc(JSON_TEXT_MAX + 1);
        if (!buf)
                return -ENOMEM;
        len = fread(buf, 1, JSON_TEXT_MAX + 1, file);

        r = json_parse(&f->doc, buf, len, &line, &what);
        if (r < 0) {
                f->doc = NULL;
                log_warning("%s:%u: %s, ignoring the file", f->path, line, what ?: "cannot be read");
                return r == -ENOMEM ? r : 0;
        }
        if (json_get_u64(f->doc, json_get(f->doc, json_root(f->doc), "version"), STATE_VERSION, STATE_VERSION, &version) < 0) {
                log_warning("%s: not of this version of vnetd, ignoring the file", f->path);
                return 0;
        }
        return 1;
}

static const char *text_of(const JsonDoc *doc, JsonVal object, const char *key) {
        JsonVal v = json_get(doc, object, key);
        const char *text;

        return v != JSON_NONE && json_get_string(doc, v, &text) >= 0 ? text : NULL;
}

static uint64_t number_of(const JsonDoc *doc, JsonVal object, const char *key, uint64_t max) {
        JsonVal v = json_get(doc, object, key);
        uint64_t n;

        return v != JSON_NONE && json_get_u64(doc, v, 0, max, &n) >= 0 ? n : 0;
}

static bool bool_of(const JsonDoc *doc, JsonVal object, const char *key) {
        JsonVal v = json_get(doc, object, key);
        bool b;

        return v != JSON_NONE && json_get_bool(doc, v, &b) >= 0 && b;
}

/* An array of texts or the pairs of an object, NULL-terminated; texts are borrowed from the document. */
static int list_of(const JsonDoc *doc, JsonVal object, const char *key, const char ***ret) {
        JsonVal v = json_get(doc, object, key);
        size_t n = v == JSON_NONE ? 0 : json_size(doc, v);
        bool pairs = v != JSON_NONE && json_type(doc, v) == JSON_OBJECT;
        const char **list;

        list = calloc(2 * n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        *ret = list;
        for (size_t i = 0; i < n; i++) {
                JsonVal item = pairs ? json_member(doc, v, i, list) : json_item(doc, v, i);

                list += pairs;
                if (item == JSON_NONE || json_get_string(doc, item, list) < 0)
                        return -EINVAL;
                list++;
        }
        return 0;
}

static void restore_network(Manager *m, const StateFile *f, JsonVal v) {
        _cleanup_free_ const char **dns = NULL, **leases = NULL, **routes = NULL, **nat = NULL, **policy = NULL,
                                  **addresses = NULL, **reflect = NULL, **dhcp = NULL, **outbound = NULL;
        const char *name = text_of(f->doc, v, "name");
        NetworkOptions o = {
                .subnet = text_of(f->doc, v, "subnet"),
                .subnet6 = text_of(f->doc, v, "subnet6"),
                .nat64 = text_of(f->doc, v, "nat64"),
                .domain = text_of(f->doc, v, "domain"),
                .http_api = text_of(f->doc, v, "httpApi"),
                .http_gateway = bool_of(f->doc, v, "httpGateway"),
                .mtu = (uint32_t) number_of(f->doc, v, "mtu", DEVICE_MTU_MAX),
                .lease_sec = (uint32_t) number_of(f->doc, v, "leaseTimeSec", CONFIG_LEASE_SEC_MAX),
        };
        uint32_t uid = (uint32_t) number_of(f->doc, v, "owner", UINT32_MAX);
        Error e;

        if (!name || list_of(f->doc, v, "dnsServers", &dns) < 0 || list_of(f->doc, v, "staticLeases", &leases) < 0 ||
            list_of(f->doc, v, "dnsRoutes", &routes) < 0 || list_of(f->doc, v, "nat", &nat) < 0 ||
            list_of(f->doc, v, "policy", &policy) < 0 || list_of(f->doc, v, "gatewayAddresses", &addresses) < 0 ||
            list_of(f->doc, v, "reflect", &reflect) < 0 ||
            list_of(f->doc, v, "dhcp", &dhcp) < 0 || list_of(f->doc, v, "outbound", &outbound) < 0) {
                log_warning("%s:%u: this is no network, ignoring it", f->path, json_line(f->doc, v));
                return;
        }
        o.dns_servers = dns;
        o.static_leases = leases;
        o.dns_routes = routes;
        o.nat = nat;
        o.policy = policy;
        o.gateway_addresses = addresses;
        o.reflect = reflect;
        o.dhcp = dhcp;
        o.outbound = outbound;
        o.host_loopback = bool_of(f->doc, v, "hostLoopback") && manager_may_open_loopback(m, uid);
        if (manager_add_network(m, name, uid, ORIGIN_RESTORED, &o, NULL, &e) < 0)
                log_warning("Network '%s' of before the restart is lost: %s", ERROR_QUOTE(name), e.message);
}

static void restore_zone(Manager *m, const StateFile *f, JsonVal v) {
        const char *network = text_of(f->doc, v, "network"), *name = text_of(f->doc, v, "name"), *fallback = text_of(f->doc, v, "default");
        Network *n = network ? manager_network(m, network) : NULL;
        JsonVal records = json_get(f->doc, v, "records");
        DnsZoneSpec spec = {};
        Error e = ERROR_INIT;
        int r = 0;

        if (!n || !name || manager_zone(m, n, name)) /* a network or zone that a file has now taken away or over */
                return;
        spec.name = strdup(name);
        spec.default_address = fallback && fallback[0] != 0 ? strdup(fallback) : NULL;
        spec.ttl = (uint32_t) number_of(f->doc, v, "ttlSec", DNS_ZONE_TTL_MAX_SEC);
        spec.loose = bool_of(f->doc, v, "loose");
        for (size_t i = 0; i < json_size(f->doc, records) && r >= 0; i++) {
                JsonVal record = json_item(f->doc, records, i);

                r = dns_zone_spec_add(&spec, text_of(f->doc, record, "name") ?: "", text_of(f->doc, record, "type") ?: "",
                                      text_of(f->doc, record, "value") ?: "");
        }
        if (r < 0 || !spec.name || manager_add_zone(m, n, ORIGIN_RESTORED, &spec, &e) < 0)
                log_warning("Zone '%s' of before the restart is lost: %s", ERROR_QUOTE(name), e.message);
        dns_zone_spec_deinit(&spec);
}

/* The descriptors of a device's queues but the first; one that is missing does no harm, the device opens it again if it may. */
static void take_queues(Manager *m, const char *device, uint32_t n_queues, TapFds *ret) {
        char stored[FDSTORE_NAME_MAX];

        for (unsigned i = 1; i < n_queues; i++) {
                int fd = fdstore_take(&m->stored, fdstore_device_name(device, i, stored));

                if (fd >= 0)
                        ret->fds[ret->n++] = fd;
        }
}

/**
 * restore_device() - bring back a device of before the restart
 *
 * By its descriptor, where systemd has kept that; else, where its interface is persistent and its namespace was given by path, by opening
 * that again (a process number may be another process by now); a socket that listened or connected does so again, and its guest's
 * connection goes on where vnetd ended in order. Any other device has
 * ended with the process that held it.
 */
static void restore_device(Manager *m, const StateFile *f, JsonVal v) {
        const char *name = text_of(f->doc, v, "name"), *kind = text_of(f->doc, v, "kind"), *namespace = text_of(f->doc, v, "namespace"),
                   *network = text_of(f->doc, v, "network");
        _cleanup_free_ const char **offloads = NULL;
        _cleanup_(tap_fds_deinit) TapFds queues = {};
        char stored[FDSTORE_NAME_MAX];
        _cleanup_close_ int fd = -EBADF, guest_fd = -EBADF;
        DeviceOptions o = DEVICE_OPTIONS_INIT;
        ManagedDevice *d;
        Error e;

        if (!name || !name_is_valid(name) || !kind || !namespace || !network || list_of(f->doc, v, "offloads", &offloads) < 0) {
                log_warning("%s:%u: this is no device, ignoring it", f->path, json_line(f->doc, v));
                return;
        }
        fd = fdstore_take(&m->stored, fdstore_device_name(name, 0, stored));
        o.name = name;
        o.network = manager_network(m, network) ? network : "";
        o.namespace = namespace[0] != 0 ? namespace : NULL;
        o.persistent = bool_of(f->doc, v, "persistent");
        o.mtu = (uint32_t) number_of(f->doc, v, "mtu", DEVICE_MTU_MAX);
        o.queues = MAX((uint32_t) number_of(f->doc, v, "queues", TAP_QUEUES_MAX), 1U);
        o.vhost_queue_size = (uint32_t) number_of(f->doc, v, "vhostQueueSize", UINT32_MAX);
        o.offloads = offloads;
        o.listen = text_of(f->doc, v, "listen");
        o.connect = text_of(f->doc, v, "connect");
        o.mac = text_of(f->doc, v, "mac");
        o.port = (PortOptions){
                .isolated = bool_of(f->doc, v, "isolated"),
                .guarded = bool_of(f->doc, v, "guarded"),
                .parallel = bool_of(f->doc, v, "parallel"),
        };
        o.fd = fd;
        guest_fd = fdstore_take(&m->stored, fdstore_guest_name(name, stored));
        if (guest_fd >= 0) /* where it stayed, the guest would never see this end closed */
                fdstore_remove(stored);
        o.guest_fd = guest_fd;
        if (fd >= 0) {
                take_queues(m, name, o.queues, &queues);
                o.queue_fds = queues.fds;
                o.n_queue_fds = queues.n;
        }
        if (fd < 0 && !o.listen && !o.connect) {
                o.ifname = text_of(f->doc, v, "ifname");
                if (!o.persistent || !o.ifname || (o.namespace && o.namespace[0] != '/')) {
                        log_info("Device '%s' has ended with the vnetd before", name);
                        return;
                }
        }
        if (manager_create_device(m, kind, (uint32_t) number_of(f->doc, v, "owner", UINT32_MAX), &o, &d, &e) >= 0)
                return;
        log_warning("Device '%s' of before the restart is lost: %s", name, e.message);
        for (unsigned i = 0; fd >= 0 && i < o.queues; i++) /* systemd would keep it, and beside it the next one of the name */
                fdstore_remove(fdstore_device_name(name, i, stored));
}

static void restore_forward(Manager *m, const StateFile *f, JsonVal v) {
        const char *network = text_of(f->doc, v, "network"), *protocol = text_of(f->doc, v, "protocol"),
                   *local = text_of(f->doc, v, "local"), *remote = text_of(f->doc, v, "remote");
        ForwardOptions o = { .source = text_of(f->doc, v, "source"), .no_bypass = bool_of(f->doc, v, "noBypass") };
        Network *n = network ? manager_network(m, network) : NULL;
        Error e;

        if (!network || !protocol || !local || !remote) {
                log_warning("%s:%u: this is no forward, ignoring it", f->path, json_line(f->doc, v));
                return;
        }
        if (!n)
                (void) error_set(&e, ERROR_NO_SUCH_NETWORK, "There is no network '%s'", ERROR_QUOTE(network));
        else if (manager_add_forward(m, n, (uint32_t) number_of(f->doc, v, "owner", UINT32_MAX), ORIGIN_RESTORED, protocol, local,
                                     remote, &o, NULL, &e) >= 0)
                return;
        log_warning("Forward of %s '%s' of before the restart is lost: %s", ERROR_QUOTE(protocol), ERROR_QUOTE(local), e.message);
}

static int parse_hex(const char *text, uint8_t *buf, size_t size, uint8_t *ret_len) {
        size_t len = strlen(text);

        if (len % 2 != 0 || len / 2 > size)
                return -EINVAL;
        for (size_t i = 0; i < len / 2; i++) {
                unsigned byte;

                if (strspn(text + 2 * i, "0123456789abcdef") < 2 || sscanf(text + 2 * i, "%2x", &byte) != 1)
                        return -EINVAL;
                buf[i] = (uint8_t) byte;
        }
        *ret_len = (uint8_t) (len / 2);
        return 0;
}

/* Fills @l but for its end. */
static int read_lease(const JsonDoc *doc, JsonVal v, Lease *l) {
        const char *addr = text_of(doc, v, "address"), *mac = text_of(doc, v, "mac"), *id = text_of(doc, v, "clientId"),
                   *hostname = text_of(doc, v, "hostname");

        if (!addr || !mac || !id || !hostname || strlen(hostname) > DHCP_HOSTNAME_MAX)
                return -EINVAL;
        if (hostname[0] != 0 && (!dns_name_is_valid(hostname) || strchr(hostname, '.')))
                return -EINVAL;
        if (ip_parse(addr, &l->addr) < 0 || mac_parse(mac, &l->mac) < 0)
                return -EINVAL;
        memcpy(l->hostname, hostname, strlen(hostname) + 1);
        return parse_hex(id, l->client_id, sizeof(l->client_id), &l->client_id_len);
}

static void restore_lease(Manager *m, const StateFile *f, JsonVal v) {
        Network *n = f->network;
        uint64_t ends = number_of(f->doc, v, "ends", INT64_MAX / USEC_PER_SEC), now = (uint64_t) time(NULL);
        Lease l = {};
        int r;

        if (ends != 0 && ends <= now)
                return;
        r = read_lease(f->doc, v, &l);
        if (r >= 0) {
                /* The time of day may have been set since: no lease is longer than the network gives them. */
                l.expires = ends == 0 ? USEC_INFINITY
                                      : network_now(n) + MIN(ends - now, (uint64_t) network_config(n)->stack.lease_sec) * USEC_PER_SEC;
                r = network_add_lease(n, &l);
        }
        if (r < 0 && r != -EEXIST) /* static by now */
                (void) log_warning_errno(r, "%s:%u: lease left out: %m", f->path, json_line(f->doc, v));
}

/* Runs @fn for every item of DIR/NAME.json, or of DIR/NAME-NETWORK.json. */
static int restore(Manager *m, const char *dir, const char *name, Network *n, void (*fn)(Manager *m, const StateFile *f, JsonVal v)) {
        _cleanup_(state_file_deinit) StateFile f = { .network = n };
        JsonVal list;
        int r;

        if (!dir)
                return 0;
        if (asprintf(&f.path, "%s/%s%s%s.json", dir, name, n ? "-" : "", n ? network_config(n)->name : "") < 0) {
                f.path = NULL;
                return -ENOMEM;
        }
        r = open_state(&f);
        if (r <= 0)
                return r;
        list = json_get(f.doc, json_root(f.doc), "items");
        for (size_t i = 0; list != JSON_NONE && json_item(f.doc, list, i) != JSON_NONE; i++)
                fn(m, &f, json_item(f.doc, list, i));
        return 0;
}

void state_restore(Manager *m) {
        int r;

        state_hold(m);
        m->restored = true;
        r = restore(m, m->runtime_dir, "networks", NULL, restore_network);
        for (Network *n = NULL; r >= 0 && (n = manager_next_network(m, n));)
                r = restore(m, m->state_dir, "leases", n, restore_lease);
        if (r >= 0)
                r = restore(m, m->runtime_dir, "zones", NULL, restore_zone);
        if (r >= 0)
                r = restore(m, m->runtime_dir, "devices", NULL, restore_device);
        if (r >= 0)
                r = restore(m, m->runtime_dir, "forwards", NULL, restore_forward);
        if (r < 0)
                (void) log_oom();
        for (StatePart part = 0; part < _STATE_PART_MAX; part++)
                state_changed(m, part);
        state_release(m);
}
