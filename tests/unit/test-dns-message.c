/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DNS headers, questions and names: what is read, what is refused, what matches. */

#include <errno.h>
#include <glib.h>

#include "netstack/dns-message.h"

#define QUERY "\x12\x34\x01\x10\0\1\0\0\0\0\0\0\3wWw\7example\0\0\x1c\0\1"
#define QUERY_LEN (sizeof(QUERY) - 1)

/* Over an exact copy on the heap, so that a read past the end shows under ASan. */
static int read_query(const uint8_t *msg, size_t len, DnsHeader *h, DnsQuestion *q) {
        g_autofree uint8_t *copy = g_malloc(len + !len);

        memcpy(copy, msg, len);
        return dns_query_read(len > 0 ? copy : NULL, len, h, q);
}

static bool reply_matches(const uint8_t *msg, size_t len, uint16_t id, const DnsQuestion *q) {
        g_autofree uint8_t *copy = g_malloc(len + !len);

        memcpy(copy, msg, len);
        return dns_reply_matches(copy, len, id, q);
}

static void test_query(void) {
        uint8_t msg[QUERY_LEN + 1] = QUERY;
        DnsHeader h;
        DnsQuestion q;

        g_assert_cmpint(read_query(msg, QUERY_LEN, &h, &q), ==, DNS_RCODE_OK);
        g_assert_cmpuint(h.id, ==, 0x1234);
        g_assert_cmpuint(h.flags, ==, DNS_FLAG_RD | DNS_FLAG_CD);
        g_assert_cmpuint(q.type, ==, 28);
        g_assert_cmpuint(q.class, ==, 1);
        g_assert_cmpmem(q.name, q.name_len, "\3wWw\7example", 13);

        for (size_t len = 0; len < QUERY_LEN; len++) {
                g_assert_cmpint(read_query(msg, len, &h, &q), ==, len < DNS_HEADER_LEN ? -EBADMSG : DNS_RCODE_FORMERR);
                g_assert_cmpuint(q.name_len, ==, 0);
        }

        msg[2] |= 0x80;
        g_assert_cmpint(read_query(msg, QUERY_LEN, &h, &q), ==, -EBADMSG);
        msg[2] = 0x28;
        g_assert_cmpint(read_query(msg, QUERY_LEN, &h, &q), ==, DNS_RCODE_NOTIMP);
        msg[2] = 0;
        for (unsigned n = 0; n < 256; n++) {
                msg[5] = n;
                g_assert_cmpint(read_query(msg, QUERY_LEN, &h, &q), ==, n == 1 ? DNS_RCODE_OK : DNS_RCODE_FORMERR);
        }
        msg[5] = 1;
        for (unsigned type = 250; type <= 253; type++) {
                msg[QUERY_LEN - 3] = type;
                g_assert_cmpint(read_query(msg, QUERY_LEN, &h, &q), ==,
                                type == DNS_TYPE_AXFR || type == DNS_TYPE_IXFR ? DNS_RCODE_REFUSED : DNS_RCODE_OK);
        }
        for (unsigned label = 64; label < 256; label++) { /* pointers, and what is reserved */
                msg[DNS_HEADER_LEN] = label;
                g_assert_cmpint(read_query(msg, QUERY_LEN, &h, &q), ==, DNS_RCODE_FORMERR);
        }
}

/* Names of 255 bytes and one more, of labels of every kind. */
static void test_query_longest(void) {
        uint8_t msg[DNS_HEADER_LEN + 300] = { 0, 1, 0, 0, 0, 1 };
        DnsHeader h;
        DnsQuestion q;

        for (unsigned extra = 0; extra < 2; extra++) {
                uint8_t *p = msg + DNS_HEADER_LEN;

                for (unsigned i = 0; i < 4; i++) {
                        unsigned len = i < 3 ? 63 : 61 + extra;

                        *p = len;
                        memset(p + 1, 'a', len);
                        p += 1 + len;
                }
                memset(p, 0, 5);
                g_assert_cmpint(read_query(msg, p + 5 - msg, &h, &q), ==, extra ? DNS_RCODE_FORMERR : DNS_RCODE_OK);
                g_assert_cmpuint(q.name_len, ==, extra ? 0 : DNS_NAME_MAX);
        }

        uint8_t *p = msg + DNS_HEADER_LEN; /* 127 labels */
        for (unsigned i = 0; i < 127; i++, p += 2)
                memcpy(p, "\1a", 2);
        memset(p, 0, 5);
        g_assert_cmpint(read_query(msg, p + 5 - msg, &h, &q), ==, DNS_RCODE_OK);
        g_assert_cmpuint(q.name_len, ==, DNS_NAME_MAX);
}

static void test_reply(void) {
        uint8_t msg[QUERY_LEN + 1] = QUERY;
        DnsHeader h;
        DnsQuestion q;

        g_assert_cmpint(read_query(msg, QUERY_LEN, &h, &q), ==, DNS_RCODE_OK);
        g_assert_false(reply_matches(msg, QUERY_LEN, 0x1234, &q)); /* the query itself */
        msg[2] |= 0x80;
        g_assert_true(reply_matches(msg, QUERY_LEN, 0x1234, &q));
        g_assert_false(reply_matches(msg, QUERY_LEN, 0x1235, &q));
        for (size_t len = 0; len < QUERY_LEN; len++)
                g_assert_false(reply_matches(msg, len, 0x1234, &q));
        /* Any change of the question but the case of a letter is another question. */
        for (size_t i = DNS_HEADER_LEN; i < QUERY_LEN; i++) {
                msg[i] ^= 0x01;
                g_assert_false(reply_matches(msg, QUERY_LEN, 0x1234, &q));
                msg[i] ^= 0x01;
        }
        msg[DNS_HEADER_LEN + 1] = 'W';
        g_assert_true(reply_matches(msg, QUERY_LEN, 0x1234, &q));

        /* Without a question: errors alone. */
        msg[5] = 0;
        g_assert_false(reply_matches(msg, DNS_HEADER_LEN, 0x1234, &q));
        msg[3] |= DNS_RCODE_SERVFAIL;
        g_assert_true(reply_matches(msg, DNS_HEADER_LEN, 0x1234, &q));
        msg[7] = 1;
        g_assert_false(reply_matches(msg, DNS_HEADER_LEN, 0x1234, &q));
}

static void test_error(void) {
        uint8_t out[DNS_ERROR_LEN_MAX], expect[] = QUERY;
        DnsHeader h;
        DnsQuestion q;

        g_assert_cmpint(read_query(expect, QUERY_LEN, &h, &q), ==, DNS_RCODE_OK);
        expect[2] |= 0x80;
        expect[3] |= 0x80 | DNS_RCODE_SERVFAIL;
        size_t len = dns_error_build(out, &h, &q, DNS_RCODE_SERVFAIL);
        g_assert_cmpmem(out, len, expect, QUERY_LEN);
        g_assert_true(reply_matches(out, len, 0x1234, &q));

        q.name_len = 0;
        g_assert_cmpuint(dns_error_build(out, &h, &q, DNS_RCODE_FORMERR), ==, DNS_HEADER_LEN);
        g_assert_cmpuint(out[5], ==, 0);
}

static void test_name_equal(void) {
        g_assert_true(dns_name_equal((uint8_t *) "\1aZ", 3, (uint8_t *) "\1Az", 3));
        g_assert_false(dns_name_equal((uint8_t *) "\1a", 2, (uint8_t *) "\1a", 3));
        g_assert_false(dns_name_equal((uint8_t *) "\1@", 2, (uint8_t *) "\1`", 2)); /* no letters */
        g_assert_false(dns_name_equal((uint8_t *) "\1[", 2, (uint8_t *) "\1{", 2));
}

static void test_name_from_text(void) {
        uint8_t wire[255];
        char text[300];

        g_assert_cmpuint(dns_name_from_text("vnet.internal", wire, sizeof(wire)), ==, 15);
        g_assert_cmpmem(wire, 15, "\x04vnet\x08internal\x00", 15);
        g_assert_cmpuint(dns_name_from_text("vnet.internal.", wire, sizeof(wire)), ==, 15);
        g_assert_cmpuint(dns_name_from_text("vnet.internal", wire, 15), ==, 15);
        g_assert_cmpuint(dns_name_from_text("vnet.internal", wire, 14), ==, 0);
        g_assert_cmpuint(dns_name_from_text("", wire, sizeof(wire)), ==, 0);
        g_assert_cmpuint(dns_name_from_text(".", wire, sizeof(wire)), ==, 0);
        g_assert_cmpuint(dns_name_from_text("a..b", wire, sizeof(wire)), ==, 0);
        memset(text, 'a', 64);
        text[64] = 0;
        g_assert_cmpuint(dns_name_from_text(text, wire, sizeof(wire)), ==, 0);
        g_assert_cmpuint(dns_name_from_text(text + 1, wire, sizeof(wire)), ==, 65);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dns-message/query", test_query);
        g_test_add_func("/dns-message/query/longest", test_query_longest);
        g_test_add_func("/dns-message/reply", test_reply);
        g_test_add_func("/dns-message/error", test_error);
        g_test_add_func("/dns-message/name/equal", test_name_equal);
        g_test_add_func("/dns-message/name/from-text", test_name_from_text);
        return g_test_run();
}
