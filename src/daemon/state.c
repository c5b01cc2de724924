/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a restart finds again: objects.json in the runtime directory (what was made at run time: gone with the next boot) and
 * leases.json in the state directory. Written anew and renamed into place a second after the last change, every few minutes while there
 * are leases (renewals move their end without a word), and at exit. The file is ours, and still read as strictly as any other: what
 * does not fit is left out and told.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "basic/log.h"
#include "basic/parse.h"
#include "daemon/manager-private.h"

#define STATE_VERSION 1
#define SAVE_DELAY_USEC USEC_PER_SEC
#define SAVE_INTERVAL_USEC (5 * USEC_PER_MINUTE)

/* Two of us would write over each other. Held until exit. */
int state_lock(Manager *m, Error *e) {
        const char *dir = m->runtime_dir ?: m->state_dir;
        _cleanup_free_ char *path = NULL;

        if (!dir)
                return 0;
        if (asprintf(&path, "%s/lock", dir) < 0)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        m->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (m->lock_fd < 0) /* it cannot be written either then, and that is told in its time */
                return 0;
        if (flock(m->lock_fd, LOCK_EX | LOCK_NB) < 0)
                return error_set(e, ERROR_DEVICE_BUSY, "Another vnetd runs, and keeps its state in '%s'", dir);
        return 0;
}

/* ---- writing ---- */

static void put_text(JsonWriter *w, const char *key, const char *value) {
        json_key(w, key);
        json_string(w, value);
}

static void put_u64(JsonWriter *w, const char *key, uint64_t value) {
        json_key(w, key);
        json_u64(w, value);
}

static void open_document(JsonWriter *w) {
        json_writer_init(w, true);
        json_object_open(w);
        put_u64(w, "version", STATE_VERSION);
}

static bool is_runtime(Origin o) {
        return o == ORIGIN_CALL || o == ORIGIN_RESTORED;
}

static void put_static_leases(JsonWriter *w, Network *n) {
        _cleanup_free_ Lease *leases = NULL;
        size_t n_leases;

        json_key(w, "staticLeases");
        json_object_open(w);
        if (network_list_leases(n, &leases, &n_leases) >= 0)
                for (size_t i = 0; i < n_leases; i++)
                        if (leases[i].is_static)
                                put_text(w, IP_TO_TEXT(&leases[i].addr), MAC_TO_TEXT(&leases[i].mac));
        json_object_close(w);
}

static void put_network(JsonWriter *w, Network *n) {
        const NetworkConfig *c = network_config(n);

        json_object_open(w);
        put_text(w, "name", c->name);
        put_u64(w, "owner", c->owner);
        put_text(w, "subnet", PREFIX_TO_TEXT(&c->stack.subnet));
        if (!ip_is_null(&c->stack.subnet6.addr))
                put_text(w, "subnet6", PREFIX_TO_TEXT(&c->stack.subnet6));
        put_u64(w, "mtu", c->stack.mtu);
        put_text(w, "domain", c->stack.domain);
        put_u64(w, "leaseTimeSec", c->stack.lease_sec);
        json_key(w, "hostLoopback");
        json_bool(w, c->stack.host_loopback);
        json_key(w, "dnsServers");
        json_array_open(w);
        for (size_t i = 0; i < c->n_dns_servers; i++)
                json_string(w, ENDPOINT_TO_TEXT(&c->dns_servers[i]));
        json_array_close(w);
        put_static_leases(w, n);
        json_object_close(w);
}

static void put_forward(JsonWriter *w, const ManagedForward *f) {
        json_object_open(w);
        put_text(w, "network", network_config(f->network)->name);
        put_u64(w, "owner", f->owner);
        put_text(w, "protocol", f->config.proto == IPPROTO_UDP ? "udp" : "tcp");
        put_text(w, "local", f->local);
        put_text(w, "remote", f->remote);
        put_text(w, "source", f->config.source == FORWARD_SOURCE_GATEWAY ? "gateway" : "client");
        json_object_close(w);
}

static void put_device(JsonWriter *w, const DeviceEntry *entry) {
        const Device *d = entry->pub.device;

        json_object_open(w);
        put_text(w, "name", d->name);
        put_text(w, "kind", d->ops->kind);
        put_u64(w, "owner", d->owner);
        put_text(w, "network", entry->pub.network ? network_config(entry->pub.network)->name : "");
        put_text(w, "namespace", entry->namespace ?: "");
        put_text(w, "ifname", d->ifname);
        put_u64(w, "mtu", d->mtu);
        json_key(w, "persistent");
        json_bool(w, entry->persistent);
        json_key(w, "offloads");
        json_array_open(w);
        for (uint32_t bit = 1; bit < _DEVICE_OFFLOAD_ALL; bit <<= 1)
                if (d->offloads & bit)
                        json_string(w, device_offload_to_name((DeviceOffload) bit));
        json_array_close(w);
        json_object_close(w);
}

static int write_objects(Manager *m, char **ret) {
        JsonWriter w;

        open_document(&w);
        json_key(&w, "networks");
        json_array_open(&w);
        for (NetworkEntry *entry = m->networks; entry; entry = entry->hh.next)
                if (is_runtime(entry->origin))
                        put_network(&w, entry->network);
        json_array_close(&w);
        json_key(&w, "devices");
        json_array_open(&w);
        for (DeviceEntry *entry = m->devices; entry; entry = entry->hh.next)
                put_device(&w, entry);
        json_array_close(&w);
        json_key(&w, "forwards");
        json_array_open(&w);
        for (ForwardEntry *entry = m->forwards; entry; entry = entry->hh.next)
                if (is_runtime(entry->origin))
                        put_forward(&w, &entry->pub);
        json_array_close(&w);
        json_object_close(&w);
        return json_writer_finish(&w, ret);
}

/* Ends are kept as the time of day: the network's own clock begins anew with each boot. */
static uint64_t end_of_lease(const Lease *l, Network *n) {
        usec_t now = network_now(n);

        if (l->expires == USEC_INFINITY)
                return 0;
        return (uint64_t) time(NULL) + (l->expires > now ? (l->expires - now) / USEC_PER_SEC : 0);
}

static void put_lease(JsonWriter *w, const Lease *l, Network *n) {
        char id[2 * DHCP_CLIENT_ID_MAX + 1] = "";

        for (size_t i = 0; i < l->client_id_len; i++)
                (void) snprintf(id + 2 * i, 3, "%02x", l->client_id[i]);
        json_object_open(w);
        put_text(w, "network", network_config(n)->name);
        put_text(w, "address", IP_TO_TEXT(&l->addr));
        put_text(w, "mac", MAC_TO_TEXT(&l->mac));
        put_text(w, "clientId", id);
        put_text(w, "hostname", l->hostname);
        put_u64(w, "ends", end_of_lease(l, n));
        json_object_close(w);
}

static int write_leases(Manager *m, char **ret, bool *ret_any) {
        JsonWriter w;

        *ret_any = false;
        open_document(&w);
        json_key(&w, "leases");
        json_array_open(&w);
        for (Network *n = NULL; (n = manager_next_network(m, n));) {
                _cleanup_free_ Lease *leases = NULL;
                size_t n_leases;

                if (network_list_leases(n, &leases, &n_leases) < 0)
                        continue;
                for (size_t i = 0; i < n_leases; i++)
                        if (!leases[i].is_static) {
                                put_lease(&w, &leases[i], n);
                                *ret_any = true;
                        }
        }
        json_array_close(&w);
        json_object_close(&w);
        return json_writer_finish(&w, ret);
}

/* Replaces DIR/NAME: whoever reads sees the old text or the new. */
static int replace_file(const char *dir, const char *name, const char *text) {
        _cleanup_free_ char *path = NULL, *tmp = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t len = strlen(text);
        int r = 0;

        if (asprintf(&path, "%s/%s", dir, name) < 0 || asprintf(&tmp, "%s/.%s.new", dir, name) < 0)
                return -ENOMEM;
        (void) unlink(tmp); /* left by a crash */
        fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;

        for (size_t done = 0; done < len && r >= 0;) {
                ssize_t n = write(fd, text + done, len - done);

                if (n < 0 && errno != EINTR)
                        r = -errno;
                done += n > 0 ? (size_t) n : 0;
        }
        if (r >= 0 && rename(tmp, path) < 0)
                r = -errno;
        if (r < 0)
                (void) unlink(tmp);
        return r;
}

static void schedule(Manager *m, usec_t delay);

void state_save(Manager *m) {
        _cleanup_free_ char *objects = NULL, *leases = NULL;
        bool any = false;
        int r = 0;

        if (!m->restored)
                return;
        if (m->runtime_dir) {
                r = write_objects(m, &objects);
                if (r >= 0)
                        r = replace_file(m->runtime_dir, "objects.json", objects);
                if (r < 0)
                        (void) log_warning_errno(r, "Cannot save networks and forwards to '%s', a restart will lose them: %m",
                                                 m->runtime_dir);
        }
        if (m->state_dir) {
                r = write_leases(m, &leases, &any);
                if (r >= 0)
                        r = replace_file(m->state_dir, "leases.json", leases);
                if (r < 0)
                        (void) log_warning_errno(r, "Cannot save leases to '%s', a restart will lose them: %m", m->state_dir);
        }
        if (any)
                schedule(m, SAVE_INTERVAL_USEC);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        state_save(userdata);
        return 0;
}

static void schedule(Manager *m, usec_t delay) {
        usec_t now, due;
        int r;

        r = sd_event_now(m->event, CLOCK_BOOTTIME, &now);
        if (r >= 0 && !m->save_timer)
                r = sd_event_add_time(m->event, &m->save_timer, CLOCK_BOOTTIME, now + delay, delay / 2, on_timer, m);
        else if (r >= 0) {
                if (sd_event_source_get_enabled(m->save_timer, NULL) > 0 &&
                    sd_event_source_get_time(m->save_timer, &due) >= 0 && due <= now + delay)
                        return; /* sooner already */
                r = sd_event_source_set_time(m->save_timer, now + delay);
                if (r >= 0)
                        r = sd_event_source_set_enabled(m->save_timer, SD_EVENT_ONESHOT);
        }
        if (r < 0)
                (void) log_warning_errno(r, "Cannot set a timer to save state, ignoring: %m");
}

void state_changed(Manager *m) {
        if (m->restored && (m->runtime_dir || m->state_dir))
                schedule(m, SAVE_DELAY_USEC);
}

/* ---- reading ---- */

typedef struct StateFile {
        JsonDoc *doc; /* (owned) */
        char *path;   /* (owned) */
} StateFile;

static void state_file_deinit(StateFile *f) {
        json_free(f->doc);
        free(f->path);
}

/* Returns 1; 0 when there is nothing to read. */
static int open_state(const char *dir, const char *name, StateFile *f) {
        _cleanup_fclose_ FILE *file = NULL;
        _cleanup_free_ char *buf = NULL;
        const char *what = NULL;
        unsigned line = 0;
        uint64_t version;
        size_t len;
        int r;

        if (!dir)
                return 0;
        if (asprintf(&f->path, "%s/%s", dir, name) < 0)
                return -ENOMEM;
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
                log_warning("%s:%u: %s, ignoring the file", f->path, line, what ?: "cannot be read");
                return 0;
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
        _cleanup_free_ const char **dns = NULL, **leases = NULL;
        const char *name = text_of(f->doc, v, "name");
        NetworkOptions o = {
                .subnet = text_of(f->doc, v, "subnet"),
                .subnet6 = text_of(f->doc, v, "subnet6"),
                .domain = text_of(f->doc, v, "domain"),
                .mtu = (uint32_t) number_of(f->doc, v, "mtu", DEVICE_MTU_MAX),
                .lease_sec = (uint32_t) number_of(f->doc, v, "leaseTimeSec", CONFIG_LEASE_SEC_MAX),
        };
        uint32_t uid = (uint32_t) number_of(f->doc, v, "owner", UINT32_MAX);
        Error e;

        if (!name || list_of(f->doc, v, "dnsServers", &dns) < 0 || list_of(f->doc, v, "staticLeases", &leases) < 0) {
                log_warning("%s:%u: this is no network, ignoring it", f->path, json_line(f->doc, v));
                return;
        }
        o.dns_servers = dns;
        o.static_leases = leases;
        o.host_loopback = bool_of(f->doc, v, "hostLoopback") && manager_may_open_loopback(m, uid);
        if (manager_add_network(m, name, uid, ORIGIN_RESTORED, &o, NULL, &e) < 0)
                log_warning("Network '%s' of before the restart is lost: %s", ERROR_QUOTE(name), e.message);
}

/**
 * restore_device() - bring back a device of before the restart
 *
 * By its descriptor, where systemd has kept that; else, where its interface is persistent and its namespace was given by path, by opening
 * that again (a process number may be another process by now). Any other device has ended with the process that held it.
 */
static void restore_device(Manager *m, const StateFile *f, JsonVal v) {
        const char *name = text_of(f->doc, v, "name"), *kind = text_of(f->doc, v, "kind"), *namespace = text_of(f->doc, v, "namespace"),
                   *network = text_of(f->doc, v, "network");
        _cleanup_free_ const char **offloads = NULL;
        char stored[FDSTORE_NAME_MAX];
        _cleanup_close_ int fd = -EBADF;
        DeviceOptions o = DEVICE_OPTIONS_INIT;
        ManagedDevice *d;
        Error e;

        if (!name || !name_is_valid(name) || !kind || !namespace || !network || list_of(f->doc, v, "offloads", &offloads) < 0) {
                log_warning("%s:%u: this is no device, ignoring it", f->path, json_line(f->doc, v));
                return;
        }
        fd = fdstore_take(&m->stored, fdstore_device_name(name, stored));
        o.name = name;
        o.network = manager_network(m, network) ? network : "";
        o.namespace = namespace[0] != 0 ? namespace : NULL;
        o.persistent = bool_of(f->doc, v, "persistent");
        o.mtu = (uint32_t) number_of(f->doc, v, "mtu", DEVICE_MTU_MAX);
        o.offloads = offloads;
        o.fd = fd;
        if (fd < 0) {
                o.ifname = text_of(f->doc, v, "ifname");
                if (!o.persistent || !o.ifname || (o.namespace && o.namespace[0] != '/')) {
                        log_info("Device '%s' has ended with the vnetd before", name);
                        return;
                }
        }
        if (manager_create_device(m, kind, (uint32_t) number_of(f->doc, v, "owner", UINT32_MAX), &o, &d, &e) < 0)
                log_warning("Device '%s' of before the restart is lost: %s", name, e.message);
}

static void restore_forward(Manager *m, const StateFile *f, JsonVal v) {
        const char *network = text_of(f->doc, v, "network"), *protocol = text_of(f->doc, v, "protocol"),
                   *local = text_of(f->doc, v, "local"), *remote = text_of(f->doc, v, "remote");
        Network *n = network ? manager_network(m, network) : NULL;
        Error e;

        if (!network || !protocol || !local || !remote) {
                log_warning("%s:%u: this is no forward, ignoring it", f->path, json_line(f->doc, v));
                return;
        }
        if (!n)
                (void) error_set(&e, ERROR_NO_SUCH_NETWORK, "There is no network '%s'", ERROR_QUOTE(network));
        else if (manager_add_forward(m, n, (uint32_t) number_of(f->doc, v, "owner", UINT32_MAX), ORIGIN_RESTORED, protocol, local,
                                     remote, text_of(f->doc, v, "source"), NULL, &e) >= 0)
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
        const char *network = text_of(f->doc, v, "network");
        Network *n = network ? manager_network(m, network) : NULL;
        uint64_t ends = number_of(f->doc, v, "ends", INT64_MAX / USEC_PER_SEC), now = (uint64_t) time(NULL);
        Lease l = {};
        int r;

        if (!n || (ends != 0 && ends <= now))
                return; /* of a network that is no more, or over */
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

static void for_each(Manager *m, const StateFile *f, const char *key, void (*fn)(Manager *m, const StateFile *f, JsonVal v)) {
        JsonVal list = json_get(f->doc, json_root(f->doc), key);

        for (size_t i = 0; list != JSON_NONE && i < json_size(f->doc, list); i++)
                if (json_item(f->doc, list, i) != JSON_NONE)
                        fn(m, f, json_item(f->doc, list, i));
}

void state_restore(Manager *m) {
        _cleanup_(state_file_deinit) StateFile objects = {}, leases = {};
        int have_objects, have_leases;

        m->restored = true;
        have_objects = open_state(m->runtime_dir, "objects.json", &objects);
        have_leases = open_state(m->state_dir, "leases.json", &leases);
        if (have_objects < 0 || have_leases < 0) {
                (void) log_oom();
                return;
        }
        if (have_objects > 0)
                for_each(m, &objects, "networks", restore_network);
        if (have_leases > 0)
                for_each(m, &leases, "leases", restore_lease);
        if (have_objects > 0)
                for_each(m, &objects, "devices", restore_device);
        if (have_objects > 0) /* last: they name guests by their leases */
                for_each(m, &objects, "forwards", restore_forward);
        state_changed(m);
}
