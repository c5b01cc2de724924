# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results for people: a Markdown table a group of scenarios, the targets, and an SVG chart. Writes text, measures nothing."""

import model
from results import OWN
from scenarios import GROUPS, SCENARIOS
from targets import checks, over, sent_again

TITLES = {
    "tcp": "TCP, begun by the guest", "fwd": "TCP and latency through a forward, begun by the host", "latency": "Latency and connections",
    "udp": "UDP", "scale": "Many connections, many networks, none", "loops": "Two clients, in one network or each in its own",
    "calls": "System calls of the gateway", "dns": "DNS", "sock": "A guest behind a stream socket, as QEMU's",
}
DETAILS = {  # what a cell shows in brackets beside its figure
    "cpu_s_per_gib": ("CPU", " s/GiB"), "cpu_s_per_mpkt": ("CPU", " s/M"), "p99_us": ("p99", " µs"),
    "cpu_us_per_query": ("CPU", " µs each"), "bulk_gbps": ("beside", " Gbit/s"), "busiest_thread_cpus": ("busiest thread", " CPUs"),
    "busy_cpus": ("all busy", " CPUs"),
}


def number(value):
    return "-" if value is None else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def ratio(a, b):
    return f"{a / b:.2f} x" if a is not None and b else "-"


def cell(results, name, mtu, peer):
    value = results.median(name, mtu, peer, SCENARIOS[name].figure)
    if value is None:
        return "-"
    details = [(label, unit, results.median(name, mtu, peer, figure)) for figure, (label, unit) in DETAILS.items()]
    shown = [f"{label} {number(v)}{unit}" for label, unit, v in details if v is not None and (v > 0 or peer not in ("veth+nat", "loopback"))]
    return f"{number(value)} ({', '.join(shown)})" if shown else number(value)


def mtus(results, name):
    """Those of its rows: loopback has none of its own and stands in every row, in one of its own where it was measured alone."""
    return [u for u in results.mtus(name) if u > 0] or results.mtus(name)


def table(results, names):
    """Its rows are scenarios and MTUs, its columns the peers that took part."""
    peers = [p for p in results.peers() if any(k[0] in names and k[2] == p for k in results.runs)]
    lines = ["| scenario | MTU | unit | " + " | ".join(peers) + " | vnetd to the best peer | to veth+nat |", "|---" * (len(peers) + 5) + "|"]
    for name in names:
        s = SCENARIOS[name]
        for mtu in mtus(results, name):
            own = results.own(name, mtu, s.figure)
            cells = [cell(results, name, 0 if p == "loopback" else mtu, p) for p in peers]
            lines.append(f"| {name} | {mtu or '-'} | {s.unit} | " + " | ".join(cells) + f" | {ratio(own, results.best(name, mtu, s.figure, s.more))} | "
                         f"{ratio(own, results.median(name, mtu, 'veth+nat', s.figure))} |")
    return lines


def scale_table(results, names):
    """What the one figure of the scale scenarios leaves out."""
    rows = [("ramp-10000", "opened_per_second", "opened one after another, a second"), ("ramp-10000", "p50_alone_us", "rr p50 alone, µs"),
            ("ramp-10000", "p50_among_us", "rr p50 among 10,000, µs"), ("ramp-10000", "empty_per_second", "crr-16 a second, table empty"),
            ("ramp-10000", "full_per_second", "crr-16 a second among 10,000"), ("ramp-10000", "kept_ratio", "of their memory kept after they closed"),
            ("idle", "rss_kib", "resident when idle, KiB"), ("nets-10", "kib_per_network", "KiB a network, of 10"),
            ("nets-50", "kib_per_network", "KiB a network, of 50")]
    rows = [r for r in rows if r[0] in names and results.mtus(r[0])]
    peers = [p for p in results.peers() if any(k[0] in [r[0] for r in rows] and k[2] == p for k in results.runs)]
    lines = ["| | " + " | ".join(peers) + " |", "|---" * (len(peers) + 1) + "|"]
    for name, figure, what in rows:
        mtu = results.mtus(name)[0]
        lines.append(f"| {name}: {what} | " + " | ".join(number(results.median(name, mtu, p, figure)) for p in peers) + " |")
    return lines if rows else []


def labelled(name, peer):
    """The scenario; whose figure it is where that could be another's than vnetd's."""
    return f"{name} of {peer}" if peer == "vnetd-parallel" else name


def call_lines(results, names):
    for name in names:
        for (scenario, _, peer), runs in results.runs.items():
            if scenario == name and peer in OWN:
                yield f"- {labelled(name, peer)} (by {runs[0]['counted_by']}): " + ", ".join(f"{call} {n:g}" for call, n in runs[0]["calls"].items())


def target_table(results, again=None):
    if not again:
        return ["| target | wanted | measured | |", "|---|---|---|---|",
                *(f"| {c.what} | {c.wanted} | {c.measured()} | {c.verdict()} |" for c in checks(results))]
    return ["| target | wanted | measured | again | | again |", "|---" * 6 + "|",
            *(f"| {c.what} | {c.wanted} | {c.measured()} | {d.measured()} | {c.verdict()} | {d.verdict()} |"
              for c, d in zip(checks(results), checks(again)))]


def side_by_side(results, again):
    """vnetd's figures in two runs, absolute and beside the best peer: whether the second says what the first said."""
    lines = ["| scenario | MTU | unit | vnetd | again | to the best peer | again | the second run's of the first's |", "|---" * 8 + "|"]
    for name, s in SCENARIOS.items():
        for mtu in sorted({*results.mtus(name), *again.mtus(name)}):
            own = [r.own(name, mtu, s.figure) for r in (results, again)]
            if own == [None, None]:
                continue
            ratios = [over(v, r.best(name, mtu, s.figure, s.more)) for v, r in zip(own, (results, again))]
            beside = ratios if None not in ratios else own  # no peer can do it: the figures themselves
            cells = [name, str(mtu), s.unit, *map(number, own), *(ratio(v, 1) for v in ratios), ratio(*beside[::-1])]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def retransmissions(results):
    lost = [f"{labelled(k[0], k[2])} at MTU {k[1]}: {r['TcpRetransSegs']}/{r['TcpExtTCPTimeouts']}/{r['TcpExtTCPLossProbes']}"
            for k, runs in results.runs.items() if k[2] in OWN for r in runs
            if r.get("TcpRetransSegs") or r.get("TcpExtTCPTimeouts")]
    lines = ["vnetd's guests' retransmissions, RTOs and loss probes where there were any: " + (", ".join(lost) or "none anywhere.")]
    needless, veth = (sent_again(results, *of) for of in (("vnetd", "gateway_old_data"), ("veth+nat", "TcpRetransSegs", "TcpExtTCPTimeouts")))
    if lost and needless is not None:
        lines.append(f"Segments that had reached vnetd before, and so were sent again for nothing: {needless:g} in all of tcp and fwd.")
    if veth is not None:
        lines.append(f"The same scenarios' retransmissions and RTOs with veth+nat: {veth:g}.")
    return "\n".join(lines)


def conditions(results):
    c = results.conditions
    took = f", {c['took'] / 60:.0f} minutes" if "took" in c else ""
    return (f"Linux {c['kernel']}, {c['cpus']} CPUs ({c['model']}), load {c['load']:.1f} when it began; medians of up to {c['rounds']} interleaved rounds "
            f"of {c['seconds']} s{took}. " + ", ".join(f"{k}: {v}" for k, v in c["versions"].items()) + ".")


def markdown(results, with_targets=True, again=None):
    lines = [conditions(results), ""]
    for group, title in TITLES.items():
        names = [n for n in GROUPS[group] if results.mtus(n) and not (group == "latency" and n.startswith("fwd-"))]
        if not names:
            continue
        lines += [f"## {title}", "", *table(results, names), ""]
        if group == "scale":
            lines += [*scale_table(results, names), ""]
            lines += model.lines(results)
        if group == "calls":
            lines += [*call_lines(results, names), ""]
    lines += [retransmissions(results), ""]
    if again:
        lines += ["## The same again", "", conditions(again), "", *side_by_side(results, again), "", retransmissions(again), ""]
    if with_targets:
        lines += ["## Targets", "", *target_table(results, again), ""]
    return "\n".join(lines)


PANELS = [("tcp-up", 1500), ("tcp-down", 1500), ("tcp-up", 65520), ("tcp-down", 65520), ("fwd-up", 1500), ("fwd-down", 1500), ("rr", 1500), ("crr", 1500),
          ("crr-16", 1500), ("udp-gso-up", 1500), ("udp-64-up", 1500), ("udp-64-down", 1500), ("sock-up", 1500), ("sock-down", 1500),
          ("dns-zone", 1500), ("dns-upstream", 1500)]
COLOURS = {"vnetd": "#1f6feb", "vnetd-qemu": "#1f6feb", "veth+nat": "#b0b0b0", "loopback": "#d0d0d0"}
WIDTH, ROW, LABEL, BAR = 430, 18, 95, 220


def panel(results, name, mtu, x, y):
    s = SCENARIOS[name]
    bars = [(p, results.median(name, 0 if p == "loopback" else mtu, p, s.figure)) for p in results.peers()]
    bars = [(p, v) for p, v in bars if v]
    out = [f'<text x="{x}" y="{y + 14}" font-weight="bold">{name}, MTU {mtu}: {s.unit}{"" if s.more else " (less is better)"}</text>']
    for i, (p, v) in enumerate(bars):
        top, width = y + 22 + i * ROW, max(v / max(b[1] for b in bars) * BAR, 1)
        out.append(f'<text x="{x + LABEL - 6}" y="{top + 12}" text-anchor="end">{p}</text>'
                   f'<rect x="{x + LABEL}" y="{top}" width="{width:.1f}" height="{ROW - 4}" fill="{COLOURS.get(p, "#8c8c8c")}"/>'
                   f'<text x="{x + LABEL + width + 5:.1f}" y="{top + 12}">{number(v)}</text>')
    return out, 34 + len(bars) * ROW


def svg(results):
    """Bars side by side, two panels a row."""
    out, y, height = [], 10, 0
    shown = [(n, u) for n, u in PANELS if any(k[:2] == (n, u) for k in results.runs)]
    for i, (name, mtu) in enumerate(shown):
        drawn, tall = panel(results, name, mtu, 15 + (i % 2) * WIDTH, y)
        out += drawn
        height = max(height, tall)
        if i % 2 or i == len(shown) - 1:
            y, height = y + height, 0
    return "\n".join(["<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->", f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH + 15}" height="{y + 10}" font-family="sans-serif" font-size="12">',
                      f'<rect width="{2 * WIDTH + 15}" height="{y + 10}" fill="white"/>', *out, "</svg>", ""])
