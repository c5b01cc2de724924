/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The host's links as guests feel them: whether there is a way out by each family, and whether addresses have gone. Follows by
 * rtnetlink; only says what is, changes nothing. Control thread only.
 */

#include <systemd/sd-event.h>

#include "basic/addr.h"
#include "basic/macro.h"

#define HOST_LINKS_SETTLE_USEC (50 * USEC_PER_MSEC) /* changes come in bursts, and many an address comes right back */

typedef struct HostLinks {
        bool ip4, ip6;       /* a packet to the outside would find a route and a source address */
        bool addresses_lost; /* since the last call: some may be back */
} HostLinks;

typedef struct HostLinksWatch HostLinksWatch;
typedef void (*HostLinksFn)(const HostLinks *links, void *userdata);

/* An address outside, by family, for questions about the way out: nothing is ever sent there. */
#define HOST_OUTSIDE4 "1.0.0.1"
#define HOST_OUTSIDE6 "2000::1"

/* The host's address that packets to @dst leave from, into @ret. False: there is no way there. */
bool host_source_towards(const char *dst, IpAddr *ret);

/* Looks at once and calls @fn, then again whenever something of it has changed, or addresses have gone. */
int host_links_watch_new(HostLinksWatch **ret, sd_event *event, HostLinksFn fn, void *userdata);
HostLinksWatch *host_links_watch_free(HostLinksWatch *w); /* returns NULL */
DEFINE_CLEANUP(HostLinksWatch *, host_links_watch_free);
const HostLinks *host_links_watch_current(const HostLinksWatch *w);
