/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager without a bus: what it makes, what it refuses and with which words, its limits, whom it tells, and forwards as sockets see
 * them. On real networks, whose threads run; no device but where a test says so.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <linux/capability.h>
#include <sched.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "../loopback.h"
#include "daemon/manager-private.h"
#include "device/sock.h"

#define SOMEBODY 12345u /* a uid with limits */
#define SOMEBODY_ELSE 12346u

typedef struct Fixture {
        char *dir; /* empty: no configuration */
        sd_event *event;
        Manager *m;
        Network *n; /* default */
        GString *told; /* "network added default;forward removed 1;" */
        char *own;     /* where nobody else listens: "127.3" */
        int own_fd;
} Fixture;

static const char *const changes[] = { "added", "changed", "removed" };

static void on_network(Manager *m, Network *n, ManagerChange change, void *userdata) {
        Fixture *f = userdata;

        g_string_append_printf(f->told, "network %s %s;", changes[change], network_config(n)->name);
}

static void on_device(Manager *m, ManagedDevice *d, ManagerChange change, void *userdata) {
        Fixture *f = userdata;

        g_string_append_printf(f->told, "device %s %s;", changes[change], d->device->name);
}

static void on_forward(Manager *m, ManagedForward *fw, ManagerChange change, void *userdata) {
        Fixture *f = userdata;

        g_string_append_printf(f->told, "forward %s %s;", changes[change], fw->local);
}

static void on_lease(Manager *m, Network *n, const Lease *lease, bool added, void *userdata) {
}

static const ManagerHandler handler = {
        .network = on_network,
        .device = on_device,
        .forward = on_forward,
        .lease = on_lease,
};

static void setup_as(Fixture *f, bool user) {
        Error e = ERROR_INIT;

        f->dir = g_dir_make_tmp("vnetd-manager-XXXXXX", NULL);
        f->told = g_string_new(NULL);
        f->own = g_strdup_printf("127.%u", loopback_take(&f->own_fd));
        g_assert_cmpint(sd_event_new(&f->event), >=, 0);
        g_assert_cmpint(manager_new(&f->m, &(ManagerConfig){ .user = user, .host_loopback = user, .config_dir = f->dir }, f->event), ==, 0);
        g_assert_cmpint(manager_load(f->m, &e), ==, 0);
        f->n = manager_network(f->m, "default");
        g_assert_nonnull(f->n);
        manager_set_handler(f->m, &handler, f);
}

static void setup(Fixture *f, gconstpointer data) {
        setup_as(f, false);
}

static void teardown(Fixture *f, gconstpointer data) {
        manager_free(f->m);
        sd_event_unref(f->event);
        g_string_free(f->told, TRUE);
        g_free(f->own);
        (void) close(f->own_fd); /* the manager's sockets have gone */
        g_assert_cmpint(g_rmdir(f->dir), ==, 0);
        g_free(f->dir);
}

static void assert_refused(int r, const Error *e, ErrorCode code, const char *pattern) {
        g_assert_cmpint(r, ==, error_set(NULL, code, "x"));
        g_assert_cmpstr(error_name(e->code), ==, error_name(code));
        if (!g_pattern_match_simple(pattern, e->message))
                g_error("'%s' is not like '%s'", e->message, pattern);
}

static void assert_told(Fixture *f, const char *what) {
        g_assert_cmpstr(f->told->str, ==, what);
        g_string_truncate(f->told, 0);
}

/* ---- networks ---- */

static void refuse_network(Fixture *f, const char *name, uint32_t uid, NetworkOptions o, ErrorCode code, const char *pattern) {
        Error e = ERROR_INIT;
        Network *n = NULL;
        int r;

        r = manager_create_network(f->m, name, uid, &o, &n, &e);
        assert_refused(r, &e, code, pattern);
        g_assert_null(n);
        assert_told(f, "");
}

static Network *make_network(Fixture *f, const char *name, uint32_t uid, NetworkOptions o) {
        Error e = ERROR_INIT;
        Network *n;

        if (manager_create_network(f->m, name, uid, &o, &n, &e) < 0)
                g_error("%s: %s", name, e.message);
        return n;
}

#define OPTIONS(...) ((NetworkOptions){ .host_loopback = -1, __VA_ARGS__ })

static void test_network(Fixture *f, gconstpointer data) {
        const char *const dns[] = { "192.0.2.1", "[2001:db8::1]:5353", NULL };
        const char *const leases[] = { "10.5.0.9", "52:54:00:00:00:09", NULL };
        _cleanup_free_ Lease *list = NULL;
        const NetworkConfig *c;
        size_t n_list;
        Network *n;

        n = make_network(f, "a.b_c-d", SOMEBODY,
                         OPTIONS(.subnet = "10.5.0.0/16", .domain = "x.example", .mtu = 1280, .dns_servers = dns,
                                 .static_leases = leases, .lease_sec = 60));
        assert_told(f, "network added a.b_c-d;");
        c = network_config(n);
        g_assert_cmpuint(c->owner, ==, SOMEBODY);
        g_assert_cmpstr(PREFIX_TO_TEXT(&c->stack.subnet), ==, "10.5.0.0/16");
        g_assert_cmpstr(IP_TO_TEXT(&c->stack.gateway), ==, "10.5.0.1");
        g_assert_cmpstr(IP_TO_TEXT(&c->stack.host), ==, "10.5.255.254");
        g_assert_cmpstr(c->stack.domain, ==, "x.example");
        g_assert_cmpuint(c->stack.mtu, ==, 1280);
        g_assert_cmpuint(c->stack.lease_sec, ==, 60);
        g_assert_false(c->stack.host_loopback);
        g_assert_cmpuint(c->n_dns_servers, ==, 2);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&c->dns_servers[0]), ==, "192.0.2.1:53");
        g_assert_cmpint(network_list_leases(n, &list, &n_list), ==, 0);
        g_assert_cmpuint(n_list, ==, 1);
        g_assert_true(list[0].is_static);

        g_assert_true(manager_network(f->m, "a.b_c-d") == n);
        g_assert_true(manager_next_network(f->m, NULL) == f->n); /* in order of creation */
        g_assert_true(manager_next_network(f->m, f->n) == n);
        g_assert_null(manager_next_network(f->m, n));
        g_assert_cmpint(manager_remove_network(f->m, n, NULL), ==, 0);
        assert_told(f, "network removed a.b_c-d;");
        g_assert_null(manager_network(f->m, "a.b_c-d"));
}

static void test_network_refused(Fixture *f, gconstpointer data) {
        static const char *const bad_names[] = { "", "-a", ".a", "a b", "a/b", "\xc3\xa9",
                                                 "0123456789012345678901234567890123456789012345678901234567890123" };
        static const char *const bad_subnets[] = { "x", "10.0.0.0", "10.0.0.0/33", "fd00::/64", "10.0.0.0/30", "8.8.8.0/24",
                                                   "127.0.0.0/8", "224.0.0.0/24", "0.0.0.0/8", "10.0.0.1/24" };
        const char *const bad_dns[] = { "224.0.0.1", NULL };
        const char *const many_dns[] = { "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5",
                                         "192.0.2.6", "192.0.2.7", "192.0.2.8", "192.0.2.9", NULL };
        const char *const lease_outside[] = { "10.9.9.9", "52:54:00:00:00:09", NULL };
        const char *const lease_gateway[] = { "10.6.0.1", "52:54:00:00:00:09", NULL };
        const char *const lease_mac[] = { "10.6.0.9", "01:00:5e:00:00:01", NULL };
        const char *const lease_twice[] = { "10.6.0.9", "52:54:00:00:00:09", "10.6.0.9", "52:54:00:00:00:0a", NULL };

        for (size_t i = 0; i < G_N_ELEMENTS(bad_names); i++)
                refuse_network(f, bad_names[i], 0, OPTIONS(), ERROR_INVALID_ARGS, "'*' cannot be the name of a network*");
        for (size_t i = 0; i < G_N_ELEMENTS(bad_subnets); i++)
                refuse_network(f, "x", 0, OPTIONS(.subnet = bad_subnets[i]), ERROR_INVALID_ARGS, "Subnet '*'*");
        refuse_network(f, "default", 0, OPTIONS(), ERROR_NETWORK_EXISTS, "Network 'default' exists");
        refuse_network(f, "x", 0, OPTIONS(.subnet = "192.168.0.0/16"), ERROR_SUBNET_IN_USE,
                       "Subnet '192.168.0.0/16' overlaps 192.168.127.0/24 of network 'default'");
        refuse_network(f, "x", 0, OPTIONS(.subnet = "192.168.127.8/29"), ERROR_SUBNET_IN_USE, "*overlaps*");
        refuse_network(f, "x", 0, OPTIONS(.mtu = 575), ERROR_INVALID_ARGS, "Mtu 575 *");
        refuse_network(f, "x", 0, OPTIONS(.mtu = 65521), ERROR_INVALID_ARGS, "Mtu 65521 *");
        refuse_network(f, "x", 0, OPTIONS(.lease_sec = 59), ERROR_INVALID_ARGS, "A lease time of 59 s*");
        refuse_network(f, "x", 0, OPTIONS(.domain = "-x"), ERROR_INVALID_ARGS, "Domain '-x'*");
        refuse_network(f, "x", 0, OPTIONS(.dns_servers = bad_dns), ERROR_INVALID_ARGS, "DNS server '224.0.0.1'*");
        refuse_network(f, "x", 0, OPTIONS(.dns_servers = many_dns), ERROR_INVALID_ARGS, "More than 8 DNS servers");
        refuse_network(f, "x", 0, OPTIONS(.subnet = "10.6.0.0/24", .static_leases = lease_outside), ERROR_INVALID_ARGS,
                       "Static lease of '10.9.9.9': no address in 10.6.0.0/24");
        refuse_network(f, "x", 0, OPTIONS(.subnet = "10.6.0.0/24", .static_leases = lease_gateway), ERROR_INVALID_ARGS,
                       "Static lease of '10.6.0.1'*");
        refuse_network(f, "x", 0, OPTIONS(.subnet = "10.6.0.0/24", .static_leases = lease_mac), ERROR_INVALID_ARGS,
                       "Static lease of '10.6.0.9': '01:00:5e:00:00:01' is no MAC address*");
        refuse_network(f, "x", 0, OPTIONS(.subnet = "10.6.0.0/24", .static_leases = lease_twice), ERROR_INVALID_ARGS,
                       "Static lease of '10.6.0.9'*");
        /* a guest of one user must not reach another's services on the host */
        refuse_network(f, "x", SOMEBODY, (NetworkOptions){ .host_loopback = 1 }, ERROR_ACCESS_DENIED, "HostLoopback of network 'x'*");
        g_assert_true(network_config(make_network(f, "x", getuid(), (NetworkOptions){ .host_loopback = 1 }))->stack.host_loopback);
}

static void test_network_user(Fixture *f, gconstpointer data) {
        g_assert_true(network_config(f->n)->stack.host_loopback);
        g_assert_true(network_config(make_network(f, "a", SOMEBODY, OPTIONS()))->stack.host_loopback);
        g_assert_false(network_config(make_network(f, "b", SOMEBODY, (NetworkOptions){ .host_loopback = 0 }))->stack.host_loopback);
}

static void setup_user(Fixture *f, gconstpointer data) {
        setup_as(f, true);
}

/* Without a subnet each network gets one of its own. */
static void test_network_limits(Fixture *f, gconstpointer data) {
        unsigned count = 0;

        for (int i = 0; i < MANAGER_PER_USER_NETWORKS_MAX; i++) {
                g_autofree char *name = g_strdup_printf("n%d", i);
                (void) make_network(f, name, SOMEBODY, OPTIONS());
        }
        g_string_truncate(f->told, 0);
        refuse_network(f, "more", SOMEBODY, OPTIONS(), ERROR_QUOTA_EXCEEDED, "Network 'more': user 12345 has 16 already*");
        (void) make_network(f, "other", SOMEBODY_ELSE, OPTIONS());
        (void) manager_remove_network(f->m, manager_network(f->m, "n3"), NULL);
        (void) make_network(f, "more", SOMEBODY, OPTIONS());

        for (Network *n = NULL; (n = manager_next_network(f->m, n));)
                count++;
        for (; count < MANAGER_NETWORKS_MAX; count++) {
                g_autofree char *full = g_strdup_printf("full%u", count), *subnet = g_strdup_printf("10.%u.0.0/16", count);
                (void) make_network(f, full, 0, OPTIONS(.subnet = subnet));
        }
        g_string_truncate(f->told, 0);
        refuse_network(f, "over", 0, OPTIONS(.subnet = "172.16.0.0/16"), ERROR_QUOTA_EXCEEDED, "Network 'over': there are 256 already*");
}

/* ---- forwards ---- */

static int expose(Fixture *f, uint32_t uid, const char *protocol, const char *local, const char *remote, Error *e) {
        return manager_expose(f->m, f->n, uid, protocol, local, remote, NULL, NULL, e);
}

static void refuse_forward(Fixture *f, const char *protocol, const char *local, const char *remote, ErrorCode code, const char *pattern) {
        Error e = ERROR_INIT;
        int r = expose(f, 0, protocol, local, remote, &e);

        assert_refused(r, &e, code, pattern);
        assert_told(f, "");
}

/* Can @text be bound by somebody else? */
static bool is_free(const char *text, int type) {
        struct sockaddr_storage sa;
        socklen_t len;
        Endpoint e;
        int fd, r, one = 1;

        g_assert_cmpint(endpoint_parse(text, &e), ==, 0);
        len = endpoint_to_sockaddr(&e, &sa);
        fd = socket(sa.ss_family, type | SOCK_CLOEXEC, 0);
        g_assert_cmpint(fd, >=, 0);
        if (sa.ss_family == AF_INET6)
                g_assert_cmpint(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)), ==, 0);
        r = bind(fd, (struct sockaddr *) &sa, len);
        (void) close(fd);
        return r == 0;
}

static bool have_ipv6(void) {
        g_autofree char *text = g_strdup_printf("[::1]:%u", loopback_ports(1));

        return is_free(text, SOCK_STREAM);
}

static void test_forward(Fixture *f, gconstpointer data) {
        uint16_t port = loopback_ports(1);
        g_autofree char *bare = g_strdup_printf("%u", port), *v4 = g_strdup_printf("127.0.0.1:%u", port),
                        *v6 = g_strdup_printf("[::1]:%u", port), *all = g_strdup_printf(":%u", port),
                        *other = g_strdup_printf("127.0.0.2:%u", port), *told = NULL;
        bool ipv6 = have_ipv6();
        ManagedForward *fw;
        ForwardStats stats;
        Error e;

        g_assert_cmpint(manager_expose(f->m, f->n, SOMEBODY, "tcp", bare, "192.168.127.2:80", &(ForwardOptions){ .source = "gateway" }, &fw, &e), ==, 0);
        told = g_strdup_printf("forward added %s;network changed default;", bare);
        assert_told(f, told);
        g_assert_false(is_free(v4, SOCK_STREAM));
        g_assert_true(!ipv6 || !is_free(v6, SOCK_STREAM));
        g_assert_true(is_free(other, SOCK_STREAM)); /* loopback alone, and no more of it than said */
        g_assert_true(is_free(v4, SOCK_DGRAM));
        g_assert_cmpuint(fw->owner, ==, SOMEBODY);
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fw->config.remote), ==, "192.168.127.2:80");
        g_assert_cmpstr(ENDPOINT_TO_TEXT(&fw->config.local), ==, v4);
        g_assert_cmpint(fw->config.source, ==, FORWARD_SOURCE_GATEWAY);
        g_assert_true(manager_forward(f->m, fw->id) == fw);
        g_assert_cmpint(manager_forward_stats(f->m, fw, &stats), ==, 0);
        g_assert_cmpuint(stats.connections, ==, 0);

        refuse_forward(f, "tcp", v4, "192.168.127.3", ERROR_FORWARD_EXISTS, "tcp '127.0.0.1:*' is forwarded already: '*' leads to*");
        refuse_forward(f, "tcp", all, "192.168.127.3", ERROR_FORWARD_EXISTS, "*is forwarded already*");
        g_assert_cmpint(expose(f, 0, "udp", bare, "192.168.127.2", &e), ==, 0);
        g_assert_false(is_free(v4, SOCK_DGRAM));
        g_string_truncate(f->told, 0);

        assert_refused(manager_unexpose(f->m, f->n, "tcp", v4, &e), &e, ERROR_NO_SUCH_FORWARD, "Network 'default' has no forward of*");
        g_assert_cmpint(manager_unexpose(f->m, f->n, "tcp", bare, &e), ==, 0);
        g_assert_true(is_free(v4, SOCK_STREAM));
        g_assert_true(!ipv6 || is_free(v6, SOCK_STREAM));
        assert_refused(manager_unexpose(f->m, f->n, "tcp", bare, &e), &e, ERROR_NO_SUCH_FORWARD, "*");

        g_assert_cmpint(expose(f, 0, "tcp", all, "192.168.127.2", &e), ==, 0);
        g_assert_false(is_free(other, SOCK_STREAM));
        g_string_truncate(f->told, 0);
        (void) manager_remove_network(f->m, f->n, NULL); /* takes its forwards along */
        g_assert_null(manager_next_forward(f->m, NULL));
        g_assert_true(is_free(other, SOCK_STREAM));
}

static void test_forward_refused(Fixture *f, gconstpointer data) {
        static const char *const bad_locals[] = { "",        "x",         "0",        "65536",        ":0",           "1.2.3.4",
                                                  "1.2.3:80", "[::1:80",   "::1:80x",  "224.0.0.1:80", "255.255.255.255:80",
                                                  "[ff02::1]:80", " 80", "80 ", "+80", "0x50" };
        static const char *const bad_remotes[] = { "x:0", "192.168.127.2:0", "192.168.127.2:x", "-x", ":", ":0", "8080", "1.2.3", "a b" };
        static const char *const ours[] = { "192.168.127.0", "192.168.127.1:80", "192.168.127.254", "192.168.127.255:80" };

        for (size_t i = 0; i < G_N_ELEMENTS(bad_locals); i++)
                refuse_forward(f, "tcp", bad_locals[i], "192.168.127.2", ERROR_INVALID_ARGS, "'*' is no place to listen*");
        for (size_t i = 0; i < G_N_ELEMENTS(bad_remotes); i++)
                refuse_forward(f, "tcp", "6443", bad_remotes[i], ERROR_INVALID_ARGS, "'*' is no guest: ADDRESS:PORT*");
        for (size_t i = 0; i < G_N_ELEMENTS(ours); i++)
                refuse_forward(f, "tcp", "6443", ours[i], ERROR_INVALID_ARGS, "'*' is no guest's: it is network 'default' itself");
        refuse_forward(f, "tcp", "6443", "192.168.128.2", ERROR_INVALID_ARGS,
                       "'192.168.128.2' is not in network 'default', which is 192.168.127.0/24");
        refuse_forward(f, "tcp", "6443", "127.0.0.1:80", ERROR_INVALID_ARGS, "*is not in network 'default'*");
        refuse_forward(f, "tcp", "6443", "", ERROR_NO_SUCH_GUEST, "*has no guest yet*as in 192.168.127.2:6443, or start it first");
        refuse_forward(f, "tcp", "6443", ":80", ERROR_NO_SUCH_GUEST, "*as in 192.168.127.2:80,*");
        refuse_forward(f, "unix", "/run/x.sock", "", ERROR_INVALID_ARGS, "'' names no port of a guest*or :PORT for the only guest");
        refuse_forward(f, "unix", "/run/x.sock", "192.168.127.2", ERROR_INVALID_ARGS, "'192.168.127.2' names no port of a guest*");
        refuse_forward(f, "tcp", "6443", "web", ERROR_NO_SUCH_GUEST, "Network 'default' has no guest called 'web'; name an address in*");
        refuse_forward(f, "sctp", "6443", "192.168.127.2", ERROR_INVALID_ARGS, "There is no protocol 'sctp'*");
        refuse_forward(f, "unix", "x", "192.168.127.2:80", ERROR_INVALID_ARGS, "'x' is no place for a Unix socket*");
        refuse_forward(f, "tcp", "192.0.2.99:6443", "192.168.127.2", ERROR_ADDRESS_NOT_AVAILABLE, "*192.0.2.99*");
        refuse_forward(f, "tcp", "[fe80::1]:6443", "192.168.127.2", ERROR_NOT_SUPPORTED, "*link-local*");
}

static void test_forward_range(Fixture *f, gconstpointer data) {
        uint16_t first = loopback_ports(10);
        g_autofree char *ten = g_strdup_printf("%u-%u", first, first + 9), *in = g_strdup_printf("127.0.0.1:%u", first + 4),
                        *last = g_strdup_printf("127.0.0.1:%u", first + 9), *half = g_strdup_printf("127.0.0.1:%u-%u", first, first + 4),
                        *one = g_strdup_printf("127.0.0.1:%u-%u", first, first), *next = g_strdup_printf("127.0.0.1:%u-%u", first + 5, first + 9);
        ManagedForward *fw;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t) (first + 7)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        Error e;

        g_assert_cmpint(manager_expose(f->m, f->n, 0, "tcp", ten, "192.168.127.2:8000-8009", NULL, &fw, &e), ==, 0);
        g_assert_cmpuint(fw->config.remote.port, ==, 8000);
        g_assert_false(is_free(in, SOCK_STREAM));
        g_assert_false(is_free(last, SOCK_STREAM));
        g_string_truncate(f->told, 0);
        refuse_forward(f, "tcp", in, "192.168.127.2", ERROR_FORWARD_EXISTS, "*is forwarded already*");
        refuse_forward(f, "tcp", half, "192.168.127.2", ERROR_FORWARD_EXISTS, "*is forwarded already*");
        assert_refused(manager_unexpose(f->m, f->n, "tcp", half, &e), &e, ERROR_NO_SUCH_FORWARD, "*");
        g_assert_cmpint(manager_unexpose(f->m, f->n, "tcp", ten, &e), ==, 0);
        g_assert_true(is_free(in, SOCK_STREAM));

        /* two that touch; a remote that names where it begins, or nothing */
        g_assert_cmpint(expose(f, 0, "udp", half, "192.168.127.2:9000", &e), ==, 0);
        g_assert_cmpint(expose(f, 0, "udp", next, "192.168.127.2", &e), ==, 0);
        g_assert_cmpint(expose(f, 0, "tcp", one, "192.168.127.2:65535-65535", &e), ==, 0);
        g_string_truncate(f->told, 0);

        /* one of the ports is taken: none is left open */
        g_assert_cmpint(manager_unexpose(f->m, f->n, "tcp", one, &e), ==, 0);
        g_string_truncate(f->told, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), ==, 0);
        g_assert_cmpint(listen(fd, 1), ==, 0);
        refuse_forward(f, "tcp", ten, "192.168.127.2", ERROR_ADDRESS_IN_USE, "Another program listens on 127.0.0.1:*");
        g_assert_true(is_free(in, SOCK_STREAM));
        (void) close(fd);

        refuse_forward(f, "tcp", "8010-8000", "192.168.127.2", ERROR_INVALID_ARGS, "'8010-8000': the range ends before it begins");
        refuse_forward(f, "tcp", "20000-20256", "192.168.127.2", ERROR_INVALID_ARGS, "*at most 256 ports");
        refuse_forward(f, "tcp", ten, "192.168.127.2:80-81", ERROR_INVALID_ARGS, "*are 2 ports, and 10 are forwarded to them");
        refuse_forward(f, "tcp", ten, "192.168.127.2:65530", ERROR_INVALID_ARGS, "*end beyond 65535");
        static const char *const bad[] = { "1-", "-1", "1-2-3", "1-65536", ":-5", "127.0.0.1:1-", "127.0.0.1-2:5", "1--2", "0-5" };
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                refuse_forward(f, "tcp", bad[i], "192.168.127.2", ERROR_INVALID_ARGS, "'*' is no place to listen*");
}

/* Each port counts: at the limit of a user, a range of one more is refused. */
static void test_forward_range_limits(Fixture *f, gconstpointer data) {
        g_autofree char *many = g_strconcat(f->own, ".0.1:20000-20254", NULL), *two = g_strconcat(f->own, ".0.2:20000-20001", NULL),
                        *one = g_strconcat(f->own, ".0.2:20000", NULL);
        Error e;

        g_assert_cmpint(expose(f, SOMEBODY, "udp", many, "192.168.127.2", &e), ==, 0); /* 255 */
        assert_refused(expose(f, SOMEBODY, "udp", two, "192.168.127.2", &e), &e, ERROR_QUOTA_EXCEEDED,
                       "*user 12345 has 255 forwards already, and may have no more than 256");
        g_assert_cmpint(expose(f, SOMEBODY, "udp", one, "192.168.127.2", &e), ==, 0);
}

static void add_lease(Fixture *f, const char *addr, uint8_t number, const char *hostname) {
        Lease l = { .mac = { { 0x52, 0x54, 0, 0, 0, number } }, .expires = network_now(f->n) + 3600 * USEC_PER_SEC };

        g_assert_cmpint(ip_parse(addr, &l.addr), ==, 0);
        g_assert_cmpuint(g_strlcpy(l.hostname, hostname, sizeof(l.hostname)), <, sizeof(l.hostname));
        g_assert_cmpint(network_add_lease(f->n, &l), ==, 0);
}

static void test_forward_guests(Fixture *f, gconstpointer data) {
        g_autofree char *a = g_strdup_printf("%u", loopback_ports(1)), *b = g_strdup_printf("%u", loopback_ports(1)),
                        *c = g_strdup_printf("%u", loopback_ports(1));
        ManagedForward *fw;
        Error e;

        add_lease(f, "192.168.127.7", 7, "Web");
        g_assert_cmpint(manager_expose(f->m, f->n, 0, "tcp", a, "", NULL, &fw, &e), ==, 0); /* the only guest, whoever that will be */
        g_assert_true(ip_is_null(&fw->config.remote.addr));
        g_assert_cmpuint(fw->config.remote.port, ==, (uint16_t) atoi(a));
        g_assert_cmpint(fw->config.source, ==, FORWARD_SOURCE_CLIENT);
        g_assert_cmpint(manager_expose(f->m, f->n, 0, "tcp", b, "web:80", NULL, &fw, &e), ==, 0);
        g_assert_true(ip_is_null(&fw->config.remote.addr)); /* asked anew for each connection, too */
        g_assert_cmpstr(fw->config.hostname, ==, "web");
        g_assert_cmpuint(fw->config.remote.port, ==, 80);
        g_assert_cmpint(manager_expose(f->m, f->n, 0, "tcp", c, "WEB.vnet.internal", NULL, &fw, &e), ==, 0);
        g_assert_cmpstr(fw->config.hostname, ==, "WEB");
        g_string_truncate(f->told, 0);

        add_lease(f, "192.168.127.8", 8, "");
        refuse_forward(f, "tcp", "6443", "", ERROR_NO_SUCH_GUEST, "*has 2 guests, name the one that is meant: *192.168.127.7 (*");
        refuse_forward(f, "tcp", "6443", "db", ERROR_NO_SUCH_GUEST, "*no guest called 'db', there are: *192.168.127.8*");
        refuse_forward(f, "tcp", "6443", "web.example", ERROR_NO_SUCH_GUEST, "'web.example' is no name of a guest in network 'default', whose domain is 'vnet.internal'");
}

static void test_forward_in_use(Fixture *f, gconstpointer data) {
        for (int proto = 0; proto < 2; proto++) {
                uint16_t port = loopback_ports(1);
                struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
                int fd = socket(AF_INET, (proto ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
                g_autofree char *local = g_strdup_printf("%u", port);

                g_assert_cmpint(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), ==, 0);
                g_assert_true(proto || listen(fd, 1) == 0);
                refuse_forward(f, proto ? "udp" : "tcp", local, "192.168.127.2", ERROR_ADDRESS_IN_USE,
                               "Another program listens on 127.0.0.1:*: choose another port");
                (void) close(fd);
        }
}

/* When the second of two listeners cannot be had, the first does not stay. */
static void test_forward_half(Fixture *f, gconstpointer data) {
        uint16_t port = loopback_ports(1);
        struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        g_autofree char *local = g_strdup_printf("%u", port), *v4 = g_strdup_printf("127.0.0.1:%u", port);
        int fd;

        if (!have_ipv6()) {
                g_test_skip("the host has no ::1");
                return;
        }
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), ==, 0);
        g_assert_cmpint(listen(fd, 1), ==, 0);
        refuse_forward(f, "tcp", local, "192.168.127.2", ERROR_ADDRESS_IN_USE, "Another program listens on [::1]:*");
        g_assert_true(is_free(v4, SOCK_STREAM));
        (void) close(fd);
}

/* Gives up the right to bind privileged ports, of this thread, for good; or has none. */
static void give_up_bind_service(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

        g_assert_cmpint(syscall(SYS_capget, &header, caps), ==, 0);
        caps[0].effective &= ~(1u << CAP_NET_BIND_SERVICE);
        g_assert_cmpint(syscall(SYS_capset, &header, caps), ==, 0);
}

static void test_forward_privileged(Fixture *f, gconstpointer data) {
        g_assert_false(manager_local_is_privileged(f->m, "65535"));
        g_assert_false(manager_local_is_privileged(f->m, "nonsense"));
        if (!manager_local_is_privileged(f->m, "81")) {
                g_test_skip("no port is privileged here (net.ipv4.ip_unprivileged_port_start)");
                return;
        }
        g_assert_true(manager_local_is_privileged(f->m, ":81"));
        g_assert_true(manager_local_is_privileged(f->m, "[::1]:81"));
        give_up_bind_service();
        refuse_forward(f, "tcp", "81", "192.168.127.2", ERROR_ACCESS_DENIED, "Port 81 is privileged, and vnetd may not listen on it: choose*");
}

static void test_forward_limits(Fixture *f, gconstpointer data) {
        g_autofree char *over = g_strconcat(f->own, ".200.1:20000", NULL);
        g_autofree char *pattern = g_strdup_printf("'%s': user 12345 has 256 forwards already*no more than 256", over);
        unsigned made = 0;
        Error e;

        /* one socket each */
        for (unsigned i = 0; made < MANAGER_PER_USER_FORWARDS_MAX; i++, made++) {
                g_autofree char *local = g_strdup_printf("%s.%u.%u:20000", f->own, i / 250, i % 250 + 1);

                if (expose(f, SOMEBODY, "udp", local, "192.168.127.2", &e) < 0)
                        g_error("%s", e.message);
        }
        assert_refused(expose(f, SOMEBODY, "udp", over, "192.168.127.2", &e), &e, ERROR_QUOTA_EXCEEDED, pattern);
        g_assert_cmpint(expose(f, SOMEBODY_ELSE, "udp", over, "192.168.127.2", &e), ==, 0);

        /* One network has room for FORWARDS_MAX, which is less than MANAGER_FORWARDS_MAX. */
        for (unsigned i = 0; i < MANAGER_FORWARDS_MAX; i++) {
                g_autofree char *local = g_strdup_printf("%s.%u.%u:20000", f->own, 100 + i / 250, i % 250 + 1);

                if (expose(f, 0, "udp", local, "192.168.127.2", &e) < 0) {
                        g_assert_cmpint(e.code, ==, ERROR_QUOTA_EXCEEDED);
                        g_assert_cmpstr(e.message, ==, "Network 'default' has no room for another forward");
                        return;
                }
        }
        g_assert_not_reached();
}

static void test_forward_limits_all(Fixture *f, gconstpointer data) {
        static const char *const names[] = { "n0", "n1", "n2", "n3", "n4" };
        struct rlimit limit;
        Network *n = NULL;
        unsigned count = 0;
        g_autofree char *pattern = g_strdup_printf("'%s.16.97:20000': there are 4096 forwards already*", f->own);
        Error e;

        g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        if (limit.rlim_cur < MANAGER_FORWARDS_MAX + 256) {
                g_test_skip("needs more open files than RLIMIT_NOFILE allows");
                return;
        }
        for (int r = 0; r >= 0; count += r >= 0) {
                g_autofree char *local = g_strdup_printf("%s.%u.%u:20000", f->own, count / 250, count % 250 + 1);

                if (count % 1000 == 0)
                        n = make_network(f, names[count / 1000], 0, OPTIONS());
                r = manager_expose(f->m, n, 0, "udp", local, ":53", NULL, NULL, &e);
                if (r < 0 && e.code == ERROR_NO_SUCH_GUEST) { /* the first of each network: now there is one */
                        Lease l = { .mac = { { 0x52, 0x54, 0, 0, 0, 1 } }, .expires = USEC_INFINITY };

                        l.addr = prefix_nth(&network_config(n)->stack.subnet, 2);
                        g_assert_cmpint(network_add_lease(n, &l), ==, 0);
                        r = manager_expose(f->m, n, 0, "udp", local, ":53", NULL, NULL, &e);
                }
        }
        g_assert_cmpint(e.code, ==, ERROR_QUOTA_EXCEEDED);
        g_assert_true(g_pattern_match_simple(pattern, e.message));
        g_assert_cmpuint(count, ==, MANAGER_FORWARDS_MAX);
}

/* ---- devices ---- */

static void refuse_device(Fixture *f, const char *kind, DeviceOptions o, ErrorCode code, const char *pattern) {
        ManagedDevice *d;
        Error e = ERROR_INIT;
        int r = manager_create_device(f->m, kind, 0, &o, &d, &e);

        assert_refused(r, &e, code, pattern);
        assert_told(f, "");
}

#define DEVICE(...) ((DeviceOptions){ .fd = -EBADF, .guest_fd = -EBADF, .lend_fd = -EBADF, .up = true, .queues = 1, __VA_ARGS__ })

static void test_device_refused(Fixture *f, gconstpointer data) {
        const char *const offloads[] = { "csum", "warp", NULL }, *const csum[] = { "csum", NULL };

        /* what the kind does not have is not passed over */
        refuse_device(f, "tap", DEVICE(.vhost_queue_size = 256), ERROR_INVALID_ARGS, "VhostQueueSize: a device of kind 'tap' has no *");
        refuse_device(f, "qemu", DEVICE(.vhost_queue_size = 256), ERROR_INVALID_ARGS, "VhostQueueSize: a device of kind 'qemu' has no *");
        refuse_device(f, "qemu", DEVICE(.offloads = csum), ERROR_INVALID_ARGS, "Offloads: a device of kind 'qemu' has none*");
        refuse_device(f, "tap", (DeviceOptions){ .lend_fd = -EBADF, .fd = STDERR_FILENO, .queues = 1, .ifname = "x0" }, ERROR_INVALID_ARGS, "Ifname 'x0': the interface of Fd has its name*");
        refuse_device(f, "vhost-net", DEVICE(.vhost_queue_size = 33), ERROR_INVALID_ARGS, "VhostQueueSize 33 is no power of two*");
        refuse_device(f, "pigeon", DEVICE(), ERROR_NOT_SUPPORTED, "There is no kind of device 'pigeon'; there are: tap*");
        refuse_device(f, "tap", DEVICE(.name = "a/b"), ERROR_INVALID_ARGS, "'a/b' cannot be the name of a device*");
        refuse_device(f, "tap", DEVICE(.network = "x"), ERROR_NO_SUCH_NETWORK, "There is no network 'x'");
        refuse_device(f, "tap", DEVICE(.mac = "x"), ERROR_INVALID_ARGS, "Mac 'x' is no*");
        refuse_device(f, "tap", DEVICE(.mac = "00:00:00:00:00:00"), ERROR_INVALID_ARGS, "Mac '00:00:00:00:00:00' is no*");
        refuse_device(f, "tap", DEVICE(.mtu = 575), ERROR_INVALID_ARGS, "Mtu 575*");
        refuse_device(f, "tap", DEVICE(.mtu = 65521), ERROR_INVALID_ARGS, "Mtu 65521*");
        refuse_device(f, "tap", (DeviceOptions){ .lend_fd = -EBADF, .fd = -EBADF }, ERROR_INVALID_ARGS, "Queues 0*");
        refuse_device(f, "tap", (DeviceOptions){ .lend_fd = -EBADF, .fd = -EBADF, .queues = 17 }, ERROR_INVALID_ARGS, "Queues 17 is not between 1 and 16");
        refuse_device(f, "tap", DEVICE(.ifname = "sixteen-letters-"), ERROR_INVALID_ARGS, "'sixteen-letters-' cannot be*");
        refuse_device(f, "tap", DEVICE(.namespace = "x"), ERROR_INVALID_ARGS, "Namespace 'x' is neither*");
        refuse_device(f, "tap", DEVICE(.offloads = offloads), ERROR_INVALID_ARGS, "There is no offload 'warp'; there are: csum, *");
        refuse_device(f, "tap", (DeviceOptions){ .lend_fd = -EBADF, .fd = STDERR_FILENO, .queues = 1 }, ERROR_INVALID_ARGS, "Cannot make TAP device*");
        if (access("/dev/net/tun", F_OK) == 0) {
                refuse_device(f, "tap", DEVICE(.namespace = "/nowhere"), ERROR_NO_SUCH_NAMESPACE, "There is no network namespace at '/nowhere'*");
                refuse_device(f, "tap", DEVICE(.namespace = "4194304"), ERROR_NO_SUCH_NAMESPACE, "*'4194304'*");
                refuse_device(f, "tap", DEVICE(.namespace = "/dev/null"), ERROR_INVALID_ARGS, "*/dev/null*");
        }
}

static ManagedDevice *make_device(Fixture *f, uint32_t uid, DeviceOptions o) {
        ManagedDevice *d;
        Error e = ERROR_INIT;

        if (manager_create_device(f->m, "tap", uid, &o, &d, &e) < 0)
                g_error("%s", e.message);
        return d;
}

/* In a network namespace of the test's own: needs root. */
static bool own_namespace(void) {
        if (geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && unshare(CLONE_NEWNET) == 0)
                return true;
        g_test_skip("needs root and /dev/net/tun");
        return false;
}

static void test_device(Fixture *f, gconstpointer data) {
        ManagedDevice *a, *b;
        Network *other;
        Error e;

        if (!own_namespace())
                return;
        a = make_device(f, SOMEBODY, DEVICE());
        assert_told(f, "device added tap0;network changed default;");
        g_assert_cmpstr(a->state, ==, "attached");
        g_assert_true(a->network == f->n);
        g_assert_cmpuint(a->device->owner, ==, SOMEBODY);
        b = make_device(f, 0, DEVICE(.network = ""));
        assert_told(f, "device added tap1;");
        g_assert_cmpstr(b->state, ==, "detached");
        g_assert_true(manager_device(f->m, "tap1") == b);
        g_assert_true(manager_next_device(f->m, a) == b);
        refuse_device(f, "tap", DEVICE(.name = "tap1"), ERROR_DEVICE_EXISTS, "Device 'tap1' exists");
        refuse_device(f, "tap", DEVICE(.ifname = a->device->ifname), ERROR_DEVICE_BUSY, "Interface '*' is in use");

        assert_refused(manager_detach_device(f->m, b, &e), &e, ERROR_NOT_ATTACHED, "Device 'tap1' is in no network");
        other = make_network(f, "other", 0, OPTIONS());
        assert_refused(manager_attach_device(f->m, a, other, &e), &e, ERROR_DEVICE_BUSY, "Device 'tap0' is in network 'default'*");
        g_assert_cmpint(manager_attach_device(f->m, b, other, &e), ==, 0);
        g_assert_cmpint(manager_detach_device(f->m, a, &e), ==, 0);
        g_assert_null(a->network);
        g_string_truncate(f->told, 0);
        g_assert_cmpint(manager_remove_network(f->m, other, &e), ==, 0); /* takes its devices along */
        assert_told(f, "device removed tap1;network changed other;network removed other;");
        g_assert_null(manager_device(f->m, "tap1"));
        g_assert_cmpint(manager_remove_device(f->m, a, &e), ==, 0);
        assert_told(f, "device removed tap0;");
}

/* With sockets, of which a thousand are nothing; interfaces would stand in line for the kernel's one lock, each time with a wait. */
static int make_sock(Fixture *f, uint32_t uid, const char *network, Error *e) {
        ManagedDevice *d;

        return manager_create_device(f->m, "qemu", uid, &DEVICE(.network = network), &d, e);
}

static void test_device_limits(Fixture *f, gconstpointer data) {
        Error e = ERROR_INIT;

        for (int i = 0; i < MANAGER_PER_USER_DEVICES_MAX; i++)
                g_assert_cmpint(make_sock(f, SOMEBODY, i % 2 ? "" : NULL, &e), ==, 0);
        assert_refused(make_sock(f, SOMEBODY, NULL, &e), &e, ERROR_QUOTA_EXCEEDED, "Device 'qemu64': user 12345 has 64 already*");
        g_assert_cmpint(make_sock(f, SOMEBODY_ELSE, NULL, &e), ==, 0);
}

static void test_device_limits_all(Fixture *f, gconstpointer data) {
        Error e = ERROR_INIT;
        struct rlimit limit;
        unsigned count;

        g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        if (limit.rlim_cur < 2 * MANAGER_DEVICES_MAX + 256) {
                g_test_skip("needs more open files than RLIMIT_NOFILE allows");
                return;
        }
        for (count = 0; make_sock(f, 0, NULL, &e) >= 0; count++)
                ;
        g_assert_cmpint(e.code, ==, ERROR_QUOTA_EXCEEDED);
        g_assert_cmpstr(e.message, ==, "Network 'default' has no room for another device");
        g_assert_cmpuint(count, ==, 256);
        for (; make_sock(f, 0, "", &e) >= 0; count++)
                ;
        g_assert_cmpint(e.code, ==, ERROR_QUOTA_EXCEEDED);
        g_assert_true(g_pattern_match_simple("Device 'qemu1024': there are 1024 already*", e.message));
        g_assert_cmpuint(count, ==, MANAGER_DEVICES_MAX);
}

/* The interface is taken away under us: the device goes, and everybody is told once. */
static void test_device_gone(Fixture *f, gconstpointer data) {
        g_autofree char *command = NULL;

        if (!own_namespace())
                return;
        command = g_strdup_printf("ip link delete %s", make_device(f, 0, DEVICE())->device->ifname);
        g_string_truncate(f->told, 0);
        g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
        for (int i = 0; i < 100 && manager_device(f->m, "tap0"); i++)
                g_assert_cmpint(sd_event_run(f->event, 100 * USEC_PER_MSEC), >=, 0);
        g_assert_null(manager_device(f->m, "tap0"));
        assert_told(f, "device changed tap0;device removed tap0;network changed default;");
}

/* ---- the descriptor store ---- */

static int far_end = -EBADF; /* (owned) of a socket device, which leaves as soon as the device's thread has it */

int __real_network_attach(Network *n, Device *d, const PortOptions *options);
int __wrap_network_attach(Network *n, Device *d, const PortOptions *options);

int __wrap_network_attach(Network *n, Device *d, const PortOptions *options) {
        int fd = far_end >= 0 ? sock_fd(d) : -EBADF;
        int r = __real_network_attach(n, d, options);

        if (fd < 0)
                return r;
        far_end = safe_close(far_end);
        for (int i = 0; i < 20000 && fcntl(fd, F_GETFD) >= 0; i++)
                g_usleep(1000);
        g_assert_cmpint(fcntl(fd, F_GETFD), <, 0);
        return r;
}

/* As systemd would: a socket for what vnetd tells. */
static int be_told(void) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        socklen_t len = sizeof(sa);
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        g_assert_cmpint(bind(fd, (struct sockaddr *) &sa, sizeof(sa.sun_family)), ==, 0); /* a name that is free */
        g_assert_cmpint(getsockname(fd, (struct sockaddr *) &sa, &len), ==, 0);
        sa.sun_path[0] = '@';
        sa.sun_path[len - offsetof(struct sockaddr_un, sun_path)] = 0;
        g_setenv("NOTIFY_SOCKET", sa.sun_path, TRUE);
        return fd;
}

/* What was told next of the store; returns the inode of the descriptor that came along, or 0. */
static ino_t read_told(int fd, char *ret, size_t size) {
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec iov = { ret, size - 1 };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        struct cmsghdr *c;
        struct stat st;
        ssize_t n;
        int got;

        do {
                n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
                ret[MAX(n, 0)] = 0;
        } while (g_str_has_prefix(ret, "STATUS="));
        c = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL;
        if (!c)
                return 0;
        g_assert_cmpint(c->cmsg_type, ==, SCM_RIGHTS);
        memcpy(&got, CMSG_DATA(c), sizeof(got));
        g_assert_cmpint(fstat(got, &st), ==, 0);
        (void) close(got);
        return st.st_ino;
}

/* The guest's connection is in the store although the device's thread, which has it by then, has closed it already: the number could be
 * another descriptor's. What is over leaves the store. */
static void test_device_stored(Fixture *f, gconstpointer data) {
        int told = be_told(), pair[2];
        DeviceOptions o = DEVICE();
        struct stat st;
        char text[256];
        ManagedDevice *d;
        Error e;

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
        g_assert_cmpint(fstat(pair[0], &st), ==, 0);
        far_end = pair[1];
        o.fd = pair[0];
        g_assert_cmpint(manager_create_device(f->m, "qemu", 0, &o, &d, &e), ==, 0);
        g_assert_cmpuint(read_told(told, text, sizeof(text)), ==, st.st_ino);
        g_assert_cmpstr(text, ==, "FDSTORE=1\nFDNAME=device-qemu0");
        (void) close(pair[0]);
        for (int i = 0; i < 200 && manager_device(f->m, "qemu0"); i++)
                g_assert_cmpint(sd_event_run(f->event, 100 * USEC_PER_MSEC), >=, 0);
        g_assert_null(manager_device(f->m, "qemu0"));
        g_assert_cmpuint(read_told(told, text, sizeof(text)), ==, 0);
        g_assert_cmpstr(text, ==, "FDSTOREREMOVE=1\nFDNAME=device-qemu0");
        g_unsetenv("NOTIFY_SOCKET");
        (void) close(told);
}

/* ---- describe ---- */

static void test_describe(Fixture *f, gconstpointer data) {
        _cleanup_free_ char *all = NULL, *one = NULL;
        g_autofree char *port = g_strdup_printf("%u", loopback_ports(1));
        Error e;

        g_assert_cmpint(expose(f, 0, "tcp", port, "192.168.127.2", &e), ==, 0);
        add_lease(f, "192.168.127.7", 7, "web");
        g_assert_cmpint(manager_describe(f->m, NULL, &all), ==, 0);
        g_assert_cmpint(manager_describe(f->m, f->n, &one), ==, 0);
        g_assert_nonnull(strstr(all, "\"devices\": []"));
        g_assert_nonnull(strstr(one, "\"subnet\": \"192.168.127.0/24\""));
        g_assert_nonnull(strstr(one, "\"hostname\": \"web\""));
        g_assert_nonnull(strstr(one, "\"remote\": \"192.168.127.2\""));
        g_assert_nonnull(strstr(one, "\"tcpFlows\": 0"));
        g_assert_nonnull(strstr(one, "\"rxFrames\": 0"));
}

/* What leases and flows are shown against goes on while the network sleeps. */
static void test_clock(Fixture *f, gconstpointer data) {
        usec_t before = network_now(f->n);

        g_usleep(20 * 1000);
        g_assert_cmpuint(network_now(f->n), >=, before + 20 * 1000);
}

/* The file's number: another one each time it is written. */
static ino_t inode_of(const char *path) {
        struct stat st;

        g_assert_cmpint(stat(path, &st), ==, 0);
        return st.st_ino;
}

/* Renewals are told to nobody, and found all the same: a crash later on finds the lease's end where the client has it. */
static void test_lease_renewed(Fixture *f, gconstpointer data) {
        g_autofree char *path = g_build_filename(f->dir, "leases-default.json", NULL), *before = NULL, *after = NULL;
        Lease l = { .mac = { { 0x52, 0x54, 0, 0, 0, 9 } }, .expires = network_now(f->n) + 600 * USEC_PER_SEC };
        Manager *m = f->m;
        ino_t ino;

        m->state_dir = strdup(f->dir);
        g_assert_cmpint(ip_parse("192.168.127.9", &l.addr), ==, 0);
        g_assert_false(state_save_leases(m, true));
        ino = inode_of(path);
        g_assert_cmpint(network_add_lease(f->n, &l), ==, 0);
        g_assert_true(state_save_leases(m, false));
        g_assert_cmpuint(inode_of(path), !=, ino);
        g_assert_true(g_file_get_contents(path, &before, NULL, NULL));
        ino = inode_of(path);

        g_assert_true(state_save_leases(m, false)); /* nothing new: not written */
        g_assert_cmpuint(inode_of(path), ==, ino);

        l.expires += 900 * USEC_PER_SEC;
        g_assert_cmpint(network_add_lease(f->n, &l), ==, 0);
        g_assert_true(state_save_leases(m, false));
        g_assert_cmpuint(inode_of(path), !=, ino);
        g_assert_true(g_file_get_contents(path, &after, NULL, NULL));
        g_assert_cmpstr(before, !=, after);
        free(TAKE_PTR(m->state_dir)); /* nothing more is written */
        g_assert_cmpint(g_unlink(path), ==, 0);
}

int main(int argc, char **argv) {
        struct rlimit limit;

        g_test_init(&argc, &argv, NULL);
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) { /* as main() does */
                limit.rlim_cur = limit.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &limit);
        }
#define ADD(name, fn) g_test_add("/manager/" name, Fixture, NULL, setup, fn, teardown)
        ADD("network", test_network);
        ADD("network-refused", test_network_refused);
        g_test_add("/manager/network-user", Fixture, NULL, setup_user, test_network_user, teardown);
        ADD("clock", test_clock);
        ADD("lease-renewed", test_lease_renewed);
        ADD("network-limits", test_network_limits);
        ADD("forward", test_forward);
        ADD("forward-refused", test_forward_refused);
        ADD("forward-guests", test_forward_guests);
        ADD("forward-in-use", test_forward_in_use);
        ADD("forward-half", test_forward_half);
        ADD("forward-range", test_forward_range);
        ADD("forward-range-limits", test_forward_range_limits);
        ADD("forward-limits", test_forward_limits);
        ADD("forward-limits-all", test_forward_limits_all);
        ADD("device-refused", test_device_refused);
        ADD("describe", test_describe);
        ADD("device", test_device);
        ADD("device-limits", test_device_limits);
        ADD("device-limits-all", test_device_limits_all);
        ADD("device-gone", test_device_gone);
        ADD("device-stored", test_device_stored);
        ADD("forward-privileged", test_forward_privileged); /* last: gives up a right */
        return g_test_run();
}
