/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DHCP messages: reading options wherever clients may put them, refusing lies, and replies that never outgrow their room. */

#include <glib.h>

#include "netstack/dhcp-message.h"

#define FILE_OFFSET 108
#define SNAME_OFFSET 44
#define OPTIONS_OFFSET 240

typedef struct Message {
        uint8_t buf[4096];
        size_t len;
} Message;

static const MacAddr client_mac = { { 0x52, 0x54, 0, 0, 0, 1 } };

static void message_init(Message *m) {
        *m = (Message){ .buf = { 1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 7, 0x80, 0 }, .len = OPTIONS_OFFSET };
        memcpy(m->buf + 28, &client_mac, sizeof(client_mac));
        memcpy(m->buf + 236, (uint8_t[]){ 99, 130, 83, 99 }, 4);
}

static void message_add(Message *m, uint8_t code, const void *data, size_t len) {
        m->buf[m->len++] = code;
        m->buf[m->len++] = len;
        if (len > 0)
                memcpy(m->buf + m->len, data, len);
        m->len += len;
}

static void message_type(Message *m, uint8_t type) {
        message_add(m, DHCP_OPTION_TYPE, &type, 1);
}

/* The parse runs over an exact copy on the heap, so that a read past the end shows under ASan. */
static bool message_parse(const Message *m, DhcpRequest *q) {
        g_autofree uint8_t *copy = g_memdup2(m->buf, m->len);
        struct iovec store;
        IovCur cur = iovcur_from_buf(&store, copy, m->len);

        memset(q, 0xa5, sizeof(*q));
        return dhcp_request_parse(q, &cur);
}

static void test_parse_all_options(void) {
        Message m;
        DhcpRequest q;
        IpAddr a;

        message_init(&m);
        message_type(&m, DHCP_REQUEST);
        message_add(&m, DHCP_OPTION_REQUESTED, (uint8_t[]){ 10, 0, 0, 9 }, 4);
        message_add(&m, DHCP_OPTION_SERVER, (uint8_t[]){ 10, 0, 0, 1 }, 4);
        message_add(&m, DHCP_OPTION_LEASE, (uint8_t[]){ 0, 0, 0x0e, 0x10 }, 4);
        message_add(&m, DHCP_OPTION_MAX_SIZE, (uint8_t[]){ 0x05, 0x00 }, 2);
        message_add(&m, DHCP_OPTION_RAPID_COMMIT, NULL, 0);
        message_add(&m, DHCP_OPTION_PARAMETERS, (uint8_t[]){ 3, 1, 26 }, 3);
        message_add(&m, DHCP_OPTION_CLIENT_ID, "\0abc", 4);
        message_add(&m, DHCP_OPTION_HOSTNAME, "web", 3);
        message_add(&m, 60, "vendor", 6);
        m.buf[m.len++] = DHCP_OPTION_PAD;
        m.buf[m.len++] = DHCP_OPTION_END;
        m.buf[m.len++] = 99; /* after the end: anything */

        g_assert_true(message_parse(&m, &q));
        g_assert_cmpint(q.type, ==, DHCP_REQUEST);
        g_assert_cmpuint(q.flags, ==, DHCP_FLAG_BROADCAST);
        g_assert_true(mac_equal(&q.chaddr, &client_mac));
        g_assert_true(ip_is_null(&q.ciaddr));
        g_assert_true(ip_is_null(&q.giaddr));
        g_assert_cmpint(ip_parse("10.0.0.9", &a), ==, 0);
        g_assert_true(ip_equal(&q.requested, &a));
        g_assert_cmpint(ip_parse("10.0.0.1", &a), ==, 0);
        g_assert_true(ip_equal(&q.server, &a));
        g_assert_cmpuint(q.lease_sec, ==, 3600);
        g_assert_cmpuint(q.max_size, ==, 1280);
        g_assert_true(q.rapid_commit);
        g_assert_cmpmem(q.parameters.data, q.parameters.len, ((uint8_t[]){ 3, 1, 26 }), 3);
        g_assert_cmpmem(q.client_id.data, q.client_id.len, "\0abc", 4);
        g_assert_cmpmem(q.hostname.data, q.hostname.len, "web", 3);
        g_assert_cmpuint(q.fqdn.len, ==, 0);
}

static void test_parse_defaults(void) {
        Message m;
        DhcpRequest q;

        message_init(&m);
        message_type(&m, DHCP_DISCOVER);
        g_assert_true(message_parse(&m, &q)); /* no end mark either */
        g_assert_cmpuint(q.max_size, ==, DHCP_SIZE_MIN);
        g_assert_cmpuint(q.lease_sec, ==, 0);
        g_assert_false(q.rapid_commit);
        g_assert_true(ip_is_null(&q.requested));

        message_add(&m, DHCP_OPTION_MAX_SIZE, (uint8_t[]){ 0, 1 }, 2); /* less than anyone may say */
        g_assert_true(message_parse(&m, &q));
        g_assert_cmpuint(q.max_size, ==, DHCP_SIZE_MIN);
}

/* Options continue in file, then in sname; one option in three pieces, one in each field. */
static void test_parse_overload(void) {
        Message m;
        DhcpRequest q;

        message_init(&m);
        message_type(&m, DHCP_DISCOVER);
        message_add(&m, DHCP_OPTION_OVERLOAD, (uint8_t[]){ 3 }, 1);
        message_add(&m, DHCP_OPTION_CLIENT_ID, "ab", 2);
        memcpy(m.buf + FILE_OFFSET, (uint8_t[]){ DHCP_OPTION_CLIENT_ID, 2, 'c', 'd', DHCP_OPTION_HOSTNAME, 1, 'x', 255 }, 8);
        memcpy(m.buf + SNAME_OFFSET, (uint8_t[]){ DHCP_OPTION_CLIENT_ID, 1, 'e', 255 }, 4);

        g_assert_true(message_parse(&m, &q));
        g_assert_cmpmem(q.client_id.data, q.client_id.len, "abcde", 5);
        g_assert_cmpmem(q.hostname.data, q.hostname.len, "x", 1);

        /* The same fields without the overload option are text that means nothing. */
        message_init(&m);
        message_type(&m, DHCP_DISCOVER);
        memcpy(m.buf + FILE_OFFSET, (uint8_t[]){ DHCP_OPTION_HOSTNAME, 200, 'x' }, 3);
        g_assert_true(message_parse(&m, &q));
        g_assert_cmpuint(q.hostname.len, ==, 0);

        /* An option that runs over the end of its field does not go on in the next. */
        message_add(&m, DHCP_OPTION_OVERLOAD, (uint8_t[]){ 1 }, 1);
        g_assert_false(message_parse(&m, &q));

        for (unsigned bad = 0; bad < 256; bad += 4) { /* 0, 4 ..: no field, or none that exists */
                message_init(&m);
                message_type(&m, DHCP_DISCOVER);
                message_add(&m, DHCP_OPTION_OVERLOAD, &(uint8_t){ bad }, 1);
                g_assert_false(message_parse(&m, &q));
        }

        /* Overload from within an overloaded field. */
        message_init(&m);
        message_type(&m, DHCP_DISCOVER);
        message_add(&m, DHCP_OPTION_OVERLOAD, (uint8_t[]){ 1 }, 1);
        memcpy(m.buf + FILE_OFFSET, (uint8_t[]){ DHCP_OPTION_OVERLOAD, 1, 2, 255 }, 4);
        g_assert_false(message_parse(&m, &q));
}

static void test_parse_long_option(void) {
        uint8_t part[255];
        Message m;
        DhcpRequest q;

        memset(part, 'i', sizeof(part));
        message_init(&m);
        message_type(&m, DHCP_DISCOVER);
        message_add(&m, DHCP_OPTION_CLIENT_ID, part, 255);
        message_add(&m, DHCP_OPTION_CLIENT_ID, part, 255);
        message_add(&m, DHCP_OPTION_CLIENT_ID, part, 2);
        g_assert_true(message_parse(&m, &q));
        g_assert_cmpuint(q.client_id.len, ==, DHCP_OPTION_BYTES_MAX);

        message_add(&m, DHCP_OPTION_CLIENT_ID, part, 1); /* one beyond the limit */
        g_assert_false(message_parse(&m, &q));
}

static void test_parse_lies(void) {
        static const struct {
                uint8_t code, len;
        } wrong[] = {
                { DHCP_OPTION_TYPE, 1 },      { DHCP_OPTION_TYPE, 2 },     { DHCP_OPTION_REQUESTED, 3 },
                { DHCP_OPTION_REQUESTED, 5 }, { DHCP_OPTION_SERVER, 0 },   { DHCP_OPTION_LEASE, 2 },
                { DHCP_OPTION_MAX_SIZE, 1 },  { DHCP_OPTION_OVERLOAD, 2 }, { DHCP_OPTION_RAPID_COMMIT, 1 },
        };
        static const struct {
                size_t offset;
                uint8_t value;
        } header[] = { { 0, 2 }, { 1, 6 }, { 2, 16 }, { 28, 0x01 }, { 236, 98 } };
        Message m, whole;
        DhcpRequest q;

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                message_init(&m);
                message_type(&m, DHCP_DISCOVER);
                message_add(&m, wrong[i].code, (uint8_t[8]){ 1, 1, 1, 1, 1, 1, 1, 1 }, wrong[i].len);
                g_assert_false(message_parse(&m, &q));
        }
        for (size_t i = 0; i < ELEMENTSOF(header); i++) {
                message_init(&m);
                message_type(&m, DHCP_DISCOVER);
                m.buf[header[i].offset] = header[i].value;
                g_assert_false(message_parse(&m, &q));
        }
        for (unsigned type = 0; type < 256; type += type == 0 ? 9 : 1) { /* 0 and all from 9 on */
                message_init(&m);
                message_type(&m, type);
                g_assert_false(message_parse(&m, &q));
        }

        message_init(&m);
        g_assert_false(message_parse(&m, &q)); /* plain BOOTP: no type */
        memset(m.buf + 28, 0, 6);
        message_type(&m, DHCP_DISCOVER);
        g_assert_false(message_parse(&m, &q)); /* no MAC address */

        /* Cut anywhere: never read over the end; inside an option it is a lie. */
        message_init(&whole);
        message_type(&whole, DHCP_DISCOVER);
        message_add(&whole, DHCP_OPTION_HOSTNAME, "name", 4);
        for (size_t len = 0; len < whole.len; len++) {
                m = whole;
                m.len = len;
                g_assert_true(message_parse(&m, &q) == (len == OPTIONS_OFFSET + 3));
        }
}

static void check_label(const char *hostname, size_t len, const char *expect) {
        char label[DHCP_LABEL_MAX + 1];
        DhcpRequest q = {};

        q.hostname.len = len;
        memcpy(q.hostname.data, hostname, len);
        dhcp_request_label(&q, label);
        g_assert_cmpstr(label, ==, expect);
}

static void check_fqdn(const char *fqdn, size_t len, const char *expect) {
        char label[DHCP_LABEL_MAX + 1];
        DhcpRequest q = { .hostname = { .len = 5, .data = "other" } };

        q.fqdn.len = len;
        memcpy(q.fqdn.data, fqdn, len);
        dhcp_request_label(&q, label);
        g_assert_cmpstr(label, ==, expect);
}

static void test_label(void) {
        char longest[100];

        check_label("web", 3, "web");
        check_label("Web-1.example.org", 17, "Web-1");
        check_label("a b_c", 5, "a-b-c");
        check_label("--x--", 5, "x");
        check_label("x\0y", 3, "x");
        check_label("../../etc", 9, "");
        check_label("\xff\xfe", 2, "");
        check_label("", 0, "");
        memset(longest, 'a', sizeof(longest));
        check_label(longest, 100, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        memset(longest + 62, '-', 38);
        check_label(longest, 100, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");

        check_fqdn("\x00\x00\x00web.example.", 15, "web");
        check_fqdn("\x04\x00\x00\x03web\x07" "example\x00", 16, "web");
        check_fqdn("\x04\x00\x00\xffweb", 7, "web"); /* a label length that lies is cut to what is there */
        check_fqdn("\x04\x00\x00\x00", 4, "");
        check_fqdn("\x04\x00", 2, "other"); /* too short to be one */
}

static void test_reply_limits(void) {
        static uint8_t data[2000];
        Message m;
        DhcpRequest q;
        DhcpReply r;
        IpAddr yiaddr;

        message_init(&m);
        message_type(&m, DHCP_DISCOVER);
        memcpy(m.buf + 12, (uint8_t[]){ 10, 0, 0, 7 }, 4);
        m.buf[3] = 4;
        g_assert_true(message_parse(&m, &q));
        g_assert_cmpint(ip_parse("10.0.0.9", &yiaddr), ==, 0);

        dhcp_reply_begin(&r, &q, DHCP_OFFER, &yiaddr, 576);
        g_assert_cmpuint(r.buf[0], ==, 2);
        g_assert_cmpuint(r.buf[3], ==, 0);                      /* hops */
        g_assert_cmpmem(r.buf + 4, 4, "\xde\xad\xbe\xef", 4);   /* xid */
        g_assert_cmpmem(r.buf + 8, 4, "\0\0\x80\0", 4);         /* secs, flags */
        g_assert_cmpmem(r.buf + 12, 4, "\0\0\0\0", 4);          /* ciaddr: only in an ACK */
        g_assert_cmpmem(r.buf + 16, 4, "\x0a\0\0\x09", 4);
        g_assert_cmpmem(r.buf + 28, 6, &client_mac, 6);
        g_assert_cmpuint(dhcp_reply_finish(&r), ==, DHCP_REPLY_MIN);

        dhcp_reply_begin(&r, &q, DHCP_ACK, &yiaddr, 576);
        g_assert_cmpmem(r.buf + 12, 4, "\x0a\0\0\x07", 4);

        /* Full to the last byte: 576 - 28 - 240 - 3 (type) - 1 (end) = 304 = 257 + 47. */
        g_assert_true(dhcp_reply_put(&r, 224, data, 255));
        g_assert_false(dhcp_reply_put(&r, 225, data, 46));
        g_assert_true(dhcp_reply_put(&r, 225, data, 45));
        g_assert_false(dhcp_reply_put(&r, 226, NULL, 0));
        g_assert_cmpuint(dhcp_reply_finish(&r), ==, 576 - DHCP_IP_UDP_LEN);

        /* Sizes are held between the least and the most, whatever is asked. */
        dhcp_reply_begin(&r, &q, DHCP_ACK, &yiaddr, 0);
        g_assert_cmpuint(r.max, ==, DHCP_SIZE_MIN - DHCP_IP_UDP_LEN);
        dhcp_reply_begin(&r, &q, DHCP_ACK, &yiaddr, 100000);
        g_assert_cmpuint(r.max, ==, DHCP_REPLY_MAX);

        /* RFC 3396: 300 bytes go in two pieces. */
        g_assert_false(dhcp_reply_put(&r, 119, data, sizeof(data)));
        size_t at = r.len;
        g_assert_true(dhcp_reply_put(&r, 119, data, 300));
        g_assert_cmpuint(r.buf[at], ==, 119);
        g_assert_cmpuint(r.buf[at + 1], ==, 255);
        g_assert_cmpuint(r.buf[at + 257], ==, 119);
        g_assert_cmpuint(r.buf[at + 258], ==, 45);
        g_assert_cmpuint(r.len, ==, at + 304);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dhcp-message/parse/all-options", test_parse_all_options);
        g_test_add_func("/dhcp-message/parse/defaults", test_parse_defaults);
        g_test_add_func("/dhcp-message/parse/overload", test_parse_overload);
        g_test_add_func("/dhcp-message/parse/long-option", test_parse_long_option);
        g_test_add_func("/dhcp-message/parse/lies", test_parse_lies);
        g_test_add_func("/dhcp-message/label", test_label);
        g_test_add_func("/dhcp-message/reply/limits", test_reply_limits);
        return g_test_run();
}
