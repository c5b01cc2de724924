/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The commands that put zones of DNS up and take them down. Each returns what to exit with. */

#include "ctl.h"

int verb_zone_set(Ctl *c, int argc, char **argv);
int verb_zone_remove(Ctl *c, int argc, char **argv);
