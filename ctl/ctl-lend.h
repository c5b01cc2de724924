/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What a network namespace lends to the daemon: see basic/lend.h. */

#include "ctl-guest-link.h"

/* Makes sockets in the namespace the caller is in, for the daemon to reach its services by (basic/lend.h), until the process of @pidfd ends.
 * @ret: where they wait, owned by the caller; none: the daemon will do without them. Never fails. */
void lend_sockets(int pidfd, const GuestNetwork *network, GuestFds *ret);
