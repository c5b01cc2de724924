#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Forwards whose guest is a namespace that lends sockets: from socket to socket, past the interface. What differs from the usual way, what
does not, and that nothing of it keeps a namespace alive."""

import contextlib
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import time

import netns
from netns import GATEWAY, HOST, SLOW, Job, check, equal, need, run, wait_until

LENT = 64            # LEND_SOCKETS
BULK = (256 if SLOW else 64) << 20
AGAIN = 1000


class Lent(netns.Namespace):
    """A namespace with a process in it, which lends."""

    def __init__(self, w, name='lent'):
        super().__init__(name)
        self.sysctl('net.ipv6.conf.all.disable_ipv6', 0 if w.ip6 else 1)
        self.holder = w.spawn('sleep', '600', ns=self)
        wait_until(lambda: os.readlink(f'/proc/{self.holder.pid}/ns/net') != os.readlink('/proc/self/ns/net'), 10, 'the namespace')
        self.addr = w.ctl('attach', str(self.holder.pid), f'--mtu={w.mtu}').split(': ')[1].split(',')[0]
        w.guests.append(self)


def the_guest(w):
    return w.guests[0] if w.guests else Lent(w)


def bypassed(w):
    return w.stats()['bypassed']


def free_port(w, addr='127.0.0.1'):
    with w.host.listen(addr) as s:
        return s.getsockname()[1]


@contextlib.contextmanager
def exposed(w, guest, port, *args, local=None):
    local = local or free_port(w)
    w.ctl('expose', *args, f'127.0.0.1:{local}', f'{guest.addr}:{port}')
    try:
        yield local
    finally:
        w.ctl('unexpose', f'127.0.0.1:{local}')


def forward_of(w, local):
    return next(f for f in json.loads(w.ctl('--json=short', 'forwards'))['forwards'] if f['local'].endswith(f':{local}'))


def pattern(n, seed):
    block = hashlib.shake_256(seed).digest(1 << 20)
    return block, n >> 20


def send_all(s, n, seed):
    block, times = pattern(n, seed)
    for _ in range(times):
        s.sendall(block)
    s.shutdown(socket.SHUT_WR)


def digest_of(s):
    h, n = hashlib.sha256(), 0
    buf = bytearray(1 << 20)
    while True:
        got = s.recv_into(buf)
        if got == 0:
            return n, h.hexdigest()
        h.update(memoryview(buf)[:got])
        n += got


def expected(n, seed):
    h = hashlib.sha256()
    block, times = pattern(n, seed)
    for _ in range(times):
        h.update(block)
    return n, h.hexdigest()


def both_ways(a, b, n):
    """Streams of @n bytes cross in one connection, arrive as they were, and end."""
    jobs = [Job(send_all, a, n, b'a'), Job(send_all, b, n, b'b'), Job(digest_of, a), Job(digest_of, b)]
    for j in jobs:
        j.wait(100)
    equal(jobs[2].result, expected(n, b'b'), 'from the guest')
    equal(jobs[3].result, expected(n, b'a'), 'to the guest')


def bytes_are_equal(w):
    g = the_guest(w)
    server = g.listen()
    with exposed(w, g, server.getsockname()[1]) as port:
        before = w.stats()
        c = w.host.connect('127.0.0.1', port)
        s, peer = server.accept()
        s.settimeout(60)
        equal(peer[0], g.addr, 'the guest is its own client')
        equal([f['state'] for f in w.flows()], ['bypass'], 'listed')
        both_ways(c, s, BULK)
        c.close()
        s.close()
        w.no_flows()
        after = w.stats()
        equal(after['bypassed'] - before['bypassed'], 1, 'counted')
        equal(after['bypassed-bytes'] - before['bypassed-bytes'], 2 * BULK, 'bytes')
        f = forward_of(w, port)
        equal((f['rx'], f['tx'], f['connections'], f['active']), (BULK, BULK, 1, 0), 'of the forward')
        check(after['frames-in'] - before['frames-in'] < 100, 'past the interface:', after['frames-in'] - before['frames-in'])


def segments_on_loopback(w):
    """Up to what size TCP makes them on `lo`, by netlink: IFLA_GSO_IPV4_MAX_SIZE (63), since Linux 6.3."""
    def size_in(ns):
        with ns.inside(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
            s.send(struct.pack('=IHHIIBxHiII', 32, 18, 1, 1, 0, socket.AF_UNSPEC, 0, socket.if_nametoindex('lo'), 0, 0))  # RTM_GETLINK
            answer = s.recv(65536)
        at, end = 32, struct.unpack_from('=I', answer)[0]
        while at + 4 <= end:
            n, kind = struct.unpack_from('=HH', answer, at)
            if kind == 63:
                return struct.unpack_from('=I', answer, at + 4)[0]
            at += (n + 3) & ~3
    g = the_guest(w)
    if size_in(w.host) is None:
        raise netns.Unavailable('the kernel has no such size')
    equal((size_in(g), size_in(w.host)), (256 << 10, 64 << 10), 'inside, and the host\'s as it was')


def ends_pass_one_by_one(w):
    """A half-closed connection lives on the other way, whoever was first; a slow reader gets all."""
    g = the_guest(w)
    server = g.listen()
    with exposed(w, g, server.getsockname()[1]) as port:
        for first in 'client', 'guest':
            c = w.host.connect('127.0.0.1', port)
            s, _ = server.accept()
            s.settimeout(30)
            one, other = (c, s) if first == 'client' else (s, c)
            one.sendall(b'request')
            one.shutdown(socket.SHUT_WR)
            equal(other.recv(100), b'request', first)
            equal(other.recv(100), b'', 'its end')
            time.sleep(0.2)
            job = Job(send_all, other, 16 << 20, b'late')
            time.sleep(0.3)
            equal(digest_of(one), expected(16 << 20, b'late'), f'after the end of the {first}')
            job.wait()
            c.close()
            s.close()
        w.no_flows()


def resets_pass(w):
    g = the_guest(w)
    server = g.listen()
    with exposed(w, g, server.getsockname()[1]) as port:
        for first in 'client', 'guest':
            c = w.host.connect('127.0.0.1', port)
            s, _ = server.accept()
            s.settimeout(10)
            one, other = (c, s) if first == 'client' else (s, c)
            one.sendall(b'x')
            equal(other.recv(1), b'x', 'a byte')
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            one.close()
            try:
                check(other.recv(1) is None, 'no end, a reset')
            except ConnectionResetError:
                pass
            other.close()
        w.no_flows()


def refused_is_refused(w):
    """As the usual way has it, which is asked in the end."""
    g = the_guest(w)
    server = g.listen()
    nobody = server.getsockname()[1]
    server.close()
    with exposed(w, g, nobody) as port:
        for _ in range(3):
            try:
                with w.host.connect('127.0.0.1', port) as c:
                    check(c.recv(1) is None, 'not even an end')
            except ConnectionResetError:
                pass
    w.no_flows()


def urgent_stays_in_place(w):
    g = the_guest(w)
    server = g.listen()
    with exposed(w, g, server.getsockname()[1]) as port:
        c = w.host.connect('127.0.0.1', port)
        s, _ = server.accept()
        s.settimeout(10)
        c.sendall(b'abc')
        c.send(b'!', socket.MSG_OOB)
        c.sendall(b'def' * 100000)
        c.shutdown(socket.SHUT_WR)
        got = b''
        while part := s.recv(65536):
            got += part
        equal((len(got), got[:7]), (300004, b'abc!def'), 'all of it')
        c.close()
        s.close()
    w.no_flows()


def many_at_a_time(w):
    """One more than were lent goes by frames, and all of them work at once."""
    g = the_guest(w)
    server = g.listen()
    with exposed(w, g, server.getsockname()[1]) as port:
        before = bypassed(w)
        clients, served = [], []
        for i in range(LENT + 3):
            c = w.host.connect('127.0.0.1', port)
            s, peer = server.accept()
            s.settimeout(10)
            clients.append(c)
            served.append((s, peer))
        equal(bypassed(w) - before, LENT, 'led past')
        equal([p[0] for _, p in served].count(GATEWAY), 3, 'by frames')
        for i, (c, (s, _)) in enumerate(zip(clients, served)):
            c.sendall(b'%d' % i)
            equal(s.recv(10), b'%d' % i, 'to the guest')
            s.sendall(b'-%d' % i)
            equal(c.recv(10), b'-%d' % i, 'from it')
        for x in clients + [s for s, _ in served]:
            x.close()
        w.no_flows()


def sockets_serve_again(w):
    """Each socket is used many times, however the connection before ended."""
    g = the_guest(w)
    server = g.listen()
    with exposed(w, g, server.getsockname()[1]) as port:
        before = w.stats()
        for i in range(AGAIN):
            c = w.host.connect('127.0.0.1', port)
            s, peer = server.accept()
            s.settimeout(10)
            equal(peer[0], g.addr, f'connection {i}')
            c.sendall(b'%d' % i)
            equal(s.recv(10), b'%d' % i, 'bytes of this connection, not of another')
            how = i % 5
            if how == 1:
                s.close()
                equal(c.recv(1), b'', 'end')
            elif how == 2:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            elif how == 3:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                s.close()
            elif how == 4:
                s.sendall(b'unread')
            c.close()
            s.close()
        w.no_flows()
        after = w.stats()
        equal((after['bypassed'] - before['bypassed'], after['bypass-failed'] - before['bypass-failed']), (AGAIN, 0), 'all of them')


def switched_off(w):
    g = the_guest(w)
    server = g.listen()
    with exposed(w, g, server.getsockname()[1], '--no-bypass') as port:
        c = w.host.connect('127.0.0.1', port)
        s, peer = server.accept()
        equal(peer[0], GATEWAY, 'by frames')
        c.close()
        s.close()
    w.no_flows()


def others_come_as_they_are(w):
    """Clients elsewhere are seen with their own address, and one at the host's own is, too."""
    g = the_guest(w)
    server = g.listen()
    guest_port = server.getsockname()[1]
    w.ctl('expose', f'{HOST}:7070', f'{g.addr}:{guest_port}')
    try:
        for ns, addr in (w.outside, netns.OUTSIDE), (w.host, HOST):
            c = ns.connect(HOST, 7070)
            s, peer = server.accept()
            equal(peer[0], addr, 'its own address')
            c.close()
            s.close()
    finally:
        w.ctl('unexpose', f'{HOST}:7070')
    w.ctl('expose', '--source=gateway', f'{HOST}:7070', f'{g.addr}:{guest_port}')
    try:
        for ns, addr in (w.outside, GATEWAY), (w.host, g.addr):
            c = ns.connect(HOST, 7070)
            s, peer = server.accept()
            equal(peer[0], addr, 'whom the guest sees')
            c.close()
            s.close()
    finally:
        w.ctl('unexpose', f'{HOST}:7070')
    w.no_flows()


def unix_clients(w):
    g = the_guest(w)
    server = g.listen()
    path = f'{w.dir}/forward.sock'
    w.ctl('expose', path, f'{g.addr}:{server.getsockname()[1]}')
    try:
        before = bypassed(w)
        c = socket.socket(socket.AF_UNIX)
        c.settimeout(60)
        c.connect(path)
        s, _ = server.accept()
        s.settimeout(60)
        equal(bypassed(w) - before, 1, 'counted')
        both_ways(c, s, 16 << 20)
        c.close()
        s.close()
    finally:
        w.ctl('unexpose', path)
    w.no_flows()


def unexpose_lets_live(w):
    """Nobody new is served, and connections live on: as by frames."""
    g = the_guest(w)
    server = g.listen()
    with exposed(w, g, server.getsockname()[1]) as port:
        c = w.host.connect('127.0.0.1', port)
        s, _ = server.accept()
        s.settimeout(10)
    try:
        w.host.connect('127.0.0.1', port).close()
        check(False, 'nobody listens')
    except ConnectionRefusedError:
        pass
    c.sendall(b'still')
    equal(s.recv(10), b'still', 'it lives')
    c.close()
    s.close()
    w.no_flows()


def real_clients(w):
    need('curl', 'iperf3')
    g = the_guest(w)
    root = f'{w.dir}/www'
    os.makedirs(root)
    with open(f'{root}/file', 'wb') as f:
        f.write(os.urandom(8 << 20))
    w.spawn(sys.executable, '-m', 'http.server', '8000', '--directory', root, ns=g, stderr=subprocess.DEVNULL)
    w.spawn('iperf3', '-s', '-p', '5201', ns=g)
    with exposed(w, g, 8000) as http, exposed(w, g, 5201) as iperf:
        before = bypassed(w)
        wait_until(lambda: run('curl', '-sS', '-o', f'{w.dir}/got', f'http://127.0.0.1:{http}/file', ok=False).returncode == 0, 10, 'curl')
        equal(run('cmp', f'{w.dir}/got', f'{root}/file').returncode, 0, 'the file')
        for how in [], ['-R'], ['-P', '8']:
            wait_until(lambda: run('iperf3', '-c', '127.0.0.1', '-p', iperf, '-t', 1, *how, ok=False, timeout=30).returncode == 0, 20, f'iperf3 {how}')
        check(bypassed(w) - before >= 14, 'led past', bypassed(w) - before)


def namespace_goes_with_its_process(w):
    """Neither idle sockets nor a connection whose client waits for ever keep it."""
    base = len(w.devices())
    for connected in False, True:
        code = ('import socket, time\ns = socket.create_server(("0.0.0.0", 9000))\nc = s.accept()[0]\nc.sendall(b"hello")\ntime.sleep(600)\n')
        p = w.spawn('unshare', '-n', '--', sys.executable, '-c', code)
        wait_until(lambda: os.readlink(f'/proc/{p.pid}/ns/net') != os.readlink('/proc/self/ns/net'), 10, 'the namespace')
        addr = w.ctl('attach', str(p.pid)).split(': ')[1].split(',')[0]
        equal(len(w.devices()), base + 1, 'plugged in')
        port = free_port(w)
        w.ctl('expose', f'127.0.0.1:{port}', f'{addr}:9000')
        c = None
        if connected:
            def greet():
                with contextlib.suppress(OSError):  # nobody listens yet
                    s = w.host.connect('127.0.0.1', port, timeout=2)
                    if s.recv(5) == b'hello':
                        return s
                    s.close()
            c = wait_until(greet, 20, 'a greeting')
            check(any(f['state'] == 'bypass' for f in w.flows()), w.ctl('flows'))
        p.kill()
        p.wait()
        wait_until(lambda: len(w.devices()) == base, 10, 'the namespace has gone, and the device with it')
        if c:
            c.close()
        w.ctl('unexpose', f'127.0.0.1:{port}')


def run_lends(w):
    """vnetctl run: published ports go past, and nothing stays."""
    base = len(w.devices())
    port = free_port(w)
    code = 'import socket\ns = socket.create_server(("0.0.0.0", 9000))\nwhile True:\n c, a = s.accept()\n c.sendall(a[0].encode())\n c.close()\n'
    p = w.spawn(*w.ctl_argv('run', f'--publish=127.0.0.1:{port}:9000', '--', sys.executable, '-c', code))

    def whom():
        try:
            with w.host.connect('127.0.0.1', port, timeout=3) as c:
                return c.recv(100).decode()
        except OSError:
            return ''
    seen = wait_until(whom, 20, 'the published port')
    check(seen not in ('', GATEWAY), 'its own address', seen)
    p.terminate()
    p.wait(20)
    wait_until(lambda: len(w.devices()) == base, 10, 'nothing is left')


def removal_resets(w):
    """A device that is removed takes its connections along at once."""
    p = w.spawn('unshare', '-n', '--', 'sleep', '600')
    wait_until(lambda: os.readlink(f'/proc/{p.pid}/ns/net') != os.readlink('/proc/self/ns/net'), 10, 'the namespace')
    ns = netns.Namespace()
    ns.name, ns.path = 'of a process', f'/proc/{p.pid}/ns/net'
    before = {d['name'] for d in w.devices()}
    ns.addr = w.ctl('attach', str(p.pid)).split(': ')[1].split(',')[0]
    device = ({d['name'] for d in w.devices()} - before).pop()
    server = ns.listen()
    with exposed(w, ns, server.getsockname()[1]) as port:
        count = bypassed(w)
        c = w.host.connect('127.0.0.1', port, timeout=20)
        s, _ = server.accept()
        equal(bypassed(w) - count, 1, 'led past')
        w.ctl('device', 'remove', device)
        for x in c, s:
            x.settimeout(20)
            try:
                check(x.recv(1) is None, 'no end, a reset')
            except ConnectionResetError:
                pass
            x.close()
    server.close()
    p.kill()
    p.wait()


if __name__ == '__main__':
    netns.main([bytes_are_equal, segments_on_loopback, ends_pass_one_by_one, resets_pass, refused_is_refused, urgent_stays_in_place, many_at_a_time,
                sockets_serve_again, switched_off, others_come_as_they_are, unix_clients, unexpose_lets_live, real_clients, namespace_goes_with_its_process, run_lends,
                removal_resets])
