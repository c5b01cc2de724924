/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which flows the kernel is told about, when, and by what: a frame that is right in all but whom it is for. */

#include <glib.h>
#include <net/ethernet.h>
#include <netinet/in.h>

#include "basic/checksum.h"
#include "daemon/steer.h"

#define UDP4_LEN 142u
#define UDP6_LEN 162u
#define IP_AT ETH_HLEN

static const MacAddr gateway = { { 0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xdd } };

typedef struct Datagram {
        uint8_t bytes[UDP6_LEN];
        size_t len;
} Datagram;

static Datagram datagram(bool v4, uint16_t port) {
        Datagram d = { .len = v4 ? UDP4_LEN : UDP6_LEN };
        size_t udp = v4 ? 34 : 54;

        memcpy(d.bytes, gateway.b, ETH_ALEN);
        d.bytes[6] = 2;
        d.bytes[12] = v4 ? 0x08 : 0x86;
        d.bytes[13] = v4 ? 0x00 : 0xdd;
        d.bytes[IP_AT] = v4 ? 0x45 : 0x60;
        d.bytes[IP_AT + (v4 ? 9 : 6)] = IPPROTO_UDP;
        d.bytes[IP_AT + (v4 ? 3 : 5)] = (uint8_t) (v4 ? UDP4_LEN - 14 : UDP6_LEN - 54);
        d.bytes[IP_AT + 12] = 10;
        d.bytes[IP_AT + 16] = 8;
        d.bytes[udp] = (uint8_t) (port >> 8);
        d.bytes[udp + 1] = (uint8_t) port;
        d.bytes[udp + 3] = 53;
        d.bytes[udp + 5] = 108;
        return d;
}

static bool look(SteerTable *t, const Datagram *d, usec_t now, SteerFrame *ret) {
        struct iovec iov[2] = { { (void *) d->bytes, 20 }, { (void *) (d->bytes + 20), d->len - 20 } };

        return steer_look(t, &(Frame){ .iov = iov, .n_iov = 2, .len = (uint32_t) d->len }, &gateway, now, ret);
}

/* How often until the kernel is told, at most @max. */
static unsigned looks(SteerTable *t, const Datagram *d, usec_t now, unsigned max, SteerFrame *ret) {
        for (unsigned n = 1; n <= max; n++)
                if (look(t, d, now, ret))
                        return n;
        return 0;
}

static void test_when(void) {
        g_autofree SteerTable *t = g_new0(SteerTable, 1);
        Datagram a = datagram(true, 1000), b = datagram(true, 1001), c = datagram(false, 1000);
        usec_t now = 1000 * USEC_PER_SEC;
        SteerFrame f;

        g_assert_cmpuint(looks(t, &a, now, STEER_AFTER, &f), ==, STEER_AFTER);
        g_assert_cmpuint(looks(t, &a, now, STEER_AFTER, &f), ==, STEER_AFTER); /* it was not heard, or has been forgotten */
        g_assert_cmpuint(looks(t, &a, now, STEER_AFTER - 1, &f), ==, 0);
        g_assert_cmpuint(looks(t, &b, now, STEER_AFTER, &f), ==, STEER_AFTER); /* each flow by itself */
        g_assert_cmpuint(looks(t, &c, now, STEER_AFTER, &f), ==, STEER_AFTER);
        g_assert_true(look(t, &a, now + STEER_TIME, &f));
        g_assert_cmpuint(looks(t, &a, now + STEER_TIME, STEER_AFTER - 1, &f), ==, 0);
        g_assert_false(look(t, &a, now + 2 * STEER_TIME + 1, &f)); /* too long ago */
        g_assert_cmpuint(looks(t, &a, now + 2 * STEER_TIME + 1, STEER_AFTER, &f), ==, STEER_AFTER - 1);
}

/* More flows than places, in turns: none is told of too early, and each some time. */
static void test_many(void) {
        g_autofree SteerTable *t = g_new0(SteerTable, 1);
        bool told[4 * STEER_FLOWS] = {};
        unsigned n_told = 0;
        SteerFrame f;

        for (unsigned n = 1; n <= STEER_AFTER * ELEMENTSOF(told) && n_told < ELEMENTSOF(told); n++)
                for (unsigned i = 0; i < ELEMENTSOF(told); i++) {
                        Datagram d = datagram(true, (uint16_t) i);

                        if (!told[i] && look(t, &d, USEC_PER_SEC, &f)) {
                                g_assert_cmpuint(n, >=, STEER_AFTER);
                                told[i] = true;
                                n_told++;
                        }
                }
        g_assert_cmpuint(n_told, ==, ELEMENTSOF(told));
}

static void test_frame(void) {
        for (unsigned v4 = 0; v4 < 2; v4++) {
                g_autofree SteerTable *t = g_new0(SteerTable, 1);
                Datagram d = datagram(v4, 1000);
                size_t l3 = v4 ? 20 : 40, len = ETH_HLEN + l3 + 8, addresses = IP_AT + (v4 ? 12 : 8);
                SteerFrame f;

                g_assert_cmpuint(looks(t, &d, USEC_PER_SEC, STEER_AFTER, &f), ==, STEER_AFTER);
                g_assert_cmpuint(f.frame.len, ==, len);
                g_assert_cmpuint(f.frame.n_iov, ==, 1);
                g_assert_true(f.frame.iov[0].iov_base == f.bytes && f.frame.iov[0].iov_len == len);
                g_assert_cmpuint(f.frame.hdr.flags | f.frame.hdr.gso_type, ==, 0);
                g_assert_cmpmem(f.bytes, ETH_ALEN, gateway.b, ETH_ALEN);
                g_assert_cmpmem(f.bytes + ETH_ALEN, ETH_ALEN, gateway.b, ETH_ALEN);
                g_assert_cmpmem(f.bytes + addresses, len - 4 - addresses, d.bytes + addresses, len - 4 - addresses); /* and ports */
                g_assert_cmpuint(f.bytes[len - 3], ==, 8);
                if (v4) {
                        g_assert_cmpuint(f.bytes[IP_AT + 3], ==, 28);
                        g_assert_cmpuint(checksum_fold(checksum_add(f.bytes + IP_AT, l3, 0)), ==, 0xffff);
                } else {
                        IpAddr src, dst;

                        memcpy(&src, f.bytes + addresses, sizeof(src));
                        memcpy(&dst, f.bytes + addresses + sizeof(src), sizeof(dst));
                        g_assert_cmpuint(f.bytes[IP_AT + 5], ==, 8);
                        g_assert_cmpuint(checksum_fold(checksum_add(f.bytes + IP_AT + l3, 8, checksum_pseudo(&src, &dst, IPPROTO_UDP, 8))), ==, 0xffff);
                }
        }
}

/* TCP, fragments, options, extension headers, groups, other protocols, and frames of every length. */
static void test_others(void) {
        static const struct {
                bool v4;
                unsigned at;
                uint8_t value;
        } changes[] = {
                { true, 0, 1 },           { true, 12, 0x88 },        { true, IP_AT, 0x46 },      { true, IP_AT, 0x65 },
                { true, IP_AT + 9, 6 },   { true, IP_AT + 6, 0x20 }, { true, IP_AT + 7, 1 },     { false, 0, 0x33 },
                { false, IP_AT, 0x45 },   { false, IP_AT + 6, 6 },   { false, IP_AT + 6, 44 },
        };
        g_autofree SteerTable *t = g_new0(SteerTable, 1);
        SteerFrame f;

        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                Datagram d = datagram(changes[i].v4, 1000);

                d.bytes[changes[i].at] = changes[i].value;
                g_assert_cmpuint(looks(t, &d, USEC_PER_SEC, 2 * STEER_AFTER, &f), ==, 0);
        }
        for (unsigned v4 = 0; v4 < 2; v4++) {
                Datagram d = datagram(v4, 1000);

                for (size_t len = 0; len < ETH_HLEN + (v4 ? 28u : 48u); len++)
                        for (unsigned i = 0; i < STEER_AFTER; i++)
                                g_assert_false(steer_look(t, &(Frame){ .iov = &(struct iovec){ d.bytes, len }, .n_iov = 1, .len = (uint32_t) len }, &gateway,
                                                          USEC_PER_SEC, &f));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/steer/when", test_when);
        g_test_add_func("/steer/many", test_many);
        g_test_add_func("/steer/frame", test_frame);
        g_test_add_func("/steer/others", test_others);
        return g_test_run();
}
