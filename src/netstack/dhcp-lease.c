/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lease table: one array of entries, three chained hashes over it. The hashes are seeded at random, so that a guest cannot make
 * chains long. Knows no clock and sends nothing; allocates only at its birth.
 */

#include <ctype.h>
#include <errno.h>
#include <xxhash.h>

#include "netstack/dhcp-lease.h"

int lease_table_init(LeaseTable *t, const IpPrefix *subnet, const IpAddr *gateway, const IpAddr *host, uint64_t seed) {
        uint64_t addresses;

        if (!ip_is_v4(&subnet->addr))
                return -EINVAL;
        /* The first and the last address, the gateway and the host are nobody's. */
        addresses = UINT64_C(1) << (32 - subnet->len);
        if (addresses < 5)
                return -EINVAL;

        *t = (LeaseTable){
                .subnet = *subnet,
                .gateway = *gateway,
                .host = *host,
                .seed = seed,
                .n_max = MIN(addresses - 4, (uint64_t) DHCP_LEASES_MAX),
        };
        t->entries = calloc(t->n_max, sizeof(*t->entries));
        t->heads = calloc((size_t) _LEASE_BY_MAX * t->n_max, sizeof(*t->heads));
        if (!t->entries || !t->heads) {
                lease_table_deinit(t);
                return -ENOMEM;
        }
        return 0;
}

void lease_table_deinit(LeaseTable *t) {
        free(t->entries);
        free(t->heads);
        *t = (LeaseTable){};
}

bool lease_table_valid(const LeaseTable *t, const IpAddr *a) {
        IpAddr first = prefix_nth(&t->subnet, 0), last = prefix_broadcast(&t->subnet);

        return prefix_contains(&t->subnet, a) && !ip_equal(a, &first) && !ip_equal(a, &last) &&
               !ip_equal(a, &t->gateway) && !ip_equal(a, &t->host) &&
               (!t->policy || (!policy_real(t->policy, a) && !policy_has_address(t->policy, a)));
}

static uint16_t *chain_by_client(const LeaseTable *t, const uint8_t *id, size_t id_len, const MacAddr *mac) {
        uint64_t h = id_len > 0 ? XXH3_64bits_withSeed(id, id_len, t->seed) : XXH3_64bits_withSeed(mac, sizeof(*mac), ~t->seed);

        return &t->heads[(size_t) LEASE_BY_CLIENT * t->n_max + h % t->n_max];
}

static uint16_t *chain_by_addr(const LeaseTable *t, const IpAddr *a) {
        return &t->heads[(size_t) LEASE_BY_ADDR * t->n_max + XXH3_64bits_withSeed(a, sizeof(*a), t->seed) % t->n_max];
}

static uint16_t *chain_by_name(const LeaseTable *t, const char *label) {
        char lower[DHCP_HOSTNAME_MAX + 1];
        size_t n = 0;

        for (; n < DHCP_HOSTNAME_MAX && label[n]; n++)
                lower[n] = tolower((unsigned char) label[n]);
        return &t->heads[(size_t) LEASE_BY_NAME * t->n_max + XXH3_64bits_withSeed(lower, n, t->seed) % t->n_max];
}

static LeaseEntry *entry_at(const LeaseTable *t, uint16_t slot) {
        return slot == 0 ? NULL : &t->entries[slot - 1];
}

static void chain_link(LeaseTable *t, LeaseEntry *e, unsigned by, uint16_t *head) {
        e->next[by] = *head;
        e->linked[by] = true;
        *head = (e - t->entries) + 1;
}

static void chain_unlink(LeaseTable *t, LeaseEntry *e, unsigned by, uint16_t *head) {
        if (!e->linked[by])
                return;
        while (entry_at(t, *head) != e)
                head = &entry_at(t, *head)->next[by];
        *head = e->next[by];
        e->linked[by] = false;
}

static bool client_equal(const Lease *l, const uint8_t *id, size_t id_len, const MacAddr *mac) {
        if (l->client_id_len != id_len)
                return false;
        return id_len > 0 ? memcmp(l->client_id, id, id_len) == 0 : mac_equal(&l->mac, mac);
}

static LeaseEntry *client_find(const LeaseTable *t, const uint8_t *id, size_t id_len, const MacAddr *mac) {
        LeaseEntry *e = entry_at(t, *chain_by_client(t, id, id_len, mac));

        while (e && !client_equal(&e->lease, id, id_len, mac))
                e = entry_at(t, e->next[LEASE_BY_CLIENT]);
        return e;
}

LeaseEntry *lease_by_client(const LeaseTable *t, const uint8_t *id, size_t id_len, const MacAddr *mac) {
        LeaseEntry *by_mac = client_find(t, NULL, 0, mac);

        /* "This MAC gets that address" is meant for the machine, whatever id its client makes up. */
        if (id_len == 0 || (by_mac && by_mac->lease.is_static))
                return by_mac;
        return client_find(t, id, id_len, mac);
}

LeaseEntry *lease_by_addr(const LeaseTable *t, const IpAddr *a) {
        LeaseEntry *e = entry_at(t, *chain_by_addr(t, a));

        while (e && !ip_equal(&e->lease.addr, a))
                e = entry_at(t, e->next[LEASE_BY_ADDR]);
        return e;
}

LeaseEntry *lease_by_name(const LeaseTable *t, const char *label) {
        LeaseEntry *e = entry_at(t, *chain_by_name(t, label));

        while (e && strcasecmp(e->lease.hostname, label) != 0)
                e = entry_at(t, e->next[LEASE_BY_NAME]);
        return e;
}

LeaseEntry *lease_next(const LeaseTable *t, const LeaseEntry *after) {
        for (size_t i = after ? after - t->entries + 1 : 0; i < t->n_used; i++)
                if (t->entries[i].state != LEASE_FREE)
                        return &t->entries[i];
        return NULL;
}

LeaseEntry *lease_take(LeaseTable *t, const IpAddr *a, const uint8_t *id, size_t id_len, const MacAddr *mac) {
        LeaseEntry *e = entry_at(t, t->free_list);

        assert(id_len <= DHCP_CLIENT_ID_MAX);

        if (e)
                t->free_list = e->next[0];
        else if (t->n_used < t->n_max)
                e = &t->entries[t->n_used++];
        else
                return NULL;

        *e = (LeaseEntry){
                .lease = { .addr = *a, .mac = *mac, .client_id_len = id_len },
                .state = LEASE_OFFERED,
        };
        if (id_len > 0)
                memcpy(e->lease.client_id, id, id_len);
        chain_link(t, e, LEASE_BY_CLIENT, chain_by_client(t, id, id_len, mac));
        chain_link(t, e, LEASE_BY_ADDR, chain_by_addr(t, a));
        return e;
}

void lease_forget_client(LeaseTable *t, LeaseEntry *e) {
        Lease *l = &e->lease;

        lease_set_name(t, e, "");
        chain_unlink(t, e, LEASE_BY_CLIENT, chain_by_client(t, l->client_id, l->client_id_len, &l->mac));
        l->client_id_len = 0;
        l->mac = (MacAddr){};
}

void lease_drop(LeaseTable *t, LeaseEntry *e) {
        lease_forget_client(t, e);
        chain_unlink(t, e, LEASE_BY_ADDR, chain_by_addr(t, &e->lease.addr));
        *e = (LeaseEntry){ .state = LEASE_FREE, .next = { t->free_list } };
        t->free_list = (e - t->entries) + 1;
}

void lease_set_name(LeaseTable *t, LeaseEntry *e, const char *label) {
        size_t len = strnlen(label, DHCP_HOSTNAME_MAX);

        chain_unlink(t, e, LEASE_BY_NAME, chain_by_name(t, e->lease.hostname));
        memmove(e->lease.hostname, label, len);
        e->lease.hostname[len] = 0;
        if (len > 0)
                chain_link(t, e, LEASE_BY_NAME, chain_by_name(t, e->lease.hostname));
}
