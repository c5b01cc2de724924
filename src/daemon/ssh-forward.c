/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One ssh child at a time, and relays between our clients and the Unix socket it listens on in a directory of our own. All that ssh is given
 * beside the guest's path is ours: the key goes in as a link in that directory, the connection as its stdin and stdout ("ProxyCommand=-",
 * so no shell is needed for it), no file of configuration is read, and no agent asked.
 *
 *   state      leaves it when                                to
 *   waiting    the timer fires                               starting, or waiting for longer (no connection, no program)
 *   starting   the socket has appeared                       up
 *   starting, up   the child ends                            waiting: RETRY_MIN, doubled with each failure until RETRY_MAX
 */

#include "daemon/ssh-forward.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "basic/log.h"
#include "basic/loop.h"
#include "basic/macro.h"
#include "daemon/stream-relay.h"

#define RETRY_MIN (100 * USEC_PER_MSEC)
#define RETRY_MAX (5 * USEC_PER_SEC)
#define UP_DELAY (20 * USEC_PER_MSEC) /* between its bind(), which is seen, and its listen(), which is not */
#define SAID_MAX 256
#define ARGS_MAX 64
#define DIR_LEN 80

typedef struct Client Client;
struct Client {
        SshForward *forward; /* (borrowed) */
        StreamRelay *relay;  /* (owned) */
        Client *prev, *next; /* (owned, list) of the forward's */
};

struct SshForward {
        sd_event *event; /* (borrowed) */
        SshForwardConfig config;
        int listen_fd;               /* (owned) */
        char dir[DIR_LEN];           /* (owned) on disk; "" none */
        sd_event_source *listener;   /* (owned, these all) on while the child is up and there is room */
        sd_event_source *timer;      /* the next start, or the end of UP_DELAY */
        sd_event_source *appearance; /* of the child's socket */
        sd_event_source *child;
        sd_event_source *said_source;
        int said_fd;         /* (owned) what the child says */
        char said[SAID_MAX]; /* its last line, for people */
        char logged[SAID_MAX]; /* the reason told last: the same one is not told again */
        usec_t retry;
        bool up;   /* it takes clients */
        bool told; /* that it does */
        Client *clients; /* (owned, list) */
        uint32_t n_clients;
        uint64_t n_accepted;
};

static void start_later(SshForward *f, usec_t delay) {
        (void) sd_event_source_set_time_relative(f->timer, delay);
        (void) sd_event_source_set_enabled(f->timer, SD_EVENT_ONESHOT);
}

/* ---- clients ---- */

static void allow_clients(SshForward *f) {
        (void) sd_event_source_set_enabled(f->listener, f->up && f->n_clients < SSH_CLIENTS_MAX ? SD_EVENT_ON : SD_EVENT_OFF);
}

static void client_free(Client *c) {
        SshForward *f = c->forward;

        stream_relay_free(c->relay);
        if (c->prev)
                c->prev->next = c->next;
        else
                f->clients = c->next;
        if (c->next)
                c->next->prev = c->prev;
        f->n_clients--;
        free(c);
}

static void on_client_done(StreamRelay *r, void *userdata) {
        Client *c = userdata;
        SshForward *f = c->forward;

        client_free(c);
        allow_clients(f);
}

static int connect_to_child(const SshForward *f) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/s", f->dir);
        if (fd < 0 || connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

/* Clients stay in the queue for a moment. */
static void pause_clients(SshForward *f) {
        f->up = false;
        allow_clients(f);
        start_later(f, UP_DELAY);
}

/* Did a call fail for want of what there will be again, and not because the child is not there? */
static bool is_passing(int r) {
        return r == -EAGAIN || r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOBUFS;
}

static int on_listener(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        SshForward *f = userdata;
        int child_fd = connect_to_child(f), client_fd;
        Client *c;

        if (child_fd < 0 && is_passing(child_fd)) { /* we, or it has more waiting than it will hold */
                pause_clients(f);
                return 0;
        }
        if (child_fd < 0) { /* the client stays in the queue */
                f->up = false;
                allow_clients(f);
                (void) sd_event_source_send_child_signal(f->child, SIGTERM, NULL, 0); /* if it has not ended already */
                return 0;
        }
        client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client_fd < 0 && errno != EAGAIN && is_passing(-errno))
                pause_clients(f); /* who waits would wake us again and again */
        c = client_fd >= 0 ? calloc(1, sizeof(*c)) : NULL;
        if (!c) {
                (void) close(child_fd);
                (void) safe_close(client_fd);
                return 0;
        }
        if (stream_relay_new(&c->relay, f->event, client_fd, child_fd, on_client_done, c) < 0) {
                free(c);
                return 0;
        }
        c->forward = f;
        c->next = f->clients;
        if (c->next)
                c->next->prev = c;
        f->clients = c;
        f->n_clients++;
        f->n_accepted++;
        allow_clients(f);
        return 0;
}

/* ---- the child ---- */

/* Says why, unless it was said before, and tries again. */
static void failed(SshForward *f, const char *why) {
        char text[SAID_MAX];

        (void) snprintf(text, sizeof(text), "%s", why);
        f->retry = f->retry == 0 ? RETRY_MIN : MIN(f->retry * 2, RETRY_MAX);
        if (!streq(text, f->logged)) {
                memcpy(f->logged, text, sizeof(text));
                log_warning("ssh to '%s' for '%s': %s; trying again", f->config.spec.host, f->config.name, text);
        }
        start_later(f, f->retry);
}

static void unlink_in(const SshForward *f, const char *name) {
        char path[sizeof(f->dir) + 8];

        (void) snprintf(path, sizeof(path), "%s/%s", f->dir, name);
        (void) unlink(path);
}

static void forget_child(SshForward *f) {
        f->child = sd_event_source_disable_unref(f->child); /* one that still runs is killed and waited for */
        f->said_source = sd_event_source_disable_unref(f->said_source);
        f->said_fd = safe_close(f->said_fd);
        f->up = f->told = false;
        unlink_in(f, "s");
        allow_clients(f);
}

/* Keeps the last line that says something. The log makes harmless what a terminal would act upon. */
static void hear(SshForward *f, const char *text, size_t len) {
        for (size_t i = 0; i < len; i++) {
                size_t n = strlen(f->said);

                if (text[i] == '\n' || text[i] == '\r') {
                        if (n > 0 && f->said[n - 1] != '\n' && n + 1 < sizeof(f->said))
                                f->said[n] = '\n'; /* the next character begins anew */
                        continue;
                }
                if (n > 0 && f->said[n - 1] == '\n') {
                        memset(f->said, 0, sizeof(f->said));
                        n = 0;
                }
                if (n + 2 < sizeof(f->said))
                        f->said[n] = text[i];
        }
}

static int on_said(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        SshForward *f = userdata;
        char buf[512];
        ssize_t n = read(fd, buf, sizeof(buf));

        if (n > 0)
                hear(f, buf, (size_t) n);
        else if (n == 0 || errno != EAGAIN)
                (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
        return 0;
}

static int on_child_ended(sd_event_source *source, const siginfo_t *si, void *userdata) {
        SshForward *f = userdata;
        char buf[512], why[SAID_MAX];
        ssize_t n = f->said_fd >= 0 ? read(f->said_fd, buf, sizeof(buf)) : 0;

        if (n > 0)
                hear(f, buf, (size_t) n);
        f->said[strcspn(f->said, "\n")] = 0;
        if (f->said[0] != 0)
                (void) snprintf(why, sizeof(why), "%s", f->said);
        else
                (void) snprintf(why, sizeof(why), "it has ended with %s %d", si->si_code == CLD_EXITED ? "status" : "signal", si->si_status);
        forget_child(f);
        failed(f, why);
        return 0;
}

/* Where ssh reads PORT:HOST:..., colons and backslashes are its own; %, too. */
static void quote_path(const char *path, char ret[static 2 * 108]) {
        for (; *path; path++) {
                if (strchr("\\:", *path))
                        *ret++ = '\\';
                else if (*path == '%')
                        *ret++ = '%';
                *ret++ = *path;
        }
        *ret = 0;
}

/* Starts ssh with @fd as its connection and @said_fd as its stderr. */
static int spawn(const SshForward *f, int fd, int said_fd, pid_t *ret) {
        const SshSpec *s = &f->config.spec;
        char forward[sizeof(f->dir) + 2 * sizeof(s->path) + 8], key[sizeof(f->dir) + 8], port[8], quoted[2 * sizeof(s->path)];
        char home[256], path[512];
        const char *argv[ARGS_MAX] = {
                "ssh", "-F", "none", "-N", "-T", "-i", key, "-l", s->user, "-p", port, "-L", forward,
                "-o", "ProxyCommand=-", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
                "-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindMask=0177", "-o", "StreamLocalBindUnlink=no", "-o", "LogLevel=ERROR",
                "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3", "-o", "UpdateHostKeys=no",
        }, *const lax[] = { "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "GlobalKnownHostsFile=/dev/null" };
        const char *const strict[] = { "-o", "StrictHostKeyChecking=yes" };
        char *const env[] = { path, home, (char *) "LANG=C.UTF-8", NULL };
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t set;
        size_t n = 0;
        int r;

        quote_path(s->path, quoted);
        (void) snprintf(forward, sizeof(forward), "%s/s:%s", f->dir, quoted);
        (void) snprintf(key, sizeof(key), "%s/key", f->dir);
        (void) snprintf(port, sizeof(port), "%u", s->port);
        (void) snprintf(home, sizeof(home), "HOME=%s", getenv("HOME") ?: "/");
        (void) snprintf(path, sizeof(path), "PATH=%s", getenv("PATH") ?: "/usr/local/bin:/usr/bin:/bin");
        while (argv[n])
                n++;
        for (size_t i = 0; i < (s->secure ? ELEMENTSOF(strict) : ELEMENTSOF(lax)); i++)
                argv[n++] = s->secure ? strict[i] : lax[i];
        argv[n++] = "--";
        argv[n++] = s->host;

        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attr);
        if (r != 0) {
                (void) posix_spawn_file_actions_destroy(&actions);
                return -r;
        }
        r = posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
        r = r != 0 ? r : posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
        r = r != 0 ? r : posix_spawn_file_actions_adddup2(&actions, said_fd, STDERR_FILENO);
        /* O_CLOEXEC alone would be too late: the kernel lets us go on before it closes these. */
        r = r != 0 ? r : posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
        (void) sigemptyset(&set);
        r = r != 0 ? r : posix_spawnattr_setsigmask(&attr, &set);
        (void) sigaddset(&set, SIGPIPE);
        r = r != 0 ? r : posix_spawnattr_setsigdefault(&attr, &set);
        r = r != 0 ? r : posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        loop_fork_begin();
        r = r != 0 ? r : posix_spawnp(ret, "ssh", &actions, &attr, (char *const *) argv, env); /* which returns when they are closed */
        loop_fork_end();
        (void) posix_spawnattr_destroy(&attr);
        (void) posix_spawn_file_actions_destroy(&actions);
        return -r;
}

static void start(SshForward *f) {
        _cleanup_close_ int fd = -EBADF, said_fd = -EBADF;
        Error e = ERROR_INIT;
        int fds[2], r;
        pid_t pid;

        memset(f->said, 0, sizeof(f->said));
        if (f->config.connect(f->config.userdata, &f->config.spec, &fd, &e) < 0)
                return failed(f, e.message);
        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return failed(f, strerrordesc_np(errno));
        f->said_fd = fds[0];
        said_fd = fds[1];
        r = spawn(f, fd, said_fd, &pid);
        if (r < 0) {
                forget_child(f);
                return failed(f, r == -ENOENT ? "there is no program 'ssh'" : strerrordesc_np(-r));
        }
        r = sd_event_add_child(f->event, &f->child, pid, WEXITED, on_child_ended, f);
        if (r < 0) {
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
                forget_child(f);
                return failed(f, strerrordesc_np(-r));
        }
        (void) sd_event_source_set_child_process_own(f->child, true);
        (void) sd_event_add_io(f->event, &f->said_source, f->said_fd, EPOLLIN, on_said, f); /* without, it is read in the end */
}

static int on_timer(sd_event_source *source, uint64_t now, void *userdata) {
        SshForward *f = userdata;

        if (!f->child) {
                start(f);
                return 0;
        }
        f->up = true;
        f->retry = 0;
        f->logged[0] = 0;
        if (!f->told)
                log_info("ssh to '%s' for '%s' is connected", f->config.spec.host, f->config.name);
        f->told = true;
        allow_clients(f);
        return 0;
}

static int on_appearance(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        SshForward *f = userdata;

        if (f->child && !f->up && event->len > 0 && streq(event->name, "s"))
                start_later(f, UP_DELAY);
        return 0;
}

/* ---- life ---- */

/* Of the user's own, where there is one: what lies in /tmp for long is cleaned away. Not one whose name ssh would read anything into. */
static int make_dir(SshForward *f) {
        static const char safe[] = "/-_.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        const char *base = getenv("XDG_RUNTIME_DIR");
        char dir[DIR_LEN], key[DIR_LEN + 8];

        if (!base || base[0] != '/' || base[strspn(base, safe)] != 0 || strlen(base) > DIR_LEN - sizeof("/vnetd-ssh-XXXXXX") || access(base, W_OK) < 0)
                base = "/tmp";
        (void) snprintf(dir, sizeof(dir), "%s/vnetd-ssh-XXXXXX", base);
        if (!mkdtemp(dir))
                return -errno;
        memcpy(f->dir, dir, sizeof(dir));
        (void) snprintf(key, sizeof(key), "%s/key", f->dir);
        return symlink(f->config.spec.key, key) < 0 ? -errno : 0;
}

int ssh_forward_new(SshForward **ret, sd_event *event, const SshForwardConfig *config, int listen_fd) {
        SshForward *f = calloc(1, sizeof(*f));
        sigset_t set;
        int r;

        if (!f)
                return -ENOMEM;
        f->event = event;
        f->config = *config;
        f->listen_fd = f->said_fd = -EBADF;
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD); /* sd_event_add_child() wants it so */
        r = sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : make_dir(f);
        if (r >= 0)
                r = sd_event_add_io(event, &f->listener, listen_fd, EPOLLIN, on_listener, f);
        if (r >= 0)
                r = sd_event_source_set_enabled(f->listener, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_inotify(event, &f->appearance, f->dir, IN_CREATE | IN_ONLYDIR, on_appearance, f);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &f->timer, CLOCK_MONOTONIC, 0, 0, on_timer, f);
        if (r < 0) {
                ssh_forward_free(f);
                return r;
        }
        f->listen_fd = listen_fd;
        *ret = f;
        return 0;
}

SshForward *ssh_forward_free(SshForward *f) {
        if (!f)
                return NULL;
        sd_event_source_disable_unref(f->listener);
        f->listener = NULL;
        sd_event_source_disable_unref(f->timer);
        sd_event_source_disable_unref(f->appearance);
        forget_child(f);
        while (f->clients)
                client_free(f->clients);
        (void) safe_close(f->listen_fd);
        if (f->dir[0] != 0) {
                unlink_in(f, "key");
                (void) rmdir(f->dir);
        }
        free(f);
        return NULL;
}

void ssh_forward_stats(const SshForward *f, uint64_t *ret_connections, uint32_t *ret_active) {
        *ret_connections = f->n_accepted;
        *ret_active = f->n_clients;
}
