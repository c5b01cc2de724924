# SPDX-License-Identifier: LGPL-2.1-or-later
"""What vnetd wants to reach beside its peers, and whether these results show it."""

BOTH = ("up", "down")


class Check:
    """One line: what is wanted, what was measured, whether it holds (None: not measured)."""

    def __init__(self, what, value, bound, more=True, unit=""):
        self.what, self.value, self.unit = what, value, unit
        self.wanted = f"{'at least' if more else 'at most'} {bound:g}{unit}"
        self.holds = None if value is None else (value >= bound if more else value <= bound)

    def measured(self):
        return "-" if self.value is None else f"{self.value:.3g}{self.unit}" if abs(self.value) < 1000 else f"{self.value:.0f}{self.unit}"

    def verdict(self):
        return {None: "not measured", True: "held", False: "missed"}[self.holds]


def over(a, b):
    return a / b if a is not None and b else None


def throughput(r, small):
    for kind in ("tcp", "fwd"):
        for way in BOTH:
            for tail, n in (("", 1), ("-8", 8)):
                name = f"{kind}-{way}{tail}"
                one, best = r.own(name, small, "gbps"), r.own(name, None, "gbps")
                yield Check(f"1. {name}, MTU {small}, of the best peer's there", over(one, r.best(name, small, "gbps")), 8, unit=" x")
                yield Check(f"1. {name}, best MTU, of the best peer's at its best", over(best, r.best(name, None, "gbps")), 1.3 if n == 1 else 1, unit=" x")
                yield Check(f"1. {name}, best MTU, of veth with NAT at its best", over(best, r.of("veth+nat", name, None, "gbps")), 0.8, unit=" x")
    yield Check("1. the guest's retransmissions and RTOs in all of these", sent_again(r, "vnetd", "TcpRetransSegs", "TcpExtTCPTimeouts"), 0, more=False)
    yield Check("1. vnetd's own, towards the guest", sent_again(r, "vnetd", "gateway_retransmits"), 0, more=False)


def sent_again(r, peer, *figures):
    counts = [run[f] for (name, _, p), runs in r.runs.items() if p == peer and name.startswith(("tcp-", "fwd-")) for run in runs for f in figures if f in run]
    return float(sum(counts)) if counts else None


def cpu(r, small, large):
    figure = "cpu_s_per_gib"
    for name in [f"{kind}-{way}{tail}" for kind in ("tcp", "fwd") for way in BOTH for tail in ("", "-8")]:
        yield Check(f"2. {name}, CPU per GiB at the best MTU, of the best peer's", over(r.own(name, None, figure, more=False), r.best(name, None, figure, more=False)),
                    0.8, more=False, unit=" x")
        yield Check(f"2. {name}, CPU per GiB at MTU {small}, of that at {large}", over(r.own(name, small, figure), r.own(name, large, figure)), 1.25,
                    more=False, unit=" x")


def latency(r, small):
    yield Check("3. rr p50 on one CPU, of the best peer's", over(r.own("rr", small, "p50_us"), r.best("rr", small, "p50_us", more=False)), 0.75,
                more=False, unit=" x")
    yield Check("3. crr p50 on one CPU, of the best peer's", over(r.own("crr", small, "p50_us"), r.best("crr", small, "p50_us", more=False)), 0.7,
                more=False, unit=" x")
    yield Check("3. crr-16 rate on one CPU, of the best peer's", over(r.own("crr-16", small, "per_second"), r.best("crr-16", small, "per_second")), 1.5,
                unit=" x")
    for way in BOTH:
        yield Check(f"3. rr beside 4 bulk streams {way}, p50", r.own(f"rr-bulk-{way}", small, "p50_us"), 100, more=False, unit=" µs")
        yield Check(f"3. rr beside 4 bulk streams {way}, p99", r.own(f"rr-bulk-{way}", small, "p99_us"), 300, more=False, unit=" µs")


def datagrams(r, small):
    for way in BOTH:
        name = f"udp-gso-{way}"
        yield Check(f"4. {name}, of the best peer's bytes", over(r.own(name, small, "gbps"), r.best(name, small, "gbps")), 8, unit=" x")
        name, figure = f"udp-64-{way}", "received_per_second"
        yield Check(f"4. {name}, rate with at most 1 % loss, of the best peer's", over(r.own(name, small, figure), r.best(name, small, figure)), 1.25, unit=" x")
        best = next((p for p in r.peers() if r.median(name, small, p, figure) == r.best(name, small, figure)), None)
        yield Check(f"4. {name}, CPU a packet, of the best peer's", over(r.own(name, small, "cpu_s_per_mpkt"), r.median(name, small, best, "cpu_s_per_mpkt")),
                    0.6, more=False, unit=" x")


def scale(r, small):
    yield Check("5. the daemon's memory a connection of 10,000", r.own("ramp-10000", small, "bytes_per_flow"), 1024, more=False, unit=" B")
    yield Check("5. of that is kept after they closed", r.own("ramp-10000", small, "kept_ratio"), 0.2, more=False, unit=" x")
    idle = r.own("idle", small, "rss_kib")
    yield Check("5. the idle daemon, resident", over(idle, 1024), 16, more=False, unit=" MiB")
    yield Check("5. rr p50 among them, of that alone", r.own("ramp-10000", small, "p50_ratio"), 1.2, more=False, unit=" x")
    yield Check("5. crr-16 rate among them, of the empty table's", r.own("ramp-10000", small, "rate_ratio"), 0.8, unit=" x")
    yield Check("6. 8 networks at once, in all, of one", over(r.own("nets-8", small, "gbps"), r.own("nets-1", small, "gbps")), 0.9, unit=" x")
    yield Check("6. wake-ups of an idle daemon with a guest", r.own("idle", small, "wakeups_per_second"), 1, more=False, unit="/s")


def system_calls(r, small):
    for name, what, bound in (("calls-up", "64 KiB up", 1.5), ("calls-down", "64 KiB down", 1.5), ("calls-rr", "request and response", 6),
                              ("calls-crr", "connection", 25)):
        yield Check(f"7. system calls a {what}", r.own(name, small, "per_unit"), bound, more=False)


def others(r, small):
    for way in BOTH:
        name = f"sock-{way}"
        yield Check(f"{name}, MTU {small}, of the best peer's", over(r.own(name, small, "gbps"), r.best(name, small, "gbps")), 1, unit=" x")
        yield Check(f"{name}, best MTU, of the best peer's at its best", over(r.own(name, None, "gbps"), r.best(name, None, "gbps")), 1, unit=" x")
    for name, figure in (("dns-zone", "per_second"), ("dns-upstream", "per_second"), ("fwd-crr-16", "per_second")):
        yield Check(f"{name}, of gvproxy's", over(r.own(name, small, figure), r.median(name, small, "gvproxy", figure)), 1, unit=" x")


def checks(r, small=1500, large=65520):
    return [*throughput(r, small), *cpu(r, small, large), *latency(r, small), *datagrams(r, small), *scale(r, small), *system_calls(r, small),
            *others(r, small)]
