/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Addresses of socket devices: parsing, and opening sockets safely. Files are reached through a descriptor of their directory, so that what
 * was checked is what is used; paths longer than a socket address takes work too, as long as the last component fits.
 */

#include "device/sock-address.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/un.h>

#include "basic/parse.h"
#include "basic/sockopt.h"

#define BUFFER_BYTES (1024 * 1024)
#define BUFFER_BYTES_STREAM (4 * 1024 * 1024) /* what is in it keeps the far end busy while we sleep */
#define LISTEN_BACKLOG 16

/* ---- texts ---- */

static const struct {
        const char *prefix;
        int family, type;
} schemes[] = {
        { "unix://", AF_UNIX, 0 }, { "unixgram://", AF_UNIX, SOCK_DGRAM }, { "unixpacket://", AF_UNIX, SOCK_SEQPACKET },
        { "unix:", AF_UNIX, 0 }, { "tcp://", AF_INET, SOCK_STREAM }, { "tcp:", AF_INET, SOCK_STREAM },
        { "vsock://", AF_VSOCK, SOCK_STREAM }, { "vsock:", AF_VSOCK, SOCK_STREAM },
};

static int parse_path(const char *text, SockAddress *a, const char **ret_what) {
        const char *base = strrchr(text, '/');

        *ret_what = "an absolute path, tcp:ADDRESS:PORT or vsock:CID:PORT";
        if (text[0] != '/')
                return -EINVAL;
        *ret_what = "a path whose last component is there and short";
        if (strlen(text) >= sizeof(a->path) || strlen(base + 1) >= sizeof(((SockFile *) NULL)->name) - 24)
                return -ERANGE;
        if (base[1] == '\0' || streq(base + 1, ".") || streq(base + 1, ".."))
                return -EINVAL;
        memcpy(a->path, text, strlen(text) + 1);
        return 0;
}

static int parse_tcp(const char *text, SockAddress *a, const char **ret_what) {
        *ret_what = "ADDRESS:PORT, in numbers";
        if (text[0] == ':')
                text++;
        if (parse_port(text, &a->endpoint.port) >= 0)
                a->endpoint.addr = ip_from_v4(htonl(INADDR_LOOPBACK));
        else if (endpoint_parse(text, &a->endpoint) < 0)
                return -EINVAL;
        a->family = ip_family(&a->endpoint.addr);
        return 0;
}

static int parse_vsock(const char *text, SockAddress *a, const char **ret_what) {
        const char *colon = strrchr(text, ':');
        char cid[16] = "";

        *ret_what = "CID:PORT, in numbers";
        if (colon && (size_t) (colon - text) < sizeof(cid))
                memcpy(cid, text, (size_t) (colon - text));
        else if (colon)
                return -EINVAL;
        a->cid = VMADDR_CID_ANY;
        if (cid[0] && !streq(cid, "any") && parse_u32(cid, 0, UINT32_MAX - 1, &a->cid) < 0)
                return -EINVAL;
        return parse_u32(colon ? colon + 1 : text, 0, UINT32_MAX - 1, &a->port) < 0 ? -EINVAL : 0;
}

int sock_address_parse(const char *text, SockAddress *ret, const char **ret_what) {
        SockAddress a = { .family = AF_UNIX };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(schemes); i++)
                if (strncmp(text, schemes[i].prefix, strlen(schemes[i].prefix)) == 0) {
                        a.family = schemes[i].family;
                        a.type = schemes[i].type;
                        text += strlen(schemes[i].prefix);
                        break;
                }
        if (a.family == AF_VSOCK)
                r = parse_vsock(text, &a, ret_what);
        else
                r = a.family == AF_UNIX ? parse_path(text, &a, ret_what) : parse_tcp(text, &a, ret_what);
        if (r >= 0)
                *ret = a;
        return r;
}

/* ---- sockets ---- */

typedef union AnyAddress {
        struct sockaddr sa;
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_vm vm;
} AnyAddress;

static socklen_t fill(const SockAddress *a, bool listening, AnyAddress *ret) {
        *ret = (AnyAddress){};
        if (a->family == AF_VSOCK) {
                ret->vm.svm_family = AF_VSOCK;
                ret->vm.svm_cid = a->cid == VMADDR_CID_ANY && !listening ? VMADDR_CID_HOST : a->cid;
                ret->vm.svm_port = a->port;
                return sizeof(ret->vm);
        }
        if (a->family == AF_INET) {
                ret->in.sin_family = AF_INET;
                ret->in.sin_addr.s_addr = ip_v4(&a->endpoint.addr);
                ret->in.sin_port = htons(a->endpoint.port);
                return sizeof(ret->in);
        }
        ret->in6.sin6_family = AF_INET6;
        memcpy(&ret->in6.sin6_addr, a->endpoint.addr.b, sizeof(a->endpoint.addr.b));
        ret->in6.sin6_port = htons(a->endpoint.port);
        return sizeof(ret->in6);
}

static void fill_fd_path(AnyAddress *ret, int fd, const char *name) {
        *ret = (AnyAddress){ .un.sun_family = AF_UNIX };
        (void) snprintf(ret->un.sun_path, sizeof(ret->un.sun_path), "/proc/self/fd/%d%s%s", fd, name ? "/" : "", name ?: "");
}

void sock_set_buffers(int fd, int family) {
        int bytes = sockopt_is(fd, SO_TYPE, SOCK_STREAM) ? BUFFER_BYTES_STREAM : BUFFER_BYTES;

        if (family == AF_INET || family == AF_INET6) { /* sizes itself; a machine that vanished must be noticed */
                (void) sockopt_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
                (void) sockopt_set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
                (void) sockopt_set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15 /* seconds */);
                (void) sockopt_set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
                (void) sockopt_set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
                return;
        }
        if (sockopt_set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes) < 0)
                (void) sockopt_set_int(fd, SOL_SOCKET, SO_SNDBUF, bytes);
        if (sockopt_set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes) < 0)
                (void) sockopt_set_int(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

void sock_file_remove(SockFile *f) {
        struct stat st;

        if (f->dir_fd < 0)
                return;
        if (fstatat(f->dir_fd, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
                (void) unlinkat(f->dir_fd, f->name, 0);
        f->dir_fd = safe_close(f->dir_fd);
}

/* May who asks make files in that directory? Asked of the mode bits alone: a guess on the safe side. */
static bool may_write(int dir_fd, const SockRights *rights) {
        struct stat st;

        if (!rights->limited)
                return true;
        if (fstat(dir_fd, &st) < 0)
                return false;
        return (st.st_uid == rights->uid && st.st_mode & S_IWUSR) || st.st_mode & S_IWOTH;
}

/* Removes the socket file at @name when nobody is behind it. */
static int remove_stale(int dir_fd, const char *name, int type, const SockRights *rights) {
        _cleanup_close_ int fd = -EBADF;
        AnyAddress sa;
        struct stat st;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode) || (rights->limited && st.st_uid != rights->uid && st.st_uid != geteuid()))
                return -EADDRINUSE;
        fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        fill_fd_path(&sa, dir_fd, name);
        if (connect(fd, &sa.sa, sizeof(sa.un)) == 0 || errno != ECONNREFUSED)
                return -EADDRINUSE; /* somebody, or a socket of another type: not ours to judge */
        return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
}

static int bind_path(int fd, const SockAddress *a, int type, const SockRights *rights, SockFile *ret) {
        const char *base = strrchr(a->path, '/');
        _cleanup_close_ int dir_fd = -EBADF;
        _cleanup_free_ char *dir = strndup(a->path, MAX((size_t) (base - a->path), (size_t) 1));
        AnyAddress sa;
        struct stat st;
        int r;

        if (!dir)
                return -ENOMEM;
        dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -errno;
        if (!may_write(dir_fd, rights))
                return -EACCES;
        if (fchmod(fd, 0600) < 0) /* of a socket not bound yet: what its file begins with */
                return -errno;

        fill_fd_path(&sa, dir_fd, base + 1);
        if (!rights->limited && strlen(a->path) < sizeof(sa.un.sun_path)) /* what others see as its name */
                memcpy(sa.un.sun_path, a->path, strlen(a->path) + 1);
        r = bind(fd, &sa.sa, sizeof(sa.un)) < 0 ? -errno : 0;
        if (r == -EADDRINUSE) {
                r = remove_stale(dir_fd, base + 1, type, rights);
                if (r >= 0)
                        r = bind(fd, &sa.sa, sizeof(sa.un)) < 0 ? -errno : 0;
        }
        if (r < 0)
                return r;
        if (rights->limited)
                (void) fchownat(dir_fd, base + 1, rights->uid, (gid_t) -1, AT_SYMLINK_NOFOLLOW);
        if (fstatat(dir_fd, base + 1, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        *ret = (SockFile){ .dir_fd = TAKE_FD(dir_fd), .dev = st.st_dev, .ino = st.st_ino };
        memcpy(ret->name, base + 1, strlen(base + 1) + 1);
        return 0;
}

int sock_listen(const SockAddress *a, int type, const SockRights *rights, SockFile *ret_file) {
        _cleanup_(sock_file_remove) SockFile file = SOCK_FILE_INIT;
        _cleanup_close_ int fd = -EBADF;
        AnyAddress sa;
        int r;

        fd = socket(a->family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (a->family == AF_UNIX)
                r = bind_path(fd, a, type, rights, &file);
        else {
                if (a->family != AF_VSOCK)
                        (void) sockopt_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
                socklen_t len = fill(a, true, &sa);
                r = bind(fd, &sa.sa, len) < 0 ? -errno : 0;
        }
        if (r < 0)
                return r;
        if (type == SOCK_DGRAM)
                sock_set_buffers(fd, a->family);
        else if (listen(fd, LISTEN_BACKLOG) < 0)
                return -errno;

        *ret_file = file;
        file = SOCK_FILE_INIT;
        return TAKE_FD(fd);
}

int sock_connect(const SockAddress *a, int type, const SockRights *rights) {
        _cleanup_close_ int fd = -EBADF, path_fd = -EBADF;
        socklen_t len = sizeof(struct sockaddr_un);
        AnyAddress sa;
        struct stat st;

        if (a->family == AF_UNIX) {
                path_fd = open(a->path, O_PATH | O_CLOEXEC);
                if (path_fd < 0 || fstat(path_fd, &st) < 0)
                        return -errno;
                if (rights->limited && st.st_uid != rights->uid)
                        return -EACCES;
                fill_fd_path(&sa, path_fd, NULL);
        } else
                len = fill(a, false, &sa);

        fd = socket(a->family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, &sa.sa, len) < 0 && errno != EINPROGRESS)
                return -errno;
        sock_set_buffers(fd, a->family);
        return TAKE_FD(fd);
}
