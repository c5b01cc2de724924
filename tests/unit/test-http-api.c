/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The HTTP API without HTTP: what the host may and guests may not, by each kind of gateway, and whose rights count. Its JSON, words and
 * states as clients see them are in tests/netns/test-http-api.py and tests/daemon/test-gvproxy.py.
 */

#include <glib.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "../loopback.h"
#include "daemon/manager.h"
#include "http/http-api.h"
#include "http/http-metrics.h"

#define SOMEBODY 12345u /* a uid with limits */

static Manager *manager;
static sd_event *event;

static void set_up(void) {
        const char *leases[] = { "192.168.127.2", "52:54:00:00:00:02", "192.168.127.3", "52:54:00:00:00:03", NULL };
        NetworkOptions o = NETWORK_OPTIONS_INIT;
        Network *n;
        Error e = ERROR_INIT;

        o.subnet = "192.168.127.0/24";
        o.static_leases = leases;
        g_assert_cmpint(sd_event_new(&event), >=, 0);
        g_assert_cmpint(manager_new(&manager, &(ManagerConfig){ .user = false }, event), ==, 0);
        g_assert_cmpint(manager_create_network(manager, "net", getuid(), &o, &n, &e), ==, 0);
}

static void tear_down(void) {
        manager = manager_free(manager);
        event = sd_event_unref(event);
}

static HttpCaller host_caller(uint32_t uid) {
        return (HttpCaller){ .network = "net", .uid = uid };
}

static HttpCaller guest_caller(HttpGateway inside) {
        HttpCaller c = { .network = "net", .uid = getuid(), .inside = inside };

        g_assert_cmpint(ip_parse("192.168.127.3", &c.guest), ==, 0);
        return c;
}

/* The status, and that the text begins with @text. */
#define assert_answers(caller, method, path, body, status_expected, text_expected)                                     \
        do {                                                                                                           \
                HttpCaller c_ = (caller);                                                                              \
                HttpReply r_;                                                                                          \
                http_api_answer(manager, &c_, method, path, body, strlen(body), &r_);                                  \
                g_assert_cmpuint(r_.status, ==, status_expected);                                                      \
                if (!g_str_has_prefix(r_.text ?: "", text_expected))                                                   \
                        g_error("%s %s: '%s' does not begin with '%s'", method, path, r_.text, text_expected);         \
                free(r_.text);                                                                                         \
        } while (false)

#define EXPOSE "/services/forwarder/expose"
#define UNEXPOSE "/services/forwarder/unexpose"
#define ALL "/services/forwarder/all"
#define PRIVILEGED "{\"local\":\"127.0.0.1:79\",\"remote\":\"192.168.127.2:79\"}"

/* Do we have the right, whoever asks us? */
static bool may_listen(const char *local) {
        struct sockaddr_storage sa;
        Endpoint e;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

        g_assert_cmpint(endpoint_parse(local, &e), ==, 0);
        socklen_t len = endpoint_to_sockaddr(&e, &sa);
        r = bind(fd, (struct sockaddr *) &sa, len);
        (void) close(fd);
        return r == 0;
}

/* Over the bus polkit would be asked for a port below 1024; here those who have the right have it, and nobody else. */
static void test_privileged_port(void) {
        int own_fd;
        g_autofree char *local = g_strdup_printf("127.%u.0.1:79", loopback_take(&own_fd)),
                        *expose = g_strdup_printf("{\"local\":\"%s\",\"remote\":\"192.168.127.2:79\"}", local),
                        *unexpose = g_strdup_printf("{\"local\":\"%s\"}", local);

        set_up();
        assert_answers(host_caller(SOMEBODY), "POST", EXPOSE, PRIVILEGED, 500, "listen tcp 127.0.0.1:79: bind: permission denied");
        assert_answers(host_caller(SOMEBODY), "POST", EXPOSE, "{\"local\":\":79\",\"remote\":\"192.168.127.2:79\",\"protocol\":\"udp\"}", 500,
                       "listen udp :79: bind: permission denied");
        assert_answers(host_caller(SOMEBODY), "POST", EXPOSE, "{\"local\":\"/tmp/x\",\"remote\":\"tcp://192.168.127.2:79\",\"protocol\":\"unix\"}", 500,
                       "listen unix /tmp/x: bind: permission denied");
        assert_answers(host_caller(getuid()), "GET", ALL, "", 200, "[]\n");
        if (may_listen(local)) {
                assert_answers(host_caller(getuid()), "POST", EXPOSE, expose, 200, "");
                assert_answers(host_caller(getuid()), "POST", UNEXPOSE, unexpose, 200, "");
        }
        tear_down();
        (void) close(own_fd);
}

/* "localhost" is loopback's address; a port without a host is no guest's when the host asks; and nobody sees another network's. */
static void test_host_forwards(void) {
        NetworkOptions o = NETWORK_OPTIONS_INIT;
        Error e = ERROR_INIT;
        HttpCaller other = host_caller(getuid()), host = host_caller(getuid());
        int own_fd;
        g_autofree char *local = g_strdup_printf("127.%u.0.1:28124", loopback_take(&own_fd));
        g_autofree char *any = g_strdup_printf("{\"local\":\"%s\",\"remote\":\":80\"}", local),
                        *expose = g_strdup_printf("{\"local\":\"%s\",\"remote\":\"192.168.127.2:80\"}", local),
                        *listed = g_strdup_printf("[{\"local\":\"%s\",\"remote\":\"192.168.127.2:80\",\"protocol\":\"tcp\"}]\n", local);
        Network *n;

        set_up();
        o.subnet = "192.168.128.0/24";
        g_assert_cmpint(manager_create_network(manager, "other", getuid(), &o, &n, &e), ==, 0);
        other.network = "other";
        host.guest = guest_caller(HTTP_GATEWAY_OFF).guest;
        assert_answers(host, "POST", EXPOSE, any, 500, "Network 'net' has 2 guests, name the one that is meant");
        assert_answers(host, "POST", EXPOSE, expose, 200, "");
        assert_answers(host, "GET", ALL, "", 200, listed);
        assert_answers(other, "GET", ALL, "", 200, "[]\n");
        assert_answers(other, "POST", UNEXPOSE, "{\"local\":\"localhost:70000\"}", 500, "proxy not found");
        assert_answers(host, "POST", EXPOSE, "{\"local\":\"LocalHost:79x\",\"remote\":\":80\"}", 500, "'127.0.0.1:79x' is no place to listen");
        tear_down();
        (void) close(own_fd);
}

static void test_no_network(void) {
        HttpCaller c = host_caller(getuid());

        set_up();
        c.network = "gone";
        assert_answers(c, "GET", ALL, "", 404, "404 page not found");
        assert_answers(host_caller(getuid()), "GET", "/services/forwarder/al", "", 404, "404 page not found");
        tear_down();
}

static void test_guest_reads(void) {
        static const char *const reads[] = { ALL, "/services/dns/all", "/services/dhcp/leases", "/leases", "/cam", "/stats" };
        HttpCaller c = guest_caller(HTTP_GATEWAY_READ);

        set_up();
        for (size_t i = 0; i < G_N_ELEMENTS(reads); i++)
                assert_answers(c, "GET", reads[i], "", 200, "");
        assert_answers(c, "POST", EXPOSE, PRIVILEGED, 403, "guests of this network may only read");
        assert_answers(c, "GET", EXPOSE, "", 403, "guests of this network may only read");
        assert_answers(c, "POST", UNEXPOSE, PRIVILEGED, 403, "guests");
        assert_answers(c, "POST", "/services/dns/add", "{\"Name\":\"x.\"}", 403, "guests");
        assert_answers(c, "GET", "/metrics", "", 404, "404 page not found");
        assert_answers(c, "POST", "/tunnel", "", 404, "404 page not found");
        g_assert_null(manager_next_forward(manager, NULL));
        tear_down();
}

static void test_guest_forwards(void) {
        g_autofree char *dir = g_dir_make_tmp("vnetd-http-XXXXXX", NULL);
        g_autofree char *unix_body = g_strdup_printf("{\"local\":\"%s/s\",\"remote\":\"tcp://192.168.127.3:80\",\"protocol\":\"unix\"}", dir);
        int own_fd;
        g_autofree char *local = g_strdup_printf("127.%u.0.1:28123", loopback_take(&own_fd));
        g_autofree char *expose = g_strdup_printf("{\"local\":\"%s\",\"remote\":\":80\"}", local),
                        *listed = g_strdup_printf("[{\"local\":\"%s\",\"remote\":\"192.168.127.3:80\",\"protocol\":\"tcp\"}]\n", local),
                        *bad = g_strdup_printf("{\"local\":\"%s\",\"remote\":\":99999\"}", local),
                        *unexpose = g_strdup_printf("{\"local\":\"%s\"}", local);
        HttpCaller c = guest_caller(HTTP_GATEWAY_FORWARD);

        set_up();
        assert_answers(c, "POST", EXPOSE, expose, 200, "");
        assert_answers(c, "GET", ALL, "", 200, listed); /* the caller */
        assert_answers(c, "POST", EXPOSE, bad, 500, "");
        assert_answers(c, "POST", EXPOSE, unix_body, 500, "protocol unix is not allowed from inside the network");
        assert_answers(guest_caller(HTTP_GATEWAY_FORWARD_ALL), "POST", EXPOSE, unix_body, 200, "");
        assert_answers(c, "POST", UNEXPOSE, unix_body, 500, "protocol unix is not allowed from inside the network");
        assert_answers(guest_caller(HTTP_GATEWAY_FORWARD_ALL), "POST", UNEXPOSE, unix_body, 200, "");
        assert_answers(c, "POST", UNEXPOSE, unexpose, 200, "");
        assert_answers(c, "GET", "/services/dns/all", "", 404, "404 page not found");
        assert_answers(c, "POST", "/services/dns/add", "{\"Name\":\"x.\"}", 404, "404 page not found");
        assert_answers(c, "GET", "/leases", "", 404, "404 page not found");
        assert_answers(c, "GET", "/metrics", "", 404, "404 page not found");
        g_assert_cmpint(g_rmdir(dir), ==, 0);
        tear_down();
        (void) close(own_fd);
}

/* A port of the gateway that leads to a Unix socket of the host is for the host to open and to close: none of its sockets is a guest's. */
static void test_guest_outlets(void) {
        static const char outlet[] = "{\"local\":\"gateway:7300\",\"remote\":\"unix:/run/nobody\",\"protocol\":\"tcp\"}";

        set_up();
        for (HttpGateway inside = HTTP_GATEWAY_FORWARD; inside <= HTTP_GATEWAY_FORWARD_ALL; inside++) {
                assert_answers(guest_caller(inside), "POST", EXPOSE, outlet, 500, "ports of the gateway are not for guests to open or to close");
                g_assert_null(manager_next_forward(manager, NULL));
        }
        assert_answers(host_caller(SOMEBODY), "POST", EXPOSE, outlet, 500, "listen tcp gateway:7300: bind: permission denied");
        assert_answers(host_caller(getuid()), "POST", EXPOSE, outlet, 200, "");
        for (HttpGateway inside = HTTP_GATEWAY_FORWARD; inside <= HTTP_GATEWAY_FORWARD_ALL; inside++)
                assert_answers(guest_caller(inside), "POST", UNEXPOSE, outlet, 500, "ports of the gateway are not for guests to open or to close");
        assert_answers(host_caller(getuid()), "POST", UNEXPOSE, outlet, 200, "");
        tear_down();
}

/* ---- metrics ---- */

static unsigned n_asked;
static const Network *made_up, *mute; /* who says what we want, and nothing */

int __real_network_get_stats(Network *n, NetstackStats *ret_stats, Counters *ret_counters);
int __wrap_network_get_stats(Network *n, NetstackStats *ret_stats, Counters *ret_counters);

int __wrap_network_get_stats(Network *n, NetstackStats *ret_stats, Counters *ret_counters) {
        int r = __real_network_get_stats(n, ret_stats, ret_counters);

        n_asked++;
        if (n == made_up) {
                ret_stats->udp_flows = 7;
                ret_stats->bypassed_bytes = UINT64_C(5000000000);
                ret_counters->drops[DROP_UDP_FILTERED] = 9;
        }
        return n == mute ? -ENOMEM : r;
}

static unsigned count(const char *text, const char *what) {
        unsigned n = 0;

        for (; (text = strstr(text, what)); text++)
                n++;
        return n;
}

/* However many families there are, a network's thread, and those of its shards, stop once for a scrape. */
static void test_metrics_ask_once(void) {
        NetworkOptions o = NETWORK_OPTIONS_INIT;
        HttpCaller host = host_caller(getuid());
        Error e = ERROR_INIT;
        HttpReply r;
        Network *n;

        set_up();
        o.subnet = "192.168.128.0/24";
        g_assert_cmpint(manager_create_network(manager, "other", getuid(), &o, &n, &e), ==, 0);
        n_asked = 0;
        http_api_answer(manager, &host, "GET", "/metrics", "", 0, &r);
        g_assert_cmpuint(r.status, ==, 200);
        g_assert_cmpuint(n_asked, ==, 2);
        g_assert_cmpuint(count(r.text, "\nvnetd_tcp_flows{network=\"net\"} 0\n"), ==, 1);
        g_assert_cmpuint(count(r.text, "\nvnetd_tcp_flows{network=\"other\"} 0\n"), ==, 1);
        g_assert_cmpuint(count(r.text, "\nvnetd_drops_total{network=\"other\","), ==, _DROP_MAX);
        g_assert_true(g_str_has_suffix(r.text, "# EOF\n"));
        free(r.text);

        made_up = n; /* each figure is of the network whose name it bears */
        http_api_answer(manager, &host, "GET", "/metrics", "", 0, &r);
        g_assert_cmpuint(count(r.text, "\nvnetd_udp_flows{network=\"net\"} 0\n"), ==, 1);
        g_assert_cmpuint(count(r.text, "\nvnetd_udp_flows{network=\"other\"} 7\n"), ==, 1);
        g_assert_cmpuint(count(r.text, "\nvnetd_bypassed_bytes_total{network=\"other\"} 5000000000\n"), ==, 1);
        g_assert_cmpuint(count(r.text, "reason=\"udp-filtered\"} 9\n"), ==, 1);
        g_assert_cmpuint(count(r.text, "{network=\"other\",reason=\"udp-filtered\"} 9\n"), ==, 1);
        free(r.text);

        mute = n; /* and of one that says nothing there is none */
        http_api_answer(manager, &host, "GET", "/metrics", "", 0, &r);
        g_assert_cmpuint(count(r.text, "\nvnetd_udp_flows{network=\"net\"} 0\n"), ==, 1);
        g_assert_cmpuint(count(r.text, "\nvnetd_udp_flows{network=\"other\"}"), ==, 0);
        free(r.text);
        made_up = mute = NULL;
        tear_down();
}

static void test_metrics_without_networks(void) {
        char *text;

        g_assert_cmpint(sd_event_new(&event), >=, 0);
        g_assert_cmpint(manager_new(&manager, &(ManagerConfig){ .user = false }, event), ==, 0);
        g_assert_cmpint(http_metrics_text(manager, &text), ==, 0);
        g_assert_cmpuint(count(text, "network="), ==, 0);
        g_assert_cmpuint(count(text, "# TYPE vnetd_tcp_flows gauge\n"), ==, 1);
        free(text);
        tear_down();
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/http-api/privileged-port", test_privileged_port);
        g_test_add_func("/http-api/host/forwards", test_host_forwards);
        g_test_add_func("/http-api/no-network", test_no_network);
        g_test_add_func("/http-api/guest/reads", test_guest_reads);
        g_test_add_func("/http-api/guest/forwards", test_guest_forwards);
        g_test_add_func("/http-api/guest/outlets", test_guest_outlets);
        g_test_add_func("/http-api/metrics/ask-once", test_metrics_ask_once);
        g_test_add_func("/http-api/metrics/without-networks", test_metrics_without_networks);
        return g_test_run();
}
