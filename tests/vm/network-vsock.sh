#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs in the virtual machine: whole networks over vsock's loopback (CID 1). vnetd on a private bus with a device that listens on vsock, for
# each kind a stream can have, and a namespace as guest behind sock-bridge: DHCP, ping, DNS, SIZE MiB each way with equal checksums, a port
# exposed, the guest killed amid a transfer and back with its lease and its forward. The same with gvproxy's own
# agent where it is given. Then addresses that are none.
#
#     network-vsock.sh VNETD VNETCTL SOCK-BRIDGE SIZE [GVFORWARDER]
set -u
vnetd=$1 vnetctl=$2 bridge=$3 size=$4 forwarder=${5:-}
dir=/tmp/net host=192.168.127.254 mac=02:00:00:00:00:42
. "${0%/*}/private-vnetd.sh"

guest() { nsenter -t "$guest" -n -m "$@"; }
state_is() { ctl --json=short device show v | grep -q "\"State\":\"$1\""; }

cat > $dir/dhcp << 'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/${mask:-24} dev $interface
ip link set $interface mtu $mtu
ip route add default via ${router%% *}
echo $ip > /tmp/net/guest/address
END
chmod +x $dir/dhcp
start_vnetd

dd if=/dev/urandom of=$dir/www/blob bs=1M count="$size" 2> /dev/null || exit 1
sum=$(sha256sum < $dir/www/blob)
begin=$(head -c 100000 $dir/www/blob | sha256sum)
httpd -p 127.0.0.1:8080 -h $dir/www
nc -ll -p 8081 -e cat /dev/zero & # a transfer that does not end
source=$!
soon listens self tcp 8081
mkfifo $dir/pipe
unshare -n -m sleep 100000 &
guest=$!
soon is_apart $guest
guest ip link set lo up

# Where udhcpc looks when nobody names a script, as gvforwarder does not.
mkdir -p /etc/udhcpc /usr/share/udhcpc
cp $dir/dhcp /etc/udhcpc/default.script
cp $dir/dhcp /usr/share/udhcpc/default.script

leased() { [ -s $dir/guest/address ]; } # what dhcp writes last
plug() { # KIND ADDRESS MTU: the guest's end of the socket; its interface has the same address each time
        rm -f $dir/guest/address
        if [ "$1" = gvforwarder ]; then
                nsenter -t "$guest" -n -m "$forwarder" -url vsock://1:1024/connect -iface eth0 -stop-if-exist "" -mac $mac > $dir/bridge 2>&1 &
                machine=$!
                soon leased || { cat $dir/bridge; return 1; }
                return 0
        fi
        "$bridge" "$1" "$2" /proc/$guest/ns/net eth0 "$3" > $dir/bridge 2>&1 &
        machine=$!
        soon grep -q up $dir/bridge || { cat $dir/bridge; return 1; }
        guest ip link set eth0 down
        guest ip link set eth0 address $mac
        guest ip link set eth0 up
        guest udhcpc -i eth0 -n -q -t 60 -T 1 -s $dir/dhcp
}
no_more() { ! guest ip link show eth0 > /dev/null; }
unplug() {
        kill -9 $machine
        wait $machine
        soon no_more
} 2> /dev/null

begun() { [ "$(wc -c < $dir/begun)" = 1000000 ]; }
down() { [ "$(guest wget -q -O - http://$host:8080/blob | sha256sum)" = "$sum" ]; }
up() { [ "$(nc 127.0.0.1 6443 < /dev/null | sha256sum)" = "$sum" ]; }
answers() { [ "$(nc 127.0.0.1 6443 < /dev/null | head -c 100000 | sha256sum)" = "$begin" ]; }
named() { guest nslookup gateway.vnet.internal. 192.168.127.1 | grep -q 'Address.*192\.168\.127\.1$'; }

whole_life() { # NAME KIND-OF-BRIDGE MTU
        check "$1: the guest gets a lease" plug "$2" vsock:1:1024 "$3"
        check "$1: the device has it" state_is attached
        check "$1: the gateway answers" guest ping -c 3 -W 30 192.168.127.1
        check "$1: so does DNS" soon named
        check "$1: $size MiB come down unchanged" down
        lease=$(cat $dir/guest/address)
        guest nc -ll -p 9000 -e cat $dir/www/blob &
        server=$!
        soon listens $guest tcp 9000
        check "$1: a port is exposed" ctl expose 6443 "$lease:9000"
        check "$1: $size MiB come up through it unchanged" up

        rm -f $dir/begun
        { head -c 1000000 > $dir/begun; cat > /dev/null; } < $dir/pipe &
        guest nc $host 8081 < /dev/null > $dir/pipe &
        transfer=$!
        soon begun
        check "$1: killed amid a transfer" unplug
        kill $transfer
        check "$1: the device waits" soon state_is waiting
        check "$1: the guest is back" plug "$2" vsock:1:1024 "$3"
        check "$1: with its lease" same "$lease" "$(cat $dir/guest/address)"
        check "$1: and its forward" answers
        unplug
        kill $server
        ctl unexpose 6443
        ctl device remove v
} 2> /dev/null

echo 1..$((44 + (${#forwarder} > 0) * 13))
check "a device listens for any machine" ctl device create qemu --name=v --listen=vsock::1024
whole_life qemu qemu 1500
check "a device listens for this CID, with a large MTU" ctl device create qemu --name=v --listen=vsock:1:1024 --mtu=65520
whole_life large qemu 65520
check "gvproxy's way to say it" ctl device create vpnkit --name=v --listen=vsock://:1024
whole_life http http 1500
if [ -n "$forwarder" ]; then
        check "a device for gvforwarder" ctl device create vpnkit --name=v --listen=vsock://1:1024
        whole_life gvforwarder gvforwarder 1500
fi

refused() { # what is no address, or not one of this machine
        ! ctl device create "$1" --name=v --listen="$2"
}
check "a port too large" refused qemu vsock::4294967296
check "no port" refused qemu vsock:1:
check "a CID that is none" refused qemu vsock:x:1024
check "bess has no vsock" refused bess vsock::1024
check "another's CID" refused qemu vsock:77:1024
ctl stats 2> /dev/null | sed 's/^/# /'
kill $guest $daemon $source
[ $failed = 0 ] || sed 's/^/# vnetd: /' $dir/vnetd.log
exit $failed
