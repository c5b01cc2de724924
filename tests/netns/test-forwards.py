#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The outside in: vnetctl expose, what a guest sees of who comes, and every way it can be refused."""

import contextlib
import json
import os
import socket
import time

import netns
from netns import GATEWAY, HOST, OUTSIDE, Job, check, equal, need, read_all, read_exactly, run, wait_until

EXIT_FAILED, EXIT_USAGE, EXIT_NO_OBJECT = 1, 2, 4


def refused(w, code, words, *args):
    """vnetctl fails with @code and one line that holds every one of @words."""
    r = w.ctl(*args, ok=False)
    equal(r.returncode, code, f"exit of vnetctl {' '.join(args)}: {r.stderr}")
    equal(r.stdout, '', 'output')
    equal(len(r.stderr.splitlines()), 1, f'lines of {r.stderr!r}')
    for word in words:
        check(word in r.stderr, f'{word!r} is not in:', r.stderr)


def the_guest(w):
    for g in w.guests:
        if g.name == 'g1':
            return g
    return w.guest('g1')


@contextlib.contextmanager
def exposed(w, *args):
    w.ctl('expose', *args)
    try:
        yield
    finally:
        w.ctl('unexpose', args[0])


def tell_peer(listener, n):
    """Serves @n connections: each is told whom the guest takes it for."""
    seen = []
    for _ in range(n):
        c, peer = listener.accept()
        seen.append(peer)
        body = ('%s %d' % peer).encode()
        request = b''
        while b'\r\n\r\n' not in request:
            request += c.recv(4096)
        c.sendall(b'HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
        c.close()
    return seen


def fetch(ns, addr, port):
    return ns.run('curl', '-sS', '--max-time', 20, f'http://{addr}:{port}/').stdout.split()[0]


def expose_to_host(w):
    """vnetctl expose 6443, as in the tour: from loopback, to the only guest."""
    need('curl')
    g = the_guest(w)
    server = g.listen(port=6443)
    job = Job(tell_peer, server, 2)
    with exposed(w, '6443'):
        equal(fetch(w.host, '127.0.0.1', 6443), GATEWAY, 'a client on loopback cannot be answered: the gateway stands for it')
        check('6443' in w.ctl('forwards'), w.ctl('forwards'))
        equal(fetch(w.host, '127.0.0.1', 6443), GATEWAY, 'again')
        r = w.outside.run('curl', '-sS', '--max-time', 5, f'http://{HOST}:6443/', ok=False)
        equal(r.returncode, 7, 'from outside nobody is served on a loopback forward')
    job.wait()
    server.close()
    w.no_flows()


def expose_to_all(w):
    """A client's own address is seen where the guest's answer can be routed back; --source=gateway hides it."""
    need('curl')
    g = the_guest(w)
    server = g.listen(port=8000)
    with exposed(w, ':7443', f'{g.addr}:8000'):
        job = Job(tell_peer, server, 3)
        equal(fetch(w.outside, HOST, 7443), OUTSIDE, 'the client outside')
        equal(fetch(w.host, HOST, 7443), HOST, 'the host by its own address')
        equal(fetch(w.host, '127.0.0.1', 7443), GATEWAY, 'the host by loopback')
        job.wait()
    with exposed(w, f'{HOST}:7443', f'{g.addr}:8000', '--source=gateway'):
        job = Job(tell_peer, server, 1)
        equal(fetch(w.outside, HOST, 7443), GATEWAY, 'the client outside, hidden')
        job.wait()
    server.close()
    w.no_flows()


def source_port_is_kept(w):
    g = the_guest(w)
    server = g.listen(port=8000)
    with exposed(w, ':7443', f'{g.addr}:8000'):
        c = w.outside.connect(HOST, 7443)
        s, peer = server.accept()
        equal(peer, (OUTSIDE, c.getsockname()[1]), 'the client as the guest sees it')
        equal(s.getpeername(), peer, 'the peer')
        c.close()
        s.close()
    server.close()
    w.no_flows()


def port_range(w):
    """A range of ports, TCP and UDP, to another range: each to its own, and all of them closed together. One network has room for 1024 listeners."""
    g = the_guest(w)
    equal(w.ctl('expose', '8100-8110', f'{g.addr}:9100-9110'), f'tcp 8100-8110 -> {g.addr}:9100-9110\n', 'what expose prints')
    servers = [g.listen(port=9100 + i) for i in range(11)]
    for i, server in enumerate(servers):
        c = w.host.connect('127.0.0.1', 8100 + i)
        s, _ = server.accept()
        equal(s.getsockname()[1], 9100 + i, 'the port it leads to')
        c.close()
        s.close()
        server.close()
    rows = [f for f in json.loads(w.ctl('--json=short', 'forwards'))['forwards']]
    equal(len(rows), 1, 'forwards')
    equal(w.ctl('expose', f'{HOST}:8200-8203/udp', f'{g.addr}:9200'), f'udp {HOST}:8200-8203 -> {g.addr}:9200\n', 'what expose prints')
    for i in range(4):
        inside = g.socket(socket.SOCK_DGRAM)
        inside.bind(('0.0.0.0', 9200 + i))
        out = w.outside.socket(socket.SOCK_DGRAM)
        out.sendto(b'ask', (HOST, 8200 + i))
        data, peer = inside.recvfrom(100)
        inside.sendto(b'answer', peer)
        equal(out.recvfrom(100), (b'answer', (HOST, 8200 + i)), 'the answer')
        inside.close()
        out.close()
    refused(w, EXIT_FAILED, ['8105', 'already'], 'expose', '8105')
    refused(w, EXIT_NO_OBJECT, ['8100-8109'], 'unexpose', '8100-8109')
    refused(w, EXIT_FAILED, ['256'], 'expose', '20000-20256')
    refused(w, EXIT_FAILED, ['before'], 'expose', '20001-20000')
    w.ctl('unexpose', '8100-8110')
    w.ctl('unexpose', f'{HOST}:8200-8203/udp')
    for port in 8100, 8110:
        try:
            w.host.connect('127.0.0.1', port).close()
            raise netns.Failed('somebody still listens')
        except ConnectionRefusedError:
            pass
    equal(w.ctl('forwards').strip(), 'No forwards.', 'forwards')
    w.no_flows()


def unix_socket(w):
    """A path in place of a port: for its owner alone, gone with the forward."""
    g = the_guest(w)
    server = g.listen(port=9300)
    path = f'{w.dir}/forward.sock'
    w.ctl('expose', path, f'{g.addr}:9300')
    equal(os.stat(path).st_mode & 0o7777, 0o600, 'mode')
    c = socket.socket(socket.AF_UNIX)
    c.connect(path)
    s, peer = server.accept()
    equal(peer[0], netns.GATEWAY, 'the client as the guest sees it')
    c.sendall(b'in')
    equal(read_exactly(s, 2), b'in', 'in')
    s.sendall(b'out')
    equal(read_exactly(c, 3), b'out', 'out')
    for e in c, s, server:
        e.close()
    w.ctl('unexpose', path)
    check(not os.path.exists(path), 'the socket is left')
    w.no_flows()


def unexpose_at_once(w):
    """The listener is closed when the command returns; what was connected lives on."""
    g = the_guest(w)
    server = g.listen(port=6443)
    w.ctl('expose', '6443')
    c = w.host.connect('127.0.0.1', 6443)
    s, _ = server.accept()
    w.ctl('unexpose', '6443')
    try:
        w.host.connect('127.0.0.1', 6443).close()
        raise netns.Failed('somebody still listens')
    except ConnectionRefusedError:
        pass
    c.sendall(b'still here')
    equal(read_exactly(s, 10), b'still here', 'the connection of before')
    s.sendall(b'so am I')
    equal(read_exactly(c, 7), b'so am I', 'and back')
    for e in c, s, server:
        e.close()
    refused(w, EXIT_NO_OBJECT, ['6443'], 'unexpose', '6443')
    w.no_flows()


def refusals(w):
    """A port in use, guests that are not there, nonsense."""
    g = the_guest(w)
    other = w.host.listen('127.0.0.1', 5555)
    refused(w, EXIT_FAILED, ['5555', 'listens'], 'expose', '5555')
    other.close()
    w.ctl('expose', '5555')
    refused(w, EXIT_FAILED, ['5555', 'already'], 'expose', '5555')
    refused(w, EXIT_FAILED, ['5555', 'already'], 'expose', '127.0.0.1:5555', f'{g.addr}:1')
    w.ctl('unexpose', '5555')
    refused(w, EXIT_FAILED, ['192.0.2.7'], 'expose', '5555', '192.0.2.7:80')
    refused(w, EXIT_FAILED, ['203.0.113.77'], 'expose', '203.0.113.77:5555')
    refused(w, EXIT_NO_OBJECT, ['nosuch'], 'expose', '5555', '--network=nosuch')
    refused(w, EXIT_NO_OBJECT, ['nobody', g.addr], 'expose', '5555', 'nobody:80')
    for text in '0', '65536', '-1', 'http', '1:2:3', '', '224.0.0.1:80':
        r = w.ctl('expose', '--', text, ok=False)
        check(r.returncode in (EXIT_FAILED, EXIT_USAGE) and len(r.stderr.splitlines()) == 1, f'expose {text!r}:', r.returncode, r.stderr)
    equal(w.ctl('forwards').strip(), 'No forwards.', 'forwards')


def privileged_port(w):
    """A vnetd without CAP_NET_BIND_SERVICE says so."""
    need('setpriv')
    the_guest(w)
    equal(w.stop_vnetd(), 0, 'exit of vnetd')
    w.start_vnetd(wrapper=['setpriv', '--bounding-set=-net_bind_service', '--inh-caps=-net_bind_service'])
    try:
        g = w.guest('priv')
        refused(w, EXIT_FAILED, ['443', 'privileged', 'CAP_NET_BIND_SERVICE'], 'expose', '443', g.addr)
        w.drop_guest(g)
    finally:
        w.stop()
        w.start()
    the_guest(w)
    w.ctl('expose', '443', w.guests[0].addr)
    w.ctl('unexpose', '443')


def no_guest(w):
    """Without GUEST and without a guest, or with two, it is not known who is meant."""
    g = the_guest(w)
    h = w.guest('g2')
    refused(w, EXIT_NO_OBJECT, [g.addr, h.addr], 'expose', '6443')
    w.drop_guest(h)
    w.ctl('network', 'create', 'empty')
    refused(w, EXIT_NO_OBJECT, ['empty', 'no guest'], 'expose', '6443', '--network=empty')
    w.ctl('network', 'remove', 'empty')


def reset_within(w, port, seconds):
    """Who connects to @port is reset, and soon."""
    began = time.monotonic()
    try:
        c = w.host.connect('127.0.0.1', port)
        c.recv(1)
        raise netns.Failed('an orderly end where a reset is due')
    except ConnectionResetError:
        pass
    check(time.monotonic() - began < seconds, 'it took', time.monotonic() - began)
    w.no_flows()


def guest_refuses(w):
    """Nobody listens in the guest: the client is reset, and not left waiting."""
    g = the_guest(w)
    with exposed(w, '6443', f'{g.addr}:1'):
        reset_within(w, 6443, 3)


def guest_gone(w):
    """The guest left, or has not come yet; the forward stands. Who connects hears soon that nobody is there."""
    g = w.guest('gone')
    n = len(w.devices())
    with exposed(w, '6444', f'{g.addr}:80'):
        w.drop_guest(g)
        wait_until(lambda: len(w.devices()) == n - 1, 20, 'the device is gone')
        reset_within(w, 6444, 8)
    with exposed(w, '6444', '192.168.127.200:80'):
        reset_within(w, 6444, 8)


def bulk_inbound(w):
    """Bytes both ways at once through a forward, by content."""
    g = the_guest(w)
    server = g.listen(port=8000)
    up, down = bytes(range(251)) * 40000, bytes(range(241)) * 40000
    with exposed(w, ':7443', f'{g.addr}:8000'):
        c = w.outside.connect(HOST, 7443)
        s, _ = server.accept()

        def send(e, data):
            e.sendall(data)
            e.shutdown(socket.SHUT_WR)

        jobs = [Job(send, c, up), Job(send, s, down), Job(read_all, s), Job(read_all, c)]
        results = [j.wait() for j in jobs]
        equal((results[2] == up, results[3] == down), (True, True), 'content')
        c.close()
        s.close()
        row = netns.json.loads(w.ctl('--json=short', 'forwards'))['forwards'][0]
        equal((row['connections'], row['rx'], row['tx']), (1, len(down), len(up)), f'counters of the forward: {row}')
    server.close()
    w.no_flows()


def udp_forward(w):
    """Datagrams in, answers back to whom they came from; two clients at once; both sources."""
    g = the_guest(w)
    for args, source in (([], OUTSIDE), (['--source=gateway'], GATEWAY)):
        with g.inside():
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.settimeout(20)
        server.bind(('0.0.0.0', 5300))
        with exposed(w, ':5301/udp', f'{g.addr}:5300', *args):
            clients = [w.outside.socket(socket.SOCK_DGRAM, timeout=20) for _ in range(2)]
            for n, c in enumerate(clients):
                c.sendto(b'question %d' % n, (HOST, 5301))
            seen = {}
            for _ in clients:
                data, peer = server.recvfrom(2000)
                equal(peer[0], source, 'who asks, as the guest sees it')
                seen[data] = peer
            equal(len(set(seen.values())), 2, 'two clients are two')
            for data, peer in reversed(seen.items()):
                server.sendto(b'answer to ' + data, peer)
            for n, c in enumerate(clients):
                equal(c.recvfrom(2000), (b'answer to question %d' % n, (HOST, 5301)), 'the answer')
            big = bytes(range(250)) * 32  # 8000: in fragments where the MTU asks for it
            clients[0].sendto(big, (HOST, 5301))
            data, peer = server.recvfrom(65535)
            check(data == big, 'a big datagram came otherwise')
            server.sendto(big[::-1], peer)
            check(clients[0].recvfrom(65535)[0] == big[::-1], 'a big answer came otherwise')
            local = w.host.socket(socket.SOCK_DGRAM, timeout=20)
            local.sendto(b'from loopback', ('127.0.0.1', 5301))
            data, peer = server.recvfrom(2000)
            equal((data, peer[0]), (b'from loopback', GATEWAY), 'a client on loopback')
            server.sendto(b'to loopback', peer)
            equal(local.recvfrom(2000), (b'to loopback', ('127.0.0.1', 5301)), 'the answer')
        server.close()
        c = w.outside.socket(socket.SOCK_DGRAM, timeout=20)
        c.connect((HOST, 5301))
        c.send(b'anybody?')
        try:
            c.recv(100)
            raise netns.Failed('somebody answers after unexpose')
        except ConnectionRefusedError:
            pass


def udp_forward_addresses(w):
    """A host with two addresses: each answer comes from the one that was asked, whichever the route back would take."""
    g = the_guest(w)
    second = '203.0.113.9'
    run('ip', 'addr', 'add', second + '/24', 'dev', 'veth0')
    with g.inside():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.settimeout(20)
    server.bind(('0.0.0.0', 5300))
    with exposed(w, ':5301/udp', f'{g.addr}:5300'):
        c = w.outside.socket(socket.SOCK_DGRAM, timeout=20)
        for addr in second, HOST, second:
            c.sendto(b'whom?', (addr, 5301))
            data, peer = server.recvfrom(2000)
            equal((data, peer[0]), (b'whom?', OUTSIDE), 'the question')
            server.sendto(b'me', peer)
            equal(c.recvfrom(2000), (b'me', (addr, 5301)), 'the answer')
        c.close()
        gone = w.outside.socket(socket.SOCK_DGRAM, timeout=20)
        gone.sendto(b'bye', (second, 5301))
        _, peer = server.recvfrom(2000)
        gone.close()
        server.connect(peer)
        server.send(b'still there?')
        try:
            server.recv(100)
            raise netns.Failed('nobody tells the guest that its client is gone')
        except ConnectionRefusedError:
            pass
    server.close()
    run('ip', 'addr', 'del', second + '/24', 'dev', 'veth0')


def many_forwards(w):
    """A range of ports, each to its own, opened and closed again."""
    g = the_guest(w)
    servers = [g.listen(port=9000 + i) for i in range(20)]
    for i in range(20):
        w.ctl('expose', str(7000 + i), f'{g.addr}:{9000 + i}')
    for i, server in enumerate(servers):
        c = w.host.connect('127.0.0.1', 7000 + i)
        s, _ = server.accept()
        s.sendall(b'%d' % i)
        s.close()
        equal(read_all(c), b'%d' % i, 'the right one')
        c.close()
        server.close()
    equal(len(netns.json.loads(w.ctl('--json=short', 'forwards'))['forwards']), 20, 'forwards')
    for i in range(20):
        w.ctl('unexpose', str(7000 + i))
    w.no_flows()


if __name__ == '__main__':
    netns.main([expose_to_host, expose_to_all, source_port_is_kept, port_range, unix_socket, unexpose_at_once, refusals, no_guest, guest_refuses, guest_gone,
                bulk_inbound, udp_forward, udp_forward_addresses, many_forwards, privileged_port])
