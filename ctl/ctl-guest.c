/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's side of `run` and `attach`: namespaces, resolv.conf, what child and parent tell each other, and the call that hands it all to
 * the daemon. The interface itself is made in ctl-guest-link.c.
 */

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "basic/parse.h"
#include "ctl-client.h"
#include "ctl-guest.h"

/* ---- namespaces ---- */

static bool is_our_netns(int fd) {
        struct stat it, ours;

        return fstat(fd, &it) == 0 && stat("/proc/self/ns/net", &ours) == 0 && it.st_dev == ours.st_dev && it.st_ino == ours.st_ino;
}

int guest_open_netns(const char *what, int *ret, int *ret_pidfd) {
        _cleanup_close_ int fd = -EBADF, pidfd = -EBADF;
        char path[64];
        pid_t pid;

        if (parse_pid(what, &pid) >= 0) {
                (void) snprintf(path, sizeof(path), "/proc/%d/ns/net", (int) pid);
                pidfd = (int) syscall(SYS_pidfd_open, pid, 0); /* first: should another be @pid by then, this one has ended */
        }
        fd = open(parse_pid(what, &pid) >= 0 ? path : what, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0) {
                int error = errno;

                (void) fail_errno(error, "Failed to open the network namespace of '%s'", what);
                return error == ENOENT || error == ESRCH || error == ENOTDIR ? CTL_NO_OBJECT : CTL_FAILED;
        }
        if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
                (void) fail("Failed to open the network namespace of '%s': it is something else", what);
                return CTL_NO_OBJECT;
        }
        if (is_our_netns(fd)) /* a guest's address and routes would take the place of its own */
                return fail("'%s' is in the network namespace that vnetctl runs in, which is no guest", what);
        *ret = TAKE_FD(fd);
        *ret_pidfd = TAKE_FD(pidfd);
        return 0;
}

static int write_file(const char *path, const char *text) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t) strlen(text))
                return fail_errno(errno, "Failed to write %s", path);
        return 0;
}

/* Maps one's own uid and gid to themselves: files look the same inside, and nobody else's can be touched. */
static int map_ids(uid_t uid, gid_t gid) {
        char text[64];
        int r;

        (void) snprintf(text, sizeof(text), "%u %u 1\n", uid, uid);
        r = write_file("/proc/self/uid_map", text);
        if (r != 0)
                return r;
        /* user_namespaces(7): before gid_map, without rights outside. */
        r = write_file("/proc/self/setgroups", "deny");
        if (r != 0)
                return r;
        (void) snprintf(text, sizeof(text), "%u %u 1\n", gid, gid);
        return write_file("/proc/self/gid_map", text);
}

int guest_unshare(void) {
        uid_t uid = geteuid();
        gid_t gid = getegid();
        int r = 0;

        if (uid != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0) {
                if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) < 0)
                        return fail_errno(errno, "Failed to make a user and network namespace");
                r = map_ids(uid, gid);
        }
        if (r == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                r = fail_errno(errno, "Failed to make mounts private");
        return r;
}

int guest_join(int netns_fd) {
        _cleanup_close_ int user_fd = -EBADF;

        if (setns(netns_fd, CLONE_NEWNET) == 0)
                return 0;
        if (errno != EPERM)
                return fail_errno(errno, "Failed to join the network namespace");
        user_fd = ioctl(netns_fd, NS_GET_USERNS);
        if (user_fd < 0 || setns(user_fd, CLONE_NEWUSER) < 0)
                return fail_errno(errno,
                                  "Failed to join the user namespace that owns the network namespace");
        if (setns(netns_fd, CLONE_NEWNET) < 0)
                return fail_errno(errno, "Failed to join the network namespace");
        return 0;
}

int guest_keep_capabilities(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];

        if (geteuid() == 0)
                return 0;
        if (syscall(SYS_capget, &header, data) < 0)
                return fail_errno(errno, "Failed to read capabilities");
        data[0].inheritable = data[0].permitted;
        data[1].inheritable = data[1].permitted;
        if (syscall(SYS_capset, &header, data) < 0)
                return fail_errno(errno, "Failed to set capabilities");
        for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
                if (data[cap / 32].permitted & (1u << cap % 32) &&
                    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
                        return fail_errno(errno, "Failed to keep capabilities");
        return 0;
}

/* ---- resolv.conf ---- */

static int write_resolv_conf(const char *path, const DhcpLease *lease) {
        _cleanup_fclose_ FILE *f = fopen(path, "we");

        if (!f)
                return fail_errno(errno, "Failed to write a resolv.conf");
        for (unsigned i = 0; i < lease->n_dns; i++)
                (void) fprintf(f, "nameserver %s\n", IP_TO_TEXT(&lease->dns[i]));
        if (*lease->search || *lease->domain)
                (void) fprintf(f, "search %s\n", *lease->search ? lease->search : lease->domain);
        return fflush(f) != 0 ? fail_errno(errno, "Failed to write a resolv.conf") : 0;
}

static int mount_tmpfs(const char *path) {
        return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64K,mode=755") < 0
                               ? -errno
                               : 0;
}

/* Services that resolve names for processes around them would answer from outside the namespace: hide their
 * sockets. */
static int hide_resolvers(const DhcpLease *lease) {
        static const char resolve[] = "/run/systemd/resolve";

        if (access("/run/nscd", F_OK) == 0)
                (void) mount_tmpfs("/run/nscd");
        if (access(resolve, F_OK) != 0 || mount_tmpfs(resolve) < 0)
                return 0;
        /* /etc/resolv.conf is often a link to one of these. */
        int r = write_resolv_conf("/run/systemd/resolve/resolv.conf", lease);

        return r != 0 ? r : write_resolv_conf("/run/systemd/resolve/stub-resolv.conf", lease);
}

/* The file to be bound over the system's lives on a tmpfs that is mounted for a moment on /tmp, where nobody
 * else sees it: nothing is left behind on any disk. */
int guest_set_resolv_conf(const DhcpLease *lease) {
        char real[PATH_MAX];
        int r;

        if (lease->n_dns == 0)
                return 0;
        r = hide_resolvers(lease);
        if (r != 0)
                return r;
        if (!realpath("/etc/resolv.conf", real)) {
                /* Nothing to bind over, and maybe nobody who wants it: addresses work all the same. */
                (void) fail_errno(errno,
                                  "There is no /etc/resolv.conf to replace, names will not be resolved");
                return 0;
        }
        if (strncmp(real, "/run/systemd/resolve/", 21) == 0)
                return 0; /* written just now */
        r = mount_tmpfs("/tmp");
        if (r < 0)
                return fail_errno(r, "Failed to mount a tmpfs");
        r = write_resolv_conf("/tmp/resolv.conf", lease);
        if (r == 0 && mount("/tmp/resolv.conf", real, NULL, MS_BIND, NULL) < 0)
                r = fail_errno(errno, "Failed to put a resolv.conf in place");
        if (umount2("/tmp", MNT_DETACH) < 0 && r == 0)
                r = fail_errno(errno, "Failed to unmount a tmpfs");
        return r;
}

/* ---- between parent and child ---- */

int report_send(int sock, const GuestReport *report, const GuestFds *fds) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(fds->fds))];
        } control = {};
        struct iovec iov = { (void *) report, sizeof(*report) };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (fds && fds->n > 0) {
                size_t len = fds->n * sizeof(*fds->fds);

                msg.msg_control = control.buf;
                msg.msg_controllen = CMSG_SPACE(len);
                *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){ CMSG_LEN(len), SOL_SOCKET, SCM_RIGHTS };
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds->fds, len);
        }
        return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int report_receive(int sock, GuestReport *ret, GuestFds *ret_fds) {
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(ret_fds->fds))];
        } control = {};
        struct iovec iov = { ret, sizeof(*ret) };
        struct msghdr msg = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.buf,
                              .msg_controllen = sizeof(control.buf) };
        struct cmsghdr *c;
        ssize_t n;

        do
                n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        c = CMSG_FIRSTHDR(&msg);
        if (ret_fds && c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                ret_fds->n = (unsigned) ((c->cmsg_len - CMSG_LEN(0)) / sizeof(*ret_fds->fds));
                memcpy(ret_fds->fds, CMSG_DATA(c), ret_fds->n * sizeof(*ret_fds->fds));
        }
        return n == sizeof(*ret) ? 0 : -EPIPE;
}

/* ---- the daemon's side of it ---- */

int guest_create_device(Ctl *c, const GuestLink *link, const GuestFds *tap, const GuestFds *lend, char **ret_path) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *path;
        int r;

        r = client_new_call(c, VNETD_ROOT, VNETD_MANAGER, "CreateDevice", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", opt_set(c, OPT_VHOST) ? "vhost-net" : "tap");
        if (r >= 0)
                r = options_open(m);
        if (r >= 0)
                r = option_fd(m, "Fd", tap->fds[0]);
        if (r >= 0)
                r = option_fds(m, "QueueFds", tap->fds + 1, tap->n - 1);
        if (r >= 0)
                r = option_u32(m, "Queues", tap->n);
        if (r >= 0 && opt_set(c, OPT_PARALLEL))
                r = option_bool(m, "Parallel", true);
        if (r >= 0)
                r = option_string(m, "Network", opt_value(c, OPT_NETWORK));
        if (r >= 0 && lend->n > 0 && tap->n + lend->n <= GUEST_FDS_MAX)
                r = option_fd(m, "Lend", lend->fds[0]);
        if (r >= 0)
                r = option_string(m, "Mac", MAC_TO_TEXT(&link->mac));
        if (r >= 0)
                r = option_u32(m, "Mtu", link->mtu);
        if (r >= 0)
                r = options_close(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        r = client_call(c, m, "plug the namespace in", &reply);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return fail_errno(r, "Failed to read the reply of vnetd");
        *ret_path = strdup(path);
        return *ret_path ? 0 : fail_errno(ENOMEM, "Failed to read the reply of vnetd");
}

/* Of a TAP whose number of queues the command line leaves open. */
static uint32_t default_queues(Ctl *c) {
        cpu_set_t cpus;

        if (!opt_set(c, OPT_PARALLEL) || sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
                return 1;
        return CLAMP((uint32_t) CPU_COUNT(&cpus), 1u, (uint32_t) GUEST_PARALLEL_MAX);
}

int guest_network(Ctl *c, const char *network_path, GuestNetwork *ret) {
        _cleanup_(value_freep) Value *properties = NULL;
        const char *text = opt_value(c, OPT_MTU);
        uint32_t mtu, queues = default_queues(c);
        int r;

        if (text && parse_u32(text, GUEST_MTU_MIN, GUEST_MTU_MAX, &mtu) < 0)
                return fail_usage("Invalid value '%s' for --mtu: use %d to %d", text, GUEST_MTU_MIN, GUEST_MTU_MAX);
        if (opt_set(c, OPT_QUEUES) && parse_u32(opt_value(c, OPT_QUEUES), 1, GUEST_QUEUES_MAX, &queues) < 0)
                return fail_usage("Invalid value '%s' for --queues: use 1 to %d", opt_value(c, OPT_QUEUES), GUEST_QUEUES_MAX);
        r = client_get_properties(c, network_path, VNETD_NETWORK, "read the network's properties", &properties);
        if (r != 0)
                return r;
        if (!text)
                mtu = (uint32_t) value_get_number(properties, "Mtu");
        *ret = (GuestNetwork){
                .mtu = CLAMP(mtu, (uint32_t) GUEST_MTU_MIN, (uint32_t) GUEST_MTU_MAX),
                .has_ip4 = !streq(value_get_string(properties, "Subnet"), ""),
                .has_ip6 = !streq(value_get_string(properties, "Subnet6"), ""),
                .queues = queues,
        };
        return 0;
}
