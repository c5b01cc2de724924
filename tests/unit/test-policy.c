/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules: what may be written, what they say again, and what they decide. */

#include <errno.h>
#include <glib.h>

#include "netstack/policy.h"

static void add(Policy *p, const char *text) {
        g_assert_cmpint(policy_rule_parse(text, &p->rules[p->n_rules]), ==, 0);
        p->n_rules++;
}

static bool allows(const Policy *p, uint8_t proto, const char *to) {
        Endpoint e = {};

        if (endpoint_parse(to, &e) < 0)
                g_assert_cmpint(ip_parse(to, &e.addr), ==, 0);
        return policy_allows(p, proto, &e);
}

static void test_parse(void) {
        static const char *const good[][2] = {
                { "deny any", "deny any" },
                { "allow  tcp\thost 8080", "allow tcp host 8080" },
                { "deny udp private 1-65535", "deny udp private 1-65535" },
                { "deny icmp 10.0.0.0/8", "deny icmp 10.0.0.0/8" },
                { "allow 10.1.2.3", "allow 10.1.2.3/32" },
                { "deny fd00::/8", "deny fd00::/8" },
                { "deny fd00::1", "deny fd00::1/128" },
                { "allow link-local", "allow 169.254.0.0/16" },
                { "allow any 443-443", "allow any 443" },
        };
        static const char *const bad[] = {
                "", "deny", "allow", "permit any", "deny any any", "deny tcp", "deny 10.0.0", "deny any 0", "deny any 65536", "deny any 20-10",
                "deny any 1-", "deny any -1", "deny icmp any 1", "deny sctp any", "deny tcp any 1 2", "deny 10.0.0.0/33", "DENY any",
        };
        PolicyRule r;

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
                char buf[POLICY_RULE_TEXT_MAX];

                g_assert_cmpint(policy_rule_parse(good[i][0], &r), ==, 0);
                g_assert_cmpstr(policy_rule_to_text(&r, buf), ==, good[i][1]);
                g_assert_cmpint(policy_rule_parse(buf, &r), ==, 0);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                if (policy_rule_parse(bad[i], &r) != -EINVAL)
                        g_error("'%s' is taken", bad[i]);
        g_autofree char *longest = g_strdup_printf("deny %*s", POLICY_RULE_TEXT_MAX - 6, "any"), *longer = g_strconcat(longest, " ", NULL);
        g_assert_cmpint(policy_rule_parse(longest, &r), ==, 0);
        g_assert_cmpint(policy_rule_parse(longer, &r), ==, -EINVAL);
}

static void test_decide(void) {
        Policy p = {};

        g_assert_true(allows(&p, IPPROTO_TCP, "192.0.2.1:80"));
        g_assert_true(allows(&p, IPPROTO_TCP, "127.0.0.1:80")); /* whether that is open at all is not for rules */
        g_assert_false(allows(&p, IPPROTO_TCP, "169.254.169.254:80"));

        add(&p, "allow tcp host 8080");
        add(&p, "deny host");
        add(&p, "allow 10.1.0.0/16");
        add(&p, "deny private");
        add(&p, "deny udp any 53");
        add(&p, "allow 0.0.0.0/0");
        g_assert_true(allows(&p, IPPROTO_TCP, "127.0.0.1:8080"));
        g_assert_false(allows(&p, IPPROTO_UDP, "127.0.0.1:8080"));
        g_assert_false(allows(&p, IPPROTO_TCP, "127.0.0.1:8081"));
        g_assert_false(allows(&p, IPPROTO_ICMP, "127.0.0.1"));
        g_assert_true(allows(&p, IPPROTO_TCP, "10.1.2.3:80"));
        static const char *const private[] = { "10.2.0.1:1", "172.16.0.1:1", "172.31.9.9:1", "192.168.0.1:1", "100.64.0.1:1", "[fc00::1]:1", "[fdff::1]:1" };
        for (size_t i = 0; i < G_N_ELEMENTS(private); i++)
                g_assert_false(allows(&p, IPPROTO_TCP, private[i]));
        static const char *const public[] = { "11.0.0.1:1", "172.32.0.1:1", "192.169.0.1:1", "100.128.0.1:1", "[2001:db8::1]:1" };
        for (size_t i = 0; i < G_N_ELEMENTS(public); i++)
                g_assert_true(allows(&p, IPPROTO_TCP, public[i]));
        g_assert_false(allows(&p, IPPROTO_UDP, "192.0.2.1:53"));
        g_assert_true(allows(&p, IPPROTO_TCP, "192.0.2.1:53"));
        g_assert_false(allows(&p, IPPROTO_TCP, "169.254.169.254:80")); /* neither any nor everything means it */
        p.rules[5].target = POLICY_ANY;
        g_assert_false(allows(&p, IPPROTO_TCP, "169.254.169.254:80"));
        add(&p, "allow tcp 169.254.169.254 80");
        g_assert_true(allows(&p, IPPROTO_TCP, "169.254.169.254:80"));
        g_assert_false(allows(&p, IPPROTO_TCP, "169.254.169.254:81"));
        g_assert_true(policy_rule_opens_link_local(&p.rules[6]));
        g_assert_false(policy_rule_opens_link_local(&p.rules[5]));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/policy/parse", test_parse);
        g_test_add_func("/policy/decide", test_decide);
        return g_test_run();
}
