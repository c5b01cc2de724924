#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
mDNS and SSDP between guests and a neighbour of the host, by sockets of the kernel on both sides: questions and answers each way, by multicast and to
the port that asked, in both families; nothing without the option, nothing between networks, a host without a link. Broadcasts among guests.
"""

import json
import os
import select
import socket
import struct
import time

import netns
from netns import HOST, OUTSIDE, check, equal, run, wait_until

GATEWAY = '10.91.0.1'
GROUPS = {4: {'mdns': ('224.0.0.251', 5353), 'ssdp': ('239.255.255.250', 1900)}, 6: {'mdns': ('ff02::fb', 5353), 'ssdp': ('ff02::c', 1900)}}
QUIET = 0.7  # seconds in which nothing may come


class Speaker:
    """A program in the namespace @ns that is in the group on @ifname, or with @port one that only asks it, from there."""

    def __init__(self, ns, ifname, what, version, port=None):
        self.group, group_port = GROUPS[version][what]
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        self.sock = ns.socket(socket.SOCK_DGRAM, timeout=10, family=family)
        with ns.inside():
            index = socket.if_nametoindex(ifname)
        self.to = (self.group, group_port) if version == 4 else (self.group, group_port, 0, index)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if version == 4:
            mreq = struct.pack('=4s4si', socket.inet_aton(self.group), b'\0' * 4, index)
            self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack('=4s4si', b'\0' * 4, b'\0' * 4, index))
            self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            self.sock.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        else:
            mreq = socket.inet_pton(socket.AF_INET6, self.group) + struct.pack('=I', index)
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        self.sock.bind(('' if version == 4 else '::', group_port if port is None else port))
        if port is None:
            level, option = (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP) if version == 4 else (socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP)
            self.sock.setsockopt(level, option, mreq)

    def say(self, data, to=None):
        self.sock.sendto(data, to or self.to)

    def hear(self):
        """One datagram: what, from whom, with which hop limit."""
        data, ancillary, _, peer = self.sock.recvmsg(65536, 256)
        return data, peer, struct.unpack('=i', ancillary[0][2])[0]

    def expect(self, data, addr=None, port=None, ttl=None):
        got, peer, hops = self.hear()
        equal(got, data, 'what came')
        if addr:
            equal(peer[0].split('%')[0], addr, 'from')
        if port:
            equal(peer[1], port, 'from port')
        if ttl:
            equal(hops, ttl, 'hop limit')
        return peer

    def hears_nothing(self):
        equal(select.select([self.sock], [], [], QUIET)[0], [], 'something came')

    def close(self):
        self.sock.close()


def link_local(ns, ifname):
    text = ns.run('ip', '-6', '-o', 'addr', 'show', 'dev', ifname, 'scope', 'link').stdout
    return text.split('inet6 ')[1].split('/')[0]


def setting(w):
    return json.loads(w.ctl('--json=short', 'network', 'show', 'reflecting'))['Reflect']


def network(w):
    """The network that reflects, made once, and a guest of it."""
    if any(g.name == 'm1' for g in w.guests):
        return next(g for g in w.guests if g.name == 'm1')
    run('ip', 'route', 'replace', 'default', 'via', OUTSIDE)
    w.ctl('network', 'create', 'reflecting', '--subnet=10.91.0.0/24', '--reflect=mdns,ssdp')
    equal(setting(w), ['mdns', 'ssdp'], 'the setting')
    return w.guest('m1', network='reflecting')


def gateway_of(g, version):
    if version == 4:
        return GATEWAY
    return g.run('ip', '-6', 'route', 'show', 'default').stdout.split('via ')[1].split()[0]


def to_the_group(w, version):
    """Questions and answers between members: both ways, with the port and hop limit the protocol wants."""
    g = network(w)
    inside, outside = Speaker(g, 'eth0', 'mdns', version), Speaker(w.outside, 'veth1', 'mdns', version)
    host = HOST if version == 4 else link_local(w.host, 'veth0')
    inside.say(b'who is printer.local?')
    outside.expect(b'who is printer.local?', host, 5353, 255)
    outside.say(b'I am')
    inside.expect(b'I am', gateway_of(g, version), 5353, 255)
    inside.say(b'and I am guest.local')
    outside.expect(b'and I am guest.local', host, 5353, 255)
    for s in inside, outside:  # nothing comes twice, nothing comes back
        s.hears_nothing()
        s.close()
    inside, outside = Speaker(g, 'eth0', 'ssdp', version), Speaker(w.outside, 'veth1', 'ssdp', version)
    outside.say(b'NOTIFY * HTTP/1.1')
    inside.expect(b'NOTIFY * HTTP/1.1', gateway_of(g, version), 1900, 2)
    inside.say(b'NOTIFY * HTTP/1.1\r\nNT: guest')
    outside.expect(b'NOTIFY * HTTP/1.1\r\nNT: guest', host, ttl=2)
    for s in inside, outside:
        s.hears_nothing()
        s.close()


def to_who_asks(w, version):
    """A question from a port of one's own: the neighbour answers to that port, and the guest sees who it was."""
    g = network(w)
    for what, ttl in ('mdns', 255), ('ssdp', 2):
        outside, asks = Speaker(w.outside, 'veth1', what, version), Speaker(g, 'eth0', what, version, port=0)
        asks.say(b'M-SEARCH')
        peer = outside.expect(b'M-SEARCH', ttl=ttl)
        outside.say(b'here', peer)
        asks.expect(b'here', OUTSIDE if version == 4 else link_local(w.outside, 'veth1'), outside.to[1])
        outside.close()
        asks.close()


def members(w):
    to_the_group(w, 4)


def members6(w):
    to_the_group(w, 6)


def searches(w):
    to_who_asks(w, 4)


def searches6(w):
    to_who_asks(w, 6)


def not_between_networks(w):
    """A second network that reflects hears nothing of the first's guests, nor does one that does not reflect hear of anybody."""
    g = network(w)
    w.ctl('network', 'create', 'other', '--subnet=10.92.0.0/24', '--reflect=mdns')
    other, plain = w.guest('m2', network='other'), w.guest('m3')
    heard = [Speaker(other, 'eth0', 'mdns', 4), Speaker(plain, 'eth0', 'mdns', 4)]
    inside, outside = Speaker(g, 'eth0', 'mdns', 4), Speaker(w.outside, 'veth1', 'mdns', 4)
    inside.say(b'only outside')
    outside.expect(b'only outside')
    for s in heard:
        s.hears_nothing()
    outside.say(b'all that reflect')
    inside.expect(b'all that reflect')
    heard[0].expect(b'all that reflect', '10.92.0.1')
    heard[1].hears_nothing()
    heard[1].say(b'of a network that does not')
    outside.hears_nothing()
    for s in (*heard, inside, outside):
        s.close()
    w.drop_guest(other)
    w.ctl('network', 'remove', 'other')


def no_link(w):
    """Without a link of the host the network is made all the same, says so once, and reflects when the host has one."""
    run('ip', 'route', 'replace', 'default', 'via', OUTSIDE)
    run('ip', 'route', 'del', 'default')
    saved = run('ip', '-6', 'route', 'show', 'default').stdout.split()
    if saved:
        run('ip', '-6', 'route', 'del', *saved)
    w.ctl('network', 'create', 'early', '--subnet=10.93.0.0/24', '--reflect=mdns')
    g = w.guest('m4', configure=False, network='early')
    g.configure()
    check(1 <= w.log_text().count('No link of the host to reflect multicast on') <= 2, 'once for each network')
    run('ip', 'route', 'add', 'default', 'via', OUTSIDE)
    if saved:
        run('ip', '-6', 'route', 'add', *saved)
    inside, outside = Speaker(g, 'eth0', 'mdns', 4), Speaker(w.outside, 'veth1', 'mdns', 4)

    def reaches():
        inside.say(os.urandom(8))
        return select.select([outside.sock], [], [], 0.2)[0]

    wait_until(reaches, 20, 'the link is found')
    for s in inside, outside:
        s.close()
    w.drop_guest(g)
    w.ctl('network', 'remove', 'early')


def refused(w):
    r = w.ctl('network', 'create', 'bad', '--reflect=mdns,llmnr', ok=False)
    check(r.returncode != 0 and "'llmnr'" in r.stderr, r.stderr)


def restart(w):
    """The setting outlives the daemon."""
    network(w)
    w.stop_vnetd()
    w.start_vnetd()
    equal(setting(w), ['mdns', 'ssdp'], 'after a restart')


def broadcast(w):
    """255.255.255.255 and the subnet's broadcast reach the other guests, and not the sender."""
    one, others = w.guest('b1'), [w.guest('b2'), w.guest('b3')]
    socks = []
    for g in (one, *others):
        s = g.socket(socket.SOCK_DGRAM, timeout=20)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.bind(('', 7777))
        socks.append(s)
    for dst in '255.255.255.255', '192.168.127.255':
        socks[0].sendto(dst.encode(), (dst, 7777))
        for s in socks[1:]:
            data, peer = s.recvfrom(100)
            equal((data, peer[0]), (dst.encode(), one.addr), dst)
    time.sleep(QUIET)
    for s in socks[1:]:
        equal(select.select([s], [], [], 0)[0], [], 'came twice')
    for s in socks:
        s.close()


if __name__ == '__main__':
    netns.main([members, members6, searches, searches6, not_between_networks, no_link, refused, broadcast, restart])
