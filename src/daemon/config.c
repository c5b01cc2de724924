/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The form of configuration files (config-load.c finds and reads them). One table of keys says what may stand where, how it is read, and what it means; the reader, the messages and the
 * test of the manual all go by it.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/addr.h"
#include "basic/log.h"
#include "basic/parse.h"
#include "daemon/config.h"
#include "device/device.h"
#include "device/sock-address.h"
#include "netstack/netstack.h"

/* ---- problems ---- */

int config_problem(Config *c, const char *format, ...) {
        char **grown, *text;
        va_list ap;
        int r;

        if (c->n_problems == CONFIG_PROBLEMS_MAX)
                return 0;
        grown = reallocarray(c->problems, c->n_problems + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        c->problems = grown;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;
        c->problems[c->n_problems++] = text;
        return 0;
}

/* ---- values: 0, -EINVAL when it is not what the table promises, -ENOMEM ---- */

static int read_text(const JsonDoc *doc, JsonVal v, void *field) {
        const char *text;
        char **ret = field;
        int r;

        r = json_get_string(doc, v, &text);
        if (r < 0)
                return r;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

static int read_bool(const JsonDoc *doc, JsonVal v, void *field) {
        int *ret = field, r;
        bool b;

        r = json_get_bool(doc, v, &b);
        if (r < 0)
                return r;
        *ret = b;
        return 0;
}

static int read_log_level(const JsonDoc *doc, JsonVal v, void *field) {
        const char *text;
        int *ret = field, r;

        r = json_get_string(doc, v, &text);
        if (r < 0)
                return r;
        r = log_level_from_name(text);
        if (r < 0)
                return -EINVAL;
        *ret = r;
        return 0;
}

static int read_subnet_of(const JsonDoc *doc, JsonVal v, void *field, bool v4) {
        const char *text;
        IpPrefix p;

        if (json_get_string(doc, v, &text) < 0 || prefix_parse(text, &p) < 0 || ip_is_v4(&p.addr) != v4)
                return -EINVAL;
        return read_text(doc, v, field);
}

static int read_subnet(const JsonDoc *doc, JsonVal v, void *field) {
        const char *text;

        if (json_get_string(doc, v, &text) >= 0 && streq(text, "none"))
                return read_text(doc, v, field);
        return read_subnet_of(doc, v, field, true);
}

static int read_subnet6(const JsonDoc *doc, JsonVal v, void *field) {
        return read_subnet_of(doc, v, field, false);
}

static int read_nat64(const JsonDoc *doc, JsonVal v, void *field) {
        const char *text;

        if (json_get_string(doc, v, &text) >= 0 && streq(text, "well-known"))
                return read_text(doc, v, field);
        return read_subnet_of(doc, v, field, false);
}

static int read_mtu(const JsonDoc *doc, JsonVal v, void *field) {
        uint32_t *ret = field;
        uint64_t n;
        int r;

        r = json_get_u64(doc, v, DEVICE_MTU_MIN, DEVICE_MTU_MAX, &n);
        if (r < 0)
                return r;
        *ret = (uint32_t) n;
        return 0;
}

static int read_domain(const JsonDoc *doc, JsonVal v, void *field) {
        const char *text;

        if (json_get_string(doc, v, &text) < 0 || !dns_name_is_valid(text))
                return -EINVAL;
        return read_text(doc, v, field);
}

static int read_lease_time(const JsonDoc *doc, JsonVal v, void *field) {
        uint32_t *ret = field;
        const char *text;
        usec_t t;

        if (json_get_string(doc, v, &text) < 0 || parse_usec(text, &t) < 0)
                return -EINVAL;
        t /= USEC_PER_SEC;
        if (t < CONFIG_LEASE_SEC_MIN || t > CONFIG_LEASE_SEC_MAX)
                return -EINVAL;
        *ret = (uint32_t) t;
        return 0;
}

static int read_protocol(const JsonDoc *doc, JsonVal v, void *field) {
        const char *text;

        if (json_get_string(doc, v, &text) < 0 || (!streq(text, "tcp") && !streq(text, "udp") && !streq(text, "unix")))
                return -EINVAL;
        return read_text(doc, v, field);
}

static int read_source(const JsonDoc *doc, JsonVal v, void *field) {
        const char *text;

        if (json_get_string(doc, v, &text) < 0 || (!streq(text, "client") && !streq(text, "gateway")))
                return -EINVAL;
        return read_text(doc, v, field);
}

static int read_dns_servers(const JsonDoc *doc, JsonVal v, void *field) {
        char ***ret = field, **list;
        size_t n = json_size(doc, v);

        if (json_type(doc, v) != JSON_ARRAY || n < 1 || n > CONFIG_LIST_MAX)
                return -EINVAL;
        list = *ret = calloc(n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                JsonVal item = json_item(doc, v, i);
                const char *text;
                Endpoint e;
                int r;

                if (json_get_string(doc, item, &text) < 0 || (ip_parse(text, &e.addr) < 0 && endpoint_parse(text, &e) < 0))
                        return -EINVAL;
                r = read_text(doc, item, &list[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* An object of texts as pairs; @check: is a pair what the table promises? */
static int read_pairs(const JsonDoc *doc, JsonVal v, void *field, size_t max, bool (*check)(const char *key, const char *value)) {
        char ***ret = field, **list;
        size_t n = json_size(doc, v);

        if (json_type(doc, v) != JSON_OBJECT || n > max)
                return -EINVAL;
        list = *ret = calloc(2 * n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                const char *key, *value;
                JsonVal item = json_member(doc, v, i, &key);
                int r;

                if (json_get_string(doc, item, &value) < 0 || !check(key, value))
                        return -EINVAL;
                list[2 * i] = strdup(key);
                if (!list[2 * i])
                        return -ENOMEM;
                r = read_text(doc, item, &list[2 * i + 1]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_lease(const char *addr, const char *mac) {
        IpAddr a;
        MacAddr m;

        return ip_parse(addr, &a) >= 0 && ip_is_v4(&a) && mac_parse(mac, &m) >= 0;
}

static int read_static_leases(const JsonDoc *doc, JsonVal v, void *field) {
        return read_pairs(doc, v, field, CONFIG_LIST_MAX, is_lease);
}

static bool is_nat(const char *virtual, const char *real) {
        IpAddr a, b;

        return ip_parse(virtual, &a) >= 0 && ip_parse(real, &b) >= 0;
}

static int read_nat(const JsonDoc *doc, JsonVal v, void *field) {
        return read_pairs(doc, v, field, POLICY_NAT_MAX, is_nat);
}

static bool is_dhcp(const char *key, const char *value) {
        return streq(key, "range") || streq(key, "ntp") || streq(key, "captivePortal") || streq(key, "search");
}

static int read_dhcp(const JsonDoc *doc, JsonVal v, void *field) {
        return read_pairs(doc, v, field, CONFIG_LIST_MAX, is_dhcp);
}

static bool is_outbound(const char *key, const char *value) {
        return streq(key, "source") || streq(key, "source6") || streq(key, "interface");
}

static int read_outbound(const JsonDoc *doc, JsonVal v, void *field) {
        return read_pairs(doc, v, field, CONFIG_LIST_MAX, is_outbound);
}

/* A list of texts; @check: is one what the table promises? */
static int read_texts(const JsonDoc *doc, JsonVal v, void *field, size_t max, bool (*check)(const char *text)) {
        char ***ret = field, **list;
        size_t n = json_size(doc, v);

        if (json_type(doc, v) != JSON_ARRAY || n > max)
                return -EINVAL;
        list = *ret = calloc(n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const char *text;
                int r;

                if (json_get_string(doc, json_item(doc, v, i), &text) < 0 || !check(text))
                        return -EINVAL;
                r = read_text(doc, json_item(doc, v, i), &list[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_rule(const char *text) {
        PolicyRule r;

        return policy_rule_parse(text, &r) >= 0;
}

static int read_policy(const JsonDoc *doc, JsonVal v, void *field) {
        return read_texts(doc, v, field, POLICY_RULES_MAX, is_rule);
}

static bool is_reflected(const char *text) {
        return netstack_reflect_from_name(text) != 0;
}

static int read_reflect(const JsonDoc *doc, JsonVal v, void *field) {
        return read_texts(doc, v, field, NETSTACK_REFLECT_MAX, is_reflected);
}

static bool is_address(const char *text) {
        IpAddr a;

        return ip_parse(text, &a) >= 0;
}

static int read_addresses(const JsonDoc *doc, JsonVal v, void *field) {
        return read_texts(doc, v, field, POLICY_ADDRESSES_MAX, is_address);
}

static bool is_dns_route(const char *domain, const char *servers) {
        return dns_name_is_valid(domain) && servers[0] != 0;
}

static int read_dns_routes(const JsonDoc *doc, JsonVal v, void *field) {
        return read_pairs(doc, v, field, NETSTACK_DNS_ROUTES_MAX, is_dns_route);
}

static int read_ttl(const JsonDoc *doc, JsonVal v, void *field) {
        uint32_t *ret = field;
        const char *text;
        usec_t t;

        if (json_get_string(doc, v, &text) < 0 || parse_usec(text, &t) < 0 || t < USEC_PER_SEC || t > DNS_ZONE_TTL_MAX_SEC * USEC_PER_SEC)
                return -EINVAL;
        *ret = (uint32_t) (t / USEC_PER_SEC);
        return 0;
}

static int read_http_api(const JsonDoc *doc, JsonVal v, void *field) {
        const char *text, *what;
        SockAddress a;

        if (json_get_string(doc, v, &text) < 0 || sock_address_parse(text, &a, &what) < 0 || a.family != AF_UNIX)
                return -EINVAL;
        return read_text(doc, v, field);
}

/* ---- the table ---- */

#define MAIN(key, field, fn, expected_text, meaning_text)                                                      \
        { "vnetd.json", key, expected_text, meaning_text, fn, offsetof(Config, field), false }
#define NETWORK(key, field, fn, expected_text, meaning_text)                                                   \
        { "networks.d", key, expected_text, meaning_text, fn, offsetof(ConfigNetwork, field), false }
#define FORWARD(key, field, fn, must, expected_text, meaning_text)                                             \
        { "forwards", key, expected_text, meaning_text, fn, offsetof(ConfigForward, field), must }
#define ZONE(key, field, fn, must, expected_text, meaning_text)                                                \
        { "zones", key, expected_text, meaning_text, fn, offsetof(ConfigZone, spec.field), must }
#define RECORD(key, field, fn, must, expected_text, meaning_text)                                              \
        { "records", key, expected_text, meaning_text, fn, offsetof(ConfigRecord, field), must }

static const ConfigKey keys[] = {
        MAIN("logLevel", log_level, read_log_level, "one of \"emerg\" ... \"err\", \"warning\", \"notice\", \"info\", \"debug\"",
             "what is logged; --log-level= on the command line goes before it"),
        MAIN("hostLoopback", host_loopback, read_bool, "true or false",
             "whether the host address of networks that do not say leads to the loopback of the host"),

        NETWORK("subnet", subnet, read_subnet, "an IPv4 subnet such as \"192.168.127.0/24\", or \"none\"",
                "addresses of the network; the gateway is the first, the host the last; none: IPv6 alone"),
        NETWORK("subnet6", subnet6, read_subnet6, "an IPv6 prefix such as \"fd00:1:2:3::/64\"", "IPv6 addresses of the network"),
        NETWORK("nat64", nat64, read_nat64, "an IPv6 prefix of 96 bits, or \"well-known\"",
                "the prefix by which guests of IPv6 reach IPv4 addresses"),
        NETWORK("mtu", mtu, read_mtu, "a number from 576 to 65520", "the largest MTU offered to guests"),
        NETWORK("domain", domain, read_domain, "a domain name such as \"vnet.internal\"",
                "the domain guests' names are in, and their search domain"),
        NETWORK("dnsServers", dns_servers, read_dns_servers, "a list of addresses, each with or without a port",
                "whom DNS queries are relayed to, instead of the resolvers of the host"),
        NETWORK("dnsRoutes", dns_routes, read_dns_routes,
                "an object of domains with the addresses of their servers each, such as {\"corp.example\": \"10.0.0.53\"}",
                "domains whose names are asked of servers of their own"),
        NETWORK("nat", nat, read_nat, "an object of addresses of the subnet with the address meant each",
                "addresses of the network that lead to addresses of the host's world"),
        NETWORK("dhcp", dhcp, read_dhcp, "an object of texts for \"range\", \"ntp\", \"captivePortal\" and \"search\"",
                "what DHCP gives away, and tells beside the usual"),
        NETWORK("outbound", outbound, read_outbound, "an object of texts for \"source\", \"source6\" and \"interface\"",
                "the address and interface of the host that connections of guests leave from"),
        NETWORK("gatewayAddresses", gateway_addresses, read_addresses, "a list of addresses of the subnet",
                "further addresses of the gateway"),
        NETWORK("reflect", reflect, read_reflect, "a list of \"mdns\" and \"ssdp\"",
                "multicast that is reflected between guests and the link of the host"),
        NETWORK("policy", policy, read_policy, "a list of rules such as \"deny private\" or \"allow tcp host 8080\"",
                "what guests may reach: the first rule that fits decides"),
        NETWORK("hostLoopback", host_loopback, read_bool, "true or false",
                "whether the host address leads to the loopback of the host"),
        NETWORK("staticLeases", static_leases, read_static_leases,
                "an object of IPv4 addresses with a MAC address each, such as {\"192.168.127.10\": \"52:54:00:00:00:10\"}",
                "addresses kept for guests by their MAC address"),
        NETWORK("leaseTime", lease_sec, read_lease_time, "a duration from \"60s\" to \"365d\"", "how long DHCP leases last"),
        NETWORK("httpApi", http_api, read_http_api, "a place for a Unix socket such as \"unix:///run/vnetd/default.http\"",
                "where the network's HTTP API is served on the host"),
        NETWORK("httpGateway", http_gateway, read_bool, "true or false", "whether guests may read of the HTTP API at port 80 of the gateway"),
        { "networks.d", "forwards", "a list of objects", "ports of the host that lead to guests", NULL, 0, false },
        { "networks.d", "zones", "a list of objects", "domains that the gateway itself answers for", NULL, 0, false },

        FORWARD("protocol", protocol, read_protocol, false, "\"tcp\", \"udp\" or \"unix\"", "of the forward; tcp when it does not say"),
        FORWARD("local", local, read_text, true, "a text such as \"6443\" or \"127.0.0.1:6443\"",
                "where the host listens: PORT (loopback), ADDRESS:PORT, or :PORT (all addresses)"),
        FORWARD("remote", remote, read_text, false, "a text such as \"192.168.127.2:6443\"",
                "where it leads: ADDRESS, the host name of a guest, or nothing for the only guest, each with :PORT or the same port"),
        FORWARD("source", source, read_source, false, "\"client\" or \"gateway\"",
                "whose address the guest sees: the client's where it can be routed back, or the gateway's"),
        FORWARD("bypass", bypass, read_bool, false, "true or false",
                "whether clients on this host may be led to a namespace from socket to socket, past its interface"),

        ZONE("name", name, read_domain, true, "a domain name such as \"lab.test\"", "the domain"),
        ZONE("default", default_address, read_text, false, "an address", "of all names below the domain that have no record"),
        ZONE("ttl", ttl, read_ttl, false, "a duration from \"1s\" to \"7d\"", "how long guests may keep the answers"),
        { "zones", "records", "a list of objects", "what is known of its names", NULL, 0, false },

        RECORD("name", name, read_text, true, "a text such as \"www\"",
               "the name below the domain, \"@\" for the domain itself, or \"/PATTERN/\", a regular expression for names"),
        RECORD("type", type, read_text, true, "\"A\", \"AAAA\", \"CNAME\", \"MX\", \"TXT\" or \"SRV\"", "of the record"),
        RECORD("value", value, read_text, true, "a text such as \"10.0.0.1\"", "of the record, as in a zone file; of TXT the text itself"),
};

const ConfigKey *config_keys(size_t *ret_n) {
        *ret_n = ELEMENTSOF(keys);
        return keys;
}

static const ConfigKey *find_key(const char *section, const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (streq(keys[i].section, section) && streq(keys[i].name, name))
                        return &keys[i];
        return NULL;
}

/* What stands there instead, for the end of a message. */
static const char *describe_value(const JsonDoc *doc, JsonVal v, char buf[static 80]) {
        const char *text;

        if (json_get_string(doc, v, &text) < 0)
                return json_type_to_name(json_type(doc, v));
        (void) snprintf(buf, 80, "\"%s\"", ERROR_QUOTE(text));
        return buf;
}

typedef struct Reader {
        Config *config; /* (borrowed) */
        const JsonDoc *doc; /* (borrowed) */
        const char *path; /* (borrowed) */
} Reader;

static int unknown_key(const Reader *rd, const char *section, const char *name, JsonVal v) {
        char known[256] = "";
        size_t len = 0;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (streq(keys[i].section, section) && len < sizeof(known))
                        len += (size_t) snprintf(known + len, sizeof(known) - len, "%s%s", len > 0 ? ", " : "", keys[i].name);
        return config_problem(rd->config, "%s:%u: unknown key '%s'; there are: %s", rd->path, json_line(rd->doc, v), ERROR_QUOTE(name),
                       known);
}

static int wrong_value(const Reader *rd, const ConfigKey *key, JsonVal v) {
        return config_problem(rd->config, "%s:%u: %s: expected %s, not %s", rd->path, json_line(rd->doc, v), key->name, key->expected,
                       describe_value(rd->doc, v, (char[80]){ 0 }));
}

static int read_list(const Reader *rd, const ConfigKey *key, JsonVal list, void *base);

/**
 * read_section() - read an object's keys into a struct, by the table
 * @rd:         where problems go
 * @object:     the JSON object
 * @section:    of the table
 * @base:       the struct the offsets of the section are of
 *
 * Goes on after a problem, so that all are told at once; the struct then holds what was good.
 *
 * Return: 0; -ENOMEM.
 */
static int read_section(const Reader *rd, JsonVal object, const char *section, void *base) {
        int r;

        if (json_type(rd->doc, object) != JSON_OBJECT)
                return config_problem(rd->config, "%s:%u: expected an object, not %s", rd->path, json_line(rd->doc, object),
                               json_type_to_name(json_type(rd->doc, object)));

        for (size_t i = 0; i < json_size(rd->doc, object); i++) {
                const char *name;
                JsonVal v = json_member(rd->doc, object, i, &name);
                const ConfigKey *key = find_key(section, name);

                if (!key)
                        r = unknown_key(rd, section, name, v);
                else if (!key->read)
                        r = read_list(rd, key, v, base);
                else
                        r = key->read(rd->doc, v, (char *) base + key->offset);
                if (r == -EINVAL)
                        r = wrong_value(rd, key, v);
                if (r < 0)
                        return r;
        }

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (keys[i].required && streq(keys[i].section, section) &&
                    json_get(rd->doc, object, keys[i].name) == JSON_NONE) {
                        r = config_problem(rd->config, "%s:%u: %s is missing", rd->path, json_line(rd->doc, object), keys[i].name);
                        if (r < 0)
                                return r;
                }
        return 0;
}

static int default_text(char **field, const char *text) {
        if (!*field)
                *field = strdup(text);
        return *field ? 0 : -ENOMEM;
}

static int read_forwards(const Reader *rd, JsonVal list, size_t n_items, ConfigNetwork *n) {
        int r;

        n->forwards = calloc(n_items + 1, sizeof(*n->forwards));
        if (!n->forwards)
                return -ENOMEM;
        for (; n->n_forwards < n_items;) {
                JsonVal item = json_item(rd->doc, list, n->n_forwards);
                ConfigForward *f = &n->forwards[n->n_forwards++];

                f->line = json_line(rd->doc, item);
                f->bypass = true;
                r = read_section(rd, item, "forwards", f);
                if (r >= 0)
                        r = default_text(&f->protocol, "tcp");
                if (r >= 0)
                        r = default_text(&f->remote, "");
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_zones(const Reader *rd, JsonVal list, size_t n_items, ConfigNetwork *n) {
        n->zones = calloc(n_items + 1, sizeof(*n->zones));
        if (!n->zones)
                return -ENOMEM;
        while (n->n_zones < n_items) {
                JsonVal item = json_item(rd->doc, list, n->n_zones);
                ConfigZone *z = &n->zones[n->n_zones++];
                int r;

                z->line = json_line(rd->doc, item);
                r = read_section(rd, item, "zones", z);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_records(const Reader *rd, JsonVal list, size_t n_items, ConfigZone *z) {
        int r = 0;

        for (size_t i = 0; i < n_items && r >= 0; i++) {
                ConfigRecord record = {};

                r = read_section(rd, json_item(rd->doc, list, i), "records", &record);
                if (r >= 0 && record.name && record.type && record.value)
                        r = dns_zone_spec_add(&z->spec, record.name, record.type, record.value);
                free(record.name);
                free(record.type);
                free(record.value);
        }
        return r;
}

/* The value of a key that has objects of a section of its own. */
static int read_list(const Reader *rd, const ConfigKey *key, JsonVal list, void *base) {
        size_t n_items = json_size(rd->doc, list),
               max = streq(key->name, "forwards") ? CONFIG_FORWARDS_MAX : streq(key->name, "zones") ? DNS_ZONES_MAX : DNS_ZONE_RECORDS_MAX;

        if (json_type(rd->doc, list) != JSON_ARRAY)
                return -EINVAL;
        if (n_items > max)
                return config_problem(rd->config, "%s:%u: %s: at most %zu are allowed, not %zu", rd->path, json_line(rd->doc, list), key->name, max,
                               n_items);
        if (streq(key->name, "forwards"))
                return read_forwards(rd, list, n_items, base);
        if (streq(key->name, "zones"))
                return read_zones(rd, list, n_items, base);
        return read_records(rd, list, n_items, base);
}

/* ---- texts of files ---- */

static int parse_document(Config *c, const char *path, const char *text, size_t len, JsonDoc **ret) {
        const char *what = NULL;
        unsigned line = 0;
        int r;

        r = json_parse(ret, text, len, &line, &what);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                *ret = NULL;
                return config_problem(c, "%s:%u: %s", path, MAX(line, 1U), what ?: "this is not JSON");
        }
        return 0;
}

int config_parse_main(Config *c, const char *path, const char *text, size_t len) {
        _cleanup_(json_freep) JsonDoc *doc = NULL;
        size_t before = c->n_problems;
        int r;

        r = parse_document(c, path, text, len, &doc);
        if (r < 0)
                return r;
        if (doc) {
                r = read_section(&(Reader){ c, doc, path }, json_root(doc), "vnetd.json", c);
                if (r < 0)
                        return r;
        }
        if (c->n_problems > before) {
                c->main_broken = true;
                c->log_level = c->host_loopback = -1;
        }
        return 0;
}

static void free_list(char **list) {
        for (size_t i = 0; list && list[i]; i++)
                free(list[i]);
        free(list);
}

static void network_deinit(ConfigNetwork *n) {
        for (size_t i = 0; i < n->n_forwards; i++) {
                free(n->forwards[i].protocol);
                free(n->forwards[i].local);
                free(n->forwards[i].remote);
                free(n->forwards[i].source);
        }
        free(n->forwards);
        for (size_t i = 0; i < n->n_zones; i++)
                dns_zone_spec_deinit(&n->zones[i].spec);
        free(n->zones);
        free_list(n->dns_servers);
        free_list(n->dns_routes);
        free_list(n->nat);
        free_list(n->policy);
        free_list(n->gateway_addresses);
        free_list(n->reflect);
        free_list(n->dhcp);
        free_list(n->outbound);
        /* A half-read list of pairs may have a hole only at its end: the value of the last pair. */
        free_list(n->static_leases);
        free(n->subnet);
        free(n->subnet6);
        free(n->nat64);
        free(n->domain);
        free(n->http_api);
        free(n->name);
        free(n->path);
        free(n->text);
}

int config_parse_network(Config *c, const char *name, const char *path, const char *text, size_t len) {
        _cleanup_(json_freep) JsonDoc *doc = NULL;
        size_t before = c->n_problems;
        ConfigNetwork *grown, *n;
        int r;

        grown = reallocarray(c->networks, c->n_networks + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        c->networks = grown;
        n = &c->networks[c->n_networks++];
        *n = (ConfigNetwork){ .host_loopback = -1 };
        n->name = strdup(name);
        n->path = strdup(path);
        n->text = strndup(text, len);
        if (!n->name || !n->path || !n->text)
                return -ENOMEM;

        r = parse_document(c, path, text, len, &doc);
        if (r >= 0 && doc)
                r = read_section(&(Reader){ c, doc, path }, json_root(doc), "networks.d", n);
        if (r < 0)
                return r;
        /* With the list of problems full there may be more: broken is the safe side. */
        n->broken = c->n_problems > before || c->n_problems == CONFIG_PROBLEMS_MAX;
        return 0;
}

Config *config_free(Config *c) {
        if (!c)
                return NULL;
        for (size_t i = 0; i < c->n_networks; i++)
                network_deinit(&c->networks[i]);
        for (size_t i = 0; i < c->n_problems; i++)
                free(c->problems[i]);
        free(c->networks);
        free(c->problems);
        free(c);
        return NULL;
}
