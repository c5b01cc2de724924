/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Capture: what passes a device, written as a pcap file with nanoseconds (libpcap) to a file, pipe or stream socket of whoever asked.
 *
 * The thread that drives the device runs the filter and copies what it lets through into a ring of fixed size; it never waits. A thread
 * of the capture's own compiles the filter (names in one are looked up, which may take long) and writes the file (which may take for
 * ever). A reader who is too slow costs frames, which are counted, and nothing else.
 *
 *     new (control) -> ready() -> watch_add() of capture_watch() ... -> capture_stop(), or the file's end -> ended() -> free
 */

#include "device/watch.h"

#define CAPTURE_SNAPLEN_MAX 262144 /* what libpcap reads; more than any frame but the longest super-segments */
#define CAPTURE_FILTER_MAX 1024    /* bytes of a filter */

typedef struct Capture Capture;

/* Both on the control thread's loop; not after capture_free(). */
typedef struct CaptureHandler {
        void (*ready)(Capture *c, void *userdata); /* the filter is compiled: frames may come */
        /* The capture's thread has ended, once, whatever came before. @error: 0: it was told to; with a @message: the filter
         * is none, for that reason; otherwise what writing failed with, -EPIPE when the reader has gone, -ETIMEDOUT when it did not take
         * the rest in time. */
        void (*ended)(Capture *c, int error, const char *message, void *userdata);
} CaptureHandler;

typedef struct CaptureConfig {
        int fd;             /* (owned on success) */
        const char *filter; /* "" or NULL: everything */
        uint32_t snaplen;   /* bytes kept of a frame; 0: CAPTURE_SNAPLEN_MAX */
        Loop *control;      /* (borrowed: until capture_free()) */
        const CaptureHandler *handler;
        void *userdata;
} CaptureConfig;

typedef struct CaptureStats {
        uint64_t frames;  /* that passed the filter, and were kept */
        uint64_t dropped; /* for want of room */
} CaptureStats;

int capture_new(Capture **ret, const CaptureConfig *config);
void capture_stop(Capture *c);      /* what has been kept is still written, as far as the reader takes it within a second */
Capture *capture_free(Capture *c);  /* on no device any more; a thread that hangs in its file is left behind; returns NULL */
DEFINE_CLEANUP(Capture *, capture_free);
Watch *capture_watch(Capture *c);   /* when the device goes, it stops by itself */
void capture_stats(const Capture *c, CaptureStats *ret);

/* Can a capture be written to @fd? -EINVAL with *@ret_why: not a file, pipe or connected stream socket, or not open for writing. */
int capture_fd_check(int fd, const char **ret_why);
