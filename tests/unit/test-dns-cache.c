/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cache: what it keeps and for how long, what it must not keep, and how many. */

#include <glib.h>

#include "netstack/dns-cache.h"

#define SEC USEC_PER_SEC
#define T0 (1000 * SEC)

static void be16(GByteArray *m, unsigned v) {
        g_byte_array_append(m, (uint8_t[]){ (uint8_t) (v >> 8), (uint8_t) v }, 2);
}

static GByteArray *header(unsigned id, unsigned flags, const char *name, unsigned an, unsigned ns, unsigned ar) {
        GByteArray *m = g_byte_array_new();
        uint8_t wire[DNS_NAME_MAX];
        size_t len = dns_name_from_text(name, wire, sizeof(wire));

        be16(m, id);
        be16(m, flags);
        be16(m, 1);
        be16(m, an);
        be16(m, ns);
        be16(m, ar);
        g_byte_array_append(m, wire, (guint) len);
        be16(m, 1);
        be16(m, 1);
        return m;
}

/* A record of the name asked for. @type 6: an SOA with @minimum. */
static void record(GByteArray *m, unsigned type, uint32_t ttl, uint32_t minimum) {
        be16(m, 0xc00c);
        be16(m, type);
        be16(m, 1);
        be16(m, ttl >> 16);
        be16(m, ttl & 0xffff);
        if (type == 6) {
                be16(m, 22);
                be16(m, 0); /* two names, the root both */
                for (int i = 0; i < 8; i++)
                        be16(m, 0);
                be16(m, minimum >> 16);
                be16(m, minimum & 0xffff);
        } else {
                be16(m, 4);
                be16(m, 0x0a00);
                be16(m, 0x0001);
        }
}

static void opt(GByteArray *m, unsigned size, unsigned flags, unsigned rdlen) {
        g_byte_array_append(m, (uint8_t[]){ 0 }, 1);
        be16(m, 41);
        be16(m, size);
        be16(m, 0);
        be16(m, flags);
        be16(m, rdlen);
        for (unsigned i = 0; i < rdlen; i++)
                g_byte_array_append(m, (uint8_t[]){ 0 }, 1);
}

static DnsQuestion question(const GByteArray *m) {
        DnsQuestion q;
        DnsHeader h;

        g_assert_cmpint(dns_query_read(m->data, m->len, &h, &q), ==, DNS_RCODE_OK);
        return q;
}

static void put(DnsCache *c, GByteArray *query, GByteArray *reply, usec_t now) {
        DnsQuestion q = question(query);

        dns_cache_put(c, &q, query->data, query->len, reply->data, reply->len, now);
        g_byte_array_unref(reply);
}

/* The TTL of the first record of the answer from the cache; -1: there is none. */
static int64_t get(DnsCache *c, GByteArray *query, size_t room, usec_t now) {
        DnsQuestion q = question(query);
        g_autofree uint8_t *data = NULL;
        size_t len = 0, at;

        if (!dns_cache_get(c, &q, query->data, query->len, room, now, &data, &len))
                return -1;
        g_assert_cmpmem(data, 2, query->data, 2);                             /* id */
        g_assert_cmpmem(data + 12, q.name_len, query->data + 12, q.name_len); /* spelling */
        at = 12 + (size_t) q.name_len + 4 + 6;
        g_assert_cmpuint(len, >=, at + 4);
        return (int64_t) data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3];
}

#define QUERY(name) header(0x1234, 0x0100, name, 0, 0, 0)

static void test_ttl(void) {
        _cleanup_(dns_cache_freep) DnsCache *c = NULL;
        g_autoptr(GByteArray) query = QUERY("www.example.com"), other = header(0x4321, 0x0100, "WWW.eXample.com", 0, 0, 0),
                              third = QUERY("ww.example.com");
        GByteArray *reply = header(0x9999, 0x8180, "www.example.com", 2, 0, 0);

        g_assert_cmpint(dns_cache_new(&c, 1), ==, 0);
        record(reply, 1, 60, 0);
        record(reply, 1, 30, 0);
        put(c, query, reply, T0);
        g_assert_cmpint(get(c, query, 512, T0), ==, 60);
        g_assert_cmpint(get(c, other, 512, T0 + 29 * SEC), ==, 31);
        g_assert_cmpint(get(c, third, 512, T0), ==, -1);
        g_assert_cmpint(get(c, query, 40, T0), ==, -1); /* does not fit */
        g_assert_cmpint(get(c, query, 512, T0 + 30 * SEC), ==, -1); /* the shortest is over */
        g_assert_cmpint(get(c, query, 512, T0), ==, -1); /* and gone */

        reply = header(1, 0x8180, "www.example.com", 1, 0, 0);
        record(reply, 1, 10 * DNS_CACHE_TTL_MAX_SEC, 0);
        put(c, query, reply, T0);
        g_assert_cmpint(get(c, query, 512, T0 + (DNS_CACHE_TTL_MAX_SEC - 1) * SEC), >, 0);
        dns_cache_flush(c);
        g_assert_cmpint(get(c, query, 512, T0), ==, -1);
        reply = header(1, 0x8180, "www.example.com", 1, 0, 0);
        record(reply, 1, 10 * DNS_CACHE_TTL_MAX_SEC, 0);
        put(c, query, reply, T0);
        g_assert_cmpint(get(c, query, 512, T0 + DNS_CACHE_TTL_MAX_SEC * SEC), ==, -1);
}

static void test_negative(void) {
        _cleanup_(dns_cache_freep) DnsCache *c = NULL;
        g_autoptr(GByteArray) query = QUERY("no.example.com");
        GByteArray *reply;

        g_assert_cmpint(dns_cache_new(&c, 1), ==, 0);
        reply = header(1, 0x8183, "no.example.com", 0, 1, 0);
        record(reply, 6, 100, 20);
        put(c, query, reply, T0);
        g_assert_cmpint(get(c, query, 512, T0 + 19 * SEC), ==, 81);
        g_assert_cmpint(get(c, query, 512, T0 + 20 * SEC), ==, -1);

        reply = header(1, 0x8180, "no.example.com", 0, 1, 0); /* NODATA, and long */
        record(reply, 6, 100000, 100000);
        put(c, query, reply, T0);
        g_assert_cmpint(get(c, query, 512, T0 + (DNS_CACHE_NEGATIVE_MAX_SEC - 1) * SEC), >, 0);
        g_assert_cmpint(get(c, query, 512, T0 + DNS_CACHE_NEGATIVE_MAX_SEC * SEC), ==, -1);

        put(c, query, header(1, 0x8183, "no.example.com", 0, 0, 0), T0); /* nobody says how long */
        g_assert_cmpint(get(c, query, 512, T0), ==, -1);
}

static void check_not_kept(GByteArray *query, GByteArray *reply) {
        _cleanup_(dns_cache_freep) DnsCache *c = NULL;

        g_assert_cmpint(dns_cache_new(&c, 1), ==, 0);
        put(c, query, reply, T0);
        g_assert_cmpint(get(c, query, 65535, T0), ==, -1);
        g_byte_array_unref(query);
}

static GByteArray *answer(unsigned flags, unsigned n, uint32_t ttl) {
        GByteArray *m = header(1, flags, "a.example", n, 0, 0);

        for (unsigned i = 0; i < n; i++)
                record(m, 1, ttl, 0);
        return m;
}

static void test_not_kept(void) {
        GByteArray *m;

        check_not_kept(QUERY("a.example"), answer(0x8182, 1, 60)); /* SERVFAIL */
        check_not_kept(QUERY("a.example"), answer(0x8185, 1, 60)); /* REFUSED */
        check_not_kept(QUERY("a.example"), answer(0x8380, 1, 60)); /* cut */
        check_not_kept(QUERY("a.example"), answer(0x8180, 1, 0));
        check_not_kept(QUERY("a.example"), answer(0x8180, 1, 0x80000000));
        check_not_kept(QUERY("a.example"), answer(0x8180, DNS_CACHE_RECORDS_MAX + 1, 60));
        m = answer(0x8180, 1, 60);
        g_byte_array_append(m, (uint8_t *) "x", 1); /* something behind it */
        check_not_kept(QUERY("a.example"), m);
        m = answer(0x8180, 1, 60);
        g_byte_array_set_size(m, m->len - 1);
        check_not_kept(QUERY("a.example"), m);

        m = header(7, 0x0100, "a.example", 0, 0, 1); /* a client with options of its own */
        opt(m, 1232, 0, 8);
        check_not_kept(m, answer(0x8180, 1, 60));
        m = header(1, 0x8180, "a.example", 1, 0, 1); /* and a resolver with some */
        record(m, 1, 60, 0);
        opt(m, 1232, 0, 8);
        check_not_kept(QUERY("a.example"), m);
}

/* Clients that would get another answer do not get this one. */
static void test_traits(void) {
        _cleanup_(dns_cache_freep) DnsCache *c = NULL;
        g_autoptr(GByteArray) plain = QUERY("a.example"), edns = header(1, 0x0100, "a.example", 0, 0, 1),
                              dnssec = header(1, 0x0100, "a.example", 0, 0, 1), cd = header(1, 0x0110, "a.example", 0, 0, 0);
        GByteArray *reply;

        opt(edns, 1232, 0, 0);
        opt(dnssec, 1232, 0x8000, 0);
        g_assert_cmpint(dns_cache_new(&c, 1), ==, 0);
        put(c, plain, answer(0x8180, 1, 60), T0);
        g_assert_cmpint(get(c, plain, 512, T0), ==, 60);
        g_assert_cmpint(get(c, edns, 512, T0), ==, -1);
        g_assert_cmpint(get(c, dnssec, 512, T0), ==, -1);
        g_assert_cmpint(get(c, cd, 512, T0), ==, -1);

        reply = header(1, 0x8180, "a.example", 40, 0, 1);
        for (int i = 0; i < 40; i++)
                record(reply, 1, 70, 0);
        opt(reply, 1232, 0, 0);
        put(c, edns, reply, T0);
        g_assert_cmpint(get(c, edns, 512, T0), ==, 70); /* its own 1232 count */
        g_assert_cmpint(get(c, plain, 512, T0), ==, 60);
        g_assert_cmpint(get(c, dnssec, 512, T0), ==, -1);
}

static void test_limits(void) {
        _cleanup_(dns_cache_freep) DnsCache *c = NULL;
        unsigned kept = 0;
        GByteArray *m;

        g_assert_cmpint(dns_cache_new(&c, 1), ==, 0);
        for (unsigned i = 0; i < 4 * DNS_CACHE_ENTRIES_MAX; i++) {
                g_autofree char *name = g_strdup_printf("n%u.example", i);
                g_autoptr(GByteArray) query = QUERY(name);
                GByteArray *reply = header(1, 0x8180, name, 1, 0, 0);

                record(reply, 1, 60, 0);
                put(c, query, reply, T0 + i);
                g_assert_cmpint(get(c, query, 512, T0 + i), ==, 60); /* the newest is always there */
        }
        for (unsigned i = 0; i < 4 * DNS_CACHE_ENTRIES_MAX; i++) {
                g_autofree char *name = g_strdup_printf("n%u.example", i);
                g_autoptr(GByteArray) query = QUERY(name);

                kept += get(c, query, 512, T0) >= 0;
        }
        g_assert_cmpuint(kept, >, DNS_CACHE_ENTRIES_MAX * 3 / 4);
        g_assert_cmpuint(kept, <=, DNS_CACHE_ENTRIES_MAX);

        for (size_t len = DNS_CACHE_MESSAGE_MAX; len <= DNS_CACHE_MESSAGE_MAX + 1; len++) {
                g_autoptr(GByteArray) query = QUERY("big.example");
                size_t data;

                m = header(1, 0x8180, "big.example", 1, 0, 0);
                data = len - m->len - 12;
                be16(m, 0xc00c);
                be16(m, 16);
                be16(m, 1);
                be16(m, 0);
                be16(m, 60);
                be16(m, (unsigned) data);
                while (m->len < len)
                        g_byte_array_append(m, (uint8_t[]){ 0 }, 1);
                dns_cache_flush(c);
                put(c, query, m, T0);
                g_assert_cmpint(get(c, query, 65535, T0), ==, len == DNS_CACHE_MESSAGE_MAX ? 60 : -1);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dns-cache/ttl", test_ttl);
        g_test_add_func("/dns-cache/negative", test_negative);
        g_test_add_func("/dns-cache/not-kept", test_not_kept);
        g_test_add_func("/dns-cache/traits", test_traits);
        g_test_add_func("/dns-cache/limits", test_limits);
        return g_test_run();
}
