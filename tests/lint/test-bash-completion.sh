#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bash's completion of vnetctl: test-bash-completion.sh COMPLETION. What is offered where: commands, values, and names as a vnetd has them,
# of which a function has the answers. That all options are there is for test-help.py. Exit 77 without bash-completion.
set -eu
library=/usr/share/bash-completion/bash_completion
[ -f $library ] || {
        echo "no bash-completion here"
        exit 77
}
set +eu # neither file is made for these
BASH_COMPLETION_COMPAT_DIR=/nonexistent
. $library
. "$1"

failed=0
compopt() { :; } # outside of a completion it only complains
vnetctl() {
        case $* in
        '--bus-address=unix:path=/lab --no-legend --no-pager network list') echo "lab     10.0.0.0/24" ;;
        '--user --no-legend --no-pager network list') echo "mine    10.0.0.0/24" ;;
        '--no-legend --no-pager network list') printf '%s\n' "default 10.0.1.0/24" "lab     10.0.2.0/24" ;;
        '--no-legend --no-pager device list') printf '%s\n' "tap0 tap default" "vm qemu lab" ;;
        '--no-legend --no-pager zones') printf '%s\n' "test www A 10.0.0.2" "test mail A 10.0.0.3" ;;
        '--no-legend --no-pager forwards') printf '%s\n' "tcp 6443 x" "udp 53 x" "tcp 127.0.0.1:80 x" "tcp 127.0.0.1:81 x" ;;
        *) echo "unexpected: $*" ;;
        esac
}

# offers EXPECTED LINE: LINE as it is typed; what readline splits it at is as bash has it by itself.
offers() {
        local expected=$1 found

        COMP_LINE=$2 COMP_POINT=${#2} COMPREPLY=()
        mapfile -t COMP_WORDS < <(sed -E 's/[=:]+/\n&\n/g; s/ +/\n/g' <<<"$2" | sed '$!{/^$/d}')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _vnetctl vnetctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        found=$(printf '%s\n' "${COMPREPLY[@]}" | sort -u | paste -sd' ')
        [ "$found" = "$expected" ] || {
                echo "'$2': '$found' and not '$expected'"
                failed=1
        }
}

offers 'create list remove show' 'vnetctl network '
offers 'default lab' 'vnetctl network show '
offers 'default lab' 'vnetctl leases -n '
offers 'lab' 'vnetctl leases --network=l'
offers 'mine' 'vnetctl --user network remove '
offers 'lab' 'vnetctl --bus-address=unix:path=/lab network show '
offers 'lab' 'vnetctl --bus-address unix:path=/lab network show '
offers 'tap0 vm' 'vnetctl device show '
offers 'tap0 vm' 'vnetctl capture '
offers 'test' 'vnetctl zone remove '
offers '127.0.0.1:80 127.0.0.1:81 53/udp 6443' 'vnetctl unexpose '
offers '80 81' 'vnetctl unexpose 127.0.0.1:' # behind the colon: before it is what stays
offers 'off pretty short' 'vnetctl --json='
offers 'list' 'vnetctl --json short device l'
offers '--zero' 'vnetctl stats --z'
offers 'tcpv4 tcpv6' 'vnetctl inject --gso=tcp'
offers 'remove set' 'vnetctl zone '
exit $failed
