/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The commands that make and remove: networks, devices, forwards. Each returns what to exit with. */

#include "ctl.h"

int verb_network_create(Ctl *c, int argc, char **argv);
int verb_network_remove(Ctl *c, int argc, char **argv);
int verb_device_create(Ctl *c, int argc, char **argv);
int verb_device_remove(Ctl *c, int argc, char **argv);
int verb_expose(Ctl *c, int argc, char **argv);
int verb_unexpose(Ctl *c, int argc, char **argv);

/* Exposes one port: as `expose` and `run --publish` do. @local: "[ADDR:]PORT[/PROTOCOL]", @remote: "" or
 * "GUEST[:PORT]", both as typed.
 * @ret_path (nullable): the forward, owned by the caller. 0, or what to exit with. */
int expose(Ctl *c, const char *network_path, const char *local, const char *remote, char **ret_path);

/* The options of `device create`, into the open dictionary of a CreateDevice() call. 0, or what to exit with. */
int append_device_options(Ctl *c, sd_bus_message *m);
