/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* vnetctl qemu: see ctl-qemu.c. */

#include "ctl.h"

int verb_qemu(Ctl *c, int argc, char **argv);
