/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line of vnetctl: one table of options, from which getopt's tables and the help are made, and
 * the search for the verb. Never talks to the bus.
 */

#include <getopt.h>
#include <limits.h>
#include <stdio.h>

#include "config.h"
#include "ctl.h"

#define HELP_INDENT 27 /* column at which the texts of the help begin */
#define HELP_WIDTH 79
#define OPT_GETOPT_BASE 256 /* getopt's val of a long option: above every letter */

const OptInfo opt_table[_OPT_MAX] = {
        [OPT_HELP] = { "help", 'h', NULL, false, "Show this help, or that of one command" },
        [OPT_VERSION] = { "version", 0, NULL, false, "Show the version" },
        [OPT_SYSTEM] = { "system", 0, NULL, false, "Talk to the system's vnetd" },
        [OPT_USER] = { "user", 0, NULL, false, "Talk to the user's own vnetd" },
        [OPT_BUS_ADDRESS] = { "bus-address", 0, "ADDRESS", false,
                              "Talk to the vnetd on the bus at this address" },
        [OPT_JSON] = { "json", 0, "MODE", false, "Print JSON: pretty, short or off" },
        [OPT_NO_LEGEND] = { "no-legend", 0, NULL, false, "Print no headers and no footers" },
        [OPT_NO_PAGER] = { "no-pager", 0, NULL, false, "Do not pipe long output into a pager" },
        [OPT_NO_ASK_PASSWORD] = { "no-ask-password", 0, NULL, false,
                                  "Do not ask for a password: refused is refused" },
        [OPT_NETWORK] = { "network", 'n', "NAME", false, "The network meant (lists: all, else 'default')" },
        [OPT_SUBNET] = { "subnet", 0, "ADDR/LEN", false, "IPv4 subnet of the network, or 'none'" },
        [OPT_SUBNET6] = { "subnet6", 0, "ADDR/LEN", false, "IPv6 subnet of the network" },
        [OPT_NAT64] = { "nat64", 0, "PREFIX", false, "IPv6 guests reach IPv4 by this /96, or 'well-known'" },
        [OPT_DOMAIN] = { "domain", 0, "NAME", false, "DNS domain of the network" },
        [OPT_DNS] = { "dns", 0, "ADDR", true, "Ask this DNS server, not the host's (repeatable)" },
        [OPT_STATIC_LEASE] = { "static-lease", 0, "ADDR=MAC", true,
                               "Always give this address to this MAC (repeatable)" },
        [OPT_POLICY] = { "policy", 0, "RULE", true, "Rule for what guests may reach, in order (repeatable)" },
        [OPT_NAT] = { "nat", 0, "ADDR=REAL", true, "Lead this address of the network there (repeatable)" },
        [OPT_GATEWAY_ADDRESS] = { "gateway-address", 0, "ADDR", true, "Answer for this address, too (repeatable)" },
        [OPT_REFLECT] = { "reflect", 0, "LIST", false, "Multicast to reflect on the host's link: mdns,ssdp" },
        [OPT_DNS_ROUTE] = { "dns-route", 0, "DOMAIN=ADDR", true, "Ask this server for names in there (repeatable)" },
        [OPT_DHCP] = { "dhcp", 0, "KEY=VALUE", true, "range, ntp, captivePortal or search (repeatable)" },
        [OPT_OUTBOUND] = { "outbound", 0, "KEY=VALUE", true,
                           "source, source6 or interface for what leaves the host (repeatable)" },
        [OPT_LEASE_TIME] = { "lease-time", 0, "SECONDS", false, "How long DHCP leases last" },
        [OPT_HOST_LOOPBACK] = { "host-loopback", 0, "BOOL", false, "Lead the host address to the host's loopback" },
        [OPT_MTU] = { "mtu", 0, "BYTES", false, "MTU of the link" },
        [OPT_NAME] = { "name", 0, "NAME", false, "Name of the device" },
        [OPT_IFNAME] = { "name", 0, "IFNAME", false,
                         "Name of the interface (default: eth0, or the next free)" },
        [OPT_MAC] = { "mac", 0, "MAC", false, "MAC address of the guest's interface" },
        [OPT_NETNS] = { "netns", 0, "PATH|PID", false, "Network namespace the interface is made in" },
        [OPT_VHOST] = { "vhost", 0, NULL, false, "Drive the interface through the kernel's vhost-net" },
        [OPT_LISTEN] = { "listen", 0, "ADDRESS", false, "Wait for the peer on this socket" },
        [OPT_CONNECT] = { "connect", 0, "ADDRESS", false, "Connect to the peer on this socket" },
        [OPT_ISOLATED] = { "isolated", 0, NULL, false, "Keep it from other isolated devices" },
        [OPT_GUARDED] = { "guarded", 0, NULL, false, "Let it use its own MAC and leased address only" },
        [OPT_DEVICE] = { "device", 0, "MODEL", false, "QEMU's model of network card (default: virtio-net-pci)" },
        [OPT_OWNER] = { "owner", 0, "UID", false, "User who may open the interface" },
        [OPT_PERSISTENT] = { "persistent", 0, NULL, false, "Keep the interface when the device goes" },
        [OPT_QUEUES] = { "queues", 0, "N", false, "Number of queues of an interface, 1 to 16" },
        [OPT_PARALLEL] = { "parallel", 0, NULL, false, "Serve each queue by a thread of its own" },
        [OPT_OFFLOADS] = { "offloads", 0, "LIST", false, "Offloads to use: csum,tso4,tso6,ecn,uso or none" },
        [OPT_SOURCE] = { "source", 0, "WHO", false, "Source the guest sees: client (default) or gateway" },
        [OPT_NO_BYPASS] = { "no-bypass", 0, NULL, false, "Lead clients on this host through the gateway, too" },
        [OPT_PUBLISH] = { "publish", 'p', "SPEC", true,
                          "Expose [ADDR:]PORT[:GUESTPORT][/udp] while it runs (repeatable)" },
        [OPT_NO_CONFIGURE] = { "no-configure", 0, NULL, false,
                               "Leave address, route and DNS to a DHCP client inside" },
        [OPT_DEFAULT] = { "default", 0, "ADDR", false, "Address of names in the zone that have no record" },
        [OPT_TTL] = { "ttl", 0, "TIME", false, "How long guests may keep answers (default: 10s)" },
        [OPT_GSO] = { "gso", 0, "TYPE", false, "Super-segment of TYPE: tcpv4, tcpv6, udp or ufo" },
        [OPT_GSO_SIZE] = { "gso-size", 0, "N", false, "Payload bytes of each segment (default: for an MTU of 1500)" },
        [OPT_CSUM] = { "csum", 0, "START:OFFSET", false, "Leave a checksum to be filled in, with what it covers beginning at START" },
        [OPT_HDR_LEN] = { "hdr-len", 0, "N", false, "Bytes of headers, a hint" },
        [OPT_FROM_GUEST] = { "from-guest", 0, NULL, false, "As though the guest had sent it" },
        [OPT_WRITE] = { "write", 'w', "FILE", false, "File to write, - for standard output (the default)" },
        [OPT_SNAPLEN] = { "snaplen", 's', "N", false, "Bytes to keep of each frame (default: 262144)" },
        [OPT_UDP] = { "udp", 0, NULL, false, "Send what a read takes, and print what comes, as datagrams" },
        [OPT_ZERO] = { "zero", 0, NULL, false, "Print counters that are zero as well" },
};

#define VERSION_TEXT "vnetctl " VNETD_VERSION "\n"

/* The tables getopt wants, for the options in @mask. @longs and @letters hold _OPT_MAX + 1 and 2 * _OPT_MAX
 * + 3. */
static void getopt_tables(uint64_t mask, bool stops, struct option *longs, char *letters) {
        size_t n = 0;

        /* "+": stop at the first argument. ":": a missing value is told apart from an unknown option. */
        if (stops)
                *letters++ = '+';
        *letters++ = ':';
        for (Opt o = 0; o < _OPT_MAX; o++) {
                const OptInfo *i = &opt_table[o];

                if (!(mask & OPT_BIT(o)))
                        continue;
                longs[n++] = (struct option){ i->name, i->metavar ? required_argument : no_argument, NULL,
                                              OPT_GETOPT_BASE + (int) o };
                if (i->letter) {
                        *letters++ = i->letter;
                        if (i->metavar)
                                *letters++ = ':';
                }
        }
        longs[n] = (struct option){};
        *letters = '\0';
}

static Opt opt_from_getopt(int val, uint64_t mask) {
        if (val >= OPT_GETOPT_BASE)
                return (Opt) (val - OPT_GETOPT_BASE);
        for (Opt o = 0; o < _OPT_MAX; o++)
                if ((mask & OPT_BIT(o)) && opt_table[o].letter == val)
                        return o;
        return _OPT_MAX;
}

/* @typed: "-n" or "--network=lab", say. */
static int fail_unknown_option(const Ctl *c, const char *typed) {
        if (c->verb)
                return fail_usage("Unknown option '%s' for %s", typed, c->verb->name);
        for (Opt o = 0; o < _OPT_MAX; o++) {
                const OptInfo *i = &opt_table[o];
                size_t len = strlen(i->name);
                bool is_long = strncmp(typed, "--", 2) == 0 && strncmp(typed + 2, i->name, len) == 0 && (typed[2 + len] == '=' || !typed[2 + len]);

                if (is_long || (i->letter && typed[1] == i->letter && !typed[2]))
                        return fail_usage("Option '%s' goes behind the command it is for", typed);
        }
        return fail_usage("Unknown option '%s'", typed);
}

/* Runs getopt over @argv from optind on and notes what it finds. -1: go on at optind, else what to exit
 * with. */
static int parse_some(Ctl *c, int argc, char **argv, uint64_t mask, bool stops) {
        struct option longs[_OPT_MAX + 1];
        char letters[2 * _OPT_MAX + 3];
        int val;

        getopt_tables(mask, stops, longs, letters);
        opterr = 0;
        while ((val = getopt_long(argc, argv, letters, longs, NULL)) >= 0) {
                Opt o;

                if (val == ':')
                        return fail_usage("Option '%s' needs a value", argv[optind - 1]);
                if (val == '?') {
                        if (optopt >= OPT_GETOPT_BASE)
                                return fail_usage("Option '--%s' takes no value",
                                                  opt_table[optopt - OPT_GETOPT_BASE].name);
                        return fail_unknown_option(c, optopt ? (char[]){ '-', (char) optopt, '\0' } : argv[optind - 1]);
                }
                o = opt_from_getopt(val, mask);
                if (!opt_table[o].repeats)
                        c->n_values[o] = 0;
                if (c->n_values[o] == OPT_REPEAT_MAX)
                        return fail_usage("Option '--%s' given more than %d times", opt_table[o].name,
                                          OPT_REPEAT_MAX);
                c->values[o][c->n_values[o]++] = optarg ?: "";
        }
        return -1;
}

/* Edit distance where a swap of neighbours counts one (optimal string alignment), for names of at most
 * DISTANCE_MAX characters. */
#define DISTANCE_MAX 31
static unsigned edit_distance(const char *a, const char *b) {
        unsigned d[DISTANCE_MAX + 1][DISTANCE_MAX + 1];
        size_t n = strlen(a), m = strlen(b);

        if (n > DISTANCE_MAX || m > DISTANCE_MAX)
                return UINT_MAX;
        for (size_t i = 0; i <= n; i++)
                d[i][0] = (unsigned) i;
        for (size_t j = 0; j <= m; j++)
                d[0][j] = (unsigned) j;
        for (size_t i = 1; i <= n; i++)
                for (size_t j = 1; j <= m; j++) {
                        unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

                        best = MIN(best, MIN(d[i - 1][j], d[i][j - 1]) + 1);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                best = MIN(best, d[i - 2][j - 2] + 1);
                        d[i][j] = best;
                }
        return d[n][m];
}

/* "network" of the verb "network list": its length, or 0 for a verb of one word. */
static size_t verb_group_len(const Verb *v) {
        const char *blank = strchr(v->name, ' ');

        return blank ? (size_t) (blank - v->name) : 0;
}

static bool is_group(const char *word) {
        const Verb *v;

        for (size_t i = 0; (v = verb_nth(i)); i++)
                if (verb_group_len(v) == strlen(word) && strncmp(v->name, word, strlen(word)) == 0)
                        return true;
        return false;
}

static const Verb *verb_by_name(const char *name) {
        const Verb *v;

        for (size_t i = 0; (v = verb_nth(i)); i++)
                if (streq(v->name, name))
                        return v;
        return NULL;
}

static void consider(const char *typed, const Verb *v, const Verb **best, unsigned *distance) {
        unsigned d = edit_distance(typed, v->name);

        if (d < *distance && 2 * d <= strlen(typed)) { /* what shares less than half is another word */
                *best = v;
                *distance = d;
        }
}

/* @words: what was typed where a verb should be; the second may be an argument already. */
static int fail_unknown_verb(char **words, int n_words) {
        unsigned distance = 4; /* beyond three slips it is another word */
        const Verb *v, *best = NULL;
        char joined[2 * DISTANCE_MAX];
        const char *typed = words[0];
        bool two = n_words > 1 && words[1][0] != '-';

        if (two && snprintf(joined, sizeof(joined), "%s %s", words[0], words[1]) >= (int) sizeof(joined))
                two = false;
        if (two && is_group(words[0]))
                typed = joined;
        for (size_t i = 0; (v = verb_nth(i)); i++) {
                consider(words[0], v, &best, &distance);
                if (two)
                        consider(joined, v, &best, &distance);
        }
        if (best && verb_group_len(best) > 0)
                typed = two ? joined : words[0];
        if (best)
                return fail_usage("Unknown command '%.60s', did you mean '%s'?", typed, best->name);
        return fail_usage("Unknown command '%.60s', see 'vnetctl --help'", typed);
}

/* Finds the verb at @words; without a word it is `status`, and a group alone lists. -1, or what to exit
 * with. */
static int find_verb(int n_words, char **words, const Verb **ret, int *ret_used) {
        bool alone = n_words < 2 || words[1][0] == '-';
        char name[64];

        if (n_words == 0) {
                *ret = verb_by_name("status");
                *ret_used = 0;
                return -1;
        }
        *ret_used = 1;
        if (!is_group(words[0])) {
                *ret = verb_by_name(words[0]);
                if (*ret && verb_group_len(*ret) > 0) /* "network list" as one word */
                        *ret = NULL;
        } else if (snprintf(name, sizeof(name), "%s %s", words[0], alone ? "list" : words[1]) <
                   (int) sizeof(name)) {
                *ret = verb_by_name(name);
                *ret_used = alone ? 1 : 2;
        } else
                *ret = NULL;
        return *ret ? -1 : fail_unknown_verb(words, n_words);
}

/* Prints @text from column @indent on, broken at blanks. */
static void print_wrapped(const char *text, int indent) {
        int column = indent;

        for (size_t len; *text; text += len + strspn(text + len, " ")) {
                bool first = column == indent;

                len = strcspn(text, " ");
                if (!first && column + 1 + (int) len > HELP_WIDTH) {
                        printf("\n%*s", indent, "");
                        column = indent;
                        first = true;
                }
                column += printf("%s%.*s", first ? "" : " ", (int) len, text);
        }
        putchar('\n');
}

static void print_entry(const char *what, const char *text) {
        int column = printf("  %s", what);

        if (column + 1 > HELP_INDENT) {
                putchar('\n');
                column = 0;
        }
        printf("%*s", HELP_INDENT - column, "");
        print_wrapped(text, HELP_INDENT);
}

static void print_options(uint64_t mask) {
        for (Opt o = 0; o < _OPT_MAX; o++) {
                const OptInfo *i = &opt_table[o];
                char what[64];

                if (!(mask & OPT_BIT(o)))
                        continue;
                if (i->letter)
                        (void) snprintf(what, sizeof(what), "-%c --%s%s%s", i->letter, i->name,
                                        i->metavar ? "=" : "", i->metavar ?: "");
                else
                        (void) snprintf(what, sizeof(what), "   --%s%s%s", i->name, i->metavar ? "=" : "",
                                        i->metavar ?: "");
                print_entry(what, i->text);
        }
}

static void print_help(void) {
        const Verb *v;

        puts("vnetctl [OPTION...] COMMAND ...\n\n"
             "Control vnetd, the user-space network for virtual machines and namespaces.\n\n"
             "Commands:");
        for (size_t i = 0; (v = verb_nth(i)); i++) {
                char what[128];

                (void) snprintf(what, sizeof(what), "%s%s%s", v->name, *v->args ? " " : "", v->args);
                print_entry(what, v->text);
        }
        puts("\nOptions:");
        print_options(OPTS_GLOBAL);
        puts("\n'vnetctl COMMAND --help' shows the options of one command. See vnetctl(1).");
}

static void print_help_verb(const Verb *v) {
        printf("vnetctl %s [OPTION...]%s%s\n\n", v->name, *v->args ? " " : "", v->args);
        print_wrapped(v->text, 0);
        puts("\nOptions:");
        print_options(v->options | OPTS_GLOBAL);
        puts("\nSee vnetctl(1).");
}

static int check_globals(Ctl *c) {
        const char *json = opt_value(c, OPT_JSON), *source = opt_value(c, OPT_SOURCE);

        if (!json || streq(json, "off"))
                c->json = JSON_OFF;
        else if (streq(json, "short"))
                c->json = JSON_SHORT;
        else if (streq(json, "pretty"))
                c->json = JSON_PRETTY;
        else
                return fail_usage("Invalid value '%s' for --json: use pretty, short or off", json);
        if (opt_set(c, OPT_SYSTEM) + opt_set(c, OPT_USER) + opt_set(c, OPT_BUS_ADDRESS) > 1)
                return fail_usage("Only one of --system, --user and --bus-address can be given");
        if (source && !streq(source, "client") && !streq(source, "gateway")) /* run without --publish would not look */
                return fail_usage("Invalid value '%s' for --source: use client or gateway", source);
        return -1;
}

int options_parse(Ctl *c, int argc, char **argv, int *ret_argc, char ***ret_argv) {
        const Verb *v = NULL;
        int r, used;

        optind = 0; /* glibc: begin anew */
        r = parse_some(c, argc, argv, OPTS_GLOBAL, true);
        if (r >= 0)
                return r;
        if (optind < argc || !opt_set(c, OPT_HELP)) {
                char **words = argv + optind;
                int n_words = argc - optind;

                if (opt_set(c, OPT_VERSION)) {
                        fputs(VERSION_TEXT, stdout);
                        return CTL_OK;
                }
                r = find_verb(n_words, words, &v, &used);
                if (r >= 0)
                        return r;
                c->verb = v;

                /* getopt skips what it takes for the program's name: the last word of the verb. */
                if (used > 0) {
                        argc = n_words - used + 1;
                        argv = words + used - 1;
                        optind = 0;
                        r = parse_some(c, argc, argv, OPTS_GLOBAL | v->options, v->stops);
                        if (r >= 0)
                                return r;
                }
        }
        if (opt_set(c, OPT_HELP)) {
                if (c->verb)
                        print_help_verb(c->verb);
                else
                        print_help();
                return CTL_OK;
        }
        if (opt_set(c, OPT_VERSION)) {
                fputs(VERSION_TEXT, stdout);
                return CTL_OK;
        }
        r = check_globals(c);
        if (r >= 0)
                return r;

        *ret_argc = argc - optind;
        *ret_argv = argv + optind;
        if (*ret_argc < v->min)
                return fail_usage("Too few arguments: vnetctl %s %s", v->name, v->args);
        if (v->max >= 0 && *ret_argc > v->max)
                return fail_usage("Too many arguments: vnetctl %s%s%s", v->name, *v->args ? " " : "", v->args);
        return -1;
}
