/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vnetd: puts manager, bus and HTTP on one event loop, tells systemd how it goes, and ends when told to. Exit status: 0 stopped, 1 failed,
 * 2 wrong usage.
 */

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "basic/log.h"
#include "bus/bus.h"
#include "daemon/options.h"
#include "http/http.h"

#define EXIT_USAGE 2
#define LARGE_ALLOCATION (96 * 1024)

/* ---- where state is kept ---- */

typedef struct Directories {
        char runtime[4096], state[4096]; /* "": none */
} Directories;

/* The directory systemd has made ($RUNTIME_DIRECTORY: the first of a list), else PARENT/vnetd; "" without either. */
static void choose_directory(char *buf, size_t size, const char *variable, const char *parent) {
        const char *given = getenv(variable);
        int n;

        buf[0] = 0;
        if (given && given[0] == '/')
                n = snprintf(buf, size, "%.*s", (int) strcspn(given, ":"), given);
        else if (parent && parent[0] == '/')
                n = snprintf(buf, size, "%s/vnetd", parent);
        else
                return;
        if (n >= (int) size)
                buf[0] = 0;
}

static void make_directory(char *path) {
        if (path[0] == 0 || mkdir(path, 0755) >= 0 || errno == EEXIST)
                return;
        (void) log_warning_errno(errno, "Cannot make '%s', a restart will forget what was kept there: %m", path);
        path[0] = 0;
}

/* An instance on a bus given by address is one of many: it keeps state only where it is told to. */
static void choose_directories(const Options *o, Directories *d) {
        const char *runtime = o->bus_address ? NULL : o->user ? getenv("XDG_RUNTIME_DIR") : "/run",
                   *state = o->bus_address || o->user ? NULL : "/var/lib";

        choose_directory(d->runtime, sizeof(d->runtime), "RUNTIME_DIRECTORY", runtime);
        choose_directory(d->state, sizeof(d->state), "STATE_DIRECTORY", state);
        if (o->state_dir) {
                (void) snprintf(d->runtime, sizeof(d->runtime), "%s", o->state_dir);
                (void) snprintf(d->state, sizeof(d->state), "%s", o->state_dir);
        }
        make_directory(d->runtime);
        make_directory(d->state);
}

/* ---- signals ---- */

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        log_info("Stopping: %s", sigdescr_np((int) si->ssi_signo) ?: "signal");
        (void) sd_notify(false, "STOPPING=1");
        return sd_event_exit(sd_event_source_get_event(source), EXIT_SUCCESS);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Manager *m = userdata;
        struct timespec now;
        Error e = ERROR_INIT;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        (void) sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%llu",
                          (unsigned long long) now.tv_sec * USEC_PER_SEC + (unsigned long long) now.tv_nsec / 1000);
        if (manager_reload(m, &e) >= 0) /* else each problem is in the log already; what runs goes on */
                log_info("The configuration is read anew");
        (void) sd_notify(false, "READY=1");
        return 0;
}

/* Blocked before the first thread is made: all threads inherit it, and the signals come through the event loop alone. */
static int block_signals(void) {
        sigset_t set;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGHUP);
        return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

static int watch_signals(sd_event *event, Manager *m) {
        int r;

        r = sd_event_add_signal(event, NULL, SIGTERM, on_stop, NULL);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGINT, on_stop, NULL);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGHUP, on_reload, m);
        return r;
}

/* A host socket for each flow of a guest: as many as we may. */
static void raise_fd_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
                return;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                (void) log_warning_errno(errno, "Cannot raise the limit of open files, ignoring: %m");
}

/* What is as large as a chunk of flows comes from the kernel and goes back to it at once, whatever was allocated after it. */
static void tune_memory(void) {
        (void) mallopt(M_MMAP_THRESHOLD, LARGE_ALLOCATION);
}

static int run(const Options *o) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(manager_freep) Manager *manager = NULL;
        _cleanup_(http_freep) Http *http = NULL;
        _cleanup_(bus_freep) Bus *bus = NULL;
        const char *always_query = getenv("VNETD_POLKIT_ALWAYS_QUERY");
        Error e = ERROR_INIT;
        Directories dirs;
        int r;

        tune_memory();
        raise_fd_limit();
        choose_directories(o, &dirs);
        r = block_signals();
        if (r >= 0)
                r = sd_event_default(&event);
        if (r >= 0)
                r = sd_event_set_watchdog(event, true);
        if (r >= 0)
                r = manager_new(&manager,
                                &(ManagerConfig){
                                        .user = o->user || o->bus_address,
                                        .host_loopback = o->user || o->bus_address,
                                        .keep_log_level = o->log_level >= 0,
                                        .config_dir = o->config_dir,
                                        .runtime_dir = dirs.runtime[0] != 0 ? dirs.runtime : NULL,
                                        .state_dir = dirs.state[0] != 0 ? dirs.state : NULL,
                                },
                                event);
        if (r >= 0)
                r = http_new(&http, event, manager);
        if (r >= 0)
                r = watch_signals(event, manager);
        if (r < 0)
                return log_error_errno(r, "Cannot start: %m");

        http_serve_networks(http);
        r = manager_load(manager, &e);
        if (r < 0) {
                log_error("Cannot start: %s", e.message);
                return r;
        }
        r = bus_new(&bus, event, manager,
                    &(BusConfig){
                            .user = o->user,
                            .address = o->bus_address,
                            .always_query_polkit = always_query && streq(always_query, "1"),
                    });
        if (r < 0)
                return r; /* told */

        (void) sd_notify(false, "READY=1");
        log_info("Ready");
        r = sd_event_loop(event);
        if (r < 0)
                return log_error_errno(r, "Event loop failed: %m");
        return r == EXIT_SUCCESS ? 0 : -EIO;
}

int main(int argc, char **argv) {
        Options o;
        int r;

        log_open("vnetd");
        r = options_parse(argc, argv, &o);
        if (r <= 0)
                return r < 0 ? EXIT_USAGE : EXIT_SUCCESS;
        if (o.log_level >= 0)
                log_set_max_level(o.log_level);
        return run(&o) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
