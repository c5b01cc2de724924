/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Configuration files: vnetd.json and networks.d/NAME.json. Strict: an unknown key, a wrong type or a value that cannot be is a
 * problem "FILE:LINE: KEY: expected ...". Reads and checks form; whether networks fit together is the manager's to say. Never
 * changes anything, never logs.
 */

#include "basic/json.h"
#include "daemon/error.h"
#include "netstack/dns-zone.h"

#define CONFIG_FILES_MAX 256
#define CONFIG_FORWARDS_MAX 256
#define CONFIG_LIST_MAX 1024 /* static leases, servers ... in one list */
#define CONFIG_PROBLEMS_MAX 64
#define CONFIG_LEASE_SEC_MIN 60
#define CONFIG_LEASE_SEC_MAX (365 * 24 * 3600)

typedef struct ConfigForward {
        char *protocol, *local, *remote, *source; /* (owned) source nullable */
        int bypass;
        unsigned line;
} ConfigForward;

typedef struct ConfigZone {
        DnsZoneSpec spec; /* (owned) */
        unsigned line;
} ConfigZone;

typedef struct ConfigRecord { /* of a zone, while it is read */
        char *name, *type, *value; /* (owned) */
} ConfigRecord;

typedef struct ConfigNetwork {
        char *name, *path; /* (owned) */
        char *text;        /* (owned) the file as read: the same text is the same network */
        bool broken;       /* it has problems: the rest is not to be used */
        char *subnet, *subnet6, *nat64, *domain; /* (owned, nullable: unset) */
        uint32_t mtu;                    /* 0: unset */
        char **dns_servers;              /* (owned, nullable) NULL-terminated */
        char **static_leases;            /* (owned, nullable) pairs: address, MAC; NULL-terminated */
        int host_loopback;               /* -1: unset */
        uint32_t lease_sec;              /* 0: unset */
        char **nat;                      /* (owned, nullable) pairs: virtual address, real address; NULL-terminated */
        char **policy, **gateway_addresses, **reflect; /* (owned, nullable) NULL-terminated */
        char *http_api;                  /* (owned, nullable: unset) */
        int http_gateway;
        char **dhcp, **outbound;         /* (owned, nullable) pairs: manager-options.c; NULL-terminated */
        char **dns_routes;               /* (owned, nullable) pairs: domain, servers; NULL-terminated */
        ConfigForward *forwards;         /* (owned) */
        size_t n_forwards;
        ConfigZone *zones;               /* (owned) */
        size_t n_zones;
} ConfigNetwork;

typedef struct Config {
        int log_level;     /* -1: unset */
        int host_loopback; /* -1: unset */
        bool main_broken;  /* vnetd.json has problems: the two above are unset */
        bool incomplete;   /* a directory is there and cannot be read: what is not here may still be configured */
        ConfigNetwork *networks; /* (owned) by name */
        size_t n_networks;
        char **problems; /* (owned) one sentence each, at most CONFIG_PROBLEMS_MAX */
        size_t n_problems;
} Config;

/* Reads all files below @dirs (NULL-terminated, the most important first): a file hides those of the same name in later ones, and an
 * empty one (or a link to /dev/null) hides them and says nothing. Problems are in the result; -ENOMEM is the only error. */
int config_load(Config **ret, const char *const *dirs);
Config *config_free(Config *c); /* returns NULL */
DEFINE_CLEANUP(Config *, config_free);

/* One file's text, problems into @c. 0 or -ENOMEM. @path is for messages; @name comes from the file's name. */
int config_parse_main(Config *c, const char *path, const char *text, size_t len);
int config_parse_network(Config *c, const char *name, const char *path, const char *text, size_t len);

/* Adds a sentence to the problems; beyond CONFIG_PROBLEMS_MAX it is lost. 0 or -ENOMEM. */
int config_problem(Config *c, const char *format, ...) _printf_(2, 3);

/* The keys there are: config-keys.c. The manual has each. */
typedef struct ConfigKey {
        const char *section;  /* "vnetd.json", "networks.d", "forwards", "zones", "records" */
        const char *name;
        const char *expected; /* "a list of addresses" */
        const char *meaning;
        int (*read)(const JsonDoc *doc, JsonVal v, void *field);
        size_t offset; /* of the field in Config, ConfigNetwork, ConfigForward ... */
        bool required;
} ConfigKey;
const ConfigKey *config_keys(size_t *ret_n);
