/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a restart finds again, the writing half: networks.json, zones.json, devices.json and forwards.json in the runtime directory (what was made at
 * run time: gone with the next boot) and leases-NETWORK.json in the state directory. Written anew and renamed into place: the former with
 * each change, before whoever asked for it is answered, so that the store of descriptors never knows more than the files; leases shortly
 * after the first change, once a minute when clients have renewed theirs (which nobody tells), and at exit.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "basic/log.h"
#include "daemon/manager-private.h"

#define LEASES_DELAY_USEC (5 * USEC_PER_SEC) /* guests decide how often leases change */
#define RENEWALS_INTERVAL_USEC USEC_PER_MINUTE
#define ZONE_TEXT_MAX (256 * 1024) /* of a zone that is not absurd */
#define LEASE_TEXT_MAX 1024 /* of one lease in its file, and the end of the file */

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
                                json_key_string(w, IP_TO_TEXT(&leases[i].addr), MAC_TO_TEXT(&leases[i].mac));
        json_object_close(w);
}

static void put_dns_routes(JsonWriter *w, const NetworkConfig *c) {
        json_key(w, "dnsRoutes");
        json_object_open(w);
        for (size_t i = 0; i < c->n_dns_routes; i++) {
                char servers[NETSTACK_DNS_ROUTE_SERVERS_MAX * ENDPOINT_TEXT_MAX] = "";

                for (size_t k = 0; k < c->dns_routes[i].n_servers; k++) {
                        if (k > 0)
                                strcat(servers, " ");
                        strcat(servers, ENDPOINT_TO_TEXT(&c->dns_routes[i].servers[k]));
                }
                json_key_string(w, c->dns_routes[i].domain, servers);
        }
        json_object_close(w);
}

static void put_policy(JsonWriter *w, const Policy *p) {
        json_key(w, "nat");
        json_object_open(w);
        for (size_t i = 0; i < p->n_nat; i++)
                json_key_string(w, IP_TO_TEXT(&p->nat[i].virtual), IP_TO_TEXT(&p->nat[i].real));
        json_object_close(w);
        json_key(w, "policy");
        json_array_open(w);
        for (size_t i = 0; i < p->n_rules; i++)
                json_string(w, policy_rule_to_text(&p->rules[i], (char[POLICY_RULE_TEXT_MAX]){ 0 }));
        json_array_close(w);
        json_key(w, "gatewayAddresses");
        json_array_open(w);
        for (size_t i = 0; i < p->n_addresses; i++)
                json_string(w, IP_TO_TEXT(&p->addresses[i]));
        json_array_close(w);
}

static void put_zone(JsonWriter *w, const NetworkEntry *entry, const DnsZoneSpec *z) {
        json_object_open(w);
        json_key_string(w, "network", entry->name);
        json_key_string(w, "name", z->name);
        json_key_string(w, "default", z->default_address ?: "");
        json_key_u64(w, "ttlSec", z->ttl);
        json_key(w, "loose");
        json_bool(w, z->loose);
        json_key(w, "records");
        json_array_open(w);
        for (size_t i = 0; i < z->n_records; i++) {
                json_object_open(w);
                json_key_string(w, "name", z->records[i].name);
                json_key_string(w, "type", z->records[i].type);
                json_key_string(w, "value", z->records[i].value);
                json_object_close(w);
        }
        json_array_close(w);
        json_object_close(w);
}

static void put_pairs(JsonWriter *w, const char *key, char *const *pairs) {
        json_key(w, key);
        json_object_open(w);
        for (; pairs && pairs[0]; pairs += 2)
                json_key_string(w, pairs[0], pairs[1]);
        json_object_close(w);
}

static void put_network(JsonWriter *w, Network *n) {
        const NetworkConfig *c = network_config(n);

        json_object_open(w);
        json_key_string(w, "name", c->name);
        json_key_u64(w, "owner", c->owner);
        json_key_string(w, "subnet", c->stack.no_ip4 ? NETWORK_SUBNET_NONE : PREFIX_TO_TEXT(&c->stack.subnet));
        if (!ip_is_null(&c->stack.subnet6.addr))
                json_key_string(w, "subnet6", PREFIX_TO_TEXT(&c->stack.subnet6));
        if (c->stack.nat64.len > 0)
                json_key_string(w, "nat64", PREFIX_TO_TEXT(&c->stack.nat64));
        json_key_u64(w, "mtu", c->stack.mtu);
        json_key_string(w, "domain", c->stack.domain);
        json_key_u64(w, "leaseTimeSec", c->stack.lease_sec);
        json_key(w, "hostLoopback");
        json_bool(w, c->stack.host_loopback);
        json_key(w, "dnsServers");
        json_array_open(w);
        for (size_t i = 0; i < c->n_dns_servers; i++)
                json_string(w, ENDPOINT_TO_TEXT(&c->dns_servers[i]));
        json_array_close(w);
        if (c->http_api)
                json_key_string(w, "httpApi", c->http_api);
        json_key(w, "httpGateway");
        json_bool(w, c->http_gateway != HTTP_GATEWAY_OFF);
        put_dns_routes(w, c);
        put_policy(w, &c->stack.policy);
        manager_put_reflect(w, c->stack.reflect);
        put_pairs(w, "dhcp", c->dhcp);
        put_pairs(w, "outbound", c->outbound);
        put_static_leases(w, n);
        json_object_close(w);
}

static void put_forward(JsonWriter *w, const ManagedForward *f) {
        json_object_open(w);
        json_key_string(w, "network", network_config(f->network)->name);
        json_key_u64(w, "owner", f->owner);
        json_key_string(w, "protocol", manager_forward_protocol(f));
        json_key_string(w, "local", f->local);
        json_key_string(w, "remote", f->remote);
        json_key_string(w, "source", f->config.source == FORWARD_SOURCE_GATEWAY ? "gateway" : "client");
        json_key(w, "noBypass");
        json_bool(w, f->config.no_bypass);
        json_object_close(w);
}

static void put_device(JsonWriter *w, const DeviceEntry *entry) {
        const Device *d = entry->pub.device;
        const char *listen, *connect;

        json_object_open(w);
        json_key_string(w, "name", d->name);
        json_key_string(w, "kind", d->ops->kind);
        json_key_u64(w, "owner", d->owner);
        json_key_string(w, "network", entry->pub.network ? network_config(entry->pub.network)->name : "");
        json_key_string(w, "namespace", entry->namespace ?: "");
        json_key_string(w, "ifname", d->ifname);
        json_key_u64(w, "mtu", d->mtu);
        json_key_u64(w, "queues", d->n_queues);
        if (streq(d->ops->kind, "vhost-net")) /* not one that has become a plain TAP for want of it */
                json_key_u64(w, "vhostQueueSize", entry->vhost_queue_size);
        manager_device_addresses(&entry->pub, &listen, &connect);
        if (listen)
                json_key_string(w, "listen", listen);
        if (connect)
                json_key_string(w, "connect", connect);
        if (d->ifname[0] == 0 && !mac_is_zero(&d->mac))
                json_key_string(w, "mac", MAC_TO_TEXT(&d->mac));
        json_key(w, "isolated");
        json_bool(w, entry->port.isolated);
        json_key(w, "guarded");
        json_bool(w, entry->port.guarded);
        json_key(w, "parallel");
        json_bool(w, entry->port.parallel);
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
        json_key_string(w, "address", IP_TO_TEXT(&l->addr));
        json_key_string(w, "mac", MAC_TO_TEXT(&l->mac));
        json_key_string(w, "clientId", id);
        json_key_string(w, "hostname", l->hostname);
        json_key_u64(w, "ends", end_of_lease(l, n));
        json_object_close(w);
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

/* Each part is a file of its own, so that each is far from what the JSON reader takes even with all tables full. */
typedef struct Document {
        const char *dir;
        char name[NAME_MAX_LEN + sizeof("leases-.json")];
        JsonWriter writer;
} Document;

static void document_open(Document *d, const char *dir, const char *prefix, const char *network) {
        d->dir = dir;
        (void) snprintf(d->name, sizeof(d->name), "%s%s%s.json", prefix, network ? "-" : "", network ?: "");
        json_writer_init(&d->writer, false);
        json_object_open(&d->writer);
        json_key_u64(&d->writer, "version", STATE_VERSION);
        json_key(&d->writer, "items");
        json_array_open(&d->writer);
}

static void document_save(Document *d) {
        _cleanup_free_ char *text = NULL;
        int r;

        json_array_close(&d->writer);
        json_object_close(&d->writer);
        r = json_writer_finish(&d->writer, &text);
        if (r >= 0 && strlen(text) > JSON_TEXT_MAX)
                r = -EFBIG;
        if (r >= 0)
                r = replace_file(d->dir, d->name, text);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot save '%s/%s', a restart will lose what is new: %m", d->dir, d->name);
}

static void save_networks(Manager *m) {
        Document d;

        document_open(&d, m->runtime_dir, "networks", NULL);
        for (NetworkEntry *entry = m->networks; entry; entry = entry->hh.next)
                if (is_runtime(entry->origin))
                        put_network(&d.writer, entry->network);
        document_save(&d);

        document_open(&d, m->runtime_dir, "zones", NULL);
        for (NetworkEntry *entry = m->networks; entry; entry = entry->hh.next)
                for (size_t i = 0; i < entry->n_zones && d.writer.len < JSON_TEXT_MAX - ZONE_TEXT_MAX; i++)
                        if (is_runtime(entry->zones[i].origin))
                                put_zone(&d.writer, entry, &entry->zones[i].spec);
        document_save(&d);
}

static void save_devices(Manager *m) {
        Document d;

        document_open(&d, m->runtime_dir, "devices", NULL);
        for (DeviceEntry *entry = m->devices; entry; entry = entry->hh.next)
                put_device(&d.writer, entry);
        document_save(&d);
}

static void save_forwards(Manager *m) {
        Document d;

        document_open(&d, m->runtime_dir, "forwards", NULL);
        for (ForwardEntry *entry = m->forwards; entry; entry = entry->hh.next)
                if (is_runtime(entry->origin))
                        put_forward(&d.writer, &entry->pub);
        document_save(&d);
}

/* Returns whether there are any. */
static bool save_leases_of(Manager *m, NetworkEntry *entry, bool all) {
        _cleanup_free_ Lease *leases = NULL;
        uint64_t ends = 0; /* a renewal puts an end off, so the sum of all tells of it */
        size_t n_leases;
        bool any = false;
        Document d;

        if (network_list_leases(entry->network, &leases, &n_leases) < 0)
                return false;
        for (size_t i = 0; i < n_leases; i++)
                if (!leases[i].is_static) {
                        ends += leases[i].expires;
                        any = true;
                }
        if (!all && !entry->leases_changed && ends == entry->leases_saved)
                return any;

        document_open(&d, m->state_dir, "leases", entry->name);
        /* Guests choose ids and names, and with the longest a full table would be more than can be read back. */
        for (size_t i = 0; i < n_leases && d.writer.len < JSON_TEXT_MAX - LEASE_TEXT_MAX; i++)
                if (!leases[i].is_static)
                        put_lease(&d.writer, &leases[i], entry->network);
        document_save(&d);
        entry->leases_changed = false;
        entry->leases_saved = ends;
        return any;
}

bool state_save_leases(Manager *m, bool all) {
        bool any = false;

        for (NetworkEntry *entry = m->state_dir ? m->networks : NULL; entry; entry = entry->hh.next)
                any |= save_leases_of(m, entry, all);
        return any;
}

void state_save(Manager *m) {
        if (!m->restored)
                return;
        if (m->runtime_dir) {
                save_networks(m);
                save_devices(m);
                save_forwards(m);
        }
        (void) state_save_leases(m, /* all= */ true);
}

void state_forget_leases(Manager *m, const char *network) {
        _cleanup_free_ char *path = NULL;

        if (m->restored && m->state_dir && asprintf(&path, "%s/leases-%s.json", m->state_dir, network) >= 0)
                (void) unlink(path);
}

/* ---- when ---- */

static void schedule_leases(Manager *m, usec_t delay);

static int on_lease_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Manager *m = userdata;

        if (state_save_leases(m, /* all= */ false))
                schedule_leases(m, RENEWALS_INTERVAL_USEC);
        return 0;
}

/* A time that is set already and sooner stays: so a stream of changes cannot put saving off, nor make it more frequent. */
static void schedule_leases(Manager *m, usec_t delay) {
        usec_t now, due;
        int r;

        r = sd_event_now(m->event, CLOCK_BOOTTIME, &now);
        if (r >= 0 && !m->lease_timer)
                r = sd_event_add_time(m->event, &m->lease_timer, CLOCK_BOOTTIME, now + delay, delay / 2, on_lease_timer, m);
        else if (r >= 0) {
                if (sd_event_source_get_enabled(m->lease_timer, NULL) > 0 && sd_event_source_get_time(m->lease_timer, &due) >= 0 &&
                    due <= now + delay)
                        return;
                r = sd_event_source_set_time(m->lease_timer, now + delay);
                if (r >= 0)
                        r = sd_event_source_set_enabled(m->lease_timer, SD_EVENT_ONESHOT);
        }
        if (r < 0)
                (void) log_warning_errno(r, "Cannot set a timer to save leases, ignoring: %m");
}

static bool take_unsaved(Manager *m, StatePart part) {
        bool unsaved = m->unsaved & (1u << part);

        m->unsaved &= ~(1u << part);
        return unsaved;
}

static void save_changed(Manager *m) {
        if (!m->restored || m->held > 0)
                return;

        if (take_unsaved(m, STATE_NETWORKS) && m->runtime_dir)
                save_networks(m);
        if (take_unsaved(m, STATE_DEVICES) && m->runtime_dir)
                save_devices(m);
        if (take_unsaved(m, STATE_FORWARDS) && m->runtime_dir)
                save_forwards(m);
        if (take_unsaved(m, STATE_LEASES) && m->state_dir)
                schedule_leases(m, LEASES_DELAY_USEC);
}

void state_changed(Manager *m, StatePart part) {
        m->unsaved |= 1u << part;
        save_changed(m);
}

void state_hold(Manager *m) {
        m->held++;
}

void state_release(Manager *m) {
        assert(m->held > 0);
        m->held--;
        save_changed(m);
}
