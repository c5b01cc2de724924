# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured of a peer that is up, each a function of it and of the seconds to spend: a dict of figures."""

import contextlib
import json
import os
import select
import subprocess
import time

import calls
from world import FORWARD, LANE_PORT, METER_PORT, PORT, UDP_PORT, sh

RAMP_SECONDS = 15  # at most for opening its connections


def ends(peer, inward):
    """Where the client runs, the address it asks and what is added to ports: out of the guest, or @inward by a forward."""
    if inward:
        return (), peer.entry, FORWARD
    return (peer.guest.enter if peer.guest else ()), peer.server, 0


@contextlib.contextmanager
def spent(peer, figures):
    before = peer.cpu()
    yield
    figures["cpu_s"] = peer.cpu() - before


def iperf_argv(address, port, seconds, reverse, streams):
    return ["iperf3", "-J", "-c", address, "-p", str(port), "-t", str(seconds), "-P", str(streams)] + (["-R"] if reverse else [])


def iperf_result(peer, text):
    out = json.loads(text)
    if "error" in out:
        raise RuntimeError(f"{peer.name}: iperf3: {out['error']}")
    return out["end"]["sum_received"]


def tcp(peer, seconds, up, streams, inward=False):
    """@up is away from the guest, whoever began."""
    enter, address, add = ends(peer, inward)
    argv = [*enter, *iperf_argv(address, PORT + add, seconds, up == inward, streams)]
    figures = {}
    if peer.guest:
        sh("nstat", "-n", ns=peer.guest)
    before = peer.counters()
    with spent(peer, figures):
        run = sh(*argv, check=False, timeout=seconds + 8)
    received = iperf_result(peer, run.stdout)
    figures["gbps"] = received["bits_per_second"] / 1e9
    figures["cpu_s_per_gib"] = figures["cpu_s"] / max(received["bytes"] / 2**30, 1e-9)
    if peer.guest:
        for line in sh("nstat", "-z", ns=peer.guest).stdout.splitlines():
            fields = line.split()
            if fields[0] in ("TcpRetransSegs", "TcpExtTCPTimeouts", "TcpExtTCPLossProbes"):
                figures[fields[0]] = int(fields[1])
    return figures | {f"gateway_{k}": v - before[k] for k, v in peer.counters().items()}


def meter(peer, program, *argv, enter=None):
    """One line of JSON from netmeter, udpmeter or dnsmeter."""
    if enter is None:
        enter = peer.guest.enter if peer.guest else ()
    run = sh(*enter, f"{peer.args.build}/bench/{program}", *map(str, argv), check=False, timeout=60)
    if run.returncode != 0:
        raise RuntimeError(f"{peer.name}: {run.stderr.strip()}")
    return json.loads(run.stdout)


def exchange(peer, seconds, what, *more, inward=False):
    enter, address, add = ends(peer, inward)
    figures = {}
    with spent(peer, figures):
        figures |= meter(peer, "netmeter", what, address, METER_PORT + add, seconds, *more, enter=enter)
    figures["cpu_us_each"] = figures["cpu_s"] * 1e6 / max(figures["count"], 1)
    return figures


def exchange_beside_bulk(peer, seconds, up, inward=False):
    """Request and response while four streams go as fast as they can, these begun by the guest or @inward by a forward."""
    enter, address, add = ends(peer, inward)
    bulk = subprocess.Popen([*enter, *iperf_argv(address, PORT + add, seconds + 1, up == inward, 4)], stdout=subprocess.PIPE, text=True)
    enter, address, _ = ends(peer, False)
    try:
        time.sleep(0.5)
        figures = meter(peer, "netmeter", "rr", address, METER_PORT, seconds, enter=enter)
        figures["bulk_gbps"] = iperf_result(peer, bulk.communicate(timeout=30)[0])["bits_per_second"] / 1e9
    finally:
        bulk.kill()
        bulk.wait()
    return figures


def datagrams(peer, seconds, way, size, rate=0, gso=False):
    figures = {}
    with spent(peer, figures):
        figures |= meter(peer, "udpmeter", way, peer.server, UDP_PORT, seconds, size, rate, *(["gso"] if gso else []))
    if figures["received"] > 0:
        figures["cpu_s_per_mpkt"] = figures["cpu_s"] / (figures["received"] / 1e6)
    return figures


def datagram_rate(peer, way, size):
    """The highest rate with at most 1 % loss, by halving the distance; what nearly held is tried twice, for the machine may have had a hiccup."""
    low, high, best = 0, 1000000, None
    rate = 100000
    for _ in range(8):
        good = None
        for _ in range(2):
            r = datagrams(peer, 1, way, size, rate)
            if r["loss"] <= 0.01 and r["sent_per_second"] > 0.9 * rate:
                good = r
            if good or r["loss"] > 0.1:
                break
        if good:
            low, best = rate, good
        else:
            high = rate
        rate = min(rate * 2, (low + high) // 2) if low else rate // 4
        if rate < 500 or high - low < max(low // 12, 1):
            break
    return best or {"received_per_second": 0}


def resident(peer):
    return {"rss_kib": peer.status("VmRSS"), "own_kib": peer.status("RssAnon") + peer.status("RssShmem"), "threads": peer.status("Threads"),
            "fds": sum(len(os.listdir(f"/proc/{p.pid}/fd")) for p in peer.gateway)}


def settled(peer):
    """When nothing more is given back for a second."""
    now = resident(peer)
    for _ in range(10):
        time.sleep(1)
        before, now = now, resident(peer)
        if before["own_kib"] - now["own_kib"] < 64:
            break
    return now


def ramp(peer, seconds, links):
    """So many idle connections: what each costs, what they cost the others, and whether it is given back."""
    f = {"idle": resident(peer)}
    alone = exchange(peer, seconds, "rr")
    empty = exchange(peer, seconds, "crr", 16)
    f["before"] = resident(peer)
    hold = subprocess.Popen([*(peer.guest.enter if peer.guest else ()), f"{peer.args.build}/bench/netmeter", "hold", peer.server,
                             str(METER_PORT), str(links)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        in_time, _, _ = select.select([hold.stdout], [], [], RAMP_SECONDS)
        line = hold.stdout.readline() if in_time else ""
        if not line:
            hold.kill()
            raise RuntimeError(f"{peer.name}: {links} connections: {hold.stderr.read().strip() or f'not within {RAMP_SECONDS} s'}")
        f |= json.loads(line)
        f["full"] = resident(peer)
        among = exchange(peer, seconds, "rr")
        full = exchange(peer, seconds, "crr", 16)
    finally:
        hold.kill()
        hold.communicate()
    f["after"] = settled(peer)
    f["bytes_per_flow"] = (f["full"]["own_kib"] - f["before"]["own_kib"]) * 1024 / links
    f["kept_ratio"] = (f["after"]["own_kib"] - f["before"]["own_kib"]) / max(f["full"]["own_kib"] - f["before"]["own_kib"], 1)
    f["p50_alone_us"], f["p50_among_us"] = alone["p50_us"], among["p50_us"]
    f["p50_ratio"] = among["p50_us"] / alone["p50_us"]
    f["empty_per_second"], f["full_per_second"] = empty["per_second"], full["per_second"]
    f["rate_ratio"] = full["per_second"] / empty["per_second"]
    return f


def idle(peer, seconds):
    time.sleep(1)
    before, cpu = peer.wakeups(), peer.cpu()
    time.sleep(max(seconds, 5))
    f = {"wakeups_per_second": (peer.wakeups() - before) / max(seconds, 5), "cpu_ms_per_second": (peer.cpu() - cpu) * 1e3 / max(seconds, 5)}
    return f | resident(peer)


def system_calls(peer, seconds, unit):
    """Of the gateway per unit of work: 64 KiB in bulk, a request and response, a connection."""
    figures = {}
    with calls.counted(peer, figures):
        if unit in ("up", "down"):
            r = tcp(peer, seconds, unit == "up", 1)
            units = r["cpu_s"] / r["cpu_s_per_gib"] * 2**30 / 65536
        else:
            units = exchange(peer, seconds, unit)["count"]
    figures["per_unit"] = sum(figures["calls"].values()) / max(units, 1)
    figures["calls"] = {k: round(v / max(units, 1), 3) for k, v in sorted(figures["calls"].items(), key=lambda kv: -kv[1]) if v > units / 100}
    return figures


def networks(peer, seconds, n, mtu):
    """One upload in each of @n networks at once. By the wall clock, for not all of them begin at the same time."""
    seconds = max(seconds, 3)
    f = {"before": resident(peer)}
    lanes = [(peer.guest, peer.server)] + peer.more_networks(n - 1, mtu)
    f["after"] = resident(peer)
    f["kib_per_network"] = (f["after"]["own_kib"] - f["before"]["own_kib"]) / max(n - 1, 1)
    with spent(peer, f):
        began = time.monotonic()
        runs = [subprocess.Popen([*guest.enter, *iperf_argv(server, LANE_PORT + i, seconds, False, 1)], stdout=subprocess.PIPE, text=True)
                for i, (guest, server) in enumerate(lanes)]
        results = [iperf_result(peer, r.communicate(timeout=seconds + 60)[0]) for r in runs]
        elapsed = time.monotonic() - began
    total = sum(r["bytes"] for r in results)
    f["gbps"] = total * 8 / elapsed / 1e9
    f["least_gbps"] = min(r["bits_per_second"] for r in results) / 1e9
    f["cpu_s_per_gib"] = f["cpu_s"] / max(total / 2**30, 1e-9)
    return f


def loops(peer, seconds, n, what, mtu):
    """Two clients with four streams, or eight connections at a time, each: both in one network, or (@n is 2) each in one of its own. What a
    second loop could give one network here. How busy the busiest of the gateway's threads was, and all of the machine, in CPUs."""
    seconds = max(seconds, 3)
    lanes = [(peer.guest, peer.server)] * 2 if n == 1 else [(peer.guest, peer.server)] + peer.more_networks(1, mtu)
    if what == "crr":
        argvs = [[*guest.enter, f"{peer.args.build}/bench/netmeter", "crr", server, str(METER_PORT), str(seconds), "8"] for guest, server in lanes]
    else:
        argvs = [[*guest.enter, *iperf_argv(server, LANE_PORT + i, seconds, what == "down", 4)] for i, (guest, server) in enumerate(lanes)]
    f = {}
    threads, idle, began = peer.threads(), idle_seconds(), time.monotonic()
    with spent(peer, f):
        runs = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for argv in argvs]
        texts = [r.communicate(timeout=seconds + 60)[0] for r in runs]
    elapsed = time.monotonic() - began
    f["gateway_cpus"] = f["cpu_s"] / elapsed
    f["busiest_thread_cpus"] = max(t - threads.get(i, 0) for i, t in peer.threads().items()) / elapsed
    f["busy_cpus"] = os.cpu_count() - (idle_seconds() - idle) / elapsed
    if what == "crr":
        f["per_second"] = sum(json.loads(t)["per_second"] for t in texts)
    else:
        f["gbps"] = sum(iperf_result(peer, t)["bytes"] for t in texts) * 8 / elapsed / 1e9
    return f


def idle_seconds():
    """Of all CPUs together, since they began."""
    with open("/proc/stat") as f:
        fields = f.readline().split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def dns(peer, seconds, name, window):
    """Queries a second with @window of them under way; % in @name makes each another name."""
    figures = {}
    with spent(peer, figures):
        figures |= meter(peer, "dnsmeter", "ask", peer.dns, 53, seconds, name, window)
    figures["cpu_us_per_query"] = figures["cpu_s"] * 1e6 / max(figures["answered"], 1)
    return figures
