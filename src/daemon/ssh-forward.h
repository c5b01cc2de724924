/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * SshForward: a Unix socket of the host that leads to a Unix socket inside a guest, through the ssh client that is installed. The client is
 * a child: it gets a connection into the network as its stdin and stdout, started without a shell, with arguments that nobody else's text
 * can change the meaning of, and started again when it ends. Our socket is there all the time; its clients wait while ssh does not run.
 */

#include <systemd/sd-event.h>

#include "daemon/error.h"

#define SSH_TEXT_MAX 1024 /* of the URL */
#define SSH_CLIENTS_MAX 256 /* of one forward, at a time; others wait to be accepted */

/* ssh-tunnel://USER@HOST[:PORT]/PATH?key=FILE[&secure=true] */
typedef struct SshSpec {
        char user[64];
        char host[256]; /* of a guest, as manager_connect() has it */
        uint16_t port;
        char path[108]; /* of the socket inside the guest */
        char key[SSH_TEXT_MAX]; /* file of the private key, without a passphrase */
        bool secure;    /* the guest's key has to be in the user's known_hosts */
} SshSpec;

int ssh_spec_parse(const char *url, SshSpec *ret, Error *e);
bool ssh_spec_is_url(const char *text); /* does it begin as one? */

typedef struct SshForward SshForward;

typedef struct SshForwardConfig {
        const char *name;    /* for the log; (borrowed: for life) */
        SshSpec spec;
        int (*connect)(void *userdata, const SshSpec *spec, int *ret_fd, Error *e); /* a stream to the guest's sshd; owned by the caller */
        void *userdata;
} SshForwardConfig;

/* @listen_fd: listening, non-blocking; owned on success. @event: borrowed; its thread must not wait for children by other means. */
int ssh_forward_new(SshForward **ret, sd_event *event, const SshForwardConfig *config, int listen_fd);
SshForward *ssh_forward_free(SshForward *f); /* ends the child and all clients; returns NULL */
void ssh_forward_stats(const SshForward *f, uint64_t *ret_connections, uint32_t *ret_active);
