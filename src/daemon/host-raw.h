/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Raw sockets for pings, for hosts that grant no ping sockets: opened while the thread still may, used from then on. */

#include <stdbool.h>

/* One that hears nothing for now. -EBADF: ping sockets will do, or there is no right to raw ones. */
int host_raw_open(bool v4);

/* From now on it hears answers to pings, everybody's; those of IPv4 with their IP header. */
void host_raw_begin(int fd, bool v4);
