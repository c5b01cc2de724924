# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was measured: runs by scenario, MTU and peer; medians over the rounds, and the best of the peers."""

import json
import statistics

from peers import PEERS

OWN = ("vnetd", "vnetd-qemu", "vnetd-parallel")
LIMITS = tuple(p.name for p in PEERS if p.limit)


class Results:
    def __init__(self):
        self.runs = {}  # (scenario, MTU, peer): [figures of a round, ...]
        self.conditions = {}

    def add(self, scenario, mtu, peer, figures):
        self.runs.setdefault((scenario, mtu, peer), []).append(figures)

    def peers(self):
        return [p.name for p in PEERS if any(k[2] == p.name for k in self.runs)]

    def mtus(self, scenario):
        return sorted({k[1] for k in self.runs if k[0] == scenario})

    def median(self, scenario, mtu, peer, figure):
        """A figure that is a dictionary of figures is the median of each."""
        values = [r[figure] for r in self.runs.get((scenario, mtu, peer), ()) if figure in r]
        if values and isinstance(values[0], dict):
            return {k: statistics.median(v[k] for v in values) for k in values[0]}
        return statistics.median(values) if values else None

    def own(self, scenario, mtu, figure, more=True):
        """vnetd's; the best of its MTUs when @mtu is None."""
        return next((v for v in (self.of(name, scenario, mtu, figure, more) for name in OWN) if v is not None), None)

    def of(self, peer, scenario, mtu, figure, more=True):
        """One peer's; the best of its MTUs when @mtu is None."""
        values = [self.median(scenario, u, peer, figure) for u in (self.mtus(scenario) if mtu is None else [mtu])]
        return (max if more else min)((v for v in values if v is not None), default=None)

    def best(self, scenario, mtu, figure, more=True):
        """The best peer's, at any MTU when @mtu is None."""
        values = [self.of(p, scenario, mtu, figure, more) for p in self.peers() if p not in OWN and p not in LIMITS]
        return (max if more else min)((v for v in values if v), default=None)

    def save(self, path):
        with open(path, "w") as f:
            json.dump({"conditions": self.conditions,
                       "results": [{"scenario": k[0], "mtu": k[1], "peer": k[2], "runs": v} for k, v in self.runs.items()]}, f, indent=1)
            f.write("\n")

    @classmethod
    def load(cls, *paths):
        """Rounds of several files are those of one: what one of them lacks is taken from the others."""
        results = cls()
        for path in paths:
            with open(path) as f:
                saved = json.load(f)
            results.conditions = together(results.conditions, saved["conditions"]) if results.conditions else saved["conditions"]
            for r in saved["results"]:
                results.runs.setdefault((r["scenario"], r["mtu"], r["peer"]), []).extend(r["runs"])
        if len(paths) > 1:
            results.conditions["rounds"] = max(map(len, results.runs.values()), default=0)
        return results


def together(a, b):
    """The conditions of two runs that are read as one."""
    versions = {k: " and ".join(dict.fromkeys(c["versions"][k] for c in (a, b) if k in c["versions"])) for k in {**a["versions"], **b["versions"]}}
    return a | {"load": max(a["load"], b["load"]), "took": a.get("took", 0) + b.get("took", 0), "versions": versions,
                "peers": list(dict.fromkeys(a["peers"] + b["peers"]))}
