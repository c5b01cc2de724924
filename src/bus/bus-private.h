/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Shared by the files of bus/: the Bus itself, the vtables, and how a handler gets from what it is given to
 * what it needs. */

#include "bus/bus-util.h"
#include "bus/bus.h"
#include "bus/polkit.h"

#define BUS_INTERFACE_MANAGER "org.vnetd1.Manager"
#define BUS_INTERFACE_NETWORK "org.vnetd1.Network"
#define BUS_INTERFACE_DEVICE "org.vnetd1.Device"
#define BUS_INTERFACE_FORWARD "org.vnetd1.Forward"

#define BUS_FLOWS_MAX 10000 /* entries of one ListFlows() */

#define ACTION_MANAGE_NETWORKS "org.vnetd1.manage-networks"
#define ACTION_MANAGE_DEVICES "org.vnetd1.manage-devices"
#define ACTION_MANAGE_FORWARDS "org.vnetd1.manage-forwards"
#define ACTION_INJECT "org.vnetd1.inject-packets"
#define ACTION_CAPTURE "org.vnetd1.capture"
#define ACTION_CONNECT "org.vnetd1.connect"
#define ACTION_PRIVILEGED_PORT "org.vnetd1.expose-privileged-port"

typedef struct BusCapture BusCapture; /* bus-lab.c */

struct Bus {
        sd_bus *bus;      /* (owned) */
        Manager *manager; /* (borrowed: parent's) */
        Polkit *polkit;   /* (owned) */
        BusCapture *captures; /* (owned, list) */
};

extern const sd_bus_vtable bus_manager_vtable[];
extern const sd_bus_vtable bus_network_vtable[];
extern const sd_bus_vtable bus_device_vtable[];
extern const sd_bus_vtable bus_forward_vtable[];
extern const sd_bus_vtable bus_log_control_vtable[];

/* The Bus behind the object whose method or property is being served. Ask at the top of the handler: sending
 * a signal from within one changes what sd-bus calls current. */
Bus *bus_current(sd_bus *sd);

/* Options of CreateNetwork() and CreateDevice(), read from the message and checked as far as can be without
 * changing anything. */
typedef struct CreateNetworkArgs {
        NetworkOptions options;
        const char **dns_servers, **static_leases, **dns_routes, **nat, **policy,
                **gateway_addresses, **reflect, **dhcp, **outbound; /* (owned) what @options points to */
} CreateNetworkArgs;
void create_network_args_deinit(CreateNetworkArgs *a);
int create_network_args_read(CreateNetworkArgs *a, sd_bus_message *m, sd_bus_error *error);

typedef struct CreateDeviceArgs {
        DeviceOptions options;
        const char **offloads; /* (owned) */
        int *queue_fds;        /* (owned) */
        int persistent, isolated, guarded, parallel; /* as D-Bus has them; @options has the bools */
} CreateDeviceArgs;
void create_device_args_deinit(CreateDeviceArgs *a);
int create_device_args_read(CreateDeviceArgs *a, sd_bus_message *m, sd_bus_error *error);

/* ---- per object ---- */
int bus_network_find(sd_bus *sd, const char *path, const char *interface, void *userdata, void **ret,
                     sd_bus_error *error);
int bus_network_enumerate(sd_bus *sd, const char *prefix, void *userdata, char ***ret, sd_bus_error *error);
int bus_network_lease_signal(Bus *b, Network *n, const Lease *lease, bool added);

int bus_device_find(sd_bus *sd, const char *path, const char *interface, void *userdata, void **ret,
                    sd_bus_error *error);
int bus_device_enumerate(sd_bus *sd, const char *prefix, void *userdata, char ***ret, sd_bus_error *error);
PolkitAsk bus_device_ask(const ManagedDevice *d, const char *action, const char *verb);
int bus_append_drops(sd_bus_message *m, const char *prefix,
                     const Counters *c); /* the {st} entries; @prefix before each name */

/* ---- bus-lab.c ---- */
int bus_device_inject(sd_bus_message *m, void *userdata, sd_bus_error *error);
int bus_device_open_packet_socket(sd_bus_message *m, void *userdata, sd_bus_error *error);
int bus_device_start_capture(sd_bus_message *m, void *userdata, sd_bus_error *error);
int bus_device_stop_capture(sd_bus_message *m, void *userdata, sd_bus_error *error);
int bus_device_get_captures(sd_bus *sd, const char *path, const char *interface, const char *property,
                            sd_bus_message *reply, void *userdata, sd_bus_error *error);
void bus_capture_changed(Bus *b, const ManagedCapture *managed, ManagerChange change, const Error *e);
void bus_free_captures(Bus *b); /* calls that wait stay unanswered */

int bus_forward_find(sd_bus *sd, const char *path, const char *interface, void *userdata, void **ret,
                     sd_bus_error *error);
int bus_forward_enumerate(sd_bus *sd, const char *prefix, void *userdata, char ***ret, sd_bus_error *error);
int bus_forward_list(Bus *b, const Network *n, BusStrv *ret); /* paths of @n's forwards, of all when NULL */
