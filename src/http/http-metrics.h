/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Everything countable as OpenMetrics text (the format Prometheus reads), for all networks and devices. */

#include "daemon/manager.h"

int http_metrics_text(Manager *m, char **ret); /* owned by the caller. 0 or -ENOMEM */
