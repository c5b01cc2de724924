/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zones of DNS: whatever is written as name, default and records of one, and names asked of what came of it. What is refused says why; what is
 * found was written, and of the zone.
 *
 *   lines:  name \n default \n flags (first byte: 1 loose) \n  then NAME \t TYPE \t VALUE, or ? and a name to be asked, as text
 */

#include <errno.h>
#include <string.h>

#include "basic/parse.h"
#include "fuzz.h"
#include "netstack/dns-zone.h"

#define LINES_MAX 64

/* The next line, terminated in place; NULL at the end. */
static char *next_line(char **p) {
        char *line = *p;

        if (!line)
                return NULL;
        *p = strchr(line, '\n');
        if (*p)
                *(*p)++ = '\0';
        return line;
}

static void add_record(DnsZoneSpec *spec, char *line) {
        char *type = strchr(line, '\t'), *value = type ? strchr(type + 1, '\t') : NULL;
        int r;

        if (!value)
                return;
        *type++ = '\0';
        *value++ = '\0';
        r = dns_zone_spec_add(spec, line, type, value);
        fuzz_check(r == 0 || r == -E2BIG || r == -ENOMEM);
}

static void ask(DnsZone *zone, const char *name) {
        uint8_t wire[DNS_NAME_MAX];
        size_t len = dns_name_from_text(name, wire, sizeof(wire));
        DnsZoneMatch match;
        int at;

        if (len == 0)
                return;
        at = dns_zone_covers(zone, wire, len);
        fuzz_check(at == -ENOENT || (at >= 0 && (size_t) at < len));
        if (at < 0)
                return;
        dns_zone_match(zone, wire, (size_t) at, &match);
        fuzz_check(match.n <= DNS_ZONE_MATCHES_MAX);
        fuzz_check(match.n == 0 || match.exists);
        for (size_t i = 0; i < match.n; i++)
                fuzz_check(match.records[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup(size > 0 ? (const char *) data : "", size);
        char *p = text, *name = next_line(&p), *fallback = next_line(&p), *flags = next_line(&p), *asked[LINES_MAX];
        _cleanup_(dns_zone_freep) DnsZone *zone = NULL;
        DnsZoneSpec spec = {}, copy = {};
        const char *what = NULL;
        size_t record = 0, n_asked = 0;
        int r;

        if (!flags)
                return 0;
        spec.name = strdup(name);
        spec.default_address = fallback[0] ? strdup(fallback) : NULL;
        spec.loose = flags[0] == '1';
        for (char *line; n_asked < LINES_MAX && (line = next_line(&p));)
                if (line[0] == '?')
                        asked[n_asked++] = line + 1;
                else
                        add_record(&spec, line);

        r = dns_zone_new(&zone, &spec, &what, &record);
        fuzz_check(r == 0 || (r == -EINVAL && what && what[0] && (record == SIZE_MAX || record < spec.n_records)) || r == -E2BIG || r == -ENOMEM);
        for (size_t i = 0; r == 0 && i < n_asked; i++)
                ask(zone, asked[i]);
        fuzz_check(dns_zone_spec_copy(&copy, &spec) == 0 && copy.n_records == spec.n_records);
        dns_zone_spec_deinit(&copy);
        dns_zone_spec_deinit(&spec);
        return 0;
}
