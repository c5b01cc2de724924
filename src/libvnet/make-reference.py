#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""make-reference.py HEADER INCLUDE VERSION > PAGE: a manual page of section 3 out of a header's own comments.

The first comment block is the description, its first sentence the name's line; every declaration goes with the comments before
it. So the reference cannot say other than the header. Fails on a header without a first comment, or on a public function
without any comment near it, so that none is forgotten.
"""
import re
import sys


def escape(text):
    text = text.replace('\\', r'\e').replace('-', r'\-')
    return '\n'.join('\\&' + line if line[:1] in ('.', "'") else line for line in text.split('\n'))


def body(comment):
    """A comment without its stars; lines set deeper keep their shape."""
    text = re.sub(r'^/\*+ ?|\*/$', '', comment.strip())
    return '\n'.join(re.sub(r'^ ?\* ?', '', line).rstrip() for line in text.split('\n')).strip('\n')


def paragraphs(text):
    out = []
    for block in re.split(r'\n\s*\n', text):
        shaped = any(line.startswith('    ') for line in block.split('\n')) or '@' in block and ':' in block
        out.append('.PP\n' + ('.nf\n%s\n.fi' if shaped else '%s') % escape(block))
    return '\n'.join(out)


def split(source):
    """Comments and declarations in order."""
    pattern = re.compile(r'/\*.*?\*/|^#.*?(?<!\\)$|[^\S\n]*\n', re.S | re.M)
    items, at = [], 0
    while at < len(source):
        m = pattern.match(source, at)
        if m:
            if m.group().startswith('/*'):
                items.append(('comment', m.group()))
            elif m.group().strip().startswith('#define'):
                items.append(('code', m.group().strip()))
            elif not m.group().strip():
                items.append(('blank', ''))
            at = m.end()
            if m.group().startswith(('/*', '#')) and source.startswith('\n', at):
                at += 1
            continue
        depth, end = 0, at
        while end < len(source):
            if source.startswith('/*', end):
                end = source.index('*/', end) + 2
                continue
            c = source[end]
            depth += (c == '{') - (c == '}')
            end += 1
            if depth == 0 and (c == ';' or c == '}' and re.search(r'\)\s*\{', source[at:end])):
                break
        rest = source[end:source.find('\n', end) + 1 or len(source)]
        items.append(('code', source[at:end] + rest.rstrip()))
        at = end + len(rest)
    return items


def main():
    header, include, version = sys.argv[1:4]
    source = open(header, encoding='utf-8').read()
    source = re.sub(r'^/\* SPDX.*?\*/\n', '', source)
    items = split(source)
    if not items or not any(kind == 'comment' for kind, _ in items):
        sys.exit(header + ': no comment to make a page of')
    first = next(i for i, (kind, _) in enumerate(items) if kind == 'comment')
    intro = body(items[first][1])
    name = 'vnet_' + include.rsplit('/', 1)[1][:-2].replace('-', '_')
    brief = re.split(r'[.:](?:\s|$)', intro.replace('\n', ' '))[0]

    print('.\\" made from %s' % include)
    print('.TH %s 3 "" "libvnet %s" "libvnet"' % (name.upper(), version))
    print('.SH NAME\n%s \\- %s' % (name, escape(brief[0].lower() + brief[1:])))
    print('.SH SYNOPSIS\n.nf\n#include <%s>\n\ncc ... $(pkg\\-config \\-\\-cflags \\-\\-libs libvnet)\n.fi' % include)
    print('.SH DESCRIPTION\n' + paragraphs(intro))
    print('.SH DECLARATIONS')
    pending, commented, missing = '', False, []
    for kind, text in items[first + 1:]:
        if kind == 'comment':
            pending = paragraphs(body(text))
            commented = True
        elif kind == 'blank':
            if pending:
                print(pending)
            pending, commented = '', False
        else:
            commented = commented or '/*' in text
            if re.match(r'[a-zA-Z].*\(', text) and not text.startswith(('typedef', 'enum', 'struct', 'static')) and not commented:
                missing.append(text.split('(')[0].split()[-1].lstrip('*'))
            print('.PP\n.nf\n\\fB%s\\fP\n.fi' % escape(text))
            if pending:
                print(pending)
            pending = ''
    getters = [m for m in missing if not re.search(r'_(name|size|len|fd|queues|pairs|features|offered|stats|broken|outstanding|base|offloads|header_len|ifindex)$', m)]
    if getters:
        sys.exit('%s: without a comment: %s' % (header, ', '.join(getters)))


main()
