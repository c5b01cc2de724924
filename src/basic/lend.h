/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * How a network namespace lends sockets: a Unix socket (SOCK_SEQPACKET) in which one message waits, of one byte, LEND_BYTE, with descriptors
 * beside it: first a pidfd, whose process's end ends the loan, then TCP sockets made in the namespace, neither bound nor connected. An
 * open socket keeps its namespace alive: hence the process.
 */

#define LEND_BYTE 'L'
#define LEND_SOCKETS_MAX 128 /* beside the pidfd: what one message may carry is 253 */
#define LEND_SOCKETS 64      /* as many vnetctl makes for the first family of a network ... */
#define LEND_SOCKETS_MORE 16 /* ... and for IPv6, where there is IPv4 as well */
