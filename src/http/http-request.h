/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The first look at a connection: is it one of the two requests that are not HTTP beyond their head? Reads nothing else of HTTP: everything
 * that is not surely one of the two is the library's to judge.
 */

#include "basic/macro.h"

#define HTTP_HEAD_MAX 4096

typedef enum HttpHeadKind {
        HTTP_HEAD_PARTIAL, /* more has to come */
        HTTP_HEAD_BAD,     /* one of the two, and longer than HTTP_HEAD_MAX */
        HTTP_HEAD_TUNNEL,
        HTTP_HEAD_CONNECT,
        HTTP_HEAD_OTHER,
} HttpHeadKind;

typedef struct HttpHead {
        size_t len;    /* of a tunnel: bytes of the whole head */
        char ip[64];   /* its query; "" when not there */
        char port[16];
} HttpHead;

HttpHeadKind http_head_read(const char *buf, size_t len, HttpHead *ret);
