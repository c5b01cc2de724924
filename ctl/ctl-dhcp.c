/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small DHCP client. Everything read is bounded by the packet's end; what does not fit the form is refused
 * whole.
 *
 *     DISCOVER -> ACK (rapid commit, RFC 4039)                 the usual, one round
 *     DISCOVER -> OFFER, REQUEST -> ACK | NAK                  RFC 2131 3.1
 *     REQUEST with our address -> ACK | NAK                    renewing, RFC 2131 4.4.5
 */

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/random.h>
#include <time.h>

#include "basic/checksum.h"
#include "basic/cleanup.h"
#include "ctl-dhcp.h"

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68
#define DHCP_MAGIC 0x63825363u
#define DHCP_TRIES 8
#define DHCP_FIRST_WAIT_MSEC 100 /* doubled at each try, up to: */
#define DHCP_LAST_WAIT_MSEC 2000
#define DHCP_RELEASE_WAIT_MSEC 200

enum {
        OPTION_PAD = 0,
        OPTION_MASK = 1,
        OPTION_ROUTER = 3,
        OPTION_DNS = 6,
        OPTION_HOSTNAME = 12,
        OPTION_DOMAIN = 15,
        OPTION_MTU = 26,
        OPTION_REQUESTED = 50,
        OPTION_LEASE = 51,
        OPTION_TYPE = 53,
        OPTION_SERVER = 54,
        OPTION_PARAMETERS = 55,
        OPTION_RENEW = 58,
        OPTION_RAPID_COMMIT = 80,
        OPTION_SEARCH = 119,
        OPTION_END = 255,
};

#define DHCP_HEADERS (sizeof(struct iphdr) + sizeof(struct udphdr)) /* before the message, in a packet */

typedef struct DhcpHeader { /* RFC 2131 2, with the magic cookie of 3 */
        uint8_t op, htype, hlen, hops;
        uint32_t xid;
        uint16_t secs, flags;
        uint32_t ciaddr, yiaddr, siaddr, giaddr;
        uint8_t chaddr[16], sname[64], file[128];
        uint32_t magic;
} DhcpHeader;
_Static_assert(sizeof(DhcpHeader) == 240, "RFC 2131 2");

/* ---- writing ---- */

static uint8_t *put(uint8_t *p, uint8_t code, const void *data, uint8_t len) {
        *p++ = code;
        *p++ = len;
        memcpy(p, data, len);
        return p + len;
}

static uint8_t *put_addr(uint8_t *p, uint8_t code, const IpAddr *a) {
        uint32_t be = ip_v4(a);

        return ip_is_null(a) ? p : put(p, code, &be, sizeof(be));
}

static size_t build_options(const DhcpQuery *q, uint8_t *options) {
        static const uint8_t parameters[] = { OPTION_MASK,   OPTION_ROUTER, OPTION_DNS,    OPTION_HOSTNAME,
                                              OPTION_DOMAIN, OPTION_MTU,    OPTION_SEARCH, OPTION_RENEW };
        uint8_t *p = options, type = (uint8_t) q->type;

        p = put(p, OPTION_TYPE, &type, 1);
        p = put_addr(p, OPTION_REQUESTED, &q->requested);
        p = put_addr(p, OPTION_SERVER, &q->server);
        if (q->type != DHCP_RELEASE) {
                p = put(p, OPTION_PARAMETERS, parameters, sizeof(parameters));
                if (q->hostname && *q->hostname)
                        p = put(p, OPTION_HOSTNAME, q->hostname,
                                (uint8_t) MIN(strlen(q->hostname), (size_t) 63));
        }
        if (q->type == DHCP_DISCOVER)
                p = put(p, OPTION_RAPID_COMMIT, "", 0);
        *p++ = OPTION_END;
        return (size_t) (p - options);
}

size_t dhcp_build(const DhcpQuery *q, uint8_t buf[static DHCP_PACKET_MAX]) {
        uint8_t *body = buf + DHCP_HEADERS;
        size_t len;

        memset(buf, 0, DHCP_PACKET_MAX);
        DhcpHeader h = {
                .op = 1,
                .htype = 1,
                .hlen = sizeof(q->mac.b),
                .xid = htonl(q->xid),
                /* Broadcast answers, please (RFC 2131 4.1): the interface has no address to be reached
                 * at. */
                .flags = ip_is_null(&q->client) ? htons(0x8000) : 0,
                .ciaddr = ip_is_null(&q->client) ? 0 : ip_v4(&q->client),
                .magic = htonl(DHCP_MAGIC),
        };
        memcpy(h.chaddr, q->mac.b, sizeof(q->mac.b));
        memcpy(body, &h, sizeof(h));
        len = sizeof(h) + build_options(q, body + sizeof(h));
        len = MAX(len, (size_t) 300); /* RFC 1542 2.1: some servers want the length of BOOTP */

        struct udphdr udp = {
                .source = htons(DHCP_CLIENT_PORT),
                .dest = htons(DHCP_SERVER_PORT),
                .len = htons((uint16_t) (sizeof(udp) + len)),
        };
        struct iphdr ip = {
                .version = 4,
                .ihl = 5,
                .tot_len = htons((uint16_t) (sizeof(ip) + sizeof(udp) + len)),
                .ttl = 64,
                .protocol = IPPROTO_UDP,
                .saddr = h.ciaddr,
                .daddr = INADDR_BROADCAST,
        };
        ip.check = checksum_finish(checksum_add(&ip, sizeof(ip), 0));
        memcpy(buf, &ip, sizeof(ip));

        IpAddr src = ip_from_v4(ip.saddr), dst = ip_from_v4(ip.daddr);
        uint32_t sum = checksum_pseudo(&src, &dst, IPPROTO_UDP, (uint32_t) (sizeof(udp) + len));

        sum = checksum_add(&udp, sizeof(udp), sum);
        sum = checksum_add(body, len + (len & 1), sum);
        udp.check = checksum_finish(sum);
        if (udp.check == 0)
                udp.check = 0xffff; /* RFC 768: zero means none */
        memcpy(buf + sizeof(ip), &udp, sizeof(udp));
        return DHCP_HEADERS + len;
}

/* ---- reading ---- */

typedef struct Option {
        const uint8_t *data;
        uint8_t len;
} Option;

/* The last occurrence of each option in @p. -EBADMSG when one overruns. */
static int scan_options(const uint8_t *p, size_t len, Option options[static UINT8_MAX + 1]) {
        for (size_t i = 0; i < len && p[i] != OPTION_END;) {
                if (p[i] == OPTION_PAD) {
                        i++;
                        continue;
                }
                if (len - i < 2 || len - i - 2 < p[i + 1])
                        return -EBADMSG;
                options[p[i]] = (Option){ p + i + 2, p[i + 1] };
                i += 2u + p[i + 1];
        }
        return 0;
}

static uint32_t option_u32(const Option *o) {
        uint32_t be;

        if (o->len != sizeof(be))
                return 0;
        memcpy(&be, o->data, sizeof(be));
        return ntohl(be);
}

/* The @i-th address of a list, null beyond its end. */
static IpAddr option_addr(const Option *o, unsigned i) {
        uint32_t be;

        if (o->len / sizeof(be) <= i)
                return (IpAddr){};
        memcpy(&be, o->data + i * sizeof(be), sizeof(be));
        return ip_from_v4(be);
}

static bool is_name_char(uint8_t c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
               c == '_';
}

/* "" unless all of it may stand in a resolv.conf. */
static void read_domain(const Option *o, char ret[static DHCP_DOMAIN_TEXT_MAX]) {
        if (o->len >= DHCP_DOMAIN_TEXT_MAX)
                return;
        for (unsigned i = 0; i < o->len; i++)
                if (!is_name_char(o->data[i]) && o->data[i] != '.')
                        return;
        if (o->len > 0)
                memcpy(ret, o->data, o->len);
        ret[o->len] = '\0';
}

/* The name at @at in DNS form, compressed or not (RFC 3397, RFC 1035 4.1.4), appended to @text. Returns
 * where it ends, 0 when it is bad. */
static size_t read_name(const Option *o, size_t at, char *text, size_t *used) {
        size_t end = 0, n = *used;
        unsigned jumps = 0;

        for (;;) {
                if (at >= o->len)
                        return 0;
                uint8_t label = o->data[at];

                if ((label & 0xc0) == 0xc0) {
                        if (at + 1 >= o->len || ++jumps > 16) /* a loop, or as good as one */
                                return 0;
                        end = end ?: at + 2;
                        at = (size_t) (label & 0x3f) << 8 | o->data[at + 1];
                        continue;
                }
                if (label == 0)
                        break;
                if (label > 63 || (size_t) o->len - at - 1 < label || n + label + 3 > DHCP_SEARCH_TEXT_MAX)
                        return 0;
                if (n > 0)
                        text[n] = n == *used ? ' ' : '.', n++;
                for (unsigned i = 0; i < label; i++)
                        if (!is_name_char(o->data[at + 1 + i]))
                                return 0;
                memcpy(text + n, o->data + at + 1, label);
                n += label;
                at += 1u + label;
        }
        *used = n;
        return end ?: at + 1;
}

static void read_search(const Option *o, char ret[static DHCP_SEARCH_TEXT_MAX]) {
        size_t used = 0;

        for (size_t at = 0; at < o->len;) {
                at = read_name(o, at, ret, &used);
                if (at == 0)
                        break;
        }
        ret[used] = '\0'; /* the names before a bad one count */
}

/* How many leading ones; 0 when it is no mask. */
static uint8_t mask_to_len(uint32_t mask) {
        uint32_t rest = ~mask;

        return rest & (rest + 1) ? 0 : (uint8_t) __builtin_popcount(mask);
}

/* The body of UDP to our port, NULL when @packet is something else. */
static const uint8_t *find_body(const uint8_t *packet, size_t len, size_t *ret_len) {
        struct iphdr ip;
        struct udphdr udp;
        size_t ip_len;

        if (len < sizeof(ip))
                return NULL;
        memcpy(&ip, packet, sizeof(ip));
        ip_len = ip.ihl * 4u;
        if (ip.version != 4 || ip.protocol != IPPROTO_UDP || ip_len < sizeof(ip) ||
            (ntohs(ip.frag_off) & (IP_MF | IP_OFFMASK)))
                return NULL;
        len = MIN(len, (size_t) ntohs(ip.tot_len));
        if (len < ip_len + sizeof(udp))
                return NULL;
        memcpy(&udp, packet + ip_len, sizeof(udp));
        if (ntohs(udp.dest) != DHCP_CLIENT_PORT || ntohs(udp.source) != DHCP_SERVER_PORT ||
            ntohs(udp.len) < sizeof(udp) || ntohs(udp.len) > len - ip_len)
                return NULL;
        /* No look at the checksum: between the gateway and us it is still to be filled in. */
        *ret_len = ntohs(udp.len) - sizeof(udp);
        return packet + ip_len + sizeof(udp);
}

int dhcp_parse(const void *packet, size_t len, uint32_t xid, const MacAddr *mac, DhcpType *ret_type,
               DhcpLease *ret) {
        Option options[UINT8_MAX + 1] = {};
        DhcpLease lease = {};
        const uint8_t *body;
        DhcpHeader h;
        int r;

        body = find_body(packet, len, &len);
        if (!body || len < sizeof(h))
                return -ENOMSG;
        memcpy(&h, body, sizeof(h));
        if (h.op != 2 || ntohl(h.xid) != xid || ntohl(h.magic) != DHCP_MAGIC ||
            memcmp(h.chaddr, mac->b, sizeof(mac->b)) != 0)
                return -ENOMSG;
        r = scan_options(body + sizeof(h), len - sizeof(h), options);
        if (r < 0)
                return r;
        if (options[OPTION_TYPE].len != 1)
                return -EBADMSG;

        lease.addr = ip_from_v4(h.yiaddr);
        lease.router = option_addr(&options[OPTION_ROUTER], 0);
        lease.server = option_addr(&options[OPTION_SERVER], 0);
        for (; lease.n_dns < DHCP_DNS_MAX; lease.n_dns++) {
                lease.dns[lease.n_dns] = option_addr(&options[OPTION_DNS], lease.n_dns);
                if (ip_is_null(&lease.dns[lease.n_dns]))
                        break;
        }
        lease.prefix_len = mask_to_len(option_u32(&options[OPTION_MASK]));
        lease.lease_sec = option_u32(&options[OPTION_LEASE]);
        lease.renew_sec = option_u32(&options[OPTION_RENEW]) ?: lease.lease_sec / 2;
        if (options[OPTION_MTU].len == 2)
                lease.mtu = (uint32_t) options[OPTION_MTU].data[0] << 8 | options[OPTION_MTU].data[1];
        read_domain(&options[OPTION_DOMAIN], lease.domain);
        read_search(&options[OPTION_SEARCH], lease.search);

        *ret_type = (DhcpType) options[OPTION_TYPE].data[0];
        if ((*ret_type == DHCP_ACK || *ret_type == DHCP_OFFER) &&
            (h.yiaddr == 0 || lease.prefix_len == 0 || lease.lease_sec == 0))
                return -EBADMSG;
        *ret = lease;
        return 0;
}

/* ---- talking ---- */

static int open_socket(int ifindex) {
        struct sockaddr_ll addr = { .sll_family = AF_PACKET,
                                    .sll_protocol = htons(ETH_P_IP),
                                    .sll_ifindex = ifindex };
        _cleanup_close_ int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0 || bind(fd, (struct sockaddr *) &addr, sizeof(addr)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int send_query(int fd, int ifindex, const DhcpQuery *q) {
        struct sockaddr_ll to = { .sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_IP),
                                  .sll_ifindex = ifindex,
                                  .sll_halen = 6 };
        uint8_t packet[DHCP_PACKET_MAX];
        size_t len = dhcp_build(q, packet);

        memset(to.sll_addr, 0xff, 6);
        return sendto(fd, packet, len, 0, (struct sockaddr *) &to, sizeof(to)) < 0 ? -errno : 0;
}

static int64_t now_msec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits for an answer to @q. -ETIMEDOUT after @msec. */
static int wait_answer(int fd, const DhcpQuery *q, int msec, DhcpType *ret_type, DhcpLease *ret) {
        int64_t end = now_msec() + msec;

        for (int64_t left = msec; left > 0; left = end - now_msec()) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                uint8_t packet[DHCP_PACKET_MAX];
                ssize_t n;

                if (poll(&p, 1, (int) left) < 0 && errno != EINTR)
                        return -errno;
                n = recv(fd, packet, sizeof(packet), 0);
                if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENETDOWN)
                        return -errno;
                if (n > 0 && dhcp_parse(packet, (size_t) n, q->xid, &q->mac, ret_type, ret) >= 0)
                        return 0;
        }
        return -ETIMEDOUT;
}

/* Sends @q again and again, waiting longer each time, and follows an offer up. */
static int exchange(int ifindex, DhcpQuery *q, DhcpLease *ret) {
        _cleanup_close_ int fd = open_socket(ifindex);
        int wait = DHCP_FIRST_WAIT_MSEC;

        if (fd < 0)
                return fd;
        if (getrandom(&q->xid, sizeof(q->xid), 0) != sizeof(q->xid))
                return -errno;
        for (unsigned tries = 0; tries < DHCP_TRIES; tries++) {
                DhcpLease lease;
                DhcpType type;
                int r;

                r = send_query(fd, ifindex, q);
                if (r < 0 && r != -ENOBUFS && r != -EAGAIN)
                        return r;
                r = wait_answer(fd, q, wait, &type, &lease);
                wait = MIN(2 * wait, DHCP_LAST_WAIT_MSEC);
                if (r == -ETIMEDOUT)
                        continue;
                if (r < 0)
                        return r;
                switch (type) {
                case DHCP_OFFER:
                        q->type = DHCP_REQUEST;
                        q->requested = lease.addr;
                        q->server = lease.server;
                        break;
                case DHCP_ACK:
                        *ret = lease;
                        return 0;
                case DHCP_NAK:
                        return -EADDRNOTAVAIL;
                case DHCP_DISCOVER:
                case DHCP_REQUEST:
                case DHCP_RELEASE:
                        break; /* no answer: somebody else's packet */
                }
        }
        return -ETIMEDOUT;
}

int dhcp_obtain(int ifindex, const MacAddr *mac, const char *hostname, DhcpLease *ret) {
        DhcpQuery q = { .type = DHCP_DISCOVER, .mac = *mac, .hostname = hostname };

        return exchange(ifindex, &q, ret);
}

int dhcp_renew(int ifindex, const MacAddr *mac, const char *hostname, DhcpLease *lease) {
        DhcpQuery q = { .type = DHCP_REQUEST, .mac = *mac, .client = lease->addr, .hostname = hostname };
        DhcpLease fresh;
        int r;

        r = exchange(ifindex, &q, &fresh);
        if (r < 0)
                return r;
        lease->lease_sec = fresh.lease_sec;
        lease->renew_sec = fresh.renew_sec;
        return 0;
}

/* Asks for the MAC of @target by a probe (RFC 5227 2.1.1), which says nothing about us, and waits for its
 * own answer: one that is sent to no address. @msec at most. */
static void wait_for_gateway(int ifindex, const MacAddr *mac, const IpAddr *target, int msec) {
        struct sockaddr_ll addr = { .sll_family = AF_PACKET,
                                    .sll_protocol = htons(ETH_P_ARP),
                                    .sll_ifindex = ifindex,
                                    .sll_halen = 6 };
        _cleanup_close_ int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct ether_arp arp = {
                .ea_hdr = { htons(ARPHRD_ETHER), htons(ETHERTYPE_IP), ETH_ALEN, 4, htons(ARPOP_REQUEST) },
        };
        int64_t end = now_msec() + msec;
        uint32_t be = ip_v4(target);

        memcpy(arp.arp_sha, mac->b, sizeof(arp.arp_sha));
        memcpy(arp.arp_tpa, &be, sizeof(arp.arp_tpa));
        memset(addr.sll_addr, 0xff, ETH_ALEN);
        if (fd < 0 || bind(fd, (struct sockaddr *) &addr, sizeof(addr)) < 0 ||
            sendto(fd, &arp, sizeof(arp), 0, (struct sockaddr *) &addr, sizeof(addr)) < 0)
                return;
        for (int64_t left = msec; left > 0; left = end - now_msec()) {
                static const uint8_t nobody[4];
                struct pollfd p = { .fd = fd, .events = POLLIN };

                (void) poll(&p, 1, (int) left);
                if (recv(fd, &arp, sizeof(arp), 0) == sizeof(arp) &&
                    ntohs(arp.ea_hdr.ar_op) == ARPOP_REPLY &&
                    memcmp(arp.arp_tpa, nobody, sizeof(nobody)) == 0)
                        return;
        }
}

/* By an ordinary socket, as there is an address now (RFC 2131 4.4.4: to the server alone). A release has no
 * answer, and what is queued on an interface goes with it: so the gateway is asked something else after it.
 */
int dhcp_release(int ifindex, const MacAddr *mac, const DhcpLease *lease) {
        DhcpQuery q = { .type = DHCP_RELEASE, .mac = *mac, .client = lease->addr, .server = lease->server };
        struct sockaddr_storage from, to;
        socklen_t from_len = endpoint_to_sockaddr(&(Endpoint){ lease->addr, DHCP_CLIENT_PORT }, &from);
        socklen_t to_len = endpoint_to_sockaddr(&(Endpoint){ lease->server, DHCP_SERVER_PORT }, &to);
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        uint8_t packet[DHCP_PACKET_MAX];
        size_t len = dhcp_build(&q, packet);

        if (fd < 0 || bind(fd, (struct sockaddr *) &from, from_len) < 0 ||
            sendto(fd, packet + DHCP_HEADERS, len - DHCP_HEADERS, 0, (struct sockaddr *) &to, to_len) < 0)
                return -errno;
        wait_for_gateway(ifindex, mac, &lease->server, DHCP_RELEASE_WAIT_MSEC);
        return 0;
}
