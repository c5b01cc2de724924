/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entry and exit of the gateway: Ethernet in, batches out, events and timers to whom they belong. Decides nothing about protocols
 * but two things that all of them ask: where a guest's destination leads in the host's world, and what a host address looks like
 * from inside.
 */

#include "netstack/netstack.h"

#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>

#include "basic/trace.h"
#include "netstack/arp.h"
#include "netstack/dhcp.h"
#include "netstack/dhcp6-names.h"
#include "netstack/dns.h"
#include "netstack/flow.h"
#include "netstack/forward.h"
#include "netstack/icmp.h"
#include "netstack/ip.h"
#include "netstack/multicast.h"
#include "netstack/nat64.h"
#include "netstack/nd.h"
#include "netstack/netstack-private.h"
#include "netstack/ping.h"
#include "netstack/tcp.h"
#include "netstack/udp.h"

/* ---- configuration ---- */

void netstack_config_defaults(NetstackConfig *c) {
        *c = (NetstackConfig){
                .mtu = 65520,
                .lease_sec = 3600,
                .limits = {
                        .tcp_flows = NETSTACK_TCP_FLOWS_MAX,
                        .udp_flows = NETSTACK_UDP_FLOWS_MAX,
                        .ping_flows = NETSTACK_PING_FLOWS_MAX,
                        .half_open = NETSTACK_HALF_OPEN_MAX,
                        .park_bytes = NETSTACK_PARK_BYTES_MAX,
                },
        };
}

void netstack_config_deinit(NetstackConfig *c) {
        free(TAKE_PTR(c->domain));
        free(TAKE_PTR(c->hostname));
        free(TAKE_PTR(c->captive_portal));
}

int netstack_config_copy(NetstackConfig *dst, const NetstackConfig *src) {
        _cleanup_free_ char *domain = src->domain ? strdup(src->domain) : NULL;
        _cleanup_free_ char *hostname = src->hostname ? strdup(src->hostname) : NULL;
        _cleanup_free_ char *portal = src->captive_portal ? strdup(src->captive_portal) : NULL;
        if ((src->domain && !domain) || (src->hostname && !hostname) || (src->captive_portal && !portal))
                return -ENOMEM;
        *dst = *src;
        dst->domain = TAKE_PTR(domain);
        dst->hostname = TAKE_PTR(hostname);
        dst->captive_portal = TAKE_PTR(portal);
        return 0;
}

static bool config_is_valid(const NetstackConfig *c) {
        if (!ip_is_v4(&c->subnet.addr) || c->subnet.len < 8 || c->subnet.len > 29)
                return false;
        if (!prefix_contains(&c->subnet, &c->gateway) || !prefix_contains(&c->subnet, &c->host))
                return false;
        if (!ip_is_null(&c->subnet6.addr) &&
            (ip_is_v4(&c->subnet6.addr) || c->subnet6.len != 64 || ip_classify(&c->subnet6.addr) != IP_CLASS_UNICAST ||
             !prefix_contains(&c->subnet6, &c->gateway6) || !prefix_contains(&c->subnet6, &c->host6) ||
             ip_equal(&c->gateway6, &c->host6)))
                return false;
        if (c->nat64.len > 0 &&
            (!nat64_prefix_is_valid(&c->nat64) || ip_is_null(&c->subnet6.addr) || prefix_contains(&c->subnet6, &c->nat64.addr)))
                return false;
        if (c->no_ip4 && ip_is_null(&c->subnet6.addr))
                return false;
        return !ip_equal(&c->gateway, &c->host) && !mac_is_multicast(&c->mac) && !mac_is_zero(&c->mac);
}

/* ---- life ---- */

int netstack_new(Netstack **ret, const NetstackConfig *config, const HostOps *ops, void *userdata) {
        if (!config_is_valid(config))
                return -EINVAL;
        _cleanup_(netstack_freep) Netstack *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->ops = ops;
        s->userdata = userdata;
        timerq_init(&s->timers, s);
        ops->random(userdata, &s->ip_id, sizeof(s->ip_id));

        int r = netstack_config_copy(&s->config, config);
        if (r < 0)
                return r;
        s->arena = malloc(TX_ARENA_LEN);
        if (!s->arena)
                return -ENOMEM;

        if (!ip_is_null(&config->subnet6.addr))
                s->link_local6 = nd_link_local(&config->mac);
        if ((r = arp_new(&s->arp, s)) < 0 || (r = nd_new(&s->nd, s)) < 0 || (r = fragments_new(&s->fragments, s)) < 0 || (r = flow_table_new(&s->flows, s)) < 0 ||
            (r = forward_table_new(&s->forwards, s)) < 0 || (r = icmp_new(&s->icmp, s)) < 0 || (r = ping_new(&s->ping, s)) < 0 || (r = udp_new(&s->udp, s)) < 0 ||
            (r = multicast_new(&s->multicast, s)) < 0 || (r = tcp_new(&s->tcp, s)) < 0 || (r = dhcp_new(&s->dhcp, s)) < 0 || (!config->shard && (r = dhcp6_names_new(&s->names6, s)) < 0) ||
            (r = dns_new(&s->dns, s)) < 0)
                return r;

        *ret = TAKE_PTR(s);
        return 0;
}

Netstack *netstack_free(Netstack *s) {
        if (!s)
                return NULL;
        s->flows = flow_table_free(s->flows);
        dns_free(s->dns);
        dhcp6_names_free(s->names6);
        dhcp_free(s->dhcp);
        tcp_free(s->tcp);
        multicast_free(s->multicast);
        udp_free(s->udp);
        ping_free(s->ping);
        icmp_free(s->icmp);
        forward_table_free(s->forwards);
        fragments_free(s->fragments);
        nd_free(s->nd);
        arp_free(s->arp);
        for (size_t i = 0; i < s->n_search; i++)
                free(s->search[i]);
        timerq_deinit(&s->timers);
        netstack_config_deinit(&s->config);
        free(s->arena);
        free(s);
        return NULL;
}

/* ---- out ---- */

uint8_t *netstack_tx_reserve(Netstack *s, size_t l4_len) {
        assert(l4_len <= TX_ARENA_LEN - TX_HEADROOM);
        if (s->arena_used > 0 && s->arena_used + TX_HEADROOM + l4_len > TX_FLUSH_LEN)
                netstack_flush(s);
        return s->arena + s->arena_used + TX_HEADROOM;
}

void netstack_tx_commit(Netstack *s, uint8_t *data, size_t len, const struct virtio_net_hdr_v1 *hdr) {
        assert(data >= s->arena + s->arena_used && data + len <= s->arena + TX_ARENA_LEN);
        assert(s->n_out < FRAME_BATCH_MAX);

        s->out_iov[s->n_out] = (struct iovec){ data, len };
        s->out[s->n_out] = (Frame){ .iov = &s->out_iov[s->n_out], .n_iov = 1, .len = (uint32_t) len, .asks = s->tx_asks };
        if (hdr)
                s->out[s->n_out].hdr = *hdr;
        s->out_flow[s->n_out] = s->tx_flow;
        s->tx_flow = 0;
        s->n_out++;
        /* keep what follows aligned to a cache line, so that a header never straddles two */
        s->arena_used = MIN(((size_t) (data - s->arena) + len + 63) & ~(size_t) 63, (size_t) TX_ARENA_LEN);
        if (s->n_out == FRAME_BATCH_MAX)
                netstack_flush(s);
}

void netstack_flush(Netstack *s) {
        if (s->n_out > 0) {
                unsigned n = s->ops->output(s->userdata, s->out, s->n_out);
                TRACE2(batch_out, s->n_out, n);
                counter_add(&s->stats.batches_out, 1);
                counter_add(&s->stats.frames_out, n);
                counter_add(&s->counters.tx_frames, n);
                for (unsigned i = 0; i < s->n_out; i++) /* 0: not taken */
                        counter_add(&s->counters.tx_bytes, s->out[i].len);
                if (n < s->n_out) { /* what TCP lost so it will send again; the rest was never promised */
                        counter_add(&s->counters.tx_dropped, s->n_out - n);
                        counter_add(&s->counters.drops[DROP_DEVICE_FULL], s->n_out - n);
                        tcp_output_short(s);
                }
        }
        s->n_out = 0;
        s->arena_used = 0;
}

void netstack_reap(Netstack *s) {
        flow_reap(s->flows);
        if (s->n_out == 0)
                flow_shrink(s->flows);
}

void netstack_output_ready(Netstack *s, uint32_t port) {
        tcp_output_ready(s, port);
        netstack_flush(s);
        flow_reap(s->flows);
}

/* ---- in ---- */

static void input_one(Netstack *s, Frame *frame) {
        struct ether_header store;
        IovCur cur = iovcur_make(frame->iov, frame->n_iov, frame->len);
        const struct ether_header *eth = IOVCUR_PULL(&cur, &store);
        if (!eth)
                return netstack_drop(s, DROP_ETH_SHORT);
        if (frame->len > FRAME_LEN_MAX)
                return netstack_drop(s, DROP_ETH_LONG);

        MacAddr src, dst;
        memcpy(&src, eth->ether_shost, sizeof(src));
        memcpy(&dst, eth->ether_dhost, sizeof(dst));
        if (mac_is_multicast(&src) || mac_is_zero(&src) || mac_equal(&src, &s->config.mac))
                return netstack_drop(s, DROP_ETH_SOURCE);
        if (!mac_is_multicast(&dst) && !mac_equal(&dst, &s->config.mac))
                return netstack_drop(s, DROP_ETH_NOT_FOR_US);

        uint16_t type;
        memcpy(&type, &eth->ether_type, sizeof(type));
        switch (ntohs(type)) {
        case ETHERTYPE_ARP:
                if (!netstack_has_ip4(s))
                        break;
                return arp_input(s, &src, &cur);
        case ETHERTYPE_IP:
                if (!netstack_has_ip4(s))
                        break;
                return ip4_input(s, frame, &src, &dst, &cur);
        case ETHERTYPE_IPV6:
                if (!netstack_has_ip6(s))
                        break;
                return ip6_input(s, frame, &src, &dst, &cur);
        default:
                break;
        }
        netstack_drop(s, DROP_ETH_TYPE);
}

void netstack_input(Netstack *s, const NetstackPort *port, Frame *frames, unsigned n) {
        assert(n <= FRAME_BATCH_MAX);
        TRACE1(batch_in, n);
        counter_add(&s->stats.batches_in, 1);
        counter_add(&s->stats.frames_in, n);
        counter_add(&s->counters.rx_frames, n);

        s->port = port;
        for (unsigned i = 0; i < n; i++) {
                counter_add(&s->counters.rx_bytes, frames[i].len);
                input_one(s, &frames[i]);
        }
        tcp_input_done(s);
        udp_input_done(s);
        fragments_done(s->fragments);
        s->port = NULL;
        netstack_flush(s);
        flow_reap(s->flows);
}

void netstack_host_event(Netstack *s, uint64_t cookie, uint32_t events) {
        counter_add(&s->stats.host_events, 1);
        switch (host_cookie_kind(cookie)) {
        case HOST_KIND_FLOW: {
                Flow *f = flow_by_cookie(s->flows, cookie);
                if (!f)
                        return;
                switch ((FlowKind) f->key.kind) {
                case FLOW_TCP:
                        return tcp_host_event(s, f, events);
                case FLOW_UDP:
                        return udp_host_event(s, f, events);
                case FLOW_PING: /* has no socket of its own */
                case FLOW_NONE:
                case _FLOW_KIND_MAX:
                        return;
                }
                return;
        }
        case HOST_KIND_LISTENER: {
                Forward *fw = forward_by_cookie(s->forwards, cookie);
                if (!fw)
                        return;
                if (fw->config.proto == IPPROTO_TCP)
                        return tcp_forward_event(s, fw);
                return udp_forward_event(s, fw, events);
        }
        case HOST_KIND_DNS:
                return dns_host_event(s->dns, cookie, events);
        case HOST_KIND_PING:
                return ping_host_event(s, host_cookie_index(cookie), events);
        case HOST_KIND_GROUP:
                return multicast_host_event(s, host_cookie_index(cookie), events);
        case _HOST_KIND_MAX:
                return;
        }
}

usec_t netstack_next_timer(const Netstack *s) {
        if (tcp_has_ready(s->tcp))
                return 0;
        return timerq_next(&s->timers);
}

void netstack_run_timers(Netstack *s) {
        counter_add(&s->stats.turns, 1);
        timerq_run(&s->timers, netstack_now(s));
        tcp_run_ready(s);
        netstack_flush(s);
        flow_reap(s->flows);
}

/* ---- addresses ---- */

/* Where @dst is in the host's world. 0, -EACCES or -ENETUNREACH as netstack_route_out(), but for rules. */
static int resolve_destination(const Netstack *s, const IpAddr *dst, IpAddr *ret) {
        const IpAddr *real;
        IpAddr v4;

        if (nat64_read(s, dst, &v4)) { /* from here on what it stands for, with all that holds for IPv4 */
                if (!nat64_may_mean(s, &v4))
                        return -ENETUNREACH;
                dst = &v4;
        }
        real = policy_real(&s->config.policy, dst);
        if (real) {
                *ret = *real;
                return 0;
        }
        if (netstack_is_host(s, dst)) {
                if (!s->config.host_loopback)
                        return -EACCES;
                *ret = ip_is_v4(dst) ? ip_from_v4(htonl(INADDR_LOOPBACK)) : (IpAddr){ .b[15] = 1 };
                return 0;
        }
        if (netstack_is_inside(s, dst))
                return -ENETUNREACH;
        switch (ip_classify(dst)) {
        case IP_CLASS_UNICAST:
        case IP_CLASS_LINK_LOCAL: /* cloud metadata services live there: refused until a rule allows them */
                *ret = *dst;
                return 0;
        case IP_CLASS_UNSPECIFIED:
        case IP_CLASS_LOOPBACK:
        case IP_CLASS_MULTICAST:
        case IP_CLASS_RESERVED:
        case _IP_CLASS_MAX:
                break;
        }
        return -ENETUNREACH;
}

int netstack_route_out(const Netstack *s, uint8_t proto, const Endpoint *dst, Endpoint *ret_dst) {
        Endpoint real = { .port = dst->port }, meant = real;
        int r = resolve_destination(s, &dst->addr, &real.addr);

        if (r < 0)
                return r;
        if (!policy_allows(&s->config.policy, proto, &real))
                return -EACCES;
        /* somebody beyond the host may translate: no way around the rules about IPv4 either */
        if (nat64_read_well_known(&real.addr, &meant.addr) && !policy_allows(&s->config.policy, proto, &meant))
                return -EACCES;
        *ret_dst = real;
        return 0;
}

IpAddr netstack_source_in(const Netstack *s, const IpAddr *src) {
        const IpAddr *virtual = policy_virtual(&s->config.policy, src);

        if (virtual)
                return *virtual;
        if (ip_classify(src) != IP_CLASS_LOOPBACK)
                return *src;
        return ip_is_v4(src) ? s->config.host : s->config.host6;
}

IpAddr netstack_source_for(const Netstack *s, const IpAddr *guest, const IpAddr *src) {
        IpAddr a = netstack_source_in(s, src);

        return nat64_as_seen(s, guest, &a);
}

IpAddr netstack_gateway_for(const Netstack *s, const IpAddr *a) {
        if (ip_is_v4(a))
                return s->config.gateway;
        return ip_classify(a) == IP_CLASS_LINK_LOCAL ? s->link_local6 : s->config.gateway6;
}

/* ---- settings and lists ---- */

void netstack_set_resolvers(Netstack *s, const Endpoint *resolvers, size_t n, const char *const *search, size_t n_search) {
        dns_flush_cache(s->dns); /* another network may have other answers */
        s->n_resolvers = MIN(n, (size_t) NETSTACK_RESOLVERS_MAX);
        if (s->n_resolvers > 0)
                memcpy(s->resolvers, resolvers, s->n_resolvers * sizeof(*resolvers));
        for (size_t i = 0; i < s->n_search; i++)
                free(s->search[i]);
        s->n_search = 0;
        for (size_t i = 0; i < n_search && s->n_search < NETSTACK_SEARCH_MAX; i++)
                if ((s->search[s->n_search] = strdup(search[i])))
                        s->n_search++;
}

void netstack_set_uplink(Netstack *s, bool ip4, bool ip6) {
        nd_set_uplink(s->nd, ip6 || (ip4 && nat64_is_on(s)));
        multicast_host_changed(s);
        netstack_flush(s);
}

void netstack_check_addresses(Netstack *s) {
        for (Flow *f = flow_next(s->flows, NULL); f; f = flow_next(s->flows, f)) /* of datagrams each has a source of its own */
                if (f->key.kind == FLOW_TCP && f->fd >= 0 && s->ops->address_is_gone(s->userdata, f->fd))
                        tcp_address_gone(s, f);
        netstack_flush(s);
        flow_reap(s->flows);
}

void netstack_forget_guest(Netstack *s, const MacAddr *mac) {
        for (Flow *f = flow_next(s->flows, NULL); f; f = flow_next(s->flows, f))
                if (mac_equal(&f->guest_mac, mac))
                        flow_close(s, f, /* reset= */ f->key.kind == FLOW_TCP);
        arp_forget(s->arp, mac);
        dhcp_forget_client(s->dhcp, mac);
        dhcp6_names_forget(s->names6, mac);
        flow_reap(s->flows);
}

const Counters *netstack_counters(const Netstack *s) {
        return &s->counters;
}

void netstack_get_stats(const Netstack *s, NetstackStats *ret) {
        *ret = s->stats;
        ret->tcp_flows = flow_count(s->flows, FLOW_TCP);
        ret->udp_flows = flow_count(s->flows, FLOW_UDP);
        ret->ping_flows = flow_count(s->flows, FLOW_PING);
        ret->half_open = tcp_half_open(s->tcp);
        ret->parked_bytes = tcp_parked(s->tcp);
        ret->neighbours = (uint32_t) arp_n_neighbours(s->arp);
        ret->leases = (uint32_t) dhcp_n_leases(s->dhcp);
        ret->fragments_held = fragments_held(s->fragments);
}

bool netstack_has_lease(const Netstack *s, const IpAddr *a, const MacAddr *mac) {
        const Lease *l = dhcp_lease_by_addr(s->dhcp, a);
        return l && mac_equal(&l->mac, mac);
}

int netstack_list_leases(const Netstack *s, Lease **ret, size_t *ret_n) {
        return dhcp_list(s->dhcp, ret, ret_n);
}

int netstack_add_lease(Netstack *s, const Lease *lease) {
        return dhcp_add(s->dhcp, lease);
}

static const char *flow_state_name(const Flow *f) {
        switch ((FlowKind) f->key.kind) {
        case FLOW_TCP:
                return tcp_state_name(f);
        case FLOW_UDP:
                return f->udp.answered ? "answered" : "unanswered";
        case FLOW_PING:
        case FLOW_NONE:
        case _FLOW_KIND_MAX:
                break;
        }
        return "open";
}

static FlowInfo flow_info(const Flow *f) {
        static const uint8_t protos[_FLOW_KIND_MAX] = { [FLOW_TCP] = IPPROTO_TCP, [FLOW_UDP] = IPPROTO_UDP, [FLOW_PING] = IPPROTO_ICMP };
        bool tcp = f->key.kind == FLOW_TCP;
        return (FlowInfo){
                .proto = protos[f->key.kind],
                .inbound = f->inbound,
                .guest = { f->key.guest, f->key.guest_port },
                .remote = { f->key.remote, f->key.remote_port },
                .state = flow_state_name(f),
                .rx_bytes = f->rx_bytes,
                .tx_bytes = f->tx_bytes,
                .parked_bytes = tcp ? f->tcp.parked_bytes : 0,
                .retransmits = tcp ? f->tcp.retransmits : 0,
                .created = f->created,
                .last_used = f->last_used,
        };
}

int netstack_list_flows(const Netstack *s, size_t max, FlowInfo **ret, size_t *ret_n) {
        size_t n = 0, total = 0;
        for (Flow *f = flow_next(s->flows, NULL); f; f = flow_next(s->flows, f))
                total++;
        total = MIN(total, max);
        FlowInfo *list = calloc(MAX(total, (size_t) 1), sizeof(*list));
        if (!list)
                return -ENOMEM;
        for (Flow *f = flow_next(s->flows, NULL); f && n < total; f = flow_next(s->flows, f))
                list[n++] = flow_info(f);
        *ret = list;
        *ret_n = n;
        return 0;
}

/* ---- services of the gateway ---- */

static uint16_t *find_service(const Netstack *s, uint16_t port) {
        for (size_t i = 0; i < NETSTACK_SERVICES_MAX; i++)
                if (s->services[i] == port)
                        return (uint16_t *) &s->services[i];
        return NULL;
}

bool netstack_has_service(const Netstack *s, uint16_t port) {
        return port != 0 && find_service(s, port);
}

int netstack_add_service(Netstack *s, uint16_t port) {
        uint16_t *free_one = find_service(s, 0);

        if (port == 0 || port == 53) /* DNS is its own */
                return -EINVAL;
        if (netstack_has_service(s, port))
                return -EEXIST;
        if (!free_one)
                return -ENOBUFS;
        *free_one = port;
        return 0;
}

int netstack_remove_service(Netstack *s, uint16_t port) {
        uint16_t *there = port != 0 ? find_service(s, port) : NULL;

        if (!there)
                return -ENOENT;
        *there = 0;
        return 0;
}
