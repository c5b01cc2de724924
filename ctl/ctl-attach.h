/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* `vnetctl attach`. */

#include "ctl.h"

int verb_attach(Ctl *c, int argc, char **argv);
