#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that speak IPv6 alone, NAT64 and DNS64, real clients, and programs that fetch by IPv6: what test-ip6.py leaves."""

import hashlib
import http.server
import importlib
import ipaddress
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time

import netns
from netns import Job, check, equal, need, run, wait_until

ip6 = importlib.import_module('test-ip6')
Guest6, OUTSIDE6 = ip6.Guest6, ip6.OUTSIDE6
OUTSIDE64 = '64:ff9b::cb00:7102'  # 203.0.113.2
BULK = (1024 if netns.SLOW else 256) << 20
NETWORKD = '/lib/systemd/systemd-networkd'


class Resolver:
    """A name server by UDP in @ns: names have the addresses said in @names, a list each; others are not there."""

    def __init__(self, ns, addr, names):
        self.names, self.asked = names, []
        self.udp = ns.socket(socket.SOCK_DGRAM, timeout=None)
        self.udp.bind((addr, 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def answer(self, query):
        end = query.index(b'\0', 12) + 5
        kind, = struct.unpack('!H', query[end - 4:end - 2])
        labels, i = [], 12
        while query[i]:
            labels.append(query[i + 1:i + 1 + query[i]].decode().lower())
            i += 1 + query[i]
        name = '.'.join(labels)
        self.asked.append((name, kind))
        data = []
        for v in self.names.get(name, []):
            if kind == 12 and not v[0].isdigit():
                data.append(b''.join(bytes([len(label)]) + label.encode() for label in v.split('.')) + b'\0')
            elif kind in (1, 28) and (v[0].isdigit()):
                a = ipaddress.ip_address(v)
                if (a.version, kind) in ((4, 1), (6, 28)):
                    data.append(a.packed)
        head = query[:2] + struct.pack('!5H', 0x8180 if name in self.names else 0x8183, 1, len(data), 0, 0)
        return head + query[12:end] + b''.join(b'\xc0\x0c' + struct.pack('!HHIH', kind, 1, 60, len(d)) + d for d in data)

    def serve(self):
        while True:
            query, peer = self.udp.recvfrom(65535)
            self.udp.sendto(self.answer(query), peer)


def furnish(w):
    """The host and the outside have both families; the outside knows a few names; a network of IPv6 alone."""
    ip6.furnish(w)
    if getattr(w, 'has_six', None) == w.n:
        return
    w.has_six = w.n
    w.names = Resolver(w.outside, netns.OUTSIDE, {
        'four.example': [netns.OUTSIDE], 'both.example': [netns.OUTSIDE, OUTSIDE6], 'private.example': ['10.0.0.1'],
        '2.113.0.203.in-addr.arpa': ['four.example'],
    })
    w.ctl('network', 'create', 'six', '--subnet=none', '--nat64=well-known')
    w.ctl('network', 'create', 'own', '--subnet=none', '--nat64=64:ff9b:1::/96')
    w.six_prefix = prefix(w, 'six')


def prefix(w, network):
    return run(*w.ctl_argv('network', 'show', network)).stdout.split('Subnet6: ')[1].split('/')[0]


def guest(w, network='six', name=None):
    """The guest of a network that the cases share, with its addresses."""
    furnish(w)
    name = name or network + '-guest'
    for g in w.guests:
        if g.name == name:
            return g
    g = Guest6(w, name, offloads=w.offloads, configure=False, network=network)
    w.guests.append(g)
    g.prefix = prefix(w, network)
    g.addr6 = wait_until(lambda: ip6.address(g, g.prefix), 10, 'an address by SLAAC')
    wait_until(lambda: ip6.default_route(g), 20, 'a default route')
    return g


def dig(g, *args):
    return sorted(g.run('dig', '-6', '+short', '+tries=2', '+time=3', f'@{g.prefix}1', *args).stdout.split())


# ---- real clients ----

def networkd(w, g, what, settings):
    """Runs systemd-networkd in @g until eth0 is configured: what it says of the link."""
    state = os.path.join(w.dir, f'networkd.{what}')
    os.makedirs(state)
    netns.write(state + '/setup', f"""set -e
mount -t sysfs -o ro sysfs /sys
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network: /run/systemd/netif 2>/dev/null || :
printf '%s\\n' '[Match]' 'Name=eth0' '[Network]' 'LinkLocalAddressing=ipv6' {' '.join(f"'{s}'" for s in settings)} >/run/systemd/network/10-eth0.network
{NETWORKD} 2>{state}/log &
for i in $(seq 200); do
        cat /run/systemd/netif/links/* >{state}/links.new 2>/dev/null || :
        mv {state}/links.new {state}/links
        [ -e {state}/end ] && break
        sleep 0.1
done
kill $!
""")
    p = w.spawn('unshare', '--mount', 'sh', state + '/setup', ns=g)
    return p, lambda: netns.read(state + '/links'), lambda: netns.read(state + '/log')[-2000:], state + '/end'


def networkd_gets(w, g, what, settings, wanted, then):
    """Waits until all that is @wanted is said of the link, and calls @then while the client runs."""
    p, links, log, end = networkd(w, g, what, settings)
    try:
        wait_until(lambda: all(x in links() for x in wanted), 30, lambda: f'{wanted}: {links()} {log()}')
        wait_until(lambda: 'proto ra' in ip6.default_route(g), 10, lambda: f'a default route: {ip6.default_route(g)} {log()}')
        then()
    finally:
        netns.write(end, '')
        p.wait(10)


def global_addresses(g):
    """Each with the length of its prefix."""
    lines = g.run('ip', '-o', '-6', 'addr', 'show', 'dev', 'eth0', 'scope', 'global').stdout.splitlines()
    return dict(line.split('inet6 ')[1].split()[0].split('/') for line in lines)


def networkd_by_slaac(w):
    """Router advertisement alone: address, route, DNS server and search domain."""
    if not os.path.exists(NETWORKD):
        raise netns.Unavailable('systemd-networkd is not there')
    furnish(w)
    g = Guest6(w, 'nd-slaac', offloads=w.offloads, configure=False, network='six')
    w.guests.append(g)

    def then():
        equal(len(global_addresses(g)), 1)
        check(list(global_addresses(g))[0].startswith(w.six_prefix.rstrip(':')), global_addresses(g))
        equal(g.run('ping', '-6', '-c', '1', '-W', '10', OUTSIDE6).returncode, 0)
    networkd_gets(w, g, 'slaac', ['DHCP=no', 'IPv6AcceptRA=yes', '[IPv6AcceptRA]', 'DHCPv6Client=no', 'UseDomains=yes'],
                  [f'DNS={w.six_prefix}1', 'vnet.internal', 'example.test', 'ADMIN_STATE=configured'], then)


def networkd_by_dhcp6(w):
    """As the flags of the advertisement say: DHCPv6 as well, in a network of both families."""
    if not os.path.exists(NETWORKD):
        raise netns.Unavailable('systemd-networkd is not there')
    furnish(w)
    g = Guest6(w, 'nd-dhcp', offloads=w.offloads, configure=False)
    w.guests.append(g)

    def then():
        wait_until(lambda: sorted(global_addresses(g).values()) == ['128', '64'], 10, lambda: f'an address by DHCPv6, one by SLAAC: {global_addresses(g)}')
        check('192.168.127.' in g.run('ip', '-4', 'addr', 'show', 'dev', 'eth0').stdout, 'IPv4')
        for a in global_addresses(g):
            wait_until(lambda a=a: g.run('ping', '-6', '-c', '1', '-W', '3', '-I', a, OUTSIDE6, ok=False).returncode == 0, 10, f'{a} is of use')
    networkd_gets(w, g, 'dhcp', ['DHCP=yes', 'IPv6AcceptRA=yes'],
                  [f'{ip6.prefix(w)}1', netns.GATEWAY, 'DHCP6_CLIENT_DUID=', 'ADMIN_STATE=configured'], then)


def dhclient_stateless(w):
    need('dhclient')
    g = guest(w)
    out = os.path.join(w.dir, 'dhclient-s')
    netns.write(out + '.conf', 'also request dhcp6.name-servers, dhcp6.domain-search;\n')
    script = netns.world_script(w, 'dhclient-s-script', f'#!/bin/sh\nenv >>{out}\nexit 0\n')
    p = w.spawn('dhclient', '-6', '-S', '-d', '-1', '-cf', out + '.conf', '-sf', script, '-lf', out + '.leases', '-pf', out + '.pid', 'eth0', ns=g)
    try:
        wait_until(lambda: f'new_dhcp6_name_servers={g.prefix}1' in netns.read(out), 20, lambda: netns.read(out))
        check('new_dhcp6_domain_search=vnet.internal. example.test.' in netns.read(out), netns.read(out))
    finally:
        p.terminate()
        p.wait(10)


def udhcpc6(w):
    """busybox's client, where busybox has it (Debian's has not): UDHCPC6 names a program."""
    program = os.environ.get('UDHCPC6', 'busybox')
    if 'udhcpc6' not in run(program, '--list', ok=False).stdout.split():
        raise netns.Unavailable(f'{program} has no udhcpc6')
    g = guest(w)
    out = os.path.join(w.dir, 'udhcpc6')
    script = netns.world_script(w, 'udhcpc6-script', f'#!/bin/sh\n[ "$1" = bound ] && env >{out}\nexit 0\n')
    g.run(program, 'udhcpc6', '-f', '-q', '-n', '-t', '10', '-T', '1', '-i', 'eth0', '-O', 'dns', '-O', 'search', '-s', script, timeout=40)
    got = dict(line.split('=', 1) for line in netns.read(out).splitlines() if '=' in line)
    check(ipaddress.ip_address(got['ipv6']) in ipaddress.ip_network(g.prefix + '/64'), got)
    equal(ipaddress.ip_address(got['dns']), ipaddress.ip_address(g.prefix + '1'))
    check('vnet.internal' in got['search'], got)
    check(got['lease'], got)


def v6only_preferred(w):
    """DHCPv4's option 108 where NAT64 is, to who asks."""
    furnish(w)
    w.ctl('network', 'create', 'mostly', '--nat64=well-known')
    g = netns.Guest(w, 'mostly', offloads=w.offloads, configure=False, network='mostly')
    w.guests.append(g)
    script = netns.world_script(w, 'dump', netns.DUMP)
    equal(g.dhcp(script, '-O', '108').get('opt108'), '00000708')
    check('opt108' not in g.dhcp(script), 'nobody asked')


# ---- names of DHCPv6 clients ----

def names_by_dhcp6(w):
    """`dhclient -6` says its name: DNS has it on a network of IPv6 alone, both ways, until it is given back."""
    need('dhclient', 'dig')
    furnish(w)
    g = Guest6(w, 'named', offloads=w.offloads, configure=False, network='six')
    w.guests.append(g)
    asking = guest(w)
    out = os.path.join(w.dir, 'dhclient-fqdn')
    netns.write(out + '.conf', 'send fqdn.fqdn "web.example.org";\nsend fqdn.server-update on;\nalso request dhcp6.fqdn;\n')
    script = netns.world_script(w, 'dhclient-fqdn-script', f"""#!/bin/sh
case $reason in BOUND6) ip addr add $new_ip6_address/128 dev eth0; env >{out}.new && mv {out}.new {out};; esac
exit 0
""")
    args = ['-6', '-cf', out + '.conf', '-sf', script, '-lf', out + '.leases', '-pf', out + '.pid']
    g.await_link_local()
    p = w.spawn('dhclient', '-d', '-1', *args, 'eth0', ns=g, stderr=open(out + '.err', 'w'))
    wait_until(lambda: os.path.exists(out), 30, lambda: 'dhclient: ' + netns.read(out + '.err'))
    got = dict(line.split('=', 1) for line in netns.read(out).splitlines() if '=' in line)
    a = got['new_ip6_address']
    wire = b'\1\3web\4vnet\x08internal\0'  # the server does the records
    equal(got.get('new_dhcp6_fqdn'), ':'.join(f'{b:x}' for b in wire))
    equal(dig(asking, 'web.vnet.internal', 'AAAA'), [a])
    equal(dig(asking, 'web', 'AAAA'), [a])
    equal(dig(asking, 'web.vnet.internal', 'A'), [])
    equal(dig(asking, '-x', a), ['web.vnet.internal.'])
    wait_until(lambda: asking.run('ping', '-6', '-c', '1', '-W', '3', a, ok=False).returncode == 0, 10, 'it answers there')
    p.terminate()
    p.wait(10)
    g.run('dhclient', '-r', *args, 'eth0')
    wait_until(lambda: dig(asking, 'web.vnet.internal', 'AAAA') == [], 20, 'the name is given back')
    equal(dig(asking, '-x', a), [])


def names_by_dhcpcd(w):
    """dhcpcd sends its host name to both; here by IPv6 alone."""
    need('dhcpcd', 'dig')
    furnish(w)
    g = Guest6(w, 'cpcd', offloads=w.offloads, configure=False, network='six')
    w.guests.append(g)
    conf = os.path.join(w.dir, 'dhcpcd-fqdn.conf')
    netns.write(conf, 'ipv6only\nduid\nhostname mail\nfqdn both\nscript /bin/true\nia_na 1\n')
    p = w.spawn('unshare', '--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /var/lib/dhcpcd && '
                f'exec dhcpcd -B -6 -f {conf} --noconfigure eth0 >{conf}.log 2>&1', ns=g)
    try:
        a = wait_until(lambda: dig(guest(w), 'mail.vnet.internal', 'AAAA'), 25, lambda: netns.read(conf + '.log'))
        check(ipaddress.ip_address(a[0]) in ipaddress.ip_network(w.six_prefix + '/64'), a)
        equal(dig(guest(w), '-x', a[0]), ['mail.vnet.internal.'])
    finally:
        p.terminate()
        p.wait(10)


# ---- a network of IPv6 alone ----

def no_ip4(w):
    g = guest(w)
    show = w.ctl('network', 'show', 'six')
    check('Nat64: 64:ff9b::/96' in show and ' Subnet: -' in show, show)
    r = g.run('busybox', 'udhcpc', '-f', '-q', '-n', '-t', '2', '-T', '1', '-i', 'eth0', '-s', '/bin/true', ok=False)
    check(r.returncode != 0, 'somebody answers by DHCP')
    equal(dig(g, 'gateway.vnet.internal', 'A'), [])
    equal(dig(g, 'gateway.vnet.internal', 'AAAA'), [g.prefix + '1'])


def survives_a_restart(w):
    """The network comes back as it was."""
    furnish(w)
    before = w.ctl('network', 'show', 'six')
    w.ctl('network', 'create', 'restart', '--subnet=none', '--nat64=64:ff9b:1:2::/96')
    text = ''.join(netns.read(f'{w.dir}/state/{name}') for name in os.listdir(w.dir + '/state'))
    check('"nat64":"64:ff9b:1:2::/96"' in text.replace(' ', '') and '"subnet":"none"' in text.replace(' ', ''), text)
    w.ctl('network', 'remove', 'restart')
    equal(w.ctl('network', 'show', 'six'), before)


# ---- vnetctl run and attach ----

class HostListener:
    """Greets who comes to the host's loopback by IPv6, as HTTP."""

    def __init__(self, w):
        self.socket = w.host.socket(family=socket.AF_INET6, timeout=None)
        self.socket.bind(('::1', 0))
        self.socket.listen(8)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            c, peer = self.socket.accept()
            with c:
                c.recv(4096)
                c.sendall(b'HTTP/1.0 200 OK\r\n\r\nhello by ' + peer[0].encode())


def probe(prefix, port):
    """What a command in the guest does, one line each, at once and with no word about addresses."""
    return ['sh', '-c', f"""ip -o -6 addr show dev eth0 scope global | grep -c '{prefix.rstrip(':')}:'
ip -6 route show default | grep -c 'proto ra'
ping -6 -c 1 -W 3 {prefix}1 | grep -c ' 0% packet loss'
ping -6 -c 1 -W 3 {OUTSIDE6} | grep -c ' 0% packet loss'
curl -6 -sS -m 10 http://[{prefix}fe]:{port}/; echo
curl -6 -sS -m 10 http://host.vnet.internal:{port}/; echo
dig +short gateway.vnet.internal AAAA
dig +short gateway AAAA +search
ip -o -4 addr show dev eth0 | wc -l
ip -o link show dev eth0 | sed 's/.* mtu \\([0-9]*\\).*/\\1/'
cat /etc/resolv.conf"""]


def run_by_ip6_alone(w):
    need('ping', 'curl', 'dig')
    guest(w)  # the network has seen the way out
    port = HostListener(w).port
    began = time.monotonic()
    out = w.ctl('run', '--network=six', '--', *probe(w.six_prefix, port)).splitlines()
    netns.comment(f'run on a network of IPv6 alone: {time.monotonic() - began:.1f} s with all its probes')
    equal(out, ['1', '1', '1', '1', 'hello by ::1', 'hello by ::1', w.six_prefix + '1', w.six_prefix + '1', '0', '65520',
                f'nameserver {w.six_prefix}1', 'search vnet.internal example.test'])
    equal(w.ctl('run', '--network=six', '--mtu=1300', '--', 'ip', '-o', 'link', 'show', 'dev', 'eth0').split(' mtu ')[1].split()[0], '1300')
    equal(w.ctl('run', '--network=six', '--', 'sh', '-c', 'exit 7', ok=False).returncode, 7)
    r = w.ctl('run', '--network=six', '--no-configure', '--', 'cat', '/proc/net/dev')
    check('eth0' in r, r)


def run_by_both(w):
    need('ping', 'curl', 'dig')
    guest(w)
    port = HostListener(w).port
    start = ip6.prefix(w)
    out = w.ctl('run', '--', *probe(start, port)).splitlines()
    equal(out, ['1', '1', '1', '1', 'hello by ::1', 'hello by ::1', start + '1', start + '1', '1', '65520',
                f'nameserver {netns.GATEWAY}', 'search vnet.internal example.test'])


def run_publishes(w):
    """A port of the command, on a network of IPv6 alone."""
    furnish(w)
    with w.host.listen('127.0.0.1') as s:
        port = s.getsockname()[1]
    p = w.spawn(*w.ctl_argv('run', '--network=six', f'--publish=127.0.0.1:{port}:8080', '--', sys.executable, '-c', '''
import socket
s = socket.create_server(('::', 8080), family=socket.AF_INET6)
while True:
    c, _ = s.accept()
    c.sendall(b'hello')
    c.close()
'''))
    try:
        def greet():
            try:
                with w.host.socket(timeout=3) as c:
                    c.connect(('127.0.0.1', port))
                    return c.recv(100)
            except OSError:
                return b''
        wait_until(lambda: greet() == b'hello', 15, 'the published port')
    finally:
        p.terminate()
        p.wait(20)


def attach_by_ip6_alone(w):
    guest(w)
    p = subprocess.Popen(['unshare', '-n', 'sh', '-c', 'echo ready; exec sleep 60'], stdout=subprocess.PIPE, text=True)
    try:
        p.stdout.readline()
        out = w.ctl('attach', '--network=six', str(p.pid))
        a = out.split()[1].rstrip(',')
        check(ipaddress.ip_address(a) in ipaddress.ip_network(w.six_prefix + '/64'), out)
        check(' 0% packet loss' in run('nsenter', f'--net=/proc/{p.pid}/ns/net', 'ping', '-6', '-c', '1', '-W', '10', OUTSIDE6).stdout, 'ping')
    finally:
        p.kill()
        p.wait()


def run_without_ip6(w):
    """Where the kernel is told not to, it is said at once; IPv4 works all the same where there is."""
    furnish(w)
    path = '/proc/sys/net/ipv6/conf/default/disable_ipv6'
    p = subprocess.Popen(['unshare', '-n', 'sh', '-c', f'echo 1 >{path}; echo ready; exec sleep 60'], stdout=subprocess.PIPE, text=True)
    try:
        p.stdout.readline()
        r = w.ctl('attach', '--network=six', str(p.pid), ok=False)
        check(r.returncode == 1 and 'IPv6 is disabled' in r.stderr, r)
        check(w.ctl('attach', str(p.pid)).startswith('eth0: 192.168.127.'), 'IPv4')
    finally:
        p.kill()
        p.wait()


# ---- DNS64 ----

def dns64(w):
    need('dig')
    g = guest(w)
    for extra in [], ['+edns=0'], ['+noedns']:
        equal(dig(g, 'four.example', 'AAAA', *extra), [OUTSIDE64])
        equal(dig(g, 'both.example', 'AAAA', *extra), [OUTSIDE6])
        equal(dig(g, 'private.example', 'AAAA', *extra), [], 'not by the well-known prefix')
        equal(dig(g, 'nowhere.example', 'AAAA', *extra), [])
    equal(dig(g, 'four.example', 'A'), [netns.OUTSIDE])
    equal(dig(g, 'ipv4only.arpa', 'AAAA'), ['64:ff9b::c000:aa', '64:ff9b::c000:ab'])
    equal(dig(g, '-x', OUTSIDE64), ['2.113.0.203.in-addr.arpa.', 'four.example.'])
    check(all(name != 'ipv4only.arpa' for name, _ in w.names.asked), 'ipv4only.arpa is not asked of others')
    own = guest(w, 'own')
    equal(dig(own, 'private.example', 'AAAA'), ['64:ff9b:1::a00:1'])


# ---- NAT64 ----

class Handler(http.server.BaseHTTPRequestHandler):
    """GET gives BULK bytes of a pattern, PUT tells the sha256 of what came."""
    protocol_version = 'HTTP/1.1'
    block = random.Random(6).randbytes(1 << 20)

    def do_GET(self):
        n = int(self.path[1:])
        self.send_response(200)
        self.send_header('Content-Length', str(n))
        self.end_headers()
        while n > 0:
            n -= self.wfile.write(self.block[:n])

    def do_PUT(self):
        h, n = hashlib.sha256(), int(self.headers['Content-Length'])
        if self.headers.get('Expect') == '100-continue':
            self.send_response_only(100)
            self.end_headers()
        while n > 0:
            b = self.rfile.read1(min(n, 1 << 20))
            h.update(b)
            n -= len(b)
        body = h.hexdigest().encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, ns, addr):
        self.address_family = socket.AF_INET6 if ':' in addr else socket.AF_INET
        with ns.inside():
            super().__init__((addr, 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def pattern_digest(n):
    h = hashlib.sha256()
    while n > 0:
        h.update(Handler.block[:n])
        n -= min(n, len(Handler.block))
    return h.hexdigest()


def curl_both_ways(g, url, n):
    out = g.run('sh', '-c', f'curl -6 -sS -m 600 {url}/{n} | sha256sum', timeout=650).stdout.split()[0]
    equal(out, pattern_digest(n), 'down')
    path = os.path.join(g.world.dir, 'upload')
    if not os.path.exists(path) or os.path.getsize(path) != n:
        with open(path, 'wb') as f:
            for _ in range(n >> 20):
                f.write(Handler.block)
    out = g.run('curl', '-6', '-sS', '-m', '600', '-T', path, url + '/x', timeout=650).stdout
    equal(out, pattern_digest(n), 'up')
    os.unlink(path)


def curl_of_a_gibibyte(w):
    """`curl -6` down and up with equal sha256, from a guest of both families and one of IPv6 alone."""
    need('curl')
    furnish(w)
    s = Server(w.outside, OUTSIDE6)
    url = f'http://[{OUTSIDE6}]:{s.server_address[1]}'
    for g in ip6.guest(w), guest(w):
        curl_both_ways(g, url, BULK)
        netns.comment(f'{g.name}: {BULK >> 20} MiB each way, sha256 {pattern_digest(BULK)[:16]}...')
    s.shutdown()


def nat64_tcp(w):
    """By name, through DNS64, as a program of the guest would; the client's own address does not matter."""
    need('curl')
    g = guest(w)
    s = Server(w.outside, netns.OUTSIDE)
    port = s.server_address[1]
    netns.write('/etc/resolv.conf.six', f'nameserver {g.prefix}1\n')
    try:
        run('mount', '--bind', '/etc/resolv.conf.six', '/etc/resolv.conf')
        out = g.run('curl', '-6', '-sS', '-m', '20', '-o', '/dev/null', '-w', '%{remote_ip} %{http_code} %{size_download}',
                    f'http://four.example:{port}/1000').stdout
    finally:
        run('umount', '/etc/resolv.conf')
    equal(out, f'{OUTSIDE64} 200 1000')
    curl_both_ways(g, f'http://[64:ff9b::203.0.113.2]:{port}', BULK // 8)
    s.shutdown()
    s.server_close()
    with g.socket(family=socket.AF_INET6, timeout=10) as c:
        try:
            c.connect((OUTSIDE64, port))
            check(False, 'connected')
        except ConnectionRefusedError:
            pass


def nat64_udp(w):
    g = guest(w)
    with w.outside.socket(socket.SOCK_DGRAM) as four, w.outside.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as six, \
            g.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as c:
        four.bind((netns.OUTSIDE, 0))
        six.bind((OUTSIDE6, 0))
        for size in 0, 1, 1400, 9000, 60000:
            for s, to in (four, OUTSIDE64), (six, OUTSIDE6):  # from one port of the guest to both families
                c.sendto(b'x' * size, (to, s.getsockname()[1]))
                data, peer = s.recvfrom(70000)
                equal(len(data), size, 'up')
                s.sendto(data, peer)
                data, peer = c.recvfrom(70000)
                equal((len(data), peer[0]), (size, to), 'down')
    with g.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as c:
        c.connect((OUTSIDE64, 9))
        c.send(b'x')
        try:
            c.recv(10)
            check(False, 'no error')
        except ConnectionRefusedError:
            pass


def nat64_ping(w):
    need('ping')
    g = guest(w)
    for size in 0, 56, 1400, 8000:
        out = g.run('ping', '-6', '-c', '2', '-i', '0.2', '-W', '10', '-s', size, OUTSIDE64).stdout
        check(' 0% packet loss' in out, out)
    out = g.run('ping', '-6', '-c', '1', '-t', '1', '-W', '2', OUTSIDE64, ok=False).stdout
    check(f'From {g.prefix}1' in out or 'From _gateway' in out or 'Time exceeded' in out, out)


def nat64_is_no_way_around(w):
    """Nothing listens to guests on the host's loopback by any disguise, nor does what policy refuses."""
    six, own = guest(w), guest(w, 'own')
    with w.host.listen('0.0.0.0') as listener, w.host.socket(family=socket.AF_INET6) as six_listener:
        port = listener.getsockname()[1]
        six_listener.bind(('::1', port))
        six_listener.listen(4)
        for g, start in (six, '64:ff9b::'), (own, '64:ff9b:1::'):
            for a in '127.0.0.1', '127.1.2.3', '0.0.0.0', '0.1.2.3', '169.254.169.254', '192.168.127.254', '192.168.127.1', '192.0.0.1', \
                    '192.0.0.6', '224.0.0.1', '255.255.255.255', '240.0.0.1':
                with g.socket(family=socket.AF_INET6, timeout=3) as c:
                    try:
                        c.connect((start + a, port))
                        check(False, f'{start}{a} is reached')
                    except (OSError, TimeoutError) as e:
                        check(not isinstance(e, TimeoutError), f'{start}{a} hangs')
            for a in '::ffff:127.0.0.1', '::127.0.0.1', '::1', '::':
                with g.socket(family=socket.AF_INET6, timeout=3) as c:
                    try:
                        c.connect((a, port))
                        check(False, f'{a} is reached')
                    except OSError:
                        pass
        listener.settimeout(0.2)
        try:
            listener.accept()
            check(False, 'somebody came')
        except TimeoutError:
            pass


def nat64_without_ip6_outside(w):
    """The host has IPv4 alone: the guest keeps its default route, IPv4 is reached, IPv6 refused at once."""
    g = guest(w)
    w.host.run('ip', '-6', 'route', 'del', 'default')
    w.host.run('ip', 'route', 'add', 'default', 'via', netns.OUTSIDE)
    try:
        wait_until(lambda: ip6.default_route(g), 20, 'a default route')
        both = ip6.guest(w)
        wait_until(lambda: not ip6.default_route(both), 20, 'without NAT64 it is gone')
        check(ip6.default_route(g), 'with NAT64 it stays')
        check(' 0% packet loss' in g.run('ping', '-6', '-c', '1', '-W', '10', OUTSIDE64).stdout, 'IPv4')
        with g.socket(family=socket.AF_INET6, timeout=5) as c:
            try:
                c.connect(('2001:db8:77::1', 9))
                check(False, 'connected')
            except OSError as e:
                check(not isinstance(e, TimeoutError), 'refused at once')
    finally:
        w.host.run('ip', 'route', 'del', 'default')
        ip6.way_out(w)
    wait_until(lambda: ip6.default_route(g), 20, 'a default route again')


if __name__ == '__main__':
    netns.main([networkd_by_slaac, networkd_by_dhcp6, dhclient_stateless, udhcpc6, v6only_preferred, names_by_dhcp6,
                names_by_dhcpcd, no_ip4, survives_a_restart, run_by_ip6_alone, run_by_both, run_publishes, attach_by_ip6_alone, run_without_ip6, dns64,
                curl_of_a_gibibyte, nat64_tcp, nat64_udp, nat64_ping, nat64_is_no_way_around, nat64_without_ip6_outside])
