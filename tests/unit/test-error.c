/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The error table and the messages made from it. */

#include <errno.h>
#include <glib.h>

#include "daemon/error.h"

static void test_names(void) {
        g_assert_cmpstr(error_name(ERROR_NO_SUCH_NETWORK), ==, "org.vnetd1.NoSuchNetwork");
        g_assert_cmpstr(error_name(ERROR_INVALID_ARGS), ==, "org.freedesktop.DBus.Error.InvalidArgs");

        for (ErrorCode c = 0; c < _ERROR_MAX; c++) {
                g_assert_cmpint(error_set(NULL, c, "x"), <, 0);
                g_assert_true(g_str_has_prefix(error_name(c), "org."));
                for (ErrorCode d = 0; d < c; d++)
                        g_assert_cmpstr(error_name(c), !=, error_name(d));
        }
}

static void test_set(void) {
        Error e = ERROR_INIT;

        g_assert_cmpint(error_set(&e, ERROR_NO_SUCH_NETWORK, "There is no network '%s'", "x"), ==, -ENOENT);
        g_assert_cmpint(e.code, ==, ERROR_NO_SUCH_NETWORK);
        g_assert_cmpstr(e.message, ==, "There is no network 'x'");
        g_assert_cmpint(error_set(NULL, ERROR_DEVICE_BUSY, "ignored"), ==, -EBUSY);

        (void) error_set(&e, ERROR_FAILED, "%s", "new\nline \x1b[31m caf\xc3\xa9");
        g_assert_cmpstr(e.message, ==, "new?line ?[31m caf??");
}

static void test_set_cut(void) {
        g_autofree char *fits = g_strnfill(ERROR_MESSAGE_MAX - 1, 'a'), *longer = g_strnfill(ERROR_MESSAGE_MAX, 'a');
        Error e = ERROR_INIT;

        (void) error_set(&e, ERROR_FAILED, "%s", fits);
        g_assert_cmpstr(e.message, ==, fits);

        (void) error_set(&e, ERROR_FAILED, "%s", longer);
        g_assert_cmpuint(strlen(e.message), ==, ERROR_MESSAGE_MAX - 1);
        g_assert_true(g_str_has_suffix(e.message, "aaa..."));

        (void) error_set_errno(&e, EIO, "%s", longer);
        g_assert_true(g_str_has_suffix(e.message, "aaa..."));
        (void) error_set_errno(&e, EIO, "%s", fits);
        g_assert_true(g_str_has_suffix(e.message, "aaa..."));
}

static void test_set_errno(void) {
        static const struct {
                int error;
                ErrorCode code;
        } map[] = {
                { EPERM, ERROR_ACCESS_DENIED },
                { -EACCES, ERROR_ACCESS_DENIED },
                { ENOMEM, ERROR_NO_MEMORY },
                { -EADDRINUSE, ERROR_ADDRESS_IN_USE },
                { EADDRNOTAVAIL, ERROR_ADDRESS_NOT_AVAILABLE },
                { EBUSY, ERROR_DEVICE_BUSY },
                { EMFILE, ERROR_QUOTA_EXCEEDED },
                { EAFNOSUPPORT, ERROR_NOT_SUPPORTED },
                { EXDEV, ERROR_FAILED },
                { 9999, ERROR_FAILED },
        };
        Error e = ERROR_INIT;

        for (size_t i = 0; i < G_N_ELEMENTS(map); i++) {
                g_assert_cmpint(error_set_errno(&e, map[i].error, "x"), ==, error_set(NULL, map[i].code, "x"));
                g_assert_cmpint(e.code, ==, map[i].code);
        }
        (void) error_set_errno(&e, -ENOENT, "Cannot open '%s'", "/x");
        g_assert_cmpstr(e.message, ==, "Cannot open '/x': No such file or directory");
}

static void test_quote(void) {
        g_autofree char *sixty = g_strnfill(60, 'b'), *more = g_strnfill(100000, 'b');

        g_assert_cmpstr(ERROR_QUOTE("plain"), ==, "plain");
        g_assert_cmpstr(ERROR_QUOTE(""), ==, "");
        g_assert_cmpstr(ERROR_QUOTE("a\tb\x7f\xff"), ==, "a?b??");
        g_assert_cmpstr(ERROR_QUOTE(sixty), ==, sixty);
        g_assert_cmpuint(strlen(ERROR_QUOTE(more)), ==, 60);
        g_assert_true(g_str_has_suffix(ERROR_QUOTE(more), "b..."));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/error/names", test_names);
        g_test_add_func("/error/set", test_set);
        g_test_add_func("/error/set-cut", test_set_cut);
        g_test_add_func("/error/set-errno", test_set_errno);
        g_test_add_func("/error/quote", test_quote);
        return g_test_run();
}
