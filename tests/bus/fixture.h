/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Fixture: the real vnetd as a process on a private bus, and calls to it. The program's path comes from
 * $VNETD; without it the tests skip. The daemon reads no configuration of this machine: it gets an
 * empty directory.
 */

#include <gio/gio.h>
#include <libglib-testing/dbus-queue.h>

#define VNETD_NAME "org.vnetd1"
#define VNETD_PATH "/org/vnetd1"
#define MANAGER "org.vnetd1.Manager"
#define NETWORK "org.vnetd1.Network"
#define DEVICE "org.vnetd1.Device"
#define FORWARD "org.vnetd1.Forward"
#define NETWORK_DEFAULT "/org/vnetd1/network/default"
#define ERROR_DBUS "org.freedesktop.DBus.Error."

/* Skips all when there is no daemon to test. Call first in main(). */
void fixture_require_daemon(void);

/* A child that a killed test does not leave behind: for g_subprocess_launcher_set_child_setup(). */
void die_with_parent(gpointer userdata);

typedef struct Daemon {
        GSubprocess *process; /* (owned) */
        char *dir;            /* (owned) its configuration, removed at the end */
} Daemon;

/* @option: "--bus-address=..." or "--user". @always_query: the polkit seam. Waits until it owns its name on
 * @connection. */
void daemon_start(Daemon *d, GDBusConnection *connection, const char *option, gboolean always_query);
void daemon_stop(Daemon *d);         /* SIGTERM, and it must leave with exit code 0 (no leak, no crash) */
void daemon_assert_fails(Daemon *d); /* it leaves by itself, with exit code 1 */
void daemon_assert_alive(Daemon *d, GDBusConnection *connection);

/* The usual set: GtDBusQueue's bus, the daemon on it, and polkit played by the queue when @with_polkit. */
typedef struct Fixture {
        GtDBusQueue *queue;      /* (owned) */
        GDBusConnection *client; /* (borrowed: the queue's) */
        Daemon daemon;
        GDBusInterfaceInfo *polkit_info; /* (owned) */
        guint polkit_name, polkit_object;
} Fixture;
void fixture_set_up(Fixture *f, gboolean with_polkit, gboolean always_query);
void fixture_tear_down(Fixture *f);
GDBusConnection *fixture_connect(void); /* a further client of the same bus; close and unref */

extern const char polkit_xml[];

/* A call that waits. @args floating or NULL. NULL and @error on refusal. */
GVariant *call(GDBusConnection *c, const char *path, const char *interface, const char *method,
               GVariant *args, GError **error);
/* The same, must succeed; @reply_type NULL: nothing expected of it. */
GVariant *call_ok(GDBusConnection *c, const char *path, const char *interface, const char *method,
                  GVariant *args);
/* Must be refused with D-Bus error @name ("org.vnetd1.NoSuchNetwork"); @part (nullable) must stand in its
 * message. */
void call_refused(GDBusConnection *c, const char *path, const char *interface, const char *method,
                  GVariant *args, const char *name, const char *part);
GVariant *get_property(GDBusConnection *c, const char *path, const char *interface, const char *property);

/* A call that does not wait; its outcome is picked up later. */
typedef struct Pending {
        GVariant *reply; /* (owned) */
        GError *error;   /* (owned) */
        gboolean done;
} Pending;
Pending *call_async(GDBusConnection *c, const char *path, const char *interface, const char *method,
                    GVariant *args, gboolean interactive);
void pending_wait(Pending *p);                                               /* at most CALL_TIMEOUT_MSEC */
void pending_assert_ok(Pending *p);                                          /* waits, frees */
void pending_assert_refused(Pending *p, const char *name, const char *part); /* waits, frees */

#define CALL_TIMEOUT_MSEC 60000

/* Collects signals of @path_namespace from the daemon; each is one GVariant (ssv): member, path, parameters.
 */
typedef struct Signals {
        GDBusConnection *connection; /* (ref) */
        guint id;
        GPtrArray *seen; /* (owned) of GVariant */
} Signals;
void signals_start(Signals *s, GDBusConnection *c);
void signals_stop(Signals *s);
/* Waits for a signal whose "member path" is @what and whose parameters, printed, have @part in them. */
void signals_await(Signals *s, const char *what, const char *part);
