/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Bypass: the forwards' clients on this host whose guest is a namespace that has lent sockets. Their bytes go from socket to socket, past
 * the gateway and the guest's device. Belongs to one network and its thread. What cannot be connected so goes the usual way instead, and
 * hears there what is the matter.
 */

#include "basic/loop.h"
#include "daemon/lender.h"
#include "netstack/netstack.h"

typedef struct Bypass Bypass;

typedef struct BypassHandler {
        void (*moved)(void *userdata, const HostBypass *what, uint64_t rx, uint64_t tx);
        void (*ended)(void *userdata, const HostBypass *what);
        void (*failed)(void *userdata, const HostBypass *what, int fd); /* no connection came of it: @fd is the receiver's */
} BypassHandler;

int bypass_new(Bypass **ret, Loop *loop, const BypassHandler *handler, void *userdata);
Bypass *bypass_free(Bypass *b); /* its connections are reset; returns NULL */

/* The sockets of the guest on that port of the switch: owned, whatever comes of it. */
int bypass_add_lender(Bypass *b, uint16_t port, Lender *l);
void bypass_remove_lender(Bypass *b, uint16_t port); /* its connections are reset */

/* @fd: accepted, and owned on success. Negative errno: it is not to go this way. */
int bypass_open(Bypass *b, uint16_t port, const HostBypass *what, int fd);

typedef struct BypassStats {
        uint64_t opened, failed, bytes;
} BypassStats;
const BypassStats *bypass_stats(const Bypass *b);
size_t bypass_count(const Bypass *b);
size_t bypass_list(const Bypass *b, FlowInfo *ret, size_t max); /* connections that stand; returns how many were filled in */
