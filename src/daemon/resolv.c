/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * resolv.conf: parser and follower.
 *
 * /etc/resolv.conf is usually a symbolic link, often into a directory of /run that does not exist yet. So the follower walks the
 * chain of links and watches each directory on the way, for the one name in it that matters; where a directory is missing it
 * watches the nearest one that exists, for the component that is missing. Any event on one of these names reads the file anew and
 * walks the chain again: no event has to be understood, and a replacement by rename() looks like any other change.
 * Never watches files themselves (a rename leaves such a watch on the old inode).
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "basic/parse.h"
#include "daemon/resolv.h"

#define DNS_PORT 53
#define LINKS_MAX 8 /* symbolic links followed */
#define WATCH_MASK                                                                                             \
        (IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | \
         IN_ONLYDIR)

void resolv_deinit(Resolv *r) {
        for (size_t i = 0; i < r->n_search; i++)
                free(r->search[i]);
        *r = (Resolv){};
}

bool resolv_equal(const Resolv *a, const Resolv *b) {
        if (a->n_servers != b->n_servers || a->n_search != b->n_search)
                return false;
        for (size_t i = 0; i < a->n_servers; i++)
                if (!endpoint_equal(&a->servers[i], &b->servers[i]))
                        return false;
        for (size_t i = 0; i < a->n_search; i++)
                if (!streq(a->search[i], b->search[i]))
                        return false;
        return true;
}

static void add_server(Resolv *r, const char *word) {
        Endpoint e = { .port = DNS_PORT };

        if (r->n_servers == ELEMENTSOF(r->servers) || ip_parse(word, &e.addr) < 0)
                return;
        if (ip_classify(&e.addr) == IP_CLASS_MULTICAST || ip_classify(&e.addr) == IP_CLASS_RESERVED)
                return;
        if (ip_classify(&e.addr) == IP_CLASS_UNSPECIFIED) /* "0.0.0.0" means this host to glibc */
                e.addr = ip_is_v4(&e.addr) ? ip_from_v4(htonl(INADDR_LOOPBACK)) : (IpAddr){ .w = { 0, 0, 0, htonl(1) } };
        for (size_t i = 0; i < r->n_servers; i++)
                if (endpoint_equal(&r->servers[i], &e))
                        return;
        r->servers[r->n_servers++] = e;
}

static int add_search(Resolv *r, const char *word) {
        size_t len = strlen(word);

        if (r->n_search == ELEMENTSOF(r->search) || len > 254)
                return 0;
        if (len > 0 && word[len - 1] == '.')
                len--;
        r->search[r->n_search] = strndup(word, len);
        if (!r->search[r->n_search])
                return -ENOMEM;
        if (!dns_name_is_valid(r->search[r->n_search])) { /* "search ." among others: no domain */
                free(r->search[r->n_search]);
                return 0;
        }
        r->n_search++;
        return 0;
}

static void clear_search(Resolv *r) {
        while (r->n_search > 0)
                free(r->search[--r->n_search]);
}

/* One line, cut into words in place. The last of several "search" and "domain" lines holds (resolv.conf(5)). */
static int parse_line(Resolv *r, char *line) {
        char *state, *word;
        bool is_search;
        int k;

        if (line[0] == '#' || line[0] == ';')
                return 0;
        word = strtok_r(line, " \t\r", &state);
        if (!word)
                return 0;

        if (streq(word, "nameserver")) {
                word = strtok_r(NULL, " \t\r", &state);
                if (word)
                        add_server(r, word);
                return 0;
        }

        is_search = streq(word, "search");
        if (!is_search && !streq(word, "domain"))
                return 0;
        clear_search(r);
        while ((word = strtok_r(NULL, " \t\r", &state))) {
                k = add_search(r, word);
                if (k < 0)
                        return k;
                if (!is_search) /* "domain" names one */
                        break;
        }
        return 0;
}

int resolv_parse(const char *text, size_t len, Resolv *ret) {
        _cleanup_free_ char *copy = NULL;
        char *state, *line;
        Resolv r = {};
        int k;

        copy = strndup(text, MIN(len, (size_t) RESOLV_TEXT_MAX)); /* a NUL ends it */
        if (!copy)
                return -ENOMEM;

        for (line = strtok_r(copy, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                k = parse_line(&r, line);
                if (k < 0) {
                        resolv_deinit(&r);
                        return k;
                }
        }
        *ret = r;
        return 0;
}

/* ---- following ---- */

typedef struct WatchedName {
        sd_event_source *source; /* (owned) of the directory */
        char *name;              /* (owned) the one that matters in it */
} WatchedName;

struct ResolvWatch {
        sd_event *event; /* (borrowed: outlives the watch) */
        char *path;      /* (owned) */
        ResolvFn fn;
        void *userdata; /* (borrowed) */
        Resolv current;
        WatchedName names[LINKS_MAX + 1];
        size_t n_names;
};

static void forget_names(ResolvWatch *w) {
        while (w->n_names > 0) {
                WatchedName *n = &w->names[--w->n_names];

                sd_event_source_disable_unref(n->source);
                free(n->name);
        }
}

static int on_inotify(sd_event_source *source, const struct inotify_event *event, void *userdata);

/* Watches @dir for @name. Where @dir is missing: the nearest directory above that is there, for the missing component.
 * @dir is overwritten. Returns 1 when @dir itself is there, 0 when it is not. */
static int watch_name(ResolvWatch *w, char *dir, const char *name) {
        WatchedName *n = &w->names[w->n_names];
        _cleanup_free_ char *component = NULL;
        bool whole = true;
        int r;

        component = strdup(name);
        if (!component)
                return -ENOMEM;

        for (;;) {
                char *slash;

                r = sd_event_add_inotify(w->event, &n->source, *dir != 0 ? dir : "/", WATCH_MASK, on_inotify, w);
                if (r >= 0)
                        break;
                slash = strrchr(dir, '/');
                if ((r != -ENOENT && r != -ENOTDIR) || !slash)
                        return r;

                whole = false;
                free(component);
                component = strdup(slash + 1);
                if (!component)
                        return -ENOMEM;
                *slash = 0;
        }
        n->name = TAKE_PTR(component);
        w->n_names++;
        return whole;
}

/* The target of the link @path, as an absolute path. -EINVAL: it is no link. */
static int read_link(const char *path, size_t dir_len, char **ret) {
        char target[PATH_MAX], *joined;
        ssize_t n;

        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return -errno;
        target[n] = 0;
        if (asprintf(&joined, "%.*s%s%s", target[0] == '/' ? 0 : (int) dir_len, path, target[0] == '/' ? "" : "/", target) < 0)
                return -ENOMEM;
        *ret = joined;
        return 0;
}

static int watch_chain(ResolvWatch *w) {
        _cleanup_free_ char *path = NULL;
        int r;

        forget_names(w);
        path = strdup(w->path);
        if (!path)
                return -ENOMEM;

        while (w->n_names < ELEMENTSOF(w->names)) {
                char *slash = strrchr(path, '/'), *next;
                _cleanup_free_ char *dir = strndup(path, (size_t) (slash - path));

                if (!dir)
                        return -ENOMEM;
                r = watch_name(w, dir, slash + 1);
                if (r <= 0) /* a directory is missing: nothing beyond it to follow */
                        return r;

                r = read_link(path, (size_t) (slash - path), &next);
                if (r < 0) /* no link, or not there: the end of the chain */
                        return r == -ENOMEM ? r : 0;
                free(path);
                path = next;
        }
        return 0;
}

/* Reads at most RESOLV_TEXT_MAX bytes of a regular file. @ret_len 0: nothing in it, or not there. */
static int read_text(const char *path, char **ret, size_t *ret_len) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *buf = NULL;
        struct stat st;
        size_t len = 0;
        ssize_t n;

        buf = malloc(RESOLV_TEXT_MAX);
        if (!buf)
                return -ENOMEM;

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd >= 0 && fstat(fd, &st) >= 0 && S_ISREG(st.st_mode))
                while (len < RESOLV_TEXT_MAX && (n = read(fd, buf + len, RESOLV_TEXT_MAX - len)) > 0)
                        len += (size_t) n;
        *ret = TAKE_PTR(buf);
        *ret_len = len;
        return 0;
}

/* Returns 1 when the file says something else than before, 0 when not. */
static int read_again(ResolvWatch *w) {
        _cleanup_free_ char *text = NULL;
        Resolv now;
        size_t len;
        int r;

        r = read_text(w->path, &text, &len);
        if (r < 0)
                return r;
        if (len == 0)
                return 0;
        r = resolv_parse(text, len, &now);
        if (r < 0)
                return r;

        if (resolv_equal(&w->current, &now)) {
                resolv_deinit(&now);
                return 0;
        }
        resolv_deinit(&w->current);
        w->current = now;
        return 1;
}

static int on_inotify(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        ResolvWatch *w = userdata;
        bool ours = event->len == 0; /* about the directory itself, or the queue overflowed */

        for (size_t i = 0; i < w->n_names && !ours; i++)
                ours = w->names[i].source == source && streq(w->names[i].name, event->name);
        if (!ours || (event->mask & IN_IGNORED))
                return 0;

        (void) watch_chain(w); /* first, so that no change falls between; without memory the watches left still do */
        if (read_again(w) > 0)
                w->fn(&w->current, w->userdata);
        return 0;
}

int resolv_watch_new(ResolvWatch **ret, sd_event *event, const char *path, ResolvFn fn, void *userdata) {
        _cleanup_(resolv_watch_freep) ResolvWatch *w = NULL;
        int r;

        assert(path[0] == '/');
        w = malloc(sizeof(*w));
        if (!w)
                return -ENOMEM;
        *w = (ResolvWatch){ .event = event, .fn = fn, .userdata = userdata };
        w->path = strdup(path);
        if (!w->path)
                return -ENOMEM;

        r = watch_chain(w);
        if (r < 0)
                return r;
        r = read_again(w);
        if (r < 0)
                return r;
        fn(&w->current, userdata);
        *ret = TAKE_PTR(w);
        return 0;
}

ResolvWatch *resolv_watch_free(ResolvWatch *w) {
        if (!w)
                return NULL;
        forget_names(w);
        resolv_deinit(&w->current);
        free(w->path);
        free(w);
        return NULL;
}

const Resolv *resolv_watch_current(const ResolvWatch *w) {
        return &w->current;
}
