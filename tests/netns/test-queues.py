#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest on a TAP of several queues: many flows at once, both ways, byte by byte, while its kernel spreads them; and the limits."""

import hashlib
import json
import os

import netns
from netns import HOST_ADDRESS, Job, check, equal, read_exactly

QUEUES = 4
FLOWS = 16
LEN = 1 << 20


class QueueGuest(netns.Guest):
    """As a guest without offloads is made, but with all of them, and several queues."""

    def __init__(self, world, name, queues):
        netns.Namespace.__init__(self, name)
        self.world, self.mtu, self.addr = world, world.mtu, None
        self.sysctl('net.ipv6.conf.all.disable_ipv6', 1)
        self.device = world.ctl('device', 'create', 'tap', f'--netns={self.path}', f'--name={name}', f'--mtu={self.mtu}',
                                f'--queues={queues}', *[] if world.offloads else ['--offloads=none']).strip()
        shown = json.loads(world.ctl('--json=short', 'device', 'show', name))
        equal(shown['Queues'], queues, 'queues')
        self.run('ip', 'link', 'set', shown['Ifname'], 'down')
        self.run('ip', 'link', 'set', shown['Ifname'], 'name', 'eth0')
        self.run('ip', 'link', 'set', 'eth0', 'mtu', self.mtu, 'up')
        self.configure()


def serve(s):
    """Takes LEN bytes, says their sum, and gives as many back."""
    c, _ = s.accept()
    with c:
        c.settimeout(60)
        c.sendall(hashlib.sha256(read_exactly(c, LEN)).digest())
        blob = os.urandom(LEN)
        c.sendall(blob)
        equal(read_exactly(c, 32), hashlib.sha256(blob).digest(), 'the sum of what was sent down')


def exchange(g, port):
    c = g.connect(HOST_ADDRESS, port, timeout=60)
    with c:
        blob = os.urandom(LEN)
        c.sendall(blob)
        equal(read_exactly(c, 32), hashlib.sha256(blob).digest(), 'the sum of what was sent up')
        c.sendall(hashlib.sha256(read_exactly(c, LEN)).digest())


def many_flows(w):
    for queues in QUEUES, 16:
        g = QueueGuest(w, f'q{queues}', queues)
        w.guests.append(g)
        s = w.host.listen('127.0.0.1')
        jobs = [Job(serve, s) for _ in range(FLOWS)] + [Job(exchange, g, s.getsockname()[1]) for _ in range(FLOWS)]
        for job in jobs:
            job.wait(120)
        s.close()
        w.no_flows()
        w.drop_guest(g)


def between_guests(w):
    """Over the switch: both ends have queues, and nothing of the gateway's TCP is between them."""
    a, b = QueueGuest(w, 'a', QUEUES), QueueGuest(w, 'b', 2)
    w.guests += [a, b]
    s = b.listen('0.0.0.0')
    jobs = [Job(serve, s) for _ in range(FLOWS)]
    port = s.getsockname()[1]

    def exchange_with_b():
        c = a.connect(b.addr, port, timeout=60)
        with c:
            blob = os.urandom(LEN)
            c.sendall(blob)
            equal(read_exactly(c, 32), hashlib.sha256(blob).digest(), 'the sum of what was sent to b')
            c.sendall(hashlib.sha256(read_exactly(c, LEN)).digest())

    jobs += [Job(exchange_with_b) for _ in range(FLOWS)]
    for job in jobs:
        job.wait(120)
    s.close()
    w.drop_guest(a)
    w.drop_guest(b)


def limits(w):
    ns = netns.Namespace('limits')
    for queues, word in ((0, '1'), (17, '16'), (1 << 32, 'below 4G')):
        r = w.ctl('device', 'create', 'tap', f'--netns={ns.path}', f'--queues={queues}', ok=False)
        check(r.returncode != 0 and word in r.stderr, queues, r.stderr)
    r = w.ctl('device', 'create', 'qemu', '--name=q', f'--listen={w.dir}/q.sock', '--queues=2', ok=False)
    check(r.returncode != 0 and 'has one' in r.stderr, r.stderr)
    equal([d['name'] for d in w.devices() if d['name'] in ('q', 'tap0')], [], 'devices left over')
    ns.remove()


if __name__ == '__main__':
    netns.main([many_flows, between_guests, limits])
