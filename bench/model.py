# SPDX-License-Identifier: LGPL-2.1-or-later
"""What vnetd's cost should be by a few figures of these results, beside what it was: how it grows with flows and networks."""

FLOWS = (10, 100, 1000, 10000)
NETWORKS = (1, 8, 10, 50)


def flows_table(results, mtu):
    """A flow costs memory alone: latency and the rate of connections stay those of an empty table."""
    a = results.own("ramp-10000", mtu, "bytes_per_flow")
    lines = ["| flows | KiB more, by the model | measured | rr p50 alone, µs | among them | crr-16/s, table empty | among them |", "|---" * 7 + "|"]
    for n in FLOWS:
        name = f"ramp-{n}"
        each = results.own(name, mtu, "bytes_per_flow")
        if a is None or each is None:
            continue
        lines.append(f"| {n} | {n * a / 1024:.0f} | {each * n / 1024:.0f} | " + " | ".join(
            f"{results.own(name, mtu, f):.{d}f}" for f, d in (("p50_alone_us", 1), ("p50_among_us", 1), ("empty_per_second", 0), ("full_per_second", 0))) + " |")
    return lines if len(lines) > 2 else []


def networks_table(results, mtu):
    """A network costs memory, descriptors and a thread; once the CPUs are busy, more of them share what there is."""
    per_network, total = results.own("nets-10", mtu, "kib_per_network"), results.own("nets-8", mtu, "gbps")
    lines = ["| networks | KiB more, by the model | measured | descriptors | threads | Gbit/s in all, by the model | measured | the slowest's |",
             "|---" * 8 + "|"]
    for n in NETWORKS:
        name = f"nets-{n}"
        after, before = results.own(name, mtu, "after"), results.own(name, mtu, "before")
        if None in (after, before, per_network, total):
            continue
        model = results.own("nets-1", mtu, "gbps") if n == 1 else total
        lines.append(f"| {n} | {(n - 1) * per_network:.0f} | {after['own_kib'] - before['own_kib']:.0f} | {after['fds']:.0f} | {after['threads']:.0f} | "
                     f"{model:.1f} | {results.own(name, mtu, 'gbps'):.1f} | {results.own(name, mtu, 'least_gbps'):.2f} |")
    return lines if len(lines) > 2 else []


def capacity(results, mtu):
    """What one core of gateway carries, by the CPU time it took here."""
    for name, figure, what, scale in (
            ("tcp-up", "cpu_s_per_gib", "Gbit/s away from guests", 8.59), ("tcp-down", "cpu_s_per_gib", "Gbit/s to guests", 8.59),
            ("rr", "cpu_us_each", "requests and responses a second", 1e6), ("crr-16", "cpu_us_each", "connections a second", 1e6),
            ("udp-64-up", "cpu_s_per_mpkt", "datagrams of 64 bytes a second away from guests", 1e6),
            ("udp-64-down", "cpu_s_per_mpkt", "datagrams of 64 bytes a second to guests", 1e6),
            ("dns-zone", "cpu_us_per_query", "DNS answers a second", 1e6), ("dns-upstream", "cpu_us_per_query", "DNS queries relayed a second", 1e6)):
        cost = results.own(name, mtu, figure)
        if cost:
            yield f"- {scale / cost:,.0f} {what} ({name}: {cost:.3g} {figure.replace('_', ' ')})"


def lines(results, mtu=1500):
    parts = []
    for table in (flows_table(results, mtu), networks_table(results, mtu)):
        if table:
            parts += [*table, ""]
    able = list(capacity(results, mtu))
    if able:
        parts += ["One core of vnetd carries, by the CPU time it took at MTU 1500:", "", *able, ""]
    return parts
