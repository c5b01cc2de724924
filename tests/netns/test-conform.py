#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The gateway as a neighbour and a router of IPv6, case by case after the IPv6 Ready Logo's core test (phase 2: RFC 8200, 4861, 4862,
4443), and under the probes of nmap and hping3. The list with what does not apply: docs/conformance.md.

A case puts frames on the link and behind them an echo request: what comes before its reply is the answer, and nothing is silence.
"""

import importlib
import logging
import random
import re
import socket
import sys
import time

import netns
from netns import check, comment, equal, need, wait_until

ip6 = importlib.import_module('test-ip6')

try:
    if '/usr/lib/python3/dist-packages' not in sys.path:  # Debian's own, for another interpreter
        sys.path.append('/usr/lib/python3/dist-packages')
    logging.getLogger('scapy').setLevel(logging.ERROR)
    from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA,
                                    ICMPv6ND_RS, ICMPv6ND_Redirect, ICMPv6NDOptDstLLAddr, ICMPv6NDOptMTU, ICMPv6NDOptPrefixInfo,
                                    ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig, ICMPv6ParamProblem, ICMPv6TimeExceeded, ICMPv6Unknown,
                                    IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, Pad1, PadN,
                                    HBHOptUnknown)
    from scapy.layers.inet import TCP, UDP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw
except ImportError as e:
    netns.skip_all(f'python3-scapy is not installed: {e}')

MAC, LINK_LOCAL = '02:00:00:00:00:aa', 'fe80::aa'
GATEWAY_MAC, ROUTER = '5a:94:ef:e4:0c:dd', 'fe80::5894:efff:fee4:cdd'


class Link:
    """The tester on the link of a guest: a station of its own."""

    def __init__(self, w):
        self.w, self.guest = w, ip6.guest(w)
        self.prefix = ip6.prefix(w)
        self.me, self.gateway = self.prefix + 'aa', self.prefix + '1'
        with self.guest.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86dd))
        self.socket.bind(('eth0', 0x86dd))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self.socket.settimeout(5)
        self.barrier = 0

    def ether(self, dst=GATEWAY_MAC):
        return Ether(src=MAC, dst=dst)

    def ip(self, dst=None, **kwargs):
        return IPv6(**{'src': self.me, 'dst': dst or self.gateway, **kwargs})

    def send(self, packet, dst=GATEWAY_MAC):
        data = bytes(self.ether(dst) / packet)
        while True:
            try:
                self.socket.send(data)
                return
            except OSError as e:
                if e.errno != 105:  # ENOBUFS: the interface's queue is full
                    raise
                time.sleep(0.001)

    def ask(self, *packets, dst=GATEWAY_MAC, late=False):
        """The gateway's packets to the tester, or to all, that come of @packets. @late: what is said of pieces that came long ago, too."""
        for p in packets:
            self.send(p, dst)
        self.barrier += 1
        self.send(self.ip() / ICMPv6EchoRequest(id=0xbbbb, seq=self.barrier & 0xffff))
        got = []
        while True:
            data = self.socket.recv(70000)
            e = Ether(data)
            if e.src != GATEWAY_MAC or (e.dst != MAC and not e.dst.startswith('33:33')):
                continue
            if ICMPv6EchoReply in e and e[ICMPv6EchoReply].id == 0xbbbb and e[ICMPv6EchoReply].seq == self.barrier & 0xffff:
                return got
            if ICMPv6TimeExceeded in e and e[ICMPv6TimeExceeded].code == 1 and not late:
                continue
            if ICMPv6ND_RA not in e or e.dst == MAC:
                got.append(e[IPv6])

    def one(self, kind, *packets, dst=GATEWAY_MAC):
        got = self.ask(*packets, dst=dst)
        equal(len(got), 1, f'packets: {[p.summary() for p in got]}')
        check(kind in got[0], got[0].summary())
        return got[0]

    def silence(self, *packets, dst=GATEWAY_MAC):
        got = self.ask(*packets, dst=dst)
        check(not got, [p.summary() for p in got])

    def echo(self, **kwargs):
        return ICMPv6EchoRequest(id=0x1234, seq=1, data=b'payload', **kwargs)


def link(w):
    if getattr(w, 'link_of', None) != w.n:
        w.link, w.link_of = Link(w), w.n
    return w.link


def parameter_problem(t, code, pointer, packet, dst=GATEWAY_MAC):
    e = t.one(ICMPv6ParamProblem, packet, dst=dst)
    equal((e[ICMPv6ParamProblem].code, e[ICMPv6ParamProblem].ptr), (code, pointer), 'code and pointer')
    equal(e.dst, t.me)


# ---- section 1: RFC 8200 ----

def header_fields(w):
    """v6LC.1.1.1 to 1.1.5: version, traffic class, flow label, payload length, next header none, hop limits."""
    t = link(w)
    t.silence(Raw(b'\x40' + bytes(t.ip() / t.echo())[1:]))
    for tc, fl in (32, 0), (0, 0x34567), (255, 0xfffff):
        t.one(ICMPv6EchoReply, t.ip(tc=tc, fl=fl) / t.echo())
    t.one(ICMPv6EchoReply, t.ip() / ICMPv6EchoRequest(id=1, seq=1, data=b'odd' * 11))  # an odd payload length
    t.silence(t.ip(plen=500) / t.echo())  # longer than the packet
    t.silence(t.ip(nh=59) / Raw(b'nothing follows'))
    for hop in 0, 1, 15, 254, 255:
        t.one(ICMPv6EchoReply, t.ip(hlim=hop) / t.echo())


def unknown_next_header(w):
    """v6LC.1.1.6, 1.2.1, 1.2.2: parameter problem, code 1, at the byte that says it."""
    t = link(w)
    for nh in 138, 252, 253, 254:
        parameter_problem(t, 1, 6, t.ip(nh=nh) / Raw(b'x' * 20))
    parameter_problem(t, 1, 40, t.ip() / IPv6ExtHdrDestOpt(nh=253, options=[PadN(optdata=b'\0' * 4)]) / Raw(b'x' * 20))


def extension_header_order(w):
    """v6LC.1.2.3 to 1.2.5: hop-by-hop options only first; others in any order and number, within a bound."""
    t = link(w)
    pad = [PadN(optdata=b'\0' * 4)]
    t.one(ICMPv6EchoReply, t.ip() / IPv6ExtHdrHopByHop(options=pad) / IPv6ExtHdrDestOpt(options=pad) / IPv6ExtHdrFragment(id=5) / t.echo())
    t.one(ICMPv6EchoReply, t.ip() / IPv6ExtHdrFragment(id=6) / IPv6ExtHdrDestOpt(options=pad) / t.echo())
    t.one(ICMPv6EchoReply, t.ip() / IPv6ExtHdrDestOpt(options=pad) / IPv6ExtHdrDestOpt(options=pad) / t.echo())
    e = t.one(ICMPv6ParamProblem, t.ip() / IPv6ExtHdrDestOpt(options=pad) / IPv6ExtHdrHopByHop(options=pad) / t.echo())
    equal(e[ICMPv6ParamProblem].code, 1)


def options(w):
    """v6LC.1.2.6 to 1.2.8: unknown options by the two bits of their type, in both option headers."""
    t = link(w)
    for header in IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt:
        def unknown(kind):
            return header(options=[HBHOptUnknown(otype=kind, optlen=4, optdata=b'data')])
        t.one(ICMPv6EchoReply, t.ip() / header(options=[Pad1()] * 6) / t.echo())
        t.one(ICMPv6EchoReply, t.ip() / header(options=[PadN(optdata=b'\0' * 4)]) / t.echo())
        t.one(ICMPv6EchoReply, t.ip() / unknown(0x07) / t.echo())
        t.silence(t.ip() / unknown(0x47) / t.echo())
        parameter_problem(t, 2, 42, t.ip() / unknown(0x87) / t.echo())
        parameter_problem(t, 2, 42, t.ip() / unknown(0xc7) / t.echo())
        group = t.ip('ff02::1')
        parameter_problem(t, 2, 42, group / unknown(0x87) / t.echo(), dst='33:33:00:00:00:01')
        t.silence(group / unknown(0xc7) / t.echo(), dst='33:33:00:00:00:01')


def routing_header(w):
    """v6LC.1.2.9: unknown types, and the deprecated type 0 (RFC 5095): refused while segments are left, else passed over."""
    t = link(w)
    for kind in 0, 33:
        t.one(ICMPv6EchoReply, t.ip() / IPv6ExtHdrRouting(type=kind, segleft=0, addresses=[t.prefix + '99']) / t.echo())
        parameter_problem(t, 0, 42, t.ip() / IPv6ExtHdrRouting(type=kind, segleft=1, addresses=[t.prefix + '99']) / t.echo())


def pieces(t, payload, size, ident, **kwargs):
    """A packet's pieces, @size bytes each."""
    whole = bytes(t.ip(**kwargs) / ICMPv6EchoRequest(id=0x1234, seq=1, data=payload))[40:]
    return [t.ip(**kwargs) / IPv6ExtHdrFragment(nh=58, id=ident, offset=i // 8, m=i + size < len(whole)) / Raw(whole[i:i + size])
            for i in range(0, len(whole), size)]


def fragment_reassembly(w):
    """v6LC.1.3.1: in order, in reverse, mixed with another's; an id or source of its own makes another packet."""
    t = link(w)
    payload = random.Random(1).randbytes(2000)
    p = pieces(t, payload, 512, 100)
    for order in p, p[::-1], p[1:] + p[:1]:
        check(t.ask(*order), 'no answer')
    t.silence(p[0], *p[2:])
    other = pieces(t, payload, 512, 101)
    t.silence(other[0], *pieces(t, payload, 512, 102)[1:])
    t.one(ICMPv6EchoReply, t.ip() / IPv6ExtHdrFragment(nh=58, id=103, offset=0, m=0) / t.echo())  # RFC 6946


def fragment_errors(w):
    """v6LC.1.3.2 to 1.3.4: time exceeded for a first piece alone; a length that is no multiple of 8; beyond 65,535; overlaps."""
    t = link(w)
    p = pieces(t, b'x' * 1200, 512, 200)
    t.silence(p[0])
    t.silence(pieces(t, b'y' * 1200, 512, 201)[1])
    odd = t.ip() / IPv6ExtHdrFragment(nh=58, id=202, offset=0, m=1) / Raw(b'x' * 509)
    parameter_problem(t, 0, 4, odd)
    parameter_problem(t, 0, 42, t.ip() / IPv6ExtHdrFragment(nh=58, id=203, offset=8190, m=0) / Raw(b'x' * 80))
    overlap = pieces(t, b'z' * 1200, 512, 204)
    again = t.ip() / IPv6ExtHdrFragment(nh=58, id=204, offset=63, m=1) / Raw(b'o' * 512)
    t.silence(overlap[0], again, overlap[1], overlap[2])  # RFC 5722: the whole packet goes
    end = time.monotonic() + 75
    exceeded = []
    while time.monotonic() < end and not exceeded:
        exceeded = [e for e in t.ask(late=True) if ICMPv6TimeExceeded in e]
        time.sleep(0.2)
    check(exceeded, 'no time exceeded')
    equal({e[ICMPv6TimeExceeded].code for e in exceeded}, {1}, 'of reassembly')


# ---- section 2: RFC 4861, 4862 ----

def solicit(t, target, source=None, dst=None, option=True, **kwargs):
    p = IPv6(src=source or LINK_LOCAL, dst=dst or group_of(target), hlim=kwargs.pop('hlim', 255)) / ICMPv6ND_NS(tgt=target, **kwargs)
    return p / ICMPv6NDOptSrcLLAddr(lladdr=MAC) if option else p


def group_of(target):
    b = socket.inet_pton(socket.AF_INET6, target)
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex('ff0200000000000000000001ff') + b[13:])


def group_mac(target):
    b = socket.inet_pton(socket.AF_INET6, target)
    return '33:33:ff:%02x:%02x:%02x' % tuple(b[13:])


def neighbour_solicitations(w):
    """v6LC.2.1.x: answered by group and unicast, with and without a link address; flags router, solicited, override."""
    t = link(w)
    for target, router in (t.gateway, 1), (ROUTER, 1), (t.prefix + 'fe', 0):
        for source in LINK_LOCAL, t.me:
            for dst in None, target:
                e = t.one(ICMPv6ND_NA, solicit(t, target, source, dst), dst=GATEWAY_MAC if dst else group_mac(target))
                na = e[ICMPv6ND_NA]
                equal((na.R, na.S, na.O, na.tgt, e.dst, e.hlim), (router, 1, 1, target, source, 255), 'the advertisement')
                equal(na[ICMPv6NDOptDstLLAddr].lladdr, GATEWAY_MAC)
        t.one(ICMPv6ND_NA, solicit(t, target, option=False, dst=target))
    t.silence(solicit(t, t.prefix + '77'), dst=group_mac(t.prefix + '77'))


def invalid_solicitations(w):
    """v6LC.2.1.5 and on: hop limit, checksum, code, length, options of no length, group as target, and the rules for ::."""
    t = link(w)
    good = solicit(t, t.gateway)
    bad = [
        solicit(t, t.gateway, hlim=254),
        solicit(t, t.gateway, cksum=0x1234),
        solicit(t, t.gateway, code=1),
        solicit(t, 'ff02::1', dst=t.gateway),
        solicit(t, t.gateway, source='::', dst=t.gateway, option=False),  # DAD goes to the group
        solicit(t, t.gateway, source='::'),                               # and has no link address
        IPv6(src=LINK_LOCAL, dst=t.gateway, hlim=255) / ICMPv6Unknown(type=135, msgbody=b'\0' * 12),
        solicit(t, t.gateway, option=False) / Raw(b'\x01\x00' + b'\0' * 6),
        solicit(t, t.gateway) / Raw(b'\x0e\x00' + b'\0' * 6),
    ]
    for p in bad:
        t.silence(p)
    # unknown options, reserved bits and more than is needed are passed over
    t.one(ICMPv6ND_NA, good / Raw(b'\xfd\x01' + b'\0' * 6))
    t.one(ICMPv6ND_NA, solicit(t, t.gateway, res=0xffffffff))


def duplicate_address_detection(w):
    """v6LC.3.1.x, seen from the other side: told to all that an address is the gateway's, silent about others."""
    t = link(w)
    for target in t.gateway, ROUTER, t.prefix + 'fe':
        e = t.one(ICMPv6ND_NA, solicit(t, target, source='::', option=False), dst=group_mac(target))
        equal((e.dst, e[ICMPv6ND_NA].S, e[ICMPv6ND_NA].O), ('ff02::1', 0, 1))
    t.silence(solicit(t, t.prefix + 'aa', source='::', option=False), dst=group_mac(t.prefix + 'aa'))


def router_solicitations(w):
    """v6LC.2.2.x: each valid one answered, field by field; invalid ones not."""
    t = link(w)
    all_routers = '33:33:00:00:00:02'
    ip = IPv6(src=LINK_LOCAL, dst='ff02::2', hlim=255)
    good = ip / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=MAC)
    for p in (good, ip / ICMPv6ND_RS(), ip / ICMPv6ND_RS(res=0xffffffff) / ICMPv6NDOptSrcLLAddr(lladdr=MAC),
              good / Raw(b'\xfd\x01' + b'\0' * 6)):
        e = t.one(ICMPv6ND_RA, p, dst=all_routers)
        ra = e[ICMPv6ND_RA]
        equal((e.src, e.dst, e.hlim, ra.code), (ROUTER, LINK_LOCAL, 255, 0))
        equal((ra.chlim, ra.routerlifetime, ra.M, ra.O), (64, 1800, 1, 1))
        equal(ra[ICMPv6NDOptSrcLLAddr].lladdr, GATEWAY_MAC)
        equal(ra[ICMPv6NDOptMTU].mtu, w.mtu)
        o = ra[ICMPv6NDOptPrefixInfo]
        equal((o.prefix, o.prefixlen, o.L, o.A, o.validlifetime, o.preferredlifetime), (t.prefix, 64, 1, 1, 86400, 14400))
    for p in (IPv6(src=LINK_LOCAL, dst='ff02::2', hlim=254) / ICMPv6ND_RS(), ip / ICMPv6ND_RS(code=1), ip / ICMPv6ND_RS(cksum=0x4321),
              ip / ICMPv6Unknown(type=133, msgbody=b''), ip / ICMPv6ND_RS() / Raw(b'\x01\x00' + b'\0' * 6),
              IPv6(src='::', dst='ff02::2', hlim=255) / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=MAC)):
        t.silence(p, dst=all_routers)


def other_routers(w):
    """v6LC.2.2.x, 2.3.x: advertisements and redirects of others change nothing; a claim to the gateway's address is contradicted."""
    t = link(w)
    t.silence(IPv6(src=LINK_LOCAL, dst='ff02::1', hlim=255) / ICMPv6ND_RA(routerlifetime=9000) / ICMPv6NDOptSrcLLAddr(lladdr=MAC),
              dst='33:33:00:00:00:01')
    t.silence(IPv6(src=LINK_LOCAL, dst=ROUTER, hlim=255) / ICMPv6ND_Redirect(tgt=LINK_LOCAL, dst=ip6.OUTSIDE6))
    claim = IPv6(src=LINK_LOCAL, dst='ff02::1', hlim=255) / ICMPv6ND_NA(tgt=t.gateway, O=1, S=0) / ICMPv6NDOptDstLLAddr(lladdr=MAC)
    e = t.one(ICMPv6ND_NA, claim, dst='33:33:00:00:00:01')
    equal((e[ICMPv6ND_NA].tgt, e[ICMPv6ND_NA][ICMPv6NDOptDstLLAddr].lladdr), (t.gateway, GATEWAY_MAC))
    t.one(ICMPv6EchoReply, t.ip() / t.echo())


# ---- section 5: RFC 4443 ----

def echo(w):
    """v6LC.5.1.1, 5.1.2: to every address of the gateway and to its groups; the reply is from an address of its own."""
    t = link(w)
    for dst in t.gateway, t.prefix + 'fe':
        e = t.one(ICMPv6EchoReply, t.ip(dst) / t.echo())
        equal((e.src, e[ICMPv6EchoReply].data), (dst, b'payload'))
    equal(t.one(ICMPv6EchoReply, IPv6(src=LINK_LOCAL, dst=ROUTER) / t.echo()).src, ROUTER)
    for group in 'ff02::1', 'ff02::2':
        equal(t.one(ICMPv6EchoReply, t.ip(group) / t.echo(), dst='33:33:00:00:00:' + group[-1].zfill(2)).src, t.gateway)
    t.silence(t.ip() / t.echo(cksum=0x1111))
    t.silence(t.ip() / ICMPv6EchoRequest(code=1))


def unreachable(w):
    """v6LC.5.1.3, 5.1.5: a port nobody serves, an address nobody has, a destination that is none."""
    t = link(w)
    for packet, code in ((t.ip() / UDP(sport=9, dport=9) / b'x', 4), (t.ip(t.prefix + '77') / UDP(sport=9, dport=9) / b'x', 3),
                         (t.ip('::1') / UDP(sport=9, dport=9) / b'x', 0)):
        e = t.one(ICMPv6DestUnreach, packet)
        equal(e[ICMPv6DestUnreach].code, code)
        check(bytes(e[ICMPv6DestUnreach])[8:].startswith(bytes(packet)[:1]), 'the packet is quoted')
        check(len(bytes(e)) <= 1280, 'no longer than the least MTU')
    long = t.ip() / UDP(sport=9, dport=9) / (b'x' * 1400)
    equal(len(bytes(t.one(ICMPv6DestUnreach, long))), 1280, 'as much of it as fits')


def hop_limit_exceeded(w):
    """v6LC.5.1.6: a router's: time exceeded, code 0, for 0 and 1."""
    t = link(w)
    for hop in 0, 1:
        for p in UDP(sport=9, dport=9) / b'x', t.echo(), TCP(sport=9, dport=9, flags='S'):
            e = t.one(ICMPv6TimeExceeded, t.ip(ip6.OUTSIDE6, hlim=hop) / p)
            equal((e[ICMPv6TimeExceeded].code, e.src), (0, t.gateway))


def no_errors_about(w):
    """v6LC.5.1.11, 5.1.12 (RFC 4443 2.4 e): errors, groups, unspecified and group sources."""
    t = link(w)
    quote = bytes(t.ip(t.prefix + '77') / UDP(sport=9, dport=9) / b'x')
    for kind in ICMPv6DestUnreach(code=4), ICMPv6PacketTooBig(mtu=1280), ICMPv6TimeExceeded(), ICMPv6ParamProblem(code=1):
        t.silence(t.ip(t.prefix + '77') / kind / quote, t.ip() / kind / quote, t.ip(nh=58) / kind / quote)
    t.silence(t.ip('ff02::1') / UDP(sport=9, dport=9) / b'x', dst='33:33:00:00:00:01')
    t.silence(t.ip() / UDP(sport=9, dport=9) / b'x', dst='33:33:00:00:00:01')
    t.silence(IPv6(src='::', dst=t.gateway) / UDP(sport=9, dport=9) / b'x')
    t.silence(IPv6(src='ff02::1', dst=t.gateway) / UDP(sport=9, dport=9) / b'x')


def unknown_types(w):
    """v6LC.5.1.8 to 5.1.10: unknown errors and unknown informational messages are discarded."""
    t = link(w)
    for kind in 5, 99, 100, 126, 145, 199, 254:
        t.silence(t.ip() / ICMPv6Unknown(type=kind, msgbody=b'x' * 40))


def error_rate(w):
    """RFC 4443 2.4 (f): a bucket; nobody is left without errors for long."""
    t = link(w)
    sent = 1000
    got = len([e for e in t.ask(*[t.ip() / UDP(sport=9, dport=1000 + i) / b'x' for i in range(sent)]) if ICMPv6DestUnreach in e])
    comment(f'{sent} datagrams, {got} errors')
    check(0 < got < sent, got)
    wait_until(lambda: [e for e in t.ask(t.ip() / UDP(sport=9, dport=9) / b'x') if ICMPv6DestUnreach in e], 20, 'an error again')


# ---- probes of others' making ----

def nmap_finds_what_is_there(w):
    """-sS, -sU and -sO of both families against the gateway, and the probes of its OS detection: what is open is, all else says so."""
    need('nmap')
    t = link(w)
    g = t.guest
    for family, target in ([], netns.GATEWAY), (['-6'], t.gateway):
        base = ['nmap', *family, '-n', '-Pn', '--disable-arp-ping', '--send-ip', '--max-retries', '3', '-oG', '-']
        out = g.run(*base, '-sS', '-p', '22,53,80,443,1000-1100', target, timeout=110).stdout
        equal(re.findall(r'(\d+)/open/tcp', out), ['53'], out)
        check('closed' in out, 'the others answer by RST', out)
        out = g.run(*base, '-sU', '-p', '53,123,161,5353', target, timeout=110).stdout
        equal(re.findall(r'(\d+)/open/udp', out), ['53'], out)
        equal(len(re.findall(r'/closed/udp', out)) + (3 if 'Ignored State: closed (3)' in out else 0), 3, out)
    check(w.vnetd.poll() is None)


def nmap_protocols(w):
    """-sO: protocol unreachable for what is not spoken; -6: parameter problem."""
    need('nmap')
    t = link(w)
    out = t.guest.run('nmap', '-n', '-Pn', '-sO', '-p', '1,2,6,17,47,50,89,132,253', '--max-retries', '3', netns.GATEWAY, timeout=110).stdout
    for line in '1   open', '6   open', '17  open', '47  closed', '50  closed', '132 closed', '253 closed':
        check(re.search(line.replace('   ', r'\s+').replace('  ', r'\s+').replace(' ', r'\s+'), out), line, 'is not in', out)


def nmap_os_detection(w):
    """The odd probes of -O (both families): options, flags, sizes nobody sends; no crash, all said to be host traffic still flows."""
    need('nmap')
    t = link(w)
    for family, target in ([], netns.GATEWAY), (['-6'], t.gateway):
        out = t.guest.run('nmap', *family, '-n', '-Pn', '-O', '--osscan-guess', '--max-os-tries', '1', '-p', '53,81', target, timeout=110).stdout
        check('53/tcp open' in out and '81/tcp closed' in out, out)
        t.one(ICMPv6EchoReply, t.ip() / t.echo())
    check(w.vnetd.poll() is None)


def hping_flags_and_sizes(w):
    """hping3 by IPv4: every flag alone and all together, fragments, odd header lengths; RST where TCP says so."""
    need('hping3')
    g = link(w).guest

    def hping(*args):
        r = g.run('hping3', '-n', '-c', '3', '-i', 'u20000', *args, netns.GATEWAY, ok=False, timeout=60)
        return r.stdout + r.stderr
    for flags, expected in (('-S', 'flags=RA'), ('-A', 'flags=R'), ('-F', 'flags=RA'), ('-SF', 'flags=RA'), ('-FPU', 'flags=RA')):
        out = hping(*[f'-{c}' for c in flags[1:]], '-p', '81')
        check(expected in out, flags, out)
    check('flags=SA' in hping('-S', '-p', '53'), 'SYN to an open port')
    check('0 packets received' in hping('-R', '-p', '81'), 'a reset is not answered')
    check('Port Unreachable' in hping('-2', '-p', '81'), 'udp')
    check(' 0% packet loss' in hping('-1'), 'icmp echo')
    check(' 0% packet loss' in hping('-1', '-d', '800', '-f'), 'icmp echo in 51 pieces')
    check('100% packet loss' in hping('-1', '-C', '13'), 'timestamps are not told')
    for args in ['-S', '-p', '53', '-O', '3'], ['-S', '-p', '53', '-O', '15'], ['-S', '-p', '53', '-b'], ['-2', '-p', '53', '-d', '1', '-b'], \
            ['-0', '-H', '6', '-d', '3'], ['-0', '-H', '253', '-d', '100'], ['-S', '-p', '53', '-f', '-d', '100'], ['-x', '-1', '-d', '8'], ['-g', '65528', '-1', '-d', '16']:
        hping(*args)
    check(' 0% packet loss' in hping('-1'), 'still there')
    check(w.vnetd.poll() is None)


# ---- floods ----

def floods(w):
    """Router and neighbour solicitations, pieces and echo as fast as they go, each from addresses that change: memory bounded, others served."""
    t = link(w)
    others = ip6.guest(w, 'bystander')
    rng = random.Random(4)

    def rs(i):
        return bytes(Ether(src='02:01:%02x:%02x:%02x:%02x' % (0, i >> 16, i >> 8 & 255, i & 255), dst='33:33:00:00:00:02') /
                     IPv6(src=f'fe80::1:{i:x}', dst='ff02::2', hlim=255) / ICMPv6ND_RS())

    def ns(i):
        return bytes(t.ether() / solicit(t, t.gateway, source=f'{t.prefix}1:{i & 0xffff:x}', option=False))

    def piece(i):
        return bytes(t.ether() / IPv6(src=f'{t.prefix}2:{i & 0xff:x}', dst=t.gateway) / IPv6ExtHdrFragment(nh=58, id=i, offset=i % 3, m=1) / Raw(b'x' * 1024))

    def ping(i):
        return bytes(t.ether() / IPv6(src=f'{t.prefix}3:{i & 0xffff:x}', dst=ip6.OUTSIDE6) / ICMPv6EchoRequest(id=i & 0xffff, data=b'x' * 64))

    before = w.rss()
    for make in rs, ns, piece, ping:
        frames = [make(i) for i in range(1, 1001)]
        rng.shuffle(frames)
        end, n, look = time.monotonic() + (20 if netns.SLOW else 3), 0, 0
        while time.monotonic() < end:
            for f in frames:
                try:
                    t.socket.send(f)
                    n += 1
                except OSError:  # the interface's queue is full
                    time.sleep(0.001)
            if time.monotonic() > look:
                look = time.monotonic() + 0.7
                out = others.run('ping', '-6', '-c', '1', '-W', '5', ip6.OUTSIDE6, ok=False).stdout
                check(' 0% packet loss' in out, make.__name__, 'the other guest', out)
        stats = w.stats()
        comment(f"{make.__name__}: {n} frames, RSS {before} to {w.rss()} KiB, neighbours {stats.get('neighbours')}, "
                f"fragments {stats.get('fragments-held')}, pings {stats.get('ping-flows')}")
    check(w.rss() - before < 32 * 1024 or w.is_sanitized(), 'memory', before, w.rss())
    check(stats['ping-flows'] <= 256, stats['ping-flows'])
    while True:  # what is left in the tester's queue
        t.socket.settimeout(0.5)
        try:
            t.socket.recv(70000)
        except TimeoutError:
            break
    t.socket.settimeout(5)


if __name__ == '__main__':
    netns.main([header_fields, unknown_next_header, extension_header_order, options, routing_header, fragment_reassembly, fragment_errors,
                neighbour_solicitations, invalid_solicitations, duplicate_address_detection, router_solicitations, other_routers, echo,
                unreachable, hop_limit_exceeded, no_errors_about, unknown_types, error_rate, nmap_finds_what_is_there, nmap_protocols,
                nmap_os_detection, hping_flags_and_sizes, floods])
