/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * DNS on gateway:53, UDP and TCP. Names of this network and its guests are answered here (ldns builds the answers); everything else
 * is relayed unaltered to the host's resolvers, each query under an id of our own, with fail-over and time-outs. Zones put up at run
 * time come before all of it (dns-zone.h); domains may have resolvers of their own; answers are kept as long as they say (dns-cache.h).
 *
 * Local names: gateway.DOMAIN, host.DOMAIN, GUEST.DOMAIN and bare GUEST for leases with a hostname, and gvproxy's
 * gateway.containers.internal and host.containers.internal; reverse names of the subnet. Unknown names in DOMAIN are NXDOMAIN here and
 * never leave.
 */

#include "basic/addr.h"

#define DNS_MESSAGE_MAX 65535
#define DNS_PENDING_MAX 1024       /* relayed queries under way */
#define DNS_STREAMS_MAX 64         /* TCP clients at once */
#define DNS_TIMEOUT_USEC (3 * USEC_PER_SEC) /* until the next resolver is asked */
#define DNS_TRIES_MAX 3

typedef struct Netstack Netstack;
typedef struct Dns Dns;
typedef struct IovCur IovCur;

int dns_new(Dns **ret, Netstack *s);
Dns *dns_free(Dns *d);

void dns_input(Dns *d, const Endpoint *client, const Endpoint *server, IovCur *payload); /* one UDP query */
int dns_stream_open(Dns *d, const Endpoint *client, int *ret_flow_fd); /* a TCP client: @ret_flow_fd is the flow's end of the pair */
void dns_flush_cache(Dns *d); /* the resolvers are others now */
void dns_host_event(Dns *d, uint64_t cookie, uint32_t events);          /* HOST_KIND_DNS cookies */
