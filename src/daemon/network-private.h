/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What network.c, network-calls.c and network-shards.c share: the network itself, and what is called on its thread. Included by these alone. */

#include "daemon/bypass.h"
#include "daemon/device-facts.h"
#include "daemon/network.h"
#include "daemon/shard.h"
#include "daemon/steer.h"
#include "daemon/switch.h"
#include "device/tap-queue.h"

typedef struct Port {
        Network *network; /* (borrowed) */
        Device *device;   /* (borrowed: until detach) */
        uint16_t number;  /* index in ports[] plus one */
        bool gone;        /* the device said so; detaching is under way */
        PortOptions options;
        MacAddr own_mac; /* of a guarded port: the only one it may use; zero: the next it uses */
        usec_t storm;    /* rate.h */
        NetstackPort stack_port;
        uint32_t life;   /* which of those that had this number it is */
        Shard *shards[TAP_QUEUES_MAX]; /* (owned) of queues 1, 2 ... of a parallel device */
        unsigned n_shards;
        SteerTable *steer; /* (owned, nullable) of a parallel device */
} Port;

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
        uint32_t last_life;
        _Atomic size_t waiting[SWITCH_PORTS_MAX]; /* bytes of the port's shards on their way here, or to them; also of those that are no more */
        bool offered; /* the shards have looked at what the netstack reads now */
        NetstackStats ended_stats; /* what shards that are no more have counted */
        Counters ended;
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
void network_receive_here(Port *from, Frame *frames, unsigned n);
void network_device_gone_here(Port *p, int error);
int network_with_device_here(Network *n, Device *d, NetworkDeviceFn fn, void *arg);

/* ---- network-shards.c, on the network's thread too ---- */
int network_shards_begin(Port *p); /* once the device, split, is started */
void network_shards_end(Port *p);  /* before it is stopped; no-op without any */
bool network_shards_offer(Network *n, uint32_t port, const Frame *f); /* HostOps.offer */
void network_shards_check_addresses(Network *n);
void network_shards_add_stats(Network *n, NetstackStats *stats, Counters *counters);
int network_shards_add_flows(Network *n, size_t max, FlowInfo **flows, size_t *n_flows); /* to an array owned by the caller */
