/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of DHCPv6 clients: who may be called what, for how long, and what DNS says of it. */

#include <ldns/ldns.h>

#include "fake-host.h"
#include "netstack/dhcp6-names.h"
#include "netstack/dhcp6.h"
#include "netstack/dns-local.h"
#include "packet.h"

#define SERVER_ID "\0\3\0\1\x52\x54\0\0\0\1"
#define VALID_USEC (5400 * USEC_PER_SEC) /* of an hour's lease */

enum { SOLICIT = 1, REQUEST = 3, CONFIRM = 4, RENEW = 5, RELEASE = 8, DECLINE = 9, INFORMATION = 11 };

static MacAddr mac_of(unsigned client) {
        return (MacAddr){ { 0x52, 0x54, 1, 0, (uint8_t) (client >> 8), (uint8_t) client } };
}

static IpAddr addr_of(FakeHost *h, unsigned client) {
        uint8_t duid[10] = { 0, 3, 0, 1 };
        MacAddr mac = mac_of(client);

        memcpy(duid + 4, &mac, sizeof(mac));
        return dhcp6_address(h->stack, duid, sizeof(duid), 7);
}

static void add_option(GByteArray *m, uint16_t code, const void *bytes, size_t len) {
        uint8_t head[] = { (uint8_t) (code >> 8), (uint8_t) code, (uint8_t) (len >> 8), (uint8_t) len };

        g_byte_array_append(m, head, 4);
        if (len > 0)
                g_byte_array_append(m, bytes, (guint) len);
}

/* The message of a client whose frame is from @mac. @fqdn: the option's body; length 0: without it, and without asking for it. */
static void send_fqdn(FakeHost *h, uint8_t type, unsigned client, const MacAddr *mac, const void *fqdn, size_t len) {
        GByteArray *m = g_byte_array_new();
        uint8_t duid[10] = { 0, 3, 0, 1 };
        MacAddr own = mac_of(client);
        Packet4 p = packet4("ff02::1:2", 547);

        memcpy(duid + 4, &own, sizeof(own));
        g_byte_array_append(m, (const guint8[]){ type, 0xaa, 0xbb, 0xcc }, 4);
        add_option(m, 1, duid, sizeof(duid));
        if (type != SOLICIT && type != CONFIRM && type != INFORMATION)
                add_option(m, 2, SERVER_ID, 10);
        if (type != INFORMATION)
                add_option(m, 3, "\0\0\0\7\0\0\0\0\0\0\0\0", 12);
        if (len > 0) {
                add_option(m, 39, fqdn, len);
                add_option(m, 6, "\0\27\0\47", 4);
        }
        p.src = fake_ip("fe80::5054:ff:fe00:2");
        p.src_mac = *mac;
        p.sport = 546;
        p.dst_mac = (MacAddr){ { 0x33, 0x33, 0, 1, 0, 2 } };
        packet_send(h, packet_udp(&p, m->data, m->len));
        g_byte_array_unref(m);
}

/* A client by its own MAC address with a name of one label (NULL: none). Returns the name the answer has; NULL: none. (owned) */
static char *call_me(FakeHost *h, uint8_t type, unsigned client, const char *label) {
        MacAddr mac = mac_of(client);
        uint8_t o[2 + 64] = { 1, (uint8_t) (label ? strlen(label) : 0) };
        char *got = NULL;

        if (label)
                memcpy(o + 2, label, strlen(label));
        fake_clear_frames(h); /* advertisements of routers, when time has passed */
        send_fqdn(h, type, client, &mac, o, label ? 3 + strlen(label) : 0); /* with the root behind it */
        g_autoptr(FakeFrame) f = NULL;
        Parsed p = packet_take(h, &f);
        for (const uint8_t *b = p.payload + 4; b < p.payload + p.payload_len; b += 4 + (b[2] << 8 | b[3]))
                if (b[1] == 39) {
                        g_assert_cmpuint(b[4], ==, 1); /* S, as asked */
                        g_autoptr(GString) name = g_string_new(NULL);
                        for (const uint8_t *l = b + 5; *l; l += 1 + *l)
                                g_string_append_printf(name, "%s%.*s", name->len > 0 ? "." : "", *l, l + 1);
                        g_assert_cmpuint(name->len + 2, ==, (b[2] << 8 | b[3]) - 1u);
                        got = g_strdup(name->str);
                }
        return got;
}

static void check_called(FakeHost *h, uint8_t type, unsigned client, const char *label, const char *expect) {
        g_autofree char *got = call_me(h, type, client, label);

        g_assert_cmpstr(got, ==, expect);
}

/* What DNS here says, the first record as text without its head; "" none; NULL: no such name. (owned) */
static char *lookup(FakeHost *h, const char *name, uint16_t type) {
        uint8_t m[512] = { 0, 1, 1, 0, 0, 1 };
        DnsQuestion q;
        DnsHeader head;
        DnsAnswer answer;
        ldns_pkt *pkt = NULL;
        char *text = NULL;
        size_t len = 12 + dns_name_from_text(name, m + 12, sizeof(m) - 16);

        m[len + 1] = (uint8_t) type;
        m[len + 3] = 1;
        g_assert_cmpint(dns_query_read(m, len + 4, &head, &q), ==, DNS_RCODE_OK);
        if (dns_local_answer(h->stack, m, len + 4, &q, DNS_UDP_ROOM_MAX, &answer) == 0)
                return NULL;
        g_assert_cmpint(ldns_wire2pkt(&pkt, answer.data, answer.len), ==, LDNS_STATUS_OK);
        if (ldns_pkt_get_rcode(pkt) == LDNS_RCODE_NOERROR) {
                char *rdf = ldns_pkt_ancount(pkt) > 0 ? ldns_rdf2str(ldns_rr_rdf(ldns_rr_list_rr(ldns_pkt_answer(pkt), 0), 0)) : NULL;

                text = g_strdup(rdf ?: "");
                free(rdf);
        }
        ldns_pkt_free(pkt);
        free(answer.data);
        return text;
}

static void check_dns(FakeHost *h, const char *name, uint16_t type, const char *expect) {
        g_autofree char *got = lookup(h, name, type);

        g_assert_cmpstr(got, ==, expect);
}

static void check_reverse(FakeHost *h, const IpAddr *a, const char *expect) {
        g_autoptr(GString) name = g_string_new(NULL);

        for (int i = 31; i >= 0; i--)
                g_string_append_printf(name, "%x.", i % 2 ? a->b[i / 2] & 15 : a->b[i / 2] >> 4);
        g_string_append(name, "ip6.arpa");
        check_dns(h, name->str, LDNS_RR_TYPE_PTR, expect);
}

static void test_dns(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        IpAddr a = addr_of(h, 1);

        check_dns(h, "web.vnet.internal", LDNS_RR_TYPE_AAAA, NULL);
        check_called(h, SOLICIT, 1, "web", NULL); /* nothing is given yet */
        check_dns(h, "web.vnet.internal", LDNS_RR_TYPE_AAAA, NULL);
        check_called(h, REQUEST, 1, "Web", "Web.vnet.internal");
        check_dns(h, "web.vnet.internal", LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&a));
        check_dns(h, "WEB", LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&a));
        check_dns(h, "web.vnet.internal", LDNS_RR_TYPE_A, "");
        check_reverse(h, &a, "Web.vnet.internal.");

        check_called(h, RENEW, 1, "mail", "mail.vnet.internal");
        check_dns(h, "web.vnet.internal", LDNS_RR_TYPE_AAAA, NULL);
        check_dns(h, "mail.vnet.internal", LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&a));
        check_reverse(h, &a, "mail.vnet.internal.");
}

static void test_ends(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        IpAddr a = addr_of(h, 1);
        MacAddr mac = mac_of(1), other = mac_of(2);

        check_called(h, REQUEST, 1, "web", "web.vnet.internal");
        fake_advance(h, VALID_USEC - 1);
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&a));
        fake_advance(h, 1);
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, NULL);
        check_reverse(h, &a, NULL);

        check_called(h, REQUEST, 1, "web", "web.vnet.internal");
        fake_advance(h, VALID_USEC / 2);
        check_called(h, RENEW, 1, NULL, NULL); /* who says nothing keeps what it has */
        fake_advance(h, VALID_USEC - 1);
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&a));

        send_fqdn(h, RELEASE, 1, &other, "", 0); /* not its own */
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&a));
        send_fqdn(h, RELEASE, 1, &mac, "", 0);
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, NULL);
        fake_clear_frames(h);

        check_called(h, REQUEST, 1, "web", "web.vnet.internal");
        send_fqdn(h, DECLINE, 1, &mac, "", 0);
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, NULL);
        fake_clear_frames(h);

        check_called(h, REQUEST, 1, "web", "web.vnet.internal");
        netstack_forget_guest(h->stack, &mac);
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, NULL);
}

/* Another guest's, of either family, or a fixed one: the end of the address goes behind it. */
static void test_taken(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        static const char *const names[] = { "gateway", "HOST", "web", "wEb", "db" };
        IpAddr a = addr_of(h, 1), b = addr_of(h, 2);
        Lease lease = { .addr = fake_ip("192.168.127.9"), .mac = mac_of(9), .hostname = "db", .expires = USEC_INFINITY, .is_static = true };
        g_autofree char *long_name = g_strnfill(63, 'x'), *whole = g_strconcat(long_name, ".vnet.internal", NULL),
                        *cut = g_strdup_printf("%.58s-%02x%02x.vnet.internal", long_name, b.b[14], b.b[15]);

        g_assert_cmpint(dhcp_add(h->stack->dhcp, &lease), ==, 0);
        check_called(h, REQUEST, 1, "web", "web.vnet.internal");
        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autofree char *other = g_strdup_printf("%s-%02x%02x.vnet.internal", names[i], b.b[14], b.b[15]);

                check_called(h, REQUEST, 2, names[i], other);
                check_dns(h, other, LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&b));
        }
        check_dns(h, "gateway.vnet.internal", LDNS_RR_TYPE_AAAA, "fd00:1::1");
        check_dns(h, "host.vnet.internal", LDNS_RR_TYPE_AAAA, "fd00:1::fe");
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&a));
        check_dns(h, "db", LDNS_RR_TYPE_A, "192.168.127.9");
        check_dns(h, "db", LDNS_RR_TYPE_AAAA, "");

        check_called(h, REQUEST, 1, long_name, whole);
        check_called(h, REQUEST, 2, long_name, cut);
        check_called(h, REQUEST, 2, "web", "web.vnet.internal"); /* free by now */
        g_assert_cmpuint(fake_drops(h, DROP_DHCP6_NAME), ==, 0);
}

/* One guest by both DHCPs is one name; and the administrator's word goes before a guest's. */
static void test_with_leases(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Lease mine = { .addr = fake_ip("192.168.127.9"), .mac = mac_of(1), .hostname = "web", .expires = USEC_INFINITY, .is_static = true };
        Lease other = { .addr = fake_ip("192.168.127.10"), .mac = mac_of(2), .hostname = "mail", .expires = USEC_INFINITY, .is_static = true };
        IpAddr a = addr_of(h, 1);

        g_assert_cmpint(dhcp_add(h->stack->dhcp, &mine), ==, 0);
        check_called(h, REQUEST, 1, NULL, NULL); /* as the lease says */
        check_dns(h, "web", LDNS_RR_TYPE_A, "192.168.127.9");
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&a));
        check_reverse(h, &a, "web.vnet.internal.");
        check_called(h, REQUEST, 1, "web", "web.vnet.internal");

        check_called(h, REQUEST, 1, "mail", "mail.vnet.internal");
        g_assert_cmpint(dhcp_add(h->stack->dhcp, &other), ==, 0);
        check_dns(h, "mail", LDNS_RR_TYPE_A, "192.168.127.10");
        check_dns(h, "mail", LDNS_RR_TYPE_AAAA, "");
}

/* Somebody with another's id does not rename it, and a guest with a new id takes its name along. */
static void test_ids(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        MacAddr mac1 = mac_of(1), mac2 = mac_of(2);
        IpAddr a = addr_of(h, 1), b = addr_of(h, 2);

        check_called(h, REQUEST, 1, "web", "web.vnet.internal");
        send_fqdn(h, REQUEST, 1, &mac2, "\1\4evil", 6);
        g_assert_cmpuint(fake_drops(h, DROP_DHCP6_NAME), ==, 1);
        check_dns(h, "evil", LDNS_RR_TYPE_AAAA, NULL);
        check_reverse(h, &a, "web.vnet.internal.");
        send_fqdn(h, REQUEST, 2, &mac1, "\1\3web", 5);
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&b));
        check_reverse(h, &b, "web.vnet.internal.");
        check_reverse(h, &a, NULL);
        fake_clear_frames(h);
}

static void test_forms(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        MacAddr mac = mac_of(1);
        static const struct {
                const char *option;
                size_t len;
                const char *name; /* NULL: the message cannot be read */
        } cases[] = {
                { "\0\3one", 5, "one" }, { "\0\3two\7example\3org\0", 18, "two" }, { "\0\5a_b.c", 7, "a-b" }, { "\0\5\0\1\2\3\4", 7, "" },
                { "\0", 1, "" }, { "\0\0", 2, "" }, { "\0\4one", 5, NULL }, { "\0\300\14", 3, NULL }, { "\0\100abc", 5, NULL },
                { "\0\3---", 5, "" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                unsigned bad = (unsigned) fake_drops(h, DROP_DHCP_MALFORMED);

                netstack_forget_guest(h->stack, &mac);
                send_fqdn(h, REQUEST, 1, &mac, cases[i].option, cases[i].len);
                g_assert_cmpuint(fake_drops(h, DROP_DHCP_MALFORMED), ==, bad + !cases[i].name);
                IpAddr a = addr_of(h, 1);
                const Dhcp6Name *n = dhcp6_name_by_addr(h->stack->names6, &a);
                g_assert_cmpstr(n ? n->label : "", ==, cases[i].name ?: "");
        }
        fake_clear_frames(h);

        netstack_forget_guest(h->stack, &mac);
        send_fqdn(h, INFORMATION, 1, &mac, "\1\3web", 5);
        send_fqdn(h, CONFIRM, 1, &mac, "\1\3web", 5);
        check_dns(h, "web", LDNS_RR_TYPE_AAAA, NULL);
        fake_clear_frames(h);
}

/* One port's clients fill their share, another port still gets names, until nobody does. What has expired makes room. */
static void test_limits(void) {
        g_autoptr(FakeHost) h = fake_host_new(fake_ip6);
        Dhcp6Names *n = h->stack->names6;
        usec_t soon = h->now + USEC_PER_SEC;

        for (unsigned i = 0; i < DHCP6_NAMES_MAX + 1; i++) {
                NetstackPort port = { .id = i < DHCP6_NAMES_PORT_MAX + 1 ? 1 : 2 };
                g_autofree char *label = g_strdup_printf("n%u", i);
                MacAddr mac = mac_of(i);
                IpAddr a = addr_of(h, i);

                h->stack->port = &port;
                bool kept = dhcp6_names_set(n, &a, &mac, label, soon) != NULL;
                h->stack->port = NULL;
                g_assert_cmpint(kept, ==, i != DHCP6_NAMES_PORT_MAX);
        }
        MacAddr mac = mac_of(5000);
        IpAddr a = addr_of(h, 5000);
        g_assert_null(dhcp6_names_set(n, &a, &mac, "late", soon));
        g_assert_cmpuint(fake_drops(h, DROP_DHCP6_NAME), ==, 2);
        fake_advance(h, USEC_PER_SEC);
        g_assert_nonnull(dhcp6_names_set(n, &a, &mac, "late", h->now + 1));
        check_dns(h, "late", LDNS_RR_TYPE_AAAA, IP_TO_TEXT(&a));
        check_dns(h, "n5", LDNS_RR_TYPE_AAAA, NULL);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dhcp6-names/dns", test_dns);
        g_test_add_func("/dhcp6-names/ends", test_ends);
        g_test_add_func("/dhcp6-names/taken", test_taken);
        g_test_add_func("/dhcp6-names/with-leases", test_with_leases);
        g_test_add_func("/dhcp6-names/ids", test_ids);
        g_test_add_func("/dhcp6-names/forms", test_forms);
        g_test_add_func("/dhcp6-names/limits", test_limits);
        return g_test_run();
}
