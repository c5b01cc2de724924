/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Sockets that speak to multicast groups on the link the host's default route leads to. */

#include "basic/addr.h"

/* A UDP socket that sends to groups of @family, and is in @group (nullable) and hears of that alone. @ifname: on this interface; "": the one
 * of the default route. The host itself does not hear what it sends. The descriptor, or negative errno: -ENODEV, there is no such link. */
int host_group_open(int family, const Endpoint *group, const char *ifname);
