/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two threads that copy, since stdin and stdout may be anything: pipes, files, a terminal, one socket. They live as long as the process.
 * Looks at no frame.
 */

#include "gvproxy/gv-stdio.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/cleanup.h"

#define CHUNK (64 * 1024)

/* What a vpnkit device takes for "no handshake follows, and no answer is wanted". */
static const char begin[] = "POST /connect HTTP/1.1\r\n\r\n";

static int far_fd = -EBADF; /* of the two threads */

static void copy(int from, int to) {
        char buf[CHUNK];
        ssize_t n;

        while ((n = read(from, buf, sizeof(buf))) != 0) {
                if (n < 0 && errno != EINTR)
                        return;
                for (ssize_t off = 0; off < n;) {
                        ssize_t done = write(to, buf + off, (size_t) (n - off));

                        if (done < 0 && errno != EINTR)
                                return;
                        off += done > 0 ? done : 0;
                }
        }
}

static void *copy_in(void *arg) {
        copy(STDIN_FILENO, far_fd);
        (void) shutdown(far_fd, SHUT_RDWR); /* the machine is gone: nothing more is for it, either */
        return NULL;
}

static void *copy_out(void *arg) {
        copy(far_fd, STDOUT_FILENO);
        (void) shutdown(far_fd, SHUT_RDWR);
        return NULL;
}

int gv_stdio_open(int *ret_fd) {
        void *(*const halves[])(void *arg) = { copy_in, copy_out };
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        _cleanup_close_ int near_fd = fds[0];
        far_fd = fds[1];
        if (write(far_fd, begin, strlen(begin)) != (ssize_t) strlen(begin))
                return -EIO;
        for (unsigned i = 0; i < 2; i++) {
                pthread_t thread;
                int r = pthread_create(&thread, NULL, halves[i], NULL);

                if (r != 0)
                        return -r; /* the process ends: as it does with the other thread */
                (void) pthread_detach(thread);
        }
        *ret_fd = TAKE_FD(near_fd);
        return 0;
}
