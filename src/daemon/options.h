/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The command line of vnetd. */

#include "basic/macro.h"

typedef struct Options {
        bool user;
        const char *bus_address, *config_dir, *state_dir; /* (borrowed: argv's; nullable) */
        int log_level;                                   /* -1: not given */
} Options;

/* Returns 1 to go on; 0: done (--help, --version printed); -EINVAL: wrong usage, one line told on stderr. */
int options_parse(int argc, char **argv, Options *ret);
