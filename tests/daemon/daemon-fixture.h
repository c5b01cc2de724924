/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* A private bus and vnetd processes on it, each with directories of its own. Everything ends with the fixture. */

#include <gio/gio.h>

#define DAEMON_TIMEOUT_MS 10000

typedef struct Daemon {
        char *dir;              /* with "config", "state" and "stderr" in it */
        char *address;          /* of the bus */
        GSubprocess *bus, *vnetd; /* vnetd NULL: not running */
        GDBusConnection *connection;
        int notify_fd;          /* -1 without daemon_be_systemd() */
        GHashTable *stored;     /* what vnetd has stored: name to fd plus one */
} Daemon;

void daemon_setup(Daemon *d, gconstpointer data);    /* makes directories and bus; starts no vnetd */
void daemon_teardown(Daemon *d, gconstpointer data); /* ends a vnetd still running, expecting success; removes everything */

void daemon_start(Daemon *d);               /* and waits for its name on the bus */
int daemon_run(Daemon *d, const char *arg); /* starts it with one more argument (nullable) and returns its exit status */
int daemon_stop(Daemon *d, int signal);     /* returns the exit status */
char *daemon_stderr(Daemon *d);             /* what it said, since the last start */

void daemon_write(Daemon *d, const char *name, const char *text); /* a file below "config"; @text NULL: removes it */

/* Plays systemd's part from here on: receives what vnetd tells, keeps the descriptors it stores and hands them to the next one. */
void daemon_be_systemd(Daemon *d);
char *daemon_notified(Daemon *d);                   /* the next message, NULL after a second without one */
void daemon_notified_all(Daemon *d);                /* takes in all there are */
gboolean daemon_stores(Daemon *d, const char *name);

/* A method of INTERFACE org.vnetd1.@interface at @path. Takes @args; NULL with @error when it was refused. */
GVariant *daemon_call(Daemon *d, const char *path, const char *interface, const char *method, GVariant *args, GError **error);
char *daemon_describe(Daemon *d);
gboolean daemon_has_network(Daemon *d, const char *name);
void daemon_assert_refused(Daemon *d, const char *path, const char *interface, const char *method, GVariant *args,
                           const char *error_name, const char *message_pattern);
