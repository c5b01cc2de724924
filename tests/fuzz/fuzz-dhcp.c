/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DHCP: a run of messages of a few clients to one server with a small pool, time passing between. After each, what was sent is a
 * well-formed answer to who asked, and the leases are sound: each address once, in the pool, every name a label and unique, and what
 * was told of them to the outside adds up.
 *
 *   records:  what, length (of the rest), rest
 *   what:     bits 0-1: 0 a message of options alone behind a good header, 1 the same with flags, ciaddr, file and sname before the
 *             options, 2 a whole message, 3 time (first byte, in tens of seconds); bits 2-4: the client; bits 5-7: length times 256
 */

#include "fuzz.h"
#include "netstack/dhcp-private.h"
#include "packet.h"

#define RECORDS_MAX 64
#define HEADER_LEN 240
#define BODY_LEN (2 + 4 + 64 + 128) /* flags, ciaddr, sname, file */

static void configure(NetstackConfig *c) {
        c->subnet.len = 29;
        c->host = fake_ip("192.168.127.6");
}

static void check_options(const uint8_t *m, size_t len) {
        bool type = false, server = false;
        size_t i = HEADER_LEN;

        for (;;) {
                fuzz_check(i < len);
                uint8_t code = m[i++];
                if (code == DHCP_OPTION_END)
                        break;
                fuzz_check(code != DHCP_OPTION_PAD && i < len);
                uint8_t n = m[i++];
                fuzz_check(i + n < len);
                type |= code == DHCP_OPTION_TYPE && n == 1 &&
                        (m[i] == DHCP_OFFER || m[i] == DHCP_ACK || m[i] == DHCP_NAK);
                server |= code == DHCP_OPTION_SERVER && n == 4;
                i += n;
        }
        fuzz_check(type && server);
}

/* At most one answer; probes of ARP may be beside it. */
static void check_frames(FakeHost *h, const uint8_t *asked, size_t asked_len) {
        unsigned n = 0;

        for (;;) {
                g_autoptr(FakeFrame) f = fake_take_frame(h);

                if (!f)
                        break;
                Parsed p = packet_parse(f);
                if (p.eth_type != 0x0800)
                        continue;
                fuzz_check(++n == 1 && p.proto == IPPROTO_UDP && p.sport == DHCP_SERVER_PORT && p.dport == DHCP_CLIENT_PORT);
                fuzz_check(p.payload_len >= DHCP_REPLY_MIN && p.payload_len <= DHCP_REPLY_MAX && asked_len >= HEADER_LEN);
                fuzz_check(p.payload[0] == 2 && memcmp(p.payload + 4, asked + 4, 4) == 0 && memcmp(p.payload + 28, asked + 28, 16) == 0);
                check_options(p.payload, p.payload_len);
        }
}

static void check_leases(FakeHost *h) {
        Dhcp *d = h->stack->dhcp;
        g_autofree Lease *list = NULL;
        size_t n = 0;
        unsigned n_declined = 0;

        fuzz_check(dhcp_list(d, &list, &n) == 0 && n == dhcp_n_leases(d) && n <= 4);
        for (size_t i = 0; i < n; i++) {
                const Lease *l = dhcp_lease_by_addr(d, &list[i].addr);

                fuzz_check(l && l->expires > h->now && lease_table_valid(&d->table, &l->addr));
                if (l->hostname[0])
                        fuzz_check(dhcp_lease_by_hostname(d, l->hostname) == l);
                for (const char *p = l->hostname; *p; p++)
                        fuzz_check(g_ascii_isalnum(*p) || *p == '-');
                for (size_t j = 0; j < i; j++)
                        fuzz_check(!ip_equal(&list[i].addr, &list[j].addr));
        }
        for (const LeaseEntry *e = lease_next(&d->table, NULL); e; e = lease_next(&d->table, e))
                n_declined += e->state == LEASE_DECLINED;
        fuzz_check(n_declined == d->n_declined && n_declined <= 1);
        fuzz_check(dhcp_only_lease(d) == NULL || n == 1);
}

/* The message of a record, on the heap and just as long as it is. */
static uint8_t *message_make(unsigned mode, unsigned client, const uint8_t *data, size_t len, size_t *ret_len) {
        uint8_t header[HEADER_LEN] = { 1, 1, 6, 0, 1, 2, 3, 4 };
        uint8_t *m;

        if (mode == 2) {
                m = malloc(len + !len);
                memcpy(m, data, len);
                *ret_len = len;
                return m;
        }

        memcpy(header + 28, (uint8_t[]){ 2, 0, 0, 0, 0, client }, 6);
        memcpy(header + 236, (uint8_t[]){ 99, 130, 83, 99 }, 4);
        if (mode == 1 && len >= BODY_LEN) {
                memcpy(header + 10, data, 2);
                memcpy(header + 12, data + 2, 4);
                memcpy(header + 44, data + 6, 64 + 128);
                data += BODY_LEN;
                len -= BODY_LEN;
        }
        m = malloc(HEADER_LEN + len);
        memcpy(m, header, HEADER_LEN);
        memcpy(m + HEADER_LEN, data, len);
        *ret_len = HEADER_LEN + len;
        return m;
}

static void run_record(FakeHost *h, uint8_t what, const uint8_t *data, size_t len) {
        unsigned mode = what & 3, client = what >> 2 & 7;
        MacAddr mac = { { 2, 0, 0, 0, 0, client } };
        IpAddr src = fake_ip("0.0.0.0");
        struct iovec store;
        size_t m_len;

        if (mode == 3) {
                fake_advance(h, (len > 0 ? data[0] : 1) * 10 * USEC_PER_SEC);
                return;
        }

        uint8_t *m = message_make(mode, client, data, len, &m_len);
        IovCur cur = iovcur_from_buf(&store, m, m_len);

        if (m_len >= 16 && memcmp(m + 12, "\0\0\0\0", 4) != 0) {
                uint32_t be;

                memcpy(&be, m + 12, 4);
                src = ip_from_v4(be);
        }
        h->stack->port = &h->port;
        dhcp_input(h->stack->dhcp, &mac, &src, &cur);
        h->stack->port = NULL;
        netstack_flush(h->stack);
        check_frames(h, m, m_len);
        free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        FakeHost *h = fake_host_new(configure);

        for (unsigned i = 0; i < RECORDS_MAX && size >= 2; i++) {
                size_t len = MIN((size_t) ((data[0] >> 5) << 8 | data[1]), size - 2);

                run_record(h, data[0], data + 2, len);
                check_leases(h);
                data += 2 + len;
                size -= 2 + len;
        }
        fake_host_free(h);
        return 0;
}
