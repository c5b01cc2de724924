#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-vhost-table.py TABLE TESTS: every test docs/vhost-tests.md names is there. TESTS: directory of the tests' sources."""
import pathlib
import re
import sys


def names_in(tests):
    """Paths of tests as their sources spell them; those made of a table of cases begin with what the format string has."""
    text = '\n'.join(p.read_text() for p in pathlib.Path(tests).rglob('test-*.c'))
    names = set(re.findall(r'"(/[a-z0-9-]+(?:/[a-z0-9-]+)+)"', text))
    for head in re.findall(r'"(/[a-z0-9-]+)/%s"', text):
        names |= {head + '/' + case for case in re.findall(r'{ "([a-z0-9-]+/[a-z0-9-]+)"', text)}
    return names


def main():
    table, tests = sys.argv[1:]
    names, fuzzers = names_in(tests), {p.stem for p in pathlib.Path(tests, 'fuzz').glob('fuzz-*.c')}
    missing, n = [], 0
    for line in pathlib.Path(table).read_text().split('## The kernel')[0].splitlines():
        folder = ''
        for word in re.findall(r'`([^`]+)`', line.split('|')[-2] if line.startswith('|') else ''):
            if word.startswith(('fuzz-', 'vq-pair')):
                found = word in fuzzers or word == 'vq-pair-tsan'
            else:
                full = word if word.startswith('/') else folder + '/' + word
                if word.startswith('/'):
                    folder = '/'.join(word.split('/')[:-1])
                found = any(name.startswith(full[:-1]) for name in names) if full.endswith('*') else full in names
            n += 1
            if not found and not word.startswith('-D'):
                missing.append(word)
    print('%d tests named' % n)
    if missing or n < 50:
        sys.exit('not there: ' + ', '.join(missing))


main()
