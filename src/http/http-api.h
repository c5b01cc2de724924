/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The requests gvproxy's clients make, answered from the manager: method, path and body in, status and text out. Knows no socket and no HTTP:
 * http.c has those. Words of errors are the ones clients look for.
 */

#include "daemon/manager.h"

#define HTTP_BODY_MAX (1024 * 1024)
#define HTTP_TYPE_TEXT "text/plain; charset=utf-8"
#define HTTP_TYPE_JSON "application/json"
#define HTTP_TYPE_METRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

typedef struct HttpReply {
        unsigned status;
        const char *type; /* static */
        char *text;       /* (owned, nullable: empty) */
} HttpReply;

/* Who asks. */
typedef struct HttpCaller {
        const char *network; /* (borrowed) its name; one that is gone is 404 */
        uint32_t uid;        /* what is made is this user's */
        HttpGateway inside;  /* a guest, and what of the API it has; HTTP_GATEWAY_OFF: from the host, all of it */
        IpAddr guest;        /* whom ":PORT" means then */
} HttpCaller;

/**
 * http_api_answer() - answer one request about a network
 * @caller:     borrowed for the call
 * @method, @path: as in the request line, the path without its query
 * @body:       @len bytes, at most HTTP_BODY_MAX; not terminated
 *
 * Anything but a request that is right changes nothing. Without memory the status is 500 and the text NULL.
 */
void http_api_answer(Manager *m, const HttpCaller *caller, const char *method, const char *path, const char *body, size_t len,
                     HttpReply *ret);
