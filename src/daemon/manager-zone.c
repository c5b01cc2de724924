/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zones of DNS: what is written is kept here, what answers is made of it and handed to the network. Domains with resolvers of their own are
 * read here too.
 */

#include <errno.h>
#include <strings.h>

#include "daemon/manager-private.h"

/* Names of zones are the same with and without the dot at their end. */
static bool names_equal(const char *a, const char *b) {
        size_t n = strlen(a), k = strlen(b);

        n -= n > 0 && a[n - 1] == '.';
        k -= k > 0 && b[k - 1] == '.';
        return n == k && strncasecmp(a, b, n) == 0;
}

static ManagedZone *find_zone(NetworkEntry *entry, const char *name) {
        for (size_t i = 0; i < entry->n_zones; i++)
                if (names_equal(entry->zones[i].spec.name, name))
                        return &entry->zones[i];
        return NULL;
}

static int refuse_zone(const DnsZoneSpec *spec, int r, const char *what, size_t record, Error *e) {
        const DnsRecordSpec *rec = record < spec->n_records ? &spec->records[record] : NULL;

        if (r == -ENOMEM)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        if (r == -E2BIG)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "Zone '%s': more than %d records", ERROR_QUOTE(spec->name), DNS_ZONE_RECORDS_MAX);
        if (!rec)
                return error_set(e, ERROR_INVALID_ARGS, "Zone '%s': %s", ERROR_QUOTE(spec->name), what);
        return error_set(e, ERROR_INVALID_ARGS, "Zone '%s', record '%s %s %s': %s", ERROR_QUOTE(spec->name), ERROR_QUOTE(rec->name),
                         ERROR_QUOTE(rec->type), ERROR_QUOTE(rec->value), what);
}

int manager_check_zone(const DnsZoneSpec *spec, Error *e) {
        _cleanup_(dns_zone_freep) DnsZone *zone = NULL;
        const char *what = "";
        size_t record;
        int r;

        r = dns_zone_new(&zone, spec, &what, &record);
        return r < 0 ? refuse_zone(spec, r, what, record, e) : 0;
}

static ManagedZone *grow(NetworkEntry *entry) {
        ManagedZone *grown = reallocarray(entry->zones, entry->n_zones + 1, sizeof(*grown));

        if (!grown)
                return NULL;
        entry->zones = grown;
        grown[entry->n_zones] = (ManagedZone){};
        return &grown[entry->n_zones];
}

int manager_add_zone(Manager *m, Network *n, Origin origin, const DnsZoneSpec *spec, Error *e) {
        NetworkEntry *entry = manager_network_entry(m, n);
        _cleanup_(dns_zone_freep) DnsZone *zone = NULL;
        const char *what = "";
        DnsZoneSpec copy = {};
        ManagedZone *place;
        size_t record;
        int r;

        r = dns_zone_new(&zone, spec, &what, &record);
        if (r < 0)
                return refuse_zone(spec, r, what, record, e);
        place = find_zone(entry, spec->name);
        if (!place && entry->n_zones == DNS_ZONES_MAX)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "Zone '%s': network '%s' has %d zones already, no more can be put up",
                                 ERROR_QUOTE(spec->name), entry->name, DNS_ZONES_MAX);
        r = dns_zone_spec_copy(&copy, spec);
        if (r >= 0 && !place) {
                place = grow(entry);
                r = place ? 0 : -ENOMEM;
        }
        if (r >= 0)
                r = network_set_zone(n, zone);
        if (r < 0) {
                dns_zone_spec_deinit(&copy);
                return error_set_errno(e, r, "Cannot put up zone '%s'", ERROR_QUOTE(spec->name));
        }
        (void) TAKE_PTR(zone); /* the network's */

        if (place == entry->zones + entry->n_zones)
                entry->n_zones++;
        dns_zone_spec_deinit(&place->spec);
        *place = (ManagedZone){ copy, origin };
        state_changed(m, STATE_NETWORKS);
        return 0;
}

int manager_set_zone(Manager *m, Network *n, const DnsZoneSpec *spec, Error *e) {
        return manager_add_zone(m, n, ORIGIN_CALL, spec, e);
}

int manager_remove_zone(Manager *m, Network *n, const char *name, Error *e) {
        NetworkEntry *entry = manager_network_entry(m, n);
        ManagedZone *z = find_zone(entry, name);

        if (!z)
                return error_set(e, ERROR_NO_SUCH_ZONE, "Network '%s' has no zone '%s'", entry->name, ERROR_QUOTE(name));
        (void) network_remove_zone(n, z->spec.name);
        dns_zone_spec_deinit(&z->spec);
        entry->n_zones--;
        memmove(z, z + 1, (size_t) (entry->zones + entry->n_zones - z) * sizeof(*z));
        state_changed(m, STATE_NETWORKS);
        return 0;
}

const DnsZoneSpec *manager_nth_zone(Manager *m, Network *n, size_t i) {
        const NetworkEntry *entry = manager_network_entry(m, n);

        return i < entry->n_zones ? &entry->zones[i].spec : NULL;
}

const DnsZoneSpec *manager_zone(Manager *m, Network *n, const char *name) {
        const ManagedZone *z = find_zone(manager_network_entry(m, n), name);

        return z ? &z->spec : NULL;
}

void manager_free_zones(NetworkEntry *entry) {
        for (size_t i = 0; i < entry->n_zones; i++)
                dns_zone_spec_deinit(&entry->zones[i].spec);
        free(TAKE_PTR(entry->zones));
        entry->n_zones = 0;
}

static bool same_text(const char *a, const char *b) {
        return a == b || (a && b && streq(a, b));
}

bool zone_spec_equal(const DnsZoneSpec *a, const DnsZoneSpec *b) {
        if (!streq(a->name, b->name) || !same_text(a->default_address, b->default_address) || a->ttl != b->ttl || a->loose != b->loose ||
            a->n_records != b->n_records)
                return false;
        for (size_t i = 0; i < a->n_records; i++)
                if (!streq(a->records[i].name, b->records[i].name) || !streq(a->records[i].type, b->records[i].type) ||
                    !streq(a->records[i].value, b->records[i].value))
                        return false;
        return true;
}

/* ---- domains with resolvers of their own ---- */

int dns_route_parse(const char *domain, const char *servers, NetstackDnsRoute *ret, Error *e) {
        _cleanup_free_ char *list = strdup(servers);
        char *save = NULL;

        if (!list)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        *ret = (NetstackDnsRoute){};
        if (!dns_name_is_valid(domain) || strlen(domain) >= sizeof(ret->domain))
                return error_set(e, ERROR_INVALID_ARGS, "DNS route '%s' is no domain name", ERROR_QUOTE(domain));
        memcpy(ret->domain, domain, strlen(domain) + 1);

        for (char *p = strtok_r(list, " ,", &save); p; p = strtok_r(NULL, " ,", &save)) {
                Endpoint s = { .port = 53 };

                if (ret->n_servers == NETSTACK_DNS_ROUTE_SERVERS_MAX)
                        return error_set(e, ERROR_INVALID_ARGS, "DNS route '%s' has more than %d servers", ERROR_QUOTE(domain),
                                         NETSTACK_DNS_ROUTE_SERVERS_MAX);
                if ((ip_parse(p, &s.addr) < 0 && endpoint_parse(p, &s) < 0) || s.port == 0 ||
                    (ip_classify(&s.addr) != IP_CLASS_UNICAST && ip_classify(&s.addr) != IP_CLASS_LOOPBACK))
                        return error_set(e, ERROR_INVALID_ARGS, "DNS route '%s': '%s' is no address of a server, with or without a port",
                                         ERROR_QUOTE(domain), ERROR_QUOTE(p));
                ret->servers[ret->n_servers++] = s;
        }
        if (ret->n_servers == 0)
                return error_set(e, ERROR_INVALID_ARGS, "DNS route '%s' has no server", ERROR_QUOTE(domain));
        return 0;
}
