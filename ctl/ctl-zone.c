/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vnetctl zone set and zone remove. A record is one argument, "NAME TYPE VALUE"; what they may be is vnetd's to judge.
 */

#include "ctl-zone.h"

#include <stdio.h>

#include "basic/parse.h"
#include "ctl-client.h"

#define WHAT_MAX 320

/* Cuts the next word off *@p; the rest begins at its next word. */
static char *next_word(char **p) {
        char *word = *p + strspn(*p, " \t");

        *p = word + strcspn(word, " \t");
        if (**p) {
                *(*p)++ = 0;
                *p += strspn(*p, " \t");
        }
        return word;
}

static int append_record(sd_bus_message *m, const char *text) {
        _cleanup_free_ char *copy = strdup(text);
        char *rest = copy, *name, *type;
        int r;

        if (!copy)
                return fail_errno(ENOMEM, "Failed to read '%s'", text);
        name = next_word(&rest);
        type = next_word(&rest);
        if (!*name || !*type || !*rest)
                return fail_usage("Invalid record '%s': use 'NAME TYPE VALUE', such as 'www A 10.0.0.1'", text);
        r = sd_bus_message_append(m, "(sss)", name, type, rest);
        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

static int append_options(const Ctl *c, sd_bus_message *m) {
        const char *ttl = opt_value(c, OPT_TTL);
        usec_t t = 0;
        int r;

        if (ttl && (parse_usec(ttl, &t) < 0 || t < USEC_PER_SEC || t / USEC_PER_SEC > UINT32_MAX))
                return fail_usage("Invalid value '%s' for --ttl: not a duration of a second or more", ttl);
        r = options_open(m);
        if (r >= 0)
                r = option_string(m, "Default", opt_value(c, OPT_DEFAULT));
        if (r >= 0 && ttl)
                r = option_u32(m, "Ttl", (uint32_t) (t / USEC_PER_SEC));
        if (r >= 0)
                r = options_close(m);
        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

int verb_zone_set(Ctl *c, int argc, char **argv) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_free_ char *path = NULL;
        char what[WHAT_MAX];
        int r;

        r = client_find_network(c, opt_value(c, OPT_NETWORK) ?: "default", &path);
        if (r != 0)
                return r;
        r = client_new_call(c, path, VNETD_NETWORK, "SetZone", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", argv[0]);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sss)");
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        for (int i = 1; i < argc; i++)
                if ((r = append_record(m, argv[i])) != 0)
                        return r;
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        r = append_options(c, m);
        if (r != 0)
                return r;
        (void) snprintf(what, sizeof(what), "put up zone '%.255s'", argv[0]);
        return client_call(c, m, what, NULL);
}

int verb_zone_remove(Ctl *c, int argc, char **argv) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = client_find_network(c, opt_value(c, OPT_NETWORK) ?: "default", &path);
        for (int i = 0; r == 0 && i < argc; i++) {
                char what[WHAT_MAX];

                (void) snprintf(what, sizeof(what), "remove zone '%.255s'", argv[i]);
                r = client_call_value(c, path, VNETD_NETWORK, "RemoveZone", what, NULL, "s", argv[i]);
        }
        return r;
}
