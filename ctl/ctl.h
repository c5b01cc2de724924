/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What every part of vnetctl shares: exit codes, the options table, the verb table, the running command.
 * Knows the bus and basic/, never the daemon's code.
 */

#include <systemd/sd-bus.h>

#include "basic/cleanup.h"
#include "basic/macro.h"

/* What the program exits with; verbs return one of these, and `run` the status of its command. */
typedef enum CtlExit {
        CTL_OK = 0,
        CTL_FAILED = 1,
        CTL_USAGE = 2,
        CTL_NO_OBJECT = 4, /* no such network, device, forward, guest or namespace */
} CtlExit;

typedef enum Opt {
        /* for every command */
        OPT_HELP,
        OPT_VERSION,
        OPT_SYSTEM,
        OPT_USER,
        OPT_BUS_ADDRESS,
        OPT_JSON,
        OPT_NO_LEGEND,
        OPT_NO_PAGER,
        OPT_NO_ASK_PASSWORD,
        _OPT_GLOBAL_END,
        /* for some */
        OPT_NETWORK = _OPT_GLOBAL_END,
        OPT_SUBNET,
        OPT_SUBNET6,
        OPT_NAT64,
        OPT_DOMAIN,
        OPT_DNS,
        OPT_STATIC_LEASE,
        OPT_POLICY,
        OPT_NAT,
        OPT_GATEWAY_ADDRESS,
        OPT_REFLECT,
        OPT_DNS_ROUTE,
        OPT_DHCP,
        OPT_OUTBOUND,
        OPT_LEASE_TIME,
        OPT_HOST_LOOPBACK,
        OPT_MTU,
        OPT_NAME,
        OPT_IFNAME,
        OPT_MAC,
        OPT_NETNS,
        OPT_VHOST,
        OPT_LISTEN,
        OPT_CONNECT,
        OPT_ISOLATED,
        OPT_GUARDED,
        OPT_DEVICE,
        OPT_OWNER,
        OPT_PERSISTENT,
        OPT_QUEUES,
        OPT_PARALLEL,
        OPT_OFFLOADS,
        OPT_SOURCE,
        OPT_NO_BYPASS,
        OPT_PUBLISH,
        OPT_NO_CONFIGURE,
        OPT_ZERO,
        OPT_DEFAULT,
        OPT_TTL,
        OPT_GSO,
        OPT_GSO_SIZE,
        OPT_CSUM,
        OPT_HDR_LEN,
        OPT_FROM_GUEST,
        OPT_WRITE,
        OPT_SNAPLEN,
        OPT_UDP,
        _OPT_MAX,
} Opt;

#define OPT_REPEAT_MAX 32 /* how often one option may be given */
#define OPT_BIT(o) (UINT64_C(1) << (o))
#define OPTS_GLOBAL (OPT_BIT(_OPT_GLOBAL_END) - 1)

typedef struct OptInfo {
        const char *name;    /* long name */
        char letter;         /* 0: none */
        const char *metavar; /* NULL: takes no value */
        bool repeats;
        const char *text;
} OptInfo;

extern const OptInfo opt_table[_OPT_MAX];

typedef enum JsonMode { JSON_OFF, JSON_SHORT, JSON_PRETTY } JsonMode;

typedef struct Verb Verb;

/* One running command. */
typedef struct Ctl {
        const Verb *verb;
        const char *values[_OPT_MAX][OPT_REPEAT_MAX]; /* (borrowed: argv) */
        unsigned n_values[_OPT_MAX];
        JsonMode json;
        sd_bus *bus;           /* (owned, nullable) set by client_connect() */
        char bus_label[128];   /* for messages: "the system bus" */
} Ctl;

struct Verb {
        const char *name;  /* "status", "network list" */
        const char *args;  /* for the help: "NAME", "" */
        int min, max;      /* positional arguments; max -1: any number */
        uint64_t options;  /* OPT_BIT()s beside the global ones */
        bool stops;        /* options end at the first argument: the rest is somebody else's command line */
        int (*run)(Ctl *c, int argc, char **argv); /* the positional arguments; returns what to exit with */
        const char *text;
};

static inline bool opt_set(const Ctl *c, Opt o) {
        return c->n_values[o] > 0;
}
/* The value given last, or NULL. */
static inline const char *opt_value(const Ctl *c, Opt o) {
        return c->n_values[o] ? c->values[o][c->n_values[o] - 1] : NULL;
}

/* ctl-options.c */
/* Reads the command line: fills @c, and @ret_argc, @ret_argv with the positional arguments of the verb
 * (borrowed from @argv). Return: -1 to go on, or what to exit with: help or version was printed, or a usage
 * error. */
int options_parse(Ctl *c, int argc, char **argv, int *ret_argc, char ***ret_argv);

/* vnetctl.c */
const Verb *verb_nth(size_t i); /* NULL ends */

/* ctl.c: one line on stderr. fail() returns CTL_FAILED; fail_errno() too and adds ": " and what the errno
 * (of either sign) means; fail_usage() returns CTL_USAGE. */
int fail(const char *format, ...) _printf_(1, 2);
int fail_errno(int error, const char *format, ...) _printf_(2, 3);
int fail_usage(const char *format, ...) _printf_(1, 2);
