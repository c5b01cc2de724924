/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds configuration files in the directories, in order of importance, and reads them: config_load(). */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "basic/parse.h"
#include "daemon/config.h"

/**
 * read_file() - read a file whole
 * @c:          where it is told that it cannot be read
 * @path:       may be anything: it is not waited for, and only regular files are read
 * @ret_text:   owned by the caller; not NUL-terminated
 * @ret_len:    0 for an empty file and for /dev/null
 * @ret_bad:    it is there and cannot be read, which has been told
 *
 * Return: 1; 0 when there is no such file; -ENOMEM.
 */
static int read_file(Config *c, const char *path, char **ret_text, size_t *ret_len, bool *ret_bad) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *buf = NULL;
        const char *why = NULL;
        size_t len = 0;
        ssize_t n = 0;
        struct stat st;

        *ret_bad = false;
        buf = malloc(JSON_TEXT_MAX + 1);
        if (!buf)
                return -ENOMEM;

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
                return 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                why = strerrordesc_np(errno);
        else if (S_ISREG(st.st_mode)) {
                while (len <= JSON_TEXT_MAX && (n = read(fd, buf + len, JSON_TEXT_MAX + 1 - len)) > 0)
                        len += (size_t) n;
                if (n < 0)
                        why = strerrordesc_np(errno);
                else if (len > JSON_TEXT_MAX)
                        why = "it is larger than 1 MiB";
        } else if (!S_ISCHR(st.st_mode))
                why = "it is no regular file";

        *ret_bad = why;
        if (why && config_problem(c, "%s: cannot be read: %s", path, why) < 0)
                return -ENOMEM;
        *ret_text = TAKE_PTR(buf);
        *ret_len = why ? 0 : len;
        return 1;
}

static int load_main(Config *c, const char *const *dirs) {
        for (; *dirs; dirs++) {
                _cleanup_free_ char *path = NULL, *text = NULL;
                size_t len;
                bool bad;
                int r;

                if (asprintf(&path, "%s/vnetd.json", *dirs) < 0)
                        return -ENOMEM;
                r = read_file(c, path, &text, &len, &bad);
                if (r < 0)
                        return r;
                c->main_broken = bad;
                if (r > 0)
                        return len > 0 ? config_parse_main(c, path, text, len) : 0;
        }
        return 0;
}

static int load_network(Config *c, const char *dir, const char *file) {
        _cleanup_free_ char *path = NULL, *text = NULL, *name = NULL;
        size_t len;
        bool bad;
        int r;

        name = strndup(file, strlen(file) - strlen(".json"));
        if (!name || asprintf(&path, "%s/networks.d/%s", dir, file) < 0)
                return -ENOMEM;
        if (!name_is_valid(name))
                return config_problem(c, "%s/networks.d/%s: '%s' cannot be the name of a network: letters, digits, '_', '.' and '-', at most %d",
                               dir, ERROR_QUOTE(file), ERROR_QUOTE(name), NAME_MAX_LEN);

        r = read_file(c, path, &text, &len, &bad);
        if (r <= 0 || (len == 0 && !bad))
                return MIN(r, 0);
        r = config_parse_network(c, name, path, bad ? "{}" : text, bad ? 2 : len);
        if (r >= 0 && bad)
                c->networks[c->n_networks - 1].broken = true;
        return r;
}

static int is_json(const struct dirent *d) {
        size_t len = strlen(d->d_name);

        return d->d_name[0] != '.' && len > 5 && streq(d->d_name + len - 5, ".json");
}

static int by_name(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

/* Is there a file of that name in a directory before dirs[n]? Anything of the name hides. */
static bool is_hidden(const char *const *dirs, size_t n, const char *file) {
        for (size_t i = 0; i < n; i++) {
                char path[PATH_MAX];
                struct stat st;

                if (snprintf(path, sizeof(path), "%s/networks.d/%s", dirs[i], file) < (int) sizeof(path) && lstat(path, &st) >= 0)
                        return true;
        }
        return false;
}

static int load_networks_of(Config *c, const char *const *dirs, size_t i) {
        _cleanup_free_ char *path = NULL;
        struct dirent **entries;
        int n, r = 0;

        if (asprintf(&path, "%s/networks.d", dirs[i]) < 0)
                return -ENOMEM;
        n = scandir(path, &entries, is_json, by_name);
        if (n < 0 && errno != ENOENT && errno != ENOTDIR) {
                c->incomplete = true;
                return errno == ENOMEM ? -ENOMEM : config_problem(c, "%s: cannot be read: %s", path, strerrordesc_np(errno));
        }

        for (int k = 0; k < n; k++) {
                if (r >= 0 && !is_hidden(dirs, i, entries[k]->d_name)) {
                        if (c->n_networks < CONFIG_FILES_MAX)
                                r = load_network(c, dirs[i], entries[k]->d_name);
                        else
                                r = config_problem(c, "%s/%s: ignored: there are more than %d files", path, ERROR_QUOTE(entries[k]->d_name),
                                            CONFIG_FILES_MAX);
                }
                free(entries[k]);
        }
        if (n >= 0)
                free(entries);
        return r;
}

int config_load(Config **ret, const char *const *dirs) {
        _cleanup_(config_freep) Config *c = NULL;
        int r;

        c = malloc(sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = (Config){ .log_level = -1, .host_loopback = -1 };

        r = load_main(c, dirs);
        if (r < 0)
                return r;
        for (size_t i = 0; dirs[i]; i++) {
                r = load_networks_of(c, dirs, i);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(c);
        return 0;
}
