/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The texts that say where a forward listens and where it leads. Reads leases to find guests; opens nothing.
 */

#include <errno.h>
#include <strings.h>

#include "basic/parse.h"
#include "daemon/manager-private.h"

static const IpAddr loopback4 = { .b = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } };
static const IpAddr loopback6 = { .b = { [15] = 1 } };
static const IpAddr any4 = { .b = { [10] = 0xff, [11] = 0xff } };
static const IpAddr any6 = {};

#define SPEC_TEXT_MAX 512

/* Cuts "-LAST" off what ends in PORT-LAST. False: there is a dash that cannot be read so. @ret_last: 0 without one. */
static bool cut_range(const char *text, char head[static SPEC_TEXT_MAX], uint16_t *ret_last) {
        const char *colon = strrchr(text, ':'), *dash = strchr(colon ?: text, '-');
        size_t len = dash ? (size_t) (dash - text) : strlen(text);

        *ret_last = 0;
        if (len >= SPEC_TEXT_MAX || (dash && parse_port(dash + 1, ret_last) < 0))
                return false;
        memcpy(head, text, len);
        head[len] = 0;
        return true;
}

static int range_count(const char *text, uint16_t first, uint16_t last, uint16_t *ret, Error *e) {
        if (last != 0 && last < first)
                return error_set(e, ERROR_INVALID_ARGS, "'%s': the range ends before it begins", ERROR_QUOTE(text));
        if (last != 0 && last - first >= MANAGER_FORWARD_PORTS_MAX)
                return error_set(e, ERROR_INVALID_ARGS, "'%s': a forward may have at most %d ports", ERROR_QUOTE(text), MANAGER_FORWARD_PORTS_MAX);
        *ret = last != 0 ? (uint16_t) (last - first + 1) : 1;
        return 0;
}

int local_spec_parse(const char *text, LocalSpec *ret, Error *e) {
        LocalSpec s = {};
        char head[SPEC_TEXT_MAX] = "";
        uint16_t port, last;
        IpClass class;
        int r;

        if (!cut_range(text, head, &last))
                head[0] = 0;
        if (parse_port(head, &port) >= 0)
                s = (LocalSpec){ { { loopback4, port }, { loopback6, port } }, 2, 1, true };
        else if (head[0] == ':' && parse_port(head + 1, &port) >= 0)
                s = (LocalSpec){ { { any4, port }, { any6, port } }, 2, 1, true };
        else if (endpoint_parse(head, &s.endpoints[0]) >= 0 && s.endpoints[0].port != 0)
                s.n = 1;
        else
                return error_set(e, ERROR_INVALID_ARGS,
                                 "'%s' is no place to listen: PORT (loopback), ADDRESS:PORT, [ADDRESS]:PORT or :PORT (all addresses), "
                                 "with a port from 1 to 65535 or a range of them, FIRST-LAST",
                                 ERROR_QUOTE(text));
        r = range_count(text, s.endpoints[0].port, last, &s.n_ports, e);
        if (r < 0)
                return r;

        class = ip_classify(&s.endpoints[0].addr);
        if (class == IP_CLASS_MULTICAST || class == IP_CLASS_RESERVED)
                return error_set(e, ERROR_INVALID_ARGS, "'%s' is no place to listen: that is no address of a host", ERROR_QUOTE(text));
        if (class == IP_CLASS_LINK_LOCAL && !ip_is_v4(&s.endpoints[0].addr))
                return error_set(e, ERROR_NOT_SUPPORTED, "'%s': link-local IPv6 addresses need an interface, which cannot be given here",
                                 ERROR_QUOTE(text));
        *ret = s;
        return 0;
}

/* ---- remotes ---- */

/* Appends what a guest is called best to a list that ends in "..." when there is no more room. */
static void list_guest(char *buf, size_t size, const Lease *l) {
        size_t len = strlen(buf);
        int n;

        n = snprintf(buf + len, size - len, "%s%s%s%s%s", len > 0 ? ", " : "", IP_TO_TEXT(&l->addr), l->hostname[0] != 0 ? " (" : "",
                     l->hostname, l->hostname[0] != 0 ? ")" : "");
        if (n >= (int) (size - len) && size - len > 4)
                memcpy(buf + len, "...", 4);
}

/* A guest whose lease is static may never have come; as the netstack does, it counts only where there is no other. */
static int check_only_guest(Network *n, const Lease *leases, size_t n_leases, uint16_t port, Error *e) {
        const char *name = network_config(n)->name;
        size_t n_dynamic = 0, count;
        char list[256] = "";

        for (size_t i = 0; i < n_leases; i++)
                n_dynamic += !leases[i].is_static;
        count = n_dynamic > 0 ? n_dynamic : n_leases;
        if (count == 1)
                return 0;
        if (count == 0) {
                IpAddr first = prefix_nth(&network_config(n)->stack.subnet, 2);
                return error_set(e, ERROR_NO_SUCH_GUEST,
                                 "Network '%s' has no guest yet: name the address it will have, as in %s:%u, or start it first", name,
                                 IP_TO_TEXT(&first), port);
        }
        for (size_t i = 0; i < n_leases && strlen(list) < 200; i++)
                list_guest(list, sizeof(list), &leases[i]);
        return error_set(e, ERROR_NO_SUCH_GUEST, "Network '%s' has %zu guests, name the one that is meant: %s", name, count, list);
}

/* Cuts LABEL.DOMAIN to LABEL. False: it is neither that nor a single label, so no guest can be called so. */
static bool cut_to_label(char *host, const char *domain) {
        char *dot = strchr(host, '.');

        if (dot && (!domain || strcasecmp(dot + 1, domain) != 0))
                return false;
        if (dot)
                *dot = 0;
        return strlen(host) <= DHCP_HOSTNAME_MAX;
}

static int check_guest(Network *n, const char *host, const Lease *leases, size_t n_leases, Error *e) {
        const NetworkConfig *c = network_config(n);
        char list[256] = "";

        for (size_t i = 0; i < n_leases; i++)
                if (strcasecmp(leases[i].hostname, host) == 0)
                        return 0;
        for (size_t i = 0; i < n_leases && strlen(list) < 200; i++)
                list_guest(list, sizeof(list), &leases[i]);
        return error_set(e, ERROR_NO_SUCH_GUEST, "Network '%s' has no guest called '%s'%s%s; name an address in %s", c->name,
                         ERROR_QUOTE(host), n_leases > 0 ? ", there are: " : "", list, PREFIX_TO_TEXT(&c->stack.subnet));
}

/* Can a guest of @n have this address? */
static int check_remote_addr(Network *n, const char *text, const IpAddr *a, Error *e) {
        const NetstackConfig *s = &network_config(n)->stack;
        IpAddr zero = prefix_nth(&s->subnet, 0), ones = prefix_broadcast(&s->subnet);
        bool inside = prefix_contains(&s->subnet, a) || (!ip_is_null(&s->subnet6.addr) && prefix_contains(&s->subnet6, a));

        if (!inside)
                return error_set(e, ERROR_INVALID_ARGS, "'%s' is not in network '%s', which is %s", ERROR_QUOTE(text),
                                 network_config(n)->name, PREFIX_TO_TEXT(ip_is_v4(a) ? &s->subnet : &s->subnet6));
        if (ip_equal(a, &s->gateway) || ip_equal(a, &s->host) || ip_equal(a, &s->gateway6) || ip_equal(a, &s->host6) ||
            ip_equal(a, &zero) || ip_equal(a, &ones))
                return error_set(e, ERROR_INVALID_ARGS, "'%s' is no guest's: it is network '%s' itself", ERROR_QUOTE(text),
                                 network_config(n)->name);
        return 0;
}

/* Splits "HOST:PORT" or "HOST"; @port as it was when there is none. */
static int split_host(const char *text, char host[static 256], uint16_t *port) {
        const char *colon = strrchr(text, ':');
        size_t len = colon ? (size_t) (colon - text) : strlen(text);

        if (len >= 256 || (colon && parse_port(colon + 1, port) < 0))
                return -EINVAL;
        memcpy(host, text, len);
        host[len] = 0;
        return dns_name_is_valid(host) && strspn(host, "0123456789.") != len ? 0 : -EINVAL;
}

static int parse_guest(Network *n, const char *text, uint16_t port, bool must_exist, ForwardConfig *ret, Error *e) {
        _cleanup_free_ Lease *leases = NULL;
        Endpoint remote = { .port = port };
        char host[256] = "";
        size_t n_leases;
        int r;

        r = network_list_leases(n, &leases, &n_leases);
        if (r < 0)
                return error_set_errno(e, r, "Cannot ask network '%s' for its guests", network_config(n)->name);

        if (text[0] == 0 || (text[0] == ':' && parse_port(text + 1, &remote.port) >= 0))
                r = must_exist && remote.port != 0 ? check_only_guest(n, leases, n_leases, remote.port, e) : 0; /* without: refused behind us */
        else if (ip_parse(text, &remote.addr) >= 0 || (endpoint_parse(text, &remote) >= 0 && remote.port != 0))
                r = check_remote_addr(n, text, &remote.addr, e);
        else if (split_host(text, host, &remote.port) >= 0) {
                if (!cut_to_label(host, network_config(n)->stack.domain))
                        r = error_set(e, ERROR_NO_SUCH_GUEST, "'%s' is no name of a guest in network '%s', whose domain is '%s'",
                                      ERROR_QUOTE(text), network_config(n)->name, ERROR_QUOTE(network_config(n)->stack.domain));
                else
                        r = must_exist ? check_guest(n, host, leases, n_leases, e) : 0;
        } else
                r = error_set(e, ERROR_INVALID_ARGS,
                              "'%s' is no guest: ADDRESS:PORT, ADDRESS, NAME:PORT, NAME, or :PORT for the network's only guest",
                              ERROR_QUOTE(text));
        if (r < 0)
                return r;
        ret->remote = remote;
        memcpy(ret->hostname, host, strlen(host) + 1);
        return 0;
}

/* A range at the end has to be as long as the local one; a single port is where it begins. */
int remote_spec_parse(Network *n, const char *text, uint16_t port, uint16_t n_ports, bool must_exist, ForwardConfig *ret, Error *e) {
        char head[SPEC_TEXT_MAX] = "";
        uint16_t last = 0, count = 1;
        const char *colon = strrchr(text, ':');
        int r;

        /* a dash may stand in a name: only behind a colon it makes a range */
        bool range = colon && strchr(colon, '-') && cut_range(text, head, &last);
        r = parse_guest(n, range ? head : text, port, must_exist, ret, e);
        if (r >= 0 && range)
                r = range_count(text, ret->remote.port, last, &count, e);
        if (r < 0)
                return r;
        if (range && count != n_ports)
                return error_set(e, ERROR_INVALID_ARGS, "'%s' are %u ports, and %u are forwarded to them", ERROR_QUOTE(text), count, n_ports);
        if (ret->remote.port + n_ports - 1 > UINT16_MAX)
                return error_set(e, ERROR_INVALID_ARGS, "'%s': %u ports from there on end beyond 65535", ERROR_QUOTE(text), n_ports);
        return 0;
}
