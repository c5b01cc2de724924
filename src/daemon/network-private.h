/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What network.c and network-calls.c share: the network itself, and what is called on its thread. Included by these two alone. */

#include "daemon/bypass.h"
#include "daemon/device-facts.h"
#include "daemon/network.h"
#include "daemon/switch.h"

typedef struct Port Port; /* network.c */

struct Network {
        NetworkConfig config;
        Loop *loop;    /* (owned) */
        Loop *control; /* (borrowed) */
        const NetworkHandler *handler; /* NULL once network_free() has begun: facts still under way go nowhere */
        void *userdata;
        DeviceFacts facts;

        /* on the network's thread */
        Netstack *stack;       /* (owned) */
        HostSockets *sockets;  /* (owned) */
        Bypass *bypass;        /* (owned) */
        Timer stack_timer;     /* stands where the netstack's earliest does */
        Port *ports[SWITCH_PORTS_MAX]; /* (owned) */
        unsigned n_ports;      /* in use */
        SwitchTable table;

        struct {
                uint16_t port;
                char path[108]; /* "": the port's clients go to the control thread */
        } services[NETSTACK_SERVICES_MAX];
        uint32_t last_tunnel; /* of NETWORK_TUNNEL_ID and the ids from there on */

        _Atomic unsigned n_services; /* connections on their way to the control thread */
};

/* On the network's thread. */
int network_attach_here(Network *n, Device *d, const PortOptions *options);
int network_detach_here(Network *n, Device *d); /* -ENOENT */
int network_with_device_here(Network *n, Device *d, NetworkDeviceFn fn, void *arg);
