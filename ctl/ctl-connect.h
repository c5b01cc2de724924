/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* vnetctl connect and listen: a tunnel to a guest, or from the first that comes, on stdin and stdout. Return what to exit with. */

#include "ctl.h"

int verb_connect(Ctl *c, int argc, char **argv);
int verb_listen(Ctl *c, int argc, char **argv);
