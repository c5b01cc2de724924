#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every action that the daemon asks about is in the policy, with defaults, message and the owner annotation; the policy is XML.
# usage: test-polkit-actions.sh POLICY SOURCE...
set -eu

policy=$1
shift
fail=0

actions=$(sed -n 's/^#define ACTION_[A-Z_]* "\(org\.vnetd1\.[a-z-]*\)"$/\1/p' "$@")
if [ -z "$actions" ]; then
        echo "failed: no action found in $*"
        exit 1
fi
for a in $actions; do
        if ! grep -q "<action id=\"$a\">" "$policy"; then
                echo "failed: $a is asked about and not in the policy"
                fail=1
        fi
done

n=$(grep -c '<action id=' "$policy")
for line in '<description>' '<message>' '<allow_any>auth_admin</allow_any>' \
        '<allow_inactive>auth_admin</allow_inactive>' '<allow_active>auth_admin_keep</allow_active>' \
        'org.freedesktop.policykit.owner">unix-user:vnetd<'; do
        if [ "$(grep -cF "$line" "$policy")" -ne "$n" ]; then
                echo "failed: not every action of the policy has $line"
                fail=1
        fi
done
exit $fail
