/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices of the manager: making them by kind, plugging them into networks and out again, and what happens when their far end goes.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "basic/log.h"
#include "basic/parse.h"
#include "daemon/manager-private.h"
#include "device/sock.h"
#include "device/tap-vhost.h"

static const DeviceKind kinds[] = {
        { "tap", manager_create_tap, tap_fd, false },
        { "vhost-net", manager_create_vhost, tap_vhost_fd, false },
        { "qemu", manager_create_sock, NULL, true },
        { "qemu-dgram", manager_create_sock, NULL, true },
        { "vfkit", manager_create_sock, NULL, true },
        { "bess", manager_create_sock, NULL, true },
        { "vpnkit", manager_create_sock, NULL, true },
};

static const char *const kind_names[ELEMENTSOF(kinds) + 1] = { "tap", "vhost-net", "qemu", "qemu-dgram", "vfkit", "bess", "vpnkit", NULL };

const char *const *manager_device_kinds(void) {
        return kind_names;
}

static const DeviceKind *find_kind(const char *kind) {
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (streq(kinds[i].kind, kind))
                        return &kinds[i];
        return NULL;
}

static bool is_sock(const ManagedDevice *d) {
        return find_kind(d->device->ops->kind)->sock;
}

int manager_check_kind(const char *kind, Error *e) {
        char list[256] = "";
        size_t len = 0;

        if (find_kind(kind))
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(kinds) && len < sizeof(list); i++)
                len += (size_t) snprintf(list + len, sizeof(list) - len, "%s%s", i > 0 ? ", " : "", kinds[i].kind);
        return error_set(e, ERROR_NOT_SUPPORTED, "There is no kind of device '%s'; there are: %s", ERROR_QUOTE(kind), list);
}

/* The lowest free "KIND0", "KIND1" ... */
static void choose_name(Manager *m, const char *kind, char *buf, size_t size) {
        for (unsigned i = 0; i <= MANAGER_DEVICES_MAX; i++) {
                (void) snprintf(buf, size, "%s%u", kind, i);
                if (!manager_device(m, buf))
                        return;
        }
}

static int check_new(Manager *m, const char *name, uint32_t uid, Error *e) {
        unsigned mine = 0;

        if (!name_is_valid(name))
                return error_set(e, ERROR_INVALID_ARGS,
                                 "'%s' cannot be the name of a device: 1 to %d letters, digits, '_', '.' and '-', beginning with none of '.-'",
                                 ERROR_QUOTE(name), NAME_MAX_LEN);
        if (manager_device(m, name))
                return error_set(e, ERROR_DEVICE_EXISTS, "Device '%s' exists", name);
        if (HASH_COUNT(m->devices) >= MANAGER_DEVICES_MAX)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "Device '%s': there are %d already, no more can be made", name,
                                 MANAGER_DEVICES_MAX);

        for (ManagedDevice *d = NULL; (d = manager_next_device(m, d));)
                mine += d->device->owner == uid;
        if (manager_uid_is_limited(uid) && mine >= MANAGER_PER_USER_DEVICES_MAX)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "Device '%s': user %u has %u already, as many as a user may have", name, uid,
                                 mine);
        return 0;
}

static int find_network(Manager *m, const char *name, Network **ret, Error *e) {
        *ret = NULL;
        if (name && name[0] == 0)
                return 0;
        *ret = manager_network(m, name ?: MANAGER_NAME_DEFAULT);
        if (!*ret)
                return error_set(e, ERROR_NO_SUCH_NETWORK, "There is no network '%s'", ERROR_QUOTE(name ?: MANAGER_NAME_DEFAULT));
        return 0;
}

static DeviceEntry *free_entry(DeviceEntry *entry) {
        if (!entry)
                return NULL;
        device_free(entry->pub.device);
        entry->port.lender = lender_free(entry->port.lender, NULL);
        free(entry->namespace);
        free(entry);
        return NULL;
}
DEFINE_CLEANUP(DeviceEntry *, free_entry);

/* What the guest's namespace lends. By descriptors it has kept he who lends could make our calls wait: what others lend than root and our own
 * user stays unused. */
static int receive_lent(DeviceEntry *entry, const DeviceKind *k, uint32_t uid, const DeviceOptions *o, Error *e) {
        Lender *lender;
        const char *what;
        int r;

        if (o->lend_fd < 0)
                return 0;
        if (k->sock)
                return error_set(e, ERROR_INVALID_ARGS, "Lend: only a TAP leads to a namespace");
        r = lender_receive(&lender, o->lend_fd, &what);
        if (r == -EINVAL || r == -ESRCH)
                return error_set(e, ERROR_INVALID_ARGS, "Lend: these sockets cannot be used: %s", what);
        if (r < 0)
                return error_set_errno(e, r, "Cannot take the sockets that are lent");
        if (manager_uid_is_limited(uid))
                lender = lender_free(lender, NULL);
        entry->port.lender = lender;
        return 0;
}

static const char *state_of(const ManagedDevice *d) {
        return device_is_down(d->device) ? "waiting" : d->network ? "attached" : "detached";
}

static int attach(DeviceEntry *entry, Network *n, Error *e) {
        int r;

        r = network_attach(n, entry->pub.device, &entry->port);
        entry->port.lender = NULL;
        if (r == -ENOSPC)
                return error_set(e, ERROR_QUOTA_EXCEEDED, "Network '%s' has no room for another device", network_config(n)->name);
        if (r < 0)
                return error_set_errno(e, r, "Cannot attach device '%s' to network '%s'", entry->name, network_config(n)->name);
        entry->pub.network = n;
        entry->pub.state = state_of(&entry->pub);
        return 0;
}

/* What store_fds() puts for a socket: once it is plugged in, its own descriptor is its thread's, which closes it when the far end leaves. */
static int keep_fd(const DeviceKind *k, const Device *d) {
        int fd = k->sock ? sock_fd(d) : -EBADF;

        return fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -EBADF;
}

static void store_fds(const DeviceKind *k, const DeviceEntry *entry, int kept) {
        char stored[FDSTORE_NAME_MAX];
        int fd;

        if (kept >= 0)
                fdstore_put(fdstore_device_name(entry->name, 0, stored), kept);
        for (unsigned i = 0; k->fd && (fd = k->fd(entry->pub.device, i)) >= 0; i++)
                fdstore_put(fdstore_device_name(entry->name, i, stored), fd);
}

/* The place of a device that is in no network. */
static int attach_to_lab(Manager *m, DeviceEntry *entry, Error *e) {
        int r;

        entry->port.lender = lender_free(entry->port.lender, NULL); /* nobody watches there whether its process has ended */
        r = manager_lab_attach(m, entry->pub.device);
        if (r < 0)
                return error_set_errno(e, r, "Cannot start device '%s' in the laboratory", entry->name);
        entry->pub.network = NULL;
        entry->pub.state = state_of(&entry->pub);
        return 0;
}

/* Where the device is now. -ENOENT: it has just gone on its own, and the fact is on its way. */
static int detach(Manager *m, ManagedDevice *d) {
        return d->network ? network_detach(d->network, d->device) : manager_lab_detach(m, d->device);
}

int manager_create_device(Manager *m, const char *kind, uint32_t uid, const DeviceOptions *o, ManagedDevice **ret, Error *e) {
        _cleanup_(free_entryp) DeviceEntry *entry = NULL;
        const DeviceKind *k = find_kind(kind);
        _cleanup_close_ int kept = -EBADF;
        char chosen[NAME_MAX_LEN + 1];
        const char *name = o->name;
        Network *n;
        int r;

        if (!k)
                return manager_check_kind(kind, e);
        if (!name) {
                choose_name(m, kind, chosen, sizeof(chosen));
                name = chosen;
        }
        r = check_new(m, name, uid, e);
        if (r >= 0)
                r = find_network(m, o->network, &n, e);
        if (r < 0)
                return r;

        entry = calloc(1, sizeof(*entry));
        if (!entry || (o->namespace && !(entry->namespace = strdup(o->namespace))))
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        entry->port = o->port;
        r = k->create(kind, name, uid, o, &entry->pub.device, e);
        if (r >= 0)
                r = receive_lent(entry, k, uid, o, e);
        if (r < 0)
                return r;

        memcpy(entry->name, name, strlen(name) + 1);
        entry->persistent = o->persistent;
        entry->vhost_queue_size = o->vhost_queue_size;
        entry->event_log = RATELIMIT_INIT(10 * USEC_PER_SEC, 10);
        kept = keep_fd(k, entry->pub.device);
        r = n ? attach(entry, n, e) : attach_to_lab(m, entry, e);
        if (r < 0)
                return r;
        HASH_ADD_STR(m->devices, name, entry);
        state_changed(m, STATE_DEVICES); /* first: what is in the store and in no file would be thrown away after a crash */
        store_fds(k, entry, kept);
        *ret = &TAKE_PTR(entry)->pub;
        log_info("Device '%s' (%s%s%s) is made%s%s", name, kind, (*ret)->device->peer ? ", " : "", (*ret)->device->peer ?: "",
                 n ? ", in network " : "", n ? network_config(n)->name : "");
        manager_tell_device(m, *ret, MANAGER_ADDED);
        if (n)
                manager_tell_network(m, n, MANAGER_CHANGED);
        return 0;
}

/* The next vnetd has the guest then, and the guest notices nothing. */
static void store_guest(const DeviceEntry *entry) {
        char stored[FDSTORE_NAME_MAX];
        int fd = is_sock(&entry->pub) ? sock_leave(entry->pub.device) : -EBADF;

        if (fd >= 0)
                fdstore_put(fdstore_guest_name(entry->name, stored), fd);
}

void manager_drop_device(Manager *m, ManagedDevice *d) {
        DeviceEntry *entry = CONTAINER_OF(d, DeviceEntry, pub);
        Network *n = d->network;
        char stored[FDSTORE_NAME_MAX];
        int r = 0;

        manager_tell_device(m, d, MANAGER_REMOVED);
        manager_forget_captures(m, entry->name);
        HASH_DEL(m->devices, entry);
        state_changed(m, STATE_DEVICES);
        for (unsigned i = 0; !m->ending && i < d->device->n_queues; i++)
                fdstore_remove(fdstore_device_name(entry->name, i, stored));
        if (!entry->gone)
                r = detach(m, d);
        if (m->ending && r >= 0)
                store_guest(entry);
        log_info("Device '%s' is removed", entry->name);
        if (r == -ENOENT) {
                /* It has just gone on its own, and the fact is on its way with a pointer to it. Kept until then, so that
                 * no new device can stand at its address and be taken for it. */
                entry->next_going = m->going;
                m->going = entry;
        } else
                free_entry(entry);
        if (n)
                manager_tell_network(m, n, MANAGER_CHANGED);
}

void manager_free_going(Manager *m, const Device *only) {
        for (DeviceEntry **at = &m->going; *at;) {
                DeviceEntry *entry = *at;

                if (only && entry->pub.device != only) {
                        at = &entry->next_going;
                        continue;
                }
                *at = entry->next_going;
                free_entry(entry);
        }
}

int manager_remove_device(Manager *m, ManagedDevice *d, Error *e) {
        manager_drop_device(m, d);
        return 0;
}

int manager_attach_device(Manager *m, ManagedDevice *d, Network *n, Error *e) {
        DeviceEntry *entry = CONTAINER_OF(d, DeviceEntry, pub);
        int r;

        if (d->network)
                return error_set(e, ERROR_DEVICE_BUSY, "Device '%s' is in network '%s': detach it first", entry->name,
                                 network_config(d->network)->name);
        r = detach(m, d);
        if (r < 0)
                return error_set(e, ERROR_NO_SUCH_DEVICE, "Device '%s' has just gone", entry->name);
        r = attach(entry, n, e);
        if (r < 0) {
                (void) attach_to_lab(m, entry, NULL);
                return r;
        }
        log_info("Device '%s' is attached to network '%s'", entry->name, network_config(n)->name);
        manager_tell_device(m, d, MANAGER_CHANGED);
        manager_tell_network(m, n, MANAGER_CHANGED);
        state_changed(m, STATE_DEVICES);
        return 0;
}

int manager_detach_device(Manager *m, ManagedDevice *d, Error *e) {
        DeviceEntry *entry = CONTAINER_OF(d, DeviceEntry, pub);
        Network *n = d->network;
        int r;

        if (!n)
                return error_set(e, ERROR_NOT_ATTACHED, "Device '%s' is in no network", entry->name);
        r = detach(m, d);
        if (r < 0) { /* it has gone on its own just now: manager_device_gone() is on its way */
                d->network = NULL;
                d->state = "detached";
        } else
                r = attach_to_lab(m, entry, e);
        if (r < 0 && d->network) {
                (void) attach(entry, n, NULL);
                return r;
        }
        log_info("Device '%s' is detached from network '%s'", entry->name, network_config(n)->name);
        manager_tell_device(m, d, MANAGER_CHANGED);
        manager_tell_network(m, n, MANAGER_CHANGED);
        state_changed(m, STATE_DEVICES);
        return 0;
}

int manager_device_take_fd(ManagedDevice *d) {
        return is_sock(d) ? sock_take_far_fd(d->device) : -EBADF;
}

const char *manager_device_path(const ManagedDevice *d) {
        return is_sock(d) ? sock_path(d->device) : NULL;
}

void manager_device_addresses(const ManagedDevice *d, const char **ret_listen, const char **ret_connect) {
        *ret_listen = is_sock(d) ? sock_listen_text(d->device) : NULL;
        *ret_connect = is_sock(d) ? sock_connect_text(d->device) : NULL;
}

/* Somebody came to the far end, or left it. */
void manager_device_event(Manager *m, Network *n, const char *device, DeviceEvent event, int error) {
        ManagedDevice *d = manager_device(m, device);
        DeviceEntry *entry;
        bool down;

        if (!d || d->network != n)
                return;
        entry = CONTAINER_OF(d, DeviceEntry, pub);
        __atomic_store_n(&d->device->event_told, false, __ATOMIC_SEQ_CST); /* before looking: what comes now is told anew */
        down = device_is_down(d->device);
        if (ratelimit_below(&entry->event_log, network_now(n))) {
                if (entry->event_log.held_back > 0)
                        log_info("Device '%s': %u more such messages were left out", device, entry->event_log.held_back);
                if (event == DEVICE_REFUSED)
                        log_warning("Device '%s': another guest was turned away, for one is connected", device);
                else if (!down)
                        log_info("Device '%s': a guest is connected", device);
                else if (error < 0)
                        (void) log_warning_errno(error, "Device '%s': the guest's connection was ended: %m", device);
                else
                        log_info("Device '%s': the guest has left", device);
        }
        if (streq(d->state, state_of(d)))
                return;
        d->state = state_of(d);
        manager_tell_device(m, d, MANAGER_CHANGED);
}

/* The network has let go of it already. @d may have been removed since the fact was posted. */
void manager_device_gone(Manager *m, Device *d, int error) {
        ManagedDevice *managed = manager_device_of(m, d);
        Network *n;

        if (!managed) {
                manager_free_going(m, d);
                return;
        }
        (void) log_warning_errno(error, "Device '%s' has gone: %m", d->name);
        n = managed->network;
        managed->network = NULL;
        managed->state = "gone";
        CONTAINER_OF(managed, DeviceEntry, pub)->gone = true;
        manager_tell_device(m, managed, MANAGER_CHANGED);
        manager_drop_device(m, managed);
        if (n)
                manager_tell_network(m, n, MANAGER_CHANGED);
}

/* ---- finding ---- */

ManagedDevice *manager_device(Manager *m, const char *name) {
        DeviceEntry *entry;

        HASH_FIND_STR(m->devices, name, entry);
        return entry ? &entry->pub : NULL;
}

ManagedDevice *manager_device_of(Manager *m, const Device *d) {
        for (DeviceEntry *entry = m->devices; entry; entry = entry->hh.next)
                if (entry->pub.device == d)
                        return &entry->pub;
        return NULL;
}

ManagedDevice *manager_next_device(Manager *m, ManagedDevice *after) {
        DeviceEntry *entry = after ? CONTAINER_OF(after, DeviceEntry, pub)->hh.next : m->devices;

        return entry ? &entry->pub : NULL;
}
