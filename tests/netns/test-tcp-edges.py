#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
TCP at its edges, the kernel's own stack at both ends and vnetd between: every byte is compared, and after each case no flow may be
left. A case that has two ways (guest to outside, outside to guest by a forward) runs both; "near" is the guest's end, "far" the
other.
"""

import errno
import os
import random
import socket
import struct
import subprocess
import time

import netns
from netns import GATEWAY, OUTSIDE, SLOW, Failed, Job, check, comment, equal, place, read_all, read_exactly, run

PORT = 7443
STALL_SEC = 60 if SLOW else 5
MIB = 1 << 20


def the_guest(w):
    for g in w.guests:
        if g.name == 'g1':
            return g
    return w.guest('g1')


def content(n, seed):
    return random.Random(seed).randbytes(n)


def tuned(sndbuf=None, rcvbuf=None):
    def tune(s):
        if sndbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    return tune


def connect(w, way, g=None, near=lambda s: None, far=lambda s: None):
    """A connection: the guest's end and the end outside. @near, @far tune the sockets before they are connected."""
    g = g or the_guest(w)
    if way == 'out':
        with_listener, client = w.outside, g
        tune_listener, tune_client = far, near
    else:
        with_listener, client = g, w.outside
        tune_listener, tune_client = near, far
    s = with_listener.socket(family=netns.family_of(w.ANY))
    tune_listener(s)  # accepted sockets inherit
    s.bind((w.ANY, 0))
    s.listen(1)
    port = s.getsockname()[1]
    if way == 'out':
        c = client.connect(w.OUTSIDE, port, prepare=tune_client)
    else:
        w.ctl('expose', place(w.ANY, PORT), place(g.own(), port))
        c = client.connect(w.HOST, PORT, prepare=tune_client)
    a, _ = s.accept()
    a.settimeout(30)
    s.close()
    if way == 'in':
        w.ctl('unexpose', place(w.ANY, PORT))
    return (c, a) if way == 'out' else (a, c)


def send(s, data, end=True):
    s.sendall(data)
    if end:
        s.shutdown(socket.SHUT_WR)


def same(got, expected, what):
    if got != expected:
        at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
        raise Failed(f'{what}: {len(got)} bytes of {len(expected)}, the first wrong one at {at}')


def exchange(near, far, up, down, seconds=60):
    """Both directions at once, each to its end of stream; by content."""
    jobs = [Job(send, near, up), Job(send, far, down), Job(read_all, far), Job(read_all, near)]
    results = [j.wait(seconds) for j in jobs]
    same(results[2], up, 'guest to outside')
    same(results[3], down, 'outside to guest')
    near.close()
    far.close()


def both_ways(fn):
    def case(w):
        for way in 'out', 'in':
            try:
                fn(w, way)
                w.no_flows()
            except Exception as e:
                raise Failed(f'{way}: {type(e).__name__}: {e}').with_traceback(e.__traceback__) from None
        equal(w.stats().get('parked-bytes', 0), 0, 'bytes parked')
    case.__name__ = fn.__name__
    return case


def both_directions(near, far):
    """(sender, receiver, what) for each direction."""
    return (near, far, 'guest to outside'), (far, near, 'outside to guest')


# ---- streams ----

@both_ways
def full_duplex(w, way):
    near, far = connect(w, way)
    exchange(near, far, content(16 * MIB, 1), content(16 * MIB, 2))


@both_ways
def slow_then_fast(w, way):
    """A reader that takes one byte a second, then all."""
    for direction in 0, 1:
        near, far = connect(w, way)
        sender, receiver, what = both_directions(near, far)[direction]
        data = content(8 * MIB, 3 + direction)
        job = Job(send, sender, data)
        got = b''
        for _ in range(3):
            time.sleep(1)
            got += receiver.recv(1)
        got += Job(read_all, receiver).wait()
        job.wait()
        same(got, data, what)
        near.close()
        far.close()


@both_ways
def tiny_buffers(w, way):
    """The smallest buffers the kernel allows, at each end and at both."""
    tiny = tuned(sndbuf=1, rcvbuf=1)
    for near_tune, far_tune, size in ((tiny, tuned(), 60000), (tuned(), tiny, 60000), (tiny, tiny, 20000)):
        near, far = connect(w, way, near=near_tune, far=far_tune)
        exchange(near, far, content(size, 5), content(size, 6), 100)


@both_ways
def zero_window(w, way):
    """A receiver that stops reading for a while, its window shut; then goes on."""
    for direction in 0, 1:
        near, far = connect(w, way, near=tuned(rcvbuf=16384), far=tuned(rcvbuf=16384))
        sender, receiver, what = both_directions(near, far)[direction]
        sender.settimeout(STALL_SEC + 60)
        data = content(12 * MIB, 7 + direction)
        job = Job(send, sender, data)
        time.sleep(STALL_SEC)
        check(job.is_alive(), what, 'all is sent, though nobody reads')
        same(Job(read_all, receiver).wait(), data, what)
        job.wait()
        near.close()
        far.close()


@both_ways
def stall(w, way):
    """Silence in the middle of a transfer, both directions open."""
    near, far = connect(w, way)
    for n in range(3):
        for sender, receiver, what in both_directions(near, far):
            data = content(700000 + n, 9 + n)
            job = Job(send, sender, data, False)
            same(Job(read_exactly, receiver, len(data)).wait(), data, what)
            job.wait()
        if n == 1:
            time.sleep(STALL_SEC)
    near.close()
    far.close()


@both_ways
def small_writes(w, way):
    """Many small pieces, with and without waiting for an answer."""
    near, far = connect(w, way)
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(300):
        near.sendall(b'%08d' % i)
        equal(read_exactly(far, 8), b'%08d' % i, 'question')
        far.sendall(b'%016d' % i)
        equal(read_exactly(near, 16), b'%016d' % i, 'answer')
    pieces = [content(1 + i % 37, i) for i in range(3000)]
    for sender, receiver, what in both_directions(near, far):
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        job = Job(lambda: [sender.sendall(p) for p in pieces])
        same(Job(read_exactly, receiver, sum(map(len, pieces))).wait(), b''.join(pieces), what)
        job.wait()
    near.close()
    far.close()


@both_ways
def without_options(w, way):
    """A guest without window scaling, timestamps or SACK, in every combination."""
    g = the_guest(w)
    names = 'net.ipv4.tcp_window_scaling', 'net.ipv4.tcp_timestamps', 'net.ipv4.tcp_sack'
    try:
        for bits in range(8):
            for i, name in enumerate(names):
                g.sysctl(name, bits >> i & 1)
            near, far = connect(w, way)
            exchange(near, far, content(MIB, bits), content(MIB, bits + 8))
    finally:
        for name in names:
            g.sysctl(name, 1)


@both_ways
def small_mss(w, way):
    """A guest that takes only small segments."""
    g = the_guest(w)
    for mss in 88, 536, 1220:
        if not w.ip6:  # there an announcement would take it back
            g.run('ip', 'route', 'change', 'default', 'via', GATEWAY, 'advmss', mss)
        near, far = connect(w, way, near=lambda s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss))
        exchange(near, far, content(500000, mss), content(500000, mss + 1))
    g.run('ip', 'route', 'change', 'default', 'via', GATEWAY)


@both_ways
def many_at_once(w, way):
    """A hundred connections, all of them busy."""
    g = the_guest(w)
    ends = [connect(w, way, g) for _ in range(100)] if way == 'out' else []
    if way == 'in':
        server = g.listen(w.ANY)
        w.ctl('expose', place(w.ANY, PORT), place(g.own(), server.getsockname()[1]))
        for _ in range(100):
            c = w.outside.connect(w.HOST, PORT)
            a, _ = server.accept()
            a.settimeout(30)
            ends.append((a, c))
        w.ctl('unexpose', place(w.ANY, PORT))
        server.close()
    up, down = content(100000, 20), content(100000, 21)
    jobs = [Job(exchange, near, far, up[i:], down[i:]) for i, (near, far) in enumerate(ends)]
    for j in jobs:
        j.wait()


def mixture(w):
    """Eight at a time for a while: sizes, buffers, pauses and who ends first by chance. A seed says which; a failure names it."""
    g = the_guest(w)
    end = time.monotonic() + float(os.environ.get('SECONDS_OF_MIXTURE', 8))

    def one(seed, way, listener, port):
        r = random.Random(seed)
        buffers = [(r.choice((None, None, 1, 5000, 60000)), r.choice((None, None, 1, 5000, 60000))) for _ in range(2)]
        prepare = tuned(*buffers[0])
        client = g.connect(w.OUTSIDE, port, prepare=prepare) if way == 'out' else w.outside.connect(w.HOST, port, prepare=prepare)
        server, _ = listener.accept()
        tuned(*buffers[1])(server)

        def write(s, data, rnd):
            at = 0
            while at < len(data):
                n = rnd.choice((1, 100, 1448, 20000, 300000, len(data)))
                s.sendall(data[at:at + n])
                at += n
                if rnd.random() < 0.02:
                    time.sleep(rnd.random() / 20)
            s.shutdown(socket.SHUT_WR)

        def read(s, rnd):
            parts = []
            while b := s.recv(rnd.choice((1, 1000, 70000, 1 << 20))):
                parts.append(b)
                if rnd.random() < 0.02:
                    time.sleep(rnd.random() / 20)
            return b''.join(parts)

        for e in client, server:
            e.settimeout(80)
        # A kernel whose peer's window stays just below a segment sends that much five times a second, with or without vnetd
        # between: by chance it comes to this where buffers are tiny.
        most = [{1: 30000, 5000: 200000}.get(rcvbuf, 1000000) for _, rcvbuf in reversed(buffers)]
        data = [content(min(r.choice((0, 1, 1000, 30000, 200000, 1000000)), most[i]), seed + i) for i in range(2)]
        jobs = [Job(write, client, data[0], random.Random(seed)), Job(write, server, data[1], random.Random(seed + 1)),
                Job(read, server, random.Random(seed + 2)), Job(read, client, random.Random(seed + 3))]
        results = [j.wait(90) for j in jobs]
        same(results[2], data[0], f'seed {seed}, {way}: client to server')
        same(results[3], data[1], f'seed {seed}, {way}: server to client')
        client.close()
        server.close()

    def series(n):
        way = ('out', 'in')[n % 2]
        listener, done = (w.outside if way == 'out' else g).listen(w.ANY), 0
        port = listener.getsockname()[1]
        if way == 'in':
            w.ctl('expose', place(w.ANY, PORT + n), place(g.own(), port))
            port = PORT + n
        while time.monotonic() < end:
            one(first + n * 100000 + done * 10, way, listener, port)
            done += 1
        if way == 'in':
            w.ctl('unexpose', place(w.ANY, port))
        listener.close()
        return done

    first = int(os.environ.get('SEED', time.time()))
    comment('seed', first)
    jobs = [Job(series, n) for n in range(8)]
    comment(sum(j.wait(120) for j in jobs), 'connections')
    w.no_flows()


# ---- the end of it ----

@both_ways
def half_close(w, way):
    """Who has said all still hears the other: megabytes after the FIN, in either direction."""
    for direction in 0, 1:
        near, far = connect(w, way)
        first, second, what = both_directions(near, far)[direction]
        first.sendall(b'question')
        first.shutdown(socket.SHUT_WR)
        equal(Job(read_all, second).wait(), b'question', what)
        time.sleep(0.3)
        answer = content(3 * MIB, 11 + direction)
        job = Job(send, second, answer)
        same(Job(read_all, first).wait(), answer, 'after the half close')
        job.wait()
        near.close()
        far.close()


@both_ways
def close_at_once(w, way):
    """All is written and the socket closed before the other end reads a byte: all of it arrives, then the end."""
    for direction in 0, 1:
        for size in 1, 100000, 2 * MIB:
            near, far = connect(w, way)
            sender, receiver, what = both_directions(near, far)[direction]
            data = content(size, size)

            def all_and_close():
                sender.sendall(data)
                sender.close()

            job = Job(all_and_close)
            time.sleep(0.2)
            same(Job(read_all, receiver).wait(), data, f'{what}, {size} bytes')
            job.wait()
            receiver.close()


@both_ways
def close_without_a_word(w, way):
    for direction in 0, 1:
        near, far = connect(w, way)
        first, second, what = both_directions(near, far)[direction]
        first.close()
        equal(second.recv(1), b'', what)
        second.close()


@both_ways
def both_close(w, way):
    for _ in range(20):
        near, far = connect(w, way)
        jobs = [Job(near.close), Job(far.close)]
        for j in jobs:
            j.wait()


def abort(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    s.close()


def expect_reset(s, what):
    try:
        data = s.recv(1)
        raise Failed(f'{what}: {data!r} where a reset was due')
    except ConnectionResetError:
        pass


@both_ways
def reset(w, way):
    """A RST of either side is a RST at the other: idle, behind data, and in the middle of a transfer."""
    for direction in 0, 1:
        near, far = connect(w, way)
        first, second, what = both_directions(near, far)[direction]
        abort(first)
        expect_reset(second, what)
        second.close()

        near, far = connect(w, way)
        first, second, what = both_directions(near, far)[direction]
        second.sendall(b'never read')
        time.sleep(0.2)
        first.close()  # with something unread: the kernel resets
        expect_reset(second, what + ', unread')
        second.close()

        near, far = connect(w, way)
        first, second, what = both_directions(near, far)[direction]

        def pour():
            try:
                while True:
                    second.sendall(bytes(100000))
            except (ConnectionResetError, BrokenPipeError):
                return True

        job = Job(pour)
        read_exactly(first, MIB)
        abort(first)
        equal(job.wait(), True, what + ', in the middle')
        second.close()


def connect_error(ns, addr, port, timeout=10):
    """Why a connection is not made, and after how long."""
    began = time.monotonic()
    try:
        ns.connect(addr, port, timeout=timeout).close()
    except TimeoutError:
        return 'timeout', time.monotonic() - began
    except OSError as e:
        return errno.errorcode[e.errno], time.monotonic() - began
    return 'connected', time.monotonic() - began


def refused(w):
    g = the_guest(w)
    gateway, host_address = w.inside_addresses()
    for addr, port in (w.OUTSIDE, 1), (host_address, 1), (w.HOST, 1), (gateway, 1), (gateway, 80):
        why, took = connect_error(g, addr, port)
        equal(why, 'ECONNREFUSED', place(addr, port))
        check(took < 1 or netns.starved(), place(addr, port), 'took', took)
    w.no_flows()


def unreachable(w):
    """The true cause, as the host was told it."""
    g = the_guest(w)
    if w.ip6:
        kinds = ('unreachable', '2001:db8:51::/48'), ('prohibit', '2001:db8:52::/48'), ('throw', '2001:db8:53::/48')
        cases = [('2001:db8:51::1', ('EHOSTUNREACH',)), ('2001:db8:52::1', ('EACCES',)), ('2001:db8:53::1', ('ENETUNREACH',)),
                 ('2001:db8:203::99', ('EHOSTUNREACH',))]
    else:
        kinds = ('unreachable', '198.51.100.0/25'), ('prohibit', '198.51.100.128/25')
        cases = [('198.51.100.1', ('EHOSTUNREACH',)), ('198.51.100.129', ('EHOSTUNREACH', 'EACCES')), ('192.0.2.1', ('ENETUNREACH',)),
                 ('203.0.113.99', ('EHOSTUNREACH',))]
    for kind, prefix in kinds:
        run('ip', 'route', 'add', kind, prefix)
    try:
        for addr, expected in cases:
            why, took = connect_error(g, addr, 80)
            check(why in expected, f'{addr}: {why} after {took:.1f} s')
    finally:
        for kind, prefix in kinds:
            run('ip', 'route', 'del', kind, prefix)
    w.no_flows()


def forbidden(w):
    """Addresses that are nobody's to connect to: an error, at once or in silence, and no host socket touched."""
    g = the_guest(w)
    server = w.host.listen(w.ANY, 8081)
    server.settimeout(0.1)
    for addr in ('::1', '::') if w.ip6 else ('127.0.0.1', '0.0.0.0'):  # the guest's own kernel has its say first
        why, _ = connect_error(g, addr, 8081, 2)
        check(why != 'connected', addr)
    if not w.ip6:
        g.run('ip', 'route', 'add', '224.0.0.0/3', 'dev', 'eth0')
    for addr in ('ff0e::1',) if w.ip6 else ('224.0.0.1', '240.0.0.1', '255.255.255.255'):
        why, _ = connect_error(g, addr, 8081, 2)
        check(why != 'connected', addr)
    if not w.ip6:
        g.run('ip', 'route', 'del', '224.0.0.0/3', 'dev', 'eth0')
    try:
        raise Failed(f'the host was reached: {server.accept()}')
    except TimeoutError:
        pass
    server.close()
    w.no_flows()


def black_hole(w):
    """A far end that is silent: so is vnetd, and the next connection is not kept waiting. What the guest gave up is forgotten."""
    g = the_guest(w)
    prefix, addr = ('2001:db8:51::/48', '2001:db8:51::1') if w.ip6 else ('198.51.100.0/24', '198.51.100.1')
    neighbour = w.routers[0] if w.routers else w.outside
    via = {4: ('203.0.113.254', OUTSIDE), 6: ('2001:db8:203::fe', netns.OUTSIDE_6)}[6 if w.ip6 else 4][0 if w.routers else 1]
    run('ip', 'route', 'add', prefix, 'via', via)
    neighbour.run('ip', 'route', 'add', 'blackhole', prefix)
    g.sysctl('net.ipv4.tcp_syn_retries', 2)
    try:
        why, took = connect_error(g, addr, 80, timeout=3)
        equal(why, 'timeout', f'after {took} s')
        equal([f['state'] for f in w.flows()], ['connecting'], 'flows')
        near, far = connect(w, 'out')
        exchange(near, far, b'through', b'at once')
        if SLOW:
            w.no_flows(seconds=150)
    finally:
        g.sysctl('net.ipv4.tcp_syn_retries', 6)
        run('ip', 'route', 'del', prefix)
        neighbour.run('ip', 'route', 'del', 'blackhole', prefix)
    if not SLOW:  # not to wait for it: a new world
        w.stop()
        w.start()


# ---- a bad link, a guest that goes ----

class BadGuest(netns.Guest):
    """A guest behind tests/netns/lossy-relay."""

    def __init__(self, w, name, loss, dup, reorder, seed):
        self.behind = w.guest(name + '-relay', offloads=False, configure=False)
        netns.Namespace.__init__(self, name)
        self.world, self.device = w, None
        self.sysctl('net.ipv6.conf.all.disable_ipv6', 0 if w.ip6 else 1)
        w.guests.append(self)
        self.relay = w.spawn(w.args.relay, self.path, 'eth0', w.mtu, self.behind.path, 'eth0', seed, loss, dup, reorder,
                             stdout=subprocess.PIPE, text=True)
        equal(self.relay.stdout.readline(), 'ready\n', 'the relay')
        self.configure()
        if w.ip6:
            self.await_ip6()

    def leave(self):
        """Unplugs it, and says what its link was like."""
        self.relay.terminate()
        said = self.relay.stdout.read().strip()
        self.relay.wait(10)
        self.world.procs.remove(self.relay)
        self.world.drop_guest(self)
        self.world.drop_guest(self.behind)
        return said


def bad_link(w):
    """1 % of frames lost, 1 % doubled, 5 % out of order; then ten times as bad; then clean, to judge the relay itself."""
    for loss, dup, reorder, frames in ((10, 10, 50, 2000), (100, 50, 200, 200), (0, 0, 0, 500)):
        size = frames * min(w.mtu, w.path_mtu or w.mtu)
        g = BadGuest(w, 'bad', loss, dup, reorder, seed=loss + 1)
        for way in 'out', 'in':
            before, began = w.stats(), time.monotonic()
            near, far = connect(w, way, g)
            exchange(near, far, content(size, loss), content(size, loss + 1), 100)
            comment(f'{way}, loss {loss / 10} %: {time.monotonic() - began:.1f} s,',
                    f"vnetd sent {w.stats()['retransmits'] - before['retransmits']} times again,",
                    f"{w.stats()['rto-fired'] - before['rto-fired']} after a timeout")
            w.no_flows(seconds=30)
        comment(g.leave())


def behind_a_bridge(w):
    """A guest behind a guest: a bridge with vnetd's TAP as one port, and on the other side a link with an MTU of its own."""
    g = w.guest('bridge', configure=False)
    inner = netns.Namespace('inner')
    try:
        inner.run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'port', 'netns', g.path)
        g.run('ip', 'link', 'add', 'br0', 'type', 'bridge')
        for link in 'eth0', 'port':
            g.run('ip', 'link', 'set', link, 'master', 'br0')
            g.run('ip', 'link', 'set', link, 'up')
        g.run('ip', 'link', 'set', 'br0', 'up')
        inner.run('ip', 'addr', 'add', '192.168.127.200/24', 'dev', 'eth0')
        inner.run('ip', 'link', 'set', 'eth0', 'up')
        inner.run('ip', 'route', 'add', 'default', 'via', GATEWAY)
        if w.ip6:
            netns.Guest.await_ip6(inner)
        for mtu in sorted({1500, min(9000, w.mtu)}):  # a bridge drops what is longer than the next link, but super-segments
            g.run('ip', 'link', 'set', 'port', 'mtu', mtu)
            inner.run('ip', 'link', 'set', 'eth0', 'mtu', mtu)
            near, far = connect(w, 'out', inner)
            begin = time.monotonic()
            before = w.stats()['retransmits']
            exchange(near, far, content(8 * MIB, mtu), content(32 * MIB, mtu + 1))
            comment(f'MTU {mtu}: {time.monotonic() - begin:.1f} s')
            equal(w.stats()['retransmits'], before, 'sent again')
            near.close()
            far.close()
            w.no_flows()
    finally:
        inner.remove()
        w.drop_guest(g)


@both_ways
def guest_vanishes(w, way):
    """Its namespace is deleted in the middle of a transfer: the far end is reset, nothing is left."""
    for direction in 0, 1:
        g = w.guest('gone', offloads=True)
        near, far = connect(w, way, g)

        def pour(s):
            try:
                while True:
                    s.sendall(bytes(100000))
            except OSError as e:
                return errno.errorcode.get(e.errno, str(e))

        def drink(s):
            try:
                while s.recv(100000):
                    pass
                return 'end'
            except OSError as e:
                return errno.errorcode.get(e.errno, str(e))

        far_job = Job(drink if direction == 0 else pour, far)
        near_job = Job(pour if direction == 0 else drink, near)
        time.sleep(0.5)
        equal(len(w.flows()), 1, 'flows')
        # a socket keeps its namespace: the interface goes, as with a guest that is switched off
        g.run('ip', 'link', 'del', 'eth0')
        why = far_job.wait(10)
        check(why in ('ECONNRESET', 'EPIPE'), 'the far end heard', why)
        w.no_flows()
        near.shutdown(socket.SHUT_RDWR)
        near_job.wait(10)
        near.close()
        far.close()
        w.drop_guest(g)
    equal(w.stats()['tcp-flows'], 0, 'flows')


if __name__ == '__main__':
    netns.main([full_duplex, slow_then_fast, tiny_buffers, zero_window, stall, small_writes, without_options, small_mss, many_at_once,
                *([mixture] if SLOW else []),
                half_close, close_at_once, close_without_a_word, both_close, reset, refused, unreachable, forbidden, bad_link,
                behind_a_bridge, guest_vanishes, black_hole])
