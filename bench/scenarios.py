# SPDX-License-Identifier: LGPL-2.1-or-later
"""What bench/ can measure, by name, and in which rounds of which peers."""

import meters as m
from results import OWN


class Scenario:
    """@run(peer, seconds, mtu) gives figures; @figure of them is the one that counts, and @more of it is better."""

    def __init__(self, run, figure, unit, more=True, pinned=False, mtus=1, forward=False, dns=False, sock=False, limits=True, rounds=99,
                 peer_rounds=99, lanes=0, fresh=False, only=None, floor=False):
        self.run, self.figure, self.unit, self.more = run, figure, unit, more
        self.pinned = pinned  # everything, servers too, on one CPU
        self.mtus = mtus  # how many of the MTUs
        self.forward = forward  # into the guest, which has servers then
        self.dns, self.sock, self.limits = dns, sock, limits  # which peers take part
        self.rounds, self.peer_rounds = rounds, peer_rounds  # at most; of others than vnetd, where vnetd is judged by itself
        self.lanes = lanes  # networks at once
        self.fresh = fresh  # on a peer that did nothing before
        self.only = only  # these peers alone
        self.floor = floor  # the empty relay can take part

    def rounds_of(self, cls):
        return self.rounds if cls.name in OWN else min(self.rounds, self.peer_rounds)

    def suits(self, cls):
        if (cls.floor and not self.floor) or cls.sock != self.sock or ((self.forward or self.lanes) and not cls.entry) or (cls.limit and not self.limits):
            return False
        if self.only and cls.name not in self.only:
            return False
        return not self.dns or (cls.dns and (self.dns != "zone" or hasattr(cls, "add_zone")))


def tcp(up, streams, inward=False, sock=False):
    return Scenario(lambda p, t, mtu: m.tcp(p, t, up, streams, inward), "gbps", "Gbit/s", mtus=2, forward=inward, sock=sock,
                    rounds=1 if streams > 8 else 99)


def latency(what, *more, inward=False):
    return Scenario(lambda p, t, mtu: m.exchange(p, t, what, *more, inward=inward), "p50_us", "µs p50", more=False, pinned=True, forward=inward,
                    floor=not inward)


def rate(inward=False):
    return Scenario(lambda p, t, mtu: m.exchange(p, t, "crr", 16, inward=inward), "per_second", "connections/s", pinned=True, forward=inward,
                    floor=not inward)


def beside_bulk(up, pinned=False, inward=False):
    return Scenario(lambda p, t, mtu: m.exchange_beside_bulk(p, t, up, inward), "p50_us", "µs p50", more=False, pinned=pinned,
                    mtus=1 if inward else 2, rounds=2, forward=inward, only=("vnetd", "pasta") if inward else None)


def datagrams(way, size, gso=False):
    return Scenario(lambda p, t, mtu: m.datagrams(p, t, way, size, gso=gso), "gbps", "Gbit/s received", rounds=2 if gso else 1)


def datagram_rate(way, size):
    return Scenario(lambda p, t, mtu: m.datagram_rate(p, way, size), "received_per_second", "packets/s at 1 % loss", rounds=1)


def networks(n):
    return Scenario(lambda p, t, mtu: m.networks(p, t, n, mtu), "gbps", "Gbit/s in all", lanes=n, fresh=True, rounds=2 if n < 10 else 1, peer_rounds=1,
                    only=("vnetd", "veth+nat") if n >= 10 else None)


def loops(n, what):
    figure, unit = ("per_second", "connections/s in all") if what == "crr" else ("gbps", "Gbit/s in all")
    return Scenario(lambda p, t, mtu: m.loops(p, t, n, what, mtu), figure, unit, mtus=1, lanes=2, fresh=True, only=("vnetd", "vnetd-parallel"))


def ramp(n):
    return Scenario(lambda p, t, mtu: m.ramp(p, t, n), "bytes_per_flow", "bytes an idle flow", more=False, pinned=True, limits=False,
                    rounds=2 if n == 10000 else 1, peer_rounds=1, fresh=True, only=None if n == 10000 else ("vnetd",))


def system_calls(unit, what):
    return Scenario(lambda p, t, mtu: m.system_calls(p, t, unit), "per_unit", f"system calls a {what}", more=False, limits=False, rounds=1)


def dns(name, kind):
    def run(peer, seconds, mtu):
        if kind == "zone":
            peer.add_zone()
        return m.dns(peer, seconds, name, 32)
    return Scenario(run, "per_second", "queries/s", dns=kind, rounds=2)


SCENARIOS = {
    **{f"tcp-{way}{tail}": tcp(way == "up", n) for tail, n in (("", 1), ("-8", 8), ("-64", 64)) for way in ("up", "down")},
    **{f"fwd-{way}{tail}": tcp(way == "up", n, inward=True) for tail, n in (("", 1), ("-8", 8), ("-64", 64)) for way in ("up", "down")},
    "rr": latency("rr"),
    "crr": latency("crr"),
    "crr-16": rate(),
    "fwd-rr": latency("rr", inward=True),
    "fwd-crr": latency("crr", inward=True),
    "fwd-crr-16": rate(inward=True),
    "rr-bulk-up": beside_bulk(True),
    "rr-bulk-down": beside_bulk(False),
    "rr-bulk-up-1cpu": beside_bulk(True, pinned=True),
    "rr-bulk-down-1cpu": beside_bulk(False, pinned=True),
    **{f"rr-fwd-{way}{tail}": beside_bulk(way == "up", bool(tail), inward=True) for tail in ("", "-1cpu") for way in ("up", "down")},
    **{f"udp-gso-{way}": datagrams(way, 1400, gso=True) for way in ("up", "down")},
    **{f"udp-{size}-{way}": datagrams(way, size) for size in (1400, 8192) for way in ("up", "down")},
    **{f"udp-64-{way}": datagram_rate(way, 64) for way in ("up", "down")},
    **{f"ramp-{n}": ramp(n) for n in (10, 100, 1000, 10000)},
    "idle": Scenario(lambda p, t, mtu: m.idle(p, t), "wakeups_per_second", "wake-ups/s", more=False, limits=False, rounds=1, fresh=True),
    **{f"nets-{n}": networks(n) for n in (1, 8, 10, 50)},
    **{f"loops-{n}-{what}": loops(n, what) for what in ("up", "down", "crr") for n in (1, 2)},
    "calls-up": system_calls("up", "64 KiB"),
    "calls-down": system_calls("down", "64 KiB"),
    "calls-rr": system_calls("rr", "request and response"),
    "calls-crr": system_calls("crr", "connection"),
    "dns-zone": dns("www.bench.test", "zone"),
    "dns-upstream": dns("n%.example", "upstream"),
    "dns-cached": dns("www.example", "upstream"),
    "sock-up": tcp(True, 1, sock=True),
    "sock-down": tcp(False, 1, sock=True),
}
GROUPS = {
    "tcp": [n for n in SCENARIOS if n.startswith("tcp-")],
    "fwd": [n for n in SCENARIOS if n.startswith(("fwd-", "rr-fwd-"))],
    "latency": ["rr", "crr", "crr-16", "fwd-rr", "fwd-crr", "fwd-crr-16", "rr-bulk-up", "rr-bulk-down", "rr-bulk-up-1cpu",
                "rr-bulk-down-1cpu"],
    "udp": [n for n in SCENARIOS if n.startswith("udp-")],
    "scale": [n for n in SCENARIOS if n.startswith(("ramp-", "nets-"))] + ["idle"],
    "ramp": [n for n in SCENARIOS if n.startswith("ramp-")],
    "nets": [n for n in SCENARIOS if n.startswith("nets-")],
    "loops": [n for n in SCENARIOS if n.startswith("loops-")],
    "calls": [n for n in SCENARIOS if n.startswith("calls-")],
    "dns": [n for n in SCENARIOS if n.startswith("dns-")],
    "sock": ["sock-up", "sock-down"],
    "all": list(SCENARIOS),
}


def chosen(words):
    """The names meant by names and groups, in the order of the table."""
    names = {n for w in words for n in GROUPS.get(w, [w])}
    return [n for n in SCENARIOS if n in names]
