/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Logs: to the journal with structured fields when stderr is the journal's, else to stderr. Only daemon/, bus/, gvproxy/
 * and main.c log; lower layers return errors and count. Text is formatted only when its level is on.
 */

#include <syslog.h>

#include "basic/macro.h"

extern int log_max_level; /* LOG_INFO at start; set by log_set_max_level(), read with relaxed atomics */

void log_open(const char *identifier); /* decides between journal ($JOURNAL_STREAM matches stderr) and stderr */
void log_set_max_level(int level);
int log_level_from_name(const char *name); /* "emerg".."debug"; negative -EINVAL */
const char *log_level_to_name(int level);
const char *log_target_name(void); /* "journal" or "console", for LogControl1 */
int log_set_target(const char *name); /* "journal", "console", "auto"; -EINVAL */

/* @fields: NULL-terminated "NAME=value" strings added to the journal entry (dropped on stderr), or NULL.
 * @error: 0, or an errno of either sign: adds ERRNO= and makes %m work. Returns -abs(error). */
int log_internal(int level, int error, const char *file, int line, const char *func, const char *const *fields,
                 const char *format, ...) _printf_(7, 8);

#define log_full_fields(level, error, fields, ...)                                                             \
        ({                                                                                                     \
                int _log_e = (error);                                                                          \
                (level) <= __atomic_load_n(&log_max_level, __ATOMIC_RELAXED)                                   \
                        ? log_internal((level), _log_e, __FILE__, __LINE__, __func__, (fields), __VA_ARGS__)   \
                        : -abs(_log_e);                                                                        \
        })
#define log_full(level, error, ...) log_full_fields(level, error, NULL, __VA_ARGS__)
#define log_debug(...) ((void) log_full(LOG_DEBUG, 0, __VA_ARGS__))
#define log_info(...) ((void) log_full(LOG_INFO, 0, __VA_ARGS__))
#define log_notice(...) ((void) log_full(LOG_NOTICE, 0, __VA_ARGS__))
#define log_warning(...) ((void) log_full(LOG_WARNING, 0, __VA_ARGS__))
#define log_error(...) ((void) log_full(LOG_ERR, 0, __VA_ARGS__))
#define log_debug_errno(e, ...) log_full(LOG_DEBUG, (e), __VA_ARGS__)
#define log_warning_errno(e, ...) log_full(LOG_WARNING, (e), __VA_ARGS__)
#define log_error_errno(e, ...) log_full(LOG_ERR, (e), __VA_ARGS__)
#define log_oom() log_error_errno(ENOMEM, "Out of memory")

/* At most @burst per @interval pass. After each pass @held_back is how many were refused since the one before (0 but for
 * the first of an interval), for the message to say. Not thread-safe: one per owner. */
typedef struct RateLimit {
        usec_t interval, begin;
        unsigned burst, num, suppressed, held_back;
} RateLimit;
#define RATELIMIT_INIT(interval_usec, burst_n) ((RateLimit){ .interval = (interval_usec), .burst = (burst_n) })
bool ratelimit_below(RateLimit *r, usec_t now);
