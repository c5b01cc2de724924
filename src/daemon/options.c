/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line of vnetd. Prints, since nothing else is there yet to do it. */

#include <config.h> /* the build's, not daemon/config.h */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/log.h"
#include "daemon/error.h"
#include "daemon/options.h"

static void print_help(void) {
        (void) printf("vnetd [OPTION...]\n\n"
                      "Virtual networks for machines and network namespaces.\n\n"
                      "  -h --help               Show this help\n"
                      "     --version            Show the version\n"
                      "     --user               Serve the user who calls, on the session bus\n"
                      "     --bus-address=ADDR   Serve the user who calls, on the bus at ADDR\n"
                      "     --config-dir=DIR     Read vnetd.json and networks.d/ there alone\n"
                      "     --state-dir=DIR      Keep there what outlives a restart\n"
                      "     --log-level=LEVEL    debug, info, notice, warning, err, crit, alert, emerg\n"
                      "     --log-target=TARGET  journal, console or auto\n\n"
                      "vnetd is controlled by vnetctl(1); its files are described in vnetd.json(5).\n");
}

static int usage(const char *format, ...) _printf_(1, 2);
static int usage(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) fputs("vnetd: ", stderr);
        (void) vfprintf(stderr, format, ap);
        (void) fputs("; see vnetd --help\n", stderr);
        va_end(ap);
        return -EINVAL;
}

/* "--NAME=" of what getopt_long() has just stumbled over. */
static int wrong_option(int argc, char **argv, int found) {
        const char *text = optind > 0 && optind <= argc ? argv[optind - 1] : "";

        if (found == ':')
                return usage("option '%s' needs a value", ERROR_QUOTE(text));
        if (optopt > 0 && optopt < 128)
                return usage("there is no option '-%c'", optopt);
        return usage("option '%s' does not exist, or takes no value", ERROR_QUOTE(text));
}

int options_parse(int argc, char **argv, Options *ret) {
        enum { ARG_VERSION = 0x100, ARG_USER, ARG_BUS_ADDRESS, ARG_CONFIG_DIR, ARG_STATE_DIR, ARG_LOG_LEVEL, ARG_LOG_TARGET };
        static const struct option long_options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "user", no_argument, NULL, ARG_USER },
                { "bus-address", required_argument, NULL, ARG_BUS_ADDRESS },
                { "config-dir", required_argument, NULL, ARG_CONFIG_DIR },
                { "state-dir", required_argument, NULL, ARG_STATE_DIR },
                { "log-level", required_argument, NULL, ARG_LOG_LEVEL },
                { "log-target", required_argument, NULL, ARG_LOG_TARGET },
                {},
        };
        Options o = { .log_level = -1 };
        int c;

        opterr = 0;
        while ((c = getopt_long(argc, argv, "+:h", long_options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        print_help();
                        return 0;
                case ARG_VERSION:
                        (void) puts("vnetd " VNETD_VERSION);
                        return 0;
                case ARG_USER:
                        o.user = true;
                        break;
                case ARG_BUS_ADDRESS:
                        o.bus_address = optarg;
                        break;
                case ARG_CONFIG_DIR:
                        o.config_dir = optarg;
                        break;
                case ARG_STATE_DIR:
                        o.state_dir = optarg;
                        break;
                case ARG_LOG_LEVEL:
                        o.log_level = log_level_from_name(optarg);
                        if (o.log_level < 0)
                                return usage("'%s' is no log level", ERROR_QUOTE(optarg));
                        break;
                case ARG_LOG_TARGET:
                        if (log_set_target(optarg) < 0)
                                return usage("'%s' is no log target: journal, console or auto", ERROR_QUOTE(optarg));
                        break;
                default: /* ':' or '?' */
                        return wrong_option(argc, argv, c);
                }

        if (optind < argc)
                return usage("there is nothing to do with '%s'", ERROR_QUOTE(argv[optind]));
        if (o.bus_address && o.bus_address[0] == 0)
                return usage("--bus-address= is empty");
        if ((o.config_dir && o.config_dir[0] != '/') || (o.state_dir && o.state_dir[0] != '/'))
                return usage("'%s' is no absolute path",
                             ERROR_QUOTE(o.config_dir && o.config_dir[0] != '/' ? o.config_dir : o.state_dir));
        if (o.user && o.bus_address)
                return usage("--user and --bus-address= exclude each other");
        *ret = o;
        return 1;
}
