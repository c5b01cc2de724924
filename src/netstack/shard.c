/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What makes a netstack a shard: the look at a frame that decides whose it is. It answers nothing, counts nothing and believes nothing:
 * what is odd in any way is left to the network's own netstack, which says what is wrong with it, or makes it whole and offers it back.
 */

#include "netstack/shard.h"

#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>

#include "basic/checksum.h"
#include "netstack/tcp-private.h"

/* Who speaks to whom by a whole TCP segment, whose header is next in @c then. */
static bool read_ip4(IovCur *c, FlowKey *key) {
        struct iphdr h;

        if (!iovcur_copy(c, &h, sizeof(h)) || h.version != 4 || h.ihl * 4u != sizeof(h) || h.protocol != IPPROTO_TCP ||
            ntohs(h.frag_off) & (IP_MF | IP_OFFMASK))
                return false;
        key->guest = ip_from_v4(h.saddr);
        key->remote = ip_from_v4(h.daddr);
        return true;
}

static bool read_ip6(IovCur *c, FlowKey *key) {
        struct ip6_hdr h;

        if (!iovcur_copy(c, &h, sizeof(h)) || h.ip6_vfc >> 4 != 6 || h.ip6_nxt != IPPROTO_TCP)
                return false;
        memcpy(key->guest.b, &h.ip6_src, sizeof(key->guest.b));
        memcpy(key->remote.b, &h.ip6_dst, sizeof(key->remote.b));
        return true;
}

bool netstack_shard_takes(Netstack *s, const Frame *f) {
        IovCur c = iovcur_make(f->iov, f->n_iov, f->len);
        FlowKey key = { .kind = FLOW_TCP };
        struct ether_header eth;
        uint8_t tcp[20];

        if (!iovcur_copy(&c, &eth, sizeof(eth)) || memcmp(eth.ether_dhost, s->config.mac.b, sizeof(eth.ether_dhost)) != 0)
                return false;
        switch (ntohs(eth.ether_type)) {
        case ETHERTYPE_IP:
                if (!read_ip4(&c, &key))
                        return false;
                break;
        case ETHERTYPE_IPV6:
                if (!read_ip6(&c, &key))
                        return false;
                break;
        default:
                return false;
        }
        if (netstack_is_gateway(s, &key.remote) || !iovcur_copy(&c, tcp, sizeof(tcp)))
                return false;
        key.guest_port = (uint16_t) (tcp[0] << 8 | tcp[1]);
        key.remote_port = (uint16_t) (tcp[2] << 8 | tcp[3]);
        return (tcp[13] & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN || tcp_knows(s, &key);
}

/* Headers as they would be had @p come whole, and by itself. Returns their length. */
static size_t write_headers(const Packet *p, uint8_t room[static TX_HEADROOM]) {
        bool v4 = ip_is_v4(&p->dst);
        struct ether_header eth = { .ether_type = htons(v4 ? ETHERTYPE_IP : ETHERTYPE_IPV6) };
        uint16_t l4_len = (uint16_t) iovcur_left(&p->l4);

        memcpy(eth.ether_dhost, &p->dst_mac, sizeof(eth.ether_dhost));
        memcpy(eth.ether_shost, &p->src_mac, sizeof(eth.ether_shost));
        memcpy(room, &eth, sizeof(eth));
        if (v4) {
                struct iphdr h = {
                        .version = 4, .ihl = sizeof(h) / 4, .tos = p->tos, .tot_len = htons((uint16_t) (sizeof(h) + l4_len)), .ttl = p->ttl,
                        .protocol = p->proto, .saddr = ip_v4(&p->src), .daddr = ip_v4(&p->dst),
                };

                h.check = checksum_finish(checksum_add(&h, sizeof(h), 0));
                memcpy(room + sizeof(eth), &h, sizeof(h));
                return sizeof(eth) + sizeof(h);
        }
        struct ip6_hdr h = { .ip6_flow = htonl(UINT32_C(6) << 28 | (uint32_t) p->tos << 20), .ip6_plen = htons(l4_len), .ip6_nxt = p->proto,
                             .ip6_hlim = p->ttl };

        memcpy(&h.ip6_src, &p->src, sizeof(h.ip6_src));
        memcpy(&h.ip6_dst, &p->dst, sizeof(h.ip6_dst));
        memcpy(room + sizeof(eth), &h, sizeof(h));
        return sizeof(eth) + sizeof(h);
}

bool netstack_offer(Netstack *s, const Packet *p) {
        uint8_t headers[TX_HEADROOM];
        struct iovec iov[FRAME_IOV_MAX] = { { .iov_base = headers } };
        IovCur l4 = p->l4;
        size_t len = iovcur_left(&l4);
        unsigned n;

        if (!s->ops->offer || !s->port)
                return false;
        iov[0].iov_len = write_headers(p, headers);
        n = iovcur_slice(&l4, len, iov + 1, FRAME_IOV_MAX - 1);
        Frame f = {
                .hdr = { .flags = VIRTIO_NET_HDR_F_DATA_VALID, .gso_type = p->gso_type, .gso_size = htole16(p->gso_size) },
                .iov = iov,
                .n_iov = 1 + n,
                .len = (uint32_t) (iov[0].iov_len + len),
        };
        return n > 0 && s->ops->offer(s->userdata, s->port->id, &f);
}

NetstackConfig netstack_shard_config(const NetstackConfig *whole, unsigned n) {
        NetstackConfig c = *whole;

        c.shard = true;
        c.reflect = 0;
        c.limits.tcp_flows = MAX(c.limits.tcp_flows / n, 1u);
        c.limits.half_open = MAX(c.limits.half_open / n, 1u);
        c.limits.park_bytes /= n;
        return c;
}

void netstack_add_stats(NetstackStats *sum, const NetstackStats *s) {
        sum->tcp_flows += s->tcp_flows;
        sum->half_open += s->half_open;
        sum->parked_bytes += s->parked_bytes;
        sum->parked_peak += s->parked_peak;
        sum->partial_sends += s->partial_sends;
        sum->retransmits += s->retransmits;
        sum->rto_fired += s->rto_fired;
        sum->fast_retransmits += s->fast_retransmits;
        sum->dup_acks_sent += s->dup_acks_sent;
        sum->zero_window_probes += s->zero_window_probes;
        sum->frames_in += s->frames_in;
        sum->batches_in += s->batches_in;
        sum->frames_out += s->frames_out;
        sum->batches_out += s->batches_out;
        sum->host_events += s->host_events;
        sum->turns += s->turns;
        sum->tcp_opened += s->tcp_opened;
        sum->tcp_refused += s->tcp_refused;
}
