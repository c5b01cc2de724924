/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The switch's learning table: open addressing within a few places, keyed so that a guest cannot aim at one. Never allocates. A port with
 * as many entries as it may have gets new ones in place of those of its own that have aged.
 */

#include "daemon/switch.h"

#include <xxhash.h>

void switch_init(SwitchTable *t, uint64_t seed) {
        *t = (SwitchTable){ .seed = seed };
}

static uint32_t place(const SwitchTable *t, const MacAddr *mac, unsigned probe) {
        return (uint32_t) (XXH3_64bits_withSeed(mac, sizeof(*mac), t->seed) + probe) & (SWITCH_ENTRIES_MAX - 1);
}

static bool is_live(const SwitchEntry *e, usec_t now) {
        return e->port != 0 && now - e->seen < SWITCH_AGE_USEC;
}

static void clear(SwitchTable *t, SwitchEntry *e) {
        t->n_entries[e->port]--;
        e->port = 0;
}

/* Looks for aged entries of @port, once a second at most: a flood of new addresses must not make each of them dear. */
static void sweep(SwitchTable *t, uint16_t port, usec_t now) {
        if (t->swept[port] != 0 && now - t->swept[port] < USEC_PER_SEC)
                return;
        t->swept[port] = MAX(now, (usec_t) 1);
        for (unsigned i = 0; i < SWITCH_ENTRIES_MAX; i++)
                if (t->entries[i].port == port && !is_live(&t->entries[i], now))
                        clear(t, &t->entries[i]);
}

static bool has_room(SwitchTable *t, uint16_t port, usec_t now) {
        if (t->n_entries[port] >= SWITCH_PORT_ENTRIES_MAX)
                sweep(t, port, now);
        return t->n_entries[port] < SWITCH_PORT_ENTRIES_MAX;
}

bool switch_learn(SwitchTable *t, const MacAddr *mac, uint16_t port, usec_t now) {
        SwitchEntry *vacant = NULL;
        for (unsigned i = 0; i < SWITCH_PROBES; i++) {
                SwitchEntry *e = &t->entries[place(t, mac, i)];
                if (e->port == port && mac_equal(&e->mac, mac)) {
                        e->seen = now;
                        return true;
                }
                if (e->port != 0 && mac_equal(&e->mac, mac)) { /* it has moved */
                        if (!has_room(t, port, now))
                                return false;
                        t->n_entries[e->port]--;
                        t->n_entries[port]++;
                        e->port = port;
                        e->seen = now;
                        return true;
                }
                if (!vacant && !is_live(e, now))
                        vacant = e;
        }
        if (!vacant || !has_room(t, port, now))
                return false;
        if (vacant->port != 0)
                clear(t, vacant);
        *vacant = (SwitchEntry){ *mac, port, now };
        t->n_entries[port]++;
        return true;
}

uint16_t switch_lookup(const SwitchTable *t, const MacAddr *mac, usec_t now) {
        for (unsigned i = 0; i < SWITCH_PROBES; i++) {
                const SwitchEntry *e = &t->entries[place(t, mac, i)];
                if (is_live(e, now) && mac_equal(&e->mac, mac))
                        return e->port;
        }
        return 0;
}

void switch_forget_port(SwitchTable *t, uint16_t port, void (*fn)(const MacAddr *mac, void *userdata), void *userdata) {
        for (unsigned i = 0; i < SWITCH_ENTRIES_MAX; i++) {
                SwitchEntry *e = &t->entries[i];
                if (e->port != port)
                        continue;
                clear(t, e);
                if (fn)
                        fn(&e->mac, userdata);
        }
}
