/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cache of DNS: queries and answers of any bytes put in and asked for, with time going on. What comes out is an answer under the query's
 * id that fits its room, and never one that was not put in, or is older than its TTL may be.
 *
 *   records:  what (low two bits), seconds that pass, length of the query (16 bits), length of the answer (16), query, answer
 */

#include "basic/parse.h"
#include "fuzz.h"
#include "netstack/dns-cache.h"

#define RECORDS_MAX 64

enum {
        RECORD_PUT,
        RECORD_PUT_TURNED, /* the query as its own answer, QR set, with the answer's bytes behind the question */
        RECORD_GET,
        RECORD_FLUSH,
};

static void get(DnsCache *c, const DnsQuestion *q, const uint8_t *query, size_t len, usec_t now, unsigned n_put) {
        _cleanup_free_ uint8_t *answer = NULL;
        size_t room = 512, n = 0;

        if (!dns_cache_get(c, q, query, len, room, now, &answer, &n))
                return;
        fuzz_check(n_put > 0);
        fuzz_check(answer && n >= DNS_HEADER_LEN && n <= DNS_CACHE_MESSAGE_MAX);
        fuzz_check(answer[0] == query[0] && answer[1] == query[1] && (answer[2] & 0x80));
        fuzz_check(dns_reply_matches(answer, n, dns_id_get(query), q));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(dns_cache_freep) DnsCache *c = NULL;
        usec_t now = USEC_PER_SEC;
        unsigned n_put = 0;

        if (dns_cache_new(&c, 7) < 0)
                abort();
        for (unsigned i = 0; i < RECORDS_MAX && size >= 6; i++) {
                size_t query_len = MIN((size_t) (data[2] << 8 | data[3]), size - 6), len = MIN((size_t) (data[4] << 8 | data[5]), size - 6 - query_len);
                _cleanup_free_ uint8_t *query = malloc(query_len + 1), *reply = malloc(query_len + len + 1);
                unsigned what = data[0] & 3;
                DnsQuestion q;
                DnsHeader h;

                if (!query || !reply)
                        abort();
                memcpy(query, data + 6, query_len);
                now += data[1] * USEC_PER_SEC;
                if (what == RECORD_FLUSH) {
                        dns_cache_flush(c);
                        n_put = 0;
                } else if (dns_query_read(query, query_len, &h, &q) == DNS_RCODE_OK) {
                        size_t n = 0;

                        if (what == RECORD_PUT_TURNED) {
                                memcpy(reply, query, query_len);
                                reply[2] |= 0x80;
                                n = query_len;
                                if (len > 0) /* so many records of the answer */
                                        reply[7] = data[6 + query_len] & 7;
                        }
                        memcpy(reply + n, data + 6 + query_len, len);
                        if (what == RECORD_GET)
                                get(c, &q, query, query_len, now, n_put);
                        else if (dns_reply_matches(reply, n + len, dns_id_get(query), &q)) { /* as dns.c has seen to */
                                dns_cache_put(c, &q, query, query_len, reply, n + len, now);
                                n_put++;
                                get(c, &q, query, query_len, now, n_put);
                        }
                }
                data += 6 + query_len + len;
                size -= 6 + query_len + len;
        }
        return 0;
}
