#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""bench/bench from end to end, as short as it goes: each kind of measurement of vnetd gives figures, and they are written down."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.dom.minidom

BENCH, BUILD = sys.argv[1:]
SCENARIOS = {"tcp-up": "gbps", "fwd-down": "gbps", "crr-16": "per_second", "rr": "p50_us", "udp-gso-up": "gbps", "dns-zone": "per_second",
             "sock-up": "gbps"}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def main():
    for program in ("iperf3", "nstat", "unshare", "nsenter", "dbus-daemon"):
        if not shutil.which(program):
            skip(f"{program} is not installed")
    tried = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "--mount", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        skip(f"no namespaces may be made: {tried.stderr.strip()}")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        skip("/dev/net/tun is not there")

    with tempfile.TemporaryDirectory() as d:
        run = subprocess.run([BENCH, "--build", BUILD, "--quick", "--mtu", "1500", "--targets", "--peers", "vnetd", "vnetd-qemu", "--scenarios", *SCENARIOS,
                              "--json", f"{d}/json", "--markdown", f"{d}/md", "--svg", f"{d}/svg"], capture_output=True, text=True, timeout=150)
        print(run.stdout, run.stderr)
        assert run.returncode == 0, run.returncode
        with open(f"{d}/json") as f:
            got = {r["scenario"]: r["runs"] for r in json.load(f)["results"]}
        for name, figure in SCENARIOS.items():
            assert len(got.get(name, ())) == 1, f"{name}: {got.get(name)}"
            assert got[name][0][figure] > 0, f"{name}: {got[name][0]}"
        with open(f"{d}/md") as f:
            text = f.read()
        for name in SCENARIOS:
            assert f"| {name} | 1500 |" in text, f"{name} is not in the tables"
        assert "7. system calls a connection" in run.stdout, "the targets are not shown"
        panels = xml.dom.minidom.parse(f"{d}/svg").getElementsByTagName("rect")
        assert len(panels) > len(SCENARIOS) - 1, f"{len(panels)} bars in the chart"
        again = subprocess.run([BENCH, "--load", f"{d}/json", "--markdown", f"{d}/again"], capture_output=True, text=True, timeout=30)
        assert again.returncode == 0, again.stderr
        with open(f"{d}/again") as f:
            assert f.read() == text, "a saved run reads differently"
        twice = subprocess.run([BENCH, "--load", f"{d}/json", "--again", f"{d}/json", "--targets"], capture_output=True, text=True, timeout=30)
        assert twice.returncode == 0, twice.stderr
        same = [line.split(" | ") for line in twice.stdout.split("## The same again")[1].splitlines() if "1.00 x" in line]
        assert len(same) == len(SCENARIOS) and all(fields[3] == fields[4] for fields in same), twice.stdout


main()
