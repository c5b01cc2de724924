#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
zsh's completion of vnetctl, as zsh does it: test-zsh-completion.py VNETCTL DIRECTORY-OF-_vnetctl

An interactive zsh in a terminal of its own is typed to; what it would offer is compared with the program's help: every command, every
option of every command, and values: those that are known, and those a vnetd (of which a script has the answers) would name. Exit 77 where there is no zsh.
"""
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

vnetctl, directory = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
failures = []

# Writes down what is offered, and that it was all. The real ones run in place of compadd's own bookkeeping calls (-O, -A, -D).
SETUP = r"""
PS1='ready> '; unsetopt zle_bracketed_paste beep; LISTMAX=0
fpath=(%(directory)s $fpath); autoload -Uz compinit; compinit -D -u
compadd() {
        [[ ${@[1,(i)(-|--)]} == *-[A-Za-z0-9]#[OAD]' '* ]] || { local -a offered; builtin compadd -O offered "$@"; (( $#offered )) && print -rl -- $offered >> %(out)s; }
        builtin compadd "$@"
}
all_offered() { print -r -- '=end=' >> %(out)s; compstate[insert]= compstate[list]=; }
comppostfuncs=(); offer() { comppostfuncs=(all_offered); zle complete-word; }
zle -N offer; bindkey '^T' offer; bindkey '^U' kill-whole-line
"""

# The program, but for what it would have to ask a vnetd.
PROGRAM = """#!/bin/sh
case $* in
"--user --no-legend --no-pager network list") echo "mine    10.0.0.0/24  10.0.0.1" ;;
"--no-legend --no-pager network list") printf '%%s\\n' "default 10.0.1.0/24" "lab     10.0.2.0/24" ;;
"--no-legend --no-pager device list") printf '%%s\\n' "tap0 tap default" "vm qemu lab" ;;
"--no-legend --no-pager zones") printf '%%s\\n' "test www A 10.0.0.2" "test mail A 10.0.0.3" ;;
"--no-legend --no-pager forwards") printf '%%s\\n' "tcp  6443 10.0.0.2:6443" "udp  53   10.0.0.2:53" ;;
*) exec %(vnetctl)s "$@" ;;
esac
"""


class Zsh:
    def __init__(self, scratch):
        self.out = scratch / "offered"
        self.out.touch()
        (scratch / "setup").write_text("setopt extendedglob\n" + SETUP % {"directory": directory, "out": self.out})
        bin_directory = scratch / "bin"
        bin_directory.mkdir()
        (bin_directory / "vnetctl").write_text(PROGRAM % {"vnetctl": vnetctl})
        (bin_directory / "vnetctl").chmod(0o755)
        environment = {"PATH": f"{bin_directory}:{os.environ['PATH']}", "HOME": str(scratch), "ZDOTDIR": str(scratch), "TERM": "dumb",
                       "LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(scratch)
            os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
        self.type(f". {scratch}/setup; print -r -- '=end=' >> {self.out}\n")
        self.wait("to start")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait(self, what):
        seen, limit = b"", time.monotonic() + 60
        while "=end=\n" not in self.out.read_text():
            if select.select([self.terminal], [], [], 0.02)[0]:
                seen += os.read(self.terminal, 65536)
            if time.monotonic() > limit:
                sys.exit(f"zsh took more than a minute {what}:\n{seen.decode(errors='replace')}")
        offered = self.out.read_text().replace("=end=\n", "").splitlines()
        self.out.write_text("")
        return offered

    def offered(self, line):
        self.type("\x15" + line + "\x14")
        return {word.rstrip("=") for word in self.wait(f"for {line!r}")}

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def program_help(*command):
    return subprocess.run([vnetctl, *command, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout


def expect(line, found, expected):
    if found != expected:
        failures.append(f"{line!r}: missing {sorted(expected - found)}, too many {sorted(found - expected)}")


def main():
    if not shutil.which("zsh"):
        print("no zsh here")
        return 77
    text = program_help()
    section = text[text.index("Commands:"):text.index("Options:")]
    commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?)(?= |$)", section, re.M)
    with tempfile.TemporaryDirectory() as name:
        zsh = Zsh(pathlib.Path(name))
        try:
            expect("vnetctl ", zsh.offered("vnetctl "), {c.split()[0] for c in commands})
            for group in {c.split()[0] for c in commands if " " in c}:
                seconds = {c.split()[1] for c in commands if c.startswith(group + " ")}
                found = zsh.offered(f"vnetctl {group} ")
                expect(f"vnetctl {group} ", found, seconds)
            for command in commands:
                options = set(re.findall(r"^  (?:-\w |   )(--[a-z0-9-]+)", program_help(*command.split()), re.M))
                letters = set(re.findall(r"^  (-\w) --", program_help(*command.split()), re.M))
                expect(f"vnetctl {command} -", zsh.offered(f"vnetctl {command} -"), options | letters)
                expect(f"vnetctl --user {command} --", zsh.offered(f"vnetctl --user {command} --"), options - {"--user"})
            for line, values in {
                "vnetctl network show ": {"default", "lab"},
                "vnetctl --user network remove ": {"mine"},
                "vnetctl leases -n ": {"default", "lab"},
                "vnetctl device show ": {"tap0", "vm"},
                "vnetctl capture ": {"tap0", "vm"},
                "vnetctl zone remove ": {"test"},
                "vnetctl unexpose ": {"6443", "53/udp"},
                "vnetctl --json=": {"pretty", "short", "off"},
                "vnetctl expose --source=": {"client", "gateway"},
                "vnetctl expose --source ": {"client", "gateway"},
                "vnetctl --bus-address unix:path=/x device create ": {"tap", "vhost-net", "qemu", "qemu-dgram", "vfkit", "bess", "vpnkit"},
                "vnetctl network create lab --host-loopback=": {"yes", "no"},
                "vnetctl inject --gso=t": {"tcpv4", "tcpv6"},
                "vnetctl run -- vnetc": {"vnetctl"},
            }.items():
                expect(line, zsh.offered(line), values)
        finally:
            zsh.close()
    print("\n".join(failures) or f"{len(commands)} commands")
    return 1 if failures else 0


sys.exit(main())
