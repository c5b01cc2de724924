#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Rules about the sources that a machine can check: test-sources.py ROOT

- An arrow only points down: a directory of src/ includes headers of itself and of the floors below it alone (docs/ARCHITECTURE.md).
- core-vq/ and netstack/ are pure: no sd-*, no libnl, no system calls, no clock, no log.
- libpcap is one file's business.
- Every file begins with its licence, and every C file says what it does before its first include or #pragma once'd content.
- Addresses on the web are of places that stay: standards, the kernel, the distribution's libraries.
- Nothing is marked unfinished.
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
failures = []

BELOW = {
    "basic": set(),
    "core-vq": {"basic"},
    "netstack": {"basic"},
    "vhostnet": {"basic", "core-vq"},
    "libvnet": {"basic", "core-vq", "vhostnet"},
    "device": {"basic", "core-vq", "vhostnet"},
    "daemon": {"basic", "core-vq", "netstack", "vhostnet", "device"},
    "bus": {"basic", "core-vq", "netstack", "vhostnet", "device", "daemon"},
    "gvproxy": {"basic", "core-vq", "netstack", "vhostnet", "device", "daemon", "http"},
    "http": {"basic", "core-vq", "netstack", "vhostnet", "device", "daemon"},
}
CTL_MAY = {"basic"}
ONLY_IN = {"pcap": "src/device/capture.c"}

PURE = {"core-vq", "netstack"}
PURE_INCLUDES = re.compile(
    r"systemd/|netlink/|basic/(log|loop)\.h|sys/(epoll|ioctl|mman|timerfd|eventfd|signalfd|socket|un|stat|syscall)\.h|"
    r"(unistd|fcntl|time|poll|pthread|signal|syslog|sched)\.h|linux/(if_tun|vhost)\.h")
PURE_CALLS = re.compile(
    r"(?<![\w.>])(socket|socketpair|bind|listen|accept4?|connect|shutdown|send|sendto|sendmsg|sendmmsg|recv|recvfrom|recvmsg|recvmmsg|"
    r"getsockopt|setsockopt|ioctl|open|openat|close|read|write|readv|writev|fcntl|epoll_\w+|poll|eventfd|timerfd_\w+|clock_gettime|"
    r"gettimeofday|time|sleep|usleep|fork|pthread_\w+|syscall|printf|fprintf|puts|syslog|log_\w+|sd_\w+|nl_\w+|rtnl_\w+)\s*\(")

WEB = {
    "www.freedesktop.org", "dbus.freedesktop.org", "www.rfc-editor.org", "www.kernel.org", "docs.kernel.org", "docs.oasis-open.org", "www.gnu.org",
    "spdx.org", "www.w3.org", "127.0.0.1", "localhost",
}
UNFINISHED = ("TO" "DO", "FIX" "ME", "XX" "X")


def fail(path, message):
    failures.append(f"{path.relative_to(root)}: {message}")


def code_of(text):
    """The text without comments and strings, line by line as before."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', blank, text, flags=re.S)


def check_layers(path, text):
    parts = path.relative_to(root).parts
    if parts[0] == "src" and len(parts) > 2:
        floor, may = parts[1], BELOW.get(parts[1])
        if may is None:
            fail(path, f"{floor}/ is not in the table of floors")
            return
    elif parts[0] == "ctl":
        floor, may = "ctl", CTL_MAY
    else:
        return
    includes = re.findall(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"]', text, re.M)
    for included in (name for bracket, name in includes if bracket == '"'):
        room = included.split("/")[0]
        if "/" in included and room != floor and room not in may:
            fail(path, f"includes {included}: {floor}/ does not stand on {room}/")
    if floor in PURE:
        for _, included in includes:
            if PURE_INCLUDES.match(included):
                fail(path, f"includes {included}: {floor}/ is pure")
        for call in PURE_CALLS.finditer(code_of(text)):
            fail(path, f"line {text.count(chr(10), 0, call.start()) + 1}: {call[1]}(): {floor}/ is pure")


def check_libraries(path, text):
    """Some libraries are one file's business."""
    where = str(path.relative_to(root))
    for library, only in ONLY_IN.items():
        if f"<{library}" in text and where.split("/")[0] in ("src", "ctl") and where != only and \
           re.search(rf"^[ \t]*#[ \t]*include[ \t]+<{library}", text, re.M):
            fail(path, f"includes <{library}...>, which is for {only} alone")


def check_head(path, text):
    lines = text.splitlines()
    first = lines[:2] if lines and lines[0].startswith(("#!", "#compdef ")) else lines[:1]
    # XML may carry it in the comment that follows the document type; Markdown is prose, under the same licence without a line of it.
    if re.match(r"<[?!]", text):
        first = lines[:8]
    if path.suffix != ".md" and not any("SPDX-License-Identifier: LGPL-2.1-or-later" in line for line in first):
        fail(path, "does not begin with its licence")
    if path.suffix in (".c", ".h"):
        body = re.sub(r"\A/\*[^\n]*\*/\n", "", text)
        body = re.sub(r"\A#pragma once\n", "", body)
        comment = re.match(r"\s*/\*.*?\*/", body, re.S)
        if not comment or len(re.sub(r"[\s/*]", "", comment[0])) < 12:
            fail(path, "no comment at its head that says what it does")


def check_words(path, text):
    for host in re.findall(r"https?://([A-Za-z0-9.-]+)", text):
        if host not in WEB and not host.endswith((".internal", ".test", ".example")) and "." in host:
            fail(path, f"points to {host}, which is not among the places that stay")
    if path.suffix in (".c", ".h", ".py", ".sh", ".build", ".in") and any(w in text and re.search(rf"\b{w}\b", text) for w in UNFINISHED):
        fail(path, "is marked unfinished")


def sources():
    for top in ("src", "ctl", "tests", "tools", "units", "polkit", "dbus-interfaces", "man", "shell-completion", "docs", "bench"):
        for path in sorted((root / top).rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and "corpus" not in parts and "__pycache__" not in parts and "golden" not in parts:
                yield path
    yield from sorted(root.glob("*.md"))
    yield from (root / "meson.build", root / ".ci/run")


n = 0
for path in sources():
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        fail(path, "is not text in UTF-8")
        continue
    n += 1
    check_head(path, text)
    check_words(path, text)
    if path.suffix in (".c", ".h"):
        check_layers(path, text)
    check_libraries(path, text)

print("\n".join(failures) or f"{n} files")
sys.exit(1 if failures else 0)
