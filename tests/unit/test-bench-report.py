#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What bench/bench --load prints: each figure of the files it is given, whoever it is of. Measures nothing."""

import json
import subprocess
import sys
import tempfile

BENCH = sys.argv[1]
sys.path.insert(0, BENCH.rpartition("/")[0])
sys.dont_write_bytecode = True

from peers import PEERS  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402

CONDITIONS = {"kernel": "6.1", "cpus": 2, "model": "a machine", "load": 0.5, "rounds": 1, "seconds": 1, "versions": {"vnetd": "1"}, "peers": [], "took": 60}
BESIDE = {  # what a run of these always has beside the figure that counts
    "ramp": {"p50_alone_us": 1, "p50_among_us": 1, "empty_per_second": 1, "full_per_second": 1},
    "nets": {state: {"own_kib": 1, "fds": 1, "threads": 1} for state in ("before", "after")} | {"least_gbps": 1, "kib_per_network": 1},
    "calls": {"calls": {"read": 1}, "counted_by": "perf"},
}


def all_results():
    """One run of every scenario with every peer that can do it: each figure that counts is another number."""
    results = []
    for name, s in SCENARIOS.items():
        for peer in PEERS:
            for mtu in [0] if peer.name == "loopback" else [1500, 65520][:s.mtus]:
                if s.suits(peer):
                    run = {s.figure: 1000 + len(results)} | BESIDE.get(name.partition("-")[0], {})
                    results.append({"scenario": name, "mtu": mtu, "peer": peer.name, "runs": [run]})
    return results


def printed(directory, files, again=()):
    """The text for these files, each given as its list of results."""
    paths = []
    for i, results in enumerate([*files, *again]):
        paths.append(f"{directory}/{i}")
        with open(paths[-1], "w") as f:
            json.dump({"conditions": CONDITIONS, "results": results}, f)
    argv = [BENCH, "--load", *paths[:len(files)], *(["--again", *paths[len(files):]] if again else [])]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout


def rows(text):
    """The cells of each row of the first table of a scenario, by its name and MTU, under the heads of their columns."""
    found, heads = {}, []
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if cells[:2] == ["scenario", "MTU"]:
            heads = cells
        elif heads and len(cells) == len(heads):
            found.setdefault((cells[0], cells[1]), dict(zip(heads, cells)))
    return found


def everything_is_there(directory):
    results = all_results()
    table = rows(printed(directory, [results]))
    for r in results:
        figure = str(r["runs"][0][SCENARIOS[r["scenario"]].figure])
        row = table.get((r["scenario"], str(r["mtu"] or 1500)), {})
        assert row.get(r["peer"], "").split(" ")[0] == figure, f"{r['scenario']} of {r['peer']} at {r['mtu']}: {figure} is not in {row}"


def loopback_alone(directory):
    table = rows(printed(directory, [[{"scenario": "rr", "mtu": 0, "peer": "loopback", "runs": [{"p50_us": 1234}]}]]))
    assert table["rr", "-"]["loopback"] == "1234", table


def whose_calls(directory):
    text = printed(directory, [[{"scenario": "calls-rr", "mtu": 1500, "peer": p, "runs": [{"per_unit": n, "calls": {"read": n}, "counted_by": "perf"}]}
                                for p, n in (("vnetd", 6), ("vnetd-parallel", 7))]])
    assert "- calls-rr (by perf): read 6\n" in text and "- calls-rr of vnetd-parallel (by perf): read 7\n" in text, text


def several_files(directory):
    """Rounds add up, and what only one has is there."""
    def file(*figures):
        return [{"scenario": name, "mtu": 1500, "peer": "vnetd", "runs": [{"p50_us": n}]} for name, n in figures]
    text = printed(directory, [file(("rr", 1000)), file(("rr", 3000), ("fwd-rr", 1500)), file(("rr", 1100))])
    table = rows(text)
    assert table["rr", "1500"]["vnetd"] == "1100" and table["fwd-rr", "1500"]["vnetd"] == "1500", table
    assert "medians of up to 3 interleaved rounds of 1 s, 3 minutes" in text, text


def only_the_second_run(directory):
    run = [{"scenario": "rr", "mtu": 1500, "peer": "vnetd", "runs": [{"p50_us": 1000}]}]
    text = printed(directory, [run], again=[run + [{"scenario": "crr", "mtu": 1500, "peer": "vnetd", "runs": [{"p50_us": 2000}]}]])
    assert "| crr | 1500 | µs p50 | - | 2000 |" in text, text


def main():
    for test in (everything_is_there, loopback_alone, whose_calls, several_files, only_the_second_run):
        with tempfile.TemporaryDirectory() as directory:
            test(directory)


main()
