/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A small cache of what resolvers answered: whole messages, kept no longer than their records say, handed out with the time they have
 * left. Never serves what is stale, never keeps an answer that was cut or is an error, nor one to a query that asks for something special.
 */

#include "basic/cleanup.h"
#include "netstack/dns-message.h"

#define DNS_CACHE_ENTRIES_MAX 1024
#define DNS_CACHE_MESSAGE_MAX 2048 /* bytes of an answer that is kept: 2 MiB in all at most */
#define DNS_CACHE_RECORDS_MAX 48
#define DNS_CACHE_TTL_MAX_SEC 3600
#define DNS_CACHE_NEGATIVE_MAX_SEC 300 /* names that were not there may come to be */

typedef struct DnsCache DnsCache;

int dns_cache_new(DnsCache **ret, uint64_t seed);
DnsCache *dns_cache_free(DnsCache *c);
DEFINE_CLEANUP(DnsCache *, dns_cache_free);
void dns_cache_flush(DnsCache *c);

/* @query: the whole query, whose question is @q; @reply its answer. Keeps it where that is right; out of memory keeps nothing. */
void dns_cache_put(DnsCache *c, const DnsQuestion *q, const uint8_t *query, size_t query_len, const uint8_t *reply, size_t len, usec_t now);

/**
 * dns_cache_get() - answer a query from the cache
 * @room:       bytes the client takes without EDNS; one with EDNS says itself
 * @ret:        the answer under the query's id and with its spelling of the name, to be freed
 *
 * Return: whether there was one that fits.
 */
bool dns_cache_get(DnsCache *c, const DnsQuestion *q, const uint8_t *query, size_t query_len, size_t room, usec_t now, uint8_t **ret,
                   size_t *ret_len);
