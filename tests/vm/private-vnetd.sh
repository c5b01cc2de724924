# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh disable=SC2034,SC2154
# For scripts that run in the virtual machine: checks in TAP's words, and vnetd on a private bus. Sourced, with $vnetd, $vnetctl and $dir set.
n=0 failed=0
mkdir -p $dir/config/networks.d $dir/state $dir/www $dir/guest

check() { # DESCRIPTION COMMAND...
        n=$((n + 1))
        what=$1
        shift
        if "$@" > $dir/out 2>&1; then
                echo "ok $n $what"
        else
                failed=$((failed + 1))
                sed 's/^/# /' $dir/out
                echo "not ok $n $what"
        fi
}
same() { [ -n "$1" ] && [ "$1" = "$2" ]; }
soon() { # COMMAND...: within ten seconds
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                "$@" && return 0
                sleep 0.5
        done
        return 1
}
ctl() { "$vnetctl" --bus-address=$address "$@"; }

start_vnetd() { # its process: $daemon
        cat > $dir/bus.conf << END
<busconfig><type>session</type><listen>unix:path=$dir/bus</listen><auth>EXTERNAL</auth>
<policy context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/></policy></busconfig>
END
        address=unix:path=$dir/bus
        dbus-daemon --config-file=$dir/bus.conf --nofork > $dir/dbus.log 2>&1 &
        soon test -S $dir/bus
        "$vnetd" --bus-address=$address --config-dir=$dir/config --state-dir=$dir/state --log-target=console > $dir/vnetd.log 2>&1 &
        daemon=$!
        soon ctl status > /dev/null 2>&1
}
