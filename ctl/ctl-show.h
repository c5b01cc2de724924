/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The commands that only look: status, lists and single objects. Each returns what to exit with. */

#include "ctl.h"

int verb_status(Ctl *c, int argc, char **argv);
int verb_network_list(Ctl *c, int argc, char **argv);
int verb_network_show(Ctl *c, int argc, char **argv);
int verb_device_list(Ctl *c, int argc, char **argv);
int verb_device_show(Ctl *c, int argc, char **argv);
int verb_forwards(Ctl *c, int argc, char **argv);
int verb_leases(Ctl *c, int argc, char **argv);
int verb_flows(Ctl *c, int argc, char **argv);
int verb_stats(Ctl *c, int argc, char **argv);
