/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* The one table of errors: what the model refuses with, its D-Bus name and errno. The manual's list is made from it. */

#include "basic/macro.h"

typedef enum ErrorCode {
#define ERROR(id, name, errno_value, text) ERROR_##id,
#include "daemon/error.def"
#undef ERROR
        _ERROR_MAX,
} ErrorCode;

#define ERROR_MESSAGE_MAX 512

typedef struct Error {
        ErrorCode code;
        char message[ERROR_MESSAGE_MAX]; /* one sentence, no final full stop, names the thing and the value refused; cut when longer */
} Error;
#define ERROR_INIT ((Error){ .code = _ERROR_MAX })

/* Fills @e (nullable) and returns the code's negative errno: `return error_set(e, ERROR_NO_SUCH_NETWORK, "There is no network '%s'", name);`
 * User strings are shortened to something printable before they get here (error_quote()). */
int error_set(Error *e, ErrorCode code, const char *format, ...) _printf_(3, 4);
/* The same for an errno of the system: picks the code that fits, appends ": " and strerror. */
int error_set_errno(Error *e, int error, const char *format, ...) _printf_(3, 4);

const char *error_name(ErrorCode code);  /* "org.vnetd1.NoSuchNetwork", "org.freedesktop.DBus.Error.InvalidArgs" */

/* @text made safe for a message: printable, at most 60 characters, "..." when cut. Writes @buf, returns it. */
const char *error_quote(const char *text, char buf[static 64]);
#define ERROR_QUOTE(t) error_quote((t), (char[64]){ 0 })
