/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* `vnetctl monitor`. */

#include "ctl.h"

int verb_monitor(Ctl *c, int argc, char **argv);
