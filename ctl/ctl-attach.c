/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `vnetctl attach`: plugs an existing namespace in. A child enters it, makes the TAP, hands it out, and
 * configures it once the daemon drives it. Nobody stays behind: the daemon holds the descriptor until the
 * namespace goes or the device is removed. The namespace's resolv.conf is its owner's: never touched.
 */

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "ctl-attach.h"
#include "ctl-client.h"
#include "ctl-guest.h"
#include "ctl-lend.h"

/* The child. Returns what to exit with. */
static int be_guest(const Ctl *c, int netns_fd, int pidfd, const GuestNetwork *network, int sock) {
        _cleanup_(guest_fds_close) GuestFds tap = {}, lend = {};
        GuestReport report = {}, go;
        DhcpLease lease = {};
        int r;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        r = guest_join(netns_fd);
        if (r == 0)
                r = guest_link_make(opt_value(c, OPT_IFNAME), network, !opt_set(c, OPT_NO_CONFIGURE), &report.link, &tap);
        if (r != 0)
                return r;
        lend_sockets(pidfd, network, &lend);
        if (report_send(sock, &report, &tap) < 0 || report_send(sock, &report, &lend) < 0 || report_receive(sock, &go, NULL) < 0)
                return CTL_FAILED; /* the parent has said why */
        if (!opt_set(c, OPT_NO_CONFIGURE)) {
                r = guest_link_configure(&report.link, network, &lease);
                if (r != 0)
                        return r;
                report.addr = lease.addr;
        }
        return report_send(sock, &report, NULL) < 0 ? CTL_FAILED : CTL_OK;
}

/* Waits for the child and says what to exit with. */
static int join_child(pid_t pid) {
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return fail_errno(errno, "Failed to wait for a child process");
        return WIFEXITED(status) ? WEXITSTATUS(status) : CTL_FAILED;
}

static int plug_in(Ctl *c, int sock, char **ret_device, GuestReport *ret) {
        _cleanup_(guest_fds_close) GuestFds tap = {}, lend = {};
        int r;

        if (report_receive(sock, ret, &tap) < 0 || tap.n == 0 || report_receive(sock, ret, &lend) < 0)
                return CTL_FAILED; /* the child has said why */
        r = guest_create_device(c, &ret->link, &tap, &lend, ret_device);
        if (r != 0)
                return r;
        if (report_send(sock, ret, NULL) < 0 || report_receive(sock, ret, NULL) < 0)
                return CTL_FAILED;
        return 0;
}

int verb_attach(Ctl *c, int argc, char **argv) {
        _cleanup_close_ int netns_fd = -EBADF, pidfd = -EBADF, ours = -EBADF, theirs = -EBADF;
        _cleanup_free_ char *network = NULL, *device = NULL;
        GuestReport report = {};
        GuestNetwork guest_net;
        int pair[2], r, child;
        pid_t pid;

        r = client_find_network(c, opt_value(c, OPT_NETWORK) ?: "default", &network);
        if (r == 0)
                r = guest_network(c, network, &guest_net);
        if (r == 0)
                r = guest_open_netns(argv[0], &netns_fd, &pidfd);
        if (r != 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return fail_errno(errno, "Failed to make a socket pair");
        ours = pair[0];
        theirs = pair[1];

        pid = fork();
        if (pid < 0)
                return fail_errno(errno, "Failed to start a process");
        if (pid == 0) {
                ours = safe_close(ours);
                _exit(be_guest(c, netns_fd, pidfd, &guest_net, theirs));
        }
        theirs = safe_close(theirs);
        r = plug_in(c, ours, &device, &report);
        ours = safe_close(ours);
        child = join_child(pid);
        r = child != 0 ? child : r;
        if (r != 0) {
                if (device)
                        (void) client_call_value(c, device, VNETD_DEVICE, "Remove",
                                                 "remove the device again", NULL, "");
                return r;
        }
        if (ip_is_null(&report.addr))
                printf("%s: not configured\n", report.link.ifname);
        else
                printf("%s: %s, MTU %u\n", report.link.ifname, IP_TO_TEXT(&report.addr), report.link.mtu);
        return CTL_OK;
}
