/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* gvproxy's command line and YAML file, read into one structure: its flags, its defaults, its refusals. Opens nothing but the file. */

#include "netstack/dns-zone.h"

#define GV_LIST_MAX 64

typedef struct GvList {
        char *items[2 * GV_LIST_MAX + 2]; /* (owned) NULL-terminated; of pairs: key, value */
        size_t n;
} GvList;

typedef struct GvConfig {
        bool version, help, debug, ec2, gateway_all, config_mode;
        char *config, *services, *pcap, *subnet, *gateway, *device, *host, *vpnkit, *qemu, *bess, *vfkit, *stdio; /* (owned, nullable) */
        char *pid_file, *log_file, *log_level, *notification, *gateway_mac;
        GvList listen, sock, dest, user, identity;
        GvList nat, virtual_ips, leases, forwards, search, uuids; /* of the file's stack */
        DnsZoneSpec zones[DNS_ZONES_MAX]; /* (owned) */
        size_t n_zones;
        unsigned mtu;
        int ssh_port;
} GvConfig;

extern const char gv_help[];

void gv_config_deinit(GvConfig *c);
/* Command line and file, with defaults filled in and checked. 0; -EINVAL and a line in @why. */
int gv_config_read(GvConfig *c, int argc, char **argv, char why[static 512]);
int gv_yaml_read(GvConfig *c, const char *text, size_t len, char why[static 512]); /* one file's text: what is set already stays */
int gv_set(char **field, const char *value); /* replaces; -ENOMEM */
int gv_list_add(GvList *l, const char *value); /* -E2BIG, -ENOMEM */
