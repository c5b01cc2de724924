/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What the files of the manager share. Included by manager*.c and state.c alone. */

#include <uthash.h>

#include "basic/json.h"
#include "basic/log.h"
#include "basic/parse.h"
#include "daemon/config.h"
#include "daemon/fdstore.h"
#include "daemon/manager.h"
#include "daemon/host-links.h"
#include "daemon/lab.h"
#include "daemon/resolv.h"
#include "daemon/ssh-forward.h"

#define MANAGER_NAME_DEFAULT "default"
#define STATUS_TEXT_MAX 512

/* Where an object comes from: what a reload may remove, and what a restart must restore. */
typedef enum Origin {
        ORIGIN_CALL,     /* made at run time */
        ORIGIN_RESTORED, /* made at run time, before the last restart */
        ORIGIN_FILE,     /* a file says so */
        ORIGIN_BUILTIN,  /* the network `default` where no file names any */
} Origin;

/* What is saved together: state.c. */
typedef enum StatePart {
        STATE_NETWORKS, /* these three: made at run time, but all devices */
        STATE_DEVICES,
        STATE_FORWARDS,
        STATE_LEASES,
        _STATE_PART_MAX,
} StatePart;

typedef struct ManagedZone {
        DnsZoneSpec spec; /* (owned) */
        Origin origin;
} ManagedZone;

typedef struct NetworkEntry {
        Network *network; /* (owned) */
        ManagedZone *zones; /* (owned) as the network's thread has them */
        size_t n_zones;
        char name[NAME_MAX_LEN + 1];
        Origin origin;
        bool leases_changed;   /* since they were written */
        uint64_t leases_saved; /* state.c: the sum of their ends, as written */
        UT_hash_handle hh; /* Manager.networks, by name */
} NetworkEntry;

typedef struct DeviceEntry DeviceEntry;
struct DeviceEntry {
        ManagedDevice pub;
        DeviceEntry *next_going; /* (owned) of Manager.going */
        char *namespace;         /* (owned, nullable) as asked */
        uint32_t vhost_queue_size; /* as asked */
        bool persistent;
        bool gone;               /* on its own, and we were told: neither network nor laboratory has it */
        PortOptions port;
        RateLimit event_log;
        char name[NAME_MAX_LEN + 1];
        UT_hash_handle hh; /* Manager.devices, by name */
};

/* Where a forward listens, by its text. */
typedef struct LocalSpec {
        Endpoint endpoints[2]; /* with the first port */
        size_t n;
        uint16_t n_ports;
        bool pair; /* both families were meant: the second may be one the host does not have */
} LocalSpec;

typedef struct CaptureEntry {
        ManagedCapture pub;
        Manager *manager; /* (borrowed) */
        Capture *capture; /* (owned) */
        UT_hash_handle hh; /* Manager.captures, by id */
} CaptureEntry;

typedef struct ForwardEntry {
        ManagedForward pub;
        LocalSpec spec;
        Endpoint *locals; /* (owned) what is listened on: at most MANAGER_FORWARD_LISTENERS */
        size_t n_locals;
        SshForward *ssh;  /* (owned, nullable) where pub.is_ssh */
        Manager *manager; /* (borrowed) for it */
        Origin origin;
        UT_hash_handle hh; /* Manager.forwards, by id */
} ForwardEntry;

struct Manager {
        ManagerConfig config;
        char *config_dir, *runtime_dir, *state_dir; /* (owned, nullable) of config */
        sd_event *event;                            /* (ref) */
        Loop *control;                              /* (owned) the queue networks post to */
        const ManagerHandler *handler;              /* (borrowed, nullable) */
        void *userdata;                             /* (borrowed) of handler */
        const ManagerHttp *http;                    /* (borrowed, nullable) */
        void *http_userdata;                        /* (borrowed) of http */

        NetworkEntry *networks; /* (owned) these three: hashes, in order of creation */
        DeviceEntry *devices;
        ForwardEntry *forwards;
        DeviceEntry *going; /* (owned, list) removed, but the fact that they have gone is still on its way */
        CaptureEntry *captures; /* (owned) hash */
        uint32_t last_forward_id, last_capture_id;
        Lab *lab; /* (owned, nullable) made for the first device of no network */
        struct Listening *listening; /* (owned, list) manager-tunnel.c */

        Config *loaded;       /* (owned, nullable) the files as read last */
        ResolvWatch *resolv;  /* (owned, nullable) */
        HostLinksWatch *links; /* (owned, nullable) */
        sd_event_source *lease_timer; /* (owned, nullable) these three: state.c */
        unsigned unsaved;             /* bits of StatePart */
        unsigned held;                /* state_hold() */
        sd_event_source *status_source; /* (owned, nullable) these two: status.c */
        char status[STATUS_TEXT_MAX];
        RateLimit lease_log;  /* guests decide how often leases change */
        bool host_loopback;   /* the default in force */
        int lock_fd;          /* (owned) state_lock() */
        bool restored;        /* state_restore() was here: state may be saved */
        bool ending;          /* everything goes down, and what a restart needs stays stored */
        FdStore stored;       /* what the process before has left, while loading */
};

/* ---- manager.c ---- */
void manager_tell_network(Manager *m, Network *n, ManagerChange change);
void manager_tell_device(Manager *m, ManagedDevice *d, ManagerChange change);
void manager_tell_forward(Manager *m, ManagedForward *f, ManagerChange change);

/* ---- manager-network.c ---- */
int manager_add_network(Manager *m, const char *name, uint32_t uid, Origin origin, const NetworkOptions *o, Network **ret, Error *e);
/* @leases: as NetworkOptions.static_leases. One that is there already is no error. */
int manager_add_static_leases(Network *n, const char *const *leases, Error *e);
bool manager_may_open_loopback(const Manager *m, uint32_t uid); /* may @uid have a network with host_loopback? */
NetworkEntry *manager_network_entry(Manager *m, const Network *n); /* NULL when it is not, or no longer, one of ours */

/* ---- manager-options.c ---- */
int manager_set_maps(Manager *m, NetworkConfig *c, uint32_t uid, const NetworkOptions *o, Error *e); /* subnet is set */

/* ---- manager-policy.c ---- */
int manager_set_policy(Manager *m, NetworkConfig *c, uint32_t uid, const NetworkOptions *o, Error *e); /* subnet and loopback are set */

/* ---- manager-zone.c ---- */
int manager_add_zone(Manager *m, Network *n, Origin origin, const DnsZoneSpec *spec, Error *e);
void manager_free_zones(NetworkEntry *entry);
bool zone_spec_equal(const DnsZoneSpec *a, const DnsZoneSpec *b);
int dns_route_parse(const char *domain, const char *servers, NetstackDnsRoute *ret, Error *e);

/* ---- manager-device.c ---- */
ManagedDevice *manager_device_of(Manager *m, const Device *d); /* NULL when it is not, or no longer, one of ours */
void manager_device_gone(Manager *m, Device *d, int error);
void manager_device_event(Manager *m, Network *n, const char *device, DeviceEvent event, int error);
void manager_drop_device(Manager *m, ManagedDevice *d); /* tells, detaches, frees */
void manager_free_going(Manager *m, const Device *only); /* of Manager.going; NULL: all */

/* ---- manager-lab.c ---- */
int manager_lab_attach(Manager *m, Device *d);
int manager_lab_detach(Manager *m, Device *d);
void manager_forget_captures(Manager *m, const char *device); /* it goes: they end, by themselves, in a moment */
void manager_free_captures(Manager *m);                       /* all, now; their devices are gone */

/* One kind of device: how CreateDevice() makes it. @create fills @e on failure. */
typedef struct DeviceKind {
        const char *kind;
        int (*create)(const char *kind, const char *name, uint32_t uid, const DeviceOptions *o, Device **ret, Error *e);
        /* (borrowed) what makes it anew after a restart: its descriptors, counted from 0; -EBADF: there are no more. NULL: a socket has one. */
        int (*fd)(const Device *d, unsigned queue);
        bool sock;                  /* of device/sock.h */
} DeviceKind;
int manager_create_sock(const char *kind, const char *name, uint32_t uid, const DeviceOptions *o, Device **ret, Error *e); /* manager-sock.c */

int manager_create_tap(const char *kind, const char *name, uint32_t uid, const DeviceOptions *o, Device **ret, Error *e); /* manager-tap.c */
int manager_create_vhost(const char *kind, const char *name, uint32_t uid, const DeviceOptions *o, Device **ret, Error *e);

/* ---- manager-forward.c ---- */
/* As manager_expose(), but only with ORIGIN_CALL the guest has to be there. */
int manager_add_forward(Manager *m, Network *n, uint32_t uid, Origin origin, const char *protocol, const char *local,
                        const char *remote, const ForwardOptions *options, ManagedForward **ret, Error *e);
void manager_drop_forward(Manager *m, ManagedForward *f); /* tells, closes, frees */

/* ---- manager-tunnel.c ---- */
void manager_listen_client(Manager *m, Network *n, uint16_t port, const Endpoint *guest, int fd); /* @fd is owned */
void manager_stop_listening(Manager *m, const Network *n);                                        /* all of @n */

/* ---- forward-spec.c: the texts of forwards ---- */
int local_spec_parse(const char *text, LocalSpec *ret, Error *e);
/* Fills remote and hostname of @ret with the guest @text means in @n, with @port where it names none; @n_ports follow each other there.
 * @must_exist: an only guest or a guest by name has to be there now. */
int remote_spec_parse(Network *n, const char *text, uint16_t port, uint16_t n_ports, bool must_exist, ForwardConfig *ret, Error *e);

/* ---- state.c ---- */
int state_lock(Manager *m, Error *e); /* -EBUSY: another vnetd keeps its state there */
void state_changed(Manager *m, StatePart part); /* saves at once, leases soon; failures are logged */
void state_hold(Manager *m);                    /* many changes follow: they are saved together ... */
void state_release(Manager *m);                 /* ... here */
void state_save(Manager *m);                    /* saves all now */
bool state_save_leases(Manager *m, bool all);   /* @all: not only what has changed. Returns whether there are leases */
void state_forget_leases(Manager *m, const char *network);

/* ---- status.c ---- */
void status_changed(Manager *m); /* tells the service manager soon, if it differs */

/* ---- state-restore.c ---- */
#define STATE_VERSION 1
void state_restore(Manager *m); /* what was saved and is not there already; failures are logged */

/* ---- manager-describe.c ---- */
void manager_put_reflect(JsonWriter *w, uint8_t reflect); /* "reflect" with the names of REFLECT_*, as a list */
