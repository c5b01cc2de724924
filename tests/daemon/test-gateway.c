/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may be told to the gateway of a network while it runs, through the real vnetd: zones of DNS, and what a restart keeps of them. */

#include <string.h>

#include "daemon-fixture.h"

#define NETWORK_DEFAULT "/org/vnetd1/network/default"
#define INVALID "org.freedesktop.DBus.Error.InvalidArgs"

/* Calls with arguments in GVariant's text form; what it answers in the same form. */
static char *call(Daemon *d, const char *method, const char *args) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = NULL;
        GVariant *in = args ? g_variant_new_parsed(args) : NULL;

        reply = daemon_call(d, NETWORK_DEFAULT, "Network", method, in, &error);
        g_assert_no_error(error);
        return g_variant_print(reply, FALSE);
}

static void check(Daemon *d, const char *method, const char *args, const char *expect) {
        g_autofree char *found = call(d, method, args);

        g_assert_cmpstr(found, ==, expect);
}

static void refused(Daemon *d, const char *method, const char *args, const char *name, const char *pattern) {
        daemon_assert_refused(d, NETWORK_DEFAULT, "Network", method, g_variant_new_parsed(args), name, pattern);
}

#define NO_OPTIONS ", @a{sv} {})"

static void test_zones(Daemon *d, gconstpointer data) {
        daemon_start(d);
        check(d, "ListZones", NULL, "([],)");
        check(d, "SetZone", "('lab.test', [('www', 'A', '10.0.0.1'), ('/^w[0-9]+$/', 'A', '10.0.0.2')], {'Default': <'10.0.0.3'>, 'Ttl': <uint32 30>})", "()");
        check(d, "SetZone", "('other.test.', @a(sss) []" NO_OPTIONS, "()");
        check(d, "ListZones", NULL,
              "([('lab.test', [('www', 'A', '10.0.0.1'), ('/^w[0-9]+$/', 'A', '10.0.0.2')], {'Ttl': <uint32 30>, 'Default': <'10.0.0.3'>}), "
              "('other.test.', [], {'Ttl': <uint32 10>})],)");

        refused(d, "SetZone", "('lab.test', [('www', 'A', 'x')]" NO_OPTIONS, INVALID, "*record 'www A x': the value is no IPv4 address*");
        refused(d, "SetZone", "('a..b', @a(sss) []" NO_OPTIONS, INVALID, "*no name of a zone*");
        refused(d, "SetZone", "('lab.test', @a(sss) [], {'Default': <'nowhere'>})", INVALID, "*no IP address*");
        refused(d, "SetZone", "('lab.test', @a(sss) [], {'Colour': <'red'>})", INVALID, "*Colour*");
        refused(d, "RemoveZone", "('no.test',)", "org.vnetd1.NoSuchZone", "*'no.test'*");

        g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
        daemon_start(d);
        check(d, "ListZones", NULL,
              "([('lab.test', [('www', 'A', '10.0.0.1'), ('/^w[0-9]+$/', 'A', '10.0.0.2')], {'Ttl': <uint32 30>, 'Default': <'10.0.0.3'>}), "
              "('other.test.', [], {'Ttl': <uint32 10>})],)");
        check(d, "RemoveZone", "('LAB.test.',)", "()");
        check(d, "ListZones", NULL, "([('other.test.', [], {'Ttl': <uint32 10>})],)");
}

static void test_zones_config(Daemon *d, gconstpointer data) {
        daemon_write(d, "networks.d/default.json",
                     "{\"dnsRoutes\": {\"corp.example\": \"10.0.0.53 10.0.0.54:5353\"},"
                     " \"zones\": [{\"name\": \"lab.test\", \"default\": \"10.0.0.1\", \"ttl\": \"1min\","
                     "  \"records\": [{\"name\": \"www\", \"type\": \"A\", \"value\": \"10.0.0.2\"}]},"
                     " {\"name\": \"old.test\"}]}");
        daemon_start(d);
        check(d, "SetZone", "('mine.test', @a(sss) []" NO_OPTIONS, "()");
        check(d, "ListZones", NULL,
              "([('lab.test', [('www', 'A', '10.0.0.2')], {'Ttl': <uint32 60>, 'Default': <'10.0.0.1'>}), ('old.test', [], {'Ttl': <uint32 10>}), "
              "('mine.test', [], {'Ttl': <uint32 10>})],)");

        /* A reload brings those of the file up to date, and leaves the others. */
        daemon_write(d, "networks.d/default.json",
                     "{\"dnsRoutes\": {\"corp.example\": \"10.0.0.53 10.0.0.54:5353\"},"
                     " \"zones\": [{\"name\": \"lab.test\"}, {\"name\": \"bad.test\", \"records\": ["
                     "{\"name\": \"www\", \"type\": \"A\", \"value\": \"x\"}]}]}");
        g_autoptr(GVariant) reply = daemon_call(d, "/org/vnetd1", "Manager", "Reload", NULL, NULL);
        check(d, "ListZones", NULL, "([('mine.test', [], {'Ttl': <uint32 10>}), ('lab.test', [], {'Ttl': <uint32 10>})],)");
        g_autofree char *said = daemon_stderr(d);
        g_assert_nonnull(strstr(said, "default.json:1: zone left out: Zone 'bad.test'"));
        g_assert_null(strstr(said, "waits for a restart"));
}

static void make(Daemon *d, const char *options) {
        g_autofree char *args = g_strdup_printf("('lab', {'Subnet': <'10.80.0.0/24'>, %s})", options);
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = daemon_call(d, "/org/vnetd1", "Manager", "CreateNetwork", g_variant_new_parsed(args), &error);

        g_assert_no_error(error);
}

static void not_made(Daemon *d, const char *options, const char *pattern) {
        g_autofree char *args = g_strdup_printf("('lab', {'Subnet': <'10.80.0.0/24'>, %s})", options);

        daemon_assert_refused(d, "/org/vnetd1", "Manager", "CreateNetwork", g_variant_new_parsed(args), INVALID, pattern);
}

static void test_policy(Daemon *d, gconstpointer data) {
        g_autofree char *path = g_build_filename(d->dir, "state", "networks.json", NULL), *text = NULL;

        daemon_start(d);
        not_made(d, "'Policy': <['deny everything']>", "*'deny everything' is no rule*");
        not_made(d, "'Nat': <{'10.81.0.9': '127.0.0.1'}>", "*'10.81.0.9': that is no address in 10.80.0.0/24*");
        not_made(d, "'Nat': <{'10.80.0.1': '127.0.0.1'}>", "*no address in 10.80.0.0/24 the gateway can answer for*");
        not_made(d, "'Nat': <{'10.80.0.9': '224.0.0.1'}>", "*nothing can be reached at '224.0.0.1'*");
        not_made(d, "'Nat': <{'10.80.0.9': '1.2.3.4', '10.80.0.10': '1.2.3.4'}>", "*each address may be there once*");
        not_made(d, "'GatewayAddresses': <['10.80.0.255']>", "*'10.80.0.255' is no address*");
        not_made(d, "'DnsRoutes': <{'corp.example': 'here'}>", "*'here' is no address of a server*");
        make(d, "'Policy': <['deny private', 'allow tcp host 8080']>, 'Nat': <{'10.80.0.9': '127.0.0.1'}>, 'GatewayAddresses': <['10.80.0.8']>,"
                " 'DnsRoutes': <{'corp.example': '10.0.0.53,10.0.0.54:54'}>");
        for (int i = 0; i < 2; i++) {
                g_assert_cmpint(daemon_stop(d, SIGTERM), ==, 0);
                g_free(text);
                g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
                g_assert_nonnull(strstr(text, "\"policy\":[\"deny private\",\"allow tcp host 8080\"]"));
                g_assert_nonnull(strstr(text, "\"nat\":{\"10.80.0.9\":\"127.0.0.1\"}"));
                g_assert_nonnull(strstr(text, "\"gatewayAddresses\":[\"10.80.0.8\"]"));
                g_assert_nonnull(strstr(text, "\"dnsRoutes\":{\"corp.example\":\"10.0.0.53:53 10.0.0.54:54\"}"));
                daemon_start(d);
        }
}

static void test_connect(Daemon *d, gconstpointer data) {
        daemon_start(d);
        refused(d, "Connect", "('sctp', '192.168.127.2', uint16 7" NO_OPTIONS, "org.vnetd1.NotSupported", "*only tcp and udp*");
        refused(d, "Listen", "('udp', uint16 7" NO_OPTIONS, "org.vnetd1.NotSupported", "*only tcp*");
        refused(d, "Listen", "('tcp', uint16 53" NO_OPTIONS, INVALID, "*Port 53*");
        refused(d, "Connect", "('tcp', '', uint16 7" NO_OPTIONS, "org.vnetd1.NoSuchGuest", "*no guest yet*");
        refused(d, "Connect", "('tcp', 'nobody', uint16 7" NO_OPTIONS, "org.vnetd1.NoSuchGuest", "*'nobody'*");
        refused(d, "Connect", "('tcp', '192.168.127.1', uint16 7" NO_OPTIONS, INVALID, "*no guest's*");
        refused(d, "Connect", "('tcp', '192.168.127.2', uint16 0" NO_OPTIONS, INVALID, "*Port 0*");
        refused(d, "Connect", "('tcp', '192.168.127.2', uint16 7, {'Fast': <true>})", INVALID, "*Fast*");
        g_autofree char *reply = call(d, "Connect", "('tcp', '192.168.127.2', uint16 7" NO_OPTIONS);
        g_assert_cmpstr(reply, ==, "(0,)");
}

#define ADD(name, fn) g_test_add("/gateway/" name, Daemon, NULL, daemon_setup, fn, daemon_teardown)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("zones", test_zones);
        ADD("zones-config", test_zones_config);
        ADD("policy", test_policy);
        ADD("connect", test_connect);
        return g_test_run();
}
