/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors of the model: one code, one sentence. A message ends up on terminals, in logs and on the bus, so it is always
 * printable ASCII, whatever was put into it. Never logs, never allocates.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "daemon/error.h"

/* Names in error.def without a dot stand below this one. */
#define ERROR_PREFIX "org.vnetd1."

static const struct {
        const char *name; /* with ERROR_PREFIX in front; used from byte 0, or from behind the prefix */
        int error;
} table[_ERROR_MAX] = {
#define ERROR(id, n, e, t) [ERROR_##id] = { ERROR_PREFIX n, e },
#include "daemon/error.def"
#undef ERROR
};

const char *error_name(ErrorCode code) {
        const char *own = table[code].name + strlen(ERROR_PREFIX);

        return strchr(own, '.') ? own : table[code].name;
}

static void make_printable(char *text) {
        for (char *p = text; *p != 0; p++)
                if (*p < ' ' || *p > '~')
                        *p = '?';
}

static void mark_cut(Error *e, int len) {
        if (len >= (int) sizeof(e->message))
                memcpy(e->message + sizeof(e->message) - 4, "...", 4);
        make_printable(e->message);
}

int error_set(Error *e, ErrorCode code, const char *format, ...) {
        va_list ap;
        int len;

        if (e) {
                e->code = code;
                va_start(ap, format);
                len = vsnprintf(e->message, sizeof(e->message), format, ap);
                va_end(ap);
                mark_cut(e, len);
        }
        return -table[code].error;
}

static ErrorCode code_from_errno(int error) {
        switch (error) {
        case EPERM:
        case EACCES:
                return ERROR_ACCESS_DENIED;
        case ENOMEM:
                return ERROR_NO_MEMORY;
        case EADDRINUSE:
                return ERROR_ADDRESS_IN_USE;
        case EADDRNOTAVAIL:
                return ERROR_ADDRESS_NOT_AVAILABLE;
        case EBUSY:
                return ERROR_DEVICE_BUSY;
        case EDQUOT:
        case EMFILE:
        case ENFILE:
                return ERROR_QUOTA_EXCEEDED;
        case EOPNOTSUPP:
        case ENOSYS:
        case EAFNOSUPPORT:
        case EPROTONOSUPPORT:
                return ERROR_NOT_SUPPORTED;
        default: /* of the system's errnos, not of an enum of ours */
                return ERROR_FAILED;
        }
}

int error_set_errno(Error *e, int error, const char *format, ...) {
        ErrorCode code;
        va_list ap;
        int len;

        error = abs(error);
        code = code_from_errno(error);
        if (e) {
                e->code = code;
                va_start(ap, format);
                len = vsnprintf(e->message, sizeof(e->message), format, ap);
                va_end(ap);
                if (len < (int) sizeof(e->message))
                        len += snprintf(e->message + len, sizeof(e->message) - (size_t) len, ": %s", strerrordesc_np(error) ?: "unknown error");
                mark_cut(e, len);
        }
        return -table[code].error;
}

const char *error_quote(const char *text, char buf[static 64]) {
        size_t len = strnlen(text, 61);

        if (len <= 60)
                memcpy(buf, text, len + 1);
        else {
                memcpy(buf, text, 57);
                memcpy(buf + 57, "...", 4);
        }
        make_printable(buf);
        return buf;
}
