#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The flags of vnet-gvproxy: what -help says, what it takes, its manual, its completion and the table in docs/ name the same ones, and all that
gvproxy has are among them. test-gvproxy-help.py PROGRAM MANUAL COMPLETION TABLE
"""
import pathlib
import re
import subprocess
import sys

program = sys.argv[1]
manual, completion, table = (pathlib.Path(p).read_text() for p in sys.argv[2:5])
GVPROXY = set("""config listen services debug pcap mtu ssh-port subnet gatewayIP deviceIP hostIP listen-vpnkit listen-qemu listen-bess listen-vfkit
    listen-stdio forward-sock forward-dest forward-user forward-identity pid-file log-file ec2-metadata-access notification version""".split())
failures = []


def run(*args):
    return subprocess.run([program, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)


def compare(what, found, expected):
    for flag in sorted(expected - found):
        failures.append(f"-{flag} is not in {what}")
    for flag in sorted(found - expected):
        failures.append(f"{what} has -{flag}, which -help does not")


text = run("-help")
if text.returncode or text.stderr or any(run(h).stdout != text.stdout for h in ("-h", "--help")):
    failures.append("-help, -h and --help differ or fail")
for line in text.stdout.splitlines():
    if len(line) > 80 or line != line.rstrip():
        failures.append(f"-help: more than 80 columns, or blanks at the end: {line}")
flags = set(re.findall(r"^  -([A-Za-z0-9-]+)", text.stdout, re.M))
for flag in flags:
    r = run(f"-{flag}") if flag not in ("help", "version", "debug", "ec2-metadata-access", "gateway-expose-all-protocols") else None
    if r and (r.returncode != 1 or f"flag needs an argument: -{flag}" not in r.stderr):
        failures.append(f"-{flag} is not taken: {r.stderr!r}")
compare("gvproxy", GVPROXY & flags, GVPROXY)
compare("the manual", set(re.findall(r"(?<![\w-])\\?-([a-zA-Z][A-Za-z0-9-]+)", "\n".join(
    line for line in manual.replace("\\-", "-").splitlines() if re.match(r"\.BI? .*-[a-z]", line) and "-FLAG" not in line and not line.startswith(".BR")))) - {"flag"}, flags)
compare("the completion", set(re.findall(r"(?<![\w-])-([a-zA-Z][A-Za-z0-9-]+)", completion[completion.rindex("compgen -W '"):].split("'")[1])), flags)
rows = table[table.index("## Flags"):table.index("YAML:")]
compare("the table of docs/gvproxy.md", set(re.findall(r"`-([a-zA-Z][A-Za-z0-9-]+)", rows)) - {"help"}, flags - {"help"})
for f in failures:
    print(f)
sys.exit(bool(failures))
