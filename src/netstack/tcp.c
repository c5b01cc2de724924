/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TCP (RFC 9293) as a translation that keeps no payload. Theory of operation.
 *
 * A guest's connection and the host socket that stands for it are two conversations with one set of bytes between them. The gateway
 * is a full TCP end towards the guest; towards the world it is the host's kernel. What makes it fast is what it does not do: it has no
 * send buffer (the bytes stay in the host socket's receive queue until the guest acknowledges them; they are peeked, not read) and no
 * receive buffer (in-order bytes go from the device's memory to the socket in one send). The one exception is the park
 * (tcp-park.c), for bytes a short send left behind and for segments out of order.
 *
 *     guest -> host                                   host -> guest
 *     tcp-input: segments of a batch, in order        tcp_host_event: readable
 *     tcp_deliver: one send() a flow and batch        tcp-output: peek into frames
 *     acknowledged when the socket took them          acknowledged: discarded from the queue, lazily
 *
 * Life of an outbound flow: the guest's SYN makes a host socket connect (TCP_CONNECTING) and the guest hears nothing until it is
 * known what the far end says: then SYN,ACK, or RST when refused, or the ICMP error that came. So a guest sees the truth, and a black
 * hole looks like one. Inbound: a client connects to a forward's listener, the guest gets a SYN (TCP_SYN_SENT), and when it refuses, the
 * client's connection is reset.
 *
 * Closing: each direction on its own. A guest's FIN becomes shutdown(SHUT_WR) once every byte before it is with the host; the
 * host's end of stream becomes a FIN once every byte before it has left. When both have happened and are acknowledged the flow is gone;
 * there is no TIME-WAIT here, since the guest's own guards the ports; but the ends of the latest flows are remembered, so that a FIN whose
 * ACK was lost gets another, and not a reset.
 * A RST of either side becomes a RST on the other.
 *
 * Half-open flows stand in a queue; beyond their limit the oldest gives way, so a SYN flood or a thousand black-holed connects cannot
 * keep the next one out.
 *
 * Readiness is kept here, not asked for: sockets are watched once, edge-triggered; host_readable and host_blocked remember what the last
 * edge and the last short call said.
 */

#include "netstack/tcp.h"

#include <netinet/ip_icmp.h>
#include <xxhash.h>

#include "netstack/arp.h"
#include "netstack/dns.h"
#include "netstack/forward.h"
#include "netstack/icmp.h"
#include "netstack/ip.h"
#include "netstack/tcp-private.h"

#define DNS_PORT 53

int tcp_new(Tcp **ret, Netstack *s) {
        Tcp *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->stack = s;
        t->share.window = TCP_WINDOW_MAX;
        s->ops->random(s->userdata, t->secret, sizeof(t->secret));
        *ret = t;
        return 0;
}

Tcp *tcp_free(Tcp *t) {
        if (!t)
                return NULL;
        free(t->ready.cookies);
        free(t->blocked.cookies);
        free(t);
        return NULL;
}

uint32_t tcp_half_open(const Tcp *t) {
        return t ? t->n_half_open : 0;
}
uint64_t tcp_parked(const Tcp *t) {
        return t ? t->parked : 0;
}

const char *tcp_state_name(const Flow *f) {
        switch ((TcpState) f->tcp.state) {
        case TCP_CONNECTING:
                return "connecting";
        case TCP_SYN_SENT:
                return "syn-sent";
        case TCP_SYN_RECEIVED:
                return "syn-received";
        case TCP_ESTABLISHED:
                if (f->tcp.fin_sent && f->tcp.fin_received)
                        return "closing";
                return f->tcp.fin_received ? "guest-closed" : f->tcp.fin_sent ? "host-closed" : "established";
        case TCP_CLOSED:
        case _TCP_STATE_MAX:
                break;
        }
        return "closed";
}

/* ---- the queue of half-open flows ---- */

static void half_open_add(Netstack *s, Flow *f) {
        Tcp *t = s->tcp;
        f->tcp.half_prev = t->half_last;
        f->tcp.half_next = 0;
        if (t->half_last)
                flow_at(s->flows, t->half_last)->tcp.half_next = f->index;
        else
                t->half_first = f->index;
        t->half_last = f->index;
        t->n_half_open++;
}

static bool is_half_open(const Tcp *t, const Flow *f) {
        return f->tcp.half_prev || f->tcp.half_next || t->half_first == f->index;
}

void tcp_half_open_remove(Tcp *t, Flow *f) {
        if (!is_half_open(t, f))
                return;
        FlowTable *flows = t->stack->flows;
        if (f->tcp.half_prev)
                flow_at(flows, f->tcp.half_prev)->tcp.half_next = f->tcp.half_next;
        else
                t->half_first = f->tcp.half_next;
        if (f->tcp.half_next)
                flow_at(flows, f->tcp.half_next)->tcp.half_prev = f->tcp.half_prev;
        else
                t->half_last = f->tcp.half_prev;
        f->tcp.half_prev = f->tcp.half_next = 0;
        t->n_half_open--;
}

/* Lets the oldest half-open flow give way when there are as many as may be. */
static void make_room_half_open(Netstack *s) {
        Tcp *t = s->tcp;
        if (t->n_half_open < s->config.limits.half_open || !t->half_first)
                return;
        netstack_drop(s, DROP_TCP_SYN_LIMIT);
        flow_close(s, flow_at(s->flows, t->half_first), /* reset= */ true);
}

/* ---- opening ---- */

static uint32_t flow_hash(const Netstack *s, const FlowKey *key, uint64_t salt) {
        return (uint32_t) XXH3_64bits_withSeed(key, sizeof(*key), s->tcp->secret[0] ^ salt);
}

/* What both directions begin with. NULL at the limits. */
static Flow *open_flow(Netstack *s, const FlowKey *key, TcpState state) {
        make_room_half_open(s);
        Flow *f = flow_new(s->flows, key, tcp_timer);
        if (!f) {
                netstack_drop(s, DROP_TCP_FLOW_LIMIT);
                return NULL;
        }
        TcpFlow *t = &f->tcp;
        t->state = state;
        t->rto = TCP_RTO_INITIAL;
        t->rto_at = t->ack_at = t->discard_at = t->probe_at = USEC_INFINITY;
        t->cwnd = TCP_CWND_MAX;
        t->ssthresh = TCP_CWND_MAX;
        t->mss = TCP_MSS_DEFAULT;
        t->rcv_wscale = TCP_WSCALE;
        /* RFC 6528: a secret place in sequence space for each pair of ends, moving with a 4 microsecond clock */
        t->iss = flow_hash(s, key, s->tcp->secret[1]) + (uint32_t) (netstack_now(s) / 4);
        t->ts_offset = flow_hash(s, key, ~s->tcp->secret[1]);
        t->snd_una = t->snd_nxt = t->iss;
        t->snd_max = t->iss;
        t->discarded = t->iss + 1;
        half_open_add(s, f);
        counter_add(&s->stats.tcp_opened, 1);
        return f;
}

void tcp_take_syn_options(Flow *f, const Segment *g) {
        TcpFlow *t = &f->tcp;
        t->ts_ok = g->has_ts;
        t->sack_ok = g->sack_permitted;
        t->wscale_ok = g->has_wscale;
        t->snd_wscale = g->has_wscale ? g->wscale : 0;
        t->rcv_wscale = g->has_wscale ? TCP_WSCALE : 0;
        uint32_t link = f->guest_mtu > 0 ? f->guest_mtu : 1500; /* as ip_send() has it: what is longer would not leave */
        uint32_t headers = 20 + (uint32_t) ip_header_len(&f->key.guest), most = CLAMP(link, TCP_MSS_MIN + headers, 65535u) - headers;
        uint32_t mss = CLAMP(g->mss > 0 ? g->mss : (uint32_t) TCP_MSS_DEFAULT, (uint32_t) TCP_MSS_MIN, most);
        t->mss = (uint16_t) (mss - (t->ts_ok ? 12 : 0)); /* RFC 6691: options come out of the segment */
}

/* Tells a guest whose connection attempt failed why: refused is RST, unreachable is ICMP, silence is silence. */
static void refuse(Netstack *s, const Endpoint *guest, const Endpoint *remote, uint32_t irs, const Packet *p, const Segment *g, Flow *f,
                   int error) {
        uint32_t seq = htonl(irs);
        uint8_t code;

        counter_add(&s->stats.tcp_refused, 1);
        switch (-error) {
        case ETIMEDOUT: /* the guest's own patience decides */
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
                return;
        case ENETUNREACH:
                code = ICMP_NET_UNREACH;
                break;
        case EHOSTUNREACH:
        case EHOSTDOWN:
                code = ICMP_HOST_UNREACH;
                break;
        case EACCES:
        case EPERM:
                code = ICMP_PKT_FILTERED;
                break;
        default: /* ECONNREFUSED, ECONNRESET and what else a far end may say */
                if (f)
                        tcp_send_rst(s, f);
                else
                        tcp_answer_rst(s, p, g);
                return;
        }
        icmp_send_error_for(s, guest, remote, IPPROTO_TCP, &seq, sizeof(seq), ICMP_DEST_UNREACH, code, 0, NULL);
}

/* What of the guest's SYN the host's packets keep: its mark, and a hop limit so short that somebody wants to know where it ends. */
static HostConnect how_to_connect(Netstack *s, Flow *f, const Packet *p) {
        uint8_t ttl = ip_ttl_out(s, p);

        f->tcp.hop_limited = ttl > 0 && ttl < TCP_HOPS_MAX;
        f->tcp.dscp = p->tos & TCP_DSCP_MASK;
        return (HostConnect){ .ttl = f->tcp.hop_limited ? ttl : 0, .tos = f->tcp.dscp, .at_once = true };
}

/* The host socket for a new outbound flow: one of the gateway's own services, or a connection. 1: connected; 0: not yet; or negative errno. The
 * fd is the flow's. */
static int open_host_socket(Netstack *s, Flow *f, const Packet *p) {
        Endpoint guest = { f->key.guest, f->key.guest_port }, dst = { f->key.remote, f->key.remote_port }, real;
        if (netstack_is_gateway(s, &dst.addr)) {
                int r = -ECONNREFUSED;
                if (dst.port == DNS_PORT)
                        r = dns_stream_open(s->dns, &guest, &f->fd);
                else if (netstack_has_service(s, dst.port))
                        r = s->ops->service_open(s->userdata, dst.port, &guest, &f->fd);
                if (r >= 0)
                        r = s->ops->watch(s->userdata, f->fd, flow_cookie(f));
                return r < 0 ? r : 1;
        }
        int r = netstack_route_out(s, IPPROTO_TCP, &dst, &real);
        if (r == -EACCES && netstack_is_host(s, &dst.addr))
                return -ECONNREFUSED; /* nobody is served there */
        if (r < 0)
                return r;
        HostConnect how = how_to_connect(s, f, p);
        return s->ops->tcp_connect(s->userdata, &real, &how, flow_cookie(f), &f->fd);
}

Flow *tcp_open_outbound(Netstack *s, const Packet *p, const Segment *g, const FlowKey *key) {
        switch (ip_classify(&p->dst)) {
        case IP_CLASS_MULTICAST:
        case IP_CLASS_RESERVED: /* no answer to these, ever (RFC 9293 3.9.2.3) */
                netstack_drop(s, DROP_IP_DESTINATION);
                return NULL;
        case IP_CLASS_UNICAST:
        case IP_CLASS_UNSPECIFIED:
        case IP_CLASS_LOOPBACK:
        case IP_CLASS_LINK_LOCAL:
        case _IP_CLASS_MAX:
                break;
        }

        Flow *f = open_flow(s, key, TCP_CONNECTING);
        if (!f)
                return NULL;
        TcpFlow *t = &f->tcp;
        f->guest_mac = p->src_mac;
        f->guest_mtu = s->port ? s->port->mtu : 0;
        tcp_take_syn_options(f, g);
        t->irs = g->seq;
        t->rcv_nxt = t->host_nxt = g->seq + 1;
        t->rcv_adv = t->rcv_nxt + MIN(65535u, (uint32_t) TCP_WINDOW_MAX);
        t->last_ack_sent = t->rcv_nxt;
        t->ts_recent = g->tsval;
        t->snd_wnd = t->max_snd_wnd = g->wnd;
        t->snd_wl1 = g->seq;

        int r = open_host_socket(s, f, p);
        if (r < 0) {
                if (r == -ENETUNREACH)
                        netstack_drop(s, DROP_IP_DESTINATION);
                else if (r == -EACCES)
                        netstack_drop(s, DROP_IP_POLICY);
                else if (r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -ENOMEM)
                        netstack_drop(s, DROP_TCP_NO_SOCKET);
                Endpoint guest = { key->guest, key->guest_port }, remote = { key->remote, key->remote_port };
                refuse(s, &guest, &remote, g->seq, p, g, NULL, r);
                flow_close(s, f, /* reset= */ false);
                return NULL;
        }
        t->probe_at = netstack_now(s) + TCP_CONNECT_TIMEOUT;
        tcp_timer_update(s, f);
        if (r > 0)
                tcp_host_connected(s, f);
        return f;
}

/* The host socket is connected: answer the guest's SYN. */
void tcp_host_connected(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        t->state = TCP_SYN_RECEIVED;
        t->probe_at = USEC_INFINITY;
        tcp_send_control(s, f, TCP_SYN | TCP_ACK, t->iss);
        t->snd_nxt = t->snd_max = t->iss + 1;
        tcp_rto_restart(s, f);
        tcp_timer_update(s, f);
}

void tcp_established(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        t->state = TCP_ESTABLISHED;
        t->retries = 0;
        t->rto_at = USEC_INFINITY;
        t->interactive = true; /* until the host turns out slow to answer */
        t->probe_at = netstack_now(s) + TCP_KEEPALIVE_IDLE;
        tcp_half_open_remove(s->tcp, f);
}

/* ---- forwards: connections from outside ---- */

/* A key for the new connection: another source port when the guest already knows a connection from this one. */
static bool pick_key(Netstack *s, FlowKey *key) {
        for (unsigned tries = 0; tries < 64; tries++) {
                if (key->remote_port != 0 && !flow_find(s->flows, key))
                        return true;
                key->remote_port = (uint16_t) (49152 + (flow_hash(s, key, tries) & 0x3fff));
        }
        return false;
}

/* A connection to @guest that seems to come from @source, for the connected stream @fd: owned on success. @fw (nullable): counts it. */
static int open_towards_guest(Netstack *s, const Endpoint *guest, const Endpoint *source, Forward *fw, int fd) {
        FlowKey key = { .guest = guest->addr, .remote = source->addr, .guest_port = guest->port, .remote_port = source->port,
                        .kind = FLOW_TCP };
        if (!pick_key(s, &key))
                return -EADDRINUSE;
        Flow *f = open_flow(s, &key, TCP_SYN_SENT);
        if (!f)
                return -ENOBUFS;

        TcpFlow *t = &f->tcp;
        f->inbound = true;
        t->ts_ok = t->sack_ok = t->wscale_ok = true; /* offered; the guest's SYN,ACK decides */
        if (!arp_lookup(s->arp, &guest->addr, &f->guest_mac, &f->guest_mtu))
                f->guest_mac = (MacAddr){};
        int r = s->ops->watch(s->userdata, fd, flow_cookie(f));
        if (r < 0) {
                flow_close(s, f, /* reset= */ false);
                return r;
        }
        f->fd = fd;
        if (fw) { /* from here on the forward counts it */
                f->forward_id = fw->config.id;
                t->forward_slot = forward_slot(s->forwards, fw);
        }
        t->rcv_adv = t->rcv_nxt + 65535;
        tcp_send_control(s, f, TCP_SYN, t->iss);
        t->snd_nxt = t->snd_max = t->iss + 1;
        tcp_rto_restart(s, f);
        tcp_timer_update(s, f);
        return 0;
}

/* Past us, where the guest would take the client for the gateway anyway, and would be sent its SYN now. */
static int open_bypass(Netstack *s, const Forward *fw, const Endpoint *guest, const Endpoint *source, int fd, const Endpoint *peer) {
        HostBypass b = { .guest = *guest, .client = *peer, .forward_id = fw->config.id, .forward_slot = forward_slot(s->forwards, fw) };
        IpAddr gateway = netstack_gateway_for(s, &guest->addr);
        uint32_t mtu;

        if (!s->ops->bypass || fw->config.no_bypass || !ip_equal(&source->addr, &gateway) || !arp_lookup(s->arp, &guest->addr, &b.guest_mac, &mtu))
                return -ENOENT;
        return s->ops->bypass(s->userdata, &b, fd);
}

static int open_inbound(Netstack *s, Forward *fw, int fd, const Endpoint *peer, bool may_bypass) {
        Endpoint guest, source;
        int r = forward_target(s, fw, &guest);
        if (r < 0)
                return r;
        source = forward_source(s, fw, peer, &guest.addr);
        if (may_bypass && open_bypass(s, fw, &guest, &source, fd, peer) >= 0)
                return 0;
        return open_towards_guest(s, &guest, &source, fw, fd);
}

static void forget_active(Forward *fw) {
        fw->stats.active -= fw->stats.active > 0;
}

void netstack_bypass_moved(Netstack *s, const HostBypass *what, uint64_t rx, uint64_t tx) {
        forward_count(s->forwards, what->forward_slot, what->forward_id, rx, tx);
}

void netstack_bypass_ended(Netstack *s, const HostBypass *what) {
        Forward *fw = forward_by_id(s->forwards, what->forward_id);
        if (fw)
                forget_active(fw);
}

void netstack_bypass_failed(Netstack *s, const HostBypass *what, int fd) {
        Forward *fw = forward_by_id(s->forwards, what->forward_id);
        if (fw && open_inbound(s, fw, fd, &what->client, /* may_bypass= */ false) >= 0)
                return; /* its flow counts on */
        if (fw)
                forget_active(fw);
        s->ops->close(s->userdata, fd, /* reset= */ true);
}

int netstack_connect(Netstack *s, const Endpoint *guest, int fd) {
        Endpoint source = { netstack_gateway_for(s, &guest->addr), 0 };

        if (!netstack_is_inside(s, &guest->addr) || netstack_is_ours(s, &guest->addr) || guest->port == 0)
                return -EHOSTUNREACH;
        return open_towards_guest(s, guest, &source, /* fw= */ NULL, fd);
}

void tcp_forward_event(Netstack *s, Forward *fw) {
        for (unsigned n = 0; n < TCP_ACCEPTS_MAX; n++) {
                int fd;
                Endpoint peer;
                int r = s->ops->tcp_accept(s->userdata, fw->fd, &fd, &peer, NULL);
                if (r == -EAGAIN)
                        return;
                if (r == -ECONNABORTED)
                        continue;
                if (r < 0) {
                        netstack_drop(s, DROP_TCP_NO_SOCKET);
                        return forward_accept_later(s, fw, FORWARD_ACCEPT_AGAIN);
                }
                fw->stats.connections++;
                if (open_inbound(s, fw, fd, &peer, /* may_bypass= */ true) < 0)
                        s->ops->close(s->userdata, fd, /* reset= */ true);
                else
                        fw->stats.active++;
        }
        forward_accept_later(s, fw, 0);
}

/* ---- events ---- */

static void connect_finished(Netstack *s, Flow *f, uint32_t events) {
        int r = events & (HOST_EVENT_ERROR | HOST_EVENT_HUP) ? s->ops->tcp_result(s->userdata, f->fd) : 0;
        if (r == -EINPROGRESS || r == -EAGAIN)
                return;
        if (r == 0)
                return tcp_host_connected(s, f);
        tcp_abort(s, f, r);
}

/* The socket takes bytes again: the park drains, the guest hears of the room. */
static void host_writable(Netstack *s, Flow *f) {
        f->tcp.host_blocked = false;
        if (!f->tcp.parked)
                return;
        tcp_deliver(s, f);
        if (!f->closing && !f->tcp.fin_received && tcp_window_update_due(s, f))
                tcp_send_ack(s, f); /* not behind a FIN: the guest may be done with the connection, and would answer with RST */
}

void tcp_host_event(Netstack *s, Flow *f, uint32_t events) {
        TcpFlow *t = &f->tcp;
        if (events & (HOST_EVENT_RDHUP | HOST_EVENT_HUP | HOST_EVENT_ERROR))
                t->host_rdhup = true;
        if (events & (HOST_EVENT_IN | HOST_EVENT_RDHUP | HOST_EVENT_HUP | HOST_EVENT_ERROR))
                t->host_readable = true;
        if (t->state == TCP_CONNECTING) {
                if (events & (HOST_EVENT_OUT | HOST_EVENT_ERROR | HOST_EVENT_HUP))
                        connect_finished(s, f, events);
                return;
        }
        if ((events & HOST_EVENT_OUT) && t->host_blocked)
                host_writable(s, f);
        if (f->closing || t->state != TCP_ESTABLISHED)
                return;
        if (t->host_readable)
                tcp_output_soon(s, f);
        if (f->closing)
                return;
        if (events & HOST_EVENT_ERROR) {
                int r = s->ops->tcp_result(s->userdata, f->fd);
                if (r < 0)
                        return tcp_abort(s, f, r);
        }
        tcp_close_if_done(s, f);
}

/* ---- closing ---- */

/* A router that a SYN with a short hop limit did not get past: the guest hears from it. False: it was none. */
static bool relay_router(Netstack *s, Flow *f, const Endpoint *guest, const Endpoint *remote) {
        uint32_t seq = htonl(f->tcp.irs);
        HostError e;

        if (!f->tcp.hop_limited || s->ops->dgram_error(s->userdata, f->fd, &e) < 0 || ip_is_null(&e.offender))
                return false;
        memcpy(e.payload, &seq, sizeof(seq)); /* in place of the host's own header, which the guest has not seen */
        e.payload_len = sizeof(seq);
        return icmp_relay_error(s, guest, remote, IPPROTO_TCP, &e);
}

void tcp_abort(Netstack *s, Flow *f, int error) {
        if (f->tcp.state == TCP_CONNECTING) {
                Endpoint guest = { f->key.guest, f->key.guest_port }, remote = { f->key.remote, f->key.remote_port };
                if (!relay_router(s, f, &guest, &remote))
                        refuse(s, &guest, &remote, f->tcp.irs, NULL, NULL, f, error);
        } else
                tcp_send_rst(s, f);
        flow_close(s, f, /* reset= */ true);
}

void tcp_address_gone(Netstack *s, Flow *f) {
        tcp_abort(s, f, -ENETUNREACH);
}

static void remember_closed(Netstack *s, const Flow *f) {
        Tcp *t = s->tcp;
        unsigned i = t->next_closed++ % TCP_CLOSED_MAX;
        t->closed[i].key = f->key;
        t->closed[i].snd_max = f->tcp.snd_max;
        t->closed[i].rcv_nxt = f->tcp.rcv_nxt;
        t->closed[i].until = netstack_now(s) + TCP_CLOSED_TIME;
}

/* Its place among the latest to end, or -1. */
static int find_closed(const Netstack *s, const FlowKey *key) {
        const Tcp *t = s->tcp;
        for (unsigned n = 1; n <= TCP_CLOSED_MAX; n++) { /* the latest first */
                unsigned i = (t->next_closed - n) % TCP_CLOSED_MAX;
                if (t->closed[i].until <= netstack_now(s))
                        return -1;
                if (memcmp(&t->closed[i].key, key, sizeof(*key)) == 0)
                        return (int) i;
        }
        return -1;
}

bool tcp_answer_closed(Netstack *s, const Packet *p, const Segment *g, const FlowKey *key) {
        const Tcp *t = s->tcp;
        int i = g->flags & (TCP_SYN | TCP_RST) ? -1 : find_closed(s, key);
        if (i < 0 || seq_lt(t->closed[i].rcv_nxt, g->seq + segment_span(g)))
                return false;
        if (segment_span(g) > 0)
                tcp_answer(s, p, g, TCP_ACK, t->closed[i].snd_max, t->closed[i].rcv_nxt);
        return true;
}

bool tcp_knows(Netstack *s, const FlowKey *key) {
        return tcp_find_flow(s, key) || find_closed(s, key) >= 0;
}

void tcp_close_if_done(Netstack *s, Flow *f) {
        TcpFlow *t = &f->tcp;
        if (t->fin_passed && tcp_guest_is_done(t)) {
                remember_closed(s, f);
                tcp_discard_acked(s, f, /* all= */ true); /* closing with unread bytes would reset the far end */
                flow_close(s, f, /* reset= */ false);
        }
}

void tcp_count(Netstack *s, Flow *f, int64_t rx, uint64_t tx) {
        f->rx_bytes += (uint64_t) rx;
        f->tx_bytes += tx;
        if (f->forward_id)
                forward_count(s->forwards, f->tcp.forward_slot, f->forward_id, (uint64_t) rx, tx);
}

void tcp_flow_close(Netstack *s, Flow *f) {
        if (s->tcp->last == f)
                s->tcp->last = NULL;
        tcp_half_open_remove(s->tcp, f);
        park_free(s, f);
        f->tcp.state = TCP_CLOSED;
        Forward *fw = f->forward_id ? forward_by_id(s->forwards, f->forward_id) : NULL;
        if (fw)
                forget_active(fw);
}

/* ---- flows that wait ---- */

static bool queue_add(FlowQueue *q, const Flow *f) {
        if (q->n == q->n_allocated) {
                uint32_t n = MAX(q->n_allocated * 2, 16u);
                uint64_t *cookies = realloc(q->cookies, n * sizeof(*cookies));
                if (!cookies)
                        return false; /* the guest's next ACK goes on where this stops */
                q->cookies = cookies;
                q->n_allocated = n;
        }
        q->cookies[q->n++] = flow_cookie(f);
        return true;
}

static void queue_drop_first(FlowQueue *q, uint32_t n) {
        q->n -= n;
        memmove(q->cookies, q->cookies + n, q->n * sizeof(*q->cookies));
}

void tcp_make_ready(Netstack *s, Flow *f) {
        if (!f->tcp.in_ready)
                f->tcp.in_ready = queue_add(&s->tcp->ready, f);
}

void tcp_block(Netstack *s, Flow *f) {
        if (!f->tcp.output_blocked)
                f->tcp.output_blocked = queue_add(&s->tcp->blocked, f);
}

void tcp_unblock(Netstack *s, Flow *f) {
        FlowQueue *q = &s->tcp->blocked;
        uint32_t i = 0;
        while (i < q->n && q->cookies[i] != flow_cookie(f))
                i++;
        if (i < q->n) {
                q->n--;
                memmove(q->cookies + i, q->cookies + i + 1, (q->n - i) * sizeof(*q->cookies));
        }
        f->tcp.output_blocked = false;
}

bool tcp_has_ready(const Tcp *t) {
        return t->ready.n > 0;
}

static void another_turn(Netstack *s, Flow *f) {
        tcp_output(s, f);
        if (!f->closing)
                tcp_close_if_done(s, f);
}

/* One after the other until the turn's budget is spent: those that queue again stand behind all others. */
void tcp_run_ready(Netstack *s) {
        FlowQueue *q = &s->tcp->ready;
        uint32_t n = q->n, i = 0;
        if (n > 0)
                netstack_flush(s); /* what the others had to say is on its way first */
        for (uint64_t budget = tcp_turn_frames(s, NULL) * TCP_TURN_FRAME_MIN; i < n && budget > 0; i++) {
                Flow *f = flow_by_cookie(s->flows, q->cookies[i]);
                if (!f)
                        continue;
                uint64_t before = f->tx_bytes;
                f->tcp.in_ready = false;
                another_turn(s, f);
                budget -= MIN(budget, f->tx_bytes - before);
        }
        if (i > 0)
                queue_drop_first(q, i);
}

void tcp_output_ready(Netstack *s, uint32_t port) {
        FlowQueue *q = &s->tcp->blocked;
        uint32_t n = q->n;
        for (uint32_t i = 0; i < n; i++) {
                Flow *f = flow_by_cookie(s->flows, q->cookies[i]);
                if (!f)
                        continue;
                f->tcp.output_blocked = false;
                if (port == 0 || f->device == 0 || f->device == port)
                        another_turn(s, f);
                else
                        tcp_block(s, f); /* for another one: to the end of the queue */
        }
        if (n > 0)
                queue_drop_first(q, n);
}
