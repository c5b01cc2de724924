/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names of DHCPv6 clients: an input is a script of what stations do, and of time. Whatever it was, a name is one station's, an address
 * has one name, what was returned can be found, and tables of either kind of DHCP do not call two stations alike.
 *
 *   records: op(1) station(1) address(1) seconds(1) len(1) bytes
 *     op: low three bits 0 to 2 set, 3 set many of one port, 4 end, 5 forget, 6 time goes on, 7 the administrator's lease; 0x18: port;
 *         0x20: for ever
 */

#include <string.h>

#include "fake-host.h"
#include "fuzz.h"
#include "netstack/dhcp6-names.h"
#include "netstack/netstack-private.h"

#define RECORDS_MAX 64
#define N_ADDRS 256
#define MANY 300
#define MANY_TIMES 4 /* in one input: walks over a full table take their time */

/* At most 64 stations and 256 addresses, so that they meet again. */
static MacAddr mac_of(unsigned i) {
        return (MacAddr){ { 0x52, 0x54, 0, 1, (uint8_t) (i >> 8), (uint8_t) i } };
}

static IpAddr addr_of(unsigned i) {
        IpAddr a = fake_ip("fd00:1::1:0:0");

        a.b[14] = (uint8_t) (i >> 8);
        a.b[15] = (uint8_t) i;
        return a;
}

/* As the caller makes them: letters, digits and hyphens within. */
static void clean_label(const uint8_t *bytes, size_t len, char ret[static DHCP_HOSTNAME_MAX + 1]) {
        static const char letters[] = "aAbB019-";
        size_t n = MIN(len, (size_t) DHCP_HOSTNAME_MAX);

        for (size_t i = 0; i < n; i++)
                ret[i] = letters[bytes[i] % (i == 0 || i == n - 1 ? 7 : 8)];
        ret[n] = 0;
}

static void check_entry(const Dhcp6Names *n, const Dhcp6Name *e, const IpAddr *addr, usec_t now) {
        size_t len = strlen(e->label);

        fuzz_check(len > 0 && len <= DHCP_HOSTNAME_MAX && e->expires > now && ip_equal(&e->addr, addr));
        fuzz_check(dhcp6_name_by_label(n, e->label) == e);
}

static void check_all(FakeHost *h) {
        const Dhcp6Names *n = h->stack->names6;

        for (unsigned i = 0; i < N_ADDRS; i++) {
                IpAddr a = addr_of(i);
                const Dhcp6Name *e = dhcp6_name_by_addr(n, &a);

                if (e)
                        check_entry(n, e, &a, h->now);
        }
}

static void set(FakeHost *h, unsigned station, unsigned address, const char *label, usec_t expires) {
        MacAddr mac = mac_of(station);
        IpAddr a = addr_of(address);
        const Dhcp6Name *e = dhcp6_names_set(h->stack->names6, &a, &mac, label, expires);

        if (!e)
                return;
        fuzz_check(mac_equal(&e->mac, &mac) && ip_equal(&e->addr, &a) && e->expires == expires);
        if (label[0] != 0 && expires > h->now)
                check_entry(h->stack->names6, e, &a, h->now);
}

static void add_lease(FakeHost *h, unsigned station, uint8_t address, const char *label) {
        Lease l = { .addr = fake_ip("192.168.127.2"), .mac = mac_of(station), .expires = USEC_INFINITY, .is_static = true };

        l.addr.b[15] = (uint8_t) (2 + address % 200);
        strcpy(l.hostname, label);
        (void) dhcp_add(h->stack->dhcp, &l);
}

static void set_many(FakeHost *h, unsigned first, usec_t expires) {
        for (unsigned i = first; i < first + MANY; i++) {
                char label[12];

                (void) snprintf(label, sizeof(label), "n%u", i);
                set(h, 64 + i, N_ADDRS + i, label, expires);
        }
}

static void play(FakeHost *h, unsigned *many, const uint8_t record[static 4], const uint8_t *bytes, size_t len) {
        unsigned station = record[1] % 64, address = record[2];
        usec_t expires = record[0] & 0x20 ? USEC_INFINITY : h->now + record[3] * USEC_PER_SEC;
        char label[DHCP_HOSTNAME_MAX + 1];
        MacAddr mac = mac_of(station);
        IpAddr a = addr_of(address);
        NetstackPort port = { .id = record[0] >> 3 & 3 };

        clean_label(bytes, len, label);
        h->stack->port = port.id > 0 ? &port : NULL;
        switch (record[0] & 7) {
        case 0 ... 2:
                set(h, station, address, label, expires);
                break;
        case 3:
                if ((*many)++ < MANY_TIMES)
                        set_many(h, record[1] * MANY, expires);
                break;
        case 4:
                dhcp6_names_end(h->stack->names6, &a, &mac);
                break;
        case 5:
                dhcp6_names_forget(h->stack->names6, &mac);
                break;
        case 6:
                fake_advance(h, record[3] * USEC_PER_SEC);
                break;
        case 7:
                add_lease(h, station, record[2], label);
        }
        h->stack->port = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        FakeHost *h = fake_host_new(fake_ip6);
        unsigned many = 0;

        for (unsigned i = 0; i < RECORDS_MAX && size >= 5; i++) {
                size_t len = MIN((size_t) data[4], size - 5);

                play(h, &many, data, data + 5, len);
                check_all(h);
                data += 5 + len;
                size -= 5 + len;
        }
        fake_host_free(h);
        return 0;
}
