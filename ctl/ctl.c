/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How vnetctl says that something failed: one line on stderr, and what to exit with. */

#include <stdarg.h>
#include <stdio.h>

#include "ctl.h"

static void print_line(const char *format, va_list ap, int error) {
        (void) fflush(stdout);
        (void) vfprintf(stderr, format, ap);
        if (error != 0)
                (void) fprintf(stderr, ": %s", strerror(abs(error)));
        (void) fputc('\n', stderr);
}

int fail(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        print_line(format, ap, 0);
        va_end(ap);
        return CTL_FAILED;
}

int fail_errno(int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        print_line(format, ap, error);
        va_end(ap);
        return CTL_FAILED;
}

int fail_usage(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        print_line(format, ap, 0);
        va_end(ap);
        return CTL_USAGE;
}
