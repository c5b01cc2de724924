/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Bus: the D-Bus face of the manager. Owns the connection, the name org.vnetd1 and every object below
 * /org/vnetd1; calls the manager and turns its news into signals. Keeps no state of the model's own. Control
 * thread only.
 */

#include <systemd/sd-event.h>

#include "daemon/manager.h"

#define BUS_NAME "org.vnetd1"
#define BUS_PATH "/org/vnetd1"

/* Who may change things: root, the daemon's own uid, and who made the thing at hand, always. About others
 * polkit is asked, on the system bus and on a bus given by address (no polkit there: refused); on a user's
 * session bus they are refused unasked. */
typedef struct BusConfig {
        bool user;           /* the session bus, as a user's own instance */
        const char *address; /* (borrowed for the call, nullable) any other bus, instead of the system or
                                session bus */

        /* Test seam, environment VNETD_POLKIT_ALWAYS_QUERY=1: nobody is exempt from the question, neither
         * root nor the daemon's own uid nor an object's owner. It can only take rights away. main() reads
         * the variable and sets this. */
        bool always_query_polkit;
} BusConfig;

typedef struct Bus Bus;

/* Connects, exports the objects of @m, becomes its handler and owns BUS_NAME when it returns: call it before
 * READY=1. Losing the connection later ends @event with an exit code of EXIT_FAILURE. Logs what failed.
 * @event, @m: (borrowed: until bus_free()). 0; -EEXIST: the name is taken; or the errno of what failed. */
int bus_new(Bus **ret, sd_event *event, Manager *m, const BusConfig *config);
Bus *bus_free(Bus *b); /* before manager_free(); says what is still queued, leaves the bus; returns NULL */
DEFINE_CLEANUP(Bus *, bus_free);
