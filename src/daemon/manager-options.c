/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two maps of a network's options: what DHCP does and tells beside the usual ("Dhcp"), and where what guests send leaves the host
 * ("Outbound"). Their texts are kept, for the files that a restart reads.
 */

#include <ctype.h>
#include <errno.h>
#include <net/if.h>

#include "daemon/manager-private.h"

typedef struct OptionKey {
        const char *name;
        int (*set)(NetworkConfig *c, const char *value, Error *e);
} OptionKey;

static int refuse(const char *map, const char *key, const char *value, const char *what, Error *e) {
        return error_set(e, ERROR_INVALID_ARGS, "%s: '%s' for '%s' is not %s", map, ERROR_QUOTE(value), key, what);
}

/* Calls @fn for each word of @value. */
static int each_word(NetworkConfig *c, const char *value, int (*fn)(NetworkConfig *c, const char *word, Error *e), Error *e) {
        _cleanup_free_ char *copy = strdup(value);
        char *save = NULL;
        int r = copy ? 0 : error_set(e, ERROR_NO_MEMORY, "Out of memory");

        for (char *w = copy ? strtok_r(copy, " ", &save) : NULL; w && r >= 0; w = strtok_r(NULL, " ", &save))
                r = fn(c, w, e);
        return r;
}

/* ---- Dhcp ---- */

static int set_range(NetworkConfig *c, const char *value, Error *e) {
        NetstackConfig *s = &c->stack;
        const char *dash = strchr(value, '-');
        char first[IP_TEXT_MAX] = "";
        IpAddr zero = prefix_nth(&s->subnet, 0), ones = prefix_broadcast(&s->subnet), a, b;

        if (dash && (size_t) (dash - value) < sizeof(first))
                memcpy(first, value, (size_t) (dash - value));
        if (!dash || ip_parse(first, &a) < 0 || ip_parse(dash + 1, &b) < 0 || !prefix_contains(&s->subnet, &a) || !prefix_contains(&s->subnet, &b) ||
            ip_equal(&a, &zero) || ip_equal(&b, &ones) || ntohl(ip_v4(&a)) > ntohl(ip_v4(&b)))
                return refuse("Dhcp", "range", value, "FIRST-LAST, addresses of guests in the subnet", e);
        s->lease_first = a;
        s->lease_last = b;
        return 0;
}

static int add_ntp(NetworkConfig *c, const char *word, Error *e) {
        NetstackConfig *s = &c->stack;

        if (s->n_ntp == NETSTACK_NTP_MAX || ip_parse(word, &s->ntp[s->n_ntp]) < 0 || !ip_is_v4(&s->ntp[s->n_ntp]))
                return refuse("Dhcp", "ntp", word, "one of at most 4 IPv4 addresses", e);
        s->n_ntp++;
        return 0;
}

static int set_ntp(NetworkConfig *c, const char *value, Error *e) {
        return each_word(c, value, add_ntp, e);
}

static int set_portal(NetworkConfig *c, const char *value, Error *e) {
        bool plain = strlen(value) <= NETSTACK_PORTAL_MAX;

        for (const char *p = value; *p; p++)
                plain = plain && isgraph((unsigned char) *p);
        if (!plain || strncmp(value, "https://", strlen("https://")) != 0) /* RFC 8908 4: nothing else will do */
                return refuse("Dhcp", "captivePortal", value, "an https:// URI of at most 255 characters", e);
        c->stack.captive_portal = strdup(value);
        return c->stack.captive_portal ? 0 : error_set(e, ERROR_NO_MEMORY, "Out of memory");
}

static int add_search(NetworkConfig *c, const char *word, Error *e) {
        size_t n = 0;

        while (c->search[n])
                n++;
        if (n == NETSTACK_SEARCH_MAX || !dns_name_is_valid(word))
                return refuse("Dhcp", "search", word, "one of at most 8 domain names", e);
        c->search[n] = strdup(word);
        return c->search[n] ? 0 : error_set(e, ERROR_NO_MEMORY, "Out of memory");
}

static int set_search(NetworkConfig *c, const char *value, Error *e) {
        return each_word(c, value, add_search, e);
}

/* ---- Outbound ---- */

static int set_source(NetworkConfig *c, const char *value, Error *e) {
        if (ip_parse(value, &c->source.v4) < 0 || !ip_is_v4(&c->source.v4) || ip_classify(&c->source.v4) != IP_CLASS_UNICAST)
                return refuse("Outbound", "source", value, "an IPv4 address of the host", e);
        return 0;
}

static int set_source6(NetworkConfig *c, const char *value, Error *e) {
        if (ip_parse(value, &c->source.v6) < 0 || ip_is_v4(&c->source.v6) || ip_classify(&c->source.v6) != IP_CLASS_UNICAST)
                return refuse("Outbound", "source6", value, "an IPv6 address of the host", e);
        return 0;
}

static int set_interface(NetworkConfig *c, const char *value, Error *e) {
        if (value[0] == 0 || strlen(value) >= IFNAMSIZ || strchr(value, '/'))
                return refuse("Outbound", "interface", value, "the name of an interface", e);
        memcpy(c->source.ifname, value, strlen(value) + 1);
        return 0;
}

/* ---- both ---- */

static int refuse_key(const char *map, const OptionKey *keys, const char *name, Error *e) {
        char there[128] = "";

        for (size_t len = 0; keys->name && len < sizeof(there); keys++, len = strlen(there))
                (void) snprintf(there + len, sizeof(there) - len, "%s%s", len > 0 ? ", " : "", keys->name);
        return error_set(e, ERROR_INVALID_ARGS, "%s: there is no '%s'; there are: %s", map, ERROR_QUOTE(name), there);
}

static int set_map(NetworkConfig *c, const char *map, const OptionKey *keys, const char *const *pairs, char ***copy, Error *e) {
        size_t n = 0;
        int r = 0;

        for (const char *const *p = pairs; p && p[0]; p += 2)
                n += 2;
        *copy = calloc(n + 1, sizeof(**copy));
        if (!*copy)
                return error_set(e, ERROR_NO_MEMORY, "Out of memory");
        for (size_t i = 0; i < n && r >= 0; i += 2) {
                const OptionKey *key = keys;

                while (key->name && !streq(key->name, pairs[i]))
                        key++;
                for (size_t k = 0; k < i; k += 2)
                        if (streq(pairs[k], pairs[i]))
                                return error_set(e, ERROR_INVALID_ARGS, "%s: '%s' is there twice", map, pairs[i]);
                if (!key->name)
                        return refuse_key(map, keys, pairs[i], e);
                r = key->set(c, pairs[i + 1], e);
                (*copy)[i] = strdup(pairs[i]);
                (*copy)[i + 1] = (*copy)[i] ? strdup(pairs[i + 1]) : NULL;
                if (r >= 0 && !(*copy)[i + 1])
                        r = error_set(e, ERROR_NO_MEMORY, "Out of memory");
        }
        return r;
}

int manager_set_maps(Manager *m, NetworkConfig *c, uint32_t uid, const NetworkOptions *o, Error *e) {
        static const OptionKey dhcp[] = {
                { "range", set_range }, { "ntp", set_ntp }, { "captivePortal", set_portal }, { "search", set_search }, {}
        };
        static const OptionKey outbound[] = { { "source", set_source }, { "source6", set_source6 }, { "interface", set_interface }, {} };
        int r = 0;

        if (o->outbound && o->outbound[0] && manager_uid_is_limited(uid)) /* past what the host's routes have for everybody */
                return error_set(e, ERROR_ACCESS_DENIED, "Outbound of network '%s': only the administrator may choose where it leaves the host", c->name);
        if (o->dhcp)
                r = set_map(c, "Dhcp", dhcp, o->dhcp, &c->dhcp, e);
        if (r >= 0 && o->outbound)
                r = set_map(c, "Outbound", outbound, o->outbound, &c->outbound, e);
        return r;
}
