/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Zones: what may be written, what is refused and why, and which records a name has. */

#include <glib.h>
#include <ldns/ldns.h>

#include "netstack/dns-zone.h"

typedef struct Box {
        DnsZoneSpec spec;
} Box;

static void box_deinit(Box *b) {
        dns_zone_spec_deinit(&b->spec);
}
#define _box_ _cleanup_(box_deinit)

static void box_init(Box *b, const char *name) {
        *b = (Box){ .spec = { .name = strdup(name) } };
}

static void add(Box *b, const char *name, const char *type, const char *value) {
        g_assert_cmpint(dns_zone_spec_add(&b->spec, name, type, value), ==, 0);
}

static DnsZone *make(const Box *b) {
        DnsZone *z = NULL;
        const char *what = NULL;
        int r = dns_zone_new(&z, &b->spec, &what, NULL);

        if (r < 0)
                g_error("refused: %s", what);
        return z;
}

/* One record alone in zone lab.test: is refused, and the reason has @why in it. */
static void check_refused(const char *name, const char *type, const char *value, const char *why) {
        _box_ Box b;
        DnsZone *z = NULL;
        const char *what = NULL;
        size_t record = 77;

        box_init(&b, "lab.test");
        add(&b, "fine", "A", "10.0.0.1");
        add(&b, name, type, value);
        g_assert_cmpint(dns_zone_new(&z, &b.spec, &what, &record), ==, -EINVAL);
        g_assert_null(z);
        g_assert_cmpuint(record, ==, 1);
        if (!strstr(what, why))
                g_error("'%s %s %s' is refused for '%s', not for '%s'", name, type, value, what, why);
}

/* The records of @name in @z as one text: "A 10.0.0.1 | TXT ..."; "none" when it does not exist, "empty" when it has none. */
static char *lookup(DnsZone *z, const char *name) {
        uint8_t wire[DNS_NAME_MAX];
        size_t len = dns_name_from_text(name, wire, sizeof(wire));
        GString *s = g_string_new(NULL);
        DnsZoneMatch m;
        int at;

        g_assert_cmpuint(len, >, 0);
        at = dns_zone_covers(z, wire, len);
        if (at < 0) {
                g_string_assign(s, "outside");
                return g_string_free(s, FALSE);
        }
        dns_zone_match(z, wire, (size_t) at, &m);
        for (size_t i = 0; i < m.n; i++) {
                g_autofree char *type = ldns_rr_type2str(ldns_rr_get_type(m.records[i]));

                g_string_append_printf(s, "%s%s", i > 0 ? " | " : "", type);
                for (size_t k = 0; k < ldns_rr_rd_count(m.records[i]); k++) {
                        g_autofree char *text = ldns_rdf2str(ldns_rr_rdf(m.records[i], k));

                        g_string_append_printf(s, " %s", text);
                }
        }
        if (!ip_is_null(&m.fallback))
                g_string_append_printf(s, "default %s", IP_TO_TEXT(&m.fallback));
        if (s->len == 0)
                g_string_assign(s, m.exists ? "empty" : "none");
        return g_string_free(s, FALSE);
}

static void check(DnsZone *z, const char *name, const char *expect) {
        g_autofree char *found = lookup(z, name);

        g_assert_cmpstr(found, ==, expect);
}

static void test_exact(void) {
        _box_ Box b;
        _cleanup_(dns_zone_freep) DnsZone *z = NULL;

        box_init(&b, "Lab.Test.");
        add(&b, "www", "A", "10.1.1.1");
        add(&b, "WWW", "AAAA", "fd00::1");
        add(&b, "www", "a", "10.1.1.2");
        add(&b, "@", "MX", "10 mail");
        add(&b, "", "TXT", "v=spf1 -all; \"quoted\"");
        add(&b, "alias", "CNAME", "www");
        add(&b, "out", "CNAME", "www.example.com.");
        add(&b, "_sip._udp", "SRV", "1 2 5060 sip");
        z = make(&b);

        check(z, "www.lab.test", "A 10.1.1.1 | AAAA fd00::1 | A 10.1.1.2");
        check(z, "wWw.LAB.tesT", "A 10.1.1.1 | AAAA fd00::1 | A 10.1.1.2");
        check(z, "lab.test", "MX 10 mail.Lab.Test. | TXT \"v=spf1 -all; \\\"quoted\\\"\"");
        check(z, "alias.lab.test", "CNAME www.Lab.Test.");
        check(z, "out.lab.test", "CNAME www.example.com.");
        check(z, "_sip._udp.lab.test", "SRV 1 2 5060 sip.Lab.Test.");
        check(z, "_udp.lab.test", "empty"); /* there are names below it */
        check(z, "udp.lab.test", "none");
        check(z, "x.www.lab.test", "none");
        check(z, "xlab.test", "outside");
        check(z, "test", "outside");
        check(z, "lab.test.example", "outside");
}

static void test_patterns(void) {
        _box_ Box b;
        _cleanup_(dns_zone_freep) DnsZone *z = NULL;

        box_init(&b, "lab.test");
        b.spec.default_address = strdup("10.9.9.9");
        add(&b, "/^w\\d{1,3}$/", "A", "10.1.1.1");
        add(&b, "/^w\\d{1,3}$/", "TXT", "of the same expression");
        add(&b, "/^W1/", "A", "10.1.1.2");
        add(&b, "w1", "A", "10.1.1.3");
        add(&b, "/(?i)^(?:node|host)-[a-f0-9]+\\.pod$/", "A", "10.1.1.4");
        z = make(&b);

        check(z, "w22.lab.test", "A 10.1.1.1 | TXT \"of the same expression\"");
        check(z, "W333.lab.test", "A 10.1.1.1 | TXT \"of the same expression\"");
        check(z, "w1.lab.test", "A 10.1.1.3");     /* names go before expressions */
        check(z, "w1234.lab.test", "A 10.1.1.2");  /* unanchored at its end, case is nothing */
        check(z, "node-0a.pod.lab.test", "A 10.1.1.4");
        check(z, "node-0x.pod.lab.test", "default 10.9.9.9");
        check(z, "anything.lab.test", "default 10.9.9.9");
        check(z, "lab.test", "empty");
}

/* As gvproxy: the first in the list that fits, and nothing for the zone itself. */
static void test_loose(void) {
        _box_ Box b;
        _cleanup_(dns_zone_freep) DnsZone *z = NULL;

        box_init(&b, "lab.test.");
        b.spec.loose = true;
        add(&b, "/^a/", "A", "10.1.1.1");
        add(&b, "ab", "A", "10.1.1.2");
        add(&b, "b", "A", "10.1.1.3");
        add(&b, "b", "A", "10.1.1.4");
        z = make(&b);
        g_assert_true(dns_zone_is_loose(z));
        check(z, "ab.lab.test", "A 10.1.1.1");
        check(z, "b.lab.test", "A 10.1.1.3");
        check(z, "c.lab.test", "none");
}

/* As many as there may be. */
static void test_patterns_limit(void) {
        static const char *const patterns[] = { "/a+b+c+d+e+f+g+h+i+j+k+/", "/a+++++++++/", "/((((((((a)+)+)+)+)+)+)+)+/", "/(a{16}){16}/", "/([a-z]+-)+[+++++++++++]\\+/" };

        for (size_t i = 0; i < G_N_ELEMENTS(patterns); i++) {
                _cleanup_(dns_zone_freep) DnsZone *z = NULL;
                DnsZoneSpec spec = { .name = g_strdup("lab.test") };

                g_assert_cmpint(dns_zone_spec_add(&spec, patterns[i], "A", "10.1.1.1"), ==, 0);
                g_assert_cmpint(dns_zone_new(&z, &spec, NULL, NULL), ==, 0);
                dns_zone_spec_deinit(&spec);
        }
}

static void test_refusals(void) {
        g_autofree char *label = g_strnfill(64, 'a'), *value = g_strnfill(DNS_VALUE_MAX + 1, 'a');

        check_refused("www", "A", "10.1.1", "no IPv4 address");
        check_refused("www", "A", "", "no IPv4 address");
        check_refused("www", "A", "10.1.1.1\nevil A 10.2.2.2", "no IPv4 address");
        check_refused("www", "A", "10.1.1.1 ; x", "no IPv4 address");
        check_refused("www", "AAAA", "10.1.1.1", "no IPv6 address");
        check_refused("www", "MX", "mail", "no preference and name");
        check_refused("www", "SRV", "1 2 sip", "no priority");
        check_refused("www", "NS", "x", "no such type");
        check_refused("www", "TXT", value, "too long");
        check_refused(label, "A", "10.1.1.1", "no name below the zone");
        check_refused("www.", "A", "10.1.1.1", "no name below the zone");
        check_refused("a..b", "A", "10.1.1.1", "no name below the zone");
        check_refused("fine", "CNAME", "other", "no other record");
        check_refused("/a(b/", "A", "10.1.1.1", "no POSIX extended regular expression");
        check_refused("//", "A", "10.1.1.1", "empty or longer");
        check_refused("/(a)\\1/", "A", "10.1.1.1", "backslash");
        check_refused("/\\bx/", "A", "10.1.1.1", "backslash");
        check_refused("/x\\/", "A", "10.1.1.1", "backslash");
        check_refused("/[\\d]/", "A", "10.1.1.1", "bracket");
        check_refused("/[a/", "A", "10.1.1.1", "bracket");
        check_refused("/[[:alpha/", "A", "10.1.1.1", "bracket");
        check_refused("/(?=x)/", "A", "10.1.1.1", "(?:");
        check_refused("/a{2/", "A", "10.1.1.1", "braces");
        check_refused("/a{,3}/", "A", "10.1.1.1", "braces");
        check_refused("/a{99999999999999999999}/", "A", "10.1.1.1", "braces");
        check_refused("/a++++++++++/", "A", "10.1.1.1", "too many +"); /* the first counts no more than its letter */
        check_refused("/(((((((((a)+)+)+)+)+)+)+)+)+/", "A", "10.1.1.1", "too many +");
        check_refused("/(a{16}){16}+/", "A", "10.1.1.1", "too many +");
}

static void test_limits(void) {
        _box_ Box b;
        _cleanup_(dns_zone_freep) DnsZone *z = NULL;
        g_autofree char *fits = g_strdup_printf("/%0*d/", DNS_PATTERN_MAX, 1), *longer = g_strdup_printf("/%0*d/", DNS_PATTERN_MAX + 1, 1);
        DnsZone *none = NULL;

        check_refused(longer, "A", "10.1.1.1", "empty or longer");
        check_refused("/(a{16}){17}/", "A", "10.1.1.1", "multiply");
        check_refused("/a{257}/", "A", "10.1.1.1", "multiply");

        box_init(&b, "lab.test");
        add(&b, fits, "A", "10.1.1.1");
        add(&b, "/^(a{16}){16}$/", "A", "10.1.1.1");
        for (size_t i = b.spec.n_records; i < DNS_ZONE_RECORDS_MAX; i++)
                add(&b, "www", "A", "10.1.1.1");
        g_assert_cmpint(dns_zone_spec_add(&b.spec, "www", "A", "10.1.1.1"), ==, -E2BIG);
        z = make(&b);

        uint8_t wire[DNS_NAME_MAX];
        size_t len = dns_name_from_text("www.lab.test", wire, sizeof(wire));
        DnsZoneMatch m;
        dns_zone_match(z, wire, (size_t) dns_zone_covers(z, wire, len), &m);
        g_assert_cmpuint(m.n, ==, DNS_ZONE_MATCHES_MAX);

        b.spec.ttl = DNS_ZONE_TTL_MAX_SEC + 1;
        g_assert_cmpint(dns_zone_new(&none, &b.spec, NULL, NULL), ==, -EINVAL);
        b.spec.ttl = DNS_ZONE_TTL_MAX_SEC;
        b.spec.default_address = strdup("10.0.0");
        g_assert_cmpint(dns_zone_new(&none, &b.spec, NULL, NULL), ==, -EINVAL);
        free(b.spec.name);
        b.spec.name = strdup("..");
        g_assert_cmpint(dns_zone_new(&none, &b.spec, NULL, NULL), ==, -EINVAL);
}

/* An automaton with many states, fed by a guest with ever new names, is thrown away before it has grown large. */
static void test_budget(void) {
        _box_ Box b;
        _cleanup_(dns_zone_freep) DnsZone *z = NULL;
        uint32_t x = 12345;

        box_init(&b, "lab.test");
        add(&b, "/^(a|b)*a(a|b){20}$/", "A", "10.1.1.1");
        z = make(&b);
        for (unsigned i = 0; i < 300; i++) {
                char name[80];

                for (unsigned k = 0; k < 60; k++) {
                        x = x * 1664525 + 1013904223;
                        name[k] = x >> 31 ? 'a' : 'b';
                }
                name[39] = 'a';
                memcpy(name + 60, ".lab.test", 10);
                check(z, name, "A 10.1.1.1");
                name[39] = 'b';
                check(z, name, "none");
        }
}

static void test_copy(void) {
        _box_ Box b, copy = {};
        DnsZoneSpec *s = &copy.spec;

        box_init(&b, "lab.test");
        b.spec.ttl = 5;
        b.spec.default_address = strdup("10.0.0.1");
        add(&b, "a", "A", "10.0.0.2");
        g_assert_cmpint(dns_zone_spec_copy(s, &b.spec), ==, 0);
        g_assert_cmpstr(s->name, ==, "lab.test");
        g_assert_cmpstr(s->default_address, ==, "10.0.0.1");
        g_assert_cmpuint(s->ttl, ==, 5);
        g_assert_cmpuint(s->n_records, ==, 1);
        g_assert_cmpstr(s->records[0].value, ==, "10.0.0.2");
        g_assert_true(s->records[0].value != b.spec.records[0].value);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dns-zone/exact", test_exact);
        g_test_add_func("/dns-zone/patterns", test_patterns);
        g_test_add_func("/dns-zone/loose", test_loose);
        g_test_add_func("/dns-zone/patterns-limit", test_patterns_limit);
        g_test_add_func("/dns-zone/refusals", test_refusals);
        g_test_add_func("/dns-zone/limits", test_limits);
        g_test_add_func("/dns-zone/budget", test_budget);
        g_test_add_func("/dns-zone/copy", test_copy);
        return g_test_run();
}
