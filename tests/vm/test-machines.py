#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Real virtual machines behind sockets: QEMU (emulating; Debian's kernel) on each of its socket netdevs, and User Mode Linux.

Each takes a lease, asks DNS, moves data both ways by sha256, is exposed, pings its neighbour, is killed amid a transfer and comes back to
its lease and its forward. The machines run machine.sh and are told what to do over the network under test.
"""

import contextlib
import hashlib
import http.server
import json
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '../netns'))
import netns  # noqa: E402
from netns import GATEWAY, OUTSIDE, Job, Unavailable, check, comment, equal, read_all, run, wait_until  # noqa: E402

CACHE = os.path.abspath(os.environ.get('VM_CACHE', 'build/vm'))
KERNEL = os.path.join(CACHE, 'stable')
BULK = 64 << 20
BOOT_SEC = 250  # vm-run gives a boot that hangs 120 s, and tries three
netns.CASE_SEC = 500  # two such boots and what is between them, on a machine that has other work
GVPROXY = os.path.abspath(os.environ.get('VNET_GVPROXY', 'build/src/gvproxy/vnet-gvproxy'))


class Orders:
    """What the machines are told, and what they say, on the namespace outside."""

    def __init__(self, w):
        self.queues, self.answers = {}, {}
        orders = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    body = orders.queue(orders.queues, self.path[1:]).get(timeout=20).encode()
                except queue.Empty:
                    return self.send_error(404)
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        with w.outside.inside():
            self.server = http.server.ThreadingHTTPServer((OUTSIDE, 9000), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # machines are killed amid requests
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.listener = w.outside.listen(OUTSIDE, 9001)
        self.listener.settimeout(None)
        threading.Thread(target=self.collect, daemon=True).start()

    def queue(self, queues, name):
        return queues.setdefault(name, queue.Queue())

    def collect(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                name, _, text = read_all(s).decode(errors='replace').partition('\n')
                self.queue(self.answers, name).put(text)
            s.close()

    def start(self, name, command):
        self.queue(self.queues, name).put(command)

    def finish(self, name, seconds=60, ok=True):
        try:
            text = self.queue(self.answers, name).get(timeout=seconds)
        except queue.Empty:
            raise netns.Failed(f'{name} does not answer')
        body, _, status = text.rpartition('status ')
        check(not ok or status.strip() == '0', f'{name}: {text}')
        return body.strip()


def orders(w):
    if not hasattr(w, 'orders'):
        w.orders = Orders(w)
    return w.orders


class Machine:
    """@argv: makes the command line, given the path of the socket."""

    def __init__(self, w, name, argv, kind=None, listen=None):
        self.w, self.name, self.argv, self.kind = w, name, argv, kind
        self.path = f'{w.dir}/{name}.sock'
        if kind:
            w.ctl('device', 'create', kind, f'--name={name}', f'--listen={listen or self.path}')
        self.boot()

    def boot(self):
        began = time.monotonic()
        self.log = open(f'{self.w.dir}/{self.name}.log', 'wb')
        self.process = self.w.spawn(*self.argv(self), stdout=subprocess.PIPE, stderr=self.log,
                                    env={**os.environ, 'TMPDIR': self.w.dir, **self.environ()})
        line = Job(self.process.stdout.readline).wait(BOOT_SEC).decode()
        check(line.startswith('ready '), f'{self.name}: {line!r} {netns.read(self.log.name)[-2000:]}')
        self.addr = line.split()[1]
        comment(f'{self.name}: {self.addr} after {time.monotonic() - began:.1f} s')
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def environ(self):
        return {}

    def do(self, command, seconds=60, ok=True):
        o = orders(self.w)
        o.start(self.name, command)
        return o.finish(self.name, seconds, ok)

    def kill(self):
        """SIGKILL for the machine itself, not for who has started it."""
        victims = []
        for pid in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError):
                with open(f'/proc/{pid}/cmdline', 'rb') as f:
                    args = f.read().split(b'\0')
                if self.is_machine(args):
                    victims.append(int(pid))
        check(victims, f'{self.name}: no process')
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        self.w.procs.remove(self.process)

    def is_machine(self, args):
        name = os.path.basename(args[0]).decode()
        return (name.startswith('qemu-system') or name.startswith('linux')) and any(self.mark().encode() in a for a in args)

    def mark(self):
        return MACS[self.name]

    def remove(self):
        with contextlib.suppress(Exception):
            self.kill()
        if self.kind:
            self.w.ctl('device', 'remove', self.name)


MACS = {name: f'52:54:00:00:00:{n:02x}' for n, name in enumerate(('vm-unix', 'vm-tcp', 'vm-dgram', 'vm-fd', 'vm-tap', 'vm-uml', 'neighbour'), 2)}


def vm_run(netdev):
    """vm-run's command line; @netdev(machine) for QEMU."""
    def argv(m):
        if not shutil.which('qemu-system-x86_64'):
            raise Unavailable('qemu-system-x86_64 is not installed')
        extra = netdev(m)
        return [f'{HERE}/vm-run', '-k', KERNEL, '-m', 'virtio_pci virtio_net', '-r', 384, '-p', 1, '-t', 600, '-f',
                f'{HERE}/machine.sh:/machine.sh', *(['-q', extra] if extra else []), '--', 'sh', '/machine.sh', m.name, 'eth0', OUTSIDE]
    return argv


def card(m):
    return f'-device virtio-net-pci,netdev=n0,mac={MACS[m.name]},romfile='


def uml_run(m):
    if not shutil.which('linux.uml'):
        raise Unavailable('user-mode-linux is not installed')
    return [f'{HERE}/uml-run', '-f', f'{HERE}/machine.sh:/machine.sh',
            f'vec0:transport=bess,dst={m.path},mac={MACS[m.name]}', '--', 'sh', '/machine.sh', m.name, 'vec0', OUTSIDE]


class QemuByFd(Machine):
    """QEMU as vnetctl qemu starts it."""

    def environ(self):
        script = f'{self.w.dir}/{self.name}.qemu'
        ctl = ' '.join(self.w.ctl_argv('qemu', f'--name={self.name}', f'--mac={MACS[self.name]}', '--device=virtio-net-pci,romfile='))
        netns.write(script, f'#!/bin/sh\nexec {ctl} -- qemu-system-x86_64 "$@"\n')
        os.chmod(script, 0o755)
        return {'QEMU': script}

    def kill(self):
        super().kill()
        wait_until(lambda: self.name not in self.w.ctl('device', 'list'), 60, 'the device goes with QEMU')


OPEN_TAP = """#!/usr/bin/env python3
import fcntl, os, struct, sys
tap = os.open('/dev/net/tun', os.O_RDWR)  # everybody may, where udev is
os.setegid(65534)
os.seteuid(65534)  # no rights but those of the interface's owner
fcntl.ioctl(tap, 0x400454ca, struct.pack('16sH22x', b'vmtap0', 0x5002))  # TUNSETIFF, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
os.seteuid(0)
os.set_inheritable(tap, True)
os.execvp('qemu-system-x86_64', ['qemu-system-x86_64', *sys.argv[1:], '-netdev', f'tap,id=n0,fd={tap}', '-device', 'CARD'])
"""


class QemuByTap(Machine):
    """QEMU on an interface of its own that its user may open, as libvirt with managed='no', cloud-hypervisor and firecracker have it."""

    def environ(self):
        script = f'{self.w.dir}/{self.name}.qemu'
        netns.write(script, OPEN_TAP.replace('CARD', card(self).split()[1]))
        os.chmod(script, 0o755)
        return {'QEMU': script}


def transfer(w, m, size=BULK):
    size >>= 20
    data = random.Random(m.name).randbytes(1 << 20) * size
    digest = hashlib.sha256(data).hexdigest()
    server = w.outside.listen(OUTSIDE, 9100)
    server.settimeout(100)

    def serve():
        s, _ = server.accept()
        s.sendall(data)
        s.close()

    def take():
        s, _ = server.accept()
        got = hashlib.sha256(read_all(s)).hexdigest()
        s.close()
        return got

    began = time.monotonic()
    job = Job(serve)
    equal(m.do(f'nc {OUTSIDE} 9100 </dev/null >/tmp/data; sha256sum </tmp/data', 100).split()[0], digest, 'down')
    job.wait()
    middle = time.monotonic()
    job = Job(take)
    m.do(f'nc {OUTSIDE} 9100 </tmp/data', 100)
    equal(job.wait(), digest, 'up')
    comment(f'{m.name}: {size} MiB down in {middle - began:.1f} s with its sha256, up in {time.monotonic() - middle:.1f} s')
    m.do('rm /tmp/data')
    server.close()


@contextlib.contextmanager
def endless_transfer(w, m):
    """Within, data goes to the machine, and has gone there for a while."""
    server = w.outside.listen(OUTSIDE, 9101)
    server.settimeout(100)
    orders(w).start(m.name, f'nc {OUTSIDE} 9101 </dev/null >/dev/null')
    s, _ = server.accept()
    sent = 0

    def send():
        nonlocal sent
        with contextlib.suppress(OSError):
            while True:
                sent += s.send(bytes(1 << 20))

    job = Job(send)
    wait_until(lambda: sent > 16 << 20, 60, 'the transfer')  # more than lies in all buffers on the way
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            s.shutdown(socket.SHUT_RDWR)  # wakes who sends
        job.wait()
        s.close()
        server.close()


def exposed(w, m, port):
    return w.host.run('curl', '-sS', '--max-time', 50, f'http://127.0.0.1:{port}/').stdout.strip()


def neighbour(w):
    """One machine for all the others to ping: of the other kind that is there."""
    if not hasattr(w, 'neighbour'):
        path = f'{w.dir}/neighbour.sock'
        netdev = f'-netdev stream,id=n0,server=off,addr.type=unix,addr.path={path} '
        w.neighbour = Machine(w, 'neighbour', uml_run if shutil.which('linux.uml') else vm_run(lambda m: netdev + card(m)),
                              'bess' if shutil.which('linux.uml') else 'qemu')
    return w.neighbour


def whole_life(w, m):
    check(f'Address: {GATEWAY}' in m.do('nslookup -type=a gateway.vnet.internal.').splitlines(), 'DNS')
    m.do(f'ping -c 2 -W 30 {GATEWAY}')
    transfer(w, m)
    w.ctl('expose', '7000', f'{m.addr}:8080')
    equal(exposed(w, m, 7000), m.name, 'exposed')
    other = neighbour(w)
    m.do(f'ping -c 2 -W 30 {other.addr}')
    other.do(f'ping -c 2 -W 30 {m.addr}')

    before = m.addr
    with endless_transfer(w, m):
        m.kill()
    other.do(f'ping -c 2 -W 30 {GATEWAY}')
    m.boot()
    equal(m.addr, before, 'the lease of the machine that came back')
    equal(exposed(w, m, 7000), m.name, 'exposed still')
    w.ctl('unexpose', '7000')
    m.remove()


def qemu_stream_unix(w):
    whole_life(w, Machine(w, 'vm-unix', vm_run(
        lambda m: f'-netdev stream,id=n0,server=off,addr.type=unix,addr.path={m.path} ' + card(m)), 'qemu'))


def qemu_stream_tcp(w):
    whole_life(w, Machine(w, 'vm-tcp', vm_run(
        lambda m: '-netdev stream,id=n0,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=7200 ' + card(m)), 'qemu',
        'tcp:127.0.0.1:7200'))


def qemu_dgram(w):
    whole_life(w, Machine(w, 'vm-dgram', vm_run(
        lambda m: f'-netdev dgram,id=n0,local.type=unix,local.path={m.path}.{time.monotonic_ns()},remote.type=unix,remote.path={m.path} '
        + card(m)), 'qemu-dgram'))


def qemu_fd(w):
    whole_life(w, QemuByFd(w, 'vm-fd', vm_run(lambda m: '')))


def qemu_tap(w):
    """The recipe of docs/recipes.md: vnetd's interface and the machine's on a bridge without addresses."""
    w.ctl('device', 'create', 'tap', '--name=vms', '--mtu=1500')
    ifname = json.loads(w.ctl('--json=short', 'device', 'show', 'vms'))['Ifname']
    run('ip', 'link', 'add', 'vmbr', 'type', 'bridge')
    run('ip', 'link', 'set', 'vmbr', 'up')
    run('ip', 'link', 'set', ifname, 'master', 'vmbr', 'up')
    run('ip', 'tuntap', 'add', 'dev', 'vmtap0', 'mode', 'tap', 'user', 65534)
    run('ip', 'link', 'set', 'vmtap0', 'master', 'vmbr', 'up')
    whole_life(w, QemuByTap(w, 'vm-tap', vm_run(lambda m: '')))
    for link in 'vmtap0', 'vmbr':
        run('ip', 'link', 'del', link)
    w.ctl('device', 'remove', 'vms')


def uml_bess(w):
    whole_life(w, Machine(w, 'vm-uml', uml_run, 'bess'))


class PodmanMachine(Machine):
    """A machine behind vnet-gvproxy, which is started as podman machine starts gvproxy."""

    def __init__(self, w):
        if not os.access('/usr/sbin/sshd', os.X_OK) or not shutil.which('socat'):
            raise Unavailable('sshd or socat is not installed')
        self.dir = d = f'{w.dir}/podman'
        os.mkdir(d)
        for name in 'host', 'machine':
            run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', f'{d}/{name}')
        netns.write(f'{d}/sshd.conf', 'HostKey /host\nAuthorizedKeysFile /authorized\nStrictModes no\nUsePAM no\nPidFile none\n')
        shutil.copy(f'{d}/machine.pub', f'{d}/authorized')
        forward = lambda name, dest: ['-forward-sock', f'{d}/{name}.sock', '-forward-dest', dest, '-forward-user', 'root',
                                      '-forward-identity', f'{d}/machine']
        self.gvproxy = w.spawn(GVPROXY, '-mtu', '1500', '-ssh-port', '38197', '-listen-qemu', f'unix://{d}/gvproxy.sock',
                               *forward('podman', '/run/user/501/podman/podman.sock'), *forward('podman-root', '/run/podman/podman.sock'),
                               '-pid-file', f'{d}/gvproxy.pid', '-log-file', f'{d}/gvproxy.log', '-notification', f'unix://{d}/notify.sock',
                               '-services', f'unix://{d}/services.sock')
        wait_until(lambda: os.path.exists(f'{d}/services.sock'), 60, 'vnet-gvproxy')
        netdev = f'-netdev stream,id=vlan,server=off,addr.type=unix,addr.path={d}/gvproxy.sock '
        argv = vm_run(lambda m: netdev + '-device virtio-net-pci,netdev=vlan,mac=5a:94:ef:e4:0c:ee,romfile=')

        def with_sshd(m):
            a = argv(m)
            extra = ['-b', '/usr/sbin/sshd', '-b', shutil.which('socat')]
            for name, at in ('host', '/host'), ('sshd.conf', '/sshd.conf'), ('authorized', '/authorized'):
                extra += ['-f', f'{d}/{name}:{at}']
            return a[:1] + extra + a[1:]

        super().__init__(w, 'podman', with_sshd)

    def mark(self):
        return 'mac=5a:94:ef:e4:0c:ee'


def gvproxy_podman(w):
    """podman machine's command line for gvproxy, with a machine behind it: DHCP, DNS, ssh by -ssh-port, the two API sockets by ssh, expose."""
    m = PodmanMachine(w)
    d = m.dir
    equal(m.addr, '192.168.127.2', 'the lease of podman\'s MAC address')
    equal(netns.read(f'{d}/gvproxy.pid'), str(m.gvproxy.pid), 'pid file')
    for name, addr in ('gateway.containers.internal', '192.168.127.1'), ('host.containers.internal', '192.168.127.254'), \
            ('host.docker.internal', '192.168.127.254'):
        check(addr in m.do(f'nslookup -type=a {name}. {GATEWAY}').replace(f'Address:\t{GATEWAY}:53', ''), name)
    m.do('mkdir -p /run/sshd /run/podman /run/user/501/podman; chmod 600 /host; echo "sshd:x:74:74::/run/sshd:/bin/false" >>/etc/passwd; '
         '/usr/sbin/sshd -f /sshd.conf')
    for name in '/run/podman', '/run/user/501/podman':
        m.do(f'socat UNIX-LISTEN:{name}/podman.sock,fork TCP:127.0.0.1:8080 </dev/null >/dev/null 2>&1 &\n'
             f'until grep -q " 00010000 .*{name}/podman.sock" /proc/net/unix; do sleep 0.1; done')  # it listens
    for name in 'podman', 'podman-root':
        r = run('curl', '-sS', '--max-time', 150, '--unix-socket', f'{d}/{name}.sock', 'http://d/', timeout=160)
        equal(r.stdout.strip(), 'podman', name)
    ssh = run('ssh', '-F', 'none', '-i', f'{d}/machine', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null',
              '-o', 'LogLevel=ERROR', '-p', 38197, 'root@127.0.0.1', 'uname -n; cat /proc/uptime', timeout=160)
    check(ssh.stdout, 'ssh by -ssh-port')
    comment('ssh -p 38197:', ssh.stdout.replace('\n', ' '))
    api = ['curl', '-sS', '--max-time', 50, '--unix-socket', f'{d}/services.sock']
    equal(run(*api, 'http://unix/services/forwarder/expose', '-X', 'POST', '-d', '{"local":":6443","remote":"192.168.127.2:8080"}').stdout, '', 'expose')
    equal(exposed(w, m, 6443), 'podman', 'exposed')
    equal(run(*api, 'http://unix/services/forwarder/unexpose', '-X', 'POST', '-d', '{"local":":6443"}').stdout, '', 'unexpose')
    transfer(w, m, 16 << 20)

    m.kill()
    m.gvproxy.terminate()
    equal(m.gvproxy.wait(60), 0, 'exit status')
    w.procs.remove(m.gvproxy)
    check(not os.path.exists(f'{d}/gvproxy.pid') and not os.path.exists(f'{d}/podman.sock'), 'files are left')


def get_kernel():
    r = subprocess.run([f'{HERE}/get-kernel', KERNEL, 'stable'], capture_output=True, text=True)
    if r.returncode == 77:
        netns.skip_all(r.stderr.strip() or 'no kernel to boot')
    if r.returncode != 0:
        sys.exit(r.stderr)


if __name__ == '__main__':
    if not os.environ.get(netns.INSIDE):
        get_kernel()
    netns.main([qemu_stream_unix, qemu_stream_tcp, qemu_dgram, qemu_fd, qemu_tap, uml_bess, gvproxy_podman])
