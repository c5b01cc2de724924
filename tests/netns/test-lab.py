#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The laboratory with real clients: captures read by tcpdump, with filters of its own, frames injected and seen by tcpdump in the namespace, and
super-segments of 64 KiB that a kernel's sockets receive in pieces.
"""
import os
import signal
import socket
import struct
import subprocess
import time

from netns import GATEWAY, Namespace, check, equal, main, need, read, run, wait_until, write

MAC, OTHER_MAC = bytes.fromhex('525400000009'), bytes.fromhex('525400000008')
INSIDE, PEER = '192.0.2.1', '192.0.2.2'


def total(data, start=0):
    if len(data) % 2:
        data += b'\0'
    n = start + sum(struct.unpack(f'!{len(data) // 2}H', data))
    while n >> 16:
        n = (n & 0xffff) + (n >> 16)
    return n


def udp_frame(payload, port, gso=False):
    """An Ethernet frame from PEER to INSIDE. @gso: the sum of the pseudo header stands for the checksum."""
    length = 8 + len(payload)
    ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + length, 1, 0, 64, 17, 0, socket.inet_aton(PEER), socket.inet_aton(INSIDE))
    ip = ip[:10] + struct.pack('!H', ~total(ip) & 0xffff) + ip[12:]
    pseudo = ip[12:20] + struct.pack('!BBH', 0, 17, length)
    udp = struct.pack('!HHHH', 5000, port, length, 0)
    csum = total(pseudo) if gso else ~total(pseudo + udp + payload) & 0xffff
    return MAC + OTHER_MAC + b'\x08\x00' + ip + udp[:6] + struct.pack('!H', csum) + payload


class Lab:
    """A device of no network, its interface in a namespace."""

    def __init__(self, world, kind='tap'):
        self.world, self.ns = world, Namespace('lab')
        self.ns.sysctl('net.ipv6.conf.all.disable_ipv6', 1)
        self.name = world.ctl('device', 'create', kind, '--network=', f'--netns={self.ns.path}', f'--mac={MAC.hex(":")}').strip()
        links = [line.split()[0].split('@')[0] for line in self.ns.run('ip', '-br', 'link').stdout.splitlines()]
        self.ifname = [name for name in links if name != 'lo'][0]
        self.ns.run('ip', 'addr', 'add', INSIDE + '/24', 'dev', self.ifname)
        self.ns.run('ip', 'neigh', 'add', PEER, 'lladdr', OTHER_MAC.hex(':'), 'dev', self.ifname)

    def inject(self, frame, *options, ok=True):
        r = subprocess.run(self.world.ctl_argv('inject', self.name, *options), input=frame, capture_output=True, timeout=30)
        check(not ok or r.returncode == 0, r.stderr)
        return r

    def remove(self):
        self.world.ctl('device', 'remove', self.name)
        self.ns.remove()


def capture(world, device, *args, **kwargs):
    return subprocess.Popen(world.ctl_argv('capture', device, *args), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **kwargs)


def begun(path):
    return lambda: os.path.exists(path) and os.path.getsize(path) >= 24


def stop(p):
    p.send_signal(signal.SIGINT)
    err = p.communicate(timeout=30)[1].decode()
    equal(p.returncode, 0, err)
    return err


def capture_in_network(world):
    """A file of what a guest and the gateway say, read back by tcpdump; one filtered by the daemon and one not."""
    need('tcpdump')
    g = world.guest('cap', mtu=1500)
    device = world.devices()[-1]['name']
    files = {name: os.path.join(world.dir, name) for name in ('all.pcap', 'icmp.pcap')}
    running = [capture(world, device, '-w', files['all.pcap']), capture(world, device, '-w', files['icmp.pcap'], 'icmp', 'and', 'host', GATEWAY)]
    for path in files.values():
        wait_until(begun(path), 10, path)
    g.run('ping', '-c', 5, '-i', 0.2, '-W', 5, GATEWAY)
    with g.connect(GATEWAY, 53) as s:
        s.sendall(b'\0')
    said = [stop(p) for p in running]
    equal(said[1].strip(), '10 frames captured, 0 dropped')
    for path in files.values():
        text = run('tcpdump', '-nr', path, '--time-stamp-precision=nano', 'icmp').stdout.splitlines()
        equal(len([line for line in text if 'ICMP echo request' in line]), 5, path)
        equal(len([line for line in text if 'ICMP echo reply' in line]), 5, path)
        check(all(len(line.split()[0].split('.')[1]) == 9 for line in text), text[0])
    check('Flags [S]' in run('tcpdump', '-nr', files['all.pcap'], 'tcp', 'port', 53).stdout, 'no SYN')
    equal(run('tcpdump', '-nr', files['icmp.pcap'], 'tcp').stdout, '')
    world.drop_guest(g)


def capture_into_pipe(world):
    """vnetctl capture | tcpdump -r -, which leaves when it has enough: so does vnetctl."""
    need('tcpdump')
    lab = Lab(world)
    p = capture(world, lab.name, 'udp', stdout=subprocess.PIPE)
    reader = subprocess.Popen(['tcpdump', '-nr', '-', '-c', '3'], stdin=p.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    p.stdout.close()
    time.sleep(0.5)
    end = time.monotonic() + 30
    while p.poll() is None and time.monotonic() < end:
        lab.inject(udp_frame(b'x' * 100, 9))
    equal(p.wait(10), 0, p.stderr.read())
    text = reader.communicate(timeout=10)[0].decode()
    equal(text.count('UDP, length 100'), 3, text)
    lab.remove()


def capture_ends_with_vnetd(world):
    """A vnetd that is restarted knows nothing of the capture: vnetctl does not wait for its end."""
    lab, path = Lab(world), os.path.join(world.dir, 'cut.pcap')
    write(path, 'kept')
    equal(capture(world, lab.name, '-w', path, '--snaplen=few').wait(20), 2, 'usage')
    equal(read(path), 'kept', 'of what was there')
    p = capture(world, lab.name, '-w', path)
    wait_until(lambda: os.path.exists(path) and os.path.getsize(path) >= 24, 20, 'it runs')
    equal(world.stop_vnetd(), 0)
    world.start_vnetd()
    equal(p.wait(20), 1, 'exit')
    said = p.stderr.read().decode()
    check('vnetd has left the bus' in said, said)
    lab.ns.remove()


def inject_seen_by_tcpdump(world):
    need('tcpdump')
    lab = Lab(world)
    p = subprocess.Popen(lab.ns.command('tcpdump', '-i', lab.ifname, '-nXc', '1', 'ether', 'proto', '0x88b5'), stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: b'listening' in p.stderr.readline(), 10, 'tcpdump')
    lab.inject(MAC + OTHER_MAC + b'\x88\xb5' + b'vnetd laboratory'.ljust(46, b'.'))
    out = p.communicate(timeout=20)[0].decode()
    check('vnetd.laboratory' in ''.join(line.split('  ')[-1] for line in out.splitlines()), out)
    for wrong in (b'', b'x' * 13, b'x' * 65550, b'x' * 100000):
        check(lab.inject(wrong, ok=False).returncode == 1, len(wrong))
    check(b'CsumStart' in lab.inject(b'x' * 60, '--csum=60:0', ok=False).stderr, 'a checksum behind the frame')
    lab.remove()


def super_segment(world, kind='tap'):
    """One injection, many datagrams: the kernel cuts what the header says, and fills the checksums in."""
    lab = Lab(world, kind)
    with lab.ns.inside():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.bind((INSIDE, 7000))
    s.settimeout(20)
    payload = os.urandom(64000)
    lab.inject(udp_frame(payload, 7000, gso=True), '--gso=udp', '--gso-size=1400')
    got = [s.recv(65536) for _ in range((len(payload) + 1399) // 1400)]
    equal([len(d) for d in got], [1400] * 45 + [1000])
    check(b''.join(got) == payload, 'other bytes')
    lab.inject(udp_frame(b'plain', 7000))
    equal(s.recv(100), b'plain')
    s.sendto(b'y' * 500, (PEER, 9))
    wait_until(lambda: '542' in str([d for d in world.devices() if d['name'] == lab.name]), 10, world.devices())
    lab.remove()


def super_segment_vhost(world):
    super_segment(world, 'vhost-net')


main([capture_in_network, capture_into_pipe, inject_seen_by_tcpdump, super_segment, super_segment_vhost, capture_ends_with_vnetd])
