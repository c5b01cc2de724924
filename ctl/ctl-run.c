/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `vnetctl run`: a command in a namespace of its own that is plugged into a network.
 *
 *     vnetctl ------ fork -----> keeper (new namespaces) -- fork --> command
 *        |  <--- TAP ------------  makes the TAP
 *        |  CreateDevice, go --->  gets a lease (or waits for IPv6), configures
 *        |  <--- address --------
 *        |  Expose, go --------->  starts the command, keeps the lease, gives it back
 *        |  <--- exit status ----
 *        Remove the forwards and the device
 *
 * Signals sent to vnetctl are passed on to the command; those the terminal sends reach the whole group by
 * themselves. When vnetctl is killed, keeper and command are told to end, and the keeper cleans up in its
 * place; when all of them are killed, the device still goes with the namespace (ctl-guest-link.c).
 */

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "ctl-client.h"
#include "ctl-edit.h"
#include "ctl-guest.h"
#include "ctl-lend.h"
#include "ctl-run.h"

#define EXIT_NOT_FOUND 127 /* as shells say it */
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_SIGNAL_BASE 128
#define OBJECT_PATH_MAX 256 /* a name of NAME_MAX_LEN, every character encoded as three */

/* What the daemon has for this run, as object paths. Sent to the keeper it is the word to start the
 * command. */
typedef struct Holdings {
        char device[OBJECT_PATH_MAX]; /* "": none yet */
        char forwards[OPT_REPEAT_MAX][OBJECT_PATH_MAX];
        unsigned n_forwards;
} Holdings;

static const int passed_on[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH };

static int status_to_exit(int status) {
        return WIFSIGNALED(status) ? EXIT_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Blocks SIGCHLD and what is passed on, which come by the descriptor from now on. @ret_before: what the
 * command starts with. */
static int take_signals(sigset_t *ret_before, int *ret_fd) {
        sigset_t set;
        int fd;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        for (size_t i = 0; i < ELEMENTSOF(passed_on); i++)
                (void) sigaddset(&set, passed_on[i]);
        if (sigprocmask(SIG_BLOCK, &set, ret_before) < 0)
                return fail_errno(errno, "Failed to block signals");
        fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                return fail_errno(errno, "Failed to watch signals");
        *ret_fd = fd;
        return 0;
}

/* Passes signals on to @pid. True when @pid has ended, with @ret_status. */
static bool handle_signals(int signal_fd, pid_t pid, int *ret_status) {
        struct signalfd_siginfo i;

        while (read(signal_fd, &i, sizeof(i)) == sizeof(i)) {
                if (i.ssi_signo == SIGCHLD) {
                        if (waitpid(pid, ret_status, WNOHANG) == pid)
                                return true;
                } else if (i.ssi_code != SI_KERNEL) /* from the terminal: the command got its own */
                        (void) kill(pid, (int) i.ssi_signo);
        }
        return false;
}

/* ---- the keeper ---- */

static uint64_t now_sec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts); /* leases run on while the machine sleeps */
        return (uint64_t) ts.tv_sec;
}

static void start_command(char **argv, const sigset_t *mask) {
        int error;

        if (guest_keep_capabilities() != 0)
                _exit(CTL_FAILED);
        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
        (void) sigprocmask(SIG_SETMASK, mask, NULL);
        (void) execvp(argv[0], argv);
        error = errno;
        (void) fail_errno(error, "Failed to run '%s'", argv[0]);
        _exit(error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* Waits for the command, passes signals on, renews the lease (@lease NULL: there is none). Returns what to
 * exit with. */
static int keep(pid_t pid, int signal_fd, const GuestLink *link, DhcpLease *lease) {
        uint64_t renew_at = lease && lease->lease_sec != DHCP_FOREVER ? now_sec() + lease->renew_sec
                                                                      : UINT64_MAX;
        int status;

        for (;;) {
                struct pollfd p = { .fd = signal_fd, .events = POLLIN };
                uint64_t now = now_sec();
                int timeout = renew_at == UINT64_MAX ? -1
                              : now >= renew_at      ? 0
                                                     : (int) MIN(renew_at - now, (uint64_t) 3600) * 1000;

                if (poll(&p, 1, timeout) < 0 && errno != EINTR)
                        return fail_errno(errno, "Failed to wait for the command");
                if (handle_signals(signal_fd, pid, &status))
                        return status_to_exit(status);
                if (now_sec() >= renew_at) {
                        /* A gateway that is away for a while comes back: ask again soon. */
                        int r = dhcp_renew(link->ifindex, &link->mac, NULL, lease);

                        renew_at = now_sec() + (r < 0 ? 30 : MAX(lease->renew_sec, 1u));
                }
        }
}

/* A daemon that is gone took everything along, and what is gone is gone: nothing worth a word. */
static void remove_holdings(sd_bus *bus, const Holdings *h) {
        for (unsigned i = 0; i < h->n_forwards; i++)
                (void) sd_bus_call_method(bus, VNETD_BUS_NAME, h->forwards[i], VNETD_FORWARD, "Remove", NULL,
                                          NULL, "");
        if (*h->device)
                (void) sd_bus_call_method(bus, VNETD_BUS_NAME, h->device, VNETD_DEVICE, "Remove", NULL, NULL,
                                          "");
}

/* vnetctl was killed: do its part, on a connection of our own. A bus on an abstract socket is out of reach
 * from here. */
static void stand_in(const Ctl *c, const Holdings *h) {
        Ctl own = *c;

        own.bus = NULL; /* the other one was the parent's */
        if (client_connect(&own) == 0)
                remove_holdings(own.bus, h);
        client_disconnect(&own);
}

/* The keeper, in the child. Returns what to exit with. */
static int be_keeper(const Ctl *c, const GuestNetwork *network, int sock, char **argv) {
        _cleanup_(guest_fds_close) GuestFds tap = {}, lend = {};
        _cleanup_close_ int pidfd = -EBADF, signal_fd = -EBADF;
        bool configure = !opt_set(c, OPT_NO_CONFIGURE), leased = configure && network->has_ip4;
        GuestReport report = {}, plugged;
        pid_t pid, parent = getppid();
        DhcpLease lease = {};
        Holdings holdings;
        sigset_t before;
        int r;

        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
        r = guest_unshare();
        if (r == 0)
                r = guest_link_make(opt_value(c, OPT_IFNAME), network, configure, &report.link, &tap);
        if (r != 0)
                return r;
        pidfd = (int) syscall(SYS_pidfd_open, getpid(), 0);
        lend_sockets(pidfd, network, &lend);
        if (report_send(sock, &report, &tap) < 0 || report_send(sock, &report, &lend) < 0 || report_receive(sock, &plugged, NULL) < 0)
                return CTL_FAILED; /* the parent has said why */
        guest_fds_close(&tap);
        guest_fds_close(&lend);
        if (configure) {
                r = guest_link_configure(&report.link, network, &lease);
                if (r == 0)
                        r = guest_set_resolv_conf(&lease);
                if (r != 0)
                        return r;
                report.addr = lease.addr;
        }
        if (report_send(sock, &report, NULL) < 0 ||
            recv(sock, &holdings, sizeof(holdings), 0) != sizeof(holdings))
                return CTL_FAILED;

        r = take_signals(&before, &signal_fd);
        if (r != 0)
                return r;
        pid = fork();
        if (pid < 0)
                return fail_errno(errno, "Failed to start a process");
        if (pid == 0)
                start_command(argv, &before);
        r = keep(pid, signal_fd, &report.link, leased ? &lease : NULL);
        if (leased)
                (void) dhcp_release(report.link.ifindex, &report.link.mac, &lease);
        if (getppid() != parent)
                stand_in(c, &holdings);
        return r;
}

/* ---- vnetctl itself ---- */

typedef struct Run {
        Ctl *c;
        const char *network;      /* (borrowed) object path */
        pid_t keeper;
        int sock;                 /* (borrowed) to the keeper */
        int signal_fd;            /* (borrowed) */
        Holdings holdings;
        bool ended;               /* the keeper, with: */
        int status;
} Run;

/* Waits until the keeper reports. -EPIPE: it ended instead, or was told to. */
static int wait_report(Run *run, GuestReport *ret, GuestFds *ret_fds) {
        struct pollfd p[] = { { .fd = run->sock, .events = POLLIN },
                              { .fd = run->signal_fd, .events = POLLIN } };

        for (;;) {
                if (poll(p, ELEMENTSOF(p), -1) < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (p[0].revents)
                        return report_receive(run->sock, ret, ret_fds);
                if (p[1].revents && handle_signals(run->signal_fd, run->keeper, &run->status)) {
                        run->ended = true;
                        return -EPIPE;
                }
        }
}

/* "[ADDR:]PORT[:GUESTPORT][/udp]" into what expose() takes. */
static int split_publish(const char *spec, const IpAddr *guest, char **ret_local, char **ret_remote) {
        size_t len = strcspn(spec, "/");
        _cleanup_free_ char *head = strndup(spec, len);
        char *last, *previous, *port = NULL, *local = NULL, *remote = NULL;
        bool bracket;

        if (!head)
                return fail_errno(ENOMEM, "Failed to read '%s'", spec);
        /* Two numbers at the end: the second is the guest's. An address cannot end in ":NUMBER" but in
         * brackets. */
        last = strrchr(head, ':');
        if (last && last > head && last[1] && last[1 + strspn(last + 1, "0123456789-")] == '\0') {
                *last = '\0';
                previous = strrchr(head, ':');
                previous = previous ? previous + 1 : head;
                if (*previous && previous[strspn(previous, "0123456789-")] == '\0')
                        port = last + 1;
                else
                        *last = ':';
        }
        if (asprintf(&local, "%s%s", head, spec + len) < 0)
                local = NULL;
        bracket = port && !ip_is_null(guest) && !ip_is_v4(guest);
        if (asprintf(&remote, "%s%s%s%s%s", bracket ? "[" : "", ip_is_null(guest) ? "" : IP_TO_TEXT(guest), bracket ? "]" : "",
                     port ? ":" : "", port ?: "") < 0)
                remote = NULL;
        if (!local || !remote) {
                free(local);
                free(remote);
                return fail_errno(ENOMEM, "Failed to read '%s'", spec);
        }
        *ret_local = local;
        *ret_remote = remote;
        return 0;
}

static int publish(Run *run, const IpAddr *guest) {
        for (unsigned i = 0; i < run->c->n_values[OPT_PUBLISH]; i++) {
                _cleanup_free_ char *local = NULL, *remote = NULL, *path = NULL;
                int r = split_publish(run->c->values[OPT_PUBLISH][i], guest, &local, &remote);

                if (r == 0)
                        r = expose(run->c, run->network, local, remote, &path);
                if (r != 0)
                        return r;
                (void) snprintf(run->holdings.forwards[run->holdings.n_forwards++], OBJECT_PATH_MAX, "%s",
                                path);
        }
        return 0;
}

/* From the TAP to the start of the command. 0, or what to exit with unless the keeper ended with something
 * to say. */
static int plug_in(Run *run) {
        _cleanup_(guest_fds_close) GuestFds tap = {}, lend = {};
        _cleanup_free_ char *device = NULL;
        GuestReport report;
        int r;

        if (wait_report(run, &report, &tap) < 0 || tap.n == 0 || wait_report(run, &report, &lend) < 0)
                return CTL_FAILED; /* the keeper has said why */
        r = guest_create_device(run->c, &report.link, &tap, &lend, &device);
        if (r != 0)
                return r;
        (void) snprintf(run->holdings.device, OBJECT_PATH_MAX, "%s", device);
        if (report_send(run->sock, &report, NULL) < 0 || wait_report(run, &report, NULL) < 0)
                return CTL_FAILED;
        r = publish(run, &report.addr);
        if (r != 0)
                return r;
        return send(run->sock, &run->holdings, sizeof(run->holdings), MSG_NOSIGNAL) < 0 ? CTL_FAILED : 0;
}

/* Until the keeper has ended. */
static void wait_keeper(Run *run) {
        while (!run->ended) {
                struct pollfd p = { .fd = run->signal_fd, .events = POLLIN };

                (void) poll(&p, 1, -1);
                run->ended = handle_signals(run->signal_fd, run->keeper, &run->status);
        }
}

int verb_run(Ctl *c, int argc, char **argv) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF, signal_fd = -EBADF;
        _cleanup_free_ char *network = NULL;
        Run run = { .c = c };
        sigset_t before;
        GuestNetwork guest_net;
        int pair[2], r;

        r = client_find_network(c, opt_value(c, OPT_NETWORK) ?: "default", &network);
        if (r == 0)
                r = guest_network(c, network, &guest_net);
        if (r != 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return fail_errno(errno, "Failed to make a socket pair");
        ours = pair[0];
        theirs = pair[1];
        r = take_signals(&before, &signal_fd);
        if (r != 0)
                return r;

        run.network = network;
        run.sock = ours;
        run.signal_fd = signal_fd;
        run.keeper = fork();
        if (run.keeper < 0)
                return fail_errno(errno, "Failed to start a process");
        if (run.keeper == 0) {
                (void) sigprocmask(SIG_SETMASK, &before, NULL); /* ^C ends it until the command runs */
                ours = safe_close(ours);
                _exit(be_keeper(c, &guest_net, theirs, argv));
        }
        theirs = safe_close(theirs);
        r = plug_in(&run);
        if (r != 0)
                ours = safe_close(ours); /* the keeper ends */
        wait_keeper(&run);
        remove_holdings(c->bus, &run.holdings);
        return r != 0 && status_to_exit(run.status) == 0 ? r : status_to_exit(run.status);
}
