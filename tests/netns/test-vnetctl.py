#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
vnetctl against a real vnetd on a private bus, with real namespaces: test-vnetctl.py VNETD VNETCTL. TAP on stdout.

As root or as anybody who may make user namespaces and open /dev/net/tun; skipped otherwise. Everything started here is ended here,
everything listens on loopback.
"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from loopback import free_port  # noqa: E402

VNETD, VNETCTL = (os.path.abspath(p) for p in sys.argv[1:3])
NAME_LONG = "n" * 100000

BUS_CONF = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
"""


def skip(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)  # with any other status it is no skip to meson


def wait_for(what, condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


def ctl(*arguments, status=0, **options):
    """Runs vnetctl; holds its exit status and the form of its errors against what is expected."""
    done = subprocess.run([VNETCTL, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, **options)
    shown = " ".join(a[:40] for a in arguments)
    assert done.returncode == status, f"{shown}: exit status {done.returncode}, not {status}: {done.stdout}{done.stderr}"
    if status in (1, 2, 4) and arguments[0] != "run":
        assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), f"{shown}: not one line: {done.stderr!r}"
    return done.stdout if status == 0 else done.stderr


def listed(*arguments):
    """The rows of a list, by its JSON twin."""
    (rows,) = json.loads(ctl("--json=short", *arguments)).values()
    return rows


def start(*arguments):
    return subprocess.Popen([VNETCTL, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def listens(path):
    with socket.socket(socket.AF_UNIX) as s:  # the file is there before anybody listens
        return s.connect_ex(path) == 0


def has_ended(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return "(sleep) Z" in stat.read()
    except (FileNotFoundError, ProcessLookupError):  # it may go between open and read
        return True


def nothing_left():
    wait_for("devices to go", lambda: not listed("device", "list"))
    wait_for("leases to end", lambda: not listed("leases"))
    wait_for("forwards to go", lambda: not listed("forwards"))


def try_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except ConnectionRefusedError:
        return False


# ---- the cases ----

def case_status():
    assert ctl().startswith("vnetd ")
    assert ctl() == ctl("status")
    snapshot = json.loads(ctl("--json=short"))
    assert snapshot["networks"][0]["name"] == "default", snapshot
    assert json.loads(ctl("status", "--json=pretty"))
    for noun in (["network"], ["device", "list"], ["forwards"], ["leases"], ["flows"], ["stats"], ["stats", "--zero"]):
        rows = json.loads(ctl(*noun, "--json=pretty"))
        assert len(rows) == 1 and isinstance(*rows.values(), list), rows
        assert ctl(*noun, "--no-legend").count("\n") == len(*rows.values()), noun


def case_usage():
    assert "did you mean 'expose'" in ctl("exposse", "80", status=2)
    ctl("run", status=2)
    ctl("expose", "1", "2", "3", status=2)
    ctl("--json=yes", status=2)
    ctl("--user", "--system", status=2)
    ctl("device", "create", "tap", "--mtu=many", status=2)
    ctl("expose", "80/sctp", status=2)
    ctl("run", "--mtu=1", "--", "true", status=2)
    ctl("run", "--source=nobody", "--", "true", status=2)
    assert "Too many arguments: vnetctl leases\n" in ctl("leases", "lab", status=2)
    for option in ("-n", "--network", "--network=default"):
        assert "behind the command" in ctl(option, "leases", status=2)
    assert ctl("--netwrok=default", "leases", status=2) == "Unknown option '--netwrok=default'\n"
    assert ctl("-y", "leases", status=2) == "Unknown option '-y'\n"
    assert "for leases" in ctl("leases", "--mtu=1500", status=2)
    assert "--listen" in ctl("device", "create", "qemu", status=2) # its machine could be nobody but vnetctl
    for address in ("tpc:127.0.0.1:5555", "localhost:5555", "tcp:localhost:5555"): # none is a file's name
        for option in ("--listen", "--connect"):
            assert address in ctl("device", "create", "qemu", f"{option}={address}", status=1)
            assert not os.path.exists(address)
    wait_for("no device to be left", lambda: not listed("device", "list"))
    assert "captivePortal" in ctl("network", "create", "lab", "--dhcp=portal=https://lab.test/", status=1)


def case_no_daemon():
    path = os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
    ctl("--bus-address=unix:path=/nonexistent/bus", status=1)
    error = ctl("--bus-address=" + path.replace("/bus", "/second"), status=1)
    assert "vnetd is not running" in error, error
    nowhere = {k: v for k, v in os.environ.items() if k not in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR")}
    assert "DBUS_SESSION_BUS_ADDRESS" in ctl("--user", status=1, env=nowhere)


def case_networks():
    ctl("network", "create", "lab", "--subnet=10.77.0.0/24", "--domain=lab.test", "--mtu=1400", "--dns=192.0.2.1",
        "--static-lease=10.77.0.9=52:54:00:00:00:09")
    row = next(r for r in listed("network") if r["name"] == "lab")
    assert (row["subnet"], row["gateway"], row["mtu"]) == ("10.77.0.0/24", "10.77.0.1", 1400), row
    shown = json.loads(ctl("network", "show", "lab", "--json=short"))
    assert shown["Domain"] == "lab.test" and shown["Mtu"] == 1400, shown
    assert "Domain: lab.test" in ctl("network", "show", "lab")
    assert [r["address"] for r in listed("leases", "-n", "lab")] == ["10.77.0.9"]
    assert "lab" in ctl("network", "create", "lab", status=1)
    assert "10.77" in ctl("network", "create", "lab2", "--subnet=10.77.0.0/25", status=1)
    out = ctl("run", "-n", "lab", "--", "cat", "/etc/resolv.conf")
    assert out == "nameserver 10.77.0.1\nsearch lab.test\n", out
    ctl("network", "remove", "lab")
    for arguments in (["network", "remove"], ["network", "show"]):
        assert "'lab'" in ctl(*arguments, "lab", status=4)
    ctl("leases", "-n", "lab", status=4)
    ctl("network", "create", NAME_LONG, status=1)
    ctl("network", "show", NAME_LONG, status=4)
    ctl("device", "show", "../network/default", status=4)


def case_run():
    out = ctl("run", "--", "sh", "-c", "cat /proc/net/route; cat /sys/class/net/lo/mtu; ls /proc/net/dev_snmp6")
    assert "eth0\t00000000\t017FA8C0" in out, out  # the default route, by 192.168.127.1
    assert ctl("run", "--", "id", "-u").strip() == str(os.geteuid())
    out = ctl("run", "--no-configure", "--name=wan7", "--mtu=1300", "--", "sh", "-c", "cat /proc/net/dev; cat /proc/net/route")
    assert "wan7:" in out and "017FA8C0" not in out, out
    ctl("run", "sh", "-c", "exit 7", status=7)
    ctl("run", "--", "sh", "-c", "kill -9 $$", status=128 + 9)
    ctl("run", "--", "/nonexistent/program", status=127)
    ctl("run", "--", "/", status=126)
    ctl("run", "-n", "nowhere", "--", "true", status=4)
    ctl("run", "--name=a/b", "--", "true", status=2)
    nothing_left()


def case_run_by_ip6_alone():
    ctl("network", "create", "six", "--subnet=none")
    try:
        out = ctl("run", "-n", "six", "--", "sh", "-c", "grep -c '^fd.* 40 00 .*eth0$' /proc/net/if_inet6; cat /proc/net/route; cat /etc/resolv.conf")
        assert out.startswith("1\n") and "eth0" not in out and "nameserver fd" in out, out
    finally:
        ctl("network", "remove", "six")
    nothing_left()


def case_signals():
    process = start("run", "--", "sh", "-c", "trap 'echo usr1; exit 3' USR1; echo ready; while :; do sleep 0.1; done")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == ("usr1\n", 3), (out, process.returncode)

    process = start("run", "--", "sh", "-c", "echo ready; exec sleep 60")
    process.stdout.readline()
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    nothing_left()

    # Killed outright: the command is told to end, and everything in vnetd goes.
    process = start("run", "-p", str(free_port()), "--", "sh", "-c", "echo $$; exec sleep 60")
    pid = int(process.stdout.readline())
    process.kill()
    process.wait(20)
    wait_for("the command to end", lambda: has_ended(pid))
    nothing_left()


def case_publish():
    port, other = free_port(), free_port()
    process = start("run", "-p", f"{port}:80", "-p", f"127.0.0.1:{other}:80", "--", "python3", "-u", "-m", "http.server", "80")
    try:
        assert "Serving" in process.stdout.readline()
        rows = listed("forwards")
        assert len(rows) == 2 and all(r["remote"].endswith(":80") for r in rows), rows
        for p in (port, other):
            with socket.create_connection(("127.0.0.1", p), timeout=5) as s:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert s.recv(5) == b"HTTP/"
        taken = ctl("expose", str(port), "192.168.127.9", status=1)
        assert str(port) in taken, taken

        third = free_port()
        assert ctl("expose", str(third), ":80") == f"tcp {third} -> (only guest):80\n"
        wait_for("the exposed port", lambda: try_connect(third))
        ctl("unexpose", str(third))
        assert not try_connect(third)
        ctl("unexpose", str(third), status=4)
        ctl("unexpose", str(third), "-n", "default", status=4)

        for spec in ("0", "65536", "x", "127.0.0.1", "1.2.3.4.5:80", "127.0.0.1:", NAME_LONG):
            ctl("expose", spec, status=1)
        ctl("expose", str(third), "no-such-guest", status=4)
        ctl("expose", f"192.0.2.1:{third}", status=1)  # not an address of this host
    finally:
        process.terminate()
        process.wait(20)
    nothing_left()
    assert not try_connect(port)
    ctl("expose", str(port), status=4)  # no guest there


def namespace():
    """A process in namespaces of its own."""
    flags = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    return subprocess.Popen(["unshare", *flags, "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE, text=True)


def case_attach():
    guest = namespace()
    try:
        guest.stdout.readline()
        out = ctl("attach", str(guest.pid))
        assert out.startswith("eth0: 192.168.127."), out
        assert open(f"/proc/{guest.pid}/net/route").read().count("eth0") >= 2
        (row,) = listed("device", "list")
        assert (row["kind"], row["network"], row["mtu"]) == ("tap", "default", 65520), row
        assert ctl("attach", f"/proc/{guest.pid}/ns/net", "--name=lan1", "--mtu=1400", "--no-configure") == "lan1: not configured\n"
        assert len(listed("device", "list")) == 2
        ctl("attach", str(guest.pid), "--name=lan1", status=1)
        assert len(listed("device", "list")) == 2
        shown = json.loads(ctl("device", "show", row["name"], "--json=short"))
        assert shown["Ifname"] == "eth0" and shown["State"] == "attached", shown
        assert "Network: default\n" in ctl("device", "show", row["name"])
        ctl("device", "remove", row["name"])
        ctl("device", "remove", row["name"], status=4)
        wait_for("the interface to go", lambda: "eth0" not in open(f"/proc/{guest.pid}/net/dev").read())
    finally:
        guest.kill()
        guest.wait()
    wait_for("the device to go with its namespace", lambda: not listed("device", "list"))
    ctl("attach", "/etc/passwd", status=4)
    ctl("attach", "/nonexistent", status=4)
    ctl("attach", "999999999", status=4)
    for ours in (str(os.getpid()), "/proc/self/ns/net"):
        assert "the network namespace that vnetctl runs in" in ctl("attach", ours, status=1)
    assert not listed("device", "list")


def case_monitor():
    words = {"InterfacesAdded", "LeaseAdded", "LeaseRemoved", "InterfacesRemoved"}
    processes = []
    with tempfile.TemporaryDirectory() as d:
        paths = [os.path.join(d, name) for name in ("text", "lines")]
        for path, *arguments in (paths[0], "monitor"), (paths[1], "monitor", "--json=short"):
            with open(path, "w") as f:
                processes.append(subprocess.Popen([VNETCTL, *arguments], stdin=subprocess.DEVNULL, stdout=f))

        def told():
            ctl("run", "--", "true")  # again, should they not have listened yet
            text, lines = (open(path).read() for path in paths)
            return all(f" {word} " in text and word in lines for word in words)

        wait_for("events", told, 30)
        for process in processes:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0, process.returncode
        for line in open(paths[1]):
            assert json.loads(line)["signal"], line


def case_two_at_once():
    processes = [start("run", "--", "sh", "-c", "echo ready; exec sleep 60") for _ in range(6)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    assert len({r["address"] for r in listed("leases")}) == 6
    assert "name the one" in ctl("expose", str(free_port()), status=4)
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(20)
    nothing_left()


# ---- around them ----

def check_needs():
    if not any(os.access(os.path.join(d, "dbus-daemon"), os.X_OK) for d in os.environ["PATH"].split(":")):
        skip("there is no dbus-daemon")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        skip("/dev/net/tun cannot be opened")
    flags = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    if subprocess.run(["unshare", *flags, "true"], capture_output=True).returncode != 0:
        skip("namespaces cannot be made")


def main():
    check_needs()
    cases = [(name[5:].replace("_", "-"), case) for name, case in globals().items() if name.startswith("case_")]
    started, failed = [], 0
    with tempfile.TemporaryDirectory() as directory:
        for bus in ("bus", "second"):  # the second has no vnetd
            conf = pathlib.Path(directory, bus + ".conf")
            conf.write_text(BUS_CONF.format(path=f"{directory}/{bus}"))
            started.append(subprocess.Popen(["dbus-daemon", f"--config-file={conf}", "--nofork", "--nopidfile"], stderr=subprocess.DEVNULL))
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={directory}/bus"
        log = open(f"{directory}/log", "w+")
        try:
            wait_for("the buses", lambda: all(listens(f"{directory}/{bus}") for bus in ("bus", "second")))
            os.mkdir(f"{directory}/config")
            started.append(subprocess.Popen([VNETD, "--bus-address=" + os.environ["DBUS_SYSTEM_BUS_ADDRESS"],
                                             f"--config-dir={directory}/config", f"--state-dir={directory}"], stderr=log))
            wait_for("vnetd", lambda: subprocess.run([VNETCTL], capture_output=True).returncode == 0)
            print(f"1..{len(cases)}")
            for i, (name, case) in enumerate(cases, 1):
                try:
                    case()
                    print(f"ok {i} {name}", flush=True)
                except Exception:
                    failed += 1
                    print(f"not ok {i} {name}", flush=True)
                    traceback.print_exc()
            started[-1].terminate()
            assert started[-1].wait(20) == 0, "vnetd did not end well"
        finally:
            for process in reversed(started):
                if process.poll() is None:
                    process.terminate()
                    process.wait(20)
            if failed:
                log.seek(0)
                sys.stderr.write("".join(f"# {line}" for line in log))
    sys.exit(1 if failed else 0)


main()
