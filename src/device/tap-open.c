/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a TAP in a namespace. A TAP belongs to the namespace its descriptor was opened in, so somebody must go there; a
 * thread of a daemon cannot join a user namespace at all (setns(2), CLONE_NEWUSER), so a forked child goes. It makes plain
 * system calls only: between fork and _exit() in a process of many threads nothing else is safe.
 *
 * Rights: joining a network namespace takes CAP_SYS_ADMIN in its owning user namespace and in one's own. Root has both. A
 * plain user has them after joining a user namespace of his own, so the child does that first when the direct way is barred.
 *
 * The child reports over a socket pair: one TapReport, and the descriptors beside it.
 */

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "basic/parse.h"
#include "device/tap-open.h"

typedef enum TapStep {
        TAP_STEP_NONE,
        TAP_STEP_FORK,
        TAP_STEP_JOIN_USER,
        TAP_STEP_JOIN_NET,
        TAP_STEP_OPEN_TUN,
        TAP_STEP_CREATE,
        TAP_STEP_QUEUE,
        TAP_STEP_NETLINK,
        TAP_STEP_REPORT,
        _TAP_STEP_MAX,
} TapStep;

static const char *const tap_step_text[_TAP_STEP_MAX] = {
        [TAP_STEP_NONE] = "",
        [TAP_STEP_FORK] = "starting a process to enter the namespace",
        [TAP_STEP_JOIN_USER] = "joining the user namespace that owns the network namespace",
        [TAP_STEP_JOIN_NET] = "joining the network namespace",
        [TAP_STEP_OPEN_TUN] = "opening /dev/net/tun",
        [TAP_STEP_CREATE] = "creating or attaching to the TAP interface",
        [TAP_STEP_QUEUE] = "opening a further queue of the TAP interface",
        [TAP_STEP_NETLINK] = "opening a netlink socket",
        [TAP_STEP_REPORT] = "passing descriptors out of the namespace",
};

typedef struct TapReport {
        int step, error;
        bool existed;
} TapReport;

/* What is passed out of the namespace, in this order. */
typedef struct TapFds {
        int fds[1 + TAP_QUEUES_MAX]; /* the netlink socket, then the queues */
        unsigned n;
} TapFds;

static void fds_close(TapFds *f) {
        while (f->n > 0)
                (void) safe_close(f->fds[--f->n]);
}

/**
 * netns_open() - open a network namespace by path or pid
 * @netns:      somebody's word: it may name a FIFO, a tape drive, a watchdog
 *
 * So the file is first held without being opened, and opened only when it is of the file system of namespaces.
 */
int netns_open(const char *netns) {
        char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
        _cleanup_close_ int held_fd = -EBADF, fd = -EBADF;
        struct statfs fs;
        pid_t pid;

        if (parse_pid(netns, &pid) >= 0) {
                (void) snprintf(path, sizeof(path), "/proc/%d/ns/net", (int) pid);
                netns = path;
        }

        held_fd = open(netns, O_PATH | O_CLOEXEC);
        if (held_fd < 0 || fstatfs(held_fd, &fs) < 0)
                return -errno;
        if (fs.f_type != NSFS_MAGIC)
                return -EINVAL;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", held_fd);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
                return -EINVAL;
        return TAKE_FD(fd);
}

/* True when @fd is the namespace that @self_path names for the calling thread. */
static bool is_own_namespace(int fd, const char *self_path) {
        struct stat a, b;

        return fstat(fd, &a) == 0 && stat(self_path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int failed(TapReport *report, TapStep step) {
        report->step = step;
        report->error = errno;
        return -errno;
}

/* IFF_TUN_EXCL first: the only way to know whether the interface was there before. @ifname: in: the name or pattern, out: the name. */
static int attach_first(int fd, const TapOpen *request, char ifname[static IFNAMSIZ], TapReport *report) {
        struct ifreq ifr = { .ifr_flags = (short) (request->flags | IFF_TUN_EXCL) };

        memcpy(ifr.ifr_name, ifname, IFNAMSIZ);
        if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
                if (errno != EBUSY)
                        return -1;
                ifr.ifr_flags = request->flags;
                report->existed = true;
                if (ioctl(fd, TUNSETIFF, &ifr) < 0)
                        return -1;
        }
        memcpy(ifname, ifr.ifr_name, IFNAMSIZ);
        return 0;
}

static int attach_further(int fd, const TapOpen *request, const char ifname[static IFNAMSIZ]) {
        struct ifreq ifr = { .ifr_flags = request->flags };

        memcpy(ifr.ifr_name, ifname, IFNAMSIZ);
        return ioctl(fd, TUNSETIFF, &ifr);
}

/* Opens what is asked for in the namespace the caller is in. System calls only. What @ret has then is the caller's, also on failure. */
static int open_here(const TapOpen *request, TapReport *report, TapFds *ret) {
        const struct sockaddr_nl any = { .nl_family = AF_NETLINK };
        char ifname[IFNAMSIZ];
        int fd;

        ret->n = 0;
        fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        if (fd < 0)
                return failed(report, TAP_STEP_NETLINK);
        ret->fds[ret->n++] = fd;
        if (bind(fd, (const struct sockaddr *) &any, sizeof(any)) < 0)
                return failed(report, TAP_STEP_NETLINK);

        memcpy(ifname, request->ifname, sizeof(ifname));
        for (unsigned i = 0; i < request->n_queues; i++) {
                fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
                if (fd < 0)
                        return failed(report, TAP_STEP_OPEN_TUN);
                ret->fds[ret->n++] = fd;
                if (i == 0 && attach_first(fd, request, ifname, report) < 0)
                        return failed(report, TAP_STEP_CREATE);
                if (i > 0 && attach_further(fd, request, ifname) < 0)
                        return failed(report, TAP_STEP_QUEUE);
        }
        return 0;
}

/* ---- the child ---- */

static int join(const TapOpen *request, int userns_fd, TapReport *report) {
        if (setns(request->netns_fd, CLONE_NEWNET) == 0)
                return 0;
        if (errno != EPERM || userns_fd < 0)
                return failed(report, TAP_STEP_JOIN_NET);
        if (setns(userns_fd, CLONE_NEWUSER) < 0)
                return failed(report, TAP_STEP_JOIN_USER);
        if (setns(request->netns_fd, CLONE_NEWNET) < 0)
                return failed(report, TAP_STEP_JOIN_NET);
        return 0;
}

static void child_main(const TapOpen *request, int userns_fd, int report_fd) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(((TapFds *) NULL)->fds))];
        } control = {};
        TapReport report = {};
        struct iovec iov = { &report, sizeof(report) };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        TapFds opened;

        if (join(request, userns_fd, &report) == 0 && open_here(request, &report, &opened) == 0) {
                size_t len = opened.n * sizeof(int);

                msg.msg_control = control.buf;
                msg.msg_controllen = CMSG_SPACE(len);
                *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){
                        .cmsg_len = CMSG_LEN(len),
                        .cmsg_level = SOL_SOCKET,
                        .cmsg_type = SCM_RIGHTS,
                };
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), opened.fds, len);
        }
        _exit(sendmsg(report_fd, &msg, MSG_NOSIGNAL) < 0);
}

/* ---- the parent ---- */

static int receive_report(const TapOpen *request, int fd, TapReport *ret_report, TapFds *ret) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(((TapFds *) NULL)->fds))];
        } control = {};
        struct iovec iov = { ret_report, sizeof(*ret_report) };
        struct msghdr msg = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.buf,
                .msg_controllen = sizeof(control.buf),
        };
        ssize_t n;

        do
                n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;

        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                ret->n = (unsigned) ((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                memcpy(ret->fds, CMSG_DATA(c), ret->n * sizeof(int));
        }
        if (n != sizeof(*ret_report))
                return -EIO; /* the child died */
        if (ret_report->error != 0)
                return -ret_report->error;
        /* Fewer descriptors and no error: they did not fit our table of descriptors. */
        return ret->n < 1 + request->n_queues ? -EMFILE : 0;
}

/* Returns a descriptor of the user namespace to join, or -EBADF when there is none to join: ours already, or out of sight. */
static int owning_userns(int netns_fd) {
        _cleanup_close_ int fd = ioctl(netns_fd, NS_GET_USERNS);

        if (fd < 0 || is_own_namespace(fd, "/proc/self/ns/user"))
                return -EBADF;
        return TAKE_FD(fd);
}

static int open_there(const TapOpen *request, TapReport *report, TapFds *opened) {
        _cleanup_close_ int userns_fd = owning_userns(request->netns_fd);
        int pair[2], r, status;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return failed(report, TAP_STEP_REPORT);
        _cleanup_close_ int ours = pair[0], theirs = pair[1];

        pid_t pid = _Fork();
        if (pid < 0)
                return failed(report, TAP_STEP_FORK);
        if (pid == 0)
                child_main(request, userns_fd, theirs);

        theirs = safe_close(theirs);
        r = receive_report(request, ours, report, opened);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (r < 0 && report->step == TAP_STEP_NONE)
                report->step = TAP_STEP_REPORT;
        return r;
}

int tap_open(const TapOpen *request, TapOpened *ret, const char **ret_what) {
        TapReport report = {};
        TapFds opened = {};
        int r;

        assert(request->n_queues <= TAP_QUEUES_MAX);
        if (request->netns_fd < 0 || is_own_namespace(request->netns_fd, "/proc/thread-self/ns/net"))
                r = open_here(request, &report, &opened);
        else
                r = open_there(request, &report, &opened);
        if (r < 0) {
                fds_close(&opened);
                *ret_what = tap_step_text[CLAMP(report.step, 0, _TAP_STEP_MAX - 1)];
                return r;
        }

        *ret = (TapOpened){ .rtnl_fd = opened.fds[0], .existed = report.existed };
        for (unsigned i = 0; i < TAP_QUEUES_MAX; i++)
                ret->tap_fds[i] = i < request->n_queues ? opened.fds[1 + i] : -EBADF;
        return 0;
}
