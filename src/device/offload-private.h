/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* Where the headers of a TCP or UDP packet lie in its frame: what cutting and joining share. */

#include "device/offload.h"

#define OFFLOAD_HEAD_MAX 256    /* bytes of headers of a frame that is cut or joined: Ethernet, a tag, IP with extensions, TCP */
#define OFFLOAD_GSO_SIZE_MIN 8  /* TCP payload; Linux sends no less: its TCP_MIN_SND_MSS of 48 less 40 of options */
#define OFFLOAD_EXT_HEADERS_MAX 8

#define TCP_FLAGS_AT 13 /* offsets into the TCP header */
#define TCP_CHECK_AT 16
#define UDP_CHECK_AT 6
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define TCP_ECE 0x40
#define TCP_CWR 0x80

typedef struct OffloadLayout {
        bool v6;
        uint8_t proto;        /* IPPROTO_TCP or IPPROTO_UDP */
        uint16_t l3, l4;      /* offsets into the frame */
        uint16_t payload;     /* at most OFFLOAD_HEAD_MAX */
        uint32_t end;         /* where the IP packet says it ends; at most the frame's length, at least @payload */
} OffloadLayout;

/* Finds the headers of an unfragmented TCP or UDP packet, behind one VLAN tag at most. False when it is anything else, when
 * lengths lie, or when the headers exceed OFFLOAD_HEAD_MAX. */
bool offload_layout_read(const Frame *f, OffloadLayout *ret);

/* Partial sum of the pseudo-header for @l4_len bytes, from the IP header at @l3 in @head. */
uint32_t offload_pseudo_sum(const OffloadLayout *l, const uint8_t *head, uint32_t l4_len);

/* Writes the length of an IP packet that ends at @end of its frame, and the IPv4 checksum, into the header at @l3 in @head. */
void offload_set_ip_len(const OffloadLayout *l, uint8_t *head, uint32_t end);

static inline uint16_t get_be16(const void *p) {
        uint16_t v;

        memcpy(&v, p, sizeof(v));
        return be16toh(v);
}
static inline uint32_t get_be32(const void *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return be32toh(v);
}
static inline void put_be16(void *p, uint16_t value) {
        uint16_t v = htobe16(value);

        memcpy(p, &v, sizeof(v));
}
static inline void put_be32(void *p, uint32_t value) {
        uint32_t v = htobe32(value);

        memcpy(p, &v, sizeof(v));
}
