# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ports of one's own, as loopback.h has them and of the same stock: copies of tests that run at once get different ones."""
import socket

FIRST, EACH = 10000, 32
taken = []  # sockets whose names say which N are this process's


def take():
    taken.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    for n in range(1, 255):
        try:
            taken[-1].bind(f"\0vnetd-test/127.{n}")
            return n
        except OSError:
            pass
    raise RuntimeError("all of loopback is taken")


def is_free(port):
    try:
        for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
            with socket.socket(socket.AF_INET, kind) as s:
                s.bind(("", port))
        return True
    except OSError:
        return False


def ports():
    while True:
        first = FIRST + EACH * take()
        yield from filter(is_free, range(first, first + EACH))


own = ports()


def free_port():
    """One nobody listens on, and nobody else gets until the process ends."""
    return next(own)
