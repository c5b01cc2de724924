/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Strict parsing of numbers, sizes, durations, booleans and names: the whole string or nothing. No locale,
 * no sign surprises, no leading blanks. -EINVAL: not of the form; -ERANGE: of the form, outside the range.
 * @ret untouched on failure. */

#include <sys/types.h>

#include "basic/macro.h"

#define NAME_MAX_LEN 63 /* of networks and devices */

int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret); /* decimal, or 0x hexadecimal */
int parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *ret);
int parse_port(const char *text, uint16_t *ret);      /* 1..65535, decimal only */
int parse_size(const char *text, uint64_t *ret);      /* bytes; suffixes K M G T are 1024-based: "64K" */
int parse_usec(const char *text, usec_t *ret);        /* "30s", "5min", "100ms", "2h", "1d", "10us"; bare numbers are seconds */
int parse_pid(const char *text, pid_t *ret);

/* Names of networks and devices: 1..NAME_MAX_LEN of [A-Za-z0-9_.-], not beginning with '-' or '.'. */
bool name_is_valid(const char *text);
/* Interface names as the kernel takes them: 1..15 bytes, no '/', no blank, not "." or "..", no '%'. */
bool ifname_is_valid(const char *text);
/* A DNS name of at most 253 characters, labels of letters, digits, '-' and '_'; no trailing dot needed. */
bool dns_name_is_valid(const char *text);

/* Length of the UTF-8 sequence at the beginning of @text (1..4), 0 when it is none: overlong, cut at @left,
 * a surrogate, or beyond U+10FFFF. Zero bytes count as a sequence of length 1. */
unsigned utf8_sequence(const char *text, size_t left);
