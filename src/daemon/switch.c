/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The switch's learning table: open addressing within a few places, keyed so that a guest cannot aim at one. Never allocates. */

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

bool switch_learn(SwitchTable *t, const MacAddr *mac, uint16_t port, usec_t now) {
        SwitchEntry *vacant = NULL;
        for (unsigned i = 0; i < SWITCH_PROBES; i++) {
                SwitchEntry *e = &t->entries[place(t, mac, i)];
                if (e->port != 0 && mac_equal(&e->mac, mac)) {
                        e->port = port;
                        e->seen = now;
                        return true;
                }
                if (!vacant && !is_live(e, now))
                        vacant = e;
        }
        if (!vacant)
                return false;
        *vacant = (SwitchEntry){ *mac, port, now };
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
                e->port = 0;
                if (fn)
                        fn(&e->mac, userdata);
        }
}
