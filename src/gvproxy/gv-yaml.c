/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gvproxy's YAML file, by libyaml. Keys that gvproxy has and vnetd does not need are passed over, as are keys nobody knows: gvproxy does so, and
 * files written for it have to work. What the command line has set goes before the file, but for the subnet and its addresses.
 */

#include <errno.h>
#include <stdio.h>
#include <yaml.h>

#include "gvproxy/gv-config.h"

#define YAML_NODES_MAX 16384

static yaml_node_t *get(yaml_document_t *d, yaml_node_t *map, const char *key) {
        if (!map || map->type != YAML_MAPPING_NODE)
                return NULL;
        for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
                yaml_node_t *k = yaml_document_get_node(d, p->key);

                if (k && k->type == YAML_SCALAR_NODE && strcmp((char *) k->data.scalar.value, key) == 0)
                        return yaml_document_get_node(d, p->value);
        }
        return NULL;
}

static const char *text(yaml_node_t *n) {
        return n && n->type == YAML_SCALAR_NODE ? (const char *) n->data.scalar.value : NULL;
}

static int take(yaml_document_t *d, yaml_node_t *map, const char *key, char **field) {
        const char *value = text(get(d, map, key));

        return value && !*field ? gv_set(field, value) : 0;
}

static int take_list(yaml_document_t *d, yaml_node_t *list, GvList *ret) {
        int r = 0;

        if (!list || list->type != YAML_SEQUENCE_NODE)
                return 0;
        for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top && r >= 0; i++)
                r = gv_list_add(ret, text(yaml_document_get_node(d, *i)) ?: "");
        return r;
}

static int take_pairs(yaml_document_t *d, yaml_node_t *map, GvList *ret) {
        int r = 0;

        if (!map || map->type != YAML_MAPPING_NODE)
                return 0;
        for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top && r >= 0; p++) {
                r = gv_list_add(ret, text(yaml_document_get_node(d, p->key)) ?: "");
                if (r >= 0)
                        r = gv_list_add(ret, text(yaml_document_get_node(d, p->value)) ?: "");
        }
        return r;
}

static int take_record(yaml_document_t *d, yaml_node_t *record, DnsZoneSpec *z) {
        const char *name = text(get(d, record, "name")), *ip = text(get(d, record, "ip")), *regexp = text(get(d, record, "regexp"));
        char pattern[DNS_PATTERN_MAX + 8];

        if (regexp && regexp[0] && snprintf(pattern, sizeof(pattern), "/%s/", regexp) >= (int) sizeof(pattern))
                return -E2BIG;
        return dns_zone_spec_add(z, regexp && regexp[0] ? pattern : name ?: "", ip && strchr(ip, ':') ? "AAAA" : "A", ip ?: "");
}

static int take_zone(GvConfig *c, yaml_document_t *d, yaml_node_t *zone) {
        DnsZoneSpec *z = &c->zones[c->n_zones];
        const char *fallback = text(get(d, zone, "defaultIP")), *name = text(get(d, zone, "name"));
        yaml_node_t *records = get(d, zone, "records");
        int r = 0;

        if (c->n_zones == DNS_ZONES_MAX || !name)
                return -E2BIG;
        c->n_zones++;
        *z = (DnsZoneSpec){ .name = strdup(name), .loose = true, .default_address = fallback && fallback[0] ? strdup(fallback) : NULL };
        if (!z->name)
                return -ENOMEM;
        if (records && records->type == YAML_SEQUENCE_NODE)
                for (yaml_node_item_t *i = records->data.sequence.items.start; i < records->data.sequence.items.top && r >= 0; i++)
                        r = take_record(d, yaml_document_get_node(d, *i), z);
        return r;
}

static int take_stack(GvConfig *c, yaml_document_t *d, yaml_node_t *stack) {
        static const char *const keys[] = { "subnet", "gatewayIP", "deviceIP", "hostIP" };
        char **const fields[] = { &c->subnet, &c->gateway, &c->device, &c->host };
        const char *mtu = text(get(d, stack, "mtu")), *flag;
        yaml_node_t *zones = get(d, stack, "dns");
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(keys) && r >= 0; i++) /* here the file goes before the command line */
                if (text(get(d, stack, keys[i])))
                        r = gv_set(fields[i], text(get(d, stack, keys[i])));
        if (mtu && c->mtu == 0)
                c->mtu = (unsigned) strtoul(mtu, NULL, 10);
        flag = text(get(d, stack, "debug"));
        c->debug = c->debug || (flag && streq(flag, "true"));
        flag = text(get(d, stack, "ec2MetadataAccess"));
        c->ec2 = c->ec2 || (flag && streq(flag, "true"));
        if (r >= 0)
                r = take(d, stack, "gatewayMacAddress", &c->gateway_mac);
        if (r >= 0)
                r = take_pairs(d, get(d, stack, "nat"), &c->nat);
        if (r >= 0)
                r = take_list(d, get(d, stack, "dnsSearchDomains"), &c->search);
        if (r >= 0)
                r = take_pairs(d, get(d, stack, "vpnKitUUIDMacAddresses"), &c->uuids);
        if (r >= 0)
                r = take(d, stack, "capture-file", &c->pcap);
        if (r >= 0)
                r = take_pairs(d, get(d, stack, "dhcpStaticLeases"), &c->leases);
        if (r >= 0)
                r = take_pairs(d, get(d, stack, "forwards"), &c->forwards);
        if (r >= 0)
                r = take_list(d, get(d, stack, "gatewayVirtualIPs"), &c->virtual_ips);
        if (zones && zones->type == YAML_SEQUENCE_NODE)
                for (yaml_node_item_t *i = zones->data.sequence.items.start; i < zones->data.sequence.items.top && r >= 0; i++)
                        r = take_zone(c, d, yaml_document_get_node(d, *i));
        return r;
}

static int take_ssh_forwards(GvConfig *c, yaml_document_t *d, yaml_node_t *list) {
        int r = 0;

        if (!list || list->type != YAML_SEQUENCE_NODE)
                return 0;
        for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top && r >= 0; i++) {
                yaml_node_t *f = yaml_document_get_node(d, *i);

                r = gv_list_add(&c->sock, text(get(d, f, "socket")) ?: "");
                if (r >= 0)
                        r = gv_list_add(&c->dest, text(get(d, f, "dest")) ?: "");
                if (r >= 0)
                        r = gv_list_add(&c->user, text(get(d, f, "user")) ?: "");
                if (r >= 0)
                        r = gv_list_add(&c->identity, text(get(d, f, "identity")) ?: "");
        }
        return r;
}

static int take_root(GvConfig *c, yaml_document_t *d, yaml_node_t *root) {
        static const char *const keys[] = { "log-level", "log-file", "pid-file", "services", "notification" };
        char **const fields[] = { &c->log_level, &c->log_file, &c->pid_file, &c->services, &c->notification };
        static const char *const names[] = { "vpnkit", "qemu", "bess", "vfkit", "stdio" };
        char **const sockets[] = { &c->vpnkit, &c->qemu, &c->bess, &c->vfkit, &c->stdio };
        const char *ec2 = text(get(d, root, "ec2-metadata-access"));
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(keys) && r >= 0; i++)
                r = take(d, root, keys[i], fields[i]);
        for (size_t i = 0; i < ELEMENTSOF(names) && r >= 0; i++)
                r = take(d, get(d, root, "interfaces"), names[i], sockets[i]);
        c->ec2 = c->ec2 || (ec2 && streq(ec2, "true"));
        if (r >= 0 && c->listen.n == 0)
                r = take_list(d, get(d, root, "listen"), &c->listen);
        if (r >= 0)
                r = take_ssh_forwards(c, d, get(d, root, "forwards"));
        return r < 0 ? r : take_stack(c, d, get(d, root, "stack"));
}

int gv_yaml_read(GvConfig *c, const char *input, size_t len, char why[static 512]) {
        yaml_parser_t parser;
        yaml_document_t d;
        int r = 0;

        if (!yaml_parser_initialize(&parser))
                return -ENOMEM;
        yaml_parser_set_input_string(&parser, (const unsigned char *) input, len);
        if (!yaml_parser_load(&parser, &d)) {
                (void) snprintf(why, 512, "yaml: line %zu: %s", parser.problem_mark.line + 1, parser.problem ?: "cannot be read");
                yaml_parser_delete(&parser);
                return -EINVAL;
        }
        if (d.nodes.top - d.nodes.start > YAML_NODES_MAX)
                r = -E2BIG;
        else if (yaml_document_get_root_node(&d))
                r = take_root(c, &d, yaml_document_get_root_node(&d));
        yaml_document_delete(&d);
        yaml_parser_delete(&parser);
        if (r < 0)
                (void) snprintf(why, 512, "yaml: %s", r == -ENOMEM ? "out of memory" : "a list or an entry is too long, or a zone has no name");
        return r;
}
