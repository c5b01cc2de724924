#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
vnet-gvproxy as clients of gvproxy use it: its command line, files and exit codes, and its API with the same JSON, status codes and words.

    test-gvproxy.py PROGRAM
"""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from loopback import free_port  # noqa: E402

PROGRAM = sys.argv[1]


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("unix", timeout=30)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class Gvproxy:
    def __init__(self, *args):
        self.dir = tempfile.TemporaryDirectory()
        self.at = pathlib.Path(self.dir.name)
        self.api = self.at / "api.sock"
        args = [a.replace("DIR", str(self.at)) for a in args]
        if not any("api.sock" in a for a in args):
            args += ["-listen", f"unix://{self.api}"]
        self.process = subprocess.Popen([PROGRAM, *args], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as s:  # the file is there before anybody listens
                if s.connect_ex(str(self.api)) == 0 or self.process.poll() is not None:
                    return self
            time.sleep(0.1)
        raise AssertionError("no API socket")

    def __exit__(self, *_):
        if self.process.poll() is None:
            assert self.stop() == 0
        self.process.stderr.close()
        self.dir.cleanup()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def ask(self, path, body=None, method=None, api=None):
        c = Connection(api or self.api)
        c.request(method or ("GET" if body is None else "POST"), path, body if body is None or isinstance(body, bytes) else json.dumps(body))
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        return r.status, text

    def json(self, path):
        status, text = self.ask(path)
        assert status == 200 and text.endswith("\n"), (status, text)
        return json.loads(text)


def equal(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def begins(found, status, text):
    assert found[0] == status and found[1].startswith(text), f"{found!r} does not begin with {status} {text!r}"


def test_forwards():
    port, ssh, udp = free_port(), free_port(), free_port()
    with Gvproxy("-ssh-port", str(ssh)) as g:
        equal(g.ask("/services/forwarder/all"),
              (200, f'[{{"local":"127.0.0.1:{ssh}","remote":"192.168.127.2:22","protocol":"tcp"}}]\n'))
        equal(g.ask("/services/forwarder/unexpose", {"local": f"127.0.0.1:{ssh}", "protocol": "tcp"}), (200, ""))
        equal(g.ask("/services/forwarder/all"), (200, "[]\n"))
        local = f"127.0.0.1:{port}"
        equal(g.ask("/services/forwarder/expose", {"local": local, "remote": "192.168.127.2:6443"}), (200, ""))
        begins(g.ask("/services/forwarder/expose", {"local": local, "remote": "192.168.127.2:6443", "protocol": "tcp"}), 500,
               f"proxy already running for tcp on {local}")
        equal(g.ask("/services/forwarder/expose", {"local": f"127.0.0.1:{udp}", "remote": "192.168.127.2:53", "protocol": "udp"}), (200, ""))
        sock = str(g.at / "f.sock")
        equal(g.ask("/services/forwarder/expose", {"local": sock, "remote": "tcp://192.168.127.2:80", "protocol": "unix"}), (200, ""))
        begins(g.ask("/services/forwarder/expose", {"local": sock, "remote": "tcp://192.168.127.2:80", "protocol": "unix"}), 500,
               "proxy already running")
        assert pathlib.Path(sock).is_socket()
        found = g.json("/services/forwarder/all")
        equal(found, sorted(found, key=lambda f: f["local"]))
        assert {"local": sock, "remote": "tcp://192.168.127.2:80", "protocol": "unix"} in found, found
        equal(g.ask("/services/forwarder/unexpose", {"local": sock, "protocol": "unix"}), (200, ""))
        assert not pathlib.Path(sock).exists()
        socket.create_connection(("127.0.0.1", port), 5).close()
        equal(g.ask("/services/forwarder/unexpose", {"local": local}), (200, ""))
        begins(g.ask("/services/forwarder/unexpose", {"local": local}), 500, "proxy not found")
        try:
            socket.create_connection(("127.0.0.1", port), 5)
            raise AssertionError("still open")
        except ConnectionRefusedError:
            pass
        (g.at / "precious").write_text("mine")
        begins(g.ask("/services/forwarder/expose", {"local": str(g.at / "precious"), "remote": "tcp://192.168.127.2:80", "protocol": "unix"}), 500, "listen unix")
        equal((g.at / "precious").read_text(), "mine")  # gvproxy would have deleted it


def test_dns():
    with Gvproxy("-ssh-port", "-1") as g:
        builtin = [{"Name": n, "Records": [{"Name": "gateway", "IP": "192.168.127.1"}, {"Name": "host", "IP": "192.168.127.254"}], "DefaultIP": ""}
                   for n in ("containers.internal.", "docker.internal.")]
        equal(g.json("/services/dns/all"), builtin)
        add = lambda zone: equal(g.ask("/services/dns/add", zone), (200, ""))
        add({"Name": "dynamic.", "Records": [{"Name": "crc", "IP": "10.0.0.1"}], "DefaultIP": "10.0.0.9"})
        add({"name": "dynamic.", "records": [{"name": "crc", "ip": "10.0.0.2"}, {"Regexp": "^w\\d+$", "IP": "10.0.0.3"}]})  # newest first, no default
        equal(g.json("/services/dns/all"), builtin + [
            {"Name": "dynamic.", "Records": [{"Name": "crc", "IP": "10.0.0.2"}, {"Name": "", "IP": "10.0.0.3", "Regexp": "^w\\d+$"},
                                             {"Name": "crc", "IP": "10.0.0.1"}], "DefaultIP": ""}])
        begins(g.ask("/services/dns/add", {"Name": "x.", "Records": [{"Name": "a", "IP": "notip"}]}), 400, "invalid IP address: notip")
        begins(g.ask("/services/dns/add", {"Name": "x.", "Records": [{"Regexp": "(", "IP": "10.0.0.1"}]}), 400, "Zone 'x.', record")
        equal(len(g.json("/services/dns/all")), 3)


def test_bad_input():
    with Gvproxy("-ssh-port", "-1") as g:
        before = g.ask("/services/forwarder/all"), g.ask("/services/dns/all")
        time.sleep(0.2)
        n_open = len(os.listdir(f"/proc/{g.process.pid}/fd"))
        for path, record in (("/services/forwarder/expose", "ExposeRequest"), ("/services/forwarder/unexpose", "UnexposeRequest"),
                             ("/services/dns/add", "Zone")):
            begins(g.ask(path), 400, "post only")
            begins(g.ask(path, b"x", "DELETE"), 400, "post only")
            begins(g.ask(path, b""), 400, "EOF")
            for body in (b"{", b"{\"local\":", b"nonsense", b"\xff\xfe", b"{} {}", b"[" * 100000):
                assert g.ask(path, body)[0] == 400, body
            begins(g.ask(path, b"[]"), 400, f"json: cannot unmarshal array into Go value of type types.{record}")
            begins(g.ask(path, b"x" * (10 << 20)), 413, "http: request body too large")
        begins(g.ask("/services/forwarder/expose", {"local": 5}), 400,
               "json: cannot unmarshal number into Go struct field ExposeRequest.local of type string")
        for remote, status, text in (("192.168.127.2", 400, "address 192.168.127.2: missing port"), ("192.168.127.2:99999", 500, ""), ("[::1]:80", 500, ""),
                                     ("example.com:80", 500, "")):
            begins(g.ask("/services/forwarder/expose", {"local": "127.0.0.1:0", "remote": remote}), status, text)
        begins(g.ask("/services/forwarder/expose", {"local": "127.0.0.1:9999", "remote": "192.168.127.2:1", "protocol": "sctp"}), 500, "unknown protocol sctp")
        begins(g.ask("/services/forwarder/expose", {"local": "x", "remote": "192.168.127.2:1", "protocol": "npipe"}), 500, "named pipes")
        begins(g.ask("/services/forwarder/expose", {"local": "8.8.8.8:9303", "remote": "192.168.127.2:1", "protocol": "udp"}), 500,
               "listen udp 8.8.8.8:9303: bind: cannot assign requested address")
        for path in ("/", "/services", "/connectx", "/../etc/passwd", "/services/forwarder/all/"):
            begins(g.ask(path), 404, "404 page not found")
        for raw in (b"\0" * 5000, b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"GET /tunnel?ip=1 HTTP/1.1\r\n" + b"a" * 5000):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(15)
            s.connect(str(g.api))
            s.sendall(raw)
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass  # closed without reading the rest
            s.close()
        # Pipelined: the good before the garbage is answered.
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(15)
        s.connect(str(g.api))
        s.sendall(b"GET /leases HTTP/1.1\r\nHost: x\r\n\r\n\x01garbage\r\n\r\n")
        data = b""
        while chunk := s.recv(4096):
            data += chunk
        assert data.startswith(b"HTTP/1.1 200 OK"), data
        s.close()
        equal((g.ask("/services/forwarder/all"), g.ask("/services/dns/all")), before)
        for _ in range(100):  # those that are being closed
            if len(os.listdir(f"/proc/{g.process.pid}/fd")) <= n_open:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("descriptors are left open")


def test_lists():
    with Gvproxy("-ssh-port", "-1") as g:
        for path in ("/leases", "/services/dhcp/leases"):
            equal(g.ask(path), (200, '{"192.168.127.1":"5a:94:ef:e4:0c:dd","192.168.127.2":"5a:94:ef:e4:0c:ee"}\n'))
        equal(g.ask("/cam"), (200, "{}\n"))
        stats = g.json("/stats")
        assert stats["BytesSent"] == 0 and "CurrentEstablished" in stats["TCP"], stats
        status, text = g.ask("/metrics")
        lines = text.splitlines()
        assert status == 200 and lines[-1] == "# EOF" and text.endswith("# EOF\n"), text[-100:]
        family = None
        for line in lines[:-1]:
            if line.startswith("# TYPE "):
                family, kind = line.split()[2:]
            elif not line.startswith("# HELP "):
                name, value = line.split("{")[0], line.rsplit(" ", 1)[1]
                assert name == family + ("_total" if kind == "counter" else "") and int(value) >= 0, line


def test_tunnel():
    with Gvproxy("-ssh-port", "-1") as g:
        for query, text in (("", b"ip is mandatory"), ("?port=1", b"ip is mandatory"), ("?ip=192.168.127.2", b"strconv.ParseUint"), ("?ip=x&port=1", b"")):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(30)
            s.connect(str(g.api))
            s.sendall(f"POST /tunnel{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            data = b""
            while chunk := s.recv(4096):
                data += chunk
            assert data.startswith(b"HTTP/1.1 500 ") and text in data, data
            s.close()
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(str(g.api))
        s.sendall(b"POST /tunnel?ip=192.168.127.2&port=9 HTTP/1.1\r\n")
        s.sendall(b"Host: x\r\n\r\n")
        equal(s.recv(16), b"OK")
        equal(s.recv(16), b"")  # nobody is there
        s.close()


def test_process():
    run = lambda *args: subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert run("-version").stdout.startswith("gvproxy version ") and run("--version").returncode == 0
    for args, text in ((["-nonsense"], "flag provided but not defined: -nonsense"), (["-mtu"], "flag needs an argument: -mtu"),
                       (["-listen-qemu", "x"], "invalid value for qemu listen address"), (["-listen-bess", "unix:///x"], "must be unixpacket://"),
                       (["-listen-vfkit", "unix:///x"], "must be unixgram://"), (["-notification", "/x"], "must be unix://"),
                       (["-listen-qemu", "unix:///x", "-listen-vpnkit", "unix:///y"], "cannot use qemu and vpnkit"), (["-ssh-port", "80"], "ssh-port value must be between"),
                       (["-forward-sock", "x"], "same number of times"), (["-subnet", "10.0.0.0/30"], "subnet too small"), (["-subnet", "x"], "failed to parse subnet"),
                       (["-gatewayIP", "10.0.0.1"], "not in subnet"), (["-gatewayIP", "192.168.127.2"], "distinct"), (["-hostIP", "192.168.127.255"], "broadcast"),
                       (["-deviceIP", "192.168.127.0"], "address of subnet"), (["-config", "/nonexistent"], "cannot open config"),
                       (["-ssh-port", "-1", "-listen", "unix:///nonexistent/x"], "unix:///nonexistent/x")):
        r = run(*args)
        assert r.returncode == 1 and text in r.stderr, (args, r)

    events = []
    with tempfile.TemporaryDirectory() as d:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(d + "/notify")
        listener.listen()

        def receive():
            c, _ = listener.accept()
            events.append(json.loads(c.makefile().readline()))

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        with Gvproxy("--pid-file=DIR/pid", "--log-file", "DIR/log", "-notification", f"unix://{d}/notify", "-ssh-port=-1",
                     "-listen-qemu", "unix://DIR/qemu.sock", "-services", "unix://DIR/services.sock") as g:
            thread.join(30)
            equal(events, [{"notification_type": "ready"}])
            equal((g.at / "pid").read_text(), str(g.process.pid))
            assert "Ready" in (g.at / "log").read_text()
            assert (g.at / "qemu.sock").is_socket()
            equal(g.ask("/leases", api=g.at / "services.sock")[0], 200)
            begins(g.ask("/connect", api=g.at / "services.sock"), 404, "404")
            equal(g.stop(), 0)
            equal(sorted(p.name for p in g.at.iterdir()), ["log"])
        listener.close()


def test_yaml():
    port = free_port()
    with tempfile.TemporaryDirectory() as d:
        pathlib.Path(d, "c.yaml").write_text(f"""
listen: ["unix://{d}/api.sock"]
log-level: info
unknown-key: 5
stack:
  mtu: 1480
  subnet: 10.20.0.0/16
  gatewayMacAddress: 5a:94:ef:e4:0c:01
  dns:
    - name: a.test.
      defaultIP: 10.20.0.7
      records: [ {{ name: x, ip: 10.20.0.8 }}, {{ regexp: "^y", ip: 10.20.0.9 }} ]
  dhcpStaticLeases: {{ 10.20.0.5: "52:54:00:00:00:05" }}
  forwards: {{ "127.0.0.1:{port}": "10.20.0.5:80" }}
  nat: {{ 10.20.255.254: 127.0.0.1 }}
  gatewayVirtualIPs: [ 10.20.255.254 ]
""")
        with Gvproxy("-config", d + "/c.yaml", "-services", "unix://DIR/api.sock") as g:
            equal(g.json("/leases"), {"10.20.0.1": "5a:94:ef:e4:0c:01", "10.20.0.5": "52:54:00:00:00:05"})
            equal(g.json("/services/forwarder/all"), [{"local": f"127.0.0.1:{port}", "remote": "10.20.0.5:80", "protocol": "tcp"}])
            equal(g.json("/services/dns/all"), [{"Name": "a.test.", "Records": [{"Name": "x", "IP": "10.20.0.8"}, {"Name": "", "IP": "10.20.0.9", "Regexp": "^y"}],
                                                 "DefaultIP": "10.20.0.7"}])
        pathlib.Path(d, "bad.yaml").write_text("a: [")
        r = subprocess.run([PROGRAM, "-config", d + "/bad.yaml"], capture_output=True, text=True, timeout=30)
        assert r.returncode == 1 and "yaml: line" in r.stderr, r
        pathlib.Path(d, "empty.yaml").write_text("")
        with Gvproxy("-config", d + "/empty.yaml") as g:
            equal(g.ask("/services/dns/all"), (200, "null\n"))
            equal(g.ask("/services/forwarder/all"), (200, "[]\n"))


for name, test in list(globals().items()):
    if name.startswith("test_"):
        test()
        print("passed", name, flush=True)
