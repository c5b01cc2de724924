/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The client side of the bus: finds the bus, calls vnetd, turns its refusals into one line on stderr and an
 * exit code. Functions return 0, or what to exit with: CTL_FAILED, CTL_NO_OBJECT (the line has been printed
 * then).
 */

#include "ctl-value.h"
#include "ctl.h"

#define VNETD_BUS_NAME "org.vnetd1"
#define VNETD_ROOT "/org/vnetd1"
#define VNETD_MANAGER "org.vnetd1.Manager"
#define VNETD_NETWORK "org.vnetd1.Network"
#define VNETD_DEVICE "org.vnetd1.Device"
#define VNETD_FORWARD "org.vnetd1.Forward"

static inline void bus_message_unrefp(sd_bus_message **m) {
        (void) sd_bus_message_unref(*m);
}
#define _cleanup_bus_error_ _cleanup_(sd_bus_error_free)

int client_connect(Ctl *c);
void client_disconnect(Ctl *c);

/* Prints "Failed to WHAT: MESSAGE" and says what to exit with. @what, e.g. "create network 'lab0'". */
int client_failed(const Ctl *c, const char *what, const sd_bus_error *error, int r);

int client_new_call(Ctl *c, const char *path, const char *interface, const char *method,
                    sd_bus_message **ret);
/* Sends @m and waits. @ret (nullable): the reply, to be unreferenced. */
int client_call(Ctl *c, sd_bus_message *m, const char *what, sd_bus_message **ret);

/* Calls a method that takes @types and reads the first thing of its reply as a tree (@ret nullable). */
int client_call_value(Ctl *c, const char *path, const char *interface, const char *method, const char *what,
                      Value **ret, const char *types, ...);

/* Everything there is, from one call: { path: { interface: { property: value } } }. */
int client_get_objects(Ctl *c, Value **ret);
int client_get_properties(Ctl *c, const char *path, const char *interface, const char *what, Value **ret);

/* The object path of a network or device, or CTL_NO_OBJECT. @ret owned by the caller. */
int client_find_network(Ctl *c, const char *name, char **ret);
int client_find_device(Ctl *c, const char *name, char **ret);

/* ---- a{sv} of options ----
 * Between the first two the others append to @m. 0 or negative errno. */
int options_open(sd_bus_message *m);
int options_close(sd_bus_message *m);
int option_string(sd_bus_message *m, const char *key, const char *value); /* nothing when @value is NULL */
int option_u32(sd_bus_message *m, const char *key, uint32_t value);
int option_bool(sd_bus_message *m, const char *key, bool value);
int option_fd(sd_bus_message *m, const char *key, int fd);
int option_fds(sd_bus_message *m, const char *key, const int *fds, unsigned n); /* none: no option */
/* @values NULL: nothing. */
int option_strv(sd_bus_message *m, const char *key, const char *const *values, size_t n);
