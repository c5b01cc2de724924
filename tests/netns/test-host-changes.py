#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The host changes under a guest's traffic: its address, its way out, its link, its resolver; and time passes without the daemon, as over
a suspend. What the guest sees is told in seconds, of vnetd and, with COMPARE=1, of pasta in the same world, as rows of a table.

A guest does four things meanwhile: one connection with a byte to and fro twenty times a second (the pulse), one that downloads without
a pause, a new connection and a question to its resolver ten times a second each.
"""

import errno
import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import netns
from netns import GATEWAY, HOST, OUTSIDE, OUTSIDE2, SLOW, Failed, Namespace, check, comment, equal, need, run, wait_until, write

FAR = '198.51.100.1'      # behind the host's default route
PASTA_DNS = '192.0.2.53'  # what pasta forwards to the host's resolver
COMPARE = os.environ.get('COMPARE', '') not in ('', '0')
OUTAGE_SEC = 4
AFTER_SEC = 20 if COMPARE else 4  # how long after a change the guest is looked at
BOUND_SEC = 15  # on a busy machine, too; what takes minutes, or never ends, is what this is about
STOP_SEC = int(os.environ.get('STOP_SEC', 600 if SLOW else 8))
rows = []


# ---- the far end ----

def serve_stream(listener):
    """Echoes; who begins with 'd' gets bytes without end."""
    def one(s):
        try:
            with s:
                b = s.recv(100)
                while b == b'd':  # 10 MB/s: without a pause, and nobody else is kept from a CPU
                    s.sendall(bytes(100000))
                    time.sleep(0.01)
                while b:
                    s.sendall(b)
                    b = s.recv(100)
        except OSError:
            pass

    while True:
        s, _ = listener.accept()
        s.settimeout(None)
        threading.Thread(target=one, args=(s,), daemon=True).start()


def serve_dns(s):
    """Every name has the address of who answers."""
    while True:
        q, who = s.recvfrom(2000)
        name = q[12:q.index(b'\0', 12) + 5]
        a = socket.inet_aton(s.getsockname()[0])
        s.sendto(q[:2] + struct.pack('>HHHHH', 0x8180, 1, 1, 0, 0) + name + b'\xc0\x0c' + struct.pack('>HHIH', 1, 1, 0, 4) + a, who)


def make_far(w):
    if getattr(w, 'far', None) == w.n:
        return
    w.far = w.n
    run('ip', 'route', 'replace', 'default', 'via', OUTSIDE)
    w.outside.run('ip', 'addr', 'add', FAR + '/32', 'dev', 'lo')
    listener = w.outside.listen(FAR, 0)
    listener.settimeout(None)
    w.far_port = listener.getsockname()[1]
    threading.Thread(target=serve_stream, args=(listener,), daemon=True).start()
    for a in OUTSIDE, OUTSIDE2:
        s = w.outside.socket(socket.SOCK_DGRAM, timeout=None)
        s.bind((a, 53))
        threading.Thread(target=serve_dns, args=(s,), daemon=True).start()


# ---- what a guest does ----

class Doing(threading.Thread):
    """Something a guest does again and again, and when it worked."""

    def __init__(self, w, guest):
        super().__init__(daemon=True)
        self.w, self.guest, self.stopping = w, guest, False
        self.worked, self.failed, self.ended = [], [], None  # times; (begun, took, why); (when, why)
        self.start()

    def run(self):
        try:
            self.work()
        except OSError as e:
            if not self.stopping:
                self.ended = time.monotonic(), errno.errorcode.get(e.errno, str(e))

    def gap(self, t):
        """The longest time without success from @t on, in seconds; None: it had none of late."""
        times = [t, *(x for x in self.worked if x > t)]
        return max(b - a for a, b in zip(times, times[1:])) if times[-1] > max(t, time.monotonic() - 2) else None


class Pulse(Doing):
    def work(self):
        self.s = self.guest.connect(FAR, self.w.far_port, timeout=None)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self.stopping:
            self.s.sendall(b'p')
            if not self.s.recv(1):
                raise OSError(0, 'end of stream')
            self.worked.append(time.monotonic())
            time.sleep(0.05)
        self.s.close()


class Download(Doing):
    def work(self):
        self.s = self.guest.connect(FAR, self.w.far_port, timeout=None)
        self.s.sendall(b'd')
        while not self.stopping:
            n = len(self.s.recv(1 << 20))
            if n == 0:
                raise OSError(0, 'end of stream')
            self.worked.append(time.monotonic())
        self.s.close()


class Again(Doing):
    def work(self):
        while not self.stopping:
            began = time.monotonic()
            try:
                self.once()
                self.worked.append(time.monotonic())
            except OSError as e:
                why = 'silence' if isinstance(e, TimeoutError) else errno.errorcode.get(e.errno, str(e))
                self.failed.append((began, time.monotonic() - began, why))
            time.sleep(max(0.0, began + 0.1 - time.monotonic()))

    def failures(self, begin, end):
        """How attempts of that time failed: {why: the longest it took}."""
        seen = {}
        for began, took, why in self.failed:
            if begin <= began <= end:
                seen[why] = max(seen.get(why, 0), took)
        return seen


class Connects(Again):
    def once(self):
        with self.guest.connect(FAR, self.w.far_port, timeout=1) as s:
            s.sendall(b'c')
            s.recv(1)


class Asks(Again):
    def once(self):
        with self.guest.socket(socket.SOCK_DGRAM, timeout=0.5) as s:
            q = struct.pack('>HHHHHH', random.getrandbits(16), 0x100, 1, 0, 0, 0) + b'\x0a%010d\x04test\x00' % random.getrandbits(32) + b'\0\1\0\1'
            s.sendto(q, (self.guest.resolver, 53))
            answer = s.recv(2000)
            if answer[3] & 15:
                raise OSError(0, f'code {answer[3] & 15}')


class Traffic:
    def __init__(self, w, guest):
        self.pulse, self.download, self.connects, self.asks = self.all = [c(w, guest) for c in (Pulse, Download, Connects, Asks)]
        wait_until(lambda: all(len(d.worked) > 3 for d in self.all), 20,
                   lambda: f'traffic: {[(type(d).__name__, len(d.worked), d.ended, d.failed[-1:]) for d in self.all]}')

    def stop(self):
        for d in self.all:
            d.stopping = True
            if hasattr(d, 's'):
                try:
                    d.s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        for d in self.all:
            d.join(10)


# ---- the gateways ----

class PastaGuest(Namespace):
    """A namespace behind pasta."""
    resolver = PASTA_DNS

    def __init__(self, w):
        need('pasta')
        super().__init__('pasta')
        self.proc = w.spawn('pasta', '-f', '--runas', 0, '--config-net', '-t', 'none', '-u', 'none', '-T', 'none', '-U', 'none', '--dns-forward', PASTA_DNS,
                            '--netns-only', '--netns', self.path, stderr=subprocess.DEVNULL)
        wait_until(lambda: 'default' in self.run('ip', 'route').stdout, 10, 'its way out')

    def end(self, w):
        w.procs.remove(self.proc)
        self.proc.kill()
        self.proc.wait()
        self.remove()


def gateways(w):
    """(name, guest, pid of its gateway) of each to look at."""
    make_far(w)
    g = next((g for g in w.guests if g.name == 'g1'), None) or w.guest('g1')
    g.resolver = GATEWAY
    yield 'vnetd', g, w.vnetd.pid
    if COMPARE:
        g = PastaGuest(w)
        try:
            yield 'pasta', g, g.proc.pid
        finally:
            g.end(w)


def cpu_seconds(pid):
    fields = netns.read(f'/proc/{pid}/stat').rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def told(d, t):
    """What became of a Pulse or Download after @t, for people."""
    if d.ended:
        return f'{d.ended[1]} after {d.ended[0] - t:.1f} s'
    seconds = d.gap(t)
    return f'goes on after {seconds:.1f} s' if seconds is not None else f'hangs for more than {time.monotonic() - t:.0f} s'


def after(d, t):
    seconds = d.gap(t)
    return f'{seconds:.1f} s' if seconds is not None else f'not within {time.monotonic() - t:.0f} s'


def row(what, name, **seen):
    rows.append((what, name, seen))
    comment(f'{what}, {name}:', ', '.join(f'{k.replace("_", " ")}: {v}' for k, v in seen.items()))


def within(d, t, seconds, what):
    got = d.gap(t)
    check(got is not None and got <= seconds, what, 'after', got, 's, ended:', d.ended)


# ---- the cases ----

NEW_HOST = '203.0.113.9'


def address_change(w):
    """The host gets another address on the same link, as by a new lease: what was bound to the old one is reset, at once."""
    for name, g, _ in gateways(w):
        t = Traffic(w, g)
        began = time.monotonic()
        run('ip', 'addr', 'add', NEW_HOST + '/24', 'dev', 'veth0')
        run('ip', 'addr', 'del', HOST + '/24', 'dev', 'veth0')  # takes the routes along that have it as their source, and promotes nothing
        run('ip', 'addr', 'replace', NEW_HOST + '/24', 'dev', 'veth0')
        run('ip', 'route', 'replace', 'default', 'via', OUTSIDE)
        time.sleep(AFTER_SEC)
        row('address change', name, old_connections=told(t.pulse, began), download=told(t.download, began),
            new_connections=after(t.connects, began), resolver=after(t.asks, began))
        try:
            if name == 'vnetd':
                for d in t.pulse, t.download:
                    check(d.ended and d.ended[1] == 'ECONNRESET' and d.ended[0] - began < BOUND_SEC, 'an old connection:', told(d, began))
                within(t.connects, began, BOUND_SEC, 'a new connection')
                within(t.asks, began, BOUND_SEC, 'the resolver')
        finally:
            t.stop()
            run('ip', 'addr', 'add', HOST + '/24', 'dev', 'veth0')
            run('ip', 'addr', 'del', NEW_HOST + '/24', 'dev', 'veth0')
            run('ip', 'addr', 'replace', HOST + '/24', 'dev', 'veth0')
            run('ip', 'route', 'replace', 'default', 'via', OUTSIDE)


def outage(w, what, lose, restore, errors):
    for name, g, _ in gateways(w):
        t = Traffic(w, g)
        began = time.monotonic()
        lose()
        time.sleep(OUTAGE_SEC)
        restore()
        back = time.monotonic()
        time.sleep(AFTER_SEC)
        seen = t.connects.failures(began + 0.3, back - 1.2)
        row(what, name, meanwhile=', '.join(f'{why} after {took:.1f} s' for why, took in seen.items()) or 'nothing',
            old_connections=told(t.pulse, back), download=told(t.download, back), new_connections=after(t.connects, back),
            resolver=after(t.asks, back))
        try:
            if name == 'vnetd':
                # the far end's kernel and the host's have their own timers: their next try comes after as long again as the last
                for d in t.pulse, t.download:
                    check(not d.ended, 'an old connection:', told(d, back))
                    within(d, back, OUTAGE_SEC + BOUND_SEC, 'an old connection')
                within(t.connects, back, BOUND_SEC, 'a new connection')
                within(t.asks, back, BOUND_SEC, 'the resolver')
                check(set(seen) <= errors, 'meanwhile', seen)
        finally:
            t.stop()


def route_loss(w):
    """The way out goes and comes back; the address stays."""
    outage(w, 'route loss', lambda: run('ip', 'route', 'del', 'default'), lambda: run('ip', 'route', 'replace', 'default', 'via', OUTSIDE),
           {'ENETUNREACH', 'silence'})


def link_loss(w):
    """The link goes down and comes up: the routes with it, the address stays."""
    def restore():
        run('ip', 'link', 'set', 'veth0', 'up')
        run('ip', 'route', 'replace', 'default', 'via', OUTSIDE)

    outage(w, 'link down and up', lambda: run('ip', 'link', 'set', 'veth0', 'down'), restore, {'ENETUNREACH', 'EHOSTUNREACH', 'silence'})


def resolver_change(w):
    """resolv.conf names another resolver, and the old one is silent."""
    def names(a):
        write('/etc/resolv.conf.new', f'nameserver {a}\nsearch example.test\n')
        os.rename('/etc/resolv.conf.new', '/etc/resolv.conf')

    for name, g, _ in gateways(w):
        t = Traffic(w, g)
        w.outside.run('nft', 'add', 'table', 'ip', 'gone')
        w.outside.run('nft', 'add', 'chain', 'ip', 'gone', 'in', '{ type filter hook input priority 0; }')
        w.outside.run('nft', 'add', 'rule', 'ip', 'gone', 'in', 'ip', 'daddr', OUTSIDE, 'udp', 'dport', 53, 'drop')
        began = time.monotonic()
        names(OUTSIDE2)
        time.sleep(AFTER_SEC)
        row('resolver change', name, old_connections=told(t.pulse, began), download=told(t.download, began),
            new_connections=after(t.connects, began), resolver=after(t.asks, began))
        try:
            if name == 'vnetd':
                within(t.asks, began, BOUND_SEC, 'the resolver')
                check(not t.pulse.ended and not t.download.ended, 'an old connection:', told(t.pulse, began), told(t.download, began))
        finally:
            t.stop()
            w.outside.run('nft', 'delete', 'table', 'ip', 'gone')
            names(OUTSIDE)


def standstill(w):
    """Time passes without the gateway, as over a suspend: it goes on as if nothing had been, and not in circles."""
    for name, g, pid in gateways(w):
        t = Traffic(w, g)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(STOP_SEC)
        os.kill(pid, signal.SIGCONT)
        began = time.monotonic()
        time.sleep(AFTER_SEC)
        downloaded = told(t.download, began)
        t.download.stopping = True  # else its bytes are what takes the time
        time.sleep(1)
        before = cpu_seconds(pid)
        time.sleep(3)
        used = (cpu_seconds(pid) - before) / 3
        row(f'{STOP_SEC} s stopped', name, old_connections=told(t.pulse, began), download=downloaded,
            new_connections=after(t.connects, began), resolver=after(t.asks, began), CPU=f'{used * 100:.0f} %')
        try:
            if name == 'vnetd':
                check(not t.pulse.ended and not t.download.ended, 'an old connection:', told(t.pulse, began), downloaded)
                within(t.pulse, began, BOUND_SEC, 'an old connection')
                within(t.connects, began, BOUND_SEC, 'a new connection')
                within(t.asks, began, BOUND_SEC, 'the resolver')
                check(used < 0.2, 'a busy loop:', used, 'of a CPU')
        finally:
            t.stop()


def table(w):
    """What was seen, for docs/host-changes.md."""
    for what, name, seen in rows:
        comment(f"| {what} | {name} | {seen.get('old_connections', '')} | {seen.get('download', '')} | {seen.get('meanwhile', '')} | "
                f"{seen.get('new_connections', '')} | {seen.get('resolver', '')} | {seen.get('CPU', '')} |")


if __name__ == '__main__':
    netns.main([address_change, route_loss, link_loss, resolver_change, standstill, table])
