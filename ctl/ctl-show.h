/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The commands that only look: status, lists and single objects. Each returns what to exit with. */

#include "ctl-table.h"
#include "ctl-value.h"
#include "ctl.h"

int verb_status(Ctl *c, int argc, char **argv);
int verb_network_list(Ctl *c, int argc, char **argv);
int verb_network_show(Ctl *c, int argc, char **argv);
int verb_device_list(Ctl *c, int argc, char **argv);
int verb_device_show(Ctl *c, int argc, char **argv);
int verb_forwards(Ctl *c, int argc, char **argv);
int verb_leases(Ctl *c, int argc, char **argv);
int verb_flows(Ctl *c, int argc, char **argv);
int verb_zones(Ctl *c, int argc, char **argv);

/* Calls @fn for the network that is meant, or each, then prints @t. @what: "list leases". */
typedef int (*NetworkFn)(Ctl *c, Table *t, const char *name, const char *path);
int show_each_network(Ctl *c, const char *what, Table *t, NetworkFn fn);

/* Where a forward leads, from its properties: "192.168.127.2:6443", "(only guest):80". Returns @buf. */
#define FORWARD_REMOTE_MAX 128
const char *forward_remote(const Value *forward, char buf[static FORWARD_REMOTE_MAX]);
