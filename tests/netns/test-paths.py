#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Paths through three routers, in both families: what traceroute, tracepath and ping of a guest see of them.

    guest -- gateway (vnetd, host) -- r1 -- r2 -(1400)- r3 -- far

Link n has 10.9.n.0/24 and 2001:db8:9n::/64; the nearer end is .1, the farther one .2.
"""

import re
import select
import socket
import time

import netns
from netns import GATEWAY, Guest, Namespace, check, equal, need, run, wait_until

NARROW = 1400
HOPS4 = [GATEWAY, '10.9.1.2', '10.9.2.2', '10.9.3.2', '10.9.4.2']
HOPS6 = [None, '2001:db8:91::2', '2001:db8:92::2', '2001:db8:93::2', '2001:db8:94::2']  # the first is the network's own
FAR4, FAR6 = HOPS4[-1], HOPS6[-1]


class Guest6(Guest):
    """A guest with IPv6."""

    def sysctl(self, name, value):
        super().sysctl(name, 0 if name.endswith('all.disable_ipv6') else value)


def make_path(w):
    """The routers and the far end, once a world."""
    if getattr(w, 'path', None) == w.n:
        return
    for ns in getattr(w, 'routers', []):
        ns.remove()
    w.path = w.n
    for name in 'all', 'default', 'lo':
        w.host.sysctl(f'net.ipv6.conf.{name}.disable_ipv6', 0)
    chain = [w.host] + [Namespace(name) for name in ('r1', 'r2', 'r3', 'far')]
    w.routers = chain[1:]
    for n, (near, far) in enumerate(zip(chain, chain[1:]), 1):
        near.run('ip', 'link', 'add', f'down{n}', 'type', 'veth', 'peer', 'name', f'up{n}', 'netns', far.name)
        for ns, dev, i in (near, f'down{n}', 1), (far, f'up{n}', 2):
            ns.sysctl(f'net.ipv6.conf.{dev}.accept_dad', 0)
            ns.sysctl(f'net.ipv6.conf.{dev}.disable_ipv6', 0)
            ns.run('ip', 'addr', 'add', f'10.9.{n}.{i}/24', 'dev', dev)
            ns.run('ip', 'addr', 'add', f'2001:db8:9{n}::{i}/64', 'dev', dev, 'nodad')
            ns.run('ip', 'link', 'set', dev, 'mtu', NARROW if n == 3 else 1500, 'up')
    for n, ns in enumerate(chain):
        if 0 < n < len(chain) - 1:
            ns.sysctl('net.ipv4.ip_forward', 1)
            ns.sysctl('net.ipv6.conf.all.forwarding', 1)
        for name, value in ('net.ipv4.icmp_ratelimit', 0), ('net.ipv6.icmp.ratelimit', 0):
            ns.sysctl(name, value)
        for family, text in (('-4', '10.9.{}.{}'), ('-6', '2001:db8:9{}::{}')):
            if n < len(chain) - 1:
                ns.run('ip', family, 'route', 'replace', 'default', 'via', text.format(n + 1, 2))
        for m in range(1, n):  # back
            ns.run('ip', 'route', 'add', f'10.9.{m}.0/24', 'via', f'10.9.{n}.1')
            ns.run('ip', '-6', 'route', 'add', f'2001:db8:9{m}::/64', 'via', f'2001:db8:9{n}::1')


def guest(w):
    make_path(w)
    for g in w.guests:
        if g.name == 'walker':
            return g
    g = Guest6(w, 'walker', offloads=w.offloads)
    w.guests.append(g)
    wait_until(lambda: 'default' in g.run('ip', '-6', 'route').stdout and 'fd' in g.run('ip', '-6', 'addr', 'show', 'eth0', '-tentative').stdout,
               10, 'IPv6 in the guest')
    HOPS6[0] = run(*w.ctl_argv('network', 'show', 'default')).stdout.split('Gateway6: ')[1].split()[0]
    return g


def hops(text):
    """The addresses of traceroute's lines, '*' where nobody answered."""
    return [line.split()[1] for line in text.splitlines()[1:]]


def traceroute(w, family, *args):
    need('traceroute')
    g = guest(w)
    far, expected = (FAR4, HOPS4) if family == '-4' else (FAR6, HOPS6)
    equal(hops(g.run('traceroute', family, '-n', '-q', 1, '-w', 2, '-m', 8, *args, far).stdout), expected, ' '.join(args))


def traceroute_udp(w):
    traceroute(w, '-4')


def traceroute_udp6(w):
    traceroute(w, '-6')


def traceroute_icmp(w):
    traceroute(w, '-4', '-I')


def traceroute_icmp6(w):
    traceroute(w, '-6', '-I')


def traceroute_tcp(w):
    traceroute(w, '-4', '-T')


def traceroute_tcp6(w):
    traceroute(w, '-6', '-T', '-p', '443')


def tracepath(w, family):
    need('tracepath')
    g = guest(w)
    far, expected = (FAR4, HOPS4) if family == '-4' else (FAR6, HOPS6)
    text = g.run('tracepath', family, '-n', '-m', 8, far).stdout
    for n, hop in enumerate(expected, 1):
        check(re.search(rf'^ *{n}: +{re.escape(hop)} ', text, re.M), hop, 'is not hop', n, 'of', text)
    # the host's own kernel cuts what its link cannot carry, so a guest whose link is wider does not learn of narrow places
    check(w.mtu > 1500 or f'pmtu {NARROW}' in text and f'Resume: pmtu {NARROW} ' in text, text)


def tracepath4(w):
    tracepath(w, '-4')


def tracepath6(w):
    tracepath(w, '-6')


def ping_with_hop_limit(w):
    need('ping')
    g = guest(w)
    for family, far, at, ttl in ('-4', FAR4, HOPS4[2], 3), ('-6', FAR6, HOPS6[2], 3):
        out = g.run('ping', family, '-n', '-c', 3, '-W', 2, '-t', ttl, far, ok=False).stdout  # routers limit their rate
        check(re.search(rf'From {re.escape(at)} icmp_seq=[123] Time (to live )?exceeded', out), out)
        check(' 0% packet loss' in g.run('ping', family, '-n', '-c', 2, '-i', 0.2, '-W', 10, far).stdout)


def ping_without_ping_sockets(w):
    """Where the host grants none, the right to raw sockets does: the same pings, the same paths, and others' answers stay others'."""
    w.stop()
    w.host.sysctl('net.ipv4.ping_group_range', '1 0')
    w.start()
    try:
        g = guest(w)
        text = w.host.run('ss', '-wanH').stdout
        check(len(text.splitlines()) >= 2, 'no raw sockets:', text)
        others = w.spawn('ping', '-n', '-i', 0.2, FAR4, ns=w.host)
        for family, far in ('-4', FAR4), ('-6', FAR6):
            out = g.run('ping', family, '-n', '-c', 5, '-i', 0.2, '-W', 10, '-s', 1000, far).stdout
            check(' 5 received' in out and 'DUP' not in out, out)
            traceroute(w, family, '-I')
        check(w.stats().get('drop-ping-filtered', 0) > 0, 'the answers to the other ping are not counted')
        others.kill()
        others.wait()
        w.procs.remove(others)
    finally:
        w.stop()
        w.host.sysctl('net.ipv4.ping_group_range', '0 0')
        w.start()


def hears_of_it(g, family, type, dst):
    """Does a guest's socket get an error about @dst, and soon?"""
    with g.socket(type, family=socket.AF_INET if family == '-4' else socket.AF_INET6, timeout=1.5) as c:
        if type == socket.SOCK_DGRAM:  # IP_RECVERR, IPV6_RECVERR: all errors, not only the final ones
            c.setsockopt(*((socket.SOL_IP, 11) if family == '-4' else (socket.IPPROTO_IPV6, 25)), 1)
        try:
            c.connect((dst, 9))
            c.send(b'x')
            c.recv(1)
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


def errors_of_routers(w):
    """What a router says of a destination it does not know is what connect() and send() say in the guest."""
    g = guest(w)
    far = w.routers[2]
    for family, kind, dst in ('-4', 'unreachable', '10.77.0.1'), ('-6', 'unreachable', '2001:db8:77::1'), ('-4', 'prohibit', '10.78.0.1'), \
            ('-6', 'prohibit', '2001:db8:78::1'):
        far.run('ip', family, 'route', 'replace', kind, dst)
        for type in socket.SOCK_DGRAM, socket.SOCK_STREAM:
            wait_until(lambda: hears_of_it(g, family, type, dst), 30, f'an error about {kind} {dst}', every=0.5)  # routers limit their rate
        far.run('ip', family, 'route', 'del', kind, dst)


def hop_limit_and_tos_of_datagrams(w):
    """Both ways as they would be with the gateway as one hop more."""
    g = guest(w)
    far = w.routers[3]
    for af, dst, level, ttl, recv_ttl, tos, recv_tos in (
            (socket.AF_INET, FAR4, socket.SOL_IP, socket.IP_TTL, 12, socket.IP_TOS, 13),
            (socket.AF_INET6, FAR6, socket.IPPROTO_IPV6, 16, 51, 67, 66)):
        with far.socket(socket.SOCK_DGRAM, family=af) as s, g.socket(socket.SOCK_DGRAM, family=af) as c:
            for x in s, c:
                for option, value in (ttl, 50), (recv_ttl, 1), (tos, 0xb8), (recv_tos, 1):
                    x.setsockopt(level, option, value)
            s.bind((dst, 0))
            c.sendto(b'x', (dst, s.getsockname()[1]))
            for x in s, c:
                data, controls, _, peer = x.recvmsg(10, 256)
                got = sorted(value[0] for _, _, value in controls)
                equal(got, [50 - 4, 0xb8], 'hop limit and TOS')
                x.sendto(data, peer)


def mark_of_streams(w):
    """DSCP of a guest's connection, from its SYN on and when it changes, is that of the host's."""
    g = guest(w)
    far = w.routers[3]
    for af, dst, protocol, level, option, at in (
            (socket.AF_INET, FAR4, 0x0800, socket.SOL_IP, socket.IP_TOS, lambda p: p[15]),
            (socket.AF_INET6, FAR6, 0x86dd, socket.IPPROTO_IPV6, 67, lambda p: p[14] << 4 & 0xf0 | p[15] >> 4)):
        with far.inside():
            sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        with sniffer, far.socket(family=af) as s, g.socket(family=af) as c:
            sniffer.bind(('up4', protocol))
            sniffer.settimeout(5)
            s.bind((dst, 0))
            s.listen(1)
            for tos in 0x28, 0x48, 0:
                c.setsockopt(level, option, tos)
                if tos == 0x28:
                    c.connect((dst, s.getsockname()[1]))
                    conn, _ = s.accept()
                    conn.settimeout(5)
                else:
                    c.send(b'x')
                    equal(conn.recv(1), b'x')
                packet = sniffer.recv(200)
                while packet[20 if af == socket.AF_INET6 else 23] != 6 or len(packet) < 60 or packet[:6] != far_mac(far):
                    packet = sniffer.recv(200)
                equal(at(packet) & 0xfc, tos, 'DSCP')
                time.sleep(0.2)
                while select.select([sniffer], [], [], 0)[0]:
                    sniffer.recv(200)
            conn.close()


def far_mac(far):
    return bytes.fromhex(far.run('ip', '-o', 'link', 'show', 'up4').stdout.split('link/ether ')[1].split()[0].replace(':', ''))


def bulk_through_the_narrow(w):
    """TCP through a path MTU the host has to discover, both ways, and datagrams beyond it."""
    g = guest(w)
    far = w.routers[3]
    data = bytes(range(256)) * 4096 * 4
    for af, dst in (socket.AF_INET, FAR4), (socket.AF_INET6, FAR6):
        with far.socket(family=af) as s, g.socket(family=af) as c:
            s.bind((dst, 0))
            s.listen(1)
            c.connect((dst, s.getsockname()[1]))
            conn, _ = s.accept()
            with conn:
                job = netns.Job(conn.sendall, data)
                equal(netns.read_exactly(c, len(data)) == data, True, 'down')
                job.wait()
                job = netns.Job(c.sendall, data)
                equal(netns.read_exactly(conn, len(data)) == data, True, 'up')
                job.wait()
        with far.socket(socket.SOCK_DGRAM, family=af) as s, g.socket(socket.SOCK_DGRAM, family=af) as c:
            s.bind((dst, 0))
            s.settimeout(2)
            got = None
            for _ in range(3):  # the first ones may teach the path MTU
                try:
                    c.sendto(b'y' * 8000, (dst, s.getsockname()[1]))
                    got = s.recvfrom(9000)
                    break
                except (OSError, TimeoutError):
                    pass
            check(got and len(got[0]) == 8000, 'a datagram of 8000 bytes does not arrive')
            c.settimeout(2)
            back = None
            for _ in range(3):
                try:
                    s.sendto(got[0], got[1])
                    back = c.recv(9000)
                    break
                except (OSError, TimeoutError):
                    pass
            check(back and len(back) == 8000, 'the same back does not arrive', dst)


if __name__ == '__main__':
    netns.main([traceroute_udp, traceroute_udp6, traceroute_icmp, traceroute_icmp6, traceroute_tcp, traceroute_tcp6,
                tracepath4, tracepath6, ping_with_hop_limit, ping_without_ping_sockets, errors_of_routers,
                hop_limit_and_tos_of_datagrams, mark_of_streams, bulk_through_the_narrow])
