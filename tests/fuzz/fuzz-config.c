/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Configuration files and resolv.conf: any bytes. What is taken is what could be used, what is refused says so in printable text, and
 * both the same way twice.
 */

#include <errno.h>
#include <stdlib.h>

#include "basic/addr.h"
#include "basic/parse.h"
#include "daemon/config.h"
#include "daemon/resolv.h"
#include "device/device.h"
#include "fuzz.h"

static Config *parse(const char *text, size_t len) {
        Config *c = calloc(1, sizeof(*c));

        fuzz_check(c);
        *c = (Config){ .log_level = -1, .host_loopback = -1 };
        fuzz_check(config_parse_main(c, "/vnetd.json", text, len) == 0);
        fuzz_check(config_parse_network(c, "net", "/net.json", text, len) == 0);
        fuzz_check(c->n_networks == 1);
        return c;
}

static void check_problems(const Config *c) {
        fuzz_check(c->n_problems <= CONFIG_PROBLEMS_MAX);
        fuzz_check(c->n_problems > 0 || (!c->main_broken && !c->networks[0].broken));
        for (size_t i = 0; i < c->n_problems; i++) {
                fuzz_check(c->problems[i][0] == '/');
                for (const char *p = c->problems[i]; *p != 0; p++)
                        fuzz_check(*p >= ' ' && *p <= '~');
        }
        if (c->main_broken)
                fuzz_check(c->log_level == -1 && c->host_loopback == -1);
}

static void check_network(const ConfigNetwork *n) {
        Endpoint e;
        IpPrefix p;
        MacAddr m;

        if (n->subnet)
                fuzz_check(prefix_parse(n->subnet, &p) == 0 && ip_is_v4(&p.addr));
        if (n->subnet6)
                fuzz_check(prefix_parse(n->subnet6, &p) == 0 && !ip_is_v4(&p.addr));
        if (n->domain)
                fuzz_check(dns_name_is_valid(n->domain));
        fuzz_check(n->mtu == 0 || (n->mtu >= DEVICE_MTU_MIN && n->mtu <= DEVICE_MTU_MAX));
        fuzz_check(n->lease_sec == 0 || (n->lease_sec >= CONFIG_LEASE_SEC_MIN && n->lease_sec <= CONFIG_LEASE_SEC_MAX));
        for (char **s = n->dns_servers; s && *s; s++)
                fuzz_check(ip_parse(*s, &e.addr) == 0 || endpoint_parse(*s, &e) == 0);
        for (char **s = n->static_leases; s && *s; s += 2)
                fuzz_check(ip_parse(s[0], &e.addr) == 0 && mac_parse(s[1], &m) == 0);
        fuzz_check(n->n_forwards <= CONFIG_FORWARDS_MAX);
        for (size_t i = 0; i < n->n_forwards; i++)
                fuzz_check(n->forwards[i].protocol && n->forwards[i].local && n->forwards[i].remote && n->forwards[i].line > 0);
}

static void fuzz_config(const char *text, size_t len) {
        _cleanup_(config_freep) Config *a = parse(text, len), *b = parse(text, len);

        check_problems(a);
        if (!a->networks[0].broken)
                check_network(&a->networks[0]);
        fuzz_check(a->n_problems == b->n_problems && a->networks[0].broken == b->networks[0].broken);
        for (size_t i = 0; i < a->n_problems; i++)
                fuzz_check(streq(a->problems[i], b->problems[i]));
}

static void fuzz_resolv(const char *text, size_t len) {
        Resolv a, b;

        fuzz_check(resolv_parse(text, len, &a) == 0 && resolv_parse(text, len, &b) == 0);
        fuzz_check(a.n_servers <= NETSTACK_RESOLVERS_MAX && a.n_search <= NETSTACK_SEARCH_MAX);
        fuzz_check(resolv_equal(&a, &b));
        for (size_t i = 0; i < a.n_servers; i++)
                fuzz_check(a.servers[i].port == 53 && ip_classify(&a.servers[i].addr) != IP_CLASS_UNSPECIFIED);
        for (size_t i = 0; i < a.n_search; i++)
                fuzz_check(dns_name_is_valid(a.search[i]));
        resolv_deinit(&a);
        resolv_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *text = size > 0 ? (const char *) data : "";

        fuzz_config(text, size);
        fuzz_resolv(text, size);
        return 0;
}
