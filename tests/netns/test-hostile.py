#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
A hostile guest: frames made by hand and sent past its kernel, floods of everything. vnetd stays up and small, counts what it drops by
reason, and serves the guest beside it all the while. Of GSO headers that lie a kernel lets only some through a TAP: the others are the
fuzzers' ground (tests/fuzz/fuzz-offload).
"""

import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import time

import netns
from netns import GATEWAY, HOST_ADDRESS, OUTSIDE, Failed, Job, check, comment, equal, read_all, run, wait_until

SOL_PACKET, PACKET_VNET_HDR = 263, 15
HERE = os.path.dirname(os.path.abspath(__file__))
BLACK_HOLE = '198.51.100.0/24'
RSS_ROOM = 32 << 10  # KiB that a flood may cost: all limits together, at their defaults
HALF_OPEN_MAX, UDP_FLOWS_MAX, FRAGMENTS_MAX, LEASES_MAX = 8192, 16384, 64, 4096  # as in src/netstack/


# ---- frames ----

def checksum(data):
    if len(data) % 2:
        data += b'\0'
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip4(src, dst, proto, payload, ident=1, offset=0, flags=0, ihl=5, version=4, length=None, options=b'', ttl=64):
    head = struct.pack('!BBHHHBBH4s4s', version << 4 | ihl, 0, length if length is not None else 20 + len(options) + len(payload), ident,
                       flags << 13 | offset, ttl, proto, 0, socket.inet_aton(src), socket.inet_aton(dst)) + options
    return head[:10] + struct.pack('!H', checksum(head)) + head[12:] + payload


def with_pseudo(src, dst, proto, segment, at):
    total = checksum(socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack('!HH', proto, len(segment)) + segment)
    return segment[:at] + struct.pack('!H', total or 0xffff) + segment[at + 2:]


def udp(src, sport, dst, dport, payload=b'', length=None, **ip):
    d = struct.pack('!HHHH', sport, dport, 8 + len(payload) if length is None else length, 0) + payload
    return ip4(src, dst, 17, with_pseudo(src, dst, 17, d, 6), **ip)


def tcp(src, sport, dst, dport, flags=2, seq=1, ack=0, doff=None, options=b'', payload=b'', **ip):
    d = struct.pack('!HHIIBBHHH', sport, dport, seq, ack, (doff if doff is not None else 5 + len(options) // 4) << 4, flags, 65535, 0, 0)
    return ip4(src, dst, 6, with_pseudo(src, dst, 6, d + options + payload, 16), **ip)


def echo(src, dst, payload=b'', echo_id=7, **ip):
    d = struct.pack('!BBHHH', 8, 0, 0, echo_id, 7) + payload
    return ip4(src, dst, 1, d[:2] + struct.pack('!H', checksum(d)) + d[4:], **ip)


def dhcp(mac, kind, requested=None):
    options = b'\x63\x82\x53\x63' + bytes([53, 1, kind])
    if requested:
        options += bytes([50, 4]) + socket.inet_aton(requested) + bytes([54, 4]) + socket.inet_aton(GATEWAY)
    body = struct.pack('!BBBBIHH16s16s64s128s', 1, 1, 6, 0, int.from_bytes(mac[2:], 'big'), 0, 0x8000, b'', mac, b'', b'') + options + b'\xff'
    return udp('0.0.0.0', 68, '255.255.255.255', 67, body)


class Injector:
    """Puts frames on a guest's interface past its kernel."""

    def __init__(self, g):
        self.mac = bytes.fromhex(g.mac().replace(':', ''))
        g.run('busybox', 'ping', '-c', 1, '-W', 10, GATEWAY)
        neigh = g.run('ip', 'neigh', 'show', GATEWAY).stdout
        self.gateway = bytes.fromhex(neigh.split('lladdr ')[1].split()[0].replace(':', ''))
        with g.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind(('eth0', 0))
        self.socket.settimeout(20)
        self.sent = 0

    def frame(self, data):
        while True:
            try:
                self.socket.send(data)
                break
            except OSError as e:
                if e.errno != 105:  # ENOBUFS: the interface's queue is full
                    raise
                time.sleep(0.0005)
        self.sent += 1

    def packet(self, packet, dst=None, src=None, ethertype=0x0800):
        self.frame((dst or self.gateway) + (src or self.mac) + struct.pack('!H', ethertype) + packet)

    def close(self):
        self.socket.close()


def villain(w):
    for g in w.guests:
        if g.name == 'villain':
            return g
    return w.guest('villain')


def bystander(w):
    for g in w.guests:
        if g.name == 'bystander':
            return g
    return w.guest('bystander')


def served(w, seconds=3):
    """The bystander is served: TCP to outside, DNS, ping; soon."""
    g = bystander(w)
    server = w.outside.listen(OUTSIDE)
    began = time.monotonic()
    c = g.connect(*server.getsockname(), timeout=10)
    s, _ = server.accept()
    c.sendall(b'me too')
    c.close()
    equal(read_all(s), b'me too', 'the bystander')
    s.close()
    server.close()
    check(time.monotonic() - began < seconds or netns.starved(), f'the bystander waited {time.monotonic() - began:.1f} s')
    r = g.run('busybox', 'ping', '-c', 1, '-W', 5, GATEWAY, ok=False)
    check(r.returncode == 0, 'the gateway does not answer the bystander', r.stdout)
    query = struct.pack('!6H', 1, 0x100, 1, 0, 0, 0) + b'\7gateway\4vnet\10internal\0\0\1\0\1'
    u = g.socket(socket.SOCK_DGRAM, timeout=5)
    u.connect((GATEWAY, 53))
    u.send(query)
    check(u.recv(1500).endswith(socket.inet_aton(GATEWAY)), 'DNS for the bystander')
    u.close()
    check(w.vnetd.poll() is None, 'vnetd is gone')


def drops(stats):
    return {k: v for k, v in stats.items() if k.startswith('drop-')}


@contextlib.contextmanager
def counted(w, *reasons, room=RSS_ROOM):
    """What happens within is counted under all of @reasons, costs no more than @room KiB, and nobody else suffers."""
    bystander(w)
    v = villain(w)
    served(w)
    before, rss = w.stats(), w.rss()
    i = Injector(v)
    yield i
    wait_until(lambda: settled(w), 20, 'vnetd has read it all', every=0.1)
    served(w)
    after = w.stats()
    grown = {k: after[k] - before.get(k, 0) for k in drops(after) if after[k] != before.get(k, 0)}
    comment(f'{i.sent} frames; RSS {rss} to {w.rss()} KiB; {grown}')
    for reason in reasons:
        check(grown.get('drop-' + reason), f'nothing is counted as {reason}: {grown}')
    if not w.is_sanitized():  # that keeps what is freed
        check(w.rss() - rss < room, f'RSS grew from {rss} to {w.rss()} KiB')
    i.close()


def until_met(w, limits, flood):
    """A flood, and again until one of @limits is counted: what vnetd has no time to read, the interface drops."""
    for _ in range(8):
        flood()
        wait_until(lambda: settled(w), 30, 'vnetd has read it all', every=0.1)
        stats = w.stats()
        if any(stats.get('drop-' + limit) for limit in limits):
            return stats
    raise Failed(f'none of {limits} was met: {drops(stats)}')


def settled(w):
    n = w.stats()['rx-frames']
    time.sleep(0.2)
    return w.stats()['rx-frames'] - n < 20


@contextlib.contextmanager
def black_hole(w):
    run('ip', 'route', 'add', BLACK_HOLE, 'via', OUTSIDE)
    w.outside.run('ip', 'route', 'add', 'blackhole', BLACK_HOLE)
    try:
        yield '198.51.100.'
    finally:
        run('ip', 'route', 'del', BLACK_HOLE)
        w.outside.run('ip', 'route', 'del', 'blackhole', BLACK_HOLE)


def renew(w):
    """A new world: not to wait for timeouts of minutes."""
    w.stop()
    w.start()


# ---- malformed ----

def garbage(w):
    """Frames of 14 to 60 bytes of noise; each is dropped, and counted once."""
    seed = random.Random(60)
    with counted(w, 'eth-type', 'ip-malformed', 'arp-malformed') as i:
        before = w.stats()
        for n in range(3000):
            data = seed.randbytes(n % 47)
            i.packet(data, ethertype=(0x0800, 0x0806, 0x86dd, seed.randrange(0x600, 0xffff))[n % 4])
            if n % 100 == 0:  # the TAP's queue holds a thousand
                time.sleep(0.01)
        wait_until(lambda: settled(w), 20, every=0.1)
        after = w.stats()
        came = after['rx-frames'] - before['rx-frames']  # the kernel keeps some back
        dropped = sum(drops(after).values()) - sum(drops(before).values())
        check(came > 2800, f'only {came} frames came')
        check(came - 20 <= dropped <= came, f'{came} frames of noise, {dropped} drops')  # 20: a guest's kernel has its own to say
        for src in b'\0' * 6, b'\xff' * 6, b'\1\2\3\4\5\6', i.gateway:
            i.packet(bytes(46), src=src)
        for n in range(300):
            i.packet(seed.randbytes(46), dst=seed.randbytes(6), src=b'\2' + seed.randbytes(5))


def lying_lengths(w):
    v = villain(w)
    me = v.addr
    query = struct.pack('!6H', 1, 0x100, 1, 0, 0, 0) + b'\7gateway\4vnet\10internal\0\0\1\0\1'
    with counted(w, 'ip-malformed', 'udp-malformed', 'tcp-malformed', 'dhcp-malformed', 'dns-malformed', 'ip-options', 'ip-checksum') as i:
        for length in 0, 1, 19, 20, 21, 27, 28, 60, 61, 1000, 65535:
            i.packet(udp(me, 5000, GATEWAY, 53, query, length=length))
            i.packet(udp(me, 5000, OUTSIDE, 9, query, length=length))
            for make in udp, tcp:
                packet = make(me, 5000, OUTSIDE, 9)
                i.packet(packet[:2] + struct.pack('!H', length) + packet[4:])  # with a wrong checksum too
            i.packet(ip4(me, OUTSIDE, 6, bytes(20), length=length))
            i.packet(ip4(me, GATEWAY, 1, bytes(8), length=length))
            i.packet(dhcp(i.mac, 1)[:length])
        for ihl in range(16):
            for version in 4, 0, 6, 15:
                i.packet(ip4(me, OUTSIDE, 17, bytes(40), ihl=ihl, version=version))
        for doff in range(16):
            i.packet(tcp(me, 5001, OUTSIDE, 9, doff=doff))
            i.packet(tcp(me, 5001, OUTSIDE, 9, doff=doff, payload=b'\2\0\3\377\10\1\5\377\4\0' * 5))
        for option in b'\2\0', b'\2\1', b'\2\5\0\0', b'\3\1', b'\10\2', b'\5\377', b'\4\1', b'\377\377', b'\2', b'\10\12\0\0':
            i.packet(tcp(me, 5002, OUTSIDE, 9, options=(option + bytes(4))[:4]))
        for n in range(len(query)):
            i.packet(udp(me, 5003, GATEWAY, 53, query[:n]))
            i.packet(udp(me, 5003, GATEWAY, 53, query[:n] + b'\xc0' + query[n + 1:]))  # compression pointers everywhere
        whole = dhcp(i.mac, 1)
        for n in range(28, len(whole), 7):
            i.packet(udp('0.0.0.0', 68, '255.255.255.255', 67, whole[28:n]))
        for n in range(0, 256, 5):
            i.packet(udp('0.0.0.0', 68, '255.255.255.255', 67, whole[28:-1] + bytes([12, n]) + b'x' * 3))
        i.packet(ip4(me, OUTSIDE, 17, bytes(30), options=b'\7\4\0\0', ihl=6))
        i.packet(struct.pack('!HHBBH', 1, 0x800, 255, 255, 1) + bytes(20), ethertype=0x0806)
        i.packet(bytes(28), ethertype=0x0806)
    renew(w)  # connections to port 9 hang about


def lying_gso(w):
    """virtio-net headers that do not fit their frames, as far as the guest's own kernel takes them."""
    v = villain(w)
    seed = random.Random(3)
    with counted(w) as i:
        i.socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        taken = 0
        for n in range(4000):
            make = (tcp, udp)[n % 2]
            payload = seed.randbytes(seed.choice((0, 1, 100, 1400, 20000)))
            packet = make(v.addr, 7000, OUTSIDE, 9, payload=payload, **({'flags': 16} if make is tcp else {}))
            head = struct.pack('=BBHHHH', seed.choice((0, 1, 1, 2, 3)), seed.choice((0, 1, 1, 3, 4, 5, 0x81, 0x83)),
                               seed.choice((0, 14, 34, 42, 54, 54, 60, 100, 65535)), seed.choice((0, 1, 7, 536, 1448, 65535)),
                               seed.choice((0, 14, 34, 34, 34, 40, 65535)), seed.choice((0, 6, 16, 16, 100, 65535)))
            try:
                i.socket.send(head + i.gateway + i.mac + b'\x08\0' + packet)
                taken += 1
            except OSError:
                pass
        comment(f'{taken} of 4000 passed the kernel')


def nobodys_addresses(w):
    """0.0.0.0, 127/8, multicast, broadcast: no host socket is touched, no flow made; all of it counted."""
    v = villain(w)
    ports = []
    for addr in '0.0.0.0', '127.0.0.1':
        t = w.host.listen(addr)
        u = w.host.socket(socket.SOCK_DGRAM)
        u.bind((addr, t.getsockname()[1]))
        ports += [t, u]
    with counted(w, 'ip-destination') as i:
        for addr in '0.0.0.0', '0.1.2.3', '127.0.0.1', '127.1.2.3', '224.0.0.1', '239.255.255.250', '240.0.0.1', '255.255.255.255', '169.254.1.1':
            for s in ports:
                port = s.getsockname()[1]
                i.packet(udp(v.addr, 6000, addr, port, b'nobody'))
                i.packet(tcp(v.addr, 6000, addr, port))
            i.packet(echo(v.addr, addr, b'nobody'))
        for src in '0.0.0.0', '127.0.0.1', '10.9.8.7', '255.255.255.255', '224.0.0.1', GATEWAY, HOST_ADDRESS:
            i.packet(udp(src, 6001, OUTSIDE, 9, b'spoofed'))
            i.packet(tcp(src, 6001, OUTSIDE, 9))
            i.packet(echo(src, OUTSIDE))
        time.sleep(0.5)
        equal([f for p in ('tcp', 'udp') for f in w.flows(p) if f['guest'].endswith((':6000', ':6001'))], [], 'flows')
    for s in ports:
        s.settimeout(0.05)
        try:
            got = s.accept() if s.type == socket.SOCK_STREAM else s.recvfrom(100)
            raise Failed(f'a socket of the host at {s.getsockname()} was reached: {got}')
        except TimeoutError:
            s.close()


def unserved_gateway_ports(w):
    """Answered truthfully: RST, port unreachable."""
    v = villain(w)
    with counted(w, 'udp-port-unserved'):
        for port in 1, 9, 80, 443, 5353, 65535:
            try:
                v.connect(GATEWAY, port, timeout=3).close()
                raise Failed(f'somebody serves tcp {port}')
            except ConnectionRefusedError:
                pass
            u = v.socket(socket.SOCK_DGRAM, timeout=3)
            u.connect((GATEWAY, port))
            u.send(b'anybody?')
            try:
                raise Failed(f'somebody serves udp {port}: {u.recv(100)}')
            except ConnectionRefusedError:
                u.close()


# ---- too much of it ----

def black_holed_connects(w):
    """Twelve, then a thousand connections to where nobody answers: the next one goes through at once."""
    v = villain(w)
    bystander(w)
    with black_hole(w) as prefix:
        pending = []
        for n in 12, 1000:
            while len(pending) < n:
                s = v.socket()
                s.setblocking(False)
                s.connect_ex((prefix + str(1 + len(pending) % 250), 80))
                pending.append(s)
            wait_until(lambda: w.stats()['half-open'] >= n, 10, f'{n} half-open')
            server = w.outside.listen(OUTSIDE)
            began = time.monotonic()
            c = v.connect(*server.getsockname())
            server.accept()[0].close()
            took = time.monotonic() - began
            check(took < 0.5 or netns.starved(), f'connection {n + 1} took {took:.2f} s')
            comment(f'connection {n + 1} took {took * 1000:.1f} ms')
            c.close()
            server.close()
            served(w, 1)
        for s in pending:
            s.close()
    renew(w)


def idle_flows(w):
    """10,000 flows held: what each costs."""
    need, v = 10000, villain(w)
    server = w.spawn(sys.executable, os.path.join(HERE, 'storm.py'), 'keep', OUTSIDE, 8080, ns=w.outside, stdout=subprocess.PIPE)
    equal(server.stdout.readline(), b'ready\n', 'the server')
    served(w)
    rss = w.rss()
    p = subprocess.Popen(v.command(sys.executable, os.path.join(HERE, 'storm.py'), 'hold', OUTSIDE, 8080, need), stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    w.procs.append(p)
    said = Job(p.stdout.readline).wait(60)
    equal(said.strip(), str(need), 'connections held')
    equal(w.stats()['tcp-flows'] >= need, True, 'flows')
    served(w)
    each = (w.rss() - rss) * 1024 / need
    comment(f'{need} idle flows: RSS {rss} to {w.rss()} KiB, {each:.0f} bytes each')
    check(each < 1024 or w.is_sanitized(), f'{each:.0f} bytes a flow')
    p.stdin.close()
    p.wait(20)
    w.procs.remove(p)
    server.kill()
    w.no_flows(seconds=30)


def syn_flood(w):
    """To a port that answers and to a black hole, from every port of many addresses."""
    server = w.outside.listen(OUTSIDE, 8081, backlog=4096)

    def flood():
        for n in range(30000):
            dst, port = (OUTSIDE, 8081) if n % 2 else (prefix + str(1 + n % 250), 80)
            i.packet(tcp(f'192.168.127.{10 + n % 100}', 1024 + n // 100 * 2 + n % 2, dst, port, seq=n))
            if n % 10000 == 5000:
                served(w)

    with black_hole(w) as prefix:
        with counted(w, 'tcp-syn-limit') as i:
            stats = until_met(w, ('tcp-syn-limit',), flood)
            devices = len(w.guests) if w.queues else 0  # the shards of each may have their part as well
            check(stats['half-open'] <= HALF_OPEN_MAX * (1 + devices), stats['half-open'])
            comment(f"half-open {stats['half-open']}, flows {stats['tcp-flows']}")
    server.close()
    renew(w)


def dhcp_starvation(w):
    """Every address asked for by a client that isn't there: those who have one keep it."""
    g = bystander(w)
    lease = g.addr
    v = villain(w)
    with counted(w) as i:
        for n in range(3000):
            mac = struct.pack('!HI', 0x0200, n)
            i.packet(dhcp(mac, 1), dst=b'\xff' * 6, src=mac if n % 2 else i.mac)
            i.packet(dhcp(mac, 3, f'192.168.127.{2 + n % 252}'), dst=b'\xff' * 6, src=mac if n % 2 else i.mac)
        wait_until(lambda: settled(w), 20, every=0.1)
        stats = w.stats()
        refused = {k: stats.get('drop-' + k, 0) for k in ('dhcp-pool-empty', 'dhcp-rate', 'dhcp-ignored', 'dhcp-malformed', 'switch-table-full')}
        comment(f"leases {stats['leases']}; {refused}")
        check(refused['dhcp-pool-empty'] or refused['dhcp-rate'], 'no limit was met:', refused)
        check(stats['leases'] <= 253, 'leases', stats['leases'])
        wait_until(lambda: lease_again(g) == lease, 30, 'the bystander renews', every=1)
    equal(v.addr in w.ctl('leases'), True, 'the lease of the villain itself')
    renew(w)


def lease_again(g):
    """What the DHCP server says to a client that has a lease and asks again."""
    with contextlib.suppress(Failed):
        return g.dhcp(netns.world_script(g.world, 'dump', netns.DUMP), '-r', g.addr)['ip']
    return None


def udp_ports(w):
    """A datagram from each of 65,535 ports: the table is bounded, the bystander's datagrams go through."""
    g = bystander(w)
    server = w.outside.socket(socket.SOCK_DGRAM, timeout=5)
    server.bind((OUTSIDE, 7777))

    def flood():
        me = villain(w).addr
        for port in range(1, 65536):
            i.packet(udp(me, port, OUTSIDE, 9999, b'x'))
            if port % 20000 == 0:
                c = g.socket(socket.SOCK_DGRAM, timeout=5)
                c.sendto(b'mine', (OUTSIDE, 7777))
                data, peer = server.recvfrom(100)
                server.sendto(data, peer)
                equal(c.recv(100), b'mine', 'the answer')

    with counted(w) as i:
        stats = until_met(w, ('udp-flow-limit', 'udp-no-socket'), flood)
        comment(f"flows {stats['udp-flows']}, opened {stats['udp-opened']}, " + str({k: v for k, v in drops(stats).items() if v}))
        check(stats['udp-flows'] <= UDP_FLOWS_MAX, stats['udp-flows'])
    server.close()
    renew(w)


def fragments_without_end(w):
    """First fragments whose rest never comes, lasts without a first, overlaps, lies about the end."""
    g = w.guest('small', mtu=1500)
    with counted(w, 'frag-malformed', 'frag-limit') as i:
        me = villain(w).addr
        for n in range(20000):
            kind = n % 5
            if kind == 0:
                i.packet(ip4(me, OUTSIDE, 17, bytes(1480), ident=n & 0xffff, flags=1))
            elif kind == 1:
                i.packet(ip4(me, OUTSIDE, 17, bytes(1480), ident=n & 0xffff, offset=185 * (n % 40), flags=1))
            elif kind == 2:
                i.packet(ip4(me, OUTSIDE, 17, bytes(100), ident=n & 0xffff, offset=8100))
            elif kind == 3:
                i.packet(ip4(me, OUTSIDE, 17, bytes(1480), ident=7, offset=n % 8000, flags=1))
            else:
                i.packet(ip4(me, OUTSIDE, 17, bytes(13), ident=n & 0xffff, flags=1, offset=n % 100))
            if n % 5000 == 2500:
                r = g.run('busybox', 'ping', '-c', 1, '-W', 3, '-s', 4000, GATEWAY, ok=False)
                check(r.returncode == 0, "another guest's fragments:", r.stdout)
        stats = w.stats()
        check(stats['fragments-held'] <= FRAGMENTS_MAX, stats['fragments-held'])
    w.drop_guest(g)


def ping_flood(w):
    """From one guest to everywhere: bounded, and the bystander's pings are answered."""
    with counted(w, 'ping-flow-limit') as i:
        me = villain(w).addr
        for n in range(20000):
            i.packet(echo(me, f'203.0.113.{n % 250 + 1}' if n % 2 else GATEWAY, struct.pack('!I', n) * 8, echo_id=n))
        stats = w.stats()
        check(stats['ping-flows'] <= 256, stats['ping-flows'])


def made_up_stations(w):
    """ARP and MAC addresses without end: both tables are bounded."""
    seed = random.Random(1)
    with counted(w) as i:
        # Whoever claims the gateway's address for more than a second is believed by a kernel; vnetd denies it once in ten seconds (RFC 5227).
        bystander(w).run('ip', 'neigh', 'replace', GATEWAY, 'lladdr', i.gateway.hex(':'), 'dev', 'eth0', 'nud', 'permanent')
        for n in range(20000):
            mac = b'\2' + seed.randbytes(5)
            addr = socket.inet_aton(f'192.168.127.{n % 256}')
            i.packet(struct.pack('!HHBBH6s4s6s4s', 1, 0x800, 6, 4, 1 + n % 2, mac, addr, bytes(6), socket.inet_aton(GATEWAY)),
                     dst=b'\xff' * 6, src=mac, ethertype=0x0806)
        stats = w.stats()
        comment(f"neighbours {stats['neighbours']}")
        check(stats['neighbours'] <= 1024, stats['neighbours'])
    renew(w)


if __name__ == '__main__':
    netns.main([garbage, lying_lengths, lying_gso, nobodys_addresses, unserved_gateway_ports, black_holed_connects, idle_flows, syn_flood,
                dhcp_starvation, udp_ports, fragments_without_end, ping_flood, made_up_stations])
