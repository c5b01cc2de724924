/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DNS headers and questions through the bounded cursor. Follows no compression pointer: a question has nothing before it to point
 * at. Never allocates.
 */

#include <errno.h>

#include "netstack/dns-message.h"

#define LABEL_LEN_MAX 63

static bool header_read(IovCur *cur, DnsHeader *ret) {
        return iovcur_be16(cur, &ret->id) && iovcur_be16(cur, &ret->flags) && iovcur_be16(cur, &ret->n_questions) &&
               iovcur_be16(cur, &ret->n_answers) && iovcur_be16(cur, &ret->n_authority) &&
               iovcur_be16(cur, &ret->n_additional);
}

static bool question_read(IovCur *cur, DnsQuestion *ret) {
        size_t len = 0;
        uint8_t label;

        do {
                /* A label's length, its bytes and the root behind them must fit. */
                if (!iovcur_u8(cur, &label) || label > LABEL_LEN_MAX || len + 1 + label + (label > 0) > DNS_NAME_MAX)
                        return false;
                ret->name[len++] = label;
                if (!iovcur_copy(cur, ret->name + len, label))
                        return false;
                len += label;
        } while (label > 0);

        if (!iovcur_be16(cur, &ret->type) || !iovcur_be16(cur, &ret->class))
                return false;
        ret->name_len = len;
        return true;
}

int dns_query_read(const uint8_t *msg, size_t len, DnsHeader *ret_header, DnsQuestion *ret_question) {
        struct iovec store;
        IovCur cur = iovcur_from_buf(&store, msg, len);

        ret_question->name_len = 0;
        if (!header_read(&cur, ret_header) || (ret_header->flags & DNS_FLAG_QR))
                return -EBADMSG;

        if (ret_header->flags & DNS_FLAG_OPCODE)
                return DNS_RCODE_NOTIMP;
        if (ret_header->n_questions != 1 || !question_read(&cur, ret_question))
                return DNS_RCODE_FORMERR;
        if (ret_question->type == DNS_TYPE_AXFR || ret_question->type == DNS_TYPE_IXFR)
                return DNS_RCODE_REFUSED; /* many messages for one query; and no resolver of a host serves zones */
        return DNS_RCODE_OK;
}

bool dns_reply_matches(const uint8_t *msg, size_t len, uint16_t id, const DnsQuestion *question) {
        struct iovec store;
        IovCur cur = iovcur_from_buf(&store, msg, len);
        DnsHeader h;
        DnsQuestion q;

        if (!header_read(&cur, &h) || h.id != id || !(h.flags & DNS_FLAG_QR) || (h.flags & DNS_FLAG_OPCODE))
                return false;
        if (h.n_questions == 0)
                return (h.flags & DNS_FLAG_RCODE) != DNS_RCODE_OK && h.n_answers == 0;
        return h.n_questions == 1 && question_read(&cur, &q) && q.type == question->type && q.class == question->class &&
               dns_name_equal(q.name, q.name_len, question->name, question->name_len);
}

static uint8_t *put_be16(uint8_t *p, uint16_t v) {
        p[0] = v >> 8;
        p[1] = v;
        return p + 2;
}

size_t dns_error_build(uint8_t ret[static DNS_ERROR_LEN_MAX], const DnsHeader *query, const DnsQuestion *question, DnsRcode rcode) {
        bool has_question = question->name_len > 0;
        uint8_t *p = ret;

        p = put_be16(p, query->id);
        p = put_be16(p, DNS_FLAG_QR | DNS_FLAG_RA | (query->flags & (DNS_FLAG_OPCODE | DNS_FLAG_RD | DNS_FLAG_CD)) | rcode);
        p = put_be16(p, has_question);
        p = put_be16(p, 0);
        p = put_be16(p, 0);
        p = put_be16(p, 0);
        if (has_question) {
                memcpy(p, question->name, question->name_len);
                p = put_be16(p + question->name_len, question->type);
                p = put_be16(p, question->class);
        }
        return p - ret;
}

void dns_id_set(uint8_t *msg, uint16_t id) {
        (void) put_be16(msg, id);
}

uint16_t dns_id_get(const uint8_t *msg) {
        return msg[0] << 8 | msg[1];
}

static uint8_t lower(uint8_t c) {
        return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

bool dns_name_equal(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len) {
        if (a_len != b_len)
                return false;

        /* Lengths of labels are at most 63 and so no letters: comparing all bytes alike is right. */
        for (size_t i = 0; i < a_len; i++)
                if (lower(a[i]) != lower(b[i]))
                        return false;
        return true;
}

size_t dns_name_from_text(const char *text, uint8_t *ret, size_t size) {
        size_t len = 0;

        for (;;) {
                size_t n = strcspn(text, ".");

                if (n == 0 || n > LABEL_LEN_MAX || len + 1 + n + 1 > size)
                        return 0;
                ret[len++] = n;
                memcpy(ret + len, text, n);
                len += n;
                text += n;
                if (*text == '.')
                        text++;
                if (*text == 0)
                        break;
        }
        ret[len++] = 0;
        return len;
}
