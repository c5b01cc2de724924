#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The system service as it is installed: a throw-away systemd (PID 1 of its own, this machine's root below an overlay) with bus and
# polkit starts vnetd by D-Bus activation, as user vnetd, with the sandbox of the unit. Proves that the grants are enough for
# the work, that each of them is needed, and that reload, restart and a crash go as promised.
#
# usage: test-system-unit.sh VNETD VNETCTL LIBEXECDIR BUILD SOURCE
# Needs root, /dev/net/tun, systemd, dbus-daemon and polkit; else 77. Nothing of this machine is changed.
set -euo pipefail

skip() {
        echo "skipped: $*"
        exit 77
}

# ---- within: everything is installed below the overlay and tried ----

fail() {
        echo "failed: $*"
        journalctl -u vnetd --no-pager -o cat | tail -n 20
        exit 1
}

# The whole of what a command says is read before it is looked at: one that is cut off in its words has failed, by pipefail.
says() { # PATTERN COMMAND...
        local out

        out=$("${@:2}") && [[ $out =~ $1 ]]
}
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

install_all() {
        install -D "$vnetd" "$libexecdir/vnetd"
        install -D "$vnetctl" /usr/bin/vnetctl
        install -D -m 644 "$build/units/vnetd.service" /etc/systemd/system/vnetd.service
        install -D -m 644 "$build/units/vnetd.conf" /usr/lib/tmpfiles.d/vnetd.conf
        install -D -m 644 "$build/polkit/org.vnetd1.policy" /usr/share/polkit-1/actions/org.vnetd1.policy
        install -D -m 644 "$source/units/vnetd.sysusers" /usr/lib/sysusers.d/vnetd.conf
        install -D -m 644 "$source/dbus-interfaces/org.vnetd1.conf" /usr/share/dbus-1/system.d/org.vnetd1.conf
        install -D -m 644 "$source/dbus-interfaces/org.vnetd1.service" \
                /usr/share/dbus-1/system-services/org.vnetd1.service
        systemd-sysusers
        systemd-tmpfiles --create vnetd.conf
        systemctl daemon-reload
        systemctl reload dbus
}

# A namespace by path, one by process id of another user, and a port below 1024: what the four capabilities are for.
devices_work() {
        vnetctl --system device create tap --netns=/run/netns/g1 --name=path-"$1" &&
                vnetctl --system device create tap --netns="$guest" --name=pid-"$1" &&
                vnetctl --system expose 127.0.0.1:1023 192.168.127.9:80 &&
                vnetctl --system unexpose 127.0.0.1:1023
}

each_capability_is_needed() {
        local all="CAP_NET_ADMIN CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_NET_BIND_SERVICE" c rest

        mkdir -p /etc/systemd/system/vnetd.service.d
        for c in $all; do
                rest=$(echo "$all" | sed "s/$c//")
                printf '[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\nAmbientCapabilities=%s\nCapabilityBoundingSet=%s\n' \
                        "$rest" "$rest" >/etc/systemd/system/vnetd.service.d/less.conf
                systemctl daemon-reload
                systemctl reset-failed vnetd # a fast machine starts it more often than the manager likes in ten seconds
                systemctl restart vnetd
                if devices_work "$c" 2>/dev/null; then
                        fail "all works without $c, which the unit grants"
                fi
        done
        rm /etc/systemd/system/vnetd.service.d/less.conf
        systemctl daemon-reload
        systemctl restart vnetd
}

within() {
        export SYSTEMD_BUS_TIMEOUT=100 # what is started for a call may take its time
        local pid crashed

        mount --make-rshared / # as on a real machine, so that later mounts reach the service
        mknod -m 666 /dev/net/tun c 10 200
        install_all
        mkdir -p /run/netns
        ip netns add g1
        setpriv --reuid=65534 --regid=65534 --clear-groups unshare --user --map-root-user --net sleep infinity & # no function: its process, not a shell's
        guest=$!
        until [ "$(readlink "/proc/$guest/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do
                kill -0 "$guest" || fail "no guest"
                sleep 0.05
        done

        says default busctl call org.vnetd1 /org/vnetd1 org.vnetd1.Manager ListNetworks || fail "no activation"
        pid=$(systemctl show vnetd -p MainPID --value)
        [ "$(stat -c %U "/proc/$pid")" = vnetd ] || fail "vnetd does not run as user vnetd"
        for status in /proc/"$pid"/task/*/status; do
                [ "$status" = "/proc/$pid/task/$pid/status" ] || grep -q '^CapEff:.0*$' "$status" ||
                        fail "a thread beside the first has capabilities"
        done

        devices_work all || fail "the unit's grants are not enough"
        says LOWER_UP ip -n g1 link show type tun || fail "no interface in the namespace"

        as_nobody vnetctl --system status >/dev/null || fail "reading is not free"
        if as_nobody vnetctl --system network create x 2>/dev/null; then
                fail "polkit lets everybody make networks"
        fi
        systemctl is-active polkit >/dev/null || fail "polkit was not asked"

        systemctl reload vnetd || fail "cannot reload"
        systemctl service-log-level vnetd debug || fail "cannot set the log level"
        systemctl restart vnetd || fail "cannot restart"
        says '(^|'$'\n'')path-all' vnetctl --system device list || fail "the restart lost a device"
        crashed=$(systemctl show vnetd -p MainPID --value)
        kill -KILL "$crashed"
        for _ in {1..600}; do
                pid=$(systemctl show vnetd -p MainPID --value)
                [ "$pid" = 0 ] || [ "$pid" = "$crashed" ] || break
                sleep 0.1
        done
        [ "$pid" != 0 ] && [ "$pid" != "$crashed" ] || fail "not started again after a crash"
        vnetctl --system status >/dev/null || fail "not back after a crash"

        each_capability_is_needed
        systemctl stop vnetd
        [ "$(systemctl show vnetd -p ExecMainStatus --value)" = 0 ] || fail "does not stop cleanly"
        echo done
}

# ---- without: the throw-away system ----

clean_up() {
        local group=$cgroup/vnetd-test.$$

        set +e # what cannot be removed is no failure of what was tested
        echo 1 >"$group/cgroup.kill"
        for _ in {1..300}; do # until the last process is gone
                grep -qx 'populated 0' "$group/cgroup.events" && break
                sleep 0.1
        done
        find "$group" -depth -type d -exec rmdir {} +
        rm -rf "$work"
} 2>/dev/null

boot='
set -e
mount -t tmpfs tmpfs "$work/m"
mkdir "$work"/m/{upper,work,root}
R=$work/m/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/m/upper,workdir=$work/m/work" "$R"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
mkdir "$R"/dev/{pts,shm,net}
for d in null zero full random urandom tty; do
        : >"$R/dev/$d"
        mount --bind "/dev/$d" "$R/dev/$d"
done
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
: >"$R/dev/console"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mkdir -p "$R/vnetd-test" "$R/old"
mount --bind "$work/share" "$R/vnetd-test"
cat >"$R/etc/systemd/system/vnetd-test.service" <<UNIT
[Unit]
After=dbus.service
Requires=dbus.service
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
ExecStart=$command
StandardOutput=append:/vnetd-test/out
StandardError=inherit
UNIT
cd "$R"
pivot_root . old
umount -l /old
exec env -i container=lxc TERM=dumb /lib/systemd/systemd systemd.unit=vnetd-test.service systemd.show_status=0
'

without() {
        local rc=0

        [ "$(id -u)" = 0 ] || skip "needs root"
        [ -c /dev/net/tun ] || skip "there is no /dev/net/tun"
        [ -x /lib/systemd/systemd ] || skip "systemd is not installed"
        unshare --user true 2>/dev/null || skip "no user namespace can be made here (a chroot, or the kernel forbids it)"
        mountpoint -q / || skip "the root is no mount point (a chroot): no system can be put in its place"
        for program in dbus-daemon busctl ip setpriv unshare pkaction; do
                command -v "$program" >/dev/null || skip "$program is not installed"
        done
        cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
        [ -n "$cgroup" ] && mkdir "$cgroup/vnetd-test.$$" 2>/dev/null || skip "no cgroup2 to work in"
        work=$(mktemp -d)
        trap clean_up EXIT
        mkdir "$work/m" "$work/share"
        unshare --mount sh -c 'mount -t tmpfs t "$1/m" && mkdir "$1/m/u" "$1/m/w" "$1/m/r" &&
                mount -t overlay o -o "lowerdir=/,upperdir=$1/m/u,workdir=$1/m/w" "$1/m/r"' sh "$work" 2>/dev/null ||
                skip "overlays cannot be mounted here"
        for f in "$@"; do
                [ -e "$f" ] || skip "$f is not there"
        done

        # All that is used within is copied: the build may lie below a mount that the overlay does not see.
        cp "$vnetd" "$work/share/vnetd"
        cp "$vnetctl" "$work/share/vnetctl"
        cp "$0" "$work/share/test"
        mkdir "$work/share/build" "$work/share/source"
        cp -r "$build/units" "$build/polkit" "$work/share/build/"
        cp -r "$source/units" "$source/dbus-interfaces" "$work/share/source/"
        touch "$work/share/out"
        (
                echo "$BASHPID" >"$cgroup/vnetd-test.$$/cgroup.procs"
                export work command="/bin/bash /vnetd-test/test --within /vnetd-test/vnetd /vnetd-test/vnetctl $libexecdir \
/vnetd-test/build /vnetd-test/source"
                exec timeout --kill-after=5 280 unshare --mount --propagation private --pid --fork --kill-child --net \
                        --uts --ipc --cgroup bash -c "$boot"
        ) >"$work/boot" 2>&1 </dev/null || rc=$?
        cat "$work/share/out"
        [ -s "$work/share/out" ] || tail -n 20 "$work/boot"
        [ "$(tail -n 1 "$work/share/out")" = done ] || exit 1
        exit "$rc"
}

inside=
if [ "$1" = --within ]; then
        inside=1
        shift
fi
vnetd=$1 vnetctl=$2 libexecdir=$3 build=$4 source=$5
if [ -n "$inside" ]; then
        within
else
        without "$vnetd" "$vnetctl" "$build/units/vnetd.service"
fi
