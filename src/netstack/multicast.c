/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reflects datagrams to a few groups between guests and the link of the host. Reads no message of theirs: what is in there, addresses
 * of guests too, goes on as it is.
 *
 *   from                                             goes on
 *   a guest's port 5353 to mDNS                      by the gateway's socket in the group, so from that port
 *   any other port of a guest, and any to SSDP       by a socket of that port's own, which anybody may answer for a while (udp_search_flow())
 *   the host's link                                  to all guests, as the gateway's own
 *
 * What was reflected one way is not reflected back the other way for a while, whoever brings it: that ends loops through guests, other
 * reflectors and other networks. The host's own programs do not hear guests, nor do other networks: our sockets do not loop.
 */

#include "netstack/multicast.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <xxhash.h>

#include "basic/checksum.h"
#include "netstack/flow.h"
#include "netstack/ip.h"
#include "netstack/rate.h"
#include "netstack/udp.h"

typedef struct GroupInfo {
        uint8_t bit;   /* REFLECT_* */
        uint8_t ttl;
        bool own_port; /* speakers use the group's port, and are answered to the group */
        bool v4;
        Endpoint at;
} GroupInfo;

#define GROUP4(w, x, y, z) { { .b = { [10] = 0xff, 0xff, w, x, y, z } } }
static const GroupInfo groups[] = {
        { REFLECT_MDNS, 255, true, true, { GROUP4(224, 0, 0, 251), 5353 } },
        { REFLECT_MDNS, 255, true, false, { { { .b = { 0xff, 0x02, [15] = 0xfb } } }, 5353 } },
        { REFLECT_SSDP, 2, false, true, { GROUP4(239, 255, 255, 250), 1900 } },
        { REFLECT_SSDP, 2, false, false, { { { .b = { 0xff, 0x02, [15] = 0x0c } } }, 1900 } },
};
#define N_GROUPS ELEMENTSOF(groups)
_Static_assert(N_GROUPS == 2 * MULTICAST_GROUPS_MAX, "as many of each family");

typedef enum Way {
        WAY_OUT, /* from guests */
        WAY_IN,
        _WAY_MAX,
} Way;

typedef struct Reflected {
        uint64_t hash;
        usec_t at; /* 0: none */
} Reflected;

struct Multicast {
        Netstack *stack;      /* (borrowed) */
        int fds[N_GROUPS];    /* (owned) -EBADF: not joined */
        Timer timer;          /* joining again, or more is readable */
        usec_t retry_at;      /* before that, what could not be joined is not tried */
        bool readable[N_GROUPS];
        uint64_t seed;
        usec_t rate_out[PORT_SHARES], rate_in;
        Reflected recent[_WAY_MAX][MULTICAST_RECENT]; /* by hash: a newer one takes the place */
};

uint8_t netstack_reflect_from_name(const char *name) {
        return streq(name, "mdns") ? REFLECT_MDNS : streq(name, "ssdp") ? REFLECT_SSDP : 0;
}

const char *netstack_reflect_to_name(uint8_t bit) {
        return bit == REFLECT_MDNS ? "mdns" : bit == REFLECT_SSDP ? "ssdp" : NULL;
}

/* Is the group one of ours, here? */
static bool group_is_on(const Netstack *s, const GroupInfo *g) {
        return (s->config.reflect & g->bit) && (g->v4 ? netstack_has_ip4(s) : netstack_has_ip6(s));
}

static bool may_go(Netstack *s, usec_t *rate) {
        if (rate_take(rate, netstack_now(s), MULTICAST_PER_SEC, MULTICAST_BURST))
                return true;
        netstack_drop(s, DROP_MULTICAST_RATE);
        return false;
}

static usec_t *rate_of_port(Netstack *s) {
        return &s->multicast->rate_out[netstack_port_id(s) % PORT_SHARES];
}

size_t multicast_groups(const Netstack *s, bool v4, const IpAddr *ret[static MULTICAST_GROUPS_MAX]) {
        size_t n = 0;

        for (unsigned i = 0; i < N_GROUPS; i++)
                if (groups[i].v4 == v4 && group_is_on(s, &groups[i]))
                        ret[n++] = &groups[i].at.addr;
        return n;
}

bool multicast_may_answer(Netstack *s) {
        return may_go(s, rate_of_port(s));
}

/* ---- life ---- */

static void multicast_join(Multicast *m) {
        Netstack *s = m->stack;
        bool missing = false;

        for (unsigned i = 0; i < N_GROUPS; i++) {
                if (m->fds[i] >= 0 || !group_is_on(s, &groups[i]))
                        continue;
                if (s->ops->dgram_open(s->userdata, HOST_SOCKET_GROUP, groups[i].v4 ? AF_INET : AF_INET6, &groups[i].at,
                                       host_cookie(HOST_KIND_GROUP, 0, i), &m->fds[i]) >= 0)
                        continue;
                m->fds[i] = -EBADF;
                missing = true;
        }
        m->retry_at = missing ? netstack_now(s) + MULTICAST_RETRY_USEC : USEC_INFINITY;
        if (missing)
                (void) timer_set(&s->timers, &m->timer, m->retry_at);
}

static void multicast_leave(Multicast *m) {
        for (unsigned i = 0; i < N_GROUPS; i++) {
                if (m->fds[i] >= 0)
                        m->stack->ops->close(m->stack->userdata, m->fds[i], /* reset= */ false);
                m->fds[i] = -EBADF;
                m->readable[i] = false;
        }
}

void multicast_host_changed(Netstack *s) {
        if (!multicast_is_on(s))
                return;
        multicast_leave(s->multicast);
        multicast_join(s->multicast);
}

static void multicast_timer(Timer *timer, usec_t now, void *userdata) {
        Netstack *s = userdata;
        Multicast *m = CONTAINER_OF(timer, Multicast, timer);

        if (m->retry_at <= now)
                multicast_join(m);
        else if (m->retry_at != USEC_INFINITY)
                (void) timer_set(&s->timers, timer, m->retry_at);
        for (unsigned i = 0; i < N_GROUPS; i++)
                if (m->readable[i])
                        multicast_host_event(s, i, HOST_EVENT_IN);
}

int multicast_new(Multicast **ret, Netstack *s) {
        Multicast *m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;
        m->stack = s;
        for (unsigned i = 0; i < N_GROUPS; i++)
                m->fds[i] = -EBADF;
        timer_init(&m->timer, multicast_timer);
        if (multicast_is_on(s)) {
                s->ops->random(s->userdata, &m->seed, sizeof(m->seed));
                multicast_join(m);
        }
        *ret = m;
        return 0;
}

Multicast *multicast_free(Multicast *m) {
        if (!m)
                return NULL;
        timer_stop(&m->stack->timers, &m->timer);
        multicast_leave(m);
        free(m);
        return NULL;
}

/* ---- what is reflected ---- */

/* Notes a datagram to @group that goes @way. False (counted): it came the other way a moment ago, or @rate has none left. */
static bool note_reflected(Multicast *m, Way way, unsigned group, const void *payload, size_t len, usec_t *rate) {
        uint64_t hash = XXH3_64bits_withSeed(payload, len, m->seed + group);
        usec_t now = netstack_now(m->stack);
        const Reflected *other = &m->recent[!way][hash % MULTICAST_RECENT];

        if (other->at != 0 && other->hash == hash && now - other->at < MULTICAST_RECENT_USEC) {
                netstack_drop(m->stack, DROP_MULTICAST_LOOP);
                return false;
        }
        if (!may_go(m->stack, rate))
                return false;
        m->recent[way][hash % MULTICAST_RECENT] = (Reflected){ hash, now };
        return true;
}

/* ---- from guests ---- */

/* The socket that a guest's datagram to @g leaves by; -EBADF (counted): there is none. */
static int socket_for(Netstack *s, const Packet *p, uint16_t sport, unsigned i, size_t len) {
        if (groups[i].own_port && sport == groups[i].at.port) {
                if (s->multicast->fds[i] < 0)
                        netstack_drop(s, DROP_MULTICAST_NO_SOCKET);
                return s->multicast->fds[i];
        }

        Flow *f = udp_search_flow(s, p, sport, &groups[i].at);
        if (!f)
                return -EBADF;
        f->last_used = netstack_now(s);
        f->rx_bytes += len;
        return f->fd;
}

static void reflect_out(Netstack *s, const Packet *p, uint16_t sport, unsigned i, IovCur payload) {
        uint8_t bytes[MULTICAST_PAYLOAD_MAX];
        size_t len = iovcur_left(&payload);

        if (len > sizeof(bytes) || p->gso_type != VIRTIO_NET_HDR_GSO_NONE)
                return netstack_drop(s, DROP_MULTICAST_SIZE);
        if (!policy_allows(&s->config.policy, IPPROTO_UDP, &groups[i].at))
                return netstack_drop(s, DROP_IP_POLICY);
        (void) iovcur_copy(&payload, bytes, len);
        if (!note_reflected(s->multicast, WAY_OUT, i, bytes, len, rate_of_port(s)))
                return;

        int fd = socket_for(s, p, sport, i, len);
        struct iovec iov = { bytes, len };
        HostMsg m = { .peer = groups[i].at, .iov = &iov, .n_iov = 1, .len = len, .tos = p->tos, .ttl = groups[i].ttl };
        if (fd >= 0 && s->ops->dgram_send(s->userdata, fd, &m, 1) < 1)
                netstack_drop(s, DROP_UDP_SEND);
}

bool multicast_input(Netstack *s, const Packet *p, uint16_t sport, uint16_t dport, const IovCur *payload) {
        for (unsigned i = 0; i < N_GROUPS; i++)
                if (dport == groups[i].at.port && ip_equal(&p->dst, &groups[i].at.addr) && group_is_on(s, &groups[i])) {
                        reflect_out(s, p, sport, i, *payload);
                        return true;
                }
        return false;
}

/* ---- to guests ---- */

MacAddr multicast_mac(const IpAddr *a) {
        if (ip_is_v4(a))
                return (MacAddr){ { 0x01, 0x00, 0x5e, a->b[13] & 0x7f, a->b[14], a->b[15] } };
        return (MacAddr){ { 0x33, 0x33, a->b[12], a->b[13], a->b[14], a->b[15] } };
}

/* The payload stands behind the room of a UDP header at @l4. */
static void reflect_in(Netstack *s, const GroupInfo *g, uint8_t *l4, size_t len, uint8_t tos) {
        MacAddr mac = multicast_mac(&g->at.addr);
        struct udphdr h = { .uh_sport = htons(g->at.port), .uh_dport = htons(g->at.port), .uh_ulen = htons((uint16_t) (sizeof(h) + len)) };
        IpSend how = {
                .src = g->v4 ? s->config.gateway : s->link_local6,
                .dst = g->at.addr,
                .proto = IPPROTO_UDP,
                .ttl = g->ttl,
                .tos = tos,
                .mac = &mac,
                .mtu = MIN(s->config.mtu, 1500u),
                .csum_start = offsetof(struct udphdr, uh_sum) + 1,
        };

        memcpy(l4, &h, sizeof(h));
        ip_send(s, &how, l4, sizeof(h) + len);
}

static void take_one(Netstack *s, unsigned i, const HostMsg *msg, uint8_t *l4) {
        if (msg->truncated || msg->len > MULTICAST_PAYLOAD_MAX)
                return netstack_drop(s, DROP_MULTICAST_SIZE);
        if (note_reflected(s->multicast, WAY_IN, i, l4 + sizeof(struct udphdr), msg->len, &s->multicast->rate_in))
                reflect_in(s, &groups[i], l4, msg->len, msg->tos);
}

void multicast_host_event(Netstack *s, uint32_t index, uint32_t events) {
        Multicast *m = s->multicast;
        HostError e;

        if (index >= N_GROUPS || m->fds[index] < 0)
                return;
        for (unsigned i = 0; (events & HOST_EVENT_ERROR) && i < MULTICAST_READS_MAX && s->ops->dgram_error(s->userdata, m->fds[index], &e) == 0;)
                i++; /* nobody asked to be told */
        if (!(events & HOST_EVENT_IN))
                return;

        m->readable[index] = false;
        for (unsigned i = 0; i < MULTICAST_READS_MAX; i++) {
                size_t room = MULTICAST_PAYLOAD_MAX + 1;
                uint8_t *l4 = netstack_tx_reserve(s, sizeof(struct udphdr) + room);
                struct iovec iov = { l4 + sizeof(struct udphdr), room };
                HostMsg msg = { .iov = &iov, .n_iov = 1 };
                int r = s->ops->dgram_recv(s->userdata, m->fds[index], &msg, 1);

                if (r == -EAGAIN)
                        return;
                if (r == 1)
                        take_one(s, index, &msg, l4);
        }
        m->readable[index] = true; /* others first */
        (void) timer_set(&s->timers, &m->timer, netstack_now(s));
}
