/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * StreamRelay: two stream sockets whose bytes go to each other, on an sd_event. The end of one stream is passed on and the other direction
 * lives; after both ends, or an error, it says so once. Holds at most STREAM_RELAY_BUFFER bytes each way and reads no more until they left.
 */

#include <systemd/sd-event.h>

#include "basic/cleanup.h"

#define STREAM_RELAY_BUFFER (64 * 1024)

typedef struct StreamRelay StreamRelay;

/* @a and @b: non-blocking; owned, whatever comes of it. @done may free the relay. 0 or negative errno. */
int stream_relay_new(StreamRelay **ret, sd_event *event, int a, int b, void (*done)(StreamRelay *r, void *userdata), void *userdata);
StreamRelay *stream_relay_free(StreamRelay *r); /* closes both; returns NULL */
