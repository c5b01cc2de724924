/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* "METHOD /tunnel?ip=ADDRESS&port=PORT HTTP/1.1", headers, an empty line. Bounded by the bytes given; copies what it returns. */

#include "http/http-request.h"

/* The value of @name in the query [@q, @end); "" when it is not there or longer than @size. No escapes: addresses have none. */
static void query_value(const char *q, const char *end, const char *name, char *ret, size_t size) {
        size_t name_len = strlen(name);

        ret[0] = 0;
        while (q < end) {
                const char *amp = memchr(q, '&', (size_t) (end - q)) ?: end;
                size_t len = (size_t) (amp - q);

                if (len > name_len && memcmp(q, name, name_len) == 0 && q[name_len] == '=' && len - name_len - 1 < size) {
                        memcpy(ret, q + name_len + 1, len - name_len - 1);
                        ret[len - name_len - 1] = 0;
                        return;
                }
                q = amp + (amp < end);
        }
}

static bool is_path(const char *p, const char *end, const char *path) {
        size_t len = strlen(path);

        return (size_t) (end - p) >= len && memcmp(p, path, len) == 0 && ((size_t) (end - p) == len || p[len] == '?');
}

HttpHeadKind http_head_read(const char *buf, size_t len, HttpHead *ret) {
        const char *line_end = memchr(buf, '\n', len), *path, *path_end, *head_end;

        *ret = (HttpHead){};
        if (!line_end)
                return len < HTTP_HEAD_MAX ? HTTP_HEAD_PARTIAL : HTTP_HEAD_OTHER;
        path = memchr(buf, ' ', (size_t) (line_end - buf));
        if (!path)
                return HTTP_HEAD_OTHER;
        path++;
        path_end = memchr(path, ' ', (size_t) (line_end - path));
        if (!path_end)
                return HTTP_HEAD_OTHER;
        if (is_path(path, path_end, "/connect"))
                return HTTP_HEAD_CONNECT;
        if (!is_path(path, path_end, "/tunnel"))
                return HTTP_HEAD_OTHER;

        head_end = memmem(buf, len, "\r\n\r\n", 4);
        if (!head_end)
                return len < HTTP_HEAD_MAX ? HTTP_HEAD_PARTIAL : HTTP_HEAD_BAD;
        ret->len = (size_t) (head_end - buf) + 4;
        path += strlen("/tunnel");
        if (path < path_end) {
                query_value(path + 1, path_end, "ip", ret->ip, sizeof(ret->ip));
                query_value(path + 1, path_end, "port", ret->port, sizeof(ret->port));
        }
        return HTTP_HEAD_TUNNEL;
}
