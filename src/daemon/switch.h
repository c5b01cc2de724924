/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The learning table of a network's switch: which port a MAC address was last seen behind. Bounded, as a whole and for each port; entries
 * age. Knows no devices and forwards nothing: a port is a small number.
 */

#include "basic/addr.h"

#define SWITCH_ENTRIES_MAX 1024 /* a power of two */
#define SWITCH_PORTS_MAX 256    /* ports are numbered from 1 */
#define SWITCH_PORT_ENTRIES_MAX 64 /* of one port: no guest may use up what all share */
#define SWITCH_AGE_USEC (5 * USEC_PER_MINUTE) /* as bridges do (IEEE 802.1D 7.9.2) */
#define SWITCH_PROBES 8         /* places an address may stand in */

typedef struct SwitchEntry {
        MacAddr mac;
        uint16_t port; /* 0: free */
        usec_t seen;
} SwitchEntry;

typedef struct SwitchTable {
        uint64_t seed;
        SwitchEntry entries[SWITCH_ENTRIES_MAX];
        uint16_t n_entries[SWITCH_PORTS_MAX + 1]; /* of each port, aged ones included */
        usec_t swept[SWITCH_PORTS_MAX + 1];       /* when aged ones of a full port were last looked for */
} SwitchTable;

void switch_init(SwitchTable *t, uint64_t seed);

/* Notes that @mac was seen behind @port (not 0). False: the table has no room near its place, or the port has as many as it may, and the
 * entry was not learnt. */
bool switch_learn(SwitchTable *t, const MacAddr *mac, uint16_t port, usec_t now);
uint16_t switch_lookup(const SwitchTable *t, const MacAddr *mac, usec_t now); /* 0: unknown or aged */

/* Forgets everything behind @port, calling @fn (nullable) for each address. */
void switch_forget_port(SwitchTable *t, uint16_t port, void (*fn)(const MacAddr *mac, void *userdata), void *userdata);
