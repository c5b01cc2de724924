/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads an ssh-tunnel URL. Refuses what ssh would read as anything but a plain name or path. */

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/parse.h"
#include "daemon/ssh-forward.h"

#define SCHEME "ssh-tunnel://"

bool ssh_spec_is_url(const char *text) {
        return strncmp(text, SCHEME, strlen(SCHEME)) == 0;
}

static int hex(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Copies @len characters with %XX replaced. -EINVAL: malformed, a control character, or no room. */
static int unescape(const char *text, size_t len, char *ret, size_t size) {
        size_t n = 0;

        for (size_t i = 0; i < len; i++) {
                int c = (unsigned char) text[i];

                if (c == '%') {
                        if (i + 2 >= len || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0)
                                return -EINVAL;
                        c = hex(text[i + 1]) << 4 | hex(text[i + 2]);
                        i += 2;
                }
                if (n + 1 >= size || c < 0x20 || c == 0x7f)
                        return -EINVAL;
                ret[n++] = (char) c;
        }
        ret[n] = 0;
        return 0;
}

/* What every system takes for a user's name, and no shell for anything else. */
static bool user_is_valid(const char *user) {
        for (const char *p = user; *p; p++)
                if (!isalnum((unsigned char) *p) && !strchr("_.-", *p))
                        return false;
        return user[0] != 0 && user[0] != '-';
}

static int read_authority(const char *text, size_t len, SshSpec *s, Error *e) {
        const char *at = memchr(text, '@', len), *host, *colon;
        size_t host_len;
        char port[8];

        if (!at || unescape(text, (size_t) (at - text), s->user, sizeof(s->user)) < 0 || !user_is_valid(s->user))
                return error_set(e, ERROR_INVALID_ARGS, "There is no valid user's name in it; a password cannot be given, a key has to do");
        host = at + 1;
        host_len = len - (size_t) (host - text);
        colon = memrchr(host, ':', host_len);
        s->port = 22;
        if (colon) {
                size_t n = host_len - (size_t) (colon + 1 - host);

                if (n >= sizeof(port))
                        n = 0;
                memcpy(port, colon + 1, n);
                port[n] = 0;
                if (parse_port(port, &s->port) < 0)
                        return error_set(e, ERROR_INVALID_ARGS, "The port in it is none from 1 to 65535");
                host_len = (size_t) (colon - host);
        }
        if (unescape(host, host_len, s->host, sizeof(s->host)) < 0 || !dns_name_is_valid(s->host)) /* an IPv4 address is one, too */
                return error_set(e, ERROR_INVALID_ARGS, "'%s' is no guest's name or IPv4 address", ERROR_QUOTE(s->host));
        return 0;
}

static int read_option(const char *text, size_t len, SshSpec *s, Error *e) {
        const char *equals = memchr(text, '=', len);
        size_t name_len = equals ? (size_t) (equals - text) : len, value_len = equals ? len - name_len - 1 : 0;
        char value[SSH_TEXT_MAX] = "";

        if (equals && unescape(equals + 1, value_len, value, sizeof(value)) < 0)
                return error_set(e, ERROR_INVALID_ARGS, "The value of '%.*s' cannot be read", (int) MIN(name_len, (size_t) 32), text);
        if (name_len == 3 && strncmp(text, "key", 3) == 0)
                memcpy(s->key, value, sizeof(value));
        else if (name_len == 6 && strncmp(text, "secure", 6) == 0)
                s->secure = streq(value, "true") || streq(value, "1");
        else if (name_len == 10 && strncmp(text, "passphrase", 10) == 0)
                return error_set(e, ERROR_NOT_SUPPORTED, "A passphrase cannot be given: the key has to have none");
        else
                return error_set(e, ERROR_INVALID_ARGS, "There is no option '%.*s'; there are: key, secure", (int) MIN(name_len, (size_t) 32), text);
        return 0;
}

static int read_url(const char *url, SshSpec *s, Error *e) {
        const char *authority = url + strlen(SCHEME), *path = strchr(authority, '/'), *query = strchr(authority, '?');
        struct stat st;
        int r;

        if (!path || (query && query < path))
                return error_set(e, ERROR_INVALID_ARGS, "remote uri must contain a path to a socket file");
        r = read_authority(authority, (size_t) (path - authority), s, e);
        if (r < 0)
                return r;
        if (unescape(path, query ? (size_t) (query - path) : strlen(path), s->path, sizeof(s->path)) < 0 || strlen(s->path) < 2)
                return error_set(e, ERROR_INVALID_ARGS, "remote uri must contain a path to a socket file: of at most %zu bytes, none of them a "
                                 "control character", sizeof(s->path) - 1);
        if (strstr(s->path, "${"))
                return error_set(e, ERROR_INVALID_ARGS, "'%s': ssh would read the '${' in it as a variable", ERROR_QUOTE(s->path));
        for (const char *p = query; p && r >= 0;) {
                const char *next = strchr(++p, '&');

                r = read_option(p, next ? (size_t) (next - p) : strlen(p), s, e);
                p = next;
        }
        if (r < 0)
                return r;
        if (s->key[0] == 0)
                return error_set(e, ERROR_INVALID_ARGS, "key not provided for unix-ssh connection");
        if (s->key[0] != '/' || stat(s->key, &st) < 0 || !S_ISREG(st.st_mode))
                return error_set(e, ERROR_INVALID_ARGS, "identity file \"%s\" can't be loaded: it is no file with an absolute path", ERROR_QUOTE(s->key));
        return 0;
}

int ssh_spec_parse(const char *url, SshSpec *ret, Error *e) {
        SshSpec s = {};
        int r;

        if (!ssh_spec_is_url(url) || strlen(url) > SSH_TEXT_MAX)
                return error_set(e, ERROR_INVALID_ARGS, "'%s' is no " SCHEME "USER@GUEST[:PORT]/PATH?key=FILE of at most %d bytes", ERROR_QUOTE(url),
                                 SSH_TEXT_MAX);
        r = read_url(url, &s, e);
        if (r >= 0)
                *ret = s;
        return r;
}
