/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* `vnetctl run`. */

#include "ctl.h"

int verb_run(Ctl *c, int argc, char **argv);
