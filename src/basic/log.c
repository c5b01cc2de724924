/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Log lines to the journal, with structured fields, or to stderr as one plain line each. Safe from any
 * thread; never changes errno, never blocks on a lock of its own, never allocates. A line longer than
 * LINE_LEN_MAX is cut.
 *
 * Control characters in the text become '?': much of it quotes what guests and clients sent, and a line
 * break among it must not forge a second line.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "basic/log.h"

#define LINE_LEN_MAX 2048
#define N_FIELDS_MAX 16 /* of the caller; more are left out */
#define FIELD_LEN_MAX 256

int log_max_level = LOG_INFO;

static const char *log_identifier = "vnetd"; /* (borrowed: for good) */
static bool log_to_journal = false;          /* relaxed atomics: LogControl1 changes it while others log */

static const char *const level_names[] = {
        [LOG_EMERG] = "emerg",     [LOG_ALERT] = "alert",   [LOG_CRIT] = "crit", [LOG_ERR] = "err",
        [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

/* Does $JOURNAL_STREAM ("device:inode" in decimal) name our stderr? */
static bool stderr_is_journal(void) {
        const char *e = getenv("JOURNAL_STREAM");
        uint64_t device, inode;
        struct stat st;
        int n = 0;

        if (!e || sscanf(e, "%" SCNu64 ":%" SCNu64 "%n", &device, &inode, &n) != 2 || e[n] != 0)
                return false;
        if (fstat(STDERR_FILENO, &st) < 0)
                return false;
        return st.st_dev == device && st.st_ino == inode;
}

void log_open(const char *identifier) {
        log_identifier = identifier;
        (void) log_set_target("auto");
}

void log_set_max_level(int level) {
        assert(level >= LOG_EMERG && level <= LOG_DEBUG);
        __atomic_store_n(&log_max_level, level, __ATOMIC_RELAXED);
}

int log_level_from_name(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(level_names); i++)
                if (streq(level_names[i], name))
                        return i;
        return -EINVAL;
}

const char *log_level_to_name(int level) {
        assert(level >= LOG_EMERG && level <= LOG_DEBUG);
        return level_names[level];
}

const char *log_target_name(void) {
        return __atomic_load_n(&log_to_journal, __ATOMIC_RELAXED) ? "journal" : "console";
}

int log_set_target(const char *name) {
        bool journal;

        if (streq(name, "journal"))
                journal = true;
        else if (streq(name, "console"))
                journal = false;
        else if (streq(name, "auto"))
                journal = stderr_is_journal();
        else
                return -EINVAL;

        __atomic_store_n(&log_to_journal, journal, __ATOMIC_RELAXED);
        return 0;
}

static void blank_controls(char *text) {
        for (; *text; text++)
                if ((unsigned char) *text < ' ' || *text == 0x7f)
                        *text = '?';
}

static struct iovec iov_of(const char *text) {
        return (struct iovec){ .iov_base = (void *) text, .iov_len = strlen(text) };
}

/* One writev() per line, so that lines of several threads do not mix. */
static void write_console(const char *message) {
        struct iovec iov[] = {
                iov_of(log_identifier),
                iov_of(": "),
                iov_of(message),
                iov_of("\n"),
        };

        if (writev(STDERR_FILENO, iov, ELEMENTSOF(iov)) < 0)
                return; /* nobody left to tell */
}

static int write_journal(int level, int error, const char *file, int line, const char *func,
                         const char *const *fields, const char *message) {
        char own[6][FIELD_LEN_MAX], text[LINE_LEN_MAX + 16];
        struct iovec iov[ELEMENTSOF(own) + 1 + N_FIELDS_MAX];
        int n = 0;

        (void) snprintf(text, sizeof(text), "MESSAGE=%s", message);
        (void) snprintf(own[0], sizeof(own[0]), "PRIORITY=%d", level);
        (void) snprintf(own[1], sizeof(own[1]), "SYSLOG_IDENTIFIER=%s", log_identifier);
        (void) snprintf(own[2], sizeof(own[2]), "CODE_FILE=%s", file);
        (void) snprintf(own[3], sizeof(own[3]), "CODE_LINE=%d", line);
        (void) snprintf(own[4], sizeof(own[4]), "CODE_FUNC=%s", func);
        (void) snprintf(own[5], sizeof(own[5]), "ERRNO=%d", error);

        iov[n++] = iov_of(text);
        for (size_t i = 0; i < ELEMENTSOF(own) - (error == 0); i++) /* ERRNO= only where there is one */
                iov[n++] = iov_of(own[i]);
        for (size_t i = 0; fields && fields[i] && i < N_FIELDS_MAX; i++)
                iov[n++] = iov_of(fields[i]);

        return sd_journal_sendv(iov, n);
}

int log_internal(int level, int error, const char *file, int line, const char *func,
                 const char *const *fields, const char *format, ...) {
        char message[LINE_LEN_MAX];
        int saved = errno;
        va_list ap;

        error = abs(error);

        errno = error; /* for %m */
        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        blank_controls(message);

        /* A journal that is away must not silence us. */
        if (!__atomic_load_n(&log_to_journal, __ATOMIC_RELAXED) ||
            write_journal(level, error, file, line, func, fields, message) < 0)
                write_console(message);

        errno = saved;
        return -error;
}

bool ratelimit_below(RateLimit *r, usec_t now) {
        if (r->interval == 0 || r->burst == 0)
                return true;

        if (r->begin == 0 || now < r->begin || now - r->begin >= r->interval) {
                r->begin = now;
                r->num = 0;
        }
        if (r->num >= r->burst) {
                r->suppressed++;
                return false;
        }
        r->num++;
        r->held_back = r->suppressed;
        r->suppressed = 0;
        return true;
}
