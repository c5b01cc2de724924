/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * As much of DNS messages (RFC 1035 4) as relaying needs: the header, the one question, and answers that are nothing but an error. Records
 * are none of its business.
 */

#include "basic/iovcur.h"

#define DNS_HEADER_LEN 12
#define DNS_NAME_MAX 255 /* bytes on the wire, the root's zero included */
#define DNS_ERROR_LEN_MAX (DNS_HEADER_LEN + DNS_NAME_MAX + 4)

/* Header flags, host byte order */
#define DNS_FLAG_QR 0x8000
#define DNS_FLAG_OPCODE 0x7800
#define DNS_FLAG_RD 0x0100
#define DNS_FLAG_RA 0x0080
#define DNS_FLAG_CD 0x0010
#define DNS_FLAG_RCODE 0x000f

typedef enum DnsRcode {
        DNS_RCODE_OK = 0,
        DNS_RCODE_FORMERR = 1,
        DNS_RCODE_SERVFAIL = 2,
        DNS_RCODE_NOTIMP = 4,
        DNS_RCODE_REFUSED = 5,
} DnsRcode;

#define DNS_TYPE_IXFR 251
#define DNS_TYPE_AXFR 252
#define DNS_CLASS_IN 1
#define DNS_CLASS_ANY 255

typedef struct DnsHeader {
        uint16_t id, flags, n_questions, n_answers, n_authority, n_additional;
} DnsHeader;

typedef struct DnsQuestion {
        uint16_t type, class;
        uint8_t name_len;
        uint8_t name[DNS_NAME_MAX]; /* labels as they came; compare with dns_name_equal() */
} DnsQuestion;

/**
 * dns_query_read() - read the header and the question of a client's query
 * @ret_question:       name_len 0 when there is none to repeat
 *
 * Return: DNS_RCODE_OK; another DnsRcode to answer with; -EBADMSG for what must not be answered at all (no header, or an answer: two
 * servers answering each other's answers never end).
 */
int dns_query_read(const uint8_t *msg, size_t len, DnsHeader *ret_header, DnsQuestion *ret_question);

/* Is it the answer to the query with @id and @question? One without a question passes when it says nothing but an error. */
bool dns_reply_matches(const uint8_t *msg, size_t len, uint16_t id, const DnsQuestion *question);

/* Writes an answer that only carries @rcode and, where there is one, the question. Returns its length. */
size_t dns_error_build(uint8_t ret[static DNS_ERROR_LEN_MAX], const DnsHeader *query, const DnsQuestion *question, DnsRcode rcode);

/* The id is the first two bytes. @msg holds at least DNS_HEADER_LEN. */
void dns_id_set(uint8_t *msg, uint16_t id);
uint16_t dns_id_get(const uint8_t *msg);

/* Names as on the wire, without compression; letters compare without case (RFC 4343). */
bool dns_name_equal(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len);

/* Writes @text ("a.b" or "a.b.") as on the wire. Its length; 0 when it is no name or longer than @size. */
size_t dns_name_from_text(const char *text, uint8_t *ret, size_t size);
