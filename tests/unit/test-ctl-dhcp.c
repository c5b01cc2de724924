/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vnetctl's DHCP client: what it sends is well-formed, what it reads is believed only where it answers us,
 * and never beyond its end.
 */

#include <errno.h>
#include <glib.h>
#include <netinet/ip.h>
#include <netinet/udp.h>

#include "basic/checksum.h"
#include "ctl-dhcp.h"

#define XID 0x12345678u
#define HEADERS (sizeof(struct iphdr) + sizeof(struct udphdr))
#define BODY 240u

static const MacAddr mac = { { 0x52, 0x54, 0, 0, 0, 1 } };

typedef struct Packet {
        uint8_t data[DHCP_PACKET_MAX];
        size_t len;
} Packet;

static void add(Packet *p, uint8_t code, const void *data, uint8_t len) {
        p->data[p->len++] = code;
        p->data[p->len++] = len;
        memcpy(p->data + p->len, data, len);
        p->len += len;
}

/* Sets the lengths right after options were added. */
static void finish(Packet *p) {
        struct iphdr *ip = (void *) p->data;
        struct udphdr *udp = (void *) (p->data + sizeof(*ip));

        p->data[p->len++] = 255;
        ip->tot_len = htons((uint16_t) p->len);
        udp->len = htons((uint16_t) (p->len - sizeof(*ip)));
}

/* An answer without its end: add options, then finish(). */
static Packet answer(uint8_t type) {
        static const uint8_t mask[] = { 255, 255, 255, 0 }, router[] = { 192, 168, 127, 1 };
        static const uint8_t dns[] = { 192, 168, 127, 1, 9, 9, 9, 9 }, mtu[] = { 0xff, 0xf0 },
                             lease[] = { 0, 0, 0x0e, 0x10 };
        Packet p = { .len = HEADERS + BODY };
        struct iphdr *ip = (void *) p.data;
        struct udphdr *udp = (void *) (p.data + sizeof(*ip));
        uint8_t *body = p.data + HEADERS;
        uint32_t xid = htonl(XID), magic = htonl(0x63825363);

        ip->version = 4;
        ip->ihl = 5;
        ip->protocol = IPPROTO_UDP;
        udp->source = htons(67);
        udp->dest = htons(68);
        body[0] = 2;
        body[1] = 1;
        body[2] = 6;
        memcpy(body + 4, &xid, 4);
        memcpy(body + 16, (uint8_t[]){ 192, 168, 127, 2 }, 4);
        memcpy(body + 28, mac.b, 6);
        memcpy(body + 236, &magic, 4);
        add(&p, 53, &type, 1);
        add(&p, 1, mask, 4);
        add(&p, 3, router, 4);
        add(&p, 6, dns, 8);
        add(&p, 26, mtu, 2);
        add(&p, 51, lease, 4);
        add(&p, 54, router, 4);
        return p;
}

/* In a block of its own size, so that a sanitizer sees the first byte beyond. */
static int parse(const Packet *p, size_t len, DhcpType *type, DhcpLease *lease) {
        g_autofree uint8_t *copy = g_memdup2(p->data, len);

        return dhcp_parse(copy, len, XID, &mac, type, lease);
}

static void test_build(void) {
        uint8_t buf[DHCP_PACKET_MAX];
        DhcpQuery q = { .type = DHCP_DISCOVER, .xid = XID, .mac = mac };
        size_t len = dhcp_build(&q, buf);
        struct udphdr *udp = (void *) (buf + sizeof(struct iphdr));
        IpAddr any = ip_from_v4(0), all = ip_from_v4(INADDR_BROADCAST);

        g_assert_cmpuint(len, >=, HEADERS + 300);
        g_assert_cmpuint(checksum_fold(checksum_add(buf, sizeof(struct iphdr), 0)), ==, 0xffff);
        g_assert_cmpuint(ntohs(udp->len), ==, len - sizeof(struct iphdr));
        g_assert_cmpuint(checksum_fold(checksum_add(
                                         udp, ntohs(udp->len),
                                         checksum_pseudo(&any, &all, IPPROTO_UDP, ntohs(udp->len)))),
                         ==, 0xffff);
        g_assert_cmpmem(buf + HEADERS + 28, 6, mac.b, 6);
        g_assert_cmpuint(buf[HEADERS + 10], ==, 0x80); /* broadcast, please */

        /* Giving back: the address and who gave it; nothing is asked for. */
        q = (DhcpQuery){ .type = DHCP_RELEASE,
                         .mac = mac,
                         .client = ip_from_v4(htonl(0xc0a87f02)),
                         .server = ip_from_v4(htonl(0xc0a87f01)) };
        (void) dhcp_build(&q, buf);
        g_assert_cmpmem(buf + HEADERS + 12, 4, ((uint8_t[]){ 192, 168, 127, 2 }), 4);
        g_assert_cmpmem(buf + HEADERS + BODY, 10, ((uint8_t[]){ 53, 1, 7, 54, 4, 192, 168, 127, 1, 255 }),
                        10);
}

static void test_parse(void) {
        static const uint8_t search[] = "\4vnet\10internal\0\3lab\300\5";
        Packet p = answer(5);
        DhcpLease lease;
        DhcpType type;

        add(&p, 15, "vnet.internal", 13);
        add(&p, 119, search, sizeof(search) - 1);
        finish(&p);
        g_assert_cmpint(parse(&p, p.len, &type, &lease), ==, 0);
        g_assert_cmpint(type, ==, DHCP_ACK);
        g_assert_cmpstr(IP_TO_TEXT(&lease.addr), ==, "192.168.127.2");
        g_assert_cmpstr(IP_TO_TEXT(&lease.router), ==, "192.168.127.1");
        g_assert_cmpuint(lease.prefix_len, ==, 24);
        g_assert_cmpuint(lease.n_dns, ==, 2);
        g_assert_cmpstr(IP_TO_TEXT(&lease.dns[1]), ==, "9.9.9.9");
        g_assert_cmpuint(lease.mtu, ==, 65520);
        g_assert_cmpuint(lease.lease_sec, ==, 3600);
        g_assert_cmpuint(lease.renew_sec, ==, 1800);
        g_assert_cmpstr(lease.domain, ==, "vnet.internal");
        g_assert_cmpstr(lease.search, ==, "vnet.internal lab.internal");
}

/* Cut anywhere it is no answer; with any byte of the options changed it may be one, but is read within its
 * bounds. */
static void test_cut(void) {
        Packet p = answer(5);
        DhcpLease lease;
        DhcpType type;

        finish(&p);
        for (size_t len = 0; len < p.len; len++)
                g_assert_cmpint(parse(&p, len, &type, &lease), <, 0);
        for (size_t i = HEADERS + BODY; i < MIN(p.len, sizeof(p.data)); i++) {
                uint8_t before = p.data[i];

                for (unsigned value = 0; value < 256; value++) {
                        p.data[i] = (uint8_t) value;
                        (void) parse(&p, p.len, &type, &lease);
                }
                p.data[i] = before;
        }
}

static void expect_not_ours(size_t at, uint8_t value) {
        Packet p = answer(5);
        DhcpLease lease;
        DhcpType type;

        finish(&p);
        p.data[at] = value;
        g_assert_cmpint(parse(&p, p.len, &type, &lease), ==, -ENOMSG);
}

static void test_not_ours(void) {
        expect_not_ours(0, 0x65);           /* another version */
        expect_not_ours(0, 0x44);           /* a header shorter than a header */
        expect_not_ours(9, IPPROTO_TCP);
        expect_not_ours(6, 0x20);           /* a fragment */
        expect_not_ours(23, 69);            /* another port */
        expect_not_ours(24, 0xff);          /* UDP longer than the packet */
        expect_not_ours(HEADERS, 1);        /* a query */
        expect_not_ours(HEADERS + 4, 0xff); /* another transaction */
        expect_not_ours(HEADERS + 28, 0xff);
        expect_not_ours(HEADERS + 236, 0);
}

/* What a server may not do: an address of nothing, no mask, a mask with holes, no lease time. */
static void test_bad(void) {
        static const uint8_t holes[] = { 255, 0, 255, 0 }, zero[4] = {};
        DhcpLease lease;
        DhcpType type;
        Packet p;

        p = answer(5);
        add(&p, 1, holes, 4);
        finish(&p);
        g_assert_cmpint(parse(&p, p.len, &type, &lease), ==, -EBADMSG);

        p = answer(5);
        add(&p, 51, zero, 4);
        finish(&p);
        g_assert_cmpint(parse(&p, p.len, &type, &lease), ==, -EBADMSG);

        p = answer(5);
        memset(p.data + HEADERS + 16, 0, 4);
        finish(&p);
        g_assert_cmpint(parse(&p, p.len, &type, &lease), ==, -EBADMSG);

        p = answer(6); /* a refusal needs none of it */
        memset(p.data + HEADERS + 16, 0, 4);
        finish(&p);
        g_assert_cmpint(parse(&p, p.len, &type, &lease), ==, 0);
        g_assert_cmpint(type, ==, DHCP_NAK);
}

/* What ends up in a resolv.conf holds names and nothing else. */
static void test_names(void) {
        static const struct {
                const char *option;
                uint8_t len;
                const char *expected;
        } searches[] = {
                { "\3lab\0", 5, "lab" },
                { "\3lab", 4, "" },                /* no end */
                { "\300\0", 2, "" },               /* points at itself */
                { "\4l\nab\0", 6, "" },
                { "\3lab\0\377xx", 8, "lab" },     /* the good ones before */
                { "\0", 1, "" },
        };
        DhcpLease lease;
        DhcpType type;
        Packet p;

        for (size_t i = 0; i < G_N_ELEMENTS(searches); i++) {
                p = answer(5);
                add(&p, 119, searches[i].option, searches[i].len);
                finish(&p);
                g_assert_cmpint(parse(&p, p.len, &type, &lease), ==, 0);
                g_assert_cmpstr(lease.search, ==, searches[i].expected);
        }

        p = answer(5);
        add(&p, 15, "a\nnameserver 6.6.6.6", 20);
        finish(&p);
        g_assert_cmpint(parse(&p, p.len, &type, &lease), ==, 0);
        g_assert_cmpstr(lease.domain, ==, "");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ctl-dhcp/build", test_build);
        g_test_add_func("/ctl-dhcp/parse", test_parse);
        g_test_add_func("/ctl-dhcp/cut", test_cut);
        g_test_add_func("/ctl-dhcp/not-ours", test_not_ours);
        g_test_add_func("/ctl-dhcp/bad", test_bad);
        g_test_add_func("/ctl-dhcp/names", test_names);
        return g_test_run();
}
