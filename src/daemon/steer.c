/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See steer.h. Only UDP, whole or cut by nobody yet: everything else that lasts is answered. A guest that has more flows than are counted, or that
 * the kernel remembers, has them handed over as before.
 */

#include "daemon/steer.h"

#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <xxhash.h>

#include "basic/checksum.h"
#include "basic/iovcur.h"

typedef struct Headers {
        struct ether_header eth;
        union {
                struct {
                        struct iphdr ip;
                        struct udphdr udp;
                } __attribute__((packed)) v4;
                struct {
                        struct ip6_hdr ip;
                        struct udphdr udp;
                } __attribute__((packed)) v6;
        };
} __attribute__((packed)) Headers;

_Static_assert(sizeof(Headers) == STEER_LEN_MAX, "as long as the longer of both");

/* Their length, with @ret_id what names the flow: addresses and ports, which lie side by side. 0: nothing that is steered. */
static size_t read_headers(const Frame *f, Headers *h, uint64_t *ret_id) {
        IovCur c = iovcur_make(f->iov, f->n_iov, f->len);

        if (!iovcur_copy(&c, &h->eth, sizeof(h->eth)) || h->eth.ether_dhost[0] & 1)
                return 0;
        switch (ntohs(h->eth.ether_type)) {
        case ETHERTYPE_IP:
                if (!iovcur_copy(&c, &h->v4, sizeof(h->v4)) || h->v4.ip.version != 4 || h->v4.ip.ihl != 5 || h->v4.ip.protocol != IPPROTO_UDP ||
                    h->v4.ip.frag_off & htons(IP_MF | IP_OFFMASK))
                        return 0;
                *ret_id = XXH3_64bits((uint8_t *) &h->v4 + offsetof(struct iphdr, saddr), 2 * 4 + 2 * 2);
                return sizeof(h->eth) + sizeof(h->v4);
        case ETHERTYPE_IPV6:
                if (!iovcur_copy(&c, &h->v6, sizeof(h->v6)) || h->v6.ip.ip6_vfc >> 4 != 6 || h->v6.ip.ip6_nxt != IPPROTO_UDP)
                        return 0;
                *ret_id = XXH3_64bits((uint8_t *) &h->v6 + offsetof(struct ip6_hdr, ip6_src), 2 * 16 + 2 * 2);
                return sizeof(h->eth) + sizeof(h->v6);
        default:
                return 0;
        }
}

/* A datagram of no bytes, right in all else. The guest's own address is its source: whoever takes it for his drops it all the same. */
static void empty(Headers *h, const MacAddr *mac) {
        memcpy(h->eth.ether_dhost, mac, sizeof(*mac));
        memcpy(h->eth.ether_shost, mac, sizeof(*mac));
        if (h->eth.ether_type == htons(ETHERTYPE_IP)) {
                struct iphdr ip = h->v4.ip;

                ip.tot_len = htons(sizeof(h->v4));
                ip.check = 0;
                ip.check = checksum_finish(checksum_add(&ip, sizeof(ip), 0));
                h->v4.ip = ip;
                h->v4.udp.uh_ulen = htons(sizeof(h->v4.udp));
                h->v4.udp.uh_sum = 0; /* none */
        } else {
                IpAddr src, dst;

                memcpy(&src, &h->v6.ip.ip6_src, sizeof(src));
                memcpy(&dst, &h->v6.ip.ip6_dst, sizeof(dst));
                h->v6.ip.ip6_plen = h->v6.udp.uh_ulen = htons(sizeof(h->v6.udp));
                h->v6.udp.uh_sum = 0;
                h->v6.udp.uh_sum = checksum_finish(checksum_add(&h->v6.udp, sizeof(h->v6.udp), checksum_pseudo(&src, &dst, IPPROTO_UDP, sizeof(h->v6.udp))));
        }
}

bool steer_look(SteerTable *t, const Frame *f, const MacAddr *mac, usec_t now, SteerFrame *ret) {
        Headers h;
        uint64_t id = 0;
        size_t len = read_headers(f, &h, &id);
        unsigned slot = (unsigned) (id % STEER_FLOWS);

        if (len == 0)
                return false;
        if (t->flows[slot].n == 0 || t->flows[slot].since + STEER_TIME < now) {
                t->flows[slot].id = id;
                t->flows[slot].since = now;
                t->flows[slot].n = 0;
        } else if (t->flows[slot].id != id)
                return false; /* its turn comes when the other is done */
        if (++t->flows[slot].n < STEER_AFTER)
                return false;
        t->flows[slot].n = 0; /* free */
        empty(&h, mac);
        memcpy(ret->bytes, &h, len);
        ret->iov = (struct iovec){ ret->bytes, len };
        ret->frame = (Frame){ .iov = &ret->iov, .n_iov = 1, .len = (uint32_t) len };
        return true;
}
