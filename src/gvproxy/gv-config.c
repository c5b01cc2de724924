/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Flags as Go reads them: -flag VALUE, -flag=VALUE, one dash or two; the last one counts unless it may be repeated. */

#include "gvproxy/gv-config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "basic/parse.h"

#define FILE_MAX (1024 * 1024)

int gv_set(char **field, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

int gv_list_add(GvList *l, const char *value) {
        if (l->n == 2 * GV_LIST_MAX)
                return -E2BIG;
        l->items[l->n] = strdup(value);
        return l->items[l->n] ? (int) (l->n++, 0) : -ENOMEM;
}

static void list_deinit(GvList *l) {
        while (l->n > 0)
                free(l->items[--l->n]);
}

void gv_config_deinit(GvConfig *c) {
        char **const texts[] = { &c->config, &c->services, &c->pcap, &c->subnet, &c->gateway, &c->device, &c->host, &c->vpnkit, &c->qemu, &c->bess,
                                 &c->vfkit, &c->stdio, &c->pid_file, &c->log_file, &c->log_level, &c->notification, &c->gateway_mac };
        GvList *const lists[] = { &c->listen, &c->sock, &c->dest, &c->user, &c->identity, &c->nat, &c->virtual_ips, &c->leases, &c->forwards, &c->search, &c->uuids };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                free(TAKE_PTR(*texts[i]));
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                list_deinit(lists[i]);
        for (size_t i = 0; i < c->n_zones; i++)
                dns_zone_spec_deinit(&c->zones[i]);
        c->n_zones = 0;
}

typedef struct Flag {
        const char *name;
        char **text;   /* one of these is set */
        GvList *list;
        bool *on;
        int *number;
} Flag;

static int read_flag(const Flag *f, const char *value, char why[static 512]) {
        char *end;
        int r = 0;

        if (f->on) {
                bool yes = !value || streq(value, "true") || streq(value, "1") || streq(value, "t");

                if (!yes && !streq(value, "false") && !streq(value, "0") && !streq(value, "f")) {
                        (void) snprintf(why, 512, "invalid boolean value \"%.100s\" for -%s", value, f->name);
                        return -EINVAL;
                }
                *f->on = yes;
        } else if (f->number) {
                long n = strtol(value, &end, 10);

                if (!*value || *end || n < -1 || n > 65535) {
                        (void) snprintf(why, 512, "invalid value \"%.100s\" for flag -%s: parse error", value, f->name);
                        return -EINVAL;
                }
                *f->number = (int) n;
        } else
                r = f->list ? gv_list_add(f->list, value) : gv_set(f->text, value);
        return r;
}

static int read_flags(GvConfig *c, int argc, char **argv, char why[static 512]) {
        int mtu = 0;
        const Flag flags[] = {
                { "config", .text = &c->config }, { "listen", .list = &c->listen }, { "services", .text = &c->services }, { "debug", .on = &c->debug },
                { "pcap", .text = &c->pcap }, { "mtu", .number = &mtu }, { "ssh-port", .number = &c->ssh_port }, { "subnet", .text = &c->subnet },
                { "gatewayIP", .text = &c->gateway }, { "deviceIP", .text = &c->device }, { "hostIP", .text = &c->host },
                { "listen-vpnkit", .text = &c->vpnkit }, { "listen-qemu", .text = &c->qemu }, { "listen-bess", .text = &c->bess },
                { "listen-vfkit", .text = &c->vfkit }, { "listen-stdio", .text = &c->stdio }, { "forward-sock", .list = &c->sock },
                { "forward-dest", .list = &c->dest }, { "forward-user", .list = &c->user }, { "forward-identity", .list = &c->identity },
                { "pid-file", .text = &c->pid_file }, { "log-file", .text = &c->log_file }, { "ec2-metadata-access", .on = &c->ec2 },
                { "gateway-expose-all-protocols", .on = &c->gateway_all },
                { "notification", .text = &c->notification }, { "version", .on = &c->version }, { "h", .on = &c->help }, { "help", .on = &c->help },
        };

        for (int i = 1; i < argc; i++) {
                const char *name = argv[i], *value;
                const Flag *f = NULL;
                size_t len;
                int r;

                if (name[0] != '-' || name[1] == 0 || streq(name, "--")) /* Go stops at the first that is no flag */
                        break;
                name += 1 + (name[1] == '-');
                len = strcspn(name, "=");
                value = name[len] == '=' ? name + len + 1 : NULL;
                for (size_t k = 0; k < ELEMENTSOF(flags) && !f; k++)
                        if (strlen(flags[k].name) == len && strncmp(flags[k].name, name, len) == 0)
                                f = &flags[k];
                if (!f) {
                        (void) snprintf(why, 512, "flag provided but not defined: -%.100s", name);
                        return -EINVAL;
                }
                if (!value && !f->on) {
                        value = i + 1 < argc ? argv[++i] : NULL;
                        if (!value) {
                                (void) snprintf(why, 512, "flag needs an argument: -%s", f->name);
                                return -EINVAL;
                        }
                }
                r = read_flag(f, value, why);
                if (r < 0)
                        return r;
        }
        c->mtu = mtu > 0 ? (unsigned) mtu : 0;
        return 0;
}

/* ---- checks ---- */

static int refuse(char why[static 512], const char *format, ...) _printf_(2, 3);
static int refuse(char why[static 512], const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(why, 512, format, ap);
        va_end(ap);
        return -EINVAL;
}

static bool begins(const char *text, const char *with) {
        return strncmp(text, with, strlen(with)) == 0;
}

static int check_sockets(const GvConfig *c, char why[static 512]) {
        if (c->qemu && !begins(c->qemu, "unix://") && !begins(c->qemu, "tcp://"))
                return refuse(why, "invalid value for qemu listen address '%.200s'", c->qemu);
        if (c->bess && !begins(c->bess, "unixpacket://"))
                return refuse(why, "%s", "bess listen address must be unixpacket:// address");
        if (c->vfkit && !begins(c->vfkit, "unixgram://"))
                return refuse(why, "%s", "vfkit listen address must be unixgram:// address");
        if (c->notification && !c->config_mode && !begins(c->notification, "unix://"))
                return refuse(why, "%s", "notification listen address must be unix:// address");
        if (c->vpnkit && c->qemu)
                return refuse(why, "%s", "cannot use qemu and vpnkit protocol at the same time");
        if (c->vpnkit && c->bess)
                return refuse(why, "%s", "cannot use bess and vpnkit protocol at the same time");
        if (c->qemu && c->bess)
                return refuse(why, "%s", "cannot use qemu and bess protocol at the same time");
        for (size_t i = 0; i < c->sock.n; i++)
                if (begins(c->sock.items[i], "npipe:"))
                        return refuse(why, "%s: named pipes are not supported by this platform", c->sock.items[i]);
        if (c->ssh_port != -1 && c->ssh_port < 1024)
                return refuse(why, "%s", "ssh-port value must be between 1024 and 65535");
        if (c->sock.n != c->dest.n || c->sock.n != c->user.n || c->sock.n != c->identity.n)
                return refuse(why, "%s", "--forward-sock, --forward-dest, --forward-user and --forward-identity must all be specified together, the same number of times");
        for (size_t i = 0; i < c->identity.n; i++) {
                struct stat st;

                if (stat(c->identity.items[i], &st) < 0 || !S_ISREG(st.st_mode))
                        return refuse(why, "identity file \"%.200s\" can't be loaded", c->identity.items[i]);
        }
        return 0;
}

/* The three addresses, where they are not given: the first, the second and the last of the subnet. */
static int fill_addresses(GvConfig *c, char why[static 512]) {
        char **const fields[] = { &c->gateway, &c->device, &c->host };
        IpAddr addr[3], first, last;
        IpPrefix p;
        int r = 0;

        if (!c->subnet)
                r = gv_set(&c->subnet, "192.168.127.0/24");
        if (r < 0)
                return r;
        if (prefix_parse(c->subnet, &p) < 0 || !ip_is_v4(&p.addr))
                return refuse(why, "failed to parse subnet: invalid CIDR address: %.200s", c->subnet);
        if (p.len > 29)
                return refuse(why, "subnet too small: %.200s", c->subnet);
        p.addr = first = prefix_nth(&p, 0);
        last = prefix_broadcast(&p);
        r = gv_set(&c->subnet, PREFIX_TO_TEXT(&p));
        for (size_t i = 0; i < 3 && r >= 0; i++) {
                if (!*fields[i]) {
                        IpAddr a = prefix_nth(&p, i < 2 ? i + 1 : (UINT64_C(1) << (32 - p.len)) - 2);

                        r = gv_set(fields[i], IP_TO_TEXT(&a));
                        if (r < 0)
                                return r;
                }
                if (ip_parse(*fields[i], &addr[i]) < 0)
                        return refuse(why, "invalid IP address: %.200s", *fields[i]);
                if (!prefix_contains(&p, &addr[i]))
                        return refuse(why, "IP (%.200s) not in subnet", *fields[i]);
                if (ip_equal(&addr[i], &first))
                        return refuse(why, "%s", "IP must not be address of subnet");
                if (ip_equal(&addr[i], &last))
                        return refuse(why, "%s", "IP must not be broadcast address");
        }
        if (r >= 0 && (ip_equal(&addr[0], &addr[1]) || ip_equal(&addr[0], &addr[2]) || ip_equal(&addr[1], &addr[2])))
                return refuse(why, "%s", "IP addresses need to be distinct");
        return r;
}

/* What gvproxy has when no file says otherwise: its zones, the forward of ssh and the lease of the machine. */
static int fill_defaults(GvConfig *c) {
        static const char *const zones[] = { "containers.internal.", "docker.internal." };
        char local[32], remote[64];
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(zones) && r >= 0; i++) {
                DnsZoneSpec *z = &c->zones[c->n_zones++];

                *z = (DnsZoneSpec){ .name = strdup(zones[i]), .loose = true };
                r = z->name ? dns_zone_spec_add(z, "gateway", "A", c->gateway) : -ENOMEM;
                if (r >= 0)
                        r = dns_zone_spec_add(z, "host", "A", c->host);
        }
        if (r >= 0)
                r = gv_list_add(&c->leases, c->device);
        if (r >= 0)
                r = gv_list_add(&c->leases, "5a:94:ef:e4:0c:ee");
        if (r >= 0)
                r = gv_list_add(&c->uuids, "c3d68012-0208-11ea-9fd7-f2189899ab08");
        if (r >= 0)
                r = gv_list_add(&c->uuids, "5a:94:ef:e4:0c:ee");
        if (r >= 0 && c->ssh_port > 0) {
                (void) snprintf(local, sizeof(local), "127.0.0.1:%d", c->ssh_port);
                (void) snprintf(remote, sizeof(remote), "%s:22", c->device);
                r = gv_list_add(&c->forwards, local);
                if (r >= 0)
                        r = gv_list_add(&c->forwards, remote);
        }
        return r;
}

static int read_file(GvConfig *c, char why[static 512]) {
        _cleanup_fclose_ FILE *f = fopen(c->config, "re");
        _cleanup_free_ char *buf = malloc(FILE_MAX + 1);
        size_t len;

        if (!f)
                return refuse(why, "cannot open config file '%.200s'", c->config);
        if (!buf)
                return -ENOMEM;
        len = fread(buf, 1, FILE_MAX + 1, f);
        if (len > FILE_MAX)
                return refuse(why, "config file '%.200s' is larger than 1 MiB", c->config);
        return gv_yaml_read(c, buf, len, why);
}

int gv_config_read(GvConfig *c, int argc, char **argv, char why[static 512]) {
        int r;

        *c = (GvConfig){ .ssh_port = 2222 };
        why[0] = 0;
        r = read_flags(c, argc, argv, why);
        if (r < 0 || c->version || c->help)
                return r;
        c->config_mode = c->config;
        if (c->config_mode)
                r = read_file(c, why);
        if (r >= 0)
                r = check_sockets(c, why);
        if (r >= 0)
                r = fill_addresses(c, why);
        if (r >= 0 && c->mtu == 0)
                c->mtu = 1500;
        if (r >= 0 && !c->config_mode)
                r = fill_defaults(c);
        if (r >= 0 && c->nat.n == 0) {
                r = gv_list_add(&c->nat, c->host);
                if (r >= 0)
                        r = gv_list_add(&c->nat, "127.0.0.1");
        }
        return r;
}
