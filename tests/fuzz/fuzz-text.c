/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parsers of addresses, numbers and names: any text. What is taken prints, and what is printed is taken again as the
 * same; what is refused leaves the result alone.
 */

#include <inttypes.h>
#include <string.h>

#include "basic/addr.h"
#include "basic/cleanup.h"
#include "basic/parse.h"
#include "fuzz.h"

static void check_addresses(const char *text) {
        MacAddr mac = { { 1, 2, 3, 4, 5, 6 } }, mac_again;
        IpAddr ip = { .w = { 1, 2, 3, 4 } }, ip_again;
        IpPrefix prefix, prefix_again;
        Endpoint endpoint, endpoint_again;

        if (mac_parse(text, &mac) == 0)
                fuzz_check(mac_parse(MAC_TO_TEXT(&mac), &mac_again) == 0 && mac_equal(&mac, &mac_again));
        else
                fuzz_check(mac.b[0] == 1 && mac.b[5] == 6);

        if (ip_parse(text, &ip) == 0) {
                fuzz_check(ip_parse(IP_TO_TEXT(&ip), &ip_again) == 0 && ip_equal(&ip, &ip_again));
                fuzz_check(ip_classify(&ip) < _IP_CLASS_MAX);
        } else
                fuzz_check(ip.w[0] == 1 && ip.w[3] == 4);

        if (prefix_parse(text, &prefix) == 0) {
                IpAddr first = prefix_nth(&prefix, 0);

                fuzz_check(prefix.len <= (ip_is_v4(&prefix.addr) ? 32 : 128));
                fuzz_check(prefix_parse(PREFIX_TO_TEXT(&prefix), &prefix_again) == 0);
                fuzz_check(prefix.len == prefix_again.len && ip_equal(&prefix.addr, &prefix_again.addr));
                fuzz_check(prefix_contains(&prefix, &prefix.addr));
                fuzz_check(prefix_contains(&prefix, &first));
                if (ip_is_v4(&prefix.addr)) {
                        IpAddr last = prefix_broadcast(&prefix);

                        fuzz_check(prefix_contains(&prefix, &last));
                }
        }

        if (endpoint_parse(text, &endpoint) == 0) {
                fuzz_check(endpoint.port > 0);
                fuzz_check(endpoint_parse(ENDPOINT_TO_TEXT(&endpoint), &endpoint_again) == 0);
                fuzz_check(endpoint_equal(&endpoint, &endpoint_again));
        }
}

static void check_numbers(const char *text) {
        uint64_t v = 0, again;
        uint16_t port = 0;
        uint32_t v32;
        usec_t usec = 0;
        pid_t pid = 0;

        if (parse_u64(text, 1, UINT64_MAX, &v) == 0) {
                char buf[24];

                (void) snprintf(buf, sizeof(buf), "%" PRIu64, v);
                fuzz_check(v >= 1 && parse_u64(buf, v, v, &again) == 0 && again == v);
                fuzz_check((parse_u32(text, 0, UINT32_MAX, &v32) == 0) == (v <= UINT32_MAX));
        } else
                fuzz_check(v == 0);

        fuzz_check((parse_port(text, &port) == 0) == (port > 0));
        fuzz_check((parse_pid(text, &pid) == 0) == (pid > 0));
        fuzz_check(parse_usec(text, &usec) < 0 || usec != USEC_INFINITY);
        (void) parse_size(text, &v);
}

static void check_names(const char *text) {
        size_t len = strlen(text);

        fuzz_check(!name_is_valid(text) || (len >= 1 && len <= NAME_MAX_LEN && !strpbrk(text, "/ %:\n")));
        fuzz_check(!ifname_is_valid(text) || (len >= 1 && len <= 15 && !strpbrk(text, "/ %:\n")));
        fuzz_check(!dns_name_is_valid(text) || (len >= 1 && len <= 254 && !strstr(text, "..")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup(size > 0 ? (const char *) data : "", size);

        fuzz_check(text);
        check_addresses(text);
        check_numbers(text);
        check_names(text);
        return 0;
}
