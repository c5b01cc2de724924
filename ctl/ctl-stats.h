/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* `vnetctl stats` */

#include "ctl.h"

int verb_stats(Ctl *c, int argc, char **argv);
