#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
ssh, the real client and the real sshd in a guest: through `vnetctl connect`, and as the forwards of Unix sockets that vnet-gvproxy keeps by
it. The guests of vnet-gvproxy are namespaces behind sock-bridge, as in test-sockets.py.
"""

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import stat
import subprocess
import time

import netns
from netns import GATEWAY, SLOW, Job, Namespace, Unavailable, check, comment, equal, need, read, read_all, run, wait_until, write

GVPROXY = os.path.abspath(os.environ.get('VNET_GVPROXY', 'build/src/gvproxy/vnet-gvproxy'))
BRIDGE = os.path.abspath(os.environ.get('SOCK_BRIDGE', 'build/tests/netns/sock-bridge'))
SSHD = '/usr/sbin/sshd'
DATA = random.Random(5).randbytes((256 if SLOW else 16) << 20)
SHA = hashlib.sha256(DATA).hexdigest()
CLIENTS = 64
MACHINE_MAC = '5a:94:ef:e4:0c:ee'
SSH = ['ssh', '-F', 'none', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR']


class Sshd:
    """sshd in a namespace. Its keys are made once a world: key() is one it takes, key('other') one it does not."""

    def __init__(self, w, ns):
        if not os.path.exists(SSHD) or not os.access(SSHD, os.X_OK):
            raise Unavailable('sshd is not installed')
        need('ssh', 'ssh-keygen')
        with open('/proc/self/uid_map') as f:
            if int(f.read().split()[2]) < 65536:
                raise Unavailable('sshd needs other users than root')
        self.w, self.ns, self.process = w, ns, None
        os.makedirs('/run/sshd', exist_ok=True)
        for name in 'host', 'good', 'other':
            if not os.path.exists(self.key(name)):
                run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', self.key(name))
        self.config = f'{w.dir}/sshd.conf'
        write(f'{w.dir}/authorized', read(self.key('good') + '.pub'))
        write(self.config, f'HostKey {self.key("host")}\nAuthorizedKeysFile {w.dir}/authorized\nStrictModes no\nUsePAM no\nPidFile none\n'
                           'PermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxSessions 1000\nMaxStartups 1000\n'
                           'Subsystem sftp internal-sftp\nPort 22\n')
        self.start()

    def key(self, name='good'):
        return f'{self.w.dir}/key-{name}'

    def start(self):
        self.process = self.w.spawn(SSHD, '-D', '-e', '-f', self.config, ns=self.ns, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: ':22 ' in self.ns.run('ss', '-tlnH').stdout, 10, 'sshd')

    def stop(self):
        """And the connections with it."""
        self.w.procs.remove(self.process)
        for session in run('pgrep', '-f', '^sshd: ', ok=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(session), signal.SIGKILL)
        self.process.kill()
        self.process.wait()


class Server:
    """A Unix socket "inside the guest": echoes what it is told until the end, in upper case; then hangs up."""

    def __init__(self, path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(512)
        self.n = 0
        Job(self.run)

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                c, _ = self.socket.accept()
                self.n += 1
                Job(self.serve, c)

    def serve(self, c):
        data = read_all(c)
        with contextlib.suppress(OSError):
            c.sendall(data[::-1])
        c.close()


def talk(path, data, timeout=30):
    with socket.socket(socket.AF_UNIX) as c:
        c.settimeout(timeout)
        c.connect(path)
        job = Job(c.sendall, data)
        job.wait(timeout)
        c.shutdown(socket.SHUT_WR)
        return read_all(c)


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('unix', timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class Gvproxy:
    """vnet-gvproxy, with a namespace as its machine."""

    def __init__(self, w, name, *args, env=None, kind='qemu', api=True):
        self.w, self.dir = w, f'{w.dir}/{name}'
        os.mkdir(self.dir)
        self.log = f'{self.dir}/log'
        self.api = f'{self.dir}/api'
        args = ['-ssh-port', '-1', '-log-file', self.log, *(['-listen', f'unix://{self.api}'] if api else []), *args]
        stdio = None
        if kind == 'qemu':
            args += ['-listen-qemu', f'unix://{self.dir}/vm']
        elif kind == 'stdio':
            args += ['-listen-stdio', 'accept']
            stdio, far = socket.socketpair()
        self.process = subprocess.Popen([GVPROXY, *args], stdin=stdio or subprocess.DEVNULL, stdout=stdio,
                                        env={**os.environ, 'XDG_RUNTIME_DIR': self.dir, **(env or {})})
        w.procs.append(self.process)
        wait_until(lambda: 'Ready' in read(self.log) or self.process.poll() is not None, 10, 'vnet-gvproxy')
        check(self.process.poll() is None, read(self.log))
        self.guest = Namespace('vm-' + name)
        if kind == 'qemu':
            self.plug()
            return
        self.plug('stdio', f'fd:{far.fileno()}', (far.fileno(),))
        far.close()
        stdio.close()

    def plug(self, kind='qemu', address=None, fds=()):
        self.bridge = self.w.spawn(BRIDGE, kind, address or f'{self.dir}/vm', self.guest.path, 'eth0', '1500', stdout=subprocess.PIPE, pass_fds=fds)
        equal(self.bridge.stdout.readline(), b'up\n', 'the bridge')
        self.guest.run('ip', 'link', 'set', 'eth0', 'address', MACHINE_MAC)
        self.configure()

    def unplug(self):
        self.bridge.kill()
        self.bridge.wait()
        self.w.procs.remove(self.bridge)
        wait_until(lambda: 'eth0' not in self.guest.run('ip', 'link').stdout, 20, 'the interface is gone')

    def configure(self):
        out = f'{self.dir}/lease'
        self.guest.run('busybox', 'udhcpc', '-f', '-q', '-n', '-t', 20, '-T', 1, '-i', 'eth0', '-s',
                       netns.world_script(self.w, 'configure', netns.CONFIGURE), env={**os.environ, 'OUT': out}, timeout=40)
        self.lease = dict(line.split('=', 1) for line in read(out).splitlines() if '=' in line)
        self.addr = self.lease['ip']

    def ask(self, path, body=None):
        c = Connection(self.api)
        c.request('GET' if body is None else 'POST', path, body if body is None else json.dumps(body))
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        return r.status, text

    def children(self):
        return run('pgrep', '-P', str(self.process.pid), ok=False).stdout.split()

    def end(self, code=0):
        self.process.send_signal(signal.SIGTERM)
        equal(self.process.wait(10), code, 'exit status')
        self.w.procs.remove(self.process)
        self.bridge.kill()
        self.bridge.wait()
        self.w.procs.remove(self.bridge)
        self.guest.remove()


def case_connect_is_a_proxy_command(w):
    """The real ssh through `vnetctl connect`, by name and by address: a command, 16 MiB each way, sftp, and what it says of a closed port."""
    g = w.guest('machine')
    sshd = Sshd(w, g)
    proxy = ' '.join(w.ctl_argv('connect'))
    ssh = [*SSH, '-i', sshd.key(), '-o', f'ProxyCommand={proxy} %h %p']
    equal(run(*ssh, g.addr, 'echo', '$SSH_CONNECTION').stdout.split()[2:], [g.addr, '22'], 'the far end')
    check(run(*ssh, g.addr, 'echo', '$SSH_CONNECTION').stdout.startswith(GATEWAY + ' '), 'seen from the gateway')
    up = subprocess.run([*ssh, g.addr, 'sha256sum'], input=DATA, stdout=subprocess.PIPE, timeout=100, check=True)
    equal(up.stdout.decode().split()[0], SHA, 'up')
    write_bytes(f'{w.dir}/data', DATA)
    down = subprocess.run([*ssh, g.addr, 'cat', f'{w.dir}/data'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=100, check=True)
    equal(hashlib.sha256(down.stdout).hexdigest(), SHA, 'down')

    run('scp', *ssh[1:], f'{g.addr}:{w.dir}/data', f'{w.dir}/copy', timeout=100)
    with open(f'{w.dir}/copy', 'rb') as f:
        equal(hashlib.sha256(f.read()).hexdigest(), SHA, 'scp')
    sshd.stop()
    r = run(*ssh, g.addr, 'true', ok=False)
    equal(r.returncode, 255, 'without sshd')
    r = run(*ssh, '192.168.127.77', 'true', ok=False)
    equal(r.returncode, 255, 'nobody there')
    w.drop_guest(g)
    w.no_flows()


def write_bytes(path, data):
    with open(path, 'wb') as f:
        f.write(data)


def case_ssh_forwards(w):
    """-forward-sock and the rest: both ends of a stream, many at once, odd names, sshd that goes and comes, a socket that is there already."""
    inside = f'{w.dir}/in: side %h \\x.sock'
    os.makedirs(f'{w.dir}/odd %u dir')
    key_dir = f'{w.dir}/odd %u dir'
    served = Server(inside)
    write(f'{w.dir}/dead', '')
    os.unlink(f'{w.dir}/dead')
    with socket.socket(socket.AF_UNIX) as s:  # left behind by a crash
        s.bind(f'{w.dir}/dead')
    # The machine has no sshd yet: the sockets are there, and clients wait.
    run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', f'{key_dir}/key:%h')
    forward = lambda sock, dest, key: ['-forward-sock', sock, '-forward-dest', dest, '-forward-user', 'root', '-forward-identity', key]
    g = Gvproxy(w, 'fwd', *forward(f'unix://{w.dir}/one', inside, f'{key_dir}/key:%h'), *forward(f'{w.dir}/dead', '/nonexistent', f'{key_dir}/key:%h'))
    equal(g.addr, '192.168.127.2', 'the machine')
    one = f'{w.dir}/one'
    equal(stat.S_IMODE(os.stat(one).st_mode), 0o600, 'mode')
    waiting = Job(talk, one, b'early')
    wait_until(lambda: any(why in read(g.log) for why in ('Connection', 'closed')), 30, lambda: 'why it has to wait: ' + read(g.log))
    sshd = Sshd(w, g.guest)
    with open(f'{w.dir}/authorized', 'a') as f:
        f.write(read(f'{key_dir}/key:%h.pub'))
    equal(waiting.wait(40), b'ylrae', 'a client from before')

    got = talk(one, DATA, 100)
    equal(hashlib.sha256(got[::-1]).hexdigest(), SHA, 'both ways')
    jobs = [Job(talk, one, f'client {i}'.encode() * 1000) for i in range(CLIENTS)]
    for i, job in enumerate(jobs):
        equal(job.wait(60), (f'client {i}'.encode() * 1000)[::-1], f'client {i}')
    # What the machine has no socket for is the end at once, not a wait.
    equal(talk(f'{w.dir}/dead', b'x'), b'', 'no such socket inside')

    # sshd goes, with all connections, and comes back.
    told = read(g.log).count('trying again')
    sshd.stop()
    wait_until(lambda: read(g.log).count('trying again') >= told + 2, 10, 'it is told')
    waiting = Job(talk, one, b'late')
    time.sleep(0.5)
    sshd.start()
    equal(waiting.wait(40), b'etal', 'after sshd came back')
    n = read(g.log).count('trying again')
    check(n < 20, 'told', n, 'times')

    children = g.children()
    equal(len(children), 2, 'one ssh each')
    for pid in children:  # nothing of the names in the arguments means anything; no shell is between
        argv = read(f'/proc/{pid}/cmdline').split('\0')
        equal(argv[0], 'ssh')
        check('key:%h' not in ' '.join(argv), argv)
    os.kill(int(children[0]), signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f'/proc/{children[0]}'), 10, 'it ends')
    equal(talk(one, b'again', 40), b'niaga', 'after its child was killed')
    children = g.children()
    g.end()
    for pid in children:
        check(not os.path.exists(f'/proc/{pid}'), 'an ssh is left')
    check(not os.path.exists(one) and not os.path.exists(f'{w.dir}/dead'), 'sockets are left')
    check(not [d for d in os.listdir(g.dir) if d.startswith('vnetd-ssh-')], 'directories are left')
    check(served.n >= CLIENTS, 'served', served.n)
    sshd.stop()

    # Refused at start, and nothing touched: a file where the socket should be; a socket somebody listens on.
    write(f'{w.dir}/precious', 'mine')
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(f'{w.dir}/busy')
        s.listen()
        for path in 'precious', 'busy':
            r = run(GVPROXY, '-ssh-port', '-1', *forward(f'{w.dir}/{path}', '/x', sshd.key()), ok=False)
            equal((r.returncode, f'{w.dir}/{path}' in r.stderr), (1, True), r.stderr)
    equal(read(f'{w.dir}/precious'), 'mine')


def case_ssh_forward_reasons(w):
    """Each thing that can be wrong is told in words, once, and the rest goes on: a key that is not taken, a key with a passphrase, no ssh."""
    os.makedirs(f'{w.dir}/empty')
    Server(f'{w.dir}/srv')
    forward = lambda sock, key: ['-forward-sock', sock, '-forward-dest', f'{w.dir}/srv', '-forward-user', 'root', '-forward-identity', key]
    run('ssh-keygen', '-q', '-t', 'ed25519', '-N', 'secret', '-f', f'{w.dir}/locked')
    run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', f'{w.dir}/stranger')
    write(f'{w.dir}/nonsense', 'no key\n')
    os.chmod(f'{w.dir}/nonsense', 0o600)
    g = Gvproxy(w, 'why', *forward(f'{w.dir}/s1', f'{w.dir}/stranger'), *forward(f'{w.dir}/s2', f'{w.dir}/locked'), *forward(f'{w.dir}/s3', f'{w.dir}/nonsense'))
    sshd = Sshd(w, g.guest)
    for i in 1, 2, 3:
        wait_until(lambda: f"for '{w.dir}/s{i}': root@192.168.127.2: Permission denied" in read(g.log) or f'/s{i}' in read(g.log) and 'denied' in read(g.log), 20,
                   lambda: read(g.log))
    time.sleep(1.5)
    lines = [line for line in read(g.log).splitlines() if 'trying again' in line]
    check(len(lines) <= 9, *lines)
    comment(*lines[:3])
    g.end()
    sshd.stop()
    g = Gvproxy(w, 'none', *forward(f'{w.dir}/s4', sshd.key()), env={'PATH': f'{w.dir}/empty'})
    wait_until(lambda: "there is no program 'ssh'" in read(g.log), 10, lambda: read(g.log))
    g.end()


def case_ssh_tunnel_by_the_api(w):
    """POST expose with ssh-tunnel://: listed as asked, used, taken away; and everything in the URL that cannot be."""
    Server(f'{w.dir}/api-srv')
    g = Gvproxy(w, 'api')
    sshd = Sshd(w, g.guest)
    sock = f'{w.dir}/by-api'
    url = f'ssh-tunnel://root@{g.addr}:22{w.dir}/api-srv?key={sshd.key()}'
    expose = lambda remote: g.ask('/services/forwarder/expose', {'local': sock, 'remote': remote, 'protocol': 'unix'})
    equal(expose(url), (200, ''), 'expose')
    equal(talk(sock, b'hello', 40), b'olleh', 'through it')
    equal(json.loads(g.ask('/services/forwarder/all')[1]), [{'local': sock, 'remote': url, 'protocol': 'unix'}], 'all')
    check(expose(url)[1].startswith('proxy already running'), 'twice')
    equal(g.ask('/services/forwarder/unexpose', {'local': sock, 'protocol': 'unix'}), (200, ''), 'unexpose')
    check(not os.path.exists(sock), 'the socket is left')
    for remote, text in ((f'ssh-tunnel://root@{g.addr}:22?key=/x', 'path to a socket file'), (f'ssh-tunnel://root@{g.addr}/x', 'key not provided'),
                         (f'ssh-tunnel://root@{g.addr}/x?key=/nonexistent', "can't be loaded"), (f'ssh-tunnel://-oProxyCommand=x@{g.addr}/x?key=/x', "user's name"),
                         (f'ssh-tunnel://root:pw@{g.addr}/x?key={sshd.key()}', "user's name"), (f'ssh-tunnel://root@{g.addr}:0/x?key={sshd.key()}', 'port'),
                         (f'ssh-tunnel://root@-x/x?key={sshd.key()}', "no guest's name"), (f'ssh-tunnel://root@{g.addr}/%0a?key={sshd.key()}', 'path'),
                         (f'ssh-tunnel://root@{g.addr}/${{HOME}}?key={sshd.key()}', 'variable'), (f'ssh-tunnel://root@{g.addr}/%4?key=x', 'path'),
                         (f'ssh-tunnel://root@{g.addr}/{"a" * 200}?key={sshd.key()}', 'path'), (f'ssh-tunnel://root@{g.addr}/x?key={sshd.key()}&passphrase=x', 'passphrase'),
                         (f'ssh-tunnel://root@{g.addr}/x?key={"a" * 1100}', 'at most 1024')):
        status, answer = expose(remote)
        check(status == 500 and text in answer, remote, '->', status, answer)
        check(not os.path.exists(sock), 'a socket is left of', remote)
    g.end()
    sshd.stop()


def case_notifications(w):
    """-notification: ready, the machine that is there, has gone, and is there again; a line for each, on a connection of its own."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f'{w.dir}/notify')
    listener.listen(16)
    listener.settimeout(20)

    def event():
        c, _ = listener.accept()
        text = read_all(c).decode()
        c.close()
        check(text.endswith('\n') and text.count('\n') == 1, repr(text))
        return json.loads(text)

    g = Gvproxy(w, 'told', '-notification', f'unix://{w.dir}/notify')
    equal(event(), {'notification_type': 'ready'})
    equal(event(), {'notification_type': 'connection_established', 'mac_address': MACHINE_MAC})
    g.unplug()
    equal(event(), {'notification_type': 'connection_closed', 'mac_address': MACHINE_MAC})
    g.plug()
    equal(g.addr, '192.168.127.2', 'the machine that is back')
    equal(event(), {'notification_type': 'connection_established', 'mac_address': MACHINE_MAC})
    listener.close()
    g.unplug()
    wait_until(lambda: 'Cannot notify' in read(g.log), 10, 'nobody listens: that is logged')
    g.plug()
    g.end()


def case_api_inside(w):
    """Port 80 of the gateway: forwards, as gvproxy has them there, of TCP and UDP; nothing else of the API, and no file of the host."""
    g = Gvproxy(w, 'inside')
    url = 'http://gateway.containers.internal'
    base = '/services/forwarder'

    def curl(path, body=None):
        data = [] if body is None else ['-X', 'POST', '-d', json.dumps(body)]
        r = g.guest.run('curl', '-sS', '--max-time', 20, '--resolve', f'gateway.containers.internal:80:{GATEWAY}', '-w', '%{http_code}', *data, url + path).stdout
        return int(r[-3:]), r[:-3]

    listener = g.guest.listen(g.addr, 8080)
    equal(curl(base + '/expose', {'local': ':9090', 'remote': ':8080'}), (200, ''), 'as in its tests')
    equal(curl(base + '/all'), (200, f'[{{"local":":9090","remote":"{g.addr}:8080","protocol":"tcp"}}]\n'), 'the caller is meant')
    with w.host.connect('127.0.0.1', 9090) as c:
        s, _ = listener.accept()
        s.sendall(b'hello')
        s.close()
        equal(read_all(c), b'hello')
    code, text = curl(base + '/expose', {'local': ':9090', 'remote': ':8080'})
    check(code == 500 and text.startswith('proxy already running'), code, text)
    equal(curl(base + '/unexpose', {'local': ':9090'}), (200, ''))
    equal(curl(base + '/expose', {'local': ':9053', 'remote': ':53', 'protocol': 'udp'}), (200, ''))
    equal(curl(base + '/unexpose', {'local': ':9053', 'protocol': 'udp'}), (200, ''))
    unix = {'protocol': 'unix', 'local': f'{g.dir}/u.sock', 'remote': f'tcp://{g.addr}:8080'}
    tunnel = {**unix, 'remote': f'ssh-tunnel://root@{g.addr}:22/run/x.sock?key=/etc/passwd'}
    for body in unix, tunnel:
        equal(curl(base + '/expose', body), (500, 'protocol unix is not allowed from inside the network\n'))
    check(not os.path.exists(f'{g.dir}/u.sock'), 'a socket is made on the host')
    code, text = curl(base + '/expose', {'local': 'gateway:7300', 'remote': f'unix:{g.dir}/any.sock'})
    check(code == 500 and 'not for guests' in text, code, text)
    equal(g.ask(base + '/expose', unix), (200, ''), 'from the host')
    code, text = curl(base + '/unexpose', unix)
    check(code == 500 and os.path.exists(f'{g.dir}/u.sock'), code, text)
    for path in '/services/dns/all', '/services/dhcp/leases', '/leases', '/cam', '/stats', '/metrics', '/connect', f'/tunnel?ip={g.addr}&port=22', '/debug/pprof/':
        equal(curl(path), (404, '404 page not found\n'), path)
    equal(curl('/services/dns/add', {'Name': 'x.', 'DefaultIP': '10.0.0.1'})[0], 404)
    g.end()
    g = Gvproxy(w, 'inside-all', '-gateway-expose-all-protocols')
    unix['local'] = f'{g.dir}/u.sock'
    equal(curl(base + '/expose', unix), (200, ''), 'with the flag')
    check(os.path.exists(f'{g.dir}/u.sock'), 'no socket')
    equal(curl(base + '/unexpose', unix), (200, ''))
    g.end()


def case_stdio(w):
    """-listen-stdio: a machine on stdin and stdout; its end is the end of the process, with status 0."""
    write(f'{w.dir}/pcap', 'of before')
    g = Gvproxy(w, 'stdio', '-pcap', f'{w.dir}/pcap', kind='stdio')
    equal(g.addr, '192.168.127.2', 'DHCP')
    g.guest.run('ping', '-c', 2, '-i', '0.2', '-W', 10, GATEWAY)
    server = w.host.listen('127.0.0.1')
    c = g.guest.connect('192.168.127.254', server.getsockname()[1])
    s, _ = server.accept()
    job = Job(lambda: (c.sendall(DATA), c.shutdown(socket.SHUT_WR)))
    equal(hashlib.sha256(read_all(s)).hexdigest(), SHA, 'up')
    job.wait()
    job = Job(lambda: (s.sendall(DATA), s.shutdown(socket.SHUT_WR)))
    equal(hashlib.sha256(read_all(c)).hexdigest(), SHA, 'down')
    job.wait()
    g.bridge.kill()
    equal(g.process.wait(10), 0, 'exit status when the machine has gone')

    w.procs.remove(g.process)
    g.bridge.wait()
    w.procs.remove(g.bridge)
    g.guest.remove()
    check('Stopping' in read(g.log), read(g.log))
    captured = run('tcpdump', '-nr', f'{w.dir}/pcap', '-c', 1, 'icmp').stdout
    check('ICMP echo request' in captured, captured)


if __name__ == '__main__':
    netns.main([case_connect_is_a_proxy_command, case_ssh_forwards, case_ssh_forward_reasons, case_ssh_tunnel_by_the_api, case_api_inside, case_notifications, case_stdio])
