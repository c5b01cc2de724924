# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where bench/ takes place: a user namespace with a network of its own, guests in further ones, and the servers they talk to."""

import contextlib
import os
import signal
import subprocess
import sys
import time

PORT = 5201  # of iperf3
METER_PORT = 5202
UDP_PORT = 5203
LANE_PORT = 5300  # of iperf3 for the first of several networks at once
FORWARD = 1000  # added to the port of a guest's server: the port of the host that leads there
OUTSIDE = "10.99.0.1"  # the host's own address in here

SYSCTLS = {  # the same for every peer, whatever the machine has by default: a new namespace inherits some of it and not all
    # A client that opens thousands of connections a second would soon measure the search for a free port among those in TIME_WAIT.
    "net/ipv4/tcp_max_tw_buckets": "2048",
    "net/ipv4/ip_local_port_range": "10000 64999",
    # Linux's own default. BBR sets a timer for every burst, so on one machine it measures timers.
    "net/ipv4/tcp_congestion_control": "cubic",
}


def sh(*argv, check=True, ns=None, **kw):
    if ns:
        argv = ns.enter + argv
    return subprocess.run(argv, check=check, capture_output=True, text=True, **kw)


def enter_namespaces():
    """Starts over as root of a user namespace with a network of its own: no peer wants to be the machine's root, and nothing leaks."""
    if "VNET_BENCH_INSIDE" not in os.environ:
        os.environ["VNET_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", "--mount", "--", sys.executable, *sys.argv])


def set_sysctls(enter=()):
    sh(*enter, "sh", "-c", "; ".join(f"echo {value} >/proc/sys/{name}" for name, value in SYSCTLS.items()))


class Guest:
    """A process that only holds a namespace open."""

    def __init__(self):
        self.proc = subprocess.Popen(["unshare", "--net", "--", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.proc.pid}/ns/net") == own:
            time.sleep(0.01)
        self.pid = self.proc.pid
        self.enter = ("nsenter", f"--net=/proc/{self.pid}/ns/net")
        sh("ip", "link", "set", "lo", "up", ns=self)
        set_sysctls(self.enter)

    def close(self):
        self.proc.kill()
        self.proc.wait()


class ForeignGuest:
    """A namespace that a peer's own child holds, in a user namespace that the peer made."""

    def __init__(self, pid):
        self.pid = pid
        self.enter = ("nsenter", "--preserve-credentials", "--user", "--net", "-t", str(pid))
        set_sysctls(self.enter)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # it may outlive the peer, with the peer's listeners


@contextlib.contextmanager
def outside():
    """What the host has: an address, a default route for peers that copy it, and a resolver on loopback."""
    sh("ip", "link", "set", "lo", "up")
    set_sysctls()
    out = Guest()
    try:
        sh("ip", "link", "add", "out0", "type", "veth", "peer", "name", "eth0", "netns", str(out.pid))
        sh("ip", "addr", "add", f"{OUTSIDE}/24", "dev", "out0")
        sh("ip", "link", "set", "out0", "up")
        sh("ip", "addr", "add", "10.99.0.2/24", "dev", "eth0", ns=out)
        sh("ip", "link", "set", "eth0", "up", ns=out)
        sh("ip", "route", "add", "default", "via", "10.99.0.2")
        yield
    finally:
        out.close()


def use_resolver(directory, address):
    """Everything started from now on asks @address: /etc/resolv.conf is covered in this mount namespace."""
    path = os.path.join(directory, "resolv.conf")
    with open(path, "w") as f:
        f.write(f"nameserver {address}\n")
    sh("mount", "--bind", path, os.path.realpath("/etc/resolv.conf"), check=False)


@contextlib.contextmanager
def servers(build, enter=(), lanes=0, dns=False):
    """What answers: on the host, or with @enter in a guest. On as many ports as there are networks at once."""
    argvs = [["iperf3", "-s", "-p", str(PORT)],
             [f"{build}/bench/netmeter", "server", str(METER_PORT)],
             [f"{build}/bench/udpmeter", "server", str(UDP_PORT)]]
    argvs += [["iperf3", "-s", "-p", str(LANE_PORT + i)] for i in range(lanes)]
    if dns:
        argvs.append([f"{build}/bench/dnsmeter", "server", "127.0.0.1", "53"])
    procs = [subprocess.Popen([*enter, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for argv in argvs]
    time.sleep(0.3 + lanes / 50)
    try:
        yield
    finally:
        for p in procs:
            p.kill()
            p.wait()
