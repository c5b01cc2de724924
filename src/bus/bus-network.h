/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Between bus-network.c, which has the vtable, and bus-network-props.c, which reads. */

#include "bus/bus-private.h"

int bus_network_property(sd_bus *sd, const char *path, const char *interface, const char *property,
                         sd_bus_message *reply, void *userdata,
                         sd_bus_error *error); /* those that come from the configuration */
int bus_network_devices(sd_bus *sd, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error);
int bus_network_forwards(sd_bus *sd, const char *path, const char *interface, const char *property,
                         sd_bus_message *reply, void *userdata, sd_bus_error *error);
int bus_network_get_stats(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* bus-zone.c */
int bus_network_set_zone(sd_bus_message *m, void *userdata, sd_bus_error *error);
int bus_network_remove_zone(sd_bus_message *m, void *userdata, sd_bus_error *error);
int bus_network_list_zones(sd_bus_message *m, void *userdata, sd_bus_error *error);
