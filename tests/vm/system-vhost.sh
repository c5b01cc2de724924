#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs in the virtual machine with systemd: the system service as it is shipped, on a kernel that has vhost-net. Installed from /vm/units and the
# like, started by bus activation and by hand, sandboxed; a namespace plugged in over vhost-net, a port exposed, a restart that
# keeps both and the guest behind a socket; polkit allowing an administrator and refusing another user; journal, introspection, security score.
# Then the user's own service, under a systemd --user of a user without rights.
#
#     system-vhost.sh VNETD VNETCTL LIBEXECDIR SOCK-BRIDGE
set -u
export SYSTEMD_BUS_TIMEOUT=100 # what is started for a call may take its time
vnetd=$1 vnetctl=$2 libexecdir=$3 bridge=$4 n=0 failed=0

check() { # DESCRIPTION COMMAND...
        local what=$1
        shift
        n=$((n + 1))
        if "$@" > /tmp/out 2>&1; then
                echo "ok $n $what"
        else
                failed=$((failed + 1))
                sed 's/^/# /' /tmp/out
                echo "not ok $n $what"
        fi
}
soon() { # COMMAND...: within minutes, since the machine is emulated and may be starved; a command that ends the waiting says so with 2
        local rc
        for _ in {1..300}; do
                "$@" && return
                rc=$?
                [ $rc != 2 ] || return $rc
                sleep 0.5
        done
        return 1
}
refused() { ! "$@"; }
ctl() { vnetctl --system "$@"; }
as() { setpriv --reuid="$1" --regid="$1" --init-groups "${@:2}"; }
guest() { nsenter --net=/run/netns/g1 "$@"; }
main_pid() { systemctl show vnetd -p MainPID --value; }
is_user() { [ "$(stat -c %U "/proc/$(main_pid)")" = "$1" ]; }
kind_is() { ctl --json=short device list | grep -q "\"$1\""; }
down() { # fetches the guest's page through the port exposed
        [ "$(timeout 100 busybox wget -q -O - http://127.0.0.1:6443/page)" = "it is the guest" ]
}
queues_are() { # DEVICE N: as the service says, and as the kernel has them
        [ "$(busctl get-property org.vnetd1 "/org/vnetd1/device/$1" org.vnetd1.Device Queues)" = "u $2" ] &&
                [ "$(ls -l "/proc/$(main_pid)/fd" | grep -c /net/tun)" -ge $((1 + $2)) ] # and that of g1
}
journal_has() { # FIELD...: in each line the service itself wrote
        local lines field
        journalctl --sync
        journalctl _SYSTEMD_UNIT=vnetd.service -o json > /tmp/journal # once: it goes on
        lines=$(grep -c "\"MESSAGE\"" /tmp/journal)
        [ "$lines" -gt 5 ] || return 1
        for field; do
                [ "$(grep -c "\"$field\"" /tmp/journal)" = "$lines" ] || return 1
        done
}
mine() { # as user other, with a session of theirs
        setpriv --reuid=other --regid=other --init-groups env -i PATH="$PATH" HOME=/home/other USER=other \
                XDG_RUNTIME_DIR="/run/user/$(id -u other)" SYSTEMD_BUS_TIMEOUT="$SYSTEMD_BUS_TIMEOUT" "$@"
}
session_is_up() {
        loginctl enable-linger other
        soon is_running
}
is_running() { mine systemctl --user is-system-running 2> /dev/null | grep -qx running; }
own_page() { # of a server in a namespace that run made, by a port it publishes
        local ok=0
        mine sh -c 'echo $$ > /tmp/server; exec vnetctl run --publish=6444:80 -- busybox httpd -f -p 80 -h /tmp/www' &
        soon own_page_is_there $! || ok=1
        kill "$(cat /tmp/server)" # which vnetctl passes on
        wait $!
        return $ok
}
own_page_is_there() { # PID of what publishes it
        [ "$(timeout 20 busybox wget -q -O - http://127.0.0.1:6444/page)" != "it is the guest" ] || return 0
        kill -0 "$1" || return 2
        return 1
}
own_forward_is_kept() {
        mine vnetctl expose 6445 192.168.127.9:80 && mine systemctl --user restart vnetd &&
                mine vnetctl --no-legend forwards | grep -q '^tcp *6445 *192.168.127.9:80 '
}
bridge_is_up() {
        ! grep -q up /tmp/bridge || return 0
        kill -0 $machine || return 2
        return 1
}
lease() { # as a DHCP client would; the address stays
        guest busybox udhcpc -i "$1" -n -q -t 60 -T 1 -s /tmp/dhcp
}

install -D "$vnetd" "$libexecdir/vnetd"
install -D "$vnetctl" /usr/bin/vnetctl
install -D -m 644 /vm/units/vnetd.service /etc/systemd/system/vnetd.service
install -D -m 644 /vm/units/vnetd-user.service /usr/lib/systemd/user/vnetd.service
install -D -m 644 /vm/dbus-session/org.vnetd1.service /usr/share/dbus-1/services/org.vnetd1.service
install -D -m 644 /vm/units/vnetd.conf /usr/lib/tmpfiles.d/vnetd.conf
install -D -m 644 /vm/polkit/org.vnetd1.policy /usr/share/polkit-1/actions/org.vnetd1.policy
install -D -m 644 /vm/units-source/vnetd.sysusers /usr/lib/sysusers.d/vnetd.conf
install -D -m 644 /vm/dbus/org.vnetd1.conf /usr/share/dbus-1/system.d/org.vnetd1.conf
install -D -m 644 /vm/dbus/org.vnetd1.service /usr/share/dbus-1/system-services/org.vnetd1.service
systemd-sysusers > /dev/null 2>&1
systemd-tmpfiles --create vnetd.conf
groupadd -f vnetadmin
useradd -m -G vnetadmin admin
useradd -m other
mkdir -p /etc/polkit-1/rules.d
cat > /etc/polkit-1/rules.d/40-vnetd.rules << 'EOF'
polkit.addRule(function(action, subject) {
        if (action.id.indexOf("org.vnetd1.") == 0 && subject.isInGroup("vnetadmin"))
                return polkit.Result.YES;
});
EOF
cat > /tmp/dhcp << 'EOF'
#!/bin/sh
[ "$1" = bound ] || exit 0
busybox ip addr add $ip/${mask:-24} dev $interface
busybox ip route add default via ${router%% *}
EOF
chmod +x /tmp/dhcp
systemctl daemon-reload
systemctl reload dbus

echo 1..37
check "udev gives /dev/vhost-net to group kvm" test "$(stat -c '%G %a' /dev/vhost-net)" = "kvm 660"
check "a call on the bus starts the service" busctl call org.vnetd1 /org/vnetd1 org.vnetd1.Manager ListNetworks
check "it runs as user vnetd" is_user vnetd
check "it stops" systemctl stop vnetd
check "and starts by hand" systemctl start vnetd
check "it is introspected" sh -c "busctl introspect org.vnetd1 /org/vnetd1 | grep -q CreateDevice"

ip netns add g1
guest ip link set lo up
check "the sandboxed service makes a device over vhost-net" ctl device create tap --vhost --netns=/run/netns/g1 --name=g1
check "its kind is vhost-net" kind_is vhost-net
eth=$(guest ip -o link show type tun | sed 's/^[0-9]*: \([^:]*\):.*/\1/')
check "the guest gets a lease" lease "$eth"
check "the gateway answers" guest ping -c 2 -W 30 192.168.127.1
mkdir -p /tmp/www
echo "it is the guest" > /tmp/www/page
guest busybox httpd -p 6443 -h /tmp/www
check "vnetctl expose 6443" ctl expose 6443 192.168.127.2:6443
check "the guest's page comes through it" down
ip netns add g2
check "a device of two queues" ctl device create tap --vhost --netns=/run/netns/g2 --name=g2 --queues=2
check "has them" queues_are g2 2
check "a device that listens" ctl device create qemu --name=vm --listen=tcp:127.0.0.1:7777
ip netns add g3
"$bridge" qemu tcp:127.0.0.1:7777 /run/netns/g3 eth0 1500 > /tmp/bridge 2>&1 &
machine=$!
soon bridge_is_up || sed 's/^/# /' /tmp/bridge
check "its guest gets a lease" ip netns exec g3 busybox udhcpc -i eth0 -n -q -t 60 -T 1 -s /tmp/dhcp
check "and reaches the gateway" ip netns exec g3 ping -c 2 -W 30 192.168.127.1
before=$(main_pid)
check "systemctl restart" systemctl restart vnetd
check "is another process" test "$before" != "$(main_pid)"
check "the device is there, and vhost-net again" kind_is vhost-net
check "the page comes as before" down
check "and the other device has its two queues" queues_are g2 2

check "the guest behind a socket is connected as before" kill -0 $machine
check "and reaches the gateway still" ip netns exec g3 ping -c 2 -W 30 192.168.127.1

check "polkit lets an administrator make a network" as admin vnetctl --system network create theirs --subnet=192.168.200.0/24
check "and refuses another user" refused as other vnetctl --system network create mine --subnet=192.168.201.0/24
check "who may read all the same" as other vnetctl --system status
check "each line in the journal has its fields" journal_has PRIORITY SYSLOG_IDENTIFIER CODE_FILE CODE_LINE CODE_FUNC _SYSTEMD_UNIT
check "the score of the sandbox is good" systemd-analyze security --threshold=25 --no-pager vnetd.service
systemd-analyze security --no-pager vnetd.service | tail -n 1 | sed 's/^/# /'

systemctl stop vnetd
check "a user's own systemd is up" session_is_up
check "systemctl --user start vnetd" mine systemctl --user start vnetd
check "vnetctl finds the user's own" sh -c "$(declare -f mine); mine vnetctl status | grep -q 'on the user bus'"
check "vnetctl run: the gateway answers" mine vnetctl --user run -- ping -c 2 -W 30 192.168.127.1
check "and a page comes through a port it publishes" own_page
check "a restart keeps what was exposed" own_forward_is_kept
check "systemctl --user reload vnetd" mine systemctl --user reload vnetd
check "a call on the bus starts it again" sh -c "$(declare -f mine); mine systemctl --user stop vnetd && mine vnetctl network list && mine systemctl --user is-active vnetd"
[ $failed = 0 ] || journalctl -u vnetd --no-pager -o short | sed 's/^/# /'
exit $failed
