/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Manager: the model of everything vnetd has: networks, devices, forwards, by name and id. Owns them; knows no bus. The faces
 * (bus/, http/) call it and listen to ManagerHandler. Control thread only.
 *
 * Every function that can refuse takes an `Error *` and fills it with the D-Bus error's short name and a sentence that names the thing
 * and the value refused; the return value is the negative errno that fits.
 */

#include <systemd/sd-event.h>

#include "basic/parse.h"
#include "daemon/error.h"
#include "daemon/network.h"
#include "device/capture.h"
#include "device/inject.h"
#include "netstack/dns-zone.h"

#define MANAGER_NETWORKS_MAX 256
#define MANAGER_DEVICES_MAX 1024
#define MANAGER_FORWARDS_MAX 4096
#define MANAGER_FORWARD_PORTS_MAX 256 /* of one forward; each counts for the limits on forwards */
#define MANAGER_FORWARD_LISTENERS (2 * MANAGER_FORWARD_PORTS_MAX) /* of one forward: IPv4 and IPv6 */
#define MANAGER_PER_USER_NETWORKS_MAX 16   /* for callers other than root and the daemon's own uid */
#define MANAGER_PER_USER_DEVICES_MAX 64
#define MANAGER_PER_USER_FORWARDS_MAX 256

typedef struct Manager Manager;
typedef struct ManagedDevice ManagedDevice;
typedef struct ManagedForward ManagedForward;

struct ManagedDevice {
        Device *device;     /* (owned) */
        Network *network;   /* (borrowed, nullable: a laboratory device) */
        const char *state;  /* static: "attached", "waiting" (attached, nobody at the far end), "detached", "gone" */
};

struct ManagedForward {
        uint32_t id;
        Network *network;   /* (borrowed) */
        ForwardConfig config; /* local: of the first listener */
        char *local;        /* (owned) as asked: "127.0.0.1:6443" */
        char *remote;       /* (owned) as asked: "192.168.127.2:6443", or ":6443" for the only guest */
        uint32_t owner;
        bool is_unix;         /* local is a path, and remote a TCP port of a guest, or ... */
        bool is_outlet;       /* local is a port of the gateway, for guests, and remote a Unix socket of the host */
        bool is_ssh;          /* ... a Unix socket inside it: daemon/ssh-forward.h */
};

#define MANAGER_CAPTURES_MAX 32
#define MANAGER_PER_USER_CAPTURES_MAX 8

typedef struct ManagedCapture {
        uint32_t id;
        uint32_t owner;              /* uid who asked for it */
        char device[NAME_MAX_LEN + 1];
        bool ready;                  /* the filter is compiled, and frames are taken */
} ManagedCapture;

typedef struct ManagerConfig {
        bool user;             /* --user or private bus: this is somebody's own instance */
        bool host_loopback;    /* default for networks made here; vnetd.json goes before it */
        bool keep_log_level;   /* the command line has set it: vnetd.json does not */
        const char *config_dir; /* (nullable) instead of /etc/vnetd and the vendor directory, or the user's own */
        const char *runtime_dir; /* (nullable) where networks and forwards made at run time wait out a restart */
        const char *state_dir;   /* (nullable: runtime_dir) where leases do */
} ManagerConfig;

typedef enum ManagerChange { MANAGER_ADDED, MANAGER_CHANGED, MANAGER_REMOVED } ManagerChange;

/* Told after the fact; for MANAGER_REMOVED just before the object goes. A network is MANAGER_CHANGED when its devices or forwards are,
 * told after theirs, when the lists are as they will be. */
typedef struct ManagerHandler {
        void (*network)(Manager *m, Network *n, ManagerChange change, void *userdata);
        void (*device)(Manager *m, ManagedDevice *d, ManagerChange change, void *userdata);
        void (*forward)(Manager *m, ManagedForward *f, ManagerChange change, void *userdata);
        void (*lease)(Manager *m, Network *n, const Lease *lease, bool added, void *userdata);
        /* (nullable) ADDED: it runs; REMOVED: it is over, also one that never ran. @e: what refused it (code _ERROR_MAX: nothing did), else
         * why it ended, unless it was told to. */
        void (*capture)(Manager *m, ManagedCapture *c, ManagerChange change, const Error *e, void *userdata);
} ManagerHandler;

/* The face that serves networks by HTTP, where their options ask for it. @open fails: the network is not made. @close is for every network
 * that @open was called for, just before it goes. */
typedef struct ManagerHttp {
        int (*open)(Network *n, void *userdata, Error *e);
        void (*close)(Network *n, void *userdata);
        void (*client)(Network *n, const Endpoint *guest, int fd, void *userdata); /* of port 80 of the gateway; @fd is owned */
} ManagerHttp;

#define MANAGER_HTTP_PORT 80

int manager_new(Manager **ret, const ManagerConfig *config, sd_event *event);
Manager *manager_free(Manager *m);
DEFINE_CLEANUP(Manager *, manager_free);
void manager_set_handler(Manager *m, const ManagerHandler *handler, void *userdata);
bool manager_uid_is_limited(uint32_t uid); /* do the MANAGER_PER_USER limits hold for @uid: neither root nor our own? */
void manager_set_http(Manager *m, const ManagerHttp *http, void *userdata); /* before networks are made; NULL: it is gone */

/* Reads the configuration (or makes the network `default` when there is none) and follows /etc/resolv.conf. */
int manager_load(Manager *m, Error *e);
void manager_follow_host(Manager *m); /* its resolvers and links; manager_load() does so itself */
int manager_reload(Manager *m, Error *e); /* adds what is new in the files, removes what is gone, keeps the rest running */

/* ---- networks ---- */
#define NETWORK_SUBNET_NONE "none"
#define NETWORK_NAT64_WELL_KNOWN "well-known"
typedef struct NetworkOptions { /* what CreateNetwork() and a networks.d file may say; unset: NULL or 0 */
        const char *subnet, *subnet6, *domain; /* subnet "none": no IPv4 */
        const char *nat64;              /* a prefix, or "well-known" */
        uint32_t mtu;
        const char *const *dns_servers; /* NULL-terminated */
        int host_loopback;              /* -1: the default */
        const char *const *static_leases; /* NULL-terminated pairs: address, MAC, address, MAC ... */
        uint32_t lease_sec;
        const char *gateway, *host, *gateway_mac; /* addresses in the subnet; NULL: the first, the last, gvproxy's */
        const char *const *nat;         /* NULL-terminated pairs: virtual address, real address */
        const char *const *policy;      /* NULL-terminated rules: policy.h */
        const char *const *gateway_addresses; /* NULL-terminated */
        const char *const *reflect;     /* NULL-terminated: "mdns", "ssdp" */
        const char *const *dhcp, *const *outbound; /* NULL-terminated pairs: manager-options.c */
        const char *const *dns_routes;  /* NULL-terminated pairs: domain, "ADDRESS[:PORT] ..." */
        const char *http_api;           /* "unix:///PATH" or the path */
        int http_gateway;               /* HttpGateway */
} NetworkOptions;
#define NETWORK_OPTIONS_INIT ((NetworkOptions){ .host_loopback = -1 })

int manager_create_network(Manager *m, const char *name, uint32_t uid, const NetworkOptions *o, Network **ret, Error *e);
int manager_remove_network(Manager *m, Network *n, Error *e); /* its devices are detached and removed, its forwards closed */
Network *manager_network(Manager *m, const char *name);         /* NULL */
Network *manager_next_network(Manager *m, Network *after);      /* in order of creation; NULL begins and ends */

/* ---- zones of DNS ---- */
/* Puts up a zone, in place of one of that name; @spec is copied. */
int manager_set_zone(Manager *m, Network *n, const DnsZoneSpec *spec, Error *e);
int manager_check_zone(const DnsZoneSpec *spec, Error *e); /* could it be put up? */
int manager_remove_zone(Manager *m, Network *n, const char *name, Error *e);
const DnsZoneSpec *manager_nth_zone(Manager *m, Network *n, size_t i); /* in the order they came; NULL ends; good until zones change */
const DnsZoneSpec *manager_zone(Manager *m, Network *n, const char *name); /* NULL */

/* ---- devices ---- */
typedef struct DeviceOptions {
        const char *name;      /* NULL: chosen */
        const char *network;   /* NULL: "default"; "": none */
        const char *mac, *namespace, *ifname;
        uint32_t mtu;
        int fd;                /* -EBADF, or handed in: (borrowed: duplicated on success) */
        int guest_fd;          /* -EBADF, or of a listening socket's guest, from sock_leave(): as fd */
        int lend_fd;           /* -EBADF, or where sockets of the guest's namespace wait (borrowed): basic/lend.h */
        const int *queue_fds;  /* with fd: descriptors of further queues, as borrowed; the others are opened */
        unsigned n_queue_fds;
        bool persistent, has_owner, up, no_vnet_hdr;
        uint32_t owner;        /* TUNSETOWNER */
        uint32_t queues;
        uint32_t vhost_queue_size; /* of kind "vhost-net"; 0: the default */
        const char *const *offloads; /* NULL: all; NULL-terminated names otherwise */
        const char *listen, *connect; /* of the kinds behind sockets: device/sock-address.h */
        PortOptions port;
} DeviceOptions;
#define DEVICE_OPTIONS_INIT ((DeviceOptions){ .fd = -EBADF, .guest_fd = -EBADF, .lend_fd = -EBADF, .up = true, .queues = 1 })

/* @kind: "tap", "vhost-net", ... -EOPNOTSUPP (NotSupported) when unknown; the message lists those there are. */
int manager_create_device(Manager *m, const char *kind, uint32_t uid, const DeviceOptions *o, ManagedDevice **ret, Error *e);
int manager_remove_device(Manager *m, ManagedDevice *d, Error *e);
int manager_attach_device(Manager *m, ManagedDevice *d, Network *n, Error *e);
int manager_detach_device(Manager *m, ManagedDevice *d, Error *e);
ManagedDevice *manager_device(Manager *m, const char *name);
ManagedDevice *manager_next_device(Manager *m, ManagedDevice *after);
const char *const *manager_device_kinds(void); /* NULL-terminated */
int manager_check_kind(const char *kind, Error *e); /* 0, or ERROR_NOT_SUPPORTED: the error says which there are */
int manager_device_take_fd(ManagedDevice *d); /* the end of a new device that its guest is to have (owned by the caller), once; -EBADF */
const char *manager_device_path(const ManagedDevice *d); /* of its socket file; NULL */
/* Texts of the options it was made with; NULL where it was not. */
void manager_device_addresses(const ManagedDevice *d, const char **ret_listen, const char **ret_connect);

/* ---- the laboratory: frames by hand, on devices of any network or none ---- */
/* @hdr: checked here. Refused when the device dropped the frame, with the reason. */
int manager_inject(Manager *m, ManagedDevice *d, DeviceDirection direction, const VnetHdr *hdr, const void *bytes, size_t len, Error *e);
int manager_open_packet_socket(Manager *m, ManagedDevice *d, DeviceDirection written, int *ret_fd, Error *e); /* owned by the caller */

/* @fd: (borrowed: duplicated). What comes of it, ManagerHandler.capture tells: first the filter has to be compiled. */
int manager_start_capture(Manager *m, ManagedDevice *d, uint32_t uid, int fd, const char *filter, uint32_t snaplen, uint32_t *ret_id, Error *e);
void manager_stop_capture(Manager *m, ManagedCapture *c); /* told when what it has is written */
ManagedCapture *manager_capture(Manager *m, uint32_t id);
ManagedCapture *manager_next_capture(Manager *m, ManagedCapture *after);
void manager_capture_stats(const ManagedCapture *c, CaptureStats *ret);

/* ---- forwards ---- */
typedef struct ForwardOptions {
        const char *source; /* NULL, "client" or "gateway": ForwardSource */
        bool no_bypass;
} ForwardOptions;

/* @local: "ADDR:PORT", "[ADDR]:PORT", ":PORT" (all addresses) or "PORT" (127.0.0.1 and, where the host has it, ::1).
 * @remote: "ADDR:PORT", "ADDR" (the same port), ":PORT" or "" (the only guest, the same port), "HOSTNAME[:PORT]" of a lease.
 * PORT may be a range, FIRST-LAST; that of @remote, if it names one, is as long, or where it begins.
 * @options: NULL for the defaults. One forward, even where it listens on two addresses and many ports.
 * "gateway:PORT" to "unix:/PATH" (tcp) is the other way round: a port of the gateway's, for guests, that leads to a Unix socket of the host.
 * Protocol "unix": @local is a path, @remote "ADDR:PORT" or the like, or "ssh-tunnel://USER@GUEST[:PORT]/PATH?key=FILE". */
int manager_expose(Manager *m, Network *n, uint32_t uid, const char *protocol, const char *local, const char *remote,
                   const ForwardOptions *options, ManagedForward **ret, Error *e);
/* Takes a Unix socket away that nobody listens on. -EADDRINUSE: somebody does, or it is no socket. 0: nothing is there (now). */
int remove_dead_socket(const char *path);
/* The forward of @n that listens at @local, however that is spelt (of a Unix socket: as it was when it was made). */
int manager_find_forward(Manager *m, Network *n, const char *protocol, const char *local, ManagedForward **ret, Error *e);
int manager_unexpose(Manager *m, Network *n, const char *protocol, const char *local, Error *e);
int manager_remove_forward(Manager *m, ManagedForward *f, Error *e);
int manager_forward_stats(Manager *m, const ManagedForward *f, ForwardStats *ret);
const char *manager_forward_protocol(const ManagedForward *f); /* "tcp", "udp", "unix" */
ManagedForward *manager_forward(Manager *m, uint32_t id);
ManagedForward *manager_next_forward(Manager *m, ManagedForward *after);
bool manager_local_is_gateway(const char *local); /* is it a port of the gateway, "gateway:PORT"? */
bool manager_local_is_privileged(Manager *m, const char *local); /* would it need the expose-privileged-port right? */

/* Opens a stream into the network (@protocol "tcp"), or a socket each of whose messages is a datagram ("udp"): @host is a guest's address or
 * host name, or "" for the only guest. @ret_fd is the caller's. */
int manager_connect(Manager *m, Network *n, const char *protocol, const char *host, uint16_t port, int *ret_fd, Error *e);

/* Guests' connections to @port of the gateway come to @ret_fd (the caller's), a socket of messages: each is "ADDRESS:PORT" of the guest and
 * carries a stream's descriptor. The port is closed when that socket is. */
int manager_listen(Manager *m, Network *n, const char *protocol, uint16_t port, int *ret_fd, Error *e);

/* The same with a stream of the caller's as the other end; @fd is owned, whatever comes of it. check: could it be, as far as is known now? */
int manager_tunnel(Manager *m, Network *n, const char *host, uint16_t port, int fd, Error *e);
int manager_check_tunnel(Manager *m, Network *n, const char *host, uint16_t port, Error *e);

/* A JSON snapshot of everything, or of one network (@n nullable); owned by the caller. */
int manager_describe(Manager *m, Network *n, char **ret);
