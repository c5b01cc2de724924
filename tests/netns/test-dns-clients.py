#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The gateway's DNS as real clients ask it: dig with every type and option, glibc, systemd-resolved; names of zones, of guests and of the world
outside, resolvers that fail, are slow or are for one domain, the cache, the limits.
"""

import os
import socket
import struct
import threading
import time

import netns
from netns import GATEWAY, OUTSIDE, OUTSIDE2, Unavailable, check, equal, need, read_exactly, run, wait_until

TYPES = {'A': 1, 'NS': 2, 'CNAME': 5, 'SOA': 6, 'PTR': 12, 'MX': 15, 'TXT': 16, 'AAAA': 28, 'SRV': 33, 'OPT': 41, 'RRSIG': 46, 'HTTPS': 65, 'ANY': 255, 'CAA': 257}
NAMES = {v: k for k, v in TYPES.items()}
UDP_SEGMENT = 103  # of <linux/udp.h>
RESOLVED = os.environ.get('SYSTEMD_RESOLVED', '/lib/systemd/systemd-resolved')


def wire(name):
    return b''.join(bytes([len(label)]) + label.encode() for label in name.rstrip('.').split('.') if label) + b'\0'


def text(*parts):
    return b''.join(bytes([len(p)]) + p.encode() for p in parts)


LONG = ['x' * 255, 'y' * 45]
OUTSIDE_NAMES = {
    ('example.test', 'A'): [socket.inet_aton('192.0.2.10'), socket.inet_aton('192.0.2.11')],
    ('example.test', 'AAAA'): [socket.inet_pton(socket.AF_INET6, '2001:db8::10')],
    ('example.test', 'MX'): [struct.pack('!H', 10) + wire('mail.example.test'), struct.pack('!H', 20) + wire('mail2.example.test')],
    ('example.test', 'TXT'): [text('v=spf1 -all'), text(*LONG)],
    ('example.test', 'NS'): [wire('ns.example.test')],
    ('example.test', 'HTTPS'): [struct.pack('!H', 1) + b'\0' + struct.pack('!HH', 1, 3) + b'\x02h2'],
    ('example.test', 'CAA'): [b'\0\x05issue' + b'ca.example.test'],
    ('example.test', 'RRSIG'): [struct.pack('!HBBIIIH', 1, 13, 2, 60, 1, 0, 1) + wire('example.test') + b's' * 64],
    ('_imaps._tcp.example.test', 'SRV'): [struct.pack('!HHH', 0, 1, 993) + wire('mail.example.test')],
    ('10.2.0.192.in-addr.arpa', 'PTR'): [wire('example.test')],
    ('alias.example.test', 'CNAME'): [wire('example.test')],
    ('www.search.test', 'A'): [socket.inet_aton('192.0.2.80')],
    ('cached.test', 'A'): [socket.inet_aton('192.0.2.90')],
    ('big.test', 'TXT'): [text(chr(65 + i) * 250) for i in range(16)],
    ('many.test', 'A'): [bytes([192, 0, 2, i]) for i in range(60)],
}


class Upstream:
    """A resolver outside. Knows OUTSIDE_NAMES and NAME.who.test (its own name, as TXT); fail.test is SERVFAIL. @mode: answers, silent or slow."""

    def __init__(self, ns, addr, name, ttl=60):
        self.name, self.ttl, self.mode, self.asked = name, ttl, 'answers', []
        self.udp = ns.socket(socket.SOCK_DGRAM, timeout=None)
        self.udp.bind((addr, 53))
        self.tcp = ns.listen(addr, 53)
        self.tcp.settimeout(None)
        for fn in self.serve_udp, self.serve_tcp:
            threading.Thread(target=fn, daemon=True).start()

    def records(self, name, qtype):
        if name.endswith('.who.test') and qtype == 'TXT':
            return [('TXT', text(self.name))]
        if qtype == 'ANY':
            return [(t, d) for (n, t), list_ in OUTSIDE_NAMES.items() if n == name for d in list_]
        return [(qtype, d) for d in OUTSIDE_NAMES.get((name, qtype), [])] or [('CNAME', d) for d in OUTSIDE_NAMES.get((name, 'CNAME'), [])]

    def answer(self, query, udp):
        ident, flags, _, _, _, extra = struct.unpack('!6H', query[:12])
        end, labels = 12, []
        while query[end]:
            labels.append(query[end + 1:end + 1 + query[end]].decode())
            end += 1 + query[end]
        question = query[12:end + 5]
        qtype = NAMES.get(struct.unpack('!H', query[end + 1:end + 3])[0], '?')
        name = '.'.join(labels).lower()
        self.asked.append((name, qtype))
        edns, room, wants_dnssec = extra > 0, 512, False
        if edns:
            _, room, ttl = struct.unpack('!HHI', query[end + 6:end + 14])
            wants_dnssec = bool(ttl & 0x8000)
        found = self.records(name, qtype)
        if wants_dnssec and found and found[0][0] == 'A':
            found += [('RRSIG', d) for d in OUTSIDE_NAMES.get((name, 'RRSIG'), [])]
        exists = found or any(n == name for n, _ in OUTSIDE_NAMES)
        rcode = 2 if name == 'fail.test' else 0 if exists else 3
        body = b''.join(b'\xc0\x0c' + struct.pack('!HHIH', TYPES[t], 1, self.ttl, len(d)) + d for t, d in found)
        soa = b''
        if not found and rcode != 2:
            rdata = wire('a.test') + wire('b.test') + struct.pack('!5I', 1, 1, 1, 1, self.ttl)
            soa = wire('test') + struct.pack('!HHIH', 6, 1, self.ttl, len(rdata)) + rdata
        opt = b'\0' + struct.pack('!HHIH', 41, 1232, 0x8000 if wants_dnssec else 0, 0) if edns else b''
        flags = 0x8180 | rcode | (0x20 if wants_dnssec and found else 0) | flags & 0x10
        reply = struct.pack('!6H', ident, flags, 1, len(found), 1 if soa else 0, len(opt) > 0) + question + body + soa + opt
        if udp and len(reply) > max(room, 512):
            reply = struct.pack('!6H', ident, flags | 0x0200, 1, 0, 0, len(opt) > 0) + question + opt
        return reply

    def serve_udp(self):
        while True:
            query, peer = self.udp.recvfrom(65535)
            reply = self.answer(query, True)
            if self.mode != 'silent':
                self.udp.sendto(reply, peer)

    def serve_tcp(self):
        while True:
            c, _ = self.tcp.accept()
            threading.Thread(target=self.serve_client, args=(c,), daemon=True).start()

    def serve_client(self, c):
        try:
            c.settimeout(20)
            while True:
                n, = struct.unpack('!H', read_exactly(c, 2))
                reply = self.answer(read_exactly(c, n), False)
                if self.mode != 'silent':
                    c.sendall(struct.pack('!H', len(reply)) + reply)
        except (OSError, netns.Failed):
            c.close()

    def count(self, name, qtype):
        return self.asked.count((name, qtype))


def upstreams(w):
    if getattr(w, 'upstreams_of', 0) != w.n:
        w.upstreams = [Upstream(w.outside, OUTSIDE, 'one'), Upstream(w.outside, OUTSIDE2, 'two')]
        w.upstreams_of = w.n
    return w.upstreams


def the_guest(w):
    need('dig')
    upstreams(w)
    for g in w.guests:
        if g.name == 'g1':
            return g
    g = w.guest('g1', configure=False)
    g.run('ip', 'link', 'add', 'six0', 'type', 'veth', 'peer', 'name', 'six1')  # glibc asks for AAAA where there is an IPv6 address
    g.sysctl('net.ipv6.conf.six0.disable_ipv6', 0)
    g.run('ip', 'link', 'set', 'six0', 'up')
    g.run('ip', 'link', 'set', 'six1', 'up')
    g.run('ip', '-6', 'addr', 'add', 'fd99::1/64', 'dev', 'six0', 'nodad')
    g.dhcp(netns.world_script(w, 'configure', netns.CONFIGURE), '-x', 'hostname:web')
    return g


class Answer:
    def __init__(self, out):
        self.out, self.sections, section = out, {}, None
        for line in out.splitlines():
            if line.startswith(';; ') and line.endswith(' SECTION:'):
                section = line[3:-9]
                self.sections[section] = []
            elif line and not line.startswith(';') and section:
                self.sections[section].append(line.split(None, 4))
            if 'status: ' in line:
                self.status = line.split('status: ')[1].split(',')[0]
            if line.startswith(';; flags: '):
                self.flags = line[10:].split(';')[0].split()
            if line.startswith(';; Query time: '):
                self.sec = int(line.split()[3]) / 1000
        self.edns = 'EDNS: version: 0' in out
        self.do = ', flags: do;' in out
        self.tcp = '(TCP)' in out

    def data(self, section='ANSWER'):
        """"TYPE DATA" of its records, sorted."""
        return sorted(f'{r[3]} {r[4]}' for r in self.sections.get(section, []))

    def ttls(self):
        return {int(r[1]) for r in self.sections.get('ANSWER', [])}


def dig(g, *args, server=GATEWAY):
    out = g.run('dig', '@' + server, '+tries=1', '+time=12', *args).stdout
    check('status: ' in out, 'no answer:', out)
    return Answer(out)


def dig_all(g, way, questions):
    """The answers to many questions, by one dig."""
    argv = [a for name, qtype in questions for a in ((name, qtype) if qtype != '-x' else ('-x', name))]
    out = g.run('dig', '@' + GATEWAY, '+tries=1', '+time=12', *way, *argv, timeout=100).stdout
    answers = [Answer(part) for part in out.split(';; Got answer:') if 'status: ' in part]
    equal(len(answers), len(questions), out)
    return answers


# How a query may come: by which transport, with which EDNS.
WAYS = (('+notcp', '+noedns'), ('+tcp', '+noedns'), ('+notcp', '+bufsize=512'), ('+notcp', '+bufsize=4096'), ('+tcp', '+bufsize=4096'), ('+notcp', '+dnssec'),
        ('+tcp', '+dnssec'))


def check_way(a, way, what):
    """The transport that was asked for, EDNS where asked, DO as asked."""
    equal(a.edns, '+noedns' not in way, f'EDNS of {what} {way}: {a.out}')
    equal(a.do, '+dnssec' in way, f'DO of {what} {way}: {a.out}')
    if '+tcp' in way:
        check(a.tcp, what, way, a.out)


LOCAL = (
    ('www.lab.test', 'A', ['A 10.1.1.1', 'A 10.1.1.2']), ('WWW.Lab.Test', 'A', ['A 10.1.1.1', 'A 10.1.1.2']), ('www.lab.test', 'AAAA', ['AAAA fd00::1']),
    ('v4.lab.test', 'AAAA', []), ('v6.lab.test', 'A', []), ('lab.test', 'MX', ['MX 10 mail.lab.test.', 'MX 20 mail.example.test.']),
    ('www.lab.test', 'TXT', ['TXT "hello world"']), ('_imaps._tcp.lab.test', 'SRV', ['SRV 0 1 993 mail.lab.test.']),
    ('alias.lab.test', 'A', ['A 10.1.1.1', 'A 10.1.1.2', 'CNAME www.lab.test.']), ('alias.lab.test', 'CNAME', ['CNAME www.lab.test.']),
    ('www.lab.test', 'ANY', ['A 10.1.1.1', 'A 10.1.1.2', 'AAAA fd00::1', 'TXT "hello world"']), ('node17.lab.test', 'A', ['A 10.1.1.9']), ('lab.test', 'NS', ['NS gateway.lab.test.']),
    ('anything.else.test', 'A', ['A 10.2.2.2']), ('anything.else.test', 'AAAA', []), ('gateway.vnet.internal', 'A', ['A ' + GATEWAY]),
    ('web.vnet.internal', 'A', None), ('gateway.containers.internal', 'A', ['A ' + GATEWAY]), ('1.127.168.192.in-addr.arpa', 'PTR', ['PTR gateway.vnet.internal.']),
)


def local_zones(w):
    g = the_guest(w)
    w.ctl('zone', 'set', 'lab.test', 'www A 10.1.1.1', 'www A 10.1.1.2', 'www AAAA fd00::1', 'v4 A 10.1.1.4', 'v6 AAAA fd00::4', '@ MX 10 mail', '@ MX 20 mail.example.test.',
          'www TXT hello world', '_imaps._tcp SRV 0 1 993 mail', 'alias CNAME www', '/^node[0-9]+$/ A 10.1.1.9', '--ttl=30s')
    w.ctl('zone', 'set', 'else.test', '--default=10.2.2.2')
    before = [len(u.asked) for u in upstreams(w)]
    for way in WAYS:
        *answers, absent, reverse = dig_all(g, way, [(name, qtype) for name, qtype, _ in LOCAL] + [('nobody.lab.test', 'A'), (g.addr, '-x')])
        for (name, qtype, expected), a in zip(LOCAL, answers):
            what = f'{name} {qtype}'
            check_way(a, way, what)
            equal(a.status, 'NOERROR', what)
            equal(a.data(), ['A ' + g.addr] if expected is None else expected, what)
            check('aa' in a.flags and 'ra' in a.flags, what, a.flags)
            if not a.data():  # RFC 2308: no such type, and for how long
                check(a.sections['AUTHORITY'][0][3] == 'SOA', what, a.out)
            if 'lab.test' in name.lower() and a.data() and qtype != 'NS':
                equal(a.ttls(), {30}, f'TTL of {what}')
        equal((absent.status, absent.data('AUTHORITY')[0].split()[0]), ('NXDOMAIN', 'SOA'), 'a name the zone lacks')
        equal(reverse.data(), ['PTR web.vnet.internal.'], 'the guest by its address')
    equal([len(u.asked) for u in upstreams(w)], before, 'a resolver was asked for what is local')


def zones_change(w):
    """Put up anew, and taken away, at run time: the very next answer says so."""
    g = the_guest(w)
    w.ctl('zone', 'set', 'run.test', 'a A 10.0.0.1')
    equal(dig(g, 'a.run.test').data(), ['A 10.0.0.1'])
    w.ctl('zone', 'set', 'run.test', 'a A 10.0.0.2')
    equal(dig(g, 'a.run.test').data(), ['A 10.0.0.2'])
    w.ctl('zone', 'remove', 'run.test')
    a = dig(g, 'a.run.test')
    equal((a.status, a.data('AUTHORITY')[0].split()[1]), ('NXDOMAIN', 'a.test.'), 'asked outside again')


OUTER = (
    ('example.test', 'A', ['A 192.0.2.10', 'A 192.0.2.11']), ('example.test', 'AAAA', ['AAAA 2001:db8::10']), ('example.test', 'MX', ['MX 10 mail.example.test.', 'MX 20 mail2.example.test.']),
    ('example.test', 'TXT', ['TXT "' + LONG[0] + '" "' + LONG[1] + '"', 'TXT "v=spf1 -all"']), ('_imaps._tcp.example.test', 'SRV', ['SRV 0 1 993 mail.example.test.']),
    ('10.2.0.192.in-addr.arpa', 'PTR', ['PTR example.test.']), ('example.test', 'CAA', ['CAA 0 issue "ca.example.test"']), ('example.test', 'HTTPS', ['HTTPS 1 . alpn="h2"']),
    ('alias.example.test', 'CNAME', ['CNAME example.test.']), ('_imaps._tcp.example.test', 'A', []), ('example.test', 'NS', ['NS ns.example.test.']),
)


def relayed(w):
    g = the_guest(w)
    for way in WAYS:
        *answers, any_, absent, failed = dig_all(g, way, [(name, qtype) for name, qtype, _ in OUTER] + [('example.test', 'ANY'), ('nothing.test', 'A'), ('fail.test', 'A')])
        for (name, qtype, expected), a in zip(OUTER, answers):
            what = f'{name} {qtype}'
            check_way(a, way, what)
            equal(a.status, 'NOERROR', what)
            found = a.data()
            if '+dnssec' in way and qtype == 'A' and expected:
                check(any(r.startswith('RRSIG A 13 2') for r in found) and 'ad' in a.flags, what, a.out)
                found = [r for r in found if not r.startswith('RRSIG')]
            equal(found, sorted(expected), f'{what} {way}')
        check(any_.status == 'NOERROR' and len(any_.data()) >= 11, f'ANY {way}: {any_.out}')
        equal((absent.status, failed.status), ('NXDOMAIN', 'SERVFAIL'), 'an unknown name, and one the resolver cannot say')


def too_big(w):
    """What does not fit is cut and asked again by TCP, or comes whole where there is room."""
    g = the_guest(w)
    w.ctl('zone', 'set', 'huge.test', *[f'x TXT {chr(97 + i) * 200}' for i in range(20)])
    for name, n in (('x.huge.test', 20), ('big.test', 16)):
        a = dig(g, '+ignore', '+noedns', name, 'TXT')
        check('tc' in a.flags and not a.data(), a.out)
        a = dig(g, '+noedns', name, 'TXT')
        check(a.tcp and len(a.data()) == n, a.out)
        equal(len(dig(g, '+tcp', name, 'TXT').data()), n)
    a = dig(g, '+ignore', '+bufsize=1232', 'many.test', 'A')
    check('tc' not in a.flags and len(a.data()) == 60, a.out)


def guests_by_name(w):
    """A second guest is there by the name it told DHCP, both ways, from when it has its lease to when it gives it back."""
    g = the_guest(w)
    equal(dig(g, 'box.vnet.internal').status, 'NXDOMAIN')
    h = w.guest('g2', configure=False)
    h.dhcp(netns.world_script(w, 'configure', netns.CONFIGURE), '-x', 'hostname:Box')
    for name in 'box.vnet.internal', 'BOX.vnet.internal', 'box':
        equal(dig(g, name).data(), ['A ' + h.addr], name)
    equal(dig(g, '-x', h.addr).data(), ['PTR Box.vnet.internal.'])
    a = dig(g, 'box.vnet.internal', 'AAAA')
    equal((a.status, a.data()), ('NOERROR', []), 'a guest that has only IPv4')
    check(h.run('ping', '-c', '1', '-W', '5', g.addr).returncode == 0)
    w.drop_guest(h)


def cache(w):
    """Asked outside once in its time to live, which counts down; what is not there too; SERVFAIL and other resolvers' answers not."""
    g, (one, _) = the_guest(w), upstreams(w)
    one.ttl = 5
    try:
        questions = (('cached.test', 'A'), ('absent1.test', 'A'), ('fail.test', 'TXT'))
        one.asked.clear()
        first, *_ = dig_all(g, ('+noedns',), questions * 3)
        equal([one.count(*q) for q in questions], [1, 1, 3], 'how often each was asked')
        time.sleep(1.1)
        later = dig(g, '+noedns', 'cached.test', 'A')
        check(max(later.ttls()) < max(first.ttls()) <= 5, first.ttls(), later.ttls())
        time.sleep(5)
        dig_all(g, ('+noedns',), questions[:2])
        equal([one.count(*q) for q in questions[:2]], [2, 2], 'after their time')
    finally:
        one.ttl = 60
    equal(dig(g, 'x.who.test', 'TXT').data(), ['TXT "one"'])
    netns.write('/etc/resolv.conf', f'nameserver {OUTSIDE2}\nsearch example.test\n')
    wait_until(lambda: dig(g, 'x.who.test', 'TXT').data() == ['TXT "two"'], 20, 'the answer of the new resolver', every=0.1)
    netns.write('/etc/resolv.conf', f'nameserver {OUTSIDE}\nsearch example.test\n')
    wait_until(lambda: dig(g, 'x.who.test', 'TXT').data() == ['TXT "one"'], 20, 'the answer of the old one', every=0.1)


def failover(w):
    """The first resolver is silent: the second answers after a time-out, and goes first for a while; a closed port costs no time."""
    g, (one, two) = the_guest(w), upstreams(w)
    netns.write('/etc/resolv.conf', f'nameserver {OUTSIDE}\nnameserver {OUTSIDE2}\n')
    wait_until(lambda: dig(g, 'warm.who.test', 'TXT').data(), 5)
    time.sleep(1)  # the file is read by then
    one.mode = 'silent'
    try:
        took = []
        for way in ('+notcp',), ('+notcp',), ('+tcp',):
            a = dig(g, *way, f'n{len(took)}.who.test', 'TXT')
            equal(a.data(), ['TXT "two"'], way)
            took.append(a.sec)
        check(2.5 < took[0] < 8 and took[1] < 2.5 and took[2] < 2.5, took)
        two.mode = 'silent'
        a = dig(g, 'none.who.test', 'TXT')
        equal(a.status, 'SERVFAIL', 'nobody answers')
        check(5 < a.sec < 12, a.sec)
    finally:
        one.mode = two.mode = 'answers'
    netns.write('/etc/resolv.conf', f'nameserver 203.0.113.1\nnameserver {OUTSIDE2}\n')  # ours, where nobody listens
    time.sleep(1)
    for way in '+notcp', '+tcp':
        a = dig(g, way, f'closed{way[1:]}.who.test', 'TXT')
        equal(a.data(), ['TXT "two"'], way)
        check(a.sec < 2.5, 'a closed port is waited for')
    netns.write('/etc/resolv.conf', f'nameserver {OUTSIDE}\nsearch example.test\n')
    wait_until(lambda: dig(g, f'back{time.monotonic()}.who.test', 'TXT').data() == ['TXT "one"'], 40, every=1)


def split(w):
    """Domains with resolvers of their own: their names go there alone, the longest domain counts, all others to the host's."""
    the_guest(w)
    one, two = upstreams(w)
    run('busctl', '--address=' + w.address, 'call', 'org.vnetd1', '/org/vnetd1', 'org.vnetd1.Manager', 'CreateNetwork', 'sa{sv}', 'split', '2', 'Subnet', 's',
        '10.98.0.0/24', 'DnsRoutes', 'a{ss}', '2', 'who.test', OUTSIDE2, 'not.who.test', OUTSIDE)
    h = w.guest('split1', network='split')
    one.asked.clear()
    for way in '+notcp', '+tcp':
        equal(dig(h, way, f'a{way[1:]}.who.test', 'TXT', server='10.98.0.1').data(), ['TXT "two"'], way)
        equal(dig(h, way, f'a{way[1:]}.not.who.test', 'TXT', server='10.98.0.1').data(), ['TXT "one"'], way)
        equal(dig(h, way, 'example.test', server='10.98.0.1').status, 'NOERROR', way)
    check(not any(n.endswith('who.test') and 'not' not in n for n, _ in one.asked), one.asked)
    check(one.count('example.test', 'A') > 0, one.asked)
    w.drop_guest(h)
    w.ctl('network', 'remove', 'split')


def search_domains(w):
    """The host's search domains, as they are now, are what the next lease says."""
    the_guest(w)
    h = w.guest('g3', configure=False)
    dump = netns.world_script(w, 'dump', netns.DUMP)
    equal(h.dhcp(dump)['search'].split(), ['vnet.internal', 'example.test'])
    netns.write('/etc/resolv.conf', f'nameserver {OUTSIDE}\nsearch search.test other.example\n')
    wait_until(lambda: h.dhcp(dump)['search'].split() == ['vnet.internal', 'search.test', 'other.example'], 10, 'the new ones')
    netns.write('/etc/resolv.conf', f'nameserver {OUTSIDE}\n')
    wait_until(lambda: h.dhcp(dump)['search'].split() == ['vnet.internal'], 10, 'none')
    netns.write('/etc/resolv.conf', f'nameserver {OUTSIDE}\nsearch example.test\n')
    w.drop_guest(h)


def flood(w):
    """One guest asks as fast as it can, in runs of 64: another is answered as ever. (Where the limit is, tests/engine/test-dns.c knows.)"""
    g = the_guest(w)
    h = w.guest('g4')
    query = struct.pack('!6H', 1, 0x0100, 1, 0, 0, 0) + wire('gateway.vnet.internal') + struct.pack('!HH', 1, 1)
    stop = threading.Event()

    def send():
        with g.socket(socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(query))  # 64 datagrams a call
            s.setblocking(False)
            while not stop.is_set():
                try:
                    s.sendto(query * 64, (GATEWAY, 53))
                except BlockingIOError:
                    pass
    job = netns.Job(send)
    try:
        wait_until(lambda: w.stats()['frames-out'] > 10000, 20, 'answers')
        for _ in range(5):
            equal(dig(h, 'gateway.vnet.internal').data(), ['A ' + GATEWAY], 'the other guest')
    finally:
        stop.set()
    job.wait()
    wait_until(lambda: 'status: NOERROR' in g.run('dig', '@' + GATEWAY, '+tries=1', '+time=5', 'gateway.vnet.internal', ok=False).stdout, 60, 'the first guest is answered again')
    w.drop_guest(h)


# ---- libraries ----

def in_guest(g, files, *argv, ok=True):
    """Runs a command in the guest with these files in place of those of /etc."""
    binds = []
    for path, content in files.items():
        own = f'{g.world.dir}/{g.name}.{path.replace("/", "_")}'
        netns.write(own, content)
        binds.append(f'mkdir -p $(dirname {path}) && touch {path} && mount --bind {own} {path}')
    script = ' && '.join(binds + ['exec "$@"'])
    return g.run('unshare', '--mount', 'sh', '-c', script, 'sh', *argv, ok=ok)


NSSWITCH = 'passwd: files\ngroup: files\nhosts: files dns\n'


def getent(w):
    """glibc: both families at once, aliases, search domains, reverse, what is too big for UDP, and what is not there."""
    g = the_guest(w)
    w.ctl('zone', 'set', 'lab.test', 'www A 10.1.1.1', 'www AAAA fd00::1', 'alias CNAME www', 'v4 A 10.1.1.4', *[f'many A 10.3.{i}.1' for i in range(60)])
    files = {'/etc/resolv.conf': f'nameserver {GATEWAY}\nsearch lab.test search.test\noptions timeout:3 attempts:2\n', '/etc/nsswitch.conf': NSSWITCH}

    def ask(database, key, options=None):
        f = dict(files)
        if options:
            f['/etc/resolv.conf'] += f'options {options}\n'
        r = in_guest(g, f, 'getent', database, key, ok=False)
        return sorted({line.split()[0] for line in r.stdout.splitlines()}) if database.startswith('ahosts') else r.stdout.split()

    for options in None, 'edns0 trust-ad', 'use-vc':
        equal(ask('ahosts', 'www.lab.test', options), ['10.1.1.1', 'fd00::1'], f'both families {options}')
        equal(ask('ahosts', 'www', options), ['10.1.1.1', 'fd00::1'], f'by search domain {options}')
        equal(ask('ahostsv4', 'v4.lab.test', options), ['10.1.1.4'], options)
        equal(ask('ahostsv6', 'v4.lab.test', options)[:1] in ([], ['::ffff:10.1.1.4']), True, options)
        equal(ask('ahosts', 'alias.lab.test', options), ['10.1.1.1', 'fd00::1'], f'an alias {options}')
        equal(ask('ahosts', 'example.test', options), ['192.0.2.10', '192.0.2.11', '2001:db8::10'], f'outside {options}')
        equal(ask('hosts', GATEWAY, options), [GATEWAY, 'gateway.vnet.internal'], f'reverse {options}')
        equal(ask('hosts', '192.0.2.10', options), ['192.0.2.10', 'example.test'], f'reverse outside {options}')
        equal(ask('ahosts', 'web.vnet.internal', options), [g.addr], f'its own name {options}')
        equal(len(ask('ahostsv4', 'many.lab.test', options)), 60, f'more than fits a datagram {options}')
        equal(ask('ahosts', 'nobody.lab.test', options), [], options)


def resolved(w):
    """systemd-resolved in the guest, with its probing of what the server can do, and glibc behind it."""
    if not os.access(RESOLVED, os.X_OK):
        raise Unavailable(f'{RESOLVED} is not there')
    g = the_guest(w)
    w.ctl('zone', 'set', 'lab.test', 'www A 10.1.1.1', 'www AAAA fd00::1', '@ MX 10 www', 'v4 A 10.1.1.4', *[f'many A 10.3.{i}.1' for i in range(60)])
    etc = netns.read('/etc/passwd')
    if 'systemd-resolve:' not in etc:  # /etc is ours here
        netns.write('/etc/passwd', etc + 'systemd-resolve:x:0:0::/:/bin/false\n')
    os.makedirs('/run/systemd/resolve', exist_ok=True)
    for dnssec in 'no', 'allow-downgrade':
        conf = f'{w.dir}/resolved.conf'
        netns.write(conf, f'[Resolve]\nDNS={GATEWAY}\nDomains=~. lab.test\nDNSSEC={dnssec}\nLLMNR=no\nMulticastDNS=no\nCache=no\n')
        p = w.spawn('unshare', '--mount', 'sh', '-c', f'mkdir -p /etc/systemd && touch /etc/systemd/resolved.conf && mount --bind {conf} /etc/systemd/resolved.conf && exec {RESOLVED}',
                    ns=g, stderr=open(f'{w.dir}/resolved.log', 'ab'))
        stub = '127.0.0.53'
        wait_until(lambda: 'status: NOERROR' in g.run('dig', '@' + stub, '+tries=1', '+time=3', 'www.lab.test', ok=False).stdout, 30,
                   lambda: netns.read(f'{w.dir}/resolved.log'))
        for way in '+notcp', '+tcp':
            for name, qtype, expected in (('www.lab.test', 'A', ['A 10.1.1.1']), ('www.lab.test', 'AAAA', ['AAAA fd00::1']), ('v4.lab.test', 'AAAA', []),
                                          ('lab.test', 'MX', ['MX 10 www.lab.test.']), ('example.test', 'A', ['A 192.0.2.10', 'A 192.0.2.11']),
                                          ('web.vnet.internal', 'A', ['A ' + g.addr])):
                a = dig(g, way, name, qtype, server=stub)
                equal((a.status, a.data()), ('NOERROR', expected), f'{name} {qtype} {way} by resolved, DNSSEC={dnssec}: {netns.read(f"{w.dir}/resolved.log")}')
            equal(len(dig(g, way, 'many.lab.test', server=stub).data()), 60)
            equal(dig(g, way, 'nobody.lab.test', server=stub).status, 'NXDOMAIN')
            equal(dig(g, way, '-x', GATEWAY, server=stub).data(), ['PTR gateway.vnet.internal.'])
        files = {'/etc/resolv.conf': f'nameserver {stub}\noptions edns0 trust-ad\nsearch lab.test\n', '/etc/nsswitch.conf': NSSWITCH}
        out = in_guest(g, files, 'getent', 'ahosts', 'www').stdout
        equal(sorted({line.split()[0] for line in out.splitlines()}), ['10.1.1.1', 'fd00::1'], 'glibc behind resolved')
        p.terminate()
        p.wait(10)
        w.procs.remove(p)


if __name__ == '__main__':
    netns.main([local_zones, zones_change, relayed, too_big, guests_by_name, cache, failover, split, search_domains, flood, getent, resolved])
