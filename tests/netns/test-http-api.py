#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The HTTP API of a network of vnetd, as gvproxy's users know it: each curl command of gvproxy's README, what its Go client and its tests expect,
what guests find at port 80 of the gateway, and everything that may come in place of a request.
"""

import contextlib
import http.client
import json
import os
import shutil
import socket
import stat
import subprocess
import threading
import time

import netns
from netns import GATEWAY, Job, check, equal, read_all, run, wait_until

SOCK = '/run/network.sock'
SLOW_LIMIT = 20  # HTTP_REQUEST_SEC
GATEWAY_MAC = '5a:94:ef:e4:0c:dd'


class Connection(http.client.HTTPConnection):
    def __init__(self, path=SOCK):
        super().__init__('unix', timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def ask(path, body=None, method=None):
    """(status, text) of a request."""
    c = Connection()
    with contextlib.closing(c):
        c.request(method or ('GET' if body is None else 'POST'), path, body if body is None or isinstance(body, bytes) else json.dumps(body))
        r = c.getresponse()
        return r.status, r.read().decode()


def listed(path):
    status, text = ask(path)
    equal(status, 200, path)
    check(text.endswith('\n'), 'no line break behind', text)
    return json.loads(text)


def done(path, body):
    equal(ask(path, body), (200, ''), f'{path} {body}')


def begins(found, status, text):
    check(found[0] == status and found[1].startswith(text), f'{found!r} does not begin with {status} {text!r}')


def raw(data, shut=True, timeout=30):
    """Everything that comes back for bytes."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(timeout)
        s.connect(SOCK)
        with contextlib.suppress(BrokenPipeError):
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
        got = b''
        with contextlib.suppress(ConnectionResetError):
            while b := s.recv(65536):
                got += b
        return got


CONFIG = {'subnet': '192.168.127.0/24', 'httpApi': 'unix://' + SOCK, 'httpGateway': True, 'hostLoopback': True,
          'staticLeases': {'192.168.127.2': '5a:94:ef:e4:0c:ee'}}


def ready(w):
    """The world is one whose network is served by HTTP."""
    if getattr(w, 'serves_http', 0) != w.n:  # a case that failed left a new world
        w.stop()
        w.start(files={'networks.d/default.json': CONFIG})
        w.serves_http = w.n


def the_guest(w):
    ready(w)
    for g in w.guests:
        if g.name == 'vm':
            return g
    g = w.guest('vm', configure=False)
    g.run('ip', 'link', 'set', 'eth0', 'down')
    g.run('ip', 'link', 'set', 'eth0', 'address', '5a:94:ef:e4:0c:ee', 'up')
    g.configure()
    equal(g.addr, '192.168.127.2', 'the address of the machine')
    return g


class Web:
    """An HTTP server in a namespace that says who asks."""

    def __init__(self, ns, port, addr='0.0.0.0'):
        self.listener = ns.listen(addr, port)
        self.listener.settimeout(None)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                c, peer = self.listener.accept()
                with c, contextlib.suppress(OSError):
                    c.recv(4096)
                    body = peer[0].encode()
                    c.sendall(b'HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


# ---- the README, word for word ----

def sh(command):
    return run('sh', '-c', command.replace('/tmp/network.sock', SOCK))


def readme_curl(w):
    """Its commands in its order, unchanged but for the path of the socket."""
    the_guest(w)
    stats = json.loads(sh('curl  --unix-socket /tmp/network.sock http:/unix/stats').stdout)
    for key in 'BytesSent', 'BytesReceived', 'UnknownProtocolRcvdPackets', 'MalformedRcvdPackets':
        check(isinstance(stats[key], int), key, 'is not in', stats)
    r = sh("curl  --unix-socket /tmp/network.sock http:/unix/services/forwarder/expose -X POST "
           "-d '{\"local\":\":6443\",\"remote\":\"192.168.127.2:6443\"}'")
    equal(r.stdout, '', 'the answer to expose')
    forwards = json.loads(sh('curl  --unix-socket /tmp/network.sock http:/unix/services/forwarder/all').stdout)
    equal(forwards, [{'local': ':6443', 'remote': '192.168.127.2:6443', 'protocol': 'tcp'}], 'all')
    r = sh("curl  --unix-socket /tmp/network.sock http:/unix/services/forwarder/unexpose -X POST -d '{\"local\":\":6443\"}'")
    equal(r.stdout, '', 'the answer to unexpose')
    equal(sh('curl  --unix-socket /tmp/network.sock http:/unix/services/forwarder/all').stdout, '[]\n', 'all, in the end')


# ---- the requests of its Go client, as its comments show them ----

def go_client(w):
    the_guest(w)
    equal(ask('/services/forwarder/all'), (200, '[]\n'))
    done('/services/forwarder/expose', b'{"local":"127.0.0.1:2224","remote":"192.168.127.2:22","protocol":"tcp"}')
    equal(ask('/services/forwarder/all'), (200, '[{"local":"127.0.0.1:2224","remote":"192.168.127.2:22","protocol":"tcp"}]\n'))
    done('/services/forwarder/unexpose', b'{"local":"127.0.0.1:2224","protocol":"tcp"}')
    equal(ask('/services/dns/all'), (200, 'null\n'))
    done('/services/dns/add', b'{"Name":"test.internal.","Records":[{"Name":"gateway","IP":"192.168.127.1"}]}')
    equal(ask('/services/dns/all'), (200, '[{"Name":"test.internal.","Records":[{"Name":"gateway","IP":"192.168.127.1"}],"DefaultIP":""}]\n'))
    equal(ask('/services/dhcp/leases'), (200, '{"192.168.127.1":"5a:94:ef:e4:0c:dd","192.168.127.2":"5a:94:ef:e4:0c:ee"}\n'))
    equal(ask('/leases'), ask('/services/dhcp/leases'))
    equal(listed('/cam'), {'5a:94:ef:e4:0c:ee': 0})
    w.ctl('zone', 'remove', 'test.internal')


def zones(w):
    """The cases of its dns_test.go, by the API."""
    the_guest(w)

    def zone(name, *records, default=''):
        return {'Name': name, 'Records': [{'Name': n, 'IP': ip} for n, ip in records] or None, 'DefaultIP': default}

    def after(*added):
        for z in added:
            done('/services/dns/add', {k: v for k, v in z.items() if v})
        found = listed('/services/dns/all')
        for z in found:
            w.ctl('zone', 'remove', z['Name'])
        return found

    ip = zone('internal.', default='192.168.0.1')
    record = zone('internal.', ('crc.testing', '192.168.0.2'))
    other = zone('dynamic.internal.', default='192.168.0.1')
    equal(after(ip), [ip], 'a zone with a default')
    equal(after(record), [record], 'a zone with a record')
    equal(after(other, record), [other, record], 'two zones')
    equal(after(ip, record), [record], 'added to a zone with a default, which goes')
    equal(after(record, zone('internal.', ('crc.testing', '192.168.0.3'))),
          [zone('internal.', ('crc.testing', '192.168.0.3'), ('crc.testing', '192.168.0.2'))], 'the newest first')
    equal(after(zone('crc.testing.', default='192.168.127.2'), zone('testing.', ('host', '192.168.127.3')), zone('testing.', ('gateway', '192.168.127.1'))),
          [zone('crc.testing.', default='192.168.127.2'), zone('testing.', ('gateway', '192.168.127.1'), ('host', '192.168.127.3'))], 'the order of zones')


def resolve(g, name):
    return g.run('dig', '+short', '+tries=1', '+time=5', '@' + GATEWAY, name, 'A').stdout.split()


def zones_in_the_guest(w):
    """Its tests in the machine: a zone added while it runs, the newest record, the default beside a parent zone."""
    g = the_guest(w)
    equal(resolve(g, 'test.dynamic.internal'), [], 'before')
    done('/services/dns/add', {'Name': 'dynamic.internal.', 'Records': [{'Name': 'test', 'IP': '192.168.127.254'}]})
    equal(resolve(g, 'test.dynamic.internal'), ['192.168.127.254'])
    done('/services/dns/add', {'Name': 'dynamic.internal.', 'Records': [{'Name': 'test', 'IP': '192.168.127.253'}]})
    equal(resolve(g, 'test.dynamic.internal'), ['192.168.127.253'], 'the newest')
    done('/services/dns/add', {'Name': 'testing.', 'Records': [{'Name': 'host', 'IP': '192.168.127.3'}]})
    done('/services/dns/add', {'Name': 'crc.testing.', 'DefaultIP': '192.168.127.2'})
    done('/services/dns/add', {'Name': 'testing.', 'Records': [{'Name': 'gateway', 'IP': '192.168.127.1'}, {'Regexp': '^w[0-9]+$', 'IP': '192.168.127.9'}]})
    for name, expected in (('crc.testing', []), ('foo.crc.testing', ['192.168.127.2']), ('gateway.testing', ['192.168.127.1']), ('host.testing', ['192.168.127.3']),
                           ('w12.testing', ['192.168.127.9']), ('w12x.testing', [])):
        equal(resolve(g, name), expected, name)
    equal(resolve(g, 'gateway.containers.internal'), [GATEWAY])
    equal(resolve(g, 'host.containers.internal'), ['192.168.127.254'])
    for name in 'dynamic.internal', 'testing', 'crc.testing':
        w.ctl('zone', 'remove', name)


def closed(port):
    with socket.socket() as s:
        return s.connect_ex(('127.0.0.1', port)) != 0


def fetched(*args):
    return run('curl', '-sS', '--max-time', 20, *args).stdout


def forwards(w):
    """Its test of a web server in the machine: refused, exposed, reached, refused again; a port that is taken, a duplicate."""
    g = the_guest(w)
    web = Web(g, 8080)
    check(closed(9090), 'port 9090 is open before')
    done('/services/forwarder/expose', {'local': '127.0.0.1:9090', 'remote': '192.168.127.2:8080'})
    equal(fetched('http://127.0.0.1:9090'), GATEWAY, 'whom the machine sees')
    begins(ask('/services/forwarder/expose', {'local': '127.0.0.1:9090', 'remote': '192.168.127.2:8080', 'protocol': 'tcp'}), 500,
           'proxy already running for tcp on 127.0.0.1:9090')
    done('/services/forwarder/unexpose', {'local': '127.0.0.1:9090'})
    wait_until(lambda: closed(9090), 20, 'port 9090 is closed')
    begins(ask('/services/forwarder/unexpose', {'local': '127.0.0.1:9090'}), 500, 'proxy not found')
    with w.host.listen('127.0.0.1', 9301):
        begins(ask('/services/forwarder/expose', {'local': '127.0.0.1:9301', 'remote': '192.168.127.2:8080'}), 500,
               'listen tcp 127.0.0.1:9301: bind: address already in use')
    equal(listed('/services/forwarder/all'), [], 'forwards')
    web.close()


def udp_forward(w):
    """A UDP service in the machine, both ways: its source port is kept."""
    g = the_guest(w)
    service = g.socket(socket.SOCK_DGRAM)
    service.bind(('0.0.0.0', 53))
    done('/services/forwarder/expose', {'local': ':1053', 'remote': '192.168.127.2:53', 'protocol': 'udp'})
    with service, w.host.socket(socket.SOCK_DGRAM) as c:
        c.bind(('127.0.0.1', 40123))
        for size in 1, 1400, 20000:
            c.sendto(b'q' * size, ('127.0.0.1', 1053))
            query, peer = service.recvfrom(65535)
            equal((len(query), peer), (size, (GATEWAY, 40123)), 'the query and who asks')
            service.sendto(b'a' * size, peer)
            answer, peer = c.recvfrom(65535)
            equal((len(answer), peer), (size, ('127.0.0.1', 1053)), 'the answer and who answers')
    # The other direction: one port of the machine is one port outside, whomever it speaks to.
    with w.outside.socket(socket.SOCK_DGRAM) as s, w.outside.socket(socket.SOCK_DGRAM) as t, g.socket(socket.SOCK_DGRAM) as c:
        s.bind((netns.OUTSIDE, 1054))
        t.bind((netns.OUTSIDE2, 1055))
        c.bind(('0.0.0.0', 40124))
        ports = set()
        for service in s, t, s:
            c.sendto(b'hello', service.getsockname())
            data, peer = service.recvfrom(100)
            equal((data, peer[0]), (b'hello', netns.HOST), 'what the service sees')
            ports.add(peer[1])
            service.sendto(b'hi', peer)
            equal(c.recvfrom(100), (b'hi', service.getsockname()), 'what the machine sees')
        equal(len(ports), 1, f'source ports {ports}')
    done('/services/forwarder/unexpose', {'local': ':1053', 'protocol': 'udp'})


def unix_forward(w):
    g = the_guest(w)
    web = Web(g, 8080)
    path = w.dir + '/f.sock'
    request = {'protocol': 'unix', 'local': path, 'remote': 'tcp://192.168.127.2:8080'}
    done('/services/forwarder/expose', request)
    check(stat.S_ISSOCK(os.stat(path).st_mode), 'no socket')
    equal(fetched('--unix-socket', path, 'http://placeholder/'), GATEWAY)
    begins(ask('/services/forwarder/expose', request), 500, 'proxy already running')
    equal(listed('/services/forwarder/all'), [{'local': path, 'remote': 'tcp://192.168.127.2:8080', 'protocol': 'unix'}])
    done('/services/forwarder/unexpose', request)
    check(not os.path.exists(path), 'the socket is still there')
    web.close()


def tunnel(w):
    g = the_guest(w)
    web = Web(g, 8080)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(SOCK)
        s.sendall(b'POST /tunnel?ip=192.168.127.2&port=8080 HTTP/1.1\r\nHost: x\r\n\r\n')
        equal(netns.read_exactly(s, 2), b'OK')
        s.sendall(b'GET / HTTP/1.0\r\n\r\n')
        check(read_all(s).startswith(b'HTTP/1.0 200 OK'), 'no answer through the tunnel')
    web.close()


def connect_request(w):
    """A machine plugs itself in through the API's socket, and goes."""
    ready(w)
    before = len(w.devices())
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(SOCK)
        s.sendall(b'POST /connect HTTP/1.1\r\nHost: x\r\n\r\n')
        wait_until(lambda: len(w.devices()) == before + 1, 10, 'a device for the machine')
        frame = b'\xff' * 6 + b'\x52\x54\0\0\0\x77' + b'\x08\x06' + bytes.fromhex('0001080006040001') + b'\x52\x54\0\0\0\x77' + bytes([192, 168, 127, 77]) \
            + b'\0' * 6 + bytes([192, 168, 127, 1])
        s.sendall(len(frame).to_bytes(2, 'little') + frame)
        s.settimeout(10)
        answer = netns.read_exactly(s, int.from_bytes(netns.read_exactly(s, 2), 'little'))
        equal(answer[6:12].hex(':'), GATEWAY_MAC, 'who answers the ARP request')
    wait_until(lambda: len(w.devices()) == before, 10, 'the device is gone')


# ---- inside the network ----

def inside(w):
    """Guests may read at port 80 of the gateway, and nothing else."""
    g = the_guest(w)

    def curl(path, *args):
        r = g.run('curl', '-sS', '--max-time', 20, '-w', '%{http_code}', *args, f'http://{GATEWAY}{path}').stdout
        return int(r[-3:]), r[:-3]

    for path in '/services/forwarder/all', '/services/dns/all', '/services/dhcp/leases', '/leases':
        equal(curl(path), ask(path), path)
    equal(curl('/cam')[0], 200)
    equal(sorted(json.loads(curl('/stats')[1])), sorted(listed('/stats')), 'stats')
    for path, body in (('/services/forwarder/expose', '{"local":":9090","remote":":8080"}'), ('/services/forwarder/unexpose', '{"local":":9090"}'),
                       ('/services/dns/add', '{"Name":"x.","DefaultIP":"10.0.0.1"}')):
        equal(curl(path, '-X', 'POST', '-d', body), (403, 'guests of this network may only read\n'), path)
    for path in '/metrics', '/connect', '/tunnel?ip=192.168.127.2&port=22', '/nowhere':
        equal(curl(path), (404, '404 page not found\n'), path)
    equal((listed('/services/forwarder/all'), ask('/services/dns/all')), ([], (200, 'null\n')), 'what has changed')
    # Another network of the same vnetd has none of it.
    w.ctl('network', 'create', 'plain')
    h = w.guest('vm2', network='plain')
    gateway = h.addr.rsplit('.', 1)[0] + '.1'
    r = h.run('curl', '-sS', '--max-time', 5, f'http://{gateway}/leases', ok=False)
    check(r.returncode == 7, 'no connection refused:', r.stderr, r.stdout)
    w.drop_guest(h)
    w.ctl('network', 'remove', 'plain')


def inside_flood(w):
    """More connections than there may be at once: some are closed, the rest answered, and the host's side goes on."""
    g = the_guest(w)
    socks = []
    for _ in range(200):
        with contextlib.suppress(OSError):
            socks.append(g.connect(GATEWAY, 80, timeout=5))
    begin = time.monotonic()
    equal(ask('/services/forwarder/all'), (200, '[]\n'))
    check(time.monotonic() - begin < 5, 'the host waits for guests')
    for s in socks:
        s.close()
    w.no_flows(seconds=30)
    wait_until(lambda: g.run('curl', '-sS', '--max-time', 5, f'http://{GATEWAY}/leases', ok=False).returncode == 0, 15, 'guests are served again')


# ---- Prometheus ----

def metrics(w):
    the_guest(w)
    status, text = ask('/metrics')
    equal(status, 200)
    check(text.endswith('# EOF\n'), text[-40:])
    parse = ('import sys, json; from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse; '
             'print(json.dumps({f.name: [f.type, [[s.labels, s.value] for s in f.samples]] for f in parse(sys.stdin.read())}))')
    if run('/usr/bin/python3', '-c', 'import prometheus_client.openmetrics.parser', ok=False).returncode != 0:
        raise netns.Unavailable('python3-prometheus-client is not installed')
    r = subprocess.run(['/usr/bin/python3', '-c', parse], input=text, capture_output=True, text=True, timeout=20)
    equal(r.returncode, 0, r.stderr)
    families = json.loads(r.stdout)
    equal(families['vnetd_leases'], ['gauge', [[{'network': 'default'}, 1.0]]])
    equal(families['vnetd_drops'][0], 'counter')
    equal({s[0]['network'] for s in families['vnetd_device_rx_bytes'][1]}, {'default'})
    check(len(families) > 15, sorted(families))
    if shutil.which('promtool'):  # it reads the older format, where a counter's family is called ..._total: 3, lint, is all it may say
        r = subprocess.run(['promtool', 'check', 'metrics'], input=text, capture_output=True, text=True, timeout=20)
        lint = [line for line in r.stderr.splitlines() if not line.endswith('_total no help text')]
        check(r.returncode in (0, 3) and not lint, r.returncode, r.stderr)


# ---- what is no request ----

POSTS = (('/services/forwarder/expose', 'ExposeRequest'), ('/services/forwarder/unexpose', 'UnexposeRequest'), ('/services/dns/add', 'Zone'))
GETS = ('/services/forwarder/all', '/services/dns/all', '/services/dhcp/leases', '/leases', '/cam', '/stats', '/metrics')


def snapshot():
    return ask('/services/forwarder/all'), ask('/services/dns/all')


def fds(w):
    return len(os.listdir(f'/proc/{w.vnetd.pid}/fd'))


@contextlib.contextmanager
def nothing_changed(w):
    """Neither what is there nor what it costs: descriptors, and (a second time, when everything is in place) memory."""
    ready(w)
    before = snapshot()
    wait_until(lambda: time.sleep(0.2) or True)
    n, kib = fds(w), w.rss()
    yield
    equal(snapshot(), before, 'forwards and zones')
    wait_until(lambda: fds(w) <= n, 15, lambda: f'{fds(w)} descriptors, {n} before', every=0.2)
    if not w.is_sanitized():
        check(w.rss() < kib + 6000, f'{w.rss()} KiB of memory, {kib} before')


def bad_bodies(w):
    the_guest(w)
    with nothing_changed(w):
        for path, record in POSTS:
            begins(ask(path), 400, 'post only')
            for method in 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'BREW':
                begins(ask(path, b'{}', method), 400, 'post only')
            begins(ask(path, b''), 400, 'EOF')
            for body in (b'{', b'{"local":', b'nonsense', b'\xff\xfe', b'{} {}', b'[' * 100000, b'{"a":' * 50000, b'"', b'{"local":"\\ud800"}', b'\0', b'{"local":1e999999}'):
                status, text = ask(path, body)
                check(status == 400 and text.strip(), path, body[:40], status, text)
            for value, name in (('[]', 'array'), ('5', 'number'), ('"x"', 'string'), ('true', 'bool')):
                begins(ask(path, value.encode()), 400, f'json: cannot unmarshal {name} into Go value of type types.{record}')
            begins(ask(path, b'x' * (10 << 20)), 413, 'http: request body too large')
            begins(ask(path, b'{"local":"' + b'x' * (10 << 20) + b'"}'), 413, 'http: request body too large')
        for field in 'local', 'remote', 'protocol':
            for value, name in ((5, 'number'), ([], 'array'), ({}, 'object'), (True, 'bool')):
                begins(ask('/services/forwarder/expose', {field: value}), 400,
                       f'json: cannot unmarshal {name} into Go struct field ExposeRequest.{field} of type string')
        for body, text in (({'Name': 5}, 'json: cannot unmarshal number into Go struct field Zone.Name'),
                           ({'Name': 'x.', 'Records': 'a'}, 'json: cannot unmarshal string into Go struct field Zone.Records'),
                           ({'Name': 'x.', 'Records': [{'Name': 5}]}, 'json: cannot unmarshal number into Go struct field Record.Name'),
                           ({'Name': 'x.', 'Records': [{'Name': 'a', 'IP': 'notip'}]}, 'invalid IP address: notip'),
                           ({'Name': 'x.', 'DefaultIP': 'notip'}, 'invalid IP address: notip'),
                           ({'Name': 'x.', 'Records': [{'Regexp': '(', 'IP': '10.0.0.1'}]}, "Zone 'x.', record")):
            begins(ask('/services/dns/add', body), 400, text)
        begins(ask('/services/dns/add', {'Name': 'x.', 'Records': [{'Name': f'n{i}', 'IP': '10.0.0.1'} for i in range(1025)]}), 500, "zone 'x.' has too many records")


def bad_forwards(w):
    the_guest(w)
    with nothing_changed(w):
        for local, remote, protocol, status, text in (
                ('127.0.0.1:9400', '192.168.127.2', '', 400, 'address 192.168.127.2: missing port in address'),
                ('127.0.0.1:9400', '', '', 400, 'address '), ('127.0.0.1:9400', '192.168.127.2:99999', '', 500, ''), ('127.0.0.1:9400', '[::1]:80', '', 500, ''),
                ('127.0.0.1:9400', '10.0.0.1:80', 'tcp', 500, ''), ('127.0.0.1:9400', 'example.com:80', '', 500, ''), ('', '192.168.127.2:80', '', 500, ''),
                ('127.0.0.1:0', '192.168.127.2:80', '', 500, ''), ('127.0.0.1:99999', '192.168.127.2:80', '', 500, ''),
                ('8.8.8.8:9303', '192.168.127.2:1', 'udp', 500, 'listen udp 8.8.8.8:9303: bind: cannot assign requested address'),
                ('127.0.0.1:9400', '192.168.127.2:1', 'sctp', 500, 'unknown protocol sctp'), ('x', '192.168.127.2:1', 'npipe', 500, 'named pipes are not supported by this platform'),
                (w.dir + '/x.sock', '192.168.127.2:1', 'unix', 500, 'remote protocol for unix forwarder is not implemented'),
                (w.dir + '/x.sock', 'tcp://192.168.127.2', 'unix', 400, ''), ('x' * 200, 'tcp://192.168.127.2:80', 'unix', 500, ''),
                ('relative', 'tcp://192.168.127.2:80', 'unix', 500, ''), (w.dir + '/none/x.sock', 'tcp://192.168.127.2:80', 'unix', 500, '')):
            found = ask('/services/forwarder/expose', {'local': local, 'remote': remote, 'protocol': protocol})
            begins(found, status, text)
            check(found[1].strip() and len(found[1]) < 1000, found)
        netns.write(w.dir + '/precious', 'mine')
        begins(ask('/services/forwarder/expose', {'local': w.dir + '/precious', 'remote': 'tcp://192.168.127.2:80', 'protocol': 'unix'}), 500, 'listen unix')
        equal(netns.read(w.dir + '/precious'), 'mine')
        begins(ask('/services/forwarder/unexpose', {'local': '127.0.0.1:1', 'protocol': 'sctp'}), 500, 'proxy not found')


def bad_requests(w):
    the_guest(w)
    with nothing_changed(w):
        for path in ('/', '/services', '/services/', '/connectx', '/../etc/passwd', '/services/forwarder/all/', '/%2e%2e/%2e%2e', '/' + 'a' * 3000, '/services/forwarder/expose%00'):
            begins(ask(path), 404, '404 page not found')
        for path in GETS:  # gvproxy looks at no method there
            equal(ask(path, b'{}', 'DELETE')[0], 200, path)
        odd = (b'\0' * 5000, b'GET / HTTP/9.9\r\n\r\n', b'GET\r\n\r\n', b'\r\n\r\n\r\n', b'GET /tunnel?ip=1 HTTP/1.1\r\n' + b'a' * 5000, b'GET / HTTP/1.1\r\n' + b'A: b\r\n' * 20000,
                     b'GET /' + b'a' * 100000 + b' HTTP/1.1\r\n\r\n', b'POST /services/dns/add HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}',
                     b'POST /services/dns/add HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}',
                     b'POST /services/dns/add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n', b'POST /services/dns/add HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"Name":"x."}')
        for data, job in [(d, Job(raw, d)) for d in odd]:  # some are closed only when nothing more comes
            got = job.wait()
            check(not got.startswith(b'HTTP/1.1 2'), data[:60], got[:200])
        for query, text in ((b'', b'ip is mandatory'), (b'?port=1', b'ip is mandatory'), (b'?ip=192.168.127.2', b'strconv.ParseUint: parsing "": invalid syntax'),
                            (b'?ip=192.168.127.2&port=0', b'port is not'), (b'?ip=192.168.127.2&port=99999', b'port is not'), (b'?ip=10.0.0.1&port=1', b'10.0.0.1')):
            got = raw(b'POST /tunnel' + query + b' HTTP/1.1\r\nHost: x\r\n\r\n', shut=False)
            check(got.startswith(b'HTTP/1.1 500 ') and text in got, query, got)
        # Pipelined: what is right before the garbage is answered.
        got = raw(b'GET /leases HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n\x01garbage\r\n\r\n')
        check(got.startswith(b'HTTP/1.1 200 OK') and b'HTTP/1.1 404' in got and got.count(b'HTTP/1.1 2') == 1, got)


def slow_clients(w):
    """Requests that come byte by byte, to no end: they are closed in time, and others answered meanwhile where there is room."""
    the_guest(w)
    with nothing_changed(w):
        socks = []
        for i in range(40):
            s = socket.socket(socket.AF_UNIX)
            s.connect(SOCK)
            s.sendall((b'GET /leases HTTP/1.1\r\nX: ', b'POST /services/dns/add HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n', b'G', b'POST /tunnel?ip=')[i % 4])
            socks.append(s)
        began = time.monotonic()
        end = began + SLOW_LIMIT + 10
        left = list(socks)
        while left and time.monotonic() < end:
            for s in list(left):
                try:
                    s.sendall(b'a')
                    s.setblocking(False)
                    if s.recv(4096) == b'':
                        left.remove(s)
                except BlockingIOError:
                    pass
                except OSError:
                    left.remove(s)
                s.setblocking(True)
            equal(ask('/leases')[0], 200, 'another client')
            time.sleep(1)
        equal(len(left), 0, f'slow clients that are still there after {time.monotonic() - began:.0f} s')
        for s in socks:
            s.close()


def many_connections(w):
    """Idle clients up to the limit and beyond: those beyond are closed, and when they go there is room again."""
    the_guest(w)
    with nothing_changed(w):
        for _ in range(3):
            socks = []
            for _ in range(150):
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(1)
                with contextlib.suppress(OSError):
                    s.connect(SOCK)
                    s.sendall(b'GET /leases HTTP/1.1\r\n')
                socks.append(s)
            time.sleep(0.3)
            for s in socks:
                s.close()
            wait_until(lambda: answered(), 10, 'an answer')
        for _ in range(500):
            equal(ask('/leases')[0], 200)


def answered():
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask('/leases')[0] == 200
    return False


# ---- the option ----

def by_call(w):
    """By D-Bus: who may, what may be said, and the socket goes with its network."""
    ready(w)
    path = w.dir + '/x.http'
    bus = ['busctl', '--address=' + w.address, 'call', 'org.vnetd1', '/org/vnetd1', 'org.vnetd1.Manager', 'CreateNetwork', 'sa{sv}', 'x', '1', 'HttpApi', 's']
    for text in 'tcp://127.0.0.1:80', 'relative', '', 'unixgram:///x':
        r = run(*bus, text, ok=False)
        check(r.returncode != 0 and 'HttpApi' in r.stderr, text, r.stderr)
    r = run(*bus, '/nonexistent/x.http', ok=False)
    check(r.returncode != 0 and '/nonexistent/x.http' in r.stderr, r.stderr)
    run(*bus, path)
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, 'its mode')
    equal(json.loads(fetched('--unix-socket', path, 'http://x/services/dns/all')), None)
    w.stop_vnetd()
    check(not os.path.exists(path) and not os.path.exists(SOCK), 'sockets are left')
    w.start_vnetd()
    equal(json.loads(fetched('--unix-socket', path, 'http://x/services/dns/all')), None, 'after a restart')
    w.ctl('network', 'remove', 'x')
    check(not os.path.exists(path), 'the socket outlives its network')
    # One left behind by a process that was killed does not stand in the way.
    w.vnetd.kill()
    w.vnetd.wait(10)
    w.procs.remove(w.vnetd)
    check(os.path.exists(SOCK), 'killed, it has removed the socket?')
    w.start_vnetd()
    equal(ask('/services/dns/all')[0], 200, 'the socket that was left is replaced')


if __name__ == '__main__':
    netns.main([readme_curl, go_client, zones, zones_in_the_guest, forwards, udp_forward, unix_forward, tunnel, connect_request, inside, inside_flood, metrics, bad_bodies,
                bad_forwards, bad_requests, slow_clients, many_connections, by_call])
