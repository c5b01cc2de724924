/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Zones the administrator has put up: records by name or by regular expression, and an address for all other names. Answers are built
 * by dns-local.c; here is only which records a name has. Not changed once made: a zone is set anew as a whole.
 */

#include "basic/addr.h"
#include "basic/cleanup.h"
#include "netstack/dns-message.h"

#define DNS_ZONES_MAX 64
#define DNS_ZONE_RECORDS_MAX 1024
#define DNS_ZONE_MATCHES_MAX 64  /* records of one name in an answer */
#define DNS_PATTERN_MAX 128      /* bytes of a regular expression */
#define DNS_PATTERN_REPEATS 256  /* what its {m,n}, and + behind groups, multiply to: a compiled expression is as long as that */
#define DNS_VALUE_MAX 1024       /* bytes of a record's value */
#define DNS_ZONE_TTL_SEC 10      /* where the zone does not say; it may be changed at any time */
#define DNS_ZONE_TTL_MAX_SEC (7 * 24 * 3600)

/* As people write it. @name is relative to the zone: "www", "" or "@" for the zone itself, or "/PATTERN/": a POSIX extended regular
 * expression for the part of the name before the zone, unanchored, without case. @type: A, AAAA, CNAME, MX, TXT or SRV. @value as in a
 * zone file ("10 mail"), names in it relative to the zone when they do not end in a dot; TXT is the text itself. */
typedef struct DnsRecordSpec {
        char *name, *type, *value; /* (owned) */
} DnsRecordSpec;

typedef struct DnsZoneSpec {
        char *name;            /* (owned) */
        char *default_address; /* (owned, nullable) for names below the zone that have no record */
        uint32_t ttl;          /* seconds; 0: DNS_ZONE_TTL_SEC */
        bool loose;            /* as gvproxy's zones are: only the first record of a name counts, and the zone's own name is asked elsewhere */
        DnsRecordSpec *records; /* (owned) */
        size_t n_records;
} DnsZoneSpec;

void dns_zone_spec_deinit(DnsZoneSpec *spec);
int dns_zone_spec_copy(DnsZoneSpec *dst, const DnsZoneSpec *src); /* 0 or -ENOMEM */
int dns_zone_spec_add(DnsZoneSpec *spec, const char *name, const char *type, const char *value); /* at the end; 0, -ENOMEM, -E2BIG */

typedef struct DnsZone DnsZone;
struct ldns_struct_rr; /* of ldns, whose header redefines bool for whoever includes it */

/**
 * dns_zone_new() - make a zone of what is written
 * @ret_what:   (nullable) static text: what is wrong
 * @ret_record: (nullable) the record it is wrong with; SIZE_MAX: the zone itself
 *
 * Return: 0; -EINVAL and @ret_what; -E2BIG: too many records; -ENOMEM.
 */
int dns_zone_new(DnsZone **ret, const DnsZoneSpec *spec, const char **ret_what, size_t *ret_record);
DnsZone *dns_zone_free(DnsZone *z); /* returns NULL */
DEFINE_CLEANUP(DnsZone *, dns_zone_free);

const uint8_t *dns_zone_name(const DnsZone *z, size_t *ret_len); /* as on the wire */
bool dns_zone_is_loose(const DnsZone *z);
uint32_t dns_zone_ttl(const DnsZone *z);

/* Where in @name the zone's own name begins; -ENOENT when it does not end in it. */
int dns_zone_covers(const DnsZone *z, const uint8_t *name, size_t len);

typedef struct DnsZoneMatch {
        const struct ldns_struct_rr *records[DNS_ZONE_MATCHES_MAX]; /* (borrowed) type and data are right, owner and TTL not */
        size_t n;
        bool exists;   /* has records, or names below it have */
        IpAddr fallback; /* the default address; null: none */
} DnsZoneMatch;

/* What the zone has for @name, where it begins at @at as dns_zone_covers() says. */
void dns_zone_match(DnsZone *z, const uint8_t *name, size_t at, DnsZoneMatch *ret);
