/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What makes a netstack a shard: the look at a frame that decides whose it is. It answers nothing, counts nothing and believes nothing:
 * what is odd in any way is left to the network's own netstack, which says what is wrong with it.
 */

#include "netstack/shard.h"

#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>

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
