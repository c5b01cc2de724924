/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UDP from guests: to the gateway's services, to the outside through one host socket per guest address and
 * port (RFC 4787 endpoint-independent mapping), back to a forward's clients through the forward's socket.
 * Keeps no payload.
 *
 * How it leaves is in udp-send.c, what comes from host sockets in udp-receive.c.
 *
 *   a flow lives until it was quiet for     when
 *   UDP_TIMEOUT_DNS_USEC                    it only ever spoke to port 53
 *   UDP_TIMEOUT_ONESHOT_USEC                nobody ever answered
 *   UDP_TIMEOUT_USEC                        otherwise
 */

#include "netstack/udp.h"

#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <xxhash.h>

#include "basic/checksum.h"
#include "netstack/arp.h"
#include "netstack/dhcp.h"
#include "netstack/dhcp6.h"
#include "netstack/dns.h"
#include "netstack/flow.h"
#include "netstack/forward.h"
#include "netstack/icmp.h"
#include "netstack/ip.h"
#include "netstack/multicast.h"

#define UDP_PORT_DNS 53
#define UDP_PORT_DHCP 67
#define UDP_EVICT_USEC (100 * USEC_PER_MSEC) /* between two: finding the oldest is a walk over the table */
#define UDP_INBOUND_PORTS 16 /* source ports tried when two clients would look the same to the guest */

struct Udp {
        Netstack *stack;      /* (borrowed) */
        UdpReceive *receive;  /* (owned) */
        UdpSend *send;        /* (owned) */
        uint64_t seed;
        usec_t evicted;
        uint32_t n_inbound;   /* flows that came from outside */
        uint32_t shares[UDP_SHARES];
};

int udp_new(Udp **ret, Netstack *s) {
        Udp *u = calloc(1, sizeof(*u));
        if (!u)
                return -ENOMEM;

        u->stack = s;
        int r = udp_receive_new(&u->receive, s);
        if (r >= 0)
                r = udp_send_new(&u->send, s);
        if (r < 0) {
                (void) udp_free(u);
                return r;
        }
        s->ops->random(s->userdata, &u->seed, sizeof(u->seed));
        *ret = u;
        return 0;
}

Udp *udp_free(Udp *u) {
        if (!u)
                return NULL;

        udp_receive_free(u->receive);
        udp_send_free(u->send);
        free(u);
        return NULL;
}

UdpReceive *udp_receiver(Udp *u) {
        return u->receive;
}

UdpSend *udp_sender(Udp *u) {
        return u->send;
}

/* ---- flows ---- */

static usec_t udp_timeout(const Flow *f) {
        if (f->udp.dns_only)
                return UDP_TIMEOUT_DNS_USEC;
        return f->udp.answered ? UDP_TIMEOUT_USEC : UDP_TIMEOUT_ONESHOT_USEC;
}

void udp_timer(Timer *timer, usec_t now, void *userdata) {
        Netstack *s = userdata;
        Flow *f = CONTAINER_OF(timer, Flow, timer);

        if (f->udp.readable) /* others had their turn */
                udp_host_event(s, f, HOST_EVENT_IN);

        usec_t end = f->last_used + udp_timeout(f);
        if (end <= now)
                flow_close(s, f, /* reset= */ false);
        else if (!timer_is_set(timer))
                (void) timer_set(&s->timers, timer, end);
}

void udp_flow_close(Netstack *s, Flow *f) {
        Forward *fw = f->udp.forward != 0 ? forward_by_id(s->forwards, f->udp.forward) : NULL;

        free(TAKE_PTR(f->udp.peers));
        s->udp->shares[f->udp.share]--;
        if (f->inbound)
                s->udp->n_inbound--;
        if (fw)
                fw->stats.active--;
}

/* At a limit the flow that has been quiet for longest makes room, now and then: any, or one of
 * share @share. */
static bool udp_make_room(Udp *u, bool own_only, uint8_t share) {
        Netstack *s = u->stack;
        usec_t now = netstack_now(s);
        Flow *oldest = NULL;

        if (now - u->evicted < UDP_EVICT_USEC)
                return false;
        u->evicted = now;

        if (!own_only)
                oldest = flow_oldest_idle(s->flows, FLOW_UDP);
        else
                for (Flow *f = flow_next(s->flows, NULL); f; f = flow_next(s->flows, f))
                        if (f->key.kind == FLOW_UDP && f->udp.share == share &&
                            (!oldest || f->last_used < oldest->last_used))
                                oldest = f;
        if (!oldest)
                return false;
        flow_close(s, oldest, /* reset= */ false);
        return true;
}

/* A new flow within the guest's share of the table, so that one guest never has it all. NULL (counted) at
 * the limit. */
static Flow *udp_flow_new(Netstack *s, const FlowKey *key, const MacAddr *mac) {
        Udp *u = s->udp;
        uint8_t share = (uint8_t) (XXH3_64bits_withSeed(mac, sizeof(*mac), u->seed) % UDP_SHARES);
        uint32_t limit = s->config.limits.udp_flows, share_max = MAX(limit - limit / 8, UINT32_C(1));
        bool at_share = u->shares[share] >= share_max;
        Flow *f = at_share ? NULL : flow_new(s->flows, key, udp_timer);

        if (!f && udp_make_room(u, at_share, share))
                f = flow_new(s->flows, key, udp_timer);
        if (!f) {
                netstack_drop(s, DROP_UDP_FLOW_LIMIT);
                return NULL;
        }
        f->udp.share = share;
        u->shares[share]++;
        f->guest_mac = *mac;
        /* the shortest: looked at anew then */
        (void) timer_set(&s->timers, &f->timer, f->created + UDP_TIMEOUT_DNS_USEC);
        return f;
}

bool udp_peer_is_known(const Flow *f, const IpAddr *addr) {
        for (unsigned i = 0; i < f->udp.n_peers; i++)
                if (ip_equal(&f->udp.peers[i], addr))
                        return true;
        return false;
}

/* Remembers whom the guest has sent to. Room doubles with need; without memory the answer will be filtered,
 * no more. */
static void udp_peer_add(Flow *f, const IpAddr *addr) {
        UdpFlow *uf = &f->udp;

        if (udp_peer_is_known(f, addr))
                return;
        if (uf->n_peers == UDP_PEERS_MAX) {
                uf->peers[uf->next_peer] = *addr;
                uf->next_peer = (uf->next_peer + 1) % UDP_PEERS_MAX;
                return;
        }
        if ((uf->n_peers & (uf->n_peers - 1)) == 0) { /* 0 and the powers of two: full */
                IpAddr *peers = reallocarray(uf->peers, MAX(2u * uf->n_peers, 1u), sizeof(*peers));
                if (!peers)
                        return;
                uf->peers = peers;
        }
        uf->peers[uf->n_peers++] = *addr;
}

/* Gives a new flow towards the host its socket. Without one it is closed and counted: false. */
static bool udp_open_socket(Netstack *s, Flow *f, HostSocketType type, int family) {
        int r = s->ops->dgram_open(s->userdata, type, family, /* local= */ NULL, flow_cookie(f), &f->fd);

        if (r < 0) {
                f->fd = -EBADF;
                flow_close(s, f, /* reset= */ false);
                netstack_drop(s, DROP_UDP_NO_SOCKET);
                return false;
        }
        counter_add(&s->stats.udp_opened, 1);
        return true;
}

/* The mapping of the guest's endpoint, made when there is none: one for each family of the host's world, @family, for a guest of IPv6 may
 * speak to both by NAT64. */
static Flow *udp_outbound_flow(Netstack *s, const Packet *p, uint16_t sport, uint16_t dport, int family) {
        FlowKey key = { .guest = p->src, .guest_port = sport, .kind = FLOW_UDP };
        Flow *f;

        if (family != ip_family(&p->src))
                key.remote = s->config.nat64.addr;
        f = flow_find(s->flows, &key);

        if (f) {
                f->udp.dns_only = f->udp.dns_only && dport == UDP_PORT_DNS;
                return f;
        }

        f = udp_flow_new(s, &key, &p->src_mac);
        if (!f)
                return NULL;
        f->udp.dns_only = dport == UDP_PORT_DNS;
        return udp_open_socket(s, f, HOST_SOCKET_UDP, family) ? f : NULL;
}

Flow *udp_search_flow(Netstack *s, const Packet *p, uint16_t sport, const Endpoint *group) {
        FlowKey key = { .guest = p->src, .remote = group->addr, .guest_port = sport, .remote_port = group->port, .kind = FLOW_UDP };
        Flow *f = flow_find(s->flows, &key);

        if (f) { /* the station may be another one by now */
                f->guest_mac = p->src_mac;
                f->guest_mtu = s->port ? s->port->mtu : 0;
                return f;
        }
        f = udp_flow_new(s, &key, &p->src_mac);
        if (!f)
                return NULL;
        f->guest_mtu = s->port ? s->port->mtu : 0;
        f->udp.search = f->udp.dns_only = true; /* questions and answers, as short-lived as those */
        return udp_open_socket(s, f, HOST_SOCKET_GROUP, ip_family(&group->addr)) ? f : NULL;
}

Flow *udp_inbound_flow(Netstack *s, Forward *fw, const Endpoint *client, const IpAddr *local) {
        Endpoint guest, source;
        FlowKey key = { .kind = FLOW_UDP }, free_key = {};
        bool have_free = false;

        if (forward_target(s, fw, &guest) < 0) {
                netstack_drop(s, DROP_UDP_FILTERED);
                return NULL;
        }
        source = forward_source(s, fw, client, &guest.addr);
        key.guest = guest.addr;
        key.guest_port = guest.port;
        key.remote = source.addr;

        /* Two clients may look the same from inside (both behind the gateway's address, or one that speaks to
         * two addresses of the host): the later one gets another port. */
        for (unsigned i = 0; i < UDP_INBOUND_PORTS; i++) {
                key.remote_port = (uint16_t) (source.port + i * 4099u);
                if (key.remote_port == 0)
                        continue;

                Flow *f = flow_find(s->flows, &key);
                if (f && f->udp.forward == fw->config.id && endpoint_equal(&f->udp.client, client) &&
                    (!local || ip_equal(&f->udp.local, local)))
                        return f;
                if (!f && !have_free) { /* the client's may stand behind it, where another's was when he came */
                        free_key = key;
                        have_free = true;
                }
        }
        if (!local)
                return NULL;
        if (!have_free) {
                netstack_drop(s, DROP_UDP_FLOW_LIMIT);
                return NULL;
        }

        MacAddr mac = {};
        uint32_t mtu;
        (void) arp_lookup(s->arp, &guest.addr, &mac, &mtu);
        Flow *f = udp_flow_new(s, &free_key, &mac);
        if (!f)
                return NULL;
        f->inbound = true;
        f->forward_id = f->udp.forward = fw->config.id;
        f->udp.client = *client;
        f->udp.local = *local;
        s->udp->n_inbound++;
        counter_add(&s->stats.udp_opened, 1);
        fw->stats.connections++;
        fw->stats.active++;
        return f;
}

/* ---- input ---- */

/* A guest's answer to a client of a forward. True when it is one. */
static bool udp_input_inbound(Netstack *s, const Packet *p, uint16_t sport, uint16_t dport,
                              IovCur *payload) {
        FlowKey key = { .guest = p->src,
                        .remote = p->dst,
                        .guest_port = sport,
                        .remote_port = dport,
                        .kind = FLOW_UDP };
        Flow *f = s->udp->n_inbound > 0 ? flow_find(s->flows, &key) : NULL;
        if (!f)
                return false;

        Forward *fw = forward_by_id(s->forwards, f->udp.forward);
        if (!fw) { /* the port the client spoke to is closed */
                flow_close(s, f, /* reset= */ false);
                netstack_drop(s, DROP_UDP_FILTERED);
                icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0, &p->dst);
                return true;
        }
        f->udp.answered = true;
        fw->stats.rx_bytes += iovcur_left(payload);
        udp_collect_packet(s, f, fw->fd, dport, &f->udp.client, p, payload);
        return true;
}

/* Queries may come as a run of datagrams (USO): each is one. */
static void udp_input_dns(Netstack *s, const Packet *p, uint16_t sport, uint16_t dport, IovCur *payload) {
        bool run = p->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 && p->gso_size > 0;
        size_t left;

        do {
                IovCur one = *payload;
                size_t len;

                left = iovcur_left(payload);
                len = run ? MIN(left, (size_t) p->gso_size) : left;
                (void) iovcur_trim(&one, len);
                dns_input(s->dns, &(Endpoint){ p->src, sport }, &(Endpoint){ p->dst, dport }, &one);
                (void) iovcur_skip(payload, len);
                left -= len;
        } while (left > 0);
}

static void udp_input_gateway(Netstack *s, const Packet *p, uint16_t sport, uint16_t dport,
                              IovCur *payload) {
        switch (dport) {
        case UDP_PORT_DHCP:
                if (!ip_is_v4(&p->dst))
                        break;
                return dhcp_input(s->dhcp, &p->src_mac, &p->src, payload);
        case UDP_PORT_DNS:
                return udp_input_dns(s, p, sport, dport, payload);
        default:
                break;
        }
        netstack_drop(s, DROP_UDP_PORT_UNSERVED);
        icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0, &p->dst);
}

static void udp_input_outside(Netstack *s, const Packet *p, uint16_t sport, uint16_t dport,
                              IovCur *payload) {
        Endpoint peer;
        if (!ip_route_or_refuse(s, p, dport, &peer))
                return;

        Flow *f = udp_outbound_flow(s, p, sport, dport, ip_family(&peer.addr));
        if (!f)
                return;
        udp_peer_add(f, &p->dst);
        udp_collect_packet(s, f, f->fd, dport, &peer, p, payload);
}

/* A frame of 64 KiB could be a datagram for each of its bytes: work for us, and none for who sends it. */
static bool udp_run_is_too_long(const Packet *p, size_t len) {
        return p->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 && p->gso_size > 0 && len > (size_t) p->gso_size * UDP_GUEST_RUN_MAX;
}

/* Reads the header at p->l4 and trims to what it says. False (counted) when it lies. */
static bool udp_parse(Netstack *s, Packet *p, uint16_t *ret_sport, uint16_t *ret_dport) {
        IovCur cur = p->l4;
        struct udphdr h = {};
        size_t len = 0;

        if (iovcur_copy(&cur, &h, sizeof(h))) /* a run of datagrams has one header: what its length says is
                                                 the sender's affair */
                len = p->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 ? iovcur_left(&p->l4) : ntohs(h.uh_ulen);
        if (len < sizeof(h) || !iovcur_trim(&p->l4, len) || h.uh_dport == 0 || udp_run_is_too_long(p, len - sizeof(h))) {
                netstack_drop(s, DROP_UDP_MALFORMED);
                return false;
        }
        if (h.uh_sum == 0 && !ip_is_v4(&p->dst)) { /* RFC 8200 8.1 */
                netstack_drop(s, DROP_CHECKSUM);
                return false;
        }
        if (!p->csum_ok && h.uh_sum != 0) {
                uint32_t sum = checksum_pseudo(&p->src, &p->dst, IPPROTO_UDP, (uint32_t) len);

                if (checksum_fold(checksum_add_iov(p->l4.iov, p->l4.n_iov, p->l4.off, len, sum)) != 0xffff) {
                        netstack_drop(s, DROP_CHECKSUM);
                        return false;
                }
        }
        *ret_sport = ntohs(h.uh_sport);
        *ret_dport = ntohs(h.uh_dport);
        return true;
}

void udp_input(Netstack *s, Packet *p) {
        uint16_t sport, dport;

        if (!udp_parse(s, p, &sport, &dport))
                return;

        IovCur payload = p->l4;
        (void) iovcur_skip(&payload, sizeof(struct udphdr));

        static const IpAddr dhcp6_servers = { .b = { 0xff, 0x02, [13] = 1, 0, 2 } };
        if (dport == DHCP6_SERVER_PORT && ip_equal(&p->dst, &dhcp6_servers))
                return dhcp6_input(s, &p->src_mac, &p->src, &payload);
        if (multicast_input(s, p, sport, dport, &payload))
                return;
        if (ip_is_group(s, &p->dst)) { /* a broadcast: only DHCP has use for one */
                if (dport != UDP_PORT_DHCP || !ip_is_v4(&p->dst) || ip_classify(&p->dst) == IP_CLASS_MULTICAST)
                        return netstack_drop(s, DROP_IP_DESTINATION);
                return dhcp_input(s->dhcp, &p->src_mac, &p->src, &payload);
        }

        if (udp_input_inbound(s, p, sport, dport, &payload))
                return;
        if (netstack_is_gateway(s, &p->dst))
                return udp_input_gateway(s, p, sport, dport, &payload);
        udp_input_outside(s, p, sport, dport, &payload);
}

/* ---- towards guests ---- */

void udp_emit(Netstack *s, const Endpoint *src, const Endpoint *dst, const MacAddr *mac, uint32_t mtu,
              uint8_t *l4, size_t len, const HostMsg *m) {
        struct udphdr h = {
                .uh_sport = htons(src->port),
                .uh_dport = htons(dst->port),
                .uh_ulen = htons((uint16_t) (sizeof(h) + len)),
        };
        IpSend how = {
                .src = src->addr,
                .dst = dst->addr,
                .proto = IPPROTO_UDP,
                .mac = mac,
                .mtu = mtu,
                .csum_start = offsetof(struct udphdr, uh_sum) + 1,
        };

        if (m) {
                how.tos = m->tos;
                how.ttl = m->ttl > 1 ? m->ttl - 1 : 0;
                if (m->gso_size > 0 && len > m->gso_size) {
                        how.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
                        how.gso_size = m->gso_size;
                        how.l4_header_len = sizeof(h);
                }
        }
        memcpy(l4, &h, sizeof(h));
        ip_send(s, &how, l4, sizeof(h) + len);
}

void udp_send(Netstack *s, const Endpoint *src, const Endpoint *dst, const MacAddr *mac, const void *payload,
              size_t len) {
        if (len > UINT16_MAX - ip_header_len(&dst->addr) - sizeof(struct udphdr))
                return netstack_drop(s, DROP_IP_TOO_BIG);

        uint8_t *l4 = netstack_tx_reserve(s, sizeof(struct udphdr) + len);
        if (len > 0)
                memcpy(l4 + sizeof(struct udphdr), payload, len);
        udp_emit(s, src, dst, mac, mac && s->port ? s->port->mtu : 0, l4, len, /* m= */ NULL);
}
