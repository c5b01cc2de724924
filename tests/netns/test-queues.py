#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest on a TAP of several queues, served by one thread or each by its own: many flows at once, both ways, byte by byte, while its kernel
spreads them; what belongs to the network's own thread, whatever queue it comes by; and the limits."""

import contextlib
import hashlib
import json
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import netns
from netns import GATEWAY, HOST_ADDRESS, OUTSIDE, Failed, Job, check, comment, equal, read_exactly, wait_until

QUEUES = 4
FLOWS = 16
LEN = 1 << 20
FORGETFUL = 4.5  # seconds: the kernel remembers for three which queue answered last
MANY = 10000
GATEWAY_MAC = '5a:94:ef:e4:0c:dd'
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, REPAIR_OFF = 19, 20, 21, -1
IP_MTU_DISCOVER, IPV6_MTU, IPV6_DSTOPTS = 10, 24, 59
TUNSETIFF, IFF_QUEUE = 0x400454ca, 0x5102  # one more of a TAP: no packet information, a vnet header
HERE = os.path.dirname(os.path.abspath(__file__))


class QueueGuest(netns.Guest):
    """As a guest without offloads is made, but with all of them, and several queues."""

    def __init__(self, world, name, queues, parallel=False):
        netns.Namespace.__init__(self, name)
        self.world, self.mtu, self.addr = world, world.mtu, None
        self.sysctl('net.ipv6.conf.all.disable_ipv6', 1)
        self.device = world.ctl('device', 'create', 'tap', f'--netns={self.path}', f'--name={name}', f'--mtu={self.mtu}',
                                f'--queues={queues}', *[] if world.offloads else ['--offloads=none'],
                                *['--parallel'] if parallel else []).strip()
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


def exchange(g, port, addr=HOST_ADDRESS):
    c = g.connect(addr, port, timeout=60)
    with c:
        blob = os.urandom(LEN)
        c.sendall(blob)
        equal(read_exactly(c, 32), hashlib.sha256(blob).digest(), 'the sum of what was sent up')
        c.sendall(hashlib.sha256(read_exactly(c, LEN)).digest())


def parallel_guest(w, queues=QUEUES, name='p'):
    g = QueueGuest(w, name, queues, parallel=True)
    w.guests.append(g)
    equal(threads(w), queues, 'threads of the network')
    return g


def wakeups(w, name='vnet/defaul'):
    """Of each thread that carries packets, or those of queues alone."""
    tasks = [f'/proc/{w.vnetd.pid}/task/{t}' for t in os.listdir(f'/proc/{w.vnetd.pid}/task')]
    return [int(netns.read(t + '/status').split('\nvoluntary_ctxt_switches:')[1].split()[0]) for t in tasks
            if netns.read(t + '/comm').startswith(name)]


def threads(w):
    return len(wakeups(w))


def many_flows(w):
    for queues, parallel in (QUEUES, False), (16, False), (2, True), (QUEUES, True), (16, True):
        g = parallel_guest(w, queues) if parallel else QueueGuest(w, f'q{queues}', queues)
        if not parallel:
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


# ---- a thread for each queue ----

def connections(w, g, n, addr='127.0.0.1', at=HOST_ADDRESS):
    """@n of them to the outside: pairs of the guest's end and the host's, and each says something both ways."""
    s = w.host.listen(addr)
    pairs = []
    for i in range(n):
        c = g.connect(at, s.getsockname()[1])
        pairs.append((c, s.accept()[0]))
    s.close()
    talk(pairs)
    return pairs


def sequence(s):
    """What it sends next, and what it wants to hear next."""
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    numbers = []
    for queue in 2, 1:
        s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        numbers.append(s.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xffffffff)
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF)
    return numbers


def with_checksum(source, destination, segment):
    family = netns.family_of(source)
    data = b''.join(socket.inet_pton(family, a) for a in (source, destination)) + struct.pack('!II', len(segment), socket.IPPROTO_TCP) + segment
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    total = (total & 0xffff) + (total >> 16)
    return segment[:16] + struct.pack('!H', ~(total + (total >> 16)) & 0xffff) + segment[18:]


def by_hand(g, s, payload, prepare):
    """Sends what the connection @s would send, by a raw socket that @prepare has told how."""
    (source, sport), (destination, dport) = s.getsockname()[:2], s.getpeername()[:2]
    segment = struct.pack('!HHIIBBHHH', sport, dport, *sequence(s), 5 << 4, 0x18, 65535, 0, 0) + payload
    segment = with_checksum(source, destination, segment)
    with g.socket(socket.SOCK_RAW, family=s.family, proto=socket.IPPROTO_TCP) as raw:
        prepare(raw)
        equal(raw.sendto(segment, (destination, 0)), len(segment), 'sent')


def odd_segments(w, g, addr, ways, at):
    """Segments of connections on all queues, sent in each of @ways, arrive, and the connections go on."""
    pairs = connections(w, g, FLOWS, addr, at)
    for name, prepare in ways.items():
        for c, e in pairs:
            payload = os.urandom(3000)
            by_hand(g, c, payload, prepare)
            e.settimeout(10)
            try:
                equal(read_exactly(e, len(payload)), payload, name)
            except (OSError, Failed) as error:
                raise Failed(f'{name}: {error!r}') from error
            c.sendall(payload)  # so that its own kernel believes it too
        talk(pairs)
    check('handover-full' not in json.loads(w.ctl('--json=short', 'device', 'show', 'p'))['Drops'], 'dropped')
    close_all(w, pairs)


def parallel_pieces(w):
    """TCP in fragments, and behind extension headers, is for the connection it belongs to, whichever queue has that; with no connection it is refused."""
    g = parallel_guest(w)
    g.run('ip', 'route', 'add', HOST_ADDRESS, 'dev', 'eth0', 'mtu', 'lock', 600)
    odd_segments(w, g, '127.0.0.1', {'in fragments': lambda raw: raw.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 0)}, HOST_ADDRESS)

    w.host.sysctl('net.ipv6.conf.lo.disable_ipv6', 0)
    for name in 'all', 'eth0':
        g.sysctl(f'net.ipv6.conf.{name}.disable_ipv6', 0)
    wait_until(lambda: g.run('ip', '-6', '-o', 'addr', 'show', 'eth0', 'scope', 'global', '-tentative').stdout, 20, 'IPv6 in the guest', every=0.1)
    host6 = w.ctl('network', 'show', 'default').split('Gateway6: ')[1].split()[0].removesuffix('1') + 'fe'
    odd_segments(w, g, '::1', {
        'in fragments': lambda raw: raw.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, 1280),
        'behind options': lambda raw: raw.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, bytes((0, 0, 1, 4, 0, 0, 0, 0))),
    }, host6)

    with g.socket(socket.SOCK_RAW, proto=socket.IPPROTO_TCP, timeout=10) as raw:
        raw.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 0)
        segment = struct.pack('!HHIIBBHHH', 9, 9, 1, 1, 5 << 4, 0x10, 65535, 0, 0) + bytes(3000)
        raw.sendto(with_checksum(g.addr, HOST_ADDRESS, segment), (HOST_ADDRESS, 0))
        answer = raw.recv(100)[20:]
        equal((answer[:4], answer[13] & 4), (segment[:4], 4), 'a reset')
    equal(w.stats()['drop-tcp-no-flow'], 1, 'refused, once')
    w.drop_guest(g)


def talk(pairs):
    for i, (c, e) in enumerate(pairs):
        e.settimeout(30)
        c.sendall(b'up %03d' % i)
        equal(read_exactly(e, 6), b'up %03d' % i, 'up')
        e.sendall(b'dn %03d' % i)
        equal(read_exactly(c, 6), b'dn %03d' % i, 'down')


def close_all(w, pairs):
    for c, e in pairs:
        c.close()
        e.close()
    w.no_flows()


def parallel_sums(w):
    """What is counted and listed is that of all threads together, and nothing of it is lost when they end."""
    g = parallel_guest(w)
    before = w.stats()
    pairs = connections(w, g, 64)
    check(min(wakeups(w)) > 16, 'one of the threads had nothing to do:', wakeups(w))
    flows = w.flows()
    equal(len(flows), 64, 'flows listed')
    equal(sorted(f['guest'] for f in flows), sorted('%s:%d' % c.getsockname() for c, _ in pairs), 'their ends')
    equal(all(f['rx'] == 6 and f['tx'] == 6 for f in flows), True, flows[0])
    stats = w.stats()
    equal(stats['tcp-flows'], 64, 'flows')
    equal(stats['tcp-opened'] - before['tcp-opened'], 64, 'opened')
    shown = json.loads(w.ctl('--json=short', 'device', 'show', 'p'))
    with g.inside():
        with open('/proc/thread-self/net/dev') as f:
            sent = int(next(line for line in f if 'eth0' in line).split()[10])
    check(64 * 4 < shown['RxFrames'] <= sent, shown['RxFrames'], sent)
    close_all(w, pairs)
    after = w.stats()
    w.drop_guest(g)
    equal(threads(w), 1, 'threads')
    last = w.stats()
    check(last['frames-in'] >= after['frames-in'] and last['rx-frames'] >= after['rx-frames'], 'counters go back', after, last)
    equal(last['tcp-opened'], after['tcp-opened'], 'opened')


def parallel_pauses(w):
    """Connections of either way go on after the kernel has forgotten which queue they were on."""
    g = parallel_guest(w)
    pairs = connections(w, g, 32)
    server = g.listen('0.0.0.0', 8080)
    w.ctl('expose', '7080', f'{g.addr}:8080')
    for _ in range(32):
        e = w.host.connect('127.0.0.1', 7080)
        pairs.append((server.accept()[0], e))
    for _ in range(2):
        talk(pairs)
        time.sleep(FORGETFUL)
    talk(pairs)
    check('handover-full' not in json.loads(w.ctl('--json=short', 'device', 'show', 'p'))['Drops'], 'dropped')
    server.close()
    w.ctl('unexpose', '7080')
    close_all(w, pairs)
    w.drop_guest(g)


def one_more_queue(g):
    """Of the guest's own device: what comes by it goes nowhere, until it is closed."""
    with g.inside():
        f = os.open('/dev/net/tun', os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(f, TUNSETIFF, struct.pack('16sH22x', b'eth0', IFF_QUEUE))
    return f


def parallel_moved(w):
    """Connections whose frames come by another queue than they began on go on: the kernel, once it has forgotten, divides by how many there are."""
    g = parallel_guest(w)
    g.run('ip', 'neigh', 'replace', HOST_ADDRESS, 'lladdr', GATEWAY_MAC, 'nud', 'permanent', 'dev', 'eth0')
    queue = one_more_queue(g)
    s = w.host.listen('127.0.0.1')
    clients, ends = [], {}
    for _ in range(48):
        with contextlib.suppress(TimeoutError):
            clients.append(g.connect(HOST_ADDRESS, s.getsockname()[1], timeout=0.3))
    check(16 < len(clients) < 48, 'connections:', len(clients))
    for n, c in enumerate(clients):
        c.settimeout(30)
        c.sendall(bytes([n]))
    while len(ends) < len(clients):  # among them may be one that the guest has given up just then
        e, _ = s.accept()
        e.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            if name := e.recv(1):
                ends[name[0]] = e
    s.close()
    pairs = [(c, ends[n]) for n, c in enumerate(clients)]
    talk(pairs)
    os.close(queue)
    time.sleep(FORGETFUL)
    talk(pairs)
    queue = one_more_queue(g)
    time.sleep(FORGETFUL)
    jobs = [Job(talk, [pair]) for pair in pairs]
    time.sleep(1)
    os.close(queue)  # what was lost is sent again
    for job in jobs:
        job.wait(40)
    close_all(w, pairs)
    w.drop_guest(g)


def parallel_datagrams(w):
    """UDP of one port is one mapping whatever queue it comes by; DNS, ping and DHCP are served; fragments are put together."""
    g = parallel_guest(w)
    servers = [w.outside.socket(socket.SOCK_DGRAM) for _ in range(16)]
    c = g.socket(socket.SOCK_DGRAM)
    seen = set()
    for s in servers:
        s.bind((OUTSIDE, 0))
        c.sendto(b'x' * 100, s.getsockname())
        data, peer = s.recvfrom(2000)
        seen.add(peer)
        s.sendto(data, peer)
        equal(c.recvfrom(2000), (data, s.getsockname()), 'an answer')
    equal(len(seen), 1, seen)
    blob = os.urandom(9000)
    c.sendto(blob, servers[0].getsockname())
    equal(servers[0].recvfrom(10000)[0], blob, 'what may be fragmented')
    for n in range(8):
        q = g.socket(socket.SOCK_DGRAM)
        q.sendto(b'\0%c\1\0\0\1\0\0\0\0\0\0\7gateway\4vnet\10internal\0\0\1\0\1' % n, (GATEWAY, 53))
        check(socket.inet_aton(GATEWAY) in q.recv(512), 'no answer')
    g.run('ping', '-c', '3', '-i', '0.2', GATEWAY)
    g.configure()
    w.drop_guest(g)


def parallel_one_way(w):
    """Datagrams that nobody answers come by the network's own queue before long, and again after the kernel has forgotten; the guest notices nothing."""
    g = parallel_guest(w)
    server = w.outside.socket(socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    server.bind((OUTSIDE, 0))
    clients = [g.socket(socket.SOCK_DGRAM) for _ in range(FLOWS)]
    for c in clients:
        c.connect(server.getsockname())
    g.run('ping', '-c', '1', GATEWAY)
    for _ in range(2):
        counts = []
        for _ in range(50):
            counts.append(sum(wakeups(w, 'vnet/defaul/')))
            for c in clients:
                c.send(b'x' * 100)
            time.sleep(0.01)
        for _ in range(50 * FLOWS):
            server.recv(200)
        comment('wake-ups of the other threads, every tenth time:', counts[::10])
        check(counts[40] - counts[0] > 0, 'they had nothing to hand over')
        check(counts[49] - counts[25] < FLOWS, 'they still hand over')
        time.sleep(FORGETFUL)
    for c in clients:
        c.setblocking(False)
        try:
            raise Failed(f'what was sent came back: {c.recv(200)}')
        except BlockingIOError:
            pass
    w.drop_guest(g)


def parallel_neighbours(w):
    """Over the switch, and a device of one queue beside it."""
    a, b = parallel_guest(w, name='a'), QueueGuest(w, 'b', 1)
    w.guests.append(b)
    for x, y in (a, b), (b, a):
        s = y.listen('0.0.0.0')
        jobs = [Job(serve, s) for _ in range(FLOWS)]
        jobs += [Job(exchange, x, s.getsockname()[1], y.addr) for _ in range(FLOWS)]
        for job in jobs:
            job.wait(120)
        s.close()
    w.drop_guest(a)
    w.drop_guest(b)


def pump(s):
    """Until the connection is no more."""
    n = 0
    try:
        while True:
            s.sendall(bytes(65536))
            n += 65536
    except OSError:
        return n


def drain(s):
    n = 0
    try:
        while chunk := s.recv(1 << 18):
            n += len(chunk)
    except OSError:
        pass
    return n


def under_traffic(w, g, act, seconds=1):
    """What @act does to streams that run both ways; each must end, on the host at once."""
    pairs = connections(w, g, 8)
    jobs = [Job(pump, c) for c, _ in pairs[:4]] + [Job(drain, c) for c, _ in pairs[4:]]
    hosts = [Job(drain, e) for _, e in pairs[:4]] + [Job(pump, e) for _, e in pairs[4:]]
    time.sleep(seconds)
    act()
    for job in hosts:
        check(job.wait(20) > 0, 'nothing came')
    for c, e in pairs:
        c.shutdown(socket.SHUT_RDWR)
        c.close()
        e.close()
    for job in jobs:
        job.wait(20)


def parallel_removed(w):
    """The device is removed, its namespace goes, it is moved to the laboratory and back: all amid traffic, again and again."""
    for n in range(5):
        g = parallel_guest(w)
        under_traffic(w, g, lambda: w.ctl('device', 'remove', 'p'), 0.3)
        equal(threads(w), 1, 'threads')
        w.guests.remove(g)
        g.remove()
    g = parallel_guest(w)
    for n in range(3):
        under_traffic(w, g, lambda: move(w, 'Detach'), 0.3)
        equal(threads(w), 1, 'threads')
        move(w, 'Attach', 's', 'default')
        equal(threads(w), QUEUES, 'threads')
    close_all(w, connections(w, g, 8))
    w.drop_guest(g)
    g = netns.Guest(w, 'v', queues=QUEUES)
    under_traffic(w, g, lambda: g.run('ip', 'link', 'del', 'eth0'))
    wait_until(lambda: not w.devices() and threads(w) == 1, 10, 'the device is gone')
    w.no_flows()
    g.remove()


def move(w, method, *args):
    netns.run('busctl', f'--address={w.address}', 'call', 'org.vnetd1', '/org/vnetd1/device/p', 'org.vnetd1.Device', method, *args)


def senders(path, addr):
    """TCP ports of @addr in a capture of Ethernet frames."""
    with open(path, 'rb') as f:
        blob = f.read()
    ports, at = set(), 24
    while at + 16 <= len(blob):
        n = int.from_bytes(blob[at + 8:at + 12], 'little')
        frame = blob[at + 16:at + 16 + n]
        if frame[26:30] == socket.inet_aton(addr):
            ports.add(int.from_bytes(frame[34:36], 'big'))
        at += 16 + n
    return ports


def parallel_watched(w):
    """A capture sees what all threads carry, and comes and goes amid traffic."""
    g = parallel_guest(w)
    path = os.path.join(w.dir, 'p.pcap')
    pairs = connections(w, g, 16)
    jobs = [Job(drain, e) for _, e in pairs] + [Job(pump, c) for c, _ in pairs]
    seen, expected, end = set(), {c.getsockname()[1] for c, _ in pairs}, time.monotonic() + 60
    for n in range(100):
        if n >= 3 and (seen == expected or time.monotonic() > end):
            break
        p = w.spawn(*w.ctl_argv('capture', 'p', 'tcp', f'--write={path}', '--snaplen=60'), stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        p.send_signal(signal.SIGINT)
        p.wait(20)
        w.procs.remove(p)
        seen |= senders(path, g.addr)
    equal(seen, expected, 'who was seen')
    for c, e in pairs:
        c.shutdown(socket.SHUT_RDWR)
    for job in jobs:
        job.wait(20)
    close_all(w, pairs)
    w.drop_guest(g)


def parallel_many(w):
    """Ten thousand connections at once, and as many one after another."""
    g = parallel_guest(w)
    server = w.spawn(sys.executable, os.path.join(HERE, 'storm.py'), 'keep', OUTSIDE, 8080, ns=w.outside, stdout=subprocess.PIPE)
    equal(server.stdout.readline(), b'ready\n', 'the server')
    p = subprocess.Popen(g.command(sys.executable, os.path.join(HERE, 'storm.py'), 'hold', OUTSIDE, 8080, MANY), stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    w.procs.append(p)
    equal(Job(p.stdout.readline).wait(90).strip(), str(MANY), 'connections held')
    equal(w.stats()['tcp-flows'], MANY, 'flows')
    p.stdin.close()
    p.wait(20)
    w.procs.remove(p)
    server.kill()
    w.no_flows(seconds=30)
    server = w.spawn(sys.executable, os.path.join(HERE, 'storm.py'), 'serve', OUTSIDE, 8081, ns=w.outside, stdout=subprocess.PIPE)
    equal(server.stdout.readline(), b'ready\n', 'the server')
    r = g.run(sys.executable, os.path.join(HERE, 'storm.py'), 'ask', OUTSIDE, 8081, MANY, ok=False, timeout=100)
    equal((r.returncode, r.stdout.strip()), (0, f'{MANY} of {MANY}'), r.stderr)
    server.kill()
    w.no_flows()
    comment(f"drops: {json.loads(w.ctl('--json=short', 'device', 'show', 'p'))['Drops']}")
    w.drop_guest(g)


def parallel_restart(w):
    """A device that outlives the daemon is as parallel as before."""
    ns = netns.Namespace('kept')
    w.ctl('device', 'create', 'tap', f'--netns={ns.path}', '--name=kept', '--persistent', f'--queues={QUEUES}', '--parallel')
    equal(threads(w), QUEUES, 'threads')
    time.sleep(1.5)  # state is saved a second after the last change
    equal(w.stop_vnetd(), 0, 'exit')
    w.start_vnetd()
    equal([d['name'] for d in w.devices()], ['kept'], 'devices')
    equal(threads(w), QUEUES, 'threads')
    w.ctl('device', 'remove', 'kept')
    equal(threads(w), 1, 'threads')
    ns.remove()


def parallel_refused(w):
    for options, word in ((['--vhost'], 'vhost-net'), (['--guarded'], 'guarded')):
        r = w.ctl('device', 'create', 'tap', f'--netns={w.outside.path}', '--queues=2', '--parallel', *options, ok=False)
        check(r.returncode != 0 and word in r.stderr, r.stderr)
    r = w.ctl('device', 'create', 'qemu', '--name=q', f'--listen={w.dir}/q.sock', '--parallel', ok=False)
    check(r.returncode != 0 and 'one queue' in r.stderr, r.stderr)
    equal(w.devices(), [], 'devices left over')


def attached(w):
    """`vnetctl attach` and `run` open the queues themselves, and the namespace goes all the same."""
    for options, n in (['--queues=4'], 1), (['--queues=4', '--parallel'], 4), (['--queues=16', '--parallel'], 16), (['--parallel'], min(len(os.sched_getaffinity(0)), 8)):
        ns = netns.Namespace('att')
        w.ctl('attach', ns.path, *options)
        equal(threads(w), n, options)
        ns.remove()
        wait_until(lambda: not w.devices(), 10, 'the device is gone')
        out = w.ctl('run', *options, '--', 'sh', '-c', 'ls /sys/class/net/eth0/queues 2>&1; ip -br link')
        check('eth0' in out, out)
        wait_until(lambda: not w.devices() and threads(w) == 1, 10, 'the device is gone')
    for queues in '0', '17', 'x':
        r = w.ctl('run', f'--queues={queues}', 'true', ok=False)
        check(r.returncode != 0 and '1 to 16' in r.stderr, r.stderr)


if __name__ == '__main__':
    netns.main([many_flows, between_guests, limits, attached, parallel_sums, parallel_pauses, parallel_pieces, parallel_moved, parallel_datagrams,
                parallel_one_way, parallel_neighbours, parallel_removed, parallel_watched, parallel_many, parallel_restart, parallel_refused])
