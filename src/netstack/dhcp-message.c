/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DHCP messages: a reader that believes no length, a writer that never outgrows its buffer. Options may be spread over the
 * options, file and sname fields (option 52) and over several pieces (RFC 3396); they are put together in that order. Never allocates,
 * never answers, knows no leases.
 */

#include "netstack/dhcp-message.h"

#define BOOTREQUEST 1
#define BOOTREPLY 2
#define HTYPE_ETHERNET 1
#define OVERLOAD_FILE 1
#define OVERLOAD_SNAME 2
#define FQDN_HEADER_LEN 3 /* flags and the two obsolete rcodes */

static const uint8_t dhcp_cookie[4] = { 99, 130, 83, 99 };

typedef struct __attribute__((packed)) DhcpHeader {
        uint8_t op, htype, hlen, hops;
        uint32_t xid;
        uint16_t secs, flags;
        uint32_t ciaddr, yiaddr, siaddr, giaddr;
        uint8_t chaddr[16];
        uint8_t sname[64];
        uint8_t file[128];
        uint8_t cookie[4];
} DhcpHeader;

_Static_assert(sizeof(DhcpHeader) == 240, "RFC 2131 2");
_Static_assert(offsetof(DhcpHeader, sname) == sizeof(((DhcpRequest *) NULL)->header), "the part that replies repeat");

/* Where the pieces of one option come together. */
typedef struct Slot {
        uint8_t code;
        bool present;
        uint16_t max, len;
        uint8_t *data;
} Slot;

typedef enum SlotId {
        SLOT_TYPE,
        SLOT_OVERLOAD,
        SLOT_REQUESTED,
        SLOT_SERVER,
        SLOT_LEASE,
        SLOT_MAX_SIZE,
        SLOT_RAPID,
        SLOT_PARAMETERS,
        SLOT_CLIENT_ID,
        SLOT_HOSTNAME,
        SLOT_FQDN,
        _SLOT_MAX,
} SlotId;

/* One option's value; what does not concern us is stepped over. False when it is longer than it may be. */
static bool slot_append(Slot *slots, uint8_t code, IovCur *area, uint8_t len) {
        for (size_t i = 0; i < _SLOT_MAX; i++) {
                Slot *slot = &slots[i];

                if (slot->code != code)
                        continue;
                if (len > slot->max - slot->len || !iovcur_copy(area, slot->data + slot->len, len))
                        return false;
                slot->len += len;
                slot->present = true;
                return true;
        }
        return iovcur_skip(area, len);
}

/* The options of one field, up to its end mark or its end. */
static bool options_read(Slot *slots, IovCur area) {
        uint8_t code, len;

        while (iovcur_u8(&area, &code)) {
                if (code == DHCP_OPTION_PAD)
                        continue;
                if (code == DHCP_OPTION_END)
                        break;
                if (!iovcur_u8(&area, &len) || !slot_append(slots, code, &area, len))
                        return false;
        }
        return true;
}

/* All fields that hold options: the options field says whether file and sname do (RFC 2131 4.1). */
static bool options_read_all(Slot *slots, const DhcpHeader *h, IovCur options) {
        struct iovec store;
        uint8_t overload;

        if (!options_read(slots, options))
                return false;
        if (!slots[SLOT_OVERLOAD].present)
                return true;

        if (slots[SLOT_OVERLOAD].len != 1)
                return false;
        overload = slots[SLOT_OVERLOAD].data[0];
        if (overload < OVERLOAD_FILE || overload > (OVERLOAD_FILE | OVERLOAD_SNAME))
                return false;

        if ((overload & OVERLOAD_FILE) && !options_read(slots, iovcur_from_buf(&store, h->file, sizeof(h->file))))
                return false;
        if ((overload & OVERLOAD_SNAME) && !options_read(slots, iovcur_from_buf(&store, h->sname, sizeof(h->sname))))
                return false;
        /* An overload option inside an overloaded field would have made the slot longer: a lie. */
        return slots[SLOT_OVERLOAD].len == 1;
}

/* Four bytes of an address; null for 0.0.0.0, which says "none" everywhere in DHCP. */
static IpAddr address_read(const void *p) {
        uint32_t be;

        memcpy(&be, p, sizeof(be));
        return be == 0 ? (IpAddr){} : ip_from_v4(be);
}

/* The options with fixed lengths: each is absent or exactly as long as it must be. */
static bool fixed_options_take(DhcpRequest *q, const Slot *slots) {
        for (size_t i = SLOT_TYPE; i <= SLOT_RAPID; i++)
                if (slots[i].present && slots[i].len != slots[i].max)
                        return false;

        if (!slots[SLOT_TYPE].present)
                return false;
        q->type = slots[SLOT_TYPE].data[0];
        if (q->type < DHCP_DISCOVER || q->type >= _DHCP_TYPE_MAX)
                return false;

        q->requested = address_read(slots[SLOT_REQUESTED].data);
        q->server = address_read(slots[SLOT_SERVER].data);
        q->rapid_commit = slots[SLOT_RAPID].present;

        uint32_t lease;
        memcpy(&lease, slots[SLOT_LEASE].data, sizeof(lease));
        q->lease_sec = ntohl(lease);

        uint16_t size;
        memcpy(&size, slots[SLOT_MAX_SIZE].data, sizeof(size));
        q->max_size = CLAMP(ntohs(size), DHCP_SIZE_MIN, DHCP_SIZE_MAX); /* absent: the least */
        return true;
}

bool dhcp_request_parse(DhcpRequest *ret, IovCur *payload) {
        struct {
                uint8_t type[1], overload[1], requested[4], server[4], lease[4], max_size[2], rapid[1];
        } fixed = {};
        Slot slots[] = {
                [SLOT_TYPE] = { DHCP_OPTION_TYPE, .max = 1, .data = fixed.type },
                [SLOT_OVERLOAD] = { DHCP_OPTION_OVERLOAD, .max = 1, .data = fixed.overload },
                [SLOT_REQUESTED] = { DHCP_OPTION_REQUESTED, .max = 4, .data = fixed.requested },
                [SLOT_SERVER] = { DHCP_OPTION_SERVER, .max = 4, .data = fixed.server },
                [SLOT_LEASE] = { DHCP_OPTION_LEASE, .max = 4, .data = fixed.lease },
                [SLOT_MAX_SIZE] = { DHCP_OPTION_MAX_SIZE, .max = 2, .data = fixed.max_size },
                [SLOT_RAPID] = { DHCP_OPTION_RAPID_COMMIT, .max = 0, .data = fixed.rapid },
                [SLOT_PARAMETERS] = { DHCP_OPTION_PARAMETERS, .max = DHCP_OPTION_BYTES_MAX, .data = ret->parameters.data },
                [SLOT_CLIENT_ID] = { DHCP_OPTION_CLIENT_ID, .max = DHCP_OPTION_BYTES_MAX, .data = ret->client_id.data },
                [SLOT_HOSTNAME] = { DHCP_OPTION_HOSTNAME, .max = DHCP_OPTION_BYTES_MAX, .data = ret->hostname.data },
                [SLOT_FQDN] = { DHCP_OPTION_FQDN, .max = DHCP_OPTION_BYTES_MAX, .data = ret->fqdn.data },
        };
        DhcpHeader store;
        const DhcpHeader *h = IOVCUR_PULL(payload, &store);

        if (!h || h->op != BOOTREQUEST || h->htype != HTYPE_ETHERNET || h->hlen != sizeof(MacAddr) ||
            memcmp(h->cookie, dhcp_cookie, sizeof(dhcp_cookie)) != 0)
                return false;
        if (!options_read_all(slots, h, *payload) || !fixed_options_take(ret, slots))
                return false;

        memcpy(ret->header, h, sizeof(ret->header));
        memcpy(&ret->chaddr, h->chaddr, sizeof(ret->chaddr));
        ret->flags = ntohs(h->flags);
        ret->ciaddr = address_read(&h->ciaddr);
        ret->giaddr = address_read(&h->giaddr);
        ret->parameters.len = slots[SLOT_PARAMETERS].len;
        ret->client_id.len = slots[SLOT_CLIENT_ID].len;
        ret->hostname.len = slots[SLOT_HOSTNAME].len;
        ret->fqdn.len = slots[SLOT_FQDN].len;
        return !mac_is_multicast(&ret->chaddr) && !mac_is_zero(&ret->chaddr);
}

static bool is_label_char(uint8_t c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void dhcp_clean_label(const uint8_t *p, size_t n, char ret[static DHCP_LABEL_MAX + 1]) {
        size_t len = 0;

        for (size_t i = 0; i < n && len < DHCP_LABEL_MAX && p[i] != '.' && p[i] != 0; i++) {
                if (is_label_char(p[i]))
                        ret[len++] = p[i];
                else if (len > 0) /* everything else becomes a hyphen, but not the first */
                        ret[len++] = '-';
        }
        while (len > 0 && ret[len - 1] == '-')
                len--;
        ret[len] = 0;
}

void dhcp_request_label(const DhcpRequest *q, char ret[static DHCP_LABEL_MAX + 1]) {
        const uint8_t *p = q->hostname.data;
        size_t n = q->hostname.len;

        if (q->fqdn.len > FQDN_HEADER_LEN) {
                p = q->fqdn.data + FQDN_HEADER_LEN;
                n = q->fqdn.len - FQDN_HEADER_LEN;
                if (q->fqdn.data[0] & DHCP_FQDN_E) { /* wire format: the first byte is the label's length */
                        n = MIN((size_t) p[0], n - 1);
                        p++;
                }
        }
        dhcp_clean_label(p, n, ret);
}

void dhcp_reply_begin(DhcpReply *r, const DhcpRequest *q, DhcpType type, const IpAddr *yiaddr, size_t size) {
        DhcpHeader h = {};

        memcpy(&h, q->header, sizeof(q->header)); /* htype, hlen, xid, flags, giaddr and chaddr are the client's */
        h.op = BOOTREPLY;
        h.hops = 0;
        h.secs = 0;
        h.siaddr = 0;
        h.yiaddr = ip_is_null(yiaddr) ? 0 : ip_v4(yiaddr);
        /* RFC 2131 table 3: ciaddr is repeated in an ACK alone. */
        if (type != DHCP_ACK)
                h.ciaddr = 0;
        memcpy(h.cookie, dhcp_cookie, sizeof(h.cookie));

        memcpy(r->buf, &h, sizeof(h));
        r->len = sizeof(h);
        r->max = CLAMP(size, (size_t) DHCP_SIZE_MIN, (size_t) DHCP_SIZE_MAX) - DHCP_IP_UDP_LEN;
        (void) dhcp_reply_put(r, DHCP_OPTION_TYPE, &(uint8_t){ type }, 1);
}

bool dhcp_reply_put(DhcpReply *r, uint8_t code, const void *data, size_t len) {
        size_t n_pieces = len == 0 ? 1 : DIV_ROUND_UP(len, (size_t) UINT8_MAX);
        const uint8_t *p = data;

        /* One byte stays free for the end mark. */
        if (len > r->max || r->len + 2 * n_pieces + len + 1 > r->max)
                return false;

        do {
                size_t n = MIN(len, (size_t) UINT8_MAX);

                r->buf[r->len++] = code;
                r->buf[r->len++] = n;
                if (n > 0) { /* @data may be NULL */
                        memcpy(r->buf + r->len, p, n);
                        p += n;
                }
                r->len += n;
                len -= n;
        } while (len > 0);
        return true;
}

bool dhcp_reply_put_u16(DhcpReply *r, uint8_t code, uint16_t v) {
        uint16_t be = htons(v);

        return dhcp_reply_put(r, code, &be, sizeof(be));
}

bool dhcp_reply_put_u32(DhcpReply *r, uint8_t code, uint32_t v) {
        uint32_t be = htonl(v);

        return dhcp_reply_put(r, code, &be, sizeof(be));
}

bool dhcp_reply_put_ip(DhcpReply *r, uint8_t code, const IpAddr *a) {
        uint32_t be = ip_v4(a);

        return dhcp_reply_put(r, code, &be, sizeof(be));
}

size_t dhcp_reply_finish(DhcpReply *r) {
        r->buf[r->len++] = DHCP_OPTION_END;
        if (r->len < DHCP_REPLY_MIN) {
                memset(r->buf + r->len, DHCP_OPTION_PAD, DHCP_REPLY_MIN - r->len);
                r->len = DHCP_REPLY_MIN;
        }
        return r->len;
}
