/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The host's resolvers: reads /etc/resolv.conf (resolv.conf(5)) and follows it while it is replaced, relinked, removed or made
 * later. Only says what the file says: whom to ask first, and when, is the DNS proxy's business. Control thread only.
 */

#include <systemd/sd-event.h>

#include "netstack/netstack.h"

#define RESOLV_TEXT_MAX (64 * 1024) /* bytes of the file that are read */

typedef struct Resolv {
        Endpoint servers[NETSTACK_RESOLVERS_MAX]; /* in the order of the file, without repetition */
        size_t n_servers;
        char *search[NETSTACK_SEARCH_MAX]; /* (owned) */
        size_t n_search;
} Resolv;

/* Fills @ret from the file's text. What it does not understand it skips, as every resolver does; beyond the maxima it
 * stops taking. Servers with a zone ("fe80::1%eth0") are skipped: an Endpoint has no zone. 0 or -ENOMEM. */
int resolv_parse(const char *text, size_t len, Resolv *ret);
void resolv_deinit(Resolv *r);
bool resolv_equal(const Resolv *a, const Resolv *b);

typedef struct ResolvWatch ResolvWatch;
typedef void (*ResolvFn)(const Resolv *resolv, void *userdata); /* @resolv borrowed for the call */

/* Reads @path at once and calls @fn, then again whenever what it says has changed. While the file is not there, or has no byte in
 * it, what it said last stands (nothing, at the beginning): it is most likely being replaced. */
int resolv_watch_new(ResolvWatch **ret, sd_event *event, const char *path, ResolvFn fn, void *userdata);
ResolvWatch *resolv_watch_free(ResolvWatch *w); /* returns NULL */
DEFINE_CLEANUP(ResolvWatch *, resolv_watch_free);
const Resolv *resolv_watch_current(const ResolvWatch *w);
