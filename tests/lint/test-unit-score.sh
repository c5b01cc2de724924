#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The system unit's exposure, as systemd-analyze computes it, stays at or below what it was when its grants were argued for.
# usage: test-unit-score.sh UNIT THRESHOLD (tenths)
set -eu

if ! command -v systemd-analyze >/dev/null; then
        echo "skipped: systemd-analyze is not installed"
        exit 77
fi

# A copy alone in a directory: no drop-in of this machine may help or harm.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp "$1" "$dir/"
unit="$dir/$(basename "$1")"

if ! out=$(systemd-analyze security --no-pager --offline=true --threshold="$2" "$unit"); then
        echo "$out"
        echo "failed: exposure of $(basename "$1") is above $2 tenths"
        exit 1
fi
echo "$out" | tail -n 1

# The check itself must be able to fail.
if systemd-analyze security --no-pager --offline=true --threshold=1 "$unit" >/dev/null; then
        echo "failed: the score passes a threshold that nothing can pass"
        exit 1
fi
