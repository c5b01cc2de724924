/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vnetctl's reading of router advertisements: what is believed, what is cut, and never beyond the end. */

#include <errno.h>
#include <glib.h>

#include "ctl-ra.h"

#define HEAD 16

typedef struct Message {
        uint8_t data[RA_MAX];
        size_t len;
} Message;

static Message advertisement(void) {
        return (Message){ .data = { 134, 0, 0, 0, 64, 0xc0, 7, 8 }, .len = HEAD };
}

/* @len whole eights with the option's first two bytes. */
static void add(Message *m, uint8_t type, const void *body, size_t len) {
        g_assert_cmpuint((len + 2) % 8, ==, 0);
        m->data[m->len++] = type;
        m->data[m->len++] = (uint8_t) ((len + 2) / 8);
        memcpy(m->data + m->len, body, len);
        m->len += len;
}

static void add_search(Message *m, const char *names, size_t len, uint8_t lifetime) {
        uint8_t body[1024] = { 0, 0, 0, 0, 0, lifetime };
        size_t padded = (len + 7) / 8 * 8;

        memcpy(body + 6, names, len);
        add(m, 31, body, 6 + padded);
}

static void add_servers(Message *m, unsigned n, uint8_t lifetime) {
        uint8_t body[6 + 16 * 8] = { 0, 0, 0, 0, 0, lifetime };

        for (unsigned i = 0; i < n; i++) {
                body[6 + 16 * i] = 0xfd;
                body[6 + 16 * i + 15] = (uint8_t) (i + 1);
        }
        add(m, 25, body, 6 + 16 * n);
}

/* In a block of its own size, so that a sanitizer sees the first byte beyond. */
static int parse(const Message *m, DhcpLease *ret) {
        g_autofree uint8_t *copy = g_memdup2(m->data, m->len);

        return ra_parse(copy, m->len, ret);
}

static void test_all(void) {
        Message m = advertisement();
        DhcpLease l;

        add(&m, 1, "\x52\x54\0\0\0\1", 6);
        add(&m, 5, "\0\0\0\0\x05\x78", 6);
        add_servers(&m, 2, 60);
        add_search(&m, "\4vnet\10internal\0\7example\4test", 28, 60);
        g_assert_cmpint(parse(&m, &l), ==, 0);
        g_assert_cmpuint(l.mtu, ==, 1400);
        g_assert_cmpuint(l.n_dns, ==, 2);
        g_assert_cmpstr(IP_TO_TEXT(&l.dns[1]), ==, "fd00::2");
        g_assert_cmpstr(l.search, ==, "vnet.internal example.test");
        g_assert_true(ip_is_null(&l.addr) && ip_is_null(&l.router) && l.lease_sec == 0);
}

static void test_bounds(void) {
        Message m = advertisement();
        DhcpLease l;

        add_servers(&m, 7, 60);
        g_assert_cmpint(parse(&m, &l), ==, 0);
        g_assert_cmpuint(l.n_dns, ==, DHCP_DNS_MAX);

        /* Four options of five names of 63 bytes: more than a search list holds, and 16 fill it. */
        m = advertisement();
        for (unsigned k = 0; k < 4; k++) {
                char names[5 * 65 + 1];

                for (unsigned i = 0; i < 5; i++) {
                        names[65 * i] = 63;
                        memset(names + 65 * i + 1, 'a' + (int) (5 * k + i), 63);
                        names[65 * i + 64] = 0;
                }
                add_search(&m, names, 5 * 65, 60);
        }
        g_assert_cmpint(parse(&m, &l), ==, 0);
        g_assert_cmpuint(strlen(l.search), ==, 16 * 64 - 1);
        g_assert_cmpint(l.search[strlen(l.search) - 1], ==, 'a' + 15);
}

static void test_taken_back(void) {
        Message m = advertisement();
        DhcpLease l;

        add_servers(&m, 1, 0);
        add_search(&m, "\4vnet", 6, 0);
        g_assert_cmpint(parse(&m, &l), ==, 0);
        g_assert_cmpuint(l.n_dns, ==, 0);
        g_assert_cmpstr(l.search, ==, "");
}

/* Nothing that would be more than a name in a resolv.conf; the names before it count. */
static void test_bad_names(void) {
        static const struct {
                const char *names;
                size_t len;
        } bad[] = {
                { "\4good\0\4ba d", 11 }, { "\4good\0\4ba\nd", 11 }, { "\4good\0\300\0", 8 }, { "\4good\0\77bad", 10 }, { "\4good\0\4bad.", 11 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                Message m = advertisement();
                DhcpLease l;

                add_search(&m, bad[i].names, bad[i].len, 60);
                g_assert_cmpint(parse(&m, &l), ==, 0);
                g_assert_cmpstr(l.search, ==, "good");
        }
}

static void test_refused(void) {
        Message m = advertisement();
        DhcpLease l;

        m.data[0] = 135;
        g_assert_cmpint(parse(&m, &l), ==, -ENOMSG);
        m = advertisement();
        m.data[1] = 1;
        g_assert_cmpint(parse(&m, &l), ==, -ENOMSG);
        m = advertisement();
        m.len--;
        g_assert_cmpint(parse(&m, &l), ==, -ENOMSG);

        m = advertisement();
        add_servers(&m, 1, 60);
        for (m.len--; m.len > HEAD; m.len--)
                g_assert_cmpint(parse(&m, &l), ==, -EBADMSG);
        m.len = HEAD + 8;
        m.data[HEAD + 1] = 0;
        g_assert_cmpint(parse(&m, &l), ==, -EBADMSG);

        m.data[HEAD + 1] = 1; /* too short for what it is, but whole: nothing in it */
        g_assert_cmpint(parse(&m, &l), ==, 0);
        g_assert_cmpuint(l.n_dns, ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ctl-ra/all", test_all);
        g_test_add_func("/ctl-ra/bounds", test_bounds);
        g_test_add_func("/ctl-ra/taken-back", test_taken_back);
        g_test_add_func("/ctl-ra/bad-names", test_bad_names);
        g_test_add_func("/ctl-ra/refused", test_refused);
        return g_test_run();
}
