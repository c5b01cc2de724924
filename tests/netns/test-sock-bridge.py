#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The stand-in for a virtual machine itself, where it joins segments as a guest's driver does (sock-bridge with gro). The test is the far
end of its socket. What the namespace is handed, cut again as a card would cut it, has to be what came, byte for byte; what is wrong is
neither joined nor taken for checked. Transfers through vnetd are in test-sockets.py.
"""

import contextlib
import hashlib
import os
import random
import select
import signal
import socket
import struct
import subprocess
import time

import netns
from netns import SLOW, Failed, Job, Namespace, check, comment, equal, wait_until

BRIDGE = os.path.abspath(os.environ.get('SOCK_BRIDGE', 'build/tests/netns/sock-bridge'))
SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING, ETH_P_ALL = 263, 15, 4, 3
NEEDS_CSUM, GSO_NONE, GSO_TCPV4 = 1, 0, 1  # of virtio-net headers
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << n for n in range(8))
FAR, OWN, OTHER = b'\2\0\0\0\0\1', b'\2\0\0\0\0\2', b'\2\0\0\0\0\3'  # the interface is not OTHER, so its kernel answers nothing
PEER, ADDR = '192.0.2.1', '192.0.2.2'
STAMP = b'\1\1\x08\x0a' + struct.pack('!II', 1000, 2000)
IP, TCP = 14, 34  # where the headers are, without options of IP
RUN_MAX = 63  # segments that the bridge joins, where 64 KiB allow it


# ---- frames ----

def total(data):
    """The sum of the internet checksum: 0xffff where @data holds the right one."""
    n = sum(struct.unpack(f'!{(len(data) + 1) // 2}H', data + bytes(len(data) % 2)))
    while n >> 16:
        n = (n & 0xffff) + (n >> 16)
    return n


def mend(frame):
    """@frame, of TCP over IPv4 without options, with both checksums right."""
    ip = frame[IP:IP + 10] + b'\0\0' + frame[IP + 12:TCP]
    ip = ip[:10] + struct.pack('!H', ~total(ip) & 0xffff) + ip[12:]
    tcp = frame[TCP:TCP + 16] + b'\0\0' + frame[TCP + 18:]
    tcp = tcp[:16] + struct.pack('!H', ~total(ip[12:20] + struct.pack('!HH', 6, len(tcp)) + tcp) & 0xffff) + tcp[18:]
    return frame[:IP] + ip + tcp


def packet(payload, proto=6, dst=OTHER, ident=0, df=True, more=False, offset=0, tos=0, ttl=64, options=b''):
    """A frame of IPv4."""
    ip = struct.pack('!BBHHHBBH4s4s', 0x45 + len(options) // 4, tos, 20 + len(options) + len(payload), ident,
                     df << 14 | more << 13 | offset >> 3, ttl, proto, 0, socket.inet_aton(PEER), socket.inet_aton(ADDR)) + options
    return dst + FAR + b'\x08\x00' + ip[:10] + struct.pack('!H', ~total(ip) & 0xffff) + ip[12:] + payload


def tcp(seq, payload, sport=1000, flags=ACK, ack=1, window=500, urgent=0, options=STAMP):
    """A segment and its checksum."""
    s = struct.pack('!HHIIBBHHH', sport, 2000, seq & 0xffffffff, ack, (20 + len(options)) << 2, flags, window, 0, urgent) + options + payload
    pseudo = socket.inet_aton(PEER) + socket.inet_aton(ADDR) + struct.pack('!HH', 6, len(s))
    return s[:16] + struct.pack('!H', ~total(pseudo + s) & 0xffff) + s[18:]


IP_ARGUMENTS = 'dst', 'ident', 'df', 'tos', 'ttl'


def segment(seq, payload, **how):
    """A frame with a segment of TCP."""
    ip = {k: how.pop(k) for k in IP_ARGUMENTS if k in how}
    return packet(tcp(seq, payload, **how), **ip)


def data(n, at=0):
    """@n bytes of which no two pieces nearby are alike."""
    return random.Random(n << 32 | at).randbytes(n)


def row(n, size=100, begin=1, **how):
    """@n segments, each @size bytes after the one before, counted as a kernel counts them."""
    return [segment(begin + i * size, data(size, i), ident=(7 + i) & 0xffff, **how) for i in range(n)]


def spoilt(frame, at):
    return frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1:]


# ---- the bridge ----

class Bridge(Namespace):
    """A namespace behind the bridge, whose socket's other end is ours: b.far. b.tap hears what its interface is given."""

    def __init__(self, w, kind='qemu', gro=True):
        super().__init__('far')
        self.w, self.length = w, '>I' if kind == 'qemu' else '<H'
        self.sysctl('net.ipv6.conf.all.disable_ipv6', 1)
        self.far, theirs = socket.socketpair()
        self.far.settimeout(20)
        self.process = w.spawn(BRIDGE, kind, f'fd:{theirs.fileno()}', self.path, 'eth0', '1500', *['gro'] if gro else [],
                               stdout=subprocess.PIPE, pass_fds=[theirs.fileno()])
        theirs.close()
        equal(self.process.stdout.readline(), b'up\n', 'the bridge')
        self.run('ip', 'link', 'set', 'eth0', 'address', OWN.hex(':'))
        with self.inside():
            self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.tap.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            self.tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self.tap.bind(('eth0', ETH_P_ALL))
        self.tap.settimeout(20)
        self.n = 0

    def framed(self, frames):
        return b''.join(struct.pack(self.length, len(f)) + f for f in frames)

    def mark(self):
        self.n += 1
        return OTHER + FAR + b'\x88\xb5' + struct.pack('!I', self.n) + bytes(42)

    def state(self):
        return netns.read(f'/proc/{self.process.pid}/stat').rsplit(')', 1)[1].split()[0]

    def send_at_once(self, *frames):
        """The bridge reads all of @frames in one go."""
        self.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: self.state() == 'T', 20, 'the bridge stops', every=0.0005)
        self.far.sendall(self.framed(frames))
        self.process.send_signal(signal.SIGCONT)

    def until(self, mark):
        """What the interface is given: its virtio-net headers and frames."""
        out = []
        while True:
            got, address = self.tap.recvfrom(1 << 17)
            if address[2] == PACKET_OUTGOING:
                continue
            if got[10:] == mark:
                return out
            out.append((got[:10], got[10:]))

    def pass_on(self, frames):
        mark = self.mark()
        self.send_at_once(*frames, mark)
        return self.until(mark)

    def end(self):
        self.far.shutdown(socket.SHUT_WR)
        equal(self.process.wait(20), 0, 'exit status of the bridge')
        self.far.close()
        self.tap.close()
        self.w.procs.remove(self.process)
        self.remove()


@contextlib.contextmanager
def bridge(w, *args, **kwargs):
    b = Bridge(w, *args, **kwargs)
    try:
        yield b
        b.end()
    except BaseException:
        with contextlib.suppress(Exception):
            b.process.kill()
            b.remove()
        raise


def cut(header, frame):
    """The frames that one handed to the kernel stands for. One that is not joined has to be verified by the kernel."""
    flags, kind, _, size, start, offset = struct.unpack('BBHHHH', header)
    if kind == GSO_NONE:
        equal(flags, 0, 'flags of a frame by itself')
        return [frame]
    equal((flags, kind, start, offset), (NEEDS_CSUM, GSO_TCPV4, TCP, 16), 'header of a joined frame')
    equal((total(frame[IP:TCP]), struct.unpack_from('!H', frame, IP + 2)[0]), (0xffff, len(frame) - IP), 'joined frame: IP header')
    pseudo = frame[IP + 12:IP + 20] + struct.pack('!HH', 6, len(frame) - TCP)
    equal(frame[TCP + 16:TCP + 18], struct.pack('!H', total(pseudo)), 'joined frame: sum of the pseudo header')
    at = TCP + (frame[TCP + 12] >> 4) * 4
    ident, seq, out = struct.unpack_from('!H', frame, IP + 4)[0], struct.unpack_from('!I', frame, TCP + 4)[0], []
    for n, i in enumerate(range(at, len(frame), size)):
        head = bytearray(frame[:at])
        piece = frame[i:i + size]
        struct.pack_into('!HH', head, IP + 2, at - IP + len(piece), (ident + n) & 0xffff)
        struct.pack_into('!I', head, TCP + 4, (seq + i - at) & 0xffffffff)
        if i + size < len(frame):
            head[TCP + 13] &= ~PSH
        out.append(mend(bytes(head) + piece))
    check(len(out) > 1, 'one segment as a joined frame')
    return out


def unnumbered(frame):
    """What is never taken apart has no identification (RFC 6864, 4.1): a card may count where the sender did not."""
    if frame[IP + 6] & 0x40 and total(frame[IP:TCP]) == 0xffff:
        return frame[:IP + 4] + b'\0\0' + frame[IP + 6:IP + 10] + b'\0\0' + frame[IP + 12:]
    return frame


def same(out, frames, what):
    """@out, cut, is @frames. Returns how many of them each was."""
    pieces = [cut(*o) for o in out]
    got = [unnumbered(f) if len(p) > 1 else f for p in pieces for f in p]
    joined = [len(p) > 1 for p in pieces for _ in p]
    for n, (g, f) in enumerate(zip(got, frames)):
        f = unnumbered(f) if joined[n] else f
        if g != f:
            at = next((i for i, (x, y) in enumerate(zip(g, f)) if x != y), min(len(g), len(f)))
            raise Failed(f'{what}: frame {n} of {len(frames)} differs at {at} (lengths {len(g)}, {len(f)}): {g[at:at + 8].hex()}, not {f[at:at + 8].hex()}')
    equal(len(got), len(frames), f'{what}: frames')
    return [len(p) for p in pieces]


def through(b, what, frames, runs):
    equal(same(b.pass_on(frames), frames, what), runs, what)


# ---- the cases ----

def joined(w):
    """What may be joined is, and no more than a packet of IP holds."""
    with bridge(w) as b:
        through(b, 'a row', row(10), [10])
        through(b, 'a row without options', row(10, options=b''), [10])
        through(b, 'a row of unnumbered packets', [segment(1 + i * 100, data(100, i)) for i in range(10)], [10])
        through(b, 'a row that may be taken apart', row(10, df=False), [10])
        through(b, 'past the last sequence number', row(6, begin=(1 << 32) - 250), [6])
        through(b, 'past the last identification', [segment(1 + i * 9, data(9, i), ident=(0xfffe + i) & 0xffff, df=False) for i in range(4)], [4])
        through(b, 'odd lengths', row(9, size=333), [9])
        through(b, 'single bytes', row(5, size=1), [5])
        through(b, 'a row and a shorter end', row(4) + [segment(401, b'end', ident=11)], [5])
        through(b, 'nothing after a shorter one', row(2) + [segment(201, b'end', ident=9), segment(204, b'more', ident=10)], [3, 1])
        through(b, 'a longer one', row(2) + [segment(201, bytes(101), ident=9)], [2, 1])
        through(b, 'as many as there may be', row(RUN_MAX + 7), [RUN_MAX, 7])
        for size, most in (1460, 44), (1820, 35), (1819, 36), (13100, 4), (13099, 5), (32748, 1), (32747, 2):
            through(b, f'64 KiB of {size}', row(most + 1, size=size, options=b''), [most, 1])
        through(b, 'the end of a run', row(2) + [segment(201, data(100), ident=9, flags=ACK | PSH)] + row(3, begin=301), [3, 3])
        through(b, 'the first of a run', [segment(1, data(100), flags=ACK | PSH)] + row(3, begin=101), [1, 3])


def kept_apart(w):
    """What is not the same stream said alike comes as it is, and in order."""
    with bridge(w) as b:
        a, c = row(6), row(6, sport=1001)
        through(b, 'two streams by turns', [f for two in zip(a, c) for f in two], [1] * 12)
        through(b, 'out of order', [a[0], a[2], a[1], a[3]], [1, 1, 1, 1])
        through(b, 'backwards', a[::-1], [1] * 6)
        through(b, 'a gap', a[:2] + a[3:], [2, 3])
        through(b, 'sent again', a[:3] + a[1:3] + a[3:], [3, 5])
        through(b, 'the same one', [a[0]] * 4, [1] * 4)
        through(b, 'overlapping', a[:2] + row(2, begin=151), [2, 2])
        ends = [segment(201, data(100, 2), ident=9, **how) for how in (
            {'flags': FIN | ACK}, {'flags': FIN | PSH | ACK}, {'flags': RST | ACK}, {'flags': RST}, {'flags': SYN | ACK}, {'flags': 0}, {'flags': PSH},
            {'flags': URG | ACK, 'urgent': 3}, {'urgent': 3}, {'flags': ECE | ACK}, {'flags': CWR | ACK}, {'ack': 2}, {'window': 501}, {'options': b''},
            {'options': STAMP[:-1] + b'\0'}, {'options': STAMP + b'\1' * 4}, {'options': b'\1' * 40}, {'tos': 3}, {'ttl': 63}, {'df': False}, {'dst': OWN})]
        for n, end in enumerate(ends):
            through(b, f'another kind of segment ({n})', a[:2] + [end] + a[3:], [2, 1, 3])
            through(b, f'another kind of segment ({n}), first', [end] + a[3:], [1, 3])
        through(b, 'acknowledgements', [segment(1, b'', ident=i) for i in range(4)], [1] * 4)
        through(b, 'numbers that do not count', [segment(1 + i * 9, data(9, i), ident=5, df=False) for i in range(4)], [1] * 4)


def others(w):
    """Frames that are not whole segments of TCP in plain IPv4: between segments, they end a run and come as they are."""
    a = row(6)
    whole = tcp(201, data(100, 2))
    six = struct.pack('!IHBB', 6 << 28, len(whole), 6, 64) + socket.inet_pton(socket.AF_INET6, '2001:db8::1') + \
        socket.inet_pton(socket.AF_INET6, '2001:db8::2') + whole
    cases = {
        'options of IP': packet(whole, options=b'\1' * 4),
        'all options of IP': packet(whole, options=b'\1' * 40),
        'a first fragment': packet(whole[:104], df=False, more=True),
        'a last fragment': packet(whole[104:], df=False, offset=104),
        'a fragment that looks like a segment': packet(whole, df=False, offset=1480),
        'UDP': packet(struct.pack('!HHHH', 1000, 2000, 108, 0) + bytes(100), proto=17),
        'IPv6': OTHER + FAR + b'\x86\xdd' + six,
        'ARP': OTHER + FAR + b'\x08\x06' + struct.pack('!HHBBH', 1, 0x800, 6, 4, 1) + bytes(20),
        'padding': a[2] + bytes(6),
        'a segment without its end': a[2][:-1],
        'a TCP header longer than the segment': packet(struct.pack('!HHIIBBHHH', 1000, 2000, 201, 1, 0xf0, ACK, 500, 0, 0) + bytes(20)),
        'a TCP header too short': mend(packet(struct.pack('!HHIIBBHHH', 1000, 2000, 201, 1, 0x40, ACK, 500, 0, 0) + bytes(20))),
        'the longest frame': OTHER + FAR + b'\x88\xb5' + bytes(65521),
    }
    cases.update({f'cut at {n}': a[2][:n] for n in range(14, TCP + 33)})
    for n in range(14, TCP + 33):  # whose length tells no more than there is
        cases[f'{n} bytes'] = a[2][:IP + 2] + struct.pack('!H', n - IP) + a[2][IP + 4:n] if n >= IP + 4 else a[2][:n]
        if n >= TCP + 18:
            cases[f'{n} bytes, verified'] = mend(cases[f'{n} bytes'])
    with bridge(w) as b:
        for what, frame in cases.items():
            through(b, what, a[:2] + [frame] + a[3:], [2, 1, 3])
        for n in range(14):  # no frames at all: the kernel takes none, and what follows is heard
            frames = a[:2] + [a[2][:n]] + a[3:]
            equal(same(b.pass_on(frames), a[:2] + a[3:], f'{n} bytes'), [2, 3], f'{n} bytes')


def alike(w):
    """Rows that would go together if what they are were not looked at."""
    changes = {'another protocol than IPv4': (12, b'\x08\x01'), 'another version': (IP, b'\x55'), 'options of IP': (IP, b'\x46'),
               'another protocol than TCP': (IP + 9, b'\x11'), 'first fragments': (IP + 6, b'\x20'), 'later fragments': (IP + 6, b'\0\x19'),
               'last fragments, not to be taken apart': (IP + 6, b'\x40\x19'), 'headers too short': (TCP + 12, b'\x40'),
               'headers longer than what there is': (TCP + 12, b'\xf0'), 'SYN': (TCP + 13, bytes([SYN | ACK])), 'FIN': (TCP + 13, bytes([FIN | ACK])),
               'URG': (TCP + 13, bytes([URG | ACK])), 'no ACK': (TCP + 13, b'\0')}
    with bridge(w) as b:
        for what, (at, put) in changes.items():
            through(b, what, [mend(f[:at] + put + f[at + len(put):]) for f in row(4, size=20)], [1] * 4)


def flipped(w):
    """Each bit of a segment amid a run, with the checksums as they were: never joined. With right ones: joined where that can be undone."""
    size = 20
    with bridge(w) as b:
        frames, mended, n_joined = [], [], 0
        for bit in range(len(row(1, size=size)[0]) * 8):
            first, second, third = row(3, size=size)
            other = bytearray(second)
            other[bit // 8] ^= 1 << bit % 8
            frames += first, bytes(other), third
            mended += first, mend(bytes(other)), third
        for i in range(0, len(frames), 90):
            through(b, f'flipped, bit {i // 3} and on', frames[i:i + 90], [1] * len(frames[i:i + 90]))
            runs = same(b.pass_on(mended[i:i + 90]), mended[i:i + 90], f'flipped and mended, bit {i // 3} and on')
            n_joined += sum(n > 1 for n in runs)
        # its payload, its identification, both checksums, which were mended, and its PSH
        equal(n_joined, (size + 2 + 2 + 2) * 8 + 1, 'runs of mended segments')


def wrong_sums(w):
    """Where in the run it may be: with a wrong checksum, of whatever distance, a segment stays by itself."""
    with bridge(w) as b:
        a = row(5)
        for n in range(5):
            for at in TCP + 16, TCP + 17, TCP + 40, IP + 10, len(a[n]) - 1:
                runs = [r for r in (n, 1, 4 - n) if r]
                through(b, f'segment {n}, byte {at}', a[:n] + [spoilt(a[n], at)] + a[n + 1:], runs)
        values = [v for v in range(0, 1 << 16, 1 if SLOW else 251) if struct.pack('!H', v) != a[1][TCP + 16:TCP + 18]]
        for i in range(0, len(values), 30):
            frames = [f for v in values[i:i + 30] for f in (a[0], a[1][:TCP + 16] + struct.pack('!H', v) + a[1][TCP + 18:], a[2])]
            through(b, f'checksum {values[i]:#x} and on', frames, [1] * len(frames))


def any_frame(rng, streams, wild):
    """What comes next in one of @streams; with something changed, as often as @wild says."""
    port = rng.choice(list(streams))
    seq, ident = streams[port]
    how, payload, change = {'sport': port, 'ident': ident}, rng.randbytes(200), ''
    if rng.random() < wild:
        change = rng.choice(['length', 'flags', 'field', 'place', 'options', 'bit', 'right bit', 'end', 'padding'])
    if change == 'length':
        payload = rng.randbytes(rng.choice([0, 1, 7, 199, 201, 1448]))
    elif change == 'flags':
        how['flags'] = rng.choice([ACK | PSH, FIN | ACK, RST, SYN, URG | ACK, rng.randrange(256)])
    elif change == 'field':
        how[rng.choice(['tos', 'ttl', 'window', 'ack', 'urgent', 'ident'])] = rng.randrange(256)
    elif change == 'place':
        seq += rng.choice([-200, 200, 1, rng.randrange(1 << 32)])
    elif change == 'options':
        how.update(rng.choice([{'options': b''}, {'options': STAMP[::-1]}, {'df': False}]))
    streams[port] = (seq + len(payload)) & 0xffffffff, (ident + 1) & 0xffff
    frame = segment(seq, payload, **how)
    if change in ('bit', 'right bit'):
        frame = spoilt(frame, rng.randrange(len(frame)))
        return mend(frame) if change == 'right bit' else frame
    if change == 'end':
        return frame[:rng.randrange(14, len(frame))]
    return frame + rng.randbytes(9) if change == 'padding' else frame


def anything(w):
    """Streams with all of that at random; read at once, and in pieces that are not frames."""
    seed = int(os.environ.get('SEED', time.time_ns() if SLOW else 1))
    comment(f'SEED={seed}')
    rng, counts = random.Random(seed), []
    for kind in 'qemu', 'stdio':
        with bridge(w, kind) as b:
            for n in range(400 if SLOW else 40):
                streams = {1000 + i: (rng.randrange(1 << 32), rng.randrange(1 << 16)) for i in range(rng.choice([1, 1, 1, 2]))}
                wild = rng.choice([0.01, 0.1, 0.5])
                frames = [any_frame(rng, streams, wild) for _ in range(80)]
                counts += same(b.pass_on(frames), frames, f'{kind}, round {n}')
                mark = b.mark()
                whole, at = b.framed([*frames, mark]), 0
                while at < len(whole):
                    size = rng.choice([1, 3, 100, 2000, 20000])
                    b.far.sendall(whole[at:at + size])
                    at += size
                same(b.until(mark), frames, f'{kind}, round {n}, in pieces')
    comment(f'{sum(counts)} frames came as {len(counts)}, at most {max(counts)} at a time')
    check(max(counts) > 10 and len(counts) > sum(counts) / 8, 'some of them are joined, and some are not')


def outward(w):
    """What the namespace says comes out of the socket as it was said, however the bridge has its interface."""
    for gro in True, False:
        with bridge(w, gro=gro) as b:
            with b.inside():
                s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            s.bind(('eth0', 0))
            s.settimeout(20)
            frames = row(40) + row(20, size=1448) + [OTHER + FAR + b'\x88\xb5' + data(n) for n in range(0, 1501, 50)] + [spoilt(f, 60) for f in row(3)]
            job = Job(netns.read_exactly, b.far, len(b.framed(frames)))
            for f in frames:
                s.send(f)
            equal(hashlib.sha256(job.wait()).hexdigest(), hashlib.sha256(b.framed(frames)).hexdigest(), f'gro: {gro}')
            s.close()


# ---- a connection ----

class Speaker:
    """One end of a connection of TCP, made of the frames above; the other is a kernel's."""

    def __init__(self, b, rng):
        self.b, self.rng, self.seq, self.acked, self.buffer, self.ident = b, rng, 1000, 0, b'', 0
        self.how = {'sport': 5000, 'options': b''}
        self.speak([packet(tcp(self.seq, b'', flags=SYN, sport=5000, options=b'\2\4' + struct.pack('!H', 1460)), dst=OWN)])
        self.seq += 1
        check(self.hear(self.seq, 20), 'an answer to SYN')
        self.speak([self.segment(self.seq, b'')])

    def speak(self, frames):
        self.b.far.sendall(self.b.framed(frames))

    def segment(self, seq, payload, **how):
        return segment(seq, payload, **{'dst': OWN, **self.how, **how})

    def frames(self, seconds):
        """Those that come until none does for so long."""
        while True:
            end = 4 + struct.unpack('>I', self.buffer[:4])[0] if len(self.buffer) >= 4 else 4
            if 4 < end <= len(self.buffer):
                frame, self.buffer = self.buffer[4:end], self.buffer[end:]
                yield frame
            elif select.select([self.b.far], [], [], seconds)[0]:
                self.buffer += self.b.far.recv(1 << 16)
            else:
                return

    def hear(self, seq, seconds):
        """True when all before @seq is acknowledged."""
        for f in self.frames(seconds):
            if f[12:14] != b'\x08\x00' or f[IP + 9] != 6:
                continue
            check(not f[TCP + 13] & RST, 'the connection was reset')
            theirs, self.acked = struct.unpack_from('!II', f, TCP + 4)
            if f[TCP + 13] & SYN:
                self.how['ack'] = theirs + 1
            if self.acked == seq:
                return True
        return False

    def right(self, seq, payload):
        """Frames that carry @payload, in one of the ways there are."""
        self.ident = (self.ident + 1) & 0xffff
        way = self.rng.random()
        if way < 0.05:
            return [packet(tcp(seq, payload, **self.how), dst=OWN, options=b'\1' * 4)]
        if way < 0.1:
            whole, at = tcp(seq, payload, **self.how), self.rng.randrange(8, len(payload), 8)
            return [packet(whole[:at], dst=OWN, df=False, more=True, ident=self.ident),
                    packet(whole[at:], dst=OWN, df=False, offset=at, ident=self.ident)]
        other = [{'flags': ACK | PSH}, {'ttl': 3}, {'tos': 2}, {'options': b'\1' * 4}, {'window': 900}]
        return [self.segment(seq, payload, **self.rng.choice([{}] * 12 + other))]

    def wrong(self, seq, n):
        """A frame with other bytes for the same place, which nobody must take; and by which sum the kernel's TCP finds out, if it comes so far."""
        frame, how = self.segment(seq, self.rng.randbytes(n)), self.rng.choice(['tcp', 'tcp', 'ip', 'cut'])
        if how == 'cut':
            return frame[:-self.rng.randrange(1, n)], 0
        return (spoilt(frame, IP + 10), 0) if how == 'ip' else (spoilt(frame, TCP + 16 + self.rng.randrange(2)), 1)

    def flight(self, pieces):
        """Frames that carry @pieces, and what is wrong among them: how many of these have a wrong checksum of TCP."""
        frames, seq, n_wrong = [], self.seq, 0
        for p in pieces:
            for _ in range(self.rng.choice([0, 0, 0, 1, 3])):
                frame, n = self.wrong(seq, len(p))
                frames.append(frame)
                n_wrong += n
            frames += self.right(seq, p) * self.rng.choice([1] * 9 + [2])
            seq += len(p)
        if self.rng.random() < 0.4:
            i = self.rng.randrange(len(frames))
            frames[i:i + 9] = self.rng.sample(frames[i:i + 9], len(frames[i:i + 9]))
        return frames, n_wrong

    def say(self, pieces):
        """Until it is acknowledged. Returns how many wrong checksums the other end had to find."""
        upto, n_wrong = self.seq + sum(map(len, pieces)), 0
        for _ in range(10):
            frames, n = self.flight(pieces)
            n_wrong += n
            self.speak(frames)
            if self.hear(upto, 5):
                self.seq = upto
                return n_wrong
        raise Failed(f'{upto - self.acked} bytes are not acknowledged')


def connection(w):
    """A kernel's connection behind the bridge: segments out of order, again, in fragments, with options, and wrong ones in between."""
    size, at_once, n, n_wrong = 1400, 24, (16 if SLOW else 1) << 20, 0
    rng = random.Random(2)
    content = rng.randbytes(n)
    with bridge(w) as b:
        b.run('ip', 'addr', 'add', ADDR + '/24', 'dev', 'eth0')
        b.run('ip', 'neigh', 'add', PEER, 'lladdr', FAR.hex(':'), 'dev', 'eth0', 'nud', 'permanent')
        server, before = b.listen(ADDR, 2000), b.tcp_counters()['InCsumErrors']
        s = Speaker(b, rng)
        c, _ = server.accept()
        job = Job(netns.read_all, c)
        for begin in range(0, n, size * at_once):
            n_wrong += s.say([content[i:i + size] for i in range(begin, min(begin + size * at_once, n), size)])
        s.speak([s.segment(s.seq, b'', flags=FIN | ACK)])
        equal(hashlib.sha256(job.wait()).hexdigest(), hashlib.sha256(content).hexdigest(), 'what came')
        equal(b.tcp_counters()['InCsumErrors'] - before, n_wrong, 'wrong checksums that the kernel found')
        comment(f'{n >> 20} MiB, {n_wrong} segments with wrong checksums')
        for e in c, server:
            e.close()


if __name__ == '__main__':
    netns.main([joined, kept_apart, others, alike, flipped, wrong_sums, anything, outward, connection])
