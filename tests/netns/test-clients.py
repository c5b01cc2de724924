#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real clients inside a guest: DHCP, DNS, HTTP, ping, a session that idles, a storm of short connections."""

import hashlib
import json
import os
import random
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time

import netns
from netns import (GATEWAY, HOST, HOST_ADDRESS, OUTSIDE, OUTSIDE2, SLOW, Failed, Job, check, comment, equal, need, read_exactly, run,
                   wait_until, world_script)

BULK = (1024 if SLOW else 256) << 20
STORM = 10000
IDLE_SEC = 20 * 60 if SLOW else 5
HERE = os.path.dirname(os.path.abspath(__file__))


def the_guest(w):
    """The guest the cases share, plugged in by the first that needs it."""
    for g in w.guests:
        if g.name == 'g1':
            return g
    return w.guest('g1')


# ---- DHCP ----

def udhcpc_gets_all(w):
    need('busybox')
    g = w.guest('dhcp1', configure=False)
    lease = g.dhcp(world_script(w, 'dump', netns.DUMP), '-x', 'hostname:box1', '-O', 'search', '-O', 'hostname', '-O', 'mtu')
    check(lease['ip'].startswith('192.168.127.'), lease)
    for name, expected in (('subnet', '255.255.255.0'), ('mask', '24'), ('router', GATEWAY), ('dns', GATEWAY), ('serverid', GATEWAY),
                           ('broadcast', '192.168.127.255'), ('domain', 'vnet.internal'), ('mtu', str(w.mtu)), ('lease', '3600'),
                           ('hostname', 'box1'), ('search', 'vnet.internal example.test')):
        equal(lease.get(name), expected, f'option {name}')

    # the same client again, which stays, and gives its lease back when told to (SIGUSR2)
    out = os.path.join(w.dir, 'again')
    p = w.spawn('busybox', 'udhcpc', '-f', '-i', 'eth0', '-s', world_script(w, 'configure', netns.CONFIGURE), ns=g,
                env={**os.environ, 'OUT': out}, stderr=subprocess.DEVNULL)
    wait_until(lambda: f"ip={lease['ip']}\n" in netns.read(out), 20, 'the same address for the same client')
    wait_until(lambda: lease['ip'] in g.run('ip', 'addr').stdout, 20, 'the address is set up')
    check(lease['ip'] in w.ctl('leases'), w.ctl('leases'))
    p.send_signal(signal.SIGUSR2)
    wait_until(lambda: lease['ip'] not in w.ctl('leases'), 20, 'the lease given back is gone')
    p.terminate()
    p.wait(10)
    w.drop_guest(g)


DHCLIENT_CONF = '''
send host-name "box2";
request subnet-mask, broadcast-address, routers, domain-name, domain-search, domain-name-servers, host-name, interface-mtu,
        dhcp-lease-time, dhcp-renewal-time, dhcp-rebinding-time, dhcp-server-identifier;
'''


def dhclient_gets_all(w):
    need('dhclient')
    g = w.guest('dhcp2', configure=False)
    out, conf = os.path.join(w.dir, 'dhclient.out'), os.path.join(w.dir, 'dhclient.conf')
    netns.write(conf, DHCLIENT_CONF)
    script = world_script(w, 'dhclient-script', f'#!/bin/sh\n[ "$reason" = BOUND ] && env >{out}.new && mv {out}.new {out}\nexit 0\n')
    p = w.spawn('dhclient', '-d', '-1', '-cf', conf, '-sf', script, '-lf', out + '.leases', '-pf', out + '.pid', 'eth0', ns=g,
                stderr=open(out + '.err', 'w'))
    wait_until(lambda: os.path.exists(out), 30, 'dhclient: ' + open(out + '.err').read())
    with open(out) as f:
        lease = dict(line.rstrip('\n').split('=', 1) for line in f if '=' in line)
    check(lease['new_ip_address'].startswith('192.168.127.'), lease)
    for name, expected in (('subnet_mask', '255.255.255.0'), ('routers', GATEWAY), ('domain_name_servers', GATEWAY),
                           ('dhcp_server_identifier', GATEWAY), ('broadcast_address', '192.168.127.255'),
                           ('domain_name', 'vnet.internal'), ('interface_mtu', str(w.mtu)), ('dhcp_lease_time', '3600'),
                           ('dhcp_renewal_time', '1800'), ('dhcp_rebinding_time', '3150'), ('host_name', 'box2'),
                           ('domain_search', 'vnet.internal. example.test.')):
        equal(lease.get('new_' + name), expected, f'option {name}')
    p.terminate()
    p.wait(10)
    w.drop_guest(g)


# ---- DNS ----

class Resolver:
    """A name server on port 53 of @addr in @ns, by UDP and TCP. It knows big.test (4 KB of TXT), who.test (its own name), no other."""

    def __init__(self, ns, addr, name):
        self.name, self.asked = name, 0
        self.udp = ns.socket(socket.SOCK_DGRAM, timeout=None)
        self.udp.bind((addr, 53))
        self.tcp = ns.listen(addr, 53)
        self.tcp.settimeout(None)
        for fn in self.serve_udp, self.serve_tcp:
            threading.Thread(target=fn, daemon=True).start()

    def answer(self, query, limit):
        self.asked += 1
        ident, _, _, _, _, extra = struct.unpack('!6H', query[:12])
        end = query.index(b'\0', 12) + 5
        question, qname = query[12:end], query[12:end - 5]
        if extra and query[end:end + 3] == b'\0\0\x29' and limit:
            limit = max(struct.unpack('!H', query[end + 3:end + 5])[0], 512)
        texts = {b'\x03big\x04test': [bytes([65 + i % 26]) * 250 for i in range(16)],
                 b'\x03who\x04test': [self.name.encode()]}.get(qname.lower())
        flags = 0x8580 if texts else 0x8583
        body = b''.join(b'\xc0\x0c\0\x10\0\1\0\0\0\x3c' + struct.pack('!HB', len(t) + 1, len(t)) + t for t in texts or [])
        reply = struct.pack('!6H', ident, flags, 1, len(texts or []), 0, 0) + question + body
        if limit and len(reply) > limit:
            reply = struct.pack('!6H', ident, flags | 0x0200, 1, 0, 0, 0) + question
        return reply

    def serve_udp(self):
        while True:
            query, peer = self.udp.recvfrom(65535)
            self.udp.sendto(self.answer(query, 512), peer)

    def serve_tcp(self):
        while True:
            c, _ = self.tcp.accept()
            try:
                c.settimeout(10)
                while True:
                    n, = struct.unpack('!H', read_exactly(c, 2))
                    reply = self.answer(read_exactly(c, n), 0)
                    c.sendall(struct.pack('!H', len(reply)) + reply)
            except (OSError, Failed):
                c.close()


def dig(g, *args):
    out = g.run('dig', '@' + GATEWAY, '+tries=2', '+time=5', *args).stdout
    status = [line.split('status: ')[1].split(',')[0] for line in out.splitlines() if 'status: ' in line]
    check(status, 'no answer:', out)
    answers = [line for line in out.splitlines() if line and not line.startswith(';')]
    return status[-1], answers, out


def resolvers(w):
    if not hasattr(w, 'resolvers'):
        w.resolvers = [Resolver(w.outside, OUTSIDE, 'one'), Resolver(w.outside, OUTSIDE2, 'two')]
    return w.resolvers


def dns_local_names(w):
    need('dig')
    g = the_guest(w)
    for transport in '+notcp', '+tcp':
        for name, addr in (('gateway', GATEWAY), ('host', HOST_ADDRESS)):
            for domain in 'vnet.internal', 'containers.internal':
                status, answers, out = dig(g, transport, f'{name}.{domain}', 'A')
                equal(status, 'NOERROR', out)
                equal([a.split()[-1] for a in answers], [addr], f'{name}.{domain} {transport}')
        status, answers, out = dig(g, transport, '-x', GATEWAY)
        equal([a.split()[-1] for a in answers], ['gateway.vnet.internal.'], out)
        equal(dig(g, transport, 'nobody.vnet.internal')[0], 'NXDOMAIN', 'a name the network lacks')


def dns_relays(w):
    need('dig')
    g, upstream = the_guest(w), resolvers(w)
    for transport in '+notcp', '+tcp':
        equal(dig(g, transport, 'nothing.test')[0], 'NXDOMAIN', f'unknown name {transport}')
        status, answers, out = dig(g, transport, 'who.test', 'TXT')
        equal((status, answers and answers[0].split()[-1]), ('NOERROR', '"one"'), out)
    check(upstream[0].asked >= 4 and upstream[1].asked == 0, upstream[0].asked, upstream[1].asked)
    for args in (('+tcp',), (), ('+bufsize=8192', '+ignore')):  # by TCP; truncated, then by TCP; whole by UDP, in fragments if need be
        status, answers, out = dig(g, *args, 'big.test', 'TXT')
        equal((status, len(answers)), ('NOERROR', 16), f'dig {args}: {out}')
        equal(sum(a.count(c) for a in answers for c in 'ABCDEFGHIJKLMNOP') >= 16 * 250, True, 'the texts')
        check(('(UDP)' if '+ignore' in args else '(TCP)') in out, out)


def dns_follows_resolv_conf(w):
    need('dig')
    g = the_guest(w)
    resolvers(w)

    def who():
        return dig(g, 'who.test', 'TXT')[1][0].split()[-1]

    equal(who(), '"one"', 'before')
    netns.write('/etc/resolv.conf.new', f'nameserver {OUTSIDE2}\n')
    os.rename('/etc/resolv.conf.new', '/etc/resolv.conf')
    wait_until(lambda: who() == '"two"', 20, 'the new resolver is asked', every=0.1)
    netns.write('/etc/resolv.conf', f'nameserver {OUTSIDE}\nsearch example.test\n')
    wait_until(lambda: who() == '"one"', 20, 'the file is written in place', every=0.1)


def dns_of_the_network(w):
    """Option dns of a network: its own resolver, whatever the host's say."""
    need('dig')
    resolvers(w)
    w.ctl('network', 'create', 'own', '--subnet=10.99.0.0/24', f'--dns={OUTSIDE2}')
    g = w.guest('own1', network='own')
    out = g.run('dig', '@10.99.0.1', '+time=5', 'who.test', 'TXT', '+short').stdout
    equal(out.strip(), '"two"', 'the resolver asked')
    w.drop_guest(g)
    w.ctl('network', 'remove', 'own')


# ---- HTTP ----

class BulkServer(socketserver.ThreadingTCPServer):
    """GET sends a file, PUT says what the body's sha256 is."""
    daemon_threads = True

    def __init__(self, ns, addr, path):
        self.path = path
        super().__init__((addr, 0), BulkHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = ns.listen(addr)
        self.socket.settimeout(None)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class BulkHandler(socketserver.StreamRequestHandler):
    timeout = 60

    def handle(self):
        method = self.rfile.readline().split()[0]
        headers = {}
        while (line := self.rfile.readline().strip()):
            name, value = line.split(b':', 1)
            headers[name.lower()] = value.strip()
        if method == b'GET':
            with open(self.server.path, 'rb') as f:
                self.wfile.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' % os.fstat(f.fileno()).st_size)
                self.wfile.flush()
                self.connection.sendfile(f)
            return
        if b'expect' in headers:
            self.wfile.write(b'HTTP/1.1 100 Continue\r\n\r\n')
        left, h, room = int(headers[b'content-length']), hashlib.sha256(), memoryview(bytearray(1 << 20))
        while left > 0:
            n = self.rfile.readinto1(room[:min(left, len(room))])
            if not n:
                return
            h.update(room[:n])
            left -= n
        text = h.hexdigest().encode()
        self.wfile.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' % (len(text), text))


def bulk_file(w, size):
    path = os.path.join(w.dir, f'bulk.{size}')
    if not os.path.exists(path):
        seed = random.Random(size)
        with open(path, 'wb') as f:
            for _ in range(size >> 20):
                f.write(seed.randbytes(1 << 20))
    with open(path, 'rb') as f:
        return path, hashlib.file_digest(f, 'sha256').hexdigest()


def curl_both_ways(w, ns, listen, addr, size):
    need('curl')
    g = the_guest(w)
    path, digest = bulk_file(w, size)
    server = BulkServer(ns, listen, path)
    before, sent_before = w.stats(), g.tcp_counters()
    try:
        began = time.monotonic()
        out = os.path.join(w.dir, 'down')
        g.run('curl', '-sS', '--max-time', 100, '-o', out, f'http://{addr}:{server.port}/')
        took = time.monotonic() - began
        with open(out, 'rb') as f:
            equal(hashlib.file_digest(f, 'sha256').hexdigest(), digest, 'sha256 of the download')
        os.unlink(out)
        began = time.monotonic()
        r = g.run('curl', '-sS', '--max-time', 100, '-T', path, f'http://{addr}:{server.port}/')
        equal(r.stdout, digest, 'sha256 of the upload')
        comment(f'{size >> 20} MiB down {size * 8e-9 / took:.1f} Gbit/s, up {size * 8e-9 / (time.monotonic() - began):.1f} Gbit/s')
    finally:
        server.shutdown()
        server.server_close()
    after, sent = w.stats(), g.tcp_counters()
    probes, again, timeouts = (sent[name] - sent_before[name] for name in ('TCPLossProbes', 'RetransSegs', 'TCPTimeouts'))
    comment(f'the guest sent {again} segments again: {probes} probes, {timeouts} timeouts')
    harmless = 'drop-tcp-old-data', 'drop-device-full'  # the latter: the kernel had no memory for a long frame in one piece, and a shorter one followed
    # Who waits for a CPU answers late, and the patience of the guest is a few milliseconds, or 200, the gateway's 200: that is no loss.
    starved = netns.starved()
    patience = () if starved else ('retransmits', 'rto-fired')
    for name in after:
        if name in patience or name == 'fast-retransmits' or name.startswith('drop-') and name not in harmless:
            equal(after[name] - before.get(name, 0), 0, name)  # nothing was lost
    if not starved:
        check(again <= probes, f'the guest sent {again} segments again, {probes} of them to probe')
        equal(timeouts, 0, 'retransmission timeouts of the guest')
    w.no_flows()


def curl_host(w):
    curl_both_ways(w, w.host, '127.0.0.1', HOST_ADDRESS, BULK)


def curl_outside(w):
    curl_both_ways(w, w.outside, OUTSIDE, OUTSIDE, BULK // 4)


def curl_by_name(w):
    need('curl')
    g = the_guest(w)
    path, _ = bulk_file(w, 1 << 20)
    server = BulkServer(w.host, '127.0.0.1', path)
    r = g.run('curl', '-sS', '--max-time', 20, '--dns-servers', GATEWAY, '-o', '/dev/null', '-w', '%{size_download}',
              f'http://host.vnet.internal:{server.port}/', ok=False)
    if r.returncode != 0 and 'dns-servers' in r.stderr + r.stdout:  # a curl without c-ares: by the resolver of the system
        netns.write('/run/resolv.guest', f'nameserver {GATEWAY}\n')
        r = run('unshare', '--mount', 'sh', '-c', 'mount --bind /run/resolv.guest /etc/resolv.conf && exec "$@"', 'sh',
                *g.command('curl', '-sS', '--max-time', '20', '-o', '/dev/null', '-w', '%{size_download}',
                           f'http://host.vnet.internal:{server.port}/'))
    equal(r.stdout, str(1 << 20), 'bytes')
    server.shutdown()
    server.server_close()


def storm(w):
    g = the_guest(w)
    server = w.spawn(sys.executable, os.path.join(HERE, 'storm.py'), 'serve', OUTSIDE, 8080, ns=w.outside, stdout=-1)
    equal(server.stdout.readline(), b'ready\n', 'the server')
    began = time.monotonic()
    r = g.run(sys.executable, os.path.join(HERE, 'storm.py'), 'ask', OUTSIDE, 8080, STORM, ok=False, timeout=100)
    equal((r.returncode, r.stdout.strip()), (0, f'{STORM} of {STORM}'), r.stderr)
    comment(f'{STORM / (time.monotonic() - began):.0f} connections a second')
    server.kill()
    w.no_flows()


# ---- UDP ----

def udp_sizes(w):
    """Datagrams of every kind of size, there and back, to outside and to the host; each arrives whole, or not at all."""
    g = the_guest(w)
    for ns, bind, addr in (w.outside, OUTSIDE, OUTSIDE), (w.host, '127.0.0.1', HOST_ADDRESS):
        server, c = ns.socket(socket.SOCK_DGRAM, timeout=20), g.socket(socket.SOCK_DGRAM, timeout=20)
        server.bind((bind, 0))
        c.connect((addr, server.getsockname()[1]))
        for size in 0, 1, 511, 1400, 1471, 1472, 1473, 2944, 9000, 32000, 65000, 65507:
            data = random.Random(size).randbytes(size)
            c.send(data)
            got, peer = server.recvfrom(65535)
            check(got == data, f'{size} bytes to {addr} came as {len(got)}')
            server.sendto(data[::-1], peer)
            check(c.recv(65535) == data[::-1], f'{size} bytes from {addr}')
        server.close()
        c.close()


def udp_mapping(w):
    """One guest socket is one socket outside, whomever it speaks to (RFC 4787), and hears nobody it has not spoken to."""
    g = the_guest(w)
    servers = [w.outside.socket(socket.SOCK_DGRAM, timeout=20) for _ in range(3)]
    for s, addr in zip(servers, (OUTSIDE, OUTSIDE, OUTSIDE2)):
        s.bind((addr, 0))
    c = g.socket(socket.SOCK_DGRAM, timeout=1)
    seen = set()
    for s in servers[:2]:
        c.sendto(b'hello', s.getsockname())
        seen.add(s.recvfrom(100)[1])
    equal(len(seen), 1, 'sources outside')
    servers[2].sendto(b'let me in', next(iter(seen)))
    try:
        raise Failed(f'a stranger was heard: {c.recvfrom(100)}')
    except TimeoutError:
        pass
    c.settimeout(20)
    c.sendto(b'hello', servers[2].getsockname())
    equal(servers[2].recvfrom(100)[1], next(iter(seen)), 'the source for another address')
    servers[2].sendto(b'let me in', next(iter(seen)))
    equal(c.recvfrom(100), (b'let me in', servers[2].getsockname()), 'now it may')
    port = servers[0].getsockname()[1]
    for s in servers:
        s.close()
    c.connect((OUTSIDE, port))
    c.send(b'gone?')
    try:
        raise Failed(f'an answer of nobody: {c.recv(100)}')
    except ConnectionRefusedError:  # the far end's ICMP error, relayed
        pass
    c.close()


# ---- ping, idling ----

def ping(g, addr, size, count=3):
    r = g.run('busybox', 'ping', '-c', count, '-i', 0.2, '-W', 3, '-s', size, addr, ok=False)
    check(f'{count} packets received' in r.stdout, f'ping -s {size} {addr}:', r.stdout, r.stderr)


def pings(w):
    g = the_guest(w)
    for addr in GATEWAY, HOST_ADDRESS, OUTSIDE, HOST:
        for size in 56, 1400, 4000:  # the last in fragments at MTU 1500
            ping(g, addr, size)


def ping_of_nobody(w):
    """No answer where there is nobody; the host's own "unreachable" is passed on."""
    g = the_guest(w)
    r = g.run('busybox', 'ping', '-c', 1, '-W', 2, '203.0.113.99', ok=False)
    check(r.returncode != 0, r.stdout)


def idle_session(w):
    """A session as ssh keeps one: a few bytes, long silence with keepalives of both ends, a few bytes."""
    g = the_guest(w)
    server = w.outside.listen(OUTSIDE)
    c = g.connect(*server.getsockname())
    s, _ = server.accept()
    for e in c, s:
        e.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name in socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL:
            e.setsockopt(socket.IPPROTO_TCP, name, 1)
    for _ in range(2):
        for a, b in (c, s), (s, c):
            a.sendall(b'hello, are you there')
            equal(read_exactly(b, 20), b'hello, are you there', 'echo')
        time.sleep(IDLE_SEC)
    equal([f['state'] for f in w.flows()], ['established'], 'the flow')
    c.sendall(b'bye')
    equal(read_exactly(s, 3), b'bye', 'after the silence')
    c.close()
    equal(s.recv(1), b'', 'end')
    s.close()
    w.no_flows()


def wake_ups(pid):
    """How often the threads of @pid have gone to sleep so far."""
    n = 0
    for task in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{task}/status') as f:
            n += next(int(line.split()[1]) for line in f if line.startswith('voluntary_ctxt_switches'))
    return n


def quiet(w):
    """Nothing to do, nothing done: a guest with a lease that says nothing wakes vnetd less than once a second."""
    the_guest(w)
    time.sleep(7)  # the probes of ARP and the like have ended
    before, seconds = wake_ups(w.vnetd.pid), 5
    time.sleep(seconds)
    n = wake_ups(w.vnetd.pid) - before
    comment(f'{n} wake-ups in {seconds} s')
    check(n < seconds or w.is_sanitized('tsan'), n, 'wake-ups in', seconds, 's')  # which has a thread of its own, with a clock


def asks_for_passwords(w):
    """vnetctl lets polkit's agent ask the user, and with --no-ask-password it does not."""
    need('busctl')
    out = os.path.join(w.dir, 'calls')
    with open(out, 'w') as f:
        monitor = w.spawn('busctl', '--address=' + w.address, '--json=short', 'monitor', stdout=f, stderr=subprocess.DEVNULL)

    def flags(name):
        calls = [json.loads(line) for line in netns.read(out).splitlines() if line.startswith('{') and line.endswith('}')]
        return [c['flags'] for c in calls if c.get('member') == 'GetNetwork' and c['payload']['data'] == [name]]

    def seen():
        w.ctl('network', 'show', 'watched', ok=False)
        return flags('watched')

    interactive = 4  # the D-Bus specification: ALLOW_INTERACTIVE_AUTHORIZATION
    wait_until(seen, 10, 'the monitor', every=0.2)
    w.ctl('network', 'show', 'asking', ok=False)
    w.ctl('--no-ask-password', 'network', 'show', 'silent', ok=False)
    wait_until(lambda: flags('asking') and flags('silent'), 10, 'the calls')
    equal((flags('asking')[0] & interactive, flags('silent')[0] & interactive), (interactive, 0), 'may be asked')
    monitor.kill()
    monitor.wait()
    w.procs.remove(monitor)


if __name__ == '__main__':
    netns.main([udhcpc_gets_all, dhclient_gets_all, dns_local_names, dns_relays, dns_follows_resolv_conf, dns_of_the_network, curl_host,
                curl_outside, curl_by_name, storm, udp_sizes, udp_mapping, pings, ping_of_nobody, idle_session, quiet,
                asks_for_passwords])
