/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The descriptor store of systemd. A store that is full or not there costs what a restart would have kept, no more: never an error. */

#include <errno.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "basic/log.h"
#include "daemon/fdstore.h"

int fdstore_collect(FdStore *s) {
        char **names = NULL;
        int n;

        n = sd_listen_fds_with_names(/* unset_environment= */ true, &names);
        if (n <= 0)
                return n;
        s->fds = calloc((size_t) n, sizeof(*s->fds));
        for (int i = 0; i < n; i++) {
                if (s->fds && s->n_fds < FDSTORE_MAX)
                        s->fds[s->n_fds++] = (StoredFd){ names[i], SD_LISTEN_FDS_START + i };
                else {
                        free(names[i]);
                        (void) safe_close(SD_LISTEN_FDS_START + i);
                }
        }
        free(names);
        return s->fds ? 0 : -ENOMEM;
}

int fdstore_take(FdStore *s, const char *name) {
        for (size_t i = 0; i < s->n_fds; i++)
                if (s->fds[i].fd >= 0 && streq(s->fds[i].name, name))
                        return TAKE_FD(s->fds[i].fd);
        return -ENOENT;
}

void fdstore_drop_rest(FdStore *s) {
        for (size_t i = 0; i < s->n_fds; i++) {
                if (s->fds[i].fd >= 0) {
                        log_info("Descriptor '%s' of before the restart is not needed any more", s->fds[i].name);
                        fdstore_remove(s->fds[i].name);
                        (void) safe_close(s->fds[i].fd);
                }
                free(s->fds[i].name);
        }
        free(s->fds);
        *s = (FdStore){};
}

void fdstore_put(const char *name, int fd) {
        char state[FDSTORE_NAME_MAX + 32];
        int r;

        (void) snprintf(state, sizeof(state), "FDSTORE=1\nFDNAME=%s", name);
        r = sd_pid_notify_with_fds(0, /* unset_environment= */ false, state, &fd, 1);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot store descriptor '%s', a restart will lose it: %m", name);
}

void fdstore_remove(const char *name) {
        (void) sd_notifyf(/* unset_environment= */ false, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

const char *fdstore_device_name(const char *device, unsigned queue, char buf[static FDSTORE_NAME_MAX]) {
        if (queue == 0)
                (void) snprintf(buf, FDSTORE_NAME_MAX, "device-%s", device);
        else
                (void) snprintf(buf, FDSTORE_NAME_MAX, "queue%u-%s", queue, device);
        return buf;
}

const char *fdstore_guest_name(const char *device, char buf[static FDSTORE_NAME_MAX]) {
        (void) snprintf(buf, FDSTORE_NAME_MAX, "guest-%s", device);
        return buf;
}

const char *fdstore_listener_name(uint8_t proto, const Endpoint *at, char buf[static FDSTORE_NAME_MAX]) {
        (void) snprintf(buf, FDSTORE_NAME_MAX, "listener-%s-%s", proto == IPPROTO_UDP ? "udp" : "tcp", ENDPOINT_TO_TEXT(at));
        for (char *p = buf; *p != 0; p++)
                if (*p == ':') /* not allowed in names */
                        *p = '_';
        return buf;
}
