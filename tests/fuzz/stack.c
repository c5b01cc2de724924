/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plays an input against a gateway and checks what must hold whatever it was: tables within their limits, every frame to guests well
 * formed (packet_parse() asserts each length and checksum), every socket closed at the end, no misuse of the ops (fake-host).
 */

#include "stack.h"

#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>

#include "basic/checksum.h"
#include "device/offload.h"
#include "netstack/arp.h"
#include "netstack/flow.h"
#include "netstack/ip.h"
#include "netstack/multicast.h"
#include "netstack/netstack-private.h"
#include "packet.h"

#define RECORDS_MAX 256
#define BATCH_MAX 16

typedef struct Run {
        FakeHost *h;
        FuzzLayer layer;
        const uint8_t *data;
        size_t left;
        uint32_t gateway_seq; /* behind what the gateway sent last by TCP */
        int tcp_listener, udp_bound;
        GByteArray *held[BATCH_MAX];
        struct virtio_net_hdr_v1 hdrs[BATCH_MAX];
        bool pieces[BATCH_MAX];
        unsigned n_held;
} Run;

static const uint8_t *take(Run *r, size_t n) {
        const uint8_t *p = r->data;

        if (n > r->left)
                return NULL;
        r->data += n;
        r->left -= n;
        return p;
}

/* ---- frames ---- */

/* A piece whose place is the first byte, in eights; the second: bit 7 more follow, bit 6 a place 256 further, the rest is the id. */
static GByteArray *build_piece(uint8_t op, const uint8_t *bytes, size_t len) {
        bool six = op & 4;
        Packet4 p = packet4(six ? op & 1 ? "fd00:1::1" : "2001:db8::8" : op & 1 ? "192.168.127.1" : "8.8.8.8", 53);
        uint16_t place = (uint16_t) ((len > 0 ? bytes[0] : 0) + (len > 1 && bytes[1] & 0x40 ? 256 : 0));
        bool more = len > 1 && bytes[1] & 0x80;
        uint8_t id = len > 1 ? bytes[1] & 0x3f : 0;
        struct ip6_frag f = { .ip6f_nxt = op & 2 ? IPPROTO_UDP : IPPROTO_ICMPV6, .ip6f_ident = id };
        g_autoptr(GByteArray) l4 = g_byte_array_new();

        f.ip6f_offlg = htons((uint16_t) (place << 3)) | (more ? IP6F_MORE_FRAG : 0);
        if (six)
                g_byte_array_append(l4, (const uint8_t *) &f, sizeof(f));
        if (len > 2)
                g_byte_array_append(l4, bytes + 2, (guint) (len - 2));
        p.id = id;
        p.frag = place | (more ? IP_MF : 0);
        return packet_ip(&p, six ? IPPROTO_FRAGMENT : op & 2 ? IPPROTO_UDP : IPPROTO_ICMP, l4->data, l4->len);
}

/* @op says where to, the first byte who: bit 0 the group's own port, 1 and 2 the address, 3 another TTL than the protocol wants, 4 and 5
 * the device. The lengths and checksums within are right, but for @op's bit of checksums. */
static GByteArray *build_multicast(Run *r, uint8_t op, const uint8_t *bytes, size_t len) {
        static const struct {
                const char *dst;
                uint16_t port; /* 0: a membership query, or what goes for one */
        } kinds[] = {
                { "224.0.0.251", 5353 }, { "ff02::fb", 5353 }, { "239.255.255.250", 1900 }, { "ff02::c", 1900 },
                { "224.0.0.1", 0 }, { "ff02::1", 0 }, { "224.0.0.251", 0 }, { "ff02::c", 0 },
        };
        static const char *const srcs[][4] = {
                { "192.168.127.2", "0.0.0.0", "192.168.127.1", "8.8.8.8" },
                { "fe80::5054:ff:fe00:2", "::", "fe80::5054:ff:fe00:1", "2001:db8::8" },
        };
        uint16_t port = kinds[op & 7].port;
        uint8_t who = len > 0 ? bytes[0] : 0;
        Packet4 p = packet4(kinds[op & 7].dst, port);
        GByteArray *b;

        bytes += len > 0;
        len -= len > 0;
        p.dst_mac = multicast_mac(&p.dst);
        p.src = fake_ip(srcs[op & 1][who >> 1 & 3]);
        p.sport = who & 1 ? port : 40000 + (who >> 6);
        p.ttl = who & 8 ? 64 : port != 0 ? 255 : 1;
        r->h->port.id = 1 + (who >> 4 & 3);
        if (port != 0)
                return packet_udp(&p, bytes, len);
        b = packet_ip(&p, op & 1 ? IPPROTO_ICMPV6 : IPPROTO_IGMP, bytes, len);
        if (!(op & 1) && !(op & 0x10) && len >= 4) { /* packet_fix() leaves IGMP alone */
                uint8_t *m = b->data + b->len - len;
                uint16_t sum;

                memset(m + 2, 0, 2);
                sum = checksum_finish(checksum_add(m, len, 0));
                memcpy(m + 2, &sum, 2);
        }
        return b;
}

static GByteArray *build_frame(Run *r, uint8_t op, const uint8_t *bytes, size_t len) {
        static const char *const dsts[] = {
                "192.168.127.1", "192.168.127.254", "8.8.8.8", "9.9.9.9", "127.0.0.1", "255.255.255.255", "192.168.127.77", "224.0.0.251",
        };
        static const char *const dsts6[] = {
                "fd00:1::1", "fd00:1::fe", "2001:db8::808:808", "fe80::5054:ff:fe00:1", "ff02::1", "ff02::2", "ff02::1:ff00:1", "ff02::1:2",
        };
        static const MacAddr all = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
        bool six = r->layer == FUZZ_ND || r->layer == FUZZ_ICMP6;
        Packet4 p = packet4(six ? dsts6[op & 7] : dsts[op & 7], 0);
        GByteArray *b = NULL;

        len = MIN(len, (size_t) 65515);
        switch (r->layer) {
        case FUZZ_ETH:
                b = g_byte_array_new();
                g_byte_array_append(b, bytes, (guint) len);
                break;
        case FUZZ_ARP:
                b = packet_eth(&p.src_mac, op & 1 ? &all : &p.dst_mac, ETHERTYPE_ARP, bytes, len);
                break;
        case FUZZ_IP:
                b = packet_eth(&p.src_mac, (op & 7) == 7 ? &all : &p.dst_mac, ETHERTYPE_IP, bytes, len);
                break;
        case FUZZ_IP6:
                b = packet_eth(&p.src_mac, (op & 7) == 7 ? &all : &p.dst_mac, ETHERTYPE_IPV6, bytes, len);
                break;
        case FUZZ_ND:
                p.ttl = 255;
                if (len > 0 && bytes[0] & 1) /* as DAD asks */
                        p.src = (IpAddr){};
                b = packet_ip(&p, IPPROTO_ICMPV6, len > 0 ? bytes + 1 : bytes, len > 0 ? len - 1 : 0);
                break;
        case FUZZ_DHCP6:
                p.src = fake_ip("fe80::5054:ff:fe00:2");
                p.dst = fake_ip("ff02::1:2");
                p.sport = 546;
                p.dport = 547;
                b = packet_udp(&p, bytes, len);
                break;
        case FUZZ_ICMP:
                b = packet_ip(&p, IPPROTO_ICMP, bytes, len);
                break;
        case FUZZ_ICMP6:
                b = packet_ip(&p, IPPROTO_ICMPV6, bytes, len);
                break;
        case FUZZ_FRAGMENT:
                return build_piece(op, bytes, len); /* no checksum of a piece could be made right */
        case FUZZ_MULTICAST:
                b = build_multicast(r, op, bytes, MIN(len, (size_t) 65480));
                break;
        case FUZZ_UDP:
                b = packet_ip(&p, IPPROTO_UDP, bytes, len);
                break;
        case FUZZ_TCP:
                b = packet_ip(&p, IPPROTO_TCP, bytes, len);
                if (len >= 12) {
                        uint8_t *field = b->data + ETH_HEADER_LEN + 20 + 8;
                        uint32_t ack;

                        memcpy(&ack, field, 4);
                        ack = htonl(ntohl(ack) + r->gateway_seq);
                        memcpy(field, &ack, 4);
                }
                break;
        }
        if (!(op & 0x10))
                packet_fix(b->data, b->len);
        return b;
}

static void send_held(Run *r) {
        g_autoptr(GArray) iovs = g_array_new(FALSE, FALSE, sizeof(struct iovec));
        unsigned first[BATCH_MAX], n = 0;
        Frame frames[BATCH_MAX] = {};

        for (unsigned i = 0; i < r->n_held; i++) {
                size_t step = r->pieces[i] ? MAX((size_t) r->held[i]->len / (FRAME_IOV_MAX - 1), (size_t) 1) : MAX(r->held[i]->len, 1u);

                first[i] = iovs->len;
                for (size_t off = 0; off == 0 || off < r->held[i]->len; off += step) {
                        struct iovec v = { off > 0 ? r->held[i]->data + off : r->held[i]->data, MIN(step, r->held[i]->len - off) };

                        g_array_append_val(iovs, v);
                }
                frames[i] = (Frame){ .hdr = r->hdrs[i], .n_iov = iovs->len - first[i], .len = r->held[i]->len };
        }
        for (unsigned i = 0; i < r->n_held; i++) {
                frames[i].iov = &g_array_index(iovs, struct iovec, first[i]);
                /* devices let no other header through */
                if (frames[i].n_iov <= FRAME_IOV_MAX && offload_header_is_valid(&frames[i]))
                        frames[n++] = frames[i];
        }
        if (n > 0)
                fake_input_batch(r->h, frames, n);
        while (r->n_held > 0)
                g_byte_array_unref(r->held[--r->n_held]);
}

static bool frame_record(Run *r, uint8_t op) {
        struct virtio_net_hdr_v1 hdr = {};
        const uint8_t *p;

        if (op & 0x40) {
                if (!(p = take(r, 10)))
                        return false;
                memcpy(&hdr, p, 10);
        }
        if (!(p = take(r, 2)))
                return false;
        size_t len = MIN((size_t) (p[0] | p[1] << 8), r->left);

        r->held[r->n_held] = build_frame(r, op, take(r, len), len);
        r->hdrs[r->n_held] = hdr;
        r->pieces[r->n_held] = op & 0x20;
        r->n_held++;
        if (!(op & 0x08) || r->n_held == BATCH_MAX)
                send_held(r);
        return true;
}

/* ---- the host ---- */

static void push_bytes(FakeHost *h, FakeSocket *k, size_t len) {
        g_autofree uint8_t *bytes = g_malloc0(len + 8);
        Endpoint from = k->sent->len > 0 ? fake_sent(k, k->sent->len - 1)->peer : fake_endpoint("7.7.7.7:777");

        if (k->kind == FAKE_TCP && k->connected && !k->eof)
                fake_stream_push(h, k, bytes, len);
        else if (k->kind == FAKE_UDP)
                fake_dgram_push_gso(h, k, &from, bytes, len, len % 3 == 0 ? 100 : 0);
        else if (k->kind == FAKE_GROUP && len % 2 != 0 && k->sent->len > 0) /* somebody brings the last one back */
                fake_dgram_push(h, k, &from, fake_sent(k, k->sent->len - 1)->data, fake_sent(k, k->sent->len - 1)->len);
        else if (k->kind == FAKE_GROUP)
                fake_dgram_push(h, k, &from, bytes, len);
        else if (k->kind == FAKE_PING) {
                if (len >= 8 && k->sent->len > 0 && fake_sent(k, k->sent->len - 1)->len >= 8) { /* type 0: an echo reply, to the last */
                        memcpy(bytes, fake_sent(k, k->sent->len - 1)->data, 8);
                        bytes[0] = 0;
                }
                fake_dgram_push(h, k, &from, bytes, len);
        }
}

static void push_error(FakeHost *h, FakeSocket *k, uint16_t arg) {
        HostError e = {
                .peer = k->sent->len > 0 ? fake_sent(k, k->sent->len - 1)->peer : fake_endpoint("7.7.7.7:777"),
                .error = arg & 0xff,
                .icmp_type = arg & 0x1f,
                .icmp_code = (arg >> 5) & 0x0f,
                .mtu = arg,
                .payload_len = arg % sizeof(e.payload),
        };

        if (arg & 1)
                e.offender = fake_ip("10.0.0.1");
        if (k->kind == FAKE_UDP || k->kind == FAKE_PING || k->kind == FAKE_GROUP)
                fake_dgram_push_error(h, k, &e);
}

static void socket_action(Run *r, uint8_t op, uint16_t arg) {
        FakeHost *h = r->h;
        FakeSocket *k;

        if (h->sockets->len == 0)
                return;
        k = g_ptr_array_index(h->sockets, (arg >> 10) % h->sockets->len);
        if (!k->open)
                return;
        switch (op) {
        case 2:
                return push_bytes(h, k, (arg & 0x3ff) * 37u);
        case 3:
                return push_error(h, k, arg);
        case 4:
                if (k->kind == FAKE_TCP && k->connected && !k->eof)
                        fake_stream_eof(h, k);
                return;
        case 5:
                if (k->kind == FAKE_TCP && k->connected)
                        fake_stream_reset(h, k);
                return;
        case 6:
                if (k->kind == FAKE_TCP && k->result == -EINPROGRESS)
                        fake_connect_done(h, k, arg & 1 ? -ECONNREFUSED : 0);
                return;
        case 7:
                if (arg & 1)
                        k->send_room = k->send_room_msgs = arg & 0x3ff;
                else {
                        k->send_room_msgs = UINT_MAX;
                        fake_stream_room(h, k, (arg & 0x3ff) * 64u);
                }
        }
}

static void host_record(Run *r, uint8_t op, uint16_t arg) {
        FakeHost *h = r->h;

        switch (op) {
        case 0:
                return fake_advance(h, arg * USEC_PER_MSEC);
        case 1:
                return fake_advance(h, (arg & 0x3ff) * USEC_PER_SEC);
        case 2 ... 7:
                return socket_action(r, op, arg);
        case 8:
                h->output_room = arg > 0 ? arg : UINT_MAX;
                return netstack_output_ready(h->stack, 0);
        case 9:
                h->connect_result = arg % 3 == 0 ? 0 : arg % 3 == 1 ? FAKE_CONNECT_NEVER : -EHOSTUNREACH;
                return;
        case 10:
                h->open_error = arg & 1 ? -EMFILE : 0;
                return;
        case 11:
                if (r->tcp_listener >= 0)
                        fake_client(h, r->tcp_listener, &(Endpoint){ fake_ip(arg & 1 ? "7.7.7.7" : "127.0.0.1"), arg });
                return;
        case 12:
                if (r->udp_bound >= 0)
                        fake_dgram_push(h, fake_socket(h, r->udp_bound), &(Endpoint){ fake_ip(arg & 1 ? "7.7.7.7" : "127.0.0.1"), arg },
                                        "datagram", 8);
                return;
        case 13:
                if (r->layer == FUZZ_MULTICAST && arg & 1)
                        return netstack_set_uplink(h->stack, arg & 2, arg & 4);
                return netstack_forget_guest(h->stack, &FAKE_GUEST_MAC);
        case 14:
                h->port.mtu = MAX((uint32_t) arg, 68u);
                return;
        case 15:
                if (r->tcp_listener >= 0 && netstack_forward_remove(h->stack, arg & 1 ? 1 : 2) == 0)
                        *(arg & 1 ? &r->tcp_listener : &r->udp_bound) = -EBADF;
        }
}

/* ---- the whole ---- */

static void check_output(Run *r) {
        for (FakeFrame *f; (f = fake_take_frame(r->h)); fake_frame_free(f)) {
                Parsed p = packet_parse(f);

                if (p.eth_type == ETHERTYPE_IP && p.proto == IPPROTO_TCP && p.tcp_flags & 0x12) /* SYN, ACK: not of a bare RST */
                        r->gateway_seq = p.seq + (uint32_t) p.payload_len + !!(p.tcp_flags & 0x02) + (p.tcp_flags & 0x01);
        }
}

static void check_limits(FakeHost *h) {
        const NetstackLimits *l = &h->stack->config.limits;
        NetstackStats s;

        netstack_get_stats(h->stack, &s);
        fuzz_check(s.tcp_flows <= l->tcp_flows && s.udp_flows <= l->udp_flows && s.ping_flows <= l->ping_flows);
        fuzz_check(s.half_open <= l->half_open && s.half_open <= s.tcp_flows);
        fuzz_check(s.parked_bytes <= l->park_bytes);
        fuzz_check(s.neighbours <= ARP_NEIGHBOURS_MAX && s.fragments_held <= FRAG_DATAGRAMS_MAX);
}

static bool with_ip6, with_nat64, with_reflect; /* of the input at hand */

static void plain(NetstackConfig *c) {
        if (with_ip6)
                fake_ip6(c);
        if (with_ip6 && with_nat64)
                fuzz_check(prefix_parse("2001:db8::/96", &c->nat64) == 0);
        if (with_reflect)
                c->reflect = REFLECT_MDNS | REFLECT_SSDP;
}

static void no_loopback(NetstackConfig *c) {
        plain(c);
        c->host_loopback = false;
}

static void tiny(NetstackConfig *c) {
        plain(c);
        c->limits = (NetstackLimits){ .tcp_flows = 3, .udp_flows = 3, .ping_flows = 2, .half_open = 2, .park_bytes = 5000 };
}

static void add_forwards(Run *r) {
        Endpoint local = fake_endpoint("127.0.0.1:80");
        ForwardConfig c = { .id = 1, .proto = IPPROTO_TCP, .local = local, .remote = fake_endpoint("192.168.127.2:80") };

        r->tcp_listener = fake_listener(r->h, &local);
        fuzz_check(netstack_forward_add(r->h->stack, &c, r->tcp_listener) == 0);
        c.id = 2;
        c.proto = IPPROTO_UDP;
        r->udp_bound = fake_udp_bound(r->h, &local);
        fuzz_check(netstack_forward_add(r->h->stack, &c, r->udp_bound) == 0);
}

int fuzz_stack(FuzzLayer layer, const uint8_t *data, size_t size) {
        Run r = { .layer = layer, .data = data, .left = size, .tcp_listener = -EBADF, .udp_bound = -EBADF };
        const uint8_t *p = take(&r, 1);
        uint8_t how = p ? *p : 0;

        with_ip6 = layer == FUZZ_IP6 || layer == FUZZ_ND || layer == FUZZ_DHCP6 || layer == FUZZ_ICMP6 || layer == FUZZ_FRAGMENT ||
                   layer == FUZZ_MULTICAST;
        with_nat64 = how & 32;
        with_reflect = how & 64 || layer == FUZZ_MULTICAST;
        r.h = fake_host_new(how & 2 ? tiny : how & 1 ? no_loopback : plain);
        r.h->port.mtu = how & 8 ? 576 : how & 16 ? 65520 : 1500;
        if (how & 4)
                add_forwards(&r);

        for (unsigned i = 0; i < RECORDS_MAX && (p = take(&r, 1)); i++) {
                if (*p & 0x80) {
                        if (!frame_record(&r, *p))
                                break;
                } else {
                        const uint8_t *arg = take(&r, 2);

                        if (!arg)
                                break;
                        send_held(&r);
                        host_record(&r, *p & 0x0f, (uint16_t) (arg[0] | arg[1] << 8));
                }
                fake_run(r.h);
                check_output(&r);
                check_limits(r.h);
        }
        send_held(&r);
        fake_run(r.h);
        check_output(&r);
        fake_host_free(r.h);
        return 0;
}
