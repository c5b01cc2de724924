/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.vnetd1.Network: properties and GetStats(). Reads only, free for everybody. */

#include "bus/bus-network.h"

static int append_ip(sd_bus_message *reply, const IpAddr *a) {
        return sd_bus_message_append(reply, "s", ip_is_null(a) ? "" : IP_TO_TEXT(a));
}

static int append_prefix(sd_bus_message *reply, const IpPrefix *p) {
        return sd_bus_message_append(reply, "s", ip_is_null(&p->addr) ? "" : PREFIX_TO_TEXT(p));
}

static int append_dns_servers(sd_bus_message *reply, const NetworkConfig *c) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (size_t i = 0; i < c->n_dns_servers && r >= 0; i++)
                r = sd_bus_message_append(reply, "s", ENDPOINT_TO_TEXT(c->dns_servers + i));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_reflect(sd_bus_message *reply, uint8_t reflect) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (uint8_t bit = 1; bit < _REFLECT_END && r >= 0; bit <<= 1)
                if (reflect & bit)
                        r = sd_bus_message_append(reply, "s", netstack_reflect_to_name(bit));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int bus_network_property(sd_bus *sd, const char *path, const char *interface, const char *property,
                         sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        static const IpPrefix no_prefix;
        const NetworkConfig *c = network_config(userdata);

        if (streq(property, "Name"))
                return sd_bus_message_append(reply, "s", c->name);
        if (streq(property, "Subnet"))
                return append_prefix(reply, c->stack.no_ip4 ? &no_prefix : &c->stack.subnet);
        if (streq(property, "Gateway"))
                return append_ip(reply, c->stack.no_ip4 ? &no_prefix.addr : &c->stack.gateway);
        if (streq(property, "HostAddress"))
                return append_ip(reply, c->stack.no_ip4 ? &no_prefix.addr : &c->stack.host);
        if (streq(property, "Subnet6"))
                return append_prefix(reply, &c->stack.subnet6);
        if (streq(property, "Gateway6"))
                return append_ip(reply, &c->stack.gateway6);
        if (streq(property, "Nat64"))
                return append_prefix(reply, &c->stack.nat64);
        if (streq(property, "Reflect"))
                return append_reflect(reply, c->stack.reflect);
        if (streq(property, "Mtu"))
                return sd_bus_message_append(reply, "u", c->stack.mtu);
        if (streq(property, "Domain"))
                return sd_bus_message_append(reply, "s", c->stack.domain ?: "");
        if (streq(property, "DnsServers"))
                return append_dns_servers(reply, c);
        if (streq(property, "HostLoopback"))
                return sd_bus_message_append(reply, "b", (int) c->stack.host_loopback);
        if (streq(property, "HttpApi"))
                return sd_bus_message_append(reply, "s", c->http_api ?: "");
        if (streq(property, "HttpGateway"))
                return sd_bus_message_append(reply, "b", c->http_gateway != HTTP_GATEWAY_OFF);
        assert(streq(property, "Owner"));
        return sd_bus_message_append(reply, "u", c->owner);
}

int bus_network_devices(sd_bus *sd, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        _cleanup_(bus_strv_deinit) BusStrv paths = {};
        Bus *b = bus_current(sd);

        for (ManagedDevice *d = NULL; (d = manager_next_device(b->manager, d));) {
                char *item;
                int r;

                if (d->network != userdata)
                        continue;
                r = bus_device_path(d->device->name, &item);
                if (r >= 0)
                        r = bus_strv_take(&paths, item);
                if (r < 0)
                        return r;
        }
        return bus_append_paths(reply, &paths);
}

int bus_network_forwards(sd_bus *sd, const char *path, const char *interface, const char *property,
                         sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        _cleanup_(bus_strv_deinit) BusStrv paths = {};
        int r;

        r = bus_forward_list(bus_current(sd), userdata, &paths);
        return r < 0 ? r : bus_append_paths(reply, &paths);
}

static int append_netstack_stats(sd_bus_message *m, const NetstackStats *s) {
        const struct {
                const char *name;
                uint64_t value;
        } stats[] = {
                { "tcp-flows", s->tcp_flows },
                { "udp-flows", s->udp_flows },
                { "ping-flows", s->ping_flows },
                { "half-open", s->half_open },
                { "neighbours", s->neighbours },
                { "leases", s->leases },
                { "fragments-held", s->fragments_held },
                { "parked-bytes", s->parked_bytes },
                { "parked-peak", s->parked_peak },
                { "partial-sends", s->partial_sends },
                { "retransmits", s->retransmits },
                { "rto-fired", s->rto_fired },
                { "fast-retransmits", s->fast_retransmits },
                { "dup-acks-sent", s->dup_acks_sent },
                { "zero-window-probes", s->zero_window_probes },
                { "frames-in", s->frames_in },
                { "batches-in", s->batches_in },
                { "frames-out", s->frames_out },
                { "batches-out", s->batches_out },
                { "host-events", s->host_events },
                { "turns", s->turns },
                { "tcp-opened", s->tcp_opened },
                { "tcp-refused", s->tcp_refused },
                { "udp-opened", s->udp_opened },
                { "bypassed", s->bypassed },
                { "bypass-failed", s->bypass_failed },
                { "bypassed-bytes", s->bypassed_bytes },
        };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(stats) && r >= 0; i++)
                r = sd_bus_message_append(m, "{st}", stats[i].name, stats[i].value);
        return r;
}

static int append_counters(sd_bus_message *m, const Counters *c) {
        return sd_bus_message_append(m, "{st}{st}{st}{st}{st}{st}", "rx-frames", counter_read(&c->rx_frames),
                                     "rx-bytes", counter_read(&c->rx_bytes), "rx-dropped",
                                     counter_read(&c->rx_dropped), "tx-frames", counter_read(&c->tx_frames),
                                     "tx-bytes", counter_read(&c->tx_bytes), "tx-dropped",
                                     counter_read(&c->tx_dropped));
}

int bus_network_get_stats(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        NetstackStats stats = {};
        Counters counters = {};
        Network *n = userdata;
        int r;

        r = network_get_stats(n, &stats, &counters);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{st}");
        if (r >= 0)
                r = append_netstack_stats(reply, &stats);
        if (r >= 0)
                r = append_counters(reply, &counters);
        if (r >= 0)
                r = bus_append_drops(reply, "drop-", &counters);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
