/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Polkit: may this caller do that? Asks org.freedesktop.PolicyKit1 without ever waiting for it.
 *
 * A method handler reads and validates its arguments, then calls polkit_check() before it changes anything.
 * When somebody has to be asked, polkit_check() keeps the message and returns 0; the handler returns 1 and
 * is done. With the answer the same message goes back into the bus's queue and the handler runs again from
 * the top, so it looks up every object afresh: nothing of the model is held across the question. Remembers
 * nothing beyond the one call (polkit itself keeps "auth_admin_keep").
 */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"
#include "basic/macro.h"

#define POLKIT_PENDING_MAX 96           /* questions open at a time: of a bus as shipped we may await 128 replies */
#define POLKIT_PENDING_PER_USER_MAX 24  /* one user's, by however many connections */
#define POLKIT_PENDING_PER_CLIENT_MAX 8 /* one connection's */
#define POLKIT_KEPT_MAX 256             /* with those that are answered, and not freed yet */
#define POLKIT_ASKS_MAX 2               /* actions one call may need */
#define POLKIT_OWNERS_MAX 2

typedef enum PolkitMode {
        POLKIT_MODE_ASK,    /* polkit decides about everybody but root, the daemon's own uid and owners */
        POLKIT_MODE_REFUSE, /* those only, and no question */
        POLKIT_MODE_ALWAYS_ASK, /* test seam: polkit decides about everybody */
} PolkitMode;

/* One action a call needs. Strings are borrowed for the call. */
typedef struct PolkitAsk {
        const char *action;                     /* "org.vnetd1.manage-networks" */
        const char *verb;                       /* detail "verb": the method's name */
        const char *network, *device, *address; /* (nullable) details of the same name, for the question's
                                                   text and rules */
        uid_t owners[POLKIT_OWNERS_MAX];        /* who need not be asked, each the maker of something */
        size_t n_owners;
} PolkitAsk;

typedef struct Polkit Polkit;

int polkit_new(Polkit **ret, sd_bus *bus, sd_event *event,
               PolkitMode mode); /* both (borrowed: until polkit_free()) */
Polkit *polkit_free(Polkit *p); /* open questions are withdrawn, their calls left unanswered; returns NULL */
DEFINE_CLEANUP(Polkit *, polkit_free);

/* 1: go on. 0: asked, return 1 from the handler. Negative with @error set: AccessDenied,
 * InteractiveAuthorizationRequired, LimitsExceeded (too many open questions), or the errno of what failed;
 * always a refusal. @n_asks at most POLKIT_ASKS_MAX. */
int polkit_check(Polkit *p, sd_bus_message *m, const PolkitAsk *asks, size_t n_asks, sd_bus_error *error);

/* The uid of who sent @m, as the bus vouches for it. Negative errno when the sender is gone. */
int polkit_sender_uid(sd_bus_message *m, uid_t *ret);
