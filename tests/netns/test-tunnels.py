#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Ways in and out that are no ports of the host: Listen() and Connect() by vnetctl, datagrams too, ports of the gateway that lead to Unix sockets
of the host; and where a network's traffic leaves the host, and what its DHCP tells, by vnetctl's options.
"""

import os
import socket
import subprocess
import time

import netns
from netns import GATEWAY, HOST, OUTSIDE, Guest, Job, check, equal, need, read_all, read_exactly, run, wait_until

EXIT_FAILED, EXIT_NO_OBJECT = 1, 4
SERVICES_MAX = 16  # NETSTACK_SERVICES_MAX


def the_guest(w):
    return next((g for g in w.guests if g.name == 'g1'), None) or w.guest('g1')


def refused(g, port, what):
    try:
        g.connect(GATEWAY, port, timeout=5).close()
    except ConnectionRefusedError:
        return
    raise netns.Failed(f'{what}: not refused')


def listen(w):
    """vnetctl listen: the first guest that comes; before and after nobody is there. A port in use, and one too many."""
    g = the_guest(w)
    refused(g, 7000, 'before')
    p = subprocess.Popen(w.ctl_argv('listen', '7000'), stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def try_it():
        try:
            return g.connect(GATEWAY, 7000, timeout=5)
        except ConnectionRefusedError:
            return None

    c = wait_until(try_it, 10, 'somebody listens')
    r = w.ctl('listen', '7000', ok=False)
    equal((r.returncode, 'already' in r.stderr), (EXIT_FAILED, True), r.stderr)
    data = os.urandom(1 << 20)
    job = Job(lambda: (p.stdin.write(data), p.stdin.close()))
    equal(read_all(c) == data, True, 'out to the guest')
    job.wait()
    c.sendall(b'and back')
    c.close()
    equal(p.stdout.read(), b'and back', 'from the guest')
    equal(p.wait(10), 0, 'exit')
    wait_until(lambda: not try_it(), 20, 'the port is closed')
    for port, text in (('0', 'Invalid'), ('53', 'none to listen on')):
        r = w.ctl('listen', port, ok=False)
        check(r.returncode != 0 and text in r.stderr, r.stderr)
    w.no_flows()


def listen_http(w):
    """Port 80, where a network may have an API for its guests: this one has none, so the port is free for who listens."""
    g = the_guest(w)
    p = subprocess.Popen(w.ctl_argv('listen', '80'), stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def try_it():
        try:
            return g.connect(GATEWAY, 80, timeout=20)
        except ConnectionRefusedError:
            return None

    c = wait_until(try_it, 20, 'somebody listens')
    p.stdin.write(b'hello')
    p.stdin.close()
    equal(read_all(c), b'hello', 'to the guest')
    c.sendall(b'GET /')
    c.close() # whose end ends vnetctl, whatever it has of stdin
    equal(p.stdout.read(), b'GET /', 'from the guest')
    equal(p.wait(10), 0, 'exit')
    w.no_flows()


def listen_limit(w):
    """A gateway has 16 such ports; each is free again when its listener goes."""
    g = the_guest(w)
    procs = [subprocess.Popen(w.ctl_argv('listen', str(7100 + i)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for i in range(SERVICES_MAX)]
    try:
        wait_until(lambda: w.ctl('listen', '7200', ok=False).returncode == EXIT_FAILED if all_there(w) else False, 20, 'the limit')
        r = w.ctl('listen', '7200', ok=False)
        equal((r.returncode, f'{SERVICES_MAX} ports' in r.stderr), (EXIT_FAILED, True), r.stderr)
    finally:
        for p in procs:
            p.kill()
            p.wait()
    wait_until(lambda: all(closed(g, 7100 + i) for i in range(SERVICES_MAX)), 20, 'they have gone')
    p = subprocess.Popen(w.ctl_argv('listen', '7200'), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_until(lambda: not closed(g, 7200), 10, 'free again')
    equal(p.wait(10), 0, 'exit')


def closed(g, port):
    try:
        g.connect(GATEWAY, port, timeout=5).close()
        return False
    except ConnectionRefusedError:
        return True


def all_there(w):
    """Are all listeners of listen_limit() up?"""
    out = w.host.run('ss', '-xH', ok=False).stdout
    return out.count('u_seq') >= 2 * SERVICES_MAX


def outlet(w):
    """A port of the gateway that leads to a Unix socket of the host: bytes both ways, a socket that is not there, refusals."""
    g = the_guest(w)
    path = f'{w.dir}/outlet.sock'
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    equal(w.ctl('expose', 'gateway:7300', f'unix:{path}'), f'tcp gateway:7300 -> unix:{path}\n', 'what expose prints')
    data = os.urandom(4 << 20)
    c = g.connect(GATEWAY, 7300)
    s, _ = server.accept()
    job = Job(lambda: (c.sendall(data), c.shutdown(socket.SHUT_WR)))
    check(read_all(s) == data, 'from the guest')
    job.wait()
    job = Job(lambda: (s.sendall(data), s.close()))
    check(read_all(c) == data, 'to the guest')
    job.wait()
    c.close()
    r = w.ctl('expose', 'gateway:7300', f'unix:{path}', ok=False)
    equal((r.returncode, 'something else' in r.stderr), (EXIT_FAILED, True), r.stderr)
    server.close()
    refused(g, 7300, 'nobody listens there')
    os.unlink(path)
    refused(g, 7300, 'no such socket')
    w.ctl('unexpose', 'gateway:7300')
    refused(g, 7300, 'closed')
    for local, remote, text in (('gateway:0', 'unix:/x', 'no port'), ('gateway:53', 'unix:/x', 'something else'), ('gateway:7301', 'unix:x', 'no Unix socket'),
                                ('gateway:7301', 'unix:/' + 'a' * 107, 'no Unix socket'), ('gateway:7301/udp', 'unix:/x', 'is TCP'),
                                ('gateway:7301', '192.168.127.2:80', 'no Unix socket')):
        r = w.ctl('expose', local, remote, ok=False)
        check(r.returncode == EXIT_FAILED and text in r.stderr, local, remote, r.stderr)
    w.no_flows()


def connect_udp(w):
    """vnetctl connect --udp: each write a datagram, from the gateway; gone with its end."""
    g = the_guest(w)
    server = g.socket(socket.SOCK_DGRAM)
    server.bind(('0.0.0.0', 7400))
    p = subprocess.Popen(w.ctl_argv('connect', '--udp', g.addr, '7400'), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for text in b'one', b'two', b'x' * 8000:
        p.stdin.write(text)
        p.stdin.flush()
        data, peer = server.recvfrom(65536)
        equal((data, peer[0]), (text, GATEWAY), 'as the guest sees it')
        server.sendto(b'answer ' + text, peer)
        equal(os.read(p.stdout.fileno(), 65536), b'answer ' + text, 'the answer')
    others = [subprocess.Popen(w.ctl_argv('connect', '--udp', g.addr, '7400'), stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(20)]
    peers = {}
    for i, o in enumerate(others):
        o.stdin.write(b'%d' % i)
        o.stdin.flush()
        data, peers[i] = server.recvfrom(100)
        equal(data, b'%d' % i, 'of one of many')
    equal(len(set(peers.values())), 20, 'ports')
    for i in reversed(range(20)):
        server.sendto(b'to %d' % i, peers[i])
        equal(os.read(others[i].stdout.fileno(), 100), b'to %d' % i, 'its own answer')
    for o in [p, *others]:
        o.kill()
        o.wait()
    server.close()
    r = w.ctl('connect', '--udp', '192.168.127.254', '7', ok=False)
    equal(r.returncode, EXIT_FAILED, 'to no guest')


def outbound(w):
    """--outbound: TCP and UDP leave from the address asked for, and by the interface; without it the outside is unreachable, the host is not."""
    run('ip', 'addr', 'add', '203.0.113.9/24', 'dev', 'veth0')
    w.ctl('network', 'create', 'out', '--subnet=10.70.0.0/24', '--outbound=source=203.0.113.9', '--outbound=interface=veth0', '--host-loopback=yes',
          '--policy=deny tcp any 7777', '--nat=10.70.0.200=' + OUTSIDE, '--gateway-address=10.70.0.99', '--lease-time=600')
    g = w.guest('out1', network='out')
    server = w.outside.listen(OUTSIDE)
    c = g.connect(*server.getsockname())
    s, peer = server.accept()
    equal(peer[0], '203.0.113.9', 'TCP')
    s.close()
    c.close()
    c = g.connect('10.70.0.200', server.getsockname()[1])  # by the map
    s, peer = server.accept()
    equal(peer[0], '203.0.113.9', 'TCP by the map')
    s.close()
    c.close()
    inside, far = g.socket(socket.SOCK_DGRAM), w.outside.socket(socket.SOCK_DGRAM)
    far.bind((OUTSIDE, 0))
    inside.sendto(b'x', far.getsockname())
    data, peer = far.recvfrom(10)
    equal(peer[0], '203.0.113.9', 'UDP')
    far.sendto(b'y', peer)
    equal(inside.recvfrom(10)[0], b'y', 'and back')
    g.run('ping', '-c', 1, '-W', 10, OUTSIDE)
    g.run('ping', '-c', 1, '-W', 10, '10.70.0.99')
    local = w.host.listen('127.0.0.1')
    c = g.connect('10.70.0.254', local.getsockname()[1])
    s, _ = local.accept()
    s.close()
    c.close()
    blocked = w.outside.listen(OUTSIDE, 7777)
    try:
        g.connect(OUTSIDE, 7777, timeout=5)
        raise netns.Failed('the rule does not hold')
    except OSError as e:
        check(e.errno is not None or isinstance(e, TimeoutError), e)
    blocked.close()
    run('ip', 'addr', 'del', '203.0.113.9/24', 'dev', 'veth0')
    try:
        g.connect(*server.getsockname(), timeout=10)
        raise netns.Failed('it left from elsewhere')
    except OSError:
        pass
    for e in inside, far, server, local:
        e.close()
    w.drop_guest(g)
    w.ctl('network', 'remove', 'out')
    for option, text in (('source=x', 'IPv4 address'), ('source=fd00::1', 'IPv4 address'), ('source6=1.2.3.4', 'IPv6 address'), ('interface=a/b', 'interface'),
                         ('interface=' + 'a' * 16, 'interface'), ('speed=1', "no 'speed'")):
        r = w.ctl('network', 'create', 'out', '--outbound=' + option, ok=False)
        check(r.returncode != 0 and text in r.stderr, option, r.stderr)


def dhcp(w):
    """--dhcp: the range, time servers, a captive portal and search domains, told to a real client; nothing of them by default."""
    ask = ('-O', '42', '-O', '114', '-O', 'search')
    g = w.guest('plain', configure=False)
    lease = g.dhcp(netns.world_script(w, 'dump', netns.DUMP), *ask)
    check('opt114' not in lease and 'ntpsrv' not in lease, lease)
    w.drop_guest(g)
    w.ctl('network', 'create', 'told', '--subnet=10.71.0.0/24', '--dhcp=range=10.71.0.50-10.71.0.51', '--dhcp=ntp=203.0.113.2 203.0.113.3',
          '--dhcp=captivePortal=https://portal.example/api', '--dhcp=search=a.example b.example', '--static-lease=10.71.0.7=52:54:00:00:00:07')
    addrs = []
    for i in range(2):
        g = w.guest(f'told{i}', configure=False, network='told')
        lease = g.dhcp(netns.world_script(w, 'dump', netns.DUMP), *ask)
        addrs.append(lease['ip'])
        equal(lease.get('ntpsrv'), '203.0.113.2 203.0.113.3', 'ntp')
        equal(bytes.fromhex(lease.get('opt114', '')), b'https://portal.example/api', 'captive portal')
        equal(lease.get('search'), 'vnet.internal a.example b.example', 'search')
    equal(sorted(addrs), ['10.71.0.50', '10.71.0.51'], 'the range')
    g = w.guest('told2', configure=False, network='told')
    r = g.run('busybox', 'udhcpc', '-f', '-q', '-n', '-t', 2, '-T', 1, '-i', 'eth0', '-s', '/bin/true', ok=False)
    check(r.returncode != 0, 'a third of two')
    g.run('ip', 'link', 'set', 'eth0', 'address', '52:54:00:00:00:07')
    equal(g.dhcp(netns.world_script(w, 'dump', netns.DUMP))['ip'], '10.71.0.7', 'a static lease is beside the range')
    for option, text in (('range=10.71.0.9', 'FIRST-LAST'), ('range=10.72.0.9-10.72.0.10', 'FIRST-LAST'), ('range=10.72.0.9-10.72.0.8', 'FIRST-LAST'),
                         ('ntp=x', 'IPv4'), ('ntp=1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5', 'IPv4'), ('captivePortal=http://x/', 'https'),
                         ('captivePortal=https://' + 'x' * 248, 'https'), ('search=a b c d e f g h i', 'at most 8'), ('search=-x', 'domain'), ('x=y', "no 'x'")):
        r = w.ctl('network', 'create', 'bad', '--dhcp=' + option, ok=False)
        check(r.returncode != 0 and text in r.stderr, option, r.stderr)
    # A restart knows it all.
    w.stop_vnetd()
    w.start_vnetd()
    g = w.guest('again', configure=False, network='told')
    g.run('ip', 'link', 'set', 'eth0', 'address', '52:54:00:00:00:07')  # the range is full
    lease = g.dhcp(netns.world_script(w, 'dump', netns.DUMP), *ask)
    equal(lease.get('ntpsrv'), '203.0.113.2 203.0.113.3', 'ntp after a restart')
    w.ctl('network', 'remove', 'told')


if __name__ == '__main__':
    netns.main([listen, listen_http, listen_limit, outlet, connect_udp, outbound, dhcp])
