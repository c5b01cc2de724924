/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* vnetctl connect: a tunnel to a guest on stdin and stdout. Returns what to exit with. */

#include "ctl.h"

int verb_connect(Ctl *c, int argc, char **argv);
