/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of the keys configuration files may have: what may stand where, how it is read, and what it means. The reader (config.c), its
 * messages and the test of the manual all go by it. Judges one value at a time; knows of no file and prints nothing.
 */

#include <errno.h>

#include "basic/addr.h"
#include "basic/log.h"
#include "basic/parse.h"
#include "daemon/config.h"
#include "device/device.h"
#include "device/sock-address.h"
#include "netstack/netstack.h"

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

/* A text; @check: is it what the table promises? */
static int read_checked(const JsonDoc *doc, JsonVal v, void *field, bool (*check)(const char *text)) {
        const char *text;

        if (json_get_string(doc, v, &text) < 0 || !check(text))
                return -EINVAL;
        return read_text(doc, v, field);
}

static bool is_prefix(const char *text, bool v4) {
        IpPrefix p;

        return prefix_parse(text, &p) >= 0 && ip_is_v4(&p.addr) == v4;
}

static bool is_subnet(const char *text) {
        return streq(text, "none") || is_prefix(text, /* v4= */ true);
}

static int read_subnet(const JsonDoc *doc, JsonVal v, void *field) {
        return read_checked(doc, v, field, is_subnet);
}

static bool is_subnet6(const char *text) {
        return is_prefix(text, /* v4= */ false);
}

static int read_subnet6(const JsonDoc *doc, JsonVal v, void *field) {
        return read_checked(doc, v, field, is_subnet6);
}

static bool is_nat64(const char *text) {
        return streq(text, "well-known") || is_prefix(text, /* v4= */ false);
}

static int read_nat64(const JsonDoc *doc, JsonVal v, void *field) {
        return read_checked(doc, v, field, is_nat64);
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
        return read_checked(doc, v, field, dns_name_is_valid);
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

static bool is_protocol(const char *text) {
        return streq(text, "tcp") || streq(text, "udp") || streq(text, "unix");
}

static int read_protocol(const JsonDoc *doc, JsonVal v, void *field) {
        return read_checked(doc, v, field, is_protocol);
}

static bool is_source(const char *text) {
        return streq(text, "client") || streq(text, "gateway");
}

static int read_source(const JsonDoc *doc, JsonVal v, void *field) {
        return read_checked(doc, v, field, is_source);
}

static bool is_http_api(const char *text) {
        const char *what;
        SockAddress a;

        return sock_address_parse(text, &a, &what) >= 0 && a.family == AF_UNIX;
}

static int read_http_api(const JsonDoc *doc, JsonVal v, void *field) {
        return read_checked(doc, v, field, is_http_api);
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

static bool is_server(const char *text) {
        Endpoint e;

        return ip_parse(text, &e.addr) >= 0 || endpoint_parse(text, &e) >= 0;
}

/* None at all would be no resolver, and does not mean the host's. */
static int read_dns_servers(const JsonDoc *doc, JsonVal v, void *field) {
        return json_size(doc, v) < 1 ? -EINVAL : read_texts(doc, v, field, CONFIG_LIST_MAX, is_server);
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
