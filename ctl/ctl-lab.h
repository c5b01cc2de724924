/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The commands of the laboratory: a frame put on a device by hand, and what passes it written down. Each returns what to exit with. */

#include "ctl.h"

int verb_inject(Ctl *c, int argc, char **argv);
int verb_capture(Ctl *c, int argc, char **argv);
