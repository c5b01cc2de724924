/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * RecordRing: records of any length from one thread to one other, in order, in memory of a fixed size, with no lock. Neither side ever
 * waits: a full ring refuses, and who writes counts what it had to leave out.
 *
 * Records lie in one piece, 8-byte aligned. When one does not fit before the end of the memory, a mark sends the reader to the start.
 */

#include "basic/cleanup.h"
#include "basic/macro.h"

typedef struct RecordRing RecordRing;

/* @size: a power of two, at least 4096. A record takes its length rounded up to 8, and 8 bytes more. NULL: no memory. */
RecordRing *record_ring_new(size_t size);
RecordRing *record_ring_free(RecordRing *r); /* when neither thread is inside; returns NULL */
DEFINE_CLEANUP(RecordRing *, record_ring_free);

/* ---- the writing thread ---- */
/* Room for one record of at most @len bytes, or NULL. Reserving again takes it back. */
void *record_ring_reserve(RecordRing *r, size_t len);
void record_ring_commit(RecordRing *r, size_t len); /* the reader may see @len bytes (at most those reserved) now */

/* ---- the reading thread ---- */
const void *record_ring_peek(RecordRing *r, size_t *ret_len); /* the oldest record, or NULL; stays until released */
void record_ring_release(RecordRing *r);                      /* the one peeked */

bool record_ring_is_empty(const RecordRing *r); /* either thread */
