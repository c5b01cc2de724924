# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured: vnetd, its peers, and the kernel's own ways as limits. Each brings up a guest and says how to reach what from where."""

import json
import os
import shutil
import subprocess
import tempfile
import time

from world import FORWARD, METER_PORT, OUTSIDE, ForeignGuest, Guest, sh

class Peer:
    """After start(): guest (None: no namespace), server (the address that leads guests to the host), entry (the host's address whose
    ports, FORWARD higher, lead to the guest's), dns (the gateway's resolver), gateway (the processes that carry packets)."""
    name = ""
    needs = ()
    limit = False  # the kernel's own way: shown, never the best peer
    floor = False  # no gateway, but what none can be faster than
    asked = False  # takes part when it is named, not by default
    sock = False  # its guest sits behind a stream socket
    entry = None
    dns = None

    def __init__(self, args, index=0):
        self.args, self.index = args, index
        self.forwarded = ()  # ports of the guest that start() leads to
        self.procs, self.others = [], []
        self.guest, self.guests = None, []
        self.gateway = []
        self.dir = tempfile.mkdtemp(prefix="vnet-bench-")

    @classmethod
    def missing(cls):
        return [n for n in cls.needs if not shutil.which(n)]

    def spawn(self, *argv, inside=False):
        if inside:
            argv = self.guest.enter + argv
        p = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.procs.append(p)
        return p

    def start(self, mtu):
        raise NotImplementedError

    def stop(self):
        for other in self.others:
            other.stop()
        for p in reversed(self.procs):
            p.terminate()
        for p in self.procs:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.procs, self.others = [], []
        if self.guest:
            self.guest.close()
            self.guest = None
        shutil.rmtree(self.dir, ignore_errors=True)

    def more_networks(self, n, mtu):
        """Brings up @n networks beside the one there is: for each a guest and its server's address."""
        for i in range(n):
            other = type(self)(self.args, self.index + i + 1)
            self.others.append(other)
            other.start(mtu)
            self.gateway += other.gateway
        return [(p.guest, p.server) for p in self.others]

    def await_that(self, what, holds, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if holds():
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.name}: {what}")

    def await_route(self, guest=None):
        self.await_that("the guest never got a default route",
                        lambda: "default" in sh("ip", "route", ns=guest or self.guest, check=False).stdout)

    def child_of(self, pid):
        def children():
            with open(f"/proc/{pid}/task/{pid}/children") as f:
                return f.read().split()
        self.await_that("no namespace was made", children)
        return int(children()[0])

    def address(self, ifname, address, gateway, mtu):
        """By hand, for guests whose gateway would tell it by DHCP."""
        sh("ip", "link", "set", ifname, "mtu", str(mtu), "up", ns=self.guest)
        sh("ip", "addr", "add", f"{address}/24", "dev", ifname, ns=self.guest)
        sh("ip", "route", "add", "default", "via", gateway, ns=self.guest)

    def bridge(self, path, address, gateway, mtu):
        """A guest behind a socket as QEMU's: sock-bridge stands in for it, and is nobody's gateway. It joins segments as a guest's driver does:
        with a call for each it would be the bottleneck of all of them."""
        self.guest = Guest()
        self.await_that(f"no socket {path}", lambda: os.path.exists(path))
        p = subprocess.Popen([f"{self.args.build}/tests/netns/sock-bridge", "qemu", path, f"/proc/{self.guest.pid}/ns/net", "eth0", str(mtu), "gro"],
                             stdout=subprocess.PIPE, text=True)
        self.procs.append(p)
        if p.stdout.readline() != "up\n":
            raise RuntimeError(f"{self.name}: the socket of the guest did not open")
        self.address("eth0", address, gateway, mtu)

    def cpu(self):
        """Seconds the gateway's processes have spent, by their clocks: to the nanosecond, threads that ended too."""
        return sum(time.clock_gettime((~p.pid << 3) | 2) for p in self.gateway)

    def threads(self):
        """Seconds each thread of the gateway's has spent, by its id."""
        spent = {}
        for p in self.gateway:
            for task in os.listdir(f"/proc/{p.pid}/task"):
                with open(f"/proc/{p.pid}/task/{task}/schedstat") as f:
                    spent[task] = int(f.read().split()[0]) / 1e9
        return spent

    def status(self, field):
        """Sum over the gateway's processes of a line of their status, such as VmRSS in kB."""
        total = 0
        for p in self.gateway:
            with open(f"/proc/{p.pid}/status") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith(field + ":"))
        return total

    def counters(self):
        """What the gateway itself knows of segments sent twice: by it, and to it. Nothing where it does not say."""
        return {}

    def wakeups(self):
        total = 0
        for p in self.gateway:
            for task in os.listdir(f"/proc/{p.pid}/task"):
                with open(f"/proc/{p.pid}/task/{task}/status") as f:
                    total += sum(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt_switches"))
        return total


class Vnetd(Peer):
    name = "vnetd"
    server = "192.168.127.254"
    entry = "127.0.0.1"
    dns = "192.168.127.1"
    options = ()  # of the guest's device

    def start_daemon(self):
        bus = f"unix:path={self.dir}/bus"
        self.spawn("dbus-daemon", "--session", "--nofork", f"--address={bus}")
        self.await_that("no bus", lambda: os.path.exists(f"{self.dir}/bus"))
        self.gateway = [self.spawn(f"{self.args.build}/src/vnetd", f"--bus-address={bus}", f"--config-dir={self.dir}/etc",
                                   f"--state-dir={self.dir}/state")]
        self.bus = bus
        self.await_that("it does not answer", lambda: self.ctl("status", check=False).returncode == 0)

    def ctl(self, *argv, check=True):
        return sh(f"{self.args.build}/ctl/vnetctl", f"--bus-address={self.bus}", *argv, check=check)

    def counters(self):
        count = {line.split()[1]: int(line.split()[2]) for line in self.ctl("stats").stdout.splitlines() if line.startswith("default ")}
        return {"retransmits": count.get("retransmits", 0), "old_data": count.get("drop-tcp-old-data", 0)}

    def start(self, mtu):
        self.guest = Guest()
        self.start_daemon()
        self.ctl("attach", str(self.guest.pid), f"--mtu={mtu}", *self.options)
        self.await_route()
        for port in self.forwarded:
            for kind in ("", "/udp"):
                self.ctl("expose", f"{self.entry}:{port + FORWARD}{kind}", f"192.168.127.2:{port}")

    def more_networks(self, n, mtu):
        """Of one daemon, as it is meant."""
        networks = []
        for i in range(n):
            guest = Guest()
            self.guests.append(guest)
            self.ctl("network", "create", f"n{i}")
            self.ctl("attach", str(guest.pid), f"--mtu={mtu}", f"--network=n{i}", *self.options)
            self.await_route(guest)
            gateway = sh("ip", "-4", "route", "show", "default", ns=guest).stdout.split()[2]
            networks.append((guest, gateway.rsplit(".", 1)[0] + ".254"))
        return networks

    def add_zone(self):
        self.ctl("zone", "set", "bench.test", "www A 10.5.0.7")

    def stop(self):
        for guest in self.guests:
            guest.close()
        super().stop()


class VnetdParallel(Vnetd):
    """A queue and a thread for each CPU."""
    name = "vnetd-parallel"
    asked = True
    options = (f"--queues={max(2, min(os.cpu_count(), 16))}", "--parallel")


class Pasta(Peer):
    name = "pasta"
    needs = ("pasta",)
    server = "10.99.0.2"  # the gateway's address leads to the host's loopback
    entry = "127.0.0.1"
    dns = "10.99.0.53"

    def start(self, mtu):
        forwards = ",".join(f"{p + FORWARD}:{p}" for p in self.forwarded) or "none"
        p = self.spawn("pasta", "-f", "--config-net", "-m", str(mtu), "-t", forwards, "-u", forwards, "-T", "none", "-U", "none",
                       "--dns-forward", self.dns, "--", "sleep", "infinity")
        self.guest = ForeignGuest(self.child_of(p.pid))
        self.await_route()
        self.gateway = [p]


class Slirp(Peer):
    name = "slirp4netns"
    needs = ("slirp4netns",)
    server = "10.0.2.2"
    entry = "127.0.0.1"
    dns = "10.0.2.3"

    def start(self, mtu):
        self.guest = Guest()
        api = f"{self.dir}/api"
        self.gateway = [self.spawn("slirp4netns", "--configure", f"--mtu={mtu}", f"--api-socket={api}", str(self.guest.pid), "eth0")]
        self.await_route()
        self.await_that("no API", lambda: os.path.exists(api))
        for port in self.forwarded:
            for proto in ("tcp", "udp"):
                self.ask(api, {"execute": "add_hostfwd", "arguments": {
                    "proto": proto, "host_addr": self.entry, "host_port": port + FORWARD, "guest_port": port}})

    @staticmethod
    def ask(path, request):
        import socket
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
            s.sendall(json.dumps(request).encode())
            s.shutdown(socket.SHUT_WR)
            while s.recv(4096):
                pass


class Gvproxy(Peer):
    """gvproxy, and its agent in the guest, which carries the packets as well and counts as part of the gateway."""
    name = "gvproxy"
    needs = ("gvproxy", "gvforwarder", "curl")
    server = "192.168.127.254"
    entry = "127.0.0.1"
    dns = "192.168.127.1"

    def serve(self, mtu, *more):
        self.api = f"{self.dir}/api"
        self.gateway = [self.spawn("gvproxy", "-mtu", str(mtu), "-ssh-port", str(2222 + self.index), "-listen", f"unix://{self.api}", *more)]
        self.await_that("it does not answer", lambda: self.post("/services/forwarder/all", check=False).returncode == 0)

    def post(self, path, body=None, check=True):
        return sh("curl", "-sf", "--unix-socket", self.api, f"http://localhost{path}",
                  *(["-d", json.dumps(body)] if body else []), check=check)

    def expose(self):
        for port in self.forwarded:
            for proto in ("tcp", "udp"):
                self.post("/services/forwarder/expose",
                          {"local": f"{self.entry}:{port + FORWARD}", "remote": f"192.168.127.2:{port}", "protocol": proto})

    def start(self, mtu):
        self.serve(mtu)
        self.guest = Guest()
        sh("ip", "tuntap", "add", "tap0", "mode", "tap", ns=self.guest)
        sh("ip", "link", "set", "tap0", "address", "5a:94:ef:e4:0c:ee", ns=self.guest)
        self.address("tap0", "192.168.127.2", "192.168.127.1", mtu)
        self.gateway.append(self.spawn("gvforwarder", "-preexisting", "-iface", "tap0", "-mtu", str(mtu), "-stop-if-exist", "",
                                       "-url", f"unix://{self.api}", inside=True))
        self.await_that("gvforwarder never got through",
                        lambda: sh("ping", "-c1", "-W1", "192.168.127.1", ns=self.guest, check=False).returncode == 0)
        self.expose()

    def add_zone(self):
        self.post("/services/dns/add", {"Name": "bench.test.", "Records": [{"Name": "www", "IP": "10.5.0.7"}]})


class Veth(Peer):
    """The kernel's own way."""
    name = "veth+nat"
    needs = ("nft",)
    limit = True
    entry = OUTSIDE
    server = property(lambda self: f"10.98.{self.index}.1")

    def start(self, mtu):
        self.guest = Guest()
        near, guest, host = f"10.98.{self.index}.1", f"10.98.{self.index}.2", f"vb{self.index}"
        sh("ip", "link", "add", host, "mtu", str(mtu), "type", "veth", "peer", "name", "eth0", "mtu", str(mtu), "netns", str(self.guest.pid))
        sh("ip", "addr", "add", f"{near}/24", "dev", host)
        sh("ip", "link", "set", host, "up")
        self.address("eth0", guest, near, mtu)
        forwards = "\n".join(f"ip daddr {self.entry} meta l4proto {{ tcp, udp }} th dport {p + FORWARD} dnat to {guest}:{p};" for p in self.forwarded)
        sh("nft", "-f", "-", input=f"""
            table ip bench{self.index} {{
                chain pre {{
                    type nat hook prerouting priority -100;
                    ip daddr {near} dnat to {OUTSIDE}
                }}
                chain out {{
                    type nat hook output priority -100;
                    {forwards}
                }}
            }}""")

    def stop(self):
        sh("nft", "delete", "table", "ip", f"bench{self.index}", check=False)
        sh("ip", "link", "del", f"vb{self.index}", check=False)
        super().stop()


class Loopback(Peer):
    """No gateway at all."""
    name = "loopback"
    limit = True
    server = "127.0.0.1"

    def start(self, mtu):
        pass


class Relay(Peer):
    """An empty loop between two sockets, with no network on the guest's side: the least that user space can do."""
    name = "empty relay"
    limit = floor = True
    server = "127.0.0.1"

    def start(self, mtu):
        self.guest = Guest()
        self.gateway = [self.spawn(f"{self.args.build}/bench/relay", f"/proc/{self.guest.pid}/ns/net", str(METER_PORT))]
        for _ in range(100):
            if sh("ss", "-Hltn", ns=self.guest).stdout:
                return
            time.sleep(0.02)
        raise RuntimeError("the relay never listened")


class SockVnetd(Vnetd):
    name = "vnetd-qemu"
    sock = True

    def start(self, mtu):
        self.start_daemon()
        self.ctl("device", "create", "qemu", f"--listen=unix:{self.dir}/vm", f"--mtu={mtu}")
        self.bridge(f"{self.dir}/vm", "192.168.127.2", "192.168.127.1", mtu)


class SockPasst(Peer):
    name = "passt"
    needs = ("passt",)
    sock = True
    server = "10.99.0.2"

    def start(self, mtu):
        self.gateway = [self.spawn("passt", "-f", "-s", f"{self.dir}/vm", "-m", str(mtu), "-t", "none", "-u", "none")]
        self.bridge(f"{self.dir}/vm", OUTSIDE, self.server, mtu)


class SockGvproxy(Gvproxy):
    name = "gvproxy-qemu"
    needs = ("gvproxy", "curl")
    sock = True

    def start(self, mtu):
        self.serve(mtu, "-listen-qemu", f"unix://{self.dir}/vm")
        self.bridge(f"{self.dir}/vm", "192.168.127.2", "192.168.127.1", mtu)


PEERS = [Vnetd, VnetdParallel, Pasta, Slirp, Gvproxy, Veth, Relay, Loopback, SockVnetd, SockPasst, SockGvproxy]
