#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
What a program says about itself: test-help.py PROGRAM MANUAL [COMPLETION]

--help fits 80 columns, goes to stdout and says the same as -h; --version has the version; a wrong option is one line on stderr and
exit status 2. Every option, and every command where there are commands, appears in the manual and in the completion, and those
name none that the program does not know.
"""
import pathlib
import re
import subprocess
import sys

program, manual = sys.argv[1], pathlib.Path(sys.argv[2]).read_text().replace("\\-", "-")
completion = pathlib.Path(sys.argv[3]).read_text() if len(sys.argv) > 3 else None
failures = []


def check(good, message):
    if not good:
        failures.append(message)


def run(*arguments):
    return subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def get_help(*command):
    what = " ".join([*command, "--help"])
    long, short = run(*command, "--help"), run(*command, "-h")
    check(long.returncode == 0 and short.returncode == 0, f"{what}: exit status {long.returncode}, {short.returncode}")
    check(long.stderr == "" and short.stderr == "", f"{what}: prints on stderr")
    check(long.stdout == short.stdout, f"{what} and -h differ")
    check(long.stdout.endswith("\n"), f"{what}: no line break at the end")
    for line in long.stdout.splitlines():
        check(len(line) <= 80, f"{what}: more than 80 columns: {line}")
        check(line == line.rstrip(), f"{what}: blanks at the end: {line}")
    return long.stdout


def options_of(text):
    return set(re.findall(r"^  (?:-\w |   )--([a-z0-9-]+)", text, re.M)), set(re.findall(r"^  -(\w) --", text, re.M))


text = get_help()
version = run("--version")
check(version.returncode == 0 and re.fullmatch(r"\S+ \d+\.\d+\.\d+\n", version.stdout), f"--version: {version.stdout!r}")
wrong = run("--no-such-option")
check(wrong.returncode == 2, f"--no-such-option: exit status {wrong.returncode}")
check(wrong.stdout == "" and wrong.stderr.count("\n") == 1, f"--no-such-option: {wrong.stdout!r} {wrong.stderr!r}")

long_options, letters = options_of(text)
check(long_options, "no options in --help")
by_command = {}
if "Commands:" in text:
    section = text[text.index("Commands:"):text.index("Options:")]
    for line in re.findall(r"^  (\S.*)$", section, re.M):
        usage = re.split(r"  +", line)[0]
        command = re.match(r"[a-z]+( [a-z]+)?", usage)[0]
        if usage[len(command):][:1] not in ("", " "):
            sys.exit(f"cannot read the command in: {line}")
        by_command[command] = options_of(get_help(*command.split()))
    for these_long, these_letters in by_command.values():
        long_options |= these_long
        letters |= these_letters
    for slip in ("statsu", "netwrok list"):
        wrong = run(*slip.split())
        check(wrong.returncode == 2 and "did you mean" in wrong.stderr, f"{slip}: {wrong.stderr!r}")
    wrong = run("ping")  # no slip: three of its four letters would be other ones
    check(wrong.returncode == 2 and "--help" in wrong.stderr and "did you mean" not in wrong.stderr, f"ping: {wrong.stderr!r}")

# The manual.
for option in sorted(long_options):
    check(re.search(rf"--{option}(?![\w-])", manual), f"--{option} is not in the manual")
for letter in sorted(letters):
    check(re.search(rf"\.BR? -{letter}\b", manual), f"-{letter} is not in the manual")
for command in by_command:
    check(re.search(rf'^\.BI? "?{command}\b', manual, re.M), f"command '{command}' is not in the manual")
for option in sorted(set(re.findall(r"^\.B[IR]?.*?--([a-z0-9-]+)", manual, re.M))):
    check(option in long_options, f"the manual has --{option}, which the program does not know")

# The completion.
if completion is not None:
    common = options_of(text)[0]
    listed = {name: words for name, words in re.findall(r"^ *\[([a-z ]+)\]='(-[^']*)'", completion, re.M)}
    check(set(re.findall(r"--([a-z0-9-]+)", listed["all"])) == common, "completion: the options for every command differ")
    for command, (these_long, these_letters) in by_command.items():
        words = listed.pop(command, "")
        check(set(re.findall(r"--([a-z0-9-]+)", words)) == these_long - common, f"completion: options of '{command}' differ")
        check(set(re.findall(r"(?:^| )-(\w)\b", words)) == these_letters - {"h"}, f"completion: letters of '{command}' differ")
    check(set(listed) == {"all"}, f"completion: options of commands there are not: {sorted(set(listed) - {'all'})}")
    first = set(re.search(r"local verbs='([^']*)'", completion)[1].split())
    check(first == {c.split()[0] for c in by_command}, "completion: the commands differ")
    for group, seconds in re.findall(r"\[(\w+)\]='([a-z ]+)'", re.search(r"subverbs=\((.*)\)", completion)[1]):
        check({f"{group} {s}" for s in seconds.split()} == {c for c in by_command if c.startswith(group + " ")},
              f"completion: the commands of '{group}' differ")

print("\n".join(failures) or f"{len(long_options)} options, {len(by_command)} commands")
sys.exit(1 if failures else 0)
