/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* -listen-stdio: frames on stdin and stdout, behind 16-bit little-endian lengths, as a socket a device of kind "vpnkit" can have. */

/* @ret_fd: that socket (owned by the caller); its far end is stdin and stdout from here on, and closes when stdin ends. Once a process.
 * 0 or negative errno. */
int gv_stdio_open(int *ret_fd);
