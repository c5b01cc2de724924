#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""IPv6 end to end: SLAAC and what rdisc6 sees, traffic both ways, DNS, forwards on ::1, a host that loses and finds its way out."""

import hashlib
import os
import random
import re
import socket
import subprocess

import netns
from netns import Guest, Job, check, comment, equal, need, read_all, run, wait_until

HOST6, OUTSIDE6 = '2001:db8:1::1', '2001:db8:1::2'
BULK = (1024 if netns.SLOW else 64) << 20


class Guest6(Guest):
    """A guest with IPv6."""

    def sysctl(self, name, value):
        super().sysctl(name, 0 if name.endswith('all.disable_ipv6') else value)


def prefix(w):
    """The network's /64 as text that an interface identifier can follow."""
    return run(*w.ctl_argv('network', 'show', 'default')).stdout.split('Subnet6: ')[1].split('/')[0]


def furnish(w):
    """The host and the outside get IPv6, once."""
    if getattr(w, 'has_ip6', None) == w.n:
        return
    w.has_ip6 = w.n
    for name in 'all', 'default', 'lo', 'veth0':
        w.host.sysctl(f'net.ipv6.conf.{name}.disable_ipv6', 0)
    for ns, dev, addr in (w.host, 'veth0', HOST6), (w.outside, 'veth1', OUTSIDE6):
        ns.sysctl(f'net.ipv6.conf.{dev}.disable_ipv6', 0)
        ns.run('ip', 'addr', 'add', addr + '/64', 'dev', dev, 'nodad')
    w.outside.run('ip', '-6', 'route', 'add', 'default', 'via', HOST6)
    way_out(w)


def way_out(w):
    w.host.run('ip', '-6', 'route', 'replace', 'default', 'via', OUTSIDE6)


def guest(w, name='six', **kwargs):
    """The guest the cases share, with its addresses."""
    furnish(w)
    for g in w.guests:
        if g.name == name:
            return g
    g = Guest6(w, name, offloads=w.offloads, **kwargs)
    w.guests.append(g)
    g.addr6 = wait_until(lambda: address(g, prefix(w)), 10, 'an address by SLAAC')
    return g


def address(g, start):
    for line in g.run('ip', '-o', '-6', 'addr', 'show', 'dev', 'eth0', 'scope', 'global').stdout.splitlines():
        a = line.split('inet6 ')[1].split('/')[0]
        if a.startswith(start.rstrip(':')) and 'tentative' not in line:
            return a
    return None


def default_route(g):
    return g.run('ip', '-6', 'route', 'show', 'default').stdout


# ---- addresses ----

def slaac(w):
    g = guest(w)
    wait_until(lambda: default_route(g), 20, 'a default route')
    check('via fe80::' in default_route(g), default_route(g))
    check(g.run('ip', '-6', 'route', 'show', prefix(w) + '/64').stdout, 'the prefix is on the link')


def rdisc6_field_by_field(w):
    need('rdisc6')
    g = guest(w)
    text = re.sub(r'[ \t]+', ' ', g.run('rdisc6', '-1', 'eth0').stdout)
    for expected in ('Hop limit : 64 ( 0x40)', 'Router lifetime : 1800 (0x00000708) seconds', f'Prefix : {prefix(w)}/64', 'On-link : Yes',
                     'Autonomous address conf.: Yes', 'Valid time : 86400 (0x00015180) seconds', 'Pref. time : 14400 (0x00003840) seconds',
                     f'MTU : {w.mtu} bytes', f'Recursive DNS server : {prefix(w)}1', 'DNS server lifetime : 1800 (0x00000708) seconds',
                     'DNS search list : vnet.internal example.test', 'Source link-layer address: 5A:94:EF:E4:0C:DD',
                     'from fe80::5894:efff:fee4:cdd'):
        check(expected in text, expected, 'is not in:', text)


def ndisc6_finds_gateway_and_host(w):
    need('ndisc6')
    g = guest(w)
    for a in prefix(w) + '1', prefix(w) + 'fe', 'fe80::5894:efff:fee4:cdd':
        check('5A:94:EF:E4:0C:DD' in g.run('ndisc6', '-1', a, 'eth0').stdout, a)
    check(g.run('ndisc6', '-1', '-r', '1', '-w', '200', prefix(w) + '77', 'eth0', ok=False).returncode != 0, 'nobody else is answered for')


# ---- DHCPv6 ----

def dhclient(w, g, what, conf, *args):
    """One exchange of dhclient -6: what it hands its script."""
    out = os.path.join(w.dir, f'dhclient6.{what}')
    netns.write(out + '.conf', conf)
    script = netns.world_script(w, f'dhclient6-script.{what}', f"""#!/bin/sh
case $reason in BOUND6) env >{out}.new && mv {out}.new {out};; esac
exit 0
""")
    g.await_link_local()
    p = w.spawn('dhclient', '-6', '-d', '-1', *args, '-cf', out + '.conf', '-sf', script, '-lf', out + '.leases', '-pf', out + '.pid',
                'eth0', ns=g, stderr=open(out + '.err', 'w'))
    wait_until(lambda: os.path.exists(out), 30, lambda: 'dhclient: ' + netns.read(out + '.err'))
    p.terminate()
    p.wait(10)
    return dict(line.split('=', 1) for line in netns.read(out).splitlines() if '=' in line)


def dhclient_gets_all(w):
    need('dhclient')
    g = guest(w)
    conf = 'also request dhcp6.name-servers, dhcp6.domain-search;\n'
    got = dhclient(w, g, 'stateful', conf)
    check(got['new_ip6_address'].startswith(prefix(w).rstrip(':')), got)
    equal(got['new_dhcp6_name_servers'], prefix(w) + '1')
    equal(got['new_dhcp6_domain_search'], 'vnet.internal. example.test.')
    equal((got['new_preferred_life'], got['new_max_life']), ('3600', '5400'))
    again = dhclient(w, g, 'again', conf, '-D', 'LL')
    rapid = dhclient(w, g, 'rapid', conf + 'send dhcp6.rapid-commit;\n', '-D', 'LL')
    equal(rapid['new_ip6_address'], again['new_ip6_address'], 'the same client has the same address')


def dhcpcd_gets_all(w):
    """By router advertisement and DHCPv6 both, as a distribution's default does."""
    need('dhcpcd')
    furnish(w)
    run('mount', '-t', 'tmpfs', 'tmpfs', '/var/lib/dhcpcd', ok=False)  # what it keeps is not for the machine
    g = Guest6(w, 'dhcpcd6', offloads=w.offloads, configure=False)
    w.guests.append(g)
    out, conf = os.path.join(w.dir, 'dhcpcd.out'), os.path.join(w.dir, 'dhcpcd.conf')
    netns.write(conf, 'duid\npersistent\noption domain_name_servers, domain_search, interface_mtu\nipv6only\n')
    script = netns.world_script(w, 'dhcpcd-script', f'#!/bin/sh\nenv >>{out}\nexit 0\n')
    p = w.spawn('dhcpcd', '-B', '-6', '--nohook', 'resolv.conf', '-f', conf, '-c', script, 'eth0', ns=g, stderr=open(out + '.err', 'w'))
    try:
        wait_until(lambda: 'reason=BOUND6' in netns.read(out) and 'reason=ROUTERADVERT' in netns.read(out), 30,
                   lambda: netns.read(out + '.err')[-2000:])
        wait_until(lambda: g.run('ip', '-o', '-6', 'addr', 'show', 'dev', 'eth0', 'scope', 'global').stdout.count(prefix(w).rstrip(':')) >= 2,
                   10, 'an address by SLAAC and one by DHCPv6')
        wait_until(lambda: default_route(g), 10, 'a default route')
        check(prefix(w) + '1' in netns.read(out), 'the name server')
    finally:
        p.terminate()
        p.wait(10)


# ---- traffic ----

def serve(ns, addr, fn):
    s = ns.socket(family=socket.AF_INET6)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, 0))
    s.listen(8)

    def once():
        c, peer = s.accept()
        with c, s:
            c.settimeout(60)
            return fn(c, peer)
    return s.getsockname()[1], Job(once)


def ping(w):
    need('ping')
    g = guest(w)
    for a in prefix(w) + '1', prefix(w) + 'fe', OUTSIDE6, 'ff02::2%eth0':
        out = g.run('ping', '-6', '-c', '2', '-i', '0.2', '-W', '10', a).stdout
        check(' 0% packet loss' in out, out)


def bulk_both_ways(w):
    g = guest(w)
    data = random.Random(6).randbytes(1 << 20)
    digest = hashlib.sha256()
    for _ in range(BULK >> 20):
        digest.update(data)

    def send(c, peer):
        for _ in range(BULK >> 20):
            c.sendall(data)

    def receive(c, peer=None):
        h, n = hashlib.sha256(), 0
        while b := c.recv(1 << 20):
            h.update(b)
            n += len(b)
        return n, h.hexdigest()

    port, job = serve(w.outside, OUTSIDE6, send)
    with g.socket(family=socket.AF_INET6, timeout=100) as c:
        c.connect((OUTSIDE6, port))
        equal(receive(c), (BULK, digest.hexdigest()), 'down')
    job.wait()
    port, job = serve(w.outside, OUTSIDE6, receive)
    with g.socket(family=socket.AF_INET6, timeout=100) as c:
        c.connect((OUTSIDE6, port))
        send(c, None)
    equal(job.wait(100), (BULK, digest.hexdigest()), 'up')


def curl_to_the_hosts_loopback(w):
    need('curl')
    g = guest(w)

    def http(c, peer):
        c.recv(4096)
        c.sendall(b'HTTP/1.0 200 OK\r\n\r\nhello by ' + peer[0].encode())
    port, job = serve(w.host, '::1', http)
    equal(g.run('curl', '-6', '-sS', '-m', '10', f'http://[{prefix(w)}fe]:{port}/').stdout, 'hello by ::1')
    job.wait()


def udp(w):
    g = guest(w)
    with w.outside.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as s, g.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as c:
        s.bind((OUTSIDE6, 0))
        for size in 0, 1, 1400, 9000, 65000:
            c.sendto(b'x' * size, (OUTSIDE6, s.getsockname()[1]))
            data, peer = s.recvfrom(70000)
            equal(len(data), size, 'up')
            s.sendto(data, peer)
            equal(len(c.recv(70000)), size, 'down')
        # a port nobody is at: told at once
        c.connect((OUTSIDE6, 9))
        c.send(b'x')
        try:
            c.recv(10)
            check(False, 'no error')
        except ConnectionRefusedError:
            pass


def refused_and_unreachable(w):
    g = guest(w)
    for dst, error in ((OUTSIDE6, ConnectionRefusedError), (prefix(w) + '77', OSError)):
        with g.socket(family=socket.AF_INET6, timeout=10) as c:
            try:
                c.connect((dst, 9))
                check(False, 'connected')
            except error:
                pass


def dns(w):
    need('dig')
    g = guest(w)
    server = prefix(w) + '1'
    for extra in [], ['+tcp']:
        for args, expected in ((['gateway.vnet.internal', 'A'], netns.GATEWAY), (['gateway.vnet.internal', 'AAAA'], server),
                               (['host.vnet.internal', 'AAAA'], prefix(w) + 'fe'), (['-x', server], 'gateway.vnet.internal.')):
            equal(g.run('dig', '-6', '+short', *extra, f'@{server}', *args).stdout.strip(), expected)


# ---- in ----

def forwards(w):
    """On ::1 and on the host's address, to the guest's IPv6 and IPv4 addresses."""
    g = guest(w)
    w.ctl('expose', '[::1]:8061', f'[{g.addr6}]:8061')
    w.ctl('expose', f'[{HOST6}]:8062', f'[{g.addr6}]:8061')
    w.ctl('expose', '[::1]:8063', f'{g.addr}:8064')

    for where, ns, family, port, source in (
            (('::1', 8061), w.host, socket.AF_INET6, 8061, prefix(w) + '1'), ((HOST6, 8062), w.outside, socket.AF_INET6, 8061, OUTSIDE6),
            (('::1', 8063), w.host, socket.AF_INET, 8064, netns.GATEWAY)):
        with g.socket(family=family) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(('', port))
            s.listen(4)

            def answer(s=s):
                c, peer = s.accept()
                with c:
                    c.sendall(b'you are ' + peer[0].encode())
            job = Job(answer)
            with ns.socket(family=socket.AF_INET6) as c:
                c.connect(where)
                equal(read_all(c).decode(), 'you are ' + source)
            job.wait()
    for local in '[::1]:8061', f'[{HOST6}]:8062', '[::1]:8063':
        w.ctl('unexpose', local)


# ---- the host's ways out ----

def way_out_lost_and_found(w):
    """No default route in the guest while the host has none; what is inside works all the same; and back again."""
    g = guest(w)
    wait_until(lambda: default_route(g), 20, 'a default route')
    w.host.run('ip', '-6', 'route', 'del', 'default')
    wait_until(lambda: not default_route(g), 20, 'the default route is gone')
    g.run('ping', '-6', '-c', '1', '-W', '10', prefix(w) + '1')
    way_out(w)
    wait_until(lambda: default_route(g), 20, 'the default route is back')


def address_lost(w):
    """A connection from an address the host has no more is reset at once; another lives."""
    g = guest(w)
    other = '2001:db8:1::11'
    listener = w.outside.socket(family=socket.AF_INET6)
    listener.bind((OUTSIDE6, 0))
    listener.listen(4)
    with listener, g.socket(family=socket.AF_INET6) as c, g.socket() as c4:
        w.host.run('ip', 'addr', 'add', other + '/64', 'dev', 'veth0', 'nodad')
        w.host.run('ip', '-6', 'route', 'replace', OUTSIDE6 + '/128', 'dev', 'veth0', 'src', other)
        c.connect(listener.getsockname()[:2])
        conn, peer = listener.accept()
        equal(peer[0], other, 'the source')
        l4 = w.outside.listen(netns.OUTSIDE)
        c4.connect(l4.getsockname())
        conn4, _ = l4.accept()
        with conn, conn4, l4:
            w.host.run('ip', '-6', 'route', 'del', OUTSIDE6 + '/128')
            w.host.run('ip', 'addr', 'del', other + '/64', 'dev', 'veth0')
            c.settimeout(20)
            try:
                c.recv(1)
                check(False, 'an end of stream')
            except ConnectionResetError:
                pass
            conn4.sendall(b'x')
            equal(c4.recv(1), b'x')


if __name__ == '__main__':
    netns.main([slaac, rdisc6_field_by_field, ndisc6_finds_gateway_and_host, dhclient_gets_all, dhcpcd_gets_all, ping, bulk_both_ways, curl_to_the_hosts_loopback, udp,
                refused_and_unreachable, dns, forwards, way_out_lost_and_found, address_lost])
