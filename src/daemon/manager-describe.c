/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Describe(): the model as JSON. Reads only; a network that cannot be asked appears with what is known without asking. */

#include "daemon/manager-private.h"

static void put_counters(JsonWriter *w, const Counters *c) {
        json_key(w, "counters");
        json_object_open(w);
        json_key_u64(w, "rxFrames", counter_read(&c->rx_frames));
        json_key_u64(w, "rxBytes", counter_read(&c->rx_bytes));
        json_key_u64(w, "rxDropped", counter_read(&c->rx_dropped));
        json_key_u64(w, "txFrames", counter_read(&c->tx_frames));
        json_key_u64(w, "txBytes", counter_read(&c->tx_bytes));
        json_key_u64(w, "txDropped", counter_read(&c->tx_dropped));
        json_key(w, "drops");
        json_object_open(w);
        for (Drop reason = 0; reason < _DROP_MAX; reason++) {
                uint64_t n = counter_read(&c->drops[reason]);
                if (n > 0)
                        json_key_u64(w, drop_to_name(reason), n);
        }
        json_object_close(w);
        json_object_close(w);
}

static void put_forward(JsonWriter *w, Manager *m, const ManagedForward *f) {
        const ForwardEntry *entry = CONTAINER_OF(f, ForwardEntry, pub);
        ForwardStats stats;

        json_object_open(w);
        json_key_u64(w, "id", f->id);
        json_key_string(w, "network", network_config(f->network)->name);
        json_key_u64(w, "owner", f->owner);
        json_key_string(w, "protocol", manager_forward_protocol(f));
        json_key_string(w, "local", f->local);
        json_key_string(w, "remote", f->remote);
        json_key_string(w, "sourceAddress", f->config.source == FORWARD_SOURCE_GATEWAY ? "gateway" : "client");
        json_key(w, "bypass");
        json_bool(w, !f->config.no_bypass);
        json_key(w, "listeners");
        json_array_open(w);
        for (size_t i = 0; entry->locals && i < entry->n_locals; i++)
                json_string(w, ENDPOINT_TO_TEXT(&entry->locals[i]));
        json_array_close(w);
        if (manager_forward_stats(m, f, &stats) >= 0) {
                json_key_u64(w, "connections", stats.connections);
                json_key_u64(w, "active", stats.active);
                json_key_u64(w, "rxBytes", stats.rx_bytes);
                json_key_u64(w, "txBytes", stats.tx_bytes);
        }
        json_object_close(w);
}

static void put_lease(JsonWriter *w, const Lease *l, usec_t now) {
        json_object_open(w);
        json_key_string(w, "address", IP_TO_TEXT(&l->addr));
        json_key_string(w, "mac", MAC_TO_TEXT(&l->mac));
        json_key_string(w, "hostname", l->hostname[0] != 0 ? l->hostname : NULL);
        json_key(w, "static");
        json_bool(w, l->is_static);
        json_key(w, "expiresInSec");
        if (l->expires == USEC_INFINITY)
                json_null(w);
        else
                json_u64(w, l->expires > now ? (l->expires - now) / USEC_PER_SEC : 0);
        json_object_close(w);
}

static void put_leases(JsonWriter *w, Network *n) {
        _cleanup_free_ Lease *leases = NULL;
        size_t n_leases = 0;

        json_key(w, "leases");
        json_array_open(w);
        if (network_list_leases(n, &leases, &n_leases) >= 0)
                for (size_t i = 0; i < n_leases; i++)
                        put_lease(w, &leases[i], network_now(n));
        json_array_close(w);
}

static void put_stats(JsonWriter *w, Network *n) {
        NetstackStats s;
        Counters c;

        if (network_get_stats(n, &s, &c) < 0)
                return;
        json_key(w, "stats");
        json_object_open(w);
        json_key_u64(w, "tcpFlows", s.tcp_flows);
        json_key_u64(w, "udpFlows", s.udp_flows);
        json_key_u64(w, "pingFlows", s.ping_flows);
        json_key_u64(w, "halfOpen", s.half_open);
        json_key_u64(w, "neighbours", s.neighbours);
        json_key_u64(w, "leases", s.leases);
        json_key_u64(w, "fragmentsHeld", s.fragments_held);
        json_key_u64(w, "parkedBytes", s.parked_bytes);
        json_key_u64(w, "parkedPeak", s.parked_peak);
        json_key_u64(w, "partialSends", s.partial_sends);
        json_key_u64(w, "retransmits", s.retransmits);
        json_key_u64(w, "rtoFired", s.rto_fired);
        json_key_u64(w, "fastRetransmits", s.fast_retransmits);
        json_key_u64(w, "dupAcksSent", s.dup_acks_sent);
        json_key_u64(w, "zeroWindowProbes", s.zero_window_probes);
        json_key_u64(w, "framesIn", s.frames_in);
        json_key_u64(w, "turns", s.turns);
        json_key_u64(w, "batchesIn", s.batches_in);
        json_key_u64(w, "framesOut", s.frames_out);
        json_key_u64(w, "batchesOut", s.batches_out);
        json_key_u64(w, "hostEvents", s.host_events);
        json_key_u64(w, "tcpOpened", s.tcp_opened);
        json_key_u64(w, "tcpRefused", s.tcp_refused);
        json_key_u64(w, "udpOpened", s.udp_opened);
        json_key_u64(w, "bypassed", s.bypassed);
        json_key_u64(w, "bypassFailed", s.bypass_failed);
        json_key_u64(w, "bypassedBytes", s.bypassed_bytes);
        json_object_close(w);
        put_counters(w, &c);
}

static void put_dns_servers(JsonWriter *w, Manager *m, const NetworkConfig *c) {
        const Resolv *host = m->resolv ? resolv_watch_current(m->resolv) : NULL;
        const Endpoint *servers = c->n_dns_servers > 0 ? c->dns_servers : host ? host->servers : NULL;
        size_t n = c->n_dns_servers > 0 ? c->n_dns_servers : host ? host->n_servers : 0;

        json_key(w, "dnsServers");
        json_array_open(w);
        for (size_t i = 0; i < n; i++)
                json_string(w, ENDPOINT_TO_TEXT(&servers[i]));
        json_array_close(w);
}

void manager_put_reflect(JsonWriter *w, uint8_t reflect) {
        json_key(w, "reflect");
        json_array_open(w);
        for (uint8_t bit = 1; bit < _REFLECT_END; bit <<= 1)
                if (reflect & bit)
                        json_string(w, netstack_reflect_to_name(bit));
        json_array_close(w);
}

static void put_network(JsonWriter *w, Manager *m, Network *n) {
        const NetworkConfig *c = network_config(n);
        const NetstackConfig *s = &c->stack;

        json_object_open(w);
        json_key_string(w, "name", c->name);
        json_key_u64(w, "owner", c->owner);
        if (!s->no_ip4) {
                json_key_string(w, "subnet", PREFIX_TO_TEXT(&s->subnet));
                json_key_string(w, "gateway", IP_TO_TEXT(&s->gateway));
                json_key_string(w, "hostAddress", IP_TO_TEXT(&s->host));
        }
        if (!ip_is_null(&s->subnet6.addr)) {
                json_key_string(w, "subnet6", PREFIX_TO_TEXT(&s->subnet6));
                json_key_string(w, "gateway6", IP_TO_TEXT(&s->gateway6));
                json_key_string(w, "hostAddress6", IP_TO_TEXT(&s->host6));
        }
        if (s->nat64.len > 0)
                json_key_string(w, "nat64", PREFIX_TO_TEXT(&s->nat64));
        json_key_u64(w, "mtu", s->mtu);
        json_key_string(w, "domain", s->domain);
        put_dns_servers(w, m, c);
        json_key(w, "hostLoopback");
        json_bool(w, s->host_loopback);
        manager_put_reflect(w, s->reflect);
        json_key_u64(w, "leaseTimeSec", s->lease_sec);
        json_key_string(w, "httpApi", c->http_api ?: "");
        json_key(w, "httpGateway");
        json_bool(w, c->http_gateway != HTTP_GATEWAY_OFF);

        json_key(w, "devices");
        json_array_open(w);
        for (ManagedDevice *d = NULL; (d = manager_next_device(m, d));)
                if (d->network == n)
                        json_string(w, d->device->name);
        json_array_close(w);
        json_key(w, "forwards");
        json_array_open(w);
        for (ManagedForward *f = NULL; (f = manager_next_forward(m, f));)
                if (f->network == n)
                        put_forward(w, m, f);
        json_array_close(w);
        put_leases(w, n);
        put_stats(w, n);
        json_object_close(w);
}

static void put_device(JsonWriter *w, const ManagedDevice *managed) {
        const Device *d = managed->device;
        Counters c;

        json_object_open(w);
        json_key_string(w, "name", d->name);
        json_key_string(w, "kind", d->ops->kind);
        json_key_string(w, "network", managed->network ? network_config(managed->network)->name : NULL);
        json_key_string(w, "state", managed->state);
        json_key_u64(w, "owner", d->owner);
        json_key_string(w, "mac", mac_is_zero(&d->mac) ? NULL : MAC_TO_TEXT(&d->mac));
        json_key_u64(w, "mtu", d->mtu);
        json_key(w, "offloads");
        json_array_open(w);
        for (uint32_t bit = 1; bit < _DEVICE_OFFLOAD_ALL; bit <<= 1)
                if (d->offloads & bit)
                        json_string(w, device_offload_to_name((DeviceOffload) bit));
        json_array_close(w);
        json_key_u64(w, "queues", d->n_queues);
        json_key_u64(w, "ifindex", (uint64_t) d->ifindex);
        json_key_string(w, "ifname", d->ifname[0] != 0 ? d->ifname : NULL);
        json_key_string(w, "peer", d->peer);
        device_counters(d, &c);
        put_counters(w, &c);
        json_object_close(w);
}

int manager_describe(Manager *m, Network *only, char **ret) {
        JsonWriter w;

        json_writer_init(&w, true);
        if (only)
                put_network(&w, m, only);
        else {
                json_object_open(&w);
                json_key(&w, "networks");
                json_array_open(&w);
                for (Network *n = NULL; (n = manager_next_network(m, n));)
                        put_network(&w, m, n);
                json_array_close(&w);
                json_key(&w, "devices");
                json_array_open(&w);
                for (ManagedDevice *d = NULL; (d = manager_next_device(m, d));)
                        put_device(&w, d);
                json_array_close(&w);
                json_object_close(&w);
        }
        return json_writer_finish(&w, ret);
}
