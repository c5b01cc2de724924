# SPDX-License-Identifier: LGPL-2.1-or-later
"""
How many system calls a gateway makes. The kernel's own count, by perf, disturbs nothing but needs the machine's root, which nobody is in
the namespaces: so a process that stays outside is asked. Without it strace counts, under which the gateway is slower than it is.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

FD = "VNET_BENCH_PERF"
NAMES = ("read", "write", "readv", "writev", "preadv2", "pwritev2", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg", "splice",
         "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "poll", "ppoll", "timerfd_settime", "futex", "nanosleep", "socket", "connect", "accept4", "shutdown",
         "close", "getsockopt", "setsockopt", "bind")
EVENTS = ",".join(["raw_syscalls:sys_enter"] + [f"syscalls:sys_enter_{n}" for n in NAMES])


def start_perf(pids):
    return subprocess.Popen(["perf", "stat", "-x", ",", "-e", EVENTS, "-p", ",".join(map(str, pids))], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def stop_perf(perf):
    perf.send_signal(signal.SIGINT)
    counts = {}
    for line in perf.communicate()[1].splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[0].isdigit():
            counts[fields[2].rsplit("sys_enter", 1)[-1].strip("_") or "total"] = int(fields[0])
    return counts


def serve(sock):
    """Outside, until the other side is gone: a line of process ids, an empty line when counting is to end, and the counts as an answer."""
    perf = None
    for line in sock.makefile():
        if line.strip():
            perf = start_perf(line.split())
            time.sleep(0.5)
            answer = perf.poll() is None
        else:
            answer = stop_perf(perf)
        sock.sendall(json.dumps(answer).encode() + b"\n")


def stay_outside():
    """Before the namespaces are entered."""
    if FD in os.environ or os.geteuid() != 0 or not shutil.which("perf"):
        return
    tried = start_perf([os.getpid()])
    time.sleep(0.3)
    if "total" not in stop_perf(tried):
        return
    here, there = socket.socketpair()
    if os.fork() == 0:
        here.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve(there)
        os._exit(0)
    there.close()
    os.set_inheritable(here.fileno(), True)
    os.environ[FD] = str(here.detach())


@contextlib.contextmanager
def by_perf(peer, figures, sock):
    answers = sock.makefile()
    sock.sendall(" ".join(str(p.pid) for p in peer.gateway).encode() + b"\n")
    if not json.loads(answers.readline()):
        raise RuntimeError("perf did not attach")
    try:
        yield
    finally:
        sock.sendall(b"\n")
        calls = json.loads(answers.readline())
        total = calls.pop("total", 0)
        calls["other"] = total - sum(calls.values())
        figures["calls"], figures["counted_by"] = calls, "perf"


@contextlib.contextmanager
def by_strace(peer, figures):
    with tempfile.NamedTemporaryFile("r", prefix="vnet-bench-") as out:
        argv = ["strace", "-f", "-c", "-U", "calls,name", "-o", out.name]
        for p in peer.gateway:
            argv += ["-p", str(p.pid)]
        tracer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        line = ""
        while "attached" not in line:
            line = tracer.stderr.readline()
            if not line:
                raise RuntimeError("strace did not attach")
        try:
            time.sleep(0.3)
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
        calls = {name: int(n) for n, name in re.findall(r"^\s*(\d+) (\w+)$", out.read(), re.M)}
        calls.pop("total", None)
        figures["calls"], figures["counted_by"] = calls, "strace"


def counted(peer, figures):
    if FD in os.environ:
        return by_perf(peer, figures, socket.socket(fileno=os.dup(int(os.environ[FD]))))
    return by_strace(peer, figures)
