/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The DHCP server through the whole gateway: what clients in every state of RFC 2131 get, and what hostile ones cannot do. */

#include "netstack/arp.h"
#include "netstack/dhcp-private.h"
#include "netstack/dhcp6-names.h"
#include "packet.h"

/* A client's message; what is NULL or zero is left out. */
typedef struct Ask {
        DhcpType type;
        unsigned client; /* number of the machine, for its MAC address */
        const char *ciaddr, *giaddr, *requested, *server;
        const char *src; /* of the packet; NULL: 0.0.0.0 */
        bool broadcast, rapid;
        const char *id, *hostname;
        const uint8_t *fqdn, *parameters;
        size_t fqdn_len, n_parameters, id_len; /* id_len 0: of the text */
        uint16_t max_size;
        uint32_t lease_sec;
} Ask;

typedef struct Reply {
        bool there;
        uint8_t type;
        IpAddr yiaddr, ciaddr, dst;
        MacAddr eth_dst;
        size_t len;
        uint8_t raw[DHCP_REPLY_MAX], order[256];
        unsigned n_order;
        struct {
                bool there;
                size_t len;
                uint8_t data[DHCP_REPLY_MAX];
        } options[256];
} Reply;

static const MacAddr everybody = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

static MacAddr client_mac(unsigned client) {
        return (MacAddr){ { 0x52, 0x54, 0x01, client >> 16, client >> 8, client } };
}

static void add(GByteArray *m, uint8_t code, const void *data, size_t len) {
        const uint8_t head[] = { code, len };

        g_byte_array_append(m, head, 2);
        if (len > 0)
                g_byte_array_append(m, data, len);
}

static void add_ip(GByteArray *m, uint8_t code, const char *text) {
        if (text) {
                IpAddr a = fake_ip(text);

                add(m, code, a.b + 12, 4);
        }
}

static void put_ip(GByteArray *m, size_t at, const char *text) {
        if (text) {
                IpAddr a = fake_ip(text);

                memcpy(m->data + at, a.b + 12, 4);
        }
}

static GByteArray *ask_build(const Ask *a) {
        GByteArray *m = g_byte_array_new();
        MacAddr mac = client_mac(a->client);

        g_byte_array_set_size(m, 240);
        memset(m->data, 0, m->len);
        memcpy(m->data, (uint8_t[]){ 1, 1, 6, 0, 1, 2, 3, 4, 0, 0, a->broadcast ? 0x80 : 0 }, 11);
        put_ip(m, 12, a->ciaddr);
        put_ip(m, 24, a->giaddr);
        memcpy(m->data + 28, &mac, sizeof(mac));
        memcpy(m->data + 236, (uint8_t[]){ 99, 130, 83, 99 }, 4);

        add(m, DHCP_OPTION_TYPE, &(uint8_t){ a->type }, 1);
        add_ip(m, DHCP_OPTION_REQUESTED, a->requested);
        add_ip(m, DHCP_OPTION_SERVER, a->server);
        if (a->rapid)
                add(m, DHCP_OPTION_RAPID_COMMIT, NULL, 0);
        if (a->id) {
                size_t len = a->id_len > 0 ? a->id_len : strlen(a->id);

                for (size_t i = 0; i < len; i += 255)
                        add(m, DHCP_OPTION_CLIENT_ID, a->id + i, MIN(len - i, (size_t) 255));
        }
        if (a->hostname)
                add(m, DHCP_OPTION_HOSTNAME, a->hostname, strlen(a->hostname));
        if (a->fqdn)
                add(m, DHCP_OPTION_FQDN, a->fqdn, a->fqdn_len);
        if (a->parameters)
                add(m, DHCP_OPTION_PARAMETERS, a->parameters, a->n_parameters);
        if (a->max_size)
                add(m, DHCP_OPTION_MAX_SIZE, (uint8_t[]){ a->max_size >> 8, a->max_size }, 2);
        if (a->lease_sec)
                add(m, DHCP_OPTION_LEASE, &(uint32_t){ htonl(a->lease_sec) }, 4);
        return m;
}

static void reply_read(Reply *r, const Parsed *p) {
        const uint8_t *m = p->payload;
        size_t i = 240;
        uint32_t be;

        g_assert_cmpuint(p->sport, ==, DHCP_SERVER_PORT);
        g_assert_cmpuint(p->dport, ==, DHCP_CLIENT_PORT);
        g_assert_true(ip_equal(&p->src, &(IpAddr){ .w = { 0, 0, htonl(0xffff), htonl(0xc0a87f01) } }));
        g_assert_cmpuint(p->payload_len, >=, DHCP_REPLY_MIN);
        g_assert_cmpuint(p->payload_len, <=, DHCP_REPLY_MAX);
        g_assert_cmpmem(m + 4, 4, "\1\2\3\4", 4);

        r->there = true;
        r->dst = p->dst;
        r->eth_dst = p->eth_dst;
        r->len = p->payload_len;
        memcpy(r->raw, m, r->len);
        memcpy(&be, m + 12, 4);
        r->ciaddr = ip_from_v4(be);
        memcpy(&be, m + 16, 4);
        r->yiaddr = ip_from_v4(be);

        for (;;) {
                g_assert_cmpuint(i, <, r->len);
                uint8_t code = m[i++];

                if (code == DHCP_OPTION_END)
                        break;
                uint8_t len = m[i++];
                g_assert_cmpuint(i + len, <, r->len);
                if (!r->options[code].there)
                        r->order[r->n_order++] = code;
                r->options[code].there = true;
                memcpy(r->options[code].data + r->options[code].len, m + i, len);
                r->options[code].len += len;
                i += len;
        }
        g_assert_cmpuint(r->options[DHCP_OPTION_TYPE].len, ==, 1);
        r->type = r->options[DHCP_OPTION_TYPE].data[0];
        g_assert_cmpmem(r->options[DHCP_OPTION_SERVER].data, r->options[DHCP_OPTION_SERVER].len, "\xc0\xa8\x7f\x01", 4);
}

/* Sends, and takes the answer, if there is one. Valid until the next call. */
static const Reply *ask(FakeHost *h, Ask a) {
        static Reply r;
        GByteArray *m = ask_build(&a);
        Packet4 p = packet4("255.255.255.255", DHCP_SERVER_PORT);

        fake_clear_frames(h);
        p.src_mac = client_mac(a.client);
        p.sport = DHCP_CLIENT_PORT;
        p.src = fake_ip(a.src ?: "0.0.0.0");
        p.dst_mac = everybody;
        if (a.src && a.server) { /* unicast, as RELEASE is */
                p.dst = fake_ip("192.168.127.1");
                p.dst_mac = FAKE_GATEWAY_MAC;
        }
        packet_send(h, packet_udp(&p, m->data, m->len));
        g_byte_array_unref(m);

        r = (Reply){};
        for (;;) {
                g_autoptr(FakeFrame) f = fake_take_frame(h);

                if (!f)
                        break;
                Parsed parsed = packet_parse(f);
                if (parsed.eth_type != 0x0800) /* a probe for an address */
                        continue;
                g_assert_false(r.there); /* one question, one answer */
                reply_read(&r, &parsed);
        }
        return &r;
}

static void check_ip(const IpAddr *a, const char *text) {
        g_assert_cmpstr(IP_TO_TEXT(a), ==, text);
}

static void check_option(const Reply *r, uint8_t code, const void *data, size_t len) {
        g_assert_true(r->options[code].there);
        g_assert_cmpmem(r->options[code].data, r->options[code].len, data, len);
}

static uint32_t option_u32(const Reply *r, uint8_t code) {
        g_assert_cmpuint(r->options[code].len, ==, 4);
        return r->options[code].data[0] << 24 | r->options[code].data[1] << 16 | r->options[code].data[2] << 8 |
               r->options[code].data[3];
}

/* DISCOVER and REQUEST; the address must be @expect. */
static void acquire(FakeHost *h, Ask a, const char *expect) {
        const Reply *r;

        a.type = DHCP_DISCOVER;
        r = ask(h, a);
        g_assert_true(r->there);
        g_assert_cmpuint(r->type, ==, DHCP_OFFER);
        check_ip(&r->yiaddr, expect);

        a.type = DHCP_REQUEST;
        a.requested = expect;
        a.server = "192.168.127.1";
        r = ask(h, a);
        g_assert_true(r->there);
        g_assert_cmpuint(r->type, ==, DHCP_ACK);
        check_ip(&r->yiaddr, expect);
}

static void check_silent(FakeHost *h, Ask a, Drop reason) {
        uint64_t before = fake_drops(h, reason);

        g_assert_false(ask(h, a)->there);
        g_assert_cmpuint(fake_drops(h, reason), ==, before + 1);
}

static void check_nak(FakeHost *h, Ask a) {
        const Reply *r = ask(h, a);

        g_assert_true(r->there);
        g_assert_cmpuint(r->type, ==, DHCP_NAK);
        check_ip(&r->yiaddr, "0.0.0.0");
        check_ip(&r->dst, "255.255.255.255");
        g_assert_true(mac_equal(&r->eth_dst, &everybody));
        g_assert_false(r->options[DHCP_OPTION_LEASE].there);
        g_assert_false(r->options[DHCP_OPTION_MASK].there);
}

static const Lease *lease_of(FakeHost *h, const char *addr) {
        IpAddr a = fake_ip(addr);

        return dhcp_lease_by_addr(h->stack->dhcp, &a);
}

static void configure(NetstackConfig *c) {
        g_free(c->domain);
        c->domain = strdup("vnet.internal");
        c->lease_sec = 3600;
}

static void test_acquire(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        const Endpoint resolver = fake_endpoint("127.0.0.53:53");
        const char *search[] = { "example.org", "VNET.internal" };
        const Reply *r;
        MacAddr mac;
        uint32_t mtu;

        netstack_set_resolvers(h->stack, &resolver, 1, search, 2);
        r = ask(h, (Ask){ DHCP_DISCOVER, .client = 1, .id = "some id" });
        g_assert_cmpuint(r->type, ==, DHCP_OFFER);
        check_ip(&r->yiaddr, "192.168.127.2");
        /* RFC 2131 4.1: unicast to what is offered, at the client's MAC. */
        check_ip(&r->dst, "192.168.127.2");
        mac = client_mac(1);
        g_assert_true(mac_equal(&r->eth_dst, &mac));
        g_assert_null(lease_of(h, "192.168.127.2"));
        g_assert_cmpuint(h->leases_added->len, ==, 0);

        r = ask(h, (Ask){ DHCP_REQUEST, .client = 1, .id = "some id", .requested = "192.168.127.2", .server = "192.168.127.1" });
        g_assert_cmpuint(r->type, ==, DHCP_ACK);
        check_ip(&r->dst, "192.168.127.2");
        check_option(r, DHCP_OPTION_MASK, "\xff\xff\xff\x00", 4);
        check_option(r, DHCP_OPTION_ROUTER, "\xc0\xa8\x7f\x01", 4);
        check_option(r, DHCP_OPTION_DNS, "\xc0\xa8\x7f\x01", 4);
        check_option(r, DHCP_OPTION_BROADCAST, "\xc0\xa8\x7f\xff", 4);
        check_option(r, DHCP_OPTION_DOMAIN, "vnet.internal", 13);
        check_option(r, DHCP_OPTION_SEARCH, "\4vnet\10internal\0\7example\3org\0", 28);
        check_option(r, DHCP_OPTION_CLIENT_ID, "some id", 7);
        g_assert_cmpuint(option_u32(r, DHCP_OPTION_LEASE), ==, 3600);
        g_assert_cmpuint(option_u32(r, DHCP_OPTION_T1), ==, 1800);
        g_assert_cmpuint(option_u32(r, DHCP_OPTION_T2), ==, 3150);
        g_assert_false(r->options[DHCP_OPTION_HOSTNAME].there);
        g_assert_false(r->options[42].there);

        g_assert_cmpuint(h->leases_added->len, ==, 1);
        const Lease *l = lease_of(h, "192.168.127.2");
        g_assert_nonnull(l);
        g_assert_true(mac_equal(&l->mac, &mac));
        g_assert_cmpmem(l->client_id, l->client_id_len, "some id", 7);
        g_assert_cmpuint(l->expires, ==, h->now + 3600 * USEC_PER_SEC);
        g_assert_true(arp_lookup(h->stack->arp, &l->addr, &mac, &mtu));
        g_assert_true(mac_equal(&mac, &l->mac));
        g_assert_cmpuint(dhcp_n_leases(h->stack->dhcp), ==, 1);
        g_assert_true(dhcp_only_lease(h->stack->dhcp) == l);

        acquire(h, (Ask){ .client = 2 }, "192.168.127.3");
        g_assert_null(dhcp_only_lease(h->stack->dhcp));
}

static void test_order_and_size(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        const uint8_t wanted[] = { 26, 119, 250, 3, 12, 1, 3, 255, 0, 6 }, expect[] = { 26, 119, 3, 12, 1, 6 };
        const char *search[NETSTACK_SEARCH_MAX];
        char names[NETSTACK_SEARCH_MAX][64];
        const Endpoint resolver = fake_endpoint("127.0.0.53:53");
        const Reply *r;

        r = ask(h, (Ask){ DHCP_DISCOVER, .client = 1, .rapid = true, .hostname = "web", .parameters = wanted, .n_parameters = sizeof(wanted) });
        g_assert_cmpuint(r->type, ==, DHCP_ACK);
        unsigned from = 0;
        while (r->order[from] != 26)
                from++;
        g_assert_cmpmem(r->order + from, sizeof(expect), expect, sizeof(expect));
        check_option(r, DHCP_OPTION_HOSTNAME, "web", 3);

        /* More than 576 bytes hold: the search list goes, the rest stays; a client that takes more gets it, in two pieces. */
        for (size_t i = 0; i < ELEMENTSOF(search); i++) {
                g_snprintf(names[i], sizeof(names[i]), "%059zu.x", i);
                search[i] = names[i];
        }
        netstack_set_resolvers(h->stack, &resolver, 1, search, ELEMENTSOF(search));
        r = ask(h, (Ask){ DHCP_DISCOVER, .client = 2 });
        g_assert_cmpuint(r->len, <=, 548);
        g_assert_false(r->options[DHCP_OPTION_SEARCH].there);
        g_assert_true(r->options[DHCP_OPTION_MTU].there);
        r = ask(h, (Ask){ DHCP_DISCOVER, .client = 2, .max_size = 1500 });
        g_assert_cmpuint(r->len, >, 548);
        g_assert_cmpuint(r->options[DHCP_OPTION_SEARCH].len, ==, 15 + 8 * 63);

        /* What the port does not carry is not sent, whatever the client takes. */
        h->port.mtu = 700;
        r = ask(h, (Ask){ DHCP_DISCOVER, .client = 2, .max_size = 1500 });
        g_assert_cmpuint(r->len, <=, 672);
}

static unsigned config_mtu;
static void configure_mtu(NetstackConfig *c) {
        configure(c);
        c->mtu = config_mtu;
}

static void test_mtu(void) {
        static const struct {
                uint32_t config, port, expect;
        } cases[] = { { 65520, 0, 1500 }, { 65520, 9000, 9000 }, { 65520, 65520, 65520 }, { 1400, 9000, 1400 } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                config_mtu = cases[i].config;
                g_autoptr(FakeHost) h = fake_host_new(configure_mtu);
                h->port.mtu = cases[i].port;
                const Reply *r = ask(h, (Ask){ DHCP_DISCOVER, .client = 1 });

                check_option(r, DHCP_OPTION_MTU, (uint8_t[]){ cases[i].expect >> 8, cases[i].expect }, 2);
        }
}

static void test_where_to(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        MacAddr mac = client_mac(1);
        const Reply *r;

        r = ask(h, (Ask){ DHCP_DISCOVER, .client = 1, .broadcast = true });
        check_ip(&r->dst, "255.255.255.255");
        g_assert_true(mac_equal(&r->eth_dst, &everybody));

        acquire(h, (Ask){ .client = 1 }, "192.168.127.2");
        /* With ciaddr the flag is not asked for. */
        r = ask(h, (Ask){ DHCP_REQUEST, .client = 1, .broadcast = true, .ciaddr = "192.168.127.2", .src = "192.168.127.2" });
        g_assert_cmpuint(r->type, ==, DHCP_ACK);
        check_ip(&r->dst, "192.168.127.2");
        check_ip(&r->ciaddr, "192.168.127.2");
        g_assert_true(mac_equal(&r->eth_dst, &mac));

        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 3, .giaddr = "192.168.127.9" }, DROP_DHCP_IGNORED);
}

static void test_selecting(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);

        (void) ask(h, (Ask){ DHCP_DISCOVER, .client = 1 });
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 1, .requested = "192.168.127.77", .server = "192.168.127.1" });
        check_silent(h, (Ask){ DHCP_REQUEST, .client = 1, .server = "192.168.127.1" }, DROP_DHCP_IGNORED);
        /* Another server's offer was taken: ours is free again. */
        check_silent(h, (Ask){ DHCP_REQUEST, .client = 1, .requested = "10.0.0.1", .server = "10.0.0.9" }, DROP_DHCP_IGNORED);
        acquire(h, (Ask){ .client = 2 }, "192.168.127.2");

        /* Its offer is forgotten, its address free: it may have it. Ours and others' are refused. */
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 3, .requested = "192.168.127.50", .server = "192.168.127.1" })->type,
                         ==, DHCP_ACK);
        static const char *const refused[] = { "192.168.127.2", "192.168.127.1", "192.168.127.254", "192.168.127.0",
                                               "192.168.127.255", "10.0.0.1" };
        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
                check_nak(h, (Ask){ DHCP_REQUEST, .client = 4, .requested = refused[i], .server = "192.168.127.1" });
}

static void test_init_reboot(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);

        check_silent(h, (Ask){ DHCP_REQUEST, .client = 1, .requested = "192.168.127.9" }, DROP_DHCP_IGNORED);
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 1, .requested = "10.0.0.1" });

        acquire(h, (Ask){ .client = 1 }, "192.168.127.2");
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 1, .requested = "192.168.127.2" })->type, ==, DHCP_ACK);
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 1, .requested = "192.168.127.3" });
        g_assert_nonnull(lease_of(h, "192.168.127.2"));
}

static void test_renew_rebind(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);

        acquire(h, (Ask){ .client = 1 }, "192.168.127.2");
        for (unsigned i = 0; i < 5; i++) {
                fake_advance(h, 1800 * USEC_PER_SEC);
                const Reply *r = ask(h, (Ask){ DHCP_REQUEST, .client = 1, .ciaddr = "192.168.127.2", .src = "192.168.127.2" });

                g_assert_cmpuint(r->type, ==, DHCP_ACK);
                g_assert_cmpuint(lease_of(h, "192.168.127.2")->expires, ==, h->now + 3600 * USEC_PER_SEC);
        }
        g_assert_cmpuint(h->leases_added->len, ==, 1); /* renewals are no news */
        g_assert_cmpuint(h->leases_removed->len, ==, 0);

        check_nak(h, (Ask){ DHCP_REQUEST, .client = 2, .ciaddr = "192.168.127.2", .src = "192.168.127.2" });
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 1, .ciaddr = "192.168.127.3", .src = "192.168.127.3" });
        /* One we have lost the record of keeps what nobody else has. */
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 3, .ciaddr = "192.168.127.99", .src = "192.168.127.99" })->type, ==,
                         DHCP_ACK);
        g_assert_nonnull(lease_of(h, "192.168.127.99"));

        /* One that brings an address of another network hears that it cannot keep it; whoever it claims to be is not learnt. */
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 4, .ciaddr = "10.1.2.3", .src = "10.1.2.3" });
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 1, .ciaddr = "10.1.2.3", .src = "10.1.2.3" });
        g_assert_cmpuint(lease_of(h, "192.168.127.2")->expires, >, h->now);
        check_silent(h, (Ask){ DHCP_REQUEST, .client = 4, .ciaddr = "127.0.0.1", .src = "127.0.0.1" }, DROP_IP_SOURCE);
        check_silent(h, (Ask){ DHCP_REQUEST, .client = 4, .ciaddr = "192.168.127.1", .src = "192.168.127.1" }, DROP_IP_SOURCE);
        IpAddr foreign = fake_ip("10.1.2.3");
        MacAddr mac;
        uint32_t mtu;
        g_assert_false(arp_lookup(h->stack->arp, &foreign, &mac, &mtu));

        /* and may say nothing else, to nobody else */
        Packet4 p = packet4("8.8.8.8", DHCP_SERVER_PORT);
        p.sport = DHCP_CLIENT_PORT;
        p.src = foreign;
        uint64_t before = fake_drops(h, DROP_IP_SOURCE);
        packet_send(h, packet_udp(&p, "x", 1));
        p = packet4("192.168.127.1", 53);
        p.sport = DHCP_CLIENT_PORT;
        p.src = foreign;
        packet_send(h, packet_udp(&p, "x", 1));
        g_assert_cmpuint(fake_drops(h, DROP_IP_SOURCE), ==, before + 2);
        g_assert_cmpuint(h->sockets->len, ==, 0);
}

static void test_release(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);

        acquire(h, (Ask){ .client = 1, .hostname = "web" }, "192.168.127.2");
        check_silent(h, (Ask){ DHCP_RELEASE, .client = 2, .ciaddr = "192.168.127.2", .src = "192.168.127.200", .server = "192.168.127.1" },
                     DROP_DHCP_IGNORED);
        check_silent(h, (Ask){ DHCP_RELEASE, .client = 1, .ciaddr = "192.168.127.3", .src = "192.168.127.2", .server = "192.168.127.1" },
                     DROP_DHCP_IGNORED);
        g_assert_nonnull(lease_of(h, "192.168.127.2"));

        g_assert_false(ask(h, (Ask){ DHCP_RELEASE, .client = 1, .ciaddr = "192.168.127.2", .src = "192.168.127.2",
                                     .server = "192.168.127.1" })->there);
        g_assert_null(lease_of(h, "192.168.127.2"));
        g_assert_null(dhcp_lease_by_hostname(h->stack->dhcp, "web"));
        g_assert_cmpuint(h->leases_removed->len, ==, 1);
        g_assert_cmpstr(g_array_index(h->leases_removed, Lease, 0).hostname, ==, "web");

        acquire(h, (Ask){ .client = 2, .hostname = "web" }, "192.168.127.3"); /* the address waits for its client */
        acquire(h, (Ask){ .client = 1 }, "192.168.127.2");

        /* The same client id from another machine; and what was only offered. */
        acquire(h, (Ask){ .client = 4, .id = "machine" }, "192.168.127.4");
        check_silent(h, (Ask){ DHCP_RELEASE, .client = 5, .id = "machine", .ciaddr = "192.168.127.4", .src = "192.168.127.200",
                               .server = "192.168.127.1" },
                     DROP_DHCP_IGNORED);
        g_assert_nonnull(lease_of(h, "192.168.127.4"));
        (void) ask(h, (Ask){ DHCP_DISCOVER, .client = 6 });
        check_silent(h, (Ask){ DHCP_RELEASE, .client = 6, .ciaddr = "192.168.127.5", .src = "192.168.127.5", .server = "192.168.127.1" },
                     DROP_DHCP_IGNORED);
}

/* The device behind which a guest stood is gone, and nobody said RELEASE. */
static void test_forget(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        const Lease fixed = { .addr = fake_ip("192.168.127.50"), .mac = client_mac(3), .expires = USEC_INFINITY, .is_static = true };
        MacAddr first = client_mac(1);

        g_assert_cmpint(netstack_add_lease(h->stack, &fixed), ==, 0);
        acquire(h, (Ask){ .client = 1, .id = "first" }, "192.168.127.2");
        acquire(h, (Ask){ .client = 2 }, "192.168.127.3");

        netstack_forget_guest(h->stack, &first);
        g_assert_null(lease_of(h, "192.168.127.2"));
        g_assert_nonnull(lease_of(h, "192.168.127.3"));
        g_assert_cmpuint(h->leases_removed->len, ==, 1);
        netstack_forget_guest(h->stack, &first);
        g_assert_cmpuint(h->leases_removed->len, ==, 1); /* told once */
        netstack_forget_guest(h->stack, &fixed.mac);
        g_assert_nonnull(lease_of(h, "192.168.127.50"));

        /* Others pass its address by; it gets it again. */
        acquire(h, (Ask){ .client = 4 }, "192.168.127.4");
        acquire(h, (Ask){ .client = 1, .id = "first" }, "192.168.127.2");
}

static void test_decline(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        Ask decline = { DHCP_DECLINE, .client = 1, .requested = "192.168.127.2", .server = "192.168.127.1" };

        check_silent(h, decline, DROP_DHCP_IGNORED);
        acquire(h, (Ask){ .client = 1 }, "192.168.127.2");
        g_assert_false(ask(h, decline)->there);
        g_assert_cmpuint(h->leases_removed->len, ==, 1);
        g_assert_null(lease_of(h, "192.168.127.2"));

        acquire(h, (Ask){ .client = 1 }, "192.168.127.3");
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 2, .requested = "192.168.127.2", .server = "192.168.127.1" });
        g_assert_cmpuint(h->stack->dhcp->n_declined, ==, 1);
        fake_advance(h, DHCP_DECLINE_USEC + 2 * USEC_PER_SEC);
        g_assert_cmpuint(h->stack->dhcp->n_declined, ==, 0);
        acquire(h, (Ask){ .client = 2 }, "192.168.127.2");
}

/* A client that declines whatever it gets: at most a quarter of the pool is out of use, the oldest comes back. */
static void test_decline_limit(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        const unsigned limit = (256 - 4) / 4;

        for (unsigned i = 0; i < 300; i++) {
                const Reply *r = ask(h, (Ask){ DHCP_DISCOVER, .client = 1 });
                char text[IP_TEXT_MAX];

                g_assert_cmpuint(r->type, ==, DHCP_OFFER);
                ip_to_text(&r->yiaddr, text);
                /* The lowest free one: after the limit the one that has just been let out. */
                g_assert_cmpuint(ntohl(ip_v4(&r->yiaddr)) & 0xff, <=, 2 + limit);
                (void) ask(h, (Ask){ DHCP_DECLINE, .client = 1, .requested = text, .server = "192.168.127.1" });
                fake_advance(h, 100 * USEC_PER_MSEC);
        }
}

static void test_inform(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        const Reply *r;

        r = ask(h, (Ask){ DHCP_INFORM, .client = 1, .ciaddr = "192.168.127.200", .src = "192.168.127.200", .broadcast = true });
        g_assert_cmpuint(r->type, ==, DHCP_ACK);
        check_ip(&r->yiaddr, "0.0.0.0");
        check_ip(&r->dst, "192.168.127.200");
        g_assert_false(r->options[DHCP_OPTION_LEASE].there);
        g_assert_false(r->options[DHCP_OPTION_T1].there);
        g_assert_true(r->options[DHCP_OPTION_DNS].there);
        r = ask(h, (Ask){ DHCP_INFORM, .client = 1, .src = "192.168.127.200" });
        check_ip(&r->dst, "192.168.127.200");
        g_assert_cmpuint(dhcp_n_leases(h->stack->dhcp), ==, 0);

        check_silent(h, (Ask){ DHCP_INFORM, .client = 1, .ciaddr = "8.8.8.8" }, DROP_DHCP_IGNORED);
        check_silent(h, (Ask){ DHCP_INFORM, .client = 1, .ciaddr = "192.168.127.255" }, DROP_DHCP_IGNORED);
        check_silent(h, (Ask){ DHCP_INFORM, .client = 1 }, DROP_DHCP_IGNORED);
}

static void test_identity(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        char longer[300];

        acquire(h, (Ask){ .client = 1, .id = "machine" }, "192.168.127.2");
        acquire(h, (Ask){ .client = 2, .id = "machine" }, "192.168.127.2"); /* a new card in the same machine */
        MacAddr mac = client_mac(2);
        g_assert_true(mac_equal(&lease_of(h, "192.168.127.2")->mac, &mac));
        g_assert_cmpuint(h->leases_added->len, ==, 2);
        acquire(h, (Ask){ .client = 2 }, "192.168.127.3"); /* by MAC it is somebody else */
        acquire(h, (Ask){ .client = 2, .id = "\1\x52\x54\x01\0\0\2", .id_len = 7 }, "192.168.127.3");
        acquire(h, (Ask){ .client = 4, .id = "\1\x52\x54\x01\0\0\2", .id_len = 7 }, "192.168.127.4"); /* not its own MAC */

        /* Longer than is kept: alike up to the last byte is not the same. */
        memset(longer, 'x', sizeof(longer));
        acquire(h, (Ask){ .client = 5, .id = longer, .id_len = 300 }, "192.168.127.5");
        longer[299] = 'y';
        acquire(h, (Ask){ .client = 5, .id = longer, .id_len = 300 }, "192.168.127.6");
        longer[299] = 'x';
        acquire(h, (Ask){ .client = 5, .id = longer, .id_len = 300 }, "192.168.127.5");
        acquire(h, (Ask){ .client = 5, .id = longer, .id_len = DHCP_CLIENT_ID_MAX }, "192.168.127.7");
        acquire(h, (Ask){ .client = 5, .id = longer, .id_len = DHCP_CLIENT_ID_MAX + 1 }, "192.168.127.8");
        g_assert_cmpuint(lease_of(h, "192.168.127.8")->client_id_len, ==, DHCP_CLIENT_ID_MAX);
}

static void configure_range(NetstackConfig *c) {
        configure(c);
        c->lease_first = fake_ip("192.168.127.100");
        c->lease_last = fake_ip("192.168.127.102");
}

/* What the administrator keeps out of the range nobody gets by asking for it, nor by what others have had. */
static void test_range(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure_range);
        const Lease before = { .addr = fake_ip("192.168.127.7"), .mac = client_mac(7), .expires = h->now + USEC_PER_MINUTE };
        const Lease fixed = { .addr = fake_ip("192.168.127.9"), .mac = client_mac(9), .expires = USEC_INFINITY, .is_static = true };

        check_nak(h, (Ask){ DHCP_REQUEST, .client = 1, .ciaddr = "192.168.127.99", .src = "192.168.127.99" });
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 1, .requested = "192.168.127.103", .server = "192.168.127.1" });
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 1, .ciaddr = "192.168.127.102", .src = "192.168.127.102" })->type, ==, DHCP_ACK);

        /* One from before the range was set keeps what it has, and it goes to nobody else then. */
        g_assert_cmpint(netstack_add_lease(h->stack, &before), ==, 0);
        g_assert_cmpint(netstack_add_lease(h->stack, &fixed), ==, 0);
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 7, .ciaddr = "192.168.127.7", .src = "192.168.127.7" })->type, ==, DHCP_ACK);
        acquire(h, (Ask){ .client = 9 }, "192.168.127.9");
        (void) ask(h, (Ask){ DHCP_RELEASE, .client = 7, .ciaddr = "192.168.127.7", .src = "192.168.127.7", .server = "192.168.127.1" });
        g_assert_null(lease_of(h, "192.168.127.7"));
        acquire(h, (Ask){ .client = 2 }, "192.168.127.100");
        acquire(h, (Ask){ .client = 3 }, "192.168.127.101");
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 4 }, DROP_DHCP_POOL_EMPTY);
        acquire(h, (Ask){ .client = 7 }, "192.168.127.7"); /* it waits for its client */
}

/* Frames say who sends them: nobody gets, or gives back, an address for another. */
static void test_for_another(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        static const DhcpType types[] = { DHCP_DISCOVER, DHCP_REQUEST, DHCP_DECLINE, DHCP_RELEASE, DHCP_INFORM };

        acquire(h, (Ask){ .client = 1 }, "192.168.127.2");
        for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
                Ask a = { .type = types[i], .client = 1, .requested = "192.168.127.2", .server = "192.168.127.1" };
                Packet4 p = packet4("192.168.127.1", DHCP_SERVER_PORT);
                uint64_t before = fake_drops(h, DROP_DHCP_SPOOF);

                if (a.type == DHCP_RELEASE || a.type == DHCP_INFORM)
                        a.ciaddr = "192.168.127.2";
                g_autoptr(GByteArray) m = ask_build(&a);
                fake_clear_frames(h);
                p.src_mac = client_mac(66);
                p.src = fake_ip("192.168.127.66");
                p.sport = DHCP_CLIENT_PORT;
                packet_send(h, packet_udp(&p, m->data, m->len));
                g_assert_cmpuint(fake_drops(h, DROP_DHCP_SPOOF), ==, before + 1);
                g_assert_cmpuint(fake_n_frames(h), ==, 0);
        }
        g_assert_nonnull(lease_of(h, "192.168.127.2"));
}

/* A client id is no secret: it is heard by all when its client asks. While that has its address, who has the same id behind another port is
 * somebody else; a machine cloned with it gets an address of its own. */
static void test_id_of_another(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        MacAddr first = client_mac(1);

        h->port.id = 1;
        acquire(h, (Ask){ .client = 1, .id = "machine" }, "192.168.127.2");
        h->port.id = 2;
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 2, .id = "machine", .requested = "192.168.127.2", .server = "192.168.127.1" });
        acquire(h, (Ask){ .client = 2, .id = "machine" }, "192.168.127.3");
        g_assert_true(mac_equal(&lease_of(h, "192.168.127.2")->mac, &first));
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 2, .id = "machine", .ciaddr = "192.168.127.2", .src = "192.168.127.2" });
        g_assert_true(mac_equal(&lease_of(h, "192.168.127.2")->mac, &first));

        /* both stay what they are */
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 2, .id = "machine", .ciaddr = "192.168.127.3", .src = "192.168.127.3" })->type, ==,
                         DHCP_ACK);
        h->port.id = 1;
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 1, .id = "machine", .ciaddr = "192.168.127.2", .src = "192.168.127.2" })->type, ==,
                         DHCP_ACK);

        /* The first has gone: it may have moved, with another card. But who has an address by now keeps that. */
        netstack_forget_guest(h->stack, &first);
        h->port.id = 2;
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 2, .id = "machine", .ciaddr = "192.168.127.3", .src = "192.168.127.3" })->type, ==,
                         DHCP_ACK);
        h->port.id = 3;
        acquire(h, (Ask){ .client = 3, .id = "machine" }, "192.168.127.2");
}

static void test_rapid_commit(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        const Reply *r = ask(h, (Ask){ DHCP_DISCOVER, .client = 1, .rapid = true });

        g_assert_cmpuint(r->type, ==, DHCP_ACK);
        g_assert_true(r->options[DHCP_OPTION_RAPID_COMMIT].there);
        g_assert_nonnull(lease_of(h, "192.168.127.2"));
        r = ask(h, (Ask){ DHCP_REQUEST, .client = 1, .rapid = true, .ciaddr = "192.168.127.2", .src = "192.168.127.2" });
        g_assert_false(r->options[DHCP_OPTION_RAPID_COMMIT].there);
}

static void test_lease_time(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);

        g_assert_cmpuint(option_u32(ask(h, (Ask){ DHCP_DISCOVER, .client = 1, .lease_sec = 600 }), DHCP_OPTION_LEASE), ==, 600);
        g_assert_cmpuint(option_u32(ask(h, (Ask){ DHCP_DISCOVER, .client = 1, .lease_sec = 1 }), DHCP_OPTION_LEASE), ==,
                         DHCP_LEASE_SEC_MIN);
        g_assert_cmpuint(option_u32(ask(h, (Ask){ DHCP_DISCOVER, .client = 1, .lease_sec = UINT32_MAX }), DHCP_OPTION_LEASE), ==, 3600);
}

static void test_expiry(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);

        acquire(h, (Ask){ .client = 1, .hostname = "web" }, "192.168.127.2");
        fake_advance(h, 3600 * USEC_PER_SEC - 1);
        g_assert_nonnull(lease_of(h, "192.168.127.2"));
        fake_advance(h, 1);
        g_assert_null(lease_of(h, "192.168.127.2"));
        g_assert_cmpuint(h->leases_removed->len, ==, 1);
        g_assert_cmpuint(dhcp_n_leases(h->stack->dhcp), ==, 0);
        g_assert_null(dhcp_only_lease(h->stack->dhcp));

        acquire(h, (Ask){ .client = 2 }, "192.168.127.3");
        acquire(h, (Ask){ .client = 1 }, "192.168.127.2");
}

/* A client that never renews, but is there and answers: what it uses is not given away. */
static void test_in_use(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        const MacAddr mac = client_mac(1);
        const IpAddr guest = fake_ip("192.168.127.2"), gateway = fake_ip("192.168.127.1");

        acquire(h, (Ask){ .client = 1, .hostname = "web" }, "192.168.127.2");
        for (unsigned i = 0; i < 20; i++) {
                fake_advance(h, 10 * USEC_PER_MINUTE);
                packet_send(h, packet_arp(&mac, 1, &mac, &guest, &(MacAddr){}, &gateway));
                g_assert_nonnull(lease_of(h, "192.168.127.2"));
                g_assert_nonnull(dhcp_only_lease(h->stack->dhcp));
        }
        g_assert_cmpuint(h->leases_removed->len, ==, 0);
        fake_advance(h, 45 * USEC_PER_MINUTE);
        g_assert_null(lease_of(h, "192.168.127.2"));
        g_assert_cmpuint(h->leases_removed->len, ==, 1);
        fake_clear_frames(h);
}

static void configure_small(NetstackConfig *c) {
        configure(c);
        c->subnet.len = 29; /* .1 gateway, .6 host; .2 to .5 for guests */
        c->host = fake_ip("192.168.127.6");
}

static void test_offers_expire(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure_small);

        for (unsigned i = 1; i <= 4; i++) {
                h->port.id = i; /* one port alone gets less */
                g_assert_cmpuint(ask(h, (Ask){ DHCP_DISCOVER, .client = i })->type, ==, DHCP_OFFER);
        }
        h->port.id = 5;
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 5 }, DROP_DHCP_POOL_EMPTY);

        /* An offer has its grace; then it gives way, the oldest first, but only because there is nothing else. */
        fake_advance(h, DHCP_OFFER_GRACE_USEC);
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 5 }, DROP_DHCP_POOL_EMPTY);
        fake_advance(h, 1);
        g_assert_cmpuint(ask(h, (Ask){ DHCP_DISCOVER, .client = 5 })->type, ==, DHCP_OFFER);
        for (unsigned i = 2; i <= 4; i++)
                g_assert_cmpuint(ask(h, (Ask){ DHCP_DISCOVER, .client = i })->type, ==, DHCP_OFFER);

        /* Nobody came: all are free again, and nothing is left of them. */
        fake_advance(h, DHCP_OFFER_USEC + 2 * USEC_PER_SEC);
        g_assert_null(lease_next(&h->stack->dhcp->table, NULL));
        acquire(h, (Ask){ .client = 9 }, "192.168.127.2");
}

static void test_pool_full(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure_small);

        for (unsigned i = 1; i <= 4; i++) {
                char text[IP_TEXT_MAX];

                g_snprintf(text, sizeof(text), "192.168.127.%u", i + 1);
                h->port.id = i; /* one port alone gets less */
                acquire(h, (Ask){ .client = i }, text);
        }
        h->port.id = 5;
        fake_advance(h, 60 * USEC_PER_SEC);
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 5 }, DROP_DHCP_POOL_EMPTY);
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 3, .ciaddr = "192.168.127.4", .src = "192.168.127.4" })->type, ==, DHCP_ACK);

        /* What has ended is given to others only now, the oldest first. */
        (void) ask(h, (Ask){ DHCP_RELEASE, .client = 4, .ciaddr = "192.168.127.5", .src = "192.168.127.5", .server = "192.168.127.1" });
        fake_advance(h, USEC_PER_SEC);
        (void) ask(h, (Ask){ DHCP_RELEASE, .client = 2, .ciaddr = "192.168.127.3", .src = "192.168.127.3", .server = "192.168.127.1" });
        acquire(h, (Ask){ .client = 5 }, "192.168.127.5");
        acquire(h, (Ask){ .client = 2 }, "192.168.127.3");
}

/* One guest that plays many takes its port's share of the pool and no more, however it goes about it. */
static void test_port_share(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure_small);

        g_assert_cmpuint(DHCP_PORT_SHARE(h->stack->dhcp->table.n_max), ==, 3);
        h->port.id = 1;
        acquire(h, (Ask){ .client = 1 }, "192.168.127.2");
        acquire(h, (Ask){ .client = 2 }, "192.168.127.3");
        acquire(h, (Ask){ .client = 3 }, "192.168.127.4");
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 4 }, DROP_DHCP_POOL_EMPTY);
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 4, .rapid = true }, DROP_DHCP_POOL_EMPTY);
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 4, .ciaddr = "192.168.127.5", .src = "192.168.127.5" });
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 4, .requested = "192.168.127.5", .server = "192.168.127.1" });

        /* what it has it keeps, */
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 3, .ciaddr = "192.168.127.4", .src = "192.168.127.4" })->type, ==, DHCP_ACK);
        g_assert_cmpuint(ask(h, (Ask){ DHCP_DISCOVER, .client = 2 })->type, ==, DHCP_OFFER);

        /* what it has given back is no way around, nor is what it declines, */
        (void) ask(h, (Ask){ DHCP_RELEASE, .client = 1, .ciaddr = "192.168.127.2", .src = "192.168.127.2", .server = "192.168.127.1" });
        acquire(h, (Ask){ .client = 4 }, "192.168.127.5");
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 1 }, DROP_DHCP_POOL_EMPTY);
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 1, .requested = "192.168.127.2" });
        (void) ask(h, (Ask){ DHCP_DECLINE, .client = 4, .requested = "192.168.127.5", .server = "192.168.127.1" });
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 1 }, DROP_DHCP_POOL_EMPTY);

        /* and a guest behind another port gets its address. */
        h->port.id = 2;
        acquire(h, (Ask){ .client = 9 }, "192.168.127.2");

        /* An offer nobody took makes room for the next of the same port. */
        h->port.id = 1;
        fake_advance(h, DHCP_DECLINE_USEC + USEC_PER_SEC);
        g_assert_cmpuint(ask(h, (Ask){ DHCP_DISCOVER, .client = 5 })->type, ==, DHCP_OFFER);
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 6 }, DROP_DHCP_POOL_EMPTY);
        fake_advance(h, DHCP_OFFER_GRACE_USEC + 1);
        acquire(h, (Ask){ .client = 6 }, "192.168.127.5");
}

static void configure_big(NetstackConfig *c) {
        configure(c);
        c->subnet.len = 16;
}

/* The table's own limit, in a subnet that has more addresses. */
static void test_table_full(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure_big);

        for (unsigned i = 1; i <= DHCP_LEASES_MAX; i++) {
                h->port.id = 1 + i % 2; /* one port alone gets less */
                g_assert_cmpuint(ask(h, (Ask){ DHCP_DISCOVER, .client = i, .rapid = true })->type, ==, DHCP_ACK);
                fake_advance(h, 20 * USEC_PER_MSEC);
        }
        g_assert_cmpuint(dhcp_n_leases(h->stack->dhcp), ==, DHCP_LEASES_MAX);
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = DHCP_LEASES_MAX + 1 }, DROP_DHCP_POOL_EMPTY);
        check_nak(h, (Ask){ DHCP_REQUEST, .client = DHCP_LEASES_MAX + 1, .requested = "192.168.250.1", .server = "192.168.127.1" });
        g_assert_cmpuint(ask(h, (Ask){ DHCP_DISCOVER, .client = 17 })->type, ==, DHCP_OFFER);

        Lease l = { .addr = fake_ip("192.168.250.1"), .mac = client_mac(99999), .is_static = true };
        g_assert_cmpint(dhcp_add(h->stack->dhcp, &l), ==, -ENOBUFS);
}

/* Made-up clients: the burst passes, then so many a second; holders and other ports do not notice. */
static void test_rate(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);

        acquire(h, (Ask){ .client = 1 }, "192.168.127.2");
        fake_advance(h, 10 * USEC_PER_SEC);
        for (unsigned i = 0; i < DHCP_PORT_BURST; i++)
                g_assert_cmpuint(ask(h, (Ask){ DHCP_DISCOVER, .client = 100 + i })->type, ==, DHCP_OFFER);
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 999 }, DROP_DHCP_RATE);
        g_assert_cmpuint(ask(h, (Ask){ DHCP_REQUEST, .client = 1, .ciaddr = "192.168.127.2", .src = "192.168.127.2" })->type, ==, DHCP_ACK);

        h->port.id++;
        g_assert_cmpuint(ask(h, (Ask){ DHCP_DISCOVER, .client = 1000 })->type, ==, DHCP_OFFER);
        h->port.id--;
        fake_advance(h, USEC_PER_SEC / DHCP_PORT_PER_SEC);
        g_assert_cmpuint(ask(h, (Ask){ DHCP_DISCOVER, .client = 1001 })->type, ==, DHCP_OFFER);
        check_silent(h, (Ask){ DHCP_DISCOVER, .client = 1002 }, DROP_DHCP_RATE);

        /* A holder has a bucket, too, and only its own. */
        fake_advance(h, 10 * USEC_PER_SEC);
        acquire(h, (Ask){ .client = 2000 }, "192.168.127.105");
        for (unsigned i = 0; i < DHCP_HOLDER_BURST; i++)
                g_assert_true(ask(h, (Ask){ DHCP_REQUEST, .client = 1, .ciaddr = "192.168.127.2", .src = "192.168.127.2" })->there);
        check_silent(h, (Ask){ DHCP_REQUEST, .client = 1, .ciaddr = "192.168.127.2", .src = "192.168.127.2" }, DROP_DHCP_RATE);
        g_assert_true(ask(h, (Ask){ DHCP_REQUEST, .client = 2000, .requested = "192.168.127.105" })->there);
}

static void test_hostnames(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        const uint8_t ascii[] = "\0\0\0db.example", wire[] = "\5\0\0\2db\7example", wanted[] = { DHCP_OPTION_HOSTNAME };
        const Reply *r;

        acquire(h, (Ask){ .client = 1, .hostname = "Web" }, "192.168.127.2");
        acquire(h, (Ask){ .client = 2, .hostname = "web" }, "192.168.127.3");
        acquire(h, (Ask){ .client = 3, .hostname = "gateway" }, "192.168.127.4");
        acquire(h, (Ask){ .client = 4, .hostname = "bad name!" }, "192.168.127.5");
        g_assert_cmpstr(lease_of(h, "192.168.127.2")->hostname, ==, "Web");
        g_assert_cmpstr(lease_of(h, "192.168.127.3")->hostname, ==, "web-3");
        g_assert_cmpstr(lease_of(h, "192.168.127.4")->hostname, ==, "gateway-4");
        g_assert_cmpstr(lease_of(h, "192.168.127.5")->hostname, ==, "bad-name");
        g_assert_true(dhcp_lease_by_hostname(h->stack->dhcp, "WEB") == lease_of(h, "192.168.127.2"));
        g_assert_null(dhcp_lease_by_hostname(h->stack->dhcp, "host"));
        g_assert_null(dhcp_lease_by_hostname(h->stack->dhcp, ""));

        /* A renewal without a name keeps it; one with another is news. */
        (void) ask(h, (Ask){ DHCP_REQUEST, .client = 1, .ciaddr = "192.168.127.2", .src = "192.168.127.2" });
        g_assert_cmpstr(lease_of(h, "192.168.127.2")->hostname, ==, "Web");
        unsigned before = h->leases_added->len;
        (void) ask(h, (Ask){ DHCP_REQUEST, .client = 1, .ciaddr = "192.168.127.2", .src = "192.168.127.2", .hostname = "www" });
        g_assert_cmpuint(h->leases_added->len, ==, before + 1);
        g_assert_null(dhcp_lease_by_hostname(h->stack->dhcp, "web"));

        /* FQDN: in the encoding it came; S set by us where the client did not. */
        r = ask(h, (Ask){ DHCP_DISCOVER, .client = 6, .rapid = true, .hostname = "other", .fqdn = ascii, .fqdn_len = sizeof(ascii) - 1,
                          .parameters = wanted, .n_parameters = 1 });
        check_option(r, DHCP_OPTION_FQDN, "\3\xff\xff" "db.vnet.internal", 19);
        check_option(r, DHCP_OPTION_HOSTNAME, "db", 2);
        r = ask(h, (Ask){ DHCP_DISCOVER, .client = 6, .rapid = true, .fqdn = wire, .fqdn_len = sizeof(wire) - 1 });
        check_option(r, DHCP_OPTION_FQDN, "\5\xff\xff\2db\4vnet\10internal\0", 21);

        /* The suffixed name of another is somebody's own: then there is none. */
        acquire(h, (Ask){ .client = 7, .hostname = "www-8" }, "192.168.127.7");
        acquire(h, (Ask){ .client = 8, .hostname = "www" }, "192.168.127.8");
        g_assert_cmpstr(lease_of(h, "192.168.127.8")->hostname, ==, "");
}

/* A name that a guest has by DHCPv6 is its own by DHCPv4 as well, and another's with a number only. */
static void test_names_by_dhcp6(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        IpAddr addr = fake_ip("fd00:1::d600:1");
        MacAddr mac = client_mac(1);

        g_assert_nonnull(dhcp6_names_set(h->stack->names6, &addr, &mac, "web", h->now + USEC_PER_SEC));
        acquire(h, (Ask){ .client = 2, .hostname = "WEB" }, "192.168.127.2");
        acquire(h, (Ask){ .client = 1, .hostname = "web" }, "192.168.127.3");
        g_assert_cmpstr(lease_of(h, "192.168.127.2")->hostname, ==, "WEB-2");
        g_assert_cmpstr(lease_of(h, "192.168.127.3")->hostname, ==, "web");
}

static void test_static(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        Dhcp *d = h->stack->dhcp;
        Lease l = { .addr = fake_ip("192.168.127.50"), .mac = client_mac(1), .hostname = "fixed", .is_static = true };
        const Lease good = l;
        g_autofree Lease *list = NULL;
        size_t n;

        g_assert_cmpint(dhcp_add(d, &l), ==, 0);
        g_assert_cmpint(dhcp_add(d, &l), ==, 0); /* the same again */
        g_assert_cmpuint(dhcp_n_leases(d), ==, 1);
        g_assert_nonnull(dhcp_only_lease(d));
        l.addr = fake_ip("192.168.127.51");
        g_assert_cmpint(dhcp_add(d, &l), ==, -EEXIST);
        l = good;
        l.mac = client_mac(2);
        g_assert_cmpint(dhcp_add(d, &l), ==, -EEXIST);
        static const char *const bad[] = { "192.168.127.0", "192.168.127.1", "192.168.127.254", "192.168.127.255", "10.0.0.1", "::1" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                l.addr = fake_ip(bad[i]);
                g_assert_cmpint(dhcp_add(d, &l), ==, -EINVAL);
        }
        l = good;
        l.mac = (MacAddr){};
        g_assert_cmpint(dhcp_add(d, &l), ==, -EINVAL);
        l = good;
        strcpy(l.hostname, "two.labels");
        g_assert_cmpint(dhcp_add(d, &l), ==, -EINVAL);

        /* It is the machine's, whatever id its client has; the chosen name stays; it does not end. */
        acquire(h, (Ask){ .client = 1, .id = "anything", .hostname = "mine" }, "192.168.127.50");
        g_assert_cmpstr(lease_of(h, "192.168.127.50")->hostname, ==, "fixed");
        fake_advance(h, 100000 * USEC_PER_SEC);
        g_assert_nonnull(lease_of(h, "192.168.127.50"));
        check_silent(h, (Ask){ DHCP_RELEASE, .client = 1, .ciaddr = "192.168.127.50", .src = "192.168.127.50", .server = "192.168.127.1" },
                     DROP_DHCP_IGNORED);
        check_nak(h, (Ask){ DHCP_REQUEST, .client = 2, .requested = "192.168.127.50", .server = "192.168.127.1" });

        /* One restored from before a restart goes on; one that ended meanwhile does not. */
        l = (Lease){ .addr = fake_ip("192.168.127.60"), .mac = client_mac(3), .expires = h->now + 100 };
        g_assert_cmpint(dhcp_add(d, &l), ==, 0);
        l.addr = fake_ip("192.168.127.61");
        l.mac = client_mac(4);
        l.expires = h->now;
        g_assert_cmpint(dhcp_add(d, &l), ==, 0);
        g_assert_cmpint(dhcp_list(d, &list, &n), ==, 0);
        g_assert_cmpuint(n, ==, 2);
        acquire(h, (Ask){ .client = 3 }, "192.168.127.60");
        g_assert_cmpuint(h->leases_removed->len, ==, 0);

        /* An unclaimed static lease does not hide the only guest there is. */
        g_autoptr(FakeHost) other = fake_host_new(configure);
        g_assert_cmpint(dhcp_add(other->stack->dhcp, &good), ==, 0);
        acquire(other, (Ask){ .client = 9 }, "192.168.127.2");
        check_ip(&dhcp_only_lease(other->stack->dhcp)->addr, "192.168.127.2");
}

/* An address that somebody took without asking is not given away. */
static void test_conflict(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        IpAddr a = fake_ip("192.168.127.2");
        MacAddr squatter = client_mac(77);

        arp_learn(h->stack->arp, &a, &squatter);
        acquire(h, (Ask){ .client = 1 }, "192.168.127.3");
        acquire(h, (Ask){ .client = 77 }, "192.168.127.2"); /* its own */

        /* Before nobody gets anything, it is. */
        g_autoptr(FakeHost) small = fake_host_new(configure_small);
        for (unsigned i = 2; i <= 5; i++) {
                a = prefix_nth(&small->stack->config.subnet, i);
                arp_learn(small->stack->arp, &a, &squatter);
        }
        acquire(small, (Ask){ .client = 1 }, "192.168.127.2");
}

static void test_malformed(void) {
        g_autoptr(FakeHost) h = fake_host_new(configure);
        GByteArray *m = ask_build(&(Ask){ DHCP_DISCOVER, .client = 1, .hostname = "x" });
        Packet4 p = packet4("255.255.255.255", DHCP_SERVER_PORT);

        p.src = fake_ip("0.0.0.0");
        p.sport = DHCP_CLIENT_PORT;
        p.dst_mac = everybody;
        for (size_t len = 0; len < m->len; len++) {
                if (len == 243 || len == m->len)
                        continue;
                uint64_t before = fake_drops(h, DROP_DHCP_MALFORMED);

                packet_send(h, packet_udp(&p, m->data, len));
                g_assert_cmpuint(fake_drops(h, DROP_DHCP_MALFORMED), ==, before + 1);
        }
        g_byte_array_unref(m);
        g_assert_cmpuint(fake_n_frames(h), ==, 0);

        check_silent(h, (Ask){ DHCP_OFFER, .client = 1 }, DROP_DHCP_IGNORED);
        check_silent(h, (Ask){ DHCP_ACK, .client = 1 }, DROP_DHCP_IGNORED);
        check_silent(h, (Ask){ DHCP_NAK, .client = 1 }, DROP_DHCP_IGNORED);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dhcp/acquire", test_acquire);
        g_test_add_func("/dhcp/order-and-size", test_order_and_size);
        g_test_add_func("/dhcp/mtu", test_mtu);
        g_test_add_func("/dhcp/where-to", test_where_to);
        g_test_add_func("/dhcp/selecting", test_selecting);
        g_test_add_func("/dhcp/init-reboot", test_init_reboot);
        g_test_add_func("/dhcp/renew-rebind", test_renew_rebind);
        g_test_add_func("/dhcp/release", test_release);
        g_test_add_func("/dhcp/forget", test_forget);
        g_test_add_func("/dhcp/decline", test_decline);
        g_test_add_func("/dhcp/decline-limit", test_decline_limit);
        g_test_add_func("/dhcp/inform", test_inform);
        g_test_add_func("/dhcp/identity", test_identity);
        g_test_add_func("/dhcp/for-another", test_for_another);
        g_test_add_func("/dhcp/id-of-another", test_id_of_another);
        g_test_add_func("/dhcp/range", test_range);
        g_test_add_func("/dhcp/rapid-commit", test_rapid_commit);
        g_test_add_func("/dhcp/lease-time", test_lease_time);
        g_test_add_func("/dhcp/expiry", test_expiry);
        g_test_add_func("/dhcp/in-use", test_in_use);
        g_test_add_func("/dhcp/offers-expire", test_offers_expire);
        g_test_add_func("/dhcp/pool-full", test_pool_full);
        g_test_add_func("/dhcp/port-share", test_port_share);
        g_test_add_func("/dhcp/table-full", test_table_full);
        g_test_add_func("/dhcp/rate", test_rate);
        g_test_add_func("/dhcp/hostnames", test_hostnames);
        g_test_add_func("/dhcp/names-by-dhcp6", test_names_by_dhcp6);
        g_test_add_func("/dhcp/static", test_static);
        g_test_add_func("/dhcp/conflict", test_conflict);
        g_test_add_func("/dhcp/malformed", test_malformed);
        return g_test_run();
}
