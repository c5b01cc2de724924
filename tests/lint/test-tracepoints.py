#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tracepoints in the program are those of the manual: test-tracepoints.py VNETD VNETD.8"""

import re
import shutil
import subprocess
import sys

program, manual = sys.argv[1:]
if not shutil.which("readelf"):
    print("no readelf (Debian: binutils)")
    sys.exit(77)

notes = subprocess.run(["readelf", "--notes", "--wide", program], check=True, capture_output=True, text=True).stdout
built = set(re.findall(r"Provider: vnetd\s+Name: (\w+)", notes))
with open(manual, encoding="utf-8") as f:
    section = f.read().split(".SH TRACEPOINTS\n")[1].split("\n.SH ")[0]
told = set(re.findall(r"^\.B (\w+)$", section, re.MULTILINE))

print("built:", *sorted(built))
print("told: ", *sorted(told))
sys.exit(0 if built and built == told else 1)
