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
soon() { # COMMAND...: within a minute and more, since the machine may be emulated and starved
        for _ in $(seq 300); do
                "$@" && return 0
                sleep 0.2
        done
        echo "# never: $*"
        return 1
}
is_apart() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; } # PID of an unshare that has done its work
listens() { # PID tcp|udp PORT: in the namespace of that process
        cat "/proc/$1/net/$2" "/proc/$1/net/${2}6" 2> /dev/null |
                awk -v port="$(printf ':%04X' "$3")" 'index($2, port) && ($4 == "0A" || $4 == "07") { n++ } END { exit !n }'
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
        soon ctl status > /dev/null 2>&1 || echo '# vnetd does not answer'
}
