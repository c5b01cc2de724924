/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where a socket device listens or connects to: the texts of the options Listen and Connect, and opening sockets from them. Knows no
 * frames and no loop.
 *
 *     unix:PATH  unix://PATH  PATH         the type of socket is the device kind's
 *     unixgram://PATH  unixpacket://PATH   the same, saying a type that must be the kind's
 *     tcp:ADDR:PORT  tcp://ADDR:PORT       numeric; without ADDR loopback
 *     vsock:CID:PORT  vsock://CID:PORT     CID empty: any, when listening; the host, when connecting
 */

#include <sys/stat.h>

#include "basic/addr.h"
#include "basic/cleanup.h"

#define SOCK_ADDRESS_TEXT_MAX 1024

typedef struct SockAddress {
        int family; /* AF_UNIX, AF_INET, AF_INET6, AF_VSOCK; AF_UNSPEC: none */
        int type;   /* SOCK_* that the text demands; 0: any */
        char path[SOCK_ADDRESS_TEXT_MAX]; /* AF_UNIX: absolute */
        Endpoint endpoint;
        uint32_t cid, port;
} SockAddress;

/* -EINVAL with @ret_what (static text: what it is not) when it is no address; -ERANGE when too long. @ret untouched then. */
int sock_address_parse(const char *text, SockAddress *ret, const char **ret_what);

/* A socket file we made: what it takes to remove it, and nothing else that may stand there by then. Removed before its socket is closed,
 * which keeps its inode's number from being given to another. */
typedef struct SockFile {
        int dir_fd;    /* (owned) -EBADF: none */
        char name[108];
        dev_t dev;
        ino_t ino;
} SockFile;
#define SOCK_FILE_INIT ((SockFile){ .dir_fd = -EBADF })
void sock_file_remove(SockFile *f);

/* Who asks: a path is used with the daemon's rights, so it must be one that the asker may use. */
typedef struct SockRights {
        uint32_t uid;
        bool limited; /* neither root nor the daemon's own user */
} SockRights;

/**
 * sock_listen() - a non-blocking socket bound to @a, listening unless it is a datagram one
 * @type:       SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM
 * @ret_file:   the socket file, where there is one
 *
 * A socket file left behind is replaced when nobody listens there; anything else stays. Its mode is 0600, and where we may, it is given to
 * who asked.
 *
 * Return: a descriptor (owned by the caller); -EADDRINUSE; -EACCES: the directory is not one the asker may write to; other errnos of
 * socket(), bind(), listen().
 */
int sock_listen(const SockAddress *a, int type, const SockRights *rights, SockFile *ret_file);

/* A non-blocking socket, connected or (TCP, vsock) on the way to it: EPOLLOUT says when. -ECONNREFUSED, -ENOENT: nobody there now;
 * -EACCES: a socket file that is not the asker's. */
int sock_connect(const SockAddress *a, int type, const SockRights *rights);

void sock_set_buffers(int fd, int family); /* as large as we may, no delay, and keepalives on TCP */
