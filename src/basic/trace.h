/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Static tracepoints (SystemTap's <sys/sdt.h>, provider "vnetd"): one no-op instruction each where nobody traces, nothing at all where they
 * were not built in. perf, bpftrace and gdb find them by name. The list is in vnetd(8), held against the program by a test.
 */

#include "config.h"

#if HAVE_SDT
#include <sys/sdt.h>
#define TRACE1(name, a) DTRACE_PROBE1(vnetd, name, a)
#define TRACE2(name, a, b) DTRACE_PROBE2(vnetd, name, a, b)
#define TRACE4(name, a, b, c, d) DTRACE_PROBE4(vnetd, name, a, b, c, d)
#else
#define TRACE1(name, a) ((void) (a))
#define TRACE2(name, a, b) ((void) (a), (void) (b))
#define TRACE4(name, a, b, c, d) ((void) (a), (void) (b), (void) (c), (void) (d))
#endif
