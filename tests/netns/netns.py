# SPDX-License-Identifier: LGPL-2.1-or-later
"""
A world to test vnetd in, for the programs of this directory.

Each program runs itself again in fresh namespaces (mount, network, pid, and user when it is not root): what it sees as "the host" has
a loopback, one link to a namespace called outside, and nothing of the machine. When the program ends, however it ends, its pid
namespace takes every process along.

    outside 203.0.113.2, .3  ----  203.0.113.1 host: vnetd, the test  ----  192.168.127.0/24: guests

With --ip6 all have IPv6 as well, with --path-mtu=N two routers stand between outside and host, with N the MTU of the link between them.

Sockets belong to the namespace they were made in, so the test itself holds both ends of a connection: see Namespace.inside().
Cases report by TAP; without the means to make namespaces all of them are skipped, with the reason.
"""

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

SLOW = os.environ.get('VNETD_SLOW', '') not in ('', '0')
HOST, OUTSIDE, OUTSIDE2 = '203.0.113.1', '203.0.113.2', '203.0.113.3'
HOST_6, OUTSIDE_6, OUTSIDE2_6 = '2001:db8:203::1', '2001:db8:203::2', '2001:db8:203::3'
GATEWAY, HOST_ADDRESS = '192.168.127.1', '192.168.127.254'
INSIDE = 'VNETD_NETNS_INSIDE'  # set in the program's second life
CASE_SEC = 120  # a case that takes longer has failed

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


class Failed(Exception):
    """What a case says when something is not as it should be."""


class Unavailable(Exception):
    """What a case says when the machine lacks what it needs."""


def check(condition, *what):
    if not condition:
        raise Failed(' '.join(str(w) for w in what))


def equal(got, expected, what=''):
    if got != expected:
        raise Failed(f'{what}: got {got!r}, expected {expected!r}')


def wait_until(fn, seconds=10.0, what='', every=0.02):
    """Calls @fn until it says something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        r = fn()
        if r:
            return r
        if time.monotonic() > end:
            raise Failed(f'not within {seconds} s: {what() if callable(what) else what or fn}')
        time.sleep(every)


def listens(path):
    """Does anybody, at that Unix socket? The file is there a little before."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(path) == 0


def run(*argv, timeout=60, ok=True, **kwargs):
    """Runs a command and returns its CompletedProcess, output as text. @ok: it must succeed."""
    r = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **kwargs)
    if ok and r.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))}: exit {r.returncode}: {r.stdout}{r.stderr}".strip())
    return r


def need(*programs):
    for p in programs:
        if not shutil.which(p):
            raise Unavailable(f'{p} is not installed')


class Job(threading.Thread):
    """A thread whose result, or exception, join() hands over."""

    def __init__(self, fn, *args):
        super().__init__(daemon=True)
        self.fn, self.args, self.result, self.error = fn, args, None, None
        self.start()

    def run(self):
        try:
            self.result = self.fn(*self.args)
        except BaseException as e:  # noqa: B902: handed over to join()
            self.error = e

    def wait(self, seconds=60):
        self.join(seconds)
        if self.is_alive():
            raise Failed(f'{self.fn.__name__}() does not end')
        if self.error:
            raise self.error
        return self.result


def family_of(addr):
    return socket.AF_INET6 if ':' in addr else socket.AF_INET


def place(addr, port):
    """As it is written in one word."""
    return f'[{addr}]:{port}' if ':' in addr else f'{addr}:{port}'


class Namespace:
    """A network namespace by name; None is the one of the program, "the host"."""

    def __init__(self, name=None):
        self.name = name
        if name:
            run('ip', 'netns', 'add', name)
            self.run('ip', 'link', 'set', 'lo', 'up')
        self.path = f'/run/netns/{name}' if name else '/proc/1/ns/net'

    def command(self, *argv):
        return (['nsenter', '--net=' + self.path, '--'] if self.name else []) + [str(a) for a in argv]

    def run(self, *argv, **kwargs):
        if self.name:
            argv = ['nsenter', f'--net=/run/netns/{self.name}', '--', *argv]
        return run(*argv, **kwargs)

    @contextlib.contextmanager
    def inside(self):
        """The calling thread is in the namespace."""
        here = os.open('/proc/thread-self/ns/net', os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(there, CLONE_NEWNET) < 0:
                raise OSError(ctypes.get_errno(), 'setns')
            yield
        finally:
            libc.setns(here, CLONE_NEWNET)
            os.close(here)
            os.close(there)

    def socket(self, type=socket.SOCK_STREAM, timeout=30, family=socket.AF_INET, proto=0):
        with self.inside():
            s = socket.socket(family, type, proto)
        s.settimeout(timeout)
        return s

    def listen(self, addr='0.0.0.0', port=0, backlog=512, rcvbuf=None):
        s = self.socket(family=family_of(addr))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        s.bind((addr, port))
        s.listen(backlog)
        return s

    def connect(self, addr, port, timeout=30, prepare=None):
        s = self.socket(timeout=timeout, family=family_of(addr))
        if prepare:
            prepare(s)
        s.connect((addr, port))
        return s

    def sysctl(self, name, value):
        with self.inside():
            with open('/proc/sys/' + name.replace('.', '/'), 'w') as f:
                f.write(str(value))

    def tcp_counters(self):
        """The Tcp and TcpExt counters of this namespace."""
        with self.inside():  # /proc/net is the thread's
            counters = {}
            for name in 'snmp', 'netstat':
                with open('/proc/thread-self/net/' + name) as f:
                    lines = f.read().splitlines()
                for head, values in zip(lines[::2], lines[1::2]):
                    if head.startswith('Tcp'):
                        counters.update(zip(head.split()[1:], map(int, values.split()[1:])))
            return counters

    def remove(self):
        run('ip', 'netns', 'del', self.name)


class Guest(Namespace):
    """A namespace plugged into a network. @offloads False: none, on both sides of the TAP."""

    def __init__(self, world, name, mtu=None, offloads=True, configure=True, network='default', queues=0):
        super().__init__(name)
        self.world, self.mtu, self.offloads = world, mtu or world.mtu, offloads
        self.addr = self.addr6 = self.device = None
        self.sysctl('net.ipv6.conf.all.disable_ipv6', 0 if world.ip6 else 1)
        several = [f'--queues={queues}', '--parallel'] if queues > 1 else world.queues
        if offloads:
            out = world.ctl('attach', self.path, f'--mtu={self.mtu}', f'--network={network}', *several, *[] if configure else ['--no-configure'])
            if configure:
                self.addr = out.split(': ')[1].split(',')[0]
        else:
            # One guest's device is named for it; vnetctl attach has no choice of offloads.
            self.device = world.ctl('device', 'create', 'tap', f'--netns={self.path}', f'--name={name}', f'--mtu={self.mtu}',
                                    '--offloads=none', f'--network={network}', *several).strip()
            ifname = self.run('ip', '-br', 'link').stdout.replace('lo ', '').split('\n')
            ifname = [line.split()[0].split('@')[0] for line in ifname if line and not line.startswith(' ')][-1]
            self.run('ip', 'link', 'set', ifname, 'down')
            self.run('ip', 'link', 'set', ifname, 'name', 'eth0')
            self.run('ip', 'link', 'set', 'eth0', 'mtu', self.mtu, 'up')
            self.run('ethtool', '-K', 'eth0', 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off', ok=False)
            if configure:
                self.configure()
        if configure and world.ip6:
            self.await_ip6()

    def configure(self):
        """Takes a lease with busybox's client and sets the interface up by it."""
        self.dhcp(world_script(self.world, 'configure', CONFIGURE))

    def await_ip6(self):
        """Until the kernel has an address by SLAAC, and the way out."""
        def address():
            text = self.run('ip', '-6', '-o', 'addr', 'show', 'eth0', 'scope', 'global', '-tentative').stdout
            return 'default' in self.run('ip', '-6', 'route').stdout and text.split('inet6 ')[1].split('/')[0] if text else None

        self.addr6 = wait_until(address, 20, 'IPv6 in the guest', every=0.1)

    def await_link_local(self):
        """Until the kernel has asked whether others have its link-local address: before, nobody can bind to it."""
        wait_until(lambda: self.run('ip', '-6', '-o', 'addr', 'show', 'eth0', 'scope', 'link', '-tentative').stdout, 10, 'a link-local address')

    def own(self):
        """Its address in the family of the test."""
        return self.addr6 if self.world.ip6 else self.addr

    def dhcp(self, script, *args):
        """One lease by udhcpc: what it hands its script, as a dict."""
        out = os.path.join(self.world.dir, f'udhcpc.{self.name}')
        self.run('busybox', 'udhcpc', '-f', '-q', '-n', '-t', 20, '-T', 1, '-i', 'eth0', '-s', script, *args,
                 env={**os.environ, 'OUT': out}, timeout=40)
        with open(out) as f:
            lease = dict(line.rstrip('\n').split('=', 1) for line in f if '=' in line)
        self.addr = lease.get('ip')
        return lease

    def mac(self):
        with self.inside():
            return run('ip', '-o', 'link', 'show', 'eth0').stdout.split('link/ether ')[1].split()[0]


DUMP = '#!/bin/sh\n[ "$1" = bound ] && env >"$OUT"\nexit 0\n'
CONFIGURE = '''#!/bin/sh
[ "$1" = bound ] || exit 0
env >"$OUT"
ip addr replace "$ip/$mask" brd "$broadcast" dev eth0
ip link set eth0 mtu "$mtu"
ip route replace default via "$router"
'''


def world_script(world, name, text):
    path = os.path.join(world.dir, name)
    if not os.path.exists(path):
        with open(path, 'w') as f:
            f.write(text)
        os.chmod(path, 0o755)
    return path


class World:
    """A bus, a vnetd, a namespace outside. One at a time; stop() and start() make it new."""

    def __init__(self, args):
        self.args, self.mtu, self.offloads = args, args.mtu, args.offloads
        self.ip6, self.path_mtu = args.ip6, args.path_mtu
        self.queues = [f'--queues={args.queues}', '--parallel'] if args.queues > 1 else []
        self.HOST, self.OUTSIDE, self.ANY = (HOST_6, OUTSIDE_6, '::') if self.ip6 else (HOST, OUTSIDE, '0.0.0.0')
        self.host = Namespace()
        self.n = 0
        self.start()

    # -- life --

    def start(self, files=None, log_level='info'):
        self.n += 1
        self.dir = f'/run/world.{self.n}'
        self.guests, self.procs = [], []
        for d in 'config/networks.d', 'state':
            os.makedirs(os.path.join(self.dir, d))
        for name, content in (files or {}).items():
            with open(os.path.join(self.dir, 'config', name), 'w') as f:
                json.dump(content, f)
        write('/etc/resolv.conf', f'nameserver {OUTSIDE}\nsearch example.test\n')
        self.make_outside()
        self.start_bus()
        self.start_vnetd(log_level)

    def make_outside(self):
        if self.ip6:
            for name in 'all', 'default', 'lo':
                self.host.sysctl(f'net.ipv6.conf.{name}.disable_ipv6', 0)
        if self.path_mtu:
            return self.make_path()
        self.outside, self.routers = Namespace('outside'), []
        run('ip', 'link', 'add', 'veth0', 'type', 'veth', 'peer', 'name', 'veth1', 'netns', 'outside')
        run('ip', 'addr', 'add', HOST + '/24', 'dev', 'veth0')
        run('ip', 'link', 'set', 'veth0', 'up')
        for a in OUTSIDE, OUTSIDE2:
            self.outside.run('ip', 'addr', 'add', a + '/24', 'dev', 'veth1')
        self.outside.run('ip', 'link', 'set', 'veth1', 'up')
        self.outside.run('ip', 'route', 'add', 'default', 'via', HOST)
        if self.ip6:
            run('ip', 'addr', 'add', HOST_6 + '/64', 'dev', 'veth0', 'nodad')
            for a in OUTSIDE_6, OUTSIDE2_6:
                self.outside.run('ip', 'addr', 'add', a + '/64', 'dev', 'veth1', 'nodad')
            self.outside.run('ip', '-6', 'route', 'add', 'default', 'via', HOST_6)
            run('ip', '-6', 'route', 'add', 'default', 'via', OUTSIDE_6)

    def make_path(self):
        """host -- near -(narrow)- far -- outside, whose addresses are what they are without routers."""
        near, far, outside = self.routers = [Namespace(name) for name in ('near', 'far', 'outside')]
        self.outside = self.routers.pop()
        chain, families = [self.host, near, far, outside], (4, 6) if self.ip6 else (4,)
        for n, (a, b) in enumerate(zip(chain, chain[1:])):
            a.run('ip', 'link', 'add', f'veth{2 * n}', 'type', 'veth', 'peer', 'name', f'veth{2 * n + 1}', 'netns', b.name)
            for i, ns in enumerate((a, b)):
                for family in families:
                    text = (('203.0.113.1/24', '203.0.113.254/24'), ('198.18.1.1/24', '198.18.1.2/24'), ('198.18.2.1/24', '198.18.2.2/24')) \
                        if family == 4 else ((HOST_6 + '/64', '2001:db8:203::fe/64'), ('2001:db8:1::1/64', '2001:db8:1::2/64'),
                                             ('2001:db8:2::1/64', '2001:db8:2::2/64'))
                    ns.run('ip', 'addr', 'add', text[n][i], 'dev', f'veth{2 * n + i}', *['nodad'] if family == 6 else [])
                ns.run('ip', 'link', 'set', f'veth{2 * n + i}', 'mtu', self.path_mtu if n == 1 else 1500, 'up')
        for ns in near, far:
            for name, value in ('ipv4.ip_forward', 1), ('ipv6.conf.all.forwarding', 1), ('ipv4.icmp_ratelimit', 0), ('ipv6.icmp.ratelimit', 0):
                ns.sysctl('net.' + name, value)
        for family in families:
            hosts = (OUTSIDE, OUTSIDE2) if family == 4 else (OUTSIDE_6, OUTSIDE2_6)
            vias = ('203.0.113.254', '198.18.1.2', '198.18.2.2') if family == 4 else ('2001:db8:203::fe', '2001:db8:1::2', '2001:db8:2::2')
            for a in hosts:
                outside.run('ip', 'addr', 'add', a, 'dev', 'veth5', *['nodad'] if family == 6 else [])
                for ns, via in zip(chain, vias):
                    ns.run('ip', f'-{family}', 'route', 'add', a, 'via', via)
            far.run('ip', f'-{family}', 'route', 'add', '203.0.113.0/24' if family == 4 else '2001:db8:203::/64',
                    'via', '198.18.1.1' if family == 4 else '2001:db8:1::1')
            outside.run('ip', f'-{family}', 'route', 'add', 'default', 'via', '198.18.2.1' if family == 4 else '2001:db8:2::1', 'src', hosts[0])
        if self.ip6:
            run('ip', '-6', 'route', 'add', 'default', 'via', '2001:db8:203::fe')

    def start_bus(self):
        config = os.path.join(self.dir, 'bus.conf')
        self.address = f'unix:path={self.dir}/bus'
        write(config, f"<busconfig><type>session</type><listen>{self.address}</listen><auth>EXTERNAL</auth>"
                      "<policy context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/>"
                      "<allow own='*'/></policy></busconfig>")
        self.spawn('dbus-daemon', '--nofork', '--nopidfile', '--nosyslog', '--config-file', config, stderr=subprocess.DEVNULL)
        wait_until(lambda: listens(self.dir + '/bus'), 20, 'the bus')

    def start_vnetd(self, log_level='info', wrapper=()):
        self.log = os.path.join(self.dir, 'vnetd.log')
        with open(self.log, 'ab') as f:
            self.vnetd = self.spawn(*wrapper, self.args.vnetd, f'--bus-address={self.address}', f'--config-dir={self.dir}/config',
                                    f'--state-dir={self.dir}/state', f'--log-level={log_level}', '--log-target=console', stderr=f)
        wait_until(lambda: run(*self.ctl_argv('status'), ok=False).returncode == 0, 20, 'vnetd: ' + self.log_text())

    def spawn(self, *argv, ns=None, **kwargs):
        """Starts a process that ends with the world."""
        argv = ns.command(*argv) if ns else [str(a) for a in argv]
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, **{'stdout': subprocess.DEVNULL, **kwargs})
        self.procs.append(p)
        return p

    def stop_vnetd(self):
        self.vnetd.terminate()
        r = self.vnetd.wait(20)
        self.procs.remove(self.vnetd)
        return r

    def stop(self):
        for g in self.guests:
            with contextlib.suppress(Exception):
                g.remove()
        for p in reversed(self.procs):
            p.kill()
            p.wait()
        for ns in *self.routers, self.outside:
            ns.remove()
        run('ip', 'link', 'del', 'veth0', ok=False)
        wait_until(lambda: not os.path.exists('/sys/class/net/veth0'), 10, 'veth0 gone')

    # -- what the cases use --

    def inside_addresses(self):
        """The gateway's and the host's in the network, of the test's family."""
        if not self.ip6:
            return GATEWAY, HOST_ADDRESS
        gateway = self.ctl('network', 'show', 'default').split('Gateway6: ')[1].split()[0]
        return gateway, gateway.removesuffix('1') + 'fe'

    def guest(self, name, **kwargs):
        g = Guest(self, name, **{'offloads': self.offloads, **kwargs})
        self.guests.append(g)
        return g

    def drop_guest(self, g):
        """Unplugs @g: its namespace goes, and with it the device."""
        self.guests.remove(g)
        if g.device:  # made by the daemon in the namespace, which its descriptor keeps alive
            self.ctl('device', 'remove', g.device)
        g.remove()

    def ctl_argv(self, *args):
        return [self.args.vnetctl, f'--bus-address={self.address}', *args]

    def ctl(self, *args, ok=True):
        r = run(*self.ctl_argv(*args), ok=False)
        if ok and r.returncode != 0:
            raise Failed(f"vnetctl {' '.join(args)}: exit {r.returncode}: {r.stderr.strip()}")
        return r.stdout if ok else r

    def devices(self):
        return json.loads(self.ctl('--json=short', 'device', 'list'))['devices']

    def flows(self, protocol='tcp'):
        return [f for f in json.loads(self.ctl('--json=short', 'flows'))['flows'] if f['protocol'] == protocol]

    def no_flows(self, protocol='tcp', seconds=10):
        """The flow table is empty, or becomes so."""
        wait_until(lambda: not self.flows(protocol), seconds, lambda: f'flows left: {self.flows(protocol)}', every=0.1)

    def stats(self, network='default'):
        rows = json.loads(self.ctl('--json=short', 'stats', '--zero', f'--network={network}'))['counters']
        return {r['counter']: r['value'] for r in rows}

    def is_sanitized(self, *by):
        """Any sanitizer, or one of those in @by."""
        maps = read(f'/proc/{self.vnetd.pid}/maps')
        return any(f'lib{name}.so' in maps for name in by or ('asan', 'tsan'))

    def rss(self):
        """What of vnetd is in memory, in KiB."""
        with open(f'/proc/{self.vnetd.pid}/status') as f:
            return next(int(line.split()[1]) for line in f if line.startswith('VmRSS:'))

    def log_text(self):
        return read(self.log)


def read(path):
    """The text of a file, '' while there is none."""
    with contextlib.suppress(FileNotFoundError):
        with open(path) as f:
            return f.read()
    return ''


def write(path, text):
    with open(path, 'w') as f:
        f.write(text)


def starved():
    """Do processes wait for a CPU more often than not? Then nothing can be said about milliseconds."""
    text = read('/proc/pressure/cpu')
    return bool(text) and float(text.split('avg60=')[1].split()[0]) > 30


def read_exactly(s, n):
    parts = []
    while n > 0:
        b = s.recv(min(n, 1 << 20))
        if not b:
            raise Failed(f'end of stream, {n} bytes early')
        parts.append(b)
        n -= len(b)
    return b''.join(parts)


def read_all(s):
    parts = []
    while True:
        b = s.recv(1 << 20)
        if not b:
            return b''.join(parts)
        parts.append(b)


# ---- the program ----

def arguments():
    p = argparse.ArgumentParser()
    p.add_argument('--vnetd', default=os.environ.get('VNETD', 'build/src/vnetd'))
    p.add_argument('--vnetctl', default=os.environ.get('VNETCTL', 'build/ctl/vnetctl'))
    p.add_argument('--mtu', type=int, default=65520)
    p.add_argument('--no-offloads', dest='offloads', action='store_false')
    p.add_argument('--ip6', action='store_true', help='the family of the test, where it has a choice')
    p.add_argument('--path-mtu', type=int, default=0, metavar='N', help='of a link between two routers')
    p.add_argument('--queues', type=int, default=1, metavar='N', help="of guests' devices, each served by a thread of its own")
    p.add_argument('--relay', default=os.environ.get('LOSSY_RELAY', 'build/tests/netns/lossy-relay'))
    p.add_argument('cases', nargs='*', help='names of cases, or parts of names; all without')
    return p.parse_args()


def skip_all(why):
    print(f'TAP version 13\n1..0 # SKIP {why}', flush=True)
    sys.exit(0)


def enter():
    """Runs the program again, in namespaces of its own."""
    try:
        os.close(os.open('/dev/net/tun', os.O_RDWR))
    except OSError as e:
        skip_all(f'/dev/net/tun: {e.strerror}')
    for p in 'unshare', 'nsenter', 'ip', 'busybox', 'dbus-daemon', 'ethtool':
        if not shutil.which(p):
            skip_all(f'{p} is not installed')
    argv = ['unshare', '--mount', '--net', '--pid', '--fork', '--kill-child=KILL', '--mount-proc']
    if os.geteuid() != 0:
        argv += ['--user', '--map-root-user']
    r = subprocess.run(argv + ['true'], capture_output=True, text=True)
    if r.returncode != 0 and os.geteuid() == 0:  # root of a container, say
        argv += ['--user', '--map-root-user']
        r = subprocess.run(argv + ['true'], capture_output=True, text=True)
    if r.returncode != 0:
        skip_all(f'no namespaces may be made: {r.stderr.strip()}')
    os.environ[INSIDE] = '1'
    os.execvp(argv[0], argv + [sys.executable, *sys.argv])


def furnish():
    """The mounts and links of the host-to-be."""
    run('mount', '-t', 'tmpfs', 'tmpfs', '/run')
    os.mkdir('/run/netns')
    # A copy of /etc that resolv.conf can be changed in.
    subprocess.run(['cp', '-a', '/etc', '/run/etc'], stderr=subprocess.DEVNULL)
    with contextlib.suppress(FileNotFoundError):
        os.unlink('/run/etc/resolv.conf')
    run('mount', '--bind', '/run/etc', '/etc')
    run('mount', '-t', 'sysfs', 'sysfs', '/sys', ok=False)
    run('ip', 'link', 'set', 'lo', 'up')
    for name, value in (('net.ipv4.ping_group_range', '0 0'), ('net.ipv4.ip_forward', '1'), ('net.ipv6.conf.all.disable_ipv6', '1'),
                        ('net.ipv6.conf.default.disable_ipv6', '1')):
        Namespace().sysctl(name, value)


def comment(*words):
    for line in ' '.join(map(str, words)).splitlines():
        print('#', line, flush=True)


def on_alarm(signum, frame):
    raise Failed(f'the case takes more than {CASE_SEC} s')


def on_term(signum, frame):
    """
    Whoever limits our time tells the whole process group, so vnetd ends, and what a case would then say of it is not true. The first
    process of a namespace does not end by itself, but with it everything in there does.
    """
    os.write(sys.stdout.fileno(), b'Bail out! told to end, by SIGTERM\n')
    os._exit(1)


def run_case(world, n, name, fn):
    """True when it passed or was skipped."""
    signal.alarm(CASE_SEC * (10 if SLOW else 1))
    began = time.monotonic()
    try:
        fn(world)
        signal.alarm(0)
        print(f'ok {n} - {name}', flush=True)
        comment(f'{name}: {time.monotonic() - began:.1f} s')
        return True
    except Unavailable as e:
        signal.alarm(0)
        print(f'ok {n} - {name} # SKIP {e}', flush=True)
        return True
    except Exception as e:
        signal.alarm(0)
        print(f'not ok {n} - {name}', flush=True)
        comment(''.join(traceback.format_exception(e)) if not isinstance(e, Failed) else describe_failure(e))
        with contextlib.suppress(Exception):
            comment('vnetd says: ' + world.log_text()[-3000:])
            comment('flows: ' + world.ctl('flows'))
            comment('stats: ' + world.ctl('stats'))
            for ns in world.host, world.outside, *world.guests:
                comment(f"sockets of {ns.name or 'the host'}:", ns.run('ss', '-tnoiH', ok=False).stdout[:3000])
        return False


def describe_failure(e):
    lines = [f'{os.path.basename(f.filename)}:{f.lineno}: {f.line}' for f in traceback.extract_tb(e.__traceback__)]
    return f'{e}\n' + '\n'.join(lines[1:])


def last_words(world):
    """vnetd ends when told to, and had nothing to complain of."""
    code = world.stop_vnetd()
    equal(code, 0, 'exit status of vnetd')
    bad = [line for line in world.log_text().splitlines() if any(w in line for w in ('rror:', 'Assert', 'runtime error', 'leak'))]
    check(not bad, 'in the log:', bad)


def main(cases):
    """@cases: functions that are called with the World, in order. The name of a case is that of its function."""
    if not os.environ.get(INSIDE):
        enter()
    sys.stdout.reconfigure(line_buffering=True)
    args = arguments()
    args.vnetd, args.vnetctl, args.relay = map(os.path.abspath, (args.vnetd, args.vnetctl, args.relay))
    wanted = [c for c in cases if not args.cases or any(a in c.__name__ for a in args.cases)]
    print(f'TAP version 13\n1..{len(wanted) + 1}', flush=True)
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, on_term)
    furnish()
    world = World(args)
    failed = 0
    for n, fn in enumerate(wanted, 1):
        if not run_case(world, n, fn.__name__, fn):
            failed += 1
            world.stop()
            world.start()
    if not run_case(world, len(wanted) + 1, 'last_words', last_words):
        failed += 1
    world.stop()
    sys.stdout.flush()
    os._exit(1 if failed else 0)  # threads that hang are no reason to
