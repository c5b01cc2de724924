/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * HTTP on sockets of the host: gvproxy's API for one network (http-api.h), /tunnel and /connect. Control thread.
 *
 * Whoever may connect may do everything the API can: a Unix socket is made with mode 0600 and answers root, the daemon's own user and the
 * network's owner alone. Guests, at port 80 of the gateway, are served what NetworkConfig.http_gateway says, and neither /tunnel nor /connect.
 */

#include <systemd/sd-event.h>

#include "daemon/manager.h"

#define HTTP_LISTENERS_MAX 320 /* more than there may be networks */
#define HTTP_CONNECTIONS_MAX 64 /* of one listener */
#define HTTP_TIMEOUT_SEC 10 /* of silence */
#define HTTP_REQUEST_SEC 20 /* for a request and its answer */

typedef struct Http Http;

int http_new(Http **ret, sd_event *event, Manager *m);
Http *http_free(Http *h); /* removes the sockets it has made; returns NULL */
DEFINE_CLEANUP(Http *, http_free);

/* Serves network @network at "unix:///PATH" or "tcp://ADDRESS:PORT". @connect: with /connect, by which machines plug themselves in. A socket
 * nobody listens on any more is replaced. */
int http_listen(Http *h, const char *network, const char *url, bool connect, Error *e);

/* Serves each network made from now on where its options httpApi and httpGateway say. */
void http_serve_networks(Http *h);
